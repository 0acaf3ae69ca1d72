"""The registry: every code that was ever issued, every order, every answer. All SQL of the product is here.

The code is the primary key of `codes`, which is the last word on uniqueness. Frames go in and come back as Arrow
through ADBC. No column is ever NULL: absent text is empty, an absent number 0, so that a column has one type on
both databases. Times are local ISO 8601 text. Writers take turns, so that ids are `max + 1` without gaps or races.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import adbc_driver_manager
import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.errors import CardsError, ConflictError, TransientError
from schemas.codes import STATES
from schemas.orders import NAMES

VERSION: Final = 1
_BUSY_MS: Final = 60_000
_LOCK: Final = 4_153_094_672  # one number for this product's advisory lock in a PostgreSQL that others may share

TEXT, INT = pl.String, pl.Int64
EVENT: Final = pl.Schema(
    {"event": INT, "kind": TEXT, "sender": TEXT, "digest": TEXT, "file": TEXT, "folder": TEXT, "at": TEXT,
     "rows": INT, "notes": TEXT, "readable": INT, "answers": INT, "answered": INT}
)  # fmt: skip
"""Something that came in or was done: a file of orders, a report of the network, or a night.

`answers` is the event whose answer this one gets (its own, unless the same bytes came before); `answered` is 1 once
its folder is complete.
"""
ORDER: Final = pl.Schema(
    {"order_no": INT, "event": INT, "order_id": TEXT, "account": TEXT, "number": INT, "order_ref": TEXT,
     "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT,
     "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT, "cards": INT,
     "awaiting": INT, "since": TEXT}
)  # fmt: skip
"""A placed order. `awaiting` is 1 until a report of the network names it, counted from `since`."""
CODE: Final = pl.Schema({"code": INT, "order_no": INT, "event": INT, "state": pl.UInt8})
"""A number that is burnt: its order (0 for one that was not issued here), the event that burnt it, its state."""
TOUCH: Final = pl.Schema({"order_no": INT, "code": INT, "done": INT})
"""A card that an order of another action than Add takes; `done` 0 awaited, 1 the network shows it, 2 it does not."""
MOVE: Final = pl.Schema({"code": INT, "event": INT, "state": pl.UInt8})
REPEAT: Final = pl.Schema({"event": INT, "order_no": INT, "rows": INT})
REJECTED: Final = pl.Schema({"event": INT, "row": INT, **dict.fromkeys(NAMES, TEXT)})
FINDING: Final = pl.Schema({"event": INT, "row": INT, "column_name": TEXT, "reason": TEXT, "value": TEXT})
REPLACEMENT: Final = pl.Schema({"code": INT, "replaced": INT})
ACCOUNT: Final = pl.Schema(dict.fromkeys(["reseller", "account", "product", "description", "acceptance"], TEXT))
ACCESS: Final = pl.Schema(dict.fromkeys(["access_number", "account", "description"], TEXT))

_TABLES: Final = {
    "events": EVENT, "orders": ORDER, "codes": CODE, "touches": TOUCH, "moves": MOVE, "repeats": REPEAT,
    "rejected": REJECTED, "findings": FINDING, "replacements": REPLACEMENT, "accounts": ACCOUNT,
    "access_numbers": ACCESS,
}  # fmt: skip
_KEYS: Final = {
    "events": "event", "orders": "order_no", "codes": "code", "touches": "order_no, code", "moves": "code, event",
    "rejected": "event, row", "replacements": "code",
}  # fmt: skip
_INDEXES: Final = [
    "CREATE UNIQUE INDEX events_digest ON events (sender, digest) WHERE readable = 1 AND answers = event",
    "CREATE INDEX events_folder ON events (folder)",
    "CREATE INDEX events_unanswered ON events (event) WHERE answered = 0",
    "CREATE UNIQUE INDEX orders_id ON orders (order_id)",
    "CREATE UNIQUE INDEX orders_ref ON orders (account, order_ref)",
    "CREATE UNIQUE INDEX orders_number ON orders (account, number)",
    "CREATE INDEX orders_event ON orders (event)",
    "CREATE INDEX orders_awaiting ON orders (order_no) WHERE awaiting = 1",
    "CREATE INDEX codes_order ON codes (order_no) WHERE order_no > 0",
    "CREATE UNIQUE INDEX touches_awaited ON touches (code) WHERE done = 0",
    "CREATE INDEX touches_code ON touches (code)",
    "CREATE INDEX repeats_event ON repeats (event)",
    "CREATE INDEX findings_event ON findings (event)",
]


class Dialect(NamedTuple):
    """Where the two databases differ."""

    connect: Callable[[str], adbc.Connection]
    number_key: str
    begin: tuple[str, ...]
    tables: str


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

    return driver.connect(url, autocommit=True)


SQLITE: Final = Dialect(_connect_sqlite, "INTEGER", ("BEGIN IMMEDIATE",), "sqlite_schema WHERE name")
POSTGRESQL: Final = Dialect(
    _connect_postgresql, "BIGINT", ("BEGIN", f"SELECT pg_advisory_xact_lock({_LOCK})"),
    "pg_tables WHERE schemaname = current_schema() AND tablename",
)  # fmt: skip


@contextmanager
def _told(busy: str = "The registry is busy or out of reach.") -> Iterator[None]:
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


def open_registry(url: str) -> "Registry":
    """Open a registry, making its tables where there are none. Raises TransientError when it is out of reach."""
    dialect = SQLITE if url.startswith("sqlite") else POSTGRESQL
    with _told("The registry can't be opened."):
        registry = Registry(dialect.connect(url), dialect)
        registry.prepare()
    return registry


class Registry:
    """An open registry. One connection, one thread."""

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

    def _do(self, sql: str, *parameters: Any) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def _get(self, sql: str, schema: Mapping[str, Any], *parameters: Any) -> pl.DataFrame:
        """The rows of a query as a frame of the declared types (an empty column of SQLite has none of its own)."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            frame = pl.from_arrow(cursor.fetch_arrow_table().rename_columns(list(schema)))
        assert isinstance(frame, pl.DataFrame)
        return frame.cast(dict(schema))

    def _put(self, table: str, frame: pl.DataFrame) -> None:
        """Append a frame to a table."""
        if frame.is_empty():
            return
        rows = frame.select(*_TABLES[table]).cast(_TABLES[table]).cast({pl.UInt8: pl.Int16})
        if key := _KEYS.get(table):
            rows = rows.sort(key.split(", "))
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows.to_arrow(), mode="append")

    @contextmanager
    def _given(self, frame: pl.DataFrame) -> Iterator[None]:
        """Have a frame as the temporary table `given`."""
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest("given", frame.to_arrow(), mode="create", temporary=True)
        try:
            yield
        finally:
            self._do("DROP TABLE given")

    def _join(self, frame: pl.DataFrame, sql: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of a query over `given`, the frame."""
        if frame.is_empty():
            return pl.DataFrame(schema=schema)
        with _told(), self._given(frame):
            return self._get(sql, schema)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One writer at a time; nothing stays when the block raises."""
        with _told():
            for statement in self._dialect.begin:
                self._do(statement)
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            try:
                self._do("ROLLBACK")
            except adbc.Error:
                pass  # the connection is gone, and the transaction with it
            raise

    def prepare(self) -> None:
        """Make the tables of a new registry; refuse one of another version."""
        if not self._exists("version"):
            with self._transaction():
                if not self._exists("version"):
                    self._create()
        version = self._get("SELECT max(version) FROM version", {"version": INT}).item()
        if version != VERSION:
            raise CardsError(f"The registry has version {version} and this program knows {VERSION}. Update the program.")

    def _exists(self, table: str) -> bool:
        return bool(self._get(f"SELECT count(*) FROM {self._dialect.tables} = '{table}'", {"n": INT}).item())

    def _create(self) -> None:
        types = {TEXT: "TEXT", INT: "BIGINT", pl.UInt8: "SMALLINT"}
        for table, schema in _TABLES.items():
            key = _KEYS.get(table, "")
            columns = [
                f"{name} {self._dialect.number_key if name == key else types[kind]} NOT NULL"  # type: ignore[index]
                for name, kind in schema.items()
            ]
            self._do(f"CREATE TABLE {table} ({', '.join(columns)}{f', PRIMARY KEY ({key})' if key else ''})")
        for index in _INDEXES:
            self._do(index)
        self._do("CREATE TABLE version (version BIGINT NOT NULL)")
        self._do(f"INSERT INTO version VALUES ({VERSION})")

    # -- catalogue and existing codes ----------------------------------------------------------------------------------

    def load_catalogue(self, accounts: pl.DataFrame, access_numbers: pl.DataFrame) -> None:
        """Replace the catalogue."""
        with _told(), self._transaction():
            self._do("DELETE FROM accounts")
            self._do("DELETE FROM access_numbers")
            self._put("accounts", accounts)
            self._put("access_numbers", access_numbers)

    def catalogue(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accounts and access numbers."""
        with _told():
            return self._get("SELECT * FROM accounts", ACCOUNT), self._get("SELECT * FROM access_numbers", ACCESS)

    def import_codes(self, codes: pl.Series) -> int:
        """Enter codes that exist already as `external`; how many of them were new. Known ones stay as they are."""
        frame = codes.unique().sort().to_frame("code")
        if frame.is_empty():
            return 0
        with _told(), self._transaction(), self._given(frame):
            known = self._get("SELECT count(*) FROM given g JOIN codes c ON c.code = g.code", {"n": INT}).item()
            self._do(
                f"INSERT INTO codes SELECT g.code, 0, 0, {STATES.index('external')} FROM given g "
                "WHERE true ORDER BY g.code ON CONFLICT DO NOTHING"
            )
        return len(frame) - int(known)

    # -- what is known -------------------------------------------------------------------------------------------------

    def taken(self, codes: pl.Series) -> pl.Series:
        """Those of the codes (integers) that were ever issued or entered."""
        given = codes.unique().sort().to_frame("code")
        return self._join(given, "SELECT c.code FROM given g JOIN codes c ON c.code = g.code", {"code": INT})["code"]

    def taken_under(self, btns: pl.Series) -> pl.DataFrame:
        """`btn` and every code burnt under it. `btns` are integers of ten digits."""
        given = (
            btns.unique().sort().to_frame("btn").with_columns(low=pl.col("btn") * 10_000, high=pl.col("btn") * 10_000 + 9_999)
        )
        sql = "SELECT g.btn, c.code, c.state FROM given g JOIN codes c ON c.code BETWEEN g.low AND g.high"
        return self._join(given, sql, {"btn": INT, "code": INT, "state": pl.UInt8})

    def cards(self, codes: pl.Series) -> pl.DataFrame:
        """Those of the codes that were issued here: `code`, `account`, `state`, and `awaited`, whether an order that
        takes the card waits for the network."""
        sql = (
            "SELECT c.code, o.account, c.state, (SELECT count(*) FROM touches t WHERE t.code = c.code AND t.done = 0) "
            "FROM given g JOIN codes c ON c.code = g.code JOIN orders o ON o.order_no = c.order_no"
        )
        found = self._join(
            codes.unique().sort().to_frame("code"), sql, {"code": INT, "account": TEXT, "state": pl.UInt8, "awaited": INT}
        )
        return found.with_columns(pl.col("awaited") > 0)

    def cards_under(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The cards of orders given by `account` and `order_id` that are not burnt yet: those and `code`."""
        gone = ", ".join(str(STATES.index(state)) for state in ("refused", "disconnected"))
        sql = (
            "SELECT g.account, g.order_id, c.code FROM given g JOIN orders o ON o.order_id = g.order_id "
            f"AND o.account = g.account JOIN codes c ON c.order_no = o.order_no AND c.state NOT IN ({gone}) ORDER BY c.code"
        )
        return self._join(ids.drop_nulls().unique(), sql, {"account": TEXT, "order_id": TEXT, "code": INT})

    def orders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Placed orders with one of the given `account` and `order_ref`."""
        sql = (
            "SELECT o.order_no, o.order_id, o.account, o.order_ref, o.content FROM given g "
            "JOIN orders o ON o.account = g.account AND o.order_ref = g.order_ref"
        )
        schema = {"order_no": INT, "order_id": TEXT, "account": TEXT, "order_ref": TEXT, "content": TEXT}
        return self._join(keys.select("account", "order_ref").unique(), sql, schema)

    def seen(self, files: pl.DataFrame) -> pl.DataFrame:
        """Events that answered one of the given (`sender`, `digest`) before, the latest of each pair."""
        columns = ", ".join(f"e.{name}" for name in EVENT)
        sql = (
            f"SELECT {columns} FROM given g JOIN events e ON e.sender = g.sender AND e.digest = g.digest "
            "WHERE e.readable = 1 ORDER BY e.event"
        )
        found = self._join(files.select("sender", "digest").unique(), sql, dict(EVENT))
        return found.unique(["sender", "digest"], keep="last", maintain_order=True)

    # -- a file of orders ----------------------------------------------------------------------------------------------

    def commit_file(self, file: "Placed") -> int:
        """Enter a file with all that came of it, in one transaction; the event's number.

        Raises ConflictError, and enters nothing, when a code, an order ID or the file itself was entered meanwhile.
        """
        try:
            with self._transaction():
                return self._enter(file)
        except (ConflictError, CardsError):
            raise
        except adbc.Error as error:
            if self._clashes(file):
                raise ConflictError from None
            with _told():
                raise error

    def _enter(self, file: "Placed") -> int:
        event = self._next("events", "event")
        fields = {"event": event, "answers": file.answers or event, "answered": 0, "folder": self._folder(file.event)}
        self._put("events", pl.DataFrame([{**file.event, **fields}], EVENT))
        first = self._next("orders", "order_no")
        numbers = self._join(
            file.orders.select("account").unique(),
            "SELECT g.account, max(o.number) FROM given g JOIN orders o ON o.account = g.account GROUP BY g.account",
            {"account": TEXT, "last": INT},
        )
        orders = file.orders.sort("order").with_row_index("position")
        number = pl.col("last").fill_null(0) + pl.col("order").cum_count().over("account")
        orders = orders.join(numbers, on="account", how="left", maintain_order="left").with_columns(
            event=event,
            order_no=pl.col("position").cast(INT) + first,
            number=number,
            awaiting=1,
            since=pl.lit(file.event["at"]),
        )
        orders = orders.with_columns(order_id=pl.format("{}-{}", "account", "number"))
        of = orders.select("order", "order_no")
        self._put("orders", orders)
        self._put("codes", file.codes.join(of, on="order").with_columns(event=event, state=STATES.index("placed")))
        self._put("touches", file.touches.join(of, on="order").with_columns(done=0))
        self._put("repeats", file.repeats.with_columns(event=event))
        self._put("rejected", file.rejected.with_columns(event=event))
        self._put("findings", file.findings.with_columns(event=event))
        return event

    def _folder(self, event: dict[str, Any]) -> str:
        """The name of a submission's folder: local time and the file's stem, and a number where that is not enough."""
        time = datetime.fromisoformat(event["at"]).strftime("%Y%m%d-%H%M%S")
        name = f"{time}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(event['file']).stem)[:80].strip('._') or 'file'}"
        like = "SELECT folder FROM events WHERE sender = $1 AND (folder = $2 OR folder LIKE $3)"
        same = self._get(like, {"folder": TEXT}, event["sender"], name, f"{name}~%")["folder"]
        return f"{name}~{len(same) + 1}" if len(same) else name

    def _next(self, table: str, key: str) -> int:
        return int(self._get(f"SELECT coalesce(max({key}), 0) + 1 FROM {table}", {"n": INT}).item())

    def _clashes(self, file: "Placed") -> bool:
        """Whether what a file wants to enter is there by now."""
        files = pl.DataFrame({"sender": [file.event["sender"]], "digest": [file.event["digest"]]})
        return bool(
            (not file.answers and len(self.seen(files)))
            or len(self.orders_of(file.orders))
            or len(self.taken(file.codes["code"]))
            or len(self.awaited(file.touches["code"]))
        )

    def awaited(self, codes: pl.Series) -> pl.Series:
        """Those of the codes that an order takes which the network has not confirmed."""
        sql = "SELECT t.code FROM given g JOIN touches t ON t.code = g.code AND t.done = 0"
        return self._join(codes.unique().sort().to_frame("code"), sql, {"code": INT})["code"]

    def answered(self, events: list[int]) -> None:
        """Note that the folders of the events are complete."""
        if events:
            with _told(), self._transaction(), self._given(pl.DataFrame({"event": events}, {"event": INT})):
                self._do("UPDATE events SET answered = 1 WHERE event IN (SELECT event FROM given)")

    def unanswered(self) -> list[int]:
        """Events whose folder may not be complete."""
        with _told():
            return self._get("SELECT event FROM events WHERE answered = 0 ORDER BY event", {"event": INT})["event"].to_list()

    # -- what the reports are written from -----------------------------------------------------------------------------

    def answers(self, events: list[int]) -> "Answers":
        """All that the reports of these events' files say."""
        given = pl.DataFrame({"asked": events}, {"asked": INT})
        order = {name: kind for name, kind in ORDER.items() if name not in ("event", "content", "awaiting", "since")}

        def told(columns: dict[str, Any], joins: str, by: str, of: str = "t") -> pl.DataFrame:
            wanted = ", ".join(f"{of}.{name}" if "." not in name else name for name in columns)
            sql = f"SELECT e.event, {wanted} FROM given g JOIN events e ON e.event = g.asked {joins} ORDER BY {by}"
            names = {name.rpartition(".")[2]: kind for name, kind in columns.items()}
            return self._join(given, sql, {"event": INT, **names})

        def plain(table: str) -> dict[str, Any]:
            return {name: kind for name, kind in _TABLES[table].items() if name != "event"}

        orders = "JOIN orders o ON o.event = e.answers"
        card = {"order_no": INT, "code": INT}
        return Answers(
            told(plain("events"), "", "e.event", "e"),
            told(order, orders, "o.order_no", "o"),
            told(card, f"{orders} JOIN codes t ON t.order_no = o.order_no AND t.event = o.event", "t.order_no, t.code"),
            told(card, f"{orders} JOIN touches t ON t.order_no = o.order_no", "t.order_no, t.code"),
            told(
                {**{name: kind for name, kind in order.items() if name != "rows"}, "r.rows": INT, "p.at": TEXT},
                "JOIN repeats r ON r.event = e.answers JOIN orders o ON o.order_no = r.order_no "
                "JOIN events p ON p.event = o.event",
                "o.order_no",
                "o",
            ),
            told(plain("rejected"), "JOIN rejected t ON t.event = e.answers", "t.row"),
            told(plain("findings"), "JOIN findings t ON t.event = e.answers", "t.row"),
        )


class Placed(NamedTuple):
    """What comes of one file and is entered in one transaction.

    `event`: the event's fields; `answers`: the event whose answer the file gets again, else 0. `orders`: `order` and
    the fields of ORDER; `codes` and `touches`: `order`, `code`; `repeats`: `order_no`, `rows`; `rejected`: `row` and
    the columns of an order file; `findings`: `row` (0: the whole file), `column_name`, `reason`, `value`.
    """

    event: dict[str, Any]
    answers: int
    orders: pl.DataFrame
    codes: pl.DataFrame
    touches: pl.DataFrame
    repeats: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame


class Answers(NamedTuple):
    """What the reports of some files say; `event` in each frame tells whose they are."""

    events: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    touches: pl.DataFrame
    repeats: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
