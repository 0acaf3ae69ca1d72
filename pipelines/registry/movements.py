"""The running figures of nights: what happened to how many cards, by reseller, account, product and access number, how many
are active, how long they took, and how fast BTNs are used up.

Analysts' questions are answered from these, so that an answer costs the same in the first week and in the tenth year.
"""

from datetime import datetime
from typing import Any, Final

import polars as pl

from pipelines.common.frames import weighted_quantile
from pipelines.common.times import instant
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.queries import changing
from pipelines.registry.schema import INT, KEYS
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome
from schemas.codes import CardState
from schemas.movements import ACTIVE, ADDED, BY_TRANSITION, GONE, GROUP, Movement

_SETTABLE: Final = ["product", "access_number"]
_SUBMISSION: Final = "JOIN events AS submission ON submission.event = orders.event"
_ORDER: Final = {"reseller": text("submission.source"), **columns_of("orders", "account", "product", "access_number")}
UNKNOWN: Final = -1
"""Stands for a figure of a night that was before figures were kept."""


def enter_movements(registry: Registry, event: int, date: int, events: str) -> None:
    """Add what a night did to the figures of its date. Inside its transaction, before the reports are closed.

    `events`: the query of the events that the night acts on, itself (`event`) included.
    """
    moved = pl.concat([_by_order(registry, events), *_by_card(registry, events, event)])
    counts = moved.group_by(*GROUP, "movement").agg(pl.col("cards").sum()).filter(pl.col("cards") > 0)
    add_movements(registry, date, counts)


def enter_replaced(registry: Registry, event: int, date: int) -> None:
    """Add the replacements that a night issued to the figures of its date."""
    replaced = registry.select(
        {**_ORDER, "movement": text(f"'{Movement.REPLACED}'"), "cards": integer("count(*)")},
        f"""
        FROM replacements JOIN orders ON orders.order_pk = replacements.order_pk {_SUBMISSION}
        WHERE replacements.event = {event}
        GROUP BY {", ".join(column.sql for column in _ORDER.values())}
        """,
    )
    add_movements(registry, date, replaced)


def add_movements(registry: Registry, date: int, counts: pl.DataFrame) -> None:
    """Add to the figures of a date (20261124): GROUP, `movement`, `cards`; and to the active cards of its month and of later
    ones.
    """
    columns = [*GROUP, "movement", "cards"]
    registry.execute_with(
        counts.select(columns),
        "",
        f"""
        INSERT INTO movements (reconciliation_date, {", ".join(columns)})
        SELECT {date}, {", ".join(columns)} FROM given WHERE 1 = 1
        ON CONFLICT ({KEYS["movements"]}) DO UPDATE SET cards = movements.cards + excluded.cards
        """,
    )
    effect = (
        pl.when(pl.col("movement").is_in(ADDED)).then(pl.col("cards"))
        .when(pl.col("movement").is_in(GONE)).then(-pl.col("cards")).otherwise(0)
    )  # fmt: skip
    changed = counts.with_columns(effect=effect).group_by(GROUP).agg(pl.col("effect").sum()).filter(pl.col("effect") != 0)
    _add_active(registry, date, changed)


def _add_active(registry: Registry, date: int, changed: pl.DataFrame) -> None:
    """Add to the active cards (GROUP, `effect`) of the month of a date, which begins as the month before ended."""
    month = date // 100
    _begin_month(registry, month)
    months = registry.select(
        {"month": integer("DISTINCT balances.month")}, f"FROM balances WHERE balances.month > {month} ORDER BY balances.month"
    )
    for one in [month, *months["month"]]:  # a clock that was set back makes later ones
        registry.execute_with(
            changed.select(*GROUP, "effect"),
            "",
            f"""
            INSERT INTO balances (month, active, {", ".join(GROUP)})
            SELECT {one}, effect, {", ".join(GROUP)} FROM given WHERE 1 = 1
            ON CONFLICT ({KEYS["balances"]}) DO UPDATE SET active = balances.active + excluded.active
            """,
        )


