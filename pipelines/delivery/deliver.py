"""Submission folders: written to a staging folder, original and all, then renamed; then the inbox is cleared."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import ensure_dir, fsync, move_file, staging_dir, thread_pool
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.log_events import PLACEMENT_WRITTEN
from pipelines.common.settings import Settings
from pipelines.delivery import index, reconciliation_workbook, status, submission, written_files
from pipelines.delivery.access import access_for
from pipelines.delivery.log_lines import log_result, submission_of
from pipelines.delivery.results import Delivery, Result, report_result
from pipelines.delivery.submission import SubmissionReports
from pipelines.delivery.written_files import WrittenFile
from pipelines.excel.annotator import Annotator
from pipelines.excel.second_writer import SecondWriter
from pipelines.excel.writers import WriteBook
from pipelines.intake.private_copy import PrivateCopy, remove_dropped
from pipelines.registry import reconciliation
from pipelines.registry.records import SubmissionRecords
from pipelines.run import Run, note_committed
from schemas.sources import NETWORK

REPORT_PREFIXES: Final = ("confirmation.", "rejections.", "already-placed.", "release-", "refused-", "outcome-", "status.json")
_NAME_BYTES: Final = 255
_NO_EVENTS: Final = pl.Series("event", [], pl.Int64)
AT_ONCE: Final = 8
"""So many folders are written at once: most of the time they wait for the disk, which writes several in one go."""


def deliver(
    run: Run, events: Mapping[int, PrivateCopy | None], *, plain: bool = False, again: bool = False
) -> Delivery[Result]:
    """Write the reports of events next to their originals, remove these from the inbox, and mark the events as delivered.

    A failure never keeps the other events from being delivered. `plain`: write CSV files alone, no workbooks.
    `again`: an earlier run may have delivered some of them.
    """
    if events:
        note_committed(run, max(events))
    records = run.registry.submission_records(list(events))
    catalogue = run.registry.catalogue() if len(records.findings) else None
    reports, failures = _build_reports(records)
    results: list[Result] = []
    delivered: list[int] = []
    files: list[WrittenFile] = []
    with Annotator(run.settings, catalogue) as annotator, SecondWriter(len(reports)) as writer, thread_pool(AT_ONCE) as pool:

        def deliver_one(one: SubmissionReports) -> tuple[Result | None, list[WrittenFile]] | CardsError:
            try:
                return _deliver_one(run, one, events[one.event["event"]], None if plain else annotator, writer.write)
            except Exception as error:  # a file never takes another with it
                return to_cards_error(error)

        submissions = [one for one in reports if one.event["kind"] != "night"]
        nights = [one for one in reports if one.event["kind"] == "night"]
        # while a file waits for the disk another is written; a night asks the registry, which is for this thread alone
        outcomes = chain(pool.map(deliver_one, submissions), map(deliver_one, nights))
        for done, (one, outcome) in enumerate(zip([*submissions, *nights], outcomes, strict=True), 1):
            if isinstance(outcome, CardsError):
                failures.append(outcome)
            else:
                delivered.append(one.event["event"])
                files += outcome[1]
                if outcome[0]:
                    results.append(outcome[0])
                    log_result(run, outcome[0], events[one.event["event"]])
            run.runtime.progress("delivering", done, len(reports))
    closed = records.holds.filter(closed_here=1)["held_event"] if len(records.holds) else _NO_EVENTS
    renewed, unrenewed = status.rewrite(run, closed)  # of files that orders waited because of
    failures += unrenewed
    unlisted = _write_index(run.settings, [one for one in reports if one.event["event"] in set(delivered)], once=again)
    failures += unlisted.values()
    complete = [one.event["event"] for one in reports
                if one.event["event"] in set(delivered) and one.event["source"] not in unlisted]  # fmt: skip
    run.registry.mark_delivered(
        complete, written_files.as_frame([file for file in files if file.event in set(complete)] + renewed)
    )
    run.runtime.checkpoint("delivered")
    return Delivery(results, failures)


def _write_index(settings: Settings, reports: list[SubmissionReports], *, once: bool) -> dict[str, CardsError]:
    """Add the answers to the indexes of their resellers; the errors of those that could not be written."""
    answers: dict[str, list[index.Answer]] = {}
    for one in reports:
        if one.event["kind"] == "orders":
            answers.setdefault(one.event["source"], []).extend(index.answers_of(one.records, one.counts))
    failures: dict[str, CardsError] = {}
    for source, rows in answers.items():
        try:
            index.append(settings, source, rows, once=once)
        except Exception as error:  # a reseller never takes another with it
            failures[source] = to_cards_error(error)
    return failures


def _build_reports(records: SubmissionRecords) -> tuple[list[SubmissionReports], list[CardsError]]:
    """The reports of each event, and the errors of those whose reports can't be built."""
    try:
        return submission.build_reports(records), []
    except Exception as error:
        events = records.events["event"]
        if len(events) == 1:
            return [], [to_cards_error(error)]
        each = [_build_reports(records.of_event(event)) for event in events]
        return [one for reports, _ in each for one in reports], [error for _, errors in each for error in errors]


