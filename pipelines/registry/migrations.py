"""Migrations: how a registry of an earlier version becomes one of this version.

A new registry is created from `schema` at once, with every migration recorded as applied. An earlier one gets the
migrations that it lacks, in order, each in a transaction of its own. A migration is never edited once it is released, and
it spells out its tables, because those of `schema` go on changing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, NotSetUpError
from pipelines.registry.columns import integer, text
from pipelines.registry.database import SET_UP, Database
from pipelines.registry.schema import INDEXES, INT, KEYS, MIGRATION, SMALL, TABLES, TEXT

Migration = Callable[[Database], None]


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


MIGRATIONS: Final[dict[str, Migration]] = {
    "2026-11-25 cluster tables": cluster_tables,
    "2026-11-25 limits": add_limits,
}
"""Each migration by its date and name, in the order in which they are applied; each raises the version by one, from 1."""
VERSION: Final = 1 + len(MIGRATIONS)


def prepare(
    database: Database,
    migrations: Mapping[str, Migration] = MIGRATIONS,
    timestamp: Callable[[], str] = Runtime().timestamp,
    *,
    create: bool = True,
) -> None:
    """Create the tables of a new registry, migrate an earlier one, refuse one of a newer program.

    Raises NotSetUpError for a database without tables, unless they are to be created.
    """
    if not database.has_table("version"):
        if not create:
            raise NotSetUpError(f"The database of CARDS_REGISTRY holds no registry. {SET_UP}")
        with database.transaction():
            if not database.has_table("version"):
                _create(database, migrations, timestamp())
    known, version = 1 + len(migrations), _version(database)
    if version > known:
        raise CardsError(f"The registry has version {version} and this program knows {known}. Update the program.")
    for _ in pending(database, migrations):
        with database.transaction():  # another process may have applied it while this one waited for its turn
            for name in pending(database, migrations)[:1]:
                _apply(database, name, migrations[name], timestamp())


def pending(database: Database, migrations: Mapping[str, Migration] = MIGRATIONS) -> list[str]:
    """The migrations that the registry lacks, in order."""
    if not database.has_table("migrations"):
        return list(migrations)
    applied = set(database.select({"name": text("name")}, "FROM migrations")["name"])
    return [name for name in migrations if name not in applied]


def _version(database: Database) -> int:
    return int(database.select({"version": integer("max(version)")}, "FROM version").item())


def _apply(database: Database, name: str, migration: Migration, at: str) -> None:
    if not database.has_table("migrations"):
        database.create_table("migrations", MIGRATION, KEYS["migrations"])
    migration(database)
    database.execute("INSERT INTO migrations VALUES ($1, $2)", name, at)
    database.execute("UPDATE version SET version = version + 1")


def _create(database: Database, migrations: Mapping[str, Migration], at: str) -> None:
    tables: dict[str, Mapping[str, Any]] = {**TABLES, "migrations": MIGRATION, "version": {"version": INT}}
    for table, columns in tables.items():
        database.create_table(table, columns, KEYS.get(table, ""))
    for index in INDEXES:
        database.execute(index)
    for name in migrations:
        database.execute("INSERT INTO migrations VALUES ($1, $2)", name, at)
    database.execute(f"INSERT INTO version VALUES ({1 + len(migrations)})")
