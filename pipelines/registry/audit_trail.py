"""The audit trail: who did what, and when.

Files, nights and what the operator decided about cards are events already. What else people do has an entry of its own,
which the database lets nobody change or delete.
"""

from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.context import Runtime
from pipelines.common.masking import mask_codes
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.database import Database

_WHO: Final = """
    CASE events.kind
        WHEN 'night' THEN 'service' WHEN 'release' THEN CASE events.notes WHEN '' THEN 'operator' ELSE events.notes END
        WHEN 'grant' THEN 'operator' ELSE events.source
    END
"""
_OF_EVENTS: Final = {
    "at": text("events.at"),
    "origin": integer("0"),
    "number": integer("events.event"),
    "who": text(_WHO),
    "action": text("events.kind"),
    "subject": text("CASE events.kind WHEN 'release' THEN events.source ELSE events.folder END"),
    "file_name": text("events.file_name"),
    "rows": integer("events.rows"),
    "about": text("CASE events.kind WHEN 'grant' THEN events.notes ELSE '' END"),
    "reconciliation_date": integer("events.reconciliation_date"),
}
_OF_ENTRIES: Final = {
    "at": text("audit_entries.at"),
    "origin": integer("1"),
    "number": integer("audit_entries.entry"),
    **columns_of("audit_entries", "who", "action", "subject"),
    "file_name": text("''"),
    "rows": integer("0"),
    **columns_of("audit_entries", "about"),
    "reconciliation_date": integer("0"),
}
_NEVER: Final = "9999"
"""After every time, in any collation."""
_SOURCES: Final = (("events", "event", _OF_EVENTS), ("audit_entries", "entry", _OF_ENTRIES))


class Entry(NamedTuple):
    """What somebody did: when (ISO 8601), who, what, to what, and why or with which figures. It never holds a code."""

    at: str
    who: str
    action: str
    subject: str
    about: str


class Place(NamedTuple):
    """A place in the trail: that of a row (`at`, `origin`, `number`), or the time from which on rows are wanted."""

    at: str = ""
    origin: int = -1
    number: int = 0


def entry_of(runtime: Runtime, action: str, subject: str, about: str, by: str = "") -> Entry:
    """An entry of what the user of this process did now, or somebody else (`by`) by that user's hand."""
    user = runtime.user()
    texts = (mask_codes(part) for part in (f"{by} ({user})" if by else user, action, subject, about))
    return Entry(runtime.timestamp(), *texts)


def note(registry: Database, entry: Entry) -> None:
    """Enter what somebody did, in a transaction of its own."""
    with registry.transaction():
        enter_entry(registry, entry)


def enter_entry(registry: Database, entry: Entry) -> None:
    """Enter what somebody did. Inside a transaction."""
    number = registry.select({"next": integer("coalesce(max(entry), 0) + 1")}, "FROM audit_entries").item()
    registry.execute(f"INSERT INTO audit_entries VALUES ({int(number)}, $1, $2, $3, $4, $5)", *entry)


def keep_decision(registry: Database, waiting: str, decision: int, by: str, why: str, entry: Entry) -> bool:
    """Keep what was decided about what waits, with an entry; False when it waits no more. `waiting`: the table, and after WHERE
    the condition of the one row that waits.
    """
    table, _, condition = waiting.partition(" WHERE ")
    with registry.transaction():
        if registry.select({"waiting": integer("1")}, f"FROM {table} WHERE {condition}").is_empty():
            return False
        registry.execute(
            f"UPDATE {table} SET decision = {int(decision)}, decided_by = $1, why = $2, decided_at = $3 WHERE {condition}",
            by, why, entry.at,
        )  # fmt: skip
        enter_entry(registry, entry)
    return True


def newest(registry: Database, since: str, until: str, limit: int) -> pl.DataFrame:
    """The newest rows of the trail from a time on and before another (empty: no bound), newest first: `at`, `origin`, `number`,
    `who`, `action` (the kind of an event), `subject`, `file_name`, `rows`, `about`, `reconciliation_date`.
    """
    found = [
        registry.select(
            columns,
            f"""
            FROM {table} WHERE {table}.at >= $1 AND {table}.at < $2
            ORDER BY {table}.at DESC, {table}.{key} DESC LIMIT {limit}
            """,
            since,
            until or _NEVER,
        )
        for table, key, columns in _SOURCES
    ]
    return pl.concat(found).sort("at", "origin", "number", descending=True).head(limit)


def following(registry: Database, place: Place, until: str, limit: int) -> pl.DataFrame:
    """The rows that follow a place of the trail, oldest first; see `newest`."""
    found = [
        registry.select(columns, *_following(table, key, place, origin, limit), until or _NEVER)
        for origin, (table, key, columns) in enumerate(_SOURCES)
    ]
    return pl.concat(found).sort("at", "origin", "number").head(limit)


def _following(table: str, key: str, place: Place, origin: int, limit: int) -> tuple[Any, ...]:
    """FROM and WHERE, and the parameters but the last."""
    beyond = {True: f"{table}.{key} > {place.number}", False: "1 = 1" if origin > place.origin else "1 = 0"}
    after = f"{table}.at >= $1 AND ({table}.at > $1 OR {beyond[origin == place.origin]})"
    return f"FROM {table} WHERE {after} AND {table}.at < $2 ORDER BY {table}.at, {table}.{key} LIMIT {limit}", place.at


def decisions(registry: Database, after: str, until: str) -> pl.DataFrame:
    """What people did, of what has an entry, after a time and up to another one: `at`, `who`, `action`, `subject`, `about`."""
    rest = """
        FROM audit_entries WHERE audit_entries.at > $1 AND audit_entries.at <= $2
        ORDER BY audit_entries.at, audit_entries.entry
    """
    return registry.select(columns_of("audit_entries", "at", "who", "action", "subject", "about"), rest, after, until)


def keep_entries(database: Database) -> None:
    """Have the database refuse to change or delete entries. Inside a transaction."""
    refusal = "entries of the audit trail are neither changed nor deleted"
    if not database.is_sqlite:
        database.execute(
            f"""
            CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{refusal}' USING ERRCODE = 'restrict_violation'; END $$
            """
        )
        database.execute(
            """
            CREATE TRIGGER audit_entries_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
            """
        )
        return
    for what in ("UPDATE", "DELETE"):
        database.execute(
            f"CREATE TRIGGER audit_entries_kept_{what.lower()} BEFORE {what} ON audit_entries "
            f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
        )
