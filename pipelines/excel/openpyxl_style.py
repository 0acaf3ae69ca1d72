"""`look` and the rules of a sheet Orders as openpyxl takes them: for the template and for annotated workbooks."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Final

from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.table import Table
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.excel import look
from pipelines.excel.checks import Check
from pipelines.excel.summary import Summary

_LAST_ROW: Final = 1_048_576
_ABOVE: Final = 8
_CELL_MARGIN: Final = 0.7109375
_LISTED: Final = look.Style(border="")


class Painter:
    """Gives the cells of one workbook their looks. Each is worked out once, because that is what takes openpyxl's time."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def put(self, cell: Any, value: Any, style: look.Style) -> Any:
        """Put a value into a cell. Text is never anything but text, whatever it begins with."""
        if value is not None and value != "":
            cell.value = value.replace(tzinfo=None) if isinstance(value, datetime) else value
            if isinstance(value, str):
                cell.data_type = "s"
        self.dress(cell, style, lambda: _dress(cell, style))
        return cell

    def dress(self, cell: Any, key: Hashable, dress: Callable[[], None]) -> None:
        """Give a cell the look that `dress` gives to the first cell with this key."""
        if key not in self._known:
            dress()
            self._known[key] = copy(cell._style)  # noqa: SLF001 - the only way that does not look every part up again
        cell._style = copy(self._known[key])  # noqa: SLF001

    def headers(self, page: Worksheet, titles: Sequence[str], widths: Sequence[int], first: int = 1) -> None:
        """A row of column titles, from a column on, with the widths of the columns."""
        for place, (title, width) in enumerate(zip(titles, widths, strict=True), first):
            self.put(page.cell(1, place), title, look.HEADER)
            set_width(page, place, width)
        height = look.header_height(list(zip(titles, widths, strict=True)))
        page.row_dimensions[1].height = max(height, page.row_dimensions[1].height or 0)

    def table(
        self, page: Worksheet, name: str, titles: Sequence[str], rows: Iterable[Sequence[Any]], widths: Sequence[int],
        first: int = 1,
    ) -> None:  # fmt: skip
        """A named table with a frozen header, ready to be printed, from a column on."""
        self.headers(page, titles, widths, first)
        page.freeze_panes = "A2"
        line = 1
        for line, row in enumerate(rows, 2):
            for place, value in enumerate(row, first):
                self.put(page.cell(line, place), value, look.value_style(value))
        add_table(page, name, first, first + len(titles) - 1, line)
        open_at(page, page.cell(2, 1))
        wide = sum(page.column_dimensions[get_column_letter(place)].width for place in range(1, first + len(titles)))
        set_up_page(page, look.page_of(wide))

    def summary(self, page: Worksheet, summary: Summary) -> None:
        """The first sheet. Charts and links, which other workbooks have, are left out."""
        for row, column, value, style, _ in summary.cells:
            self.put(page.cell(row + 1, column + 1), value, style)
        for place, width in enumerate(summary.widths, 1):
            set_width(page, place, width)
        for row, height in summary.heights.items():
            page.row_dimensions[row + 1].height = height
        page.sheet_view.showGridLines = False
        set_up_page(page, summary.page(), repeated=False)


def _dress(cell: Any, style: look.Style) -> None:
    cell.number_format = style.number
    cell.font = Font(
        name=style.font, bold=style.bold, size=style.size, color=style.color, underline="single" if style.underline else None
    )
    vertical = "center" if style.middle else "top"
    cell.alignment = Alignment(style.align, vertical, wrap_text=style.wrap, indent=style.indent)
    if style.fill:
        cell.fill = fill(style.fill)
    if style.border:
        side = Side(style="thin", color=look.RULE_GREY)
        around = side if style.border == "all" else None
        cell.border = Border(around, around, around, side)


def fill(color: str) -> PatternFill:
    """A cell's background."""
    return PatternFill("solid", start_color=color, end_color=color)


def set_width(page: Worksheet, place: int, width: float) -> None:
    """Set the width of a column in characters, to which Excel adds a margin."""
    page.column_dimensions[get_column_letter(place)].width = width + _CELL_MARGIN


def set_up_page(page: Worksheet, printed: look.Page, *, repeated: bool = True) -> None:
    """Its header on every page, and pages numbered."""
    page.page_setup.orientation = "landscape" if printed.landscape else "portrait"
    page.page_setup.paperSize = printed.paper or None
    page.page_margins = PageMargins(**look.MARGINS)
    page.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    page.page_setup.fitToHeight, page.page_setup.fitToWidth = printed.tall, printed.wide
    if repeated:
        page.print_title_rows = "1:1"
    footer: Any = page.oddFooter
    footer.center.text = look.FOOTER


def add_table(page: Worksheet, name: str, first: int, last: int, line: int) -> None:
    """Make columns below the header, down to a line, a named table: one of no rows has an empty one, as Excel wants it."""
    area = f"{get_column_letter(first)}1:{get_column_letter(last)}{max(2, line)}"
    page.add_table(Table(displayName=name, ref=area))


def note(cell: Any, text: str) -> None:
    """Attach a note to a cell, large enough for its text."""
    width, height = look.note_size(text)
    cell.comment = Comment(text, look.AUTHOR, width=width, height=height)


def open_at(page: Worksheet, cell: Any) -> None:
    """Have a sheet with a frozen header open at a cell."""
    view: Any = page.sheet_view
    view.pane.topLeftCell = f"A{max(2, cell.row - _ABOVE)}"
    for selection in view.selection:
        selection.activeCell = selection.sqref = cell.coordinate


def apply_checks(page: Worksheet, checks: Mapping[str, Check]) -> None:
    """Make columns of a sheet Orders text, and check what is typed into them; the checks by the letters of the columns."""
    for letter, check in checks.items():
        page.column_dimensions[letter].number_format = look.TEXT  # the whole column: Excel keeps what is typed as it is
        cells = f"{letter}2:{letter}{_LAST_ROW}"
        page.add_data_validation(_validation(check, cells))
        if check.unused:
            page.conditional_formatting.add(cells, FormulaRule([check.unused], fill=fill(look.GREY)))  # type: ignore[no-untyped-call]


def _validation(check: Check, cells: str) -> Any:
    made: Any = DataValidation(sqref=cells, promptTitle=check.title, prompt=check.prompt)
    made.showInputMessage = True
    if check.kind:
        made.type, made.formula1, made.allow_blank = check.kind, check.formula, check.blank
        made.operator = "lessThanOrEqual" if check.kind == "textLength" else None
        made.showErrorMessage, made.errorStyle, made.errorTitle, made.error = True, "stop", check.title, check.error
    return made


def add_lists(book: Workbook, painter: Painter, lists: dict[str, list[str]]) -> None:
    """The hidden sheet: a list a column, under its name as header; formulas know it by that name."""
    page = book.create_sheet("Lists")
    page.sheet_state = "hidden"
    for place, (name, items) in enumerate(lists.items(), 1):
        rows = [name, *items]
        for line, item in enumerate(rows, 1):
            painter.put(page.cell(line, place), item, _LISTED)
        letter = get_column_letter(place)
        set_width(page, place, 18)
        area = f"Lists!${letter}$2:${letter}${max(2, len(rows))}"
        book.defined_names[name] = DefinedName(name, attr_text=area)
