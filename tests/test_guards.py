"""What a decision was made by may change before it is entered: then it is made again, on both databases."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipelines.admin import surplus
from pipelines.admin.replay import replay
from pipelines.registry import limits
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Answer, Shop, csv_of, row
from tests.faults.invariants import assert_sound
from tests.test_actions import ONE, THREE, TWO, after_one_night, confirm, ready, take

__all__ = ["after_one_night", "ready"]


def decided_anew(shop: Shop, meanwhile: Callable[[], object]) -> list[Answer]:
    """Answer what lies in the inbox, while something happens after the first decision; it must be decided once more."""
    decisions: list[str] = []

    def step(name: str) -> None:
        if name == "decided":
            decisions.append(name)
            if len(decisions) == 1:
                meanwhile()

    answers = shop.run(step)
    assert len(decisions) > 1, "what was decided by the state of before was entered"
    assert shop.failures == []
    assert_sound(shop)
    return answers


def missed_disconnect(shop: Shop, code: str) -> Answer:
    """An order to disconnect a card that a night gave up: the network may still carry it out."""
    answer = shop.send(take("Disconnect", "LATE", code=code), name="late.csv")
    shop.report((answer.confirmation["Order ID"][0], ""), name="not-yet.csv")
    shop.night()
    shop.later(days=1)
    assert shop.states()[code] == "ready"
    return answer


def carry_out(shop: Shop, answer: Answer) -> None:
    """The network carries out an order after all, and a night hears of it."""
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows(), name="after-all.csv")
    shop.night()


def test_a_card_that_is_disconnected_meanwhile_is_not_blocked(ready: Shop) -> None:
    late = missed_disconnect(ready, ONE)
    ready.drop("block.csv", csv_of(take("Block", code=ONE)))
    (answer,) = decided_anew(ready, lambda: carry_out(ready, late))
    assert answer.reasons == {2: ["CARD_DISCONNECTED"]}
    assert ready.states()[ONE] == "disconnected"


def test_an_order_of_which_a_card_is_disconnected_meanwhile_is_taken_without_it(ready: Shop) -> None:
    late = missed_disconnect(ready, ONE)
    ready.drop("block.csv", csv_of(take("Block", target_order_id="10023456-1")))
    (answer,) = decided_anew(ready, lambda: carry_out(ready, late))
    assert answer.codes == [TWO]


def test_an_order_that_another_worker_places_and_the_network_carries_out_meanwhile_comes_first(ready: Shop) -> None:
    ready.drop("block.csv", csv_of(take("Block", code=THREE)))

    def other() -> None:
        ready.drop("house.csv", csv_of(take("Block", "H", code=THREE)), "house")
        (first,) = ready.run()  # the other file is ours
        confirm(first, ready, name="blocked")

    (answer,) = decided_anew(ready, other)
    assert answer.reasons == {2: ["CARD_NOT_READY"]}


def test_a_card_that_becomes_ready_meanwhile_can_be_blocked(shop: Shop) -> None:
    placed = shop.send(row("A", code=ONE))
    shop.later(days=1)
    shop.drop("block.csv", csv_of(take("Block", code=ONE)))
    (answer,) = decided_anew(shop, lambda: confirm(placed, shop))
    assert answer.codes == [ONE]
    assert answer.reasons == {}


def test_a_surplus_card_that_is_granted_meanwhile_can_be_blocked(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    ((order, code),) = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report((order, ""), name="none.csv")
    shop.night()
    (new,) = [one for one, state in shop.states().items() if state == "placed"]
    shop.later(days=1)
    shop.report((order, code), (order, new), name="both.csv")
    shop.night()
    (more,) = [one for one, state in shop.states().items() if state == "surplus"]
    shop.drop("block.csv", csv_of(take("Block", code=more)))
    (answer,) = decided_anew(shop, lambda: surplus.grant(shop.as_run, order, "Ann", "they may have it"))
    assert answer.codes == [more]


def test_files_decided_together_wait_for_none_that_is_decided_anew(ready: Shop) -> None:
    late = missed_disconnect(ready, ONE)
    ready.drop("block.csv", csv_of(take("Block", code=ONE)))
    ready.drop("globex.csv", csv_of(row("N", account="20098765", product="8001", quantity="1")), "globex")
    answers = {answer.result["file"]: answer for answer in decided_anew(ready, lambda: carry_out(ready, late))}
    assert len(answers["globex.csv"].codes) == 1
    assert answers["block.csv"].reasons == {2: ["CARD_DISCONNECTED"]}


# -- limits ------------------------------------------------------------------------------------------------------------


def use(shop: Shop, codes: int = 0, attempts: int = 0) -> None:
    """Another worker answers files of acme."""
    day = f"{shop.now:%Y-%m-%d}"
    with shop.registry.transaction():
        used = pl.DataFrame({"reseller": "acme", "day": day, "codes": codes, "files": 1, "bytes": 1, "parse_ms": 1})
        limits.add_usage(shop.registry, used)
        tried = pl.DataFrame({"event": 1, "source": "acme", "day": day, "codes": attempts})
        shop.registry.append("taken_code_attempts", tried.filter(pl.col("codes") > 0))


def hold(shop: Shop) -> None:
    with shop.registry.transaction():
        limits.hold(shop.registry, "acme", shop.runtime.timestamp())


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (lambda shop: use(shop, codes=5), "QUOTA_EXCEEDED"),
        (lambda shop: use(shop, attempts=3), "FILE_HELD"),
        (hold, "FILE_HELD"),
    ],
    ids=["codes", "attempts", "hold"],
)
def test_what_another_worker_gives_the_same_reseller_meanwhile_counts(
    meanwhile: Callable[[Shop], None], reason: str, tmp_path: Path, registry_url: str
) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_codes=7, max_taken_code_attempts=3)
    shop.send(row("A", code=ONE), name="first.csv")
    shop.drop("more.csv", csv_of(row("B", quantity="2"), row("C", code=ONE)))
    (answer,) = decided_anew(shop, lambda: meanwhile(shop))
    assert reason in {reason for reasons in answer.reasons.values() for reason in reasons}
    shop.registry.close()


def test_what_stays_within_the_limits_is_decided_once(shop: Shop) -> None:
    decisions: list[str] = []

    def step(name: str) -> None:
        if name == "decided":
            decisions.append(name)
            use(shop, codes=5)

    shop.drop("more.csv", csv_of(row("B", quantity="2")))
    (answer,) = shop.run(step)
    assert len(answer.codes) == 2
    assert len(decisions) == 1


# -- answers -----------------------------------------------------------------------------------------------------------


def test_bytes_that_are_answered_anew_meanwhile_get_the_new_answer(shop: Shop) -> None:
    content = csv_of(row("R", product="9", quantity="1"))
    shop.drop("first.csv", content)
    shop.run()
    more = pl.concat([ACCOUNTS, ACCOUNTS.head(1).with_columns(product=pl.lit("9"))])
    shop.registry.load_catalogue(more, ACCESS_NUMBERS)
    shop.drop("again.csv", content)
    (answer,) = decided_anew(shop, lambda: replay(shop.as_run, "PRODUCT_UNKNOWN"))
    events = shop.registry.query("SELECT event, original_event, replays FROM events ORDER BY event",
                                 dict.fromkeys(["event", "original_event", "replays"], pl.Int64))  # fmt: skip
    (new,) = events.filter(pl.col("replays") > 0)["event"]
    assert events["original_event"][-1] == new
    assert answer.result["orders_already_placed"] == 1


def test_bytes_whose_answer_is_withdrawn_meanwhile_are_read_by_the_next_run(shop: Shop) -> None:
    """They were not read, as they had an answer for good; the one that takes its place is open, as the source is on hold."""
    content = csv_of(row("R", code="11111111111111"), row("R", code=ONE))
    shop.drop("first.csv", content)
    shop.run()
    hold(shop)
    shop.drop("again.csv", content)
    done = shop.run(lambda step: replay(shop.as_run, "CODE_RUN") if step == "read" else None)
    assert done == []
    assert shop.failures == []
    (answer,) = shop.run()
    assert {reason for reasons in answer.reasons.values() for reason in reasons} >= {"FILE_HELD"}
    assert_sound(shop)
