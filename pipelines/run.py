"""A run: settings, registry and runtime in one value, which every job takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelines.common.context import Runtime
from pipelines.common.settings import Settings
from pipelines.registry.store import Registry, open_registry


class Run(NamedTuple):
    """What a job works with: the settings in force, an open registry, and the runtime (clock, random bytes, progress)."""

    settings: Settings
    registry: Registry
    runtime: Runtime = Runtime()


@contextmanager
def open_run(settings: Settings, runtime: Runtime = Runtime()) -> Iterator[Run]:
    """Open the registry of the settings for one run, and close it afterwards.

    Raises TransientError when the registry is out of reach.
    """
    with open_registry(settings.registry_url) as registry:
        yield Run(settings, registry, runtime)
