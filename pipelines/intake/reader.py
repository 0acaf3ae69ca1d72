"""Turn the bytes of a file into a frame of text with our column names, through a child process that may die."""

import difflib
import json
import time
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, Final, NamedTuple

import polars as pl
import pyarrow as pa

from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.common.worker_process import WorkerProcess
from pipelines.intake.cells import letters
from pipelines.intake.parsed import Parsed
from schemas.findings import NO_FINDINGS, findings
from schemas.headers import header_key

_LISTED: Final = 20
_LARGE: Final = 32 << 20
_LIST: Final = "code"
"""The one column whose cells may hold a list, and be long."""
_DIGITS: Final = r"[0-9(][0-9 ().+/-]*"
_MARKS: Final = (b"'", b'="')
_BLANK: Final = " \t\r\n"
_LOST: Final = "\ufffd"
_TITLE: Final = 60
"""So many characters of a header are shown."""


class Table(NamedTuple):
    """A file as it was read.

    `rows`: `source_row` (as the reseller counts) and the known columns as trimmed text, absent cells null; rows without
    any filled known cell are left out. `found`: names of the known columns that the file has, and `titles`: all of its
    headers. `findings`: what is wrong, see `schemas.findings`. `notes`: remarks. `parse_seconds`: how long the child took.
    """

    rows: pl.DataFrame
    found: list[str]
    titles: list[str]
    findings: pl.DataFrame
    notes: list[str]
    parse_seconds: float = 0.0


class Parser(WorkerProcess):
    """The process that turns files into tables of text."""

    def __init__(self, settings: Settings) -> None:
        limits = [
            settings.max_inflated_mb << 20, settings.max_rows, settings.max_columns, settings.parser_memory_mb << 20,
            settings.max_cell, settings.max_text_mb << 20, settings.max_findings,
        ]  # fmt: skip
        super().__init__("pipelines.intake.parser_worker", limits, settings.parser_seconds)
        self.turn = Lock()

    def parse(self, content: bytes, by_header: Mapping[str, str]) -> tuple[Parsed, float]:
        """What the child makes of a file of which it knows these header keys (to the names of columns), and the seconds that
        it took. A dead or late child is an unreadable file. Threads take turns: hold `turn`.
        """
        begun = time.monotonic()
        parsed = self._parse(content, by_header)
        return parsed, time.monotonic() - begun

    def _parse(self, content: bytes, by_header: Mapping[str, str]) -> Parsed:
        seconds = self.seconds(len(content))
        keys = [sorted(by_header), sorted(key for key, name in by_header.items() if name == _LIST)]
        try:
            (faults, notes, header), table = self.ask(content, json.dumps(keys).encode(), seconds=seconds)
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
        return rejected_file(names, "FILE_TOO_LARGE", f"more than {settings.max_file_mb} MB")
    if not content:
        return rejected_file(names, "FILE_EMPTY", "0 bytes")
    with parser.turn:
        parsed, seconds = parser.parse(content, by_header)
        del content
        if len(parsed.table) > _LARGE:  # the next is not parsed meanwhile: both together would take too much memory
            return _as_table(parsed, names, by_header)._replace(parse_seconds=seconds)
    return _as_table(parsed, names, by_header)._replace(parse_seconds=seconds)


def _as_table(parsed: Parsed, names: list[str], by_header: dict[str, str]) -> Table:
    if not parsed.table:
        whole = [fault for fault in parsed.faults if fault[1] < 0]
        return Table(no_rows(names), [], [], findings([(0, "", reason, text) for _, _, reason, text in whole]), [])
    sent = pa.ipc.open_stream(parsed.table).read_all()
    at = pl.Series(sent["row"]).index_of(parsed.header)
    if at is None:
        return rejected_file(names, "FILE_EMPTY", "no filled row")
    return _table(sent, sent.slice(at, 1).to_pylist()[0], parsed, names, by_header)


