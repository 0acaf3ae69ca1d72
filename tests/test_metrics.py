"""Metrics: what is counted of runs, how things stand, and how both are served, on both databases."""

import json
import re
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings, load_settings
from pipelines.observing import state, textfile
from pipelines.observing.metrics import Metrics, Tally
from pipelines.observing.observer import Observer, observed
from pipelines.observing.reading import Reading
from pipelines.observing.state import State
from pipelines.serving import metrics_server
from pipelines.serving.metrics_server import Heart, metrics_served
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Shop, csv_of, row, some_codes

Samples = dict[tuple[str, tuple[str, ...]], float]
CODES = some_codes(3, seed=22)


def samples(text: str) -> Samples:
    """Every sample by its name and the values of its labels, as Prometheus' own parser reads them."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


class Observed:
    """A shop whose runs are observed, and what is exposed."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.metrics, self.state = shop, Metrics(), State(shop.settings)
        self.metrics.registry.register(self.state)

    def run(self, job: str, work: Callable[[], Any]) -> None:
        """Observe a run of a job."""
        with observed(self.shop.settings, job, self.shop.runtime, Observer("", metrics=self.metrics)) as runtime:
            before, self.shop.runtime = self.shop.runtime, runtime
            try:
                work()
            finally:
                self.shop.runtime = before

    def exposed(self) -> Samples:
        self.state = None  # type: ignore[assignment]
        return samples(generate_latest(self.metrics.registry).decode())


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every question read again."""
    monkeypatch.setattr(State, "__post_init__", _unkept)


def _unkept(self: State) -> None:
    self.registry = Reading("The registry", lambda: state.read_registry(self.settings), 0, 30)
    self.queues = Reading("The inbox", lambda: state.read_queues(self.settings), 0, 30)


@pytest.fixture
def watched(shop: Shop, fresh: None) -> Observed:
    return Observed(shop)


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_runs_and_a_night_are_counted(watched: Observed) -> None:
    shop = watched.shop
    shop.drop("one.csv", csv_of(row("A", quantity="3"), row("B", code="12"), row("C", code="12", product="9")))
    shop.drop("two.csv", csv_of(row("G", account="20098765", product="8001", quantity="2")), "globex")
    found: dict[str, Any] = {}
    checkpoint = shop.runtime.checkpoint
    shop.runtime = shop.runtime._replace(checkpoint=checkpoint)
    watched.run("orders", lambda: found.update(answers=run_with(shop)))
    exposed = watched.exposed()
    assert exposed["cards_files_answered_total", ("orders",)] == 2
    assert exposed["cards_orders_total", ("placed",)] == 2
    assert exposed["cards_orders_total", ("rejected",)] == 2
    assert exposed["cards_codes_placed_total", ()] == 5
    assert exposed["cards_rejected_rows_total", ("CODE_FORMAT",)] == 2
    assert exposed["cards_rejected_rows_total", ("PRODUCT_UNKNOWN",)] == 1
    assert exposed["cards_rejected_rows_total", ("CODE_TAKEN",)] == 0
    assert exposed["cards_runs_total", ("orders", "ok")] == 1
    assert exposed["cards_last_run_codes", ("orders",)] == 5
    assert exposed["cards_last_run_success", ("orders",)] == 1
    assert exposed["cards_answer_seconds_count", ()] == 2
    assert exposed["cards_step_seconds_count", ("committed",)] == 1
    assert exposed["cards_step_seconds_count", ("folder written",)] == 2
    assert exposed["cards_orders_awaited", ()] == 2
    assert ("cards_last_night_success", ()) not in exposed

    codes = [code for answer in found["answers"] for code in answer.codes]
    shop.report(*(("10023456-1", code) for code in codes[:3]))
    shop.later(hours=1)
    watched.run("night", lambda: night_with(shop))
    exposed = watched.exposed()
    assert exposed["cards_reports_total", ("entered",)] == 1
    assert exposed["cards_orders_awaited", ()] == 1
    assert exposed["cards_runs_total", ("night", "ok")] == 1
    assert exposed["cards_last_night_timestamp_seconds", ()] == shop.now.timestamp()
    assert exposed["cards_last_night_success", ()] == 1
    shop.report(content="Order ID\n1\n")
    watched.run("night", lambda: night_with(shop))
    exposed = watched.exposed()
    assert exposed["cards_reports_total", ("rejected",)] == 1
    assert exposed["cards_runs_total", ("night", "failed")] == 1
    assert exposed["cards_last_run_success", ("night",)] == 0


def run_with(shop: Shop) -> Any:
    """Answer what lies in the inbox, with the runtime of the shop as it is now."""
    return shop.run(shop.runtime.checkpoint)


def night_with(shop: Shop) -> Any:
    return shop.night(shop.runtime.checkpoint)


def test_a_run_that_fails_is_counted_as_failed(watched: Observed) -> None:
    def fail() -> None:
        raise CardsError("no")

    with pytest.raises(CardsError):
        watched.run("orders", fail)
    exposed = watched.exposed()
    assert (exposed["cards_runs_total", ("orders", "failed")], exposed["cards_runs_total", ("orders", "ok")]) == (1, 0)
    assert exposed["cards_last_run_success", ("orders",)] == 0


def test_an_answer_that_can_not_be_written_is_counted(watched: Observed) -> None:
    shop = watched.shop
    (shop.settings.outbox).mkdir(exist_ok=True)
    (shop.settings.outbox / "acme").write_text("in the way")
    shop.drop("one.csv", csv_of(row("A", quantity="3")))
    watched.run("orders", lambda: run_with(shop))
    exposed = watched.exposed()
    assert exposed["cards_not_done_total", ()] == 1
    assert exposed["cards_files_undelivered", ()] == 1
    assert exposed["cards_runs_total", ("orders", "failed")] == 1


def test_a_step_is_timed_from_the_one_before_in_its_thread() -> None:
    metrics = Metrics()
    settings = load_settings(_env_file=None)
    with observed(settings, "orders", Runtime(), Observer("", metrics=metrics)) as runtime:
        time.sleep(0.05)
        runtime.checkpoint("first")
        thread = threading.Thread(target=runtime.checkpoint, args=("second",))
        time.sleep(0.05)
        thread.start()
        thread.join()
        time.sleep(0.05)
        runtime.checkpoint("third")
    exposed = samples(generate_latest(metrics.registry).decode())
    sums = {step: exposed["cards_step_seconds_sum", (step,)] for step in ("first", "second", "third")}
    assert 0.05 <= sums["first"] < 1
    assert 0.05 <= sums["second"] < 1
    assert 0.1 <= sums["third"] < 1  # since the first, which was the one before in its thread


# -- how things stand --------------------------------------------------------------------------------------------------


def test_the_queue_is_counted_by_reseller_and_strangers_name_no_label(watched: Observed) -> None:
    shop = watched.shop
    hostile = 'ev"il\n\\x 1\n# TYPE'
    for folder in (hostile, "nobody", CODES[0]):
        (shop.settings.inbox / folder).mkdir()
        shop.drop(f"{CODES[1]}.csv", b"x", folder)
    shop.drop('a"\n.csv', b"x")
    shop.drop("b.csv", b"x")
    shop.drop("c.csv", b"x", "house")
    shop.report(("1", ""))
    text = generate_latest(watched.metrics.registry).decode()
    exposed = samples(text)
    queue = {labels[0]: value for (name, labels), value in exposed.items() if name == "cards_queue_files"}
    assert queue == {"acme": 2, "house": 1, "network": 1, "unknown": 3}
    assert all(0 <= exposed["cards_queue_oldest_seconds", (one,)] < 60 for one in queue)
    for stranger in (hostile, "nobody", *CODES[:2]):
        assert stranger not in text


def test_a_reseller_that_is_named_like_a_code_is_masked(watched: Observed) -> None:
    shop = watched.shop
    named = ACCOUNTS.head(1).with_columns(reseller=ACCOUNTS.head(1)["reseller"].replace("acme", CODES[0]))
    shop.registry.load_catalogue(named, ACCESS_NUMBERS)
    (shop.settings.inbox / CODES[0]).mkdir()
    shop.drop("a.csv", b"x", CODES[0])
    text = generate_latest(watched.metrics.registry).decode()
    assert samples(text)["cards_queue_files", (f"{CODES[0][:6]}••••••••",)] == 1
    assert CODES[0] not in text


def test_overdue_orders_and_holds_are_reported(watched: Observed) -> None:
    shop = watched.shop
    shop.send(row("A", quantity="1"))
    exposed = watched.exposed()
    assert (exposed["cards_orders_awaited", ()], exposed["cards_orders_overdue", ()]) == (1, 1)  # the shop's clock is past
    assert {exposed[f"cards_{name}", ()] for name in ("reports_on_hold", "resellers_on_hold", "orders_on_hold")} == {0}
    shop.registry.execute("INSERT INTO holds VALUES ('acme', '2026-10-05T09:30:00-06:00', 'x')")
    shop.registry.execute("INSERT INTO notice_deliveries VALUES (1, 'x', '', 0, 0), (2, 'x', '2026', 1, 0)")
    shop.registry.execute(
        "INSERT INTO order_holds VALUES (1, 1, 'a', 'b', 'c', 9, 'x', 0, '', '', '', 0, 0), "
        "(2, 1, 'a', 'b', 'c', 9, 'x', 1, '', '', '', 5, 0), (3, 1, 'a', 'b', 'c', 9, 'x', 2, '', '', '', 0, 0)"
    )
    shop.registry.execute("INSERT INTO approvals VALUES (1, 'x', 0, '', '', '', 0)")
    exposed = watched.exposed()
    for name in ("resellers_on_hold", "notices_waiting", "orders_on_hold", "reports_on_hold"):
        assert exposed[f"cards_{name}", ()] == 1, name


def test_a_registry_that_is_away_keeps_its_last_values(watched: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.shop.send(row("A", quantity="1"))
    assert watched.exposed()["cards_registry_up", ()] == 1
    state_of = State(watched.shop.settings)
    monkeypatch.setattr(state, "open_registry", _away)
    exposed = watched.exposed()
    assert (exposed["cards_registry_up", ()], exposed["cards_orders_awaited", ()]) == (0, 1)
    assert state_of.problems() == ["The registry: It is away."]


def _away(*_: object, **__: object) -> None:
    raise CardsError("It is away.")


def test_readings_are_one_at_a_time_and_nobody_waits_long() -> None:
    go, calls = threading.Event(), []

    def read() -> int:
        calls.append(1)
        if len(calls) > 1:
            go.wait(30)
        return len(calls)

    reading = Reading("It", read, fresh_seconds=0, patience=0.1)
    assert reading.latest() == (1, "")
    begun = time.monotonic()
    threads = [threading.Thread(target=reading.latest) for _ in range(20)]
    for one in threads:
        one.start()
    late = reading.latest()
    for one in threads:
        one.join()
    assert time.monotonic() - begun < 5
    assert len(calls) == 2
    assert late.value == 1
    assert "does not answer" in late.problem
    go.set()
    deadline = time.monotonic() + 10
    while reading.latest().problem:
        assert time.monotonic() < deadline
    assert (reading.latest().value or 0) >= 2


def test_what_was_just_read_is_not_read_again() -> None:
    calls: list[int] = []
    reading = Reading("It", lambda: calls.append(1), fresh_seconds=60)
    for _ in range(50):
        reading.latest()
    assert len(calls) == 1


# -- the server --------------------------------------------------------------------------------------------------------


@contextmanager
def served(settings: Settings, heart: Heart | None = None) -> Iterator[str]:
    """The address of a server of metrics."""
    lines: list[dict[str, Any]] = []
    with metrics_served(settings, Metrics(), heart or Heart(), lambda event, **more: lines.append({"event": event, **more})):
        assert lines[0]["event"] == "metrics served", lines
        yield lines[0]["address"].removesuffix("/metrics")


def anywhere(shop: Shop) -> Settings:
    return shop.settings.model_copy(update={"metrics": "127.0.0.1:0"})


def test_metrics_and_health_are_served_and_nothing_else(shop: Shop, fresh: None) -> None:
    shop.drop("a.csv", b"x")
    with served(anywhere(shop)) as address:
        answer = httpx.get(f"{address}/metrics")
        assert answer.status_code == 200
        assert samples(answer.text)["cards_queue_files", ("acme",)] == 1
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert httpx.get(f"{address}/healthz").text == "alive\n"
        ready = httpx.get(f"{address}/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
        others = [("GET", "/"), ("GET", "/metrics/"), ("GET", "/../etc/passwd"), ("POST", "/metrics"), ("PUT", "/metrics"),
                  ("DELETE", "/x"), ("HEAD", "/metrics"), ("OPTIONS", "/"), ("BREW", "/")]  # fmt: skip
        for method, path in others:
            assert httpx.request(method, f"{address}{path}").status_code == 404, (method, path)
        assert "Python" not in answer.headers["server"]


def test_health_and_readiness_say_what_is_wrong(shop: Shop, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heart()
    with served(anywhere(shop), heart) as address:
        monkeypatch.setattr(metrics_server, "_ALIVE_SECONDS", 0.1)
        time.sleep(0.2)
        assert httpx.get(f"{address}/healthz").status_code == 503
        heart.beat()
        assert httpx.get(f"{address}/healthz").status_code == 200
        shop.settings.inbox.rename(shop.settings.home / "elsewhere")
        monkeypatch.setattr(state, "open_registry", _away)
        ready = httpx.get(f"{address}/readyz")
        assert ready.status_code == 503
        assert len(ready.json()["problems"]) == 2
        assert "inbox can't be read" in ready.text
        assert "It is away" in ready.text


@pytest.mark.one_database
def test_no_page_shows_the_registrys_password(shop: Shop, fresh: None) -> None:
    secret = "s3cret-Pa55"
    settings = anywhere(shop).model_copy(update={"registry": f"postgresql://cards:{secret}@127.0.0.1:1/none"})
    with served(settings) as address:
        ready = httpx.get(f"{address}/readyz", timeout=30)
        assert ready.status_code == 503
        assert "127.0.0.1" in ready.text
        assert secret not in ready.text + httpx.get(f"{address}/metrics").text


@pytest.mark.one_database
def test_a_port_that_is_taken_is_one_line_and_all_else_goes_on(shop: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for address in (f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:99999", "no.such.host.invalid:9464"):
            lines: list[tuple[str, dict[str, Any]]] = []
            settings = shop.settings.model_copy(update={"metrics": address})
            with metrics_served(settings, Metrics(), Heart(), lambda event, **more: lines.append((event, more))):  # noqa: B023
                pass
            assert [event for event, _ in lines] == ["no metrics"]
            assert lines[0][1]["error"]
    quiet: list[str] = []
    nowhere = shop.settings.model_copy(update={"metrics": ""})
    with metrics_served(nowhere, Metrics(), Heart(), lambda event, **_: quiet.append(event)):
        pass
    assert quiet == []


@pytest.mark.one_database
def test_slow_clients_are_cut_off_and_many_of_them_keep_nobody_out_for_long(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "_REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(metrics_server._Server, "patience", 0.5)
    with served(anywhere(shop)) as address:
        port = int(address.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        begun = time.monotonic()
        for one in slow:
            one.sendall(b"GET /met")
        with pytest.raises(httpx.HTTPError):  # noqa: PT012 as soon as all of them are in
            while time.monotonic() - begun < 5:
                httpx.get(f"{address}/healthz")
        assert threading.active_count() < 40
        trickling = threading.Thread(target=_trickle, args=(slow,))
        trickling.start()
        while True:
            try:
                assert httpx.get(f"{address}/healthz").status_code == 200
                break
            except httpx.HTTPError:
                assert time.monotonic() - begun < 5, "slow clients hold all places"
                time.sleep(0.1)
        trickling.join()
        for one in slow:
            one.close()


def _trickle(slow: list[socket.socket]) -> None:
    """Send a byte now and then, as long as anybody listens."""
    for _ in range(30):
        for one in slow:
            try:
                one.sendall(b"r")
            except OSError:
                return
        time.sleep(0.1)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_file_keeps_the_last_run_of_each_job_and_is_replaced_at_once(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "cards.prom"
    settings = shop.settings.model_copy(update={"metrics_file": str(path)})
    shop.send(row("A", quantity="2"))
    orders, night = Tally("orders"), Tally("night")
    orders.hear("file answered", {"orders_placed": 1, "codes_placed": 2})
    for tally in (orders, night):
        tally.end()
        textfile.renew(settings, tally, _unexpected)
    found = samples(path.read_text("utf-8"))
    assert found["cards_last_run_codes", ("orders",)] == 2
    assert found["cards_last_run_codes", ("night",)] == 0
    assert found["cards_orders_awaited", ()] == 1
    assert found["cards_registry_up", ()] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir() if "prom" in one.name] == ["cards.prom"]
    path.write_text('not { metrics "')
    textfile.renew(settings, night, _unexpected)
    assert ("cards_last_run_codes", ("orders",)) not in samples(path.read_text("utf-8"))


def _unexpected(event: str, **more: Any) -> None:
    raise AssertionError(event, more)


@pytest.mark.one_database
def test_a_file_that_can_not_be_written_stops_no_work(shop: Shop, tmp_path: Path) -> None:
    settings = shop.settings.model_copy(update={"metrics_file": str(tmp_path / "nowhere" / "cards.prom")})
    lines: list[str] = []
    with observed(settings, "orders", Runtime(log=lambda event, **_: lines.append(event)), Observer("")) as runtime:
        runtime.log("file received")
    assert lines == ["file received", "no metrics"]


@pytest.mark.one_database
def test_commands_keep_the_file_and_log(tmp_path: Path) -> None:
    from tests.security.attack import House

    home = tmp_path / "home"
    home.mkdir()
    house = House(home, CARDS_METRICS_FILE=str(tmp_path / "cards.prom"), CARDS_LOG="json").lay()
    house.drop("one.csv", csv_of(row("A", quantity="2"), row("B", code="12")))
    ended = house.cards("run", "--json")
    assert json.loads(ended.out)["submissions"][0]["codes_placed"] == 2
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    assert events == ["file received", "placement written", "file answered"]
    found = samples((tmp_path / "cards.prom").read_text("utf-8"))
    assert (found["cards_last_run_files", ("orders",)], found["cards_last_run_success", ("orders",)]) == (1, 1)
    house.cards("reconcile", "--json")
    (home / "registry.db").rename(home / "away.db")
    failed = house.cards("run", code=1)
    (line,) = [json.loads(line) for line in failed.err.splitlines() if line.startswith("{")]
    assert line["event"] == "run failed"
    assert "There is no registry" in line["error"]
    found = samples((tmp_path / "cards.prom").read_text("utf-8"))
    assert found["cards_last_run_success", ("orders",)] == 0
    assert found["cards_last_run_success", ("night",)] == 1
    assert found["cards_registry_up", ()] == 0


@pytest.mark.one_database
def test_a_command_without_a_log_warns_that_there_are_no_metrics(tmp_path: Path) -> None:
    from tests.security.attack import House

    home = tmp_path / "home"
    home.mkdir()
    house = House(home).lay()
    house.environment["CARDS_METRICS_FILE"] = str(tmp_path / f"{CODES[0]}" / "cards.prom")
    house.drop("one.csv", csv_of(row("A", quantity="2")))
    ended = house.cards("run", "--json")
    assert json.loads(ended.out)["submissions"][0]["codes_placed"] == 2
    (line,) = ended.err.splitlines()
    assert line.startswith("cards: warning: CARDS_METRICS_FILE was not written. ")
    assert "No such file or directory" in line
    assert CODES[0] not in line


def test_orders_that_wait_for_approval_are_counted(tmp_path: Path, registry_url: str, fresh: None) -> None:
    watched = Observed(Shop(tmp_path / "home", registry_url, approve_above=2))
    watched.shop.drop("one.csv", csv_of(row("A", quantity="3"), row("B", quantity="1")))
    watched.run("orders", lambda: run_with(watched.shop))
    exposed = watched.exposed()
    assert (exposed["cards_orders_total", ("placed",)], exposed["cards_orders_total", ("on_hold",)]) == (1, 1)
    assert exposed["cards_orders_on_hold", ()] == 1
    watched.shop.registry.close()


def test_the_metrics_module_is_not_loaded_by_commands_that_need_none() -> None:
    done = subprocess.run(
        [re.sub(r"python[0-9.]*$", "python", __import__("sys").executable), "-X", "importtime", "-c",
         "from pipelines.cli import main; main()", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert not [name for name in ("prometheus_client", "structlog") if f" {name}" in done.stderr]
