"""Wording that messages share."""

from datetime import datetime


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `count(1, "order")` is `1 order`, `count(2, "order")` is `2 orders`. `many`: any other plural."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def zoned_time(at: str) -> str:
    """A time of the registry (ISO 8601 with offset) for people, with its zone."""
    time = datetime.fromisoformat(at)
    return f"{time:%Y-%m-%d %H:%M} (UTC{time.isoformat()[-6:]})"
