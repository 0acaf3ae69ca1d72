"""The tests. Each of pytest's workers runs on one core, and what it starts with it.

Polars hands each step over a small frame to a thread of its own and waits for it. On a virtual machine the core on which this
thread wakes is asleep, and waking it takes several times as long as the step: on one core the tests take two thirds of the
time. What is to run at the same moment asks for `all_cores`.
"""

import os

worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker and hasattr(os, "sched_setaffinity"):  # macOS has none
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def all_cores() -> None:
    """Have this process run on every core again."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
