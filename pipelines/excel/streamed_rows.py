"""Rows of large sheets as XML that Polars makes, in the image of a first row that XlsxWriter wrote.

XlsxWriter makes every part of a workbook, with the first row alone of a large sheet. This puts the other rows after it:
Polars makes their XML column by column, in a twentieth of the time that XlsxWriter takes, without the interpreter's lock.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple

import polars as pl

from pipelines.excel import look

_PORTION: Final = 10_000
"""So many rows are made at once."""
_FIRST: Final = re.compile(rb'<row r="2"[^>]*>(.*?)</row>', re.DOTALL)
_STYLE: Final = re.compile(rb'<c r="[A-Z]+2" s="(\d+)"')
_NEEDS_SPACES: Final = r"^\s|\s$|\n"
_ODD: Final = rf"[&<>]|_x|{_NEEDS_SPACES}"
"""What has to be looked at twice: most columns have nothing such."""
_ESCAPE: Final = "(_x[0-9a-fA-F]{4}_)"
_EPOCH: Final = date(1899, 12, 30)
_DAY: Final = 86_400_000
_Part = str | pl.Expr | pl.Series
"""A part of the XML of a row: the same for every row, or one for each."""


class Streamed(NamedTuple):
    """A sheet whose rows after the first are to be made: its number among all sheets, that of its table among the tables,
    and the widths and looks of its columns.
    """

    sheet: int
    table: int
    rows: pl.DataFrame
    looks: list[tuple[int, look.Style]]


def completed(name: str, content: bytes, sheets: list[Streamed]) -> Iterable[bytes]:
    """A part of the workbook, in pieces, in which these sheets have all their rows."""
    for one in sheets:
        if name == f"xl/worksheets/sheet{one.sheet}.xml":
            return _sheet(content, one)
        if name == f"xl/tables/table{one.table}.xml":
            return [_enlarged(content, one.rows)]
    return [content]


def _enlarged(content: bytes, rows: pl.DataFrame) -> bytes:
    """A part in which the range of the table ends with its last row."""
    last = look.column_letters(rows.width - 1)
    return content.replace(f'ref="A1:{last}2"'.encode(), f'ref="A1:{last}{rows.height + 1}"'.encode())


def _sheet(shell: bytes, sheet: Streamed) -> Iterator[bytes]:
    first = _FIRST.search(shell)
    assert first
    styles = [int(style) for style in _STYLE.findall(first[1])]
    yield _enlarged(shell[: first.end()], sheet.rows)
    for start in range(1, sheet.rows.height, _PORTION):
        yield row_xml(sheet.rows.slice(start, _PORTION), start + 2, styles, sheet.looks)
    yield shell[first.end() :]


def row_xml(rows: pl.DataFrame, first: int, styles: list[int], looks: list[tuple[int, look.Style]]) -> bytes:
    """The XML of rows; `first`: the number of the first one, `styles`: those of the columns."""
    number = pl.int_range(first, first + rows.height, eager=True).cast(pl.String).alias("number")
    cells: list[_Part] = ['<row r="', number, _height(rows, looks), '">']
    for place, (column, style) in enumerate(zip(rows.iter_columns(), styles, strict=True)):
        cells += [f'<c r="{look.column_letters(place)}', number, *_cells(column, style)]
    parts = [pl.lit(part) if isinstance(part, str) else part for part in [*cells, "</row>"]]
    xml: bytes = pl.select(pl.concat_str(parts).str.join("").cast(pl.Binary)).item()
    return xml


def _cells(column: pl.Series, style: int) -> list[_Part]:
    """The XML of the cells of a column, from behind their row's number on."""
    is_constant = column.n_unique() == 1
    column = column.head(1) if is_constant else column
    if column.dtype != pl.String:
        start, texts, end = f'" s="{style}"><v>', _serial(column), "</v></c>"
    else:
        is_odd = column.str.contains(_ODD).any()
        space = ' xml:space="preserve"' if is_odd and column.str.contains(_NEEDS_SPACES).any() else ""
        start, texts, end = (
            f'" s="{style}" t="inlineStr"><is><t{space}>',
            _escaped(column) if is_odd else column,
            "</t></is></c>",
        )
    empty = f'" s="{style}"/>'
    if is_constant:
        return [f"{start}{texts[0]}{end}" if texts[0] else empty]
    if texts.null_count() or (texts == "").any():
        full = pl.concat_str(pl.lit(start), texts, pl.lit(end))
        return [pl.when(texts.fill_null("") == "").then(pl.lit(empty)).otherwise(full)]
    return [start, texts, end]


def _serial(column: pl.Series) -> pl.Series:
    """Figures as they are, and times as Excel counts them: days since the last days of 1899."""
    if column.dtype == pl.Date:
        return (column.cast(pl.Int32) - (_EPOCH - date(1970, 1, 1)).days).cast(pl.String)
    if column.dtype == pl.Datetime:
        return (column.dt.timestamp("ms") / _DAY - (_EPOCH - date(1970, 1, 1)).days).cast(pl.String)
    return column.cast(pl.String)


def _escaped(column: pl.Series) -> pl.Series:
    """Texts as XML has them; what Excel would take for the code of a character stays as it is."""
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        if column.str.contains(sign, literal=True).any():
            column = column.str.replace_all(sign, name, literal=True)
    return column.str.replace_all(_ESCAPE, "_x005F$1") if column.str.contains("_x", literal=True).any() else column


def _height(rows: pl.DataFrame, looks: list[tuple[int, look.Style]]) -> _Part:
    """The attributes of rows that need more than one line."""
    lines = [_lines(column, width) for column, (width, style) in zip(rows.iter_columns(), looks, strict=True) if style.wrap]
    if not lines:
        return ""
    height = pl.min_horizontal(pl.lit(look.MAX_HEIGHT), look.LINE_HEIGHT * pl.max_horizontal(lines) + look.ROW_PADDING)
    return pl.when(pl.max_horizontal(lines) > 1).then(
        pl.concat_str(pl.lit('" ht="'), height.cast(pl.String), pl.lit('" customHeight="1'))
    ).otherwise(pl.lit(""))  # fmt: skip


def _lines(column: pl.Series, width: int) -> pl.Series:
    """About how many lines the texts of a wrapped column take."""
    texts = column.fill_null("")
    length = look.LOWER * texts.str.len_chars() + look.UPPER * texts.str.count_matches(look.WIDE)
    return 1 + length.cast(pl.Int64) // (width - look.LAST_WORD) + texts.str.count_matches("\n").cast(pl.Int64)
