"""Write a workbook with the writer that suits its size."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipelines.common.memory import give_back
from pipelines.excel.book import SMALL, Book, sheet_parts

WriteBook = Callable[[Path, Book], None]
"""Who writes a workbook into a file."""


def load() -> None:
    """Import the writer of most workbooks ahead of need."""
    import xlsxwriter  # noqa: F401


def write(path: Path | BinaryIO, book: Book, small: int = SMALL) -> None:
    """Write a workbook; with up to `small` cells it also has borders, notes and a print set-up."""
    book = book._replace(sheets=[part for sheet in book.sheets for part in sheet_parts(sheet)])
    if sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets) > small:
        from pipelines.excel.xlsxturbo_book import write_large

        write_large(path, book)
        give_back()
    else:
        from pipelines.excel.xlsxwriter_book import write_small

        write_small(path, book)
