"""The races, by name: what is raced against what, and the goals (issues 7 and 17)."""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
import xlsxturbo

from pipelines.codes import allocation
from tests.benchmarks.stage import POSTGRESQL, SQLITE, Home, Line, Measured, Stage
from tests.faults.namespaces import NotPermittedError
from tests.receivers import Webhook

MILLION: Final = 1_000_000
FIELDS: Final = {
    "Customer Account Number": "10023456", "Product Account Number": "7001", "Access Number": "8008604444",
    "Customer Order ID": "BIG",
}  # fmt: skip


def fields(rows: int, **columns: object) -> pl.DataFrame:
    """So many rows of one order."""
    texts = {**FIELDS, **columns}
    frame = pl.DataFrame({"row": range(rows)})
    return frame.with_columns(pl.lit(text).alias(name) for name, text in texts.items()).drop("row")


def _specified(count: int) -> pl.DataFrame:
    none = pl.Series([], dtype=pl.Int64)
    return fields(count).with_columns(allocation.draw_codes(count, lambda _: none, none).cast(pl.String).alias("Code"))


def _random(home: Home, count: int) -> None:
    fields(1, Quantity=str(count)).write_csv(home.path / "inbox/acme/random.csv")


def _btns(count: int) -> pl.DataFrame:
    """An order of so many BTNs that can have cards, 100 PINs each."""
    numbers = pl.DataFrame({"n": range(2_000_000, 4_000_000, 97)}).select(BTN="303" + pl.col("n").cast(pl.String))
    good = numbers.filter(~pl.col("BTN").str.contains_any([str(digit) * 3 for digit in range(10)]))
    good = good.filter(~pl.col("BTN").str.contains("(?:0123|1234|2345|3456|4567|5678|6789|9876|8765|7654|6543|5432|4321|3210)"))
    return fields(count, Quantity="100").with_columns(good["BTN"].head(count))


def _small_files(home: Home, count: int) -> None:
    """Files of 10 orders of 5 codes, half .xlsx, half .csv."""
    for number in range(count):
        orders = fields(10, Quantity="5").with_columns(
            pl.format("N{}-{}", pl.lit(number), pl.int_range(10)).alias("Customer Order ID")
        )
        path = home.path / f"inbox/acme/small{number}"
        orders.write_csv(path.with_suffix(".csv")) if number % 2 else xlsxturbo.df_to_xlsx(orders, f"{path}.xlsx")


def _rivals(home: Home, count: int) -> None:
    """Files that all want the same Customer Order ID for something else: the first gets it, the others are rejected."""
    for number in range(count):
        fields(1, Quantity="5", Comments=f"file {number}").write_csv(home.path / f"inbox/acme/rival{number}.csv")


def _swept(stage: Stage, database: str, prepare: Callable[[Home], None], codes: int, base: str = "") -> Measured:
    with stage.home(database, base) as home:
        prepare(home)
        return stage.run("run", home, codes)


def _alone(stage: Stage, database: str, job: str, count: int) -> Measured:
    with stage.home(database) as home:
        return stage.run(job, home, count)


def issue(stage: Stage, database: str) -> list[Line]:
    """1: a million random codes, against one by one, 500 at a time, and the floor."""
    count, few, some = stage.scaled(MILLION), stage.scaled(5_000, 100), stage.scaled(100_000, 500)
    done = stage.race(
        {
            "ours": lambda: _swept(stage, database, lambda home: _random(home, count), count),
            "floor": lambda: _alone(stage, database, "floor_random", count),
            "one": lambda: _alone(stage, database, "per_code", few),
            "500": lambda: _alone(stage, database, "per_500", some),
        }
    )
    ours = done["ours"].part("read", "committed")
    job = f"{count:,} Random codes issued, durable"
    one, batch = (done[name].seconds * count / of for name, of in (("one", few), ("500", some)))
    return [
        Line(job, database, ours.seconds, ours.peak, f"SELECT + INSERT a code, scaled from {few:,}: {one:,.0f} s",
             one / ours.seconds, 100, "× as fast", faster=True),
        Line(job, database, ours.seconds, ours.peak, f"500 at a time, SELECT … IN, scaled from {some:,}: {batch:,.1f} s",
             batch / ours.seconds, 10, "× as fast", faster=True),
        Line(job, database, ours.seconds, ours.peak, f"floor, os.urandom + bulk insert: {done['floor'].seconds:.2f} s",
             ours.seconds / done["floor"].seconds, 1.5, "× the floor"),
        _memory(f"{count:,} Random codes, the whole run with its reports", database, done["ours"]),
    ]  # fmt: skip


