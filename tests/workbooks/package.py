"""A workbook as its package has it, read without a library that would put right what is wrong in it."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET
from zipfile import ZipFile

MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REL: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_LARGE, _SAMPLED = 1 << 20, 300
_ROW_END: Final = b"</row>"
_BUILT_IN: Final = {0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 14: "mm-dd-yy",
                    22: "m/d/yy h:mm", 49: "@"}  # fmt: skip


class Look(NamedTuple):
    """The look of a cell. Colours are RRGGBB, or empty where the package names none by its value."""

    number: str
    face: str
    size: float
    color: str
    fill: str
    horizontal: str
    vertical: str
    wrap: bool
    indent: int


class Cell(NamedTuple):
    """A cell: its place from 1, what it holds (`text` or `number`, or nothing), its value as text, and its look."""

    row: int
    column: int
    kind: str
    value: str
    look: Look
    is_formula: bool

    @property
    def name(self) -> str:
        """As Excel calls it: B7."""
        return f"{letters(self.column)}{self.row}"


class Table(NamedTuple):
    """An Excel table: its name, its range (first row, first column, last row, last column), and its columns."""

    name: str
    area: tuple[int, int, int, int]
    columns: list[str]


def letters(column: int) -> str:
    """The letters of a column, counted from 1."""
    before, last = divmod(column - 1, 26)
    return (letters(before) if before else "") + chr(65 + last)


def place(name: str) -> tuple[int, int]:
    """Row and column of a cell's name."""
    found = re.fullmatch(r"\$?([A-Z]+)\$?(\d+)", name)
    assert found
    column = 0
    for letter in found[1]:
        column = column * 26 + ord(letter) - 64
    return int(found[2]), column


def area(reference: str) -> tuple[int, int, int, int]:
    """First row, first column, last row and last column of a range."""
    first, _, last = reference.partition(":")
    return (*place(first), *place(last or first))


