"""Monthly statements: worked examples by hand, the figures of nights against a slow recount, and the files."""

import re
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import load_workbook

from pipelines.admin import audit, repair, statements, surplus
from pipelines.admin.recover import recover
from pipelines.admin.reports import write_again
from pipelines.cli_helpers import exit_on
from pipelines.common.errors import CardsError, ContradictionError, UsageError
from pipelines.delivery import statements as files
from pipelines.delivery.statement_book import HEADERS
from pipelines.insight import statement
from pipelines.registry import schema_changes
from pipelines.registry.store import open_registry
from schemas.movements import GROUP
from tests.conftest import Answer, NewRegistry, Shop, read_csv, row, sampled, shared_parser, some_codes
from tests.lives import Life, backup_of, restore
from tests.recount import assert_figures_agree
from tests.registries import put_version
from tests.test_cli import House

pytestmark = pytest.mark.one_database

CODES = some_codes(12, seed=41)
OLD, NEW, OWN = "8008604444", "8008663691", "8884027755"
Line = tuple[str, str, str]
"""Reseller, product, access number."""
USUAL = ("acme", "7001", OLD)


class KilledError(BaseException):
    """Stands for kill -9."""


def killed_at(name: str) -> Callable[[str], None]:
    def step(at: str) -> None:
        if at == name:
            raise KilledError

    return step


def figures(shop: Shop, month: int) -> dict[Line, dict[str, int]]:
    """The figures of a statement that are not 0, by line; what nights kept is what is counted once more."""
    found = files.load(shop.registry, month)
    assert found.contradictory == []
    assert_figures_agree(shop.registry)
    return {
        (line["reseller"], line["product"], line["access_number"]): {
            name: line[name] for name in statement.FIGURES if line[name]
        }
        for line in found.lines.iter_rows(named=True)
    }


def pairs(answer: Answer) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = answer.confirmation.select("Order ID", "Authorization Code").rows()
    return rows


def change(shop: Shop, name: str, code: str, action: str = "Change", **cells: str) -> tuple[str, str]:
    """An order that takes a card; the line by which a report shows that it is done."""
    empty = {"product": "", "access_number": ""}
    answer = shop.send(row(name, action=action, code=code, **{**empty, **cells}), name=f"{name}.csv")
    assert answer.result["reasons"] == {}
    return answer.confirmation["Order ID"][0], code


def night(shop: Shop, *shown: tuple[str, str], days: int = 1) -> None:
    shop.later(days=days)
    shop.report(*shown, name=f"report-{shop.now:%Y%m%d%H%M}-{len(shown)}.csv")
    shop.night()
    assert shop.failures == []


def ready(shop: Shop, *codes: str) -> None:
    """Cards of acme that are ready since the night of 5 October."""
    answer = shop.send(row("A", code=" ".join(codes)))
    night(shop, *pairs(answer), days=0)


def problems(shop: Shop) -> list[tuple[str, str]]:
    return [(one.what, Path(one.where).name) for one in audit.verify(shop.settings, shop.registry).findings]


def outbox(shop: Shop) -> list[str]:
    return sorted(path.relative_to(shop.settings.outbox).as_posix() for path in shop.settings.outbox.rglob("statement*"))


# -- worked examples ---------------------------------------------------------------------------------------------------


def test_a_card_that_is_placed_in_one_month_and_released_in_the_next(shop: Shop) -> None:
    shop.later(days=26)
    answer = shop.send(row("A", quantity="3"))
    shop.night()
    night(shop, *pairs(answer))
    assert figures(shop, 202610) == {USUAL: {"orders_placed": 1, "cards_placed": 3}}
    assert figures(shop, 202611) == {USUAL: {"released": 3, "added": 3, "closing": 3}}


def test_orders_count_on_the_local_day_on_which_they_were_placed(shop: Shop) -> None:
    """At half past eleven of 31 October in a zone in which it is November elsewhere."""
    shop.now = datetime(2026, 10, 31, 23, 30, tzinfo=shop.now.tzinfo)
    shop.send(row("A", quantity="1"))
    shop.later(hours=1)
    shop.send(row("B", quantity="2"), name="b.csv")
    assert figures(shop, 202610) == {USUAL: {"orders_placed": 1, "cards_placed": 1}}
    assert figures(shop, 202611) == {USUAL: {"orders_placed": 1, "cards_placed": 2}}
    assert figures(shop, 202609) == {}


