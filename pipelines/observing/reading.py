"""Read something that takes time for many who ask: one reading at a time, none more often than every few seconds, and nobody
waits long. While a reading takes its time, the last one is what everybody gets.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from pipelines.common.errors import to_cards_error

T = TypeVar("T")
FRESH_SECONDS: Final = 5.0
PATIENCE: Final = 2.0


class Read(NamedTuple, Generic[T]):
    """What was read last (None: nothing yet), and what is wrong now (empty: nothing)."""

    value: T | None
    problem: str


class Reading(Generic[T]):
    """The last value of something. `what` names it in words."""

    def __init__(
        self, what: str, read: Callable[[], T], fresh_seconds: float = FRESH_SECONDS, patience: float = PATIENCE
    ) -> None:
        self._what, self._read, self._fresh, self._patience = what, read, fresh_seconds, patience
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._done.set()
        self._due = 0.0
        self._last: Read[T] = Read(None, "")

    def latest(self) -> Read[T]:
        """The last value, read again if it is old."""
        with self._lock:
            if self._done.is_set() and time.monotonic() >= self._due:
                self._done = threading.Event()
                # a thread of its own, which ends with the process: a disk or network that hangs must not keep it from ending
                threading.Thread(target=self._renew, args=(self._done,), daemon=True).start()
            done = self._done
        if done.wait(self._patience):
            return self._last
        return Read(self._last.value, f"{self._what} does not answer within {self._patience:g} seconds")

    def _renew(self, done: threading.Event) -> None:
        try:
            self._last = Read(self._read(), "")
        except Exception as error:
            self._last = Read(self._last.value, f"{self._what}: {to_cards_error(error)}")
        finally:
            self._due = time.monotonic() + self._fresh
            done.set()
