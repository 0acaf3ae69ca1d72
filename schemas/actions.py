"""The table of actions: what an order can ask for, on which cards, and what becomes of them.

A new action is one new row here. An action with `cards_in` takes cards that exist; one that `cancels` takes back an order that
waits for approval; any other issues new cards.
"""

from enum import IntEnum
from typing import NamedTuple


class Action(NamedTuple):
    """What an order asks for.

    `cards_in` are the states a card may be in for it; `card_becomes` is its state once the network confirms
    (empty: the state stays); `changes` says that the order's other columns are new values for the card; `cancels`, that it
    names an order that is not placed yet, of which nothing goes to the network.
    """

    name: str
    letter: str
    cards_in: tuple[str, ...] = ()
    card_becomes: str = ""
    changes: bool = False
    cancels: bool = False


_TABLE = [
    Action("Add", "A"),
    Action("Change", "C", cards_in=("ready",), changes=True),
    Action("Disconnect", "D", cards_in=("ready", "blocked", "surplus"), card_becomes="disconnected"),
    Action("Block", "B", cards_in=("ready",), card_becomes="blocked"),
    Action("Unblock", "U", cards_in=("blocked",), card_becomes="ready"),
    Action("Cancel", "", cancels=True),
]

ACTIONS: dict[str, Action] = {action.name: action for action in _TABLE}


def issuing() -> list[str]:
    """Names of the actions that issue new cards."""
    return [action.name for action in ACTIONS.values() if not (action.cards_in or action.cancels)]


def cancelling() -> list[str]:
    """Names of the actions that take back an order."""
    return [action.name for action in ACTIONS.values() if action.cancels]


def spellings() -> dict[str, str]:
    """Every lower-case spelling of an action, to its name."""
    return {word.lower(): action.name for action in ACTIONS.values() for word in (action.name, action.letter) if word}


class Awaiting(IntEnum):
    """What a placed order waits for, by the numbers under which the registry keeps it."""

    NOTHING = 0
    REPORT = 1
    """A network report that names it."""
    RECONCILIATION = 2
    """The night that acts on the reports that name it."""


class ActionOutcome(IntEnum):
    """What became of a card in an order that takes cards, by the numbers under which the registry keeps it."""

    NONE = -1
    """The order does not take this card."""
    AWAITED = 0
    SHOWN = 1
    """A report shows the card: it is done."""
    NOT_SHOWN = 2
    """Reports name the order and do not show the card: it is not done."""


class ApprovalDecision(IntEnum):
    """What was decided about something on hold, by the numbers under which the registry keeps it."""

    WAITING = 0
    APPROVED = 1
    REJECTED = 2
    CANCELLED = 3
    """By the reseller, before anything was placed."""
    SUPERSEDED = 4
    """The reseller has sent another order with the same ID."""
