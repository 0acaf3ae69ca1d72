"""`.xls` of every age (BIFF 2 to 8), read by xlrd, which keeps charts' numbers out of the cells and errors in them."""

import io
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pipelines.intake.cells import date_text, number_text, truth_text
from pipelines.intake.encryption import decrypted
from pipelines.intake.grid import Grid
from pipelines.intake.parsed import Limits, Parsed, UnreadableError
from pipelines.intake.sheets import Sheet, read_best

if TYPE_CHECKING:
    from xlrd.book import Book
    from xlrd.sheet import Sheet as XlrdSheet

_EMPTY, _TEXT, _NUMBER, _DATE, _TRUTH, _ERROR, _BLANK = range(7)  # xlrd's types of cells
_ROW: Final = 0x0208
_BEGIN: Final = {0x0009, 0x0209, 0x0409, 0x0809}
_END: Final = 0x000A


def read_xls(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a workbook of BIFF records, in an OLE container or bare."""
    book = _opened(content)
    names = book.sheet_names()
    sheets = [
        Sheet(name, _visibility(book, number) == 0, str(number))
        for number, name in enumerate(names)
    ]  # fmt: skip
    return read_best(sheets, lambda sheet: _load(content, book, int(sheet.place), known, limits))


def _opened(content: bytes) -> "Book":
    import xlrd

    try:
        return _xlrd(content)
    except xlrd.XLRDError as error:
        if "encrypted" not in str(error):
            raise UnreadableError("FILE_UNREADABLE", _words(error)) from error
    try:
        return _xlrd(decrypted(content))
    except xlrd.XLRDError as error:
        raise UnreadableError("FILE_ENCRYPTED", "") from error


def _xlrd(content: bytes) -> "Book":
    import xlrd

    try:
        return xlrd.open_workbook(
            file_contents=content, logfile=io.StringIO(), on_demand=True, ragged_rows=True, ignore_workbook_corruption=True
        )
    except (MemoryError, xlrd.XLRDError):
        raise
    except Exception as error:  # xlrd asserts, indexes and unpacks whatever the file says
        raise UnreadableError("FILE_UNREADABLE", "the workbook's records can't be parsed") from error


def _words(error: Exception) -> str:
    return f"the workbook's records can't be parsed ({str(error)[:80]})"


def _visibility(book: "Book", number: int) -> int:
    visibilities: list[int] = book._sheet_visibility  # noqa: SLF001 - public only on sheets that were loaded
    return visibilities[number] if number < len(visibilities) else 0


def _load(content: bytes, book: "Book", number: int, known: frozenset[str], limits: Limits) -> Grid:
    try:
        sheet = book.sheet_by_index(number)
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableError("FILE_UNREADABLE", "the sheet's records can't be parsed") from error
    grid = Grid(known, limits)
    for row in range(sheet.nrows):
        grid.add(row + 1, dict(_cells(sheet, row, grid, book.datemode)))
    grid.hidden = _hidden_rows(book, number, content)
    book.unload_sheet(number)
    return grid


def _cells(sheet: "XlrdSheet", row: int, grid: Grid, datemode: int) -> Iterator[tuple[int, str]]:
    for column, (kind, value) in enumerate(zip(sheet.row_types(row), sheet.row_values(row), strict=True)):
        if kind == _TEXT:
            yield column, value
        elif kind == _NUMBER:
            yield column, number_text(value)
        elif kind == _DATE:
            yield column, date_text(value, from_1904=datemode == 1)
        elif kind == _TRUTH:
            yield column, truth_text(value)
        elif kind == _ERROR:
            grid.fault(row + 1, column, "CELL_FORMULA", _error_text(value))


def _error_text(code: int) -> str:
    from xlrd.biffh import error_text_from_code

    return str(error_text_from_code.get(code, "an error"))


def _hidden_rows(book: "Book", number: int, content: bytes) -> int:
    """Rows of the sheet that are hidden, which xlrd knows only when it reads all formatting, at twice the time."""
    stream: Any = book.mem or content  # before BIFF 5 a file is one sheet, and xlrd lets go of it
    at, depth, hidden = book._sh_abs_posn[number] if book.mem else 0, 0, 0  # noqa: SLF001
    while 0 <= at <= len(stream) - 4:
        code, length = struct.unpack_from("<HH", stream, at)
        if code in _BEGIN:
            depth += 1
        elif code == _END:
            depth -= 1
            if depth <= 0:
                break
        elif code == _ROW and depth == 1 and length >= 14:
            hidden += bool(stream[at + 16] & 0x20)
        at += 4 + length
    return hidden
