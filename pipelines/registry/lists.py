"""Pages of the lists that operators ask for: orders, submissions, resellers on hold, BTNs.

A page is read by key from an index that has its order, so that it costs the same in a small and in a large registry. Two
limits keep what no index answers short: a search looks at so many entries (SEARCHED) and says where it stopped, and what is
beyond the page is counted up to a bound (COUNTED).
"""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.errors import UsageError
from pipelines.registry import limits
from pipelines.registry.columns import Columns, columns_of, integer, schema_of, text
from pipelines.registry.database import Database
from pipelines.registry.schema import NEARLY_FULL

COUNTED: Final = 10_000
"""What is beyond a page is counted up to so many; one more stands for all that is above."""
SEARCHED: Final = 100_000
"""So many entries are searched for those that a filter without an index wants."""
_END: Final = 2**62
_CLOCKS_DIFFER: Final = timedelta(days=2)
"""Events are numbered in the order of their times, but for clocks of machines and time zones that differ."""


class Page(NamedTuple):
    """A page of a list: its `rows`; how many `more` there are (COUNTED + 1: more than COUNTED); the key that the next page
    comes after (0 or empty: this is the last one); and whether all was searched, or just the first SEARCHED entries
    (`complete`).
    """

    rows: pl.DataFrame
    more: int = 0
    next: Any = 0
    complete: bool = True


class OrderFilter(NamedTuple):
    """Which orders are asked for; an empty value asks for all.

    `state`: `awaited` or `closed`; `overdue_before`: awaited since before this time; `since`: placed at this time or later
    (`2026-11-24T00:00:00`).
    """

    reseller: str = ""
    state: str = ""
    overdue_before: str = ""
    since: str = ""
    access_number: str = ""


class _Query(NamedTuple):
    """A query for a page: the tables, the column that is its key, and whether the largest key comes first.

    `indexed` conditions are those that an index answers together with the order; `searched` ones are looked at entry by
    entry. Each has its parameters (a condition has `?` for one).
    """

    tables: str
    key: str
    descending: bool
    order: str
    indexed: list[tuple[str, str]]
    searched: list[tuple[str, str]]

    def where(self, *more: str, searched: bool = True) -> tuple[str, list[str]]:
        """FROM and WHERE with these conditions on top, and the parameters."""
        known = [*self.indexed, *(self.searched if searched else [])]
        sql = f"FROM {self.tables} WHERE " + " AND ".join([*more, *(condition for condition, _ in known)])
        values = [value for condition, value in known if "?" in condition]
        for number in range(1, len(values) + 1):
            sql = sql.replace("?", f"${number}", 1)
        return sql, values

    def beyond(self, key: int) -> str:
        """The condition of keys that come after this one."""
        return f"{self.key} {'<' if self.descending else '>'} {key}"

    def until(self, key: int) -> str:
        """The condition of keys that come no later than this one."""
        return f"{self.key} {'>=' if self.descending else '<='} {key}"


def _page(registry: Database, columns: Columns, query: _Query, after: int, limit: int) -> Page:
    """The page of `limit` rows that comes after a key (0: the first one); the rows have the key as `number`."""
    start = query.beyond(after or (_END if query.descending else 0))
    last = _last_searched(registry, query, start)
    end = [query.until(last)] if last else []
    sql, values = query.where(start, *end)
    rows = registry.select(columns, f"{sql} ORDER BY {query.order} LIMIT {limit}", *values)
    more = 0
    if len(rows) == limit:
        sql, values = query.where(query.beyond(rows["number"][-1]), *end)
        more = _count(registry, f"{sql} ORDER BY {query.order}", values)
    return Page(rows, more, rows["number"][-1] if more else last, complete=not last)


def _last_searched(registry: Database, query: _Query, start: str) -> int:
    """The key at which the search ends before all is searched; 0: it does not."""
    if not query.searched:
        return 0
    sql, values = query.where(start, searched=False)
    rest = f"{sql} ORDER BY {query.order} LIMIT 1 OFFSET {SEARCHED}"
    found = registry.select({"number": integer(query.key)}, rest, *values)
    return int(found.item()) if len(found) else 0


def _count(registry: Database, rest: str, parameters: list[str]) -> int:
    counted = f"FROM (SELECT 1 AS one {rest} LIMIT {COUNTED + 1}) AS counted"
    return int(registry.select({"rows": integer("count(*)")}, counted, *parameters).item())


def is_source(registry: Database, reseller: str) -> bool:
    """Whether the catalogue or any event names this reseller."""
    columns = {"found": integer("1")}
    return any(
        len(registry.select(columns, f"FROM {table} = $1 LIMIT 1", reseller))
        for table in ("accounts WHERE accounts.reseller", "events WHERE events.source")
    )


# -- orders ------------------------------------------------------------------------------------------------------------

