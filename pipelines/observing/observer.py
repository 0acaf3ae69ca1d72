"""Watch a run: its log, how long its steps take, and what is kept of it as the last of its flow."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pipelines.common.context import Log, Runtime
from pipelines.common.logs import Also, Form, Stream, is_asked_for, open_log
from pipelines.common.settings import Settings
from pipelines.observing import textfile
from pipelines.observing.metrics import Metrics, Tally


class Observer(NamedTuple):
    """Where the runs of a process are logged, and the metrics that count them (None: nobody asks)."""

    form: Form
    stream: Stream = "stderr"
    metrics: Metrics | None = None


def observer_of(settings: Settings) -> Observer:
    """The observer of a run by itself: it logs if CARDS_LOG is set. What it did stands in its result anyway."""
    return Observer(settings.log if is_asked_for(settings) else "")


@contextmanager
def observed(
    settings: Settings, flow: str, runtime: Runtime, observer: Observer, also: Also | None = None
) -> Iterator[Runtime]:
    """A runtime whose log and steps are observed. When the block ends, whatever it raises, the run is counted, and
    CARDS_METRICS_FILE is written. `also`: who else gets the lines.
    """
    tally, metrics = Tally(flow), observer.metrics
    written = open_log(observer.form, observer.stream, also) if observer.form or also else None
    heard = _heard(tally, metrics, written or runtime.log)
    checkpoint = _timed(metrics, runtime.checkpoint) if metrics else runtime.checkpoint
    try:
        yield runtime._replace(log=heard, checkpoint=checkpoint)
    except BaseException:
        tally.is_ok = False
        raise
    finally:
        tally.end()
        if metrics:
            metrics.ran(tally)
        if settings.metrics_file:
            textfile.renew(settings, tally, heard)


def _heard(tally: Tally, metrics: Metrics | None, log: Log) -> Log:
    def hear(event: str, **figures: Any) -> None:
        tally.hear(event, figures)
        if metrics:
            metrics.hear(event, figures)
        log(event, **figures)

    return hear


def _timed(metrics: Metrics, checkpoint: Callable[[str], None]) -> Callable[[str], None]:
    """A checkpoint that also notes how long it is since the one before in the same thread. A thread that has none yet was
    started by the work that the last one began.
    """
    mine = threading.local()
    last = time.monotonic()

    def reach(step: str) -> None:
        nonlocal last
        now = time.monotonic()
        metrics.time_step(step, now - getattr(mine, "last", last))
        checkpoint(step)
        mine.last = last = time.monotonic()

    return reach
