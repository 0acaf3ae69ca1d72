"""Orders for cards that exist: what they take, why they are refused, and what the network makes of them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from openpyxl import load_workbook

from pipelines.admin import queries
from pipelines.admin.audit import verify
from pipelines.delivery import file_names, order_files
from pipelines.delivery.rewriting import rewrite_submission
from pipelines.process_orders import process_inbox
from pipelines.reconcile_network import reconcile
from pipelines.registry.store import open_registry
from pipelines.run import Run
from schemas import actions
from schemas.actions import Action
from tests.conftest import EXTERNAL, Answer, NewRegistry, Shop, csv_of, order_rows, read_csv, row, some_codes
from tests.registries import copied_registry

pytestmark = pytest.mark.one_database

ONE, TWO, THREE, FOUR, NOBODYS = some_codes(5, seed=21)
TAKING = [name for name, action in actions.ACTIONS.items() if action.cards_in]
BARE = {"product": "", "access_number": ""}


def take(action: str, customer_order_id: str = "T", **cells: str) -> dict[str, str]:
    """A row that takes cards; a change gives them an access number of acme's own."""
    changed = {"access_number": "888-402-7755"} if action == "Change" else {}
    return row(customer_order_id, **{"action": action, **BARE, **changed, **cells})


def confirm(answer: Answer, shop: Shop, *but: str, name: str = "report") -> None:
    """The network shows all that was placed, but for these codes, and a night follows."""
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    orders = {order for order, _ in pairs}
    shop.report(
        *((order, code) for order, code in pairs if code not in but), *((order, "") for order in orders), name=f"{name}.csv"
    )
    shop.night()
    shop.later(days=1)


