"""The PINs of a BTN that the number rule allows."""

from functools import cache
from typing import Final

import polars as pl

from schemas.codes import PIN_DIGITS, has_forbidden_sequence

PINS: Final = 10**PIN_DIGITS
_SUFFIX: Final = 1_000  # a sequence of four that crosses into the PIN begins in the last three digits of the BTN


def valid_pin_counts(btns: pl.Series) -> pl.DataFrame:
    """How many valid PINs each BTN has, free or not: `btn`, `valid`.

    Which PINs are valid depends on the last three digits of the BTN alone, so a million BTNs cost no more than the
    thousand ways in which a BTN can end.
    """
    frame = btns.unique().sort().to_frame("btn").with_columns(suffix=pl.col("btn") % _SUFFIX)
    # the last digit of a PIN belongs to one run of four, the PIN itself: which of them are valid is the same for every BTN
    text = (pl.col("suffix") * _SUFFIX + pl.col("beginning")).cast(pl.String).str.zfill(6)
    every = (
        frame.select(pl.col("suffix").unique().sort()).join(_beginnings(), how="cross").filter(~has_forbidden_sequence(text))
    )
    counted = every.group_by("suffix").agg(valid=pl.col("endings").sum())
    counts = frame.join(counted, on="suffix", how="left", maintain_order="left")
    possible = ~has_forbidden_sequence(pl.col("btn").cast(pl.String))
    return counts.select("btn", valid=pl.when(possible).then(pl.col("valid").fill_null(0)).otherwise(0))


@cache
def _beginnings() -> pl.DataFrame:
    """The first three digits of PINs, and how many fourth digits the rule allows after them: `beginning`, `endings`."""
    pins = pl.DataFrame({"pin": pl.int_range(PINS, eager=True, dtype=pl.Int64)})
    valid = pins.filter(~has_forbidden_sequence(pl.col("pin").cast(pl.String).str.zfill(PIN_DIGITS)))
    return valid.group_by(beginning=pl.col("pin") // 10).agg(endings=pl.len().cast(pl.Int64)).sort("beginning")


def slices(btns: pl.Series, most: int = 500) -> list[pl.Series]:
    """BTNs in portions whose PINs fit into memory together."""
    return [btns.slice(start, most) for start in range(0, len(btns), most)]
