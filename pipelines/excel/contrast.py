"""How well a font's colour can be read on a fill, as WCAG 2 measures it; colours are openpyxl's."""

import colorsys
from typing import Any, Final

from openpyxl.styles.colors import COLOR_INDEX

READABLE: Final = 4.5
"""The least contrast between two colours of which one can be read on the other."""
_THEME: Final = ("FFFFFF", "000000", "EEECE1", "1F497D", "4F81BD", "C0504D", "9BBB59", "8064A2", "4BACC6", "F79646", "0000FF",
                 "800080")  # fmt: skip
"""The colours of the theme that our workbooks have, by their places."""
_SYSTEM: Final = {64: "000000", 65: "FFFFFF"}


def is_readable(font: Any, fill: Any) -> bool:
    """Whether text of a font's colour can be read on every colour of a cell's fill."""
    pattern = getattr(fill, "patternType", None)
    behind = [] if not pattern else [fill.fgColor] if pattern == "solid" else [fill.fgColor, fill.bgColor]
    text = _luminance(_rgb(font.color, "000000"))
    return all(_contrast(text, _luminance(_rgb(color, "FFFFFF"))) >= READABLE for color in behind or [None])


def _rgb(color: Any, default: str) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1."""
    text, tint = default, 0.0
    if color is not None and color.type == "rgb":
        text = str(color.rgb)[-6:]
    elif color is not None and color.type == "theme":
        text, tint = _THEME[color.theme], float(color.tint or 0)
    elif color is not None and color.type == "indexed":
        text = _SYSTEM.get(color.indexed) or COLOR_INDEX[color.indexed][-6:]
    red, green, blue = (int(text[place : place + 2], 16) / 255 for place in (0, 2, 4))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    return colorsys.hls_to_rgb(hue, light * (1 + tint) if tint < 0 else light + (1 - light) * tint, saturation)


def _luminance(rgb: tuple[float, float, float]) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
