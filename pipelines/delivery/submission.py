"""The reports of one submission, built from what the registry holds."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import write_atomically
from pipelines.delivery.confirmation import confirmation_orders, confirmation_rows, with_headers, write_confirmation
from pipelines.delivery.csv_files import write_csv
from pipelines.delivery.placed_before import placed_before
from pipelines.delivery.rejections import rejection_rows, write_rejections
from pipelines.delivery.results import SubmissionResult, submission_result
from pipelines.delivery.status import NAME as STATUS
from pipelines.delivery.status import status_of, write_status
from pipelines.excel import writers
from pipelines.excel.annotator import Annotator
from pipelines.excel.writers import WriteBook
from pipelines.registry.records import SubmissionRecords, by_event, part_by_event
from schemas.codes import code_text
from schemas.sources import NETWORK

PLACEMENT: Final = [
    "Order ID", "Action", "Customer Account Number", "Product Account Number", "Access Number", "Authorization Code",
    "International Origin", "International Termination",
]  # fmt: skip


MONTHS: Final = "[0-9][0-9][0-9][0-9]-[0-9][0-9]"
"""The folders of `outbox/network` with the placement files of a month."""


class SubmissionReports(NamedTuple):
    """What is written for one event.

    `event`: its fields; `records`: all that the registry knows of it; `counts`: its figures; `orders`: the first sheet of the
    confirmation; `confirmed` and `placement`: the rows of `confirmation.csv` and `placement-*.csv`.
    """

    event: dict[str, Any]
    records: SubmissionRecords
    counts: SubmissionResult
    orders: pl.DataFrame
    confirmed: pl.DataFrame
    placement: pl.DataFrame


def build_reports(records: SubmissionRecords) -> list[SubmissionReports]:
    """What is written for each event, made for all at once: a query costs as much for a small file as for a thousand."""
    cards = _cards(records)
    made = (confirmation_orders(records), confirmation_rows(records, cards), placement_rows(cards))
    more = [part_by_event(frame) for frame in made]
    return [
        SubmissionReports(
            event,
            of_event,
            submission_result(of_event, ""),
            *(part(event["event"]).drop("event") for part in more),
        )
        for event, of_event in zip(records.events.iter_rows(named=True), by_event(records), strict=True)
    ]


def write_folder(
    folder: Path,
    reports: SubmissionReports,
    original: Path | None,
    annotator: Annotator | None,
    most_codes: int,
    target: Path,
    write_book: WriteBook = writers.write,
) -> None:
    """Write the reports of one event into a folder, which will become `target`.

    `original`: where the file that it answers lies, if it is there; `annotator`: what makes a rejection workbook of the
    reseller's own, None to write CSV files alone; `most_codes`: how many codes a workbook lists; `write_book`: who writes
    the confirmation.
    """
    if reports.event["readable"] and reports.event["kind"] == "orders":
        write_csv(reports.confirmed, folder / "confirmation.csv")
        if len(reports.records.duplicate_orders):
            write_csv(placed_before(reports.records), folder / "already-placed.csv")
        if annotator:
            write_confirmation(
                folder / "confirmation.xlsx", reports.records, reports.counts, reports.orders, reports.confirmed, most_codes,
                write_book,
            )  # fmt: skip
    if len(reports.records.findings):
        rows = rejection_rows(reports.records)
        write_csv(rows, folder / "rejections.csv")
        if annotator:
            write_rejections(folder / "rejections.xlsx", reports.records, reports.counts, rows, original, annotator)
    if reports.event["kind"] == "orders":
        write_status(folder / STATUS, status_of(reports.records, reports.counts, target))


def _cards(records: SubmissionRecords) -> pl.DataFrame:
    """Every card of the placed orders, new or changed, with the fields of its order."""
    cards = pl.concat([part.select("event", "order_pk", "code") for part in (records.codes, records.card_actions)])
    cards = cards.with_columns(code=code_text(pl.col("code")))
    return cards.join(records.orders, on=["event", "order_pk"], maintain_order="left")


def placement_rows(cards: pl.DataFrame) -> pl.DataFrame:
    """`placement-*.csv`: a row for each card (`code` as text) with the fields of its order."""
    names = ["order_id", "action", "account", "product", "access_number", "code", "origin", "termination"]
    return with_headers(cards, dict(zip(PLACEMENT, names, strict=True)))


def write_placement(outbox: Path, event: dict[str, Any], rows: pl.DataFrame) -> None:
    """Write `outbox/network/<YYYY-MM>/placement-*.csv`: what the network must load for an event's cards.

    For a change of existing cards, an empty cell means: as it was.
    """
    write_atomically(placement_path(outbox, event), lambda staged: write_csv(rows, staged))


def placement_path(outbox: Path, event: dict[str, Any]) -> Path:
    """Where the placement file of an event lies: in the folder of its month, or next to those folders if an earlier version
    wrote it, so that the network never finds it twice.
    """
    name = f"placement-{event['source']}-{event['folder']}.csv"
    flat = outbox / NETWORK / name
    return flat if flat.exists() else outbox / NETWORK / str(event["at"])[:7] / name
