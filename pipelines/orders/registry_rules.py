"""Rules that need the catalogue and the registry."""

import polars as pl

from pipelines.codes.capacity import PINS, first_come, free_pins
from schemas import actions
from schemas.codes import STATES, has_forbidden_sequence
from schemas.findings import rule
from schemas.orders import BTN4

_FEWEST_PINS = 5_000
"""No BTN without a run has fewer valid PINs than this (a test looks at every way in which a BTN can end)."""

_LISTED_CARDS = 20
"""So many cards of a row are named for a reason; an Order ID can stand for any number of them."""

_WELL_FORMED = pl.col("account").str.contains(r"^[0-9]{8}$").fill_null(value=False)
_TELEPHONE = r"^[2-9][0-9]{2}[2-9][0-9]{6}$"


def accounts_by_file(accounts: pl.DataFrame, senders: pl.DataFrame) -> pl.DataFrame:
    """The accounts each file may order on: `file`, `account`, `product`, `acceptance`. The house may use all.

    `senders`: `file`, `sender`, `house` (whether the sender is the house).
    """
    own = senders.filter(~pl.col("house")).join(accounts, left_on="sender", right_on="reseller")
    house = senders.filter("house").join(accounts, how="cross")
    return pl.concat([frame.select("file", "account", "product", "acceptance") for frame in (own, house)])


def catalogue(rows: pl.DataFrame, accounts: pl.DataFrame, access_numbers: pl.DataFrame) -> pl.DataFrame:
    """Findings about accounts and access numbers. `accounts` as `of_senders` gives them.

    What belongs to somebody else gets the same answer as what does not exist, and an account that is not the
    sender's gets no further answer about its products and access numbers.
    """
    known = rows.select("line", "file", "account", "product", "access_number").filter(_WELL_FORMED)
    stranger = known.join(accounts, on=["file", "account"], how="anti")
    mine = known.join(accounts, on=["file", "account"], how="semi")
    product = mine.filter(pl.col("product").is_not_null()).join(accounts, on=["file", "account", "product"], how="anti")
    access = mine.filter(pl.col("access_number").str.contains(_TELEPHONE).fill_null(value=False))
    for_all = access_numbers.filter(pl.col("account") == "")
    special = access_numbers.filter(pl.col("account") != "")
    access = access.join(for_all, on="access_number", how="anti").join(special, on=["access_number", "account"], how="anti")
    always = pl.lit(value=True)
    return pl.concat(
        [
            rule(stranger, always, "ACCOUNT_UNKNOWN", "account"),
            rule(product, always, "PRODUCT_UNKNOWN", "product"),
            rule(access, always, "ACCESS_NOT_OFFERED", "access_number"),
        ]
    )


def taken_codes(codes: pl.DataFrame, taken: pl.Series) -> pl.DataFrame:
    """CODE_TAKEN findings for asked codes (`line`, `code`)."""
    return _about(codes.filter(pl.col("code").is_in(taken.implode())), "CODE_TAKEN")


