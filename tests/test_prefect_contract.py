"""The parts of Prefect that the flows and `cards serve` use beyond its documented API; any release may change them.

A scripted API on loopback answers Prefect's own client, so no server has to start.
"""

import ast
import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[1]
ID = "6c1d9d5e-0d5f-4b8e-9f3c-1f2a3b4c5d6e"

DOCUMENTED = {
    "prefect", "prefect.artifacts", "prefect.cache_policies", "prefect.client.orchestration", "prefect.client.schemas.objects",
    "prefect.exceptions", "prefect.runtime", "prefect.settings", "prefect.states", "prefect.tasks",
}  # fmt: skip
"""Modules that Prefect documents for its users."""

CALLS: list[tuple[str, int, set[str]]] = [
    ("prefect.client.schemas.schedules:construct_schedule", 0, {"interval"}),
    ("prefect.client.schemas.schedules:construct_schedule", 0, {"cron", "timezone"}),
    ("prefect.context:refresh_global_settings_context", 0, set()),
    ("prefect.events.worker:EventsWorker.drain_all", 0, {"timeout"}),
    ("prefect.flow_engine:run_flow", 2, {"return_type"}),
    ("prefect.logging.handlers:APILogWorker.drain_all", 0, {"timeout"}),
    ("prefect.utilities.engine:propose_state_sync", 2, {"flow_run_id"}),
    ("prefect:Flow.to_deployment", 2, {"description", "parameters", "schedules", "concurrency_limit", "paused"}),
    ("prefect.deployments.runner:RunnerDeployment.apply", 1, set()),
    ("prefect.client.orchestration:SyncPrefectClient.api_healthcheck", 1, set()),
    ("prefect.client.orchestration:SyncPrefectClient.get_scheduled_flow_runs_for_deployments", 3, set()),
    ("prefect.client.orchestration:SyncPrefectClient.read_flow_run", 2, set()),
    ("prefect.client.orchestration:SyncPrefectClient.set_flow_run_state", 3, set()),
    ("prefect.client.orchestration:SyncPrefectClient.delete_flow_run", 2, set()),
    (
        "prefect.client.orchestration:SyncPrefectClient.read_flow_runs",
        1,
        {"flow_run_filter", "deployment_filter", "sort", "limit"},
    ),
    ("prefect.client.schemas.filters:DeploymentFilter", 0, {"id"}),
    ("prefect.client.schemas.filters:DeploymentFilterId", 0, {"any_"}),
    ("prefect.client.schemas.filters:FlowRunFilter", 0, {"state"}),
    ("prefect.client.schemas.filters:FlowRunFilterState", 0, {"type"}),
    ("prefect.client.schemas.filters:FlowRunFilterStateType", 0, {"any_"}),
    ("prefect.client.schemas.sorting:FlowRunSort", 1, set()),
]
"""Each callable that is used, the number of positional arguments it is given, and the names of its keyword arguments."""

SETTINGS = {
    "PREFECT_API_AUTH_STRING": ("api.auth_string", "operator:secret"),
    "PREFECT_SERVER_API_AUTH_STRING": ("server.api.auth_string", "operator:secret"),
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ("server.api.cors_allowed_origins", "http://127.0.0.1:4200"),
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": ("server.api.csrf_protection_enabled", "True"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": ("server.analytics_enabled", "False"),
    "PREFECT_SERVER_LOGGING_LEVEL": ("server.logging_level", "ERROR"),
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": ("server.ui.show_promotional_content", "False"),
    "PREFECT_UI_API_URL": ("server.ui.api_url", "/api"),
}
"""Prefect settings that a deployment depends on: the field that each one fills, and a value that is not the default."""


class Api(ThreadingHTTPServer):
    """Answers by method and path, with 404 for anything not in the script, and records every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[tuple[str, str], Any] = {}
        self.asked: dict[tuple[str, str], Any] = {}


class Handler(BaseHTTPRequestHandler):
    server: Api

    def answer(self) -> None:
        key = (self.command, self.path.removeprefix("/api"))
        self.server.asked[key] = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        body = json.dumps(self.server.script.get(key, {})).encode()
        self.send_response(httpx.codes.OK if key in self.server.script else httpx.codes.NOT_FOUND)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def refresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """Makes Prefect read its settings from the environment again. Its home is a temporary folder, also for later tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        yield refresh_global_settings_context


@pytest.fixture
def set_prefect(refresh: Callable[[], None]) -> Iterator[Callable[..., None]]:
    """Sets Prefect's variables for one test."""
    with pytest.MonkeyPatch.context() as patch:

        def set_all(**variables: str) -> None:
            for name, value in variables.items():
                patch.setenv(name, value)
            refresh()

        yield set_all
    refresh()


