"""The look of our workbooks, for openpyxl."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

BLUE, PALE, GREY, AMBER, RED = "1F4E79", "DDEBF7", "D9D9D9", "FFF2CC", "FFC7CE"
DATE: Final = "yyyy-mm-dd hh:mm"
_THIN: Final = Side(style="thin", color="BFBFBF")
LINE: Final = Border(left=_THIN, right=_THIN, top=_THIN, bottom=_THIN)
_TOP: Final = Alignment(wrap_text=True, vertical="top", horizontal="left")
_SUMMARY: Final = (34, 16, 62)
"""The widths of a summary's columns: a label, a figure, and words beside it."""
_BESIDE_CHART: Final = (42, 14, 14)


def put(cell: Any, value: Any) -> Any:
    """Put a value into a cell. Text is never anything but text, whatever it begins with; an empty cell stays ready for
    text, so that Excel keeps a code as it is typed.
    """
    if isinstance(value, datetime):
        cell.value, cell.number_format = value, DATE
    elif isinstance(value, str) or value is None:
        cell.number_format = "@"
        if value:
            cell.value, cell.data_type = value, "s"
    else:
        cell.value, cell.number_format = value, "#,##0" if isinstance(value, int) else "#,##0.0"
    return cell


def font(color: str = "000000", size: int = 11, *, bold: bool = True) -> Font:
    """Our font."""
    return Font(name="Calibri", bold=bold, size=size, color=color)


def fill(color: str) -> PatternFill:
    """A cell's background."""
    return PatternFill("solid", start_color=color, end_color=color)


def headers(page: Worksheet, titles: Sequence[str], first: int = 1, line: int = 1) -> None:
    """A row of column titles, from a column on."""
    for place, title in enumerate(titles, first):
        cell = put(page.cell(line, place), title)
        cell.font, cell.fill = font("FFFFFF"), fill(BLUE)
        cell.alignment, cell.border = Alignment(wrap_text=True, vertical="center"), LINE
    page.row_dimensions[line].height = 33


def table(page: Worksheet, titles: Sequence[str], rows: Iterable[Sequence[Any]], widths: Sequence[int], first: int = 1) -> None:
    """A table with a frozen header, ready to be printed."""
    headers(page, titles, first)
    page.freeze_panes = "A2"
    for line, row in enumerate(rows, 2):
        for place, value in enumerate(row, first):
            put(page.cell(line, place), value).border = LINE
    for place, width in enumerate(widths, first):
        page.column_dimensions[get_column_letter(place)].width = width
    printable(page)


def printable(page: Worksheet, *, landscape: bool = True, repeated: bool = True) -> None:
    """One page wide, its header on every page, and pages numbered."""
    page.page_setup.orientation = "landscape" if landscape else "portrait"
    page.page_margins = PageMargins(left=0.4, right=0.4, top=0.5, bottom=0.7)
    page.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    page.page_setup.fitToHeight = 0
    if repeated:
        page.print_title_rows = "1:1"
    footer: Any = page.oddFooter
    footer.center.text = "&A — page &P of &N"


def note(cell: Any, text: str) -> None:
    """Hang a note on a cell, large enough for its text."""
    cell.comment = Comment(text, "calling-card-orders", width=340, height=40 + 20 * (1 + len(text) // 48))


def summary(
    page: Worksheet, title: str, advice: str, facts: Iterable[tuple[str, Any]], rows: list[Sequence[Any]], chart: str
) -> None:
    """The first sheet: a title, what to do, facts, and the rows of a small table (the first is its header) of up to
    three columns, drawn as a chart titled `chart` where that is not empty.
    """
    widths = _BESIDE_CHART if chart else _SUMMARY
    put(page["A1"], title).font = font(BLUE, 16)
    page.row_dimensions[1].height = 26
    put(page["A2"], advice).alignment = _TOP
    page["A2"].font, page["A2"].fill = font(), fill(AMBER)
    page.merge_cells("A2:C2")
    page.row_dimensions[2].height = height(advice, sum(widths))
    line = 4
    for label, value in facts:
        put(page.cell(line, 1), label).font = font()
        put(page.cell(line, 2), value).alignment = _TOP
        page.merge_cells(start_row=line, end_row=line, start_column=2, end_column=3)
        for place in (1, 2, 3):
            page.cell(line, place).border = LINE
        page.row_dimensions[line].height = height(str(value), widths[1] + widths[2])
        line += 1
    if len(rows) > 1:
        _small_table(page, rows, line + 1, widths)
        if chart:
            _chart(page, rows, line + 1, chart)
    for place, width in enumerate(widths, 1):
        page.column_dimensions[get_column_letter(place)].width = width
    page.sheet_view.showGridLines = False
    printable(page, landscape=bool(chart), repeated=False)


def height(text: str, width: int) -> float:
    """The height in points of a cell whose text is wrapped."""
    return 15.5 * sum(1 + len(part) * 11 // (width * 10) for part in text.split("\n"))


def _small_table(page: Worksheet, rows: list[Sequence[Any]], first: int, widths: Sequence[int]) -> None:
    headers(page, rows[0], line=first)
    for line, values in enumerate(rows[1:], first + 1):
        for place, value in enumerate(values, 1):
            cell = put(page.cell(line, place), value)
            cell.border, cell.alignment = LINE, _TOP
        page.row_dimensions[line].height = max(height(str(value), width) for value, width in zip(values, widths, strict=False))


def _chart(page: Worksheet, rows: list[Sequence[Any]], first: int, title: str) -> None:
    drawn: Any = BarChart()
    drawn.type, drawn.grouping, drawn.overlap, drawn.title = "col", "stacked", 100, title
    end = first + len(rows) - 1
    drawn.add_data(Reference(page, min_col=2, max_col=len(rows[0]), min_row=first, max_row=end), titles_from_data=True)
    drawn.set_categories(Reference(page, min_col=1, min_row=first + 1, max_row=end))
    for series, color in zip(drawn.series, ("2E75B6", "C00000"), strict=False):
        series.graphicalProperties.solidFill = color
    drawn.x_axis.delete = drawn.y_axis.delete = False
    drawn.y_axis.number_format, drawn.y_axis.majorGridlines = "#,##0", drawn.y_axis.majorGridlines
    drawn.legend.position, drawn.width, drawn.height = "b", 18, 11
    page.add_chart(drawn, "E4")
