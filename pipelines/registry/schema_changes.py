"""What each version changed about the registry's tables, by date.

A function here is never edited once it is released, and it spells out its tables and columns, because those of `schema` go
on changing. Each runs inside a transaction of its own (see `migrations`).
"""

from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from pipelines.common.frames import weighted_quantile
from pipelines.registry.columns import integer, text
from pipelines.registry.database import Database
from schemas.codes import is_code
from schemas.pins import PINS, slices, valid_pin_counts

TEXT, INT, SMALL = pl.String, pl.Int64, pl.UInt8


# -- 2026-11-25: tables and limits of version 1 ---------------------------------------------------------------------------


def cluster_tables(database: Database) -> None:
    """Early SQLite registries of version 1 keep these tables apart from their primary keys, which costs a second tree."""
    if not (database.is_sqlite and _has_unclustered_tables(database)):
        return
    names = ["action", "service_type", "account", "product", "access_number", "origin", "termination", "order_ref", "comments",
             "code_type", "code", "quantity", "btn", "target"]  # fmt: skip
    tables: dict[str, tuple[dict[str, Any], str]] = {
        "touches": ({"order_no": INT, "code": INT, "done": INT, "settled": INT}, "order_no, code"),
        "moves": ({"event": INT, "code": INT, "order_no": INT, "was": SMALL, "state": SMALL}, "event, code"),
        "rejected": ({"event": INT, "row": INT, **dict.fromkeys(names, TEXT)}, "event, row"),
    }
    for index in ("touches_awaited", "touches_code", "moves_code"):
        database.execute(f"DROP INDEX {index}")
    for table, (columns, key) in tables.items():
        database.execute(f"ALTER TABLE {table} RENAME TO unclustered")
        database.create_table(table, columns, key)
        database.execute(f"INSERT INTO {table} SELECT {', '.join(columns)} FROM unclustered ORDER BY {key}")
        database.execute("DROP TABLE unclustered")
    database.execute("CREATE UNIQUE INDEX touches_awaited ON touches (code) WHERE done = 0")
    database.execute("CREATE INDEX touches_code ON touches (code)")
    database.execute("CREATE INDEX moves_code ON moves (code)")


def _has_unclustered_tables(database: Database) -> bool:
    rest = "FROM sqlite_schema WHERE name = 'moves' AND sql NOT LIKE '%WITHOUT ROWID'"
    return bool(database.select({"tables": integer("count(*)")}, rest).item())


def add_limits(database: Database) -> None:
    """Owners of BTNs, holds, daily usage and strikes.

    A BTN belongs to the account of the earliest order that has a PIN under it. A reseller is on hold when one of its files
    was answered with FILE_HELD since the operator last released it.
    """
    database.create_table("billing_numbers", {"btn": INT, "account": TEXT}, "btn")
    database.create_table("btn_owners", {"btn": INT, "account": TEXT}, "btn")
    database.create_table("holds", {"reseller": TEXT, "at": TEXT, "reason": TEXT}, "reseller")
    usage = {"reseller": TEXT, "day": TEXT, "codes": INT, "files": INT, "bytes": INT, "parse_ms": INT}
    database.create_table("usage", usage, "reseller, day")
    database.create_table("strikes", {"reseller": TEXT, "digest": TEXT, "times": INT, "at": TEXT}, "reseller, digest")
    database.execute(
        """
        INSERT INTO btn_owners
        SELECT first.btn, orders.account
        FROM (
            SELECT codes.code / 10000 AS btn, min(codes.order_no) AS order_no
            FROM orders JOIN codes ON codes.order_no = orders.order_no AND codes.order_no > 0
            WHERE orders.code_type = 'BTN+4'
            GROUP BY codes.code / 10000
        ) AS first
        JOIN orders ON orders.order_no = first.order_no
        """
    )
    database.execute(
        """
        INSERT INTO holds
        SELECT events.sender, min(events.at), 'too many taken codes'
        FROM findings JOIN events ON events.event = findings.event
        WHERE findings.reason = 'FILE_HELD' AND events.event > coalesce(
            (SELECT max(event) FROM guesses WHERE guesses.sender = events.sender AND guesses.codes < 0), 0
        )
        GROUP BY events.sender
        """
    )


# -- 2026-11-25: cards by order ------------------------------------------------------------------------------------------


def cluster_cards_by_order(database: Database) -> None:
    """Cards and their history lie with their order; `numbers` alone is hit at random. Tables and columns get the words of
    the glossary, and figures of nights and BTNs are kept from now on instead of being counted.

    A card's serial is its place in its order: by the event that issued it, then by code.
    """
    for index in _INDEXES_BEFORE:
        database.execute(f"DROP INDEX IF EXISTS {index}")
    _number_cards(database)
    _move_history(database)
    _rename(database)
    _count_btns(database)
    _count_nights(database)
    for index in _INDEXES_AFTER:
        database.execute(index)


