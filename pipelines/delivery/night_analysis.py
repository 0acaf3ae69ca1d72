"""The analysis in a reconciliation workbook: tonight compared with the nights before, by whom and what, by age, by BTN."""

from typing import Final, NamedTuple

import polars as pl

from pipelines.common.times import night_date
from pipelines.delivery.night_figures import NIGHTS, hours_awaited
from pipelines.excel import look
from pipelines.excel.book import Chart, Sheet
from pipelines.excel.presentation import telephone
from pipelines.insight import kpis
from pipelines.registry import movements
from pipelines.registry.records import NightRecords
from pipelines.registry.store import Registry

AGES: Final = "Ageing"
"""With NIGHTS, the sheets that charts are drawn from."""
_SHARES: Final = dict.fromkeys(("Refused %", "Refused % tonight", "Refused % before"), look.PERCENT)
_FIGURES: Final = {
    "ready": "Cards ready",
    "refused": "Cards refused",
    "refused_share": "Refused %",
    "median_hours": "Median hours to ready",
    "p95_hours": "95th percentile hours to ready",
    "awaited": "Orders awaited",
    "overdue": "Orders overdue",
    "surplus": "Cards surplus",
    "active": "Cards active",
}
_TONIGHT_AND_BEFORE: Final = {
    "ready": "Ready tonight",
    "refused": "Refused tonight",
    "refused_share": "Refused % tonight",
    "ready_before": "Ready before",
    "refused_before": "Refused before",
    "refused_share_before": "Refused % before",
    "active": "Cards active",
}
_GROUPS: Final = {
    "By reseller": {"reseller": "Reseller"},
    "By product": {"account": "Customer Account Number", "product": "Product Account Number"},
    "By access number": {"access_number": "Access Number"},
}


class Analysis(NamedTuple):
    """The key figures of a night compared with the nights before it, sheets of figures, and charts drawn from them."""

    figures: pl.DataFrame
    formats: dict[str, str]
    sheets: list[Sheet]
    charts: tuple[Chart, ...]


def analyse(registry: Registry, night: NightRecords) -> Analysis:
    """Answer what analysts ask of a night; it reads the figures of thirteen months and no card."""
    date = int(night.event["reconciliation_date"])
    measures = movements.measures(registry, kpis.first_month(date), date)
    moved = movements.night_movements(registry, kpis.first_month(date), date)
    nights = kpis.nights(measures.tail(kpis.NIGHTS + 1), moved)
    first = int(measures["reconciliation_date"].tail(kpis.NIGHTS + 1).min() or date)  # type: ignore[arg-type]
    sheets = [
        _ages(night),
        _capacity(registry, night),
        *_groups(movements.movements_between(registry, first, date), movements.active_cards(registry, date // 100), date),
        _months(measures, moved),
        Sheet(NIGHTS, nights.rename({"night": "Night", **_FIGURES}), formats=_SHARES),
    ]
    figures, formats = _turned(kpis.compared(nights))
    return Analysis(figures, formats, sheets, _charts())


def _turned(compared: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """The key figures as rows, with the nights that are compared as columns, and the number format of each row."""
    named = compared.rename({name: title for name, title in _FIGURES.items() if name in compared.columns})
    whole = {title for name, title in _FIGURES.items() if compared.schema[name].is_integer()}
    turned = named.drop("what").cast(pl.Float64).transpose(
        include_header=True, header_name="Figure", column_names=named["what"]
    )  # fmt: skip
    formats = {title: look.COUNT if title in whole else look.DECIMAL for title in _FIGURES.values()}
    return turned, formats | _SHARES


def _ages(night: NightRecords) -> Sheet:
    rows = kpis.ageing(hours_awaited(night), night.awaited["cards"])
    return Sheet(AGES, rows.rename({"age": "Awaited for", "orders": "Orders", "cards": "Cards"}))


def _capacity(registry: Registry, night: NightRecords) -> Sheet:
    """What is left of the BTNs that changed or are nearly full, and when they run out."""
    date = night_date(int(night.event["reconciliation_date"]))
    used = movements.used_pins(registry, night.btns["btn"], *kpis.use_days(date))
    rows = kpis.running_out(night.btns, used, date)
    columns = {"free": "Free PINs", "used": f"Used in {kpis.USE_DAYS} days", "runs_out": "Runs out"}
    return Sheet("Capacity", rows.select(telephone(pl.col("btn").cast(pl.String)).alias("BTN"), *columns).rename(columns))


def _groups(moved: pl.DataFrame, active: pl.DataFrame, date: int) -> list[Sheet]:
    sheets = []
    for title, keys in _GROUPS.items():
        rows = kpis.by(list(keys), moved, active, date).with_columns(telephone(pl.col("^access_number$")))
        sheets.append(Sheet(title, rows.rename({**keys, **_TONIGHT_AND_BEFORE}), formats=_SHARES))
    return sheets


def _months(measures: pl.DataFrame, moved: pl.DataFrame) -> Sheet:
    titles = {name: _FIGURES[name] for name in ("ready", "refused", "refused_share", "active")}
    rows = kpis.months(measures, moved).rename({"month": "Month", "nights": "Nights", **titles})
    return Sheet("By month", rows.cast({"Nights": pl.Int64}), formats=_SHARES)


def _charts() -> tuple[Chart, ...]:
    ready, refused, share = _FIGURES["ready"], _FIGURES["refused"], _FIGURES["refused_share"]
    median, p95 = _FIGURES["median_hours"], _FIGURES["p95_hours"]
    return (
        Chart(
            "Cards ready and refused", "stacked", NIGHTS, "Night", ((ready, "good"), (refused, "bad")), "Night", "Cards",
            "How many cards became ready and how many were refused in each of the last nights",
        ),
        Chart(
            "Refusal rate", "line", NIGHTS, "Night", ((share, "bad"),), "Night", "Refused, of cards answered first",
            "The share of cards that the network refused when it answered for the first time, in each of the last nights",
        ),
        Chart(
            "Hours from order to ready", "line", NIGHTS, "Night", ((median, "good"), (p95, "neutral")), "Night", "Hours",
            "The median and the 95th percentile of the hours that cards took from the order to the night that released them",
        ),
        Chart(
            "Age of awaited orders", "bar", AGES, "Awaited for", (("Orders", "warning"),), "Awaited for", "Orders",
            "How many orders wait for a network report, by how long they have waited",
        ),
    )  # fmt: skip
