"""Columns known by their headers: how every table from outside names them."""

import re
from collections.abc import Iterable
from typing import NamedTuple


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
