"""The look of a sender's cells, rebuilt from numbers and known words: no text of the sender's gets into ours by it."""

import re
from collections.abc import Hashable
from datetime import date, datetime, time
from typing import Any, Final

from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.styles.colors import Color
from openpyxl.styles.numbers import BUILTIN_FORMATS

from pipelines.excel import look

_FONTS: Final = {"Aptos", "Aptos Narrow", "Arial", "Calibri", "Cambria", "Consolas", "Courier New", "Liberation Sans",
                 "Segoe UI", "Tahoma", "Times New Roman", "Verdana"}  # fmt: skip
_SIZES: Final = (6, 36)
_SIDES: Final = ("left", "right", "top", "bottom")
_FORMAT: Final = re.compile(r"(?=[^0#?@ymdhs]*[0#?@ymdhs])[-0#?@,.%/:;() \\ymdhs]{1,40}", re.IGNORECASE)
"""A number format of placeholders, separators and the letters of dates."""
_BUILTIN: Final = frozenset(BUILTIN_FORMATS.values())


def look_key(cell: Any) -> Hashable:
    """Cells with the same key look alike."""
    parts = cell._style  # noqa: SLF001 - the sender's own numbers of the parts of a look; None where it has none
    return parts and parts.tobytes(), _fallback(cell.value)


def rebuild_look(theirs: Any, ours: Any) -> None:
    """Give our cell the font, fill, border, alignment and number format of theirs."""
    ours.number_format = _number_format(theirs)
    ours.font = _font(theirs.font)
    left, right, top, bottom = (_side(getattr(theirs.border, side)) for side in _SIDES)
    ours.border = Border(left=left, right=right, top=top, bottom=bottom)
    old = theirs.alignment
    ours.alignment = Alignment(old.horizontal, old.vertical, old.textRotation or 0, old.wrap_text, indent=old.indent or 0)
    if pattern := getattr(theirs.fill, "patternType", None):  # a gradient has none
        ours.fill = PatternFill(pattern, start_color=_color(theirs.fill.fgColor), end_color=_color(theirs.fill.bgColor))


def _number_format(cell: Any) -> str:
    text = cell.number_format
    return text if text in _BUILTIN or _FORMAT.fullmatch(text) else _fallback(cell.value)


def _fallback(value: Any) -> str:
    """The number format of a value whose own can't be kept."""
    if isinstance(value, (datetime, date, time)):
        return look.TIME
    return look.TEXT if value is None or isinstance(value, str) else "General"


def _font(old: Any) -> Font:
    smallest, largest = _SIZES
    return Font(
        name=old.name if old.name in _FONTS else look.FONT,
        size=min(largest, max(smallest, float(old.sz or 11))),
        bold=bool(old.b),
        italic=bool(old.i),
        strike=bool(old.strike),
        underline=old.u,
        color=_color(old.color),
    )


def _side(old: Any) -> Side:
    return Side(style=old.style, color=_color(old.color)) if old is not None and old.style else Side()


def _color(old: Any) -> Color | None:
    """A colour by its value, or by its place in Excel's own theme and palette, which stand in for the sender's."""
    if old is None or old.type not in ("rgb", "theme", "indexed"):
        return None
    if old.type == "rgb":
        return Color(rgb=old.rgb) if re.fullmatch("[0-9A-Fa-f]{8}", str(old.rgb)) else None
    if old.type == "theme":
        tint = float(old.tint or 0)
        return Color(theme=old.theme, tint=tint if -1 <= tint <= 1 else 0.0) if 0 <= old.theme < 12 else None
    return Color(indexed=old.indexed) if 0 <= old.indexed < 66 else None
