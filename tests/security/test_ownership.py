"""Nobody learns, takes or counts what is another's: cards, Order IDs, BTNs, and codes on a screen (items 0, 2 and 6)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Answer, NewRegistry, Shop, csv_of, read_csv, row, some_codes
from tests.security.attack import BILLING, BTN, BTN_OF_ACME, BTN_OF_GLOBEX, House, contents, found_in, globex, numbers

pytestmark = pytest.mark.one_database

THEIR_ORDER = "20098765-1"
THEIR_CODES = some_codes(6, seed=77)
NOT_THEIRS = {"account": "", "product": "", "access_number": "", "action": "Block"}


def lay_their_cards(shop: Shop) -> list[str]:
    """Globex has an order of ten cards, five of them ready; all of its codes."""
    answer = shop.send(
        *(globex("THEIRS", code=code) for code in THEIR_CODES),
        globex("DRAWN", quantity="4"),
        name="theirs.csv",
        source="globex",
    )
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(*pairs)
    shop.night()
    assert len(answer.codes) == 10
    return answer.codes


def block(customer_order_id: str, account: str = "20098765", **cells: str) -> dict[str, str]:
    """A Block of cards, by `code` or by `target` (an Order ID)."""
    return row(customer_order_id, **{**NOT_THEIRS, "account": account, **cells})


def rows_of(answer: Answer) -> list[tuple[str, ...]]:
    """What a rejection says, without what the reseller wrote."""
    return answer.rejections.select("Reason", "What to fix").rows()


def assert_nothing_of(codes: list[str], shop: Shop, source: str = "acme") -> None:
    assert found_in(shop.settings.outbox / source, codes) == []


# -- item 0: codes in full ---------------------------------------------------------------------------------------------


def test_an_order_id_of_another_gives_no_code_away(shop: Shop) -> None:
    codes = lay_their_cards(shop)
    answer = shop.send(
        block("A", target_order_id=THEIR_ORDER),
        block("B", target_order_id=THEIR_ORDER),
        block("C", target_order_id="20098765-2"),
    )
    assert set(map(tuple, answer.reasons.values())) == {("ACCOUNT_UNKNOWN",)}
    assert_nothing_of(codes, shop)


def test_of_anothers_account_one_answer_is_given_for_all_that_is_and_is_not(shop: Shop) -> None:
    lay_their_cards(shop)
    free = some_codes(8, seed=5)[6:]
    asked = [{"code": THEIR_CODES[0]}, {"code": free[0]}, {"code": f"{free[1]} {THEIR_CODES[1]}"},
             {"target_order_id": THEIR_ORDER}, {"target_order_id": "20098765-999"}, {"code": str(30355501430007)}]  # fmt: skip
    for action in ("Block", "Unblock", "Disconnect", "Change"):
        change = {"origin": "Yes"} if action == "Change" else {}
        rows = [block(f"{action[0]}{n}", action=action, **one, **change) for n, one in enumerate(asked)]
        answer = shop.send(*rows, name=f"{action}.csv")
        assert set(rows_of(answer)) == {("ACCOUNT_UNKNOWN", rows_of(answer)[0][1])}


def test_of_ones_own_account_anothers_card_is_no_card(shop: Shop) -> None:
    lay_their_cards(shop)
    free = some_codes(8, seed=5)[6]
    asked = [{"code": THEIR_CODES[0]}, {"code": free}, {"target_order_id": THEIR_ORDER}, {"target_order_id": "20098765-999"}]
    answer = shop.send(*(block(f"A{n}", "10023456", **one) for n, one in enumerate(asked)))
    assert {reason for reason, _ in rows_of(answer)} == {"CARD_UNKNOWN"}


def test_a_row_for_anothers_account_is_no_question_about_codes(shop: Shop) -> None:
    lay_their_cards(shop)
    answer = shop.send(globex("A", code=THEIR_CODES[0]), globex("B", code=some_codes(7, seed=5)[6]))
    assert answer.reasons == {2: ["ACCOUNT_UNKNOWN"], 3: ["ACCOUNT_UNKNOWN"]}


def test_order_ids_products_and_access_numbers_of_another_are_no_oracle(shop: Shop) -> None:
    lay_their_cards(shop)
    answer = shop.send(
        globex("THEIRS", quantity="1"), globex("UNUSED", quantity="1"),
        row("P1", product="8001", quantity="1"), row("P2", product="9999", quantity="1"),
        row("N1", access_number="8776662093", quantity="1"), row("N2", access_number="8776662094", quantity="1"),
    )  # fmt: skip
    result = [one for one, _ in rows_of(answer)]
    assert result == ["ACCOUNT_UNKNOWN"] * 2 + ["PRODUCT_UNKNOWN"] * 2 + ["ACCESS_NOT_OFFERED"] * 2


def test_a_copy_of_anothers_file_is_a_file_of_ones_own(shop: Shop) -> None:
    content = csv_of(globex("SAME", quantity="3"))
    shop.drop("first.csv", content, "globex")
    (first,) = shop.run()
    shop.drop("copy.csv", content)
    (copy,) = shop.run()
    assert (copy.result["orders_already_placed"], copy.codes) == (0, [])
    assert_nothing_of(first.codes, shop)


@pytest.mark.parametrize(
    "how",
    [
        "code",
        pytest.param("target_order_id"),
    ],
)
def test_a_refused_row_takes_no_card_away_from_another_reseller(how: str, shop: Shop) -> None:
    lay_their_cards(shop)
    named = {"code": THEIR_CODES[0]} if how == "code" else {"target_order_id": THEIR_ORDER}
    shop.drop("attack.csv", csv_of(block("ATTACK", **named)))
    shop.drop("good.csv", csv_of(block("GOOD", **named)), "globex")
    result = {answer.result["reseller"]: answer.result for answer in shop.run()}
    assert result["globex"]["reasons"] == {}
    assert result["globex"]["orders_placed"] == 1


@pytest.mark.parametrize("wrong", [{"access_number": "8776662093"}, {"product": "8001"}, {"comments": "x" * 300}])
def test_a_refused_row_takes_no_card_away_from_a_good_order_of_the_same_file(wrong: dict[str, str], shop: Shop) -> None:
    mine = shop.send(row("MINE", quantity="2"), name="mine.csv")
    shop.report(*mine.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    bad = block("BAD", "10023456", action="Change", code=mine.codes[0], origin="Yes", **wrong)
    answer = shop.send(bad, block("GOOD", "10023456", code=mine.codes[0]))
    assert answer.result["orders_placed"] == 1
    assert list(answer.reasons) == [2]


def test_a_reason_carries_no_code_that_the_sender_did_not_write(shop: Shop) -> None:
    mine = shop.send(row("MINE", quantity="3"), name="mine.csv")
    answer = shop.send(block("EARLY", "10023456", target_order_id="10023456-1"))
    assert answer.reasons == {2: ["CARD_NOT_READY"]}
    assert found_in(answer.folder, mine.codes) == []


# -- guesses at codes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path, new_registry: NewRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop that puts up with ten taken codes a reseller and day."""
    for name in ("CARDS_MAX_TAKEN_CODE_ATTEMPTS", "CARDS_MAX_TAKEN_CODE_ATTEMPTS"):
        monkeypatch.setenv(name, "10")
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url)
        yield shop
        shop.registry.close()


