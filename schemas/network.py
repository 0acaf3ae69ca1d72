"""What an order-ID report of the network is: which codes it holds under which Order ID."""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas.codes import CODES
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
                present("order_id", "REPORT_ORDER_ID"),
                check(pl.col("order_id").str.contains(r"^[A-Za-z0-9_-]{1,40}$"), "REPORT_ORDER_ID"),
            ],
            nullable=True,
        ),
        "code": pa.Column(
            pl.String,
            [*[c for c in CODES.columns["code"].checks if c.error in ("CODE_ROUNDED", "CODE_FORMAT")]],
            nullable=True,
        ),
    }
)
