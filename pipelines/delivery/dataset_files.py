"""The data that analysts load, as Parquet and CSV files: what is new of a night, one file a dataset, in a folder a month.

`outbox/reconciliation/data/<parquet|csv>/<dataset>/month=2026-11/2026-11-26.<parquet|csv>`. A night writes each dataset, also
without rows, so that a file that is missing is one that was not written. What it writes is the same whenever it is asked.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.common.durable_files import fsync, thread_pool, write_atomically
from pipelines.common.settings import Settings
from pipelines.common.times import night_date
from pipelines.delivery import csv_files
from pipelines.insight import datasets
from pipelines.insight.datasets import DATASETS
from pipelines.registry import dataset_records
from pipelines.registry import movements as registry_movements
from pipelines.registry.outbox_files import forget_files
from pipelines.registry.reconciliation import nights_of
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas.sources import RECONCILIATION

FOLDER: Final = "data"
MOST_ROWS: Final = 1_000_000
"""A file has no more rows: memory stays flat, and a CSV file fits a sheet. More rows go to further files, `2026-11-26~2`."""
NAME: Final = re.compile(
    rf"(?:parquet|csv)/(?:{'|'.join(DATASETS)})/month=\d{{4}}-\d{{2}}/(\d{{4}})-(\d{{2}})-(\d{{2}})(?:~\d+)?\.(?:parquet|csv)"
)
"""The path of a file below the folder; the date of its night."""


def data_folder(settings: Settings) -> Path:
    """Where the datasets lie."""
    return settings.outbox / RECONCILIATION / FOLDER


def month_folders(settings: Settings, reconciliation_date: int) -> list[Path]:
    """The folders into which a night (20261124) writes."""
    return list(data_folder(settings).glob(f"*/*/{_month(night_date(reconciliation_date))}/"))


def write_datasets(run: Run, reconciliation_date: int) -> list[Path]:
    """Write what is new of a night (20261124); the paths of the files."""
    with writing_datasets(run, reconciliation_date) as paths:
        return paths


@contextmanager
def writing_datasets(run: Run, reconciliation_date: int) -> Iterator[list[Path]]:
    """Write what is new of a night (20261124), the last of it while the block does other work: the paths of the files, which
    are complete when the block has ended, whatever it raises.
    """
    night, paths, writing = night_date(reconciliation_date), list[Path](), deque[Future[None]]()
    with thread_pool() as pool:  # while one file is written the next one is made
        for name, number, rows in _parts(run.registry, reconciliation_date, night):
            for kind, write in _WRITERS.items():
                path = _path(run.settings, kind, name, night, number)
                paths.append(path)
                writing.append(pool.submit(_write, path, partial(write, rows, name)))
            while len(writing) > _AT_ONCE:
                writing.popleft().result()
        try:
            yield paths
        finally:
            for one in writing:
                one.result()
    _remove_others(run, reconciliation_date, paths)
    run.runtime.checkpoint("data written")


def _parts(registry: Registry, number: int, night: date) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """The rows of each file: the dataset, the how many-th file of it, from 1, and its rows; of a dataset without rows one."""
    for name, parts in _datasets(registry, number, night):
        part = 0
        for part, rows in enumerate(parts, 1):
            yield name, part, rows
        if not part:
            yield name, 1, pl.DataFrame(schema=DATASETS[name].schema)


def _datasets(registry: Registry, number: int, night: date) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
    """Each dataset with its rows, a portion for each file."""
    windows = dataset_records.windows(registry, number)
    orders = [dataset_records.orders(registry, window) for window in windows]
    cards = [dataset_records.cards(registry, window, placed) for window, placed in zip(windows, orders, strict=True)]
    yield "orders", iter(datasets.order_rows(pl.concat(orders), night).iter_slices(MOST_ROWS))
    yield "cards", _in_portions(pl.concat(cards), datasets.card_rows, night)
    changes = pl.concat([dataset_records.transitions(registry, window) for window in windows])
    yield "transitions", _in_portions(changes, datasets.transition_rows, night)
    yield "nights", iter([datasets.night_row(dataset_records.night(registry, number), night)])
    movements = datasets.movement_rows(registry_movements.movements_between(registry, number, number), night)
    yield "movements", iter(movements.iter_slices(MOST_ROWS))


def _in_portions(
    ranges: pl.DataFrame, to_rows: Callable[[pl.DataFrame, date], pl.DataFrame], night: date
) -> Iterator[pl.DataFrame]:
    return (to_rows(portion, night) for portion in datasets.portions(ranges, MOST_ROWS))


def _path(settings: Settings, kind: str, name: str, night: date, number: int) -> Path:
    further = f"~{number}" if number > 1 else ""
    return data_folder(settings) / kind / name / _month(night) / f"{night:%Y-%m-%d}{further}.{kind}"


def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file; the disk holds its name, and those of new folders."""
    is_new = not path.parent.is_dir()
    write_atomically(path, write)
    for folder in path.parents[1:5] if is_new else ():
        fsync(folder)


def _remove_others(run: Run, reconciliation_date: int, written: list[Path]) -> None:
    """Remove files of a night beyond those that were written, as after a registry was restored, and what is kept of them."""
    night = night_date(reconciliation_date)
    there = set(data_folder(run.settings).glob(f"*/*/{_month(night)}/{night:%Y-%m-%d}*"))
    others = sorted(there - set(written))
    if not others:
        return
    nights = [event["event"] for event in nights_of(run.registry, reconciliation_date)]
    with run.registry.transaction():
        forget_files(run.registry, nights, [path.relative_to(run.settings.outbox).as_posix() for path in others])
    for path in others:
        path.unlink()


def _write_parquet(rows: pl.DataFrame, _: str, path: Path) -> None:
    rows.write_parquet(path, compression="zstd", row_group_size=_ROW_GROUP)


def _write_csv(rows: pl.DataFrame, name: str, path: Path) -> None:
    csv_files.write_data(rows, path, DATASETS[name].free_text)


_ROW_GROUP: Final = 250_000
_AT_ONCE: Final = 4
"""So many files wait for their turn to be written."""
_WRITERS: Final[dict[str, Callable[[pl.DataFrame, str, Path], None]]] = {"parquet": _write_parquet, "csv": _write_csv}


def _month(night: date) -> str:
    return f"month={night:%Y-%m}"
