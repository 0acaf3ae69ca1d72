"""The Prefect flows: the plain jobs with a schedule, retries and a page to look at. Nothing else imports Prefect.

No frame and no code is ever a parameter, a result or an artifact, and no task is cached: a cached draw would issue
the same codes twice. Exactly-once lives in the registry alone; Prefect may retry, duplicate or lose a run.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed
from prefect.tasks import Task

from pipelines import process_orders, reconcile_network
from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, TransientError, to_cards_error
from pipelines.common.masking import mask_codes, mask_document
from pipelines.common.settings import load_settings
from pipelines.console import format_reasons
from pipelines.intake import inbox
from pipelines.registry.store import open_registry

_PROGRESS_SECONDS: Final = 2

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
            return process_orders.process_inbox(settings, registry, Runtime(progress=_shown()), _asked(resellers))
    except Exception as error:
        raise to_cards_error(error) from None


@task(name="night", task_run_name="night", cache_policy=NO_CACHE, persist_result=False, retries=4,
      retry_delay_seconds=[1, 5, 20, 60], retry_condition_fn=_transient)  # fmt: skip
def night() -> dict[str, Any]:
    """Reconcile what was placed with the reports at hand."""
    settings = load_settings()
    try:
        with open_registry(settings.registry_url) as registry:
            return reconcile_network.reconcile(settings, registry, Runtime(progress=_shown()))
    except Exception as error:
        raise to_cards_error(error) from None


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
        drops = inbox.stable_files(settings.inbox, settings.settle_seconds, _asked(this_run.parameters.get("resellers")))
    except Exception:
        return "orders"
    senders = sorted({drop.sender for drop in drops})
    named = mask_codes(", ".join(senders[:5])) + (" …" if len(senders) > 5 else "")
    return f"orders: {_count(len(drops))} from {named}" if drops else "orders: no files"


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


@flow(name="process-inbox", flow_run_name=_orders_run, persist_result=False, log_prints=False)
def process_inbox(resellers: list[str] | None = None) -> State[int]:
    """Answer every ready order file; how many files were answered. The run says in one line what it did, or why not."""
    try:
        submissions = sweep(resellers)
    except CardsError as error:
        return Failed(message=mask_codes(str(error)), data=error)
    told = f"{_count(len(submissions))} answered"
    if submissions:
        placed, rejected, codes = (sum(one[name] for one in submissions) for name in _SUMS)
        told += f": {placed} orders placed with {codes} codes, {rejected} rejected"
        _table("submissions", submissions, told)
    get_run_logger().info(told)
    return Completed(message=told, data=len(submissions))


def _night_run() -> str:
    """The name of a run: its date."""
    return f"night: {Runtime().now():%Y-%m-%d}"


@flow(name="nightly-reconciliation", flow_run_name=_night_run, persist_result=False, log_prints=False)
def nightly_reconciliation() -> State[str]:
    """Take the network's reports, release what is ready, replace what was refused; where the workbook lies."""
    try:
        done = night()
    except CardsError as error:
        return Failed(message=mask_codes(str(error)), data=error)
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
    rows = [{**one, "reasons": format_reasons(one)} for one in files]
    table = [{title: one[name] for name, title in _COLUMNS.items() if name in one} for one in rows[:_ROWS]]
    create_table_artifact(key=key, table=mask_document(table), description=words + more)
