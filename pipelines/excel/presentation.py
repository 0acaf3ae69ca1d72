"""How columns and values of workbooks are shown to people. Files for machines keep them as they are."""

from datetime import datetime
from typing import Final

import polars as pl

_NUMBER: Final = r"^(\d{3})(\d{3})(\d{4})$"


def telephone(column: str | pl.Expr) -> pl.Expr:
    """A column of ten-digit telephone numbers (access numbers, BTNs) as people write them: 800-860-4444."""
    return (pl.col(column) if isinstance(column, str) else column).str.replace(_NUMBER, "$1-$2-$3")


def telephone_text(number: str) -> str:
    """A ten-digit telephone number as people write it."""
    return f"{number[:3]}-{number[3:6]}-{number[6:]}" if len(number) == 10 and number.isdigit() else number


def time_value(at: str) -> datetime:
    """A time of the registry (ISO 8601 with offset) as a workbook shows it: a date whose number format names its zone."""
    return datetime.fromisoformat(at)


def offset_of(at: str) -> str:
    """The offset of a time of the registry: -06:00. All times of a workbook are shown in one zone, that of its event."""
    return datetime.fromisoformat(at).isoformat()[-6:]


def local_time(column: str | pl.Expr, offset: str | pl.Expr) -> pl.Expr:
    """Times of the registry, whatever their own offset, as the clock showed them at an offset (-06:00, the same for all rows or
    one a row); see `look.zoned`.
    """
    text = pl.col(column) if isinstance(column, str) else column
    shown = pl.lit(offset) if isinstance(offset, str) else offset
    return _naive(text) + (_minutes(shown) - _minutes(text.str.tail(6))) * pl.duration(minutes=1)


def _naive(text: pl.Expr) -> pl.Expr:
    return text.str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S")


def _minutes(offset: pl.Expr) -> pl.Expr:
    """An offset (-06:00) in minutes."""
    size = offset.str.slice(1, 2).cast(pl.Int64) * 60 + offset.str.slice(4, 2).cast(pl.Int64)
    return pl.when(offset.str.starts_with("-")).then(-size).otherwise(size)
