"""`cards replay`: answer submissions again that were rejected because our catalogue or a rule of ours was wrong."""

from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.admin.lists import known_reseller, parse_since
from pipelines.answering import answer_again, claim_submission, copy_of_original, load_original, submission_of
from pipelines.common.errors import CardsError, UsageError, require_printable, to_cards_error
from pipelines.common.words import count
from pipelines.delivery import recovery
from pipelines.delivery.results import SubmissionResult
from pipelines.delivery.trials import trial_result
from pipelines.intake.private_copy import Spool
from pipelines.intake.reader import Parser
from pipelines.orders.batch import OrderFile
from pipelines.orders.loading import load_copy
from pipelines.orders.trial import try_file
from pipelines.registry import audit_trail
from pipelines.registry.claims import Claims
from pipelines.registry.replays import findings_of, replayable
from pipelines.run import Run, open_claims
from schemas.reasons import REASONS

ANSWERED, WOULD, UNCHANGED, ARCHIVED = "answered", "would be answered", "unchanged", "in an archive, not tried"
WHY: Final = "because the rejection was not due to the file"
"""Why a submission is answered again, as its new answer says."""


@dataclass(frozen=True)
class Replayed:
    """What became of a submission. `submission` is its folder and `folder` that of its new answer, both below the home;
    `outcome`: answered, would be answered, unchanged (it would be rejected as before), or in an archive, which a dry run does
    not read.
    """

    reseller: str
    file: str
    submission: str
    outcome: str
    folder: str = ""
    orders_placed: int = 0
    orders_already_placed: int = 0
    orders_rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayResult:
    """What became of the submissions that were asked for, and what could not be answered."""

    submissions: list[Replayed]
    failures: list[CardsError]


def replay(run: Run, reason: str, since: str = "", reseller: str = "", *, dry_run: bool = False) -> ReplayResult:
    """Answer again, from their originals, the submissions that were rejected for a reason, oldest first.

    One that would be rejected as before is left as it is, so that the command can be repeated. Nothing is written with
    `dry_run`. Raises UsageError for a reason that is none.
    """
    if reason not in REASONS:
        raise UsageError(f"--reason {require_printable(reason, 'a reason')}: there is no such reason; see docs/reference.md.")
    since, reseller = parse_since(since), known_reseller(run.registry, reseller)
    result = ReplayResult([], [])
    if not dry_run:
        result.failures.extend(recovery.finish_undelivered(run).failures)
    wanted = [one for part in replayable(run.registry, reason, since, reseller) for one in part.iter_rows(named=True)]
    with Parser(run.settings) as parser, Spool(run.settings.home) as spool, open_claims(run, spool.name) as claims:
        for done, one in enumerate(wanted, 1):
            try:
                found = _try(run, parser, spool, one) if dry_run else _replay(run, parser, spool, claims, one)
                result.submissions.extend([found] if found else [])
            except Exception as error:  # a file never takes another with it
                result.failures.append(to_cards_error(error))
            run.runtime.progress("replaying", done, len(wanted))
    if answered := sum(one.outcome == ANSWERED for one in result.submissions):
        about = f"{count(answered, 'submission')} that {reason} had rejected"
        audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "answered again", reseller or "all sources", about))
    return result


def _try(run: Run, parser: Parser, spool: Spool, one: dict[str, Any]) -> Replayed:
    """What would become of a submission."""
    if one["archived"]:
        return _replayed(run, one, ARCHIVED)
    copy = copy_of_original(run, spool, one)
    return _compared(run, one, load_copy(copy, parser, run.settings))


def _replay(run: Run, parser: Parser, spool: Spool, claims: Claims, one: dict[str, Any]) -> Replayed | None:
    """Answer a submission again, unless it would be rejected as before; None while another worker has it in hand."""
    if not claim_submission(claims, one):
        return None
    file = load_original(run, parser, spool, one)
    compared = _compared(run, one, file)
    if compared.outcome == UNCHANGED:
        file.copy.path.unlink()
        return compared
    deliveries = answer_again(run, spool, file, one, WHY)
    for error in (error for delivery in deliveries for error in delivery.failures):
        raise error
    result = [done for delivery in deliveries for done in delivery.results if isinstance(done, SubmissionResult)]
    return _replayed(run, one, ANSWERED, result[0]) if result else None


def _compared(run: Run, one: dict[str, Any], file: OrderFile) -> Replayed:
    """What would become of a submission, decided by itself."""
    records = try_file(run, file).records
    result = trial_result(records, "")
    rows = set(records.findings.select("source_row", "column", "reason").iter_rows())
    is_same = not result.orders_placeable and rows == findings_of(run.registry, one["event"])
    return _replayed(run, one, UNCHANGED if is_same else WOULD, result, placed=result.orders_placeable)


def _replayed(run: Run, one: dict[str, Any], outcome: str, result: SubmissionResult | None = None, placed: int = 0) -> Replayed:
    submission = submission_of(run, one)
    if result is None:
        return Replayed(one["source"], one["file_name"], submission, outcome)
    return Replayed(
        one["source"], one["file_name"], submission, outcome, result.folder, result.orders_placed or placed,
        result.orders_already_placed, result.orders_rejected, result.reasons,
    )  # fmt: skip
