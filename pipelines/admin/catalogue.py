"""The catalogue: which accounts a reseller orders on, which access numbers are offered, whose a BTN is.

A workbook is read and checked as a whole, compared with the catalogue in force, and replaces it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.admin.samples import write_workbook
from pipelines.common.context import Runtime
from pipelines.common.errors import UsageError, require_file
from pipelines.common.words import count
from pipelines.notify.channels import mask_addresses
from pipelines.registry import audit_trail
from pipelines.registry.schema import ACCESS, ACCOUNT, BILLING_NUMBER
from pipelines.registry.store import Registry
from schemas import catalogue, telephone
from schemas.findings import schema_findings
from schemas.headers import Column, by_header, header_key

_LISTED: Final = 10
SHEETS: Final = {"Accounts": catalogue.ACCOUNTS, "Access Numbers": catalogue.ACCESS_NUMBERS,
                 "Billing Numbers": catalogue.BILLING_NUMBERS}  # fmt: skip
_KEYS: Final = {"Accounts": ["account", "product"], "Access Numbers": ["access_number", "account"], "Billing Numbers": ["btn"]}


class Catalogue(NamedTuple):
    """The three tables of a catalogue; see ACCOUNT, ACCESS and BILLING_NUMBER of the registry's schema."""

    accounts: pl.DataFrame
    access_numbers: pl.DataFrame
    billing_numbers: pl.DataFrame

    def shown(self) -> "Catalogue":
        """The catalogue as people see it: without the passwords and tokens of addresses."""
        return self._replace(accounts=self.accounts.with_columns(pl.col("notify").map_elements(mask_addresses, pl.String)))

    def sheets(self) -> dict[str, pl.DataFrame]:
        """The tables by the titles of their sheets, all of their columns text."""
        accounts = self.accounts.with_columns(pl.col("approve_above").cast(pl.String).replace("0", ""))
        return {
            title: table.select([column.name for column in SHEETS[title]]).cast(pl.String)
            for title, table in zip(SHEETS, self._replace(accounts=accounts), strict=True)
        }


@dataclass(frozen=True)
class CatalogueChange:
    """A row that a workbook adds to the catalogue in force, removes or changes. `row`: its values under their headers, and
    of a change what they were.
    """

    sheet: str
    change: str
    row: dict[str, str]