def _memory(job: str, database: str, done: Measured, goal: float = 1024) -> Line:
    return Line(job, database, done.seconds, done.peak, "peak memory", done.peak, goal, " MB")


def specified(stage: Stage, database: str) -> list[Line]:
    """2: a million chosen codes in a CSV file, end to end."""
    count, some = stage.scaled(MILLION), stage.scaled(100_000)
    rows = _specified(count)

    def drop(home: Home) -> Home:
        rows.write_csv(home.path / "inbox/acme/big.csv")
        return home

    def other(job: str, many: int = count) -> Measured:
        with stage.home(database) as home:
            rows.head(many).write_csv(home.path / "inbox/acme/big.csv")
            return stage.run(job, home, many)

    contenders = {"ours": lambda: _swept(stage, database, drop, count), "floor": lambda: other("floor_csv")}
    if database == SQLITE:  # a statement a row over PostgreSQL's socket takes minutes and says nothing new
        contenders["csv"] = lambda: other("csv_loops")
        if not stage.short:
            contenders["pandas"] = lambda: other("pandas_loops", some)
    done = stage.race(contenders)
    ours = done["ours"]
    job = f"{count:,} Specified codes in a .csv, end to end"
    others = {
        "csv": ("csv module + SQLite in loops", 1),
        "pandas": (f"pandas + openpyxl in loops, scaled from {some:,}", count / some),
    }
    return [
        Line(job, database, ours.seconds, ours.peak, f"floor, Polars read + bulk insert: {done['floor'].seconds:.2f} s",
             ours.seconds / done["floor"].seconds, 3.5, "× the floor"),
        *(Line(job, database, ours.seconds, ours.peak, f"{words}: {done[name].seconds * times:.1f} s",
               done[name].seconds * times / ours.seconds, 1, "× as fast", faster=True)
          for name, (words, times) in others.items() if name in done),
        _memory(job, database, ours),
    ]  # fmt: skip


def workbook(stage: Stage, database: str) -> list[Line]:
    """3: 100,000 chosen codes in a workbook, confirmed in one."""
    count = stage.scaled(100_000)
    rows = _specified(count)

    def drop(home: Home) -> Home:
        xlsxturbo.df_to_xlsx(rows, str(home.path / "inbox/acme/big.xlsx"), sheet_name="Orders")
        return home

    def other(job: str) -> Measured:
        with stage.home(database) as home:
            return stage.run(job, drop(home), count)

    done = stage.race(
        {
            "ours": lambda: _swept(stage, database, drop, count),
            "read_xlsx": lambda: other("read_xlsx"),
            "write_openpyxl": lambda: other("write_openpyxl"),
            "write_xlsxwriter": lambda: other("write_xlsxwriter"),
            "write_xlsxturbo": lambda: other("write_xlsxturbo"),
        }
    )
    best = min(("write_openpyxl", "write_xlsxwriter", "write_xlsxturbo"), key=lambda job: done[job].seconds)
    read, written = done["read_xlsx"].seconds, done[best].seconds
    openpyxl, xlsxwriter = done["write_openpyxl"].seconds, done["write_xlsxwriter"].seconds
    words = (f"fastexcel {read:.2f} s + {best.removeprefix('write_')} {written:.2f} s "
             f"(openpyxl write-only {openpyxl:.1f}, XlsxWriter {xlsxwriter:.1f} s)")  # fmt: skip
    ours = done["ours"]
    job = f"{count:,} Specified codes in an .xlsx, confirmed in an .xlsx"
    return [
        Line(job, database, ours.seconds, ours.peak, words, ours.seconds / (read + written), 1.7, "× the sum"),
        _memory(job, database, ours),
    ]


