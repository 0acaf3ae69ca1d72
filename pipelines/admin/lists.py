"""The lists that operators ask for, in pages: orders, submissions, resellers on hold, BTNs; as a table or a CSV file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.admin import queries
from pipelines.admin.approvals import OrderOnHold, ReportOnHold
from pipelines.common.durable_files import write_atomically
from pipelines.common.errors import CardsError, UsageError, require_printable
from pipelines.common.masking import mask_codes
from pipelines.delivery.csv_files import write_csv_parts
from pipelines.registry import lists
from pipelines.registry.lists import OrderFilter, Page
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas import telephone
from schemas.pins import PINS
from schemas.sources import OPERATOR

PAGE: Final = 50
"""So many entries a list has unless it is asked for more."""
_CSV_PAGE: Final = 10_000
STATES: Final = ("awaited", "closed")
_STRANGERS: Final = ("customer_order_id", "file", "folder")
"""What others have written: it may look like a code."""


@dataclass(frozen=True)
class ListedOrder:
    """An order. `state` is `awaited` until the network has reported on it, then `closed`; `since`: since when it is
    awaited; `cards`: how many it issued or takes.
    """

    number: int
    order_id: str
    reseller: str
    customer_account: str
    customer_order_id: str
    action: str
    code_type: str
    access_number: str
    cards: int
    state: str
    overdue: bool
    since: str
    placed_at: str
    folder: str


@dataclass(frozen=True)
class OrderList:
    """A page of orders. `more`: how many more there are, counted up to 10,001, which stands for more than 10,000; `next`:
    what `--after` takes to go on (0: this is the end); not `complete`: the search stopped after 100,000 orders.
    """

    orders: list[ListedOrder]
    more: int
    next: int
    complete: bool


@dataclass(frozen=True)
class ListedSubmission:
    """An order file that was answered. `repeated`: it has the bytes of an earlier one, whose answer and figures it has."""

    number: int
    reseller: str
    file: str
    folder: str
    at: str
    rows: int
    orders_placed: int
    orders_already_placed: int
    rows_rejected: int
    repeated: bool
    delivered: bool
    reasons: dict[str, int]


@dataclass(frozen=True)
class SubmissionList:
    """A page of submissions; see OrderList."""

    submissions: list[ListedSubmission]
    more: int
    next: int
    complete: bool


@dataclass(frozen=True)
class Hold:
    """A reseller on hold: since when and why, how many codes that are not free it has asked for from that day on, and the
    command that lifts the hold.
    """

    reseller: str
    since: str
    reason: str
    attempts: int
    lift: str


@dataclass(frozen=True)
class HoldList:
    """A page of holds, and the network reports and orders that wait for a decision. `next`: the reseller that the next page
    comes after; empty: this is the end.
    """

    holds: list[Hold]
    more: int
    next: str
    reports: list[ReportOnHold]
    orders: list[OrderOnHold]


@dataclass(frozen=True)
class ListedBtn:
    """A BTN by its running figures. `used`: PINs that are in use or unavailable; `fill`: their share of the valid ones."""

    btn: str
    customer_account: str
    free: int
    used: int
    impossible: int
    fill: float


@dataclass(frozen=True)
class BtnList:
    """A page of BTNs, those that are nearly full first; see OrderList."""

    btns: list[ListedBtn]
    more: int
    next: int


class SeveralOrdersError(CardsError):
    """Several orders have one Customer Order ID; `found` lists them."""

    def __init__(self, found: OrderList) -> None:
        super().__init__("Several orders have this Customer Order ID. Name an Order ID, or the account with --account.")
        self.found = found


# -- orders ------------------------------------------------------------------------------------------------------------


def order_filter(
    run: Run, *, reseller: str = "", state: str = "", since: str = "", access_number: str = "", overdue: bool = False
) -> OrderFilter:
    """What orders are asked for, from arguments of the command line. Raises UsageError for one that can't be used."""
    if state and state not in STATES:
        raise UsageError(f"--state {require_printable(state, 'a state')}: an order is awaited or closed.")
    if overdue and state == "closed":
        raise UsageError("--overdue and --state closed: an order that is overdue is awaited.")
    return OrderFilter(
        reseller=known_reseller(run.registry, reseller),
        state=state,
        overdue_before=overdue_before(run) if overdue else "",
        since=parse_since(since),
        access_number=_telephone_number(access_number),
    )


