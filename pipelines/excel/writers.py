"""Write a workbook."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from pipelines.common.memory import give_back
from pipelines.excel.book import SMALL, Book, sheet_parts

WriteBook = Callable[[Path, Book], None]
"""Who writes a workbook into a file."""
FEW: Final = 2_000
"""Sheets of up to this many cells are written cell by cell."""


def load() -> None:
    """Import the writer of workbooks ahead of need."""
    import xlsxwriter  # noqa: F401


def write(path: Path | BinaryIO, book: Book, small: int = FEW) -> None:
    """Write a workbook. It is packed in memory: where the disk is full, a ZIP file that was begun there tries to end itself
    once more whenever it is collected, and complains.
    """
    from pipelines.excel.xlsxwriter_book import write_book

    book = book._replace(sheets=[part for sheet in book.sheets for part in sheet_parts(sheet)])
    if isinstance(path, Path):
        packed = io.BytesIO()
        write_book(packed, book, small)
        path.write_bytes(packed.getbuffer())
    else:
        write_book(path, book, small)
    if sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets) > SMALL:
        give_back()
