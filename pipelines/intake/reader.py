"""Turn the bytes of a file into a frame of text with our column names, through a child process that may die."""

import difflib
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.settings import Settings
from pipelines.common.worker_process import WorkerProcess
from pipelines.intake.parser_worker import Parsed
from schemas.headers import header_key

FAULTS: Final = pl.Schema({"row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String})
_LISTED = 20


class Table(NamedTuple):
    """A file as it was read.

    `rows`: `row` (as the sender counts) and the known columns as trimmed text, absent cells null; rows without any
    filled known cell are left out. `found`: names of the known columns that the file has, and `titles`: all of its
    headers. `faults`: what is wrong, see FAULTS (one that concerns the file has no column). `notes`: remarks.
    """

    rows: pl.DataFrame
    found: list[str]
    titles: list[str]
    faults: pl.DataFrame
    notes: list[str]


class Parser(WorkerProcess):
    """The process that turns files into tables of text."""

    def __init__(self, settings: Settings) -> None:
        limits = [settings.max_inflated_mb << 20, settings.max_rows, settings.max_columns, settings.parser_memory_mb << 20]
        super().__init__("pipelines.intake.parser_worker", limits, settings.parser_seconds)

    def parse(self, content: bytes) -> Parsed:
        """What the child makes of a file; a dead or late child is an unreadable file."""
        try:
            (faults, notes), table = self.ask(content)
        except TimeoutError:
            found = f"not parsed within {self._seconds:g} seconds"
        except (EOFError, OSError):
            found = "parsing it fails or takes too much memory"
        else:
            return Parsed(table, [tuple(fault) for fault in faults], notes)
        return Parsed(faults=[(0, -1, "FILE_UNREADABLE", found)])


def read(content: bytes, parser: Parser, settings: Settings, names: list[str], by_header: dict[str, str]) -> Table:
    """Read a file's bytes as a table with the columns `names`, whose headers `by_header` knows."""
    if len(content) > settings.max_file_mb << 20:
        return _rejected_file(names, "FILE_TOO_LARGE", f"more than {settings.max_file_mb} MB")
    if not content:
        return _rejected_file(names, "FILE_EMPTY", "0 bytes")
    parsed = parser.parse(content)
    if not parsed.table:
        whole = [fault for fault in parsed.faults if fault[1] < 0]
        return Table(_no_rows(names), [], [], _faults([(row, "", reason, text) for row, _, reason, text in whole]), [])
    # PostgreSQL takes no zero character; what replaces it is as strange to `validate.cells`
    grid = pl.read_ipc_stream(parsed.table)
    grid = grid if grid["row"].is_sorted() else grid.sort("row")  # lines that were mended come last
    grid = grid.with_columns(pl.col(pl.String).str.replace_all("\0", "\ufffd", literal=True))
    filled = pl.any_horizontal(pl.col(pl.String).str.contains(r"\S"))
    header = grid.filter(filled).head(1)
    if header.is_empty():
        return _rejected_file(names, "FILE_EMPTY", "no filled row")
    return _table(grid, header.row(0, named=True), parsed, settings, names, by_header)


def _table(
    grid: pl.DataFrame, header: dict[str, Any], parsed: Parsed, settings: Settings, names: list[str],
    by_header: dict[str, str],
) -> Table:  # fmt: skip
    titles = {column: str(text).strip() for column, text in header.items() if text is not None and column != "row"}
    known = {column: by_header[header_key(text)] for column, text in titles.items() if header_key(text) in by_header}
    faults = _repeated(titles, known)
    positions = {name: column for column, name in reversed(known.items())}
    cells = (pl.col(column).str.strip_chars(" \t\r\n").alias(name) for name, column in positions.items())
    body = (
        grid.lazy().filter(pl.col("row") > header["row"]).select("row", *cells)
        .select("row", *(_unguarded(name) if name in positions else pl.lit(None, pl.String).alias(name) for name in names))
        .filter(pl.any_horizontal(pl.col(names).is_not_null()))
    )  # fmt: skip
    of_cells = [(row, name, reason, text) for row, column, reason, text in parsed.faults
                if row > header["row"] and (name := known.get(f"c{column}"))]  # fmt: skip
    rows = _with(of_cells, body.collect())
    faults += of_cells
    faults += _too_long(rows, names, settings.max_cell)
    if rows.is_empty() and known:
        faults.append((0, "", "FILE_EMPTY", "no filled row below the header"))
    ignored = [text for column, text in titles.items() if column not in known]
    notes = [*parsed.notes]
    if ignored:
        shown = ", ".join(f"“{text[:60]}”" for text in ignored[:_LISTED])
        notes.append(f"Columns that were not used: {shown}{' …' if len(ignored) > _LISTED else ''}.")
    return Table(rows, list(positions), list(titles.values()), _faults(faults), notes)


def _with(faults: list[tuple[int, str, str, str]], rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, and those of which nothing but faults is known: a fault stands at a row."""
    if not faults:
        return rows
    told = pl.DataFrame({"row": sorted({fault[0] for fault in faults})}, {"row": pl.UInt32})
    lost = told.join(rows, on="row", how="anti")
    return pl.concat([rows, lost], how="diagonal").sort("row") if len(lost) else rows


def _unguarded(name: str) -> pl.Expr:
    """A cell without the apostrophe that our own reports set before `= + - @`, null when nothing is in it."""
    text = pl.col(name)
    # the pattern is tried on few cells this way: 0.2 s of a million rows instead of 1.3 s
    return pl.when(text.str.starts_with("'")).then(text.str.replace(r"^'([=+\-@])", "$1")).when(text != "").then(text)


def _repeated(titles: dict[str, str], known: dict[str, str]) -> list[tuple[int, str, str, str]]:
    same = {name: [titles[column] for column in known if known[column] == name] for name in known.values()}
    return [(0, "", "COLUMN_REPEATED", " and ".join(f"“{text}”" for text in twice))
            for twice in same.values() if len(twice) > 1]  # fmt: skip


def _too_long(rows: pl.DataFrame, names: list[str], most: int) -> list[tuple[int, str, str, str]]:
    long = rows.filter(pl.any_horizontal(pl.col(names).str.len_chars() > most)).head(_LISTED)
    return [(0, "", "FILE_TOO_LARGE", f"row {row}: a cell of more than {most} characters") for row in long["row"]]


def missing_columns(table: Table, required: dict[str, str]) -> pl.DataFrame:
    """A fault for each required column (name to header) that a file lacks, with the closest header that it has."""
    titles = {title.lower(): title for title in table.titles}
    faults = []
    for name, header in required.items():
        if name not in table.found:
            close = difflib.get_close_matches(header.lower(), titles, 1)
            hint = f"closest is “{titles[close[0]][:60]}”; " if close else ""
            shown = ", ".join(f"“{title[:60]}”" for title in table.titles[:_LISTED])
            faults.append((0, "", "COLUMN_MISSING", f"“{header}” ({hint}the file has {shown or 'no header'})"))
    return _faults(faults)


def _rejected_file(names: list[str], reason: str, found: str) -> Table:
    return Table(_no_rows(names), [], [], _faults([(0, "", reason, found)]), [])


def _no_rows(names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(names, pl.String)})


def _faults(faults: list[tuple[int, str, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(faults, FAULTS, orient="row")
