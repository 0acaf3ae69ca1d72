"""The reconciliation workbook of a night, and the placement file of its replacements."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import write_atomically
from pipelines.common.log_events import PLACEMENT_WRITTEN
from pipelines.common.settings import Settings
from pipelines.common.times import night_name
from pipelines.delivery import csv_files, dataset_files, night_sheets, order_files, statements, submission, written_files
from pipelines.delivery.night_analysis import analyse
from pipelines.delivery.night_figures import NightFigures, attention, night_figures
from pipelines.excel import writers
from pipelines.excel.book import Book, Sheet
from pipelines.insight import kpis
from pipelines.registry import night_records
from pipelines.registry.outbox_files import note_files
from pipelines.registry.records import NightRecords
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas.codes import code_text
from schemas.sources import RECONCILIATION

MOST_ROWS: Final = 10_000
"""A sheet of the workbook has no more rows; a CSV file next to it then has them all."""


def write_night(run: Run, event: dict[str, Any], *, again: bool = False) -> NightRecords:
    """Write the placement file, workbook and the files of orders of a night; what it did. `again`: a run died of it before."""
    settings, registry, date = run.settings, run.registry, event["reconciliation_date"]
    paths = write_night_placement(run, event)
    night = night_records.load_reconciliation(registry, event)
    paths += write_workbook(settings, registry, night)
    with ExitStack() as stack:
        data = stack.enter_context(dataset_files.writing_datasets(run, date)) if settings.datasets else []
        failures = order_files.write_night_files(run, event["event"], again=again)
    with registry.transaction():
        note_files(registry, written_files.as_frame(written_files.in_outbox(event["event"], settings.outbox, [*paths, *data])))
    order_files.raise_first(failures)
    statements.write_of_night(run, event["event"])
    return night


def write_night_placement(run: Run, event: dict[str, Any]) -> list[Path]:
    """Write the placement file of a night's replacements; its path, if there are any."""
    rows = night_placement(run.registry, event["event"])
    if rows.is_empty():
        return []
    submission.write_placement(run.settings.outbox, event, rows)
    path = submission.placement_path(run.settings.outbox, event)
    run.runtime.log(PLACEMENT_WRITTEN, night=night_name(event["reconciliation_date"]), file=path.name, cards=len(rows))
    return [path]


def night_placement(registry: Registry, event: int) -> pl.DataFrame:
    """The rows of the placement file of a night's replacements."""
    cards = night_records.placements(registry, event).with_columns(code=code_text(pl.col("code")))
    return submission.placement_rows(cards)


def write_night_workbook(run: Run, event: dict[str, Any]) -> list[Path]:
    """Write the workbook of a night, as of its latest event, and the files next to it; their paths."""
    return write_workbook(run.settings, run.registry, night_records.load_reconciliation(run.registry, event))


def _path(settings: Settings, night: NightRecords) -> Path:
    return settings.outbox / RECONCILIATION / f"{night_name(night.event['reconciliation_date'])}.xlsx"


def figures_of(settings: Settings, night: NightRecords) -> NightFigures:
    """The totals of a night; its workbook is named relative to the home."""
    return night_figures(night, settings.overdue_hours, str(_path(settings, night).relative_to(settings.home)))


def write_workbook(settings: Settings, registry: Registry, night: NightRecords) -> list[Path]:
    """Write `outbox/reconciliation/<date>.xlsx`: what needs attention, key figures and charts, a sheet for each kind of thing
    that happened, and analysis; its path, and those of the CSV files next to it with what is too long for a sheet.
    """
    figures, analysis = figures_of(settings, night), analyse(registry, night)
    sheets = [*night_sheets.sheets(night, registry, settings.overdue_hours), *analysis.sheets]
    path = _path(settings, night)
    rests = {sheet.title: _rest_path(path, sheet) for sheet in sheets}
    key_values = [
        *_key_values(figures),
        *(("Not all shown", rest) for sheet in sheets if (rest := _write_rest(rests[sheet.title], sheet))),
    ]
    if empty := [sheet.title for sheet in sheets if sheet.rows.is_empty()]:
        key_values.append(("Sheets left out: no rows tonight", ", ".join(empty)))
    key_values.append(("“Before” on the sheets By …", f"the {kpis.NIGHTS} nights before this one"))
    if len(night.btns):
        key_values.append(("Sheet Capacity", "BTNs that changed or are nearly full; for others: cards capacity BTN"))
    shown = [sheet._replace(rows=sheet.rows.head(MOST_ROWS)) for sheet in sheets if len(sheet.rows)]
    titles = {sheet.title for sheet in shown}
    book = Book(
        title=f"Reconciliation of {night_name(night.event['reconciliation_date'])}",
        advice="No action needed.",
        attention=tuple(line if line.sheet in titles else line._replace(sheet="") for line in attention(night, figures)),
        key_values=key_values,
        sheets=shown,
        table=analysis.figures,
        formats=analysis.formats,
        charts=analysis.charts,
    )
    write_atomically(path, lambda staged: writers.write(staged, book))
    return [path, *rests.values()]


def _key_values(figures: NightFigures) -> list[tuple[str, Any]]:
    """The totals of tonight."""
    return [
        ("Orders closed", figures.orders_closed),
        ("Codes ready, safe to print", figures.codes_ready),
        ("… of these after an earlier refusal", figures.codes_ready_late),
        ("Codes refused", figures.codes_refused),
        ("… of these replaced", figures.codes_replaced),
        ("Codes surplus, beyond what was ordered", figures.codes_surplus),
        ("Cards changed, blocked or disconnected", figures.cards_changed),
        ("Cards whose change was not made", figures.cards_not_changed),
        ("Unexpected codes and orders", figures.unexpected),
        ("Orders awaited", figures.orders_awaited),
        ("… of these overdue", figures.orders_overdue),
        ("Network reports used", figures.reports_used),
        ("Network reports rejected", figures.reports_rejected),
        ("Network reports on hold", figures.reports_on_hold),
    ]


def _rest_path(workbook: Path, sheet: Sheet) -> Path:
    return workbook.with_name(f"{workbook.stem}-{sheet.title.lower().replace(' ', '-')}.csv")


def _write_rest(path: Path, sheet: Sheet) -> str:
    """Write all rows of a sheet that is too long into a CSV file next to the workbook; the words that say so, or none."""
    if len(sheet.rows) <= MOST_ROWS:
        path.unlink(missing_ok=True)  # of an earlier run of the same night
        return ""
    write_atomically(path, lambda staged: csv_files.write_csv(sheet.rows, staged))
    return f"{sheet.title}: the first {MOST_ROWS:,} of {len(sheet.rows):,} rows; all of them are in {path.name}"
