"""`cards export`: all cards as they are now in one file, with their codes for those who may have them; and the data for
analysts of nights before there was any.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.admin.lists import known_reseller, parse_since
from pipelines.common.durable_files import write_atomically
from pipelines.common.errors import UsageError
from pipelines.delivery import csv_files, rewriting
from pipelines.insight import datasets
from pipelines.registry import audit_trail, export_records
from pipelines.registry.export_records import CardFilter
from pipelines.run import Run

_CARDS: Final = 200_000
"""So many cards are in memory at once."""


@dataclass(frozen=True)
class Exported:
    """What was written: the file, how many cards, and whether it has their codes."""

    file: str
    cards: int
    codes: bool


def card_filter(run: Run, since: str, until: str, reseller: str) -> CardFilter:
    """Whose cards are asked for; `until` includes its day. Raises UsageError for what is no date and for a reseller that the
    registry never heard of.
    """
    before = ""
    if until:
        try:
            before = (datetime.strptime(until, "%Y-%m-%d") + timedelta(days=1)).isoformat()
        except ValueError:
            raise UsageError(f"--until {until!r}: write a date, 2026-11-24.") from None
    return CardFilter(parse_since(since), before, known_reseller(run.registry, reseller))


def export_cards(run: Run, path: Path, wanted: CardFilter, *, codes: bool, force: bool) -> Exported:
    """Write the cards into a Parquet or CSV file (by its suffix) that the operator alone can read, a portion at a time.

    Raises UsageError for another suffix, a folder that does not exist, and a file that is there, unless it is to be replaced.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"{path}: name a file that ends in {' or '.join(_WRITERS)}.")
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise UsageError(f"{path}: no file can be written there.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already. Replace it with --force.")
    if codes:  # before one is written
        about = ", ".join(f"{name} {value}" for name, value in wanted._asdict().items() if value) or "all cards"
        audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "exported cards with their codes", path.name, about))
    written = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal written
        for rows in _rows(run, wanted, codes=codes):
            written += len(rows)
            yield rows

    write_atomically(path, lambda new: write(counted(), new, datasets.exported(codes=codes)))
    return Exported(str(path), written, codes)


def _rows(run: Run, wanted: CardFilter, *, codes: bool) -> Iterator[pl.DataFrame]:
    """The cards, a portion at a time; at least one frame."""
    yield pl.DataFrame(schema=datasets.exported(codes=codes).schema)
    for done, last, orders in export_records.order_portions(run.registry, wanted):
        for ranges in datasets.portions(orders, _CARDS):
            yield datasets.exported_rows(export_records.cards(run.registry, ranges, codes=codes), codes=codes)
        run.runtime.progress("orders", done, last)


def _write_parquet(frames: Iterator[pl.DataFrame], path: Path, dataset: datasets.Dataset) -> None:
    import pyarrow.parquet as pq

    def table(frame: pl.DataFrame) -> Any:
        return frame.to_arrow(compat_level=pl.CompatLevel.oldest())

    with pq.ParquetWriter(path, table(pl.DataFrame(schema=dataset.schema)).schema, compression="zstd") as writer:
        for frame in frames:
            if len(frame):
                writer.write_table(table(frame))


def _write_csv(frames: Iterator[pl.DataFrame], path: Path, dataset: datasets.Dataset) -> None:
    csv_files.write_data_parts(frames, path, dataset.free_text)


_WRITERS: Final[dict[str, Callable[[Iterator[pl.DataFrame], Path, datasets.Dataset], None]]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
}


def export_datasets(run: Run, since: str) -> int:
    """Write the data for analysts of every night again, from a date on; of how many nights. The first time after an upgrade
    this writes the history. Raises CardsError while a reconciliation is running.
    """
    first = int(parse_since(since)[:10].replace("-", "") or 0)
    with run.registry.reconciliation_lock():
        return rewriting.rewrite_data(run, first)
