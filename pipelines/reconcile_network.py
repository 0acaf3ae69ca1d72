"""Job 2, the night: compare what was placed with what the network holds.

reports → load → validate → match → commit → close reported orders (refuse, replace) → release files, placement of
the replacements, workbook.
"""

from typing import Any

import polars as pl

from pipelines.common.context import Runtime
from pipelines.common.errors import DeliveryError
from pipelines.common.settings import Settings
from pipelines.delivery import deliver, reconciliation_workbook, recovery
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.reader import Parser, Table, read
from pipelines.reconciliation.matching import as_order_rows, match_report, validate_report
from pipelines.reconciliation.replacement import replacements
from pipelines.registry import reconciliation
from pipelines.registry.store import Registry
from schemas import network


def reconcile(settings: Settings, registry: Registry, runtime: Runtime = Runtime()) -> dict[str, Any]:
    """Take every report at hand, settle what they name, and write the answers; what the night did.

    That is one document: `night`, `reports` (each as `taken` tells it; also those that a dead run left), and the figures
    of `night_reports.figures`. While another is at it there is just `night` and `already_running`. Running it again in
    the same night changes nothing and tells the same figures.
    """
    today = {"night": f"{runtime.now():%Y-%m-%d}"}
    with registry.try_reconciliation_lock() as alone:
        return {**today, **_night(settings, registry, runtime)} if alone else {**today, "already_running": True}


def _night(settings: Settings, registry: Registry, runtime: Runtime) -> dict[str, Any]:
    left, failed = deliver.catch_delivery_errors(lambda: recovery.finish_undelivered(settings, registry, runtime))
    more, wrong = deliver.catch_delivery_errors(lambda: ingest_reports(settings, registry, runtime))
    reports, failed = [one for one in left if "seen" in one] + more, failed or wrong
    night = int(runtime.now().strftime("%Y%m%d"))
    if reconciliation.has_open_reports(registry) or reconciliation.latest_night(registry, night) is None:
        event = close_reported_orders(night, settings, registry, runtime)
        runtime.checkpoint("settled")
        told = reconciliation_workbook.write_night(settings, registry, reconciliation.latest_night(registry, night) or {})
        runtime.checkpoint("night written")
        registry.mark_delivered([event])
        runtime.checkpoint("answered")
    else:
        told = reconciliation.load_reconciliation(registry, reconciliation.latest_night(registry, night) or {})
    if failed:
        raise failed
    return {"reports": reports, **reconciliation_workbook.night_figures(settings, told)}


def ingest_reports(settings: Settings, registry: Registry, runtime: Runtime) -> list[dict[str, Any]]:
    """Enter every report that is ready, oldest first, and archive it: `file`, `folder`, `rows`, `seen` (whether the same
    bytes came before) and `reasons` of one that is malformed and was not used.

    Raises DeliveryError, after all reports, when the folder of one could not be written.
    """
    told: list[dict[str, Any]] = []
    failed = None
    drops = inbox.stable_files(settings.inbox, settings.settle_seconds, lambda sender: sender == inbox.NETWORK)
    with Parser(settings) as parser:
        for done, drop in enumerate(drops, 1):
            content = inbox.read_content(drop, settings.max_file_mb << 20)
            if content is None:
                continue
            digest = inbox.sha256_of(content)
            event = _enter(drop, digest, read(content, parser, settings, network.NAMES, network.BY_HEADER), registry, runtime)
            runtime.checkpoint("report entered")
            more, wrong = deliver.catch_delivery_errors(lambda: deliver.deliver(settings, registry, {event: drop}, runtime))  # noqa: B023
            told, failed = told + more, failed or wrong
            runtime.progress("reports", done, len(drops))
    if failed:
        raise DeliveryError(str(failed), told)
    return told


def _enter(drop: InboxFile, digest: str, table: Table, registry: Registry, runtime: Runtime) -> int:
    """Enter one report: its verdict, or what is wrong with it."""
    rows, found = validate_report(table)
    event = {
        "kind": "report",
        "sender": inbox.NETWORK,
        "digest": digest,
        "file": inbox.display_name(drop.path.name),
        "at": runtime.timestamp(),
        "rows": len(table.rows),
        "notes": "\n".join(table.notes),
        "readable": int(found.is_empty()),
    }
    with registry.transaction():
        seen = registry.original_events(pl.DataFrame({"sender": [inbox.NETWORK], "digest": [digest]}))
        if len(seen):
            return registry.enter_event(event, seen["answers"].item())
        if len(found):
            return registry.enter_rejected(event, as_order_rows(table, found), found)
        return reconciliation.enter_report(registry, event, 0, match_report(rows, registry))


def close_reported_orders(night: int, settings: Settings, registry: Registry, runtime: Runtime) -> int:
    """Refuse what named orders lack, and draw replacements; the event's number. One transaction."""
    event = {
        "kind": "night",
        "sender": inbox.NETWORK,
        "digest": "",
        "file": "nightly-reconciliation",
        "at": runtime.timestamp(),
        "rows": 0,
        "notes": "",
        "readable": 0,
        "night": night,
    }
    with registry.transaction():
        refused = reconciliation.unconfirmed_cards(registry)
        wanted = refused if settings.replace_refused else refused.clear()
        return reconciliation.enter_night(registry, event, refused, replacements(wanted, registry, runtime))
