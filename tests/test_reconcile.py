"""The night: each thing that the network can answer, what comes of it, and what a crash leaves.

Golden cases: each folder of `tests/nights` holds orders and one report a night, and the files that must come of them,
byte for byte. `pytest tests/test_reconcile.py --golden` writes them again: read the difference before you commit it.
"""

import hashlib
import io
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook, load_workbook

from pipelines.delivery import order_files, reconciliation_workbook
from pipelines.excel.presentation import telephone, telephone_text
from pipelines.registry import audit, reconciliation
from schemas.codes import STATES
from tests.conftest import EXTERNAL, NOW, Answer, NewRegistry, Shop, obeys, order_rows, read_csv, row, sampled, some_codes

pytestmark = pytest.mark.one_database

ONE, TWO, THREE, STRANGE, LOST = some_codes(5)
BTN = "3035550142"
NIGHTS = Path(__file__).parent / "nights"
CASES = sorted(path.name for path in NIGHTS.iterdir() if path.is_dir())
ORDER = ["Order ID", "Customer Account Number", "Customer Order ID", "Serial", "Authorization Code"]
RELEASE = [*ORDER, "Access Number", "Product Account Number", "International Origin", "International Termination", "Released"]
REFUSED = [*ORDER, "Replaced by", "Likely cause", "What to do"]


def shown(answer: Answer, *but: str) -> list[tuple[str, str]]:
    """Order ID and code of all that was placed, but for these codes."""
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    return [(order, code) for order, code in pairs if code not in but]


def release(answer: Answer, order: str, kind: str = "release") -> pl.DataFrame:
    return order_rows(answer.folder, kind, order)


def sheet(shop: Shop, result: dict[str, Any], title: str) -> pl.DataFrame:
    """A sheet of the night's workbook, as text."""
    rows = list(load_workbook(shop.settings.home / result["workbook"])[title].values)
    text = [["" if cell is None else str(cell) for cell in line] for line in rows[1:]]
    return pl.DataFrame(text, [str(name) for name in rows[0]], orient="row")


def sheets_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {page.title: list(page.values) for page in load_workbook(path)}


def dump(shop: Shop) -> list[list[tuple[Any, ...]]]:
    """What the registry knows of cards and orders."""
    text = ("numbers", "cards", "card_actions", "state_transitions", "replacements", "unexpected_codes", "orders",
            "night_figures", "btns", "order_files", "release_ranges")  # fmt: skip
    return [sorted(_rows(shop, f"SELECT * FROM {table}")) for table in text]


