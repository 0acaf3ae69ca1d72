"""The Prefect flows: the plain jobs with a schedule, retries and a page to look at. Nothing else imports Prefect.

No frame and no code is ever a parameter, a result or an artifact, and no task is cached: a cached draw would issue
the same codes twice. Exactly-once lives in the registry alone; Prefect may retry, duplicate or lose a run.
"""

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from pipelines import inbox, orders, reconcile
from pipelines.errors import TransientError, told
from pipelines.registry import open_registry
from pipelines.screen import masked
from pipelines.settings import load_settings
from pipelines.world import World


def _transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Only what may succeed in a moment is tried again."""
    return isinstance(state.data, TransientError) or isinstance(state.result(raise_on_failure=False), TransientError)


@task(name="sweep", cache_policy=NO_CACHE, persist_result=False, retries=4, retry_delay_seconds=[1, 5, 20, 60],
      retry_condition_fn=_transient)  # fmt: skip
def sweep(resellers: list[str] | None) -> list[dict[str, Any]]:
    """Answer every ready order file of the resellers (of all when None)."""
    settings = load_settings()
    try:
        with open_registry(settings.registry_url) as registry:
            return orders.process_inbox(settings, registry, senders=lambda sender: resellers is None or sender in resellers)
    except Exception as error:
        raise told(error) from None


@task(name="night", cache_policy=NO_CACHE, persist_result=False, retries=4, retry_delay_seconds=[1, 5, 20, 60],
      retry_condition_fn=_transient)  # fmt: skip
def night() -> dict[str, Any]:
    """Reconcile what was placed with the reports at hand."""
    settings = load_settings()
    try:
        with open_registry(settings.registry_url) as registry:
            return reconcile.reconcile(settings, registry)
    except Exception as error:
        raise told(error) from None


def _orders_run() -> str:
    """The name of a run: how many files it finds, and from whom."""
    try:
        settings = load_settings()
        drops = list(inbox.ready(settings.inbox, settings.settle_seconds, lambda sender: sender != inbox.NETWORK))
    except Exception:
        return "orders"
    senders = sorted({drop.sender for drop in drops})
    named = ", ".join(senders[:5]) + (" …" if len(senders) > 5 else "")
    return f"orders: {len(drops)} file{'' if len(drops) == 1 else 's'}{f' from {named}' if drops else ''}"


@flow(name="process-inbox", flow_run_name=_orders_run, persist_result=False, log_prints=False)
def process_inbox(resellers: list[str] | None = None) -> int:
    """Answer every ready order file; how many files were answered."""
    submissions = sweep(resellers)
    if submissions:
        create_table_artifact(key="submissions", table=[_row(one) for one in submissions],
                              description="What became of the files of this run")  # fmt: skip
    get_run_logger().info("%d files answered", len(submissions))
    return len(submissions)


def _night_run() -> str:
    """The name of a run: its date."""
    return f"night: {World().now():%Y-%m-%d}"


@flow(name="nightly-reconciliation", flow_run_name=_night_run, persist_result=False, log_prints=False)
def nightly_reconciliation() -> str:
    """Take the network's reports, release what is ready, replace what was refused; where the workbook lies."""
    done = night()
    reports = done.pop("reports")
    if reports:
        create_table_artifact(key="reports", table=[_row(one) for one in reports], description="The network's reports")
    figures = [{"figure": name.replace("_", " "), "value": value} for name, value in done.items()]
    create_table_artifact(key="night", table=figures, description=f"Reconciliation of {done['night']}")
    get_run_logger().info("%d codes are ready, %d were refused", done["codes_ready"], done["codes_refused"])
    return str(done["workbook"])


def _row(told: dict[str, Any]) -> dict[str, Any]:
    """A submission as a row of the artifact; a file may be named after a code, so names are masked."""
    reasons = ", ".join(f"{reason} {rows}" for reason, rows in told["reasons"].items())
    return {name: masked(value) if isinstance(value, str) else value for name, value in {**told, "reasons": reasons}.items()}
