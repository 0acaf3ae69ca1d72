"""Many processes on one registry and one inbox, with so few random numbers that they want the same ones all the time."""

import json
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Shop, csv_of, row, some_codes
from tests.faults import figures
from tests.faults.invariants import dropped, soundness
from tests.faults.killing import environment, globex
from tests.faults.worker import Ended, Worker

CHOSEN = some_codes(30, seed=13)


def _drop(shop: Shop, files: int, chance: random.Random) -> int:
    """Files that draw codes, choose the same ones, and use the same BTN; how many numbers they draw."""
    drawn = 0
    for number in range(files):
        count = chance.randint(1, 4)
        kind = number % 5
        name = f"{number:03}.csv"
        if kind == 0:
            shop.drop(name, csv_of(row(f"S{number}", code=chance.choice(CHOSEN)), row(f"T{number}", quantity="1")))
            drawn += 1
        elif kind == 1:
            shop.drop(name, csv_of(globex(f"B{number}", btn="3035550142", quantity=str(count))), "globex")
            drawn += count
        elif kind == 2:
            shop.drop(name, f"no header\n{number // 10}")  # each of them twice
        else:
            shop.drop(name, csv_of(row(f"R{number - number % 10}", quantity="2")))  # the same bytes twice
            drawn += 2 * (number % 10 == 3)
    return drawn


def _at_once(workers: int, shop: Shop, folder: Path, **how: int) -> list[Ended]:
    """Have so many processes run at the same time."""
    with ExitStack() as stack:
        all_ = [stack.enter_context(Worker(folder / f"worker{number}")) for number in range(workers)]
        for worker in all_:
            worker.run("--help", environment={})
        for number, worker in enumerate(all_):
            worker.start(environment=environment(shop), seed=number, **how)
        return [worker.end() for worker in all_]


def _race(workers: int, files: int, rounds: int, shop: Shop, folder: Path, database: str) -> None:
    chance = random.Random(files)
    drawn = _drop(shop, files, chance)
    given = dropped(shop)
    begin = time.monotonic()
    # twice as many are not enough: who draws while another enters the same files needs as many once more, and some have runs
    ended = _at_once(workers, shop, folder, space=3 * drawn, rounds=rounds)
    seconds = time.monotonic() - begin
    assert [one for one in ended if one.code or one.err] == []
    # a file whose bytes another worker is just answering is left to the next run, which may be nobody's here
    left = [answer.result["file"] for answer in shop.run()]
    assert len(left) <= workers
    found = soundness(shop.settings, shop.registry, given)
    figures.report(f"{workers} processes at once, {database}", workers, [found], seconds)
    assert not found.wrong, "\n".join(found.wrong)
    assert shop.waiting() == []
    events = shop.registry.query(
        "SELECT source, file_name FROM events WHERE kind = 'orders'", dict.fromkeys(["source", "file_name"], str)
    ).rows()
    assert len(events) == len(set(events)) == files
    result = [json.loads(line)["submissions"] for one in ended for line in one.out.splitlines()]
    assert {*left, *(one["file"] for lines in result for one in lines)} == {f"{number:03}.csv" for number in range(files)}
    assert sum(bool(lines) for lines in result) > 1  # more than one had work
    assert shop.run() == []


@pytest.mark.one_database
def test_four_workers_on_one_inbox_answer_each_file_once(shop: Shop, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _race(4, 60, 2, shop, tmp_path, request.node.callspec.params["new_registry"])


@pytest.mark.long
def test_eight_workers_on_one_inbox_of_500_files_answer_each_file_once(
    shop: Shop, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _race(8, 500, 3, shop, tmp_path, request.node.callspec.params["new_registry"])


def test_of_two_nights_at_once_one_does_the_work_and_the_other_says_so(shop: Shop, tmp_path: Path) -> None:
    answer = shop.send(row("A", quantity="3"))
    shop.report(*((order, code) for order, code in answer.confirmation.select("Order ID", "Authorization Code").rows()))
    with Worker(tmp_path / "worker") as worker:

        def other(step: str) -> None:
            if step == "orders closed":
                ended.append(worker.run("reconcile", "--json", environment=environment(shop)))

        ended: list[Ended] = []
        result = shop.night(other)
        assert result["codes_ready"] == 3
        (one,) = ended
        nothing = {"night": time.strftime("%Y-%m-%d"), "reports": [], "already_running": True, "failures": []}
        assert (one.code, json.loads(one.out)) == (0, nothing)
        again = worker.run("reconcile", "--json", environment=environment(shop))
        assert "already_running" not in json.loads(again.out)
