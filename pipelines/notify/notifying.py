"""Notify people of what happened, once, through every channel of those whom it concerns.

Events are read behind the commits that made them, so no job waits for this. What is worth telling is entered in one
transaction with how far events were looked at, and then sent from there, again and again until each channel has accepted it.
Each notice reaches each channel at least once. It is sent twice only where a process dies between a receiver's acceptance and
the commit that notes it, or where the receiver accepts it and does not say so in time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count as count_up
from threading import Lock
from typing import Any, Final

import polars as pl

from pipelines.common import log_events
from pipelines.common.context import Log, Runtime
from pipelines.common.errors import CardsError, TransientError, to_cards_error
from pipelines.common.words import count
from pipelines.notify import events, happened
from pipelines.notify.channels import SECONDS, AppriseProcess, Channel, channels
from pipelines.notify.events import Notice
from pipelines.registry import notices
from pipelines.run import Run

_LEASE_SECONDS: Final = SECONDS + 60
_DROPPED_AFTER: Final = timedelta(days=7)
_FORGOTTEN_AFTER: Final = timedelta(days=400)
"""A BTN that is nearly full may be reported again after this; everything else is over by then."""
_MANY_FILES: Final = 50
_NOTABLE: Final = frozenset(
    {log_events.OUTCOME_WRITTEN, log_events.RELEASE_WRITTEN, log_events.REPORT_ON_HOLD, log_events.NOT_DONE}
)
"""Events of the log of which people are always notified; of answers they are if something was rejected."""


def warner(runtime: Runtime) -> Callable[[str], None]:
    """A warning in the log for each thing of which nobody could be notified."""
    return lambda line: runtime.log(log_events.NOT_NOTIFIED, why=line)


@contextmanager
def at_end(run: Run, warn: Callable[[str], None] = lambda _: None) -> Iterator[tuple[Run, list[Notice]]]:
    """Notify when a job has ended, well or with an error: the run for the job, and a list to which is added what the job knows
    and the registry does not.

    No failure to notify fails the job: `warn` hears of it in words without codes and addresses. Without channels this is one
    small query.
    """
    known: list[Channel] = []
    also: list[Notice] = []
    with AppriseProcess(run.settings) as apprise:
        _safely(warn, lambda: known.extend(begin(run)))
        log = _log_that_starts(apprise, run.runtime.log) if known else run.runtime.log
        try:
            yield run._replace(runtime=run.runtime._replace(log=log)), also
        except TransientError:  # then hardly anything can be asked or entered, and the job itself says so
            _safely(lambda _: None, lambda: _notify(run, known, also, apprise, warn))
            raise
        except Exception:
            _safely(warn, lambda: _notify(run, known, also, apprise, warn))
            raise
        else:
            _safely(warn, lambda: _notify(run, known, also, apprise, warn))


def _log_that_starts(apprise: AppriseProcess, log: Log) -> Log:
    """A log that starts the process with the first event of which people are notified, or when so many files came that there
    will be one: it takes half a second, in which the job goes on.
    """
    lock, received = Lock(), count_up(1)

    def write(event: str, **figures: Any) -> None:
        log(event, **figures)
        is_many = event == log_events.FILE_RECEIVED and next(received) == _MANY_FILES
        if is_many or event in _NOTABLE or figures.get("reasons"):
            with lock:
                apprise.start()

    return write


@contextmanager
def failed_nights_reported(run: Run, also: list[Notice]) -> Iterator[list[CardsError]]:
    """Have people notified of a night that fails: by the error that it raises, or those that it adds to the list."""
    failures: list[CardsError] = []
    try:
        yield failures
    except Exception as error:
        failures.append(to_cards_error(error))
        raise
    finally:
        also += [events.night_failed(run.runtime.now(), str(error)) for error in failures[:1]]


def notify(run: Run) -> list[str]:
    """Notify of what happened since the last time; what could not be sent, in words. Raises nothing."""
    lines: list[str] = []
    with AppriseProcess(run.settings) as apprise:
        _safely(lines.append, lambda: _notify(run, begin(run), [], apprise, lines.append))
    return lines


def _safely(warn: Callable[[str], None], work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        warn(f"Nobody could be notified. {to_cards_error(error)}")


def configured(run: Run) -> list[Channel]:
    """The channels of the operator and of all resellers."""
    return channels(run.settings, notices.channels_of_resellers(run.registry))


def begin(run: Run) -> list[Channel]:
    """The channels. With some configured for the first time, notices begin with what happens from now on."""
    if known := configured(run):
        notices.begin(run.registry)
    return known


def _notify(run: Run, known: list[Channel], also: list[Notice], apprise: AppriseProcess, warn: Callable[[str], None]) -> None:
    if not known:
        return
    if also or notices.has_news(run.registry):
        apprise.start()  # it imports Apprise while the registry is asked
    enter(run, known, also)
    run.runtime.checkpoint("notices entered")
    for line in send(run, known, apprise):
        warn(line)


def enter(run: Run, known: list[Channel], also: list[Notice]) -> None:
    """Enter what is worth telling and was not entered before."""
    registry = run.registry
    given = pl.DataFrame(
        [(one.recipient, one.key) for one in known], {"recipient": pl.String, "channel": pl.String}, orient="row"
    )
    found = pl.concat([events.notices(also), happened.standing(run)])
    while True:
        after = notices.watermark(registry) or 0
        news = happened.since(run, after)
        new = pl.concat([found, news.notices]).filter(pl.col("recipient").is_in(given["recipient"].implode()))
        new = notices.not_entered(registry, new)
        if new.is_empty() and news.seen == after and not news.resumed:
            break
        new = new.with_columns(pl.col("words").map_elements(events.plain, pl.String))
        run.runtime.checkpoint("notices derived")
        notices.enter(registry, new, given, run.runtime.timestamp(), news.seen, news.passed, news.resumed)
    notices.drop_unconfigured(registry, given["channel"], _ago(run, _DROPPED_AFTER))
    notices.forget(registry, _ago(run, _FORGOTTEN_AFTER))


def _ago(run: Run, time: timedelta) -> str:
    return (run.runtime.now() - time).isoformat(timespec="seconds")


def send(run: Run, known: list[Channel], apprise: AppriseProcess) -> list[str]:
    """Send to each channel what waits for it, in one message; what was not accepted, in words."""
    return [line for channel in known for line in _send_all(run, apprise, channel)]


def _send_all(run: Run, apprise: AppriseProcess, channel: Channel) -> Iterator[str]:
    """Send what waits for a channel, and what others enter meanwhile, who leave it to whoever is sending."""
    registry = run.registry
    while len(waiting := notices.claim(registry, channel.key, channel.recipient, _LEASE_SECONDS)):
        run.runtime.checkpoint("notices claimed")
        outcome = apprise.send(channel, *events.message(waiting))
        run.runtime.checkpoint("notices sent")
        if not outcome.accepted:
            notices.mark_failed(registry, channel.key, waiting)
            number = count(len(waiting), "notice")
            whom = channel.recipient or "the operator"
            yield f"{channel.shown} of {whom} did not accept {number}: {outcome.why}. They are sent later"
            return
        notices.mark_sent(registry, channel.key, waiting, run.runtime.timestamp())
        run.runtime.log(log_events.NOTICES_SENT, channel=channel.shown, reseller=channel.recipient, notices=len(waiting))
        run.runtime.checkpoint("notices marked")


def send_tests(run: Run, reseller: str) -> list[dict[str, Any]]:
    """Send a test message to each channel of a reseller (empty: the operator): whether it was accepted, and if not, why."""
    whom = f"the reseller {reseller}" if reseller else "the operator"
    words = ("cards: test", f"This is a test. Notices for {whom} arrive here.")
    with AppriseProcess(run.settings) as apprise:
        sent = [(one, apprise.send(one, *words)) for one in configured(run) if one.recipient == reseller]
    return [{"channel": one.shown, "accepted": outcome.accepted, "why": outcome.why} for one, outcome in sent]


def waiting(run: Run) -> list[dict[str, Any]]:
    """What waits for each channel, and in how many seconds it is tried again."""
    shown = {one.key: one.shown for one in configured(run)}
    rows = notices.waiting(run.registry).iter_rows(named=True)
    return [
        {"for": row["recipient"] or "operator", "channel": shown.get(row["channel"], f"not configured ({row['channel'][:6]})"),
         "notices": row["notices"], "oldest": row["oldest"], "tries": row["tries"], "next_try_seconds": row["wait"]}
        for row in rows
    ]  # fmt: skip
