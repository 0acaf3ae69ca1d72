"""`python -m tests.benchmarks`: races the large jobs against floors and the ways of others.

Writes the table into docs/performance.md, the chart to docs/benchmarks.svg and all figures to docs/benchmarks.json. Every ratio
is of one run, in which the contenders take turns; medians. `--only NAME` runs one race, and renews its lines alone.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import chart
from tests.benchmarks.races import RACES
from tests.benchmarks.stage import Line, Stage
from tests.pages import DOCS, replace_section


@dataclass
class Where:
    """Where the results go."""

    page: Path
    json: Path
    chart: Path


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Races the large jobs.")
    asked.add_argument("--short", action="store_true", help="a thousandth of it all, in under a minute: does it run?")
    asked.add_argument("--large", action="store_true", help="registries of 100 million codes too (20 GB of disk, half an hour)")
    asked.add_argument("--only", choices=RACES, action="append", help="just this race (may be repeated)")
    asked.add_argument("--times", type=int, default=3, help="how often each contender runs")
    asked.add_argument("--out", type=Path, help="a folder for table, chart and figures, instead of docs")
    options = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that PostgreSQL is stopped and the registries go
    where = Where(DOCS / "performance.md", DOCS / "benchmarks.json", DOCS / "benchmarks.svg")
    if options.out or options.short:
        folder = options.out or Path(tempfile.mkdtemp(prefix="cards-benchmarks-"))
        folder.mkdir(exist_ok=True)
        where = Where(folder / "table.md", folder / "benchmarks.json", folder / "benchmarks.svg")
    with tempfile.TemporaryDirectory(prefix="cards-race-", ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder), 1 if options.short else options.times, short=options.short, large=options.large)
        try:
            for name in options.only or RACES:
                race, databases = RACES[name]
                lines = []
                for database in databases[:1] if options.short else databases:
                    more = race(stage, database)
                    print(*map(row, more), sep="\n", flush=True)
                    lines += more
                keep(name, lines, where)
        finally:
            stage.close()
    print(f"Table: {where.page}, chart: {where.chart}, figures: {where.json}")


def keep(name: str, lines: list[Line], where: Where) -> None:
    """Write the results of a race beside those of the others."""
    known: dict[str, Any] = json.loads(where.json.read_text("utf-8")) if where.json.exists() else {}
    races = {**known.get("races", {}), name: [{**line._asdict(), "met": line.met} for line in lines]}
    races = {one: races[one] for one in RACES if one in races}
    where.json.write_text(json.dumps({"machine": machine(), "races": races}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    every = [Line(**{key: value for key, value in one.items() if key != "met"}) for result in races.values() for one in result]
    chart.draw(every, where.chart)
    header = "| job | registry | seconds | memory | against | result | goal | met |\n|---|---|---:|---:|---|---:|---:|---|\n"
    replace_section(where.page, "measured", header + "".join(row(line) + "\n" for line in every))


def row(line: Line) -> str:
    """A line of the table."""
    seconds = f"{line.seconds:.3f}" if line.seconds < 1 else f"{line.seconds:.1f}"
    memory = f"{line.peak:,} MB" if line.peak else ""
    goal = f"{'≥' if line.faster else '≤'} {line.goal:g}"
    result = f"**{chart.figure(line.ratio)}{line.unit}**" if line.met else f"{chart.figure(line.ratio)}{line.unit}"
    return (f"| {line.job} | {line.database} | {seconds} | {memory} | {line.against} | {result} | {goal} | "
            f"{'yes' if line.met else 'no'} |")  # fmt: skip


def machine() -> str:
    """The machine, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
