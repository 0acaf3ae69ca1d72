"""Rules that every workbook of ours keeps, after those of Microsoft's accessibility checker and of the guidance "Making
spreadsheets accessible" of the UK Government Analysis Function, and some of our own.

A rule looks at a package and yields what it finds: the sheet, the cell, and words. Its name is that of its function.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipelines.excel import look
from tests.workbooks.package import MAIN, Cell, Package, Page, Table, area

Found = tuple[str, str, str]
Rule = Callable[[Package], Iterator[Found]]


class Finding(NamedTuple):
    """What a rule finds in a workbook."""

    rule: str
    sheet: str
    cell: str
    words: str


RULES: Final[dict[str, Rule]] = {}
"""The rules, by their names."""


def rule(check: Rule) -> Rule:
    """A rule that all workbooks keep."""
    RULES[check.__name__] = check
    return check


def findings(path: Path) -> list[Finding]:
    """All that is wrong with a workbook."""
    package = Package(path)
    return [Finding(name, *found) for name, check in RULES.items() for found in check(package)]


_ANNOTATED: Final = ("Rejected orders", "Orders on hold")
_OURS: Final = ("Row", "Reason", "What to fix")
_HIDDEN: Final = "Lists"
_EASILY_READ: Final = 7.5
_LEAST_CONTRAST, _LEAST_SIZE, _LEAST_PRINTED = 4.5, 9, 6.5
_PAPERS: Final = {0: (8.5, 11.0), 1: (8.5, 11.0), 3: (11.0, 17.0), 5: (8.5, 14.0)}
_TEXTS: Final = re.compile(r"Code$|code$|Number$|^BTN$|Order ID$|^Serial$|^Replaced by$")
_CODES: Final = re.compile(r"[Cc]ode$|^Replaced by$")
_DATED: Final = re.compile(r"[ymdh]{1,4}[-/: ]")
_TIMES: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
_PLAIN_FIGURES: Final = ("#,##0", "#,##0.0", "#,##0.00", "0.0%", "0%")


def _visible(package: Package) -> list[Page]:
    return [page for page in package.pages if page.title != _HIDDEN]


def _tabled(package: Package) -> list[tuple[Page, Table]]:
    return [(page, table) for page in package.pages for table in page.tables]


def _resellers_columns(package: Package, page: Page) -> set[int]:
    """The columns of a rejection workbook whose cells are the reseller's: they keep what was sent, and its look."""
    if package.property("title") not in _ANNOTATED or page.title != "Orders":
        return set()
    return {cell.column for cell in page.cells if cell.row == 1 and cell.value not in _OURS}


def _ours(package: Package) -> Iterator[tuple[Page, Cell]]:
    """All cells but those of a reseller."""
    for page in _visible(package):
        theirs = _resellers_columns(package, page)
        yield from ((page, cell) for cell in page.cells if cell.column not in theirs)


def _header(page: Page, cell: Cell) -> str:
    """What stands above a cell of a table; nothing elsewhere."""
    for table in page.tables:
        top, left, bottom, right = table.area
        if top < cell.row <= bottom and left <= cell.column <= right and cell.column - left < len(table.columns):
            return table.columns[cell.column - left]
    return ""


@rule
def document_has_a_title(package: Package) -> Iterator[Found]:
    """A screen reader says it first."""
    if not package.property("title").strip():
        yield "", "", "no title"


@rule
def document_has_a_language(package: Package) -> Iterator[Found]:
    """A screen reader chooses its voice by it."""
    if package.property("language") != "en-US":
        yield "", "", f"language {package.property('language')!r}"


@rule
def sheets_have_speaking_names(package: Package) -> Iterator[Found]:
    """Unique, as long as Excel allows, and none of Excel's own."""
    counts = Counter(page.title.lower() for page in package.pages)
    for page in package.pages:
        if len(page.title) > 31 or counts[page.title.lower()] > 1 or re.fullmatch(r"Sheet\d*|\d*", page.title):
            yield page.title, "", "name"


