"""What people open: the reseller's own workbook annotated, what a confirmation says first, and pages that can be printed."""

import io
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import FormulaRule
from openpyxl.packaging.custom import StringProperty
from openpyxl.styles import Alignment, Font, NamedStyle, PatternFill
from openpyxl.styles.colors import Color
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.workbook.protection import WorkbookProtection
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.protection import SheetProtection
from openpyxl.worksheet.scenario import InputCells, Scenario
from openpyxl.worksheet.table import Table
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.common.settings import Settings
from pipelines.excel import book, look, writers
from pipelines.excel.annotator import LAST, Annotator
from pipelines.excel.annotator_worker import annotate
from pipelines.excel.book import Attention, Book, Chart, Sheet
from pipelines.excel.openpyxl_style import Painter
from pipelines.excel.order_template import write_template
from pipelines.excel.original_look import rebuild_look
from pipelines.excel.second_writer import MANY, SecondWriter, packed, unpacked
from schemas.orders import BY_HEADER, HEADERS
from tests.conftest import NOW, Shop, csv_of, row, sampled, some_codes
from tests.security import worst

pytestmark = pytest.mark.one_database

THEIRS = ["Our note", "Acct", "PAN", "Access", "PON", "Codes", "Due", "Total"]


def own(*orders: tuple[str, str]) -> bytes:
    """A reseller's own workbook: empty rows above the header, columns of its own, looks, and all that could be dangerous."""
    book = Workbook()
    page: Any = book.active
    page.title = "October"
    for place, title in enumerate(THEIRS, 1):
        page.cell(3, place, title)
    for number, (ref, code) in enumerate(orders):
        page.append([f"note {number}", "10023456", "7001", "800-860-4444", ref, code, datetime(2026, 10, 5), f"=1+{number}"])
    for cell in page[3]:
        cell.font, cell.fill = Font(bold=True, color="C00000"), PatternFill("solid", start_color="CCFFCC")
    page["F4"].number_format = "@"
    page["A4"].hyperlink = "http://example.com/"
    page["B4"].comment = Comment("their note", "them")
    page.column_dimensions["F"].width = 31
    page.row_dimensions[4].height = 40
    checked = DataValidation("list", formula1='"a,b"')
    checked.add("A4:A9")
    page.add_data_validation(checked)
    page.conditional_formatting.add("A4:A9", FormulaRule(["$A$4=1"], fill=PatternFill("solid", start_color="FF0000")))
    book.defined_names["Evil"] = DefinedName("Evil", attr_text="October!$A$1")
    book.create_sheet("Private")["A1"] = "a secret of theirs"
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.fixture
def rejected(shop: Shop) -> Path:
    """The rejection workbook of a file with a good order and two bad ones."""
    good, bad = some_codes(2)
    shop.drop("october.xlsx", own(("GOOD", good), ("BAD", "73905162845555"), ("BAD", bad), ("no ID!", "0" + bad[1:])))
    (answer,) = shop.run()
    assert answer.result["orders_placed"] == 1
    return answer.folder / "rejections.xlsx"


def test_an_xlsx_comes_back_in_the_resellers_own_layout(rejected: Path) -> None:
    page = openpyxl.load_workbook(rejected)["Orders"]
    header, *lines = page.iter_rows()
    assert [cell.value for cell in header] == [*THEIRS, "Row", "Reason", "What to fix"]
    assert [(line[0].value, line[4].value, line[8].value) for line in lines] == [
        ("note 1", "BAD", 5), ("note 2", "BAD", 6), ("note 3", "no ID!", 7),
    ]  # fmt: skip
    assert (header[0].font.color.rgb, header[0].fill.start_color.rgb) == ("00C00000", "00CCFFCC")
    assert lines[0][6].value == datetime(2026, 10, 5)
    assert page.column_dimensions["F"].width == 31
    assert page.freeze_panes == "A2"
    assert {table.name: table.ref for table in page.tables.values()} == {"Orders": "A1:K4"}


def test_cells_at_fault_are_marked_and_say_what_to_fix(rejected: Path) -> None:
    page = openpyxl.load_workbook(rejected)["Orders"]
    marked = {cell.coordinate: cell.comment.text for line in page.iter_rows() for cell in line if cell.comment}
    assert set(marked) == {"F2", "E4", "F4"}
    assert marked["F2"].startswith("CODE_RUN: Code “73905162845555”")
    assert page["F2"].fill.start_color.rgb == "00FFC7CE"
    assert page["E2"].fill.fill_type is None
    assert [page[f"J{line}"].value for line in (2, 3, 4)] == [
        "CODE_RUN",
        "ORDER_INCOMPLETE",
        "ORDER_ID_FORMAT; CODE_LEADING_ZERO",
    ]