def is_held(shop: Shop, name: str) -> bool:
    """Whether acme's chosen codes wait for the operator."""
    code = some_codes(1, seed=int.from_bytes(name.encode()[:4]))[0]
    return shop.send(row(name, code=code), name=f"{name}.csv").result["reasons"] == {"FILE_HELD": 1}


@pytest.mark.parametrize("action", ["Block", "Disconnect"])
def test_guesses_at_cards_are_counted_with_the_taken_codes(action: str, watched: Shop) -> None:
    codes = lay_their_cards(watched)
    watched.send(*(row(f"T{n}", code=code) for n, code in enumerate(codes[:6])), name="taken.csv")
    assert not is_held(watched, "SIX")
    watched.send(*(block(f"C{n}", "10023456", code=code, action=action) for n, code in enumerate(codes[:6])), name="cards.csv")
    assert is_held(watched, "TWELVE")


def test_guesses_spread_over_files_of_one_batch_are_counted_together(watched: Shop) -> None:
    codes = lay_their_cards(watched)
    for n, code in enumerate([*codes, *THEIR_CODES]):
        watched.drop(f"{n}.csv", csv_of(row(f"T{n}", code=code)))
    answers = watched.run()
    assert sum("CODE_TAKEN" in answer.result["reasons"] for answer in answers) <= 10
    assert is_held(watched, "AFTER")


def test_taken_codes_of_an_earlier_day_are_forgotten(watched: Shop) -> None:
    codes = lay_their_cards(watched)
    for name, part in (("a", codes[:6]), ("b", codes[4:])):
        answer = watched.send(*(row(f"{name}{n}", code=code) for n, code in enumerate(part)), name=f"{name}.csv")
        assert answer.result["reasons"] == {"CODE_TAKEN": 6}
        watched.later(days=60)
    assert not is_held(watched, "LATER")


