"""What `cards verify` asks the registry: whether it contradicts itself."""

import random
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import polars as pl

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.numbers import codes_under, used_pins
from pipelines.registry.schema import CHECKSUM_MODULUS
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, Awaiting
from schemas.codes import CardState
from schemas.movements import ADDED, BY_TRANSITION, GONE, Movement
from schemas.pins import slices, valid_pin_counts

_LATER: Final = 2**62
"""More than any key."""
_EVENTS: Final = 500
_CARDS: Final = 200_000
"""A portion has so many events at most, and so many cards unless one event has more."""

_OF_ORDERS: Final = {
    "cards belong to an order that does not exist": """
        FROM cards LEFT JOIN orders ON orders.order_pk = cards.order_pk
        WHERE cards.order_pk BETWEEN $1 AND $2 AND orders.order_pk IS NULL
    """,
    "cards have a code that is not kept as used": """
        FROM cards LEFT JOIN numbers ON numbers.code = cards.code
        WHERE cards.order_pk BETWEEN $1 AND $2
        AND (numbers.code IS NULL OR numbers.order_pk <> cards.order_pk OR numbers.serial <> cards.serial)
    """,
    "orders have another number of cards than was placed": """
        FROM orders
        WHERE orders.order_pk BETWEEN $1 AND $2 AND orders.cards <> (
            SELECT count(*) FROM cards WHERE cards.order_pk = orders.order_pk AND cards.serial <= orders.cards
        ) + (
            SELECT count(*) FROM card_actions WHERE card_actions.order_pk = orders.order_pk
        )
    """,
    "orders have another Order ID than their account and number": """
        FROM orders
        WHERE orders.order_pk BETWEEN $1 AND $2
        AND orders.order_id <> orders.account || '-' || CAST(orders.order_sequence AS TEXT)
    """,
    "cards follow those of their order that nothing replaced": """
        FROM cards
        JOIN orders ON orders.order_pk = cards.order_pk
        LEFT JOIN replacements ON replacements.order_pk = cards.order_pk AND replacements.serial = cards.serial
        WHERE cards.order_pk BETWEEN $1 AND $2 AND cards.serial > orders.cards AND replacements.serial IS NULL
    """,
    "replacements have no card": """
        FROM replacements
        LEFT JOIN cards ON cards.order_pk = replacements.order_pk AND cards.serial = replacements.serial
        WHERE replacements.order_pk BETWEEN $1 AND $2 AND cards.serial IS NULL
    """,
    "orders belong to a file that does not exist": """
        FROM orders LEFT JOIN events ON events.event = orders.event
        WHERE orders.order_pk BETWEEN $1 AND $2 AND events.event IS NULL
    """,
    "cards have another state than their last change": f"""
        FROM cards
        WHERE cards.order_pk BETWEEN $1 AND $2 AND cards.state <> coalesce(
            (
                SELECT state_transitions.to_state FROM state_transitions
                WHERE state_transitions.order_pk = cards.order_pk AND state_transitions.serial = cards.serial
                ORDER BY state_transitions.event DESC LIMIT 1
            ), {CardState.PLACED}
        )
    """,
    "changes of state do not follow each other": f"""
        FROM (
            SELECT from_state, lag(to_state, 1, {CardState.PLACED.value}) OVER (
                PARTITION BY order_pk, serial ORDER BY event
            ) AS state_before
            FROM state_transitions WHERE order_pk BETWEEN $1 AND $2
        ) AS changes
        WHERE from_state <> state_before
    """,
    "changes of state have no card": """
        FROM state_transitions
        LEFT JOIN cards ON cards.order_pk = state_transitions.order_pk AND cards.serial = state_transitions.serial
        WHERE state_transitions.order_pk BETWEEN $1 AND $2 AND cards.serial IS NULL
    """,
    "cards replace one that was not refused": f"""
        FROM replacements
        LEFT JOIN state_transitions
            ON state_transitions.order_pk = replacements.order_pk
            AND state_transitions.serial = replacements.replaced_serial
            AND state_transitions.to_state = {CardState.REFUSED}
        WHERE replacements.order_pk BETWEEN $1 AND $2 AND state_transitions.event IS NULL
    """,
    "orders wait for nothing": f"""
        FROM orders
        WHERE orders.order_pk BETWEEN $1 AND $2 AND orders.awaiting = {Awaiting.NOTHING} AND (
            EXISTS (SELECT 1 FROM cards WHERE cards.order_pk = orders.order_pk AND cards.state = {CardState.PLACED})
            OR EXISTS (
                SELECT 1 FROM card_actions
                WHERE card_actions.order_pk = orders.order_pk AND card_actions.outcome = {ActionOutcome.AWAITED}
            )
        )
    """,
    "figures of orders differ from their changes of state": """
        FROM (
            SELECT event, order_pk, from_state, to_state, sum(cards) AS difference FROM (
                SELECT event, order_pk, from_state, to_state, cards FROM order_transitions
                WHERE order_pk BETWEEN $1 AND $2
                UNION ALL
                SELECT event, order_pk, from_state, to_state, -1 FROM state_transitions
                WHERE order_pk BETWEEN $1 AND $2
            ) AS both_counts
            GROUP BY event, order_pk, from_state, to_state
        ) AS differences
        WHERE difference <> 0
    """,
    "orders have another number of confirmed cards than became ready": f"""
        FROM orders
        WHERE orders.order_pk BETWEEN $1 AND $2 AND orders.confirmed <> (
            SELECT count(*) FROM state_transitions
            WHERE state_transitions.order_pk = orders.order_pk AND state_transitions.to_state = {CardState.READY}
            AND state_transitions.from_state <> {CardState.BLOCKED}
        )
    """,
    "release files have another number of cards than were released": """
        FROM order_files
        WHERE order_files.order_pk BETWEEN $1 AND $2 AND order_files.kind = 'release' AND order_files.cards <> coalesce(
            (
                SELECT sum(release_ranges.last_serial - release_ranges.first_serial + 1) FROM release_ranges
                WHERE release_ranges.order_pk = order_files.order_pk AND release_ranges.event = order_files.event
            ), 0
        )
    """,
    "refused files have another number of cards than were refused": f"""
        FROM order_files
        WHERE order_files.order_pk BETWEEN $1 AND $2 AND order_files.kind = 'refused' AND order_files.cards <> (
            SELECT count(*) FROM state_transitions
            WHERE state_transitions.order_pk = order_files.order_pk AND state_transitions.event = order_files.event
            AND state_transitions.to_state = {CardState.REFUSED}
        )
    """,
    "cards are released that no release file has": """
        FROM release_ranges
        LEFT JOIN order_files
            ON order_files.order_pk = release_ranges.order_pk AND order_files.event = release_ranges.event
            AND order_files.kind = 'release'
        WHERE release_ranges.order_pk BETWEEN $1 AND $2 AND release_ranges.event > 0 AND order_files.event IS NULL
    """,
    "cards stand in two releases": """
        FROM release_ranges
        JOIN release_ranges AS other
            ON other.order_pk = release_ranges.order_pk AND other.first_serial > release_ranges.first_serial
            AND other.first_serial <= release_ranges.last_serial
        WHERE release_ranges.order_pk BETWEEN $1 AND $2
    """,
    "cards were released and never ready": f"""
        FROM release_ranges
        JOIN cards ON cards.order_pk = release_ranges.order_pk
            AND cards.serial BETWEEN release_ranges.first_serial AND release_ranges.last_serial
        WHERE release_ranges.order_pk BETWEEN $1 AND $2 AND NOT EXISTS (
            SELECT 1 FROM state_transitions
            WHERE state_transitions.order_pk = cards.order_pk AND state_transitions.serial = cards.serial
            AND state_transitions.to_state = {CardState.READY}
        )
    """,
    "cards are ready and in no release": f"""
        FROM cards
        WHERE cards.order_pk BETWEEN $1 AND $2 AND cards.state = {CardState.READY} AND NOT EXISTS (
            SELECT 1 FROM release_ranges
            WHERE release_ranges.order_pk = cards.order_pk
            AND cards.serial BETWEEN release_ranges.first_serial AND release_ranges.last_serial
        ) AND NOT EXISTS (
            SELECT 1 FROM state_transitions JOIN events ON events.event = state_transitions.event
            WHERE state_transitions.order_pk = cards.order_pk AND state_transitions.serial = cards.serial
            AND events.reconciliation_date = 0
        )
    """,
}
"""Each contradiction among orders with keys from $1 to $2, and the rows that show it."""


