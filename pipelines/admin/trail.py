"""`cards audit`: who did what, from files and nights to decisions and loads of the catalogue."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from pipelines.admin.lists import parse_since
from pipelines.common.masking import mask_codes
from pipelines.common.times import night_name
from pipelines.common.words import count
from pipelines.registry import audit_trail
from pipelines.registry.audit_trail import Place
from pipelines.run import Run

_PORTION: Final = 10_000
_ACTIONS: Final = {"orders": "answered an order file", "report": "entered a network report", "night": "reconciled",
                   "grant": "granted surplus cards", "release": "lifted a hold"}  # fmt: skip
"""What the kinds of events are, in words."""


@dataclass(frozen=True)
class TrailEntry:
    """A line of the audit trail. `who`: a user of this machine, a reseller (of files), the network (of reports) or the service
    (of nights); `subject`: what it was done to; `about`: why, or with which figures.
    """

    at: str
    who: str
    action: str
    subject: str
    about: str


@dataclass(frozen=True)
class Trail:
    """The newest entries of the trail; `more`: whether there are earlier ones."""

    entries: list[TrailEntry]
    more: bool


def trail(run: Run, since: str, until: str, limit: int) -> Trail:
    """The newest entries from a time on and before another (empty: no bound), newest first. Raises UsageError for what is no
    time.
    """
    rows = audit_trail.newest(run.registry, parse_since(since), parse_since(until, "--until"), limit + 1)
    return Trail(list(_entries(rows.head(limit))), more=len(rows) > limit)


def entries(run: Run, since: str, until: str) -> Iterator[TrailEntry]:
    """The trail from a time on and before another, oldest first, however long it is."""
    place, end = Place(parse_since(since)), parse_since(until, "--until")
    while len(rows := audit_trail.following(run.registry, place, end, _PORTION)):
        yield from _entries(rows)
        place = Place(*rows.select("at", "origin", "number").row(-1))


def _entries(rows: pl.DataFrame) -> Iterator[TrailEntry]:
    """The rows in words. What strangers wrote, names of files above all, is masked."""
    for row in rows.iter_rows(named=True):
        kind, subject, about = row["action"], row["subject"], row["about"]
        if kind in ("orders", "report"):
            subject, about = f"{row['who']}/{subject}", f"{row['file_name']}, {count(row['rows'], 'row')}"
        elif kind == "night":
            subject = night_name(row["reconciliation_date"])
        elif kind == "grant":
            subject = row["file_name"]
        yield TrailEntry(row["at"], row["who"], _ACTIONS.get(kind, kind), mask_codes(subject), mask_codes(about))
