"""What happened and how things stand, as notices: asked of the registry, put into words by `events`."""

import shutil
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.settings import Settings
from pipelines.common.times import instant, night_name
from pipelines.notify import events
from pipelines.registry import limits, lists, notices
from pipelines.run import Run

_LATE: Final = timedelta(minutes=10)
_OLD: Final = timedelta(days=3)
_NO_NIGHT: Final = timedelta(hours=26)
_NO_REPORT: Final = timedelta(hours=24)
_FREE_SHARE, _FREE_BYTES = 0.05, 1 << 30


class Happened(NamedTuple):
    """What events are worth telling: up to which one they were looked at, those of them that were passed by undelivered, and
    those passed by earlier that are looked at now.
    """

    notices: pl.DataFrame
    seen: int
    passed: list[int]
    resumed: list[int]


def since(run: Run, after: int) -> Happened:
    """What is worth telling of the events after this one, up to the first whose answer is being delivered.

    One that is not delivered after ten minutes keeps no other waiting; it is looked at when it is delivered.
    """
    registry, now = run.registry, run.runtime.now()
    found, late = _delivered_after(run, after)
    seen = max([after, *found["event"], *late["event"]])
    resumed = notices.late_events(registry)
    recent = pl.concat([notices.events(registry, resumed), found]).filter(~_before(now - _OLD))
    parts = [
        *_of_events(run, recent),
        events.late_answers(late),
        events.orders_on_hold(notices.orders_on_hold(registry, after, seen)),
        events.nearly_full(notices.nearly_full_btns(registry, after, seen)),
    ]
    return Happened(pl.concat(parts), seen, late["event"].to_list(), resumed)


def _delivered_after(run: Run, after: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events after this one that are delivered, up to the first that is in hand, and those that should be and are not."""
    found = notices.events_after(run.registry, after)
    undelivered = notices.undelivered(run.registry).filter(pl.col("event") > after)
    is_late = _before(run.runtime.now() - _LATE)
    if len(in_hand := undelivered.filter(~is_late)):
        found = found.filter(pl.col("event") < in_hand["event"].min())
    late = found.join(undelivered.filter(is_late), on="event", how="semi", maintain_order="left")
    return found.join(late, on="event", how="anti", maintain_order="left"), late


def _before(time: datetime) -> pl.Expr:
    """That an event was before a time."""
    return instant("at") < instant(pl.lit(time.isoformat(timespec="seconds")))


def _of_events(run: Run, found: pl.DataFrame) -> list[pl.DataFrame]:
    if found.is_empty():
        return []
    found = events.with_reasons(found, lists.reasons(run.registry, found["original_event"]))
    files, nights = found.filter(kind="orders"), found.filter(kind="night")
    reports = found.filter(pl.col("kind") == "report", pl.col("original_event") == pl.col("event"))
    parts = [events.of_files(files), events.over_quota(files)]
    if len(reports):
        parts.append(events.of_reports(reports, notices.waiting_reports(run.registry, reports["event"])))
    return parts + _of_nights(run, nights) if len(nights) else parts


def _of_nights(run: Run, nights: pl.DataFrame) -> list[pl.DataFrame]:
    registry = run.registry
    written = notices.order_files(registry, nights["event"]).join(
        nights.select("event", "folder"), on="event", maintain_order="left"
    )
    last = [notices.last_of_network(registry, "report", event) for event in nights["event"]]
    left = nights.with_columns(last=pl.Series(last, dtype=pl.String)).join(
        notices.measures(registry, nights["reconciliation_date"]), on="reconciliation_date", maintain_order="left"
    )
    left = left.with_columns(date=pl.col("reconciliation_date").map_elements(night_name, pl.String))
    by_then = instant("at") - _NO_REPORT
    none_came = (pl.col("last") == "") | (instant(pl.when(pl.col("last") != "").then("last")) < by_then)
    return [events.of_order_files(written), events.overdue(left), events.without_report(left.filter(none_came))]


def standing(run: Run) -> pl.DataFrame:
    """What is worth telling of how things stand: nights that do not run, holds, budgets, the disk."""
    registry, now = run.registry, run.runtime.now()
    return pl.concat([
        events.notices([*_disk(run.settings, now), *_night(run, now)]),
        events.resellers_on_hold(notices.resellers_on_hold(registry)),
        events.over_budget(
            limits.usage_of(registry, notices.resellers(registry)["reseller"], f"{now:%Y-%m-%d}"), _budgets(run.settings)
        ),
    ])  # fmt: skip


def _budgets(settings: Settings) -> dict[str, int]:
    return {"files": settings.max_daily_files, "bytes": settings.max_daily_mb << 20,
            "parse_ms": int(settings.max_daily_parse_seconds * 1000)}  # fmt: skip


def _disk(settings: Settings, now: datetime) -> list[events.Notice]:
    usage = shutil.disk_usage(settings.home)
    nearly_full = usage.free < _FREE_SHARE * usage.total or usage.free < _FREE_BYTES
    return [events.disk_nearly_full(now, usage.free, usage.total)] if nearly_full else []


def _night(run: Run, now: datetime) -> list[events.Notice]:
    last = notices.last_of_network(run.registry, "night")
    if last and now - datetime.fromisoformat(last) <= _NO_NIGHT:
        return []
    awaited = notices.oldest_awaited(run.registry)
    if awaited and now - datetime.fromisoformat(awaited) > _NO_NIGHT:
        return [events.night_missing(now, last)]
    return []
