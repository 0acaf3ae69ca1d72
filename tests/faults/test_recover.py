"""Registries that are lost: days of a random life, a backup of one of them restored, and recovered from the outbox."""

import random
import time
from pathlib import Path

import pytest

from pipelines.admin.recover import recover
from tests.conftest import NewRegistry, Shop, row, shared_parser
from tests.faults import figures
from tests.faults.invariants import Soundness, soundness
from tests.faults.killing import environment
from tests.faults.worker import Worker
from tests.lives import Life, differences, lose, meaning


def _issued_twice(shop: Shop) -> list[str]:
    """Codes that stand in two placement files."""
    placed = shop.placements().filter(Action="Add")["Authorization Code"]
    return [f"a code is issued twice: {code[:6]}…" for code, times in placed.value_counts().iter_rows() if times > 1]


def _loss(seed: int, new_registry: NewRegistry, folder: Path, days: int, killer: Worker | None = None) -> Soundness:
    """One loss and its recovery, which `killer` does and is killed at; then another day."""
    with new_registry() as url, new_registry() as other:
        shop = Shop(folder, url, seed=seed)
        life = Life(shop, seed)
        lost = lose(life, days, other)
        if killer:
            _recover_and_kill(shop, killer, life.chance)
        else:
            with shared_parser():
                recover(shop.as_run)
        shop.run()  # what the backup had not delivered yet
        wrong = differences(lost, meaning(shop.registry))
        life.draw_as_after_the_backup()
        life.day()
        found = soundness(shop.settings, shop.registry)
        found.others.extend(f"seed {seed}: {line}" for line in wrong)
        found.twice.extend(_issued_twice(shop))
        shop.registry.close()
    return found._replace(files=len(shop.placements()))


def _recover_and_kill(shop: Shop, worker: Worker, chance: random.Random) -> None:
    """`cards recover` in a process of its own, killed at random times, and started again until it is done."""
    for turn in range(1_000):
        worker.start("recover", "--json", environment=environment(shop))
        if turn < 5:
            time.sleep(0.1 + 1.2 * chance.random())
            worker.kill()
        ended = worker.end()
        if not ended.code:
            return
        assert ended.code == -9, ended


def _losses(count: int, new_registry: NewRegistry, folder: Path, database: str, killer: Worker | None = None) -> None:
    first = random.SystemRandom().randrange(10**6)
    print(f"seeds {first} to {first + count - 1}")
    begin = time.monotonic()
    found = [_loss(first + number, new_registry, folder / str(number), 5, killer) for number in range(count)]
    how = ", killed" if killer else ""
    figures.report(f"restore + recover{how}, {database}", count, found, time.monotonic() - begin)
    wrong = [wrong for one in found for wrong in one.wrong]
    assert not wrong, "\n".join(wrong)


def test_a_registry_that_is_not_recovered_would_issue_codes_twice(sqlite: NewRegistry, tmp_path: Path) -> None:
    """And so the tests below would find it."""
    with sqlite() as url, sqlite() as other:
        shop = Shop(tmp_path / "home", url, seed=8)
        life = Life(shop, 8)
        lose(life, 4, other)
        (shop.settings.home / ".registry-mark").unlink()
        life.draw_as_after_the_backup()
        shop.send(row("NEW", quantity="200"), name="new.csv")
        assert _issued_twice(shop)
        shop.registry.close()


@pytest.mark.slow
def test_days_that_are_lost_are_recovered_and_no_code_is_issued_twice(
    new_registry: NewRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _losses(2, new_registry, tmp_path, request.node.callspec.params["new_registry"])


@pytest.mark.slow
def test_a_recovery_that_is_killed_is_done_by_the_next(sqlite: NewRegistry, tmp_path: Path) -> None:
    with Worker(tmp_path / "worker") as worker:
        _losses(1, sqlite, tmp_path, "sqlite", worker)


@pytest.mark.long
def test_100_random_losses_on_each_database_are_recovered_and_no_code_is_issued_twice(
    new_registry: NewRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _losses(100, new_registry, tmp_path, request.node.callspec.params["new_registry"])


@pytest.mark.long
def test_recoveries_that_are_killed_are_done_by_the_next(
    new_registry: NewRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with Worker(tmp_path / "worker") as worker:
        _losses(10, new_registry, tmp_path, request.node.callspec.params["new_registry"], worker)
