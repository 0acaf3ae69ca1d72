"""The worst files found: small for their reseller, dear for everybody else. Each is made by a function, and kept."""

import functools
import io
from collections.abc import Callable
from typing import Final

from tests import corpus
from tests.conftest import csv_of, row, some_codes

HEADER: Final = ("Action,Service Type,Customer Account Number,Product Account Number,Access Number,International Origin,"
                 "International Termination,Customer Order ID,Comments,Code Type,Code,Quantity,BTN\n")  # fmt: skip


_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _relations(**targets: str) -> str:
    body = "".join(f'<Relationship Id="rId{n}" Type="{_DOCUMENT}/{kind}" Target="{target}"/>'
                   for n, (kind, target) in enumerate(targets.items(), 1))  # fmt: skip
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{body}</Relationships>'


def _with_sheet(rows: str, strings: str = "") -> bytes:
    """A workbook whose only sheet has these rows of XML, and these shared strings."""
    parts = {
        "/xl/workbook.xml": "sheet.main",
        "/xl/worksheets/sheet1.xml": "worksheet",
        "/xl/sharedStrings.xml": "sharedStrings",
    }
    types = "".join(f'<Override PartName="{part}" ContentType="{_TYPE}.{kind}+xml"/>' for part, kind in parts.items())
    xml = '<Default Extension="xml" ContentType="application/xml"/><Default Extension="rels" '
    xml += f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{types}'
    sheets = '<sheets><sheet name="Orders" sheetId="1" r:id="rId1"/></sheets>'
    members = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">{xml}</Types>',
        "_rels/.rels": _relations(officeDocument="xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": _relations(worksheet="worksheets/sheet1.xml", sharedStrings="sharedStrings.xml"),
        corpus.SHEET: f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}" count="1" uniqueCount="1">{strings}</sst>',
    }
    return corpus.zipped({name: text.encode() for name, text in members.items()})


def _header_row() -> str:
    cells = "".join(f'<c r="{chr(65 + n)}1" t="inlineStr"><is><t>{title}</t></is></c>'
                    for n, title in enumerate(HEADER.strip().split(",")))  # fmt: skip
    return f'<row r="1">{cells}</row>'


@functools.cache
def zero_width(rows: int = 600_000) -> bytes:
    """Every cell holds a zero-width character: a finding each, 13 a row of 52 bytes."""
    return (HEADER + (",".join(["\u200b"] * 13) + "\n") * rows).encode()


@functools.cache
def shared_strings(rows: int = 4_000, length: int = 10_000) -> bytes:
    """One long text that thousands of cells refer to."""
    return _with_sheet(_header_row() + _rows(rows, ' t="s"><v>0</v>'), f"<si><t>{'x' * length}</t></si>")


def _rows(rows: int, cell: str) -> str:
    """Rows of twelve cells that are all the same."""
    return "".join(
        f'<row r="{n}">' + "".join(f'<c r="{letter}{n}"{cell}</c>' for letter in "ABCDEFGHIJKL") + "</row>"
        for n in range(2, rows + 2)
    )


