"""A Prefect server of our own: a child process that never outlives us. Prefect itself is not imported here."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event
from typing import Final, NamedTuple

import httpx

from pipelines.common.errors import CardsError

_HOST: Final = "127.0.0.1"
_USUAL_PORT: Final = 4200
_UP_SECONDS: Final = 120
_DOWN_SECONDS: Final = 10
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG: Final = 1


class Server(NamedTuple):
    """A server that runs: the address of its API, and its process."""

    api: str
    process: "subprocess.Popen[bytes]"

    def check(self) -> None:
        """Raise when it has died."""
        if self.process.poll() is not None:
            raise CardsError(f"Prefect's server ended with exit code {self.process.returncode}. Start `cards serve` again.")


@contextlib.contextmanager
def prefect_server(stop: Event) -> Iterator[Server]:
    """A server on loopback. It is up, unless `stop` was set meanwhile."""
    port = _free_port()
    process = _start(port)
    server = Server(f"http://{_HOST}:{port}/api", process)
    try:
        _wait(server, stop)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_DOWN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    """Prefect's usual port, or where that is taken any other."""
    for port in (_USUAL_PORT, 0):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((_HOST, port))
            return int(one.getsockname()[1])
    raise CardsError("No port is free for Prefect's server.")


def _start(port: int) -> "subprocess.Popen[bytes]":
    """The server's process; it tells errors, and nothing else, on our standard error."""
    usual = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    console = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]
    return subprocess.Popen(
        command,
        env={**usual, **os.environ, **console},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; the server is needed until the run in hand is told
        preexec_fn=_with_parent,  # noqa: PLW1509 it does one system call, of a library that is loaded
    )


def _with_parent() -> None:
    """Have the kernel end this process when the parent dies, killed hard or not."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(server: Server, stop: Event) -> None:
    late = time.monotonic() + _UP_SECONDS
    while not stop.wait(0.2):
        server.check()
        if time.monotonic() > late:
            raise CardsError(f"Prefect's server is not up after {_UP_SECONDS} seconds.")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.api}/health").status_code == httpx.codes.OK:
                return
