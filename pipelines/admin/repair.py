"""`cards repair`: what to do about each finding of `cards verify`, and to do it where that is safe.

Reports are written again from the registry, access is restricted, what killed runs left is removed, indexes are completed.
Nothing changes what was issued: where the registry contradicts what was written, the operator decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.admin.audit import Scope, verify
from pipelines.admin.audit_archives import Archives
from pipelines.admin.audit_content import Answers, check_content
from pipelines.admin.audit_strays import restrict
from pipelines.admin.findings import Check, Finding, Repair, RepairAction
from pipelines.common.durable_files import lock_stale_dir, remove_locked_dir
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.words import count
from pipelines.delivery import index, order_files, recovery, rewriting, statements
from pipelines.delivery.results import submission_result
from pipelines.registry import audit, audit_trail, structure
from pipelines.registry.outbox_files import files_of
from pipelines.registry.records import by_event
from pipelines.run import Run

_BY_HAND: Final = "by hand"


@dataclass(frozen=True)
class Repaired:
    """A finding, what `cards repair` does about it (`by hand`: nothing), and what came of it: `done`, an error, or empty when
    it was not to be applied.
    """

    what: str
    where: str
    repair: str
    fix: str
    result: str


@dataclass(frozen=True)
class RepairResult:
    """What was found and done; `left`: how many problems are left afterwards."""

    findings: list[Repaired]
    left: int


def repair(run: Run, scope: Scope, *, apply: bool) -> RepairResult:
    """Verify, and with `apply` do what is safe about each finding, then verify again what is left.

    Raises CardsError while a reconciliation is running.
    """
    found = verify(run.settings, run.registry, scope, run.runtime.progress).findings
    results: dict[Repair, str] = {}
    if apply:
        for one in found:
            if one.repair and one.repair not in results:
                results[one.repair] = _apply(run, one.repair)
    if results:
        audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "repaired", "", count(len(results), "finding")))
    left = verify(run.settings, run.registry, scope).findings if results else found
    return RepairResult([_row(one, results) for one in found], len(left))


def _row(finding: Finding, results: dict[Repair, str]) -> Repaired:
    repair = str(finding.repair.action) if finding.repair else _BY_HAND
    result = results.get(finding.repair, "") if finding.repair else ""
    return Repaired(finding.what, finding.where, repair, finding.fix, result)


def _apply(run: Run, repair: Repair) -> str:
    try:
        _APPLIED[repair.action](run, repair.target)
    except Exception as error:  # a repair never takes another with it
        return str(to_cards_error(error))
    return "done"


def _rewrite(run: Run, target: str) -> None:
    """Write a submission or a night again. Raises CardsError when the registry contradicts what was written, which a quick
    verification does not see.
    """
    events = audit.known_events(run.registry, pl.Series([int(target)]))
    event = events.row(0, named=True)
    with run.registry.reconciliation_lock():
        check = Check(run.settings, run.registry, full=True, archives=Archives(run.settings))
        if check_content(check, events, files_of(run.registry, events["event"]), Answers(check))[1]:
            raise CardsError("The registry contradicts what was written, so nothing is written again. See: cards verify")
        if event["kind"] == "night":
            rewriting.rewrite_night(run, event["reconciliation_date"])
        else:
            rewriting.rewrite_submission(run, event["event"])


def _complete_index(run: Run, source: str) -> None:
    """Add to the index of a reseller what it lacks, in the order of its answers."""
    for portion in audit.portions(run.registry):
        mine = portion.events.filter(source=source, kind="orders", delivered=1)["event"].to_list()
        for records in by_event(run.registry.submission_records(mine)) if mine else ():
            index.append(run.settings, source, index.answers_of(records, submission_result(records, "")), once=True)
            order_files.list_again(run, records.orders["order_pk"])
    statements.list_again(run, source)


def _remove(_: Run, target: str) -> None:
    """Remove what a killed run had begun to write."""
    if (descriptor := lock_stale_dir(Path(target))) is not None:
        remove_locked_dir(Path(target), descriptor)
    if Path(target).exists():
        raise CardsError(f"{target} is in use.")


def _finish(run: Run, _: str) -> None:
    failures = recovery.finish_undelivered(run).failures
    if failures:
        raise failures[0]


_APPLIED: Final[dict[RepairAction, Callable[[Run, str], Any]]] = {
    RepairAction.REWRITE: _rewrite,
    RepairAction.INDEX: _complete_index,
    RepairAction.RESTRICT: lambda run, target: restrict(run.settings, Path(target)),
    RepairAction.REMOVE: _remove,
    RepairAction.MAKE_INDEX: lambda run, target: structure.make_index(run.registry, target),
    RepairAction.FINISH: _finish,
}
