"""Filled cells, row by row, gathered into an Arrow table within the limits.

`pyarrow.compute` is imported by the functions that need it: it takes a quarter of the time in which the parser's process
starts, and most files need none of it.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa

from pipelines.intake.cells import BLANK, letters
from pipelines.intake.header import find_header
from pipelines.intake.parsed import LONGEST, SHORT, Limits, Parsed, UnreadableError
from schemas.headers import header_key

_BLOCK: Final = 4096  # rows that wait as Python text before they become Arrow columns
_BLOCK_TEXT: Final = 16 << 20  # or so much text
_HEAD: Final = 50  # filled rows among which the header is looked for
_LISTED: Final = 20


class Grid:
    """A sheet as its reader finds it: `add` filled cells in the order of rows, `fault` what can't be read.

    `text`: characters so far, with those of sheets that are `used` up before.
    """

    def __init__(self, known: frozenset[str], limits: Limits, used: int = 0) -> None:
        self._known, self._limits = known, limits
        self._waiting: list[tuple[int, dict[int, str]]] = []
        self._blocks: list[dict[int, pa.Array]] = []
        self._rows = array("I")
        self._columns: set[int] = set()
        self._header: tuple[int, set[int]] | None = None
        self.text = self._flushed = used
        self._head: list[tuple[int, dict[int, str]]] = []
        self.faults: list[tuple[int, int, str, str]] = []
        self.notes: list[str] = []
        self.hidden = 0

    def add(self, row: int, cells: Mapping[int, str], times: int = 1) -> None:
        """Take the cells of a row (position to text), or of so many equal ones from there on. Blank ones don't count."""
        filled = {}
        for column, text in cells.items():
            if text.strip(BLANK):
                if len(text) > self._limits.characters:
                    self.fault(row, column, "FILE_TOO_LARGE", long_cell(row, self._limits))
                    text = text[:SHORT]  # noqa: PLW2901
                filled[column] = text
                self.text += len(text) * times
        if not filled:
            return
        if self.text > self._limits.text:
            raise too_much_text(self._limits)
        self._columns |= filled.keys()
        check_size(len(self._rows) + len(self._waiting) + times, len(self._columns), self._limits)
        if len(self._head) < _HEAD:
            self._head.append((row, filled))
        for number in range(row, row + times):
            self._waiting.append((number, filled))
            if len(self._waiting) == _BLOCK:
                self._flush()
        if self.text - self._flushed > _BLOCK_TEXT and len(self._head) == _HEAD:
            self._flush()

    def fault(self, row: int, column: int, reason: str, text: str) -> None:
        """Note a cell that can't be read; too many of them end the reading."""
        self.faults.append((row, column, reason, text[:SHORT]))
        if len(self.faults) > self._limits.findings:
            raise TooManyError(self.faults, self._limits)

    def _flush(self) -> None:
        rows = [self._shortened(row, cells) for row, cells in self._waiting]
        columns = set().union(*rows)
        self._blocks.append({column: pa.array([cells.get(column) for cells in rows], pa.string()) for column in columns})
        self._rows.extend(number for number, _ in self._waiting)
        self._waiting = []
        self._flushed = self.text

    def _shortened(self, row: int, cells: dict[int, str]) -> dict[int, str]:
        """The cells of a row; below the header those that hold no list are cut, as text that one long string makes a
        thousand times.
        """
        if self._header is None:  # it is among the rows of the head, which are all there by now
            header = find_header(self._head, self._known).row
            titles = next((cells for number, cells in self._head if number == header), {})
            self._header = header, {column for column, text in titles.items() if header_key(text) in self._limits.lists}
        header, lists = self._header
        if row <= header or all(len(text) <= LONGEST for text in cells.values()):
            return cells
        return {column: text if column in lists else text[:LONGEST] for column, text in cells.items()}

    @property
    def filled(self) -> bool:
        """Whether any cell has something in it."""
        return bool(self._head or self.faults)

    @property
    def known(self) -> bool:
        """Whether it has a header that we know."""
        return find_header(self._head, self._known).known > 0

    def parsed(self) -> Parsed:
        """All of it as the answer."""
        if self._waiting:
            self._flush()
        if self.hidden:
            self.notes.append(f"{self.hidden} hidden row(s) were read too.")
        header = find_header(self._head, self._known)
        self.notes += header.notes
        columns = {column: _column(self._blocks, column) for column in sorted(self._columns)}
        return Parsed(stream(columns, self._rows), self.faults, self.notes, header.row, header.known)


class TooManyError(UnreadableError):
    """More cells can't be read than anyone would fix one by one."""

    def __init__(self, faults: list[tuple[int, int, str, str]], limits: Limits) -> None:
        super().__init__("FILE_TOO_MANY_ERRORS", f"more than {limits.findings:,} cells or lines can't be used")
        self.first = [
            (row, -1, self.reason, text if column < 0 else f"{letters(column)}{row}: {text}")
            for row, column, _, text in faults[:_LISTED]
        ]


def check_size(rows: int, columns: int, limits: Limits) -> None:
    """Refuse more filled rows, columns or cells of both than are allowed."""
    if columns > limits.columns:
        raise UnreadableError("FILE_TOO_LARGE", f"{columns} columns; at most {limits.columns} are allowed")
    if rows > limits.rows:
        raise UnreadableError("FILE_TOO_LARGE", f"{rows} rows; at most {limits.rows} are allowed")
    if rows * columns > limits.cells:
        raise UnreadableError("FILE_TOO_LARGE", f"{rows} rows of {columns} columns; at most {limits.cells:,} cells are allowed")


