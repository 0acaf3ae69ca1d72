"""The Prefect flows: the plain jobs with a schedule, retries and a page to look at. Only this module and the room
`serving` import Prefect.

No frame and no code is ever a parameter, a result or an artifact, and no task is cached: a cached draw would issue
the same codes twice. Exactly-once lives in the registry alone; Prefect may retry, duplicate or lose a run.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import count as count_up
from typing import Any, Final, cast
from uuid import UUID

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import deployment as this_deployment
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed
from prefect.tasks import Task

from pipelines import process_orders, reconcile_network
from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, TransientError, to_cards_error
from pipelines.common.logs import Also
from pipelines.common.masking import mask_codes, mask_document
from pipelines.common.printable import printable
from pipelines.common.settings import load_settings
from pipelines.common.words import count
from pipelines.console import format_reasons
from pipelines.delivery.results import Delivery, ReportResult, SubmissionResult
from pipelines.intake import inbox
from pipelines.notify import events, notifying, outage
from pipelines.notify.events import Notice
from pipelines.observing.observer import Observer, observed, observer_of
from pipelines.reconcile_network import NightResult
from pipelines.run import Run, open_run
from schemas.sources import NETWORK

_PROGRESS_SECONDS: Final = 2

_ROWS: Final = 1000
"""So many files of a run are shown on its page, and so many lines of its log."""
_LOOKED_AT: Final = 50
"""Of so many of the latest runs those that found nothing are deleted."""

OBSERVERS: Final[list[Observer]] = []
"""Where the runs of this process are logged and counted, if not each by itself: `cards serve` adds its own."""
_SUMS: Final = ("orders_placed", "orders_rejected", "codes_placed")


def _transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: only what may succeed in a moment."""
    return isinstance(state.data, TransientError) or isinstance(state.result(raise_on_failure=False), TransientError)


# the next minute tries again anyway, and `cards serve` waits for this before it stops
@task(name="process_files", task_run_name="process_files", cache_policy=NO_CACHE, persist_result=False,
      retries=2, retry_delay_seconds=[1, 5],
      retry_condition_fn=_transient)  # fmt: skip
def process_files(resellers: list[str] | None) -> Delivery[SubmissionResult]:
    """Answer every ready order file of the resellers (of all when None)."""
    with _run("orders") as (run, _):
        return process_orders.process_inbox(run, _sources(resellers))


@task(name="night", task_run_name="night", cache_policy=NO_CACHE, persist_result=False, retries=4,
      retry_delay_seconds=[1, 5, 20, 60], retry_condition_fn=_transient)  # fmt: skip
def night() -> NightResult:
    """Reconcile what was placed with the reports at hand."""
    with _run("night") as (run, notices):
        done = reconcile_network.reconcile(run)
        notices += [events.night_failed(run.runtime.now(), str(failure)) for failure in done.failures[:1]]
        return done


@contextlib.contextmanager
def _run(job: str) -> Iterator[tuple[Run, list[Notice]]]:
    """A run whose progress is an artifact, whose log is Prefect's too, and whose errors hold no code. People are notified at
    its end, also of what is added to the list.
    """
    try:
        settings = load_settings()
        observer = OBSERVERS[-1] if OBSERVERS else observer_of(settings)
        runtime = Runtime(progress=_progress_artifact())
        with (
            observed(settings, job, runtime, observer, _prefect_log()) as runtime,
            outage.watched(settings, notifying.warner(runtime), runtime),
            open_run(settings, runtime) as opened,
            notifying.at_end(opened, notifying.warner(runtime)) as (run, notices),
        ):
            yield run, notices
    except Exception as error:
        raise to_cards_error(error) from None


def _prefect_log() -> Also:
    """Writes the first lines of a run to its log on Prefect's page."""
    logger = get_run_logger()
    lines = count_up()

    def write(level: str, line: str) -> None:
        number = next(lines)
        if number < _ROWS:
            getattr(logger, level)(line)
        elif number == _ROWS:
            logger.info("Further lines are not shown here.")

    return write


def _report_failed_night(error: CardsError) -> None:
    """Notify people that a night failed for good: no retry has helped."""
    with contextlib.suppress(CardsError), open_run(load_settings()) as opened, notifying.at_end(opened) as (run, notices):
        notices.append(events.night_failed(run.runtime.now(), str(error)))


def _sources(resellers: list[str] | None) -> Callable[[str], bool]:
    return lambda source: source != NETWORK and (resellers is None or source in resellers)


