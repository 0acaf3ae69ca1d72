"""Errors of ours. What a sender did wrong is never an exception: it is a finding with a reason."""


class CardsError(Exception):
    """Work could not be done; the text says in one line what to do. Ends the program with exit code 1."""


class UsageError(CardsError):
    """A setting or an argument is wrong; the text names it and what it takes. Ends the program with exit code 2."""


class TransientError(CardsError):
    """The registry is out of reach or busy for now; the same work may succeed in a moment."""


class ConflictError(Exception):
    """Another worker issued a code, used an order ID or answered this file first: decide this file anew."""
