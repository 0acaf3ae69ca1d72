"""What the night reads from the registry and writes to it."""

from typing import Any, Final

import polars as pl

from pipelines.registry.records import NightRecords, OrderOutcomes, ReportMatch
from pipelines.registry.schema import EVENT, INT, TEXT
from pipelines.registry.store import Registry
from schemas.actions import issuing
from schemas.codes import STATES

STATE: Final = {name: number for number, name in enumerate(STATES)}
TREND: Final = 30
"""So many nights are compared."""
_CARD: Final = {"order_no": INT, "order_id": TEXT, "code_type": TEXT, "code": INT}


def match_codes(registry: Registry, shown: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What is known of the codes that a report shows (`order_id`, `code`); `orders` as `named` tells them.

    `order_no` and `action` of the order that is named (0 and empty: there is none), `owner` of the code (its order;
    0 external, -1 not known), its `state` (-1 not known), and `done` of the named order for the card (-1: it does not
    take it).
    """
    shown = shown.unique(["order_id", "code"]).join(orders, on="order_id", how="left").sort("code")
    cards = registry.query_with(
        shown.select(pl.col("code").unique(maintain_order=True)),
        "SELECT c.code, c.order_no, c.state FROM given g JOIN codes c ON c.code = g.code",
        {"code": INT, "owner": INT, "state": INT},
    )
    touches = registry.query_with(
        shown.filter(~pl.col("action").is_in(issuing())).select("order_no", "code"),
        "SELECT t.order_no, t.code, t.done FROM given g JOIN touches t ON t.order_no = g.order_no AND t.code = g.code",
        {"order_no": INT, "code": INT, "done": INT},
    )
    known = shown.join(cards, on="code", how="left", maintain_order="left")
    known = known.join(touches, on=["order_no", "code"], how="left", maintain_order="left")
    absent = {"order_no": 0, "action": "", "owner": -1, "state": -1, "done": -1}
    return known.with_columns(pl.col(name).fill_null(value) for name, value in absent.items())


def orders_named(registry: Registry, ids: pl.Series) -> pl.DataFrame:
    """The orders with these Order IDs: `order_id`, `order_no`, `action`."""
    sql = "SELECT o.order_id, o.order_no, o.action FROM given g JOIN orders o ON o.order_id = g.order_id"
    return registry.query_with(ids.unique().to_frame("order_id"), sql, {"order_id": TEXT, "order_no": INT, "action": TEXT})


def enter_report(registry: Registry, event: dict[str, Any], answers: int, verdict: ReportMatch) -> int:
    """Enter a report with all that follows from it; the event's number. Inside a transaction."""
    number = registry.enter_event(event, answers)
    external = verdict.external.unique().sort().to_frame("code")
    registry.append("codes", external.with_columns(order_no=0, event=number, state=STATE["external"]))
    registry.append("unexpected", verdict.unexpected.with_columns(event=number))
    _apply_transitions(registry, verdict.moves, number)
    with registry.temp_table(verdict.done.select("order_no", "code").unique()):
        registry.execute(
            f"UPDATE touches SET done = 1, settled = {number} WHERE done <> 1 AND EXISTS "
            "(SELECT 1 FROM given g WHERE g.order_no = touches.order_no AND g.code = touches.code)"
        )
    with registry.temp_table(verdict.named.select("order_no").unique()):
        registry.execute("UPDATE orders SET awaiting = 2 WHERE awaiting = 1 AND order_no IN (SELECT order_no FROM given)")
    return number


def _apply_transitions(registry: Registry, moves: pl.DataFrame, event: int) -> None:
    registry.append("moves", moves.with_columns(event=event))
    with registry.temp_table(moves.select("code", pl.col("state").cast(pl.Int16))):
        registry.execute("UPDATE codes SET state = g.state FROM given g WHERE codes.code = g.code")


def has_open_reports(registry: Registry) -> bool:
    """Whether a report was entered that no night has settled."""
    sql = "SELECT count(*) FROM events WHERE kind = 'report' AND night = 0"
    return bool(registry.query(sql, {"n": INT}).item())


def unconfirmed_cards(registry: Registry) -> pl.DataFrame:
    """Placed cards of orders that reports name and that no report shows: `order_no`, `order_id`, `code_type`, `code`."""
    sql = (
        "SELECT o.order_no, o.order_id, o.code_type, c.code FROM orders o JOIN codes c ON c.order_no = o.order_no "
        f"WHERE o.awaiting = 2 AND o.order_no > 0 AND c.order_no > 0 AND c.state = {STATE['placed']}"
    )
    return registry.query(sql, _CARD).sort("code")  # see `cards_under`


def enter_night(registry: Registry, event: dict[str, Any], refused: pl.DataFrame, replaced: pl.DataFrame) -> int:
    """Settle every order that reports name; the event's number. Inside a transaction.

    `refused`: `code`; `replaced`: `order_no`, `code` (new), `replaced` (refused).
    """
    number = registry.enter_event(event)
    registry.execute(f"UPDATE events SET night = {event['night']} WHERE kind = 'report' AND night = 0")
    _apply_transitions(registry, refused.select("code", "order_no", was=STATE["placed"], state=STATE["refused"]), number)
    registry.execute(
        f"UPDATE touches SET done = 2, settled = {number} WHERE done = 0 AND order_no IN "
        "(SELECT order_no FROM orders WHERE awaiting = 2)"
    )
    registry.execute("UPDATE orders SET awaiting = 0 WHERE awaiting = 2")
    registry.append("codes", replaced.select("code", "order_no", event=number, state=STATE["placed"]))
    registry.append("replacements", replaced.with_columns(event=number))
    with registry.temp_table(replaced.select("order_no").unique()):
        registry.execute(
            "UPDATE orders SET awaiting = 1, since = $1 WHERE order_no IN (SELECT order_no FROM given)", event["at"]
        )
    return number


def latest_night(registry: Registry, night: int) -> dict[str, Any] | None:
    """The latest event of a night; None when it has none."""
    columns = ", ".join(EVENT)
    sql = f"SELECT {columns} FROM events WHERE kind = 'night' AND night = {night} ORDER BY event DESC LIMIT 1"
    return next(registry.query(sql, EVENT).iter_rows(named=True), None)


_ORDER: Final = {
    "order_no": INT, "order_id": TEXT, "reseller": TEXT, "folder": TEXT, "account": TEXT, "order_ref": TEXT, "action": TEXT,
    "code_type": TEXT, "placed": TEXT, "cards": INT, "awaiting": INT, "since": TEXT,
}  # fmt: skip
_ORDER_SQL: Final = (
    "o.order_no, o.order_id, p.sender, p.folder, o.account, o.order_ref, o.action, o.code_type, p.at, o.cards, o.awaiting, "
    "o.since"
)


def load_reconciliation(registry: Registry, event: dict[str, Any]) -> NightRecords:
    """What a night did, as of its latest event: the same whenever it is asked, as long as nothing is entered for it."""
    night, number = int(event["night"]), int(event["event"])
    of_night = f"JOIN events e ON e.event = m.event WHERE e.night = {night} AND e.kind <> 'orders'"
    settled = "(SELECT *, settled AS event FROM touches WHERE settled > 0) m"
    order = f"SELECT {_ORDER_SQL} FROM orders o JOIN events p ON p.event = o.event"
    card = {"order_id": TEXT, "reseller": TEXT, "account": TEXT, "order_ref": TEXT, "action": TEXT, "code_type": TEXT,
            "code": INT}  # fmt: skip
    card_sql = "o.order_id, p.sender, o.account, o.order_ref, o.action, o.code_type"
    of_order = "JOIN orders o ON o.order_no = c.order_no JOIN events p ON p.event = o.event"
    get = registry.query
    counts = get(
        f"SELECT m.order_no, m.was, m.state, count(*) FROM moves m {of_night} GROUP BY m.order_no, m.was, m.state",
        {"order_no": INT, "was": INT, "state": INT, "cards": INT},
    )
    undone = get(
        f"SELECT o.order_no, {card_sql}, m.code, m.done FROM {settled} "
        f"JOIN orders o ON o.order_no = m.order_no JOIN events p ON p.event = o.event {of_night} ORDER BY o.order_no, m.code",
        {"order_no": INT, **card, "done": INT},
    )
    touched = pl.concat([counts["order_no"], undone["order_no"]]).unique().to_frame("order_no")
    return NightRecords(
        event,
        registry.query_with(
            touched,
            f"SELECT {_ORDER_SQL} FROM given g JOIN orders o ON o.order_no = g.order_no JOIN events p ON p.event = o.event "
            "ORDER BY o.order_no",
            _ORDER,
        ),
        counts,
        _refused(registry, f"c.code IN (SELECT m.code FROM moves m {of_night} AND m.state = {STATE['refused']})"),
        get(
            f"SELECT {card_sql}, m.code, m.replaced FROM replacements m JOIN codes c ON c.code = m.code {of_order} {of_night} "
            "ORDER BY o.order_no, m.code",
            {**card, "replaced": INT},
        ),
        get(
            f"SELECT {card_sql}, c.code FROM moves m JOIN codes c ON c.code = m.code {of_order} {of_night} "
            f"AND m.was = {STATE['refused']} AND m.state = {STATE['ready']} ORDER BY o.order_no, c.code",
            card,
        ),
        undone,
        get(
            f"SELECT m.order_id, m.code, m.held, e.file FROM unexpected m {of_night} ORDER BY m.event, m.order_id, m.code",
            {"order_id": TEXT, "code": INT, "held": TEXT, "file": TEXT},
        ),
        get(f"{order} WHERE o.awaiting > 0 AND o.event <= {number} ORDER BY o.order_no", _ORDER),
        get(
            f"SELECT DISTINCT c.code / 10000 FROM codes c JOIN orders o ON o.order_no = c.order_no WHERE o.code_type = 'BTN+4' "
            f"AND c.order_no > 0 AND c.event <= {number} ORDER BY 1",
            {"btn": INT},
        ),
        get(
            "SELECT e.night, coalesce(m.was, -1), coalesce(m.state, -1), count(m.code) FROM events e "
            "LEFT JOIN moves m ON m.event = e.event "
            f"WHERE e.kind <> 'orders' AND e.night <= {night} AND e.night IN (SELECT DISTINCT night FROM events "
            f"WHERE kind = 'night' AND night <= {night} ORDER BY night DESC LIMIT {TREND}) "
            "GROUP BY e.night, m.was, m.state ORDER BY e.night",
            {"night": INT, "was": INT, "state": INT, "cards": INT},
        ),
    )


def _refused(registry: Registry, which: str) -> pl.DataFrame:
    """Codes that are or were refused with the order's fields, their `state` and `replaced_by` (0: by none)."""
    sql = (
        "SELECT c.order_no, o.order_id, p.sender, p.folder, o.account, o.order_ref, o.code_type, c.code, c.state, "
        "coalesce(r.code, 0) "
        "FROM codes c JOIN orders o ON o.order_no = c.order_no JOIN events p ON p.event = o.event "
        f"LEFT JOIN replacements r ON r.replaced = c.code WHERE {which} ORDER BY c.order_no, c.code"
    )
    return registry.query(
        sql,
        {"order_no": INT, "order_id": TEXT, "reseller": TEXT, "folder": TEXT, "account": TEXT, "order_ref": TEXT,
         "code_type": TEXT, "code": INT, "state": INT, "replaced_by": INT},
    )  # fmt: skip


def order_outcomes(registry: Registry, orders: pl.Series) -> OrderOutcomes:
    """What became of the orders with these numbers, as it stands."""
    which = "o.order_no IN (SELECT order_no FROM given)"
    released = (
        "CASE WHEN EXISTS (SELECT 1 FROM codes c JOIN moves m ON m.code = c.code WHERE c.order_no = o.order_no "
        "AND c.order_no > 0 "
        f"AND m.state = {STATE['ready']}) THEN 1 ELSE 0 END"
    )
    with registry.temp_table(orders.to_frame("order_no")):
        return OrderOutcomes(
            registry.query(
                f"SELECT {_ORDER_SQL}, {released} FROM orders o JOIN events p ON p.event = o.event WHERE {which} "
                "ORDER BY o.order_no",
                {**_ORDER, "released": INT},
            ),
            registry.query(
                "SELECT o.order_no, c.code FROM orders o JOIN codes c ON c.order_no = o.order_no "
                f"WHERE {which} AND c.order_no > 0 AND c.state = {STATE['ready']} ORDER BY o.order_no, c.code",
                {"order_no": INT, "code": INT},
            ),
            _refused(registry, f"{which} AND c.order_no > 0 AND c.state = {STATE['refused']}"),
            registry.query(
                f"SELECT o.order_no, t.code FROM orders o JOIN touches t ON t.order_no = o.order_no WHERE {which} "
                "AND t.done = 2 ORDER BY o.order_no, t.code",
                {"order_no": INT, "code": INT},
            ),
        )


def placements(registry: Registry, event: int) -> pl.DataFrame:
    """The cards that a night had placed anew, with the fields of their order."""
    sql = (
        "SELECT c.code, o.order_no, o.order_id, o.action, o.account, o.product, o.access_number, o.origin, o.termination "
        "FROM replacements r JOIN codes c ON c.code = r.code JOIN orders o ON o.order_no = c.order_no "
        f"WHERE r.event = {event} ORDER BY c.order_no, c.code"
    )
    fields = ("order_id", "action", "account", "product", "access_number", "origin", "termination")
    return registry.query(sql, {"code": INT, "order_no": INT, **dict.fromkeys(fields, TEXT)})
