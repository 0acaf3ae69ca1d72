"""What databases say is wrong, in words of ours.

The text of a database error may hold codes, and that of a failed connection parts of a password. So only phrases that are
known are read from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import adbc_driver_manager
import adbc_driver_manager.dbapi as adbc

from pipelines.common.database_url import describe_url, is_ambiguous
from pipelines.common.errors import CardsError, TransientError

_SQLITE_PHRASES: Final = (
    "database is locked", "database or disk is full", "disk I/O error", "database disk image is malformed",
    "file is not a database", "attempt to write a readonly database", "unable to open database file",
)  # fmt: skip
_CONNECTION_CAUSES: Final = {
    "password authentication failed": "the password is wrong, or the user does not exist",
    "no password supplied": "the server asks for a password and none is set",
    "no pg_hba.conf entry": "the server does not admit this user from here (its pg_hba.conf has no entry)",
    "pg_hba.conf rejects": "the server does not admit this user from here (its pg_hba.conf rejects it)",
    "authentication failed": "the server does not accept the user's credentials",
    "FATAL:  role": "the user does not exist",
    "FATAL:  database": "the database does not exist",
    "permission denied for database": "the user has no permission to connect to the database",
    "too many clients": "the server has no connection left",
    "remaining connection slots": "the server has no connection left",
    "too many connections": "the server has no connection left for this user or database",
    "is starting up": "the server is starting up",
    "is shutting down": "the server is shutting down",
    "recovery mode": "the server is recovering from a crash",
    "could not translate host name": "the host is unknown",
    "Connection refused": "the connection is refused (is the server running?)",
    "timeout expired": "there is no answer (timeout)",
    "Connection timed out": "there is no answer (timeout)",
    "No route to host": "there is no route to the host",
    "Network is unreachable": "the network is unreachable",
    "No such file or directory": "there is no socket (is the server running?)",
    "Permission denied": "permission to use the socket is denied",
    "server closed the connection": "the server closed the connection",
    "SSL": "no encrypted connection could be made (SSL)",
}
"""Phrases of libpq and the server, the more telling ones first: of several hosts each has its own."""
_ADDRESS_PHRASES: Final = (
    "invalid percent-encoded token", "URI query parameter", "invalid integer value", "invalid port number", "invalid URI",
    "unexpected character", "forbidden value", "end of string reached", "invalid connection option",
)  # fmt: skip
_ESCAPE: Final = "In CARDS_REGISTRY, write @ : / ? # % in a password as %40 %3A %2F %3F %23 %25."


@contextmanager
def translate_db_errors(place: str = "The registry") -> Iterator[None]:
    """Database errors as errors of ours, without the statement, which may hold codes."""
    try:
        yield
    except adbc.OperationalError as error:
        raise TransientError(
            f"{place} is busy or out of reach. It is tried again with the next run. ({_cause(error)})"
        ) from None
    except adbc.Error as error:
        raise CardsError(f"{place} refuses: {_cause(error)}") from None


@contextmanager
def translate_connection_errors(url: str) -> Iterator[None]:
    """Errors of opening a database as errors of ours that name the place and the cause, and never a password."""
    try:
        yield
    except adbc.Error as error:
        said = str(error)
        place = f"The registry can't be opened: {describe_url(url)}"
        advice = f" {_ESCAPE}" if is_ambiguous(url) and not url.startswith("sqlite") else ""
        if any(phrase in said for phrase in _ADDRESS_PHRASES):
            raise CardsError(f"{place}: the address is not valid.{advice}") from None
        known = (words for phrase, words in _CONNECTION_CAUSES.items() if phrase in said)
        cause = _cause(error) if url.startswith("sqlite") else next(known, _cause(error))
        if isinstance(error, adbc.OperationalError):
            raise TransientError(f"{place}: {cause}. It is tried again with the next run.{advice}") from None
        raise CardsError(f"{place}: {cause}.{advice}") from None


def _cause(error: adbc.Error) -> str:
    """What SQLite says where that is one of its own sentences, else the class of a database error and its state."""
    if said := next((text for text in _SQLITE_PHRASES if text in str(error)), ""):
        return said
    state = getattr(error, "sqlstate", None) or ""
    code = getattr(error, "status_code", adbc_driver_manager.AdbcStatusCode.UNKNOWN)
    return f"{type(error).__name__} {code.name} {state}".strip()
