"""A child process that handles untrusted bytes. It may crash or hang; the next request starts a new one."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Any, Final, Self

from pipelines.common.durable_files import make_locked_dir, remove_locked_dir

_INHERITED: Final = frozenset({"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"})
_ARROW: Final = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}
"""Arrow's usual pool reserves a GB of addresses at its first use, which a ceiling on memory counts; set in Python, the pool
is not the one that Arrow writes streams with."""
_INHERITED_PREFIXES: Final = ("LC_", "PYTHON")


def child_environment(*prefixes: str) -> dict[str, str]:
    """The environment of a child process: what Python needs, and variables with the given prefixes; no secret of ours."""
    return {
        name: value for name, value in os.environ.items()
        if name in _INHERITED or name.startswith((*_INHERITED_PREFIXES, *prefixes))
    }  # fmt: skip


class WorkerProcess:
    """Runs `python -m MODULE FD LIMITS`, started when first needed and again after it died; one serves many requests.

    `scratch`: where a private folder is made for its temporary files, which may hold codes; what a killed run leaves
    there is removed by the next one.
    """

    def __init__(self, module: str, limits: Sequence[int | str], seconds: float, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._tempdir: tuple[Path, int] | None = None
        self._command = [sys.executable, "-m", module]
        self._limits = json.dumps(limits)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._one = Lock()
        self._last = Event()
        self._last.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def ask(self, *parts: bytes, seconds: float | None = None) -> tuple[Any, bytes]:
        """Send a request; the answer's JSON and its bytes. Threads take turns. `seconds`: a time limit of its own.

        Raises EOFError or OSError when the child dies of it, TimeoutError when it takes too long.
        """
        with self._one:
            connection = self.start()
            try:
                for part in parts:
                    connection.send_bytes(part)
                if not connection.poll(self._seconds if seconds is None else seconds):
                    raise TimeoutError
                return json.loads(connection.recv_bytes()), connection.recv_bytes()
            except (EOFError, OSError):
                self._stop()
                raise

    def ask_in_turn(self, *parts: bytes) -> tuple[Any, bytes]:
        """Send a request while the child may still be busy with earlier ones of other threads; see `ask`.

        When the child dies of one, those that follow it fail with it.
        """
        mine = Event()
        try:
            with self._one:
                connection, before, self._last = self.start(), self._last, mine
                with self._lost():
                    for part in parts:
                        connection.send_bytes(part)
            before.wait()
            with self._lost():
                if not connection.poll(self._seconds):
                    raise TimeoutError
                return json.loads(connection.recv_bytes()), connection.recv_bytes()
        finally:
            mine.set()  # whatever happened, or those that follow would wait for ever

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            self._stop()
            raise

    def start(self) -> Connection:
        """Start the process, ahead of need, so that it is up when the first request comes."""
        if self._connection:
            return self._connection
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), self._limits],
                pass_fds=[theirs.fileno()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a crash report could hold a cell
                start_new_session=True,  # Ctrl-C must not end it: the file that it parses would look unreadable
            )
        self._connection = ours
        return ours

    def _environment(self) -> dict[str, str]:
        environment = child_environment() | _ARROW
        if self._scratch is None:
            return environment
        folder = self._scratch / f"{os.getpid()}-child-{secrets.token_hex(8)}"
        self._tempdir = folder, make_locked_dir(folder)
        return environment | {"TMPDIR": str(folder)}

    def _stop(self) -> None:
        """End the process. Several threads may find at once that it is gone."""
        connection, process, tempdir = self._connection, self._process, self._tempdir
        self._connection = self._process = self._tempdir = None
        if connection:
            connection.close()
        if process:
            process.kill()
            process.wait()
        if tempdir:
            remove_locked_dir(*tempdir)
