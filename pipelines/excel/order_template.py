"""`cards template`: an order workbook for one reseller, which catches mistakes while they are typed.

Lists and rules are kept on a hidden sheet under defined names, because a validation formula may have only 255
characters. The workbook is a convenience: a dropped file is judged by `schemas` and the registry alone.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from math import ceil
from pathlib import Path
from textwrap import shorten
from typing import Final, Literal, NamedTuple

import polars as pl
from openpyxl import Workbook
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.common.errors import UsageError
from pipelines.excel.book import legible
from pipelines.excel.openpyxl_style import AMBER, BLUE, GREY, LINE, PALE, fill, font, headers, printable, put, table
from schemas.actions import ACTIONS, Action, issuing
from schemas.codes import FORBIDDEN_SEQUENCES
from schemas.orders import BTN4, CODE_TYPES, COLUMNS, FLAGS, HEADERS, NAMES, RANDOM, SPECIFIED
from schemas.reasons import REASONS

_LAST: Final = 1_048_576  # Excel's last row: validation and text format never end
_DIGITS: Final = "0123456789"
_GAPS: Final = " ,;\n"  # what may stand between two codes of a cell
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + _DIGITS + "-_"
_AT: Final = {name: f"${get_column_letter(place)}2" for place, name in enumerate(NAMES, 1)}
"""Each column's cell in the first row that is filled in, as its formulas refer to it."""

_WIDTHS: Final = {"action": 12, "service_type": 12, "order_ref": 18, "comments": 30, "code": 33, "quantity": 10}

_KINDS: Final = {
    SPECIFIED: ("your own codes, in two rows", "Fill in Code. You get exactly these codes."),
    RANDOM: ("codes chosen for you", "Fill in Quantity. You get that many codes, chosen for you."),
    BTN4: ("PINs for a telephone number",
           "Fill in BTN and Quantity. You get that many codes: the BTN, followed by a 4-digit PIN that is chosen for you."),
}  # fmt: skip
"""What each code type gives: in short for an example, and with what to do for it."""
_STEPS: Final = (
    "Go to the sheet Orders and fill in a row for each order. Leave the headers as they are.",
    "Begin with the Customer Account Number: the lists of products and access numbers depend on it. See the sheet Accounts.",
    "Choose from the list where a cell has an arrow. A cell that turns grey isn't used by its row: leave it empty.",
    "Give each order a Customer Order ID that is new in its account. See the sheet Examples (its codes are made up).",
    "An order may have several rows: give them the same Customer Account Number and the same Customer Order ID.",
    "Save the workbook as .xlsx, close it, and drop it into {inbox}. Any file name will do.",
    "Within some minutes the file is gone from there, and the answer lies in a new folder in {outbox}.",
)
_ANSWERS: Final = (
    ("confirmation.xlsx", "Every order that was placed, with its Order ID and its codes. Don't print the codes yet."),
    ("rejections.xlsx", "Every row that was not placed, with what to fix. Mend the marked cells and drop this workbook again."),
    ("release-<Order ID>.xlsx", "The codes of an order that the network has confirmed. These are safe to print."),
)
_WARNING: Final = (
    "Do not print or hand out a code before it stands in a release file. Until then the network doesn't know it, and a "
    "code that the network refuses will never work."
)
_RULE: Final = (
    "A code has 14 digits. The first is not 0, and nowhere are four digits in a row equal (4444), rising by one (1234) "
    "or falling by one (4321). Codes begin with their BTN, so that a BTN may have no such four digits either."
)


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


def write_template(path: Path, accounts: pl.DataFrame, access_numbers: pl.DataFrame, reseller: str) -> None:
    """Write the order workbook of a reseller; of all accounts, when `reseller` is empty.

    Raises UsageError when the catalogue has nothing that could be ordered with it.
    """
    offer = offered(accounts, access_numbers, reseller)
    model = _model(offer)
    if not model:
        whose = f"for “{reseller}”" if reseller else "yet"
        raise UsageError(f"The catalogue has no account with an access number {whose}. Load one: cards catalog load FILE.")
    book = Workbook()
    page = book.active
    assert isinstance(page, Worksheet)
    page.title = "Orders"
    _lists(book, offer)
    _orders(page)
    _instructions(book.create_sheet("Instructions", 1), reseller)
    table(book.create_sheet("Examples", 2), ["Example", *HEADERS.values()], _lines(examples(model)), [52, *_widths()])
    _accounts(book.create_sheet("Accounts", 3), offer)
    book.save(path)


def offered(accounts: pl.DataFrame, access_numbers: pl.DataFrame, reseller: str) -> Offer:
    """What a reseller may order on: nothing in it tells of another's accounts and numbers."""
    mine = legible(accounts.filter((pl.col("reseller") == reseller) | pl.lit(not reseller))).sort("account", "product")
    dashed = pl.col("access_number").str.replace(r"^(\d{3})(\d{3})(\d{4})$", "$1-$2-$3")
    numbers = legible(access_numbers).with_columns(dashed).sort("account", "access_number")
    own = numbers.join(mine, on="account", how="semi", maintain_order="left")
    everyones = numbers.filter(pl.col("account") == "")
    both = own.select("account").unique().join(everyones.select("access_number"), how="cross")
    special = pl.concat([own.select("account", "access_number"), both.select("account", "access_number")])
    return Offer(
        mine.select("account", "product", "description"),
        pl.concat([everyones, own]).select("access_number", "account", "description"),
        special.unique(maintain_order=True).sort("account", maintain_order=True),
    )


