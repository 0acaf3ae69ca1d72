"""Checks of what is typed into a sheet, as plain data: they cross to the annotator's process as JSON."""

from typing import NamedTuple


class Check(NamedTuple):
    """The check of a column, as Excel takes it: what it says when a cell is chosen, what may be typed (`kind` and
    `formula`; anything, if they are empty) and what it says when something else is; `unused`: the formula of the rows
    that do not use the column, whose cells turn grey. Excel limits every text.
    """

    title: str
    prompt: str
    kind: str
    formula: str
    blank: bool
    error: str
    unused: str


class SheetRules(NamedTuple):
    """The checks of a sheet Orders, a column each, and the lists that their formulas name."""

    checks: list[Check]
    lists: dict[str, list[str]]
