"""Submission folders: written to a staging folder, renamed, and the original moved in last."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pipelines.common.context import Runtime
from pipelines.common.durable_files import ensure_private_dir, fsync, staging_dir, thread_pool
from pipelines.common.errors import CardsError, DeliveryError
from pipelines.common.errors import to_cards_error as error_told
from pipelines.common.settings import Settings
from pipelines.delivery import reconciliation_workbook, results, submission
from pipelines.delivery.submission import SubmissionReports
from pipelines.excel.annotator import Annotator
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.registry.records import SubmissionRecords
from pipelines.registry.store import Registry

REPORT_PREFIXES: Final = ("confirmation.", "rejections.", "release-", "refused-")


def deliver(
    settings: Settings, registry: Registry, events: Mapping[int, InboxFile | None], runtime: Runtime
) -> list[dict[str, Any]]:
    """Write the answers of events, move their originals in, and note that it is done; what became of each file.

    Raises DeliveryError, after all others, when some could not be written; they are written by the next run.
    What became of a file is one document: `reseller`, `file`, `folder` (below the home), and the figures of `reports.counted`;
    of a report of the network see `reconcile.taken`.
    """
    papers, failed = _build_reports(registry.submission_records(list(events)))
    told: list[dict[str, Any]] = []
    answered: list[int] = []
    with Annotator(settings) as mender, thread_pool() as pool:

        def answer(one: SubmissionReports) -> list[dict[str, Any]] | CardsError:
            try:
                return _deliver_one(settings, registry, one, events[one.event["event"]], mender, runtime)
            except Exception as error:  # a file never takes another with it
                return error_told(error)

        files = [one for one in papers if one.event["kind"] != "night"]
        nights = [one for one in papers if one.event["kind"] == "night"]
        # while a file waits for the disk another is written; a night asks the registry, which is for this thread alone
        outcomes = chain(pool.map(answer, files), map(answer, nights))
        for done, (one, outcome) in enumerate(zip([*files, *nights], outcomes, strict=True), 1):
            if isinstance(outcome, CardsError):
                failed.append(outcome)
            else:
                answered.append(one.event["event"])
                told += outcome
            runtime.progress("answering", done, len(papers))
    registry.mark_delivered(answered)
    runtime.checkpoint("answered")
    if failed:
        raise DeliveryError(f"{len(failed)} of {len(events)} answers could not be written. {failed[0]}", told)
    return told


def _build_reports(answers: SubmissionRecords) -> tuple[list[SubmissionReports], list[CardsError]]:
    """What is written for each event, and the errors of those for which it can't be told."""
    try:
        return submission.build_reports(answers), []
    except Exception as error:
        events = answers.events["event"]
        if len(events) == 1:
            return [], [error_told(error)]
        each = [_build_reports(SubmissionRecords(*(frame.filter(event=event) for frame in answers))) for event in events]
        return [one for papers, _ in each for one in papers], [error for _, errors in each for error in errors]


def _deliver_one(
    settings: Settings,
    registry: Registry,
    papers: SubmissionReports,
    drop: InboxFile | None,
    mender: Annotator,
    runtime: Runtime,
) -> list[dict[str, Any]]:
    """Write one answer; what became of the file, nothing for a night."""
    if papers.event["kind"] == "night":
        reconciliation_workbook.write_night(settings, registry, papers.event)
        return []
    folder = submission_folder(settings, papers.event)
    write_event_placement(settings, papers)
    runtime.checkpoint("placement written")
    _write(settings, folder, papers, drop.path if drop else None, mender)
    runtime.checkpoint("folder written")
    _archive(drop, folder)
    runtime.checkpoint("archived")
    return [_submission(settings, folder, papers)]


def catch_delivery_errors(deliver: Callable[[], list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], DeliveryError | None]:
    """What was answered, and the error of what was not, to be raised when all other work is done."""
    try:
        return deliver(), None
    except DeliveryError as error:
        return error.told, error


def submission_folder(settings: Settings, event: dict[str, Any]) -> Path:
    """The folder of a submission."""
    return settings.outbox / str(event["sender"]) / str(event["folder"])


def _submission(settings: Settings, folder: Path, papers: SubmissionReports) -> dict[str, Any]:
    event = papers.event
    where = {"reseller": event["sender"], "file": event["file"], "folder": str(folder.relative_to(settings.home))}
    if event["kind"] == "report":
        return {"file": where["file"], "folder": where["folder"], "rows": event["rows"],
                "seen": event["answers"] != event["event"], "reasons": results.reason_counts(papers.answer)}  # fmt: skip
    return {**where, **results.submission_counts(papers.answer)}


def write_event_placement(settings: Settings, papers: SubmissionReports) -> None:
    """Write the placement file of an event that placed something and is no repetition."""
    event = papers.event
    if len(papers.placement) and event["answers"] == event["event"]:
        submission.write_placement(settings.outbox, event, papers.placement)


def _write(settings: Settings, folder: Path, papers: SubmissionReports, original: Path | None, mender: Annotator) -> None:
    if folder.is_dir():
        return
    ensure_private_dir(folder.parent)
    with staging_dir(folder) as new:
        try:
            submission.write_folder(new, papers, original, mender, settings.max_sheet_codes)
            for path in (*new.iterdir(), new):
                fsync(path)
            new.rename(folder)
        except OSError:  # another worker was quicker, with the same content
            if not folder.is_dir():
                raise
    fsync(folder.parent)


def _archive(drop: InboxFile | None, folder: Path) -> None:
    """Move the original into its folder, if it is still the file that was answered."""
    if drop is None or not inbox.is_unchanged(drop):
        return
    name = drop.path.name
    if name.lower().startswith(REPORT_PREFIXES):
        name = f"original-{name}"
    moved = folder / name
    with suppress(FileNotFoundError):  # another worker was quicker
        drop.path.chmod(0o600)
        shutil.move(drop.path, moved)
        here = moved.stat().st_dev == drop.path.parent.stat().st_dev  # else it was copied, and is another by its number
        if here and not inbox.is_unchanged(drop._replace(path=moved)) and not drop.path.exists():
            moved.rename(drop.path)  # it was replaced as we moved it
    fsync(folder)
    fsync(drop.path.parent)
