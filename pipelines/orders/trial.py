"""A trial: what would become of a file if it were dropped now, as the records from which its answer is written."""

import time
from typing import Final, NamedTuple

import polars as pl

from pipelines.orders.batch import OrderFile, build_batch
from pipelines.orders.decision import Decision, decide
from pipelines.orders.facts import load_facts
from pipelines.registry.records import IngestBatch, SubmissionRecords
from pipelines.registry.schema import EVENT, INT
from pipelines.run import Run
from schemas.orders import NAMES

_NO_EVENT: Final = pl.lit(0, INT).alias("event")


class Trial(NamedTuple):
    """What the registry would hold of a file (`records`, without codes), and what a real run would enter (`ingest`)."""

    records: SubmissionRecords
    ingest: IngestBatch


def try_file(run: Run, file: OrderFile) -> Trial:
    """Decide a file by itself, as if it were dropped now. Nothing is entered."""
    begun = time.monotonic()
    batch = build_batch([file], run.settings.max_quantity, run.settings.max_findings)
    facts = load_facts(batch, run.registry, run.settings, run.runtime)
    decision = decide(batch, facts, run.runtime.random_bytes)
    run.runtime.checkpoint("decided")
    milliseconds = round(1000 * (time.monotonic() - begun))
    # codes that are never issued use up no budget of codes, so that the time to draw them counts
    usage = decision.ingest.usage.with_columns(pl.col("parse_ms") + milliseconds)
    return Trial(_records(decision, facts.orders, facts.at), decision.ingest._replace(usage=usage))


def _records(decision: Decision, earlier: pl.DataFrame, at: str) -> SubmissionRecords:
    """What a real run would have the registry hold."""
    ingest = decision.ingest
    row = pl.col("source_row").cast(INT)
    unset = {name: pl.lit("", kind) if kind == pl.String else pl.lit(0, kind) for name, kind in EVENT.items()}
    known = [name for name in EVENT if name in ingest.events.columns]
    fields = [pl.col(name) if name in known else value.alias(name) for name, value in unset.items()]
    again = ingest.duplicate_orders.select("order_pk", "rows").join(
        earlier.select("order_pk", "order_id", "account", "customer_order_id"), on="order_pk", maintain_order="left"
    )
    asked = decision.orders.drop("rows", "file").unique(["account", "customer_order_id"])
    none = pl.DataFrame(schema={"event": INT})
    return SubmissionRecords(
        approvals=none,
        order_files=none,
        states=none,
        repeated=none,
        repeated_reasons=none,
        holds=none,
        events=ingest.events.select(fields),
        orders=ingest.orders.with_columns(_NO_EVENT, order_id=pl.lit(""), at=pl.lit(at)),
        codes=ingest.codes.with_columns(_NO_EVENT).select("event"),  # a value alone would be one row, however many codes
        card_actions=ingest.card_actions.with_columns(_NO_EVENT).select("event"),
        duplicate_orders=again.join(asked, on=["account", "customer_order_id"], how="left").with_columns(
            _NO_EVENT, at=pl.lit("")
        ),
        rejected=ingest.rejected.select(_NO_EVENT, row, *NAMES).sort("source_row"),
        findings=ingest.findings.select(_NO_EVENT, row, "column", "reason", "value").sort("source_row", maintain_order=True),
    )
