"""The number rule: which 14-digit numbers may be an authorization code.

Source: "The number rule" of the product specification. The first digit is not 0, and no four digits in a row
are equal, rise by one or fall by one (no wrap past 9).
"""

from enum import IntEnum
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
"""The 24 forbidden sequences of four digits."""

STATES: Final = ("placed", "ready", "refused", "blocked", "disconnected", "external", "surplus")

STATE_WORDS = {
    "placed": ("still awaits the network", "still await the network"),
    "awaited": ("has an earlier order that is still awaited", "have an earlier order that is still awaited"),
    "ready": ("is not blocked", "are not blocked"),
    "blocked": ("is blocked", "are blocked"),
    "refused": ("was refused by the network", "were refused by the network"),
    "disconnected": ("is disconnected", "are disconnected"),
    "surplus": ("was not released", "were not released"),
}
"""What is said to its reseller of a card in a state that an order can't be done in, and of several ones."""
CARD_STATE: Final = r"( \([^()]*\))$"
"""How a finding says it, behind the code or the Order ID that it is about."""


def card_words(state: pl.Expr) -> pl.Expr:
    """A card's state in words."""
    words = {name: f"the card {one}" for name, (one, _) in STATE_WORDS.items()}
    return state.replace_strict(words, default="the card can't be used", return_dtype=pl.String)


def cards_words(state: pl.Expr, cards: pl.Expr, first: pl.Expr) -> pl.Expr:
    """How many cards are in a state, in words; only the `first` of several such texts says that they are cards."""
    one, many = (
        state.replace_strict(
            {name: words[n] for name, words in STATE_WORDS.items()}, default="can't be used", return_dtype=pl.String
        )
        for n in (0, 1)
    )
    is_one = cards == 1
    noun = pl.when(~first).then(pl.lit("")).when(is_one).then(pl.lit(" card")).otherwise(pl.lit(" cards"))
    return pl.format("{}{} {}", cards, noun, pl.when(is_one).then(one).otherwise(many))


_ROUNDED = r"^[0-9][.,]?[0-9]*[eE]\+?[0-9]+$"


def has_forbidden_sequence(digits: pl.Expr) -> pl.Expr:
    """Whether a text of digits contains one of the 24 forbidden sequences."""
    return digits.str.contains_any(FORBIDDEN_SEQUENCES)


def is_code(digits: pl.Expr) -> pl.Expr:
    """Whether a text is a valid authorization code."""
    return digits.str.contains(r"^[1-9][0-9]{13}$") & ~has_forbidden_sequence(digits)


CODE_RULES: Final = [
    check(lambda code: ~code.str.contains(_ROUNDED), "CODE_ROUNDED"),
    check(lambda code: code.str.contains(r"^[0-9]{14}$") | code.str.contains(_ROUNDED), "CODE_FORMAT"),
]
"""What makes a text an authorization code at all; the number rule comes on top."""

CODES = pa.DataFrameSchema(
    {
        "code": pa.Column(
            pl.String,
            checks=[
                *CODE_RULES,
                check(lambda code: ~code.str.contains(r"^0[0-9]{13}$"), "CODE_LEADING_ZERO"),
                check(lambda code: ~(code.str.contains(r"^[1-9][0-9]{13}$") & has_forbidden_sequence(code)), "CODE_RUN"),
            ],
        )
    }
)
"""Codes as they were asked for, one a row: column `code`, text."""


class CardState(IntEnum):
    """The states of a card, by the numbers under which the registry keeps them; STATES has their words."""

    PLACED = 0
    READY = 1
    REFUSED = 2
    BLOCKED = 3
    DISCONNECTED = 4
    EXTERNAL = 5
    SURPLUS = 6

    @property
    def word(self) -> str:
        """The state as people and files have it."""
        return self.name.lower()


NOT_YET_READY: Final = (CardState.PLACED, CardState.REFUSED, CardState.SURPLUS)
"""The states from which a card that becomes ready is ready for the first time."""
NO_STATE: Final = -1
"""Stands where a card's state would, when there is none."""
