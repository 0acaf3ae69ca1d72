"""A child process that handles untrusted bytes. It may crash or hang; the next request starts a new one."""

import json
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from types import TracebackType
from typing import Any, Self


class WorkerProcess:
    """Runs `python -m MODULE FD LIMITS`, started when first needed and again after it died; one serves many requests."""

    def __init__(self, module: str, limits: list[int], seconds: float) -> None:
        self._command = [sys.executable, "-m", module]
        self._limits = json.dumps(limits)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._one = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def ask(self, *parts: bytes) -> tuple[Any, bytes]:
        """Send a request; the answer's JSON and its bytes. Threads take turns.

        Raises EOFError or OSError when the child dies of it, TimeoutError when it takes too long.
        """
        with self._one:
            connection = self.start()
            try:
                for part in parts:
                    connection.send_bytes(part)
                if not connection.poll(self._seconds):
                    raise TimeoutError
                return json.loads(connection.recv_bytes()), connection.recv_bytes()
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
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a crash report could hold a cell
                start_new_session=True,  # Ctrl-C is for us: a file whose child it ends would look unreadable
            )
        self._connection = ours
        return ours

    def _stop(self) -> None:
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None
