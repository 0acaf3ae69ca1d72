"""Write a workbook with XlsxWriter: styled, annotated and ready to print."""

import io
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, BinaryIO, Final

import polars as pl
import xlsxwriter
from xlsxwriter.packager import Packager

from pipelines.excel import charts, look
from pipelines.excel.book import NO_ROWS, NOTED, SMALL, Book, Sheet, column_looks, table_name
from pipelines.excel.packing import pack
from pipelines.excel.streamed_rows import Streamed, completed

_RULE: Final = f"#{look.RULE_GREY}"
_BORDERS: Final[dict[str, dict[str, Any]]] = {
    "": {}, "below": {"bottom": 1, "bottom_color": _RULE}, "all": {"border": 1, "border_color": _RULE},
}  # fmt: skip
Formats = Callable[[look.Style], Any]
Looks = list[tuple[int, look.Style]]
_ABOVE: Final = 8
"""So many rows above, and columns left of, the cell at which a sheet opens are in sight."""
_OPTIONS: Final = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}


class _Packager(Packager):  # type: ignore[misc]
    """Gives the parts of the package to the workbook: XlsxWriter would pack them with more effort than they are worth."""

    def _create_package(self) -> list[Any]:
        self.workbook.parts = [(name, file.getvalue()) for file, name, _ in super()._create_package()]
        return []


class _Workbook(xlsxwriter.Workbook):  # type: ignore[misc]
    """A workbook whose `parts` are texts when it is closed."""

    parts: list[tuple[str, str]]

    def _get_packager(self) -> Packager:
        return _Packager()


def write_book(out: BinaryIO, book: Book, small: int) -> None:
    """Write a workbook. Of sheets of more than `small` cells XlsxWriter writes the first row alone."""
    streamed: list[Streamed] = []
    with _Workbook(io.BytesIO(), _OPTIONS) as made:
        made.set_properties({"title": book.title, "author": look.AUTHOR})

        @cache
        def formats(style: look.Style) -> Any:
            return made.add_format(_properties(style))

        _write_summary(made, formats, book)
        for number, sheet in enumerate(book.sheets, 1):
            is_streamed = _is_streamed(sheet, small)
            looks = _write_sheet(made, formats, sheet, streamed=is_streamed)
            if is_streamed:
                streamed.append(Streamed(number + 1, number, sheet.rows, looks))
            if sheet.title == book.opens_on:
                made.worksheets()[-1].activate()
    pack(out, ((name, completed(name, _with_language(name, text).encode(), streamed)) for name, text in made.parts))


def _with_language(name: str, text: str) -> str:
    """The properties of a document with its language, which XlsxWriter has no option for; another part as it is."""
    if name != "docProps/core.xml":
        return text
    return text.replace("</cp:coreProperties>", f"<dc:language>{look.LANGUAGE}</dc:language></cp:coreProperties>")


def _is_streamed(sheet: Sheet, small: int) -> bool:
    """Whether Polars makes the rows of a sheet; marked cells are coloured one by one as long as they are not too many."""
    return sheet.rows.height * sheet.rows.width > max(small, SMALL if sheet.marks is not None else 0)


def _properties(style: look.Style) -> dict[str, Any]:
    """A style as XlsxWriter takes it."""
    properties: dict[str, Any] = {
        "num_format": style.number, "bold": style.bold, "font_size": style.size, "font_color": f"#{style.color}",
        "font_name": style.font, "text_wrap": style.wrap, "valign": "vcenter" if style.middle else "top",
        "align": style.align, "indent": style.indent,
    }  # fmt: skip
    properties |= {"bg_color": f"#{style.fill}"} if style.fill else {}
    properties |= {"underline": 1} if style.underline else {}
    return properties | _BORDERS[style.border]


def _write_summary(made: Any, formats: Formats, book: Book) -> None:
    page = made.add_worksheet("Summary")
    summary = book.summary()
    page.hide_gridlines(2)
    for place, width in enumerate(summary.widths):
        page.set_column(place, place, width)
    for row, height in summary.heights.items():
        page.set_row(row, height)
    for row, column, value, style, link in summary.cells:
        if link:
            page.write_url(row, column, f"internal:'{link}'!A1", formats(style), value)
        else:
            _put(page, row, column, value, formats(style))
    for (chart, sheet), box in zip(book.drawn(), summary.boxes, strict=True):
        charts.draw(made, page, chart, sheet, box)
    page.ignore_errors({"number_stored_as_text": f"A1:{look.column_letters(len(summary.widths) - 1)}{len(summary.cells) + 9}"})
    _set_up_page(page, summary.page())


