"""The reconciliation workbook of a night, and the placement file of its replacements."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import write_atomically
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.delivery import csv_files, order_files, statements, submission, written_files
from pipelines.delivery.outcome_files import with_advice
from pipelines.delivery.release_files import ORDER_HEADERS, code_column
from pipelines.excel import writers
from pipelines.excel.book import Book, Sheet
from pipelines.registry import night_records
from pipelines.registry.outbox_files import note_files
from pipelines.registry.reconciliation import STATE
from pipelines.registry.records import NightRecords
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas.actions import ActionOutcome, ApprovalDecision
from schemas.codes import code_text
from schemas.sources import RECONCILIATION

MOST_ROWS: Final = 10_000
"""A sheet of the workbook has no more rows; a CSV file beside it then has them all."""


def write_night(run: Run, event: dict[str, Any], *, again: bool = False) -> NightRecords:
    """Write the placement file, workbook and the files of orders of a night; what it did. `again`: a run died of it before."""
    settings, registry = run.settings, run.registry
    paths = write_night_placement(run, event)
    night = night_records.load_reconciliation(registry, event)
    paths += write_workbook(settings, registry, night)
    with registry.transaction():
        note_files(registry, written_files.as_frame(written_files.in_outbox(event["event"], settings.outbox, paths)))
    order_files.write_night_files(run, event["event"], again=again)
    statements.write_due(run, event["event"])
    return night


def write_night_placement(run: Run, event: dict[str, Any]) -> list[Path]:
    """Write the placement file of a night's replacements; its path, if there are any."""
    rows = night_placement(run.registry, event["event"])
    if rows.is_empty():
        return []
    submission.write_placement(run.settings.outbox, event, rows)
    return [submission.placement_path(run.settings.outbox, event)]


def night_placement(registry: Registry, event: int) -> pl.DataFrame:
    """The rows of the placement file of a night's replacements."""
    cards = night_records.placements(registry, event).with_columns(code=code_text(pl.col("code")))
    return submission.placement_rows(cards)


def write_night_workbook(run: Run, event: dict[str, Any]) -> list[Path]:
    """Write the workbook of a night, as of its latest event, and what lies beside it; their paths."""
    return write_workbook(run.settings, run.registry, night_records.load_reconciliation(run.registry, event))


@dataclass(frozen=True)
class NightFigures:
    """The totals of a night. `workbook` is its path, relative to the home."""

    orders_closed: int
    codes_ready: int
    codes_ready_late: int
    codes_refused: int
    codes_replaced: int
    codes_surplus: int
    cards_changed: int
    cards_not_changed: int
    unexpected: int
    reports_used: int
    reports_rejected: int
    reports_on_hold: int
    orders_awaited: int
    orders_overdue: int
    workbook: str


def night_figures(settings: Settings, night: NightRecords) -> NightFigures:
    """The totals of a night."""
    return NightFigures(
        orders_closed=night.orders.filter(pl.col("awaiting") == 0).height,
        codes_ready=_moved(night.counts, _NOT_YET_READY, "ready"),
        codes_ready_late=_moved(night.counts, ("refused",), "ready"),
        codes_refused=_moved(night.counts, ("placed",), "refused"),
        codes_replaced=len(night.replaced),
        codes_surplus=_moved(night.counts, ("placed", "refused"), "surplus"),
        cards_changed=night.outcomes.filter(pl.col("outcome") == ActionOutcome.SHOWN).height,
        cards_not_changed=night.outcomes.filter(pl.col("outcome") == ActionOutcome.NOT_SHOWN).height,
        unexpected=len(night.unexpected),
        reports_used=night.reports.filter(readable=1, repeated=0).height,
        reports_rejected=_rejected(night.reports).height,
        reports_on_hold=_waiting(night.reports).height,
        orders_awaited=len(night.awaited),
        orders_overdue=int(_awaited(settings, night)["Overdue"].eq("yes").sum()),
        workbook=str(_path(settings, night).relative_to(settings.home)),
    )


_NOT_YET_READY: Final = ("placed", "refused", "surplus")
"""The states from which a card that becomes ready is ready for the first time."""


