"""What became of each file: one result document per submission, report of the network, and night."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.registry.records import SubmissionRecords
from schemas.actions import ApprovalDecision

T = TypeVar("T")


@dataclass(frozen=True)
class SubmissionResult:
    """What became of an order file. `folder` is relative to the home; `reasons` counts the rows of each reason.

    Of a `trial`, `orders_placeable` counts the orders that would be placed; nothing is. `orders_on_hold`: valid ones that wait
    for approval; `orders_cancelled`: orders that waited, and were cancelled by this file.
    """

    reseller: str
    file: str
    folder: str
    orders_placed: int
    orders_already_placed: int
    orders_rejected: int
    codes_placed: int
    rows: int
    rows_rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    trial: bool = False
    orders_placeable: int = 0
    orders_on_hold: int = 0
    orders_cancelled: int = 0


@dataclass(frozen=True)
class ReportResult:
    """What became of an order-ID report of the network.

    `repeated`: the same bytes came before and say nothing new, so nothing was done; `reasons`: why a malformed report was not
    used; `on_hold`: why the report waits for approval, else empty.
    """

    file: str
    folder: str
    rows: int
    repeated: bool
    on_hold: str = ""
    reasons: dict[str, int] = field(default_factory=dict)


Result = SubmissionResult | ReportResult
"""What became of a file."""


class Delivery(NamedTuple, Generic[T]):
    """What was delivered, and an error for each answer that could not be written; the next run writes those."""

    results: list[T]
    failures: list[CardsError]


def merge(deliveries: Iterable[Delivery[T]]) -> Delivery[T]:
    """Several deliveries as one."""
    parts = list(deliveries)
    return Delivery([one for part in parts for one in part.results], [one for part in parts for one in part.failures])


def submission_result(records: SubmissionRecords, folder: str) -> SubmissionResult:
    """The result of one order file, from what the registry holds."""
    event = records.events.row(0, named=True)
    if len(records.repeated):
        return _repeated_result(records, folder)
    rejected = count_rejected(
        event["rows"], records.rejected, records.findings, records.orders, int(records.duplicate_orders["rows"].sum())
    )
    return SubmissionResult(
        reseller=event["source"],
        file=event["file_name"],
        folder=folder,
        orders_placed=len(records.orders),
        orders_already_placed=len(records.duplicate_orders),
        orders_rejected=rejected.orders,
        codes_placed=len(records.codes),
        rows=event["rows"],
        rows_rejected=rejected.rows,
        reasons=reason_counts(records),
        orders_on_hold=rejected.on_hold,
        orders_cancelled=count_cancelled(records),
    )


def count_cancelled(records: SubmissionRecords) -> int:
    """How many waiting orders a file took back."""
    if records.holds.is_empty():
        return 0
    return len(records.holds.filter(closed_here=1, decision=ApprovalDecision.CANCELLED))


class Rejected(NamedTuple):
    """How many orders and rows of a file were rejected, and how many orders wait for approval."""

    orders: int
    rows: int
    on_hold: int


def count_rejected(
    rows: int, rejected: pl.DataFrame, findings: pl.DataFrame, placed: pl.DataFrame, duplicate_rows: int
) -> Rejected:
    """What was rejected of a file with so many rows, some of which an earlier file placed.

    `rejected`: its rejected rows as they came; of a file that was rejected as a whole these may be only the first ones, and
    all others are rejected with them. `placed`: `account`, `customer_order_id` of the orders that were. A row without one of
    them is an order by itself.
    """
    keys = ["account", "customer_order_id"]
    whole = len(findings) > 0 and bool((findings["source_row"] == 0).any())
    if rejected.is_empty():
        return Rejected(0, rows - duplicate_rows if whole else 0, 0)
    waits = findings.filter(reason="ORDER_ON_HOLD")["source_row"]
    waiting = rejected.filter(pl.col("source_row").is_in(waits.implode())) if len(waits) else rejected.head(0)
    refused = rejected.join(waiting, on="source_row", how="anti") if len(waits) else rejected
    orders = refused.select(*keys, "source_row").join(placed.select(keys), on=keys, how="anti")
    loose = pl.any_horizontal(pl.col(keys) == "")
    count = orders.select(pl.struct(*keys, pl.when(loose).then("source_row").otherwise(0)).n_unique()).item()
    return Rejected(count, rows - duplicate_rows if whole else len(refused), waiting.select(pl.struct(keys).n_unique()).item())


def _repeated_result(records: SubmissionRecords, folder: str) -> SubmissionResult:
    """The result of a file whose bytes were answered before: nothing is placed, and the earlier figures hold."""
    event, earlier = records.events.row(0, named=True), records.repeated.row(0, named=True)
    return SubmissionResult(
        reseller=event["source"],
        file=event["file_name"],
        folder=folder,
        orders_placed=0,
        orders_already_placed=earlier["orders"],
        orders_rejected=earlier["orders_rejected"],
        codes_placed=0,
        rows=event["rows"],
        rows_rejected=earlier["rows_rejected"],
        reasons=dict(records.repeated_reasons.select("reason", "rows").sort("reason").iter_rows()),
    )


def report_result(records: SubmissionRecords, folder: str) -> ReportResult:
    """The result of one order-ID report, from what the registry holds."""
    event = records.events.row(0, named=True)
    return ReportResult(
        file=event["file_name"],
        folder=folder,
        rows=event["rows"],
        repeated=event["original_event"] != event["event"],
        on_hold="".join(records.approvals.filter(decision=ApprovalDecision.WAITING)["about"]),
        reasons=reason_counts(records),
    )


def reason_counts(records: SubmissionRecords) -> dict[str, int]:
    """In how many rows each reason was found."""
    if records.findings.is_empty():  # most files, and frames of nothing take their time too
        return {}
    return dict(records.findings.group_by("reason").agg(pl.col("source_row").n_unique()).sort("reason").iter_rows())
