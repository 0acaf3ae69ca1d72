"""A whole life under Prefect with debug logging and errors forced at every step: `python -m tests.life HOME`.

Run apart by `test_secrecy`, which then looks for codes in everything that it left behind.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.testing.utilities import prefect_test_harness

from pipelines import flows
from pipelines.admin import demo
from pipelines.admin.catalogue import load_catalogue
from pipelines.common.context import Runtime
from pipelines.common.settings import load_settings
from pipelines.registry.store import open_registry
from tests.receivers import MailServer, Received, Webhook

HOME = Path(sys.argv[1])
SECRET = "hush4711"


os.environ |= {"CARDS_HOME": str(HOME), "CARDS_SETTLE_SECONDS": "0", "CARDS_REGISTRY": os.environ.get("CARDS_REGISTRY", "")}


ORDERS = ["claimed", "read", "decided", "committed", "placement written", "folder written", "archived", "delivered"]
NIGHT = ["report entered", "orders closed", "folder written", "delivered"]


def some_code() -> str:
    with open_registry(load_settings().registry_url) as registry:
        codes = registry.query("SELECT max(code) AS code FROM numbers WHERE order_pk > 0", {"code": pl.Int64})["code"]
    return str(codes.item() or 73905162840517)


def failing(runtime: Runtime, at: str) -> Runtime:
    """The runtime in which a step fails with a message that holds a code."""

    def step(name: str) -> None:
        if name == at:
            raise ValueError(f"the code {some_code()} makes trouble")

    return runtime._replace(checkpoint=step)


def tried(run: Any, job: Any, name: str, at: str) -> None:
    """Run a flow while a step of its job fails."""
    right = getattr(job, name)
    setattr(job, name, lambda run, *more: right(run._replace(runtime=failing(run.runtime, at)), *more))
    try:
        run()
    except Exception as error:
        print(f"{at}: {error}")
    finally:
        setattr(job, name, right)


def main() -> None:
    demo.lay_out(HOME)
    with open_registry(load_settings().registry_url) as registry:
        load_catalogue(HOME / "catalogue.xlsx", registry)
    with notified() as messages:
        live()
    (HOME.parent / "kept" / "notices.json").write_text(json.dumps(messages))


@contextmanager
def notified() -> Iterator[list[Received]]:
    """The operator is notified by mail and a webhook, and acme by the webhook, whose address has a secret."""
    with Webhook() as webhook, MailServer() as mail:
        os.environ |= {"CARDS_NOTIFY": f"desk@example.com {webhook.url(SECRET)}", "CARDS_NOTIFY_MAIL": mail.url}
        with open_registry(load_settings().registry_url) as registry:
            registry.execute(f"UPDATE accounts SET notify = '{webhook.url(SECRET)}' WHERE reseller = 'acme'")
        messages: list[Received] = []
        yield messages
        messages += [one._replace(to="") for one in webhook.messages + mail.messages]


def live() -> None:
    with prefect_test_harness():
        for number, at in enumerate(ORDERS):
            os.environ["CARDS_LOG"] = ("text", "json")[number % 2]
            (HOME / f"inbox/acme/{at} 7390516284{number}517.csv").write_text(
                "Customer Account Number,Product Account Number,Access Number,Customer Order ID,Quantity\n"
                f"10023456,7001,8008604444,{at.replace(' ', '-')[:15]},3\n"
            )
            tried(flows.process_inbox, flows.process_orders, "process_inbox", at)
        named_after = some_code()
        (HOME / f"inbox/acme/{named_after}.csv").write_text(f"Customer Order ID,Quantity,Comments\nX{named_after},1,\n")
        flows.process_inbox()
        demo.answer_as_network(HOME)
        for number, at in enumerate(NIGHT):
            os.environ["CARDS_LOG"] = ("text", "json")[number % 2]
            tried(flows.nightly_reconciliation, flows.reconcile_network, "reconcile", at)
        flows.nightly_reconciliation()
        for worker in (APILogWorker, EventsWorker):  # logs are sent to the server in portions
            worker.drain_all(timeout=10)
        shutil.copytree(os.environ["TMPDIR"], HOME.parent / "kept", dirs_exist_ok=True)  # the harness removes its database


if __name__ == "__main__":
    main()
