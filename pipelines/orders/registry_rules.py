"""Rules that need the catalogue and the registry, applied to frames of facts. None of them asks the registry itself."""

import polars as pl

from pipelines.codes.capacity import FEWEST_PINS, first_come, free_pins
from pipelines.common.frames import rows_in
from schemas import actions
from schemas.codes import STATE_WORDS, STATES, card_words, cards_words, code_text, has_forbidden_sequence
from schemas.findings import FINDING, NO_FINDINGS, all_violations, violations
from schemas.orders import BTN4, TELEPHONE
from schemas.pins import PINS

_LISTED_CARDS = 20
"""So many cards of a row are named for a reason; an Order ID can stand for any number of them."""
_AWAITED = "awaited"
"""What a card is, in addition to its state, while an earlier order for it waits for the network."""
_NEVER = pl.lit(value=False)


def catalogue_findings(rows: pl.DataFrame, accounts: pl.DataFrame, access_numbers: pl.DataFrame) -> pl.DataFrame:
    """Findings about products and access numbers of rows on accounts of their own.

    `accounts`: `file`, `account`, `product`; `access_numbers`: `access_number`, `account` (empty: for everyone).
    """
    cells = rows.select("file", "source_row", "account", "product", "access_number")
    product = cells.filter(pl.col("product").is_not_null()).join(accounts, on=["file", "account", "product"], how="anti")
    access = cells.filter(pl.col("access_number").str.contains(TELEPHONE).fill_null(value=False))
    for_all = access_numbers.filter(pl.col("account") == "")
    special = access_numbers.filter(pl.col("account") != "")
    access = access.join(for_all, on="access_number", how="anti").join(special, on=["access_number", "account"], how="anti")
    return pl.concat(
        [
            violations(product, _NEVER, "PRODUCT_UNKNOWN", "product"),
            violations(access, _NEVER, "ACCESS_NOT_OFFERED", "access_number"),
        ]
    )


