"""The key figures of nights, compared with a slow computation of their own from the history of each card."""

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import ceil
from statistics import median
from typing import Any

import polars as pl
import pytest
from openpyxl import load_workbook

from pipelines.common.frames import weighted_quantile
from pipelines.insight import kpis
from pipelines.registry import movements
from schemas.movements import ADDED, BY_TRANSITION, GONE, GROUP
from tests.conftest import Shop, row, sampled
from tests.lives import Life
from tests.test_reconcile import shown

Night = dict[str, Any]


def rows(shop: Shop, table: str, *names: str) -> list[tuple[Any, ...]]:
    kinds = dict.fromkeys(names, pl.String)
    return shop.registry.query(f"SELECT {', '.join(names)} FROM {table}", kinds).rows()


class History:
    """All that happened, card by card, as plain Python has it."""

    def __init__(self, shop: Shop) -> None:
        self.events = {int(event): (kind, at, int(day), source) for event, kind, at, day, source in
                       rows(shop, "events", "event", "kind", "at", "reconciliation_date", "source")}  # fmt: skip
        self.orders = {pk: (int(event), account, product, access) for pk, event, account, product, access in
                       rows(shop, "orders", "order_pk", "event", "account", "product", "access_number")}  # fmt: skip
        self.moves = [(pk, serial, int(event), int(old), int(new)) for pk, serial, event, old, new in
                      rows(shop, "state_transitions", "order_pk", "serial", "event", "from_state", "to_state")]  # fmt: skip
        nights = ((at, day) for _, (kind, at, day, _) in sorted(self.events.items()) if kind == "night")
        self.at = {day: datetime.fromisoformat(at) for at, day in nights}  # the last one of a date

    def reseller(self, order: str) -> str:
        return str(self.events[self.orders[order][0]][3])

    def night(self, day: int) -> Night:
        """The figures of one night, each counted from the moves of single cards."""
        counts: Counter[str] = Counter()
        seconds: list[int] = []
        for order, _, event, old, new in self.moves:
            if self.events[event][2] == day:
                counts[BY_TRANSITION[old, new]] += 1  # type: ignore[index]
                if new == 1 and old != 3:
                    placed = datetime.fromisoformat(self.events[self.orders[order][0]][1])
                    seconds.append(max(0, int((self.at[day] - placed).total_seconds())))
        answered = counts["ready"] + counts["refused"]
        seconds.sort()
        return {
            "ready": counts["ready"] + counts["ready late"] + counts["granted"],
            "refused": counts["refused"],
            "refused_share": counts["refused"] / answered if answered else None,
            "median_hours": seconds[ceil(len(seconds) / 2) - 1] / 3600 if seconds else None,
            "p95_hours": seconds[ceil(Fraction(95 * len(seconds), 100)) - 1] / 3600 if seconds else None,
        }

    def active(self, day: int) -> int:
        """How many cards were ready or blocked after the nights of a date."""
        states: dict[tuple[str, str], int] = {}
        for order, serial, event, _, new in sorted(self.moves, key=lambda move: move[2]):
            if 0 < self.events[event][2] <= day:
                states[order, serial] = new
        return sum(state in (1, 3) for state in states.values())


def live(shop: Shop, nights: int) -> dict[int, tuple[int, int, int]]:
    """Some weeks of a life; what each night left: orders awaited and overdue, and cards surplus."""
    life = Life(shop, seed=3)
    left: dict[int, tuple[int, int, int]] = {}

    def note(step: str) -> None:
        if step == "orders closed":
            ages = [shop.now - datetime.fromisoformat(since) for since, awaiting in rows(shop, "orders", "since", "awaiting")
                    if awaiting != "0"]  # fmt: skip
            surplus = sum(state == "6" for (state,) in rows(shop, "cards", "state"))
            left[int(f"{shop.now:%Y%m%d}")] = (len(ages), sum(age > timedelta(hours=48) for age in ages), surplus)

    life.step = note
    for day in range(nights):
        life.day(is_last=day == nights - 1)
    return left


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.parametrize("nights", sampled([12, 36], 12))
def test_the_figures_of_nights_are_those_of_a_slow_count(nights: int, shop: Shop) -> None:
    left, history = live(shop, nights), History(shop)
    last = max(history.at)
    expected = {day: history.night(day) for day in sorted(history.at)}
    moved = movements.night_movements(shop.registry, 0, last)
    found = kpis.nights(movements.measures(shop.registry, 0, last), moved)
    assert found["night"].to_list() == [date.fromisoformat(f"{day}") for day in expected]
    for name in ("ready", "refused", "refused_share", "median_hours", "p95_hours"):
        assert found[name].to_list() == pytest.approx([night[name] for night in expected.values()]), name
    assert sum(night["refused"] for night in expected.values()) > 5
    assert list(found.select("awaited", "overdue", "surplus").iter_rows()) == [left[day] for day in expected]
    assert found["active"].to_list() == [history.active(day) for day in expected]
    _look_at_summary(shop, last, expected)
    _look_at_resellers(shop, history, last)
    _look_at_months(shop, history, expected)
    _look_at_balances(shop)


def _book(shop: Shop, day: int) -> dict[str, list[tuple[Any, ...]]]:
    path = shop.settings.outbox / "reconciliation" / f"{date.fromisoformat(str(day))}.xlsx"
    return {page.title: list(page.values) for page in load_workbook(path)}


