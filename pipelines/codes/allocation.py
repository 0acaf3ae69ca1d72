"""Draw free authorization codes and PINs; no code is ever drawn twice."""

import os
from collections.abc import Callable
from typing import Final

import polars as pl

from pipelines.codes.capacity import valid_pins
from pipelines.common.context import RandomBytes
from schemas.codes import SMALLEST, has_forbidden_sequence, is_code
from schemas.pins import PINS, slices

_VALID_SHARE: Final = 0.97  # of all 14-digit numbers; 0.9759 by the rule
_DRAWN: Final = pl.Schema({"row_id": pl.UInt32, "code": pl.Int64})


def _uniform_below(span: int, count: int, random_bytes: RandomBytes) -> pl.Series:
    """Up to `count` integers, each uniform over 0 … span - 1."""
    words = pl.Series("word", memoryview(random_bytes(8 * count)).cast("Q"), pl.UInt64)
    # words above the last multiple of the span would make its small numbers likelier
    return words.filter(words < 2**64 - 2**64 % span) % span if count else words


def valid_numbers(count: int, random_bytes: RandomBytes = os.urandom) -> pl.Series:
    """`count` valid codes (integers), each uniform over all valid numbers; the same may come twice."""
    found: list[pl.Series] = [pl.Series("code", [], pl.Int64)]
    while (missing := count - sum(map(len, found))) > 0:
        drawn = (_uniform_below(9 * SMALLEST, int(missing / _VALID_SHARE) + 16, random_bytes).cast(pl.Int64) + SMALLEST).alias(
            "code"
        )
        found.append(drawn.to_frame().filter(~has_forbidden_sequence(pl.col("code").cast(pl.String)))["code"])
    return pl.concat(found).head(count)


def draw_codes(
    count: int, existing: Callable[[pl.Series], pl.Series], reserved: pl.Series, random_bytes: RandomBytes = os.urandom
) -> pl.Series:
    """`count` different codes, uniform over the valid numbers that are free, in the order in which they were drawn.

    `existing` gives those of some codes that are not free; `reserved` are spoken for in this batch.
    """
    free = pl.Series("code", [], pl.Int64)
    while len(free) < count:
        more = valid_numbers(count - len(free), random_bytes)
        more = more.filter(~more.is_in(reserved.implode()))
        more = more.filter(~more.is_in(existing(more).implode()))
        free = pl.concat([free, more]).unique(maintain_order=True)
    return free


def draw_pins(demands: pl.DataFrame, used: pl.Series, random_bytes: RandomBytes = os.urandom) -> pl.DataFrame:
    """Codes for rows that want PINs: `row_id`, `code`, uniform over the free PINs of each BTN.

    `demands`: `row_id`, `btn` (integer), `quantity`, of which no BTN is asked for more than it has free; `used`:
    codes that can't be given.
    """
    if demands.is_empty():
        return pl.DataFrame(schema=_DRAWN)
    gone = used.to_frame("code").group_by(btn=pl.col("code") // PINS).agg(gone=pl.len().cast(pl.Int64))
    demands = demands.join(gone, on="btn", how="left", maintain_order="left")
    much = pl.col("quantity").sum().over("btn") + pl.col("gone").fill_null(0) > PINS // 4
    return pl.concat(
        [_deal_pins(demands.filter(much), used, random_bytes), _draw_until_filled(demands.filter(~much), used, random_bytes)]
    )


def _deal_pins(demands: pl.DataFrame, used: pl.Series, random_bytes: RandomBytes) -> pl.DataFrame:
    """All free PINs of each BTN are shuffled and dealt out, row after row."""
    dealt = [pl.DataFrame(schema=_DRAWN)]
    for btns in slices(demands["btn"].unique().sort()):
        part = demands.filter(pl.col("btn").is_in(btns.implode()))
        free = _shuffled(valid_pins(btns).filter(~pl.col("code").is_in(used.implode())), random_bytes)
        end = pl.col("quantity").cum_sum().over("btn")
        seats = part.select("row_id", "btn", seat=pl.int_ranges(end - pl.col("quantity"), end)).explode("seat")
        free = free.with_columns(seat=pl.int_range(pl.len()).over("btn"))
        dealt.append(seats.join(free, on=["btn", "seat"]).select("row_id", "code"))
    return pl.concat(dealt)


def _draw_until_filled(demands: pl.DataFrame, used: pl.Series, random_bytes: RandomBytes) -> pl.DataFrame:
    """PINs are drawn until each row has its number: quicker where a BTN is asked for few of its PINs."""
    found = pl.DataFrame(schema=_DRAWN)
    wanted = demands
    while len(wanted):
        tries = wanted.select("row_id", pl.col("btn").repeat_by(pl.col("quantity") + pl.col("quantity") // 8 + 2)).explode(
            "btn"
        )
        pin = _uniform_below(PINS, len(tries) + 64, random_bytes).head(len(tries)).cast(pl.Int64)
        more = tries.head(len(pin)).select("row_id", code=pl.col("btn") * PINS + pin)
        more = more.filter(is_code(pl.col("code").cast(pl.String)) & ~pl.col("code").is_in(used.implode()))
        found = pl.concat([found, more]).unique("code", keep="first", maintain_order=True)
        found = (
            found.join(demands.select("row_id", "quantity"), on="row_id", maintain_order="left")
            .filter(pl.int_range(pl.len()).over("row_id") < pl.col("quantity"))
            .select("row_id", "code")
        )
        has = found.group_by("row_id").agg(has=pl.len().cast(pl.Int64))
        wanted = (
            demands.join(has, on="row_id", how="left", maintain_order="left")
            .with_columns(quantity=pl.col("quantity") - pl.col("has").fill_null(0))
            .filter(pl.col("quantity") > 0)
        )
    return found


def _shuffled(frame: pl.DataFrame, random_bytes: RandomBytes) -> pl.DataFrame:
    """The rows in an order that is uniform over all orders."""
    keys = pl.Series("key", [], pl.UInt64)
    while keys.n_unique() < len(frame):
        keys = pl.Series("key", memoryview(random_bytes(8 * len(frame))).cast("Q"), pl.UInt64)
    return frame.with_columns(keys).sort("key").drop("key") if len(frame) else frame
