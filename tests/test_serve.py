"""`cards serve` as a process, and the worker's way, against a real Prefect server."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.registry.store import open_registry
from pipelines.serving import watcher
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, csv_of, read_csv, row

ROOT = Path(__file__).parents[1]
SETTLE = 1.0
REPORT = "Order ID,Authorization Code\n10023456-1,\n"


class House:
    """A home with a catalogue, and a Prefect home beside it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.prefect, self.printed = folder / "home", folder / "prefect", folder / "printed"
        for source in ("acme", "globex", "network"):
            (self.home / "inbox" / source).mkdir(parents=True)
        self.printed.touch()
        with open_registry(f"sqlite:///{self.home}/registry.db") as registry:
            registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CARDS_"))},
            "CARDS_HOME": str(self.home), "CARDS_SETTLE_SECONDS": str(SETTLE), "PREFECT_HOME": str(self.prefect),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "SECRET_OF_OURS": "1",
            "CARDS_METRICS": "127.0.0.1:0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        with self.printed.open("ab") as out:
            return subprocess.Popen(command, cwd=ROOT, env={**self.environment, **environment}, stdout=out, stderr=out,
                                    stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    def do(self, *command: str, **environment: str) -> None:
        done = self.start(*command, **environment).wait(120)
        assert done == 0, self.said()

    def said(self) -> str:
        return self.printed.read_text("utf-8")

    def drop(self, name: str, *rows: dict[str, str], source: str = "acme") -> Path:
        path = self.home / "inbox" / source / name
        path.write_bytes(csv_of(*rows))
        return path

    def folder(self, name: str, source: str = "acme") -> Path:
        """The one submission folder of a file; it appears whole, and at last has the original."""
        (found,) = (self.home / "outbox" / source).glob(f"*/{name}")
        return found.parent

    def codes(self) -> set[str]:
        return {code for path in self.home.glob("outbox/*/*/confirmation.csv")
                for code in read_csv(path)["Authorization Code"] if code}  # fmt: skip

    def assert_no_code_shown(self, server: Path | None = None) -> None:
        """No code is in what was printed, nor in a file of Prefect's (the database of its server above all)."""
        files = [path for home in (self.prefect, server or self.prefect) for path in home.rglob("*") if path.is_file()]
        assert any(path.suffix == ".db" for path in files)
        digits = [run.decode() for path in (self.printed, *files) for run in re.findall(rb"\d{14,}", path.read_bytes())]
        shown = {run[start : start + 14] for run in digits for start in range(len(run) - 13)}
        assert self.codes()
        assert self.codes() & shown == set()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@contextmanager
def running(process: "subprocess.Popen[bytes]") -> "Iterator[subprocess.Popen[bytes]]":
    """A process whose whole session is gone afterwards, whatever the test does."""
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(true: Callable[[], Any], seconds: float, house: House) -> float:
    """Wait for something; how long it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, house.said()
        time.sleep(0.05)
    return time.monotonic() - start


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for one in lists for child in one.read_text().split()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def prefect_server(house: House, **environment: str) -> "Iterator[tuple[subprocess.Popen[bytes], str]]":
    """A Prefect server as somebody else starts it: its process, and the address of its API."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    api = f"http://127.0.0.1:{port}/api"

    def up() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{api}/health").is_success
        return False

    with running(house.start("prefect", "server", "start", "--port", port, **environment)) as process:
        until(up, 180, house)
        yield process, api


def serve(house: House, **environment: str) -> "subprocess.Popen[bytes]":
    return house.start("cards", "serve", **environment)


def api_of(house: House) -> str:
    """Wait until `cards serve` is ready; the address of Prefect's API, with the password when it has one."""
    until(lambda: " serving " in house.said(), 90, house)
    (page,) = re.findall(r" page=(http://\S+)", house.said())
    passwords = [Path(path).read_text("utf-8").strip() for path in re.findall(r" password_file=(\S+)", house.said())]
    return f"{page}/api".replace("http://", f"http://{passwords[0]}@" if passwords else "http://")


def runs(api: str) -> list[dict[str, Any]]:
    """The runs that have started."""
    found = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 200}).json()
    return [run for run in found if run["start_time"]]


def names(api: str) -> list[str]:
    return [run["name"] for run in runs(api)]


def ahead(api: str) -> list[dict[str, Any]]:
    """The runs that the server's scheduler has entered."""
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 200}
    return list(httpx.post(f"{api}/flow_runs/filter", json=asked).json())


def asked_for(api: str) -> int:
    """How many runs there were besides those of the minute."""
    return sum(not run["auto_scheduled"] for run in runs(api))