def _model(offer: Offer) -> dict[str, str]:
    """Account, product and access number that go together, for the examples."""
    everyones = offer.numbers.filter(pl.col("account") == "").join(offer.products.select("account").unique(), how="cross")
    numbers = pl.concat(
        [offer.special, everyones.select("account_right", "access_number").rename({"account_right": "account"})]
    )
    paired = offer.products.join(numbers, on="account", maintain_order="left_right")
    return next(paired.select("account", "product", "access_number").iter_rows(named=True), {})


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
    """The part of the list `items` beside which the list `of` (sorted) has the row's customer account."""
    account = _AT["account"]
    part = f'OFFSET({items},MATCH({account}&"",{of},0)-1,0,COUNTIF({of},{account}),1)'
    return f"IF(COUNTIF({of},{account})=0,{otherwise},{part})"


_QUANTITY: Final = f'AND(LEN({_AT["quantity"]})<9,LEFT({_AT["quantity"]})>"0",{_only("Digits", _AT["quantity"])})'
_ORDER_REF: Final = f"AND(LEN({_AT['order_ref']})<16,{_only('Letters', 'UPPER(' + _AT['order_ref'] + ')')})"
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
    "order_ref": Rule("custom", _ORDER_REF, ("ORDER_ID_FORMAT",),
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
    "target": Rule("custom", _TAKES, ("CODE_TYPE_CONFLICT",),
                   "Not with Add. The Order ID of an earlier order, from its confirmation: all its cards are taken, "
                   "instead of codes that you name.", blank=False),
}  # fmt: skip

_NOT_USED: Final = {
    "code_type": _TAKES,
    "code": f'AND(NOT({_TAKES}),OR({_AT["code_type"]}="{RANDOM}",{_AT["code_type"]}="{BTN4}"))',
    "quantity": f'OR({_TAKES},{_AT["code_type"]}="{SPECIFIED}")',
    "btn": f'OR({_TAKES},{_AT["code_type"]}="{SPECIFIED}",{_AT["code_type"]}="{RANDOM}")',
    "target": f'AND({_AT["account"]}<>"",NOT({_TAKES}))',
    **dict.fromkeys(("product", "access_number", "origin", "termination"), f"AND({_TAKES},COUNTIF(Changes,{_AT['action']})=0)"),
}
"""When a cell of the column isn't used by its row, and turns grey."""


def _orders(page: Worksheet) -> None:
    headers(page, list(HEADERS.values()))
    page.freeze_panes = "A2"
    for place, (column, width) in enumerate(zip(COLUMNS, _widths(), strict=True), 1):
        letter = get_column_letter(place)
        page.column_dimensions[letter].width = width
        page.column_dimensions[letter].number_format = "@"  # the whole column: Excel keeps what is typed as it is
        cells = f"{letter}2:{letter}{_LAST}"
        page.add_data_validation(_validation(column.header, RULES.get(column.name), column.value, cells))
        if column.name in _NOT_USED:
            page.conditional_formatting.add(cells, FormulaRule([_NOT_USED[column.name]], fill=fill(GREY)))  # type: ignore[no-untyped-call]
    page.sheet_properties.tabColor = BLUE
    page.print_options.gridLines = True
    printable(page)


def _validation(header: str, rule: Rule | None, value: str, cells: str) -> DataValidation:
    """The validation of a column; one without a rule only tells what may stand in it. Excel limits every text."""
    made = DataValidation(sqref=cells, promptTitle=header[:32], prompt=shorten(rule.prompt if rule else _plain(value), 255))
    made.showInputMessage = True
    if rule:
        made.type, made.formula1, made.allow_blank = rule.kind, rule.formula, rule.blank
        made.operator = "lessThanOrEqual" if rule.kind == "textLength" else None
        made.showErrorMessage, made.errorStyle, made.errorTitle = True, "stop", header[:32]
        made.error = shorten(" ".join(REASONS[reason].words for reason in rule.reasons), 225, placeholder=" …")
    return made


def _plain(text: str) -> str:
    text = text.replace("`", "")
    return text[:1].upper() + text[1:]


