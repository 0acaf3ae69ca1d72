"""The lists that operators ask for: orders, submissions, resellers on hold, BTNs, and cards of a number in pages."""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from pipelines import cli_lists, console
from pipelines.admin import lists, queries
from pipelines.cli import app
from pipelines.common.errors import CardsError, UsageError
from pipelines.registry import lists as pages
from pipelines.registry import queries as registry_queries
from tests.conftest import NewRegistry, Shop, read_csv, row, some_codes

pytestmark = pytest.mark.one_database

ONE, TWO, THREE = some_codes(3, seed=17)
BTN, ANOTHER = "3035550142", "3035550155"
ORDERS = 3_000
DAYS = 3


def globex(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, account="20098765", product="8001", **cells)


def fill(shop: Shop) -> None:
    """3,000 orders in three days, a file of acme's and one of globex's each day; globex's Customer Order IDs are acme's too."""
    for day in range(DAYS):
        numbers = range(day * 500, day * 500 + 500)
        shop.send(*(row(f"N{n}", quantity="1") for n in numbers), name=f"day{day}.csv")
        theirs = (globex(f"N{n}", quantity="1", access_number="877-666-2093") for n in numbers)
        shop.send(*theirs, name=f"day{day}.csv", source="globex")
        shop.later(days=1)


