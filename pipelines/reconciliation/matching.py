"""Match network reports with what the registry holds: all reports at hand at once, as a card that one of them shows is shown.

A report judges only what was placed before it was written, never releases more cards of an order than were ordered, and is
put on hold when it would do too much (see `holds`).
"""

from typing import Final, NamedTuple

import polars as pl

from pipelines.common.times import instant
from pipelines.intake.reader import Table, missing_columns
from pipelines.reconciliation import holds
from pipelines.registry import reconciliation
from pipelines.registry.reconciliation import NO_CODE, NO_ORDER, STATE
from pipelines.registry.records import ReportMatch
from pipelines.registry.store import Registry
from schemas import actions, network
from schemas.actions import ActionOutcome, Awaiting
from schemas.codes import CardState
from schemas.findings import NO_FINDINGS, schema_findings
from schemas.orders import NAMES

_NO_ORDER: Final = "no such order was placed"
_CARD: Final = ["order_pk", "serial"]


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


class Matched(NamedTuple):
    """What reports say. `report` is the number of a report, by the caller's counting.

    `names`: the orders that each report names (`report` and the columns of `orders_named`), with `judged_event`, the last
    event whose cards the report can know of; `shown`: see `reconciliation.match_codes`; `waiting`: how many placed cards of
    these orders an event placed (`order_pk`, `placed_event`, `cards`); `ready`: their ready cards (`order_pk`, `order_id`,
    `serial`, `code`); `nowhere`: Order IDs that no order has (`report`, `order_id`).
    """

    names: pl.DataFrame
    shown: pl.DataFrame
    waiting: pl.DataFrame
    ready: pl.DataFrame
    nowhere: pl.DataFrame

    def reports(self) -> set[int]:
        """The reports that say anything."""
        return {report for frame in (self.names, self.shown, self.nowhere) for report in frame["report"].unique()}

    def of(self, reports: set[int]) -> "Matched":
        """The part of some reports."""
        if self.reports() <= reports:
            return self
        wanted = pl.col("report").is_in(reports)
        of_orders = self.names.filter(wanted).select("order_pk").unique()
        return Matched(
            self.names.filter(wanted),
            self.shown.filter(wanted),
            self.waiting.join(of_orders, on="order_pk", how="semi", maintain_order="left"),
            self.ready.join(of_orders, on="order_pk", how="semi", maintain_order="left"),
            self.nowhere.filter(wanted),
        )


def load_matches(rows: pl.DataFrame, written: pl.DataFrame, registry: Registry) -> Matched:
    """What the registry holds of well-formed reports: their `rows` (`report`, `order_id`, `code` as text, null where nothing
    was placed), and when each was `written` (`report`, `file_at`).
    """
    orders = reconciliation.orders_named(registry, rows["order_id"])
    cards = reconciliation.cards_named(registry, orders)
    replacements = reconciliation.replacements_of(registry, orders)
    cards = _with_placed_event(cards, orders, replacements)
    shown = rows.drop_nulls("code").with_columns(pl.col("code").cast(pl.Int64))
    shown = reconciliation.match_codes(registry, shown, orders, cards)
    named = rows.select("report", "order_id").unique().join(written, on="report")
    names = named.join(orders, on="order_id").sort("report", "order_pk")
    own = cards.filter(pl.col("outcome") == ActionOutcome.NONE)
    placed = own.filter(pl.col("state") == CardState.PLACED)
    ready = own.filter(pl.col("state") == CardState.READY).join(orders.select("order_pk", "order_id"), on="order_pk")
    return Matched(
        names=names.with_columns(judged_event=_judged_event(names, shown, replacements)),
        shown=shown,
        waiting=placed.group_by("order_pk", "placed_event").agg(cards=pl.len().cast(pl.Int64)),
        ready=ready.select(*_CARD, "order_id", "code"),
        nowhere=named.join(orders, on="order_id", how="anti").select("report", "order_id").sort("report", "order_id"),
    )


def _with_placed_event(cards: pl.DataFrame, orders: pl.DataFrame, replacements: pl.DataFrame) -> pl.DataFrame:
    """Cards with the event that placed them: that of their order, or the night that issued them."""
    cards = cards.join(orders.select("order_pk", placed_event="event"), on="order_pk", how="left", maintain_order="left")
    if replacements.is_empty():
        return cards
    later = replacements.select(*_CARD, replaced="event")
    cards = cards.join(later, on=_CARD, how="left", maintain_order="left")
    return cards.with_columns(placed_event=pl.coalesce("replaced", "placed_event")).drop("replaced")


