"""CSV files in which no cell can become a formula."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import polars as pl

_FEW: Final = 1_000
_DANGEROUS: Final = r"^[=+\-@\t\r]"
_IS_DANGEROUS: Final = re.compile(_DANGEROUS).match
_PLAIN: Final = (pl.String, pl.Int64, pl.UInt32)
"""The types of columns that Python writes as Polars does; an empty cell that is a row by itself it would quote."""


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """A CSV file in which no cell can become a formula (OWASP, “CSV injection”): an apostrophe goes before it."""
    if _is_plain(frame):
        path.write_text(csv_text(frame), "utf-8", newline="")
        return
    with path.open("wb") as file:
        _safe(frame).write_csv(file, line_terminator="\r\n")


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """The content of such a file."""
    text = csv_text(frame) if _is_plain(frame) else _safe(frame).write_csv(line_terminator="\r\n")
    return text.encode()


def _is_plain(frame: pl.DataFrame) -> bool:
    return len(frame) <= _FEW and frame.width > 1 and all(kind in _PLAIN for kind in frame.dtypes)


def csv_text(frame: pl.DataFrame) -> str:
    """The text of such a file, made by Python: Polars takes ten times as long to write a few rows."""
    written = io.StringIO(newline="")
    lines = csv.writer(written, lineterminator="\r\n")
    lines.writerow(frame.columns)
    cells = (
        [f"'{cell}" if isinstance(cell, str) and _IS_DANGEROUS(cell) else cell for cell in column.to_list()]
        for column in frame.iter_columns()
    )
    lines.writerows(zip(*cells, strict=True))
    return written.getvalue()


def write_csv_parts(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """The same of frames that are written one after the other; how many rows they have. The first one gives the header."""
    rows = 0
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            file.write(_safe(frame).write_csv(line_terminator="\r\n", include_header=number == 0).encode())
            rows += len(frame)
    return rows


def write_data(frame: pl.DataFrame, path: Path, free_text: list[str]) -> None:
    """A CSV file for programs: times as ISO 8601 in UTC (`2026-11-24T08:00:00Z`). Only `free_text` is looked at for what could
    become a formula; the other columns hold what we make up.
    """
    _as_data(frame, free_text).write_csv(path, line_terminator="\r\n")


def write_data_parts(frames: Iterable[pl.DataFrame], path: Path, free_text: list[str]) -> None:
    """The same of frames that are written one after the other. The first one gives the header."""
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            _as_data(frame, free_text).write_csv(file, line_terminator="\r\n", include_header=number == 0)


def _as_data(frame: pl.DataFrame, free_text: list[str]) -> pl.DataFrame:
    safe = _safe(frame, free_text) if free_text else frame
    return safe.with_columns(_times(column) for column in safe if column.dtype.is_temporal())


def _times(column: pl.Series) -> pl.Series:
    """Times or dates as text. Of each there are many, so each is made once."""
    times = column.unique()
    is_date = column.dtype == pl.Date
    texts = times.dt.strftime("%Y-%m-%d" if is_date else "%Y-%m-%dT%H:%M:%SZ")
    return column.replace_strict(times, texts, return_dtype=pl.String)


def _safe(frame: pl.DataFrame, columns: list[str] | None = None) -> pl.DataFrame:
    text = pl.col(columns or pl.String)
    safe = pl.when(text.str.contains(_DANGEROUS)).then("'" + text).when(text != "").then(text)
    return frame.with_columns(safe.name.keep())
