"""Whatever Excel opens is read, and read right: each test is one way in which a format was read wrong or refused falsely."""

import io
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import fastexcel
import polars as pl
import pytest
from msoffcrypto.format.ooxml import OOXMLFile
from openpyxl import Workbook

from pipelines.common.settings import load_settings
from pipelines.intake.reader import Parser, Table, read
from pipelines.orders.file_rules import character_findings
from pipelines.orders.normalize import normalize
from schemas.orders import BY_HEADER, NAMES
from tests.corpus import (
    SHEET,
    html,
    ods,
    ods_cell,
    ods_content,
    ods_row,
    ods_table,
    parts,
    patched,
    saved,
    spreadsheet_xml,
    sylk,
    xls,
    xlsb,
    zipped,
)

HEADER = ["Acct", "PON", "Comments", "Qty", "Intl Origin"]
ONE = ["10023456", "A1", "good", 2, "Yes"]
READ = {"account": "10023456", "customer_order_id": "A1", "comments": "good", "quantity": "2", "origin": "Yes"}
ERROR = (
    '<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value="" '
    'calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>'
)
EMPTY_TEXT = '<table:table-cell table:formula="of:=&quot;&quot;" office:value-type="string" office:string-value=""/>'
Reader = Callable[[bytes | str], Table]


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    settings = load_settings(_env_file=None, parser_seconds=20)
    with Parser(settings) as parser:
        yield lambda content: read(
            content.encode() if isinstance(content, str) else content, parser, settings, NAMES, BY_HEADER
        )


def xlsx(*rows: list[Any], change: Callable[[Any], None] = lambda _: None, title: str = "Orders") -> bytes:
    made = Workbook()
    page: Any = made.active
    page.title = title
    for row in rows:
        page.append(row)
    change(made)
    return saved(made)


def grid_ods(*rows: list[Any], **options: Any) -> bytes:
    return ods(ods_table(*(ods_row(*row) for row in rows)), **options)


WRITERS: dict[str, Callable[..., bytes]] = {
    "xlsx": xlsx,
    "xls": lambda *rows: xls(("Orders", list(rows))),
    "xlsb": lambda *rows: xlsb(("Orders", list(rows))),
    "ods": grid_ods,
    "fods": lambda *rows: ods_content(ods_table(*(ods_row(*row) for row in rows)), root="document").encode(),
    "html": lambda *rows: html(*rows).encode(),
    "slk": lambda *rows: sylk(*rows).encode(),
    "xml": lambda *rows: spreadsheet_xml(*rows).encode(),
}


def filled(table: Table) -> dict[int, dict[str, str]]:
    return {
        row.pop("source_row"): {name: cell for name, cell in row.items() if cell is not None} for row in table.rows.to_dicts()
    }


def faults(table: Table) -> list[tuple[Any, ...]]:
    return table.findings.drop("file").rows()


def reasons(table: Table) -> list[tuple[str, str]]:
    return [(reason, text) for _, _, reason, text in faults(table)]


def test_no_fault(reader: Reader) -> None:
    for kind, write in WRITERS.items():
        table = reader(write(HEADER, ONE, [None, None, None, None, None], [10023456, "A2", None, 73905162840517]))
        expected = {2: READ, 4: {"account": "10023456", "customer_order_id": "A2", "quantity": "73905162840517"}}
        assert (kind, filled(table), faults(table)) == (kind, expected, [])


# -- 1: .xls and .ods ----------------------------------------------------------------------------------------------------


