"""kill -9 at random times over a run of mixed files and over a night."""

import random
import time
from pathlib import Path

import pytest

from tests.conftest import NewRegistry
from tests.faults import figures
from tests.faults.killing import campaign


def _campaign(kills: int, new_registry: NewRegistry, folder: Path, database: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    begin = time.monotonic()
    done, found = campaign(kills, new_registry, folder, random.Random(seed))
    figures.report(f"kill -9, {database}", done, found, time.monotonic() - begin)
    wrong = [wrong for one in found for wrong in one.wrong]
    assert not wrong, "\n".join(wrong)
    assert done >= kills


@pytest.mark.one_database
def test_work_that_is_killed_a_few_times_ends_as_if_it_had_not_been(
    new_registry: NewRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _campaign(2, new_registry, tmp_path, request.node.callspec.params["new_registry"])


@pytest.mark.long
def test_work_that_is_killed_500_times_on_each_database_ends_as_if_it_had_not_been(
    new_registry: NewRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _campaign(500, new_registry, tmp_path, request.node.callspec.params["new_registry"])
