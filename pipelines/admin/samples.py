"""A sample catalogue, and a file of all settings as comments: what `cards init` lays out to be filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pipelines.common.settings import Settings
from schemas import catalogue

_ACCOUNTS: Final = [
    ("acme", "10023456", "7001", "Prepaid card, domestic", "whole", "", ""),
    ("acme", "10023456", "7002", "Prepaid card, international", "whole", "", ""),
    ("globex", "20098765", "8001", "Employee card", "partial", "", ""),
]
_ACCESS_NUMBERS: Final = [
    ("800-860-4444", "", "for everyone"),
    ("800-866-3691", "", "for everyone"),
    ("888-402-7755", "10023456", "Acme's own"),
]
_BILLING_NUMBERS: Final = [("303-555-0142", "10023456")]

_ABOUT_SETTINGS: Final = """\
# The settings of `cards`, with their defaults. The file is read in the folder where `cards` runs; an environment variable
# of the same name wins over a line here. To change a setting, remove the # before it.
"""


def write_catalogue(path: Path) -> None:
    """Write the sample catalogue as a workbook, all of its cells text."""
    sheets = {
        "Accounts": [[column.header for column in catalogue.ACCOUNTS], *_ACCOUNTS],
        "Access Numbers": [[column.header for column in catalogue.ACCESS_NUMBERS], *_ACCESS_NUMBERS],
        "Billing Numbers": [[column.header for column in catalogue.BILLING_NUMBERS], *_BILLING_NUMBERS],
    }
    write_workbook(path, sheets)


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[str]]], about: str = "Catalogue") -> None:
    """Write sheets that are tables of text, in whose columns zeros typed in front are kept."""
    from openpyxl import Workbook

    from pipelines.excel import look
    from pipelines.excel.openpyxl_package import save
    from pipelines.excel.openpyxl_style import Painter

    book, painter = Workbook(), Painter()
    book.remove(book.worksheets[0])
    for title, (headers, *rows) in sheets.items():
        sheet = book.create_sheet(title)
        longest = [max(map(len, column)) for column in zip(*rows, strict=True)] or [0] * len(headers)
        widths = [look.column_width(header, size) for header, size in zip(headers, longest, strict=True)]
        painter.table(sheet, title.replace(" ", "_"), headers, rows, widths)
        for column in sheet.iter_cols():
            sheet.column_dimensions[column[0].column_letter].number_format = look.TEXT
    save(book, path, about)


def write_settings(path: Path) -> None:
    """Write a file `.env` with every setting, its meaning and its default, as comments."""
    lines = (
        f"\n# {field.description}\n# CARDS_{name.upper()}={_text(field.default)}\n"
        for name, field in Settings.model_fields.items()
    )
    path.write_text(_ABOUT_SETTINGS + "".join(lines), "utf-8")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
