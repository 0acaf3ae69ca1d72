"""A Prefect server of our own: a child process that never outlives us. Prefect itself is not imported here.

Anybody on this machine can reach its port, so its API asks for a password: the operator's, or one that is new at every start.
"""

import base64
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

import httpx

from pipelines.common.errors import CardsError
from pipelines.common.worker_process import child_environment

_HOST: Final = "127.0.0.1"
_USUAL_PORT: Final = 4200
_UP_SECONDS: Final = 120
_DOWN_SECONDS: Final = 10
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG: Final = 1
_USUAL: Final = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
_ALWAYS: Final = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}


class Server(NamedTuple):
    """A server that runs: the address of its API, the password of the API and its page, the file that holds the
    password, and the process.
    """

    api: str
    password: str
    password_file: Path
    process: "subprocess.Popen[bytes]"

    def check(self) -> None:
        """Raise CardsError when it has died."""
        if self.process.poll() is not None:
            raise CardsError(f"Prefect's server ended with exit code {self.process.returncode}. Start `cards serve` again.")


@contextlib.contextmanager
def prefect_server(stop: Event) -> Iterator[Server]:
    """A server on loopback. It is up, unless `stop` was set meanwhile."""
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or f"operator:{secrets.token_urlsafe(24)}"
    _make_private(_home())
    with _port() as port, _password_file(_home() / f"cards-serve-{port}.password", password) as path:
        process = _start(port, password)
        server = Server(f"http://{_HOST}:{port}/api", password, path, process)
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


def _home() -> Path:
    """Where Prefect keeps its files."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()


def _make_private(home: Path) -> None:
    """Close the database that an earlier server may have left open to others; new files are made with our umask."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in home.glob("prefect.db*"):
        path.chmod(0o600)


@contextlib.contextmanager
def _password_file(path: Path, password: str) -> Iterator[Path]:
    """A file with the password, for the operator's eyes only, as long as the server runs."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{password}\n")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _port() -> Iterator[int]:
    """Prefect's usual port, or any other where that is in use, or is about to be: a server listens seconds after its port was
    chosen, so on Linux a name that one process at a time can have keeps a second `cards serve` from choosing the same.
    """
    with socket.socket(socket.AF_UNIX) as name:
        ports = [_USUAL_PORT, 0]
        try:
            if sys.platform == "linux":
                name.bind(f"\0cards-serve-{_USUAL_PORT}")
        except OSError:
            ports.remove(_USUAL_PORT)
        yield _free_port(ports)


def _free_port(ports: list[int]) -> int:
    """The first of the ports that is free; 0: any that is."""
    for port in ports:
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((_HOST, port))
            return int(one.getsockname()[1])
    raise CardsError("No port is free for Prefect's server.")


def _start(port: int, password: str) -> "subprocess.Popen[bytes]":
    """The server's process; it writes errors, and nothing else, to our standard error."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]
    own_pages = ",".join(f"http://{host}:{port}" for host in (_HOST, "localhost"))
    locked = {"PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": own_pages}
    return subprocess.Popen(
        command,
        env={**_USUAL, **child_environment("PREFECT_"), **_ALWAYS, **locked},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        umask=0o077,
        start_new_session=True,  # Ctrl-C must not end it: it is needed until the run in hand has been reported
        preexec_fn=_with_parent,  # noqa: PLW1509 it does one system call, of a library that is loaded
    )


def _with_parent() -> None:
    """Have the kernel end this process when the parent dies, however it dies."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(server: Server, stop: Event) -> None:
    """Wait until the server answers to its password: at its port there may be somebody else's."""
    known = {"Authorization": f"Basic {base64.b64encode(server.password.encode()).decode()}"}
    late = time.monotonic() + _UP_SECONDS
    while not stop.wait(0.2):
        server.check()
        if time.monotonic() > late:
            raise CardsError(f"Prefect's server is not up after {_UP_SECONDS} seconds.")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.api}/admin/version", headers=known).status_code == httpx.codes.OK:
                return
