"""`cards replay` answers submissions again that were rejected because our catalogue or a rule of ours was wrong."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import load_workbook

from pipelines.admin import retention
from pipelines.admin.replay import ReplayResult, replay
from pipelines.common.errors import UsageError
from pipelines.intake.private_copy import Spool
from pipelines.registry.schema import TABLES
from pipelines.registry.store import open_registry
from pipelines.run import Run, open_claims
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, BILLING_NUMBERS, Shop, csv_of, read_csv, row, sampled, shared_parser
from tests.faults.killing import environment
from tests.faults.worker import Worker

pytestmark = pytest.mark.one_database

KILLED = -9
REASON = "PRODUCT_UNKNOWN"
NEW = ("acme", "10023456", "9999", "a product that was forgotten", "whole", "", 0)


def mend_catalogue(shop: Shop) -> None:
    more = pl.DataFrame([NEW], ACCOUNTS.columns, orient="row")
    shop.registry.load_catalogue(pl.concat([ACCOUNTS, more]), ACCESS_NUMBERS, BILLING_NUMBERS)


def replayed(shop: Shop, reason: str = REASON, **how: Any) -> ReplayResult:
    with shared_parser():
        return replay(shop.as_run, reason, **how)


def rejected(shop: Shop, *names: str) -> list[str]:
    """Drop a file each with an order on a product that the catalogue lacks and one that is right; their folders."""
    for name in names:
        rows = row(name, quantity="2", product="9999"), row(f"{name}-GOOD", quantity="1")
        assert shop.send(*rows, name=f"{name}.csv").result["reasons"] == {REASON: 1}
    return shop.registry.query("SELECT folder FROM events WHERE kind = 'orders' ORDER BY event", {"folder": str})[
        "folder"
    ].to_list()


def orders(shop: Shop) -> list[str]:
    return shop.registry.query("SELECT customer_order_id AS o FROM orders ORDER BY order_pk", {"o": str})["o"].to_list()


def outcomes(done: ReplayResult) -> list[tuple[str, str]]:
    assert done.failures == []
    return [(one.file, one.outcome) for one in done.submissions]


def tables(shop: Shop) -> dict[str, Any]:
    return {name: sorted(shop.registry.query(f"SELECT * FROM {name}", dict(schema)).rows()) for name, schema in TABLES.items()
            if name != "claims"}  # fmt: skip


def test_submissions_are_answered_again_once_the_catalogue_is_right(shop: Shop) -> None:
    folders = rejected(shop, "A", "B")
    usage = shop.registry.query("SELECT files, bytes FROM usage", {"files": int, "bytes": int}).rows()
    mend_catalogue(shop)
    shop.later(hours=1)
    done = replayed(shop)
    assert outcomes(done) == [("A.csv", "answered"), ("B.csv", "answered")]
    first = done.submissions[0]
    assert (first.orders_placed, first.orders_already_placed, first.reasons) == (1, 1, {})
    assert first.submission == f"outbox/acme/{folders[0]}" != first.folder
    folder = shop.settings.home / first.folder
    assert (folder / "A.csv").read_bytes() == (shop.settings.home / first.submission / "A.csv").read_bytes()
    assert sorted(read_csv(folder / "confirmation.csv")["State"]) == ["already placed", "placed", "placed"]
    assert first.submission in str(list(load_workbook(folder / "confirmation.xlsx").worksheets[0].values))
    assert orders(shop) == ["A-GOOD", "B-GOOD", "A", "B"]
    assert len(shop.placements()) == 6
    assert shop.registry.query("SELECT files, bytes FROM usage", {"files": int, "bytes": int}).rows() == usage
    again = tables(shop)
    assert replayed(shop).submissions == []
    assert tables(shop) == again


def test_one_that_would_be_rejected_as_before_is_left(shop: Shop) -> None:
    rejected(shop, "A")
    before = tables(shop)
    assert outcomes(replayed(shop)) == [("A.csv", "unchanged")]
    assert tables(shop) == before
    mend_catalogue(shop)
    assert outcomes(replayed(shop)) == [("A.csv", "answered")]


def test_a_replay_that_still_has_the_reason_is_replayed_itself(shop: Shop) -> None:
    shop.send(row("A", quantity="1", product="9999"), row("B", quantity="1", product="8888"), name="both.csv")
    mend_catalogue(shop)
    assert outcomes(replayed(shop)) == [("both.csv", "answered")]
    assert outcomes(replayed(shop)) == [("both.csv", "unchanged")]
    more = pl.DataFrame([NEW, ("acme", "10023456", "8888", "", "whole", "", 0)], ACCOUNTS.columns, orient="row")
    shop.registry.load_catalogue(pl.concat([ACCOUNTS, more]), ACCESS_NUMBERS, BILLING_NUMBERS)
    assert outcomes(replayed(shop)) == [("both.csv", "answered")]
    assert orders(shop) == ["A", "B"]


def test_a_dry_run_says_what_would_come_of_it_and_writes_nothing(shop: Shop) -> None:
    rejected(shop, "A")
    mend_catalogue(shop)
    before, files = tables(shop), sorted(shop.settings.home.rglob("*"))
    done = replayed(shop, dry_run=True)
    assert outcomes(done) == [("A.csv", "would be answered")]
    assert (done.submissions[0].orders_placed, done.submissions[0].orders_already_placed) == (1, 1)
    assert (tables(shop), sorted(shop.settings.home.rglob("*"))) == (before, files)


def test_by_date_and_reseller(shop: Shop) -> None:
    rejected(shop, "A")
    shop.later(days=1)
    rejected(shop, "B")
    shop.send(row("G", account="20098765", quantity="1", product="9999"), name="g.csv", source="globex")
    mend_catalogue(shop)
    tomorrow = f"{shop.now:%Y-%m-%d}"
    assert outcomes(replayed(shop, since=tomorrow, reseller="acme", dry_run=True)) == [("B.csv", "would be answered")]
    assert outcomes(replayed(shop, reseller="globex")) == [("g.csv", "unchanged")]
    with pytest.raises(UsageError):
        replayed(shop, "NO_SUCH_REASON")
    with pytest.raises(UsageError):
        replayed(shop, since="yesterday")


def test_a_reason_that_does_not_pass_can_be_replayed_and_the_bytes_get_the_new_answer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule of ours was wrong: the file had its answer for good."""
    from pipelines.orders import decision

    real = decision.registry_rules.unavailable_codes
    code = "73905162840517"
    monkeypatch.setattr(decision.registry_rules, "unavailable_codes", lambda asked, *_: asked)
    assert shop.send(row("A", code=code)).result["reasons"] == {"CODE_TAKEN": 1}
    monkeypatch.setattr(decision.registry_rules, "unavailable_codes", real)
    assert shop.send(row("A", code=code)).result["orders_placed"] == 0, "the same bytes get the same answer"
    assert outcomes(replayed(shop, "CODE_TAKEN")) == [("orders.csv", "answered")]
    assert (orders(shop), replayed(shop, "CODE_TAKEN").submissions) == (["A"], [])
    again = shop.send(row("A", code=code))
    assert (again.result["orders_already_placed"], again.result["reasons"]) == (1, {})


