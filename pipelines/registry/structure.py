"""Whether the tables and indexes of a registry are those of `schema`."""

from pipelines.registry.database import Database
from pipelines.registry.schema import INDEXES, KEYS, TABLES


def wrong_tables(database: Database) -> list[str]:
    """The tables that are missing or have other columns."""
    there = database.definitions(indexes=False)
    return [name for name, columns in TABLES.items() if there.get(name) != ", ".join(columns)]


def wrong_indexes(database: Database) -> dict[str, str]:
    """The indexes that are missing or of another kind, by name, each with the statement that makes it.

    PostgreSQL keeps a definition in words of its own: there only whether an index is unique and valid is compared, but also
    whether each table has its primary key.
    """
    there = database.definitions(indexes=True)
    wanted = {statement.partition("INDEX ")[2].split(" ")[0]: statement for statement in INDEXES}
    wrong = {name: statement for name, statement in wanted.items() if not _is_as(there.get(name, ""), statement)}
    if not database.is_sqlite:  # there the key is part of the table
        keys = {f"{table}_pkey": f"ALTER TABLE {table} ADD PRIMARY KEY ({KEYS[table]})" for table in TABLES if table in KEYS}
        wrong |= {name: statement for name, statement in keys.items() if name not in there}
    return wrong


def _is_as(there: str, wanted: str) -> bool:
    return there == wanted or (there in ("CREATE INDEX", "CREATE UNIQUE INDEX") and wanted.startswith(f"{there} "))


def make_index(database: Database, name: str) -> None:
    """Make an index that is missing, in place of another one with its name. Raises CardsError when rows contradict it."""
    statement = wrong_indexes(database)[name]
    with database.transaction():
        if statement.startswith("CREATE"):
            database.execute(f"DROP INDEX IF EXISTS {name}")
        database.execute(statement)
