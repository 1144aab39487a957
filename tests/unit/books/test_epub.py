import pytest

from books.reader import SectionKind
from tests.unit.books.builders import (
    CONTAINER,
    PROSE,
    epub_files,
    nav,
    ncx,
    opf,
    pack,
    paragraphs,
    small_epub,
    xhtml,
)
from tests.unit.books.conftest import Read, Refuse

CHAPTERS = {f"c{n}.xhtml": f"<h2>Chapter {n}</h2>{paragraphs(f'{PROSE} {n}')}" for n in (1, 2, 3)}


def titles(book: object) -> list[str]:
    return [chapter.title for chapter in book.chapters]  # type: ignore[attr-defined]


def test_epub2_is_read_with_its_metadata(read: Read) -> None:
    book = read(small_epub())
    assert (book.format, book.title, book.author, book.language) == (
        "epub",
        "The Small Book",
        "Ann Author",
        "en",
    )
    assert titles(book) == ["Chapter 1", "Chapter 2", "Chapter 3"]
    assert [chapter.number for chapter in book.chapters] == [1, 2, 3]
    assert book.chapters[1].text == f"Opening of 2. {PROSE}\n\nEnd of 2."


def test_epub3_takes_titles_from_nav(read: Read) -> None:
    files = epub_files(
        {**CHAPTERS, "nav.xhtml": ""},
        manifest='<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>',
    )
    lines = "".join(f'<li><a href="c{n}.xhtml">Chapter {n}: The {n}. day</a></li>' for n in (1, 2, 3))
    files["OEBPS/nav.xhtml"] = nav(lines)
    book = read(pack(files))
    assert titles(book) == ["Chapter 1: The 1. day", "Chapter 2: The 2. day", "Chapter 3: The 3. day"]
    assert [section.title for section in book.sections if section.kind is SectionKind.FRONT] == ["Contents"]


def test_epub_with_several_chapters_in_one_file_is_split_at_anchors(read: Read) -> None:
    body = "".join(
        f'<h2>Chapter {n}</h2><a id="c{n}"></a>{paragraphs(f"{PROSE} {n}")}' if n == 2 else
        f'<div id="c{n}"><h2>Chapter {n}</h2>{paragraphs(f"{PROSE} {n}")}</div>'
        for n in (1, 2, 3)
    )  # fmt: skip
    files = epub_files({"all.xhtml": f"<h1>The Small Book</h1>{body}"})
    files["OEBPS/toc.ncx"] = ncx([(f"Chapter {n}", f"all.xhtml#c{n}") for n in (1, 2, 3)])
    book = read(pack(files))
    assert titles(book) == ["Chapter 1", "Chapter 2", "Chapter 3"]
    assert [chapter.text for chapter in book.chapters] == [f"{PROSE} {n}" for n in (1, 2, 3)]


def test_epub_with_a_chapter_over_two_files_is_joined(read: Read) -> None:
    documents = {
        "a.xhtml": f"<h2>Chapter 1</h2>{paragraphs('First half.')}",
        "b.xhtml": paragraphs("Second half."),
        "c.xhtml": f"<h2>Chapter 2</h2>{paragraphs(PROSE)}",
    }
    files = epub_files(documents)
    files["OEBPS/toc.ncx"] = ncx([("Chapter 1", "a.xhtml"), ("Chapter 2", "c.xhtml#missing")])
    book = read(pack(files))
    assert [chapter.text for chapter in book.chapters] == ["First half.\n\nSecond half.", PROSE]


def test_epub_follows_the_spine_not_the_manifest(read: Read) -> None:
    files = epub_files(CHAPTERS, spine='<itemref idref="d2"/><itemref idref="d0"/><itemref idref="d1"/>')
    assert titles(read(pack(files))) == ["Chapter 3", "Chapter 1", "Chapter 2"]


