import pytest

from books.reader import BookUnreadable
from books.reader.encoding import decode
from tests.unit.books.conftest import Read, Refuse

FRENCH = "Le café était très agréable, « déjà vu ». Les élèves français étaient là, près du château. "
ENGLISH = "“Quoted” — it’s the café. She said nothing and went away down the road to the sea. "
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
RUSSIAN = "В начале июля, в чрезвычайно жаркое время, под вечер, один молодой человек вышел из своей каморки. "
POLISH = "Litwo! Ojczyzno moja! ty jesteś jak zdrowie; Ile cię trzeba cenić, ten tylko się dowie. "
HUNGARIAN = "Árvíztűrő tükörfúrógép, a hosszú nyár őszbe fordult és az erdő elcsendesült. "
SPANISH = "El niño comió más piñas mañana, ¿qué pasó? ¡Señor García está aquí! "
SWEDISH = "Det var en kväll på våren, och han såg båten från ön. Så gick han hem över ängarna. "
PORTUGUESE = "Não sei se então o coração da mãe já estava em paz, porque as manhãs são frias. "
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Byl pozdní večer, první máj, večerní máj, byl lásky čas. "


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "utf-8"),
        (FRENCH, "utf-8-sig"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "cp1252"),
        (FRENCH, "latin-1"),
        (ENGLISH, "cp1252"),
        (JAPANESE, "utf-8"),
        (JAPANESE, "utf-16"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (POLISH, "cp1250"),
        (CZECH, "cp1250"),
        (HUNGARIAN, "cp1250"),
        (SPANISH, "cp1252"),
        (SWEDISH, "cp1252"),
        (PORTUGUESE, "cp1252"),
    ],
)
def test_text_in_any_encoding_is_decoded(text: str, encoding: str) -> None:
    assert decode((text * 20).encode(encoding)).removeprefix("\ufeff") == text * 20


@pytest.mark.parametrize("declared", ["utf-8", "shift_jis", "ascii", "no-such-encoding", "hex", "rot13"])
def test_text_with_false_declaration_is_decoded(declared: str) -> None:
    assert decode((FRENCH * 20).encode("cp1252"), declared) == FRENCH * 20


def test_text_with_right_declaration_is_decoded() -> None:
    assert decode("Añil à la française, œuvre.".encode("mac_roman"), "macintosh") == "Añil à la française, œuvre."


def test_utf8_with_one_stray_byte_keeps_the_rest() -> None:
    data = (JAPANESE * 20).encode() + b" caf\xe9"
    assert decode(data) == JAPANESE * 20 + " café"


@pytest.mark.parametrize("data", [bytes(range(1, 32)) * 40, bytes(range(256)) * 40, b"\xfe\xff\xd8\x00" * 50])
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(BookUnreadable) as caught:
        decode(data)
    assert caught.value.reason == "encoding"


def test_text_with_many_nul_bytes_is_refused(refuse: Refuse) -> None:
    assert refuse(b"Once upon\0\0\0 a time\0 there was a fox\0." * 50).reason in ("encoding", "not_a_book")


def test_html_declared_utf8_but_cp1252_is_decoded(read: Read) -> None:
    page = f'<html><head><meta charset="utf-8"></head><body><h1>Chapitre 1</h1><p>{FRENCH * 5}</p></body></html>'
    assert "élèves français" in read(page.encode("cp1252")).chapters[0].text
