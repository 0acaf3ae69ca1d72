"""The reseller's own workbook reduced to its rejected rows, made by a child process that may die of it."""

import json
from pathlib import Path
from typing import Final

from pipelines.common.settings import Settings
from pipelines.common.worker_process import WorkerProcess
from pipelines.excel.book import NOTED, SMALL, Book
from schemas.orders import BY_HEADER

LAST: Final = ("Row", "Reason", "What to fix")
"""The columns at the end of a rejection workbook."""
_LARGE: Final = 30 << 20


class Annotator(WorkerProcess):
    """The process that makes rejection workbooks of senders' own ones."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("pipelines.excel.annotator_worker", [settings.parser_memory_mb << 20], settings.parser_seconds)

    def write_own(self, path: Path, book: Book, original: Path) -> bool:
        """Write a rejection workbook that keeps the columns and formats of the original; whether that could be done.

        The last sheet of the book has the columns LAST, and marks.
        """
        rows = book.sheets[0].rows
        if rows.height * rows.width > SMALL or original.stat().st_size > _LARGE:
            return False
        marks = book.sheets[0].marks
        notes = (
            marks.join(rows.with_row_index("index").select("index", "Row"), on="index").select("Row", "column", "note")
            if marks is not None
            else None
        )
        job = {
            "title": book.title, "advice": book.advice, "facts": book.facts, "by_header": BY_HEADER, "last": LAST,
            "table": [book.table.columns, *book.table.rows()] if book.table is not None else [],
            "rows": rows.select(LAST).rows(), "notes": notes.rows() if notes is not None else [], "noted": NOTED,
        }  # fmt: skip
        try:
            with original.open("rb") as file:
                if file.read(4) != b"PK\x03\x04":
                    return False
                done, content = self.ask(json.dumps(job).encode(), b"PK\x03\x04" + file.read())
        except (EOFError, OSError):
            return False
        if done:
            path.write_bytes(content)
        return bool(done)
