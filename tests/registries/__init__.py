"""Registries of earlier versions, and how to have one on either database."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_manager.dbapi as adbc
import adbc_driver_postgresql.dbapi as postgresql
import adbc_driver_sqlite.dbapi as sqlite
import polars as pl

HERE = Path(__file__).parent


def connect(url: str) -> adbc.Connection:
    """A connection without any of the product's code."""
    if url.startswith("sqlite"):
        return sqlite.connect(url.removeprefix("sqlite:///"), autocommit=True)
    return postgresql.connect(url, autocommit=True)


def put_version(version: int, url: str) -> None:
    """Make an empty database a registry of an earlier version: the kept one of SQLite, its rows under the kept schema of
    PostgreSQL.
    """
    kept = HERE / f"v{version}.db"
    if url.startswith("sqlite"):
        shutil.copy(kept, url.removeprefix("sqlite:///"))
        return
    with connect(f"sqlite:///{kept}") as source, connect(url) as target, source.cursor() as rows, target.cursor() as cursor:
        for statement in (HERE / f"v{version}.sql").read_text().split(";\n")[:-1]:
            cursor.execute(statement)
        rows.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'version'")
        for (table,) in rows.fetchall():
            rows.execute(f"SELECT * FROM {table}")
            frame = pl.DataFrame(rows.fetch_arrow_table())
            small = [name for name in ("was", "state", "from_state", "to_state") if name in frame.columns]
            cursor.adbc_ingest(table, frame.cast(dict.fromkeys(small, pl.Int16)).to_arrow(), mode="append")


@contextmanager
def copied_registry(url: str, home: Path) -> Iterator[str]:
    """The address of a copy of a registry that nobody has open; one of SQLite lies in this folder."""
    if url.startswith("sqlite"):
        copy = home / "copy.db"
        shutil.copy(url.removeprefix("sqlite:///"), copy)
        copy.chmod(0o600)
        yield f"sqlite:///{copy}"
        return
    name = re.search(r"/(cards\d+)", url)
    assert name
    server = url.replace(name[0], "/postgres")
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE copy_of_{name[1]} TEMPLATE {name[1]}")
        try:
            yield url.replace(name[0], f"/copy_of_{name[1]}")
        finally:
            cursor.execute(f"DROP DATABASE copy_of_{name[1]} WITH (FORCE)")


_POSTGRESQL = """
    SELECT table_name AS item, ordinal_position, column_name, concat_ws(' ', data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = current_schema()
    UNION ALL SELECT tablename, 0, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL SELECT conrelid::regclass::text, 0, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
"""


def structure(url: str) -> list[tuple[object, ...]]:
    """Tables, columns, types, keys and indexes of a database, as its own catalogue has them."""
    sqlite_query = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sqlite_query if url.startswith("sqlite") else _POSTGRESQL)
        return sorted(cursor.fetchall(), key=str)


def content(url: str) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table."""
    tables = (
        "SELECT name FROM sqlite_schema WHERE type = 'table'"
        if url.startswith("sqlite")
        else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    found = {}
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(tables)
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT * FROM {table}")
            found[table] = sorted(cursor.fetchall(), key=str)
    return found
