"""Archive: the zip around an EPUB, read in memory and never unpacked to disk.

Sizes in a zip's headers are claims: they can refuse a file early, but only what is really read counts.
"""

import io
import zipfile
import zlib
from posixpath import normpath

from books.reader.errors import BookUnreadable
from books.reader.limits import Limits

END_OF_DIRECTORY = b"PK\x05\x06"
DIRECTORY_ENTRY = b"PK\x01\x02"
CHUNK_BYTES = 65_536
RATIO_FREE_BYTES = 1_000_000  # a small file may be packed as tightly as it likes
METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # all that EPUB allows; others can't be read in bounded steps
ENCRYPTED_FLAG = 0x1


class Archive:
    """The files of a zip by name. Not shared between threads."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._limits = limits
        self._read_bytes = 0
        self._packed_bytes = len(data)
        _check_directory(data, limits)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError) as error:
            raise _damaged("it can't be opened as a zip archive") from error
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            self._entries.setdefault(entry.filename, entry)
        self._folded = {name.casefold(): name for name in reversed(self._entries)}
        self._check_claims()

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def find(self, path: str) -> str | None:
        """Return the name of the entry at a path, letting case differ; None if there is none."""
        path = normpath(path.replace("\\", "/")).lstrip("/")
        return path if path in self._entries else self._folded.get(path.casefold())

    def read(self, name: str) -> bytes:
        """Unpack one file, stopping as soon as it is more than allowed.

        Raises:
            BookUnreadable: "too_large", "encrypted" or "malformed".
        """
        entry = self._entries[name]
        if entry.flag_bits & ENCRYPTED_FLAG:
            raise BookUnreadable("encrypted", f"“{name}” in the EPUB is protected with a password.")
        if entry.compress_type not in METHODS:
            raise _damaged(f"“{name}” is packed in a way that EPUB doesn't allow")
        chunks = []
        size = 0
        try:
            with self._zip.open(entry) as file:
                while chunk := file.read(CHUNK_BYTES):
                    chunks.append(chunk)
                    size += len(chunk)
                    self._count(len(chunk), size, entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise _damaged(f"“{name}” can't be unpacked") from error
        return b"".join(chunks)

    def _count(self, new_bytes: int, size: int, entry: zipfile.ZipInfo) -> None:
        self._read_bytes += new_bytes
        if self._read_bytes > self._limits.max_uncompressed_bytes:
            raise _too_large(self._limits)
        packed = min(entry.compress_size, self._packed_bytes)
        if size > RATIO_FREE_BYTES and size > packed * self._limits.max_compression_ratio:
            raise _bomb(self._limits)

    def _check_claims(self) -> None:
        entries = self._zip.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > RATIO_FREE_BYTES and total > self._packed_bytes * self._limits.max_compression_ratio:
            raise _bomb(self._limits)
        if total > self._limits.max_uncompressed_bytes:
            raise _too_large(self._limits)
        for entry in entries:
            self._count(0, entry.file_size, entry)


def _check_directory(data: bytes, limits: Limits) -> None:
    """Refuse too many entries before zipfile makes an object of each."""
    end = data.rfind(END_OF_DIRECTORY)
    if end < 0:
        raise _damaged("the end of the zip archive is missing, perhaps the download was cut off")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    directory = data[max(0, end - size) : end]
    count = directory.count(DIRECTORY_ENTRY)
    if count <= limits.max_archive_entries:
        return
    documents = directory.count(b"html")
    if documents > limits.max_chapters:
        raise BookUnreadable(
            "too_many_chapters",
            f"The book has {documents:,} documents; at most {limits.max_chapters:,} chapters are allowed.",
        )
    raise BookUnreadable(
        "too_large",
        f"The archive holds {count:,} files; at most {limits.max_archive_entries:,} are allowed.",
    )


def _damaged(why: str) -> BookUnreadable:
    return BookUnreadable("malformed", f"The file is damaged: {why}.")


def _too_large(limits: Limits) -> BookUnreadable:
    megabytes = limits.max_uncompressed_bytes // 1_000_000
    return BookUnreadable("too_large", f"The book unpacks to more than the {megabytes:,} MB allowed.")


def _bomb(limits: Limits) -> BookUnreadable:
    return BookUnreadable(
        "too_large",
        f"The archive is packed more than {limits.max_compression_ratio} times smaller than its content, "
        "as no real book is.",
    )
