"""The PINs of a BTN: which are valid, how many are free, and who gets them when they run short."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import polars as pl

from schemas.codes import is_code
from schemas.pins import PINS, valid_pin_counts

FEWEST_PINS: Final = 5_000
"""No BTN without a forbidden sequence has fewer valid PINs than this (a test looks at every way in which a BTN can end)."""


def valid_pins(btns: pl.Series) -> pl.DataFrame:
    """Every valid code under each BTN (integers of ten digits): `btn`, `code`; at most 10,000 a BTN."""
    every = pl.DataFrame({"pin": pl.int_range(PINS, eager=True, dtype=pl.Int64)})
    codes = (
        btns.unique().sort().to_frame("btn").join(every, how="cross").select("btn", code=pl.col("btn") * PINS + pl.col("pin"))
    )
    return codes.filter(is_code(pl.col("code").cast(pl.String)))


def free_pins(btns: pl.Series, used: pl.Series, max_fill: float = 1.0) -> pl.DataFrame:
    """How many PINs of each BTN may still be given: `btn`, `free`.

    `used`: codes that are gone; `max_fill`: the share of a BTN's valid PINs that may be in use (a full BTN makes every
    guess at a PIN a hit).
    """
    valid_used = used.to_frame("code").filter(is_code(pl.col("code").cast(pl.String)))
    gone = valid_used.group_by(btn=pl.col("code") // PINS).agg(gone=pl.len().cast(pl.Int64))
    counts = valid_pin_counts(btns).join(gone, on="btn", how="left", maintain_order="left")
    allowed = (pl.col("valid") * max_fill).floor().cast(pl.Int64)
    return counts.select("btn", free=pl.max_horizontal(allowed - pl.col("gone").fill_null(0), pl.lit(0, pl.Int64)))


def first_come(claims: pl.DataFrame, free: dict[Any, int]) -> set[int]:
    """The rows that come too late for the PINs of their BTN, or for whatever else of which so many are `free` under a key.

    `claims`: `acceptance_group` (what is placed whole or not at all), `row_id`, `btn`, `quantity`, in the order in which
    they came; the rows of a group stand together. A group that is refused leaves its PINs to those after it, so this is
    a loop over rows; it only ever sees the claims on BTNs that are asked for more than they have.
    """
    late: set[int] = set()
    rows = claims.select("acceptance_group", "row_id", "btn", "quantity").iter_rows()
    for _, group in groupby(rows, key=lambda row: row[0]):
        late |= _take(((row_id, btn, quantity) for _, row_id, btn, quantity in group), free)
    return late


def _take(claims: Iterable[tuple[int, Any, int]], free: dict[Any, int]) -> set[int]:
    """Take the PINs of one group, or none of them; the rows for which too few are free."""
    wanted: dict[Any, int] = {}
    late = set()
    for row_id, btn, quantity in claims:
        if wanted.get(btn, 0) + quantity > free[btn]:
            late.add(row_id)
        else:
            wanted[btn] = wanted.get(btn, 0) + quantity
    if not late:
        for btn, quantity in wanted.items():
            free[btn] -= quantity
    return late
