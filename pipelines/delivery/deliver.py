"""Submission folders: written to a staging folder, renamed, and the original moved in last."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pipelines.common.durable_files import ensure_private_dir, fsync, staging_dir, thread_pool
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.settings import Settings
from pipelines.delivery import reconciliation_workbook, submission
from pipelines.delivery.results import Delivery, ReportResult, SubmissionResult, report_result, submission_result
from pipelines.delivery.submission import SubmissionReports
from pipelines.excel.annotator import Annotator
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.registry.records import SubmissionRecords
from pipelines.run import Run

REPORT_PREFIXES: Final = ("confirmation.", "rejections.", "release-", "refused-")
Result = SubmissionResult | ReportResult | None
"""What became of a file; nothing of a night."""


def deliver(run: Run, events: Mapping[int, InboxFile | None]) -> Delivery[SubmissionResult | ReportResult]:
    """Write the reports of events, move their originals in, and mark them as delivered.

    A failure never keeps the other events from being delivered.
    """
    reports, failures = _build_reports(run.registry.submission_records(list(events)))
    results: list[SubmissionResult | ReportResult] = []
    delivered: list[int] = []
    with Annotator(run.settings) as annotator, thread_pool() as pool:

        def deliver_one(one: SubmissionReports) -> Result | CardsError:
            try:
                return _deliver_one(run, one, events[one.event["event"]], annotator)
            except Exception as error:  # a file never takes another with it
                return to_cards_error(error)

        files = [one for one in reports if one.event["kind"] != "night"]
        nights = [one for one in reports if one.event["kind"] == "night"]
        # while a file waits for the disk another is written; a night asks the registry, which is for this thread alone
        outcomes = chain(pool.map(deliver_one, files), map(deliver_one, nights))
        for done, (one, outcome) in enumerate(zip([*files, *nights], outcomes, strict=True), 1):
            if isinstance(outcome, CardsError):
                failures.append(outcome)
            else:
                delivered.append(one.event["event"])
                results += [outcome] if outcome else []
            run.runtime.progress("delivering", done, len(reports))
    run.registry.mark_delivered(delivered)
    run.runtime.checkpoint("delivered")
    return Delivery(results, failures)


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


def _deliver_one(run: Run, reports: SubmissionReports, file: InboxFile | None, annotator: Annotator) -> Result:
    """Write what one event answers."""
    if reports.event["kind"] == "night":
        reconciliation_workbook.write_night(run, reports.event)
        return None
    folder = submission_folder(run.settings, reports.event)
    write_event_placement(run.settings, reports)
    run.runtime.checkpoint("placement written")
    _write(run.settings, folder, reports, file.path if file else None, annotator)
    run.runtime.checkpoint("folder written")
    _archive(file, folder)
    run.runtime.checkpoint("archived")
    shown = str(folder.relative_to(run.settings.home))
    return (report_result if reports.event["kind"] == "report" else submission_result)(reports.records, shown)


def submission_folder(settings: Settings, event: dict[str, Any]) -> Path:
    """The folder of a submission."""
    return settings.outbox / str(event["sender"]) / str(event["folder"])


def write_event_placement(settings: Settings, reports: SubmissionReports) -> None:
    """Write the placement file of an event that placed something and repeats no earlier one."""
    event = reports.event
    if len(reports.placement) and event["answers"] == event["event"]:
        submission.write_placement(settings.outbox, event, reports.placement)


def _write(settings: Settings, folder: Path, reports: SubmissionReports, original: Path | None, annotator: Annotator) -> None:
    if folder.is_dir():
        return
    ensure_private_dir(folder.parent)
    with staging_dir(folder) as new:
        try:
            submission.write_folder(new, reports, original, annotator, settings.max_sheet_codes)
            for path in (*new.iterdir(), new):
                fsync(path)
            new.rename(folder)
        except OSError:  # another worker was quicker, with the same content
            if not folder.is_dir():
                raise
    fsync(folder.parent)


def _archive(file: InboxFile | None, folder: Path) -> None:
    """Move the original into its folder, if it is still the file that was answered."""
    if file is None or not inbox.is_unchanged(file):
        return
    name = file.path.name
    if name.lower().startswith(REPORT_PREFIXES):
        name = f"original-{name}"
    moved = folder / name
    with suppress(FileNotFoundError):  # another worker was quicker
        file.path.chmod(0o600)
        shutil.move(file.path, moved)
        here = moved.stat().st_dev == file.path.parent.stat().st_dev  # else it was copied, and is another by its number
        if here and not inbox.is_unchanged(file._replace(path=moved)) and not file.path.exists():
            moved.rename(file.path)  # it was replaced as we moved it
    fsync(folder)
    fsync(file.path.parent)
