"""What network reports and nights change in the registry. `night_records` reads back what they did."""

from typing import Any, Final

import polars as pl

from pipelines.registry import movements
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.numbers import enter_cards, enter_external
from pipelines.registry.records import ReportMatch
from pipelines.registry.schema import INT, NEARLY_FULL
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, ApprovalDecision, Awaiting, issuing
from schemas.codes import NO_STATE, STATES, CardState

STATE: Final = {name: number for number, name in enumerate(STATES)}
NO_ORDER: Final = 0
"""Stands for the order of a code that was not issued here, and of an Order ID that does not exist."""
TO_RELEASE: Final = 0
"""Stands for the night that will release cards which reports brought."""
NO_CODE: Final = -1
"""Stands for the order of a code that the registry does not hold."""
MOST_NIGHT_BTNS: Final = 1_000
"""A night reports no more BTNs than this, those with the fewest PINs left."""

RELEASE, REFUSED, OUTCOME = "release", "refused", "outcome"
"""The kinds of files that a night writes for an order."""
_CARD: Final = {"serial": integer("cards.serial"), "state": integer("cards.state")}
_MATCHED: Final = ["report", "order_id", "code", "order_pk", "action", "owner", "serial", "state", "outcome", "placed_event"]


# -- reports -----------------------------------------------------------------------------------------------------------


def orders_named(registry: Registry, ids: pl.Series) -> pl.DataFrame:
    """The orders with these Order IDs: `order_id`, `order_pk`, `action`, `event` (which placed it), `cards`, `granted`,
    `confirmed`, `awaiting`.
    """
    names = ("order_id", "order_pk", "action", "event", "cards", "granted", "confirmed", "awaiting")
    return registry.select_with(
        ids.unique().to_frame("order_id"),
        columns_of("orders", *names),
        "FROM given JOIN orders ON orders.order_id = given.order_id",
    )


