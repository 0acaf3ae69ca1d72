"""Notices: what happened since they were last looked after, what people were notified of, and what waits for which channel.

This is an outbox in a database: notices are entered together with the mark of how far events were looked at, and each is
sent from here until its channels have accepted it.
"""

from typing import Final

import polars as pl

from pipelines.registry.columns import Columns, columns_of, integer, text
from pipelines.registry.database import Database
from pipelines.registry.lists import ALREADY_PLACED
from pipelines.registry.schema import INT, NEARLY_FULL, NOTICE
from schemas.actions import ApprovalDecision
from schemas.sources import NETWORK

WATERMARK_NAME: Final = "notices"
_LATE: Final = "notices late "
"""The watermark of an event that was passed by because its answer was not delivered begins with this."""
_PORTION: Final = 5_000
"""So many events, and so many notices of a channel, are read at once."""
BACKOFF: Final = (60, 300, 900, 3600)
"""Seconds until a channel is tried again, by how often it was tried; from then on the last of them."""

KEY: Final = ("kind", "subject", "recipient")


# -- recipients ----------------------------------------------------------------------------------------------------------


def resellers(registry: Database) -> pl.DataFrame:
    """The resellers of the catalogue and their channels (`notify`; empty: none), one row each."""
    columns = {"reseller": text("accounts.reseller"), "notify": text("max(accounts.notify)")}
    return registry.select(columns, "FROM accounts GROUP BY accounts.reseller ORDER BY accounts.reseller")


def channels_of_resellers(registry: Database) -> dict[str, str]:
    """The resellers that have channels, and those."""
    columns = {"reseller": text("accounts.reseller"), "notify": text("max(accounts.notify)")}
    rest = "FROM accounts WHERE accounts.notify <> '' GROUP BY accounts.reseller ORDER BY accounts.reseller"
    return dict(registry.select(columns, rest).iter_rows())


# -- what happened -------------------------------------------------------------------------------------------------------


def has_news(registry: Database) -> bool:
    """Whether anything was entered since events were last looked at."""
    rest = f"FROM events WHERE events.event > {watermark(registry) or 0} LIMIT 1"
    return not registry.select(columns_of("events", "event"), rest).is_empty()


def watermark(registry: Database) -> int | None:
    """The last event that was looked at; None before any was."""
    columns = columns_of("watermarks", "event")
    found = registry.select(columns, f"FROM watermarks WHERE watermarks.name = '{WATERMARK_NAME}'")
    return int(found.item()) if len(found) else None


def begin(registry: Database) -> None:
    """Look at what happens from now on, unless it is looked at already."""
    if watermark(registry) is None:
        with registry.transaction():
            newest = int(registry.select({"event": integer("coalesce(max(event), 0)")}, "FROM events").item())
            _set_watermark(registry, WATERMARK_NAME, newest)


def undelivered(registry: Database) -> pl.DataFrame:
    """The events whose answers may not be complete: `event`, `at`."""
    return registry.select(columns_of("events", "event", "at"), "FROM events WHERE events.delivered = 0 ORDER BY events.event")


def late_events(registry: Database) -> list[int]:
    """The events that were passed by undelivered, and are delivered now."""
    rest = f"""
        FROM watermarks JOIN events ON events.event = watermarks.event
        WHERE watermarks.name >= '{_LATE}' AND watermarks.name < '{_LATE}~' AND events.delivered = 1
    """
    return registry.select(columns_of("events", "event"), rest)["event"].to_list()


_EVENT: Final = {
    **columns_of("events", "event", "kind", "source", "file_name", "folder", "at", "rows", "readable", "original_event",
                 "reconciliation_date"),
    "orders_placed": integer("(SELECT count(*) FROM orders WHERE orders.event = events.event)"),
    "orders_already_placed": integer(ALREADY_PLACED),
    "rows_rejected": integer("(SELECT count(*) FROM rejected_rows WHERE rejected_rows.event = events.original_event)"),
    "whole": integer(
        "(SELECT count(*) FROM findings WHERE findings.event = events.original_event AND findings.source_row = 0)"
    ),
}  # fmt: skip


