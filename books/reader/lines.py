"""Lines: hard-wrapped lines back into paragraphs, for plain text and for pages of a PDF."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from statistics import median

from books.reader.errors import BookUnreadable
from books.reader.headings import parse_heading
from books.reader.licence import END_MARKER, START_MARKER
from books.reader.limits import Limits

UNWRAPPED_CHARACTERS = 120  # a text whose typical line is longer has one paragraph to a line
MIN_BLANK_SHARE = 0.02  # with fewer blank lines, they don't separate the paragraphs
SHORT_LINE_SHARE = 0.85  # of a full line; a shorter one may end a paragraph
MAX_LINES_A_PARAGRAPH = 4  # on average and with blank lines; bounds the work before anything is split
SENTENCE_ENDS = (".", "!", "?", "”", '"', "’", "'", "»", "…", ":", "—")


@dataclass(frozen=True, slots=True)
class Paragraph:
    lines: list[str]
    gap: int = 0  # blank lines above
    first_line: int = 0


def split_paragraphs(text: str, limits: Limits) -> list[Paragraph]:
    """Split a text at its blank lines, or by the look of its lines where it has none."""
    check_lines(text.count("\n") + text.count("\r") + text.count("\f"), limits)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n\n")
    lines = [line.rstrip() for line in text.split("\n")]
    filled = [line for line in lines if line]
    if not filled:
        return []
    if median(len(line) for line in filled) > UNWRAPPED_CHARACTERS:
        return [paragraph for group in _at_blank_lines(lines) for paragraph in _each_line(group)]
    if len(lines) > 20 and len(lines) - len(filled) < MIN_BLANK_SHARE * len(lines):
        return reflow(lines)
    return _at_blank_lines(lines)


def check_lines(count: int, limits: Limits) -> None:
    if count > MAX_LINES_A_PARAGRAPH * limits.max_paragraphs:
        raise BookUnreadable(
            "too_large",
            f"The text has more lines than the {limits.max_paragraphs:,} paragraphs allowed can have.",
        )


def _at_blank_lines(lines: Iterable[str]) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    gap = 1
    for line in lines:
        if not line:
            gap += 1
        elif gap or START_MARKER.match(line) or END_MARKER.match(line):
            paragraphs.append(Paragraph([line], gap))
            gap = 0
        else:
            paragraphs[-1].lines.append(line)
    return paragraphs


def _each_line(paragraph: Paragraph) -> list[Paragraph]:
    return [Paragraph([line], 0 if i else paragraph.gap) for i, line in enumerate(paragraph.lines)]


def reflow(
    lines: list[str], opens: Container[int] = frozenset(), closes: Container[int] = frozenset()
) -> list[Paragraph]:
    """Find the paragraphs of lines that no blank lines separate.

    A paragraph ends at a short line that ends a sentence and starts at an indented line; a heading is one
    of its own.

    Args:
        opens: indexes of lines that start a paragraph whatever they look like.
        closes: indexes of lines that end one.
    """
    lengths = sorted(len(line) for line in lines if line)
    full = lengths[len(lengths) * 9 // 10] if lengths else 0
    is_indented = sum(line[:1].isspace() for line in lines if line) * 2 < len(lengths)
    paragraphs: list[Paragraph] = []
    is_open = False
    for index, line in enumerate(lines):
        text = line.strip()
        if not text:
            is_open = False
            continue
        is_heading = parse_heading(text) is not None
        starts = is_heading or index in opens or (is_indented and line[0].isspace())
        if is_open and not starts:
            paragraphs[-1].lines.append(line)
        else:
            paragraphs.append(Paragraph([line], first_line=index))
        is_end = len(text) < SHORT_LINE_SHARE * full and text.endswith(SENTENCE_ENDS)
        is_open = not (is_heading and index not in opens) and not is_end and index not in closes
    return paragraphs


def unwrap(lines: Iterable[str], *, soft_hyphens: bool = False) -> str:
    """Join lines with spaces, and without one after a hyphen.

    Args:
        soft_hyphens: a hyphen between small letters only marks the end of the line, and goes.
    """
    parts: list[str] = []
    for line in lines:
        text = line.strip()
        if not parts:
            parts.append(text)
            continue
        last = parts[-1]
        if last.endswith("-") and last[-2:-1].isalpha() and text[:1].isalpha():
            if soft_hyphens and text[:1].islower() and last[-2:-1].islower():
                parts[-1] = last[:-1]
            parts.append(text)
        elif last.endswith("--"):
            parts.append(text)
        else:
            parts.append(f" {text}")
    return "".join(parts)