def _put(page: Any, row: int, column: int, value: Any, style: Any) -> None:
    """Write a value: text is never anything else, and a time's zone is named by its format."""
    if isinstance(value, str):
        page.write_string(row, column, value, style)
    else:
        page.write(row, column, value.replace(tzinfo=None) if isinstance(value, datetime) else value, style)


def _write_sheet(made: Any, formats: Formats, sheet: Sheet, *, streamed: bool) -> Looks:
    """Write a sheet: a named table below a header that stays in sight and is printed on every page."""
    page = made.add_worksheet(sheet.title)
    looks = column_looks(sheet)
    rows = sheet.rows.head(1) if streamed else sheet.rows
    height = look.header_height(list(zip(rows.columns, (width for width, _ in looks), strict=True)))
    page.set_default_row(look.ROW_HEIGHT)
    page.set_row(0, height)
    headers = [look.FIGURES_HEADER if style.align == "right" else look.HEADER for _, style in looks]
    titles = [{"header": name, "header_format": formats(style)} for name, style in zip(rows.columns, headers, strict=True)]
    options = {"name": table_name(sheet.title), "columns": titles, "style": None}
    page.add_table(0, 0, max(1, rows.height), rows.width - 1, options)
    for place, (column, (width, style)) in enumerate(zip(rows.iter_columns(), looks, strict=True)):
        page.set_column(place, place, width)
        _write_column(page, place, column, formats(style))
    if rows.is_empty():
        page.write_string(1, 0, NO_ROWS, formats(look.NONE))
    for row, needed in _heights(rows, looks).items():
        page.set_row(row, needed)
    page.freeze_panes(1, 0)
    page.set_selection(1, 0, 1, 0)
    page.repeat_rows(0)
    last = look.column_letters(rows.width - 1)
    page.ignore_errors({"number_stored_as_text": f"A1:{last}{max(2, sheet.rows.height + 1)}"})
    _set_up_page(page, look.page_of(sum(width for width, _ in looks)))
    if sheet.marks is not None and not streamed:
        _write_marks(page, formats, rows, sheet.marks, [style for _, style in looks])
        _select_first(page, rows, sheet.marks)
    return looks


def _heights(rows: pl.DataFrame, looks: Looks) -> dict[int, float]:
    """The heights of the rows that need more than one line; LibreOffice does not work them out itself."""
    heights: dict[int, float] = {}
    for column, (width, style) in zip(rows.iter_columns(), looks, strict=True):
        for row, text in enumerate(column.to_list() if style.wrap else [], 1):
            if text and (len(text) > width - 4 or "\n" in text):
                heights[row] = max(heights.get(row, 0), look.text_height(text, width))
    return heights


def _write_column(page: Any, place: int, column: pl.Series, style: Any) -> None:
    """Write the cells below a header. An empty one gets its format too, so that Excel keeps a code as it is typed."""
    if column.dtype != pl.String:
        page.write_column(1, place, column.to_list(), style)
        return
    for row, text in enumerate(column.to_list(), 1):  # `write_column` would ask of each cell what it is
        if text:
            page.write_string(row, place, text, style)
        else:
            page.write_blank(row, place, None, style)


def _write_marks(page: Any, formats: Formats, rows: pl.DataFrame, marks: pl.DataFrame, styles: list[look.Style]) -> None:
    """Colour the cells at fault and attach a note to each."""
    columns = dict(zip(rows.columns, enumerate(zip(rows.iter_columns(), styles, strict=True)), strict=True))
    for count, (index, name, text) in enumerate(marks.select("index", "column", "note").iter_rows()):
        place, (column, style) = columns[name]
        page.write(index + 1, place, column[index], formats(style._replace(fill=look.RED)))
        if count < NOTED:
            width, height = look.note_size(text)
            page.write_comment(index + 1, place, text, {"author": look.AUTHOR, "width": width, "height": height})


def _select_first(page: Any, rows: pl.DataFrame, marks: pl.DataFrame) -> None:
    """Have the sheet open at the first marked cell."""
    if len(marks):
        row, column = marks["index"].item(0) + 1, rows.columns.index(marks["column"].item(0))
        page.freeze_panes(1, 0, max(1, row - _ABOVE), max(0, column - _ABOVE))
        page.set_selection(row, column, row, column)


def _set_up_page(page: Any, printed: look.Page) -> None:
    """The paper, its margins, and pages numbered."""
    (page.set_landscape if printed.landscape else page.set_portrait)()
    page.set_paper(printed.paper)
    page.set_margins(**look.MARGINS)
    page.fit_to_pages(printed.wide, printed.tall)
    page.set_footer(f"&C{look.FOOTER}")
