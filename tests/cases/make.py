"""Makes the inputs that no text editor can: `python -m tests.cases.make`. They are committed, so this is seldom run."""

import io
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from tests.conftest import row, xlsx_of

HERE = Path(__file__).parent


def good_workbook() -> bytes:
    """What people send: a title sheet first, empty rows on top, numbers for digits, a stored true, columns of their own."""
    book = Workbook()
    book.worksheets[0].append(["Orders of Acme, please handle with care"])
    page: Any = book.create_sheet("Orders")
    page["B3"], page["C3"], page["D3"], page["E3"], page["F3"], page["G3"] = "PON", "Acct", "PAN", "Access", "Code", "Qty"
    page["H3"], page["I3"], page["J3"] = "Intl Origin", "Our cost centre", "BTN"
    page["B4"], page["C4"], page["D4"], page["E4"], page["F4"], page["H4"] = (
        "CHOSEN", 10023456, 7001, 8008604444, 73905162840517, True,
    )  # fmt: skip
    page["B6"], page["C6"], page["D6"], page["E6"], page["G6"], page["I6"] = (
        "DRAWN",
        10023456,
        "7002",
        "800 860 4444",
        3,
        "CC-1",
    )
    page["B7"], page["C7"], page["D7"], page["E7"], page["G7"], page["J7"] = (
        "PINS", "10023456", 7001, "(800) 860-4444", 2.0, 3035550142,
    )  # fmt: skip
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def strange_cells() -> bytes:
    """Formulas without a stored value, an error, and characters that look like others."""
    return xlsx_of(
        row("RIGHT", quantity="1"),
        row("FORMULA", code="=A1&1"),
        row("ERROR", quantity="#N/A"),
        row("FULL-WIDTH", quantity="\uff13"),
        row("ZERO-WIDTH", code="73905162840517\u200b"),
        row("NO-BREAK\u00a0SPACE", quantity="1"),
        row("MIRRORED", quantity="1", comments="\u202egnp.exe"),
    )


INPUTS = {
    "good_workbook/orders.xlsx": good_workbook(),
    "strange_cells/orders.xlsx": strange_cells(),
    "file_type/orders.xlsx": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "file_damaged/orders.xlsx": good_workbook()[:3000],
    "file_encrypted/orders.xlsx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le"),
    "file_encoding/orders.csv": b"Customer Order ID,Comments\r\nONE,\x81 is nothing in Windows-1252\r\n",
    "file_too_large/orders.csv": ",".join(f"Column {number}" for number in range(257)).encode() + b"\r\n",
}


if __name__ == "__main__":
    for name, content in INPUTS.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_bytes(content)
