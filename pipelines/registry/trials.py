"""What a trial costs its source: the one thing that the registry keeps of it."""

import polars as pl

from pipelines.registry import limits
from pipelines.registry.records import IngestBatch
from pipelines.registry.schema import INT
from pipelines.registry.store import Registry


def charge_trial(registry: Registry, batch: IngestBatch) -> None:
    """Charge a trial to the budgets of its source, but for codes, as none is issued: a trial is no free way to use up time.
    Taken codes that it asked for count like those of an order, and past their limit its source is put on hold: a trial is no
    free way to learn which codes are taken.
    """
    day = pl.col("at").str.head(10)
    files = batch.events.select("file", "source", "at", day=day)
    spent = batch.usage.join(files, on="file").select(
        "day", "files", "bytes", "parse_ms", reseller="source", codes=pl.lit(0, INT)
    )
    with registry.transaction():
        limits.add_usage(registry, spent)
        # the attempts lie between the events before and after, so that a hold that is lifted later forgets them
        attempts = batch.taken_code_attempts.join(files, on="file").with_columns(event=registry.next("events", "event"))
        registry.append("taken_code_attempts", attempts)
        for source, at in batch.on_hold.join(files, on="file").select("source", "at").unique("source").iter_rows():
            limits.hold(registry, source, at)
