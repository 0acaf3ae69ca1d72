"""Reports on hold: the operator looks at their figures, and approves or rejects them."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.common.durable_files import write_atomically
from pipelines.common.errors import CardsError, UsageError
from pipelines.delivery import archive
from pipelines.delivery.access import access_for
from pipelines.delivery.deliver import find_original
from pipelines.registry import decisions
from pipelines.registry.audit_trail import entry_of
from pipelines.run import Run
from schemas.actions import ApprovalDecision
from schemas.sources import NETWORK


@dataclass(frozen=True)
class ReportOnHold:
    """A network report that waits for a decision. `folder` is below `outbox/network`; `about` says what it would do."""

    report: str
    folder: str
    since: str
    about: str


@dataclass(frozen=True)
class Decision:
    """What was decided about a report on hold. `decision`: approved or rejected."""

    folder: str
    decision: str
    by: str
    why: str
    at: str


def reports_on_hold(run: Run) -> list[ReportOnHold]:
    """The network reports that wait for a decision, earliest first."""
    rows = decisions.reports_on_hold(run.registry).iter_rows(named=True)
    return [ReportOnHold(row["file_name"], row["folder"], row["at"], row["about"]) for row in rows]


def approve(run: Run, folder: str, by: str, why: str) -> Decision:
    """Let a report on hold take effect: it goes back into the inbox, and the next night uses it.

    May be repeated until a night has used it, as after a crash. Raises UsageError when no such report is on hold, or when
    it was rejected or used.
    """
    report = _report(run, folder, by, why)
    entry = entry_of(run.runtime, "approved a network report", report["folder"], why, by)
    if not decisions.decide(run.registry, report["event"], ApprovalDecision.APPROVED, by, why, entry):
        report = _report(run, folder, by, why)
        if report["decision"] != ApprovalDecision.APPROVED or report["used_event"]:
            raise UsageError(_decided(report))
    run.runtime.checkpoint("decided")
    _put_back(run, report)
    return Decision(report["folder"], "approved", by, why, entry.at)


def reject(run: Run, folder: str, by: str, why: str) -> Decision:
    """Leave a report on hold without effect, for good. Raises UsageError when no such report waits for a decision."""
    report = _report(run, folder, by, why)
    entry = entry_of(run.runtime, "rejected a network report", report["folder"], why, by)
    if not decisions.decide(run.registry, report["event"], ApprovalDecision.REJECTED, by, why, entry):
        raise UsageError(_decided(_report(run, folder, by, why)))
    return Decision(report["folder"], "rejected", by, why, entry.at)


def _report(run: Run, folder: str, by: str, why: str) -> dict[str, Any]:
    if not by.strip() or not why.strip():
        raise UsageError("Say who decides, and why: --by NAME --why TEXT.")
    name = Path(folder).name
    report = decisions.report_on_hold(run.registry, name)
    if report is None:
        raise UsageError(f"No report with the folder {name} is on hold. See: cards holds.")
    return report


def _decided(report: dict[str, Any]) -> str:
    word = ApprovalDecision(report["decision"]).name.lower()
    used = " and used" if report["used_event"] else ""
    return f"{report['folder']} was {word}{used} already, by {report['decided_by']}: {report['why']}"


def _put_back(run: Run, report: dict[str, Any]) -> None:
    """Put the archived original of a report into the inbox again, as old as it was, unless it is there."""
    archive.bring_back_submission(run, report["event"])
    folder = run.settings.outbox / NETWORK / report["folder"]
    original = find_original(folder, report["digest"]) if folder.is_dir() else None
    if original is None:
        raise CardsError(f"The original of {report['folder']} is missing. Ask the network to send the report again.")
    inbox = run.settings.inbox / NETWORK
    target = inbox / f"approved-{report['event']}-{original.name}"
    if not target.exists():
        inbox.mkdir(parents=True, exist_ok=True)
        written = datetime.fromisoformat(report["file_at"]).timestamp()

        def copy(staged: Path) -> None:
            staged.write_bytes(original.read_bytes())
            os.utime(staged, (written, written))

        write_atomically(target, copy, access_for(run.settings, NETWORK))
