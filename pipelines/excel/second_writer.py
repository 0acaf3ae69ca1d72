"""A second process that writes workbooks, as Python makes just one at a time of the many that a delivery has."""

import json
from datetime import datetime
from io import BytesIO
from pathlib import Path
from threading import Semaphore
from typing import Any, Final

import polars as pl

from pipelines.common.worker_process import WorkerProcess
from pipelines.excel import writers
from pipelines.excel.book import SMALL, Book, Sheet

MANY: Final = 100
"""With fewer workbooks to write, starting the process takes longer than it helps."""
_SECONDS: Final = 60.0
_WAITING: Final = 4
"""So many workbooks are handed over ahead of need: a thread that brings the next one may have to wait for its turn among the
threads here, and meanwhile the process would have nothing to do."""


class SecondWriter(WorkerProcess):
    """Writes as many of the workbooks as it gets done; the others are written here.

    `workbooks`: how many there will be at the most.
    """

    def __init__(self, workbooks: int) -> None:
        super().__init__("pipelines.excel.writer_worker", [], _SECONDS)
        self._room = Semaphore(_WAITING)
        self._is_worth_it = workbooks >= MANY

    def write(self, path: Path, book: Book) -> None:
        """Write a workbook, see `writers.write`."""
        if not self._is_worth_it or sum(sheet.rows.height * sheet.rows.width for sheet in book.sheets) > SMALL:
            writers.write(path, book)
        elif self._room.acquire(blocking=False):
            try:
                path.write_bytes(self.ask_in_turn(*packed(book))[1])
            except (EOFError, OSError):
                writers.write(path, book)
            finally:
                self._room.release()
        else:
            writers.write(path, book)


def packed(book: Book) -> tuple[bytes, bytes]:
    """A book of a title, advice, key values and sheets without marks, as JSON, and its frames as Arrow streams in a row."""
    streams = [_stream(sheet.rows) for sheet in book.sheets]
    key_values = [
        (name, {"at": value.isoformat()} if isinstance(value, datetime) else value) for name, value in book.key_values
    ]
    sheets = [(sheet.title, len(stream), sheet.formats) for sheet, stream in zip(book.sheets, streams, strict=True)]
    about = {"title": book.title, "advice": book.advice, "key_values": key_values, "opens_on": book.opens_on, "sheets": sheets}
    return json.dumps(about).encode(), b"".join(streams)


def _stream(frame: pl.DataFrame) -> bytes:
    stream = BytesIO()
    frame.write_ipc_stream(stream)
    return stream.getvalue()


def unpacked(about: bytes, streams: bytes) -> Book:
    """The book that was packed."""
    fields: dict[str, Any] = json.loads(about)
    sheets, start = [], 0
    for title, size, formats in fields.pop("sheets"):
        sheets.append(Sheet(title, pl.read_ipc_stream(streams[start : start + size]), formats=formats))
        start += size
    key_values = [
        (name, datetime.fromisoformat(value["at"]) if isinstance(value, dict) else value)
        for name, value in fields.pop("key_values")
    ]
    return Book(**fields, key_values=key_values, sheets=sheets)
