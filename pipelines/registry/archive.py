"""What the archive asks the registry: which submissions are finished, and which of them lie in an archive."""

from collections.abc import Iterator
from datetime import date
from typing import Final

import polars as pl

from pipelines.registry.columns import columns_of, text
from pipelines.registry.schema import INT, TEXT
from pipelines.registry.store import Registry

_PORTION: Final = 500
_FIELDS: Final = ("event", "source", "folder", "at", "archived")

_SETTLED: Final = """
    events.delivered = 1
    AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.event = events.event AND orders.awaiting > 0)
    AND NOT EXISTS (
        SELECT 1 FROM orders
        JOIN state_transitions ON state_transitions.order_pk = orders.order_pk
        JOIN events AS later ON later.event = state_transitions.event
        WHERE orders.event = events.event AND later.at >= $1
    )
    AND NOT EXISTS (
        SELECT 1 FROM orders
        JOIN card_actions ON card_actions.order_pk = orders.order_pk
        JOIN events AS later ON later.event = card_actions.settled_event
        WHERE orders.event = events.event AND later.at >= $1
    )
"""
"""The condition that an event's orders await nothing, and that nothing has happened to a card of theirs since a time ($1)."""


def finished_submissions(registry: Registry, before: date, reseller: str = "") -> Iterator[pl.DataFrame]:
    """Delivered submissions that lie in the outbox, from before a date: `event`, `source`, `folder`, `at`, `archived`; in
    portions, oldest first.

    Their orders await nothing, and nothing has happened to a card or an order of theirs since that date: whoever gets release
    files has as long to fetch the last of them as the first. A report of the network is finished once a night has used it.
    """
    at, event = "", 0
    while True:
        portion = _portion(registry, before, at, event, reseller)
        if portion.is_empty():
            return
        yield portion
        at, event = portion.select("at", "event").row(-1)


def _portion(registry: Registry, before: date, after_at: str, after: int, reseller: str) -> pl.DataFrame:
    """The next finished submissions after one (its time and event)."""
    return registry.select(
        columns_of("events", *_FIELDS),
        f"""
        FROM events
        WHERE events.archived = 0 AND events.at < $1 AND (events.at, events.event) > ($2, $3)
        AND ($4 = '' OR events.source = $4)
        AND (events.kind = 'orders' OR events.kind = 'report' AND events.reconciliation_date > 0)
        AND {_SETTLED}
        ORDER BY events.at, events.event LIMIT {_PORTION}
        """,
        f"{before:%Y-%m-%d}", after_at, after, reseller,
    )  # fmt: skip


def note_archived(registry: Registry, archives: dict[int, int]) -> None:
    """Note in which archive of its source and month the folder of each event lies (0: in the outbox)."""
    given = pl.DataFrame({"event": list(archives), "archived": list(archives.values())}, {"event": INT, "archived": INT})
    with registry.transaction():
        registry.execute_with(
            given, "event", "UPDATE events SET archived = given.archived FROM given WHERE events.event = given.event"
        )


def note_finished(registry: Registry, archives: dict[int, int], before: date) -> set[int]:
    """Note the same of events that are still finished; which they are. Something may have happened to a card of one while it
    was packed: the operator grants surplus cards at any time.
    """
    given = pl.DataFrame({"event": list(archives), "number": list(archives.values())}, {"event": INT, "number": INT})
    with registry.transaction():
        registry.execute_with(
            given,
            "event",
            f"""
            UPDATE events SET archived = given.number FROM given
            WHERE events.event = given.event AND {_SETTLED}
            """,
            f"{before:%Y-%m-%d}",
        )
        noted = registry.select_with(
            given,
            columns_of("events", "event"),
            "FROM given JOIN events ON events.event = given.event WHERE events.archived = given.number",
        )
    return set(noted["event"])


def archived_among(registry: Registry, source: str, folders: list[str]) -> pl.DataFrame:
    """Those of a source's folders that lie in an archive: `event`, `source`, `folder`, `at`, `archived`."""
    return registry.select_with(
        pl.DataFrame({"folder": folders, "source": source}, {"folder": TEXT, "source": TEXT}),
        columns_of("events", *_FIELDS),
        """
        FROM given JOIN events ON events.folder = given.folder AND events.source = given.source
        WHERE events.archived > 0
        """,
    )


def submission_of(registry: Registry, event: int) -> pl.DataFrame:
    """An event's submission: `event`, `source`, `folder`, `at`, `archived`."""
    return registry.select(columns_of("events", *_FIELDS), f"FROM events WHERE event = {event}")


def archived_of_orders(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    """The archived submissions of orders: `event`, `source`, `folder`, `at`, `archived`."""
    found = registry.select_with(
        order_pks.unique().to_frame("order_pk"),
        columns_of("events", *_FIELDS),
        """
        FROM given JOIN orders ON orders.order_pk = given.order_pk JOIN events ON events.event = orders.event
        WHERE events.archived > 0
        """,
    )
    return found.unique("event", maintain_order=True)


def open_months(registry: Registry) -> set[str]:
    """The months (`2026-10`) in which something was placed that an order still awaits, or that is not delivered."""
    placed = "(SELECT substr(events.at, 1, 7) FROM events WHERE events.event = orders.event)"
    awaited = registry.select(
        {"placed": text(placed), "since": text("substr(orders.since, 1, 7)")}, "FROM orders WHERE orders.awaiting > 0"
    )
    undelivered = registry.select({"placed": text("substr(events.at, 1, 7)")}, "FROM events WHERE events.delivered = 0")
    return {*awaited["placed"], *awaited["since"], *undelivered["placed"]}
