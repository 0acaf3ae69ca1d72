"""A database as the registry uses it: Arrow in and out through ADBC, one writer at a time, two dialects."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import adbc_driver_manager
import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.common.errors import CardsError, TransientError
from pipelines.registry.schema import INDEXES, INT, KEYS, MIGRATIONS, TABLES, TEXT, VERSION

_BUSY_MS: Final = 60_000
_SOON_GONE: Final = ("idle_in_transaction_session_timeout = 600000", "tcp_keepalives_idle = 60",
                     "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")  # fmt: skip
"""A machine that lost its power or its network holds its locks no longer than this."""
_LOCK: Final = 4_153_094_672  # one number for this product's advisory lock in a PostgreSQL that others may share


class Dialect(NamedTuple):
    """Where the two databases differ."""

    connect: Callable[[str], adbc.Connection]
    reconciliation_lock: Callable[["Database"], AbstractContextManager[bool]]
    number_key: str
    many_key: str
    begin: tuple[str, ...]
    tables: str
    check: str


def _connect_sqlite(url: str) -> adbc.Connection:
    import adbc_driver_sqlite.dbapi as driver

    path = Path(url.removeprefix("sqlite:///"))
    if not path.parent.is_dir():
        raise CardsError(f"The folder {path.parent} of the registry does not exist. Make it, or set CARDS_REGISTRY.")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # side files take its permissions
    connection = driver.connect(str(path), autocommit=True)
    with connection.cursor() as cursor:
        for pragma in (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY",
                       "cache_size = -65536"):  # fmt: skip
            cursor.execute(f"PRAGMA {pragma}")
    return connection


def _connect_postgresql(url: str) -> adbc.Connection:
    import adbc_driver_postgresql.dbapi as driver

    connection: adbc.Connection = driver.connect(url, autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE setting = 'off' AND name IN ('fsync', 'synchronous_commit')")
        unsafe = [name for (name,) in cursor.fetchall()]
        for setting in (f"lock_timeout = {_BUSY_MS}", *_SOON_GONE):
            cursor.execute(f"SET {setting}")
    if unsafe:
        connection.close()
        raise CardsError(f"PostgreSQL runs with {' and '.join(unsafe)} off and may forget codes. Set it to on.")
    return connection


@contextmanager
def _lock_sqlite(database: "Database") -> Iterator[bool]:
    """Hold a lock on a file beside the registry; it is gone with the process too."""
    descriptor = os.open(f"{database.path}.night", os.O_RDWR | os.O_CREAT, 0o600)
    locked = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        locked = False
    try:
        yield locked
    finally:
        os.close(descriptor)


@contextmanager
def _lock_postgresql(database: "Database") -> Iterator[bool]:
    """Hold an advisory lock of the session; it is gone with the connection too."""
    locked = database.query(f"SELECT CASE WHEN pg_try_advisory_lock({_LOCK + 1}) THEN 1 ELSE 0 END", {"locked": INT}).item()
    try:
        yield bool(locked)
    finally:
        if locked:
            with suppress(CardsError):
                database.query(f"SELECT CASE WHEN pg_advisory_unlock({_LOCK + 1}) THEN 1 ELSE 0 END", {"unlocked": INT})


SQLITE: Final = Dialect(
    _connect_sqlite,
    _lock_sqlite,
    "INTEGER",
    " WITHOUT ROWID",
    ("BEGIN IMMEDIATE",),
    "sqlite_schema WHERE name",
    "PRAGMA integrity_check(20)",
)
POSTGRESQL: Final = Dialect(
    _connect_postgresql, _lock_postgresql, "BIGINT", "", ("BEGIN", f"SELECT pg_advisory_xact_lock({_LOCK})"),
    "pg_tables WHERE schemaname = current_schema() AND tablename", "SELECT 'ok'",
)  # fmt: skip


@contextmanager
def translate_db_errors(busy: str = "The registry is busy or out of reach.") -> Iterator[None]:
    """Database errors as errors of ours, without the statement, which may hold codes."""
    try:
        yield
    except adbc.OperationalError as error:
        raise TransientError(f"{busy} It is tried again with the next run. ({_cause(error)})") from None
    except adbc.Error as error:
        raise CardsError(f"The registry refuses: {_cause(error)}") from None


def _cause(error: adbc.Error) -> str:
    """What SQLite says where that is one of its own sentences, else the class of a database error and its state; the rest
    of its text may hold a code.
    """
    if said := next((text for text in _SQLITE_MESSAGES if text in str(error)), ""):
        return said
    state = getattr(error, "sqlstate", None) or ""
    code = getattr(error, "status_code", adbc_driver_manager.AdbcStatusCode.UNKNOWN)
    return f"{type(error).__name__} {code.name} {state}".strip()


_SQLITE_MESSAGES: Final = (
    "database is locked", "database or disk is full", "disk I/O error", "database disk image is malformed",
    "file is not a database", "attempt to write a readonly database", "unable to open database file",
)  # fmt: skip


class Database:
    """An open database. One connection, one thread."""

    def __init__(self, url: str, dialect: Dialect) -> None:
        self.path = url.removeprefix("sqlite:///")
        self._connection = dialect.connect(url)
        self._dialect = dialect

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def try_reconciliation_lock(self) -> Iterator[bool]:
        """Be the only one who reconciles, as long as the block lasts; False when another is at it."""
        with translate_db_errors(), self._dialect.reconciliation_lock(self) as alone:
            yield alone

    # -- the machinery -------------------------------------------------------------------------------------------------

    def execute(self, sql: str, *parameters: Any) -> None:
        """Execute a statement."""
        with translate_db_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def query(self, sql: str, schema: Mapping[str, Any], *parameters: Any) -> pl.DataFrame:
        """The rows of a query as a frame of the declared types (an empty column of SQLite has none of its own)."""
        with translate_db_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            frame = pl.from_arrow(cursor.fetch_arrow_table().rename_columns(list(schema)))
        assert isinstance(frame, pl.DataFrame)
        return frame.cast(pl.Schema(schema))

    def check(self) -> list[str]:
        """What the database finds wrong with itself."""
        return [text for text in self.query(self._dialect.check, {"text": TEXT})["text"] if text != "ok"]

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Append a frame to a table. An error of the database goes on as it is: it may be a row that was there before."""
        if frame.is_empty():
            return
        rows = frame.lazy().select(*TABLES[table]).cast(TABLES[table]).cast({pl.UInt8: pl.Int16})
        if key := KEYS.get(table):
            rows = rows.sort(key.split(", "))
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows.collect().to_arrow(), mode="append")

    @contextmanager
    def temp_table(self, frame: pl.DataFrame) -> Iterator[None]:
        """Have a frame as the temporary table `given`."""
        with translate_db_errors(), self._connection.cursor() as cursor:
            cursor.adbc_ingest("given", frame.to_arrow(), mode="create", temporary=True)
        try:
            yield
        finally:
            self.execute("DROP TABLE given")

    def query_with(self, frame: pl.DataFrame, sql: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of a query over `given`, the frame."""
        if frame.is_empty():
            return pl.DataFrame(schema=schema)
        with self.temp_table(frame):
            return self.query(sql, schema)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One writer at a time; nothing stays when the block raises."""
        for statement in self._dialect.begin:
            self.execute(statement)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(CardsError):  # the connection is gone, and the transaction with it
                self.execute("ROLLBACK")
            raise

    def prepare(self) -> None:
        """Make the tables of a new registry, bring an older one up to date, refuse a newer one."""
        if not self._exists("version"):
            with self.transaction():
                if not self._exists("version"):
                    self._create()
        version = self._version()
        if version > VERSION:
            raise CardsError(f"The registry has version {version} and this program knows {VERSION}. Update the program.")
        if version < VERSION:
            with self.transaction():
                for number in range(self._version() + 1, VERSION + 1):
                    for statement in MIGRATIONS[number]:
                        self.execute(statement)
                    self.execute(f"INSERT INTO version VALUES ({number})")

    def _version(self) -> int:
        return int(self.query("SELECT max(version) FROM version", {"version": INT}).item())

    def _exists(self, table: str) -> bool:
        return bool(self.query(f"SELECT count(*) FROM {self._dialect.tables} = '{table}'", {"n": INT}).item())

    def _create(self) -> None:
        types = {TEXT: "TEXT", INT: "BIGINT", pl.UInt8: "SMALLINT"}
        for table, schema in TABLES.items():
            key = KEYS.get(table, "")
            columns = [
                f"{name} {self._dialect.number_key if name == key else types[kind]} NOT NULL"  # type: ignore[index]
                for name, kind in schema.items()
            ]
            kind = self._dialect.many_key if "," in key else ""
            self.execute(f"CREATE TABLE {table} ({', '.join(columns)}{f', PRIMARY KEY ({key})' if key else ''}){kind}")
        for index in INDEXES:
            self.execute(index)
        self.execute("CREATE TABLE version (version BIGINT NOT NULL)")
        self.execute(f"INSERT INTO version VALUES ({VERSION})")
