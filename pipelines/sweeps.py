"""What lies in the inbox, as shared frames: files are read in portions, and all is said of them that needs no registry."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines import inbox, validate
from pipelines.files import threads
from pipelines.inbox import Drop
from pipelines.readers import Parser, Table, missing, read
from pipelines.registry import Registry
from pipelines.settings import Settings
from pipelines.world import World
from schemas import orders
from schemas.orders import HEADERS, NAMES

_BATCH_BYTES: Final = 256 << 20


class File(NamedTuple):
    """A file of the sweep: its number there, where it lies, what it holds, and the event that answered it before."""

    number: int
    drop: Drop
    digest: str
    table: Table
    answers: int = 0


class Sweep(NamedTuple):
    """Some files in shared frames, and all that can be said of them without the registry.

    `rows`: a line each, canonical, with `line`, `file`, `row`, `order`; `raw`: the same lines as they came;
    `orders`: see `validate.grouped`; `codes`: `line`, `order`, `file`, `code`; `findings`: see `validate.FINDINGS`;
    `faults`: `file`, `reason`, `value` of what concerns a whole file.
    """

    files: list[File]
    raw: pl.DataFrame
    rows: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    findings: pl.DataFrame
    faults: pl.DataFrame

    def only(self, files: list[File]) -> "Sweep":
        """The part of the sweep that concerns these files."""
        if len(files) == len(self.files):
            return self._replace(files=files)
        mine = pl.col("file").is_in([file.number for file in files])
        rows = self.rows.filter(mine)
        parts = [frame.filter(mine) for frame in (self.raw, self.orders, self.codes, self.faults)]
        found = self.findings.join(rows.select("line"), on="line", how="semi")
        return Sweep(files, parts[0], rows, parts[1], parts[2], found, parts[3])


def batches(drops: list[Drop]) -> Iterator[list[Drop]]:
    """The files in portions that fit into memory together."""
    batch: list[Drop] = []
    size = 0
    for drop in drops:
        if batch and size + drop.size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(drop)
        size += drop.size
    if batch:
        yield batch


def taken(drops: list[Drop], parser: Parser, settings: Settings, registry: Registry, world: World) -> list[File]:
    """The files with what they hold; those that were answered before are not read again."""
    contents = {drop: inbox.content_of(drop, settings.max_file_mb << 20) for drop in drops}
    digests = {drop: inbox.digest_of(content) for drop, content in contents.items() if content is not None}
    seen = answered_before([(drop.sender, digest) for drop, digest in digests.items()], registry)

    def table(drop: Drop) -> Table:
        content = contents.pop(drop)  # no longer held than it is needed: it may be large
        before = (drop.sender, digests[drop]) in seen
        return _UNREAD if before else read(content or b"", parser, settings, NAMES, orders.BY_HEADER)

    files: list[File] = []
    with threads() as pool:  # while the child parses a file another becomes a frame
        tables = pool.map(table, digests)
        for done, (drop, digest) in enumerate(digests.items()):
            world.progress("reading", done, len(digests))
            before = seen.get((drop.sender, digest), {"answered": 1, "answers": 0})
            read_table = next(tables)
            if before["answered"]:  # else another worker is at it
                files.append(File(len(files), drop, digest, read_table, before["answers"]))
                world.step("read")
    world.progress("reading", len(digests), len(digests))
    return files


def answered_before(files: list[tuple[str, str]], registry: Registry) -> dict[tuple[str, str], dict[str, Any]]:
    """The latest events of files (sender and digest) of which the same bytes came before."""
    asked = pl.DataFrame(files, ["sender", "digest"], orient="row")
    return {(one["sender"], one["digest"]): one for one in registry.seen(asked).iter_rows(named=True)}


_UNREAD: Final = Table(
    pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(NAMES, pl.String)}), [], [],
    pl.DataFrame(schema={"row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String}), [],
)  # fmt: skip


def prepare(files: list[File], settings: Settings) -> Sweep:
    """All that can be said of files without the catalogue and the registry."""
    schema = {"line": pl.UInt32, "row": pl.UInt32, **dict.fromkeys(NAMES, pl.String), "file": pl.UInt32}
    raw = _together(files, [file.table.rows for file in files], _UNREAD.rows).with_row_index("line").select(*schema)
    lacking = [_missing(file.table) for file in files]
    faults = pl.concat([_together(files, told, _UNREAD.faults) for told in ([file.table.faults for file in files], lacking)])

    of_cells = faults.filter(pl.col("column") != "").join(raw.select("file", "row", "line"), on=["file", "row"])
    of_cells = pl.concat([of_cells.select("line", "column", "reason", "value"), validate.cells(raw)])
    rows = validate.canonical(raw)
    found, rows = validate.grouped(rows)
    codes, about_codes = validate.listed(rows)
    told_by_rows = pl.concat(
        [
            validate.alone(rows, settings.max_quantity),
            validate.together(rows),
            about_codes,
            validate.repeated(codes),
        ]
    )
    meant = _still_meant(told_by_rows, of_cells, _absent(files, lacking, raw))
    return Sweep(
        files, raw, rows, found, codes, pl.concat([of_cells, meant]),
        faults.filter(pl.col("column") == "").select("file", "reason", "value"),
    )  # fmt: skip


def _together(files: list[File], frames: list[pl.DataFrame], none: pl.DataFrame) -> pl.DataFrame:
    """One frame of those of the files, with the number of the `file`."""
    if len(files) == 1:  # a column that it lacks stays a single value this way: 0.3 s of a million rows
        return frames[0].with_columns(file=pl.lit(files[0].number, pl.UInt32))
    lengths = pl.DataFrame(
        {"file": [file.number for file in files], "length": [*map(len, frames)]}, {"file": pl.UInt32, "length": pl.UInt32}
    )
    return pl.concat([none, *frames]).with_columns(
        lengths.select(pl.col("file").repeat_by("length").explode(empty_as_null=False))["file"]
    )


def _missing(table: Table) -> pl.DataFrame:
    """COLUMN_MISSING faults: what every order needs, what an Add needs, and something that names or counts cards."""
    if not table.titles:
        return _UNREAD.faults
    required = ["account", "order_ref"]
    if not {"product", "access_number"} <= set(table.found) and table.rows.select(_adds().any()).item():
        required += ["product", "access_number"]
    if not {"code", "quantity", "target"} & set(table.found):
        required.append("code")
    return missing(table, {name: HEADERS[name] for name in required})


def _adds() -> pl.Expr:
    return pl.col("action").str.to_lowercase().is_in(["add", "a"]).fill_null(value=True)


def _absent(files: list[File], lacking: list[pl.DataFrame], raw: pl.DataFrame) -> pl.DataFrame:
    """`line` and `column` of the cells that a file lacks because it lacks the column."""
    pairs = [
        (file.number, name)
        for file, faults in zip(files, lacking, strict=True) if len(faults)
        for name in NAMES if name not in file.table.found
    ]  # fmt: skip
    columns = pl.DataFrame(pairs, {"file": pl.UInt32, "column": pl.String}, orient="row")
    return raw.select("line", "file").join(columns, on="file").select("line", "column")


def _still_meant(findings: pl.DataFrame, of_cells: pl.DataFrame, absent: pl.DataFrame) -> pl.DataFrame:
    """The findings without those that only follow from a cell that can't be read, or from a column that is missing."""
    follows = of_cells.filter(pl.col("column").is_in(["code", "quantity", "btn"])).with_columns(column=pl.lit("code_type"))
    unread = pl.concat([of_cells, follows]).select("line", "column")
    findings = findings.join(unread, on=["line", "column"], how="anti", maintain_order="left")
    return findings.join(absent, on=["line", "column"], how="anti", maintain_order="left")


