"""The monthly statement: what became of a month's orders and cards, by reseller, account, product and access number.

Opening + added - gone = closing is checked, and not made to be so: how many cards were active is kept by the month, what was
added and what is gone by the night.
"""

from datetime import date
from typing import Final

import polars as pl

from pipelines.common.errors import UsageError
from pipelines.common.times import shift
from schemas.movements import ADDED, BECAME_READY, GONE, GROUP, Movement

COUNTED: Final = {
    "refused": (Movement.REFUSED,),
    "replaced": (Movement.REPLACED,),
    "surplus": (Movement.SURPLUS,),
    "surplus_disconnected": (Movement.SURPLUS_DISCONNECTED,),
    "released": BECAME_READY,
    "changed_in": (Movement.CHANGED_IN,),
    "added": ADDED,
    "disconnected": (Movement.DISCONNECTED,),
    "changed_out": (Movement.CHANGED_OUT,),
    "gone": GONE,
}
"""The figures of nights, and what of it each counts."""
FIGURES: Final = ("orders_placed", "cards_placed", "refused", "replaced", "surplus", "surplus_disconnected",
                  "opening", "released", "changed_in", "added", "disconnected", "changed_out", "gone", "closing")  # fmt: skip
"""Every figure of a statement, as it is read: what was ordered, what was not released, how the active cards add up."""
MOST_MONTHS: Final = 12
"""So many months at most are stated by one night: a clock that was wrong by years makes no more."""


def lines(opening: pl.DataFrame, closing: pl.DataFrame, moved: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    """A line for whatever had cards or orders in a month: GROUP and FIGURES, in the order of GROUP.

    Each frame has GROUP: `opening` and `closing` how many cards were `active` before the month and at its end, `moved` what
    happened in its nights (`movement`, `cards`), `placed` what was ordered (`orders`, `cards`).
    """
    counted = [
        pl.col("cards").filter(pl.col("movement").is_in(movements)).sum().alias(name) for name, movements in COUNTED.items()
    ]
    parts = [
        placed.select(*GROUP, orders_placed="orders", cards_placed="cards"),
        moved.group_by(GROUP).agg(counted),
        opening.select(*GROUP, opening="active"),
        closing.select(*GROUP, closing="active"),
    ]
    figures = pl.concat(parts, how="diagonal").group_by(GROUP).agg(pl.col(FIGURES).sum())
    return figures.filter(pl.any_horizontal(pl.col(FIGURES) != 0)).sort(GROUP).select(*GROUP, *FIGURES)


def totals(lines: pl.DataFrame, *by: str) -> pl.DataFrame:
    """The sums of lines: a row for each of `by`, in their order; without `by` one row."""
    sums = pl.col(FIGURES).sum()
    return lines.group_by(by).agg(sums).sort(by) if by else lines.select(sums)


def contradictions(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines that do not add up."""
    return lines.filter(pl.col("opening") + pl.col("added") - pl.col("gone") != pl.col("closing"))


# -- months ------------------------------------------------------------------------------------------------------------


def parse_month(text: str, today: date) -> int:
    """A month as people write it (2026-10): 202610. Raises UsageError for what is none, and for one that has not begun."""
    year, _, month = text.strip().partition("-")
    if not (len(year) == 4 and len(month) == 2 and (year + month).isascii() and (year + month).isdigit()):
        raise UsageError(f"--month {text}: write a month as 2026-10.")
    number = int(year + month)
    if not 1 <= number % 100 <= 12 or not number // 100:
        raise UsageError(f"--month {text}: there is no such month.")
    if number > month_of(today):
        raise UsageError(f"--month {text}: this month has not begun.")
    return number


def month_of(day: date) -> int:
    """The month of a day: 202610."""
    return day.year * 100 + day.month


def month_name(month: int) -> str:
    """A month in words: October 2026."""
    return f"{_NAMES[month % 100 - 1]} {month // 100}"


_NAMES: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
                 "December")  # fmt: skip


def stated_by(nights: pl.DataFrame) -> dict[int, int]:
    """Which night states which months: the first one after them, by the order in which nights ran.

    `nights`: `event` and `reconciliation_date` of the nights from one on, earliest first. A clock that was set back makes a
    month end twice; the later night states it again, and has it from then on.
    """
    found: dict[int, int] = {}
    before = 0
    for event, day in nights.select("event", "reconciliation_date").iter_rows():
        month = int(day) // 100
        if before and before < month:
            count = min(MOST_MONTHS, (month // 100 - before // 100) * 12 + month % 100 - before % 100)
            found |= dict.fromkeys((shift(month, -back) for back in range(count, 0, -1)), event)
        before = month
    return found
