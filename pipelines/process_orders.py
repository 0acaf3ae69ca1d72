"""Job 1: an order file from the inbox to its submission folder.

ready files, in turns → claim a portion → private copies → load → file rules → registry facts → decide → commit →
deliver → remove from inbox.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.answering import answer_decided, decide_and_deliver
from pipelines.common.errors import CardsError, UsageError, to_cards_error
from pipelines.common.memory import give_back
from pipelines.delivery import recovery, trials
from pipelines.delivery.log_lines import log_failures
from pipelines.delivery.receipts import Receipts
from pipelines.delivery.rejections import sorted_findings
from pipelines.delivery.results import Delivery, Result, SubmissionResult, merge
from pipelines.excel import writers
from pipelines.intake import inbox
from pipelines.intake.fairness import Budget, in_turns, within_budget
from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import SPOOL, Spool, has_ended, remove_dropped
from pipelines.intake.reader import Parser
from pipelines.orders import file_rules
from pipelines.orders.batch import OrderFile
from pipelines.orders.claiming import claim_portion
from pipelines.orders.loading import load_file, load_portion
from pipelines.orders.trial import try_file
from pipelines.registry import limits
from pipelines.registry.order_holds import decided_holds
from pipelines.registry.trials import charge_trial
from pipelines.run import Run, open_claims, require_current
from schemas.orders import HEADERS
from schemas.reasons import REASONS
from schemas.sources import NETWORK, OPERATOR

_RUN_SECONDS: Final = 600
"""A run takes no new files after this; the next one goes on with what has come meanwhile."""
_LOOK_SECONDS: Final = 1
_LOOK_SHARE: Final = 10
"""The inbox is looked through again after this, but not before so many times have passed what the last look took."""
_TRIALS_SECONDS: Final = 5
"""So long trials of a portion are decided, each by itself, before other files take their turn."""
_IDLE_LOOKS: Final = 2
"""A run ends when so many looks found nothing but files that other workers have."""


def process_inbox(run: Run, sources: Callable[[str], bool] = lambda _: True) -> Delivery[SubmissionResult]:
    """Answer every ready order file of the sources asked for, who take turns.

    What an earlier run committed and did not deliver is delivered first. A file that another worker has claimed is left
    to it; one whose worker has died is not. Raises CardsError when files are ready and there is no catalogue, and when the
    registry is older than the outbox.
    """
    require_current(run)
    receipts = Receipts(run.settings, sources)
    with Parser(run.settings) as parser:
        stable, failures = _stable_files(run, sources)
        if stable:
            parser.start()  # it comes up while the registry is asked
        deliveries = [recovery.finish_undelivered(run, sources), answer_decided(run, parser, sources)]
        if deliveries[0].results or deliveries[0].failures:  # it took files away
            stable, failures = _stable_files(run, sources)
        if files := _ready_files(run, stable, receipts):
            deliveries += _answer_files(run, sources, files, parser, receipts)
    found = merge([*deliveries, Delivery([], failures)])
    log_failures(run, found.failures)
    return Delivery([one for one in found.results if isinstance(one, SubmissionResult)], found.failures)


def has_work(run: Run, sources: Callable[[str], bool] = lambda _: True) -> bool:
    """Whether a run would find something to do: files to answer, what an earlier run left, orders on hold that were decided, or
    an error to report.
    """
    stable, failures = _stable_files(run, sources)
    spool = run.settings.home / SPOOL
    left = spool.is_dir() and any(spool.iterdir())
    resellers = run.registry.catalogue()[0]["reseller"]
    decided = any(sources(source) for source in decided_holds(run.registry)["source"])
    return bool(failures or left or decided or run.registry.undelivered() or _in_turn(run, resellers, stable))


def _ready_files(run: Run, stable: list[InboxFile], receipts: Receipts) -> list[InboxFile]:
    """Those of the complete files that are of known sources and within their budgets, in turns; the known sources get their
    receipts.

    Files in a folder that is no reseller's wait until the folder or the catalogue is put right.
    """
    resellers = run.registry.catalogue()[0]["reseller"]
    receipts.set_resellers(resellers)
    receipts.renew(stable)
    return _in_turn(run, resellers, stable)


def _in_turn(run: Run, resellers: pl.Series, stable: list[InboxFile]) -> list[InboxFile]:
    settings = run.settings
    if not stable:
        return []
    if resellers.is_empty():
        raise CardsError("The catalogue is empty, so no order can be placed. Load it first: cards catalogue load FILE. "
                         "The files stay in the inbox.")  # fmt: skip
    known = {OPERATOR, *resellers}
    used = limits.usage_of(run.registry, resellers.unique(), f"{run.runtime.now():%Y-%m-%d}")
    budgets = {
        source: Budget(files, size, parse_ms / 1000)
        for source, files, size, parse_ms in used.select("reseller", "files", "bytes", "parse_ms").iter_rows()
    }
    most = Budget(settings.max_daily_files, settings.max_daily_mb << 20, settings.max_daily_parse_seconds)
    return within_budget(in_turns([file for file in stable if file.source in known]), budgets, most)


def _stable_files(run: Run, sources: Callable[[str], bool]) -> tuple[list[InboxFile], list[CardsError]]:
    """The complete order files of the sources, and errors of folders that can't be read."""
    found = inbox.scan(run.settings.inbox, lambda source: source != NETWORK and sources(source))
    now = time.time()
    return [file for file in found.files if inbox.is_stable(file, run.settings.settle_seconds, now)], found.failures