def test_nothing_dangerous_or_private_of_theirs_is_in_our_workbook(rejected: Path) -> None:
    book = openpyxl.load_workbook(rejected)
    assert book.sheetnames == ["Summary", "Orders"]
    assert dict(book.defined_names) == {}
    page = book["Orders"]
    assert page.data_validations.dataValidation == []
    assert list(page.conditional_formatting) == []
    cells = [cell for sheet in book for line in sheet.iter_rows() for cell in line]
    assert [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink] == []
    with zipfile.ZipFile(rejected) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert not any(b"secret of theirs" in body or b"example.com" in body or b"their note" in body for body in members.values())


MARKER = "Zq7Marker"
"""Planted in every part of a reseller's workbook. It is valid in a name, a formula and base64."""


def _marked_cells(page: Any) -> None:
    """Cells of a rejected row whose looks, links and notes carry the marker; their values do not."""
    page.append(["Acct", "PAN", "Access", "PON", "Codes", "Number", "Due", "Price"])
    page.append(["10023456", "7001", "800-860-4444", "BAD", "1", 12.5, datetime(2026, 10, 5), 3])
    page["F2"].number_format = f'"{MARKER}"0.00'
    page["G2"].number_format = f'yyyy"{MARKER}"'
    page["H2"].number_format = f"[${MARKER}-409]#,##0"
    page["A2"].font = Font(name=MARKER, bold=True, color=Color(theme=4, tint=-0.25))
    page["B2"].hyperlink = Hyperlink("B2", location=f"{MARKER}!A1", tooltip=MARKER, display=MARKER)
    page["C2"].hyperlink = f"http://example.com/{MARKER}"
    page["D2"].comment = Comment(MARKER, MARKER)
    page["E2"].style = NamedStyle(MARKER, font=Font(italic=True))


def _marked_sheet(page: Any) -> None:
    """What a sheet has beside its cells."""
    page.sheet_properties.codeName = MARKER
    page.oddHeader.left.text = page.evenFooter.right.text = MARKER
    checked = DataValidation("list", formula1=f'"{MARKER}"', promptTitle=MARKER, prompt=MARKER, error=MARKER)
    checked.add("A2:A9")
    page.add_data_validation(checked)
    page.conditional_formatting.add("A2:A9", FormulaRule([f'$A$2="{MARKER}"'], fill=PatternFill("solid", start_color="FF0000")))
    page.add_table(Table(displayName=MARKER, ref="A1:H9"))
    page.protection = SheetProtection(sheet=True, algorithmName=MARKER, hashValue=MARKER * 4, saltValue=MARKER * 4, spinCount=1)
    page.print_title_rows = "1:2"
    page.scenarios.scenario = [Scenario(name=MARKER, inputCells=[InputCells(r="A2", val=MARKER)])]


