"""What the reports of submissions are written from."""

from typing import Final

import polars as pl

from pipelines.registry.columns import Columns, columns_of, integer, schema_of, text
from pipelines.registry.database import Database
from pipelines.registry.order_holds import holds_of_events
from pipelines.registry.records import SubmissionRecords
from pipelines.registry.schema import INT, ORDER

_NOT_IN_REPORTS: Final = ("event", "content", "since", "judged_event")
"""The columns of an order that no report of its submission shows."""
_LISTED: Final = 1_000
"""So many orders are listed of a file that was answered before: its first answer has them all."""
_EVENT: Final = {"event": integer("delivery.event")}
_FOLDER: Final = "CASE WHEN placed.source = delivery.source THEN placed.folder ELSE '' END"
_ORDER: Final = {
    **_EVENT,
    **columns_of("orders", *(name for name in ORDER if name not in _NOT_IN_REPORTS)),
    "at": text("placed.at"),
}
_ORDERS: Final = "JOIN orders ON orders.event = delivery.original_event"
_PLACED: Final = "JOIN events AS placed ON placed.event = orders.event"
_DUPLICATE: Final = {**_ORDER, "placed_in": text(_FOLDER)}


def submission_records(registry: Database, events: list[int], *, with_codes: bool = True) -> SubmissionRecords:
    """All that the reports of these events' files say. `with_codes`: with the cards that the orders issued."""
    known = _events(registry, events)
    is_again = (pl.col("kind") == "orders") & (pl.col("original_event") != pl.col("event"))
    own, again = _Given(registry, known.filter(~is_again)), _Given(registry, known.filter(is_again))
    duplicates = pl.concat([_duplicates(own), _first_orders(again), _first_duplicates(again)]).sort("event", "order_pk")
    return SubmissionRecords(
        events=known,
        orders=own.select(_ORDER, f"{_ORDERS} {_PLACED}", "orders.order_pk"),
        codes=(own if with_codes else own.none()).select(
            {**_EVENT, **columns_of("cards", "order_pk", "serial", "code")},
            f"{_ORDERS} JOIN cards ON cards.order_pk = orders.order_pk AND cards.serial <= orders.cards",
            "cards.order_pk, cards.serial",
        ),
        card_actions=own.select(
            {**_EVENT, **columns_of("card_actions", "order_pk", "outcome"), **columns_of("cards", "code")},
            f"""
            {_ORDERS}
            JOIN card_actions ON card_actions.order_pk = orders.order_pk
            JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
            """,
            "card_actions.order_pk, card_actions.card_order_pk, card_actions.card_serial",
        ),
        duplicate_orders=duplicates,
        rejected=_of_table(own, "rejected_rows"),
        findings=_of_table(own, "findings").rename({"column_name": "column"}),
        approvals=own.select(
            {**_EVENT, **columns_of("approvals", "about", "decision")},
            "JOIN approvals ON approvals.event = delivery.original_event",
            "delivery.event",
        ),
        order_files=own.select(
            {
                **_EVENT,
                **columns_of("order_files", "order_pk", "kind", "part", "cards"),
                "date": integer("night.reconciliation_date"),
            },
            f"""
            {_ORDERS}
            JOIN order_files ON order_files.order_pk = orders.order_pk
            JOIN events AS night ON night.event = order_files.event
            """,
            "order_files.order_pk, order_files.event, order_files.kind",
        ),
        states=_states(registry, duplicates.select("event", "order_pk")),
        repeated=_repeated(again),
        repeated_reasons=again.select(
            {**_EVENT, **columns_of("findings", "reason"), "rows": integer("count(DISTINCT findings.source_row)")},
            "JOIN findings ON findings.event = delivery.original_event GROUP BY delivery.event, findings.reason",
            "delivery.event, findings.reason",
        ),
        holds=holds_of_events(registry, known.filter(~is_again).select("event")),
    )


class _Given:
    """Some events, of which their tables are asked."""

    def __init__(self, registry: Database, events: pl.DataFrame) -> None:
        self._registry = registry
        self._events = events.select(asked="event")

    def none(self) -> "_Given":
        """No events."""
        return _Given(self._registry, self._events.rename({"asked": "event"}).clear())

    def select(self, columns: Columns, joins: str, order_by: str) -> pl.DataFrame:
        """Rows of tables that are joined to the events, called `delivery`."""
        rest = f"FROM given JOIN events AS delivery ON delivery.event = given.asked {joins} ORDER BY {order_by}"
        return self._registry.select_with(self._events, columns, rest)


