"""What is measured, each in a process of its own (`python -m tests.benchmarks.jobs NAME HOME URL COUNT`): our jobs, the
ways others do them, and the floors, which do what no way can leave out and check nothing.

A job prints one JSON document: `seconds` without imports and set-up, `steps`, the seconds after which ours were done, and
`peak`, the most memory in MB that the process, or one that it started, ever had.
"""

import csv
import itertools
import json
import os
import random
import resource
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.registry.store import Registry, open_registry
from tests.benchmarks import history

FLOOR = {"code": pl.Int64, "order_pk": pl.Int64, "event": pl.Int64, "state": pl.Int16}
"""The least that a registry can keep of a code: one row by its number. What is raced against it is not built like this."""
FIRST = 10**13
_SLICE = 5_000_000


class Clock:
    """Seconds since it was made, and when each step was last done."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.steps: dict[str, float] = {}

    def step(self, name: str) -> None:
        self.steps[name] = time.perf_counter() - self.start

    def result(self) -> dict[str, Any]:
        self.step("done")
        return {"seconds": self.steps["done"], "steps": self.steps}


@contextmanager
def _registry(url: str) -> Iterator[Registry]:
    registry = open_registry(url)
    yield registry
    registry.close()


def run(home: Path, url: str, count: int) -> dict[str, Any]:
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings
    from pipelines.process_orders import process_inbox
    from pipelines.run import Run

    with _registry(url) as registry:
        clock = Clock()
        results = process_inbox(Run(load_settings(), registry, Runtime(checkpoint=clock.step))).results
        done = clock.result()
    placed = sum(one.codes_placed for one in results)
    assert placed == count, (placed, results[:1])
    return done


def shared_run(home: Path, url: str, count: int) -> dict[str, Any]:
    """The part of one of several workers, who all begin at a signal; `files`: how many it answers."""
    from pipelines.common.settings import load_settings
    from pipelines.process_orders import process_inbox
    from pipelines.run import Run

    with _registry(url) as registry:
        print("ready", flush=True)
        sys.stdin.readline()
        clock = Clock()
        done = process_inbox(Run(load_settings(), registry))
        assert not done.failures, done.failures[0]
        return {**clock.result(), "files": len(done.results)}


def night(home: Path, url: str, count: int) -> dict[str, Any]:
    """A night after which so many more codes are ready."""
    return _night(url, count)


def next_night(home: Path, url: str, count: int) -> dict[str, Any]:
    """The night of tomorrow."""
    return _night(url, count, timedelta(days=1))


def night_without_data(home: Path, url: str, count: int) -> dict[str, Any]:
    """A night that writes no data for BI."""
    return _night(url, count, datasets=False)


def _night(url: str, ready: int, later: timedelta = timedelta(), **settings: object) -> dict[str, Any]:
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings
    from pipelines.reconcile_network import reconcile
    from pipelines.run import Run

    with _registry(url) as registry:
        clock = Clock()
        now = datetime.now().astimezone() + later
        result = reconcile(Run(load_settings(**settings), registry, Runtime(checkpoint=clock.step, now=lambda: now)))
        done = clock.result()
    assert result.figures
    assert result.figures.codes_ready == ready, result
    return done


def verify(home: Path, url: str, count: int) -> dict[str, Any]:
    """Verify all of so many events."""
    return _verify(url, count, quick=False)


def verify_quickly(home: Path, url: str, count: int) -> dict[str, Any]:
    """Verify so many events without reading their files."""
    return _verify(url, count, quick=True)


def _verify(url: str, count: int, *, quick: bool) -> dict[str, Any]:
    from pipelines.admin.audit import Scope, verify
    from pipelines.common.settings import load_settings

    with _registry(url) as registry:
        start = time.perf_counter()
        done = verify(load_settings(), registry, Scope(quick=quick))
        seconds = time.perf_counter() - start
    assert (done.events_checked, done.findings) == (count, []), done.findings[:1]
    return {"seconds": seconds, "steps": {}}


def prefect(home: Path, url: str, count: int) -> dict[str, Any]:
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    from prefect.testing.utilities import prefect_test_harness

    from pipelines.flows import process_inbox

    with prefect_test_harness(server_startup_timeout=120):
        clock = Clock()
        state: Any = process_inbox(return_state=True)
        done = clock.result()
        assert state.is_completed(), state
    return done


def import_codes(home: Path, url: str, count: int) -> dict[str, Any]:
    from pipelines.admin import imports

    with _registry(url) as registry:
        clock = Clock()
        _, new, _ = imports.import_codes(home / "codes.parquet", registry)
        done = clock.result()
    assert new == count, new
    return done


def _insert(registry: Registry, codes: pl.Series) -> None:
    rows = codes.sort().to_frame("code").with_columns(order_pk=1, event=1, state=0).cast(FLOOR)  # type: ignore[arg-type]
    with registry.transaction(), registry._connection.cursor() as cursor:
        cursor.adbc_ingest("floor", rows.to_arrow(), mode="append")


@contextmanager
def _floor(url: str) -> Iterator[Registry]:
    with _registry(url) as registry:
        with registry.transaction():
            registry.create_table("floor", FLOOR, "code")
        yield registry


def floor_random(home: Path, url: str, count: int) -> dict[str, Any]:
    with _floor(url) as registry:
        clock = Clock()
        words = pl.Series("code", memoryview(os.urandom(8 * count)).cast("Q"), pl.UInt64)
        _insert(registry, (words % (9 * FIRST) + FIRST).cast(pl.Int64).unique())
        return clock.result()


def floor_csv(home: Path, url: str, count: int) -> dict[str, Any]:
    with _floor(url) as registry:
        clock = Clock()
        (path,) = (home / "inbox/acme").glob("*.csv")
        _insert(registry, pl.read_csv(path, infer_schema=False)["Code"].cast(pl.Int64))
        return clock.result()


def floor_night(home: Path, url: str, count: int) -> dict[str, Any]:
    (path,) = (home / "inbox/network").glob("*.csv")
    with _floor(url) as registry:
        _insert(registry, pl.read_csv(path, infer_schema=False)["Authorization Code"].cast(pl.Int64))
        clock = Clock()
        codes = pl.read_csv(path, infer_schema=False)["Authorization Code"].cast(pl.Int64)
        with registry.transaction(), registry.temp_table(codes.sort().to_frame("code")):
            registry.execute("UPDATE floor SET state = 1 FROM given g WHERE floor.code = g.code")
        return clock.result()


def read_xlsx(home: Path, url: str, count: int) -> dict[str, Any]:
    import fastexcel

    clock = Clock()
    (path,) = (home / "inbox/acme").glob("*.xlsx")
    sheet = fastexcel.read_excel(path).load_sheet(0, dtypes="string")
    assert len(pl.DataFrame(sheet.to_arrow())) == count
    return clock.result()


def _confirmed(count: int) -> pl.DataFrame:
    codes = pl.int_range(FIRST * 2, FIRST * 2 + count, eager=True).cast(pl.String)
    texts = {"Order ID": "10023456-1", "Customer Account Number": "10023456", "Customer Order ID": "BIG", "Action": "Add"}
    frame = pl.DataFrame({"Authorization Code": codes})
    return frame.select(
        *(pl.lit(text).alias(name) for name, text in texts.items()), "Authorization Code", State=pl.lit("placed")
    )


def write_openpyxl(home: Path, url: str, count: int) -> dict[str, Any]:
    from openpyxl import Workbook

    rows = _confirmed(count)
    clock = Clock()
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet("Codes")
    sheet.append(rows.columns)
    for row in rows.iter_rows():
        sheet.append(row)
    book.save(home / "written.xlsx")
    return clock.result()


def write_xlsxwriter(home: Path, url: str, count: int) -> dict[str, Any]:
    import xlsxwriter

    rows = _confirmed(count)
    clock = Clock()
    with xlsxwriter.Workbook(home / "written.xlsx", {"constant_memory": True}) as book:
        sheet = book.add_worksheet("Codes")
        for line, row in enumerate([tuple(rows.columns), *rows.iter_rows()]):
            for place, text in enumerate(row):
                sheet.write_string(line, place, text)
    return clock.result()


def write_xlsxturbo(home: Path, url: str, count: int) -> dict[str, Any]:
    import xlsxturbo

    rows = _confirmed(count)
    clock = Clock()
    xlsxturbo.df_to_xlsx(rows, str(home / "written.xlsx"), sheet_name="Codes", autofilter=True, freeze_panes=True)
    return clock.result()


class Rows:
    """A table of card numbers as a web application has it: a statement at a time, each durable unless in a transaction."""

    def __init__(self, url: str) -> None:
        self._sqlite = url.startswith("sqlite")
        if self._sqlite:
            self._connection: Any = sqlite3.connect(f"{url.removeprefix('sqlite:///')}.others", isolation_level=None)
            self.do("PRAGMA journal_mode = WAL")
            self.do("PRAGMA synchronous = FULL")
        else:
            import asyncio

            import asyncpg

            self._loop = asyncio.new_event_loop()
            self._connection = self._loop.run_until_complete(asyncpg.connect(url))
        self.do("CREATE TABLE card (code BIGINT PRIMARY KEY, order_pk BIGINT, event BIGINT, state SMALLINT)")

    def do(self, sql: str, *values: int) -> list[Any]:
        if self._sqlite:
            found: list[Any] = self._connection.execute(sql, values).fetchall()
            return found
        return self._loop.run_until_complete(self._connection.fetch(sql, *values))  # type: ignore[no-any-return]

    def insert(self, codes: list[int]) -> None:
        sql, rows = "INSERT INTO card VALUES ($1, 1, 1, 0)", [(code,) for code in codes]
        if self._sqlite:
            self._connection.executemany(sql.replace("$1", "?"), rows)
        else:
            self._loop.run_until_complete(self._connection.executemany(sql, rows))

    def marks(self, count: int) -> str:
        return ", ".join("?" if self._sqlite else f"${place}" for place in range(1, count + 1))


def per_code(home: Path, url: str, count: int) -> dict[str, Any]:
    """A2Billing's `gen_card`: digit by digit, a SELECT whether it is there, an INSERT."""
    rows = Rows(url)
    one = rows.marks(1)
    clock = Clock()
    for _ in range(count):
        while True:
            code = int("".join([str(random.randint(1, 9)), *(str(random.randint(0, 9)) for _ in range(13))]))
            if not rows.do(f"SELECT code FROM card WHERE code = {one}", code):
                break
        rows.do(f"INSERT INTO card VALUES ({one}, 1, 1, 0)", code)
    return clock.result()