def in_state(api: str, state: str) -> list[dict[str, Any]]:
    return [run for run in runs(api) if run["state"]["type"] == state]


def artifacts(api: str, key: str) -> list[Any]:
    found = httpx.post(f"{api}/artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}}).json()
    return [one["data"] for one in found]


def trigger(api: str, deployment: str) -> Callable[[], dict[str, Any]]:
    """Start a deployment as its page does; a function that looks at the run."""
    known = httpx.get(f"{api}/deployments/name/{deployment}").json()
    for _ in range(5):  # a server whose database is busy answers 503
        started = httpx.post(f"{api}/deployments/{known['id']}/create_flow_run", json={})
        if started.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(1)
    assert started.is_success, started.text
    return lambda: dict(httpx.get(f"{api}/flow_runs/{started.json()['id']}").json())


def completed(look: Callable[[], dict[str, Any]]) -> Callable[[], bool]:
    return lambda: look()["state"]["type"] == "COMPLETED"


def test_a_life_of_cards_serve(house: House) -> None:
    early = house.drop("early.csv", row("E1", quantity="1"))
    (house.home / "inbox/acme/new").mkdir()
    house.drop("new/nested.csv", row("N1", quantity="1"))
    with running(serve(house)) as process:
        api = api_of(house)
        until(lambda: not early.exists(), 10, house)
        until(lambda: "orders: 1 file from acme" in names(api), 5, house)
        until(lambda: "warning files wait" in house.said(), 5, house)
        assert_closed(house, process)
        known = httpx.post(f"{api}/deployments/filter", json={}).json()
        assert {one["name"]: next(iter(one["schedules"][0]["schedule"].items())) for one in known} == {
            "orders": ("interval", 60.0), "night": ("cron", "0 2 * * *"),
        }  # fmt: skip

        until(lambda: {run["deployment_id"] for run in ahead(api)} == {one["id"] for one in known}, 15, house)

        # a file that is written slowly is taken when it has settled, not before
        path = house.drop("slow.csv", row("S0", quantity="1"))
        for number in range(1, 7):
            time.sleep(SETTLE / 2)
            with path.open("ab") as file:
                file.write(csv_of(row(f"S{number}", quantity="2")).split(b"\r\n", 1)[1])
        house.drop("other.csv", row("O1", account="20098765", product="8001", quantity="4"), source="globex")
        took = until(lambda: not path.exists(), SETTLE + 3, house)
        assert took >= SETTLE / 2
        assert len(read_csv(house.folder("slow.csv") / "confirmation.csv")) == 13
        until(lambda: any("globex" in name for name in names(api)), SETTLE + 3, house)

        # a report of the network waits for the night, which is asked for here
        (house.home / "inbox/network/report.csv").write_text(REPORT)
        before = asked_for(api)
        time.sleep(SETTLE + 1.5)
        assert asked_for(api) == before
        until(completed(trigger(api, "nightly-reconciliation/night")), 15, house)
        assert (house.home / "outbox/reconciliation").is_dir()
        assert not (house.home / "inbox/network/report.csv").exists()

        # a run that can't do its work says why in one line, and serving goes on
        (house.home / "outbox/acme").chmod(0)
        if os.access(house.home / "outbox/acme", os.W_OK):  # root may write anywhere
            (house.home / "outbox/acme").chmod(0o700)
            (house.home / "outbox/acme").rename(house.home / "outbox/kept")
            (house.home / "outbox/acme").write_text("in the way")
        house.drop("failing.csv", row("F1", quantity="1"))
        until(lambda: "Fix" in house.said() or "can't" in house.said(), SETTLE + 5, house)
        until(lambda: in_state(api, "FAILED"), 5, house)
        failed = in_state(api, "FAILED")[-1]
        assert "acme" in failed["state"]["message"]
        assert "\n" not in failed["state"]["message"]
        assert "Traceback" not in house.said()
        (house.home / "outbox/acme").unlink()
        (house.home / "outbox/kept").rename(house.home / "outbox/acme")
        until(completed(trigger(api, "process-inbox/orders")), 15, house)
        assert len(read_csv(house.folder("failing.csv") / "confirmation.csv")) == 1

        (table,) = [json for json in artifacts(api, "submissions") if "early.csv" in str(json)]
        assert '"codes": 1' in str(table)
        assert str(house.folder("early.csv").relative_to(house.home)) in str(table)

        assert_observed(house)

        # it is stopped in the middle of a run, which it finishes
        large = house.drop("large.csv", row("L1", quantity="20000"))
        until(lambda: in_state(api, "RUNNING"), SETTLE + 5, house)
        started = children(process.pid)
        process.send_signal(signal.SIGTERM)
        stopping = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - stopping < 15, house.said()
        assert not large.exists()
        assert len(read_csv(house.folder("large.csv") / "confirmation.csv")) == 20_000
        until(lambda: not any(map(alive, started)), 1, house)
    assert "stopped cleanly" in house.said()
    assert house.said().count("in a sub-folder waits") == 1
    assert re.search(r"T\d\d:\d\d:\d\d\S+ info    file answered     run=[0-9a-f]{8} submission=acme/\S+-early ", house.said())
    assert "error   run failed" in house.said()
    assert {path.name for path in house.home.rglob(".*")} == {".spool", ".registry-mark", ".registry-mark.lock"}
    assert list((house.home / ".spool").iterdir()) == []
    assert list(house.prefect.glob("*.password")) == []
    house.assert_no_code_shown()


def assert_observed(house: House) -> None:
    """Check what is served beside Prefect's page: the figures of the life so far, and that all is well."""
    (address,) = re.findall(r" address=(http://127\.0\.0\.1:\d+)/metrics", house.said())
    exposed = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(httpx.get(f"{address}/metrics").text) for one in family.samples
    }  # fmt: skip
    assert exposed["cards_files_answered_total", "orders"] == 4
    assert exposed["cards_codes_placed_total",] == 19
    assert exposed["cards_not_done_total",] == 1
    assert exposed["cards_runs_total", "night", "ok"] == 1
    assert exposed["cards_registry_up",] == 1
    assert exposed["cards_last_night_success",] == 1
    for page in ("healthz", "readyz"):
        assert httpx.get(f"{address}/{page}").status_code == httpx.codes.OK


