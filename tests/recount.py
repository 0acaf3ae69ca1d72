"""What happened to cards in nights, counted once more from the history of each card, slowly and in plain Python."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.registry.schema import TABLES
from pipelines.registry.store import Registry
from schemas.codes import STATES

Group = tuple[str, str, str, str]
"""Reseller, account, product, access number."""
WORDS = {
    ("placed", "ready"): "ready", ("refused", "ready"): "ready late", ("surplus", "ready"): "granted",
    ("placed", "refused"): "refused", ("placed", "surplus"): "surplus", ("refused", "surplus"): "surplus",
    ("surplus", "disconnected"): "surplus disconnected", ("ready", "disconnected"): "disconnected",
    ("blocked", "disconnected"): "disconnected", ("ready", "blocked"): "blocked", ("blocked", "ready"): "unblocked",
}  # fmt: skip
IS_ACTIVE = ("ready", "blocked")


class Recount(NamedTuple):
    """The figures of nights by date, group and movement; and active cards by month and group."""

    movements: dict[tuple[int, Group, str], int]
    balances: dict[tuple[int, Group], int]


class _Card:
    """A card as it stands: its state, and what it has."""

    def __init__(self, order: Mapping[str, Any], reseller: str) -> None:
        self.state, self.ordered = "placed", (reseller, order["account"], order["product"], order["access_number"])
        self.group: Group = self.ordered

    def change(self, order: Mapping[str, Any]) -> None:
        *whose, product, access = self.group
        self.group = (whose[0], whose[1], order["product"] or product, order["access_number"] or access)


def rows_of(registry: Registry, table: str) -> list[dict[str, Any]]:
    return registry.query(f"SELECT * FROM {table}", TABLES[table]).to_dicts()


def recount(registry: Registry, *, by_date: bool = False) -> Recount:
    """Live every night again, in the order of events; `by_date`: all nights of a date as one, as a migration has to."""
    events = {row["event"]: row for row in rows_of(registry, "events")}
    orders = {row["order_pk"]: row for row in rows_of(registry, "orders")}
    cards = {
        (row["order_pk"], row["serial"]): _Card(orders[row["order_pk"]], events[orders[row["order_pk"]]["event"]]["source"])
        for row in rows_of(registry, "cards")
    }
    night_of = _nights(events, by_date=by_date)
    happened: dict[int, list[tuple[int, int, str, tuple[int, int], Any]]] = defaultdict(list)
    for row in rows_of(registry, "state_transitions"):
        if row["event"] in night_of:
            key, states = (row["order_pk"], row["serial"]), (STATES[row["from_state"]], STATES[row["to_state"]])
            happened[night_of[row["event"]]].append((row["event"], 0, "state", key, states))
    for row in rows_of(registry, "card_actions"):
        order = orders[row["order_pk"]]
        if row["outcome"] == 1 and order["action"] == "Change" and row["settled_event"] in night_of:
            key = (row["card_order_pk"], row["card_serial"])
            happened[night_of[row["settled_event"]]].append((row["settled_event"], row["order_pk"], "change", key, order))
    moved: Counter[tuple[int, Group, str]] = Counter()
    for night in sorted(happened):
        _live(happened[night], cards, moved, events[night]["reconciliation_date"])
    for row in rows_of(registry, "replacements"):
        card = cards[row["order_pk"], row["serial"]]
        moved[events[row["event"]]["reconciliation_date"], card.ordered, "replaced"] += 1
    return Recount({key: cards for key, cards in moved.items() if cards}, _balances(moved))


def _nights(events: dict[int, Any], *, by_date: bool) -> dict[int, int]:
    """The night that acted on each event: the first one after it; `by_date`: the last one of its date."""
    nights = [event for event, row in sorted(events.items()) if row["kind"] == "night"]
    found = {}
    for event, row in events.items():
        if row["reconciliation_date"] > 0:
            same = [night for night in nights if events[night]["reconciliation_date"] == row["reconciliation_date"]]
            later = [night for night in nights if night >= event]
            found[event] = same[-1] if by_date else later[0]
    return found


def _live(happened: list[Any], cards: dict[tuple[int, int], _Card], moved: Counter[Any], date: int) -> None:
    """One night: first cards come and go, those that were active as what changes until this night made them."""
    before = {key: (cards[key].state, cards[key].group) for *_, key, _ in happened}
    for _, _, what, key, detail in sorted(happened, key=lambda one: one[:2]):
        if what == "change":
            cards[key].change(detail)
    gone = set()
    for _, _, what, key, detail in sorted(happened, key=lambda one: one[:2]):
        if what == "state":
            was, state = detail
            moved[date, cards[key].group if was in IS_ACTIVE else cards[key].ordered, WORDS[detail]] += 1
            cards[key].state = state
            if was in IS_ACTIVE and state == "disconnected":
                gone.add(key)
    for key, (_, group) in before.items():
        if group != cards[key].group and (cards[key].state in IS_ACTIVE or key in gone):
            moved[date, group, "changed out"] += 1
            moved[date, cards[key].group, "changed in"] += 1


def _balances(moved: Counter[tuple[int, Group, str]]) -> dict[tuple[int, Group], int]:
    """How many cards were active at the end of each month in which there was a night that did something."""
    found: dict[tuple[int, Group], int] = {}
    for month in sorted({date // 100 for date, _, _ in moved}):
        active: Counter[Group] = Counter()
        for (date, group, movement), cards in moved.items():
            if date // 100 <= month:
                active[group] += cards * (movement in ("ready", "ready late", "granted", "changed in"))
                active[group] -= cards * (movement in ("disconnected", "changed out"))
        found |= {(month, group): cards for group, cards in active.items() if cards}
    return found


def kept(registry: Registry) -> Recount:
    """The figures that the registry keeps."""
    group = ("reseller", "account", "product", "access_number")
    movements = {
        (row["reconciliation_date"], tuple(row[name] for name in group), row["movement"]): row["cards"]
        for row in rows_of(registry, "movements")
    }
    balances = {
        (row["month"], tuple(row[name] for name in group)): row["active"]
        for row in rows_of(registry, "balances") if row["active"]
    }  # fmt: skip
    return Recount(movements, balances)  # type: ignore[arg-type]


def active_now(registry: Registry) -> Counter[Group]:
    """How many cards are active, by the cards themselves and the changes that are done: what no night counted."""
    events = {row["event"]: row for row in rows_of(registry, "events")}
    orders = {row["order_pk"]: row for row in rows_of(registry, "orders")}
    found: Counter[Group] = Counter()
    done = [row for row in rows_of(registry, "card_actions") if row["outcome"] == 1]
    changes = sorted((row for row in done if orders[row["order_pk"]]["action"] == "Change"),
                     key=lambda row: (row["settled_event"], row["order_pk"]))  # fmt: skip
    for row in rows_of(registry, "cards"):
        if STATES[row["state"]] in IS_ACTIVE:
            order = orders[row["order_pk"]]
            card = _Card(order, events[order["event"]]["source"])
            for change in changes:
                if (change["card_order_pk"], change["card_serial"]) == (row["order_pk"], row["serial"]):
                    card.change(orders[change["order_pk"]])
            found[card.group] += 1
    return found


def assert_figures_agree(registry: Registry, *, by_date: bool = False) -> Recount:
    """What is kept is what is counted once more; and what is active now, once nights have acted on all reports."""
    counted, there = recount(registry, by_date=by_date), kept(registry)
    assert there.movements == counted.movements
    assert _filled(there.balances, counted) == counted.balances
    last = max((row["month"] for row in rows_of(registry, "balances")), default=0)
    waiting = [
        row for row in rows_of(registry, "events") if row["kind"] in ("report", "grant") and not row["reconciliation_date"]
    ]
    if not waiting:
        assert {group: cards for (month, group), cards in _at(there.balances, last).items()} == active_now(registry)
    return counted


def _at(balances: dict[tuple[int, Group], int], month: int) -> dict[tuple[int, Group], int]:
    return {key: cards for key, cards in balances.items() if key[0] == month}


def _filled(balances: dict[tuple[int, Group], int], counted: Recount) -> dict[tuple[int, Group], int]:
    """Without the months in which no night did anything: the registry may keep them, as they began."""
    months = {month for month, _ in counted.balances} | {date // 100 for date, _, _ in counted.movements}
    return {key: cards for key, cards in balances.items() if key[0] in months}
