"""What the registry keeps of a month, for statements. Only rows of the month are read, however long the history is."""

from typing import Final, NamedTuple

import polars as pl

from pipelines.common.times import month_text, shift
from pipelines.registry.columns import Columns, columns_of, integer, text
from pipelines.registry.movements import active_cards
from pipelines.registry.store import Registry
from schemas.actions import issuing
from schemas.movements import GROUP
from schemas.sources import NETWORK

_NIGHT: Final = "events.kind = 'night' AND events.reconciliation_date > 0"
_EVENT: Final = columns_of("events", "event", "reconciliation_date", "at")


class MonthRecords(NamedTuple):
    """What is kept of a month.

    `nights`: how many dates had a night, the `first` and the `last` of them (20261001; 0: none); `is_over`: whether a night of
    a later month has run; each with GROUP: `opening` and `closing` (`active`: before the month, at its end), `moved`
    (`movement`, `cards`), `placed` (`orders`, `cards`: orders for new cards, by the day on which they were placed).
    """

    nights: int
    first: int
    last: int
    is_over: bool
    opening: pl.DataFrame
    closing: pl.DataFrame
    moved: pl.DataFrame
    placed: pl.DataFrame


def load_month(registry: Registry, month: int) -> MonthRecords:
    """What is kept of a month (202610)."""
    nights = registry.select(
        {
            "nights": integer("count(DISTINCT events.reconciliation_date)"),
            "first": integer("coalesce(min(events.reconciliation_date), 0)"),
            "last": integer("coalesce(max(events.reconciliation_date), 0)"),
        },
        f"FROM events WHERE {_NIGHT} AND events.reconciliation_date BETWEEN {month * 100} AND {month * 100 + 99}",
    )
    later = registry.select(
        columns_of("events", "event"), f"FROM events WHERE {_NIGHT} AND events.reconciliation_date > {month * 100 + 99} LIMIT 1"
    )
    return MonthRecords(
        **nights.row(0, named=True),
        is_over=len(later) > 0,
        opening=active_cards(registry, shift(month, -1)),
        closing=active_cards(registry, month),
        moved=_moved(registry, month),
        placed=_placed(registry, f"{month_text(month)}-01", f"{month_text(shift(month, 1))}-01"),
    )


def _moved(registry: Registry, month: int) -> pl.DataFrame:
    names = [*GROUP, "movement"]
    return registry.select(
        {**columns_of("movements", *names), "cards": integer("CAST(sum(movements.cards) AS BIGINT)")},
        f"""
        FROM movements WHERE movements.reconciliation_date BETWEEN {month * 100} AND {month * 100 + 99}
        GROUP BY {", ".join(f"movements.{name}" for name in names)}
        """,
    )


def _placed(registry: Registry, first: str, end: str) -> pl.DataFrame:
    """The orders for new cards that were placed from one day on, and before another one (2026-11-01), local time."""
    group: Columns = {"reseller": text("submission.source"), **columns_of("orders", *GROUP[1:])}
    actions = ", ".join(f"'{action}'" for action in issuing())
    return registry.select(
        {**group, "orders": integer("count(*)"), "cards": integer("CAST(sum(orders.cards) AS BIGINT)")},
        f"""
        FROM events AS submission JOIN orders ON orders.event = submission.event
        WHERE submission.at >= $1 AND submission.at < $2 AND orders.action IN ({actions})
        GROUP BY {", ".join(column.sql for column in group.values())}
        """,
        first,
        end,
    )


def nights_since_the_one_before(registry: Registry, event: int) -> pl.DataFrame:
    """The nights from the one before this one on, in the order in which they ran: `event`, `reconciliation_date`, `at`."""
    of_network = f"events.source = '{NETWORK}' AND {_NIGHT}"
    return registry.select(
        _EVENT,
        f"""
        FROM events WHERE {of_network} AND events.event >= coalesce(
            (
                SELECT earlier.event FROM events AS earlier
                WHERE earlier.source = '{NETWORK}' AND earlier.kind = 'night' AND earlier.reconciliation_date > 0
                AND earlier.event < {event} ORDER BY earlier.event DESC LIMIT 1
            ), {event}
        )
        ORDER BY events.event
        """,
    )


def all_nights(registry: Registry) -> pl.DataFrame:
    """Every night in the order in which they ran: `event`, `reconciliation_date`, `at`."""
    return registry.select(_EVENT, f"FROM events WHERE {_NIGHT}").sort("event")
