"""`cards serve`: answer files as they settle and run both Prefect deployments when they are due."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, TextIO, cast
from uuid import UUID

import httpx
import yaml
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun
from prefect.client.schemas.schedules import construct_schedule
from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Pending
from prefect.utilities.engine import propose_state_sync

from pipelines import console
from pipelines.admin import setup
from pipelines.common.context import Runtime
from pipelines.common.durable_files import ensure_private_dir
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.printable import printable
from pipelines.common.settings import Settings, load_settings
from pipelines.flows import nightly_reconciliation, process_inbox
from pipelines.run import open_run
from pipelines.serving import watcher
from pipelines.serving.notifier import Notifier
from pipelines.serving.prefect_server import Server, prefect_server

_POLL_SECONDS: Final = 3
_AWAY_SECONDS: Final = 60
_DRAIN_SECONDS: Final = 10
_UNREACHABLE: Final = "Prefect is unreachable ({}); trying again in a minute"

FLOWS: Final[dict[str, Flow[..., Any]]] = {"orders": process_inbox, "night": nightly_reconciliation}
"""The flow of each deployment of prefect.yaml."""
PREFECT_YAML: Final = Path(__file__).parents[2] / "prefect.yaml"


class FlowRunner:
    """Runs one flow in a thread of its own, one run at a time, so that a long run of one flow never delays another."""

    def __init__(self, flow: Flow[..., Any], after: Callable[[], None] = lambda: None) -> None:
        self._flow = flow
        self._after = after
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is in hand."""
        return self._last is not None and not self._last.done()

    def start(self, run: FlowRun | None = None) -> None:
        """Run the flow: a run that was claimed, or a new one."""
        self._last = self._thread.submit(self._run, run)

    def _run(self, run: FlowRun | None) -> None:
        _run(self._flow, run)
        self._after()

    def close(self) -> None:
        """Finish the run in hand."""
        self._thread.shutdown()


def serve(stop: Event) -> None:
    """Answer order files as they settle, and run both deployments when they are due or asked for, until `stop` is set.

    All runs are in this process: starting another takes ten times as long as a run. The work in hand is finished.
    """
    settings = load_settings()
    ensure_private_dir(settings.inbox)
    with _prefect(stop) as server, get_client(sync_client=True) as client:
        if stop.is_set():
            return
        with (
            contextlib.closing(FlowRunner(process_inbox, _Warner(settings))) as orders,
            contextlib.closing(FlowRunner(nightly_reconciliation)) as night,
            Notifier(settings, lambda line: print_event(f"warning: {line}", sys.stderr)),
        ):
            runners = {_deploy(name): {"orders": orders, "night": night}[name] for name in FLOWS}
            if server:
                print_event(f"Prefect's page asks for a password; it is in {server.password_file}")
            print_event(f"drop order files into {settings.inbox.absolute()}; Prefect's page is {_page()}; Ctrl-C stops")
            orders.start()
            _loop(stop, settings, client, runners, orders, server)
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DRAIN_SECONDS)  # while the server is up; left to the end they wait for it in vain
    print_event("stopped cleanly")


def _loop(
    stop: Event, settings: Settings, client: SyncPrefectClient, runners: Mapping[UUID, FlowRunner], orders: FlowRunner,
    server: Server | None,
) -> None:  # fmt: skip
    """Start runs as files settle and as they are due. Of a deployment whose run is in hand none is claimed meanwhile."""
    waiting = False
    poll_at = 0.0
    for settled in watcher.settled(settings.inbox, settings.settle_seconds, stop):
        waiting |= settled
        if waiting and not orders.busy:
            waiting = False
            orders.start()
        if time.monotonic() < poll_at or stop.is_set():
            continue
        if server:
            server.check()
        due = _due(client, [deployment for deployment, runner in runners.items() if not runner.busy])
        for run in due or []:
            runners[cast("UUID", run.deployment_id)].start(run)
        poll_at = time.monotonic() + (_POLL_SECONDS if due is not None else _AWAY_SECONDS)


