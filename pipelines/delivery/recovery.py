"""Finish deliveries that an earlier run left, and write the reports of a submission again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.common.context import Runtime
from pipelines.common.durable_files import ensure_private_dir, fsync, remove_stale_staging, staging_dir
from pipelines.common.settings import Settings
from pipelines.delivery import release_files, submission
from pipelines.delivery.deliver import REPORT_PREFIXES, deliver, submission_folder, write_event_placement
from pipelines.excel.annotator import Annotator
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.registry.store import Registry


def finish_undelivered(
    settings: Settings, registry: Registry, runtime: Runtime, senders: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Answer what an earlier run entered and did not live to answer; of order files those of the senders asked for."""
    events = registry.undelivered()
    if not events:
        return []
    given = registry.submission_records(events).events
    asked = [sender for sender in given["sender"].unique() if senders(sender)]
    given = given.filter((pl.col("kind") != "orders") | pl.col("sender").is_in(asked))
    drops = {(drop.sender, display_name(drop.path.name)): drop for drop in inbox.list_files(settings.inbox)}
    originals: dict[int, InboxFile | None] = {}
    for event, sender, file, digest in given.select("event", "sender", "file", "digest").iter_rows():
        drop = drops.get((sender, file))
        content = inbox.read_content(drop, settings.max_file_mb << 20) if drop else None
        originals[event] = drop if content is not None and inbox.sha256_of(content) == digest else None
    _remove_stale(settings, given)
    return deliver(settings, registry, originals, runtime)


def _remove_stale(settings: Settings, events: pl.DataFrame) -> None:
    """Remove what a dead run began to write for these events; a night writes into folders of all its orders."""
    nights = events.filter(kind="night")
    senders = settings.outbox.glob("*") if len(nights) else [settings.outbox / sender for sender in events["sender"].unique()]
    for folder in {*senders, settings.outbox / inbox.NETWORK}:
        remove_stale_staging(folder)
        for one in folder.glob("[!.]*/") if len(nights) else ():
            remove_stale_staging(one)


def rewrite_submission(settings: Settings, registry: Registry, event: int) -> Path:
    """Write every report of a submission again from the registry; its folder."""
    papers = submission.build_reports(registry.submission_records([event]))[0]
    folder = submission_folder(settings, papers.event)
    ensure_private_dir(folder)
    with staging_dir(folder) as new, Annotator(settings) as mender:
        submission.write_folder(new, papers, _original(folder, papers.event), mender, settings.max_sheet_codes)
        for path in new.iterdir():
            fsync(path)
            path.replace(folder / path.name)
    fsync(folder)
    write_event_placement(settings, papers)
    release_files.write_order_files(settings, registry, papers.answer.orders["order_no"])
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