def _marked_book() -> bytes:
    """A sender's workbook with the marker in every part, however a hostile program might plant it."""
    book = Workbook()
    page: Any = book.active
    page.title = "October"
    _marked_cells(page)
    _marked_sheet(page)
    other = book.create_sheet(MARKER)
    other["A1"], other["A2"] = MARKER, f"={MARKER}"
    book.defined_names[MARKER] = DefinedName(MARKER, attr_text="October!$A$1", comment=MARKER)
    book.security = WorkbookProtection(lockStructure=True, workbookHashValue=MARKER * 4, workbookSaltValue=MARKER * 4)
    book.code_name = MARKER
    names = ("title", "subject", "creator", "keywords", "description", "lastModifiedBy", "category", "identifier")
    for name in names:
        setattr(book.properties, name, MARKER)
    book.custom_doc_props.append(StringProperty(name=MARKER, value=MARKER))
    content = io.BytesIO()
    book.save(content)
    with zipfile.ZipFile(content) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    members["xl/theme/theme1.xml"] = members["xl/theme/theme1.xml"].replace('name="Office', f'name="{MARKER} Office')
    members["docProps/app.xml"] = members["docProps/app.xml"].replace(
        "</Application>", f"</Application><Company>{MARKER}</Company>"
    )
    members["customXml/item1.xml"] = f"<{MARKER}>{MARKER}</{MARKER}>"
    members["xl/printerSettings/printerSettings1.bin"] = members["xl/vbaProject.bin"] = MARKER
    members["_rels/.rels"] = members["_rels/.rels"].replace(
        "</Relationships>",
        '<Relationship Id="rIdX" Target="customXml/item1.xml" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/customXml"/></Relationships>',
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def _marked_parts(content: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name for name in archive.namelist() if MARKER.encode().lower() in archive.read(name).lower()}


def test_of_the_resellers_workbook_nothing_but_values_and_looks_gets_into_ours(shop: Shop) -> None:
    content = _marked_book()
    assert _marked_parts(content) == {
        "customXml/item1.xml", "docProps/app.xml", "docProps/core.xml", "docProps/custom.xml", "xl/comments/comment1.xml",
        "xl/printerSettings/printerSettings1.bin", "xl/styles.xml", "xl/tables/table1.xml",
        "xl/theme/theme1.xml", "xl/vbaProject.bin", "xl/workbook.xml", "xl/worksheets/_rels/sheet1.xml.rels",
        "xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml",
    }  # fmt: skip
    shop.drop("october.xlsx", content)
    (answer,) = shop.run()
    made = answer.folder / "rejections.xlsx"
    assert _marked_parts(made.read_bytes()) == set()
    page = openpyxl.load_workbook(made)["Orders"]
    assert [cell.value for cell in page[2]][3:8] == ["BAD", "1", 12.5, datetime(2026, 10, 5), 3]
    assert [page.cell(2, place).number_format for place in (6, 7, 8)] == ["General", "yyyy-mm-dd hh:mm", "0"]
    assert (page["A2"].font.name, page["A2"].font.bold, page["A2"].font.color.theme) == ("Calibri", True, 4)
    assert page["E2"].font.italic
    assert (page.protection.sheet, page["A2"].hyperlink, page["E2"].style) == (False, None, "Normal")


DAY = datetime(2026, 10, 5)


def rebuilt(value: Any, **looks: Any) -> Any:
    """Our cell for a cell of a reseller's with this value and these looks."""
    theirs, ours = Workbook().active, Workbook().active
    assert theirs is not None
    assert ours is not None
    theirs["A1"] = value
    for name, one in looks.items():
        setattr(theirs["A1"], name, one)
    rebuild_look(theirs["A1"], ours["A1"])
    return ours["A1"]


@pytest.mark.parametrize(
    ("value", "number_format"),
    [(1, "General"), (1, "@"), (1, "0"), ("1", "General"), (1.5, "General"), (DAY, "mm-dd-yy"), (DAY, "m/d/yy h:mm")],
)
def test_number_formats_that_show_any_value_as_it_is_are_kept(value: Any, number_format: str) -> None:
    assert rebuilt(value, number_format=number_format).number_format == number_format


@pytest.mark.parametrize(
    "number_format",
    ["0.00", "#,##0", "dd/mm/yyyy hh:mm", "0%", "000-0000", ";;;", "[Red]0", '"text"0', "[$-409]0", "[>9]0", "mm:ss"],
)
def test_other_number_formats_are_not(number_format: str) -> None:
    for value, kept in ((1, "0"), ("1", "@"), (DAY, "yyyy-mm-dd hh:mm"), (1.5, "General")):
        assert rebuilt(value, number_format=number_format).number_format == kept
    assert rebuilt(1.5, number_format="0").number_format == "General"


def solid(color: Any) -> PatternFill:
    return PatternFill("solid", start_color=color)


@pytest.mark.parametrize(
    ("font", "fill", "kept"),
    [
        ("FFFFFFFF", PatternFill(), False),
        ("FFFFFFFF", solid("FF1F4E79"), True),
        ("FFC00000", PatternFill(), True),
        ("FFFF0000", PatternFill(), False),
        ("FFFFFF00", PatternFill(), False),
        ("00FFFF00", solid("FF000000"), True),
        (Color(theme=0), PatternFill(), False),
        (Color(theme=1, tint=0.95), PatternFill(), False),
        (Color(theme=4), PatternFill(), False),
        (Color(theme=4, tint=-0.5), PatternFill(), True),
        (Color(indexed=9), PatternFill(), False),
        (Color(indexed=64), PatternFill(), True),
        (Color(indexed=65), PatternFill(), False),
        ("FFFFFFFF", PatternFill("gray125", start_color="FF000000", end_color="FFFFFFFF"), False),
    ],
)
def test_a_fonts_colour_is_kept_where_it_can_be_read(font: Any, fill: PatternFill, kept: bool) -> None:
    made = rebuilt("1", font=Font(color=font), fill=fill)
    assert (made.font.color is not None) == kept


def test_a_fill_that_hides_our_own_colour_too_is_dropped() -> None:
    made = rebuilt("1", font=Font(color="FF111111"), fill=solid("FF000000"))
    assert (made.font.color, made.fill.patternType) == (None, None)


def test_no_alignment_repeats_a_value_or_pushes_it_out_of_sight() -> None:
    alignment = rebuilt("1", alignment=Alignment("fill", indent=250)).alignment
    assert (alignment.horizontal, alignment.indent) == (None, 15)


def test_an_original_behind_a_link_is_not_opened(tmp_path: Path, shop: Shop) -> None:
    original, link = tmp_path / "original.xlsx", tmp_path / "link.xlsx"
    original.write_bytes(own(("BAD", "1")))
    link.symlink_to(original)
    rows = pl.DataFrame({"Row": [4], "Reason": ["CODE_FORMAT"], "What to fix": ["Write 14 digits."]})
    book = Book("Rejected orders", "Fix it.", [], [Sheet("Orders", rows)])
    with Annotator(shop.settings) as annotator:
        assert annotator.write_own(tmp_path / "made.xlsx", book, original, "acme")
        assert not annotator.write_own(tmp_path / "not.xlsx", book, link, "acme")
        assert not annotator.write_own(tmp_path / "not.xlsx", book, tmp_path, "acme")
        assert not annotator.write_own(tmp_path / "not.xlsx", book, tmp_path / "missing.xlsx", "acme")
    assert not (tmp_path / "not.xlsx").exists()


def test_a_rejection_workbook_opens_where_there_is_something_to_fix(rejected: Path, shop: Shop) -> None:
    answer = shop.send(row("BAD", code="1"))
    for path in (rejected, answer.folder / "rejections.xlsx"):
        book = openpyxl.load_workbook(path)
        assert book.active is not None
        assert book.active.title == "Orders"
        assert [page.title for page in book if page.sheet_view.tabSelected] == ["Orders"]


def test_it_opens_at_the_first_marked_cell(rejected: Path, shop: Shop) -> None:
    for path in (rejected, shop.send(row("A", quantity="x"), row("A", quantity="1"), name="a.csv").folder / "rejections.xlsx"):
        page = openpyxl.load_workbook(path)["Orders"]
        marked = [cell.coordinate for line in page.iter_rows(min_row=2) for cell in line if cell.comment]
        assert page.sheet_view.selection[-1].activeCell == marked[0]


def test_a_template_to_which_columns_were_added_comes_back_with_its_lists(shop: Shop, tmp_path: Path) -> None:
    write_template(tmp_path / "t.xlsx", *shop.registry.catalogue(), "acme")
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    page = book["Orders"]
    page.insert_cols(1)
    page["A1"] = "Our note"
    for header, cell in row("T1", quantity="x").items():
        page.cell(2, [one.value for one in page[1]].index(header) + 1, cell)
    book.save(tmp_path / "t.xlsx")
    shop.drop("t.xlsx", (tmp_path / "t.xlsx").read_bytes())
    (answer,) = shop.run()
    page = openpyxl.load_workbook(answer.folder / "rejections.xlsx")["Orders"]
    lists = {str(one.sqref): one.formula1 for one in page.data_validations.dataValidation}
    letters = {cell.value: cell.column_letter for cell in page[1]}
    assert letters["Customer Account Number"] == "D"
    assert lists["D2:D1048576"] == "Accounts"
    assert "$D2" in lists[f"{letters['Product Account Number']}2:{letters['Product Account Number']}1048576"]


def test_reason_and_what_to_fix_are_wrapped(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="x"), name="a.csv")
    page = openpyxl.load_workbook(answer.folder / "rejections.xlsx")["Orders"]
    last = page[2][-2:]
    assert [cell.alignment.wrap_text for cell in last] == [True, True]
    assert [round(page.column_dimensions[cell.column_letter].width) for cell in last] == [29, 61]


