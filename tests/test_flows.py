"""The flows under a real Prefect server: what a run does, and what it leaves in Prefect's database."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as driver
import pytest
import yaml

from pipelines.registry.store import open_registry
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, NewRegistry, csv_of, read_csv, row, some_codes

ROOT = Path(__file__).parents[1]
CODES = some_codes(4)


class Prefect(NamedTuple):
    """The modules, imported once their home was set; the file of the database, and a client."""

    flows: Any
    loop: Any
    database: Path
    client: Any

    def runs(self) -> list[Any]:
        """Flow runs, the last one first."""
        from prefect.client.schemas.sorting import FlowRunSort

        return list(self.client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC))

    def tasks(self, run: Any) -> list[Any]:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        return list(self.client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))))

    def artifacts(self, run: Any) -> dict[str, Any]:
        """What each artifact of a run holds, by its key."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        found = self.client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])))
        return {one.key: json.loads(one.data) for one in found}

    def written(self) -> bytes:
        """All that the database holds, once the last logs and events have been sent."""
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=10)
        return b"".join(path.read_bytes() for path in self.database.parent.glob(f"{self.database.name}*"))


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        from prefect import get_client
        from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL as ADDRESS
        from prefect.testing.utilities import prefect_test_harness

        from pipelines import flows
        from pipelines.serving import loop

        with prefect_test_harness(server_startup_timeout=90), get_client(sync_client=True) as client:
            yield Prefect(flows, loop, Path(str(ADDRESS.value()).partition("///")[2]), client)


