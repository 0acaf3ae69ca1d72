"""A database as the registry uses it: Arrow in and out through ADBC, one writer at a time, two dialects."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.common.database_url import describe_url
from pipelines.common.errors import CardsError, NotSetUpError
from pipelines.registry.columns import Columns, integer, schema_of, select_list
from pipelines.registry.db_errors import translate_connection_errors, translate_db_errors
from pipelines.registry.schema import INT, KEYS, SMALL, TABLES, TEXT

FEW_CELLS: Final = 100
"""Frames of up to so many cells are given to a query as parameters."""
_BUSY_MS: Final = 60_000
_APPENDED: Final = 200_000
"""So many rows are appended at once: Arrow's copy of a million orders would take half a GB."""
_SOON_GONE: Final = ("idle_in_transaction_session_timeout = 600000", "tcp_keepalives_idle = 60",
                     "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")  # fmt: skip
"""A machine that lost its power or its network loses its locks after these times."""
SET_UP: Final = "Set up this home first: cards init. Or set CARDS_HOME to the folder that you mean."
_LOCK: Final = 4_153_094_672  # one number for this product's advisory lock in a PostgreSQL that others may share


class Dialect(NamedTuple):
    """Where the two databases differ.

    `number_key` is the type of a primary key of one number; `other_key` ends the definition of a table with another
    primary key; `begin` starts a transaction of the one writer, `begin_claims` one that changes claims alone; `clock` is the
    time in seconds; `tables` = 'name' finds a table; `columns` and `indexes` give `name` and `definition` of each table and
    index.
    """

    connect: Callable[[str, bool], adbc.Connection]
    reconciliation_lock: Callable[["Database"], AbstractContextManager[bool]]
    number_key: str
    other_key: str
    begin: tuple[str, ...]
    begin_claims: tuple[str, ...]
    clock: str
    tables: str
    check: str
    columns: str
    indexes: str