def load_catalogue(path: Path, registry: Registry, runtime: Runtime = Runtime(), *, force: bool = False) -> Catalogue:
    """Replace the registry's catalogue by that of a workbook, with an entry in the audit trail.

    Raises UsageError, and loads nothing, with every cell that is wrong, and without `force` also when a reseller would be
    dropped whose orders still await the network.
    """
    new = read_catalogue(path)
    if not force and (dropped := dropped_resellers(new, registry)):
        words = ", ".join(f"{reseller} ({count(orders, 'order')})" for reseller, orders in dropped.items())
        raise UsageError(f"{path.name} was not loaded. It drops resellers whose orders await the network: {words}. "
                         "Load it with --force if that is what you want.")  # fmt: skip
    changes = Counter(change.change for change in differences(new, registry))
    about = ", ".join(f"{count(changes[what], 'row')} {what}" for what in ("added", "removed", "changed"))
    registry.load_catalogue(*new, audit_trail.entry_of(runtime, "loaded the catalogue", path.name, about))
    return new


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue of a workbook. Raises UsageError with every cell that is wrong."""
    require_file(path)
    accounts = _sheet(path, "Accounts", catalogue.ACCOUNTS)
    access = _sheet(path, "Access Numbers", catalogue.ACCESS_NUMBERS)
    accounts = accounts.with_columns(
        pl.col("reseller").str.to_lowercase(),
        pl.col("acceptance").str.to_lowercase().fill_null("whole"),
        pl.col("approve_above").str.replace_all(",", ""),
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
        *_contradictions("Accounts", accounts, "reseller", "notify", "is notified in two ways"),
        *_contradictions("Accounts", accounts, "reseller", "approve_above", "has two limits of approval"),
        *_contradictions("Billing Numbers", btns, "btn", "account", "belongs to two accounts"),
    ]
    if wrong:
        raise UsageError(f"{path.name} was not loaded. " + "; ".join(wrong[:_LISTED]) + (" …" if len(wrong) > _LISTED else ""))
    filled = pl.col(pl.String).fill_null("")
    return Catalogue(
        accounts.cast({"approve_above": pl.Int64})
        .with_columns(filled, pl.col("approve_above").fill_null(0))
        .unique(["account", "product"], maintain_order=True)
        .select(*ACCOUNT),
        access.with_columns(filled).unique(["access_number", "account"], maintain_order=True).select(*ACCESS),
        btns.cast({"btn": pl.Int64}).select(*BILLING_NUMBER).unique(maintain_order=True),
    )


def current_catalogue(registry: Registry) -> Catalogue:
    """The catalogue in force."""
    return Catalogue(*registry.catalogue(), registry.billing_numbers())


def write_current(path: Path, registry: Registry) -> None:
    """Write the catalogue in force as a workbook, to be edited and loaded. Raises UsageError when the file exists."""
    if path.exists():
        raise UsageError(f"{path} exists already; it is never overwritten.")
    sheets = current_catalogue(registry).sheets()
    write_workbook(path, {title: [_headers(title), *rows.rows()] for title, rows in sheets.items()})


def _headers(title: str) -> list[str]:
    return [column.header for column in SHEETS[title]]


def dropped_resellers(new: Catalogue, registry: Registry) -> dict[str, int]:
    """The resellers that a new catalogue lacks although their orders await the network, and how many orders do."""
    before = registry.catalogue()[0]["reseller"].unique()
    gone = before.filter(~before.is_in(new.accounts["reseller"].implode()))
    return dict(registry.awaiting_by_source(gone).sort("source").iter_rows())


def differences(new: Catalogue, registry: Registry) -> list[CatalogueChange]:
    """What loading a catalogue would change, row by row: added, removed and changed rows of each sheet."""
    before, after = current_catalogue(registry).shown().sheets(), new.shown().sheets()
    return [change for title in SHEETS for change in _differences(title, before[title], after[title])]


def _differences(title: str, before: pl.DataFrame, after: pl.DataFrame) -> Iterator[CatalogueChange]:
    key = _KEYS[title]
    values = [name for name in before.columns if name not in key]
    both = before.join(after, on=key, suffix="_new", maintain_order="left")
    changed = both.filter(pl.any_horizontal([pl.col(name) != pl.col(f"{name}_new") for name in values]))
    headers = dict(zip(before.columns, _headers(title), strict=True))
    for what, rows in (("removed", before.join(after, on=key, how="anti", maintain_order="left")),
                       ("added", after.join(before, on=key, how="anti", maintain_order="left"))):  # fmt: skip
        for row in rows.rename(headers).iter_rows(named=True):
            yield CatalogueChange(title, what, row)
    words = [
        pl.when(pl.col(name) == pl.col(f"{name}_new")).then(name)
        .otherwise(pl.format("{} → {}", _shown(name), _shown(f"{name}_new"))).alias(headers[name]) for name in values
    ]  # fmt: skip
    for row in changed.select(*(pl.col(name).alias(headers[name]) for name in key), *words).iter_rows(named=True):
        yield CatalogueChange(title, "changed", row)


def _shown(name: str) -> pl.Expr:
    return pl.when(pl.col(name) == "").then(pl.lit("(empty)")).otherwise(name)


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
        shown = mask_addresses(value or "") if column == "notify" else value or ""
        yield f"{title} row {line}, {column.replace('_', ' ')} “{shown}”: {reason}"


def _contradictions(sheet: str, accounts: pl.DataFrame, key: str, value: str, words: str) -> list[str]:
    other_than_first = pl.col(value) != pl.col(value).drop_nulls().first().over(key)
    wrong = accounts.drop_nulls(key).filter(other_than_first).unique(key, keep="first", maintain_order=True)
    shown = mask_addresses if value == "notify" else str
    return [f"{sheet} row {line}, {value} “{shown(other)}”: {key} {name} {words}"
            for line, other, name in wrong.select("source_row", value, key).iter_rows()]  # fmt: skip
