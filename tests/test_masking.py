"""A masked code shows its first six digits and nothing else, however it is written."""

import random
import time

import pytest

from pipelines.common.masking import mask_codes, mask_document
from tests.conftest import some_codes

CODE = "30355501421239"
MASKED = "303555••••••••"


@pytest.mark.parametrize(
    "written",
    [
        CODE, "3035-5501-421239", "3035 5501 421239", "303-555-0142-1239", "303-555-0142 1239", "(303) 555-0142 1239",
        "3035.5501.421239", "3035_5501_421239", "3035\u00a05501\u00a0421239", "3035–5501–421239", "3035\\u200b5501421239",
        "303555 01421239", "3035 - 5501 - 421239",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "the code {} makes trouble", "inbox/acme/{}.csv", "x{}y", "“{}”", "[{},{}]", "7 {}"])
def test_a_code_shows_six_digits_however_it_is_written(written: str, around: str) -> None:
    assert mask_codes(around.format(written, written)).replace("(", "") == around.format(MASKED, MASKED)


def test_a_code_spelled_digit_by_digit_is_masked() -> None:
    assert mask_codes(" ".join(CODE)) == MASKED


@pytest.mark.parametrize("number", ["303555014212391", CODE * 2, f"{CODE}.{CODE}"])
def test_a_longer_number_that_may_hold_a_code_shows_six_digits_too(number: str) -> None:
    assert mask_codes(number).replace(".", "") in (MASKED, MASKED * 2)


@pytest.mark.parametrize(
    "text",
    [
        "outbox/acme/20261005-093000-october", "outbox/acme/20261005-093000-2026-10-05",
        "placement-acme-20261005-093000-a~2.csv", "release-10023456-1-20261124.csv", "10023456-2", "8008604444",
        "303-555-0142", "1 (800) 860-4444", "2026-10-05 09:30:00",
        "2026-10-05T09:30:00-06:00", "127.0.0.1:4200", "87,833,296,203,341 numbers", "73905162", "",
    ],
)  # fmt: skip
def test_other_numbers_stay_as_they_are(text: str) -> None:
    assert mask_codes(text) == text


def test_every_place_of_a_document_is_masked_but_our_own_names() -> None:
    document = {"cards": [{"code": CODE, "order_id": "10023456-123456", "serial": "10023456-123456/1", "n": 1, "x": None}]}
    masked = {"code": MASKED, "order_id": "10023456-123456", "serial": "10023456-123456/1", "n": 1, "x": None}
    assert mask_document(document) == {"cards": [masked]}
    assert mask_document(document, shown=True) == document


def test_no_code_survives_among_other_digits() -> None:
    source = random.Random(3)
    for code in some_codes(300):
        cuts = sorted(source.sample(range(1, 14), source.randrange(4)))
        parts = [code[start:end] for start, end in zip([0, *cuts], [*cuts, 14], strict=True)]
        text = (
            source.choice(["", "12 ", "a-", "7_"])
            + source.choice(["-", " ", ".", "_"]).join(parts)
            + source.choice(["", " 5", "x"])
        )
        digits = "".join(letter for letter in mask_codes(text) if letter.isdigit())
        assert code not in digits
        assert code[-4:] not in digits or code[-4:] in code[:6]


def test_a_long_text_takes_no_longer_than_its_length() -> None:
    for text in ("1 " * 200_000, "1" * 400_000, "12-" * 150_000, "\\u200b1" * 60_000):
        start = time.monotonic()
        mask_codes(text)
        assert time.monotonic() - start < 5