def per_500(home: Path, url: str, count: int) -> dict[str, Any]:
    """pretix's batches of vouchers: 500 in a set, one SELECT … IN, one insert of many; here all in one transaction."""
    rows = Rows(url)
    clock = Clock()
    rows.do("BEGIN")
    for start in range(0, count, 500):
        size = min(500, count - start)
        batch: set[int] = set()
        while len(batch) < size:
            while len(batch) < size:
                batch.add(int("".join([secrets.choice("123456789"), *(secrets.choice("0123456789") for _ in range(13))])))
            found = rows.do(f"SELECT code FROM card WHERE code IN ({rows.marks(size)})", *batch)
            batch -= {row[0] for row in found}
        rows.insert(list(batch))
    rows.do("COMMIT")
    return clock.result()


def csv_loops(home: Path, url: str, count: int) -> dict[str, Any]:
    """The specified job as a script does it: the csv module, a set, a SELECT and an INSERT a row, one transaction."""
    rows = Rows(url)
    clock = Clock()
    (path,) = (home / "inbox/acme").glob("*.csv")
    seen: set[str] = set()
    rows.do("BEGIN")
    with path.open(newline="") as given, (home / "confirmation.csv").open("w", newline="") as result:
        writer = csv.writer(result)
        for row in csv.DictReader(given):
            if _entered(row["Code"], rows, seen):
                writer.writerow(_line(row))
        rows.do("COMMIT")
    assert len(seen) == count
    return clock.result()


