"""Load the catalogue of accounts and access numbers, and codes that exist already."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.common.errors import UsageError
from pipelines.common.masking import mask_codes
from pipelines.registry.schema import ACCESS, ACCOUNT
from pipelines.registry.store import Registry
from schemas import catalogue
from schemas.findings import split
from schemas.headers import Column, by_header, header_key
from schemas.orders import BY_HEADER

_BATCH: Final = 2_000_000
_LISTED: Final = 10


def load_catalogue(path: Path, registry: Registry) -> tuple[int, int]:
    """Replace the registry's catalogue by that of a workbook; how many accounts and access numbers it has.

    Raises UsageError, and loads nothing, with every cell that is wrong.
    """
    accounts = _sheet(path, "Accounts", catalogue.ACCOUNTS)
    access = _sheet(path, "Access Numbers", catalogue.ACCESS_NUMBERS)
    accounts = accounts.with_columns(
        pl.col("reseller").str.to_lowercase(), pl.col("acceptance").str.to_lowercase().fill_null("whole")
    )
    access = access.with_columns(pl.col("access_number").str.replace_all(r"[ ().+-]", "").str.replace(r"^1([0-9]{10})$", "$1"))
    wrong = [
        *_wrong("Accounts", split(accounts, catalogue.ACCOUNTS_SCHEMA)[1]),
        *_wrong("Access Numbers", split(access, catalogue.ACCESS_NUMBERS_SCHEMA)[1]),
        *_torn(accounts, "account", "reseller", "belongs to two resellers"),
        *_torn(accounts, "reseller", "acceptance", "has two kinds of acceptance"),
    ]
    if wrong:
        raise UsageError(f"{path.name} was not loaded. " + "; ".join(wrong[:_LISTED]) + (" …" if len(wrong) > _LISTED else ""))
    filled = pl.col(pl.String).fill_null("")
    registry.load_catalogue(
        accounts.with_columns(filled).unique(["account", "product"], maintain_order=True).select(*ACCOUNT),
        access.with_columns(filled).unique(["access_number", "account"], maintain_order=True).select(*ACCESS),
    )
    return len(accounts), len(access)


def _sheet(path: Path, title: str, columns: tuple[Column, ...]) -> pl.DataFrame:
    """A sheet of the workbook as text, with `line`, the row in Excel."""
    import fastexcel

    try:
        sheet = fastexcel.read_excel(path).load_sheet(title, header_row=None, skip_rows=0, dtypes="string")
    except (fastexcel.FastExcelError, OSError) as error:
        raise UsageError(f"{path} has no readable sheet “{title}”. A catalogue is a workbook with two sheets, Accounts and "
                         f"Access Numbers. ({type(error).__name__})") from None  # fmt: skip
    grid = pl.DataFrame(sheet.to_arrow()).with_row_index("line", 1)
    grid = grid.filter(pl.any_horizontal(pl.col(pl.String).str.contains(r"\S")))
    known = by_header(columns)
    titles = {place: header_key(str(text)) for place, text in grid.head(1).to_dict(as_series=False).items() for text in text}
    places = [(known[key], place) for place, key in titles.items() if key in known]
    names = [name for name, _ in places]
    if lacking := [column.header for column in columns[:2] if column.name not in names]:
        raise UsageError(f"Sheet {title} of {path.name} has no column {' and no column '.join(lacking)}.")
    if twice := [column.header for column in columns if names.count(column.name) > 1]:
        raise UsageError(f"Sheet {title} of {path.name} has more than one column {' and '.join(twice)}.")
    cells = [pl.col(place).str.strip_chars().replace("", None).alias(name) for name, place in places]
    absent = [pl.lit(None, pl.String).alias(column.name) for column in columns if column.name not in names]
    frame = grid[1:].select("line", *cells, *absent)
    return frame.filter(pl.any_horizontal(pl.exclude("line").is_not_null()))


def _wrong(title: str, found: pl.DataFrame) -> Iterator[str]:
    for line, column, reason, value in found.select("line", "column", "reason", "value").iter_rows():
        yield f"{title} row {line}, {column.replace('_', ' ')} “{value or ''}”: {reason}"


def _torn(accounts: pl.DataFrame, key: str, value: str, words: str) -> list[str]:
    other_than_first = pl.col(value) != pl.col(value).drop_nulls().first().over(key)
    torn = accounts.drop_nulls(key).filter(other_than_first).unique(key, keep="first", maintain_order=True)
    return [f"Accounts row {line}, {value} “{other}”: {key} {name} {words}"
            for line, other, name in torn.select("line", value, key).iter_rows()]  # fmt: skip


def import_codes(path: Path, registry: Registry, progress: Callable[[int], None] = lambda _: None) -> tuple[int, int, int]:
    """Enter the codes of a CSV or Parquet file as `external`: how many lines it has, how many codes were new, and how
    many lines hold no 14 digits and were left out.

    The file is read in portions and each is a transaction, so that memory stays bounded and a broken import can
    be run again.
    """
    lines = new = wrong = 0
    for batch in _portions(path):
        codes = batch.filter(batch.str.contains(r"^[0-9]{14}$").fill_null(value=False))
        new += registry.import_codes(codes.cast(pl.Int64))
        lines, wrong = lines + len(batch), wrong + len(batch) - len(codes)
        progress(lines)
    return lines, new, wrong


def _portions(path: Path) -> Iterator[pl.Series]:
    """The codes of a file as text, so many at a time."""
    try:
        frame = pl.scan_parquet(path) if path.suffix.lower() == ".parquet" else pl.scan_csv(path, infer_schema=False)
        names = frame.collect_schema().names()
        known = [name for name in names if BY_HEADER.get(header_key(name)) == "code"]
        if len(known) != 1:  # a column of another name may be a file without a header, whose first code would be lost
            raise UsageError(f"{path.name} needs one column named Code; it has {mask_codes(', '.join(names[:_LISTED]))}.")
        for batch in frame.select(pl.col(known[0]).cast(pl.String)).collect_batches(chunk_size=_BATCH, maintain_order=True):
            yield batch[known[0]].str.strip_chars()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} can't be read as CSV or Parquet ({type(error).__name__}).") from None
