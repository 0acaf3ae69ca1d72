"""Files as bad as those in the wild, each with the reasons it gets (none: it is placed). `python -m tests.corpus DIR` lays
them into a folder.

Every file is made here, from text or from a small workbook, so that one can read what is wrong with it.
"""

import io
import random
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import xlsxturbo
import xlwt
from openpyxl import Workbook
from xlwt.CompoundDoc import XlsDoc

HEADER = ["Customer Account Number", "Product Account Number", "Access Number", "Customer Order ID", "Code", "Quantity"]
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def line(order: str, code: str = "", quantity: Any = "1", account: Any = "10023456") -> list[Any]:
    return [account, "7001", "8008604444", order, code, "" if code else quantity]


def text(*lines: list[Any], separator: str = ",", end: str = "\n", header: list[str] | None = None) -> str:
    return "".join(separator.join(map(str, row)) + end for row in (header or HEADER, *lines))


def good(order: str) -> str:
    return text(line(order))


def book(*lines: list[Any], change: Callable[[Any], None] = lambda _: None, title: str = "Orders") -> bytes:
    made = Workbook()
    page: Any = made.active
    page.title = title
    for row in (HEADER, *lines):
        page.append(row)
    change(made)
    return saved(made)


def saved(made: Any) -> bytes:
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return content.getvalue()


def patched(content: bytes, name: str, old: bytes, new: bytes) -> bytes:
    members = parts(content)
    assert old in members[name], (name, members[name][:400])
    return zipped({**members, name: members[name].replace(old, new)})


SHEET = "xl/worksheets/sheet1.xml"

_ODF = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0" office:version="1.3"'
)


def ods_cell(value: Any, repeated: int = 1) -> str:
    wide = f' table:number-columns-repeated="{repeated}"' if repeated > 1 else ""
    if value is None:
        return f"<table:table-cell{wide}/>"
    if isinstance(value, (int, float)):
        return f'<table:table-cell{wide} office:value-type="float" office:value="{value}"><text:p>{value}</text:p></table:table-cell>'
    return f'<table:table-cell{wide} office:value-type="string"><text:p>{value}</text:p></table:table-cell>'


def ods_row(*cells: Any, attributes: str = "") -> str:
    made = (cell if isinstance(cell, str) and cell.startswith("<table:") else ods_cell(cell) for cell in cells)
    return f"<table:table-row{attributes}>{''.join(made)}</table:table-row>"


def ods_table(*rows: str, title: str = "Orders", attributes: str = "") -> str:
    return f'<table:table table:name="{title}"{attributes}>{"".join(rows)}</table:table>'


def ods_content(*tables: str, styles: str = "", root: str = "document-content") -> str:
    body = f"<office:body><office:spreadsheet>{''.join(tables)}</office:spreadsheet></office:body>"
    styles = f"<office:automatic-styles>{styles}</office:automatic-styles>" if styles else ""
    return f'<?xml version="1.0" encoding="UTF-8"?><office:{root} {_ODF}>{styles}{body}</office:{root}>'


def ods(*tables: str, styles: str = "") -> bytes:
    return zipped(
        {
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": ods_content(*tables, styles=styles).encode(),
            "META-INF/manifest.xml": b'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        }
    )


_ERRORS = {"#NULL!": 0, "#DIV/0!": 7, "#VALUE!": 15, "#REF!": 23, "#NAME?": 29, "#NUM!": 36, "#N/A": 42}


def xls(*sheets: tuple[str, list[list[Any]]], change: Callable[[Any], None] = lambda _: None, chart: bool = False) -> bytes:
    """A workbook of BIFF 8. A text that begins with # is an error; with `chart`, one with numbers lies in the last sheet."""
    made = xlwt.Workbook()
    dated = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for title, rows in sheets:
        page = made.add_sheet(title)
        for row, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                if isinstance(cell, str) and cell.startswith("#"):
                    page.row(row).set_cell_error(column, _ERRORS[cell])
                elif cell is not None:
                    page.write(row, column, cell, *([dated] if isinstance(cell, date) else []))
    change(made)
    stream = made.get_biff_data()
    if chart:
        assert stream.endswith(b"\x0a\0\0\0")
        begin = struct.pack("<HHHHHHII", 0x0809, 16, 0x0600, 0x0020, 0, 0, 0, 0)
        cached = b"".join(struct.pack("<HHHHHd", 0x0203, 14, row, column, 0, 0.0) for row in range(9) for column in range(9))
        stream = stream[:-4] + begin + cached + b"\x0a\0\0\0" + b"\x0a\0\0\0"
    content = io.BytesIO()
    XlsDoc().save(content, stream)
    return content.getvalue()


def _record(kind: int, body: bytes = b"") -> bytes:
    """A record of BIFF 12: number and length, seven bits a byte."""
    number = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size = b""
    length = len(body)
    while length > 127:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return number + size + bytes([length]) + body


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text.encode("utf-16-le")) // 2) + text.encode("utf-16-le")


