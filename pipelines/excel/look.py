"""The look of all our workbooks, as plain data: colours, styles, number formats, widths, the page, and the layout of a
summary. Each writer translates it; nothing else in this room names a colour or a width of its own.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

AUTHOR: Final = "calling-card-orders"
FONT: Final = "Calibri"
BLACK, WHITE, LINE_GREY = "000000", "FFFFFF", "BFBFBF"
BLUE, PALE, GREY, AMBER, RED = "1F4E79", "DDEBF7", "D9D9D9", "FFF2CC", "FFC7CE"
SERIES: Final = ("2E75B6", "C00000")
"""The colours of a chart's series: what is well, what is not."""

TEXT, COUNT, DECIMAL, TIME = "@", "#,##0", "#,##0.0", "yyyy-mm-dd hh:mm"


class Style(NamedTuple):
    """The look of a cell. Colours are RRGGBB; an empty `fill` is none. Only the template has an `indent`."""

    number: str = TEXT
    bold: bool = False
    size: int = 11
    color: str = BLACK
    fill: str = ""
    wrap: bool = False
    left: bool = False
    middle: bool = False
    indent: bool = False
    border: bool = True


CELLS: Final = {TEXT: Style(), COUNT: Style(COUNT), DECIMAL: Style(DECIMAL), TIME: Style(TIME, left=True)}
"""Cells of a table, by their number format."""
WRAPPED: Final = Style(wrap=True)
HEADER: Final = Style(bold=True, color=WHITE, fill=BLUE, wrap=True, middle=True)
TITLE: Final = Style(bold=True, size=16, color=BLUE, border=False)
LABEL: Final = Style(bold=True)
ADVICE: Final = Style(bold=True, fill=AMBER, wrap=True)
FACTS: Final = {number: style._replace(wrap=True, left=True) for number, style in CELLS.items()}
"""What stands beside a label, by its number format."""

HEADER_HEIGHT: Final = 33.0
TITLE_HEIGHT: Final = 26.25
LINE_HEIGHT: Final = 15.75  # in points, like all heights; each is a whole number of pixels
MAX_WIDTH: Final = 60
"""The widest column that adapts to its cells; longer text is wrapped."""

WRAPPING: Final = {"Reason": 28, "What to fix": MAX_WIDTH}
"""Columns of sentences, whose text is always wrapped, and their widths."""

MAX_HEIGHT: Final = 409.0

MARGINS: Final = {"left": 0.4, "right": 0.4, "top": 0.5, "bottom": 0.7}
FOOTER: Final = "&A — page &P of &N"

_SUMMARY_WIDTHS: Final = (34, 78, 12)
_CHART_WIDTHS: Final = (42, 46, 3, 14, 12, 12)
"""A summary with a chart: labels and figures, the chart below them, and its table at the right."""
CHART_PIXELS: Final = (630, 380)

ILLEGAL: Final = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"
MAX_TEXT: Final = 32_767


def legible_text(value: Any) -> Any:
    """A value in whose text characters that XML cannot hold are replaced by U+FFFD."""
    return re.sub(ILLEGAL, "\ufffd", value)[:MAX_TEXT] if isinstance(value, str) else value


def number_format(value: Any) -> str:
    """The number format of a value."""
    if isinstance(value, datetime):
        return TIME
    return TEXT if isinstance(value, str) or value is None else COUNT if isinstance(value, int) else DECIMAL


def column_letter(place: int) -> str:
    """The letter of one of the first 26 columns, counted from 0."""
    return chr(ord("A") + place)


def column_width(header: str, longest: int) -> int:
    """The width of a column whose longest cell has so many characters. A header takes up to two lines."""
    return WRAPPING.get(header) or min(MAX_WIDTH, max(_header_width(header) + 4, longest + 2))


def _header_width(header: str) -> int:
    """The characters of the longer line, where a header is broken in two."""
    words = header.split(" ")
    breaks = (max(len(" ".join(words[:place])), len(" ".join(words[place:]))) for place in range(1, len(words) + 1))
    return min(breaks)


def text_height(text: str, width: int) -> float:
    """The height in points of a cell whose text is wrapped at a width, as far as Excel allows."""
    return min(MAX_HEIGHT, LINE_HEIGHT * sum(1 + len(part) * 11 // (width * 10) for part in text.split("\n")))


def note_size(text: str) -> tuple[int, int]:
    """The width and height in pixels of a note."""
    return 340, 40 + 20 * (1 + len(text) // 48)


class Cell(NamedTuple):
    """A cell of a summary; row and column count from 0."""

    row: int
    column: int
    value: Any
    style: Style


class Chart(NamedTuple):
    """Where a summary's chart stands, and the first row (with the names of the series), first column, last row and last
    column of its table; all count from 0.
    """

    title: str
    at: tuple[int, int]
    table: tuple[int, int, int, int]


class Summary(NamedTuple):
    """The first sheet of a workbook: its cells, column widths, row heights, and a chart or None."""

    cells: list[Cell]
    widths: tuple[int, ...]
    heights: dict[int, float]
    chart: Chart | None


def summary(
    title: str, advice: str, facts: Iterable[tuple[str, Any]], table: Sequence[Sequence[Any]], chart: str = ""
) -> Summary:
    """Lay out a summary: a title, what to do, facts, and a small table (its first row is its header) of up to three
    columns, below the facts, or beside them where it is drawn as a chart titled `chart`.
    """
    widths = _CHART_WIDTHS if chart else _SUMMARY_WIDTHS
    facts = [(label, legible_text(value)) for label, value in facts]
    cells = [Cell(0, 0, legible_text(title), TITLE)]
    cells += [Cell(1, 0, "What to do", ADVICE), Cell(1, 1, legible_text(advice), ADVICE)]
    for row, (label, value) in enumerate(facts, 3):
        cells += [Cell(row, 0, label, LABEL), Cell(row, 1, value, FACTS[number_format(value)])]
    end = 3 + len(facts)
    top, left = (3, 3) if chart else (end + 1, 0)
    body = [[legible_text(value) for value in row] for row in table[1:]]
    if body:
        cells += [Cell(top, left + place, name, HEADER) for place, name in enumerate(table[0])]
    for row, values in enumerate(body, top + 1):
        cells += [Cell(row, left + n, value, _table_style(value)) for n, value in enumerate(values)]
    drawn = Chart(chart, (end + 1, 0), (top, left, top + len(body), left + len(table[0]) - 1)) if chart and body else None
    return Summary(cells, widths, _heights(cells, widths), drawn)


def _table_style(value: Any) -> Style:
    return WRAPPED if isinstance(value, str) else CELLS[number_format(value)]


def _heights(cells: list[Cell], widths: tuple[int, ...]) -> dict[int, float]:
    """The height of each row: that of its highest text."""
    heights = {0: TITLE_HEIGHT}
    for row, column, value, style in cells[1:]:
        heights[row] = max(heights.get(row, LINE_HEIGHT), text_height(str(value), widths[column]) if style.wrap else 0)
    return heights
