"""The reseller's own workbook reduced to its rejected rows, made by a child process that may die of it."""

import json
import os
import stat
from pathlib import Path
from threading import Lock
from typing import Any, Final

import polars as pl

from pipelines.common.settings import Settings
from pipelines.common.worker_process import WorkerProcess
from pipelines.excel.book import NOTED, SMALL, Book
from schemas.orders import BY_HEADER, HEADERS

LAST: Final = ("Row", "Reason", "What to fix")
"""The columns at the end of a rejection workbook."""
Catalogue = tuple[pl.DataFrame, pl.DataFrame]
"""Accounts and access numbers, as the registry has them."""
_LARGE: Final = 30 << 20
_MEMORY, _SECONDS = 1 << 30, 5
"""What the child may take: a courtesy to the reseller is not worth what parsing is; each MB adds a second."""
_ZIP: Final = b"PK\x03\x04"


class Annotator(WorkerProcess):
    """The process that makes rejection workbooks of resellers' own ones. `catalogue`: what our template's lists offer."""

    def __init__(self, settings: Settings, catalogue: Catalogue | None = None) -> None:
        memory, seconds = min(settings.parser_memory_mb << 20, _MEMORY), min(settings.parser_seconds, _SECONDS)
        super().__init__("pipelines.excel.annotator_worker", [memory], seconds, settings.home / ".spool")
        self._catalogue = catalogue
        self._rules: dict[str, Any] = {}
        self._working_out = Lock()

    def write_own(self, path: Path, book: Book, original: Path, reseller: str) -> bool:
        """Write a rejection workbook that keeps the columns and the look of the original; whether that could be done.

        The first sheet of the book has the columns LAST, and marks. The original is opened once, without following a
        link. If it was made from our template, its lists become those of the reseller (of all accounts, if it is empty).
        """
        rows = book.sheets[0].rows
        content = _content(original) if rows.height * rows.width <= SMALL else b""
        if not content.startswith(_ZIP):
            return False
        job = _job(book)
        seconds = self._seconds + len(content) / 2**20
        try:
            outcome, made = self.ask(json.dumps(job).encode(), content, seconds=seconds)
            if outcome == "rules wanted":
                job["rules"] = self._rules_of(reseller)
                outcome, made = self.ask(json.dumps(job).encode(), content, seconds=seconds)
        except (EOFError, OSError):
            return False
        if outcome == "annotated":
            path.write_bytes(made)
        return bool(outcome == "annotated")

    def _rules_of(self, reseller: str) -> Any:
        """The checks and lists of our template for a reseller."""
        from pipelines.excel.order_rules import offered, sheet_rules

        with self._working_out:
            if reseller not in self._rules and self._catalogue:
                self._rules[reseller] = sheet_rules(offered(*self._catalogue, reseller))
        return self._rules.get(reseller, ([], {}))


def _job(book: Book) -> dict[str, Any]:
    """What the child needs of a book, as JSON has it."""
    rows, marks = book.sheets[0].rows, book.sheets[0].marks
    notes: list[Any] = []
    if marks is not None:
        source_rows = rows.with_row_index("index").select("index", "Row")
        notes = marks.join(source_rows, on="index").select("Row", "column", "note").rows()
    return {
        "title": book.title, "advice": book.advice, "key_values": book.key_values, "table": book.table_rows(), "last": LAST,
        "by_header": BY_HEADER, "headers": list(HEADERS.values()), "rows": rows.select(LAST).rows(), "notes": notes,
        "noted": NOTED, "rules": None,
    }  # fmt: skip


def _content(path: Path) -> bytes:
    """The bytes of a file; none of a link, of what is not a file, and of a large one."""
    try:
        with open(path, "rb", opener=_no_link) as file:
            about = os.fstat(file.fileno())
            return file.read(_LARGE + 1) if stat.S_ISREG(about.st_mode) and about.st_size <= _LARGE else b""
    except OSError:
        return b""


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