def test_orders_that_take_cards_and_repeated_ones_are_no_orders_for_cards(shop: Shop) -> None:
    ready(shop, CODES[0])
    change(shop, "B", CODES[0], access_number=NEW)
    shop.send(row("A", code=CODES[0]), row("F", quantity="0"), name="again.csv")
    assert figures(shop, 202610)[USUAL] == {"orders_placed": 1, "cards_placed": 1, "released": 1, "added": 1, "closing": 1}


def test_a_refused_card_that_is_ready_late(shop: Shop) -> None:
    answer = shop.send(row("A", code=" ".join(CODES[:2])))
    shown, late = pairs(answer)
    night(shop, shown)
    before = {"orders_placed": 1, "cards_placed": 2, "refused": 1, "released": 1, "added": 1, "closing": 1}
    assert figures(shop, 202610) == {USUAL: before}
    night(shop, shown, late, days=31)
    assert figures(shop, 202610) == {USUAL: before}
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "released": 1, "added": 1, "closing": 2}}


def test_a_refused_card_that_is_replaced(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="2"))
    night(shop, pairs(answer)[0])
    placed = {"orders_placed": 1, "cards_placed": 2, "refused": 1, "replaced": 1, "released": 1, "added": 1, "closing": 1}
    assert figures(shop, 202610) == {USUAL: placed}
    sent = shop.placements().select("Order ID", "Authorization Code").rows()
    night(shop, sent[0], sent[-1])
    assert figures(shop, 202610) == {USUAL: placed | {"released": 2, "added": 2, "closing": 2}}


def with_surplus(shop: Shop) -> str:
    """An order for one card of which the network has two: the refused one turned up after its replacement. Its Order ID."""
    answer = shop.send(row("A", quantity="1"))
    ((order, lost),) = pairs(answer)
    night(shop, (order, ""))
    replacement = shop.placements()["Authorization Code"].to_list()[-1]
    assert replacement != lost
    night(shop, (order, replacement), (order, lost))
    return order


def test_surplus_cards_that_the_operator_grants(shop: Shop) -> None:
    order = with_surplus(shop)
    before = {"orders_placed": 1, "cards_placed": 1, "refused": 1, "replaced": 1, "surplus": 1, "released": 1, "added": 1,
              "closing": 1}  # fmt: skip
    assert figures(shop, 202610) == {USUAL: before}
    shop.later(days=30)
    surplus.grant(shop.as_run, order, "Ana", "they pay")
    shop.night()
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "released": 1, "added": 1, "closing": 2}}


def test_surplus_cards_that_are_disconnected_were_never_active(shop: Shop) -> None:
    order = with_surplus(shop)
    surplus.disconnect(shop.as_run, order)
    (answer,) = shop.run()
    night(shop, *pairs(answer), days=30)
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "surplus_disconnected": 1, "closing": 1}}


def test_a_change_of_access_number_and_then_of_product(shop: Shop) -> None:
    ready(shop, *CODES[:3])
    night(shop, change(shop, "B", CODES[0], access_number=NEW))
    october = figures(shop, 202610)
    assert october[USUAL] == {"orders_placed": 1, "cards_placed": 3, "released": 3, "added": 3, "changed_out": 1, "gone": 1,
                              "closing": 2}  # fmt: skip
    assert october["acme", "7001", NEW] == {"changed_in": 1, "added": 1, "closing": 1}
    night(shop, change(shop, "C", CODES[0], product="7002"), days=30)
    night(shop, change(shop, "D", CODES[1], origin="Yes"))
    assert figures(shop, 202611) == {
        USUAL: {"opening": 2, "closing": 2},
        ("acme", "7001", NEW): {"opening": 1, "changed_out": 1, "gone": 1},
        ("acme", "7002", NEW): {"changed_in": 1, "added": 1, "closing": 1},
    }


def test_a_change_back_in_the_next_month(shop: Shop) -> None:
    ready(shop, CODES[0])
    night(shop, change(shop, "B", CODES[0], product="7002", access_number=OWN))
    night(shop, change(shop, "C", CODES[0], product="7001", access_number=OLD), days=30)
    night(shop, change(shop, "D", CODES[0], "Disconnect"), days=30)
    assert figures(shop, 202611) == {
        USUAL: {"changed_in": 1, "added": 1, "closing": 1},
        ("acme", "7002", OWN): {"opening": 1, "changed_out": 1, "gone": 1},
    }
    assert figures(shop, 202612) == {USUAL: {"opening": 1, "disconnected": 1, "gone": 1}}
    shop.later(days=31)
    night(shop, *pairs(shop.send(row("E", quantity="1"), name="e.csv")), days=0)
    assert figures(shop, 202701) == {USUAL: {"orders_placed": 1, "cards_placed": 1, "released": 1, "added": 1, "closing": 1}}