def _begin_month(registry: Registry, month: int) -> None:
    """Enter the active cards with which a month begins, unless that was done: the rows of a month stay as they were when it
    ended.
    """
    latest = registry.select({"month": integer("coalesce(max(month), 0)")}, f"FROM balances WHERE month <= {month}").item()
    if latest < month:
        columns = f"active, {', '.join(GROUP)}"
        rows = f"SELECT {month}, {columns} FROM balances WHERE month = {latest} AND active <> 0"
        registry.execute(f"INSERT INTO balances (month, {columns}) {rows}")


def _by_order(registry: Registry, events: str) -> pl.DataFrame:
    """The movements of cards that were not active: they have what their order says, as only ready cards can be changed."""
    found = registry.select(
        {**_ORDER, **_TRANSITION, "cards": integer("CAST(sum(order_transitions.cards) AS BIGINT)")},
        f"""
        FROM order_transitions JOIN orders ON orders.order_pk = order_transitions.order_pk {_SUBMISSION}
        WHERE order_transitions.event IN ({events}) AND order_transitions.from_state NOT IN ({_list(ACTIVE)})
        GROUP BY {", ".join(column.sql for column in [*_ORDER.values(), *_TRANSITION.values()])}
        """,
    )
    return found.with_columns(movement=_movement()).select(*GROUP, "movement", "cards")


def _by_card(registry: Registry, events: str, event: int) -> list[pl.DataFrame]:
    """The movements of active cards, which have what changes until this night gave them; and those changes."""
    left, changed = _left_ready(registry, events), _changed(registry, events)
    cards = pl.concat([left.select("order_pk", "serial"), changed]).unique()
    known = _with_changes(registry, cards, event)
    moved = left.join(known, on=["order_pk", "serial"]).with_columns(movement=_movement(), cards=pl.lit(1, INT))
    gone = left.filter(pl.col("to_state") == CardState.DISCONNECTED).select("order_pk", "serial", gone=pl.lit(value=True))
    active = pl.col("state").is_in(ACTIVE) | pl.col("gone").fill_null(value=False)
    differs = pl.any_horizontal(pl.col(f"{name}_before") != pl.col(name) for name in _SETTABLE)
    changed = changed.join(known, on=["order_pk", "serial"]).join(gone, on=["order_pk", "serial"], how="left")
    changed = changed.filter(active & differs).with_columns(cards=pl.lit(1, INT))
    before = changed.with_columns(pl.col(f"{name}_before").alias(name) for name in _SETTABLE)
    return [
        frame.select(*GROUP, "movement", "cards")
        for frame in (
            moved,
            before.with_columns(movement=pl.lit(Movement.CHANGED_OUT)),
            changed.with_columns(movement=pl.lit(Movement.CHANGED_IN)),
        )
    ]


_TRANSITION: Final = {name: integer(f"order_transitions.{name}") for name in ("from_state", "to_state")}


def _left_ready(registry: Registry, events: str) -> pl.DataFrame:
    """The changes of state of cards that were active: `order_pk`, `serial`, `from_state`, `to_state`."""
    states = {name: integer(f"state_transitions.{name}") for name in ("from_state", "to_state")}
    return registry.select(
        {**columns_of("state_transitions", "order_pk", "serial"), **states},
        f"""
        FROM order_transitions
        JOIN state_transitions
            ON state_transitions.order_pk = order_transitions.order_pk AND state_transitions.event = order_transitions.event
            AND state_transitions.from_state = order_transitions.from_state
            AND state_transitions.to_state = order_transitions.to_state
        WHERE order_transitions.event IN ({events}) AND order_transitions.from_state IN ({_list(ACTIVE)})
        """,
    )


def _changed(registry: Registry, events: str) -> pl.DataFrame:
    """The cards of which these events show that a change is done: `order_pk`, `serial`."""
    return registry.select(
        {"order_pk": integer("card_actions.card_order_pk"), "serial": integer("card_actions.card_serial")},
        f"""
        FROM card_actions JOIN orders ON orders.order_pk = card_actions.order_pk
        WHERE card_actions.settled_event > 0 AND card_actions.settled_event IN ({events})
        AND card_actions.outcome = {ActionOutcome.SHOWN} AND orders.action IN ({changing()})
        """,
    ).unique()