@contextmanager
def _closed_on_error(connection: adbc.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _connect_sqlite(url: str, create: bool) -> adbc.Connection:
    import adbc_driver_sqlite.dbapi as driver

    path = Path(url.removeprefix("sqlite:///"))
    if not path.parent.is_dir():
        raise CardsError(f"The folder {path.parent} of the registry does not exist. Create it, or set CARDS_REGISTRY.")
    if not create and not path.exists():
        raise NotSetUpError(f"There is no registry at {path}. {SET_UP}")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # side files take its permissions
    except OSError as error:
        raise CardsError(f"The registry can't be opened: {path}: {error.strerror}.") from None
    connection = driver.connect(str(path), autocommit=True)
    with _closed_on_error(connection), connection.cursor() as cursor:
        for pragma in (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY",
                       "cache_size = -65536"):  # fmt: skip
            cursor.execute(f"PRAGMA {pragma}")
    return connection


def _connect_postgresql(url: str, _: bool) -> adbc.Connection:
    import adbc_driver_postgresql.dbapi as driver

    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # a host that does not answer would take two minutes
    connection: adbc.Connection = driver.connect(url, autocommit=True)
    with _closed_on_error(connection), connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE setting = 'off' AND name IN ('fsync', 'synchronous_commit')")
        unsafe = [name for (name,) in cursor.fetchall()]
        for setting in (f"lock_timeout = {_BUSY_MS}", *_SOON_GONE):
            cursor.execute(f"SET {setting}")
        if unsafe:
            raise CardsError(
                f"PostgreSQL runs with {' and '.join(unsafe)} off and could lose codes after a crash. Set it to on."
            )
    return connection


@contextmanager
def _lock_sqlite(database: "Database") -> Iterator[bool]:
    """A lock on a file next to the registry; it ends with the process."""
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
    """An advisory lock of the session; it ends with the connection."""
    locked = bool(database.select({"locked": integer(f"pg_try_advisory_lock({_LOCK + 1})::int")}, "").item())
    try:
        yield locked
    finally:
        if locked:
            with suppress(CardsError):
                database.select({"unlocked": integer(f"pg_advisory_unlock({_LOCK + 1})::int")}, "")


SQLITE: Final = Dialect(
    connect=_connect_sqlite,
    reconciliation_lock=_lock_sqlite,
    number_key="INTEGER",
    other_key=" WITHOUT ROWID",
    begin=("BEGIN IMMEDIATE",),
    begin_claims=("BEGIN IMMEDIATE",),
    clock="CAST(strftime('%s', 'now') AS INTEGER)",
    tables="sqlite_schema WHERE name",
    check="PRAGMA integrity_check(20)",
    columns="""
        SELECT tables.name AS name, group_concat(columns.name, ', ') AS definition
        FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' GROUP BY tables.name
    """,
    indexes="SELECT name, sql AS definition FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
)
POSTGRESQL: Final = Dialect(
    connect=_connect_postgresql,
    reconciliation_lock=_lock_postgresql,
    number_key="BIGINT",
    other_key="",
    begin=("BEGIN", f"SELECT pg_advisory_xact_lock({_LOCK})"),
    begin_claims=("BEGIN", "SET LOCAL synchronous_commit = off", f"SELECT pg_advisory_xact_lock({_LOCK + 2})"),
    clock="CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)",
    tables="pg_tables WHERE schemaname = current_schema() AND tablename",
    check="SELECT 'ok' AS integrity_check",
    columns="""
        SELECT table_name::text AS name, string_agg(column_name::text, ', ' ORDER BY ordinal_position) AS definition
        FROM information_schema.columns WHERE table_schema = current_schema() GROUP BY table_name
    """,
    indexes="""
        SELECT pg_class.relname::text AS name, CASE WHEN NOT pg_index.indisvalid THEN 'invalid'
            WHEN pg_index.indisunique THEN 'CREATE UNIQUE INDEX' ELSE 'CREATE INDEX' END AS definition
        FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid
        WHERE pg_class.relnamespace = current_schema()::regnamespace
    """,
)


class Database:
    """An open database. One connection, one thread."""

    def __init__(self, url: str, dialect: Dialect, *, create: bool = True) -> None:
        self.path = url.removeprefix("sqlite:///")
        self._place = f"The registry ({describe_url(url)})"
        with translate_connection_errors(url):
            self._connection = dialect.connect(url, create)
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
        """Hold the lock on reconciling while the block lasts; False when another process holds it."""
        with translate_db_errors(self._place), self._dialect.reconciliation_lock(self) as locked:
            yield locked

    @contextmanager
    def reconciliation_lock(self) -> Iterator[None]:
        """Hold the lock on reconciling while the block lasts. Raises CardsError when another process holds it."""
        with self.try_reconciliation_lock() as locked:
            if not locked:
                raise CardsError(
                    "A reconciliation, or another command that excludes it, is running. Try again when it has ended."
                )
            yield

    def execute(self, sql: str, *parameters: Any) -> None:
        """Execute a statement."""
        with translate_db_errors(self._place), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def query(self, sql: str, schema: Mapping[str, Any], *parameters: Any) -> pl.DataFrame:
        """The rows of a query as a frame with the columns of `schema`, found by name and cast (an empty column of SQLite has
        no type of its own). Raises ValueError when the query has other columns.
        """
        with translate_db_errors(self._place), self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            table = cursor.fetch_arrow_table()
        if sorted(table.column_names) != sorted(schema):
            raise ValueError(f"The query has the columns {table.column_names} and not {list(schema)}.")
        if not table.num_rows:
            return pl.DataFrame(schema=schema)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        is_ready = frame.schema == pl.Schema(schema)  # most are, and each step over a small frame costs as much as its query
        return frame if is_ready else frame.select(*schema).cast(pl.Schema(schema))

    def select(self, columns: Columns, rest: str, *parameters: Any) -> pl.DataFrame:
        """The rows of `SELECT columns rest` as a frame with these columns."""
        return self.query(f"SELECT {select_list(columns)} {rest.strip()}", schema_of(columns), *parameters)

    def check(self) -> list[str]:
        """What the database finds wrong with itself."""
        findings = self.query(self._dialect.check, {"integrity_check": TEXT})["integrity_check"]
        return [text for text in findings if text != "ok"]

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Append a frame to a table. A database error is raised as it is: the row may exist already."""
        if frame.is_empty():
            return
        rows = frame.select(*TABLES[table]).cast(TABLES[table]).cast({SMALL: pl.Int16})
        keys = KEYS.get(table, "").split(", ")
        if keys != [""] and not (len(keys) == 1 and rows[keys[0]].is_sorted()):
            rows = rows.sort(keys)
        with self._connection.cursor() as cursor:
            for part in rows.iter_slices(_APPENDED):
                cursor.adbc_ingest(table, part.to_arrow(), mode="append")

    @contextmanager
    def temp_table(self, frame: pl.DataFrame, key: str = "") -> Iterator[None]:
        """Hold a frame as the temporary table `given`; `key`: the columns that are its primary key, as in KEYS.

        A statement that looks rows up in `given` (an UPDATE may, an EXISTS does) needs the key: without it each look-up
        reads the whole table. The databases know nothing of a new table until it is analysed; they would rather read all
        of a large table than all of this one.
        """
        with translate_db_errors(self._place), self._connection.cursor() as cursor:
            if key:
                frame = frame.sort(key.split(", "))
                cursor.execute(self._definition("given", dict(frame.schema), key, temporary=True))
            cursor.adbc_ingest("given", frame.to_arrow(), mode="append" if key else "create", temporary=True)
        try:
            self.execute("ANALYZE given")
            yield
        finally:
            self.execute("DROP TABLE given")

    def select_with(self, frame: pl.DataFrame, columns: Columns, rest: str) -> pl.DataFrame:
        """The rows of a query over a table `given` that holds the frame: a few rows go along with the query itself, which
        spares three statements, and many as a temporary table.
        """
        if frame.is_empty():
            return pl.DataFrame(schema=schema_of(columns))
        if not _are_few(frame):
            with self.temp_table(frame):
                return self.select(columns, rest)
        given, cells = _as_values(frame)
        return self.query(f"{given} SELECT {select_list(columns)} {rest.strip()}", schema_of(columns), *cells)

    def execute_with(self, frame: pl.DataFrame, key: str, sql: str, *parameters: Any) -> None:
        """Execute a statement over a table `given` that holds the frame; nothing when it is empty. A few rows go along with
        the statement itself, unless it has parameters of its own, and many as a temporary table with this key.
        """
        if frame.is_empty():
            return
        if _are_few(frame) and not parameters:
            given, cells = _as_values(frame)
            self.execute(f"{given} {sql.strip()}", *cells)
            return
        with self.temp_table(frame, key):
            self.execute(sql, *parameters)

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction of the one writer; rolled back when the block raises."""
        return self._transaction(self._dialect.begin)

    def claim_transaction(self) -> AbstractContextManager[None]:
        """A transaction that changes claims and nothing else. These take turns among themselves, never with the writers."""
        return self._transaction(self._dialect.begin_claims)

    @contextmanager
    def _transaction(self, begin: tuple[str, ...]) -> Iterator[None]:
        for statement in begin:
            self.execute(statement)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(CardsError):  # the connection is gone, and the transaction with it
                self.execute("ROLLBACK")
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, for the rare statement that only it needs."""
        return self._dialect is SQLITE

    @property
    def clock(self) -> str:
        """The expression for the database's time, in seconds."""
        return self._dialect.clock

    def has_table(self, name: str) -> bool:
        """Whether the database has this table."""
        return bool(self.select({"tables": integer("count(*)")}, f"FROM {self._dialect.tables} = '{name}'").item())

    def definitions(self, *, indexes: bool) -> dict[str, str]:
        """The definitions of all tables, or of all indexes, as the database has them, by name."""
        found = self.query(self._dialect.indexes if indexes else self._dialect.columns, {"name": TEXT, "definition": TEXT})
        return dict(found.iter_rows())

    def create_table(self, name: str, columns: Mapping[str, Any], key: str = "") -> None:
        """Create a table. Inside a transaction. `key`: the columns of the primary key, as in KEYS."""
        self.execute(self._definition(name, columns, key))

    def _definition(self, name: str, columns: Mapping[str, Any], key: str, *, temporary: bool = False) -> str:
        number_key = columns.get(key) == INT  # SQLite keeps the rows of such a table in its order
        parts = [
            f"{column} {self._dialect.number_key if number_key and column == key else _TYPES[kind]} NOT NULL"
            for column, kind in columns.items()
        ]
        if key:
            parts.append(f"PRIMARY KEY ({key})")
        options = self._dialect.other_key if key and not number_key else ""
        return f"CREATE {'TEMPORARY ' * temporary}TABLE {name} ({', '.join(parts)}){options}"


_TYPES: Final[dict[Any, str]] = {TEXT: "TEXT", INT: "BIGINT", SMALL: "SMALLINT", pl.Int16: "SMALLINT"}
_PARAMETERS: Final[dict[Any, str]] = {pl.String: "TEXT", **dict.fromkeys((pl.Int64, pl.UInt32, pl.Int32), "BIGINT")}
"""The types of columns that a few parameters can stand for."""


def _are_few(frame: pl.DataFrame) -> bool:
    """Whether a frame can go along with a statement as parameters."""
    if frame.height * frame.width > FEW_CELLS or not all(kind in _PARAMETERS for kind in frame.dtypes):
        return False
    return not any(frame.null_count().row(0))


def _as_values(frame: pl.DataFrame) -> tuple[str, list[Any]]:
    """A frame as the table `given` of a WITH clause, and its parameters."""
    kinds = [_PARAMETERS[kind] for kind in frame.dtypes]
    marks = (f"CAST(${number + 1} AS {kinds[number % frame.width]})" for number in range(frame.height * frame.width))
    rows = ", ".join(f"({', '.join(row)})" for row in zip(*[marks] * frame.width, strict=True))
    return f"WITH given ({', '.join(frame.columns)}) AS (VALUES {rows})", [cell for row in frame.iter_rows() for cell in row]