def _xlsb_cell(column: int, cell: Any, strings: list[str]) -> bytes:
    head = struct.pack("<II", column, 1 if isinstance(cell, date) else 0)
    if isinstance(cell, str) and cell.startswith("="):  # a formula whose result is text
        return _record(8, head + _wide(cell[1:]) + bytes(10))
    if isinstance(cell, str) and cell.startswith("#"):
        return _record(3, head + bytes([_ERRORS[cell]]))
    if isinstance(cell, bool):
        return _record(4, head + bytes([cell]))
    if isinstance(cell, date):
        return _record(5, head + struct.pack("<d", (cell - date(1899, 12, 30)).days))
    if isinstance(cell, int) and abs(cell) < 1 << 29:
        return _record(2, head + struct.pack("<I", (cell << 2 | 2) & 0xFFFFFFFF))
    if isinstance(cell, (int, float)):
        return _record(5, head + struct.pack("<d", cell))
    strings.append(cell)
    return _record(7, head + struct.pack("<I", len(strings) - 1))


def xlsb(*sheets: tuple[str, list[list[Any]]], hidden: int = 0, chart_first: bool = False) -> bytes:
    """A workbook of BIFF 12, which no library writes: a text that begins with # is an error, with = a formula's result."""
    strings: list[str] = []
    members, listed, relations = {}, b"", ""
    if chart_first:
        listed += _record(156, struct.pack("<II", 0, 99) + _wide("rId99") + _wide("Chart"))
        relations += f'<Relationship Id="rId99" Type="{_REL}/chartsheet" Target="chartsheets/sheet1.bin"/>'
        members["xl/chartsheets/sheet1.bin"] = _record(129) + _record(130)
    for number, (title, rows) in enumerate(sheets, 1):
        body = b"".join(
            _record(0, struct.pack("<IIHBB", row, 0, 300, 0, 0x10 if row + 1 == hidden else 0) + bytes(5))
            + b"".join(_xlsb_cell(column, cell, strings) for column, cell in enumerate(cells) if cell is not None)
            for row, cells in enumerate(rows)
        )
        extent = _record(148, struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows)) - 1))
        members[f"xl/worksheets/sheet{number}.bin"] = _record(129) + extent + _record(145) + body + _record(146) + _record(130)
        listed += _record(156, struct.pack("<II", 0, number) + _wide(f"rId{number}") + _wide(title))
        relations += f'<Relationship Id="rId{number}" Type="{_REL}/worksheet" Target="worksheets/sheet{number}.bin"/>'
    relations += f'<Relationship Id="rId50" Type="{_REL}/sharedStrings" Target="sharedStrings.bin"/>'
    relations += f'<Relationship Id="rId51" Type="{_REL}/styles" Target="styles.bin"/>'
    styles = b"".join(_record(47, struct.pack("<HH", 0xFFFF, number) + bytes(12)) for number in (0, 14))
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    root = f'<Relationship Id="rId1" Type="{_REL}/officeDocument" Target="xl/workbook.bin"/>'
    return zipped({
        "_rels/.rels": f'<Relationships xmlns="{package}">{root}</Relationships>'.encode(),
        "xl/_rels/workbook.bin.rels": f'<Relationships xmlns="{package}">{relations}</Relationships>'.encode(),
        "xl/workbook.bin": _record(131) + _record(143) + listed + _record(144) + _record(132),
        "xl/sharedStrings.bin": _record(159, struct.pack("<II", len(strings), len(strings)))
        + b"".join(_record(19, b"\0" + _wide(text)) for text in strings) + _record(160),
        "xl/styles.bin": _record(278) + _record(617, struct.pack("<I", 2)) + styles + _record(618) + _record(279),
        **members,
    })  # fmt: skip


