"""What people open: the sender's own workbook mended, what a confirmation says first, and pages that can be printed."""

import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Font, PatternFill
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation

from pipelines.excel import book, writers
from pipelines.excel.book import Book, Sheet
from tests.conftest import NOW, Shop, csv_of, row, some_codes

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
        cell.font, cell.fill = Font(bold=True, color="FF0000"), PatternFill("solid", start_color="CCFFCC")
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
    assert answer.told["orders_placed"] == 1
    return answer.folder / "rejections.xlsx"


def test_an_xlsx_comes_back_in_the_senders_own_layout(rejected: Path) -> None:
    page = openpyxl.load_workbook(rejected)["Orders"]
    header, *lines = page.iter_rows()
    assert [cell.value for cell in header] == [*THEIRS, "Row", "Reason", "What to fix"]
    assert [(line[0].value, line[4].value, line[8].value) for line in lines] == [
        ("note 1", "BAD", 5), ("note 2", "BAD", 6), ("note 3", "no ID!", 7),
    ]  # fmt: skip
    assert (header[0].font.color.rgb, header[0].fill.start_color.rgb) == ("00FF0000", "00CCFFCC")
    assert lines[0][6].value == datetime(2026, 10, 5)
    assert page.column_dimensions["F"].width == 31
    assert page.freeze_panes == "A2"
    assert page.auto_filter.ref == "A1:K4"


def test_cells_at_fault_are_marked_and_say_what_to_fix(rejected: Path) -> None:
    page = openpyxl.load_workbook(rejected)["Orders"]
    marked = {cell.coordinate: cell.comment.text for line in page.iter_rows() for cell in line if cell.comment}
    assert set(marked) == {"F2", "E4", "F4"}
    assert marked["F2"].startswith("CODE_RUN: Code “73905162845555”")
    assert page["F2"].fill.start_color.rgb == "00FFC7CE"
    assert page["E2"].fill.fill_type is None
    assert [page[f"J{line}"].value for line in (2, 3, 4)] == ["CODE_RUN", "ORDER_HELD", "ORDER_ID_FORMAT; CODE_LEADING_ZERO"]


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


def test_the_summary_counts_reasons(rejected: Path) -> None:
    lines = [[cell.value for cell in line] for line in openpyxl.load_workbook(rejected)["Summary"].iter_rows(max_col=3)]
    counts = {line[0]: line[1] for line in lines if str(line[0]).isupper()}
    assert counts == {"CODE_RUN": 1, "ORDER_HELD": 1, "ORDER_ID_FORMAT": 1, "CODE_LEADING_ZERO": 1}
    assert any("drop this workbook again" in str(line[0]) for line in lines)


def test_mended_and_dropped_again_it_is_placed(rejected: Path, shop: Shop) -> None:
    book = openpyxl.load_workbook(rejected)
    page = book["Orders"]
    page["F2"], page["E4"], page["F4"] = some_codes(5)[2], "THIRD", some_codes(5)[3]
    book.save(shop.settings.inbox / "acme" / "mended.xlsx")
    (answer,) = shop.run()
    assert (answer.told["reasons"], answer.told["orders_placed"], answer.told["codes_placed"]) == ({}, 2, 3)


def test_rejected_twice_it_keeps_one_row_of_reasons(rejected: Path, shop: Shop) -> None:
    book = openpyxl.load_workbook(rejected)
    book["Orders"]["F2"] = some_codes(5)[2]
    book.save(shop.settings.inbox / "acme" / "half.xlsx")
    (answer,) = shop.run()
    assert answer.told["orders_placed"] == 1
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
            archive.writestr(name, b"<broken" if name == "docProps/core.xml" else body)
    shop.drop("odd.xlsx", content.getvalue())
    (answer,) = shop.run()
    header = next(openpyxl.load_workbook(answer.folder / "rejections.xlsx")["Orders"].iter_rows(values_only=True))
    assert header[:2] == ("Action", "Service Type")
    assert answer.reasons == {4: ["CODE_RUN"]}