def test_bytes_that_came_again_and_were_placed_are_left(shop: Shop) -> None:
    rejected(shop, "A")
    mend_catalogue(shop)
    rows = row("A", quantity="2", product="9999"), row("A-GOOD", quantity="1")
    assert shop.send(*rows, name="A.csv").result["orders_placed"] == 1
    assert replayed(shop).submissions == []


def test_an_archived_submission_comes_back(shop: Shop) -> None:
    shop.send(row("A", quantity="2", product="9999"), name="a.csv")
    mend_catalogue(shop)
    shop.later(days=40)
    retention.archive("2026-11-01", "", shop.as_run)
    assert outcomes(replayed(shop, dry_run=True)) == [("a.csv", "in an archive, not tried")]
    assert outcomes(replayed(shop)) == [("a.csv", "answered")]
    assert orders(shop) == ["A"]


def test_one_whose_original_is_lost_is_named_and_the_others_are_answered(shop: Shop) -> None:
    folders = rejected(shop, "A", "B")
    mend_catalogue(shop)
    (shop.settings.outbox / "acme" / folders[0] / "A.csv").unlink()
    done = replayed(shop)
    assert [folders[0] in str(error) for error in done.failures] == [True]
    assert [one.file for one in done.submissions] == ["B.csv"]


def test_a_file_of_the_same_name_that_waits_in_the_inbox_is_left_alone(shop: Shop) -> None:
    rejected(shop, "A")
    mend_catalogue(shop)
    waiting = shop.drop("A.csv", csv_of(row("OTHER", quantity="1")))
    assert outcomes(replayed(shop)) == [("A.csv", "answered")]
    assert waiting.exists()
    (answer,) = shop.run()
    assert answer.result["orders_placed"] == 1


