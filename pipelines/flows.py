"""The Prefect flows: the plain jobs with a schedule, retries and a page to look at. Nothing else imports Prefect.

No frame and no code is ever a parameter, a result or an artifact, and no task is cached: a cached draw would issue
the same codes twice. Exactly-once lives in the registry alone; Prefect may retry, duplicate or lose a run.
"""

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
import yaml  # type: ignore[import-untyped]
from prefect import Flow, flow, get_client, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun, State, TaskRun
from prefect.client.schemas.schedules import construct_schedule
from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run as this_run
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed, Failed, Pending
from prefect.tasks import Task
from prefect.utilities.engine import propose_state_sync

from pipelines import inbox, orders, reconcile, watching
from pipelines.errors import CardsError, TransientError, told
from pipelines.files import make
from pipelines.registry import open_registry
from pipelines.screen import masked, reasons, safe
from pipelines.server import prefect_server
from pipelines.settings import load_settings
from pipelines.world import World

_PROGRESS_SECONDS: Final = 2
_POLL_SECONDS: Final = 3
_AWAY_SECONDS: Final = 60
_DRAIN_SECONDS: Final = 10
_ROWS: Final = 1000
_SUMS: Final = ("orders_placed", "orders_rejected", "codes_placed")


def _transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Only what may succeed in a moment is tried again."""
    return isinstance(state.data, TransientError) or isinstance(state.result(raise_on_failure=False), TransientError)


# the next minute tries again anyway, and `cards serve` waits for a sweep before it stops
@task(name="sweep", task_run_name="sweep", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[1, 5],
      retry_condition_fn=_transient)  # fmt: skip
def sweep(resellers: list[str] | None) -> list[dict[str, Any]]:
    """Answer every ready order file of the resellers (of all when None)."""
    settings = load_settings()
    try:
        with open_registry(settings.registry_url) as registry:
            return orders.process_inbox(settings, registry, World(progress=_shown()), _asked(resellers))
    except Exception as error:
        raise told(error) from None


@task(name="night", task_run_name="night", cache_policy=NO_CACHE, persist_result=False, retries=4,
      retry_delay_seconds=[1, 5, 20, 60], retry_condition_fn=_transient)  # fmt: skip
def night() -> dict[str, Any]:
    """Reconcile what was placed with the reports at hand."""
    settings = load_settings()
    try:
        with open_registry(settings.registry_url) as registry:
            return reconcile.reconcile(settings, registry, World(progress=_shown()))
    except Exception as error:
        raise told(error) from None


def _asked(resellers: list[str] | None) -> Callable[[str], bool]:
    return lambda sender: sender != inbox.NETWORK and (resellers is None or sender in resellers)


def _shown() -> Callable[[str, int, int], None]:
    """Progress as an artifact, of a run that takes more than a moment; quick ones are done before they could be seen."""
    made: list[UUID] = []
    last = time.monotonic()

    def show(step: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last < _PROGRESS_SECONDS and not (made and done == total):
            return
        last = time.monotonic()
        percent, words = 100 * done / (total or 1), f"{step}: {done} of {total} files"
        with contextlib.suppress(Exception):  # what is shown never stops what is done
            if made:
                update_progress_artifact(made[0], percent, words)
            else:
                made.append(cast("UUID", create_progress_artifact(percent, "progress", words)))

    return show


def _orders_run() -> str:
    """The name of a run: how many files it finds, and from whom."""
    try:
        settings = load_settings()
        drops = inbox.ready(settings.inbox, settings.settle_seconds, _asked(this_run.parameters.get("resellers")))
    except Exception:
        return "orders"
    senders = sorted({drop.sender for drop in drops})
    named = masked(", ".join(senders[:5])) + (" …" if len(senders) > 5 else "")
    return f"orders: {_count(len(drops))} from {named}" if drops else "orders: no files"


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


@flow(name="process-inbox", flow_run_name=_orders_run, persist_result=False, log_prints=False)
def process_inbox(resellers: list[str] | None = None) -> State[int]:
    """Answer every ready order file; how many files were answered. The run says in one line what it did, or why not."""
    try:
        submissions = sweep(resellers)
    except CardsError as error:
        return Failed(message=masked(str(error)), data=error)
    told = f"{_count(len(submissions))} answered"
    if submissions:
        placed, rejected, codes = (sum(one[name] for one in submissions) for name in _SUMS)
        told += f": {placed} orders placed with {codes} codes, {rejected} rejected"
        _table("submissions", submissions, told)
    get_run_logger().info(told)
    return Completed(message=told, data=len(submissions))


def _night_run() -> str:
    """The name of a run: its date."""
    return f"night: {World().now():%Y-%m-%d}"


@flow(name="nightly-reconciliation", flow_run_name=_night_run, persist_result=False, log_prints=False)
def nightly_reconciliation() -> State[str]:
    """Take the network's reports, release what is ready, replace what was refused; where the workbook lies."""
    try:
        done = night()
    except CardsError as error:
        return Failed(message=masked(str(error)), data=error)
    if "already_running" in done:
        return Completed(message="Another reconciliation is at work; it does what this one would have done.", data="")
    reports = done.pop("reports")
    if reports:
        _table("reports", reports, "The network's reports")
    figures = [{"figure": name.replace("_", " "), "value": value} for name, value in done.items()]
    create_table_artifact(key="night", table=figures, description=f"Reconciliation of {done['night']}")
    told = f"{done['codes_ready']} codes are ready, {done['codes_refused']} were refused; see {done['workbook']}"
    get_run_logger().info(told)
    return Completed(message=told, data=str(done["workbook"]))


