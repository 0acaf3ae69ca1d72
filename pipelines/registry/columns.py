"""The SELECT list of a query and the schema of its result, from one dict: `{name: integer("codes.code")}`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from pipelines.registry.schema import INT, TABLES, TEXT


class Column(NamedTuple):
    """An SQL expression and the type of its values in a frame."""

    sql: str
    kind: Any


Columns = Mapping[str, Column]


def text(sql: str) -> Column:
    """A column of text."""
    return Column(sql, TEXT)


def integer(sql: str) -> Column:
    """A column of integers."""
    return Column(sql, INT)


def columns_of(table: str, *names: str, alias: str = "") -> dict[str, Column]:
    """Columns of a table under their own names and types; all of them when none is named."""
    schema = TABLES[table]
    return {name: Column(f"{alias or table}.{name}", schema[name]) for name in names or schema.names()}


def select_list(columns: Columns) -> str:
    """What stands between SELECT and FROM."""
    return ", ".join(f'{column.sql} AS "{name}"' for name, column in columns.items())


def schema_of(columns: Columns) -> pl.Schema:
    """The schema of the result."""
    return pl.Schema({name: column.kind for name, column in columns.items()})
