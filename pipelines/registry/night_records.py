"""What the reports of nights and orders are written from."""

from typing import Any, Final

import polars as pl

from pipelines.registry import audit_trail
from pipelines.registry.columns import Columns, columns_of, integer, text
from pipelines.registry.queries import CHANGED, changing
from pipelines.registry.reconciliation import OUTCOME, REFUSED, RELEASE, of_night
from pipelines.registry.records import FileCards, NightRecords
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome
from schemas.codes import CardState

_SUBMISSION: Final = "JOIN events AS submission ON submission.event = orders.event"
_ORDER: Final = {
    **columns_of("orders", "order_pk", "order_id"),
    "reseller": text("submission.source"),
    "folder": text("submission.folder"),
    **columns_of("orders", "account", "customer_order_id", "action", "code_type"),
    "placed": text("submission.at"),
    **columns_of("orders", "cards", "confirmed", "awaiting", "since"),
}
_CARD: Final = {
    **columns_of("orders", "order_id"),
    "reseller": text("submission.source"),
    **columns_of("orders", "account", "customer_order_id", "action", "code_type"),
    **columns_of("cards", "code"),
}
_REFUSED: Final = {
    **columns_of("cards", "order_pk"),
    **_CARD,
    "folder": text("submission.folder"),
    "state": integer("cards.state"),
    "replaced_by": integer("coalesce(replacement.code, 0)"),
    "lacks": integer("orders.cards + orders.granted - orders.confirmed"),
}
_REPLACED_BY: Final = """
    LEFT JOIN replacements ON replacements.order_pk = cards.order_pk AND replacements.replaced_serial = cards.serial
    LEFT JOIN cards AS replacement ON replacement.order_pk = cards.order_pk AND replacement.serial = replacements.serial
"""
_CARD_OF_TRANSITION: Final = f"""
    JOIN cards ON cards.order_pk = state_transitions.order_pk AND cards.serial = state_transitions.serial
    JOIN orders ON orders.order_pk = cards.order_pk {_SUBMISSION}
"""
_CARD_OF_ACTION: Final = """
    JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
"""


def load_reconciliation(registry: Registry, event: dict[str, Any]) -> NightRecords:
    """What a night did, as of its latest event: the same whenever it is asked, as long as nothing is entered for it."""
    date, number = int(event["reconciliation_date"]), int(event["event"])
    transitions, outcomes = _transition_counts(registry, date), _action_outcomes(registry, date)
    return NightRecords(
        event=event,
        orders=_orders(registry, pl.concat([transitions["order_pk"], outcomes["order_pk"]])),
        counts=transitions,
        refused=_refused(registry, date),
        replaced=_replaced(registry, date),
        late=_ready_late(registry, date),
        surplus=_surplus(registry, date),
        outcomes=outcomes,
        unexpected=_unexpected(registry, date),
        awaited=registry.select(
            _ORDER, f"FROM orders {_SUBMISSION} WHERE orders.awaiting > 0 AND orders.event <= {number} ORDER BY orders.order_pk"
        ),
        btns=_btns(registry, date),
        reports=_reports(registry, date),
        surplus_cards=int(
            registry.select({"cards": integer("count(*)")}, f"FROM cards WHERE cards.state = {CardState.SURPLUS}").item()
        ),
        decisions=audit_trail.decisions(registry, _night_before(registry, date), str(event["at"])),
    )


def _night_before(registry: Registry, date: int) -> str:
    """When the last night of an earlier date was; empty: there was none."""
    rest = f"""
        FROM events WHERE events.reconciliation_date > 0 AND events.kind = 'night' AND events.reconciliation_date = (
            SELECT coalesce(max(night.reconciliation_date), 0) FROM events AS night
            WHERE night.reconciliation_date > 0 AND night.reconciliation_date < {date}
        )
    """
    return str(registry.select({"at": text("coalesce(max(events.at), '')")}, rest).item())