def test_a_hold_stands_on_the_next_day_until_the_operator_clears_it(watched: Shop) -> None:
    codes = lay_their_cards(watched)
    watched.send(*(row(f"T{n}", code=code) for n, code in enumerate([*codes, "73905162840999"])), name="taken.csv")
    watched.later(days=3)
    assert is_held(watched, "LATER")


def test_clear_hold_lifts_it(watched: Shop) -> None:
    codes = lay_their_cards(watched)
    watched.send(*(row(f"T{n}", code=code) for n, code in enumerate([*codes, "73905162840999"])), name="taken.csv")
    assert is_held(watched, "HELD")
    House(watched.settings.home, watched.settings.registry_url).cards("clear-hold", "acme")
    assert not is_held(watched, "FREE")


# -- item 2: BTNs ------------------------------------------------------------------------------------------------------


def test_a_btn_of_another_gets_one_answer_whatever_is_asked(shop: Shop) -> None:
    shop.send(globex("THEIRS", btn=BTN, quantity="5"), name="theirs.csv", source="globex")
    answer = shop.send(*(row(f"A{n}", btn=BTN, quantity=str(n)) for n in (1, 2, 9_952, 9_953, 9_954, 9_958, 9_959, 20_000)))
    assert set(rows_of(answer)) == {("BTN_UNKNOWN", rows_of(answer)[0][1])}
    assert answer.result["orders_placed"] == 0


def test_a_btn_of_another_and_mistakes_give_no_count_either(shop: Shop) -> None:
    shop.send(globex("THEIRS", btn=BTN, quantity="5"), name="theirs.csv", source="globex")
    wrong = {"access_number": "8776662093"}
    answer = shop.send(*(row(f"A{n}", btn=BTN, quantity=str(n), **wrong) for n in (1, 9_953, 9_954)))
    assert {reason for result in answer.reasons.values() for reason in result} == {"ACCESS_NOT_OFFERED", "BTN_UNKNOWN"}
    assert len({tuple(result) for result in answer.reasons.values()}) == 1


def test_capacity_is_shown_only_of_an_order_that_is_otherwise_right(shop: Shop) -> None:
    shop.send(row("MINE", btn=BTN, quantity="5"), name="mine.csv")
    bad = {"access_number": "8776662093"}
    answer = shop.send(row("A", btn=BTN, quantity="9958", **bad), row("B", btn=BTN, quantity="9958"))
    assert answer.reasons == {2: ["ACCESS_NOT_OFFERED"], 3: ["BTN_EXHAUSTED"]}


def test_the_catalogue_says_whose_a_btn_is(shop: Shop) -> None:
    House(shop.settings.home, shop.settings.registry_url).load(BILLING)
    answer = shop.send(
        row("A", btn=BTN_OF_GLOBEX, quantity="1"), row("B", btn=BTN_OF_ACME, quantity="2"),
        row("C", account="00200300", product="7003", btn=BTN_OF_ACME, quantity="1"),
    )  # fmt: skip
    assert answer.reasons == {2: ["BTN_UNKNOWN"], 4: ["BTN_UNKNOWN"]}
    assert [code[:10] for code in answer.codes] == [BTN_OF_ACME] * 2
    theirs = shop.send(globex("A", btn=BTN_OF_GLOBEX, quantity="1"), name="theirs.csv", source="globex")
    assert len(theirs.codes) == 1


def test_who_squats_on_a_btn_loses_it_to_the_catalogue(shop: Shop) -> None:
    assert len(shop.send(row("SQUAT", btn=BTN_OF_GLOBEX, quantity="1")).codes) == 1
    House(shop.settings.home, shop.settings.registry_url).load(BILLING)
    answer = shop.send(row("MORE", btn=BTN_OF_GLOBEX, quantity="1"), name="more.csv")
    assert answer.reasons == {2: ["BTN_UNKNOWN"]}
    theirs = shop.send(globex("A", btn=BTN_OF_GLOBEX, quantity="1"), name="theirs.csv", source="globex")
    assert len(theirs.codes) == 1


def test_a_btn_that_nobody_lists_belongs_to_the_account_that_first_had_a_pin(shop: Shop) -> None:
    refused = shop.send(row("BAD", btn=BTN, quantity="1", product="8001"), row("BAD-2", btn=BTN, quantity="x"), name="bad.csv")
    assert refused.codes == []
    first = shop.send(globex("FIRST", btn=BTN, quantity="1"), name="first.csv", source="globex")
    assert len(first.codes) == 1, "an order that was refused has claimed the BTN"
    second = shop.send(row("SECOND", btn=BTN, quantity="1"), name="second.csv")
    assert second.reasons == {2: ["BTN_UNKNOWN"]}
    assert len(shop.send(globex("THIRD", btn=BTN, quantity="1"), name="third.csv", source="globex").codes) == 1


