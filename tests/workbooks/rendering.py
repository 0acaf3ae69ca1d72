"""Workbooks as LibreOffice prints them: pages, the words on them and where they stand, and pictures."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

TOOLS: Final = ("soffice", "pdftoppm", "pdftotext")
MISSING: Final = [tool for tool in TOOLS if not shutil.which(tool)]
_SPACE: Final = "{http://www.w3.org/1999/xhtml}"
_MARGIN: Final = 14
_NAME: Final = re.compile(r"^(.*) — page \d+ of \d+$")


class Word(NamedTuple):
    """A word on a page, and its box in points from the upper left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


class PrintedPage(NamedTuple):
    """A page: its number, its size in points, the sheet that its footer names, and its words."""

    number: int
    width: float
    height: float
    sheet: str
    words: list[Word]


def to_pdf(workbook: Path, folder: Path) -> Path:
    """Have LibreOffice print a workbook into a folder."""
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(folder), str(workbook)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder / f"{workbook.stem}.pdf"


def printed_pages(pdf: Path) -> list[PrintedPage]:
    """The pages of a printed workbook."""
    text = subprocess.run(["pdftotext", "-bbox", str(pdf), "-"], check=True, capture_output=True, timeout=60).stdout
    pages = ET.fromstring(re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"", text)).iter(f"{_SPACE}page")
    return [_page(number, page) for number, page in enumerate(pages, 1)]


def _page(number: int, page: ET.Element) -> PrintedPage:
    words = [Word(str(word.text), *(float(word.get(side, 0)) for side in ("xMin", "yMin", "xMax", "yMax")))
             for word in page.iter(f"{_SPACE}word")]  # fmt: skip
    footer = max((word.top for word in words), default=0)
    foot = _NAME.match(" ".join(word.text for word in words if word.top == footer))
    above = [word for word in words if word.top < footer] if foot else words
    return PrintedPage(number, float(page.get("width", 0)), float(page.get("height", 0)), foot[1] if foot else "", above)


def draw(pdf: Path, page: PrintedPage, target: Path, dots: int = 100) -> None:
    """Draw what is on a page, without its margins, as a PNG."""
    left, top = (min(getattr(word, side) for word in page.words) - _MARGIN for side in ("left", "top"))
    right, bottom = (max(getattr(word, side) for word in page.words) + _MARGIN for side in ("right", "bottom"))
    crop = [round(max(0, value) * dots / 72) for value in (left, top, right - left, bottom - top)]
    options = [option for pair in zip(("-x", "-y", "-W", "-H"), map(str, crop), strict=True) for option in pair]
    subprocess.run(
        ["pdftoppm", "-r", str(dots), "-f", str(page.number), "-l", str(page.number), "-singlefile", "-png", *options,
         str(pdf), str(target.with_suffix(""))],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
