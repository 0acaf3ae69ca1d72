"""The monthly statements: `statement-2026-10` in each reseller's outbox, and `reconciliation/statements-2026-10` of all.

The first night after a month states it, in files that count as those of that night. A month that is not over can be asked for:
its files are named `…-so-far`, belong to no night, and go when the month is stated.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.common.durable_files import ensure_dir, remove_stale_staging, write_atomically
from pipelines.common.errors import CardsError, ContradictionError, to_cards_error
from pipelines.common.settings import Settings
from pipelines.common.times import month_text
from pipelines.common.words import count
from pipelines.delivery import csv_files, index, written_files
from pipelines.delivery.access import access_for
from pipelines.delivery.index import Answer
from pipelines.delivery.statement_book import Statement, book, book_of_all, rows, rows_of_all
from pipelines.excel import writers
from pipelines.excel.book import Book
from pipelines.insight import statement
from pipelines.insight.statement import stated_by
from pipelines.registry import reconciliation, statement_records
from pipelines.registry.outbox_files import files_of, note_files
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas.sources import OPERATOR, RECONCILIATION

STATEMENT: Final = "statement"
"""The kind of answer that the index calls a statement."""
FILE: Final = r"(?:^|/)statements?-(\d{4})-(\d\d)\.(?:csv|xlsx)$"
"""The name or path of a statement of a month that is over."""
_SO_FAR: Final = "-so-far"
_SUFFIXES: Final = (".csv", ".xlsx")


def load(registry: Registry, month: int) -> Statement:
    """The statement of a month, as the registry has it now."""
    records = statement_records.load_month(registry, month)
    return Statement(month, records, statement.lines(records.opening, records.closing, records.moved, records.placed))


def error_of(found: Statement) -> list[CardsError]:
    """The error of a statement that does not add up; none of one that does."""
    if not (wrong := found.contradictory):
        return []
    where = f"outbox/{RECONCILIATION}/{_name(found, of_all=True)}.xlsx"
    words = (
        f"The statement of {month_text(found.month)} does not add up (see {where}), and was not written for "
        f"{', '.join(wrong)}: run cards verify, and restore the registry from a backup if it finds a problem."
    )
    return [ContradictionError(words)]


# -- at night ----------------------------------------------------------------------------------------------------------


def write_of_night(run: Run, event: int) -> list[Path]:
    """Write the statements of a night (`event`), also again: those of the months that it states, and those that it was asked
    for; none that a later night states by now. Their paths, which are noted.

    Raises CardsError, after all others are written, when one can't be. One that does not add up is written for the operator
    alone, and is no error here: see `contradictions`.
    """
    wanted: dict[int, list[str]] = {month: [] for month in due(run.registry, event)}
    for name in files_of(run.registry, pl.Series([event]))["name"]:
        if month := month_of_file(name):
            wanted.setdefault(month, []).append(name.partition("/")[0])
    later = owners(run.registry) if wanted else {}
    return _write_all(run, event, {month: wanted[month] for month in sorted(wanted) if later.get(month, event) == event})


def contradictions(run: Run, date: int) -> list[CardsError]:
    """The errors of the statements of a night (20261101) that do not add up."""
    events = [night["event"] for night in reconciliation.nights_of(run.registry, date)]
    months = sorted({month for event in events for month in due(run.registry, event)})
    return [error for month in months for error in error_of(load(run.registry, month))]


def due(registry: Registry, event: int) -> list[int]:
    """The months that a night states."""
    owned = stated_by(statement_records.nights_since_the_one_before(registry, event))
    return sorted(month for month, night in owned.items() if night == event)


def owners(registry: Registry) -> dict[int, int]:
    """Which night states which months, of all nights that there were."""
    return stated_by(statement_records.all_nights(registry))


def owner_of(registry: Registry, month: int) -> int:
    """The night whose files the statement of a month is among: the one that states it, or else the first one after it."""
    nights = statement_records.all_nights(registry)
    later = nights.filter(pl.col("reconciliation_date") > month * 100 + 99)
    return stated_by(nights).get(month) or int(later["event"][0])


def _write_all(run: Run, event: int, months: dict[int, list[str]]) -> list[Path]:
    """Write the statements of months for everyone: who has lines in them, and who is named here."""
    paths: list[Path] = []
    failed: list[CardsError] = []
    for month, named in months.items():
        found = load(run.registry, month)
        done, errors = write_month(run, found, event, [*found.lines["reseller"], *named, RECONCILIATION])
        paths, failed = paths + done, failed + errors
        run.runtime.checkpoint("statements written")
    if failed:
        raise CardsError(f"{count(len(failed), 'statement')} could not be written. {failed[0]}")
    return paths


# -- writing -----------------------------------------------------------------------------------------------------------


def write_month(run: Run, found: Statement, event: int, folders: Iterable[str]) -> tuple[list[Path], list[CardsError]]:
    """Write the statement of a month into these folders of the outbox: of resellers, and RECONCILIATION for the one of all.
    Their paths, and the errors of those that could not be written. A reseller whose figures do not add up gets none.

    What is written is noted as the files of a night (`event`; 0: of none).
    """
    paths: list[Path] = []
    failed: list[CardsError] = []
    for folder in sorted({*folders} - {OPERATOR, *found.contradictory}):
        try:
            paths += _write_one(run, found, event, folder)
        except Exception as error:  # a reseller never takes another with it
            failed.append(to_cards_error(error))
    if event:
        with run.registry.transaction():
            note_files(run.registry, written_files.as_frame(written_files.in_outbox(event, run.settings.outbox, paths)))
    return paths, failed


def _write_one(run: Run, found: Statement, event: int, folder: str) -> list[Path]:
    """Write a statement into a folder, and add that of a reseller to its index unless the month goes on."""
    if folder == RECONCILIATION:
        return _write_files(run.settings, folder, _name(found, of_all=True), rows_of_all(found), book_of_all(found))
    mine = found.of(folder)
    paths = _write_files(run.settings, folder, _name(found), rows(mine), book(mine))
    if event:
        index.append(run.settings, folder, [_answer(run, mine, event)], once=True)
    return paths


def _answer(run: Run, found: Statement, event: int) -> Answer:
    """The row of the index: as of the night that states the month."""
    at = run.registry.event_key(event)
    figures = statement.totals(found.lines).row(0, named=True)
    return Answer(at[0] if at else "", "", STATEMENT, f"{_name(found)}.csv", figures["orders_placed"], figures["cards_placed"])


def list_again(run: Run, reseller: str) -> None:
    """Add the statements that lie in a reseller's outbox to its index, if it lacks them."""
    stated = owners(run.registry)
    for path in sorted((run.settings.outbox / reseller).glob("statement-*.csv")):
        month = month_of_file(path.name)
        if event := stated.get(month):
            index.append(run.settings, reseller, [_answer(run, load(run.registry, month).of(reseller), event)], once=True)


