"""What `cards verify` asks the registry."""

from typing import Final

import polars as pl

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.store import Registry
from schemas.actions import Awaiting
from schemas.codes import CardState

_DISAGREEMENTS: Final = {
    "codes belong to an order that does not exist": """
        FROM codes LEFT JOIN orders ON orders.order_no = codes.order_no
        WHERE codes.order_no > 0 AND orders.order_no IS NULL
    """,
    "orders have another number of codes than was placed": """
        FROM orders
        WHERE orders.cards <> (
            SELECT count(*) FROM codes
            WHERE codes.order_no = orders.order_no AND codes.order_no > 0 AND codes.event = orders.event
        ) + (SELECT count(*) FROM touches WHERE touches.order_no = orders.order_no)
    """,
    "orders belong to a file that does not exist": """
        FROM orders LEFT JOIN events ON events.event = orders.event WHERE events.event IS NULL
    """,
    "cards have another state than their last change": """
        FROM moves JOIN codes ON codes.code = moves.code
        WHERE codes.state <> moves.state
        AND NOT EXISTS (SELECT 1 FROM moves AS later WHERE later.code = moves.code AND later.event > moves.event)
    """,
    "codes replace one that was not refused": f"""
        FROM replacements
        LEFT JOIN moves ON moves.code = replacements.replaced AND moves.state = {CardState.REFUSED}
        WHERE moves.code IS NULL
    """,
    "orders wait for nothing": f"""
        FROM orders
        WHERE orders.awaiting = {Awaiting.NOTHING} AND EXISTS (
            SELECT 1 FROM codes
            WHERE codes.order_no = orders.order_no AND codes.order_no > 0 AND codes.state = {CardState.PLACED}
        )
    """,
}
"""Each contradiction, and the rows that show it."""


def integrity(registry: Registry) -> list[str]:
    """What the database itself finds damaged; empty when it is sound (PostgreSQL checks its pages as it reads them)."""
    return registry.check()


def disagreements(registry: Registry) -> dict[str, int]:
    """Figures that contradict each other: what, and how often."""
    counts = {what: int(registry.select({"n": integer("count(*)")}, rows).item()) for what, rows in _DISAGREEMENTS.items()}
    return {what: count for what, count in counts.items() if count}


def submissions(registry: Registry) -> pl.DataFrame:
    """Every answered order file: `sender`, `folder`, `readable` (1 when it has a confirmation), `rejected` findings."""
    rejected = integer("(SELECT count(*) FROM findings WHERE findings.event = events.answers)")
    return registry.select(
        {**columns_of("events", "sender", "folder", "readable"), "rejected": rejected},
        "FROM events WHERE kind = 'orders' AND answered = 1 ORDER BY event",
    )
