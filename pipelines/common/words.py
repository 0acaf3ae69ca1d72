"""Wording that messages share."""


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `count(1, "order")` is `1 order`, `count(2, "order")` is `2 orders`. `many`: any other plural."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
