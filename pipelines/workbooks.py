"""Frames as sheets of a workbook: text stays text, headers are frozen and filtered, columns fit, pages can be printed.

Those with marks, a small table or a chart are written by openpyxl, which knows all that `pipelines.styles` does; others
and large ones by xlsxturbo, which takes 4 ms for a small workbook and seconds for a million rows (openpyxl: 34 ms, minutes).
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

SMALL: Final = 200_000
"""So many cells go through openpyxl (some 5 s)."""
NOTED: Final = 10_000
"""So many cells get a note."""
SHEET_ROWS: Final = 1_000_000
_ILLEGAL: Final = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"
_LINED: Final = {"border": True, "border_color": "#BFBFBF"}
_HEADER: Final = {"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E79", "wrap_text": True, "align_vertical": "center",
                  **_LINED}  # fmt: skip
_DATE: Final = "yyyy-mm-dd hh:mm"


class Sheet(NamedTuple):
    """A sheet: its title, a frame (headers are its columns) and `marks`: `index` (row of the frame), `column`, `note`."""

    title: str
    rows: pl.DataFrame
    marks: pl.DataFrame | None = None


class Book(NamedTuple):
    """A workbook: what its summary says (title, what to do, facts, a small table of up to three columns, drawn as a
    chart titled `chart` where that is not empty), and the sheets after it.
    """

    title: str
    advice: str
    facts: list[tuple[str, Any]]
    sheets: list[Sheet]
    table: pl.DataFrame | None = None
    chart: str = ""


def legible(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in whose text characters that XML can't hold are replaced by U+FFFD."""
    return frame.with_columns(pl.col(pl.String).str.replace_all(_ILLEGAL, "\ufffd").str.slice(0, 32_767))


def write(path: Path, book: Book, small: int = SMALL) -> None:
    """Write a workbook; one with marks, a table or a chart by openpyxl where it has up to `small` cells."""
    book = book._replace(
        facts=[(label, _legible(value)) for label, value in book.facts],
        sheets=[part for sheet in book.sheets for part in _parts(sheet)],
    )
    cells = sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets)
    if cells <= small and (book.table is not None or any(sheet.marks is not None for sheet in book.sheets)):
        _write_rich(path, book)
        return
    _write_fast(path, book, dressed=cells <= SMALL)


def _legible(value: Any) -> Any:
    return re.sub(_ILLEGAL, "\ufffd", value)[:32_767] if isinstance(value, str) else value


def _parts(sheet: Sheet) -> list[Sheet]:
    """The sheet cut into as many as Excel needs."""
    rows = legible(sheet.rows)
    if len(rows) <= SHEET_ROWS:
        return [Sheet(sheet.title, rows, sheet.marks)]
    starts = range(0, len(rows), SHEET_ROWS)
    return [Sheet(f"{sheet.title} {n}", rows.slice(start, SHEET_ROWS)) for n, start in enumerate(starts, 1)]


def widths(rows: pl.DataFrame) -> list[int]:
    """Column widths, in characters, that fit the header and the first thousand rows."""
    head = (
        rows.head(1000)
        .with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%d %H:%M"))
        .select(pl.all().cast(pl.String).str.len_chars().max().fill_null(0))
    )
    return [min(60, max(len(name) + 4, int(width) + 2)) for name, width in zip(rows.columns, head.row(0), strict=True)]


def _write_rich(path: Path, book: Book) -> None:
    from openpyxl import Workbook

    from pipelines import styles

    made = Workbook()
    first: Any = made.active
    first.title = "Summary"
    rows = [book.table.columns, *book.table.rows()] if book.table is not None else []
    styles.summary(first, book.title, book.advice, book.facts, rows, book.chart)
    for sheet in book.sheets:
        page = made.create_sheet(sheet.title)
        styles.table(page, sheet.rows.columns, sheet.rows.iter_rows(), widths(sheet.rows))
        page.auto_filter.ref = page.dimensions
        place = {name: position for position, name in enumerate(sheet.rows.columns, 1)}
        marks = sheet.marks.select("index", "column", "note").iter_rows() if sheet.marks is not None else iter(())
        for count, (index, column, text) in enumerate(marks):
            cell = page.cell(index + 2, place[column])
            cell.fill = styles.fill(styles.RED)
            if count < NOTED:
                styles.note(cell, text)
    made.save(path)


