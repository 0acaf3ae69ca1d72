"""One reseller's files neither stop nor starve the others: memory, time, turns (items 3 and 4)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.findings import MAX_FINDINGS
from tests.conftest import NewRegistry, Shop, csv_of, read_csv, row, some_codes
from tests.security import worst
from tests.security.attack import ROOT, House, globex
from tests.security.watch import run_watched

pytestmark = pytest.mark.slow

MEMORY_MB, WAITING_SECONDS, ALL_SECONDS = 1_500, 30, 60
GOOD = csv_of(globex("GOOD", quantity="1"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "home").lay()


def reasons(house: House) -> dict[str, int]:
    """The reasons of the one file in the inbox."""
    (result,) = house.run()
    found: dict[str, int] = result["reasons"]
    return found


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_file_of_too_many_errors_is_answered_as_a_whole_with_the_first_ones(house: House) -> None:
    house.environment["CARDS_MAX_FINDINGS"] = "50"
    house.drop("bad.csv", csv_of(row("GOOD", quantity="1"), *(row(f"B{n}", quantity="x") for n in range(200))))
    (result,) = house.run()
    assert "FILE_TOO_MANY_ERRORS" in result["reasons"]
    assert (result["orders_placed"], result["codes_placed"]) == (0, 0)
    assert set(result["reasons"]) <= {"FILE_TOO_MANY_ERRORS", "QUANTITY_FORMAT"}
    lines = read_csv(house.home / result["folder"] / "rejections.csv")
    assert 1 <= len(lines) < 200
    assert "QUANTITY_FORMAT" in " ".join(lines["Reason"])


@pytest.mark.parametrize("wrong", [{"quantity": "0"}, {"account": "20098765", "product": "8001", "quantity": "1"}])
def test_no_row_is_taken_for_a_good_one_because_there_are_too_many_bad_ones(wrong: dict[str, str], house: House) -> None:
    """What a rule finds is cut to a number; the rows beyond it were placed, on accounts of others too."""
    house.drop("bad.csv", csv_of(*(row(f"B{n}", **wrong) for n in range(MAX_FINDINGS + 1_000))))
    (result,) = house.run()
    assert (result["orders_placed"], result["codes_placed"]) == (0, 0)
    assert result["reasons"].pop("FILE_TOO_MANY_ERRORS") == 1
    assert list(result["reasons"].values()) == [100]


def test_what_the_registry_finds_counts_as_findings(house: House) -> None:
    house.environment["CARDS_MAX_FINDINGS"] = "50"
    house.drop("bad.csv", csv_of(row("GOOD", quantity="1"), *(row(f"B{n}", product="8001", quantity="1") for n in range(51))))
    (result,) = house.run()
    assert (result["orders_placed"], result["reasons"]) == (0, {"FILE_TOO_MANY_ERRORS": 1, "PRODUCT_UNKNOWN": 51})
    house.drop("few.csv", csv_of(row("GOOD", quantity="1"), *(row(f"B{n}", product="8001", quantity="1") for n in range(50))))
    (result,) = house.run()
    assert (result["orders_placed"], result["reasons"]) == (1, {"PRODUCT_UNKNOWN": 50})


def test_a_file_of_too_many_bytes_is_answered_and_not_kept(house: House) -> None:
    """Its copy would count against nobody's disk but ours."""
    house.environment["CARDS_MAX_FILE_MB"] = "1"
    dropped = house.drop("large.csv", csv_of(row("A", quantity="1")) + b"," * (3 << 20))
    (result,) = house.run()
    assert result["reasons"] == {"FILE_TOO_LARGE": 1}
    assert "the file was not kept" in read_csv(house.home / result["folder"] / "rejections.csv")["What to fix"].item()
    assert {path.name for path in (house.home / result["folder"]).iterdir()} == {
        "rejections.csv", "rejections.xlsx", "status.json",
    }  # fmt: skip
    assert not dropped.exists()
    assert house.cards("verify").code == 0


def test_faults_of_cells_count_as_findings(house: House) -> None:
    house.environment["CARDS_MAX_FINDINGS"] = "50"
    house.drop("formulas.xlsx", worst.formulas(200))
    assert "FILE_TOO_MANY_ERRORS" in reasons(house)
    house.drop("zero-width.csv", worst.zero_width(200))
    assert "FILE_TOO_MANY_ERRORS" in reasons(house)


