"""The key figures of nights: how much became ready, how much was refused, how long it took, what waits, what runs out.

Cards are counted by their movements (see schemas.movements). The refusal rate is that of first answers: of the cards that the
network answered for the first time, the share that it refused.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import polars as pl

from pipelines.common.times import shift
from schemas.movements import BECAME_READY, Movement

NIGHTS: Final = 30
"""Tonight is compared with so many nights before it."""
MONTHS: Final = 13
"""So many months are compared: this one, and the same of last year with those between."""
USE_DAYS: Final = 90
"""By the use of so many days it is foretold when a BTN runs out."""
_AGES: Final = (("under 24 hours", 24.0), ("24 to 48 hours", 48.0), ("2 to 3 days", 72.0), ("3 to 7 days", 168.0),
                ("over 7 days", float("inf")))  # fmt: skip
MEASURED: Final = ("ready", "refused", "refused_share", "median_hours", "p95_hours", "awaited", "overdue", "surplus", "active")
"""The key figures of a night."""
_WHOLE: Final = ("ready", "refused", "awaited", "overdue", "surplus", "active")


def nights(measures: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    """A row a night, earliest first: `night` and MEASURED; null where a figure is not known, or none became ready.

    `measures`: the fields of NIGHT_MEASURE; `movements`: at least `reconciliation_date`, `movement`, `cards` of these nights.
    """
    counted = movements.group_by("reconciliation_date").agg(_counts(""))
    rows = measures.join(counted, on="reconciliation_date", how="left").sort("reconciliation_date")
    known = pl.col("awaited", "overdue", "surplus", "median_seconds", "p95_seconds")
    rows = rows.with_columns(pl.when(known >= 0).then(known), pl.col("ready", "refused").fill_null(0))
    return rows.select(
        _day().alias("night"), "ready", "refused", "refused_share",
        (pl.col("median_seconds") / 3600).alias("median_hours"), (pl.col("p95_seconds") / 3600).alias("p95_hours"),
        "awaited", "overdue", "surplus", "active",
    )  # fmt: skip


def compared(nights: pl.DataFrame) -> pl.DataFrame:
    """Tonight, the last of `nights`, compared with the typical (median), lowest and highest figures of the nights before it:
    `what` and MEASURED. Only tonight's row where it is the first night.
    """
    before, figures = nights.head(-1), pl.col(MEASURED)
    rows = [nights.tail(1).select(pl.lit("Tonight").alias("what"), figures)]
    if len(before):
        count = f"{len(before)} night{'s' if len(before) > 1 else ''} before"
        median = before.select(figures.median()).with_columns(pl.col(_WHOLE).round())
        values = {"Median": median, "Lowest": before.select(figures.min()), "Highest": before.select(figures.max())}
        rows += [
            frame.select(pl.lit(f"{word}, {count}").alias("what"), figures).cast(rows[0].schema)
            for word, frame in values.items()
        ]
    return pl.concat(rows)


def by(keys: Sequence[str], movements: pl.DataFrame, active: pl.DataFrame, tonight: int) -> pl.DataFrame:
    """The figures of `movements` by keys (`reseller`, `product` …), the most refused first: `ready`, `refused`,
    `refused_share` of tonight, the same with `_before` of the nights before it, and `active`.
    """
    is_tonight = pl.col("reconciliation_date") == tonight
    now = movements.filter(is_tonight).group_by(keys).agg(_counts(""))
    before = movements.filter(~is_tonight).group_by(keys).agg(_counts("_before"))
    has = active.group_by(keys).agg(pl.col("active").sum())
    rows = now.join(before, on=keys, how="full", coalesce=True).join(has, on=keys, how="full", coalesce=True)
    counts = ("ready", "refused", "ready_before", "refused_before", "active")
    rows = rows.with_columns(pl.col(counts).fill_null(0))
    return rows.select(
        *keys, "ready", "refused", "refused_share", "ready_before", "refused_before", "refused_share_before", "active"
    ).sort("refused", "refused_before", "ready", *keys, descending=[True, True, True, *[False] * len(keys)])  # fmt: skip


def months(measures: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    """A row a month, earliest first: `month` (2026-11), `nights`, `ready`, `refused`, `refused_share`, `active` at its end."""
    month = (pl.col("reconciliation_date") // 100).alias("month")
    counted = movements.group_by(month).agg(_counts(""))
    ends = measures.sort("reconciliation_date").group_by(month).agg(pl.len().alias("nights"), pl.col("active").last())
    text = pl.col("month").cast(pl.String)
    return ends.join(counted, on="month", how="left").sort("month").select(
        pl.concat_str(text.str.head(4), pl.lit("-"), text.str.tail(2)).alias("month"), "nights",
        pl.col("ready", "refused").fill_null(0), "refused_share", "active",
    )  # fmt: skip


def ageing(hours: pl.Series, cards: pl.Series) -> pl.DataFrame:
    """How old awaited orders are: `age`, `orders`, `cards`, a row a bucket, also of those that are empty.

    `hours`: since when each order is awaited; `cards`: how many it has.
    """
    waiting = pl.DataFrame({"hours": hours, "cards": cards})
    rows, least = [], 0.0
    for age, most in _AGES:
        found = waiting.filter(pl.col("hours") >= least, pl.col("hours") < most)
        rows.append((age, len(found), int(found["cards"].sum())))
        least = most
    return pl.DataFrame(rows, schema={"age": pl.String, "orders": pl.Int64, "cards": pl.Int64}, orient="row")


def running_out(free: pl.DataFrame, used: pl.DataFrame, night: date) -> pl.DataFrame:
    """When BTNs (`btn`, `free` PINs) run out if they go on as in the last USE_DAYS days (`btn`, `used`): `btn`, `free`, `used`,
    `runs_out` (null: not used, or not within a hundred years), the soonest first.
    """
    rows = free.join(used, on="btn", how="left").with_columns(pl.col("used").fill_null(0))
    days = pl.when(pl.col("used") > 0).then((pl.col("free") * USE_DAYS / pl.col("used")).ceil())
    days = pl.when(days < 36_500).then(days)
    return rows.with_columns(runs_out=pl.lit(night) + pl.duration(days=days.cast(pl.Int64))).sort(
        "runs_out", "free", "btn", nulls_last=True
    )


def use_days(night: date) -> tuple[str, str]:
    """The first and the last of the days by whose use it is foretold when a BTN runs out: those before the night."""
    return (night - timedelta(days=USE_DAYS)).isoformat(), (night - timedelta(days=1)).isoformat()


def first_month(night: int) -> int:
    """The first day (20251101) of the months that are compared with that of a night (20261124)."""
    return shift(night // 100, 1 - MONTHS) * 100 + 1


def _counts(suffix: str) -> list[pl.Expr]:
    """The cards that became ready and that were refused, and the refusal rate."""
    movement, cards = pl.col("movement"), pl.col("cards")
    refused = cards.filter(movement == Movement.REFUSED).sum()
    answered = refused + cards.filter(movement == Movement.READY).sum()
    return [
        cards.filter(movement.is_in(BECAME_READY)).sum().alias(f"ready{suffix}"),
        refused.alias(f"refused{suffix}"),
        pl.when(answered > 0).then(refused / answered).alias(f"refused_share{suffix}"),
    ]


def _day() -> pl.Expr:
    return pl.col("reconciliation_date").cast(pl.String).str.to_date("%Y%m%d")
