"""What has become of orders that a file repeats: the states of their cards today, and where their releases lie."""

from typing import Final

import polars as pl

from pipelines.registry.records import SubmissionRecords
from schemas.actions import ActionOutcome
from schemas.codes import CardState

_STATES: Final = {
    "Awaited": (CardState.PLACED, ActionOutcome.AWAITED),
    "Ready": (CardState.READY, None),
    "Blocked": (CardState.BLOCKED, None),
    "Disconnected": (CardState.DISCONNECTED, None),
    "Refused": (CardState.REFUSED, None),
    "Surplus": (CardState.SURPLUS, None),
    "Done": (None, ActionOutcome.SHOWN),
    "Not done": (None, ActionOutcome.NOT_SHOWN),
}
"""Columns, and the states of cards, or outcomes of orders that take cards, that each counts."""


def placed_before(records: SubmissionRecords) -> pl.DataFrame:
    """`already-placed.csv`: a row for each order that was placed before, with counts of its cards and no code. Times are ISO
    8601 with their zone.
    """
    event = records.events.row(0, named=True)
    counts = records.states.group_by("order_pk").agg(_count(*wanted).alias(title) for title, wanted in _STATES.items())
    named = records.duplicate_orders.join(counts, on="order_pk", how="left", maintain_order="left")
    folder = pl.when(pl.col("placed_in") != "").then(pl.format("outbox/{}/{}", pl.lit(event["source"]), "placed_in"))
    return named.select(
        pl.col("order_id").alias("Order ID"),
        pl.col("account").alias("Customer Account Number"),
        pl.col("customer_order_id").alias("Customer Order ID"),
        pl.col("action").alias("Action"),
        pl.col("at").alias("Placed"),
        pl.col("cards").alias("Cards"),
        *(pl.col(title).fill_null(0) for title in _STATES),
        folder.fill_null("").alias("Releases in"),
    )


def _count(state: CardState | None, outcome: ActionOutcome | None) -> pl.Expr:
    of_state = pl.lit(value=False) if state is None else pl.col("state") == int(state)
    of_outcome = pl.lit(value=False) if outcome is None else pl.col("outcome") == int(outcome)
    return pl.col("cards").filter(of_state | of_outcome).sum()
