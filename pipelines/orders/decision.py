"""Decide which orders of a batch are accepted, and allocate their codes: frames in, frames out, no registry."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from pipelines.codes.allocation import draw_pins
from pipelines.common.context import RandomBytes
from pipelines.common.frames import rows_in, rows_not_in
from pipelines.intake.inbox import display_name
from pipelines.orders import file_rules, normalize, registry_rules
from pipelines.orders.approval import cancel_findings, large_orders, seen_holds
from pipelines.orders.batch import Batch, first_of_floods
from pipelines.orders.facts import Facts
from pipelines.orders.ownership import account_findings, btn_findings, contested_btns, owned_rows
from pipelines.registry.records import IngestBatch
from schemas import actions
from schemas.codes import CARD_STATE
from schemas.findings import FINDING, ROW, flooded_files, violations, whole_files
from schemas.orders import BTN4, NAMES, RANDOM
from schemas.reasons import passing
from schemas.sources import OPERATOR

_NEVER: Final = pl.lit(value=False)
_SHORT: Final = 200
"""So many characters of a cell are kept where it can't be used."""
_DECIDED: Final = pl.Schema({"file": pl.UInt32, "hold": pl.Int64})
_LONGEST_CELL: Final = 1_020
"""Bytes of the longest comment."""
_DEPENDENT: Final = ("BTN_EXHAUSTED", "QUOTA_EXCEEDED", "CARD_NOT_READY", "FILE_HELD")
"""Reasons that may hold only because of an earlier file of the batch."""


