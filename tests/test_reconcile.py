"""The night: each thing that the network can answer, what comes of it, and what a crash leaves.

Golden cases: each folder of `tests/nights` holds orders and one report a night, and the files that must come of them,
byte for byte. `pytest tests/test_reconcile.py --golden` writes them anew: read the difference before you commit it.
"""

import io
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook, load_workbook

from pipelines.delivery import reconciliation_workbook
from pipelines.registry import reconciliation
from tests.conftest import EXTERNAL, NOW, Answer, NewRegistry, Shop, obeys, read_csv, row, some_codes

ONE, TWO, THREE, STRANGE, LOST = some_codes(5)
BTN = "3035550142"
NIGHTS = Path(__file__).parent / "nights"
CASES = sorted(path.name for path in NIGHTS.iterdir() if path.is_dir())
RELEASE = ["Order ID", "Customer Account Number", "Customer Order ID", "Authorization Code"]
REFUSED = [*RELEASE, "Replaced by", "Likely cause", "What to do"]


def shown(answer: Answer, *but: str) -> list[tuple[str, str]]:
    """Order ID and code of all that was placed, but for these codes."""
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    return [(order, code) for order, code in pairs if code not in but]


def release(answer: Answer, order: str, kind: str = "release") -> pl.DataFrame:
    return read_csv(answer.folder / f"{kind}-{order}.csv")


def sheet(shop: Shop, told: dict[str, Any], title: str) -> pl.DataFrame:
    """A sheet of the night's workbook, as text."""
    rows = list(load_workbook(shop.settings.home / told["workbook"])[title].values)
    text = [["" if cell is None else str(cell) for cell in line] for line in rows[1:]]
    return pl.DataFrame(text, [str(name) for name in rows[0]], orient="row")


def sheets_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {page.title: list(page.values) for page in load_workbook(path)}


def dump(shop: Shop) -> list[list[tuple[Any, ...]]]:
    """What the registry knows of cards and orders."""
    text = ("numbers", "cards", "card_actions", "state_transitions", "replacements", "unexpected_codes", "orders",
            "night_figures", "btns")  # fmt: skip
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
    told = shop.night()
    released = release(answer, "10023456-1")
    assert released.columns == RELEASE
    assert released.rows() == [("10023456-1", "10023456", "A", ONE)]
    assert not (answer.folder / "release-10023456-2.csv").exists()
    assert shop.states() == {ONE: "ready", TWO: "refused", THREE: "placed"}
    assert (told["orders_closed"], told["codes_ready"], told["codes_refused"], told["orders_awaited"]) == (1, 1, 1, 1)
    book = sheets_of(answer.folder / "release-10023456-1.xlsx")
    assert book["Codes"] == [tuple(RELEASE), *released.rows()]


