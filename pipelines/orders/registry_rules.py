"""Rules that need the catalogue and the registry, told on frames of facts. None of them asks the registry itself."""

import polars as pl

from pipelines.codes.capacity import FEWEST_PINS, PINS, first_come, free_pins
from schemas import actions
from schemas.codes import STATES, has_forbidden_sequence
from schemas.findings import NO_FINDINGS, violations
from schemas.orders import BTN4, TELEPHONE

_LISTED_CARDS = 20
"""So many cards of a row are named for a reason; an Order ID can stand for any number of them."""
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


def card_findings(named: pl.DataFrame, cards: pl.DataFrame) -> pl.DataFrame:
    """Findings about the cards that orders name.

    `named`: `file`, `source_row`, `row_id`, `action`, `account`, `code`; `cards`: `account`, `code`, `state` and `awaited`
    (whether an order for the card waits for the network). Somebody else's card and no card at all get the same answer.
    """
    found = named.join(cards, on=["account", "code"], how="left", maintain_order="left")
    state = pl.col("state").replace_strict(dict(enumerate(STATES)), default=None, return_dtype=pl.String)
    allowed = pl.any_horizontal(
        *((pl.col("action") == name) & state.is_in(action.cards_in) for name, action in actions.ACTIONS.items())
    )
    known, gone = pl.col("state").is_not_null(), (state == "disconnected").fill_null(value=False)
    each = [
        violations(found, known, "CARD_UNKNOWN", "code"),
        violations(found, ~gone, "CARD_DISCONNECTED", "code"),
        violations(found.filter(known & ~gone), allowed & ~pl.col("awaited"), "CARD_NOT_READY", "code"),
    ]
    return _few(pl.concat(each))


def contested_cards(named: pl.DataFrame) -> pl.DataFrame:
    """CARD_NOT_READY findings: cards that an earlier order of the batch takes. `named` as above, of valid orders alone."""
    several = named.filter(pl.col("code").is_duplicated())
    return _few(violations(several, pl.col("code").is_first_distinct(), "CARD_NOT_READY", "code"))


def _few(found: pl.DataFrame) -> pl.DataFrame:
    return found.filter(pl.int_range(pl.len()).over("file", "source_row", "reason") < _LISTED_CARDS)


def quota_findings(rows: pl.DataFrame, codes: pl.DataFrame, usage: pl.DataFrame, limit: int) -> pl.DataFrame:
    """QUOTA_EXCEEDED findings: orders with which a source would pass its codes of a day.

    `rows` of valid orders, with `source` and `acceptance_group`; `codes`: `row_id`, `code` that they name; `usage`:
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

    `rows` of valid orders, with `acceptance_group`; `codes`: `row_id`, `code` that they ask for, which take a PIN too
    where they begin with such a BTN; `used`: `btn`, `code`; `fill`: the share of a BTN's PINs that may be in use.
    """
    asked = pl.concat([pin_demands(rows).select("row_id", "btn", "quantity"), codes.select(
        "row_id", btn=pl.col("code") // PINS, quantity=pl.lit(1, pl.Int64))])  # fmt: skip
    asked = asked.join(pin_demands(rows).select("btn").unique(), on="btn", how="semi")
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