class OrderDecision(StrEnum):
    """What becomes of an order of a batch. A duplicate was placed before, and a cancelled one takes back an order on hold."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Decision(NamedTuple):
    """What becomes of a batch.

    `orders` with their `decision` (accepted, duplicate, cancelled, rejected); `ingest`: what is to be entered; `deferred`:
    files that want something which an earlier file of the batch gets, and are decided again when that one has been entered;
    `dependent`: files with findings that may follow from an earlier file.
    """

    orders: pl.DataFrame
    ingest: IngestBatch
    deferred: set[int]
    dependent: set[int]

    def waiting_for(self, files: set[int]) -> set[int]:
        """The files, and those that wait with them: who came first goes first.

        What a file lacks because of one that waits, it may yet get. So no later file that could take it is entered before it:
        none of its source, and none of the operator's, who may order on every account.
        """
        late = sorted(file for file in self.dependent if files and file > min(files))
        if not late:
            return files
        source_of = dict(self.ingest.events.select("file", "source").iter_rows())
        first = {source_of[file]: file for file in reversed(late)}
        return files | {
            file
            for file, source in source_of.items()
            if any(file >= one and (source == whose or OPERATOR in (source, whose)) for whose, one in first.items())
        }


def decide(batch: Batch, facts: Facts, random_bytes: RandomBytes) -> Decision:
    """What becomes of each order of a batch, and the codes of those that are accepted."""
    rows = with_acceptance_groups(batch, facts.accounts)
    duplicates, used = _duplicate_rows(batch, rows, facts)
    rows = rows_not_in(rows, duplicates, "row_id")
    owned = owned_rows(rows, facts.accounts)
    readable = rows_not_in(owned, whole_files(batch.findings), "file")  # whose facts were read
    codes = batch.codes.join(owned.select("row_id", "action", "account"), on="row_id", maintain_order="left")
    asked = codes.filter(pl.col("action").is_in(actions.issuing()))
    named = codes.filter(~pl.col("action").is_in(actions.issuing()))
    by_order = _cards_by_order(owned)
    taken_codes = registry_rules.unavailable_codes(asked, facts.existing_codes, facts.btn_owners)
    attempts, on_hold = _attempts(asked, taken_codes, named, batch.sources, facts)
    found = pl.concat(
        [
            rows_not_in(batch.findings, duplicates, ROW),
            on_hold,
            account_findings(rows, facts.accounts),
            violations(rows, file_rules.within_limit(facts.limits.file_codes), "QUANTITY_LIMIT", "quantity"),
            registry_rules.catalogue_findings(owned, facts.accounts, facts.access_numbers),
            violations(rows_in(owned, used, "order"), _NEVER, "ORDER_ID_USED", "customer_order_id"),
            violations(_not_on_hold(taken_codes, on_hold), _NEVER, "CODE_TAKEN", "code"),
            _not_on_hold(registry_rules.card_findings(named, facts.cards), on_hold),
            registry_rules.order_card_findings(by_order, facts.order_cards, facts.cards),
            btn_findings(owned, facts.btn_owners),
            cancel_findings(readable, facts),
        ]
    )
    found, flooded = _without_floods(found, facts)
    takes = pl.concat([named, by_order], how="diagonal")
    claimed = _with_claims(rows, found, asked, takes, facts)
    large = large_orders(_good(rows, claimed), asked, batch.orders, facts)
    if len(large.findings):  # what waits leaves room for others
        claimed = _with_claims(rows, pl.concat([found, large.findings]), asked, takes, facts)
    found, flooded_by_claims = _without_floods(rows_not_in(claimed, large.hidden, ROW), facts)
    large = large.but_of(flooded_by_claims)
    bad = rows["acceptance_group"].is_in(_rejected_groups(rows, pl.concat([found, large.findings])).implode())
    good, rejected = rows.filter(~bad), rows.filter(bad)
    rejected = _shown_of_floods(rejected, found, pl.concat([flooded, flooded_by_claims]))
    rejected = rows_not_in(rejected, large.hidden, ROW)
    found = pl.concat([found, _incomplete(rejected, found)])
    issued = _allocate(good, asked, facts, random_bytes)
    targets = pl.concat([frame.join(good.select("row_id", "order"), on="row_id", maintain_order="left").select("order", "code")
                       for frame in (named.drop("order"), _expanded(_of(by_order, good), facts.order_cards))])  # fmt: skip
    orders = _order_decisions(batch.orders, duplicates, good, issued, targets)
    accepted = orders.filter(pl.col("decision") == OrderDecision.ACCEPTED).drop("decision")
    cancelled = orders.filter(pl.col("decision") == OrderDecision.CANCELLED)
    ingest = IngestBatch(
        events=_events(batch, found, cancelled, facts.at),
        orders=accepted.with_columns(pl.col(pl.String).fill_null(""), pl.col("cards").fill_null(0)),
        codes=issued.select("order", "code"),
        card_actions=targets.select("order", "code"),
        row_keys=good.filter("partial").select("order", row_key=normalize.row_key()),
        duplicate_orders=duplicates.group_by("file", "order_pk", maintain_order=True).agg(rows=pl.len().cast(pl.Int64)),
        taken_code_attempts=attempts,
        rejected=as_dropped(batch.raw, rejected),
        findings=_with_source_text(found, batch.raw),
        btns=btn_claims(good),
        usage=_usage(batch),
        on_hold=on_hold.select("file"),
        named_cards=_named_cards(named, by_order, facts),
        order_cards=_order_cards(by_order, facts),
        standing=_standing(batch, facts),
        order_holds=large.orders,
        cancelled=cancelled.select("file", "account", "customer_order_id"),
        seen_holds=seen_holds(readable, facts),
        decided_holds=pl.DataFrame(
            [(file.number, hold) for file in batch.files for hold in file.decided], _DECIDED, orient="row"
        ),
    )
    dependent = set(found.filter(pl.col("reason").is_in(_DEPENDENT))["file"])
    return Decision(orders, ingest, _deferred(batch, accepted, owned, ingest), dependent)


def with_acceptance_groups(batch: Batch, accounts: pl.DataFrame) -> pl.DataFrame:
    """The rows with their `source` and `acceptance_group`, which is placed whole or not at all: the order, or for
    resellers that accept orders in part (`partial`) the row.
    """
    partial = accounts.filter(pl.col("acceptance") == "partial").select("file", "account", partial=True).unique()
    rows = batch.rows.join(partial, on=["file", "account"], how="left", maintain_order="left")
    rows = rows.join(batch.sources, on="file", how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("partial").fill_null(value=False))
    group = pl.when("partial").then("row_id").otherwise(pl.col("row_id").first().over("order"))
    return rows.with_columns(acceptance_group=group)


def _duplicate_rows(batch: Batch, rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that an earlier file placed (`row_id`, `file`, `source_row`, `order`, `order_pk`), and orders whose ID an
    earlier one uses with other content (`order`).
    """
    own = rows_in(batch.orders, facts.accounts, ["file", "account"]).drop_nulls("customer_order_id")
    own = rows_not_in(own, whole_files(batch.findings), "file").filter(~pl.col("action").is_in(actions.cancelling()))
    both = own.join(facts.orders, on=["account", "customer_order_id"], suffix="_earlier", maintain_order="left")
    of_used = both.select("order", "order_pk", same=pl.col("content") == pl.col("content_earlier"))
    matched = rows.join(of_used, on="order", maintain_order="left")
    whole = matched.filter(~pl.col("partial") & pl.col("same"))
    part = rows_in(matched.filter("partial").with_columns(row_key=normalize.row_key()), facts.row_keys, ["order_pk", "row_key"])
    names = ("row_id", "file", "source_row", "order", "order_pk")
    duplicates = pl.concat([whole.select(names), part.select(names)])
    return duplicates, both.select("order")