def test_of_two_in_one_batch_the_first_has_the_btn(shop: Shop) -> None:
    shop.drop("bad.csv", csv_of(row("BAD", btn=BTN, quantity="1", access_number="8776662093")))
    shop.drop("first.csv", csv_of(globex("FIRST", btn=BTN, quantity="1")), "globex")
    shop.drop("second.csv", csv_of(row("SECOND", btn=BTN, quantity="1")))
    result = {answer.result["file"]: answer for answer in shop.run()}
    assert len(result["first.csv"].codes) == 1
    assert result["second.csv"].reasons == {2: ["BTN_UNKNOWN"]}


def test_a_btn_is_filled_no_further_than_the_setting(
    tmp_path: Path, new_registry: NewRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARDS_MAX_BTN_FILL", "0.5")
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url)
        assert shop.send(row("A", btn=BTN, quantity="4980"), name="a.csv").reasons == {2: ["BTN_EXHAUSTED"]}
        assert len(shop.send(row("B", btn=BTN, quantity="4979"), name="b.csv").codes) == 4979
        assert shop.send(row("C", btn=BTN, quantity="1"), name="c.csv").reasons == {2: ["BTN_EXHAUSTED"]}
        shop.registry.close()


def test_a_chosen_code_under_anothers_btn_gets_one_answer_taken_or_free(shop: Shop) -> None:
    theirs = shop.send(globex("THEIRS", btn=BTN, quantity="5"), name="theirs.csv", source="globex").codes
    free = next(f"{BTN}{pin:04}" for pin in range(1357, 9999, 137) if f"{BTN}{pin:04}" not in theirs)
    answer = shop.send(row("HIT", code=theirs[0]), row("MISS", code=free))
    assert answer.result["codes_placed"] == 0
    assert len({reason for reason, _ in rows_of(answer)}) == 1


def test_chosen_codes_do_not_use_up_anothers_btn(shop: Shop) -> None:
    shop.send(globex("THEIRS", btn=BTN, quantity="1"), name="theirs.csv", source="globex")
    pins = [f"{BTN}{pin:04}" for pin in range(1300, 9999, 61)]
    shop.send(*(row(f"U{n}", code=code) for n, code in enumerate(pins)), name="use.csv")
    assert [code for code in shop.placements()["Authorization Code"] if code in pins] == []


# -- item 6: masks -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_screens_show_six_digits_and_serials(tmp_path: Path) -> None:
    house = House(tmp_path / "home").lay()
    house.drop("pins.csv", csv_of(row("A", btn=BTN, quantity="3")))
    house.drop("73905162840517.csv", csv_of(row("B", code="73905162840517")))
    folders = [house.home / one["folder"] for one in house.run()]
    codes = [code for folder in folders for code in read_csv(folder / "confirmation.csv")["Authorization Code"]]
    asked = [("status", BTN), ("status", "10023456-1"), ("order", "10023456-1"), ("status", codes[0]), ("capacity", BTN)]
    for command in [*asked, *((*one, "--json") for one in asked)]:
        said = house.cards(*command).said
        assert [code for code in codes if code in said or re.search(rf"•\D*{code[-4:]}\b", said)] == [], command
    said = house.cards("order", "10023456-1").said
    assert re.findall(r"\d+•+\d*", said) == ["303555••••••••"] * 3
    assert "10023456-1/3" in said


@pytest.mark.parametrize("command", ["order", "report", "check", "registry import", "catalog load"])
def test_an_error_shows_no_more_of_a_code_than_a_screen(command: str, tmp_path: Path) -> None:
    house = House(tmp_path / "home").lay()
    said = house.cards(*command.split(), "73905162840517", code=None).said
    assert not re.search(r"0517\b", said), said


def test_the_catalogue_of_the_tests_is_the_shops(tmp_path: Path, shop: Shop) -> None:
    """So that what is loaded over it by a workbook differs in its BTNs alone."""
    House(shop.settings.home, shop.settings.registry_url).load()
    assert len(ACCOUNTS) == 4
    assert len(ACCESS_NUMBERS) == 4
    assert len(shop.send(row("A", quantity="1")).codes) == 1


def test_numbers_and_contents_look_into_workbooks(shop: Shop) -> None:
    """What the other tests look with sees a code in a workbook's part."""
    answer = shop.send(row("A", quantity="2"))
    where = numbers(answer.folder)
    assert set(answer.codes) <= set(where)
    assert any(
        "confirmation.xlsx!" in part and answer.codes[0].encode() in text for part, text in contents(answer.folder).items()
    )
