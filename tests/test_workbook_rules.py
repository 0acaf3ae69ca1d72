"""The rules for workbooks: each finds what is planted for it in a workbook that keeps them all."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import polars as pl
import pytest

from pipelines.excel import look, writers
from pipelines.excel.book import Attention, Book, Chart, Sheet
from tests.workbooks import rules

AT = look.zoned("-06:00")
CARDS = pl.DataFrame(
    {
        "Order ID": ["10023456-1", "10023456-1", "10023456-2"],
        "Access Number": ["800-860-4444"] * 3,
        "Authorization Code": ["73905162840993", "73905162840994", ""],
        "Placed": [datetime(2026, 10, 5, 9, 30)] * 3,
        "Cards": [12_000, 1, 2],
        "Share": [0.5, 0.25, 0.25],
        "What to do": ["Choose another code and order it under a new Customer Order ID. " * 2, "Nothing.", ""],
    }
)
NIGHTS = pl.DataFrame({"Night": [date(2026, 10, 5), date(2026, 10, 6)], "Ready": [5, 7], "Refused": [1, 0]})
MARKS = pl.DataFrame({"index": [0], "column": ["Authorization Code"], "note": ["CODE_RUN: choose another."]})
CHART = Chart(
    "Ready", "stacked", "Nights", "Night", (("Ready", "good"), ("Refused", "bad")), "Night", "Codes", "Ready a night."
)
BOOK = Book(
    "A night",
    "",
    [("Received", datetime(2026, 10, 5, 9, 30, tzinfo=UTC)), ("Cards", 12_000), ("Account", "10023456")],
    [
        Sheet("Cards", CARDS, MARKS, {"Placed": AT, "Share": look.PERCENT}),
        Sheet("Nights", NIGHTS),
        Sheet("None", NIGHTS.head(0)),
    ],
    pl.DataFrame({"Figure": ["Ready", "Refused"], "Tonight": [12_000, 3]}),
    (CHART, CHART),
    (Attention("One card is marked.", "Cards"),),
)

Change = Callable[[dict[str, str]], Any]


def _written(path: Path, book: Book = BOOK, small: int = writers.FEW) -> Path:
    writers.write(path, book, small)
    return path


@pytest.mark.parametrize("small", [writers.FEW, -1])
def test_a_workbook_that_keeps_all_rules_has_no_findings(small: int, tmp_path: Path) -> None:
    book = BOOK if small > 0 else BOOK._replace(sheets=[sheet._replace(marks=None) for sheet in BOOK.sheets])
    assert rules.findings(_written(tmp_path / "made.xlsx", book, small)) == []


def part(name: str, old: str, new: str) -> Change:
    """Replaces what is first found in a part of the package; `old` is a pattern."""

    def change(parts: dict[str, str]) -> None:
        changed, count = re.subn(old, new, parts[name], count=1, flags=re.DOTALL)
        assert count == 1, f"{old} is not in {name}"
        parts[name] = changed

    return change


SUMMARY, CARDS_SHEET, BOOK_PART, CORE = (
    "xl/worksheets/sheet1.xml",
    "xl/worksheets/sheet2.xml",
    "xl/workbook.xml",
    "docProps/core.xml",
)
TABLE, STYLES, CHART_PART, DRAWING = "xl/tables/table1.xml", "xl/styles.xml", "xl/charts/chart1.xml", "xl/drawings/drawing1.xml"


def cell(name: str, new: str, sheet: str = CARDS_SHEET) -> Change:
    """Puts other XML in the place of a cell."""
    return part(sheet, f'<c r="{name}"[^>]*?(/>|>.*?</c>)', new)


def styled(name: str, old: str, new: str, sheet: str = CARDS_SHEET) -> Change:
    """Gives a cell a look that differs from its own; `old` and `new` are of its entry in the styles."""

    def change(parts: dict[str, str]) -> None:
        own = re.search(f'<c r="{name}" s="(\\d+)"', parts[sheet])
        assert own
        looks = re.search('(<cellXfs count="\\d+">)(.*?)</cellXfs>', parts[STYLES], re.DOTALL)
        assert looks
        entries = re.findall(r"<xf [^>]*?/>|<xf [^>]*?>.*?</xf>", looks[2], re.DOTALL)
        changed = re.sub(old, new, entries[int(own[1])], count=1)
        assert changed != entries[int(own[1])], f"{old} is not in {entries[int(own[1])]}"
        parts[STYLES] = parts[STYLES].replace(looks[2], looks[2] + changed)
        parts[sheet] = parts[sheet].replace(own[0], f'<c r="{name}" s="{len(entries)}"')

    return change


def without_row(parts: dict[str, str]) -> None:
    parts[CARDS_SHEET] = re.sub('<row r="3".*?</row>', "", parts[CARDS_SHEET], flags=re.DOTALL)


PLANTED: list[tuple[str, Change]] = [
    ("document_has_a_title", part(CORE, "<dc:title>.*?</dc:title>", "")),
    ("document_has_a_language", part(CORE, "en-US", "de")),
    ("sheets_have_speaking_names", part(BOOK_PART, 'name="None"', 'name="Sheet4"')),
    ("sheets_have_speaking_names", part(BOOK_PART, 'name="None"', 'name="nights"')),
    ("no_cells_are_merged", part(CARDS_SHEET, "</sheetData>", '</sheetData><mergeCells><mergeCell ref="A2:A3"/></mergeCells>')),
    ("no_sheet_is_empty", part("xl/worksheets/sheet4.xml", "<sheetData>.*</sheetData>", "<sheetData/>")),
    ("tables_have_no_blank_rows", without_row),
    ("tables_are_tables", part(CARDS_SHEET, "</row></sheetData>",
                               '</row><row r="9"><c r="A9" t="str"><v>below</v></c></row></sheetData>')),
    ("tables_have_speaking_names", part(TABLE, 'displayName="Cards"', 'displayName="Table1"')),
    ("tables_have_speaking_names", part(TABLE, 'displayName="Cards"', 'displayName="Nights"')),
    ("tables_have_headers", part(TABLE, 'name="Share"', 'name="Shares"')),
    ("tables_have_headers", cell("A1", "")),
    ("headers_stay_in_sight", part(CARDS_SHEET, '<pane ySplit="1"', '<pane ySplit="2"')),
    ("headers_stay_in_sight", part(BOOK_PART, '<definedName name="_xlnm.Print_Titles".*?</definedName>', "")),
    ("sheets_are_one_page_wide_and_readable", part(CARDS_SHEET, 'fitToPage="1"', 'fitToPage="0"')),
    ("sheets_are_one_page_wide_and_readable", part(CARDS_SHEET, 'width="[^"]*"', 'width="250"')),
    ("sheets_are_one_page_wide_and_readable", part(CARDS_SHEET, "&amp;P", "")),
    ("fonts_contrast_with_fills", part(STYLES, "FF1F4E79", "FFDDEBF7")),
    ("fonts_are_large_enough", part(STYLES, '<sz val="10"/>', '<sz val="8"/>')),
    ("nothing_is_hidden", part(BOOK_PART, 'name="None"', 'name="None" state="hidden"')),
    ("nothing_is_hidden", part(CARDS_SHEET, '<row r="3"', '<row r="3" hidden="1"')),
    ("opens_where_the_reader_begins", part("xl/worksheets/sheet3.xml", 'activeCell="A2"', 'activeCell="C9"')),
    ("opens_where_the_reader_begins", part("xl/worksheets/sheet3.xml", "<sheetView ", '<sheetView tabSelected="1" ')),
    ("charts_are_described", part(DRAWING, 'descr="[^"]*"', "")),
    ("charts_are_described", part(CHART_PART, "<c:title>.*?</c:title>", "")),
    ("series_of_charts_contrast_with_white", part(CHART_PART, 'srgbClr val="C00000"', 'srgbClr val="FFC000"')),
    ("charts_cover_no_cells", part(DRAWING, "<xdr:row>[0-9]+</xdr:row>", "<xdr:row>1</xdr:row>")),
    ("no_cell_is_a_formula", cell("A2", '<c r="A2" t="str"><f>1+1</f><v>2</v></c>')),
    ("links_lead_to_sheets_and_say_so", part(SUMMARY, "'Cards'!A1", "'Gone'!A1")),
    ("links_lead_to_sheets_and_say_so", cell("B3", '<c r="B3" t="str"><v>http://example.com</v></c>', SUMMARY)),
    ("codes_and_numbers_are_text", cell("C2", '<c r="C2"><v>73905162840993</v></c>')),
    ("text_that_looks_like_figures_has_no_green_triangle", part(SUMMARY, "<ignoredErrors>.*?</ignoredErrors>", "")),
    ("text_that_looks_like_figures_has_no_green_triangle", part(SUMMARY, '<ignoredError sqref="[^"]*"', '<ignoredError')),
    ("codes_are_in_a_fixed_width_face", part(STYLES, "Consolas", "Calibri")),
    ("figures_are_right_aligned_with_separators", styled("E2", 'horizontal="right"', 'horizontal="left"')),
    ("figures_are_right_aligned_with_separators", styled("E2", 'numFmtId="[0-9]+"', 'numFmtId="0"')),
    ("times_are_times_and_name_their_zone", cell("D2", '<c r="D2" t="str"><v>2026-10-05 09:30</v></c>')),
    ("times_are_times_and_name_their_zone", part(STYLES, "UTC-06:00", "-06:00")),
    ("telephone_numbers_read_like_telephone_numbers", cell("B2", '<c r="B2" t="str"><v>8008604444</v></c>')),
    ("text_is_aligned_at_the_top", styled("A2", 'vertical="top"', 'vertical="center"')),
    ("text_has_room", cell("A2", f'<c r="A2" t="str"><v>{"x" * 40}</v></c>')),
    ("text_has_room", part(CARDS_SHEET, '<row r="2"(.*?) ht="[^"]*"', r'<row r="2"\1 ht="15"')),
    ("text_has_room", cell("E2", '<c r="E2"><v>12345678901234</v></c>')),
    ("nothing_is_said_by_colour_alone", part("xl/comments1.xml", "<comment .*</comment>", "")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "change"), PLANTED, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(PLANTED)])
def test_a_rule_finds_what_is_planted_for_it(rule: str, change: Change, tmp_path: Path) -> None:
    path = _written(tmp_path / "made.xlsx")
    with ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    change(parts)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    found = rules.findings(path)
    path.unlink()  # so that the rules for all workbooks of a test don't meet it
    assert rule in {one.rule for one in found}


def test_something_is_planted_for_every_rule() -> None:
    assert {rule for rule, _ in PLANTED} == set(rules.RULES)