def _rejected(reports: pl.DataFrame) -> pl.DataFrame:
    return reports.filter(pl.col("reasons") != "")


def _waiting(reports: pl.DataFrame) -> pl.DataFrame:
    return reports.filter(pl.col("about") != "", pl.col("decision") == ApprovalDecision.WAITING)


def night_name(reconciliation_date: int) -> str:
    """The date of a night as people write it: 2026-11-24."""
    text = str(reconciliation_date)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _path(settings: Settings, night: NightRecords) -> Path:
    return settings.outbox / RECONCILIATION / f"{night_name(night.event['reconciliation_date'])}.xlsx"


def _date(reconciliation_date: int) -> datetime:
    return datetime.strptime(str(reconciliation_date), "%Y%m%d")


def _moved(counts: pl.DataFrame, before: tuple[str, ...], after: str) -> int:
    chosen = counts.filter(pl.col("from_state").is_in([STATE[name] for name in before]), pl.col("to_state") == STATE[after])
    return int(chosen["cards"].sum())


def write_workbook(settings: Settings, registry: Registry, night: NightRecords) -> list[Path]:
    """Write `outbox/reconciliation/<date>.xlsx`: totals with a chart, and a sheet for each thing that happened; its path, and
    those of the CSV files beside it with what is too long for a sheet.
    """
    figures = night_figures(settings, night)
    facts: list[tuple[str, Any]] = [
        ("Orders closed", figures.orders_closed),
        ("Codes ready, safe to print", figures.codes_ready),
        ("… of these after an earlier refusal", figures.codes_ready_late),
        ("Codes refused", figures.codes_refused),
        ("… of these replaced", figures.codes_replaced),
        ("Codes surplus, beyond what was ordered", figures.codes_surplus),
        ("Cards changed, blocked or disconnected", figures.cards_changed),
        ("Cards for which that was not done", figures.cards_not_changed),
        ("Unexpected codes and orders", figures.unexpected),
        ("Orders awaited", figures.orders_awaited),
        ("… of these overdue", figures.orders_overdue),
        ("Network reports used", figures.reports_used),
        ("Network reports rejected", figures.reports_rejected),
        ("Network reports on hold", figures.reports_on_hold),
    ]
    refused = with_advice(night.refused, registry)
    sheets = [
        Sheet("Orders", _orders(night)),
        Sheet(
            "Refused",
            refused.select(
                *_whose(),
                code_column("code", "Refused code"),
                code_column("replaced_by", "Replaced by"),
                pl.col("advice").alias("What the reseller does"),
            ),
        ),
        Sheet(
            "Replaced",
            night.replaced.select(*_whose(), code_column("replaced", "Refused code"), code_column("code", "New code")),
        ),
        Sheet("Ready late", night.late.select(*_whose(), code_column("code", "Authorization Code"))),
        Sheet("Surplus", night.surplus.select(*_whose(), code_column("code", "Authorization Code"))),
        Sheet(
            "Changes",
            night.outcomes.select(
                *_whose(), pl.col("action").alias("Action"), code_column("code", "Authorization Code"), _done().alias("Outcome")
            ),
        ),
        Sheet(
            "Unexpected",
            night.unexpected.select(
                pl.col("order_id").alias("Order ID"),
                code_column("code", "Authorization Code"),
                pl.col("explanation").alias("What is known"),
                pl.col("file_name").alias("Report"),
            ),
        ),
        Sheet("Awaited", _awaited(settings, night)),
        Sheet("Capacity", _capacity(night)),
        Sheet("Reports", _reports(night)),
    ]
    title = f"Reconciliation of {_date(night.event['reconciliation_date']):%Y-%m-%d}"
    path = _path(settings, night)
    rests = {sheet.title: _rest_path(path, sheet) for sheet in sheets}
    facts += [("Not all shown", rest) for sheet in sheets if (rest := _write_rest(rests[sheet.title], sheet))]
    if len(night.btns):
        facts.append(("Sheet Capacity", "BTNs that changed or are nearly full; the others: cards capacity BTN"))
    shown = [Sheet(sheet.title, sheet.rows.head(MOST_ROWS)) for sheet in sheets]
    book = Book(title, _advice(night, figures), facts, shown, _trend(night), "Codes ready and refused, a night")
    write_atomically(path, lambda staged: writers.write(staged, book))
    return [path, *rests.values()]


