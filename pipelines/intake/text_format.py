"""Tables of text: any of the encodings and separators in which spreadsheets are saved."""

import csv
import io
import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.csv

from pipelines.intake.cells import BLANK
from pipelines.intake.grid import check_size, from_arrow
from pipelines.intake.header import Header, find_header
from pipelines.intake.parsed import Limits, Parsed, UnreadableError

SEPARATORS: Final = ",;\t|"
UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f]")
_RARE: Final = 10
"""Not one in so many characters of a text is a control character."""
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n?|\n|$)', re.IGNORECASE)
_HEAD: Final = 50  # records among which the header is looked for
_HEADER_LINES: Final = 200  # a header cell may have line breaks
_LISTED: Final = 20  # so many bad lines are named; a file with thousands is not fixed line by line
_PARSED_WIDTH: Final = 1024  # empty cells to the right of the header are parsed up to here, in case rows use them
_EXCELS_WIDTH: Final = 16_384
_EXCELS_BLOCK: Final = 16  # Excel leaves out trailing empty cells for so many rows at a time

csv.field_size_limit(1 << 30)


def read_text(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Read a table of text. Rows that do not fit the header make the file unreadable; each is named."""
    text = decoded(content)
    if _is_noise(text[:4096]) and not content.startswith(UTF16):  # a byte order mark says that it is text
        raise UnreadableError("FILE_TYPE", "neither a workbook nor text")
    return _table(text, known, limits)


def decoded(content: bytes) -> str:
    """Text of UTF-8 or UTF-16, else of Windows-1252 where every byte has a meaning in it."""
    content = _without_end_marks(content)
    head, is_guess = content[:4096], True
    if head.startswith(UTF16):
        encodings, is_guess = ["utf-16"], False
    elif len(head) > 1 and head[1::2].count(0) * 2 > len(head) // 2:
        encodings = ["utf-16-le"]
    elif len(head) > 1 and head[::2].count(0) * 2 > len(head) // 2:
        encodings = ["utf-16-be"]
    elif _CONTROL.search(head.decode("latin-1")):
        encodings = ["utf-8-sig"]  # as Windows-1252 nearly any bytes can be decoded
    else:
        encodings, is_guess = ["utf-8-sig", "cp1252"], False
    for encoding in encodings:
        try:
            return content.decode(encoding).rstrip("\x1a").removesuffix("\0")
        except UnicodeDecodeError:
            continue
    if is_guess:
        raise UnreadableError("FILE_TYPE", "neither a workbook nor text")
    raise UnreadableError("FILE_ENCODING", f"neither UTF-8 nor {encodings[-1]}")


def _is_noise(text: str) -> bool:
    """Whether so many of the characters are control characters that nobody wrote it: a cell may have one."""
    return "\0" in text or len(_CONTROL.findall(text)) * _RARE > len(text)


def _without_end_marks(content: bytes) -> bytes:
    """Without what old programs write behind the end of a text: Ctrl-Z or a zero byte (in UTF-16 it is half of one)."""
    text = content.rstrip(b"\x1a\0") if content.endswith((b"\x1a", b"\0")) else content
    return text if text and b"\0" not in text[:64] else content


# -- the table ---------------------------------------------------------------------------------------------------------


@dataclass
class _Layout:
    """How a text is cut: its separator, its header, and how many cells a row has."""

    separator: str
    header: Header
    width: int
    titles: list[str]


def _table(text: str, known: frozenset[str], limits: Limits) -> Parsed:
    text, given = _separator_line(text)
    skipped = 1 if given else 0
    content = text.encode()
    del text
    layout = _layout(content, given or SEPARATORS, known)
    check_size(1, sum(1 for title in layout.titles if title.strip(BLANK)), limits)
    _fit_width(layout, content, limits)
    if record := _unclosed(content, layout.separator):
        row = record + skipped
        fault = (row, -1, "FILE_UNREADABLE", f"row {row}: a quotation mark is opened and never closed")
        return Parsed(faults=[fault])
    ragged: list[tuple[int, str]] = []
    table = _records(content, layout, ragged, limits)
    del content
    fitted = _fit(ragged, table, layout)
    if fitted.faults:
        faults = [(row + skipped, -1, "FILE_UNREADABLE", f"row {row + skipped} {words}") for row, words in fitted.faults]
        return Parsed(faults=faults[:_LISTED])
    again = _records("\n".join(fitted.rows.values()).encode(), layout, [], limits) if fitted.rows else None
    columns, rows = _merged(table, ragged, again, list(fitted.rows), skipped)
    parsed = from_arrow(columns, rows, known, limits)
    parsed.notes += [f"Row {row + skipped} holds one cell, “{text[:60]}”, and was not read." for row, text in fitted.footer]
    return parsed


def _separator_line(text: str) -> tuple[str, str]:
    """The text without its first line `sep=;`, and the separator that this line names; it counts as a row."""
    found = _SEP_LINE.match(text)
    return (text[found.end() :], found[1]) if found and found[1] not in '"\r\n' else (text, "")


def _fit_width(layout: _Layout, content: bytes, limits: Limits) -> None:
    """Leave out empty cells at the end of the header where all cells would be too many, before they take any memory."""
    records = content.count(b"\n") or content.count(b"\r")  # or fewer, where a cell has line breaks
    if records * layout.width > limits.cells:
        layout.width = max((place for place, title in enumerate(layout.titles, 1) if title.strip(BLANK)), default=1)
    if records * layout.width > limits.cells:
        words = f"about {records} rows of {layout.width} columns; at most {limits.cells:,} cells are allowed"
        raise UnreadableError("FILE_TOO_LARGE", words)


def _lines(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")


def _layout(content: bytes, separators: str, known: frozenset[str]) -> _Layout:
    """The separator that finds most known headers, and among equals cuts the header into most cells."""
    lines = list(itertools.islice(_lines(content), _HEADER_LINES))
    start = next((number for number, line in enumerate(lines) if line.strip(SEPARATORS + separators + BLANK)), None)
    if start is None:
        lines, start = _far_down(content, separators)
    layouts = [_laid(lines, start, separator, known) for separator in separators]
    return max(layouts, key=lambda layout: (layout.header.known, layout.width))


def _far_down(content: bytes, separators: str) -> tuple[list[str], int]:
    """The first filled line below a great many empty ones, as if it were the first."""
    rest = _lines(content)
    first = next((line for line in rest if line.strip(SEPARATORS + separators + BLANK)), "")
    if not first:
        raise UnreadableError("FILE_EMPTY", "no text at all")
    return [first, *itertools.islice(rest, _HEADER_LINES)], 0


def _laid(lines: list[str], start: int, separator: str, known: frozenset[str]) -> _Layout:
    records = list(itertools.islice(_csv(lines[start:], separator), _HEAD))
    head = [
        (number, {place: cell for place, cell in enumerate(cells[:_EXCELS_WIDTH]) if cell.strip(BLANK)})
        for number, cells in enumerate(records, 1)
        if "".join(cells).strip(BLANK)
    ]
    header = find_header(head, known)
    titles = records[header.row - 1] if header.row else []
    width = max(len(titles), 1)
    if width > _PARSED_WIDTH:
        width = max((place for place, title in enumerate(titles, 1) if title.strip(BLANK)), default=1)
    return _Layout(separator, header._replace(row=header.row + start), width, titles)


def _csv(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=separator)
    except csv.Error:
        return


def _records(content: bytes, layout: _Layout, ragged: list[tuple[int, str]], limits: Limits) -> pa.Table:
    """Every record of the header's width as a row of text; the others go into `ragged` as (record number, its text)."""

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append((row.number, row.text))
        return "skip" if len(ragged) <= limits.rows else "error"

    names = [f"c{position}" for position in range(layout.width)]
    try:
        return _parsed(content, layout.separator, names, set_aside)
    except pa.ArrowInvalid as error:  # empty lines are rows, so a file may have more of them than are allowed
        check_size(len(ragged), 1, limits)
        raise UnreadableError("FILE_UNREADABLE", "the text can't be cut into cells") from error


def _parsed(content: bytes, separator: str, names: list[str], set_aside: Callable[[pyarrow.csv.InvalidRow], str]) -> pa.Table:
    return pyarrow.csv.read_csv(
        io.BytesIO(content),
        # one block, one thread: only then are records numbered
        pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(content) + 1),
        pyarrow.csv.ParseOptions(
            delimiter=separator, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=set_aside
        ),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True),
    )


