"""`cards serve`: answer files as they settle and run both Prefect deployments when they are due."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

from pipelines.common.context import Runtime
from pipelines.common.durable_files import ensure_private_dir
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.settings import load_settings
from pipelines.flows import nightly_reconciliation, process_inbox
from pipelines.serving import watcher
from pipelines.serving.prefect_server import prefect_server

_POLL_SECONDS: Final = 3
_AWAY_SECONDS: Final = 60
_DRAIN_SECONDS: Final = 10

FLOWS: Final[dict[str, Flow[..., Any]]] = {"orders": process_inbox, "night": nightly_reconciliation}
"""The flow of each deployment of prefect.yaml."""
PREFECT_YAML: Final = Path(__file__).parents[1] / "prefect.yaml"


def serve(stop: Event) -> None:
    """Answer order files as they settle, and run both deployments when they are due or asked for, until `stop` is set.

    All runs are in this process: to start another takes ten times as long as a sweep. The work in hand is finished.
    """
    settings = load_settings()
    ensure_private_dir(settings.inbox)
    with _prefect(stop) as check, get_client(sync_client=True) as client:
        if stop.is_set():
            return
        flows = {_deploy(name): one for name, one in FLOWS.items()}
        # a night may take minutes, and files must not wait for it
        with ThreadPoolExecutor(1) as sweeps, ThreadPoolExecutor(1) as nights:
            sweeps.submit(_run, process_inbox).result()
            print_event(f"drop order files into {settings.inbox.absolute()}; Prefect's page is {_page()}; Ctrl-C stops")
            poll_at = 0.0
            for settled in watcher.settled(settings.inbox, settings.settle_seconds, stop):
                if settled:
                    sweeps.submit(_run, process_inbox).result()
                if time.monotonic() >= poll_at and not stop.is_set():
                    check()
                    due = _due(client, list(flows))
                    for run in due or []:
                        one = flows[cast("UUID", run.deployment_id)]
                        (nights if one is nightly_reconciliation else sweeps).submit(_run, one, run)
                    poll_at = time.monotonic() + (_POLL_SECONDS if due is not None else _AWAY_SECONDS)
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DRAIN_SECONDS)  # while the server is up; left to the end they wait for it in vain
    print_event("stopped; nothing is half done")


@contextlib.contextmanager
def _prefect(stop: Event) -> Iterator[Callable[[], None]]:
    """Prefect's server, the one that is named or a child; yields what to call now and then, which raises if it died."""
    url = get_current_settings().api.url
    if url:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
        if error:
            raise CardsError(f"Prefect can't be reached at {url}. Start it there, or unset PREFECT_API_URL to have one here.")
        yield lambda: None
        return
    print_event("Prefect's server starts, which takes a quarter of a minute")
    with prefect_server(stop) as server:
        os.environ["PREFECT_API_URL"] = server.api
        refresh_global_settings_context()  # for every thread, which a context's own settings are not
        yield server.check


def _deploy(name: str) -> UUID:
    """Register a deployment of prefect.yaml, to be run by us instead of a worker; its ID."""
    known = yaml.safe_load(PREFECT_YAML.read_text("utf-8"))["deployments"]
    told = next(one for one in known if one["name"] == name)
    deployment: Any = FLOWS[name].to_deployment(
        name,
        description=told["description"],
        schedules=[construct_schedule(**schedule) for schedule in told["schedules"]],
        concurrency_limit=ConcurrencyLimitConfig(**told["concurrency_limit"]),
        paused=False,
    )
    deployment.work_pool_name = deployment.work_queue_name = None  # said, so that it replaces what a deploy has set
    return cast("UUID", deployment.apply())


def _due(client: SyncPrefectClient, deployments: list[UUID]) -> list[FlowRun] | None:
    """The runs to start now, each claimed for us; None when Prefect is out of reach.

    Of scheduled runs that piled up only the last is left; it does the work of all.
    """
    try:
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
        print_event(f"Prefect is out of reach ({type(error).__name__}); trying again in a minute", sys.stderr)
        return None


def _claimed(client: SyncPrefectClient, run: UUID) -> FlowRun | None:
    """The run, if it is ours to start: no other process has it, and its deployment's limit allows it."""
    with contextlib.suppress(Abort):
        if propose_state_sync(client, Pending(), flow_run_id=run).is_pending():
            return client.read_flow_run(run)
    return None


def _run(one: Flow[..., Any], run: FlowRun | None = None) -> None:
    """Run a flow in this thread, and tell in one line what came of it; serving goes on whatever that is."""
    try:
        state: Any = run_flow(one, run, return_type="state") if run else one(return_state=True)
        if not state.is_completed():
            print_event(state.message or state.name, sys.stderr)
        elif state.result():  # a sweep that found nothing is not worth a line
            print_event(f"{state.message}")
    except httpx.HTTPError as error:
        print_event(f"Prefect is out of reach ({type(error).__name__}); trying again in a minute", sys.stderr)
    except Exception as error:
        print_event(str(to_cards_error(error)), sys.stderr)


def _page() -> str:
    return str(get_current_settings().ui_url or get_current_settings().api.url)


def print_event(words: str, stream: TextIO = sys.stdout) -> None:
    """Print one line with the time of day."""
    print(f"{Runtime().now():%H:%M:%S} {words}", file=stream, flush=True)
