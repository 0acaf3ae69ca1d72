"""The confirmation: what was placed, and what was placed before."""

from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.delivery.placed_before import placed_before
from pipelines.delivery.results import SubmissionResult
from pipelines.excel import look
from pipelines.excel.book import MOST_CELLS, Book, Sheet
from pipelines.excel.presentation import local_time, offset_of, telephone, time_value
from pipelines.excel.writers import WriteBook
from pipelines.registry.records import SubmissionRecords
from schemas import actions
from schemas.actions import ApprovalDecision
from schemas.sources import OPERATOR

_NAMED: Final = 10
_NOT_YET: Final = (
    "Do not print these codes yet. A code is safe to print when it appears in a release file of this folder; "
    "that is after the network has confirmed it, usually the next morning."
)


def confirmation_rows(records: SubmissionRecords, cards: pl.DataFrame) -> pl.DataFrame:
    """`confirmation.csv`: a row for each card of a placed order, and one for each order that was placed before."""
    columns = {
        "Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "customer_order_id",
        "Action": "action", "Authorization Code": "code", "State": "state",
    }  # fmt: skip
    placed = cards.with_columns(state=pl.lit("placed"))
    again = records.duplicate_orders.with_columns(code=pl.lit(""), state=pl.lit("already placed"))
    return pl.concat([with_headers(frame, columns) for frame in (placed, again)])


def with_headers(frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    """Columns under the headers of a report (header to column)."""
    return frame.select("^event$", *(pl.col(name).alias(header) for header, name in columns.items()))


def confirmation_orders(records: SubmissionRecords) -> pl.DataFrame:
    """The sheet Orders of the confirmation: what was placed, and what was placed before."""
    offsets = records.events.select("event", offset=pl.col("at").str.tail(6))  # a workbook has one zone, that of its event
    when = local_time("at", pl.col("offset"))
    placed, again = (
        frame.join(offsets, on="event", maintain_order="left").with_columns(state=pl.lit(state), placed_at=when)
        for frame, state in ((records.orders, "placed"), (records.duplicate_orders, "already placed"))
    )
    wanted = {
        "Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "customer_order_id",
        "Action": "action", "State": "state", "Placed": "placed_at", "Cards": "cards", "Rows": "rows", "Code Type": "code_type",
        "Product Account Number": "product", "Access Number": "access_number", "International Origin": "origin",
        "International Termination": "termination", "Comments": "comments",
    }  # fmt: skip
    orders = pl.concat([with_headers(placed, wanted), with_headers(again, wanted)], how="vertical_relaxed")
    return orders.with_columns(telephone("Access Number"))


def _repeated(source: str, earlier: dict[str, Any]) -> str:
    """What to do with the answer to a file that was answered before."""
    placed = " The sheet Already placed counts the states of the cards today and says where each order's releases are."
    rejected = " The rejected rows are in rejections.xlsx there; correct them and resubmit that workbook."
    return (
        f"The same file was answered before, in outbox/{source}/{earlier['folder']}, and nothing was placed again."
        + (placed if earlier["orders"] else "")
        + (rejected if earlier["rows_rejected"] else "")
    )


def _named(label: str, column: pl.Series) -> list[tuple[str, Any]]:
    """What stands in a column, once each; of many the first ones."""
    each = sorted({value for value in column.to_list() if value})
    more = f" and {len(each) - _NAMED:,} more" if len(each) > _NAMED else ""
    return [(label, ", ".join(each[:_NAMED]) + more)] if each else []


def _some(name: str, number: int) -> list[tuple[str, Any]]:
    return [(name, number)] if number else []


def _approved(holds: pl.DataFrame) -> list[tuple[str, Any]]:
    """The orders that the file placed after they had been approved, and when they were."""
    if holds.is_empty():
        return []
    placed = holds.filter(pl.col("order_pk") > 0, closed_here=1, decision=ApprovalDecision.APPROVED)
    return [(f"Order {one['customer_order_id']} approved", time_value(one["decided_at"]))
            for one in placed.head(_NAMED).iter_rows(named=True)]  # fmt: skip


def write_confirmation(
    path: Path,
    records: SubmissionRecords,
    counts: SubmissionResult,
    orders: pl.DataFrame,
    rows: pl.DataFrame,
    most_codes: int,
    write: WriteBook,
) -> None:
    """Write `confirmation.xlsx`, having the workbook written by `write`."""
    event = records.events.row(0, named=True)
    new = records.orders["action"].is_in(actions.issuing()).any()
    cards = int(records.orders["cards"].sum())
    key_values: list[tuple[str, Any]] = [
        ("Reseller", "the operator" if event["source"] == OPERATOR else event["source"]),
        ("File", event["file_name"]),
        ("Received", time_value(event["at"])),
        *_named("Product accounts", orders["Product Account Number"]),
        *_named("Access numbers", orders["Access Number"]),
        ("Rows in the file", counts.rows),
        ("Orders placed", counts.orders_placed),
        ("Orders already placed", counts.orders_already_placed),
        *_some("Orders on hold, waiting for approval", counts.orders_on_hold),
        *_some("Orders cancelled before they were placed", counts.orders_cancelled),
        *_approved(records.holds),
        ("Orders rejected", counts.orders_rejected),
        ("Rows rejected", counts.rows_rejected),
        ("Cards ordered", cards),
        ("Codes placed", counts.codes_placed),
        ("Cards released at confirmation", 0),
        ("Cards outstanding", cards),
        *[("Remark", note) for note in event["notes"].splitlines()],
    ]
    key_values[3:3] = [("Answered before in", f"outbox/{event['source']}/{folder}") for folder in records.repeated["folder"]]
    advice = f"{_NOT_YET if new else ''}" + (" Some rows were rejected: fix them in rejections.xlsx and resubmit that file."
                                             if counts.rows_rejected else "")  # fmt: skip
    fit = {"Orders": orders.height * orders.width <= MOST_CELLS, "Codes": len(rows) <= most_codes}
    if len(records.repeated):
        advice = _repeated(event["source"], records.repeated.row(0, named=True))
    placed_in = {"Placed": look.zoned(offset_of(event["at"]))}
    sheets = [Sheet(title, frame, formats=placed_in) for title, frame in (("Orders", orders), ("Codes", rows)) if fit[title]]
    again = placed_before(records) if len(records.duplicate_orders) else pl.DataFrame()
    if len(again) and again.height * again.width <= MOST_CELLS:
        local = again.with_columns(local_time("Placed", offset_of(event["at"])))
        sheets.append(Sheet("Already placed", local, formats=placed_in))
    key_values += [
        (f"Where the {title.lower()} are", "in confirmation.csv; there are too many of them for a workbook")
        for title, fits in fit.items()
        if not fits
    ]
    advice = advice.strip() or "No action needed."
    write(path, Book("Order confirmation", advice, key_values, sheets))
