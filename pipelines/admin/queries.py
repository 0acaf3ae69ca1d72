"""Answer questions about cards, orders, submissions and the PINs of a BTN."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.codes.capacity import free_pins
from pipelines.common.errors import CardsError, UsageError, require_file, require_printable
from pipelines.registry import queries
from pipelines.registry.order_holds import approval_of
from pipelines.registry.store import Registry
from schemas import telephone
from schemas.actions import ActionOutcome
from schemas.codes import STATES, code_text, has_forbidden_sequence
from schemas.pins import PINS


@dataclass(frozen=True)
class Card:
    """A card with its values as the network has them.

    `serial` is how people name a card: `<Order ID>/<n>`, where n is its place in the order that issued it, counted
    from 1, by code; replacements are counted after the cards that were placed with the order, so that no serial ever
    changes. An external code has none. `replaces` and `replaced_by` are codes.
    """

    serial: str
    code: str
    state: str
    order_id: str
    reseller: str
    customer_account: str
    customer_order_id: str
    product_account: str
    access_number: str
    origin: str
    termination: str
    placed_at: str
    replaces: str | None
    replaced_by: str | None


@dataclass(frozen=True)
class HistoryStep:
    """Something that happened to a card: when, what, and the order and the file that did it."""

    at: str
    what: str
    order_id: str
    file: str


@dataclass(frozen=True)
class Status:
    """The cards that a query finds, the newest orders first: how many (`found`), how many of them are in each state, the
    first ones (`cards`), and how many `more` there are. Not `complete`: those of older orders were left out. `history` only
    when it named a single code.
    """

    query: str
    found: int
    complete: bool
    counts: dict[str, int]
    cards: list[Card]
    more: int
    history: list[HistoryStep]


@dataclass(frozen=True)
class OrderCard:
    """A card of an order. `outcome`: whether a Change, Disconnect, Block or Unblock was done; empty for an Add."""

    serial: str
    code: str
    state: str
    outcome: str


@dataclass(frozen=True)
class OrderReport:
    """The order-ID report: an order, how many of its cards are in each state, and its cards (`codes`).

    `state` is `awaited` until the network has reported on the order, then `closed`; `cards` is their number when it
    was placed; `approval`: who approved it, why and when, where it needed that.
    """

    order_id: str
    reseller: str
    customer_account: str
    customer_order_id: str
    action: str
    code_type: str
    product_account: str
    access_number: str
    origin: str
    termination: str
    comments: str
    cards: int
    since: str
    placed_at: str
    folder: str
    state: str
    approval: str
    counts: dict[str, int]
    codes: list[OrderCard]


@dataclass(frozen=True)
class BtnCapacity:
    """The 10,000 PINs of a BTN: free, in use, unavailable (refused, disconnected or external), or impossible by the
    number rule.
    """

    btn: str
    free: int
    in_use: int
    unavailable: int
    impossible: int


@dataclass(frozen=True)
class Submission:
    """An order file that was answered: the registry's event, whose it is, and its folder in the outbox."""

    event: int
    reseller: str
    file: str
    folder: str


def status(query: str, registry: Registry, limit: int | None = None) -> Status:
    """Cards by code, Order ID, Customer Order ID, BTN or access number, `limit` of them (None: all). Raises CardsError when
    there are none.
    """
    text = require_printable(query, "what to look for") if query.strip() else ""
    digits = re.sub(r"[ ().+-]", "", text)
    codes = pl.Series([int(digits)] if re.fullmatch(r"[0-9]{14}", digits) else [], dtype=pl.Int64)
    by_code = queries.keys_with(registry, codes)
    others, complete = _keys(text, registry)  # IDs may look like codes and telephone numbers
    keys = pl.concat([by_code, *others]).unique("code").sort("order_pk", "serial", "code", descending=[True, False, False])
    if keys.is_empty():
        raise CardsError("There is no card with this code, Order ID, Customer Order ID, BTN or access number.")
    page = keys.head(len(keys) if limit is None else limit)
    return Status(
        query=query,
        found=len(keys),
        complete=complete,
        counts=_counts(keys),
        cards=_cards(_current(_with_keys(page, registry), registry)),
        more=len(keys) - len(page),
        history=_history(by_code, registry) if len(by_code) else [],
    )


def _keys(text: str, registry: Registry) -> tuple[list[pl.DataFrame], bool]:
    """The cards of an Order ID, Customer Order ID, BTN or access number, and whether these are all."""
    found = [queries.keys_of_orders(registry, text)]
    number = telephone.normalized_text(text)
    if telephone.is_valid_text(number):
        found += [(queries.keys_of_btn(registry, int(number)), True), queries.keys_of_access(registry, number)]
    return [keys for keys, _ in found], all(complete for _, complete in found)


