"""The registry: every code that was ever issued, every order, every answer.

The code is the primary key of `numbers`, which is the last word on uniqueness. Writers take turns, so that ids are
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
from pipelines.registry.audit_trail import Entry, enter_entry
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.database import POSTGRESQL, SQLITE, Database
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.guards import outdated_files
from pipelines.registry.migrations import prepare
from pipelines.registry.numbers import codes_under, enter_cards, enter_external
from pipelines.registry.order_holds import close_holds, enter_holds, note_answered
from pipelines.registry.outbox_files import note_files
from pipelines.registry.records import IngestBatch, SubmissionRecords
from pipelines.registry.replays import replayed, retire_answers
from pipelines.registry.schema import INT, TEXT
from pipelines.registry.submissions import submission_records
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
        self,
        accounts: pl.DataFrame,
        access_numbers: pl.DataFrame,
        billing_numbers: pl.DataFrame | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Replace the catalogue. `billing_numbers`: `btn` (integer), `account`. `entry`: who did so, for the audit trail."""
        with translate_db_errors(), self.transaction():
            self.execute("DELETE FROM accounts")
            self.execute("DELETE FROM access_numbers")
            self.append("accounts", accounts)
            self.append("access_numbers", access_numbers)
            self.execute("DELETE FROM billing_numbers")
            if billing_numbers is not None:
                self.append("billing_numbers", billing_numbers)
            if entry:
                enter_entry(self, entry)

    def catalogue(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Accounts and access numbers."""
        accounts = self.select(columns_of("accounts"), "FROM accounts")
        return accounts, self.select(columns_of("access_numbers"), "FROM access_numbers")

    def billing_numbers(self) -> pl.DataFrame:
        """The BTNs that the catalogue lists, and whose they are."""
        return self.select(columns_of("billing_numbers"), "FROM billing_numbers ORDER BY btn")

    def awaiting_by_source(self, sources: pl.Series) -> pl.DataFrame:
        """How many orders of each of the sources await the network: `source`, `orders`."""
        return self.select_with(
            sources.unique().to_frame("source"),
            {"source": text("events.source"), "orders": integer("count(*)")},
            """
            FROM orders
            JOIN events ON events.event = orders.event
            JOIN given ON given.source = events.source
            WHERE orders.awaiting > 0 GROUP BY events.source
            """,
        )

    def import_codes(self, codes: pl.Series) -> int:
        """Enter codes that exist already as `external`; how many of them were new. Known ones stay as they are."""
        frame = codes.unique().sort().to_frame("code")
        if frame.is_empty():
            return 0
        with self.transaction():
            new = frame.filter(~pl.col("code").is_in(self.existing_codes(frame["code"]).implode()))
            enter_external(self, new["code"], event=0)
        return len(new)

    # -- what is known -------------------------------------------------------------------------------------------------

    def existing_codes(self, codes: pl.Series) -> pl.Series:
        """Those of the codes (integers) that were ever issued or entered."""
        given = codes.sort().to_frame("code")
        rest = "FROM given JOIN numbers ON numbers.code = given.code"
        return self.select_with(given, columns_of("numbers", "code"), rest)["code"]

    def codes_under(self, btns: pl.Series) -> pl.DataFrame:
        """`btn` and every code used under it. `btns` are integers of ten digits."""
        return codes_under(self, btns)

    def cards(self, named: pl.DataFrame) -> pl.DataFrame:
        """Those of the cards (`account`, `code`) that belong to that account: both, `state`, and `awaited`, whether an order
        that takes the card waits for the network.
        """
        awaited = f"""
            (
                SELECT count(*) FROM card_actions
                WHERE card_actions.card_order_pk = cards.order_pk AND card_actions.card_serial = cards.serial
                AND card_actions.outcome = {ActionOutcome.AWAITED}
            )
        """
        found = self.select_with(
            named.select("account", "code").unique().sort("code"),
            {**columns_of("orders", "account"), **columns_of("cards", "code", "state"), "awaited": integer(awaited)},
            """
            FROM given
            JOIN numbers ON numbers.code = given.code
            JOIN orders ON orders.order_pk = numbers.order_pk AND orders.account = given.account
            JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
            """,
        )
        return found.with_columns(pl.col("awaited") > 0)

    def cards_under(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The cards of orders given by `account` and `order_id` that are in use, or where none is left the disconnected
        ones: those and `code`.
        """
        found = self.select_with(
            ids.drop_nulls().unique(),
            {"account": text("given.account"), "order_id": text("given.order_id"), **columns_of("cards", "code", "state")},
            f"""
            FROM given
            JOIN orders ON orders.order_id = given.order_id AND orders.account = given.account
            JOIN cards ON cards.order_pk = orders.order_pk
            WHERE cards.state NOT IN ({CardState.REFUSED}, {CardState.SURPLUS})
            ORDER BY cards.order_pk, cards.serial
            """,
        )
        in_use = pl.col("state") != CardState.DISCONNECTED
        return found.filter(in_use | ~in_use.any().over("order_id")).drop("state").sort("code")

    def orders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Placed orders with one of the given `account` and `customer_order_id`."""
        return self.select_with(
            keys.select("account", "customer_order_id").unique(),
            columns_of("orders", "order_pk", "order_id", "account", "customer_order_id", "content"),
            "FROM given JOIN orders ON orders.account = given.account AND orders.customer_order_id = given.customer_order_id",
        )

    def row_keys(self, order_pks: pl.Series) -> pl.DataFrame:
        """What the placed rows of these orders asked for: `order_pk`, `row_key`."""
        given = order_pks.unique().to_frame("order_pk")
        return self.select_with(given, columns_of("row_keys"), "FROM given JOIN row_keys ON row_keys.order_pk = given.order_pk")

    def taken_code_attempts(self, sources: pl.Series, day: str) -> pl.DataFrame:
        """How many codes that were not free each source asked for on a day, since its last hold was lifted: `source`,
        `codes`.
        """
        return self.select_with(
            sources.unique().to_frame("source").with_columns(day=pl.lit(day)),
            {"source": text("taken_code_attempts.source"), "codes": integer("CAST(sum(taken_code_attempts.codes) AS BIGINT)")},
            f"""
            FROM given JOIN taken_code_attempts ON taken_code_attempts.source = given.source
            WHERE taken_code_attempts.day = given.day AND taken_code_attempts.codes > 0
            AND {limits.since_lifted("given.source")}
            GROUP BY taken_code_attempts.source
            """,
        )

    def clear_hold(self, source: str, at: str, who: str = "") -> tuple[bool, int]:
        """Lift the hold on a source, and forget its files that runs died of; whether it was on hold, and how many files they
        were. Its attempts of today are forgotten. `who` lifts it, for the audit trail.
        """
        with translate_db_errors(), self.transaction():
            was_on_hold, struck = limits.clear_hold(self, source), limits.clear_strikes(self, source)
            event = {"kind": "release", "source": source, "digest": "", "file_name": "", "at": at, "rows": 0, "notes": who,
                     "readable": 0}  # fmt: skip
            number = self.enter_event(event)
            self.execute(f"UPDATE events SET delivered = 1 WHERE event = {number}")
            self.append("taken_code_attempts", pl.DataFrame({"event": number, "source": source, "day": at[:10], "codes": -1}))
        return was_on_hold, struck

    def original_events(self, files: pl.DataFrame) -> pl.DataFrame:
        """The events that first answered the bytes of the given files (`source`, `digest`)."""
        return self.select_with(
            files.select("source", "digest").unique(),
            columns_of("events"),
            """
            FROM given JOIN events ON events.source = given.source AND events.digest = given.digest
            WHERE events.final = 1 AND events.original_event = events.event
            """,
        )

    # -- files of orders -----------------------------------------------------------------------------------------------

    def commit(self, batch: IngestBatch, is_there: Callable[[int], bool] = lambda _: True) -> dict[int, int]:
        """Enter files with all that came of them, in one transaction; the event of each file that was entered.

        `is_there`: whether a file still lies in the inbox. Whoever answers a file removes it before saying so: one that is
        there while nobody is about to answer it is nobody's. The others are left out. Raises ConflictError, and enters
        nothing, when codes, order IDs, cards, BTNs or files themselves were entered meanwhile, or when a file was decided by
        what has changed since (see `guards`).
        """
        try:
            with self.transaction():
                busy = self._undelivered_files(batch.events)
                wanted = {file for file in batch.events["file"] if file not in busy and is_there(file)}
                return self._enter_current(batch.of(wanted)) if wanted else {}
        except CardsError:
            raise
        except adbc.Error:
            if files := self._conflicts(batch):
                raise ConflictError(files) from None
            with translate_db_errors():
                raise

    def _enter_current(self, batch: IngestBatch) -> dict[int, int]:
        """Enter files that were decided by what is still true. Raises ConflictError with the others."""
        if outdated := outdated_files(self, batch):
            raise ConflictError(outdated)
        return self.enter(batch)

    def _undelivered_files(self, files: pl.DataFrame) -> set[int]:
        """The files whose bytes were entered for their source, by an event whose folder may not be complete."""
        undelivered = self.select(columns_of("events", "source", "digest"), "FROM events WHERE delivered = 0")
        found = files.join(undelivered, on=["source", "digest"], how="semi")
        return set(found["file"])

    def enter(self, batch: IngestBatch) -> dict[int, int]:
        """Enter files with all that came of them; the event of each. Inside a transaction.

        Events that say their `folder` and whether it is `delivered`, and orders that say their `order_id`, keep them: they were
        answered by a registry that was lost.
        """
        retire_answers(self, batch.events.filter(pl.col("replays") > 0).select("source", "digest"))
        entered = self._enter_events(batch.events)
        events = entered.select("file", "event", "source", "at")
        orders = self._numbered(batch.orders.sort("order").join(events, on="file", maintain_order="left"))
        of = orders.select("order", "order_pk", "event")
        day = pl.col("at").str.head(10)
        self.append("orders", orders)
        limits.claim_btns(self, batch.btns.join(orders, on="order", suffix="_order").select("file", "btn", "account"))
        cards = batch.codes.join(of, on="order").sort("code").sort("order_pk", maintain_order=True)  # faster than by both
        enter_cards(self, cards.with_columns(serial=pl.int_range(1, pl.len() + 1, dtype=INT).over("order_pk")))
        self._enter_card_actions(batch.card_actions.join(of, on="order"))
        self.append("row_keys", batch.row_keys.join(of, on="order"))
        self.append("taken_code_attempts", batch.taken_code_attempts.join(events, on="file").with_columns(day=day))
        self.append("duplicate_orders", batch.duplicate_orders.join(events, on="file"))
        self.append("rejected_rows", batch.rejected.join(events, on="file"))
        findings = batch.findings.join(events, on="file", maintain_order="left")
        self.append("findings", findings.rename({"column": "column_name"}))
        limits.add_usage(self, _usage_by_day(batch, events.with_columns(day=day), orders))
        close_holds(self, _closed_holds(batch, orders, events))
        enter_holds(self, batch.order_holds.join(events.drop("source"), on="file", maintain_order="left").drop("file"))
        note_answered(self, batch.decided_holds.join(events, on="file"))
        for source, at in batch.on_hold.join(events, on="file").select("source", "at").unique("source").iter_rows():
            limits.hold(self, source, at)
        return dict(events.select("file", "event").iter_rows())

    def _enter_card_actions(self, card_actions: pl.DataFrame) -> None:
        """Enter the cards (`code`) that orders (`order_pk`) take."""
        cards = self.select_with(
            card_actions.select("code").unique().sort("code"),
            {"code": integer("numbers.code"), "card_order_pk": integer("numbers.order_pk"),
             "card_serial": integer("numbers.serial")},
            "FROM given JOIN numbers ON numbers.code = given.code",
        )  # fmt: skip
        self.append(
            "card_actions",
            card_actions.join(cards, on="code").with_columns(outcome=ActionOutcome.AWAITED, settled_event=0, missed_event=0),
        )

    def _numbered(self, orders: pl.DataFrame) -> pl.DataFrame:
        """Orders with their key, their place in the account, and their Order ID."""
        first = self.next("orders", "order_pk")
        last = "(SELECT max(orders.order_sequence) FROM orders WHERE orders.account = given.account)"
        numbers = self.select_with(
            orders.select("account").unique(),
            {"account": text("given.account"), "last": integer(f"coalesce({last}, 0)")},
            "FROM given",
        )
        sequence = pl.col("last") + pl.col("order").cum_count().over("account")
        orders = orders.join(numbers, on="account", how="left", maintain_order="left").with_columns(
            order_pk=pl.int_range(pl.len(), dtype=INT) + first,
            order_sequence=sequence,
            awaiting=Awaiting.REPORT,
            since="at",
            confirmed=0,
            granted=0,
            judged_event="event",
        )
        if "order_id" in orders.columns:
            return orders.with_columns(order_sequence=pl.col("order_id").str.extract(r"-(\d+)$").cast(INT))
        return orders.with_columns(order_id=pl.format("{}-{}", "account", "order_sequence"))

    def _conflicts(self, batch: IngestBatch) -> set[int]:
        """The files that want to enter what is there by now."""

        def of(frame: pl.DataFrame) -> pl.DataFrame:
            return batch.orders.join(frame, on="order", how="semi")

        new = batch.events.filter((pl.col("original_event") == 0) & (pl.col("replays") == 0))
        replays = batch.events.filter(pl.col("replays") > 0)
        owners = limits.btn_owners(self, batch.btns["btn"]).rename({"account": "owner"})
        foreign = batch.btns.join(owners, on="btn").filter(pl.col("account") != pl.col("owner"))
        files = [
            new.join(self.original_events(new), on=["source", "digest"], how="semi"),
            batch.orders.join(self.orders_of(batch.orders), on=["account", "customer_order_id"], how="semi"),
            of(batch.codes.filter(pl.col("code").is_in(self.existing_codes(batch.codes["code"]).implode()))),
            of(batch.card_actions.filter(pl.col("code").is_in(self.pending_cards(batch.card_actions["code"]).implode()))),
            of(foreign),
            replays.filter(pl.col("replays").is_in(replayed(self, replays["replays"]).implode())),
        ]
        return {file for frame in files for file in frame["file"]}

    def enter_rejected(self, event: dict[str, Any], rejected: pl.DataFrame, findings: pl.DataFrame) -> int:
        """Enter a file of which nothing is used, with what is wrong with it. Inside a transaction."""
        number = self.enter_event(event)
        self.append("rejected_rows", rejected.with_columns(event=number))
        self.append("findings", findings.rename({"column": "column_name"}).with_columns(event=number))
        return number

    def enter_event(self, event: dict[str, Any], original_event: int = 0) -> int:
        """Enter an event; its number. Inside a transaction. `original_event`: whose answer it gets again, else 0."""
        return int(self._enter_events(pl.DataFrame([{**event, "original_event": original_event}]))["event"].item())

    def _enter_events(self, events: pl.DataFrame) -> pl.DataFrame:
        """Enter events, and give them back with their numbers."""
        first = self.next("events", "event")
        usual = {"reconciliation_date": 0, "file_at": pl.lit(""), "final": 0, "replays": 0}
        absent: dict[str, Any] = {name: value for name, value in usual.items() if name not in events.columns}
        if "folder" not in events.columns:
            absent |= {"folder": self._folders(events), "delivered": 0}
        events = events.with_columns(event=pl.int_range(pl.len(), dtype=INT) + first, archived=0, **absent)
        events = events.with_columns(
            original_event=pl.when(pl.col("original_event") > 0).then("original_event").otherwise("event")
        )
        self.append("events", events)
        return events

    def _folders(self, events: pl.DataFrame) -> pl.Series:
        """The names of submissions' folders: local time and the file's stem, and a number where that is not enough."""
        stems = [folder_stem(at, name) for at, name in events.select("at", "file_name").iter_rows()]
        named = events.select("source", stem=pl.Series(stems, dtype=TEXT))
        named = named.with_columns(n=pl.int_range(1, pl.len() + 1).over("source", "stem"))
        while True:
            named = named.with_columns(folder=pl.when(pl.col("n") > 1).then(pl.format("{}~{}", "stem", "n")).otherwise("stem"))
            used = self.select_with(
                named,
                {"source": text("given.source"), "stem": text("given.stem"), "more": integer("1")},
                """
                FROM given JOIN events ON events.folder = given.folder AND events.source = given.source
                GROUP BY given.source, given.stem
                """,
            )
            if used.is_empty():
                return named["folder"]
            named = named.join(used, on=["source", "stem"], how="left", maintain_order="left")
            named = named.with_columns(n=pl.col("n") + pl.col("more").fill_null(0)).drop("more")

    def next(self, table: str, key: str) -> int:
        """The next number of a table's key; only inside a transaction, where writers take turns."""
        return int(self.select({"next": integer(f"coalesce(max({key}), 0) + 1")}, f"FROM {table}").item())

    def pending_cards(self, codes: pl.Series) -> pl.Series:
        """Those of the codes that an order takes which the network has not confirmed."""
        return self.select_with(
            codes.unique().sort().to_frame("code"),
            columns_of("numbers", "code"),
            f"""
            FROM given
            JOIN numbers ON numbers.code = given.code
            JOIN card_actions
                ON card_actions.card_order_pk = numbers.order_pk AND card_actions.card_serial = numbers.serial
                AND card_actions.outcome = {ActionOutcome.AWAITED}
            """,
        )["code"]

    def mark_delivered(self, events: list[int], files: pl.DataFrame) -> None:
        """Note that the folders of the events are complete, and what was written for them (see OUTBOX_FILE)."""
        if events:
            with self.transaction():
                self._set_delivered(events, 1)
                note_files(self, files)

    def mark_undelivered(self, event: int) -> None:
        """Note that the folder of an event is being written again: if this run is killed, the next one looks after it."""
        with self.transaction():
            self._set_delivered([event], 0)

    def _set_delivered(self, events: list[int], delivered: int) -> None:
        given = pl.DataFrame({"event": events}, {"event": INT})
        update = f"UPDATE events SET delivered = {delivered} WHERE event IN (SELECT event FROM given)"
        self.execute_with(given, "", update)

    def event_key(self, event: int) -> tuple[str, str] | None:
        """Time and folder of an event; None when there is no such event."""
        found = self.select(columns_of("events", "at", "folder"), f"FROM events WHERE event = {event}")
        return next(found.iter_rows(), None)

    def is_empty(self) -> bool:
        """Whether nothing was ever entered but a catalogue."""
        return self.event_key(1) is None

    def undelivered(self) -> list[int]:
        """Events whose folder may not be complete."""
        found = self.select(columns_of("events", "event"), "FROM events WHERE delivered = 0 ORDER BY event")
        return found["event"].to_list()

    # -- what the reports are written from -----------------------------------------------------------------------------

    def submission_records(self, events: list[int]) -> "SubmissionRecords":
        """All that the reports of these events' files say."""
        return submission_records(self, events)


def folder_stem(at: str, file_name: str) -> str:
    """How the name of a submission's folder begins: the local time and the stem of the file's name."""
    time = datetime.fromisoformat(at).strftime("%Y%m%d-%H%M%S")
    return f"{time}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(file_name).stem)[:80].strip('._') or 'file'}"


def _closed_holds(batch: IngestBatch, placed: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Orders after which no other of the same ID waits any more; see `order_holds.close_holds`."""
    names = ("file", "account", "customer_order_id", "content", "order_pk", "cancelled")
    again = batch.order_holds.with_columns(order_pk=pl.lit(0, INT), cancelled=pl.lit(value=False))
    cancelled = batch.cancelled.with_columns(content=pl.lit(""), order_pk=pl.lit(0, INT), cancelled=pl.lit(value=True))
    parts = (placed.with_columns(cancelled=pl.lit(value=False)), again, cancelled)
    return (
        pl.concat([part.select(names) for part in parts], how="vertical_relaxed")
        .join(events, on="file", maintain_order="left")
        .drop("file")
    )


def _usage_by_day(batch: IngestBatch, events: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What the files of a batch cost their sources: `reseller`, `day`, `codes`, `files`, `bytes`, `parse_ms`."""
    issued = batch.codes.join(orders, on="order").group_by("file").agg(codes=pl.len().cast(INT))
    used = batch.usage.join(events, on="file").join(issued, on="file", how="left")
    return used.group_by(reseller="source", day="day").agg(
        pl.col("codes").fill_null(0).sum(),
        files=pl.col("files").sum(),
        bytes=pl.col("bytes").sum(),
        parse_ms=pl.col("parse_ms").sum(),
    )