def events_after(registry: Database, after: int) -> pl.DataFrame:
    """The first events after this one, with the figures of files."""
    return registry.select(_EVENT, f"FROM events WHERE events.event > {after} ORDER BY events.event LIMIT {_PORTION}")


def events(registry: Database, numbers: list[int]) -> pl.DataFrame:
    """These events, with the figures of files."""
    given = pl.DataFrame({"event": numbers}, {"event": INT})
    return registry.select_with(given, _EVENT, "FROM given JOIN events ON events.event = given.event ORDER BY events.event")


def waiting_reports(registry: Database, numbers: pl.Series) -> pl.DataFrame:
    """Those of the reports that wait for approval: `event`, and why (`about`)."""
    return registry.select_with(
        numbers.to_frame("event"),
        columns_of("approvals", "event", "about"),
        f"""
        FROM given JOIN approvals ON approvals.event = given.event
        WHERE approvals.decision = {ApprovalDecision.WAITING} ORDER BY approvals.event
        """,
    )


def order_files(registry: Database, nights: pl.Series) -> pl.DataFrame:
    """What nights wrote for the orders of each source: `event`, `kind`, `source`, how many `files` with how many `cards`, and
    the first of the orders (`order_id`).
    """
    return registry.select_with(
        nights.to_frame("event"),
        {
            **columns_of("order_files", "event", "kind"),
            "source": text("submission.source"),
            "files": integer("count(*)"),
            "cards": integer("CAST(sum(order_files.cards) AS BIGINT)"),
            "order_id": text("min(orders.order_id)"),
        },
        """
        FROM given
        JOIN order_files ON order_files.event = given.event
        JOIN orders ON orders.order_pk = order_files.order_pk
        JOIN events AS submission ON submission.event = orders.event
        GROUP BY order_files.event, order_files.kind, submission.source
        """,
    ).sort("event", "kind", "source")


def measures(registry: Database, dates: pl.Series) -> pl.DataFrame:
    """How nights left things: `reconciliation_date`, orders `awaited` and `overdue`."""
    columns = columns_of("night_measures", "reconciliation_date", "awaited", "overdue")
    return registry.select_with(
        dates.unique().to_frame("date"),
        columns,
        "FROM given JOIN night_measures ON night_measures.reconciliation_date = given.date",
    )


def last_of_network(registry: Database, kind: str, until: int = 2**62) -> str:
    """When the last event of a kind (report or night) was, up to an event; empty: there is none."""
    rest = f"""
        FROM events WHERE events.source = '{NETWORK}' AND events.kind = $1 AND events.event <= {until}
        ORDER BY events.event DESC LIMIT 1
    """
    return "".join(registry.select(columns_of("events", "at"), rest, kind)["at"])


def oldest_awaited(registry: Database) -> str:
    """Since when the first order that awaits the network does; empty: none does."""
    rest = "FROM orders WHERE orders.awaiting > 0 ORDER BY orders.order_pk LIMIT 1"
    return "".join(registry.select(columns_of("orders", "since"), rest)["since"])


def orders_on_hold(registry: Database, after: int, until: int) -> pl.DataFrame:
    """Orders that wait for approval by what events between these say: `hold`, `account`, `customer_order_id`, `codes`, and
    who sent them (`source`).
    """
    rest = f"""
        FROM order_holds JOIN events ON events.event = order_holds.event
        WHERE order_holds.event > {after} AND order_holds.event <= {until}
        AND order_holds.decision = {ApprovalDecision.WAITING} AND order_holds.order_pk = 0
        ORDER BY order_holds.event, order_holds.hold
    """
    columns = {**columns_of("order_holds", "hold", "account", "customer_order_id", "codes"), **columns_of("events", "source")}
    return registry.select(columns, rest)


