"""Job 2, the night: compare what was placed with what the network holds.

reports → load → validate → match → commit → close reported orders (refuse, replace) → release files, placement of
the replacements, workbook → archive what is old and finished.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.common.log_events import NIGHT_CLOSED, NIGHT_RUNNING
from pipelines.delivery import archive, reconciliation_workbook, recovery, statements, written_files
from pipelines.delivery.deliver import deliver
from pipelines.delivery.log_lines import log_failures
from pipelines.delivery.night_figures import NightFigures
from pipelines.delivery.results import Delivery, ReportResult, merge
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import PrivateCopy, Spool
from pipelines.intake.reader import Parser, Table, read, rejected_file
from pipelines.reconciliation.holds import Limits
from pipelines.reconciliation.judging import Report, judge
from pipelines.reconciliation.matching import as_order_rows, validate_report
from pipelines.reconciliation.replacement import replaceable, replacements
from pipelines.registry import limits, night_records, reconciliation
from pipelines.run import Run, note_committed, require_current
from schemas import network
from schemas.sources import NETWORK

SET_ASIDE: Final = rejected_file(network.NAMES, "FILE_SET_ASIDE", "")


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

    Running it again on the same date without a new report changes nothing and gives the same figures. All that a night writes
    has the date and time at which it began, also when midnight falls into it. Raises CardsError when the registry is older
    than the outbox.
    """
    require_current(run)
    clock, begun, start = run.runtime, run.runtime.now(), time.monotonic()
    run = run._replace(runtime=run.runtime._replace(now=lambda: begun))
    night = f"{begun:%Y-%m-%d}"
    with run.registry.try_reconciliation_lock() as locked:
        if not locked:
            run.runtime.log(NIGHT_RUNNING, night=night)
            return NightResult(night, [], None, [], already_running=True)
        reports = merge([_left_reports(run), *ingest_reports(run)])
        date = int(night.replace("-", ""))
        figures, is_new = _close(run, date, clock.timestamp)
        failures = [*reports.failures, *statements.contradictions(run, date), *archive.archive_due(run)]
        log_failures(run, failures)
        seconds = round(time.monotonic() - start, 3)
        run.runtime.log(NIGHT_CLOSED, night=night, repeated=not is_new, **asdict(figures), seconds=seconds)
        return NightResult(night, reports.results, figures, failures)


def _left_reports(run: Run) -> Delivery[ReportResult]:
    """Reports that an earlier run entered and did not deliver."""
    left = recovery.finish_undelivered(run)
    return Delivery([one for one in left.results if isinstance(one, ReportResult)], left.failures)


def _close(run: Run, date: int, timestamp: Callable[[], str]) -> tuple[NightFigures, bool]:
    """Close the orders that reports name, unless this night has done so, and write its workbook; the totals, and whether there
    was something to do. `timestamp`: the time as it goes on.
    """
    registry = run.registry
    if not reconciliation.has_open_reports(registry) and (latest := reconciliation.latest_night(registry, date)):
        return reconciliation_workbook.figures_of(run.settings, night_records.load_reconciliation(registry, latest)), False
    event = close_reported_orders(run, date)
    note_committed(run, event)
    run.runtime.checkpoint("orders closed")
    night = reconciliation_workbook.write_night(run, reconciliation.latest_night(registry, date) or {})
    reconciliation.note_written(registry, event, timestamp())
    run.runtime.checkpoint("night written")
    registry.mark_delivered([event], written_files.NONE)
    run.runtime.checkpoint("delivered")
    return reconciliation_workbook.figures_of(run.settings, night), True


def ingest_reports(run: Run) -> Iterator[Delivery[ReportResult]]:
    """Enter every report that is ready, oldest first, and archive it.

    All that are at hand are entered together, as a card that one of them shows is shown; a report that was in hand when a run
    died is entered by itself.
    """
    settings = run.settings
    files = inbox.stable_files(settings.inbox, settings.settle_seconds, lambda source: source == NETWORK)
    if not files:
        return
    with Parser(settings) as parser, Spool(settings.home) as spool:
        parser.start()  # it comes up while the first report is copied
        together, alone = _read_reports(run, files, parser, spool)
        for group in (*([report] for report in alone), together):
            spool.hold([report.copy for report in group])
            if group:
                yield _ingest(run, group)
            spool.hold([])


class ReportAtHand(NamedTuple):
    """A report at hand: its private copy, its table, its rows, and what is wrong with it. `folder`: where it was archived
    already, by a registry that was lost.
    """

    copy: PrivateCopy
    table: Table
    rows: pl.DataFrame
    findings: pl.DataFrame
    folder: str = ""


