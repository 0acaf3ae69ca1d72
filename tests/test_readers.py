"""Files of every kind and every damage, read as they are in the run: by a child process."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from openpyxl import Workbook

from pipelines.common.settings import Settings, load_settings
from pipelines.intake.reader import Parser, Table, missing_columns, read
from schemas.orders import BY_HEADER, NAMES
from tests.conftest import csv_of, xlsx_of
from tests.conftest import row as order_row
from tests.corpus import html, ods, ods_cell, ods_row, ods_table, parts, patched, saved, spreadsheet_xml, zipped
from tests.corpus import text as table_text

HEADER = ["Customer Account Number", "Customer Order ID", "Comments", "Quantity"]
ONE = ["10023456", "A1", "good", "2"]
READ = {"account": "10023456", "customer_order_id": "A1", "comments": "good", "quantity": "2"}
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHEET = "xl/worksheets/sheet1.xml"
ERROR = (
    '<table:table-cell table:formula="of:=1/0" office:value-type="string" calcext:value-type="error">'
    "<text:p>#DIV/0!</text:p></table:table-cell>"
)
Reader = Callable[..., Table]


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(load_settings(_env_file=None, parser_seconds=20)) as made:
        yield made


@pytest.fixture(scope="module")
def reader(parser: Parser) -> Reader:
    def take(content: bytes | str, **settings: Any) -> Table:
        content = content.encode() if isinstance(content, str) else content
        return read(content, parser, load_settings(_env_file=None, **settings), NAMES, BY_HEADER)

    return take


def csv(*lines: list[str], separator: str = ",", end: str = "\n", header: list[str] = HEADER) -> str:
    return table_text(*lines, separator=separator, end=end, header=header)


def book(*rows: list[Any], change: Callable[[Any], None] = lambda _: None) -> bytes:
    """A workbook with these rows from the top of its sheet on; None is no cell."""
    made = Workbook()
    page: Any = made.active
    for row in rows:
        page.append(row)
    change(made)
    return saved(made)


def filled(table: Table) -> dict[int, dict[str, str]]:
    """The filled cells of each row."""
    return {
        row.pop("source_row"): {name: cell for name, cell in row.items() if cell is not None} for row in table.rows.to_dicts()
    }


def faults(table: Table) -> list[tuple[Any, ...]]:
    return table.findings.drop("file").rows()


def whole(table: Table) -> tuple[str, str]:
    """The one fault of a file of which nothing could be read: its reason and what was found."""
    assert table.rows.is_empty()
    ((_, column, reason, found),) = faults(table)
    assert column == ""
    return reason, found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_is_read_in_every_encoding(encoding: str, reader: Reader) -> None:
    table = reader(csv(["10023456", "A1", "Zoë’s café", "2"]).encode(encoding))
    assert filled(table) == {2: {**READ, "comments": "Zoë’s café"}}
    assert faults(table) == []


def test_utf16_with_the_high_byte_first_and_a_byte_order_mark(reader: Reader) -> None:
    assert filled(reader(b"\xfe\xff" + csv(ONE).encode("utf-16-be"))) == {2: READ}


@pytest.mark.parametrize("content", [b"\x81\x8d\x8f\n1\n", csv(ONE).encode("utf-16")[:-1]])
def test_text_that_is_in_no_encoding_says_so(content: bytes, reader: Reader) -> None:
    assert whole(reader(content))[0] == "FILE_ENCODING"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", list(",;\t|"))
def test_every_separator_and_line_end_is_found(separator: str, end: str, reader: Reader) -> None:
    table = reader(csv(ONE, ["10023456", "A2", f'"a{separator}b"', "3"], separator=separator, end=end))
    assert filled(table) == {2: READ, 3: {**READ, "customer_order_id": "A2", "comments": f"a{separator}b", "quantity": "3"}}


def test_a_quoted_cell_may_have_lines_and_quotation_marks_and_rows_are_counted_as_excel_does(reader: Reader) -> None:
    table = reader(csv(["10023456", "A1", '"two\nlines, and ""one"""', "2"], ONE))
    assert {row: cells["comments"] for row, cells in filled(table).items()} == {2: 'two\nlines, and "one"', 3: "good"}


