"""“XML Spreadsheet 2003”, which Excel 2003 saves and portals still export under the name of `.xls`."""

from typing import Final

from pipelines.intake.cells import iso_text, number_text, truth_text
from pipelines.intake.grid import Grid
from pipelines.intake.package import parse_xml
from pipelines.intake.parsed import Limits, Parsed, UnreadableError
from pipelines.intake.sheets import Sheet, check_count, read_best

_GREATEST: Final = 1 << 20


class _Reader:
    """expat's handlers; each worksheet becomes a grid."""

    def __init__(self, known: frozenset[str], limits: Limits) -> None:
        self._known, self._limits = known, limits
        self.names: list[str] = []
        self.grids: list[Grid] = []
        self.hidden: set[int] = set()
        self._row = self._column = self._wide = 0
        self._cells: dict[int, str] = {}
        self._kind, self._formula = "", ""
        self._text: list[str] | None = None
        self._valued = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        local = name.rpartition(":")[2]
        given = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        if local == "Worksheet":
            self.names.append(given.get("Name", ""))
            self.grids.append(Grid(self._known, self._limits, self.grids[-1].text if self.grids else 0))
            check_count(len(self.grids))
            self._row = 0
        elif local == "Row" and self.grids:
            self._row = _place(given.get("Index"), self._row + 1)
            self._column, self._wide, self._cells = 0, 1, {}
            self.grids[-1].hidden += given.get("Hidden") == "1"
        elif local == "Cell":
            self._column = _place(given.get("Index"), self._column + self._wide)
            self._wide = 1 + _place(given.get("MergeAcross"), 0)
            self._formula, self._valued, self._kind = given.get("Formula", ""), False, ""
        elif local in ("Data", "Visible"):
            self._kind, self._text = given.get("Type", "String"), []

    def text(self, text: str) -> None:
        """Characters."""
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        """An element closes."""
        local = name.rpartition(":")[2]
        if not self.grids:
            return
        if local == "Data" and self._text is not None:
            self._value("".join(self._text))
        elif local == "Visible" and self._text is not None and "".join(self._text).strip() != "SheetVisible":
            self.hidden.add(len(self.grids) - 1)
        elif local == "Cell" and self._formula and not self._valued:
            self.grids[-1].fault(self._row, self._column - 1, "CELL_FORMULA", self._formula)
        elif local == "Row":
            self.grids[-1].add(self._row, self._cells)
        if local in ("Data", "Visible"):
            self._text = None

    def _value(self, text: str) -> None:
        self._valued = True
        if self._kind == "Error":
            self.grids[-1].fault(self._row, self._column - 1, "CELL_FORMULA", text or "an error")
        elif text:
            self._cells[self._column - 1] = _shown(self._kind, text)


def _shown(kind: str, text: str) -> str:
    if kind == "Boolean":
        return truth_text(text.strip() == "1")
    if kind == "DateTime":
        return iso_text(text.strip())
    if kind == "Number":
        try:
            return number_text(float(text))
        except ValueError:
            return text
    return text


def _place(value: str | None, default: int) -> int:
    return min(int(value), _GREATEST) if value and value.isdecimal() and len(value) < 9 else default


def read_spreadsheet_xml(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a workbook that is one XML file of Excel 2003."""
    reader = _Reader(known, limits)
    parse_xml(iter([content]), "the workbook", start=reader.start, end=reader.end, text=reader.text)
    if not reader.grids:
        raise UnreadableError("FILE_TYPE", "XML without a worksheet")
    sheets = [Sheet(name, number not in reader.hidden, str(number)) for number, name in enumerate(reader.names)]
    return read_best(sheets, lambda sheet: reader.grids[int(sheet.place)])
