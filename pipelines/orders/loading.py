"""Load order files into memory, in portions."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import thread_pool
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.reader import Parser, Table, read
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas import orders
from schemas.orders import NAMES

_BATCH_BYTES: Final = 256 << 20


class OrderFile(NamedTuple):
    """A file of the sweep: its number there, where it lies, what it holds, and the event that answered it before."""

    number: int
    drop: InboxFile
    digest: str
    table: Table
    answers: int = 0


def portions(drops: list[InboxFile]) -> Iterator[list[InboxFile]]:
    """The files in portions that fit into memory together."""
    batch: list[InboxFile] = []
    size = 0
    for drop in drops:
        if batch and size + drop.size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(drop)
        size += drop.size
    if batch:
        yield batch


def load_files(drops: list[InboxFile], parser: Parser, run: Run) -> list[OrderFile]:
    """The files with what they hold; those that were answered before are not read again."""
    settings, registry, runtime = run
    contents = {drop: inbox.read_content(drop, settings.max_file_mb << 20) for drop in drops}
    digests = {drop: inbox.sha256_of(content) for drop, content in contents.items() if content is not None}
    seen = original_events([(drop.source, digest) for drop, digest in digests.items()], registry)

    def table(drop: InboxFile) -> Table:
        content = contents.pop(drop)  # no longer held than it is needed: it may be large
        before = (drop.source, digests[drop]) in seen
        return EMPTY_TABLE if before else read(content or b"", parser, settings, NAMES, orders.BY_HEADER)

    files: list[OrderFile] = []
    with thread_pool() as pool:  # while the child parses a file another becomes a frame
        tables = pool.map(table, digests)
        for done, (drop, digest) in enumerate(digests.items()):
            runtime.progress("reading", done, len(digests))
            before = seen.get((drop.source, digest), {"answered": 1, "answers": 0})
            read_table = next(tables)
            if before["answered"]:  # else another worker is at it
                files.append(OrderFile(len(files), drop, digest, read_table, before["answers"]))
                runtime.checkpoint("read")
    runtime.progress("reading", len(digests), len(digests))
    return files


def original_events(files: list[tuple[str, str]], registry: Registry) -> dict[tuple[str, str], dict[str, Any]]:
    """The latest events of files (sender and digest) of which the same bytes came before."""
    asked = pl.DataFrame(files, ["sender", "digest"], orient="row")
    return {(one["sender"], one["digest"]): one for one in registry.original_events(asked).iter_rows(named=True)}


EMPTY_TABLE: Final = Table(
    pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(NAMES, pl.String)}), [], [],
    pl.DataFrame(schema={"row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String}), [],
)  # fmt: skip
