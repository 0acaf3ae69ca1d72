"""A database as the registry uses it: Arrow in and out through ADBC, one writer at a time, two dialects."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import adbc_driver_manager
import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.errors import CardsError, TransientError
from pipelines.registry.tables import INDEXES, INT, KEYS, TABLES, TEXT, VERSION

_BUSY_MS: Final = 60_000
_LOCK: Final = 4_153_094_672  # one number for this product's advisory lock in a PostgreSQL that others may share


class Dialect(NamedTuple):
    """Where the two databases differ."""

    connect: Callable[[str], adbc.Connection]
    number_key: str
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
    return connection


SQLITE: Final = Dialect(
    _connect_sqlite, "INTEGER", ("BEGIN IMMEDIATE",), "sqlite_schema WHERE name", "PRAGMA integrity_check(20)"
)
POSTGRESQL: Final = Dialect(
    _connect_postgresql, "BIGINT", ("BEGIN", f"SELECT pg_advisory_xact_lock({_LOCK})"),
    "pg_tables WHERE schemaname = current_schema() AND tablename", "SELECT 'ok'",
)  # fmt: skip


@contextmanager
def told(busy: str = "The registry is busy or out of reach.") -> Iterator[None]:
    """Database errors as errors of ours, without the statement, which may hold codes."""
    try:
        yield
    except adbc.OperationalError as error:
        raise TransientError(f"{busy} It is tried again with the next run. ({_cause(error)})") from None
    except adbc.Error as error:
        raise CardsError(f"The registry refuses: {_cause(error)}") from None


def _cause(error: adbc.Error) -> str:
    """The class of a database error and its state; its text may hold a code."""
    state = getattr(error, "sqlstate", None) or ""
    code = getattr(error, "status_code", adbc_driver_manager.AdbcStatusCode.UNKNOWN)
    return f"{type(error).__name__} {code.name} {state}".strip()


class Database:
    """An open database. One connection, one thread."""

    def __init__(self, connection: adbc.Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # -- the machinery -------------------------------------------------------------------------------------------------

    def do(self, sql: str, *parameters: Any) -> None:
        """Execute a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def get(self, sql: str, schema: Mapping[str, Any], *parameters: Any) -> pl.DataFrame:
        """The rows of a query as a frame of the declared types (an empty column of SQLite has none of its own)."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            frame = pl.from_arrow(cursor.fetch_arrow_table().rename_columns(list(schema)))
        assert isinstance(frame, pl.DataFrame)
        return frame.cast(pl.Schema(schema))

    def check(self) -> list[str]:
        """What the database finds wrong with itself."""
        return [text for text in self.get(self._dialect.check, {"text": TEXT})["text"] if text != "ok"]

    def put(self, table: str, frame: pl.DataFrame) -> None:
        """Append a frame to a table."""
        if frame.is_empty():
            return
        rows = frame.select(*TABLES[table]).cast(TABLES[table]).cast({pl.UInt8: pl.Int16})
        if key := KEYS.get(table):
            rows = rows.sort(key.split(", "))
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows.to_arrow(), mode="append")

    @contextmanager
    def given(self, frame: pl.DataFrame) -> Iterator[None]:
        """Have a frame as the temporary table `given`."""
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest("given", frame.to_arrow(), mode="create", temporary=True)
        try:
            yield
        finally:
            self.do("DROP TABLE given")

    def join(self, frame: pl.DataFrame, sql: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of a query over `given`, the frame."""
        if frame.is_empty():
            return pl.DataFrame(schema=schema)
        with told(), self.given(frame):
            return self.get(sql, schema)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One writer at a time; nothing stays when the block raises."""
        with told():
            for statement in self._dialect.begin:
                self.do(statement)
        try:
            yield
            self.do("COMMIT")
        except BaseException:
            with suppress(adbc.Error):  # the connection is gone, and the transaction with it
                self.do("ROLLBACK")
            raise

    def prepare(self) -> None:
        """Make the tables of a new registry; refuse one of another version."""
        if not self._exists("version"):
            with self.transaction():
                if not self._exists("version"):
                    self._create()
        version = self.get("SELECT max(version) FROM version", {"version": INT}).item()
        if version != VERSION:
            raise CardsError(f"The registry has version {version} and this program knows {VERSION}. Update the program.")

    def _exists(self, table: str) -> bool:
        return bool(self.get(f"SELECT count(*) FROM {self._dialect.tables} = '{table}'", {"n": INT}).item())

    def _create(self) -> None:
        types = {TEXT: "TEXT", INT: "BIGINT", pl.UInt8: "SMALLINT"}
        for table, schema in TABLES.items():
            key = KEYS.get(table, "")
            columns = [
                f"{name} {self._dialect.number_key if name == key else types[kind]} NOT NULL"  # type: ignore[index]
                for name, kind in schema.items()
            ]
            self.do(f"CREATE TABLE {table} ({', '.join(columns)}{f', PRIMARY KEY ({key})' if key else ''})")
        for index in INDEXES:
            self.do(index)
        self.do("CREATE TABLE version (version BIGINT NOT NULL)")
        self.do(f"INSERT INTO version VALUES ({VERSION})")