def _with_keys(keys: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """The cards of these keys, in their order."""
    return keys.select("code").join(queries.cards_with(registry, keys["code"]), on="code", maintain_order="left")


def _counts(cards: pl.DataFrame) -> dict[str, int]:
    """How many cards are in each state, in the order of a card's life."""
    counted = cards.group_by("state").len().sort("state")
    return {STATES[state]: number for state, number in counted.iter_rows()}


def _current(cards: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """The cards with the values that changes have given them."""
    made = queries.changes(registry, cards)
    latest = made.group_by("code").agg(
        pl.col(name).filter(pl.col(name) != "").last().alias(f"new_{name}") for name in queries.CHANGED
    )
    both = cards.join(latest, on="code", how="left", maintain_order="left")
    return both.with_columns(pl.coalesce(f"new_{name}", name).alias(name) for name in queries.CHANGED).select(cards.columns)


def _cards(cards: pl.DataFrame) -> list[Card]:
    linked = [pl.when(pl.col(name) > 0).then(code_text(pl.col(name))).alias(name) for name in ("replaces", "replaced_by")]
    names = {
        "placed": "placed_at",
        "account": "customer_account",
        "product": "product_account",
    }
    serial = pl.when(pl.col("n") > 0).then(queries.serial_of()).otherwise(pl.lit("")).alias("serial")
    cards = cards.with_columns(serial, code_text(pl.col("code")), _state(), *linked).rename(names)
    return [Card(**card) for card in cards.drop("order_pk", "n").iter_rows(named=True)]


def _state() -> pl.Expr:
    return pl.col("state").replace_strict(dict(enumerate(STATES)), default="", return_dtype=pl.String)


def _history(card: pl.DataFrame, registry: Registry) -> list[HistoryStep]:
    rows = queries.history(registry, card["order_pk"].item(), card["serial"].item())
    outcome = pl.when(pl.col("outcome") == ActionOutcome.SHOWN).then(pl.lit("done")).otherwise(pl.lit("not done"))
    what = (
        pl.when(pl.col("state") >= 0).then(_state())
        .when(pl.col("outcome") > 0).then(pl.format("{} {}", pl.col("action"), outcome))
        .otherwise(pl.format("{} placed", pl.col("action")))
    )  # fmt: skip
    steps = rows.select("at", what.alias("what"), order_id="by", file="file_name")
    return [HistoryStep(**step) for step in steps.iter_rows(named=True)]


def order(order_id: str, registry: Registry) -> OrderReport:
    """The order with this Order ID. Raises CardsError when there is none."""
    found = find_order(order_id.strip(), registry)
    if found is None:
        raise CardsError(f"There is no order with the Order ID {order_id}.")
    return found


def find_order(order_id: str, registry: Registry) -> OrderReport | None:
    """The order with this Order ID, or None."""
    found = queries.order(registry, order_id)
    if found is None:
        return None
    codes = queries.cards_of(registry, found["order_pk"])
    return OrderReport(
        order_id=found["order_id"],
        reseller=found["reseller"],
        customer_account=found["account"],
        customer_order_id=found["customer_order_id"],
        action=found["action"],
        code_type=found["code_type"],
        product_account=found["product"],
        access_number=found["access_number"],
        origin=found["origin"],
        termination=found["termination"],
        comments=found["comments"],
        cards=found["cards"],
        since=found["since"],
        placed_at=found["placed_at"],
        folder=found["folder"],
        state="awaited" if found["awaiting"] else "closed",
        approval=approval_of(registry, found["order_pk"]),
        counts=_counts(codes),
        codes=_order_cards(codes),
    )


def _order_cards(codes: pl.DataFrame) -> list[OrderCard]:
    outcome = pl.col("outcome").replace_strict(_OUTCOMES, return_dtype=pl.String)
    cards = codes.select("serial", code_text(pl.col("code")), _state(), outcome.alias("outcome"))
    return [OrderCard(**card) for card in cards.iter_rows(named=True)]


_OUTCOMES: Final[dict[int, str]] = {
    ActionOutcome.NONE: "", ActionOutcome.AWAITED: "awaited", ActionOutcome.SHOWN: "done", ActionOutcome.NOT_SHOWN: "not done",
}  # fmt: skip


def capacity(btns: list[str], registry: Registry) -> list[BtnCapacity]:
    """The PINs of each BTN. Raises UsageError for a text that is not a telephone number."""
    numbers = [telephone.normalized_text(text) for text in btns]
    if wrong := [text for text, number in zip(btns, numbers, strict=True) if not telephone.is_valid_text(number)]:
        raise UsageError(f"{wrong[0]!r} is not a BTN: write 10 digits, of which the first and the fourth are 2 to 9.")
    asked = pl.Series("btn", [int(number) for number in numbers], pl.Int64)
    existing = queries.states_under(registry, asked).filter(~has_forbidden_sequence(pl.col("code").cast(pl.String)))
    used = pl.col("state").is_in([STATES.index(state) for state in ("placed", "ready", "blocked")])
    counts = existing.group_by("btn").agg(in_use=used.sum().cast(pl.Int64), unavailable=(~used).sum().cast(pl.Int64))
    free = free_pins(asked, existing["code"])
    both = free.join(counts, on="btn", how="left", maintain_order="left")
    both = both.with_columns(pl.col("in_use", "unavailable").fill_null(0))
    impossible = PINS - pl.col("free") - pl.col("in_use") - pl.col("unavailable")
    pins = both.select(pl.col("btn").cast(pl.String), "free", "in_use", "unavailable", impossible=impossible)
    return [BtnCapacity(**btn) for btn in pins.iter_rows(named=True)]


def read_btns(path: Path) -> list[str]:
    """The BTNs of a text file, one in each line. Raises UsageError when there is no such file or it is not text."""
    require_file(path)
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as text with a BTN in each line ({type(error).__name__}).") from None


def submission(folder: str, registry: Registry) -> Submission:
    """The submission with this folder, given with or without the reseller's before it.

    Raises CardsError when there is none, or more than one.
    """
    parts = Path(folder).parts
    found = queries.submissions(registry, parts[-1] if parts else "", parts[-2] if len(parts) > 1 else "")
    if len(found) != 1:
        what = "no submission" if found.is_empty() else "more than one submission"
        raise CardsError(f"There is {what} {folder}. Name its folder as outbox/RESELLER/SUBMISSION.")
    event: dict[str, Any] = found.row(0, named=True)
    return Submission(event["event"], event["source"], event["file_name"], event["folder"])