def too_much_text(limits: Limits) -> UnreadableError:
    """The error for more text than is allowed."""
    return UnreadableError("FILE_TOO_LARGE", f"more than {limits.text >> 20} MB of text in its cells")


def long_cell(row: int, limits: Limits) -> str:
    """The words for a cell with too many characters."""
    return f"row {row}: a cell of more than {limits.characters} characters"


def from_arrow(columns: Mapping[int, pa.ChunkedArray], rows: "array[int]", known: frozenset[str], limits: Limits) -> Parsed:
    """The answer for a table that a library has read whole: empty columns go, long cells are cut, limits are kept."""
    columns = _filled_columns(columns, limits)
    if len(rows) > limits.rows:  # a height counts filled rows only
        columns, rows = _filled_rows(columns, rows)
    check_size(len(rows), len(columns), limits)
    if sum(chunk.nbytes for column in columns.values() for chunk in column.chunks) > limits.text:
        raise too_much_text(limits)
    faults: list[tuple[int, int, str, str]] = []
    columns = {position: _cut(column, position, rows, limits, faults) for position, column in columns.items()}
    if len(faults) > limits.findings:
        raise TooManyError(faults, limits)
    header = find_header(_head(columns, rows), known)
    return Parsed(stream(columns, rows), sorted(faults), header.notes, header.row, header.known)


def _filled_columns(columns: Mapping[int, pa.ChunkedArray], limits: Limits) -> dict[int, pa.ChunkedArray]:
    filled = {position: column for position, column in columns.items() if column.null_count < len(column)}
    if len(filled) <= limits.columns:  # a stray space makes no column, but only then is it worth looking for
        return filled
    import pyarrow.compute as pc

    return {position: column for position, column in filled.items() if pc.any(_is_filled(column)).as_py()}


def _filled_rows(columns: Mapping[int, pa.ChunkedArray], rows: "array[int]") -> tuple[dict[int, pa.ChunkedArray], "array[int]"]:
    import pyarrow.compute as pc

    masks = [pc.fill_null(_is_filled(column), fill_value=False) for column in columns.values()]
    any_filled = masks[0]
    for mask in masks[1:]:
        any_filled = pc.or_(any_filled, mask)
    numbers = array("I", pc.filter(pa.array(rows, pa.uint32()), any_filled).to_pylist())
    return {position: column.filter(any_filled) for position, column in columns.items()}, numbers


def _is_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.not_equal(pc.ascii_trim(column, BLANK), "")


def _cut(
    column: pa.ChunkedArray, position: int, rows: "array[int]", limits: Limits, faults: list[tuple[int, int, str, str]]
) -> pa.ChunkedArray:
    longest = max((chunk.buffers()[2].size if chunk.buffers()[2] else 0 for chunk in column.chunks), default=0)
    if longest <= limits.characters:
        return column
    import pyarrow.compute as pc

    # bytes are never fewer than characters, and their lengths come from the offsets at no cost
    if (pc.max(pc.binary_length(column)).as_py() or 0) <= limits.characters:
        return column
    long = pc.greater(pc.utf8_length(column), limits.characters)
    numbers = [rows[index] for index in pc.indices_nonzero(pc.fill_null(long, fill_value=False)).to_pylist()]
    faults += [(number, position, "FILE_TOO_LARGE", long_cell(number, limits)) for number in numbers]
    return pc.if_else(long, pc.utf8_slice_codeunits(column, 0, SHORT), column)


def _head(columns: Mapping[int, pa.ChunkedArray], rows: "array[int]") -> list[tuple[int, dict[int, str]]]:
    """The first filled rows; empty ones on top may be many."""
    starts = [_first(column) for column in columns.values()]
    start = min(starts, default=0)
    head: list[tuple[int, dict[int, str]]] = []
    while len(head) < _HEAD and start < len(rows):
        part = {position: column.slice(start, _BLOCK).to_pylist() for position, column in columns.items()}
        for index, number in enumerate(rows[start : start + _BLOCK]):
            cells = {position: texts[index] for position, texts in part.items() if (texts[index] or "").strip(BLANK)}
            if cells:
                head.append((number, cells))
            if len(head) == _HEAD:
                break
        start += _BLOCK
    return head


def _first(column: pa.ChunkedArray) -> int:
    """The row of the first cell."""
    for start in range(0, len(column), _BLOCK):
        part = column.slice(start, _BLOCK)
        if part.null_count < len(part):
            return start + next(place for place, text in enumerate(part.to_pylist()) if text is not None)
    return len(column)


def _column(blocks: Iterable[dict[int, pa.Array]], column: int) -> pa.ChunkedArray:
    chunks = []
    for block in blocks:
        length = len(next(iter(block.values())))
        chunks.append(block.get(column, pa.nulls(length, pa.string())))
    return pa.chunked_array(chunks, pa.string())


def stream(columns: Mapping[int, pa.ChunkedArray], rows: "array[int]") -> memoryview:
    """The columns, named by their positions, and the row numbers, as an Arrow stream."""
    row = pa.Array.from_buffers(pa.uint32(), len(rows), [None, pa.py_buffer(rows)])  # pa.array takes ten times as long
    table = pa.table({**{f"c{position}": column for position, column in columns.items()}, "row": row})
    counted = pa.MockOutputStream()
    _write(table, counted)
    buffer = pa.allocate_buffer(counted.size())  # one that grows takes twice as long
    _write(table, pa.FixedSizeBufferWriter(buffer))
    return memoryview(buffer)


def _write(table: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