def test_an_embedded_chart_of_an_xls_leaves_the_cells_alone(reader: Reader) -> None:
    assert filled(reader(xls(("Orders", [HEADER, ONE]), chart=True))) == {2: READ}


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!", "#VALUE!"])
def test_an_error_cell_is_reported_in_every_format(error: str, reader: Reader) -> None:
    row = ["10023456", "A1", "good", 2, error]
    made = {
        "xlsx": xlsx(HEADER, row),
        "xls": xls(("Orders", [HEADER, row])),
        "xlsb": xlsb(("Orders", [HEADER, row])),
        "ods": grid_ods(HEADER, [*ONE[:4], ERROR.replace("#N/A", error)]),
        "html": html(HEADER, ONE).replace("<td>Yes", f'<td x:err="{error}">{error}').encode(),
        "slk": sylk(HEADER, ONE).replace('K"Yes"', f"K{error}").encode(),
        "xml": spreadsheet_xml(HEADER, ONE).replace('"String">Yes', f'"Error">{error}').encode(),
    }
    for kind, content in made.items():
        table = reader(content)
        assert (kind, faults(table)) == (kind, [(2, "origin", "CELL_FORMULA", error)])
        assert "origin" not in filled(table)[2]


def test_an_error_that_older_programs_write_into_an_ods_is_reported(reader: Reader) -> None:
    old = '<table:table-cell table:formula="of:=1/0" office:value-type="string"><text:p>#DIV/0!</text:p></table:table-cell>'
    assert faults(reader(grid_ods(HEADER, [*ONE[:4], old]))) == [(2, "origin", "CELL_FORMULA", "#DIV/0!")]
    bare = '<table:table-cell table:formula="of:=[.A1]"/>'
    assert [fault[2] for fault in faults(reader(grid_ods(HEADER, [*ONE[:4], bare])))] == ["CELL_FORMULA"]


def test_words_that_look_like_an_error_are_words(reader: Reader) -> None:
    table = reader(grid_ods(HEADER, ["10023456", "A1", "#N/A", 2, "Yes"]))
    assert (filled(table)[2]["comments"], faults(table)) == ("#N/A", [])


def test_a_date_is_reported_with_its_time_in_every_format_so_that_it_is_no_order_id(reader: Reader) -> None:
    shown = "2026-10-01 00:00:00"
    row = ["10023456", date(2026, 10, 1)]
    dated = (
        '<table:table-cell office:value-type="date" office:date-value="2026-10-01"><text:p>01.10.26</text:p></table:table-cell>'
    )
    iso = '<c r="B2" t="d"><v>2026-10-01</v></c>'
    made = {
        "xlsx": xlsx(HEADER, row),
        "xlsx with a formula": xlsx(HEADER, [*row, None, "=1"]),
        "xlsx with an ISO date": re.sub(rb'<c r="B2".*?</c>', iso.encode(), parts(xlsx(HEADER, ["10023456", "x"]))[SHEET]),
        "xls": xls(("Orders", [HEADER, row])),
        "xlsb": xlsb(("Orders", [HEADER, row])),
        "ods": grid_ods(HEADER, ["10023456", dated]),
        "xml": spreadsheet_xml(HEADER, ["10023456", "2026-10-01T00:00:00.000"])
        .replace('"String">2026', '"DateTime">2026')
        .encode(),
        "slk": sylk(HEADER, ["10023456", 46296]).replace("C;Y2;X2", "F;P1;Y2;X2\r\nC;Y2;X2").encode(),
    }
    made["xlsx with an ISO date"] = zipped({**parts(xlsx(HEADER, row)), SHEET: made["xlsx with an ISO date"]})
    for kind, content in made.items():
        assert (kind, filled(reader(content))[2]["customer_order_id"]) == (kind, shown)


def _hide_row(made: Any) -> None:
    made.get_sheet(0).row(1).hidden = True


def test_hidden_rows_are_read_and_mentioned_in_every_format(reader: Reader) -> None:
    def hide(made: Any) -> None:
        made.active.row_dimensions[2].hidden = True

    made = {
        "xlsx": xlsx(HEADER, ONE, change=hide),
        "xls": xls(("Orders", [HEADER, ONE]), change=_hide_row),
        "xlsb": xlsb(("Orders", [HEADER, ONE]), hidden=2),
        "ods": ods(ods_table(ods_row(*HEADER), ods_row(*ONE, attributes=' table:visibility="filter"'))),
        "xml": spreadsheet_xml(HEADER, ONE).replace("</Row><Row>", '</Row><Row ss:Hidden="1">').encode(),
        "html": html(HEADER, ONE).replace("</tr><tr>", '</tr><tr style="display: none">').encode(),
    }
    for kind, content in made.items():
        table = reader(content)
        assert (kind, filled(table), table.notes) == (kind, {2: READ}, ["1 hidden row(s) were read too."])