def _table(sent: pa.Table, header: dict[str, Any], parsed: Parsed, names: list[str], by_header: dict[str, str]) -> Table:
    texts = {column: str(text).replace("\0", _LOST).strip() for column, text in header.items() if column != "row" and text}
    titles = {column: text for column, text in texts.items() if text}
    known = {column: by_header[header_key(text)] for column, text in titles.items() if header_key(text) in by_header}
    positions = {name: column for column, name in reversed(known.items())}
    below = _below(bytes(parsed.table), header["row"], list(positions.values()))
    is_marked = _has_marks(sent)
    cells, unguarded = _cell_expressions(tuple(names), tuple(positions.items()), is_marked=is_marked)
    body = below.select(cells).select(unguarded).filter(pl.any_horizontal(pl.col(names).is_not_null()))
    of_cells, too_long = _cell_findings(parsed, header["row"], known)
    rows = _with_findings(of_cells, body.collect())
    found = [frame for frame in (findings(_repeated(titles, known)), of_cells, too_long) if len(frame)]
    if rows.is_empty() and known:
        found.append(findings([(0, "", "FILE_EMPTY", "no filled row below the header")]))
    kept = _kept_as_text(below, list(positions.values())) if is_marked else []
    notes = [*parsed.notes, *kept, *_nameless(sent, titles), *_ignored(titles, known)]
    return Table(rows, list(positions), list(titles.values()), pl.concat([NO_FINDINGS, *found]), notes)


