"""The answer to a trial: a folder in `outbox/<reseller>/check`, written from what a run would have entered, with no event."""

import hashlib
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import ensure_dir, fsync, move_file, remove_stale_staging, staging_dir, thread_pool
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.settings import Settings
from pipelines.delivery import index
from pipelines.delivery.access import access_for
from pipelines.delivery.confirmation import with_headers
from pipelines.delivery.csv_files import write_csv
from pipelines.delivery.deliver import AT_ONCE, REPORT_PREFIXES, original_name
from pipelines.delivery.log_lines import log_result
from pipelines.delivery.rejections import rejection_rows, write_rejections
from pipelines.delivery.results import Delivery, SubmissionResult, submission_result
from pipelines.excel import writers
from pipelines.excel.annotator import Annotator
from pipelines.excel.book import MOST_CELLS, Book, Sheet
from pipelines.excel.presentation import telephone, time_value
from pipelines.intake.private_copy import PrivateCopy, remove_dropped
from pipelines.registry.records import SubmissionRecords
from pipelines.registry.store import folder_stem
from pipelines.run import Run
from schemas.sources import CHECK, TRIAL

_TITLE: Final = "TRIAL: nothing was placed"
_WANTED: Final = {
    "Customer Account Number": "account", "Customer Order ID": "customer_order_id", "Action": "action", "State": "state",
    "Order ID": "order_id", "Cards": "cards", "Rows": "rows", "Code Type": "code_type", "Product Account Number": "product",
    "Access Number": "access_number", "International Origin": "origin", "International Termination": "termination",
    "Comments": "comments",
}  # fmt: skip


class TrialAnswer(NamedTuple):
    """What is to be written for a trial: its folder, its private copy, and what a run would have the registry hold."""

    folder: Path
    copy: PrivateCopy
    records: SubmissionRecords


def find_answer(run: Run, copy: PrivateCopy, others: set[Path]) -> tuple[Path, bool]:
    """The folder of the answer to a dropped file, none of the `others`, and whether it is there.

    It is named by when the file was dropped, so that a run finds what one before wrote and did not live to say.
    """
    dropped = datetime.fromtimestamp(copy.file.ctime_ns / 1e9, run.runtime.now().tzinfo)
    stem = folder_stem(dropped.isoformat(), copy.file.path.name)
    above = run.settings.outbox / copy.file.source / CHECK
    for folder in (above / f"{stem}{f'~{n}' if n > 1 else ''}{TRIAL}" for n in count(1)):
        if folder in others:
            continue
        if not folder.is_dir():
            return folder, False
        if _answers(folder, copy, run.settings):
            return folder, True
    raise AssertionError("unreachable")


def _answers(folder: Path, copy: PrivateCopy, settings: Settings) -> bool:
    """Whether a folder is the answer to a file with these bytes. Those of one over the limit are not kept."""
    path = folder / _archived_name(copy)
    if not _is_kept(settings, copy) or not path.is_file():
        return not _is_kept(settings, copy) and not path.exists()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == copy.digest


def _is_kept(settings: Settings, copy: PrivateCopy) -> bool:
    return copy.size <= settings.max_file_mb << 20


def _archived_name(copy: PrivateCopy) -> str:
    return original_name(copy.file.path.name, (*REPORT_PREFIXES, "trial."))


def deliver_trials(run: Run, answers: list[TrialAnswer]) -> Delivery[SubmissionResult]:
    """Write the answers, and remove the files from the inbox. A failure never keeps the others from being written."""
    catalogue = run.registry.catalogue() if any(len(one.records.findings) for one in answers) else None
    with Annotator(run.settings, catalogue) as annotator, thread_pool(AT_ONCE) as pool:

        def deliver_one(answer: TrialAnswer) -> SubmissionResult | CardsError:
            try:
                return _deliver(run, answer, annotator)
            except Exception as error:  # a file never takes another with it
                return to_cards_error(error)

        try:
            for source in sorted({answer.copy.file.source for answer in answers}):
                _prepare(run.settings, source, [answer for answer in answers if answer.copy.file.source == source])
        except Exception as error:  # the files stay in the inbox
            return Delivery([], [to_cards_error(error)])
        outcomes = list(pool.map(deliver_one, answers))
    for answer, outcome in zip(answers, outcomes, strict=True):
        if isinstance(outcome, SubmissionResult):
            log_result(run, outcome, answer.copy)
    return Delivery(
        [one for one in outcomes if isinstance(one, SubmissionResult)], [one for one in outcomes if isinstance(one, CardsError)]
    )


