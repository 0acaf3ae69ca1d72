"""The registry: every code that was ever issued, every order, every answer.

The code is the primary key of `codes`, which is the last word on uniqueness. Writers take turns, so that ids are
`max + 1` without gaps or races.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.common.errors import CardsError, ConflictError
from pipelines.registry.database import POSTGRESQL, SQLITE, Database, translate_db_errors
from pipelines.registry.records import IngestBatch, SubmissionRecords
from pipelines.registry.schema import ACCESS, ACCOUNT, EVENT, INT, ORDER, TABLES, TEXT
from schemas.codes import STATES


def open_registry(url: str) -> "Registry":
    """Open a registry, making its tables where there are none. Raises TransientError when it is out of reach."""
    dialect = SQLITE if url.startswith("sqlite") else POSTGRESQL
    with translate_db_errors("The registry can't be opened."):
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
        with translate_db_errors(), self.transaction():
            self.execute("DELETE FROM accounts")
            self.execute("DELETE FROM access_numbers")
            self.append("accounts", accounts)
            self.append("access_numbers", access_numbers)

    def catalogue(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accounts and access numbers."""
        return self.query("SELECT * FROM accounts", ACCOUNT), self.query("SELECT * FROM access_numbers", ACCESS)

    def import_codes(self, codes: pl.Series) -> int:
        """Enter codes that exist already as `external`; how many of them were new. Known ones stay as they are."""
        frame = codes.unique().sort().to_frame("code")
        if frame.is_empty():
            return 0
        with self.transaction(), self.temp_table(frame):
            known = self.query("SELECT count(*) FROM given g JOIN codes c ON c.code = g.code", {"n": INT}).item()
            self.execute(
                f"INSERT INTO codes SELECT g.code, 0, 0, {STATES.index('external')} FROM given g "
                "WHERE true ORDER BY g.code ON CONFLICT DO NOTHING"
            )
        return len(frame) - int(known)

    # -- what is known -------------------------------------------------------------------------------------------------

    def existing_codes(self, codes: pl.Series) -> pl.Series:
        """Those of the codes (integers) that were ever issued or entered."""
        given = codes.sort().to_frame("code")
        return self.query_with(given, "SELECT c.code FROM given g JOIN codes c ON c.code = g.code", {"code": INT})["code"]

    def codes_under(self, btns: pl.Series) -> pl.DataFrame:
        """`btn` and every code burnt under it. `btns` are integers of ten digits."""
        given = (
            btns.unique().sort().to_frame("btn").with_columns(low=pl.col("btn") * 10_000, high=pl.col("btn") * 10_000 + 9_999)
        )
        sql = "SELECT g.btn, c.code, c.state FROM given g JOIN codes c ON c.code BETWEEN g.low AND g.high"
        return self.query_with(given, sql, {"btn": INT, "code": INT, "state": pl.UInt8})

    def cards(self, codes: pl.Series) -> pl.DataFrame:
        """Those of the codes that were issued here: `code`, `account`, `state`, and `awaited`, whether an order that
        takes the card waits for the network.
        """
        sql = (
            "SELECT c.code, o.account, c.state, (SELECT count(*) FROM touches t WHERE t.code = c.code AND t.done = 0) "
            "FROM given g JOIN codes c ON c.code = g.code JOIN orders o ON o.order_no = c.order_no"
        )
        found = self.query_with(
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
            "AND o.account = g.account JOIN codes c ON c.order_no = o.order_no AND c.order_no > 0 "
            f"WHERE c.state <> {refused} AND (c.state <> {gone} OR NOT EXISTS "
            "(SELECT 1 FROM codes l WHERE l.order_no = o.order_no AND l.order_no > 0 "
            f"AND l.state NOT IN ({refused}, {gone})))"
        )
        # asked to sort them, SQLite would rather read all codes
        return self.query_with(ids.drop_nulls().unique(), sql, {"account": TEXT, "order_id": TEXT, "code": INT}).sort("code")

    def orders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Placed orders with one of the given `account` and `order_ref`."""
        sql = (
            "SELECT o.order_no, o.order_id, o.account, o.order_ref, o.content FROM given g "
            "JOIN orders o ON o.account = g.account AND o.order_ref = g.order_ref"
        )
        schema = {"order_no": INT, "order_id": TEXT, "account": TEXT, "order_ref": TEXT, "content": TEXT}
        return self.query_with(keys.select("account", "order_ref").unique(), sql, schema)

    def row_keys(self, order_nos: pl.Series) -> pl.DataFrame:
        """What the placed rows of these orders asked for: `order_no`, `wish`."""
        sql = "SELECT w.order_no, w.wish FROM given g JOIN wishes w ON w.order_no = g.order_no"
        return self.query_with(order_nos.unique().to_frame("order_no"), sql, {"order_no": INT, "wish": TEXT})

    def taken_code_attempts(self, senders: pl.Series) -> pl.DataFrame:
        """How many taken codes each sender asked for on the worst day since the operator last released it: `sender`,
        `codes`.
        """
        sql = (
            "SELECT s.sender, max(s.codes) FROM (SELECT x.sender, x.day, CAST(sum(x.codes) AS BIGINT) AS codes "
            "FROM given g JOIN guesses x ON x.sender = g.sender WHERE x.event > coalesce((SELECT max(y.event) "
            "FROM guesses y WHERE y.sender = x.sender AND y.codes < 0), 0) GROUP BY x.sender, x.day) s GROUP BY s.sender"
        )
        return self.query_with(senders.unique().to_frame("sender"), sql, {"sender": TEXT, "codes": INT})

    def clear_hold(self, sender: str, at: str) -> bool:
        """Let a sender whose files are held go on; whether any taken codes were counted."""
        with translate_db_errors(), self.transaction():
            counted = self.taken_code_attempts(pl.Series("sender", [sender]))
            event = {"kind": "release", "sender": sender, "digest": "", "file": "", "at": at, "rows": 0, "notes": "",
                     "readable": 0}  # fmt: skip
            number = self.enter_event(event)
            self.execute(f"UPDATE events SET answered = 1 WHERE event = {number}")
            self.append("guesses", pl.DataFrame({"event": number, "sender": sender, "day": at[:10], "codes": -1}))
        return bool(len(counted))

    def original_events(self, files: pl.DataFrame) -> pl.DataFrame:
        """Events that answered one of the given (`sender`, `digest`) before, the latest of each pair."""
        columns = ", ".join(f"e.{name}" for name in EVENT)
        sql = (
            f"SELECT {columns} FROM given g JOIN events e ON e.sender = g.sender AND e.digest = g.digest "
            "WHERE e.readable = 1 ORDER BY e.event"
        )
        found = self.query_with(files.select("sender", "digest").unique(), sql, dict(EVENT))
        return found.unique(["sender", "digest"], keep="last", maintain_order=True)

    # -- files of orders -----------------------------------------------------------------------------------------------

    def commit(self, placed: "IngestBatch", there: Callable[[int], bool] = lambda _: True) -> dict[int, int]:
        """Enter files with all that came of them, in one transaction; of each the event's number.

        `there`: whether a file still lies in the inbox. Who answers a file moves it away before he says so: one that is
        there while nobody is about to answer it is nobody's. The others are left out. Raises ConflictError, and enters
        nothing, when codes, order IDs or files themselves were entered meanwhile.
        """
        try:
            with self.transaction():
                busy = self._in_work(placed.events)
                return self._enter(placed.of({file for file in placed.events["file"] if file not in busy and there(file)}))
        except CardsError:
            raise
        except adbc.Error:
            if files := self._clashing(placed):
                raise ConflictError(files) from None
            with translate_db_errors():
                raise

    def _in_work(self, files: pl.DataFrame) -> set[int]:
        """The files whose bytes were entered for their sender, by an event whose folder may not be complete."""
        sql = "SELECT g.file FROM given g JOIN events e ON e.sender = g.sender AND e.digest = g.digest WHERE e.answered = 0"
        return set(self.query_with(files.select(pl.col("file").cast(INT), "sender", "digest"), sql, {"file": INT})["file"])

    def _enter(self, placed: "IngestBatch") -> dict[int, int]:
        entered = self._enter_events(placed.events.rename({"file": "number", "name": "file"}))
        events = entered.select("event", "sender", "at", file="number")
        first = self.next("orders", "order_no")
        numbers = self.query_with(
            placed.orders.select("account").unique(),
            "SELECT g.account, max(o.number) FROM given g JOIN orders o ON o.account = g.account GROUP BY g.account",
            {"account": TEXT, "last": INT},
        )
        orders = placed.orders.sort("order").join(events, on="file", maintain_order="left")
        number = pl.col("last").fill_null(0) + pl.col("order").cum_count().over("account")
        orders = orders.join(numbers, on="account", how="left", maintain_order="left").with_columns(
            order_no=pl.int_range(pl.len(), dtype=INT) + first, number=number, awaiting=1, since="at"
        )
        orders = orders.with_columns(order_id=pl.format("{}-{}", "account", "number"))
        of = orders.select("order", "order_no", "event")
        self.append("orders", orders)
        self.append("codes", placed.codes.join(of, on="order").with_columns(state=STATES.index("placed")))
        self.append("touches", placed.card_actions.join(of, on="order").with_columns(done=0, settled=0))
        self.append("wishes", placed.row_keys.join(of, on="order"))
        self.append("guesses", placed.taken_code_attempts.join(events, on="file").with_columns(day=_DAY))
        self.append("repeats", placed.duplicate_orders.join(events, on="file"))
        self.append("rejected", placed.rejected.join(events, on="file"))
        self.append("findings", placed.findings.join(events, on="file", maintain_order="left"))
        return dict(events.select("file", "event").iter_rows())

    def _clashing(self, placed: "IngestBatch") -> set[int]:
        """The files that want to enter what is there by now."""

        def of(frame: pl.DataFrame) -> pl.DataFrame:
            return placed.orders.join(frame, on="order", how="semi")

        new = placed.events.filter(pl.col("answers") == 0)
        files = [
            new.join(self.original_events(new), on=["sender", "digest"], how="semi"),
            placed.orders.join(self.orders_of(placed.orders), on=["account", "order_ref"], how="semi"),
            of(placed.codes.filter(pl.col("code").is_in(self.existing_codes(placed.codes["code"]).implode()))),
            of(placed.card_actions.filter(pl.col("code").is_in(self.pending_cards(placed.card_actions["code"]).implode()))),
        ]
        return {file for frame in files for file in frame["file"]}

    def enter_rejected(self, event: dict[str, Any], rejected: pl.DataFrame, findings: pl.DataFrame) -> int:
        """Enter a file of which nothing is used, with what is wrong with it. Inside a transaction."""
        number = self.enter_event(event)
        self.append("rejected", rejected.with_columns(event=number))
        self.append("findings", findings.with_columns(event=number))
        return number

    def enter_event(self, event: dict[str, Any], answers: int = 0) -> int:
        """Enter an event; its number. Inside a transaction. `answers`: the event whose answer it gets again, else 0."""
        return int(self._enter_events(pl.DataFrame([{**event, "answers": answers}]))["event"].item())

    def _enter_events(self, events: pl.DataFrame) -> pl.DataFrame:
        """Enter events, and give them back with their numbers."""
        first = self.next("events", "event")
        nights = {} if "night" in events.columns else {"night": 0}
        events = events.with_columns(
            event=pl.int_range(pl.len(), dtype=INT) + first, folder=self._folders(events), answered=0, **nights
        ).with_columns(answers=pl.when(pl.col("answers") > 0).then("answers").otherwise("event"))
        self.append("events", events)
        return events

    def _folders(self, events: pl.DataFrame) -> pl.Series:
        """The names of submissions' folders: local time and the file's stem, and a number where that is not enough."""
        stems = [_stem(at, file) for at, file in events.select("at", "file").iter_rows()]
        named = events.select("sender", stem=pl.Series(stems, dtype=TEXT))
        named = named.with_columns(n=pl.int_range(1, pl.len() + 1).over("sender", "stem"))
        while True:
            named = named.with_columns(folder=pl.when(pl.col("n") > 1).then(pl.format("{}~{}", "stem", "n")).otherwise("stem"))
            sql = (
                "SELECT DISTINCT g.sender, g.stem, 1 FROM given g JOIN events e ON e.folder = g.folder AND e.sender = g.sender"
            )
            used = self.query_with(named, sql, {"sender": TEXT, "stem": TEXT, "more": INT})
            if used.is_empty():
                return named["folder"]
            named = named.join(used, on=["sender", "stem"], how="left", maintain_order="left")
            named = named.with_columns(n=pl.col("n") + pl.col("more").fill_null(0)).drop("more")

    def next(self, table: str, key: str) -> int:
        """The next number of a table's key; only inside a transaction, where writers take turns."""
        return int(self.query(f"SELECT coalesce(max({key}), 0) + 1 FROM {table}", {"n": INT}).item())

    def pending_cards(self, codes: pl.Series) -> pl.Series:
        """Those of the codes that an order takes which the network has not confirmed."""
        sql = "SELECT t.code FROM given g JOIN touches t ON t.code = g.code AND t.done = 0"
        return self.query_with(codes.unique().sort().to_frame("code"), sql, {"code": INT})["code"]

    def mark_delivered(self, events: list[int]) -> None:
        """Note that the folders of the events are complete."""
        if events:
            with self.transaction(), self.temp_table(pl.DataFrame({"event": events}, {"event": INT})):
                self.execute("UPDATE events SET answered = 1 WHERE event IN (SELECT event FROM given)")

    def undelivered(self) -> list[int]:
        """Events whose folder may not be complete."""
        return self.query("SELECT event FROM events WHERE answered = 0 ORDER BY event", {"event": INT})["event"].to_list()

    # -- what the reports are written from -----------------------------------------------------------------------------

    def submission_records(self, events: list[int]) -> "SubmissionRecords":
        """All that the reports of these events' files say."""
        given = pl.DataFrame({"asked": events}, {"asked": INT})
        order = {name: kind for name, kind in ORDER.items() if name not in ("event", "content", "awaiting", "since")}

        def of_events(columns: dict[str, Any], joins: str, by: str, of: str = "t") -> pl.DataFrame:
            wanted = ", ".join(f"{of}.{name}" if "." not in name else name for name in columns)
            sql = f"SELECT e.event, {wanted} FROM given g JOIN events e ON e.event = g.asked {joins} ORDER BY {by}"
            names = {name.rpartition(".")[2]: kind for name, kind in columns.items()}
            return self.query_with(given, sql, {"event": INT, **names})

        def plain(table: str) -> dict[str, Any]:
            return {name: kind for name, kind in TABLES[table].items() if name != "event"}

        # of a repeated file the event itself knows nothing: it was not read again
        event = {f"f.{name}" if name in ("rows", "notes") else name: kind for name, kind in plain("events").items()}
        orders = "JOIN orders o ON o.event = e.answers"
        card = {"order_no": INT, "code": INT}
        return SubmissionRecords(
            of_events(event, "JOIN events f ON f.event = e.answers", "e.event", "e"),
            of_events({**order, "p.at": TEXT}, f"{orders} JOIN events p ON p.event = o.event", "o.order_no", "o"),
            of_events(
                card,
                f"{orders} JOIN codes t ON t.order_no = o.order_no AND t.order_no > 0 AND t.event = o.event",
                "t.order_no, t.code",
            ),
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


_DAY: Final = pl.col("at").str.head(10)


def _stem(at: str, file: str) -> str:
    time = datetime.fromisoformat(at).strftime("%Y%m%d-%H%M%S")
    return f"{time}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(file).stem)[:80].strip('._') or 'file'}"
