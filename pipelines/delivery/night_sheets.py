"""The sheets of a reconciliation workbook: a row for each thing that happened in the night."""

import polars as pl

from pipelines.delivery.night_figures import hours_awaited
from pipelines.delivery.outcome_files import with_advice
from pipelines.delivery.release_files import ORDER_HEADERS, code_column
from pipelines.excel import look
from pipelines.excel.book import Sheet
from pipelines.excel.presentation import local_time, offset_of
from pipelines.registry.records import NightRecords
from pipelines.registry.store import Registry
from schemas.actions import ActionOutcome, ApprovalDecision, issuing
from schemas.codes import NOT_YET_READY, CardState


def sheets(night: NightRecords, registry: Registry, overdue_hours: float) -> list[Sheet]:
    """A sheet for each kind of thing that happened, those without rows included."""
    refused = with_advice(night.refused, registry)
    offset = offset_of(night.event["at"])
    zoned = look.zoned(offset)
    code = code_column("code", "Authorization Code")
    return [
        Sheet("Orders", _orders(night, offset), formats={"Placed": zoned}),
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
        Sheet("Ready late", night.late.select(*_whose(), code)),
        Sheet("Surplus", night.surplus.select(*_whose(), code)),
        Sheet("Changes", night.outcomes.select(*_whose(), pl.col("action").alias("Action"), code, _done().alias("Outcome"))),
        Sheet(
            "Unexpected",
            night.unexpected.select(
                pl.col("order_id").alias("Order ID"),
                code,
                pl.col("explanation").alias("What is known"),
                pl.col("file_name").alias("Report"),
            ),
        ),
        Sheet("Awaited", _awaited(night, overdue_hours, offset), formats={"Awaited since": zoned}),
        Sheet("Reports", _reports(night, offset), formats={"Written": zoned}),
        Sheet("Decisions", _decisions(night, offset), formats={"When": zoned}),
    ]


def _decisions(night: NightRecords, offset: str) -> pl.DataFrame:
    """A row for each thing that people did since the night before."""
    return night.decisions.select(
        local_time("at", offset).alias("When"),
        pl.col("who").alias("Who"),
        pl.col("action").alias("What"),
        pl.col("subject").alias("Of what"),
        pl.col("about").alias("Why, or how much"),
    )


def _reports(night: NightRecords, offset: str) -> pl.DataFrame:
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
        local_time("file_at", offset).alias("Written"),
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
    return pl.when(pl.col("outcome") == ActionOutcome.SHOWN).then(pl.lit("done")).otherwise(pl.lit("not done"))


def _orders(night: NightRecords, offset: str) -> pl.DataFrame:
    """A row an order that something happened to: how many of its cards were confirmed, refused and so on."""
    moved = night.counts.with_columns(
        kind=pl.when(_became_ready()).then(pl.lit("Ready"))
        .when(pl.col("to_state") == CardState.REFUSED).then(pl.lit("Refused")).otherwise(pl.lit("Moved"))
    ).select("order_pk", "kind", "cards")  # fmt: skip
    replaced = night.replaced.join(night.orders.select("order_id", "order_pk"), on="order_id").select(
        "order_pk", kind=pl.lit("Replaced"), cards=pl.lit(1, pl.Int64)
    )
    kind = pl.when(pl.col("outcome") == ActionOutcome.SHOWN).then(pl.lit("Done")).otherwise(pl.lit("Not done"))
    carried = night.outcomes.select("order_pk", kind=kind, cards=pl.lit(1, pl.Int64))  # fmt: skip
    every = pl.concat([moved, replaced, carried])
    kinds = ["Ready", "Refused", "Replaced", "Done", "Not done"]
    counts = every.group_by("order_pk").agg(pl.col("cards").filter(pl.col("kind") == kind).sum().alias(kind) for kind in kinds)
    rows = night.orders.join(counts, on="order_pk", how="left", maintain_order="left")
    total = pl.when(pl.col("action").is_in(issuing())).then(pl.col("confirmed"))
    state = pl.when(pl.col("awaiting") > 0).then(pl.lit("awaited")).otherwise(pl.lit("closed"))
    return rows.select(
        *_whose(), pl.col("action").alias("Action"), local_time("placed", offset).alias("Placed"),
        pl.col("cards").alias("Cards"), pl.col(kinds).fill_null(0).name.replace("^Ready$", "Ready tonight"),
        total.alias("Ready in total"), state.alias("State"),
    )  # fmt: skip


def _became_ready() -> pl.Expr:
    """Whether cards became ready for the first time."""
    return (pl.col("to_state") == CardState.READY) & pl.col("from_state").is_in(NOT_YET_READY)


def _awaited(night: NightRecords, overdue_hours: float, offset: str) -> pl.DataFrame:
    """Orders that no report has named, with their age when the night ran."""
    rows = night.awaited.with_columns(hours_awaited(night).alias("age"))
    overdue = pl.when(pl.col("age") > overdue_hours).then(pl.lit("yes")).otherwise(pl.lit(""))
    return rows.select(
        *_whose(), pl.col("action").alias("Action"), pl.col("cards").alias("Cards"),
        local_time("since", offset).alias("Awaited since"),
        pl.col("age").round(1).alias("Hours"), overdue.alias("Overdue"),
    )  # fmt: skip
