"""The telephone rule: what a BTN or an access number must be, for files, the catalogue and look-ups alike.

Source: the North American Numbering Plan. A number has ten digits; its area code and its exchange each begin with 2 to 9.
It may be written with punctuation and with the country code 1, which no area code begins with.
"""

import re
from collections.abc import Callable
from typing import Final

import polars as pl

PUNCTUATION: Final = r"[\s\u00a0\u2007\u202f().+/\u2010-\u2015\u2212-]"
"""Dashes and no-break spaces of every kind are typed by Word and Excel."""
_WITH_COUNTRY_CODE: Final = r"^1([0-9]{10})$"
NUMBER: Final = r"^[2-9][0-9]{2}[2-9][0-9]{6}$"

RULES: Final[dict[str, Callable[[pl.Expr], pl.Expr]]] = {
    "not 10 digits": lambda number: number.str.contains(r"^[0-9]{10}$"),
    "the area code (first three digits) does not begin with 2 to 9": lambda number: ~number.str.contains(r"^[01][0-9]{9}$"),
    "the exchange (fourth to sixth digit) does not begin with 2 to 9": lambda number: (
        ~number.str.contains(r"^[0-9]{3}[01][0-9]{6}$")
    ),
}
"""What is wrong with a normalized number, and the expression of those of which this is not wrong. Together: `is_valid`."""


def normalized(number: pl.Expr) -> pl.Expr:
    """A number without punctuation and country code. Anything else stays as it is."""
    return number.str.replace_all(PUNCTUATION, "").str.replace(_WITH_COUNTRY_CODE, "$1")


def is_valid(number: pl.Expr) -> pl.Expr:
    """Whether a normalized text is a telephone number."""
    return number.str.contains(NUMBER)


def normalized_text(number: str) -> str:
    """One number, as `normalized` has it."""
    return re.sub(r"\A1([0-9]{10})\Z", r"\1", re.sub(PUNCTUATION, "", number))


def is_valid_text(number: str) -> bool:
    """Whether one normalized text is a telephone number."""
    return re.fullmatch(r"[2-9][0-9]{2}[2-9][0-9]{6}", number) is not None