class House(NamedTuple):
    home: Path

    def drop(self, name: str, *rows: dict[str, str], source: str = "acme") -> Path:
        folder = self.home / "inbox" / source
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(csv_of(*rows))
        return folder / name

    def codes(self) -> list[str]:
        return [code for path in self.home.rglob("confirmation.csv") for code in read_csv(path)["Authorization Code"] if code]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A home with a catalogue, which the settings name."""
    monkeypatch.setenv("CARDS_HOME", str(tmp_path))
    monkeypatch.setenv("CARDS_SETTLE_SECONDS", "0")
    with open_registry(f"sqlite:///{tmp_path}/registry.db") as registry:
        registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
    return House(tmp_path)


def end(flow: Callable[..., Any], **parameters: Any) -> Any:
    """The state in which a run of the flow ends."""
    return flow(**parameters, return_state=True)


def test_a_run_answers_what_was_dropped_and_says_so(prefect: Prefect, house: House) -> None:
    house.drop("good.csv", row("A1", quantity="3"), row("A2", code=CODES[0]))
    house.drop("bad.csv", row("B1", code="73905162845555"), row("B2", quantity="1"))
    house.drop("cards.csv", row("G1", account="20098765", product="8001", quantity="2"), source="globex")
    house.drop("report.csv", {"Order ID": "10023456-1"}, source="network")

    state = end(prefect.flows.process_inbox)
    assert state.is_completed()
    assert state.result() == 3
    run = prefect.runs()[0]
    assert run.name == "orders: 3 files from acme, globex"
    assert run.parameters == {"resellers": None}
    assert [task.name.partition("-")[0] for task in prefect.tasks(run)] == ["process_files"]

    table = {line["file"]: line for line in prefect.artifacts(run)["submissions"]}
    assert set(table) == {"good.csv", "bad.csv", "cards.csv"}
    assert (table["good.csv"]["reseller"], table["good.csv"]["placed"], table["good.csv"]["codes"]) == ("acme", 2, 4)
    assert (table["bad.csv"]["rejected"], table["bad.csv"]["reasons (rows)"]) == (1, "CODE_RUN 1")
    for line in table.values():
        assert (house.home / line["folder"] / line["file"]).is_file()
    assert [path.name for path in house.home.glob("inbox/*/*")] == ["report.csv"]

    codes = [*house.codes(), "73905162845555"]
    assert len(codes) == 8
    written = prefect.written()
    assert b"3 files answered" in written
    assert [code for code in codes if code.encode() in written] == []


def test_a_run_with_nothing_to_do_is_named_so(prefect: Prefect, house: House) -> None:
    assert end(prefect.flows.process_inbox).result() == 0
    run = prefect.runs()[0]
    assert run.name == "orders: no files"
    assert prefect.artifacts(run) == {}


def test_the_log_of_a_run_is_on_its_page_without_codes(prefect: Prefect, house: House) -> None:
    house.drop(f"{CODES[0]}.csv", row("A1", quantity="2"))
    assert end(prefect.flows.process_inbox).result() == 1
    written = prefect.written()
    for line in (b"file received run=", b"file answered run=", b"orders_placed=1 codes_placed=2"):
        assert line in written
    assert [code for code in (CODES[0], *house.codes()) if code.encode() in written] == []


@pytest.mark.slow
def test_of_runs_that_found_nothing_the_newest_alone_is_kept(prefect: Prefect, house: House) -> None:
    """As a worker makes them, one after the other; those that had work, and those of other deployments, all stay."""
    from prefect.flow_engine import run_flow

    mine, other = (prefect.flows.process_inbox.to_deployment(name).apply() for name in ("orders", "other"))

    def run(deployment: Any) -> Any:
        made = prefect.client.create_flow_run_from_deployment(deployment)
        run_flow(prefect.flows.process_inbox, made, return_type="state")
        return made.id

    alien = run(other)
    first = run(mine)
    house.drop("work.csv", row("W1", quantity="1"))
    worked = run(mine)
    second, third = run(mine), run(mine)
    kept = {one.id for one in prefect.runs()}
    assert {alien, worked, third} <= kept
    assert {first, second} & kept == set()


def test_a_night_that_fails_says_so_in_one_line(prefect: Prefect, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect.flows.reconcile_network, "reconcile", lambda _: {}[f"the code {CODES[0]}"])
    state = end(prefect.flows.nightly_reconciliation)
    assert state.is_failed()
    assert state.message.startswith("This should not happen; please report it: KeyError at flows.py")
    assert "\n" not in state.message
    assert prefect.runs()[0].state.type.value == "FAILED"
    assert CODES[0].encode() not in prefect.written()


def test_a_page_that_takes_no_table_fails_no_run(prefect: Prefect, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError(CODES[0])

    monkeypatch.setattr(prefect.flows, "create_table_artifact", fail)
    house.drop("work.csv", row("W1", quantity="1"))
    assert end(prefect.flows.process_inbox).is_completed()
    assert end(prefect.flows.nightly_reconciliation).is_completed()


def test_a_run_may_be_for_some_resellers_only(prefect: Prefect, house: House) -> None:
    mine = house.drop("mine.csv", row("A1", quantity="1"))
    other = house.drop("other.csv", row("G1", account="20098765", product="8001", quantity="1"), source="globex")
    assert end(prefect.flows.process_inbox, resellers=["globex"]).result() == 1
    assert prefect.runs()[0].name == "orders: 1 file from globex"
    assert (mine.exists(), other.exists()) == (True, False)


def test_names_that_are_codes_are_masked(prefect: Prefect, house: House) -> None:
    house.drop(f"{CODES[1]}.csv", row("A1", quantity="1"))
    house.drop("a.csv", row("A1", quantity="1"), source=CODES[2])  # no reseller: it waits
    assert end(prefect.flows.process_inbox).result() == 1
    written = prefect.written()
    assert [code for code in CODES[1:3] if code.encode() in written] == []
    assert f"{CODES[1][:6]}••••••••" in str(prefect.artifacts(prefect.runs()[0]))


def test_an_answer_that_can_not_be_written_fails_the_run_in_one_line_without_codes(prefect: Prefect, house: House) -> None:
    house.drop(f"{CODES[3]}.csv", row("A1", quantity="1"))
    (house.home / "outbox").mkdir()
    (house.home / "outbox/acme").write_text("in the way")
    state = end(prefect.flows.process_inbox)
    assert state.is_failed()
    assert "acme" in state.message
    assert "\n" not in state.message
    assert CODES[3].encode() not in prefect.written()
    (house.home / "outbox/acme").unlink()
    assert end(prefect.flows.process_inbox).result() == 1
    assert len(house.codes()) == 1


def test_a_night_runs_and_says_what_it_found(prefect: Prefect, house: House) -> None:
    house.drop("good.csv", row("A1", quantity="3"))
    end(prefect.flows.process_inbox)
    seen, refused = house.codes()[:2], house.codes()[2:]
    (house.home / "inbox/network").mkdir()
    lines = ["Order ID,Authorization Code", *(f"10023456-1,{code}" for code in seen), ""]
    (house.home / "inbox/network/report.csv").write_text("\n".join(lines))
    state = end(prefect.flows.nightly_reconciliation)
    assert state.is_completed()
    assert Path(state.result()).suffix == ".xlsx"
    run = prefect.runs()[0]
    assert run.name.startswith("night: 2")
    artifacts = prefect.artifacts(run)
    assert {"reports", "night"} <= set(artifacts)
    figures = {line["figure"]: line["value"] for line in artifacts["night"]}
    assert (figures["codes ready"], figures["codes refused"]) == (2, 1)
    written = prefect.written()
    assert [code for code in [*seen, *refused] if code.encode() in written] == []
    (house.home / "inbox/network/bad.csv").write_text("Order ID\n10023456-1\n")
    state = end(prefect.flows.nightly_reconciliation)
    assert state.is_failed()
    assert "1 network report was not used" in str(state.message)


def test_what_will_not_heal_is_tried_once_and_reported_in_one_line(
    prefect: Prefect, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, words in (
        ("CARDS_REGISTRY", "sqlite:////nowhere/registry.db", "The folder /nowhere of the registry does not exist"),
        ("CARDS_MAX_ROWS", "many", "CARDS_MAX_ROWS='many' can't be used"),
    ):
        monkeypatch.setenv(name, value)
        state = end(prefect.flows.process_inbox)
        assert state.is_failed()
        assert words in state.message
        assert "\n" not in state.message
        (task,) = prefect.tasks(prefect.runs()[0])
        assert task.run_count == 1


def test_a_registry_that_is_away_is_tried_again(
    prefect: Prefect, house: House, postgresql: NewRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drop("good.csv", row("A1", quantity="2"))
    with postgresql() as url, driver.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        monkeypatch.setenv("CARDS_REGISTRY", urlsplit(url)._replace(path="/later").geturl())

        def appear() -> None:
            """Make the registry as soon as a first try has failed."""
            limit = time.monotonic() + 30
            while time.monotonic() < limit:
                time.sleep(0.1)
                tasks = prefect.tasks(prefect.runs()[0])
                if any(task.state_name in ("AwaitingRetry", "Retrying") for task in tasks):
                    break
            cursor.execute("CREATE DATABASE soon STRATEGY = FILE_COPY")
            with open_registry(urlsplit(url)._replace(path="/soon").geturl()) as registry:
                registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
            cursor.execute("ALTER DATABASE soon RENAME TO later")

        before = len(prefect.runs())
        helper = threading.Thread(target=appear)
        helper.start()
        state = end(prefect.flows.process_inbox)
        helper.join(60)
        cursor.execute("DROP DATABASE later WITH (FORCE)")
    assert state.is_completed()
    assert state.result() == 1
    (run, *_) = prefect.runs()
    assert len(prefect.runs()) == before + 1
    (task,) = prefect.tasks(run)
    assert task.run_count in (2, 3)
    (codes,) = [read_csv(path)["Authorization Code"].to_list() for path in house.home.rglob("confirmation.csv")]
    assert len(codes) == 2


def test_no_task_is_cached_nor_its_result_kept(prefect: Prefect) -> None:
    from prefect.cache_policies import NO_CACHE

    for task in (prefect.flows.process_files, prefect.flows.night):
        assert task.cache_policy == NO_CACHE
        assert task.persist_result is False
    for flow in prefect.loop.FLOWS.values():
        assert flow.persist_result is False
        assert flow.log_prints is False


def test_prefect_yaml_names_flows_that_exist(prefect: Prefect) -> None:
    from prefect import Flow
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    assert {one["name"] for one in deployments} == set(prefect.loop.FLOWS)
    for one in deployments:
        path, _, name = one["entrypoint"].partition(":")
        assert isinstance(getattr(prefect.flows, name), Flow)
        assert getattr(prefect.flows, name) is prefect.loop.FLOWS[one["name"]]
        assert load_flow_from_entrypoint(f"{ROOT / path}:{name}").name == prefect.loop.FLOWS[one["name"]].name
        assert one["description"]
        assert one["schedules"]
        assert one["concurrency_limit"]["limit"] == 1


def test_only_flows_and_serving_know_prefect() -> None:
    knowing = {path.name for path in (ROOT / "pipelines").rglob("*.py") if "import prefect" in path.read_text("utf-8")
               or "from prefect" in path.read_text("utf-8")}  # fmt: skip
    assert knowing == {"flows.py", "loop.py"}
