"""Job 1: an order file from the inbox to its submission folder.

ready files → load → file rules → group into orders → registry facts → decide → commit → deliver → archive.
"""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, ConflictError, UsageError
from pipelines.common.settings import Settings
from pipelines.delivery import deliver, recovery, rejections
from pipelines.excel import writers
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.reader import Parser, read
from pipelines.orders.batch import Batch, build_batch, conflict_free_groups
from pipelines.orders.decision import all_findings, decide, ingest_batch
from pipelines.orders.loading import OrderFile, load_files, original_events, portions
from pipelines.registry.store import Registry
from schemas import orders
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS

_TRIES: Final = 20


def process_inbox(
    settings: Settings, registry: Registry, runtime: Runtime = Runtime(), senders: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Answer every ready order file; what became of each, see `outbox.deliver`.

    Raises DeliveryError, after all files, when an answer could not be written; CardsError while there is no catalogue.
    What an earlier run left half answered is finished first. A file that another worker takes meanwhile is left
    to it.
    """
    left, failed = deliver.catch_delivery_errors(lambda: recovery.finish_undelivered(settings, registry, runtime, senders))
    answered = [one for one in left if "reseller" in one]  # not a dead night's reports
    drops = inbox.stable_files(
        settings.inbox, settings.settle_seconds, lambda sender: sender != inbox.NETWORK and senders(sender)
    )
    if drops and registry.catalogue()[0].is_empty():
        raise CardsError("The catalogue is empty, so no order could be placed. Load it first: cards catalog load FILE. "
                         "The files wait in the inbox.")  # fmt: skip
    with Parser(settings) as parser:
        if drops:
            parser.start()
            writers.load()  # which takes as long as the parser to start
        for batch in portions(drops):
            sweep = build_batch(load_files(batch, parser, settings, registry, runtime), settings)
            for wave in conflict_free_groups(sweep, settings):
                events = _enter(sweep.only(wave), settings, registry, runtime)
                more, wrong = deliver.catch_delivery_errors(lambda: deliver.deliver(settings, registry, events, runtime))  # noqa: B023
                answered, failed = answered + more, failed or wrong
    if failed:
        raise failed
    return answered


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
    seen = original_events([(file.drop.sender, file.digest) for file in files], registry)
    return [file._replace(answers=seen.get((file.drop.sender, file.digest), {"answers": 0})["answers"]) for file in files]


def check(path: Path, sender: str, settings: Settings, registry: Registry) -> dict[str, Any]:
    """Everything that is wrong with a file, and what could be placed of it; nothing is.

    One document: `file`, `rows`, `orders_placed`, `orders_already_placed`, `orders_rejected`, and `findings`, each
    with `row` (0: the whole file), `column`, `reason`, `value` and `what_to_fix`.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file.")
    info = path.stat()
    drop = InboxFile(sender or inbox.OPERATOR, path, info.st_size, info.st_mtime_ns, info.st_ino)
    with Parser(settings) as parser:
        content = inbox.read_content(drop, settings.max_file_mb << 20)
        file = OrderFile(0, drop, "", read(content or b"", parser, settings, NAMES, orders.BY_HEADER))
    sweep = build_batch([file], settings)
    decision = decide(sweep, settings, registry, Runtime())
    fates = dict(decision.orders["fate"].value_counts().iter_rows())
    return {
        "file": str(path), "rows": len(sweep.rows), "orders_placed": fates.get("placed", 0),
        "orders_already_placed": fates.get("already", 0), "orders_rejected": fates.get("rejected", 0),
        "findings": [
            {"row": row["row"], "column": HEADERS.get(row["column_name"], ""), "reason": row["reason"], "value": row["value"],
             "what_to_fix": REASONS[row["reason"]].words}
            for row in rejections.sorted_findings(all_findings(decision)).iter_rows(named=True)
        ],
    }  # fmt: skip
