"""Files of what a night refused, and of what came of changes, blocks and disconnections."""

from typing import Any, Final

import polars as pl

from pipelines.codes import capacity
from pipelines.delivery.release_files import ORDER_HEADERS, code_column, released_by, serial_column
from pipelines.registry.reconciliation import REFUSED, STATE
from pipelines.registry.store import Registry
from schemas.orders import BTN4, SPECIFIED
from schemas.pins import PINS

_NOT_SAFE: Final = (
    "The network does not have these codes; most likely each exists there already. Never print them, unless a later release "
    "file of this order lists them."
)
_EXISTS: Final = "The network does not have it under this order; most likely it exists there already."
_REPLACED: Final = "It was replaced. Use the new code once it stands in a release file."
_CHOOSE: Final = "Choose another code and order it under a new Customer Order ID."
_NO_PIN: Final = "No PIN of this BTN is free. Order it for another BTN, under a new Customer Order ID."
_ORDER_AGAIN: Final = "Order another code under a new Customer Order ID."
_LATE: Final = "The network has it after all: it was released."
_SURPLUS: Final = "The network has it after all, beyond what was ordered. It is not released."
_COMPLETE: Final = "Your order has all its cards without this one. There is nothing to do."
_NOT_DONE: Final = (
    "The network's report of this order does not show the card, so it is as it was. Order it again under a new ID."
)
_DONE_WORDS: Final = {
    "Change": "The network has made the change.",
    "Disconnect": "The card is disconnected for good. Never print or sell it.",
    "Block": "The card is blocked.",
    "Unblock": "The card can be used again.",
}


def refused_rows(cards: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """The rows of refused files (see FileCards.refused), with `order_pk` and `event`."""
    return with_advice(cards, registry).select(
        "order_pk", "event",
        *(pl.col(name).alias(header) for header, name in ORDER_HEADERS.items()),
        serial_column("order_id").alias("Serial"),
        code_column("code", "Authorization Code"),
        code_column("replaced_by", "Replaced by"),
        pl.lit(_EXISTS).alias("Likely cause"),
        pl.col("advice").alias("What to do"),
    )  # fmt: skip


def outcome_rows(cards: pl.DataFrame) -> pl.DataFrame:
    """The rows of outcome files (see FileCards.outcomes, with the fields of their file), with `order_pk` and `event`."""
    done = pl.col("done") == 1
    words = pl.col("action").replace_strict(_DONE_WORDS, default="")
    return cards.select(
        "order_pk", "event",
        *(pl.col(name).alias(header) for header, name in ORDER_HEADERS.items()),
        pl.col("action").alias("Action"),
        serial_column("owner").alias("Serial"),
        code_column("code", "Authorization Code"),
        pl.when(done).then(pl.lit("done")).otherwise(pl.lit("not done")).alias("Outcome"),
        pl.when(done).then(words).otherwise(pl.lit(_NOT_DONE)).alias("What it means"),
    )  # fmt: skip


def summary(files: list[dict[str, Any]], rows: pl.DataFrame) -> tuple[str, str, list[tuple[str, Any]]]:
    """Title, advice and key values of a refused or outcome file, of one order or of several."""
    file = files[0]
    order: list[tuple[str, Any]] = (
        [("Orders", len(files))]
        if len(files) > 1
        else [
            ("Order ID", file["order_id"]),
            ("Customer Account Number", file["account"]),
            ("Customer Order ID", file["customer_order_id"]),
            ("Action", file["action"]),
        ]
    )
    if file["kind"] == REFUSED:
        figures = [("Cards refused", len(rows)), ("… of these replaced", int((rows["Replaced by"] != "").sum()))]
        return "Codes that were refused", _NOT_SAFE, [*order, *figures, *released_by(file)]
    done = int((rows["Outcome"] == "done").sum())
    figures = [("Cards done", done), ("Cards not done", len(rows) - done)]
    advice = (
        "The network has done what was ordered."
        if done == len(rows)
        else (f"{'None' if not done else 'Not all'} of it was done: the cards marked “not done” are unchanged.")
    )
    title = "What became of these orders" if len(files) > 1 else f"What became of this order: {file['action']}"
    return title, advice, [*order, *figures, *released_by(file)]


def with_advice(refused: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """Refused codes with the `advice` to their reseller."""
    btn = pl.col("code") // PINS
    waiting = refused.filter(pl.col("code_type") == BTN4, pl.col("replaced_by") == 0).select(btn.alias("btn"))["btn"]
    free = capacity.free_pins(waiting, registry.codes_under(waiting)["code"])
    exhausted = free.filter(pl.col("free") == 0)["btn"]
    kind = pl.col("code_type")
    advice = (
        pl.when(pl.col("state") == STATE["surplus"]).then(pl.lit(_SURPLUS))
        .when(pl.col("state") != STATE["refused"]).then(pl.lit(_LATE))
        .when(pl.col("replaced_by") > 0).then(pl.lit(_REPLACED))
        .when(pl.col("lacks") <= 0).then(pl.lit(_COMPLETE))
        .when(kind == SPECIFIED).then(pl.lit(_CHOOSE))
        .when((kind == BTN4) & btn.is_in(exhausted.implode())).then(pl.lit(_NO_PIN))
        .otherwise(pl.lit(_ORDER_AGAIN))
    )  # fmt: skip
    return refused.with_columns(advice=advice)
