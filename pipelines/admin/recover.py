"""`cards recover`: enter what the outbox has and a restored registry lacks, in the order in which it happened.

Each submission, group of reports and night is a transaction of its own, so that a recovery that was killed goes on where it
ended: what the registry knows is left alone. In the end no code that the outbox holds is free.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import NamedTuple

import polars as pl

from pipelines.admin.outbox_reading import (
    CODE,
    Folder,
    Outbox,
    all_codes,
    codes_in,
    copied_at,
    csv_rows,
    local_time,
    original_of,
    read_outbox,
    set_clock,
)
from pipelines.admin.recover_files import Submission, answered_orders, enter_submission, is_submission, submission_of
from pipelines.admin.recover_nights import Night, codes_of, enter_grants, enter_night, finish_nights, lost_nights
from pipelines.admin.recover_reports import enter_report_group
from pipelines.admin.recovery_state import RecoverResult, Recovery
from pipelines.common.errors import CardsError
from pipelines.common.registry_mark import Mark, reset_mark
from pipelines.common.words import count
from pipelines.delivery.written_files import NONE
from pipelines.intake.reader import Parser
from pipelines.registry import archive, audit, audit_trail, recovery
from pipelines.run import Run, require_current
from schemas.sources import NETWORK

_ORDERS, _REPORTS, _NIGHT, _GRANTS = range(4)


class _Step(NamedTuple):
    """Something that happened: when, what comes first of what happened at that time, and how it is entered."""

    at: datetime
    rank: tuple[int, int]
    enter: Callable[[Recovery], None]


class _Lost(NamedTuple):
    """What the registry lacks."""

    submissions: list[Submission]
    reports: dict[str, list[Folder]]
    nights: list[Night]


def recover(run: Run, *, dry_run: bool = False) -> RecoverResult:
    """Enter what the registry lacks, and let it issue again. With `dry_run` nothing is entered.

    Raises CardsError without a catalogue, and while a reconciliation is running.
    """
    if run.registry.catalogue()[0].is_empty():
        raise CardsError("The catalogue is empty. Load it first: cards catalogue load FILE. Then run: cards recover")
    with run.registry.try_reconciliation_lock() as locked:
        if not locked:
            raise CardsError("A reconciliation is running. Stop all jobs, then run: cards recover")
        return _recover(run, dry_run=dry_run)


def _recover(run: Run, *, dry_run: bool) -> RecoverResult:
    outbox, result = read_outbox(run.settings), RecoverResult(dry_run)
    for path in outbox.damaged:
        fix = "Nothing in it is entered. Restore it from a backup of the outbox, and run cards recover again."
        result.find("an archive is damaged", str(path), fix)
    lost = _lost(run, outbox, result)
    if dry_run:
        _count(outbox, lost, result)
        return result
    if _is_current(run) and not any(lost):
        _note_archived(run, outbox)
        return result
    _block(run)
    with Parser(run.settings) as parser:
        recovery_ = Recovery(run, outbox, parser, result)
        finish_nights(recovery_)
        steps = sorted(_steps(outbox, lost), key=lambda step: (step.at, step.rank))
        for done, step in enumerate(steps, 1):
            step.enter(recovery_)
            run.runtime.progress("recovering", done, len(steps))
    _note_archived(run, outbox)
    _enter_codes_left(recovery_, lost)
    _finish(run, result)
    about = f"{count(len(steps), 'submission, report or night', 'submissions, reports and nights')} of the outbox"
    audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "entered what a restored registry lacked", "", about))
    return result


# -- what is lost ------------------------------------------------------------------------------------------------------


def _lost(run: Run, outbox: Outbox, result: RecoverResult) -> _Lost:
    known = recovery.known_submissions(run.registry)
    set_clock(outbox, known["at"])
    events = set(known.select("source", "folder").iter_rows())
    submissions: list[Submission] = []
    reports: dict[str, list[Folder]] = {}
    for key, folder in sorted(outbox.folders.items()):
        if key in events:
            continue
        if folder.source == NETWORK:
            reports.setdefault(local_time(outbox, folder.name), []).append(folder)
        elif is_submission(folder):
            submissions.append(submission_of(outbox, folder))
        else:
            result.find("a folder holds no answer", f"outbox/{folder.source}/{folder.name}", "Look what it is, and remove it.")
    for (source, name), placement in outbox.placements.items():
        if source != NETWORK and (source, name) not in events and (source, name) not in outbox.folders:
            submissions.append(Submission(source, name, local_time(outbox, name), "", "", {}, placement))
    return _Lost(submissions, reports, lost_nights(outbox, known, set(reports)))


def _count(outbox: Outbox, lost: _Lost, result: RecoverResult) -> None:
    """What would be entered."""
    result.submissions, result.nights = len(lost.submissions), len(lost.nights)
    result.reports = sum(map(len, lost.reports.values()))
    result.orders = sum(len(answered_orders(one.files)[0]) for one in lost.submissions)
    placed = [outbox.placements.get((NETWORK, night.folder)) for night in lost.nights] + [
        one.placement for one in lost.submissions
    ]
    result.codes = sum(len(csv_rows(found, ["Action", CODE]).filter(Action="Add")) for found in placed)


def _steps(outbox: Outbox, lost: _Lost) -> Iterable[_Step]:
    """All that happened."""
    for at, group in groupby(sorted(lost.submissions, key=_instant), key=_instant):
        for place, one in enumerate(_in_order(list(group))):
            yield _Step(at, (_ORDERS, place), partial(enter_submission, one=one))
    used = {night.at: codes_of(outbox, night) for night in lost.nights}
    for when, found in lost.reports.items():
        folders = sorted(found, key=lambda folder: (copied_at(folder.files), folder.name))
        enter = partial(enter_report_group, at=when, folders=folders, used_codes=used.get(when, set()))
        yield _Step(datetime.fromisoformat(when), (_REPORTS, 0), enter)
    nights = sorted(lost.nights, key=lambda night: (datetime.fromisoformat(night.at), night.part))
    for before, night in zip([None, *nights], nights, strict=False):  # a grant is released by the night that follows it
        granted = datetime.fromisoformat(before.at) if before else datetime.min.replace(tzinfo=UTC)
        yield _Step(granted, (_GRANTS, night.part), partial(enter_grants, night=night))
        yield _Step(datetime.fromisoformat(night.at), (_NIGHT, night.part), partial(enter_night, night=night))


def _instant(one: Submission) -> datetime:
    return datetime.fromisoformat(one.at)


def _in_order(group: list[Submission]) -> list[Submission]:
    """Submissions of the same second, as their files were copied from the inbox one after the other; one that says what was
    placed before comes after the one that placed it.
    """
    if len(group) == 1:
        return group
    orders = [(one, *answered_orders(one.files)) for one in sorted(group, key=lambda one: (copied_at(one.files), one.folder))]
    done: list[Submission] = []
    while orders:
        coming = [placed for _, placed, _ in orders]
        ready = next(
            (place for place, (_, own, earlier) in enumerate(orders)
             if not any(earlier & placed for placed in coming if placed is not own)), 0,
        )  # fmt: skip
        done.append(orders.pop(ready)[0])
    return done


# -- the end -----------------------------------------------------------------------------------------------------------


def _note_archived(run: Run, outbox: Outbox) -> None:
    """Note which submissions lie in an archive, or in the outbox again."""
    known = recovery.known_submissions(run.registry).filter(pl.col("kind") != "night")
    numbers = {
        event: outbox.folders[source, folder].archived
        for event, source, folder, archived in known.select("event", "source", "folder", "archived").iter_rows()
        if (source, folder) in outbox.folders and outbox.folders[source, folder].archived != archived
    }
    if numbers:
        archive.note_archived(run.registry, numbers)
        archived = [event for event in run.registry.undelivered() if numbers.get(event)]
        run.registry.mark_delivered(archived, NONE)  # their folders are not written again


def _enter_codes_left(recovery_: Recovery, lost: _Lost) -> None:
    """Enter as external every code that the outbox holds and the registry still lacks, so that none is issued again."""
    run, outbox = recovery_.run, recovery_.outbox
    files = [*outbox.placements.values(), *(file.found for file in outbox.order_files)]
    files += [one.files["confirmation.csv"] for one in lost.submissions if "confirmation.csv" in one.files]
    codes = []
    for found in files:
        some, is_damaged = all_codes(found)
        codes.append(some)
        if is_damaged:
            fix = "What it says is not entered, but its codes are never issued again. Restore it from a backup of the outbox."
            recovery_.result.find("a file is damaged", f"outbox/{found.path}", fix)
    known = set(recovery.known_submissions(run.registry).filter(source=NETWORK)["folder"])
    for folder in (folder for folders in lost.reports.values() for folder in folders if folder.name not in known):
        original = original_of(folder.files)
        codes.append(codes_in(original[1] if original else b""))
    every = pl.concat([pl.Series("code", [], pl.String), *(one.rename("code") for one in codes)]).drop_nulls().unique()
    new = run.registry.import_codes(every.filter(every.str.contains(r"^[0-9]{14}$")).cast(pl.Int64))
    if new:
        recovery_.result.external_codes += new
        recovery_.result.find(
            f"{count(new, 'code')} of the outbox belong to no card that could be recovered", "outbox",
            "They are never issued again. The findings above say where they come from.",
        )  # fmt: skip


def _block(run: Run) -> None:
    """Have everything refuse until the end, also when the last event that was delivered is there again."""
    reset_mark(run.settings.home, Mark(audit.last_event(run.registry) + 1, "", "recovering"))


def _finish(run: Run, result: RecoverResult) -> None:
    """Have the registry satisfy the mark of the home: what was lost has other numbers now."""
    notes = (
        f"Recovered {count(result.submissions, 'submission')}, {count(result.reports, 'report')}, "
        f"{count(result.nights, 'night')}, {count(result.orders, 'order')} and {count(result.codes, 'code')}."
    )
    at = run.runtime.timestamp()
    event = recovery.enter_recovery(run.registry, at, notes)
    reset_mark(run.settings.home, Mark(event, at, ""))


def _is_current(run: Run) -> bool:
    """Whether the registry has what the mark of the home says, if there is one that can be read."""
    try:
        require_current(run)
    except CardsError:
        return False
    return True
