"""Finish deliveries that an earlier run left, and write the reports of a submission again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.common.durable_files import ensure_private_dir, fsync, remove_stale_staging, staging_dir
from pipelines.common.settings import Settings
from pipelines.delivery import release_files, submission
from pipelines.delivery.deliver import REPORT_PREFIXES, deliver, submission_folder, write_event_placement
from pipelines.delivery.results import Delivery, ReportResult, SubmissionResult
from pipelines.excel.annotator import Annotator
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.run import Run


def finish_undelivered(run: Run, sources: Callable[[str], bool] = lambda _: True) -> Delivery[SubmissionResult | ReportResult]:
    """Deliver what an earlier run committed and did not live to deliver; of order files those of the sources asked for."""
    events = run.registry.undelivered()
    if not events:
        return Delivery([], [])
    left = run.registry.submission_records(events).events
    wanted = [source for source in left["sender"].unique() if sources(source)]
    left = left.filter((pl.col("kind") != "orders") | pl.col("sender").is_in(wanted))
    files = {(file.source, display_name(file.path.name)): file for file in inbox.list_files(run.settings.inbox)}
    originals: dict[int, InboxFile | None] = {}
    for event, source, name, digest in left.select("event", "sender", "file", "digest").iter_rows():
        file = files.get((source, name))
        content = inbox.read_content(file, run.settings.max_file_mb << 20) if file else None
        originals[event] = file if content is not None and inbox.sha256_of(content) == digest else None
    _remove_stale(run.settings, left)
    return deliver(run, originals)


def _remove_stale(settings: Settings, events: pl.DataFrame) -> None:
    """Remove what a dead run began to write for these events; a night writes into folders of all its orders."""
    nights = events.filter(kind="night")
    senders = settings.outbox.glob("*") if len(nights) else [settings.outbox / sender for sender in events["sender"].unique()]
    for folder in {*senders, settings.outbox / inbox.NETWORK}:
        remove_stale_staging(folder)
        for one in folder.glob("[!.]*/") if len(nights) else ():
            remove_stale_staging(one)


def rewrite_submission(run: Run, event: int) -> Path:
    """Write every report of a submission again from the registry; its folder."""
    reports = submission.build_reports(run.registry.submission_records([event]))[0]
    folder = submission_folder(run.settings, reports.event)
    ensure_private_dir(folder)
    with staging_dir(folder) as new, Annotator(run.settings) as annotator:
        submission.write_folder(new, reports, _original(folder, reports.event), annotator, run.settings.max_sheet_codes)
        for path in new.iterdir():
            fsync(path)
            path.replace(folder / path.name)
    fsync(folder)
    write_event_placement(run.settings, reports)
    release_files.write_order_files(run, reports.records.orders["order_no"])
    return folder


def _original(folder: Path, event: dict[str, Any]) -> Path | None:
    """The file that was answered, where it was archived."""
    for path in folder.iterdir():
        if (
            path.is_file()
            and not path.name.startswith(REPORT_PREFIXES)
            and inbox.sha256_of(path.read_bytes()) == event["digest"]
        ):
            return path
    return None