def cards_named(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that the named orders (see `orders_named`) issued or take: `order_pk` of the order that is named, `code`, the
    card (`owner`, `serial`), its `state`, and the `outcome` of the named order for it (see ActionOutcome).
    """
    return pl.concat([_own_cards(registry, orders), _target_cards(registry, orders)])


def replacements_of(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that nights issued to replace others of these orders: `order_pk`, `serial`, `event` of the night, and `at`,
    by when their placement file was written.
    """
    return registry.select_with(
        orders.select("order_pk").sort("order_pk"),
        {
            **columns_of("replacements", "order_pk", "serial", "event"),
            "at": text("CASE WHEN events.file_at <> '' THEN events.file_at ELSE events.at END"),
        },
        """
        FROM given
        JOIN replacements ON replacements.order_pk = given.order_pk
        JOIN events ON events.event = replacements.event
        """,
    )


def match_codes(registry: Registry, shown: pl.DataFrame, orders: pl.DataFrame, cards: pl.DataFrame) -> pl.DataFrame:
    """What is known of the codes that reports show (`report`, `order_id`, `code`); `orders`, `cards`: what the Order IDs name
    (see `orders_named`, `cards_named`).

    Each line once, by the order that is named and the serial: `order_pk` and `action` of the order that is named (NO_ORDER
    and empty where there is none); the card that has the code: its order `owner` (NO_ORDER where it is external, NO_CODE
    where it is not known), `serial`, and `state` (NO_STATE where it is not known); `outcome` of the named order for the card
    (see ActionOutcome); and `placed_event`, as the cards have it.
    """
    shown = shown.join(orders.select("order_id", "order_pk", "action"), on="order_id", how="left", maintain_order="left")
    named, nowhere = shown.drop_nulls("order_pk"), shown.filter(pl.col("order_pk").is_null())
    nowhere = nowhere.unique(["report", "order_id", "code"])
    if named["code"].n_unique() < named.height:  # a report rarely shows a code twice, and to see that takes the least
        named = named.unique(["report", "order_pk", "code"])
        own = _in_order(cards).join(named, on=["order_pk", "code"], maintain_order="left").select(_MATCHED)
    else:  # one key takes half the time of two
        own = _in_order(cards).join(named, on="code", suffix="_named", maintain_order="left")
        own = own.filter(pl.col("order_pk") == pl.col("order_pk_named")).select(_MATCHED)
    if own.height == named.height and nowhere.is_empty():
        return own
    strange = pl.concat([named.join(cards, on=["order_pk", "code"], how="anti"), nowhere])
    found = strange.join(_cards_with(registry, strange["code"].unique().sort()), on="code", how="left")
    absent = {"order_pk": NO_ORDER, "action": "", "owner": NO_CODE, "serial": 0, "state": NO_STATE}
    found = found.with_columns(pl.col(name).fill_null(value) for name, value in absent.items())
    found = found.with_columns(outcome=pl.lit(int(ActionOutcome.NONE), pl.Int64), placed_event=pl.lit(0, pl.Int64))
    return pl.concat([own, found.select(_MATCHED)]).sort("order_pk", "serial", "code", maintain_order=True)


def _in_order(cards: pl.DataFrame) -> pl.DataFrame:
    """Cards by order and serial, as they lie in the registry: to see that they do takes far less than to sort a million."""
    order, serial = pl.col("order_pk"), pl.col("serial")
    follows = (order > order.shift()) | ((order == order.shift()) & (serial >= serial.shift()))
    return cards if cards.select(follows.fill_null(value=True).all()).item() else cards.sort("order_pk", "serial")


def _own_cards(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that the named orders issued, which lie side by side."""
    issued = orders.filter(pl.col("action").is_in(issuing())).select("order_pk").sort("order_pk")
    columns = {**columns_of("cards", "order_pk", "code"), **_CARD}
    cards = registry.select_with(issued, columns, "FROM given JOIN cards ON cards.order_pk = given.order_pk")
    outcome = pl.lit(int(ActionOutcome.NONE), INT)
    return cards.select("order_pk", "code", "serial", "state", owner="order_pk", outcome=outcome)


def _target_cards(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that the named orders take."""
    columns = {**columns_of("card_actions", "order_pk"), **columns_of("cards", "code"), **_CARD,
               "owner": integer("cards.order_pk"), **columns_of("card_actions", "outcome")}  # fmt: skip
    return registry.select_with(
        orders.filter(~pl.col("action").is_in(issuing())).select("order_pk").sort("order_pk"),
        columns,
        """
        FROM given
        JOIN card_actions ON card_actions.order_pk = given.order_pk
        JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
        """,
    )


def _cards_with(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """Whose these codes are: `code`, `owner`, `serial`, `state`."""
    return registry.select_with(
        codes.to_frame("code"),
        {
            **columns_of("numbers", "code"),
            "owner": integer("numbers.order_pk"),
            "serial": integer("numbers.serial"),
            "state": integer(f"coalesce(cards.state, {CardState.EXTERNAL})"),
        },
        """
        FROM given
        JOIN numbers ON numbers.code = given.code
        LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
        """,
    )


def ready_since(registry: Registry, cards: pl.DataFrame) -> pl.DataFrame:
    """Since when cards (`order_pk`, `serial`) that are ready are: both, and `at` of the report, but for those that no night
    has acted on yet.
    """
    return registry.select_with(
        cards.select("order_pk", "serial").unique().sort("order_pk", "serial"),
        {"order_pk": integer("given.order_pk"), "serial": integer("given.serial"), "at": text("max(events.at)")},
        f"""
        FROM given
        JOIN state_transitions
            ON state_transitions.order_pk = given.order_pk AND state_transitions.serial = given.serial
            AND state_transitions.to_state = {CardState.READY}
        JOIN events ON events.event = state_transitions.event
        GROUP BY given.order_pk, given.serial HAVING min(events.reconciliation_date) > 0
        """,
    )


def known_reports(registry: Registry, digests: pl.Series) -> pl.DataFrame:
    """The reports that had these bytes before: `digest`, `event` (the first that was used; 0: none was), `waiting`, the event
    of one that is on hold, and `approved`, that of one that was, and that nothing has acted on since (0: none).
    """
    used = "events.readable = 1 AND events.original_event = events.event"
    waiting = f"approvals.decision = {ApprovalDecision.WAITING}"
    approved = f"approvals.decision = {ApprovalDecision.APPROVED} AND approvals.used_event = 0"
    return registry.select_with(
        digests.unique().to_frame("digest"),
        {
            "digest": text("given.digest"),
            "event": integer(f"coalesce(min(CASE WHEN {used} THEN events.event END), 0)"),
            "waiting": integer(f"coalesce(min(CASE WHEN {waiting} THEN approvals.event END), 0)"),
            "approved": integer(f"coalesce(min(CASE WHEN {approved} THEN approvals.event END), 0)"),
        },
        """
        FROM given
        JOIN events ON events.digest = given.digest AND events.kind = 'report'
        LEFT JOIN approvals ON approvals.event = events.event
        GROUP BY given.digest
        """,
    )


def enter_reports(registry: Registry, match: ReportMatch) -> None:
    """Enter all that follows from reports; the `event` of each row is that of its report. Inside a transaction."""
    for event, codes in match.external.group_by("event"):
        enter_external(registry, codes["code"].unique().sort(), int(str(event[0])))
    registry.append("unexpected_codes", match.unexpected)
    apply_transitions(registry, match.transitions)
    _note_done(registry, match.done)
    registry.execute_with(
        match.named.select("order_pk", "judged_event", "arrived"),
        "order_pk",
        f"""
        UPDATE orders SET
            awaiting = CASE WHEN orders.awaiting = {Awaiting.REPORT} THEN {Awaiting.RECONCILIATION} ELSE orders.awaiting END,
            judged_event = CASE
                WHEN given.judged_event > orders.judged_event THEN given.judged_event ELSE orders.judged_event
            END,
            confirmed = orders.confirmed + given.arrived
        FROM given WHERE orders.order_pk = given.order_pk
        """,
    )


def hold_report(registry: Registry, event: int, about: str) -> None:
    """Keep that a report is on hold, and why. Inside a transaction."""
    row = {"event": event, "about": about, "decision": ApprovalDecision.WAITING, "decided_by": "", "why": "",
           "decided_at": "", "used_event": 0}  # fmt: skip
    registry.append("approvals", pl.DataFrame([row]))


def use_approval(registry: Registry, approved: int, event: int) -> None:
    """Keep which event acted on a report that was on hold. Inside a transaction."""
    registry.execute(f"UPDATE approvals SET used_event = {event} WHERE event = {approved}")


def apply_transitions(registry: Registry, transitions: pl.DataFrame) -> None:
    """Enter changes of state: `order_pk`, `serial`, `from_state`, `to_state`, `event`.

    Cards that lie side by side and change alike are one range: a whole order is one row of `given`.
    """
    counts = transitions.group_by("event", "order_pk", "from_state", "to_state").agg(cards=pl.len().cast(INT))
    registry.append("order_transitions", counts)
    changed = transitions.select("order_pk", "serial", "event", state=pl.col("to_state").cast(pl.Int16))
    ranges = serial_ranges(changed, "state", "event")
    cards = "cards.order_pk = given.order_pk AND cards.serial BETWEEN given.first_serial AND given.last_serial"
    registry.execute_with(
        ranges,
        "",
        f"""
        INSERT INTO state_transitions
        SELECT cards.order_pk, cards.serial, given.event, cards.state, given.state FROM given JOIN cards ON {cards}
        """,
    )
    registry.execute_with(ranges, "", f"UPDATE cards SET state = given.state FROM given WHERE {cards}")
    first_ready = transitions.filter(pl.col("to_state") == CardState.READY, pl.col("from_state") != CardState.BLOCKED).select(
        "order_pk", "serial"
    )
    registry.append("release_ranges", serial_ranges(first_ready).with_columns(event=pl.lit(TO_RELEASE, INT)))


def serial_ranges(cards: pl.DataFrame, *alike: str) -> pl.DataFrame:
    """`order_pk`, `first_serial`, `last_serial` of cards (`order_pk`, `serial`) that lie side by side and are `alike` in
    these columns, which are kept.
    """
    rows = cards.sort("order_pk", "serial")
    follows = (pl.col("order_pk") == pl.col("order_pk").shift()) & (pl.col("serial") == pl.col("serial").shift() + 1)
    for name in alike:
        follows &= pl.col(name) == pl.col(name).shift()
    rows = rows.with_columns(run=(~follows.fill_null(value=False)).cum_sum())
    return rows.group_by("run", maintain_order=True).agg(
        pl.col("order_pk").first(), first_serial=pl.col("serial").first(), last_serial=pl.col("serial").last(),
        **{name: pl.col(name).first() for name in alike},
    ).drop("run")  # fmt: skip


def _note_done(registry: Registry, done: pl.DataFrame) -> None:
    """Note for which cards orders were carried out: `order_pk`, `card_order_pk`, `card_serial`, `event`."""
    registry.execute_with(
        done.unique(["order_pk", "card_order_pk", "card_serial"], keep="first", maintain_order=True),
        "order_pk, card_order_pk, card_serial",
        f"""
        UPDATE card_actions SET outcome = {ActionOutcome.SHOWN}, settled_event = given.event
        FROM given
        WHERE card_actions.order_pk = given.order_pk AND card_actions.card_order_pk = given.card_order_pk
        AND card_actions.card_serial = given.card_serial AND card_actions.outcome <> {ActionOutcome.SHOWN}
        """,
    )


OPEN: Final = "events.reconciliation_date = 0 AND events.kind IN ('report', 'grant')"
"""Events that no night has acted on."""


def has_open_reports(registry: Registry) -> bool:
    """Whether there is a report or a grant that no night has acted on."""
    return bool(registry.select({"reports": integer("count(*)")}, f"FROM events WHERE {OPEN}").item())


# -- the night ---------------------------------------------------------------------------------------------------------


def waiting_cards(registry: Registry) -> pl.DataFrame:
    """Placed cards of orders that reports name and that no report shows: `order_pk`, `serial`, `order_id`, `code_type`,
    `code`, `judged` (whether the reports were written after the card was placed), and how many cards the order still
    lacks (`missing`), those that are placed included; by code.
    """
    found = registry.select(
        {
            **columns_of("orders", "order_pk", "order_id", "code_type"),
            **columns_of("cards", "serial", "code"),
            "judged": integer("CASE WHEN coalesce(replacements.event, orders.event) <= orders.judged_event THEN 1 ELSE 0 END"),
            "missing": integer("orders.cards + orders.granted - orders.confirmed"),
        },
        f"""
        FROM orders
        JOIN cards ON cards.order_pk = orders.order_pk
        LEFT JOIN replacements
            ON cards.serial > orders.cards AND replacements.order_pk = cards.order_pk AND replacements.serial = cards.serial
        WHERE orders.awaiting > 0 AND orders.awaiting = {Awaiting.RECONCILIATION} AND cards.state = {CardState.PLACED}
        """,
    )
    return found.with_columns(pl.col("judged") > 0).sort("code")


def enter_night(
    registry: Registry,
    event: dict[str, Any],
    refused: pl.DataFrame,
    waiting: pl.DataFrame,
    replaced: pl.DataFrame,
    overdue_hours: float,
) -> int:
    """Close every order that reports name; the event's number. Inside a transaction.

    `refused`: `order_pk`, `serial`, `code`; `waiting`: orders (`order_pk`) with cards that no report has judged, which go on
    waiting; `replaced`: `order_pk`, `code` (new), `replaced` (the refused code); `overdue_hours`: after how many an awaited
    order is overdue.
    """
    number = registry.enter_event(event)
    date = event["reconciliation_date"]
    states = {"from_state": pl.lit(CardState.PLACED.value), "to_state": pl.lit(CardState.REFUSED.value)}
    apply_transitions(registry, refused.select("order_pk", "serial", **states, event=pl.lit(number, INT)))
    _miss(registry, number)
    _add_night_figures(registry, date, number)
    movements.enter_movements(registry, number, date, f"SELECT events.event FROM events WHERE {OPEN} UNION ALL SELECT {number}")
    files = [_release(registry, number), _refused_files(refused), _outcome_files(registry, number)]
    _enter_order_files(registry, pl.concat(files), number, date)
    registry.execute(f"UPDATE events SET reconciliation_date = {date} WHERE {OPEN}")
    _close_reported_orders(registry, waiting)
    serials = refused.select("order_pk", replaced="code", replaced_serial="serial")
    _replace(registry, replaced.join(serials, on=["order_pk", "replaced"]), number, event["at"])
    movements.enter_replaced(registry, number, date)
    _enter_night_btns(registry, number)
    movements.enter_measures(registry, event, overdue_hours)
    return number


def _miss(registry: Registry, event: int) -> None:
    """Note that what reported orders asked for was not done for the cards that no report shows."""
    registry.execute(
        f"""
        UPDATE card_actions SET outcome = {ActionOutcome.NOT_SHOWN}, settled_event = {event}, missed_event = {event}
        WHERE outcome = {ActionOutcome.AWAITED} AND order_pk IN (SELECT order_pk FROM orders WHERE {_REPORTED})
        """
    )


def _release(registry: Registry, event: int) -> pl.DataFrame:
    """Release what became ready since the last night: each card stands in one release. The files: see ORDER_FILE.

    A card that was blocked before it could be released is released when it is ready again.
    """
    _withdraw(registry)
    unblocked = _unreleased(registry, _unblocked(registry))
    if len(unblocked):
        registry.append("release_ranges", serial_ranges(unblocked).with_columns(event=pl.lit(TO_RELEASE, INT)))
    registry.execute(f"UPDATE release_ranges SET event = {event} WHERE event = {TO_RELEASE}")
    ranges = registry.select(
        columns_of("release_ranges", "order_pk", "first_serial", "last_serial"),
        f"FROM release_ranges WHERE release_ranges.event = {event}",
    )
    cards = (pl.col("last_serial") - pl.col("first_serial") + 1).sum()
    return ranges.group_by("order_pk").agg(pl.lit(RELEASE).alias("kind"), cards=cards)


def _withdraw(registry: Registry) -> None:
    """Take cards that are to be released and no longer ready, as they were blocked meanwhile, from what is to be released."""
    changed = registry.select(
        {"order_pk": integer("DISTINCT order_transitions.order_pk")},
        f"""
        FROM order_transitions
        WHERE order_transitions.event IN (SELECT events.event FROM events WHERE {OPEN})
        AND order_transitions.from_state = {CardState.READY}
        """,
    )
    left = registry.select_with(
        changed,
        columns_of("cards", "order_pk", "serial"),
        f"""
        FROM given
        JOIN release_ranges ON release_ranges.order_pk = given.order_pk AND release_ranges.event = {TO_RELEASE}
        JOIN cards ON cards.order_pk = release_ranges.order_pk
            AND cards.serial BETWEEN release_ranges.first_serial AND release_ranges.last_serial
        WHERE cards.state = {CardState.READY}
        """,
    )
    registry.execute_with(
        changed,
        "order_pk",
        f"DELETE FROM release_ranges WHERE event = {TO_RELEASE} AND order_pk IN (SELECT given.order_pk FROM given)",
    )
    registry.append("release_ranges", serial_ranges(left).with_columns(event=pl.lit(TO_RELEASE, INT)))


def _unblocked(registry: Registry) -> pl.DataFrame:
    """The cards that the open reports unblocked, and that are ready: `order_pk`, `serial`."""
    changes = registry.select(
        columns_of("order_transitions", "order_pk", "event"),
        f"""
        FROM order_transitions
        WHERE order_transitions.event IN (SELECT events.event FROM events WHERE {OPEN})
        AND order_transitions.from_state = {CardState.BLOCKED} AND order_transitions.to_state = {CardState.READY}
        """,
    )
    return registry.select_with(
        changes.sort("order_pk", "event"),
        columns_of("cards", "order_pk", "serial"),
        f"""
        FROM given
        JOIN state_transitions
            ON state_transitions.order_pk = given.order_pk AND state_transitions.event = given.event
            AND state_transitions.from_state = {CardState.BLOCKED} AND state_transitions.to_state = {CardState.READY}
        JOIN cards ON cards.order_pk = state_transitions.order_pk AND cards.serial = state_transitions.serial
            AND cards.state = {CardState.READY}
        """,
    ).unique()


def _unreleased(registry: Registry, cards: pl.DataFrame) -> pl.DataFrame:
    """Those of the cards (`order_pk`, `serial`) that stand in no release."""
    released = registry.select_with(
        cards.select("order_pk").unique().sort("order_pk"),
        columns_of("release_ranges", "order_pk", "first_serial", "last_serial"),
        "FROM given JOIN release_ranges ON release_ranges.order_pk = given.order_pk",
    ).sort("order_pk", "first_serial")
    found = cards.sort("serial").join_asof(
        released.sort("first_serial"),
        left_on="serial",
        right_on="first_serial",
        by="order_pk",
        strategy="backward",
        check_sortedness=False,
    )
    return found.filter(pl.col("last_serial").fill_null(0) < pl.col("serial")).select(cards.columns)


def _refused_files(refused: pl.DataFrame) -> pl.DataFrame:
    return refused.group_by("order_pk").agg(kind=pl.lit(REFUSED), cards=pl.len().cast(INT))


def _outcome_files(registry: Registry, event: int) -> pl.DataFrame:
    """The orders that take cards of which this night knows what came."""
    columns = {"order_pk": integer("card_actions.order_pk"), "cards": integer("count(*)")}
    shown = registry.select(
        columns,
        f"""
        FROM card_actions
        WHERE card_actions.settled_event > 0 AND card_actions.outcome = {ActionOutcome.SHOWN}
        AND card_actions.settled_event IN (SELECT events.event FROM events WHERE {OPEN})
        GROUP BY card_actions.order_pk
        """,
    )
    missed = "FROM card_actions WHERE card_actions.missed_event > 0 AND card_actions.missed_event"
    every = pl.concat([shown, registry.select(columns, f"{missed} = {event} GROUP BY card_actions.order_pk")])
    return every.group_by("order_pk").agg(pl.lit(OUTCOME).alias("kind"), pl.col("cards").sum())


def _enter_order_files(registry: Registry, files: pl.DataFrame, event: int, date: int) -> None:
    """Keep which files this night writes (`order_pk`, `kind`, `cards`)."""
    nights = registry.select(
        {"nights": integer("count(*)")},
        f"""
        FROM events
        WHERE events.reconciliation_date > 0 AND events.reconciliation_date = {date} AND events.kind = 'night'
        AND events.event <= {event}
        """,
    ).item()
    registry.append("order_files", files.with_columns(part=pl.lit(nights, INT), event=pl.lit(event, INT)))


def _add_night_figures(registry: Registry, date: int, event: int) -> None:
    """Add the transitions of the reports that this night acts on, and its own, to the night's running figures."""
    registry.execute(
        f"""
        INSERT INTO night_figures
        SELECT {date}, from_state, to_state, CAST(sum(cards) AS BIGINT) AS cards
        FROM order_transitions
        WHERE event IN (SELECT event FROM events WHERE {OPEN} UNION ALL SELECT {event})
        GROUP BY from_state, to_state
        ON CONFLICT (reconciliation_date, from_state, to_state) DO UPDATE SET cards = night_figures.cards + excluded.cards
        """
    )


_REPORTED: Final = f"awaiting > 0 AND awaiting = {Awaiting.RECONCILIATION}"  # the first part is that of the index


def _close_reported_orders(registry: Registry, waiting: pl.DataFrame) -> None:
    registry.execute(f"UPDATE orders SET awaiting = {Awaiting.NOTHING} WHERE {_REPORTED}")
    registry.execute_with(
        waiting.select("order_pk").unique(),
        "order_pk",
        f"UPDATE orders SET awaiting = {Awaiting.REPORT} FROM given WHERE orders.order_pk = given.order_pk",
    )


def _replace(registry: Registry, replaced: pl.DataFrame, event: int, at: str) -> None:
    """Issue replacements: `order_pk`, `code`, `replaced_serial`. Their orders await a report again."""
    last = registry.select_with(
        replaced.select("order_pk").unique(),
        {
            "order_pk": integer("given.order_pk"),
            "last": integer("(SELECT max(cards.serial) FROM cards WHERE cards.order_pk = given.order_pk)"),
        },
        "FROM given",
    )
    cards = replaced.join(last, on="order_pk").sort("order_pk", "code").with_columns(event=pl.lit(event, INT))
    cards = cards.with_columns(serial=pl.col("last") + pl.int_range(1, pl.len() + 1, dtype=INT).over("order_pk"))
    enter_cards(registry, cards)
    registry.append("replacements", cards)
    registry.execute_with(
        cards.select("order_pk").unique(),
        "order_pk",
        f"UPDATE orders SET awaiting = {Awaiting.REPORT}, since = $1 FROM given WHERE orders.order_pk = given.order_pk",
        at,
    )


def _enter_night_btns(registry: Registry, event: int) -> None:
    """Keep what is left of the BTNs that have changed since the night before, and of those that are nearly full."""
    previous = f"""
        SELECT event FROM events WHERE kind = 'night' AND reconciliation_date > 0 AND event < {event}
        ORDER BY reconciliation_date DESC, event DESC LIMIT 1
    """
    registry.execute(
        f"""
        INSERT INTO night_btns
        SELECT {event}, btn, free FROM (
            SELECT btn, valid - used AS free FROM btns WHERE changed_event > coalesce(({previous}), 0)
            UNION
            SELECT btn, valid - used AS free FROM btns WHERE valid - used < {NEARLY_FULL}
        ) AS reported
        ORDER BY free, btn LIMIT {MOST_NIGHT_BTNS}
        """
    )


def note_written(registry: Registry, event: int, at: str) -> None:
    """Keep by when a night had written its placement file: no report that is older can know of its replacements."""
    with registry.transaction():
        registry.execute(f"UPDATE events SET file_at = $1 WHERE event = {event}", at)


def of_night(date: int) -> str:
    """The events of a night: itself and the reports that it acted on."""
    return f"events.reconciliation_date > 0 AND events.reconciliation_date = {date}"


def latest_night(registry: Registry, date: int) -> dict[str, Any] | None:
    """The latest event of a night; None when it has none."""
    return next(iter(nights_of(registry, date)[-1:]), None)


def night_dates(registry: Registry, since: int) -> list[int]:
    """The dates of nights (20261124) since a date, in their order."""
    rest = (
        f"FROM events WHERE events.reconciliation_date > 0 AND events.reconciliation_date >= {since} AND events.kind = 'night'"
    )
    found = registry.select({"reconciliation_date": integer("DISTINCT events.reconciliation_date")}, rest)
    return found["reconciliation_date"].sort().to_list()


def nights_of(registry: Registry, date: int) -> list[dict[str, Any]]:
    """The events of a night, in their order: it has several when it ran again with more reports."""
    rest = f"FROM events WHERE kind = 'night' AND reconciliation_date > 0 AND reconciliation_date = {date} ORDER BY event"
    return registry.select(columns_of("events"), rest).to_dicts()
