"""What programs read: status.json, index.csv, and a client that needs nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from pipelines.common.errors import CardsError
from pipelines.delivery import index, status
from tests.conftest import NewRegistry, Shop, csv_of, row, some_codes

pytestmark = pytest.mark.one_database

ONE, TWO = some_codes(2)
ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "status.schema.json").read_text())


def status_in(folder: Path) -> dict[str, Any]:
    text = (folder / "status.json").read_text()
    assert not re.search(r"\d{14}", text.replace(json.loads(text)["sha256"], "").replace("sha256", ""))
    found: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(found)
    return found


def index_of(shop: Shop, reseller: str = "acme") -> list[dict[str, str]]:
    path = shop.settings.outbox / reseller / "index.csv"
    return pl.read_csv(path, infer_schema=False).fill_null("").rows(named=True)


def test_the_status_follows_an_order_from_its_answer_to_its_last_release(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"), row("B", code="12"))
    found = status_in(answer.folder)
    assert (found["state"], found["rejected"]) == ("placed", {"orders": 1, "rows": 1, "reasons": {"CODE_FORMAT": 1}})
    (order,) = found["orders"]
    assert (order["state"], order["ordered"], order["released"], order["outstanding"]) == ("waiting", 3, 0, 3)
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(*pairs[1:])
    shop.night()
    found = status_in(answer.folder)
    (order,) = found["orders"]
    assert (found["state"], order["state"], order["released"], order["refused"]) == ("partly_released", "partly_released", 2, 1)
    assert [(file["kind"], file["cards"]) for file in order["files"]] == [("refused", 1), ("release", 2)]
    (new,) = set(shop.placements()["Authorization Code"]) - set(answer.codes)
    shop.later(days=1)
    shop.report(*pairs[1:], ("10023456-1", new), name="2.csv")
    shop.night()
    found = status_in(answer.folder)
    assert (found["state"], found["orders"][0]["state"], found["orders"][0]["outstanding"]) == ("released", "released", 0)
    assert all(file["sha256"] for file in found["orders"][0]["files"] if file["kind"] == "release")


def test_the_status_of_orders_for_cards_and_of_files_that_place_nothing(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    block = shop.send(row("B", action="Block", target_order_id="10023456-1", product="", access_number=""), name="b.csv")
    shop.later(days=1)
    shop.report(("10023456-2", ONE), name="2.csv")
    shop.night()
    (order,) = status_in(block.folder)["orders"]
    assert (order["state"], order["files"][0]["kind"]) == ("partly_done", "outcome")
    broken = shop.send(row("C", code="12"), name="c.csv")
    assert status_in(broken.folder)["state"] == "answered"
    shop.drop("noise.xlsx", b"PK\x03\x04")
    (noise,) = shop.run()
    assert status_in(noise.folder)["rejected"]["reasons"] == {"FILE_UNREADABLE": 1}
    refused = shop.send(row("D", code=str(73905162840517)), name="d.csv")
    shop.later(days=1)
    shop.report(("10023456-3", ""), name="3.csv")
    shop.night()
    assert status_in(refused.folder)["orders"][0]["state"] == "closed"


def test_the_schema_names_every_field(shop: Shop) -> None:
    fields = {
        "": status.Status, "order": status.OrderStatus, "file": status.OrderFile,
    }  # fmt: skip
    for name, kind in fields.items():
        part = SCHEMA["$defs"][name] if name else SCHEMA
        assert list(part["properties"]) == part["required"] == list(kind.__dataclass_fields__)


def test_a_status_lists_a_thousand_orders_and_counts_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MOST_ORDERS", 2)
    found = status_in(shop.send(*(row(f"A{number}", quantity="1") for number in range(4))).folder)
    assert (len(found["orders"]), found["orders_total"]) == (2, 4)


def test_the_index_has_every_answer_the_newest_last(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"), row("=B", code="12"), name="=1+1.csv")
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.later(hours=3)
    shop.night()
    rows = index_of(shop)
    assert [line["Answer"] for line in rows] == ["confirmation", "rejections", "release"]
    assert rows[0]["File"] == "'=1+1.csv"
    assert (rows[1]["Reasons"], rows[2]["Cards"]) == ("CODE_FORMAT; ORDER_ID_FORMAT", "2")
    outbox = shop.settings.outbox / "acme"
    assert all((outbox / line["Path"]).is_file() for line in rows)
    assert [line["Time"] for line in rows] == sorted(line["Time"] for line in rows)
    assert (outbox / "index.csv").stat().st_mode & 0o777 == 0o600
    assert not (shop.settings.outbox / "network" / "index.csv").exists()


@pytest.mark.parametrize("step", ["folder written", "archived", "delivered"])
def test_no_answer_stands_in_the_index_twice_after_a_crash(step: str, shop: Shop) -> None:
    shop.drop("a.csv", csv_of(row("A", quantity="1")))

    def die(at: str) -> None:
        if at == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.run(die)
    shop.run()
    assert [line["Path"].rpartition("/")[2] for line in index_of(shop)] == ["confirmation.csv"]
    shop.report(("10023456-1", ""), name="r.csv")
    with pytest.raises(KeyboardInterrupt):
        shop.night(lambda at: die(step) if at == "night written" else None)
    shop.night()
    assert [line["Answer"] for line in index_of(shop)] == ["confirmation", "refused"]


def test_a_line_that_was_cut_short_is_followed_by_whole_ones(shop: Shop) -> None:
    shop.send(row("A", quantity="1"))
    path = shop.settings.outbox / "acme" / "index.csv"
    path.write_bytes(path.read_bytes() + b"2026-10-05T09:30:00-06:00,b.csv,confir")
    answer = index.Answer("2026-10-05T10:30:00-06:00", "c.csv", "confirmation", "c/confirmation.csv", 1, 1)
    index.append(shop.settings, "acme", [answer])
    index.append(shop.settings, "acme", [answer], once=True)
    lines = path.read_text().splitlines()
    assert lines[-1] == "2026-10-05T10:30:00-06:00,c.csv,confirmation,c/confirmation.csv,1,1,"
    assert len(lines) == 4


def test_an_index_is_never_written_through_a_link(shop: Shop) -> None:
    target = shop.settings.home / "elsewhere"
    target.write_text("kept")
    (shop.settings.outbox / "acme").mkdir(parents=True)
    (shop.settings.outbox / "acme" / "index.csv").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        index.append(shop.settings, "acme", [index.Answer("", "", "", "", 1, 1)])
    assert target.read_text() == "kept"


def test_an_index_that_cannot_be_written_keeps_no_other_reseller_waiting(shop: Shop) -> None:
    (shop.settings.outbox / "acme" / "index.csv").mkdir(parents=True)
    shop.drop("a.csv", csv_of(row("A", quantity="1")))
    shop.drop("b.csv", csv_of(row("B", account="20098765", product="8001", quantity="1")), "globex")
    assert len(shop.run()) == 2
    assert len(shop.failures) == 1
    assert [line["Answer"] for line in index_of(shop, "globex")] == ["confirmation"]
    shop.report(("10023456-1", ""), ("20098765-1", ""))
    with pytest.raises(CardsError, match="1 file of orders could not be written"):
        shop.night()
    assert [line["Answer"] for line in index_of(shop, "globex")] == ["confirmation", "refused"]
    (shop.settings.outbox / "acme" / "index.csv").rmdir()
    shop.night()
    shop.run()
    assert sorted(line["Answer"] for line in index_of(shop)) == ["confirmation", "refused"]
    assert shop.registry.undelivered() == []


def test_a_print_shop_needs_no_workbook(tmp_path: Path, sqlite: NewRegistry) -> None:
    """The client of the documentation, in a process of its own, while the house works."""
    client = ROOT / "tests" / "print_shop.py"
    assert len(client.read_text().splitlines()) <= 50
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        order = tmp_path / "order.csv"
        order.write_bytes(csv_of(row("A", quantity="3")))
        folders = [str(shop.settings.inbox / "acme"), str(shop.settings.outbox / "acme")]
        running = subprocess.Popen([sys.executable, str(client), *folders, str(order)], stdout=subprocess.PIPE, text=True)
        answers = []
        while not answers:
            answers = shop.run()
        pairs = answers[0].confirmation.select("Order ID", "Authorization Code").rows()
        shop.report(*pairs[:2])
        shop.night()
        new = sorted(set(shop.placements()["Authorization Code"]) - set(answers[0].codes))
        shop.later(days=1)
        shop.report(*pairs[:2], ("10023456-1", new[0]), name="2.csv")
        shop.night()
        printed, _ = running.communicate(timeout=60)
        shop.registry.close()
    assert running.returncode == 0
    assert sorted(line.split()[1] for line in printed.splitlines()) == sorted([pairs[0][1], pairs[1][1], new[0]])
    assert printed.splitlines()[0].endswith("dial 8008604444")
