"""Sheets as calamine reads them: fast, and right where a format's own module says so."""

from array import array
from typing import Any, NamedTuple

import fastexcel
import pyarrow as pa

from pipelines.intake.grid import from_arrow
from pipelines.intake.parsed import Limits, Parsed
from pipelines.intake.sheets import Sheet


class Dense(NamedTuple):
    """A sheet as calamine reads it."""

    answer: Parsed
    filled: bool
    known: bool

    def parsed(self) -> Parsed:
        """All of it as the answer."""
        return self.answer


class Calamine:
    """calamine's view of the workbook; it opens the file when a sheet is asked for."""

    def __init__(self, content: bytes, sheets: list[Sheet], known: frozenset[str], limits: Limits) -> None:
        self._content, self._known, self._limits = content, known, limits
        names = [sheet.name for sheet in sheets]
        self._usable = len(set(names)) == len(names)
        self._reader: Any = None

    def load(self, sheet: Sheet) -> Dense | None:
        """The sheet as calamine reads it; None where it can't, or where a cell is an error, of which it gives no text."""
        batch = self._batch(sheet) if self._usable else None
        if batch is None:
            return None
        columns = {position: pa.chunked_array([column]) for position, column in enumerate(batch.columns)}
        parsed = from_arrow(columns, array("I", range(1, batch.num_rows + 1)), self._known, self._limits)
        return Dense(parsed, parsed.header > 0, parsed.known > 0)

    def _batch(self, sheet: Sheet) -> Any:
        try:
            self._reader = self._reader or fastexcel.read_excel(self._content)
            # skip_rows=0 keeps the empty rows on top, so that row numbers are those that Excel shows
            loaded = self._reader.load_sheet(sheet.name, header_row=None, skip_rows=0, dtypes="string")
            batch, errors = loaded.to_arrow_with_errors()
        except fastexcel.FastExcelError:
            return None
        except BaseException as error:  # a panic of Rust's is no Exception
            if type(error).__name__ != "PanicException":
                raise
            return None
        return None if errors else batch
