"""Choose rows of a frame by another frame. Unlike a semi or anti join of Polars, nothing is copied where no row goes."""

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
