"""Real files of public suites, which lie beside the project: each is read as an independent reader does, or truly refused.

A clone of the project alone does not have them; its own generators make the like (see `test_formats`).
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlrd
from openpyxl import load_workbook

from pipelines.common.settings import load_settings
from pipelines.intake.cells import date_text, number_text
from pipelines.intake.reader import Parser
from schemas.orders import BY_HEADER

FOLDER = Path(__file__).parents[1].parent / "shared" / "corpus"
FILES = sorted(path.name for path in FOLDER.glob("*") if path.suffix != ".md")
pytestmark = pytest.mark.skipif(not FILES, reason="the shared corpus is not beside this clone")

UNREADABLE = {
    "54764-2.xlsx": ("FILE_UNREADABLE", "the workbook has a document type definition"),
    "60284.xls": ("FILE_ENCRYPTED", ""),
    "64130.xls": ("FILE_UNREADABLE", "the workbook's records can't be parsed (Can't determine file's BIFF version)"),
    "Test_git_issue_5.xls": ("FILE_UNREADABLE", "the workbook's records can't be parsed"),
    "badfile_noWorksheets.xlsx": ("FILE_UNREADABLE", "the workbook has no worksheet"),
    "file_corrupted.ods": ("FILE_TYPE", "a zip archive without a workbook in it"),
    "issue252.xlsx": ("FILE_UNREADABLE", "the workbook's part xl/_rels/workbook.xml.rels is broken"),
    "pwtest.xls": ("FILE_ENCRYPTED", ""),
}
"""What is said of those that can't be read."""

CORNERS = {
    "1900.slk": (5, 4, "1"),
    "LO7322.fods": (33, 9, "1.2345"),
    "apachepoi_44010-SingleChart.xls.xlsb": (10, 9, "Programme"),
    "apachepoi_chart_sheet.xlsx.xlsb": (2, 5, "soap"),
    "crlf.slk": (3, 2, "Normal"),
    "issue.4435b.ods": (2, 1, "1"),
    "issue.804.ods": (2, 14, "Name"),
    "sheet_with_number_rows_repeated.ods": (2, 2, "foo"),
    "testStarOffice-6.0-calc.sxc": (32, 12, "利盛新鮮蔬菜"),
    "wtf_path.xlsb": (6, 4, "1"),
    "sample-beta.xlsx": (10, 2, "Lorem"),
    "poc-shared-strings.xlsx": (4000, 3, "f"),
    "utf16be.bom.xlsx": (1, 1, "1"),
    "utf16be.xlsx": (1, 1, "1"),
    "Test_git_issue_629.xlsx": (8, 46, "BVI Excel Sheet_V7_1"),
    "file_with_sheet_xml_not_matching_content_types.xlsx": (5, 5, "s1 - A1"),
    "sheet_with_all_cell_types.xlsx": (1, 10, "s1--A1"),
    "Test_git_issue_68_NullSheetPath.xlsm": (1, 2, "1"),
    "tdf111974.xlsm": (33, 3, "Recap"),
    "test-row-styles.xlsx": (38, 29, "asdf"),
    "test-issue-176.xlsx": (4, 2, "Name"),
    "50833.xls": (1, 1, "test cell value"),
    "TestExcel_2040.xls": (2, 3, "Name"),
    "protectedsheet-xxx.xls": (2, 1, "x"),
}
"""Filled rows and columns, and how the first cell begins, of those that no independent reader at hand opens."""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(load_settings(_env_file=None)) as made:
        yield made


def cells(table: bytes) -> dict[tuple[int, int], str]:
    if not table:
        return {}
    grid = pl.read_ipc_stream(table)
    return {
        (row["row"], int(name[1:])): text
        for row in grid.iter_rows(named=True)
        for name, text in row.items()
        if name != "row" and text is not None
    }


def by_xlrd(content: bytes) -> dict[tuple[int, int], str] | None:
    """The first visible filled sheet as xlrd reads it by itself, with all of its formatting."""
    try:
        book = xlrd.open_workbook(file_contents=content, logfile=io.StringIO())
    except xlrd.XLRDError:
        return None
    for sheet in book.sheets():
        found = {}
        for row in range(sheet.nrows):
            for column in range(sheet.ncols):
                kind, value = sheet.cell_type(row, column), sheet.cell_value(row, column)
                text = {
                    xlrd.XL_CELL_TEXT: lambda value=value: value,
                    xlrd.XL_CELL_NUMBER: lambda value=value: number_text(value),
                    xlrd.XL_CELL_DATE: lambda value=value: date_text(value, from_1904=book.datemode == 1),
                    xlrd.XL_CELL_BOOLEAN: lambda value=value: "true" if value else "false",
                }.get(kind, lambda: "")()
                if text.strip():
                    found[row + 1, column] = text
        if sheet.visibility == 0 and sheet.nrows:
            return found
    return {}


def by_openpyxl(content: bytes) -> dict[tuple[int, int], Any] | None:
    try:
        book = load_workbook(io.BytesIO(content), data_only=True)
    except Exception:  # it opens few of these
        return None
    for sheet in book.worksheets:
        found = {
            (cell.row, cell.column - 1): cell.value
            for row in sheet.iter_rows()
            for cell in row
            if cell.value is not None and str(cell.value).strip() and cell.data_type != "e"
        }
        if sheet.sheet_state == "visible" and found:
            return found
    return {}


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_like_an_independent_reader_does_or_refused(name: str, parser: Parser) -> None:
    content = (FOLDER / name).read_bytes()
    parsed, _ = parser.parse(content, BY_HEADER)
    if name in UNREADABLE:
        assert [fault[2:] for fault in parsed.faults] == [UNREADABLE[name]]
        return
    found = cells(parsed.table)
    assert not [fault for fault in parsed.faults if fault[1] < 0]
    independent = (by_xlrd if name.lower().endswith(".xls") else by_openpyxl)(content)
    assert name in CORNERS or independent is not None, "no independent reader opens it: add its corners"
    if name in CORNERS:
        rows, columns, first = CORNERS[name]
        assert (len({row for row, _ in found}), len({column for _, column in found})) == (rows, columns)
        assert found[min(found)].startswith(first)
    elif name.lower().endswith(".xls"):
        assert found == independent
    else:
        assert found.keys() == (independent or {}).keys()
        assert {place: text for place, text in found.items() if isinstance((independent or {})[place], str)} == {
            place: value for place, value in (independent or {}).items() if isinstance(value, str)
        }


@pytest.mark.parametrize("name", ["25183.xls", "26100.xls", "52527.xls", "WithFormattedGraphTitle.xls", "testEXCEL-charts.xls"])
def test_the_numbers_of_a_chart_are_in_no_cell(name: str, parser: Parser) -> None:
    book = xlrd.open_workbook(FOLDER / name, logfile=io.StringIO())
    parsed, _ = parser.parse((FOLDER / name).read_bytes(), BY_HEADER)
    first = min(cells(parsed.table))
    assert str(book.sheet_by_index(0).cell_value(first[0] - 1, first[1])).startswith(cells(parsed.table)[first][:3])