def test_a_header_may_have_lines_too(reader: Reader) -> None:
    table = reader(csv(ONE, header=['"Customer\nAccount Number"', '"Customer\r\nOrder ID"', "Comments", "Quantity"]))
    assert filled(table) == {2: READ}


def test_a_quotation_mark_within_a_cell_is_a_character(reader: Reader) -> None:
    assert filled(reader(csv(["10023456", "A1", '5" card', "2"])))[2]["comments"] == '5" card'


def test_the_header_is_the_first_filled_row_and_rows_keep_the_resellers_numbers(reader: Reader) -> None:
    table = reader("\n , ,\n,,,\n" + csv(ONE, ["", "", "", ""], [""], [" "], ONE))
    assert list(filled(table)) == [5, 9]


@pytest.mark.parametrize("header", ["cust order id", "CUSTOMER ORDER-ID", " Customer_Order  Id: ", "PON", "p.o.n."])
def test_headers_are_known_without_case_spaces_and_punctuation_and_by_other_names(header: str, reader: Reader) -> None:
    assert filled(reader(csv(ONE, header=["Acct", header, "remarks", "QTY."]))) == {2: READ}


def test_a_column_that_is_not_known_is_named_and_not_used(reader: Reader) -> None:
    table = reader(csv([*ONE, "x", "y"], header=[*HEADER, "Colour", "Shelf"]))
    assert filled(table) == {2: READ}
    assert table.notes == ["Columns that were not used: “Colour”, “Shelf”."]


def test_two_columns_that_mean_the_same_are_named_by_their_headers(reader: Reader) -> None:
    table = reader(csv([*ONE, "7"], header=[*HEADER, "qty"]))
    assert [fault[1:] for fault in faults(table)] == [("", "COLUMN_REPEATED", "“Quantity” and “qty”")]


def test_a_missing_column_is_reported_with_the_headers_there_are_and_the_closest_of_them(reader: Reader) -> None:
    table = reader(csv(ONE, header=["Customer Account Number", "Custommer Order IDs", "Comments", "Quantity"]))
    (found,) = missing_columns(table, {"customer_order_id": "Customer Order ID", "account": "Customer Account Number"})["value"]
    assert found.startswith("“Customer Order ID” (closest is “Custommer Order IDs”; the file has “Customer Account Number”,")
    (found,) = missing_columns(table, {"btn": "BTN"})["value"]
    assert "closest" not in found


@pytest.mark.parametrize(("line", "cells"), [(ONE[:3], 3), ([*ONE, "extra"], 5)])
def test_a_ragged_row_is_reported_with_its_number(line: list[str], cells: int, reader: Reader) -> None:
    table = reader(csv(["10023456", "A0", '"two\nlines"', "2"], [""], line, ONE))
    assert table.rows.is_empty()
    assert [fault[2:] for fault in faults(table)] == [
        ("FILE_UNREADABLE", f"row 4 has {cells} cells and the header 4: a separator is missing or too many")
    ]


def test_all_ragged_rows_are_reported_at_once(reader: Reader) -> None:
    table = reader(csv(ONE[:3], ONE, [*ONE, "extra"]))
    assert [fault[3].split(" has ")[0] for fault in faults(table)] == ["row 2", "row 4"]


def test_empty_cells_too_many_are_no_ragged_row(reader: Reader) -> None:
    table = reader(csv(ONE, [*ONE, "", " "], ["10023456", "A2", "good", "3"]))
    assert {row: cells["customer_order_id"] for row, cells in filled(table).items()} == {2: "A1", 3: "A1", 4: "A2"}


@pytest.mark.parametrize("quoted", [1, 2, 3])
def test_quotation_marks_that_are_never_closed_are_reported_with_the_first_ones_row(quoted: int, reader: Reader) -> None:
    lines = [["10023456", f"A{number}", f'"c{number}' if number <= quoted else "c", "2"] for number in range(1, 6)]
    assert whole(reader(csv(["10023456", "A0", '"two\nlines"', "1"], *lines))) == (
        "FILE_UNREADABLE",
        "row 3: a quotation mark is opened and never closed",
    )


