"""Random sheets in every format are read cell for cell as an independent reader reads them: openpyxl, xlrd, odfpy, calamine.

A few run each time; a thousand with `pytest -m long`.
"""

import io
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import fastexcel
import polars as pl
import pytest
import xlrd
from odf.namespaces import OFFICENS, TABLENS
from odf.opendocument import OpenDocumentSpreadsheet, load
from odf.table import CoveredTableCell, Table, TableCell, TableRow
from odf.text import P
from openpyxl import Workbook, load_workbook
from openpyxl.utils import get_column_letter

from pipelines.common.settings import load_settings
from pipelines.intake.cells import date_text, moment_text, number_text
from pipelines.intake.reader import Parser
from schemas.orders import BY_HEADER
from tests.corpus import _ERRORS, saved, xls

CALCEXTNS = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"
Grid = dict[tuple[int, int], str]
Cells = dict[tuple[int, int], Any]
WORDS = [
    "Yes",
    "no",
    "A-1",
    " padded ",
    "two\nlines",
    "é ñ €",
    "😀",
    "0123",
    "1e5",
    "=1+1 in words",
    "'x",
    "#N/A?",
    "x" * 300,
    "\u00a0",
]
ERRORS = ["#N/A", "#REF!", "#DIV/0!", "#VALUE!"]
FORMATS = ["General", "0", "0.00", "0%", "#,##0", "0.00E+00", '0 "days"', "@"]


class Error(str):
    """An error cell."""

    __slots__ = ()


class Formula(str):
    """A formula, of which the writers here store no value."""

    __slots__ = ()


def value(source: random.Random) -> Any:
    """Words, numbers of every size, truth values, dates, errors."""
    return source.choice([
        lambda: source.choice(WORDS),
        lambda: source.randrange(10**13, 10**14),
        lambda: source.randrange(-5, 100),
        lambda: round(source.uniform(-1000, 1000), source.randrange(6)),
        lambda: source.choice([1e-7, 1e15, 123456789012345680.0, 0.1, 2.0]),
        lambda: source.random() < 0.5,
        lambda: datetime(2000, 1, 1) + timedelta(days=source.randrange(20_000), seconds=source.randrange(86_400)),
        lambda: datetime(1990, 3, 1) + timedelta(days=source.randrange(20_000)),
        lambda: Error(source.choice(ERRORS)),
    ])()  # fmt: skip


def sheet(seed: int) -> tuple[Cells, set[int], tuple[int, int, int, int] | None]:
    """Cells by row and position, hidden rows, and a range that is merged."""
    source = random.Random(seed)
    top, left = source.choice([0, 0, 3]), source.choice([0, 0, 2, 30])
    height, width = source.randrange(1, 14), source.randrange(1, 9)
    share = source.choice([0.3, 0.7, 1.0])
    cells = {
        (top + row + 1, left + column): value(source)
        for row in range(height)
        for column in range(width)
        if source.random() < share
    }
    if source.random() < 0.4:
        cells = {place: text for place, text in cells.items() if not isinstance(text, Error)}
    if source.random() < 0.3:
        cells[top + height + 2, left] = Formula("1+1")
    hidden = {row for row, _ in cells if source.random() < 0.1} if source.random() < 0.3 else set()
    merged = (top + 1, left, top + 2, left + 1) if source.random() < 0.3 else None
    if merged:
        cells = {place: text for place, text in cells.items() if place == merged[:2] or not _within(place, merged)}
    return cells, hidden & {row for row, _ in cells}, merged


def _within(place: tuple[int, int], area: tuple[int, int, int, int]) -> bool:
    return area[0] <= place[0] <= area[2] and area[1] <= place[1] <= area[3]


# -- writers -----------------------------------------------------------------------------------------------------------


def write_xlsx(cells: Cells, hidden: set[int], merged: Any, source: random.Random) -> bytes:
    made = Workbook()
    page: Any = made.active
    for (row, column), what in cells.items():
        cell = page.cell(row, column + 1)
        if isinstance(what, Formula):
            cell.value = f"={what}"
        elif isinstance(what, str) and not isinstance(what, Error):
            cell.value, cell.data_type = str(what), "s"
        else:
            cell.value = str(what) if isinstance(what, Error) else what
        if isinstance(what, (int, float)) and not isinstance(what, bool):
            cell.number_format = source.choice(FORMATS)
    for row in hidden:
        page.row_dimensions[row].hidden = True
    if merged:
        first, last = (f"{get_column_letter(merged[n + 1] + 1)}{merged[n]}" for n in (0, 2))
        page.merge_cells(f"{first}:{last}")
    return saved(made)