def missed(shop: Shop, name: str, code: str, **cells: str) -> tuple[str, str]:
    """A Change that the network did not do when it reported on it; the line by which a later report shows that it did."""
    line = change(shop, name, code, **cells)
    night(shop, (line[0], ""))
    return line


def test_a_change_that_is_done_while_the_card_is_blocked(shop: Shop) -> None:
    ready(shop, *CODES[:2])
    late = missed(shop, "B", CODES[0], access_number=NEW)
    night(shop, change(shop, "C", CODES[0], "Block"))
    night(shop, late)
    assert figures(shop, 202610)["acme", "7001", NEW] == {"changed_in": 1, "added": 1, "closing": 1}
    night(shop, change(shop, "D", CODES[0], "Disconnect"), days=30)
    assert figures(shop, 202611) == {
        USUAL: {"opening": 1, "closing": 1},
        ("acme", "7001", NEW): {"opening": 1, "disconnected": 1, "gone": 1},
    }


def test_two_changes_of_a_card_in_a_night(shop: Shop) -> None:
    """The later order counts; a card goes out of a line once, and into one once."""
    ready(shop, CODES[0])
    early = missed(shop, "B", CODES[0], product="7002", access_number=NEW)
    later = change(shop, "C", CODES[0], access_number=OWN)
    night(shop, later, early, days=30)
    assert figures(shop, 202611) == {
        USUAL: {"opening": 1, "changed_out": 1, "gone": 1},
        ("acme", "7002", OWN): {"changed_in": 1, "added": 1, "closing": 1},
    }


def test_two_changes_in_a_night_that_leave_a_card_as_it_was(shop: Shop) -> None:
    ready(shop, CODES[0])
    early = missed(shop, "B", CODES[0], access_number=NEW)
    later = change(shop, "C", CODES[0], access_number=OLD)
    night(shop, early, later, days=30)
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "closing": 1}}


def test_a_change_and_a_disconnect_in_the_same_night(shop: Shop) -> None:
    ready(shop, CODES[0])
    late = missed(shop, "B", CODES[0], access_number=NEW)
    night(shop, late, change(shop, "C", CODES[0], "Disconnect"), days=30)
    assert figures(shop, 202611) == {
        USUAL: {"opening": 1, "changed_out": 1, "gone": 1},
        ("acme", "7001", NEW): {"changed_in": 1, "added": 1, "disconnected": 1, "gone": 1},
    }


def test_a_change_that_a_report_shows_after_the_card_was_disconnected(shop: Shop) -> None:
    ready(shop, *CODES[:2])
    late = missed(shop, "B", CODES[0], access_number=NEW)
    night(shop, change(shop, "C", CODES[0], "Disconnect"))
    night(shop, late, days=30)
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "closing": 1}}
    assert figures(shop, 202610)[USUAL]["closing"] == 1


def test_a_card_that_becomes_ready_is_changed_and_disconnected_before_a_night(shop: Shop) -> None:
    """A run died after it had entered the report, so that orders took the card before a night counted it."""
    answer = shop.send(row("A", code=CODES[0]))
    shop.report(*pairs(answer))
    with pytest.raises(KilledError):
        shop.night(killed_at("report entered"))
    shop.later(minutes=1)
    early = change(shop, "B", CODES[0], product="7002")
    shop.report((early[0], CODES[0]), name="second.csv")
    with pytest.raises(KilledError):
        shop.night(killed_at("report entered"))
    night(shop, change(shop, "C", CODES[0], "Disconnect"), days=0)
    assert figures(shop, 202610) == {
        USUAL: {"orders_placed": 1, "cards_placed": 1, "released": 1, "added": 1, "changed_out": 1, "gone": 1},
        ("acme", "7002", OLD): {"changed_in": 1, "added": 1, "disconnected": 1, "gone": 1},
    }


def test_nights_that_run_twice_on_a_date_add_up(shop: Shop) -> None:
    ready(shop, *CODES[:2])
    shop.later(minutes=5)
    line = change(shop, "B", CODES[0], access_number=NEW)
    night(shop, line, days=0)
    shop.later(minutes=5)
    night(shop, change(shop, "C", CODES[0], access_number=OWN), days=0)
    shop.later(minutes=5)
    night(shop, change(shop, "D", CODES[1], "Disconnect"), days=0)
    shop.night()
    assert figures(shop, 202610) == {
        USUAL: {"orders_placed": 1, "cards_placed": 2, "released": 2, "added": 2, "disconnected": 1, "changed_out": 1,
                "gone": 2},
        ("acme", "7001", NEW): {"changed_in": 1, "added": 1, "changed_out": 1, "gone": 1},
        ("acme", "7001", OWN): {"changed_in": 1, "added": 1, "closing": 1},
    }  # fmt: skip


