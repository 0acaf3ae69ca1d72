"""A home in which all has happened that leaves something behind, and copies of it to damage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.admin.retention import archive
from pipelines.common.settings import load_settings
from pipelines.registry.store import open_registry
from pipelines.run import Run
from tests.conftest import Shop, csv_of, row, some_codes, xlsx_of
from tests.registries import copied_registry

CODES = some_codes(12, seed=23)
BTN = "3035550142"


class Place:
    """A copy of the home, with its registry."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.outbox = home, home / "outbox"
        settings = load_settings(_env_file=None, home=home, registry=url, settle_seconds=0)
        self.run = Run(settings, open_registry(url))

    def execute(self, *statements: str) -> None:
        """Change the registry behind the program's back."""
        for statement in statements:
            self.run.registry.execute(statement)

    def value(self, query: str) -> Any:
        """The one value of a query."""
        return self.run.registry.query(f"SELECT ({query}) AS found", {"found": pl.Int64})["found"].item()

    def find(self, pattern: str) -> Path:
        """The first file or folder of the outbox with such a path."""
        return min(self.outbox.glob(pattern))


def live(home: Path, url: str) -> None:
    """Orders of every kind, reports, nights, an archive, and an order that waits."""
    shop = Shop(home, url)
    _day_one(shop)
    shop.later(days=45)
    _second_night(shop)
    archive(f"{shop.now - timedelta(days=20):%Y-%m-%d}", "", shop.as_run)
    shop.registry.close()


def _shown(answer: pl.DataFrame, order_id: str) -> list[tuple[str, str]]:
    return answer.filter(pl.col("Order ID") == order_id).select("Order ID", "Authorization Code").rows()


def _day_one(shop: Shop) -> None:
    """An order that is settled at once and archived later, and one whose code the network does not have."""
    old = shop.send(row("OLD", quantity="3"), name="old.csv")
    shop.report(*_shown(old.confirmation, "10023456-1"), ("77-7", CODES[10]), name="first.csv")
    shop.night()


def _second_night(shop: Shop) -> None:
    shop.drop("mixed.xlsx", xlsx_of(row("A", quantity="6"), row("B", code=CODES[0]), row("B", code=CODES[1]),
                                    row("C", btn=BTN, quantity="3"), row("X", code="12")))  # fmt: skip
    shop.drop("plain.csv", csv_of(row("D", quantity="4"), row("Y", code="12")))
    shop.drop("rows.csv", csv_of(_globex("G", code=CODES[3]), _globex("G", code="1")), "globex")
    mixed, plain, rows = sorted(shop.run(), key=lambda answer: answer.folder.name.split("-")[2] + answer.folder.parent.name)
    a, b = _shown(mixed.confirmation, "10023456-2"), _shown(mixed.confirmation, "10023456-3")
    d, g = _shown(plain.confirmation, "10023456-5"), _shown(rows.confirmation, "20098765-1")
    shop.report(*a[:4], b[0], *d, *g, ("10023456-4", ""), ("77-8", CODES[11]), name="second.csv")
    shop.report(content="Order ID\n1\n", name="broken.csv")
    shop.night()
    shop.later(hours=20)
    shop.send(
        row("BL", action="Block", code=a[0][1]), row("CH", action="Change", code=d[0][1], origin="Yes"), name="actions.csv"
    )
    shop.report(("10023456-6", a[0][1]), ("10023456-7", ""), name="third.csv")
    shop.night()
    shop.later(hours=20)
    shop.send(row("W", quantity="2"), row("BL2", action="Block", code=a[1][1]), name="waiting.csv")
    shop.drop("repeated.csv", csv_of(row("W", quantity="2")))
    shop.run()
    shop.later(hours=20)
    shop.night()


def _globex(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, account="20098765", product="8001", **cells)


@contextmanager
def copied(home: Path, url: str, target: Path) -> Iterator[Place]:
    """A copy of a home and its registry, which nobody has open."""
    shutil.copytree(home, target, symlinks=True)
    with copied_registry(url, target) as copy:
        place = Place(target, copy)
        try:
            yield place
        finally:
            place.run.registry.close()
    shutil.rmtree(target)