def _look_at_summary(shop: Shop, last: int, expected: dict[int, Night]) -> None:
    """Tonight stands beside the median, lowest and highest of the thirty nights before it."""
    lines = {line[0]: line[1:5] for line in _book(shop, last)["Summary"]}
    before = list(expected.values())[-31:-1]
    for title, name in (("Cards ready", "ready"), ("Cards refused", "refused"), ("Refused %", "refused_share"),
                        ("Median hours to ready", "median_hours")):  # fmt: skip
        known = [night[name] for night in before if night[name] is not None]
        middle = round(median(known)) if title.startswith("Cards") else median(known)
        assert lines[title] == pytest.approx((expected[last][name], middle, min(known), max(known))), title


def _look_at_resellers(shop: Shop, history: History, last: int) -> None:
    first = sorted(history.at)[-31:][0]
    counts: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for order, _, event, old, new in history.moves:
        if first <= history.events[event][2] <= last:
            counts[history.reseller(order), history.events[event][2] == last][BY_TRANSITION[old, new]] += 1  # type: ignore[index]
    for reseller, ready, refused, _, ready_before, refused_before, share, _ in _book(shop, last)["By reseller"][1:]:
        tonight, before = counts[reseller, True], counts[reseller, False]
        assert (ready, refused) == (sum(tonight[one] for one in ADDED[:3]), tonight["refused"])
        assert (ready_before, refused_before) == (sum(before[one] for one in ADDED[:3]), before["refused"])
        answered = before["ready"] + before["refused"]
        assert share == (pytest.approx(before["refused"] / answered) if answered else None)


def _look_at_months(shop: Shop, history: History, expected: dict[int, Night]) -> None:
    months: dict[str, Counter[str]] = defaultdict(Counter)
    for day, night in expected.items():
        months[f"{day // 10000}-{day // 100 % 100:02}"].update(nights=1, ready=night["ready"], refused=night["refused"])
    found = {
        month: (nights, ready, refused) for month, nights, ready, refused, _, _ in _book(shop, max(expected))["By month"][1:]
    }
    assert found == {month: (count["nights"], count["ready"], count["refused"]) for month, count in months.items()}


def _look_at_balances(shop: Shop) -> None:
    """What came and went adds up to the cards that are active, by who ordered them and what they have."""
    moved = movements.movements_between(shop.registry, 0, 99999999)
    active = movements.active_cards(shop.registry, 999912)
    effect = pl.when(pl.col("movement").is_in(ADDED)).then("cards").when(pl.col("movement").is_in(GONE)).then(-pl.col("cards"))
    sums = moved.group_by(GROUP).agg(effect.sum().alias("active")).filter(pl.col("active") != 0)
    assert sorted(sums.select(active.columns).rows()) == sorted(active.rows())
    assert active["active"].sum() == sum(state in ("1", "3") for (state,) in rows(shop, "cards", "state"))


def test_a_first_night_is_compared_with_nothing(shop: Shop) -> None:
    shop.send(row("A", quantity="2"))
    result = shop.night()
    summary = list(load_workbook(shop.settings.home / result["workbook"])["Summary"].values)
    (header,) = [line for line in summary if line[0] == "Figure"]
    assert [name for name in header if name] == ["Figure", "Tonight"]
    assert ("Orders awaited", 1) in [line[:2] for line in summary]


def test_a_night_that_ran_again_counts_all_of_its_date(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="4"))
    (order,) = {order for order, _ in shown(answer)}
    shop.later(hours=10)
    shop.report(*shown(answer)[:1], name="1.csv")
    shop.night()
    late = [(order, code) for _, code in shown(answer)[1:2]]
    shop.report(*late, name="2.csv")
    shop.night()
    date_of = int(f"{shop.now:%Y%m%d}")
    counts = dict(movements.movements_between(shop.registry, date_of, date_of).select("movement", "cards").rows())
    assert counts == {"ready": 1, "refused": 3, "replaced": 3, "ready late": 1}
    (measure,) = movements.measures(shop.registry, date_of, date_of).to_dicts()
    assert (measure["active"], measure["median_seconds"]) == (2, 36_000)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([(5, 1)], 0.5, 5), ([(1, 1), (2, 1)], 0.5, 1), ([(1, 1), (2, 2)], 0.5, 2), ([(9, 1), (1, 19)], 0.95, 1),
     ([(9, 2), (1, 19)], 0.95, 9), ([], 0.5, -1), ([(3, 5), (3, 5), (4, 1)], 0.9, 3)],
)  # fmt: skip
def test_a_quantile_is_a_value_that_occurs(values: list[tuple[int, int]], share: float, expected: int) -> None:
    frame = pl.DataFrame(values, schema={"value": pl.Int64, "weight": pl.Int64}, orient="row")
    assert weighted_quantile(frame, share, default=-1) == expected


def test_ages_lie_in_one_bucket_each() -> None:
    hours = [0.0, 23.9, 24.0, 48.0, 71.9, 72.0, 167.9, 168.0, 10_000.0]
    found = kpis.ageing(pl.Series(hours), pl.Series([1] * len(hours)))
    assert found["orders"].to_list() == [2, 1, 2, 2, 2]
    assert found["orders"].to_list() == found["cards"].to_list()


def test_a_btn_runs_out_by_its_use_of_ninety_days() -> None:
    free = pl.DataFrame({"btn": [1, 2, 3, 4], "free": [900, 0, 10, 9_000]})
    used = pl.DataFrame({"btn": [1, 2, 4], "used": [90, 90, 1]})
    found = kpis.running_out(free, used, date(2026, 11, 24))
    out = dict(found.select("btn", "runs_out").rows())
    assert out == {2: date(2026, 11, 24), 1: date(2029, 5, 12), 3: None, 4: None}
    assert found["btn"].to_list() == [2, 1, 3, 4]


def test_thirteen_months_are_compared() -> None:
    assert [kpis.first_month(night) for night in (20261124, 20261231, 20260115)] == [20251101, 20251201, 20250101]