def _progress_artifact() -> Callable[[str, int, int], None]:
    """Progress as an artifact, of a run that takes more than a moment; quick ones are done before they could be seen."""
    made: list[UUID] = []
    last = time.monotonic()

    def show(step: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last < _PROGRESS_SECONDS and not (made and done == total):
            return
        last = time.monotonic()
        percent, words = 100 * done / (total or 1), f"{step}: {done:,} of {count(total, 'file')}"
        with contextlib.suppress(Exception):  # progress that can't be shown stops no work
            if made:
                update_progress_artifact(made[0], percent, words)
            else:
                made.append(cast("UUID", create_progress_artifact(percent, "progress", words)))

    return show


def _orders_run() -> str:
    """The name of a run: how many files it finds, and from whom."""
    try:
        settings = load_settings()
        files = inbox.stable_files(settings.inbox, settings.settle_seconds, _sources(this_run.parameters.get("resellers")))
    except Exception:
        return "orders"
    sources = sorted({file.source for file in files})
    named = mask_codes(printable(", ".join(sources[:5]))) + (" …" if len(sources) > 5 else "")
    return f"orders: {count(len(files), 'file')} from {named}" if files else "orders: no files"


@flow(name="process-inbox", flow_run_name=_orders_run, persist_result=False, log_prints=False)
def process_inbox(resellers: list[str] | None = None) -> State[int]:
    """Answer every ready order file; how many were answered. The run's state says in one line what it did, or why not."""
    try:
        done = process_files(resellers)
    except CardsError as error:
        return Failed(message=mask_codes(str(error)), data=error)
    results = done.results
    message = _answered(len(results))
    if results:
        placed, rejected, codes = (sum(getattr(one, name) for one in results) for name in _SUMS)
        message += f": {count(placed, 'order')} placed with {count(codes, 'code')}, {rejected} rejected"
        _table("submissions", results, message)
    elif not done.failures:
        _forget_empty_runs()
    return _state(message, done.failures, len(results))


def _forget_empty_runs() -> None:
    """Delete earlier runs of this deployment that found nothing: of those only the newest is worth a line on the page."""
    if this_deployment.id is None:
        return
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[UUID(str(this_deployment.id))]))
    completed = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])))
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:  # the next run tries again
        for run in client.read_flow_runs(
            flow_run_filter=completed, deployment_filter=mine, sort=FlowRunSort.START_TIME_DESC, limit=_LOOKED_AT
        ):
            if run.state and run.state.message == _answered(0):
                client.delete_flow_run(run.id)


def _answered(files: int) -> str:
    return f"{count(files, 'file')} answered"


def _state(message: str, failures: list[CardsError], data: Any) -> State[Any]:
    """The state of a run that did its work; failed when something could not be written."""
    if failures:
        return Failed(
            message=mask_codes(f"{message}; {count(len(failures), 'answer')} could not be written: {failures[0]}"),
            data=failures[0],
        )
    get_run_logger().info(message)
    return Completed(message=message, data=data)


def _night_run() -> str:
    """The name of a run: its date."""
    return f"night: {Runtime().now():%Y-%m-%d}"


@flow(name="nightly-reconciliation", flow_run_name=_night_run, persist_result=False, log_prints=False)
def nightly_reconciliation() -> State[str]:
    """Take the network's reports, release what is ready, replace what was refused; the path of the workbook.

    Failed, after all its work, when a report was rejected or is on hold.
    """
    try:
        done = night()
    except CardsError as error:
        _report_failed_night(error)
        return Failed(message=mask_codes(str(error)), data=error)
    if done.figures is None:
        return Completed(message="Another reconciliation is already running; nothing to do.", data="")
    if done.reports:
        _table("reports", done.reports, "The network's reports")
    figures = [{"figure": name.replace("_", " "), "value": value} for name, value in asdict(done.figures).items()]
    with contextlib.suppress(Exception):
        create_table_artifact(key="night", table=figures, description=f"Reconciliation of {done.night}")
    ready, refused = count(done.figures.codes_ready, "code is", "codes are"), done.figures.codes_refused
    message = f"{ready} ready, {refused:,} {'was' if refused == 1 else 'were'} refused; see {done.figures.workbook}"
    if unused := done.figures.reports_rejected + done.figures.reports_on_hold:
        # the work is done, and somebody has to look: a completed run would be an all-clear
        return Failed(message=f"{message}. {count(unused, 'network report was', 'network reports were')} not used")
    return _state(message, done.failures, done.figures.workbook)


_COLUMNS: Final = {
    "file": "file", "reseller": "reseller", "trial": "trial", "orders_placeable": "would be placed",
    "orders_placed": "placed", "orders_already_placed": "already placed",
    "orders_rejected": "rejected", "codes_placed": "codes", "rows": "rows", "rows_rejected": "rows rejected",
    "orders_on_hold": "waiting for approval", "orders_cancelled": "cancelled",
    "repeated": "repeated", "on_hold": "on hold", "reasons": "reasons (rows)", "folder": "folder",
}  # fmt: skip


def _table(key: str, files: Sequence[SubmissionResult | ReportResult], words: str) -> None:
    """An artifact with a row for each file; a file may be named after a code, so names are masked."""
    hidden = len(files) - _ROWS
    more = f"; {count(hidden, 'more file is', 'more files are')} not shown" if hidden > 0 else ""
    rows = [{**asdict(file), "reasons": format_reasons(file.reasons)} for file in files[:_ROWS]]
    table = [{title: row[name] for name, title in _COLUMNS.items() if name in row} for row in rows]
    with contextlib.suppress(Exception):  # a table that can't be shown fails no run that did its work
        create_table_artifact(key=key, table=mask_document(table), description=words + more)
