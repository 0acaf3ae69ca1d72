"""Exceptions. A reseller's mistake is never an exception; it is a finding with a reason."""

import os
import re
import traceback
from pathlib import Path

from pipelines.common.masking import mask_codes
from pipelines.common.printable import printable


class CardsError(Exception):
    """The work could not be done; the text says in one line what to do. Ends the program with exit code 1."""


class UsageError(CardsError):
    """A setting or an argument is wrong; the text names it and what it takes. Ends the program with exit code 2."""


class NotSetUpError(CardsError):
    """There is no registry: this home was never set up. The text says how to do that."""


class TransientError(CardsError):
    """The registry is unreachable or busy for now; the same work may succeed in a moment."""


class ContradictionError(CardsError):
    """Figures that the registry keeps do not agree. Everything else was done, and writing again does not help."""


class ConflictError(Exception):
    """Another worker issued a code, used an order ID or answered a file first: decide these files (numbers) again."""

    def __init__(self, files: set[int]) -> None:
        super().__init__(files)
        self.files = files


def require_file(path: Path) -> None:
    """Raise UsageError when there is no such file."""
    if not path.is_file():
        raise UsageError(f"{path}: file not found.")


def require_printable(text: str, what: str) -> str:
    """An argument without spaces around it. Raises UsageError when it is empty or has characters that can't be seen."""
    text = text.strip()
    if not text or not text.isprintable():
        raise UsageError(f"{what}: {printable(text)!r} can't be used." if text else f"Name {what}.")
    return text


def _system_message(error: Exception) -> str:
    """What the operating system says about an error, even if a library wraps it or passes on nothing but its number."""
    for one in (error, *error.args):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    number = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(number[1])) if number else ""


def to_cards_error(error: Exception) -> CardsError:
    """An unforeseen error as one of ours: its kind and place, without its text, which may hold a code. Of an error of the
    operating system: its message, and the file with codes masked.
    """
    if isinstance(error, CardsError):
        return error
    if message := _system_message(error):
        file = mask_codes(str(getattr(error, "filename", None) or "A file"))
        return CardsError(f"{file}: {message}. Fix this and run again; nothing is lost.")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "pipelines" in frame.filename]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))
    return CardsError(f"This should not happen; please report it: {type(error).__name__} at {places or 'an unknown place'}.")