@contextmanager
def _listening(api: Api) -> Iterator[Api]:
    thread = threading.Thread(target=api.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        thread.join()
        api.server_close()


@pytest.fixture
def api(set_prefect: Callable[..., None]) -> Iterator[Api]:
    """The scripted API, which PREFECT_API_URL names."""
    with _listening(Api()) as listening:
        set_prefect(PREFECT_API_URL=f"http://127.0.0.1:{listening.server_port}/api")
        yield listening


# -- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "positional", "named"), CALLS)
def test_a_call_fits_its_signature(where: str, positional: int, named: set[str], refresh: Callable[[], None]) -> None:
    inspect.signature(resolve_name(where)).bind(*range(positional), **dict.fromkeys(named))


def test_everything_undocumented_that_is_imported_is_covered_here() -> None:
    imported = {
        f"{node.module}:{name.name}"
        for path in (ROOT / "pipelines").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "prefect"
        and node.module not in DOCUMENTED
        for name in node.names
    }  # fmt: skip
    covered = {where.partition(".drain_all")[0] for where, _, _ in CALLS}
    assert len(imported) > 3
    assert imported - covered == set()


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_fills_its_field(name: str, set_prefect: Callable[..., None]) -> None:
    from prefect.settings import get_current_settings

    def read() -> str:
        value: Any = get_current_settings()
        for part in SETTINGS[name][0].split("."):
            value = getattr(value, part)
        return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)

    assert read() != SETTINGS[name][1]
    set_prefect(**{name: SETTINGS[name][1]})
    assert read() == SETTINGS[name][1]


def test_a_refresh_reaches_threads_that_are_already_running(set_prefect: Callable[..., None]) -> None:
    from prefect.settings import get_current_settings

    seen: list[str | None] = []
    go = threading.Event()

    def look() -> None:
        go.wait(10)
        seen.append(get_current_settings().api.url)

    thread = threading.Thread(target=look)
    thread.start()
    set_prefect(PREFECT_API_URL="http://127.0.0.1:9/api")
    go.set()
    thread.join()
    assert seen == ["http://127.0.0.1:9/api"]


# -- deployments -------------------------------------------------------------------------------------------------------


def test_the_schedules_of_prefect_yaml_are_understood(refresh: Callable[[], None]) -> None:
    from prefect.client.schemas.schedules import construct_schedule

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    schedules = {one["name"]: construct_schedule(**one["schedules"][0]) for one in deployments}
    assert (schedules["orders"].interval.total_seconds(), schedules["night"].cron) == (60, "0 2 * * *")
    assert schedules["night"].timezone == "America/New_York"


def _deployment() -> Any:
    """A deployment as `cards serve` makes it."""
    from prefect import flow
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.client.schemas.schedules import construct_schedule

    made: Any = flow(name="process-inbox")(_nothing).to_deployment(
        "orders", description="Answers.", parameters={"resellers": None}, schedules=[construct_schedule(interval=60)],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy="CANCEL_NEW"), paused=False,
    )  # fmt: skip
    made.work_pool_name = made.work_queue_name = None
    return made


def _nothing() -> None:
    """The body of the flow."""


def _assert_served(sent: dict[str, Any]) -> None:
    """Check a request: no work pool, so that no worker takes the runs, and everything else as it was asked for."""
    assert (sent["work_pool_name"], sent["work_queue_name"]) == (None, None)
    assert (sent["description"], sent["paused"]) == ("Answers.", False)
    assert [one["schedule"]["interval"] for one in sent["schedules"]] == [60]
    assert (sent["concurrency_limit"], sent["concurrency_options"]["collision_strategy"]) == (1, "CANCEL_NEW")


def test_a_new_deployment_is_registered_without_a_work_pool(api: Api) -> None:
    api.script["POST", "/flows/"] = {"id": ID}
    api.script["POST", "/deployments/"] = {"id": ID}
    assert _deployment().apply() == UUID(ID)
    sent = {"work_pool_name": None, "work_queue_name": None, **api.asked["POST", "/deployments/"]}  # null is the default
    _assert_served(sent)


def test_an_existing_deployment_loses_its_work_pool(api: Api) -> None:
    known = {"id": ID, "flow_id": ID, "name": "orders", "work_pool_name": "cards"}
    api.script["GET", "/deployments/name/process-inbox/orders"] = known
    api.script["PATCH", f"/deployments/{ID}"] = {}
    assert _deployment().apply() == UUID(ID)
    _assert_served(api.asked["PATCH", f"/deployments/{ID}"])  # here null has to be sent


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_run_can_be_claimed_unless_the_limit_or_its_state_forbids_it(api: Api) -> None:
    from prefect import get_client
    from prefect.exceptions import Abort
    from prefect.states import Pending
    from prefect.utilities.engine import propose_state_sync

    def propose(status: str, state: str | None, **details: str) -> Any:
        api.script["POST", f"/flow_runs/{ID}/set_state"] = {
            "status": status,
            "state": state and {"id": ID, "type": state, "timestamp": "2026-10-05T09:30:00Z"},
            "details": {"type": f"{status.lower()}_details", **details},
        }
        with get_client(sync_client=True) as client:
            return propose_state_sync(client, Pending(), flow_run_id=UUID(ID))

    assert propose("ACCEPT", "PENDING").is_pending()
    asked = api.asked["POST", f"/flow_runs/{ID}/set_state"]
    assert (asked["state"]["type"], asked["force"]) == ("PENDING", False)
    assert not propose("REJECT", "SCHEDULED", reason="The limit is reached.").is_pending()
    with pytest.raises(Abort, match="It is over"):
        propose("ABORT", None, reason="It is over.")


