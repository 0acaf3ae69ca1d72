"""What waits for the operator: network reports on hold and large orders. The operator looks at them, and approves or rejects
them.
"""

import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pipelines.answering import answer_decided
from pipelines.common.durable_files import write_atomically
from pipelines.common.errors import CardsError, UsageError
from pipelines.common.words import count
from pipelines.delivery import archive
from pipelines.delivery.access import access_for
from pipelines.delivery.deliver import find_original
from pipelines.delivery.results import SubmissionResult
from pipelines.intake.reader import Parser
from pipelines.registry import decisions, order_holds
from pipelines.registry.audit_trail import entry_of
from pipelines.run import Run
from schemas.actions import ApprovalDecision
from schemas.sources import NETWORK

_HOLD: Final = "H"
"""A hold of an order is named by this letter and its number."""


@dataclass(frozen=True)
class ReportOnHold:
    """A network report that waits for a decision. `folder` is below `outbox/network`; `about` says what it would do."""

    report: str
    folder: str
    since: str
    about: str


@dataclass(frozen=True)
class OrderOnHold:
    """An order that waits for approval. `hold` is what `cards approve` takes; `folder`: the submission that says so, below
    `outbox`.
    """

    hold: str
    reseller: str
    customer_account: str
    customer_order_id: str
    codes: int
    since: str
    folder: str


@dataclass(frozen=True)
class Decision:
    """What was decided about a report or an order on hold. `folder`: of the report, or of the order's submission; `hold`: of
    the order, else empty; `decision`: approved or rejected; `results`: of an order, the new answers of submissions.
    """

    folder: str
    decision: str
    by: str
    why: str
    at: str
    hold: str = ""
    results: list[SubmissionResult] = field(default_factory=list)


def reports_on_hold(run: Run) -> list[ReportOnHold]:
    """The network reports that wait for a decision, earliest first."""
    rows = decisions.reports_on_hold(run.registry).iter_rows(named=True)
    return [ReportOnHold(row["file_name"], row["folder"], row["at"], row["about"]) for row in rows]


def orders_on_hold(run: Run) -> list[OrderOnHold]:
    """The orders that wait for approval, earliest first."""
    waiting = order_holds.open_holds(run.registry).filter(decision=ApprovalDecision.WAITING)
    return [
        OrderOnHold(f"{_HOLD}{row['hold']}", row["source"], row["account"], row["customer_order_id"], row["codes"], row["at"],
                    f"{row['source']}/{row['folder']}")
        for row in waiting.iter_rows(named=True)
    ]  # fmt: skip


def approve(run: Run, what: str, by: str, why: str) -> Decision:
    """Let a report on hold (by its folder) take effect: it goes back into the inbox, and the next night uses it. Or let an
    order on hold (by its hold, H12) be placed, with which its submission is answered again.

    May be repeated until it has an effect, as after a crash. Raises UsageError when nothing such is on hold, or when
    something else was decided, and CardsError when the new answer can't be written.
    """
    if _is_hold(what):
        return _decide_order(run, what, ApprovalDecision.APPROVED, by, why)
    return _approve_report(run, what, by, why)


def reject(run: Run, what: str, by: str, why: str) -> Decision:
    """Leave a report on hold without effect, for good, or an order unplaced, which its reseller learns by a new answer. Raises
    UsageError when nothing such waits for a decision.
    """
    if _is_hold(what):
        return _decide_order(run, what, ApprovalDecision.REJECTED, by, why)
    return _reject_report(run, what, by, why)


def _is_hold(what: str) -> bool:
    return re.fullmatch(rf"{_HOLD}[0-9]{{1,18}}", what.strip(), re.IGNORECASE) is not None


def _decide_order(run: Run, what: str, decision: ApprovalDecision, by: str, why: str) -> Decision:
    """Decide about an order, and answer its submission again. What dies in between is done by the next run."""
    _require_reason(by, why)
    number, word = int(what.strip()[1:]), decision.name.lower()
    hold = order_holds.hold_by_number(run.registry, number)
    if hold is None:
        raise UsageError(f"There is no order with the hold {what}. See: cards holds.")
    subject = f"order {hold['customer_order_id']} of account {hold['account']} ({count(hold['codes'], 'code')})"
    entry = entry_of(run.runtime, f"{word} an order", subject, why, by)
    if not order_holds.decide(run.registry, number, decision, by, why, entry):
        hold = order_holds.hold_by_number(run.registry, number) or hold
        if hold["decision"] != decision or hold["order_pk"]:
            raise UsageError(_decided_order(what, hold))
    run.runtime.checkpoint("decided")
    with Parser(run.settings) as parser:
        done = answer_decided(run, parser)
    results = [one for one in done.results if isinstance(one, SubmissionResult)]
    if done.failures:
        raise done.failures[0]
    return Decision(f"{hold['source']}/{hold['folder']}", word, by, why, entry.at, what.strip().upper(), results)


def _decided_order(what: str, hold: dict[str, Any]) -> str:
    placed = " and placed" if hold["order_pk"] else ""
    word = ApprovalDecision(hold["decision"]).name.lower()
    by = f", by {hold['decided_by']}" + (f": {hold['why']}" if hold["why"] else "")
    return f"{what} was {word}{placed} already{by if hold['decided_by'] else ''}"


def _approve_report(run: Run, folder: str, by: str, why: str) -> Decision:
    report = _report(run, folder, by, why)
    entry = entry_of(run.runtime, "approved a network report", report["folder"], why, by)
    if not decisions.decide(run.registry, report["event"], ApprovalDecision.APPROVED, by, why, entry):
        report = _report(run, folder, by, why)
        if report["decision"] != ApprovalDecision.APPROVED or report["used_event"]:
            raise UsageError(_decided(report))
    run.runtime.checkpoint("decided")
    _put_back(run, report)
    return Decision(report["folder"], "approved", by, why, entry.at)


def _reject_report(run: Run, folder: str, by: str, why: str) -> Decision:
    report = _report(run, folder, by, why)
    entry = entry_of(run.runtime, "rejected a network report", report["folder"], why, by)
    if not decisions.decide(run.registry, report["event"], ApprovalDecision.REJECTED, by, why, entry):
        raise UsageError(_decided(_report(run, folder, by, why)))
    return Decision(report["folder"], "rejected", by, why, entry.at)


def _require_reason(by: str, why: str) -> None:
    if not by.strip() or not why.strip():
        raise UsageError("Say who decides, and why: --by NAME --why TEXT.")


def _report(run: Run, folder: str, by: str, why: str) -> dict[str, Any]:
    _require_reason(by, why)
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
