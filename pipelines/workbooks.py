"""Frames as sheets of a workbook: text stays text, headers are frozen and filtered, columns fit, pages can be printed.

Small workbooks are written by openpyxl, which knows notes, fills and print set-up; large ones by xlsxturbo, which
writes a million rows in seconds (openpyxl: minutes).
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

SMALL: Final = 200_000
"""So many cells go through openpyxl (some 5 s)."""
NOTED: Final = 10_000
"""So many cells get a note."""
SHEET_ROWS: Final = 1_000_000
_ILLEGAL: Final = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"
_DATE: Final = "yyyy-mm-dd hh:mm"
_HEADER: Final = {"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E79"}


class Sheet(NamedTuple):
    """A sheet: its title, a frame (headers are its columns) and `marks`: `index` (row of the frame), `column`, `note`."""

    title: str
    rows: pl.DataFrame
    marks: pl.DataFrame | None = None


def legible(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in whose text characters that XML can't hold are replaced by U+FFFD."""
    return frame.with_columns(pl.col(pl.String).str.replace_all(_ILLEGAL, "\ufffd").str.slice(0, 32_767))


def write(path: Path, sheets: list[Sheet], summary: list[tuple[str, Any]], title: str, advice: str) -> None:
    """Write a workbook: a summary (label and figure a line, under a title, with advice), then the sheets."""
    sheets = [part for sheet in sheets for part in _parts(sheet)]
    if sum(sheet.rows.height * sheet.rows.width for sheet in sheets) <= SMALL:
        _write_rich(path, sheets, summary, title, advice)
    else:
        write_fast(path, sheets, summary, title, advice)


def _parts(sheet: Sheet) -> list[Sheet]:
    """The sheet cut into as many as Excel needs."""
    rows = legible(sheet.rows)
    if len(rows) <= SHEET_ROWS:
        return [Sheet(sheet.title, rows, sheet.marks)]
    starts = range(0, len(rows), SHEET_ROWS)
    return [Sheet(f"{sheet.title} {n}", rows.slice(start, SHEET_ROWS)) for n, start in enumerate(starts, 1)]


def _widths(rows: pl.DataFrame) -> list[int]:
    head = rows.head(1000).select(pl.all().cast(pl.String).str.len_chars().max().fill_null(0))
    return [min(60, max(len(name) + 4, int(width) + 2)) for name, width in zip(rows.columns, head.row(0), strict=True)]


def write_fast(
    path: Path, sheets: list[Sheet], summary: list[tuple[str, Any]], title: str, advice: str, chart: Sheet | None = None
) -> None:
    """The same, of any size, and with a frame as a column chart beside the summary; without notes and print set-up.

    The first column of the chart's frame names the columns, each other one is a series.
    """
    import xlsxturbo

    header: Any = _HEADER
    parts = [part for sheet in sheets for part in _parts(sheet)]
    frames: list[Any] = [(pl.DataFrame(), "Summary", _dashboard(summary, title, advice, chart))]
    frames += [
        (
            part.rows,
            part.title,
            {"column_widths": dict(enumerate(_widths(part.rows))), "autofilter": True, "freeze_panes": True},
        )
        for part in parts
    ]
    xlsxturbo.dfs_to_xlsx(frames, str(path), header_format=header, compression_level=1)


def _dashboard(summary: list[tuple[str, Any]], title: str, advice: str, chart: Sheet | None) -> dict[str, Any]:
    """The summary sheet as xlsxturbo takes it: cells, and the chart with its figures beside it."""
    cells: dict[str, Any] = {"A1": {"value": title, "format": {"bold": True, "font_size": 16, "font_color": "#1F4E79"}}}
    for line, (label, value) in enumerate(summary, 4):
        cells[f"A{line}"] = {"value": label, "format": {"bold": True}}
        text = {"num_format": "@"} if isinstance(value, str) else {"num_format": "#,##0"}
        cells[f"B{line}"] = {"value": value, "format": {"align_horizontal": "left", **text}}
    made: dict[str, Any] = {
        "header": False, "cells": cells, "column_widths": {0: 40, 1: 40}, "row_heights": {0: 24, 1: 48},
        "merged_ranges": [("A2:B2", advice, {"italic": True, "wrap_text": True, "align_vertical": "top"})],
    }  # fmt: skip
    if chart is None or chart.rows.is_empty():
        return made
    first, end = len(summary) + 7, len(summary) + 6 + len(chart.rows)
    letters = "ABCDEFGH"[: chart.rows.width]
    for letter, name in zip(letters, chart.rows.columns, strict=True):
        cells[f"{letter}{first - 1}"] = {"value": name, "format": _HEADER}
    for line, values in enumerate(chart.rows.iter_rows(), first):
        cells.update({f"{letter}{line}": value for letter, value in zip(letters, values, strict=True)})
    series = [
        {"name": name, "values": f"Summary!${letter}${first}:${letter}${end}", "categories": f"Summary!$A${first}:$A${end}"}
        for letter, name in zip(letters[1:], chart.rows.columns[1:], strict=True)
    ]
    chart_options = {"type": "column", "title": chart.title, "series": series, "width": 640, "height": 360}
    return {**made, "charts": {"E3": {**chart_options, "legend_position": "bottom"}}}


