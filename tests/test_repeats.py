"""The same bytes again: what was placed is `already placed`, with the states of today; what may pass is judged again."""

import threading
from typing import Any

import polars as pl
import pytest
from openpyxl import load_workbook

from pipelines.admin import audit
from pipelines.process_orders import process_inbox
from pipelines.registry.store import open_registry
from pipelines.run import Run
from schemas.reasons import REASONS
from tests.conftest import EXTERNAL, Answer, NewRegistry, Shop, csv_of, read_csv, row, shared_parser, some_codes
from tests.test_orders import globex

pytestmark = pytest.mark.one_database

ONE, TWO = some_codes(2)


def again(answer: Answer) -> list[dict[str, Any]]:
    """What an answer says of orders that were placed before."""
    return read_csv(answer.folder / "already-placed.csv").rows(named=True)


def finals(shop: Shop) -> list[int]:
    """Whether each file's bytes get its answer again."""
    return shop.registry.query("SELECT final FROM events WHERE kind = 'orders' ORDER BY event", {"final": int})[
        "final"
    ].to_list()


def test_the_same_bytes_again_are_already_placed_with_the_figures_of_the_first_answer(shop: Shop) -> None:
    rows = row("A", quantity="3"), row("B", code="12"), row("C", code=ONE)
    first = shop.send(*rows)
    before, placements = shop.known_codes(), len(shop.placements())
    shop.later(days=1)
    second = shop.send(*rows, name="renamed.csv")
    assert second.folder != first.folder
    result = {**first.result, "orders_placed": 0, "orders_already_placed": 2, "codes_placed": 0}
    assert second.result == {**result, "file": "renamed.csv", "folder": second.result["folder"]}
    assert (second.codes, list(second.confirmation["State"])) == ([], ["already placed"] * 2)
    assert not (second.folder / "rejections.csv").exists()
    assert (shop.known_codes(), len(shop.placements())) == (before, placements)
    summary = " ".join(str(cell) for line in load_workbook(second.folder / "confirmation.xlsx").worksheets[0].values
                       for cell in line if cell)  # fmt: skip
    assert first.result["folder"] in summary
    assert "Do not print" not in summary
    assert [found for found in audit.verify(shop.settings, shop.registry).findings if "mode" not in found.what] == []


def test_the_states_of_today_are_counted_and_the_releases_named(shop: Shop) -> None:
    first = shop.send(row("A", quantity="3"), row("B", quantity="1"))
    a, b = (first.confirmation.filter(pl.col("Customer Order ID") == name) for name in "AB")
    shop.report(*(a.select("Order ID", "Authorization Code").rows()[:2]))
    shop.later(days=1)
    shop.night()
    result = again(shop.send(row("A", quantity="3"), row("B", quantity="1")))
    assert [(one["Customer Order ID"], one["Cards"], one["Ready"], one["Refused"], one["Awaited"]) for one in result] == [
        ("A", "3", "2", "1", "1"),  # the replacement of the refused one is awaited
        ("B", "1", "0", "0", "1"),
    ]
    assert {one["Releases in"] for one in result} == {first.result["folder"]}
    assert {one["Placed"] for one in result} == {"2026-10-05T09:30:00-06:00"}
    code = b["Authorization Code"][0]
    assert not any(code in str(one) for one in result)


def test_orders_that_take_cards_are_reported_as_done_or_awaited(shop: Shop) -> None:
    first = shop.send(row("A", quantity="1"))
    card = first.confirmation.select("Order ID", "Authorization Code").row(0)
    shop.report(card)
    shop.night()
    shop.send(row("BLOCK", action="Block", code=card[1]), name="block.csv")
    (result,) = again(shop.send(row("BLOCK", action="Block", code=card[1]), name="block.csv"))
    assert (result["Action"], result["Cards"], result["Awaited"], result["Done"]) == ("Block", "1", "1", "0")


def test_another_resubmission_has_the_states_of_what_was_placed_too(shop: Shop) -> None:
    first = shop.send(row("A", quantity="2"))
    second = shop.send(row("A", quantity="2"), row("B", quantity="1"), name="more.csv")
    assert [(one["Customer Order ID"], one["Awaited"], one["Releases in"]) for one in again(second)] == [
        ("A", "2", first.result["folder"])
    ]


def test_the_third_time_has_what_the_second_had_placed_before(shop: Shop) -> None:
    shop.send(row("A", quantity="2"))
    rows = row("A", quantity="2"), row("B", quantity="1")
    shop.send(*rows, name="more.csv")
    third = shop.send(*rows, name="more.csv")
    assert [one["Customer Order ID"] for one in again(third)] == ["A", "B"]
    assert third.result["orders_already_placed"] == 2


def test_the_answer_to_a_large_file_again_is_small(shop: Shop) -> None:
    rows = [row(f"O{number}", quantity="1") for number in range(1_500)]
    shop.send(*rows)
    second = shop.send(*rows)
    assert second.result["orders_already_placed"] == 1_500
    assert len(again(second)) == len(second.confirmation) == 1_000


def test_where_the_house_placed_an_order_is_not_shown_to_a_reseller(shop: Shop) -> None:
    shop.send(row("A", quantity="1"), name="secret plan.csv", source="house")
    (result,) = again(shop.send(row("A", quantity="1")))
    assert result["Releases in"] == ""


# -- what may pass -----------------------------------------------------------------------------------------------------


