"""Guards between deciding and entering: which files were decided by what is true no more.

Facts are read before the transaction that enters what was decided by them, so that nobody waits while a batch is decided.
Whatever another may have changed meanwhile is read again inside the transaction, in one statement for each kind. What the
keys of tables hold (codes, Order IDs, the same bytes, a card that two orders take) needs no guard.
"""

from typing import TYPE_CHECKING

import polars as pl

from pipelines.registry import limits
from pipelines.registry.order_holds import outdated_holds
from pipelines.registry.records import IngestBatch

if TYPE_CHECKING:
    from pipelines.registry.store import Registry


def outdated_files(registry: "Registry", batch: IngestBatch) -> set[int]:
    """The files of a batch that were decided by what has changed since. Inside a transaction."""
    found = [
        _with_other_cards(registry, batch.named_cards),
        _with_other_orders(registry, batch.order_cards),
        _with_other_answers(registry, batch.events),
        _past_limits(registry, batch),
        outdated_holds(registry, batch.seen_holds),
    ]
    return {file for files in found for file in files}


def _with_other_cards(registry: "Registry", named: pl.DataFrame) -> pl.Series:
    """Files that name a card whose state changed, which is awaited by now or no longer, or which came to be."""
    now = registry.cards(named.select("account", "code")).select("account", "code", "state", "awaited")
    compared = named.join(now, on=["account", "code"], how="left", suffix="_now")
    return compared.filter(~_same("state") | ~_same("awaited"))["file"]


def _same(name: str) -> pl.Expr:
    return pl.col(name).eq_missing(pl.col(f"{name}_now"))


def _with_other_orders(registry: "Registry", named: pl.DataFrame) -> pl.Series:
    """Files that name an order which has other cards by now: a night replaced one, or the last in use was disconnected."""
    keys = ["account", "order_id", "code"]
    orders = named.select("account", "order_id").unique()
    now = registry.cards_under(orders).select(keys)
    known = named.drop_nulls("code").select(keys).unique()
    changed = pl.concat([known.join(now, on=keys, how="anti"), now.join(known, on=keys, how="anti")])
    return named.join(changed, on=["account", "order_id"], how="semi")["file"]


def _with_other_answers(registry: "Registry", events: pl.DataFrame) -> pl.Series:
    """Files whose bytes get an answer of before that is another by now; of new answers `events_digest` sees to it, unless
    they are not for good.
    """
    open_to_change = (pl.col("original_event") > 0) | (pl.col("final") == 0)
    asked = events.filter(open_to_change, pl.col("replays") == 0)
    now = registry.original_events(asked).select("source", "digest", now="event")
    compared = asked.join(now, on=["source", "digest"], how="left")
    return compared.filter(pl.col("original_event") != pl.col("now").fill_null(0))["file"]


def _past_limits(registry: "Registry", batch: IngestBatch) -> pl.Series:
    """Files whose source has come so far meanwhile that they would take it past a limit, or was put on hold, or released."""
    seen = batch.standing
    now = limits.standing_of(registry, seen.select("source", "day"))
    issued = batch.codes.join(batch.orders, on="order").group_by("file").agg(issued=pl.len().cast(pl.Int64))
    missed = batch.taken_code_attempts.group_by("file").agg(missed=pl.col("codes").sum())
    compared = seen.join(now, on=["source", "day"], how="left", suffix="_now")
    for counts in (issued, missed):
        compared = compared.join(counts, on="file", how="left")
    more = pl.col("codes_now") + pl.col("issued").fill_null(0).sum().over("source")
    tried = pl.col("attempts_now") + pl.col("missed").fill_null(0).sum().over("source")
    return compared.filter(
        (pl.col("on_hold") != pl.col("on_hold_now"))
        | ((pl.col("codes") != pl.col("codes_now")) & (more > pl.col("most_codes")) & pl.col("issued").is_not_null())
        | ((pl.col("attempts") != pl.col("attempts_now")) & (tried > pl.col("most_attempts")))
    )["file"]