def test_repeated_rows_and_cells_of_an_ods_are_so_many(reader: Reader) -> None:
    wide = ods_cell("Yes", 2)
    content = ods(
        ods_table(
            ods_row("Acct", "Qty", "Intl Origin", "Intl Termination"),
            ods_row(ods_cell(None, 4), attributes=' table:number-rows-repeated="3"'),
            ods_row("10023456", 2, wide, attributes=' table:number-rows-repeated="2"'),
            ods_row(ods_cell(None, 16384), attributes=' table:number-rows-repeated="1048570"'),
        )
    )
    row = {"account": "10023456", "quantity": "2", "origin": "Yes", "termination": "Yes"}
    assert filled(reader(content)) == {5: row, 6: row}


def test_notes_spaces_and_line_breaks_of_an_ods_are_taken_as_the_program_shows_them(reader: Reader) -> None:
    cell = (
        '<table:table-cell office:value-type="string">\n  <office:annotation><text:p>a note</text:p></office:annotation>\n'
        '  <text:p>\n    two <text:s text:c="2"/>words<text:line-break/>and\n  <text:span>more</text:span></text:p>\n'
        "  <text:p>lines</text:p>\n</table:table-cell>"
    )
    assert filled(reader(grid_ods(HEADER, ["10023456", "A1", cell])))[2]["comments"] == "two   words\nand more\nlines"


# -- 2, 3: formulas ------------------------------------------------------------------------------------------------------


def without_references(content: bytes) -> bytes:
    sheet = re.sub(rb'(<(?:c|row)) r="[A-Z0-9]+"', rb"\1", parts(content)[SHEET])
    assert b' r="' not in sheet
    return zipped({**parts(content), SHEET: sheet})


def test_cells_without_references_stand_where_they_are(reader: Reader) -> None:
    table = reader(
        without_references(xlsx(HEADER, ["10023456", "A1", "good", "=1+1", "Yes"], ["10023456", "A2", "x", 3, "#N/A"]))
    )
    assert faults(table) == [(2, "quantity", "CELL_FORMULA", "=1+1"), (3, "origin", "CELL_FORMULA", "#N/A")]
    assert filled(table)[2] == {name: cell for name, cell in READ.items() if name != "quantity"}
    assert filled(reader(without_references(xlsx(HEADER, ONE)))) == {2: READ}


def test_a_formula_whose_result_is_the_empty_text_counts_as_empty(reader: Reader) -> None:
    stored = [b'<c r="E3" t="str"><f>IF(A3="","",1)</f><v></v></c>', b'<c r="E3" t="str"><f>IF(A3="","",1)</f><v/></c>']
    for cell in stored:
        content = patched(xlsx(HEADER, ONE), SHEET, b"</sheetData>", b'<row r="3">' + cell + b"</row></sheetData>")
        table = reader(content)
        assert (filled(table), faults(table)) == ({2: READ}, [])
    table = reader(grid_ods(HEADER, ONE, [None, None, None, None, EMPTY_TEXT]))
    assert (filled(table), faults(table)) == ({2: READ}, [])


def test_a_formula_with_a_number_but_no_value_is_reported(reader: Reader) -> None:
    for cell in (b'<c r="E3"><f>1+1</f><v></v></c>', b'<c r="E3"><f>1+1</f></c>', b'<c r="E3" t="str"><f>1+1</f></c>'):
        content = patched(xlsx(HEADER, ONE), SHEET, b"</sheetData>", b'<row r="3">' + cell + b"</row></sheetData>")
        assert faults(reader(content)) == [(3, "origin", "CELL_FORMULA", "=1+1")]


# -- 4: passwords --------------------------------------------------------------------------------------------------------


def sealed(content: bytes, password: str) -> bytes:
    locked = io.BytesIO()
    OOXMLFile(io.BytesIO(content)).encrypt(password, locked)
    return locked.getvalue()


