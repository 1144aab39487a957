"""How much a book may cost to read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Upper bounds; a file beyond one of them is refused, never cut short."""

    max_file_bytes: int = 50_000_000
    max_uncompressed_bytes: int = 200_000_000
    max_compression_ratio: int = 200  # deflated prose reaches about 4, deflate itself at most 1,032
    max_archive_entries: int = 5_000
    max_chapters: int = 2_000
    max_text_characters: int = 20_000_000  # "À la recherche du temps perdu" has about 7,500,000
    max_pdf_pages: int = 5_000
    max_paragraphs: int = 500_000  # the longest novels have about 50,000
    max_markup_tags: int = 2_000_000  # of all documents together; prose has about one to 100 characters
    max_pdf_operations: int = 5_000_000  # drawing operators of all pages together, about 30,000 a second
