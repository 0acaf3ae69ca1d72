"""`cards recover`: a registry that was restored from a backup gets back from the outbox what it lacks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.admin.approvals import approve
from pipelines.admin.audit import verify
from pipelines.admin.recover import recover
from pipelines.admin.recovery_state import RecoverResult
from pipelines.admin.replay import replay
from pipelines.admin.retention import archive
from pipelines.common.errors import CardsError
from pipelines.registry.store import open_registry
from tests.conftest import (
    ACCESS_NUMBERS,
    ACCOUNTS,
    BILLING_NUMBERS,
    EXTERNAL,
    NewRegistry,
    Shop,
    csv_of,
    row,
    sampled,
    shared_parser,
    some_codes,
)
from tests.lives import Life, backup_of, differences, lose, meaning, restore

pytestmark = pytest.mark.one_database

CODES = some_codes(8, seed=5)


class KilledError(BaseException):
    """Stands for kill -9."""


def killed_at(name: str, after: int = 0) -> Callable[[str], None]:
    left = [after]

    def step(at: str) -> None:
        if at == name:
            if not left[0]:
                raise KilledError
            left[0] -= 1

    return step


def recovered(shop: Shop, step: Callable[[str], None] = lambda _: None, **how: bool) -> RecoverResult:
    with shared_parser():
        return recover(shop.as_run._replace(runtime=shop.runtime._replace(checkpoint=step)), **how)


def problems(shop: Shop) -> list[tuple[str, str]]:
    return [(finding.what, finding.where) for finding in verify(shop.settings, shop.registry).findings]


@pytest.fixture
def empty(new_registry: NewRegistry) -> Any:
    with new_registry() as url:
        yield url


def placed_pairs(answer: Any) -> list[tuple[str, str]]:
    """Order IDs and codes that an answer confirms."""
    rows: list[tuple[str, str]] = answer.confirmation.filter(Action="Add").select("Order ID", "Authorization Code").rows()
    return rows


# -- days that were lost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", sampled([1, 6], 6, others=pytest.mark.slow))
def test_days_that_were_lost_come_back(tmp_path: Path, new_registry: NewRegistry, seed: int) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url, seed=seed)
        life = Life(shop, seed)
        lost = lose(life, days=6, url=other)
        with pytest.raises(CardsError, match="cards recover"):
            shop.run()
        recovered(shop)
        assert recovered(shop) == RecoverResult(dry_run=False)
        shop.run()  # what the backup had not delivered yet
        assert differences(lost, meaning(shop.registry)) == []
        assert problems(shop) == []
        life.draw_as_after_the_backup()
        life.day()
        assert problems(shop) == []
        shop.registry.close()


@pytest.mark.slow
def test_a_recovery_that_is_killed_again_and_again_goes_on_where_it_was(tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url, seed=4)
        life = Life(shop, 4)
        lost = lose(life, days=5, url=other)
        kills = 0
        while True:
            try:
                recovered(shop, killed_at("recovered", after=life.chance.randint(0, 3)))
                break
            except KilledError:
                kills += 1
                with pytest.raises(CardsError, match="cards recover"):
                    shop.run()
        assert kills > 3
        shop.run()
        assert differences(lost, meaning(shop.registry)) == []
        assert problems(shop) == []
        shop.registry.close()


def test_a_dry_run_says_what_would_be_entered_and_enters_nothing(tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url, seed=3)
        lose(Life(shop, 3), days=4, url=other)
        before = meaning(shop.registry)
        would = recovered(shop, dry_run=True)
        assert meaning(shop.registry) == before
        with pytest.raises(CardsError, match="cards recover"):
            shop.night()
        done = recovered(shop)
        names = ("submissions", "reports", "nights", "orders", "codes")
        assert [getattr(would, name) for name in names] == [getattr(done, name) for name in names]
        assert done.submissions
        shop.registry.close()


def test_a_registry_that_was_removed_is_made_anew_from_the_outbox(shop: Shop, empty: str) -> None:
    answer = shop.send(row("A", quantity="3"), row("B", code=CODES[0]), row("C", code="12"))
    shop.later(hours=1)
    shop.report(*placed_pairs(answer))
    shop.later(hours=12)
    shop.night()
    lost = meaning(shop.registry)
    shop.registry.close()
    shop.registry = open_registry(empty)
    with pytest.raises(CardsError, match="The registry is empty"):
        shop.run()
    with pytest.raises(CardsError, match=r"catalogue is empty.*cards recover"):
        recovered(shop)
    shop.registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS, BILLING_NUMBERS)
    recovered(shop)
    left = differences(lost, meaning(shop.registry))
    assert {line.partition(":")[0] for line in left} == {"numbers", "external_figures"}  # what was imported
    assert [line for line in left if line.startswith("numbers")] == [f"numbers: - {code} /0" for code in sorted(EXTERNAL)]
    assert problems(shop) == []


# -- what the operator decided -----------------------------------------------------------------------------------------


def test_a_report_that_was_approved_is_used_again_and_one_that_waits_waits(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.settings = shop.settings.model_copy(update={"report_max_external": 0})
    answer = shop.send(row("A", quantity="2"))
    shop.later(hours=1)
    shop.report(*placed_pairs(answer), ("77-7", CODES[1]), name="first.csv")
    shop.later(hours=12)
    assert shop.night()["reports_on_hold"] == 1
    (folder,) = (shop.settings.outbox / "network").glob("*-first")
    shop.later(minutes=5)
    with shared_parser():
        approve(shop.as_run, folder.name, "Ana", "they exist there")
    shop.later(hours=1)
    shop.report(("77-7", CODES[2]), name="second.csv")
    shop.later(days=1)
    assert shop.night()["reports_on_hold"] == 1
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    done = recovered(shop)
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []
    assert [finding.where.endswith(("-first", "-second")) for finding in done.findings] == [True] * len(done.findings)
    decided = shop.registry.query(
        "SELECT decision, decided_by FROM approvals ORDER BY event", {"decision": int, "decided_by": str}
    )
    assert decided.rows() == [(1, "recovered"), (0, "")]


def test_a_report_over_the_limits_of_today_that_was_used_counts_as_approved(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    answer = shop.send(row("A", quantity="2"))
    shop.later(hours=1)
    shop.report(*placed_pairs(answer), ("77-7", CODES[1]))
    shop.later(hours=12)
    shop.night()
    lost = meaning(shop.registry)
    shop.settings = shop.settings.model_copy(update={"report_max_external": 0})
    restore(shop, backup, empty)
    done = recovered(shop)
    assert [finding.what for finding in done.findings] == ["a report over the limits was used, so it counts as approved"]
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


def test_what_was_answered_anew_is_answered_anew_again(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.send(row("A", product="9", quantity="2"), row("B", quantity="1"))
    shop.registry.load_catalogue(
        ACCOUNTS.with_columns(ACCOUNTS["product"].replace("7002", "9")), ACCESS_NUMBERS, BILLING_NUMBERS
    )
    shop.later(hours=1)
    with shared_parser():
        (done,) = replay(shop.as_run, "PRODUCT_UNKNOWN").submissions
    assert done.orders_placed == 1
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    shop.registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS, BILLING_NUMBERS)  # of the backup: answers are what they were
    recovered(shop)
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


# -- what was half done ------------------------------------------------------------------------------------------------


def test_a_file_that_was_placed_and_not_answered_is_answered_with_the_codes_that_were_placed(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.drop("a.csv", csv_of(row("A", quantity="3"), row("B", code=CODES[0]), row("C", code="12"), row("D", quantity="2")))
    with pytest.raises(KilledError):
        shop.run(killed_at("placement written"))
    placed = shop.placements()
    assert len(placed) == 6
    restore(shop, backup, empty)
    assert recovered(shop).findings == []
    (answer,) = shop.run()
    assert answer.confirmation["Authorization Code"].sort().to_list() == placed["Authorization Code"].sort().to_list()
    assert answer.reasons == {4: ["CODE_FORMAT"]}
    assert shop.placements().equals(placed)
    assert shop.waiting() == []
    assert problems(shop) == []


def test_codes_that_were_placed_for_a_file_that_is_gone_are_those_of_its_orders(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    path = shop.drop("a.csv", csv_of(row("A", quantity="3"), row("B", code=CODES[0])))
    with pytest.raises(KilledError):
        shop.run(killed_at("placement written"))
    path.unlink()
    shutil.rmtree(shop.settings.home / ".spool")
    placed = shop.placements()
    restore(shop, backup, empty)
    done = recovered(shop)
    assert [finding.what for finding in done.findings] == [
        "codes of an order file were placed, and the file was never answered"
    ]
    assert done.codes == 4
    assert {int(code) for code in placed["Authorization Code"]} <= set(shop.known_codes())
    answer = shop.send(row("C", quantity="1"), row("E", code=CODES[0]))
    assert answer.confirmation["Order ID"].to_list() == ["10023456-3"]
    assert answer.reasons == {3: ["CODE_TAKEN"]}


def test_a_night_that_was_killed_before_its_files_were_written_is_finished_by_the_next(shop: Shop, empty: str) -> None:
    answer = shop.send(row("A", quantity="6"), row("B", code=" ".join(CODES[:2])))
    backup = backup_of(shop.registry)
    shop.later(hours=1)
    pairs = placed_pairs(answer)
    of_a = [pair for pair in pairs if pair[0] == "10023456-1"]
    shop.report(*of_a[:4], ("10023456-2", CODES[0]))
    shop.later(hours=12)
    with pytest.raises(KilledError):
        shop.night(_when(shop, lambda: bool(list((shop.settings.outbox / "reconciliation").glob("*.xlsx")))))
    lost = meaning(shop.registry)
    new = {code for order, code in shop.placements().select("Order ID", "Authorization Code").rows()} - {
        code for _, code in pairs
    }
    restore(shop, backup, empty)
    recovered(shop)
    names = ("cards", "replacements", "orders", "release_ranges", "order_files", "numbers")
    assert differences({name: lost[name] for name in names}, meaning(shop.registry)) == []
    assert len(new) == 2
    shop.run()
    assert len(list(shop.settings.outbox.rglob("release-*.csv"))) == 2
    assert len(list(shop.settings.outbox.rglob("refused-*.csv"))) == 2
    assert problems(shop) == []


def _when(shop: Shop, condition: Callable[[], bool]) -> Callable[[str], None]:
    """Kills at the first step at which the condition holds."""

    def step(_: str) -> None:
        if condition():
            raise KilledError

    return step


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_a_submission_without_its_original_has_its_orders_and_codes(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    answer = shop.send(row("A", quantity="3"), row("B", code=CODES[0]), row("C", code="12"))
    shop.later(minutes=1)
    block = shop.send(row("X", quantity="1", account="20098765", product="8001"), name="g.csv", source="globex")
    (answer.folder / "orders.csv").unlink()
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    done = recovered(shop)
    assert [finding.what for finding in done.findings] == ["the original of a submission is missing or not what was answered"]
    found = meaning(shop.registry)
    assert found["cards"] == lost["cards"]
    assert found["numbers"] == lost["numbers"]
    assert (done.orders, done.codes) == (3, 5)
    shop.later(hours=1)
    shop.report(*placed_pairs(answer), *placed_pairs(block))
    shop.later(hours=12)
    assert shop.night()["codes_ready"] == 5
    assert shop.send(row("A", quantity="3"), name="again.csv").reasons == {2: ["ORDER_ID_USED"]}


def test_what_a_report_said_whose_original_is_gone_follows_from_the_files_of_its_night(shop: Shop, empty: str) -> None:
    answer = shop.send(row("A", quantity="6"), row("B", code=" ".join(CODES[:2])))
    backup = backup_of(shop.registry)
    shop.later(hours=1)
    of_a = [pair for pair in placed_pairs(answer) if pair[0] == "10023456-1"]
    shop.report(*of_a[:4], ("10023456-2", CODES[0]))
    shop.later(hours=12)
    shop.night()
    lost = meaning(shop.registry)
    for path in (shop.settings.outbox / "network").glob("*-report/report.csv"):
        path.unlink()
    restore(shop, backup, empty)
    done = recovered(shop)
    found = meaning(shop.registry)
    for name in ("cards", "numbers", "replacements", "release_ranges", "order_files", "orders"):
        assert differences({name: lost[name]}, found) == []
    assert "the original of a report is missing" in {finding.what for finding in done.findings}


def test_codes_that_were_imported_by_hand_become_those_of_their_cards(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.send(row("A", quantity="3"), row("B", btn="3035550142", quantity="2"))
    lost = meaning(shop.registry)
    codes = shop.registry.query("SELECT code FROM cards", {"code": int})["code"]
    restore(shop, backup, empty)
    shop.registry.import_codes(codes)
    recovered(shop)
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


def test_what_lies_in_archives_is_found_there(shop: Shop, empty: str) -> None:
    answer = shop.send(row("A", quantity="3"), name="first.csv")
    backup = backup_of(shop.registry)
    shop.later(days=1)
    other = shop.send(row("B", quantity="2"), row("C", code="12"), name="second.csv")
    shop.later(hours=1)
    shop.report(*placed_pairs(answer), *placed_pairs(other))
    shop.later(hours=12)
    shop.night()
    shop.later(days=70)
    for _ in range(2):
        archive(f"{shop.now:%Y-%m-%d}", "", shop.as_run)
    assert not answer.folder.exists()
    assert not other.folder.exists()
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    recovered(shop)
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


def test_files_of_one_second_are_entered_so_that_what_was_placed_comes_first(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.drop("z.csv", csv_of(row("A", quantity="3")))
    shop.drop("a.csv", csv_of(row("A", quantity="3"), row("B", quantity="1")))
    shop.drop("b.csv", csv_of(row("A", quantity="3")))
    assert len(shop.run()) == 3
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    assert recovered(shop).findings == []
    assert differences(lost, meaning(shop.registry)) == []


def test_files_of_several_resellers_that_came_together_keep_their_order(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.drop("z.csv", csv_of(row("A", quantity="3")))
    shop.drop("a.csv", csv_of(row("G", quantity="2", account="20098765", product="8001")), "globex")
    shop.drop("y.csv", csv_of(row("B", quantity="3")))
    answers = shop.run()
    shop.later(hours=1)
    shop.report(*((order, "") for answer in answers for order, _ in placed_pairs(answer)))
    shop.later(hours=12)
    assert shop.night()["codes_replaced"] == 8
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    assert recovered(shop).findings == []
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


def test_orders_that_were_placed_in_part_and_changes_by_order_id_are_as_they_were(shop: Shop, empty: str) -> None:
    def globex(customer_order_id: str, **cells: str) -> dict[str, str]:
        return row(customer_order_id, account="20098765", product="8001", **cells)

    first = shop.send(
        row("A", quantity="3"), row("B", btn="3035550142", quantity="2"), row("B", btn="3035550143", quantity="1")
    )
    backup = backup_of(shop.registry)
    shop.later(hours=1)
    part = shop.send(
        globex("J", code=CODES[3]), globex("J", code="12"), globex("J", code=CODES[4]), name="j.csv", source="globex"
    )
    assert part.reasons == {3: ["CODE_FORMAT"]}
    shop.later(hours=1)
    again = [globex("J", code=CODES[3]), globex("J", code=CODES[5]), globex("K", quantity="2")]
    assert shop.send(*again, name="again.csv", source="globex").reasons == {3: ["ORDER_ID_USED"]}
    shop.report(*placed_pairs(first), *placed_pairs(part))
    shop.later(hours=12)
    shop.night()
    shop.later(hours=1)
    block = row("X", action="Block", target_order_id="10023456-1", product="", access_number="")
    assert len(shop.send(block, name="block.csv").confirmation) == 3
    house = row("Y", action="Change", origin="Yes", code=CODES[3], account="20098765", product="", access_number="")
    shop.send(house, name="house.csv", source="house")
    shop.later(hours=1)
    shop.report(*(("10023456-3", code) for order, code in placed_pairs(first) if order == "10023456-1"), name="blocked.csv")
    shop.later(hours=12)
    shop.night()
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    assert recovered(shop).findings == []
    assert differences(lost, meaning(shop.registry)) == []
    assert problems(shop) == []


def test_a_file_over_the_limit_was_never_kept_and_is_not_missed(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    shop.drop("large.csv", b"x" * (1 << 20) + b"y")
    shop.settings = shop.settings.model_copy(update={"max_file_mb": 1})
    assert [set(answer.rejections["Reason"]) for answer in shop.run()] == [{"FILE_TOO_LARGE"}]
    lost = meaning(shop.registry)
    restore(shop, backup, empty)
    assert recovered(shop).findings == []
    assert len(meaning(shop.registry)["findings"]) == len(lost["findings"]) == 1


def test_codes_in_damaged_files_are_never_issued_again(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    one = shop.send(row("A", quantity="4"), name="one.csv")
    shop.later(hours=1)
    two = shop.send(row("B", quantity="4"), name="two.csv")
    (one.folder / "confirmation.csv").write_bytes((one.folder / "confirmation.csv").read_bytes()[:-40])
    (two.folder / "confirmation.csv").write_bytes(b"\0" + ",".join(two.codes).encode())
    for path in (shop.settings.outbox / "network").glob("*/placement-acme-*-two.csv"):
        path.unlink()
    (two.folder / "confirmation.xlsx").write_bytes(b"PK")
    (shop.settings.outbox / "acme/archive").mkdir()
    (shop.settings.outbox / "acme/archive/2026-09.zip").write_bytes(b"PK")
    restore(shop, backup, empty)
    done = recovered(shop)
    assert {int(code) for code in [*one.codes, *two.codes]} <= set(shop.known_codes())
    assert (done.codes, done.external_codes) == (4, 4)
    assert {"a file is damaged", "an archive is damaged"} <= {finding.what for finding in done.findings}
    assert not any(code in str(done) for code in [*one.codes, *two.codes])


def test_codes_of_orders_whose_ids_were_used_again_are_never_issued_again(shop: Shop, empty: str) -> None:
    """An earlier version had issued after a restore, without knowing it."""
    shop.send(row("A", quantity="1"))
    backup = backup_of(shop.registry)
    shop.later(hours=1)
    lost = shop.send(row("B", quantity="3"), name="lost.csv")
    restore(shop, backup, empty)
    (shop.settings.home / ".registry-mark").unlink()
    shop.later(hours=1)
    new = shop.send(row("C", quantity="2"), name="new.csv")
    assert set(new.confirmation["Order ID"]) == set(lost.confirmation["Order ID"])
    done = recovered(shop)
    assert (done.submissions, done.external_codes) == (0, 3)
    assert done.findings[0].what.startswith("this could not be entered: ")
    assert not any(code in str(done) for code in lost.codes)
    assert {int(code) for code in [*lost.codes, *new.codes]} <= set(shop.known_codes())
    assert shop.send(row("D", code=lost.codes[0]), name="d.csv").reasons == {2: ["CODE_TAKEN"]}


def test_answers_to_trials_and_strange_folders_are_left_alone(shop: Shop, empty: str) -> None:
    backup = backup_of(shop.registry)
    (shop.settings.inbox / "acme/check").mkdir()
    shop.drop("check/try.csv", csv_of(row("A", quantity="3")))
    shop.run()
    shop.send(row("B", quantity="1"))
    (shop.settings.outbox / "acme/20261005-093000-strange").mkdir()
    restore(shop, backup, empty)
    done = recovered(shop)
    assert (done.submissions, done.orders, done.codes) == (1, 1, 1)
    assert [finding.what for finding in done.findings] == ["a folder holds no answer"]