@rule
def no_cells_are_merged(package: Package) -> Iterator[Found]:
    """They break reading by rows and columns, sorting and selecting."""
    for page in package.pages:
        for merged in page.find("mergeCells/mergeCell"):
            yield page.title, str(merged.get("ref")), "merged"


@rule
def no_sheet_is_empty(package: Package) -> Iterator[Found]:
    """Who goes there finds nothing."""
    for page in package.pages:
        if not page.cells:
            yield page.title, "", "empty"


@rule
def tables_have_no_blank_rows(package: Package) -> Iterator[Found]:
    """A blank row reads like the end of the table. A table that is filled in by its reader has one, and no other."""
    for page, table in _tabled(package):
        top, left, bottom, right = table.area
        filled = {cell.row for cell in page.cells if left <= cell.column <= right}
        read = max(filled, default=0)
        blank = [row for row in range(top, min(bottom, max(read, top + 1)) + 1) if row not in filled]
        is_form = bottom == top + 1 and page.find("dataValidations")
        if blank and not is_form:
            yield page.title, f"A{blank[0]}", "blank row"


@rule
def tables_are_tables(package: Package) -> Iterator[Found]:
    """Every sheet of rows is an Excel table, or has a filter where its headers can't be those of a table."""
    for page in _visible(package):
        if page.title not in ("Summary", "Instructions"):
            tables, filters = page.tables, [area(str(one.get("ref"))) for one in page.find("autoFilter")]
            covered = [table.area for table in tables] + filters
            for cell in page.cells:
                if not any(top <= cell.row <= bottom and left <= cell.column <= right for top, left, bottom, right in covered):
                    yield page.title, cell.name, "in no table"
                    break


@rule
def tables_have_speaking_names(package: Package) -> Iterator[Found]:
    """Unique in the workbook, and none of Excel's own."""
    names = [table.name.lower() for _, table in _tabled(package)]
    defined = [str(one.get("name")).lower() for one in package.defined_names]
    for page, table in _tabled(package):
        if (names + defined).count(table.name.lower()) > 1 or re.fullmatch(r"(?i)table\d*|[a-z]{1,3}\d+|[rc]", table.name):
            yield page.title, "", f"table {table.name}"


@rule
def tables_have_headers(package: Package) -> Iterator[Found]:
    """Each column has a name of its own, which stands above it."""
    for page, table in _tabled(package):
        top, left, _, right = table.area
        above = [page.by_place.get((top, column)) for column in range(left, right + 1)]
        shown = [cell.value if cell and cell.kind == "text" else "" for cell in above]
        if shown != table.columns or len({name.lower() for name in shown}) != len(shown) or "" in shown:
            yield page.title, "", f"headers {shown} of columns {table.columns}"


@rule
def headers_stay_in_sight(package: Package) -> Iterator[Found]:
    """The header of a table is frozen, and printed on every page."""
    printed = {str(one.text).rpartition("!")[0].strip("'") for one in package.defined_names
               if one.get("name") == "_xlnm.Print_Titles"}  # fmt: skip
    for page in _visible(package):
        panes = [pane for pane in page.find("sheetViews/sheetView/pane") if pane.get("state") == "frozen"]
        if page.tables and not any(pane.get("ySplit") == "1" for pane in panes):
            yield page.title, "", "header not frozen"
        if page.tables and page.title not in printed:
            yield page.title, "", "header not printed on every page"


@rule
def sheets_are_one_page_wide_and_readable(package: Package) -> Iterator[Found]:
    """Printed one page wide, unless that can't be read on any paper, with numbered pages, and no font shrinks below what can
    be read.
    """
    for page in _visible(package):
        fit = page.find("sheetPr/pageSetUpPr")
        setup: Any = (page.find("pageSetup") or [None])[0]
        if not fit or fit[0].get("fitToPage") not in ("1", "true") or setup is None:
            yield page.title, "", "not one page wide"
            continue
        sizes = [cell.look.size for cell in page.cells]
        printed = min(sizes, default=11.0) * min(1.0, _room(setup) / _width(page))
        if setup.get("fitToWidth", "1") != "1":
            if printed >= _EASILY_READ:  # as wide as that only a reseller's own columns are
                yield page.title, "", "not one page wide"
            continue
        if not any("&P" in str(foot.text) for foot in page.find("headerFooter/oddFooter")):
            yield page.title, "", "pages without numbers"
        if printed < _LEAST_PRINTED:
            yield page.title, "", f"shrinks to {_room(setup) / _width(page):.0%}"