def overdue_before(run: Run) -> str:
    """An order that is awaited since before this time is overdue."""
    return (run.runtime.now() - timedelta(hours=run.settings.overdue_hours)).isoformat(timespec="seconds")


def orders(run: Run, wanted: OrderFilter, after: int = 0, limit: int = PAGE) -> Page:
    """A page of orders, with the fields of ListedOrder."""
    return _as_listed(lists.orders(run.registry, wanted, after, limit), overdue_before(run))


def order_list(page: Page) -> OrderList:
    """A page of orders as a document."""
    return OrderList([ListedOrder(**row) for row in page.rows.iter_rows(named=True)], page.more, page.next, page.complete)


def find_order(run: Run, name: str, account: str = "") -> queries.OrderReport:
    """The order with this Order ID or Customer Order ID, of one customer account if it is named; an Order ID comes first.

    Raises CardsError when there is none, and SeveralOrdersError with those that have the Customer Order ID.
    """
    name = require_printable(name, "an Order ID or a Customer Order ID")
    if account and not (account.isascii() and account.isdigit() and len(account) == 8):
        raise UsageError("--account takes a customer account of 8 digits.")
    found = queries.find_order(name, run.registry)
    if found and account in ("", found.customer_account):
        return found
    called = lists.orders_called(run.registry, name, account, PAGE)
    if called.rows.is_empty():
        raise CardsError(f"There is no order with the Order ID or Customer Order ID {name}{_on(account)}.")
    if len(called.rows) > 1:
        raise SeveralOrdersError(order_list(_as_listed(called, overdue_before(run))))
    return queries.order(called.rows["order_id"].item(), run.registry)


def _on(account: str) -> str:
    return f" on account {account}" if account else ""


def _as_listed(page: Page, overdue: str) -> Page:
    awaited = pl.col("awaiting") > 0
    rows = page.rows.with_columns(
        pl.when(awaited).then(pl.lit("awaited")).otherwise(pl.lit("closed")).alias("state"),
        (awaited & (pl.col("since") < overdue)).alias("overdue"),
    ).rename({"account": "customer_account"})
    return page._replace(rows=rows.select(*ListedOrder.__dataclass_fields__))


# -- submissions -------------------------------------------------------------------------------------------------------


def submissions(
    run: Run, *, reseller: str = "", since: str = "", with_rejections: bool = False, after: int = 0, limit: int = PAGE
) -> Page:
    """A page of submissions, with the fields of ListedSubmission (`reasons`: lists of `reason` and `rows`)."""
    reseller, since = known_reseller(run.registry, reseller), parse_since(since)
    page = lists.submissions(run.registry, reseller, since, after, limit, with_rejections=with_rejections)
    reasons = lists.reasons(run.registry, page.rows["original"])
    listed = reasons.group_by("event", maintain_order=True).agg(reasons=pl.struct("reason", "rows"))
    rows = page.rows.join(listed, left_on="original", right_on="event", how="left", maintain_order="left").with_columns(
        repeated=pl.col("original") != pl.col("number"), delivered=pl.col("delivered") > 0
    )
    return page._replace(rows=rows.select(*ListedSubmission.__dataclass_fields__))


def submission_list(page: Page) -> SubmissionList:
    """A page of submissions as a document."""
    rows = [ListedSubmission(**{**row, "reasons": _reasons(row["reasons"])}) for row in page.rows.iter_rows(named=True)]
    return SubmissionList(rows, page.more, page.next, page.complete)


def _reasons(listed: list[dict[str, Any]] | None) -> dict[str, int]:
    return {one["reason"]: one["rows"] for one in listed or []}


# -- holds and BTNs ----------------------------------------------------------------------------------------------------


def holds(registry: Registry, after: str = "", limit: int = PAGE) -> Page:
    """A page of resellers on hold with the fields of Hold, by name."""
    page = lists.holds(registry, require_printable(after, "a reseller") if after else "", limit)
    rows = page.rows.rename({"at": "since"}).with_columns(lift=pl.format("cards clear-hold {}", "reseller"))
    return page._replace(rows=rows.select(*Hold.__dataclass_fields__))


