"""Budgets a reseller and day, so that nobody uses up what is there for all (item 7)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Answer, NewRegistry, Shop, csv_of, row, some_codes
from tests.security import worst
from tests.security.attack import BTN, House, globex
from tests.security.figures import LINES
from tests.security.watch import run_watched

pytestmark = pytest.mark.one_database

MakeShop = Callable[..., Shop]


@pytest.fixture
def shop_of(tmp_path: Path, new_registry: NewRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeShop]:
    """Makes a shop with these settings."""
    with new_registry() as url:
        made: list[Shop] = []

        def make(**settings: str) -> Shop:
            for name, value in settings.items():
                monkeypatch.setenv(f"CARDS_{name.upper()}", value)
            made.append(Shop(tmp_path / "home", url))
            return made[0]

        yield make
        made[0].registry.close()


def placed(answers: list[Answer]) -> dict[str, int]:
    """How many codes each file got."""
    return {answer.result["file"]: answer.result["codes_placed"] for answer in answers if answer.result["codes_placed"]}


def test_past_the_days_codes_orders_are_refused_until_the_next_day(shop_of: MakeShop) -> None:
    shop = shop_of(max_daily_codes="5")
    assert len(shop.send(row("A", quantity="3"), name="a.csv").codes) == 3
    refused = shop.send(row("B", quantity="3"), row("C", quantity="2"), name="b.csv")
    assert refused.result["reasons"] == {"QUOTA_EXCEEDED": 1}
    assert refused.result["codes_placed"] == 2, "what is refused leaves the budget to the others"
    assert shop.send(row("D", btn=BTN, quantity="1"), name="d.csv").reasons == {2: ["QUOTA_EXCEEDED"]}
    assert len(shop.send(globex("A", quantity="5"), name="theirs.csv", source="globex").codes) == 5
    assert len(shop.send(row("H", quantity="6"), name="house.csv", source="house").codes) == 6
    shop.later(days=1)
    assert len(shop.send(row("B", quantity="3"), name="b2.csv").codes) == 3


def test_files_of_one_batch_share_the_budget(shop_of: MakeShop) -> None:
    shop = shop_of(max_daily_codes="5")
    for number in range(4):
        shop.drop(f"{number}.csv", csv_of(row(f"O{number}", quantity="2")))
    shop.drop("theirs.csv", csv_of(globex("O", quantity="4")), "globex")
    answers = shop.run()
    found = placed(answers)
    assert found.pop("theirs.csv") == 4
    assert sum(found.values()) == 4
    assert {reason for answer in answers for reason in answer.result["reasons"]} == {"QUOTA_EXCEEDED"}


def test_an_order_that_is_wrong_anyway_costs_nothing_of_the_budget(shop_of: MakeShop) -> None:
    shop = shop_of(max_daily_codes="5")
    shop.send(row("A", quantity="5", product="8001"), row("B", quantity="9", access_number="8776662093"), name="a.csv")
    assert len(shop.send(row("C", quantity="5"), name="c.csv").codes) == 5
    assert shop.send(row("D", quantity="1"), name="d.csv").reasons == {2: ["QUOTA_EXCEEDED"]}


def _orders(name: str, rows: int = 1, comments: str = "") -> bytes:
    return csv_of(*(row(f"{name}-{n}", quantity="1", comments=comments) for n in range(rows)))


@pytest.mark.parametrize(
    ("setting", "value", "allowed", "content"),
    [
        ("max_daily_files", "2", 2, _orders),
        ("max_daily_mb", "1", 1, lambda name: _orders(name, 2) + b"," * 700_000 + b"\n"),
    ],
    ids=["files", "MB"],
)
def test_past_the_days_files_or_bytes_the_rest_waits(
    setting: str, value: str, allowed: int, content: Callable[[str], bytes], shop_of: MakeShop
) -> None:
    shop = shop_of(**{setting: value})
    for number in range(4):
        shop.drop(f"{number}.csv", content(f"O{number}"))
        shop.drop(f"house{number}.csv", content(f"H{number}"), "house")
    shop.drop("theirs.csv", csv_of(globex("THEIRS", quantity="1")), "globex")
    answers = shop.run() + shop.run()
    found = placed(answers)
    assert "theirs.csv" in found
    assert {name for name in found if name.startswith("house")} == {f"house{n}.csv" for n in range(4)}
    assert len([name for name in found if name[0].isdigit()]) <= allowed + 1
    assert len(found) < 9
    assert {reason for answer in answers for reason in answer.result["reasons"]} <= {"QUOTA_EXCEEDED"}
    waiting = len(shop.waiting())
    shop.later(days=1)
    assert shop.run() or not waiting, "what has waited is answered on the next day"


@pytest.mark.heavy
def test_past_the_days_parse_seconds_files_wait(tmp_path: Path) -> None:
    house = House(tmp_path / "home", CARDS_MAX_DAILY_PARSE_SECONDS="0.2").lay()
    for number in range(6):
        house.drop(f"{number}.csv", worst.large(number, 100_000) + b"," * 3_000_000)
    house.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    result = [one["file"] for one in house.run()]
    assert "good.csv" in result
    assert len(result) < 7


def test_files_of_one_order_id_cost_little_more_than_others(shop_of: MakeShop) -> None:
    shop = shop_of()
    seconds: dict[str, float] = {}
    for turn in range(2):  # the better of two, as the machine may stand still for a second
        for kind in ("others", "same"):
            for number in range(40):
                reference = f"O{turn}-{number}" if kind == "others" else f"SAME{turn}"
                shop.drop(f"{kind}{turn}-{number}.csv", csv_of(row(reference, quantity="1", comments=f"number {number}")))
            begin = time.monotonic()
            assert len(shop.run()) == 40
            seconds[kind] = min(seconds.get(kind, float("inf")), time.monotonic() - begin)
    assert seconds["same"] - seconds["others"] < 40 * 0.04


def test_copies_of_a_file_that_was_answered_cost_little(shop_of: MakeShop) -> None:
    """Copies draw nothing, so that no budget of codes ever ends them."""
    shop = shop_of()
    content = csv_of(row("MANY", quantity="20000"))
    shop.drop("first.csv", content)
    shop.run()
    before = sum(path.stat().st_size for path in shop.settings.outbox.rglob("*") if path.is_file())
    for number in range(4):
        shop.drop(f"copy{number}.csv", content)
    assert len(shop.run()) == 4
    grown = sum(path.stat().st_size for path in shop.settings.outbox.rglob("*") if path.is_file()) - before
    assert grown < 4 * 100_000


@pytest.mark.heavy
def test_three_hundred_files_of_one_order_id(tmp_path: Path) -> None:
    house = House(tmp_path / "home").lay()
    for number in range(300):
        house.drop(f"{number}.csv", worst.one_order(number))
    house.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    figures = run_watched(house, "good.csv", 120).report("300 files of one Customer Order ID", 300 * 150)
    assert figures.ended
    assert figures.seconds < 300 * 0.02 + 8


@pytest.mark.heavy
def test_four_small_files_draw_no_more_than_the_budget(tmp_path: Path) -> None:
    house = House(tmp_path / "home", CARDS_MAX_DAILY_CODES="1000000").lay()
    for number in range(4):
        house.drop(f"{number}.csv", csv_of(row(f"O{number}", quantity="1000000")))
    house.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    figures = run_watched(house, "good.csv", 300).report("four orders of 1,000,000 codes", 4 * 150)
    size = sum(path.stat().st_size for path in house.home.rglob("*") if path.is_file()) / 1e6
    LINES[-1] = LINES[-1].replace("codes |", f"codes ({size:,.0f} MB of disk) |")
    assert figures.ended
    assert figures.peak < 1_500
    assert size < 250


@pytest.mark.heavy
def test_bad_rows_of_ones_own_btns_cost_little(tmp_path: Path) -> None:
    house = House(tmp_path / "home").lay()
    content = (
        worst.billing_numbers(100_000).replace(b"20098765,8001", b"10023456,7001").replace(b"BTN+4,,1", b"BTN+4,,20000000")
    )
    house.drop("btns.csv", content)
    house.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    figures = run_watched(house, "good.csv", 120).report("100,000 refused rows, each of a BTN of its own", len(content))
    assert figures.ended
    assert 0 <= figures.waited < 30


def test_codes_that_were_chosen_are_never_placed_twice_by_many_files(shop_of: MakeShop) -> None:
    """What the quicker way for files that share something must not break."""
    shop = shop_of()
    codes = some_codes(3)
    for number in range(12):
        shop.drop(f"{number}.csv", csv_of(row("SAME", code=codes[number % 3]), row(f"O{number}", code=codes[(number + 1) % 3])))
    answers = shop.run()
    issued = [code for answer in answers for code in answer.codes]
    assert sorted(issued) == sorted(codes)
    assert len(answers) == 12
