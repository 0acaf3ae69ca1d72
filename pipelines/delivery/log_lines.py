"""The lines of the log about what was delivered."""

import time
from collections.abc import Iterable
from dataclasses import asdict

from pipelines.common.errors import CardsError
from pipelines.common.log_events import (
    FILE_ANSWERED,
    NOT_DONE,
    REPORT_ENTERED,
    REPORT_ON_HOLD,
    REPORT_REJECTED,
    REPORT_REPEATED,
    TRIAL_ANSWERED,
)
from pipelines.delivery.results import Result, SubmissionResult
from pipelines.intake.private_copy import PrivateCopy
from pipelines.run import Run


def submission_of(run: Run, folder: str) -> str:
    """The name by which the log knows a submission, from its file to its nights: `<reseller>/<folder>`."""
    return str((run.settings.home / folder).relative_to(run.settings.outbox))


def log_result(run: Run, result: Result, copy: PrivateCopy | None) -> None:
    """Log what became of a file, and how long that took since it was dropped."""
    known = {"submission": submission_of(run, result.folder)}
    waited = {"seconds": round(time.time() - copy.file.ctime_ns / 1e9, 3)} if copy and copy.file.ctime_ns > 0 else {}
    figures = {name: value for name, value in asdict(result).items() if name not in ("folder", "trial", "repeated")}
    run.runtime.log(_event(result), **known, **figures, **waited)


def _event(result: Result) -> str:
    if isinstance(result, SubmissionResult):
        return TRIAL_ANSWERED if result.trial else FILE_ANSWERED
    if result.on_hold:
        return REPORT_ON_HOLD
    return REPORT_REJECTED if result.reasons else REPORT_REPEATED if result.repeated else REPORT_ENTERED


def log_failures(run: Run, failures: Iterable[CardsError]) -> None:
    """Log what could not be done."""
    for failure in failures:
        run.runtime.log(NOT_DONE, error=str(failure))
