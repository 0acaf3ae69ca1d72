"""Whether the registry still says what was written: the machine files of events are made again and compared.

The digest of what is made now is compared with that of what was written. Where they differ, the rows are, as a later version of
the program may word its advice otherwise.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.admin.findings import Check, Finding, Repair, RepairAction
from pipelines.common.errors import CardsError
from pipelines.common.words import count
from pipelines.delivery import index, order_files, statements, submission
from pipelines.delivery.csv_files import csv_bytes
from pipelines.delivery.deliver import submission_folder
from pipelines.delivery.reconciliation_workbook import night_placement
from pipelines.delivery.rejections import rejection_rows
from schemas.sources import NETWORK, RECONCILIATION

_WORDING: Final = ("What to fix", "Likely cause", "What to do", "What it means", "Replaced by")
"""Columns that may say something else when they are made later."""
_MACHINE: Final = r"(^|/)(confirmation|rejections|release-.*|refused-.*|outcome-.*|placement-.*)\.csv$"
"""Files that the registry must be able to make again."""
_CHANGED: Final = "Something other than this program has changed the registry or the file. Restore the registry from a backup."


class _Made(NamedTuple):
    """A machine file as the registry would have it now: its event, its name as in OUTBOX_FILE, its rows."""

    event: int
    name: str
    rows: pl.DataFrame


class Answers:
    """The answers that the indexes of resellers lack, counted as events are checked."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._paths: dict[str, pl.Series] = {}
        self._missing: dict[str, int] = {}

    def count(self, source: str, paths: list[str]) -> None:
        """Count those of the answers (their paths) to a reseller that its index lacks."""
        if source == NETWORK or not paths:
            return
        if source not in self._paths:
            self._paths[source] = index.paths(self._check.settings.outbox / source / index.NAME)
        lacking = ~pl.Series(paths).is_in(self._paths[source].implode())
        self._missing[source] = self._missing.get(source, 0) + int(lacking.sum())

    def findings(self) -> Iterator[Finding]:
        """The indexes that lack answers."""
        for source, missing in self._missing.items():
            if missing:
                where = str(self._check.settings.outbox / source / index.NAME)
                fix = "Complete it: cards repair --apply"
                yield Finding(f"an index lacks {count(missing, 'answer')}", where, fix, Repair(RepairAction.INDEX, source))


def check_content(check: Check, events: pl.DataFrame, kept: pl.DataFrame, answers: Answers) -> tuple[list[Finding], set[int]]:
    """Contradictions between the registry and what was written of these events, and the events that they concern."""
    digests = {(event, name): digest for event, name, digest in kept.select("event", "name", "sha256").iter_rows()}
    found: list[Finding] = []
    contradicted: set[int] = set()
    by_event = {event["event"]: event for event in events.iter_rows(named=True)}
    unknown = {key for key in digests if re.search(_MACHINE, key[1])}
    for one in _made(check, events.filter(delivered=1), answers, set(kept["event"])):
        unknown.discard((one.event, one.name))
        if digests.get((one.event, one.name)) == hashlib.sha256(csv_bytes(one.rows)).hexdigest():
            continue
        there = _rows_there(check, by_event[one.event], one.name)
        if there is None:  # a file without wording has only one content; with it, nothing is left to compare
            agrees = (one.event, one.name) not in digests or bool(set(one.rows.columns) & set(_WORDING))
        else:
            agrees = _same(one.rows, there)
        if agrees:
            continue
        contradicted.add(one.event)
        found.append(_contradiction(check, by_event[one.event], one.name, "contradicts"))
    found += [_contradiction(check, by_event[event], name, "no longer knows") for event, name in sorted(unknown)]
    for name in {name for _, name in digests if statements.month_of_file(name) and name.endswith(".csv")}:
        reseller, _, path = name.partition("/")
        answers.count(reseller, [path] if reseller != RECONCILIATION else [])
    return found, contradicted | {event for event, _ in unknown}


def _contradiction(check: Check, event: dict[str, Any], name: str, does: str) -> Finding:
    where = name if "/" in name else f"{event['source']}/{event['folder']}/{name}"
    return Finding(f"the registry {does} what was written", str(check.settings.outbox / where), _CHANGED)


def _made(check: Check, events: pl.DataFrame, answers: Answers, with_digests: set[int]) -> Iterator[_Made]:
    """The machine files of events, as the registry would have them now."""
    submissions = events.filter(pl.col("kind").is_in(["orders", "report"]))["event"].to_list()
    records = check.registry.submission_records(submissions)
    for reports in submission.build_reports(records) if submissions else ():
        yield from _made_of_submission(check, reports)
        if reports.event["event"] in with_digests and reports.event["kind"] == "orders":
            answers.count(
                reports.event["source"], [answer.path for answer in index.answers_of(reports.records, reports.counts)]
            )
    for number, reseller, folder, name, rows in order_files.machine_files(check.registry, records.orders["order_pk"]):
        yield _Made(number, name, rows)
        if number in with_digests:
            answers.count(reseller, [f"{folder}/{name}"])
    for event in events.filter(kind="night").iter_rows(named=True):
        rows = night_placement(check.registry, event["event"])
        if len(rows):
            yield _Made(event["event"], _placement_name(check, event), rows)


def _made_of_submission(check: Check, reports: submission.SubmissionReports) -> Iterator[_Made]:
    event = reports.event
    if event["readable"] and event["kind"] == "orders":
        yield _Made(event["event"], "confirmation.csv", reports.confirmed)
    if len(reports.records.findings):
        yield _Made(event["event"], "rejections.csv", rejection_rows(reports.records))
    if len(reports.placement) and event["original_event"] == event["event"]:
        yield _Made(event["event"], _placement_name(check, event), reports.placement)


def _placement_name(check: Check, event: dict[str, Any]) -> str:
    outbox = check.settings.outbox
    return submission.placement_path(outbox, event).relative_to(outbox).as_posix()


def _rows_there(check: Check, event: dict[str, Any], name: str) -> pl.DataFrame | None:
    """The rows of a machine file as it lies there; None where it is missing or can't be read."""
    try:
        return pl.read_csv(io.BytesIO(_content(check, event, name)), infer_schema=False)
    except (OSError, CardsError, pl.exceptions.PolarsError, KeyError):
        return None


def _content(check: Check, event: dict[str, Any], name: str) -> bytes:
    outbox = check.settings.outbox
    if "/" in name:
        path = outbox / name
        if path.is_file():
            return path.read_bytes()
        source, _, member = name.partition("/")
        return check.archives.read(check.archives.holder(name) or outbox / source, member)
    if event["archived"]:
        return check.archives.read(check.archives.path_of(event), f"{event['folder']}/{name}")
    return (submission_folder(check.settings, event) / name).read_bytes()


def _same(made: pl.DataFrame, there: pl.DataFrame) -> bool:
    """Whether both have the same rows, but for wording."""
    written = pl.read_csv(io.BytesIO(csv_bytes(made)), infer_schema=False) if made.width else made
    columns = [name for name in written.columns if name not in _WORDING]
    return set(columns) <= set(there.columns) and written.select(columns).equals(there.select(columns))
