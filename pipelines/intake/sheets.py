"""Which sheet of a workbook is read."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from pipelines.intake.parsed import Parsed, UnreadableError

_TRIED: Final = 50  # sheets that are looked into; the order is on one of the first
_MOST: Final = 1000


class Sheet(NamedTuple):
    """A worksheet's name, whether it is visible, and where its reader finds it."""

    name: str
    visible: bool
    place: str


class Loaded(Protocol):
    """A sheet that was read, and what the choice asks of it."""

    @property
    def filled(self) -> bool:
        """Whether any cell has something in it."""

    @property
    def known(self) -> bool:
        """Whether it has a header that we know."""

    def parsed(self) -> Parsed:
        """All of it as the answer."""


def read_best(sheets: Sequence[Sheet], load: Callable[[Sheet], Loaded]) -> Parsed:
    """Read the visible sheet named Orders, else the first visible one with a known header, else the first filled one."""
    candidates = sorted((sheet for sheet in sheets if sheet.visible), key=lambda sheet: not _is_orders(sheet))
    if not sheets:
        raise UnreadableError("FILE_UNREADABLE", "the workbook has no worksheet")
    if not candidates:
        raise UnreadableError("FILE_EMPTY", "no visible sheet")
    candidates = list({sheet.place: sheet for sheet in reversed(candidates)}.values())[::-1]  # a place is read once
    best: tuple[Sheet, Loaded] | None = None
    error: UnreadableError | None = None
    for sheet in candidates[:_TRIED]:
        try:
            loaded = load(sheet)
        except UnreadableError as unreadable:
            if _is_orders(sheet):
                raise
            error = error or unreadable
            continue
        if loaded.known or (_is_orders(sheet) and loaded.filled):
            return _answer(sheet, loaded, sheets)
        if best is None or (loaded.filled and not best[1].filled):
            best = sheet, loaded
    if error and not (best and best[1].filled):
        raise error
    assert best
    return _answer(*best, sheets)


def check_count(sheets: int) -> None:
    """Refuse more sheets than anyone makes: each costs memory before it is known whether anything is in it."""
    if sheets > _MOST:
        raise UnreadableError("FILE_TOO_LARGE", f"more than {_MOST:,} sheets or tables")


def _is_orders(sheet: Sheet) -> bool:
    return sheet.name.strip().lower() == "orders"


def _answer(sheet: Sheet, loaded: Loaded, sheets: Sequence[Sheet]) -> Parsed:
    parsed = loaded.parsed()
    others = len(sheets) - 1
    if others:
        parsed.notes.insert(0, f"Sheet “{sheet.name[:60]}” was read; {others} other sheet(s) were not.")
    return parsed