@pytest.mark.parametrize("content", ["", "\n \n", ",,,\n", csv(), csv(["", "", "", ""])])
def test_a_file_without_rows_is_empty(content: str, reader: Reader) -> None:
    assert whole(reader(content))[0] == "FILE_EMPTY"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_web_page_is_no_table(encoding: str, reader: Reader) -> None:
    assert whole(reader("\n<html><body>Sign in</body></html>".encode(encoding)))[0] == "FILE_TYPE"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(1000), "neither a workbook nor text"),
        (b"\x00\x01\x02", "neither a workbook nor text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20) + b"words", "a picture"),
        (b"%PDF-1.7\n\x00\x01", "a PDF document"),
        (b"{\\rtf1 words}", "a text document (RTF)"),
        (b'TABLE\r\n0,1\r\n"EXCEL"\r\n', "a DIF sheet; open it and save it as .xlsx"),
        (b"MIME-Version: 1.0\r\n", "a web archive; open it and save it as .xlsx"),
        (b"<?xml version='1.0'?><invoice/>", "XML text that is not a spreadsheet"),
    ],
)
def test_zeros_and_files_of_other_kinds_are_no_table(content: bytes, words: str, reader: Reader) -> None:
    assert whole(reader(content)) == ("FILE_TYPE", words)


def test_random_bytes_are_no_table(reader: Reader) -> None:
    source = random.Random(3)
    for size in (1, 10, 1000, 100_000):
        assert whole(reader(b"\0" + source.randbytes(size)))[0] in ("FILE_TYPE", "FILE_ENCODING")


def test_white_space_and_the_apostrophe_of_our_own_reports_are_taken_off(reader: Reader) -> None:
    assert filled(reader(csv([" 10023456\t", "'-A1", "'=good", "'2"])))[2] == {
        "account": "10023456", "customer_order_id": "-A1", "comments": "=good", "quantity": "2",
    }  # fmt: skip


def test_row_numbers_are_those_that_excel_shows(reader: Reader) -> None:
    def lay(made: Any) -> None:
        for row, cells in ((4, HEADER), (5, ONE), (9, ONE)):
            for column, cell in enumerate(cells, 3):
                made.active.cell(row, column, cell)

    assert filled(reader(book(change=lay))) == {5: READ, 9: READ}


def test_the_sheet_named_orders_is_read_wherever_it_is(reader: Reader) -> None:
    def add(made: Any) -> None:
        for title, order in (("Old", "NO"), (" ORDERS", "A1"), ("New", "NO")):
            page = made.create_sheet(title)
            page.append(HEADER)
            page.append(["10023456", order, "good", 2])

    table = reader(book(["nothing"], change=add))
    assert filled(table) == {2: READ}
    assert any("ORDERS" in note and "3 other" in note for note in table.notes)


def test_without_such_a_sheet_the_first_visible_one_is_read(reader: Reader) -> None:
    def add(made: Any) -> None:
        made.active.sheet_state = "hidden"
        page = made.create_sheet("Mine")
        page.append(HEADER)
        page.append(ONE)
        made.active = 1

    assert filled(reader(book(HEADER, ["x", "y", "z", "1"], change=add))) == {2: READ}


@pytest.mark.parametrize("number", [73905162840517, 10000000000001, 99999999999998])
def test_a_number_of_14_digits_is_exact(number: int, reader: Reader) -> None:
    table = reader(book(["Code", "Quantity", "BTN"], [number, 2.0, float(number)]))
    assert filled(table) == {2: {"code": str(number), "quantity": "2", "btn": str(number)}}


def test_a_number_that_shows_rounded_in_excel_is_exact_all_the_same(reader: Reader) -> None:
    def show(made: Any) -> None:
        made.active["A2"].number_format = "0.00E+00"

    assert filled(reader(book(["Code"], [73905162840517], change=show))) == {2: {"code": "73905162840517"}}


def test_true_and_false_are_words(reader: Reader) -> None:
    table = reader(book(["International Origin", "International Termination"], [True, False]))
    assert filled(table) == {2: {"origin": "true", "termination": "false"}}


def test_a_formula_counts_as_the_value_that_is_stored(reader: Reader) -> None:
    content = patched(book(HEADER, ["10023456", "A1", "good", 2]), SHEET, b"<v>2</v>", b"<f>1+1</f><v>2</v>")
    table = reader(content)
    assert (filled(table), faults(table)) == ({2: READ}, [])


