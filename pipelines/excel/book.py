"""A workbook as data: a summary, and sheets of frames."""

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.excel.look import (
    CELLS,
    COUNT,
    DECIMAL,
    ILLEGAL,
    MAX_TEXT,
    MAX_WIDTH,
    TEXT,
    TIME,
    WRAPPED,
    WRAPPING,
    Style,
    column_width,
)

SMALL: Final = 200_000
"""A workbook of up to this many cells is written with its print set-up, borders and notes."""
MOST_CELLS: Final = 1_500_000
"""Orders and rejected rows of more cells than this are listed in their CSV alone: a workbook takes 200 bytes for each."""
NOTED: Final = 10_000
"""At most this many cells get a note."""
SHEET_ROWS: Final = 1_000_000
_FEW: Final = 1_000
_IS_ILLEGAL: Final = re.compile(ILLEGAL).search


class Sheet(NamedTuple):
    """A sheet: its title, a frame (headers are its columns) and `marks`: `index` (row of the frame), `column`, `note`."""

    title: str
    rows: pl.DataFrame
    marks: pl.DataFrame | None = None


class Book(NamedTuple):
    """A workbook: what its summary says (title, what to do, facts, a small table of up to three columns, drawn as a
    chart titled `chart` where that is not empty), and the sheets after it. It opens on the sheet `opens_on`, or else on
    the summary.
    """

    title: str
    advice: str
    facts: list[tuple[str, Any]]
    sheets: list[Sheet]
    table: pl.DataFrame | None = None
    chart: str = ""
    opens_on: str = ""

    def table_rows(self) -> list[tuple[Any, ...]]:
        """The small table of the summary: its header and its rows."""
        return [] if self.table is None else [tuple(self.table.columns), *self.table.rows()]


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
        return [Sheet(sheet.title, rows, None if sheet.marks is None else legible(sheet.marks))]
    starts = range(0, len(rows), SHEET_ROWS)
    return [Sheet(f"{sheet.title} {n}", rows.slice(start, SHEET_ROWS)) for n, start in enumerate(starts, 1)]


def column_looks(rows: pl.DataFrame) -> list[tuple[int, Style]]:
    """The width of each column, in characters, and the style of its cells, judged by its first thousand rows."""
    return [_column_look(column) for column in rows.head(1000).iter_columns()]


def _column_look(column: pl.Series) -> tuple[int, Style]:
    longest = max((len(_cell_text(value)) for value in column.to_list()), default=0)
    is_long = column.dtype == pl.String and (longest > MAX_WIDTH - 2 or column.name in WRAPPING)
    style = WRAPPED if is_long else CELLS[_number_format(column.dtype)]
    return column_width(column.name, longest), style


def _number_format(kind: pl.DataType) -> str:
    return TEXT if kind == pl.String else COUNT if kind.is_integer() else DECIMAL if kind.is_float() else TIME


def _cell_text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value or "")
