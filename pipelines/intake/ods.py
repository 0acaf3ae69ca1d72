"""OpenDocument spreadsheets: `.ods`, the flat `.fods`, and OpenOffice's old `.sxc`."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final

from pipelines.intake.calamine import Calamine
from pipelines.intake.cells import iso_text, number_text
from pipelines.intake.grid import Grid
from pipelines.intake.package import Package, parse_xml
from pipelines.intake.parsed import Limits, Parsed, UnreadableError
from pipelines.intake.sheets import Sheet, check_count, read_best

_CELLS: Final = frozenset(["table-cell", "covered-table-cell"])
_ERRORS: Final = ("#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "Err:5")
_HIDDEN: Final = frozenset(["collapse", "filter"])
_ASIDE: Final = frozenset(["annotation", "shapes", "forms", "tracked-changes", "object", "frame", "custom-shape", "ruby-text"])
"""What may hold text or tables of its own within a sheet or a cell: notes, drawings, earlier versions."""
_LAID_OUT: Final = re.compile(r"[\t\r\n]|  |^ | $")
_SPACES: Final = re.compile(r"[ \t\r\n]+")
_LARGE: Final = 16 << 20
"""From so many bytes of XML on it is worth looking whether calamine reads a document right."""
_SPECIAL: Final = re.compile(
    rb"""formula=|type=["'](?:date|time|boolean|void)|visibility=|display=|<office:annotation|<text:[^p]|<draw:|covered-|<!DOCTYPE"""
)
_TABLE: Final = re.compile(rb'<table:table [^<>]{0,500}?table:name="([^"]{1,200})"')
_OVERLAP: Final = 1024
_MOST_REPEATED: Final = 1 << 20


class _Name(dict[str, str]):
    def __missing__(self, name: str) -> str:
        local = self[name] = name.rpartition(":")[2]
        return local


class _Reader:
    """expat's handlers over all sheets of a document; each becomes a grid."""

    def __init__(self, known: frozenset[str], limits: Limits) -> None:
        self._known, self._limits = known, limits
        self._name = _Name()
        self.sheets: list[Sheet] = []
        self.grids: dict[str, Grid | UnreadableError] = {}
        self._hidden_styles: set[str] = set()
        self._style = ""
        self._grid: Grid | None = None
        self._tables = self._aside = 0
        self._row, self._times, self._cells, self._faults = 1, 1, dict[int, str](), list[tuple[int, str]]()
        self._column, self._wide, self._cell = 0, 1, dict[str, str]()
        self._lines: list[str] | None = None
        self._paragraphs = 0
        self._inside = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        local = self._name[name]
        if self._aside or local in _ASIDE:
            self._aside += 1
        elif local in _CELLS and self._tables == 1:
            self._cell = {self._name[key]: value for key, value in attributes.items()} if attributes else {}
            self._wide = _times(self._cell.get("number-columns-repeated"))
            self._lines, self._paragraphs = [], 0
        elif local == "p" and self._lines is not None:
            if self._paragraphs:
                self._lines.append("\n")
            self._paragraphs += 1
            self._inside = True
        elif local == "table-row" and self._tables == 1:
            self._open_row({self._name[key]: value for key, value in attributes.items()})
        elif local == "table":
            self._open_table({self._name[key]: value for key, value in attributes.items()})
        elif self._lines is not None:
            self._space(local, attributes)
        elif local in ("style", "table-properties"):
            self._styled(local, {self._name[key]: value for key, value in attributes.items()})

    def _space(self, local: str, attributes: dict[str, str]) -> None:
        assert self._lines is not None
        if local == "s":
            count = next((value for key, value in attributes.items() if self._name[key] == "c"), "1")
            self._lines.append(" " * min(_times(count), self._limits.characters + 1))
        elif local in ("tab", "tab-stop"):
            self._lines.append("\t")
        elif local == "line-break":
            self._lines.append("\n")

    def _styled(self, local: str, attributes: dict[str, str]) -> None:
        if local == "style":
            self._style = attributes.get("name", "")
        elif attributes.get("display") == "false":
            self._hidden_styles.add(self._style)

    def _open_table(self, attributes: dict[str, str]) -> None:
        self._tables += 1
        if self._tables > 1:  # a table within a cell
            return
        visible = attributes.get("style-name") not in self._hidden_styles and attributes.get("display") != "false"
        place = str(len(self.sheets))
        check_count(len(self.sheets) + 1)
        self.sheets.append(Sheet(attributes.get("name", ""), visible, place))
        self._grid = self.grids[place] = Grid(self._known, self._limits, self._grid.text if self._grid else 0)
        self._row = 1

    def _open_row(self, attributes: dict[str, str]) -> None:
        self._times = _times(attributes.get("number-rows-repeated"))
        self._column, self._cells, self._faults = 0, {}, []
        if self._grid and attributes.get("visibility") in _HIDDEN and self._times < 10_000:
            self._grid.hidden += self._times

    def text(self, text: str) -> None:
        """Characters."""
        if self._inside and not self._aside:
            assert self._lines is not None
            if _LAID_OUT.search(text):  # white space of the XML's layout counts as one space, or none at an end
                text = _SPACES.sub(" ", text)
                if not self._lines or self._lines[-1] == "\n":
                    text = text.lstrip(" ")
            self._lines.append(text)

    def end(self, name: str) -> None:
        """An element closes."""
        local = self._name[name]
        if self._aside:
            self._aside -= 1
        elif local in _CELLS and self._tables == 1:
            self._close_cell()
        elif local == "p" and self._inside:
            assert self._lines is not None
            self._inside = False
            if self._lines and self._lines[-1].endswith(" ") and self._lines[-1].strip(" "):
                self._lines[-1] = self._lines[-1].rstrip(" ")
        elif local == "table-row" and self._tables == 1:
            self._close_row()
        elif local == "table":
            self._tables -= 1

    def _close_cell(self) -> None:
        text = "".join(self._lines or ())
        self._lines = None
        if self._cell or text:
            shown = self._shown(text)
            if shown is None:
                self._faults.append((self._column, text or "an error"))
            elif shown:
                for column in range(self._column, self._column + min(self._wide, self._limits.columns + 1)):
                    self._cells[column] = shown
        self._column += self._wide

    def _shown(self, text: str) -> str | None:
        """A cell's text; None for an error or a formula without a value."""
        cell = self._cell
        kind = cell.get("value-type", "")
        # LibreOffice marks errors of its own accord; others leave just their words under a formula
        if "formula" in cell and (kind in ("error", "") or text.startswith(_ERRORS)) and (text or "value" not in cell):
            return None
        if kind in ("float", "percentage", "currency"):
            return _number(cell.get("value", text))
        if kind == "date":
            return iso_text(cell.get("date-value", text))
        if kind == "time":
            return cell.get("time-value", text)
        if kind == "boolean":
            return cell.get("boolean-value", text).lower()
        return text or cell.get("string-value", "")

    def _close_row(self) -> None:
        grid = self._grid
        if grid and (self._cells or self._faults):
            place = self.sheets[-1].place
            try:
                grid.add(self._row, self._cells, self._times)
                for row in range(self._row, self._row + self._times):
                    for column, text in self._faults:
                        grid.fault(row, column, "CELL_FORMULA", text)
            except UnreadableError as error:  # this sheet is too much; another may be the order
                self.grids[place], self._grid = error, None
        self._row += self._times


