"""Dates and times as the registry keeps them: times as local ISO 8601 text with their offset, the date of a night as a number
(20261124).
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