_INDEXES_BEFORE: Final = (
    "events_digest", "events_folder", "events_unanswered", "events_night", "orders_id", "orders_ref", "orders_number",
    "orders_event", "orders_awaiting", "orders_access", "orders_customer", "touches_awaited", "touches_code", "moves_code",
    "replacements_event", "replacements_replaced", "unexpected_event", "wishes_order", "guesses_sender", "repeats_event",
    "findings_event",
)  # fmt: skip
_INDEXES_AFTER: Final = (
    "CREATE UNIQUE INDEX events_digest ON events (source, digest) WHERE readable = 1 AND original_event = event",
    "CREATE INDEX events_folder ON events (folder, source)",
    "CREATE INDEX events_undelivered ON events (event) WHERE delivered = 0",
    "CREATE INDEX events_open_reports ON events (event) WHERE kind = 'report' AND reconciliation_date = 0",
    "CREATE INDEX events_reconciliation_date ON events (reconciliation_date) WHERE reconciliation_date > 0",
    "CREATE UNIQUE INDEX orders_order_id ON orders (order_id)",
    "CREATE UNIQUE INDEX orders_account ON orders (account, customer_order_id)",
    "CREATE UNIQUE INDEX orders_sequence ON orders (account, order_sequence)",
    "CREATE INDEX orders_customer_order_id ON orders (customer_order_id)",
    "CREATE INDEX orders_event ON orders (event)",
    "CREATE INDEX orders_awaiting ON orders (order_pk) WHERE awaiting > 0",
    "CREATE INDEX orders_access_number ON orders (access_number)",
    "CREATE UNIQUE INDEX card_actions_awaited ON card_actions (card_order_pk, card_serial) WHERE outcome = 0",
    "CREATE INDEX card_actions_card ON card_actions (card_order_pk, card_serial)",
    "CREATE INDEX card_actions_settled ON card_actions (settled_event) WHERE settled_event > 0",
    "CREATE UNIQUE INDEX replacements_serial ON replacements (order_pk, serial)",
    "CREATE INDEX replacements_event ON replacements (event)",
    "CREATE INDEX unexpected_codes_event ON unexpected_codes (event)",
    "CREATE INDEX row_keys_order ON row_keys (order_pk)",
    "CREATE INDEX taken_code_attempts_source ON taken_code_attempts (source, day)",
    "CREATE INDEX taken_code_attempts_lifted ON taken_code_attempts (source, event) WHERE codes < 0",
    "CREATE INDEX duplicate_orders_event ON duplicate_orders (event)",
    "CREATE INDEX findings_event ON findings (event)",
    "CREATE INDEX btns_changed ON btns (changed_event)",
    "CREATE INDEX btns_nearly_full ON btns (btn) WHERE valid - used < 1000",
)


def _number_cards(database: Database) -> None:
    """`codes` becomes `cards` (those issued here, with their serials) and `numbers` (all)."""
    database.create_table("cards", {"order_pk": INT, "serial": INT, "code": INT, "state": SMALL}, "order_pk, serial")
    database.create_table("numbers", {"code": INT, "order_pk": INT, "serial": INT}, "code")
    database.execute(
        """
        INSERT INTO cards
        SELECT order_no, row_number() OVER (PARTITION BY order_no ORDER BY event, code) AS serial, code, state
        FROM codes WHERE order_no > 0
        ORDER BY order_no, serial
        """
    )
    database.execute("INSERT INTO numbers SELECT code, order_pk, serial FROM cards ORDER BY code")
    database.execute("INSERT INTO numbers SELECT code, 0, 0 FROM codes WHERE order_no = 0 ORDER BY code")
    database.execute("DROP TABLE codes")


def _move_history(database: Database) -> None:
    """What tables said of codes they now say of the cards of an order."""
    actions = {"order_pk": INT, "card_order_pk": INT, "card_serial": INT, "outcome": INT, "settled_event": INT}
    transitions = {"order_pk": INT, "serial": INT, "event": INT, "from_state": SMALL, "to_state": SMALL}
    replacements = {"order_pk": INT, "replaced_serial": INT, "serial": INT, "event": INT}
    database.create_table("card_actions", actions, "order_pk, card_order_pk, card_serial")
    database.execute(
        """
        INSERT INTO card_actions
        SELECT touches.order_no, numbers.order_pk, numbers.serial, touches.done, touches.settled
        FROM touches JOIN numbers ON numbers.code = touches.code
        ORDER BY touches.order_no, numbers.order_pk, numbers.serial
        """
    )
    database.create_table("state_transitions", transitions, "order_pk, serial, event")
    database.execute(
        """
        INSERT INTO state_transitions
        SELECT numbers.order_pk, numbers.serial, moves.event, moves.was, moves.state
        FROM moves JOIN numbers ON numbers.code = moves.code
        ORDER BY numbers.order_pk, numbers.serial, moves.event
        """
    )
    database.create_table("replaced_cards", replacements, "order_pk, replaced_serial")
    database.execute(
        """
        INSERT INTO replaced_cards
        SELECT replacement.order_pk, refused.serial, replacement.serial, replacements.event
        FROM replacements
        JOIN numbers AS replacement ON replacement.code = replacements.code
        JOIN numbers AS refused ON refused.code = replacements.replaced
        """
    )
    for table in ("touches", "moves", "replacements"):
        database.execute(f"DROP TABLE {table}")
    database.create_table("replacements", replacements, "order_pk, replaced_serial")
    database.execute("INSERT INTO replacements SELECT * FROM replaced_cards ORDER BY order_pk, replaced_serial")
    database.execute("DROP TABLE replaced_cards")


