"""The registry is away, locked, damaged, of another version; or its answer to COMMIT never comes."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import adbc_driver_postgresql.dbapi as pg_driver
import adbc_driver_sqlite.dbapi as driver
import polars as pl
import pytest

from pipelines.common.errors import TransientError
from pipelines.registry import database
from pipelines.registry.store import open_registry
from tests.conftest import NewRegistry, Shop, csv_of, row, sampled, some_codes
from tests.faults.invariants import assert_sound, dropped
from tests.faults.killing import environment, fill, fill_night
from tests.faults.stage import Server, Wire, server
from tests.faults.worker import Worker

CODES = some_codes(3, seed=17)


@pytest.fixture
def sqlite_shop(tmp_path: Path, sqlite: NewRegistry) -> Iterator[Shop]:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        yield shop
        shop.registry.close()


def _file(shop: Shop) -> Path:
    return Path(shop.settings.registry.removeprefix("sqlite:///"))


def test_a_registry_that_another_program_holds_is_reported_and_the_work_is_done_later(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sqlite_shop
    fill(shop)
    files = dropped(shop)
    monkeypatch.setattr(database, "_BUSY_MS", 100)
    with driver.connect(str(_file(shop)), autocommit=True) as other, other.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        shop.registry.close()
        shop.registry = open_registry(shop.settings.registry)
        with pytest.raises(TransientError, match="database is locked"):
            shop.run()
        assert dropped(shop) == files
        cursor.execute("ROLLBACK")
    assert len(shop.run()) == len(files)
    assert_sound(shop, files)


def test_a_registry_that_is_none_or_damaged_is_reported_in_one_line(sqlite_shop: Shop, tmp_path: Path) -> None:
    shop = sqlite_shop
    shop.drop("orders.csv", csv_of(row("A", quantity="3000")))
    shop.run()
    shop.drop("more.csv", csv_of(row("B", quantity="1")))
    shop.registry.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shop.registry.close()
    path = _file(shop)
    sound = path.read_bytes()
    with Worker(tmp_path / "worker") as worker:
        path.write_bytes(b"this is no registry at all" * 400)
        ended = worker.run("run", environment=environment(shop))
        result = f"cards: The registry can't be opened: {path}: file is not a database.\n"
        assert (ended.code, ended.out, ended.err) == (1, "", result)
        page = 4096
        path.write_bytes(sound[:page] + bytes([255]) * (len(sound) - page))
        for command in ("run", "verify"):
            ended = worker.run(command, environment=environment(shop))
            assert (ended.code, ended.out) == (1, "")
            assert re.fullmatch(r"cards: .*database disk image is malformed[.)]*\n", ended.err)
        assert len(shop.waiting()) == 1
        path.write_bytes(sound)
        assert worker.run("run", environment=environment(shop)).code == 0
    shop.registry = open_registry(shop.settings.registry)
    assert_sound(shop)


@contextmanager
def _cut_off(shop: Shop, wire: Wire) -> Iterator[None]:
    """Have the shop reach its registry over a wire, which must be cut before the block is done."""
    there, shop.registry = shop.registry, open_registry(wire.url)
    with pytest.raises(TransientError):
        yield
    assert wire.cut.is_set()
    shop.registry.close()
    wire.close()
    shop.registry = there


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("number", sampled([1, 2, 3], 2, others=pytest.mark.slow))
def test_a_commit_whose_answer_is_lost_is_looked_up_before_anything_is_done_again(
    number: int, before: bool, tmp_path: Path, postgresql: NewRegistry
) -> None:
    with postgresql() as url:
        shop = Shop(tmp_path / "home", url)
        fill(shop)
        files = dropped(shop)
        with _cut_off(shop, Wire(url, number, before=before)):
            shop.run()
        assert len(shop.run()) == len(files)
        events = shop.registry.query(
            "SELECT source, file_name FROM events", dict.fromkeys(["source", "file_name"], pl.String)
        ).rows()
        assert len(events) == len(set(events)) == len(files)
        assert_sound(shop, files)
        shop.registry.close()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("number", sampled([1, 2, 3], 2, others=pytest.mark.slow))
def test_a_night_whose_commit_is_not_answered_is_finished_by_the_next(
    number: int, before: bool, tmp_path: Path, postgresql: NewRegistry
) -> None:
    with postgresql() as url:
        shop = Shop(tmp_path / "home", url)
        fill_night(shop)
        files = dropped(shop)
        with _cut_off(shop, Wire(url, number, before=before)):
            shop.night()
        while "already_running" in (result := shop.night()):  # until the server has seen that the other is gone
            time.sleep(0.1)
        assert (result["codes_ready"], result["codes_refused"], result["codes_replaced"]) == (6, 6, 5)
        assert_sound(shop, files)
        shop.registry.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def admitting(own_server: Server) -> Iterator[Callable[..., str]]:
    """The address of the server's registry for a user of its own, whom the server admits by one of its methods."""
    rules = own_server.data / "pg_hba.conf"
    before = rules.read_text()
    with pg_driver.connect(own_server.url, autocommit=True) as connection, connection.cursor() as cursor:

        def admit(method: str, user: str = "guest:hush", path: str = "/postgres") -> str:
            rules.write_text(f"local all guest {method}\n{before}")
            cursor.execute("SELECT pg_reload_conf()")
            return urlsplit(own_server.url)._replace(netloc=f"{user}@", path=path).geturl()

        cursor.execute("CREATE ROLE guest LOGIN PASSWORD 'other'")
        yield admit
        rules.write_text(before)
        cursor.execute("DROP ROLE guest")
        cursor.execute("SELECT pg_reload_conf()")


