"""EPUB 2 and 3: the documents of the spine become blocks, the table of contents says where sections start."""

from dataclasses import dataclass, field, replace

from books.reader.archive import Archive
from books.reader.assembly import assemble, text_too_large
from books.reader.blocks import Block, Entry, Start, words
from books.reader.headings import Style, parse_heading
from books.reader.licence import language_tag, mark_licence
from books.reader.limits import Limits
from books.reader.markup import Page, check_tags, parse_page, read_page
from books.reader.outline import starts_from_entries, starts_from_headings
from books.reader.package import Package, TocLine, check_rights, read_contents, read_package
from books.reader.sections import BookText, SectionKind

FRONT_TYPES = {
    "cover", "titlepage", "title-page", "halftitlepage", "toc", "frontmatter", "copyright-page",
    "dedication", "preface", "foreword", "introduction", "epigraph", "imprint", "loi", "lot",
}  # fmt: skip
BACK_TYPES = {
    "index", "glossary", "bibliography", "colophon", "notes", "endnotes", "footnotes", "rearnotes",
    "appendix", "afterword", "backmatter",
}  # fmt: skip
TYPES = {
    **dict.fromkeys(FRONT_TYPES, SectionKind.FRONT),
    **dict.fromkeys(BACK_TYPES, SectionKind.BACK),
    **dict.fromkeys(("chapter", "prologue", "epilogue"), SectionKind.CHAPTER),
}
BROAD_TYPES = frozenset({"frontmatter", "bodymatter", "backmatter"})


@dataclass(slots=True)
class Text:
    """All documents as one list of blocks, with the places that links can lead to."""

    blocks: list[Block] = field(default_factory=list)
    anchors: dict[tuple[str, str], int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    kinds: dict[int, SectionKind] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)


def read_epub(data: bytes, limits: Limits, fallback_title: str) -> BookText:
    archive = Archive(data, limits)
    check_rights(archive)
    package = read_package(archive)
    contents = read_contents(archive, package)
    text = _read_text(archive, package, contents, limits)
    text.blocks = mark_licence(text.blocks)
    title = package.title or fallback_title
    starts = _starts(text, package, contents, limits)
    sections = assemble(text.blocks, starts, title=title, author=package.author, limits=limits)
    return BookText("epub", title, package.author, package.language, sections)


def _read_text(archive: Archive, package: Package, contents: list[TocLine], limits: Limits) -> Text:
    listed = {name for path in _paths(contents) if (name := archive.find(path))}
    text = Text()
    characters = tags = 0
    for path in package.spine + [path for path in package.aside if path in listed]:
        data = archive.read(path)
        tags += data.count(b"<")
        check_tags(tags, limits)
        page = read_page(parse_page(data, path))
        is_contents = package.nav_path is not None and path == archive.find(package.nav_path)
        _add_page(text, path, page, is_contents=is_contents)
        package.language = package.language or language_tag(page.language)
        characters += sum(len(block.text) for block in page.blocks)
        if characters > limits.max_text_characters:
            raise text_too_large(limits)
    _add_guide(text, archive, package)
    return text


def _paths(lines: tuple[TocLine, ...] | list[TocLine]) -> list[str]:
    return [path for line in lines for path in (line.path, *_paths(line.children))]


def _add_page(text: Text, path: str, page: Page, *, is_contents: bool) -> None:
    first = len(text.blocks)
    blocks = [replace(block, is_link=True) for block in page.blocks] if is_contents else page.blocks
    text.blocks += blocks
    text.anchors[path, ""] = first
    text.ends[path] = len(text.blocks)
    text.titles[first] = page.title
    for anchor, index in page.anchors.items():
        text.anchors[path, anchor] = first + index
    for index, types in page.types.items():
        known = [TYPES[kind] for kind in types.lower().split() if kind in TYPES]
        narrow = [TYPES[kind] for kind in types.lower().split() if kind in TYPES and kind not in BROAD_TYPES]
        if known:
            text.kinds[first + index] = (narrow or known)[0]
    if is_contents:
        text.kinds[first] = SectionKind.FRONT


