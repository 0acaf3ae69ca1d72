"""Frames as sheets of a workbook: text stays text, headers are frozen and filtered, columns fit, pages can be printed.

Each of three writers has its place, as measured: openpyxl where there are marks, a small table or a chart, with all that
`pipelines.styles` does (34 ms for a small workbook); XlsxWriter for other small ones, print set-up and all (7 ms);
xlsxturbo for large ones, without print set-up (a million rows in seconds, where the others take a minute or more).
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


class Sheet(NamedTuple):
    """A sheet: its title, a frame (headers are its columns) and `marks`: `index` (row of the frame), `column`, `note`."""

    title: str
    rows: pl.DataFrame
    marks: pl.DataFrame | None = None


class Book(NamedTuple):
    """A workbook: what its summary says (title, what to do, facts, a small table of up to three columns, drawn as a
    chart titled `chart` where that is not empty), and the sheets after it.
    """

    title: str
    advice: str
    facts: list[tuple[str, Any]]
    sheets: list[Sheet]
    table: pl.DataFrame | None = None
    chart: str = ""


def legible(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in whose text characters that XML can't hold are replaced by U+FFFD."""
    return frame.with_columns(pl.col(pl.String).str.replace_all(_ILLEGAL, "\ufffd").str.slice(0, 32_767))


def load() -> None:
    """Import the writer of most workbooks ahead of need."""
    import xlsxwriter  # noqa: F401


def write(path: Path, book: Book, small: int = SMALL) -> None:
    """Write a workbook; up to `small` cells so that it can be printed."""
    book = book._replace(
        facts=[(label, _legible(value)) for label, value in book.facts],
        sheets=[part for sheet in book.sheets for part in _parts(sheet)],
    )
    cells = sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets)
    rich = book.table is not None or any(sheet.marks is not None for sheet in book.sheets)
    writer = _write_fast if cells > small else _write_rich if rich else _write_plain
    writer(path, book)


def _legible(value: Any) -> Any:
    return re.sub(_ILLEGAL, "\ufffd", value)[:32_767] if isinstance(value, str) else value


def _parts(sheet: Sheet) -> list[Sheet]:
    """The sheet cut into as many as Excel needs."""
    rows = legible(sheet.rows)
    if len(rows) <= SHEET_ROWS:
        return [Sheet(sheet.title, rows, sheet.marks)]
    starts = range(0, len(rows), SHEET_ROWS)
    return [Sheet(f"{sheet.title} {n}", rows.slice(start, SHEET_ROWS)) for n, start in enumerate(starts, 1)]


def widths(rows: pl.DataFrame) -> list[int]:
    """Column widths, in characters, that fit the header and the first thousand rows."""
    head = rows.head(1000)
    widest = (max((len(_shown(value)) for value in column.to_list()), default=0) for column in head.iter_columns())
    return [min(60, max(len(name) + 4, width + 2)) for name, width in zip(rows.columns, widest, strict=True)]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value or "")


def _write_rich(path: Path, book: Book) -> None:
    from openpyxl import Workbook

    from pipelines import styles

    made = Workbook()
    first: Any = made.active
    first.title = "Summary"
    rows = [book.table.columns, *book.table.rows()] if book.table is not None else []
    styles.summary(first, book.title, book.advice, book.facts, rows, book.chart)
    for sheet in book.sheets:
        page = made.create_sheet(sheet.title)
        styles.table(page, sheet.rows.columns, sheet.rows.iter_rows(), widths(sheet.rows))
        page.auto_filter.ref = page.dimensions
        place = {name: position for position, name in enumerate(sheet.rows.columns, 1)}
        marks = sheet.marks.select("index", "column", "note").iter_rows() if sheet.marks is not None else iter(())
        for count, (index, column, text) in enumerate(marks):
            cell = page.cell(index + 2, place[column])
            cell.fill = styles.fill(styles.RED)
            if count < NOTED:
                styles.note(cell, text)
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