def _write_rich(path: Path, sheets: list[Sheet], summary: list[tuple[str, Any]], title: str, advice: str) -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font

    book = Workbook()
    first = book.active
    assert first is not None
    first.title = "Summary"
    first.append([title])
    first["A1"].font = Font(bold=True, size=16, color="1F4E79")
    first["A2"] = advice
    first["A2"].alignment = Alignment(wrap_text=True, vertical="top")
    first["A2"].font = Font(italic=True)
    first.merge_cells("A2:B2")
    first.row_dimensions[2].height = 15 * (1 + len(advice) // 75)
    for line, (label, value) in enumerate(summary, 4):
        first.cell(line, 1, label).font = Font(bold=True)
        _fill(first.cell(line, 2), value)
        first.cell(line, 2).alignment = Alignment(horizontal="left", wrap_text=True, vertical="top")
    first.column_dimensions["A"].width, first.column_dimensions["B"].width = 34, 56
    first.sheet_view.showGridLines = False
    first.page_setup.fitToHeight = 0
    for sheet in sheets:
        _add(book, sheet)
    book.save(path)


def _fill(cell: Any, value: Any) -> None:
    """Put a value into a cell; text is never anything but text."""
    cell.value = re.sub(_ILLEGAL, "\ufffd", value) if isinstance(value, str) else value
    if isinstance(value, str):
        cell.data_type = "s"
        cell.number_format = "@"
    elif isinstance(value, datetime):
        cell.number_format = _DATE


def _add(book: Any, sheet: Sheet) -> None:
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    page = book.create_sheet(sheet.title)
    for column, name in enumerate(sheet.rows.columns, 1):
        cell = page.cell(1, column, name)
        cell.font, cell.fill = Font(bold=True, color="FFFFFF"), PatternFill("solid", start_color="1F4E79")
        cell.alignment = Alignment(vertical="center")
    for line, values in enumerate(sheet.rows.iter_rows(), 2):  # openpyxl takes cells one by one
        for column, value in enumerate(values, 1):
            if value is not None and value != "":
                _fill(page.cell(line, column), value)
            else:
                page.cell(line, column).number_format = "@"
    for column, width in enumerate(_widths(sheet.rows), 1):
        page.column_dimensions[get_column_letter(column)].width = width
    page.freeze_panes = "A2"
    page.auto_filter.ref = page.dimensions
    page.print_title_rows = "1:1"
    page.page_setup.orientation = "landscape"
    page.sheet_properties.pageSetUpPr.fitToPage = True
    page.page_setup.fitToHeight = 0
    page.oddFooter.center.text = "&A — page &P of &N"
    _mark(page, sheet)


def _mark(page: Any, sheet: Sheet) -> None:
    """Fill the cells at fault and hang a note on each."""
    from openpyxl.comments import Comment
    from openpyxl.styles import PatternFill

    if sheet.marks is None:
        return
    place = {name: position for position, name in enumerate(sheet.rows.columns, 1)}
    fill = PatternFill("solid", start_color="FFC7CE")
    for count, (index, column, text) in enumerate(sheet.marks.select("index", "column", "note").iter_rows()):
        cell = page.cell(index + 2, place[column])
        cell.fill = fill
        if count < NOTED:
            cell.comment = Comment(text, "calling-card-orders", width=320, height=120)