def _orders(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    return registry.select_with(
        order_pks.unique().to_frame("order_pk"),
        _ORDER,
        f"FROM given JOIN orders ON orders.order_pk = given.order_pk {_SUBMISSION} ORDER BY orders.order_pk",
    )


def _transition_counts(registry: Registry, date: int) -> pl.DataFrame:
    """How many cards of each order went from one state to another: `order_pk`, `from_state`, `to_state`, `cards`."""
    columns = {name: integer(f"order_transitions.{name}") for name in ("order_pk", "from_state", "to_state")}
    return registry.select(
        {**columns, "cards": integer("CAST(sum(order_transitions.cards) AS BIGINT)")},
        f"""
        FROM events JOIN order_transitions ON order_transitions.event = events.event
        WHERE {of_night(date)}
        GROUP BY order_transitions.order_pk, order_transitions.from_state, order_transitions.to_state
        """,
    )


def _action_outcomes(registry: Registry, date: int) -> pl.DataFrame:
    """What came of the cards in orders that take cards (`outcome`)."""
    return registry.select(
        {**columns_of("orders", "order_pk"), **_CARD, **columns_of("card_actions", "outcome")},
        f"""
        FROM events
        JOIN card_actions ON card_actions.settled_event = events.event AND card_actions.settled_event > 0
        JOIN orders ON orders.order_pk = card_actions.order_pk {_SUBMISSION} {_CARD_OF_ACTION}
        WHERE {of_night(date)}
        ORDER BY orders.order_pk, cards.order_pk, cards.serial
        """,
    )


def _of_transitions(registry: Registry, columns: Columns, date: int, which: str, joins: str = "") -> pl.DataFrame:
    """The cards that changed their state in a night, by their order and serial."""
    return registry.select(
        columns,
        f"""
        FROM events
        JOIN order_transitions ON order_transitions.event = events.event
        JOIN state_transitions
            ON state_transitions.order_pk = order_transitions.order_pk AND state_transitions.event = order_transitions.event
            AND state_transitions.from_state = order_transitions.from_state
            AND state_transitions.to_state = order_transitions.to_state
        {_CARD_OF_TRANSITION} {joins}
        WHERE {of_night(date)} AND {which}
        ORDER BY cards.order_pk, cards.serial
        """,
    )


def _refused(registry: Registry, date: int) -> pl.DataFrame:
    """Codes that were refused with the order's fields, their `state` today and `replaced_by` (0: by none)."""
    return _of_transitions(registry, _REFUSED, date, f"order_transitions.to_state = {CardState.REFUSED}", _REPLACED_BY)


def _ready_late(registry: Registry, date: int) -> pl.DataFrame:
    """Cards that were refused, and that the network has after all."""
    which = f"order_transitions.from_state = {CardState.REFUSED} AND order_transitions.to_state = {CardState.READY}"
    return _of_transitions(registry, _CARD, date, which)


def _surplus(registry: Registry, date: int) -> pl.DataFrame:
    """Cards that the network has beyond what was ordered."""
    return _of_transitions(registry, _CARD, date, f"order_transitions.to_state = {CardState.SURPLUS}")


def _reports(registry: Registry, date: int) -> pl.DataFrame:
    """The reports that came for a night: `file_name`, `folder`, `rows`, `file_at`, `readable`, `repeated` (1 or 0), the
    `reasons` for which it was not used, why it is or was on hold, and what was decided (`about`, `decision`, `decided_by`,
    `why`).
    """
    reported = f"WHERE {of_night(date)} AND events.kind = 'report'"
    reports = registry.select(
        {
            **columns_of("events", "event", "file_name", "folder", "rows", "file_at", "readable"),
            "repeated": integer("CASE WHEN events.original_event <> events.event THEN 1 ELSE 0 END"),
            "about": text("coalesce(approvals.about, approved.about, '')"),
            "decision": integer("coalesce(approvals.decision, approved.decision, 0)"),
            "decided_by": text("coalesce(approvals.decided_by, approved.decided_by, '')"),
            "why": text("coalesce(approvals.why, approved.why, '')"),
        },
        f"""
        FROM events
        LEFT JOIN approvals ON approvals.event = events.original_event
        LEFT JOIN approvals AS approved ON approved.used_event > 0 AND approved.used_event = events.event
        {reported} ORDER BY events.event
        """,
    )
    reasons = registry.select(
        {**columns_of("events", "event"), "reason": text("findings.reason")},
        f"FROM events JOIN findings ON findings.event = events.event {reported} GROUP BY events.event, findings.reason",
    )
    joined = reasons.sort("event", "reason").group_by("event").agg(reasons=pl.col("reason").str.join("; "))
    return reports.join(joined, on="event", how="left", maintain_order="left").with_columns(pl.col("reasons").fill_null(""))


def _replaced(registry: Registry, date: int) -> pl.DataFrame:
    """The cards that replace others, and the codes of those (`replaced`)."""
    return registry.select(
        {**_CARD, "replaced": integer("refused.code")},
        f"""
        FROM events JOIN replacements ON replacements.event = events.event
        JOIN cards ON cards.order_pk = replacements.order_pk AND cards.serial = replacements.serial
        JOIN cards AS refused
            ON refused.order_pk = replacements.order_pk AND refused.serial = replacements.replaced_serial
        JOIN orders ON orders.order_pk = cards.order_pk {_SUBMISSION}
        WHERE {of_night(date)}
        ORDER BY cards.order_pk, cards.serial
        """,
    )


def _unexpected(registry: Registry, date: int) -> pl.DataFrame:
    return registry.select(
        {**columns_of("unexpected_codes", "order_id", "code", "explanation"), **columns_of("events", "file_name")},
        f"""
        FROM events JOIN unexpected_codes ON unexpected_codes.event = events.event
        WHERE {of_night(date)}
        ORDER BY events.event, unexpected_codes.order_id, unexpected_codes.code
        """,
    )


def _btns(registry: Registry, date: int) -> pl.DataFrame:
    """The BTNs that a night reports: `btn`, `free`."""
    return registry.select(
        {"btn": integer("night_btns.btn"), "free": integer("min(night_btns.free)")},
        f"""
        FROM events JOIN night_btns ON night_btns.event = events.event
        WHERE {of_night(date)}
        GROUP BY night_btns.btn ORDER BY night_btns.btn
        """,
    )


# -- the files of orders ------------------------------------------------------------------------------------------------

_FILE: Final = {
    **columns_of("order_files"),
    "submission": integer("submission.event"),
    "reseller": text("submission.source"),
    "folder": text("submission.folder"),
    "file_name": text("submission.file_name"),
    **columns_of(
        "orders",
        "order_id",
        "account",
        "customer_order_id",
        "action",
        "product",
        "access_number",
        "origin",
        "termination",
        "code_type",
    ),
    "ordered": integer("orders.cards + orders.granted"),
    "date": integer("night.reconciliation_date"),
    "at": text("night.at"),
}
_OF_ORDER: Final = f"""
    JOIN orders ON orders.order_pk = order_files.order_pk {_SUBMISSION}
    JOIN events AS night ON night.event = order_files.event
"""


def files_of_night(registry: Registry, event: int) -> pl.DataFrame:
    """The files of orders that a night writes.

    The fields of ORDER_FILE and of the order, `reseller` and `folder` of its submission, how many `orders` that has, `date`
    of the night, when it was (`at`), how many cards the order may have (`ordered`), and of release files their `number` in the
    order and how many cards it has `released` with this one.
    """
    rest = f"FROM order_files {_OF_ORDER} WHERE order_files.event = {event} ORDER BY order_files.order_pk, order_files.kind"
    return _numbered(registry, registry.select(_FILE, rest))


def files_of_orders(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    """The files of these orders that nights have written, as those of a night."""
    files = registry.select_with(
        order_pks.unique().sort().to_frame("order_pk"),
        _FILE,
        f"FROM given JOIN order_files ON order_files.order_pk = given.order_pk {_OF_ORDER}",
    )
    return _numbered(registry, files.sort("order_pk", "event", "kind"))


def cards_of_files(registry: Registry, files: pl.DataFrame) -> FileCards:
    """The cards that stand in files of orders."""

    def keys(kind: str) -> pl.DataFrame:
        return files.filter(kind=kind).select("order_pk", "event", "date").sort("order_pk", "event")

    return FileCards(
        released=_released(registry, files),
        refused=_refused_cards(registry, keys(REFUSED)),
        outcomes=_outcome_cards(registry, keys(OUTCOME)),
    )


def _numbered(registry: Registry, files: pl.DataFrame) -> pl.DataFrame:
    """Files with the `number` of each release file among those of its order, and what was `released` with it and before."""
    every = registry.select_with(
        files.filter(kind=RELEASE).select("order_pk").unique().sort("order_pk"),
        columns_of("order_files", "order_pk", "kind", "event", "cards"),
        f"FROM given JOIN order_files ON order_files.order_pk = given.order_pk WHERE order_files.kind = '{RELEASE}'",
    ).sort("order_pk", "event")
    counted = every.select(
        "order_pk", "kind", "event",
        number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("order_pk"),
        released=pl.col("cards").cum_sum().over("order_pk"),
    )  # fmt: skip
    joined = files.join(counted, on=["order_pk", "kind", "event"], how="left", maintain_order="left")
    orders = registry.select_with(
        files.select("submission").unique(),
        {"submission": integer("given.submission"), "orders": integer("count(*)")},
        "FROM given JOIN orders ON orders.event = given.submission GROUP BY given.submission",
    )
    joined = joined.join(orders, on="submission", how="left", maintain_order="left")
    return joined.with_columns(pl.col("number", "released").fill_null(0))


def _released(registry: Registry, files: pl.DataFrame) -> pl.DataFrame:
    """The cards of release files, as their order and the changes until then have them."""
    releases = files.filter(kind=RELEASE).select("order_pk", "event").sort("order_pk", "event")
    cards = registry.select_with(
        releases,
        {
            **columns_of("release_ranges", "order_pk", "event"),
            **columns_of("cards", "serial", "code"),
        },
        """
        FROM given
        JOIN release_ranges ON release_ranges.order_pk = given.order_pk AND release_ranges.event = given.event
        JOIN cards ON cards.order_pk = release_ranges.order_pk
            AND cards.serial BETWEEN release_ranges.first_serial AND release_ranges.last_serial
        """,
    ).sort("order_pk", "event", "serial")
    fields = files.filter(kind=RELEASE).select("order_pk", "event", "order_id", "account", "customer_order_id", *CHANGED)
    cards = cards.join(fields, on=["order_pk", "event"], how="left", maintain_order="left")
    changed = _changes_before(registry, releases)
    return cards.pipe(_with_changes, changed) if len(changed) else cards


def _changes_before(registry: Registry, releases: pl.DataFrame) -> pl.DataFrame:
    """What changes had set of cards before they were released, which they may have waited for while they were blocked:
    `order_pk`, `serial`, `event` of the release, and the values (null: as it was).
    """
    changes = registry.select_with(
        releases.select("order_pk", "event"),
        {
            "order_pk": integer("given.order_pk"),
            "serial": integer("card_actions.card_serial"),
            "event": integer("given.event"),
            "shown_event": integer("card_actions.settled_event"),
            **columns_of("orders", *CHANGED),
        },
        f"""
        FROM given
        JOIN card_actions ON card_actions.card_order_pk = given.order_pk
            AND card_actions.outcome = {ActionOutcome.SHOWN} AND card_actions.settled_event <= given.event
        JOIN orders ON orders.order_pk = card_actions.order_pk AND orders.action IN ({changing()})
        """,
    ).sort("shown_event")
    names = pl.col(CHANGED)
    latest = changes.with_columns(pl.when(names != "").then(names)).group_by("order_pk", "serial", "event")
    return latest.agg(names.drop_nulls().last())


def _with_changes(cards: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
    joined = cards.join(changed, on=["order_pk", "serial", "event"], how="left", suffix="_new", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"{name}_new", name).alias(name) for name in CHANGED).select(cards.columns)


def _refused_cards(registry: Registry, refusals: pl.DataFrame) -> pl.DataFrame:
    """The cards that nights refused (`order_pk`, `event`), and what replaced them."""
    return registry.select_with(
        refusals.select("order_pk", "event"),
        {"event": integer("given.event"), **columns_of("cards", "serial"), **_REFUSED},
        f"""
        FROM given
        JOIN state_transitions
            ON state_transitions.order_pk = given.order_pk AND state_transitions.event = given.event
            AND state_transitions.to_state = {CardState.REFUSED}
        {_CARD_OF_TRANSITION} {_REPLACED_BY}
        """,
    ).sort("order_pk", "event", "serial")


def _outcome_cards(registry: Registry, outcomes: pl.DataFrame) -> pl.DataFrame:
    """What came of the cards of orders that take cards, by a night (`order_pk`, `event`, its `date`) and the reports that it
    acted on: those of its date since the night event before.
    """
    before = """
        coalesce(
            (
                SELECT max(earlier.event) FROM events AS earlier
                WHERE earlier.reconciliation_date > 0 AND earlier.reconciliation_date = given.date
                AND earlier.kind = 'night' AND earlier.event < given.event
            ), 0
        )
    """
    done = f"""
        card_actions.outcome = {ActionOutcome.SHOWN} AND card_actions.settled_event <= given.event
        AND card_actions.settled_event > {before} AND reports.reconciliation_date = given.date
    """
    card = f"{_CARD_OF_ACTION} JOIN orders AS owners ON owners.order_pk = cards.order_pk"
    return registry.select_with(
        outcomes,
        {
            "order_pk": integer("given.order_pk"),
            "event": integer("given.event"),
            "owner": text("owners.order_id"),
            **columns_of("cards", "serial", "code"),
            "done": integer("CASE WHEN card_actions.missed_event = given.event THEN 0 ELSE 1 END"),
        },
        f"""
        FROM given
        JOIN card_actions ON card_actions.order_pk = given.order_pk {card}
        LEFT JOIN events AS reports ON reports.event = card_actions.settled_event
        WHERE card_actions.missed_event = given.event OR ({done})
        """,
    ).sort("order_pk", "event", "owner", "serial")


def placements(registry: Registry, event: int) -> pl.DataFrame:
    """The cards that a night placed as replacements, with the fields of their order."""
    fields = ("order_pk", "order_id", "action", "account", "product", "access_number", "origin", "termination")
    return registry.select(
        {**columns_of("cards", "code"), **columns_of("orders", *fields)},
        f"""
        FROM replacements
        JOIN cards ON cards.order_pk = replacements.order_pk AND cards.serial = replacements.serial
        JOIN orders ON orders.order_pk = cards.order_pk
        WHERE replacements.event = {event}
        ORDER BY cards.order_pk, cards.serial
        """,
    )
