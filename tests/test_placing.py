"""How codes are drawn: uniform over what is free, never what is taken, and to the last PIN of a BTN."""

import os
import random
from collections import Counter
from itertools import chain, repeat
from statistics import NormalDist

import polars as pl
import pytest

from pipelines.codes import allocation, capacity
from tests.conftest import Shop, obeys, row, run_in
from tests.test_codes import digit_counts

FALSE_ALARM = 1e-9
"""How often a test of uniformity fails though all is right; each draws from the system's own source of randomness."""

BTN = 3035550142
NONE = pl.Series("code", [], pl.Int64)
TOP = 2**64


def critical(freedom: int) -> float:
    """The value that chi-square exceeds once in 1 / FALSE_ALARM times (by Wilson and Hilferty, good to 2 %)."""
    share = 2 / (9 * freedom)
    return float(freedom * (1 - share + NormalDist().inv_cdf(1 - FALSE_ALARM) * share**0.5) ** 3)


def nothing(_: pl.Series) -> pl.Series:
    return NONE


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def pins_wanted(*quantities: int, btn: int = BTN) -> pl.DataFrame:
    lines = {"row_id": list(range(len(quantities))), "btn": [btn] * len(quantities), "quantity": list(quantities)}
    return pl.DataFrame(lines, {"row_id": pl.UInt32, "btn": pl.Int64, "quantity": pl.Int64})


def test_critical_values_are_those_of_the_tables() -> None:
    assert critical(9) == pytest.approx(62.9, rel=0.02)
    assert critical(100) == pytest.approx(209.9, rel=0.01)


def test_codes_are_uniform_at_every_place() -> None:
    drawn = allocation.valid_numbers(400_000).cast(pl.String)
    expected = digit_counts()
    for place in range(14):
        seen = Counter(drawn.str.slice(place, 1).cast(pl.Int64))
        share = {digit: ways / expected[place].total() for digit, ways in expected[place].items()}
        assert set(seen) == set(share)
        chi_square = sum((seen[digit] - len(drawn) * p) ** 2 / (len(drawn) * p) for digit, p in share.items())
        assert chi_square < critical(len(share) - 1), f"place {place + 1}: {seen}"


@pytest.mark.parametrize(("first", "second"), [(700, 900), (1_300, 1_700)], ids=["few of a BTN", "many of a BTN"])
def test_pins_are_uniform_over_those_that_are_free(first: int, second: int) -> None:
    unavailable = pl.Series("code", [BTN * 10_000 + pin for pin in range(0, 10_000, 7)])
    free = [BTN * 10_000 + pin for pin in range(10_000) if pin % 7 and not run_in(f"{BTN}{pin:04}")]
    draws = 150
    seen: Counter[int] = Counter()
    for _ in range(draws):
        drawn = allocation.draw_pins(pins_wanted(first, second), unavailable)
        seen.update(drawn.filter(pl.col("row_id") == 0)["code"])
    assert set(seen) <= set(free)
    # each draw is without replacement, which makes the counts of its codes less different than independent ones
    share = first / len(free)
    variance = draws * share * (1 - share) * len(free) / (len(free) - 1)
    chi_square = sum((seen[code] - draws * share) ** 2 for code in free) / variance
    assert critical_low(len(free) - 1) < chi_square < critical(len(free) - 1)


def critical_low(freedom: int) -> float:
    """The value that chi-square falls below once in 1 / FALSE_ALARM times: more even than chance is not random."""
    share = 2 / (9 * freedom)
    return float(freedom * (1 - share - NormalDist().inv_cdf(1 - FALSE_ALARM) * share**0.5) ** 3)


