"""How the files are called that nights write for an order."""

from typing import Final

from pipelines.common.times import night_name
from pipelines.registry.reconciliation import OUTCOME

MOST_OUTCOMES: Final = 100
"""Of a submission with more orders than this, the outcomes of a night are one file: `outcome-2026-11-25`."""


def is_combined(kind: str, orders: int) -> bool:
    """Whether the files of this kind of a submission with so many orders are one."""
    return kind == OUTCOME and orders > MOST_OUTCOMES


def order_file_name(kind: str, order_id: str, date: int, part: int, *, combined: bool = False) -> str:
    """The name of a file of an order, without its suffix: `release-10023456-7-2026-11-25`, `…~2` for the second night of a
    date. `combined`: it is that of all orders of the submission.

    `date`: 20261125; `part`: 0 for the release file without a date that earlier versions wrote for an order.
    """
    name = kind if combined else f"{kind}-{order_id}"
    if not part:
        return name
    return f"{name}-{night_name(date)}" + (f"~{part}" if part > 1 else "")
