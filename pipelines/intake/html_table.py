"""Tables of web pages, as portals export them under the name of `.xls`."""

import re
from typing import Final

from pipelines.intake.cells import BLANK, number_text, truth_text
from pipelines.intake.grid import Grid
from pipelines.intake.parsed import Limits, Parsed, UnreadableError
from pipelines.intake.sheets import Sheet, check_count, read_best
from pipelines.intake.text_format import UTF16, decoded

_SPAN: Final = 16_384
_CHARSET: Final = re.compile(rb"charset\s{0,9}=\s{0,9}[\"']?([\w-]{1,40})", re.IGNORECASE)
_CHUNK: Final = 1 << 16
_ASIDE: Final = frozenset(["script", "style", "head", "title"])


class _Table:
    """A table that is open: its grid, and where in it the next cell goes."""

    def __init__(self, grid: Grid | None) -> None:
        self.grid = grid
        self.row, self.column = 0, 0
        self.cells: dict[int, str] = {}
        self.below: dict[int, int] = {}  # columns that cells of earlier rows reach down into, and how far
        self.text: list[str] | None = None
        self.attributes: dict[str, str] = {}


class _Reader:
    """What lxml's parser calls: each table of the page becomes a grid."""

    def __init__(self, known: frozenset[str], limits: Limits) -> None:
        self._known, self._limits = known, limits
        self.grids: list[Grid] = []
        self._open: list[_Table] = []
        self._aside = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        if tag in _ASIDE:
            self._aside += 1
        if tag == "table":
            self.grids.append(Grid(self._known, self._limits))
            check_count(len(self.grids))
            self._open.append(_Table(self.grids[-1]))
        elif self._open:
            self._within(self._open[-1], tag, attributes)

    def _within(self, table: _Table, tag: str, attributes: dict[str, str]) -> None:
        if tag == "tr":
            self._close_row(table)
            table.row += 1
            table.column, table.cells = 0, {}
            if table.grid and "display:none" in attributes.get("style", "").replace(" ", "").lower():
                table.grid.hidden += 1
        elif tag in ("td", "th"):
            self._close_cell(table)
            table.row = table.row or 1
            table.text, table.attributes = [], dict(attributes)
        elif tag in ("br", "p", "div", "li") and table.text:
            table.text.append("\n")

    def data(self, text: str) -> None:
        """Characters."""
        if self._open and not self._aside and self._open[-1].text is not None:
            self._open[-1].text.append(" ".join(f"|{text}|".split())[1:-1])

    def end(self, tag: str) -> None:
        """An element closes."""
        if tag in _ASIDE:
            self._aside -= 1
        if not self._open:
            return
        table = self._open[-1]
        if tag in ("td", "th"):
            self._close_cell(table)
        elif tag in ("tr", "table"):
            self._close_row(table)
        if tag == "table":
            self._open.pop()

    def close(self) -> list[Grid]:
        """The page ends; its tables may never have."""
        while self._open:
            self._close_row(self._open.pop())
        return self.grids

    def _close_cell(self, table: _Table) -> None:
        if table.text is None:
            return
        text, table.text = _tidy("".join(table.text)), None
        while table.below.get(table.column):
            table.below[table.column] -= 1
            table.column += 1
        shown = _shown(text, table.attributes)
        if shown is None and table.grid:
            table.grid.fault(table.row, table.column, "CELL_FORMULA", text or "an error")
        elif shown:
            table.cells[table.column] = shown
        wide, high = _span(table.attributes.get("colspan")), _span(table.attributes.get("rowspan"))
        if high > 1:
            reached = range(table.column, min(table.column + wide, self._limits.columns))
            table.below.update(dict.fromkeys(reached, high - 1))
        table.column += wide

    def _close_row(self, table: _Table) -> None:
        self._close_cell(table)
        for column, rows in list(table.below.items()):
            if column >= table.column and rows:
                table.below[column] -= 1
        if table.cells and table.grid:
            table.grid.add(table.row, table.cells)
        table.cells = {}


def _tidy(text: str) -> str:
    lines = (line.strip(BLANK + "\u00a0") for line in text.split("\n"))
    return "\n".join(lines).strip(BLANK)


def _shown(text: str, attributes: dict[str, str]) -> str | None:
    """What Excel's own attributes say that the cell holds, else its words; None for an error."""
    if "x:err" in attributes:
        return None
    if attributes.get("x:num"):
        try:
            return number_text(float(attributes["x:num"]))
        except ValueError:
            return text
    if "x:bool" in attributes:
        return truth_text(attributes["x:bool"].upper() != "FALSE")
    return text


def _span(value: str | None) -> int:
    return min(max(int(value), 1), _SPAN) if value and value.isdecimal() and len(value) < 6 else 1


def read_html(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read the first table of a page that has a header that we know."""
    from lxml import etree

    reader = _Reader(known, limits)
    parser = etree.HTMLParser(target=reader, huge_tree=True, no_network=True)
    text = _page(content)
    for start in range(0, len(text), _CHUNK):
        parser.feed(text[start : start + _CHUNK])
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        raise UnreadableError("FILE_TYPE", "a web page without a table") from error
    sheets = [Sheet(f"table {number}", visible=True, place=str(number - 1)) for number in range(1, len(reader.grids) + 1)]
    if not any(grid.filled for grid in reader.grids):
        raise UnreadableError("FILE_TYPE", "a web page without a table")
    return read_best(sheets, lambda sheet: reader.grids[int(sheet.place)])


def _page(content: bytes) -> str:
    named = None if content.startswith(UTF16) else _CHARSET.search(content, 0, 4096)
    if named:
        try:
            return content.decode(named[1].decode())
        except (LookupError, ValueError):
            pass
    return decoded(content)
