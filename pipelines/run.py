"""A run: settings, registry and runtime in one value, which every job takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError
from pipelines.common.registry_mark import Mark, raise_mark, read_mark
from pipelines.common.settings import Settings
from pipelines.registry.claims import Claims
from pipelines.registry.store import Registry, open_registry

OLDER: Final = (
    "The registry is older than the outbox: it was restored from a backup, or CARDS_REGISTRY names another one. Nothing is "
    "issued or changed before it knows what was issued since. Run: cards recover"
)
EMPTY: Final = (
    "The registry is empty, and codes were issued from this home: registry.db was removed, or CARDS_REGISTRY names another "
    "database. Nothing is issued before it knows them. Restore a backup, or load the catalogue; then run: cards recover"
)


class Run(NamedTuple):
    """What a job works with: the settings in force, an open registry, and the runtime (clock, random bytes, progress)."""

    settings: Settings
    registry: Registry
    runtime: Runtime = Runtime()


@contextmanager
def open_run(settings: Settings, runtime: Runtime = Runtime(), *, create: bool = False) -> Iterator[Run]:
    """Open the registry of the settings for one run, and close it afterwards.

    A registry is made only with `create`: a home that was never set up raises NotSetUpError, so that a run in a wrong
    folder does not leave an empty registry there. Raises TransientError when the registry is unreachable.
    """
    with open_registry(settings.registry_url, create=create) as registry:
        yield Run(settings, registry, runtime)


def open_claims(run: Run, worker: str) -> Claims:
    """The claims of a worker, of which it has none yet."""
    return Claims(run.registry, run.settings.registry_url, worker, run.settings.claim_seconds)


def note_committed(run: Run, event: int) -> None:
    """Have the home remember that an event is committed: after the commit, and before anything of it is delivered."""
    at, folder = run.registry.event_key(event) or ("", "")
    raise_mark(run.settings.home, Mark(event, at, folder))


def require_current(run: Run) -> None:
    """Raise CardsError when the registry lacks what was committed in this home, as after it was restored from a backup."""
    mark = read_mark(run.settings.home)
    if mark is None or run.registry.event_key(mark.event) == (mark.at, mark.folder):
        return
    raise CardsError(EMPTY if run.registry.is_empty() else OLDER)
