"""Match a network report with what the registry holds."""

import polars as pl

from pipelines.intake.reader import Table, missing_columns
from pipelines.registry import reconciliation
from pipelines.registry.reconciliation import STATE
from pipelines.registry.records import ReportMatch
from pipelines.registry.store import Registry
from schemas import actions, network
from schemas.actions import ActionOutcome
from schemas.findings import NO_FINDINGS, schema_findings
from schemas.orders import NAMES


def validate_report(table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a report (`order_id`, `code`), and findings; see `schemas.findings`."""
    required = {column.name: column.header for column in network.COLUMNS}
    missing = missing_columns(table, required) if table.titles else NO_FINDINGS
    rows = table.rows.with_columns(file=pl.lit(0, pl.UInt32))
    found = pl.concat([table.findings, missing, schema_findings(rows, network.REPORT)])
    found = found.with_columns(pl.col("column").replace({"order_id": "target_order_id"}), pl.col("value").fill_null(""))
    return rows.select("order_id", "code"), found


def as_order_rows(table: Table, found: pl.DataFrame) -> pl.DataFrame:
    """The rows with findings, with the columns under which the registry keeps rejected rows."""
    rows = table.rows.filter(pl.col("source_row").is_in(found["source_row"].implode())).rename({"order_id": "target_order_id"})
    empty = [pl.lit("").alias(name) for name in NAMES if name not in ("target_order_id", "code")]
    return rows.select("source_row", pl.col("target_order_id", "code").fill_null(""), *empty)


def match_report(rows: pl.DataFrame, registry: Registry) -> ReportMatch:
    """What follows from a well-formed report (`order_id`, `code` as text, null where nothing was placed)."""
    ids = rows["order_id"]
    named = reconciliation.orders_named(registry, ids)
    shown = reconciliation.match_codes(registry, rows.drop_nulls("code").with_columns(pl.col("code").cast(pl.Int64)), named)
    state = pl.col("state")
    own = shown.filter(pl.col("order_pk") == pl.col("owner"), pl.col("owner") > 0)
    arrived = own.filter(state.is_in([STATE["placed"], STATE["refused"]]))
    done = shown.filter(pl.col("outcome").is_in([ActionOutcome.AWAITED, ActionOutcome.NOT_SHOWN]))
    becomes = pl.col("action").replace_strict(
        {name: STATE.get(action.card_becomes, -1) for name, action in actions.ACTIONS.items()}, default=-1
    )
    allowed = pl.any_horizontal(
        *((pl.col("action") == action.name) & state.is_in([STATE[name] for name in action.cards_in])
          for action in actions.ACTIONS.values())
    )  # fmt: skip
    card = {"order_pk": "owner", "serial": "serial", "from_state": "state"}
    changed = done.filter((becomes >= 0) & allowed).select(**card, to_state=becomes)
    transitions = pl.concat([arrived.select(**card, to_state=pl.lit(STATE["ready"], pl.Int64)), changed.cast(pl.Int64)])
    strange = shown.filter(
        (pl.col("owner") != pl.col("order_pk")) | (pl.col("owner") <= 0), pl.col("outcome") == ActionOutcome.NONE
    )
    nowhere = ids.filter(~ids.is_in(named["order_id"].implode())).unique().to_frame("order_id")
    nowhere = nowhere.join(strange, on="order_id", how="anti").select(
        "order_id", code=pl.lit(0, pl.Int64), explanation=pl.lit(_NO_ORDER)
    )
    unexpected = strange.filter(pl.col("owner") != 0).select("order_id", "code", explanation=_known())
    key = ["order_pk", "serial"]
    return ReportMatch(
        named=named,
        transitions=transitions.sort(*key, "to_state").unique(key, keep="last"),  # of two, to be disconnected is final
        done=done.select("order_pk", card_order_pk="owner", card_serial="serial"),
        unexpected=pl.concat([unexpected, nowhere]).sort("order_id", "code"),
        external=strange.filter(pl.col("owner") < 0)["code"],
    )


_NO_ORDER = "no such order was placed"


def _known() -> pl.Expr:
    order = pl.when(pl.col("order_pk") == 0).then(pl.lit(f"{_NO_ORDER}; ")).otherwise(pl.lit(""))
    code = pl.when(pl.col("owner") < 0).then(pl.lit("this code was not issued here; it will never be issued"))
    return order + code.otherwise(pl.lit("this code was issued under another order"))
