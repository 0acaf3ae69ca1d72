"""`cards export`: every card as it is now, with its code for those who may have it."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from pipelines.admin import export, queries
from pipelines.cli import app
from pipelines.common.errors import CardsError, UsageError
from pipelines.delivery import dataset_files
from pipelines.insight import datasets
from pipelines.registry.export_records import CardFilter
from pipelines.registry.store import open_registry
from tests.conftest import Shop, row, sampled, shared_parser
from tests.lives import Life
from tests.test_datasets import files

pytestmark = pytest.mark.one_database

EVERY = CardFilter()


def exported(shop: Shop, name: str = "cards.parquet", wanted: CardFilter = EVERY, **more: Any) -> pl.DataFrame:
    path = shop.settings.home / name
    export.export_cards(shop.as_run, path, wanted, **{"codes": True, "force": True, **more})
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)


@pytest.fixture
def lived(shop: Shop) -> Shop:
    life = Life(shop, 3)
    with shared_parser():
        for _ in range(4):
            life.day()
    return shop


@pytest.mark.parametrize("portion", sampled([5, 200_000], 5, others=pytest.mark.slow))
def test_every_card_is_there_as_people_see_it_when_they_ask(portion: int, lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_CARDS", portion)
    monkeypatch.setattr("pipelines.registry.export_records._ORDERS", 3)
    found = exported(lived)
    assert found.schema == datasets.exported(codes=True).schema
    result = [card for order_id in found["order_id"].unique() for card in queries.status(order_id, lived.registry).cards
            if card.order_id == order_id]  # fmt: skip
    flags = {True: "Yes", False: "No"}
    assert sorted(
        (one["code"], one["serial"], one["state"], one["reseller"], one["customer_account"], one["customer_order_id"],
         one["product_account"], one["access_number"], flags[one["international_origin"]],
         flags[one["international_termination"]])
        for one in found.to_dicts()
    ) == sorted(
        (card.code, card.serial, card.state, card.reseller, card.customer_account, card.customer_order_id,
         card.product_account, card.access_number, card.origin, card.termination) for card in result
    )  # fmt: skip
    assert dict(found.select("code", "state").rows()) == {
        code: state for code, state in lived.states().items() if state != "external"
    }
    assert {"ready", "refused", "disconnected"} <= set(found["state"])
    replaced = found.filter(pl.col("replaces").is_not_null())
    assert len(replaced) > 0
    assert set(replaced["replaces"]) <= set(found.filter(pl.col("state") != "placed")["serial"])


def test_a_card_has_what_the_last_change_gave_it(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    shop.later(days=1)
    first, second = sorted(answer.codes)
    for name, cells in (("C1", {"product": "7002", "origin": "Yes"}), ("C2", {"access_number": "8008663691", "origin": "No"})):
        usual = {"product": "", "access_number": ""}
        shop.send(row(name, **{**usual, "action": "Change", "code": first, **cells}), name=f"{name}.csv")
        target = shop.registry.query(
            "SELECT order_id FROM orders WHERE customer_order_id = $1", {"order_id": pl.String}, name
        ).item()
        shop.report((target, first), name=f"report-{name}.csv")
        shop.night()
        shop.later(days=1)
    cards = {one["code"]: one for one in exported(shop).to_dicts()}
    names = ("product_account", "access_number", "international_origin", "international_termination")
    assert [cards[first][name] for name in names] == ["7002", "8008663691", False, False]
    assert [cards[second][name] for name in names] == ["7001", "8008604444", False, False]
    assert cards[first]["placed_at"] == datetime(2026, 10, 5, 15, 30, tzinfo=UTC)


def test_both_formats_say_the_same_and_only_the_operator_reads_them(shop: Shop) -> None:
    shop.send(row("-A", quantity="3"))
    frames = [exported(shop, "cards.parquet"), exported(shop, "cards.csv")]
    as_text = frames[0].with_columns(
        pl.col("placed_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"), pl.col(pl.Boolean).cast(pl.String)
    )  # fmt: skip
    assert frames[1].with_columns(pl.col("customer_order_id").str.strip_prefix("'")).equals(as_text)
    assert frames[1]["customer_order_id"].unique().to_list() == ["'-A"], "a cell that could be a formula"
    modes = [stat.S_IMODE((shop.settings.home / name).stat().st_mode) for name in ("cards.parquet", "cards.csv")]
    assert modes == [0o600, 0o600]


def test_without_being_asked_for_no_code_is_there(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"))
    frames = [exported(shop, name, codes=False) for name in ("cards.parquet", "cards.csv")]
    assert [len(frame) for frame in frames] == [3, 3]
    assert all("code" not in frame.columns for frame in frames)
    content = (shop.settings.home / "cards.csv").read_text() + str(frames[0].rows())
    assert [code for code in answer.codes if code in content] == []


def test_it_can_be_of_a_reseller_and_of_some_days(shop: Shop) -> None:
    for day, name in enumerate(("A", "B", "C")):
        shop.send(row(name, quantity="1"), name=f"{name}.csv")
        shop.send(row(f"G{day}", account="20098765", product="8001", quantity="1"), name=f"{name}.csv", source="globex")
        shop.later(days=1)

    def names(*asked: str) -> list[str]:
        wanted = export.card_filter(shop.as_run, *asked)
        return sorted(exported(shop, "cards.parquet", wanted)["customer_order_id"])

    assert names("", "", "") == ["A", "B", "C", "G0", "G1", "G2"]
    assert names("", "", "globex") == ["G0", "G1", "G2"]
    assert names("2026-10-06", "", "") == ["B", "C", "G1", "G2"]
    assert names("2026-10-06", "2026-10-06", "acme") == ["B"]
    assert names("", "2026-10-05", "") == ["A", "G0"]
    assert names("2026-12-01", "", "") == []


def test_a_home_without_cards_gives_a_file_without_rows(shop: Shop) -> None:
    assert exported(shop).schema == datasets.exported(codes=True).schema
    assert len(exported(shop)) == 0
    assert exported(shop, "cards.csv").columns == list(datasets.exported(codes=True).fields)


def test_what_can_not_be_written_is_said(shop: Shop) -> None:
    home = shop.settings.home
    exported(shop)
    for path, words in (
        (home / "cards.parquet", "exists already. Replace it with --force"),
        (home / "cards.xlsx", "name a file that ends in .parquet or .csv"),
        (home / "nowhere/cards.csv", "no file can be written there"),
    ):
        with pytest.raises(UsageError, match=words):
            export.export_cards(shop.as_run, path, EVERY, codes=False, force=False)
    for asked, words in (
        (("soon", "", ""), "--since soon: write a date"),
        (("", "2026-10-05T10:00", ""), "--until '2026-10-05T10:00': write a date"),
        (("", "", "nobody"), "--reseller nobody"),
    ):
        with pytest.raises(UsageError, match=words):
            export.card_filter(shop.as_run, *asked)


def test_a_file_that_could_not_be_finished_leaves_the_earlier_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.send(row("A", quantity="1"))
    exported(shop)
    before = (shop.settings.home / "cards.parquet").read_bytes()
    monkeypatch.setattr("pipelines.registry.export_records.cards", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exported(shop)
    assert (shop.settings.home / "cards.parquet").read_bytes() == before
    assert [path.name for path in shop.settings.home.glob(".cards*")] == []


# -- the data of nights ------------------------------------------------------------------------------------------------


def test_the_data_of_earlier_nights_is_written_again(lived: Shop) -> None:
    before = files(lived)
    folder = dataset_files.data_folder(lived.settings)
    for path in folder.glob("*/*/*/*"):
        path.unlink()
    lived.registry.execute("DELETE FROM outbox_files WHERE name LIKE 'reconciliation/data/%'")
    assert export.export_datasets(lived.as_run, "2026-10-08") == 2
    assert files(lived) == {name: content for name, content in before.items() if "2026-10-08" in name or "2026-10-09" in name}
    assert export.export_datasets(lived.as_run, "") == 4
    assert files(lived) == before
    noted = lived.registry.query("SELECT name FROM outbox_files WHERE name LIKE 'reconciliation/data/%'", {"name": pl.String})
    assert {name.removeprefix("reconciliation/data/") for name in noted["name"]} == before.keys()


def test_it_waits_for_no_night(shop: Shop) -> None:
    with (
        open_registry(shop.settings.registry_url) as other,
        other.try_reconciliation_lock(),
        pytest.raises(CardsError, match="is running"),
    ):
        export.export_datasets(shop.as_run, "")


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.night()
    monkeypatch.setenv("CARDS_HOME", str(shop.settings.home))
    monkeypatch.setenv("CARDS_REGISTRY", shop.settings.registry_url)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["export", *arguments])

    done = run("cards.csv")
    assert (done.exit_code, done.stdout) == (0, "Wrote 2 cards to cards.csv.\n")
    assert not any(code in Path("cards.csv").read_text() for code in answer.codes)
    done = run("cards.csv", "--codes", "--force")
    assert done.stdout == "Wrote 2 cards to cards.csv. It holds codes: whoever has one can make calls.\n"
    assert all(code in Path("cards.csv").read_text() for code in answer.codes)
    assert run("--datasets").stdout == "Wrote the data of 1 night.\n"
    for arguments, words in (
        ((), "Name the file to write"),
        (("cards.csv", "--datasets"), "takes --since alone"),
        (("--datasets", "--codes"), "takes --since alone"),
        (("cards.csv",), "exists already"),
    ):
        failed = run(*arguments)
        assert isinstance(failed.exception, UsageError)
        assert words in str(failed.exception)