def test_the_summary_counts_reasons(rejected: Path) -> None:
    lines = [[cell.value for cell in line] for line in openpyxl.load_workbook(rejected)["Summary"].iter_rows(max_col=3)]
    counts = {line[0]: line[2] for line in lines if str(line[0]).isupper()}
    assert counts == {"CODE_RUN": 1, "ORDER_INCOMPLETE": 1, "ORDER_ID_FORMAT": 1, "CODE_LEADING_ZERO": 1}
    assert lines[1][:2] == [
        "What to do",
        "Fix the marked cells on the sheet Orders, save, and resubmit this workbook. The last three columns may stay.",
    ]


def test_fixed_and_resubmitted_it_is_placed(rejected: Path, shop: Shop) -> None:
    book = openpyxl.load_workbook(rejected)
    page = book["Orders"]
    page["F2"], page["E4"], page["F4"] = some_codes(5)[2], "THIRD", some_codes(5)[3]
    book.save(shop.settings.inbox / "acme" / "fixed.xlsx")
    (answer,) = shop.run()
    assert (answer.result["reasons"], answer.result["orders_placed"], answer.result["codes_placed"]) == ({}, 2, 3)


def test_rejected_twice_it_keeps_one_row_of_reasons(rejected: Path, shop: Shop) -> None:
    book = openpyxl.load_workbook(rejected)
    book["Orders"]["F2"] = some_codes(5)[2]
    book.save(shop.settings.inbox / "acme" / "half.xlsx")
    (answer,) = shop.run()
    assert answer.result["orders_placed"] == 1
    header, *lines = openpyxl.load_workbook(answer.folder / "rejections.xlsx")["Orders"].iter_rows(values_only=True)
    assert list(header) == [*THEIRS, "Row", "Reason", "What to fix"]
    assert [line[8:10] for line in lines] == [(4, "ORDER_ID_FORMAT; CODE_LEADING_ZERO")]


def test_a_workbook_that_openpyxl_cant_take_comes_back_in_our_layout(shop: Shop) -> None:
    content = io.BytesIO(own(("BAD", "73905162845555")))
    with zipfile.ZipFile(content) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, b"<broken" if name == "[Content_Types].xml" else body)
    shop.drop("odd.xlsx", content.getvalue())
    (answer,) = shop.run()
    header = next(openpyxl.load_workbook(answer.folder / "rejections.xlsx")["Orders"].iter_rows(values_only=True))
    assert header[:2] == ("Action", "Service Type")
    assert answer.reasons == {4: ["CODE_RUN"]}


