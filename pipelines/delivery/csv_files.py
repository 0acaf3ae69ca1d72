"""CSV files in which no cell can become a formula."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import polars as pl

_FEW: Final = 10_000
_DANGEROUS: Final = r"^[=+\-@\t\r]"


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """A CSV file in which no cell can become a formula (OWASP, “CSV injection”): an apostrophe goes before it."""
    rows = _safe(frame)
    if len(rows) > _FEW:
        with path.open("wb") as file:
            rows.write_csv(file, line_terminator="\r\n")
    else:  # to have Polars write into a file costs ten times as much as to write a small one
        path.write_text(rows.write_csv(line_terminator="\r\n"), "utf-8", newline="")


def write_csv_parts(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """The same of frames that are written one after the other; how many rows they have. The first one gives the header."""
    rows = 0
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            file.write(_safe(frame).write_csv(line_terminator="\r\n", include_header=number == 0).encode())
            rows += len(frame)
    return rows


def _safe(frame: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(pl.String)
    safe = pl.when(text.str.contains(_DANGEROUS)).then("'" + text).when(text != "").then(text)
    return frame.with_columns(safe.name.keep())