def hold_list(page: Page, reports: list[ReportOnHold], orders: list[OrderOnHold]) -> HoldList:
    """A page of holds, and the reports and orders on hold, as a document."""
    return HoldList([Hold(**row) for row in page.rows.iter_rows(named=True)], page.more, page.next, reports, orders)


def btns(registry: Registry, after: str = "", limit: int = PAGE) -> Page:
    """A page of BTNs with the fields of ListedBtn, those that are nearly full first."""
    page = lists.btns(registry, int(_telephone_number(after) or 0), limit)
    rows = page.rows.select(
        pl.col("number").cast(pl.String).alias("btn"),
        pl.col("account").alias("customer_account"),
        "free",
        "used",
        (PINS - pl.col("valid")).alias("impossible"),
        (pl.col("used") / pl.max_horizontal("valid", 1)).round(3).alias("fill"),
    )
    return page._replace(rows=rows)


def btn_list(page: Page) -> BtnList:
    """A page of BTNs as a document."""
    return BtnList([ListedBtn(**row) for row in page.rows.iter_rows(named=True)], page.more, page.next)


# -- CSV files ---------------------------------------------------------------------------------------------------------


def save_csv(path: Path, page: Callable[[Any, int], Page], after: Any, limit: int | None) -> int:
    """Write a list as a CSV file, page by page, with codes masked; how many entries. `limit` None: all.

    Raises UsageError when the path can't be a file.
    """
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise UsageError(f"--csv {path}: no file can be written there.")
    written = 0

    def write(new: Path) -> None:
        nonlocal written
        written = write_csv_parts(map(_as_text, _pages(page, after, limit)), new)

    write_atomically(path, write)
    return written


def _pages(page: Callable[[Any, int], Page], after: Any, limit: int | None) -> Iterator[pl.DataFrame]:
    """The rows of all pages, and of a search that stopped those of the ones after it too; at least one frame."""
    while True:
        one = page(after, _CSV_PAGE if limit is None else min(limit, _CSV_PAGE))
        yield one.rows
        limit = None if limit is None else limit - len(one.rows)
        after = one.next
        if not after or limit == 0:
            return


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for a CSV file: reasons as one text, true and false as words, and codes masked."""
    if "reasons" in rows.columns:
        one = pl.format("{} {}", pl.element().struct.field("reason"), pl.element().struct.field("rows"))
        rows = rows.with_columns(pl.col("reasons").list.eval(one).list.join(", ").fill_null(""))
    masked = [
        pl.col(name).map_elements(mask_codes, return_dtype=pl.String)
        for name in _STRANGERS
        if name in rows.columns and len(rows)
    ]
    return rows.with_columns(masked)


# -- arguments ---------------------------------------------------------------------------------------------------------


def known_reseller(registry: Registry, reseller: str) -> str:
    """The name of a reseller, or nothing. Raises UsageError for one that the registry never heard of."""
    if not reseller:
        return ""
    name = require_printable(reseller, "a reseller")
    if name != OPERATOR and not lists.is_source(registry, name):
        raise UsageError(f"--reseller {name}: neither the catalogue nor a submission names this reseller.")
    return name


def parse_since(since: str, option: str = "--since") -> str:
    """A time as the registry keeps it, or nothing. Raises UsageError for what is no date and has no time of day."""
    if not since:
        return ""
    try:
        time = datetime.fromisoformat(since.strip())
    except ValueError:
        time = None
    if time is None or time.tzinfo or time.year < 1900:
        raise UsageError(
            f"{option} {require_printable(since, 'a date')}: write a date, 2026-11-24, or a local time, 2026-11-24T09:30."
        )
    return time.isoformat(timespec="seconds")


def _telephone_number(text: str) -> str:
    """A telephone number without punctuation, or nothing. Raises UsageError for any other text."""
    number = telephone.normalized_text(text)
    if text and not telephone.is_valid_text(number):
        raise UsageError(f"{require_printable(text, 'a number')!r} is not a telephone number of 10 digits.")
    return number
