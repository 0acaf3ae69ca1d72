"""The look of a reseller's cells, rebuilt from numbers and known words: no text of the reseller's gets into ours by it."""

import re
from collections.abc import Hashable
from copy import copy
from datetime import date, datetime, time
from typing import Any, Final

from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.styles.colors import Color
from openpyxl.styles.numbers import BUILTIN_FORMATS

from pipelines.excel import look
from pipelines.excel.contrast import is_readable

_FONTS: Final = {"Aptos", "Aptos Narrow", "Arial", "Calibri", "Cambria", "Consolas", "Courier New", "Liberation Sans",
                 "Segoe UI", "Tahoma", "Times New Roman", "Verdana"}  # fmt: skip
_SIZES: Final = (6, 36)
_SIDES: Final = ("left", "right", "top", "bottom")
_PLAIN: Final = ("General", "@")
_DATES: Final = frozenset(BUILTIN_FORMATS[number] for number in range(14, 23))
"""Formats that show the value of a cell, whatever it is; and Excel's own ones of dates and times."""
_MAX_INDENT: Final = 15
_KEPT_VERTICAL: Final = ("center", "top")


def look_key(cell: Any) -> Hashable:
    """Cells with the same key look alike."""
    parts = cell._style  # noqa: SLF001 - the reseller's own numbers of the parts of a look; None where it has none
    return parts and parts.tobytes(), _fallback(cell.value)


def rebuild_look(theirs: Any, ours: Any) -> None:
    """Give our cell the font, fill, border, alignment and number format of theirs."""
    ours.number_format = _number_format(theirs)
    ours.font = _font(theirs.font)
    left, right, top, bottom = (_side(getattr(theirs.border, side)) for side in _SIDES)
    ours.border = Border(left=left, right=right, top=top, bottom=bottom)
    old = theirs.alignment
    horizontal = None if old.horizontal == "fill" else old.horizontal  # which repeats a value over the width of its cell
    indent = min(_MAX_INDENT, max(0, int(old.indent or 0)))
    vertical = old.vertical if old.vertical in _KEPT_VERTICAL else "top"  # as the cells next to it
    ours.alignment = Alignment(horizontal, vertical, old.textRotation or 0, old.wrap_text, indent=indent)
    if pattern := getattr(theirs.fill, "patternType", None):  # a gradient has none
        ours.fill = PatternFill(pattern, start_color=_color(theirs.fill.fgColor), end_color=_color(theirs.fill.bgColor))
    keep_readable(ours)


def keep_readable(cell: Any) -> None:
    """Give a cell's font our own colour where its own can't be read on the fill, and no fill where that can't be either."""
    if not is_readable(cell.font, cell.fill):
        font = copy(cell.font)
        font.color = None
        cell.font = font
    if not is_readable(cell.font, cell.fill):
        cell.fill = PatternFill()


def _number_format(cell: Any) -> str:
    """The reseller's number format where it shows the cell's own value; one with text of its own could show another."""
    own, fallback = cell.number_format, _fallback(cell.value)
    dated = fallback == look.TIME and own in _DATES
    return own if own in _PLAIN or own == fallback or dated else fallback


def _fallback(value: Any) -> str:
    """The number format of a value whose own can't be kept."""
    if isinstance(value, (datetime, date, time)):
        return look.TIME
    if isinstance(value, int) and not isinstance(value, bool):
        return "0"
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
    """A colour by its value, or by its place in Excel's own theme and palette, which stand in for the reseller's."""
    if old is None or old.type not in ("rgb", "theme", "indexed"):
        return None
    if old.type == "rgb":
        return Color(rgb=old.rgb) if re.fullmatch("[0-9A-Fa-f]{8}", str(old.rgb)) else None
    if old.type == "theme":
        tint = float(old.tint or 0)
        return Color(theme=old.theme, tint=tint if -1 <= tint <= 1 else 0.0) if 0 <= old.theme < 12 else None
    return Color(indexed=old.indexed) if 0 <= old.indexed < 66 else None