def test_a_workbook_under_excels_default_password_opens_and_one_under_another_says_so(reader: Reader) -> None:
    assert filled(reader(sealed(xlsx(HEADER, ONE), "VelvetSweatshop"))) == {2: READ}
    assert reasons(reader(sealed(xlsx(HEADER, ONE), "secret"))) == [("FILE_ENCRYPTED", "")]


def test_an_ods_with_a_password_says_so(reader: Reader) -> None:
    members = parts(grid_ods(HEADER, ONE))
    manifest = members["META-INF/manifest.xml"].replace(b"/>", b"><manifest:encryption-data/></manifest:manifest>")
    assert reasons(reader(zipped({**members, "META-INF/manifest.xml": manifest, "content.xml": b"\x8a\x00"}))) == [
        ("FILE_ENCRYPTED", "")
    ]
    assert reasons(reader(zipped({"mimetype": b"x", "encrypted-package": b"\x8a"}))) == [("FILE_ENCRYPTED", "")]


# -- 5, 10: tables of text -----------------------------------------------------------------------------------------------

TABLE = "Acct;PON;Comments;Qty;Intl Origin\r\n10023456;A1;good;2;Yes\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=; "])
def test_the_line_that_names_the_separator_is_obeyed(first: str, encoding: str, reader: Reader) -> None:
    table = reader(f"{first}\r\n{TABLE}".encode(encoding))
    assert (filled(table), faults(table)) == ({3: READ}, [])


@pytest.mark.parametrize("separator", [",", "\t", "^", ":", "|"])
def test_the_separator_that_is_named_may_be_any(separator: str, reader: Reader) -> None:
    assert filled(reader(f"sep={separator}\n{TABLE.replace(';', separator)}")) == {3: READ}


def test_the_named_separator_counts_as_a_row_in_what_is_reported(reader: Reader) -> None:
    table = reader(f"sep=;\n{TABLE}1;2;3;4;5;6\n")
    assert reasons(table) == [("FILE_UNREADABLE", "row 4 has 6 cells and the header 5: a separator is missing or too many")]


def test_rows_that_end_before_their_last_empty_cells_are_padded(reader: Reader) -> None:
    table = reader(TABLE + "10023456;A2;;3;\r\n10023456;A3;short;4\r\n10023456;A4;x;5;No\r\n")
    assert filled(table)[4] == {"account": "10023456", "customer_order_id": "A3", "comments": "short", "quantity": "4"}
    assert faults(table) == []


def test_a_row_that_lacks_a_cell_which_all_others_fill_has_lost_a_separator(reader: Reader) -> None:
    table = reader(TABLE + "10023456;A2;x;3\r\n")
    assert reasons(table) == [("FILE_UNREADABLE", "row 3 has 4 cells and the header 5: a separator is missing or too many")]


def test_excels_blocks_of_rows_without_their_last_cells_are_padded(reader: Reader) -> None:
    table = reader(TABLE + "".join(f"10023456;B{row};x;3\r\n" for row in range(16)) + TABLE.partition("\n")[2])
    assert (len(table.rows), faults(table)) == (18, [])
    assert table.rows["source_row"].to_list() == list(range(2, 20))


def test_a_header_with_an_empty_cell_at_its_end_takes_rows_without_one(reader: Reader) -> None:
    assert filled(reader(TABLE.replace("Origin\r", "Origin;\r"))) == {2: READ}


def test_a_title_above_and_a_line_below_the_table_are_left_out_and_reported(reader: Reader) -> None:
    table = reader("Orders of Acme\r\n\r\n" + TABLE + "Total: 1 order\r\n")
    assert filled(table) == {4: READ}
    assert faults(table) == []
    assert table.notes == [
        "Row 1 stands above the header and was not read.",
        "Row 5 holds one cell, “Total: 1 order”, and was not read.",
    ]


