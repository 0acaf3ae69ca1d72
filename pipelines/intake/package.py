"""The zip archive that a workbook is: its parts by name, counted before anything parses them."""

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from xml.parsers import expat

from pipelines.intake.parsed import Limits, UnreadableError

_CHUNK: Final = 1 << 20
_ENTRIES: Final = 10_000  # a workbook has some dozens
_RATIO: Final = 200  # XML of workbooks shrinks to a tenth; a bomb to a thousandth
_SMALL: Final = 64 << 20
_TOKEN: Final = 16 << 20
_PROLOGUE: Final = 1 << 16
_PART: Final = 64 << 20  # the parts that are read whole: lists of sheets and relationships
_MAIN: Final = ("xl/workbook.xml", "xl/workbook.bin")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


class SheetScan:
    """What a worksheet's XML holds, from one linear look at its bytes.

    `plain`: no formula, no hidden row, no ISO date, and something in column A, from which calamine else would not count:
    calamine reads it right, and names errors.
    """

    _SPECIAL = (b"<f", b"hidden", b't="d"')
    _WIDE = re.compile(rb'r="([A-Z]{2,3})[0-9]')
    _ROW = re.compile(rb'<row[^>]*? r="([0-9]{1,9})"')

    _LEFT = re.compile(rb'<c r="A[0-9]{1,7}"[^<>]{0,99}><(?:v|is)>')

    def __init__(self) -> None:
        self._special, self._left = False, False
        self._cells, self._width, self._height, self._tail = 0, 26, 0, b""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if not self._tail and not chunk[:1000].lstrip(b"\xef\xbb\xbf").startswith((b"<?xml ", b"<worksheet")):
            self._special = True
        if not self._tail and b"<!DOCTYPE" in chunk[:_PROLOGUE]:
            self._special = True
        block = self._tail + chunk
        self._special = self._special or any(special in block for special in self._SPECIAL)
        self._left = self._left or bool(self._LEFT.search(block))
        self._cells += chunk.count(b"<c ")
        widest = max(set(self._WIDE.findall(block)), key=lambda name: (len(name), name), default=b"Z")
        self._width = max(self._width, column_number(widest.decode()))
        if found := self._ROW.match(block, max(block.rfind(b"<row "), 0)):
            self._height = max(self._height, int(found[1]))
        self._tail = chunk[-64:]

    @property
    def plain(self) -> bool:
        """Whether calamine reads the sheet right."""
        return self._left and not self._special

    def fits(self, most: int) -> bool:
        """Whether a dense grid has no more than so many cells, and not far more than the sheet."""
        return self._height * self._width <= min(most, 4 * self._cells + 2_000_000)


def column_number(name: str) -> int:
    """The number of a column by its letters: A is 1."""
    number = 0
    for letter in name:
        number = number * 26 + ord(letter) - 64
    return number


