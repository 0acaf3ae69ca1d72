"""The child process that reduces a reseller's workbook to its rejected rows.

Started as `python -m pipelines.excel.annotator_worker FD LIMITS`.

Of the sender's workbook only the cells' values and looks are kept: no formula, link, name, validation, macro or picture
of it gets into ours. It runs apart, with a ceiling on memory, because openpyxl meets a stranger's bytes here.
"""

import io
import json
import resource
import sys
from copy import copy
from multiprocessing.connection import Connection
from typing import Any

from openpyxl import load_workbook
from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter

from pipelines.excel import openpyxl_style
from schemas.headers import header_key


def annotate(job: dict[str, Any], content: bytes) -> bytes:
    """The rejection workbook; empty where the file is not laid out as the job expects it."""
    book = load_workbook(io.BytesIO(content), data_only=True, keep_links=False)
    theirs = _chosen(book)
    lines = theirs.iter_rows()
    header: tuple[Any, ...] = next((line for line in lines if any(str(cell.value or "").strip() for cell in line)), ())
    kept = [cell.column for cell in header if cell.value is not None and str(cell.value).strip() not in job["last"]]
    names = {column: job["by_header"].get(header_key(str(theirs.cell(header[0].row, column).value))) for column in kept}
    if not kept or not any(names.values()):
        return b""
    ours = book.create_sheet("Orders ")
    _copy(theirs, ours, kept, header[0].row, [row for row, _, _ in job["rows"]])
    _last(ours, job, len(kept) + 1)
    places = {name: place for place, name in enumerate(names.values(), 1) if name}
    _notes(ours, job, places)
    _strip(book, ours)
    ours.title = "Orders"
    first = book.create_sheet("Summary", 0)
    openpyxl_style.summary(first, job["title"], job["advice"], job["facts"], job["table"], "")
    book.active = 0
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _chosen(book: Any) -> Any:
    """The sheet that was read: the one named Orders, else the first visible one."""
    named = [page for page in book.worksheets if page.title.strip().lower() == "orders"]
    return (named or [page for page in book.worksheets if page.sheet_state == "visible"])[0]


def _copy(theirs: Any, ours: Any, kept: list[int], header: int, rows: list[int]) -> None:
    """Header and rejected rows, each cell with its value and its look."""
    for line, row in enumerate([header, *rows], 1):
        for place, column in enumerate(kept, 1):
            old, new = theirs.cell(row, column), ours.cell(line, place)
            value = old.value
            new.value = value
            if isinstance(value, str):
                new.data_type = "s"
            new._style = copy(old._style)  # noqa: SLF001 - the only way that does not look every style up again
        if row in theirs.row_dimensions:
            ours.row_dimensions[line].height = theirs.row_dimensions[row].height
    for place, column in enumerate(kept, 1):
        letter = get_column_letter(place)
        width = theirs.column_dimensions[get_column_letter(column)].width
        ours.column_dimensions[letter].width = max(width, 12)


def _last(ours: Any, job: dict[str, Any], first: int) -> None:
    """Row, reason and what to fix, at the end."""
    openpyxl_style.headers(ours, job["last"], first)
    for line, values in enumerate(job["rows"], 2):
        for place, value in enumerate(values, first):
            cell = openpyxl_style.put(ours.cell(line, place), value)
            cell.alignment = Alignment(vertical="top", wrap_text=True)
        ours.row_dimensions[line].height = max(ours.row_dimensions[line].height or 0, openpyxl_style.height(values[2], 70))
    for place, width in zip(range(first, first + 3), (8, 26, 70), strict=True):
        ours.column_dimensions[get_column_letter(place)].width = width
    ours.freeze_panes = "A2"
    ours.auto_filter.ref = ours.dimensions
    openpyxl_style.printable(ours)


def _notes(ours: Any, job: dict[str, Any], places: dict[str, int]) -> None:
    """Marks on the cells at fault, and on the reason where the file has no such column."""
    lines = {row: line for line, (row, _, _) in enumerate(job["rows"], 2)}
    for count, (row, header, text) in enumerate(job["notes"]):
        place = places.get(job["by_header"].get(header_key(header), ""), ours.max_column - 1)
        cell = ours.cell(lines[row], place)
        cell.fill = openpyxl_style.fill(openpyxl_style.RED)
        if count < job["noted"] and cell.comment is None:
            openpyxl_style.note(cell, text)


def _strip(book: Any, ours: Any) -> None:
    """Remove all of the sender's workbook but the look of cells."""
    for page in [*book.worksheets, *book.chartsheets]:
        if page is not ours:
            book.remove(page)
    book.defined_names.clear()
    book._external_links = []  # noqa: SLF001 - openpyxl has no other way to forget them
    book.vba_archive = None
    book.custom_doc_props.props = []
    book.properties = type(book.properties)(creator="calling-card-orders")


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
            made = annotate(job, content)
        except Exception:  # whatever the stranger's workbook does: our own layout takes its place
            made = b""
        connection.send_bytes(json.dumps(bool(made)).encode())
        connection.send_bytes(made)


if __name__ == "__main__":
    main()