def nearly_full_btns(registry: Database, after: int, until: int) -> pl.DataFrame:
    """BTNs that are nearly full and that events between these used: `btn`, `free`, and the reseller that owns it
    (`reseller`; empty: none in the catalogue).
    """
    owner = "coalesce(billing_numbers.account, btns.account)"
    return registry.select(
        {
            "btn": integer("btns.btn"),
            "free": integer("btns.valid - btns.used"),
            "reseller": text(f"coalesce((SELECT max(reseller) FROM accounts WHERE accounts.account = {owner}), '')"),
        },
        f"""
        FROM btns LEFT JOIN billing_numbers ON billing_numbers.btn = btns.btn
        WHERE btns.changed_event > {after} AND btns.changed_event <= {until} AND btns.valid - btns.used < {NEARLY_FULL}
        ORDER BY btns.changed_event, btns.btn
        """,
    )


def resellers_on_hold(registry: Database) -> pl.DataFrame:
    """Resellers on hold: `reseller`, `at`, `reason`."""
    return registry.select(columns_of("holds"), "FROM holds ORDER BY holds.reseller")


# -- notices -------------------------------------------------------------------------------------------------------------


def not_entered(registry: Database, notices: pl.DataFrame) -> pl.DataFrame:
    """Those of the notices that were not entered before, each once."""
    known = registry.select_with(
        notices.select(KEY).unique(),
        columns_of("notices", *KEY),
        f"FROM given JOIN notices ON {' AND '.join(f'notices.{name} = given.{name}' for name in KEY)}",
    )
    return notices.join(known, on=KEY, how="anti").unique(KEY, keep="first", maintain_order=True)


def enter(
    registry: Database,
    notices: pl.DataFrame,
    channels: pl.DataFrame,
    at: str,
    seen: int,
    passed: list[int],
    resumed: list[int],
) -> None:
    """Enter what was not entered before, for the channels of its recipients (`recipient`, `channel`), and that events were
    looked at up to `seen`, in one transaction. `passed`: events that were passed by undelivered; `resumed`: such events that
    are looked at now.
    """
    with registry.transaction():
        new = not_entered(registry, notices)
        first = int(registry.select({"next": integer("coalesce(max(notice), 0) + 1")}, "FROM notices").item())
        new = new.with_columns(notice=pl.int_range(pl.len(), dtype=INT) + first, at=pl.lit(at))
        registry.append("notices", new.select(NOTICE.names()))
        deliveries = new.join(channels, on="recipient").with_columns(sent_at=pl.lit(""), tries=0, leased_until=0)
        registry.append("notice_deliveries", deliveries)
        for event in passed:
            _set_watermark(registry, f"{_LATE}{event}", event)
        for event in resumed:
            registry.execute("DELETE FROM watermarks WHERE name = $1", f"{_LATE}{event}")
        if seen:
            _set_watermark(registry, WATERMARK_NAME, seen)


def _set_watermark(registry: Database, name: str, event: int) -> None:
    """Raise a watermark, which several workers may do. Inside a transaction."""
    registry.execute(
        """
        INSERT INTO watermarks VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET event = excluded.event
        WHERE watermarks.event < excluded.event
        """,
        name,
        event,
    )


# -- sending it ----------------------------------------------------------------------------------------------------------

_WAITING: Final[Columns] = columns_of("notices", "notice", "kind", "words")


def claim(registry: Database, channel: str, recipient: str, seconds: int) -> pl.DataFrame:
    """Take what waits for a channel and a recipient in hand for so many seconds: `notice`, `kind`, `words`, oldest first.

    Nothing as long as another worker has some of it in hand, or the channel is not to be tried again yet.
    """
    with registry.claim_transaction():
        waiting = registry.select(
            {**_WAITING, "leased": integer(f"CASE WHEN {_is_leased(registry)} THEN 1 ELSE 0 END")},
            f"""
            FROM notice_deliveries JOIN notices ON notices.notice = notice_deliveries.notice
            WHERE notice_deliveries.channel = $1 AND notice_deliveries.sent_at = '' AND notices.recipient = $2
            ORDER BY notice_deliveries.notice LIMIT {_PORTION}
            """,
            channel,
            recipient,
        )
        if (waiting["leased"] > 0).any():
            return waiting.clear().drop("leased")
        _update(registry, channel, waiting, f"leased_until = {registry.clock} + {seconds}")
    return waiting.drop("leased")


