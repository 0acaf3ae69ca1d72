"""Decide which orders of a batch are accepted, and allocate their codes."""

from typing import Final, NamedTuple

import polars as pl

from pipelines.codes import allocation
from pipelines.common.context import Runtime
from pipelines.common.settings import Settings
from pipelines.intake import inbox
from pipelines.orders import normalize, registry_rules
from pipelines.orders.batch import Batch
from pipelines.orders.loading import OrderFile
from pipelines.registry.records import IngestBatch
from pipelines.registry.store import Registry
from schemas import actions, findings
from schemas.orders import NAMES, RANDOM


class Decision(NamedTuple):
    """What becomes of a sweep.

    `orders` with `fate` (placed, already, rejected); `codes` and `touches` of placed orders (`order`, `code`), and
    `wishes` of those that may be placed in part (`order`, `wish`); `repeats`: `file`, `order_no`, `rows` that were
    placed before; `rejected` lines with all `findings`; `faults` of whole files; `guesses`: `file`, `codes` asked for
    that were taken.
    """

    orders: pl.DataFrame
    codes: pl.DataFrame
    card_actions: pl.DataFrame
    row_keys: pl.DataFrame
    duplicate_orders: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
    faults: pl.DataFrame
    taken_code_attempts: pl.DataFrame


def decide(sweep: Batch, settings: Settings, registry: Registry, runtime: Runtime) -> Decision:
    """What becomes of each order of a sweep, and the codes of those that can be placed."""
    accounts, access_numbers = registry.catalogue()
    senders = _sources(sweep.files)
    mine = registry_rules.accounts_by_file(accounts, senders)
    rows = _with_acceptance_groups(sweep, mine)
    already, used = _duplicate_rows(sweep, rows, mine, registry)
    rows = rows.join(already, on="line", how="anti", maintain_order="left")
    codes = sweep.codes.join(rows.select("line", "action", "account"), on="line", maintain_order="left")
    asked = codes.filter(pl.col("action").is_in(actions.issuing()))
    taken = registry.existing_codes(asked["code"])
    guesses, held = registry_rules.taken_code_attempts(
        asked, taken, senders, registry.taken_code_attempts(senders["sender"]), settings.max_guesses
    )
    faults = pl.concat([sweep.faults, held])
    taken_cards, lacking = _target_cards(rows, codes, registry)
    burnt = registry.codes_under(registry_rules.pin_demands(rows)["btn"])

    found = pl.concat(
        [
            sweep.findings.join(rows.select("line"), on="line", how="semi", maintain_order="left"),
            registry_rules.catalogue(rows, mine, access_numbers),
            findings.rule(rows.join(used, on="order", how="semi"), ALWAYS, "ORDER_ID_USED", "order_ref"),
            registry_rules.taken_codes(asked.join(held, on="file", how="anti"), taken),
            lacking,
        ]
    )
    found = pl.concat([found, registry_rules.btn_findings(rows, asked, burnt, _rejected_groups(rows, found, faults))])
    bad = rows["unit"].is_in(_rejected_groups(rows, found, faults).implode())
    good, rejected = rows.filter(~bad), rows.filter(bad)
    waiting = rejected.join(found, on="line", how="anti").join(faults, on="file", how="anti")
    found = pl.concat([found, waiting.select("line", column=pl.lit(""), reason=pl.lit("ORDER_HELD"), value=pl.lit(""))])
    issued = _allocate_codes(good, asked, burnt, registry, runtime)
    touches = taken_cards.join(good.select("line", "order"), on="line").select("order", "code")
    repeats = already.group_by("file", "order_no", maintain_order=True).agg(rows=pl.len().cast(pl.Int64))
    raw = sweep.raw.join(rejected.select("line"), on="line", how="semi", maintain_order="left")
    return Decision(
        _order_decisions(sweep.orders, already, good, issued, touches), issued, touches,
        good.filter("partial").select("order", wish=normalize.row_key()), repeats, raw, _as_written(found, sweep.raw), faults,
        guesses,
    )  # fmt: skip


ALWAYS: Final = pl.lit(value=True)


