"""`cards serve`: answer files as they are complete and run both Prefect deployments when they are due."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, cast
from uuid import UUID

import httpx
import yaml
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun
from prefect.client.schemas.schedules import construct_schedule
from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Pending
from prefect.utilities.engine import propose_state_sync

from pipelines import process_orders
from pipelines.admin import setup
from pipelines.common import log_events
from pipelines.common.context import Log
from pipelines.common.durable_files import ensure_private_dir
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.logs import open_log
from pipelines.common.settings import Settings, load_settings
from pipelines.delivery.receipts import Receipts
from pipelines.flows import OBSERVERS, nightly_reconciliation, process_inbox
from pipelines.intake.inbox import InboxFile
from pipelines.observing.metrics import Metrics
from pipelines.observing.observer import Observer
from pipelines.run import open_run
from pipelines.serving import watcher
from pipelines.serving.metrics_server import Heart, metrics_served
from pipelines.serving.notifier import Notifier
from pipelines.serving.prefect_server import Server, prefect_server

_POLL_SECONDS: Final = 3
_AWAY_SECONDS: Final = 60
_DRAIN_SECONDS: Final = 10

FLOWS: Final[dict[str, Flow[..., Any]]] = {"orders": process_inbox, "night": nightly_reconciliation}
"""The flow of each deployment of prefect.yaml."""
PREFECT_YAML: Final = Path(__file__).parents[2] / "prefect.yaml"


class FlowRunner:
    """Runs one flow in a thread of its own, one run at a time, so that a long run of one flow never delays another.

    `has_work`: whether a run would find something to do; one that was asked for by hand is made in any case. `after`: what is
    to be done after each run, and instead of one that would have found nothing.
    """

    def __init__(
        self,
        flow: Flow[..., Any],
        log: Log,
        has_work: Callable[[], bool] | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._flow, self._log, self._has_work, self._after = flow, log, has_work, after
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is in hand."""
        return self._last is not None and not self._last.done()

    def start(self, run: FlowRun | None = None) -> None:
        """Run the flow: a run that was claimed, or a new one if there is work."""
        self._last = self._thread.submit(self._run, run)

    def skip(self) -> None:
        """Do what is to be done instead of a run that would have found nothing."""
        self._last = self._thread.submit(self._after)

    @property
    def is_idle(self) -> bool:
        """Whether a run would find nothing to do."""
        return self._has_work is not None and not self._has_work()

    @property
    def keeps_all(self) -> bool:
        """Whether runs that were due and not made are kept: of a flow that looks every minute they would fill the page."""
        return self._has_work is None

    def _run(self, run: FlowRun | None) -> None:
        if run or not self.is_idle:
            _run(self._flow, run, self._log)
        self._after()

    def close(self) -> None:
        """Finish the run in hand."""
        self._thread.shutdown()


def serve(stop: Event) -> None:
    """Answer order files as they are complete, and run both deployments when they are due or asked for, until `stop` is set.

    All runs are in this process: starting another takes ten times as long as a run. The work in hand is finished.
    """
    settings = load_settings()
    ensure_private_dir(settings.inbox)
    log, metrics, heart = open_log(settings.log, "stdout"), Metrics(), Heart()
    OBSERVERS.append(Observer(settings.log, "stdout", metrics))
    with (
        metrics_served(settings, metrics, heart, log),
        _prefect(stop, log) as server,
        get_client(sync_client=True) as client,
    ):
        if stop.is_set():
            return
        receipts = Receipts(settings)
        with (
            contextlib.closing(FlowRunner(process_inbox, log, _has_orders, _AfterRun(settings, receipts, log))) as orders,
            contextlib.closing(FlowRunner(nightly_reconciliation, log)) as night,
            Notifier(settings, log),
        ):
            runners = {_deploy(name): {"orders": orders, "night": night}[name] for name in FLOWS}
            password = {"password_file": server.password_file} if server else {}
            log(log_events.SERVING, inbox=settings.inbox.absolute(), page=_page(), **password, stop="Ctrl-C")
            orders.start()
            _loop(stop, settings, client, runners, orders, server, receipts, heart, log)
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DRAIN_SECONDS)  # while the server is up; left to the end they wait for it in vain
    log(log_events.STOPPED)


def _loop(
    stop: Event, settings: Settings, client: SyncPrefectClient, runners: Mapping[UUID, FlowRunner], orders: FlowRunner,
    server: Server | None, receipts: Receipts, heart: Heart, log: Log,
) -> None:  # fmt: skip
    """Acknowledge files as they are complete, and start runs for them and as they are due. Of a deployment whose run is in hand
    none is claimed meanwhile.
    """
    waiting = False
    poll_at = 0.0
    ready: list[InboxFile] = []
    for look in watcher.looks(settings.inbox, settings.settle_seconds, stop):
        heart.beat()
        ready = look.ready if look else ready
        if look or receipts.is_behind:
            receipts.renew(ready)
        waiting |= look is not None and look.is_new
        if waiting and not orders.busy:
            waiting = False
            orders.start()
        if time.monotonic() < poll_at or stop.is_set():
            continue
        if server:
            server.check()
        due = _due(client, {deployment: runner for deployment, runner in runners.items() if not runner.busy}, log)
        for run in due or []:
            runners[cast("UUID", run.deployment_id)].start(run)
        poll_at = time.monotonic() + (_POLL_SECONDS if due is not None else _AWAY_SECONDS)


