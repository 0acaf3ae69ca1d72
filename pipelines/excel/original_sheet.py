"""The header and some rows of a reseller's sheet, with the looks of their cells; everything else in the workbook is passed
over.

openpyxl's own `load_workbook` makes an object of every cell of a merged range and reads every part, so that a file of
2 KB takes gigabytes. Here its parser runs row by row, and stops at the last row that is wanted.
"""

import io
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from openpyxl.cell.cell import Cell
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.worksheet._reader import WorkSheetParser

_DEFAULT_WIDTH: Final = 13.0


class OriginalSheet(NamedTuple):
    """A sheet of orders: its cells by row and column, the row of its header, the filled cells of that row, and sizes of
    rows and columns where the reseller set them.
    """

    cells: dict[tuple[int, int], Any]
    header: list[Any]
    heights: dict[int, Any]
    columns: list[dict[str, str]]

    def cell(self, row: int, column: int) -> Any:
        """A cell; None where the sheet has none."""
        return self.cells.get((row, column))

    def width(self, column: int) -> float:
        """The width of a column, in characters."""
        spans = (one for one in self.columns if int(one["min"]) <= column <= int(one.get("max", one["min"])))
        return float(next(spans, {}).get("width", _DEFAULT_WIDTH))


def read_rows(content: bytes, rows: Iterable[int]) -> OriginalSheet | None:
    """The first filled row and the rows asked for of the sheet Orders, or else of the first visible one.

    None for a workbook without a filled row. Raises whatever openpyxl raises for a workbook that it can't read.
    """
    reader: Any = ExcelReader(io.BytesIO(content), data_only=True, keep_links=False)
    reader.read_manifest()
    reader.read_strings()
    reader.read_workbook()
    apply_stylesheet(reader.archive, reader.wb)
    with reader.archive.open(_chosen(reader)) as part:
        return _read(part, reader, set(rows))


def _chosen(reader: Any) -> str:
    """The part of the sheet that was read."""
    pages = [(sheet, rel) for sheet, rel in reader.parser.find_sheets()
             if rel.target in reader.valid_files and "chartsheet" not in rel.Type]  # fmt: skip
    named = [rel for sheet, rel in pages if sheet.name.strip().lower() == "orders"]
    return str((named or [rel for sheet, rel in pages if sheet.state == "visible"])[0].target)


def _read(part: Any, reader: Any, wanted: set[int]) -> OriginalSheet | None:
    book = reader.wb
    parser: Any = WorkSheetParser(part, reader.shared_strings, data_only=True, epoch=book.epoch,
                                  date_formats=book._date_formats, timedelta_formats=book._timedelta_formats)  # noqa: SLF001 # fmt: skip
    page = book.create_sheet("Read")
    cells: dict[tuple[int, int], Any] = {}
    header: list[Any] = []
    for row, line in parser.parse():
        if not header:
            header = [_cell(page, row, one) for one in line if str(one["value"] or "").strip()]
            titled = {cell.column for cell in header}
            cells |= {(row, cell.column): cell for cell in header}
            wanted.discard(row)
        elif row in wanted:
            cells |= {(row, one["column"]): _cell(page, row, one) for one in line if one["column"] in titled}
            wanted.remove(row)
        if header and not wanted:
            break
    if not header:
        return None
    sizes = {int(row): one.get("ht") for row, one in parser.row_dimensions.items()}
    return OriginalSheet(cells, header, sizes, list(parser.column_dimensions.values()))


def _cell(page: Any, row: int, found: dict[str, Any]) -> Any:
    """A cell as openpyxl has it, with its look."""
    looks = page.parent._cell_styles  # noqa: SLF001 - openpyxl gives a look by its number in no other way
    cell: Any = Cell(page, row=row, column=found["column"], style_array=looks[found["style_id"]])
    cell._value, cell.data_type = found["value"], found["data_type"]  # noqa: SLF001 - set as read, not as typed in
    return cell