def test_a_specified_code_that_is_refused_is_left_to_the_reseller(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(("10023456-1", ONE))
    told = shop.night()
    refused = release(answer, "10023456-1", "refused")
    assert refused.columns == REFUSED
    ((*_, code, by, cause, advice),) = refused.rows()
    assert (code, by) == (TWO, "")
    assert "most likely it exists there already" in cause
    assert "Choose another code" in advice
    summary = str(sheets_of(answer.folder / "refused-10023456-1.xlsx"))
    assert "most likely each exists there already" in summary
    assert told["codes_replaced"] == 0
    assert sheet(shop, told, "Refused").rows() == [("acme", *refused.drop("Likely cause").row(0))]
    assert len(shop.placements()) == 2


def test_random_and_btn_codes_are_replaced_under_the_same_order_and_placed_again(shop: Shop) -> None:
    answer = shop.send(row("R", quantity="3"), row("B", btn=BTN, quantity="2"))
    codes = answer.codes
    shop.report(*shown(answer, codes[0], codes[1], codes[3]))
    told = shop.night()
    assert told["codes_replaced"] == 3
    (path,) = (shop.settings.outbox / "network").glob("placement-network-*.csv")
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
    assert lost["Authorization Code"].to_list() == sorted(codes[:2])
    assert set(lost["Replaced by"]) == set(new) - {pin}
    assert all("replaced" in advice for advice in lost["What to do"])
    assert sorted(sheet(shop, told, "Replaced")["New code"]) == sorted(new)
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
    told = shop.night()
    assert (told["codes_refused"], told["codes_replaced"], told["orders_awaited"]) == (2, 0, 0)
    assert len(shop.placements()) == 3
    for order in ("10023456-1", "10023456-2"):
        assert "Order another code" in release(answer, order, "refused")["What to do"].item()
    shop.registry.close()


def test_a_btn_that_is_used_up_is_reported_and_the_earliest_orders_get_its_last_pins(shop: Shop) -> None:
    pins = [int(code) for pin in range(10_000) if obeys(code := f"{BTN}{pin:04}")]
    shop.registry.import_codes(pl.Series("code", pins[7:]))
    answer = shop.send(row("A", btn=BTN, quantity="2"), row("B", btn=BTN, quantity="3"))
    shop.report(("10023456-1", ""), ("10023456-2", ""))
    told = shop.night()
    assert (told["codes_refused"], told["codes_replaced"], told["orders_awaited"]) == (5, 2, 1)
    assert [bool(code) for code in release(answer, "10023456-1", "refused")["Replaced by"]] == [True, True]
    refused = release(answer, "10023456-2", "refused")
    assert [*refused["Replaced by"]] == [""] * 3
    assert all("No PIN of this BTN is free" in advice for advice in refused["What to do"])
    assert sheet(shop, told, "Capacity").rows() == [(BTN, "0")]
    assert set(sheet(shop, told, "Awaited")["Order ID"]) == {"10023456-1"}


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
    told = shop.night()
    assert shop.states() == {ONE: "ready", TWO: "ready", THREE: "refused"}
    assert (told["codes_ready"], told["codes_refused"], len(told["reports"])) == (2, 1, 3)
    assert set(release(answer, "10023456-1")["Authorization Code"]) == {ONE, TWO}


def test_a_later_night_makes_a_refused_code_ready_and_says_so(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"{ONE} {TWO}"))
    shop.report(("10023456-1", ONE))
    shop.night()
    shop.later(days=1)
    shop.report(("10023456-1", ONE), ("10023456-1", TWO), name="2.csv")
    told = shop.night()
    assert (told["codes_ready"], told["codes_ready_late"], told["codes_refused"]) == (1, 1, 0)
    assert sheet(shop, told, "Ready late")["Authorization Code"].to_list() == [TWO]
    assert set(release(answer, "10023456-1")["Authorization Code"]) == {ONE, TWO}
    assert not list(answer.folder.glob("refused-*"))  # nothing says any more that it must never be printed


def test_a_second_run_of_a_night_that_finds_a_refused_code_keeps_both_moves_in_its_figures(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    shop.report(("10023456-1", ""))
    shop.night()
    shop.report(*shown(answer), name="2.csv")
    told = shop.night()
    figures = ("codes_ready", "codes_ready_late", "codes_refused", "codes_replaced")
    # the report names the order, and the replacement it does not show is refused and replaced in turn
    assert [told[name] for name in figures] == [1, 1, 2, 2]
    assert len(sheet(shop, told, "Refused")) == 2
    assert len(sheet(shop, told, "Replaced")) == 2


def test_codes_that_nobody_issued_are_entered_as_external_and_never_given(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE), ("10023456-1", STRANGE), ("77-7", LOST), ("88-8", ""), ("99-9", str(EXTERNAL[0])))
    told = shop.night()
    assert shop.states() == {ONE: "ready", STRANGE: "external", LOST: "external"}
    assert told["unexpected"] == 3
    unexpected = sheet(shop, told, "Unexpected")
    assert unexpected.select("Order ID", "Authorization Code", "Report").rows() == [
        ("10023456-1", STRANGE, "report.csv"), ("77-7", LOST, "report.csv"), ("88-8", "", "report.csv"),
    ]  # fmt: skip
    assert shop.send(row("B", code=STRANGE), name="b.csv").reasons == {2: ["CODE_TAKEN"]}


