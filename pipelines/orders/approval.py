"""Which orders wait for approval, and which are cancelled before they are placed."""

from typing import Final, NamedTuple

import polars as pl

from pipelines.common.frames import rows_in
from pipelines.orders.facts import Facts
from pipelines.registry.records import NO_ORDERS_ON_HOLD
from schemas import actions
from schemas.actions import ApprovalDecision
from schemas.findings import NO_FINDINGS, ROW, violations

_NEVER: Final = pl.lit(value=False)
_KEYS: Final = ["account", "customer_order_id"]
_KEPT: Final = 10
"""So many rows are kept of an order that waits."""


class OnHold(NamedTuple):
    """Orders that are not placed because they are large: their findings (`file`, `source_row`, …), those that wait for
    approval (`file`, `account`, `customer_order_id`, `content`, `codes`), and rows of these that are not kept (`hidden`):
    nobody has to correct them, and a large order has many.
    """

    findings: pl.DataFrame
    orders: pl.DataFrame
    hidden: pl.DataFrame

    def but_of(self, files: pl.Series) -> "OnHold":
        """Without those of files that are rejected as a whole."""
        return OnHold(*(frame.filter(~pl.col("file").is_in(files.implode())) for frame in self)) if len(files) else self


def large_orders(good: pl.DataFrame, asked: pl.DataFrame, orders: pl.DataFrame, facts: Facts) -> OnHold:
    """ORDER_ON_HOLD and ORDER_NOT_APPROVED findings: valid orders for more codes than may be placed without approval, unless
    just what they ask for was approved.

    `good`: rows of valid orders; `asked`: `row_id`, `code` that they and others name; `orders`: see `normalize.group_orders`.
    """
    none = OnHold(NO_FINDINGS, NO_ORDERS_ON_HOLD, NO_FINDINGS.select(ROW))
    limits = facts.accounts.select("file", "account", "approve_above").unique(["file", "account"])
    if facts.limits.approve_above == 0 and not (limits["approve_above"] > 0).any():
        return none
    named = asked.group_by("row_id").agg(named=pl.len().cast(pl.Int64))
    codes = pl.col("quantity").cast(pl.Int64, strict=False).fill_null(0) + pl.col("named").fill_null(0)
    issuing = good.filter(pl.col("action").is_in(actions.issuing())).join(named, on="row_id", how="left", maintain_order="left")
    wanted = issuing.group_by("order", maintain_order=True).agg(codes=codes.sum())
    wanted = wanted.join(orders.select("order", "file", *_KEYS, "content"), on="order", maintain_order="left")
    wanted = wanted.join(limits, on=["file", "account"], how="left", maintain_order="left")
    most = pl.when(pl.col("approve_above") > 0).then("approve_above").otherwise(facts.limits.approve_above)
    large = wanted.filter(most > 0, pl.col("codes") > most)
    if large.is_empty():
        return none
    decided = facts.holds.select(*_KEYS, "content", "decision")
    approved = decided.filter(decision=ApprovalDecision.APPROVED)
    refused = decided.filter(decision=ApprovalDecision.REJECTED)
    large = large.join(approved, on=[*_KEYS, "content"], how="anti", maintain_order="left")
    rejected = large.join(refused, on=[*_KEYS, "content"], how="semi", maintain_order="left")
    waiting = large.join(refused, on=[*_KEYS, "content"], how="anti", maintain_order="left")
    found = [
        _without_values(violations(rows_in(good, part, "order"), _NEVER, reason, "customer_order_id"))
        for part, reason in ((rejected, "ORDER_NOT_APPROVED"), (waiting, "ORDER_ON_HOLD"))
    ]
    rows = rows_in(good, waiting, "order").select(*ROW, number=pl.int_range(pl.len()).over("order"))
    return OnHold(
        pl.concat(found), waiting.select(NO_ORDERS_ON_HOLD.columns), rows.filter(pl.col("number") >= _KEPT).select(ROW)
    )


def _without_values(found: pl.DataFrame) -> pl.DataFrame:
    """Findings about an order as a whole."""
    return found.with_columns(column=pl.lit(""), value=pl.lit(""))


def cancel_findings(rows: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """ORDER_NOT_WAITING findings: rows that take back an order which does not wait. `rows`: of the source's own accounts; the
    order of somebody else gets the answer of one that does not exist.
    """
    cancels = rows.filter(pl.col("action").is_in(actions.cancelling()))
    lost = cancels.join(open_holds(facts), on=_KEYS, how="anti", maintain_order="left")
    return violations(lost, _NEVER, "ORDER_NOT_WAITING", "customer_order_id")


def open_holds(facts: Facts) -> pl.DataFrame:
    """The orders that wait, or are approved and not placed yet."""
    return facts.holds.filter(pl.col("decision") <= ApprovalDecision.APPROVED)


def seen_holds(rows: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """By which holds files were decided: `file`, `account`, `customer_order_id`, `hold`, `decision` (null: there was none). Of
    orders that have a hold, and of those that are to be cancelled.
    """
    cancels = pl.col("action").is_in(actions.cancelling())
    named = rows.select("file", *_KEYS, cancels=cancels).drop_nulls(_KEYS).unique()
    found = named.join(facts.holds.select(*_KEYS, "hold", "decision"), on=_KEYS, how="left")
    return found.filter(pl.col("cancels") | pl.col("hold").is_not_null()).drop("cancels")
