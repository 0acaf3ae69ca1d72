"""What the catalogue workbook is: who may order on which accounts, and which access numbers are offered to whom."""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas import sources, telephone
from schemas.headers import Column
from schemas.notices import ADDRESS
from schemas.rules import check, present

ACCEPTANCES: Final = ("whole", "partial")
RESERVED: Final = sources.RESERVED

ACCOUNTS: Final = (
    Column("reseller", "Reseller", (), "name of the reseller's folder: small letters, digits, -, _"),
    Column("account", "Customer Account Number", ("Customer Account", "CAN"), "8 digits"),
    Column("product", "Product Account Number", ("Product Account", "PAN"), "one product account a row"),
    Column("description", "Description", (), "free text"),
    Column("acceptance", "Acceptance", (), "`whole` (also when empty) or `partial`; the same for all of a reseller"),
    Column("notify", "Notify", (), "where the reseller is notified: mail or Apprise addresses, separated by spaces"),
    Column(
        "approve_above",
        "Approve Above",
        (),
        "codes that an order may ask for before it waits for approval; empty: as the setting says",
    ),
)
ACCESS_NUMBERS: Final = (
    Column("access_number", "Access Number", (), "10 digits, the first and the fourth 2–9; any punctuation"),
    Column("account", "Customer Account Number", ("Customer Account", "CAN"), "8 digits, or empty for everyone"),
    Column("description", "Description", (), "free text"),
)
BILLING_NUMBERS: Final = (
    Column("btn", "BTN", ("Billing Telephone Number", "Billing Number"), "10-digit billing telephone number"),
    Column("account", "Customer Account Number", ("Customer Account", "CAN"), "8 digits: the account that it belongs to"),
)

_account = check(lambda account: account.str.contains(r"^[0-9]{8}$"), "not 8 digits")

ACCOUNTS_SCHEMA = pa.DataFrameSchema(
    {
        "reseller": pa.Column(
            pl.String,
            [
                present("empty"),
                check(lambda reseller: reseller.str.contains(sources.RESELLER), "not small letters, digits, - or _"),
                check(lambda reseller: ~reseller.is_in(RESERVED), "a reserved name"),
            ],
            nullable=True,
        ),
        "account": pa.Column(pl.String, [present("empty"), _account], nullable=True),
        "product": pa.Column(
            pl.String,
            [present("empty"), check(lambda product: product.str.contains(r"^[\w./-]{1,30}$"), "not a number")],
            nullable=True,
        ),
        "acceptance": pa.Column(
            pl.String, check(lambda acceptance: acceptance.is_in(ACCEPTANCES), "neither whole nor partial"), nullable=True
        ),
        "notify": pa.Column(
            pl.String,
            check(
                lambda notify: (
                    notify.str.split(" ").list.eval(pl.element().filter(pl.element() != "").str.contains(ADDRESS)).list.all()
                ),
                "not mail or Apprise addresses, separated by spaces",
            ),
            nullable=True,
        ),
        "approve_above": pa.Column(
            pl.String,
            check(lambda codes: codes.str.contains(r"^[1-9][0-9]{0,8}$"), "not a whole number from 1"),
            nullable=True,
        ),
    }
)
BILLING_NUMBERS_SCHEMA = pa.DataFrameSchema(
    {
        "btn": pa.Column(
            pl.String, [present("empty"), *(check(rule, wrong) for wrong, rule in telephone.RULES.items())], nullable=True
        ),
        "account": pa.Column(pl.String, [present("empty"), _account], nullable=True),
    }
)
ACCESS_NUMBERS_SCHEMA = pa.DataFrameSchema(
    {
        "access_number": pa.Column(
            pl.String,
            [
                present("empty"),
                *(check(rule, wrong) for wrong, rule in telephone.RULES.items()),
            ],
            nullable=True,
        ),
        "account": pa.Column(pl.String, _account, nullable=True),
    }
)
