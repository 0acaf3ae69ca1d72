"""What the operator decides: about reports on hold, and about surplus cards."""

from typing import Any, Final

import polars as pl

from pipelines.registry import reconciliation
from pipelines.registry.audit_trail import Entry, keep_decision
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.schema import INT
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, ApprovalDecision
from schemas.codes import CardState
from schemas.sources import NETWORK

MOST_LISTED: Final = 10_000
"""So many surplus cards are listed, and disconnected at once."""

_REPORT: Final = {
    **columns_of("approvals", "event", "about", "decision", "decided_by", "why", "decided_at", "used_event"),
    **columns_of("events", "file_name", "folder", "digest", "at", "file_at", "archived"),
}


def reports_on_hold(registry: Registry) -> pl.DataFrame:
    """The reports that wait for a decision, with why and where they lie."""
    waiting = f"approvals.decision = 0 AND approvals.decision = {ApprovalDecision.WAITING}"  # the first part is the index's
    rest = f"FROM approvals JOIN events ON events.event = approvals.event WHERE {waiting} ORDER BY approvals.event"
    return registry.select(_REPORT, rest)


def report_on_hold(registry: Registry, folder: str) -> dict[str, Any] | None:
    """The report with this folder in `outbox/network` that is or was on hold; None: there is none."""
    rest = (
        f"FROM events JOIN approvals ON approvals.event = events.event WHERE events.folder = $1 AND events.source = '{NETWORK}'"
    )
    return next(registry.select(_REPORT, rest, folder).iter_rows(named=True), None)


def decide(registry: Registry, event: int, decision: ApprovalDecision, by: str, why: str, entry: Entry) -> bool:
    """Keep what was decided about a report on hold, with an entry in the audit trail; False when it was decided before."""
    waiting = f"approvals WHERE event = {event} AND decision = {ApprovalDecision.WAITING}"
    return keep_decision(registry, waiting, decision, by, why, entry)


_SURPLUS: Final = {
    **columns_of("cards", "order_pk", "serial", "code"),
    **columns_of("orders", "order_id", "account", "customer_order_id", "cards", "granted", "confirmed"),
    "reseller": text("events.source"),
    "awaited": integer(
        f"""
        (
            SELECT count(*) FROM card_actions
            WHERE card_actions.card_order_pk = cards.order_pk AND card_actions.card_serial = cards.serial
            AND card_actions.outcome = {ActionOutcome.AWAITED}
        )
        """
    ),
}


def surplus_cards(registry: Registry, order_id: str = "") -> pl.DataFrame:
    """The surplus cards, of one order or of all, with the fields of their order; `awaited`: 1 where an order for the card
    waits for the network.
    """
    of_order = "AND orders.order_id = $1" if order_id else ""
    rest = f"""
        FROM cards JOIN orders ON orders.order_pk = cards.order_pk JOIN events ON events.event = orders.event
        WHERE cards.state = {CardState.SURPLUS} {of_order}
        ORDER BY cards.order_pk, cards.serial LIMIT {MOST_LISTED}
    """
    return registry.select(_SURPLUS, rest, *([order_id] if order_id else []))


def grant(registry: Registry, order_id: str, event: dict[str, Any]) -> int:
    """Let an order have its surplus cards: they become ready, and the next night releases them; how many they are."""
    with registry.transaction():
        cards = surplus_cards(registry, order_id).filter(pl.col("awaited") == 0)
        if cards.is_empty():
            return 0
        number = registry.enter_event(event)
        registry.execute(f"UPDATE events SET delivered = 1 WHERE event = {number}")
        states = {"from_state": pl.lit(CardState.SURPLUS.value, INT), "to_state": pl.lit(CardState.READY.value, INT)}
        transitions = cards.select("order_pk", "serial", **states, event=pl.lit(number, INT))
        reconciliation.apply_transitions(registry, transitions)
        order_pk = cards["order_pk"][0]
        registry.execute(
            f"""
            UPDATE orders SET granted = granted + {len(cards)}, confirmed = confirmed + {len(cards)}
            WHERE order_pk = {order_pk}
            """
        )
    return len(cards)
