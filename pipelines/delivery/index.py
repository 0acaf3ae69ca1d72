"""`outbox/<reseller>/index.csv`: a row for each answer, the newest last, so that nobody looks through folders."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.settings import Settings
from pipelines.delivery.access import access_for
from pipelines.delivery.csv_files import csv_text
from pipelines.delivery.results import SubmissionResult
from pipelines.registry.records import SubmissionRecords
from schemas.sources import NETWORK

NAME: Final = "index.csv"
_HEADERS: Final = ("Time", "File", "Answer", "Path", "Orders", "Cards", "Reasons")


class Answer(NamedTuple):
    """A row of the index: when, about which dropped file, what it is (confirmation, rejections, release, refused, outcome,
    archive, trial), its path below the reseller's outbox folder, how many orders and cards it lists, and reasons of rejection.
    """

    time: str
    file: str
    answer: str
    path: str
    orders: int
    cards: int
    reasons: str = ""


def answers_of(records: SubmissionRecords, counts: SubmissionResult) -> list[Answer]:
    """The answers to one order file."""
    event = records.events.row(0, named=True)
    made: list[Answer] = []
    orders = counts.orders_placed + counts.orders_already_placed
    if event["readable"]:
        path = f"{event['folder']}/confirmation.csv"
        made.append(Answer(event["at"], event["file_name"], "confirmation", path, orders, counts.codes_placed))
    if len(records.findings):
        path = f"{event['folder']}/rejections.csv"
        reasons = "; ".join(counts.reasons)
        orders = counts.orders_rejected + counts.orders_on_hold
        made.append(Answer(event["at"], event["file_name"], "rejections", path, orders, 0, reasons))
    return made


def append(settings: Settings, source: str, answers: Iterable[Answer], *, once: bool = False) -> None:
    """Add rows to the index of a source, in one write. `once`: leave out those whose path it has, as after a crash."""
    rows = list(answers)
    if source == NETWORK or not rows:
        return
    path = settings.outbox / source / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if not size:
            os.fchmod(descriptor, access_for(settings, source).file)
        if once and size:
            known = set(paths(path))
            rows = [row for row in rows if row.path not in known]
        # a line that a crash cut short stays as it is; the next one begins a line of its own
        torn = b"\r\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
        if rows:
            os.write(descriptor, torn + _lines(rows, with_header=not size))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(rows: list[Answer], *, with_header: bool) -> bytes:
    frame = pl.DataFrame(rows, list(_HEADERS), orient="row")
    text = csv_text(frame)
    return (text if with_header else text.partition("\r\n")[2]).encode()


def paths(path: Path) -> pl.Series:
    """The paths of the answers that an index has; none if it is missing or no index."""
    none = pl.Series("Path", [], pl.String)
    try:
        frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True, ignore_errors=True, quote_char='"')
    except (OSError, pl.exceptions.PolarsError):
        return none
    return frame["Path"].drop_nulls() if "Path" in frame.columns else none
