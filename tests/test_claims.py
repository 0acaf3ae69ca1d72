"""Workers divide an inbox: each file is read by one of them, and what a dead one had in hand is answered by the others."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.common.context import Runtime
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import Spool, has_ended
from pipelines.orders import claiming
from pipelines.orders.claiming import claim_portion, file_key
from pipelines.process_orders import process_inbox
from pipelines.registry import claims as registry_claims
from pipelines.registry.claims import Claims
from pipelines.registry.store import Registry, open_registry
from pipelines.run import Run, open_claims
from tests.conftest import Shop, csv_of, row, shared_parser
from tests.faults.invariants import assert_sound, dropped
from tests.faults.killing import environment
from tests.faults.worker import Worker
from tests.test_orders import STEPS, globex

KILLED = -9
Step = Callable[[str], None]


@pytest.fixture(autouse=True)
def _one_parser() -> Iterator[None]:
    with shared_parser():
        yield


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Processes that die of a step."""
    with Worker(tmp_path_factory.mktemp("worker")) as started:
        yield started


@pytest.fixture
def portions_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "FIRST_FILES", 2)


def claimed_files(registry: Registry) -> int:
    """How many files are in hand."""
    live = registry_claims._is_live(registry)
    return int(registry.query(f"SELECT count(*) AS n FROM claims WHERE {live}", {"n": pl.Int64}).item())


def drop(shop: Shop, *names: str) -> None:
    """Drop a file of one order each."""
    for name in names:
        shop.drop(f"{name}.csv", csv_of(row(name, quantity="1")))


class Other:
    """Another worker on the same inbox, with a connection of its own: what it answers and how many files it reads."""

    def __init__(self, shop: Shop, **settings: Any) -> None:
        self.shop, self.settings = shop, shop.settings.model_copy(update=settings)
        self.reads = 0
        self.runtime = shop.runtime._replace(checkpoint=self._count)

    def _count(self, step: str) -> None:
        self.reads += step == "read"

    def run(self, sources: Callable[[str], bool] = lambda _: True) -> list[str]:
        with open_registry(self.shop.settings.registry_url) as registry:
            done = process_inbox(Run(self.settings, registry, self.runtime), sources)
        assert done.failures == []
        return [one.file for one in done.results]


@contextmanager
def in_hand(shop: Shop, *names: str, spool_name: str = "") -> Iterator[Claims]:
    """A worker that lives and has files in hand, of which nothing comes."""
    with (
        open_registry(shop.settings.registry_url) as registry,
        Spool(shop.settings.home) as spool,
        open_claims(Run(shop.settings, registry, shop.runtime), spool_name or spool.name) as claims,
    ):
        files = [file for file in inbox.list_files(shop.settings.inbox) if file.path.stem in names]
        assert len(claim_portion(claims, files, is_first=True).files) == len(names)
        yield claims


def rows(shop: Shop) -> int:
    """How many rows the table of claims has, live or not."""
    return int(shop.registry.query("SELECT count(*) AS claims FROM claims", {"claims": int})["claims"].item())


# -- several workers ---------------------------------------------------------------------------------------------------


@pytest.mark.one_database
@pytest.mark.parametrize("step", ["claimed", "decided", "committed", "archived", "delivered"])
def test_no_file_is_read_by_two_workers(step: str, shop: Shop, portions_of_two: None) -> None:
    drop(shop, *"ABCDE")
    given = dropped(shop)
    other = Other(shop)
    seen: list[str] = []
    theirs: list[str] = []

    def meanwhile(at: str) -> None:
        seen.append(at)
        if at == step and seen.count(at) == 1:
            theirs.extend(other.run())

    ours = [answer.result["file"] for answer in shop.run(meanwhile)]
    assert sorted(ours) == ["A.csv", "B.csv"]
    assert sorted(theirs) == ["C.csv", "D.csv", "E.csv"]
    assert (seen.count("read"), other.reads) == (2, 3)
    assert rows(shop) == 0
    assert_sound(shop, given)


