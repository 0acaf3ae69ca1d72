"""What can happen to cards in a night, as figures count it, and what that does to how many cards are active.

A card is active while it is ready or blocked: the network has it, and somebody may hold it.
"""

from enum import StrEnum
from typing import Final

from schemas.codes import CardState

GROUP: Final = ["reseller", "account", "product", "access_number"]
"""What figures of cards are kept by."""


class Movement(StrEnum):
    """What happened to cards. Each has the word under which the registry and the files for analysts keep it."""

    READY = "ready"
    """Became ready for the first time."""
    READY_LATE = "ready late"
    """Became ready after it had been refused."""
    GRANTED = "granted"
    """Was surplus, and the operator let the order have it."""
    CHANGED_IN = "changed in"
    """Has this product or access number by a change."""
    CHANGED_OUT = "changed out"
    """Had this product or access number until a change."""
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    REPLACED = "replaced"
    """Was issued to replace a refused card."""
    SURPLUS = "surplus"
    SURPLUS_DISCONNECTED = "surplus disconnected"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"


ADDED: Final = (Movement.READY, Movement.READY_LATE, Movement.GRANTED, Movement.CHANGED_IN)
"""What adds to the active cards."""
GONE: Final = (Movement.DISCONNECTED, Movement.CHANGED_OUT)
"""What takes from the active cards."""
BECAME_READY: Final = (Movement.READY, Movement.READY_LATE, Movement.GRANTED)

ACTIVE: Final = (CardState.READY, CardState.BLOCKED)

BY_TRANSITION: Final = {
    (CardState.PLACED, CardState.READY): Movement.READY,
    (CardState.REFUSED, CardState.READY): Movement.READY_LATE,
    (CardState.SURPLUS, CardState.READY): Movement.GRANTED,
    (CardState.PLACED, CardState.REFUSED): Movement.REFUSED,
    (CardState.PLACED, CardState.SURPLUS): Movement.SURPLUS,
    (CardState.REFUSED, CardState.SURPLUS): Movement.SURPLUS,
    (CardState.SURPLUS, CardState.DISCONNECTED): Movement.SURPLUS_DISCONNECTED,
    (CardState.READY, CardState.DISCONNECTED): Movement.DISCONNECTED,
    (CardState.BLOCKED, CardState.DISCONNECTED): Movement.DISCONNECTED,
    (CardState.READY, CardState.BLOCKED): Movement.BLOCKED,
    (CardState.BLOCKED, CardState.READY): Movement.UNBLOCKED,
}
"""Every change of a card's state that there is, and what figures call it."""
