"""Mask authorization codes in text that is shown on a console or written to a log.

A masked code shows its first six digits and nothing else: the last four of a BTN+4 code are its secret.
"""

import re
from itertools import accumulate
from typing import Any, Final

SHOWN_DIGITS: Final = 6
_DIGITS: Final = 14
_MASK: Final = "•" * (_DIGITS - SHOWN_DIGITS)

_SEPARATOR: Final = r"(?:[ \u00a0\u2000-\u2015\u202f().+_-]|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}){1,3}"
"""What people write between the digits of a code, and how a finding shows an invisible character there."""
_NUMBER: Final = re.compile(rf"\d+(?:{_SEPARATOR}\d+)*")
_TIMESTAMP: Final = re.compile(r"((?<!\d)20\d\d[01]\d[0-3]\d-[0-2]\d[0-5]\d[0-5]\d(?!\d))")
"""The time at the beginning of a submission's folder, which has 14 digits too."""
_OUR_NAMES: Final = frozenset({"order_id", "serial"})
"""Fields that can't hold a code: we make them up. An Order ID may have 14 digits."""


def mask_codes(text: str) -> str:
    """A text in which every code shows only its first digits, `303555••••••••`, however it is separated.

    Numbers of more than 14 digits are masked too: they may hold a code.
    """
    if len(text) < _DIGITS:
        return text
    return "".join(
        part if index % 2 else _NUMBER.sub(_masked_number, part) for index, part in enumerate(_TIMESTAMP.split(text))
    )


def _masked_number(match: re.Match[str]) -> str:
    """Groups of digits, with every group of 14 or more masked, and neighbours that make 14 together."""
    if sum(map(str.isdigit, match[0])) < _DIGITS:
        return match[0]
    parts = re.split(f"({_SEPARATOR})", match[0])
    groups, separators = parts[::2], [*parts[1::2], ""]
    shown = ""
    start = 0
    while start < len(groups):
        size = _size_of_code(groups[start : start + _DIGITS])
        digits = "".join(groups[start : start + size])
        shown += (digits[:SHOWN_DIGITS] + _MASK if len(digits) >= _DIGITS else digits) + separators[start + size - 1]
        start += size
    return shown


def _size_of_code(groups: list[str]) -> int:
    """How many of the groups, from the first one on, make a code; 1 when none do."""
    if len(groups[0]) >= _DIGITS:
        return 1
    sums = accumulate(len(group) for group in groups)
    return next((size for size, total in enumerate(sums, 1) if total == _DIGITS), 1)


def mask_document(value: Any, *, shown: bool = False) -> Any:
    """A document in which every code is masked, unless they are to be shown."""
    if shown:
        return value
    if isinstance(value, dict):
        return {key: one if key in _OUR_NAMES else mask_document(one) for key, one in value.items()}
    if isinstance(value, list):
        return [mask_document(one) for one in value]
    return mask_codes(value) if isinstance(value, str) else value