@functools.cache
def comment(size: int = 700_000, order: str = "SLOW") -> bytes:
    """A good workbook with a comment in which a search for hidden rows begins again at every `<row `."""
    made = corpus.book(corpus.line(order))
    return corpus.patched(made, corpus.SHEET, b"</sheetData>", b"</sheetData><!-- hidden= " + b"<row " * (size // 5) + b" -->")


@functools.cache
def formulas(rows: int = 80_000) -> bytes:
    """Formulas without a stored value: a fault each."""
    return _with_sheet(_header_row() + _rows(rows, "><f>SUM(A1:A9)</f>"))


@functools.cache
def far_cell(row: int = 200_000) -> bytes:
    """One cell far below in the last column that is taken: a table of 51 million empty cells."""
    cell = f'<row r="{row}"><c r="IV{row}"><v>1</v></c></row></sheetData>'.encode()
    return corpus.patched(corpus.book(corpus.line("FAR")), corpus.SHEET, b"</sheetData>", cell)


@functools.cache
def commas(rows: int = 390_000) -> bytes:
    """A hundred million empty cells."""
    return (HEADER.strip() + "," * 243 + "\n").encode() + (b"," * 255 + b"\n") * rows


@functools.cache
def merged() -> bytes:
    """A merged range over the whole sheet, and a bad row: the rejection in the reseller's layout has to read it."""
    ranges = b'</sheetData><mergeCells count="1"><mergeCell ref="H1:XFD1000000"/></mergeCells>'
    return corpus.patched(corpus.book(corpus.line("MG", code="12")), corpus.SHEET, b"</sheetData>", ranges)


@functools.cache
def tokens(rows: int = 3_000) -> bytes:
    """Cells with thousands of codes of one digit: a finding each."""
    line = f"Add,Card,10023456,7001,8008604444,No,No,T,,Specified,{'1 ' * 4_900},,\n"
    return (HEADER + line * rows).encode()


@functools.cache
def order_ids(rows: int = 4_000, order_id: str = "10023456-1") -> bytes:
    """One Order ID of many cards, named by every row."""
    lines = "".join(f"Block,,10023456,,,,,B{n},,,,,,{order_id}\n" for n in range(rows))
    return (HEADER.strip() + ",Order ID\n" + lines).encode()


@functools.cache
def billing_numbers(rows: int = 300_000) -> bytes:
    """A PIN of a BTN of its own in every row, of an account that is not the reseller's: it is refused in any case."""
    exchanges = (f"{area}{exchange}{line:04}" for area in range(202, 990, 7) for exchange in (305, 409, 602, 705)
                 for line in range(1357, 9990, 3))  # fmt: skip
    lines = "".join(
        f"Add,Card,20098765,8001,8008604444,No,No,P{n},,BTN+4,,1,{btn}\n"
        for n, btn in zip(range(rows), exchanges, strict=False)
    )
    return (HEADER + lines).encode()


def one_order(number: int) -> bytes:
    """One of many files with the same Customer Order ID and other content."""
    return csv_of(row("SAME", quantity="1", comments=f"number {number}"))


@functools.cache
def large(number: int, rows: int = 400_000) -> bytes:
    """Rows that are all wrong in one cell, as an honest mistake has it."""
    text = io.StringIO()
    text.write(HEADER)
    text.writelines(f"Add,Card,10023456,7001,8008604444,No,No,L{number}-{n},,Random,,0,\n" for n in range(rows))
    return text.getvalue().encode()


@functools.cache
def many_orders(rows: int = 1_000_000) -> bytes:
    """As many orders as a file can hold, all good."""
    lines = "".join(f"Add,Card,10023456,7001,8008604444,No,No,M{n},,Random,,1,\n" for n in range(rows))
    return (HEADER + lines).encode()


@functools.cache
def one_wrong(rows: int = 1_000_000) -> bytes:
    """One order of a million rows, of which the last one has no code: every row of it comes back."""
    lines = "".join(f"Add,Card,10023456,7001,8008604444,No,No,ONE,,Specified,{code},,\n" for code in some_codes(rows))
    return (HEADER + lines + "Add,Card,10023456,7001,8008604444,No,No,ONE,,Specified,,,\n").encode()


WORST: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "600,000 rows of zero-width cells": ("zero-width.csv", zero_width),
    "one shared string, 48,000 cells": ("shared.xlsx", shared_strings),
    "a comment full of `<row `": ("comment.xlsx", comment),
    "960,000 formulas without a value": ("formulas.xlsx", formulas),
    "a merged range of 16 billion cells": ("merged.xlsx", merged),
    "a cell at IV200000": ("far.xlsx", far_cell),
    "100 million empty cells of text": ("commas.csv", commas),
    "15 million codes of one digit": ("tokens.csv", tokens),
    "300,000 BTNs of another's account": ("btns.csv", billing_numbers),
    "400,000 rows with a wrong quantity": ("large.csv", lambda: large(0)),
    "a million orders of one code": ("orders.csv", many_orders),
    "a million rows, the last one wrong": ("one-wrong.csv", one_wrong),
}
"""Each by what it is: its name in the inbox, and its content."""
