"""What is new of a night, for the data that analysts load: orders, cards, changes of state and figures; never a code.

What is new lies between two events: after the night before, up to the night itself. So every order, card and change of state
is new of one night, whatever the clocks say, and a night costs what is new, not what lies there. Cards of an order that lie
side by side are one row: a million cards that became ready are as many rows as they have orders.
"""

from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.registry import movements
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.reconciliation import nights_of, of_night, serial_ranges
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, issuing

_READ: Final = 500_000
"""So many cards are read at once."""
_TRANSITION: Final = columns_of("state_transitions", "order_pk", "serial", "event", "from_state", "to_state")
_RANGE: Final = ("event", "order_pk", "from_state", "to_state", "first_serial", "last_serial")


class Window(NamedTuple):
    """Events after one and up to another."""

    after: int
    until: int

    def of(self, column: str) -> str:
        """The condition that an event lies in it."""
        return f"{column} > {self.after} AND {column} <= {self.until}"


def windows(registry: Registry, date: int) -> list[Window]:
    """What is new of a night (20261124): what came since the night before. A night that ran again with more reports has a
    window for each time it ran; those that meet are one.
    """
    found: list[Window] = []
    for night in nights_of(registry, date):
        window = Window(_night_before(registry, night["event"]), night["event"])
        meets = found and found[-1].until == window.after
        found[-1:] = [Window(found[-1].after, window.until)] if meets else [*found[-1:], window]
    return found


def _night_before(registry: Registry, event: int) -> int:
    rest = f"FROM events WHERE events.kind = 'night' AND events.event < {event} ORDER BY events.event DESC LIMIT 1"
    found = registry.select(columns_of("events", "event"), rest)["event"]
    return int(found[0]) if len(found) else 0


def orders(registry: Registry, window: Window) -> pl.DataFrame:
    """The orders that were placed, by `order_pk`: the fields of an order that never change, `reseller`, and `placed`."""
    fields = ("order_pk", "order_id", "account", "customer_order_id", "action", "code_type", "product", "access_number",
              "origin", "termination", "cards", "rows")  # fmt: skip
    return registry.select(
        {**columns_of("orders", *fields), "reseller": text("events.source"), "placed": text("events.at")},
        f"FROM orders JOIN events ON events.event = orders.event WHERE {window.of('orders.event')}",
    ).sort("order_pk")


def cards(registry: Registry, window: Window, placed: pl.DataFrame) -> pl.DataFrame:
    """The cards that were issued, those of `placed` orders first: `order_id`, `first_serial`, `last_serial`, when (`placed`),
    and the serial of the card that it replaces (`replaced_serial`, 0: none).
    """
    of_orders = placed.filter(pl.col("action").is_in(issuing()), pl.col("cards") > 0).select(
        "order_id", pl.lit(1, pl.Int64).alias("first_serial"), pl.col("cards").alias("last_serial"), "placed",
        pl.lit(0, pl.Int64).alias("replaced_serial"),
    )  # fmt: skip
    return pl.concat([of_orders, _replacements(registry, window).select(of_orders.columns)])


def _replacements(registry: Registry, window: Window) -> pl.DataFrame:
    return registry.select(
        {
            **columns_of("orders", "order_pk", "order_id"),
            "first_serial": integer("replacements.serial"),
            "last_serial": integer("replacements.serial"),
            "placed": text("events.at"),
            "replaced_serial": integer("replacements.replaced_serial"),
        },
        f"""
        FROM replacements
        JOIN events ON events.event = replacements.event
        JOIN orders ON orders.order_pk = replacements.order_pk
        WHERE {window.of("replacements.event")}
        """,
    ).sort("order_pk", "first_serial")


