"""What is to be entered of a file that was answered by a registry that was lost: decided by its answers instead of by rules.

Which orders were placed, under which Order IDs and with which codes, stands in `confirmation.csv`, and what was rejected in
`rejections.csv`. Deciding again says the rest: where the findings lie, and what the file cost its source.
"""

from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.frames import rows_in
from pipelines.orders import normalize
from pipelines.orders.batch import Batch
from pipelines.orders.decision import Decision, as_dropped, btn_claims, with_acceptance_groups
from pipelines.orders.facts import Facts
from pipelines.registry.records import IngestBatch
from schemas import actions
from schemas.findings import FINDING
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS, passing

_KEYS: Final = ["account", "customer_order_id"]
_COLUMN: Final = {header: name for name, header in HEADERS.items()}


class Answer(NamedTuple):
    """What the answer to a file says.

    `placed`: the cards of placed orders, `order_id`, `account`, `customer_order_id`, `action`, `code`; `earlier`: orders that
    were placed before, `order_pk`, `account`, `customer_order_id`; `rejected`: `source_row` (0: the file as a whole) and
    `reason`; `is_readable`: whether there is a confirmation.
    """

    placed: pl.DataFrame
    earlier: pl.DataFrame
    rejected: pl.DataFrame
    is_readable: bool


def as_answered(batch: Batch, decision: Decision, facts: Facts, answer: Answer, known: dict[str, Any]) -> IngestBatch:
    """What a batch of one file enters. `known`: fields of its event. What the answer says of orders that the file does not
    have is left out.
    """
    placed = answer.placed.select(*_KEYS, "order_id").unique()
    wrong = pl.col("source_row").is_in(answer.rejected.filter(pl.col("source_row") > 0)["source_row"].implode())
    rows = with_acceptance_groups(batch, facts.accounts)
    good = rows_in(rows, placed, _KEYS).filter(~wrong)
    earlier = rows_in(rows, answer.earlier, _KEYS).filter(~wrong).join(answer.earlier, on=_KEYS)
    cards = answer.placed.join(batch.orders.select("order", *_KEYS), on=_KEYS).select("order", "code", "action")
    issues = pl.col("action").is_in(actions.issuing())
    found = _findings(answer.rejected, decision.ingest.findings)
    return decision.ingest._replace(
        events=_events(decision, found, {**known, "readable": int(answer.is_readable)}),
        orders=_orders(batch, placed, good, cards),
        codes=cards.filter(issues).select("order", "code"),
        card_actions=cards.filter(~issues).select("order", "code"),
        row_keys=good.filter("partial").select("order", row_key=normalize.row_key()),
        duplicate_orders=earlier.group_by("file", "order_pk", maintain_order=True).agg(rows=pl.len().cast(pl.Int64)),
        rejected=as_dropped(batch.raw, rows.filter(wrong)),
        findings=found,
        btns=btn_claims(good),
        on_hold=decision.ingest.on_hold.head(int((found["reason"] == "FILE_HELD").any())),
    )


def _orders(batch: Batch, placed: pl.DataFrame, good: pl.DataFrame, cards: pl.DataFrame) -> pl.DataFrame:
    counts = [good.group_by("order").agg(rows=pl.len().cast(pl.Int64)),
              cards.group_by("order").agg(cards=pl.len().cast(pl.Int64))]  # fmt: skip
    orders = batch.orders.drop("rows").join(placed, on=_KEYS, maintain_order="left")
    for count in counts:
        orders = orders.join(count, on="order", how="left", maintain_order="left")
    return orders.with_columns(pl.col(pl.String).fill_null(""), pl.col("rows", "cards").fill_null(0))


def _events(decision: Decision, found: pl.DataFrame, known: dict[str, Any]) -> pl.DataFrame:
    is_final = not found["reason"].is_in(passing()).any()
    fields = {**known, "final": int(is_final)}
    return decision.ingest.events.with_columns(pl.lit(value).alias(name) for name, value in fields.items())


def _findings(rejected: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """The findings that the answer names: where deciding again finds them, and by their row and reason alone where it does
    not, as something has changed since.
    """
    same = rows_in(decided, rejected, ["source_row", "reason"])
    whole = decided.filter(pl.col("source_row") == 0, pl.col("reason").is_in(rejected["reason"].implode()))
    known = pl.concat([whole, same]).unique(maintain_order=True)
    more = rejected.join(known, on=["source_row", "reason"], how="anti").join(whole, on="reason", how="anti")
    return pl.concat([known, finding_frame(more)])


def finding_frame(rejected: pl.DataFrame) -> pl.DataFrame:
    """Findings from `source_row` and `reason` alone."""
    columns = {code: _COLUMN.get(reason.column, "") for code, reason in REASONS.items()}
    level = {code: reason.level for code, reason in REASONS.items()}
    row = pl.when(pl.col("reason").replace_strict(level, default="row") == "file").then(0).otherwise("source_row")
    return rejected.select(
        file=pl.lit(0, pl.UInt32), source_row=row, column=pl.col("reason").replace_strict(columns, default=""),
        reason="reason", value=pl.lit(""),
    ).cast(FINDING).unique(maintain_order=True)  # fmt: skip


def from_answer_alone(event: dict[str, object], orders: pl.DataFrame, answer: Answer, rejected: pl.DataFrame) -> IngestBatch:
    """What a file enters whose bytes are lost: its orders with what the placement file says of them (`order_id`, `account`,
    `customer_order_id`, `action`, `product`, `access_number`, `origin`, `termination`), their cards, and the rejected rows.
    """
    file = {"file": pl.lit(0, pl.UInt32)}
    cards = answer.placed.group_by("order_id").agg(cards=pl.len().cast(pl.Int64))
    orders = orders.with_row_index("order").join(cards, on="order_id", how="left", maintain_order="left").with_columns(
        **file, service_type=pl.lit("Card"), comments=pl.lit(""), code_type=pl.lit(""), content=pl.lit(""),
        rows=pl.lit(0, pl.Int64), cards=pl.col("cards").fill_null(0),
    )  # fmt: skip
    each = answer.placed.join(orders.select("order_id", "order"), on="order_id")
    issues = pl.col("action").is_in(actions.issuing())
    found = finding_frame(answer.rejected)
    none = pl.DataFrame(schema={"file": pl.UInt32, "order": pl.UInt32})
    events = pl.DataFrame([{**event, "original_event": 0, "rows": len(rejected), "replays": 0, "final": 0}]).with_columns(
        **file
    )
    return IngestBatch(
        events=events,
        orders=orders,
        codes=each.filter(issues).select("order", "code"),
        card_actions=each.filter(~issues).select("order", "code"),
        row_keys=none.select("order", row_key=pl.lit("")),
        duplicate_orders=answer.earlier.select(**file, order_pk="order_pk", rows=pl.lit(0, pl.Int64)),
        taken_code_attempts=none.select("file", codes=pl.lit(0, pl.Int64)),
        rejected=rejected.with_columns(**file).select("file", "source_row", *NAMES),
        findings=found,
        btns=none.select("order", btn=pl.lit(0, pl.Int64), account=pl.lit("")),
        usage=none.select("file", files=pl.lit(0, pl.Int64), bytes=pl.lit(0, pl.Int64), parse_ms=pl.lit(0, pl.Int64)),
        on_hold=none.select("file"),
    )