def unavailable_codes(asked: pl.DataFrame, existing: pl.Series, owners: pl.DataFrame) -> pl.DataFrame:
    """Those of the codes asked for (`account`, `code`, …) that can't be issued: they exist, or begin with the BTN of another
    account (`owners`: `btn`, `owner`), where one answer is given for free and used numbers alike.
    """
    foreign = asked.with_columns(btn=pl.col("code") // PINS).join(owners, on="btn", how="left", maintain_order="left")
    others = (pl.col("owner") != pl.col("account")).fill_null(value=False)
    return foreign.filter(pl.col("code").is_in(existing.implode()) | others).drop("btn", "owner")


def card_findings(named: pl.DataFrame, cards: pl.DataFrame) -> pl.DataFrame:
    """Findings about the cards that orders name by code.

    `named`: `file`, `source_row`, `action`, `account`, `code`; `cards`: `account`, `code`, `state` and `awaited` (whether an
    order for the card waits for the network). Somebody else's card and no card at all get the same answer.
    """
    if named.is_empty():
        return NO_FINDINGS
    found = named.join(cards, on=["account", "code"], how="left", maintain_order="left")
    rules = _card_rules()
    worded = pl.format("{} ({})", code_text(pl.col("code")), card_words(_state()))
    found = found.with_columns(code=pl.when(rules["CARD_NOT_READY"]).then(code_text(pl.col("code"))).otherwise(worded))
    return _few(all_violations(found, ((valid, reason, "code") for reason, valid in rules.items())))


def _state() -> pl.Expr:
    """The state of a card, for words about it."""
    return pl.when("awaited").then(pl.lit(_AWAITED)).otherwise(_state_name())


def _state_name() -> pl.Expr:
    return pl.col("state").replace_strict(dict(enumerate(STATES)), default=None, return_dtype=pl.String)


def _card_rules() -> dict[str, pl.Expr]:
    """What must be true of a card that an order takes, by reason."""
    state = _state_name()
    allowed = pl.any_horizontal(
        *((pl.col("action") == name) & state.is_in(action.cards_in) for name, action in actions.ACTIONS.items())
    )
    known, gone = pl.col("state").is_not_null(), (state == "disconnected").fill_null(value=False)
    return {
        "CARD_UNKNOWN": known,
        "CARD_DISCONNECTED": ~gone,
        "CARD_NOT_READY": ~known | gone | (allowed & ~pl.col("awaited")),
    }


def order_card_findings(by_order: pl.DataFrame, order_cards: pl.DataFrame, cards: pl.DataFrame) -> pl.DataFrame:
    """Findings about the cards that orders name by Order ID, once for each reason; CARD_NOT_READY counts the cards by state.

    `by_order`: `file`, `source_row`, `action`, `account`, `target_order_id`. What is true of an Order ID and
    an action is true in every row, so that thousands of rows that name one large order cost no more than one.
    """
    if by_order.is_empty():
        return NO_FINDINGS
    keys = by_order.select("account", "target_order_id", "action").unique(maintain_order=True)
    of_orders = keys.join(order_cards, left_on=["account", "target_order_id"], right_on=["account", "order_id"], how="left")
    states = of_orders.join(cards, on=["account", "code"], how="left")
    rules = _card_rules()
    counts = _counts_by_state(states.filter(~rules["CARD_NOT_READY"]), keys.columns)
    broken = pl.concat(
        states.filter(~valid).select(*keys.columns, reason=pl.lit(reason)).unique() for reason, valid in rules.items()
    )
    broken = broken.join(counts, on=[*keys.columns, "reason"], how="left")
    rows = by_order.join(broken, on=keys.columns, maintain_order="left")
    value = pl.concat_str("target_order_id", pl.format(" ({})", "counts"), ignore_nulls=True)
    return rows.select("file", "source_row", "reason", column=pl.lit("target_order_id"), value=value).select(*FINDING)


def _counts_by_state(cards: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """`counts`: how many cards of each of the `keys` are in which state, in words; `reason` CARD_NOT_READY."""
    each = cards.group_by(*keys, state=_state(), maintain_order=True).agg(cards=pl.len())
    each = each.sort("cards", maintain_order=True)
    if each.is_empty():
        return each.select(*keys, counts=pl.lit("").cast(pl.String), reason=pl.lit("").cast(pl.String))
    first = pl.int_range(pl.len()).over(keys) == 0
    words = each.with_columns(words=cards_words(pl.col("state"), pl.col("cards"), first))
    joined = words.group_by(keys, maintain_order=True).agg(counts=pl.col("words").str.join(", "))
    return joined.with_columns(reason=pl.lit("CARD_NOT_READY"))


def contested_orders(named: pl.DataFrame) -> pl.DataFrame:
    """CARD_NOT_READY findings: rows that name an order whose cards an earlier valid row takes."""
    by_order = named.filter(pl.col("target_order_id").is_not_null())
    late = by_order.filter(~pl.struct("account", "target_order_id").is_first_distinct())
    return violations(_with_awaited(late, "target_order_id"), _NEVER, "CARD_NOT_READY", "target_order_id")


def _with_awaited(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """The rows that come too late for a card or an order, which say so in a column of their own."""
    words = f" (the card {STATE_WORDS[_AWAITED][0]})"
    return rows.with_columns(pl.col(name) + words)


def contested_cards(named: pl.DataFrame) -> pl.DataFrame:
    """Findings about cards that an earlier valid order of the batch takes: CODE_REPEATED where a row of
    the same file names the same code, else CARD_NOT_READY. `named`: `file`, `source_row`, `row_id`, `code`,
    `target_order_id`, of valid orders alone.
    """
    if named.is_empty():
        return NO_FINDINGS
    several = named.sort("row_id", maintain_order=True).filter(pl.col("code").is_duplicated())
    by_code = pl.col("target_order_id").is_null() & pl.col("target_order_id").first().over("code").is_null()
    first, here = pl.col("code").is_first_distinct(), by_code & (pl.col("file") == pl.col("file").first().over("code"))
    several = several.with_columns(first=first, here=here)
    return _few(
        pl.concat(
            [
                violations(several, pl.col("first") | ~pl.col("here"), "CODE_REPEATED", "code"),
                violations(
                    _with_awaited(several.with_columns(code_text(pl.col("code"))), "code"),
                    pl.col("first") | pl.col("here"),
                    "CARD_NOT_READY",
                    "code",
                ),
            ]
        )
    )


def _few(found: pl.DataFrame) -> pl.DataFrame:
    return found.filter(pl.int_range(pl.len()).over("file", "source_row", "reason") < _LISTED_CARDS)


def quota_findings(rows: pl.DataFrame, codes: pl.DataFrame, usage: pl.DataFrame, limit: int) -> pl.DataFrame:
    """QUOTA_EXCEEDED findings: orders with which a source would pass its codes of a day.

    `rows` of valid orders, with `source` and `acceptance_group`; `codes`: `row_id`, `code` that they and others name; `usage`:
    `source`, `codes` of today. A group that is refused leaves room for those after it.
    """
    named = codes.group_by("row_id").agg(named=pl.len().cast(pl.Int64))
    wanted = pl.col("quantity").cast(pl.Int64, strict=False).fill_null(0) + pl.col("named").fill_null(0)
    issuing = rows.filter(pl.col("action").is_in(actions.issuing())).join(named, on="row_id", how="left", maintain_order="left")
    groups = issuing.group_by("source", "acceptance_group", maintain_order=True).agg(wanted=wanted.sum())
    groups = groups.join(usage, on="source", how="left", maintain_order="left")
    groups = groups.with_columns(left=limit - pl.col("codes").fill_null(0))
    scarce = groups.filter(pl.col("wanted").sum().over("source") > pl.col("left"))
    if scarce.is_empty():
        return NO_FINDINGS
    claims = scarce.select("acceptance_group", row_id="acceptance_group", btn="source", quantity="wanted")
    refused = first_come(claims, dict(scarce.select("source", "left").iter_rows()))
    late = issuing.filter(pl.col("acceptance_group").is_in(refused))
    drawn = pl.col("quantity").is_not_null()
    return pl.concat(
        [
            violations(late.filter(drawn), _NEVER, "QUOTA_EXCEEDED", "quantity"),
            violations(late.filter(~drawn), _NEVER, "QUOTA_EXCEEDED", "code"),
        ]
    )


def pin_findings(rows: pl.DataFrame, codes: pl.DataFrame, used: pl.DataFrame, fill: float) -> pl.DataFrame:
    """BTN_EXHAUSTED (and CODE_TAKEN) findings: valid orders that come too late for the PINs of their BTN.

    `rows` of valid orders, with `acceptance_group`; `codes`: `row_id`, `code` that they and others ask for, which take a PIN
    too where they begin with such a BTN; `used`: `btn`, `code`; `fill`: the share of a BTN's PINs that may be in use.
    """
    demands = pin_demands(rows)
    if demands.is_empty():
        return NO_FINDINGS
    chosen = rows_in(codes, rows, "row_id").select("row_id", btn=pl.col("code") // PINS, quantity=pl.lit(1, pl.Int64))
    asked = pl.concat([demands, chosen])
    asked = asked.join(demands.select("btn").unique(), on="btn", how="semi")
    gone = used.group_by("btn").agg(gone=pl.len().cast(pl.Int64))
    total = asked.group_by("btn").agg(pl.col("quantity").sum()).join(gone, on="btn", how="left")
    close = total.filter(pl.col("quantity") + pl.col("gone").fill_null(0) > FEWEST_PINS * fill)
    free = free_pins(close["btn"], used["code"], fill).join(total, on="btn")
    scarce = free.filter(pl.col("quantity") > pl.col("free"))
    if scarce.is_empty():
        return NO_FINDINGS
    claims = asked.join(scarce.select("btn", "free"), on="btn", maintain_order="left").join(
        rows.select("row_id", "acceptance_group"), on="row_id", maintain_order="left"
    )
    never = claims.filter(pl.col("quantity") > pl.col("free"))  # most of a flood; the loop in first_come is for the rest
    open_claims = claims.join(never, on="acceptance_group", how="anti").sort("acceptance_group", "row_id")
    late = first_come(open_claims, dict(scarce.select("btn", "free").iter_rows()))
    after = rows.filter(pl.col("row_id").is_in(late) | pl.col("row_id").is_in(never["row_id"].implode()))
    drawn = pl.col("code_type") == BTN4
    return pl.concat(
        [
            violations(after.filter(drawn), _NEVER, "BTN_EXHAUSTED", "btn"),
            violations(after.filter(~drawn), _NEVER, "CODE_TAKEN", "code"),
        ]
    )


def pin_demands(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that ask for PINs of a BTN that can have some: `row_id`, `btn` and `quantity` (integers)."""
    well = rows.filter(
        (pl.col("code_type") == BTN4) & pl.col("btn").str.contains(TELEPHONE) & ~has_forbidden_sequence(pl.col("btn"))
        & pl.col("quantity").str.contains(r"^[1-9][0-9]{0,7}$")
    )  # fmt: skip
    return well.select("row_id", pl.col("btn", "quantity").cast(pl.Int64))
