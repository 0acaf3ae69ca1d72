"""The table of actions: what an order can ask for, on which cards, and what becomes of them.

A new action is one new row here. An action without `cards_in` issues new cards; one with it takes cards that exist.
"""

from typing import NamedTuple


class Action(NamedTuple):
    """What an order asks for.

    `cards_in` are the states a card may be in for it; `card_becomes` is its state once the network confirms
    (empty: the state stays); `changes` says that the order's other columns are new values for the card.
    """

    name: str
    letter: str
    cards_in: tuple[str, ...] = ()
    card_becomes: str = ""
    changes: bool = False


_TABLE = [
    Action("Add", "A"),
    Action("Change", "C", cards_in=("ready",), changes=True),
    Action("Disconnect", "D", cards_in=("ready", "blocked"), card_becomes="disconnected"),
    Action("Block", "B", cards_in=("ready",), card_becomes="blocked"),
    Action("Unblock", "U", cards_in=("blocked",), card_becomes="ready"),
]

ACTIONS: dict[str, Action] = {action.name: action for action in _TABLE}


def issuing() -> list[str]:
    """Names of the actions that issue new cards."""
    return [action.name for action in ACTIONS.values() if not action.cards_in]


def spellings() -> dict[str, str]:
    """Every lower-case spelling of an action, to its name."""
    return {word.lower(): action.name for action in ACTIONS.values() for word in (action.name, action.letter)}