def _with_changes(registry: Registry, cards: pl.DataFrame, event: int) -> pl.DataFrame:
    """GROUP of each card, its `state`, and what it had before this night (`product_before`, `access_number_before`)."""
    own = registry.select_with(
        cards.sort("order_pk", "serial"),
        {**columns_of("cards", "order_pk", "serial"), "state": integer("cards.state"), **_ORDER},
        f"""
        FROM given
        JOIN cards ON cards.order_pk = given.order_pk AND cards.serial = given.serial
        JOIN orders ON orders.order_pk = given.order_pk {_SUBMISSION}
        """,
    )
    set_by = registry.select_with(
        cards.sort("order_pk", "serial"),
        {
            "order_pk": integer("given.order_pk"),
            "serial": integer("given.serial"),
            **columns_of("orders", *_SETTABLE),
            "earlier": integer("CASE WHEN shown.reconciliation_date > 0 THEN 1 ELSE 0 END"),
            "shown_event": integer("card_actions.settled_event"),
            "taken_by": integer("card_actions.order_pk"),
        },
        f"""
        FROM given
        JOIN card_actions ON card_actions.card_order_pk = given.order_pk AND card_actions.card_serial = given.serial
            AND card_actions.outcome = {ActionOutcome.SHOWN} AND card_actions.settled_event <= {event}
        JOIN orders ON orders.order_pk = card_actions.order_pk AND orders.action IN ({changing()})
        JOIN events AS shown ON shown.event = card_actions.settled_event
        """,
    ).sort("shown_event", "taken_by")
    values = pl.col(_SETTABLE).replace("", None)
    last = set_by.group_by("order_pk", "serial").agg(
        values.drop_nulls().last().name.suffix("_now"),
        values.filter(pl.col("earlier") == 1).drop_nulls().last().name.suffix("_before"),
    )
    joined = own.join(last, on=["order_pk", "serial"], how="left")
    return joined.with_columns(
        *(pl.coalesce(f"{name}_now", name).alias(name) for name in _SETTABLE),
        *(pl.coalesce(f"{name}_before", name).alias(f"{name}_before") for name in _SETTABLE),
    )


def _movement() -> pl.Expr:
    key = pl.col("from_state") * len(CardState) + pl.col("to_state")
    words = {before * len(CardState) + after: str(movement) for (before, after), movement in BY_TRANSITION.items()}
    return key.replace_strict(words, return_dtype=pl.String)


def _list(states: tuple[CardState, ...]) -> str:
    return ", ".join(str(int(state)) for state in states)


# -- the measures of a night ---------------------------------------------------------------------------------------------


def enter_measures(registry: Registry, event: dict[str, Any], overdue_hours: float) -> None:
    """Keep what no sum of movements gives, as of a night: how many orders it left awaited and overdue, how many cards are
    active and surplus, and how long the cards that became ready had needed. Inside its transaction, at its end.
    """
    date, at = int(event["reconciliation_date"]), datetime.fromisoformat(event["at"])
    since = registry.select(columns_of("orders", "since"), "FROM orders WHERE orders.awaiting > 0")["since"]
    waited = _seconds_until(at, since)
    seconds = _time_to_ready(registry, date, at)
    row = {
        "reconciliation_date": date,
        "awaited": len(since),
        "overdue": int((waited > overdue_hours * 3600).sum()),
        "active": _active_after(registry, date),
        "surplus": int(
            registry.select({"n": integer("count(*)")}, f"FROM cards WHERE cards.state = {CardState.SURPLUS}").item()
        ),
        "median_seconds": weighted_quantile(seconds, 0.5, default=UNKNOWN),
        "p95_seconds": weighted_quantile(seconds, 0.95, default=UNKNOWN),
    }
    registry.execute(f"DELETE FROM night_measures WHERE reconciliation_date = {date}")
    registry.append("night_measures", pl.DataFrame([row]))


def _seconds_until(at: datetime, since: pl.Series) -> pl.Series:
    """Whole seconds from each ISO time until `at`."""
    return since.to_frame("since").select((instant(pl.lit(at.isoformat())) - instant("since")).dt.total_seconds()).to_series()


