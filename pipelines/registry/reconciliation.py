"""What network reports and nights change in the registry. `night_records` reads back what they did."""

from typing import Any, Final

import polars as pl

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.numbers import enter_cards, enter_external
from pipelines.registry.records import ReportMatch
from pipelines.registry.schema import INT, NEARLY_FULL
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, Awaiting, issuing
from schemas.codes import NO_STATE, STATES, CardState

STATE: Final = {name: number for number, name in enumerate(STATES)}
NO_ORDER: Final = 0
"""Stands for the order of a code that was not issued here, and of an Order ID that does not exist."""
NO_CODE: Final = -1
"""Stands for the order of a code that the registry does not hold."""
MOST_NIGHT_BTNS: Final = 1_000
"""A night reports no more BTNs than this, those with the fewest PINs left."""

_CARD: Final = {"serial": integer("cards.serial"), "state": integer("cards.state")}


# -- reports -----------------------------------------------------------------------------------------------------------


def orders_named(registry: Registry, ids: pl.Series) -> pl.DataFrame:
    """The orders with these Order IDs: `order_id`, `order_pk`, `action`."""
    return registry.select_with(
        ids.unique().to_frame("order_id"),
        columns_of("orders", "order_id", "order_pk", "action"),
        "FROM given JOIN orders ON orders.order_id = given.order_id",
    )


