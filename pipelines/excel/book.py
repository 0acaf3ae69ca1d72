"""A workbook as data: a summary, and sheets of frames."""

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import polars as pl

SMALL: Final = 200_000
"""So many cells go through openpyxl (some 5 s)."""
NOTED: Final = 10_000
"""So many cells get a note."""
SHEET_ROWS: Final = 1_000_000
_ILLEGAL: Final = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"


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


def legible_text(value: Any) -> Any:
    """A value in whose text characters that XML cannot hold are replaced by U+FFFD."""
    return re.sub(_ILLEGAL, "\ufffd", value)[:32_767] if isinstance(value, str) else value


def sheet_parts(sheet: Sheet) -> list[Sheet]:
    """The sheet cut into as many as Excel needs."""
    rows = legible(sheet.rows)
    if len(rows) <= SHEET_ROWS:
        return [Sheet(sheet.title, rows, sheet.marks)]
    starts = range(0, len(rows), SHEET_ROWS)
    return [Sheet(f"{sheet.title} {n}", rows.slice(start, SHEET_ROWS)) for n, start in enumerate(starts, 1)]


def widths(rows: pl.DataFrame) -> list[int]:
    """Column widths, in characters, that fit the header and the first thousand rows."""
    head = rows.head(1000)
    widest = (max((len(_cell_text(value)) for value in column.to_list()), default=0) for column in head.iter_columns())
    return [min(60, max(len(name) + 4, width + 2)) for name, width in zip(rows.columns, widest, strict=True)]


def _cell_text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value or "")