def _judged_event(names: pl.DataFrame, shown: pl.DataFrame, replacements: pl.DataFrame) -> pl.Series:
    """The last event whose cards a report can know of, for each order that it names.

    The order itself, as the network knows its ID; replacements that were placed before the report was written; and whatever
    time its file has, those that it shows.
    """
    known = names.select("report", "order_pk", "file_at").join(replacements, on="order_pk")
    before = known.filter(instant("at") < instant("file_at")).select("report", "order_pk", "event")
    evident = shown.filter(_is_own()).join(replacements, on=_CARD).select("report", "order_pk", "event")
    latest = pl.concat([before, evident]).group_by("report", "order_pk").agg(latest=pl.col("event").max())
    joined = names.join(latest, on=["report", "order_pk"], how="left", maintain_order="left")
    return joined.select(pl.max_horizontal("event", "latest"))["event"]


def _is_own() -> pl.Expr:
    """A code that is shown under the order that issued it."""
    return (pl.col("owner") == pl.col("order_pk")) & (pl.col("owner") > NO_ORDER)


def news(matched: Matched, registry: Registry) -> set[int]:
    """The reports that have something to say: a card that they show for the first time, or that they can know of and do not
    show; one that is disconnected; or an order that waits for them.
    """
    state, outcome = pl.col("state"), pl.col("outcome")
    first_shown = _is_own() & state.is_in([CardState.PLACED, CardState.REFUSED])
    done = outcome.is_in([ActionOutcome.AWAITED, ActionOutcome.NOT_SHOWN])
    awaited = matched.names.filter(pl.col("awaiting") == Awaiting.REPORT)
    judged = awaited.join(matched.waiting, on="order_pk").filter(pl.col("placed_event") <= pl.col("judged_event"))
    closed = awaited.join(matched.waiting, on="order_pk", how="anti")
    gone = _is_own() & (state == CardState.DISCONNECTED)
    lacking = _lacking(matched, registry)["event"]
    new = matched.shown.filter(first_shown | done | gone)["report"].unique()
    return {*new, *judged["report"], *closed["report"], *lacking}


def on_hold(matched: Matched, limits: holds.Limits, exempt: set[int]) -> dict[int, str]:
    """The reports that would do too much, with the words that say what; `exempt` are those that were approved.

    What one of them shows counts for no other, so that those are looked at again without it.
    """
    waiting_reports: dict[int, str] = {}
    left = matched.reports()
    while left:
        part = matched.of(left)
        shown = part.shown.filter(_is_own(), pl.col("state") == CardState.PLACED)
        shown = shown.group_by("order_pk", "placed_event").agg(shown=pl.col("serial").n_unique().cast(pl.Int64))
        waiting = part.waiting.join(shown, on=["order_pk", "placed_event"], how="left").with_columns(
            pl.col("shown").fill_null(0)
        )
        external = part.shown.filter(pl.col("owner") == NO_CODE)
        over = {report: words for report, words in holds.over_limits(part.names, waiting, external, limits).items()
                if report not in exempt}  # fmt: skip
        if not over:
            break
        waiting_reports |= over
        left -= set(over)
    return waiting_reports


def match_reports(matched: Matched, registry: Registry) -> ReportMatch:
    """What follows from reports; each row has the first `report` that says so, as its `event`."""
    shown = matched.shown.sort("report", maintain_order=True)
    arrived = _arrivals(shown, matched.names)
    done = shown.filter(pl.col("outcome").is_in([ActionOutcome.AWAITED, ActionOutcome.NOT_SHOWN]))
    changed = _carried_out(done)
    transitions = arrived if changed.is_empty() else pl.concat([arrived, changed]).sort(*_CARD, "to_state")
    counts = arrived.filter(pl.col("to_state") == CardState.READY).group_by("order_pk").agg(arrived=pl.len().cast(pl.Int64))
    named = matched.names.group_by("order_pk").agg(pl.col("judged_event").max()).join(counts, on="order_pk", how="left")
    strange = shown.filter(~_is_own(), pl.col("outcome") == ActionOutcome.NONE)
    return ReportMatch(
        named=named.with_columns(pl.col("arrived").fill_null(0)),
        # of two, to be disconnected is final
        transitions=transitions if changed.is_empty() else transitions.unique(_CARD, keep="last"),
        done=done.select("order_pk", card_order_pk="owner", card_serial="serial", event="report"),
        unexpected=_unexpected(matched, strange, registry),
        external=strange.filter(pl.col("owner") == NO_CODE).unique("code", keep="first").select("code", event="report"),
    )