def html(*rows: list[Any], attributes: str = "") -> str:
    cells = "".join("<tr>" + "".join(f"<td>{'' if cell is None else cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<html><head><style>td {{color: red}}</style></head><body><table{attributes}>{cells}</table></body></html>"


def sylk(*rows: list[Any]) -> str:
    cells = [
        f"C;Y{row};X{column};K{cell if isinstance(cell, int) else chr(34) + str(cell).replace(';', ';;') + chr(34)}"
        for row, line in enumerate(rows, 1)
        for column, cell in enumerate(line, 1)
        if cell is not None
    ]
    return "\r\n".join(["ID;PWXL;N;E", "P;PGeneral", "P;Pyyyy\\-mm\\-dd", *cells, "E", ""])


def spreadsheet_xml(*rows: list[Any]) -> str:
    body = "".join(
        "<Row>" + "".join(
            f'<Cell ss:Index="{column}"><Data ss:Type="{"Number" if isinstance(cell, int) else "String"}">{cell}</Data></Cell>'
            for column, cell in enumerate(row, 1) if cell is not None
        ) + "</Row>"
        for row in rows
    )  # fmt: skip
    return (
        '<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>'
        '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">'
        f'<Worksheet ss:Name="Orders"><Table>{body}</Table></Worksheet></Workbook>'
    )


def _merged() -> bytes:
    merged = b'</sheetData><mergeCells count="1"><mergeCell ref="H1:XFD1000000"/></mergeCells>'
    return patched(book(line("MG")), SHEET, b"</sheetData>", merged)


def _hidden(made: Any) -> None:
    made.active.row_dimensions[2].hidden = True
    made.create_sheet("Secret").sheet_state = "hidden"


def _first_hidden(made: Any) -> None:
    made.active.title = "Old"
    made.active.sheet_state = "hidden"
    page = made.create_sheet("New")
    for row in (HEADER, line("H2")):
        page.append(row)
    made.active = 1


def _errors(made: Any) -> None:
    made.active["E2"] = "#N/A"
    made.active["F2"] = None


def _formula(made: Any) -> None:
    made.active["F2"] = "=1+1"


def _stored() -> bytes:
    made = book(line("FS", quantity=7))
    return patched(made, SHEET, b"<v>7</v>", b"<f>3+4</f><v>7</v>")


def _external() -> bytes:
    made = book(line("FE", quantity=7))
    return patched(made, SHEET, b"<v>7</v>", b"<f>[1]Sheet1!$A$1</f><v>7</v>")


def _strict() -> bytes:
    members = parts(book(line("ST")))
    return zipped({
        name: body.replace(_MAIN.encode(), b"http://purl.oclc.org/ooxml/spreadsheetml/main").replace(
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        ) if name.endswith(".xml") and name.startswith("xl/") else body
        for name, body in members.items()
    })  # fmt: skip


def _inline() -> bytes:
    cells = "".join(f'<c r="{chr(65 + n)}{{row}}" t="inlineStr"><is><t>{{{n}}}</t></is></c>' for n in range(6))
    rows = "".join(
        f'<row r="{number}">{cells.format(*map(str, row), row=number)}</row>'
        for number, row in enumerate([HEADER, line("IN")], 1)
    )
    members = parts(book(line("IN")))
    sheet = f'<worksheet xmlns="{_MAIN}"><dimension ref="A1"/><sheetData>{rows}</sheetData></worksheet>'
    return zipped({**members, SHEET: sheet.encode()})


def _sparse() -> bytes:
    return patched(
        book(line("SP")), SHEET, b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    )


def _many_strings() -> bytes:
    """4,000,000,000 shared strings by its own count, which once made a parser reserve memory for them all."""
    content = io.BytesIO()
    xlsxturbo.df_to_xlsx(pl.DataFrame([line("MS")], HEADER, orient="row"), content, sheet_name="Orders")
    members = parts(content.getvalue())
    strings = re.sub(rb'ount="[0-9]+"', b'ount="4000000000"', members["xl/sharedStrings.xml"])
    assert strings != members["xl/sharedStrings.xml"]
    return zipped({**members, "xl/sharedStrings.xml": strings})


def _bomb() -> bytes:
    members = parts(book(line("BO")))
    return zipped({**members, SHEET: members[SHEET].replace(b"</sheetData>", b" " * (90 << 20) + b"</sheetData>")})


def _entity(encoding: str) -> bytes:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(9))
    xml = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE worksheet [{laughs}]><worksheet xmlns="{_MAIN}">&l8;</worksheet>'
    )
    return zipped({**parts(book(line("DT"))), SHEET: xml.encode(encoding)})


def _entries() -> bytes:
    return zipped({**parts(book(line("EN"))), **{f"xl/media/{n}.bin": b"" for n in range(10_001)}})


def _date_1904(made: Any) -> None:
    from openpyxl.utils.datetime import CALENDAR_MAC_1904

    made.epoch = CALENDAR_MAC_1904
    made.active["E2"] = datetime(2026, 10, 5)
    made.active["F2"] = None