def _words(movements: Iterable[Movement]) -> str:
    return ", ".join(f"'{movement}'" for movement in movements)


_MOVEMENT: Final = "CASE " + " ".join(
    f"WHEN from_state = {before} AND to_state = {after} THEN '{word}'" for (before, after), word in BY_TRANSITION.items()
) + " ELSE '' END"  # fmt: skip
"""What figures call a change of state."""

_OF_ALL: Final = {
    "codes belong to a card that does not exist": """
        FROM numbers LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
        WHERE numbers.order_pk > 0 AND (cards.code IS NULL OR cards.code <> numbers.code)
    """,
    "codes that the network showed are not kept as used": """
        FROM unexpected_codes LEFT JOIN numbers ON numbers.code = unexpected_codes.code
        WHERE unexpected_codes.code > 0 AND numbers.code IS NULL
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
    "figures by product and access number differ from those of nights": f"""
        FROM (
            SELECT reconciliation_date, kind, sum(cards) AS difference FROM (
                SELECT reconciliation_date, movement AS kind, cards FROM movements
                WHERE movement NOT IN ('{Movement.CHANGED_IN}', '{Movement.CHANGED_OUT}', '{Movement.REPLACED}')
                UNION ALL
                SELECT reconciliation_date, {_MOVEMENT}, -cards FROM night_figures
            ) AS both_counts
            GROUP BY reconciliation_date, kind
        ) AS differences
        WHERE difference <> 0
    """,
    "active cards of the last month differ from what came and went": f"""
        FROM (
            SELECT reseller, account, product, access_number, sum(cards) AS difference FROM (
                SELECT reseller, account, product, access_number, CASE
                    WHEN movement IN ({_words(ADDED)}) THEN cards WHEN movement IN ({_words(GONE)}) THEN -cards ELSE 0
                END AS cards FROM movements
                UNION ALL
                SELECT reseller, account, product, access_number, -active FROM balances
                WHERE month = (SELECT max(month) FROM balances)
            ) AS both_counts
            GROUP BY reseller, account, product, access_number
        ) AS differences
        WHERE difference <> 0
    """,
    "figures of active cards differ from the cards that are active": """
        FROM (
            SELECT (
                SELECT coalesce(sum(active), 0) FROM balances WHERE month = (SELECT max(month) FROM balances)
            ) + (
                SELECT coalesce(sum(CASE
                    WHEN to_state IN (1, 3) AND from_state NOT IN (1, 3) THEN cards
                    WHEN from_state IN (1, 3) AND to_state NOT IN (1, 3) THEN -cards ELSE 0
                END), 0)
                FROM order_transitions WHERE event IN (
                    SELECT event FROM events WHERE reconciliation_date = 0 AND kind IN ('report', 'grant')
                )
            ) - (SELECT count(*) FROM cards WHERE state IN (1, 3)) AS difference
        ) AS differences
        WHERE difference <> 0
    """,
}
_COUNTED: Final = {
    "events are missing": "FROM (SELECT max(event) - count(*) AS n FROM events) AS counted",
    "orders are missing": "FROM (SELECT max(order_pk) - count(*) AS n FROM orders) AS counted",
    "orders of accounts are missing": """
        FROM (SELECT max(order_sequence) - count(*) AS n FROM orders GROUP BY account) AS counted WHERE n <> 0
    """,
}
"""Rows are numbered one after the other: how many are missing."""


class Portion(NamedTuple):
    """Events that are checked together (the fields of EVENT, and how many `cards` their orders have), and the keys of the
    orders that are checked with them.
    """

    events: pl.DataFrame
    first_order: int
    last_order: int


def integrity(registry: Registry) -> list[str]:
    """What the database itself finds damaged; empty when it is sound (PostgreSQL checks its pages as it reads them)."""
    return registry.check()


def missing_rows(registry: Registry) -> dict[str, int]:
    """Rows that are missing, as far as their numbers show it: what, and how many. Takes seconds at most."""
    found = {
        what: int(registry.select({"n": integer("coalesce(CAST(sum(n) AS BIGINT), 0)")}, rows).item())
        for what, rows in _COUNTED.items()
    }
    return {what: number for what, number in found.items() if number}


def disagreements_of_orders(registry: Registry, first: int = 0, last: int = _LATER) -> dict[str, int]:
    """What contradicts itself among orders with these keys: what, and how often."""
    counts = {
        what: int(registry.select({"n": integer("count(*)")}, rows, first, last).item()) for what, rows in _OF_ORDERS.items()
    }
    return {what: number for what, number in counts.items() if number}


def disagreements_of_all(registry: Registry) -> dict[str, int]:
    """What contradicts itself in the registry as a whole: what, and how often. Reads all codes."""
    counts = {what: int(registry.select({"n": integer("count(*)")}, rows).item()) for what, rows in _OF_ALL.items()}
    counts["BTNs have other figures than the codes under them"] = _wrong_btns(registry)
    counts["external codes are not those that were entered"] = _wrong_externals(registry)
    return {what: number for what, number in counts.items() if number}


def disagreements(registry: Registry) -> dict[str, int]:
    """All that contradicts itself: what, and how often."""
    return missing_rows(registry) | disagreements_of_orders(registry) | disagreements_of_all(registry)


def _wrong_btns(registry: Registry) -> int:
    """How many BTNs have other running figures than a recount gives."""
    kept = registry.select(columns_of("btns", "btn", "valid", "used"), "FROM btns ORDER BY btns.btn")
    wrong = 0
    for part in slices(kept["btn"]):
        recount = valid_pin_counts(part).join(used_pins(codes_under(registry, part)), on="btn", how="left")
        both = recount.with_columns(pl.col("used").fill_null(0)).join(kept, on="btn", suffix="_kept")
        wrong += both.filter((pl.col("valid") != pl.col("valid_kept")) | (pl.col("used") != pl.col("used_kept"))).height
    return wrong


def _wrong_externals(registry: Registry) -> int:
    """How many external codes there are more or fewer than were entered; 1 where others took their places."""
    remainder = f"coalesce(CAST(sum(code % {CHECKSUM_MODULUS}) AS BIGINT), 0)"
    there = registry.select({"codes": integer("count(*)"), "checksum": integer(remainder)}, "FROM numbers WHERE order_pk = 0")
    sums = {name: integer(f"coalesce(CAST(sum({name}) AS BIGINT), 0)") for name in ("codes", "checksum")}
    kept = registry.select(sums, "FROM external_figures")
    return abs(int(there["codes"].item() - kept["codes"].item())) or int(there["checksum"].item() != kept["checksum"].item())


# -- portions ----------------------------------------------------------------------------------------------------------


def portions(registry: Registry, since: str = "", sample: int = 0) -> Iterator[Portion]:
    """The events since a date (2026-01-31), or all, in portions; of these a random `sample` of so many, unless it is 0."""
    first, last = _first_and_last(registry, since)
    if sample:
        chosen = random.SystemRandom().sample(range(first, last + 1), min(sample, last + 1 - first))
        for event in sorted(chosen):
            yield from (_portion(registry, part) for part in _events(registry, event, event).iter_slices(1))
        return
    done = None if since else 0  # the orders that were checked: none is to be left out between two portions
    while first <= last:
        events = _events(registry, first, last)
        first = events["event"][-1] + 1 if len(events) else last + 1
        portion = _portion(registry, events)
        if done is not None:
            upto = max(portion.last_order, done) if first <= last else _LATER
            portion, done = portion._replace(first_order=done + 1, last_order=upto), upto
        yield portion


def _first_and_last(registry: Registry, since: str) -> tuple[int, int]:
    found = registry.select(
        {"first": integer("coalesce(min(event), 1)"), "last": integer("coalesce(max(event), 0)")},
        "FROM events WHERE at >= $1",
        since,
    )
    return int(found["first"].item()), int(found["last"].item())


def _events(registry: Registry, first: int, last: int) -> pl.DataFrame:
    """The next events, as many as one portion has."""
    cards = "(SELECT coalesce(CAST(sum(orders.cards) AS BIGINT), 0) FROM orders WHERE orders.event = events.event)"
    found = registry.select(
        {**columns_of("events"), "cards": integer(cards)},
        f"FROM events WHERE events.event BETWEEN $1 AND $2 ORDER BY events.event LIMIT {_EVENTS}",
        first,
        last,
    )
    before = (found["cards"].cum_sum() - found["cards"]) if len(found) else found["cards"]
    return found.filter((before < _CARDS) | (pl.int_range(pl.len()) == 0))


def _portion(registry: Registry, events: pl.DataFrame) -> Portion:
    found = registry.select_with(
        events.select("event"),
        {"first": integer("coalesce(min(orders.order_pk), 1)"), "last": integer("coalesce(max(orders.order_pk), 0)")},
        "FROM given JOIN orders ON orders.event = given.event",
    )
    return Portion(events, *(found.row(0) if len(found) else (1, 0)))


# -- what is known of the outbox ---------------------------------------------------------------------------------------


def known_folders(registry: Registry, folders: pl.DataFrame) -> pl.DataFrame:
    """Those of the folders (`source`, `folder`) that are of a submission or of a night's placement file."""
    return registry.select_with(
        folders.unique().sort("folder"),
        columns_of("events", "source", "folder"),
        "FROM given JOIN events ON events.folder = given.folder AND events.source = given.source",
    )


def nights(registry: Registry) -> pl.DataFrame:
    """The dates of all nights, and the latest event of each: `reconciliation_date`, `event`."""
    return registry.select(
        {**columns_of("events", "reconciliation_date"), "event": integer("max(events.event)")},
        "FROM events WHERE reconciliation_date > 0 AND kind = 'night' GROUP BY events.reconciliation_date",
    )


def findings_of(registry: Registry, event: int) -> tuple[int, int]:
    """How many findings an event has of its own, and of these FILE_TOO_LARGE, after which an original need not be kept."""
    too_large = "coalesce(sum(CASE WHEN findings.reason = 'FILE_TOO_LARGE' THEN 1 ELSE 0 END), 0)"
    found = registry.select(
        {"findings": integer("count(*)"), "too_large": integer(f"CAST({too_large} AS BIGINT)")},
        """
        FROM events JOIN findings ON findings.event = events.original_event
        WHERE events.event = $1 AND (events.kind = 'report' OR events.original_event = events.event)
        """,
        event,
    )
    return int(found["findings"].item()), int(found["too_large"].item())


def known_events(registry: Registry, events: pl.Series) -> pl.DataFrame:
    """These events as they are now: the fields of EVENT."""
    rest = "FROM given JOIN events ON events.event = given.event"
    return registry.select_with(events.to_frame("event"), columns_of("events"), rest).sort("event")


def last_event(registry: Registry) -> int:
    """The number of the latest event."""
    return int(registry.select({"last": integer("coalesce(max(event), 0)")}, "FROM events").item())