@pytest.mark.parametrize("kind", ["xlsx", "xls", "ods", "html"])
def test_a_title_above_the_header_of_a_sheet_is_left_out_and_reported(kind: str, reader: Reader) -> None:
    table = reader(WRITERS[kind](["Orders of Acme"], HEADER, ONE))
    assert filled(table) == {3: READ}
    assert table.notes == ["Row 1 stands above the header and was not read."]


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_a_header_that_is_not_known_is_not_sought_further_down(kind: str, reader: Reader) -> None:
    rows = [["a", "b"], ["c", "Notes"], ["d", "e"]]
    table = reader(xlsx(*rows) if kind == "xlsx" else "\n".join(map(",".join, rows)))
    assert table.titles == ["a", "b"]


def test_a_row_that_was_cut_off_is_no_line_below_the_table(reader: Reader) -> None:
    assert reasons(reader(TABLE + "100234"))[0][0] == "FILE_UNREADABLE"


@pytest.mark.parametrize("end", [b"\x1a", b"\0", b"\x1a\x1a", b"\r\n\x1a"])
def test_what_old_programs_write_at_the_end_is_left_out(end: bytes, reader: Reader) -> None:
    assert filled(reader(TABLE.encode() + end)) == {2: READ}
    assert filled(reader(TABLE.encode("utf-16") + "\x1a".encode("utf-16-le"))) == {2: READ}


def test_words_in_quotation_marks_within_a_cell_beside_an_inch_sign_are_read(reader: Reader) -> None:
    table = reader(TABLE + '10023456;A2;"Main" line;3;No\r\n10023456;A3;5" card;4;No\r\n')
    assert {row: cells["comments"] for row, cells in filled(table).items()} == {2: "good", 3: "Main line", 4: '5" card'}


@pytest.mark.parametrize("content", ["ID;PON;Qty\r\nx;A1;2\r\n", "ID;P\r\nC;x\r\n1;2\r\n"])
def test_a_table_whose_first_header_is_id_is_a_table_unless_the_records_are_sylk(content: str, reader: Reader) -> None:
    assert "ID" in reader(content).titles or reader(content).titles == []


# -- 6, 8, 13: packages that are not as Excel writes them --------------------------------------------------------------------


def renamed(content: bytes, change: Callable[[str], str], *more: tuple[bytes, bytes]) -> bytes:
    members = {}
    for name, body in parts(content).items():
        for old, new in more:
            body = body.replace(old, new)  # noqa: PLW2901
        members[change(name)] = body
    return zipped(members)


def utf16(content: bytes) -> bytes:
    return zipped(
        {
            name: body.decode().replace("UTF-8", "UTF-16").replace("utf-8", "utf-16").encode("utf-16")
            if name.startswith("xl/")
            else body
            for name, body in parts(content).items()
        }
    )