def _cards_by_order(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that name cards by Order ID: `file`, `source_row`, `row_id`, `action`, `account`, `target_order_id`."""
    takes = ~pl.col("action").is_in(actions.issuing()) & pl.col("target_order_id").is_not_null()
    return rows.filter(takes).select("file", "source_row", "row_id", "action", "account", "target_order_id")


def _expanded(by_order: pl.DataFrame, order_cards: pl.DataFrame) -> pl.DataFrame:
    """The cards that rows name by Order ID, with their `code`. Only of rows of which no two name the same order."""
    keys = {"left_on": ["account", "target_order_id"], "right_on": ["account", "order_id"]}
    return by_order.join(order_cards, **keys, maintain_order="left")  # type: ignore[arg-type]


def _cards(named: pl.DataFrame, order_cards: pl.DataFrame) -> pl.DataFrame:
    """A row a card of those that rows name by code, or by an Order ID (`target_order_id`)."""
    by_code, by_order = named.filter(pl.col("target_order_id").is_null()), named.filter(pl.col("target_order_id").is_not_null())
    return pl.concat([by_code, _expanded(by_order.drop("code"), order_cards)], how="diagonal_relaxed")


def _order_cards(by_order: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """The cards of the orders that files name, as they were when this was decided."""
    orders = by_order.select("file", "account", order_id="target_order_id").unique()
    return orders.join(facts.order_cards, on=["account", "order_id"], how="left").select(
        "file", "account", "order_id", pl.col("code").cast(pl.Int64)
    )


def _named_cards(named: pl.DataFrame, by_order: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """The cards that files name, by code or by order, as they were when this was decided."""
    keys = ["file", "account", "code"]
    cards = pl.concat([named.select(keys), _order_cards(by_order, facts).drop_nulls("code").select(keys)]).unique()
    return cards.join(facts.cards, on=["account", "code"], how="left").select(*keys, "state", "awaited")


def _standing(batch: Batch, facts: Facts) -> pl.DataFrame:
    """What the sources of files had used of their limits when this was decided; the operator has none."""
    sources = batch.sources.filter(~pl.col("operator")).select("file", "source", day=pl.lit(facts.at[:10]))
    used = sources.join(facts.usage, on="source", how="left").join(
        facts.attempts.rename({"codes": "attempts"}), on="source", how="left"
    )
    return used.with_columns(
        pl.col("codes", "attempts").fill_null(0),
        on_hold=pl.col("source").is_in(facts.on_hold.implode()),
        most_codes=pl.lit(facts.limits.daily_codes, pl.Int64),
        most_attempts=pl.lit(facts.limits.taken_code_attempts, pl.Int64),
    )


def _attempts(
    asked: pl.DataFrame, taken_codes: pl.DataFrame, named: pl.DataFrame, sources: pl.DataFrame, facts: Facts
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How many codes each file asks for that it can't have (`file`, `codes`), and FILE_HELD findings.

    Codes that are not free and cards that are not the source's own count alike: a source learns no more of them than
    the limit of a day allows. A source past it, or on hold, gets no further answer about codes that it names.
    """
    missed = [
        taken_codes.select("file"),
        named.join(facts.cards, on=["account", "code"], how="anti").select("file"),
    ]
    naming = pl.concat([asked.select("file"), named.select("file")]).unique()
    counts = pl.concat(missed).group_by("file").agg(codes=pl.len().cast(pl.Int64))
    counted = naming.join(counts, on="file", how="left").join(sources.filter(~pl.col("operator")), on="file")
    counted = counted.with_columns(pl.col("codes").fill_null(0)).sort("file")
    counted = counted.join(facts.attempts.rename({"codes": "earlier"}), on="source", how="left", maintain_order="left")
    total = pl.col("earlier").fill_null(0) + pl.col("codes").cum_sum().over("source")
    past = (total > facts.limits.taken_code_attempts) | pl.col("source").is_in(facts.on_hold.implode())
    on_hold = counted.filter(past).select(
        "file", source_row=pl.lit(0, pl.UInt32), column=pl.lit(""), reason=pl.lit("FILE_HELD"), value=pl.lit("")
    )
    return counted.filter(pl.col("codes") > 0).select("file", "codes"), on_hold


def _without_floods(found: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, pl.Series]:
    """The findings, cut to the first ones of files that have too many, and these files: they are refused as a whole."""
    flooded = flooded_files(found, facts.limits.findings)
    return first_of_floods(found, flooded, facts.limits.findings), flooded


def _shown_of_floods(rejected: pl.DataFrame, found: pl.DataFrame, flooded: pl.Series) -> pl.DataFrame:
    """The rejected rows; of flooded files only those with a finding."""
    mine = pl.col("file").is_in(flooded.implode())
    shown = rejected.filter(mine).join(found, on=ROW, how="semi", maintain_order="left")
    return pl.concat([rejected.filter(~mine), shown]) if len(flooded) else rejected


def _not_on_hold(frame: pl.DataFrame, on_hold: pl.DataFrame) -> pl.DataFrame:
    return rows_not_in(frame, on_hold, "file")


def _with_claims(
    rows: pl.DataFrame, found: pl.DataFrame, asked: pl.DataFrame, named: pl.DataFrame, facts: Facts
) -> pl.DataFrame:
    """The findings, and those of orders that are otherwise valid and come too late: for the codes that their source has
    left today, for a card, for a BTN and its PINs. What is refused takes part in none of it.
    """
    limits = facts.limits
    claims: list[Callable[[pl.DataFrame], pl.DataFrame]] = [
        lambda good: registry_rules.quota_findings(good.filter(~pl.col("operator")), asked, facts.usage, limits.daily_codes),
        lambda good: registry_rules.contested_orders(_of(named, good)),
        lambda good: registry_rules.contested_cards(_cards(_of(named, good), facts.order_cards)),
        contested_btns,
        lambda good: registry_rules.pin_findings(
            good, asked, pl.concat([facts.btn_codes, _under_btns(facts)]), limits.btn_fill
        ),
    ]
    good = _good(rows, found)
    for late in claims:
        more = late(good)
        if len(more):
            found = pl.concat([found, more])
            good = _good(rows, found)
    return found


def _good(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """The rows of acceptance groups without a finding."""
    refused = _rejected_groups(rows, found)
    return rows if refused.is_empty() else rows.filter(~pl.col("acceptance_group").is_in(refused.implode()))


def _of(frame: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return rows_in(frame, rows, "row_id")


def _under_btns(facts: Facts) -> pl.DataFrame:
    """The unused numbers that may be given as Random codes of the batch, as PINs of their BTNs."""
    return facts.unused.to_frame("code").select(btn=pl.col("code") // 10_000, code="code").join(
        facts.btn_codes.select("btn").unique(), on="btn", how="semi"
    )  # fmt: skip


def _rejected_groups(rows: pl.DataFrame, found: pl.DataFrame) -> pl.Series:
    """Acceptance groups that have a finding, or lie in a file that is refused as a whole."""
    if found.is_empty():
        return rows["acceptance_group"].clear()
    keys = rows.select(*ROW, "acceptance_group")
    refused = pl.concat([rows_in(keys, found, ROW), rows_in(keys, whole_files(found), "file")])
    return refused["acceptance_group"].unique()


def _incomplete(rejected: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """ORDER_INCOMPLETE findings: rows that are valid, of orders that are not."""
    valid = rows_not_in(rows_not_in(rejected.select(ROW), found, ROW), whole_files(found), "file")
    return valid.select("file", "source_row", column=pl.lit(""), reason=pl.lit("ORDER_INCOMPLETE"), value=pl.lit(""))


def _allocate(good: pl.DataFrame, asked: pl.DataFrame, facts: Facts, random_bytes: RandomBytes) -> pl.DataFrame:
    """The new codes of the accepted orders: `order`, `code`."""
    of_rows = good.select("row_id", "order")
    chosen = rows_in(asked, of_rows, "row_id").select("order", "code")
    gone = pl.concat([facts.btn_codes["code"], chosen["code"], facts.unused])
    pins = draw_pins(registry_rules.pin_demands(good), gone, random_bytes).join(of_rows, on="row_id", maintain_order="left")
    wanted = good.filter(pl.col("code_type") == RANDOM).select("order", quantity=pl.col("quantity").cast(pl.Int64))
    each = wanted.select(pl.col("order").repeat_by("quantity")).explode("order", empty_as_null=False)
    return pl.concat([chosen, pins.select("order", "code"), each.with_columns(code=facts.unused.head(len(each)))])


def _order_decisions(
    orders: pl.DataFrame, duplicates: pl.DataFrame, good: pl.DataFrame, issued: pl.DataFrame, targets: pl.DataFrame
) -> pl.DataFrame:
    """The orders with their `decision`; `rows` and `cards` count what is accepted of them."""
    accepted = good.group_by("order").agg(pl.len().cast(pl.Int64).alias("accepted"))
    cards = pl.concat([issued.select("order"), targets.select("order")]).group_by("order").agg(cards=pl.len().cast(pl.Int64))
    earlier = duplicates.group_by("order").agg(earlier=pl.len().cast(pl.Int64))
    for counts in (accepted, cards, earlier):
        orders = orders.join(counts, on="order", how="left", maintain_order="left")
    some = pl.col("accepted") > 0
    decision = (
        pl.when(pl.col("earlier") == pl.col("rows")).then(pl.lit(OrderDecision.DUPLICATE.value))
        .when(some & pl.col("action").is_in(actions.cancelling())).then(pl.lit(OrderDecision.CANCELLED.value))
        .when(some).then(pl.lit(OrderDecision.ACCEPTED.value)).otherwise(pl.lit(OrderDecision.REJECTED.value))
    )  # fmt: skip
    return orders.with_columns(decision=decision, rows=pl.coalesce("accepted", "rows")).drop("accepted", "earlier")


def as_dropped(raw: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """The rejected rows as they were dropped: `file`, `source_row` and the columns of an order file."""
    return rows_in(raw, rejected, "row_id").select("file", "source_row", *(_short_cell(name) for name in NAMES))


def _short_cell(name: str) -> pl.Expr:
    """A cell as it was dropped; one that is too long to be of use is cut, so that a file can't fill the registry."""
    cell = pl.col(name).fill_null("")
    useful = cell.str.len_bytes() <= _LONGEST_CELL
    if name == "code":  # a cell may hold many codes
        useful |= cell.str.contains(r"[0-9]{14}")
    return pl.when(useful).then(cell).otherwise(cell.str.slice(0, _SHORT) + "…").alias(name)


def _with_source_text(found: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """The findings with what stands in the source's own cell: no finding ever shows a value that its source did not write,
    but the state of its own cards.
    """
    cells = found.join(rows_in(raw, found, ROW).select(*ROW, *NAMES), on=ROW, how="left", maintain_order="left")
    own = pl.coalesce(*(pl.when(pl.col("column") == name).then(name) for name in NAMES if name != "code"), "value", pl.lit(""))
    kept = (pl.col("source_row") == 0) | pl.col("reason").is_in(["CELL_CHARACTER", "CELL_FORMULA"])
    by_order = (pl.col("column") == "code") & pl.col("code").is_null() & pl.col("target_order_id").is_not_null()
    value = pl.when(kept).then("value").when(by_order).then("target_order_id").otherwise(own).str.slice(0, _SHORT)
    not_ready = (pl.col("reason") == "CARD_NOT_READY") & (by_order | (pl.col("column") == "target_order_id"))
    value += pl.when(not_ready).then(pl.col("value").str.extract(CARD_STATE)).fill_null("")
    column = pl.when(by_order).then(pl.lit("target_order_id")).otherwise("column")
    return cells.select(*ROW, "reason", column=column, value=value).select(*FINDING).cast(FINDING).unique(maintain_order=True)


def btn_claims(good: pl.DataFrame) -> pl.DataFrame:
    """The BTNs that accepted orders use: `order`, `btn` (integer), `account`."""
    rows = good.filter(pl.col("code_type") == BTN4)
    return rows.select("order", pl.col("btn").cast(pl.Int64), "account").unique(maintain_order=True)


def _deferred(batch: Batch, accepted: pl.DataFrame, owned: pl.DataFrame, ingest: IngestBatch) -> set[int]:
    """Files that want what an earlier file of the batch gets: an order ID, a code, a card, or the answer to the same bytes;
    and those that take back, or send again, an order which an earlier file has put on hold.

    A file also waits for an earlier one that waits itself.
    """
    if len(batch.files) == 1:
        return set()
    of_orders = accepted.select("order", "file")
    cancels = owned.filter(pl.col("action").is_in(actions.cancelling()))
    named = pl.concat(
        [frame.select("file", "account", "customer_order_id") for frame in (accepted, ingest.order_holds, cancels)]
    )
    keys = [
        batch.digests,
        named.drop_nulls()
        .unique()
        .select("file", key=pl.concat_str(pl.lit("order "), "account", pl.lit(" "), "customer_order_id")),
        _keys(ingest.codes.join(of_orders, on="order"), "code"),
        _keys(ingest.card_actions.join(of_orders, on="order"), "code"),
    ]
    late: set[int] = set()
    for frame in keys:
        several = frame.filter(pl.col("key").is_duplicated())
        late |= set(several.filter(pl.col("file") > pl.col("file").min().over("key"))["file"])
    btns = ingest.btns.join(of_orders, on="order").sort("file", "order", maintain_order=True)
    late |= set(btns.filter(pl.col("account") != pl.col("account").first().over("btn"))["file"])
    return late


def _keys(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.select("file", key=pl.col(name))


def _events(batch: Batch, found: pl.DataFrame, cancelled: pl.DataFrame, at: str) -> pl.DataFrame:
    """A row a file, as the registry keeps it. The same bytes get the same answer again (`final`), unless a reason of it may
    pass by itself, or it took back an order, which may wait again.
    """
    refused = set(whole_files(found)["file"])
    open_ended = {*found.filter(pl.col("reason").is_in(passing()))["file"], *cancelled["file"]}
    events = [
        {"file": file.number, "original_event": file.original_event, "kind": "orders", "source": file.copy.file.source,
         "digest": file.copy.digest, "file_name": display_name(file.copy.file.path.name), "at": at,
         "rows": len(file.table.rows), "notes": "\n".join(file.table.notes),
         "readable": int(file.original_event > 0 or file.number not in refused),
         "final": int(file.original_event > 0 or file.number not in open_ended), "replays": file.replays}
        for file in batch.files
    ]  # fmt: skip
    return pl.DataFrame(events).with_columns(pl.col("file").cast(pl.UInt32))


def _usage(batch: Batch) -> pl.DataFrame:
    """What each file costs its source: `file`, `files`, `bytes`, `parse_ms`. What the operator has answered again costs none
    of these.
    """
    rows = [
        (file.number, 0, 0, 0) if file.replays
        else (file.number, 1, file.copy.size, round(file.table.parse_seconds * 1000))
        for file in batch.files
    ]  # fmt: skip
    return pl.DataFrame(rows, {"file": pl.UInt32, "files": pl.Int64, "bytes": pl.Int64, "parse_ms": pl.Int64}, orient="row")