def waves(sweep: Sweep, settings: Settings) -> Iterator[list[File]]:
    """The files in waves in which no two want the same order ID, code or content, so that each can be decided with
    all others of its wave; who came first goes first.
    """
    if len(sweep.files) == 1:
        yield sweep.files
        return
    order_keys = sweep.orders.select("file", key=pl.concat_str("account", pl.lit(" "), "order_ref"))
    digests = pl.DataFrame(
        {"file": [file.number for file in sweep.files], "key": [f"{file.drop.sender}/{file.digest}" for file in sweep.files]},
        {"file": pl.UInt32, "key": pl.String},
    )
    keys = [
        pl.concat([order_keys, digests]).drop_nulls().unique(maintain_order=True),
        sweep.codes.select("file", key="code").unique(maintain_order=True),
    ]
    quantity = pl.col("quantity").cast(pl.Int64, strict=False).sum()
    drawn = dict(sweep.rows.group_by("file").agg(quantity).iter_rows())
    named = dict(sweep.codes.group_by("file").len().iter_rows())
    left = sweep.files
    while left:
        late = {number for frame in keys for number in _late(frame)}
        wave: list[File] = []
        total = 0
        for file in left:
            total += min(drawn.get(file.number) or 0, settings.max_quantity) + named.get(file.number, 0)
            if file.number not in late and (not wave or total <= settings.max_quantity):
                wave.append(file)
        yield wave
        gone = [file.number for file in wave]
        left = [file for file in left if file.number not in set(gone)]
        keys = [frame.filter(~pl.col("file").is_in(gone)) for frame in keys]


def _late(keys: pl.DataFrame) -> list[int]:
    """Files that want something which an earlier file wants."""
    return keys.filter(pl.col("file") > pl.col("file").min().over("key"))["file"].unique().to_list()
