"""The child process that reduces a reseller's workbook to its rejected rows.

Started as `python -m pipelines.excel.annotator_worker FD LIMITS`.

Of the reseller's workbook only the values and the look of cells get into ours, and the look is rebuilt (`original_look`):
ours is a new workbook. It runs apart, with a ceiling on memory, because openpyxl meets a stranger's bytes here.
"""

import io
import json
import re
import resource
import sys
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final
from zipfile import ZipFile

from openpyxl import Workbook
from openpyxl.utils import get_column_letter

from pipelines.excel import look, openpyxl_style
from pipelines.excel.checks import Check
from pipelines.excel.openpyxl_package import save
from pipelines.excel.openpyxl_style import Painter
from pipelines.excel.original_look import keep_readable, look_key, rebuild_look
from pipelines.excel.original_sheet import OriginalSheet, read_rows
from pipelines.excel.summary import lay_out
from schemas.headers import header_key

_WIDTH, _DATE_WIDTH, _MAX_WIDTH = 12, 19, 100
_FILTER: Final = 4
"""The width of the button of a filter."""
_LIST_NAMES: Final = ("CodeTypes", "EveryonesNumbers", "ProductsOf")
"""Some names that only our template has."""
_NAMES_WITHIN: Final = 1 << 20
_CELL: Final = re.compile(r"\$([A-Z]{1,2})2\b")
"""A cell of the first row that is filled in, as the formulas of our checks name it."""
_MOST_CELLS: Final = 200_000
_LONGEST: Final = 255
"""The longest name of a column of a table."""


def annotate(job: dict[str, Any], content: bytes) -> tuple[str, bytes]:
    """What came of it, and the rejection workbook: `annotated`; `not laid out`, where the file has no sheet of orders;
    or `rules wanted`, where the file may be made from our template and the job has no rules for it.
    """
    if job["rules"] is None and _names_our_lists(content):
        return "rules wanted", b""
    theirs = read_rows(content, (row for row, _, _ in job["rows"]))
    kept = [cell for cell in theirs.header if str(cell.value).strip() not in job["last"]] if theirs else []
    names = [job["by_header"].get(header_key(str(cell.value))) for cell in kept]
    if theirs is None or not any(names) or len(kept) * len(job["rows"]) > _MOST_CELLS:
        return "not laid out", b""
    return "annotated", _annotated(job, theirs, kept, {name: place for place, name in enumerate(names, 1) if name})


def _names_our_lists(content: bytes) -> bool:
    """Whether the workbook has the names of our template's lists; looked up without parsing the workbook twice."""
    with ZipFile(io.BytesIO(content)) as archive:
        if "xl/workbook.xml" not in archive.namelist():  # which is where Excel and our template have it
            return False
        with archive.open("xl/workbook.xml") as part:
            start = part.read(_NAMES_WITHIN)
    return all(f'name="{name}"'.encode() in start for name in _LIST_NAMES)


def _annotated(job: dict[str, Any], theirs: OriginalSheet, kept: list[Any], places: dict[str, int]) -> bytes:
    """A workbook of ours: a summary, and the rejected rows with the columns of theirs."""
    book, painter = Workbook(), Painter()
    book.security = None  # else an empty protection of the workbook is written
    summary: Any = book.active
    summary.title = "Summary"
    painter.summary(summary, lay_out(job["title"], job["advice"], job["key_values"], job["table"], {}))
    ours = book.create_sheet("Orders")
    _copy(theirs, ours, painter, kept, [row for row, _, _ in job["rows"]])
    _add_last(ours, painter, job, len(kept) + 1)
    if job["rules"]:
        checks, lists = job["rules"]
        letters = {title: get_column_letter(place) for place, title in enumerate((cell.value for cell in kept), 1)}
        openpyxl_style.apply_checks(ours, _checks_by_letter(job["headers"], [Check(*check) for check in checks], letters))
        openpyxl_style.add_lists(book, painter, lists)
    _add_notes(ours, job, places)
    book.active = ours
    made = io.BytesIO()
    save(book, made, job["title"])
    return made.getvalue()


def _checks_by_letter(headers: list[str], checks: list[Check], letters: dict[Any, str]) -> dict[str, Check]:
    """The checks of our template's columns by their letters in a workbook in which the reseller may have moved, added and
    deleted columns (`letters`: header to letter). A formula that names a deleted column is left out.
    """
    moved = {get_column_letter(place): letters.get(header, "") for place, header in enumerate(headers, 1)}

    def formula(text: str) -> str:
        named = _CELL.findall(text)
        return _CELL.sub(lambda found: f"${moved[found[1]]}2", text) if all(moved.get(one) for one in named) else ""

    placed = ((letters[header], check) for header, check in zip(headers, checks, strict=True) if header in letters)
    return {
        letter: check._replace(
            kind=check.kind if formula(check.formula) else "", formula=formula(check.formula), unused=formula(check.unused)
        )
        for letter, check in placed
    }