# -- rows of another width ---------------------------------------------------------------------------------------------


@dataclass
class _Fitted:
    """Rows of another width, by their numbers: lines cut or padded to the header's, one below the table, and the rest."""

    rows: dict[int, str] = field(default_factory=dict)
    footer: list[tuple[int, str]] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)


def _fit(ragged: list[tuple[int, str]], table: pa.Table, layout: _Layout) -> _Fitted:
    fitted = _Fitted()
    short: list[tuple[int, str, int]] = []
    for row, text in ragged:
        if not text.strip(layout.separator + BLANK + '"'):
            continue
        cells = _cells(text, layout.separator)
        if len(cells) < layout.width:
            short.append((row, text, len(cells)))
        elif row < layout.header.row or not "".join(cells[layout.width :]).strip(BLANK):
            fitted.rows[row] = _line(cells[: layout.width], layout.separator)
        else:
            fitted.faults.append((row, _words(len(cells), layout.width)))
    last = table.num_rows + len(ragged)
    _fit_short(short, _may_be_empty(table, layout, len(short)) if short else 0, last, fitted, layout)
    fitted.faults.sort()
    return fitted


def _fit_short(short: list[tuple[int, str, int]], optional: int, last: int, fitted: _Fitted, layout: _Layout) -> None:
    for row, text, cells in short:
        if cells == 1 and layout.width > 2 and row == last and len(text.split()) > 1:
            fitted.footer.append((row, text.strip(BLANK + '"')))
        elif cells >= optional or row < layout.header.row:
            fitted.rows[row] = text.rstrip("\r\n") + layout.separator * (layout.width - cells)
        else:
            fitted.faults.append((row, _words(cells, layout.width)))


