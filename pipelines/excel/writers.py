"""Write a workbook. Each of three writers is used where it is measured to be best: openpyxl for marks, a small table
or a chart (34 ms for a small workbook); XlsxWriter for other small ones (7 ms); xlsxturbo for large ones (a million
rows in seconds, where the others take a minute or more).
"""

from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.excel.book import NOTED, SMALL, Book, legible_text, sheet_parts, widths

_LINED: Final = {"border": 1, "border_color": "#BFBFBF"}
_HEADER: Final = {
    "bold": True,
    "font_color": "#FFFFFF",
    "bg_color": "#1F4E79",
    "text_wrap": True,
    "valign": "vcenter",
    **_LINED,
}
_WIDTHS: Final = (34, 16, 62)
_DATE: Final = "yyyy-mm-dd hh:mm"


def load() -> None:
    """Import the writer of most workbooks ahead of need."""
    import xlsxwriter  # noqa: F401


def write(path: Path, book: Book, small: int = SMALL) -> None:
    """Write a workbook; up to `small` cells so that it can be printed."""
    book = book._replace(
        facts=[(label, legible_text(value)) for label, value in book.facts],
        sheets=[part for sheet in book.sheets for part in sheet_parts(sheet)],
    )
    cells = sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets)
    rich = book.table is not None or any(sheet.marks is not None for sheet in book.sheets)
    writer = _write_fast if cells > small else _write_rich if rich else _write_plain
    writer(path, book)


def _write_rich(path: Path, book: Book) -> None:
    from openpyxl import Workbook

    from pipelines.excel import openpyxl_style

    made = Workbook()
    first: Any = made.active
    first.title = "Summary"
    rows = [book.table.columns, *book.table.rows()] if book.table is not None else []
    openpyxl_style.summary(first, book.title, book.advice, book.facts, rows, book.chart)
    for sheet in book.sheets:
        page = made.create_sheet(sheet.title)
        openpyxl_style.table(page, sheet.rows.columns, sheet.rows.iter_rows(), widths(sheet.rows))
        page.auto_filter.ref = page.dimensions
        place = {name: position for position, name in enumerate(sheet.rows.columns, 1)}
        marks = sheet.marks.select("index", "column", "note").iter_rows() if sheet.marks is not None else iter(())
        for count, (index, column, text) in enumerate(marks):
            cell = page.cell(index + 2, place[column])
            cell.fill = openpyxl_style.fill(openpyxl_style.RED)
            if count < NOTED:
                openpyxl_style.note(cell, text)
    made.save(path)