def _rename(database: Database) -> None:
    """Give tables and columns their names of the glossary."""
    names = [{"order_ref": "customer_order_id", "target": "target_order_id"}.get(name, name) for name in _ROW_NAMES]
    events = {"event": INT, "kind": TEXT, "sender": TEXT, "digest": TEXT, "file": TEXT, "folder": TEXT, "at": TEXT, "rows": INT,
              "notes": TEXT, "readable": INT, "answers": INT, "answered": INT, "night": INT}  # fmt: skip
    orders = {"order_no": INT, "event": INT, "order_id": TEXT, "account": TEXT, "number": INT, "order_ref": TEXT,
              "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT,
              "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT, "cards": INT,
              "awaiting": INT, "since": TEXT}  # fmt: skip
    findings = {"event": INT, "row": INT, "column_name": TEXT, "reason": TEXT, "value": TEXT}
    new_names = {"sender": "source", "file": "file_name", "night": "reconciliation_date", "answers": "original_event",
                 "answered": "delivered"}  # fmt: skip
    _rename_columns(database, "events", events, "event", new_names)
    _rename_columns(database, "orders", orders, "order_no", {"order_no": "order_pk", "number": "order_sequence",
                                                             "order_ref": "customer_order_id"})  # fmt: skip
    _rename_columns(database, "findings", findings, "", {"row": "source_row"})
    rejected = {"event": INT, "source_row": INT, **dict.fromkeys(names, TEXT)}
    attempts = {"event": INT, "source": TEXT, "day": TEXT, "codes": INT}
    unexpected = {"event": INT, "order_id": TEXT, "code": INT, "explanation": TEXT}
    _rename_table(database, "rejected", "rejected_rows", rejected, "event, source_row")
    _rename_table(database, "guesses", "taken_code_attempts", attempts)
    _rename_table(database, "repeats", "duplicate_orders", {"event": INT, "order_pk": INT, "rows": INT})
    _rename_table(database, "wishes", "row_keys", {"order_pk": INT, "row_key": TEXT})
    _rename_table(database, "unexpected", "unexpected_codes", unexpected)


_ROW_NAMES: Final = ("action", "service_type", "account", "product", "access_number", "origin", "termination", "order_ref",
                     "comments", "code_type", "code", "quantity", "btn", "target")  # fmt: skip


def _rename_table(database: Database, old: str, new: str, columns: dict[str, Any], key: str = "") -> None:
    """A table under another name, whose columns may have other names too; key and constraints are named after it."""
    database.create_table(new, columns, key)
    database.execute(f"INSERT INTO {new} SELECT * FROM {old}" + (f" ORDER BY {old}.event" if key else ""))
    database.execute(f"DROP TABLE {old}")


def _rename_columns(database: Database, table: str, columns: dict[str, Any], key: str, renamed: dict[str, str]) -> None:
    """Other names for columns. The table is made again: databases keep the old names in definitions and constraints."""
    database.execute(f"CREATE TABLE renamed AS SELECT * FROM {table}")
    database.execute(f"DROP TABLE {table}")
    database.create_table(table, {renamed.get(name, name): kind for name, kind in columns.items()}, renamed.get(key, key))
    order = f" ORDER BY {key}" if key else ""
    database.execute(f"INSERT INTO {table} SELECT {', '.join(columns)} FROM renamed{order}")
    database.execute("DROP TABLE renamed")


def _count_btns(database: Database) -> None:
    """Running figures for every BTN under which PINs were placed."""
    columns = {"btn": INT, "account": TEXT, "valid": INT, "used": INT, "changed_event": INT}
    database.create_table("btns", columns, "btn")
    database.execute("INSERT INTO btns SELECT btn, account, 0, 0, 0 FROM btn_owners ORDER BY btn")
    database.execute("DROP TABLE btn_owners")
    every = database.select({"btn": integer("btns.btn")}, "FROM btns ORDER BY btns.btn")["btn"]
    for part in slices(every):
        given = part.to_frame("btn").with_columns(low=pl.col("btn") * PINS, high=pl.col("btn") * PINS + PINS - 1)
        used = database.select_with(
            given,
            {"btn": integer("given.btn"), "code": integer("numbers.code")},
            "FROM given JOIN numbers ON numbers.code BETWEEN given.low AND given.high",
        )
        counts = used.filter(is_code(pl.col("code").cast(TEXT))).group_by("btn").agg(used=pl.len().cast(INT))
        figures = valid_pin_counts(part).join(counts, on="btn", how="left").with_columns(pl.col("used").fill_null(0))
        update = "UPDATE btns SET valid = given.valid, used = given.used FROM given WHERE btns.btn = given.btn"
        database.execute_with(figures, "btn", update)


