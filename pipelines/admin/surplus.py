"""Surplus cards: the network has them, and their order has all it asked for. They are disconnected or granted."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.common.durable_files import write_atomically
from pipelines.common.errors import UsageError
from pipelines.common.words import count
from pipelines.delivery.csv_files import write_csv
from pipelines.registry import audit_trail, decisions
from pipelines.run import Run
from schemas.orders import HEADERS
from schemas.sources import NETWORK


@dataclass(frozen=True)
class SurplusOrder:
    """An order with surplus `cards`, their `serials`, and how many of them a Disconnect is placed for (`disconnecting`)."""

    order_id: str
    reseller: str
    customer_account: str
    customer_order_id: str
    ordered: int
    released: int
    cards: int
    disconnecting: int
    serials: list[str]


def surplus_orders(run: Run, order_id: str = "") -> list[SurplusOrder]:
    """The orders with surplus cards, or one of them; of 10,000 cards at the most."""
    cards = decisions.surplus_cards(run.registry, order_id)
    orders = cards.group_by("order_pk", maintain_order=True).agg(
        pl.col("order_id", "reseller").first(),
        pl.col("account").first().alias("customer_account"),
        pl.col("customer_order_id").first(),
        (pl.col("cards") + pl.col("granted")).first().alias("ordered"),
        pl.col("confirmed").first().alias("released"),
        pl.len().cast(pl.Int64).alias("cards"),
        (pl.col("awaited") > 0).sum().cast(pl.Int64).alias("disconnecting"),
        pl.format("{}/{}", "order_id", "serial").alias("serials"),
    )
    return [SurplusOrder(**row) for row in orders.drop("order_pk").iter_rows(named=True)]


def grant(run: Run, order_id: str, by: str, why: str) -> int:
    """Let an order have its surplus cards; how many. The next night releases them.

    Raises UsageError without a name and a reason, and when the order has none.
    """
    if not by.strip() or not why.strip():
        raise UsageError("Say who decides, and why: --by NAME --why TEXT.")
    event = {"kind": "grant", "source": NETWORK, "digest": "", "file_name": order_id, "at": run.runtime.timestamp(), "rows": 0,
             "notes": f"Granted by {by}: {why}", "readable": 0}  # fmt: skip
    granted = decisions.grant(run.registry, order_id, event)
    if not granted:
        raise UsageError(f"Order {order_id} has no surplus card that could be granted. See: cards surplus.")
    return granted


def disconnect(run: Run, order_id: str = "") -> tuple[Path, int] | None:
    """Drop an order file of the operator that disconnects the surplus cards for which that was not ordered yet; the file, and
    how many cards. None when there is none.
    """
    cards = decisions.surplus_cards(run.registry, order_id).filter(pl.col("awaited") == 0)
    if cards.is_empty():
        return None
    now = run.runtime.now()
    rows = cards.select(
        pl.lit("Disconnect").alias(HEADERS["action"]),
        pl.col("account").alias(HEADERS["account"]),
        pl.lit(f"SP-{now:%y%m%d%H%M}").alias(HEADERS["customer_order_id"]),
        pl.col("code").cast(pl.String).alias(HEADERS["code"]),
    )
    path = run.settings.inbox / f"surplus-{now:%Y%m%d-%H%M}.csv"
    write_atomically(path, lambda staged: write_csv(rows, staged))
    about = count(len(rows), "card")
    audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "ordered a Disconnect of surplus cards", path.name, about))
    return path, len(rows)