def test_epub_without_contents_uses_headings(read: Read) -> None:
    assert titles(read(pack(epub_files(CHAPTERS)))) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_epub_without_contents_and_headings_has_a_chapter_to_a_document(read: Read) -> None:
    book = read(pack(epub_files({f"c{n}.xhtml": paragraphs(f"{PROSE} {n}") for n in (1, 2)})))
    assert titles(book) == ["Chapter 1", "Chapter 2"]


def test_epub_contents_with_only_the_parts_gives_way_to_headings(read: Read) -> None:
    files = epub_files({"p1.xhtml": "<h1>Part One</h1>", **CHAPTERS})
    files["OEBPS/toc.ncx"] = ncx([("Cover", "p1.xhtml"), ("Start", "c1.xhtml")])
    assert titles(read(pack(files))) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_epub_parts_with_nested_chapters_count_the_chapters(read: Read) -> None:
    lines = (
        '<li><span>Part One</span><ol><li><a href="c1.xhtml">I</a></li>'
        '<li><a href="c2.xhtml">II</a></li></ol></li>'
        '<li><a href="c3.xhtml">Part Two</a><ol><li><a href="c3.xhtml">I</a></li></ol></li>'
    )
    documents = {f"c{n}.xhtml": paragraphs(f"{PROSE} {n}") for n in (1, 2, 3)}
    files = epub_files(
        documents,
        manifest='<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>',
    )
    files["OEBPS/nav.xhtml"] = nav(lines)
    assert titles(read(pack(files))) == ["Part One, I", "Part One, II", "Part Two, I"]


def test_epub_front_and_back_matter_are_told_apart(read: Read) -> None:
    documents = {
        "cover.xhtml": '<img src="cover.jpg" alt="Cover"/>',
        "title.xhtml": "<h1>The Small Book</h1><p>by Ann Author</p>",
        "copyright.xhtml": '<section epub:type="copyright-page"><p>All rights are free.</p></section>',
        "dedication.xhtml": "<h2>Dedication</h2><p>To you.</p>",
        "preface.xhtml": "<h2>Preface</h2><p>How I wrote it.</p>",
        **CHAPTERS,
        "epilogue.xhtml": "<h2>Epilogue</h2><p>And then it ended.</p>",
        "author.xhtml": "<h2>About the Author</h2><p>She writes.</p>",
        "index.xhtml": "<h2>Index</h2><p>Clocks, 1</p>",
    }
    files = epub_files(documents)
    files["OEBPS/toc.ncx"] = ncx(
        [
            ("The Small Book", "title.xhtml"),
            ("Preface", "preface.xhtml"),
            *((f"Chapter {n}", f"c{n}.xhtml") for n in (1, 2, 3)),
            ("Epilogue", "epilogue.xhtml"),
        ]
    )
    book = read(pack(files))
    assert [(section.kind.value, section.title) for section in book.sections] == [
        ("front", "Title page"),
        ("front", "Dedication"),
        ("front", "Preface"),
        ("chapter", "Chapter 1"),
        ("chapter", "Chapter 2"),
        ("chapter", "Chapter 3"),
        ("chapter", "Epilogue"),
        ("back", "About the Author"),
        ("back", "Index"),
    ]
    assert "All rights are free." in book.sections[0].text


def test_epub_flat_parts_with_epigraphs_divide_the_chapters(read: Read) -> None:
    documents: dict[str, str] = {}
    lines = []
    for part in ("FIRST", "SECOND"):
        documents[f"{part}.xhtml"] = f"<h2>BOOK THE {part}</h2><p>An epigraph.</p>"
        lines.append((f"BOOK THE {part}", f"{part}.xhtml"))
        for n in ("I", "II"):
            documents[f"{part}{n}.xhtml"] = f"<h3>CHAPTER {n}.</h3>{paragraphs(PROSE)}"
            lines.append((f"CHAPTER {n}.", f"{part}{n}.xhtml"))
    files = epub_files(documents)
    files["OEBPS/toc.ncx"] = ncx(lines)
    book = read(pack(files))
    assert titles(book) == [
        "Book the First, Chapter I",
        "Book the First, Chapter II",
        "Book the Second, Chapter I",
        "Book the Second, Chapter II",
    ]
    assert book.chapters[2].text == f"An epigraph.\n\n{PROSE}"


