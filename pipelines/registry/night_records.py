"""What the reports of nights and orders are written from."""

from typing import Any, Final

import polars as pl

from pipelines.registry.columns import Columns, columns_of, integer, text
from pipelines.registry.records import NightRecords, OrderOutcomes
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome
from schemas.codes import NO_STATE, CardState

TREND: Final = 30
"""So many nights are compared."""

_SUBMISSION: Final = "JOIN events AS submission ON submission.event = orders.event"
_ORDER: Final = {
    **columns_of("orders", "order_pk", "order_id"),
    "reseller": text("submission.source"),
    "folder": text("submission.folder"),
    **columns_of("orders", "account", "customer_order_id", "action", "code_type"),
    "placed": text("submission.at"),
    **columns_of("orders", "cards", "awaiting", "since"),
}
_CARD: Final = {
    **columns_of("orders", "order_id"),
    "reseller": text("submission.source"),
    **columns_of("orders", "account", "customer_order_id", "action", "code_type"),
    **columns_of("cards", "code"),
}
_REFUSED: Final = {
    **columns_of("cards", "order_pk"),
    **_CARD,
    "folder": text("submission.folder"),
    "state": integer("cards.state"),
    "replaced_by": integer("coalesce(replacement.code, 0)"),
}
_REPLACED_BY: Final = """
    LEFT JOIN replacements ON replacements.order_pk = cards.order_pk AND replacements.replaced_serial = cards.serial
    LEFT JOIN cards AS replacement ON replacement.order_pk = cards.order_pk AND replacement.serial = replacements.serial
"""
_CARD_OF_TRANSITION: Final = f"""
    JOIN cards ON cards.order_pk = state_transitions.order_pk AND cards.serial = state_transitions.serial
    JOIN orders ON orders.order_pk = cards.order_pk {_SUBMISSION}
"""
_CARD_OF_ACTION: Final = """
    JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
"""


def load_reconciliation(registry: Registry, event: dict[str, Any]) -> NightRecords:
    """What a night did, as of its latest event: the same whenever it is asked, as long as nothing is entered for it."""
    date, number = int(event["reconciliation_date"]), int(event["event"])
    transitions, outcomes = _transition_counts(registry, date), _action_outcomes(registry, date)
    return NightRecords(
        event=event,
        orders=_orders(registry, pl.concat([transitions["order_pk"], outcomes["order_pk"]])),
        counts=transitions,
        refused=_refused(registry, date),
        replaced=_replaced(registry, date),
        late=_ready_late(registry, date),
        outcomes=outcomes,
        unexpected=_unexpected(registry, date),
        awaited=registry.select(
            _ORDER, f"FROM orders {_SUBMISSION} WHERE orders.awaiting > 0 AND orders.event <= {number} ORDER BY orders.order_pk"
        ),
        btns=_btns(registry, date),
        trend=_trend(registry, date),
    )


def _of(date: int) -> str:
    """The events of a night: itself and the reports that it acted on."""
    return f"events.reconciliation_date > 0 AND events.reconciliation_date = {date}"