@pytest.mark.parametrize("content", [worst.merged(), worst.far_cell(1_048_576)], ids=["merged range", "far cell"])
def test_a_sheet_that_only_claims_to_be_large_is_annotated_like_another(content: bytes, tmp_path: Path) -> None:
    """The ceiling on the child's memory is far below what all cells of the range would take."""
    (tmp_path / "sent.xlsx").write_bytes(content)
    rows = pl.DataFrame({"Row": [2], "Reason": ["CODE_FORMAT"], "What to fix": ["Write 14 digits."]})
    with Annotator(Settings(home=tmp_path)) as annotator:
        book = Book("Rejected orders", "Fix it.", [], [Sheet("Orders", rows)])
        assert annotator.write_own(tmp_path / "made.xlsx", book, tmp_path / "sent.xlsx", "acme")
    page = openpyxl.load_workbook(tmp_path / "made.xlsx")["Orders"]
    assert page.max_row == 2
    assert [cell.value for cell in page[2]][-3:] == [2, "CODE_FORMAT", "Write 14 digits."]


@pytest.mark.parametrize("many", sampled([10_000, 12_000], 12_000))
def test_ten_thousand_rejected_rows_have_notes_and_more_have_columns(many: int, tmp_path: Path, sqlite: Any) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        lines = "".join(f"10023456,7001,8008604444,N{number},039051628{number:05}\n" for number in range(many))
        shop.drop("big.csv", b"Acct,PAN,Access,PON,Code\n" + lines.encode())
        (answer,) = shop.run()
        shop.registry.close()
    assert answer.result["rows_rejected"] == many
    book = openpyxl.load_workbook(answer.folder / "rejections.xlsx")
    page = book["Orders"]
    notes = sum(1 for (cell,) in page.iter_rows(min_col=11, max_col=11) if cell.comment)
    explained = any("too many rows for notes" in str(line[1].value) for line in book["Summary"].iter_rows())
    assert page.max_row == many + 1
    assert [page.cell(many + 1, page.max_column - back).value for back in (2, 1)] == [many + 1, "CODE_LEADING_ZERO"]
    if many == 10_000:
        assert notes > 9_000
    else:
        assert notes == 0
        assert explained


def test_the_annotator_does_not_look_at_every_cell_for_each_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """openpyxl finds the size of a sheet by looking at all of its cells; 10,000 rows took a minute."""
    looked: list[str] = []
    size = Worksheet.max_column.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Worksheet, "max_column", property(lambda page: looked.append(page.title) or size(page)))
    rows = [(row, "CODE_FORMAT", "Write 14 digits.") for row in range(4, 54)]
    job = {
        "title": "Rejected orders", "advice": "Fix it.", "key_values": [], "table": [], "last": LAST, "by_header": BY_HEADER,
        "headers": list(HEADERS.values()), "rows": rows, "notes": [(row, "Code", "CODE_FORMAT") for row, _, _ in rows],
        "noted": 100, "rules": None,
    }  # fmt: skip
    outcome, _ = annotate(job, own(*[(f"ORDER-{number}", "1") for number in range(50)]))
    assert outcome == "annotated"
    assert len(looked) < 10


def test_a_confirmation_says_at_a_glance_what_happened_and_what_to_do(shop: Shop) -> None:
    first, second = some_codes(2)
    answer = shop.send(row("ONE", code=first, comments="=1+1"), row("TWO", code="1"), row("THREE", code=second))
    book = openpyxl.load_workbook(answer.folder / "confirmation.xlsx")
    assert book.sheetnames == ["Summary", "Orders", "Codes"]
    facts = {line[0].value: line[1].value for line in book["Summary"].iter_rows(min_row=4) if line[0].value}
    assert (facts["Orders placed"], facts["Orders rejected"], facts["Codes placed"]) == (2, 1, 2)
    assert facts["Received"] == NOW.replace(tzinfo=None)
    assert book["Summary"]["B6"].number_format == 'yyyy-mm-dd hh:mm "UTC-06:00"'
    assert (facts["Reseller"], facts["Product accounts"], facts["Access numbers"]) == ("acme", "7001", "800-860-4444")
    assert (facts["Cards ordered"], facts["Cards released at confirmation"], facts["Cards outstanding"]) == (2, 0, 2)
    assert str(book["Summary"]["B2"].value).startswith("Do not print these codes yet.")
    assert "rejections.xlsx" in str(book["Summary"]["B2"].value)
    for page in (book["Orders"], book["Codes"]):
        assert (page.freeze_panes, page.print_title_rows, page.page_setup.fitToHeight) == ("A2", "$1:$1", 0)
        assert page.tables.items() == [(page.title, page.dimensions)]
        assert "&P of &N" in str(page.oddFooter.center.text)
    codes = [line[4] for line in book["Codes"].iter_rows(min_row=2)]
    assert [(cell.value, cell.data_type, cell.number_format) for cell in codes] == [(first, "s", "@"), (second, "s", "@")]
    placed = [line[5] for line in book["Orders"].iter_rows(min_row=2)]
    assert {(cell.value, cell.is_date) for cell in placed} == {(NOW.replace(tzinfo=None), True)}
    assert {cell.number_format for cell in placed} == {'yyyy-mm-dd hh:mm "UTC-06:00"'}
    assert [cell.value for cell in book["Orders"]["K"]] == ["Access Number", "800-860-4444", "800-860-4444"]