@pytest.mark.parametrize("many", [10_000, 12_000])
def test_ten_thousand_rejected_rows_have_notes_and_more_have_columns(many: int, tmp_path: Path, sqlite: Any) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        lines = "".join(f"10023456,7001,8008604444,N{number},039051628{number:05}\n" for number in range(many))
        shop.drop("big.csv", b"Acct,PAN,Access,PON,Code\n" + lines.encode())
        (answer,) = shop.run()
        shop.registry.close()
    assert answer.told["rows_rejected"] == many
    book = openpyxl.load_workbook(answer.folder / "rejections.xlsx")
    page = book["Orders"]
    notes = sum(1 for (cell,) in page.iter_rows(min_col=11, max_col=11) if cell.comment)
    told = any("too many rows for notes" in str(line[0].value) for line in book["Summary"].iter_rows())
    assert page.max_row == many + 1
    assert [page.cell(many + 1, page.max_column - back).value for back in (2, 1)] == [many + 1, "CODE_LEADING_ZERO"]
    if many == 10_000:
        assert notes > 9_000
    else:
        assert notes == 0
        assert told


def test_a_confirmation_says_at_a_glance_what_happened_and_what_to_do(shop: Shop) -> None:
    first, second = some_codes(2)
    answer = shop.send(row("ONE", code=first, comments="=1+1"), row("TWO", code="1"), row("THREE", code=second))
    book = openpyxl.load_workbook(answer.folder / "confirmation.xlsx")
    assert book.sheetnames == ["Summary", "Orders", "Codes"]
    facts = {line[0].value: line[1].value for line in book["Summary"].iter_rows(min_row=4) if line[0].value}
    assert (facts["Orders placed"], facts["Orders rejected"], facts["Codes placed"]) == (2, 1, 2)
    assert facts["Received"] == NOW.replace(tzinfo=None)
    assert str(book["Summary"]["A2"].value).startswith("Do not print these codes yet.")
    assert "rejections.xlsx" in str(book["Summary"]["A2"].value)
    for page in (book["Orders"], book["Codes"]):
        assert (page.freeze_panes, page.print_title_rows, page.page_setup.fitToHeight) == ("A2", "$1:$1", 0)
        assert page.auto_filter.ref == page.dimensions
        assert "&P of &N" in str(page.oddFooter.center.text)
    codes = [line[4] for line in book["Codes"].iter_rows(min_row=2)]
    assert [(cell.value, cell.data_type, cell.number_format) for cell in codes] == [(first, "s", "@"), (second, "s", "@")]
    placed = [line[5] for line in book["Orders"].iter_rows(min_row=2)]
    assert {(cell.value, cell.is_date) for cell in placed} == {(NOW.replace(tzinfo=None), True)}


def test_very_many_codes_are_in_the_csv_alone(tmp_path: Path, sqlite: Any) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url, max_sheet_codes=3)
        answer = shop.send(row("MANY", quantity="4"), row("FEW", quantity="1"))
        shop.registry.close()
    book = openpyxl.load_workbook(answer.folder / "confirmation.xlsx")
    assert book.sheetnames == ["Summary", "Orders"]
    assert any("confirmation.csv" in str(line[1].value) for line in book["Summary"].iter_rows())
    assert len(answer.codes) == 5


@pytest.mark.parametrize(
    ("small", "chart"), [(0, True), (book.SMALL, True), (book.SMALL, False)], ids=["fast", "rich", "plain"]
)
def test_text_is_never_a_formula_whoever_writes_it(small: int, chart: bool, tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "http://example.com", "{=1}", "00123", "a\x01b", "x" * 40_000]
    frame = pl.DataFrame({"Text": texts, "When": [datetime(2026, 10, 5, 9, 30)] * len(texts)})
    book = Book(
        "=title",
        "=advice",
        [("=label", "=value"), ("figure", 3)],
        [Sheet("Texts", frame)],
        frame.head(2).select("Text", n=pl.lit(1)),
        "Chart",
    )
    book = book if chart else book._replace(table=None, chart="")
    writers.write(tmp_path / "made.xlsx", book, small)
    made = openpyxl.load_workbook(tmp_path / "made.xlsx")
    cells = [cell for page in made for line in page.iter_rows() for cell in line if cell.value is not None]
    assert [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink] == []
    assert made["Texts"]["A2"].value == "=1+1"
    assert made["Texts"]["A8"].value == "00123"
    assert made["Texts"]["B2"].is_date
    assert made["Summary"]["A1"].value == "=title"
    assert len(made["Summary"]._charts) == int(chart)
    assert (made["Texts"].freeze_panes, made["Texts"].auto_filter.ref) == ("A2", "A1:B10")


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
