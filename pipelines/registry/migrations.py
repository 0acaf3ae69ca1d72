"""Migrations: how a registry of an earlier version becomes one of this version.

A new registry is created from `schema` at once, with every migration recorded as applied. An earlier one gets the
migrations that it lacks, in order, each in a transaction of its own. `schema_changes` has the functions.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError, NotSetUpError
from pipelines.registry.audit_trail import keep_entries
from pipelines.registry.columns import integer, text
from pipelines.registry.database import SET_UP, Database
from pipelines.registry.schema import INDEXES, INT, KEYS, MIGRATION, TABLES
from pipelines.registry.schema_changes import (
    add_archived,
    add_claims,
    add_limits,
    add_lists,
    add_oversight,
    cluster_cards_by_order,
    cluster_tables,
    keep_digests,
    keep_figures,
    write_releases_once,
)

Migration = Callable[[Database], None]


MIGRATIONS: Final[dict[str, Migration]] = {
    "2026-11-25 cluster tables": cluster_tables,
    "2026-11-25 limits": add_limits,
    "2026-11-25 registry by order": cluster_cards_by_order,
    "2026-11-25 registry lists": add_lists,
    "2026-11-25 retention": add_archived,
    "2026-11-25 share the inbox": add_claims,
    "2026-11-25 write releases once": write_releases_once,
    "2026-11-26 keep digests": keep_digests,
    "2026-11-26 keep figures of nights": keep_figures,
    "2026-11-26 oversight": add_oversight,
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
    keep_entries(database)
    for name in migrations:
        database.execute("INSERT INTO migrations VALUES ($1, $2)", name, at)
    database.execute(f"INSERT INTO version VALUES ({1 + len(migrations)})")
