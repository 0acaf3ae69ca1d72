"""From a file's bytes to a frame of text with our column names, through a child process that may die."""

import difflib
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.child import Child
from pipelines.intake.cells import letters
from pipelines.intake.parsed import Parsed
from pipelines.settings import Settings
from schemas.headers import header_key

FAULTS: Final = pl.Schema({"row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String})
_LISTED = 20
_DIGITS: Final = r"[0-9(][0-9 ().+/-]*"


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


class Parser(Child):
    """The process that turns files into tables of text."""

    def __init__(self, settings: Settings) -> None:
        limits = [
            settings.max_inflated_mb << 20, settings.max_rows, settings.max_columns, settings.parser_memory_mb << 20,
            settings.max_cell, settings.max_text_mb << 20, settings.max_findings,
        ]  # fmt: skip
        super().__init__("pipelines.intake.parser_worker", limits, settings.parser_seconds)

    def parse(self, content: bytes, known: Iterable[str]) -> Parsed:
        """What the child makes of a file, of which it knows these header keys; a dead or late child is an unreadable file."""
        seconds = self.seconds(len(content))
        try:
            (faults, notes, header), table = self.ask(content, json.dumps(sorted(known)).encode(), seconds=seconds)
        except TimeoutError:
            found = f"not parsed within {seconds:.3g} seconds"
        except (EOFError, OSError):
            found = "parsing it fails or takes too much memory"
        else:
            return Parsed(table, [tuple(fault) for fault in faults], notes, header)
        return Parsed(faults=[(0, -1, "FILE_UNREADABLE", found)])

    def seconds(self, size: int) -> float:
        """How long parsing so many bytes may take: a second for each MB more than the setting."""
        return self._seconds + size / 2**20


def read(content: bytes, parser: Parser, settings: Settings, names: list[str], by_header: dict[str, str]) -> Table:
    """Read a file's bytes as a table with the columns `names`, whose headers `by_header` knows."""
    if len(content) > settings.max_file_mb << 20:
        return _nothing(names, "FILE_TOO_LARGE", f"more than {settings.max_file_mb} MB")
    if not content:
        return _nothing(names, "FILE_EMPTY", "0 bytes")
    parsed = parser.parse(content, by_header)
    if not parsed.table:
        whole = [fault for fault in parsed.faults if fault[1] < 0]
        return Table(_no_rows(names), [], [], _faults([(row, "", reason, text) for row, _, reason, text in whole]), [])
    # PostgreSQL takes no zero character; what replaces it is as strange to `validate.cells`
    grid = pl.read_ipc_stream(parsed.table)
    grid = grid.with_columns(pl.col(pl.String).str.replace_all("\0", "\ufffd", literal=True))
    header = grid.filter(pl.col("row") == parsed.header)
    if header.is_empty():
        return _nothing(names, "FILE_EMPTY", "no filled row")
    return _table(grid, header.row(0, named=True), parsed, names, by_header)


def _table(
    grid: pl.DataFrame, header: dict[str, Any], parsed: Parsed, names: list[str], by_header: dict[str, str]
) -> Table:  # fmt: skip
    titles = {column: str(text).strip() for column, text in header.items() if column != "row" and text and text.strip()}
    known = {column: by_header[header_key(text)] for column, text in titles.items() if header_key(text) in by_header}
    faults = _repeated(titles, known)
    positions = {name: column for column, name in reversed(known.items())}
    cells = (pl.col(column).str.strip_chars(" \t\r\n").alias(name) for name, column in positions.items())
    body = (
        grid.lazy().filter(pl.col("row") > header["row"]).select("row", *cells)
        .select("row", *(_bare(name) if name in positions else pl.lit(None, pl.String).alias(name) for name in names))
        .filter(pl.any_horizontal(pl.col(names).is_not_null()))
    )  # fmt: skip
    of_cells = [(row, name, reason, text) for row, column, reason, text in parsed.faults
                if row > header["row"] and (name := known.get(f"c{column}"))]  # fmt: skip
    too_long = [fault for fault in of_cells if fault[2] == "FILE_TOO_LARGE"]
    of_cells = [fault for fault in of_cells if fault[2] != "FILE_TOO_LARGE"]
    rows = _with(of_cells, body.collect())
    faults += of_cells
    faults += [(0, "", reason, text) for _, _, reason, text in too_long[:_LISTED]]
    if rows.is_empty() and known:
        faults.append((0, "", "FILE_EMPTY", "no filled row below the header"))
    ignored = [text for column, text in titles.items() if column not in known]
    notes = [*parsed.notes, *_kept_as_text(grid.filter(pl.col("row") > header["row"]), list(positions.values()))]
    others = [column for column in grid.columns if column != "row" and column not in titles]
    if nameless := [column for column in others if grid[column].str.contains(r"\S").any()]:
        shown = ", ".join(letters(int(column[1:])) for column in nameless[:_LISTED])
        notes.append(f"Columns without a header were not used: {shown}{' …' if len(nameless) > _LISTED else ''}.")
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


def _bare(name: str) -> pl.Expr:
    """A cell without the apostrophe that our own reports set before `= + - @`, and without what keeps digits text in Excel.

    Null when nothing is in it.
    """
    text = pl.col(name)
    # the pattern is tried on few cells this way: 0.2 s of a million rows instead of 1.3 s
    return (
        pl.when(text.str.starts_with("'")).then(text.str.replace(rf"^'([=+\-@]|{_DIGITS}$)", "$1"))
        .when(text.str.starts_with('="')).then(text.str.replace(rf'^="({_DIGITS})"$', "$1"))
        .when(text != "").then(text)
    )  # fmt: skip


def _kept_as_text(rows: pl.DataFrame, columns: list[str]) -> list[str]:
    """A note on cells of which `_bare` takes off an apostrophe or `="…"` around digits."""
    if not columns:
        return []
    marked = [pl.col(column).str.strip_chars(" \t\r\n") for column in columns]
    marked = [text.filter(text.str.starts_with("'") | text.str.starts_with('="')) for text in marked]
    counts = rows.select(text.str.contains(rf"""^(?:'{_DIGITS}|="{_DIGITS}")$""").sum() for text in marked)
    cells = sum(counts.row(0))
    return [f'{cells} cell(s) had an apostrophe or ="…" around digits, which was taken off.'] if cells else []


def _repeated(titles: dict[str, str], known: dict[str, str]) -> list[tuple[int, str, str, str]]:
    same = {name: [titles[column] for column in known if known[column] == name] for name in known.values()}
    return [(0, "", "COLUMN_REPEATED", " and ".join(f"“{text}”" for text in twice))
            for twice in same.values() if len(twice) > 1]  # fmt: skip


def missing(table: Table, required: dict[str, str]) -> pl.DataFrame:
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


def _nothing(names: list[str], reason: str, found: str) -> Table:
    return Table(_no_rows(names), [], [], _faults([(0, "", reason, found)]), [])


def _no_rows(names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(names, pl.String)})


def _faults(faults: list[tuple[int, str, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(faults, FAULTS, orient="row")
