"""`cards statement`: write the statement of a month now, for one reseller or for everyone."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.admin.lists import known_reseller
from pipelines.common import times
from pipelines.common.errors import CardsError, UsageError
from pipelines.delivery import statements, written_files
from pipelines.delivery.statement_book import Statement
from pipelines.insight import statement
from pipelines.run import Run
from schemas.sources import OPERATOR, RECONCILIATION


@dataclass(frozen=True)
class ResellerStatement:
    """The figures of a reseller in a month, and its workbook, relative to the home (empty: it got none)."""

    reseller: str
    orders_placed: int
    cards_placed: int
    refused: int
    replaced: int
    surplus: int
    surplus_disconnected: int
    opening: int
    released: int
    changed_in: int
    added: int
    disconnected: int
    changed_out: int
    gone: int
    closing: int
    adds_up: bool
    workbook: str


@dataclass(frozen=True)
class StatementResult:
    """The statements of a month: whether it is over, its nights (empty: there was none), the workbook of all resellers (empty:
    only one was asked for), and what could not be written.
    """

    month: str
    is_over: bool
    nights: int
    first_night: str
    last_night: str
    workbook: str
    statements: list[ResellerStatement]
    failures: list[CardsError]


def state(run: Run, month_text: str, reseller: str = "") -> StatementResult:
    """Write the statement of a month (2026-10) for each reseller, and the one of all; or only for one reseller.

    Raises UsageError for a month that is none or has not begun, and for a reseller that nothing names; CardsError while a
    reconciliation is running.
    """
    month = statement.parse_month(month_text, run.runtime.now().date())
    if known_reseller(run.registry, reseller) == OPERATOR:
        raise UsageError(f"--reseller {reseller}: your own orders stand in the statement of all. Leave --reseller out.")
    with run.registry.reconciliation_lock():
        found = statements.load(run.registry, month)
        event = statements.owner_of(run.registry, month) if found.records.is_over else 0
        if event:
            run.registry.mark_undelivered(event)  # if this is killed, the next run looks after what it leaves
        folders = [reseller] if reseller else [*found.lines["reseller"], RECONCILIATION]
        paths, failed = statements.write_month(run, found, event, folders)
        if event and not failed:
            run.registry.mark_delivered([event], written_files.NONE)
    return _result(run, found, paths, [*failed, *statements.error_of(found.of(reseller) if reseller else found)], reseller)


def _result(run: Run, found: Statement, paths: list[Path], failures: list[CardsError], reseller: str) -> StatementResult:
    workbooks = {path.parent.name: str(path.relative_to(run.settings.home)) for path in paths if path.suffix == ".xlsx"}
    records = found.records
    return StatementResult(
        month=times.month_text(found.month),
        is_over=records.is_over,
        nights=records.nights,
        first_night=times.night_name(records.first) if records.nights else "",
        last_night=times.night_name(records.last) if records.nights else "",
        workbook=workbooks.get(RECONCILIATION, ""),
        statements=_figures(found.of(reseller) if reseller else found, workbooks, reseller),
        failures=failures,
    )


def _figures(found: Statement, workbooks: dict[str, str], reseller: str) -> list[ResellerStatement]:
    rows = statement.totals(found.lines, "reseller")
    if reseller and rows.is_empty():
        rows = statement.totals(found.lines).select(pl.lit(reseller).alias("reseller"), pl.all())
    wrong = set(found.contradictory)
    return [
        ResellerStatement(**row, adds_up=row["reseller"] not in wrong, workbook=workbooks.get(row["reseller"], ""))
        for row in rows.iter_rows(named=True)
    ]