def _has_orders() -> bool:
    """Whether a run for orders would find something to do. What keeps us from knowing is for a run to say."""
    try:
        with open_run(load_settings()) as run:
            return process_orders.has_work(run)
    except Exception:
        return True


class _AfterRun:
    """Learns which resellers there are, whose files get receipts, and logs warnings about files that no run answers, each
    once as long as it holds.
    """

    def __init__(self, settings: Settings, receipts: Receipts, log: Log) -> None:
        self._settings, self._receipts, self._log = settings, receipts, log
        self._logged: set[str] = set()

    def __call__(self) -> None:
        try:
            with open_run(self._settings) as run:
                warnings = setup.warnings(run)
                self._receipts.set_resellers(run.registry.catalogue()[0]["reseller"])
        except CardsError:  # the run itself has reported this
            return
        for line in warnings:
            if line not in self._logged:
                self._log(log_events.FILES_WAIT, why=line)
        self._logged = set(warnings)


@contextlib.contextmanager
def _prefect(stop: Event, log: Log) -> Iterator[Server | None]:
    """Prefect's server: the one at PREFECT_API_URL (None), or a child of ours."""
    url = get_current_settings().api.url
    if url:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
        if error:
            raise CardsError(f"Prefect is unreachable at {url}. Start it there, or unset PREFECT_API_URL to have one here.")
        yield None
        return
    log(log_events.STARTING, takes="about 15 s")
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
        parameters=deployed["parameters"],
        schedules=[construct_schedule(**schedule) for schedule in deployed["schedules"]],
        concurrency_limit=ConcurrencyLimitConfig(**deployed["concurrency_limit"]),
        paused=False,
    )
    deployment.work_pool_name = deployment.work_queue_name = None  # set, so that it replaces what a deploy has set
    return cast("UUID", deployment.apply())


def _due(client: SyncPrefectClient, runners: Mapping[UUID, FlowRunner], log: Log) -> list[FlowRun] | None:
    """The runs of the deployments to start now, each claimed for us; None when Prefect is unreachable.

    Of scheduled runs that piled up only the last is left; it does the work of all. One that would find nothing is deleted.
    """
    try:
        if not runners:
            return []
        due = client.get_scheduled_flow_runs_for_deployments(list(runners), datetime.now(UTC))
        due.sort(key=lambda run: run.expected_start_time or datetime.now(UTC))
        last = {run.deployment_id: run.id for run in due if run.auto_scheduled}
        wanted = [run for run in due if not run.auto_scheduled]
        for run in (run for run in due if run.auto_scheduled):
            runner = runners[cast("UUID", run.deployment_id)]
            if run.id != last[run.deployment_id]:
                _leave(client, run.id, keep=runner.keeps_all)
            elif runner.is_idle:
                _leave(client, run.id, keep=False)
                runner.skip()
            else:
                wanted.append(run)
        claimed = [_claimed(client, run.id) for run in wanted]
        return [run for run in claimed if run]
    except httpx.HTTPError as error:
        log(log_events.PREFECT_AWAY, error=type(error).__name__)
        return None


def _leave(client: SyncPrefectClient, run: UUID, *, keep: bool) -> None:
    """Leave a run that is due: `keep` it on Prefect's page as cancelled, or delete it."""
    with contextlib.suppress(ObjectNotFound):
        if keep:
            client.set_flow_run_state(run, Cancelled(message="A later run does its work."))
        else:
            client.delete_flow_run(run)


def _claimed(client: SyncPrefectClient, run: UUID) -> FlowRun | None:
    """The run, if it is ours to start: no other process has it, and its deployment's limit allows it."""
    with contextlib.suppress(Abort):
        if propose_state_sync(client, Pending(), flow_run_id=run).is_pending():
            return client.read_flow_run(run)
    return None


def _run(flow: Flow[..., Any], run: FlowRun | None, log: Log) -> None:
    """Run a flow in this thread, and log in one line why it failed, if it did; serving goes on whatever that is."""
    try:
        state: Any = run_flow(flow, run, return_type="state") if run else flow(return_state=True)
        if not state.is_completed():
            log(log_events.RUN_FAILED, flow=flow.name, error=state.message or state.name)
    except httpx.HTTPError as error:
        log(log_events.PREFECT_AWAY, error=type(error).__name__)
    except Exception as error:
        log(log_events.RUN_FAILED, flow=flow.name, error=to_cards_error(error))


def _page() -> str:
    return str(get_current_settings().ui_url or get_current_settings().api.url)
