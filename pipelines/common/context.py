"""What a run takes from outside: random bytes, the clock, checkpoints, progress and log."""

import os
import pwd
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

RandomBytes = Callable[[int], bytes]
"""A source of random bytes, as `os.urandom` is: so many of them, uniform and not to be predicted."""


Log = Callable[..., None]
"""Takes what happened in words (see common.log_events) and its figures by name; `level` is info unless it is given."""


def _now() -> datetime:
    return datetime.now().astimezone()


def _user() -> str:
    """Who runs this process, by the operating system, and through sudo for whom."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container a user may have no name
        name = f"user {os.getuid()}"
    caller = os.environ.get("SUDO_USER", "")
    return f"{caller} as {name}" if caller and caller != name else name


def _ignore(*_: object, **__: object) -> None:
    return None


class Runtime(NamedTuple):
    """The source of random bytes, the clock (local time), what happens at each named step (tests kill there; some are
    reached by several threads), who hears of progress (the step, how much of it is done, and how much there is), for whom the
    process runs, and the log.
    """

    random_bytes: RandomBytes = os.urandom
    now: Callable[[], datetime] = _now
    checkpoint: Callable[[str], None] = _ignore
    progress: Callable[[str, int, int], None] = _ignore
    user: Callable[[], str] = _user
    log: Log = _ignore

    def timestamp(self) -> str:
        """The local time as the registry keeps it: ISO 8601, to the second, with its offset."""
        return self.now().isoformat(timespec="seconds")
