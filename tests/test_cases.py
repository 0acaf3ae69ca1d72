"""Golden cases: each folder of `tests/cases` holds an order file and the reports that must come of it, byte for byte.

`orders.csv` or `orders.xlsx` is dropped; before it, where there is one, `earlier.csv`. The reseller is acme, or who
`source.txt` names; `settings.json` has settings other than the usual. `confirmation.csv` and `rejections.csv` are what must
come; one that is not there must not come. After a change that is meant, `pytest tests/test_cases.py --golden` writes them
again: read the difference before you commit it. A bug in the field leaves a case behind. `python -m tests.cases.make` makes
the inputs that are no text.
"""

import json
import shutil
from pathlib import Path

import pytest

from schemas.reasons import REASONS
from tests.conftest import NewRegistry, Shop, read_csv

pytestmark = pytest.mark.one_database

FOLDER = Path(__file__).parent / "cases"
CASES = sorted(path.name for path in FOLDER.iterdir() if list(path.glob("orders.*")))
REPORTS = ("confirmation.csv", "rejections.csv")
OF_CARDS_THAT_EXIST = {"CARD_UNKNOWN", "CARD_NOT_READY", "CARD_DISCONNECTED", "NOTHING_TO_CHANGE"}
OF_A_DAY = {"FILE_HELD", "QUOTA_EXCEEDED"}
OF_RUNS_THAT_DIED = {"FILE_SET_ASIDE"}
OF_NETWORK_REPORTS = {"REPORT_ORDER_ID"}
OF_DECISIONS = {"ORDER_NOT_APPROVED"}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, new_registry: NewRegistry, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    case = FOLDER / name
    source = (case / "source.txt").read_text().strip() if (case / "source.txt").exists() else "acme"
    (given,) = case.glob("orders.*")
    with new_registry() as url:
        shop = Shop(tmp_path, url, **json.loads(_content(case / "settings.json") or b"{}"))
        if (case / "earlier.csv").exists():
            shop.drop("earlier.csv", (case / "earlier.csv").read_bytes(), source)
            shop.run()
        shop.drop(given.name, given.read_bytes(), source)
        (answer,) = shop.run()
        shop.registry.close()
    if pytestconfig.getoption("--golden"):
        for report in REPORTS:
            (case / report).unlink(missing_ok=True)
            if (answer.folder / report).exists():
                shutil.copyfile(answer.folder / report, case / report)
    for report in REPORTS:
        assert _content(answer.folder / report) == _content(case / report), report
    assert (answer.folder / given.name).read_bytes() == given.read_bytes()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def test_the_cases_cover_every_reason_for_which_new_cards_are_refused() -> None:
    result = {
        reason
        for name in CASES
        for joined in read_csv(FOLDER / name / "rejections.csv")["Reason"]
        for reason in joined.split("; ")
    }
    others = OF_CARDS_THAT_EXIST | OF_A_DAY | OF_RUNS_THAT_DIED | OF_NETWORK_REPORTS | OF_DECISIONS
    assert result == set(REASONS) - others


def test_the_cases_have_orders_of_every_code_type_that_are_placed() -> None:
    placed = read_csv(FOLDER / "good_orders" / "confirmation.csv")
    assert set(placed["Customer Order ID"]) == {"CHOSEN", "DRAWN", "PINS", "ZEROS"}