def assert_closed(house: House, process: "subprocess.Popen[bytes]") -> None:
    """Check that the Prefect server is for who knows its password, and that it knows no secret of ours."""
    (file,) = house.prefect.glob("*.password")
    port = file.stem.rpartition("-")[2]
    page, secret = f"http://127.0.0.1:{port}", file.read_text("utf-8").strip()
    for address in (page, f"http://operator:wrong@127.0.0.1:{port}"):
        assert httpx.post(f"{address}/api/deployments/filter", json={}).status_code == httpx.codes.UNAUTHORIZED
    for origin, allowed in (("http://elsewhere.example", None), (page, page)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = httpx.options(f"{page}/api/deployments/filter", headers=asked)
        assert answer.headers.get("access-control-allow-origin") == allowed
    assert secret not in house.said()
    open_to_others = [path for path in (*house.prefect.glob("prefect.db*"), file) if path.stat().st_mode & 0o077]
    assert (house.prefect / "prefect.db").exists()
    assert open_to_others == []
    for child in children(process.pid):
        environment = Path(f"/proc/{child}/environ").read_text()
        assert "CARDS_" not in environment
        assert "SECRET_OF_OURS" not in environment
        assert "PREFECT_HOME" in environment
        assert secret not in Path(f"/proc/{child}/cmdline").read_text()


@pytest.mark.long
def test_minutes_without_files_leave_no_run_on_the_page(house: House) -> None:
    with running(serve(house)) as process:
        api = api_of(house)
        until(lambda: ahead(api), 15, house)
        first = min(run["expected_start_time"] for run in ahead(api) if run["auto_scheduled"])
        until(lambda: first not in [run["expected_start_time"] for run in ahead(api)], 90, house)
        time.sleep(3)
        found = httpx.post(f"{api}/flow_runs/filter", json={"limit": 200}).json()
        assert [run for run in found if run["expected_start_time"] <= first] == []
        assert min(run["expected_start_time"] for run in ahead(api)) > first
        path = house.drop("later.csv", row("L1", quantity="1"))
        until(lambda: not path.exists(), SETTLE + 5, house)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_two_that_start_at_once_serve_at_two_ports(tmp_path: Path) -> None:
    houses = [House(tmp_path / name) for name in ("one", "two")]
    with running(serve(houses[0])) as first, running(serve(houses[1])) as second:
        apis = [api_of(house) for house in houses]
        assert apis[0].rpartition("@")[2] != apis[1].rpartition("@")[2]
        for api in apis:
            assert httpx.get(f"{api}/admin/version").is_success
        for process in (first, second):
            process.terminate()
            assert process.wait(60) == 0


@pytest.mark.slow
def test_a_long_run_for_orders_does_not_keep_the_night_from_starting(house: House, server: tuple[str, Path]) -> None:
    api, _ = server
    with running(serve(house, PREFECT_API_URL=api)) as process:
        api_of(house)
        path = house.drop("held.csv", row("H1", quantity="1"))
        until(lambda: children(process.pid), SETTLE + 5, house)
        (parser,) = children(process.pid)
        os.kill(parser, signal.SIGSTOP)  # the run waits for it
        (running_now,) = in_state(api, "RUNNING")
        until(completed(trigger(api, "nightly-reconciliation/night")), 15, house)
        assert [run["id"] for run in in_state(api, "RUNNING")] == [running_now["id"]]
        second = house.drop("second.csv", row("H2", quantity="1"))
        time.sleep(SETTLE + 1)
        assert path.exists()
        os.kill(parser, signal.SIGCONT)
        until(lambda: not path.exists() and not second.exists(), 15, house)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_an_unreachable_registry_is_reported_before_prefect_starts(house: House) -> None:
    before = time.monotonic()
    with running(serve(house, CARDS_REGISTRY="postgresql://cards:s3cret@127.0.0.1:1/none")) as process:
        assert process.wait(30) == 1
    assert time.monotonic() - before < 15
    (line,) = house.said().splitlines()
    assert line.startswith("cards: The registry can't be opened: PostgreSQL at 127.0.0.1")
    assert "s3cret" not in line
    assert not house.prefect.exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Prefect server that somebody else has started: the address of its API, and its home."""
    house = House(tmp_path_factory.mktemp("server"))
    with prefect_server(house) as (process, api):
        yield api, house.prefect
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_named_server_is_used_and_ctrl_c_stops_cleanly(house: House, server: tuple[str, Path]) -> None:
    api, prefect = server
    with running(serve(house, PREFECT_API_URL=api)) as process:
        assert api_of(house) == api
        assert children(process.pid) == set()
        path = house.drop("long.csv", *(row(f"L{number}", quantity="1") for number in range(5_000)))
        until(lambda: in_state(api, "RUNNING"), SETTLE + 5, house)
        until(lambda: children(process.pid), 5, house)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group, the parser's child too
        assert process.wait(60) == 0
        assert not path.exists()
        assert len(read_csv(house.folder("long.csv") / "confirmation.csv")) == 5_000
        assert not (house.folder("long.csv") / "rejections.csv").exists()
    assert httpx.get(f"{api}/health").is_success
    house.assert_no_code_shown(prefect)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_of_its_own_ends_with_it_while_it_still_starts(house: House, number: signal.Signals) -> None:
    with running(serve(house)) as process:
        until(lambda: children(process.pid), 30, house)
        (child,) = children(process.pid)
        process.send_signal(number)
        assert process.wait(15) == (0 if number == signal.SIGTERM else -number)
        until(lambda: not alive(child), 15, house)
    assert "Traceback" not in house.said()


@pytest.mark.slow
def test_a_worker_does_the_same(house: House, server: tuple[str, Path]) -> None:
    api, prefect = server
    house.environment["PREFECT_API_URL"] = api
    house.environment |= {"CARDS_LOG": "json", "CARDS_METRICS_FILE": str(house.home / "cards.prom")}
    house.do("prefect", "work-pool", "create", "cards", "--type", "process")
    house.do("prefect", "--no-prompt", "deploy", "--all")
    path = house.drop("worked.csv", row("W1", quantity="2"))
    with running(house.start("prefect", "worker", "start", "--pool", "cards")) as worker:
        look = trigger(api, "process-inbox/orders")
        until(completed(look), 60, house)
        assert look()["name"] == "orders: 1 file from acme"
        assert not path.exists()
        assert len(read_csv(house.folder("worked.csv") / "confirmation.csv")) == 2
        assert 'cards_last_run_codes{flow="orders"} 2.0' in (house.home / "cards.prom").read_text()
        until(lambda: '"event": "file answered"' in house.said(), 5, house)
        worker.terminate()
        worker.wait(60)
    house.assert_no_code_shown(prefect)


@pytest.mark.slow
def test_only_order_files_that_have_settled_are_reported_and_once(house: House) -> None:
    stop = threading.Event()
    reports = watcher.looks(house.home / "inbox", 0.5, stop)

    def heard(seconds: float) -> int:
        end = time.monotonic() + seconds
        looks = (next(reports) for _ in iter(lambda: time.monotonic() < end, False))
        return sum(look.is_new for look in looks if look)

    (house.home / "inbox/network/report.csv").write_text(REPORT)
    assert heard(1) == 0
    path = house.drop("one.csv", row("A1", quantity="1"))
    assert heard(0.3) == 0
    assert heard(1) == 1
    assert heard(1) == 0
    path.write_text("again")
    assert heard(1.3) == 1
    path.unlink()
    house.drop("~$one.csv", row("A1", quantity="1"))
    assert heard(1) == 0
    stop.set()
    assert list(reports) == []
