"""The registry: every code that was ever issued, every order, every answer.

The code is the primary key of `codes`, which is the last word on uniqueness. Writers take turns, so that ids are
`max + 1` without gaps or races.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import adbc_driver_manager.dbapi as adbc
import polars as pl

from pipelines.common.errors import CardsError, ConflictError
from pipelines.registry import limits
from pipelines.registry.columns import Columns, columns_of, integer, text
from pipelines.registry.database import POSTGRESQL, SQLITE, Database
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.migrations import prepare
from pipelines.registry.records import IngestBatch, SubmissionRecords
from pipelines.registry.schema import INT, ORDER, TEXT
from schemas.actions import ActionOutcome, Awaiting
from schemas.codes import CardState


def open_registry(url: str, *, create: bool = True) -> "Registry":
    """Open a registry. Where there is none its tables are made, or with `create=False` NotSetUpError is raised.

    Raises TransientError when the database is unreachable.
    """
    dialect = SQLITE if url.startswith("sqlite") else POSTGRESQL
    registry = Registry(url, dialect, create=create)
    try:
        prepare(registry, create=create)
    except BaseException:
        registry.close()
        raise
    return registry


class Registry(Database):
    """What is known of catalogue, files, orders and codes."""

    # -- catalogue and existing codes ----------------------------------------------------------------------------------

    def load_catalogue(
        self, accounts: pl.DataFrame, access_numbers: pl.DataFrame, billing_numbers: pl.DataFrame | None = None
    ) -> None:
        """Replace the catalogue. `billing_numbers`: `btn` (integer), `account`."""
        with translate_db_errors(), self.transaction():
            self.execute("DELETE FROM accounts")
            self.execute("DELETE FROM access_numbers")
            self.append("accounts", accounts)
            self.append("access_numbers", access_numbers)
            self.execute("DELETE FROM billing_numbers")
            if billing_numbers is not None:
                self.append("billing_numbers", billing_numbers)

    def catalogue(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accounts and access numbers."""
        accounts = self.select(columns_of("accounts"), "FROM accounts")
        return accounts, self.select(columns_of("access_numbers"), "FROM access_numbers")

    def import_codes(self, codes: pl.Series) -> int:
        """Enter codes that exist already as `external`; how many of them were new. Known ones stay as they are."""
        frame = codes.unique().sort().to_frame("code")
        if frame.is_empty():
            return 0
        with self.transaction(), self.temp_table(frame):
            known = self.select({"known": integer("count(*)")}, "FROM given JOIN codes ON codes.code = given.code").item()
            self.execute(
                f"""
                INSERT INTO codes SELECT given.code, 0, 0, {CardState.EXTERNAL} FROM given WHERE true ORDER BY given.code
                ON CONFLICT DO NOTHING
                """
            )
        return len(frame) - int(known)

    # -- what is known -------------------------------------------------------------------------------------------------

    def existing_codes(self, codes: pl.Series) -> pl.Series:
        """Those of the codes (integers) that were ever issued or entered."""
        given = codes.sort().to_frame("code")
        return self.select_with(given, columns_of("codes", "code"), "FROM given JOIN codes ON codes.code = given.code")["code"]

    def codes_under(self, btns: pl.Series) -> pl.DataFrame:
        """`btn` and every code used under it. `btns` are integers of ten digits."""
        given = (
            btns.unique().sort().to_frame("btn").with_columns(low=pl.col("btn") * 10_000, high=pl.col("btn") * 10_000 + 9_999)
        )
        columns = {"btn": integer("given.btn"), **columns_of("codes", "code", "state")}
        return self.select_with(given, columns, "FROM given JOIN codes ON codes.code BETWEEN given.low AND given.high")

    def cards(self, named: pl.DataFrame) -> pl.DataFrame:
        """Those of the cards (`account`, `code`) that belong to that account: both, `state`, and `awaited`, whether an order
        that takes the card waits for the network.
        """
        columns = {
            **columns_of("orders", "account"),
            **columns_of("codes", "code", "state"),
            "awaited": integer(
                f"(SELECT count(*) FROM touches WHERE touches.code = codes.code AND touches.done = {ActionOutcome.AWAITED})"
            ),
        }
        found = self.select_with(
            named.select("account", "code").unique().sort("code"),
            columns,
            """
            FROM given JOIN codes ON codes.code = given.code
            JOIN orders ON orders.order_no = codes.order_no AND orders.account = given.account
            """,
        )
        return found.with_columns(pl.col("awaited") > 0)

    def cards_under(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The cards of orders given by `account` and `order_id` that are in use, or where none is left the disconnected
        ones: those and `code`.
        """
        found = self.select_with(
            ids.drop_nulls().unique(),
            {"account": text("given.account"), "order_id": text("given.order_id"), "code": integer("codes.code")},
            f"""
            FROM given
            JOIN orders ON orders.order_id = given.order_id AND orders.account = given.account
            JOIN codes ON codes.order_no = orders.order_no AND codes.order_no > 0
            WHERE codes.state <> {CardState.REFUSED} AND (
                codes.state <> {CardState.DISCONNECTED}
                OR NOT EXISTS (
                    SELECT 1 FROM codes AS other WHERE other.order_no = orders.order_no AND other.order_no > 0
                    AND other.state NOT IN ({CardState.REFUSED}, {CardState.DISCONNECTED})
                )
            )
            """,
        )
        return found.sort("code")  # asked to sort them, SQLite would rather read all codes

    def orders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Placed orders with one of the given `account` and `order_ref`."""
        return self.select_with(
            keys.select("account", "order_ref").unique(),
            columns_of("orders", "order_no", "order_id", "account", "order_ref", "content"),
            "FROM given JOIN orders ON orders.account = given.account AND orders.order_ref = given.order_ref",
        )

    def row_keys(self, order_nos: pl.Series) -> pl.DataFrame:
        """What the placed rows of these orders asked for: `order_no`, `wish`."""
        given = order_nos.unique().to_frame("order_no")
        return self.select_with(given, columns_of("wishes"), "FROM given JOIN wishes ON wishes.order_no = given.order_no")

    def taken_code_attempts(self, sources: pl.Series, day: str) -> pl.DataFrame:
        """How many codes that were not free each source asked for on a day, since its last hold was lifted: `source`,
        `codes`.
        """
        return self.select_with(
            sources.unique().to_frame("sender").with_columns(day=pl.lit(day)),
            {"source": text("guesses.sender"), "codes": integer("CAST(sum(guesses.codes) AS BIGINT)")},
            """
            FROM given JOIN guesses ON guesses.sender = given.sender
            WHERE guesses.day = given.day AND guesses.codes > 0 AND guesses.event > coalesce(
                (SELECT max(event) FROM guesses AS released WHERE released.sender = given.sender AND released.codes < 0), 0
            )
            GROUP BY guesses.sender
            """,
        )

    def clear_hold(self, source: str, at: str) -> tuple[bool, int]:
        """Lift the hold on a source, and forget its files that runs died of; whether it was on hold, and how many files they
        were. Its attempts of today are forgotten.
        """
        with translate_db_errors(), self.transaction():
            was_held, struck = limits.clear_hold(self, source), limits.clear_strikes(self, source)
            event = {"kind": "release", "sender": source, "digest": "", "file": "", "at": at, "rows": 0, "notes": "",
                     "readable": 0}  # fmt: skip
            number = self.enter_event(event)
            self.execute(f"UPDATE events SET answered = 1 WHERE event = {number}")
            self.append("guesses", pl.DataFrame({"event": number, "sender": source, "day": at[:10], "codes": -1}))
        return was_held, struck

    def original_events(self, files: pl.DataFrame) -> pl.DataFrame:
        """Events that answered one of the given (`sender`, `digest`) before, the latest of each pair."""
        found = self.select_with(
            files.select("sender", "digest").unique(),
            columns_of("events"),
            """
            FROM given JOIN events ON events.sender = given.sender AND events.digest = given.digest
            WHERE events.readable = 1 ORDER BY events.event
            """,
        )
        return found.unique(["sender", "digest"], keep="last", maintain_order=True)

    # -- files of orders -----------------------------------------------------------------------------------------------

    def commit(self, batch: IngestBatch, is_there: Callable[[int], bool] = lambda _: True) -> dict[int, int]:
        """Enter files with all that came of them, in one transaction; the event of each file that was entered.

        `is_there`: whether a file still lies in the inbox. Whoever answers a file removes it before saying so: one that is
        there while nobody is about to answer it is nobody's. The others are left out. Raises ConflictError, and enters
        nothing, when codes, order IDs, cards, BTNs or files themselves were entered meanwhile.
        """
        try:
            with self.transaction():
                busy = self._undelivered_files(batch.events)
                wanted = {file for file in batch.events["file"] if file not in busy and is_there(file)}
                return self._enter(batch.of(wanted)) if wanted else {}
        except CardsError:
            raise
        except adbc.Error:
            if files := self._conflicts(batch):
                raise ConflictError(files) from None
            with translate_db_errors():
                raise

    def _undelivered_files(self, files: pl.DataFrame) -> set[int]:
        """The files whose bytes were entered for their source, by an event whose folder may not be complete."""
        found = self.select_with(
            files.select(pl.col("file").cast(INT), "sender", "digest"),
            {"file": integer("given.file")},
            """
            FROM given JOIN events ON events.sender = given.sender AND events.digest = given.digest
            WHERE events.answered = 0
            """,
        )
        return set(found["file"])

    def _enter(self, batch: IngestBatch) -> dict[int, int]:
        entered = self._enter_events(batch.events.rename({"file": "number", "name": "file"}))
        events = entered.select("event", "sender", "at", file="number")
        orders = self._numbered(batch.orders.sort("order").join(events, on="file", maintain_order="left"))
        of = orders.select("order", "order_no", "event")
        day = pl.col("at").str.head(10)
        self.append("orders", orders)
        self.append("codes", batch.codes.join(of, on="order").with_columns(state=CardState.PLACED))
        self.append("touches", batch.card_actions.join(of, on="order").with_columns(done=ActionOutcome.AWAITED, settled=0))
        self.append("wishes", batch.row_keys.join(of, on="order"))
        self.append("guesses", batch.taken_code_attempts.join(events, on="file").with_columns(day=day))
        self.append("repeats", batch.duplicate_orders.join(events, on="file"))
        self.append("rejected", batch.rejected.join(events, on="file").rename({"source_row": "row"}))
        findings = batch.findings.join(events, on="file", maintain_order="left")
        self.append("findings", findings.rename({"source_row": "row", "column": "column_name"}))
        limits.claim_btns(self, batch.btns.join(orders, on="order", suffix="_order").select("file", "btn", "account"))
        limits.add_usage(self, _usage_by_day(batch, events.with_columns(day=day), orders))
        for source, at in batch.held.join(events, on="file").select("sender", "at").unique("sender").iter_rows():
            limits.hold(self, source, at)
        return dict(events.select("file", "event").iter_rows())

    def _numbered(self, orders: pl.DataFrame) -> pl.DataFrame:
        """Orders with their number, their place in the account, and their Order ID."""
        first = self.next("orders", "order_no")
        numbers = self.select_with(
            orders.select("account").unique(),
            {"account": text("given.account"), "last": integer("max(orders.number)")},
            "FROM given JOIN orders ON orders.account = given.account GROUP BY given.account",
        )
        number = pl.col("last").fill_null(0) + pl.col("order").cum_count().over("account")
        orders = orders.join(numbers, on="account", how="left", maintain_order="left").with_columns(
            order_no=pl.int_range(pl.len(), dtype=INT) + first, number=number, awaiting=Awaiting.REPORT, since="at"
        )
        return orders.with_columns(order_id=pl.format("{}-{}", "account", "number"))

    def _conflicts(self, batch: IngestBatch) -> set[int]:
        """The files that want to enter what is there by now."""

        def of(frame: pl.DataFrame) -> pl.DataFrame:
            return batch.orders.join(frame, on="order", how="semi")

        new = batch.events.filter(pl.col("answers") == 0)
        owners = limits.btn_owners(self, batch.btns["btn"]).rename({"account": "owner"})
        foreign = batch.btns.join(owners, on="btn").filter(pl.col("account") != pl.col("owner"))
        files = [
            new.join(self.original_events(new), on=["sender", "digest"], how="semi"),
            batch.orders.join(self.orders_of(batch.orders), on=["account", "order_ref"], how="semi"),
            of(batch.codes.filter(pl.col("code").is_in(self.existing_codes(batch.codes["code"]).implode()))),
            of(batch.card_actions.filter(pl.col("code").is_in(self.pending_cards(batch.card_actions["code"]).implode()))),
            of(foreign),
        ]
        return {file for frame in files for file in frame["file"]}

    def enter_rejected(self, event: dict[str, Any], rejected: pl.DataFrame, findings: pl.DataFrame) -> int:
        """Enter a file of which nothing is used, with what is wrong with it. Inside a transaction."""
        number = self.enter_event(event)
        self.append("rejected", rejected.rename({"source_row": "row"}).with_columns(event=number))
        self.append("findings", findings.rename({"source_row": "row", "column": "column_name"}).with_columns(event=number))
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
            used = self.select_with(
                named,
                {"sender": text("given.sender"), "stem": text("given.stem"), "more": integer("1")},
                """
                FROM given JOIN events ON events.folder = given.folder AND events.sender = given.sender
                GROUP BY given.sender, given.stem
                """,
            )
            if used.is_empty():
                return named["folder"]
            named = named.join(used, on=["sender", "stem"], how="left", maintain_order="left")
            named = named.with_columns(n=pl.col("n") + pl.col("more").fill_null(0)).drop("more")

    def next(self, table: str, key: str) -> int:
        """The next number of a table's key; only inside a transaction, where writers take turns."""
        return int(self.select({"next": integer(f"coalesce(max({key}), 0) + 1")}, f"FROM {table}").item())

    def pending_cards(self, codes: pl.Series) -> pl.Series:
        """Those of the codes that an order takes which the network has not confirmed."""
        return self.select_with(
            codes.unique().sort().to_frame("code"),
            columns_of("touches", "code"),
            f"FROM given JOIN touches ON touches.code = given.code AND touches.done = {ActionOutcome.AWAITED}",
        )["code"]

    def mark_delivered(self, events: list[int]) -> None:
        """Note that the folders of the events are complete."""
        if events:
            with self.transaction(), self.temp_table(pl.DataFrame({"event": events}, {"event": INT})):
                self.execute("UPDATE events SET answered = 1 WHERE event IN (SELECT event FROM given)")

    def undelivered(self) -> list[int]:
        """Events whose folder may not be complete."""
        found = self.select(columns_of("events", "event"), "FROM events WHERE answered = 0 ORDER BY event")
        return found["event"].to_list()

    # -- what the reports are written from -----------------------------------------------------------------------------

    def submission_records(self, events: list[int]) -> "SubmissionRecords":
        """All that the reports of these events' files say."""
        given = pl.DataFrame({"asked": events}, {"asked": INT})
        event = {"event": integer("answered.event")}
        order_fields = [name for name in ORDER if name not in ("event", "content", "awaiting", "since")]
        order = {**event, **columns_of("orders", *order_fields), "at": text("placed.at")}
        joined_orders = "JOIN orders ON orders.event = answered.answers"
        placed = "JOIN events AS placed ON placed.event = orders.event"

        def of_events(columns: Columns, joins: str, order_by: str) -> pl.DataFrame:
            rest = f"FROM given JOIN events AS answered ON answered.event = given.asked {joins} ORDER BY {order_by}"
            return self.select_with(given, columns, rest)

        def of_table(table: str) -> pl.DataFrame:
            own = {name: column for name, column in columns_of(table).items() if name != "event"}
            return of_events({**event, **own}, f"JOIN {table} ON {table}.event = answered.answers", f"{table}.row")

        return SubmissionRecords(
            # of a file that was answered before, the event itself knows nothing: it was not read again
            events=of_events(
                {**columns_of("events", alias="answered"), **columns_of("events", "rows", "notes", alias="original")},
                "JOIN events AS original ON original.event = answered.answers",
                "answered.event",
            ),
            orders=of_events(order, f"{joined_orders} {placed}", "orders.order_no"),
            codes=of_events(
                {**event, **columns_of("codes", "order_no", "code")},
                f"""
                {joined_orders}
                JOIN codes ON codes.order_no = orders.order_no AND codes.order_no > 0 AND codes.event = orders.event
                """,
                "codes.order_no, codes.code",
            ),
            card_actions=of_events(
                {**event, **columns_of("touches", "order_no", "code")},
                f"{joined_orders} JOIN touches ON touches.order_no = orders.order_no",
                "touches.order_no, touches.code",
            ),
            duplicate_orders=of_events(
                {**order, "rows": integer("repeats.rows")},
                f"""
                JOIN repeats ON repeats.event = answered.answers
                JOIN orders ON orders.order_no = repeats.order_no {placed}
                """,
                "orders.order_no",
            ),
            rejected=of_table("rejected").rename({"row": "source_row"}),
            findings=of_table("findings").rename({"row": "source_row", "column_name": "column"}),
        )


def _stem(at: str, file: str) -> str:
    time = datetime.fromisoformat(at).strftime("%Y%m%d-%H%M%S")
    return f"{time}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(file).stem)[:80].strip('._') or 'file'}"


def _usage_by_day(batch: IngestBatch, events: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What the files of a batch cost their sources: `reseller`, `day`, `codes`, `files`, `bytes`, `parse_ms`."""
    issued = batch.codes.join(orders, on="order").group_by("file").agg(codes=pl.len().cast(INT))
    used = batch.usage.join(events, on="file").join(issued, on="file", how="left")
    return used.group_by(reseller="sender", day="day").agg(
        pl.col("codes").fill_null(0).sum(),
        files=pl.len().cast(INT),
        bytes=pl.col("bytes").sum(),
        parse_ms=pl.col("parse_ms").sum(),
    )