def _rows(shop: Shop, sql: str) -> list[tuple[Any, ...]]:
    with shop.registry._connection.cursor() as cursor:
        cursor.execute(sql)
        table = cursor.fetch_arrow_table()
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_codes_that_the_network_shows_are_released_and_nothing_else_is(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"), row("B", code=THREE))
    assert not list(answer.folder.glob("release-*"))
    shop.report(("10023456-1", ONE))
    result = shop.night()
    released = release(answer, "10023456-1")
    assert released.columns == RELEASE
    serial = f"10023456-1/{sorted([ONE, TWO]).index(ONE) + 1}"
    assert released.rows() == [
        (
            "10023456-1",
            "10023456",
            "A",
            serial,
            ONE,
            "8008604444",
            "7001",
            "No",
            "No",
            "2026-10-05",
        )
    ]
    assert not list(answer.folder.glob("release-10023456-2*"))
    assert shop.states() == {ONE: "ready", TWO: "refused", THREE: "placed"}
    assert (result["orders_closed"], result["codes_ready"], result["codes_refused"], result["orders_awaited"]) == (1, 1, 1, 1)
    book = sheets_of(answer.folder / "release-10023456-1-2026-10-05.xlsx")
    on_sheet = released.select(RELEASE[3:-1])  # the others are the same for all cards: its first sheet has them
    on_sheet = on_sheet.with_columns(telephone("Access Number"))
    assert book["Cards"] == [tuple(on_sheet.columns), *on_sheet.rows()]
    facts = dict(line[:2] for line in book["Summary"] if line[0])
    content = (answer.folder / "release-10023456-1-2026-10-05.csv").read_bytes()
    assert facts["SHA-256 of the .csv file"] == hashlib.sha256(content).hexdigest()
    assert (facts["Cards released so far"], facts["Cards outstanding"], facts["Release of this order"]) == ("1 of 2", 1, 1)


def test_files_that_a_night_writes_in_portions_have_all_their_cards(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_files, "_PORTION", 1)
    answer = shop.send(row("A", code=f"{ONE} {TWO}"), row("B", code=THREE), row("C", code=STRANGE))
    shop.report(*shown(answer, TWO))
    shop.night()
    released = [release(answer, f"10023456-{number}")["Authorization Code"].to_list() for number in (1, 2, 3)]
    assert released == [[ONE], [THREE], [STRANGE]]
    assert release(answer, "10023456-1", "refused")["Authorization Code"].to_list() == [TWO]


def test_a_specified_code_that_is_refused_is_left_to_the_reseller(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(("10023456-1", ONE))
    result = shop.night()
    refused = release(answer, "10023456-1", "refused")
    assert refused.columns == REFUSED
    ((*_, code, by, cause, advice),) = refused.rows()
    assert (code, by) == (TWO, "")
    assert "most likely it exists there already" in cause
    assert "Choose another code" in advice
    summary = str(sheets_of(answer.folder / "refused-10023456-1-2026-10-05.xlsx"))
    assert "most likely each exists there already" in summary
    assert result["codes_replaced"] == 0
    assert sheet(shop, result, "Refused").rows() == [("acme", *refused.drop("Likely cause", "Serial").row(0))]
    assert len(shop.placements()) == 2


def test_random_and_btn_codes_are_replaced_under_the_same_order_and_placed_again(shop: Shop) -> None:
    answer = shop.send(row("R", quantity="3"), row("B", btn=BTN, quantity="2"))
    codes = answer.codes
    shop.report(*shown(answer, codes[0], codes[1], codes[3]))
    result = shop.night()
    assert result["codes_replaced"] == 3
    (path,) = (shop.settings.outbox / "network").glob("*/placement-network-*.csv")
    placed = read_csv(path)
    assert sorted(placed["Order ID"]) == ["10023456-1", "10023456-1", "10023456-2"]
    assert set(placed["Action"]) == {"Add"}
    new = placed["Authorization Code"].to_list()
    assert all(obeys(code) for code in new)
    assert not set(new) & set(codes)
    ((pin, whose),) = [
        (code, order) for order, code in placed.select("Order ID", "Authorization Code").rows() if code[:10] == BTN
    ]
    assert (whose, pin[:10]) == ("10023456-2", BTN)
    lost = release(answer, "10023456-1", "refused")
    assert sorted(lost["Authorization Code"]) == sorted(codes[:2])
    assert set(lost["Replaced by"]) == set(new) - {pin}
    assert all("replaced" in advice for advice in lost["What to do"])
    assert sorted(sheet(shop, result, "Replaced")["New code"]) == sorted(new)
    shop.later(days=1)
    shop.report(
        *shown(answer, codes[0], codes[1], codes[3]), *placed.select("Order ID", "Authorization Code").rows(), name="2.csv"
    )
    assert shop.night()["codes_ready"] == 3
    assert sorted(release(answer, "10023456-1")["Authorization Code"]) == sorted({codes[2], *new} - {pin})


def test_no_replacement_is_drawn_where_the_setting_is_off(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, replace_refused=False)
    answer = shop.send(row("R", quantity="2"), row("B", btn=BTN, quantity="1"))
    shop.report(*shown(answer, *answer.codes[1:]), ("10023456-2", ""))
    result = shop.night()
    assert (result["codes_refused"], result["codes_replaced"], result["orders_awaited"]) == (2, 0, 0)
    assert len(shop.placements()) == 3
    for order in ("10023456-1", "10023456-2"):
        assert "Order another code" in release(answer, order, "refused")["What to do"].item()
    shop.registry.close()


def test_a_btn_that_is_used_up_is_reported_and_the_earliest_orders_get_its_last_pins(shop: Shop) -> None:
    pins = [int(code) for pin in range(10_000) if obeys(code := f"{BTN}{pin:04}")]
    shop.registry.import_codes(pl.Series("code", pins[7:]))
    answer = shop.send(row("A", btn=BTN, quantity="2"), row("B", btn=BTN, quantity="3"))
    shop.report(("10023456-1", ""), ("10023456-2", ""))
    result = shop.night()
    assert (result["codes_refused"], result["codes_replaced"], result["orders_awaited"]) == (5, 2, 1)
    assert [bool(code) for code in release(answer, "10023456-1", "refused")["Replaced by"]] == [True, True]
    refused = release(answer, "10023456-2", "refused")
    assert [*refused["Replaced by"]] == [""] * 3
    assert all("No PIN of this BTN is free" in advice for advice in refused["What to do"])
    assert [line[:2] for line in sheet(shop, result, "Capacity").rows()] == [(telephone_text(BTN), "0")]
    assert set(sheet(shop, result, "Awaited")["Order ID"]) == {"10023456-1"}


def test_an_order_id_with_an_empty_code_says_that_nothing_was_placed(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(("10023456-1", ""))
    shop.night()
    assert shop.states() == {ONE: "refused", TWO: "refused"}
    assert not list(answer.folder.glob("release-*"))
    assert len(release(answer, "10023456-1", "refused")) == 2


def test_what_several_reports_of_a_night_show_is_taken_together(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO} {THREE}"))
    shop.report(("10023456-1", ONE), name="1.csv")
    shop.report(("10023456-1", ""), name="2.csv")
    shop.report(("10023456-1", TWO), name="3.csv")
    result = shop.night()
    assert shop.states() == {ONE: "ready", TWO: "ready", THREE: "refused"}
    assert (result["codes_ready"], result["codes_refused"], len(result["reports"])) == (2, 1, 3)
    assert set(release(answer, "10023456-1")["Authorization Code"]) == {ONE, TWO}


def test_a_later_night_makes_a_refused_code_ready_and_says_so(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(("10023456-1", ONE))
    shop.night()
    shop.later(days=1)
    shop.report(("10023456-1", ONE), ("10023456-1", TWO), name="2.csv")
    result = shop.night()
    assert (result["codes_ready"], result["codes_ready_late"], result["codes_refused"]) == (1, 1, 0)
    assert sheet(shop, result, "Ready late")["Authorization Code"].to_list() == [TWO]
    assert set(release(answer, "10023456-1")["Authorization Code"]) == {ONE, TWO}
    (refused,) = answer.folder.glob("refused-*.csv")  # of the night before; what it lists is not to be printed until released
    assert read_csv(refused)["Authorization Code"].to_list() == [TWO]
    assert [len(read_csv(path)) for path in sorted(answer.folder.glob("release-*.csv"))] == [1, 1]


def test_a_second_run_of_a_night_that_finds_a_refused_code_keeps_both_moves_in_its_figures(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    shop.report(("10023456-1", ""))
    shop.night()
    shop.report(*shown(answer), name="2.csv")
    result = shop.night()
    figures = ("codes_ready", "codes_ready_late", "codes_refused", "codes_replaced")
    # the report was not written after the replacement was placed, so that it says nothing of it
    assert [result[name] for name in figures] == [1, 1, 1, 1]
    assert len(sheet(shop, result, "Refused")) == 1
    assert len(sheet(shop, result, "Replaced")) == 1
    assert result["orders_awaited"] == 1


def test_codes_that_nobody_issued_are_entered_as_external_and_never_given(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE), ("10023456-1", STRANGE), ("77-7", LOST), ("88-8", ""), ("99-9", str(EXTERNAL[0])))
    result = shop.night()
    assert shop.states() == {ONE: "ready", STRANGE: "external", LOST: "external"}
    assert result["unexpected"] == 3
    unexpected = sheet(shop, result, "Unexpected")
    assert unexpected.select("Order ID", "Authorization Code", "Report").rows() == [
        ("10023456-1", STRANGE, "report.csv"), ("77-7", LOST, "report.csv"), ("88-8", "", "report.csv"),
    ]  # fmt: skip
    assert shop.send(row("B", code=STRANGE), name="b.csv").reasons == {2: ["CODE_TAKEN"]}


def test_a_code_that_is_shown_under_another_order_is_named_and_moves_nothing(shop: Shop) -> None:
    shop.send(row("A", code=ONE), row("B", code=TWO))
    shop.report(("10023456-1", TWO))
    result = shop.night()
    assert shop.states() == {ONE: "refused", TWO: "placed"}
    ((_, code, known, _),) = sheet(shop, result, "Unexpected").rows()
    assert (code, known) == (TWO, "this code was issued under another order")


def test_pins_that_the_network_holds_are_not_drawn_as_replacements(shop: Shop) -> None:
    pins = [code for pin in range(10_000) if obeys(code := f"{BTN}{pin:04}")]
    shop.registry.import_codes(pl.Series("code", [int(code) for code in pins[3:]]))
    answer = shop.send(row("A", btn=BTN, quantity="1"))
    (mine,) = answer.codes
    other, last = sorted(set(pins[:3]) - {mine})
    shop.report(("10023456-1", other))
    shop.night()
    assert shop.states() == {mine: "refused", other: "external", last: "placed"}


@pytest.mark.parametrize(("hours", "overdue"), [(47.9, 0), (48, 0), (48 + 1 / 60, 1), (72, 1)])
def test_an_order_that_no_report_names_is_awaited_and_overdue_after_48_hours(hours: float, overdue: int, shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.later(hours=hours)
    result = shop.night()
    assert (result["orders_awaited"], result["orders_overdue"]) == (1, overdue)
    ((*_, age, mark),) = sheet(shop, result, "Awaited").rows()
    assert float(age) == pytest.approx(hours, abs=0.05)
    assert mark == ("yes" if overdue else "")
    assert shop.states() == {ONE: "placed"}


def test_a_replacement_is_awaited_from_the_night_that_drew_it(shop: Shop) -> None:
    shop.send(row("A", quantity="1"))
    shop.later(hours=60)
    shop.report(("10023456-1", ""))
    assert shop.night()["orders_overdue"] == 0
    shop.later(hours=48)
    assert shop.night()["orders_overdue"] == 0
    shop.later(hours=1)
    assert shop.night()["orders_overdue"] == 0  # the figures of a night stand
    shop.later(hours=24)
    assert shop.night()["orders_overdue"] == 1


def test_a_night_run_twice_changes_nothing_and_tells_the_same(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"), row("B", code=ONE), row("C", quantity="1"))
    shop.report(*shown(answer, answer.codes[0])[:-1], ("77-7", STRANGE))
    first = shop.night()
    before, files = dump(shop), _files(shop)
    shop.later(hours=5)
    shop.send(row("D", quantity="1"), name="later.csv")
    placed = dump(shop)
    second = shop.night()
    assert {**second, "reports": []} == {**first, "reports": []}
    assert dump(shop) == placed
    assert before[2:5] == placed[2:5]
    assert {name: content for name, content in _files(shop).items() if name in files} | _indexes(files) == files


def _indexes(files: dict[str, bytes]) -> dict[str, bytes]:
    """The indexes of resellers, to which later answers are added."""
    return {name: content for name, content in files.items() if name.endswith("index.csv")}


def _files(shop: Shop) -> dict[str, bytes]:
    paths = [path for path in shop.settings.outbox.rglob("*") if path.is_file()]
    return {str(path.relative_to(shop.settings.home)): path.read_bytes() for path in paths}


def test_a_report_that_came_before_and_says_nothing_new_changes_nothing(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.report(*shown(answer))
    shop.night()
    before = dump(shop)
    shop.later(days=1)
    shop.report(*shown(answer), name="again.csv")
    result = shop.night()
    (report,) = result["reports"]
    assert report["repeated"]
    assert (shop.settings.home / report["folder"] / "again.csv").exists()
    assert dump(shop) == before
    assert (result["codes_ready"], result["codes_refused"], result["unexpected"], result["orders_awaited"]) == (0, 0, 0, 0)
    assert sheet(shop, result, "Reports").row(0)[3] == "repeats an earlier one"


def test_the_same_bytes_are_news_about_what_was_placed_since(shop: Shop) -> None:
    """The network lacks the replacement too, and says so with the same words."""
    answer = shop.send(row("A", quantity="2"))
    shop.report(*shown(answer, answer.codes[0]))
    assert shop.night()["codes_replaced"] == 1
    shop.later(days=1)
    shop.report(*shown(answer, answer.codes[0]), name="again.csv")
    result = shop.night()
    assert [report["repeated"] for report in result["reports"]] == [False]
    assert (result["codes_refused"], result["codes_replaced"], result["orders_awaited"]) == (1, 1, 1)


def test_two_copies_of_a_report_in_one_night_are_one(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.report(*shown(answer), name="1.csv")
    shop.report(*shown(answer), name="2.csv")
    result = shop.night()
    assert [report["repeated"] for report in result["reports"]] == [False, True]
    assert result["codes_ready"] == 2


def replaced_order(shop: Shop, quantity: int = 2) -> tuple[Answer, str, str]:
    """An order of which the first code was refused in a night; its answer, that code, and the one that replaces it."""
    answer = shop.send(row("A", quantity=str(quantity)))
    shop.report(*shown(answer, answer.codes[0]))
    shop.night()
    (new,) = set(shop.placements()["Authorization Code"]) - set(answer.codes)
    return answer, answer.codes[0], new


def released(answer: Answer, order: str = "10023456-1") -> list[list[str]]:
    """The codes of each release of an order."""
    return [read_csv(path)["Authorization Code"].to_list() for path in sorted(answer.folder.glob(f"release-{order}-*.csv"))]


def test_a_replaced_code_that_shows_up_after_its_replacement_is_ready_is_surplus(shop: Shop) -> None:
    answer, old, new = replaced_order(shop)
    shop.later(days=1)
    shop.report(*shown(answer, old), ("10023456-1", new), name="2.csv")
    shop.night()
    before = _files(shop)
    shop.later(days=1)
    shop.report(*shown(answer), ("10023456-1", new), name="3.csv")
    result = shop.night()
    assert shop.states()[old] == "surplus"
    assert (result["codes_ready"], result["codes_surplus"]) == (0, 1)
    assert released(answer) == [[answer.codes[1]], [new]]
    assert sheet(shop, result, "Surplus")["Authorization Code"].to_list() == [old]
    assert "1 card is surplus" in str(sheets_of(shop.settings.home / result["workbook"])["Summary"])
    kept = {name: content for name, content in before.items() if "release-" in name}
    assert {name: _files(shop)[name] for name in kept} == kept
    shop.later(days=1)
    shop.send(row("LATER", quantity="1"), name="later.csv")
    shop.report(("10023456-2", ""), name="4.csv")
    summary = load_workbook(shop.settings.home / shop.night()["workbook"])["Summary"]
    (line,) = [line for line in summary if str(line[0].value).startswith("1 card is surplus")]
    (link,) = [cell.hyperlink.location for cell in line if cell.hyperlink]
    assert link == "'Nights'!A1", "it became surplus in an earlier night"


def test_a_replacement_that_comes_after_the_refused_code_turned_up_is_surplus(shop: Shop) -> None:
    answer, old, new = replaced_order(shop)
    shop.later(days=1)
    shop.report(*shown(answer), name="2.csv")
    result = shop.night()
    assert (result["codes_ready_late"], result["codes_refused"], result["codes_replaced"]) == (1, 1, 0)  # two were ordered
    shop.later(days=1)
    shop.report(*shown(answer), ("10023456-1", new), name="3.csv")
    shop.night()
    assert (shop.states()[old], shop.states()[new]) == ("ready", "surplus")
    assert released(answer) == [[answer.codes[1]], [old]]
    (advice,) = {row["What to do"] for row in release(answer, "10023456-1", "refused").rows(named=True)
                 if row["Authorization Code"] == new}  # fmt: skip
    assert advice == "Your order has all its cards without this one. There is nothing to do."


def test_of_both_in_one_report_the_earlier_card_is_ready(shop: Shop) -> None:
    answer, old, new = replaced_order(shop)
    shop.later(days=1)
    shop.report(*shown(answer), ("10023456-1", new), name="2.csv")
    shop.night()
    assert (shop.states()[old], shop.states()[new]) == ("ready", "surplus")
    assert released(answer) == [[answer.codes[1]], [old]]


def test_a_report_that_is_older_than_a_replacement_does_not_refuse_it(shop: Shop) -> None:
    answer, old, new = replaced_order(shop)
    older = shop.now - timedelta(hours=1)
    shop.later(days=1)
    path = shop.report(*shown(answer), name="older.csv")
    os.utime(path, (older.timestamp(),) * 2)
    result = shop.night()
    assert (shop.states()[old], shop.states()[new]) == ("ready", "placed")
    assert (result["codes_refused"], result["orders_awaited"]) == (0, 1)


def test_a_report_that_was_written_while_the_night_wrote_says_nothing_of_its_replacements(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.report(*shown(answer, answer.codes[0]))
    meanwhile = shop.now + timedelta(minutes=5)
    shop.night(lambda step: shop.later(minutes=10) if step == "orders closed" else None)
    (new,) = set(shop.placements()["Authorization Code"]) - set(answer.codes)
    shop.later(days=1)
    os.utime(shop.report(*shown(answer, answer.codes[0]), name="2.csv"), (meanwhile.timestamp(),) * 2)
    result = shop.night()
    assert (shop.states()[new], result["codes_refused"]) == ("placed", 0)


def test_a_report_that_shows_a_replacement_was_written_after_it_whatever_its_file_says(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"))
    shop.report(*shown(answer, *answer.codes[:2]))
    shop.night()
    new = sorted(set(shop.placements()["Authorization Code"]) - set(answer.codes))
    shop.later(days=1)
    path = shop.report(*shown(answer, *answer.codes[:2]), ("10023456-1", new[0]), name="2.csv")
    os.utime(path, (0, 0))
    shop.night()
    assert (shop.states()[new[0]], shop.states()[new[1]]) == ("ready", "refused")


def test_contradicting_reports_on_following_nights_never_release_more_than_was_ordered(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"))
    every: list[tuple[str, str]] = shown(answer)
    for night in range(6):
        shop.report(*every[:: 1 + night % 2], name=f"{night}.csv")
        shop.night()
        placed = shop.placements().select("Order ID", "Authorization Code").rows()
        every = sorted({*every, *placed})
        shop.later(days=1)
    codes = [code for part in released(answer) for code in part]
    assert len(codes) == len(set(codes)) == 4
    assert {code for code, state in shop.states().items() if state == "ready"} == set(codes)


def test_an_order_that_a_report_names_twice_is_judged_once(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"))
    pairs = shown(answer)
    shop.report(*pairs[:2], pairs[0], ("10023456-1", ""), pairs[1])
    result = shop.night()
    assert (result["codes_ready"], result["codes_refused"]) == (2, 1)


def test_a_disconnected_card_that_the_network_still_shows_is_reported(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(*shown(answer))
    shop.night()
    shop.send(row("D", action="Disconnect", code=ONE, product="", access_number=""), name="d.csv")
    shop.later(days=1)
    shop.report(("10023456-2", ONE), name="2.csv")
    assert shop.night()["unexpected"] == 0
    shop.later(days=1)
    shop.report(*shown(answer), name="3.csv")
    result = shop.night()
    ((_, code, words, _),) = sheet(shop, result, "Unexpected").rows()
    assert (code, words) == (ONE, "this card is disconnected, and the network still shows it")
    assert shop.states()[ONE] == "disconnected"


def test_a_ready_card_that_a_later_report_of_its_order_lacks_is_reported(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(*shown(answer))
    shop.night()
    older = shop.now - timedelta(hours=1)
    shop.later(days=1)
    os.utime(shop.report(("10023456-1", TWO), name="older.csv"), (older.timestamp(),) * 2)
    assert shop.night()["unexpected"] == 0
    shop.later(days=1)
    shop.report(("10023456-1", ONE), name="later.csv")
    result = shop.night()
    ((_, code, words, _),) = sheet(shop, result, "Unexpected").rows()
    assert (code, words) == (TWO, "this card is ready, and the network's report of its order no longer shows it")
    assert shop.states()[TWO] == "ready"


def test_a_card_that_was_blocked_before_it_was_released_is_released_when_it_is_ready_again(shop: Shop) -> None:
    answer = shop.send(row("A", code=ONE))
    shop.report(*shown(answer))

    def die(at: str) -> None:
        if at == "report entered":
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    for action, order in (("Block", "10023456-2"), ("Unblock", "10023456-3")):
        shop.send(row(action, action=action, code=ONE, product="", access_number=""), name=f"{action}.csv")
        shop.report((order, ONE), name=f"{action}-report.csv")
        shop.night()
        shop.later(days=1)
    assert released(answer) == [[ONE]]
    assert [path.name for path in answer.folder.glob("release-*.csv")] == ["release-10023456-1-2026-10-06.csv"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE orders SET confirmed = confirmed + 1", "orders have another number of confirmed cards than became ready"),
        ("UPDATE release_ranges SET last_serial = last_serial + 1", "release files have another number of cards"),
        ("INSERT INTO release_ranges SELECT order_pk, 2, 3, 99 FROM release_ranges", "cards stand in two releases"),
    ],
)
def test_verify_finds_releases_that_contradict_the_registry(damage: str, found: str, shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"))
    shop.report(*shown(answer))
    shop.night()
    assert audit.disagreements(shop.registry) == {}
    shop.registry.execute(damage)
    assert any(what.startswith(found) for what in audit.disagreements(shop.registry))


def test_a_night_without_a_report_says_so_when_orders_wait(shop: Shop) -> None:
    shop.night()
    shop.later(days=1)
    shop.send(row("A", quantity="1"))
    summary = str(sheets_of(shop.settings.home / shop.night()["workbook"])["Summary"])
    assert "No network report came, although 1 order waits for one." in summary


def big_order(shop: Shop, wrong: str = STRANGE) -> None:
    """A report that names an order of 150 codes with a wrong code."""
    shop.send(row("A", quantity="150"))
    shop.report(("10023456-1", wrong))


def test_a_report_that_would_refuse_most_of_many_codes_is_put_on_hold(shop: Shop) -> None:
    big_order(shop)
    before = dump(shop)
    result = shop.night()
    assert set(shop.states().values()) == {"placed"}
    assert dump(shop)[2:8] == before[2:8]
    assert (result["reports_on_hold"], result["codes_refused"], result["orders_awaited"]) == (1, 0, 1)
    assert result["reports"][0]["on_hold"] == "It would refuse 150 of the 150 codes that its orders wait for."
    workbook = shop.settings.home / result["workbook"]
    assert "1 network report is on hold and has changed nothing" in str(sheets_of(workbook)["Summary"])
    assert sheet(shop, result, "Reports").row(0)[3:5] == ("on hold", result["reports"][0]["on_hold"])


def test_a_report_with_many_codes_that_nobody_issued_is_put_on_hold(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, report_max_external=3)
    strange = some_codes(4, seed=99)
    shop.report(*(("77-7", code) for code in strange[:3]), name="some.csv")
    assert shop.night()["reports_on_hold"] == 0
    shop.later(days=1)
    shop.report(*(("77-7", code) for code in some_codes(8, seed=98)), name="many.csv")
    result = shop.night()
    assert result["reports"][0]["on_hold"] == "It shows 8 codes that were not issued here."
    assert len(shop.states()) == 3
    shop.registry.close()


def test_what_a_report_on_hold_shows_counts_for_no_other(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="250"))
    shop.report(*shown(answer)[:10], name="few.csv")
    shop.report(*shown(answer)[:60], name="more.csv")
    result = shop.night()
    assert [bool(report["on_hold"]) for report in result["reports"]] == [True, True]


def test_the_network_may_refuse_few_codes_and_half_of_many(shop: Shop) -> None:
    few = shop.send(row("A", quantity="99"))
    many = shop.send(row("B", quantity="300"), name="b.csv")
    assert few.codes
    shop.report(("10023456-1", ""), name="few.csv")
    shop.report(*shown(many)[:150], name="many.csv")
    assert (shop.night()["reports_on_hold"], shop.night()["codes_refused"]) == (0, 249)


def test_a_malformed_report_comes_to_a_folder_with_reasons_and_moves_nothing(shop: Shop) -> None:
    shop.send(row("A", code=f"{ONE} {TWO}"))
    before = dump(shop)
    text = f"Order ID,Code\n10023456-1,{ONE}\n,{TWO}\n10023456-1,1234\n10023456-1,1.23457E+13\n=1+1,{THREE}\n"
    path = shop.report(content=text)
    result = shop.night()
    (report,) = result["reports"]
    assert report["reasons"] == {"CODE_FORMAT": 1, "CODE_ROUNDED": 1, "REPORT_ORDER_ID": 2}
    folder = shop.settings.home / report["folder"]
    assert (folder / "report.csv").read_text() == text
    rejected = pl.read_csv(folder / "rejections.csv", infer_schema=False)
    assert rejected.select("Order ID", "Code", "Row", "Reason").rows() == [
        (None, TWO, "3", "REPORT_ORDER_ID"), ("10023456-1", "1234", "4", "CODE_FORMAT"),
        ("10023456-1", "1.23457E+13", "5", "CODE_ROUNDED"), ("'=1+1", THREE, "6", "REPORT_ORDER_ID"),
    ]  # fmt: skip
    assert not [
        cell for page in load_workbook(folder / "rejections.xlsx") for line in page for cell in line if cell.data_type == "f"
    ]
    assert dump(shop) == before
    assert not path.exists()
    shop.report(("10023456-1", ONE), ("10023456-1", TWO))
    assert shop.night()["codes_ready"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Order ID\n10023456-1\n", "COLUMN_MISSING"),
        ("Order ID,Code,Auth Code\n10023456-1,,\n", "COLUMN_REPEATED"),
        ("Order ID,Code\n", "FILE_EMPTY"),
        (b"", "FILE_EMPTY"),
        (b"PK\x03\x04 nothing", "FILE_UNREADABLE"),
        (b"%PDF-1.4\n", "FILE_TYPE"),
        (f'Order ID,Code\n10023456-1,"{ONE}\n', "FILE_UNREADABLE"),
    ],
)  # fmt: skip
def test_a_report_that_is_no_report_is_refused_as_a_whole(content: str | bytes, reason: str, shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    path = shop.report()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (report,) = shop.night()["reports"]
    assert reason in report["reasons"]
    assert {path.name for path in (shop.settings.home / report["folder"]).iterdir()} == {
        "report.csv", "rejections.csv", "rejections.xlsx",
    }  # fmt: skip
    assert shop.states() == {ONE: "placed"}


@pytest.mark.parametrize("numbers", [False, True], ids=["text", "numbers"])
def test_a_report_may_be_a_workbook(numbers: bool, shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    book = Workbook()
    page = book.worksheets[0]
    for line in [("order-id", "Card Number", "Loaded"), ("10023456-1", int(ONE) if numbers else ONE, "=1+1")]:
        page.append(line)
    content = io.BytesIO()
    book.save(content)
    shop.report(name="report.xlsx", content=content.getvalue())
    shop.night()
    assert release(answer, "10023456-1")["Authorization Code"].to_list() == [ONE]


def test_each_code_stands_in_one_placement_file(shop: Shop) -> None:
    first = shop.send(row("A", quantity="3"))
    second = shop.send(row("B", btn=BTN, quantity="3"), name="b.csv")
    for day in range(3):
        shop.later(days=1)
        shop.report(*shown(first)[: day + 1], *shown(second)[:day], ("10023456-2", ""), name=f"{day}.csv")
        shop.night()
    placed = shop.placements()["Authorization Code"].to_list()
    assert len(placed) == len(set(placed))
    assert set(placed) == set(shop.states())


def test_the_workbook_opens_has_a_native_chart_and_no_formula_whatever_a_report_says(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"), row("B", code=ONE), row("C", quantity="1"))
    rows = [*shown(answer, answer.codes[0])[:-1], ("-1", STRANGE)]
    text = "Order ID,Code,=1+1\n" + "".join(f"{order},{code},=1+1\n" for order, code in rows)
    shop.report(name="=1+1.csv", content=text)
    result = shop.night()
    book = load_workbook(shop.settings.home / result["workbook"])
    assert book.sheetnames == [
        "Summary", "Orders", "Refused", "Replaced", "Unexpected", "Awaited", "Reports",
        "Ageing", "By reseller", "By product", "By access number", "By month", "Nights",
    ]  # fmt: skip
    assert len(book["Summary"]._charts) == 4  # type: ignore[attr-defined]
    for page in book:
        for line in page.iter_rows():
            for cell in line:
                assert cell.data_type != "f", f"{page.title} {cell.coordinate}"
                head = str(page.cell(1, cell.column).value)
                if cell.row > 1 and cell.value is not None and ("ode" in head or "Number" in head or head == "Order ID"):
                    assert cell.data_type == "s", f"{page.title} {cell.coordinate}"
    assert sheet(shop, result, "Unexpected").rows()[0][::3] == ("-1", "=1+1.csv")


def test_the_workbook_of_a_night_without_anything_opens(shop: Shop) -> None:
    result = shop.night()
    book = load_workbook(shop.settings.home / result["workbook"])
    assert book.sheetnames == ["Summary", "Ageing", "By month", "Nights"]
    assert len(book["Summary"]._charts) == 4  # type: ignore[attr-defined]
    assert [result[name] for name in result if name.startswith(("codes", "cards", "orders"))] == [0] * 10


class KilledError(BaseException):
    """The program ends here; nothing may catch it."""


def _disturbed(shop: Shop, step: str, times: int) -> int:
    """Two nights, of which the first dies when it comes to a step for the given time; how often it came there."""
    answer = shop.send(row("A", quantity="3"), row("B", code=f"{ONE} {TWO}"), row("C", btn=BTN, quantity="2"))
    shop.report(*shown(answer, answer.codes[0], TWO), ("77-7", STRANGE), name="1.csv")
    shop.report(("10023456-3", ""), content="Order ID\n1\n", name="2.csv")
    shop.report(*shown(answer)[:2], name="3.csv")
    come = 0

    def die(at: str) -> None:
        nonlocal come
        come += at == step
        if at == step and come == times:
            raise KilledError

    try:
        shop.night(die)
    except KilledError:
        shop.night()
    return come


STEPS = ["report entered", "placement written", "folder written", "archived", "delivered", "orders closed", "night written"]


@pytest.mark.parametrize("most", sampled([1, 4], 1))
@pytest.mark.parametrize("step", sampled(STEPS, "report entered", "orders closed", others=pytest.mark.slow))
def test_a_night_that_dies_anywhere_ends_as_an_undisturbed_one(
    step: str, most: int, tmp_path: Path, new_registry: NewRegistry
) -> None:
    ends = []
    for times in range(most + 1):
        with new_registry() as url:
            shop = Shop(tmp_path / f"{step}-{times}", url)
            come = _disturbed(shop, step, times)
            if come < times:
                shop.registry.close()
                break
            ends.append(_end(shop))
            shop.registry.close()
    assert len(ends) > 1
    for end in ends[1:]:
        assert end == ends[0]


def _end(shop: Shop) -> tuple[Any, ...]:
    """All that is left of a night."""
    result = shop.night()
    names = sorted(_files(shop))
    csvs = {name: content for name, content in _files(shop).items() if name.endswith(".csv")}
    books = {name: sheets_of(shop.settings.home / name) for name in names if name.endswith(".xlsx")}
    return dump(shop), names, csvs, books, result, shop.waiting(), shop.registry.undelivered()


def test_what_a_dead_night_left_is_reported_by_the_next_one(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE))

    def die(at: str) -> None:
        if at == "folder written":
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    (report,) = shop.night()["reports"]
    assert (report["file"], report["repeated"]) == ("report.csv", False)


def test_orders_that_come_after_a_dead_night_are_answered_and_reported_alone(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE))

    def die(at: str) -> None:
        if at == "report entered":
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    answer = shop.send(row("B", code=TWO), name="b.csv")
    assert answer.result["file"] == "b.csv"
    assert shop.night()["codes_ready"] == 1


@pytest.mark.parametrize("name", CASES)
def test_golden_night(name: str, new_registry: NewRegistry, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """`orders.csv` is dropped, then each `report-N.csv` comes in a night of its own, then `orders-N.csv` after it.

    In inputs `{Customer Order ID:n}` stands for the n-th code of an order, replacements included, so that drawn codes can be
    named. A file `report-N.hours` says how many hours before the night a report was written.
    """
    case = NIGHTS / name
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url)
        _play(shop, case)
        found = {path.name: path.read_bytes() for path in shop.settings.outbox.rglob("*.csv") if _is_expected(path)}
        found["states.csv"] = _states(shop)
        shop.registry.close()
    expected = case / "expected"
    if pytestconfig.getoption("--golden"):
        shutil.rmtree(expected, ignore_errors=True)
        expected.mkdir()
        for file, content in found.items():
            (expected / file).write_bytes(content)
    assert found == {path.name: path.read_bytes() for path in expected.iterdir()}


def _states(shop: Shop) -> bytes:
    """The state in which each card ends, by its serial."""
    rows = _rows(
        shop,
        """
        SELECT order_id, serial, state FROM cards JOIN orders ON orders.order_pk = cards.order_pk
        ORDER BY cards.order_pk, serial
        """,
    )
    return "".join(f"{order}/{serial},{STATES[state]}\n" for order, serial, state in rows).encode()


def _is_expected(path: Path) -> bool:
    return path.name.startswith(("release-", "refused-", "outcome-", "placement-", "rejections"))


def _play(shop: Shop, case: Path) -> None:
    codes: dict[str, list[str]] = {}
    for number in range(9):
        for kind in ("orders", "report"):
            path = case / f"{kind}-{number}.csv"
            if not path.exists():
                continue
            text = path.read_text()
            for order, placed in codes.items():
                for place, code in enumerate(placed, 1):
                    text = text.replace(f"{{{order}:{place}}}", code)
            if kind == "orders":
                shop.drop(path.name, text)
                (answer,) = shop.run()
                for (order,), lines in answer.confirmation.group_by("Customer Order ID", maintain_order=True):
                    codes[str(order)] = lines["Authorization Code"].to_list()
            else:
                shop.later(days=1)
                dropped = shop.report(content=text, name=path.name)
                if (hours := path.with_suffix(".hours")).exists():
                    os.utime(dropped, ((shop.now - timedelta(hours=float(hours.read_text()))).timestamp(),) * 2)
                shop.night()
                _add_replacements(shop, codes)


def _add_replacements(shop: Shop, codes: dict[str, list[str]]) -> None:
    """The codes that nights have placed under each order come after those that were placed with it."""
    names = {f"10023456-{number}": name for number, name in enumerate(codes, 1)}
    for path in sorted((shop.settings.outbox / "network").rglob("placement-network-*.csv")):
        for order, code in read_csv(path).select("Order ID", "Authorization Code").rows():
            if order in names and code not in codes[names[order]]:
                codes[names[order]].append(code)


def test_time_stands_where_a_test_puts_it(shop: Shop) -> None:
    shop.later(hours=2)
    assert shop.runtime.now() == NOW + timedelta(hours=2)


def test_a_long_sheet_is_cut_and_says_where_all_of_its_rows_are(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation_workbook, "MOST_ROWS", 2)
    orders = shop.send(*(row(f"A{number}", quantity="1") for number in range(5)))
    shop.report(*orders.confirmation.select("Order ID", "Authorization Code").rows())
    result = shop.night()
    assert len(sheet(shop, result, "Orders")) == 2
    workbook = shop.settings.home / result["workbook"]
    every = read_csv(workbook.with_name(f"{workbook.stem}-orders.csv"))
    assert every["Customer Order ID"].to_list() == [f"A{number}" for number in range(5)]
    assert f"Orders: the first 2 of 5 rows; all of them are in {workbook.stem}-orders.csv" in str(
        sheets_of(workbook)["Summary"]
    )
    monkeypatch.setattr(reconciliation_workbook, "MOST_ROWS", 5)
    night = reconciliation.latest_night(shop.registry, int(result["night"].replace("-", "")))
    reconciliation_workbook.write_night(shop.as_run, night or {})
    assert not workbook.with_name(f"{workbook.stem}-orders.csv").exists()
    assert len(sheet(shop, result, "Orders")) == 5


def test_the_capacity_sheet_has_what_changed_and_what_is_nearly_full(shop: Shop) -> None:
    full, other = "303-555-0142", "303-555-0143"
    shop.send(row("A", btn=full, quantity="9000"), row("B", btn=other, quantity="1"))
    assert sheet(shop, shop.night(), "Capacity")["BTN"].to_list() == [full, other]
    shop.later(days=1)
    ((btn, free, used, runs_out),) = sheet(shop, shop.night(), "Capacity").rows()
    assert (btn, free, used, runs_out[:10]) == (full, "958", "9000", f"{shop.now + timedelta(days=10):%Y-%m-%d}")
    shop.later(days=1)
    shop.send(row("C", btn=other, quantity="2"))
    assert sheet(shop, shop.night(), "Capacity")["BTN"].to_list() == [full, other]


def test_a_night_into_which_midnight_falls_has_one_date(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"), row("B", quantity="1"))
    ids = answer.confirmation["Order ID"].to_list()
    shop.report((ids[0], answer.codes[0]), (ids[2], ""))
    begun = shop.now.replace(hour=23, minute=59, second=59)
    ticks = iter(range(1_000_000))
    shop.runtime = shop.runtime._replace(now=lambda: begun + timedelta(seconds=next(ticks)))
    night = shop.night()
    written = shop.registry.query(
        "SELECT at, reconciliation_date FROM events WHERE kind <> 'orders'", {"at": pl.String, "reconciliation_date": pl.Int64}
    )
    assert night["night"] == f"{begun:%Y-%m-%d}"
    assert len(written) == 2
    assert set(written.rows()) == {(begun.isoformat(timespec="seconds"), int(f"{begun:%Y%m%d}"))}
