"""What `cards verify` asks the registry."""

from typing import Final

import polars as pl

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.numbers import codes_under, used_pins
from pipelines.registry.store import Registry
from schemas.actions import Awaiting
from schemas.codes import CardState
from schemas.pins import slices, valid_pin_counts

_DISAGREEMENTS: Final = {
    "cards belong to an order that does not exist": """
        FROM cards LEFT JOIN orders ON orders.order_pk = cards.order_pk
        WHERE orders.order_pk IS NULL
    """,
    "cards have a code that is not kept as used": """
        FROM cards LEFT JOIN numbers ON numbers.code = cards.code
        WHERE numbers.code IS NULL OR numbers.order_pk <> cards.order_pk OR numbers.serial <> cards.serial
    """,
    "codes belong to a card that does not exist": """
        FROM numbers LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
        WHERE numbers.order_pk > 0 AND (cards.code IS NULL OR cards.code <> numbers.code)
    """,
    "orders have another number of cards than was placed": """
        FROM orders
        WHERE orders.cards <> (
            SELECT count(*) FROM cards WHERE cards.order_pk = orders.order_pk AND cards.serial <= orders.cards
        ) + (
            SELECT count(*) FROM card_actions WHERE card_actions.order_pk = orders.order_pk
        )
    """,
    "cards follow those of their order that nothing replaced": """
        FROM cards
        JOIN orders ON orders.order_pk = cards.order_pk
        LEFT JOIN replacements ON replacements.order_pk = cards.order_pk AND replacements.serial = cards.serial
        WHERE cards.serial > orders.cards AND replacements.serial IS NULL
    """,
    "orders belong to a file that does not exist": """
        FROM orders LEFT JOIN events ON events.event = orders.event WHERE events.event IS NULL
    """,
    "cards have another state than their last change": f"""
        FROM cards
        WHERE cards.state <> coalesce(
            (
                SELECT state_transitions.to_state FROM state_transitions
                WHERE state_transitions.order_pk = cards.order_pk AND state_transitions.serial = cards.serial
                ORDER BY state_transitions.event DESC LIMIT 1
            ), {CardState.PLACED}
        )
    """,
    "cards replace one that was not refused": f"""
        FROM replacements
        LEFT JOIN state_transitions
            ON state_transitions.order_pk = replacements.order_pk
            AND state_transitions.serial = replacements.replaced_serial
            AND state_transitions.to_state = {CardState.REFUSED}
        WHERE state_transitions.event IS NULL
    """,
    "orders wait for nothing": f"""
        FROM orders
        WHERE orders.awaiting = {Awaiting.NOTHING} AND EXISTS (
            SELECT 1 FROM cards WHERE cards.order_pk = orders.order_pk AND cards.state = {CardState.PLACED}
        )
    """,
    "figures of orders differ from their changes of state": """
        FROM (
            SELECT event, order_pk, from_state, to_state, sum(cards) AS difference FROM (
                SELECT event, order_pk, from_state, to_state, cards FROM order_transitions
                UNION ALL SELECT event, order_pk, from_state, to_state, -1 FROM state_transitions
            ) AS both_counts
            GROUP BY event, order_pk, from_state, to_state
        ) AS differences
        WHERE difference <> 0
    """,
    "orders have another number of confirmed cards than became ready": f"""
        FROM orders
        WHERE orders.confirmed <> (
            SELECT count(*) FROM state_transitions
            WHERE state_transitions.order_pk = orders.order_pk AND state_transitions.to_state = {CardState.READY}
            AND state_transitions.from_state <> {CardState.BLOCKED}
        )
    """,
    "release files have another number of cards than were released": """
        FROM order_files
        WHERE order_files.kind = 'release' AND order_files.cards <> coalesce(
            (
                SELECT sum(release_ranges.last_serial - release_ranges.first_serial + 1) FROM release_ranges
                WHERE release_ranges.order_pk = order_files.order_pk AND release_ranges.event = order_files.event
            ), 0
        )
    """,
    "cards stand in two releases": """
        FROM release_ranges
        JOIN release_ranges AS other
            ON other.order_pk = release_ranges.order_pk AND other.first_serial > release_ranges.first_serial
            AND other.first_serial <= release_ranges.last_serial
    """,
    "figures of nights differ from those of their orders": """
        FROM (
            SELECT reconciliation_date, from_state, to_state, sum(cards) AS difference FROM (
                SELECT reconciliation_date, from_state, to_state, cards FROM night_figures
                UNION ALL
                SELECT events.reconciliation_date, order_transitions.from_state, order_transitions.to_state,
                    -order_transitions.cards
                FROM events JOIN order_transitions ON order_transitions.event = events.event
                WHERE events.reconciliation_date > 0
            ) AS both_counts
            GROUP BY reconciliation_date, from_state, to_state
        ) AS differences
        WHERE difference <> 0
    """,
}
"""Each contradiction, and the rows that show it."""


