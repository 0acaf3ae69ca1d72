"""Write what was written into the outbox again, from the registry: a submission, a network report, or a night.

Every file is staged next to the earlier one and replaces it whole. An event that is being written again counts as not
delivered until it is: what a killed run leaves is the next run's to look after.
"""

from pathlib import Path
from typing import Any

from pipelines.common.durable_files import ensure_dir, fsync, remove_stale_staging, staging_dir
from pipelines.common.errors import CardsError
from pipelines.common.times import night_name
from pipelines.delivery import (
    archive,
    dataset_files,
    order_files,
    reconciliation_workbook,
    statements,
    submission,
    written_files,
)
from pipelines.delivery.access import access_for
from pipelines.delivery.deliver import (
    files_of_submission,
    find_original,
    submission_folder,
    write_event_placement,
)
from pipelines.excel.annotator import Annotator
from pipelines.registry import archive as registry_archive
from pipelines.registry import reconciliation
from pipelines.registry.outbox_files import note_files
from pipelines.run import Run


def rewrite_submission(run: Run, event: int) -> Path:
    """Write every report of a submission or of a network report again; its folder. The caller holds the lock on reconciling.

    An archived one comes back from its archive first, with its original; what was archived of placement files stays there.
    """
    archive.bring_back(run, registry_archive.submission_of(run.registry, event))
    run.registry.mark_undelivered(event)
    reports = submission.build_reports(run.registry.submission_records([event]))[0]
    folder = submission_folder(run.settings, reports.event)
    _write_folder(run, reports, folder)
    if not archive.holds_placement(run.settings, reports.event):
        write_event_placement(run.settings, reports)
    order_files.rewrite_order_files(run, reports.records.orders["order_pk"])
    run.registry.mark_delivered([event], written_files.as_frame(files_of_submission(run.settings, reports.event)))
    return folder


def _write_folder(run: Run, reports: submission.SubmissionReports, folder: Path) -> None:
    access = access_for(run.settings, str(reports.event["source"]))
    ensure_dir(folder, access)
    for left in (folder.parent, folder):
        remove_stale_staging(left)
    with staging_dir(folder) as new, Annotator(run.settings, run.registry.catalogue()) as annotator:
        original = find_original(folder, reports.event["digest"])
        submission.write_folder(new, reports, original, annotator, run.settings.max_sheet_codes, folder)
        run.runtime.checkpoint("folder staged")
        for path in new.iterdir():
            fsync(path, access)
            path.replace(folder / path.name)
            run.runtime.checkpoint("file replaced")
    fsync(folder)


def rewrite_night(run: Run, date: int) -> list[Path]:
    """Write the workbook of a night again, the placement files of its replacements, the files that it wrote for orders, and the
    statements that it made; what it wrote. The caller holds the lock on reconciling. Raises CardsError when there was no night
    of that date (20261124).
    """
    latest = require_night(run, date)
    written: list[Path] = []
    for event in reconciliation.nights_of(run.registry, date):
        run.registry.mark_undelivered(event["event"])
        is_latest = event["event"] == latest["event"]
        paths = _placement_of_night(run, event)
        if is_latest:
            paths += reconciliation_workbook.write_night_workbook(run, event)
            paths += dataset_files.write_datasets(run, date) if run.settings.datasets else []
        run.runtime.checkpoint("night written")
        with run.registry.transaction():
            files = written_files.in_outbox(event["event"], run.settings.outbox, paths)
            note_files(run.registry, written_files.as_frame(files))
        paths += order_files.rewrite_night_files(run, event["event"])
        paths += statements.write_of_night(run, event["event"])
        run.registry.mark_delivered([event["event"]], written_files.NONE)
        written += paths
    return [path for path in written if path.is_file()]


def rewrite_data(run: Run, since: int) -> int:
    """Write the data for analysts of every night since a date (20261124) again; of how many. The caller holds the lock on
    reconciling.
    """
    dates = reconciliation.night_dates(run.registry, since)
    for done, date in enumerate(dates, 1):
        paths = dataset_files.write_datasets(run, date)
        event = require_night(run, date)["event"]
        with run.registry.transaction():
            note_files(run.registry, written_files.as_frame(written_files.in_outbox(event, run.settings.outbox, paths)))
        run.runtime.progress("nights", done, len(dates))
    return len(dates)


def require_night(run: Run, date: int) -> dict[str, Any]:
    """The latest event of a night. Raises CardsError when there was none on that date."""
    latest = reconciliation.latest_night(run.registry, date)
    if latest is None:
        raise CardsError(f"There was no reconciliation on {night_name(date)}.")
    return latest


def _placement_of_night(run: Run, event: dict[str, Any]) -> list[Path]:
    """The placement file of a night's replacements, written again unless it was archived."""
    return [] if archive.holds_placement(run.settings, event) else reconciliation_workbook.write_night_placement(run, event)