def test_formulas_without_a_value_and_errors_are_reported_with_their_cell(reader: Reader) -> None:
    table = reader(book([None, *HEADER], ["=9", *ONE[:3], "=1+1"], [None, "#N/A", *ONE[1:]], ["=9", *ONE]))
    assert faults(table) == [(2, "quantity", "CELL_FORMULA", "=1+1"), (3, "account", "CELL_FORMULA", "#N/A")]
    assert list(filled(table)) == [2, 3, 4]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_of_nothing_but_formulas_is_not_lost(place: int, reader: Reader) -> None:
    rows: list[list[Any]] = [ONE, ONE]
    rows.insert(place, ["=1", "=2", "=3", "=4"])
    table = reader(book(HEADER, *rows))
    assert table.rows["source_row"].to_list() == [2, 3, 4]
    assert {fault[0] for fault in faults(table)} == {place + 2}


def test_a_file_of_nothing_but_formulas_is_not_empty(reader: Reader) -> None:
    table = reader(book(HEADER, ["=1", "=2", "=3", "=4"]))
    assert table.rows["source_row"].to_list() == [2]
    assert [fault[2] for fault in faults(table)] == ["CELL_FORMULA"] * 4


def test_a_workbook_with_a_password_says_so(reader: Reader) -> None:
    sealed = b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600)
    assert whole(reader(sealed))[0] == "FILE_ENCRYPTED"
    flagged = bytearray(book(HEADER, ONE))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(flagged)):
            flagged[found.start() + place] |= 1
    assert whole(reader(bytes(flagged)))[0] == "FILE_ENCRYPTED"


def test_an_archive_that_is_no_workbook_is_no_table(reader: Reader) -> None:
    packed = zipped({"orders.csv": csv(ONE).encode()})
    assert whole(reader(packed)) == ("FILE_TYPE", "a zip archive without a workbook in it")
    assert whole(reader(zipped({"word/document.xml": b"<w/>"}))) == ("FILE_TYPE", "a Word document")


