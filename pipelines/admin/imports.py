"""Load the catalogue of accounts and access numbers, and codes that exist already."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.errors import UsageError, require_file
from pipelines.common.masking import mask_codes
from pipelines.registry.schema import ACCESS, ACCOUNT
from pipelines.registry.store import Registry
from schemas import catalogue, telephone
from schemas.findings import schema_findings
from schemas.headers import Column, by_header, header_key
from schemas.orders import BY_HEADER

_BATCH: Final = 2_000_000
_LISTED: Final = 10


class CatalogueCounts(NamedTuple):
    """How many rows of a catalogue were loaded."""

    accounts: int
    access_numbers: int
    billing_numbers: int


class ImportCounts(NamedTuple):
    """How many lines a file of existing codes has, how many codes were new, and how many lines do not hold 14 digits."""

    lines: int
    new: int
    invalid: int

    @property
    def known(self) -> int:
        """Lines with a code that the registry had already."""
        return self.lines - self.new - self.invalid


def load_catalogue(path: Path, registry: Registry) -> CatalogueCounts:
    """Replace the registry's catalogue by that of a workbook.

    Raises UsageError, and loads nothing, with every cell that is wrong.
    """
    require_file(path)
    accounts = _sheet(path, "Accounts", catalogue.ACCOUNTS)
    access = _sheet(path, "Access Numbers", catalogue.ACCESS_NUMBERS)
    accounts = accounts.with_columns(
        pl.col("reseller").str.to_lowercase(), pl.col("acceptance").str.to_lowercase().fill_null("whole")
    )
    access = access.with_columns(telephone.normalized(pl.col("access_number")))
    btns = _sheet(path, "Billing Numbers", catalogue.BILLING_NUMBERS, optional=True)
    btns = btns.with_columns(telephone.normalized(pl.col("btn")))
    wrong = [
        *_wrong("Accounts", schema_findings(accounts, catalogue.ACCOUNTS_SCHEMA)),
        *_wrong("Access Numbers", schema_findings(access, catalogue.ACCESS_NUMBERS_SCHEMA)),
        *_wrong("Billing Numbers", schema_findings(btns, catalogue.BILLING_NUMBERS_SCHEMA)),
        *_contradictions("Accounts", accounts, "account", "reseller", "belongs to two resellers"),
        *_contradictions("Accounts", accounts, "reseller", "acceptance", "has two kinds of acceptance"),
        *_contradictions("Billing Numbers", btns, "btn", "account", "belongs to two accounts"),
    ]
    if wrong:
        raise UsageError(f"{path.name} was not loaded. " + "; ".join(wrong[:_LISTED]) + (" …" if len(wrong) > _LISTED else ""))
    filled = pl.col(pl.String).fill_null("")
    registry.load_catalogue(
        accounts.with_columns(filled).unique(["account", "product"], maintain_order=True).select(*ACCOUNT),
        access.with_columns(filled).unique(["access_number", "account"], maintain_order=True).select(*ACCESS),
        btns.select(pl.col("btn").cast(pl.Int64), "account").unique(maintain_order=True),
    )
    return CatalogueCounts(len(accounts), len(access), len(btns))


def _sheet(path: Path, title: str, columns: tuple[Column, ...], *, optional: bool = False) -> pl.DataFrame:
    """A sheet of the workbook as text, with `source_row`, the row in Excel, and `file` (0). An optional one may be missing."""
    import fastexcel

    try:
        book = fastexcel.read_excel(path)
        if optional and title not in book.sheet_names:
            return pl.DataFrame(schema={"file": pl.UInt32, "source_row": pl.UInt32, **{one.name: pl.String for one in columns}})
        sheet = book.load_sheet(title, header_row=None, skip_rows=0, dtypes="string")
    except (fastexcel.FastExcelError, OSError) as error:
        raise UsageError(f"{path} has no readable sheet “{title}”. A catalogue has the sheets Accounts and Access "
                         f"Numbers, and may have a sheet Billing Numbers. ({type(error).__name__})") from None  # fmt: skip
    grid = pl.DataFrame(sheet.to_arrow()).with_row_index("source_row", 1).with_columns(file=pl.lit(0, pl.UInt32))
    grid = grid.filter(pl.any_horizontal(pl.col(pl.String).str.contains(r"\S")))
    known = by_header(columns)
    titles = {
        place: header_key(str(text))
        for place, text in grid.head(1).drop("file", "source_row").to_dict(as_series=False).items()
        for text in text
    }
    places = [(known[key], place) for place, key in titles.items() if key in known]
    names = [name for name, _ in places]
    if missing := [column.header for column in columns[:2] if column.name not in names]:
        raise UsageError(f"Sheet {title} of {path.name} has no column {' and no column '.join(missing)}.")
    if twice := [column.header for column in columns if names.count(column.name) > 1]:
        raise UsageError(f"Sheet {title} of {path.name} has more than one column {' and '.join(twice)}.")
    cells = [pl.col(place).str.strip_chars().replace("", None).alias(name) for name, place in places]
    absent = [pl.lit(None, pl.String).alias(column.name) for column in columns if column.name not in names]
    frame = grid[1:].select("file", "source_row", *cells, *absent)
    return frame.filter(pl.any_horizontal(pl.exclude("file", "source_row").is_not_null()))


def _wrong(title: str, found: pl.DataFrame) -> Iterator[str]:
    for line, column, reason, value in found.select("source_row", "column", "reason", "value").iter_rows():
        yield f"{title} row {line}, {column.replace('_', ' ')} “{value or ''}”: {reason}"


def _contradictions(sheet: str, accounts: pl.DataFrame, key: str, value: str, words: str) -> list[str]:
    other_than_first = pl.col(value) != pl.col(value).drop_nulls().first().over(key)
    wrong = accounts.drop_nulls(key).filter(other_than_first).unique(key, keep="first", maintain_order=True)
    return [f"{sheet} row {line}, {value} “{other}”: {key} {name} {words}"
            for line, other, name in wrong.select("source_row", value, key).iter_rows()]  # fmt: skip


def import_codes(path: Path, registry: Registry, progress: Callable[[int], None] = lambda _: None) -> ImportCounts:
    """Enter the codes of a CSV or Parquet file as `external`; lines without 14 digits are left out.

    The file is read in portions, each one a transaction, so that memory stays bounded and an interrupted import can
    be run again. Raises UsageError when the file can't be used.
    """
    require_file(path)
    lines = new = invalid = 0
    for batch in _portions(path):
        codes = batch.filter(batch.str.contains(r"^[0-9]{14}$").fill_null(value=False))
        new += registry.import_codes(codes.cast(pl.Int64))
        lines, invalid = lines + len(batch), invalid + len(batch) - len(codes)
        progress(lines)
    return ImportCounts(lines, new, invalid)


def _portions(path: Path) -> Iterator[pl.Series]:
    """The codes of a file as text, in portions of a bounded size."""
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