def test_very_many_codes_are_in_the_csv_alone(tmp_path: Path, sqlite: Any) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url, max_sheet_codes=3)
        answer = shop.send(row("MANY", quantity="4"), row("FEW", quantity="1"))
        shop.registry.close()
    book = openpyxl.load_workbook(answer.folder / "confirmation.xlsx")
    assert book.sheetnames == ["Summary", "Orders"]
    assert any("confirmation.csv" in str(line[1].value) for line in book["Summary"].iter_rows())
    assert len(answer.codes) == 5


@pytest.mark.parametrize(("small", "chart"), [(0, True), (0, False), (book.SMALL, True), (book.SMALL, False)])
def test_text_is_never_a_formula_whoever_writes_it(small: int, chart: bool, tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "http://example.com", "{=1}", "00123", "a\x01b", "x" * 40_000]
    frame = pl.DataFrame({"Text": texts, "When": [datetime(2026, 10, 5, 9, 30)] * len(texts)})
    book = Book(
        "=title",
        "=advice",
        [("=label", "=value"), ("figure", 3)],
        [Sheet("Texts", frame)],
        frame.head(2).select("Text", n=pl.lit(1)),
    )
    book = book._replace(charts=(CHART._replace(sheet="Texts", categories="Text", series=(("n", "good"),)),)) if chart else book
    frame = frame.with_columns(n=pl.lit(1))
    book = book._replace(sheets=[Sheet("Texts", frame)])
    writers.write(tmp_path / "made.xlsx", book, small)
    made = openpyxl.load_workbook(tmp_path / "made.xlsx")
    cells = [cell for page in made for line in page.iter_rows() for cell in line if cell.value is not None]
    assert [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink] == []
    assert made["Texts"]["A2"].value == "=1+1"
    assert made["Texts"]["A8"].value == "00123"
    assert made["Texts"]["B2"].is_date
    assert made["Summary"]["A1"].value == "=title"
    assert len(made["Summary"]._charts) == int(chart)
    assert (made["Texts"].freeze_panes, made["Texts"].tables["Texts"].ref) == ("A2", "A1:C10")


def _border(side: Any) -> tuple[str, str]:
    return (side.style, side.color.rgb[2:]) if side and side.style else ("", "")


def _looks(page: Any) -> dict[str, Any]:
    """All that is seen of a summary, but its chart."""
    cells = {
        cell.coordinate: (
            cell.value, cell.number_format, cell.font.name, cell.font.b, cell.font.sz,
            cell.font.color and cell.font.color.rgb[2:],
            cell.fill.fgColor.rgb[2:] if cell.fill.fill_type else "", cell.alignment.horizontal, cell.alignment.vertical,
            cell.alignment.wrap_text, _border(cell.border.left), _border(cell.border.bottom),
        )
        for line in page.iter_rows() for cell in line if cell.value is not None
    }  # fmt: skip
    return {
        "cells": cells, "widths": {letter: round(page.column_dimensions[letter].width) for letter in "ABC"},
        "heights": {line: page.row_dimensions[line].height for line in range(1, page.max_row + 1)},
        "grid": page.sheet_view.showGridLines,
    }  # fmt: skip


def test_a_summary_looks_the_same_whichever_writer_made_it(tmp_path: Path) -> None:
    facts = [("File", "october.xlsx"), ("Received", datetime(2026, 10, 5, 9, 30)), ("Rows", 1234), ("Remark", "long " * 40)]
    table = pl.DataFrame({"Reason": ["CODE_RUN"], "What to fix": ["Choose another code. " * 6], "Count": [1200]})
    made = Book("Title", "What is to be done. " * 9, facts, [], table)
    writers.write(tmp_path / "small.xlsx", made)
    book = Workbook()
    page: Any = book.active
    page.title = "Summary"
    Painter().summary(page, made.summary())
    book.save(tmp_path / "openpyxl.xlsx")
    pages = [openpyxl.load_workbook(tmp_path / f"{name}.xlsx")["Summary"] for name in ("small", "openpyxl")]
    small, annotated = map(_looks, pages)
    assert small == annotated
    assert [list(page.merged_cells.ranges) for page in pages] == [[], []]


CHART = Chart(
    "Nights", "stacked", "Nights", "Night", (("Ready", "good"), ("Refused", "bad")), "Night", "Codes", "Ready, refused."
)
NIGHTS = pl.DataFrame({"Night": [date(2026, 10, 5), date(2026, 10, 6)], "Ready": [5, 7], "Refused": [0.1, 0.0]})


def _with_charts(*charts: Chart, nights: pl.DataFrame = NIGHTS) -> Book:
    sheets = [Sheet("Nights", nights, formats={"Refused": look.PERCENT})]
    return Book("Night", "No action needed.", [("Codes ready", 7)], sheets, charts=charts)