def _is_leased(registry: Database) -> str:
    """That a notice is not to be sent yet; a clock that is set back keeps none for longer than the longest wait."""
    until = "notice_deliveries.leased_until"
    return f"{until} > {registry.clock} AND {until} <= {registry.clock} + {BACKOFF[-1]}"


def mark_sent(registry: Database, channel: str, notices: pl.DataFrame, at: str) -> None:
    """Note that a channel has accepted notices."""
    with registry.transaction():
        _update(registry, channel, notices, f"sent_at = '{at}', tries = tries + 1, leased_until = 0")


def mark_failed(registry: Database, channel: str, notices: pl.DataFrame) -> None:
    """Note that a channel has not accepted notices; it is tried again the later, the more often it was tried."""
    steps = " ".join(f"WHEN tries = {tries} THEN {seconds}" for tries, seconds in enumerate(BACKOFF))
    later = f"{registry.clock} + CASE {steps} ELSE {BACKOFF[-1]} END"
    with registry.transaction():
        _update(registry, channel, notices, f"tries = tries + 1, leased_until = {later}")


def _update(registry: Database, channel: str, notices: pl.DataFrame, changes: str) -> None:
    registry.execute_with(
        notices.select("notice"),
        "notice",
        f"""
        UPDATE notice_deliveries SET {changes}
        WHERE channel = '{channel}' AND sent_at = '' AND notice IN (SELECT notice FROM given)
        """,
    )


def forget(registry: Database, before: str) -> None:
    """Remove notices of before this time that wait for no channel, some at a time: what is as old is never looked at again."""
    old = registry.select(
        columns_of("notices", "notice"),
        f"""
        FROM notices
        WHERE notices.notice < (SELECT min(first.notice) FROM notices AS first) + {_PORTION} AND notices.at < $1
        AND NOT EXISTS (
            SELECT 1 FROM notice_deliveries WHERE notice_deliveries.notice = notices.notice AND notice_deliveries.sent_at = ''
        )
        """,
        before,
    )
    if old.is_empty():
        return
    with registry.transaction():
        for table in ("notice_deliveries", "notices"):
            registry.execute_with(old, "notice", f"DELETE FROM {table} WHERE notice IN (SELECT notice FROM given)")


def drop_unconfigured(registry: Database, channels: pl.Series, before: str) -> None:
    """Forget what waits, since before this time, for channels that are configured no more."""
    waiting = registry.select(
        {"channel": text("notice_deliveries.channel")},
        "FROM notice_deliveries WHERE notice_deliveries.sent_at = '' GROUP BY notice_deliveries.channel",
    )["channel"]
    for channel in waiting.filter(~waiting.is_in(channels.implode())):
        with registry.transaction():
            registry.execute(
                """
                DELETE FROM notice_deliveries WHERE channel = $1 AND sent_at = '' AND EXISTS (
                    SELECT 1 FROM notices WHERE notices.notice = notice_deliveries.notice AND notices.at < $2
                )
                """,
                channel,
                before,
            )


def waiting(registry: Database) -> pl.DataFrame:
    """What waits: `recipient`, `channel`, how many `notices`, since when (`oldest`), how often it was tried at most (`tries`),
    and in how many seconds it may be tried again (`wait`; 0: at once).
    """
    return registry.select(
        {
            "recipient": text("notices.recipient"),
            "channel": text("notice_deliveries.channel"),
            "notices": integer("count(*)"),
            "oldest": text("min(notices.at)"),
            "tries": integer("max(notice_deliveries.tries)"),
            "wait": integer(f"max(CASE WHEN notice_deliveries.leased_until > {registry.clock} "
                            f"THEN notice_deliveries.leased_until - {registry.clock} ELSE 0 END)"),
        },
        """
        FROM notice_deliveries JOIN notices ON notices.notice = notice_deliveries.notice
        WHERE notice_deliveries.sent_at = ''
        GROUP BY notices.recipient, notice_deliveries.channel
        """,
    ).sort("recipient", "channel")  # fmt: skip
