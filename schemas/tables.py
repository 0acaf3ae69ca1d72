"""What every table from outside has in common: columns known by header, aliases, and rules that are named."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import pandera.polars as pa
import polars as pl


class Column(NamedTuple):
    """A column of a file: its name in our frames, its header, its other spellings, and what may stand in it."""

    name: str
    header: str
    aliases: tuple[str, ...]
    value: str


def header_key(header: str) -> str:
    """A header without case, spaces and punctuation, which is how headers are compared."""
    return re.sub(r"[\W_]+", "", header).lower()


def by_header(columns: Iterable[Column]) -> dict[str, str]:
    """Every spelling of every column's header, as `header_key` gives it, to the column's name."""
    return {header_key(text): column.name for column in columns for text in (column.header, *column.aliases)}


def check(rule: pl.Expr, reason: str) -> pa.Check:
    """A rule on one column, named by its reason; cells without a value are not asked."""
    return pa.Check(lambda data: data.lazyframe.select(rule), error=reason)


def present(name: str, reason: str) -> pa.Check:
    """The rule that a cell has a value."""
    return pa.Check(lambda data: data.lazyframe.select(pl.col(name).is_not_null()), error=reason, ignore_na=False)
