"""What becomes of the reports at hand: used, on hold, or saying nothing new."""

from typing import NamedTuple

import polars as pl

from pipelines.reconciliation.holds import Limits
from pipelines.reconciliation.matching import load_matches, match_reports, news, on_hold
from pipelines.registry import reconciliation
from pipelines.registry.records import ReportMatch
from pipelines.registry.store import Registry


class Report(NamedTuple):
    """A well-formed report: the digest of its bytes, when it was written (`file_at`, ISO 8601), and its rows."""

    digest: str
    file_at: str
    rows: pl.DataFrame


class Judged(NamedTuple):
    """What becomes of reports, by their events: those that say nothing new, with the event of the same bytes; those on hold,
    and why; those that were approved, with the event that was on hold; and what follows from all others.
    """

    repeated: dict[int, int]
    on_hold: dict[int, str]
    approved: dict[int, int]
    match: ReportMatch


def judge(reports: dict[int, Report], registry: Registry, limits: Limits) -> Judged:
    """What becomes of reports, by the numbers of the events as which they will be entered. Inside that transaction."""
    kinds = {"report": pl.Int64, "file_at": pl.String}
    written = pl.DataFrame([(event, report.file_at) for event, report in reports.items()], kinds, orient="row")
    none = pl.DataFrame(schema={"order_id": pl.String, "code": pl.String, "report": pl.Int64})
    rows = [report.rows.with_columns(report=pl.lit(event, pl.Int64)) for event, report in reports.items()]
    matched = load_matches(pl.concat([none, *rows]), written, registry)
    repeated, approved = _known(reports, news(matched, registry), registry)
    new = set(reports) - set(repeated)
    waiting = on_hold(matched.of(new), limits, set(approved))
    return Judged(repeated, waiting, approved, match_reports(matched.of(new - set(waiting)), registry))


def _known(reports: dict[int, Report], with_news: set[int], registry: Registry) -> tuple[dict[int, int], dict[int, int]]:
    """The reports that repeat an earlier one, or one of these, and say nothing new; and those that were approved."""
    digests = pl.Series([report.digest for report in reports.values()], dtype=pl.String)
    known = {row["digest"]: row for row in reconciliation.known_reports(registry, digests).iter_rows(named=True)}
    first: dict[str, int] = {}
    repeated: dict[int, int] = {}
    approved: dict[int, int] = {}
    for event, report in reports.items():
        before = known.get(report.digest, {"event": 0, "waiting": 0, "approved": 0})
        if report.digest in first:
            repeated[event] = first[report.digest]
        elif before["approved"]:
            approved[event] = before["approved"]
        elif before["waiting"] or (before["event"] and event not in with_news):
            repeated[event] = before["waiting"] or before["event"]
        first.setdefault(report.digest, repeated.get(event, event))
    return repeated, approved
