"""What the catalogue workbook is: who may order on which accounts, and which access numbers are offered to whom."""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas.headers import Column
from schemas.rules import check, present

ACCEPTANCES: Final = ("whole", "partial")
RESERVED: Final = ("network", "reconciliation", "house")
"""Names of folders of ours, which no reseller can have."""

ACCOUNTS: Final = (
    Column("reseller", "Reseller", (), "name of the reseller's folder: small letters, digits, -, _"),
    Column("account", "Customer Account Number", ("Customer Account", "CAN"), "8 digits"),
    Column("product", "Product Account Number", ("Product Account", "PAN"), "one product account a row"),
    Column("description", "Description", (), "free text"),
    Column("acceptance", "Acceptance", (), "`whole` (also when empty) or `partial`; the same for all of a reseller"),
)
ACCESS_NUMBERS: Final = (
    Column("access_number", "Access Number", (), "10 digits"),
    Column("account", "Customer Account Number", ("Customer Account", "CAN"), "8 digits, or empty for everyone"),
    Column("description", "Description", (), "free text"),
)

_reseller = pl.col("reseller")
_account = check(pl.col("account").str.contains(r"^[0-9]{8}$"), "not 8 digits")

ACCOUNTS_SCHEMA = pa.DataFrameSchema(
    {
        "reseller": pa.Column(
            pl.String,
            [
                present("reseller", "empty"),
                check(_reseller.str.contains(r"^[a-z0-9][a-z0-9_-]{0,63}$"), "not small letters, digits, - or _"),
                check(~_reseller.is_in(RESERVED), "a reserved name"),
            ],
            nullable=True,
        ),
        "account": pa.Column(pl.String, [present("account", "empty"), _account], nullable=True),
        "product": pa.Column(
            pl.String,
            [present("product", "empty"), check(pl.col("product").str.contains(r"^[\w./-]{1,30}$"), "not a number")],
            nullable=True,
        ),
        "acceptance": pa.Column(
            pl.String, check(pl.col("acceptance").is_in(ACCEPTANCES), "neither whole nor partial"), nullable=True
        ),
    }
)
ACCESS_NUMBERS_SCHEMA = pa.DataFrameSchema(
    {
        "access_number": pa.Column(
            pl.String,
            [
                present("access_number", "empty"),
                check(pl.col("access_number").str.contains(r"^[2-9][0-9]{9}$"), "not 10 digits"),
            ],
            nullable=True,
        ),
        "account": pa.Column(pl.String, _account, nullable=True),
    }
)
