"""The PINs of a BTN that the number rule allows."""

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
    pins = pl.DataFrame({"pin": pl.int_range(PINS, eager=True, dtype=pl.Int64)})
    counted = [pl.DataFrame(schema={"suffix": pl.Int64, "valid": pl.Int64})]
    for part in slices(frame["suffix"].unique().sort()):
        text = (pl.col("suffix") * PINS + pl.col("pin")).cast(pl.String).str.zfill(7)
        every = part.to_frame("suffix").join(pins, how="cross").filter(~has_forbidden_sequence(text))
        counted.append(every.group_by("suffix").agg(valid=pl.len().cast(pl.Int64)))
    counts = frame.join(pl.concat(counted), on="suffix", how="left", maintain_order="left")
    possible = ~has_forbidden_sequence(pl.col("btn").cast(pl.String))
    return counts.select("btn", valid=pl.when(possible).then(pl.col("valid").fill_null(0)).otherwise(0))


def slices(btns: pl.Series, most: int = 500) -> list[pl.Series]:
    """BTNs in portions whose PINs fit into memory together."""
    return [btns.slice(start, most) for start in range(0, len(btns), most)]