def _read_reports(
    run: Run, files: list[InboxFile], parser: Parser, spool: Spool
) -> tuple[list[ReportAtHand], list[ReportAtHand]]:
    """The reports to enter together, and those that were in hand when a run died."""
    together: list[ReportAtHand] = []
    alone: list[ReportAtHand] = []
    for done, file in enumerate(files, 1):
        if copy := spool.take(file, run.settings.max_file_mb << 20):
            spool.hold([copy])  # a report that two runs died of is set aside, like an order file
            strikes = limits.strikes_of(run.registry, [(NETWORK, copy.digest)]).get((NETWORK, copy.digest))
            table = SET_ASIDE if (strikes or 0) >= limits.MOST_STRIKES else _read(run, copy, parser)
            (together if strikes is None else alone).append(ReportAtHand(copy, table, *validate_report(table)))
            spool.hold([])
        run.runtime.progress("reports", done, len(files))
    return together, alone


def _read(run: Run, copy: PrivateCopy, parser: Parser) -> Table:
    return read(copy.content(), parser, run.settings, network.NAMES, network.BY_HEADER)


def _ingest(run: Run, reports: list[ReportAtHand]) -> Delivery[ReportResult]:
    """Enter reports and archive them."""
    events = enter_reports(run, reports)
    run.runtime.checkpoint("report entered")
    plain = any(report.table is SET_ASIDE for report in reports)
    delivered = deliver(run, {event: report.copy for event, report in events.items()}, plain=plain)
    return Delivery([one for one in delivered.results if isinstance(one, ReportResult)], delivered.failures)


def enter_reports(run: Run, reports: list[ReportAtHand]) -> dict[int, ReportAtHand]:
    """Enter reports in one transaction: what follows from each, or what is wrong with it; their events."""
    registry, settings = run.registry, run.settings
    most = Limits(settings.report_max_refused, settings.report_max_external)
    with registry.transaction():
        events = dict(enumerate(reports, registry.next("events", "event")))
        valid = {
            event: Report(one.copy.digest, _written_at(run, one), one.rows)
            for event, one in events.items() if one.findings.is_empty()
        }  # fmt: skip
        judged = judge(valid, registry, most)
        for event, one in events.items():
            fields = _report_event(run, one) | {"readable": int(event in valid and event not in judged.on_hold)}
            if event in valid:
                registry.enter_event(fields, judged.repeated.get(event, 0))
            else:
                registry.enter_rejected(fields, as_order_rows(one.table, one.findings), one.findings)
        for event, about in judged.on_hold.items():
            reconciliation.hold_report(registry, event, about)
        for event, approved in judged.approved.items():
            reconciliation.use_approval(registry, approved, event)
        reconciliation.enter_reports(registry, judged.match)
    return events


def would_hold(run: Run, reports: list[ReportAtHand]) -> dict[int, str]:
    """Those of the reports, by their place, that would be put on hold, and why."""
    most = Limits(run.settings.report_max_refused, run.settings.report_max_external)
    valid = {
        place: Report(one.copy.digest, _written_at(run, one), one.rows)
        for place, one in enumerate(reports) if one.findings.is_empty()
    }  # fmt: skip
    return judge(valid, run.registry, most).on_hold


def _report_event(run: Run, report: ReportAtHand) -> dict[str, Any]:
    return _event(run, "report", report.copy.digest, inbox.display_name(report.copy.file.path.name)) | {
        "rows": len(report.table.rows), "notes": "\n".join(report.table.notes), "file_at": _written_at(run, report),
    } | ({"folder": report.folder, "delivered": 1} if report.folder else {})  # fmt: skip


def _written_at(run: Run, report: ReportAtHand) -> str:
    """When a report was written, by its file, which programs that copy files keep if they are asked to; now at the latest."""
    now = run.runtime.now()
    written = datetime.fromtimestamp(report.copy.file.mtime_ns / 1e9, now.tzinfo)
    return min(written, now).isoformat(timespec="seconds")


def close_reported_orders(run: Run, date: int) -> int:
    """Refuse the cards that reported orders lack, and draw replacements, in one transaction; the event's number."""
    registry = run.registry
    event = night_event(run.runtime.timestamp(), date)
    with registry.transaction():
        cards = reconciliation.waiting_cards(registry)
        refused, waiting = cards.filter("judged"), cards.filter(~pl.col("judged"))
        wanted = replaceable(refused, waiting) if run.settings.replace_refused else refused.clear()
        new = replacements(wanted, registry, run.runtime)
        return reconciliation.enter_night(registry, event, refused, waiting, new, run.settings.overdue_hours)


def night_event(at: str, date: int) -> dict[str, Any]:
    """The fields of the event of a night."""
    return {"kind": "night", "source": NETWORK, "digest": "", "file_name": "nightly-reconciliation", "at": at, "rows": 0,
            "notes": "", "readable": 0, "reconciliation_date": date}  # fmt: skip


def _event(run: Run, kind: str, digest: str, file_name: str) -> dict[str, Any]:
    return {"kind": kind, "source": NETWORK, "digest": digest, "file_name": file_name, "at": run.runtime.timestamp()}
