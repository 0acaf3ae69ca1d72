"""Metrics in a file for the textfile collector of node_exporter, where no service runs that could be scraped."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipelines.common.context import Log
from pipelines.common.errors import to_cards_error
from pipelines.common.log_events import NO_METRICS
from pipelines.common.settings import Settings
from pipelines.observing.metrics import FLOWS, LAST_RUN, Tally, last_of
from pipelines.observing.reading import Read
from pipelines.observing.state import gauges, read_queues, read_registry

T = TypeVar("T")


def renew(settings: Settings, tally: Tally, log: Log) -> None:
    """Write the file again after a run. What can't be written stops no work."""
    path = Path(settings.metrics_file)
    try:
        _write(path, _content(settings, tally, _kept(path)))
    except Exception as error:
        log(NO_METRICS, file=str(path), error=str(to_cards_error(error)))


def _kept(path: Path) -> dict[str, dict[str, float]]:
    """What the file says of the last run of each flow: those of another flow are kept."""
    from prometheus_client.parser import text_string_to_metric_families

    last: dict[str, dict[str, float]] = {}
    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):  # there is none yet, or somebody else wrote it
        return last
    for family in families:
        for sample in family.samples:
            name = sample.name.removeprefix("cards_last_run_")
            if name in LAST_RUN and sample.labels.get("flow") in FLOWS:
                last.setdefault(sample.labels["flow"], {})[name] = sample.value
    return last


def _content(settings: Settings, tally: Tally, kept: dict[str, dict[str, float]]) -> bytes:
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    last = {name: Gauge(f"cards_last_run_{name}", words, ["flow"], registry=registry) for name, words in LAST_RUN.items()}
    for flow, values in {**kept, tally.flow: last_of(tally)}.items():
        for name, value in values.items():
            last[name].labels(flow).set(value)
    registry.register(_Now(gauges(_read(lambda: read_registry(settings)), _read(lambda: read_queues(settings)))))
    return generate_latest(registry)


class _Now:
    """Families that were read just now."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """The families."""
        return self._families


def _read(read: Callable[[], T]) -> Read[T]:
    try:
        return Read(read(), "")
    except Exception as error:
        return Read(None, str(to_cards_error(error)))


def _write(path: Path, content: bytes) -> None:
    """Replace the file at once. node_exporter, another user, may read it; it takes no file whose name ends otherwise."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
