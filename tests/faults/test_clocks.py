"""Files that come slowly or are replaced, and clocks that jump: nothing is taken early, missed or taken twice."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from pipelines.intake import inbox
from tests.conftest import Shop, csv_of, row
from tests.faults.invariants import assert_sound, dropped

pytestmark = pytest.mark.one_database

DAY = 86_400


def _ready(shop: Shop, now: float) -> list[str]:
    return [drop.path.name for drop in inbox.stable_files(shop.settings.inbox, 2, lambda _: True, now)]


def test_a_file_that_is_written_slowly_is_taken_when_it_is_whole(shop: Shop) -> None:
    content = csv_of(row("A", quantity="1"), row("B", quantity="2"))
    path = shop.settings.inbox / "acme" / "slow.csv"
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(content), 50):
            file.write(content[at : at + 50])
            os.utime(path, (1, 1))  # what copies a file along may set its time back
            assert _ready(shop, time.time() + 1) == []
    assert _ready(shop, time.time() + 2) == ["slow.csv"]
    (answer,) = shop.run()
    assert len(answer.codes) == 3
    assert_sound(shop)


@pytest.mark.parametrize("step", ["read", "decided"])
def test_a_file_that_grows_after_it_was_read_is_answered_once_and_as_a_whole(step: str, shop: Shop) -> None:
    path = shop.drop("grows.csv", csv_of(row("A", quantity="1")))

    def grow(at: str) -> None:
        if at == step:
            shop.drop("grows.csv", csv_of(row("A", quantity="1"), row("B", quantity="1")))

    assert shop.run(grow) == []
    assert path.exists()
    files = dropped(shop)
    (answer,) = shop.run()
    assert set(answer.confirmation["Customer Order ID"]) == {"A", "B"}
    assert_sound(shop, files)


def test_a_file_that_is_replaced_in_the_moment_in_which_it_is_archived_is_answered_too(shop: Shop) -> None:
    path = shop.drop("orders.csv", csv_of(row("A", quantity="1")))
    files = dropped(shop)

    def replace(step: str) -> None:
        if step == "folder written":  # the next thing that happens is that the dropped file is removed
            path.unlink()
            shop.drop("orders.csv", csv_of(row("B", quantity="1")))

    (answer,) = shop.run(replace)
    assert set(answer.confirmation["Customer Order ID"]) == {"A"}
    assert path.exists()
    (answer,) = shop.run()
    assert set(answer.confirmation["Customer Order ID"]) == {"B"}
    assert shop.waiting() == []
    assert len(files) == 1


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_neither_hides_a_file_nor_takes_one_twice(jump: int, shop: Shop) -> None:
    shop.drop("before.csv", csv_of(row("A", quantity="1")))
    assert _ready(shop, time.time() + 3 + jump) == ["before.csv"]
    files = dropped(shop)
    shop.run()
    shop.now += timedelta(seconds=jump)
    path = shop.drop("after.csv", csv_of(row("B", quantity="1")))
    os.utime(path, (time.time() + jump,) * 2)
    files += dropped(shop)
    shop.run()
    assert_sound(shop, files)


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_night_after_the_clock_has_jumped_settles_what_came(jump: int, shop: Shop) -> None:
    answers = [shop.send(row(name, quantity="2"), name=f"{name}.csv") for name in ("A", "B")]
    for answer in answers:
        pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
        shop.report(*pairs, name=f"{pairs[0][0]}.csv")
        assert shop.night()["codes_ready"] == 2
        shop.now += timedelta(seconds=jump)
    assert set(shop.states().values()) == {"ready"}
    assert_sound(shop)


def test_the_night_comes_once_a_day_also_when_clocks_are_changed() -> None:
    from prefect.server.schemas.schedules import CronSchedule

    (night,) = [one for one in yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
                if one["name"] == "night"]  # fmt: skip
    schedule = CronSchedule(**night["schedules"][0])
    zone = ZoneInfo(night["schedules"][0]["timezone"])
    import asyncio

    for day in (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 10, 30, tzinfo=UTC)):
        found = asyncio.run(schedule.get_dates(n=5, start=day))
        days = [one.astimezone(zone).date() for one in found]
        assert len(set(days)) == 5
        assert (days[-1] - days[0]).days == 4


def test_names_of_folders_differ_in_the_hour_that_comes_twice(shop: Shop) -> None:
    folders = []
    for hours in (-6, -7):  # 01:30 before and after
        shop.now = datetime.fromisoformat(f"2026-11-01T01:30:00-0{-hours}:00")
        folders.append(shop.send(row(f"A{-hours}", quantity="1"), name="orders.csv").folder)
    assert folders[0] != folders[1]
    assert_sound(shop)