def test_a_cell_of_too_many_codes_is_one_finding_and_the_other_orders_go_on(house: House) -> None:
    (code,) = some_codes(1)
    crowded = [row(f"C{n}", code=" ".join(["1"] * 1_001)) for n in range(3)]
    house.drop("codes.csv", csv_of(*crowded, row("GOOD", code=code), row("FEW", code=" ".join(["1"] * 1_000))))
    (result,) = house.run()
    assert (result["orders_placed"], result["rows_rejected"]) == (1, 4)
    assert result["reasons"] == {"CODE_FORMAT": 4}
    lines = read_csv(house.home / result["folder"] / "rejections.csv")
    assert "more than 1,000 codes in one cell" in " ".join(lines.row(0))


def test_a_file_that_names_too_many_codes_is_too_large(house: House) -> None:
    house.environment["CARDS_MAX_QUANTITY"] = "10"
    codes = some_codes(22)
    house.drop("eleven.csv", csv_of(row("A", code=" ".join(codes[:6])), row("B", code=",".join(codes[6:11]))))
    assert reasons(house) == {"FILE_TOO_LARGE": 1}
    house.drop("ten.csv", csv_of(row("A", code=" ".join(codes[:6])), row("B", code=" ".join(codes[6:10]))))
    assert reasons(house) == {}


@pytest.mark.parametrize("kind", ["shared strings", "text"])
def test_a_file_of_too_much_text_after_parsing_is_too_large(kind: str, house: House) -> None:
    house.environment["CARDS_MAX_TEXT_MB"] = "1"
    content = (
        worst.shared_strings(20)
        if kind == "shared strings"
        else csv_of(*(row(f"R{n}", quantity="1", comments="x" * 9_000) for n in range(130)))
    )
    house.drop("large.xlsx", content)
    assert reasons(house) == {"FILE_TOO_LARGE": 1}


def test_what_the_registry_keeps_of_a_rejection_is_short(house: House) -> None:
    before = sum(path.stat().st_size for path in house.home.glob("registry.db*"))
    house.drop("shared.xlsx", worst.shared_strings(100))
    house.run()
    grown = sum(path.stat().st_size for path in house.home.glob("registry.db*")) - before
    assert grown < 3 << 20, f"{grown / 1e6:.0f} MB of registry for a file of {len(worst.shared_strings(100)) / 1e3:.0f} KB"


def test_a_comment_does_not_hold_the_parser(house: House) -> None:
    house.environment["CARDS_PARSER_SECONDS"] = "5"
    house.drop("comment.xlsx", worst.comment(400_000))
    (result,) = house.run()
    assert (result["orders_placed"], result["reasons"]) == (1, {})


# -- turns -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, sqlite: NewRegistry) -> Iterator[Shop]:
    with sqlite() as url:
        made = Shop(tmp_path / "home", url)
        yield made
        made.registry.close()


def test_who_sets_back_the_clock_of_a_file_comes_no_earlier(shop: Shop) -> None:
    (code,) = some_codes(1)
    theirs = shop.drop("theirs.csv", csv_of(globex("THEIRS", code=code)), "globex")
    time.sleep(0.1)
    mine = shop.drop("mine.csv", csv_of(row("MINE", code=code)))
    os.utime(mine, (978_307_200, 978_307_200))
    assert theirs.stat().st_ctime_ns < mine.stat().st_ctime_ns
    answers = {answer.result["reseller"]: answer for answer in shop.run()}
    assert answers["globex"].codes == [code]
    assert answers["acme"].reasons == {2: ["CODE_TAKEN"]}


def test_a_time_that_lies_ahead_holds_up_nobody(shop: Shop) -> None:
    ahead = shop.drop("ahead.csv", csv_of(row("AHEAD", quantity="1")))
    os.utime(ahead, (4_000_000_000, 4_000_000_000))
    shop.drop("good.csv", GOOD, "globex")
    assert {answer.result["file"] for answer in shop.run()} == {"ahead.csv", "good.csv"}


