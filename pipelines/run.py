"""A run: settings, registry and runtime in one value, which every job takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelines.common.context import Runtime
from pipelines.common.settings import Settings
from pipelines.registry.claims import Claims
from pipelines.registry.store import Registry, open_registry


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