def _cell_findings(parsed: Parsed, header: int, known: dict[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Findings about cells of known columns below the header, and about cells that make the whole file too large."""
    faults = [(row, name, reason, text) for row, column, reason, text in parsed.faults
              if row > header and (name := known.get(f"c{column}"))]  # fmt: skip
    too_long = [(0, "", reason, text) for _, _, reason, text in faults if reason == "FILE_TOO_LARGE"]
    return findings([fault for fault in faults if fault[2] != "FILE_TOO_LARGE"]), findings(too_long[:_LISTED])


def _has_marks(sent: pa.Table) -> bool:
    """Whether any text has an apostrophe or `="` in it; most files have none, and to look at each cell takes far longer."""
    buffers = (buffer for column in sent.columns for chunk in column.chunks for buffer in chunk.buffers()[2:] if buffer)
    return any(mark in buffer.to_pybytes() for buffer in buffers for mark in _MARKS)


def _below(table: bytes, header: int, columns: list[str]) -> pl.LazyFrame:
    """The rows below the header, with the known columns alone: the others may be many, and are never looked at."""
    grid = pl.read_ipc_stream(table, columns=["row", *columns])  # a copy: the answer can go
    return grid.lazy().filter(pl.col("row") > header)


@lru_cache(maxsize=256)  # the layouts are strangers'
def _cell_expressions(
    names: tuple[str, ...], positions: tuple[tuple[str, str], ...], *, is_marked: bool
) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """The columns `names` of a file that has them at these positions, in two steps, made once for files of one layout.

    `is_marked`: whether any cell may hold what `_unguarded` takes off.
    """
    # PostgreSQL takes no zero character; what replaces it is found by the rule about characters
    cells = [
        pl.col(column).str.replace_all("\0", _LOST, literal=True).str.strip_chars(_BLANK).alias(name)
        for name, column in positions
    ]
    there = {name for name, _ in positions}
    take = _unguarded if is_marked else _filled
    found = [take(name) if name in there else pl.lit(None, pl.String).alias(name) for name in names]
    return [pl.col("row").alias("source_row"), *cells], [pl.col("source_row"), *found]


def _nameless(sent: pa.Table, titles: dict[str, str]) -> list[str]:
    """A remark on filled columns without a header."""
    others = [column for column in sent.column_names if column != "row" and column not in titles]
    nameless = [column for column in others if _is_used(pl.Series(sent[column]))]
    shown = ", ".join(letters(int(column[1:])) for column in nameless[:_LISTED])
    return [f"Columns without a header were not used: {shown}{' …' if len(nameless) > _LISTED else ''}."] if nameless else []


def _is_used(column: pl.Series) -> bool:
    return bool((column.str.strip_chars() != "").any())


def _ignored(titles: dict[str, str], known: dict[str, str]) -> list[str]:
    """A remark that names the columns of a file that are not used."""
    ignored = [text for column, text in titles.items() if column not in known]
    shown = ", ".join(f"“{text[:60]}”" for text in ignored[:_LISTED])
    return [f"Columns that were not used: {shown}{' …' if len(ignored) > _LISTED else ''}."] if ignored else []


def _with_findings(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, and those of which nothing but findings is known: a finding stands at a row."""
    if found.is_empty():
        return rows
    of_rows = found.filter(pl.col("source_row") > 0).select(pl.col("source_row").unique().sort())
    lost = of_rows.join(rows, on="source_row", how="anti")
    return pl.concat([rows, lost], how="diagonal").sort("source_row") if len(lost) else rows


def _filled(name: str) -> pl.Expr:
    """A cell; null when nothing is in it."""
    return pl.when(pl.col(name) != "").then(name)


def _unguarded(name: str) -> pl.Expr:
    """A cell without the apostrophe that our own reports set before `= + - @`, and without what keeps digits text in Excel
    (an apostrophe, or `="…"`); null when nothing is in it.
    """
    text = pl.col(name)
    # the pattern is tried on few cells this way: 0.2 s of a million rows instead of 1.3 s
    return (
        pl.when(text.str.starts_with("'")).then(text.str.replace(rf"^'([=+\-@]|{_DIGITS}$)", "$1"))
        .when(text.str.starts_with('="')).then(text.str.replace(rf'^="({_DIGITS})"$', "$1"))
        .when(text != "").then(text)
    )  # fmt: skip


def _kept_as_text(rows: pl.LazyFrame, columns: list[str]) -> list[str]:
    """A remark on cells of which `_unguarded` takes off an apostrophe or `="…"` around digits."""
    if not columns:
        return []
    marked = [pl.col(column).str.strip_chars(_BLANK) for column in columns]
    marked = [text.filter(text.str.starts_with("'") | text.str.starts_with('="')) for text in marked]
    counts = rows.select(text.str.contains(rf"""^(?:'{_DIGITS}|="{_DIGITS}")$""").sum() for text in marked).collect()
    cells = sum(counts.row(0))
    return [f'{count(cells, "cell")} had an apostrophe or ="…" around digits, which was removed.'] if cells else []


def _repeated(titles: dict[str, str], known: dict[str, str]) -> list[tuple[int, str, str, str]]:
    same = {name: [titles[column] for column in known if known[column] == name] for name in known.values()}
    return [(0, "", "COLUMN_REPEATED", " and ".join(f"“{text}”" for text in twice))
            for twice in same.values() if len(twice) > 1]  # fmt: skip


def missing_columns(table: Table, required: dict[str, str]) -> pl.DataFrame:
    """A finding for each required column (name to header) that a file lacks, with the closest header that it has."""
    titles = {title.lower()[:_TITLE]: title[:_TITLE] for title in table.titles}
    shown = ", ".join(f"“{title[:_TITLE]}”" for title in table.titles[:_LISTED]) or "no header"
    found = []
    for name, header in required.items():
        if name not in table.found:
            close = difflib.get_close_matches(header.lower(), titles, 1)
            hint = f"closest is “{titles[close[0]]}”; " if close else ""
            found.append((0, "", "COLUMN_MISSING", f"“{header}” ({hint}the file has {shown})"))
    return findings(found)


def rejected_file(names: list[str], reason: str, value: str, notes: list[str] | None = None) -> Table:
    """A table of nothing but a finding about the whole file."""
    return Table(no_rows(names), [], [], findings([(0, "", reason, value)]), notes or [])


def no_rows(names: list[str]) -> pl.DataFrame:
    """The rows of a file that has none."""
    return pl.DataFrame(schema={"source_row": pl.UInt32, **dict.fromkeys(names, pl.String)})