def test_a_chart_has_its_colours_titled_axes_and_words_for_who_cant_see_it(tmp_path: Path) -> None:
    shares = CHART._replace(kind="line", series=(("Refused", "bad"),))
    writers.write(tmp_path / "made.xlsx", _with_charts(CHART, shares, CHART._replace(kind="bar")))
    stacked, line, bar = openpyxl.load_workbook(tmp_path / "made.xlsx")["Summary"]._charts  # type: ignore[attr-defined]
    assert (stacked.grouping, stacked.overlap, stacked.legend.position) == ("stacked", 100, "b")
    assert [one.graphicalProperties.solidFill.srgbClr for one in stacked.series] == ["2E75B6", "C00000"]
    assert [one.val.numRef.f for one in stacked.series] == ["Nights!$B$2:$B$3", "Nights!$C$2:$C$3"]
    assert not any(axis.delete for chart in (stacked, line, bar) for axis in (chart.x_axis, chart.y_axis))
    assert [chart.y_axis.number_format.formatCode for chart in (stacked, line)] == ["#,##0", "0.0%"]
    assert (line.legend, bar.barDir) == (None, "bar")
    with zipfile.ZipFile(tmp_path / "made.xlsx") as archive:
        drawing = archive.read("xl/drawings/drawing1.xml").decode()
        texts = [re.findall("<a:t>(.*?)</a:t>", archive.read(f"xl/charts/chart{n}.xml").decode()) for n in (1, 2, 3)]
    assert drawing.count('descr="Ready, refused."') == 3
    assert texts == [["Nights", "Night", "Codes"]] * 3


def test_words_that_have_no_room_beside_their_label_are_wrapped_below_its_width(tmp_path: Path) -> None:
    words = "Refused, Replaced, Ready late, Surplus, Changes"
    book = _with_charts(CHART)._replace(key_values=[("Nothing for", words), ("Nothing for", "Refused")])
    writers.write(tmp_path / "made.xlsx", book)
    page = openpyxl.load_workbook(tmp_path / "made.xlsx")["Summary"]
    assert [[cell.value for cell in line[:2]] for line in page.iter_rows(min_row=4, max_row=5)] == [
        [f"Nothing for: {words}", None], ["Nothing for", "Refused"],
    ]  # fmt: skip
    assert page["A4"].alignment.wrap_text


def test_charts_stand_two_across_and_overlap_nothing(tmp_path: Path) -> None:
    writers.write(tmp_path / "made.xlsx", _with_charts(*[CHART] * 3))
    page = openpyxl.load_workbook(tmp_path / "made.xlsx")["Summary"]
    corners = [(chart.anchor._from.row, chart.anchor._from.col, chart.anchor.to.row) for chart in page._charts]  # type: ignore[attr-defined]
    (first, left, end), (second, right, _), (third, below, _) = corners
    assert first == second > page.max_row - 1
    assert third > end
    assert left == below == 0 < right


def test_a_chart_of_nothing_is_left_out(tmp_path: Path) -> None:
    writers.write(tmp_path / "made.xlsx", _with_charts(CHART, CHART._replace(sheet="Other"), nights=NIGHTS.head(0)))
    made = openpyxl.load_workbook(tmp_path / "made.xlsx")
    assert made["Summary"]._charts == []  # type: ignore[attr-defined]
    assert [[cell.value for cell in line] for line in made["Nights"].iter_rows(min_row=2)] == [["None", None, None]]


def test_what_needs_attention_comes_first_with_links_to_its_sheets(tmp_path: Path) -> None:
    attention = (Attention("1 order is overdue.", "Nights"), Attention("3 cards are surplus."))
    kpis = pl.DataFrame({"Figure": ["Ready", "Refused"], "Tonight": [1234.0, 0.037], "Median": [None, 0.1]})
    book = _with_charts(CHART)._replace(
        attention=attention, table=kpis, formats={"Refused": look.PERCENT, "Tonight": look.COUNT}
    )
    writers.write(tmp_path / "made.xlsx", book)
    page = openpyxl.load_workbook(tmp_path / "made.xlsx")["Summary"]
    cells = [[cell.value for cell in line[:3]] for line in page.iter_rows(max_row=10)]
    assert cells == [
        ["Night", None, None], ["What needs attention", None, None], ["1 order is overdue.", "Go to Nights", None],
        ["3 cards are surplus.", None, None], [None, None, None], ["Figure", "Tonight", "Median"], ["Ready", 1234, None],
        ["Refused", 0.037, 0.1], [None, None, None], ["Codes ready", 7, None],
    ]  # fmt: skip
    links = {cell.coordinate: cell.hyperlink.location for line in page.iter_rows() for cell in line if cell.hyperlink}
    assert links == {"B3": "'Nights'!A1"}
    assert [page[name].number_format for name in ("B7", "B8", "C8")] == ["#,##0", "0.0%", "0.0%"]
    assert {page[name].alignment.horizontal for name in ("B6", "B7", "C8", "B10")} == {"right"}