def _count_nights(database: Database) -> None:
    """Running figures for every order and night until now."""
    counts = {"event": INT, "order_pk": INT, "from_state": SMALL, "to_state": SMALL, "cards": INT}
    database.create_table("order_transitions", counts, "event, order_pk, from_state, to_state")
    database.execute(
        """
        INSERT INTO order_transitions
        SELECT event, order_pk, from_state, to_state, count(*) FROM state_transitions
        GROUP BY event, order_pk, from_state, to_state
        """
    )
    columns = {"reconciliation_date": INT, "from_state": SMALL, "to_state": SMALL, "cards": INT}
    database.create_table("night_figures", columns, "reconciliation_date, from_state, to_state")
    database.create_table("night_btns", {"event": INT, "btn": INT, "free": INT}, "event, btn")
    database.execute(
        """
        INSERT INTO night_figures
        SELECT events.reconciliation_date, order_transitions.from_state, order_transitions.to_state,
            sum(order_transitions.cards)
        FROM order_transitions JOIN events ON events.event = order_transitions.event
        WHERE events.reconciliation_date > 0
        GROUP BY events.reconciliation_date, order_transitions.from_state, order_transitions.to_state
        """
    )


# -- 2026-11-25: lists ---------------------------------------------------------------------------------------------------


def add_lists(database: Database) -> None:
    """Lists of orders, submissions and BTNs are read in pages, from an index that has their order."""
    for index in ("orders_access_number", "btns_nearly_full"):
        database.execute(f"DROP INDEX {index}")
    for definition in (
        "events_source ON events (source, event)",
        "events_at ON events (at)",
        "orders_access_number ON orders (access_number, order_pk)",
        "btns_nearly_full ON btns ((valid - used), btn) WHERE valid - used < 1000",
    ):
        database.execute(f"CREATE INDEX {definition}")


# -- 2026-11-25: the archive ---------------------------------------------------------------------------------------------


def add_archived(database: Database) -> None:
    """Whether the folder of an event lies in an archive: of none yet."""
    columns = {"event": INT, "kind": TEXT, "source": TEXT, "digest": TEXT, "file_name": TEXT, "folder": TEXT, "at": TEXT,
               "rows": INT, "notes": TEXT, "readable": INT, "original_event": INT, "delivered": INT,
               "reconciliation_date": INT}  # fmt: skip
    _add_columns(database, "events", columns, "event", {"archived": INT})
    database.execute("CREATE INDEX events_in_outbox ON events (archived, at, event) WHERE archived = 0")


