"""A registry that is out of reach: the operator is notified once an outage, and when it is over.

The registry can't keep this. A small file in the home does, which several processes and runs share: since when the registry is
out of reach, and which channels have heard of it.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, TransientError
from pipelines.common.settings import Settings
from pipelines.notify import events
from pipelines.notify.channels import AppriseProcess, channels
from pipelines.notify.events import Notice

_NAME: Final = ".registry-outage"
_AFTER: Final = timedelta(minutes=5)


@contextmanager
def watched(settings: Settings, warn: Callable[[str], None], runtime: Runtime = Runtime()) -> Iterator[None]:
    """Note whether the registry can be reached while the block lasts, and notify the operator when it can't be for too long.

    The block is left with the error that it raises.
    """
    try:
        yield
    except TransientError as error:
        said = str(error)
        _noting(warn, lambda: note_unreachable(settings, runtime.now(), said))
        raise
    else:
        _noting(warn, lambda: note_reachable(settings, runtime.now()))


def _noting(warn: Callable[[str], None], work: Callable[[], None]) -> None:
    try:
        work()
    except BlockingIOError:  # another process is telling it
        return
    except (OSError, CardsError) as error:
        warn(f"The outage of the registry could not be noted or reported: {type(error).__name__}.")


def note_unreachable(settings: Settings, now: datetime, error: str) -> None:
    """Note that the registry is out of reach, and notify the operator's channels once that has lasted five minutes."""
    if not settings.notify:
        return
    with _state(settings.home) as state:
        state.setdefault("since", now.isoformat(timespec="seconds"))
        if now - datetime.fromisoformat(state["since"]) >= _AFTER:
            heard = state.setdefault("notified", [])
            wanted = [key for key in _keys(settings) if key not in heard]
            state["notified"] = heard + _send_to(settings, events.registry_unreachable(state["since"], error), wanted)


def note_reachable(settings: Settings, now: datetime) -> None:
    """Note that the registry can be reached, and notify the channels that were notified of the outage."""
    if not (settings.home / _NAME).exists():
        return
    with _state(settings.home) as state:
        heard = [key for key in _keys(settings) if key in state.get("notified", [])]
        done = _send_to(settings, events.registry_back(state["since"], now), heard) if heard else []
        if left := [key for key in heard if key not in done]:
            state["notified"] = left
        else:
            state.clear()


def _keys(settings: Settings) -> list[str]:
    return [channel.key for channel in channels(settings, {})]


def _send_to(settings: Settings, notice: Notice, wanted: list[str]) -> list[str]:
    """Send to the operator's channels of these keys; the keys of those that have accepted it."""
    said = events.message(events.notices([notice._replace(words=events.plain(notice.words))]))
    with AppriseProcess(settings) as apprise:
        return [
            channel.key for channel in channels(settings, {})
            if channel.key in wanted and apprise.send(channel, *said).accepted
        ]  # fmt: skip


@contextmanager
def _state(home: Path) -> Iterator[dict[str, Any]]:
    """What is known of an outage, while no other process changes it; an empty one is removed."""
    path = home / _NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        state = _read(descriptor)
        yield state
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(state).encode() if state else b"", 0)
        if not state:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
    """The state; an empty one of a file that a process died over."""
    with suppress(ValueError):
        state = json.loads(os.read(descriptor, 1 << 16))
        if isinstance(state, dict) and "since" in state:
            return state
    return {}
