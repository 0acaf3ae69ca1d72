"""What `cards verify` asks the registry."""

from typing import Final

import polars as pl

from pipelines.registry.reconciliation import STATE
from pipelines.registry.schema import INT, TEXT
from pipelines.registry.store import Registry

_DISAGREEMENTS: Final = {
    "codes belong to an order that is not there": (
        "SELECT count(*) FROM codes c LEFT JOIN orders o ON o.order_no = c.order_no WHERE c.order_no > 0 AND o.order_no IS NULL"
    ),
    "orders have another number of codes than was placed": (
        "SELECT count(*) FROM orders o WHERE o.cards <> (SELECT count(*) FROM codes c WHERE c.order_no = o.order_no "
        "AND c.order_no > 0 AND c.event = o.event) + (SELECT count(*) FROM touches t WHERE t.order_no = o.order_no)"
    ),
    "orders belong to a file that is not there": (
        "SELECT count(*) FROM orders o LEFT JOIN events e ON e.event = o.event WHERE e.event IS NULL"
    ),
    "cards have another state than their last change": (
        "SELECT count(*) FROM moves m JOIN codes c ON c.code = m.code WHERE c.state <> m.state AND NOT EXISTS "
        "(SELECT 1 FROM moves n WHERE n.code = m.code AND n.event > m.event)"
    ),
    "codes replace one that was not refused": (
        "SELECT count(*) FROM replacements r LEFT JOIN moves m ON m.code = r.replaced "
        f"AND m.state = {STATE['refused']} WHERE m.code IS NULL"
    ),
    "orders wait for nothing": (
        "SELECT count(*) FROM orders o WHERE o.awaiting = 0 AND EXISTS (SELECT 1 FROM codes c WHERE c.order_no = o.order_no "
        f"AND c.order_no > 0 AND c.state = {STATE['placed']})"
    ),
}


def integrity(registry: Registry) -> list[str]:
    """What the database itself finds damaged; empty when it is sound (PostgreSQL checks its pages as it reads them)."""
    return registry.check()


def disagreements(registry: Registry) -> dict[str, int]:
    """Figures that contradict each other: what, and how often."""
    counts = {text: int(registry.query(sql, {"n": INT}).item()) for text, sql in _DISAGREEMENTS.items()}
    return {text: count for text, count in counts.items() if count}


def submissions(registry: Registry) -> pl.DataFrame:
    """Every answered order file: `sender`, `folder`, `readable` (1 when it has a confirmation), `rejected` findings."""
    sql = (
        "SELECT e.sender, e.folder, e.readable, (SELECT count(*) FROM findings f WHERE f.event = e.answers) FROM events e "
        "WHERE e.kind = 'orders' AND e.answered = 1 ORDER BY e.event"
    )
    return registry.query(sql, {"sender": TEXT, "folder": TEXT, "readable": INT, "rejected": INT})