def files(stage: Stage, database: str) -> list[Line]:
    """4: many small files in one run, one file, and files that all want the same order ID."""
    count, rivals = stage.scaled(1000, 4), stage.scaled(300, 3)
    done = stage.race(
        {
            "many": lambda: _swept(stage, database, lambda home: _small_files(home, count), count * 50),
            "one": lambda: _swept(stage, database, lambda home: _small_files(home, 1), 50),
            "rivals": lambda: _swept(stage, database, lambda home: _rivals(home, rivals), 5),
        }
    )
    many, one, same = done["many"], done["one"], done["rivals"]
    return [
        Line(f"{count:,} files of 10 orders, half .xlsx, half .csv", database, many.seconds, many.peak, "a file",
             many.seconds / count * 1000, 10, " ms"),
        Line("a run with 1 file, after imports", database, one.seconds, one.peak, "the run", one.seconds * 1000, 220,
             " ms"),
        Line(f"{rivals:,} files that share one Customer Order ID", database, same.seconds, same.peak, "a file",
             same.seconds / rivals * 1000, 20, " ms"),
    ]  # fmt: skip


def workers(stage: Stage, database: str) -> list[Line]:
    """15: several processes on one inbox, which divide it by themselves."""
    count = stage.scaled(600, 8)

    def at_once(processes: int) -> Measured:
        with stage.home(database) as home:
            _small_files(home, count)
            return stage.run_at_once(processes, home, count)

    done = stage.race({str(processes): partial(at_once, processes) for processes in (1, 2, 4)})
    one, two, four = (done[name].seconds for name in ("1", "2", "4"))
    return [
        Line(f"{count:,} files, {words} processes on one inbox", database, ours, done[name].peak,
             f"{against}: {count / other:.0f} files/s", other / ours, goal, "× as many a second", faster=True)
        for name, words, ours, against, other, goal in (("2", "two", two, "one", one, 1.6), ("4", "four", four, "two", two, 1))
    ]  # fmt: skip


def over_network(stage: Stage, database: str) -> list[Line]:
    """17: three machines (network namespaces) on one inbox, against one process and two on the server's own machine."""
    count = stage.scaled(600, 8)

    def swept(work: Callable[[int, Home, int], Measured], workers: int) -> Measured:
        with stage.home(database) as home:
            _small_files(home, count)
            return work(workers, home, count)

    try:
        done = stage.race({"1": partial(swept, stage.run_at_once, 1), "2": partial(swept, stage.run_at_once, 2),
                           "machines": partial(swept, stage.run_on_machines, 3)})  # fmt: skip
    except NotPermittedError as error:
        print(f"No race of machines: {error}")
        return []
    one, two, ours = (done[name].seconds for name in ("1", "2", "machines"))
    return [Line(f"{count:,} files, three machines as network namespaces", database, ours, done["machines"].peak,
                 f"one: {count / one:.0f} files/s, two: {count / two:.0f}", one / ours, one / two,
                 "× as many a second", faster=True)]  # fmt: skip


def pins(stage: Stage, database: str) -> list[Line]:
    """5: a million PINs under 10,000 BTNs, against a million random codes."""
    count = stage.scaled(10_000)
    rows = _btns(count)
    done = stage.race(
        {
            "pins": lambda: _swept(
                stage, database, lambda home: rows.write_csv(home.path / "inbox/acme/pins.csv"), count * 100
            ),
            "random": lambda: _swept(stage, database, lambda home: _random(home, count * 100), count * 100),
        }
    )
    ours, random = done["pins"], done["random"].seconds
    return [Line(f"{count:,} BTN+4 rows of 100 PINs", database, ours.seconds, ours.peak,
                      f"a Random order of as many: {random:.1f} s", ours.seconds / random, 2, "× Random")]  # fmt: skip


