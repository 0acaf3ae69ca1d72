"""`python -m tests.benchmarks`: measures the large jobs and writes the figures into the README.

Each job is the command that a user runs, in a process of its own, on a fresh SQLite registry. Seconds are wall time
from start to end of the process; peak memory is the largest process of the command.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import xlsxturbo

from pipelines import placing
from pipelines.catalogue import load_catalogue
from pipelines.demo import lay
from pipelines.registry import open_registry

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
FIELDS = {
    "Customer Account Number": "10023456", "Product Account Number": "7001", "Access Number": "8008604444",
    "Customer Order ID": "BIG",
}  # fmt: skip


def fields(rows: int, **columns: object) -> pl.DataFrame:
    texts = {**FIELDS, **columns}
    return pl.DataFrame({"row": range(rows)}).with_columns(pl.lit(text).alias(name) for name, text in texts.items()).drop("row")


def codes(count: int) -> pl.Series:
    return placing.draw(count, lambda _: pl.Series([], dtype=pl.Int64), pl.Series([], dtype=pl.Int64))


def specified_xlsx(home: Path) -> None:
    rows = fields(100_000).with_columns(codes(100_000).cast(pl.String).alias("Code"))
    xlsxturbo.df_to_xlsx(rows, str(home / "inbox/acme/big.xlsx"), sheet_name="Orders")


def specified_csv(home: Path) -> None:
    fields(1_000_000).with_columns(codes(1_000_000).cast(pl.String).alias("Code")).write_csv(home / "inbox/acme/big.csv")


def random_csv(home: Path) -> None:
    fields(1, Quantity="1000000").write_csv(home / "inbox/acme/big.csv")


def small_files(home: Path) -> None:
    for number in range(1000):
        orders = fields(10, Quantity="5").with_columns(
            pl.format("N{}-{}", pl.lit(number), pl.int_range(10)).alias("Customer Order ID")
        )
        path = home / f"inbox/acme/small{number}"
        orders.write_csv(path.with_suffix(".csv")) if number % 2 else xlsxturbo.df_to_xlsx(orders, f"{path}.xlsx")


def night(home: Path) -> None:
    orders = fields(1000, Quantity="1000").with_columns(pl.format("N{}", pl.int_range(1000)).alias("Customer Order ID"))
    orders.write_csv(home / "inbox/acme/big.csv")
    run_cards(home, "run")
    (placed,) = (home / "outbox/network").glob("placement-*.csv")
    report = pl.scan_csv(placed, infer_schema=False).select("Order ID", "Authorization Code")
    report.sink_csv(home / "inbox/network/report.csv")


JOBS: dict[str, Callable[[Path], None]] = {
    "100,000 Specified codes in one .xlsx": specified_xlsx,
    "1,000,000 Specified codes in one .csv": specified_csv,
    "a Random order of 1,000,000 codes": random_csv,
    "a night: 1,000 orders, 1,000,000 awaited codes, a report of all": night,
    "1,000 files of 10 orders, half .xlsx, half .csv": small_files,
}


def run_cards(home: Path, command: str) -> tuple[float, int, Any]:
    """Seconds, peak memory in MB, and what a command tells as JSON."""
    environment = {**os.environ, "CARDS_HOME": str(home), "CARDS_SETTLE_SECONDS": "0", "CARDS_REGISTRY": ""}
    start = time.perf_counter()
    with (home / "told.json").open("wb") as out:
        process = subprocess.Popen([Path(sys.executable).with_name("cards"), command, "--json"], env=environment, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"cards {command} ended with {status}")
    return seconds, usage.ru_maxrss // 1024, json.loads((home / "told.json").read_text())


def measure(prepare: Callable[[Path], None]) -> tuple[str, float, int, int]:
    """The command that does the job on what is prepared, its seconds, peak memory in MB, and how many codes it placed
    or released."""
    with tempfile.TemporaryDirectory(prefix="cards-measure-") as folder:
        home = Path(folder)
        lay(home)
        for path in (home / "inbox").rglob("*.*"):
            path.unlink()
        with open_registry(f"sqlite:///{home}/registry.db") as registry:
            load_catalogue(home / "catalogue.xlsx", registry)
        prepare(home)
        command = "reconcile" if prepare is night else "run"
        seconds, peak, told = run_cards(home, command)
        codes = told["codes_ready"] if prepare is night else sum(one["codes_placed"] for one in told["submissions"])
        return command, seconds, peak, codes


def main() -> None:
    lines = ["| job | command | codes | seconds | peak memory |", "|---|---|---:|---:|---:|"]
    for name, prepare in JOBS.items():
        command, seconds, peak, codes_done = measure(prepare)
        lines.append(f"| {name} | `cards {command}` | {codes_done:,} | {seconds:.1f} | {peak:,} MB |")
        print(lines[-1], flush=True)
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    if after:
        README.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, "utf-8")


if __name__ == "__main__":
    main()
