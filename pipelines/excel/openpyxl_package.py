"""Save a workbook of openpyxl's with what openpyxl has no option for: no green triangles where numbers are text."""

from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.writer.excel import ExcelWriter
from openpyxl.xml.functions import Element, SubElement

from pipelines.excel import look

_LAST_CELL: Final = "XFD1048576"


class _SheetWriter(WorksheetWriter):
    _rels: Any

    def write_breaks(self) -> None:
        """Write what stands behind the page set-up: the schema has the errors to ignore follow here."""
        super().write_breaks()
        ignored = Element("ignoredErrors")
        SubElement(ignored, "ignoredError", sqref=f"A1:{_LAST_CELL}", numberStoredAsText="1")
        self.xf.send(ignored)


class _Writer(ExcelWriter):
    _archive: ZipFile

    def write_worksheet(self, ws: Any) -> None:
        """As openpyxl does it, with the writer above."""
        ws._drawing = None  # noqa: SLF001 - none of these sheets has charts or images
        writer = _SheetWriter(ws)
        writer.write()
        ws._rels = writer._rels  # noqa: SLF001
        self._archive.write(str(writer.out), ws.path[1:])
        self.manifest.append(ws)
        writer.cleanup()


def save(book: Workbook, target: Any, title: str) -> None:
    """Save a workbook under a title, as ours, into a path or a file."""
    book.properties.creator, book.properties.title, book.properties.language = look.AUTHOR, title, look.LANGUAGE
    for page in book.worksheets:
        page.sheet_view.tabSelected = page is book.active
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        _Writer(book, archive).save()