class _Warner:
    """Prints warnings about files that no run answers, each once as long as it holds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._printed: set[str] = set()

    def __call__(self) -> None:
        try:
            with open_run(self._settings) as run:
                warnings = setup.warnings(run)
        except CardsError:  # the run itself has reported this
            return
        for line in warnings:
            if line not in self._printed:
                print_event(f"warning: {line}", sys.stderr)
        self._printed = set(warnings)


@contextlib.contextmanager
def _prefect(stop: Event) -> Iterator[Server | None]:
    """Prefect's server: the one at PREFECT_API_URL (None), or a child of ours."""
    url = get_current_settings().api.url
    if url:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
        if error:
            raise CardsError(f"Prefect is unreachable at {url}. Start it there, or unset PREFECT_API_URL to have one here.")
        yield None
        return
    print_event("starting Prefect's server, which takes about 15 s")
    with prefect_server(stop) as server:
        os.environ |= {"PREFECT_API_URL": server.api, "PREFECT_API_AUTH_STRING": server.password}
        refresh_global_settings_context()  # for every thread, which a context's own settings are not
        yield server


def _deploy(name: str) -> UUID:
    """Register a deployment of prefect.yaml, to be run here instead of by a worker; its ID."""
    known = yaml.safe_load(PREFECT_YAML.read_text("utf-8"))["deployments"]
    deployed = next(one for one in known if one["name"] == name)
    deployment: Any = FLOWS[name].to_deployment(
        name,
        description=deployed["description"],
        schedules=[construct_schedule(**schedule) for schedule in deployed["schedules"]],
        concurrency_limit=ConcurrencyLimitConfig(**deployed["concurrency_limit"]),
        paused=False,
    )
    deployment.work_pool_name = deployment.work_queue_name = None  # set, so that it replaces what a deploy has set
    return cast("UUID", deployment.apply())


def _due(client: SyncPrefectClient, deployments: list[UUID]) -> list[FlowRun] | None:
    """The runs of the deployments to start now, each claimed for us; None when Prefect is unreachable.

    Of scheduled runs that piled up only the last is left; it does the work of all.
    """
    try:
        if not deployments:
            return []
        due = client.get_scheduled_flow_runs_for_deployments(deployments, datetime.now(UTC))
        due.sort(key=lambda run: run.expected_start_time or datetime.now(UTC))
        last = {run.deployment_id: run.id for run in due if run.auto_scheduled}
        for late in due:
            if late.auto_scheduled and late.id != last[late.deployment_id]:
                client.set_flow_run_state(late.id, Cancelled(message="A later run does its work."))
        mine = [late.id for late in due if not late.auto_scheduled or late.id == last[late.deployment_id]]
        claimed = [_claimed(client, one) for one in mine]
        return [run for run in claimed if run]
    except httpx.HTTPError as error:
        print_event(_UNREACHABLE.format(type(error).__name__), sys.stderr)
        return None


def _claimed(client: SyncPrefectClient, run: UUID) -> FlowRun | None:
    """The run, if it is ours to start: no other process has it, and its deployment's limit allows it."""
    with contextlib.suppress(Abort):
        if propose_state_sync(client, Pending(), flow_run_id=run).is_pending():
            return client.read_flow_run(run)
    return None


def _run(flow: Flow[..., Any], run: FlowRun | None) -> None:
    """Run a flow in this thread, and print in one line what came of it; serving goes on whatever that is."""
    try:
        state: Any = run_flow(flow, run, return_type="state") if run else flow(return_state=True)
        if not state.is_completed():
            print_event(state.message or state.name, sys.stderr)
        elif state.result():  # a run that found nothing is not worth a line
            print_event(f"{state.message}")
    except httpx.HTTPError as error:
        print_event(_UNREACHABLE.format(type(error).__name__), sys.stderr)
    except Exception as error:
        print_event(str(to_cards_error(error)), sys.stderr)


def _page() -> str:
    return str(get_current_settings().ui_url or get_current_settings().api.url)


def print_event(words: str, stream: TextIO = sys.stdout) -> None:
    """Print one line with the time of day."""
    console.print_line(f"{Runtime().now():%H:%M:%S} {printable(words)}", stream)