def _write_plain(path: Path, book: Book) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(path, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as made:
        header = made.add_format(_HEADER)
        cells = {
            kind: made.add_format({"num_format": kind, **_LINED, "align": "left"}) for kind in ("@", "#,##0", "#,##0.0", _DATE)
        }
        first = made.add_worksheet("Summary")
        first.hide_gridlines(2)
        for place, width in enumerate(_WIDTHS):
            first.set_column(place, place, width)
        first.set_row(0, 26)
        first.write_string(0, 0, book.title, made.add_format({"bold": True, "font_size": 16, "font_color": "#1F4E79"}))
        advice = {"bold": True, "text_wrap": True, "valign": "top", "bg_color": "#FFF2CC"}
        first.merge_range(1, 0, 1, 2, "", made.add_format(advice))
        first.write_string(1, 0, book.advice, made.add_format(advice))
        first.set_row(1, 15.5 * (1 + len(book.advice) * 11 // (sum(_WIDTHS) * 10)))
        label, words = (
            made.add_format({"bold": True, **_LINED}),
            made.add_format({"text_wrap": True, "valign": "top", **_LINED}),
        )
        for line, (name, value) in enumerate(book.facts, 3):
            first.write_string(line, 0, name, label)
            first.merge_range(line, 1, line, 2, "", words)
            if isinstance(value, str):
                first.write_string(line, 1, value, words)
            else:
                first.write(line, 1, value, cells["#,##0" if isinstance(value, int) else _DATE])
        _paged(first, landscape=False)
        for sheet in book.sheets:
            page = made.add_worksheet(sheet.title)
            page.set_row(0, 33)
            page.write_row(0, 0, sheet.rows.columns, header)
            for place, (width, column) in enumerate(zip(widths(sheet.rows), sheet.rows.iter_columns(), strict=True)):
                page.set_column(place, place, width)
                page.write_column(1, place, column.to_list(), cells[_kind(column.dtype)])
            page.freeze_panes(1, 0)
            page.autofilter(0, 0, sheet.rows.height, sheet.rows.width - 1)
            page.repeat_rows(0)
            _paged(page, landscape=True)


def _kind(kind: pl.DataType) -> str:
    return "@" if kind == pl.String else "#,##0" if kind.is_integer() else "#,##0.0" if kind.is_float() else _DATE


def _paged(page: Any, *, landscape: bool) -> None:
    """One page wide, and pages numbered, as `pipelines.styles` has it."""
    (page.set_landscape if landscape else page.set_portrait)()
    page.set_margins(0.4, 0.4, 0.5, 0.7)
    page.fit_to_pages(1, 0)
    page.set_footer("&C&A — page &P of &N")


def _write_fast(path: Path, book: Book) -> None:
    import xlsxturbo

    header: Any = {"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E79"}
    frames: list[Any] = [(pl.DataFrame(), "Summary", _summary(book))]
    for sheet in book.sheets:
        options = {"column_widths": dict(enumerate(widths(sheet.rows))), "autofilter": True, "freeze_panes": True}
        frames.append((sheet.rows, sheet.title, options))
    xlsxturbo.dfs_to_xlsx(frames, str(path), header_format=header, compression_level=1)


def _summary(book: Book) -> dict[str, Any]:
    """The summary sheet as xlsxturbo takes it."""
    cells: dict[str, Any] = {"A1": {"value": book.title, "format": {"bold": True, "font_size": 16, "font_color": "#1F4E79"}}}
    text = {"num_format": "@", "wrap_text": True}
    for line, (label, value) in enumerate(book.facts, 4):
        cells[f"A{line}"] = {"value": label, "format": {"bold": True}}
        kind = text if isinstance(value, str) else {"num_format": "#,##0" if isinstance(value, int) else _DATE}
        cells[f"B{line}"] = {"value": value, "format": {"align_horizontal": "left", **kind}}
    advice = {"bold": True, "wrap_text": True, "align_vertical": "top", "bg_color": "#FFF2CC"}
    made: dict[str, Any] = {
        "header": False, "cells": cells, "column_widths": {0: 34, 1: 16, 2: 62}, "row_heights": {0: 26, 1: 62},
        "merged_ranges": [("A2:C2", book.advice, advice)],
    }  # fmt: skip
    if book.table is None or book.table.is_empty():
        return made
    first, end = len(book.facts) + 6, len(book.facts) + 5 + len(book.table)
    letters = "ABC"[: book.table.width]
    cells.update(
        {
            f"{letter}{first - 1}": {"value": name, "format": {"bold": True}}
            for letter, name in zip(letters, book.table.columns, strict=True)
        }
    )
    for line, values in enumerate(book.table.iter_rows(), first):
        cells.update({f"{letter}{line}": value for letter, value in zip(letters, values, strict=True)})
    series = [
        {"name": name, "values": f"Summary!${letter}${first}:${letter}${end}", "categories": f"Summary!$A${first}:$A${end}"}
        for letter, name in zip(letters[1:], book.table.columns[1:], strict=True)
    ]
    drawn = {"type": "column", "title": book.chart, "series": series, "width": 640, "height": 360, "legend_position": "bottom"}
    return {**made, "charts": {"E4": drawn}} if book.chart else made
