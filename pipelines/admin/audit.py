"""`cards verify`: check that registry, outbox and permissions agree.

A portion of events at a time: what the registry says of their orders, whether it still says what was written, and whether that
lies where it was written. What looks wrong while a night goes on writing is looked at again before it is reported.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from pipelines.admin.audit_archives import Archives
from pipelines.admin.audit_content import Answers, check_content
from pipelines.admin.audit_files import check_archives, check_files
from pipelines.admin.audit_strays import check_permissions, check_strays
from pipelines.admin.findings import Check, Finding, Repair, RepairAction
from pipelines.admin.lists import parse_since
from pipelines.common.settings import Settings
from pipelines.registry import audit, structure
from pipelines.registry.audit import Portion
from pipelines.registry.outbox_files import files_of
from pipelines.registry.store import Registry

_RESTORE: Final = "Stop all jobs and restore the registry from its latest backup (see docs/operators.md)."
_REPORT: Final = "Report this: something other than this program has changed the registry."


@dataclass(frozen=True)
class Scope:
    """What is checked. `quick`: only whether files are there, with their sizes, and what the registry's catalogue says.
    `since`: only what came on that date (2026-01-31) or later; `sample`: only so many events, drawn at random (0: all).
    """

    quick: bool = False
    since: str = ""
    sample: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out because of its date or of chance."""
        return not self.since and not self.sample


def scope(*, quick: bool = False, since: str = "", sample: int = 0) -> Scope:
    """A scope as it is asked for. Raises UsageError for a `since` that is no date."""
    return Scope(quick, parse_since(since), sample)


@dataclass(frozen=True)
class Verification:
    """Whether everything agrees, how many events were checked, and every problem."""

    sound: bool
    events_checked: int
    findings: list[Finding]


def verify(
    settings: Settings, registry: Registry, scope: Scope = Scope(), progress: Callable[[str, int, int], None] = lambda *_: None
) -> Verification:
    """Check registry and outbox. A damaged file or row is a finding, never an error."""
    check = Check(settings, registry, not scope.quick, Archives(settings))
    found = [*_registry(check, scope)]
    checked, last, answers = 0, audit.last_event(registry), Answers(check)
    for portion in audit.portions(registry, scope.since, scope.sample):
        found += _twice(check, portion, answers)
        checked += len(portion.events)
        progress("events", checked if scope.sample else int(portion.events["event"][-1]), scope.sample or last)
    found += answers.findings()
    found += check_archives(check, scope.since) if check.full and not scope.sample else []
    if not scope.sample:
        found += [*check_strays(check), *check_permissions(settings)]
    return Verification(not found, checked, list(dict.fromkeys(found)))


# -- the registry ------------------------------------------------------------------------------------------------------


def _registry(check: Check, scope: Scope) -> Iterator[Finding]:
    """The database's own check, its structure, and what contradicts itself in it as a whole."""
    registry = check.registry
    for table in structure.wrong_tables(registry):
        yield Finding("a table of the registry is missing or has other columns", table, _RESTORE)
    for index in structure.wrong_indexes(registry):
        fix = "Make it again: cards repair --apply"
        yield Finding("an index of the registry is missing", index, fix, Repair(RepairAction.MAKE_INDEX, index))
    if check.full and scope.is_whole:
        for text in audit.integrity(registry):
            yield Finding("the database is damaged", text, _RESTORE)
    if not scope.is_whole:
        return
    found = audit.missing_rows(registry) | (audit.disagreements_of_all(registry) if check.full else {})
    yield from _contradictions(found)


def _contradictions(found: dict[str, int]) -> Iterator[Finding]:
    for what, number in found.items():
        yield Finding(f"{what} ({number:,})", "registry", _REPORT)


# -- portions ----------------------------------------------------------------------------------------------------------


def _twice(check: Check, portion: Portion, answers: Answers) -> list[Finding]:
    """What is wrong with a portion; if anything is, it is looked at again while no night can write."""
    found = _portion(check, portion, answers)
    if not found:
        return []
    with check.registry.try_reconciliation_lock():
        events = audit.known_events(check.registry, portion.events["event"])
        return _portion(check._replace(archives=Archives(check.settings)), portion._replace(events=events), Answers(check))


def _portion(check: Check, portion: Portion, answers: Answers) -> list[Finding]:
    found = _orders(check, portion) if check.full else []
    kept = files_of(check.registry, portion.events["event"])
    contradicted: set[int] = set()
    if check.full:
        more, contradicted = _content(check, portion.events, kept, answers)
        found += more
    return [*found, *check_files(check, portion.events, kept, contradicted)]


def _orders(check: Check, portion: Portion) -> list[Finding]:
    if portion.first_order > portion.last_order:
        return []
    found = audit.disagreements_of_orders(check.registry, portion.first_order, portion.last_order)
    return [*_contradictions(found)]


def _content(check: Check, events: pl.DataFrame, kept: pl.DataFrame, answers: Answers) -> tuple[list[Finding], set[int]]:
    """The contradictions of events; where the registry is too damaged to say, of each by itself."""
    try:
        return check_content(check, events, kept, answers)
    except Exception as error:
        if len(events) == 1:
            what = f"the registry no longer says what was written ({type(error).__name__})"
            event = events.row(0, named=True)
            return [Finding(what, f"outbox/{event['source']}/{event['folder']}", _RESTORE)], set(events["event"])
    each = [_content(check, part, kept.filter(event=part["event"].item()), answers) for part in events.iter_slices(1)]
    return [one for found, _ in each for one in found], {event for _, events in each for event in events}
