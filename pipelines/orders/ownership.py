"""What a source may name: the one place that decides it, before anything is asked of the registry.

Identity is the folder in which a file was dropped. A row that names an account of somebody else takes part in nothing:
no card, code, order or BTN of it is looked up, and the answer is the one that an account gets which does not exist.
"""

import polars as pl

from pipelines.common.frames import rows_in, rows_not_in
from schemas.findings import violations
from schemas.orders import ACCOUNT, BTN4, TELEPHONE


def accounts_by_file(accounts: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
    """The accounts that each file may order on: `file`, `account`, `product`, `acceptance`, `approve_above`. The operator may
    use all.

    `sources`: `file`, `source`, `operator` (whether the file is the operator's own).
    """
    own = sources.filter(~pl.col("operator")).join(accounts, left_on="source", right_on="reseller")
    everything = sources.filter("operator").join(accounts, how="cross")
    names = ("file", "account", "product", "acceptance", "approve_above")
    return pl.concat([frame.select(names) for frame in (own, everything)])


def owned_rows(rows: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """The rows whose account their file may order on. `accounts` as from `accounts_by_file`."""
    return rows_in(rows, accounts, ["file", "account"])


def account_findings(rows: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """ACCOUNT_UNKNOWN findings: rows with a well-formed account that is not one of the source's."""
    named = rows.filter(pl.col("account").str.contains(ACCOUNT).fill_null(value=False))
    return violations(
        rows_not_in(named, accounts, ["file", "account"]),
        pl.lit(value=False),
        "ACCOUNT_UNKNOWN",
        "account",
    )


def btn_findings(rows: pl.DataFrame, owners: pl.DataFrame) -> pl.DataFrame:
    """BTN_UNKNOWN findings: rows that ask for PINs of a BTN which belongs to another account.

    `owners`: `btn` (integer), `owner` (account). A BTN without an owner can be ordered on by everybody. Nothing else
    about the BTN is ever said to anybody but its owner.
    """
    named = rows.filter((pl.col("code_type") == BTN4) & pl.col("btn").str.contains(TELEPHONE))
    named = named.with_columns(number=pl.col("btn").cast(pl.Int64))
    owned = named.join(owners, left_on="number", right_on="btn", how="inner", maintain_order="left")
    return violations(owned, pl.col("owner") == pl.col("account"), "BTN_UNKNOWN", "btn")


def contested_btns(rows: pl.DataFrame) -> pl.DataFrame:
    """BTN_UNKNOWN findings: valid rows that ask for PINs of a BTN which an earlier row of the same file claims for another
    account of the same source.
    """
    named = rows.filter(pl.col("code_type") == BTN4)
    return violations(named, pl.col("account") == pl.col("account").first().over("file", "btn"), "BTN_UNKNOWN", "btn")