def test_epub_title_is_joined_from_label_and_heading(read: Read) -> None:
    documents = {
        "a.xhtml": f"<h1>The Small Book</h1><h2>CHAPTER I.</h2><h3>Down the Hole</h3>{paragraphs(PROSE)}",
        "b.xhtml": f"<h2>Chapter 2</h2><h2>Loomings</h2>{paragraphs(PROSE)}",
        "c.xhtml": f"<h2>Chapter 3. The Carpet-Bag</h2>{paragraphs(PROSE)}",
    }
    files = epub_files(documents)
    files["OEBPS/toc.ncx"] = ncx(
        [("The Small Book", "a.xhtml"), ("CHAPTER I.", "a.xhtml"), ("Loomings", "b.xhtml"), ("3", "c.xhtml")]
    )
    book = read(pack(files))
    assert titles(book) == ["Chapter I. Down the Hole", "Chapter 2. Loomings", "Chapter 3. The Carpet-Bag"]
    assert [chapter.text for chapter in book.chapters] == [PROSE] * 3


def test_epub_with_only_a_preface_has_one_chapter(read: Read) -> None:
    assert titles(read(pack(epub_files({"p.xhtml": f"<h1>Preface</h1>{paragraphs(PROSE)}"})))) == ["Preface"]


def test_epub_named_entities_and_broken_markup_are_mended(read: Read) -> None:
    files = epub_files(CHAPTERS)
    files["OEBPS/c1.xhtml"] = xhtml("<h2>Chapter 1</h2><p>Caf&eacute; &mdash; na&iuml;ve &amp; r&eacute;al.</p>")
    files["OEBPS/c2.xhtml"] = xhtml(
        '<h2>Chapter 2</h2><a id="x"/><p>Fish & chips <b>and</p> <title/> <p>more<br> words.'
    )
    book = read(pack(files))
    assert book.chapters[0].text == "Café — naïve & réal."
    assert book.chapters[1].text == "Fish & chips and\n\nmore words."
    assert titles(book) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_epub_document_in_another_encoding_than_declared_is_read(read: Read) -> None:
    files = epub_files(CHAPTERS)
    text = "Le café était très agréable. Les élèves français étaient là, près du château." * 5
    files["OEBPS/c1.xhtml"] = xhtml(f"<h2>Chapter 1</h2><p>{text}</p>").encode("cp1252")
    files["OEBPS/c2.xhtml"] = xhtml(f"<h2>Chapter 2</h2><p>{text}</p>").replace('encoding="utf-8"', "").encode("utf-16")
    assert [chapter.text for chapter in read(pack(files)).chapters[:2]] == [text, text]


def test_epub_with_duplicate_ids_takes_the_first(read: Read) -> None:
    manifest = '<item id="d0" href="c3.xhtml" media-type="application/xhtml+xml"/>'
    assert titles(read(pack(epub_files(CHAPTERS, manifest=manifest)))) == [
        "Chapter 1",
        "Chapter 2",
        "Chapter 3",
    ]


def test_epub_with_duplicate_anchors_uses_headings(read: Read) -> None:
    files = epub_files({"a.xhtml": f'<h2 id="x">Chapter 1</h2><p>{PROSE}</p><h2 id="x">Chapter 2</h2><p>{PROSE}</p>'})
    files["OEBPS/toc.ncx"] = ncx([("Chapter 1", "a.xhtml#x"), ("Chapter 2", "a.xhtml#x")])
    assert titles(read(pack(files))) == ["Chapter 1", "Chapter 2"]