def test_a_file_with_a_card_that_was_not_ready_is_judged_anew(shop: Shop) -> None:
    card = shop.send(row("A", quantity="1")).confirmation.select("Order ID", "Authorization Code").row(0)
    rows = row("NEW", quantity="2"), row("BLOCK", action="Block", code=card[1])
    first = shop.send(*rows, name="both.csv")
    assert first.result["reasons"] == {"CARD_NOT_READY": 1}
    shop.report(card)
    shop.night()
    second = shop.send(*rows, name="both.csv")
    assert (second.result["orders_placed"], second.result["orders_already_placed"], second.result["reasons"]) == (1, 1, {})
    third = shop.send(*rows, name="both.csv")
    assert (third.result["orders_placed"], third.result["orders_already_placed"]) == (0, 2)
    assert finals(shop) == [1, 0, 1, 1]


def test_an_order_that_was_over_the_days_codes_is_placed_the_next_day(new_registry: NewRegistry, tmp_path: Any) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_daily_codes=5)
        rows = row("A", quantity="4"), row("B", quantity="4")
        assert shop.send(*rows).result["reasons"] == {"QUOTA_EXCEEDED": 1}
        same_day = shop.send(*rows)
        assert (same_day.result["orders_already_placed"], same_day.result["reasons"]) == (1, {"QUOTA_EXCEEDED": 1})
        shop.later(days=1)
        third = shop.send(*rows)
        assert (third.result["orders_placed"], third.result["orders_already_placed"], third.result["reasons"]) == (1, 1, {})
        shop.registry.close()


@pytest.mark.parametrize(
    ("cells", "final"),
    [({"product": "9"}, 0), ({"access_number": "8776662093"}, 0), ({"account": "20098765"}, 0), ({"quantity": "none"}, 1),
     ({"code": str(EXTERNAL[0]), "quantity": ""}, 1)],
)  # fmt: skip
def test_reasons_of_the_catalogue_may_pass_and_those_of_the_row_do_not(cells: dict[str, str], final: int, shop: Shop) -> None:
    shop.send(row("A", **{"quantity": "1", **cells}))
    assert finals(shop) == [final]


def test_every_reason_says_whether_it_may_pass() -> None:
    assert {"CARD_NOT_READY", "QUOTA_EXCEEDED", "FILE_HELD", "FILE_SET_ASIDE", "PRODUCT_UNKNOWN"} <= {
        code for code, reason in REASONS.items() if reason.passes
    }
    assert not any(REASONS[code].passes for code in ("CODE_TAKEN", "CODE_RUN", "ORDER_ID_USED", "ORDER_INCOMPLETE"))


def test_a_file_in_part_is_judged_anew_and_placed_rows_stay_placed(shop: Shop) -> None:
    rows = globex("G", quantity="1"), globex("G", btn="3035550188", quantity="1", product="9"), globex("H", quantity="2")
    first = shop.send(*rows, source="globex")
    assert (first.result["orders_placed"], first.result["reasons"]) == (2, {"PRODUCT_UNKNOWN": 1, "ORDER_CONFLICT": 1})
    known = shop.known_codes()
    second = shop.send(*rows, source="globex")
    assert (second.result["orders_placed"], second.result["orders_already_placed"]) == (0, 2)
    assert second.result["rows_rejected"] == 1
    assert shop.known_codes() == known


# -- at the same time --------------------------------------------------------------------------------------------------


def test_the_same_bytes_twice_in_one_run_are_placed_once(shop: Shop) -> None:
    content = csv_of(row("A", quantity="3"), row("B", code="12"))
    shop.drop("one.csv", content)
    shop.drop("two.csv", content)
    first, second = shop.run()
    assert (len(first.codes), second.codes, second.result["orders_already_placed"]) == (3, [], 1)
    assert second.result["reasons"] == first.result["reasons"]
    assert len(shop.placements()) == 3


@pytest.mark.parametrize("source", ["acme", "globex"])
@pytest.mark.parametrize("bad", [{"quantity": "none"}, {"product": "9"}], ids=["final", "may pass"])
def test_two_workers_with_the_same_bytes_place_them_once(source: str, bad: dict[str, str], shop: Shop) -> None:
    of = row if source == "acme" else globex
    content = csv_of(of("A", quantity="3"), of("B", quantity="1"), of("C", **{"quantity": "1", **bad}))
    for number in range(2):
        shop.drop(f"{number}.csv", content, source)
    both = threading.Barrier(2)
    result: list[tuple[str, int, int]] = []

    def work(number: int) -> None:
        met: list[str] = []

        def meet(step: str) -> None:
            if step == "decided" and not met:  # both have decided before either commits
                met.append(step)
                both.wait(20)

        with open_registry(shop.settings.registry_url) as registry:
            run = Run(shop.settings, registry, shop.runtime._replace(checkpoint=meet))
            done = process_inbox(run)
            assert done.failures == []
            result.extend((one.file, one.orders_placed, one.orders_already_placed) for one in done.results)

    with shared_parser(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.orders.claiming.FIRST_FILES", 1)
        workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    result += [(one.result["file"], one.result["orders_placed"], one.result["orders_already_placed"]) for one in shop.run()]
    assert sorted(counts for _, *counts in result) == [[0, 2], [2, 0]]
    assert len(shop.placements()) == 4
    assert shop.waiting() == []


# -- what is placed already uses up nothing ----------------------------------------------------------------------------


def test_rows_that_are_placed_already_use_up_no_limit(new_registry: NewRegistry, tmp_path: Any) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_quantity=10, max_daily_codes=18)
        assert len(shop.send(row("A", quantity="9")).codes) == 9
        more = shop.send(row("A", quantity="9"), row("B", quantity="9"), row("C", quantity="2"), name="more.csv")
        assert more.result["reasons"] == {"QUANTITY_LIMIT": 1}
        assert (more.result["orders_already_placed"], len(more.codes)) == (1, 9)
        shop.registry.close()