_COLUMNS: Final = {
    "file": "file", "reseller": "reseller", "orders_placed": "placed", "orders_already_placed": "already placed",
    "orders_rejected": "rejected", "codes_placed": "codes", "rows": "rows", "rows_rejected": "rows rejected",
    "seen": "seen before", "reasons": "reasons (rows)", "folder": "folder",
}  # fmt: skip


def _table(key: str, files: list[dict[str, Any]], words: str) -> None:
    """An artifact with a row a file; a file may be named after a code, so names are masked."""
    more = f"; {len(files) - _ROWS} more files are not shown" if len(files) > _ROWS else ""
    rows = [{**one, "reasons": reasons(one)} for one in files]
    table = [{title: one[name] for name, title in _COLUMNS.items() if name in one} for one in rows[:_ROWS]]
    create_table_artifact(key=key, table=safe(table), description=words + more)


# -- cards serve -------------------------------------------------------------------------------------------------------

FLOWS: Final[dict[str, Flow[..., Any]]] = {"orders": process_inbox, "night": nightly_reconciliation}
"""The flow of each deployment of prefect.yaml."""
PREFECT_YAML: Final = Path(__file__).parents[1] / "prefect.yaml"


def serve(stop: Event) -> None:
    """Answer order files as they settle, and run both deployments when they are due or asked for, until `stop` is set.

    All runs are in this process: to start another takes ten times as long as a sweep. The work in hand is finished.
    """
    settings = load_settings()
    make(settings.inbox)
    with _prefect(stop) as check, get_client(sync_client=True) as client:
        if stop.is_set():
            return
        flows = {_deploy(name): one for name, one in FLOWS.items()}
        # a night may take minutes, and files must not wait for it
        with ThreadPoolExecutor(1) as sweeps, ThreadPoolExecutor(1) as nights:
            sweeps.submit(_run, process_inbox).result()
            _say(f"drop order files into {settings.inbox.absolute()}; Prefect's page is {_page()}; Ctrl-C stops")
            poll_at = 0.0
            for settled in watching.settled(settings.inbox, settings.settle_seconds, stop):
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
    _say("stopped; nothing is half done")


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
    _say("Prefect's server starts, which takes a quarter of a minute")
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
        _say(f"Prefect is out of reach ({type(error).__name__}); trying again in a minute", sys.stderr)
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
            _say(state.message or state.name, sys.stderr)
        elif state.result():  # a sweep that found nothing is not worth a line
            _say(f"{state.message}")
    except httpx.HTTPError as error:
        _say(f"Prefect is out of reach ({type(error).__name__}); trying again in a minute", sys.stderr)
    except Exception as error:
        _say(str(told(error)), sys.stderr)


def _page() -> str:
    return str(get_current_settings().ui_url or get_current_settings().api.url)


def _say(words: str, stream: TextIO = sys.stdout) -> None:
    print(f"{World().now():%H:%M:%S} {words}", file=stream, flush=True)
