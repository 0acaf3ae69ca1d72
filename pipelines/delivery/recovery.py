"""Finish deliveries that an earlier run left."""

from collections.abc import Callable
from typing import Any

import polars as pl

from pipelines.common.durable_files import remove_stale_staging
from pipelines.common.settings import Settings
from pipelines.delivery import dataset_files
from pipelines.delivery.deliver import deliver, submission_folder
from pipelines.delivery.originals import gone, take_original
from pipelines.delivery.results import Delivery, Result, merge
from pipelines.delivery.submission import MONTHS
from pipelines.intake import inbox
from pipelines.intake.inbox import display_name
from pipelines.intake.private_copy import Leftovers, PrivateCopy, Spool, leftovers, spool_of
from pipelines.registry import archive as registry_archive
from pipelines.registry import claims, limits
from pipelines.run import Run, open_claims
from schemas.sources import NETWORK


def finish_undelivered(run: Run, sources: Callable[[str], bool] = lambda _: True) -> Delivery[Result]:
    """Deliver what an earlier run committed and did not live to deliver; of order files those of the sources asked for.

    Files that were in hand when a run died are remembered: from now on each is handled by itself. What the dead had claimed
    is free. What another worker has in hand, or is finishing like this, is left to it.
    """
    home = run.settings.home
    with leftovers(home) as left:
        _remember(run, left)
        dead = {*left.workers, *(worker for worker in claims.workers(run.registry) if not spool_of(home, worker).is_dir())}
        if not dead and not run.registry.undelivered():
            return Delivery([], [])
        with Spool(home) as spool, open_claims(run, spool.name) as mine:
            events = mine.claim_events(dead)
            run.runtime.checkpoint("events claimed")
            return _finish(run, sources, left, spool, events) if events else Delivery([], [])


def _remember(run: Run, left: Leftovers) -> None:
    """Strike files that were alone in hand when a run died; with others in hand they are suspects."""
    if any(left.in_hand):
        with run.registry.transaction():
            for files in left.in_hand:
                for source, digest in files:
                    limits.add_strike(run.registry, source, digest, run.runtime.timestamp(), alone=len(files) == 1)
    left.forget_in_hand()


def _finish(run: Run, sources: Callable[[str], bool], left: Leftovers, spool: Spool, orphaned: list[int]) -> Delivery[Result]:
    events = run.registry.submission_records(orphaned).events
    wanted = [source for source in events["source"].unique() if sources(source)]
    events = events.filter((pl.col("kind") != "orders") | pl.col("source").is_in(wanted))
    _remove_stale(run.settings, events)
    originals = {event["event"]: _original(run, spool, left, event) for event in events.iter_rows(named=True)}
    strikes = limits.strikes_of(run.registry, list(events.select("source", "digest").iter_rows()))
    keys = dict(events.select("event", pl.struct("source", "digest").alias("key")).iter_rows())
    struck = {event: strikes.get((key["source"], key["digest"])) for event, key in keys.items()}
    deliveries = [deliver(run, {event: copy for event, copy in originals.items() if struck[event] is None}, again=True)]
    for event, copy in originals.items():
        if (times := struck[event]) is not None:
            spool.hold([copy] if copy else [])
            deliveries.append(deliver(run, {event: copy}, plain=times >= limits.MOST_STRIKES, again=True))
            spool.hold([])
    return merge(deliveries)


def _original(run: Run, spool: Spool, left: Leftovers, event: dict[str, Any]) -> PrivateCopy | None:
    """The private copy of what an event answers: the dead run's own, or one of the file that still lies in the inbox."""
    if event["kind"] == "night":
        return None
    if event["replays"] and (replayed := _replayed_original(run, spool, event)):
        return replayed
    dropped = next(
        (file for file in inbox.list_files(run.settings.inbox) if not event["replays"]
         and not file.is_trial and (file.source, display_name(file.path.name)) == (event["source"], event["file_name"])), None,
    )  # fmt: skip
    copy = spool.take(dropped, run.settings.max_file_mb << 20) if dropped else None
    if copy and copy.digest == event["digest"]:
        return copy
    path = left.copies.get(event["digest"])
    dropped = gone(run, event["source"], event["file_name"])
    return PrivateCopy(dropped, path, event["digest"], path.stat().st_size) if path else None


def _replayed_original(run: Run, spool: Spool, event: dict[str, Any]) -> PrivateCopy | None:
    """A private copy of the original that an event answers again: that of the submission before, never one from the inbox."""
    for one in registry_archive.submission_of(run.registry, event["replays"]).iter_rows(named=True):
        return take_original(run, spool, event["source"], one["folder"], event["file_name"], event["digest"])
    return None


def remove_begun(run: Run) -> None:
    """Remove what dead runs and commands began to write for events that are not delivered."""
    if events := run.registry.undelivered():
        _remove_stale(run.settings, run.registry.submission_records(events).events)


def _remove_stale(settings: Settings, events: pl.DataFrame) -> None:
    """Remove what a dead run began to write for these events; a night writes into folders of all its orders."""
    nights = events.filter(kind="night")
    sources = settings.outbox.glob("*") if len(nights) else [settings.outbox / source for source in events["source"].unique()]
    network = settings.outbox / NETWORK
    for folder in {*sources, network, *network.glob(MONTHS)}:
        remove_stale_staging(folder)
        for one in folder.glob("[!.]*/") if len(nights) else ():
            remove_stale_staging(one)
    for date in nights["reconciliation_date"].unique():
        for folder in dataset_files.month_folders(settings, date):
            remove_stale_staging(folder)
    for event in events.filter(pl.col("kind") != "night").iter_rows(named=True):
        remove_stale_staging(submission_folder(settings, event))
