"""The main job: the whole way of an order file, from the inbox to its submission folder.

ready files → read → split(well-formed, rejected) → group into orders → split(known to the catalogue and the
registry, rejected) → draw and de-duplicate → commit → answer → archive.
"""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pipelines import inbox, outbox, reports, workbooks
from pipelines.deciding import decide, placed_of, told
from pipelines.errors import CardsError, ConflictError, UsageError
from pipelines.inbox import Drop
from pipelines.readers import Parser, read
from pipelines.registry import Registry
from pipelines.settings import Settings
from pipelines.sweeps import File, Sweep, answered_before, batches, prepare, taken, waves
from pipelines.world import World
from schemas import orders
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS

_TRIES: Final = 20


def process_inbox(
    settings: Settings, registry: Registry, world: World = World(), senders: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Answer every ready order file; what became of each, see `outbox.deliver`.

    Raises UnansweredError, after all files, when an answer could not be written; CardsError while there is no catalogue.
    What an earlier run left half answered is finished first. A file that another worker takes meanwhile is left
    to it.
    """
    left, failed = outbox.trapped(lambda: outbox.finish(settings, registry, world, senders))
    answered = [one for one in left if "reseller" in one]  # not a dead night's reports
    drops = inbox.ready(settings.inbox, settings.settle_seconds, lambda sender: sender != inbox.NETWORK and senders(sender))
    if drops and registry.catalogue()[0].is_empty():
        raise CardsError("The catalogue is empty, so no order could be placed. Load it first: cards catalog load FILE. "
                         "The files wait in the inbox.")  # fmt: skip
    with Parser(settings) as parser:
        if drops:
            parser.start()
            workbooks.load()  # which takes as long as the parser to start
        for batch in batches(drops):
            sweep = prepare(taken(batch, parser, settings, registry, world), settings)
            for wave in waves(sweep, settings):
                events = _enter(sweep.only(wave), settings, registry, world)
                more, wrong = outbox.trapped(lambda: outbox.deliver(settings, registry, events, world))  # noqa: B023
                answered, failed = answered + more, failed or wrong
    if failed:
        raise failed
    return answered


def _enter(sweep: Sweep, settings: Settings, registry: Registry, world: World, tries: int = _TRIES) -> dict[int, Drop]:
    """Decide a wave and enter it, as many files in a transaction as can be; the events and where their originals lie.

    Files of which another worker was quicker with something are decided anew, each alone, when their turn comes.
    """
    sweep = sweep.only(_seen(sweep.files, registry))
    placed = placed_of(sweep.files, decide(sweep, settings, registry, world), world)
    world.step("decided")
    drops = {file.number: file.drop for file in sweep.files}
    events: dict[int, Drop] = {}
    late: set[int] = set()
    left = sweep.files
    while left:
        files = list(takewhile(lambda file: file.number not in late, left))
        if not files:
            events |= _enter(sweep.only(left[:1]), settings, registry, world, tries - 1)
            left = left[1:]
            continue
        try:
            entered = registry.commit(placed.of({file.number for file in files}), lambda file: inbox.same(drops[file]))
        except ConflictError as conflict:
            if not tries:
                raise
            late.update(conflict.files)
            continue
        world.step("committed")
        events |= {event: drops[file] for file, event in entered.items()}
        left = left[len(files) :]
    return events


def _seen(files: list[File], registry: Registry) -> list[File]:
    """The files with the event that answered the same bytes meanwhile, of an earlier wave or by another worker."""
    seen = answered_before([(file.drop.sender, file.digest) for file in files], registry)
    return [file._replace(answers=seen.get((file.drop.sender, file.digest), {"answers": 0})["answers"]) for file in files]


def check(path: Path, sender: str, settings: Settings, registry: Registry) -> dict[str, Any]:
    """Everything that is wrong with a file, and what could be placed of it; nothing is.

    One document: `file`, `rows`, `orders_placed`, `orders_already_placed`, `orders_rejected`, and `findings`, each
    with `row` (0: the whole file), `column`, `reason`, `value` and `what_to_fix`.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file.")
    info = path.stat()
    drop = Drop(sender or inbox.HOUSE, path, info.st_size, info.st_mtime_ns, info.st_ino)
    with Parser(settings) as parser:
        content = inbox.content_of(drop, settings.max_file_mb << 20)
        file = File(0, drop, "", read(content or b"", parser, settings, NAMES, orders.BY_HEADER))
    sweep = prepare([file], settings)
    decision = decide(sweep, settings, registry, World())
    fates = dict(decision.orders["fate"].value_counts().iter_rows())
    return {
        "file": str(path), "rows": len(sweep.rows), "orders_placed": fates.get("placed", 0),
        "orders_already_placed": fates.get("already", 0), "orders_rejected": fates.get("rejected", 0),
        "findings": [
            {"row": row["row"], "column": HEADERS.get(row["column_name"], ""), "reason": row["reason"], "value": row["value"],
             "what_to_fix": REASONS[row["reason"]].words}
            for row in reports.in_order(told(decision)).iter_rows(named=True)
        ],
    }  # fmt: skip