def test_characters_that_xml_cannot_hold_are_replaced_in_notes_too(tmp_path: Path) -> None:
    marks = pl.DataFrame({"index": [0], "column": ["Code"], "note": ["odd \x01 note"]})
    book = Book("Rejected", "Fix it.", [("File", "a\x02.xlsx")], [Sheet("Orders", pl.DataFrame({"Code": ["1\x03"]}), marks)])
    writers.write(tmp_path / "made.xlsx", book)
    made = openpyxl.load_workbook(tmp_path / "made.xlsx")
    assert made["Orders"]["A2"].value == "1\ufffd"
    assert made["Orders"]["A2"].comment.text == "odd \ufffd note"
    assert made["Summary"]["B4"].value == "a\ufffd.xlsx"


def test_long_text_is_wrapped_in_a_row_that_is_high_enough(tmp_path: Path) -> None:
    rows = pl.DataFrame({"Row": [2, 3], "What to fix": ["Choose another code. " * 10, "Short."]})
    writers.write(tmp_path / "made.xlsx", Book("Rejected", "Fix it.", [], [Sheet("Orders", rows)]))
    page = openpyxl.load_workbook(tmp_path / "made.xlsx")["Orders"]
    assert (page["B2"].alignment.wrap_text, round(page.column_dimensions["B"].width)) == (True, 61)
    assert [page.row_dimensions[line].height for line in (2, 3)] == [
        look.text_height("Choose another code. " * 10, 60),
        look.ROW_HEIGHT,
    ]


def test_a_csv_that_opens_as_formulas_nowhere(shop: Shop) -> None:
    answer = shop.send(row("ONE", code="1", comments="=cmd|' /C calc'!A0"), row("+TWO", code="2", comments="\tx"))
    text = (answer.folder / "rejections.csv").read_text()
    assert "'=cmd" in text
    assert "'+TWO" in text
    again = shop.drop("again.csv", (answer.folder / "rejections.csv").read_bytes())
    (second,) = shop.run()
    assert not again.exists()
    assert second.rejections["Comments"].to_list() == answer.rejections["Comments"].to_list()
    assert csv_of(row("X"))


def _one_book() -> Book:
    facts = [("File", "october.xlsx"), ("Received", datetime(2026, 10, 5, 9, 30)), ("Rows", 12)]
    rows = pl.DataFrame({"Code": ["73905162840993", ""], "When": [datetime(2026, 10, 5)] * 2, "Cards": [1, None]})
    return Book("Order confirmation", "No action needed.", facts, [Sheet("Orders", rows), Sheet("Codes", rows.head(0))])


def _parts(path: Path) -> dict[str, bytes]:
    """The parts of a workbook, but the one that says when it was made."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "docProps/core.xml"}


def test_the_second_writer_makes_the_same_workbook(tmp_path: Path) -> None:
    writers.write(tmp_path / "here.xlsx", _one_book())
    with SecondWriter(MANY) as second:
        assert second.ask(*packed(_one_book()))[1].startswith(b"PK")
        second.write(tmp_path / "there.xlsx", _one_book())
        assert second._process
        assert _parts(tmp_path / "there.xlsx") == _parts(tmp_path / "here.xlsx")
        second._process.kill()
        second._process.wait()
        second.write(tmp_path / "died.xlsx", _one_book())
    assert _parts(tmp_path / "died.xlsx") == _parts(tmp_path / "here.xlsx")


@pytest.mark.parametrize("kills", [False, True])
def test_each_thread_gets_its_own_workbook_from_the_second_writer(kills: bool, tmp_path: Path) -> None:
    """Also when the process dies again and again of what several threads have handed over."""
    books = [_one_book()._replace(title=f"Book {number}", advice=f"Advice {number}") for number in range(40)]
    with SecondWriter(MANY) as second, ThreadPoolExecutor(8) as pool:

        def write(number: int) -> None:
            second.write(tmp_path / f"{number}.xlsx", books[number])
            if kills and (process := second._process):
                process.kill()

        list(pool.map(write, range(len(books))))
    for number, one in enumerate(books):
        writers.write(tmp_path / "here.xlsx", one)
        assert _parts(tmp_path / f"{number}.xlsx") == _parts(tmp_path / "here.xlsx"), number


def test_the_second_writer_is_started_for_many_workbooks_alone(tmp_path: Path) -> None:
    with SecondWriter(MANY - 1) as second:
        second.write(tmp_path / "made.xlsx", _one_book())
        assert second._process is None
    assert _parts(tmp_path / "made.xlsx")
    again = unpacked(*packed(_one_book()))
    assert [sheet.rows.equals(one.rows) for sheet, one in zip(again.sheets, _one_book().sheets, strict=True)] == [True, True]
    assert again._replace(sheets=[]) == _one_book()._replace(sheets=[])


def test_a_confirmation_of_the_house_names_the_operator(shop: Shop) -> None:
    facts = {
        line[0].value: line[1].value
        for line in openpyxl.load_workbook(shop.send(row("ONE", quantity="1"), source="house").folder / "confirmation.xlsx")[
            "Summary"
        ].iter_rows(min_row=4)
    }
    assert facts["Reseller"] == "the operator"