def _prepare(settings: Settings, source: str, answers: list[TrialAnswer]) -> None:
    """Make the folders of a source, remove what dead runs began there, and enter the answers in its index: before they are
    written, as a run that dies afterwards leaves nothing that says which row is missing.
    """
    access = access_for(settings, source)
    folder = settings.outbox / source / CHECK
    for above in (folder.parent, folder):
        ensure_dir(above, access)
    remove_stale_staging(folder)
    rows = []
    for answer in answers:
        event, found = answer.records.events.row(0, named=True), trial_result(answer.records, "")
        path, reasons = f"{CHECK}/{answer.folder.name}/trial.csv", "; ".join(found.reasons)
        rows.append(index.Answer(event["at"], event["file_name"], "trial", path, found.orders_placeable, 0, reasons))
    index.append(settings, source, rows, once=True)


def _deliver(run: Run, answer: TrialAnswer, annotator: Annotator) -> SubmissionResult:
    """Write an answer, original and all, so that its folder appears whole or not at all; then remove the dropped file."""
    folder, copy, records = answer
    access = access_for(run.settings, copy.file.source)
    with staging_dir(folder) as new:
        _write(new, copy, records, annotator)
        if _is_kept(run.settings, copy):
            move_file(copy.path, new / _archived_name(copy))
        for path in (*new.iterdir(), new):
            fsync(path, access)
        new.chmod(access.folder)
        new.rename(folder)
    fsync(folder.parent)
    run.runtime.checkpoint("folder written")
    remove_dropped(copy.file)
    run.runtime.checkpoint("archived")
    return trial_result(records, str(folder.relative_to(run.settings.home)))


def trial_result(records: SubmissionRecords, folder: str) -> SubmissionResult:
    """What would become of a file."""
    found = submission_result(records, folder)
    return replace(found, orders_placed=0, codes_placed=0, orders_placeable=found.orders_placed, trial=True)


def _write(folder: Path, copy: PrivateCopy, records: SubmissionRecords, annotator: Annotator) -> None:
    orders = _orders(records)
    write_csv(orders, folder / "trial.csv")
    writers.write(folder / "trial.xlsx", _book(records, orders))
    if len(records.findings):
        rows = rejection_rows(records)
        write_csv(rows, folder / "rejections.csv")
        write_rejections(folder / "rejections.xlsx", records, submission_result(records, ""), rows, copy.path, annotator)


def _orders(records: SubmissionRecords) -> pl.DataFrame:
    """A row for each order that would be placed, and for each that was placed before. No code is shown: none was issued."""
    names = dict.fromkeys(_WANTED.values())
    new = records.orders.with_columns(state=pl.lit("would be placed")).select(*names)
    again = records.duplicate_orders.with_columns(state=pl.lit("already placed"), cards=pl.lit(None, pl.Int64)).select(*names)
    return with_headers(pl.concat([new, again], how="vertical_relaxed"), _WANTED)


def _book(records: SubmissionRecords, orders: pl.DataFrame) -> Book:
    event, found = records.events.row(0, named=True), trial_result(records, "")
    advice = "This was a trial: no order was placed and no code was issued. Drop the file into your inbox itself to order."
    if found.reasons:
        advice += " Some rows would be rejected: see rejections.xlsx."
    key_values: list[tuple[str, Any]] = [
        ("File", event["file_name"]),
        ("Tried", time_value(event["at"])),
        ("Rows in the file", found.rows),
        ("Orders that would be placed", found.orders_placeable),
        ("Codes that would be issued", len(records.codes)),
        ("Orders already placed", found.orders_already_placed),
        ("Orders that would be rejected", found.orders_rejected),
        ("Rows that would be rejected", found.rows_rejected),
        *[("Remark", note) for note in event["notes"].splitlines()],
    ]
    fits = orders.height * orders.width <= MOST_CELLS
    if not fits:
        key_values.append(("Where the orders are", "in trial.csv; there are too many of them for a workbook"))
    numbers = [telephone(name) for name in orders.columns if name == "Access Number"]
    return Book(_TITLE, advice, key_values, [Sheet("Orders", orders.with_columns(numbers))] if fits else [])