def write_xls(cells: Cells, hidden: set[int], merged: Any, source: random.Random) -> bytes:
    import xlwt

    def lay(made: Any) -> None:
        page = made.get_sheet(0)
        page.write(200, 0, "last")
        for (row, column), what in cells.items():
            if merged and (row, column) == merged[:2]:
                continue
            if isinstance(what, Error):
                page.row(row - 1).set_cell_error(column, _ERRORS[what])
            elif isinstance(what, Formula):
                page.write(row - 1, column, xlwt.Formula(what))
            elif isinstance(what, datetime):
                page.write(row - 1, column, what, xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss"))
            else:
                page.write(row - 1, column, what)
        for row in hidden:
            page.row(row - 1).hidden = True
        if merged:
            page.merge(merged[0] - 1, merged[2] - 1, merged[1], merged[3])

    return xls(("Sheet", []), change=lay, chart=len(cells) % 2 == 1)


def write_ods(cells: Cells, hidden: set[int], merged: Any, source: random.Random) -> bytes:
    document = OpenDocumentSpreadsheet()
    page = Table(name="Sheet")
    last = max((row for row, _ in cells), default=0)
    for row in range(1, last + 1):
        line = TableRow(visibility="filter") if row in hidden else TableRow()
        widest = max((column for number, column in cells if number == row), default=-1)
        for column in range(widest + 1):
            line.addElement(
                _ods_cell(
                    cells.get((row, column)),
                    covered=bool(merged) and _within((row, column), merged) and (row, column) != merged[:2],
                )
            )
        page.addElement(line)
    document.spreadsheet.addElement(page)
    content = io.BytesIO()
    document.write(content)
    return content.getvalue()


def _ods_cell(what: Any, *, covered: bool) -> Any:
    if covered or what is None:
        return CoveredTableCell() if covered else TableCell()
    if isinstance(what, Error):
        cell = TableCell(valuetype="string", stringvalue="", formula="of:=NA()")
        cell.setAttrNS(CALCEXTNS, "value-type", "error")
        cell.addElement(P(text=str(what)))
        return cell
    if isinstance(what, Formula):
        return TableCell(formula=f"of:={what}")
    if isinstance(what, bool):
        cell = TableCell(valuetype="boolean", booleanvalue=str(what).lower())
    elif isinstance(what, datetime):
        cell = TableCell(valuetype="date", datevalue=what.isoformat())
    elif isinstance(what, (int, float)):
        cell = TableCell(valuetype="float", value=repr(what))
    else:
        cell = TableCell(valuetype="string")
    for text in str(what).split("\n"):
        cell.addElement(P(text=text))
    return cell


# -- independent readers -----------------------------------------------------------------------------------------------


def _as_text(what: Any) -> str:
    if isinstance(what, bool):
        return str(what).lower()
    if isinstance(what, datetime):
        return moment_text(what)
    return number_text(what) if isinstance(what, (int, float)) else str(what)


def read_openpyxl(content: bytes) -> tuple[Grid, Grid]:
    found, errors = {}, {}
    for formulas in (False, True):
        for cells in load_workbook(io.BytesIO(content), data_only=not formulas).worksheets[0].iter_rows():
            for cell in cells:
                place = (cell.row, cell.column - 1)
                if formulas and cell.data_type == "f":
                    errors[place] = str(cell.value)
                elif not formulas and cell.value is not None:
                    (errors if cell.data_type == "e" else found)[place] = _as_text(cell.value)
    return found, errors


def read_xlrd(content: bytes) -> tuple[Grid, Grid]:
    book = xlrd.open_workbook(file_contents=content, logfile=io.StringIO())
    page = book.sheet_by_index(0)
    found, errors = {}, {}
    for row in range(page.nrows):
        for column in range(page.ncols):
            kind, what = page.cell_type(row, column), page.cell_value(row, column)
            if kind == xlrd.XL_CELL_ERROR:
                errors[row + 1, column] = xlrd.error_text_from_code[what]
            elif kind == xlrd.XL_CELL_DATE:
                found[row + 1, column] = date_text(what)
            elif kind == xlrd.XL_CELL_BOOLEAN:
                found[row + 1, column] = "true" if what else "false"
            elif what != "":
                found[row + 1, column] = _as_text(what)
    return found, errors


def read_odfpy(content: bytes) -> tuple[Grid, Grid]:
    found, errors = {}, {}
    page = load(io.BytesIO(content)).spreadsheet.getElementsByType(Table)[0]
    for row, line in enumerate(page.getElementsByType(TableRow), 1):
        for column, cell in enumerate(line.childNodes):
            text = "\n".join(_text(paragraph) for paragraph in cell.getElementsByType(P))
            kind = cell.getAttrNS(OFFICENS, "value-type")
            if cell.getAttrNS(TABLENS, "formula"):
                errors[row, column] = text or "an error"
            elif kind == "date":
                found[row, column] = moment_text(datetime.fromisoformat(cell.getAttrNS(OFFICENS, "date-value")))
            elif kind == "float":
                found[row, column] = number_text(float(cell.getAttrNS(OFFICENS, "value")))
            elif kind:
                found[row, column] = cell.getAttrNS(OFFICENS, "boolean-value") or text
    return found, errors


def _text(node: Any) -> str:
    return "".join(child.data if child.nodeType == child.TEXT_NODE else _text(child) for child in node.childNodes)


FORMATS_OF: dict[str, tuple[Callable[..., bytes], Callable[[bytes], tuple[Grid, Grid]]]] = {
    "xlsx": (write_xlsx, read_openpyxl),
    "xls": (write_xls, read_xlrd),
    "ods": (write_ods, read_odfpy),
}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(load_settings(_env_file=None, parser_seconds=30)) as made:
        yield made


def ours(content: bytes, parser: Parser) -> tuple[Grid, Grid, list[str]]:
    parsed, _ = parser.parse(content, BY_HEADER)
    assert not [fault for fault in parsed.faults if fault[1] < 0]
    found = {
        (row["row"], int(name[1:])): text
        for row in (pl.read_ipc_stream(parsed.table) if parsed.table else pl.DataFrame()).iter_rows(named=True)
        for name, text in row.items()
        if name != "row" and text is not None
    }
    return found, {(row, column): text for row, column, _, text in parsed.faults}, parsed.notes


def seen(grid: Grid) -> Grid:
    """A grid without blank cells and without what is stripped around words."""
    return {place: text.strip(" \t\r\n") for place, text in grid.items() if text.strip(" \t\r\n")}


def agree(kind: str, seed: int, parser: Parser) -> None:
    cells, hidden, merged = sheet(seed)
    write, read = FORMATS_OF[kind]
    content = write(cells, hidden, merged, random.Random(seed))
    found, errors, notes = ours(content, parser)
    expected, expected_errors = read(content)
    assert (kind, seed, seen(found)) == (kind, seed, seen(expected))
    assert (kind, seed, errors) == (kind, seed, expected_errors)
    assert any("hidden row" in note for note in notes) == bool(hidden)


@pytest.mark.parametrize("kind", FORMATS_OF)
def test_random_sheets_are_read_as_an_independent_reader_does(kind: str, parser: Parser) -> None:
    for seed in range(25):
        agree(kind, seed, parser)


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS_OF)
def test_a_thousand_random_sheets_are_read_as_an_independent_reader_does(kind: str, parser: Parser) -> None:
    for seed in range(1000, 2000):
        agree(kind, seed, parser)


def test_both_ways_to_read_an_xlsx_agree(parser: Parser) -> None:
    """A hidden column makes no difference, except that calamine is passed over for a sheet that says `hidden`."""
    for seed in range(25):
        cells, _, merged = sheet(seed)
        cells = {place: what for place, what in cells.items() if not isinstance(what, (Error, Formula))}
        fast = write_xlsx(cells, set(), merged, random.Random(seed))
        book = load_workbook(io.BytesIO(fast))
        book.worksheets[0].column_dimensions["ZZ"].hidden = True
        assert (seed, seen(ours(fast, parser)[0])) == (seed, seen(ours(saved(book), parser)[0]))
        if cells:
            assert fastexcel.read_excel(fast).load_sheet(0, header_row=None).height
