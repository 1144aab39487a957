"""Assembly: blocks and starts become numbered sections, whatever the format was."""

from collections.abc import Sequence

from books.reader.blocks import Block, Start, join_paragraphs, words
from books.reader.errors import BookUnreadable
from books.reader.headings import Style, is_contents, matter_kind, parse_heading
from books.reader.limits import Limits
from books.reader.outline import too_many_chapters
from books.reader.pieces import Piece, carve, cut
from books.reader.sections import Section, SectionKind
from books.reader.titles import final_titles, has_style, is_bare, joined_title, take_title

FRONT_TITLE = "Front matter"
TITLE_PAGE = "Title page"
TITLE_PAGE_CHARACTERS = 1_500
EPIGRAPH_CHARACTERS = 1_000
MIN_LETTERS = 10  # a book with fewer letters has no text


def assemble(
    blocks: Sequence[Block], starts: Sequence[Start], *, title: str, author: str | None, limits: Limits
) -> tuple[Section, ...]:
    """Cut the blocks at the starts and tell chapters from what comes before and after them.

    Raises:
        BookUnreadable: "no_text", "too_large" or "too_many_chapters".
    """
    check_text(blocks, limits)
    pieces = [part for piece in cut(blocks, starts) for part in carve(piece)]
    for piece in pieces:
        take_title(piece)
    pieces = _join_empty(pieces)
    _classify(pieces, title, author)
    pieces = _join_front(_keep_one_chapter(pieces, title))
    return _sections(pieces, limits)


def check_text(blocks: Sequence[Block], limits: Limits) -> None:
    if len(blocks) > limits.max_paragraphs:
        raise too_many_paragraphs(limits)
    characters = letters = 0
    for block in blocks:
        characters += len(block.text)
        if letters < MIN_LETTERS and not block.is_licence:
            letters += sum(character.isalpha() for character in block.text)
    if characters > limits.max_text_characters:
        raise text_too_large(limits)
    if letters < MIN_LETTERS:
        raise no_text()


def no_text() -> BookUnreadable:
    return BookUnreadable("no_text", "The file holds no text that could be read as a book.")


def text_too_large(limits: Limits) -> BookUnreadable:
    return BookUnreadable(
        "too_large", f"The text is longer than the {limits.max_text_characters:,} characters allowed."
    )


def too_many_paragraphs(limits: Limits) -> BookUnreadable:
    return BookUnreadable("too_large", f"The text has more than the {limits.max_paragraphs:,} paragraphs allowed.")


def _join_empty(pieces: list[Piece]) -> list[Piece]:
    """Let headings without text below them name or divide what follows."""
    joined: list[Piece] = []
    waiting: Piece | None = None
    division: str | None = None
    for piece in pieces:
        if piece.kind is not None:
            joined.append(piece)
            continue
        if waiting is not None:
            _join_waiting(waiting, piece)
            waiting = None
        is_division = has_style(piece.title, Style.DIVISION) and (piece.is_division or not piece.blocks)
        if is_division or (not piece.blocks and parse_heading(piece.title) is None):
            division = piece.title
        piece.division = piece.division or division
        if (is_division and piece.characters <= EPIGRAPH_CHARACTERS) or (not piece.blocks and is_bare(piece.title)):
            waiting = piece
        else:
            joined.append(piece)
    if waiting is not None and waiting.blocks:
        joined.append(waiting)
    return joined


def _join_waiting(waiting: Piece, piece: Piece) -> None:
    piece.blocks = waiting.blocks + piece.blocks
    if not has_style(waiting.title, Style.DIVISION) and piece.title and parse_heading(piece.title) is None:
        piece.title = joined_title(waiting.title, piece.title)


def _classify(pieces: list[Piece], title: str, author: str | None) -> None:
    book_title, author_words = words(title), words(author or "")
    before_chapters = True
    for piece in pieces:
        if piece.kind is None:
            piece.kind = _kind(piece, book_title, author_words, before_chapters=before_chapters)
        if piece.kind is SectionKind.CHAPTER:
            before_chapters = False


def _kind(piece: Piece, book_title: list[str], author: list[str], *, before_chapters: bool) -> SectionKind:
    heading = parse_heading(piece.title)
    if heading is not None and heading.style is not Style.MATTER:
        return SectionKind.CHAPTER
    kind = matter_kind(piece.title, before_chapters=before_chapters)
    if kind is not None:
        return kind
    if not before_chapters:
        return SectionKind.CHAPTER
    found = words(piece.title)
    is_title_page = (
        not piece.blocks or piece.is_division or found[:1] == ["by"] or found == author or _within(found, book_title)
    )
    if not found or (is_title_page and piece.characters <= TITLE_PAGE_CHARACTERS):
        return SectionKind.FRONT
    return SectionKind.CHAPTER


def _within(found: list[str], title: list[str]) -> bool:
    return f" {' '.join(found)} " in f" {' '.join(title)} "


def _keep_one_chapter(pieces: list[Piece], title: str) -> list[Piece]:
    """Take the longest piece for the chapter when none is, or when most of the text has no heading."""
    own = [piece for piece in pieces if piece.kind is not SectionKind.LICENCE and not is_contents(piece.title)]
    longest = max(own, key=lambda piece: piece.characters, default=None)
    has_chapters = any(piece.kind is SectionKind.CHAPTER for piece in own)
    if longest is None or not longest.blocks:
        return pieces
    is_most = not longest.title and longest.characters * 2 > sum(piece.characters for piece in own)
    if not has_chapters or is_most:
        longest.kind = SectionKind.CHAPTER
        longest.title = longest.title or title
    return pieces


def _join_front(pieces: list[Piece]) -> list[Piece]:
    """Join what belongs to one title page, and licence texts that touch."""
    joined: list[Piece] = []
    for piece in pieces:
        if piece.kind is SectionKind.FRONT and matter_kind(piece.title, before_chapters=True) is None:
            piece.blocks = piece.headings + piece.blocks
            piece.title = TITLE_PAGE if piece.headings else FRONT_TITLE
        if not piece.blocks:
            continue
        last = joined[-1] if joined else None
        if last and last.kind is piece.kind is SectionKind.LICENCE:
            last.blocks += piece.blocks
        elif last and last.kind is piece.kind and {last.title, piece.title} <= {TITLE_PAGE, FRONT_TITLE}:
            last.blocks += piece.blocks
            last.title = TITLE_PAGE
        else:
            joined.append(piece)
    return joined


def _sections(pieces: list[Piece], limits: Limits) -> tuple[Section, ...]:
    chapters = [piece for piece in pieces if piece.kind is SectionKind.CHAPTER]
    if len(chapters) > limits.max_chapters:
        raise too_many_chapters(len(chapters), limits)
    if not chapters:
        raise no_text()
    titles = final_titles(pieces)
    sections = []
    number = 0
    for piece, title in zip(pieces, titles, strict=True):
        is_chapter = piece.kind is SectionKind.CHAPTER
        number += is_chapter
        kind = piece.kind or SectionKind.CHAPTER
        sections.append(Section(number if is_chapter else None, kind, title, join_paragraphs(piece.blocks)))
    return tuple(sections)
