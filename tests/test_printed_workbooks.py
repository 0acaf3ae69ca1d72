"""Workbooks as LibreOffice prints them: a workbook of each kind, with nothing cut, nothing over another, and words large
enough to read.
"""

import re
from pathlib import Path

import openpyxl
import pytest

from tests import pictures
from tests.workbooks.rendering import MISSING, PrintedPage, Word, printed_pages, to_pdf

pytestmark = [pytest.mark.one_database, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

KINDS = {name: picture.workbook for name, picture in pictures.PICTURES.items()} | {
    "statement": "outbox/acme/statement-*.xlsx",
    "statements": "outbox/reconciliation/statements-*.xlsx",
    "refused": "outbox/acme/*october/refused-*-2-*.xlsx",
    "rejections in our layout": "outbox/globex/*/rejections.xlsx",
    "catalogue": "catalogue.xlsx",
}
LEAST_HEIGHT = 6.5
"""Of a printed line's box, in points: about its font's size."""


Printed = tuple[Path, list[PrintedPage]]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Printed]:
    folder = tmp_path_factory.mktemp("printed")
    pictures.play(folder / "home")
    workbooks = {name: next((folder / "home").glob(pattern)) for name, pattern in KINDS.items()}
    pdfs = to_pdf(workbooks, folder)
    return {name: (workbooks[name], printed_pages(pdf)) for name, pdf in pdfs.items()}


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, printed: dict[str, Printed]) -> Printed:
    return printed[request.param]


@pytest.fixture
def pages(both: Printed) -> list[PrintedPage]:
    return both[1]


def test_every_sheet_is_printed_on_few_pages(both: Printed) -> None:
    workbook, pages = both
    sheets = [page.title for page in openpyxl.load_workbook(workbook) if page.sheet_state == "visible"]
    assert list(dict.fromkeys(page.sheet for page in pages)) == sheets
    assert len(pages) <= len(sheets) + 2


def test_all_words_of_all_cells_are_printed_whole(both: Printed) -> None:
    workbook, pages = both
    for page in openpyxl.load_workbook(workbook):
        if page.sheet_state == "visible":
            shown = {word for one in pages if one.sheet == page.title for word in _words(*(word.text for word in one.words))}
            for line in page.iter_rows():
                for cell in line:
                    if isinstance(cell.value, str):
                        lost = _words(cell.value) - shown
                        assert not lost, f"{page.title} {cell.coordinate}: {lost}"
            assert "###" not in shown, f"{page.title}: a column is too narrow"


def _words(*texts: str) -> set[str]:
    """The words of texts. A line ends within one where it has a hyphen."""
    return {word for text in texts for word in re.findall(r"\w+|###", text)}


def test_words_lie_within_their_page_and_not_over_each_other(pages: list[PrintedPage]) -> None:
    for page in pages:
        for word in page.words:
            assert 0 < word.left < word.right < page.width, f"{page.sheet}: {word}"
            assert 0 < word.top < word.bottom < page.height, f"{page.sheet}: {word}"
        over = [(one.text, other.text) for n, one in enumerate(page.words) for other in page.words[:n] if _overlap(one, other)]
        assert over == [], page.sheet


def _overlap(one: Word, other: Word) -> bool:
    """Whether two words share more than the edges of their boxes. Words along an axis of a chart stand aslant."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    aslant = any(word.bottom - word.top > word.right - word.left for word in (one, other) if len(word.text) > 1)
    return across > 1 and down > 0.4 * min(one.bottom - one.top, other.bottom - other.top) and not aslant


def test_no_word_is_too_small_to_read(pages: list[PrintedPage]) -> None:
    for page in pages:
        long = (word for word in page.words if len(word.text) > 3)  # whose height is less than their length, or upright
        small = [word for word in long if min(word.bottom - word.top, word.right - word.left) < LEAST_HEIGHT]
        assert small == [], page.sheet