def test_a_code_that_is_shown_under_another_order_is_named_and_moves_nothing(shop: Shop) -> None:
    shop.send(row("A", code=ONE), row("B", code=TWO))
    shop.report(("10023456-1", TWO))
    told = shop.night()
    assert shop.states() == {ONE: "refused", TWO: "placed"}
    ((_, code, known, _),) = sheet(shop, told, "Unexpected").rows()
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
    told = shop.night()
    assert (told["orders_awaited"], told["orders_overdue"]) == (1, overdue)
    ((*_, age, mark),) = sheet(shop, told, "Awaited").rows()
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
    assert {name: content for name, content in _files(shop).items() if name in files} == files


def _files(shop: Shop) -> dict[str, bytes]:
    paths = [path for path in shop.settings.outbox.rglob("*") if path.is_file()]
    return {str(path.relative_to(shop.settings.home)): path.read_bytes() for path in paths}


def test_a_report_that_came_before_changes_nothing(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    shop.report(*shown(answer, answer.codes[0]))
    shop.night()
    before = dump(shop)
    shop.later(days=1)
    shop.report(*shown(answer, answer.codes[0]), name="again.csv")
    told = shop.night()
    (report,) = told["reports"]
    assert report["repeated"]
    assert (shop.settings.home / report["folder"] / "again.csv").exists()
    assert dump(shop) == before
    assert (told["codes_ready"], told["codes_refused"], told["unexpected"], told["orders_awaited"]) == (0, 0, 0, 1)


def test_a_malformed_report_comes_to_a_folder_with_reasons_and_moves_nothing(shop: Shop) -> None:
    shop.send(row("A", code=f"{ONE} {TWO}"))
    before = dump(shop)
    text = f"Order ID,Code\n10023456-1,{ONE}\n,{TWO}\n10023456-1,1234\n10023456-1,1.23457E+13\n=1+1,{THREE}\n"
    path = shop.report(content=text)
    told = shop.night()
    (report,) = told["reports"]
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
    told = shop.night()
    book = load_workbook(shop.settings.home / told["workbook"])
    assert book.sheetnames == [
        "Summary", "Orders", "Refused", "Replaced", "Ready late", "Changes", "Unexpected", "Awaited", "Capacity",
    ]  # fmt: skip
    assert len(book["Summary"]._charts) == 1  # type: ignore[attr-defined]
    for page in book:
        for line in page.iter_rows():
            for cell in line:
                assert cell.data_type != "f", f"{page.title} {cell.coordinate}"
                head = str(page.cell(1, cell.column).value)
                if cell.row > 1 and cell.value is not None and ("ode" in head or "Number" in head or head == "Order ID"):
                    assert cell.data_type == "s", f"{page.title} {cell.coordinate}"
    assert sheet(shop, told, "Unexpected").rows()[0][::3] == ("-1", "=1+1.csv")


def test_the_workbook_of_a_night_without_anything_opens(shop: Shop) -> None:
    told = shop.night()
    book = load_workbook(shop.settings.home / told["workbook"])
    assert len(book["Summary"]._charts) == 1  # type: ignore[attr-defined]
    assert [told[name] for name in told if name.startswith(("codes", "cards", "orders"))] == [0] * 9


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


@pytest.mark.parametrize("step", STEPS)
def test_a_night_that_dies_anywhere_ends_as_an_undisturbed_one(step: str, tmp_path: Path, new_registry: NewRegistry) -> None:
    ends = []
    for times in (0, 1, 2, 3, 4):
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
    told = shop.night()
    names = sorted(_files(shop))
    csvs = {name: content for name, content in _files(shop).items() if name.endswith(".csv")}
    books = {name: sheets_of(shop.settings.home / name) for name in names if name.endswith(".xlsx")}
    return dump(shop), names, csvs, books, told, shop.waiting(), shop.registry.undelivered()


def test_what_a_dead_night_left_is_told_by_the_next_one(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE))

    def die(at: str) -> None:
        if at == "folder written":
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    (report,) = shop.night()["reports"]
    assert (report["file"], report["repeated"]) == ("report.csv", False)


