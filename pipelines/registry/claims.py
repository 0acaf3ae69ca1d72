"""Claims: which worker has which dropped files in hand, so that workers divide an inbox instead of each reading all of it.

A claim is a lease. Its worker renews it as long as it works on the file; a claim that is not renewed ends, and the file is
free. All times are the database's, so that machines whose clocks differ agree on when that is.

Claims divide work and decide nothing: a file, an order and a code are entered once by the transaction that enters them,
whoever claims what. No claim is worth a wait for the disk; one that a crash loses is a file that is free.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.registry.columns import columns_of
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.schema import INT, TEXT
from pipelines.registry.store import Registry, open_registry

_STUCK_SECONDS: Final = 3_600
"""A worker that has had the same files in hand for so long counts as stuck, and its claims are renewed no more."""
_END_SECONDS: Final = 5


class FileKey(NamedTuple):
    """What distinguishes a dropped file from every other without opening it. A file that replaces another is another one."""

    source: str
    name: str
    inode: int
    size: int
    ctime_ns: int


Choice = Callable[[Mapping[FileKey, str]], list[FileKey]]
"""Chooses what to claim, given the claims of other workers: the file and the worker of each."""
_KEY: Final = dict(zip(FileKey._fields, (TEXT, TEXT, INT, INT, INT), strict=True))


class Claims:
    """The claims of one worker. They are renewed in the background as long as the block lasts, and released at its end.

    `worker`: a name that no other worker ever has; `seconds`: how long a claim lasts that is not renewed.
    """

    def __init__(self, registry: Registry, url: str, worker: str, seconds: int) -> None:
        self.worker = worker
        self._registry, self._url, self._seconds = registry, url, seconds
        self._since = time.monotonic()
        self._ended = threading.Event()
        self._renewals = threading.Thread(target=self._renew, name="claims", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._renewals.is_alive():
            self._renewals.join(_END_SECONDS)
        with suppress(CardsError):  # without a registry they end by themselves
            self.release()

    def claim(self, choose: Choice) -> list[FileKey]:
        """Release what was claimed before and claim what is chosen, in one transaction."""
        with translate_db_errors(), self._registry.claim_transaction():
            self._remove([self.worker])
            claimed = self._registry.select(columns_of("claims", *_KEY, "worker"), "FROM claims")
            chosen = choose({FileKey(*key): worker for *key, worker in claimed.iter_rows()})
            self._enter(chosen)
        self._begin()
        return chosen

    def claim_events(self, dead: Iterable[str]) -> list[int]:
        """Release what workers had claimed that are dead, and claim the events whose folders may not be complete and whose
        files no other worker has in hand, in one transaction; their numbers.
        """
        with translate_db_errors(), self._registry.claim_transaction():
            self._remove(dead)
            events = self._registry.select(
                columns_of("events", "event", "source", "file_name"),
                """
                FROM events
                WHERE events.delivered = 0 AND NOT EXISTS (
                    SELECT 1 FROM claims WHERE claims.source = events.source AND claims.name = events.file_name
                )
                ORDER BY events.event
                """,
            )
            # its file may be gone: no file has the inode 0
            self._enter([FileKey(source, name, 0, 0, event) for event, source, name in events.iter_rows()])
        self._begin()
        return events["event"].to_list()

    def release(self) -> None:
        """Give all of them back."""
        with self._registry.claim_transaction():
            self._remove([self.worker])

    def _remove(self, workers: Iterable[str]) -> None:
        """Remove the claims of workers, and those that have ended."""
        for worker in workers:
            self._registry.execute("DELETE FROM claims WHERE worker = $1", worker)
        self._registry.execute(f"DELETE FROM claims WHERE NOT ({_is_live(self._registry)})")

    def _enter(self, keys: list[FileKey]) -> None:
        rows = pl.DataFrame(keys, _KEY, orient="row").with_columns(
            worker=pl.lit(self.worker), renewed_at=0, lease_seconds=self._seconds
        )
        self._registry.append("claims", rows)
        renew(self._registry, self.worker)

    def _begin(self) -> None:
        """Renew from now on what is claimed now."""
        self._since = time.monotonic()
        if not self._renewals.ident:
            self._renewals.start()

    def _renew(self) -> None:
        """Renew the claims again and again, over a connection of this thread's own."""
        while not self._ended.wait(self._seconds / 3):
            if time.monotonic() - self._since < _STUCK_SECONDS:
                with suppress(CardsError), open_registry(self._url, create=False) as registry, registry.claim_transaction():
                    renew(registry, self.worker)


def renew(registry: Registry, worker: str) -> None:
    """Let the leases of a worker begin again. Inside a transaction."""
    registry.execute(f"UPDATE claims SET renewed_at = {registry.clock} WHERE worker = $1", worker)


def workers(registry: Registry) -> set[str]:
    """The workers that have claims, ended ones too."""
    return set(registry.select(columns_of("claims", "worker"), "FROM claims GROUP BY claims.worker")["worker"])


def _is_live(registry: Registry) -> str:
    # either side: a clock that is set back lets no claim last for longer
    return f"abs({registry.clock} - claims.renewed_at) < claims.lease_seconds"
