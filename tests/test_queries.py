"""What people ask: orders, cards with their history, what BTNs have left, and every report once more."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.admin import queries
from pipelines.cli import app
from pipelines.common.errors import CardsError, UsageError
from pipelines.delivery import rewriting
from pipelines.registry.store import open_registry
from tests.conftest import EXTERNAL, Answer, Shop, obeys, row, some_codes

pytestmark = pytest.mark.one_database

ONE, TWO, THREE, STRANGE = some_codes(4, seed=41)
BTN = "3035550142"


@pytest.fixture
def life(shop: Shop) -> Shop:
    """Orders A (ONE ready, TWO refused), B (two drawn, one of them replaced) and P (three PINs, all ready); a change of
    ONE that is done, and a block of it that is awaited.
    """
    answer = shop.send(row("A", code=f"{ONE} {TWO}"), row("B", quantity="2"), row("P", btn=BTN, quantity="3"))
    lost = {TWO, codes_of(answer, "B")[0]}
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(*(pair for pair in pairs if pair[1] not in lost), ("9-9", STRANGE))
    shop.later(days=1)
    shop.night()
    shop.later(hours=1)
    change = {"action": "Change", "product": "", "access_number": "8884027755", "origin": "y"}
    shop.send(row("CH", code=ONE, **change), name="change.csv")
    shop.report(("10023456-4", ONE), name="2.csv")
    shop.later(days=1)
    shop.night()
    shop.later(hours=1)
    shop.send(row("BL", action="Block", product="", access_number="", code=ONE), name="block.csv")
    return shop


def codes_of(answer: Answer, customer_order_id: str) -> list[str]:
    return answer.confirmation.filter(pl.col("Customer Order ID") == customer_order_id)["Authorization Code"].to_list()


def found(shop: Shop, query: str) -> set[str]:
    return {card.code for card in queries.status(query, shop.registry).cards}


def of_order(shop: Shop, order_id: str) -> set[str]:
    return {card.code for card in queries.order(order_id, shop.registry).codes}


def test_the_order_id_report_shows_the_order_and_the_state_of_each_card(life: Shop) -> None:
    report = asdict(queries.order("10023456-1", life.registry))
    expected = {
        "order_id": "10023456-1", "reseller": "acme", "customer_account": "10023456", "customer_order_id": "A", "action": "Add",
        "code_type": "Specified", "product_account": "7001", "access_number": "8008604444", "cards": 2, "state": "closed",
    }  # fmt: skip
    assert {name: report[name] for name in expected} == expected
    assert report["counts"] == {"ready": 1, "refused": 1}
    states = {ONE: "ready", TWO: "refused"}
    assert report["codes"] == [
        {"serial": f"10023456-1/{n}", "code": code, "state": states[code], "outcome": ""}
        for n, code in enumerate(sorted(states), 1)
    ]
    replaced = queries.order(" 10023456-2 ", life.registry)
    assert (replaced.state, replaced.counts) == ("awaited", {"placed": 1, "ready": 1, "refused": 1})
    serial = serial_of(life, ONE)  # its own, also in the orders that take it
    assert queries.order("10023456-4", life.registry).codes == [queries.OrderCard(serial, ONE, "ready", "done")]
    assert queries.order("10023456-5", life.registry).codes == [queries.OrderCard(serial, ONE, "ready", "awaited")]
    with pytest.raises(CardsError, match="no order"):
        queries.order("10023456-77", life.registry)


def serial_of(shop: Shop, code: str) -> str:
    (card,) = queries.status(code, shop.registry).cards
    return card.serial


def test_a_serial_is_the_place_in_the_order_and_never_changes(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="6"), row("B", code=f"{ONE} {TWO} {THREE}"))
    expected = {
        code: f"10023456-{number}/{n}"
        for number, customer_order_id in ((1, "A"), (2, "B"))
        for n, code in enumerate(sorted(codes_of(answer, customer_order_id)), 1)
    }
    assert {code: serial_of(shop, code) for code in answer.codes} == expected
    first = sorted(codes_of(answer, "A"))
    for night in range(3):  # each refuses some, and replacements are drawn that may come earlier by code
        shop.later(days=1)
        placed = sorted(
            code for code, state in shop.states().items() if state == "placed" and code in of_order(shop, "10023456-1")
        )
        shop.report(*(("10023456-1", code) for code in placed[1:] or placed), name=f"{night}.csv")
        shop.night()
    assert {code: serial_of(shop, code) for code in answer.codes} == expected
    cards = queries.order("10023456-1", shop.registry).codes
    assert len(cards) > 6
    assert sorted(int(card.serial.partition("/")[2]) for card in cards) == list(range(1, len(cards) + 1))
    assert {int(card.serial.partition("/")[2]) for card in cards if card.code not in first} == set(range(7, len(cards) + 1))
    assert [card.serial for card in queries.status("10023456-1", shop.registry).cards] == [card.serial for card in cards]
    assert serial_of(shop, f"{EXTERNAL[0]}") == ""


def test_a_code_is_shown_with_its_history(life: Shop) -> None:
    found = asdict(queries.status(f" {ONE} ", life.registry))
    (card,) = found["cards"]
    expected = {
        "code": ONE, "state": "ready", "order_id": "10023456-1", "reseller": "acme", "customer_account": "10023456",
        "customer_order_id": "A", "product_account": "7001", "access_number": "8884027755", "origin": "Yes",
    }  # fmt: skip
    assert {name: card[name] for name in expected} == expected
    steps = [(step["at"][:16], step["what"], step["order_id"], step["file"]) for step in found["history"]]
    assert steps == [
        ("2026-10-05T09:30", "Add placed", "10023456-1", "orders.csv"),
        ("2026-10-06T09:30", "ready", "", "report.csv"),
        ("2026-10-06T10:30", "Change placed", "10023456-4", "change.csv"),
        ("2026-10-07T10:30", "Change done", "10023456-4", "2.csv"),
        ("2026-10-07T11:30", "Block placed", "10023456-5", "block.csv"),
    ]


def test_order_and_status_name_the_same_thing_alike(life: Shop) -> None:
    order, card = queries.order("10023456-1", life.registry), queries.status(TWO, life.registry).cards[0]
    alike = {field.name for field in fields(order)} & {field.name for field in fields(card)}
    assert {"order_id", "reseller", "customer_account", "customer_order_id", "product_account", "access_number", "placed_at",
            "origin", "termination"} <= alike  # fmt: skip
    assert {name: getattr(order, name) for name in alike - {"state"}} == {
        name: getattr(card, name) for name in alike - {"state"}
    }


def test_a_replaced_code_and_its_replacement_name_each_other(life: Shop) -> None:
    cards = {card.state: card for card in queries.status("10023456-2", life.registry).cards}
    assert cards["refused"].replaced_by == cards["placed"].code
    assert cards["placed"].replaces == cards["refused"].code
    assert (cards["ready"].replaces, cards["ready"].replaced_by) == (None, None)
    history = queries.status(cards["placed"].code, life.registry).history
    assert [(step.at[:16], step.what) for step in history] == [("2026-10-06T09:30", "Add placed")]
    history = queries.status(cards["refused"].code, life.registry).history
    assert [step.what for step in history] == ["Add placed", "refused"]
    assert queries.status("10023456-2", life.registry).history == []


def test_cards_are_found_by_order_id_customer_order_id_btn_and_access_number(life: Shop) -> None:
    assert found(life, "10023456-1") == found(life, "A") == {ONE, TWO}
    assert found(life, "10023456-4") == found(life, "CH") == {ONE}
    assert found(life, "(303) 555-0142") == of_order(life, "10023456-3")
    assert found(life, "888-402-7755") == {ONE}
    others = {code for number in (1, 2, 3) for code in of_order(life, f"10023456-{number}")} - {ONE}
    assert found(life, "8008604444") == others
    (external,) = queries.status(STRANGE, life.registry).cards
    assert (external.state, external.order_id, external.serial) == ("external", "", "")
    for nothing in ("77777777777777", "NONE", "2125551212", ""):
        with pytest.raises(CardsError, match="no card"):
            queries.status(nothing, life.registry)


@pytest.mark.parametrize("written", ["{}-{}-{}", "({}) {}-{}", "1-{}-{}-{}", "+1 {} {} {}", "1{}{}{}", "+1 ({}) {}.{}"])
def test_a_telephone_number_may_have_punctuation_and_the_country_code(written: str, life: Shop) -> None:
    access, btn = written.format("800", "860", "4444"), written.format("303", "555", "0142")
    assert found(life, access) == found(life, "8008604444") != set()
    assert found(life, btn) == found(life, BTN) != set()
    assert queries.capacity([btn], life.registry) == queries.capacity([BTN], life.registry)


def test_ids_that_look_like_a_telephone_number_or_a_code_are_found(shop: Shop) -> None:
    refs = ["8008604444", "20261005000001", BTN]
    for number, ref in enumerate(refs, 1):
        shop.send(row(ref, account="20098765", product="8001", quantity="1"), name=f"{number}.csv", source="globex")
    for number in range(4, 11):
        shop.send(row(f"N{number}", account="20098765", product="8001", quantity="1"), name=f"{number}.csv", source="globex")
    every = {card.code for number in range(1, 11) for card in queries.status(f"20098765-{number}", shop.registry).cards}
    assert len(every) == 10
    assert found(shop, "20098765-10") == of_order(shop, "20098765-10")  # its digits alone look like a telephone number
    assert found(shop, refs[1]) == of_order(shop, "20098765-2")
    assert found(shop, refs[0]) == every  # an access number too
    assert found(shop, refs[2]) == of_order(shop, "20098765-3")


def test_the_pins_of_a_btn_are_free_in_use_unavailable_or_impossible(life: Shop) -> None:
    valid = [code for pin in range(10_000) if obeys(code := f"{BTN}{pin:04}")]
    broken = next(code for pin in range(10_000) if not obeys(code := f"{BTN}{pin:04}"))
    outside = next(code for code in valid if code not in of_order(life, "10023456-3"))
    life.registry.import_codes(pl.Series("code", [int(broken), int(outside)]))
    (before,) = queries.capacity(["(303) 555-0142"], life.registry)
    assert before == queries.BtnCapacity(BTN, free=len(valid) - 4, in_use=3, unavailable=1, impossible=10_000 - len(valid))
    (code, *_) = of_order(life, "10023456-3")
    life.send(row("D", action="D", product="", access_number="", code=code), name="d.csv")
    life.report(("10023456-6", code), name="3.csv")
    life.night()
    (after,) = queries.capacity([BTN], life.registry)
    assert after == replace(before, in_use=2, unavailable=2)


def test_capacity_of_any_btn_makes_ten_thousand(life: Shop) -> None:
    asked = ["8005555555", BTN, "3035550555", "2125551212", "9999999999"]
    pins = queries.capacity(asked, life.registry)
    assert {one.btn for one in pins} == set(asked)
    for one in pins:
        assert one.free + one.in_use + one.unavailable + one.impossible == 10_000
    impossible = {one.btn: one.impossible for one in pins}
    for btn in asked:
        assert impossible[btn] == sum(not obeys(f"{btn}{pin:04}") for pin in range(10_000))
    for wrong in ("12", "8001234567", "1234567890"):  # an exchange, an area code that begin with 1
        with pytest.raises(UsageError, match=f"'{wrong}' is not a BTN: write 10 digits, of which the first and the fourth"):
            queries.capacity([BTN, wrong], life.registry)


def test_btns_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "btns.txt"
    path.write_text("\ufeff303-555-0142\n\n 2125551212 \n", "utf-8")
    assert queries.read_btns(path) == ["303-555-0142", "2125551212"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError):
        queries.read_btns(path)
    with pytest.raises(UsageError, match="file not found"):
        queries.read_btns(tmp_path / "none.txt")


def test_every_report_is_written_again_byte_for_byte(life: Shop) -> None:
    life.send(row("GOOD", quantity="1"), row("BAD", code="12"), name="mixed.csv")
    life.send(row("BAD", code="12"), name="bad.csv")
    life.drop("noise.xlsx", b"PK\x03\x04 noise", "acme")
    life.run()
    answers = [path for path in (life.settings.outbox / "acme").iterdir() if path.is_dir()]
    assert len(answers) == 6
    csvs = _csvs(life)
    originals = {"orders.csv", "change.csv", "block.csv", "mixed.csv", "bad.csv"}
    for path in csvs:
        if path.name not in originals and (path.parent in answers or path.name.startswith("placement-acme-")):
            path.unlink()
    for folder in answers:
        event = queries.submission(str(folder), life.registry).event
        assert rewriting.rewrite_submission(life.as_run, event) == folder
    assert {path: path.read_bytes() for path in csvs} == csvs
    assert set(_csvs(life)) == set(csvs)


def _csvs(shop: Shop) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in shop.settings.outbox.rglob("*.csv")}


def test_a_submission_is_named_by_its_folder_alone_where_that_is_clear(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    theirs = shop.send(row("G", account="20098765", product="8001", quantity="1"), source="globex")
    assert answer.folder.name == theirs.folder.name
    with pytest.raises(CardsError, match="more than one"):
        queries.submission(answer.folder.name, shop.registry)
    assert queries.submission(f"globex/{theirs.folder.name}/", shop.registry).reseller == "globex"
    for nothing in ("acme/none", "", "/"):
        with pytest.raises(CardsError, match="no submission"):
            queries.submission(nothing, shop.registry)


def cards(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints, as the document that it is."""
    monkeypatch.chdir(shop.settings.home)
    monkeypatch.setenv("CARDS_HOME", str(shop.settings.home))
    monkeypatch.setenv("CARDS_REGISTRY", shop.settings.registry)
    monkeypatch.setenv("CARDS_SETTLE_SECONDS", "0")
    app(list(words), standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_codes_are_masked_on_the_screen_unless_they_are_asked_for(
    life: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    masked = f"{ONE[:6]}••••••••"
    for words in (["status", ONE, "--json"], ["status", "10023456-1", "--json"], ["order", "10023456-1", "--json"]):
        result = cards(life, monkeypatch, capsys, *words)
        text = json.dumps(result, ensure_ascii=False)
        assert masked in text
        assert ONE not in text
        assert TWO not in text
        result = cards(life, monkeypatch, capsys, *words, "--show-codes")
        assert ONE in json.dumps(result)
    app(["status", ONE], standalone_mode=False)
    text = capsys.readouterr().out
    assert masked in text
    assert "Change done" in text
    assert ONE not in text


def test_orders_capacity_and_reports_are_shown_by_the_command_line(
    life: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = cards(life, monkeypatch, capsys, "order", "10023456-2", "--json")
    assert (result["counts"], len(result["codes"])) == ({"placed": 1, "ready": 1, "refused": 1}, 3)
    (tmp_path / "btns.txt").write_text("212-555-1212\n")
    result = cards(life, monkeypatch, capsys, "capacity", BTN, "--file", str(tmp_path / "btns.txt"), "--json")
    assert [sum(value for value in line.values() if isinstance(value, int)) for line in result["btns"]] == [10_000] * 2
    csvs = _csvs(life)
    (folder,) = (path.parent for path in csvs if path.name == "orders.csv")
    release = next(folder.glob("release-10023456-1-*.csv"))
    release.unlink()
    (folder / "confirmation.csv").unlink()
    result = cards(life, monkeypatch, capsys, "report", f"outbox/acme/{folder.name}", "--json")
    assert {release.name, "confirmation.csv"} < set(result["submissions"][0]["files"])
    assert _csvs(life) == csvs


def test_a_night_is_one_document(life: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    life.report(("10023456-5", ONE), name="3.csv")
    result = cards(life, monkeypatch, capsys, "reconcile", "--json")
    assert (result["cards_changed"], [report["file"] for report in result["reports"]]) == (1, ["3.csv"])
    assert (life.settings.home / result["workbook"]).exists()
    with open_registry(life.settings.registry) as registry:
        assert queries.status(ONE, registry).cards[0].state == "blocked"
