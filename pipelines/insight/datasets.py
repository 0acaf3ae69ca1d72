"""The data that analysts load: what each dataset holds, column by column, and its rows from what is new of a night.

The datasets refer to each other: a card and a change of state name their order, a change of state its card by its serial. No
dataset has a code, or a part of one.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.times import instant
from schemas.codes import DIGITS, NOT_YET_READY, STATES, CardState, code_text
from schemas.movements import Movement

INSTANT: Final = pl.Datetime("us", "UTC")
_NIGHT: Final = "the night whose files have this row: its reconciliation date"
_SINCE: Final = "; empty for nights of earlier versions"


class Field(NamedTuple):
    """A column: its type and what it says; `free`: text that others chose, which may look like a formula."""

    kind: Any
    meaning: str
    free: bool = False


class Dataset(NamedTuple):
    """A dataset: what one row is, and its columns."""

    row: str
    fields: dict[str, Field]

    @property
    def schema(self) -> pl.Schema:
        """Columns and their types, as Parquet files have them."""
        return pl.Schema({name: field.kind for name, field in self.fields.items()})

    @property
    def free_text(self) -> list[str]:
        """The columns whose text others chose."""
        return [name for name, field in self.fields.items() if field.free]


DATASETS: Final = {
    "orders": Dataset(
        "an order that was placed",
        {
            "order_id": Field(pl.String, "the Order ID"),
            "reseller": Field(pl.String, "who placed it; `house` is the operator", free=True),
            "customer_account": Field(pl.String, "the customer account number, 8 digits"),
            "customer_order_id": Field(
                pl.String, "the reseller's own ID of the order; empty where its digits could be a code", free=True
            ),
            "action": Field(pl.String, "`Add`, `Change`, `Disconnect`, `Block` or `Unblock`"),
            "code_type": Field(pl.String, "`Specified`, `Random` or `BTN+4`; empty for orders that take cards"),
            "product_account": Field(pl.String, "the product account number; of a Change the new one, or empty"),
            "access_number": Field(pl.String, "the access number, 10 digits; of a Change the new one, or empty"),
            "international_origin": Field(pl.Boolean, "whether calls come from abroad; of a Change the new value, or empty"),
            "international_termination": Field(pl.Boolean, "whether calls may go abroad; of a Change the new value, or empty"),
            "cards": Field(pl.Int64, "how many cards it issued, or takes"),
            "file_rows": Field(pl.Int64, "how many rows of the file it had"),
            "placed_at": Field(INSTANT, "when it was placed"),
            "placed_on": Field(pl.Date, "the date of that in local time"),
            "night": Field(pl.Date, _NIGHT),
        },
    ),
    "cards": Dataset(
        "a card that was issued",
        {
            "serial": Field(pl.String, "the card: `<Order ID>/<n>`"),
            "order_id": Field(pl.String, "the order that issued it; see `orders` for product, access number and the rest"),
            "replaces": Field(pl.String, "the serial of the refused card that it replaces; else empty"),
            "placed_at": Field(INSTANT, "when it was placed: with its order, or by the night that replaced another"),
            "night": Field(pl.Date, _NIGHT),
        },
    ),
    "transitions": Dataset(
        "a change of a card's state",
        {
            "serial": Field(pl.String, "the card"),
            "order_id": Field(pl.String, "the order that issued it"),
            "from_state": Field(pl.String, "its state before: see [states](glossary.md#states-of-a-card)"),
            "to_state": Field(pl.String, "its state from then on"),
            "changed_at": Field(INSTANT, "when a report of the network, the night or the operator changed it"),
            "event": Field(pl.Int64, "a running number: of two changes at one time, the larger one came later"),
            "night": Field(pl.Date, _NIGHT),
        },
    ),
    "nights": Dataset(
        "a night",
        {
            "night": Field(pl.Date, "its reconciliation date"),
            "ran_at": Field(INSTANT, "when it ran; when it ran several times, the last time"),
            "codes_ready": Field(pl.Int64, "cards that became ready for the first time"),
            "codes_ready_late": Field(pl.Int64, "of these: after an earlier refusal"),
            "codes_refused": Field(pl.Int64, "cards that were refused"),
            "codes_replaced": Field(pl.Int64, "of these: replaced"),
            "codes_surplus": Field(pl.Int64, "cards that the network has beyond what was ordered"),
            "cards_blocked": Field(pl.Int64, "cards that were blocked"),
            "cards_unblocked": Field(pl.Int64, "cards that were unblocked"),
            "cards_disconnected": Field(pl.Int64, "cards that were disconnected"),
            "cards_changed": Field(pl.Int64, "cards for which a Change, Block, Unblock or Disconnect was done"),
            "cards_not_changed": Field(pl.Int64, "cards for which that was not done"),
            "unexpected": Field(pl.Int64, "lines of reports that do not agree with the registry"),
            "reports_used": Field(pl.Int64, "network reports that were used"),
            "reports_rejected": Field(pl.Int64, "network reports that could not be used"),
            "orders_awaited": Field(pl.Int64, f"orders that it left awaited{_SINCE}"),
            "orders_overdue": Field(pl.Int64, f"of these: overdue{_SINCE}"),
            "cards_active": Field(pl.Int64, f"cards that were ready or blocked after it{_SINCE}"),
            "cards_surplus": Field(pl.Int64, f"cards that were surplus after it{_SINCE}"),
            "hours_median": Field(
                pl.Float64, "median hours from placing to this night, of the cards that became ready; empty if none did"
            ),
            "hours_p95": Field(pl.Float64, "so many hours at the most for 95 % of them"),
        },
    ),
    "movements": Dataset(
        "what happened to how many cards of one reseller, account, product and access number in a night",
        {
            "night": Field(pl.Date, "the reconciliation date"),
            "reseller": Field(pl.String, "who ordered the cards", free=True),
            "customer_account": Field(pl.String, "the customer account number"),
            "product_account": Field(pl.String, "the product account number that the cards then had, changes included"),
            "access_number": Field(pl.String, "the access number that they then had, changes included"),
            "movement": Field(pl.String, f"what happened: {', '.join(f'`{movement}`' for movement in Movement)}"),
            "cards": Field(pl.Int64, "to how many cards"),
        },
    ),
}  # fmt: skip
"""Every dataset. The reference is made from it; a column that was published keeps its name, type and meaning."""


_EXPORTED: Final = {
    "serial": Field(pl.String, "the card: `<Order ID>/<n>`"),
    "state": Field(pl.String, "its state now: see [states](glossary.md#states-of-a-card)"),
    "order_id": Field(pl.String, "the order that issued it"),
    "reseller": DATASETS["orders"].fields["reseller"],
    "customer_account": DATASETS["orders"].fields["customer_account"],
    "customer_order_id": DATASETS["orders"].fields["customer_order_id"],
    "code_type": Field(pl.String, "`Specified`, `Random` or `BTN+4`"),
    "product_account": Field(pl.String, "the product account number that it has now, changes included"),
    "access_number": Field(pl.String, "the access number that it has now, changes included"),
    "international_origin": Field(pl.Boolean, "whether calls come from abroad now, changes included"),
    "international_termination": Field(pl.Boolean, "whether calls may go abroad now, changes included"),
    "placed_at": Field(INSTANT, "when it was placed: with its order, or by the night that replaced another"),
    "replaces": Field(pl.String, "the serial of the refused card that it replaces; else empty"),
}


def exported(*, codes: bool) -> Dataset:
    """The columns of `cards export`."""
    code = {"code": Field(pl.String, "its authorization code, 14 digits; only with `--codes`")}
    return Dataset("a card that was issued, as it is now", (code if codes else {}) | _EXPORTED)


# -- rows --------------------------------------------------------------------------------------------------------------


def order_rows(orders: pl.DataFrame, night: date) -> pl.DataFrame:
    """The rows of `orders` (see `registry.dataset_records.orders`)."""
    return _as(DATASETS["orders"], orders.select(
        "order_id", "reseller", pl.col("account").alias("customer_account"), _own_id(),
        "action", _text("code_type"), _text("product").alias("product_account"), _text("access_number"),
        _flag("origin").alias("international_origin"), _flag("termination").alias("international_termination"),
        "cards", pl.col("rows").alias("file_rows"), instant("placed").alias("placed_at"),
        pl.col("placed").str.head(10).str.to_date("%Y-%m-%d").alias("placed_on"), pl.lit(night).alias("night"),
    ))  # fmt: skip


def card_rows(cards: pl.DataFrame, night: date) -> pl.DataFrame:
    """The rows of `cards`, from cards that lie side by side (see `registry.dataset_records.cards`)."""
    return _as(DATASETS["cards"], _each(cards, placed_at=instant("placed")).select(
        _serial("serial").alias("serial"), "order_id",
        _replaces(),
        "placed_at", pl.lit(night).alias("night"),
    ))  # fmt: skip


def transition_rows(transitions: pl.DataFrame, night: date) -> pl.DataFrame:
    """The rows of `transitions`, from cards that changed alike (see `registry.dataset_records.transitions`)."""
    words = {name: _state(name) for name in ("from_state", "to_state")}
    return _as(DATASETS["transitions"], _each(transitions, changed_at=instant("at"), **words).select(
        _serial("serial").alias("serial"), "order_id", "from_state", "to_state", "changed_at", "event",
        pl.lit(night).alias("night"),
    ))  # fmt: skip


def night_row(figures: dict[str, Any], night: date) -> pl.DataFrame:
    """The row of `nights` (see `registry.dataset_records.night`)."""
    moved = {(before, after): cards for before, after, cards in figures["moved"].iter_rows()}
    row = {
        "night": night,
        "codes_ready": _changed(moved, NOT_YET_READY, CardState.READY),
        "codes_ready_late": _changed(moved, [CardState.REFUSED], CardState.READY),
        "codes_refused": _changed(moved, [CardState.PLACED], CardState.REFUSED),
        "codes_replaced": figures["replaced"],
        "codes_surplus": _changed(moved, [CardState.PLACED, CardState.REFUSED], CardState.SURPLUS),
        "cards_blocked": _changed(moved, [CardState.READY], CardState.BLOCKED),
        "cards_unblocked": _changed(moved, [CardState.BLOCKED], CardState.READY),
        "cards_disconnected": _changed(moved, CardState, CardState.DISCONNECTED),
        "cards_changed": figures["changed"],
        "cards_not_changed": figures["missed"],
        "unexpected": figures["unexpected"],
        "reports_used": figures["used"],
        "reports_rejected": figures["rejected"],
        **_measures(figures["measures"]),
    }
    return _as(DATASETS["nights"], pl.DataFrame([row]).with_columns(instant(pl.lit(figures["at"])).alias("ran_at")))


def _measures(measures: pl.DataFrame) -> dict[str, Any]:
    """What is known of how a night left things; nothing of what was not kept then."""
    counts = {"awaited": "orders_awaited", "overdue": "orders_overdue", "active": "cards_active", "surplus": "cards_surplus"}
    times = {"median_seconds": "hours_median", "p95_seconds": "hours_p95"}
    known = {name: value for name, value in next(measures.iter_rows(named=True), {}).items() if value >= 0}
    hours = {name: known[kept] / 3600 if kept in known else None for kept, name in times.items()}
    return {name: known.get(kept) for kept, name in counts.items()} | hours


def movement_rows(movements: pl.DataFrame, night: date) -> pl.DataFrame:
    """The rows of `movements` (see MOVEMENT)."""
    return _as(DATASETS["movements"], movements.select(
        pl.lit(night).alias("night"), "reseller", pl.col("account").alias("customer_account"),
        pl.col("product").alias("product_account"), "access_number", "movement", "cards",
    ))  # fmt: skip


def exported_rows(cards: pl.DataFrame, *, codes: bool) -> pl.DataFrame:
    """The rows of an export (see `registry.export_records.cards`)."""
    code = [code_text(pl.col("code")).alias("code")] if codes else []
    return _as(exported(codes=codes), cards.select(
        *code, _serial("serial").alias("serial"), _state("state"), "order_id", "reseller",
        pl.col("account").alias("customer_account"), _own_id(), "code_type", pl.col("product").alias("product_account"),
        "access_number", _flag("origin").alias("international_origin"),
        _flag("termination").alias("international_termination"), instant("placed").alias("placed_at"), _replaces(),
    ))  # fmt: skip


def portions(ranges: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Cards that lie side by side (`first_serial`, `last_serial`) in portions of so many cards; the last has what is left."""
    ends = ranges.with_columns(end=(pl.col("last_serial") - pl.col("first_serial") + 1).cum_sum())
    ends = ends.with_columns(begin=pl.col("end") - (pl.col("last_serial") - pl.col("first_serial") + 1))
    total = int(ends["end"][-1]) if len(ends) else 0
    for low in range(0, total, most):
        high = low + most
        cut = ends.filter(pl.col("end") > low, pl.col("begin") < high).with_columns(
            first_serial=pl.col("first_serial") + (low - pl.col("begin")).clip(lower_bound=0),
            last_serial=pl.col("last_serial") - (pl.col("end") - high).clip(lower_bound=0),
        )
        yield cut.select(ranges.columns)


