"""The cells of a worksheet's XML, one by one: slower than calamine, and right about errors, formulas and far cells."""

import re
from collections.abc import Iterator
from typing import Final

from pipelines.intake.cells import date_text, is_date_format, iso_text, number_text, truth_text, unescaped
from pipelines.intake.grid import Grid, too_much_text
from pipelines.intake.package import Package, column_number, parse_xml
from pipelines.intake.parsed import Limits

_REFERENCE: Final = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7})$")
_ROWS: Final = 1 << 20
_INTEGER: Final = re.compile(r"-?[1-9][0-9]{0,14}$|0$")


class _Local(dict[str, str]):
    """Names of elements without their prefixes, cut once each."""

    def __missing__(self, name: str) -> str:
        local = self[name] = name.rpartition(":")[2]
        return local


class _Cells:
    """expat's handlers: what is open, and the row that is being filled."""

    def __init__(self, grid: Grid, strings: list[str], dates: list[bool], *, from_1904: bool) -> None:
        self._grid, self._strings, self._dates, self._from_1904 = grid, strings, dates, from_1904
        self._local = _Local()
        self._columns: dict[str, int] = {}
        self._row, self._column, self._kind, self._style = 0, -1, "n", ""
        self._cells: dict[int, str] = {}
        self._text: list[str] | None = None
        self._value: str | None = None
        self._formula: str | None = None
        self._inline: list[str] | None = None
        self._phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        local = self._local[name]
        if local == "c":
            self._open(attributes)
        elif local in ("v", "f", "t"):
            self._text = []
        elif local == "row":
            number = attributes.get("r", "")
            given = int(number[:9]) if number.isdecimal() else 0
            self._row = given if self._row < given <= _ROWS else self._row + 1
            self._column, self._cells = -1, {}
            self._grid.hidden += attributes.get("hidden") in ("1", "true")
        elif local == "is":
            self._inline = []
        elif local == "rPh":
            self._phonetic = True

    def _open(self, attributes: dict[str, str]) -> None:
        reference = attributes.get("r", "")
        name = reference.rstrip("0123456789")
        if name not in self._columns:
            found = _REFERENCE.match(f"{name}1")
            self._columns[name] = column_number(found[1]) - 1 if found else -1
        column = self._columns[name]
        self._column = column if 0 <= column < 16_384 else self._column + 1
        self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
        self._value = self._formula = self._inline = None

    def text(self, text: str) -> None:
        """Characters."""
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        """An element closes."""
        local = self._local[name]
        if local == "c":
            self._close()
        elif local == "row":
            self._grid.add(self._row, self._cells)
        elif local in ("v", "f", "t") and self._text is not None:
            text, self._text = "".join(self._text), None
            if local == "v":
                self._value = text
            elif local == "f":
                self._formula = text
            elif self._inline is not None and not self._phonetic:
                self._inline.append(text)
        elif local == "rPh":
            self._phonetic = False

    def _close(self) -> None:
        value = self._value if self._inline is None else "".join(self._inline)
        if self._kind == "e":
            self._grid.fault(self._row, self._column, "CELL_FORMULA", value or "an error")
        elif self._formula is not None and (value is None or (not value.strip() and self._kind != "str")):
            self._grid.fault(self._row, self._column, "CELL_FORMULA", f"={self._formula}")
        elif value:
            self._cells[self._column] = self._shown(value)

    def _shown(self, value: str) -> str:
        if self._inline is not None or self._kind in ("str", "inlineStr"):
            return unescaped(value)
        if self._kind == "s":
            return self._string(value)
        if self._kind in ("b", "d"):
            return truth_text(value.strip() not in ("0", "false")) if self._kind == "b" else iso_text(value.strip())
        return self._number(value)

    def _number(self, value: str) -> str:
        dated = self._style.isdecimal() and int(self._style) < len(self._dates) and self._dates[int(self._style)]
        if not dated and _INTEGER.match(value):
            return value
        try:
            number = float(value)
        except ValueError:
            return value
        return date_text(number, from_1904=self._from_1904) if dated else number_text(number)

    def _string(self, value: str) -> str:
        index = int(value) if value.strip().isdecimal() else -1
        if 0 <= index < len(self._strings):
            return self._strings[index]
        self._grid.fault(self._row, self._column, "CELL_FORMULA", f"text no. {value[:20]}, which the workbook lacks")
        return ""


def read_cells(
    chunks: Iterator[bytes], part: str, grid: Grid, strings: list[str], dates: list[bool], *, from_1904: bool
) -> None:
    """Read a worksheet's XML into the grid. `dates`: for each style whether its numbers are dates."""
    cells = _Cells(grid, strings, dates, from_1904=from_1904)
    parse_xml(chunks, part, start=cells.start, end=cells.end, text=cells.text)


def read_shared_strings(package: Package, part: str, limits: Limits) -> list[str]:
    """The texts that cells refer to by number, without the reading aids of Asian scripts."""
    strings: list[str] = []
    runs: list[str] = []
    inside = {"si": 0, "sstItem": 0, "t": 0, "rPh": 0}  # a sstItem is what the beta of Excel 2007 wrote
    local = _Local()
    size = 0

    def start(name: str, _: dict[str, str]) -> None:
        if (known := local[name]) in inside:
            inside[known] += 1

    def text(characters: str) -> None:
        if inside["t"] and not inside["rPh"]:
            runs.append(characters)

    def end(name: str) -> None:
        nonlocal size
        if (known := local[name]) in inside:
            inside[known] -= 1
        if known in ("si", "sstItem"):
            strings.append(unescaped("".join(runs)))
            runs.clear()
            size += len(strings[-1])
            if size > limits.text:
                raise too_much_text(limits)

    parse_xml(package.chunks(part), part, start=start, end=end, text=text)
    return strings


def read_date_styles(package: Package, part: str) -> list[bool]:
    """For each cell style whether it shows a number as a date."""
    codes: dict[str, str] = {}
    numbers: list[str] = []
    inside = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        local = name.rpartition(":")[2]
        if local == "numFmt":
            codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
        elif local == "cellXfs":
            inside = True
        elif local == "xf" and inside:
            numbers.append(attributes.get("numFmtId", "0"))

    def end(name: str) -> None:
        nonlocal inside
        inside = inside and name.rpartition(":")[2] != "cellXfs"

    parse_xml(package.chunks(part), part, start=start, end=end)
    return [is_date_format(int(number) if number.isdecimal() else 0, codes.get(number)) for number in numbers]