def _events(registry: Database, events: list[int]) -> pl.DataFrame:
    """The events. One that repeats another's answer knows nothing of its own file: that was not read again."""
    return _Given(registry, pl.DataFrame({"event": events}, {"event": INT})).select(
        {**columns_of("events", alias="delivery"), **columns_of("events", "rows", "notes", alias="original")},
        "JOIN events AS original ON original.event = delivery.original_event",
        "delivery.event",
    )


def _of_table(given: _Given, table: str) -> pl.DataFrame:
    own = {name: column for name, column in columns_of(table).items() if name != "event"}
    rows = f"JOIN {table} ON {table}.event = delivery.original_event"
    return given.select({**_EVENT, **own}, rows, f"{table}.event, {table}.source_row")


def _duplicates(given: _Given, limit: str = "") -> pl.DataFrame:
    """Orders of files that were placed before."""
    return given.select(
        {**_DUPLICATE, "rows": integer("duplicate_orders.rows")},
        f"""
        JOIN duplicate_orders ON duplicate_orders.event = delivery.original_event {limit}
        JOIN orders ON orders.order_pk = duplicate_orders.order_pk {_PLACED}
        """,
        "orders.order_pk",
    )


def _first_duplicates(again: _Given) -> pl.DataFrame:
    return _duplicates(again, f"AND duplicate_orders.order_pk < {_end('duplicate_orders')}")


def _first_orders(again: _Given) -> pl.DataFrame:
    """The first orders that the earlier answer to a file placed."""
    return again.select(_DUPLICATE, f"{_ORDERS} AND orders.order_pk < {_end('orders')} {_PLACED}", "orders.order_pk")


def _end(table: str) -> str:
    """The order after the first ones of an event: those of a file are numbered one after the other."""
    return f"{_LISTED} + (SELECT min(f.order_pk) FROM {table} AS f WHERE f.event = delivery.original_event)"


def _states(registry: Database, orders: pl.DataFrame) -> pl.DataFrame:
    """How many cards of orders (`event`, `order_pk`) are in which state, or had which outcome; -1 where there is none."""
    given = orders.select("order_pk").unique().sort("order_pk")
    columns = {"order_pk": integer("given.order_pk"), "state": integer("-1"), "outcome": integer("-1"),
               "cards": integer("count(*)")}  # fmt: skip
    if given.is_empty():
        return pl.DataFrame(schema=schema_of({**_EVENT, **columns}))
    cards = registry.select_with(
        given,
        {**columns, "state": integer("cards.state")},
        "FROM given JOIN cards ON cards.order_pk = given.order_pk GROUP BY given.order_pk, cards.state",
    )
    changed = registry.select_with(
        given,
        {**columns, "outcome": integer("card_actions.outcome")},
        """
        FROM given JOIN card_actions ON card_actions.order_pk = given.order_pk
        GROUP BY given.order_pk, card_actions.outcome
        """,
    )
    return orders.join(pl.concat([cards, changed]), on="order_pk", maintain_order="left_right")


def _repeated(again: _Given) -> pl.DataFrame:
    """What came of the earlier answer to each file."""
    placed = "(SELECT count(*) FROM orders WHERE orders.event = delivery.original_event)"
    earlier = "(SELECT count(*) FROM duplicate_orders WHERE duplicate_orders.event = delivery.original_event)"
    rejected = "(SELECT count(*) FROM rejected_rows WHERE rejected_rows.event = delivery.original_event)"
    orders = """
        (
            SELECT count(*) FROM (
                SELECT DISTINCT rejected_rows.account, rejected_rows.customer_order_id FROM rejected_rows
                WHERE rejected_rows.event = delivery.original_event AND NOT EXISTS (
                    SELECT 1 FROM orders
                    WHERE orders.event = rejected_rows.event AND orders.account = rejected_rows.account
                    AND orders.customer_order_id = rejected_rows.customer_order_id
                )
            ) AS rejected_orders
        )
    """
    return again.select(
        {
            **_EVENT,
            "folder": text("original.folder"),
            "orders": integer(f"{placed} + {earlier}"),
            "orders_rejected": integer(orders),
            "rows_rejected": integer(rejected),
        },
        "JOIN events AS original ON original.event = delivery.original_event",
        "delivery.event",
    )