def test_a_broken_workbook_is_unreadable(reader: Reader) -> None:
    good = book(HEADER, ONE)
    members = parts(good)
    for bad in (
        good[: len(good) // 2],
        zipped({**members, SHEET: members[SHEET].partition(b"</row>")[0]}),
        zipped({**members, "xl/workbook.xml": b"not XML"}),
        zipped({name: body for name, body in members.items() if name != SHEET}),
        b"\xd0\xcf\x11\xe0" + bytes(5000),
    ):
        table = reader(bad)
        assert {fault[2] for fault in faults(table)} <= {"FILE_UNREADABLE", "FILE_EMPTY"}
        assert faults(table)
    assert filled(reader(good)) == {2: READ}


OFFICE = shutil.which("soffice")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One workbook in the formats of other programs, as LibreOffice saves it."""
    folder = tmp_path_factory.mktemp("office")

    def lay(made: Any) -> None:
        made.active.title = "Notes"
        page = made.create_sheet("Orders")
        for row, cells in ((3, HEADER), (4, ["10023456", "A1", "good", 2]), (7, [10023456, "A1", "good", "=1+1"])):
            for column, cell in enumerate(cells, 2):
                page.cell(row, column, cell)
        page["F3"], page["F4"] = "Code", 73905162840517

    (folder / "orders.xlsx").write_bytes(book(["nothing"], change=lay))
    for suffix in ("ods", "xls"):
        command = [f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--convert-to", suffix]
        subprocess.run([OFFICE or "", *command, "--outdir", folder, folder / "orders.xlsx"], check=True, capture_output=True)
    return {suffix: (folder / f"orders.{suffix}").read_bytes() for suffix in ("ods", "xls")}


@pytest.mark.skipif(OFFICE is None, reason="LibreOffice makes these files")
@pytest.mark.parametrize("suffix", ["ods", "xls"])
def test_workbooks_of_other_programs_are_read_like_excels(suffix: str, converted: dict[str, bytes], reader: Reader) -> None:
    assert filled(reader(converted[suffix])) == {4: {**READ, "code": "73905162840517"}, 7: READ}


def test_a_file_with_too_many_columns_or_rows_or_bytes_is_too_large() -> None:
    settings = load_settings(_env_file=None, max_columns=3, max_rows=4, max_file_mb=1)
    with Parser(settings) as small:

        def reason(content: str | bytes) -> tuple[str, str]:
            content = content.encode() if isinstance(content, str) else content
            return whole(read(content, small, settings, NAMES, BY_HEADER))

        assert reason(csv(ONE)) == ("FILE_TOO_LARGE", "4 columns; at most 3 are allowed")
        assert reason(book(HEADER, ONE)) == ("FILE_TOO_LARGE", "4 columns; at most 3 are allowed")
        assert reason("Quantity,Comments\n" + "1,a\n" * 4) == ("FILE_TOO_LARGE", "5 rows; at most 4 are allowed")
        assert reason(book(["Quantity"], *[["1"]] * 4)) == ("FILE_TOO_LARGE", "5 rows; at most 4 are allowed")
        assert reason(b"x" * ((1 << 20) + 1)) == ("FILE_TOO_LARGE", "more than 1 MB")
        exact = read(b"Quantity\n1\n2\n3\n", small, settings, NAMES, BY_HEADER)
        assert list(filled(exact)) == [2, 3, 4]


@pytest.mark.parametrize("kind", ["csv", "xlsx", "ods"])
def test_a_cell_with_too_many_characters_is_reported_with_its_row_and_cut(kind: str) -> None:
    settings = settings_of(max_cell=300)
    long = ["10023456", "A2", "é" * 301, "2"]
    made = {
        "csv": csv(ONE, long).encode(),
        "xlsx": book(HEADER, ONE, long),
        "ods": ods(ods_table(*(ods_row(*row) for row in (HEADER, ONE, long)))),
    }
    with Parser(settings) as small:
        table = read(made[kind], small, settings, NAMES, BY_HEADER)
        assert faults(table) == [(0, "", "FILE_TOO_LARGE", "row 3: a cell of more than 300 characters")]
        assert filled(table)[3]["comments"] == "é" * 200
        assert faults(read(csv(["10023456", "A2", "é" * 300, "2"]).encode(), small, settings, NAMES, BY_HEADER)) == []


def test_a_workbook_that_inflates_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, max_inflated_mb=1)
    members = parts(book(HEADER, ONE))
    with Parser(settings) as small:
        table = read(zipped({**members, "xl/media/a.bin": bytes(2 << 20)}), small, settings, NAMES, BY_HEADER)
    assert whole(table) == ("FILE_TOO_LARGE", "more than 1 MB when inflated")


def shared_text(characters: int, cells: int) -> bytes:
    """A workbook of rows in which every cell refers to one long text."""
    rows = b"".join(b'<row r="%d"><c r="A%d" t="s"><v>0</v></c></row>' % (row, row) for row in range(3, cells + 3))
    made = patched(book(HEADER, ONE), SHEET, b"</sheetData>", rows + b"</sheetData>")
    strings = f'<sst xmlns="{MAIN}"><si><t>{"x" * characters}</t></si></sst>'
    return zipped({**parts(made), "xl/sharedStrings.xml": strings.encode()})


def test_more_errors_than_anyone_would_fix_are_reported_as_one_with_the_first_of_them(parser: Parser) -> None:
    settings = settings_of(max_findings=30)
    content = book(HEADER, *[["10023456", "A1", "good", "=1+1"]] * 31)
    with Parser(settings) as small:
        table = read(content, small, settings, NAMES, BY_HEADER)
        fine = read(book(HEADER, *[["10023456", "A1", "good", "=1+1"]] * 30), small, settings, NAMES, BY_HEADER)
    assert table.rows.is_empty()
    assert {fault[2] for fault in faults(table)} == {"FILE_TOO_MANY_ERRORS"}
    assert [fault[3] for fault in faults(table)][:2] == ["more than 30 cells or lines can't be used", "D2: =1+1"]
    assert len(faults(table)) == 21
    assert len(fine.findings) == 30


def test_a_faulty_cells_text_is_cut(reader: Reader) -> None:
    table = reader(book(HEADER, ["10023456", "A1", "good", "=" + "1+" * 3000 + "1"]))
    assert table.findings["value"].str.len_chars().to_list() == [200]


@pytest.mark.parametrize("kind", ["csv", "xlsx", "ods", "html"])
def test_more_text_than_the_limit_is_too_large(kind: str) -> None:
    settings = settings_of(max_text_mb=1)
    row = ["10023456", "A1", "x" * 9_000, "2"]
    made = {
        "csv": lambda rows: csv(*[row] * rows).encode(),
        "xlsx": lambda rows: book(HEADER, *[row] * rows),
        "ods": lambda rows: ods(ods_table(ods_row(*HEADER), ods_row(*row, attributes=f' table:number-rows-repeated="{rows}"'))),
        "html": lambda rows: html(HEADER, *[row] * rows).encode(),
    }[kind]
    with Parser(settings) as small:
        assert whole(read(made(130), small, settings, NAMES, BY_HEADER)) == (
            "FILE_TOO_LARGE",
            "more than 1 MB of text in its cells",
        )
        assert len(read(made(100), small, settings, NAMES, BY_HEADER).rows) == 100


M = 1 << 20
FORMULA = book(HEADER, [*ONE[:3], "=1"])
EVERYWHERE = ' table:number-rows-repeated="1048576"'
BRACKETS = (
    b'<styleSheet><numFmts><numFmt numFmtId="200" formatCode="%s"/></numFmts>'
    b'<cellXfs><xf numFmtId="200"/></cellXfs></styleSheet>'
)


def before_cells(added: bytes) -> bytes:
    return patched(FORMULA, SHEET, b"<sheetData>", added + b"<sheetData>")


SLOW: dict[str, Callable[[], bytes]] = {
    "rows in a comment": lambda: before_cells(b"<!-- hidden= " + b"<row " * M + b"-->"),
    "tables in a tag": lambda: ods("<table:table " * M),
    "brackets in a number format": lambda: zipped({**parts(FORMULA), "xl/styles.xml": BRACKETS % (b"[" * M)}),
    "a long attribute": lambda: before_cells(b'<x y="' + b"z" * 40 * M + b'"/>'),
    "quotation marks": lambda: b"Quantity,Code\n" + b'"' * (4 * M + 1),
    "quotation marks and lines": lambda: b"Quantity,Code\n" + b'"x" y,"\n' * (M + 1),
    "comments of a page": lambda: b"<html><table><tr><td>" + b"<!-- " * M,
    "attributes of a page": lambda: b"<html><table><tr><td>" + b'<a "' * M,
    "tables of a page": lambda: b"<html>" + b"<table>" * M,
    "escapes of a SYLK file": lambda: b'ID;PX\nP;PG\nC;Y1;X1;K"' + b"\x1bNA" * M,
    "worksheets of nothing": lambda: spreadsheet_xml().replace("<Table>", "<Worksheet>" * M).encode(),
    "a cell repeated everywhere": lambda: ods(ods_table(ods_row(ods_cell("x" * 9000, 16384), attributes=EVERYWHERE))),
    "an error repeated everywhere": lambda: ods(ods_table(ods_row(ERROR, attributes=EVERYWHERE))),
    "separators": lambda: b"Quantity" + b"," * 8 * M,
    "headers": lambda: b"Quantity" + b",x" * 4 * M,
}


@pytest.mark.parametrize("name", SLOW)
def test_no_search_is_worse_than_linear_and_no_memory_without_bounds(name: str, parser: Parser) -> None:
    content = SLOW[name]()
    usual = settings_of(parser_seconds=20)
    began = time.process_time()
    with Parser(usual) as fresh:
        table = read(content, fresh, usual, NAMES, BY_HEADER)
        assert fresh._process, "it was killed: it took too long or too much"
    assert len(table.rows) or len(table.findings) or table.notes
    assert time.process_time() - began < 5  # what comes back is little


def test_the_child_starts_without_what_only_some_files_need(tmp_path: Path) -> None:
    heavy = "{'polars', 'pandera', 'prefect', 'xlrd', 'lxml', 'msoffcrypto', 'openpyxl', 'pyarrow.compute'}"
    (tmp_path / "orders.csv").write_bytes(csv_of(order_row("A", quantity="3")))
    (tmp_path / "orders.xlsx").write_bytes(xlsx_of(order_row("A", quantity="3")))
    script = f"""
import sys
from pathlib import Path
from pipelines.intake.parsed import Limits
from pipelines.intake.parser_worker import parse
limits = Limits(1 << 20, 9, 99, 1 << 30, 99, 9999, 9)
for name in sys.argv[1:]:
    assert parse(Path(name).read_bytes(), frozenset(["quantity"]), limits).known == 1
assert not {heavy} & sys.modules.keys(), {heavy} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "orders.csv", tmp_path / "orders.xlsx"], check=True)