def _orders(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    return registry.select_with(
        order_pks.unique().to_frame("order_pk"),
        _ORDER,
        f"FROM given JOIN orders ON orders.order_pk = given.order_pk {_SUBMISSION} ORDER BY orders.order_pk",
    )


def _transition_counts(registry: Registry, date: int) -> pl.DataFrame:
    """How many cards of each order went from one state to another: `order_pk`, `from_state`, `to_state`, `cards`."""
    columns = {name: integer(f"order_transitions.{name}") for name in ("order_pk", "from_state", "to_state")}
    return registry.select(
        {**columns, "cards": integer("CAST(sum(order_transitions.cards) AS BIGINT)")},
        f"""
        FROM events JOIN order_transitions ON order_transitions.event = events.event
        WHERE {_of(date)}
        GROUP BY order_transitions.order_pk, order_transitions.from_state, order_transitions.to_state
        """,
    )


def _action_outcomes(registry: Registry, date: int) -> pl.DataFrame:
    """What came of the cards in orders that take cards (`outcome`)."""
    return registry.select(
        {**columns_of("orders", "order_pk"), **_CARD, **columns_of("card_actions", "outcome")},
        f"""
        FROM events
        JOIN card_actions ON card_actions.settled_event = events.event AND card_actions.settled_event > 0
        JOIN orders ON orders.order_pk = card_actions.order_pk {_SUBMISSION} {_CARD_OF_ACTION}
        WHERE {_of(date)}
        ORDER BY orders.order_pk, cards.order_pk, cards.serial
        """,
    )


def _of_transitions(registry: Registry, columns: Columns, date: int, which: str, joins: str = "") -> pl.DataFrame:
    """The cards that changed their state in a night, by their order and serial."""
    return registry.select(
        columns,
        f"""
        FROM events
        JOIN order_transitions ON order_transitions.event = events.event
        JOIN state_transitions
            ON state_transitions.order_pk = order_transitions.order_pk AND state_transitions.event = order_transitions.event
            AND state_transitions.from_state = order_transitions.from_state
            AND state_transitions.to_state = order_transitions.to_state
        {_CARD_OF_TRANSITION} {joins}
        WHERE {_of(date)} AND {which}
        ORDER BY cards.order_pk, cards.serial
        """,
    )


def _refused(registry: Registry, date: int) -> pl.DataFrame:
    """Codes that were refused with the order's fields, their `state` today and `replaced_by` (0: by none)."""
    return _of_transitions(registry, _REFUSED, date, f"order_transitions.to_state = {CardState.REFUSED}", _REPLACED_BY)


def _ready_late(registry: Registry, date: int) -> pl.DataFrame:
    """Cards that were refused, and that the network has after all."""
    which = f"order_transitions.from_state = {CardState.REFUSED} AND order_transitions.to_state = {CardState.READY}"
    return _of_transitions(registry, _CARD, date, which)


def _replaced(registry: Registry, date: int) -> pl.DataFrame:
    """The cards that replace others, and the codes of those (`replaced`)."""
    return registry.select(
        {**_CARD, "replaced": integer("refused.code")},
        f"""
        FROM events JOIN replacements ON replacements.event = events.event
        JOIN cards ON cards.order_pk = replacements.order_pk AND cards.serial = replacements.serial
        JOIN cards AS refused
            ON refused.order_pk = replacements.order_pk AND refused.serial = replacements.replaced_serial
        JOIN orders ON orders.order_pk = cards.order_pk {_SUBMISSION}
        WHERE {_of(date)}
        ORDER BY cards.order_pk, cards.serial
        """,
    )


def _unexpected(registry: Registry, date: int) -> pl.DataFrame:
    return registry.select(
        {**columns_of("unexpected_codes", "order_id", "code", "explanation"), **columns_of("events", "file_name")},
        f"""
        FROM events JOIN unexpected_codes ON unexpected_codes.event = events.event
        WHERE {_of(date)}
        ORDER BY events.event, unexpected_codes.order_id, unexpected_codes.code
        """,
    )


def _btns(registry: Registry, date: int) -> pl.DataFrame:
    """The BTNs that a night reports: `btn`, `free`."""
    return registry.select(
        {"btn": integer("night_btns.btn"), "free": integer("min(night_btns.free)")},
        f"""
        FROM events JOIN night_btns ON night_btns.event = events.event
        WHERE {_of(date)}
        GROUP BY night_btns.btn ORDER BY night_btns.btn
        """,
    )


def _trend(registry: Registry, last: int) -> pl.DataFrame:
    """How many cards went from one state to another in each of the last nights: `reconciliation_date`, `from_state`,
    `to_state`, `cards`.
    """
    nights = f"""
        SELECT DISTINCT reconciliation_date FROM events
        WHERE reconciliation_date > 0 AND reconciliation_date <= {last}
        ORDER BY reconciliation_date DESC LIMIT {TREND}
    """
    states = {name: integer(f"coalesce(night_figures.{name}, {NO_STATE})") for name in ("from_state", "to_state")}
    return registry.select(
        {
            "reconciliation_date": integer("nights.reconciliation_date"),
            **states,
            "cards": integer("coalesce(night_figures.cards, 0)"),
        },
        f"""
        FROM ({nights}) AS nights
        LEFT JOIN night_figures ON night_figures.reconciliation_date = nights.reconciliation_date
        ORDER BY nights.reconciliation_date
        """,
    )


# -- what became of orders ---------------------------------------------------------------------------------------------


def order_outcomes(registry: Registry, order_pks: pl.Series) -> OrderOutcomes:
    """What became of these orders, as it stands."""
    orders = f"FROM given JOIN orders ON orders.order_pk = given.order_pk {_SUBMISSION}"
    cards = f"{orders} JOIN cards ON cards.order_pk = orders.order_pk"
    by_serial = "ORDER BY cards.order_pk, cards.serial"
    ever_ready = f"cards.state IN ({CardState.READY}, {CardState.BLOCKED}, {CardState.DISCONNECTED})"
    with registry.temp_table(order_pks.unique().to_frame("order_pk"), "order_pk"):
        released = registry.select({"order_pk": integer("DISTINCT cards.order_pk")}, f"{cards} WHERE {ever_ready}")["order_pk"]
        return OrderOutcomes(
            orders=registry.select(_ORDER, f"{orders} ORDER BY orders.order_pk").with_columns(
                released=pl.col("order_pk").is_in(released.implode()).cast(pl.Int64)
            ),
            ready=registry.select(
                columns_of("cards", "order_pk", "serial", "code"),
                f"{cards} WHERE cards.state = {CardState.READY} {by_serial}",
            ),
            refused=registry.select(_REFUSED, f"{cards} {_REPLACED_BY} WHERE cards.state = {CardState.REFUSED} {by_serial}"),
            not_shown=registry.select(
                {**columns_of("card_actions", "order_pk"), **columns_of("cards", "code")},
                f"""
                FROM given JOIN card_actions ON card_actions.order_pk = given.order_pk {_CARD_OF_ACTION}
                WHERE card_actions.outcome = {ActionOutcome.NOT_SHOWN}
                ORDER BY card_actions.order_pk, cards.order_pk, cards.serial
                """,
            ),
        )


def placements(registry: Registry, event: int) -> pl.DataFrame:
    """The cards that a night placed as replacements, with the fields of their order."""
    fields = ("order_pk", "order_id", "action", "account", "product", "access_number", "origin", "termination")
    return registry.select(
        {**columns_of("cards", "code"), **columns_of("orders", *fields)},
        f"""
        FROM replacements
        JOIN cards ON cards.order_pk = replacements.order_pk AND cards.serial = replacements.serial
        JOIN orders ON orders.order_pk = cards.order_pk
        WHERE replacements.event = {event}
        ORDER BY cards.order_pk, cards.serial
        """,
    )