def _each(ranges: pl.DataFrame, **values: pl.Expr) -> pl.DataFrame:
    """A row a card, with its `serial`; the `values` are made once for cards that lie side by side."""
    serials = pl.int_ranges("first_serial", pl.col("last_serial") + 1).alias("serial")
    return ranges.lazy().with_columns(serials, **values).explode("serial", empty_as_null=False).collect()


def _as(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the columns and types of a dataset."""
    return rows.select(dataset.schema.names()).cast(dataset.schema)


def _own_id() -> pl.Expr:
    """The reseller's own ID of an order, unless its digits could be a code."""
    could_be_code = pl.col("customer_order_id").str.count_matches("[0-9]") >= DIGITS
    return pl.when(~could_be_code).then("customer_order_id").alias("customer_order_id")


def _state(name: str) -> pl.Expr:
    """A state in words."""
    return pl.col(name).replace_strict(dict(enumerate(STATES)), return_dtype=pl.String)


def _serial(number: str) -> pl.Expr:
    return pl.format("{}/{}", "order_id", number)


def _replaces() -> pl.Expr:
    return pl.when(pl.col("replaced_serial") > 0).then(_serial("replaced_serial")).alias("replaces")


def _text(name: str) -> pl.Expr:
    """Text that may be absent."""
    return pl.when(pl.col(name) != "").then(name).alias(name)


def _flag(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != "").then(pl.col(name) == "Yes")


def _changed(moved: dict[tuple[int, int], int], before: Iterable[CardState], after: CardState) -> int:
    return sum(moved.get((state, after), 0) for state in before)