# -- a child that dies or hangs ----------------------------------------------------------------------------------------


def settings_of(**values: Any) -> Settings:
    return load_settings(_env_file=None, **values)


def test_a_file_that_takes_too_long_is_unreadable_and_the_next_one_is_read() -> None:
    slow = ods(ods_table(ods_row(*HEADER), ods_row(*ONE, attributes=' table:number-rows-repeated="400000"')))
    short = settings_of(parser_seconds=0.01)
    with Parser(short) as parser:
        parser.start()
        reason, words = whole(read(slow, parser, short, NAMES, BY_HEADER))
        assert reason == "FILE_UNREADABLE"
        assert re.fullmatch(r"not parsed within 0\.01[0-9]* seconds", words)
        assert parser.seconds(10 << 20) == pytest.approx(10.01)
        parser._seconds = 30
        assert filled(read(csv(ONE).encode(), parser, short, NAMES, BY_HEADER)) == {2: READ}


def test_a_file_that_needs_more_memory_than_there_is_is_unreadable_and_the_next_one_is_read() -> None:
    tight = settings_of(parser_memory_mb=512, parser_seconds=30)
    # a text of 10,000 characters that 100,000 cells share: a few KB that calamine makes a GB of
    with Parser(tight) as parser:
        table = read(shared_text(10_000, 100_000), parser, tight, NAMES, BY_HEADER)
        reason, words = whole(table)
        assert reason in ("FILE_TOO_LARGE", "FILE_UNREADABLE")
        assert "too much memory" in words or "MB of text" in words
        assert filled(read(csv(ONE).encode(), parser, tight, NAMES, BY_HEADER)) == {2: READ}


