"""The PINs of a BTN: which are valid, how many are free, and who gets them when they run short."""

from typing import Final

import polars as pl

from schemas.codes import PIN_DIGITS, is_code

PINS: Final = 10**PIN_DIGITS


def valid_pins(btns: pl.Series) -> pl.DataFrame:
    """Every valid code under each BTN (integers of ten digits): `btn`, `code`; at most 10,000 a BTN."""
    every = pl.DataFrame({"pin": pl.int_range(PINS, eager=True, dtype=pl.Int64)})
    codes = (
        btns.unique().sort().to_frame("btn").join(every, how="cross").select("btn", code=pl.col("btn") * PINS + pl.col("pin"))
    )
    return codes.filter(is_code(pl.col("code").cast(pl.String)))


def free_pins(btns: pl.Series, burnt: pl.Series) -> pl.DataFrame:
    """How many PINs each BTN still has: `btn`, `free`. `burnt`: codes that are gone."""
    counted = [pl.DataFrame(schema={"btn": pl.Int64, "free": pl.Int64})]
    for part in slices(btns.unique().sort()):
        free = valid_pins(part).filter(~pl.col("code").is_in(burnt.implode()))
        counts = free.group_by("btn").agg(free=pl.len().cast(pl.Int64))
        counted.append(part.to_frame("btn").join(counts, on="btn", how="left").with_columns(pl.col("free").fill_null(0)))
    return pl.concat(counted)


def slices(btns: pl.Series, most: int = 500) -> list[pl.Series]:
    """BTNs in portions whose PINs fit into memory together."""
    return [btns.slice(start, most) for start in range(0, len(btns), most)]


def first_come(claims: pl.DataFrame, free: dict[int, int]) -> set[int]:
    """Lines that come too late for the PINs of their BTN.

    `claims`: `unit` (what is placed whole or not at all), `line`, `btn`, `quantity`, `good` (nothing else is wrong
    with the unit), in the order in which they came. A unit that is refused leaves its PINs to those after it, so
    this is a loop; it only ever sees the claims on BTNs that are asked for more than they have.
    """
    late: set[int] = set()
    for (_,), unit in claims.group_by("unit", maintain_order=True):
        left = dict(free)
        short = set()
        for line, btn, quantity in unit.select("line", "btn", "quantity").iter_rows():
            if quantity > left[btn]:
                short.add(line)
            else:
                left[btn] -= quantity
        late |= short
        if not short and unit["good"].all():
            free = left
    return late
