"""What the sheet Orders of our template offers and stops, as plain data: checks of what is typed, and the lists they use.

Lists are kept on a hidden sheet under defined names, because a validation formula may have only 255 characters. All of
this is a convenience: a dropped file is judged by `schemas` and the registry alone.
"""

from collections.abc import Iterable
from textwrap import shorten
from typing import Final, Literal, NamedTuple

import polars as pl

from pipelines.excel.book import legible
from pipelines.excel.checks import Check, SheetRules
from pipelines.excel.look import column_letter
from pipelines.excel.presentation import telephone
from schemas.actions import ACTIONS
from schemas.codes import FORBIDDEN_SEQUENCES
from schemas.headers import Column
from schemas.orders import BTN4, CODE_TYPES, COLUMNS, FLAGS, NAMES, RANDOM, SPECIFIED
from schemas.reasons import REASONS

_DIGITS: Final = "0123456789"
_GAPS: Final = " ,;\n"  # what may stand between two codes of a cell
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + _DIGITS + "-_"
_AT: Final = {name: f"${column_letter(place)}2" for place, name in enumerate(NAMES)}
"""Each column's cell in the first row that is filled in, as its formulas refer to it."""


class Rule(NamedTuple):
    """What may be typed into a column: the validation's type and formula, and the reasons whose words stop the rest."""

    kind: Literal["list", "custom", "textLength"]
    formula: str
    reasons: tuple[str, ...]
    prompt: str
    blank: bool = True  # Excel lets everything pass when blanks are ignored and a cell that the formula names is blank


class Offer(NamedTuple):
    """The part of the catalogue that the workbook may show.

    `products`: `account`, `product`, `description`; `numbers`: `access_number`, `account` (empty: everyone),
    `description`; `special`: `account`, `access_number` for accounts with numbers of their own, those of everyone too.
    """

    products: pl.DataFrame
    numbers: pl.DataFrame
    special: pl.DataFrame


def sheet_rules(offer: Offer) -> SheetRules:
    """The rules of a sheet Orders for whoever may order what is offered."""
    return SheetRules([_check(column) for column in COLUMNS], _lists(offer))


def offered(accounts: pl.DataFrame, access_numbers: pl.DataFrame, reseller: str) -> Offer:
    """What a reseller may order on: nothing in it reveals another's accounts and numbers."""
    mine = legible(accounts.filter((pl.col("reseller") == reseller) | pl.lit(not reseller))).sort("account", "product")
    numbers = legible(access_numbers).with_columns(telephone("access_number")).sort("account", "access_number")
    own = numbers.join(mine, on="account", how="semi", maintain_order="left")
    everyones = numbers.filter(pl.col("account") == "")
    both = own.select("account").unique().join(everyones.select("access_number"), how="cross")
    special = pl.concat([own.select("account", "access_number"), both.select("account", "access_number")])
    return Offer(
        mine.select("account", "product", "description"),
        pl.concat([everyones, own]).select("access_number", "account", "description"),
        special.unique(maintain_order=True).sort("account", maintain_order=True),
    )


def _only(signs: str, text: str, length: str = "") -> str:
    """The formula that nothing but the signs of the list `signs` stands in a text."""
    count = {"Digits": len(_DIGITS), "Signs": len(_DIGITS + _GAPS), "Letters": len(_LETTERS)}[signs]
    return f'SUMPRODUCT(LEN(SUBSTITUTE({text},{signs},"")))={count - 1}*{length or f"LEN({text})"}'


def _none(parts: str, text: str) -> str:
    """The formula that none of the list `parts` stands in a text."""
    return f"SUMPRODUCT(--ISNUMBER(FIND({parts},{text})))=0"


def _code() -> str:
    """One code, or several with gaps between them: 14 digits each, none of which begins with 0 or holds a run."""
    cell = _AT["code"]
    count = f'{len(_DIGITS)}*LEN({cell})-SUMPRODUCT(LEN(SUBSTITUTE({cell},Digits,"")))'
    several = f"SUMPRODUCT(--ISNUMBER(FIND(Gaps,{cell})))>0"
    allowed = _none("Forbidden", f'" "&{cell}')
    return f"AND({_only('Signs', cell)},MOD({count},14)=0,OR(LEN({cell})=14,{several}),{allowed})"


def _btn() -> str:
    number = f'SUBSTITUTE({_AT["btn"]},"-","")'
    first = f'LEFT({number})>"1",MID({number},4,1)>"1"'
    return f"AND(LEN({number})=10,{_only('Digits', number, '10')},{first},{_none('Runs', number)})"


def _dependent(of: str, items: str, otherwise: str) -> str:
    """The part of the list `items` next to which the list `of` (sorted) has the row's customer account."""
    account = _AT["account"]
    part = f'OFFSET({items},MATCH({account}&"",{of},0)-1,0,COUNTIF({of},{account}),1)'
    return f"IF(COUNTIF({of},{account})=0,{otherwise},{part})"


_QUANTITY: Final = f'AND(LEN({_AT["quantity"]})<9,LEFT({_AT["quantity"]})>"0",{_only("Digits", _AT["quantity"])})'
_ORDER_REF: Final = f"AND(LEN({_AT['customer_order_id']})<16,{_only('Letters', 'UPPER(' + _AT['customer_order_id'] + ')')})"
_TAKES: Final = f"COUNTIF(CardActions,{_AT['action']})>0"