def taken_code_attempts(
    asked: pl.DataFrame, taken: pl.Series, senders: pl.DataFrame, before: pl.DataFrame, most: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How many taken codes each file asks for (`file`, `codes`), and FILE_HELD faults of files whose sender has asked for
    more than `most` of them: a reseller learns no more than that of what others have.

    `asked`: `file`, `code`; `senders`: `file`, `sender`, `house`; `before`: `sender`, `codes` of earlier files.
    """
    counted = asked.group_by("file").agg(codes=pl.col("code").is_in(taken.implode()).sum().cast(pl.Int64)).sort("file")
    counted = counted.join(senders.filter(~pl.col("house")), on="file", maintain_order="left")
    counted = counted.join(before.rename({"codes": "before"}), on="sender", how="left", maintain_order="left")
    total = pl.col("before").fill_null(0) + pl.col("codes").cum_sum().over("sender")
    held = counted.filter(total > most)
    words = pl.lit("more taken codes were asked for than may be in a day")
    return counted.filter(pl.col("codes") > 0).select("file", "codes"), held.select(
        "file", reason=pl.lit("FILE_HELD"), value=words
    )


def _about(codes: pl.DataFrame, reason: str) -> pl.DataFrame:
    text = pl.col("code").cast(pl.String)
    return codes.select("line", column=pl.lit("code"), reason=pl.lit(reason), value=text)


def card_findings(asked: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Findings about cards that orders take.

    `asked`: `line`, `action`, `account`, `code`; `known`: `code`, `account` (whose the card is), `state` and
    `awaited` (whether an order for it is). Somebody else's card and no card at all get the same answer.
    """
    found = asked.join(known, on=["code", "account"], how="left", maintain_order="left")
    state = pl.col("state").replace_strict(dict(enumerate(STATES)), default=None, return_dtype=pl.String)
    allowed = pl.any_horizontal(
        *((pl.col("action") == name) & state.is_in(action.cards_in) for name, action in actions.ACTIONS.items())
    )
    unknown = pl.col("state").is_null()
    gone = state == "disconnected"
    late = ~allowed | pl.col("awaited") | ~pl.col("code").is_first_distinct()
    return pl.concat(
        [
            _about(found.filter(unknown), "CARD_UNKNOWN"),
            _about(found.filter(~unknown & gone), "CARD_DISCONNECTED"),
            _about(found.filter(~unknown & ~gone & late), "CARD_NOT_READY"),
        ]
    ).filter(pl.int_range(pl.len()).over("line", "reason") < _LISTED_CARDS)


def btn_findings(rows: pl.DataFrame, codes: pl.DataFrame, burnt: pl.DataFrame, bad: pl.Series) -> pl.DataFrame:
    """BTN_EXHAUSTED (and CODE_TAKEN) findings: BTNs that are asked for more PINs than they have free.

    `rows` with `unit` (what is placed whole or not at all); `codes`: `line`, `code` that are asked for, which take a
    PIN too where they begin with such a BTN; `burnt`: `btn`, `code`; `bad`: units with other findings.
    """
    asked = pl.concat([pin_demands(rows), codes.join(rows.select("line", "unit"), on="line").select(
        "unit", "line", btn=pl.col("code") // PINS, quantity=pl.lit(1, pl.Int64))])  # fmt: skip
    asked = asked.join(pin_demands(rows).select("btn").unique(), on="btn", how="semi")
    gone = burnt.group_by("btn").agg(gone=pl.len().cast(pl.Int64))
    total = asked.group_by("btn").agg(pl.col("quantity").sum()).join(gone, on="btn", how="left")
    close = total.filter(pl.col("quantity") + pl.col("gone").fill_null(0) > _FEWEST_PINS)
    free = free_pins(close["btn"], burnt["code"]).join(total, on="btn")
    scarce = free.filter(pl.col("quantity") > pl.col("free"))
    claims = asked.join(scarce.select("btn"), on="btn", how="semi").sort("line")
    claims = claims.with_columns(good=~pl.col("unit").is_in(bad.implode()))
    late = first_come(claims, dict(scarce.select("btn", "free").iter_rows()))
    after = rows.filter(pl.col("line").is_in(late))
    drawn = pl.col("code_type") == BTN4
    return pl.concat([rule(after, drawn, "BTN_EXHAUSTED", "btn"), rule(after, ~drawn, "CODE_TAKEN", "code")])


def pin_demands(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that ask for PINs of a BTN that can have some: `unit`, `line`, `btn` and `quantity` (integers)."""
    well = rows.filter(
        (pl.col("code_type") == BTN4) & pl.col("btn").str.contains(_TELEPHONE) & ~has_forbidden_sequence(pl.col("btn"))
        & pl.col("quantity").str.contains(r"^[1-9][0-9]{0,7}$")
    )  # fmt: skip
    return well.select("unit", "line", pl.col("btn", "quantity").cast(pl.Int64))