def integrity(registry: Registry) -> list[str]:
    """What the database itself finds damaged; empty when it is sound (PostgreSQL checks its pages as it reads them)."""
    return registry.check()


def disagreements(registry: Registry) -> dict[str, int]:
    """Figures that contradict each other: what, and how often."""
    counts = {what: int(registry.select({"n": integer("count(*)")}, rows).item()) for what, rows in _DISAGREEMENTS.items()}
    counts["BTNs have other figures than the codes under them"] = _wrong_btns(registry)
    return {what: count for what, count in counts.items() if count}


def _wrong_btns(registry: Registry) -> int:
    """How many BTNs have other running figures than a recount gives."""
    kept = registry.select(columns_of("btns", "btn", "valid", "used"), "FROM btns ORDER BY btns.btn")
    wrong = 0
    for part in slices(kept["btn"]):
        recount = valid_pin_counts(part).join(used_pins(codes_under(registry, part)), on="btn", how="left")
        both = recount.with_columns(pl.col("used").fill_null(0)).join(kept, on="btn", suffix="_kept")
        wrong += both.filter((pl.col("valid") != pl.col("valid_kept")) | (pl.col("used") != pl.col("used_kept"))).height
    return wrong


def submissions(registry: Registry) -> pl.DataFrame:
    """Every file that was answered: `kind`, `source`, `folder`, `at`, `digest`, `archived`, `readable` (1 when it has a
    confirmation), `rejected` findings, and `too_large` ones, after which an original need not have been kept.
    """
    # a file that repeats another has its figures, and no rejections of its own
    own = "(events.kind = 'report' OR events.original_event = events.event)"
    findings = f"SELECT count(*) FROM findings WHERE findings.event = events.original_event AND {own}"
    return registry.select(
        {
            **columns_of("events", "kind", "source", "folder", "at", "digest", "archived", "readable"),
            "rejected": integer(f"({findings})"),
            "too_large": integer(f"({findings} AND findings.reason = 'FILE_TOO_LARGE')"),
        },
        "FROM events WHERE kind IN ('orders', 'report') AND delivered = 1 ORDER BY event",
    )


def never_ready(registry: Registry, released: pl.DataFrame) -> int:
    """How many of the cards of release files (`order_id`, `code`) are not cards of that order, or were never ready."""
    return int(
        registry.select_with(
            released.unique().sort("code"),
            {"n": integer("count(*)")},
            f"""
            FROM given
            LEFT JOIN numbers ON numbers.code = given.code
            LEFT JOIN orders ON orders.order_pk = numbers.order_pk
            WHERE orders.order_id IS NULL OR orders.order_id <> given.order_id OR NOT EXISTS (
                SELECT 1 FROM state_transitions
                WHERE state_transitions.order_pk = numbers.order_pk AND state_transitions.serial = numbers.serial
                AND state_transitions.to_state = {CardState.READY}
            )
            """,
        )["n"].sum()
    )