def pandas_loops(home: Path, url: str, count: int) -> dict[str, Any]:
    """The specified job as analysts' scripts do it: rows of pandas in a loop, and openpyxl a row at a time."""
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]  # not one of ours
    from openpyxl import Workbook

    rows = Rows(url)
    clock = Clock()
    (path,) = (home / "inbox/acme").glob("*.csv")
    seen: set[str] = set()
    book = Workbook()
    sheet: Any = book.active
    rows.do("BEGIN")
    for _, row in pd.read_csv(path, dtype=str).iterrows():
        if _entered(row["Code"], rows, seen):
            sheet.append(_line(row))
    rows.do("COMMIT")
    book.save(home / "confirmation.xlsx")
    assert len(seen) == count
    return clock.result()


def _entered(code: str, rows: Rows, seen: set[str]) -> bool:
    """Enter a code, if it is a good one and new."""
    one = rows.marks(1)
    well = len(code) == 14 and code.isdigit() and code[0] != "0" and not _run(code)
    if not well or code in seen or rows.do(f"SELECT code FROM card WHERE code = {one}", int(code)):
        return False
    seen.add(code)
    rows.do(f"INSERT INTO card VALUES ({one}, 1, 1, 0)", int(code))
    return True


def _line(row: Any) -> list[str]:
    return ["10023456-1", row["Customer Account Number"], row["Customer Order ID"], "Add", row["Code"], "placed"]