@pytest.mark.parametrize("checkpoint", ["read", "decided"])
def test_a_file_that_two_runs_died_of_is_set_aside(checkpoint: str, house: House) -> None:
    house.drop("poison.csv", csv_of(row("POISON", quantity="1")))
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "tests.security.dies", checkpoint], cwd=ROOT, env=house.environment, check=False
        )
        assert done.returncode == 9
    house.drop("good.csv", GOOD, "globex")
    result = {one["file"]: one for one in house.run()}
    assert result["good.csv"]["codes_placed"] == 1
    assert result["poison.csv"]["codes_placed"] == 0
    assert len(result["poison.csv"]["reasons"]) == 1
    assert not list((house.inbox / "acme").iterdir())
    assert (house.home / result["poison.csv"]["folder"] / "poison.csv").exists()
    assert house.run() == []


def test_a_file_that_one_run_died_of_is_answered_by_the_next(house: House) -> None:
    house.drop("orders.csv", csv_of(row("ONE", quantity="1")))
    done = subprocess.run([sys.executable, "-m", "tests.security.dies", "read"], cwd=ROOT, env=house.environment, check=False)
    assert done.returncode == 9
    (result,) = house.run()
    assert result["codes_placed"] == 1


# -- the heavy ones ----------------------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("name", worst.WORST)
def test_the_worst_files_cost_little(name: str, house: House) -> None:
    file, make = worst.WORST[name]
    content = make()
    house.drop(file, content)
    house.drop("good.csv", GOOD, "globex")
    figures = run_watched(house, "good.csv", 300).report(name, len(content))
    assert figures.ended
    assert figures.peak < MEMORY_MB
    assert 0 <= figures.waited < WAITING_SECONDS


@pytest.mark.heavy
def test_three_workbooks_of_shared_strings_cost_no_more_than_one(house: House) -> None:
    contents = [worst.shared_strings(4_000, 10_000 - n) for n in range(3)]
    for number, content in enumerate(contents):
        house.drop(f"{number}.xlsx", content)
    house.drop("good.csv", GOOD, "globex")
    figures = run_watched(house, "good.csv").report("three of one shared string each", sum(map(len, contents)))
    assert figures.ended
    assert figures.peak < MEMORY_MB


@pytest.mark.heavy
def test_four_slow_files_of_2001_keep_nobody_waiting(house: House) -> None:
    contents = [worst.comment(700_000, f"SLOW{n}") for n in range(4)]
    for number, content in enumerate(contents):
        os.utime(house.drop(f"{number}.xlsx", content), (978_307_200, 978_307_200))
    house.drop("good.csv", GOOD, "globex")
    figures = run_watched(house, "good.csv").report("four comments, dated 2001", sum(map(len, contents)))
    assert figures.ended
    assert 0 <= figures.waited < WAITING_SECONDS


@pytest.mark.heavy
def test_large_files_keep_nobody_waiting(house: House) -> None:
    contents = [worst.large(n) for n in range(4)]
    for number, content in enumerate(contents):
        house.drop(f"{number}.csv", content)
    house.drop("good.csv", GOOD, "globex")
    figures = run_watched(house, "good.csv", 240).report("four files of 400,000 wrong rows", sum(map(len, contents)))
    assert figures.ended
    assert figures.peak < MEMORY_MB
    assert 0 <= figures.waited < WAITING_SECONDS


@pytest.mark.heavy
def test_an_order_id_of_many_cards_that_is_named_by_many_rows(house: House) -> None:
    house.drop("cards.csv", csv_of(row("MANY", quantity="100000")))
    house.run()
    content = worst.order_ids()
    house.drop("block.csv", content)
    house.drop("good.csv", GOOD, "globex")
    figures = run_watched(house, "good.csv").report("an Order ID of 100,000 cards in 4,000 rows", len(content))
    assert figures.ended
    assert figures.peak < MEMORY_MB
    assert 0 <= figures.waited < WAITING_SECONDS


@pytest.mark.heavy
def test_a_file_that_a_run_died_of_does_not_kill_every_later_one(house: House) -> None:
    house.drop("zero-width.csv", worst.zero_width())
    house.drop("good.csv", GOOD, "globex")
    for _ in range(3):
        figures = run_watched(house, "good.csv")
    figures.report("the same file, in the third run", len(worst.zero_width()))
    assert figures.ended
    assert (house.outbox / "globex").exists()
    assert not list((house.inbox / "acme").iterdir())
