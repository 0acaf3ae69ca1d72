"""Large orders: they are checked in full and wait, the operator approves or rejects them, the reseller may take them back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from pipelines.admin import approvals, lists, queries, trail
from pipelines.admin.audit import Scope, verify
from pipelines.common.errors import CardsError, UsageError
from pipelines.process_orders import process_inbox
from pipelines.registry.order_holds import open_holds
from pipelines.run import Run
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Answer, Shop, csv_of, read_csv, row, sampled, some_codes

pytestmark = pytest.mark.one_database

LIMIT = 3
CODES = some_codes(6)


@pytest.fixture
def shop(registry_url: str, tmp_path: Path) -> Any:
    made = Shop(tmp_path / "home", registry_url, approve_above=LIMIT)
    yield made
    made.registry.close()


def holds(shop: Shop) -> list[tuple[str, str, int]]:
    """The orders that wait: hold, Customer Order ID, codes."""
    return [(one.hold, one.customer_order_id, one.codes) for one in approvals.orders_on_hold(shop.as_run)]


def approve(shop: Shop, hold: str) -> list[dict[str, Any]]:
    return [vars(one) for one in approvals.approve(shop.as_run, hold, "Ana", "their trade fair").results]


def cancel(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, action="Cancel", **{"product": "", "access_number": "", **cells})


def placed(shop: Shop) -> set[str]:
    """The Customer Order IDs of all placed orders."""
    return set(
        shop.registry.query("SELECT customer_order_id FROM orders", {"customer_order_id": pl.String})["customer_order_id"]
    )


def status_of(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((answer.folder / "status.json").read_text())
    return found


class Killed(BaseException):
    """The end of a process."""


def dying(shop: Shop, step: str) -> Run:
    def reached(name: str) -> None:
        if name == step:
            raise Killed

    return Run(shop.settings, shop.registry, shop.runtime._replace(checkpoint=reached))


# -- what waits ------------------------------------------------------------------------------------------------------------


def test_an_order_above_the_limit_waits_and_the_others_of_its_file_are_placed(shop: Shop) -> None:
    answer = shop.send(
        row("A", quantity=str(LIMIT)), row("B", quantity=str(LIMIT + 1)), row("C", access_number="123", quantity="1")
    )
    result = answer.result
    assert (result["orders_placed"], result["orders_on_hold"], result["orders_rejected"]) == (1, 1, 1)
    assert (result["rows_rejected"], result["reasons"]) == (1, {"ACCESS_FORMAT": 1, "ORDER_ON_HOLD": 1})
    assert placed(shop) == {"A"}
    assert holds(shop) == [("H1", "B", LIMIT + 1)]
    assert answer.reasons == {3: ["ORDER_ON_HOLD"], 4: ["ACCESS_FORMAT"]}
    status = status_of(answer)
    (waiting,) = status["on_hold"]
    assert waiting == {"customer_order_id": "B", "customer_account": "10023456", "codes": 4, "state": "waiting", "decided": ""}
    assert status["rejected"]["orders"] == 1


@pytest.mark.parametrize(
    "cells",
    [[{"code": code} for code in CODES[:4]], [{"btn": "3035550142", "quantity": "4"}], [{"quantity": "4"}]],
    ids=["Specified", "BTN+4", "Random"],
)
def test_all_code_types_count_and_an_approved_order_is_placed_whole(cells: list[dict[str, str]], shop: Shop) -> None:
    answer = shop.send(*(row("A", **one) for one in cells))
    assert (answer.result["orders_on_hold"], placed(shop)) == (1, set())
    assert answer.codes == []
    (done,) = approve(shop, "H1")
    assert (done["orders_placed"], done["codes_placed"], done["reasons"]) == (1, 4, {})
    assert holds(shop) == []
    assert len(shop.placements()) == 4


def test_the_limit_of_the_catalogue_goes_before_the_setting(shop: Shop) -> None:
    own = ACCOUNTS.with_columns(approve_above=pl.when(pl.col("reseller") == "globex").then(10).otherwise(0).cast(pl.Int64))
    shop.registry.load_catalogue(own, ACCESS_NUMBERS)
    globex = {"account": "20098765", "product": "8001", "source": "globex"}
    source = globex.pop("source")
    assert shop.send(row("A", quantity="10", **globex), source=source).result["orders_placed"] == 1
    assert shop.send(row("B", quantity="11", **globex), name="b.csv", source=source).result["orders_on_hold"] == 1
    assert shop.send(row("C", quantity="4"), name="c.csv").result["orders_on_hold"] == 1
    assert shop.send(row("D", quantity="4"), name="d.csv", source="house").result["orders_on_hold"] == 1


def test_an_order_that_is_wrong_is_rejected_at_once_and_waits_for_nobody(shop: Shop) -> None:
    shop.send(row("Z", code=CODES[0]))
    answer = shop.send(*(row("A", code=code) for code in CODES[:4]), name="a.csv")
    assert (answer.result["orders_on_hold"], holds(shop)) == (0, [])
    assert set(answer.result["reasons"]) == {"CODE_TAKEN", "ORDER_INCOMPLETE"}


def test_a_large_order_of_many_rows_is_no_flood_of_errors(registry_url: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", registry_url, approve_above=LIMIT, max_findings=20)
    many = some_codes(60)
    answer = shop.send(*(row("A", code=code) for code in many[:30]), row("B", quantity="1"))
    assert (answer.result["reasons"], answer.result["rows"], placed(shop)) == ({"ORDER_ON_HOLD": 10}, 31, {"B"})
    assert holds(shop) == [("H1", "A", 30)]
    broken = [row(f"C{number}", quantity="x") for number in range(15)]
    answer = shop.send(*(row("H", code=code) for code in many[30:]), *broken, name="flood.csv")
    assert "FILE_TOO_MANY_ERRORS" in answer.result["reasons"]
    assert [name for _, name, _ in holds(shop)] == ["A"]
    (done,) = approve(shop, "H1")
    assert (done["orders_placed"], done["codes_placed"]) == (1, 30)
    shop.registry.close()


def test_a_flood_of_large_orders_is_refused_as_a_whole(registry_url: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", registry_url, approve_above=LIMIT, max_findings=20)
    answer = shop.send(*(row(f"A{number}", quantity="9") for number in range(21)))
    assert ("FILE_TOO_MANY_ERRORS" in answer.result["reasons"], holds(shop)) == (True, [])
    shop.registry.close()


def test_rows_of_a_reseller_that_orders_in_part_wait_together(shop: Shop) -> None:
    globex = {"account": "20098765", "product": "8001"}
    codes = some_codes(30)
    answer = shop.send(*(row("A", code=code, **globex) for code in codes), source="globex")
    assert (answer.result["orders_on_hold"], answer.codes, answer.result["reasons"]) == (1, [], {"ORDER_ON_HOLD": 10})
    (done,) = approve(shop, "H1")
    assert (done["orders_placed"], done["codes_placed"]) == (1, 30)


def test_what_waits_uses_up_no_quota_and_no_code(registry_url: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", registry_url, approve_above=LIMIT, max_daily_codes=5)
    assert shop.send(row("A", quantity="4"), row("B", quantity="3")).result["orders_on_hold"] == 1
    assert placed(shop) == {"B"}
    assert shop.send(row("C", quantity="2"), name="c.csv").result["orders_placed"] == 1
    (done,) = approve(shop, "H1")  # it was checked again, and today it is too much
    assert (done["orders_placed"], done["reasons"]) == (0, {"QUOTA_EXCEEDED": 1})
    assert holds(shop) == []
    shop.later(days=1)
    assert (
        shop.send(row("A", quantity="4"), row("B", quantity="3"), name="again.csv").result["orders_placed"] == 1
    )  # it was approved
    shop.registry.close()


def test_the_same_order_dropped_again_keeps_its_hold_and_another_takes_its_place(shop: Shop) -> None:
    first = shop.send(row("A", quantity="4"))
    assert shop.send(row("A", quantity="4"), row("B", quantity="1"), name="more.csv").result["orders_on_hold"] == 1
    assert [one.result["orders_on_hold"] for one in [first, shop.send(row("A", quantity="4"), name="orders.csv")]] == [1, 1]
    assert holds(shop) == [("H1", "A", 4)]
    shop.send(row("A", quantity="5"), name="other.csv")
    assert holds(shop) == [("H2", "A", 5)]
    with pytest.raises(UsageError, match="H1 was superseded already"):
        approve(shop, "H1")
    shop.send(row("A", quantity="2"), name="small.csv")
    assert (holds(shop), placed(shop)) == ([], {"A", "B"})
    with pytest.raises(UsageError, match="H2 was superseded already"):
        approve(shop, "H2")


# -- decisions -------------------------------------------------------------------------------------------------------------


def test_an_approval_is_kept_and_shown_without_the_operator_to_the_reseller(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"), row("B", quantity="4"))
    shop.later(hours=1)
    (done,) = approve(shop, "h1")
    new = shop.settings.home / done["folder"]
    assert (done["orders_placed"], done["orders_already_placed"], done["rows"]) == (1, 0, 1)  # of the file, just that order
    (old,), (now,) = status_of(answer)["on_hold"], json.loads((new / "status.json").read_text())["on_hold"]
    assert old == now
    assert (old["state"], old["decided"]) == ("placed", "2026-10-05T10:30:00-06:00")
    texts = [cell.value for line in openpyxl.load_workbook(new / "confirmation.xlsx")["Summary"].iter_rows() for cell in line]
    assert "Order B approved" in texts
    assert any("because the operator has decided" in str(text) for text in texts)
    for path in shop.settings.outbox.joinpath("acme").rglob("*"):
        assert b"Ana" not in (path.read_bytes() if path.is_file() else b"")
        assert b"trade fair" not in (path.read_bytes() if path.is_file() else b"")
    assert queries.order("10023456-2", shop.registry).approval == "by Ana at 2026-10-05T10:30:00-06:00: their trade fair"
    assert queries.order("10023456-1", shop.registry).approval == ""
    (entry,) = [one for one in trail.trail(shop.as_run, "", "", 10).entries if "order" in one.action and "Ana" in one.who]
    assert (entry.action, entry.subject, entry.about) == (
        "approved an order", "order B of account 10023456 (4 codes)", "their trade fair"
    )  # fmt: skip
    assert verify(shop.settings, shop.registry, Scope()).findings == []


def test_a_rejected_order_is_answered_and_stays_rejected(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"))
    (done,) = approvals.reject(shop.as_run, "H1", "Ana", "too many").results
    assert (done.orders_rejected, done.orders_on_hold, done.reasons) == (1, 0, {"ORDER_NOT_APPROVED": 1})
    assert status_of(answer)["on_hold"][0]["state"] == "rejected"
    again = shop.send(row("A", quantity="4"), name="again.csv")
    assert (again.result["reasons"], holds(shop)) == ({"ORDER_NOT_APPROVED": 1}, [])
    with pytest.raises(UsageError, match="H1 was rejected already, by Ana: too many"):
        approve(shop, "H1")
    assert shop.send(row("A", quantity="5"), name="other.csv").result["orders_on_hold"] == 1


def test_several_orders_of_a_file_are_decided_one_by_one(shop: Shop) -> None:
    shop.send(row("A", quantity="4"), row("B", quantity="5"), row("C", quantity="6"))
    assert [one["orders_placed"] for one in approve(shop, "H2")] == [1]
    assert holds(shop) == [("H1", "A", 4), ("H3", "C", 6)]
    approvals.reject(shop.as_run, "H1", "Ana", "no")
    assert [one["orders_placed"] for one in approve(shop, "H3")] == [1]
    assert placed(shop) == {"B", "C"}
    with pytest.raises(UsageError, match="H2 was approved and placed already, by Ana"):
        approve(shop, "H2")


def test_a_decision_concerns_just_its_order(shop: Shop) -> None:
    """What the others of its file have become meanwhile, and what they would become now, does not count."""
    shop.send(row("A", quantity="4"), row("B", quantity="5"), row("C", quantity="6"), row("D", product="9", quantity="1"))
    shop.send(cancel("A"), name="a.csv")
    shop.send(row("B", quantity="7"), name="b.csv")
    more = pl.concat([ACCOUNTS, ACCOUNTS.head(1).with_columns(product=pl.lit("9"))])
    shop.registry.load_catalogue(more, ACCESS_NUMBERS)
    assert [one["orders_placed"] for one in approve(shop, "H3")] == [1]
    assert (placed(shop), holds(shop)) == ({"C"}, [("H4", "B", 7)])


@pytest.mark.parametrize("hold", ["H7", "H99999999999999999", "20261005-093000-orders", "1", "A"])
def test_what_waits_for_nothing_can_not_be_approved(hold: str, shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    with pytest.raises(UsageError, match=r"See: cards holds\."):
        approve(shop, hold)
    with pytest.raises(UsageError, match="Say who decides, and why"):
        approvals.approve(shop.as_run, "H1", "", "why")


def test_an_original_that_was_lost_is_reported_and_the_approval_stays(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"))
    (answer.folder / "orders.csv").unlink()
    with pytest.raises(CardsError, match="its original was not kept"):
        approve(shop, "H1")
    assert (shop.run(), shop.failures) == ([], [])  # once is enough
    assert shop.send(row("A", quantity="4"), name="again.csv").result["orders_placed"] == 1


def test_what_waits_is_listed_and_shown_in_the_nights_workbook(shop: Shop) -> None:
    shop.send(row("A", quantity="4"), row("B", quantity="5"))
    shop.later(hours=1)
    approve(shop, "H1")
    shop.later(hours=1)
    shop.night()
    book = openpyxl.load_workbook(next(shop.settings.outbox.glob("reconciliation/*.xlsx")))
    rows = [[str(cell.value) for cell in line] for line in book["Decisions"].iter_rows()]
    assert any("order A of account 10023456 (4 codes)" in line and "their trade fair" in line for line in rows)
    shop.later(days=1)
    shop.night()
    assert "Decisions" not in openpyxl.load_workbook(shop.settings.outbox / "reconciliation/2026-10-06.xlsx").sheetnames
    page = lists.holds(shop.registry)
    document = lists.hold_list(page, [], approvals.orders_on_hold(shop.as_run))
    assert [one.hold for one in document.orders] == ["H2"]


# -- taking back -------------------------------------------------------------------------------------------------------------


def test_a_reseller_takes_back_an_order_that_waits(shop: Shop) -> None:
    first = shop.send(row("A", quantity="4"))
    answer = shop.send(cancel("A"), name="cancel.csv")
    assert (answer.result["orders_cancelled"], answer.result["orders_rejected"], answer.result["reasons"]) == (1, 0, {})
    assert status_of(answer)["on_hold"] == status_of(first)["on_hold"]
    assert status_of(first)["on_hold"][0]["state"] == "cancelled"
    with pytest.raises(UsageError, match="H1 was cancelled already, by acme"):
        approve(shop, "H1")
    assert len(shop.placements()) == 0
    again = shop.send(cancel("A"), name="cancel.csv")  # the same bytes, and nothing waits any more
    assert (again.result["orders_cancelled"], again.result["reasons"]) == (0, {"ORDER_NOT_WAITING": 1})
    assert verify(shop.settings, shop.registry, Scope()).findings == []


def test_an_approval_that_was_not_used_yet_can_be_taken_back(shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    with pytest.raises(Killed):
        approvals.approve(dying(shop, "decided"), "H1", "Ana", "yes")
    shop.drop("cancel.csv", csv_of(cancel("A")))
    results = shop.run()  # what was approved comes first: it is placed before the file that takes it back is looked at
    assert [one.result["orders_placed"] for one in results] == [1, 0]
    assert placed(shop) == {"A"}


def test_a_file_that_is_rejected_as_a_whole_takes_nothing_back(shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    answer = shop.send({**cancel("A"), "Account": "10023456"}, name="cancel.csv")
    assert (set(answer.result["reasons"]), holds(shop)) == ({"COLUMN_REPEATED"}, [("H1", "A", 4)])


@pytest.mark.parametrize(
    ("cells", "reasons"),
    [
        ({"customer_order_id": "B"}, {"ORDER_NOT_WAITING": 1}),  # there is none
        ({"account": "20098765"}, {"ACCOUNT_UNKNOWN": 1}),  # somebody else's
        ({"account": "00200300"}, {"ORDER_NOT_WAITING": 1}),  # another account of theirs
    ],
)
def test_nothing_else_can_be_taken_back(cells: dict[str, str], reasons: dict[str, int], shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    answer = shop.send(cancel(**{"customer_order_id": "A", **cells}), name="cancel.csv")
    assert (answer.result["reasons"], holds(shop)) == (reasons, [("H1", "A", 4)])


def test_what_is_placed_can_not_be_taken_back(shop: Shop) -> None:
    shop.send(row("A", quantity="1"))
    assert shop.send(cancel("A"), name="cancel.csv").result["reasons"] == {"ORDER_NOT_WAITING": 1}
    assert placed(shop) == {"A"}


def test_the_rows_of_an_order_may_be_sent_again_to_take_it_back(shop: Shop) -> None:
    """Cells that say nothing then are not looked at, so no codes are drawn or named by them."""
    shop.send(*(row("A", code=code) for code in CODES[:4]))
    answer = shop.send(*(row("A", action="Cancel", code=code) for code in CODES[:4]), name="cancel.csv")
    assert (answer.result["orders_cancelled"], answer.result["codes_placed"], holds(shop)) == (1, 0, [])
    assert shop.send(*(row("B", code=code) for code in CODES[:3]), name="b.csv").result["orders_placed"] == 1


def test_a_file_that_only_takes_back_needs_three_columns(shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    shop.drop("cancel.csv", "Action,Customer Account Number,Customer Order ID\ncancel,10023456,A\n")
    (answer,) = shop.run()
    assert (answer.result["orders_cancelled"], answer.result["reasons"]) == (1, {})


def test_one_order_can_not_be_ordered_and_taken_back_in_one_file(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"), cancel("A"))
    assert (
        set(answer.result["reasons"]) == {"ORDER_CONFLICT", "ORDER_INCOMPLETE"} or "ORDER_CONFLICT" in answer.result["reasons"]
    )
    assert (holds(shop), placed(shop)) == ([], set())


def test_files_of_one_run_take_effect_in_their_order(shop: Shop) -> None:
    shop.drop("1.csv", csv_of(row("A", quantity="4")))
    shop.drop("2.csv", csv_of(cancel("A")))
    shop.drop("3.csv", csv_of(row("A", quantity="5")))
    result = [
        (one.result["orders_on_hold"], one.result["orders_cancelled"])
        for one in sorted(shop.run(), key=lambda one: one.result["file"])
    ]
    assert result == [(1, 0), (0, 1), (1, 0)]
    assert holds(shop) == [("H2", "A", 5)]


# -- crashes, and others at work ---------------------------------------------------------------------------------------------


STEPS = ["decided", "read", "committed", "placement written", "folder written", "delivered"]


@pytest.mark.parametrize("step", sampled(STEPS, "decided", "committed", "folder written", others=pytest.mark.slow))
@pytest.mark.parametrize("decide", [approvals.approve, approvals.reject])
def test_a_decision_survives_a_crash_at_any_step(decide: Callable[..., Any], step: str, shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"), row("B", quantity="4"))
    if not (decide is approvals.reject and step == "placement written"):
        with pytest.raises(Killed):
            decide(dying(shop, step), "H1", "Ana", "because")
    else:
        decide(shop.as_run, "H1", "Ana", "because")  # it places nothing
    results = shop.run()
    assert shop.failures == []
    is_approved = decide is approvals.approve
    assert placed(shop) == ({"A", "B"} if is_approved else {"A"})
    assert len(shop.placements()) == (5 if is_approved else 1)
    assert len(results) <= 1
    assert status_of(answer)["on_hold"][0]["state"] == ("placed" if is_approved else "rejected")
    assert shop.run() == []
    assert open_holds(shop.registry).is_empty()
    assert verify(shop.settings, shop.registry, Scope()).findings == []


@pytest.mark.parametrize("step", ["decided", "committed", "folder written", "archived", "delivered"])
def test_an_order_is_put_on_hold_once_whatever_dies(step: str, shop: Shop) -> None:
    shop.drop("a.csv", csv_of(row("A", quantity="4")))
    with pytest.raises(Killed):
        process_inbox(dying(shop, step))
    shop.run()
    assert holds(shop) == [("H1", "A", 4)]
    approve(shop, "H1")
    assert placed(shop) == {"A"}


def test_an_approval_that_another_uses_meanwhile_is_used_once(shop: Shop) -> None:
    """Two workers decide by it at the same time; one of them has to decide again."""
    shop.send(row("A", quantity="4"))
    shop.registry.execute("UPDATE order_holds SET decision = 1, closed_event = 1, decided_at = '2026-10-05T09:00:00-06:00'")
    other: list[Answer] = []

    def interfere(step: str) -> None:
        if step == "decided" and not other:
            other.append(shop.send(row("A", quantity="4"), name="first.csv"))

    shop.drop("again.csv", csv_of(row("A", quantity="4"), row("B", quantity="1")))
    done = process_inbox(Run(shop.settings, shop.registry, shop.runtime._replace(checkpoint=interfere)))
    assert done.failures == []
    assert placed(shop) == {"A", "B"}
    assert len(shop.placements()) == 5


def test_a_rejection_between_deciding_and_entering_counts(shop: Shop) -> None:
    shop.send(row("A", quantity="4"))
    shop.registry.execute("UPDATE order_holds SET decision = 1, closed_event = 1 WHERE hold = 1")  # approved, and tried once

    def interfere(step: str) -> None:
        if step == "decided":
            shop.registry.execute("UPDATE order_holds SET decision = 2 WHERE hold = 1")

    shop.drop("again.csv", csv_of(row("A", quantity="4"), row("B", quantity="1")))
    (result,) = process_inbox(Run(shop.settings, shop.registry, shop.runtime._replace(checkpoint=interfere))).results
    assert (result.orders_placed, result.reasons) == (1, {"ORDER_NOT_APPROVED": 1})
    assert placed(shop) == {"B"}


def test_an_approved_order_of_an_archived_submission_is_placed(shop: Shop) -> None:
    from pipelines.admin import retention

    shop.send(row("A", quantity="4"))
    shop.later(days=60)
    retention.archive("2026-11-30", "", shop.as_run)
    (done,) = approve(shop, "H1")
    assert done["orders_placed"] == 1
    assert len(read_csv(shop.settings.home / done["folder"] / "confirmation.csv")) == 4