_ORDER: Final = {
    "number": integer("orders.order_pk"),
    **columns_of("orders", "order_id"),
    "reseller": text("submission.source"),
    **columns_of(
        "orders", "account", "customer_order_id", "action", "code_type", "access_number", "cards", "awaiting", "since"
    ),
    "placed_at": text("submission.at"),
    "folder": text("submission.folder"),
}
_ORDERS: Final = "orders JOIN events AS submission ON submission.event = orders.event"
_OF_SUBMISSIONS: Final = "events AS submission JOIN orders ON orders.event = submission.event"


def orders(registry: Database, wanted: OrderFilter, after: int, limit: int) -> Page:
    """Orders, the newest first; those that are overdue the oldest first."""
    first = first_event(registry, wanted.since)
    if first is None:
        return _empty(_ORDER)
    query = _orders_query(wanted)
    indexed, searched = [*query.indexed], [*query.searched]
    if first:
        indexed.append((f"orders.order_pk >= {first_order(registry, first)}", ""))
        searched.append(("submission.at >= ?", wanted.since))
    if query.tables == _OF_SUBMISSIONS:
        indexed.append((f"submission.event BETWEEN {first} AND {_event_before(registry, after or _END)}", ""))
    return _page(registry, _ORDER, query._replace(indexed=indexed, searched=searched), after, limit)


def _orders_query(wanted: OrderFilter) -> _Query:
    """The one index that serves best: of orders that wait, of a reseller's events, of an access number, or the key."""
    awaited = wanted.state == "awaited" or bool(wanted.overdue_before)
    by_reseller = bool(wanted.reseller) and not awaited
    by_access = bool(wanted.access_number) and not awaited and not by_reseller
    indexed = [("orders.awaiting > 0", "")] if awaited else []
    searched = []
    if wanted.overdue_before:
        searched.append(("orders.since < ?", wanted.overdue_before))
    if wanted.state == "closed":
        searched.append(("orders.awaiting = 0", ""))
    if wanted.reseller:
        (indexed if by_reseller else searched).append(("submission.source = ?", wanted.reseller))
    if wanted.access_number:  # an expression keeps the database from an index that has another order
        column = "orders.access_number" if by_access else "(orders.access_number || '')"
        (indexed if by_access else searched).append((f"{column} = ?", wanted.access_number))
    descending = not wanted.overdue_before
    order = "submission.event DESC, orders.order_pk DESC" if by_reseller else f"orders.order_pk{' DESC' * descending}"
    return _Query(_OF_SUBMISSIONS if by_reseller else _ORDERS, "orders.order_pk", descending, order, indexed, searched)


def orders_called(registry: Database, customer_order_id: str, account: str, limit: int) -> Page:
    """Orders with this Customer Order ID, of one customer account, or of all where it is empty; the newest first."""
    indexed = [("orders.customer_order_id = ?", customer_order_id)]
    if account:
        indexed.append(("orders.account = ?", account))
    query = _Query(_ORDERS, "orders.order_pk", True, "orders.order_pk DESC", indexed, [])
    return _page(registry, _ORDER, query, 0, limit)


def first_event(registry: Database, since: str) -> int | None:
    """An event that is no later than all those since a time (0 where there is none); None: there are none."""
    if not since:
        return 0
    start = (datetime.fromisoformat(since) - _CLOCKS_DIFFER).isoformat()
    found = registry.select(
        columns_of("events", "event"), "FROM events WHERE events.at >= $1 ORDER BY events.at LIMIT 1", start
    )
    return int(found.item()) if len(found) else None


def first_order(registry: Database, event: int) -> int:
    """The first order of this event or a later one; orders are numbered in the order of their events."""
    rest = f"FROM orders WHERE orders.event >= {event} ORDER BY orders.event, orders.order_pk LIMIT 1"
    found = registry.select(columns_of("orders", "order_pk"), rest)
    return int(found.item()) if len(found) else _END


def _event_before(registry: Database, order_pk: int) -> int:
    """The event of the last order before this one."""
    rest = f"FROM orders WHERE orders.order_pk < {order_pk} ORDER BY orders.order_pk DESC LIMIT 1"
    found = registry.select(columns_of("orders", "event"), rest)
    return int(found.item()) if len(found) else 0


def _empty(columns: Columns) -> Page:
    return Page(pl.DataFrame(schema=schema_of(columns)))


# -- submissions -------------------------------------------------------------------------------------------------------

ALREADY_PLACED: Final = (
    "(SELECT count(*) FROM duplicate_orders WHERE duplicate_orders.event = events.original_event)"
    " + (SELECT count(*) FROM orders WHERE orders.event = events.original_event AND events.original_event <> events.event)"
)
"""How many orders of an event's file were placed before."""
_SUBMISSION: Final = {
    "number": integer("events.event"),
    "original": integer("events.original_event"),
    "reseller": text("events.source"),
    "file": text("events.file_name"),
    **columns_of("events", "folder", "at", "rows", "delivered"),
    "orders_placed": integer("(SELECT count(*) FROM orders WHERE orders.event = events.event)"),
    "orders_already_placed": integer(ALREADY_PLACED),
    "rows_rejected": integer("(SELECT count(*) FROM rejected_rows WHERE rejected_rows.event = events.original_event)"),
}
_REJECTED: Final = "EXISTS (SELECT 1 FROM findings WHERE findings.event = events.original_event)"


