"""The number rule: which 14-digit numbers may be an authorization code.

Source: "The number rule" of the product specification. The first digit is not 0, and no four digits in a row
are equal, rise by one or fall by one (no wrap past 9).
"""

from typing import Final

import pandera.polars as pa
import polars as pl

from schemas.rules import check


def code_text(code: pl.Expr) -> pl.Expr:
    """A code as text of 14 digits."""
    return code.cast(pl.String).str.zfill(DIGITS)


DIGITS: Final = 14
PIN_DIGITS: Final = 4
SMALLEST: Final = 10 ** (DIGITS - 1)
"""The smallest 14-digit number."""

FORBIDDEN_SEQUENCES: Final = (
    [str(d) * 4 for d in range(10)]
    + ["".join(str(d + i) for i in range(4)) for d in range(7)]
    + ["".join(str(d - i) for i in range(4)) for d in range(3, 10)]
)
"""The 24 forbidden runs of four digits."""

STATES: Final = ("placed", "ready", "refused", "blocked", "disconnected", "external")

_ROUNDED = r"^[0-9][.,]?[0-9]*[eE]\+?[0-9]+$"


def has_forbidden_sequence(digits: pl.Expr) -> pl.Expr:
    """Whether a text of digits contains one of the 24 forbidden runs."""
    return digits.str.contains_any(FORBIDDEN_SEQUENCES)


def is_code(digits: pl.Expr) -> pl.Expr:
    """Whether a text is a valid authorization code."""
    return digits.str.contains(r"^[1-9][0-9]{13}$") & ~has_forbidden_sequence(digits)


_CODE = pl.col("code")

CODES = pa.DataFrameSchema(
    {
        "code": pa.Column(
            pl.String,
            checks=[
                check(~_CODE.str.contains(_ROUNDED), "CODE_ROUNDED"),
                check(_CODE.str.contains(r"^[0-9]{14}$") | _CODE.str.contains(_ROUNDED), "CODE_FORMAT"),
                check(~_CODE.str.contains(r"^0[0-9]{13}$"), "CODE_LEADING_ZERO"),
                check(~(_CODE.str.contains(r"^[1-9][0-9]{13}$") & has_forbidden_sequence(_CODE)), "CODE_RUN"),
            ],
        )
    }
)
"""Codes as they were asked for, one a row: column `code`, text."""
