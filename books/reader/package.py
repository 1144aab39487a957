"""Package: the files that say how an EPUB is put together (container, OPF, contents, encryption)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from books.reader.archive import Archive
from books.reader.blocks import clean
from books.reader.errors import BookUnreadable
from books.reader.licence import language_tag
from books.reader.markup import EPUB_TYPE, Element, find_all, local_name, parse_page, parse_xml, text_of

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
RIGHTS = ("META-INF/rights.xml", "META-INF/sinf.xml", "META-INF/license.lcpl")  # Adobe, Apple, Readium LCP
FONT_OBFUSCATION = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})
DOCUMENT_TYPES = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/xml"})
DOCUMENT_ENDINGS = (".xhtml", ".html", ".htm", ".xml")
NCX_TYPE = "application/x-dtbncx+xml"
MAX_CONTENTS_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Item:
    path: str
    media_type: str
    properties: tuple[str, ...]

    @property
    def is_document(self) -> bool:
        return self.media_type in DOCUMENT_TYPES or self.path.lower().endswith(DOCUMENT_ENDINGS)


@dataclass(frozen=True, slots=True)
class TocLine:
    title: str
    path: str
    fragment: str
    children: tuple["TocLine", ...] = ()


@dataclass(slots=True)
class Package:
    title: str = ""
    author: str | None = None
    language: str | None = None
    spine: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)  # documents outside the reading order, linear="no"
    nav_path: str | None = None
    ncx_path: str | None = None
    guide: list[tuple[str, str, str]] = field(default_factory=list)  # type, path, fragment


def check_rights(archive: Archive) -> None:
    """Refuse a book whose text is encrypted; fonts alone may be obfuscated."""
    for name in RIGHTS:
        if archive.find(name):
            raise _encrypted()
    encryption = archive.find(ENCRYPTION)
    if encryption is None:
        return
    root = parse_xml(archive.read(encryption), encryption)
    for data in find_all(root, "encrypteddata"):
        methods = [method.get("Algorithm") for method in find_all(data, "encryptionmethod")]
        if any(method not in FONT_OBFUSCATION for method in methods) or not methods:
            raise _encrypted()


def _encrypted() -> BookUnreadable:
    return BookUnreadable("encrypted", "The EPUB is copy-protected (DRM); only books without protection can be read.")


def read_package(archive: Archive) -> Package:
    path = _package_path(archive)
    root = parse_xml(archive.read(path), path)
    package = Package()
    items = _items(root, path)
    _read_metadata(root, package)
    _read_spine(root, path, items, archive, package)
    package.nav_path = next((item.path for item in items.values() if "nav" in item.properties), None)
    _read_guide(root, path, package)
    return package


def _package_path(archive: Archive) -> str:
    container = archive.find(CONTAINER)
    if container is not None:
        root = parse_xml(archive.read(container), container)
        for rootfile in find_all(root, "rootfile"):
            if name := archive.find(unquote(rootfile.get("full-path") or "")):
                return name
    found = next((name for name in archive.names if name.lower().endswith(".opf")), None)
    if found is None:
        raise BookUnreadable("malformed", "The EPUB is damaged: its package file (.opf) is missing.")
    return found


def resolve(base: str, href: str) -> tuple[str, str]:
    """Return the path and the fragment that a link leads to; both are only ever looked up, never opened."""
    target, _, fragment = href.strip().partition("#")
    path = normpath(join(dirname(base), unquote(target))) if target else base
    return path, unquote(fragment)


def _items(root: Element, base: str) -> dict[str, Item]:
    items: dict[str, Item] = {}
    for element in find_all(root, "item"):
        identifier, href = element.get("id"), element.get("href")
        if identifier and href:
            properties = tuple((element.get("properties") or "").split())
            item = Item(resolve(base, href)[0], (element.get("media-type") or "").lower(), properties)
            items.setdefault(identifier.strip(), item)
    return items


def _read_metadata(root: Element, package: Package) -> None:
    titles = [text for element in find_all(root, "title") if (text := text_of(element))]
    languages = [text_of(element) for element in find_all(root, "language")]
    package.title = titles[0] if titles else ""
    package.language = next((tag for language in languages if (tag := language_tag(language))), None)
    roles = {
        (meta.get("refines") or "").lstrip("#"): text_of(meta)
        for meta in find_all(root, "meta")
        if meta.get("property") == "role"
    }
    creators = []
    for element in find_all(root, "creator"):
        role = next((value for key, value in element.items() if key.rpartition("}")[2] == "role"), None)
        creators.append((text_of(element), role or roles.get(element.get("id") or "", "")))
    authors = [name for name, role in creators if role == "aut"] or [name for name, _ in creators]
    package.author = ", ".join(name for name in authors if name) or None


def _read_spine(root: Element, base: str, items: dict[str, Item], archive: Archive, package: Package) -> None:
    spine = next(find_all(root, "spine"), None)
    if spine is None:
        raise BookUnreadable("malformed", f"The EPUB is damaged: “{base}” doesn't say in which order to read.")
    seen: set[str] = set()
    for reference in find_all(spine, "itemref"):
        identifier = (reference.get("idref") or "").strip()
        item = items.get(identifier)
        is_aside = reference.get("linear") == "no"
        name = archive.find(item.path) if item else None
        if name is None and not is_aside:
            what = item.path if item else identifier
            raise BookUnreadable("malformed", f"The EPUB is damaged: “{what}” belongs to the text but is missing.")
        if name is not None and name not in seen and item and item.is_document:
            seen.add(name)
            (package.aside if is_aside else package.spine).append(name)
    ncx = items.get(spine.get("toc") or "") or next((i for i in items.values() if i.media_type == NCX_TYPE), None)
    package.ncx_path = ncx.path if ncx else None
    if not package.spine:
        raise BookUnreadable("malformed", f"The EPUB is damaged: “{base}” lists no text to read.")


def _read_guide(root: Element, base: str, package: Package) -> None:
    for reference in find_all(root, "reference"):
        if reference.get("type") and reference.get("href"):
            package.guide.append((reference.get("type").lower(), *resolve(base, reference.get("href"))))


def read_contents(archive: Archive, package: Package) -> list[TocLine]:
    """Return the table of contents of EPUB 3 (nav), else of EPUB 2 (ncx); empty if there is none."""
    if package.nav_path and (name := archive.find(package.nav_path)):
        root = parse_page(archive.read(name), name)
        if root is not None and (lines := _nav_contents(root, name, package)):
            return lines
    if package.ncx_path and (name := archive.find(package.ncx_path)):
        root = parse_xml(archive.read(name), name)
        points = next(find_all(root, "navmap"), None)
        return list(_ncx_lines(points, name, 0)) if points is not None else []
    return []


def _nav_contents(root: Element, base: str, package: Package) -> list[TocLine]:
    contents: list[TocLine] = []
    for nav in find_all(root, "nav"):
        kind = nav.get(EPUB_TYPE) or nav.get("epub:type") or ""
        if kind == "landmarks":
            for link in find_all(nav, "a"):
                target = resolve(base, link.get("href") or "")
                package.guide.append(((link.get(EPUB_TYPE) or "").lower(), *target))
        elif not contents and kind in ("toc", ""):
            contents = [line for child in nav if local_name(child) == "ol" for line in _nav_lines(child, base, 0)]
    return contents


def _nav_lines(items: Element, base: str, depth: int) -> Iterator[TocLine]:
    for item in items:
        if local_name(item) != "li":
            continue
        label = next((child for child in item.iter() if local_name(child) in ("a", "span")), None)
        inner = next((child for child in item if local_name(child) == "ol"), None)
        children = tuple(_nav_lines(inner, base, depth + 1)) if inner is not None and depth < MAX_CONTENTS_DEPTH else ()
        if label is None:
            yield from children
            continue
        href = label.get("href")
        path, fragment = resolve(base, href) if href else ("", "")
        yield TocLine(text_of(label), path, fragment, children)


def _ncx_lines(points: Element, base: str, depth: int) -> Iterator[TocLine]:
    for point in points:
        if local_name(point) != "navpoint":
            continue
        label = next((child for child in point if local_name(child) == "navlabel"), None)
        content = next((child for child in point if local_name(child) == "content"), None)
        src = content.get("src") if content is not None else None
        path, fragment = resolve(base, src) if src else ("", "")
        children = tuple(_ncx_lines(point, base, depth + 1)) if depth < MAX_CONTENTS_DEPTH else ()
        yield TocLine(clean(text_of(label)) if label is not None else "", path, fragment, children)
