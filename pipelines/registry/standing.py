"""How things stand, in a few figures that cost the same in a small and in a large registry."""

from datetime import datetime
from typing import Final, NamedTuple

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.database import Database
from schemas.actions import ApprovalDecision

COUNTED: Final = 100_000
"""Awaited orders are counted up to so many."""


class LastNight(NamedTuple):
    """The latest night: when it began, how long it took until everything was written (None: it is not written yet), and
    whether all of it is delivered.
    """

    begun: datetime
    seconds: float | None
    is_delivered: bool


class Standing(NamedTuple):
    """What waits for something, and the latest night (None: there was none)."""

    orders_awaited: int
    orders_overdue: int
    orders_on_hold: int
    reports_on_hold: int
    resellers_on_hold: int
    files_undelivered: int
    notices_waiting: int
    night: LastNight | None
    resellers: frozenset[str]


_WAITING: Final = {
    "orders_on_hold": f"order_holds WHERE order_holds.closed_event = 0 AND order_holds.decision = {ApprovalDecision.WAITING}",
    "reports_on_hold": f"approvals WHERE approvals.decision = {ApprovalDecision.WAITING}",
    "resellers_on_hold": "holds",
    "files_undelivered": "events WHERE events.delivered = 0",
    "notices_waiting": "notice_deliveries WHERE notice_deliveries.sent_at = ''",
}
"""What is counted, each by a partial index of those that wait, or in a small table."""


def answers(registry: Database) -> bool:
    """Whether the registry answers at all; what it takes to say so is its latency."""
    return bool(registry.select({"one": integer("1")}, "").item())


def standing(registry: Database, overdue_before: str) -> Standing:
    """How things stand; awaited orders are overdue that have waited since before this time."""
    awaited, overdue = registry.select(
        {
            "awaited": integer("count(*)"),
            "overdue": integer("CAST(coalesce(sum(CASE WHEN waiting.since < $1 THEN 1 ELSE 0 END), 0) AS BIGINT)"),
        },
        f"FROM (SELECT orders.since FROM orders WHERE orders.awaiting > 0 ORDER BY orders.order_pk LIMIT {COUNTED}) AS waiting",
        overdue_before,
    ).row(0)
    counts = {name: int(registry.select({"n": integer("count(*)")}, f"FROM {rest}").item()) for name, rest in _WAITING.items()}
    resellers = registry.select({"reseller": columns_of("accounts")["reseller"]}, "FROM accounts GROUP BY accounts.reseller")
    return Standing(
        orders_awaited=awaited,
        orders_overdue=overdue,
        night=_last_night(registry),
        resellers=frozenset(resellers["reseller"]),
        **counts,
    )


def _last_night(registry: Database) -> LastNight | None:
    latest = "SELECT max(events.reconciliation_date) FROM events WHERE events.reconciliation_date > 0"
    found = registry.select(
        columns_of("events", "at", "file_at", "delivered"),
        f"FROM events WHERE events.reconciliation_date > 0 AND events.reconciliation_date = ({latest}) "
        "AND events.kind = 'night' ORDER BY events.event DESC LIMIT 1",
    )
    for at, written_at, delivered in found.iter_rows():
        begun = datetime.fromisoformat(at)
        seconds = (datetime.fromisoformat(written_at) - begun).total_seconds() if written_at else None
        return LastNight(begun, seconds, bool(delivered))
    return None
