"""The layout of a workbook's first sheet, as plain data.

From top to bottom: the title; what needs attention, each line with a link to its sheet (or else what to do); a table of
figures; key values; and charts, two across. No cells are merged.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from pipelines.excel import look
from pipelines.excel.look import Style

_LABELS: Final = 34
_WORDS: Final = 78
_FIGURE, _TIME = 16, 28
_LINES: Final = 58
"""Widths: of labels, of what stands next to them, of figures, of a time, and of labels next to nothing but figures."""
_BESIDE: Final = 24
"""At this distance from its label, in characters, a figure ends."""
_INDENT_PIXELS: Final = 9
_GAP: Final = 20
_CHART_WIDTH, _CHART_HEIGHT = 440, 300
_ROW_PIXELS, _ROW_POINTS, _PIXELS = 20, 15.0, 7
_CHART_ROWS: Final = _CHART_HEIGHT // _ROW_PIXELS + 1


class Cell(NamedTuple):
    """A cell of a summary; row and column count from 0. `link`: the sheet to which it leads."""

    row: int
    column: int
    value: Any
    style: Style
    link: str = ""


class Box(NamedTuple):
    """Where a chart stands: a row, the pixels right of the sheet's left edge, and its size in pixels."""

    row: int
    left: int
    width: int
    height: int


class Summary(NamedTuple):
    """The first sheet of a workbook: its cells, column widths, row heights, and the places of charts."""

    cells: list[Cell]
    widths: list[int]
    heights: dict[int, float]
    boxes: list[Box]

    def page(self) -> look.Page:
        """How it is printed: with charts as a whole, if it can be read so."""
        width = max([sum(self.widths), *((box.left + box.width) / _PIXELS for box in self.boxes)])
        if not self.boxes:
            return look.page_of(width)
        above = sum(self.heights.get(row, _ROW_POINTS) for row in range(self.boxes[0].row))
        return look.single_page(width, above + (self.boxes[-1].row - self.boxes[0].row + _CHART_ROWS) * _ROW_POINTS)


def lay_out(
    title: str,
    advice: str,
    key_values: Iterable[tuple[str, Any]],
    table: Sequence[Sequence[Any]],
    formats: dict[str, str],
    attention: Sequence[tuple[str, str]] = (),
    charts: int = 0,
) -> Summary:
    """Lay out a summary. `table`: its header and its rows; `formats`: number formats by its columns or by labels of its
    rows; `attention`: lines, and the sheets that they are about.
    """
    body = [[look.legible_text(value) for value in row] for row in table[1:]]
    header = table[0] if body else ()
    key_values = [(label, look.legible_text(value)) for label, value in key_values]
    widths = _widths(header, body, bare=not attention and not charts)
    if any(isinstance(value, datetime) for _, value in key_values):
        widths[1] = max(widths[1], _TIME)
    cells = [Cell(0, 0, look.legible_text(title), look.TITLE), *_first(advice, attention)]
    cells += _table(header, body, formats, cells[-1].row + 2)
    for row, (label, value) in enumerate(key_values, cells[-1].row + 2):
        cells += _key_value(row, label, value, widths)
    boxes = _boxes(cells[-1].row + 2, sum(map(look.pixels, widths)), charts)
    return Summary(cells, widths, _heights(cells, widths), boxes)


def _widths(header: Sequence[str], body: list[list[Any]], *, bare: bool) -> list[int]:
    """The widths of the columns: words need a wide second one, figures do not."""
    wordy = any(isinstance(row[1], str) and len(row[1]) > _FIGURE for row in body if len(row) > 1)
    if bare and (not header or wordy):
        return [_LABELS, _WORDS, *(_FIGURE for _ in header[2:])]
    return [_LINES, *(max(_FIGURE, look.column_width(name, 0)) for name in header[1:] or ("",))]


def _first(advice: str, attention: Sequence[tuple[str, str]]) -> list[Cell]:
    """What to do, or what needs attention."""
    if not attention:
        return [Cell(1, 0, "What to do", look.ADVICE), Cell(1, 1, look.legible_text(advice), look.ADVICE)]
    cells = [Cell(1, 0, "What needs attention", look.SECTION)]
    for row, (text, sheet) in enumerate(attention, 2):
        cells.append(Cell(row, 0, look.legible_text(text), look.ATTENTION))
        cells += [Cell(row, 1, f"Go to {sheet}", look.GO_TO, sheet)] if sheet else []
    return cells


def _table(header: Sequence[str], body: list[list[Any]], formats: dict[str, str], top: int) -> list[Cell]:
    """The cells of a table. The header of figures stands above their right ends, as there is no button of a filter."""
    styles = [
        [_table_style(value, formats.get(str(row[0])) or formats.get(name)) for name, value in zip(header, row, strict=True)]
        for row in body
    ]
    titles = [look.HEADER._replace(align=style.align) for style in (styles[0] if styles else ())]
    cells = [Cell(top, place, name, style) for place, (name, style) in enumerate(zip(header, titles, strict=True))]
    for row, (values, looks) in enumerate(zip(body, styles, strict=True), top + 1):
        cells += [Cell(row, n, value, style) for n, (value, style) in enumerate(zip(values, looks, strict=True))]
    return cells


def _table_style(value: Any, number: str | None) -> Style:
    if isinstance(value, str):
        return look.WRAPPED
    return look.figure(number or look.number_format(value)) if value is not None else look.figure(number or look.COUNT)


def _key_value(row: int, label: str, value: Any, widths: list[int]) -> list[Cell]:
    """A label and what stands next to it. A figure ends near its label; words flow into the empty cells to the right, and
    those for which these have no room stand below the label's own width.
    """
    if isinstance(value, str) and widths[1] != _WORDS and len(value) > sum(widths[1:]) - 2:
        return [Cell(row, 0, f"{label}: {value}", look.WRAPPED._replace(border="below"))]
    style = look.value_style(value)._replace(border="below")
    if style.align == "right":
        style = style._replace(indent=1 + max(0, widths[1] - _BESIDE) * 7 // _INDENT_PIXELS)
    elif widths[1] == _WORDS:
        style = style._replace(wrap=True)
    return [Cell(row, 0, label, look.LABEL), Cell(row, 1, value, style)]


def _boxes(top: int, width: int, charts: int) -> list[Box]:
    """The places of charts, two across."""
    each = max(_CHART_WIDTH, (width - _GAP) // 2)
    return [Box(top + n // 2 * _CHART_ROWS, n % 2 * (each + _GAP), each, _CHART_HEIGHT) for n in range(charts)]


def _heights(cells: list[Cell], widths: list[int]) -> dict[int, float]:
    """The height of each row: that of its highest text."""
    heights = {0: look.TITLE_HEIGHT}
    for row, column, value, style, _ in cells[1:]:
        height = look.text_height(str(value), widths[column]) if style.wrap else look.ROW_HEIGHT
        heights[row] = max(heights.get(row, look.ROW_HEIGHT), height)
    return heights