def _times(count: str | None) -> int:
    return min(max(int(count), 1), _MOST_REPEATED) if count and count.isdecimal() and len(count) < 10 else 1


def _number(value: str) -> str:
    try:
        return number_text(float(value))
    except ValueError:
        return value


def read_ods(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a document in a zip archive."""
    package = Package(content, limits)
    package.inspect()
    return read_document(content, package, known, limits)


def read_document(content: bytes, package: Package, known: frozenset[str], limits: Limits) -> Parsed:
    """Read an inspected package of OpenDocument."""
    if "encrypted-package" in package or b"encryption-data" in _manifest(package):
        raise UnreadableError("FILE_ENCRYPTED", "")
    if sheet := _plain_sheet(package):
        dense = Calamine(content, [sheet], known, limits).load(sheet)
        if dense:
            return read_best([sheet], lambda _: dense)
    return _read(package.chunks("content.xml"), known, limits)


def _plain_sheet(package: Package) -> Sheet | None:
    """The only sheet of a document that is large and holds nothing but numbers and words, which calamine reads right."""
    found = None
    tail, size = b"", 0
    for chunk in package.chunks("content.xml"):
        block, size = tail + chunk, size + len(chunk)
        if _SPECIAL.search(block):
            return None
        for name in _TABLE.findall(block):
            if found not in (None, name):
                return None
            found = name
        tail = chunk[-_OVERLAP:]
    return Sheet(unescape(found.decode()), visible=True, place="0") if found and size >= _LARGE else None


def _manifest(package: Package) -> bytes:
    return package.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in package else b""


def read_fods(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a document that is one XML file."""
    return _read(iter([content]), known, limits)


def _read(chunks: Iterator[bytes], known: frozenset[str], limits: Limits) -> Parsed:
    reader = _Reader(known, limits)
    parse_xml(chunks, "content.xml", start=reader.start, end=reader.end, text=reader.text)

    def load(sheet: Sheet) -> Grid:
        grid = reader.grids[sheet.place]
        if isinstance(grid, UnreadableError):
            raise grid
        return grid

    if not reader.sheets:
        raise UnreadableError("FILE_TYPE", "a document without a sheet")
    return read_best(reader.sheets, load)