def _add_columns(database: Database, table: str, columns: dict[str, Any], key: str, more: dict[str, Any]) -> None:
    """More columns at the end of a table, empty or 0 in every row.

    SQLite keeps the default that it needs for a new column in the table's definition, so there the table is made again.
    """
    empty = {name: "''" if kind == TEXT else "0" for name, kind in more.items()}
    by_key = f" ORDER BY {key}" if key else ""
    if database.is_sqlite:
        of_table = f"FROM sqlite_schema WHERE tbl_name = '{table}' AND sql LIKE 'CREATE%INDEX%'"
        indexes = database.select({"sql": text("sql")}, of_table)
        database.execute(f"CREATE TABLE copied AS SELECT * FROM {table}")
        database.execute(f"DROP TABLE {table}")
        database.create_table(table, columns | more, key)
        database.execute(f"INSERT INTO {table} SELECT copied.*, {', '.join(empty.values())} FROM copied{by_key}")
        database.execute("DROP TABLE copied")
        for index in indexes["sql"]:
            database.execute(index)
    else:
        for name, kind in more.items():
            type_of = "TEXT" if kind == TEXT else "BIGINT"
            database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {type_of} NOT NULL DEFAULT {empty[name]}")
            database.execute(f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT")


# -- 2026-11-25: workers share an inbox -----------------------------------------------------------------------------------


def add_claims(database: Database) -> None:
    """The files that workers have in hand."""
    columns = {"source": TEXT, "name": TEXT, "inode": INT, "size": INT, "ctime_ns": INT, "worker": TEXT, "renewed_at": INT,
               "lease_seconds": INT}  # fmt: skip
    database.create_table("claims", columns, "source, name, inode, size, ctime_ns")


# -- 2026-11-25: releases written once, surplus cards, reports on hold ---------------------------------------------------


def write_releases_once(database: Database) -> None:
    """What was released in which file, how many cards of an order are confirmed, what reports have judged.

    All that was released before is one release of its order, in the file without a date that is there. Until now any report
    judged all that was placed.
    """
    _add_event_columns(database)
    _add_order_columns(database)
    columns = {"order_pk": INT, "card_order_pk": INT, "card_serial": INT, "outcome": INT, "settled_event": INT}
    _add_columns(database, "card_actions", columns, "order_pk, card_order_pk, card_serial", {"missed_event": INT})
    database.execute("UPDATE card_actions SET missed_event = settled_event WHERE outcome = 2")
    database.create_table(
        "order_files", {"order_pk": INT, "kind": TEXT, "event": INT, "part": INT, "cards": INT}, "order_pk, kind, event"
    )
    ranges = {"order_pk": INT, "first_serial": INT, "last_serial": INT, "event": INT}
    database.create_table("release_ranges", ranges, "order_pk, first_serial")
    approvals = {"event": INT, "about": TEXT, "decision": INT, "decided_by": TEXT, "why": TEXT, "decided_at": TEXT,
                 "used_event": INT}  # fmt: skip
    database.create_table("approvals", approvals, "event")
    _enter_releases(database)
    for definition in (
        "INDEX cards_surplus ON cards (order_pk, serial) WHERE state = 6",
        "INDEX card_actions_missed ON card_actions (missed_event) WHERE missed_event > 0",
        "INDEX order_files_event ON order_files (event)",
        "INDEX release_ranges_event ON release_ranges (event)",
        "INDEX approvals_waiting ON approvals (event) WHERE decision = 0",
        "INDEX approvals_used ON approvals (used_event) WHERE used_event > 0",
    ):
        database.execute(f"CREATE {definition}")


def _add_event_columns(database: Database) -> None:
    """The same bytes of a file in which everything was right get its answer again, and no other ones."""
    columns = {"event": INT, "kind": TEXT, "source": TEXT, "digest": TEXT, "file_name": TEXT, "folder": TEXT, "at": TEXT,
               "rows": INT, "notes": TEXT, "readable": INT, "original_event": INT, "delivered": INT,
               "reconciliation_date": INT, "archived": INT}  # fmt: skip
    for index in ("events_digest", "events_open_reports"):
        database.execute(f"DROP INDEX {index}")
    _add_columns(database, "events", columns, "event", {"file_at": TEXT, "final": INT, "replays": INT})
    database.execute("UPDATE events SET file_at = at WHERE kind = 'report'")
    database.execute(
        """
        UPDATE events SET final = 1
        WHERE kind = 'orders' AND readable = 1 AND NOT EXISTS (SELECT 1 FROM findings WHERE findings.event = events.event)
        """
    )
    for definition in (
        "UNIQUE INDEX events_digest ON events (source, digest) WHERE final = 1 AND original_event = event",
        "INDEX events_report_digest ON events (digest, event) WHERE kind = 'report'",
        "UNIQUE INDEX events_replays ON events (replays) WHERE replays > 0",
        "INDEX events_open ON events (event) WHERE reconciliation_date = 0 AND kind IN ('report', 'grant')",
    ):
        database.execute(f"CREATE {definition}")


def _add_order_columns(database: Database) -> None:
    columns = {"order_pk": INT, "event": INT, "order_id": TEXT, "account": TEXT, "order_sequence": INT,
               "customer_order_id": TEXT, "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT,
               "origin": TEXT, "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT,
               "cards": INT, "awaiting": INT, "since": TEXT}  # fmt: skip
    _add_columns(database, "orders", columns, "order_pk", {"confirmed": INT, "granted": INT, "judged_event": INT})
    database.execute(
        """
        UPDATE orders SET
            confirmed = (
                SELECT count(*) FROM state_transitions
                WHERE state_transitions.order_pk = orders.order_pk AND from_state IN (0, 2) AND to_state = 1
            ),
            judged_event = CASE WHEN awaiting = 2 THEN (SELECT max(events.event) FROM events) ELSE event END
        """
    )


def _enter_releases(database: Database) -> None:
    """One release an order of all cards that were ever ready; those of which no night has written yet are the next one's."""
    unwritten = """
        SELECT state_transitions.order_pk, state_transitions.serial
        FROM events
        JOIN order_transitions ON order_transitions.event = events.event
        JOIN state_transitions
            ON state_transitions.order_pk = order_transitions.order_pk AND state_transitions.event = events.event
        WHERE events.kind = 'report' AND events.reconciliation_date = 0 AND state_transitions.to_state = 1
    """
    event = "CASE WHEN unwritten.serial IS NULL THEN orders.event ELSE 0 END"
    database.execute(
        f"""
        INSERT INTO release_ranges
        SELECT order_pk, min(serial), max(serial), event FROM (
            SELECT cards.order_pk, cards.serial, {event} AS event,
                cards.serial - row_number() OVER (PARTITION BY cards.order_pk, {event} ORDER BY cards.serial) AS run
            FROM cards
            JOIN orders ON orders.order_pk = cards.order_pk
            LEFT JOIN ({unwritten}) AS unwritten
                ON unwritten.order_pk = cards.order_pk AND unwritten.serial = cards.serial
            WHERE cards.state = 1 OR (cards.state IN (3, 4) AND unwritten.serial IS NULL)
        ) AS released
        GROUP BY order_pk, event, run ORDER BY order_pk, min(serial)
        """
    )
    database.execute(
        """
        INSERT INTO order_files
        SELECT order_pk, 'release', event, 0, CAST(sum(last_serial - first_serial + 1) AS BIGINT)
        FROM release_ranges WHERE event > 0 GROUP BY order_pk, event ORDER BY order_pk
        """
    )


# -- 2026-11-26: digests of the outbox's files, figures of external codes --------------------------------------------------


def keep_digests(database: Database) -> None:
    """What `cards verify` compares the outbox and the external codes with. Files that are there have no digests yet: they
    get them when they are written again.
    """
    database.create_table("outbox_files", {"event": INT, "name": TEXT, "size": INT, "sha256": TEXT}, "event, name")
    database.create_table("external_figures", {"event": INT, "codes": INT, "checksum": INT}, "event")
    database.execute(
        """
        INSERT INTO external_figures
        SELECT 0, count(*), CAST(coalesce(sum(code % 2147483647), 0) AS BIGINT) FROM numbers WHERE order_pk = 0
        HAVING count(*) > 0
        """
    )


# -- 2026-11-26: figures of nights for analysts ----------------------------------------------------------------------------


def keep_figures(database: Database) -> None:
    """What happened in nights by reseller, account, product and access number, how many cards are active, and what was issued
    under BTNs in the last 90 days, worked out once from the history of cards.

    Of awaited, overdue and surplus there is no history: earlier nights have -1 there, and all but the last 30 for how long
    cards took to become ready.
    """
    group = {"reseller": TEXT, "account": TEXT, "product": TEXT, "access_number": TEXT}
    key = ", ".join(group)
    database.create_table("movements", {"reconciliation_date": INT, **group, "movement": TEXT, "cards": INT},
                          f"reconciliation_date, {key}, movement")  # fmt: skip
    database.create_table("balances", {"month": INT, **group, "active": INT}, f"month, {key}")
    measures = ("reconciliation_date", "awaited", "overdue", "active", "surplus", "median_seconds", "p95_seconds")
    database.create_table("night_measures", dict.fromkeys(measures, INT), "reconciliation_date")
    database.create_table("btn_days", {"btn": INT, "day": TEXT, "codes": INT}, "btn, day")
    _enter_movements(database, key)
    _enter_balances(database, key)
    _enter_measures(database)
    _enter_btn_days(database)


_MOVEMENT_WORDS: Final = """
    CASE
        WHEN from_state = 0 AND to_state = 1 THEN 'ready' WHEN from_state = 2 AND to_state = 1 THEN 'ready late'
        WHEN from_state = 6 AND to_state = 1 THEN 'granted' WHEN to_state = 2 THEN 'refused' WHEN to_state = 6 THEN 'surplus'
        WHEN from_state = 6 AND to_state = 4 THEN 'surplus disconnected' WHEN to_state = 4 THEN 'disconnected'
        WHEN to_state = 3 THEN 'blocked' ELSE 'unblocked'
    END
"""
_ADDED_WORDS: Final = "'ready', 'ready late', 'granted', 'changed in'"
_GONE_WORDS: Final = "'disconnected', 'changed out'"
_EFFECT: Final = f"""
    CAST(sum(
        CASE WHEN movement IN ({_ADDED_WORDS}) THEN cards WHEN movement IN ({_GONE_WORDS}) THEN -cards ELSE 0 END
    ) AS BIGINT)
"""


def _enter_movements(database: Database, key: str) -> None:
    """A card that was active has the product and access number that changes had given it by that night."""
    changes = {"order_pk": INT, "serial": INT, "settled": INT, "taken_by": INT, "night": INT, "product": TEXT,
               "access_number": TEXT}  # fmt: skip
    database.create_table("done_changes", changes, "order_pk, serial, settled, taken_by")
    database.execute(
        """
        INSERT INTO done_changes
        SELECT card_actions.card_order_pk, card_actions.card_serial, card_actions.settled_event, card_actions.order_pk,
            events.reconciliation_date, orders.product, orders.access_number
        FROM card_actions
        JOIN orders ON orders.order_pk = card_actions.order_pk AND orders.action = 'Change'
        JOIN events ON events.event = card_actions.settled_event AND events.reconciliation_date > 0
        WHERE card_actions.outcome = 1 AND card_actions.settled_event > 0
        """
    )
    parts = [_INACTIVE, _ACTIVE_BEFORE, *(_changed_cards(*how) for how in (("<", "changed out"), ("<=", "changed in"))), _NEW]
    database.execute(
        f"""
        INSERT INTO movements
        SELECT reconciliation_date, {key}, movement, CAST(sum(cards) AS BIGINT)
        FROM ({" UNION ALL ".join(parts)}) AS every
        GROUP BY reconciliation_date, {key}, movement
        """
    )
    database.execute("DROP TABLE done_changes")


def _set_by_changes(name: str, serial: str, night: str, before: str = "<=") -> str:
    """What a card of `orders` had at the end of a night, or before it."""
    return f"""
        coalesce((
            SELECT done_changes.{name} FROM done_changes
            WHERE done_changes.order_pk = orders.order_pk AND done_changes.serial = {serial}
            AND done_changes.night {before} {night} AND done_changes.{name} <> ''
            ORDER BY done_changes.settled DESC, done_changes.taken_by DESC LIMIT 1
        ), orders.{name})
    """


_OF_NIGHT: Final = """
    FROM events AS night
    JOIN order_transitions ON order_transitions.event = night.event
    JOIN orders ON orders.order_pk = order_transitions.order_pk
    JOIN events AS submission ON submission.event = orders.event
"""
_INACTIVE: Final = f"""
    SELECT night.reconciliation_date, submission.source AS reseller, orders.account, orders.product, orders.access_number,
        {_MOVEMENT_WORDS} AS movement, order_transitions.cards
    {_OF_NIGHT} WHERE night.reconciliation_date > 0 AND order_transitions.from_state NOT IN (1, 3)
"""
_ACTIVE_BEFORE: Final = f"""
    SELECT night.reconciliation_date, submission.source AS reseller, orders.account,
        {_set_by_changes("product", "moved.serial", "night.reconciliation_date")} AS product,
        {_set_by_changes("access_number", "moved.serial", "night.reconciliation_date")} AS access_number,
        {_MOVEMENT_WORDS.replace("from_state", "moved.from_state").replace("to_state", "moved.to_state")} AS movement,
        1 AS cards
    {_OF_NIGHT}
    JOIN state_transitions AS moved
        ON moved.order_pk = order_transitions.order_pk AND moved.event = order_transitions.event
        AND moved.from_state = order_transitions.from_state AND moved.to_state = order_transitions.to_state
    WHERE night.reconciliation_date > 0 AND order_transitions.from_state IN (1, 3)
"""
_NEW: Final = """
    SELECT night.reconciliation_date, submission.source AS reseller, orders.account, orders.product, orders.access_number,
        'replaced' AS movement, 1 AS cards
    FROM replacements
    JOIN events AS night ON night.event = replacements.event AND night.reconciliation_date > 0
    JOIN orders ON orders.order_pk = replacements.order_pk
    JOIN events AS submission ON submission.event = orders.event
"""


def _changed_cards(before: str, movement: str) -> str:
    """The cards that a night's changes gave another product or access number, unless they had been disconnected earlier."""
    values = {
        (name, how): _set_by_changes(name, "changed.serial", "changed.night", how)
        for name in ("product", "access_number") for how in ("<", "<=")
    }  # fmt: skip
    states = """
        FROM state_transitions JOIN events ON events.event = state_transitions.event
        WHERE state_transitions.order_pk = changed.order_pk AND state_transitions.serial = changed.serial
    """
    return f"""
        SELECT changed.night AS reconciliation_date, submission.source AS reseller, orders.account,
            {values["product", before]} AS product, {values["access_number", before]} AS access_number,
            '{movement}' AS movement, 1 AS cards
        FROM (SELECT DISTINCT order_pk, serial, night FROM done_changes) AS changed
        JOIN orders ON orders.order_pk = changed.order_pk
        JOIN events AS submission ON submission.event = orders.event
        WHERE ({values["product", "<"]} <> {values["product", "<="]}
            OR {values["access_number", "<"]} <> {values["access_number", "<="]})
        AND (
            (
                SELECT state_transitions.to_state {states} AND events.reconciliation_date BETWEEN 1 AND changed.night
                ORDER BY state_transitions.event DESC LIMIT 1
            ) IN (1, 3)
            OR EXISTS (
                SELECT 1 {states} AND events.reconciliation_date = changed.night
                AND state_transitions.from_state IN (1, 3) AND state_transitions.to_state = 4
            )
        )
    """


def _enter_balances(database: Database, key: str) -> None:
    """What is 0 at the end of a month in which it changed is kept: without a row, the month before would count."""
    months = database.select({"month": integer("DISTINCT reconciliation_date / 100")}, "FROM movements ORDER BY 1")["month"]
    for month in months:
        database.execute(
            f"""
            INSERT INTO balances
            SELECT {month}, {key}, {_EFFECT} FROM movements WHERE reconciliation_date / 100 <= {month}
            GROUP BY {key} HAVING {_EFFECT} <> 0 OR max(reconciliation_date) / 100 = {month}
            """
        )


def _enter_measures(database: Database) -> None:
    nights = database.select(
        {"reconciliation_date": integer("events.reconciliation_date"), "at": text("max(events.at)")},
        """
        FROM events WHERE events.reconciliation_date > 0 AND events.kind = 'night'
        GROUP BY events.reconciliation_date ORDER BY events.reconciliation_date
        """,
    )
    active = database.select(
        {"reconciliation_date": integer("reconciliation_date"), "effect": integer(_EFFECT)},
        "FROM movements GROUP BY reconciliation_date",
    )
    first = int(nights["reconciliation_date"].tail(30).min() or 0)  # type: ignore[arg-type]
    waited = database.select(
        {"reconciliation_date": integer("night.reconciliation_date"), "placed": text("submission.at"),
         "weight": integer("CAST(sum(order_transitions.cards) AS BIGINT)")},
        f"""
        {_OF_NIGHT} WHERE night.reconciliation_date > 0 AND night.reconciliation_date >= {first}
        AND order_transitions.to_state = 1 AND order_transitions.from_state <> 3
        GROUP BY night.reconciliation_date, submission.at
        """,
    ).join(nights, on="reconciliation_date")  # fmt: skip
    instant = {name: pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_zone="UTC") for name in ("at", "placed")}
    waited = waited.with_columns(value=(instant["at"] - instant["placed"]).dt.total_seconds().clip(0))
    shares = pl.DataFrame(
        [(night, weighted_quantile(part, 0.5, default=-1), weighted_quantile(part, 0.95, default=-1))
         for (night,), part in waited.group_by("reconciliation_date")],
        schema={"reconciliation_date": INT, "median_seconds": INT, "p95_seconds": INT}, orient="row",
    )  # fmt: skip
    rows = nights.join(active, on="reconciliation_date", how="left").join(shares, on="reconciliation_date", how="left")
    rows = rows.sort("reconciliation_date").select(
        "reconciliation_date", pl.col("effect").fill_null(0).cum_sum().alias("active"),
        pl.col("median_seconds", "p95_seconds").fill_null(-1),
    )  # fmt: skip
    database.execute_with(
        rows,
        "reconciliation_date",
        """
        INSERT INTO night_measures
        SELECT reconciliation_date, -1, -1, active, -1, median_seconds, p95_seconds FROM given WHERE 1 = 1
        """,
    )


