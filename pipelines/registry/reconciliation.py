"""What the night reads from the registry and writes to it."""

from typing import Any, Final

import polars as pl

from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.records import NightRecords, OrderOutcomes, ReportMatch
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, Awaiting, issuing
from schemas.codes import NO_STATE, STATES, CardState
from schemas.orders import BTN4

STATE: Final = {name: number for number, name in enumerate(STATES)}
TREND: Final = 30
"""So many nights are compared."""
NO_ORDER: Final = 0
"""Stands for the order of a code that was not issued here, and of an Order ID that does not exist."""
NO_CODE: Final = -1
"""Stands for the order of a code that the registry does not hold."""


# -- reports -----------------------------------------------------------------------------------------------------------


def match_codes(registry: Registry, shown: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What is known of the codes that a report shows (`order_id`, `code`); `orders`: see `orders_named`.

    `order_no` and `action` of the order that is named (NO_ORDER and empty where there is none), `owner`, the order of the
    code (NO_ORDER where it is external, NO_CODE where it is not known), its `state` (NO_STATE where it is not known), and
    `done`, the outcome of the named order for the card (see ActionOutcome).
    """
    shown = shown.unique(["order_id", "code"]).join(orders, on="order_id", how="left").sort("code")
    codes = registry.select_with(
        shown.select(pl.col("code").unique(maintain_order=True)),
        {"code": integer("codes.code"), "owner": integer("codes.order_no"), "state": integer("codes.state")},
        "FROM given JOIN codes ON codes.code = given.code",
    )
    actions = registry.select_with(
        shown.filter(~pl.col("action").is_in(issuing())).select("order_no", "code"),
        columns_of("touches", "order_no", "code", "done"),
        "FROM given JOIN touches ON touches.order_no = given.order_no AND touches.code = given.code",
    )
    known = shown.join(codes, on="code", how="left", maintain_order="left")
    known = known.join(actions, on=["order_no", "code"], how="left", maintain_order="left")
    absent = {"order_no": NO_ORDER, "action": "", "owner": NO_CODE, "state": NO_STATE, "done": ActionOutcome.NONE}
    return known.with_columns(pl.col(name).fill_null(value) for name, value in absent.items())


def orders_named(registry: Registry, ids: pl.Series) -> pl.DataFrame:
    """The orders with these Order IDs: `order_id`, `order_no`, `action`."""
    return registry.select_with(
        ids.unique().to_frame("order_id"),
        columns_of("orders", "order_id", "order_no", "action"),
        "FROM given JOIN orders ON orders.order_id = given.order_id",
    )


def enter_report(registry: Registry, event: dict[str, Any], answers: int, match: ReportMatch) -> int:
    """Enter a report with all that follows from it; the event's number. Inside a transaction."""
    number = registry.enter_event(event, answers)
    external = match.external.unique().sort().to_frame("code")
    registry.append("codes", external.with_columns(order_no=NO_ORDER, event=number, state=CardState.EXTERNAL))
    registry.append("unexpected", match.unexpected.with_columns(event=number))
    _apply_transitions(registry, match.moves, number)
    with registry.temp_table(match.done.select("order_no", "code").unique()):
        registry.execute(
            f"""
            UPDATE touches SET done = {ActionOutcome.SHOWN}, settled = {number}
            WHERE done <> {ActionOutcome.SHOWN}
            AND EXISTS (SELECT 1 FROM given WHERE given.order_no = touches.order_no AND given.code = touches.code)
            """
        )
    with registry.temp_table(match.named.select("order_no").unique()):
        registry.execute(
            f"""
            UPDATE orders SET awaiting = {Awaiting.RECONCILIATION}
            WHERE awaiting = {Awaiting.REPORT} AND order_no IN (SELECT order_no FROM given)
            """
        )
    return number


def _apply_transitions(registry: Registry, transitions: pl.DataFrame, event: int) -> None:
    registry.append("moves", transitions.with_columns(event=event))
    with registry.temp_table(transitions.select("code", pl.col("state").cast(pl.Int16))):
        registry.execute("UPDATE codes SET state = given.state FROM given WHERE codes.code = given.code")


def has_open_reports(registry: Registry) -> bool:
    """Whether a report was entered that no night has acted on."""
    rest = "FROM events WHERE kind = 'report' AND night = 0"
    return bool(registry.select({"reports": integer("count(*)")}, rest).item())


# -- the night ---------------------------------------------------------------------------------------------------------


def unconfirmed_cards(registry: Registry) -> pl.DataFrame:
    """Placed cards of orders that reports name and that no report shows: `order_no`, `order_id`, `code_type`, `code`."""
    found = registry.select(
        {**columns_of("orders", "order_no", "order_id", "code_type"), **columns_of("codes", "code")},
        f"""
        FROM orders JOIN codes ON codes.order_no = orders.order_no AND codes.order_no > 0
        WHERE orders.awaiting > 0 AND orders.awaiting = {Awaiting.RECONCILIATION} AND codes.state = {CardState.PLACED}
        """,
    )
    return found.sort("code")  # asked to sort them, SQLite would rather read all codes


def enter_night(registry: Registry, event: dict[str, Any], refused: pl.DataFrame, replaced: pl.DataFrame) -> int:
    """Close every order that reports name; the event's number. Inside a transaction.

    `refused`: `order_no`, `code`; `replaced`: `order_no`, `code` (new), `replaced` (refused).
    """
    number = registry.enter_event(event)
    registry.execute(f"UPDATE events SET night = {event['night']} WHERE kind = 'report' AND night = 0")
    transitions = refused.select("code", "order_no", was=CardState.PLACED, state=CardState.REFUSED)
    _apply_transitions(registry, transitions, number)
    _close_reported_orders(registry, number)
    registry.append("codes", replaced.select("code", "order_no", event=number, state=CardState.PLACED))
    registry.append("replacements", replaced.with_columns(event=number))
    with registry.temp_table(replaced.select("order_no").unique()):
        registry.execute(
            f"""
            UPDATE orders SET awaiting = {Awaiting.REPORT}, since = $1
            WHERE order_no IN (SELECT order_no FROM given)
            """,
            event["at"],
        )
    return number


def _close_reported_orders(registry: Registry, event: int) -> None:
    reported = f"awaiting > 0 AND awaiting = {Awaiting.RECONCILIATION}"  # the first part is that of the index
    registry.execute(
        f"""
        UPDATE touches SET done = {ActionOutcome.NOT_SHOWN}, settled = {event}
        WHERE done = {ActionOutcome.AWAITED} AND order_no IN (SELECT order_no FROM orders WHERE {reported})
        """
    )
    registry.execute(f"UPDATE orders SET awaiting = {Awaiting.NOTHING} WHERE {reported}")


def latest_night(registry: Registry, night: int) -> dict[str, Any] | None:
    """The latest event of a night; None when it has none."""
    rest = f"FROM events WHERE kind = 'night' AND night = {night} ORDER BY event DESC LIMIT 1"
    return next(registry.select(columns_of("events"), rest).iter_rows(named=True), None)


# -- what the night's reports are written from -------------------------------------------------------------------------

_ORDER: Final = {
    **columns_of("orders", "order_no", "order_id"),
    "reseller": text("submission.sender"),
    "folder": text("submission.folder"),
    **columns_of("orders", "account", "order_ref", "action", "code_type"),
    "placed": text("submission.at"),
    **columns_of("orders", "cards", "awaiting", "since"),
}
_CARD: Final = {
    **columns_of("orders", "order_id"),
    "reseller": text("submission.sender"),
    **columns_of("orders", "account", "order_ref", "action", "code_type"),
    "code": integer("codes.code"),
}
_REFUSED: Final = {
    **columns_of("codes", "order_no"),
    **_CARD,
    "folder": text("submission.folder"),
    "state": integer("codes.state"),
    "replaced_by": integer("coalesce(replaced_by.code, 0)"),
}
_SUBMISSION: Final = "JOIN events AS submission ON submission.event = orders.event"
_ORDER_OF_CODE: Final = f"JOIN orders ON orders.order_no = codes.order_no {_SUBMISSION}"


def load_reconciliation(registry: Registry, event: dict[str, Any]) -> NightRecords:
    """What a night did, as of its latest event: the same whenever it is asked, as long as nothing is entered for it."""
    night, number = int(event["night"]), int(event["event"])
    transitions, outcomes = _transition_counts(registry, night), _action_outcomes(registry, night)
    refused = f"""
        codes.code IN (
            SELECT moves.code FROM moves JOIN events ON events.event = moves.event
            WHERE {_of(night)} AND moves.state = {CardState.REFUSED}
        )
    """
    return NightRecords(
        event=event,
        orders=_orders(registry, pl.concat([transitions["order_no"], outcomes["order_no"]])),
        counts=transitions,
        refused=_refused(registry, refused),
        replaced=_replaced(registry, night),
        late=_ready_late(registry, night),
        undone=outcomes,
        unexpected=_unexpected(registry, night),
        awaited=registry.select(
            _ORDER, f"FROM orders {_SUBMISSION} WHERE orders.awaiting > 0 AND orders.event <= {number} ORDER BY orders.order_no"
        ),
        btns=_btns_in_use(registry, number),
        trend=_trend(registry, night),
    )


def _of(night: int) -> str:
    return f"events.night = {night} AND events.kind <> 'orders'"


def _orders(registry: Registry, order_nos: pl.Series) -> pl.DataFrame:
    return registry.select_with(
        order_nos.unique().to_frame("order_no"),
        _ORDER,
        f"FROM given JOIN orders ON orders.order_no = given.order_no {_SUBMISSION} ORDER BY orders.order_no",
    )


def _transition_counts(registry: Registry, night: int) -> pl.DataFrame:
    """How many cards of each order went from one state to another: `order_no`, `was`, `state`, `cards`."""
    columns = {name: integer(f"moves.{name}") for name in ("order_no", "was", "state")}
    return registry.select(
        {**columns, "cards": integer("count(*)")},
        f"""
        FROM moves JOIN events ON events.event = moves.event
        WHERE {_of(night)}
        GROUP BY moves.order_no, moves.was, moves.state
        """,
    )


def _action_outcomes(registry: Registry, night: int) -> pl.DataFrame:
    """What came of the cards in orders that take cards."""
    return registry.select(
        {**columns_of("orders", "order_no"), **_CARD, "code": integer("touches.code"), "done": integer("touches.done")},
        f"""
        FROM touches
        JOIN events ON events.event = touches.settled
        JOIN orders ON orders.order_no = touches.order_no {_SUBMISSION}
        WHERE touches.done <> {ActionOutcome.AWAITED} AND {_of(night)}
        ORDER BY orders.order_no, touches.code
        """,
    )


def _refused(registry: Registry, where: str) -> pl.DataFrame:
    """Codes that are or were refused with the order's fields, their `state` and `replaced_by` (0: by none)."""
    return registry.select(
        _REFUSED,
        f"""
        FROM codes {_ORDER_OF_CODE}
        LEFT JOIN replacements AS replaced_by ON replaced_by.replaced = codes.code
        WHERE {where}
        ORDER BY codes.order_no, codes.code
        """,
    )


def _replaced(registry: Registry, night: int) -> pl.DataFrame:
    return registry.select(
        {**_CARD, "replaced": integer("replacements.replaced")},
        f"""
        FROM replacements
        JOIN events ON events.event = replacements.event
        JOIN codes ON codes.code = replacements.code {_ORDER_OF_CODE}
        WHERE {_of(night)}
        ORDER BY orders.order_no, codes.code
        """,
    )


def _ready_late(registry: Registry, night: int) -> pl.DataFrame:
    """Cards that were refused, and that the network has after all."""
    return registry.select(
        _CARD,
        f"""
        FROM moves
        JOIN events ON events.event = moves.event
        JOIN codes ON codes.code = moves.code {_ORDER_OF_CODE}
        WHERE {_of(night)} AND moves.was = {CardState.REFUSED} AND moves.state = {CardState.READY}
        ORDER BY orders.order_no, codes.code
        """,
    )


def _unexpected(registry: Registry, night: int) -> pl.DataFrame:
    return registry.select(
        {**columns_of("unexpected", "order_id", "code", "held"), **columns_of("events", "file")},
        f"""
        FROM unexpected JOIN events ON events.event = unexpected.event
        WHERE {_of(night)}
        ORDER BY unexpected.event, unexpected.order_id, unexpected.code
        """,
    )


def _btns_in_use(registry: Registry, last_event: int) -> pl.DataFrame:
    return registry.select(
        {"btn": integer("codes.code / 10000")},
        f"""
        FROM codes JOIN orders ON orders.order_no = codes.order_no
        WHERE orders.code_type = '{BTN4}' AND codes.order_no > 0 AND codes.event <= {last_event}
        GROUP BY codes.code / 10000
        ORDER BY codes.code / 10000
        """,
    )


def _trend(registry: Registry, last_night: int) -> pl.DataFrame:
    """How many cards went from one state to another in each of the last nights: `night`, `was`, `state`, `cards`."""
    return registry.select(
        {
            "night": integer("events.night"),
            "was": integer(f"coalesce(moves.was, {NO_STATE})"),
            "state": integer(f"coalesce(moves.state, {NO_STATE})"),
            "cards": integer("count(moves.code)"),
        },
        f"""
        FROM events LEFT JOIN moves ON moves.event = events.event
        WHERE events.kind <> 'orders' AND events.night <= {last_night} AND events.night IN (
            SELECT DISTINCT night FROM events
            WHERE kind = 'night' AND night <= {last_night}
            ORDER BY night DESC LIMIT {TREND}
        )
        GROUP BY events.night, moves.was, moves.state
        ORDER BY events.night
        """,
    )


# -- what became of orders ---------------------------------------------------------------------------------------------


def order_outcomes(registry: Registry, orders: pl.Series) -> OrderOutcomes:
    """What became of the orders with these numbers, as it stands."""
    given = "orders.order_no IN (SELECT order_no FROM given)"
    codes_of_orders = "FROM orders JOIN codes ON codes.order_no = orders.order_no AND codes.order_no > 0"
    released = f"""
        CASE WHEN EXISTS (
            SELECT 1 FROM codes JOIN moves ON moves.code = codes.code
            WHERE codes.order_no = orders.order_no AND codes.order_no > 0 AND moves.state = {CardState.READY}
        ) THEN 1 ELSE 0 END
    """
    with registry.temp_table(orders.to_frame("order_no")):
        return OrderOutcomes(
            orders=registry.select(
                {**_ORDER, "released": integer(released)},
                f"FROM orders {_SUBMISSION} WHERE {given} ORDER BY orders.order_no",
            ),
            ready=registry.select(
                columns_of("codes", "order_no", "code"),
                f"{codes_of_orders} WHERE {given} AND codes.state = {CardState.READY} ORDER BY orders.order_no, codes.code",
            ),
            refused=_refused(registry, f"{given} AND codes.order_no > 0 AND codes.state = {CardState.REFUSED}"),
            undone=registry.select(
                columns_of("touches", "order_no", "code"),
                f"""
                FROM orders JOIN touches ON touches.order_no = orders.order_no
                WHERE {given} AND touches.done = {ActionOutcome.NOT_SHOWN}
                ORDER BY orders.order_no, touches.code
                """,
            ),
        )


def placements(registry: Registry, event: int) -> pl.DataFrame:
    """The cards that a night placed as replacements, with the fields of their order."""
    fields = ("order_no", "order_id", "action", "account", "product", "access_number", "origin", "termination")
    return registry.select(
        {**columns_of("codes", "code"), **columns_of("orders", *fields)},
        f"""
        FROM replacements
        JOIN codes ON codes.code = replacements.code
        JOIN orders ON orders.order_no = codes.order_no
        WHERE replacements.event = {event}
        ORDER BY codes.order_no, codes.code
        """,
    )
