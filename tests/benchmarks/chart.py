"""The chart of the benchmark, as SVG: how much of each goal is used up; what passes the line misses its goal."""

from html import escape
from pathlib import Path
from typing import Final

from tests.benchmarks.stage import Line

_ROW, _LEFT, _WIDE, _BESIDE, _MOST = 22, 430, 330, 340, 3.0
_STYLE: Final = "font-family='Calibri, Carlito, Arial, sans-serif' font-size='12'"


def used(line: Line) -> float:
    """The share of a goal that is used up: 1 is just met."""
    return line.goal / line.ratio if line.faster else line.ratio / line.goal


def draw(lines: list[Line], path: Path) -> None:
    """Draw the lines as bars."""
    high = 46 + _ROW * len(lines)
    at = _LEFT + _WIDE / _MOST
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_LEFT + _WIDE + _BESIDE} {high}' {_STYLE}>",
        f"<rect width='{_LEFT + _WIDE + _BESIDE}' height='{high}' fill='white'/>",
        "<text x='10' y='20' font-size='15' font-weight='bold' fill='#1F4E79'>How much of each goal is used up</text>",
        f"<text x='{at}' y='30' text-anchor='middle' fill='#555'>goal</text>",
    ]
    for place, line in enumerate(lines):
        top = 38 + place * _ROW
        wide = min(used(line), _MOST) * _WIDE / _MOST
        color = "#2E75B6" if line.met else "#C00000"
        words = f"{line.job} · {line.database}"
        against = line.against.partition(":")[0].partition(", scaled")[0]
        result = f"{figure(line.ratio)}{line.unit} · {against}"
        parts += [
            f"<text x='{_LEFT - 8}' y='{top + 13}' text-anchor='end'>{escape(words)}</text>",
            f"<rect x='{_LEFT}' y='{top + 2}' width='{max(wide, 1):.1f}' height='{_ROW - 7}' fill='{color}'/>",
            f"<text x='{_LEFT + wide + 6:.1f}' y='{top + 13}' fill='#333'>{escape(result)}</text>",
        ]
    parts += [f"<line x1='{at}' y1='34' x2='{at}' y2='{high - 6}' stroke='#555' stroke-dasharray='4 3'/>", "</svg>"]
    path.write_text("\n".join(parts) + "\n", "utf-8")


def figure(number: float) -> str:
    """A number with about three digits."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
