"""Receipts: the `status.json` of a reseller says which files have arrived, before anything is decided about them."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.admin.audit import Scope, verify
from pipelines.delivery import receipts
from pipelines.delivery.receipts import Receipts
from pipelines.intake import inbox
from pipelines.process_orders import process_inbox
from pipelines.serving import watcher
from tests.conftest import Shop, csv_of, row

pytestmark = pytest.mark.one_database

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "received.schema.json").read_text())
ROW = csv_of(row("A", quantity="1"))


def received(shop: Shop, source: str = "acme") -> dict[str, Any]:
    """What the receipts of a source say; they fit their schema."""
    found: dict[str, Any] = json.loads((shop.settings.outbox / source / "status.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(found)
    return found


def names(shop: Shop, source: str = "acme") -> list[str]:
    return [one["file"] for one in received(shop, source)["files"]]


class Killed(BaseException):
    """The end of a run."""


def run_until(shop: Shop, step: str, do: Callable[[], object]) -> None:
    """Run, do something at the first time of a step, and end there."""

    def reached(name: str) -> None:
        if name == step:
            do()
            raise Killed

    with pytest.raises(Killed):
        shop.run(reached)


def test_a_file_is_acknowledged_before_it_is_decided_and_leaves_the_list_with_its_answer(shop: Shop) -> None:
    before = time.time() - 1
    path = shop.drop("a.csv", ROW)
    seen: list[dict[str, Any]] = []
    run_until(shop, "claimed", lambda: seen.append(received(shop)))
    (one,) = seen[0]["files"]
    assert (seen[0]["reseller"], seen[0]["files_total"]) == ("acme", 1)
    assert (one["file"], one["state"], one["size"]) == ("a.csv", "received", len(ROW))
    assert one["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert before <= datetime.fromisoformat(one["received"]).timestamp() <= time.time()
    (answer,) = shop.run()
    assert json.loads((answer.folder / "status.json").read_text())["sha256"] == one["sha256"]
    assert received(shop)["files"] == []


def test_every_source_has_receipts_of_its_own_and_trials_are_in_them(shop: Shop) -> None:
    shop.drop("a.csv", ROW)
    shop.drop("b.csv", ROW, "globex")
    shop.drop("c.csv", ROW, "house")
    (shop.settings.inbox / "acme" / "check").mkdir()
    shop.drop("check/try.csv", ROW)
    run_until(
        shop,
        "claimed",
        lambda: [
            pytest.fail(f"{source}: {found}")
            for source, wanted in (("acme", ["a.csv", "check/try.csv"]), ("globex", ["b.csv"]), ("house", ["c.csv"]))
            if sorted(found := names(shop, source)) != wanted
        ],
    )
    shop.run()
    assert [received(shop, source)["files_total"] for source in ("acme", "globex", "house")] == [0, 0, 0]


def test_who_is_not_in_the_catalogue_gets_no_folder(shop: Shop) -> None:
    (shop.settings.inbox / "acmee").mkdir()
    shop.drop("a.csv", ROW, "acmee")
    shop.drop("a.csv", ROW)
    shop.run()
    assert not (shop.settings.outbox / "acmee").exists()


def test_a_worker_leaves_the_receipts_of_other_sources_alone(shop: Shop) -> None:
    shop.drop("a.csv", ROW)
    shop.drop("b.csv", ROW, "globex")
    run_until(shop, "claimed", lambda: None)
    process_inbox(shop.as_run, lambda source: source == "acme")
    assert (names(shop), names(shop, "globex")) == ([], ["b.csv"])


def test_what_a_run_that_died_acknowledged_and_answered_leaves_the_list_with_the_next_run(shop: Shop) -> None:
    shop.drop("a.csv", ROW)
    run_until(shop, "archived", lambda: None)
    assert names(shop) == ["a.csv"]
    shop.run()
    assert names(shop) == []


def test_files_beyond_the_budget_of_a_day_stay_received(registry_url: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_files=1)
    for name in ("a.csv", "b.csv"):
        shop.drop(name, csv_of(row(name[0].upper(), quantity="1")))
        time.sleep(0.01)  # so that the times of their inodes differ
    assert len(shop.run()) == 1
    assert names(shop) == ["b.csv"]
    shop.registry.close()


def test_neither_links_nor_files_that_are_too_large_are_read(registry_url: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_file_mb=1)
    (tmp_path / "secret").write_text("not acme's")
    (shop.settings.inbox / "acme" / "link.csv").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret", shop.settings.inbox / "acme" / "hard.csv")
    shop.drop("large.csv", b"x" * (1 << 20) + b"x")
    kept = Receipts(shop.settings)
    kept.set_resellers(["acme"])
    kept.renew(inbox.list_files(shop.settings.inbox))
    assert [(one["file"], one["sha256"]) for one in received(shop)["files"]] == [("large.csv", "")]
    shop.registry.close()


def test_a_flood_of_files_is_read_in_portions_and_listed_up_to_a_limit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MOST_FILES", 3)
    monkeypatch.setattr(receipts, "_SECONDS", 0)
    for number in range(5):
        shop.drop(f"{number}.csv", ROW)
    kept = Receipts(shop.settings)
    kept.set_resellers(["acme"])
    files = inbox.list_files(shop.settings.inbox)
    counts = []
    while not counts or kept.is_behind:
        kept.renew(files)
        counts.append(received(shop)["files_total"])
    assert counts == [1, 2, 3, 4, 5]
    assert len(names(shop)) == 3


def test_a_receipt_is_private_and_no_stray(shop: Shop) -> None:
    shop.drop("a.csv", ROW)
    shop.run()
    assert (shop.settings.outbox / "acme" / "status.json").stat().st_mode & 0o777 == 0o600
    assert verify(shop.settings, shop.registry, Scope()).findings == []


def test_an_outbox_that_can_not_be_written_stops_nothing(shop: Shop) -> None:
    shop.drop("a.csv", ROW)
    (shop.settings.outbox / "acme").mkdir(parents=True)
    (shop.settings.outbox / "acme" / "status.json").mkdir()
    assert len(shop.run()) == 1


def test_the_looks_of_serving_acknowledge_files_as_they_come_and_go(shop: Shop) -> None:
    """What the loop of `cards serve` does between two runs, and during one."""
    stop = threading.Event()
    kept = Receipts(shop.settings)
    kept.set_resellers(["acme"])
    steps: list[tuple[list[str], Callable[[], object]]] = [
        (["a.csv"], lambda: (shop.settings.inbox / "acme" / "b.csv").write_bytes(ROW)),
        (["a.csv", "b.csv"], (shop.settings.inbox / "acme" / "a.csv").unlink),
        (["b.csv"], stop.set),
    ]
    shop.drop("a.csv", ROW)
    for look in watcher.looks(shop.settings.inbox, 0.2, stop):
        if look:
            kept.renew(look.ready)
        if (shop.settings.outbox / "acme" / "status.json").exists() and names(shop) == steps[0][0]:
            steps.pop(0)[1]()
    assert steps == []