def _write_files(settings: Settings, folder: str, name: str, lines: pl.DataFrame, workbook: Book) -> list[Path]:
    above = settings.outbox / folder
    access = access_for(settings, folder)
    ensure_dir(above, access)
    remove_stale_staging(above)
    machine, readable = (above / f"{name}{suffix}" for suffix in _SUFFIXES)
    write_atomically(machine, lambda staged: csv_files.write_csv(lines, staged), access)
    write_atomically(readable, lambda staged: writers.write(staged, workbook), access)
    for suffix in _SUFFIXES:
        if not name.endswith(_SO_FAR):
            (above / f"{name}{_SO_FAR}{suffix}").unlink(missing_ok=True)
    return [machine, readable]


def _name(found: Statement, *, of_all: bool = False) -> str:
    return f"statement{'s' * of_all}-{month_text(found.month)}{'' if found.records.is_over else _SO_FAR}"


def month_of_file(name: str) -> int:
    """The month that a file states, by its name or path (202610); 0: it is no statement, or one of a month that goes on."""
    match = re.search(FILE, name)
    return int(match[1] + match[2]) if match else 0


def is_so_far(name: str) -> bool:
    """Whether this is the name of a statement of a month that goes on."""
    return _SO_FAR in name and month_of_file(name.replace(_SO_FAR, "", 1)) > 0