def _answer_files(
    run: Run, sources: Callable[[str], bool], files: list[InboxFile], parser: Parser, receipts: Receipts
) -> Iterator[Delivery[Result]]:
    """Answer files portion by portion, each claimed before it is read; what comes meanwhile takes its turn too."""
    begun = time.monotonic()
    looks = _Looks(run, sources, files, receipts)
    done: set[Path] = set()  # a file that takes the place of another waits for the next run
    idle = 0
    with Spool(run.settings.home) as spool, open_claims(run, spool.name) as claims:
        writers.load()  # while the parser starts, which takes as long
        file_rules.load()
        while files and idle < _IDLE_LOOKS and time.monotonic() - begun < _RUN_SECONDS:
            claimed = claim_portion(claims, files, is_first=not done)
            run.runtime.checkpoint("claimed")
            idle = 0 if claimed.files else idle + 1
            if any(has_ended(run.settings.home, worker) for worker in claimed.holders):
                yield recovery.finish_undelivered(run, sources)  # then the files of the dead are free
            done |= yield from _answer_portion(run, claimed.files, parser, spool)
            files = looks.files_but(done, at_once=bool(idle))
    looks.close()


class _Looks:
    """The files that are ready, in turns, as they were when the inbox was last looked through: not for every portion."""

    def __init__(self, run: Run, sources: Callable[[str], bool], files: list[InboxFile], receipts: Receipts) -> None:
        self._run, self._sources, self._files, self._receipts = run, sources, files, receipts
        self._next = time.monotonic() + _LOOK_SECONDS

    def files_but(self, done: set[Path], *, at_once: bool) -> list[InboxFile]:
        """Those not done; looked for again if none is left, if the last look is old, or `at_once`."""
        left = [file for file in self._files if file.path not in done]
        if left and not at_once and time.monotonic() < self._next:
            return left
        begun = time.monotonic()
        self._files = _ready_files(self._run, _stable_files(self._run, self._sources)[0], self._receipts)
        ended = time.monotonic()
        self._next = ended + max(_LOOK_SECONDS, _LOOK_SHARE * (ended - begun))
        return [file for file in self._files if file.path not in done]

    def close(self) -> None:
        """Have the receipts say what is left."""
        self._receipts.renew(_stable_files(self._run, self._sources)[0])