class Page:
    """A sheet. Of a large one the first rows are read."""

    def __init__(self, package: "Package", entry: ET.Element, part: str) -> None:
        self.package, self.title, self.state = package, str(entry.get("name")), entry.get("state", "visible")
        self.root = ET.fromstring(_shortened(package.read(part)))
        self._rels = package.relations(part)

    def find(self, path: str) -> list[ET.Element]:
        """Elements below the root; every name of the path is of the main namespace."""
        return self.root.findall("/".join(MAIN + name for name in path.split("/")))

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells that have a value."""
        return [cell for row in self.find("sheetData/row") for one in row if (cell := self.package.cell(one)).value]

    @cached_property
    def by_place(self) -> dict[tuple[int, int], Cell]:
        """The cells that have a value, by row and column."""
        return {(cell.row, cell.column): cell for cell in self.cells}

    @cached_property
    def widths(self) -> dict[int, float]:
        """Widths of columns, where they are set."""
        spans = [(int(one.get("min", 1)), int(one.get("max", 1)), float(one.get("width", 9))) for one in self.find("cols/col")]
        return {column: width for first, last, width in spans for column in range(first, min(last, first + 300) + 1)}

    @cached_property
    def heights(self) -> dict[int, float]:
        """Heights of rows, where they are set."""
        return {int(row.get("r", 0)): float(row.get("ht", 0)) for row in self.find("sheetData/row") if row.get("ht")}

    @cached_property
    def tables(self) -> list[Table]:
        """The Excel tables on it."""
        roots = [ET.fromstring(self.package.read(part)) for kind, part in self._rels.values() if kind == "table"]
        return [Table(str(root.get("displayName")), area(str(root.get("ref"))),
                      [str(one.get("name")) for one in root.iter(f"{MAIN}tableColumn")]) for root in roots]  # fmt: skip

    @cached_property
    def noted(self) -> set[str]:
        """The cells that have a note."""
        parts = [part for kind, part in self._rels.values() if kind == "comments"]
        return {str(one.get("ref")) for part in parts for one in ET.fromstring(self.package.read(part)).iter(f"{MAIN}comment")}

    @cached_property
    def drawings(self) -> list[ET.Element]:
        """The roots of its drawings."""
        return [ET.fromstring(self.package.read(part)) for kind, part in self._rels.values() if kind == "drawing"]

    @cached_property
    def charts(self) -> list[ET.Element]:
        """The roots of its charts."""
        parts = [part for kind, part in self._rels.values() if kind == "drawing"]
        return [ET.fromstring(self.package.read(chart)) for part in parts
                for kind, chart in self.package.relations(part).values() if kind == "chart"]  # fmt: skip

    def target(self, relation: str) -> str:
        """Where a relation leads."""
        return self._rels[relation][1]


class Package:
    """A workbook of ours."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        with ZipFile(path) as archive:
            self._parts = {name: archive.read(name) for name in archive.namelist()}
        self.core = ET.fromstring(self.read("docProps/core.xml"))
        self.book = ET.fromstring(self.read("xl/workbook.xml"))
        rels = self.relations("xl/workbook.xml")
        entries = self.book.findall(f"{MAIN}sheets/{MAIN}sheet")
        self.pages = [Page(self, entry, rels[str(entry.get(_REL))][1]) for entry in entries]

    def read(self, part: str) -> bytes:
        """The content of a part."""
        return self._parts[part]

    def parts(self) -> list[str]:
        """The names of all parts."""
        return list(self._parts)

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """The relations of a part: kind and target, by their IDs."""
        folder, _, name = part.rpartition("/")
        content = self._parts.get(f"{folder}/_rels/{name}.rels", b"<none/>")
        return {str(one.get("Id")): (str(one.get("Type")).rpartition("/")[2], _resolved(folder, str(one.get("Target"))))
                for one in ET.fromstring(content)}  # fmt: skip

    def property(self, name: str) -> str:
        """A property of the document."""
        return next((one.text or "" for one in self.core if one.tag.rpartition("}")[2] == name), "")

    @cached_property
    def defined_names(self) -> list[ET.Element]:
        """The names that the workbook defines."""
        return self.book.findall(f"{MAIN}definedNames/{MAIN}definedName")

    @cached_property
    def _shared(self) -> list[str]:
        if "xl/sharedStrings.xml" not in self._parts:
            return []
        return ["".join(one.itertext()) for one in ET.fromstring(self.read("xl/sharedStrings.xml"))]

    @cached_property
    def looks(self) -> list[Look]:
        """The looks of cells, by their numbers."""
        root = ET.fromstring(self.read("xl/styles.xml"))
        fonts, fills = root.findall(f"{MAIN}fonts/{MAIN}font"), root.findall(f"{MAIN}fills/{MAIN}fill")
        own = {int(one.get("numFmtId", 0)): str(one.get("formatCode")) for one in root.iter(f"{MAIN}numFmt")}
        return [_look(one, fonts, fills, _BUILT_IN | own) for one in root.findall(f"{MAIN}cellXfs/{MAIN}xf")]

    def cell(self, element: ET.Element) -> Cell:
        """A cell of a sheet."""
        kind, value = element.get("t", "n"), element.findtext(f"{MAIN}v") or ""
        if kind == "s":
            value = self._shared[int(value)]
        elif kind == "inlineStr":
            value = "".join(element.itertext())
        texts = "text" if kind in ("s", "inlineStr", "str") else "number"
        row, column = place(str(element.get("r")))
        is_formula = element.find(f"{MAIN}f") is not None
        return Cell(row, column, texts, value, self.looks[int(element.get("s", 0))], is_formula)


def _shortened(part: bytes) -> bytes:
    """A sheet without the rows after the first ones, if it is large."""
    if len(part) < _LARGE:
        return part
    end = 0
    for _ in range(_SAMPLED):
        end = part.find(_ROW_END, end) + len(_ROW_END)
    return part[:end] + part[part.rindex(b"</sheetData>") :]


def _resolved(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target[1:]
    steps = folder.split("/")
    for step in target.split("/"):
        steps = steps[:-1] if step == ".." else [*steps, step]
    return "/".join(step for step in steps if step)


def _look(one: ET.Element, fonts: list[ET.Element], fills: list[ET.Element], formats: dict[int, str]) -> Look:
    font, fill = fonts[int(one.get("fontId", 0))], fills[int(one.get("fillId", 0))]
    alignment: Any = one.find(f"{MAIN}alignment")
    where = {} if alignment is None else alignment.attrib
    pattern = fill.find(f"{MAIN}patternFill")
    behind = (
        fill.find(f"{MAIN}patternFill/{MAIN}fgColor") if pattern is not None and pattern.get("patternType") == "solid" else None
    )
    return Look(
        formats.get(int(one.get("numFmtId", 0)), "General"), _value(font, "name", "Calibri"), float(_value(font, "sz", "11")),
        _rgb(font.find(f"{MAIN}color")), _rgb(behind), where.get("horizontal", ""), where.get("vertical", "bottom"),
        where.get("wrapText") in ("1", "true"), int(where.get("indent", 0)),
    )  # fmt: skip


def _value(font: ET.Element, name: str, default: str) -> str:
    found = font.find(MAIN + name)
    return default if found is None else found.get("val", default)


def _rgb(color: ET.Element | None) -> str:
    return "" if color is None else color.get("rgb", "")[-6:]