def test_epub_with_percent_encoded_names_is_read(read: Read) -> None:
    files = epub_files({"a%20b.xhtml": CHAPTERS["c1.xhtml"]})
    files["OEBPS/a b.xhtml"] = files.pop("OEBPS/a%20b.xhtml")
    assert titles(read(pack(files))) == ["Chapter 1"]


def test_epub_with_path_traversal_names_is_read_without_touching_files(read: Read) -> None:
    files = epub_files(CHAPTERS)
    files |= {"../../evil.xhtml": "evil", "/etc/evil": "evil", "..\\evil.exe": "evil"}
    assert titles(read(pack(files))) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_epub_whose_spine_leaves_the_archive_is_malformed(refuse: Refuse) -> None:
    files = epub_files({"../../../../etc/passwd": ""})
    del files["OEBPS/../../../../etc/passwd"]
    error = refuse(pack(files))
    assert error.reason == "malformed"
    assert "passwd" in error.message


def test_epub_with_missing_document_is_malformed_and_names_it(refuse: Refuse) -> None:
    files = epub_files(CHAPTERS)
    del files["OEBPS/c2.xhtml"]
    error = refuse(pack(files))
    assert error.reason == "malformed"
    assert "c2.xhtml" in error.message


@pytest.mark.parametrize(
    "change",
    [
        {"OEBPS/content.opf": "<package><manifest>"},
        {"OEBPS/content.opf": "nothing of the kind"},
        {"OEBPS/content.opf": opf([])},
        {"META-INF/container.xml": "\0\0\0"},
    ],
)
def test_epub_with_broken_package_is_malformed(refuse: Refuse, change: dict[str, str]) -> None:
    assert refuse(pack({**epub_files(CHAPTERS), **change})).reason == "malformed"


def test_epub_without_package_is_malformed(refuse: Refuse) -> None:
    assert refuse(pack({"META-INF/container.xml": CONTAINER})).reason == "malformed"


def test_epub_with_container_missing_is_still_read(read: Read) -> None:
    files = epub_files(CHAPTERS)
    del files["META-INF/container.xml"]
    assert len(read(pack(files)).chapters) == 3


def test_epub_cut_off_is_malformed(refuse: Refuse) -> None:
    data = small_epub()
    assert refuse(data[: len(data) // 2]).reason == "malformed"


def test_epub_with_images_only_has_no_text(refuse: Refuse) -> None:
    assert refuse(pack(epub_files({"a.xhtml": '<img src="a.png" alt="A page"/>'}))).reason == "no_text"


ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
    '<enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/><enc:CipherData><enc:CipherReference URI="{}"/>'
    "</enc:CipherData></enc:EncryptedData></encryption>"
)


def test_epub_with_encrypted_text_is_refused(refuse: Refuse) -> None:
    encryption = ENCRYPTION.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/c1.xhtml")
    error = refuse(pack({**epub_files(CHAPTERS), "META-INF/encryption.xml": encryption}))
    assert error.reason == "encrypted"
    assert "copy-protected" in error.message


@pytest.mark.parametrize("name", ["rights.xml", "sinf.xml", "license.lcpl"])
def test_epub_with_rights_file_is_refused(refuse: Refuse, name: str) -> None:
    assert refuse(pack({**epub_files(CHAPTERS), f"META-INF/{name}": "<rights/>"})).reason == "encrypted"


def test_epub_with_obfuscated_fonts_is_read(read: Read) -> None:
    encryption = ENCRYPTION.format("http://www.idpf.org/2008/embedding", "OEBPS/font.otf")
    assert len(read(pack({**epub_files(CHAPTERS), "META-INF/encryption.xml": encryption})).chapters) == 3


def test_epub_with_zip_password_is_refused(refuse: Refuse) -> None:
    data = bytearray(small_epub())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 4)
    assert refuse(bytes(data)).reason == "encrypted"
