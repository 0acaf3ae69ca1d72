"""`.xlsx` and `.xlsm`: the sheets of the package, read by calamine where it reads them right, else cell by cell."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pipelines.intake.calamine import Calamine
from pipelines.intake.ceiling import ceiling_for
from pipelines.intake.grid import Grid
from pipelines.intake.package import Package, Relationship, main_part, parse_xml
from pipelines.intake.parsed import Limits, Parsed
from pipelines.intake.sheets import Loaded, Sheet, read_best
from pipelines.intake.xlsx_cells import read_cells, read_date_styles, read_shared_strings


class Workbook(NamedTuple):
    """A workbook's sheets in their order, and the parts that it refers to, by their kinds."""

    sheets: list[Sheet]
    parts: dict[str, str]
    from_1904: bool


def read_xlsx(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a workbook of XML parts."""
    package = Package(content, limits)
    inflated = package.inspect()
    return read_package(content, package, known, limits, inflated)


def read_package(content: bytes, package: Package, known: frozenset[str], limits: Limits, inflated: int) -> Parsed:
    """Read an inspected package whose workbook is XML, with so many bytes of it."""
    book = read_workbook(package, main_part(package))
    cells = _CellReader(package, book, known, limits)
    calamine = Calamine(content, book.sheets, known, limits)

    def load(sheet: Sheet) -> Loaded:
        scan = package.scans.get(sheet.place.lower())
        if scan and scan.plain and scan.fits(limits.cells):
            with ceiling_for(inflated):
                dense = calamine.load(sheet)
            if dense:
                return dense
        return cells.load(sheet)

    return read_best(book.sheets, load)


class _CellReader:
    """Reads sheets cell by cell; shared strings and styles once for all of them."""

    def __init__(self, package: Package, book: Workbook, known: frozenset[str], limits: Limits) -> None:
        self._package, self._book, self._known, self._limits = package, book, known, limits
        self._strings: list[str] | None = None
        self._dates: list[bool] | None = None

    def load(self, sheet: Sheet) -> Grid:
        """The sheet's filled cells."""
        if self._strings is None:
            self._strings = self._part("sharedStrings", lambda part: read_shared_strings(self._package, part, self._limits))
        if self._dates is None:
            self._dates = self._part("styles", lambda part: read_date_styles(self._package, part))
        grid = Grid(self._known, self._limits)
        read_cells(
            self._package.chunks(sheet.place), sheet.place, grid, self._strings, self._dates, from_1904=self._book.from_1904
        )
        return grid

    def _part(self, kind: str, read: Callable[[str], list[Any]]) -> list[Any]:
        part = self._book.parts.get(kind)
        return read(part) if part and part in self._package else []


def read_workbook(package: Package, main: str) -> Workbook:
    """The sheets that a workbook's main part lists. A chart or macro sheet is none."""
    relations = package.relationships(main)
    listed: list[dict[str, str]] = []
    properties: dict[str, str] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local == "sheet":
            listed.append({key.rpartition(":")[2]: value for key, value in attributes.items()})
        elif local == "workbookPr":
            properties.update(attributes)

    parse_xml(package.chunks(main), main, start=start)
    places = sheet_places([(entry.get("id", ""), entry.get("name", "")) for entry in listed], relations, package, main)
    sheets = [
        Sheet(entry.get("name", ""), entry.get("state") not in ("hidden", "veryHidden"), place)
        for entry, place in zip(listed, places, strict=True)
        if place
    ]
    return Workbook(sheets, parts_by_kind(relations, package, main), properties.get("date1904", "0") in ("1", "true"))


def sheet_places(listed: list[tuple[str, str]], relations: list[Relationship], package: Package, main: str) -> list[str | None]:
    """The part of each listed sheet (relationship ID, name); None for charts and macros.

    A sheet without a usable ID takes the next worksheet that no other sheet has.
    """
    by_id = {relation.id: relation for relation in relations}
    targets = [by_id.get(identity) for identity, _ in listed]
    named = {target.part.lower() for target in targets if target}
    spare = [relation.part for relation in relations if relation.kind == "worksheet" and relation.part.lower() not in named]
    folder = main.rpartition("/")[0]
    spare += [name for name in sorted(package.names()) if name.startswith(f"{folder}/worksheets/".lstrip("/"))
              and "/_rels/" not in name and name not in named and name not in {part.lower() for part in spare}]  # fmt: skip
    places: list[str | None] = []
    for target in targets:
        if target and target.kind not in ("worksheet", ""):
            places.append(None)
        elif target and target.part in package:
            places.append(target.part)
        else:
            places.append(spare.pop(0) if spare else "")
    return places


def parts_by_kind(relations: list[Relationship], package: Package, main: str) -> dict[str, str]:
    """The shared strings and styles of a workbook, also where no relationship names them."""
    folder, _, name = main.rpartition("/")
    suffix = name.rpartition(".")[2]
    parts = {kind: f"{folder}/{kind}.{suffix}".lstrip("/") for kind in ("sharedStrings", "styles")}
    return parts | {relation.kind: relation.part for relation in relations if relation.part in package}