def _arrivals(shown: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """The cards that the network has for the first time: ready as far as the order still lacks cards, the earlier first, and
    surplus beyond.
    """
    first = shown.filter(_is_own(), pl.col("state").is_in([CardState.PLACED, CardState.REFUSED]))
    if first["report"].n_unique() > 1:
        first = first.unique(_CARD, keep="first", maintain_order=True).sort(_CARD)
    lacks = names.select("order_pk", lacks=pl.col("cards") + pl.col("granted") - pl.col("confirmed")).unique()
    first = first.join(lacks, on="order_pk", how="left", maintain_order="left")
    fits = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("order_pk") <= pl.col("lacks")
    to_state = pl.when(fits).then(pl.lit(CardState.READY.value)).otherwise(pl.lit(CardState.SURPLUS.value))
    return first.select(*_CARD, from_state="state", to_state=to_state.cast(pl.Int64), event="report")


def _carried_out(done: pl.DataFrame) -> pl.DataFrame:
    """What becomes of the cards for which an order was carried out."""
    becomes = pl.col("action").replace_strict(
        {name: STATE.get(action.card_becomes, -1) for name, action in actions.ACTIONS.items()}, default=-1
    )
    allowed = pl.any_horizontal(
        *((pl.col("action") == action.name) & pl.col("state").is_in([STATE[name] for name in action.cards_in])
          for action in actions.ACTIONS.values())
    )  # fmt: skip
    changed = done.filter((becomes >= 0) & allowed)
    return changed.select(
        order_pk="owner", serial="serial", from_state="state", to_state=becomes.cast(pl.Int64), event="report"
    )


def _unexpected(matched: Matched, strange: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """What reports show, or do not show, against what the registry says: `order_id`, `code`, `explanation`, `event`."""
    code = ["order_id", "code"]
    known = strange.filter(pl.col("owner") != NO_ORDER).select(*code, explanation=_known(), event="report")
    gone = matched.shown.filter(_is_own(), pl.col("state") == CardState.DISCONNECTED)
    gone = gone.select(*code, explanation=pl.lit("this card is disconnected, and the network still shows it"), event="report")
    nowhere = matched.nowhere.join(strange, on="order_id", how="anti")
    nowhere = nowhere.select(
        "order_id", code=pl.lit(0, pl.Int64), explanation=pl.lit(_NO_ORDER), event=pl.col("report").cast(pl.Int64)
    )
    parts = [frame.with_columns(pl.col("event").cast(pl.Int64)) for frame in (known, gone, _lacking(matched, registry))]
    every = pl.concat([*parts, nowhere]).sort("event", "order_id", "code")
    return every.unique(["order_id", "code", "explanation"], keep="first", maintain_order=True)


def _lacking(matched: Matched, registry: Registry) -> pl.DataFrame:
    """Ready cards of named orders that no report shows, although they were ready before it was written."""
    lacking = matched.ready.join(matched.shown.filter(_is_own()), on=_CARD, how="anti", maintain_order="left")
    since = reconciliation.ready_since(registry, lacking)
    latest = (
        matched.names.sort(instant("file_at"), "report").unique("order_pk", keep="last").select("order_pk", "report", "file_at")
    )
    gone = lacking.join(since, on=_CARD).join(latest, on="order_pk").filter(instant("at") < instant("file_at"))
    words = pl.lit("this card is ready, and the network's report of its order no longer shows it")
    return gone.select("order_id", "code", explanation=words, event="report")


def _known() -> pl.Expr:
    order = pl.when(pl.col("order_pk") == NO_ORDER).then(pl.lit(f"{_NO_ORDER}; ")).otherwise(pl.lit(""))
    code = pl.when(pl.col("owner") == NO_CODE).then(pl.lit("this code was not issued here; it will never be issued"))
    return order + code.otherwise(pl.lit("this code was issued under another order"))
