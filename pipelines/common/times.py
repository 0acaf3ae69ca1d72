"""Dates and times as the registry keeps them: times as local ISO 8601 text with their offset, the date of a night and a
month as numbers (20261124, 202611).
"""

from datetime import date, datetime

import polars as pl


def instant(time: str | pl.Expr) -> pl.Expr:
    """A column of times (by its name) as instants, which can be compared whatever their offsets are."""
    text = pl.col(time) if isinstance(time, str) else time
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC")


def night_date(reconciliation_date: int) -> date:
    """The date of a night."""
    return datetime.strptime(str(reconciliation_date), "%Y%m%d").date()


def night_name(reconciliation_date: int) -> str:
    """The date of a night as people write it: 2026-11-24."""
    return night_date(reconciliation_date).isoformat()


def shift(month: int, months: int) -> int:
    """The month so many months later, or earlier."""
    count = month // 100 * 12 + month % 100 - 1 + months
    return count // 12 * 100 + count % 12 + 1


def month_text(month: int) -> str:
    """A month as people write it: 2026-10."""
    return f"{month // 100:04}-{month % 100:02}"