def _room(setup: Any) -> float:
    """The points between the margins of a page."""
    size = _PAPERS[int(setup.get("paperSize", 0))]
    return (max(size) if setup.get("orientation") == "landscape" else min(size)) * 72 - 58


def _width(page: Page) -> float:
    """The points that the filled columns take."""
    return (
        sum(page.widths.get(column, 9.0) for column in range(1, max((cell.column for cell in page.cells), default=1) + 1))
        * 5.25
    )


@rule
def fonts_contrast_with_fills(package: Package) -> Iterator[Found]:
    """By WCAG 2, at least 4.5 to 1."""
    for page in _visible(package):
        for cell in page.cells:
            if _contrast(cell.look.color or "000000", cell.look.fill or "FFFFFF") < _LEAST_CONTRAST:
                yield page.title, cell.name, f"{cell.look.color} on {cell.look.fill}"


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: str) -> float:
    parts = [int(rgb[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@rule
def fonts_are_large_enough(package: Package) -> Iterator[Found]:
    """On the screen."""
    for page, cell in _ours(package):
        if cell.look.size < _LEAST_SIZE:
            yield page.title, cell.name, f"{cell.look.size} points"


@rule
def nothing_is_hidden(package: Package) -> Iterator[Found]:
    """But the lists that checks of cells take their items from."""
    for page in package.pages:
        if page.state != "visible" and page.title != _HIDDEN:
            yield page.title, "", "hidden sheet"
        for one in (*page.find("cols/col"), *page.find("sheetData/row")):
            if one.get("hidden") in ("1", "true"):
                yield page.title, "", "hidden row or column"


@rule
def opens_where_the_reader_begins(package: Package) -> Iterator[Found]:
    """One sheet is chosen, the one that the workbook opens on; on each, the first cell, or the first one to fix."""
    chosen = [
        page.title for page in package.pages for view in page.find("sheetViews/sheetView") if view.get("tabSelected") == "1"
    ]
    views = package.book.findall(f"{MAIN}bookViews/{MAIN}workbookView")
    opened = package.pages[int(views[0].get("activeTab", 0)) if views else 0].title
    if chosen != [opened]:
        yield opened, "", f"chosen: {chosen}"
    for page in _visible(package):
        cells = [str(one.get("activeCell", "A1")) for one in page.find("sheetViews/sheetView/selection")] or ["A1"]
        first = "A2" if page.tables else "A1"
        if cells[-1] != first and cells[-1] not in page.noted:
            yield page.title, cells[-1], "active cell"


@rule
def charts_are_described(package: Package) -> Iterator[Found]:
    """Alternative text, a title, and titles of both axes."""
    for page in package.pages:
        for drawing in page.drawings:
            for one in drawing.iter("{http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing}cNvPr"):
                if not one.get("descr"):
                    yield page.title, "", "no alternative text"
        for chart in page.charts:
            titles = chart.findall(".//{http://schemas.openxmlformats.org/drawingml/2006/chart}title")
            if len(titles) != 3:
                yield page.title, "", "chart without its three titles"


@rule
def series_of_charts_contrast_with_white(package: Package) -> Iterator[Found]:
    """Like text, at least 4.5 to 1."""
    chart, drawing = (f"{{http://schemas.openxmlformats.org/drawingml/2006/{name}}}" for name in ("chart", "main"))
    for page in package.pages:
        colors = {
            color.get("val", "")
            for one in page.charts
            for series in one.iter(f"{chart}ser")
            for color in series.iter(f"{drawing}srgbClr")
        }
        for color in sorted(colors):
            if _contrast(color, "FFFFFF") < _LEAST_CONTRAST:
                yield page.title, "", f"a series in {color}"


@rule
def charts_cover_no_cells(package: Package) -> Iterator[Found]:
    """And not each other."""
    for page in package.pages:
        taken: list[tuple[int, int, int, int]] = []
        for drawing in page.drawings:
            for anchor in drawing:
                box = _corners(anchor)
                under = [cell for cell in page.cells if box[0] <= cell.row <= box[2] and box[1] <= cell.column <= box[3]]
                if under:
                    yield page.title, under[0].name, "below a chart"
                taken.append(box)
        if len(set(taken)) != len(taken):
            yield page.title, "", "charts at one place"


def _corners(anchor: Any) -> tuple[int, int, int, int]:
    """First row, first column, last row and last column of what is drawn."""
    space = "{http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing}"
    sides = [anchor.find(f"{space}{end}/{space}{side}").text for end in ("from", "to") for side in ("row", "col")]
    first_row, first_column, last_row, last_column = (int(side) + 1 for side in sides)
    return first_row, first_column, last_row, last_column


@rule
def no_cell_is_a_formula(package: Package) -> Iterator[Found]:
    """What came from a file stays what it was."""
    for page in package.pages:
        for cell in page.cells:
            if cell.is_formula:
                yield page.title, cell.name, "formula"


@rule
def links_lead_to_sheets_and_say_so(package: Package) -> Iterator[Found]:
    """No link leads out of the workbook, and its text says where it leads."""
    titles = {page.title for page in package.pages}
    for page in package.pages:
        for link in page.find("hyperlinks/hyperlink"):
            sheet = str(link.get("location", "")).rpartition("!")[0].strip("'")
            shown = page.by_place.get(area(str(link.get("ref")))[:2])
            if sheet not in titles or shown is None or sheet not in shown.value:
                yield page.title, str(link.get("ref")), f"link to {sheet or 'another place'}"
    for part in package.parts():
        if "externalLink" in part or b'TargetMode="External"' in (package.read(part) if part.endswith(".rels") else b""):
            yield "", part, "link out of the workbook"


@rule
def codes_and_numbers_are_text(package: Package) -> Iterator[Found]:
    """Codes, accounts and telephone numbers: Excel would round or shorten figures."""
    for page, cell in _ours(package):
        if cell.kind == "number" and _TEXTS.search(_header(page, cell)):
            yield page.title, cell.name, f"{_header(page, cell)} is a figure"


@rule
def text_that_looks_like_figures_has_no_green_triangle(package: Package) -> Iterator[Found]:
    """The error of numbers stored as text is ignored there."""
    for page in package.pages:
        if page.state == "visible":
            ignored = [area(span) for one in page.find("ignoredErrors/ignoredError") if one.get("numberStoredAsText") == "1"
                       for span in str(one.get("sqref", "A1")).split()]  # fmt: skip
            for cell in page.cells:
                digits = cell.kind == "text" and cell.value.strip().replace(".", "", 1).isdigit()
                if digits and not any(a <= cell.row <= c and b <= cell.column <= d for a, b, c, d in ignored):
                    yield page.title, cell.name, "green triangle"
                    break


@rule
def codes_are_in_a_fixed_width_face(package: Package) -> Iterator[Found]:
    """Their digits stand below each other."""
    for page, cell in _ours(package):
        is_code = cell.kind == "text" and re.fullmatch(r"\d{14}", cell.value)
        if is_code and _CODES.search(_header(page, cell)) and cell.look.face != look.FIXED_FONT:
            yield page.title, cell.name, cell.look.face


@rule
def figures_are_right_aligned_with_separators(package: Package) -> Iterator[Found]:
    """And read like figures."""
    for page, cell in _ours(package):
        if cell.kind == "number" and not _DATED.search(cell.look.number):
            if cell.look.horizontal != "right":
                yield page.title, cell.name, f"{cell.look.horizontal or 'general'} alignment"
            if cell.look.number not in _PLAIN_FIGURES:
                yield page.title, cell.name, f"number format {cell.look.number}"


@rule
def times_are_times_and_name_their_zone(package: Package) -> Iterator[Found]:
    """They can be sorted and reckoned with, and nobody has to ask whose clock it was."""
    for page, cell in _ours(package):
        if cell.kind == "text" and _TIMES.fullmatch(cell.value):
            yield page.title, cell.name, f"{cell.value} is text"
        if cell.kind == "number" and "hh:mm" in cell.look.number and "UTC" not in cell.look.number:
            yield page.title, cell.name, "no zone"


@rule
def telephone_numbers_read_like_telephone_numbers(package: Package) -> Iterator[Found]:
    """800-860-4444: BTNs and access numbers."""
    for page, cell in _ours(package):
        if _header(page, cell) in ("BTN", "Access Number") and re.fullmatch(r"\d{10}", cell.value):
            yield page.title, cell.name, cell.value


@rule
def text_is_aligned_at_the_top(package: Package) -> Iterator[Found]:
    """So that a row reads in one line. Headers stand in the middle."""
    for page in _visible(package):
        theirs = _resellers_columns(package, page)
        for cell in page.cells:
            is_header = cell.look.fill == look.BLUE or (cell.row == 1 and cell.column in theirs)
            if cell.look.vertical != "top" and not is_header and cell.column not in theirs:
                yield page.title, cell.name, cell.look.vertical


@rule
def text_has_room(package: Package) -> Iterator[Found]:
    """Neither its column nor its row cuts it, and no figure becomes ####."""
    for page, cell in _ours(package):
        width = page.widths.get(cell.column, 9.0)
        if cell.kind == "number":
            if _figure_length(cell) > width:
                yield page.title, cell.name, "####"
        elif cell.look.wrap:
            lines = sum(-(-_length(line, cell) // max(1, width - 1)) or 1 for line in cell.value.split("\n"))
            if lines > 1 and min(409.0, lines * cell.look.size * 1.25) > page.heights.get(cell.row, 15.0) + 3:
                yield page.title, cell.name, f"{lines:.0f} lines in {page.heights.get(cell.row, 15.0)} points"
        elif _length(cell.value, cell) > width + sum(_free(page, cell)):
            yield page.title, cell.name, f"{cell.value!r} in {width}"


def _length(text: str, cell: Cell) -> float:
    """The width of text, about: small letters are narrower than digits, capitals are wider."""
    if cell.look.face == look.FIXED_FONT:
        return len(text) * 1.05 * cell.look.size / 10 + cell.look.indent
    wide = sum(letter.isupper() for letter in text)
    narrow = sum(letter.islower() or letter in " .,:;'!/|()-" for letter in text)
    return (len(text) + wide * 0.15 - narrow * 0.2) * cell.look.size / 11 + cell.look.indent


def _figure_length(cell: Cell) -> int:
    if _DATED.search(cell.look.number):
        return len(cell.look.number.replace('"', ""))
    return len(f"{float(cell.value):,.0f}") + cell.look.number.count("0") - 1 - cell.look.number.count("##0") + 1


def _free(page: Page, cell: Cell) -> Iterator[float]:
    """The widths of the empty cells to the right, into which text flows."""
    for column in range(cell.column + 1, cell.column + 12):
        if (cell.row, column) in page.by_place or column not in page.widths:
            return
        yield page.widths[column]


@rule
def nothing_is_said_by_colour_alone(package: Package) -> Iterator[Found]:
    """A marked cell has a note, or the row has words for it."""
    for page in _visible(package):
        reasons = {cell.row for cell in page.cells if _header(page, cell) in _OURS or not page.tables}
        for cell in page.cells:
            if cell.look.fill == look.RED and cell.name not in page.noted and cell.row not in reasons:
                yield page.title, cell.name, "marked without a note"
