"""Exceptions. A mistake of a reseller is never an exception; it is a finding with a reason."""

import os
import re
import traceback
from pathlib import Path


class CardsError(Exception):
    """Work could not be done; the text says in one line what to do. Ends the program with exit code 1."""


class UsageError(CardsError):
    """A setting or an argument is wrong; the text names it and what it takes. Ends the program with exit code 2."""


class TransientError(CardsError):
    """The registry is out of reach or busy for now; the same work may succeed in a moment."""


class ConflictError(Exception):
    """Another worker issued a code, used an order ID or answered a file first: decide these files (numbers) anew."""

    def __init__(self, files: set[int]) -> None:
        super().__init__(files)
        self.files = files


def _system_message(error: Exception) -> str:
    """What the operating system says of an error, also where a library wraps it, or one in Rust hands on just its number."""
    for one in (error, *error.args):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    number = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(number[1])) if number else ""


def to_cards_error(error: Exception) -> CardsError:
    """An error that was not foreseen, as one of ours: its kind and place, without its text, which may hold a code."""
    if isinstance(error, CardsError):
        return error
    if said := _system_message(error):
        from pipelines.common.masking import mask_codes  # not above: it takes Polars with it

        file = mask_codes(str(getattr(error, "filename", None) or "A file"))
        return CardsError(f"{file}: {said}. Mend this and run again; nothing is lost.")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "pipelines" in frame.filename]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))
    return CardsError(f"This should not happen; please report it: {type(error).__name__} at {places or 'an unknown place'}.")