def _deliver_one(
    run: Run, reports: SubmissionReports, copy: PrivateCopy | None, annotator: Annotator | None, write_book: WriteBook
) -> tuple[Result | None, list[WrittenFile]]:
    """Write what one event answers; what lies there now."""
    event = reports.event["event"]
    if reports.event["kind"] == "night":
        reconciliation_workbook.write_night(run, reports.event, again=True)
        reconciliation.note_written(run.registry, event, run.runtime.timestamp())
        return None, []
    folder = submission_folder(run.settings, reports.event)
    if write_event_placement(run.settings, reports):
        run.runtime.log(PLACEMENT_WRITTEN, submission=submission_of(run, str(folder)), cards=len(reports.placement))
    run.runtime.checkpoint("placement written")
    _write(run.settings, folder, reports, copy, annotator, write_book)
    run.runtime.checkpoint("folder written")
    if copy:
        remove_dropped(copy.file)
    run.runtime.checkpoint("archived")
    shown = str(folder.relative_to(run.settings.home))
    is_report = reports.event["kind"] == "report"
    result = report_result(reports.records, shown) if is_report else replace(reports.counts, folder=shown)
    return result, files_of_submission(run.settings, reports.event)


def files_of_submission(settings: Settings, event: dict[str, Any]) -> list[WrittenFile]:
    """What lies there of a submission: its folder and its placement file."""
    placement = submission.placement_path(settings.outbox, event)
    return [
        *written_files.in_folder(event["event"], submission_folder(settings, event)),
        *written_files.in_outbox(event["event"], settings.outbox, [placement]),
    ]


def submission_folder(settings: Settings, event: dict[str, Any]) -> Path:
    """The folder of a submission."""
    return settings.outbox / str(event["source"]) / str(event["folder"])


def write_event_placement(settings: Settings, reports: SubmissionReports) -> bool:
    """Write the placement file of an event that placed something and repeats no earlier one; whether it did."""
    event = reports.event
    places = bool(len(reports.placement)) and event["original_event"] == event["event"]
    if places:
        submission.write_placement(settings.outbox, event, reports.placement)
    return places


def _write(
    settings: Settings,
    folder: Path,
    reports: SubmissionReports,
    copy: PrivateCopy | None,
    annotator: Annotator | None,
    write_book: WriteBook,
) -> None:
    """Write the folder, original and all, so that it appears whole or not at all."""
    access = access_for(settings, str(reports.event["source"]))
    if not folder.is_dir():
        ensure_dir(folder.parent, access)
        with staging_dir(folder) as new:
            try:
                original = copy.path if copy else None
                submission.write_folder(new, reports, original, annotator, settings.max_sheet_codes, folder, write_book)
                _archive(settings, copy, new)
                for path in (*new.iterdir(), new):
                    fsync(path, access)
                new.chmod(access.folder)
                new.rename(folder)
            except OSError:  # another worker was quicker, with the same content
                if not folder.is_dir():
                    raise
        fsync(folder.parent)
    elif copy and copy.path.exists() and find_original(folder, copy.digest) is None:
        _archive(settings, copy, folder)
        fsync(folder / original_name(copy.file.path.name), access)
        fsync(folder)


def _archive(settings: Settings, copy: PrivateCopy | None, folder: Path) -> None:
    """Move the private copy into the folder, under the name that was dropped. A file over the limit is not kept."""
    if copy and copy.size <= settings.max_file_mb << 20:
        target = folder / original_name(copy.file.path.name)
        move_file(copy.path, target)
        if copy.file.source == NETWORK and copy.file.mtime_ns >= 0:  # what it can know of depends on when it was written
            os.utime(target, ns=(copy.file.mtime_ns, copy.file.mtime_ns))


def original_name(name: str, prefixes: tuple[str, ...] = REPORT_PREFIXES) -> str:
    """The name of an original in its submission's folder, where the names of our reports are not free."""
    if not name.lower().startswith(prefixes):
        return name
    stem, suffix = Path(name).stem, Path(name).suffix
    room = _NAME_BYTES - len(os.fsencode(f"original-{suffix}"))
    return f"original-{os.fsencode(stem)[:room].decode('utf-8', 'ignore')}{suffix}"


def find_original(folder: Path, digest: str) -> Path | None:
    """The file that was answered, where it was archived."""
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink() and not path.name.startswith(REPORT_PREFIXES):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                    return path
    return None
