"""A batch: several order files in shared frames, with everything that can be said of them without the registry."""

from itertools import accumulate
from typing import Final, NamedTuple

import polars as pl

from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import Table, missing_columns, rejected_file
from pipelines.orders import file_rules, normalize
from schemas import actions
from schemas.findings import FINDING, MAX_FINDINGS, NO_FINDINGS, ROW, findings, flooded_files
from schemas.orders import HEADERS, NAMES
from schemas.sources import OPERATOR

_SHOWN: Final = 100
"""So many rows are shown of a file that has too many findings."""
_CODE_BYTES: Final = 32
"""So many bytes of a cell are no more than a code takes, with whatever stands around it."""
_CODES_BYTES: Final = 32 << 20
"""So many bytes of codes are accepted of any file."""


class OrderFile(NamedTuple):
    """A file of a batch: its number there, its private copy, what it holds, the event that answered the same bytes
    before (0: none), whether it was in hand when an earlier run died, the event that it answers again (0: none), and the holds
    whose orders alone that concerns, as they were decided.
    """

    number: int
    copy: PrivateCopy
    table: Table
    original_event: int = 0
    suspect: bool = False
    replays: int = 0
    decided: tuple[int, ...] = ()


class Batch(NamedTuple):
    """Some files in shared frames.

    `sources`: `file`, `source`, `operator`; `digests`: `file`, `key` of their bytes; `rows`: normalized, with `row_id`,
    `file`, `source_row`, `order`; `raw`: the same rows as they were dropped; `orders`: see `normalize.group_orders`;
    `codes`: `row_id`, `order`, `file`, `source_row`, `code`; `findings`: see `schemas.findings`.
    """

    files: list[OrderFile]
    sources: pl.DataFrame
    digests: pl.DataFrame
    raw: pl.DataFrame
    rows: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    findings: pl.DataFrame

    def subset(self, files: list[OrderFile]) -> "Batch":
        """The part of the batch that concerns these files; of those that were answered before, nothing but the files."""
        mine = pl.col("file").is_in([file.number for file in files])
        decided = pl.col("file").is_in([file.number for file in files if not file.original_event])
        names = ("raw", "rows", "orders", "codes", "findings")
        if len(files) == len(self.files) and not any(file.original_event for file in files):
            return self._replace(files=files)
        return self._replace(
            files=files,
            sources=self.sources.filter(mine),
            digests=self.digests.filter(mine),
            **{name: getattr(self, name).filter(decided) for name in names},
        )


def first_files(batch: Batch, most: int) -> list[OrderFile]:
    """The first files of a batch that ask for no more than `most` codes together; at least one."""
    drawn = dict(batch.rows.group_by("file").agg(pl.col("quantity").cast(pl.Int64, strict=False).sum()).iter_rows())
    named = dict(batch.codes.group_by("file").len().iter_rows())
    sizes = [min(drawn.get(file.number) or 0, most) + named.get(file.number, 0) for file in batch.files]
    fitting = sum(1 for total in accumulate(sizes) if total <= most)
    return batch.files[: max(1, fitting)]


def build_batch(files: list[OrderFile], max_quantity: int, max_findings: int) -> Batch:
    """Everything that can be said of files without the catalogue and the registry."""
    files = [_within_codes(file, max_quantity) for file in files]
    raw = _concat_files(files, [file.table.rows for file in files], pl.DataFrame(schema=_RAW))
    missing = [_missing_columns(file.table) for file in files]
    found = [pl.concat([file.table.findings, more]) for file, more in zip(files, missing, strict=True)]
    of_files = _concat_files(files, found, NO_FINDINGS).select(*FINDING)
    raw = raw.with_row_index("row_id").select("row_id", "file", "source_row", *NAMES)
    complete, crowded = normalize.crowded_cells(raw)
    of_cells = pl.concat([of_files, file_rules.character_findings(raw), crowded])
    orders, rows = normalize.group_orders(normalize.normalize(complete))
    codes, about_codes = normalize.list_codes(rows)
    about_rows = pl.concat(
        [
            file_rules.row_findings(rows, max_quantity),
            file_rules.order_findings(rows),
            about_codes,
            file_rules.repeated_codes(codes.join(rows.select("row_id", "action"), on="row_id", maintain_order="left")),
        ]
    )
    about_rows = about_rows.join(_missing_by_file(files, missing), on=["file", "column"], how="anti", maintain_order="left")
    flooded = flooded_files(about_rows, MAX_FINDINGS)  # of which some findings may not be known
    every = pl.concat([of_cells, _independent_findings(about_rows, of_cells)])
    batch = Batch(files, _sources(files), _digests(files), raw, rows, orders, codes, every)
    return _without_floods(batch, pl.concat([flooded, flooded_files(every, max_findings)]).unique(), max_findings)


def _within_codes(file: OrderFile, most: int) -> OrderFile:
    """The file, refused as a whole if it names more than so many codes, which would be a row each, or if its cells of codes
    hold far more text than these would.
    """
    rows = file.table.rows
    size = int(rows["code"].str.len_bytes().sum())
    if size <= most or (size <= max(_CODE_BYTES * most, _CODES_BYTES) and normalize.count_codes(rows) <= most):
        return file
    refused = rejected_file(NAMES, "FILE_TOO_LARGE", f"more than {most:,} codes in its cells", file.table.notes)
    return file._replace(table=refused._replace(parse_seconds=file.table.parse_seconds))