def _write_fast(path: Path, book: Book, *, dressed: bool) -> None:
    import xlsxturbo

    header: Any = _HEADER
    frames: list[Any] = [(pl.DataFrame(), "Summary", _summary(book))]
    for sheet in book.sheets:
        options = {"column_widths": dict(enumerate(widths(sheet.rows))), "autofilter": True, "freeze_panes": True,
                   "row_heights": {0: 33}, "column_formats": _formats(sheet.rows) if dressed else None}  # fmt: skip
        frames.append((sheet.rows, sheet.title, options))
    xlsxturbo.dfs_to_xlsx(frames, str(path), header_format=header, compression_level=1)
    if dressed:
        _make_printable(path)


def _formats(rows: pl.DataFrame) -> dict[str, Any]:
    """The format of each column by its type, as `pipelines.styles` has it."""

    def number_format(kind: pl.DataType) -> str:
        return "@" if kind == pl.String else "#,##0" if kind.is_integer() else "#,##0.0" if kind.is_float() else _DATE

    return {name: {"num_format": number_format(kind), **_LINED} for name, kind in rows.schema.items()}


_PAGE: Final = (
    '<pageMargins left="0.4" right="0.4" top="0.5" bottom="0.7" header="0.3" footer="0.3"/>'
    '<pageSetup orientation="{}" fitToHeight="0"/><headerFooter><oddFooter>&amp;C&amp;A — page &amp;P of &amp;N</oddFooter>'
    "</headerFooter>"
)


def _make_printable(path: Path) -> None:
    """Give each sheet the print set-up of `pipelines.styles`, of which xlsxturbo knows nothing: one page wide, numbered, its
    header on every page.
    """
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheets = [name for name in parts if name.startswith("xl/worksheets/sheet")]
    for name in sheets:
        first = name == "xl/worksheets/sheet1.xml"
        text = re.sub(r"(<worksheet [^>]*>)", r'\1<sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>', parts[name], count=1)
        text = text.replace("<sheetView ", '<sheetView showGridLines="0" ', 1) if first else text
        parts[name] = re.sub(r"<pageMargins [^>]*/>", _PAGE.format("portrait" if first else "landscape"), text, count=1)
    titles = re.findall(r'<sheet name="([^"]*)"', parts["xl/workbook.xml"])
    repeated = "".join(
        f'<definedName name="_xlnm.Print_Titles" localSheetId="{place}">\'{title}\'!$1:$1</definedName>'
        for place, title in enumerate(titles) if place
    )  # fmt: skip
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace("</definedNames>", f"{repeated}</definedNames>")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    path.write_bytes(made.getvalue())


def _summary(book: Book) -> dict[str, Any]:
    """The summary sheet as xlsxturbo takes it."""
    cells: dict[str, Any] = {"A1": {"value": book.title, "format": {"bold": True, "font_size": 16, "font_color": "#1F4E79"}}}
    text = {"num_format": "@", "wrap_text": True}
    for line, (label, value) in enumerate(book.facts, 4):
        cells[f"A{line}"] = {"value": label, "format": {"bold": True}}
        kind = text if isinstance(value, str) else {"num_format": "#,##0" if isinstance(value, int) else _DATE}
        cells[f"B{line}"] = {"value": value, "format": {"align_horizontal": "left", **kind}}
    advice = {"bold": True, "wrap_text": True, "align_vertical": "top", "bg_color": "#FFF2CC"}
    made: dict[str, Any] = {
        "header": False, "cells": cells, "column_widths": {0: 34, 1: 16, 2: 62}, "row_heights": {0: 26, 1: 62},
        "merged_ranges": [("A2:C2", book.advice, advice)],
    }  # fmt: skip
    if book.table is None or book.table.is_empty():
        return made
    first, end = len(book.facts) + 6, len(book.facts) + 5 + len(book.table)
    letters = "ABC"[: book.table.width]
    cells.update(
        {
            f"{letter}{first - 1}": {"value": name, "format": _HEADER}
            for letter, name in zip(letters, book.table.columns, strict=True)
        }
    )
    for line, values in enumerate(book.table.iter_rows(), first):
        cells.update({f"{letter}{line}": value for letter, value in zip(letters, values, strict=True)})
    series = [
        {"name": name, "values": f"Summary!${letter}${first}:${letter}${end}", "categories": f"Summary!$A${first}:$A${end}"}
        for letter, name in zip(letters[1:], book.table.columns[1:], strict=True)
    ]
    drawn = {"type": "column", "title": book.chart, "series": series, "width": 640, "height": 360, "legend_position": "bottom"}
    return {**made, "charts": {"E4": drawn}} if book.chart else made
