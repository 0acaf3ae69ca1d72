"""Notices while `cards serve` runs: what waits is tried again every minute, and what needs no run is noticed."""

from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from pipelines.common.context import Log, Runtime
from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings
from pipelines.notify import notifying, outage
from pipelines.run import open_run

_SECONDS: Final = 60


class Notifier:
    """Notifies in a thread of its own, so that a slow receiver delays no run."""

    def __init__(self, settings: Settings, log: Log, seconds: float = _SECONDS) -> None:
        self._settings, self._runtime, self._seconds = settings, Runtime(log=log), seconds
        self._ended = Event()
        self._thread = Thread(target=self._work, name="notices", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()  # a message that is being sent is noted as sent, or it would be sent again

    def _work(self) -> None:
        warn = notifying.warner(self._runtime)
        while not self._ended.wait(self._seconds):
            try:
                with outage.watched(self._settings, warn), open_run(self._settings, self._runtime) as run:
                    for line in notifying.notify(run):
                        warn(line)
            except CardsError:  # the runs report this, and `outage` notifies of it
                continue
