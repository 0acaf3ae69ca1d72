"""What the steps of `cards recover` share: a recovery at work, and what it has done."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pipelines.admin.outbox_reading import Outbox
from pipelines.common.errors import TransientError, to_cards_error
from pipelines.intake.reader import Parser
from pipelines.run import Run


@dataclass(frozen=True)
class RecoverFinding:
    """What could not be recovered as it was: what, where, and what to do about it. It never names a code."""

    what: str
    where: str
    fix: str


@dataclass
class RecoverResult:
    """What was entered (with `dry_run`: what would be), and what the operator must look at.

    `codes`: those that the submissions and nights issued; `external_codes`: those that are unavailable from now on and belong
    to no card.
    """

    dry_run: bool
    submissions: int = 0
    reports: int = 0
    nights: int = 0
    orders: int = 0
    codes: int = 0
    external_codes: int = 0
    findings: list[RecoverFinding] = field(default_factory=list)

    def find(self, what: str, where: str, fix: str) -> None:
        """Note what the operator must look at."""
        self.findings.append(RecoverFinding(what, where, fix))


class Recovery(NamedTuple):
    """A recovery at work: its run, what the outbox says, the parser, and what is done so far."""

    run: Run
    outbox: Outbox
    parser: Parser
    result: RecoverResult


@contextmanager
def entering(recovery_: Recovery, where: str) -> Iterator[None]:
    """Note an error of the block, and go on: nothing takes another with it, and codes are swept up in the end."""
    try:
        yield
    except TransientError:
        raise
    except Exception as error:
        what = f"this could not be entered: {to_cards_error(error)}"
        recovery_.result.find(what, where, "Its codes are never issued again. Find out why, and what else is missing by it.")


def at_time(run: Run, at: str) -> Run:
    """The run at an earlier time."""
    time = datetime.fromisoformat(at)
    return run._replace(runtime=run.runtime._replace(now=lambda: time))