def submissions(
    registry: Database, reseller: str, since: str, after: int, limit: int, *, with_rejections: bool = False
) -> Page:
    """Order files that were answered, the newest first. One with the bytes of an earlier one has the figures of that."""
    first = first_event(registry, since)
    if first is None:
        return _empty(_SUBMISSION)
    indexed = [(f"events.event >= {first}", ""), ("events.kind = 'orders'", "")]
    searched = [(_REJECTED, "")] if with_rejections else []
    if reseller:
        indexed.append(("events.source = ?", reseller))
    if since:
        searched.append(("events.at >= ?", since))
    query = _Query("events", "events.event", True, "events.event DESC", indexed, searched)
    return _page(registry, _SUBMISSION, query, after, limit)


def reasons(registry: Database, events: pl.Series) -> pl.DataFrame:
    """In how many rows of these events each reason was found: `event`, `reason`, `rows`."""
    return registry.select_with(
        events.unique().sort().to_frame("event"),
        {**columns_of("findings", "event", "reason"), "rows": integer("count(DISTINCT findings.source_row)")},
        """
        FROM given JOIN findings ON findings.event = given.event
        GROUP BY findings.event, findings.reason ORDER BY findings.event, findings.reason
        """,
    )


# -- holds -------------------------------------------------------------------------------------------------------------


def holds(registry: Database, after: str, limit: int) -> Page:
    """Resellers on hold, by name, which is the key of this list: `reseller`, `at`, `reason`, and `attempts`: how many codes
    that are not free it has asked for from the day of the hold on.
    """
    columns, rest = columns_of("holds"), "FROM holds WHERE holds.reseller > $1"
    rows = registry.select(columns, f"{rest} ORDER BY holds.reseller LIMIT {limit}", after)
    more = _count(registry, rest, [rows["reseller"][-1]]) if len(rows) == limit else 0
    asked = registry.select_with(
        rows.select("reseller", day=pl.col("at").str.head(10)),
        {"reseller": text("given.reseller"), "attempts": integer("CAST(sum(taken_code_attempts.codes) AS BIGINT)")},
        f"""
        FROM given JOIN taken_code_attempts
            ON taken_code_attempts.source = given.reseller AND taken_code_attempts.day >= given.day
        WHERE taken_code_attempts.codes > 0
        AND {limits.since_lifted("given.reseller")}
        GROUP BY given.reseller
        """,
    )
    both = rows.join(asked, on="reseller", how="left", maintain_order="left")
    return Page(both.with_columns(pl.col("attempts").fill_null(0)), more, rows["reseller"][-1] if more else "")


# -- BTNs --------------------------------------------------------------------------------------------------------------

_BTN: Final = {
    "number": integer("btns.btn"),
    **columns_of("btns", "account", "valid", "used"),
    "free": integer("btns.valid - btns.used"),
}


def btns(registry: Database, after: int, limit: int) -> Page:
    """BTNs under which PINs were placed: those that are nearly full first, the fullest one first; then the others by
    number. Their figures are the running ones. `after`: a BTN of the list, 0: from its beginning.

    Raises UsageError when the list has no such BTN.
    """
    last = registry.select(_BTN, f"FROM btns WHERE btns.btn = {after}") if after else pl.DataFrame()
    if after and last.is_empty():
        raise UsageError(f"--after {after}: no PIN was ever placed under this BTN.")
    rest = _btns_after(last)
    rows = pl.DataFrame(schema=schema_of(_BTN))
    for condition, order in rest.items():
        if len(rows) < limit:
            part = f"FROM btns WHERE {condition} ORDER BY {order} LIMIT {limit - len(rows)}"
            rows = pl.concat([rows, registry.select(_BTN, part)])
    more = 0
    if len(rows) == limit:
        counts = [_count(registry, f"FROM btns WHERE {condition}", []) for condition in _btns_after(rows.tail(1))]
        more = min(sum(counts), COUNTED + 1)
    return Page(rows, more, rows["number"][-1] if more else 0)


def _btns_after(last: pl.DataFrame) -> dict[str, str]:
    """The conditions of those that come after a BTN, and their order."""
    btn, free = (0, 0) if last.is_empty() else last.select("number", "free").row(0)
    nearly_full = f"valid - used < {NEARLY_FULL} AND valid - used >= {free} AND (valid - used > {free} OR btn > {btn})"
    if free < NEARLY_FULL:
        return {nearly_full: "valid - used, btn", f"valid - used >= {NEARLY_FULL} AND btn > 0": "btn"}
    return {f"valid - used >= {NEARLY_FULL} AND btn > {btn}": "btn"}
