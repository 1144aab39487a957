"""Files that are small to upload and dear to read."""

import io
import struct
import time
import zipfile

import pytest

from books.reader import Limits
from tests.unit.books.builders import PROSE, epub_files, ncx, pack, paragraphs, xhtml
from tests.unit.books.conftest import Read, Refuse

CHAPTERS = {f"c{n}.xhtml": f"<h2>Chapter {n}</h2>{paragraphs(f'{PROSE} {n}')}" for n in (1, 2, 3)}
SECONDS_FOR_AN_ANSWER = 30.0


def bomb(size: int = 60_000_000) -> bytes:
    return b" " * size


@pytest.fixture(autouse=True)
def bounded_time() -> object:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS_FOR_AN_ANSWER


def lie_about_sizes(data: bytes, claimed: int) -> bytes:
    """Write a false unpacked size into every header of a zip."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = changed.find(mark)
        while at >= 0:
            struct.pack_into("<I", changed, at + offset, claimed)
            at = changed.find(mark, at + 4)
    return bytes(changed)


def test_zip_bomb_in_text_is_refused(refuse: Refuse) -> None:
    files = epub_files(CHAPTERS)
    files["OEBPS/c2.xhtml"] = bomb()
    error = refuse(pack(files))
    assert error.reason == "too_large"
    assert "200 times" in error.message


def test_zip_bomb_in_a_file_nobody_reads_is_refused(refuse: Refuse) -> None:
    assert refuse(pack({**epub_files(CHAPTERS), "OEBPS/picture.bmp": bomb()})).reason == "too_large"


@pytest.mark.parametrize("claimed", [10, 5_000, 0xFFFFFFF0])
def test_zip_bomb_with_lying_headers_is_refused(refuse: Refuse, claimed: int) -> None:
    files = epub_files(CHAPTERS)
    files["OEBPS/c2.xhtml"] = bomb()
    assert refuse(lie_about_sizes(pack(files), claimed)).reason in ("too_large", "malformed")


def test_zip_in_zip_is_not_unpacked(read: Read) -> None:
    inner = pack({"zeros": bomb(30_000_000)})
    for _ in range(3):
        inner = pack({f"{n}.zip": inner for n in range(4)}, method=zipfile.ZIP_STORED)
    files = {**epub_files(CHAPTERS), "OEBPS/nested.zip": inner}
    assert len(read(pack(files, method=zipfile.ZIP_STORED)).chapters) == 3


def test_zip_with_overlapping_entries_is_refused(refuse: Refuse) -> None:
    packed = pack({**epub_files(CHAPTERS), "OEBPS/big": bomb(900_000)})
    end = packed.rfind(b"PK\x05\x06")
    start = packed.find(b"PK\x01\x02")
    big = packed.rfind(b"PK\x01\x02")
    entry = packed[big:end]
    many = b"".join(entry.replace(b"OEBPS/big", b"O%07d" % n + b"b") for n in range(1_000))
    directory = packed[start:end] + many
    tail = bytearray(packed[end:])
    total = directory.count(b"PK\x01\x02")
    struct.pack_into("<HHI", tail, 8, total, total, len(directory))
    assert refuse(packed[:start] + directory + bytes(tail)).reason == "too_large"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_with_other_compression_is_malformed(refuse: Refuse, method: int) -> None:
    assert refuse(pack(epub_files(CHAPTERS), method=method)).reason == "malformed"


def test_unpacked_size_beyond_limit_is_refused(refuse: Refuse) -> None:
    error = refuse(pack(epub_files(CHAPTERS)), limits=Limits(max_uncompressed_bytes=1_000))
    assert error.reason == "too_large"


def test_archive_with_too_many_files_is_refused(refuse: Refuse) -> None:
    files: dict[str, str | bytes] = {**epub_files(CHAPTERS), **{f"OEBPS/i{n}.png": b"" for n in range(5_001)}}
    error = refuse(pack(files))
    assert error.reason == "too_large"
    assert "5,000" in error.message


def test_epub_with_ten_thousand_documents_has_too_many_chapters(refuse: Refuse) -> None:
    documents = {f"c{n}.xhtml": f"<h2>Chapter {n}</h2><p>Words.</p>" for n in range(10_000)}
    assert refuse(pack(epub_files(documents))).reason == "too_many_chapters"


def test_epub_with_ten_thousand_chapters_in_one_file_has_too_many(refuse: Refuse) -> None:
    body = "".join(f'<h2 id="c{n}">Chapter {n}</h2><p>Some words.</p>' for n in range(10_000))
    files = epub_files({"all.xhtml": body})
    files["OEBPS/toc.ncx"] = ncx([(f"Chapter {n}", f"all.xhtml#c{n}") for n in range(10_000)])
    error = refuse(pack(files))
    assert error.reason == "too_many_chapters"
    assert "10,000" in error.message


def test_epub_with_two_thousand_chapters_is_read(read: Read) -> None:
    body = "".join(f'<h2 id="c{n}">Chapter {n}</h2><p>Some words.</p>' for n in range(2_000))
    files = epub_files({"all.xhtml": body})
    files["OEBPS/toc.ncx"] = ncx([(f"Chapter {n}", f"all.xhtml#c{n}") for n in range(2_000)])
    assert len(read(pack(files)).chapters) == 2_000


def laughs(levels: int = 12) -> str:
    entities = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(levels))
    return f'<!DOCTYPE html [<!ENTITY l0 "lol and lol">{entities}]>'


@pytest.mark.parametrize("place", ["<p>{}</p>", '<p id="{}">Words and words.</p>'])
def test_billion_laughs_are_not_expanded(read: Read, place: str) -> None:
    files = epub_files(CHAPTERS)
    page = xhtml(f"<h2>Chapter 2</h2><p>{PROSE}</p>{place.format('&l12;')}")
    files["OEBPS/c2.xhtml"] = page.replace("<html", f"{laughs()}<html")
    assert len(read(pack(files)).chapters[1].text) < 1_000


def test_billion_laughs_in_the_package_are_not_expanded(refuse: Refuse) -> None:
    files = epub_files(CHAPTERS, title="&l12;")
    package = str(files["OEBPS/content.opf"])
    files["OEBPS/content.opf"] = package.replace("<package", f"{laughs().replace('html', 'package')}<package")
    try:
        reason = refuse(pack(files)).reason
    except pytest.fail.Exception:
        return  # read without the entity, which is as good
    assert reason == "malformed"


def test_external_entity_is_not_loaded(read: Read, tmp_path: object) -> None:
    secret = f"{tmp_path}/secret.txt"
    with open(secret, "w") as file:
        file.write("the secret words")
    files = epub_files(CHAPTERS)
    page = xhtml(f"<h2>Chapter 2</h2><p>{PROSE} &x;</p>")
    files["OEBPS/c2.xhtml"] = page.replace("<html", f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}">]><html')
    assert "secret" not in "".join(section.text for section in read(pack(files)).sections)


def test_text_of_an_epub_beyond_limit_is_too_large(refuse: Refuse) -> None:
    assert refuse(pack(epub_files(CHAPTERS)), limits=Limits(max_text_characters=200)).reason == "too_large"


@pytest.mark.parametrize("text", ["I.\n\n" * 3_000_000, "CHAPTER I\n\n" * 600_000, "<html>" + "<p>" * 3_000_000])
def test_text_with_millions_of_paragraphs_is_refused(refuse: Refuse, text: str) -> None:
    assert refuse(text.encode()).reason in ("too_large", "too_many_chapters")


def test_epub_with_millions_of_tags_is_refused(refuse: Refuse) -> None:
    files = epub_files({"a.xhtml": f"{PROSE}<p/>" * 40}, manifest="")
    assert refuse(pack(files), limits=Limits(max_markup_tags=40)).reason == "too_large"


def test_zip_without_epub_inside_a_huge_directory_is_refused(refuse: Refuse) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(6_000):
            archive.writestr(f"{n}.txt", b"")
    assert refuse(buffer.getvalue()).reason == "too_large"