def match_codes(registry: Registry, shown: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What is known of the codes that a report shows (`order_id`, `code`); `orders`: see `orders_named`.

    `order_pk` and `action` of the order that is named (NO_ORDER and empty where there is none); the card that has the code:
    its order `owner` (NO_ORDER where it is external, NO_CODE where it is not known), `serial`, and `state` (NO_STATE where
    it is not known); and `outcome` of the named order for the card (see ActionOutcome).
    """
    shown = shown.join(orders, on="order_id", how="left")
    shown = pl.concat([shown.drop_nulls("order_pk").unique(["order_pk", "code"]),  # by numbers, of which there may be a million
                       shown.filter(pl.col("order_pk").is_null()).unique(["order_id", "code"])])  # fmt: skip
    named = pl.concat([_own_cards(registry, orders), _target_cards(registry, orders)])
    known = shown.join(named, on=["order_pk", "code"], how="left", maintain_order="left").sort("order_pk", "serial", "code")
    strange = known.filter(pl.col("owner").is_null())["code"].unique(maintain_order=True)
    others = _cards_with(registry, strange).rename({"owner": "other", "serial": "other_serial", "state": "other_state"})
    known = known.join(others, on="code", how="left", maintain_order="left")
    absent = {
        "order_pk": NO_ORDER,
        "action": "",
        "owner": NO_CODE,
        "serial": 0,
        "state": NO_STATE,
        "outcome": ActionOutcome.NONE,
    }
    own = [pl.coalesce("owner", "other").alias("owner"), pl.coalesce("serial", "other_serial").alias("serial"),
           pl.coalesce("state", "other_state").alias("state")]  # fmt: skip
    known = known.with_columns(own).with_columns(pl.col(name).fill_null(value) for name, value in absent.items())
    return known.select("order_id", "code", *absent)


def _own_cards(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that the named orders issued, which lie side by side."""
    columns = {**columns_of("cards", "order_pk", "code"), "owner": integer("cards.order_pk"),
               **_CARD, "outcome": integer(f"{ActionOutcome.NONE}")}  # fmt: skip
    issued = orders.filter(pl.col("action").is_in(issuing())).select("order_pk").sort("order_pk")
    return registry.select_with(issued, columns, "FROM given JOIN cards ON cards.order_pk = given.order_pk")


def _target_cards(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    """The cards that the named orders take."""
    columns = {**columns_of("card_actions", "order_pk"), **columns_of("cards", "code"), "owner": integer("cards.order_pk"),
               **_CARD, **columns_of("card_actions", "outcome")}  # fmt: skip
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


def enter_report(registry: Registry, event: dict[str, Any], match: ReportMatch) -> int:
    """Enter a report with all that follows from it; the event's number. Inside a transaction."""
    number = registry.enter_event(event)
    enter_external(registry, match.external.unique().sort(), number)
    registry.append("unexpected_codes", match.unexpected.with_columns(event=number))
    _apply_transitions(registry, match.transitions, number)
    _settle(registry, match.done, ActionOutcome.SHOWN, number)
    registry.execute_with(
        match.named.select("order_pk").unique(),
        "order_pk",
        f"""
        UPDATE orders SET awaiting = {Awaiting.RECONCILIATION}
        FROM given WHERE orders.order_pk = given.order_pk AND orders.awaiting = {Awaiting.REPORT}
        """,
    )
    return number


def _apply_transitions(registry: Registry, transitions: pl.DataFrame, event: int) -> None:
    """Enter changes of state: `order_pk`, `serial`, `from_state`, `to_state`.

    Cards that lie side by side and change alike are one range: a whole order is one row of `given`.
    """
    counts = transitions.group_by("order_pk", "from_state", "to_state").agg(cards=pl.len().cast(INT))
    registry.append("order_transitions", counts.with_columns(event=pl.lit(event, INT)))
    ranges = _ranges(transitions)
    cards = "cards.order_pk = given.order_pk AND cards.serial BETWEEN given.first_serial AND given.last_serial"
    registry.execute_with(
        ranges,
        "",
        f"""
        INSERT INTO state_transitions
        SELECT cards.order_pk, cards.serial, {event}, cards.state, given.state FROM given JOIN cards ON {cards}
        """,
    )
    registry.execute_with(ranges, "", f"UPDATE cards SET state = given.state FROM given WHERE {cards}")


def _ranges(transitions: pl.DataFrame) -> pl.DataFrame:
    """`order_pk`, `first_serial`, `last_serial`, `state` of cards side by side that get the same state."""
    rows = transitions.select("order_pk", "serial", state=pl.col("to_state").cast(pl.Int16)).sort("order_pk", "serial")
    follows = (
        (pl.col("order_pk") == pl.col("order_pk").shift())
        & (pl.col("serial") == pl.col("serial").shift() + 1)
        & (pl.col("state") == pl.col("state").shift())
    )
    rows = rows.with_columns(run=(~follows.fill_null(value=False)).cum_sum())
    return rows.group_by("run", maintain_order=True).agg(
        pl.col("order_pk").first(), first_serial=pl.col("serial").first(), last_serial=pl.col("serial").last(),
        state=pl.col("state").first(),
    ).drop("run")  # fmt: skip


def _settle(registry: Registry, done: pl.DataFrame, outcome: ActionOutcome, event: int) -> None:
    """Note what came of cards in orders that take them: `order_pk`, `card_order_pk`, `card_serial`."""
    registry.execute_with(
        done.unique(),
        "order_pk, card_order_pk, card_serial",
        f"""
        UPDATE card_actions SET outcome = {outcome}, settled_event = {event}
        FROM given
        WHERE card_actions.order_pk = given.order_pk AND card_actions.card_order_pk = given.card_order_pk
        AND card_actions.card_serial = given.card_serial AND card_actions.outcome <> {outcome}
        """,
    )


def has_open_reports(registry: Registry) -> bool:
    """Whether a report was entered that no night has acted on."""
    rest = "FROM events WHERE reconciliation_date = 0 AND kind IN ('report', 'grant')"
    return bool(registry.select({"reports": integer("count(*)")}, rest).item())


# -- the night ---------------------------------------------------------------------------------------------------------


def unconfirmed_cards(registry: Registry) -> pl.DataFrame:
    """Placed cards of orders that reports name and that no report shows: `order_pk`, `serial`, `order_id`, `code_type`,
    `code`; by code.
    """
    found = registry.select(
        {**columns_of("orders", "order_pk", "order_id", "code_type"), **columns_of("cards", "serial", "code")},
        f"""
        FROM orders JOIN cards ON cards.order_pk = orders.order_pk
        WHERE orders.awaiting > 0 AND orders.awaiting = {Awaiting.RECONCILIATION} AND cards.state = {CardState.PLACED}
        """,
    )
    return found.sort("code")


def enter_night(registry: Registry, event: dict[str, Any], refused: pl.DataFrame, replaced: pl.DataFrame) -> int:
    """Close every order that reports name; the event's number. Inside a transaction.

    `refused`: `order_pk`, `serial`, `code`; `replaced`: `order_pk`, `code` (new), `replaced` (the refused code).
    """
    number = registry.enter_event(event)
    date = event["reconciliation_date"]
    transitions = refused.select(
        "order_pk", "serial", from_state=pl.lit(CardState.PLACED.value), to_state=pl.lit(CardState.REFUSED.value)
    )
    _apply_transitions(registry, transitions, number)
    _add_night_figures(registry, date, number)
    registry.execute(
        f"UPDATE events SET reconciliation_date = {date} WHERE reconciliation_date = 0 AND kind IN ('report', 'grant')"
    )
    _close_reported_orders(registry, number)
    serials = refused.select("order_pk", replaced="code", replaced_serial="serial")
    _replace(registry, replaced.join(serials, on=["order_pk", "replaced"]), number, event["at"])
    _enter_night_btns(registry, number)
    return number


def _add_night_figures(registry: Registry, date: int, event: int) -> None:
    """Add the transitions of the reports that this night acts on, and its own, to the night's running figures."""
    registry.execute(
        f"""
        INSERT INTO night_figures
        SELECT {date}, from_state, to_state, CAST(sum(cards) AS BIGINT) AS cards
        FROM order_transitions
        WHERE event IN (
            SELECT event FROM events WHERE reconciliation_date = 0 AND kind IN ('report', 'grant') UNION ALL SELECT {event}
        )
        GROUP BY from_state, to_state
        ON CONFLICT (reconciliation_date, from_state, to_state) DO UPDATE SET cards = night_figures.cards + excluded.cards
        """
    )


def _close_reported_orders(registry: Registry, event: int) -> None:
    reported = f"awaiting > 0 AND awaiting = {Awaiting.RECONCILIATION}"  # the first part is that of the index
    registry.execute(
        f"""
        UPDATE card_actions SET outcome = {ActionOutcome.NOT_SHOWN}, settled_event = {event}
        WHERE outcome = {ActionOutcome.AWAITED} AND order_pk IN (SELECT order_pk FROM orders WHERE {reported})
        """
    )
    registry.execute(f"UPDATE orders SET awaiting = {Awaiting.NOTHING} WHERE {reported}")


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


def latest_night(registry: Registry, date: int) -> dict[str, Any] | None:
    """The latest event of a night; None when it has none."""
    rest = f"FROM events WHERE kind = 'night' AND reconciliation_date > 0 AND reconciliation_date = {date}"
    found = registry.select(columns_of("events"), f"{rest} ORDER BY event DESC LIMIT 1")
    return next(found.iter_rows(named=True), None)
