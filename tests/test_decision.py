"""What becomes of a batch, decided on frames alone: the facts are written by hand, and there is no database."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import Table
from pipelines.orders.batch import Batch, OrderFile, build_batch
from pipelines.orders.decision import Decision, decide
from pipelines.orders.facts import Facts, Limits
from pipelines.orders.ownership import accounts_by_file
from schemas.codes import STATES
from schemas.findings import NO_FINDINGS, findings
from schemas.orders import HEADERS, NAMES
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, obeys, some_codes

ACME, ACME_TOO, GLOBEX = "10023456", "00200300", "20098765"
PRODUCTS = {ACME: "7001", ACME_TOO: "7003", GLOBEX: "8001"}
BTN = 3035550142
PINS = [code for pin in range(10_000) if obeys(str(code := BTN * 10_000 + pin))]
CODES = [int(code) for code in some_codes(6)]
ONE, TWO, THREE, *_ = map(str, CODES)
UNUSED = [int(code) for code in some_codes(50, seed=8)]
AT = "2026-10-05T09:30:00-06:00"
LIMITS = Limits(taken_code_attempts=1_000, daily_codes=1_000_000, btn_fill=1.0)

Cells = dict[str, str]


def add(order: str, account: str = ACME, **cells: str) -> Cells:
    """A row that is right as soon as it says which codes it wants."""
    usual = {
        "account": account,
        "product": PRODUCTS.get(account, "1"),
        "access_number": "8008604444",
        "customer_order_id": order,
    }
    return {**usual, **cells}


def take(action: str, order: str, account: str = ACME, **cells: str) -> Cells:
    """A row that takes cards which exist."""
    return {"action": action, "account": account, "customer_order_id": order, **cells}


def files(*contents: list[Cells], sources: tuple[str, ...] = (), digests: tuple[str, ...] = ()) -> list[OrderFile]:
    """Files of a batch, in their order."""
    made = []
    for number, cells in enumerate(contents):
        texts = [{"source_row": place, **dict.fromkeys(NAMES), **row} for place, row in enumerate(cells, 2)]
        rows = pl.DataFrame(texts, {"source_row": pl.UInt32, **dict.fromkeys(NAMES, pl.String)})
        table = Table(rows, NAMES, list(HEADERS.values()), NO_FINDINGS, [], parse_seconds=0.25)
        source = sources[number] if sources else "acme"
        digest = digests[number] if digests else f"digest {number}"
        dropped = InboxFile(source, Path(f"{number}.csv"), 100, 0, 0, 0)
        made.append(OrderFile(number, PrivateCopy(dropped, Path("nowhere"), digest, 100), table))
    return made


def batch_of(*contents: list[Cells], **more: Any) -> Batch:
    return build_batch(files(*contents, **more), max_quantity=1_000_000, max_findings=50_000)


def frame(schema: dict[str, Any], *rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema, orient="row")


def codes(*numbers: int) -> pl.Series:
    return pl.Series("code", numbers, pl.Int64)


def cards(*rows: tuple[str, int, str, bool]) -> pl.DataFrame:
    """Cards: account, code, state, and whether an order for it is awaited."""
    schema = {"account": pl.String, "code": pl.Int64, "state": pl.UInt8, "awaited": pl.Boolean}
    return frame(schema, *((account, code, STATES.index(state), awaited) for account, code, state, awaited in rows))


def order_cards(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return frame({"account": pl.String, "order_id": pl.String, "code": pl.Int64}, *rows)


def earlier_orders(*rows: tuple[int, str, str, str]) -> pl.DataFrame:
    return frame({"order_pk": pl.Int64, "account": pl.String, "customer_order_id": pl.String, "content": pl.String}, *rows)


def used_pins(*numbers: int) -> pl.DataFrame:
    return frame({"btn": pl.Int64, "code": pl.Int64}, *((code // 10_000, code) for code in numbers))


def owners(*rows: tuple[int, str]) -> pl.DataFrame:
    return frame({"btn": pl.Int64, "owner": pl.String}, *rows)


def of_sources(*rows: tuple[str, int]) -> pl.DataFrame:
    return frame({"source": pl.String, "codes": pl.Int64}, *rows)


def facts_of(batch: Batch, **known: Any) -> Facts:
    """What a registry knows in which there is nothing but the catalogue, and what is given."""
    nothing = Facts(
        at=AT,
        accounts=accounts_by_file(ACCOUNTS, batch.sources),
        access_numbers=ACCESS_NUMBERS,
        orders=earlier_orders(),
        row_keys=frame({"order_pk": pl.Int64, "row_key": pl.String}),
        existing_codes=codes(),
        cards=cards(),
        order_cards=order_cards(),
        btn_owners=owners(),
        btn_codes=used_pins(),
        attempts=of_sources(),
        usage=of_sources(),
        on_hold=pl.Series("reseller", [], pl.String),
        unused=codes(*UNUSED),
        limits=LIMITS,
    )
    return replace(nothing, **known)


def decided(batch: Batch, **known: Any) -> Decision:
    return decide(batch, facts_of(batch, **known), random.Random(1).randbytes)


def decisions(decision: Decision) -> dict[str, str]:
    """What became of each order, by its Customer Order ID."""
    return dict(decision.orders.select("customer_order_id", "decision").iter_rows())


def reasons(decision: Decision, file: int = 0) -> dict[int, list[str]]:
    """The reasons of each row of a file."""
    found: dict[int, list[str]] = {}
    for row, reason in decision.ingest.findings.filter(file=file).select("source_row", "reason").iter_rows():
        found.setdefault(row, []).append(reason)
    return {row: sorted(each) for row, each in sorted(found.items())}


def issued(decision: Decision) -> dict[str, list[int]]:
    """The new codes of each order, by its Customer Order ID."""
    found = decision.ingest.codes.join(decision.orders, on="order").group_by("customer_order_id").agg(pl.col("code").sort())
    return dict(found.iter_rows()) if found.is_empty() else dict(found.select("customer_order_id", "code").iter_rows())


def taken(decision: Decision) -> dict[str, list[int]]:
    """The cards that each order takes."""
    found = (
        decision.ingest.card_actions.join(decision.orders, on="order").group_by("customer_order_id").agg(pl.col("code").sort())
    )
    return dict(found.select("customer_order_id", "code").iter_rows())


# -- accepted ----------------------------------------------------------------------------------------------------------


def test_orders_of_every_kind_are_accepted_with_the_codes_that_they_ask_for() -> None:
    batch = batch_of(
        [add("S", code=f"{ONE} {TWO}"), add("S", code=THREE), add("R", quantity="3"), add("B", btn=str(BTN), quantity="2")]
    )
    decision = decided(batch)
    assert decisions(decision) == dict.fromkeys("SRB", "accepted")
    given = issued(decision)
    assert given["S"] == sorted(map(int, (ONE, TWO, THREE)))
    assert given["R"] == sorted(UNUSED[:3])
    assert len(set(given["B"])) == 2
    assert set(given["B"]) <= set(PINS)
    assert dict(decision.orders.select("customer_order_id", "rows").iter_rows()) == {"S": 2, "R": 1, "B": 1}
    assert dict(decision.ingest.orders.select("customer_order_id", "cards").iter_rows()) == {"S": 3, "R": 3, "B": 2}
    assert decision.ingest.btns.select("btn", "account").rows() == [(BTN, ACME)]
    assert (decision.ingest.findings.rows(), decision.ingest.rejected.rows()) == ([], [])
    assert (decision.deferred, decision.dependent) == (set(), set())


def test_a_file_is_entered_with_what_it_cost_and_the_time_of_the_decision() -> None:
    decision = decided(batch_of([add("R", quantity="3")], [add("S", code=ONE)]))
    events = decision.ingest.events
    assert events.select("file", "source", "file_name", "at", "rows", "readable", "original_event").rows() == [
        (0, "acme", "0.csv", AT, 1, 1, 0), (1, "acme", "1.csv", AT, 1, 1, 0),
    ]  # fmt: skip
    assert decision.ingest.usage.rows() == [(0, 1, 100, 250), (1, 1, 100, 250)]


def test_the_same_facts_and_random_bytes_give_the_same_decision() -> None:
    batch = batch_of([add("R", quantity="3"), add("B", btn=str(BTN), quantity="2")])
    first, second = decided(batch), decided(batch)
    for name, one in first.ingest._asdict().items():
        assert one.equals(getattr(second.ingest, name)), name


def test_pins_are_drawn_among_those_that_nobody_has_nor_asks_for() -> None:
    last = PINS[-3:]
    batch = batch_of([add("S", code=str(last[0])), add("B", btn=str(BTN), quantity="1")])
    decision = decided(batch, btn_codes=used_pins(*PINS[:-3]), unused=codes(last[1]))
    assert issued(decision) == {"S": [last[0]], "B": [last[2]]}


# -- duplicates --------------------------------------------------------------------------------------------------------


def test_an_order_that_was_placed_before_is_a_duplicate_and_nothing_comes_of_it() -> None:
    batch = batch_of([add("S", code=ONE), add("S", code=TWO), add("NEW", code=THREE)])
    (content,) = batch.orders.filter(customer_order_id="S")["content"]
    decision = decided(batch, orders=earlier_orders((77, ACME, "S", content)), existing_codes=codes(int(ONE), int(TWO)))
    assert decisions(decision) == {"S": "duplicate", "NEW": "accepted"}
    assert decision.ingest.duplicate_orders.rows() == [(0, 77, 2)]
    assert issued(decision) == {"NEW": [int(THREE)]}
    assert (reasons(decision), decision.ingest.taken_code_attempts.rows()) == ({}, [])


@pytest.mark.parametrize("account", [ACME, ACME_TOO])
def test_an_order_id_of_the_account_with_other_content_is_refused(account: str) -> None:
    batch = batch_of([add("S", code=ONE)])
    decision = decided(batch, orders=earlier_orders((77, account, "S", "something else")))
    assert decisions(decision) == {"S": "rejected" if account == ACME else "accepted"}
    assert reasons(decision) == ({2: ["ORDER_ID_USED"]} if account == ACME else {})


def test_the_same_bytes_as_before_are_entered_as_an_answer_given_again() -> None:
    made = files([add("S", code=ONE)], [add("T", code=TWO)])
    again = [made[0]._replace(original_event=12), made[1]]
    batch = build_batch(again, 1_000_000, 50_000).subset(again)
    decision = decided(batch)
    assert decision.ingest.events.select("file", "original_event", "readable").rows() == [(0, 12, 1), (1, 0, 1)]
    assert issued(decision) == {"T": [int(TWO)]}
    assert decision.ingest.rejected.rows() == []


# -- rejected ----------------------------------------------------------------------------------------------------------


def test_an_order_is_rejected_whole_and_comes_back_as_it_was_dropped() -> None:
    batch = batch_of([add("S", code=ONE), add("S", code=TWO, comments=" x "), add("T", code=THREE)])
    decision = decided(batch, existing_codes=codes(int(ONE)))
    assert decisions(decision) == {"S": "rejected", "T": "accepted"}
    assert reasons(decision) == {2: ["CODE_TAKEN"], 3: ["ORDER_INCOMPLETE"]}
    assert decision.ingest.rejected.select("file", "source_row", "code", "comments", "quantity").rows() == [
        (0, 2, ONE, "", ""), (0, 3, TWO, " x ", ""),
    ]  # fmt: skip
    assert issued(decision) == {"T": [int(THREE)]}
    assert decision.ingest.orders["customer_order_id"].to_list() == ["T"]


def test_a_file_that_is_refused_as_a_whole_places_nothing_and_may_come_again() -> None:
    made = files([add("S", code=ONE)], [add("S", code=ONE)])
    broken = made[0]._replace(table=made[0].table._replace(findings=findings([(0, "", "COLUMN_REPEATED", "twice")])))
    decision = decided(build_batch([broken, made[1]], 1_000_000, 50_000))
    assert decision.ingest.events.select("file", "readable").rows() == [(0, 0), (1, 1)]
    assert reasons(decision) == {0: ["COLUMN_REPEATED"]}
    assert issued(decision) == {"S": [int(ONE)]}
    assert decision.ingest.orders["file"].to_list() == [1]
    assert decision.deferred == set()


def test_a_finding_shows_what_stands_in_the_cell_and_nothing_else() -> None:
    batch = batch_of([add("S", code=f"{ONE} {TWO}"), take("Block", "B", target_order_id="10023456-1")])
    decision = decided(
        batch, existing_codes=codes(int(TWO)), order_cards=order_cards((ACME, "10023456-1", CODES[3])),
        cards=cards((ACME, CODES[3], "placed", False)),
    )  # fmt: skip
    found = decision.ingest.findings.select("source_row", "column", "reason", "value").rows()
    assert found == [
        (2, "code", "CODE_TAKEN", TWO),
        (3, "target_order_id", "CARD_NOT_READY", "10023456-1 (1 card still awaits the network)"),
    ]


# -- orders in part ----------------------------------------------------------------------------------------------------


def part_of(*rows: Cells) -> Batch:
    """A file of globex, whose orders are accepted row by row."""
    return batch_of(list(rows), sources=("globex",))


def test_the_valid_rows_of_an_order_in_part_are_accepted() -> None:
    batch = part_of(*(add("S", GLOBEX, code=code) for code in (ONE, TWO, THREE)))
    decision = decided(batch, existing_codes=codes(int(TWO)))
    assert decisions(decision) == {"S": "accepted"}
    assert reasons(decision) == {3: ["CODE_TAKEN"]}
    assert issued(decision) == {"S": sorted(map(int, (ONE, THREE)))}
    assert decision.ingest.orders.select("rows", "cards").rows() == [(2, 2)]
    assert len(decision.ingest.row_keys) == 2
    assert decision.ingest.rejected["source_row"].to_list() == [3]


def test_rows_that_were_placed_before_are_duplicates_and_new_rows_need_a_new_id() -> None:
    batch = part_of(add("S", GLOBEX, code=ONE), add("S", GLOBEX, code=TWO))
    keys = decided(batch).ingest.row_keys["row_key"]
    known = {"orders": earlier_orders((77, GLOBEX, "S", "of the first file"))}
    both = decided(batch, **known, row_keys=frame({"order_pk": pl.Int64, "row_key": pl.String}, *((77, key) for key in keys)))
    assert decisions(both) == {"S": "duplicate"}
    assert both.ingest.duplicate_orders.rows() == [(0, 77, 2)]
    first = decided(batch, **known, row_keys=frame({"order_pk": pl.Int64, "row_key": pl.String}, (77, keys[0])))
    assert decisions(first) == {"S": "rejected"}
    assert first.ingest.duplicate_orders.rows() == [(0, 77, 1)]
    assert reasons(first) == {3: ["ORDER_ID_USED"]}


# -- cards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        ("Block", "ready", ""), ("Unblock", "blocked", ""), ("Disconnect", "ready", ""), ("Disconnect", "blocked", ""),
        ("Block", "blocked", "CARD_NOT_READY"), ("Unblock", "ready", "CARD_NOT_READY"), ("Block", "placed", "CARD_NOT_READY"),
        ("Block", "refused", "CARD_NOT_READY"), ("Disconnect", "disconnected", "CARD_DISCONNECTED"),
    ],
)  # fmt: skip
def test_a_card_is_taken_in_the_states_of_the_action(action: str, state: str, reason: str) -> None:
    batch = batch_of([take(action, "T", code=ONE)])
    decision = decided(batch, cards=cards((ACME, int(ONE), state, False)))
    assert reasons(decision) == ({2: [reason]} if reason else {})
    assert taken(decision) == ({} if reason else {"T": [int(ONE)]})
    assert issued(decision) == {}
    waiting = decided(batch, cards=cards((ACME, int(ONE), state, True)))
    assert reasons(waiting) == {2: [reason or "CARD_NOT_READY"]}


def test_all_cards_of_an_order_id_are_taken_or_none() -> None:
    batch = batch_of([take("Block", "T", target_order_id="10023456-1"), take("Block", "U", target_order_id="10023456-2")])
    known = order_cards(*((ACME, "10023456-1", code) for code in CODES[:3]), (ACME, "10023456-2", CODES[4]))
    ready = cards(*((ACME, code, "ready", False) for code in (*CODES[:3], CODES[4])))
    assert taken(decided(batch, order_cards=known, cards=ready)) == {"T": sorted(CODES[:3]), "U": [CODES[4]]}
    one_is_blocked = ready.with_columns(state=pl.when(pl.col("code") == CODES[1]).then(3).otherwise("state").cast(pl.UInt8))
    decision = decided(batch, order_cards=known, cards=one_is_blocked)
    assert taken(decision) == {"U": [CODES[4]]}
    assert reasons(decision) == {2: ["CARD_NOT_READY"]}


@pytest.mark.parametrize("cell", [{"code": ONE}, {"target_order_id": "20098765-1"}])
def test_somebody_elses_card_gets_the_answer_of_one_that_does_not_exist(cell: Cells) -> None:
    batch = batch_of([take("Disconnect", "T", **cell)])
    nothing = decided(batch)
    theirs = decided(
        batch, cards=cards((GLOBEX, int(ONE), "ready", False)), order_cards=order_cards((GLOBEX, "20098765-1", int(ONE)))
    )
    for decision in (nothing, theirs):
        assert reasons(decision) == {2: ["CARD_UNKNOWN"]}
        assert taken(decision) == {}
    for name, one in nothing.ingest._asdict().items():
        assert one.equals(getattr(theirs.ingest, name)), name


def test_a_card_goes_to_the_first_valid_order_that_takes_it() -> None:
    ready = cards((ACME, int(ONE), "ready", False))
    batch = batch_of([take("Block", "T", code=ONE), take("Disconnect", "U", code=ONE)])
    decision = decided(batch, cards=ready)
    assert taken(decision) == {"T": [int(ONE)]}
    assert reasons(decision) == {3: ["CODE_REPEATED"]}
    two = batch_of([take("Block", "T", code=ONE)], [take("Disconnect", "U", code=ONE)])
    decision = decided(two, cards=ready)
    assert taken(decision) == {"T": [int(ONE)]}
    assert reasons(decision, 1) == {2: ["CARD_NOT_READY"]}
    assert (decision.deferred, decision.dependent) == (set(), {1})


# -- what takes part in nothing ----------------------------------------------------------------------------------------


FOREIGN: list[Cells] = [
    add("F", GLOBEX, code=ONE),
    add("F", GLOBEX, quantity="5"),
    add("F", GLOBEX, btn=str(BTN), quantity="9958"),
    take("Block", "F", GLOBEX, code=ONE),
    take("Block", "F", GLOBEX, target_order_id="20098765-1"),
    add("F", "99999999", code=ONE),
]


@pytest.mark.parametrize("row", FOREIGN)
def test_a_row_on_an_account_that_is_not_the_sources_learns_and_takes_nothing(row: Cells) -> None:
    batch = batch_of(
        [row],
        [add("S", GLOBEX, code=ONE), add("F", GLOBEX, btn=str(BTN), quantity="9958")],
        sources=("acme", "globex"),
    )
    known = {
        "cards": cards((GLOBEX, int(ONE), "ready", False)),
        "order_cards": order_cards((GLOBEX, "20098765-1", int(ONE))),
        "orders": earlier_orders((77, GLOBEX, "OTHER", "x")),
        "limits": LIMITS._replace(daily_codes=9_959, taken_code_attempts=1),
    }
    decision = decided(batch, **known)
    assert reasons(decision) == {2: ["ACCOUNT_UNKNOWN"]}
    assert reasons(decision, 1) == {}
    assert decisions(decision) == {"F": "accepted", "S": "accepted"}  # globex's own F is the later of the two
    assert decision.ingest.orders["file"].to_list() == [1, 1]
    assert (decision.deferred, decision.dependent) == (set(), set())
    assert decision.ingest.taken_code_attempts.rows() == []


@pytest.mark.parametrize("row", FOREIGN)
def test_a_row_on_a_foreign_account_gets_the_same_answer_whatever_is_there(row: Cells) -> None:
    batch = batch_of([row])
    content = batch.orders["content"].item()
    everything = {
        "existing_codes": codes(int(ONE)),
        "cards": cards((GLOBEX, int(ONE), "disconnected", False)),
        "order_cards": order_cards((GLOBEX, "20098765-1", int(ONE))),
        "orders": earlier_orders((77, GLOBEX, "F", content)),
        "btn_owners": owners((BTN, GLOBEX)),
        "btn_codes": used_pins(*PINS),
    }
    bare, full = decided(batch), decided(batch, **everything)
    for name, one in bare.ingest._asdict().items():
        assert one.equals(getattr(full.ingest, name)), name
    assert decisions(full) == {"F": "rejected"}


def test_a_rejected_row_takes_no_code_away_from_another_file() -> None:
    batch = batch_of([add("BAD", code=ONE, access_number="8776662093")], [add("GOOD", code=ONE)])
    decision = decided(batch)
    assert decisions(decision) == {"BAD": "rejected", "GOOD": "accepted"}
    assert issued(decision) == {"GOOD": [int(ONE)]}
    assert decision.deferred == set()


def test_a_rejected_row_takes_no_card_away() -> None:
    batch = batch_of(
        [take("Change", "BAD", code=ONE, access_number="8776662093")], [take("Block", "GOOD", code=ONE)]
    )  # fmt: skip
    decision = decided(batch, cards=cards((ACME, int(ONE), "ready", False)))
    assert decisions(decision) == {"BAD": "rejected", "GOOD": "accepted"}
    assert taken(decision) == {"GOOD": [int(ONE)]}
    assert reasons(decision) == {2: ["ACCESS_NOT_OFFERED"]}


def test_a_rejected_row_takes_no_pin_away() -> None:
    bad = add("BAD", btn=str(BTN), quantity="1", access_number="8776662093")
    taken_code = add("BAD2", code=f"{PINS[0]} {ONE}")
    batch = batch_of([bad, taken_code, add("GOOD", btn=str(BTN), quantity="9958")])
    decision = decided(batch, existing_codes=codes(int(ONE)))
    assert decisions(decision) == {"BAD": "rejected", "BAD2": "rejected", "GOOD": "accepted"}
    assert issued(decision) == {"GOOD": PINS}


def test_a_rejected_row_uses_up_nothing_of_the_quota() -> None:
    batch = batch_of([add("BAD", quantity="10", access_number="8776662093"), add("GOOD", quantity="10")])
    decision = decided(batch, limits=LIMITS._replace(daily_codes=10))
    assert decisions(decision) == {"BAD": "rejected", "GOOD": "accepted"}
    assert reasons(decision) == {2: ["ACCESS_NOT_OFFERED"]}


# -- quotas ------------------------------------------------------------------------------------------------------------


def test_orders_that_would_pass_the_codes_of_a_day_are_refused_and_leave_room_for_others() -> None:
    batch = batch_of(
        [add("A", quantity="5"), add("B", code=f"{ONE} {TWO} {THREE}"), add("C", btn=str(BTN), quantity="3"),
         add("D", quantity="2"), take("Block", "E", code=str(CODES[4]))]
    )  # fmt: skip
    known = {"usage": of_sources(("acme", 3), ("globex", 99)), "cards": cards((ACME, CODES[4], "ready", False))}
    decision = decided(batch, **known, limits=LIMITS._replace(daily_codes=10))
    assert decisions(decision) == {"A": "accepted", "B": "rejected", "C": "rejected", "D": "accepted", "E": "accepted"}
    assert reasons(decision) == {3: ["QUOTA_EXCEEDED"], 4: ["QUOTA_EXCEEDED"]}
    columns = decision.ingest.findings.select("source_row", "column").rows()
    assert columns == [(4, "quantity"), (3, "code")]
    assert decision.dependent == {0}


def test_the_operator_has_no_quota_and_each_source_has_its_own() -> None:
    rows = [[add(name, account, quantity="9")] for name, account in (("A", ACME), ("G", GLOBEX), ("H", ACME))]
    batch = batch_of(*rows, sources=("acme", "globex", "house"))
    known = {"usage": of_sources(("acme", 2), ("globex", 1), ("house", 99)), "limits": LIMITS._replace(daily_codes=10)}
    assert decisions(decided(batch, **known)) == {"A": "rejected", "G": "accepted", "H": "accepted"}


# -- BTNs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [[], PINS])
@pytest.mark.parametrize("quantity", ["1", "9999"])
def test_a_btn_of_another_account_is_unknown_however_many_pins_it_has(quantity: str, used: list[int]) -> None:
    batch = batch_of([add("B", btn=str(BTN), quantity=quantity)])
    decision = decided(batch, btn_owners=owners((BTN, GLOBEX)), btn_codes=used_pins(*used))
    assert decision.ingest.findings.select("source_row", "column", "reason", "value").rows() == [
        (2, "btn", "BTN_UNKNOWN", str(BTN))
    ]
    assert decision.ingest.btns.rows() == []


def test_the_owner_of_a_btn_learns_when_it_is_exhausted() -> None:
    batch = batch_of([add("B", btn=str(BTN), quantity="3"), add("C", btn=str(BTN), quantity="2")])
    decision = decided(batch, btn_owners=owners((BTN, ACME)), btn_codes=used_pins(*PINS[:-2]))
    assert reasons(decision) == {2: ["BTN_EXHAUSTED"]}
    assert issued(decision) == {"C": PINS[-2:]}
    assert decision.dependent == {0}


def test_an_order_that_is_wrong_otherwise_does_not_show_how_full_its_btn_is() -> None:
    batch = batch_of([add("B", btn=str(BTN), quantity="1", access_number="8776662093")])
    assert reasons(decided(batch, btn_codes=used_pins(*PINS))) == {2: ["ACCESS_NOT_OFFERED"]}


@pytest.mark.parametrize(("quantity", "decision"), [("4979", "accepted"), ("4980", "rejected")])
def test_no_more_of_a_btn_is_given_than_the_share_that_may_be_in_use(quantity: str, decision: str) -> None:
    batch = batch_of([add("B", btn=str(BTN), quantity=quantity)])
    assert decisions(decided(batch, limits=LIMITS._replace(btn_fill=0.5))) == {"B": decision}


def test_of_two_accounts_in_one_file_that_want_a_btn_the_first_valid_order_has_it() -> None:
    wanted = {"btn": str(BTN), "quantity": "1"}
    batch = batch_of([add("A", access_number="8776662093", **wanted), add("B", ACME_TOO, **wanted), add("C", **wanted)])
    decision = decided(batch)
    assert decisions(decision) == {"A": "rejected", "B": "accepted", "C": "rejected"}
    assert reasons(decision) == {2: ["ACCESS_NOT_OFFERED"], 4: ["BTN_UNKNOWN"]}
    assert decision.ingest.btns.select("btn", "account").rows() == [(BTN, ACME_TOO)]
    assert decision.deferred == set()


# -- guesses at codes ----------------------------------------------------------------------------------------------------


def test_codes_that_are_not_free_and_cards_that_are_not_ones_own_are_counted_alike() -> None:
    batch = batch_of([add("S", code=f"{ONE} {TWO}"), take("Block", "T", code=THREE), take("Block", "U", code=str(CODES[3]))])
    known = {"existing_codes": codes(int(ONE)), "cards": cards((ACME, CODES[3], "ready", False))}
    decision = decided(batch, **known)
    assert decision.ingest.taken_code_attempts.rows() == [(0, 2)]
    assert decision.ingest.on_hold.rows() == []


@pytest.mark.parametrize(("earlier", "held"), [(8, False), (9, True)])
def test_a_source_that_has_guessed_too_often_gets_no_further_answer(earlier: int, held: bool) -> None:
    batch = batch_of([add("S", code=ONE), add("T", code=TWO)], [add("R", quantity="1")])
    known = {"existing_codes": codes(int(ONE), int(TWO)), "attempts": of_sources(("acme", earlier)),
             "limits": LIMITS._replace(taken_code_attempts=10)}  # fmt: skip
    decision = decided(batch, **known)
    if held:
        assert reasons(decision) == {0: ["FILE_HELD"]}
        assert decision.ingest.on_hold["file"].to_list() == [0]
    else:
        assert reasons(decision) == {2: ["CODE_TAKEN"], 3: ["CODE_TAKEN"]}
        assert decision.ingest.on_hold.rows() == []
    assert decisions(decision)["R"] == "accepted"
    assert decision.ingest.taken_code_attempts.rows() == [(0, 2)]


def test_guesses_of_several_files_of_a_batch_add_up() -> None:
    batch = batch_of([add("A", code=ONE)], [add("B", code=TWO)], [add("C", code=THREE)], sources=("acme", "globex", "acme"))
    known = {"existing_codes": codes(*CODES), "limits": LIMITS._replace(taken_code_attempts=1)}
    decision = decided(batch, **known)
    assert decision.ingest.on_hold["file"].to_list() == [2]
    assert reasons(decision) == {2: ["CODE_TAKEN"]}
    assert reasons(decision, 2) == {0: ["FILE_HELD"]}
    assert 2 in decision.dependent


def test_a_source_on_hold_learns_so_of_files_that_name_codes_alone() -> None:
    batch = batch_of(
        [add("S", code=ONE), take("Block", "T", code=TWO)],
        [add("R", quantity="1")],
        [add("H", code=THREE)],
        sources=("acme", "acme", "house"),
    )
    decision = decided(batch, on_hold=pl.Series("reseller", ["acme"]))
    assert decisions(decision) == {"S": "rejected", "T": "rejected", "R": "accepted", "H": "accepted"}
    assert reasons(decision) == {0: ["FILE_HELD"]}
    assert decision.ingest.events["readable"].to_list() == [0, 1, 1]


# -- two files that want the same --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (add("S", code=ONE), add("T", code=ONE)),
        (add("S", code=ONE), add("S", code=TWO)),
        (add("S", quantity="1"), add("S", quantity="1")),
        (add("S", btn=str(BTN), quantity="1"), add("T", ACME_TOO, btn=str(BTN), quantity="1")),
    ],
    ids=["code", "order ID", "the very same order", "BTN"],
)
def test_the_later_of_two_files_that_want_the_same_is_decided_again(first: Cells, second: Cells) -> None:
    decision = decided(batch_of([first], [second], [add("X", quantity="1")]))
    assert decision.deferred == {1}
    assert decision.waiting_for(decision.deferred) == {1}
    assert decision.ingest.of({0, 2}).orders["file"].to_list() == [0, 2]
    assert decided(batch_of([second], [first])).deferred == {1}


def test_the_later_of_two_files_with_the_same_bytes_is_decided_again() -> None:
    rows = [add("S", quantity="1")]
    assert decided(batch_of(rows, rows, sources=("acme", "acme"), digests=("same", "same"))).deferred == {1}
    refused = [add("S", quantity="0")]
    assert decided(batch_of(refused, refused, sources=("acme", "acme"), digests=("same", "same"))).deferred == {1}
    other = [add("S", GLOBEX, quantity="1")]
    assert decided(batch_of(rows, other, sources=("acme", "globex"), digests=("same", "same"))).deferred == set()


def test_a_duplicate_wants_nothing_that_another_file_gets() -> None:
    batch = batch_of([add("S", code=ONE)], [add("S", code=ONE)])
    content = batch.orders["content"][0]
    decision = decided(batch, orders=earlier_orders((77, ACME, "S", content)), existing_codes=codes(int(ONE)))
    assert decisions(decision) == {"S": "duplicate"}
    assert decision.deferred == set()


def test_files_whose_answer_may_hang_on_an_earlier_one_wait_with_it() -> None:
    # the second file is refused for want of PINs that the first one takes, and may yet get what the third one asks for
    rows = [[add("A", btn=str(BTN), quantity="9000")], [add("B", btn=str(BTN), quantity="9000")], [add("C", quantity="1")]]
    decision = decided(batch_of(*rows))
    assert reasons(decision, 1) == {2: ["BTN_EXHAUSTED"]}
    assert (decision.deferred, decision.dependent) == (set(), {1})
    assert decision.waiting_for(set()) == set()
    assert decision.waiting_for({0}) == {0, 1, 2}
    assert decision.waiting_for({1}) == {1}
    assert decision.waiting_for({2}) == {2}