def test_a_server_that_does_not_let_us_in_is_reported_with_the_cause(admitting: Callable[..., str]) -> None:
    for (method, how), result in (
        (("trust", {"path": "/absent"}), "database absent, user guest: the database does not exist."),
        (("trust", {"user": "nobody:hush"}), "user nobody: the user does not exist."),
        (("reject", {}), "user guest: the server does not admit this user from here"),
        (("scram-sha-256", {"user": "guest"}), "user guest: the server asks for a password and none is set."),
        (("scram-sha-256", {}), "user guest: the password is wrong, or the user does not exist."),
    ):
        url = admitting(method, **how)
        limit, text = time.monotonic() + 20, ""
        while result not in text and time.monotonic() < limit:  # the server reads its rules again in a moment
            with pytest.raises(TransientError) as error, open_registry(url):
                raise TransientError  # it still lets us in
            text = str(error.value)
            assert "hush" not in text
        assert f"PostgreSQL at {parse_qs(urlsplit(url).query)['host'][0]}, port 5432" in text
        assert result in text


_MORE = [pytest.param(step, marks=pytest.mark.long) for step in ("read", "decided", "report entered")]


@pytest.mark.parametrize("step", ["committed", "orders closed", *_MORE])
def test_a_server_that_stops_is_reported_and_all_is_finished_when_it_is_back(
    step: str, tmp_path: Path, own_server: Server
) -> None:
    with open_registry(own_server.url) as registry:
        registry.execute("DROP SCHEMA public CASCADE")
        registry.execute("CREATE SCHEMA public")
    shop = Shop(tmp_path / "home", own_server.url)
    fill_night(shop)
    fill(shop)
    files = dropped(shop)

    def stop(at: str) -> None:
        nonlocal stopped
        if at == step and not stopped:
            stopped = True
            own_server.kill()

    stopped = False
    try:
        with pytest.raises(TransientError) as error:
            shop.night(stop) if step in ("report entered", "orders closed") else shop.run(stop)
        assert "\n" not in str(error.value)
        with pytest.raises(TransientError, match="can't be opened"):
            open_registry(own_server.url)
    finally:
        own_server.start()
    shop.registry.close()
    shop.registry = open_registry(own_server.url)
    shop.run()
    shop.night()
    assert_sound(shop, files)
    shop.registry.close()
