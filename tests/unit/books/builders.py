"""Small books of every format, built in memory; whole or broken as a test needs."""

import io
import zipfile
from collections.abc import Mapping, Sequence

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OEBPS/content.opf"/></rootfiles>'
    "</container>"
)
PROSE = "It was a bright cold day in spring, and the clocks of the town were striking one after the other."


def paragraphs(*texts: str) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def xhtml(body: str, *, head: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title>A page</title>{head}</head><body>{body}</body></html>"
    )


def opf(
    documents: Sequence[str],
    *,
    title: str = "The Small Book",
    author: str = "Ann Author",
    language: str = "en",
    manifest: str = "",
    spine: str | None = None,
    extra: str = "",
) -> str:
    items = "".join(
        f'<item id="d{i}" href="{name}" media-type="application/xhtml+xml"/>' for i, name in enumerate(documents)
    )
    references = "".join(f'<itemref idref="d{i}"/>' for i, _ in enumerate(documents)) if spine is None else spine
    return (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title>'
        f"<dc:creator>{author}</dc:creator><dc:language>{language}</dc:language></metadata>"
        f"<manifest>{items}{manifest}"
        '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>'
        f'<spine toc="ncx">{references}</spine>{extra}</package>'
    )


def ncx(lines: Sequence[tuple[str, str]]) -> str:
    points = "".join(
        f'<navPoint><navLabel><text>{title}</text></navLabel><content src="{href}"/></navPoint>'
        for title, href in lines
    )
    return f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{points}</navMap></ncx>'


def nav(lines: str) -> str:
    return xhtml(f'<nav epub:type="toc"><h1>Contents</h1><ol>{lines}</ol></nav>')


def pack(files: Mapping[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Zip files with the EPUB mimetype first."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, content in files.items():
            archive.writestr(name, content, method)
    return buffer.getvalue()


def epub_files(documents: Mapping[str, str], **package: str) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"META-INF/container.xml": CONTAINER}
    files["OEBPS/content.opf"] = opf(list(documents), **package)
    files.update({f"OEBPS/{name}": xhtml(body) for name, body in documents.items()})
    return files


def small_epub(chapters: int = 3) -> bytes:
    """Return an EPUB 2 with one document and one contents line to a chapter."""
    documents = {
        f"c{n}.xhtml": f"<h2>Chapter {n}</h2>{paragraphs(f'Opening of {n}. {PROSE}', f'End of {n}.')}"
        for n in range(1, chapters + 1)
    }
    files = epub_files(documents)
    files["OEBPS/toc.ncx"] = ncx([(f"Chapter {n}", f"c{n}.xhtml") for n in range(1, chapters + 1)])
    return pack(files)


def pdf(
    pages: Sequence[Sequence[str]],
    *,
    outline: Sequence[tuple[str, int]] = (),
    metadata: Mapping[str, str] | None = None,
    password: str | None = None,
) -> bytes:
    """Return a PDF with one line of text below the other."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    for lines in pages:
        page = writer.add_blank_page(595, 842)
        shown = "".join(f"({_escaped(line)}) Tj 0 -14 Td " for line in lines)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 11 Tf 50 800 Td {shown}ET".encode("cp1252"))
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(stream)
    for title, page_number in outline:
        writer.add_outline_item(title=title, page_number=page_number)
    if metadata:
        writer.add_metadata(dict(metadata))
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
