"""Mask authorization codes in text that is shown on a screen or written to a log."""

import re
from typing import Any


def mask_codes(text: str) -> str:
    """A text in which every code shows only its ends: `1234••••••7890`."""
    return re.sub(r"(?<!\d)(\d{4})\d{6}(\d{4})(?!\d)", r"\1••••••\2", text)


def mask_document(value: Any, *, shown: bool = False) -> Any:
    """A document in which every code is masked, unless they are to be shown."""
    if shown:
        return value
    if isinstance(value, dict):
        return {key: mask_document(one) for key, one in value.items()}
    if isinstance(value, list):
        return [mask_document(one) for one in value]
    return mask_codes(value) if isinstance(value, str) else value