def test_the_names_of_our_reports_are_kept_from_originals(shop: Shop) -> None:
    shop.send(row("A", quantity="2", product="9999"), name="confirmation.csv")
    mend_catalogue(shop)
    done = replayed(shop)
    assert outcomes(done) == [("confirmation.csv", "answered")]
    assert (shop.settings.home / done.submissions[0].folder / "original-confirmation.csv").is_file()


# -- crashes, and two at once ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker")) as started:
        yield started


STEPS = ["read", "decided", "committed", "placement written", "folder written", "archived", "delivered"]


@pytest.mark.parametrize("step", sampled(STEPS, "committed", "folder written", others=pytest.mark.slow))
def test_a_killed_replay_is_finished_by_the_next_one_and_places_nothing_twice(step: str, shop: Shop, worker: Worker) -> None:
    folders = rejected(shop, "A", "B")
    mend_catalogue(shop)
    dropped = shop.drop("A.csv", (shop.settings.outbox / "acme" / folders[0] / "A.csv").read_bytes())
    killed = worker.run("replay", "--reason", REASON, environment=environment(shop), kill=step)
    assert killed.code == KILLED, killed
    ended = worker.run("replay", "--reason", REASON, "--json", environment=environment(shop))
    assert (ended.code, json.loads(ended.out)["failures"]) == (0, []), ended
    assert dropped.exists(), "what waits in the inbox is another file"
    assert sorted(orders(shop)) == ["A", "A-GOOD", "B", "B-GOOD"]
    events = shop.registry.query(
        "SELECT file_name, replays, folder FROM events WHERE replays > 0 ORDER BY event",
        {"file_name": str, "replays": int, "folder": str},
    )
    assert events["file_name"].to_list() == ["A.csv", "B.csv"]
    for name, folder in events.select("file_name", "folder").iter_rows():
        assert (shop.settings.outbox / "acme" / folder / name).is_file(), "with its original"
    assert shop.registry.undelivered() == []
    assert len(shop.placements()) == 6


def test_two_replays_at_once_answer_each_submission_once(shop: Shop) -> None:
    rejected(shop, *"ABCD")
    mend_catalogue(shop)
    both = threading.Barrier(2)
    found: list[tuple[str, str]] = []

    def work() -> None:
        with open_registry(shop.settings.registry_url) as registry:
            both.wait(20)
            found.extend(outcomes(replay(Run(shop.settings, registry, shop.runtime), REASON)))

    with shared_parser():
        workers = [threading.Thread(target=work) for _ in range(2)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
    assert sorted(orders(shop)) == sorted([*"ABCD", *(f"{name}-GOOD" for name in "ABCD")])
    events = shop.registry.query("SELECT replays FROM events WHERE replays > 0", {"replays": int})
    assert len(events) == 4
    assert len([one for one in found if one[1] == "answered"]) >= 4


def test_one_that_another_worker_has_in_hand_is_left_to_it(shop: Shop) -> None:
    from pipelines.registry.claims import FileKey

    rejected(shop, "A")
    mend_catalogue(shop)
    event = int(shop.registry.query("SELECT max(event) AS e FROM events", {"e": int}).item())
    with (
        open_registry(shop.settings.registry_url) as registry,
        Spool(shop.settings.home) as spool,
        open_claims(Run(shop.settings, registry, shop.runtime), spool.name) as claims,
    ):
        claims.claim(lambda _: [FileKey("acme", "A.csv", 0, 0, -event)])
        assert outcomes(replayed(shop)) == []
    assert outcomes(replayed(shop)) == [("A.csv", "answered")]


def test_the_command_prints_a_table_and_json(shop: Shop, worker: Worker, tmp_path: Path) -> None:
    rejected(shop, "A")
    mend_catalogue(shop)
    said = worker.run("replay", "--reason", REASON, "--dry-run", environment=environment(shop))
    assert (said.code, said.err) == (0, "")
    assert "would be answered" in said.out
    result = json.loads(worker.run("replay", "--reason", REASON, "--json", environment=environment(shop)).out)
    assert [one["outcome"] for one in result["submissions"]] == ["answered"]
    assert worker.run("replay", "--reason", "WHAT", environment=environment(shop)).code == 2
