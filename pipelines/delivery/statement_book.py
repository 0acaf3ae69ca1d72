"""What a monthly statement says: its lines for programs, and its workbook, for a reseller or for the operator."""

from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.common.times import month_text, night_name
from pipelines.common.words import count
from pipelines.excel.book import Book, Sheet
from pipelines.excel.presentation import telephone
from pipelines.insight import statement
from pipelines.insight.statement import month_name
from pipelines.registry.statement_records import MonthRecords

HEADERS: Final = {
    "reseller": "Reseller",
    "account": "Customer Account Number",
    "product": "Product Account Number",
    "access_number": "Access Number",
    "orders_placed": "Orders placed",
    "cards_placed": "Cards placed",
    "refused": "Refused",
    "replaced": "Replaced",
    "surplus": "Surplus",
    "surplus_disconnected": "Surplus disconnected",
    "opening": "Opening",
    "released": "Released",
    "changed_in": "Changed in",
    "added": "Added",
    "disconnected": "Disconnected",
    "changed_out": "Changed out",
    "gone": "Gone",
    "closing": "Closing",
}
"""The columns of a line."""
_HOW: Final = {
    "How lines add up": "Opening + Added − Gone = Closing. Added is Released + Changed in; Gone is Disconnected + Changed out.",
    "Opening and Closing": """
        How many cards were active when the month began and when it ended: ready or blocked. Cards that await the network, were
        refused or are surplus are not active.
    """,
    "What counts when": """
        Orders and cards placed count on the day on which they were ordered. All else counts in the night that acted on the
        network's report, so a card that is placed in one month may be released in the next.
    """,
    "Replaced": "Cards that were issued for refused ones of the same order. Cards placed does not count them.",
    "Changed in, Changed out": "A Change of product or access number takes a card from one line into another.",
}
"""How to read a statement."""


class Statement(NamedTuple):
    """A month (202610), what is kept of it, and its lines (see `insight.statement`)."""

    month: int
    records: MonthRecords
    lines: pl.DataFrame

    def of(self, reseller: str) -> "Statement":
        """The part of a reseller."""
        return self._replace(lines=self.lines.filter(reseller=reseller))

    @property
    def contradictory(self) -> list[str]:
        """The resellers with lines that do not add up."""
        return statement.contradictions(self.lines)["reseller"].unique().sort().to_list()


def _with_headers(lines: pl.DataFrame, *but: str) -> pl.DataFrame:
    return lines.select(
        pl.col(name).alias(header) for name, header in HEADERS.items() if name in lines.columns and name not in but
    )


def rows(found: Statement) -> pl.DataFrame:
    """The lines of a reseller, for programs."""
    return _with_headers(found.lines, "reseller").select(pl.lit(month_text(found.month)).alias("Month"), pl.all())


def rows_of_all(found: Statement) -> pl.DataFrame:
    """The lines of all resellers, for programs."""
    return _with_headers(found.lines).select(pl.lit(month_text(found.month)).alias("Month"), pl.all())


def book(found: Statement) -> Book:
    """The workbook of a reseller."""
    return Book(
        title=_title(found),
        advice="Compare these figures with yours, and ask the operator about a difference.",
        key_values=[*_key_values(found), *_how()],
        sheets=[_lines_sheet(_with_headers(found.lines, "reseller"))],
    )


def book_of_all(found: Statement) -> Book:
    """The workbook of all resellers."""
    by_reseller = _with_headers(statement.totals(found.lines, "reseller"))
    return Book(
        title=f"{_title(found)}, all resellers",
        advice=_advice(found),
        key_values=[*_key_values(found), *_how()],
        sheets=[Sheet(title="Resellers", rows=by_reseller), _lines_sheet(_with_headers(found.lines))],
    )


def _lines_sheet(lines: pl.DataFrame) -> Sheet:
    return Sheet(title="Lines", rows=lines.with_columns(telephone(HEADERS["access_number"])))


def _title(found: Statement) -> str:
    return f"Statement of {month_name(found.month)}" + ("" if found.records.is_over else ", so far")


def _advice(found: Statement) -> str:
    """What the operator does."""
    if (wrong := statement.contradictions(found.lines)).is_empty():
        return "No action needed."
    return (
        f"The figures do not agree: in {count(len(wrong), 'line')} of {', '.join(found.contradictory)} Opening + Added − Gone "
        "is not Closing. These resellers got no statement. Run cards verify."
    )


def _words(found: Statement) -> str:
    """What a month was, in words."""
    if found.lines.is_empty():
        return "No card was active, nothing was ordered, and nothing happened to any card."
    figures = statement.totals(found.lines).row(0, named=True)
    orders, cards = count(figures["orders_placed"], "order"), count(figures["cards_placed"], "card")
    placed = f"{orders} for {cards} {'was' if figures['orders_placed'] == 1 else 'were'} placed."
    opening = f"{count(figures['opening'], 'card was', 'cards were')} active when the month began"
    moved = f"{figures['released']:,} became ready, {figures['disconnected']:,} {_were(figures['disconnected'])} disconnected"
    if found.records.is_over:
        return f"{placed} {opening}, {moved}, and {figures['closing']:,} {_were(figures['closing'])} active when it ended."
    return f"{placed} {opening}, {moved}, and {figures['closing']:,} {'is' if figures['closing'] == 1 else 'are'} active now."


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _until(records: MonthRecords) -> str:
    """How far a month that goes on is stated."""
    if not records.nights:
        return "No night of this month has run yet."
    return f"This month is stated until the night of {night_name(records.last)}: no night of a later month has run yet."


def _key_values(found: Statement) -> list[tuple[str, Any]]:
    records = found.records
    days = (
        f"{night_name(records.first)} to {night_name(records.last)}: {count(records.nights, 'night')}"
        if records.nights
        else "none"
    )
    figures = statement.totals(found.lines).row(0, named=True)
    until = [] if records.is_over else [("So far", _until(records))]
    totals = ((HEADERS[name], figures[name]) for name in statement.FIGURES)
    return [*until, ("In short", _words(found)), ("Nights of this month", days), *totals]


def _how() -> list[tuple[str, Any]]:
    return [(label, " ".join(text.split())) for label, text in _HOW.items()]
