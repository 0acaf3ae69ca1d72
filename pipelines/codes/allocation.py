"""Draw free authorization codes and PINs; no code is ever drawn twice."""

import os
from collections.abc import Callable
from typing import Final

import polars as pl

from pipelines.codes.capacity import PINS, slices, valid_pins
from pipelines.common.context import RandomBytes
from schemas.codes import SMALLEST, has_forbidden_sequence, is_code

_VALID_SHARE: Final = 0.97  # of all 14-digit numbers; 0.9759 by the rule
_DRAWN: Final = pl.Schema({"line": pl.UInt32, "code": pl.Int64})


def _uniform_below(span: int, count: int, source: RandomBytes) -> pl.Series:
    """Up to `count` integers, each uniform over 0 … span - 1."""
    words = pl.Series("word", memoryview(source(8 * count)).cast("Q"), pl.UInt64)
    # words above the last multiple of the span would make its small numbers likelier
    return words.filter(words < 2**64 - 2**64 % span) % span if count else words


def valid_numbers(count: int, source: RandomBytes = os.urandom) -> pl.Series:
    """`count` valid codes (integers), each uniform over all valid numbers; the same may come twice."""
    found: list[pl.Series] = [pl.Series("code", [], pl.Int64)]
    while (lacking := count - sum(map(len, found))) > 0:
        drawn = (_uniform_below(9 * SMALLEST, int(lacking / _VALID_SHARE) + 16, source).cast(pl.Int64) + SMALLEST).alias("code")
        found.append(drawn.to_frame().filter(~has_forbidden_sequence(pl.col("code").cast(pl.String)))["code"])
    return pl.concat(found).head(count)


def draw_codes(
    count: int, taken: Callable[[pl.Series], pl.Series], reserved: pl.Series, source: RandomBytes = os.urandom
) -> pl.Series:
    """`count` different codes, uniform over the valid numbers that are free, in the order in which they were drawn.

    `taken` tells those that were issued before; `reserved` are spoken for in this sweep.
    """
    free = pl.Series("code", [], pl.Int64)
    while len(free) < count:
        more = valid_numbers(count - len(free), source)
        more = more.filter(~more.is_in(reserved.implode()))
        more = more.filter(~more.is_in(taken(more).implode()))
        free = pl.concat([free, more]).unique(maintain_order=True)
    return free


def draw_pins(demands: pl.DataFrame, burnt: pl.Series, source: RandomBytes = os.urandom) -> pl.DataFrame:
    """Codes for rows that want PINs: `line`, `code`, uniform over the free PINs of each BTN.

    `demands`: `line`, `btn` (integer), `quantity`, of which no BTN is asked for more than it has free; `burnt`:
    codes that can't be given.
    """
    if demands.is_empty():
        return pl.DataFrame(schema=_DRAWN)
    gone = burnt.to_frame("code").group_by(btn=pl.col("code") // PINS).agg(gone=pl.len().cast(pl.Int64))
    demands = demands.join(gone, on="btn", how="left", maintain_order="left")
    much = pl.col("quantity").sum().over("btn") + pl.col("gone").fill_null(0) > PINS // 4
    return pl.concat(
        [_deal_pins(demands.filter(much), burnt, source), _draw_until_filled(demands.filter(~much), burnt, source)]
    )


def _deal_pins(demands: pl.DataFrame, burnt: pl.Series, source: RandomBytes) -> pl.DataFrame:
    """All free PINs of each BTN are shuffled and dealt out, line after line."""
    dealt = [pl.DataFrame(schema=_DRAWN)]
    for btns in slices(demands["btn"].unique().sort()):
        part = demands.filter(pl.col("btn").is_in(btns.implode()))
        free = _shuffled(valid_pins(btns).filter(~pl.col("code").is_in(burnt.implode())), source)
        end = pl.col("quantity").cum_sum().over("btn")
        seats = part.select("line", "btn", seat=pl.int_ranges(end - pl.col("quantity"), end)).explode("seat")
        free = free.with_columns(seat=pl.int_range(pl.len()).over("btn"))
        dealt.append(seats.join(free, on=["btn", "seat"]).select("line", "code"))
    return pl.concat(dealt)


def _draw_until_filled(demands: pl.DataFrame, burnt: pl.Series, source: RandomBytes) -> pl.DataFrame:
    """PINs are drawn until each line has its number: quicker where a BTN is asked for few of its PINs."""
    found = pl.DataFrame(schema=_DRAWN)
    wanted = demands
    while len(wanted):
        guesses = wanted.select("line", pl.col("btn").repeat_by(pl.col("quantity") + pl.col("quantity") // 8 + 2)).explode(
            "btn"
        )
        pin = _uniform_below(PINS, len(guesses) + 64, source).head(len(guesses)).cast(pl.Int64)
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


def _shuffled(frame: pl.DataFrame, source: RandomBytes) -> pl.DataFrame:
    """The rows in an order that is uniform over all orders."""
    keys = pl.Series("key", [], pl.UInt64)
    while keys.n_unique() < len(frame):
        keys = pl.Series("key", memoryview(source(8 * len(frame))).cast("Q"), pl.UInt64)
    return frame.with_columns(keys).sort("key").drop("key") if len(frame) else frame