def _copy(theirs: OriginalSheet, ours: Any, painter: Painter, kept: list[Any], rows: list[int]) -> None:
    """Header and rejected rows, each cell with its value and its look."""
    for line, row in enumerate([kept[0].row, *rows], 1):
        for place, title in enumerate(kept, 1):
            if (old := theirs.cell(row, title.column)) is None:
                continue
            new = ours.cell(line, place)
            new.value = old.value
            if isinstance(old.value, str):
                new.data_type = "s"
            painter.dress(new, look_key(old), partial(rebuild_look, old, new))
        ours.row_dimensions[line].height = _bounded(theirs.heights.get(row), 0, look.MAX_HEIGHT)
    for place, title in enumerate(kept, 1):
        ours.column_dimensions[get_column_letter(place)].width = _width(ours, place, theirs.width(title.column), len(rows) + 1)


def _width(ours: Any, place: int, width: float, last: int) -> float | None:
    """The width of a column: the reseller's, unless that would cut its values."""
    title, *cells = (ours.cell(line, place) for line in range(1, last + 1))
    values = [cell.value for cell in cells]
    if isinstance(title.value, str):
        header = look.column_width(title.value, 0) if title.alignment.wrap_text else len(title.value) + _FILTER
        width = max(width, header)
    longest = max((len(part) for value in values for part in str(value or "").split("\n")), default=0)
    dated = any(isinstance(value, datetime) for value in values)
    return _bounded(width, _DATE_WIDTH if dated else max(_WIDTH, min(look.MAX_WIDTH, longest + 2)), _MAX_WIDTH)


def _bounded(size: Any, smallest: float, largest: float) -> float | None:
    return min(largest, max(smallest, float(size))) if size else None


def _add_last(ours: Any, painter: Painter, job: dict[str, Any], first: int) -> None:
    """Row, reason and what to fix, at the end."""
    longest = [max(len(str(values[n])) for values in job["rows"]) for n in range(len(job["last"]))]
    widths = [look.column_width(title, length) for title, length in zip(job["last"], longest, strict=True)]
    painter.headers(ours, job["last"], widths, first)
    for line, values in enumerate(job["rows"], 2):
        for place, value in enumerate(map(look.legible_text, values), first):
            painter.put(ours.cell(line, place), value, look.WRAPPED if isinstance(value, str) else look.figure(look.COUNT))
        heights = [look.text_height(str(value), width) for value, width in zip(values, widths, strict=True)]
        ours.row_dimensions[line].height = max(ours.row_dimensions[line].height or 0, *heights)
    _finish(ours)


def _finish(ours: Any) -> None:
    """A frozen header, a filter, and the page. Where Excel would take the header for one of a table, it is one."""
    widths = [one.width for one in ours.column_dimensions.values()]
    height = look.header_height([(str(cell.value), int(width)) for cell, width in zip(ours[1], widths, strict=True)])
    ours.row_dimensions[1].height = max(ours.row_dimensions[1].height or 0, height)
    ours.freeze_panes = "A2"
    if _names_columns([cell.value for cell in ours[1]]):
        openpyxl_style.add_table(ours, "Orders", 1, ours.max_column, ours.max_row)
    else:
        ours.auto_filter.ref = ours.dimensions
    openpyxl_style.open_at(ours, ours["A2"])
    openpyxl_style.set_up_page(ours, look.page_of(sum(widths)))


def _names_columns(headers: list[Any]) -> bool:
    """Whether headers can be those of a table: short texts of one line, each another."""
    texts = [
        header.lower() for header in headers if isinstance(header, str) and header.isprintable() and len(header) < _LONGEST
    ]
    return len(set(texts)) == len(headers)


def _add_notes(ours: Any, job: dict[str, Any], places: dict[str, int]) -> None:
    """Marks on the cells at fault, and on the reason where the file has no such column."""
    lines = {row: line for line, (row, _, _) in enumerate(job["rows"], 2)}
    red = openpyxl_style.fill(look.RED)
    reason = ours.max_column - 1  # which openpyxl finds by looking at every cell
    for count, (row, header, text) in enumerate(job["notes"]):
        place = places.get(job["by_header"].get(header_key(header), ""), reason)
        cell = ours.cell(lines[row], place)
        cell.fill = red
        keep_readable(cell)
        if count < job["noted"] and cell.comment is None:
            openpyxl_style.note(cell, look.legible_text(text))
        if count == 0:
            openpyxl_style.open_at(ours, cell)


def main() -> None:
    """Answer requests until the parent hangs up."""
    connection = Connection(int(sys.argv[1]))
    (memory,) = json.loads(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            job, content = json.loads(connection.recv_bytes()), connection.recv_bytes()
        except EOFError:
            return
        try:
            outcome, made = annotate(job, content)
        except Exception:  # whatever the stranger's workbook does: our own layout takes its place
            outcome, made = "failed", b""
        connection.send_bytes(json.dumps(outcome).encode())
        connection.send_bytes(made)


if __name__ == "__main__":
    main()
