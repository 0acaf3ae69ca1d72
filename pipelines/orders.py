"""The main job: the whole way of an order file, from the inbox to its submission folder.

ready files → read → split(well-formed, rejected) → group into orders → split(known to the catalogue and the
registry, rejected) → draw and de-duplicate → commit → answer → archive.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines import inbox, outbox, reports
from pipelines.deciding import decide, parts_of, placed_of
from pipelines.errors import CardsError, ConflictError, UsageError
from pipelines.inbox import Drop
from pipelines.readers import Parser, read
from pipelines.registry import Registry
from pipelines.settings import Settings
from pipelines.sweeps import File, Sweep, batches, prepare, taken, waves
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
    told, failed = outbox.trapped(lambda: outbox.finish(settings, registry, world))
    told = [one for one in told if "reseller" in one]  # not a dead night's reports
    drops = inbox.ready(settings.inbox, settings.settle_seconds, lambda sender: sender != inbox.NETWORK and senders(sender))
    if drops and registry.catalogue()[0].is_empty():
        raise CardsError("The catalogue is empty, so no order could be placed. Load it first: cards catalog load FILE. "
                         "The files wait in the inbox.")  # fmt: skip
    with Parser(settings) as parser:
        for batch in batches(drops):
            sweep = prepare(taken(batch, parser, settings, registry, world), settings)
            for wave in waves(sweep, settings):
                events = _enter(sweep.only(wave), settings, registry, world)
                more, wrong = outbox.trapped(lambda: outbox.deliver(settings, registry, events, world))  # noqa: B023
                told, failed = told + more, failed or wrong
    if failed:
        raise failed
    return told


def _enter(sweep: Sweep, settings: Settings, registry: Registry, world: World) -> dict[int, Drop]:
    """Decide a wave and enter it, file by file; the events and where their originals lie."""
    parts = parts_of(decide(sweep, settings, registry, world))
    world.step("decided")
    events: dict[int, Drop] = {}
    for file in sweep.files:
        placed = placed_of(file, parts, world)
        for left in reversed(range(_TRIES)):
            if not inbox.same(file.drop):
                break  # gone, or another by now: not the file that was decided
            try:
                events[registry.commit_file(placed, lambda: inbox.same(file.drop))] = file.drop  # noqa: B023
                break
            except ConflictError:
                if not left:
                    raise
                again = _again(file, registry)
                if not again:
                    break  # another worker is at it
                alone = sweep.only([again])
                placed = placed_of(alone.files[0], parts_of(decide(alone, settings, registry, world)), world)
        world.step("committed")
    return events


def _again(file: File, registry: Registry) -> File | None:
    """The file after a conflict: the same bytes may have been answered meanwhile. None when another worker is at it."""
    if registry.in_work(file.drop.sender, file.digest):
        return None
    seen = registry.seen(pl.DataFrame({"sender": [file.drop.sender], "digest": [file.digest]}))
    return file._replace(answers=seen["answers"].item()) if len(seen) else file


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
    frames = parts_of(decision)["findings"]
    found = frames.get((0,), frames[-1,])
    return {
        "file": str(path), "rows": len(sweep.rows), "orders_placed": fates.get("placed", 0),
        "orders_already_placed": fates.get("already", 0), "orders_rejected": fates.get("rejected", 0),
        "findings": [
            {"row": row["row"], "column": HEADERS.get(row["column_name"], ""), "reason": row["reason"], "value": row["value"],
             "what_to_fix": REASONS[row["reason"]].words}
            for row in reports.in_order(found).iter_rows(named=True)
        ],
    }  # fmt: skip
