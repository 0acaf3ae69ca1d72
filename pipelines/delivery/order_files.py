"""The files that nights write for an order, once: what was released, what was refused, what came of a change.

`release-<Order ID>-<date>`, `refused-…` and `outcome-…`, each as .xlsx and .csv, in the folder of the order's submission. A
file is never changed after the night that wrote it; what happens later stands in a file of that date.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import thread_pool, write_atomically
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.log_events import OUTCOME_WRITTEN, REFUSED_WRITTEN, RELEASE_WRITTEN
from pipelines.common.settings import Settings
from pipelines.common.times import night_name
from pipelines.common.words import count
from pipelines.delivery import archive, csv_files, index, outcome_files, release_files, status, written_files
from pipelines.delivery.access import access_for
from pipelines.delivery.file_names import is_combined, order_file_name
from pipelines.delivery.index import Answer
from pipelines.delivery.written_files import WrittenFile, written
from pipelines.excel import writers
from pipelines.excel.book import Book, Sheet
from pipelines.excel.presentation import telephone
from pipelines.registry import night_records
from pipelines.registry.outbox_files import note_files
from pipelines.registry.reconciliation import OUTCOME, REFUSED, RELEASE
from pipelines.registry.store import Registry
from pipelines.run import Run

_ON_SUMMARY: Final = [*release_files.ORDER_HEADERS, "Released"]
"""Columns of a release's CSV that are the same for all of its cards: in the workbook its first sheet says them once."""
_PORTION: Final = 100_000
"""Files of about so many cards are read at once, so that a night's memory does not grow with its cards."""
_AT_ONCE: Final = 2
"""So many portions are written while the next one is read."""
_KEYS: Final = ["order_pk", "event"]
_EVENTS: Final = {RELEASE: RELEASE_WRITTEN, REFUSED: REFUSED_WRITTEN, OUTCOME: OUTCOME_WRITTEN}


def write_night_files(run: Run, event: int, *, again: bool = False) -> list[CardsError]:
    """Write the files of orders of a night, unless they are there, and note them in index and status of their submissions; the
    errors of those that can't be written. `again`: a run died of it before.
    """
    files = night_records.files_of_night(run.registry, event)
    made, failed = _write(run, files, again=False)
    _log(run, files, made)
    failed += _write_index(run, files, once=again)
    return failed + _note(run, files, made)


def _note(run: Run, files: pl.DataFrame, made: list[WrittenFile]) -> list[CardsError]:
    """Write the status of the submissions of files, and keep what lies there now; the errors of what could not be written."""
    statuses, unwritten = status.rewrite(run, files["submission"])
    with run.registry.transaction():
        note_files(run.registry, written_files.as_frame([*made, *statuses]))
    return unwritten


def _log(run: Run, files: pl.DataFrame, made: list[WrittenFile]) -> None:
    """Log what was written: a line for each submission and kind."""
    written_paths = {(file.event, file.name) for file in made}
    paths = pl.Series([(file["submission"], f"{_name(file)}.csv") in written_paths for file in files.iter_rows(named=True)])
    by = ["kind", "reseller", "folder", "date"]
    done = files.filter(paths.cast(pl.Boolean)).group_by(by, maintain_order=True)
    for one in done.agg(pl.col("order_pk").n_unique().alias("orders"), pl.col("cards").sum()).iter_rows(named=True):
        run.runtime.log(
            _EVENTS[one["kind"]], submission=f"{one['reseller']}/{one['folder']}", night=night_name(one["date"]),
            orders=one["orders"], cards=one["cards"],
        )  # fmt: skip


def raise_first(failed: list[CardsError]) -> None:
    """Raise CardsError with the first of the errors, if there are any."""
    if failed:
        raise CardsError(f"{count(len(failed), 'file')} of orders could not be written. {failed[0]}")


def _write_index(run: Run, files: pl.DataFrame, *, once: bool) -> list[CardsError]:
    """Add the files to the indexes of their resellers; the errors of those that could not be written."""
    failed: list[CardsError] = []
    for (reseller,), part in files.group_by("reseller", maintain_order=True):
        answers = [
            Answer(
                made[0]["at"], made[0]["file_name"], made[0]["kind"], f"{path.partition('/')[2]}.csv", len(made),
                sum(file["cards"] for file in made),
            )
            for path, made in _by_path(part).items()
        ]  # fmt: skip
        try:
            index.append(run.settings, str(reseller), answers, once=once)
        except Exception as error:  # a reseller never takes another with it
            failed.append(to_cards_error(error))
    return failed


def list_again(run: Run, order_pks: pl.Series) -> None:
    """Add the files that nights wrote for these orders to the index of their reseller, if it lacks them."""
    raise_first(_write_index(run, night_records.files_of_orders(run.registry, order_pks), once=True))


def _name(file: dict[str, Any]) -> str:
    combined = is_combined(file["kind"], file["orders"])
    return order_file_name(file["kind"], file["order_id"], file["date"], file["part"], combined=combined)


def paths(files: pl.DataFrame) -> list[str]:
    """Where files of orders lie below the outbox, without suffix."""
    return list(_by_path(files))


def rows_of(files: pl.DataFrame, registry: Registry) -> dict[str, pl.DataFrame]:
    """What stands in each of the files, by its path below the outbox, without suffix."""
    portions = _portions(files) if len(files) else []
    return {path: rows for portion in portions for path, rows in _rows_by_path(portion, registry).items()}


def rewrite_night_files(run: Run, event: int) -> list[Path]:
    """Write the files of orders of a night again: the same cards in the same order; their paths."""
    files = night_records.files_of_night(run.registry, event)
    made, failed = _write(run, files, again=True)
    raise_first(failed + _note(run, files, made))
    return [run.settings.outbox / f"{path}{suffix}" for path in _by_path(files) for suffix in (".csv", ".xlsx")]