GOOD = xlsx(HEADER, ONE)
NAMED = (b"worksheet", b"sheetData", b"row", b"c ", b"c>", b"v>", b"is>", b"t>", b"f>")
PACKAGES = {
    "other casing": renamed(GOOD, lambda name: name.replace("sheet1", "Sheet1").replace("workbook.xml", "Workbook.xml")),
    "backslashes": renamed(GOOD, lambda name: name.replace("/", "\\")),
    "leading slash": renamed(GOOD, lambda name: "/" + name),
    "another root": renamed(GOOD, lambda name: name.replace("xl/", "book/"), (b'"/xl/', b'"/book/'), (b'"xl/', b'"book/')),
    "UTF-16": utf16(GOOD),
    "no relationship ID": renamed(GOOD, str, (b' r:id="rId1"', b"")),
    "prefixed elements": renamed(GOOD, str, *((old + name, old + b"x:" + name) for old in (b"<", b"</") for name in NAMED)),
    "state show": renamed(GOOD, str, (b'state="visible"', b'state="show"')),
    "null path": renamed(GOOD, str, (b"<sheets>", b'<sheets><sheet name="Gone" state="hidden" r:id="rId99"/>')),
    "a DTD in a drawing": zipped({**parts(GOOD), "xl/drawings/vmlDrawing1.vml": b'<!DOCTYPE x [<!ENTITY a "b">]><x/>'}),
    "a DTD in metadata": zipped({**parts(GOOD), "docProps/app.xml": b"<!DOCTYPE x><x/>"}),
    "a broken picture": zipped({**parts(GOOD), "xl/media/image1.png": b"<!ENTITY"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_what_the_reader_can_read_is_read(name: str, reader: Reader) -> None:
    table = reader(PACKAGES[name])
    assert (filled(table), faults(table)) == ({2: READ}, [])


def test_a_document_type_definition_in_a_part_that_is_parsed_is_refused(reader: Reader) -> None:
    for part in ("xl/workbook.xml", "xl/sharedStrings.xml", SHEET):
        members = {**parts(xlsx(HEADER, [*ONE[:3], "=1"])), "xl/sharedStrings.xml": b"<sst/>"}
        members[part] = members[part].replace(b"?>\n", b"?>", 1)
        root = members[part].index(b"<", 1 if members[part].startswith(b"<?") else 0)
        members[part] = members[part][:root] + b'<!DOCTYPE x [<!ENTITY a "b">]>' + members[part][root:]
        ((reason, words),) = reasons(reader(zipped(members)))
        assert (part, reason, words) == (part, "FILE_UNREADABLE", "the workbook has a document type definition")


def test_a_pretty_printed_ods_without_a_mimetype_is_read(reader: Reader) -> None:
    content = ods_content(ods_table(ods_row(*HEADER), ods_row(*ONE))).replace("><", ">\n   <")
    assert filled(reader(zipped({"content.xml": content.encode()}))) == {2: READ}


def test_an_archive_with_no_sheet_in_it_says_what_is_missing(reader: Reader) -> None:
    members = parts(GOOD)
    del members[SHEET]
    assert reasons(reader(zipped(members))) == [("FILE_UNREADABLE", "the workbook has no worksheet")]


# -- 7: which sheet --------------------------------------------------------------------------------------------------------


def books(sheets: list[tuple[str, list[list[Any]], bool]]) -> dict[str, bytes]:
    """The same sheets (name, rows, visible) in each format that has several."""

    def change_xlsx(made: Any) -> None:
        made.remove(made.active)
        for name, rows, visible in sheets:
            page = made.create_sheet(name)
            for row in rows:
                page.append(row)
            page.sheet_state = "visible" if visible else "hidden"
        made.active = next(number for number, (_, _, visible) in enumerate(sheets) if visible)

    def change_xls(made: Any) -> None:
        for number, (_, _, visible) in enumerate(sheets):
            made.get_sheet(number).visibility = 0 if visible else 1
        made.active_sheet = next(number for number, (_, _, visible) in enumerate(sheets) if visible)

    styles = '<style:style style:name="ta2" style:family="table"><style:table-properties table:display="false"/></style:style>'
    tables = [
        ods_table(*(ods_row(*row) for row in rows), title=name, attributes="" if visible else ' table:style-name="ta2"')
        for name, rows, visible in sheets
    ]
    return {
        "xlsx": xlsx(change=change_xlsx),
        "xls": xls(*((name, rows) for name, rows, _ in sheets), change=change_xls),
        "ods": ods(*tables, styles=styles),
    }


JUNK = [["Export Summary"], ["This document was exported from Numbers."], ["Sheet Name", "Numbers Table Name"], ["a", "b"]]
OTHER = [HEADER, ["10023456", "NO", "other", 9, "No"]]


@pytest.mark.parametrize(
    ("sheets", "read_one"),
    [
        ([("First", [], True), ("Second", [HEADER, ONE], True)], "Second"),
        ([("Export Summary", JUNK, True), ("Sheet 1 - Table 1", [HEADER, ONE], True)], "Sheet 1 - Table 1"),
        ([("Orders", OTHER, False), ("Data", [HEADER, ONE], True)], "Data"),
        ([("Data", OTHER, True), ("ORDERS ", [HEADER, ONE], True)], "ORDERS "),
        ([("One", [HEADER, ONE], True), ("Two", OTHER, True)], "One"),
        ([("Old", OTHER, False), ("New", [HEADER, ONE], True)], "New"),
        ([("Orders", [], True), ("Data", [HEADER, ONE], True)], "Data"),
    ],
)
def test_the_sheet_with_the_order_is_read_and_named(sheets: Any, read_one: str, reader: Reader) -> None:
    for kind, content in books(sheets).items():
        table = reader(content)
        assert (kind, filled(table), faults(table)) == (kind, {2: READ}, [])
        assert table.notes == [f"Sheet “{read_one}” was read; 1 other sheet(s) were not."]


def test_a_chart_sheet_is_no_sheet_to_read(reader: Reader) -> None:
    def add(made: Any) -> None:
        from openpyxl.chart import BarChart, Reference

        chart = BarChart()
        chart.add_data(Reference(made.active, min_col=4, min_row=1, max_row=2))
        made.create_chartsheet("Chart", 0).add_chart(chart)

    for content in (xlsx(HEADER, ONE, change=add, title="Data"), xlsb(("Data", [HEADER, ONE]), chart_first=True)):
        table = reader(content)
        assert (filled(table), table.notes) == ({2: READ}, [])


def test_every_kind_of_cell_of_an_xlsb_is_read_as_calamine_does(reader: Reader) -> None:
    cells = ["é😀", -7, 0.25, 73905162840517, True, "=word", 1e-7, 536870911]
    content = xlsb(("Orders", [["Acct", "PON", "Qty", "Code", "Intl Origin", "Comments", "BTN", "PAN"], cells]))
    independent = fastexcel.read_excel(content).load_sheet(0, header_row=None, dtypes="string").to_arrow().to_pylist()[1]
    names = ["account", "customer_order_id", "quantity", "code", "origin", "comments", "btn", "product"]
    assert [reader(content).rows[name].item() for name in names] == list(independent.values())


def test_an_xlsb_whose_formulas_result_is_the_empty_text_has_an_empty_cell(reader: Reader) -> None:
    table = reader(xlsb(("Orders", [HEADER, ONE, [None, None, None, None, "="]])))
    assert (filled(table), faults(table)) == ({2: READ}, [])


def test_an_order_among_the_tables_of_a_page_is_found(reader: Reader) -> None:
    page = html(["menu", "home"]).replace("</body></html>", "") + "<table><tr><td>" + html(HEADER, ONE) + "</td></tr></table>"
    assert filled(reader(page)) == {2: READ}


# -- 9: far cells ----------------------------------------------------------------------------------------------------------


def stray(content: bytes, reference: str, value: str = " ") -> bytes:
    """The workbook with one more cell, in a row of its own where it lies below."""
    row = re.sub("[A-Z]", "", reference)
    cell = f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'
    if row == "1":
        return patched(content, SHEET, b'</row><row r="2"', f'{cell}</row><row r="2"'.encode())
    return patched(content, SHEET, b"</sheetData>", f'<row r="{row}">{cell}</row></sheetData>'.encode())


@pytest.mark.parametrize("place", ["XFD1", "IV1048576", "XFD1048576", "A1048576"])
def test_a_stray_space_far_away_is_no_reason_to_refuse_a_file(place: str, reader: Reader) -> None:
    table = reader(stray(xlsx(HEADER, ONE), place))
    assert (filled(table), faults(table), table.notes) == ({2: READ}, [], [])


def test_a_filled_cell_far_away_is_reported(reader: Reader) -> None:
    table = reader(stray(xlsx(HEADER, ONE), "XFD1048576", "1"))
    assert (filled(table), table.notes) == ({2: READ}, ["Columns without a header were not used: XFD."])


def test_empty_columns_beyond_the_limit_do_not_count(reader: Reader) -> None:
    blank = [" "] * 300
    made = {
        "xlsx": xlsx(HEADER + blank, ONE + blank),
        "xls": xls(("Orders", [HEADER + blank[:200], ONE + blank[:200]])),
        "ods": grid_ods(HEADER + blank, ONE + blank),
        "csv": ("\n".join(",".join(map(str, row)) + "," * 2000 for row in (HEADER, ONE))).encode(),
    }
    for kind, content in made.items():
        assert (kind, filled(reader(content))) == (kind, {2: READ})
    assert reasons(reader(xlsx([*HEADER, *map(str, range(300))], ONE))) == [
        ("FILE_TOO_LARGE", "305 columns; at most 256 are allowed")
    ]


# -- 11: what keeps digits text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["'01234567", '="01234567"', "'(800) 860-4444", '="800-860-4444"'])
def test_excels_ways_to_keep_digits_text_are_taken_off_and_reported(kept: str, reader: Reader) -> None:
    quoted = f'"{kept.replace(chr(34), chr(34) * 2)}"'
    table = reader(f"Acct,Comments\n{kept},it's\n{quoted},'x\n")
    assert {cells["account"] for cells in filled(table).values()} == {kept.strip("='\"")}
    assert [cells["comments"] for cells in filled(table).values()] == ["it's", "'x"]
    assert table.notes == ['2 cells had an apostrophe or ="…" around digits, which was removed.']


@pytest.mark.parametrize(
    "written",
    [
        "800/860-4444",
        "800\u2013860\u20134444",
        "800\u2011860\u20114444",
        "(800)\u00a0860\u202f4444",
        "+1 800.860.4444",
        "1-800-860-4444",
    ],
)
def test_a_telephone_number_may_have_any_punctuation(written: str) -> None:
    raw = pl.DataFrame(
        {name: [written if name in ("access_number", "btn") else None] for name in NAMES}, dict.fromkeys(NAMES, pl.String)
    )
    rows = normalize(raw)
    assert (rows["access_number"].item(), rows["btn"].item()) == ("8008604444", "8008604444")
    assert character_findings(raw.with_row_index("source_row").with_columns(file=pl.lit(0, pl.UInt32))).is_empty()


def test_a_character_that_is_not_seen_is_strange_in_a_telephone_number_too() -> None:
    raw = pl.DataFrame(
        {name: ["800\u200b8604444" if name == "btn" else None] for name in NAMES}, dict.fromkeys(NAMES, pl.String)
    )
    assert character_findings(raw.with_row_index("source_row").with_columns(file=pl.lit(0, pl.UInt32)))["column"].to_list() == [
        "btn"
    ]


# -- 12: other formats -----------------------------------------------------------------------------------------------------


def test_a_page_as_portals_export_it_is_read(reader: Reader) -> None:
    page = (
        '<html xmlns:x="urn:schemas-microsoft-com:office:excel"><head><meta charset="windows-1252"></head><table>'
        "<thead><tr><th>Acct<th>PON<th colspan=2>Comments<th>Qty</tr></thead>"
        '<tr><td rowspan="2" x:num="73905162840517">7.4E+13</td>'
        "<td>A1</td><td colspan=2>caf\xe9 &amp; <b>bar</b><br>two</td><td x:num>2</td></tr>"
        "<tr><td>A2&nbsp;<td colspan=2><td>3</table></html>"
    )
    assert filled(reader(page.encode("cp1252"))) == {
        2: {"account": "73905162840517", "customer_order_id": "A1", "comments": "café & bar\ntwo", "quantity": "2"},
        3: {"customer_order_id": "A2", "quantity": "3"},
    }


def test_sylk_with_signs_of_its_own_is_read(reader: Reader) -> None:
    content = sylk(HEADER, ["10023456", "A1", "a;b \x1bNHu \x1bN'", 2, "Yes"])
    assert filled(reader(content))[2]["comments"].startswith("a;b ü")


def test_an_old_workbook_of_starcalc_is_read_like_an_ods(reader: Reader) -> None:
    content = ods_content(ods_table(ods_row(*HEADER), ods_row(*ONE))).replace("office:value-type", "table:value-type")
    content = content.replace("office:value=", "table:value=").replace(
        "urn:oasis:names:tc:opendocument:xmlns:", "http://openoffice.org/2000/"
    )
    assert filled(reader(zipped({"content.xml": content.encode()}))) == {2: READ}