def _add_guide(text: Text, archive: Archive, package: Package) -> None:
    for types, path, fragment in package.guide:
        index = text.anchors.get((archive.find(path) or "", fragment))
        kind = next((TYPES[kind] for kind in types.split() if kind in TYPES), None)
        if index is not None and kind is not None:
            text.kinds.setdefault(index, kind)


def _starts(text: Text, package: Package, contents: list[TocLine], limits: Limits) -> list[Start]:
    names = {path.casefold(): path for path in text.ends}
    entries = _entries(contents, text, names)
    from_contents = starts_from_entries(entries, package.title)
    if not _is_useful(from_contents):
        from_headings = starts_from_headings(text.blocks, limits)
        if len(from_headings) > len({start.index for start in from_contents}):
            from_contents = from_headings
        elif not from_contents:
            from_contents = _document_starts(text)
    starts = [replace(start, kind=_declared_kind(start, text)) for start in from_contents]
    return starts + _unlisted_starts(text, {start.index for start in starts})


def _declared_kind(start: Start, text: Text) -> SectionKind | None:
    """Return what the book calls a section, unless its printed title says "Chapter"."""
    heading = parse_heading(start.title)
    return text.kinds.get(start.index) if heading is None or heading.style is Style.MATTER else None


def _is_useful(starts: list[Start]) -> bool:
    """Tell whether a table of contents lists chapters, and not only the cover, the start and the parts."""
    headings = [(start, parse_heading(start.title)) for start in starts if not start.is_division]
    chapters = [start for start, heading in headings if heading is None or heading.style is not Style.MATTER]
    parts = [start for start, heading in headings if heading is not None and heading.style is Style.DIVISION]
    return len({start.index for start in chapters}) > 1 and len(parts) < len(chapters)


def _entries(lines: tuple[TocLine, ...] | list[TocLine], text: Text, names: dict[str, str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for line in lines:
        children = _entries(line.children, text, names)
        index = _place(line, text, names.get(line.path.casefold(), ""))
        if index is None and children:
            index = children[0].index
        if index is not None:
            entries.append(Entry(line.title, index, children))
    return tuple(entries)


def _place(line: TocLine, text: Text, path: str) -> int | None:
    """Return the block where a line of the contents leads, moved to the heading that it names."""
    first, end = text.anchors.get((path, "")), text.ends.get(path, 0)
    if first is None:
        return None
    index = text.anchors.get((path, line.fragment))
    title = words(line.title)
    if index is None:
        headings = (i for i in range(first, end) if text.blocks[i].level and words(text.blocks[i].text) == title)
        return next(headings, first)
    above = text.blocks[index - 1] if index > first else None
    return index - 1 if above and above.level and words(above.text) == title else index


def _document_starts(text: Text) -> list[Start]:
    """Take each document for a chapter, in a book without contents and headings."""
    filled = [path for path, end in text.ends.items() if end > text.anchors[path, ""]]
    return [Start(text.anchors[path, ""], f"Chapter {number}") for number, path in enumerate(filled, start=1)]


def _unlisted_starts(text: Text, known: set[int]) -> list[Start]:
    """Find documents such as a copyright page or an index that the contents leave out."""
    starts = []
    for path, end in text.ends.items():
        index = text.anchors[path, ""]
        if index in known or index >= end or text.blocks[index].is_licence:
            continue
        block = text.blocks[index]
        declared = text.kinds.get(index)
        heading = parse_heading(block.text) if block.level else None
        is_matter = heading is not None and heading.style is Style.MATTER
        if declared in (SectionKind.FRONT, SectionKind.BACK) or is_matter:
            title = block.text if block.level else _type_title(declared)
            starts.append(Start(index, title, declared))
    return starts


def _type_title(kind: SectionKind | None) -> str:
    return "Front matter" if kind is SectionKind.FRONT else "Back matter"
