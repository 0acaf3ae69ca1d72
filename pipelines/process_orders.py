"""Job 1: an order file from the inbox to its submission folder.

ready files → load → file rules → group into orders → registry facts → decide → commit → deliver → archive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, ConflictError, UsageError
from pipelines.common.settings import Settings
from pipelines.delivery import recovery, rejections
from pipelines.delivery.deliver import deliver
from pipelines.delivery.results import Delivery, SubmissionResult, merge
from pipelines.excel import writers
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.reader import Parser, read
from pipelines.orders.batch import Batch, build_batch, conflict_free_groups
from pipelines.orders.decision import all_findings, decide, ingest_batch
from pipelines.orders.loading import OrderFile, load_files, original_events, portions
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas import orders
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS

_TRIES: Final = 20


def process_inbox(run: Run, sources: Callable[[str], bool] = lambda _: True) -> Delivery[SubmissionResult]:
    """Answer every ready order file of the sources asked for.

    What an earlier run committed and did not deliver is delivered first. A file that another worker answers meanwhile
    is left to it. Raises CardsError while there is no catalogue.
    """
    deliveries = [recovery.finish_undelivered(run, sources)]
    settings = run.settings
    files = inbox.stable_files(
        settings.inbox, settings.settle_seconds, lambda source: source != inbox.NETWORK and sources(source)
    )
    if files and run.registry.catalogue()[0].is_empty():
        raise CardsError("The catalogue is empty, so no order can be placed. Load it first: cards catalogue load FILE. "
                         "The files stay in the inbox.")  # fmt: skip
    with Parser(settings) as parser:
        if files:
            parser.start()
            writers.load()  # which takes as long as the parser to start
        for portion in portions(files):
            batch = build_batch(load_files(portion, parser, run), settings)
            groups = conflict_free_groups(batch, settings)
            deliveries += (deliver(run, _enter(batch.only(group), settings, run.registry, run.runtime)) for group in groups)
    done = merge(deliveries)
    return Delivery([one for one in done.results if isinstance(one, SubmissionResult)], done.failures)


def _enter(sweep: Batch, settings: Settings, registry: Registry, runtime: Runtime, tries: int = _TRIES) -> dict[int, InboxFile]:
    """Decide a wave and enter it, as many files in a transaction as can be; the events and where their originals lie.

    Files of which another worker was quicker with something are decided anew, each alone, when their turn comes.
    """
    sweep = sweep.only(_seen(sweep.files, registry))
    placed = ingest_batch(sweep.files, decide(sweep, settings, registry, runtime), runtime)
    runtime.checkpoint("decided")
    drops = {file.number: file.drop for file in sweep.files}
    events: dict[int, InboxFile] = {}
    late: set[int] = set()
    left = sweep.files
    while left:
        files = list(takewhile(lambda file: file.number not in late, left))
        if not files:
            events |= _enter(sweep.only(left[:1]), settings, registry, runtime, tries - 1)
            left = left[1:]
            continue
        try:
            entered = registry.commit(placed.of({file.number for file in files}), lambda file: inbox.is_unchanged(drops[file]))
        except ConflictError as conflict:
            if not tries:
                raise
            late.update(conflict.files)
            continue
        runtime.checkpoint("committed")
        events |= {event: drops[file] for file, event in entered.items()}
        left = left[len(files) :]
    return events


def _seen(files: list[OrderFile], registry: Registry) -> list[OrderFile]:
    """The files with the event that answered the same bytes meanwhile, of an earlier wave or by another worker."""
    seen = original_events([(file.drop.source, file.digest) for file in files], registry)
    return [file._replace(answers=seen.get((file.drop.source, file.digest), {"answers": 0})["answers"]) for file in files]


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
    orders_placed: int
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
    info = path.stat()
    file = InboxFile(source or inbox.OPERATOR, path, info.st_size, info.st_mtime_ns, info.st_ino)
    with Parser(settings) as parser:
        content = inbox.read_content(file, settings.max_file_mb << 20)
        loaded = OrderFile(0, file, "", read(content or b"", parser, settings, NAMES, orders.BY_HEADER))
    batch = build_batch([loaded], settings)
    decision = decide(batch, settings, run.registry, Runtime())
    fates = dict(decision.orders["fate"].value_counts().iter_rows())
    found = rejections.sorted_findings(all_findings(decision)).iter_rows(named=True)
    return CheckResult(
        file=str(path),
        rows=len(batch.rows),
        orders_placed=fates.get("placed", 0),
        orders_already_placed=fates.get("already", 0),
        orders_rejected=fates.get("rejected", 0),
        findings=[
            CheckFinding(
                one["row"], HEADERS.get(one["column_name"], ""), one["reason"], one["value"], REASONS[one["reason"]].words
            )
            for one in found
        ],
    )
