"""The number rule: counted independently, compared with a slow statement of it, and what it leaves of a BTN."""

from collections import Counter
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.codes import capacity
from schemas.codes import FORBIDDEN_SEQUENCES, is_code
from tests.conftest import obeys, run_in

State = tuple[int, int | None, int]
"""How a number ends: its last digit, the step that led to it (-1, 0, 1; None for any other), how often in a row."""


def after(state: State | None, digit: int) -> State | None:
    """How a number ends when a digit is added; None when that makes a run of four."""
    if state is None:
        return (digit, None, 0)
    last, step, times = state
    now = digit - last if abs(digit - last) <= 1 else None
    times = 0 if now is None else times + 1 if now == step else 1
    return None if times == 3 else (digit, now, times)


def digit_counts(length: int = 14) -> list[Counter[int]]:
    """For each place of a code, how many of all valid codes have which digit there.

    Counted over endings, forward and back: never a code written out, nor one of the 24 runs.
    """
    ahead: list[Counter[State]] = [Counter({(digit, None, 0): 1 for digit in range(1, 10)})]
    steps: list[list[tuple[State, State]]] = []
    for _ in range(length - 1):
        moves = [(old, new) for old in ahead[-1] for digit in range(10) if (new := after(old, digit))]
        steps.append(moves)
        ahead.append(Counter())
        for old, new in moves:
            ahead[-1][new] += ahead[-2][old]
    behind: Counter[State] = Counter(dict.fromkeys(ahead[-1], 1))
    counts = []
    for place in reversed(range(length)):
        counts.append(Counter())
        for state, ways in ahead[place].items():
            counts[-1][state[0]] += ways * behind[state]
        if place:
            earlier: Counter[State] = Counter()
            for old, new in steps[place - 1]:
                earlier[old] += behind[new]
            behind = earlier
    return counts[::-1]


def is_valid(*texts: str) -> list[bool]:
    return pl.DataFrame({"code": list(texts)}).select(is_code(pl.col("code"))).to_series().to_list()


def test_as_many_numbers_are_valid_as_the_specification_says() -> None:
    totals = {counts.total() for counts in digit_counts()}
    assert totals == {87_833_296_203_341}
    assert round(totals.pop() / (9 * 10**13), 4) == 0.9759


def test_counting_is_right_where_every_number_can_be_looked_at() -> None:
    valid = [str(number) for number in range(10**4, 10**5) if not run_in(str(number))]
    assert digit_counts(5) == [Counter(int(number[place]) for number in valid) for place in range(5)]


def test_there_are_24_runs() -> None:
    steps = [{int(b) - int(a) for a, b in pairwise(run)} for run in FORBIDDEN_SEQUENCES]
    assert len(set(FORBIDDEN_SEQUENCES)) == 24
    assert all(len(step) == 1 and step <= {-1, 0, 1} for step in steps)


digits = st.text("0123456789", min_size=14, max_size=14)
almost_run = st.builds(
    lambda text, place, run: text[:place] + run + text[place + 4 :],
    digits,
    st.integers(0, 10),
    st.sampled_from(FORBIDDEN_SEQUENCES),
)
narrow = st.text("01239", min_size=14, max_size=14)
anything = st.text(st.characters(codec="utf-8"), max_size=16)


@given(st.lists(digits | almost_run | narrow | anything, min_size=1, max_size=200))
def test_the_rule_is_what_the_slow_statement_says(texts: list[str]) -> None:
    assert is_valid(*texts) == [obeys(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "١٢٣٤٥٦٧٨٩٠١٢٣٤",
        "７３９０５１６２８４０５１７",
        "73905162840517\n",
        " 73905162840517",
        "7390516284051",
        "",
        "+3905162840517",
    ],
)
def test_only_14_ascii_digits_are_a_code(text: str) -> None:
    assert is_valid(text) == [obeys(text)] == [False]


@pytest.mark.parametrize(
    ("code", "valid"), [("78901627390162", True), ("89051627390162", True), ("90162738901627", True), ("56783901627390", False)]
)
def test_runs_do_not_wrap_past_nine(code: str, valid: bool) -> None:
    assert is_valid(code) == [obeys(code)] == [valid]


@pytest.mark.parametrize(("btn", "pins"), [(3035550142, 9_958), (3035550555, 8_961), (8005555555, 0)])
def test_pins_of_a_btn(btn: int, pins: int) -> None:
    codes = capacity.valid_pins(pl.Series("btn", [btn]))["code"].to_list()
    assert len(codes) == pins
    assert codes == [btn * 10_000 + pin for pin in range(10_000) if obeys(f"{btn}{pin:04}")]
    assert capacity.free_pins(pl.Series("btn", [btn]), pl.Series([], dtype=pl.Int64)).rows() == [(btn, pins)]


def test_every_btn_without_a_run_has_more_pins_than_are_taken_for_sure() -> None:
    # of a BTN only the last three digits can be part of a run with its PIN; what stands before makes none with them
    btns = [next(btn for before in ("3035570", "3035595") if not run_in(btn := f"{before}{end:03}")) for end in range(1000)]
    free = capacity.free_pins(pl.Series("btn", btns).cast(pl.Int64), pl.Series([], dtype=pl.Int64))
    assert len(free) == 1000
    assert free["free"].min() >= capacity.FEWEST_PINS
