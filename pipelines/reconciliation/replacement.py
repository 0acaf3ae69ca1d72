"""Draw replacements for refused codes."""

import polars as pl

from pipelines.codes import allocation, capacity
from pipelines.common.context import Runtime
from pipelines.registry.store import Registry
from schemas.orders import BTN4, RANDOM


def replacements(refused: pl.DataFrame, registry: Registry, runtime: Runtime) -> pl.DataFrame:
    """New codes for refused Random and BTN+4 ones: `order_no`, `code`, `replaced`. Of a BTN that has too few PINs left,
    the earliest orders get them.
    """
    dialled = refused.filter(pl.col("code_type") == BTN4).with_columns(btn=pl.col("code") // capacity.PINS)
    burnt = registry.codes_under(dialled["btn"])["code"]
    free = capacity.free_pins(dialled["btn"], burnt)
    dialled = dialled.sort("order_no", "code").join(free, on="btn", maintain_order="left")
    dialled = dialled.filter(pl.int_range(pl.len()).over("btn") < pl.col("free"))
    seat = pl.int_range(pl.len()).over("order_no", "btn")
    demands = dialled.group_by("order_no", "btn", maintain_order=True).agg(quantity=pl.len().cast(pl.Int64))
    demands = demands.with_row_index("line")
    pins = allocation.draw_pins(demands.select("line", "btn", "quantity"), burnt, runtime.random_bytes)
    pins = pins.with_columns(seat=pl.int_range(pl.len()).over("line"))
    old = dialled.with_columns(seat=seat).join(demands.select("line", "order_no", "btn"), on=["order_no", "btn"])
    renewed = old.join(pins, on=["line", "seat"], suffix="_new").select("order_no", code="code_new", replaced="code")
    random = refused.filter(pl.col("code_type") == RANDOM)
    drawn = allocation.draw_codes(len(random), registry.existing_codes, renewed["code"], runtime.random_bytes)
    return pl.concat([renewed, random.select("order_no", code=drawn, replaced="code")])
