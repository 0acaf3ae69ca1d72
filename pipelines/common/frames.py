"""What Polars lacks: to choose rows of a frame by another one without a copy where no row goes (a semi or anti join copies),
and quantiles of weighted values.
"""

from collections.abc import Sequence

import polars as pl


def rows_in(frame: pl.DataFrame, other: pl.DataFrame, on: str | Sequence[str]) -> pl.DataFrame:
    """The rows whose key stands in the other frame too."""
    return frame.filter(_is_in(frame, other, on))


def rows_not_in(frame: pl.DataFrame, other: pl.DataFrame, on: str | Sequence[str]) -> pl.DataFrame:
    """The rows whose key does not stand in the other frame."""
    return frame if other.is_empty() else frame.filter(~_is_in(frame, other, on))


def _is_in(frame: pl.DataFrame, other: pl.DataFrame, on: str | Sequence[str]) -> pl.Series:
    keys = [on] if isinstance(on, str) else list(on)
    known = other.select(keys).unique().with_columns(known=True)
    return frame.select(keys).join(known, on=keys, how="left", maintain_order="left")["known"].fill_null(value=False)


def weighted_quantile(frame: pl.DataFrame, share: float, *, default: int) -> int:
    """The smallest value (`value`) that with the smaller ones has this share of all `weight` (nearest rank); `default` where
    there is none.
    """
    ranked = frame.group_by("value").agg(pl.col("weight").sum()).sort("value")
    reached = ranked.filter(pl.col("weight").cum_sum() >= share * pl.col("weight").sum())
    return int(reached["value"][0]) if len(reached) else default
