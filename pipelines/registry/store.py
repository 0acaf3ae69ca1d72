"""The registry: every code that was ever issued, every order, every answer.

The code is the primary key of `codes`, which is the last word on uniqueness. Writers take turns, so that ids are
`max + 1` without gaps or races.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.errors import CardsError, ConflictError
from pipelines.registry.database import POSTGRESQL, SQLITE, Database, told
from pipelines.registry.tables import ACCESS, ACCOUNT, EVENT, INT, ORDER, TABLES, TEXT
from schemas.codes import STATES


def open_registry(url: str) -> "Registry":
    """Open a registry, making its tables where there are none. Raises TransientError when it is out of reach."""
    dialect = SQLITE if url.startswith("sqlite") else POSTGRESQL
    with told("The registry can't be opened."):
        registry = Registry(url, dialect)
        try:
            registry.prepare()
        except BaseException:
            registry.close()
            raise
    return registry


class Registry(Database):
    """What is known of catalogue, files, orders and codes."""

    # -- catalogue and existing codes ----------------------------------------------------------------------------------

    def load_catalogue(self, accounts: pl.DataFrame, access_numbers: pl.DataFrame) -> None:
        """Replace the catalogue."""
        with told(), self.transaction():
            self.do("DELETE FROM accounts")
            self.do("DELETE FROM access_numbers")
            self.put("accounts", accounts)
            self.put("access_numbers", access_numbers)

    def catalogue(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accounts and access numbers."""
        return self.get("SELECT * FROM accounts", ACCOUNT), self.get("SELECT * FROM access_numbers", ACCESS)

    def import_codes(self, codes: pl.Series) -> int:
        """Enter codes that exist already as `external`; how many of them were new. Known ones stay as they are."""
        frame = codes.unique().sort().to_frame("code")
        if frame.is_empty():
            return 0
        with self.transaction(), self.given(frame):
            known = self.get("SELECT count(*) FROM given g JOIN codes c ON c.code = g.code", {"n": INT}).item()
            self.do(
                f"INSERT INTO codes SELECT g.code, 0, 0, {STATES.index('external')} FROM given g "
                "WHERE true ORDER BY g.code ON CONFLICT DO NOTHING"
            )
        return len(frame) - int(known)

    # -- what is known -------------------------------------------------------------------------------------------------

    def taken(self, codes: pl.Series) -> pl.Series:
        """Those of the codes (integers) that were ever issued or entered."""
        given = codes.unique().sort().to_frame("code")
        return self.join(given, "SELECT c.code FROM given g JOIN codes c ON c.code = g.code", {"code": INT})["code"]

    def taken_under(self, btns: pl.Series) -> pl.DataFrame:
        """`btn` and every code burnt under it. `btns` are integers of ten digits."""
        given = (
            btns.unique().sort().to_frame("btn").with_columns(low=pl.col("btn") * 10_000, high=pl.col("btn") * 10_000 + 9_999)
        )
        sql = "SELECT g.btn, c.code, c.state FROM given g JOIN codes c ON c.code BETWEEN g.low AND g.high"
        return self.join(given, sql, {"btn": INT, "code": INT, "state": pl.UInt8})

    def cards(self, codes: pl.Series) -> pl.DataFrame:
        """Those of the codes that were issued here: `code`, `account`, `state`, and `awaited`, whether an order that
        takes the card waits for the network.
        """
        sql = (
            "SELECT c.code, o.account, c.state, (SELECT count(*) FROM touches t WHERE t.code = c.code AND t.done = 0) "
            "FROM given g JOIN codes c ON c.code = g.code JOIN orders o ON o.order_no = c.order_no"
        )
        found = self.join(
            codes.unique().sort().to_frame("code"), sql, {"code": INT, "account": TEXT, "state": pl.UInt8, "awaited": INT}
        )
        return found.with_columns(pl.col("awaited") > 0)

    def cards_under(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The cards of orders given by `account` and `order_id` that are not burnt yet, or where none is left the
        disconnected ones: those and `code`.
        """
        refused, gone = STATES.index("refused"), STATES.index("disconnected")
        sql = (
            "SELECT g.account, g.order_id, c.code FROM given g JOIN orders o ON o.order_id = g.order_id "
            "AND o.account = g.account JOIN codes c ON c.order_no = o.order_no "
            f"WHERE c.state <> {refused} AND (c.state <> {gone} OR NOT EXISTS "
            f"(SELECT 1 FROM codes l WHERE l.order_no = o.order_no AND l.state NOT IN ({refused}, {gone}))) ORDER BY c.code"
        )
        return self.join(ids.drop_nulls().unique(), sql, {"account": TEXT, "order_id": TEXT, "code": INT})

    def orders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Placed orders with one of the given `account` and `order_ref`."""
        sql = (
            "SELECT o.order_no, o.order_id, o.account, o.order_ref, o.content FROM given g "
            "JOIN orders o ON o.account = g.account AND o.order_ref = g.order_ref"
        )
        schema = {"order_no": INT, "order_id": TEXT, "account": TEXT, "order_ref": TEXT, "content": TEXT}
        return self.join(keys.select("account", "order_ref").unique(), sql, schema)

    def wishes(self, order_nos: pl.Series) -> pl.DataFrame:
        """What the placed rows of these orders asked for: `order_no`, `wish`."""
        sql = "SELECT w.order_no, w.wish FROM given g JOIN wishes w ON w.order_no = g.order_no"
        return self.join(order_nos.unique().to_frame("order_no"), sql, {"order_no": INT, "wish": TEXT})

    def guesses(self, senders: pl.Series) -> pl.DataFrame:
        """How many taken codes each sender asked for on the worst day since the operator last released it: `sender`,
        `codes`.
        """
        sql = (
            "SELECT s.sender, max(s.codes) FROM (SELECT x.sender, x.day, CAST(sum(x.codes) AS BIGINT) AS codes "
            "FROM given g JOIN guesses x ON x.sender = g.sender WHERE x.event > coalesce((SELECT max(y.event) "
            "FROM guesses y WHERE y.sender = x.sender AND y.codes < 0), 0) GROUP BY x.sender, x.day) s GROUP BY s.sender"
        )
        return self.join(senders.unique().to_frame("sender"), sql, {"sender": TEXT, "codes": INT})

    def release_hold(self, sender: str, at: str) -> bool:
        """Let a sender whose files are held go on; whether any taken codes were counted."""
        with told(), self.transaction():
            counted = self.guesses(pl.Series("sender", [sender]))
            event = {"kind": "release", "sender": sender, "digest": "", "file": "", "at": at, "rows": 0, "notes": "",
                     "readable": 0}  # fmt: skip
            number = self.enter_event(event)
            self.do(f"UPDATE events SET answered = 1 WHERE event = {number}")
            self.put("guesses", pl.DataFrame({"event": number, "sender": sender, "day": _day(event), "codes": -1}))
        return bool(len(counted))

    def seen(self, files: pl.DataFrame) -> pl.DataFrame:
        """Events that answered one of the given (`sender`, `digest`) before, the latest of each pair."""
        columns = ", ".join(f"e.{name}" for name in EVENT)
        sql = (
            f"SELECT {columns} FROM given g JOIN events e ON e.sender = g.sender AND e.digest = g.digest "
            "WHERE e.readable = 1 ORDER BY e.event"
        )
        found = self.join(files.select("sender", "digest").unique(), sql, dict(EVENT))
        return found.unique(["sender", "digest"], keep="last", maintain_order=True)

    # -- a file of orders ----------------------------------------------------------------------------------------------

    def commit_file(self, file: "Placed", there: Callable[[], bool] = lambda: True) -> int:
        """Enter a file with all that came of it, in one transaction; the event's number.

        Raises ConflictError, and enters nothing, when a code, an order ID or the file itself was entered meanwhile.
        `there`: whether the file still lies in the inbox. Who answers a file moves it away before he says so: one that
        is there while nobody is about to answer it is nobody's.
        """
        try:
            with self.transaction():
                if self.in_work(file.event["sender"], file.event["digest"]) or not there():
                    raise ConflictError
                return self._enter(file)
        except (ConflictError, CardsError):
            raise
        except adbc.Error:
            if self._clashes(file):
                raise ConflictError from None
            with told():
                raise

    def in_work(self, sender: str, digest: str) -> bool:
        """Whether these bytes of a sender were entered and their folder may not be complete."""
        sql = "SELECT count(*) FROM events WHERE answered = 0 AND sender = $1 AND digest = $2"
        return bool(self.get(sql, {"n": INT}, sender, digest).item())

    def _enter(self, file: "Placed") -> int:
        event = self.enter_event(file.event, file.answers)
        first = self.next("orders", "order_no")
        numbers = self.join(
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
        self.put("orders", orders)
        self.put("codes", file.codes.join(of, on="order").with_columns(event=event, state=STATES.index("placed")))
        self.put("touches", file.touches.join(of, on="order").with_columns(done=0, settled=0))
        self.put("wishes", file.wishes.join(of, on="order"))
        self.put(
            "guesses", file.guesses.with_columns(event=event, sender=pl.lit(file.event["sender"]), day=pl.lit(_day(file.event)))
        )
        self.put("repeats", file.repeats.with_columns(event=event))
        self.put("rejected", file.rejected.with_columns(event=event))
        self.put("findings", file.findings.with_columns(event=event))
        return event

    def enter_rejected(self, event: dict[str, Any], rejected: pl.DataFrame, findings: pl.DataFrame) -> int:
        """Enter a file of which nothing is used, with what is wrong with it. Inside a transaction."""
        number = self.enter_event(event)
        self.put("rejected", rejected.with_columns(event=number))
        self.put("findings", findings.with_columns(event=number))
        return number

    def enter_event(self, event: dict[str, Any], answers: int = 0) -> int:
        """Enter an event; its number. Inside a transaction. `answers`: the event whose answer it gets again, else 0."""
        number = self.next("events", "event")
        fields = {"event": number, "answers": answers or number, "answered": 0, "folder": self._folder(event)}
        self.put("events", pl.DataFrame([{"night": 0, **event, **fields}], EVENT))
        return number

    def _folder(self, event: dict[str, Any]) -> str:
        """The name of a submission's folder: local time and the file's stem, and a number where that is not enough."""
        time = datetime.fromisoformat(event["at"]).strftime("%Y%m%d-%H%M%S")
        name = f"{time}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(event['file']).stem)[:80].strip('._') or 'file'}"
        like = "SELECT folder FROM events WHERE sender = $1 AND (folder = $2 OR folder LIKE $3)"
        same = self.get(like, {"folder": TEXT}, event["sender"], name, f"{name}~%")["folder"]
        return f"{name}~{len(same) + 1}" if len(same) else name

    def next(self, table: str, key: str) -> int:
        """The next number of a table's key; only inside a transaction, where writers take turns."""
        return int(self.get(f"SELECT coalesce(max({key}), 0) + 1 FROM {table}", {"n": INT}).item())

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
        return self.join(codes.unique().sort().to_frame("code"), sql, {"code": INT})["code"]

    def answered(self, events: list[int]) -> None:
        """Note that the folders of the events are complete."""
        if events:
            with self.transaction(), self.given(pl.DataFrame({"event": events}, {"event": INT})):
                self.do("UPDATE events SET answered = 1 WHERE event IN (SELECT event FROM given)")

    def unanswered(self) -> list[int]:
        """Events whose folder may not be complete."""
        return self.get("SELECT event FROM events WHERE answered = 0 ORDER BY event", {"event": INT})["event"].to_list()

    # -- what the reports are written from -----------------------------------------------------------------------------

    def answers(self, events: list[int]) -> "Answers":
        """All that the reports of these events' files say."""
        given = pl.DataFrame({"asked": events}, {"asked": INT})
        order = {name: kind for name, kind in ORDER.items() if name not in ("event", "content", "awaiting", "since")}

        def of_events(columns: dict[str, Any], joins: str, by: str, of: str = "t") -> pl.DataFrame:
            wanted = ", ".join(f"{of}.{name}" if "." not in name else name for name in columns)
            sql = f"SELECT e.event, {wanted} FROM given g JOIN events e ON e.event = g.asked {joins} ORDER BY {by}"
            names = {name.rpartition(".")[2]: kind for name, kind in columns.items()}
            return self.join(given, sql, {"event": INT, **names})

        def plain(table: str) -> dict[str, Any]:
            return {name: kind for name, kind in TABLES[table].items() if name != "event"}

        # of a repeated file the event itself knows nothing: it was not read again
        event = {f"f.{name}" if name in ("rows", "notes") else name: kind for name, kind in plain("events").items()}
        orders = "JOIN orders o ON o.event = e.answers"
        card = {"order_no": INT, "code": INT}
        return Answers(
            of_events(event, "JOIN events f ON f.event = e.answers", "e.event", "e"),
            of_events({**order, "p.at": TEXT}, f"{orders} JOIN events p ON p.event = o.event", "o.order_no", "o"),
            of_events(card, f"{orders} JOIN codes t ON t.order_no = o.order_no AND t.event = o.event", "t.order_no, t.code"),
            of_events(card, f"{orders} JOIN touches t ON t.order_no = o.order_no", "t.order_no, t.code"),
            of_events(
                {**{name: kind for name, kind in order.items() if name != "rows"}, "r.rows": INT, "p.at": TEXT},
                "JOIN repeats r ON r.event = e.answers JOIN orders o ON o.order_no = r.order_no "
                "JOIN events p ON p.event = o.event",
                "o.order_no",
                "o",
            ),
            of_events(plain("rejected"), "JOIN rejected t ON t.event = e.answers", "t.row"),
            of_events(plain("findings"), "JOIN findings t ON t.event = e.answers", "t.row"),
        )


def _day(event: dict[str, Any]) -> str:
    return str(event["at"])[:10]


class Placed(NamedTuple):
    """What comes of one file and is entered in one transaction.

    `event`: the event's fields; `answers`: the event whose answer the file gets again, else 0. `orders`: `order` and
    the fields of ORDER; `codes` and `touches`: `order`, `code`; `wishes`: `order`, `wish`; `repeats`: `order_no`,
    `rows`; `guesses`: `codes`, the number of taken ones that were asked for; `rejected`: `row` and the
    columns of an order file; `findings`: `row` (0: the whole file), `column_name`, `reason`, `value`.
    """

    event: dict[str, Any]
    answers: int
    orders: pl.DataFrame
    codes: pl.DataFrame
    touches: pl.DataFrame
    wishes: pl.DataFrame
    repeats: pl.DataFrame
    guesses: pl.DataFrame
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
