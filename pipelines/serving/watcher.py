"""Watch the inbox for files that are complete, and wait for the signal to stop."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from watchfiles import watch

from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from schemas.sources import NETWORK

_TICK_MS: Final = 250
_AGAIN_SECONDS: Final = 60
"""A file that is still there was not answered (the registry was unreachable, say); it is reported again after this."""


class Look(NamedTuple):
    """A look at the inbox: the order files that stand still, and whether one of them was not reported before."""

    ready: list[InboxFile]
    is_new: bool


def looks(folder: Path, settle_seconds: float, stop: threading.Event) -> Iterator[Look | None]:
    """Look at the order files of the inbox (those of the network don't count) whenever something may have changed there: a
    value every quarter of a second or sooner, until `stop` is set; None where nothing has changed.
    """
    reported: dict[InboxFile, float] = {}
    waiting = True
    for changed in _changes(folder, stop):
        if not (changed or waiting):
            yield None
            continue
        found = inbox.scan(folder, _of_orders)
        waiting = bool(found.files or found.linked)
        now = time.monotonic()
        ready = [file for file in found.files if inbox.is_stable(file, settle_seconds, time.time())]
        new = any(now - reported.get(file, -math.inf) >= _AGAIN_SECONDS for file in ready)
        reported = {file: now if new else reported[file] for file in ready}
        yield Look(ready, new)


def _changes(folder: Path, stop: threading.Event) -> Iterator[bool]:
    """Whether the inbox, or the folder of a source, may have changed since the value before; until `stop` is set.

    Each folder is watched by itself. A recursive watch would follow every link that somebody leaves in a folder, and walk
    what it points to.
    """
    while not stop.is_set():
        try:
            folders = _watched(folder)
            for changes in watch(*folders, watch_filter=None, stop_event=stop, debounce=_TICK_MS, rust_timeout=_TICK_MS,
                                 yield_on_timeout=True, raise_interrupt=False, recursive=False,
                                 ignore_permission_denied=True):  # fmt: skip
                yield bool(changes)
                if changes and _watched(folder) != folders:
                    break
        except OSError:  # a folder has just gone, or the machine has no watch left: look without one
            stop.wait(_TICK_MS / 1000)
        if not stop.is_set():
            yield True  # what was dropped before the new watch began is found by looking


def _watched(folder: Path) -> dict[Path, int]:
    """The folders to watch, each with its inode: one that was made again under its name needs a new watch."""
    return {path: path.lstat().st_ino for path in inbox.source_folders(folder)}


def _of_orders(source: str) -> bool:
    return source != NETWORK


def until_signal() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets; a second signal ends the process at once."""
    stop = threading.Event()

    def handle(_: int, __: object) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        os.write(2, b"cards: finishing the work in hand, then stopping. Press Ctrl-C again to stop at once.\n")
        stop.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, handle)
    return stop
