"""A sample catalogue, and a file of all settings as comments: what `cards init` lays out to be filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pipelines.common.settings import Settings
from schemas import catalogue

_ACCOUNTS: Final = [
    ("acme", "10023456", "7001", "Prepaid card, domestic", "whole"),
    ("acme", "10023456", "7002", "Prepaid card, international", "whole"),
    ("globex", "20098765", "8001", "Employee card", "partial"),
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


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Write sheets of text below a bold header."""
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        for column in sheet.iter_cols():
            column[0].font = Font(bold=True)
            sheet.column_dimensions[column[0].column_letter].width = max(len(str(cell.value or "")) for cell in column) + 2
            sheet.column_dimensions[column[0].column_letter].number_format = "@"  # so that zeros typed in front are kept
            for cell in column:
                cell.number_format = "@"
        sheet.freeze_panes = "A2"
    book.save(path)


def write_settings(path: Path) -> None:
    """Write a file `.env` with every setting, its meaning and its default, as comments."""
    lines = (
        f"\n# {field.description}\n# CARDS_{name.upper()}={_text(field.default)}\n"
        for name, field in Settings.model_fields.items()
    )
    path.write_text(_ABOUT_SETTINGS + "".join(lines), "utf-8")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
