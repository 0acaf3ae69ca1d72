"""The child process that turns a stranger's bytes into a table of text.

It runs apart (`python -m pipelines.intake.parser_worker FD LIMITS`), with a ceiling on memory, because a crafted
workbook can abort the parser's process. It imports neither Polars nor anything of ours, so that it starts quickly.
It answers each file with a `Parsed`; whatever the bytes are, the parent sees an answer or a dead child.
"""

import csv
import io
import itertools
import json
import re
import resource
import string
import sys
import zipfile
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final
from xml.etree import ElementTree as ET

import fastexcel
import pyarrow as pa
import pyarrow.csv

SEPARATORS: Final = ",;\t|"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_HIDDEN = re.compile(rb'<(?:\w+:)?row\s[^>]*hidden="(?:1|true)"')
_CHUNK = 1 << 20
_ENTRIES = 10_000  # a workbook has some dozens
_RATIO, _SMALL = 200, 64 << 20  # XML of workbooks shrinks to a tenth; a bomb to a thousandth
_DTD = tuple(word.encode(encoding) for word in ("<!DOCTYPE", "<!ENTITY") for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
_HEADER_LINES = 50  # a header cell may have line breaks
_LISTED = 20  # so many bad lines are named; a file with thousands is not mended line by line


@dataclass(frozen=True)
class Limits:
    """How much of a file is taken: bytes inflated, rows, columns, and bytes of memory for the parser."""

    inflated: int
    rows: int
    columns: int
    memory: int


@dataclass
class Parsed:
    """A file as text: `table` is an Arrow stream of text columns (absent cells null), `rows` the row number of each.

    `faults` are cells or lines that can't be read: (row, column position, reason, what stands there); a fault
    with column -1 concerns the whole file. `notes` are remarks for the sender.
    """

    table: bytes = b""
    faults: list[tuple[int, int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class UnreadableError(Exception):
    """The file can't be read at all: a reason of the table, and what was found."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(reason)
        self.reason, self.found = reason, found


def parse(content: bytes, limits: Limits) -> Parsed:
    """Recognise a file by its first bytes and read it."""
    try:
        if content.startswith(b"PK\x03\x04"):
            return _zipped(content, limits)
        if content.startswith(b"\xd0\xcf\x11\xe0"):
            if "EncryptedPackage".encode("utf-16-le") in content:
                raise UnreadableError("FILE_ENCRYPTED", "")
            return _workbook(content, limits)[1]
        text = _decoded(content)
        if _CONTROL.search(text[:4096]) and not content.startswith(_UTF16):  # a byte order mark says that it is text
            raise UnreadableError("FILE_TYPE", "neither a workbook nor text")
        return _text(text, limits)
    except UnreadableError as error:
        return Parsed(faults=[(0, -1, error.reason, error.found)])


def _zipped(content: bytes, limits: Limits) -> Parsed:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            if not names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}:
                raise UnreadableError("FILE_TYPE", "a zip archive")
            _inspect(archive, limits)
            chosen, parsed = _workbook(content, limits)
            if "xl/workbook.xml" in names:
                sheet = archive.read(_sheet_path(archive, chosen))
                parsed.faults += _cell_faults(sheet)
                if hidden := b"hidden=" in sheet and len(_HIDDEN.findall(sheet)):  # the plain search takes a twentieth
                    parsed.notes.append(f"{hidden} hidden row(s) were read too.")
            return parsed
    except (zipfile.BadZipFile, EOFError, NotImplementedError, KeyError, ET.ParseError, OSError) as error:
        raise UnreadableError("FILE_UNREADABLE", "the workbook's archive is broken") from error
    except RuntimeError as error:  # what zipfile raises for a member with a password
        raise UnreadableError("FILE_ENCRYPTED", "") from error


def _inspect(archive: zipfile.ZipFile, limits: Limits) -> None:
    """Count what the archive really inflates to, and refuse document type definitions, before any parser sees it."""
    inflated = 0
    packed = sum(entry.compress_size for entry in archive.infolist()) or 1
    if len(archive.infolist()) > _ENTRIES:
        raise UnreadableError("FILE_TOO_LARGE", f"more than {_ENTRIES:,} parts in the workbook's archive")
    for entry in archive.infolist():
        tail = b""
        with archive.open(entry) as member:
            while chunk := member.read(_CHUNK):
                inflated += len(chunk)
                if inflated > limits.inflated:
                    raise UnreadableError("FILE_TOO_LARGE", f"more than {limits.inflated // 2**20} MB when inflated")
                if inflated > _SMALL and inflated > packed * _RATIO:
                    raise UnreadableError("FILE_TOO_LARGE", f"it inflates to more than {_RATIO} times its size")
                if any(word in tail + chunk for word in _DTD):
                    raise UnreadableError("FILE_UNREADABLE", "the workbook has a document type definition")
                tail = chunk[-18:]


def _chosen(book: fastexcel.ExcelReader) -> str:
    """The sheet named Orders, else the first visible one."""
    for name in book.sheet_names:
        if name.strip().lower() == "orders":
            return str(name)
    visible = [name for name in book.sheet_names if _visible(book, name)]
    if not visible:
        raise UnreadableError("FILE_EMPTY", "no visible sheet")
    return str(visible[0])


def _visible(book: fastexcel.ExcelReader, name: str) -> bool:
    return bool(book.load_sheet(name, n_rows=0, header_row=None, dtypes="string").visible == "visible")


def _workbook(content: bytes, limits: Limits) -> tuple[str, Parsed]:
    """The name of the sheet that is read, and what it holds."""
    try:
        book = fastexcel.read_excel(content)
        name = _chosen(book)
        # skip_rows=0 keeps the empty rows on top, so that row numbers are those that Excel shows
        sheet = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string")
        if sheet.width > limits.columns:
            raise UnreadableError("FILE_TOO_LARGE", f"{sheet.width} columns; {limits.columns} are taken")
        if sheet.total_height > limits.rows:
            raise UnreadableError("FILE_TOO_LARGE", f"{sheet.total_height} rows; {limits.rows} are taken")
        batch = sheet.to_arrow()
    except fastexcel.FastExcelError as error:
        if "password" in str(error).lower():
            raise UnreadableError("FILE_ENCRYPTED", "") from error
        raise UnreadableError("FILE_UNREADABLE", "the workbook can't be parsed") from error
    table = pa.Table.from_batches([batch])
    others = len(book.sheet_names) - 1
    notes = [f"Sheet “{name}” was read; {others} other sheet(s) were not."] if others else []
    return name, Parsed(_stream(table, range(1, table.num_rows + 1)), notes=notes)


def _cell_faults(content: bytes) -> list[tuple[int, int, str, str]]:
    """Cells of an .xlsx without a value of their own: formulas with nothing stored, and error values."""
    if b"<f" not in content and b":f" not in content and b't="e"' not in content:
        return []
    faults = []
    first = None
    for _, element in ET.iterparse(io.BytesIO(content)):
        if element.tag.endswith("}c"):
            row, column = _position(element.get("r", "A1"))
            children = {child.tag.rpartition("}")[2]: child for child in element}
            stored = (children["v"].text or "") if "v" in children else ""
            if stored or "is" in children:
                first = column if first is None else min(first, column)
            if "f" in children and not stored:
                faults.append((row, column, "CELL_FORMULA", "=" + (children["f"].text or "")))
            elif element.get("t") == "e":
                faults.append((row, column, "CELL_FORMULA", stored))
            element.clear()
    # the reader drops empty columns on the left, so positions count from the first filled one
    return [(row, column - (first or 0), reason, text) for row, column, reason, text in faults]


def _sheet_path(archive: zipfile.ZipFile, sheet: str) -> str:
    relations = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    for element in ET.fromstring(archive.read("xl/workbook.xml")).iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            identity = next(value for key, value in element.items() if key.endswith("}id"))
            target = targets[identity]
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError(sheet)


def _position(reference: str) -> tuple[int, int]:
    letters = reference.rstrip("0123456789")
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - 64
    return int(reference[len(letters) :]), column - 1


def _decoded(content: bytes) -> str:
    """Text of UTF-8 or UTF-16, else of Windows-1252 where every byte has a meaning in it."""
    head = content[:4096]
    if head.startswith(_UTF16):
        encodings = ["utf-16"]
    elif len(head) > 1 and head[1::2].count(0) * 2 > len(head) // 2:
        encodings = ["utf-16-le"]
    elif len(head) > 1 and head[::2].count(0) * 2 > len(head) // 2:
        encodings = ["utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
        if _CONTROL.search(head.decode("latin-1")):
            raise UnreadableError("FILE_TYPE", "neither a workbook nor text")
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    if encodings[0] in ("utf-16-le", "utf-16-be"):  # just a guess, by its zero bytes
        raise UnreadableError("FILE_TYPE", "neither a workbook nor text")
    raise UnreadableError("FILE_ENCODING", f"neither UTF-8 nor {encodings[-1]}")


def _text(text: str, limits: Limits) -> Parsed:
    if text[:4096].lstrip().startswith("<"):
        raise UnreadableError("FILE_TYPE", "a web page or XML text")
    separator, width = _header(text)
    if width > limits.columns:
        raise UnreadableError("FILE_TOO_LARGE", f"{width} columns; {limits.columns} are taken")
    bad: list[tuple[int, str]] = []
    table = _records(text, separator, width, bad)
    mended, faults = _ragged(bad, separator, width)
    if line := _unclosed(text, separator):
        faults = [(line, -1, "FILE_UNREADABLE", f"row {line}: a quotation mark is opened and never closed")]
    if faults:
        return Parsed(faults=faults[:_LISTED])
    dropped = {row for row, _ in bad}
    rows = [row for row in range(1, table.num_rows + len(bad) + 1) if row not in dropped] if bad else None
    if mended:
        columns = list(zip(*mended.values(), strict=True))
        table = pa.concat_tables([table, pa.table(dict(zip(table.column_names, columns, strict=True)), table.schema)])
        rows = [*(rows or []), *mended]
    if table.num_rows > limits.rows:
        raise UnreadableError("FILE_TOO_LARGE", f"{table.num_rows} rows; {limits.rows} are taken")
    return Parsed(_stream(table, rows or range(1, table.num_rows + 1)))


def _header(text: str) -> tuple[str, int]:
    """The separator that cuts the first filled record into most cells, and how many those are."""
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip(SEPARATORS + string.whitespace)), "")
    if not first:
        raise UnreadableError("FILE_EMPTY", "no text at all")
    record = [first, *itertools.islice(lines, _HEADER_LINES)]
    widths = {separator: len(_cells(record, separator)) for separator in SEPARATORS}
    separator = max(widths, key=lambda separator: widths[separator])
    return separator, widths[separator]


def _cells(lines: Iterable[str], separator: str) -> list[str]:
    return next(csv.reader(lines, delimiter=separator), [])


def _records(text: str, separator: str, width: int, bad: list[tuple[int, str]]) -> pa.Table:
    """Every record of the right width as a row of text; the others go into `bad` as (record number, its text)."""

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        bad.append((row.number, row.text))
        return "skip"

    names = [f"c{position}" for position in range(width)]
    content = text.encode()
    return pyarrow.csv.read_csv(
        io.BytesIO(content),
        # one block, one thread: only then are records numbered
        pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(content) + 1),
        pyarrow.csv.ParseOptions(
            delimiter=separator, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=set_aside
        ),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True),
    )


def _ragged(
    bad: list[tuple[int, str]], separator: str, width: int
) -> tuple[dict[int, list[str | None]], list[tuple[int, int, str, str]]]:
    """Of records of another width: those with just empty cells too many, cut to width, and faults for the rest."""
    mended: dict[int, list[str | None]] = {}
    faults = []
    for row, text in bad:
        cells = _cells(io.StringIO(text, newline=""), separator)
        if not "".join(cells).strip():
            continue
        if len(cells) > width and not "".join(cells[width:]).strip():
            mended[row] = [cell or None for cell in cells[:width]]
        else:
            faults.append((row, -1, "FILE_UNREADABLE", f"row {row} has {len(cells)} cells and the header {width}"))
    return mended, faults


def _unclosed(text: str, separator: str) -> int:
    """The record in which a quotation mark is opened and never closed; 0 where there is none.

    Two of them close each other, and the lines between would be a cell.
    """
    if '"' not in text or not any(line.count('"') % 2 for line in text.splitlines()):
        return 0
    record = 0
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            record += 1
    except csv.Error:
        return record + 1
    return 0


def _stream(table: pa.Table, rows: Iterable[int]) -> bytes:
    """The table with plain column names, and its row numbers, as an Arrow stream."""
    names = [f"c{position}" for position in range(table.num_columns)]
    numbers = array("I", rows)  # pa.array takes ten times as long
    row = pa.Array.from_buffers(pa.uint32(), len(numbers), [None, pa.py_buffer(numbers)])
    table = table.rename_columns(names).append_column("row", row)
    counted = pa.MockOutputStream()
    _write(table, counted)
    buffer = pa.allocate_buffer(counted.size())  # one that grows takes twice as long
    _write(table, pa.FixedSizeBufferWriter(buffer))
    return bytes(memoryview(buffer))


def _write(table: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def main() -> None:
    """Answer files until the parent hangs up."""
    connection = Connection(int(sys.argv[1]))
    limits = Limits(*json.loads(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            content = connection.recv_bytes()
        except EOFError:
            return
        parsed = parse(content, limits)
        # no pickle: what a stranger's bytes can take over must not be able to send us code
        connection.send_bytes(json.dumps([parsed.faults, parsed.notes]).encode())
        connection.send_bytes(parsed.table)


if __name__ == "__main__":
    main()
