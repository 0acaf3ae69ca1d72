"""Which row of a sheet holds the headers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.headers import header_key


class Header(NamedTuple):
    """The row of the headers (0: no row is filled), how many of them are known, and a note on what stands above."""

    row: int
    known: int
    notes: list[str]


def known_cells(cells: Iterable[str], known: frozenset[str]) -> int:
    """How many different known headers stand among the cells."""
    return len({header_key(cell) for cell in cells} & known)


def find_header(rows: Sequence[tuple[int, Mapping[int, str]]], known: frozenset[str]) -> Header:
    """The first filled row; where it has no known header, the first of the others with two, as below a title."""
    if not rows:
        return Header(0, 0, [])
    first, cells = rows[0]
    if found := known_cells(cells.values(), known):
        return Header(first, found, [])
    for row, cells in rows[1:]:
        found = known_cells(cells.values(), known)
        if found > 1:
            above = f"Row {first} stands" if rows[1][0] == row else f"Rows {first} to {row - 1} stand"
            return Header(row, found, [f"{above} above the header and was not read."])
    return Header(first, 0, [])
