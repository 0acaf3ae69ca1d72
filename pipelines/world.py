"""What comes in from outside the program and can't be foreseen: randomness, time, and the moment at which it is killed."""

import os
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from pipelines.placing import Source


def _now() -> datetime:
    return datetime.now().astimezone()


def _nothing(*_: object) -> None:
    return None


class World(NamedTuple):
    """The source of random bytes, the clock (local time), what happens at each named step (tests kill there; some are
    reached by several threads), and who is told of progress: the step, how much of it is done, and how much there is.
    """

    source: Source = os.urandom
    now: Callable[[], datetime] = _now
    step: Callable[[str], None] = _nothing
    progress: Callable[[str, int, int], None] = _nothing

    def at(self) -> str:
        """The local time as the registry keeps it: ISO 8601, to the second, with its offset."""
        return self.now().isoformat(timespec="seconds")
