"""What the parser's process is asked and what it answers. Nothing here imports more than the standard library."""

from dataclasses import dataclass, field

SHORT = 200
"""So many characters of a faulty cell are kept: enough to find it, too few to fill a registry."""
LONGEST = 1_100
"""So many characters are kept of a cell that holds no list: more than any cell may have that can be used."""


@dataclass(frozen=True)
class Limits:
    """How much of a file is accepted. Bytes, except for `rows`, `columns`, `characters` (of a cell), `findings` and `cells`:
    filled rows times filled columns, as an empty cell within a table costs memory like another. `lists`: the keys of the
    headers below which a cell may hold a list, and is kept whole.
    """

    inflated: int
    rows: int
    columns: int
    memory: int
    characters: int
    text: int
    findings: int
    cells: int = 32_000_000
    lists: frozenset[str] = frozenset()


@dataclass
class Parsed:
    """A file as text.

    `table` is an Arrow stream: text columns `c0`, `c1`, … (columns without a filled cell are left out, absent cells are
    null) and `row`, the number of each row as Excel shows it. `header` is the row that holds the headers, 0 when no
    row is filled, and `known` how many of the headers are known. `faults` are cells or lines that can't
    be read: (row, column position, reason, what stands there); a fault with column -1 concerns the whole file. `notes`
    are remarks for the reseller.
    """

    table: bytes | memoryview = b""
    faults: list[tuple[int, int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    header: int = 0
    known: int = 0


class UnreadableError(Exception):
    """The file can't be read at all: a reason of the table, and what was found."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(reason)
        self.reason, self.found = reason, found
