"""kill -9 ahead of any statement or change to a folder, in each job, on both databases: the next run ends as an undisturbed one
does.

Migrations are killed in `tests/test_migrations.py`.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import NewRegistry, Shop, some_codes
from tests.faults import figures
from tests.faults.invariants import Soundness, dropped, end_state, soundness
from tests.faults.killing import CODES, DONE, difference, environment, fill, fill_night
from tests.faults.worker import Worker

IMPORTED = some_codes(40, seed=31)
SHARES = {"sqlite": 0.35, "postgresql": 0.8}
"""Where the default run kills, as shares of all steps."""
MANY = 40
"""How many points the long form kills at; which ones, is for chance."""


class Job(NamedTuple):
    """What is laid out for a job, and the arguments of `cards`, once that is done."""

    lay: Callable[[Shop], None]
    arguments: Callable[[Shop], tuple[str, ...]]


def _lay_answered(shop: Shop) -> None:
    fill_night(shop)
    shop.night()


def _lay_settled(shop: Shop) -> None:
    _lay_answered(shop)
    shop.later(days=70)


def _lay_import(shop: Shop) -> None:
    fill(shop)
    shop.run()
    (shop.settings.home / "codes.csv").write_text("\n".join(["Code", *IMPORTED, ""]))


def _report(shop: Shop) -> tuple[str, ...]:
    folders = sorted(shop.settings.outbox.glob("acme/2*/"))
    return ("report", *map(str, folders), "2026-10-05", "--json")


JOBS = {
    "run": Job(fill, lambda _: ("run", "--json")),
    "night": Job(fill_night, lambda _: ("reconcile", "--json")),
    "month": Job(_lay_answered, lambda _: ("reconcile", "--json")),  # the first night after October
    "report": Job(_lay_answered, _report),
    "import": Job(_lay_import, lambda shop: ("registry", "import", str(shop.settings.home / "codes.csv"))),
    "archive": Job(_lay_settled, lambda _: ("archive", "--before", "2026-10-31", "--json")),
}
"""The jobs that change something."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker")) as started:
        yield started


class Life(NamedTuple):
    """How many steps a job took until it ended or died, its end state, and what was found then."""

    steps: int
    state: dict[str, Any]
    found: Soundness


def live(home: Path, url: str, name: str, worker: Worker, before: int = 0) -> Life:
    """Lay a job out, do it, and do it again if it died ahead of a step."""
    shop, steps_file = Shop(home, url), home.parent / f"{home.name}-steps"
    JOBS[name].lay(shop)
    files, arguments = dropped(shop), JOBS[name].arguments(shop)
    ended = worker.run(*arguments, environment=environment(shop), before=before, steps_file=str(steps_file))
    if before:
        assert ended.code == -9, ended
        ended = worker.run(*arguments, environment=environment(shop))
    assert ended.code in DONE, ended
    found = soundness(shop.settings, shop.registry, files)
    life = Life(0 if before else int(steps_file.read_text()), end_state(shop, [*CODES, *IMPORTED]), found)
    shop.registry.close()
    return life


def _kill(
    name: str, points: Callable[[int], list[int]], new_registry: NewRegistry, folder: Path, worker: Worker
) -> list[Soundness]:
    with new_registry() as url:
        undisturbed = live(folder / "undisturbed", url, name, worker)
    assert undisturbed.found.wrong == []
    found = []
    for point in points(undisturbed.steps):
        with new_registry() as url:
            life = live(folder / f"{name}-{point}", url, name, worker, point)
        assert life.found.wrong == [], f"{name} killed ahead of step {point} of {undisturbed.steps}"
        assert life.state == undisturbed.state, f"step {point}: {difference(undisturbed.state, life.state)}"
        found.append(life.found)
    return found


@pytest.mark.one_database
@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_is_killed_ends_as_if_it_had_not_been(
    name: str, new_registry: NewRegistry, tmp_path: Path, worker: Worker, request: pytest.FixtureRequest
) -> None:
    share = SHARES[request.node.callspec.params["new_registry"]]
    _kill(name, lambda steps: [int(steps * share)], new_registry, tmp_path, worker)


@pytest.mark.long
@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_is_killed_anywhere_ends_as_if_it_had_not_been(
    name: str, new_registry: NewRegistry, tmp_path: Path, worker: Worker, request: pytest.FixtureRequest
) -> None:
    begin = time.monotonic()

    def points(steps: int) -> list[int]:
        return sorted(random.sample(range(1, steps), min(MANY, steps - 1)))

    found = _kill(name, points, new_registry, tmp_path, worker)
    database = request.node.callspec.params["new_registry"]
    figures.report(f"kill -9 ahead of a step, {name}, {database}", len(found), found, time.monotonic() - begin)