def test_random_words_that_would_favour_small_codes_are_drawn_anew() -> None:
    span = 9 * 10**13
    last = TOP - TOP % span  # words from here on would be a second chance for the smallest codes
    favoured = last + 10_010_010_010_010 - 10**13
    right = last - span + 73_905_162_840_517 - 10**13
    assert favoured < TOP
    assert obeys(str(favoured % span + 10**13))
    drawn = allocation.valid_numbers(1_000, lambda size: words(*[favoured, right] * (size // 16), *[right] * (size // 8 % 2)))
    assert set(drawn) == {right % span + 10**13}


def test_random_words_that_would_favour_small_pins_are_drawn_anew() -> None:
    last = TOP - TOP % 10_000
    few = iter([last + 27, last - 1, last - 4_000, TOP - 1])
    stream = chain(few, repeat(last - 8_000))
    drawn = allocation.draw_pins(pins_wanted(2), NONE, lambda size: words(*(next(stream) for _ in range(size // 8))))
    assert set(drawn["code"]) == {BTN * 10_000 + 6_000, BTN * 10_000 + 2_000}  # 9999 is a run


def test_codes_that_are_taken_or_reserved_are_never_drawn() -> None:
    source = random.Random(3)
    first = allocation.draw_codes(3_000, nothing, NONE, source.randbytes)
    assert first.n_unique() == 3_000
    taken, reserved = first[:1_000], first[1_000:2_000]
    source.seed(3)  # the same numbers come up again
    second = allocation.draw_codes(3_000, lambda codes: codes.filter(codes.is_in(taken.implode())), reserved, source.randbytes)
    assert second.n_unique() == 3_000
    assert set(second).isdisjoint([*taken, *reserved])
    assert set(second) > set(first[2_000:])
    assert all(obeys(str(code)) for code in second)


def test_a_source_that_repeats_itself_makes_no_code_twice() -> None:
    stuck = random.Random(5).randbytes(8 * 400)
    answers = chain(repeat(stuck, 3), iter(lambda: None, 0))
    drawn = allocation.draw_codes(
        350, nothing, NONE, lambda size: (next(answers) or os.urandom(size))[:size].ljust(size, b"\0")
    )
    assert len(drawn) == drawn.n_unique() == 350


@pytest.mark.parametrize("quantity", [3, 2_000, 3_000])
def test_pins_that_are_burnt_are_never_drawn(quantity: int) -> None:
    every = [BTN * 10_000 + pin for pin in range(10_000)]
    unavailable = pl.Series("code", every[::2])
    drawn = allocation.draw_pins(pins_wanted(quantity, 1_500), unavailable)
    assert drawn["code"].n_unique() == len(drawn) == quantity + 1_500
    assert sorted(Counter(drawn["row_id"]).items()) == [(0, quantity), (1, 1_500)]
    assert set(drawn["code"]).isdisjoint(unavailable)
    assert all(obeys(str(code)) for code in drawn["code"])


@pytest.mark.parametrize("left", [1, 2_400, 9_958])
def test_a_btn_gives_its_last_pins_and_quickly(left: int) -> None:
    free = random.Random(left).sample([pin for pin in range(10_000) if obeys(f"{BTN}{pin:04}")], left)
    codes = [BTN * 10_000 + pin for pin in free]
    unavailable = pl.Series("code", sorted({BTN * 10_000 + pin for pin in range(10_000)} - set(codes)), pl.Int64)
    rounds = Counter[int]()

    def source(size: int) -> bytes:
        rounds["asked"] += 1
        return os.urandom(size)

    assert set(allocation.draw_pins(pins_wanted(left), unavailable, source)["code"]) == set(codes)
    assert rounds["asked"] < 50, "PINs are tried one by one in a BTN that is nearly used up"


def test_several_lines_share_the_pins_of_a_btn() -> None:
    demands = pl.concat([pins_wanted(5_000, 4_958), pins_wanted(4, 6, btn=3035550143).with_columns(pl.col("row_id") + 2)])
    drawn = allocation.draw_pins(demands, NONE)
    assert drawn["code"].n_unique() == len(drawn) == 9_968
    assert sorted(Counter(drawn["row_id"]).items()) == [(0, 5_000), (1, 4_958), (2, 4), (3, 6)]
    assert {code // 10_000 for code in drawn.filter(pl.col("row_id") > 1)["code"]} == {3035550143}


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    assert allocation.draw_codes(0, nothing, NONE).is_empty()
    assert allocation.draw_pins(pins_wanted(), NONE).is_empty()


def claims(*rows: tuple[int, int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["acceptance_group", "row_id", "btn", "quantity"], orient="row")


@pytest.mark.parametrize(
    ("asked", "late"),
    [
        ([(0, 0, 1, 6), (1, 1, 1, 4)], set()),
        ([(0, 0, 1, 6), (1, 1, 1, 5)], {1}),
        ([(0, 0, 1, 11), (1, 1, 1, 10)], {0}),  # a group that is refused leaves the PINs to those after it
        ([(0, 0, 1, 6), (0, 1, 1, 5), (1, 2, 1, 10)], {1}),
        ([(0, 0, 1, 9), (0, 1, 2, 11), (1, 2, 1, 9)], {1}),  # a group takes PINs of all of its BTNs or of none
        ([(0, 0, 1, 9), (1, 1, 1, 2), (2, 2, 1, 1)], {1}),  # what is left goes to who needs less
    ],
)
def test_first_come(asked: list[tuple[int, int, int, int]], late: set[int]) -> None:
    assert capacity.first_come(claims(*asked), {1: 10, 2: 10}) == late


def test_an_order_that_is_refused_for_another_reason_leaves_its_pins_to_those_after_it(shop: Shop) -> None:
    refused = row("BAD", btn=str(BTN), quantity="6", access_number="877-666-2093")
    answer = shop.send(refused, row("ALL", btn=str(BTN), quantity="9958"))
    assert answer.reasons == {2: ["ACCESS_NOT_OFFERED"]}
    assert len(set(answer.codes)) == 9_958


def test_an_order_gets_the_last_pins_of_a_btn_and_not_one_more(shop: Shop) -> None:
    every = [BTN * 10_000 + pin for pin in range(10_000) if obeys(f"{BTN}{pin:04}")]
    free = set(random.Random(1).sample(every, 3_000))
    shop.registry.import_codes(pl.Series("code", sorted(set(every) - free)))
    answer = shop.send(row("MORE", btn=str(BTN), quantity="3001"), row("ALL", btn=str(BTN), quantity="3000"))
    assert answer.reasons == {2: ["BTN_EXHAUSTED"]}
    assert {int(code) for code in answer.codes} == free
    assert shop.send(row("ONE", btn=str(BTN), quantity="1")).reasons == {2: ["BTN_EXHAUSTED"]}


def test_a_chosen_code_takes_a_pin_of_its_btn(shop: Shop) -> None:
    chosen = f"{BTN}5027"
    answer = shop.send(row("CHOSEN", code=chosen), row("REST", btn=str(BTN), quantity="9957"))
    assert len(set(answer.codes)) == len(answer.codes) == 9_958
    assert answer.result["orders_placed"] == 2


@pytest.mark.parametrize(("btn", "most"), [("3035550142", 9_958), ("303-555-0555", 8_961)])
def test_a_fresh_btn_yields_exactly_its_pins(btn: str, most: int, shop: Shop) -> None:
    answer = shop.send(row("MORE", btn=btn, quantity=str(most + 1)), row("ALL", btn=btn, quantity=str(most)))
    assert answer.reasons == {2: ["BTN_EXHAUSTED"]}
    assert len(set(answer.codes)) == most


def test_a_btn_with_a_run_yields_none(shop: Shop) -> None:
    assert shop.send(row("NONE", btn="800-555-5555", quantity="1")).reasons == {2: ["BTN_IMPOSSIBLE"]}