def _cells(text: str, separator: str) -> list[str]:
    if '"' not in text:
        return text.rstrip("\r\n").split(separator)
    return next(_csv(io.StringIO(text, newline=""), separator), [])


def _line(cells: list[str], separator: str) -> str:
    line = separator.join(cells)
    if '"' not in line and line.count(separator) == len(cells) - 1 and line.isprintable():
        return line  # which the writer would take ten times as long to find
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator="").writerow(cells)
    return written.getvalue()


def _words(cells: int, width: int) -> str:
    return f"has {cells} cell{'s' if cells > 1 else ''} and the header {width}: a separator is missing or too many"


def _may_be_empty(table: pa.Table, layout: _Layout, short: int) -> int:
    """From which cell on a row may simply end: where other rows leave the cells empty, so that none can have shifted.

    A row that lacks a cell which all others fill has more likely lost a separator, and its cells stand under wrong
    headers; many such rows are Excel's habit.
    """
    if short >= _EXCELS_BLOCK:
        return 0
    import pyarrow.compute as pc  # as in `grid`

    filled = _filled_rows(table)
    if filled.num_rows < 2:  # one of them is the header
        return 0
    for position in reversed(range(layout.width)):
        if layout.titles[position].strip(BLANK) and pc.all(_is_filled(filled.column(position))).as_py():
            return position + 1
    return 0


def _filled_rows(table: pa.Table) -> pa.Table:
    """The rows in which anything stands; an empty line is a row of nothing."""
    import pyarrow.compute as pc

    anything = table.column(0).is_valid()
    for column in table.columns[1:]:
        anything = pc.or_(anything, column.is_valid())
    return table.filter(anything)


def _is_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.not_equal(pc.ascii_trim(pc.fill_null(column, ""), BLANK), "")


def _merged(
    table: pa.Table, ragged: list[tuple[int, str]], again: pa.Table | None, fitted: list[int], skipped: int
) -> tuple[dict[int, pa.ChunkedArray], "array[int]"]:
    """The table with the fitted rows, read again, in their places; and the number of each row."""
    total = table.num_rows + len(ragged)
    aside = {row for row, _ in ragged}
    numbers = array("I", [row + skipped for row in range(1, total + 1) if row not in aside])
    if again is not None:
        import pyarrow.compute as pc

        numbers.extend(row + skipped for row in fitted)
        order = pc.sort_indices(pa.array(numbers, pa.uint32()))
        numbers = array("I", sorted(numbers))
        table = pa.concat_tables([table, again]).take(order)
    return dict(enumerate(table.columns)), numbers


# -- quotation marks ---------------------------------------------------------------------------------------------------


def _unclosed(content: bytes, separator: str) -> int:
    """The record in which a quotation mark is opened and never closed; 0 where there is none.

    Two of them close each other, and the lines between would be a cell.
    """
    if b'"' not in content or not _odd(content):
        return 0
    try:
        for _ in csv.reader(_lines(content), delimiter=separator, strict=True):
            pass
    except csv.Error:
        return _first_unclosed(content.decode(), separator)
    return 0


def _odd(content: bytes) -> bool:
    lines = content if b"\n" in content else content.replace(b"\r", b"\n")
    return any(line.count(b'"') & 1 for line in io.BytesIO(lines))


def _first_unclosed(text: str, separator: str) -> int:
    """Walk the cells: a mark that closes within its line, with words behind it (`"Main" line`), is none."""
    within = rf"[^{re.escape(separator)}\r\n]*+"
    cell = re.compile(rf'(?:"(?P<quoted>[^"]*+(?:""[^"]*+)*+)(?P<closed>"?)(?P<rest>{within})|{within})(?P<end>\r\n?|\n|.|\Z)')
    record = 1
    for found in cell.finditer(text):
        quoted = found["quoted"]
        swallowed = quoted and found["rest"].strip(BLANK) and ("\n" in quoted or "\r" in quoted)
        if quoted is not None and (swallowed or not found["closed"]):
            return record
        record += found["end"] in ("\n", "\r", "\r\n")
    return 0
