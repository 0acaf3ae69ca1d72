"""Watch the inbox for files that have settled, and wait for the signal to stop."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watchfiles import watch

from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from schemas.sources import NETWORK

_TICK_MS: Final = 250
_AGAIN_SECONDS: Final = 60
"""A file that is still there was not answered (the registry was unreachable, say); it is reported again after this."""


def settled(folder: Path, settle_seconds: float, stop: threading.Event) -> Iterator[bool]:
    """Whether order files of the inbox have settled that were not reported before: a value every quarter of a second or
    sooner, until `stop` is set. Files of the network don't count.
    """
    reported: dict[InboxFile, float] = {}
    waiting = True
    for changes in watch(folder, watch_filter=None, stop_event=stop, debounce=_TICK_MS, rust_timeout=_TICK_MS,
                         yield_on_timeout=True, raise_interrupt=False, ignore_permission_denied=True):  # fmt: skip
        if not (changes or waiting):
            yield False
            continue
        waiting = any(_of_orders(file.source) for file in inbox.list_files(folder))
        now = time.monotonic()
        ready = inbox.stable_files(folder, settle_seconds, _of_orders) if waiting else []
        new = any(now - reported.get(file, -math.inf) >= _AGAIN_SECONDS for file in ready)
        reported = {file: now if new else reported[file] for file in ready}
        yield new


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