def _rest_path(workbook: Path, sheet: Sheet) -> Path:
    return workbook.with_name(f"{workbook.stem}-{sheet.title.lower().replace(' ', '-')}.csv")


def _write_rest(path: Path, sheet: Sheet) -> str:
    """Write all rows of a sheet that is too long for the workbook beside it, as CSV; the words that say so, or none."""
    if len(sheet.rows) <= MOST_ROWS:
        path.unlink(missing_ok=True)  # of an earlier run of the same night
        return ""
    write_atomically(path, lambda staged: csv_files.write_csv(sheet.rows, staged))
    return f"{sheet.title}: the first {MOST_ROWS:,} of {len(sheet.rows):,} rows; all of them are in {path.name}"


def _advice(night: NightRecords, figures: NightFigures) -> str:
    """What needs action, the most urgent first."""
    lines = [*_about_reports(night, figures)]
    if overdue := figures.orders_overdue:
        lines.append(f"{count(overdue, 'order is', 'orders are')} overdue: ask the network for a report (sheet Awaited).")
    if surplus := night.surplus_cards:
        lines.append(
            f"{count(surplus, 'card is', 'cards are')} surplus: the network has more cards than were ordered. Disconnect or "
            "grant them (cards surplus)."
        )
    if left := figures.codes_refused - figures.codes_replaced:
        lines.append(
            f"{count(left, 'refused code was', 'refused codes were')} not replaced; see what to do on the sheet Refused."
        )
    if undone := figures.cards_not_changed:
        lines.append(f"{count(undone, 'card was', 'cards were')} not changed although an order asked for it (sheet Changes).")
    if strange := figures.unexpected:
        lines.append(f"{count(strange, 'line', 'lines')} of the network's reports do not agree with the registry (sheet "
                     "Unexpected).")  # fmt: skip
    return " ".join(lines) or "No action needed."


def _about_reports(night: NightRecords, figures: NightFigures) -> list[str]:
    """Reports that were not used, and a night without any although orders wait for one."""
    lines = []
    if rejected := figures.reports_rejected:
        lines.append(
            f"{count(rejected, 'network report could', 'network reports could')} not be used, and nothing was done with "
            f"{'it' if rejected == 1 else 'them'}: ask the network to send {'it' if rejected == 1 else 'them'} again (sheet "
            "Reports)."
        )
    if waiting := figures.reports_on_hold:
        lines.append(
            f"{count(waiting, 'network report is', 'network reports are')} on hold and {'has' if waiting == 1 else 'have'} "
            "changed nothing: look at the figures on the sheet Reports, then cards approve or cards reject."
        )
    if night.reports.is_empty() and figures.orders_awaited:
        lines.append(f"No network report came, although {count(figures.orders_awaited, 'order waits', 'orders wait')} for one.")
    return lines


def _reports(night: NightRecords) -> pl.DataFrame:
    """A row a report of the network: what became of it, and why."""
    about, decision = pl.col("about"), pl.col("decision")
    became = (
        pl.when(pl.col("reasons") != "").then(pl.lit("rejected"))
        .when((about != "") & (decision == ApprovalDecision.WAITING)).then(pl.lit("on hold"))
        .when((about != "") & (decision == ApprovalDecision.REJECTED)).then(pl.lit("rejected by the operator"))
        .when(about != "").then(pl.lit("approved"))
        .when(pl.col("repeated") == 1).then(pl.lit("repeats an earlier one"))
        .otherwise(pl.lit("used"))
    )  # fmt: skip
    return night.reports.select(
        pl.col("file_name").alias("Report"),
        _time("file_at").alias("Written"),
        pl.col("rows").alias("Rows"),
        became.alias("What became of it"),
        pl.concat_str("reasons", about, _decided()).alias("Why"),
        pl.format("outbox/network/{}", "folder").alias("Folder"),
    )


