"""What an order-ID report of the network is: which codes it holds under which Order ID."""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas.codes import CODE_RULES
from schemas.headers import Column, by_header
from schemas.rules import check, present

COLUMNS: Final = (
    Column("order_id", "Order ID", ("Order", "Order Number"), "the Order ID of the placement file"),
    Column("code", "Authorization Code", ("Code", "Auth Code", "Card Number"), "14 digits, or empty: nothing was placed"),
)
NAMES: Final = [column.name for column in COLUMNS]
BY_HEADER: Final = by_header(COLUMNS)

REPORT = pa.DataFrameSchema(
    {
        "order_id": pa.Column(
            pl.String,
            [
                present("REPORT_ORDER_ID"),
                check(lambda order_id: order_id.str.contains(r"^[A-Za-z0-9_-]{1,40}$"), "REPORT_ORDER_ID"),
            ],
            nullable=True,
        ),
        "code": pa.Column(pl.String, CODE_RULES, nullable=True),
    }
)

WORDS: Final = {
    "FILE_TYPE": "Not a spreadsheet or a text table that can be read. Send the report as .csv or .xlsx.",
    "FILE_UNREADABLE": "The report, or a row of it, can't be read; the value says why. Create it again.",
    "FILE_EMPTY": "There is no row below the header. A report names each order that it is about; an order of which nothing was "
    "placed has a row with its Order ID and no code.",
    "FILE_SET_ASIDE": "Processing this report failed twice, so it was set aside. Create it again, or ask the operator.",
    "COLUMN_MISSING": "A report has the columns Order ID and Authorization Code. Add this one to the header row.",
    "CODE_FORMAT": "A code has exactly 14 digits. Write all of them, or leave the cell empty where nothing was placed.",
    "CODE_ROUNDED": "A program has rounded this number and its digits are lost. Write codes as text.",
}
"""What to fix, for the people of the network, where the words for resellers (see `schemas.reasons`) would mislead them."""
