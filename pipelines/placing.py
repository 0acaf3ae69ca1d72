"""Which orders get which codes: taken ones are refused, free ones are drawn, and no number is given twice."""

import os
from collections.abc import Callable
from typing import Final

import polars as pl

from schemas.codes import DIGITS, FIRST, PIN_DIGITS, has_run, is_code

Source = Callable[[int], bytes]
"""A source of random bytes, as `os.urandom` is: so many of them, uniform and not to be predicted."""

PINS: Final = 10**PIN_DIGITS
_VALID_SHARE: Final = 0.97  # of all 14-digit numbers; 0.9759 by the rule
_DRAWN: Final = pl.Schema({"line": pl.UInt32, "code": pl.Int64})


def _below(span: int, count: int, source: Source) -> pl.Series:
    """Up to `count` integers, each uniform over 0 … span - 1."""
    words = pl.Series("word", memoryview(source(8 * count)).cast("Q"), pl.UInt64)
    # words above the last multiple of the span would make its small numbers likelier
    return words.filter(words < 2**64 - 2**64 % span) % span if count else words


def numbers(count: int, source: Source = os.urandom) -> pl.Series:
    """`count` valid codes (integers), each uniform over all valid numbers; the same may come twice."""
    found: list[pl.Series] = [pl.Series("code", [], pl.Int64)]
    while (lacking := count - sum(map(len, found))) > 0:
        drawn = (_below(9 * FIRST, int(lacking / _VALID_SHARE) + 16, source).cast(pl.Int64) + FIRST).alias("code")
        found.append(drawn.to_frame().filter(~has_run(pl.col("code").cast(pl.String)))["code"])
    return pl.concat(found).head(count)


def draw(count: int, taken: Callable[[pl.Series], pl.Series], reserved: pl.Series, source: Source = os.urandom) -> pl.Series:
    """`count` different codes, uniform over the valid numbers that are free, in the order in which they were drawn.

    `taken` tells those that were issued before; `reserved` are spoken for in this sweep.
    """
    free = pl.Series("code", [], pl.Int64)
    while len(free) < count:
        more = numbers(count - len(free), source)
        more = more.filter(~more.is_in(reserved.implode()))
        more = more.filter(~more.is_in(taken(more).implode()))
        free = pl.concat([free, more]).unique(maintain_order=True)
    return free


def pins(btns: pl.Series) -> pl.DataFrame:
    """Every valid code under each BTN (integers of ten digits): `btn`, `code`; at most 10,000 a BTN."""
    every = pl.DataFrame({"pin": pl.int_range(PINS, eager=True, dtype=pl.Int64)})
    codes = (
        btns.unique().sort().to_frame("btn").join(every, how="cross").select("btn", code=pl.col("btn") * PINS + pl.col("pin"))
    )
    return codes.filter(is_code(pl.col("code").cast(pl.String)))


def draw_pins(demands: pl.DataFrame, burnt: pl.Series, source: Source = os.urandom) -> pl.DataFrame:
    """Codes for rows that want PINs: `line`, `code`, uniform over the free PINs of each BTN.

    `demands`: `line`, `btn` (integer), `quantity`, of which no BTN is asked for more than it has free; `burnt`:
    codes that can't be given.
    """
    if demands.is_empty():
        return pl.DataFrame(schema=_DRAWN)
    gone = burnt.to_frame("code").group_by(btn=pl.col("code") // PINS).agg(gone=pl.len().cast(pl.Int64))
    demands = demands.join(gone, on="btn", how="left", maintain_order="left")
    much = pl.col("quantity").sum().over("btn") + pl.col("gone").fill_null(0) > PINS // 4
    return pl.concat([_dealt(demands.filter(much), burnt, source), _guessed(demands.filter(~much), burnt, source)])


def _dealt(demands: pl.DataFrame, burnt: pl.Series, source: Source) -> pl.DataFrame:
    """All free PINs of each BTN are shuffled and dealt out, line after line."""
    dealt = [pl.DataFrame(schema=_DRAWN)]
    for btns in _slices(demands["btn"].unique().sort()):
        part = demands.filter(pl.col("btn").is_in(btns.implode()))
        free = _shuffled(pins(btns).filter(~pl.col("code").is_in(burnt.implode())), source)
        end = pl.col("quantity").cum_sum().over("btn")
        seats = part.select("line", "btn", seat=pl.int_ranges(end - pl.col("quantity"), end)).explode("seat")
        free = free.with_columns(seat=pl.int_range(pl.len()).over("btn"))
        dealt.append(seats.join(free, on=["btn", "seat"]).select("line", "code"))
    return pl.concat(dealt)


def _guessed(demands: pl.DataFrame, burnt: pl.Series, source: Source) -> pl.DataFrame:
    """PINs are drawn until each line has its number: quicker where a BTN is asked for few of its PINs."""
    found = pl.DataFrame(schema=_DRAWN)
    wanted = demands
    while len(wanted):
        guesses = wanted.select("line", pl.col("btn").repeat_by(pl.col("quantity") + pl.col("quantity") // 8 + 2)).explode(
            "btn"
        )
        pin = _below(PINS, len(guesses) + 64, source).head(len(guesses)).cast(pl.Int64)
        more = guesses.head(len(pin)).select("line", code=pl.col("btn") * PINS + pin)
        more = more.filter(is_code(pl.col("code").cast(pl.String)) & ~pl.col("code").is_in(burnt.implode()))
        found = pl.concat([found, more]).unique("code", keep="first", maintain_order=True)
        found = (
            found.join(demands.select("line", "quantity"), on="line", maintain_order="left")
            .filter(pl.int_range(pl.len()).over("line") < pl.col("quantity"))
            .select("line", "code")
        )
        has = found.group_by("line").agg(has=pl.len().cast(pl.Int64))
        wanted = (
            demands.join(has, on="line", how="left", maintain_order="left")
            .with_columns(quantity=pl.col("quantity") - pl.col("has").fill_null(0))
            .filter(pl.col("quantity") > 0)
        )
    return found


def _shuffled(frame: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The rows in an order that is uniform over all orders."""
    keys = pl.Series("key", [], pl.UInt64)
    while keys.n_unique() < len(frame):
        keys = pl.Series("key", memoryview(source(8 * len(frame))).cast("Q"), pl.UInt64)
    return frame.with_columns(keys).sort("key").drop("key") if len(frame) else frame


def capacity(btns: pl.Series, burnt: pl.Series) -> pl.DataFrame:
    """How many PINs each BTN still has: `btn`, `free`. `burnt`: codes that are gone."""
    counted = [pl.DataFrame(schema={"btn": pl.Int64, "free": pl.Int64})]
    for part in _slices(btns.unique().sort()):
        free = pins(part).filter(~pl.col("code").is_in(burnt.implode()))
        counts = free.group_by("btn").agg(free=pl.len().cast(pl.Int64))
        counted.append(part.to_frame("btn").join(counts, on="btn", how="left").with_columns(pl.col("free").fill_null(0)))
    return pl.concat(counted)


def _slices(btns: pl.Series, most: int = 500) -> list[pl.Series]:
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


def digits(code: pl.Expr) -> pl.Expr:
    """A code as text of 14 digits."""
    return code.cast(pl.String).str.zfill(DIGITS)