def transitions(registry: Registry, window: Window) -> pl.DataFrame:
    """The changes of state, by `event`, order and serial: `order_id`, `first_serial`, `last_serial`, `from_state`, `to_state`,
    and when (`at`).

    The running figures say whether all cards of an order changed alike, as most do; only of the others is each read.
    """
    groups = registry.select(
        {
            **columns_of("order_transitions", "event", "order_pk", "from_state", "to_state", "cards"),
            **columns_of("orders", "order_id"),
            **columns_of("events", "at"),
            "most": integer("(SELECT max(cards.serial) FROM cards WHERE cards.order_pk = order_transitions.order_pk)"),
        },
        f"""
        FROM order_transitions
        JOIN events ON events.event = order_transitions.event
        JOIN orders ON orders.order_pk = order_transitions.order_pk
        WHERE {window.of("order_transitions.event")}
        """,
    )
    whole = groups.filter(pl.col("cards") == pl.col("most"))
    some = groups.join(whole, on=["event", "order_pk"], how="anti")
    all_serials = {"first_serial": pl.lit(1, pl.Int64), "last_serial": pl.col("most")}
    ranges = pl.concat([whole.with_columns(**all_serials).select(_RANGE), *_read_ranges(registry, window, some)])
    names = groups.select("event", "order_pk", "order_id", "at").unique()
    return ranges.sort("event", "order_pk", "first_serial").join(names, on=["event", "order_pk"], maintain_order="left")


def _read_ranges(registry: Registry, window: Window, groups: pl.DataFrame) -> list[pl.DataFrame]:
    """The changes of state of orders of which some cards changed, a portion of orders at a time."""
    orders = groups.select("order_pk", "most").unique().sort("order_pk")
    portions = orders.with_columns(portion=pl.col("most").cum_sum() // _READ).partition_by("portion", include_key=False)
    found = []
    for portion in portions:
        rows = registry.select_with(
            portion.select("order_pk"),
            _TRANSITION,
            f"""
            FROM given JOIN state_transitions ON state_transitions.order_pk = given.order_pk
            WHERE {window.of("state_transitions.event")}
            """,
        ).join(groups, on=["event", "order_pk"], how="semi")
        for (event,), changed in rows.group_by("event"):
            ranges = serial_ranges(changed, "from_state", "to_state").with_columns(event=pl.lit(event, pl.Int64))
            found.append(ranges.select(_RANGE))
    return found


def night(registry: Registry, date: int) -> dict[str, Any]:
    """The figures of a night (20261124) that stay as they are, whatever follows: `at`, when it ran last; how many cards went
    from one state to another (`moved`: `from_state`, `to_state`, `cards`); how many were `replaced`, `changed` and not changed
    (`missed`); how many lines of reports were `unexpected`; how many reports were `used` and `rejected`; and its `measures`
    (see NIGHT_MEASURE; none of a night before there were any).
    """
    is_done = "card_actions.settled_event = events.event AND card_actions.settled_event > 0"
    missed = "card_actions.missed_event = events.event AND card_actions.missed_event > 0"
    return {
        "at": nights_of(registry, date)[-1]["at"],
        "moved": registry.select(
            columns_of("night_figures", "from_state", "to_state", "cards"),
            f"FROM night_figures WHERE night_figures.reconciliation_date = {date}",
        ),
        "measures": movements.measures(registry, date, date),
        "replaced": _count(registry, date, "replacements ON replacements.event = events.event"),
        "changed": _count(registry, date, f"card_actions ON {is_done} AND card_actions.outcome = {ActionOutcome.SHOWN}"),
        "missed": _count(registry, date, f"card_actions ON {missed}"),
        "unexpected": _count(registry, date, "unexpected_codes ON unexpected_codes.event = events.event"),
        "used": registry.select(
            {"reports": integer("count(*)")},
            f"FROM events WHERE {of_night(date)} AND events.readable = 1 AND events.original_event = events.event",
        ).item(),
        "rejected": _count(registry, date, "findings ON findings.event = events.event", "DISTINCT events.event"),
    }


def _count(registry: Registry, date: int, joined: str, what: str = "*") -> int:
    """How many rows of another table the events of a night have."""
    rest = f"FROM events JOIN {joined} WHERE {of_night(date)}"
    return int(registry.select({"number": integer(f"count({what})")}, rest).item())
