"""Load order files into memory: a private copy of each, then its table, in portions that are decided together."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import groupby
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import thread_pool
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.log_events import FILE_RECEIVED
from pipelines.common.settings import Settings
from pipelines.intake.fairness import loaded_together
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.intake.private_copy import PrivateCopy, Spool
from pipelines.intake.reader import Parser, Table, read, rejected_file
from pipelines.orders.batch import OrderFile
from pipelines.registry import limits
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas import orders
from schemas.orders import NAMES

_PORTION_FILES: Final = 1_000
_PORTION_BYTES: Final = 12 << 20
"""So many bytes of parsed tables are decided together."""
_COPIED_FILES, _COPIED_BYTES = 128, 128 << 20
"""So much is copied ahead of being parsed."""
_PORTION_SECONDS: Final = 5
"""Parsing goes on no longer than this before what is parsed is answered: a slow file keeps no other waiting."""


Strikes = dict[tuple[str, str], int]
"""How often a file (source, digest) was alone in hand when a run died."""


class Portion(NamedTuple):
    """Some loaded files; errors of files that could not be opened, which stay where they are; and every file that this
    run need not look at again.
    """

    files: list[OrderFile]
    failures: list[CardsError]
    done: set[InboxFile]


def load_portion(files: list[InboxFile], parser: Parser, spool: Spool, run: Run) -> Portion:
    """Load as many of the files, in their order, as are decided together.

    Files that were answered before are not parsed again. A file that has vanished, or that another worker is answering,
    is left out.
    """
    portion = Portion([], [], set())
    begun = time.monotonic()
    size = 0

    def is_full() -> bool:
        return size > _PORTION_BYTES or time.monotonic() - begun > _PORTION_SECONDS

    copied = _copied(loaded_together(files, _PORTION_FILES), spool, run.settings.max_file_mb << 20, portion)
    for copies, strikes in _suspects_alone(copied, run.registry):
        spool.hold(copies)
        for file in _parsed(copies, strikes, parser, run, is_full, portion):
            portion.files.append(file._replace(number=len(portion.files)))
            size += int(file.table.rows.estimated_size())
            _log(run, file)
            run.runtime.checkpoint("read")
            run.runtime.progress("reading", len(portion.files), len(files))
        if is_full():
            break
    return portion


def _log(run: Run, file: OrderFile) -> None:
    source, path, size = file.copy.file.source, file.copy.file.path, file.copy.size
    run.runtime.log(FILE_RECEIVED, reseller=source, file=display_name(path.name), bytes=size, rows=len(file.table.rows))


def _copied(files: list[InboxFile], spool: Spool, most: int, portion: Portion) -> Iterator[list[PrivateCopy]]:
    """Private copies of the files, some at a time."""
    copies: list[PrivateCopy] = []
    for file in files:
        try:
            copy = spool.take(file, most)
        except OSError as error:  # one file without rights keeps no other from being answered
            portion.failures.append(to_cards_error(error))
            copy = None
        if copy:
            copies.append(copy)
        else:
            portion.done.add(file)
        if len(copies) >= _COPIED_FILES or sum(one.size for one in copies) >= _COPIED_BYTES:
            yield copies
            copies = []
    if copies:
        yield copies


def _suspects_alone(copied: Iterator[list[PrivateCopy]], registry: Registry) -> Iterator[tuple[list[PrivateCopy], Strikes]]:
    """The copies in their order with the strikes of them all, but each by itself that was in hand when an earlier run died."""
    for copies in copied:
        suspects = limits.strikes_of(registry, [_key(copy) for copy in copies])
        for is_suspect, group in groupby(copies, key=lambda copy: _key(copy) in suspects):
            some = list(group)
            yield from [([copy], suspects) for copy in some] if is_suspect else [(some, suspects)]


def _key(copy: PrivateCopy) -> tuple[str, str]:
    return copy.file.source, copy.digest


def _parsed(
    copies: list[PrivateCopy], strikes: Strikes, parser: Parser, run: Run, is_full: Callable[[], bool], portion: Portion
) -> Iterator[OrderFile]:
    """The copies with their tables; once the portion is full no more are begun."""
    originals = original_events([_key(copy) for copy in copies], run.registry)
    with thread_pool() as pool:  # while the child parses a file another becomes a frame
        tables: list[tuple[OrderFile, Future[Table]]] = []
        for copy in copies:
            key = _key(copy)
            new: dict[str, Any] = {"delivered": 1, "original_event": 0}
            earlier = new if copy.file.is_trial else originals.get(key, new)
            file = OrderFile(0, copy, UNREAD, int(earlier["original_event"]), suspect=key in strikes)
            if not earlier["delivered"]:  # another worker is at it
                portion.done.add(copy.file)
            elif file.original_event:
                tables.append((file, pool.submit(lambda: UNREAD)))
            elif strikes.get(key, 0) >= limits.MOST_STRIKES:
                tables.append((file, pool.submit(lambda: SET_ASIDE)))
            else:
                tables.append((file, pool.submit(_read, copy, parser, run.settings)))
        for place, (file, future) in enumerate(tables):
            if is_full():  # all at once: of the others one is begun whenever one ends
                for _, later in tables[place:]:
                    later.cancel()
            if not future.cancelled():
                portion.done.add(file.copy.file)
                yield file._replace(table=future.result())


def load_file(file: InboxFile, parser: Parser, spool: Spool, settings: Settings) -> OrderFile:
    """Load one file that lies anywhere. Raises CardsError when it can't be read."""
    copy = spool.take(file, settings.max_file_mb << 20)
    if copy is None:
        raise CardsError(f"{file.path} changed while it was read. Try again.")
    return load_copy(copy, parser, settings)


def load_copy(copy: PrivateCopy, parser: Parser, settings: Settings) -> OrderFile:
    """Load a file of which there is a private copy."""
    return OrderFile(0, copy, _read(copy, parser, settings))


def _read(copy: PrivateCopy, parser: Parser, settings: Settings) -> Table:
    limit = settings.max_file_mb
    if copy.size > limit << 20:
        return rejected_file(NAMES, "FILE_TOO_LARGE", f"more than {limit} MB; the file was not kept")
    return read(copy.content(), parser, settings, NAMES, orders.BY_HEADER)


def original_events(files: list[tuple[str, str]], registry: Registry) -> dict[tuple[str, str], dict[str, Any]]:
    """The latest events that answered the same bytes for the same source, by source and digest."""
    asked = pl.DataFrame(files, {"source": pl.String, "digest": pl.String}, orient="row")
    return {(one["source"], one["digest"]): one for one in registry.original_events(asked).iter_rows(named=True)}


def with_original_events(files: list[OrderFile], registry: Registry) -> list[OrderFile]:
    """The files with the event that answered the same bytes meanwhile: an earlier file's, or another worker's."""
    originals = original_events([_key(file.copy) for file in files], registry)
    events = [originals.get(_key(file.copy), {"original_event": 0})["original_event"] for file in files]
    # what is to be answered again does not get its old answer
    return [
        file if file.replays else file._replace(original_event=int(event)) for file, event in zip(files, events, strict=True)
    ]


SET_ASIDE: Final = rejected_file(NAMES, "FILE_SET_ASIDE", "")
UNREAD: Final = rejected_file(NAMES, "", "")._replace(findings=rejected_file(NAMES, "", "").findings.clear())
"""The table of a file that is not read, because the same bytes were answered before."""
