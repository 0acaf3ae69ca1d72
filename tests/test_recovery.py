"""What a dead run leaves is answered by the next one, and a file that kills every run is set aside."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.delivery.rewriting import rewrite_submission
from pipelines.registry import limits
from tests.conftest import Shop, csv_of, read_csv, row, sampled
from tests.faults.invariants import assert_sound, digest, soundness
from tests.faults.killing import environment
from tests.faults.worker import Ended, Worker
from tests.test_orders import globex

pytestmark = pytest.mark.one_database

KILLED = -9


class KilledError(BaseException):
    """The run ends here; nothing may catch it."""


def run(worker: Worker, shop: Shop, **how: str) -> Ended:
    """`cards run`; with `poison` an order with the comment POISON kills it there."""
    return worker.run("run", "--json", environment=environment(shop), **how)


def answers(ended: Ended) -> dict[str, dict[str, Any]]:
    """What a run says of each file."""
    assert (ended.code, ended.err) == (0, "")
    return {one["file"]: one for one in json.loads(ended.out)["submissions"]}


def strikes(shop: Shop, files: list[tuple[str, str]]) -> list[int | None]:
    """How often a run died with each file alone in hand; None for one that was never in hand then."""
    known = limits.strikes_of(shop.registry, files)
    return [known.get(file) for file in files]


def drop(shop: Shop, order: str, **cells: str) -> tuple[str, str]:
    """Drop a file of one order; its source and digest."""
    source = "globex" if order.startswith("G") else "acme"
    made = globex(order, quantity="1", **cells) if source == "globex" else row(order, quantity="1", **cells)
    path = shop.drop(f"{order}.csv", csv_of(made), source)
    return source, digest(path)


@pytest.mark.parametrize("where", sampled(["read", "decide"], "decide"))
def test_a_file_that_kills_every_run_is_set_aside_and_the_others_are_answered(where: str, shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A"), drop(shop, "G", comments="POISON"), drop(shop, "B")]
    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison=where).code == KILLED
        assert strikes(shop, files) == [None] * 3  # the next run looks who was in hand
        assert run(worker, shop, poison=where).code == KILLED
        assert strikes(shop, files) == [0, 0, 0]  # suspects, each of which is by itself from now on
        assert run(worker, shop, poison=where).code == KILLED
        assert strikes(shop, files) == [0, 1, 0]
        result = answers(run(worker, shop, poison=where))
    assert strikes(shop, files) == [0, 2, 0]
    assert result["G.csv"]["reasons"] == {"FILE_SET_ASIDE": 1}
    folder = shop.settings.home / result["G.csv"]["folder"]
    assert "POISON" in (folder / "G.csv").read_text()
    assert read_csv(folder / "rejections.csv")["Reason"].to_list() == ["FILE_SET_ASIDE"]
    events = shop.registry.query("SELECT file_name FROM events ORDER BY file_name", {"file_name": str})["file_name"].to_list()
    assert events == ["A.csv", "B.csv", "G.csv"]
    assert len(shop.placements()) == 2
    assert_sound(shop, files)


def test_files_that_were_in_hand_with_a_deadly_one_are_answered_without_it(shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A"), drop(shop, "G", comments="POISON"), drop(shop, "B")]
    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison="decide").code == KILLED
        assert run(worker, shop, poison="decide").code == KILLED
        assert {path.name for path in shop.waiting()} == {"B.csv", "G.csv"}  # A came first and was decided by itself
        result = answers(run(worker, shop))  # what killed it is fixed by now
    assert result["G.csv"]["orders_placed"] == 1
    assert strikes(shop, files) == [0, 1, 0]
    assert_sound(shop, files)


def test_a_file_that_was_alone_in_hand_is_set_aside_after_its_second_death(shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A", comments="POISON")]
    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison="decide").code == KILLED
        assert run(worker, shop, poison="decide").code == KILLED
        assert strikes(shop, files) == [1]
        result = answers(run(worker, shop, poison="decide"))
        assert result["A.csv"]["reasons"] == {"FILE_SET_ASIDE": 1}
        drop(shop, "A", comments="POISON")  # the same bytes again
        assert answers(run(worker, shop, poison="decide"))["A.csv"]["reasons"] == {"FILE_SET_ASIDE": 1}
        drop(shop, "B")
        assert answers(run(worker, shop, poison="decide"))["B.csv"]["orders_placed"] == 1
    assert shop.waiting() == []


def test_a_file_that_was_set_aside_is_tried_again_when_the_operator_says_so(shop: Shop, tmp_path: Path) -> None:
    drop(shop, "A", comments="POISON")
    with Worker(tmp_path / "worker") as worker:
        for _ in range(2):
            assert run(worker, shop, poison="decide").code == KILLED
        assert answers(run(worker, shop))["A.csv"]["reasons"] == {"FILE_SET_ASIDE": 1}
        cleared = worker.run("clear-hold", "acme", environment=environment(shop))
        assert cleared.out.splitlines() == ["acme was not on hold.", "1 file that runs died of can be dropped again."]
        drop(shop, "A", comments="POISON")
        assert answers(run(worker, shop))["A.csv"]["orders_placed"] == 1


def test_a_report_that_kills_every_night_is_set_aside_and_the_others_are_used(shop: Shop, tmp_path: Path) -> None:
    answer = shop.send(row("A", quantity="2"))
    order_id, codes = "10023456-1", answer.codes
    deadly = f"Order ID,Authorization Code,Remark\n{order_id},{codes[0]},POISON\n"
    shop.report(name="deadly.csv", content=deadly)
    shop.report(*((order_id, code) for code in codes), name="good.csv")
    with Worker(tmp_path / "worker") as worker:
        for _ in range(2):
            assert worker.run("reconcile", environment=environment(shop), poison="report").code == KILLED
        night = worker.run("reconcile", "--json", environment=environment(shop), poison="report")
        result = {one["file"]: one for one in json.loads(night.out)["reports"]}
        assert result["deadly.csv"]["reasons"] == {"FILE_SET_ASIDE": 1}
        assert (result["good.csv"]["reasons"], result["good.csv"]["rows"]) == ({}, 2)
        assert json.loads(night.out)["codes_ready"] == 2
        cleared = worker.run("clear-hold", "network", environment=environment(shop))
        assert cleared.out.splitlines()[1:] == ["1 file that runs died of can be dropped again."]
        shop.report(name="deadly.csv", content=deadly)
        night = worker.run("reconcile", "--json", environment=environment(shop))
        assert json.loads(night.out)["reports"][0]["reasons"] == {}


def test_an_answer_that_kills_every_run_is_written_without_workbooks(shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A"), drop(shop, "G", comments="POISON"), drop(shop, "B")]
    with Worker(tmp_path / "worker") as worker:
        for _ in range(3):
            assert run(worker, shop, poison="write").code == KILLED
        result = answers(run(worker, shop, poison="write"))
    assert strikes(shop, files) == [0, 2, 0]
    folder = shop.settings.home / result["G.csv"]["folder"]
    assert {path.name for path in folder.iterdir()} >= {"G.csv", "confirmation.csv"}
    assert not list(folder.glob("*.xlsx"))
    assert len(list(shop.settings.outbox.glob("acme/*/confirmation.xlsx"))) == 2
    (wrong,) = soundness(shop.settings, shop.registry, files).wrong  # which the operator can fix
    assert "confirmation.xlsx" in wrong
    event = shop.registry.query("SELECT event FROM events WHERE file_name = 'G.csv'", {"event": int})["event"].item()
    rewrite_submission(shop.as_run, event)
    assert_sound(shop, files)


@pytest.mark.parametrize("source", ["acme", "house"])
def test_a_committed_file_that_has_gone_from_the_inbox_is_archived_from_its_private_copy(
    source: str, shop: Shop, tmp_path: Path
) -> None:
    path = shop.drop("A.csv", csv_of(row("A", quantity="1", comments="POISON")), source)
    files = [(source, digest(path))]
    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison="write").code == KILLED
        path.unlink()
        result = answers(run(worker, shop))
    assert result["A.csv"]["orders_placed"] == 1
    assert_sound(shop, files)


def test_a_committed_file_that_was_replaced_is_archived_as_it_was_and_the_other_is_answered_too(
    shop: Shop, tmp_path: Path
) -> None:
    files = [drop(shop, "A", comments="POISON")]
    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison="write").code == KILLED
        other = shop.drop("A.csv", csv_of(row("B", quantity="1")))
        files.append(("acme", digest(other)))
        result = json.loads(run(worker, shop).out)["submissions"]
    assert [one["orders_placed"] for one in result] == [1, 1]
    assert_sound(shop, files)


def test_one_death_is_one_strike_however_often_the_next_runs_break_off(shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A", comments="POISON")]

    def break_off(step: str) -> None:
        if step == "placement written":
            raise KilledError

    with Worker(tmp_path / "worker") as worker:
        assert run(worker, shop, poison="write").code == KILLED
        for _ in range(3):
            with pytest.raises(KilledError):
                shop.run(break_off)
            assert strikes(shop, files) == [1]
        result = answers(run(worker, shop))
    assert (shop.settings.home / result["A.csv"]["folder"] / "confirmation.xlsx").exists()
    assert_sound(shop, files)


def test_a_run_that_was_killed_with_nothing_in_hand_strikes_no_file(shop: Shop, tmp_path: Path) -> None:
    files = [drop(shop, "A")]
    shop.run()
    with Worker(tmp_path / "worker") as worker:
        worker.run("--help", environment={})
        worker.start("run", environment=environment(shop))
        worker.kill()
        worker.end()
        assert answers(run(worker, shop)) == {}
    assert strikes(shop, files) == [None]
