"""Orders that wait for approval: what waits, what was decided, and what became of it.

An order that asks for more codes than may be placed without approval is not placed; it stands here with the digest of what it
asks for. An approval is for just that content, is used once, and ends when the reseller cancels the order or sends another one
with the same Customer Order ID.
"""

from typing import Any, Final

import polars as pl

from pipelines.registry.audit_trail import Entry, keep_decision
from pipelines.registry.columns import columns_of, integer
from pipelines.registry.database import Database
from pipelines.registry.schema import INT, TEXT
from schemas.actions import ApprovalDecision

KEYS: Final = ["account", "customer_order_id"]
MOST_LISTED: Final = 10_000
NO_HOLDS: Final = pl.DataFrame(
    schema={"account": TEXT, "customer_order_id": TEXT, "content": TEXT, "hold": INT, "decision": INT, "event": INT}
)
"""A frame of holds (see `holds_of`) of which there are none."""
_OPEN: Final = "order_holds.closed_event = 0"
"""Waits for a decision, or for the answer that follows from it."""
_LISTED: Final = {
    **columns_of("order_holds", "hold", "event", *KEYS, "codes", "at", "decision", "decided_by", "why", "decided_at"),
    **columns_of("events", "source", "folder", "file_name"),
}


def holds_of(registry: Database, orders: pl.DataFrame) -> pl.DataFrame:
    """What is known of orders with these IDs (`account`, `customer_order_id`) that are not placed: which contents wait, are
    approved or rejected: `account`, `customer_order_id`, `content`, `hold`, `decision`, `event`.
    """
    return registry.select_with(
        orders.select(KEYS),
        columns_of("order_holds", *NO_HOLDS.columns),
        f"""
        FROM given
        JOIN order_holds
            ON order_holds.account = given.account AND order_holds.customer_order_id = given.customer_order_id
        WHERE order_holds.order_pk = 0 AND order_holds.decision <= {ApprovalDecision.REJECTED}
        ORDER BY order_holds.hold
        """,
    )


def open_holds(registry: Database) -> pl.DataFrame:
    """The orders that wait for approval, or are decided and not answered again yet, earliest first; MOST_LISTED at the most."""
    rest = f"""
        FROM order_holds JOIN events ON events.event = order_holds.event
        WHERE {_OPEN} ORDER BY order_holds.hold LIMIT {MOST_LISTED}
    """
    return registry.select(_LISTED, rest)


def decided_holds(registry: Database) -> pl.DataFrame:
    """Orders that are approved or rejected, of which the reseller has no new answer yet: `hold`, `event` of the submission that
    they waited because of, `source`, `account`, `customer_order_id`; earliest first.
    """
    rest = f"""
        FROM order_holds JOIN events ON events.event = order_holds.event
        WHERE {_OPEN} AND order_holds.decision <> {ApprovalDecision.WAITING} ORDER BY order_holds.hold
    """
    return registry.select({**columns_of("order_holds", "hold", "event", *KEYS), **columns_of("events", "source")}, rest)


def latest_answer(registry: Database, event: int) -> dict[str, Any]:
    """The submission that answered a file last: this event, or the last of those that answered it again: `event`, `source`,
    `file_name`, `folder`, `at`, `digest`.
    """
    columns = columns_of("events", "event", "source", "file_name", "folder", "at", "digest")
    found = registry.select(columns, f"FROM events WHERE events.event = {event}").row(0, named=True)
    rest = f"FROM events WHERE events.replays = {found['event']} AND events.replays > 0"
    while len(later := registry.select(columns, rest)):
        found = later.row(0, named=True)
        rest = f"FROM events WHERE events.replays = {found['event']} AND events.replays > 0"
    return found


def hold_by_number(registry: Database, hold: int) -> dict[str, Any] | None:
    """The order with this number of a hold, also one that waits no more; None: there is none."""
    rest = f"FROM order_holds JOIN events ON events.event = order_holds.event WHERE order_holds.hold = {hold}"
    columns = {**_LISTED, "order_pk": integer("order_holds.order_pk")}
    return next(registry.select(columns, rest).iter_rows(named=True), None)


def decide(registry: Database, hold: int, decision: ApprovalDecision, by: str, why: str, entry: Entry) -> bool:
    """Keep what was decided about a waiting order, with an entry in the audit trail; False when it waits no more."""
    waiting = f"order_holds WHERE hold = {hold} AND order_pk = 0 AND decision = {ApprovalDecision.WAITING}"
    return keep_decision(registry, waiting, decision, by, why, entry)


def enter_holds(registry: Database, orders: pl.DataFrame) -> None:
    """Enter orders that wait for approval (`event`, `at`, `account`, `customer_order_id`, `content`, `codes`). An order that
    waits already keeps its hold, which gets the new submission. Inside a transaction.
    """
    if orders.is_empty():
        return
    waiting = holds_of(registry, orders).filter(decision=ApprovalDecision.WAITING)
    known = orders.join(waiting.select(*KEYS, "content", "hold"), on=[*KEYS, "content"], how="left")
    registry.execute_with(
        known.drop_nulls("hold").select("hold", "event"),
        "hold",
        "UPDATE order_holds SET event = given.event FROM given WHERE order_holds.hold = given.hold",
    )
    new = known.filter(pl.col("hold").is_null())
    first = int(registry.select({"next": integer("coalesce(max(hold), 0) + 1")}, "FROM order_holds").item())
    nothing = dict.fromkeys(("decided_by", "why", "decided_at"), pl.lit(""))
    unset: dict[str, Any] = {**nothing, "decision": 0, "order_pk": 0, "closed_event": 0}
    registry.append("order_holds", new.with_columns(hold=pl.int_range(pl.len(), dtype=INT) + first, **unset))