def test_many_workers_at_once_divide_an_inbox(shop: Shop, portions_of_two: None) -> None:
    drop(shop, *(f"N{number}" for number in range(24)))
    others = [Other(shop) for _ in range(3)]
    result: list[list[str]] = []
    threads = [threading.Thread(target=lambda other=other: result.append(other.run())) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for names in result for name in names) == sorted(f"N{number}.csv" for number in range(24))
    assert sum(other.reads for other in others) == 24
    assert all(other.reads for other in others)
    assert_sound(shop)


def test_a_worker_for_some_resellers_claims_theirs_alone(shop: Shop) -> None:
    drop(shop, "A")
    shop.drop("G.csv", csv_of(globex("G", quantity="1")), "globex")
    other = Other(shop)
    theirs: list[str] = []

    def meanwhile(step: str) -> None:
        if step == "claimed":
            theirs.extend(other.run())

    with open_registry(shop.settings.registry_url) as registry:
        run = Run(shop.settings, registry, shop.runtime._replace(checkpoint=meanwhile))
        ours = process_inbox(run, lambda source: source == "globex").results
    assert ([one.file for one in ours], theirs) == (["G.csv"], ["A.csv"])


def test_what_another_worker_has_committed_is_delivered_by_that_worker_alone(shop: Shop) -> None:
    drop(shop, "A")
    other = Other(shop)
    seen: list[list[str]] = []

    def meanwhile(step: str) -> None:
        if step in ("committed", "placement written", "folder written", "archived"):
            with open_claims(shop.as_run, "nobody") as claims:
                seen.append(claims.claim_events([]))
        if step == "committed":
            assert other.run() == []

    assert len(shop.run(meanwhile)) == 1
    assert seen == [[]] * 4


def test_files_that_come_while_a_worker_is_at_work_are_its_too(shop: Shop) -> None:
    drop(shop, "A")
    seen: list[str] = []

    def meanwhile(step: str) -> None:
        seen.append(step)
        if step == "delivered" and seen.count(step) == 1:
            drop(shop, "B")

    assert [answer.result["file"] for answer in shop.run(meanwhile)] == ["A.csv", "B.csv"]


# -- what a file is claimed by -----------------------------------------------------------------------------------------


def test_a_file_that_takes_the_place_of_another_is_a_claim_of_its_own(shop: Shop) -> None:
    drop(shop, "A", "B")
    with in_hand(shop, "A", "B"):
        new = shop.settings.home / "new.csv"
        new.write_bytes(csv_of(row("C", quantity="1")))
        new.replace(shop.settings.inbox / "acme" / "A.csv")
        (answer,) = shop.run()
        assert set(answer.confirmation["Customer Order ID"]) == {"C"}
        assert rows(shop) == 2  # those of the worker that lives
    assert rows(shop) == 0
    assert [answer.result["file"] for answer in shop.run()] == ["B.csv"]


def test_names_that_are_no_text_and_inodes_past_what_a_column_holds_are_claimed(shop: Shop) -> None:
    file = InboxFile("acme", Path("inbox/acme/a\udcff\n.csv"), 1, 2, 3, 2**64 - 1)
    other = file._replace(inode=2**63 - 1, size=2)
    with Spool(shop.settings.home) as spool, open_claims(shop.as_run, spool.name) as claims:
        assert claim_portion(claims, [file, other], is_first=True).files == [file, other]
        assert rows(shop) == 2
    assert file_key(file).name == "a\\xff\\n.csv"


@pytest.mark.parametrize(
    ("sizes", "is_first", "taken"),
    [
        ([1] * 200, True, 64),
        ([5 << 20] * 9, True, 1),
        ([4 << 20] * 9, True, 2),
        ([99 << 20, 1], True, 1),
        ([1, 99 << 20, 1], False, 1),
        ([1] * 200, False, 100),
        ([1] * 90, False, 64),
        ([1] * 5000, False, 1000),
        ([4 << 20] * 20, False, 10),
        ([], True, 0),
    ],
)
def test_a_portion_is_small_at_first_and_then_half_of_what_is_left(
    sizes: list[int], is_first: bool, taken: int, shop: Shop
) -> None:
    files = [InboxFile("acme", Path(f"inbox/acme/{number}"), size, 2, 3, number) for number, size in enumerate(sizes)]
    with Spool(shop.settings.home) as spool, open_claims(shop.as_run, spool.name) as claims:
        assert claim_portion(claims, files, is_first=is_first).files == files[:taken]


