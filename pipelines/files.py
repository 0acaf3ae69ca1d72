"""Files of ours: each appears whole or not at all, is kept by the disk, and is for our eyes only."""

import os
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import CardsError


def whole_file(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written so that it appears whole or not at all."""
    make(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write(beside)
    settle(beside)
    beside.replace(path)
    settle(path.parent)


def make(folder: Path) -> None:
    """Make a folder that only we can enter."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CardsError(f"The folder {folder} can't be made: {error.strerror}. Set CARDS_HOME or its permissions.") from None


def settle(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of names; what holds codes is for our eyes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if path.is_file():
            os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