def rewrite_order_files(run: Run, order_pks: pl.Series) -> None:
    """Write all files that nights wrote for these orders again: the same cards in the same order. The caller keeps what lies
    in the folder afterwards.
    """
    raise_first(_write(run, night_records.files_of_orders(run.registry, order_pks), again=True)[1])


def machine_files(registry: Registry, order_pks: pl.Series) -> Iterator[tuple[int, str, str, str, pl.DataFrame]]:
    """The CSV files that nights wrote for these orders: event, source and folder of the submission, name, rows."""
    files = night_records.files_of_orders(registry, order_pks)
    by_path = _by_path(files)
    for portion in _portions(files) if len(files) else ():
        for path, rows in _rows_by_path(portion, registry).items():
            file = by_path[path][0]
            yield file["submission"], file["reseller"], file["folder"], f"{path.rpartition('/')[2]}.csv", rows


def _write(run: Run, files: pl.DataFrame, *, again: bool) -> tuple[list[WrittenFile], list[CardsError]]:
    """Write files of orders; what lies there now, and what could not be written."""
    if files.is_empty():
        return [], []
    archive.bring_back_orders(run, files["order_pk"])
    by_path = _by_path(files)

    def write(rows: dict[str, pl.DataFrame], path: str) -> list[WrittenFile] | CardsError:
        try:
            return _write_file(run.settings, by_path[path], rows[path], again=again)
        except Exception as error:  # an order never takes another with it
            return to_cards_error(error)

    done: list[list[WrittenFile] | CardsError] = []
    writing: deque[Iterator[list[WrittenFile] | CardsError]] = deque()
    with thread_pool() as pool:  # large workbooks are written without the interpreter's lock
        for portion in _portions(files):
            rows = _rows_by_path(portion, run.registry)  # while those before are written
            writing.append(pool.map(partial(write, rows), portion["path"].unique(maintain_order=True)))
            if len(writing) > _AT_ONCE:
                done += writing.popleft()
        done += chain.from_iterable(writing)
    made = [file for one in done if not isinstance(one, CardsError) for file in one]
    return made, [one for one in done if isinstance(one, CardsError)]


def _path(file: dict[str, Any]) -> str:
    return f"{file['reseller']}/{file['folder']}/{_name(file)}"


def _by_path(files: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The files by their path in the outbox, without suffix: of a submission with many orders, outcomes are one file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in files.iter_rows(named=True):
        found.setdefault(_path(file), []).append(file)
    return found


def _portions(files: pl.DataFrame) -> list[pl.DataFrame]:
    """The files, with their `path`, in portions of about so many cards as are read at once; no path is in two of them."""
    paths = pl.Series("path", [_path(file) for file in files.iter_rows(named=True)], pl.String)
    before = pl.col("cards").cum_sum() - pl.col("cards")
    sizes = files.with_columns(paths).group_by("path", maintain_order=True).agg(pl.col("cards").sum())
    numbers = sizes.select("path", portion=before // _PORTION)
    joined = files.with_columns(paths).join(numbers, on="path", maintain_order="left")
    return joined.partition_by("portion", include_key=False, maintain_order=True)


def _rows_by_path(files: pl.DataFrame, registry: Registry) -> dict[str, pl.DataFrame]:
    """What stands in each file; `files` with their `path`."""
    found = night_records.cards_of_files(registry, files)
    fields = files.select(*_KEYS, "kind", "order_id", "account", "customer_order_id", "action", "date")
    made = {
        RELEASE: release_files.rows(found.released.join(fields.filter(kind=RELEASE).select(*_KEYS, "date"), on=_KEYS,
                                                        maintain_order="left")),
        REFUSED: outcome_files.refused_rows(found.refused, registry),
        OUTCOME: outcome_files.outcome_rows(found.outcomes.join(fields.filter(kind=OUTCOME), on=_KEYS, maintain_order="left")),
    }  # fmt: skip
    parts: dict[str, pl.DataFrame] = {}
    for kind, frame in made.items():
        joined = frame.join(files.filter(kind=kind).select("path", *_KEYS), on=_KEYS, maintain_order="left").drop(_KEYS)
        split = joined.partition_by("path", as_dict=True, include_key=False, maintain_order=True)
        parts |= {str(path): part for (path,), part in split.items()}
    return parts


def _write_file(settings: Settings, files: list[dict[str, Any]], rows: pl.DataFrame, *, again: bool) -> list[WrittenFile]:
    """Write the CSV file and the workbook of a file, unless they are there; what lies there now."""
    file = files[0]
    access = access_for(settings, file["reseller"])
    path = settings.outbox / file["reseller"] / file["folder"] / _name(file)
    machine, workbook = path.with_name(f"{path.name}.csv"), path.with_name(f"{path.name}.xlsx")
    if again or not machine.exists():
        write_atomically(machine, lambda staged: csv_files.write_csv(rows, staged), access)
    made = written(file["submission"], machine, machine.name)
    if again or not workbook.exists():
        book = _book(files, rows, made.sha256)
        write_atomically(workbook, lambda staged: writers.write(staged, book), access)
    return [made, written(file["submission"], workbook, workbook.name)]


def _book(files: list[dict[str, Any]], rows: pl.DataFrame, digest: str) -> Book:
    if files[0]["kind"] == RELEASE:
        title, advice, key_values = release_files.summary(files[0], digest)
    else:
        title, advice, key_values = outcome_files.summary(files, rows)
    shown = rows.drop(_ON_SUMMARY) if files[0]["kind"] == RELEASE else rows
    numbers = [telephone(name) for name in shown.columns if name == "Access Number"]
    return Book(title, advice, key_values, [Sheet("Cards", shown.with_columns(numbers))])
