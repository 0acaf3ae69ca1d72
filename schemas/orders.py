"""What an order file is: its columns, their spellings, and the rules for the cells of one row.

Source: "Order files" of the product specification.
"""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas import actions, telephone
from schemas.codes import has_forbidden_sequence
from schemas.headers import Column, by_header
from schemas.rules import check, present

COLUMNS: Final = (
    Column("action", "Action", ("Act", "Order Action", "Activity"),
           "`Add` (also when empty), `Change`, `Disconnect`, `Block`, `Unblock`, or the first letter; `Cancel`"),
    Column("service_type", "Service Type", ("Service", "Svc Type"), "`Card`, or empty"),
    Column("account", "Customer Account Number", ("Customer Account", "Account", "Account Number", "Acct", "CAN"),
           "8 digits"),
    Column("product", "Product Account Number", ("Product Account", "Product", "PAN"),
           "one that belongs to the customer account"),
    Column("access_number", "Access Number", ("Access", "Access No", "Access Nbr", "Dial-in Number"),
           "10 digits, any punctuation; one that is offered to the customer account"),
    Column("origin", "International Origin", ("Intl Origin", "Int'l Origin", "International Orig", "Intl Orig"),
           "`Yes` or `No`; empty is `No` (for `Change`: as it was)"),
    Column("termination", "International Termination",
           ("Intl Termination", "Int'l Termination", "International Term", "Intl Term"),
           "`Yes` or `No`; empty is `No` (for `Change`: as it was)"),
    Column("customer_order_id", "Customer Order ID",
           ("Customer Order", "Cust Order ID", "Customer Order Number", "PON", "PO Number", "Purchase Order Number"),
           "1–15 of letters, digits, `-`, `_`; unique in the customer account"),
    Column("comments", "Comments", ("Comment", "Notes", "Note", "Remarks"), "free text, 255 characters"),
    Column("code_type", "Code Type", ("Type", "Card Type", "Type of Code"),
           "`Specified`, `Random`, `BTN+4`; may be empty where the other cells imply it"),
    Column("code", "Code", ("Codes", "Authorization Code", "Authorization Codes", "Auth Code", "Card Number"),
           "14 digits; one a row, or several in a cell"),
    Column("quantity", "Quantity", ("Qty", "Count", "Number of Codes", "Number of PINs"), "how many codes or PINs"),
    Column("btn", "BTN", ("Billing Telephone Number", "Billing Number", "Billing Telephone"),
           "10-digit billing telephone number"),
    Column("target_order_id", "Order ID", ("Of Order ID", "Cards of Order ID"),
           "not for `Add`: take all cards of this Order ID, instead of codes"),
)  # fmt: skip
"""The columns of an order file, in the order in which reports and templates have them."""

NAMES: Final = [column.name for column in COLUMNS]
HEADERS: Final = {column.name: column.header for column in COLUMNS}
BY_HEADER: Final = by_header(COLUMNS)

ORDER_FIELDS: Final = (
    "action", "service_type", "product", "access_number", "origin", "termination", "comments", "code_type",
)  # fmt: skip
"""The columns in which all rows of an order agree (the customer account and Customer Order ID make it one order)."""

SPECIFIED, RANDOM, BTN4 = "Specified", "Random", "BTN+4"

FLAGS: Final = {
    **dict.fromkeys(("yes", "y", "true", "1"), "Yes"),
    **dict.fromkeys(("no", "n", "false", "0"), "No"),
}
CODE_TYPES: Final = {
    **dict.fromkeys(("specified", "s"), SPECIFIED),
    **dict.fromkeys(("random", "r"), RANDOM),
    **dict.fromkeys(("btn+4", "btn4", "btn + 4", "btn-4", "b"), BTN4),
}

ACCOUNT: Final = r"^[0-9]{8}$"
TELEPHONE: Final = telephone.NUMBER


def rows_schema(max_quantity: int) -> pa.DataFrameSchema:
    """The rules for one row, on normalized text (see `pipelines.orders.normalize`); a row's absent cells are null."""
    text = pl.String
    return pa.DataFrameSchema(
        {
            "action": pa.Column(text, check(lambda cell: cell.is_in(list(actions.ACTIONS)), "ACTION_UNKNOWN")),
            "service_type": pa.Column(text, check(lambda cell: cell == "Card", "SERVICE_TYPE")),
            "account": pa.Column(
                text,
                [
                    present("ACCOUNT_FORMAT"),
                    check(lambda cell: cell.str.contains(ACCOUNT), "ACCOUNT_FORMAT"),
                ],
                nullable=True,
            ),
            "access_number": pa.Column(text, check(lambda cell: cell.str.contains(TELEPHONE), "ACCESS_FORMAT"), nullable=True),
            "origin": pa.Column(text, check(lambda cell: cell.is_in(["Yes", "No"]), "ORIGIN_FLAG"), nullable=True),
            "termination": pa.Column(text, check(lambda cell: cell.is_in(["Yes", "No"]), "TERMINATION_FLAG"), nullable=True),
            "customer_order_id": pa.Column(
                text,
                [
                    present("ORDER_ID_MISSING"),
                    check(lambda cell: cell.str.contains(r"^[A-Za-z0-9_-]{1,15}$"), "ORDER_ID_FORMAT"),
                ],
                nullable=True,
            ),
            "comments": pa.Column(text, check(lambda cell: cell.str.len_chars() <= 255, "COMMENT_TOO_LONG"), nullable=True),
            "code_type": pa.Column(
                text, check(lambda cell: cell.is_in([SPECIFIED, RANDOM, BTN4]), "CODE_TYPE_UNKNOWN"), nullable=True
            ),
            "quantity": pa.Column(
                text,
                [
                    check(lambda cell: cell.str.contains(r"^[1-9][0-9]{0,17}$"), "QUANTITY_FORMAT"),
                    check(
                        lambda cell: (cell.cast(pl.Int64, strict=False) <= max_quantity).fill_null(value=True), "QUANTITY_LIMIT"
                    ),
                ],
                nullable=True,
            ),
            "btn": pa.Column(
                text,
                [
                    check(lambda cell: cell.str.contains(TELEPHONE), "BTN_FORMAT"),
                    check(lambda cell: ~(cell.str.contains(TELEPHONE) & has_forbidden_sequence(cell)), "BTN_IMPOSSIBLE"),
                ],
                nullable=True,
            ),
        }
    )