def test_orders_that_come_after_a_dead_night_are_answered_and_told_alone(shop: Shop) -> None:
    shop.send(row("A", code=ONE))
    shop.report(("10023456-1", ONE))

    def die(at: str) -> None:
        if at == "report entered":
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    answer = shop.send(row("B", code=TWO), name="b.csv")
    assert answer.told["file"] == "b.csv"
    assert shop.night()["codes_ready"] == 1


@pytest.mark.parametrize("name", CASES)
def test_golden_night(name: str, new_registry: NewRegistry, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """`orders.csv` is dropped, then each `report-N.csv` comes in a night of its own, then `orders-N.csv` after it.

    In inputs `{Customer Order ID:n}` stands for the n-th code of an order, so that drawn codes can be named.
    """
    case = NIGHTS / name
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url)
        _play(shop, case)
        found = {path.name: path.read_bytes() for path in shop.settings.outbox.rglob("*.csv") if _is_expected(path)}
        shop.registry.close()
    expected = case / "expected"
    if pytestconfig.getoption("--golden"):
        shutil.rmtree(expected, ignore_errors=True)
        expected.mkdir()
        for file, content in found.items():
            (expected / file).write_bytes(content)
    assert found == {path.name: path.read_bytes() for path in expected.iterdir()}


def _is_expected(path: Path) -> bool:
    return path.name.startswith(("release-", "refused-", "placement-", "rejections"))


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
                shop.report(content=text, name=path.name)
                shop.night()


def test_time_stands_where_a_test_puts_it(shop: Shop) -> None:
    shop.later(hours=2)
    assert shop.runtime.now() == NOW + timedelta(hours=2)


def test_a_long_sheet_is_cut_and_says_where_all_of_its_rows_are(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation_workbook, "MOST_ROWS", 2)
    orders = shop.send(*(row(f"A{number}", quantity="1") for number in range(5)))
    shop.report(*orders.confirmation.select("Order ID", "Authorization Code").rows())
    told = shop.night()
    assert len(sheet(shop, told, "Orders")) == 2
    workbook = shop.settings.home / told["workbook"]
    every = read_csv(workbook.with_name(f"{workbook.stem}-orders.csv"))
    assert every["Customer Order ID"].to_list() == [f"A{number}" for number in range(5)]
    assert f"Orders: the first 2 of 5 rows; all of them are in {workbook.stem}-orders.csv" in str(
        sheets_of(workbook)["Summary"]
    )
    monkeypatch.setattr(reconciliation_workbook, "MOST_ROWS", 5)
    night = reconciliation.latest_night(shop.registry, int(told["night"].replace("-", "")))
    reconciliation_workbook.write_night(shop.as_run, night or {})
    assert not workbook.with_name(f"{workbook.stem}-orders.csv").exists()
    assert len(sheet(shop, told, "Orders")) == 5


def test_the_capacity_sheet_has_what_changed_and_what_is_nearly_full(shop: Shop) -> None:
    full = 3035550142
    shop.send(row("A", btn=str(full), quantity="9000"), row("B", btn="3035550143", quantity="1"))
    assert [btn for btn, _ in sheet(shop, shop.night(), "Capacity").rows()] == [str(full), "3035550143"]
    shop.later(days=1)
    assert sheet(shop, shop.night(), "Capacity").rows() == [(str(full), "958")]
    shop.later(days=1)
    shop.send(row("C", btn="3035550143", quantity="2"))
    assert [btn for btn, _ in sheet(shop, shop.night(), "Capacity").rows()] == [str(full), "3035550143"]
