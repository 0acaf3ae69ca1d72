"""`cards recover`: a registry that was restored from a backup gets back from the outbox what it lacks."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.admin.recover import recover
from pipelines.common.errors import CardsError
from pipelines.registry import audit
from pipelines.registry.schema import TABLES
from pipelines.registry.store import Registry, open_registry
from tests.conftest import NewRegistry, Shop, shared_parser
from tests.lives import Life, differences, meaning


def dump(registry: Registry) -> dict[str, Any]:
    """A backup: every table."""
    return {name: registry.query(f"SELECT * FROM {name}", schema) for name, schema in TABLES.items()}


def restore(shop: Shop, backup: dict[str, Any], url: str) -> None:
    """Have a shop work with a registry that holds the backup."""
    shop.registry.close()
    shop.registry = open_registry(url)
    with shop.registry.transaction():
        for name, frame in backup.items():
            shop.registry.execute(f"DELETE FROM {name}")
            shop.registry.append(name, frame)


@pytest.mark.parametrize("seed", range(3))
def test_days_that_were_lost_come_back_from_the_outbox(tmp_path: Path, new_registry: NewRegistry, seed: int) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url, seed=seed)
        life = Life(shop, seed)
        kept = life.chance.randint(0, 5)
        backup: dict[str, Any] = {}
        for day in range(7):
            if day == kept:
                backup = dump(shop.registry)
            life.day(is_last=day == 6)
        lost = meaning(shop.registry)
        restore(shop, backup, other)
        with pytest.raises(CardsError, match="cards recover"):
            shop.run()
        with shared_parser():
            recover(shop.as_run)
        assert differences(lost, meaning(shop.registry)) == []
        assert audit.disagreements(shop.registry) == {}
        life.day()
        shop.registry.close()
