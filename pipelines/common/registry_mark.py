"""The mark in a home of the last event that its registry has committed: a registry that lacks it was restored from a backup.

A small file that is written after a commit and before anything of it is delivered. So nothing is
delivered of an event that the mark lacks.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pipelines.common.errors import CardsError

_NAME: Final = ".registry-mark"
_LOCK: Final = ".registry-mark.lock"


class Mark(NamedTuple):
    """An event: its number, and its time and folder, which distinguish it from the event of that number in another registry."""

    event: int
    at: str
    folder: str


def read_mark(home: Path) -> Mark | None:
    """The mark of a home; None where no registry has committed anything yet, or an earlier version did."""
    path = home / _NAME
    try:
        fields = json.loads(path.read_text("utf-8"))
        return Mark(int(fields["event"]), str(fields["at"]), str(fields["folder"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise CardsError(f"{path} is damaged. Run: cards recover. It compares the registry with the outbox.") from None


def raise_mark(home: Path, mark: Mark) -> None:
    """Have the home remember an event, unless it remembers a later one: several workers may share it."""
    with _locked(home):
        earlier = read_mark(home)
        if earlier is None or earlier.event < mark.event:
            _write(home, mark)


def reset_mark(home: Path, mark: Mark) -> None:
    """Have the home remember this event, whatever it remembers: what was lost and recovered has other numbers."""
    with _locked(home):
        _write(home, mark)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    lock = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(home: Path, mark: Mark) -> None:
    """Replace the mark of a home, at once and for good."""
    new = home / f"{_NAME}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, (json.dumps(mark._asdict()) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(home / _NAME)
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