def _sources(files: list[OrderFile]) -> pl.DataFrame:
    senders = [(file.number, file.drop.source, file.drop.source == inbox.OPERATOR) for file in files]
    return pl.DataFrame(senders, {"file": pl.UInt32, "sender": pl.String, "house": pl.Boolean}, orient="row")


def _duplicate_rows(
    sweep: Batch, rows: pl.DataFrame, mine: pl.DataFrame, registry: Registry
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that were placed by an earlier file (`line`, `file`, `order`, `order_no`), and orders whose ID was used by an
    earlier one with other content (`order`).

    Whole orders are compared as a whole. Of orders that may be placed in part each row is, so that a whole mended
    file can be dropped again.
    """
    own = sweep.orders.join(mine, on=["file", "account"], how="semi", maintain_order="left").drop_nulls("order_ref")
    own = own.join(sweep.faults, on="file", how="anti", maintain_order="left")
    placed = registry.orders_of(own.select("account", "order_ref"))
    both = own.join(placed, on=["account", "order_ref"], suffix="_placed", maintain_order="left")
    of_used = both.select("order", "order_no", same=pl.col("content") == pl.col("content_placed"))
    lines = rows.join(of_used, on="order", maintain_order="left")
    lines = lines.select("line", "file", "order", "order_no", "same", "partial", wish=normalize.row_key())
    whole = lines.filter(~pl.col("partial") & pl.col("same"))
    wishes = registry.row_keys(lines.filter("partial")["order_no"])
    part = lines.filter("partial").join(wishes, on=["order_no", "wish"], how="semi", maintain_order="left")
    already = pl.concat([whole, part]).select("line", "file", "order", "order_no")
    return already, both.select("order")


def _with_acceptance_groups(sweep: Batch, mine: pl.DataFrame) -> pl.DataFrame:
    """The rows with their `unit`, which is placed whole or not at all: the order, or for resellers that accept
    orders in part (`partial`) the row.
    """
    partial = mine.filter(pl.col("acceptance") == "partial").select("file", "account", partial=True).unique()
    rows = sweep.rows.join(partial, on=["file", "account"], how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("partial").fill_null(value=False))
    return rows.with_columns(unit=pl.when("partial").then("line").otherwise(pl.col("line").first().over("order")))


def _rejected_groups(rows: pl.DataFrame, found: pl.DataFrame, faults: pl.DataFrame) -> pl.Series:
    """Units that have a finding, or lie in a file that is refused as a whole."""
    refused = pl.col("line").is_in(found["line"].implode()) | pl.col("file").is_in(faults["file"].implode())
    return rows.filter(refused)["unit"].unique()


def _target_cards(rows: pl.DataFrame, codes: pl.DataFrame, registry: Registry) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cards that rows take, by code or by Order ID (`line`, `code`), and findings about them."""
    takes = ~pl.col("action").is_in(actions.issuing())
    by_order = rows.filter(takes & pl.col("target").is_not_null()).select("line", "action", "account", "target")
    under = registry.cards_under(by_order.select("account", order_id="target"))
    targeted = by_order.join(under, left_on=["account", "target"], right_on=["account", "order_id"], how="left")
    asked = pl.concat([codes.filter(takes).select("line", "action", "account", "code"),
                       targeted.drop_nulls("code").select("line", "action", "account", "code")])  # fmt: skip
    nothing = findings.rule(targeted.filter(pl.col("code").is_null()), ALWAYS, "CARD_UNKNOWN", "target")
    found = pl.concat([registry_rules.card_findings(asked.sort("line"), registry.cards(asked["code"])), nothing])
    return asked.select("line", "code"), found


def _allocate_codes(
    good: pl.DataFrame, asked: pl.DataFrame, burnt: pl.DataFrame, registry: Registry, runtime: Runtime
) -> pl.DataFrame:
    """The new codes of the orders that are placed: `order`, `code`."""
    chosen = asked.join(good.select("line"), on="line", how="semi").select("order", "code")
    of = good.select("line", "order")
    gone = pl.concat([burnt["code"], chosen["code"]])
    dialled = (
        allocation.draw_pins(registry_rules.pin_demands(good), gone, runtime.random_bytes)
        .join(of, on="line")
        .select("order", "code")
    )
    wanted = good.filter(pl.col("code_type") == RANDOM).select("order", quantity=pl.col("quantity").cast(pl.Int64))
    each = wanted.select(pl.col("order").repeat_by("quantity")).explode("order", empty_as_null=False)
    drawn = allocation.draw_codes(
        len(each), registry.existing_codes, pl.concat([chosen, dialled])["code"], runtime.random_bytes
    )
    return pl.concat([chosen, dialled, each.with_columns(code=drawn)])


def _order_decisions(
    found: pl.DataFrame, already: pl.DataFrame, good: pl.DataFrame, issued: pl.DataFrame, touches: pl.DataFrame
) -> pl.DataFrame:
    """The orders with their `fate`; `rows` and `cards` count what is placed of them."""
    placed = good.group_by("order").agg(pl.len().cast(pl.Int64).alias("placed"))
    counts = pl.concat([issued, touches]).group_by("order").agg(pl.len().cast(pl.Int64).alias("cards"))
    before = already.group_by("order").agg(before=pl.len().cast(pl.Int64))
    told = found.join(before, on="order", how="left", maintain_order="left")
    told = told.join(placed, on="order", how="left", maintain_order="left")
    told = told.join(counts, on="order", how="left", maintain_order="left")
    fate = pl.when(pl.col("before") == pl.col("rows")).then(pl.lit("already")).when(pl.col("placed") > 0).then(pl.lit("placed"))
    return told.with_columns(fate=fate.otherwise(pl.lit("rejected")), rows=pl.coalesce("placed", "rows"))


def _as_written(found: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """The findings with what stands in the sender's own cell; of several codes in a cell the one that is meant."""
    cells = found.join(raw.select("line", "row", "file", *NAMES), on="line", maintain_order="left")
    written = pl.coalesce(
        *(pl.when(pl.col("column") == name).then(name) for name in NAMES if name != "code"), "value", pl.lit("")
    )
    kept = pl.col("reason") == "CELL_CHARACTER"
    kept |= pl.col("reason") == "CELL_FORMULA"
    return cells.select("line", "file", "row", "column", "reason", value=pl.when(kept).then("value").otherwise(written))


def all_findings(decision: Decision) -> pl.DataFrame:
    """All that is wrong, as the registry keeps it: `file`, `row` (0: the whole file), `column_name`, `reason`, `value`."""
    about_files = decision.faults.select("file", "reason", "value", row=pl.lit(0), column_name=pl.lit(""))
    about_rows = decision.findings.select("file", "reason", "value", "row", column_name="column")
    return pl.concat([about_files, about_rows], how="vertical_relaxed")


def ingest_batch(files: list[OrderFile], decision: Decision, runtime: Runtime) -> IngestBatch:
    """What the registry is to enter for the files; nothing but the event of one that was answered before."""
    found, findings = decision.orders, all_findings(decision)
    unreadable = set(findings.filter(pl.col("row") == 0)["file"])
    at = runtime.timestamp()
    events = [
        {"file": file.number, "answers": file.answers, "kind": "orders", "sender": file.drop.source, "digest": file.digest,
         "name": inbox.display_name(file.drop.path.name), "at": at, "rows": len(file.table.rows),
         "notes": "\n".join(file.table.notes), "readable": int(file.answers > 0 or file.number not in unreadable)}
        for file in files
    ]  # fmt: skip
    placed = IngestBatch(
        pl.DataFrame(events).with_columns(pl.col("file").cast(pl.UInt32)),
        found.filter(pl.col("fate") == "placed").with_columns(pl.col(pl.String).fill_null(""), pl.col("cards").fill_null(0)),
        decision.codes,
        decision.card_actions,
        decision.row_keys,
        decision.duplicate_orders,
        decision.taken_code_attempts,
        decision.rejected.with_columns(pl.col(NAMES).fill_null("")).drop("line"),
        findings,
    )
    return placed.of({file.number for file in files if not file.answers})._replace(events=placed.events)