def test_months_without_nights_go_on_as_they_were_and_are_stated_too(shop: Shop) -> None:
    ready(shop, *CODES[:2])
    shop.send(row("B", quantity="2"), name="b.csv")
    night(shop, change(shop, "C", CODES[0], "Disconnect"), days=89)  # 2 January
    assert [name for name in outbox(shop) if name.startswith("acme") and name.endswith(".csv")] == [
        f"acme/statement-2026-{month}.csv" for month in (10, 11, 12)
    ]
    assert figures(shop, 202611) == figures(shop, 202612) == {USUAL: {"opening": 2, "closing": 2}}
    assert figures(shop, 202701) == {USUAL: {"opening": 2, "disconnected": 1, "gone": 1, "closing": 1}}
    assert files.load(shop.registry, 202611).records[:3] == (0, 0, 0)
    listed = read_csv(shop.settings.outbox / "acme/index.csv").filter(Answer="statement")
    assert listed.select("Path", "Orders", "Cards").rows() == [
        ("statement-2026-10.csv", "2", "4"), ("statement-2026-11.csv", "0", "0"), ("statement-2026-12.csv", "0", "0"),
    ]  # fmt: skip
    assert problems(shop) == []


def test_a_clock_that_was_set_back_a_month(shop: Shop) -> None:
    """What happens then counts in the earlier month and all later ones, and the next night states that month again."""
    ready(shop, *CODES[:2])
    night(shop, change(shop, "B", CODES[0], access_number=NEW), days=28)  # 2 November
    assert read_csv(shop.settings.outbox / "acme/statement-2026-10.csv")["Closing"].to_list() == ["2"]
    more = shop.send(row("C", quantity="3"), name="c.csv")
    night(shop, *pairs(more), days=-3)  # 30 October
    assert problems(shop) == []
    assert figures(shop, 202610) == {USUAL: {"orders_placed": 1, "cards_placed": 2, "released": 5, "added": 5, "closing": 5}}
    assert figures(shop, 202611) == {
        USUAL: {"orders_placed": 1, "cards_placed": 3, "opening": 5, "changed_out": 1, "gone": 1, "closing": 4},
        ("acme", "7001", NEW): {"changed_in": 1, "added": 1, "closing": 1},
    }
    night(shop, change(shop, "D", CODES[0], "Disconnect"), days=4)  # 3 November
    assert read_csv(shop.settings.outbox / "acme/statement-2026-10.csv")["Closing"].to_list() == ["5"]
    assert read_csv(shop.settings.outbox / "acme/index.csv").filter(Answer="statement").height == 1
    assert problems(shop) == []
    with shared_parser():
        write_again(shop.as_run, ["2026-11-02"])  # which does not state October any more
    assert problems(shop) == []


def test_a_clock_that_was_wrong_by_years_makes_no_hundred_statements(shop: Shop) -> None:
    ready(shop, *CODES[:2])
    night(shop, change(shop, "B", CODES[0], "Disconnect"), days=3650)
    stated = sorted(path.name for path in shop.settings.outbox.glob("acme/statement-*.csv"))
    assert (len(stated), stated[0], stated[-1]) == (statement.MOST_MONTHS, "statement-2035-10.csv", "statement-2036-09.csv")
    night(shop, change(shop, "C", CODES[1], access_number=NEW), days=-3649)
    night(shop, change(shop, "D", CODES[1], access_number=OLD), days=30)
    assert figures(shop, 202611)["acme", "7001", NEW] == {"opening": 1, "changed_out": 1, "gone": 1}
    assert figures(shop, 203610)[USUAL] == {"opening": 2, "disconnected": 1, "gone": 1, "closing": 1}
    assert "statement-2026-10.csv" in {path.name for path in shop.settings.outbox.glob("acme/statement-*.csv")}
    assert problems(shop) == []


# -- the figures of nights, counted once more --------------------------------------------------------------------------


