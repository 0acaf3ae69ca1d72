"""Holds, daily usage, strikes and owners of BTNs, on both databases."""

import threading
from collections.abc import Iterator

import polars as pl
import pytest

from pipelines.common.errors import ConflictError
from pipelines.registry import limits
from pipelines.registry.schema import TABLES
from pipelines.registry.store import Registry, open_registry
from tests.conftest import NewRegistry

AT = "2026-10-05T09:30:00-06:00"
ACME, GLOBEX = "10023456", "20098765"


@pytest.fixture(scope="module")
def url(new_registry: NewRegistry) -> Iterator[str]:
    with new_registry() as made:
        yield made


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with open_registry(url) as made:
        for table in TABLES.keys() - {"audit_entries"}:  # which refuses that
            made.execute(f"DELETE FROM {table}")
        yield made


def test_a_hold_stays_until_it_is_cleared(registry: Registry) -> None:
    assert not limits.is_on_hold(registry, "acme")
    limits.hold(registry, "acme", AT)
    limits.hold(registry, "acme", "2026-10-06T00:00:00-06:00", "something else")  # the first one stands
    limits.hold(registry, "globex", AT, "asked to")
    assert limits.is_on_hold(registry, "acme")
    asked = pl.Series(["nobody", "globex", "acme", "acme"])
    assert limits.holds_of(registry, asked).rows() == [
        ("acme", AT, limits.TOO_MANY_TAKEN_CODES),
        ("globex", AT, "asked to"),
    ]
    with registry.transaction():
        assert limits.clear_hold(registry, "acme")
        assert not limits.clear_hold(registry, "acme")
    assert not limits.is_on_hold(registry, "acme")
    assert limits.is_on_hold(registry, "globex")


def usage(*rows: tuple[str, str, int, int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["reseller", "day", "codes", "files", "bytes", "parse_ms"], orient="row")


def test_usage_adds_up_by_reseller_and_day(registry: Registry) -> None:
    day, next_day = "2026-10-05", "2026-10-06"
    for added in (
        usage(("acme", day, 5, 1, 900, 40), ("globex", day, 1, 1, 10, 2), ("acme", day, 2, 1, 100, 10)),
        usage(("acme", day, 10, 1, 7_000_000_000, 5)),
        usage(("acme", next_day, 1, 1, 1, 1)),
        usage(("acme", day, 1, 1, 1, 1)).clear(),
    ):
        with registry.transaction():
            limits.add_usage(registry, added)
    asked = pl.Series(["globex", "acme", "nobody"])
    assert limits.usage_of(registry, asked, day).rows() == [
        ("acme", day, 17, 3, 7_000_001_000, 55),
        ("globex", day, 1, 1, 10, 2),
        ("nobody", day, 0, 0, 0, 0),
    ]
    assert limits.usage_of(registry, pl.Series(["acme"]), next_day).rows() == [("acme", next_day, 1, 1, 1, 1)]


def test_usage_of_a_transaction_that_breaks_is_not_counted(registry: Registry) -> None:
    def work() -> None:
        with registry.transaction():
            limits.add_usage(registry, usage(("acme", "2026-10-05", 5, 1, 900, 40)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert limits.usage_of(registry, pl.Series(["acme"]), "2026-10-05")["codes"].item() == 0


def test_usage_that_several_workers_add_at_once_is_all_counted(url: str, registry: Registry) -> None:
    def work() -> None:
        with open_registry(url) as mine:
            for _ in range(10):
                with mine.transaction():
                    limits.add_usage(mine, usage(("acme", "2026-10-05", 1, 1, 10, 1)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert limits.usage_of(registry, pl.Series(["acme"]), "2026-10-05").row(0)[2:] == (40, 40, 400, 40)


def test_strikes_count_by_reseller_and_file(registry: Registry) -> None:
    for reseller, digest in (("acme", "one"), ("acme", "two"), ("acme", "one"), ("globex", "one")):
        limits.add_strike(registry, reseller, digest, AT, alone=True)
    files = [("acme", "one"), ("acme", "one"), ("acme", "three"), ("globex", "one")]
    assert limits.strikes_of(registry, files) == {("acme", "one"): 2, ("globex", "one"): 1}
    assert limits.strikes_of(registry, []) == {}


def test_a_file_that_was_in_hand_with_others_is_a_suspect_without_a_strike(registry: Registry) -> None:
    for alone in (False, False, True, False, True):
        limits.add_strike(registry, "acme", "one", AT, alone=alone)
    limits.add_strike(registry, "acme", "two", AT, alone=False)
    assert limits.strikes_of(registry, [("acme", "one"), ("acme", "two")]) == {("acme", "one"): 2, ("acme", "two"): 0}


def claims(*rows: tuple[int, int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, {"file": pl.Int64, "btn": pl.Int64, "account": pl.String}, orient="row")


def claim(registry: Registry, *rows: tuple[int, int, str]) -> None:
    with registry.transaction():
        limits.claim_btns(registry, claims(*rows))


def owners(registry: Registry, *btns: int) -> dict[int, str]:
    return dict(limits.btn_owners(registry, pl.Series(btns)).iter_rows())


def test_a_btn_belongs_to_the_account_that_claims_it_first(registry: Registry) -> None:
    claim(registry, (0, 3035550142, ACME), (0, 3035550142, ACME), (1, 2015550142, GLOBEX))
    claim(registry, (0, 3035550142, ACME))
    claim(registry)
    expected = {3035550142: ACME, 2015550142: GLOBEX}
    assert owners(registry, 3035550142, 2015550142, 2015550143) == expected
    with pytest.raises(ConflictError) as conflict:
        claim(registry, (4, 9705550142, ACME), (5, 3035550142, GLOBEX), (6, 2015550142, ACME))
    assert conflict.value.files == {5, 6}
    assert owners(registry, 3035550142, 2015550142, 9705550142) == expected  # nothing stays of the refused ones


def test_of_two_claims_in_one_batch_the_first_row_has_the_btn(registry: Registry) -> None:
    with pytest.raises(ConflictError) as conflict:
        claim(registry, (7, 3035550142, GLOBEX), (3, 3035550142, ACME))
    assert conflict.value.files == {3}
    assert owners(registry, 3035550142) == {}


def test_the_catalogue_goes_before_the_first_claim(registry: Registry) -> None:
    registry.append("billing_numbers", pl.DataFrame({"btn": [3035550142, 2015550142], "account": [GLOBEX, ACME]}))
    claim(registry, (0, 2015550142, ACME), (0, 9705550142, ACME))
    with pytest.raises(ConflictError):
        claim(registry, (0, 3035550142, ACME))
    assert owners(registry, 3035550142, 2015550142, 9705550142) == {
        3035550142: GLOBEX,
        2015550142: ACME,
        9705550142: ACME,
    }
    registry.execute("DELETE FROM billing_numbers WHERE btn = 2015550142")  # without a row there it is still acme's
    registry.execute("UPDATE billing_numbers SET account = 'other' WHERE btn = 3035550142")
    assert owners(registry, 2015550142, 3035550142) == {2015550142: ACME, 3035550142: "other"}


def test_of_workers_that_claim_one_btn_at_once_one_account_has_it(url: str, registry: Registry) -> None:
    result: list[str] = []
    start = threading.Barrier(4)

    def work(account: str) -> None:
        with open_registry(url) as mine:
            start.wait()
            try:
                claim(mine, (0, 3035550142, account))
                result.append(account)
            except ConflictError:
                result.append("conflict")

    workers = [threading.Thread(target=work, args=(f"1000000{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert result.count("conflict") == 3
    assert owners(registry, 3035550142)[3035550142] in result