RULES: Final = {
    "action": Rule("list", "Actions", ("ACTION_UNKNOWN",),
                   "Choose what is to be done. Add, or an empty cell, makes new codes; the others take cards that you have."),
    "service_type": Rule("list", "ServiceTypes", ("SERVICE_TYPE",), "Choose Card, or leave the cell empty."),
    "account": Rule("list", "Accounts", ("ACCOUNT_UNKNOWN",),
                    "Choose one of your accounts. Do this first: the next lists depend on it."),
    "product": Rule("list", _dependent("ProductsOf", "Products", "Nothing"), ("PRODUCT_UNKNOWN",),
                    "Choose a product account of this row's customer account."),
    "access_number": Rule("list", _dependent("NumbersOf", "Numbers", "EveryonesNumbers"), ("ACCESS_NOT_OFFERED",),
                          "Choose one of the numbers that are offered to this row's customer account."),
    "origin": Rule("list", "YesNo", ("ORIGIN_FLAG",),
                   "May calls begin abroad? Empty means No; with Change, empty means: leave it as it is."),
    "termination": Rule("list", "YesNo", ("TERMINATION_FLAG",),
                        "May calls go abroad? Empty means No; with Change, empty means: leave it as it is."),
    "customer_order_id": Rule("custom", _ORDER_REF, ("ORDER_ID_FORMAT",),
                      "Your own ID of the order: 1 to 15 letters, digits, - or _. Use it once in an account. Rows of one "
                      "account with the same ID are one order."),
    "comments": Rule("textLength", "255", ("COMMENT_TOO_LONG",), "What you want to note, up to 255 characters."),
    "code_type": Rule("list", "CodeTypes", ("CODE_TYPE_UNKNOWN",),
                      "Specified: you name the codes. Random: we choose them. BTN+4: we add 4-digit PINs to your BTN."),
    "code": Rule("custom", _code(), ("CODE_FORMAT", "CODE_LEADING_ZERO", "CODE_RUN"),
                 "14 digits, the first not 0; no four digits in a row equal (4444), rising (1234) or falling (4321). "
                 "Between several codes in a cell: a comma, a space or a line break."),
    "quantity": Rule("custom", _QUANTITY, ("QUANTITY_FORMAT",),
                     "With Random: how many codes. With BTN+4: how many PINs. A whole number, 1 or more."),
    "btn": Rule("custom", _btn(), ("BTN_FORMAT", "BTN_IMPOSSIBLE"),
                "With BTN+4: a 10-digit telephone number, such as 303-555-0142. No four digits in a row may be equal, rise "
                "or fall."),
    "target_order_id": Rule("custom", _TAKES, ("CODE_TYPE_CONFLICT",),
                   "Not with Add. The Order ID of an earlier order, from its confirmation: the row applies to all of its "
                   "cards. Leave Code empty.", blank=False),
}  # fmt: skip

_UNUSED: Final = {
    "code_type": _TAKES,
    "code": f'AND(NOT({_TAKES}),OR({_AT["code_type"]}="{RANDOM}",{_AT["code_type"]}="{BTN4}"))',
    "quantity": f'OR({_TAKES},{_AT["code_type"]}="{SPECIFIED}")',
    "btn": f'OR({_TAKES},{_AT["code_type"]}="{SPECIFIED}",{_AT["code_type"]}="{RANDOM}")',
    "target_order_id": f'AND({_AT["account"]}<>"",NOT({_TAKES}))',
    **dict.fromkeys(("product", "access_number", "origin", "termination"), f"AND({_TAKES},COUNTIF(Changes,{_AT['action']})=0)"),
}
"""When a cell of the column isn't used by its row, and turns grey."""


def _check(column: Column) -> Check:
    """The check of a column; one without a rule only says what may stand in it."""
    rule = RULES.get(column.name)
    title, unused = column.header[:32], _UNUSED.get(column.name, "")
    if rule is None:
        return Check(title, shorten(plain(column.value), 255), "", "", True, "", unused)
    error = shorten(" ".join(REASONS[reason].words for reason in rule.reasons), 225, placeholder=" …")
    return Check(title, shorten(rule.prompt, 255), rule.kind, rule.formula, rule.blank, error, unused)


def plain(text: str) -> str:
    """The description of a column as a sentence."""
    text = text.replace("`", "")
    return text[:1].upper() + text[1:]


def _lists(offer: Offer) -> dict[str, list[str]]:
    """The lists, by the names under which formulas know them."""
    everyones = offer.numbers.filter(pl.col("account") == "")["access_number"]
    items: dict[str, Iterable[str]] = {
        "Actions": ACTIONS,
        "CardActions": [action.name for action in ACTIONS.values() if action.cards_in],
        "Changes": [action.name for action in ACTIONS.values() if action.changes],
        "ServiceTypes": ["Card"],
        "CodeTypes": dict.fromkeys(CODE_TYPES.values()),
        "YesNo": dict.fromkeys(FLAGS.values()),
        "Accounts": offer.products["account"].unique(maintain_order=True),
        "ProductsOf": offer.products["account"],
        "Products": offer.products["product"],
        "EveryonesNumbers": everyones.unique(maintain_order=True),
        "NumbersOf": offer.special["account"],
        "Numbers": offer.special["access_number"],
        "Runs": FORBIDDEN_SEQUENCES,
        "Forbidden": [*FORBIDDEN_SEQUENCES, *(f"{gap}0" for gap in _GAPS)],
        "Digits": _DIGITS,
        "Gaps": _GAPS,
        "Signs": _DIGITS + _GAPS,
        "Letters": _LETTERS,
        "Nothing": [],
    }
    return {name: list(texts) for name, texts in items.items()}