class Changing(Life):
    """A life in which products and access numbers change all the time, also of cards that are refused, late or blocked."""

    def order(self) -> dict[str, str]:
        kind = self.chance.random()
        cards = self.cards("blocked" if kind > 0.9 else "ready")
        if kind < 0.45 or not cards:
            return super().order()
        account, code = self.chance.choice(cards[:8])
        action = self.chance.choice(["Unblock", "Disconnect"] if kind > 0.9 else ["Change"] * 4 + ["Block", "Disconnect"])
        values = [("", NEW), ("", OLD), ("7002", ""), ("7001", OWN)] if account == "10023456" else [("", NEW), ("", OLD)]
        product, access = self.chance.choice(values) if action == "Change" else ("", "")
        return row(self.order_id(), action=action, code=code, account=account, product=product, access_number=access)


@pytest.mark.parametrize("seed", sampled(range(8), 3))
def test_nights_count_what_happens_to_each_card(tmp_path: Path, new_registry: NewRegistry, seed: int) -> None:
    """Over two months; and so does a migration that works it out from the history."""
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, seed=seed)
        shop.later(days=20)
        life = Changing(shop, seed)
        for day in range(10):
            life.day(is_last=day == 9)
        counted = assert_figures_agree(shop.registry)
        assert len({movement for _, _, movement in counted.movements}) > 6
        assert {month for month, _ in counted.balances} == {202610, 202611}
        assert problems(shop) == []
        for table in ("movements", "balances", "night_measures", "btn_days"):
            shop.registry.execute(f"DROP TABLE {table}")
        with shop.registry.transaction():
            schema_changes.keep_figures(shop.registry)
        assert_figures_agree(shop.registry, by_date=True)
        shop.registry.close()


@pytest.mark.parametrize("version", [1, 3, 7, 8, 9])
def test_registries_of_earlier_versions_have_the_figures_of_their_cards(registry_url: str, version: int) -> None:
    put_version(version, registry_url)
    with open_registry(registry_url) as registry:
        counted = assert_figures_agree(registry, by_date=True)
        assert counted.movements
        for month in {month for month, _ in counted.balances}:
            assert files.load(registry, month).contradictory == []


def test_a_migrated_registry_in_which_nothing_was_active_at_the_end_of_a_month_says_so(shop: Shop) -> None:
    ready(shop, CODES[0])
    night(shop, change(shop, "B", CODES[0], "Disconnect"), days=30)
    for table in ("movements", "balances", "night_measures", "btn_days"):
        shop.registry.execute(f"DROP TABLE {table}")
    with shop.registry.transaction():
        schema_changes.keep_figures(shop.registry)
    assert figures(shop, 202611) == {USUAL: {"opening": 1, "disconnected": 1, "gone": 1}}
    shop.later(days=31)
    night(shop, *pairs(shop.send(row("E", quantity="1"), name="e.csv")), days=0)
    assert figures(shop, 202612)[USUAL] == {"orders_placed": 1, "cards_placed": 1, "released": 1, "added": 1, "closing": 1}


# -- when they are written, and for whom -------------------------------------------------------------------------------


def two_months(shop: Shop) -> None:
    """Cards of acme, globex and the operator that are ready in October, and the night before the first one of November."""
    house = shop.send(row("H", quantity="1"), source="house", name="h.csv")
    theirs = shop.send(row("G", account="20098765", product="8001", quantity="2"), source="globex", name="g.csv")
    mine = shop.send(row("A", code=" ".join(CODES[:3])))
    night(shop, *pairs(house), *pairs(theirs), *pairs(mine)[:2], days=0)
    shop.now = datetime(2026, 11, 1, 2, tzinfo=shop.now.tzinfo)
    shop.report((pairs(mine)[0][0], pairs(mine)[0][1]), name="november.csv")


HOUSE = "reconciliation/statements-2026-10.xlsx"
NOVEMBER = [f"{where}.{kind}" for where in ("acme/statement-2026-10", "globex/statement-2026-10",
            "reconciliation/statements-2026-10") for kind in ("csv", "xlsx")]  # fmt: skip


def test_the_first_night_after_a_month_states_it_and_no_other_does(shop: Shop) -> None:
    two_months(shop)
    assert outbox(shop) == []
    shop.night()
    assert outbox(shop) == NOVEMBER
    assert problems(shop) == []
    written = {name: (shop.settings.outbox / name).stat().st_mtime_ns for name in NOVEMBER}
    night(shop, days=0)
    night(shop, days=1)
    assert {name: (shop.settings.outbox / name).stat().st_mtime_ns for name in NOVEMBER} == written


