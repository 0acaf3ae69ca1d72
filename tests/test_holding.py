"""Orders in part, resellers that guess at codes, answers that can't be written, and what one reseller learns of another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.common.errors import CardsError
from tests.conftest import EXTERNAL, NewRegistry, Shop, csv_of, row, some_codes

pytestmark = pytest.mark.one_database

GLOBEX = {"account": "20098765", "product": "8001"}


def test_a_whole_mended_file_of_orders_in_part_can_be_dropped_again(shop: Shop) -> None:
    first, second, third = some_codes(3)
    rows = [row("ONE", **GLOBEX, code=first), row("ONE", **GLOBEX, code="73905162845555")]
    answer = shop.send(*rows, source="globex")
    assert (answer.codes, answer.reasons) == ([first], {3: ["CODE_RUN"]})
    again = shop.send(*rows, row("TWO", **GLOBEX, code=third), name="again.csv", source="globex")
    assert again.result["orders_already_placed"] == 1
    assert again.result["orders_placed"] == 1
    assert again.reasons == {3: ["ORDER_ID_USED", "CODE_RUN"]}
    fixed = shop.send(rows[0], row("ONE-B", **GLOBEX, code=second), name="fixed.csv", source="globex")
    assert fixed.result["orders_already_placed"] == 1
    assert fixed.codes == [second]
    assert fixed.reasons == {}


def test_of_an_order_in_part_every_row_is_reported_as_placed_when_all_were(shop: Shop) -> None:
    codes = some_codes(4)
    rows = [row("ONE", **GLOBEX, code=code) for code in codes]
    assert shop.send(*rows, source="globex").result["orders_placed"] == 1
    again = shop.send(*reversed(rows), name="again.csv", source="globex")
    assert (again.result["orders_already_placed"], again.result["rows_rejected"], again.codes) == (1, 0, [])


def test_another_field_of_an_order_in_part_is_other_content(shop: Shop) -> None:
    (code,) = some_codes(1)
    shop.send(row("ONE", **GLOBEX, code=code), source="globex")
    answer = shop.send(row("ONE", **GLOBEX, code=code, termination="Yes"), name="again.csv", source="globex")
    assert answer.reasons == {2: ["ORDER_ID_USED", "CODE_TAKEN"]}


@pytest.fixture
def limited(tmp_path: Path, new_registry: NewRegistry) -> Iterator[Shop]:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_taken_code_attempts=10)
        yield shop
        shop.registry.close()


def taken_code_attempts(shop: Shop, many: int) -> list[dict[str, str]]:
    """An order for codes that globex has."""
    taken = some_codes(many, seed=77)
    shop.send(*(row("THEIRS", **GLOBEX, code=code) for code in taken), name="theirs.csv", source="globex")
    return [row("GUESS", code=code) for code in taken]


def test_who_asks_for_too_many_taken_codes_is_held_and_learns_nothing_more(limited: Shop) -> None:
    rows = taken_code_attempts(limited, 16)
    assert limited.send(*rows[:6], name="a.csv").result["reasons"] == {"CODE_TAKEN": 6}
    held = limited.send(*rows[6:14], row("FREE", code=some_codes(1)[0]), name="b.csv")
    assert held.result["reasons"] == {"FILE_HELD": 1}
    assert held.codes == []
    assert {reason for reasons in held.reasons.values() for reason in reasons} == {"FILE_HELD"}
    assert limited.send(row("FREE", code=some_codes(1)[0]), name="c.csv").result["reasons"] == {"FILE_HELD": 1}
    assert limited.send(row("RANDOM", quantity="3"), name="d.csv").result["codes_placed"] == 3
    assert limited.send(row("MINE", **GLOBEX, code=some_codes(2)[1]), name="e.csv", source="globex").result["codes_placed"] == 1


def test_the_operator_releases_who_is_held(limited: Shop) -> None:
    rows = taken_code_attempts(limited, 12)
    assert limited.send(*rows, name="a.csv").result["reasons"] == {"FILE_HELD": 1}
    assert limited.registry.clear_hold("acme", limited.runtime.timestamp()) == (True, 0)
    assert limited.registry.clear_hold("nobody", limited.runtime.timestamp()) == (False, 0)
    assert limited.send(row("FREE", code=some_codes(1)[0]), name="b.csv").result["codes_placed"] == 1


def test_an_answer_that_cant_be_written_stops_no_other_and_is_written_later(shop: Shop) -> None:
    first, second = some_codes(2)
    shop.drop("a.csv", csv_of(row("ONE", code=first)))
    shop.drop("b.csv", csv_of(row("TWO", **GLOBEX, code=second)), source="globex")
    blocked = shop.settings.outbox / "acme"
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    for _ in range(2):  # the second run meets it first
        shop.run()
        assert "outbox/acme" in str(shop.failures[0])
    assert [path.name for path in shop.waiting()] == ["a.csv"]
    assert list((shop.settings.outbox / "globex").glob("*/b.csv"))
    blocked.unlink()
    (answer,) = shop.run()
    assert answer.codes == [first]
    assert shop.waiting() == []


def test_a_reseller_whose_folder_is_in_the_way_keeps_no_other_from_its_release(shop: Shop) -> None:
    first, second = some_codes(2)
    shop.send(row("ONE", code=first), name="a.csv")
    shop.send(row("TWO", **GLOBEX, code=second), name="b.csv", source="globex")
    shop.report(("10023456-1", first), ("20098765-1", second))
    away = shop.settings.outbox / "away"
    (shop.settings.outbox / "acme").rename(away)
    (shop.settings.outbox / "acme").write_text("in the way")
    with pytest.raises(CardsError, match="could not be written"):
        shop.night()
    assert list((shop.settings.outbox / "globex").rglob("release-20098765-1-*.csv"))
    assert list((shop.settings.outbox / "reconciliation").glob("*.xlsx"))
    (shop.settings.outbox / "acme").unlink()
    away.rename(shop.settings.outbox / "acme")
    shop.night()
    assert list((shop.settings.outbox / "acme").rglob("release-10023456-1-*.csv"))


@pytest.mark.parametrize(
    ("theirs", "nobodys"),
    [
        ({"account": "20098765", "product": "8001"}, {"account": "99999999", "product": "8001"}),
        ({"product": "8001"}, {"product": "9999"}),
        ({"access_number": "877-666-2093"}, {"access_number": "877-666-2094"}),
        ({"action": "Block", "product": "", "access_number": "", "quantity": "", "code": "THEIRS"},
         {"action": "Block", "product": "", "access_number": "", "quantity": "", "code": "61750384920999"}),
        ({"action": "Block", "product": "", "access_number": "", "quantity": "", "target_order_id": "20098765-1"},
         {"action": "Block", "product": "", "access_number": "", "quantity": "", "target_order_id": "20098765-9"}),
        ({"account": "20098765", "customer_order_id": "THEIRS"}, {"account": "20098765", "customer_order_id": "NOBODYS"}),
    ],
    ids=["account", "product", "access number", "card", "Order ID", "Customer Order ID"],
)  # fmt: skip
def test_what_belongs_to_another_gets_the_answer_of_what_does_not_exist(
    theirs: dict[str, str], nobodys: dict[str, str], shop: Shop
) -> None:
    code = some_codes(1, seed=5)[0]
    shop.send(row("THEIRS", **GLOBEX, code=code), name="theirs.csv", source="globex")
    result = []
    for name, cells in (("a", theirs), ("b", nobodys)):
        written = {key: code if value == "THEIRS" and key == "code" else value for key, value in cells.items()}
        answer = shop.send(row(**{"customer_order_id": "MINE", "quantity": "1", **written}), name=f"{name}.csv")
        words = answer.rejections["What to fix"][0]
        for text in written.values():
            words = words.replace(text, "…") if text else words
        result.append((answer.result["reasons"], words, answer.result["orders_rejected"], answer.result["codes_placed"]))
    assert result[0] == result[1]
    assert result[0][0]


def test_a_taken_code_tells_nothing_of_who_has_it(shop: Shop) -> None:
    theirs, mine = some_codes(2, seed=6)
    shop.send(row("THEIRS", **GLOBEX, code=theirs), name="theirs.csv", source="globex")
    shop.send(row("MINE", code=mine), name="mine.csv")
    answer = shop.send(row("A", code=theirs), row("B", code=mine), row("C", code=str(EXTERNAL[0])), name="all.csv")
    words = {
        text.replace(code, "…")
        for text, code in zip(answer.rejections["What to fix"], (theirs, mine, str(EXTERNAL[0])), strict=True)
    }
    assert len(words) == 1


def test_without_a_catalogue_nothing_is_rejected_and_the_files_wait(shop: Shop) -> None:
    accounts, numbers = shop.registry.catalogue()
    shop.registry.load_catalogue(accounts.clear(), numbers.clear())
    shop.drop("orders.csv", csv_of(row("ONE", quantity="1")))
    with pytest.raises(CardsError, match="cards catalogue load FILE"):
        shop.run()
    assert [path.name for path in shop.waiting()] == ["orders.csv"]
    shop.registry.load_catalogue(accounts, numbers)
    assert [answer.result["codes_placed"] for answer in shop.run()] == [1]
