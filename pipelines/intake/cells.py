"""How numbers, dates and truth values of every format are written as text: as calamine writes those of `.xlsx`."""

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal

BLANK = " \t\r\n"
"""What is stripped from a cell; a cell of nothing else is not filled."""

_NO_DATE_PART = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]|General', re.IGNORECASE | re.DOTALL)
_BUILT_IN_DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_LONGEST_CODE = 255  # Excel takes no longer one
_DATE_PART = re.compile(r"[dmyhs]", re.IGNORECASE)
_ISO = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?)?Z?$")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def number_text(value: float) -> str:
    """A number with all its digits and no exponent: 73905162840517, 0.25, 0.0000001."""
    if not math.isfinite(value):
        return str(value)
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")


def date_text(serial: float, *, from_1904: bool = False) -> str:
    """A spreadsheet's day number as `2026-10-01 00:00:00`; one that no calendar has stays a number."""
    days = serial + 1462 if from_1904 else serial + 1 if serial < 60 else serial  # Excel has a 29 February 1900
    try:
        moment = datetime(1899, 12, 30) + timedelta(milliseconds=round(days * 86_400_000))
    except (OverflowError, ValueError):
        return number_text(serial)
    return moment_text(moment)


def moment_text(moment: datetime) -> str:
    """A date with its time of day; thousandths where there are some."""
    return moment.isoformat(" ", "milliseconds" if moment.microsecond else "seconds")


def iso_text(value: str) -> str:
    """`2026-10-01T03:04:05`, or the date alone, as `date_text` writes it; anything else stays as it is."""
    found = _ISO.match(value)
    return f"{found[1]} {found[2] or '00:00:00'}{(found[3] or '').rstrip('0').rstrip('.')}" if found else value


def truth_text(value: object) -> str:
    """Excel's TRUE and FALSE."""
    return "true" if value else "false"


def is_date_format(number: int, code: str | None) -> bool:
    """Whether cells of this number format are dates: one of Excel's own numbers, or a code with parts of a date."""
    if code is None:
        return number in _BUILT_IN_DATES
    return bool(_DATE_PART.search(_NO_DATE_PART.sub("", code[:_LONGEST_CODE])))


def unescaped(text: str) -> str:
    """Text of Office Open XML, where `_x000D_` stands for a character that XML can't carry."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def letters(column: int) -> str:
    """The name that Excel gives a column position: 0 is A, 26 is AA."""
    name, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name
