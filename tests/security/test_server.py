"""The server that `cards serve` brings up obeys nobody but us, and `cards serve` goes on under it (medium)."""

import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import csv_of, row
from tests.security.attack import House
from tests.security.watch import kill, tree

pytestmark = pytest.mark.slow

SECRET = "registry-Pa55word"


class Served(NamedTuple):
    """A home that is served: the process, what it printed, and the address of its server."""

    house: House
    process: "subprocess.Popen[bytes]"
    printed: Path
    prefect: Path
    api: str


def until(true: Callable[[], Any], seconds: float, printed: Path) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, printed.read_text()
        time.sleep(0.1)
    return found


def listening(pids: list[int]) -> list[tuple[str, int]]:
    """Addresses and ports on which these processes listen for TCP."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                address, port = cells[1].split(":")
                found.append((socket.inet_ntoa(bytes.fromhex(address)[::-1]) if len(address) == 8 else address, int(port, 16)))
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    for name in [name for name in os.environ if name.startswith("CARDS_")]:
        del os.environ[name]
    home = folder / "home"
    home.mkdir()
    house = House(
        home,
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        A_TOKEN=SECRET,
        CARDS_METRICS="127.0.0.1:0",
    ).lay()
    printed = folder / "printed"
    with printed.open("wb") as out:
        process = house.start("serve", stdout=out, stderr=out, umask=0)
    try:
        until(lambda: " serving " in printed.read_text() or process.poll() is not None, 120, printed)
        assert process.poll() is None, printed.read_text()
        (page,) = re.findall(r" page=(http://127\.0\.0\.1:\d+)", printed.read_text())
        yield Served(house, process, printed, folder / "prefect", f"{page}/api")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            kill(tree(process.pid))
            process.wait()


PLANS = {
    "POST": ["deployments/filter", "flow_runs/filter", "logs/filter", "artifacts/filter", "variables/"],
    "GET": ["admin/settings", "csrf-token?client=x"],
    "DELETE": ["deployments/00000000-0000-0000-0000-000000000000"],
}


def test_a_local_user_can_ask_the_server_nothing(served: Served) -> None:
    allowed = {}
    for method, paths in PLANS.items():
        for path in paths:
            for header in ({}, {"Authorization": "Basic YWRtaW46cGFzcw=="}, {"Authorization": "Bearer x"}):
                answer = httpx.request(method, f"{served.api}/{path}", json={} if method == "POST" else None, headers=header)
                if answer.status_code != httpx.codes.UNAUTHORIZED:
                    allowed[method, path] = answer.status_code
    assert allowed == {}


def test_a_local_user_can_neither_pause_nor_delete_a_deployment(served: Served) -> None:
    found = httpx.post(f"{served.api}/deployments/filter", json={})
    deployments = found.json() if found.is_success else []
    for one in deployments:
        assert not httpx.post(f"{served.api}/deployments/{one['id']}/pause_deployment").is_success
    assert not found.is_success


def test_no_page_of_another_site_may_read_it(served: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (httpx.options(f"{served.api}/deployments/filter", headers=headers),
                   httpx.get(f"{served.api}/health", headers=headers)):  # fmt: skip
        assert answer.headers.get("access-control-allow-origin") not in ("*", "https://evil.example")


def test_it_listens_on_loopback_alone(served: Served) -> None:
    addresses = {address for address, _ in listening(tree(served.process.pid))}
    assert addresses <= {"127.0.0.1", "00000000000000000000000001000000"}


def test_its_database_is_for_the_services_eyes_only(served: Served) -> None:
    modes = {path.name: f"{stat.S_IMODE(path.stat().st_mode):o}" for path in served.prefect.rglob("*") if path.is_file()}
    assert "prefect.db" in modes
    assert {name: mode for name, mode in modes.items() if int(mode, 8) & 0o077} == {}


def test_the_server_knows_nothing_of_the_registry(served: Served) -> None:
    children = tree(served.process.pid)[1:]
    assert children
    for pid in children:
        environment, arguments = Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/cmdline").read_bytes()
        assert SECRET.encode() not in environment
        assert b"CARDS_REGISTRY" not in environment
        assert b"AUTH" not in arguments


def test_files_are_answered_under_it(served: Served) -> None:
    served.house.drop("orders.csv", csv_of(row("A", quantity="2")))
    until(lambda: list(served.house.outbox.glob("acme/*/orders.csv")), 60, served.printed)
    assert "401" not in served.printed.read_text()
    assert "Traceback" not in served.printed.read_text()


def test_the_servers_secret_is_random_and_nowhere_to_be_read(served: Served) -> None:
    pids = tree(served.process.pid)
    texts = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]
    found = {value for text in texts for value in re.findall(rb"PREFECT_(?:SERVER_)?API_AUTH_STRING=([^\0]+)", text)}
    assert len(found) == 1
    (secret,) = found
    assert len(set(secret)) > 12
    assert len(secret) >= 32
    readable = [path for path in (*served.prefect.rglob("*"), *served.house.home.rglob("*"), served.printed)
                if path.is_file() and (path == served.printed or path.stat().st_mode & 0o077)]  # fmt: skip
    password = secret.partition(b":")[2] or secret
    assert [path for path in readable if password in path.read_bytes()] == []
    assert [pid for pid in pids if password in Path(f"/proc/{pid}/cmdline").read_bytes()] == []
