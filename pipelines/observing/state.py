"""How things stand, as metrics: the registry's figures and the queue in the inbox, read when somebody asks."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipelines.common.context import Runtime
from pipelines.common.errors import CardsError
from pipelines.common.masking import mask_codes
from pipelines.common.settings import Settings
from pipelines.intake import inbox
from pipelines.observing.reading import Read, Reading
from pipelines.registry.standing import Standing, answers, standing
from pipelines.registry.store import open_registry
from schemas.sources import NETWORK, OPERATOR

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

UNKNOWN: Final = "unknown"
"""Stands for all folders of the inbox that the catalogue does not list: strangers name no label."""


class RegistryState(NamedTuple):
    """What the registry says, and how long it took to say anything."""

    standing: Standing
    latency: float


class Queue(NamedTuple):
    """The files of a folder of the inbox: how many, and the change time of the oldest."""

    files: int
    oldest: float


GAUGES: Final = {
    "cards_registry_up": ("Whether the registry answers (1) or not (0)", ()),
    "cards_registry_latency_seconds": ("How long the registry took to answer the shortest question", ()),
    "cards_orders_awaited": ("Orders that wait for a report of the network (counted up to 100,000)", ()),
    "cards_orders_overdue": ("Awaited orders that have waited longer than CARDS_OVERDUE_HOURS", ()),
    "cards_orders_on_hold": ("Orders that wait for approval", ()),
    "cards_reports_on_hold": ("Reports of the network that wait for approval", ()),
    "cards_resellers_on_hold": ("Resellers whose chosen codes are refused until the hold is cleared", ()),
    "cards_files_undelivered": (
        "Files and nights that are committed and not all written; in hand, or left by a run that died",
        (),
    ),
    "cards_notices_waiting": ("Notifications that are not sent yet", ()),
    "cards_last_night_timestamp_seconds": ("When the last night began, whoever ran it", ()),
    "cards_last_night_seconds": ("How long it took until all of the last night was written, in whole seconds", ()),
    "cards_last_night_success": ("Whether all that the last night did is written and delivered (1) or not (0)", ()),
    "cards_queue_files": ("Files in the inbox, by reseller; folders without files are left out", ("reseller",)),
    "cards_queue_oldest_seconds": ("How long the oldest file has lain in the inbox, by reseller", ("reseller",)),
    "cards_inbox_up": ("Whether the folders of the inbox can be read and the outbox can be written to (1) or not (0)", ()),
}
"""Each gauge with its meaning and its labels."""


@dataclass(eq=False)
class State:
    """How things stand in a home. The readings are shared by all who ask."""

    settings: Settings
    registry: Reading[RegistryState] = field(init=False)
    queues: Reading[dict[str, Queue]] = field(init=False)

    def __post_init__(self) -> None:
        self.registry = Reading("The registry", lambda: read_registry(self.settings))
        self.queues = Reading("The inbox", lambda: read_queues(self.settings))

    def problems(self) -> list[str]:
        """What keeps files from being answered; no problem names a code or a password."""
        return [mask_codes(one.problem) for one in (self.registry.latest(), self.queues.latest()) if one.problem]

    def describe(self) -> Iterator["GaugeMetricFamily"]:
        """The gauges without values, for who registers this."""
        yield from _families().values()

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """The gauges, as Prometheus' client asks for them."""
        yield from gauges(self.registry.latest(), self.queues.latest())


def read_registry(settings: Settings) -> RegistryState:
    """Ask the registry how things stand."""
    runtime = Runtime()
    overdue_before = (runtime.now() - timedelta(hours=settings.overdue_hours)).isoformat(timespec="seconds")
    with open_registry(settings.registry_url, create=False) as registry:
        begun = time.monotonic()
        answers(registry)
        latency = time.monotonic() - begun
        return RegistryState(standing(registry, overdue_before), latency)


def read_queues(settings: Settings) -> dict[str, Queue]:
    """Look through the inbox. Raises CardsError when a folder can't be read, or the outbox can't be written to."""
    found = inbox.scan(settings.inbox)
    _require_folders(settings)
    if found.failures:
        raise found.failures[0]
    queues: dict[str, Queue] = {}
    for file in (*found.files, *found.linked):
        before = queues.get(file.source, Queue(0, time.time()))
        queues[file.source] = Queue(before.files + 1, min(before.oldest, file.ctime_ns / 1e9))
    return queues


def _require_folders(settings: Settings) -> None:
    outbox = settings.outbox if settings.outbox.is_dir() else settings.home
    for folder, mode, words in ((settings.inbox, os.R_OK | os.X_OK, "read"), (outbox, os.W_OK | os.X_OK, "written to")):
        if not Path(folder).is_dir() or not os.access(folder, mode):
            raise CardsError(f"{folder} can't be {words}.")


def gauges(registry: Read[RegistryState], queues: Read[dict[str, Queue]]) -> list["GaugeMetricFamily"]:
    """The gauges; what was never read is left out."""
    families = _families()

    def put(name: str, value: float | None, *labels: str) -> None:
        if value is not None:
            families[name].add_metric(labels, value)

    put("cards_registry_up", float(not registry.problem))
    put("cards_inbox_up", float(not queues.problem))
    known: frozenset[str] = frozenset()
    if registry.value:
        put("cards_registry_latency_seconds", registry.value.latency)
        for name, value in _registry_values(registry.value.standing).items():
            put(name, value)
        known = registry.value.standing.resellers
    for reseller, queue in _by_known(queues.value or {}, known).items():
        put("cards_queue_files", queue.files, reseller)
        put("cards_queue_oldest_seconds", max(0.0, time.time() - queue.oldest), reseller)
    return list(families.values())


def _families() -> dict[str, Any]:
    from prometheus_client.core import GaugeMetricFamily

    return {name: GaugeMetricFamily(name, words, labels=labels) for name, (words, labels) in GAUGES.items()}


def _registry_values(found: Standing) -> dict[str, float | None]:
    night = found.night
    return {
        **{f"cards_{name}": value for name, value in found._asdict().items() if name not in ("night", "resellers")},
        "cards_last_night_timestamp_seconds": night.begun.timestamp() if night else None,
        "cards_last_night_seconds": night.seconds if night else None,
        "cards_last_night_success": float(night.is_delivered) if night else None,
    }


def _by_known(queues: dict[str, Queue], known: frozenset[str]) -> dict[str, Queue]:
    """The queues by labels that we chose: resellers of the catalogue, the operator, the network; all others together."""
    merged: dict[str, Queue] = {}
    for source, queue in queues.items():
        label = mask_codes(source) if source in known or source in (OPERATOR, NETWORK) else UNKNOWN
        before = merged.get(label, Queue(0, queue.oldest))
        merged[label] = Queue(before.files + queue.files, min(before.oldest, queue.oldest))
    return merged
