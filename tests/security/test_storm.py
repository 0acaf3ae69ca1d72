"""Two hundred of the worst files of one reseller, and one good file of another."""

from pathlib import Path

import pytest

from tests.conftest import csv_of, row
from tests.security import worst
from tests.security.attack import House, globex
from tests.security.test_limits import MEMORY_MB, WAITING_SECONDS
from tests.security.watch import run_watched


def storm(number: int) -> tuple[str, bytes]:
    """One of the worst files, none like another."""
    kinds = [
        lambda: ("shared.xlsx", worst.shared_strings(4_000, 9_000 + number)),
        lambda: ("comment.xlsx", worst.comment(600_000 + 5 * number, f"SLOW{number}")),
        lambda: ("formulas.xlsx", worst.formulas(20_000 + number)),
        lambda: ("merged.xlsx", worst.merged() + bytes(number)),
        lambda: ("tokens.csv", worst.tokens(300 + number)),
        lambda: ("zero-width.csv", worst.zero_width(60_000 + number)),
        lambda: ("large.csv", worst.large(number, 40_000)),
        lambda: ("same.csv", worst.one_order(number)),
        lambda: ("drawn.csv", csv_of(row(f"O{number}", quantity="200000"))),
        lambda: ("btns.csv", worst.billing_numbers(30_000 + number)),
    ]
    name, content = kinds[number % len(kinds)]()
    return f"{number}-{name}", content


@pytest.mark.long
def test_a_storm_of_one_reseller_keeps_no_other_waiting(tmp_path: Path) -> None:
    house = House(tmp_path / "home").lay()
    size = 0
    for number in range(200):
        name, content = storm(number)
        house.drop(name, content)
        size += len(content)
    house.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    figures = run_watched(house, "good.csv", 1_800).report("a storm of 200 of the worst files", size)
    assert 0 <= figures.waited < WAITING_SECONDS
    assert figures.peak < MEMORY_MB
    assert figures.ended
    later = house.drop("later.csv", csv_of(globex("LATER", quantity="1")), "globex")
    assert 0 <= run_watched(house, "later.csv", 120).waited < WAITING_SECONDS
    assert not later.exists()