def _answer_portion(
    run: Run, files: list[InboxFile], parser: Parser, spool: Spool
) -> Generator[Delivery[Result], None, set[Path]]:
    """Answer as many of the files, in their turns, as are loaded at once; the paths that this run need not look at again."""
    portion = load_portion(files, parser, spool, run)
    yield Delivery([], portion.failures)
    groups = _groups(portion.files)
    portion.files.clear()  # so that the tables of a group are given back as soon as they are decided
    left: set[Path] = set()
    while groups:
        spool.hold([file.copy for file in groups[0]])
        if groups[0][0].copy.file.is_trial:
            left |= yield from _answer_trials(run, groups.pop(0))
        else:
            yield from decide_and_deliver(run, groups.pop(0))
    spool.hold([])
    give_back()
    return {file.path for file in portion.done} - left


def _groups(files: list[OrderFile]) -> list[list[OrderFile]]:
    """The files in their order, as many together as possible, but each by itself that was in hand when an earlier run died;
    then the trials likewise.
    """

    def alone(file: OrderFile) -> int:
        return file.number if file.suspect else -1

    kinds = ([file for file in files if file.copy.file.is_trial is is_trial] for is_trial in (False, True))
    return [list(group) for kind in kinds for _, group in groupby(kind, alone)]


def _answer_trials(run: Run, files: list[OrderFile]) -> Generator[Delivery[Result], None, set[Path]]:
    """Answer files that are only tried, each as if it came alone: the registry keeps nothing but what each cost its source,
    before the next is decided. Those are left (their paths) for which others would have to wait.
    """
    begun = time.monotonic()
    failures: list[CardsError] = []
    tried: list[trials.TrialAnswer] = []
    first = len(files)
    while files and (len(files) == first or time.monotonic() - begun < _TRIALS_SECONDS):
        file = files.pop(0)
        try:
            tried += _try(run, file, {one.folder for one in tried})
        except Exception as error:  # a file never takes another with it
            failures.append(to_cards_error(error))
    delivery = trials.deliver_trials(run, tried)
    yield Delivery(list(delivery.results), failures + delivery.failures)
    return {file.copy.file.path for file in files}


def _try(run: Run, file: OrderFile, others: set[Path]) -> list[trials.TrialAnswer]:
    """Decide a trial and charge it; nothing if it was answered by a run that died before it could remove the file."""
    folder, is_answered = trials.find_answer(run, file.copy, others)
    if is_answered:
        remove_dropped(file.copy.file)
    if is_answered or not inbox.is_unchanged(file.copy.file):
        return []
    trial = try_file(run, file)
    charge_trial(run.registry, trial.ingest)
    run.runtime.checkpoint("charged")
    return [trials.TrialAnswer(folder, file.copy, trial.records)]


@dataclass(frozen=True)
class CheckFinding:
    """One thing that is wrong with a file. `row` is the row in the file; 0 means the whole file."""

    row: int
    column: str
    reason: str
    value: str
    what_to_fix: str


@dataclass(frozen=True)
class CheckResult:
    """What would become of a file if it were dropped now."""

    file: str
    rows: int
    rows_rejected: int
    orders_placeable: int
    orders_already_placed: int
    orders_rejected: int
    findings: list[CheckFinding]


def check(path: Path, source: str, run: Run) -> CheckResult:
    """Everything that is wrong with a file, and what could be placed of it. Nothing is placed.

    Raises UsageError when there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"{path}: file not found.")
    settings = run.settings
    with Parser(settings) as parser, Spool(settings.home) as spool:
        file = load_file(inbox.file_at(path.resolve(), source or OPERATOR), parser, spool, settings)
    records = try_file(run, file).records
    result = trials.trial_result(records, "")
    found = sorted_findings(records.findings).iter_rows(named=True)
    return CheckResult(
        file=str(path),
        rows=result.rows,
        rows_rejected=result.rows_rejected,
        orders_placeable=result.orders_placeable,
        orders_already_placed=result.orders_already_placed,
        orders_rejected=result.orders_rejected,
        findings=[
            CheckFinding(one["source_row"], HEADERS.get(one["column"], ""), one["reason"], one["value"],
                         REASONS[one["reason"]].words)
            for one in found
        ],
    )  # fmt: skip
