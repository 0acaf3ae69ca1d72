"""What `cards recover` asks of a registry that was restored, and enters past what the jobs enter."""

import polars as pl

from pipelines.registry import reconciliation
from pipelines.registry.columns import columns_of, integer
from pipelines.registry.numbers import used_pins
from pipelines.registry.schema import CHECKSUM_MODULUS, INT, TEXT
from pipelines.registry.store import Registry
from schemas.actions import Awaiting
from schemas.codes import CardState
from schemas.sources import NETWORK


def known_submissions(registry: Registry) -> pl.DataFrame:
    """Every file and night that the registry knows: `event`, `kind`, `source`, `folder`, `at`, `digest`, `archived`,
    `reconciliation_date`.
    """
    names = ("event", "kind", "source", "folder", "at", "digest", "archived", "reconciliation_date")
    return registry.select(
        columns_of("events", *names), "FROM events WHERE events.kind IN ('orders', 'report', 'night') ORDER BY events.event"
    )


def orders_with_ids(registry: Registry, order_ids: pl.Series) -> pl.DataFrame:
    """Those of the Order IDs that an order has: `order_id`, `order_pk`, `account`, `customer_order_id`."""
    return registry.select_with(
        order_ids.unique().to_frame("order_id"),
        columns_of("orders", "order_id", "order_pk", "account", "customer_order_id"),
        "FROM given JOIN orders ON orders.order_id = given.order_id",
    )


def cards_with(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """The cards that have these codes: `order_pk`, `order_id`, `serial`, `code`, `state`, and what their order awaits
    (`awaiting`).
    """
    return registry.select_with(
        codes.unique().sort().to_frame("code"),
        {**columns_of("cards", "order_pk", "serial", "code"), "state": integer("cards.state"),
         **columns_of("orders", "order_id", "awaiting")},
        """
        FROM given
        JOIN numbers ON numbers.code = given.code
        JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
        JOIN orders ON orders.order_pk = cards.order_pk
        """,
    )  # fmt: skip


def to_release(registry: Registry) -> pl.DataFrame:
    """The orders with cards that the next night releases: `order_pk`, `order_id`."""
    return registry.select(
        {"order_pk": integer("DISTINCT release_ranges.order_pk"), **columns_of("orders", "order_id")},
        f"""
        FROM release_ranges JOIN orders ON orders.order_pk = release_ranges.order_pk
        WHERE release_ranges.event = {reconciliation.TO_RELEASE}
        """,
    )


def forget_external(registry: Registry, codes: pl.Series) -> int:
    """Have codes that were entered as external make room for the cards that have them, which follow in the same transaction;
    how many there were.
    """
    external = registry.select_with(
        codes.unique().sort().to_frame("code"),
        columns_of("numbers", "code"),
        "FROM given JOIN numbers ON numbers.code = given.code AND numbers.order_pk = 0",
    )
    registry.execute_with(external, "code", "DELETE FROM numbers WHERE code IN (SELECT given.code FROM given)")
    registry.execute_with(
        used_pins(external), "btn", "UPDATE btns SET used = btns.used - given.used FROM given WHERE btns.btn = given.btn"
    )
    if len(external):
        registry.execute(
            "UPDATE external_figures SET codes = codes - $1, checksum = checksum - $2 WHERE event = 0",
            len(external),
            int((external["code"] % CHECKSUM_MODULUS).sum()),
        )
    return len(external)


def report_orders(registry: Registry, order_pks: pl.Series) -> None:
    """Have a night close orders that wait for a report: the outbox shows that it did. Inside a transaction."""
    registry.execute_with(
        order_pks.unique().sort().to_frame("order_pk"),
        "order_pk",
        f"""
        UPDATE orders SET awaiting = {Awaiting.RECONCILIATION}
        WHERE awaiting = {Awaiting.REPORT} AND order_pk IN (SELECT given.order_pk FROM given)
        """,
    )


def release_cards(registry: Registry, cards: pl.DataFrame, event: int, *, granted: bool) -> None:
    """Make cards (`order_pk`, `serial`, `state`) ready that a release file lists; `granted`: beyond what their orders asked
    for. Inside a transaction.
    """
    states = {"from_state": pl.col("state"), "to_state": pl.lit(CardState.READY.value, INT), "event": pl.lit(event, INT)}
    reconciliation.apply_transitions(registry, cards.select("order_pk", "serial", **states))
    registry.execute_with(
        cards.group_by("order_pk").agg(ready=pl.len().cast(INT)),
        "order_pk",
        f"""
        UPDATE orders SET confirmed = orders.confirmed + given.ready, granted = orders.granted + {int(granted)} * given.ready
        FROM given WHERE orders.order_pk = given.order_pk
        """,
    )


def finish_night(registry: Registry, event: int, file_at: str, *, delivered: bool) -> None:
    """Keep when a night had written its placement file, and whether all its files are there. Inside a transaction."""
    registry.execute(f"UPDATE events SET file_at = $1, delivered = {int(delivered)} WHERE event = {event}", file_at)


def approve_used(registry: Registry, about: dict[int, str], at: str) -> None:
    """Keep that reports over the limits were used. Inside a transaction."""
    rows = [
        {"event": event, "about": words, "decision": 1, "decided_by": "recovered", "why": "The outbox shows that it was used.",
         "decided_at": at, "used_event": event}
        for event, words in about.items()
    ]  # fmt: skip
    if rows:
        registry.append("approvals", pl.DataFrame(rows))


def enter_recovery(registry: Registry, at: str, notes: str) -> int:
    """Enter the event of a recovery; its number."""
    event = {"kind": "recovery", "source": NETWORK, "digest": "", "file_name": "", "folder": "", "at": at, "rows": 0,
             "notes": notes, "readable": 0, "delivered": 1}  # fmt: skip
    with registry.transaction():
        return registry.enter_event(event)


def events_of_folders(registry: Registry, folders: pl.DataFrame) -> pl.DataFrame:
    """The events of submissions (`source`, `folder`): both, and `event`."""
    return registry.select_with(
        folders.cast({"source": TEXT, "folder": TEXT}),
        columns_of("events", "event", "source", "folder"),
        "FROM given JOIN events ON events.folder = given.folder AND events.source = given.source",
    )


def approved_copies(registry: Registry, digests: pl.Series, at: str) -> None:
    """Approve the reports on hold that have these bytes: the operator had them dropped again. Inside a transaction."""
    registry.execute_with(
        digests.unique().to_frame("digest").cast({"digest": TEXT}),
        "digest",
        """
        UPDATE approvals SET decision = 1, decided_by = 'recovered', why = 'The outbox shows that it was used.', decided_at = $1
        WHERE decision = 0 AND event IN (
            SELECT events.event FROM events JOIN given ON given.digest = events.digest WHERE events.kind = 'report'
        )
        """,
        at,
    )
