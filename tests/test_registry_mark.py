"""A registry that was restored from a backup knows it: what issues or changes refuses, what reads goes on."""

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipelines.admin import queries
from pipelines.common.errors import CardsError
from pipelines.common.registry_mark import Mark, raise_mark, read_mark
from pipelines.registry.store import open_registry
from pipelines.run import require_current
from tests.conftest import NewRegistry, Shop, csv_of, row


class KilledError(BaseException):
    """Stands for kill -9."""


def killed_at(name: str) -> Callable[[str], None]:
    def step(at: str) -> None:
        if at == name:
            raise KilledError

    return step


def last_event(shop: Shop) -> int:
    return int(shop.registry.query("SELECT coalesce(max(event), 0) AS event FROM events", {"event": pl.Int64}).item())


def event_of_mark(shop: Shop) -> int:
    mark = read_mark(shop.settings.home)
    return mark.event if mark else 0


def test_the_mark_follows_what_is_delivered(shop: Shop) -> None:
    assert read_mark(shop.settings.home) is None
    answer = shop.send(row("A", quantity="3"))
    assert event_of_mark(shop) == last_event(shop) == 1
    path = shop.settings.home / ".registry-mark"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.later(hours=20)
    shop.night()
    assert event_of_mark(shop) == last_event(shop) == 3
    key = json.loads(path.read_text())
    assert shop.registry.event_key(3) == (key["at"], key["folder"])


@pytest.mark.parametrize(("step", "marked"), [("committed", 0), ("placement written", 1)])
def test_what_is_not_delivered_may_be_missing_from_the_mark_and_never_the_other_way_round(
    shop: Shop, step: str, marked: int
) -> None:
    shop.drop("a.csv", csv_of(row("A", quantity="3")))
    with pytest.raises(KilledError):
        shop.run(killed_at(step))
    assert (event_of_mark(shop), last_event(shop)) == (marked, 1)
    assert len(shop.placements()) == 3 * marked
    shop.run()  # which delivers what was committed
    assert len(shop.placements()) == 3
    assert event_of_mark(shop) == 1


def test_a_night_is_marked_before_it_writes_anything(shop: Shop) -> None:
    shop.report(*shop.send(row("A", quantity="3")).confirmation.select("Order ID", "Authorization Code").rows())
    shop.later(hours=20)
    with pytest.raises(KilledError):
        shop.night(killed_at("orders closed"))
    assert event_of_mark(shop) == last_event(shop) == 3
    assert not list(shop.settings.outbox.rglob("release-*"))


def test_a_registry_that_lacks_what_was_delivered_refuses_to_issue_and_to_change(
    tmp_path: Path, new_registry: NewRegistry
) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url)
        order = shop.send(row("A", quantity="3")).confirmation["Order ID"][0]
        shop.later(hours=1)
        shop.send(row("B", quantity="3"), name="b.csv")
        lost = shop.registry
        shop.registry = open_registry(other)  # that of somebody who removed registry.db
        shop.drop("c.csv", csv_of(row("C", quantity="3")))
        for job in (shop.run, shop.night):
            with pytest.raises(CardsError, match=r"registry is empty.*cards recover"):
                job()
        shop.registry.close()
        shop.registry = lost
        lost.execute("DELETE FROM events WHERE event = 2")  # as in a backup of an hour ago
        with pytest.raises(CardsError, match=r"older than the outbox.*cards recover"):
            shop.run()
        assert [path.name for path in shop.waiting()] == ["c.csv"]
        assert queries.order(order, lost).order_id == order
        lost.close()


def test_another_registry_with_as_many_events_is_not_the_one_that_was_lost(tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url, new_registry() as other:
        shop, stranger = Shop(tmp_path / "home", url), Shop(tmp_path / "stranger", other, seed=2)
        shop.send(row("A", quantity="3"))
        stranger.later(minutes=5)
        for name in ("a", "b"):
            stranger.send(row(name, quantity="3"), name=f"{name}.csv")
        require_current(stranger.as_run)
        with pytest.raises(CardsError, match="older than the outbox"):
            require_current(stranger.as_run._replace(settings=shop.settings))
        shop.registry.close()
        stranger.registry.close()


def test_a_home_of_an_earlier_version_gets_its_mark_with_the_next_commit(shop: Shop) -> None:
    shop.send(row("A", quantity="3"))
    (shop.settings.home / ".registry-mark").unlink()
    shop.later(minutes=1)
    shop.send(row("B", quantity="3"), name="b.csv")
    assert event_of_mark(shop) == 2


def test_workers_that_share_a_home_never_lower_the_mark(tmp_path: Path) -> None:
    def work(first: int) -> None:
        for event in range(first, 200, 4):
            raise_mark(tmp_path, Mark(event, "", ""))

    threads = [threading.Thread(target=work, args=[first]) for first in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mark = read_mark(tmp_path)
    assert mark
    assert mark.event == 199


def test_a_damaged_mark_is_named(shop: Shop) -> None:
    shop.send(row("A", quantity="3"))
    (shop.settings.home / ".registry-mark").write_text('{"event"')
    with pytest.raises(CardsError, match=r"registry-mark is damaged.*cards recover"):
        shop.run()