@pytest.fixture(scope="module")
def after_one_night(new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop of `ready`, closed, to make copies of."""
    with new_registry() as url:
        shop = Shop(tmp_path_factory.mktemp("ready") / "home", url)
        mine = row("A", code=f"{ONE} {TWO}"), row("B", code=THREE)
        confirm(shop.send(*mine, row("G", account="20098765", product="8001", code=FOUR), source="house"), shop, name="1")
        shop.registry.close()
        yield shop


@pytest.fixture
def ready(after_one_night: Shop, tmp_path: Path) -> Iterator[Shop]:
    """A shop with the cards ONE and TWO (10023456-1) and THREE (10023456-2), all ready, and globex's card FOUR."""
    home = tmp_path / "home"
    shutil.copytree(after_one_night.settings.home, home)
    with copied_registry(after_one_night.settings.registry_url, home) as url:
        shop = Shop(home, url, seed=2, is_new=False)
        shop.now = after_one_night.now
        yield shop
        shop.registry.close()


def bring(shop: Shop, code: str, state: str) -> None:
    """Have a card in another state than ready."""
    words = {"blocked": "Block", "disconnected": "Disconnect"}
    if state in words:
        confirm(shop.send(take(words[state], f"TO-{state}"[:15], code=code), name=f"{state}.csv"), shop, name=state)
    assert shop.states()[code] == state


def files(shop: Shop, action: str) -> list[tuple[str, ...]]:
    """What the network was asked to do with existing cards."""
    return shop.placements().filter(pl.col("Action") == action).rows()


@pytest.mark.parametrize("by", ["code", "order"])
def test_a_change_is_placed_awaited_and_done(by: str, ready: Shop) -> None:
    cells = {"code": f"{ONE}, {TWO}"} if by == "code" else {"target_order_id": "10023456-1"}
    new = {"access_number": "(888) 402-7755", "product": "7002", "origin": "Y", "termination": "no"}
    answer = ready.send(row("CH", action="C", **{**new, **cells}), name="change.csv")
    assert answer.reasons == {}
    assert sorted(answer.codes) == sorted([ONE, TWO])
    assert set(answer.confirmation["State"]) == {"placed"}
    assert answer.result["codes_placed"] == 0
    expected = [("10023456-3", "Change", "10023456", "7002", "8884027755", code, "Yes", "No") for code in sorted([ONE, TWO])]
    assert files(ready, "Change") == expected
    result = queries.order("10023456-3", ready.registry)
    assert (result.state, {card.outcome for card in result.codes}) == ("awaited", {"awaited"})
    assert ready.states()[ONE] == "ready"
    confirm(answer, ready)
    assert {card.outcome for card in queries.order("10023456-3", ready.registry).codes} == {"done"}
    (card,) = queries.status(ONE, ready.registry).cards
    assert [getattr(card, name) for name in ("access_number", "product_account", "origin", "termination", "state")] == [
        "8884027755", "7002", "Yes", "No", "ready",
    ]  # fmt: skip
    assert queries.status(THREE, ready.registry).cards[0].access_number == "8008604444"


def test_a_change_leaves_what_it_does_not_name(ready: Shop) -> None:
    confirm(ready.send(take("Change", "FLAG", code=ONE, access_number="", termination="Yes"), name="1.csv"), ready, name="3")
    confirm(ready.send(take("Change", "PRODUCT", code=ONE, access_number="", product="7002"), name="2.csv"), ready, name="4")
    (card,) = queries.status(ONE, ready.registry).cards
    assert [getattr(card, name) for name in ("access_number", "product_account", "origin", "termination")] == [
        "8008604444", "7002", "No", "Yes",
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["code", "order"])
@pytest.mark.parametrize(
    ("action", "was", "becomes"),
    [("Disconnect", "ready", "disconnected"), ("Disconnect", "blocked", "disconnected"), ("Block", "ready", "blocked"),
     ("Unblock", "blocked", "ready")],
)  # fmt: skip
def test_a_card_is_moved_once_the_network_shows_it(action: str, was: str, becomes: str, by: str, ready: Shop) -> None:
    bring(ready, THREE, was)
    answer = ready.send(
        take(action, **({"code": THREE} if by == "code" else {"target_order_id": "10023456-2"})), name="take.csv"
    )
    (order,) = set(answer.confirmation["Order ID"])
    assert files(ready, action)[-1] == (order, action, "10023456", "", "", THREE, "", "")
    assert ready.states()[THREE] == was
    confirm(answer, ready)
    assert ready.states()[THREE] == becomes
    assert not list(answer.folder.glob("re[lf]*-*"))
    (done,) = order_rows(answer.folder, "outcome", order).select("Serial", "Authorization Code", "Outcome").rows()
    assert done == ("10023456-2/1", THREE, "done")
    released = [path for path in ready.settings.outbox.rglob("release-10023456-2-*.csv") if path.is_file()]
    assert [read_csv(path)["Authorization Code"].to_list() for path in released] == [[THREE]]  # once, whatever came of it


@pytest.mark.parametrize("action", TAKING)
def test_what_the_network_does_not_show_is_not_done_and_the_reseller_learns_of_it(action: str, ready: Shop) -> None:
    was = "blocked" if action == "Unblock" else "ready"
    for code in (ONE, TWO):
        bring(ready, code, was) if was == "ready" else None
    if was == "blocked":
        confirm(ready.send(take("Block", "FIRST", code=f"{ONE} {TWO}"), name="first.csv"), ready, name="first")
    answer = ready.send(take(action, code=f"{ONE} {TWO}"), name="take.csv")
    confirm(answer, ready, TWO)
    becomes = actions.ACTIONS[action].card_becomes or was
    assert (ready.states()[ONE], ready.states()[TWO]) == (becomes, was)
    (order,) = set(answer.confirmation["Order ID"])
    result = order_rows(answer.folder, "outcome", order)
    assert result.select("Authorization Code", "Outcome").rows() == [(ONE, "done"), (TWO, "not done")]
    assert "as it was" in result["What it means"][1]
    (workbook,) = answer.folder.glob(f"outcome-{order}-*.xlsx")
    words = " ".join(str(cell.value) for line in load_workbook(workbook)["Summary"] for cell in line)
    assert "Not all of it was done" in words
    assert not list(answer.folder.glob("refused-*"))
    outcomes = {card.code: card.outcome for card in queries.order(order, ready.registry).codes}
    assert outcomes == {ONE: "done", TWO: "not done"}
    again = ready.send(take(action, "AGAIN", code=TWO), name="again.csv")
    assert again.reasons == {}


def test_a_later_report_shows_after_all_that_it_was_done(ready: Shop) -> None:
    answer = ready.send(take("Block", code=ONE), name="take.csv")
    confirm(answer, ready, ONE)
    assert order_rows(answer.folder, "outcome", "10023456-3")["Outcome"].to_list() == ["not done"]
    confirm(answer, ready, name="late")
    assert ready.states()[ONE] == "blocked"
    assert order_rows(answer.folder, "outcome", "10023456-3")["Outcome"].to_list() == ["not done", "done"]


def test_of_a_file_with_many_orders_the_outcomes_of_a_night_are_one_file(ready: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_names, "MOST_OUTCOMES", 1)
    monkeypatch.setattr(order_files, "_PORTION", 1)  # no portion ends within a file
    answer = ready.send(take("Block", "B1", code=ONE), take("Block", "B2", code=TWO), name="two.csv")
    confirm(answer, ready, TWO)
    (path,) = answer.folder.glob("outcome-????-??-??.csv")
    content = path.read_bytes()
    assert read_csv(path).select("Customer Order ID", "Outcome").rows() == [("B1", "done"), ("B2", "not done")]
    assert len(list(answer.folder.glob("outcome-*"))) == 2
    status = json.loads((answer.folder / "status.json").read_text())
    assert [[file["name"] for file in order["files"]] for order in status["orders"]] == [[path.name]] * 2
    last = (ready.settings.outbox / "acme" / "index.csv").read_text().splitlines()[-1].split(",")
    assert last[2:6] == ["outcome", f"{answer.folder.name}/{path.name}", "2", "2"]
    path.unlink()
    rewrite_submission(ready.as_run, queries.submission(answer.folder.name, ready.registry).event)
    assert path.read_bytes() == content


def test_an_order_for_cards_is_awaited_until_a_report_names_it(ready: Shop) -> None:
    ready.send(take("Block", code=ONE), name="take.csv")
    ready.later(hours=49)
    result = ready.night()
    assert (result["orders_awaited"], result["orders_overdue"], result["cards_not_changed"]) == (1, 1, 0)


def test_the_columns_that_an_action_does_not_set_change_nothing(ready: Shop) -> None:
    answer = ready.send(row("BL", action="Block", code=ONE, access_number="8884027755", product="7002"), name="take.csv")
    assert answer.reasons == {}
    confirm(answer, ready)
    (card,) = queries.status(ONE, ready.registry).cards
    assert (card.access_number, card.product_account, card.state) == ("8008604444", "7001", "blocked")


@pytest.mark.parametrize("action", TAKING)
def test_somebody_elses_card_and_no_card_at_all_get_the_same_answer(action: str, ready: Shop) -> None:
    codes = [FOUR, NOBODYS, str(EXTERNAL[0])]
    rows = [take(action, f"T{number}", code=code) for number, code in enumerate(codes)]
    targets = [
        take(action, f"O{number}", target_order_id=target) for number, target in enumerate(["20098765-1", "10023456-99", "??"])
    ]
    answer = ready.send(*rows, *targets, name="take.csv")
    assert answer.reasons == {number: ["CARD_UNKNOWN"] for number in range(2, 8)}
    words = answer.rejections["What to fix"].to_list()
    assert len({text.replace(code, "") for text, code in zip(words, codes, strict=False)}) == 1
    assert len({text.replace(name, "") for text, name in zip(words[3:], ["20098765-1", "10023456-99", "??"], strict=True)}) == 1


@pytest.mark.parametrize("by", ["code", "order"])
@pytest.mark.parametrize(
    ("action", "state"),
    [("Change", "blocked"), ("Block", "blocked"), ("Unblock", "ready"), *((action, "placed") for action in TAKING)],
)
def test_a_card_in_another_state_is_not_ready_for_it(action: str, state: str, by: str, ready: Shop) -> None:
    code, order = THREE, "10023456-2"
    if state == "placed":
        placed = ready.send(row("NEW", quantity="1"), name="new.csv")
        (code,) = placed.codes
        (order,) = placed.confirmation["Order ID"]
    bring(ready, code, state)
    answer = ready.send(take(action, **({"code": code} if by == "code" else {"target_order_id": order})), name="take.csv")
    assert answer.reasons == {2: ["CARD_NOT_READY"]}
    words = answer.rejections["What to fix"].item()
    assert (code in words, order in words) == (by == "code", by == "order")  # no code that the reseller did not write


def test_a_refused_card_is_not_ready(ready: Shop) -> None:
    answer = ready.send(row("NEW", quantity="1"), name="new.csv")
    confirm(answer, ready, *answer.codes)
    assert ready.send(take("Change", code=answer.codes[0]), name="take.csv").reasons == {2: ["CARD_NOT_READY"]}


@pytest.mark.parametrize("action", TAKING)
def test_a_disconnected_card_is_gone_for_good(action: str, ready: Shop) -> None:
    bring(ready, THREE, "disconnected")
    assert ready.send(take(action, code=THREE), name="take.csv").reasons == {2: ["CARD_DISCONNECTED"]}
    by_order = ready.send(take(action, target_order_id="10023456-2"), name="order.csv")
    assert by_order.reasons == {2: ["CARD_DISCONNECTED"]}


def test_an_order_id_takes_the_cards_that_are_left_of_it(ready: Shop) -> None:
    bring(ready, ONE, "disconnected")
    answer = ready.send(take("Block", target_order_id="10023456-1"), name="take.csv")
    assert answer.codes == [TWO]


def test_a_card_that_waits_for_an_earlier_order_is_not_ready(ready: Shop) -> None:
    ready.send(take("Change", code=ONE), name="1.csv")
    assert ready.send(take("Block", "T2", code=ONE), name="2.csv").reasons == {2: ["CARD_NOT_READY"]}
    assert ready.send(take("Block", "T2", target_order_id="10023456-1"), name="3.csv").reasons == {2: ["CARD_NOT_READY"]}
    assert ready.send(take("Block", "T2", code=TWO), name="4.csv").reasons == {}


def test_two_orders_of_a_file_do_not_take_one_card(ready: Shop) -> None:
    answer = ready.send(take("Block", "T1", target_order_id="10023456-1"), take("Disconnect", "T2", code=TWO), name="take.csv")
    assert answer.reasons == {3: ["CARD_NOT_READY"]}


def test_every_card_of_a_cell_that_cannot_be_taken_is_named(ready: Shop) -> None:
    answer = ready.send(take("Block", code=f"{ONE} {FOUR} {NOBODYS}"), name="take.csv")
    assert answer.reasons == {2: ["CARD_UNKNOWN"]}
    assert all(code in answer.rejections["What to fix"].item() for code in (FOUR, NOBODYS))


def test_the_states_of_cards_that_are_not_ready_are_said_once(ready: Shop) -> None:
    new = ready.send(row("NEW", quantity="3"), name="new.csv")
    answer = ready.send(
        take("Block", "NR1", target_order_id=new.confirmation["Order ID"][0]),
        take("Block", "NR2", code=" ".join(new.codes)),
        take("Unblock", "NR3", code=ONE),
        name="not-ready.csv",
    )
    fix = answer.rejections["What to fix"].to_list()
    assert fix[0].startswith("Order ID “10023456-3”: 3 cards still await the network. This can't be done")
    assert fix[1].startswith(
        f"Code {', '.join(f'“{code}”' for code in sorted(new.codes))}: Each card still awaits the network."
    )
    assert fix[2].startswith(f"Code “{ONE}”: The card is not blocked. ")
    assert [text.count("This can't be done") for text in fix] == [1, 1, 1]


def test_cards_of_an_order_id_are_counted_by_their_states(ready: Shop) -> None:
    ready.send(take("Disconnect", "D", code=ONE), name="d.csv")
    answer = ready.send(take("Unblock", "U", target_order_id="10023456-1"), name="u.csv")
    rest = len(ready.registry.query("SELECT code FROM cards WHERE order_pk = 1", {"code": pl.Int64})) - 1
    (fix,) = answer.rejections["What to fix"]
    assert f"1 card has an earlier order that is still awaited, {rest} {'is' if rest == 1 else 'are'} not blocked." in fix


def test_a_change_of_nothing_is_refused(ready: Shop) -> None:
    assert ready.send(take("Change", access_number="", code=ONE), name="take.csv").reasons == {2: ["NOTHING_TO_CHANGE"]}


@pytest.mark.parametrize("action", TAKING)
@pytest.mark.parametrize(
    "cells",
    [
        {"code": ONE, "target_order_id": "10023456-1"},
        {"code": ONE, "quantity": "1"},
        {"target_order_id": "10023456-1", "btn": "3035550142"},
    ],
)
def test_cards_are_named_by_code_or_order_id_alone(action: str, cells: dict[str, str], ready: Shop) -> None:
    answer = ready.send(take(action, **cells), name="take.csv")
    assert "CODE_TYPE_CONFLICT" in answer.reasons[2]


@pytest.mark.parametrize("action", TAKING)
def test_an_order_for_cards_names_some(action: str, ready: Shop) -> None:
    assert ready.send(take(action), take(action, "U", code=ONE), name="take.csv").reasons[2] == ["CODE_MISSING"]


def test_an_add_does_not_name_an_order_id(ready: Shop) -> None:
    assert ready.send(row("N", quantity="1", target_order_id="10023456-1"), name="add.csv").reasons == {
        2: ["CODE_TYPE_CONFLICT"]
    }


def test_what_a_change_sets_must_be_the_accounts_own(ready: Shop) -> None:
    rows = [take("Change", "P", code=ONE, product="8001"), take("Change", "N", code=TWO, access_number="8776662093")]
    rows.append(take("Change", "F", code=THREE, origin="perhaps"))
    assert ready.send(*rows, name="take.csv").reasons == {2: ["PRODUCT_UNKNOWN"], 3: ["ACCESS_NOT_OFFERED"], 4: ["ORIGIN_FLAG"]}


def test_the_same_order_for_cards_is_already_placed(ready: Shop) -> None:
    ready.send(take("Block", code=ONE), name="1.csv")
    again = ready.send(take("Block", code=ONE), take("Block", "N", code=TWO), name="2.csv")
    assert (again.result["orders_already_placed"], again.codes) == (1, [TWO])
    assert ready.send(take("Block", code=THREE), name="3.csv").reasons == {2: ["ORDER_ID_USED"]}


def test_a_new_action_is_one_row_in_the_table(ready: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(actions.ACTIONS, "Suspend", Action("Suspend", "S", cards_in=("ready",), card_becomes="blocked"))
    monkeypatch.setitem(actions.ACTIONS, "Recolour", Action("Recolour", "R", cards_in=("blocked",), changes=True))
    assert ready.send(take("Suspend", "NO", code=FOUR), name="no.csv").reasons == {2: ["CARD_UNKNOWN"]}
    answer = ready.send(take("s", "S", target_order_id="10023456-1"), name="suspend.csv")
    assert [line[:2] for line in files(ready, "Suspend")] == [("10023456-3", "Suspend")] * 2
    confirm(answer, ready, TWO)
    assert (ready.states()[ONE], ready.states()[TWO]) == ("blocked", "ready")
    assert order_rows(answer.folder, "outcome", "10023456-3")["Outcome"].to_list() == ["done", "not done"]
    assert ready.send(take("Recolour", "EMPTY", code=ONE), name="0.csv").reasons == {2: ["NOTHING_TO_CHANGE"]}
    confirm(ready.send(take("R", "R", code=ONE, origin="Y"), name="recolour.csv"), ready, name="3")
    (card,) = queries.status(ONE, ready.registry).cards
    assert (card.origin, card.state) == ("Yes", "blocked")


def test_a_card_whose_state_changes_between_deciding_and_committing_is_decided_anew(ready: Shop) -> None:
    steps: list[str] = []

    def meanwhile(step: str) -> None:
        """Another worker places a Disconnect of the card, and the network carries it out."""
        steps.append(step)
        if step != "decided" or steps.count(step) > 1:
            return
        with open_registry(ready.settings.registry_url) as registry:
            other = Run(ready.settings, registry, ready.runtime)
            ready.drop("end.csv", csv_of(take("Disconnect", "END", code=ONE)), "house")
            (answer,) = process_inbox(other).results
            ready.report(("10023456-3", ONE), name="end-report.csv")
            ready.later(hours=1)
            assert reconcile(other).failures == []
            assert answer.orders_placed == 1

    ready.drop("block.csv", csv_of(take("Block", "BL", code=ONE), take("Block", "BL2", code=TWO)))
    (answer,) = ready.run(meanwhile)
    assert answer.reasons == {2: ["CARD_DISCONNECTED"]}
    assert answer.confirmation["Authorization Code"].to_list() == [TWO]
    assert steps.count("decided") == 2
    assert ready.states()[ONE] == "disconnected"
    assert verify(ready.settings, ready.registry).findings == []