@pytest.fixture(scope="module")
def many(new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """See `fill`. Tests of this module only look."""
    with new_registry() as url:
        shop = Shop(tmp_path_factory.mktemp("many") / "home", url)
        fill(shop)
        yield shop
        shop.registry.close()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command in a shop's home and gives what it prints."""

    def run(shop: Shop, *words: object) -> str:
        monkeypatch.chdir(shop.settings.home)
        monkeypatch.setenv("CARDS_HOME", str(shop.settings.home))
        monkeypatch.setenv("CARDS_REGISTRY", shop.settings.registry)
        app([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr().out

    return run


def listed(shop: Shop, after: int = 0, limit: int = lists.PAGE, **wanted: Any) -> lists.OrderList:
    return lists.order_list(lists.orders(shop.as_run, lists.order_filter(shop.as_run, **wanted), after, limit))


def ids(found: lists.OrderList) -> list[str]:
    return [order.order_id for order in found.orders]


def every(shop: Shop, limit: int = 700, **wanted: Any) -> list[str]:
    """The Order IDs of all pages."""
    found: list[str] = []
    after = 0
    while True:
        page = listed(shop, after, limit, **wanted)
        found += ids(page)
        if not page.next:
            return found
        after = page.next


# -- orders ------------------------------------------------------------------------------------------------------------


def test_a_page_of_orders_says_how_many_more_there_are_and_the_next_one_goes_on(many: Shop) -> None:
    page = listed(many)
    assert len(page.orders) == lists.PAGE
    assert page.more == ORDERS - lists.PAGE
    assert page.orders[0].order_id == "20098765-1500"
    again = listed(many, page.next)
    assert again.more == ORDERS - 2 * lists.PAGE
    assert not set(ids(page)) & set(ids(again))
    found = every(many)
    assert len(found) == len(set(found)) == ORDERS
    last = listed(many, limit=ORDERS)
    assert (ids(last), last.more, last.next) == (found, 0, 0)


def test_orders_of_a_reseller_are_its_own_newest_first(many: Shop) -> None:
    for reseller, account in (("acme", "10023456"), ("globex", "20098765")):
        expected = [f"{account}-{n}" for n in range(1_500, 0, -1)]
        assert every(many, reseller=reseller) == expected
        page = listed(many, reseller=reseller, limit=3)
        assert (ids(page), page.more) == (expected[:3], 1_497)
        assert {order.reseller for order in page.orders} == {reseller}
    assert every(many, reseller="house") == []


def test_orders_since_a_day_or_a_time(many: Shop) -> None:
    assert every(many, since="2026-10-07") == [
        *(f"20098765-{n}" for n in range(1_500, 1_000, -1)), *(f"10023456-{n}" for n in range(1_500, 1_000, -1))
    ]  # fmt: skip
    assert len(every(many, since="2026-10-06")) == 2_000
    assert len(every(many, since="2026-10-06T09:30")) == 2_000
    assert len(every(many, since="2026-10-06T09:31")) == 1_000
    assert len(every(many, since="2020-01-01")) == ORDERS
    assert every(many, since="2026-10-06", reseller="acme") == [f"10023456-{n}" for n in range(1_500, 500, -1)]
    assert listed(many, since="2030-01-01").orders == []


def test_orders_of_an_access_number_and_in_a_state(many: Shop) -> None:
    assert every(many, access_number="(877) 666-2093") == [f"20098765-{n}" for n in range(1_500, 0, -1)]
    assert every(many, access_number="8776662093", reseller="acme") == []
    assert len(every(many, access_number="8008604444", since="2026-10-07", state="awaited")) == 500
    assert every(many, access_number="8004444444") == []
    assert len(every(many, state="awaited")) == ORDERS
    assert every(many, state="closed") == []


def test_overdue_orders_come_oldest_first_by_the_clock_of_the_run(many: Shop) -> None:
    """It is three days after the first file; an order is overdue after 48 hours."""
    assert every(many, overdue=True) == [
        *(f"10023456-{n}" for n in range(1, 501)), *(f"20098765-{n}" for n in range(1, 501))
    ]  # fmt: skip
    page = listed(many, overdue=True, limit=2)
    assert (ids(page), page.more) == (["10023456-1", "10023456-2"], 998)
    assert every(many, overdue=True, reseller="globex", since="2026-10-05") == [f"20098765-{n}" for n in range(1, 501)]
    now = many.now
    many.later(days=-1)
    assert every(many, overdue=True) == []
    many.later(days=8)
    assert len(every(many, overdue=True)) == ORDERS
    many.now = now
    flags = {order.since[:10]: order.overdue for order in listed(many, limit=ORDERS).orders}
    assert flags == {"2026-10-05": True, "2026-10-06": False, "2026-10-07": False}


def test_an_order_that_the_network_reported_is_closed(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"), row("B", quantity="1"))
    shop.report(("10023456-1", answer.codes[0]))
    shop.night()
    shop.later(days=3)
    assert every(shop, state="closed") == ["10023456-1"]
    assert every(shop, state="awaited") == every(shop, overdue=True) == ["10023456-2"]
    (order,) = listed(shop, state="closed", reseller="acme").orders
    assert (order.state, order.overdue, order.cards, order.folder) == ("closed", False, 1, answer.folder.name)


def test_a_search_ends_after_so_many_entries_and_goes_on(many: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SEARCHED", 1_200)
    page = listed(many, state="closed")
    assert (page.orders, page.more, page.complete) == ([], 0, False)
    assert page.next == ORDERS - 1_200
    assert listed(many, page.next, state="closed").next == ORDERS - 2 * 1_200 - 1
    assert every(many, state="closed") == []
    assert every(many, access_number="8776662093", reseller="globex") == [f"20098765-{n}" for n in range(1_500, 0, -1)]
    assert every(many, overdue=True, reseller="acme") == [f"10023456-{n}" for n in range(1, 501)]
    assert listed(many, reseller="acme", limit=1).complete


def test_what_is_beyond_a_page_is_counted_up_to_a_bound(
    many: Shop, monkeypatch: pytest.MonkeyPatch, command: Callable[..., str]
) -> None:
    monkeypatch.setattr(pages, "COUNTED", 1_000)
    monkeypatch.setattr(cli_lists, "_COUNTED", 1_000)
    assert listed(many, limit=1_999).more == 1_001
    assert listed(many, limit=2_000).more == 1_000
    assert "More than 1,000 more: go on with --after" in command(many, "orders", "--limit", 9)


def test_an_empty_registry_has_empty_lists(shop: Shop, command: Callable[..., str], tmp_path: Path) -> None:
    assert command(shop, "orders") == "Orders: none\n"
    assert command(shop, "orders", "--overdue", "--reseller", "acme", "--since", "2026-10-01") == "Orders: none\n"
    assert command(shop, "submissions", "--with-rejections") == "Submissions: none\n"
    assert command(shop, "holds") == "Holds: none\n"
    assert command(shop, "capacity") == "BTNs: none\n"
    assert json.loads(command(shop, "orders", "--json")) == {"orders": [], "more": 0, "next": 0, "complete": True}
    for name in ("orders", "submissions", "holds", "capacity"):
        assert command(shop, name, "--csv", tmp_path / f"{name}.csv").startswith("Wrote 0 entries")
        (header,) = (tmp_path / f"{name}.csv").read_text("utf-8").splitlines()
        assert header.count(",") > 3


def test_a_csv_file_has_the_whole_list(many: Shop, command: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    assert command(many, "orders", "--csv", path) == f"Wrote 3,000 entries to {path}.\n"
    assert path.stat().st_mode & 0o777 == 0o600
    written = read_csv(path)
    assert written["order_id"].to_list() == every(many)
    assert written.columns == list(lists.ListedOrder.__dataclass_fields__)
    assert written.row(0, named=True) | {"number": "", "overdue": ""} == {  # that is by the clock of the day
        "number": "", "order_id": "20098765-1500", "reseller": "globex", "customer_account": "20098765",
        "customer_order_id": "N1499", "action": "Add", "code_type": "Random", "access_number": "8776662093", "cards": "1",
        "state": "awaited", "overdue": "", "since": "2026-10-07T09:30:00-06:00", "placed_at": "2026-10-07T09:30:00-06:00",
        "folder": "20261007-093000-day2",
    }  # fmt: skip
    command(many, "orders", "--csv", path, "--limit", "70", "--after", ORDERS - 10)
    assert read_csv(path)["order_id"].to_list() == every(many)[11:81]


def test_a_csv_file_is_written_in_pages(many: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lists, "_CSV_PAGE", 400)
    monkeypatch.setattr(pages, "SEARCHED", 500)
    wanted = lists.order_filter(many.as_run, state="awaited")
    for limit, written in ((None, ORDERS), (1_100, 1_100)):
        made = lists.save_csv(tmp_path / "a.csv", lambda after, most: lists.orders(many.as_run, wanted, after, most), 0, limit)
        assert made == written
        assert read_csv(tmp_path / "a.csv")["order_id"].to_list() == every(many)[:written]


@pytest.mark.parametrize("where", ["none/orders.csv", ".", "/dev/null"])
def test_a_csv_file_that_can_t_be_written_is_wrong_usage(many: Shop, where: str, command: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="no file can be written there"):
        command(many, "orders", "--csv", where)
    with pytest.raises(UsageError, match="choose one"):
        command(many, "orders", "--csv", "orders.csv", "--json")


STRANGE = ["'; DROP TABLE orders; --", "a\0b", "\udcff", "\x1b[2J", "Ωμέγα", "%", "a" * 5_000, "$1", "?"]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_strange_arguments_are_wrong_usage_or_find_nothing(many: Shop, text: str) -> None:
    asked = [
        lambda: listed(many, reseller=text), lambda: listed(many, state=text), lambda: listed(many, since=text),
        lambda: listed(many, access_number=text), lambda: lists.find_order(many.as_run, text),
        lambda: lists.find_order(many.as_run, "N1", text), lambda: queries.status(text, many.registry),
        lambda: lists.submissions(many.as_run, reseller=text), lambda: lists.btns(many.registry, text),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(CardsError) as error:
            ask()
        assert error.value.args[0].isprintable()
    assert len(listed(many).orders) == lists.PAGE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"reseller": "acmee"}, "neither the catalogue nor a submission names this reseller"),
        ({"reseller": "network"}, "neither"),
        ({"since": "yesterday"}, "write a date, 2026-11-24"),
        ({"since": "2026-10-05T09:30:00+02:00"}, "write a date"),
        ({"since": "0001-01-01"}, "write a date"),
        ({"state": "open"}, "awaited or closed"),
        ({"overdue": True, "state": "closed"}, "an order that is overdue is awaited"),
        ({"access_number": "800"}, "not a telephone number"),
    ],
)
def test_an_argument_that_can_t_be_used_says_what_can(many: Shop, words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lists.order_filter(many.as_run, **words)


# -- one order ---------------------------------------------------------------------------------------------------------


def test_an_order_is_found_by_its_customer_order_id(many: Shop) -> None:
    with pytest.raises(lists.SeveralOrdersError) as several:
        lists.find_order(many.as_run, "N7")
    assert ids(several.value.found) == ["20098765-8", "10023456-8"]
    for account in ("20098765", "10023456"):
        assert lists.find_order(many.as_run, " N7 ", account).order_id == f"{account}-8"
    with pytest.raises(CardsError, match="no order with the Order ID or Customer Order ID N7 on account 00200300"):
        lists.find_order(many.as_run, "N7", "00200300")
    with pytest.raises(CardsError, match="no order"):
        lists.find_order(many.as_run, "none")


def test_an_order_id_comes_before_a_customer_order_id_that_looks_like_it(shop: Shop) -> None:
    shop.send(row("A", quantity="1"))
    shop.send(globex("10023456-1", quantity="2"), source="globex")
    assert lists.find_order(shop.as_run, "10023456-1").reseller == "acme"
    assert lists.find_order(shop.as_run, "10023456-1", "10023456").reseller == "acme"
    assert lists.find_order(shop.as_run, "10023456-1", "20098765").reseller == "globex"
    assert lists.find_order(shop.as_run, "A").order_id == "10023456-1"


def test_several_orders_are_listed_and_the_command_fails(
    many: Shop, command: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(lists.SeveralOrdersError, match="with --account"):
        command(many, "order", "N7", "--json")
    assert [one["order_id"] for one in json.loads(capsys.readouterr().out)["orders"]] == ["20098765-8", "10023456-8"]
    assert json.loads(command(many, "order", "N7", "--account", "20098765", "--json"))["order_id"] == "20098765-8"


# -- submissions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(shop: Shop) -> Shop:
    """A file with a good and a bad order, the same bytes again, the good order again, a file of noise, a file of globex's."""
    rows = [row("GOOD", quantity="2"), row("BAD", code="12"), row("BAD", code=ONE)]
    shop.send(*rows, name="mixed.csv")
    shop.later(hours=1)
    shop.send(*rows, name="same.csv")
    shop.later(hours=1)
    shop.send(row("GOOD", quantity="2"), name="good.csv")
    shop.later(days=1)
    shop.drop(f"{TWO}.xlsx", b"PK\x03\x04 noise")
    shop.run()
    shop.send(globex("G", quantity="1"), name="theirs.csv", source="globex")
    return shop


def submitted(shop: Shop, **wanted: Any) -> list[lists.ListedSubmission]:
    return lists.submission_list(lists.submissions(shop.as_run, **wanted)).submissions


def test_submissions_have_the_figures_of_their_answers(mixed: Shop) -> None:
    found = [
        (one.reseller, one.file, one.orders_placed, one.orders_already_placed, one.rows_rejected, one.repeated, one.reasons)
        for one in submitted(mixed)
    ]
    why = {"CODE_FORMAT": 1, "ORDER_INCOMPLETE": 1}
    assert found[0] == ("globex", "theirs.csv", 1, 0, 0, False, {})
    assert found[1][:2] == ("acme", f"{TWO}.xlsx")
    assert len(found[1][-1]) == 1
    assert found[2:] == [
        ("acme", "good.csv", 0, 1, 0, False, {}),
        ("acme", "same.csv", 0, 1, 2, True, why),
        ("acme", "mixed.csv", 1, 0, 2, False, why),
    ]
    assert all(one.delivered and (mixed.settings.outbox / one.reseller / one.folder).is_dir() for one in submitted(mixed))


def test_submissions_by_reseller_time_and_with_rejections(mixed: Shop) -> None:
    def files(**wanted: Any) -> list[str]:
        return [one.file for one in submitted(mixed, **wanted)]

    noise = f"{TWO}.xlsx"
    assert files(reseller="globex") == ["theirs.csv"]
    assert files(since="2026-10-06") == ["theirs.csv", noise]
    assert files(since="2026-10-05T10:30", reseller="acme") == [noise, "good.csv", "same.csv"]
    assert files(with_rejections=True) == [noise, "same.csv", "mixed.csv"]
    assert files(with_rejections=True, reseller="globex") == []
    page = lists.submissions(mixed.as_run, limit=2)
    assert (page.more, files(after=page.next, limit=2)) == (3, ["good.csv", "same.csv"])
    mixed.night()
    assert len(submitted(mixed)) == 5  # nights and reports of the network are none


def test_a_file_named_like_a_code_is_masked_everywhere(mixed: Shop, command: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    said = (
        command(mixed, "submissions") + command(mixed, "submissions", "--json") + command(mixed, "submissions", "--csv", path)
    )
    written = path.read_text("utf-8")
    for text in (said, written):
        assert TWO not in text
        assert f"{TWO[:6]}••••••••" in text
    assert "CODE_FORMAT 1, ORDER_INCOMPLETE 1" in written
    assert "20261005-093000-mixed" in written


# -- holds -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path, registry_url: str) -> Iterator[Shop]:
    """Globex asked for three taken codes, one more than it may."""
    shop = Shop(tmp_path / "home", registry_url, max_taken_code_attempts=2)
    shop.send(*(row(f"A{n}", code=code) for n, code in enumerate((ONE, TWO, THREE))))
    shop.send(*(globex(f"G{n}", code=code) for n, code in enumerate((ONE, TWO, THREE))), name="guess.csv", source="globex")
    yield shop
    shop.registry.close()


def test_holds_say_since_when_and_why_and_how_to_lift_them(held: Shop, command: Callable[..., str]) -> None:
    expected = {"reseller": "globex", "since": "2026-10-05T09:30:00-06:00", "reason": "too many taken codes", "attempts": 3,
                "lift": "cards clear-hold globex"}  # fmt: skip
    assert json.loads(command(held, "holds", "--json")) == {
        "holds": [expected],
        "more": 0,
        "next": "",
        "reports": [],
        "orders": [],
    }
    assert "cards clear-hold globex" in command(held, "holds")
    held.registry.clear_hold("globex", held.runtime.timestamp())
    assert command(held, "holds") == "Holds: none\n"


def test_holds_come_in_pages(held: Shop, command: Callable[..., str], tmp_path: Path) -> None:
    names = [f"r{n:03}" for n in range(120)]
    held.registry.append("holds", pl.DataFrame({"reseller": names, "at": "2026-10-05T09:30:00-06:00", "reason": "asked to"}))
    first = json.loads(command(held, "holds", "--json"))
    assert ([one["reseller"] for one in first["holds"]], first["more"]) == (["globex", *names[:49]], 71)
    rest = json.loads(command(held, "holds", "--after", first["next"], "--limit", 100, "--json"))
    assert ([one["reseller"] for one in rest["holds"]], rest["more"], rest["next"]) == (names[49:], 0, "")
    command(held, "holds", "--csv", tmp_path / "holds.csv")
    assert read_csv(tmp_path / "holds.csv")["reseller"].to_list() == ["globex", *names]


# -- BTNs --------------------------------------------------------------------------------------------------------------


def test_btns_are_listed_with_the_fullest_first(shop: Shop) -> None:
    shop.send(row("P", btn=BTN, quantity="4"), row("Q", btn=ANOTHER, quantity="5"))
    found = lists.btn_list(lists.btns(shop.registry))
    assert [(one.btn, one.used, one.customer_account) for one in found.btns] == [(BTN, 4, "10023456"), (ANOTHER, 5, "10023456")]
    for one in found.btns:
        (exact,) = queries.capacity([one.btn], shop.registry)
        assert (one.free, one.impossible) == (exact.free, exact.impossible)
    more = pl.DataFrame({"btn": range(2_125_550_100, 2_125_550_140)}).with_columns(
        account=pl.lit("10023456"), valid=9_958, used=9_958 - 25 * (pl.int_range(pl.len()) * 7 % 40), changed_event=0
    )  # fmt: skip
    shop.registry.append("btns", more)
    expected = [str(btn) for btn in more.filter(pl.col("valid") - pl.col("used") < 1_000).sort(
        pl.col("valid") - pl.col("used"), "btn")["btn"]] + [BTN, ANOTHER]  # fmt: skip
    for limit in (1, 7, 40, 41, 50):
        assert _all_btns(shop, limit) == expected
    page = lists.btns(shop.registry, limit=30)
    assert page.more == len(expected) - 30
    assert page.rows["fill"][0] == 1.0
    with pytest.raises(UsageError, match="no PIN was ever placed"):
        lists.btns(shop.registry, "2125559999")


def _all_btns(shop: Shop, limit: int) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page = lists.btns(shop.registry, after, limit)
        found += page.rows["btn"].to_list()
        if not page.next:
            return found
        after = str(page.next)


def test_the_list_of_btns_takes_no_btn(shop: Shop, command: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name none"):
        command(shop, "capacity", BTN, "--limit", 3)
    (tmp_path / "btns.txt").write_text("\n")
    with pytest.raises(UsageError, match="no BTN in it"):
        command(shop, "capacity", "--file", tmp_path / "btns.txt")


# -- cards of a number -------------------------------------------------------------------------------------------------


def test_the_cards_of_an_access_number_are_counted_and_shown_in_pages(many: Shop, command: Callable[..., str]) -> None:
    found = queries.status("877-666-2093", many.registry, 20)
    assert (found.found, found.counts, found.more, found.complete) == (1_500, {"placed": 1_500}, 1_480, True)
    assert [card.serial for card in found.cards] == [f"20098765-{n}/1" for n in range(1_500, 1_480, -1)]
    said = command(many, "status", "877-666-2093")
    assert said.startswith("1,500 cards: 1,500 placed.\n")
    assert "1,450 more: show them with --limit or --all." in said
    assert len(json.loads(command(many, "status", "877-666-2093", "--all", "--json"))["cards"]) == 1_500


def test_changes_count_for_the_number_that_they_give(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"), row("B", code=ONE, access_number="800-866-3691"))
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    codes = sorted(answer.codes[:4])
    for number, (ref, access, taken) in enumerate(
        (("C1", "8884027755", codes[:2]), ("C2", "8008604444", codes[:1]), ("C3", "8884027755", codes[3:])), 3
    ):
        shop.later(days=1)
        change = {"action": "Change", "product": "", "access_number": access}
        shop.send(*(row(ref, code=code, **change) for code in taken), name=f"{ref}.csv")
        if ref != "C3":  # which is awaited
            shop.report(*((f"10023456-{number}", code) for code in taken), name=f"r{number}.csv")
            shop.night()
    for access, expected in (("8008604444", {codes[0], *codes[2:]}), ("8884027755", {codes[1]}), ("8008663691", {ONE})):
        found = queries.status(access, shop.registry)
        assert {card.code for card in found.cards} == expected
        assert {card.access_number for card in found.cards} == {access}
        assert (found.found, found.counts) == (len(expected), {"ready": len(expected)})
        assert queries.status(access, shop.registry, 1).counts == found.counts


def test_past_a_bound_only_cards_of_the_newest_orders_are_counted(
    many: Shop, monkeypatch: pytest.MonkeyPatch, command: Callable[..., str]
) -> None:
    monkeypatch.setattr(registry_queries, "MOST_CARDS", 1_000)
    found = queries.status("8776662093", many.registry, 1)
    assert (found.found, found.complete, found.cards[0].order_id) == (1_000, False, "20098765-1500")
    assert "There are more: only cards of the newest orders were counted" in command(many, "status", "8776662093")
    monkeypatch.setattr(registry_queries, "_MOST_ORDERS", 10)
    assert queries.status("8776662093", many.registry).found == 10
    assert queries.status("N7", many.registry).complete


def test_a_btn_answers_with_counts_and_a_page(shop: Shop) -> None:
    shop.send(row("P", btn=BTN, quantity="30"))
    shop.registry.import_codes(pl.Series([int(f"{BTN}0022")]))
    found = queries.status(BTN, shop.registry, 5)
    known = {"external": 1, "placed": 30} if found.found == 31 else {"placed": 30}  # it may have been drawn
    assert (found.counts, len(found.cards), found.more) == (known, 5, found.found - 5)
    assert [card.serial for card in found.cards] == [f"10023456-1/{n}" for n in range(1, 6)]


# -- the screen --------------------------------------------------------------------------------------------------------

LONG = {
    "order_id": "10023456-1234567", "serial": "10023456-1234567/1000000", "code": "303555••••••••", "state": "disconnected",
    "reseller": "north-western-telecom", "customer_order_id": "2026-OCT-WEEK41", "action": "Disconnect", "cards": 1_000_000,
    "access_number": "8008604444", "overdue": False, "placed_at": "2026-10-05T09:30:00-06:00", "number": 123_456_789,
    "folder": "20261005-093000-cards for the autumn campaign, second part (corrected)", "orders_placed": 100_000,
    "orders_already_placed": 100_000, "rows_rejected": 100_000, "since": "2026-10-05T09:30:00-06:00",
    "reasons": {"CODE_LEADING_ZERO": 50_000, "CODE_TAKEN": 1_000, "ORDER_INCOMPLETE": 49_000}, "reason": "too many taken codes",
    "attempts": 12_345, "lift": "cards clear-hold north-western-telecom", "btn": "3035550142", "customer_account": "10023456",
    "free": 9_958, "used": 9_958, "impossible": 1_039, "fill": 0.999, "outcome": "not done",
}  # fmt: skip


def rendered(rows: list[dict[str, Any]], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table as a terminal of this width shows it."""
    out = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda: Console(file=out, width=width, force_terminal=True, color_system=None))
    console._print_rich("A table", rows)
    return out.getvalue()


TABLES = {
    "orders": lambda one: cli_lists._order_row({**one, "state": "awaited"}),
    "submissions": cli_lists._submission_row,
    "holds": lambda one: cli_lists._hold_row({name: one[name] for name in lists.Hold.__dataclass_fields__}),
    "btns": lambda one: cli_lists._btn_row({name: one[name] for name in lists.ListedBtn.__dataclass_fields__}),
    "cards": cli_lists._card_row,
    "cards of an order": lambda one: {name: one[name] for name in queries.OrderCard.__dataclass_fields__},
    "history": lambda one: {
        "at": one["since"],
        "what": "Disconnect not done",
        "order_id": one["order_id"],
        "file": one["folder"],
    },
    "pins": lambda one: asdict(queries.BtnCapacity(one["btn"], 9_958, 9_958, 9_958, 1_039)),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_100_columns_and_nothing_of_it_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = TABLES[name](LONG)
    shown = rendered([cells], 100, monkeypatch)
    assert max(map(len, shown.splitlines())) <= 100
    _, _, below = shown.partition("─\n")
    for column, text in columns_of(cells, below).items():
        assert re.sub(r"\s", "", text) == re.sub(r"\s", "", str(cells[column]))
        if len(str(cells[column])) <= 25 and column != "reseller":  # on one line, so that it can be copied
            assert text.strip() == str(cells[column])


def columns_of(cells: dict[str, Any], below: str) -> dict[str, str]:
    """What stands in each column below the header."""
    widths, gap = console._layout([cells], 100)
    found, start = {}, 0
    for name in cells:
        found[name] = "\n".join(line[start : start + widths[name]] for line in below.splitlines())
        start += widths[name] + gap
    return found


def test_a_narrow_screen_folds_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = rendered([cli_lists._order_row(LONG)], 60, monkeypatch)
    assert max(map(len, shown.splitlines())) <= 60
    assert "…" not in shown