def _time_to_ready(registry: Registry, date: int, at: datetime) -> pl.DataFrame:
    """How long the cards took that became ready in the nights of a date, from the placing of their order to the night:
    `value` (seconds), `weight` (cards).
    """
    found = registry.select(
        {"placed": text("submission.at"), "weight": integer("CAST(sum(order_transitions.cards) AS BIGINT)")},
        f"""
        FROM events
        JOIN order_transitions ON order_transitions.event = events.event
        JOIN orders ON orders.order_pk = order_transitions.order_pk {_SUBMISSION}
        WHERE events.reconciliation_date > 0 AND events.reconciliation_date = {date}
        AND order_transitions.to_state = {CardState.READY}
        AND order_transitions.from_state NOT IN ({_list(ACTIVE)})
        GROUP BY submission.at
        """,
    )
    return found.select(value=_seconds_until(at, found["placed"]).clip(0), weight="weight")


def _active_after(registry: Registry, date: int) -> int:
    """How many cards are active after the nights of a date: those after the night before, and what came and went since."""
    before = registry.select(
        columns_of("night_measures", "reconciliation_date", "active"),
        f"""
        FROM night_measures WHERE night_measures.reconciliation_date < {date}
        ORDER BY night_measures.reconciliation_date DESC LIMIT 1
        """,
    )
    since, active = before.row(0) if len(before) else (0, 0)
    moved = registry.select(
        columns_of("movements", "movement", "cards"),
        f"FROM movements WHERE movements.reconciliation_date > {since} AND movements.reconciliation_date <= {date}",
    )
    added = moved.filter(pl.col("movement").is_in(ADDED))["cards"].sum()
    return int(active + added - moved.filter(pl.col("movement").is_in(GONE))["cards"].sum())


# -- reading them ----------------------------------------------------------------------------------------------------------


def movements_between(registry: Registry, first: int, last: int) -> pl.DataFrame:
    """What happened in the nights from one date to another (20261124): the fields of MOVEMENT."""
    return registry.select(
        columns_of("movements"),
        f"""
        FROM movements WHERE movements.reconciliation_date BETWEEN {first} AND {last}
        ORDER BY movements.reconciliation_date, movements.reseller, movements.account, movements.product,
            movements.access_number, movements.movement
        """,
    )


def night_movements(registry: Registry, first: int, last: int) -> pl.DataFrame:
    """What happened to how many cards in the nights from one date to another, whoever ordered them: `reconciliation_date`,
    `movement`, `cards`. Changes of products and access numbers, and replacements, are not among them.
    """
    states = {name: integer(f"night_figures.{name}") for name in ("from_state", "to_state")}
    found = registry.select(
        {**columns_of("night_figures", "reconciliation_date", "cards"), **states},
        f"FROM night_figures WHERE night_figures.reconciliation_date BETWEEN {first} AND {last}",
    )
    return found.with_columns(movement=_movement()).select("reconciliation_date", "movement", "cards")


def measures(registry: Registry, first: int, last: int) -> pl.DataFrame:
    """The measures of the nights from one date to another, earliest first: the fields of NIGHT_MEASURE."""
    return registry.select(
        columns_of("night_measures"),
        f"""
        FROM night_measures WHERE night_measures.reconciliation_date BETWEEN {first} AND {last}
        ORDER BY night_measures.reconciliation_date
        """,
    )


def active_cards(registry: Registry, month: int) -> pl.DataFrame:
    """How many cards were active at the end of a month (202611), or are until now if it is not over: GROUP and `active`."""
    return registry.select(
        columns_of("balances", *GROUP, "active"),
        f"""
        FROM balances WHERE balances.month = (SELECT max(month) FROM balances WHERE month <= {month}) AND balances.active <> 0
        ORDER BY {", ".join(f"balances.{name}" for name in GROUP)}
        """,
    )


def used_pins(registry: Registry, btns: pl.Series, first: str, last: str) -> pl.DataFrame:
    """How many PINs of these BTNs were issued from one day (2026-11-24) to another: `btn`, `used`."""
    days = pl.DataFrame({"btn": btns.unique().sort()}).with_columns(first=pl.lit(first), last=pl.lit(last))
    return registry.select_with(
        days,
        {"btn": integer("given.btn"), "used": integer("CAST(sum(btn_days.codes) AS BIGINT)")},
        """
        FROM given JOIN btn_days ON btn_days.btn = given.btn AND btn_days.day BETWEEN given.first AND given.last
        GROUP BY given.btn
        """,
    )