def _full_width(digits: str) -> str:
    return digits.translate({ord(d): chr(ord(d) + 0xFEE0) for d in "0123456789"})


CODE = "73905162840517"
CORPUS: dict[str, tuple[Callable[[], bytes | str], set[str]]] = {
    # text
    "utf8.csv": (lambda: good("U8"), set()),
    "utf8-bom.csv": (lambda: good("U8B").encode("utf-8-sig"), set()),
    "utf16-le.csv": (lambda: good("U16L").encode("utf-16"), set()),
    "utf16-be.csv": (lambda: b"\xfe\xff" + good("U16B").encode("utf-16-be"), set()),
    "utf16-no-bom.csv": (lambda: good("U16N").encode("utf-16-le"), set()),
    "windows-1252.csv": (lambda: text([*line("W1252"), "Müller €"], header=[*HEADER, "Comments"]).encode("cp1252"), set()),
    "undecidable.csv": (lambda: text([*line("UND"), "x"], header=[*HEADER, "Comments"]).encode().replace(b"x", b"\x81\x8d"), {"FILE_ENCODING"}),
    "utf16-torn.csv": (lambda: good("U16T").encode("utf-16")[:-1], {"FILE_ENCODING"}),
    "semicolon.csv": (lambda: text(line("SEM"), separator=";"), set()),
    "tab.txt": (lambda: text(line("TAB"), separator="\t"), set()),
    "pipe.tsv": (lambda: text(line("PIP"), separator="|"), set()),
    "crlf.csv": (lambda: text(line("CRLF"), end="\r\n"), set()),
    "cr.csv": (lambda: text(line("CR"), end="\r"), set()),
    "quoted-newline.csv": (lambda: text([*line("QN"), '"two\nlines"'], header=[*HEADER, "Comments"]), set()),
    "unclosed-quote.csv": (lambda: text(line("UQ1"), [*line("UQ2")[:-1], '"1']), {"FILE_UNREADABLE"}),
    "ragged.csv": (lambda: text(line("RA1"), [*line("RA2"), "extra", "cells"]), {"FILE_UNREADABLE"}),
    "short-row.csv": (lambda: text(line("SH1"), line("SH2")[:3]), {"FILE_UNREADABLE"}),
    "nul.csv": (lambda: text(line("NUL"), ["10023456", "7001", "8008604444", "NU\0L2", "", "1"]), {"FILE_TYPE"}),
    "long-field.csv": (lambda: text([*line("LF"), "x" * 10_001], header=[*HEADER, "Comments"]), {"FILE_TOO_LARGE", "COMMENT_TOO_LONG"}),
    "header-twice.csv": (lambda: text([*line("HT"), "1"], header=[*HEADER, "Qty"]), {"COLUMN_REPEATED"}),
    "header-late.csv": (lambda: "\n\n,,,,,\n" + good("HL"), set()),
    "blank-between.csv": (lambda: text(line("BB1"), [""] * 6, [" "] * 6, line("BB2")), set()),
    "trailing-empty.csv": (lambda: text([*line("TE"), "", "", ""], header=[*HEADER, "", "", ""]), set()),
    "thousands-empty.csv": (lambda: good("TH") + ",,,,,\n" * 5_000, set()),
    "no-header.csv": (lambda: text(header=[str(cell) for cell in line("NH")]), {"COLUMN_MISSING"}),
    "only-header.csv": (text, {"FILE_EMPTY"}),
    "empty.csv": (lambda: b"", {"FILE_EMPTY"}),
    "blank.csv": (lambda: b"\n \n\t\n", {"FILE_EMPTY"}),
    "random.csv": (lambda: random.Random(1).randbytes(4_000), {"FILE_TYPE"}),
    "page.html": (lambda: "<!DOCTYPE html><html><body><table></table></body></html>", {"FILE_TYPE"}),
    "many-columns.csv": (lambda: text(header=[f"c{n}" for n in range(300)]), {"FILE_TOO_LARGE"}),
    # workbooks
    "plain.xlsx": (lambda: book(line("PL")), set()),
    "wrong-name.csv": (lambda: book(line("WN")), set()),
    "text-as.xlsx": (lambda: good("TA"), set()),
    "numbers.xlsx": (lambda: book(line("NU", code=73905162840601, account=10023456)), set()),
    "lost-zeros.xlsx": (lambda: book(line("LZ", account=200300)), {"ACCOUNT_FORMAT"}),
    "rounded.csv": (lambda: text(line("RO", code="7.39052E+13")), {"CODE_ROUNDED"}),
    "long-number.xlsx": (lambda: book(line("LN", code=739051628405171234)), {"CODE_FORMAT"}),
    "date-as-code.xlsx": (lambda: book(line("DA", code=datetime(2026, 10, 5))), {"CODE_FORMAT"}),
    "date-1904.xlsx": (lambda: book(line("D4", code="x"), change=_date_1904), {"CODE_FORMAT"}),
    "error-cell.xlsx": (lambda: book(line("EC"), change=_errors), {"CELL_FORMULA"}),
    "formula.xlsx": (lambda: book(line("FO"), change=_formula), {"CELL_FORMULA"}),
    "formula-stored.xlsx": (_stored, set()),
    "formula-external.xlsx": (_external, set()),
    "wrong-dimension.xlsx": (lambda: patched(book(line("WD")), SHEET, b'<dimension ref="A1:F2"', b'<dimension ref="A1:A1"'), set()),
    "huge-dimension.xlsx": (lambda: patched(book(line("HD")), SHEET, b'<dimension ref="A1:F2"', b'<dimension ref="A1:XFD1048576"'), set()),
    "sparse-giant.xlsx": (_sparse, set()),
    "many-strings.xlsx": (_many_strings, {"FILE_UNREADABLE"}),
    "merged-giant.xlsx": (_merged, set()),
    "hidden.xlsx": (lambda: book(line("HI"), change=_hidden), set()),
    "first-hidden.xlsx": (lambda: book(line("H1"), change=_first_hidden), set()),
    "inline-strings.xlsx": (_inline, set()),
    "strict.xlsx": (_strict, set()),
    "bomb.xlsx": (_bomb, {"FILE_TOO_LARGE"}),
    "entity.xlsx": (lambda: _entity("utf-8"), {"FILE_UNREADABLE"}),
    "entity-utf16.xlsx": (lambda: _entity("utf-16"), {"FILE_UNREADABLE"}),
    "entries.xlsx": (_entries, {"FILE_TOO_LARGE"}),
    "truncated.xlsx": (lambda: book(line("TR"))[:-300], {"FILE_UNREADABLE"}),
    "other-zip.xlsx": (lambda: zipped({"a.txt": b"hello"}), {"FILE_TYPE"}),
    "broken-ole.xls": (lambda: b"\xd0\xcf\x11\xe0" + bytes(2_000), {"FILE_UNREADABLE"}),
    "encrypted.xlsx": (lambda: b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600), {"FILE_ENCRYPTED"}),
    "no-sheet-xml.xlsx": (lambda: zipped({name: body for name, body in parts(book(line("NS"))).items() if name != SHEET}), {"FILE_UNREADABLE", "FILE_EMPTY"}),
    # characters
    "full-width.csv": (lambda: text(line("FW", code=_full_width(CODE))), {"CELL_CHARACTER"}),
    "arabic-digits.csv": (lambda: text(line("AD", quantity="٣")), {"CELL_CHARACTER"}),
    "zero-width.csv": (lambda: text(line("ZW", code=f"{CODE[:5]}\u200b{CODE[5:]}")), {"CELL_CHARACTER"}),
    "direction.csv": (lambda: text(line("DI\u202e")), {"CELL_CHARACTER"}),
    "nbsp-inside.csv": (lambda: text(line("NB\u00a0SP")), {"CELL_CHARACTER"}),
    "spaces-around.csv": (lambda: text([f"  {cell} " for cell in line("SA")]), set()),
    "formula-text.csv": (lambda: text([*line("FT"), "=HYPERLINK(1)"], header=[*HEADER, "Comments"]), set()),
    "formula-order.csv": (lambda: text(line("=cmd|' /C calc'!A0")), {"ORDER_ID_FORMAT"}),
    # names
    "-rf.csv": (lambda: good("N1"), set()),
    "=1+1.csv": (lambda: good("N2"), set()),
    "CON.csv": (lambda: good("N3"), set()),
    f"{'n' * 251}.csv": (lambda: good("N4"), set()),
    "tab\tand\nline.csv": (lambda: good("N5"), set()),
    "\udcff\udcfe.csv": (lambda: good("N6"), set()),
    "confirmation.csv": (lambda: good("N7"), set()),
}  # fmt: skip


def content(name: str) -> bytes:
    made = CORPUS[name][0]()
    return made.encode() if isinstance(made, str) else made


if __name__ == "__main__":
    for name in CORPUS:
        Path(sys.argv[1], name).write_bytes(content(name))
