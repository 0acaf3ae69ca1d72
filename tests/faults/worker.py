"""Work in processes of its own that can be killed: `Worker`, and `python -m tests.faults.worker`, which it starts.

That process imports everything once and then forks for each job, so that a thousand kills cost little. The fork is the
process that does the work: SIGKILL ends it as it would end `cards run`.
"""

import importlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests import all_cores

ROOT = Path(__file__).parents[2]
IMPORTED = ["adbc_driver_postgresql.dbapi", "adbc_driver_sqlite.dbapi", "openpyxl", "xlsxwriter", "pipelines.cli",
            "pipelines.admin.audit", "pipelines.admin.imports", "pipelines.console", "pipelines.process_orders",
            "pipelines.reconcile_network"]  # fmt: skip


class Ended(NamedTuple):
    """How a job ended: its exit code (-9 when it was killed), and what it said."""

    code: int
    out: str
    err: str


class Worker:
    """One process after another, each doing one job of `jobs` below."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said = (folder / "out", folder / "err")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker", *map(str, self._said)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, *arguments: str, environment: dict[str, str], **how: Any) -> None:
        """Begin `cards` with these arguments; `space`: how many random words there are, `rounds`: how often; `poison`: where
        an order with the comment POISON kills the process (read, decide or write; report: a report with that word); `kill`: at
        which step of a run; `before`: ahead of which statement, rename, removal or fsync (0: never), and `steps_file`: where
        the process writes how many there were.
        """
        assert self._process.stdin
        print(json.dumps({"arguments": arguments, "environment": environment, **how}), file=self._process.stdin, flush=True)
        self.pid = int(self._line())

    def kill(self) -> None:
        """SIGKILL; nothing happens when the job has ended: its process is there until `end` has been requested."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for the end of the job."""
        code = int(self._line())
        print(file=self._process.stdin, flush=True)  # now it may go
        self._line()
        return Ended(code, *(path.read_text() for path in self._said))

    def run(self, *arguments: str, environment: dict[str, str], **how: Any) -> Ended:
        self.start(*arguments, environment=environment, **how)
        return self.end()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def main() -> None:
    for module in IMPORTED:  # and nothing is done with them yet: their pools of threads would not go along with a fork
        importlib.import_module(module)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            _work(job)
        print(pid, flush=True)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays, so that its number is no other's
        assert ended
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)
        sys.stdin.readline()
        os.waitpid(pid, 0)
        print(flush=True)


def _work(job: dict[str, Any]) -> None:
    """Do a job and end."""
    code = 1
    try:
        for number, path in enumerate(sys.argv[1:3], 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.environ.update(job["environment"])
        sys.argv = ["cards", *job["arguments"]]
        if "poison" in job:
            _poison(job["poison"])
        if "before" in job:
            _die_before(job["before"])
        code = _crowded(job) if "space" in job else _killed_at(job["kill"], sys.argv[1:]) if "kill" in job else _cards()
    except BaseException:
        traceback.print_exc()
    finally:
        if "steps_file" in job:
            Path(job["steps_file"]).write_text(str(next(_STEPS) - 1))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _cards() -> int:
    from pipelines import cli

    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _poison(where: str) -> None:
    """Have the process die of an order with the comment POISON, as of a fault of ours or of too little memory."""
    from pipelines import answering, reconcile_network
    from pipelines.delivery import submission
    from pipelines.orders import loading

    places: dict[str, tuple[Any, str, Callable[..., bool]]] = {
        "read": (loading, "read", lambda content, *_: b"POISON" in content),
        "report": (reconcile_network, "read", lambda content, *_: b"POISON" in content),
        "decide": (answering, "decide", lambda batch, *_: "POISON" in batch.rows["comments"]),
        "write": (submission, "write_confirmation", lambda _, records, *__: "POISON" in records.orders["comments"]),
    }
    module, name, is_deadly = places[where]
    work = getattr(module, name)

    def deadly(*arguments: Any) -> Any:
        if is_deadly(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments)

    setattr(module, name, deadly)


_STEPS = itertools.count(1)
"""The steps of this process, as `_die_before` counts them."""


def _die_before(last: int) -> None:
    """Have the process die ahead of its n-th step that lasts: a statement to the registry, or a change to a folder."""
    from pipelines.registry.database import Database

    places = [(Database, "execute"), (Database, "query"), (Database, "append"), (os, "rename"), (os, "replace"),
              (os, "unlink"), (os, "fsync")]  # fmt: skip

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(_STEPS) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **named)

        return step

    for place, name in places:
        setattr(place, name, counted(getattr(place, name)))


def _killed_at(kill: str, arguments: list[str]) -> int:
    """Sweep, or replay for a reason, until a step is reached, and die of it."""
    from pipelines.admin.replay import replay
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings
    from pipelines.process_orders import process_inbox
    from pipelines.run import open_run

    def checkpoint(step: str) -> None:
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_run(load_settings(_env_file=None), Runtime(checkpoint=checkpoint)) as run:
        if "replay" in arguments:
            replay(run, arguments[arguments.index("--reason") + 1])
        else:
            process_inbox(run)
    return 0


def _crowded(job: dict[str, Any]) -> int:
    """Run as often as it is asked to, with few random numbers for all."""
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings
    from pipelines.orders import claiming
    from pipelines.process_orders import process_inbox
    from pipelines.registry.store import open_registry
    from pipelines.run import Run

    claiming.FIRST_FILES = 8  # so that few files are many portions
    settings = load_settings(_env_file=None)
    words = [random.Random(number).randbytes(8) for number in range(job["space"])]
    chance = random.Random(job["seed"])

    def source(count: int) -> bytes:
        return b"".join(chance.choices(words, k=count // 8))

    with open_registry(settings.registry_url) as registry:
        for _ in range(job["rounds"]):
            done = process_inbox(Run(settings, registry, Runtime(random_bytes=source)))
            print(json.dumps({"submissions": [asdict(one) for one in done.results]}), flush=True)
    return 0


if __name__ == "__main__":
    all_cores()
    main()
