"""Whether a run would find something to do, which decides whether `cards serve` makes one."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.admin import approvals
from pipelines.common.errors import CardsError
from pipelines.process_orders import has_work
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Shop, csv_of, row


def dies_at(step: str) -> Any:
    def reach(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    return reach


def test_a_home_without_files_has_no_work(shop: Shop) -> None:
    assert not has_work(shop.as_run)
    shop.send(row("A", quantity="1"))
    shop.report(("10023456-1", ""))
    assert not has_work(shop.as_run)


def test_a_file_is_work_once_it_stands_still_and_somebody_may_order_with_it(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_files=1)
    (shop.settings.inbox / "nobody").mkdir()
    shop.drop("a.csv", b"x", "nobody")
    assert not has_work(shop.as_run)
    shop.drop("a.csv", csv_of(row("A", quantity="1")))
    shop.drop("b.csv", csv_of(row("B", quantity="1")))
    assert has_work(shop.as_run)
    assert not has_work(shop.as_run, lambda source: source == "globex")
    still = shop.as_run._replace(settings=shop.settings.model_copy(update={"settle_seconds": 3600.0}))
    assert not has_work(still)
    assert len(shop.run()) == 1
    assert not has_work(shop.as_run)  # the budget of the day is used up
    shop.later(days=1)
    assert has_work(shop.as_run)
    shop.registry.close()


@pytest.mark.parametrize("step", ["claimed", "committed", "folder written", "archived"])
def test_what_a_run_left_that_died_is_work(step: str, shop: Shop) -> None:
    shop.drop("a.csv", csv_of(row("A", quantity="1")))
    with pytest.raises(KeyboardInterrupt):
        shop.run(dies_at(step))
    assert has_work(shop.as_run)
    shop.run()
    assert not has_work(shop.as_run)
    assert len(shop.placements()) == 1


def test_an_order_that_waits_is_no_work_until_it_is_decided(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, approve_above=2)
    assert shop.send(row("A", quantity="3")).result["orders_on_hold"] == 1
    assert not has_work(shop.as_run)
    dying = shop.as_run._replace(runtime=shop.runtime._replace(checkpoint=dies_at("decided")))
    with pytest.raises(KeyboardInterrupt):
        approvals.approve(dying, "H1", "Ana", "their trade fair")
    assert list((shop.settings.home / ".spool").iterdir()) == []
    assert has_work(shop.as_run)
    (answer,) = shop.run()
    assert answer.result["orders_placed"] == 1
    assert not has_work(shop.as_run)
    shop.registry.close()


def test_a_file_without_a_catalogue_is_an_error_and_no_work_is_none(shop: Shop) -> None:
    shop.registry.load_catalogue(ACCOUNTS.clear(), ACCESS_NUMBERS)
    assert not has_work(shop.as_run)
    shop.drop("a.csv", csv_of(row("A", quantity="1")))
    with pytest.raises(CardsError, match="catalogue is empty"):
        has_work(shop.as_run)