def test_a_statement_says_what_it_should(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    rows = (shop.settings.outbox / "acme/statement-2026-10.csv").read_text().splitlines()
    assert rows == [
        (
            "Month,Customer Account Number,Product Account Number,Access Number,Orders placed,Cards placed,Refused,Replaced,"
            "Surplus,Surplus disconnected,Opening,Released,Changed in,Added,Disconnected,Changed out,Gone,Closing"
        ),
        "2026-10,10023456,7001,8008604444,1,3,1,0,0,0,0,2,0,2,0,0,0,2",
    ]
    house = read_csv(shop.settings.outbox / "reconciliation/statements-2026-10.csv")
    assert house.select("Reseller", "Cards placed", "Closing").rows() == [
        ("acme", "3", "2"), ("globex", "2", "2"), ("house", "1", "1"),
    ]  # fmt: skip
    book = load_workbook(shop.settings.outbox / "acme/statement-2026-10.xlsx")
    text = " ".join(str(cell) for line in book["Summary"].values for cell in line if cell is not None)
    assert "Statement of October 2026" in text
    assert "1 order for 3 cards was placed. 0 cards were active when the month began, 2 became ready" in text
    assert "2026-10-05 to 2026-10-05: 1 night" in text
    assert [line[-1] for line in book["Lines"].values] == ["Closing", 2]
    every = load_workbook(shop.settings.outbox / HOUSE)
    assert [(line[0], line[-1]) for line in every["Resellers"].values][1:] == [("acme", 2), ("globex", 2), ("house", 1)]


def test_a_reseller_sees_only_its_own_and_no_code(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    for name in NOVEMBER:
        path = shop.settings.outbox / name
        text = path.read_text() if path.suffix == ".csv" else str([list(page.values) for page in load_workbook(path)])
        assert re.search(r"[0-9]{14}", text) is None
        if name.startswith("acme"):
            assert not re.search("globex|house|20098765|8001|8776662093", text)
        if name.startswith("globex"):
            assert not re.search("acme|house|10023456|7001", text)


def test_statements_can_be_read_by_whom_answers_can(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, share="group")
    two_months(shop)
    shop.night()
    modes = {name: (shop.settings.outbox / name).stat().st_mode & 0o777 for name in NOVEMBER}
    assert modes == {name: 0o600 if name.startswith("reconciliation") else 0o640 for name in NOVEMBER}
    assert problems(shop) == []
    shop.registry.close()


@pytest.mark.parametrize("step", ["orders closed", "statements written", "night written"])
def test_a_night_that_is_killed_leaves_statements_as_they_should_be(shop: Shop, step: str) -> None:
    two_months(shop)
    with pytest.raises(KilledError):
        shop.night(killed_at(step))
    shop.later(minutes=5)
    shop.run()
    assert outbox(shop) == NOVEMBER
    listed = read_csv(shop.settings.outbox / "acme/index.csv").filter(Answer="statement")
    assert listed.select("Time", "Path").rows() == [("2026-11-01T02:00:00-06:00", "statement-2026-10.csv")]
    assert problems(shop) == []
    shop.night()
    assert problems(shop) == []


def test_figures_that_do_not_agree_are_shown_to_the_operator_and_no_reseller(shop: Shop) -> None:
    two_months(shop)
    shop.registry.execute("UPDATE balances SET active = active + 1 WHERE reseller = 'acme'")
    result = shop.night()
    assert result["codes_ready"] == 0
    assert [str(failure).partition(":")[0] for failure in shop.failures] == [
        f"The statement of 2026-10 does not add up (see outbox/{HOUSE}), and was not written for acme"
    ]
    assert outbox(shop) == [name for name in NOVEMBER if not name.startswith("acme")]
    book = load_workbook(shop.settings.outbox / HOUSE)
    text = " ".join(str(cell) for line in book["Summary"].values for cell in line if cell is not None)
    assert "The figures do not agree: in 1 line of acme Opening + Added − Gone is not Closing." in text
    assert shop.registry.undelivered() == []
    assert "active cards of the last month differ from what came and went" in str(problems(shop))
    with pytest.raises(ContradictionError):
        exit_on(shop.failures)
    done = statements.state(shop.as_run, "2026-10", "acme")
    assert (len(done.failures), done.statements[0].adds_up, done.statements[0].workbook) == (1, False, "")
    assert statements.state(shop.as_run, "2026-10", "globex").failures == []


def test_a_reseller_whose_statement_cannot_be_written_gets_it_from_the_next_run(shop: Shop) -> None:
    two_months(shop)
    (shop.settings.outbox / "acme/statement-2026-10.csv").mkdir()
    (shop.settings.outbox / "acme/statement-2026-10.csv/in-the-way").touch()
    with pytest.raises(CardsError, match="1 statement could not be written"):
        shop.night()
    assert [name for name in outbox(shop) if not name.startswith("acme")] == NOVEMBER[2:]
    shutil.rmtree(shop.settings.outbox / "acme/statement-2026-10.csv")
    shop.later(minutes=5)
    shop.run()
    assert outbox(shop) == NOVEMBER
    assert problems(shop) == []


# -- verify, repair, report, recover -----------------------------------------------------------------------------------


def test_a_statement_that_was_changed_or_removed_is_found_and_written_again(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    before = {name: (shop.settings.outbox / name).read_bytes() for name in NOVEMBER if name.endswith(".csv")}
    (shop.settings.outbox / "acme/statement-2026-10.csv").write_text("all is well")
    (shop.settings.outbox / "globex/statement-2026-10.csv").unlink()
    (shop.settings.outbox / "reconciliation/statements-2026-10.csv").unlink()
    assert sorted(problems(shop)) == [
        ("a file of a night is missing", "statement-2026-10.csv"),
        ("a file of a night is missing", "statements-2026-10.csv"),
        ("a file of a night was changed", "statement-2026-10.csv"),
    ]
    with shared_parser():
        done = repair.repair(shop.as_run, audit.scope(), apply=True)
    assert (done.left, {one.result for one in done.findings}) == (0, {"done"})
    assert {name: (shop.settings.outbox / name).read_bytes() for name in before} == before


def test_the_report_of_a_night_writes_its_statements_again(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    before = {name: (shop.settings.outbox / name).read_bytes() for name in NOVEMBER if name.endswith(".csv")}
    for name in NOVEMBER:
        (shop.settings.outbox / name).unlink()
    with shared_parser():
        written = write_again(shop.as_run, ["2026-11-01"])
    assert {name for one in written for name in one.files if name.startswith("statement")} == {
        name.partition("/")[2] for name in NOVEMBER
    }
    assert {name: (shop.settings.outbox / name).read_bytes() for name in before} == before
    assert problems(shop) == []


def test_an_index_without_a_statement_is_completed(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    index = shop.settings.outbox / "acme/index.csv"
    whole = index.read_text()
    index.write_text("".join(line for line in whole.splitlines(keepends=True) if "statement" not in line))
    assert problems(shop) == [("an index lacks 1 answer", "index.csv")]
    with shared_parser():
        assert repair.repair(shop.as_run, audit.scope(), apply=True).left == 0
    assert sorted(index.read_text().split()) == sorted(whole.split())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("acme/statement-2031-01.csv", "the registry does not know a statement"),
        ("acme/statement-2026-11.xlsx", "the registry does not know a statement"),
        ("reconciliation/statements-2031-01.xlsx", "the registry does not know a statement"),
        ("acme/statement-mine.csv", "this program did not write a file"),
        ("network/statement-2026-10.csv", "this program did not write a file"),
        ("reconciliation/statements-2026-10.pdf", "this program did not write a file"),
    ],
)
def test_what_looks_like_a_statement_and_is_none_is_found(shop: Shop, name: str, what: str) -> None:
    two_months(shop)
    shop.night()
    path = shop.settings.outbox / name
    path.write_text("")
    path.chmod(0o600)
    assert problems(shop) == [(what, path.name)]


def test_a_restored_registry_gets_nights_back_with_their_statements(shop: Shop, new_registry: NewRegistry) -> None:
    two_months(shop)
    backup = backup_of(shop.registry)
    shop.night()
    before = {name: (shop.settings.outbox / name).read_bytes() for name in NOVEMBER}
    with new_registry() as other:
        restore(shop, backup, other)
        with shared_parser():
            done = recover(shop.as_run)
        assert (done.nights, done.findings) == (1, [])
        assert problems(shop) == []
        shop.run()
        assert {name: (shop.settings.outbox / name).read_bytes() for name in NOVEMBER} == before
        (shop.settings.outbox / "acme/statement-2026-10.csv").write_text("all is well")
        assert problems(shop) == [("a file of a night was changed", "statement-2026-10.csv")]


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_month_that_goes_on_is_stated_so_far_until_a_night_states_it(shop: Shop) -> None:
    two_months(shop)
    done = statements.state(shop.as_run, "2026-10")
    assert (done.is_over, done.nights, done.last_night) == (False, 1, "2026-10-05")
    assert outbox(shop) == [name.replace("2026-10", "2026-10-so-far") for name in NOVEMBER]
    book = load_workbook(shop.settings.home / done.workbook)
    text = " ".join(str(cell) for line in book["Summary"].values for cell in line if cell is not None)
    assert "October 2026, so far" in text
    assert "This month is stated until the night of 2026-10-05: no night of a later month has run yet." in text
    assert read_csv(shop.settings.outbox / "acme/index.csv").filter(Answer="statement").is_empty()
    assert problems(shop) == []
    shop.night()
    assert outbox(shop) == NOVEMBER
    assert statements.state(shop.as_run, "2026-11", "acme").statements[0].closing == 2
    assert outbox(shop) == sorted([*NOVEMBER, "acme/statement-2026-11-so-far.csv", "acme/statement-2026-11-so-far.xlsx"])
    assert problems(shop) == []


def test_a_month_that_is_over_is_stated_again_with_the_same_bytes(shop: Shop) -> None:
    two_months(shop)
    shop.night()
    before = {name: (shop.settings.outbox / name).read_bytes() for name in NOVEMBER if name.endswith(".csv")}
    shop.later(days=40)
    done = statements.state(shop.as_run, "2026-10")
    assert [(one.reseller, one.closing, one.workbook) for one in done.statements] == [
        ("acme", 2, "outbox/acme/statement-2026-10.xlsx"), ("globex", 2, "outbox/globex/statement-2026-10.xlsx"),
        ("house", 1, ""),
    ]  # fmt: skip
    assert {name: (shop.settings.outbox / name).read_bytes() for name in before} == before
    assert read_csv(shop.settings.outbox / "acme/index.csv").filter(Answer="statement").height == 1
    assert problems(shop) == []


def test_a_month_before_any_night_has_an_empty_statement_that_says_so(shop: Shop) -> None:
    done = statements.state(shop.as_run, "2026-10")
    assert (done.is_over, done.nights, done.statements) == (False, 0, [])
    two_months(shop)
    done = statements.state(shop.as_run, "2026-05", "acme")
    assert (done.is_over, done.nights, done.statements[0].closing) == (True, 0, 0)
    book = load_workbook(shop.settings.outbox / "acme/statement-2026-05.xlsx")
    text = " ".join(str(cell) for line in book["Summary"].values for cell in line if cell is not None)
    assert "No card was active, nothing was ordered, and nothing happened to any card." in text
    assert problems(shop) == []
    (shop.settings.outbox / "acme/statement-2026-05.csv").unlink()
    assert problems(shop) == [("a file of a night is missing", "statement-2026-05.csv")]
    with shared_parser():
        assert repair.repair(shop.as_run, audit.scope(), apply=True).left == 0
    assert (shop.settings.outbox / "acme/statement-2026-05.csv").exists()


@pytest.mark.parametrize("month", ["2026-11", "2027-01", "2026-13", "2026-00", "0000-01", "26-10", "october", "2026-10-05",
                                   "202610", "２０２６-10", ""])  # fmt: skip
def test_a_month_that_is_none_or_has_not_begun_is_wrong_usage(shop: Shop, month: str) -> None:
    with pytest.raises(UsageError, match="--month"):
        statements.state(shop.as_run, month)
    assert outbox(shop) == []


@pytest.mark.parametrize("reseller", ["nobody", "house", "../acme"])
def test_a_reseller_that_is_none_is_wrong_usage(shop: Shop, reseller: str) -> None:
    with pytest.raises(UsageError, match="--reseller"):
        statements.state(shop.as_run, "2026-10", reseller)
    assert outbox(shop) == []


def test_while_a_night_runs_nothing_is_stated(shop: Shop) -> None:
    two_months(shop)
    with open_registry(shop.settings.registry) as other, other.reconciliation_lock(), pytest.raises(CardsError):
        statements.state(shop.as_run, "2026-10")
    assert outbox(shop) == []


def test_the_command(tmp_path: Path) -> None:
    house = House(tmp_path)
    done = house.process("statement", "--month", "2026-10", "--json")
    assert done.document | {"nights": 0, "statements": []} == done.document
    assert house.process("statement", "--month", "2126-10").code == 2
    assert house.process("statement", "--month", "2026-1").code == 2
    assert house.process("statement").code == 2
    result = house.process("statement", "--month", "2026-10", "--reseller", "acme")
    assert (result.code, result.error) == (0, "")
    assert "outbox/acme/statement-2026-10-so-far.xlsx" in "".join(result.out.split())


def test_every_figure_has_a_header_and_every_movement_is_counted_or_left_out_on_purpose() -> None:
    assert set(HEADERS) == {*GROUP, *statement.FIGURES}
    counted = {movement for movements in statement.COUNTED.values() for movement in movements}
    assert {str(movement) for movement in statement.Movement} - counted == {"blocked", "unblocked"}