def test_draining_sends_what_is_queued(api: Api) -> None:
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    api.script["POST", "/logs/"] = {}
    for message in ("one", "two"):  # a drained worker is followed by a new one
        APILogWorker.instance().send({"message": message})
        APILogWorker.drain_all(timeout=10)
        assert [log["message"] for log in api.asked["POST", "/logs/"]] == [message]
    start = time.monotonic()
    EventsWorker.drain_all(timeout=10)
    assert time.monotonic() - start < 1  # nothing is queued


def test_runs_that_found_nothing_are_asked_for_and_deleted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.runtime import deployment

    from pipelines import flows

    def run(number: int, message: str) -> dict[str, Any]:
        state = {"id": ID, "type": "COMPLETED", "timestamp": "2026-10-05T09:30:00Z", "message": message}
        return {"id": ID[:-1] + str(number), "flow_id": ID, "name": "orders: no files", "state": state}

    found = [run(1, "0 files answered"), run(2, "1 file answered: 1 order placed with 1 code, 0 rejected")]
    api.script["POST", "/flow_runs/filter"] = [*found, run(3, "0 files answered")]
    for number in (1, 3):
        api.script["DELETE", f"/flow_runs/{ID[:-1]}{number}"] = {}
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", ID)
    assert deployment.id == ID
    flows._forget_empty_runs()
    asked = api.asked["POST", "/flow_runs/filter"]
    assert asked["deployments"]["id"]["any_"] == [ID]
    assert asked["flow_runs"]["state"]["type"]["any_"] == ["COMPLETED"]
    assert (asked["sort"], asked["limit"]) == ("START_TIME_DESC", 50)
    assert {path for method, path in api.asked if method == "DELETE"} == {f"/flow_runs/{ID[:-1]}{number}" for number in (1, 3)}


def test_a_scheduled_run_that_would_find_nothing_is_deleted_and_never_claimed(api: Api) -> None:
    from prefect import get_client

    from pipelines.serving import loop

    class Runner:
        def __init__(self, *, is_idle: bool, keeps_all: bool) -> None:
            self.is_idle, self.keeps_all, self.skipped = is_idle, keeps_all, 0

        def skip(self) -> None:
            self.skipped += 1

    def run(number: int, deployment: str, *, auto: bool = True) -> dict[str, Any]:
        return {"id": ID[:-1] + str(number), "flow_id": ID, "deployment_id": deployment, "auto_scheduled": auto,
                "work_pool_id": None, "expected_start_time": f"2026-10-05T09:3{number}:00Z"}  # fmt: skip

    orders, night = ID, ID[:-1] + "a"
    api.script["POST", "/deployments/get_scheduled_flow_runs"] = [
        run(1, orders), run(2, orders), run(3, night), run(4, night), run(5, orders, auto=False),
    ]  # fmt: skip
    for number in (1, 2):
        api.script["DELETE", f"/flow_runs/{ID[:-1]}{number}"] = {}
    for number in (3, 4, 5):
        state = {"id": ID, "type": "PENDING", "timestamp": "2026-10-05T09:30:00Z"}
        accepted = {"status": "ACCEPT", "state": state, "details": {"type": "accept_details"}}
        api.script["POST", f"/flow_runs/{ID[:-1]}{number}/set_state"] = accepted
        api.script["GET", f"/flow_runs/{ID[:-1]}{number}"] = run(number, night)
    runners: Any = {UUID(orders): Runner(is_idle=True, keeps_all=False), UUID(night): Runner(is_idle=False, keeps_all=True)}
    with get_client(sync_client=True) as client:
        due = loop._due(client, runners, lambda *_, **__: None)
    assert [str(one.id)[-1] for one in due or []] == ["5", "4"]
    assert {path[-1] for method, path in api.asked if method == "DELETE"} == {"1", "2"}
    states = {path.split("/")[2][-1]: asked["state"]["type"] for (_, path), asked in api.asked.items() if "set_state" in path}
    assert states == {"3": "CANCELLED", "4": "PENDING", "5": "PENDING"}
    assert runners[UUID(orders)].skipped == 1
