"""All cards as they are now, a portion at a time: what `cards export` writes."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import polars as pl

from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.lists import first_event, first_order
from pipelines.registry.queries import CHANGED, changing
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, issuing

_ORDERS: Final = 1_000
"""So many orders are looked through at once."""
_FIELDS: Final = ("order_pk", "order_id", "account", "customer_order_id", "code_type", "cards", *CHANGED)


class CardFilter(NamedTuple):
    """Whose cards are asked for: of orders placed from a time on and before another (`2026-11-24T00:00:00`), of a reseller; an
    empty value asks for all.
    """

    since: str = ""
    before: str = ""
    reseller: str = ""


def order_portions(registry: Registry, wanted: CardFilter) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """The orders that issued cards, a portion at a time: the last key looked at and the last of all, and the orders, with
    `reseller`, `placed`, and the range of their serials (`first_serial`, `last_serial`), replacements included.
    """
    last = int(registry.select({"last": integer("coalesce(max(orders.order_pk), 0)")}, "FROM orders").item())
    event = first_event(registry, wanted.since)
    start = 1 if event == 0 else last + 1 if event is None else first_order(registry, event)
    for low in range(start, last + 1, _ORDERS):
        high = min(low + _ORDERS - 1, last)
        yield high, last, _orders(registry, wanted, low, high)


def _orders(registry: Registry, wanted: CardFilter, low: int, high: int) -> pl.DataFrame:
    most = "(SELECT max(cards.serial) FROM cards WHERE cards.order_pk = orders.order_pk)"
    found = registry.select(
        {
            **columns_of("orders", *_FIELDS),
            "reseller": text("events.source"),
            "placed": text("events.at"),
            "first_serial": integer("1"),
            "last_serial": integer(f"coalesce({most}, 0)"),
        },
        f"""
        FROM orders JOIN events ON events.event = orders.event
        WHERE orders.order_pk BETWEEN {low} AND {high} AND orders.action IN ({", ".join(f"'{name}'" for name in issuing())})
        ORDER BY orders.order_pk
        """,
    )
    is_wanted = (
        (pl.col("placed") >= wanted.since)
        & ((pl.col("placed") < wanted.before) | pl.lit(not wanted.before))
        & ((pl.col("reseller") == wanted.reseller) | pl.lit(not wanted.reseller))
    )
    return found.filter(is_wanted, pl.col("last_serial") > 0)


def cards(registry: Registry, ranges: pl.DataFrame, *, codes: bool) -> pl.DataFrame:
    """The cards in ranges of orders (see `order_portions`) as they are now, by order and serial: `serial`, `state`, the fields
    of the order with what changes have set since, when each was `placed`, the serial of the card that it replaces
    (`replaced_serial`, 0: none), and the `code` if codes are asked for.
    """
    keys = ranges.select("order_pk", "first_serial", "last_serial", "cards")
    found = registry.select_with(
        keys,
        {
            **columns_of("cards", "order_pk", "serial"),
            "state": integer("cards.state"),
            **(columns_of("cards", "code") if codes else {}),
            "replaced_serial": integer("coalesce(replacements.replaced_serial, 0)"),
            "replaced_at": text("coalesce(events.at, '')"),
        },
        """
        FROM given
        JOIN cards ON cards.order_pk = given.order_pk AND cards.serial BETWEEN given.first_serial AND given.last_serial
        LEFT JOIN replacements
            ON cards.serial > given.cards AND replacements.order_pk = cards.order_pk AND replacements.serial = cards.serial
        LEFT JOIN events ON events.event = replacements.event
        """,
    ).sort("order_pk", "serial")
    orders = ranges.drop("first_serial", "last_serial", "cards").unique("order_pk")
    joined = found.join(orders, on="order_pk", maintain_order="left").join(
        _changes(registry, ranges["order_pk"]), on=["order_pk", "serial"], how="left", suffix="_set", maintain_order="left"
    )
    placed = pl.when(pl.col("replaced_at") != "").then("replaced_at").otherwise("placed").alias("placed")
    return joined.with_columns(placed, *(pl.coalesce(f"{name}_set", name).alias(name) for name in CHANGED))


def _changes(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    """What changes that the network has carried out set of cards of these orders: `order_pk`, `serial`, and the values (null:
    as it was).
    """
    changes = registry.select_with(
        order_pks.unique().sort().to_frame("order_pk"),
        {
            "order_pk": integer("card_actions.card_order_pk"),
            "serial": integer("card_actions.card_serial"),
            "shown_event": integer("card_actions.settled_event"),
            "taken_by": integer("card_actions.order_pk"),
            **columns_of("orders", *CHANGED),
        },
        f"""
        FROM given
        JOIN card_actions ON card_actions.card_order_pk = given.order_pk AND card_actions.outcome = {ActionOutcome.SHOWN}
        JOIN orders ON orders.order_pk = card_actions.order_pk AND orders.action IN ({changing()})
        """,
    ).sort("shown_event", "taken_by")
    names = pl.col(CHANGED)
    set_to = changes.with_columns(pl.when(names != "").then(names)).group_by("order_pk", "serial", maintain_order=True)
    return set_to.agg(names.drop_nulls().last())
