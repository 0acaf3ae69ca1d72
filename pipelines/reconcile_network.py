"""Job 2, the night: compare what was placed with what the network holds.

reports → load → validate → match → commit → close reported orders (refuse, replace) → release files, placement of
the replacements, workbook → archive what is old and settled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.delivery import archive, reconciliation_workbook, recovery
from pipelines.delivery.deliver import deliver
from pipelines.delivery.reconciliation_workbook import NightFigures
from pipelines.delivery.results import Delivery, ReportResult, merge
from pipelines.intake import inbox
from pipelines.intake.private_copy import PrivateCopy, Spool
from pipelines.intake.reader import Parser, Table, read, rejected_file
from pipelines.reconciliation.matching import as_order_rows, match_report, validate_report
from pipelines.reconciliation.replacement import replacements
from pipelines.registry import limits, night_records, reconciliation
from pipelines.run import Run
from schemas import network
from schemas.sources import NETWORK

_SET_ASIDE: Final = rejected_file(network.NAMES, "FILE_SET_ASIDE", "")


@dataclass(frozen=True)
class NightResult:
    """What a night did: its date, what became of each report, the totals, and errors of what could not be written.

    `already_running`: another process holds the night; nothing was done here, and there are no figures.
    """

    night: str
    reports: list[ReportResult]
    figures: NightFigures | None
    failures: list[CardsError]
    already_running: bool = False


def reconcile(run: Run) -> NightResult:
    """Take every report at hand, close the orders that they name, and write the release files and the workbook.

    Running it again on the same date changes nothing and gives the same figures.
    """
    night = f"{run.runtime.now():%Y-%m-%d}"
    with run.registry.try_reconciliation_lock() as locked:
        if not locked:
            return NightResult(night, [], None, [], already_running=True)
        reports = merge([_left_reports(run), *ingest_reports(run)])
        figures = _close(run, int(night.replace("-", "")))
        return NightResult(night, reports.results, figures, [*reports.failures, *archive.archive_due(run)])


def _left_reports(run: Run) -> Delivery[ReportResult]:
    """Reports that an earlier run entered and did not deliver."""
    left = recovery.finish_undelivered(run)
    return Delivery([one for one in left.results if isinstance(one, ReportResult)], left.failures)


def _close(run: Run, date: int) -> NightFigures:
    """Close the orders that reports name, unless this night has done so, and write its workbook; the totals."""
    registry = run.registry
    if not reconciliation.has_open_reports(registry) and (latest := reconciliation.latest_night(registry, date)):
        return reconciliation_workbook.night_figures(run.settings, night_records.load_reconciliation(registry, latest))
    event = close_reported_orders(run, date)
    run.runtime.checkpoint("orders closed")
    night = reconciliation_workbook.write_night(run, reconciliation.latest_night(registry, date) or {})
    run.runtime.checkpoint("night written")
    registry.mark_delivered([event])
    run.runtime.checkpoint("delivered")
    return reconciliation_workbook.night_figures(run.settings, night)


def ingest_reports(run: Run) -> Iterator[Delivery[ReportResult]]:
    """Enter every report that is ready, oldest first, and archive it."""
    settings = run.settings
    files = inbox.stable_files(settings.inbox, settings.settle_seconds, lambda source: source == NETWORK)
    if not files:
        return
    with Parser(settings) as parser, Spool(settings.home) as spool:
        for done, file in enumerate(files, 1):
            if copy := spool.take(file, settings.max_file_mb << 20):
                spool.hold([copy])  # a report that two runs died of is set aside, like an order file
                yield _ingest(run, copy, parser)
                spool.hold([])
            run.runtime.progress("reports", done, len(files))


def _ingest(run: Run, copy: PrivateCopy, parser: Parser) -> Delivery[ReportResult]:
    """Enter one report and archive it."""
    key = (NETWORK, copy.digest)
    struck = limits.strikes_of(run.registry, [key]).get(key, 0) >= limits.MOST_STRIKES
    event = _enter(run, copy, _SET_ASIDE if struck else _read(run, copy, parser))
    run.runtime.checkpoint("report entered")
    delivered = deliver(run, {event: copy}, plain=struck)
    return Delivery([one for one in delivered.results if isinstance(one, ReportResult)], delivered.failures)


def _read(run: Run, copy: PrivateCopy, parser: Parser) -> Table:
    return read(copy.content(), parser, run.settings, network.NAMES, network.BY_HEADER)


def _enter(run: Run, copy: PrivateCopy, table: Table) -> int:
    """Enter one report: what follows from it, or what is wrong with it; the event's number."""
    registry = run.registry
    rows, found = validate_report(table)
    event = _event(run, "report", copy.digest, inbox.display_name(copy.file.path.name)) | {
        "rows": len(table.rows), "notes": "\n".join(table.notes), "readable": int(found.is_empty()),
        "final": int(found.is_empty()),
    }  # fmt: skip
    with registry.transaction():
        earlier = registry.original_events(pl.DataFrame({"source": [NETWORK], "digest": [copy.digest]}))
        if len(earlier):
            return registry.enter_event(event, earlier["original_event"].item())
        if len(found):
            return registry.enter_rejected(event, as_order_rows(table, found), found)
        return reconciliation.enter_report(registry, event, match_report(rows, registry))


def close_reported_orders(run: Run, date: int) -> int:
    """Refuse the cards that reported orders lack, and draw replacements, in one transaction; the event's number."""
    registry = run.registry
    event = _event(run, "night", "", "nightly-reconciliation") | {
        "rows": 0,
        "notes": "",
        "readable": 0,
        "reconciliation_date": date,
    }
    with registry.transaction():
        refused = reconciliation.unconfirmed_cards(registry)
        wanted = refused if run.settings.replace_refused else refused.clear()
        return reconciliation.enter_night(registry, event, refused, replacements(wanted, registry, run.runtime))


def _event(run: Run, kind: str, digest: str, file_name: str) -> dict[str, Any]:
    return {"kind": kind, "source": NETWORK, "digest": digest, "file_name": file_name, "at": run.runtime.timestamp()}