class Package:
    """An archive whose parts are found whatever their casing and slashes."""

    def __init__(self, content: bytes, limits: Limits) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except (*_BROKEN, ValueError) as error:
            raise UnreadableError("FILE_UNREADABLE", "the workbook's archive is broken or cut off") from error
        self._entries = {_key(entry.filename): entry for entry in self._archive.infolist() if not entry.is_dir()}
        self.scans: dict[str, SheetScan] = {}
        self._limits = limits

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._entries

    def names(self) -> list[str]:
        """The parts' names, in lower case and with plain slashes."""
        return list(self._entries)

    def inspect(self) -> int:
        """Count what the archive really inflates to, and scan the worksheets on the way, before any parser sees it."""
        entries = self._archive.infolist()
        if len(entries) > _ENTRIES:
            raise UnreadableError("FILE_TOO_LARGE", f"more than {_ENTRIES:,} parts in the workbook's archive")
        packed = sum(entry.compress_size for entry in entries) or 1
        inflated = 0
        for entry in entries:
            scan = SheetScan() if "sheet" in entry.filename.lower() and entry.filename.lower().endswith(".xml") else None
            try:
                for chunk in self._chunks(entry):
                    inflated += len(chunk)
                    self._check(inflated, packed)
                    if scan:
                        scan.feed(chunk)
            except _BROKEN:
                continue  # a broken picture does no harm; a broken part that is needed is reported when it is read
            if scan:
                self.scans[_key(entry.filename)] = scan
        return inflated

    def _check(self, inflated: int, packed: int) -> None:
        if inflated > self._limits.inflated:
            raise UnreadableError("FILE_TOO_LARGE", f"more than {self._limits.inflated >> 20} MB when inflated")
        if inflated > _SMALL and inflated > packed * _RATIO:
            raise UnreadableError("FILE_TOO_LARGE", f"it inflates to more than {_RATIO} times its size")

    def _chunks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        try:
            member = self._archive.open(entry)
        except RuntimeError as error:  # what zipfile raises for a member with a password
            raise UnreadableError("FILE_ENCRYPTED", "") from error
        with member:
            while chunk := member.read(_CHUNK):
                yield chunk

    def chunks(self, name: str) -> Iterator[bytes]:
        """A part's bytes, a megabyte at a time."""
        if name not in self:
            raise UnreadableError("FILE_UNREADABLE", f"the workbook's part {name[:60]} is missing")
        with _zip_errors(name):
            yield from self._chunks(self._entries[_key(name)])

    def read(self, name: str) -> bytes:
        """A small part's bytes."""
        content = bytearray()
        for chunk in self.chunks(name):
            content += chunk
            if len(content) > _PART:
                raise UnreadableError("FILE_TOO_LARGE", f"the workbook's part {name[:60]} is larger than {_PART >> 20} MB")
        return bytes(content)

    def relationships(self, part: str) -> "list[Relationship]":
        """Which parts a part refers to, by their IDs; none where it has no list of them."""
        folder, name = posixpath.split(part)
        path = posixpath.join(folder, "_rels", f"{name}.rels")
        return relationships(self, path, folder) if path in self else []


@contextmanager
def _zip_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise UnreadableError("FILE_UNREADABLE", f"the workbook's part {name[:60]} is broken") from error


def _key(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/").lower()


class Relationship:
    """A reference from one part to another: its ID, its kind (the last word of its type) and the part's name."""

    def __init__(self, attributes: dict[str, str], folder: str) -> None:
        target = attributes.get("Target", "").replace("\\", "/")
        self.id = attributes.get("Id", "")
        self.kind = attributes.get("Type", "").rpartition("/")[2]
        self.part = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)


def relationships(package: Package, path: str, folder: str) -> list[Relationship]:
    """The relationships that a `.rels` part lists."""
    found: list[Relationship] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "Relationship":
            found.append(Relationship(attributes, folder))

    parse_xml(package.chunks(path), path, start=start)
    return found


def main_part(package: Package) -> str:
    """The part that lists the sheets: where the package says, else where it always is, else what is called so."""
    if "_rels/.rels" in package:
        for relationship in package.relationships(""):
            if relationship.kind == "officeDocument" and relationship.part in package:
                return relationship.part
    called_so = [name for name in package.names() if name.endswith(("workbook.xml", "workbook.bin"))]
    for name in (*_MAIN, *called_so):
        if name in package:
            return name
    raise UnreadableError("FILE_TYPE", "a zip archive without a workbook in it")


def parse_xml(chunks: Iterator[bytes], part: str, *, start: Any, end: Any = None, text: Any = None) -> None:
    """Run the XML of a part through expat. A document type definition is refused: it could define any text."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        fed = 0
        for chunk in chunks:
            parser.Parse(chunk, False)
            fed += len(chunk)
            if fed - max(parser.CurrentByteIndex, 0) > _TOKEN:  # expat scans an unfinished tag again with each chunk
                raise UnreadableError("FILE_UNREADABLE", f"the XML of {part[:60]} has a tag longer than {_TOKEN >> 20} MB")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UnreadableError("FILE_UNREADABLE", f"the XML of {part[:60]} is broken in line {error.lineno}") from error
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise UnreadableError("FILE_UNREADABLE", f"the XML of {part[:60]} is in an unknown encoding") from error


def _refuse(*_: object) -> None:
    raise UnreadableError("FILE_UNREADABLE", "the workbook has a document type definition")
