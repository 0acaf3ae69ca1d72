"""A workbook as data: a summary, and sheets of frames."""

import re
from datetime import date
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.excel import look, summary
from pipelines.excel.look import ILLEGAL, MAX_TEXT, Style

SMALL: Final = 200_000
"""Sheets of up to this many cells have their marked cells coloured, and notes on them."""
MOST_CELLS: Final = 1_500_000
"""Orders and rejected rows of more cells than this are listed in their CSV alone: a workbook takes 200 bytes for each."""
NOTED: Final = 10_000
"""At most this many cells get a note."""
SHEET_ROWS: Final = 1_000_000
NO_ROWS: Final = "None"
"""What a sheet without rows says: Excel's tables have at least one."""
_FEW: Final = 1_000
_IS_ILLEGAL: Final = re.compile(ILLEGAL).search
_NO_FORMATS: Final[dict[str, str]] = {}


class Sheet(NamedTuple):
    """A sheet: its title, a frame (headers are its columns) and `marks`: `index` (row of the frame), `column`, `note`.

    `formats`: Excel's number formats of columns that need another than their type has, such as `look.PERCENT`.
    """

    title: str
    rows: pl.DataFrame
    marks: pl.DataFrame | None = None
    formats: dict[str, str] = _NO_FORMATS


class Attention(NamedTuple):
    """A line of what needs attention. `sheet`: the sheet that it is about, to which a link leads."""

    text: str
    sheet: str = ""


class Chart(NamedTuple):
    """A chart of the summary, drawn from the table of a sheet.

    `kind`: `stacked` columns, `line` or `bar`; `sheet`: the title of that sheet; `categories`: the header of the column
    along the axis; `series`: headers of columns of figures, and what their colours mean (`look.SERIES`); `description`:
    what a reader who can't see it should know.
    """

    title: str
    kind: str
    sheet: str
    categories: str
    series: tuple[tuple[str, str], ...]
    x_axis: str
    y_axis: str
    description: str


class Book(NamedTuple):
    """A workbook: what its summary says, and the sheets after it. It opens on the sheet `opens_on`, or else on the summary.

    The summary has the title; lines of `attention`, or else the advice; a table of any columns; key values; and charts.
    `formats`: number formats of the table by headers of its columns, or by the labels in the first column, which win.
    """

    title: str
    advice: str
    key_values: list[tuple[str, Any]]
    sheets: list[Sheet]
    table: pl.DataFrame | None = None
    charts: tuple[Chart, ...] = ()
    attention: tuple[Attention, ...] = ()
    opens_on: str = ""
    formats: dict[str, str] = _NO_FORMATS

    def table_rows(self) -> list[tuple[Any, ...]]:
        """The table of the summary: its header and its rows."""
        return [] if self.table is None else [tuple(self.table.columns), *self.table.rows()]

    def drawn(self) -> list[tuple[Chart, Sheet]]:
        """The charts that have anything to show, and the sheets that they show."""
        sheets = {sheet.title: sheet for sheet in self.sheets if len(sheet.rows)}
        return [(chart, sheets[chart.sheet]) for chart in self.charts if chart.sheet in sheets]

    def summary(self) -> summary.Summary:
        """The layout of the summary."""
        return summary.lay_out(self.title, self.advice, self.key_values, self.table_rows(), self.formats, self.attention,
                               len(self.drawn()))  # fmt: skip


def legible(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in whose text characters that XML cannot hold are replaced by U+FFFD."""
    if len(frame) <= _FEW and all(map(_is_legible, frame.iter_columns())):
        return frame  # which Polars would take ten times as long to find
    return frame.with_columns(pl.col(pl.String).str.replace_all(ILLEGAL, "\ufffd").str.slice(0, MAX_TEXT))


def _is_legible(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return True
    texts = [text for text in column.to_list() if text]
    return not _IS_ILLEGAL("\n".join(texts)) and max(map(len, texts), default=0) <= MAX_TEXT


def sheet_parts(sheet: Sheet) -> list[Sheet]:
    """The sheet cut into as many as Excel needs."""
    rows = legible(sheet.rows)
    if len(rows) <= SHEET_ROWS:
        return [sheet._replace(rows=rows, marks=None if sheet.marks is None else legible(sheet.marks))]
    starts = range(0, len(rows), SHEET_ROWS)
    return [sheet._replace(title=f"{sheet.title} {n}", rows=rows.slice(start, SHEET_ROWS), marks=None)
            for n, start in enumerate(starts, 1)]  # fmt: skip


def table_name(title: str) -> str:
    """The name of the Excel table on a sheet."""
    return re.sub(r"\W+", "_", title)


def column_looks(sheet: Sheet) -> list[tuple[int, Style]]:
    """The width of each column, in characters, and the style of its cells, judged by its first thousand rows."""
    return [_column_look(column, sheet.formats.get(column.name)) for column in sheet.rows.head(1000).iter_columns()]


def _column_look(column: pl.Series, number: str | None) -> tuple[int, Style]:
    if column.dtype != pl.String:
        number = number or _number_format(column.dtype)
        longest = max((len(_cell_text(value, number)) for value in column.to_list()), default=0)
        return look.column_width(column.name, longest), look.figure(number)
    longest = max((len(text or "") for text in column.to_list()), default=0)
    is_long = longest > look.MAX_WIDTH - 2 or column.name in look.WRAPPING
    style = look.CODES if column.name in look.CODE_HEADERS else look.WORDS
    return look.column_width(column.name, longest), style._replace(wrap=is_long)


def _number_format(kind: pl.DataType) -> str:
    if kind == pl.Date:
        return look.DATE
    return look.COUNT if kind.is_integer() else look.DECIMAL if kind.is_float() else look.TIME


def _cell_text(value: Any, number: str) -> str:
    """A figure or a time about as long as it is shown."""
    if value is None:
        return ""
    return number.replace('"', "") if isinstance(value, date) else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
