"""Answer questions about cards, orders and the PINs of a BTN."""

import re
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.codes.capacity import PINS, free_pins
from pipelines.common.errors import CardsError, UsageError
from pipelines.registry import queries
from pipelines.registry.store import Registry
from schemas.codes import STATES, code_text, has_forbidden_sequence

_TELEPHONE = r"[2-9][0-9]{9}"


def status(asked: str, registry: Registry) -> dict[str, Any]:
    """Cards by code, Order ID, Customer Order ID, BTN or access number: `asked` and `cards`, each with its state and
    its values as the network has them; of a single code its `history` too.

    Raises CardsError when there are none.
    """
    text = asked.strip()
    number = re.sub(r"[ ().+-]", "", text)
    of_code = queries.card(registry, int(number)) if re.fullmatch(r"[0-9]{14}", number) else pl.DataFrame(schema=queries.CARD)
    found = [queries.cards_of_order(registry, text), of_code]  # IDs may look like codes and telephone numbers
    if re.fullmatch(_TELEPHONE, number):
        with_access = _current(queries.cards_of_access(registry, number), registry)
        with_access = with_access.filter(pl.col("access_number") == number)
        found += [queries.cards_of_btn(registry, int(number)), with_access]
    cards = _current(pl.concat(found).unique("code").sort("code"), registry)
    if cards.is_empty():
        raise CardsError("There is no card with this code, Order ID, Customer Order ID, BTN or access number.")
    told: dict[str, Any] = {"asked": asked, "cards": _shown(cards)}
    if len(of_code):
        told["history"] = _history(int(number), registry)
    return told


def _current(cards: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """The cards with the values that changes have given them."""
    made = queries.changes(registry, cards["code"])
    latest = made.group_by("code").agg(
        pl.col(name).filter(pl.col(name) != "").last().alias(f"new_{name}") for name in queries.CHANGED
    )
    both = cards.join(latest, on="code", how="left", maintain_order="left")
    return both.with_columns(pl.coalesce(f"new_{name}", name).alias(name) for name in queries.CHANGED).select(cards.columns)


def _shown(cards: pl.DataFrame) -> list[dict[str, Any]]:
    burnt_for = [pl.when(pl.col(name) > 0).then(code_text(pl.col(name))).alias(name) for name in ("replaces", "replaced_by")]
    names = {
        "placed": "placed_at",
        "account": "customer_account",
        "order_ref": "customer_order_id",
        "product": "product_account",
    }
    return cards.with_columns(code_text(pl.col("code")), _state(), *burnt_for).rename(names).to_dicts()


def _state() -> pl.Expr:
    return pl.col("state").replace_strict(dict(enumerate(STATES)), default="", return_dtype=pl.String)


def _history(code: int, registry: Registry) -> list[dict[str, str]]:
    rows = queries.history(registry, code)
    outcome = pl.when(pl.col("done") == 1).then(pl.lit("done")).otherwise(pl.lit("not done"))
    what = (
        pl.when(pl.col("state") >= 0).then(_state())
        .when(pl.col("done") > 0).then(pl.format("{} {}", pl.col("action"), outcome))
        .otherwise(pl.format("{} placed", pl.col("action")))
    )  # fmt: skip
    return rows.select("at", what.alias("what"), pl.col("by").alias("order"), "file").to_dicts()


def order(order_id: str, registry: Registry) -> dict[str, Any]:
    """The order-ID report: the order's fields and its `codes`, each with its state. Raises CardsError for no order."""
    found = queries.order(registry, order_id.strip())
    if found is None:
        raise CardsError(f"There is no order with the Order ID {order_id}.")
    codes = queries.codes_of(registry, found.pop("order_no"))
    outcome = pl.col("done").replace_strict({-1: "", 0: "awaited", 1: "done", 2: "not done"}, return_dtype=pl.String)
    counts = dict(codes.select(_state()).group_by("state").len().sort("state").iter_rows())
    state = "awaited" if found.pop("awaiting") else "settled"
    return {**found, "state": state, "counts": counts,
            "codes": codes.select(code_text(pl.col("code")), _state(), outcome.alias("outcome")).to_dicts()}  # fmt: skip


def capacity(btns: list[str], registry: Registry) -> list[dict[str, Any]]:
    """PINs of each BTN: `free`, `in_use`, `burnt` (refused, disconnected or external) and `impossible` (by the number
    rule); the four make 10,000. Raises UsageError for a text that is no telephone number.
    """
    numbers = [re.sub(r"[ ().+-]", "", text) for text in btns]
    if wrong := [text for text, number in zip(btns, numbers, strict=True) if not re.fullmatch(_TELEPHONE, number)]:
        raise UsageError(f"{wrong[0]!r} is no BTN: write a telephone number of 10 digits.")
    asked = pl.Series("btn", [int(number) for number in numbers], pl.Int64)
    taken = registry.codes_under(asked).filter(~has_forbidden_sequence(pl.col("code").cast(pl.String)))
    used = pl.col("state").is_in([STATES.index(state) for state in ("placed", "ready", "blocked")])
    counts = taken.group_by("btn").agg(in_use=used.sum().cast(pl.Int64), burnt=(~used).sum().cast(pl.Int64))
    free = free_pins(asked, taken["code"])
    both = free.join(counts, on="btn", how="left", maintain_order="left").with_columns(pl.col("in_use", "burnt").fill_null(0))
    impossible = PINS - pl.col("free") - pl.col("in_use") - pl.col("burnt")
    return both.select(pl.col("btn").cast(pl.String), "free", "in_use", "burnt", impossible=impossible).to_dicts()


def btns_of(path: Path) -> list[str]:
    """The BTNs of a text file, one a line."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as text, one BTN a line ({type(error).__name__}).") from None


def submission(asked: str, registry: Registry) -> dict[str, Any]:
    """The event of a submission, named by its folder, with or without the reseller's before it.

    Raises CardsError when there is none, or more than one.
    """
    parts = Path(asked).parts
    found = queries.submissions(registry, parts[-1] if parts else "", parts[-2] if len(parts) > 1 else "")
    if len(found) != 1:
        what = "no submission" if found.is_empty() else "more than one submission"
        raise CardsError(f"There is {what} {asked}. Name its folder as outbox/RESELLER/SUBMISSION.")
    return found.row(0, named=True)
