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

_TICK_MS: Final = 250
_AGAIN_SECONDS: Final = 60
"""A file that still lies there was not answered (the registry was out of reach, say); it is told again after this."""


def settled(folder: Path, settle_seconds: float, stop: threading.Event) -> Iterator[bool]:
    """Whether order files of the inbox have settled that were not told before: an answer every quarter of a second or
    sooner, until `stop` is set. Files of the network are none.
    """
    told: dict[InboxFile, float] = {}
    waiting = True
    for changes in watch(folder, watch_filter=None, stop_event=stop, debounce=_TICK_MS, rust_timeout=_TICK_MS,
                         yield_on_timeout=True, raise_interrupt=False, ignore_permission_denied=True):  # fmt: skip
        if not (changes or waiting):
            yield False
            continue
        waiting = any(_orders(drop.source) for drop in inbox.list_files(folder))
        now = time.monotonic()
        ready = inbox.stable_files(folder, settle_seconds, _orders) if waiting else []
        new = any(now - told.get(drop, -math.inf) >= _AGAIN_SECONDS for drop in ready)
        told = {drop: now if new else told[drop] for drop in ready}
        yield new


def _orders(sender: str) -> bool:
    return sender != inbox.NETWORK


def until_signal() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets; a second signal ends the process at once."""
    stop = threading.Event()

    def handle(_: int, __: object) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        os.write(2, b"cards: stopping as soon as the work in hand is done; once more stops at once.\n")
        stop.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, handle)
    return stop