def growth(stage: Stage, database: str) -> list[Line]:
    """6: what an order costs in registries that grow."""
    lines = []
    sizes = [stage.scaled(MILLION), stage.scaled(10 * MILLION)]
    if stage.large and database == SQLITE:
        if shutil.disk_usage(stage.folder).free < 20 << 30:
            raise SystemExit("100 million codes need 20 GB of free disk")
        sizes.append(100 * MILLION)

    def into(size: int, codes: int) -> Measured:
        return _swept(stage, database, lambda home: _random(home, codes), codes, stage.filled(database, size))

    for codes, times, goal in ((1000, stage.times, 1.2), (sizes[0], 1, 2.5)):
        done = stage.race({str(size): partial(into, size, codes) for size in sizes}, times)
        ours = [done[str(size)] for size in sizes]
        lines += [
            Line(f"{codes:,} Random codes ordered into {size:,}", database, one.seconds, one.peak,
                 f"into {sizes[0]:,}: {ours[0].seconds:.3f} s", one.seconds / ours[0].seconds, goal, "×")
            for size, one in zip(sizes[1:], ours[1:], strict=True)
        ]  # fmt: skip
    stage.forget()
    return lines


def night(stage: Stage, database: str) -> list[Line]:
    """7: the reconciliation of a million awaited codes in 10 orders."""
    count = stage.scaled(MILLION, 1000)

    def ready(home: Home) -> Home:
        orders = fields(10, Quantity=str(count // 10)).with_columns(
            pl.format("N{}", pl.int_range(10)).alias("Customer Order ID")
        )
        orders.write_csv(home.path / "inbox/acme/big.csv")
        stage.run("run", home, count)
        (placed,) = (home.path / "outbox/network").rglob("placement-*.csv")
        report = pl.scan_csv(placed, infer_schema=False).select("Order ID", "Authorization Code")
        report.sink_csv(home.path / "inbox/network/report.csv")
        return home

    def run(job: str) -> Measured:
        with stage.home(database) as home:
            return stage.run(job, ready(home), count)

    done = stage.race({"ours": lambda: run("night"), "floor": lambda: run("floor_night"),
                       "plain": lambda: run("night_without_data")})  # fmt: skip
    ours, floor, plain = done["ours"], done["floor"].seconds, done["plain"].seconds
    settled = ours._replace(seconds=ours.steps["orders closed"])
    job = f"a night of {count:,} awaited codes"
    return [
        Line(f"{job}: states", database, settled.seconds, settled.peak,
             f"floor, Polars read + bulk update: {floor:.2f} s", settled.seconds / floor, 3, "× the floor"),
        Line(f"{job}: with all release files", database, ours.seconds, ours.peak, "the same floor",
             ours.seconds / floor, 6, "× the floor"),
        Line(f"{job}: with its data for BI", database, ours.seconds, ours.peak, f"without: {plain:.2f} s",
             ours.seconds / plain, 1.05, "×"),
        _memory(job, database, ours),
    ]  # fmt: skip


def imported(stage: Stage, database: str) -> list[Line]:
    """8: codes that exist already, 100 million of them in the large form."""
    count = 100 * MILLION if stage.large else stage.scaled(10 * MILLION)
    with stage.home(database) as home:
        step = 9 * 10**13 // count
        slices = [
            (pl.int_range(start, start + min(count, 10 * MILLION), eager=True) * 7919 % count * step + 10**13).cast(pl.String)
            for start in range(0, count, 10 * MILLION)
        ]
        pl.concat(slices).alias("Code").to_frame().write_parquet(home.path / "codes.parquet", compression="lz4")
        del slices
        done = stage.run("import_codes", home, count)
    return [_memory(f"import of {count:,} codes (Parquet)", database, done, 2048)]


def start(stage: Stage, database: str) -> list[Line]:
    """9: how long commands take to start."""

    def run(home: Home, command: str) -> Measured:
        cards = str(Path(sys.executable).with_name("cards"))
        return Measured(stage.process([cards, command], home)[0], 0, {})

    with stage.home(database) as home:
        times = 1 if stage.short else 9
        done = stage.race({command: partial(run, home, command) for command in ("--help", "run")}, times)
    goals = {"--help": 150, "run": 500}
    return [
        Line(f"`cards {command}`" + (", empty inbox" if command == "run" else ""), SQLITE, done[command].seconds,
             done[command].peak, "the process", done[command].seconds * 1000, goal, " ms")
        for command, goal in goals.items()
    ]  # fmt: skip


def oversight(stage: Stage, database: str) -> list[Line]:
    """16: a `cards run` with notifications, log and metrics, against one without."""
    count = stage.scaled(1000, 4)
    cards = Path(sys.executable).with_name("cards")
    with Webhook() as webhook:

        def run(*, observed: bool) -> Measured:
            with stage.home(database) as home:
                _small_files(home, count)
                fields(1, Quantity="many").write_csv(home.path / "inbox/acme/wrong.csv")  # which the operator hears of
                more = {"CARDS_NOTIFY": webhook.url(), "CARDS_LOG": "json", "CARDS_METRICS_FILE": f"{home.path}/cards.prom"}
                command = ["sh", "-c", f"exec {cards} run 2> {home.path}/log"]
                return Measured(stage.process(command, home, more if observed else {})[0], 0, {})

        done = stage.race({"with": partial(run, observed=True), "without": partial(run, observed=False)})
        assert webhook.messages
    seconds, plain = done["with"].seconds, done["without"].seconds
    return [Line(f"`cards run`, {count:,} files, with notifications, log and metrics", database, seconds, 0,
                 f"without: {plain:.1f} s", seconds / plain, 1.03, "×")]  # fmt: skip


def under_prefect(stage: Stage, database: str) -> list[Line]:
    """10: a run under Prefect, against one without."""
    if stage.short:
        return []  # its server alone takes a quarter of a minute
    count = 1000

    def run() -> Measured:
        with stage.home(database) as home:
            _small_files(home, count)
            return stage.run("prefect", home, count * 50)

    done = stage.race(
        {"with": run, "without": lambda: _swept(stage, database, lambda home: _small_files(home, count), count * 50)}
    )
    more = done["with"].seconds - done["without"].seconds
    return [
        Line(f"{count:,} files under Prefect", database, done["with"].seconds, done["with"].peak,
             f"without: {done['without'].seconds:.1f} s", more, 2, " s more")
    ]  # fmt: skip


def past(stage: Stage, database: str) -> list[Line]:
    """11: what a run and a night without news cost beside what lies there."""
    lines = []
    sizes = {"5,000 BTNs with 1,000 cards each": ("cards", stage.scaled(5 * MILLION)),
             "100,000 BTNs with 10 cards each": ("cards", stage.scaled(MILLION)),
             "files": ("files", stage.scaled(MILLION))}  # fmt: skip

    def quiet(base: str) -> Measured:
        with stage.home(database, base) as home:
            stage.run("night", home, 0)  # the first one has news: its data for BI have every card that was ever placed
            return stage.run("next_night", home, 0)

    def one(base: str) -> Measured:
        return _swept(stage, database, lambda home: _small_files(home, 1), 50, base)

    for words, (kind, count) in sizes.items():
        base = stage.filled(database, count, kind)
        job, what = (quiet, "a night without news") if kind == "cards" else (one, "a run with 1 file")
        done = stage.race({"past": partial(job, base), "empty": partial(job, "")})
        there, empty = done["past"], done["empty"].seconds
        most, limit = (1.2 * empty + 0.2, "1.2 × that + 0.2 s") if kind == "cards" else (1.2 * empty, "1.2 × that")
        of = words if kind == "cards" else f"{count:,} earlier files"
        against = f"in an empty registry: {empty:.3f} s; may take {limit}"
        lines.append(Line(f"{what}, {of}", database, there.seconds, there.peak, against, there.seconds / most, 1, "×"))
        stage.forget()
    return lines


def blocks(stage: Stage, database: str) -> list[Line]:
    """12: a night that confirms many Block orders, against one that confirms as many new cards."""
    count = stage.scaled(100_000, 100)
    with stage.home(database) as home:
        orders = fields(100, Quantity=str(count // 100)).with_columns(
            pl.format("N{}", pl.int_range(100)).alias("Customer Order ID")
        )
        orders.write_csv(home.path / "inbox/acme/add.csv")
        added = _confirmed_night(stage, home, "night", ready=count)
        codes = pl.concat([pl.read_csv(path, infer_schema=False) for path in home.path.rglob("release-*.csv")])
        blocked = (
            fields(len(codes), Action="Block")
            .drop("Product Account Number", "Access Number")
            .with_columns(
                pl.format("B{}", pl.int_range(pl.len())).alias("Customer Order ID"), codes["Authorization Code"].alias("Code")
            )
        )
        blocked.write_csv(home.path / "inbox/acme/block.csv")
        done = _confirmed_night(stage, home, "next_night", ready=0)
    return [Line(f"a night that confirms {count:,} Block orders", database, done.seconds, done.peak,
                 f"as many new cards in 100 orders: {added.seconds:.1f} s", done.seconds / added.seconds, 2, "×")]  # fmt: skip


def _confirmed_night(stage: Stage, home: Home, job: str, ready: int) -> Measured:
    """Place what lies in the inbox, have the network confirm all of it, and run the night."""
    network = home.path / "outbox/network"
    before = set(network.rglob("placement-*.csv"))
    stage.run("run", home, ready)
    (placed,) = set(network.rglob("placement-*.csv")) - before
    report = pl.read_csv(placed, infer_schema=False).select("Order ID", "Authorization Code")
    report.write_csv(home.path / f"inbox/network/{placed.stem}.csv")
    return stage.run(job, home, ready)


def year(stage: Stage, database: str) -> list[Line]:
    """13: a year of 200 orders a day, day by day."""
    days, window = (3, 1) if stage.short else (365, 10)
    with stage.home(database) as home:
        done = stage.run("year", home, days)

    def median(job: str, first: int) -> float:
        return statistics.median(done.steps[f"{job} {day}"] for day in range(first, first + window))

    return [
        Line(f"{words} on day {days} of 200 orders a day", database, median(job, days - window), done.peak,
             f"on day {window}: {median(job, window // 2):.3f} s", median(job, days - window) / median(job, window // 2), 1.2,
             "×")
        for job, words in (("run", "run"), ("night", "night"))
    ]  # fmt: skip


def verification(stage: Stage, database: str) -> list[Line]:
    """15: all of a verification, for each file; and a quick one of many files."""
    count, many = stage.scaled(1000, 4), stage.scaled(100_000, 4)
    with stage.home(database) as home:
        _small_files(home, count)
        stage.run("run", home, count * 50)
        full = stage.race({"full": lambda: stage.run("verify", home, count)})["full"]
        stage.run("outbox", home, max(many - count, 0))
        quick = stage.race({"quick": lambda: stage.run("verify_quickly", home, max(many, count))}, 1)["quick"]
    return [
        Line(f"`cards verify`, {count:,} files of 10 orders", database, full.seconds, full.peak, "a file",
             full.seconds / count * 1000, 5, " ms"),
        Line(f"`cards verify --quick`, {many:,} files", database, quick.seconds, quick.peak, "all of them",
             quick.seconds, 30, " s"),
    ]  # fmt: skip


def migration(stage: Stage, database: str) -> list[Line]:
    """14: a registry of an earlier version with many codes is brought up to date."""
    count = stage.scaled(10 * MILLION)
    path = Path(tempfile.mkdtemp(dir=stage.folder))
    with stage.registry(database, path) as url:
        done = stage.run("migrate", Home(path, url), count)
    return [Line(f"a registry of version 3 with {count:,} codes brought up to date", database, done.seconds, done.peak,
                 "a minute a million codes", done.seconds / (60 * max(1, count // MILLION)), 1, "×")]  # fmt: skip


_BOTH: Final = (SQLITE, POSTGRESQL)
RACES: Final[dict[str, tuple[Callable[[Stage, str], list[Line]], tuple[str, ...]]]] = {
    "issue": (issue, _BOTH), "specified": (specified, _BOTH), "workbook": (workbook, _BOTH), "files": (files, _BOTH),
    "pins": (pins, _BOTH), "growth": (growth, _BOTH), "night": (night, _BOTH), "import": (imported, (SQLITE,)),
    "start": (start, (SQLITE,)), "prefect": (under_prefect, _BOTH), "past": (past, _BOTH), "blocks": (blocks, _BOTH),
    "year": (year, (SQLITE,)),
    "migration": (migration, _BOTH), "verify": (verification, _BOTH), "workers": (workers, _BOTH),
    "machines": (over_network, (POSTGRESQL,)), "oversight": (oversight, _BOTH),
}  # fmt: skip
"""Each race and the databases on which it is run."""