def test_a_child_that_was_killed_costs_its_file_alone() -> None:
    usual = settings_of(parser_seconds=30)
    with Parser(usual) as parser:
        assert filled(read(csv(ONE).encode(), parser, usual, NAMES, BY_HEADER)) == {2: READ}
        assert parser._process
        parser._process.kill()
        parser._process.wait()
        assert whole(read(csv(ONE).encode(), parser, usual, NAMES, BY_HEADER))[0] == "FILE_UNREADABLE"
        assert filled(read(csv(ONE).encode(), parser, usual, NAMES, BY_HEADER)) == {2: READ}


SEEDS = [
    book(HEADER, ONE, ["=1", "=2", "=3", "=4"]),
    csv(["10023456", "A1", '"two\nlines"', "2"], ONE).encode(),
    csv(ONE).encode("utf-16"),
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=6)), min_size=1, max_size=5),
)
@hypothesis(max_examples=40)
def test_whatever_the_bytes_are_they_give_rows_or_a_reason(
    parser: Parser, content: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    for place, cut, put in changes:
        at = int(place * len(content))
        content = content[:at] + put + content[at + cut :]
    table = read(content, parser, load_settings(_env_file=None), NAMES, BY_HEADER)
    assert len(table.rows) or len(table.findings) or table.notes  # notes: all headers are unknown, which `missing` tells
    assert set(table.findings["source_row"]) - {0} <= set(table.rows["source_row"]) or table.rows.is_empty()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_small_files_make_the_child_grow_by_little() -> None:
    settings = settings_of()
    with Parser(settings) as small:
        read(csv(ONE).encode(), small, settings, NAMES, BY_HEADER)
        assert small._process
        addresses = int(Path(f"/proc/{small._process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    assert 0 < addresses < 600 << 20  # else it would give way to a fresh one after each file
