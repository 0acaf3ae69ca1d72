"""Draws the pictures of workbooks in docs: `python -m tests.pictures`. Needs LibreOffice and poppler's tools.

Each is a workbook of the demo or of some weeks of orders, played by a clock and a source of random numbers that are always the
same.
"""

import random
import shutil
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.admin import demo, statements
from pipelines.admin.catalogue import load_catalogue
from pipelines.common.settings import load_settings
from pipelines.excel.order_template import write_template
from pipelines.process_orders import process_inbox
from pipelines.reconcile_network import reconcile
from pipelines.run import open_run
from tests.conftest import NOW, Shop, csv_of
from tests.lives import Life
from tests.workbooks.rendering import MISSING, draw, printed_pages, to_pdf

DOCS: Final = Path(__file__).parents[1] / "docs"


class Picture(NamedTuple):
    """A picture: the workbook, by a pattern below the home (of those that it fits the last), and the sheet of which it shows
    the first page, in so many dots an inch. `weeks`: after some weeks of orders and nights instead of the demo.
    """

    workbook: str
    sheet: str
    dots: int = 100
    weeks: bool = False


PICTURES: Final = {
    "confirmation": Picture("outbox/acme/*october/confirmation.xlsx", "Summary"),
    "rejections": Picture("outbox/acme/*october/rejections.xlsx", "Orders"),
    "release": Picture("outbox/acme/*october/release-*-2-*.xlsx", "Summary"),
    "refused": Picture("outbox/acme/*october/refused-*.xlsx", "Cards"),
    "trial": Picture("outbox/acme/check/*october*/trial.xlsx", "Summary"),
    "outcome": Picture("outbox/acme/*block/outcome-*.xlsx", "Cards"),
    "template": Picture("template.xlsx", "Instructions", 72),
    "reconciliation": Picture("outbox/reconciliation/20*.xlsx", "Summary", 80, weeks=True),
    "statement": Picture("outbox/acme/statement-2026-10.xlsx", "Summary", weeks=True),
    "statements": Picture("outbox/reconciliation/statements-2026-10.xlsx", "Resellers", 80, weeks=True),
    "catalogue": Picture("catalogue.xlsx", "Accounts", 80),
}
"""The pictures by their names: docs/<name>.png."""


class _Clock:
    """A clock that is moved by hand."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


def play(home: Path) -> None:
    """Play the demo with a trial of its file, block some cards a day later, and write a statement and a template."""
    clock = _Clock()
    demo.lay_out(home)
    trial, file = home / "inbox/acme/check", home / "inbox/acme/october.xlsx"
    trial.mkdir()
    with open_run(load_settings(_env_file=None, home=home, registry="", settle_seconds=0), create=True) as opened:
        run = opened._replace(runtime=opened.runtime._replace(random_bytes=random.Random(1).randbytes, now=clock))
        load_catalogue(home / "catalogue.xlsx", run.registry)
        file.rename(trial / file.name)
        process_inbox(run)
        shutil.copy(next(home.glob(f"outbox/acme/check/*/{file.name}")), file)
        process_inbox(run)
        demo.answer_as_network(home)
        clock.now += timedelta(hours=17)
        reconcile(run)
        _order_block(home)
        clock.now += timedelta(hours=8)
        process_inbox(run)
        _report_blocked(home)
        clock.now += timedelta(hours=16)
        reconcile(run)
        statements.state(run, f"{clock.now:%Y-%m}")
        write_template(home / "template.xlsx", *run.registry.catalogue(), "acme")


def play_weeks(home: Path) -> None:
    """Play six weeks of resellers that order every day, and of a network that refuses some of it."""
    life = Life(Shop(home, f"sqlite:///{home}/registry.db"), seed=7)
    for _ in range(_DAYS):
        life.day()


_DAYS: Final = 45


def _order_block(home: Path) -> None:
    """Write an order to block some cards that were released."""
    released = pl.read_csv(next(home.glob("outbox/acme/*/release-10023456-2-*.csv")), infer_schema=False)
    order = {"Action": "Block", "Customer Account Number": "10023456", "Customer Order ID": "OCT-20"}
    codes = released["Authorization Code"].head(8)
    (home / "inbox/acme/block.csv").write_bytes(csv_of(*({**order, "Code": code} for code in codes)))


def _report_blocked(home: Path) -> None:
    """Write a report that shows all cards of that order but two."""
    placed = pl.read_csv(next(home.glob("outbox/network/*/placement-*-block.csv")), infer_schema=False)
    placed.select("Order ID", "Authorization Code").slice(2).write_csv(home / "inbox/network/blocked.csv")


def main() -> None:
    """Draw the pictures that are named, or all of them."""
    if MISSING:
        sys.exit(f"These programs are not installed: {', '.join(MISSING)}.")
    with tempfile.TemporaryDirectory() as folder:
        wanted = {name: PICTURES[name] for name in sys.argv[1:] or PICTURES}
        homes = {weeks: Path(folder, "weeks" if weeks else "demo") for weeks in {one.weeks for one in wanted.values()}}
        for weeks, home in homes.items():
            home.mkdir()
            (play_weeks if weeks else play)(home)
        books = {name: max(homes[picture.weeks].glob(picture.workbook)) for name, picture in wanted.items()}
        pdfs = to_pdf(books, Path(folder))
        for name, picture in wanted.items():
            page = next(page for page in printed_pages(pdfs[name]) if page.sheet == picture.sheet)
            draw(pdfs[name], page, DOCS / f"{name}.png", picture.dots)
            print(f"docs/{name}.png")


if __name__ == "__main__":
    main()
