"""Encoding: bytes to text, without trusting what a file says about itself."""

import codecs
import re
from collections.abc import Iterator

from charset_normalizer import CharsetMatch, from_bytes

from books.reader.errors import BookUnreadable

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROL = re.compile("[\x00-\x08\x0e-\x19\x1b-\x1f\x7f-\x84\x86-\x9f\ufffd-\uffff]")
MAX_CONTROL_SHARE = 0.001
MAX_STRAY_SHARE = 0.02  # broken sequences among the multi-byte ones of a text that is UTF-8 all the same
SAMPLE_BYTES = 100_000
HIGH_BYTES = bytes(range(0x80, 0x100))
SINGLE_BYTE_LATIN = re.compile(r"cp(125[0247]|437|775|85\d|86\d)|iso8859_\d+|latin_1|mac_\w+|hp_roman8")
WESTERN_WORDS = re.compile(  # which cp1250 would turn into words of no language
    r"\b(?:à|è|où|très|même|père|mère|être|più|così|già|può|città|não|são|mãe|então|"
    r"años?|señora?|niñ[oa]s?|på|så|från|å|også|når|får|må|før|være|blå)\b",
    re.I,
)
SIGN_IN_WORD = re.compile("[a-zà-ÿ][¢£¤¥¦¶¹³¼½¾¿]")
MAX_SIGN_SHARE = 0.05


def decode(data: bytes, declared: str | None = None) -> str:
    """Return the text of a file.

    Args:
        declared: the encoding that the file claims; used only if the text is not Unicode and it fits.

    Raises:
        BookUnreadable: "encoding", if no encoding gives readable text.
    """
    for encoding in _encodings(data, declared):
        text = _decode_whole(data, encoding)
        if text is not None and is_readable(text):
            return text
    raise BookUnreadable(
        "encoding",
        "The file's characters can't be decoded; save it as UTF-8 text and upload it again.",
    )


def is_readable(text: str) -> bool:
    """Tell text from what decodes to control characters; the beginning settles most cases."""
    return all(len(CONTROL.findall(part)) <= MAX_CONTROL_SHARE * len(part) for part in (text[:SAMPLE_BYTES], text))


def _encodings(data: bytes, declared: str | None) -> Iterator[str]:
    for mark, encoding in BOMS:
        if data.startswith(mark):
            yield encoding
    if (wide := wide_encoding(data)) is not None:
        yield wide
        return
    yield "utf-8"
    yield "utf-8-stray"
    if declared and _is_known(declared):
        yield declared
    yield from _guesses(data)


def wide_encoding(data: bytes) -> str | None:
    """Return the UTF-16 byte order of a text without a byte order mark, from where its zero bytes are."""
    sample = data[:4096]
    if len(sample) < 4 or 0 not in sample:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.3 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.3 * half and odd < 0.02 * half:
        return "utf-16-be"
    return None


def _is_known(encoding: str) -> bool:
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        return False
    return info._is_text_encoding and not info.name.startswith("utf")


def _decode_whole(data: bytes, encoding: str) -> str | None:
    if encoding == "utf-8-stray":
        return _decode_stray(data)
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _decode_stray(data: bytes) -> str | None:
    """Decode UTF-8 with a few stray bytes of another encoding in it, as old joined texts have."""
    text = data.decode("utf-8", errors="surrogateescape")
    stray = len(text) - len(data.decode("utf-8", "ignore"))
    fine = len(text) - len(data.translate(None, HIGH_BYTES)) - stray
    if stray > MAX_STRAY_SHARE * fine:
        return None
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "books-reader-stray")


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("books-reader-stray", _as_cp1252)


def _guesses(data: bytes) -> Iterator[str]:
    matches = list(from_bytes(_sample(data)))
    if not matches:
        return
    if SINGLE_BYTE_LATIN.fullmatch(matches[0].encoding) and _is_western(data, matches):
        yield "cp1252"
    yield from (match.encoding for match in matches[:3])


def _is_western(data: bytes, matches: list[CharsetMatch]) -> bool:
    """Tell cp1252 from the Latin encodings that the detector can't tell it from."""
    text = _sample(data).decode("cp1252", "replace")
    if len(SIGN_IN_WORD.findall(text)) > MAX_SIGN_SHARE * sum(character > "\x7f" for character in text):
        return False
    if WESTERN_WORDS.search(text) is not None:
        return True
    best = matches[0]
    return best.encoding != "cp1250" and any(
        match.encoding == "cp1252" and match.coherence >= best.coherence for match in matches
    )


def _sample(data: bytes) -> bytes:
    """Return the lines around the first bytes that are not ASCII."""
    first = re.search(rb"[\x80-\xff]", data)
    start = data.rfind(b"\n", 0, first.start()) + 1 if first else 0
    end = data.rfind(b"\n", start, start + SAMPLE_BYTES)
    return data[start : end if end > start + 1_000 else start + SAMPLE_BYTES]
