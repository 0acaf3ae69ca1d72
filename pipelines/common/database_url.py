"""The registry's address as people may see it: never with a password.

A password with an unescaped @ / : ? or # makes an address ambiguous, and parts of it then pass for a host or a database.
So only an address that can be read in one way is shown, and of any other one nothing at all.
"""

import os
import re
from typing import Final
from urllib.parse import parse_qs, unquote

_HOST = r"(?:[\w.%-]*|\[[\w:.%]+\])(?::\d+)?"
_UNAMBIGUOUS: Final = re.compile(
    rf"""
    (?P<scheme>[a-z][a-z0-9+.-]*)://
    (?:(?P<user>[^\s:@/?\#]*)(?P<password>:[^\s@/?\#]+)?@)?
    (?P<hosts>{_HOST}(?:,{_HOST})*)
    (?:/(?P<database>[\w.%-]*))?
    (?:\?(?P<query>\w+=[^\s?\#@&]*(?:&\w+=[^\s?\#@&]*)*)?)?
    """,
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)


def mask_url(url: str) -> str:
    """An address of a database, right or wrong, without its password and its parameters."""
    if url.startswith("sqlite:") and not re.search("[@?]", url):
        return url
    found = _UNAMBIGUOUS.fullmatch(url)
    if not found:
        return "…"
    user = "" if found["user"] is None else f"{found['user']}{':…' if found['password'] else ''}@"
    database = "" if found["database"] is None else f"/{found['database']}"
    return f"{found['scheme']}://{user}{found['hosts']}{database}{'?…' if found['query'] else ''}"


def describe_url(url: str) -> str:
    """Where the registry is, in words: the path of an SQLite file, or host, port, database and user of a PostgreSQL one."""
    if url.startswith("sqlite:///"):
        return url.removeprefix("sqlite:///")
    if not (found := _UNAMBIGUOUS.fullmatch(url)):
        return "PostgreSQL at the address in CARDS_REGISTRY"
    given = {name: values[-1] for name, values in parse_qs(found["query"] or "").items()}
    hosts = given.get("host") or given.get("hostaddr") or found["hosts"] or os.environ.get("PGHOST", "")
    port = given.get("port") or os.environ.get("PGPORT", "5432")
    parts = [
        f"PostgreSQL at {' or '.join(_host(host, port) for host in hosts.split(','))}",
        _named("database", given.get("dbname") or found["database"]),
        _named("user", given.get("user") or found["user"]),
    ]
    return ", ".join(part for part in parts if part)


def is_ambiguous(url: str) -> bool:
    """Whether an address may hold a password with characters that have to be escaped."""
    return not _UNAMBIGUOUS.fullmatch(url)


def _host(text: str, port: str) -> str:
    found = re.fullmatch(r"(\[.*\]|[^:]*)(?::(\d+))?", text)
    host, own_port = found.groups() if found else (text, None)
    return f"{_printable(host) or 'this machine'}, port {own_port or port}"


def _named(what: str, value: str | None) -> str:
    return f"{what} {_printable(value)}" if value else ""


def _printable(text: str) -> str:
    return "".join(letter for letter in unquote(text) if letter.isprintable())
