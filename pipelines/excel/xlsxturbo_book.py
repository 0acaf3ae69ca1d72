"""Write a large workbook with xlsxturbo.

It stays beside XlsxWriter because that takes five to seven times as long: 100,000 rows of six columns in 0.7 s instead of
4.7 s, a million in 7.6 s instead of 38 s (XlsxWriter with `constant_memory`, on two busy cores). It has no notes and no
print set-up, charts keep Excel's own colours, and the workbook opens on its summary.
"""

from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import xlsxturbo
from xlsxwriter.utility import xl_range_abs, xl_rowcol_to_cell

from pipelines.excel import look
from pipelines.excel.book import Book, Sheet, column_looks


def write_large(path: Path | BinaryIO, book: Book) -> None:
    """Write a workbook of any size."""
    frames: list[Any] = [_summary(book), *map(_table, book.sheets)]
    xlsxturbo.dfs_to_xlsx(frames, str(path) if isinstance(path, Path) else path, compression_level=1)


def _summary(book: Book) -> tuple[pl.DataFrame, str, dict[str, Any]]:
    """The summary, cell by cell."""
    summary = look.summary(book.title, book.advice, book.facts, book.table_rows(), book.chart)
    options: dict[str, Any] = {
        "header": False,
        "cells": {
            xl_rowcol_to_cell(row, column): {"value": value, "format": _format(style)}
            for row, column, value, style in summary.cells
        },
        "column_widths": dict(enumerate(summary.widths)),
        "row_heights": summary.heights,
    }
    if summary.chart:
        options["charts"] = {xl_rowcol_to_cell(*summary.chart.at): _chart(book, summary.chart)}
    return pl.DataFrame(), "Summary", options


def _chart(book: Book, chart: look.Chart) -> dict[str, Any]:
    top, left, bottom, right = chart.table
    names = book.table_rows()[0]
    series = [
        {"name": names[column - left], "values": _area(top + 1, column, bottom), "categories": _area(top + 1, left, bottom)}
        for column in range(left + 1, right + 1)
    ]
    width, height = look.CHART_PIXELS
    return {
        "type": "column_stacked", "title": chart.title, "series": series, "width": width, "height": height,
        "legend_position": "bottom",
    }  # fmt: skip


def _area(top: int, column: int, bottom: int) -> str:
    return f"Summary!{xl_range_abs(top, column, bottom, column)}"


def _table(sheet: Sheet) -> tuple[pl.DataFrame, str, dict[str, Any]]:
    """A frame below a header that stays in sight and can be filtered.

    Columns of text keep the plain format of the writer: a format of our own costs a tenth more time.
    """
    looks = dict(zip(sheet.rows.columns, column_looks(sheet.rows), strict=True))
    options: dict[str, Any] = {
        "column_widths": {place: width for place, (width, _) in enumerate(looks.values())},
        "column_formats": {name: _format(style) for name, (_, style) in looks.items() if style.number != look.TEXT},
        "header_format": {key: value for key, value in _format(look.HEADER).items() if key != "num_format"},
        "row_heights": {0: look.HEADER_HEIGHT},
        "autofilter": True,
        "freeze_panes": True,
    }
    return sheet.rows, sheet.title, options


def _format(style: look.Style) -> dict[str, Any]:
    """A style as xlsxturbo takes it."""
    properties: dict[str, Any] = {
        "num_format": style.number, "bold": style.bold, "font_size": style.size, "font_color": f"#{style.color}",
        "font_name": look.FONT, "wrap_text": style.wrap, "align_vertical": "center" if style.middle else "top",
    }  # fmt: skip
    properties |= {"bg_color": f"#{style.fill}"} if style.fill else {}
    properties |= {"align_horizontal": "left"} if style.left else {}
    return properties | ({"border": True, "border_color": f"#{look.LINE_GREY}"} if style.border else {})