def _run(code: str) -> bool:
    steps = [ord(after) - ord(before) for before, after in itertools.pairwise(code)]
    return any(steps[i] == steps[i + 1] == steps[i + 2] and -1 <= steps[i] <= 1 for i in range(11))


def fill(home: Path, url: str, count: int) -> dict[str, Any]:
    """Fill a registry with codes that exist already, in the order of the key, a slice at a time."""
    step = 9 * FIRST // count
    with _registry(url) as registry:
        clock = Clock()
        for start in range(0, count, _SLICE):
            size = min(_SLICE, count - start)
            within = pl.Series("code", memoryview(os.urandom(8 * size)).cast("Q"), pl.UInt64) % step
            codes = (pl.int_range(start, start + size, eager=True) * step + FIRST + within.cast(pl.Int64)).alias("code")
            with registry.transaction():
                registry.append("numbers", codes.to_frame().with_columns(order_pk=0, serial=0))
        return clock.result()


JOBS: dict[str, Callable[[Path, str, int], dict[str, Any]]] = {
    job.__name__: job
    for job in (run, shared_run, night, next_night, night_without_data, prefect, import_codes, floor_random, floor_csv,
                floor_night, read_xlsx, write_openpyxl, write_xlsxwriter, write_xlsxturbo, per_code, per_500, csv_loops,
                pandas_loops, fill, verify, verify_quickly, history.cards, history.files, history.outbox, history.migrate,
                history.year)
}  # fmt: skip


def result(job: str, home: Path, url: str, count: int) -> dict[str, Any]:
    """Do a job, and print its seconds, steps and peak."""
    done = JOBS[job](home, url, count)
    # not ru_maxrss of the process itself, which begins with what its parent had
    (own,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peak = max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return {**done, "peak": peak // 1024}


if __name__ == "__main__":
    name, where, address, many = sys.argv[1:]
    print(json.dumps(result(name, Path(where), address, int(many))))
