"""`python -m tests.benchmarks.log_structured`: what a log-structured table of numbers would win on SQLite, and what it costs.

Today new numbers go into one table by its key, at random. The other way enters them into a small hot table, looks numbers up in
both, and merges the hot table into the settled one at night. Each step is a process of its own that begins with a copy of the
registry of which nothing is in memory; medians. Writes its table into docs/performance.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.codes.allocation import valid_numbers
from pipelines.registry.schema import INT, NUMBER
from pipelines.registry.store import Registry, open_registry
from tests.benchmarks import jobs
from tests.pages import DOCS, replace_section, table

MILLION: Final = 1_000_000
HOT: Final = "hot_numbers"
_MERGED: Final = (MILLION, 5 * MILLION, 30 * MILLION)


def main() -> None:
    """Measure, and write the table."""
    asked = argparse.ArgumentParser(prog="python -m tests.benchmarks.log_structured", description="A hot table of numbers.")
    asked.add_argument("--count", type=int, default=100 * MILLION, help="how many numbers the large settled table has")
    asked.add_argument("--times", type=int, default=3, help="how often each way of entering is measured")
    asked.add_argument("--out", type=Path, help="a file for the table, instead of docs/performance.md")
    asked.add_argument("--step", nargs=3, help=argparse.SUPPRESS)  # what a process of its own is to do
    options = asked.parse_args()
    if options.step:
        step, path, count = options.step
        print(json.dumps(_in_registry(step, Path(path), int(count))))
        return
    rows = [line for size in (MILLION, options.count) for line in _lines(size, options.times)]
    header = ("settled numbers", "work", "one table", "hot and settled table", "ratio")
    replace_section(options.out or DOCS / "performance.md", "log-structured", table(header, rows))


def _lines(size: int, times: int) -> list[tuple[str, ...]]:
    """The lines about a settled table of so many numbers."""
    with tempfile.TemporaryDirectory(prefix="cards-numbers-") as folder:
        base = Path(folder, "base.db")
        _run("fill", base, size)
        one = [_on_copy(base, "enter", 0) for _ in range(times)]
        hot = [_on_copy(base, "enter_hot", MILLION) for _ in range(times)]
        merged = {count: _on_copy(base, "merge", count)[0] for count in _MERGED if count <= size}
    lines = [_compared(size, f"{MILLION:,} numbers: {work}", [part(run) for run in one], [part(run) for run in hot])
             for work, part in _PARTS.items()]  # fmt: skip
    for count, seconds in merged.items():
        each = f"{seconds / count * MILLION:.2f} s a million"
        lines.append((f"{size:,}", f"merge of {count:,} hot numbers", "", f"{seconds:.1f} s", each))
    for line in lines:
        print(*line, sep=" | ", flush=True)
    return lines


_PARTS: Final[dict[str, Callable[[list[float]], float]]] = {
    "look-up": lambda seconds: seconds[0],
    "insert and commit": lambda seconds: seconds[1],
    "both": sum,
}


def _compared(size: int, work: str, one: list[float], hot: list[float]) -> tuple[str, ...]:
    now, then = statistics.median(one), statistics.median(hot)
    return f"{size:,}", work, f"{now:.1f} s", f"{then:.1f} s", f"{now / then:.2f}× as fast"


def _on_copy(base: Path, step: str, hot: int) -> list[float]:
    """The seconds of a step on a copy of the registry, with so many numbers in the hot table."""
    path = base.with_name("copy.db")
    shutil.copyfile(base, path)
    _run("make_hot", path, hot)
    seconds = _run(step, path, MILLION)
    path.unlink()
    return seconds


def _run(step: str, path: Path, count: int) -> list[float]:
    """The seconds of a step in a process of its own, with nothing of the registry in memory."""
    for file in path.parent.glob(f"{path.name}*"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    command = [sys.executable, "-m", "tests.benchmarks.log_structured", "--step", step, str(path), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds: list[float] = json.loads(done.stdout)
    return seconds


def _in_registry(step: str, path: Path, count: int) -> list[float]:
    url = f"sqlite:///{path}"
    if step == "fill":
        return [float(jobs.fill(path.parent, url, count)["seconds"])]
    with open_registry(url) as registry:
        return _STEPS[step](registry, count)


def _make_hot(registry: Registry, count: int) -> list[float]:
    """Make the hot table, with so many numbers."""
    with registry.transaction():
        registry.create_table(HOT, NUMBER, "code")
    _append(registry, HOT, valid_numbers(count).unique().sort())
    return []


def _enter(registry: Registry, count: int) -> list[float]:
    """Look numbers up and enter them as today: the seconds of both."""
    return _entered(registry, count, "numbers")


def _enter_hot(registry: Registry, count: int) -> list[float]:
    """Look numbers up in both tables and enter them into the hot one: the seconds of both."""
    return _entered(registry, count, HOT, "numbers")


def _entered(registry: Registry, count: int, *tables: str) -> list[float]:
    codes = valid_numbers(count).unique().sort()
    known = " UNION ALL ".join(f"SELECT n.code AS code FROM given JOIN {name} AS n ON n.code = given.code" for name in tables)
    begun = time.perf_counter()
    with registry.temp_table(codes.to_frame("code")):
        found = registry.query(known, {"code": INT})["code"]
    looked_up = time.perf_counter()
    _append(registry, tables[0], codes.filter(~codes.is_in(found.implode())))
    return [looked_up - begun, time.perf_counter() - looked_up]


def _append(registry: Registry, name: str, codes: pl.Series) -> None:
    """Enter numbers, which are sorted, in one transaction."""
    rows = codes.to_frame("code").with_columns(order_pk=pl.lit(1, INT), serial=pl.lit(1, INT))
    with registry.transaction(), registry._connection.cursor() as cursor:
        cursor.adbc_ingest(name, rows.to_arrow(), mode="append")


def _merge(registry: Registry, _: int) -> list[float]:
    """Move all numbers from the hot table into the settled one, in one transaction."""
    begun = time.perf_counter()
    with registry.transaction():
        # the registry's own hot numbers would all be new; ours were not looked up
        registry.execute(f"INSERT OR IGNORE INTO numbers SELECT code, order_pk, serial FROM {HOT} ORDER BY code")
        registry.execute(f"DELETE FROM {HOT}")
    return [time.perf_counter() - begun]


_STEPS: Final[dict[str, Callable[[Registry, int], list[float]]]] = {
    "make_hot": _make_hot,
    "enter": _enter,
    "enter_hot": _enter_hot,
    "merge": _merge,
}

if __name__ == "__main__":
    main()
