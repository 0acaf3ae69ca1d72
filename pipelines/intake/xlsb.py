"""`.xlsb`: the package of `.xlsx` with binary parts (BIFF 12). Charts, errors and hidden rows are what calamine lacks."""

import struct
from collections.abc import Iterator
from typing import Final

from pipelines.intake.cells import date_text, is_date_format, number_text, truth_text
from pipelines.intake.grid import Grid, too_much_text
from pipelines.intake.package import Package, main_part
from pipelines.intake.parsed import Limits, Parsed, UnreadableError
from pipelines.intake.sheets import Sheet, read_best
from pipelines.intake.xlsx import parts_by_kind, sheet_places

_ROW, _RK, _ERROR, _BOOL, _REAL, _TEXT, _SHARED = 0, 2, 3, 4, 5, 6, 7
_FORMULA_TEXT, _FORMULA_NUMBER, _FORMULA_BOOL, _FORMULA_ERROR, _RICH_TEXT = 8, 9, 10, 11, 62
_STRING, _FORMAT, _STYLE, _STYLES_BEGIN, _STYLES_END = 19, 44, 47, 617, 618
_SHEET, _PROPERTIES, _CELLS_END = 156, 153, 146
_ERRORS: Final = {
    0: "#NULL!",
    7: "#DIV/0!",
    15: "#VALUE!",
    23: "#REF!",
    29: "#NAME?",
    36: "#NUM!",
    42: "#N/A",
    43: "#GETTING_DATA",
}
_LONGEST: Final = 1 << 26
_cell = struct.Struct("<II").unpack_from
_long = struct.Struct("<I").unpack_from
_short = struct.Struct("<H").unpack_from
_real = struct.Struct("<d").unpack_from


def records(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The records of a binary part: number and content."""
    data, at = b"", 0
    for chunk in chunks:
        data, at = data[at:] + chunk, 0
        end = len(data)
        while True:
            place = at
            try:
                kind = data[place]
                place += 1
                if kind & 0x80:
                    kind = kind & 0x7F | (data[place] & 0x7F) << 7
                    place += 1
                size = data[place]
                place += 1
                if size & 0x80:
                    size, place = _size(data, size, place)
            except IndexError:
                break
            if place + size > end:
                if size > _LONGEST:
                    raise UnreadableError("FILE_UNREADABLE", "a record of the sheet is longer than a file can be")
                break
            yield kind, data[place : place + size]
            at = place + size


def _size(data: bytes, size: int, place: int) -> tuple[int, int]:
    size &= 0x7F
    for shift in (7, 14, 21):
        byte = data[place]
        place += 1
        size |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return size, place


def _wide(record: bytes, at: int) -> str:
    """The text at a place of a record: its length and UTF-16."""
    count = _long(record, at)[0]
    return record[at + 4 : at + 4 + 2 * count].decode("utf-16-le", "replace") if count != 0xFFFFFFFF else ""


def _rk(record: bytes) -> float:
    """A number in Excel's four-byte form: the upper bits of a float, or an integer; a flag divides by 100."""
    raw = _long(record, 8)[0]
    if raw & 2:
        whole = (raw >> 2) - (1 << 30 if raw & 0x80000000 else 0)
        return whole / 100 if raw & 1 else float(whole)
    number: float = struct.unpack("<d", b"\0\0\0\0" + struct.pack("<I", raw & 0xFFFFFFFC))[0]
    return number / 100 if raw & 1 else number


class _Book:
    """A binary workbook: its sheets, shared strings and styles."""

    def __init__(self, package: Package, main: str, limits: Limits) -> None:
        relations = package.relationships(main)
        listed: list[tuple[int, str, str]] = []
        self.from_1904 = False
        for kind, record in records(package.chunks(main)):
            if kind == _SHEET:
                identity = _wide(record, 8)
                listed.append((_long(record, 0)[0], identity, _wide(record, 12 + 2 * len(identity))))
            elif kind == _PROPERTIES:
                self.from_1904 = bool(record[0] & 1)
        places = sheet_places([(identity, name) for _, identity, name in listed], relations, package, main)
        self.sheets = [
            Sheet(name, state == 0, place)
            for (state, _, name), place in zip(listed, places, strict=True)
            if place
        ]  # fmt: skip
        parts = parts_by_kind(relations, package, main)
        self.strings = list(_strings(package, parts["sharedStrings"], limits))
        self.dates = list(_dates(package, parts["styles"]))


def _strings(package: Package, part: str, limits: Limits) -> Iterator[str]:
    size = 0
    for kind, record in records(package.chunks(part)) if part in package else ():
        if kind == _STRING:
            text = _wide(record, 1)
            size += len(text)
            if size > limits.text:
                raise too_much_text(limits)
            yield text


def _dates(package: Package, part: str) -> Iterator[bool]:
    codes: dict[int, str] = {}
    inside = False
    for kind, record in records(package.chunks(part)) if part in package else ():
        if kind == _FORMAT:
            codes[_short(record)[0]] = _wide(record, 2)
        elif kind in (_STYLES_BEGIN, _STYLES_END):
            inside = kind == _STYLES_BEGIN
        elif kind == _STYLE and inside:
            number = _short(record, 2)[0]
            yield is_date_format(number, codes.get(number))


def read_xlsb(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a workbook of binary parts."""
    package = Package(content, limits)
    package.inspect()
    try:
        book = _Book(package, main_part(package), limits)
        return read_best(book.sheets, lambda sheet: _load(package, book, sheet, known, limits))
    except (struct.error, IndexError) as error:
        raise UnreadableError("FILE_UNREADABLE", "the workbook's records can't be parsed") from error


def _load(package: Package, book: _Book, sheet: Sheet, known: frozenset[str], limits: Limits) -> Grid:
    grid = Grid(known, limits)
    row, cells = 0, dict[int, str]()
    for kind, record in records(package.chunks(sheet.place)):
        if kind == _ROW:
            grid.add(row, cells)
            row, cells = _long(record)[0] + 1, {}
            grid.hidden += bool(record[11] & 0x10)
        elif kind == _CELLS_END:
            break
        elif kind <= _FORMULA_ERROR or kind == _RICH_TEXT:
            column = _long(record)[0]
            if kind in (_ERROR, _FORMULA_ERROR):
                grid.fault(row, column, "CELL_FORMULA", _ERRORS.get(record[8], "an error"))
            elif shown := _shown(kind, record, book):
                cells[column] = shown
    grid.add(row, cells)
    return grid


def _shown(kind: int, record: bytes, book: _Book) -> str:
    if kind == _SHARED:
        index = _long(record, 8)[0]
        return book.strings[index] if index < len(book.strings) else ""
    if kind in (_TEXT, _FORMULA_TEXT):
        return _wide(record, 8)
    if kind == _RICH_TEXT:
        return _wide(record, 9)
    if kind in (_BOOL, _FORMULA_BOOL):
        return truth_text(record[8])
    if kind in (_RK, _REAL, _FORMULA_NUMBER):
        number = _rk(record) if kind == _RK else _real(record, 8)[0]
        style = _long(record, 4)[0] & 0xFFFFFF
        dated = style < len(book.dates) and book.dates[style]
        return date_text(number, from_1904=book.from_1904) if dated else number_text(number)
    return ""
