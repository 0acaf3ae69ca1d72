"""`cards template`: an order workbook for one reseller, which catches mistakes while they are typed."""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import polars as pl
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.common.errors import UsageError
from pipelines.excel import look
from pipelines.excel.checks import Check
from pipelines.excel.openpyxl_package import save
from pipelines.excel.openpyxl_style import Painter, add_lists, apply_checks, set_up_page, set_width
from pipelines.excel.order_rules import Offer, offered, plain, sheet_rules
from schemas.actions import ACTIONS, Action, issuing
from schemas.codes import FORBIDDEN_SEQUENCES
from schemas.orders import BTN4, COLUMNS, HEADERS, NAMES, RANDOM, SPECIFIED

_LEAST: Final = 10
_WIDTHS: Final = {"customer_order_id": 18, "comments": 30, "code": 33}

_LABELS, _WORDS = 31, 81

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
    ("rejections.xlsx", "Every row that was not placed, with what to fix. Fix the marked cells and resubmit this workbook."),
    ("release-<Order ID>-<date>.xlsx", "The codes of an order that the network has confirmed. These are safe to print."),
)
_WARNING: Final = (
    "Do not print or hand out a code before it stands in a release file. Until then the network doesn't know it, and a "
    "code that the network refuses will never work."
)
_RULE: Final = (
    "A code has 14 digits. The first is not 0, and no four digits in a row are equal (4444), rise by one (1234) or fall by "
    "one (4321). A BTN+4 code begins with its BTN, so the same holds for the BTN."
)


def write_template(path: Path, accounts: pl.DataFrame, access_numbers: pl.DataFrame, reseller: str) -> None:
    """Write the order workbook of a reseller; of all accounts, when `reseller` is empty.

    Raises UsageError when the catalogue has nothing that could be ordered with it.
    """
    offer = offered(accounts, access_numbers, reseller)
    model = _model(offer)
    if not model:
        whose = f"for “{reseller}”" if reseller else "yet"
        raise UsageError(f"The catalogue has no account with an access number {whose}. Load one: cards catalogue load FILE.")
    book, painter = Workbook(), Painter()
    page = book.active
    assert isinstance(page, Worksheet)
    page.title = "Orders"
    rules = sheet_rules(offer)
    add_lists(book, painter, rules.lists)
    _orders(page, painter, rules.checks)
    _instructions(book.create_sheet("Instructions", 1), painter, reseller)
    titles, widths = ["Example", *HEADERS.values()], [52, *_widths()]
    painter.table(book.create_sheet("Examples", 2), "Examples", titles, _lines(examples(model)), widths)
    _accounts(book.create_sheet("Accounts", 3), painter, offer)
    save(book, path, _title(reseller))


def _model(offer: Offer) -> dict[str, str]:
    """Account, product and access number that go together, for the examples."""
    everyones = offer.numbers.filter(pl.col("account") == "").join(offer.products.select("account").unique(), how="cross")
    numbers = pl.concat(
        [offer.special, everyones.select("account_right", "access_number").rename({"account_right": "account"})]
    )
    paired = offer.products.join(numbers, on="account", maintain_order="left_right")
    return next(paired.select("account", "product", "access_number").iter_rows(named=True), {})


def _orders(page: Worksheet, painter: Painter, checks: list[Check]) -> None:
    painter.table(page, "Orders", list(HEADERS.values()), [], _widths())
    apply_checks(page, {look.column_letter(place): check for place, check in enumerate(checks)})
    page.sheet_properties.tabColor = look.BLUE
    page.print_options.gridLines = True


def _widths() -> list[int]:
    return [max(_WIDTHS.get(column.name, 0), look.column_width(column.header, _LEAST)) for column in COLUMNS]


def _instructions(page: Worksheet, painter: Painter, reseller: str) -> None:
    inbox = f"your folder inbox/{reseller}" if reseller else "your inbox folder"
    outbox = f"your folder outbox/{reseller}" if reseller else "your outbox folder"
    steps = [(f"Step {number}", text.format(inbox=inbox, outbox=outbox)) for number, text in enumerate(_STEPS, 1)]
    columns = [(column.header, plain(column.value)) for column in COLUMNS]
    kinds = [(kind, text) for kind, (_, text) in _KINDS.items()]
    for place, width in ((1, _LABELS), (2, _WORDS)):
        set_width(page, place, width)
    page.sheet_view.showGridLines = False
    painter.put(page["A1"], _title(reseller), look.TITLE)
    sections: list[tuple[str, Iterable[tuple[str, str]], str]] = [
        ("What to do", steps, ""), ("What comes back", _ANSWERS, ""), ("", [("Do not print yet", _WARNING)], look.AMBER),
        ("Which codes you get", kinds, ""), ("", [("The number rule", _RULE)], ""), ("What to write where", columns, ""),
    ]  # fmt: skip
    line = 2
    for title, rows, color in sections:
        if title:
            line += 2
            painter.put(page.cell(line - 1, 1), title, look.SECTION)
        for label, text in rows:
            _labelled(page, painter, line, label, text, color)
            line += 1
    set_up_page(page, look.page_of(_LABELS + _WORDS), repeated=False)


def _title(reseller: str) -> str:
    return f"How to order calling cards{f' — {reseller}' if reseller else ''}"


def _labelled(page: Worksheet, painter: Painter, line: int, label: str, text: str, color: str) -> None:
    """A line of the instructions: what it is about, and the words."""
    words = look.WRAPPED
    painter.put(page.cell(line, 1), label, words._replace(bold=True, fill=color or look.PALE))
    painter.put(page.cell(line, 2), text, words._replace(fill=color))
    page.row_dimensions[line].height = look.text_height(text, _WORDS)


def _accounts(page: Worksheet, painter: Painter, offer: Offer) -> None:
    """What the numbers in the lists are."""
    titles = ["Customer Account Number", "Product Account Number", "Description"]
    painter.table(page, "CustomerAccounts", titles, offer.products.iter_rows(), [17, 17, 36])
    whom = pl.when(pl.col("account") == "").then(pl.lit("every account")).otherwise("account").alias("account")
    numbers = offer.numbers.with_columns(whom).iter_rows()
    painter.table(page, "AccessNumbers", ["Access Number", "Offered To", "Description"], numbers, [17, 17, 36], first=5)


def examples(model: dict[str, str]) -> list[dict[str, str]]:
    """Rows of worked orders, one order for each code type and action: `example` says what it shows, the others are cells.

    `model`: an account, product and access number that go together.
    """
    codes = _sample_codes()
    rows: list[dict[str, str]] = []
    number = count(1)
    for action in ACTIONS.values():
        new = action.name in issuing()
        if action.cancels:
            name = f"{action.name}: take back an order that waits for approval"
            examples = [[{"example": name}]]
        else:
            examples = _new(action, codes) if new else _taking(action, model, codes)
        for lines in examples:
            order = {"action": action.name, "account": model["account"], "customer_order_id": f"EXAMPLE-{next(number)}"}
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
    by_order = {"example": f"{what}: all cards of an Order ID", **new, "target_order_id": f"{model['account']}-1"}
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