def _enter_btn_days(database: Database) -> None:
    last = str(database.select({"at": text("coalesce(max(events.at), '')")}, "FROM events").item())[:10]
    if last:
        since = (date.fromisoformat(last) - timedelta(days=90)).isoformat()
        database.execute(
            f"""
            INSERT INTO btn_days
            SELECT btns.btn, substr(events.at, 1, 10), count(*)
            FROM events
            JOIN orders ON orders.event = events.event
            JOIN cards ON cards.order_pk = orders.order_pk
            JOIN btns ON btns.btn = cards.code / {PINS}
            WHERE events.at >= '{since}'
            GROUP BY btns.btn, substr(events.at, 1, 10)
            """
        )


# -- 2026-11-26: approvals, audit trail, notices ------------------------------------------------------------------------


def add_oversight(database: Database) -> None:
    """Orders that wait for approval, the audit trail, notifications, and what the catalogue says about both."""
    accounts = dict.fromkeys(["reseller", "account", "product", "description", "acceptance"], TEXT)
    _add_columns(database, "accounts", accounts, "", {"notify": TEXT, "approve_above": INT})
    database.create_table(
        "order_holds",
        {"hold": INT, "event": INT, "account": TEXT, "customer_order_id": TEXT, "content": TEXT, "codes": INT, "at": TEXT,
         "decision": INT, "decided_by": TEXT, "why": TEXT, "decided_at": TEXT, "order_pk": INT, "closed_event": INT},
        "hold",
    )  # fmt: skip
    entry = {"entry": INT, "at": TEXT, "who": TEXT, "action": TEXT, "subject": TEXT, "about": TEXT}
    database.create_table("audit_entries", entry, "entry")
    notice = {"notice": INT, "kind": TEXT, "subject": TEXT, "recipient": TEXT, "at": TEXT, "words": TEXT}
    database.create_table("notices", notice, "notice")
    delivery = {"notice": INT, "channel": TEXT, "sent_at": TEXT, "tries": INT, "leased_until": INT}
    database.create_table("notice_deliveries", delivery, "notice, channel")
    database.create_table("watermarks", {"name": TEXT, "event": INT}, "name")
    for definition in (
        "INDEX order_holds_order_id ON order_holds (account, customer_order_id)",
        "INDEX order_holds_open ON order_holds (hold) WHERE closed_event = 0",
        "INDEX order_holds_event ON order_holds (event)",
        "INDEX order_holds_order ON order_holds (order_pk) WHERE order_pk > 0",
        "INDEX order_holds_closed ON order_holds (closed_event) WHERE closed_event > 0",
        "INDEX audit_entries_at ON audit_entries (at)",
        "UNIQUE INDEX notices_subject ON notices (kind, subject, recipient)",
        "INDEX notice_deliveries_waiting ON notice_deliveries (channel, notice) WHERE sent_at = ''",
    ):
        database.execute(f"CREATE {definition}")
    _refuse_changes(database)


def _refuse_changes(database: Database) -> None:
    """Have the database refuse to change or delete entries of the audit trail."""
    refusal = "entries of the audit trail are neither changed nor deleted"
    if database.is_sqlite:
        for what in ("UPDATE", "DELETE"):
            database.execute(
                f"CREATE TRIGGER audit_entries_kept_{what.lower()} BEFORE {what} ON audit_entries "
                f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        return
    body = f"$$ BEGIN RAISE EXCEPTION '{refusal}' USING ERRCODE = 'restrict_violation'; END $$"
    database.execute(f"CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS {body}")
    database.execute(
        """
        CREATE TRIGGER audit_entries_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """
    )