def test_of_what_is_left_each_worker_takes_half_of_its_share(shop: Shop) -> None:
    drop(shop, "A", "B")
    files = [InboxFile("acme", Path(f"inbox/acme/{number}"), 1, 2, 3, number) for number in range(600)]
    with (
        in_hand(shop, "A"),
        in_hand(shop, "B"),
        Spool(shop.settings.home) as spool,
        open_claims(shop.as_run, spool.name) as claims,
    ):
        assert len(claim_portion(claims, files, is_first=False).files) == 100


# -- leases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "more"), [(-60, -60), (110, 70)], ids=["ended", "from the future"])
def test_a_lease_that_ended_is_taken_over(change: int, more: int, shop: Shop) -> None:
    drop(shop, "A", "B")
    with in_hand(shop, "A", "B") as claims:
        assert shop.run() == []
        assert claimed_files(shop.registry) == 2
        shop.registry.execute(f"UPDATE claims SET renewed_at = renewed_at + {change}")
        assert shop.run() == []  # as good as ended, and not ended
        shop.registry.execute(f"UPDATE claims SET renewed_at = renewed_at + {more}")
        assert len(shop.run()) == 2
        assert rows(shop) == 0
        claims.release()
    assert_sound(shop)


def test_clocks_of_machines_do_not_matter(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(shop, "A")
    now = time.time()
    with in_hand(shop, "A"):
        for hours in (-48, 48):
            monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
            other = Other(shop)
            other.runtime = Runtime(now=lambda hours=hours: shop.now + timedelta(hours=hours))
            assert other.run() == []
    assert len(shop.run()) == 1


@pytest.mark.one_database
def test_a_worker_keeps_what_takes_it_longer_than_a_lease(tmp_path: Path, registry_url: str) -> None:
    before = {thread for thread in threading.enumerate() if thread.name == "claims"}
    shop = Shop(tmp_path / "home", registry_url, claim_seconds=6)
    drop(shop, "A")
    other = Other(shop)
    seen: list[list[str]] = []

    def slowly(step: str) -> None:
        if step == "decided":
            shop.registry.execute("UPDATE claims SET renewed_at = renewed_at - 6")
            limit = time.monotonic() + 60
            while not claimed_files(shop.registry) and time.monotonic() < limit:
                time.sleep(0.1)
            seen.append(other.run())

    assert len(shop.run(slowly)) == 1
    assert (seen, other.reads) == ([[]], 0)
    assert {thread for thread in threading.enumerate() if thread.name == "claims"} == before
    assert_sound(shop)
    shop.registry.close()


@pytest.mark.one_database
def test_a_worker_that_is_stuck_loses_its_files_and_answers_none_twice(
    tmp_path: Path, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_claims, "_STUCK_SECONDS", 0)
    shop = Shop(tmp_path / "home", registry_url, claim_seconds=1)
    drop(shop, "A", "B")
    given = dropped(shop)
    other = Other(shop)
    seen: list[list[str]] = []

    def slowly(step: str) -> None:
        if step == "decided":
            shop.registry.execute("UPDATE claims SET renewed_at = renewed_at - 1")
            time.sleep(2)
            seen.append(other.run())

    assert shop.run(slowly) == []
    assert seen == [["A.csv", "B.csv"]]
    assert_sound(shop, given)
    shop.registry.close()


# -- workers that die --------------------------------------------------------------------------------------------------


@pytest.mark.one_database
@pytest.mark.parametrize("step", STEPS)
def test_what_a_dead_worker_had_in_hand_is_answered_at_once_and_once(step: str, shop: Shop, worker: Worker) -> None:
    drop(shop, *"ABC")
    shop.drop("again.csv", csv_of(row("A", quantity="1")))
    shop.drop("noise.csv", "noise")
    given = dropped(shop)
    assert worker.run(environment=environment(shop), kill=step).code == KILLED
    assert rows(shop) == 5
    result = [answer.result["file"] for answer in shop.run()]
    result += [answer.result["file"] for answer in shop.run()]  # the same bytes again wait for the first ones' answer
    assert len(result) == len(set(result)) == (1 if step == "delivered" else 5)
    assert shop.waiting() == []
    assert rows(shop) == 0
    assert_sound(shop, given)


@pytest.mark.parametrize("step", ["events claimed", "archived"])
def test_who_finishes_what_a_dead_worker_left_may_die_too(step: str, shop: Shop, worker: Worker) -> None:
    drop(shop, *"ABC")
    given = dropped(shop)
    for kill in ("placement written", step):
        assert worker.run(environment=environment(shop), kill=kill).code == KILLED
    assert sorted(answer.result["file"] for answer in shop.run()) == ["A.csv", "B.csv", "C.csv"]
    assert rows(shop) == 0
    assert_sound(shop, given)


@pytest.mark.parametrize("step", ["claimed", "committed"])
def test_a_worker_goes_on_with_the_files_of_one_that_dies_meanwhile(
    step: str, shop: Shop, portions_of_two: None, worker: Worker
) -> None:
    drop(shop, *"ABCD")
    given = dropped(shop)
    seen: list[str] = []

    def meanwhile(at: str) -> None:
        seen.append(at)
        if at == "claimed" and seen.count(at) == 1:
            assert worker.run(environment=environment(shop), kill=step).code == KILLED
            assert rows(shop) == 4

    assert sorted(answer.result["file"] for answer in shop.run(meanwhile)) == ["A.csv", "B.csv", "C.csv", "D.csv"]
    assert rows(shop) == 0
    assert_sound(shop, given)


def test_a_worker_that_left_without_its_registry_keeps_nothing(shop: Shop) -> None:
    drop(shop, "A")
    with in_hand(shop, "A") as claims:
        shop.registry.execute("UPDATE claims SET worker = 'gone'")  # its spool is gone, and its claims are not
        assert has_ended(shop.settings.home, "gone")
        assert not has_ended(shop.settings.home, claims.worker)
        assert len(shop.run()) == 1
    assert rows(shop) == 0


def test_what_is_delivered_by_nobody_is_delivered_by_one_of_two(shop: Shop) -> None:
    drop(shop, "A", "B")
    other = Other(shop)
    theirs: list[str] = []

    def die(step: str) -> None:
        if step == "committed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.run(die)
    ours = shop.run(lambda step: theirs.extend(other.run()) if step == "events claimed" else None)
    assert (len(ours), theirs) == (2, [])
    assert rows(shop) == 0


# -- in two years ------------------------------------------------------------------------------------------------------


def test_the_table_of_claims_does_not_grow(shop: Shop) -> None:
    for number in range(4):
        drop(shop, f"A{number}", f"B{number}")
        with in_hand(shop, f"A{number}", f"B{number}") as claims:
            (shop.settings.inbox / "acme" / f"A{number}.csv").unlink()
            shop.registry.execute("UPDATE claims SET worker = $1", f"dead{number}")
            assert claims.worker
        assert rows(shop) == 2
        assert len(shop.run()) == 1
        assert rows(shop) == 0


def test_claims_of_machines_that_are_lost_go_when_they_have_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(shop, "A", "B")
    with Spool(shop.settings.home) as spool:  # as if it were locked still
        with monkeypatch.context() as patch, in_hand(shop, "A", spool_name=spool.name):
            patch.setattr(Claims, "release", lambda _: None)
        assert rows(shop) == 1
        (shop.settings.inbox / "acme" / "A.csv").unlink()
        shop.registry.execute("UPDATE claims SET renewed_at = renewed_at - 120")
        assert len(shop.run()) == 1
        assert rows(shop) == 0
