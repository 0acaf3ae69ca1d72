"""SYLK (`.slk`), the text format in which some older programs exchange sheets."""

import re
from collections.abc import Iterator
from typing import Final

from pipelines.intake.cells import date_text, is_date_format, number_text, truth_text
from pipelines.intake.grid import Grid
from pipelines.intake.parsed import Limits, Parsed, UnreadableError

_FIRST: Final = re.compile(rb"(?:\xef\xbb\xbf)?ID;P[^\r\n]{0,200}[\r\n]+(?:ID|B|C|F|P|O|W|NN|NE|NU|E)(?:;|[\r\n])")
_ESCAPED: Final = re.compile(r"\x1b(?:([\x20-\x2f])([\x30-\x3f])|N(.)(.?))", re.DOTALL)
_ACCENTS: Final = {"A": "\u0300", "B": "\u0301", "C": "\u0302", "D": "\u0303", "H": "\u0308", "J": "\u030a", "K": "\u0327"}
_GREATEST: Final = 1 << 20


def is_sylk(content: bytes) -> bool:
    """Whether it is SYLK and not a table of text whose first header is `ID`."""
    return bool(_FIRST.match(content))


def read_sylk(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a SYLK file's cells."""
    grid = Grid(known, limits)
    rows: dict[int, dict[int, str]] = {}
    for row, column, shown in _Reader(grid).cells(_decoded(content)):
        rows.setdefault(row, {})[column] = shown
    for row in sorted(rows):
        grid.add(row, rows[row])
    grid.faults.sort()
    if not grid.filled:
        raise UnreadableError("FILE_EMPTY", "no filled row")
    return grid.parsed()


class _Reader:
    """Goes through the records; a row, column or format that one leaves out is that of the record before it."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._formats: list[str] = []
        self._row = self._column = 1
        self._format_of: dict[tuple[int, int], int] = {}
        self._dated_columns: dict[int, int] = {}

    def cells(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Row, position and text of each filled cell."""
        for line in re.split(r"[\r\n]+", text):
            kind, *parts = (part.replace("\0", ";") for part in line.replace(";;", "\0").split(";"))
            fields = {part[:1]: part[1:] for part in parts}
            if kind == "P" and "P" in fields:
                self._formats.append(fields["P"])
            elif kind in ("C", "F"):
                self._row, self._column = _place(fields.get("Y"), self._row), _place(fields.get("X"), self._column)
                if kind == "F":
                    self._format(fields)
                elif "K" in fields and (shown := self._shown(fields)):
                    yield self._row, self._column - 1, shown
                elif "E" in fields and "K" not in fields:
                    self._grid.fault(self._row, self._column - 1, "CELL_FORMULA", f"={fields['E']}")

    def _format(self, fields: dict[str, str]) -> None:
        number = fields.get("P", "")
        if number.isdecimal():
            if "C" in fields and fields["C"].isdecimal():
                self._dated_columns[int(fields["C"])] = int(number)
            else:
                self._format_of[self._row, self._column] = int(number)

    def _shown(self, fields: dict[str, str]) -> str:
        value = fields["K"]
        if value.startswith('"'):
            return _unescaped(value[1:-1] if value.endswith('"') and len(value) > 1 else value[1:])
        if value in ("TRUE", "FALSE"):
            return truth_text(value == "TRUE")
        if value.startswith("#"):
            self._grid.fault(self._row, self._column - 1, "CELL_FORMULA", value)
            return ""
        try:
            number = float(value)
        except ValueError:
            return value
        index = self._format_of.get((self._row, self._column), self._dated_columns.get(self._column, -1))
        dated = 0 <= index < len(self._formats) and is_date_format(0, self._formats[index])
        return date_text(number) if dated else number_text(number)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _place(value: str | None, before: int) -> int:
    return min(max(int(value), 1), _GREATEST) if value and value.isdecimal() and len(value) < 9 else before


def _unescaped(text: str) -> str:
    """Characters that SYLK writes as ESC and two more: a code in two halves, or an accent and its letter."""

    def character(found: re.Match[str]) -> str:
        if found[1]:
            return bytes([(ord(found[1]) - 0x20) << 4 | (ord(found[2]) - 0x30)]).decode("cp1252", "replace")
        return found[4] + _ACCENTS[found[3]] if found[3] in _ACCENTS else found[3] + found[4]

    if "\x1b" not in text:
        return text
    import unicodedata

    return unicodedata.normalize("NFC", _ESCAPED.sub(character, text))
