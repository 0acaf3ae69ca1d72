"""Kills at random times, until the work is done: runs over mixed files, and nights."""

import functools
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.conftest import Shop, csv_of, row, some_codes, xlsx_of
from tests.faults.invariants import Soundness, dropped, end_state, soundness
from tests.faults.worker import Worker

CODES = some_codes(8, seed=11)
BTN = "3035550142"


def globex(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, account="20098765", product="8001", **cells)


@functools.cache
def book() -> bytes:
    """A workbook, whose bytes show when it was made."""
    return xlsx_of(row("H", quantity="3"), row("I", code="1111111111111"))


def fill(shop: Shop) -> None:
    """Files of every kind: orders drawn, chosen and refused, one twice, a workbook, a reseller's who takes rows, noise."""
    shop.drop("drawn.csv", csv_of(row("A", quantity="40"), row("B", btn=BTN, quantity="5"), row("C", code="12")))
    shop.drop("chosen.csv", csv_of(row("D", code=f"{CODES[0]} {CODES[1]}"), row("E", code=CODES[2])))
    shop.drop("book.xlsx", book())
    shop.drop("noise.bin", bytes(range(256)) * 8, "globex")
    # its turn is after that of chosen.csv: a file that waits for another's gets other numbers than one that comes later
    shop.drop("rows.csv", csv_of(globex("J", code=CODES[3]), globex("J", code=CODES[1])), "globex")
    # on an account of its own, as it depends on the files that are left whose turn comes first
    shop.drop("house.csv", csv_of(row("K", quantity="2", account="00200300", product="7003")), "house")
    shop.drop("taken.csv", csv_of(row("F", code=CODES[0]), row("A", quantity="3"), row("G", quantity="2")))
    shop.drop("again.csv", csv_of(row("D", code=f"{CODES[0]} {CODES[1]}"), row("E", code=CODES[2])))


def fill_night(shop: Shop) -> None:
    """Orders that were placed, and what the network says of them: shown, left out, strange, malformed."""
    answer = shop.send(row("A", quantity="6"), row("B", code=f"{CODES[0]} {CODES[1]}"), row("C", btn=BTN, quantity="3"))
    shop.send(globex("G", code=CODES[3]), name="rows.csv", source="globex")
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    of_a = [pair for pair in pairs if pair[0] == "10023456-1"]
    shop.report(*of_a[:4], ("10023456-2", CODES[0]), name="1.csv")
    shop.report(("10023456-3", ""), ("77-7", CODES[5]), name="2.csv")
    shop.report(("20098765-1", CODES[3]), name="3.csv")
    shop.report(content="Order ID\n1\n", name="4.csv")


JOBS = {"run": fill, "reconcile": fill_night}


def lay(home: Path, url: str, job: str) -> Shop:
    """A shop with all that a job has to do, and settled orders for the night."""
    shop = Shop(home, url)
    JOBS[job](shop)
    return shop


def environment(shop: Shop) -> dict[str, str]:
    settings = shop.settings
    return {"CARDS_HOME": str(settings.home), "CARDS_REGISTRY": settings.registry, "CARDS_SETTLE_SECONDS": "0"}


def undisturbed(home: Path, url: str, job: str, worker: Worker) -> tuple[dict[str, Any], float]:
    """The end state of a job that nothing disturbs, and how many seconds it takes."""
    shop = lay(home, url, job)
    begin = time.monotonic()
    ended = worker.run(job, "--json", environment=environment(shop))
    seconds = time.monotonic() - begin
    assert ended.code in DONE, ended.err
    state = end_state(shop, CODES)
    shop.registry.close()
    return state, seconds


DONE = (0, 3)
"""Exit codes of a job that did its work; 3: with a report that was not used, of which the night has one."""


def life(shop: Shop, job: str, worker: Worker, chance: random.Random, seconds: float, most: int = 25) -> int:
    """Do a job that is killed at random times, `most` times at the most, and started again until it is done; how many kills
    it took.
    """
    kills = 0
    while True:
        worker.start(job, "--json", environment=environment(shop))
        if kills < most:
            time.sleep(chance.random() * seconds * 1.1)
            worker.kill()
        ended = worker.end()
        if ended.code in DONE:
            return kills
        assert ended.code == -9, ended
        kills += 1
        shop.registry.execute("UPDATE strikes SET times = 0")  # we killed it, and no file is set aside for that


def campaign(
    kills: int, new_registry: Any, folder: Path, chance: random.Random, jobs: tuple[str, ...] = ("run", "reconcile")
) -> tuple[int, list[Soundness]]:
    """Lives of the jobs in turn, until there were so many kills; how many, and what was found after each life.

    The end state of each life must be that of an undisturbed one.
    """
    done = 0
    found: list[Soundness] = []
    with Worker(folder / "worker") as worker:
        expected: dict[str, tuple[dict[str, Any], float]] = {}
        for job in jobs:
            with new_registry() as url:
                worker.run("--help", environment={})
                expected[job] = undisturbed(folder / f"undisturbed-{job}", url, job, worker)
        number = 0
        while done < kills:
            job = jobs[number % len(jobs)]
            number += 1
            with new_registry() as url:
                shop = lay(folder / f"{job}-{number}", url, job)
                files = dropped(shop)
                done += life(shop, job, worker, chance, expected[job][1])
                one = soundness(shop.settings, shop.registry, files)
                if (state := end_state(shop, CODES)) != expected[job][0]:
                    one.others.append(f"{job} ends otherwise: {difference(expected[job][0], state)}")
                found.append(one)
                shop.registry.close()
    return done, found


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What differs, in a few words."""
    result = []
    for key, value in one.items():
        if value != other[key] and isinstance(value, dict):
            result += [f"{name}: {value.get(name)} → {other[key].get(name)}" for name in sorted({*value, *other[key]})
                     if value.get(name) != other[key].get(name)]  # fmt: skip
        elif value != other[key]:
            before, after = Counter(value), Counter(other[key])
            result.append(f"{key}: without {list((before - after).elements())}, with {list((after - before).elements())}")
    return "; ".join(result)[:2000]
