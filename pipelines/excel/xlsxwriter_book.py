"""Write a workbook with XlsxWriter: styled, annotated and ready to print."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import polars as pl
import xlsxwriter

from pipelines.excel import look
from pipelines.excel.book import NOTED, Book, column_looks

Formats = Callable[[look.Style], Any]
_ABOVE: Final = 8
"""So many rows above, and columns left of, the cell at which a sheet opens are in sight."""
_OPTIONS: Final = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}


def write_small(path: Path | BinaryIO, book: Book) -> None:
    """Write a workbook of up to `SMALL` cells.

    It is packed in memory: where the disk is full, a ZIP file that was begun there tries to end itself once more whenever it is
    collected, and complains.
    """
    if isinstance(path, Path):
        packed = io.BytesIO()
        write_small(packed, book)
        path.write_bytes(packed.getbuffer())
        return
    with xlsxwriter.Workbook(path, _OPTIONS) as made:
        made.set_properties({"title": book.title, "author": look.AUTHOR})

        @cache
        def formats(style: look.Style) -> Any:
            return made.add_format(_properties(style))

        _write_summary(made, formats, book)
        for sheet in book.sheets:
            page = made.add_worksheet(sheet.title)
            styles = _write_table(page, formats, sheet.rows)
            if sheet.marks is not None:
                _write_marks(page, formats, sheet.rows, sheet.marks, styles)
                _select_first(page, sheet.rows, sheet.marks)
            if sheet.title == book.opens_on:
                page.activate()


def _properties(style: look.Style) -> dict[str, Any]:
    """A style as XlsxWriter takes it."""
    properties: dict[str, Any] = {
        "num_format": style.number, "bold": style.bold, "font_size": style.size, "font_color": f"#{style.color}",
        "font_name": look.FONT, "text_wrap": style.wrap, "valign": "vcenter" if style.middle else "top",
    }  # fmt: skip
    properties |= {"bg_color": f"#{style.fill}"} if style.fill else {}
    properties |= {"align": "left"} if style.left else {}
    return properties | ({"border": 1, "border_color": f"#{look.LINE_GREY}"} if style.border else {})


def _write_summary(made: Any, formats: Formats, book: Book) -> None:
    page = made.add_worksheet("Summary")
    summary = look.summary(book.title, book.advice, book.facts, book.table_rows(), book.chart)
    page.hide_gridlines(2)
    for place, width in enumerate(summary.widths):
        page.set_column(place, place, width)
    for row, height in summary.heights.items():
        page.set_row(row, height)
    for row, column, value, style in summary.cells:
        put = page.write_string if isinstance(value, str) else page.write
        put(row, column, value, formats(style))
    if summary.chart:
        _draw(made, page, summary.chart)
    _set_up_page(page, landscape=False)


def _draw(made: Any, page: Any, chart: look.Chart) -> None:
    """Draw the table of a summary as stacked columns."""
    drawn = made.add_chart({"type": "column", "subtype": "stacked"})
    top, left, bottom, right = chart.table
    for column, color in zip(range(left + 1, right + 1), look.SERIES, strict=False):
        drawn.add_series(
            {
                "name": [page.name, top, column],
                "categories": [page.name, top + 1, left, bottom, left],
                "values": [page.name, top + 1, column, bottom, column],
                "fill": {"color": f"#{color}"},
            }
        )
    drawn.set_title({"name": chart.title, "name_font": {"size": 12}})
    drawn.set_legend({"position": "bottom"})
    drawn.set_y_axis({"num_format": look.COUNT, "major_gridlines": {"visible": True, "line": {"color": f"#{look.GREY}"}}})
    drawn.set_size(dict(zip(("width", "height"), look.CHART_PIXELS, strict=True)))
    page.insert_chart(*chart.at, drawn, {"description": chart.title})


def _write_table(page: Any, formats: Formats, rows: pl.DataFrame) -> list[look.Style]:
    """Write a frame below a header that stays in sight, can be filtered and is printed on every page; the columns' styles."""
    looks = column_looks(rows)
    page.set_row(0, look.HEADER_HEIGHT)
    for place, (column, (width, style)) in enumerate(zip(rows.iter_columns(), looks, strict=True)):
        page.set_column(place, place, width)
        page.write_string(0, place, column.name, formats(look.HEADER))
        _write_column(page, place, column, formats(style))
    for row, height in _heights(rows, looks).items():
        page.set_row(row, height)
    page.freeze_panes(1, 0)
    page.autofilter(0, 0, rows.height, rows.width - 1)
    page.repeat_rows(0)
    _set_up_page(page, landscape=True)
    return [style for _, style in looks]


def _heights(rows: pl.DataFrame, looks: list[tuple[int, look.Style]]) -> dict[int, float]:
    """The heights of the rows that need more than one line; LibreOffice does not work them out itself."""
    heights: dict[int, float] = {}
    for column, (width, style) in zip(rows.iter_columns(), looks, strict=True):
        for row, text in enumerate(column.to_list() if style.wrap else [], 1):
            if text and len(text) > width - 2:
                heights[row] = max(heights.get(row, 0), look.text_height(text, width))
    return heights


def _write_column(page: Any, place: int, column: pl.Series, style: Any) -> None:
    """Write the cells below a header. An empty one gets its format too, so that Excel keeps a code as it is typed."""
    if column.dtype != pl.String:
        page.write_column(1, place, column.to_list(), style)
        return
    for row, text in enumerate(column.to_list(), 1):  # `write_column` would ask of each cell what it is
        if text:
            page.write_string(row, place, text, style)
        else:
            page.write_blank(row, place, None, style)


def _write_marks(page: Any, formats: Formats, rows: pl.DataFrame, marks: pl.DataFrame, styles: list[look.Style]) -> None:
    """Colour the cells at fault and attach a note to each."""
    columns = dict(zip(rows.columns, enumerate(zip(rows.iter_columns(), styles, strict=True)), strict=True))
    for count, (index, name, text) in enumerate(marks.select("index", "column", "note").iter_rows()):
        place, (column, style) = columns[name]
        page.write(index + 1, place, column[index], formats(style._replace(fill=look.RED)))
        if count < NOTED:
            width, height = look.note_size(text)
            page.write_comment(index + 1, place, text, {"author": look.AUTHOR, "width": width, "height": height})


def _select_first(page: Any, rows: pl.DataFrame, marks: pl.DataFrame) -> None:
    """Have the sheet open at the first marked cell."""
    if len(marks):
        row, column = marks["index"].item(0) + 1, rows.columns.index(marks["column"].item(0))
        page.freeze_panes(1, 0, max(1, row - _ABOVE), max(0, column - _ABOVE))
        page.set_selection(row, column, row, column)


def _set_up_page(page: Any, *, landscape: bool) -> None:
    """One page wide, and pages numbered."""
    (page.set_landscape if landscape else page.set_portrait)()
    page.set_margins(**look.MARGINS)
    page.fit_to_pages(1, 0)
    page.set_footer(f"&C{look.FOOTER}")
