"""The totals of a night, and what in them needs attention."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from pipelines.common.times import instant
from pipelines.common.words import count
from pipelines.excel.book import Attention
from pipelines.registry.records import NightRecords
from schemas.actions import ActionOutcome, ApprovalDecision
from schemas.codes import NOT_YET_READY, CardState


@dataclass(frozen=True)
class NightFigures:
    """The totals of a night. `workbook` is its path, relative to the home."""

    orders_closed: int
    codes_ready: int
    codes_ready_late: int
    codes_refused: int
    codes_replaced: int
    codes_surplus: int
    cards_changed: int
    cards_not_changed: int
    unexpected: int
    reports_used: int
    reports_rejected: int
    reports_on_hold: int
    orders_awaited: int
    orders_overdue: int
    workbook: str


def night_figures(night: NightRecords, overdue_hours: float, workbook: str) -> NightFigures:
    """The totals of a night, whose workbook lies at a path."""
    return NightFigures(
        orders_closed=night.orders.filter(pl.col("awaiting") == 0).height,
        codes_ready=_changed(night.counts, NOT_YET_READY, CardState.READY),
        codes_ready_late=_changed(night.counts, (CardState.REFUSED,), CardState.READY),
        codes_refused=_changed(night.counts, (CardState.PLACED,), CardState.REFUSED),
        codes_replaced=len(night.replaced),
        codes_surplus=_changed(night.counts, (CardState.PLACED, CardState.REFUSED), CardState.SURPLUS),
        cards_changed=night.outcomes.filter(pl.col("outcome") == ActionOutcome.SHOWN).height,
        cards_not_changed=night.outcomes.filter(pl.col("outcome") == ActionOutcome.NOT_SHOWN).height,
        unexpected=len(night.unexpected),
        reports_used=night.reports.filter(readable=1, repeated=0).height,
        reports_rejected=_rejected(night.reports).height,
        reports_on_hold=_waiting(night.reports).height,
        orders_awaited=len(night.awaited),
        orders_overdue=int((hours_awaited(night) > overdue_hours).sum()),
        workbook=workbook,
    )


NIGHTS: Final = "Nights"
"""The sheet with the key figures of each night."""


def _rejected(reports: pl.DataFrame) -> pl.DataFrame:
    return reports.filter(pl.col("reasons") != "")


def _waiting(reports: pl.DataFrame) -> pl.DataFrame:
    return reports.filter(pl.col("about") != "", pl.col("decision") == ApprovalDecision.WAITING)


def _changed(counts: pl.DataFrame, before: tuple[CardState, ...], after: CardState) -> int:
    """How many cards went from one of these states to another."""
    chosen = counts.filter(pl.col("from_state").is_in(before), pl.col("to_state") == after)
    return int(chosen["cards"].sum())


def hours_awaited(night: NightRecords) -> pl.Series:
    """How old each awaited order was when the night ran, in hours."""
    age = (instant(pl.lit(night.event["at"])) - instant("since")).dt.total_seconds() / 3600
    return night.awaited.select(hours=age)["hours"]


def attention(night: NightRecords, figures: NightFigures) -> list[Attention]:
    """What needs action, the most urgent first, each with the sheet that it is about."""
    lines = [*_about_reports(night, figures)]
    for number, text, sheet in (
        (figures.orders_overdue, _overdue, "Awaited"),
        (night.surplus_cards, _surplus, "Surplus" if len(night.surplus) else NIGHTS),
        (figures.codes_refused - figures.codes_replaced, _not_replaced, "Refused"),
        (figures.cards_not_changed, _not_changed, "Changes"),
        (figures.unexpected, _unexpected, "Unexpected"),
    ):
        if number:
            lines.append(Attention(text(number), sheet))
    return lines


def _overdue(number: int) -> str:
    return f"{count(number, 'order is', 'orders are')} overdue: ask the network for a report."


def _surplus(number: int) -> str:
    return (
        f"{count(number, 'card is', 'cards are')} surplus: the network has more cards than were ordered. Disconnect or grant "
        "them (cards surplus)."
    )


def _not_replaced(number: int) -> str:
    words = count(number, "refused code was", "refused codes were")
    return f"{words} not replaced. The sheet says what the reseller should do."


def _not_changed(number: int) -> str:
    return f"{count(number, 'card was', 'cards were')} not changed although an order asked for it."


def _unexpected(number: int) -> str:
    return f"{count(number, 'line', 'lines')} of the network's reports do not agree with the registry."


def _about_reports(night: NightRecords, figures: NightFigures) -> list[Attention]:
    """Reports that were not used, and a night without any although orders wait for one."""
    lines = []
    if rejected := figures.reports_rejected:
        them = "it" if rejected == 1 else "them"
        lines.append(
            Attention(
                f"{count(rejected, 'network report could', 'network reports could')} not be used, and nothing was done with "
                f"{them}: ask the network to send {them} again.",
                "Reports",
            )
        )
    if waiting := figures.reports_on_hold:
        lines.append(
            Attention(
                f"{count(waiting, 'network report is', 'network reports are')} on hold and {'has' if waiting == 1 else 'have'} "
                "changed nothing: look at the figures, then cards approve or cards reject.",
                "Reports",
            )
        )
    if night.reports.is_empty() and (awaited := figures.orders_awaited):
        lines.append(
            Attention(f"No network report came, although {count(awaited, 'order waits', 'orders wait')} for one.", "Awaited")
        )
    return lines