def _widths() -> list[int]:
    return [_WIDTHS.get(column.name, max(15, len(column.header) * 3 // 4)) for column in COLUMNS]


def _lists(book: Workbook, offer: Offer) -> None:
    """The hidden sheet: a list a column, under its name as header; formulas know it by that name."""
    page = book.create_sheet("Lists")
    page.sheet_state = "hidden"
    everyones = offer.numbers.filter(pl.col("account") == "")["access_number"]
    lists: dict[str, Iterable[str]] = {
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
    for place, (name, items) in enumerate(lists.items(), 1):
        rows = [name, *items]
        for line, item in enumerate(rows, 1):
            put(page.cell(line, place), item)
        letter = get_column_letter(place)
        page.column_dimensions[letter].width = 18
        area = f"Lists!${letter}$2:${letter}${max(2, len(rows))}"
        book.defined_names[name] = DefinedName(name, attr_text=area)


def _instructions(page: Worksheet, reseller: str) -> None:
    inbox = f"your folder inbox/{reseller}" if reseller else "your inbox folder"
    outbox = f"your folder outbox/{reseller}" if reseller else "your outbox folder"
    steps = [(f"Step {number}", text.format(inbox=inbox, outbox=outbox)) for number, text in enumerate(_STEPS, 1)]
    columns = [(column.header, _plain(column.value)) for column in COLUMNS]
    kinds = [(kind, text) for kind, (_, text) in _KINDS.items()]
    for letter, width in (("A", 28), ("B", 108)):
        page.column_dimensions[letter].width = width
    page.sheet_view.showGridLines = False
    put(page["A1"], f"How to order calling cards{f' — {reseller}' if reseller else ''}").font = font(BLUE, 16)
    sections: list[tuple[str, Iterable[tuple[str, str]], str]] = [
        ("What to do", steps, ""), ("What comes back", _ANSWERS, ""), ("", [("Do not print yet", _WARNING)], AMBER),
        ("Which codes you get", kinds, ""), ("", [("The number rule", _RULE)], ""), ("What to write where", columns, ""),
    ]  # fmt: skip
    line = 2
    for title, rows, color in sections:
        if title:
            line += 2
            put(page.cell(line - 1, 1), title).font = font(BLUE, 12)
        for label, text in rows:
            _labelled(page, line, label, text, color)
            line += 1
    printable(page, landscape=False)


def _labelled(page: Worksheet, line: int, label: str, text: str, color: str) -> None:
    """A line of the instructions: what it is about, and the words."""
    for cell, shade in ((put(page.cell(line, 1), label), PALE), (put(page.cell(line, 2), text), "FFFFFF")):
        cell.alignment, cell.border = Alignment("left", "center", wrap_text=True, indent=1), LINE
        cell.fill = fill(color or shade)
    page.cell(line, 1).font = font("000000")
    page.row_dimensions[line].height = 5 + 15 * ceil(len(text) / 118)


def _accounts(page: Worksheet, offer: Offer) -> None:
    """What the numbers in the lists are."""
    table(page, ["Customer Account Number", "Product Account Number", "Description"], offer.products.iter_rows(), [17, 17, 36])
    whom = pl.when(pl.col("account") == "").then(pl.lit("every account")).otherwise("account").alias("account")
    numbers = offer.numbers.with_columns(whom).iter_rows()
    table(page, ["Access Number", "Offered To", "Description"], numbers, [17, 17, 36], first=5)


def examples(model: dict[str, str]) -> list[dict[str, str]]:
    """Rows of worked orders, one order for each code type and action: `example` says what it shows, the others are cells.

    `model`: an account, product and access number that go together.
    """
    codes = _sample_codes()
    rows: list[dict[str, str]] = []
    number = count(1)
    for action in ACTIONS.values():
        new = action.name in issuing()
        for lines in _new(action, codes) if new else _taking(action, model, codes):
            order = {"action": action.name, "account": model["account"], "order_ref": f"EXAMPLE-{next(number)}"}
            rows += [{**order, **(model if new else {}), **line} for line in lines]
    return rows


def _new(action: Action, codes: Iterator[str]) -> list[list[dict[str, str]]]:
    """Orders for new codes, one of each code type; that of codes which are named has two rows."""
    flags = {"service_type": "Card", "origin": "No", "termination": "Yes", "comments": "for the October mailing"}
    cells = {SPECIFIED: [{"code": next(codes)}, {"code": f"{next(codes)}, {next(codes)}"}],
             RANDOM: [{"quantity": "25"}], BTN4: [{"btn": "303-555-0142", "quantity": "10"}]}  # fmt: skip
    return [
        [{"example": f"{action.name}, {kind}: {_KINDS[kind][0]}", **flags, "code_type": kind, **line} for line in cells[kind]]
        for kind in cells
    ]


def _taking(action: Action, model: dict[str, str], codes: Iterator[str]) -> list[list[dict[str, str]]]:
    """Orders for cards that exist: by their codes, and by the Order ID under which they came."""
    new = {"access_number": model["access_number"], "origin": "Yes"} if action.changes else {}
    what = f"{action.name}{' access number and origin' if action.changes else ''}"
    by_order = {"example": f"{what}: all cards of an Order ID", **new, "target": f"{model['account']}-1"}
    return [[{"example": f"{what}: one card", **new, "code": next(codes)}], [by_order]]


def _sample_codes() -> Iterator[str]:
    """Numbers that keep the number rule."""
    return (
        code
        for number in range(73_905_162_840_517, 10**14)
        if not any(run in (code := str(number)) for run in FORBIDDEN_SEQUENCES)
    )


def _lines(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    return ([row.get(name, "") for name in ("example", *NAMES)] for row in rows)
