"""Draw replacements for refused codes."""

import polars as pl

from pipelines.codes import allocation, capacity
from pipelines.common.context import Runtime
from pipelines.registry.store import Registry
from schemas.orders import BTN4, RANDOM
from schemas.pins import PINS


def replaceable(refused: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    """Those of the refused Random and BTN+4 codes (see `reconciliation.waiting_cards`) that their orders still lack, once the
    cards that no report has judged yet (`waiting`) are there too.
    """
    drawn = refused.filter(pl.col("code_type").is_in([RANDOM, BTN4]))
    coming = waiting.group_by("order_pk").agg(coming=pl.len().cast(pl.Int64))
    drawn = drawn.join(coming, on="order_pk", how="left", maintain_order="left")
    place = pl.int_range(pl.len(), dtype=pl.Int64).over("order_pk")
    return drawn.filter(place < pl.col("missing") - pl.col("coming").fill_null(0))


def replacements(refused: pl.DataFrame, registry: Registry, runtime: Runtime) -> pl.DataFrame:
    """New codes for refused Random and BTN+4 ones: `order_pk`, `code`, `replaced`. Of a BTN that has too few PINs left,
    the earliest orders get them.
    """
    dialled = refused.filter(pl.col("code_type") == BTN4).with_columns(btn=pl.col("code") // PINS)
    used = registry.codes_under(dialled["btn"])["code"]
    free = capacity.free_pins(dialled["btn"], used)
    dialled = dialled.sort("order_pk", "code").join(free, on="btn", maintain_order="left")
    dialled = dialled.filter(pl.int_range(pl.len()).over("btn") < pl.col("free"))
    seat = pl.int_range(pl.len()).over("order_pk", "btn")
    demands = dialled.group_by("order_pk", "btn", maintain_order=True).agg(quantity=pl.len().cast(pl.Int64))
    demands = demands.with_row_index("row_id")
    pins = allocation.draw_pins(demands.select("row_id", "btn", "quantity"), used, runtime.random_bytes)
    pins = pins.with_columns(seat=pl.int_range(pl.len()).over("row_id"))
    old = dialled.with_columns(seat=seat).join(demands.select("row_id", "order_pk", "btn"), on=["order_pk", "btn"])
    renewed = old.join(pins, on=["row_id", "seat"], suffix="_new").select("order_pk", code="code_new", replaced="code")
    random = refused.filter(pl.col("code_type") == RANDOM)
    drawn = allocation.draw_codes(len(random), registry.existing_codes, renewed["code"], runtime.random_bytes)
    return pl.concat([renewed, random.select("order_pk", code=drawn, replaced="code")])