def close_holds(registry: Database, closed: pl.DataFrame) -> None:
    """Close open holds of orders (`account`, `customer_order_id`, `content`, `event`, `at`, `source`, `order_pk`, `cancelled`)
    that were placed by that event, cancelled by it, or sent again with another content. Inside a transaction.
    """
    if closed.is_empty() or not _has_any(registry):
        return
    of_orders = holds_of(registry, closed).filter(pl.col("decision") <= ApprovalDecision.APPROVED)
    found = of_orders.drop("event").join(closed, on=KEYS, suffix="_now")
    same = pl.col("content") == pl.col("content_now")
    decision = (
        pl.when("cancelled").then(pl.lit(ApprovalDecision.CANCELLED.value))
        .when(same).then("decision").otherwise(pl.lit(ApprovalDecision.SUPERSEDED.value))
    )  # fmt: skip
    ended = found.filter(pl.col("cancelled") | (pl.col("order_pk") > 0) | ~same).select(
        "hold", "event", "at", "source", now=decision.cast(INT), is_decided=(decision != pl.col("decision")).cast(INT),
        order_pk=pl.when(same & ~pl.col("cancelled")).then("order_pk").otherwise(0),
    )  # fmt: skip
    registry.execute_with(
        ended,
        "hold",
        """
        UPDATE order_holds SET
            decision = given.now, order_pk = given.order_pk, closed_event = given.event,
            decided_by = CASE given.is_decided WHEN 1 THEN given.source ELSE order_holds.decided_by END,
            decided_at = CASE given.is_decided WHEN 1 THEN given.at ELSE order_holds.decided_at END
        FROM given WHERE order_holds.hold = given.hold
        """,
    )


def _has_any(registry: Database) -> bool:
    """Whether any order ever waited: where none needs approval, no more is asked."""
    return not registry.select(
        {"hold": integer("order_holds.hold")}, "FROM order_holds WHERE order_holds.hold > 0 LIMIT 1"
    ).is_empty()


def note_answered(registry: Database, answered: pl.DataFrame) -> None:
    """Note that events (`event`) answer what was decided about orders (`hold`). Inside a transaction."""
    registry.execute_with(
        answered.select("hold", "event"),
        "hold",
        """
        UPDATE order_holds SET closed_event = given.event FROM given
        WHERE order_holds.hold = given.hold AND order_holds.closed_event = 0
        """,
    )


def outdated_holds(registry: Database, seen: pl.DataFrame) -> pl.Series:
    """Files (`file`) that were decided by holds which were decided, used or cancelled meanwhile; `seen`: `file`, `account`,
    `customer_order_id`, and `hold` and `decision` of each hold, null where there was none. Inside a transaction.
    """
    if seen.is_empty():
        return seen["file"]
    now = holds_of(registry, seen.select(KEYS).unique()).select(*KEYS, "hold", "decision")
    before = seen.drop_nulls("hold").select(*KEYS, "hold", "decision").unique()
    changed = pl.concat([before.join(now, on=before.columns, how="anti"), now.join(before, on=before.columns, how="anti")])
    return seen.join(changed, on=KEYS, how="semi")["file"]


def holds_of_events(registry: Database, events: pl.DataFrame) -> pl.DataFrame:
    """Holds that the answers of events (`event`) name: those that they put on hold last, and those that they closed."""
    columns = {
        "event": integer("given.event"),
        **columns_of("order_holds", "hold", *KEYS, "codes", "decision", "decided_at", "order_pk"),
        "held_event": integer("order_holds.event"),
        "closed_here": integer("CASE order_holds.closed_event WHEN given.event THEN 1 ELSE 0 END"),
    }  # fmt: skip
    orders = registry.select_with(events, columns, "FROM given JOIN order_holds ON order_holds.event = given.event")
    closed = registry.select_with(
        events,
        columns,
        "FROM given JOIN order_holds ON order_holds.closed_event = given.event AND order_holds.closed_event > 0",
    )
    return pl.concat([orders, closed]).unique(["event", "hold"]).sort("event", "hold")


def approval_of(registry: Database, order_pk: int) -> str:
    """Who approved a placed order, when and why; empty for one that needed no approval."""
    rest = f"""
        FROM order_holds WHERE order_holds.order_pk = {order_pk} AND order_holds.order_pk > 0
        AND order_holds.decision = {ApprovalDecision.APPROVED}
    """
    found = registry.select(columns_of("order_holds", "decided_by", "why", "decided_at"), rest)
    return "".join(f"by {by} at {at}: {why}" for by, why, at in found.iter_rows())