def _decided() -> pl.Expr:
    """By whom and why a report on hold was approved or rejected."""
    by = pl.col("decided_by")
    return pl.when(by != "").then(pl.format(" Decided by {}: {}", by, "why")).otherwise(pl.lit(""))


def _whose() -> list[pl.Expr]:
    return [pl.col("reseller").alias("Reseller"), *(pl.col(name).alias(header) for header, name in ORDER_HEADERS.items())]


def _done() -> pl.Expr:
    return pl.when(pl.col("outcome") == 1).then(pl.lit("done")).otherwise(pl.lit("not done"))


def _orders(night: NightRecords) -> pl.DataFrame:
    """A row an order that something happened to: how many of its cards were confirmed, refused and so on."""
    moved = night.counts.with_columns(
        kind=pl.when(_became_ready()).then(pl.lit("Ready"))
        .when(pl.col("to_state") == STATE["refused"]).then(pl.lit("Refused")).otherwise(pl.lit("Moved"))
    ).select("order_pk", "kind", "cards")  # fmt: skip
    replaced = night.replaced.join(night.orders.select("order_id", "order_pk"), on="order_id").select(
        "order_pk", kind=pl.lit("Replaced"), cards=pl.lit(1, pl.Int64)
    )
    kind = pl.when(pl.col("outcome") == 1).then(pl.lit("Done")).otherwise(pl.lit("Not done"))
    carried = night.outcomes.select("order_pk", kind=kind, cards=pl.lit(1, pl.Int64))  # fmt: skip
    every = pl.concat([moved, replaced, carried])
    kinds = ["Ready", "Refused", "Replaced", "Done", "Not done"]
    counts = every.group_by("order_pk").agg(pl.col("cards").filter(pl.col("kind") == kind).sum().alias(kind) for kind in kinds)
    rows = night.orders.join(counts, on="order_pk", how="left", maintain_order="left")
    state = pl.when(pl.col("awaiting") > 0).then(pl.lit("awaited")).otherwise(pl.lit("closed"))
    return rows.select(
        *_whose(), pl.col("action").alias("Action"), _time("placed").alias("Placed"), pl.col("cards").alias("Cards"),
        pl.col(kinds).fill_null(0), state.alias("State"),
    )  # fmt: skip


def _became_ready() -> pl.Expr:
    """Whether cards became ready for the first time."""
    return (pl.col("to_state") == STATE["ready"]) & pl.col("from_state").is_in([STATE[name] for name in _NOT_YET_READY])


def _time(name: str) -> pl.Expr:
    """Local time of ISO text."""
    return pl.col(name).str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S")


def _instant(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_zone="UTC")


def _awaited(settings: Settings, night: NightRecords) -> pl.DataFrame:
    """Orders that no report has named, with their age when the night ran."""
    age = (_instant(pl.lit(night.event["at"])) - _instant(pl.col("since"))).dt.total_seconds() / 3600
    rows = night.awaited.with_columns(age=age)
    overdue = pl.when(pl.col("age") > settings.overdue_hours).then(pl.lit("yes")).otherwise(pl.lit(""))
    return rows.select(
        *_whose(), pl.col("action").alias("Action"), pl.col("cards").alias("Cards"), _time("since").alias("Awaited since"),
        pl.col("age").round(1).alias("Hours"), overdue.alias("Overdue"),
    )  # fmt: skip


def _capacity(night: NightRecords) -> pl.DataFrame:
    """How many PINs are left of the BTNs that changed or are nearly full."""
    return night.btns.select(pl.col("btn").cast(pl.String).alias("BTN"), pl.col("free").alias("Free PINs"))


def _trend(night: NightRecords) -> pl.DataFrame:
    """Ready and refused cards of the latest nights."""
    rows = night.trend.group_by("reconciliation_date", maintain_order=True).agg(
        pl.col("cards").filter(_became_ready()).sum().alias("Ready"),
        pl.col("cards").filter(pl.col("to_state") == STATE["refused"]).sum().alias("Refused"),
    )
    return rows.select(
        pl.col("reconciliation_date").cast(pl.String).str.to_date("%Y%m%d").dt.strftime("%Y-%m-%d").alias("Night"),
        "Ready",
        "Refused",
    )