_RAW = pl.Schema({"source_row": pl.UInt32, **dict.fromkeys(NAMES, pl.String), "file": pl.UInt32})


def _concat_files(files: list[OrderFile], frames: list[pl.DataFrame], none: pl.DataFrame) -> pl.DataFrame:
    """One frame of those of the files, with the number of the `file`."""
    if len(files) == 1:  # a column that it lacks stays a single value this way: 0.3 s of a million rows
        return frames[0].with_columns(file=pl.lit(files[0].number, pl.UInt32))
    numbered = [
        frame.with_columns(file=pl.lit(file.number, pl.UInt32)) for file, frame in zip(files, frames, strict=True) if len(frame)
    ]
    return pl.concat([none, *numbered], how="diagonal")


def _sources(files: list[OrderFile]) -> pl.DataFrame:
    sources = [(file.number, file.copy.file.source, file.copy.file.source == OPERATOR) for file in files]
    return pl.DataFrame(sources, {"file": pl.UInt32, "source": pl.String, "operator": pl.Boolean}, orient="row")


def _digests(files: list[OrderFile]) -> pl.DataFrame:
    keys = [(file.number, f"{file.copy.file.source}/{file.copy.digest}") for file in files]
    return pl.DataFrame(keys, {"file": pl.UInt32, "key": pl.String}, orient="row")


def _missing_columns(table: Table) -> pl.DataFrame:
    """COLUMN_MISSING findings: what every order needs, what an Add needs, and something that names or counts cards."""
    if not table.titles:
        return NO_FINDINGS
    required = ["account", "customer_order_id"]
    if not {"product", "access_number"} <= set(table.found) and table.rows.select(_adds().any()).item():
        required += ["product", "access_number"]
    if not {"code", "quantity", "target_order_id"} & set(table.found) and table.rows.select((~_cancels()).any()).item():
        required.append("code")
    return missing_columns(table, {name: HEADERS[name] for name in required})


def _adds() -> pl.Expr:
    return pl.col("action").str.to_lowercase().is_in(["add", "a"]).fill_null(value=True)


def _cancels() -> pl.Expr:
    return pl.col("action").str.to_lowercase().is_in([name.lower() for name in actions.cancelling()]).fill_null(value=False)


def _missing_by_file(files: list[OrderFile], missing: list[pl.DataFrame]) -> pl.DataFrame:
    """`file` and `column` of the columns that a file lacks, where it says so."""
    pairs = [
        (file.number, name)
        for file, found in zip(files, missing, strict=True) if len(found)
        for name in NAMES if name not in file.table.found
    ]  # fmt: skip
    return pl.DataFrame(pairs, {"file": pl.UInt32, "column": pl.String}, orient="row")


def _independent_findings(about_rows: pl.DataFrame, of_cells: pl.DataFrame) -> pl.DataFrame:
    """The findings without those that only follow from a cell that can't be read."""
    cell = ["file", "source_row", "column"]
    follows = of_cells.filter(pl.col("column").is_in(["code", "quantity", "btn"])).with_columns(column=pl.lit("code_type"))
    unread = pl.concat([of_cells.select(cell), follows.select(cell)])
    return about_rows.join(unread, on=cell, how="anti", maintain_order="left")


def _without_floods(batch: Batch, flooded: pl.Series, most: int) -> Batch:
    """The batch in which the flooded files are answered as a whole, with the first of their rows."""
    if flooded.is_empty():
        return batch
    found = first_of_floods(batch.findings, flooded, most)
    mine = pl.col("file").is_in(flooded.implode())
    shown = found.filter(mine).select(ROW).unique()

    def kept(frame: pl.DataFrame) -> pl.DataFrame:
        first = frame.filter(mine).join(shown, on=ROW, how="semi", maintain_order="left")
        return pl.concat([frame.filter(~mine), first])

    rows = kept(batch.rows)
    orders = batch.orders.join(rows, on="order", how="semi", maintain_order="left")
    return batch._replace(raw=kept(batch.raw), rows=rows, orders=orders, codes=kept(batch.codes), findings=found)


def first_of_floods(found: pl.DataFrame, flooded: pl.Series, most: int) -> pl.DataFrame:
    """The findings, but of flooded files only those that concern the file as a whole, the first rows, and that there are more
    than `most`.
    """
    if flooded.is_empty():
        return found
    mine = pl.col("file").is_in(flooded.implode())
    of_rows = found.filter(mine, pl.col("source_row") > 0)
    shown = of_rows.select(ROW).unique().sort(ROW).filter(pl.int_range(pl.len()).over("file") < _SHOWN)
    words = f"more than {most:,} errors; the first {_SHOWN} rows are shown"
    whole = pl.concat([findings([(0, "", "FILE_TOO_MANY_ERRORS", words)], file) for file in flooded])
    first = of_rows.join(shown, on=ROW, how="semi", maintain_order="left")
    return pl.concat([found.filter(~mine), first, whole, found.filter(mine, pl.col("source_row") == 0)])
