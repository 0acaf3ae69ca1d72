"""The whole life of cards against a small model in plain Python: random orders, reports and nights, on both databases."""

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from openpyxl import load_workbook

from pipelines.registry.columns import columns_of
from schemas.orders import BTN4, RANDOM, SPECIFIED
from tests.conftest import EXTERNAL, TEMPORARY, NewRegistry, Shop, obeys, read_csv, row, some_codes

SCARCE, PLENTY, FREE = "3035550555", "3035550142", 6
"""A BTN of which just some PINs are free, and one that has many."""
CHOSEN = some_codes(6, seed=11)
STRANGE = some_codes(4, seed=12)
MINE = {"acme": ("10023456", "7001"), "globex": ("20098765", "8001")}
BECOMES = {"Change": "", "Disconnect": "disconnected", "Block": "blocked", "Unblock": "ready"}
ALLOWED = {"Change": {"ready"}, "Disconnect": {"ready", "blocked"}, "Block": {"ready"}, "Unblock": {"blocked"}}


@dataclass
class Order:
    """An order: who placed it, what it asks for, and where it stands (awaiting as the registry counts it)."""

    name: str
    sender: str
    action: str
    kind: str
    folder: Path
    since: datetime
    awaiting: int = 1
    card_actions: dict[str, int] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    released: bool = False


@dataclass
class Night:
    """What a night did so far."""

    touched: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, int] = field(default_factory=dict)


@cache
def pins(btn: str) -> list[str]:
    return [code for pin in range(10_000) if obeys(code := f"{btn}{pin:04}")]


class Life(RuleBasedStateMachine):
    """Rules play people and the network; after each the registry is what the model says."""

    new_registry: NewRegistry

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="cards-model-", dir=TEMPORARY)))
        self.shop = Shop(self.home / "home", self.stack.enter_context(self.new_registry()))
        self.stack.callback(self.shop.registry.close)
        self.shop.registry.import_codes(pl.Series("code", [int(code) for code in pins(SCARCE)[FREE:]]))
        self.outside = set(pins(SCARCE)[FREE:]) | {str(code) for code in EXTERNAL}
        self.state: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.btns: dict[str, str] = {}
        self.orders: dict[str, Order] = {}
        self.numbers: Counter[str] = Counter()
        self.placed: Counter[str] = Counter()
        self.sent: list[list[tuple[str, str]]] = []
        self.inbox: list[list[tuple[str, str]]] = []
        self.seen: set[tuple[tuple[str, str], ...]] = set()
        self.nights: dict[str, Night] = {}
        self.files = 0
        self.draw("acme", 4)
        self.dial("acme", SCARCE, 3)
        self.choose("globex", CHOSEN[:3])
        codes = list(self.owner)
        self._drop([(self.owner[code], code) for code in codes if code != codes[4]])
        self.night(24)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    # -- people --------------------------------------------------------------------------------------------------------

    def _send(self, sender: str, action: str, kind: str, **cells: str) -> tuple[Any, Order]:
        """One order in a file of its own; it as it stands in the model should it be placed."""
        account, product = MINE[sender]
        self.files += 1
        usual = {"account": account, "action": action}
        if action == "Add":
            usual |= {"product": product, "access_number": "8008604444"}
        else:
            usual |= {"product": "", "access_number": ""}
        answer = self.shop.send(row(f"O{self.files}", **{**usual, **cells}), name=f"{self.files}.csv", sender=sender)
        name = f"{account}-{self.numbers[account] + 1}"
        return answer, Order(name, sender, action, kind, answer.folder, self.shop.now)

    def _enter(self, order: Order, codes: list[str]) -> None:
        assert not set(codes) & (self.outside | set(self.state))  # none is ever issued twice
        assert all(obeys(code) for code in codes)
        self.numbers[MINE[order.sender][0]] += 1
        self.orders[order.name] = order
        for code in codes:
            self.state[code], self.owner[code] = "placed", order.name
            self.placed[code] += 1

    @rule(sender=st.sampled_from(list(MINE)), codes=st.lists(st.sampled_from([*CHOSEN, STRANGE[0]]), min_size=1, unique=True))
    def choose(self, sender: str, codes: list[str]) -> None:
        taken = set(codes) & set(self.state)
        answer, order = self._send(sender, "Add", SPECIFIED, code=" ".join(codes))
        assert (answer.told["orders_placed"], answer.told["reasons"]) == ((0, {"CODE_TAKEN": 1}) if taken else (1, {}))
        if not taken:
            assert set(answer.codes) == set(codes)
            self._enter(order, codes)

    @rule(sender=st.sampled_from(list(MINE)), quantity=st.integers(1, 4))
    def draw(self, sender: str, quantity: int) -> None:
        answer, order = self._send(sender, "Add", RANDOM, quantity=str(quantity))
        assert len(answer.codes) == quantity
        self._enter(order, answer.codes)

    @rule(sender=st.sampled_from(list(MINE)), btn=st.sampled_from([SCARCE, SCARCE, PLENTY]), quantity=st.integers(1, 4))
    def dial(self, sender: str, btn: str, quantity: int) -> None:
        free = self._free(btn)
        answer, order = self._send(sender, "Add", BTN4, btn=btn, quantity=str(quantity))
        if self.btns.get(btn, sender) != sender:  # it belongs to who had PINs of it first, and nobody else learns of it
            assert answer.told["reasons"] == {"BTN_UNKNOWN": 1}
        elif quantity > free:
            assert answer.told["reasons"] == {"BTN_EXHAUSTED": 1}
        else:
            self.btns[btn] = sender
            assert [code[:10] for code in answer.codes] == [btn] * quantity
            self._enter(order, answer.codes)

    def _free(self, btn: str) -> int:
        return len(set(pins(btn)) - self.outside - set(self.state))

    def _awaited(self, code: str) -> bool:
        return any(order.card_actions.get(code) == 0 for order in self.orders.values())

    def _reason(self, action: str, code: str, account: str) -> str:
        if self.owner.get(code, "").partition("-")[0] != account:
            return "CARD_UNKNOWN"
        if self.state[code] == "disconnected":
            return "CARD_DISCONNECTED"
        return "CARD_NOT_READY" if self.state[code] not in ALLOWED[action] or self._awaited(code) else ""

    @precondition(lambda self: {"ready", "blocked"} & set(self.state.values()))
    @rule(data=st.data())
    def take_by_code(self, data: st.DataObject) -> None:
        """Mostly cards and actions that go together; now and then any card, any action and somebody else."""
        fitting = [(code, action) for code, state in self.state.items() for action in BECOMES if state in ALLOWED[action]]
        code, action = data.draw(st.sampled_from(fitting))
        sender = self.orders[self.owner[code]].sender
        if not data.draw(st.integers(0, 4)):
            code = data.draw(st.sampled_from([*self.state, STRANGE[3]]))
            action, sender = data.draw(st.sampled_from(list(BECOMES))), data.draw(st.sampled_from(list(MINE)))
        self._take(action, sender, [code], code=code)
        if data.draw(st.booleans()):
            self._show_last(data.draw(st.integers(0, 3)) > 0)

    @rule(data=st.data(), action=st.sampled_from(list(BECOMES)))
    def take_by_order(self, data: st.DataObject, action: str) -> None:
        name = data.draw(st.sampled_from([*self.orders, "10023456-99"]))
        sender = data.draw(st.sampled_from([self.orders[name].sender] * 4 + list(MINE))) if name in self.orders else "acme"
        mine = name.startswith(MINE[sender][0])
        under = [code for code, owner in self.owner.items() if owner == name and mine]
        left = [code for code in under if self.state[code] not in ("refused", "disconnected")]
        self._take(action, sender, left or [code for code in under if self.state[code] == "disconnected"], target_order_id=name)

    def _show_last(self, done: bool) -> None:
        """The network answers the latest order at once."""
        order = list(self.orders.values())[-1]
        self._drop([(order.name, code if done else "") for code in order.card_actions] or [(order.name, "")])
        self.night(24)

    def _take(self, action: str, sender: str, codes: list[str], **cells: str) -> None:
        account = MINE[sender][0]
        reasons = {self._reason(action, code, account) for code in codes} - {""} if codes else {"CARD_UNKNOWN"}
        if action == "Change":
            cells["access_number"] = "8008663691"
        answer, order = self._send(sender, action, "", **cells)
        assert answer.told["reasons"] == dict.fromkeys(reasons, 1)
        if not reasons:
            assert set(answer.codes) == set(codes)
            order.card_actions = dict.fromkeys(codes, 0)
            self._enter(order, [])

    # -- the network ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), strange=st.booleans())
    def report(self, data: st.DataObject, strange: bool) -> None:
        """A report of some orders: all that they hold, a part of it, or that nothing was placed; and of strangers."""
        rows: set[tuple[str, str]] = set()
        for name in data.draw(st.lists(st.sampled_from(list(self.orders)), min_size=1, max_size=4, unique=True)):
            own = sorted({code for code, owner in self.owner.items() if owner == name} | set(self.orders[name].card_actions))
            some = st.lists(st.sampled_from(own), unique=True) if own else st.just([])
            codes = data.draw(st.one_of(st.just(own), st.just(own), some))
            rows |= {(name, code) for code in codes} or {(name, "")}
        if strange:
            names = st.sampled_from([*self.orders, "55555555-5"])
            rows |= data.draw(
                st.sets(st.tuples(names, st.sampled_from([*STRANGE, *self.state, str(EXTERNAL[0]), ""])), max_size=3)
            )
        lines = list(data.draw(st.permutations(sorted(rows))))
        self.sent.append(lines)
        if data.draw(st.integers(0, 4)):
            self._drop(lines)
            if data.draw(st.booleans()):
                self.night(24)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def report_late_or_again(self, data: st.DataObject) -> None:
        """A report that was made earlier comes now, for the first time or once more."""
        self._drop(data.draw(st.sampled_from(self.sent)))

    def _drop(self, rows: list[tuple[str, str]]) -> None:
        self.files += 1
        self.shop.report(*rows, name=f"report-{self.files}.csv")
        self.inbox.append(rows)

    # -- the night -----------------------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([0, 3, 24, 24, 50]))
    def night(self, hours: int) -> None:
        self.shop.later(hours=hours)
        date = f"{self.shop.now:%Y-%m-%d}"
        night = self.nights.setdefault(date, Night())
        for rows in self.inbox:
            if tuple(rows) not in self.seen:
                self.seen.add(tuple(rows))
                self._shown(rows, night)
        fresh = bool(self.inbox) or not night.figures
        self.inbox = []
        lost = self._left_out(night)
        told = self.shop.night()
        if fresh:
            self._replaced(lost, night)
            self._settle(night)
        assert {name: told[name] for name in night.figures} == night.figures
        self._look_at_workbook(told)
        if fresh:
            self._look_at_capacity(told)
        self._look_at_releases()
        again = self._registry()
        assert {**self.shop.night(), "reports": []} == {**told, "reports": []}
        assert self._registry() == again

    def _shown(self, rows: list[tuple[str, str]], night: Night) -> None:
        before = dict(self.state)
        unknown = {name for name, code in rows if name not in self.orders}
        for name, code in sorted(set(rows)):
            order = self.orders.get(name)
            done = order.card_actions.get(code, -1) if order else -1
            if not code:
                others = {text for other, text in rows if other == name and text}
                night.counts["unexpected"] += name in unknown and not others
            elif order and self.owner.get(code) == name:
                if before[code] in ("placed", "refused"):
                    night.counts["codes_ready"] += 1
                    night.counts["codes_ready_late"] += before[code] == "refused"
                    self._move(code, "ready", night)
            elif order and done >= 0:
                if done != 1:
                    self._answer(order, code, 1, night)
                    self._carry_out(code, order.action, before, night)
            elif code not in before and code not in self.outside:
                self.state[code] = "external"
                night.counts["unexpected"] += 1
            elif code in self.owner:
                night.counts["unexpected"] += 1
        for name in {name for name, _ in rows} & set(self.orders):
            if self.orders[name].awaiting == 1:
                self.orders[name].awaiting = 2

    def _answer(self, order: Order, code: str, done: int, night: Night) -> None:
        order.card_actions[code] = done
        order.settled[code] = f"{self.shop.now:%Y-%m-%d}"
        night.touched.add(order.name)

    def _carry_out(self, code: str, action: str, before: dict[str, str], night: Night) -> None:
        if BECOMES[action] and before[code] in ALLOWED[action] and self.state[code] != "disconnected":
            self._move(code, BECOMES[action], night)

    def _move(self, code: str, state: str, night: Night) -> None:
        self.state[code] = state
        order = self.orders[self.owner[code]]
        order.released |= state == "ready"
        night.touched.add(order.name)

    def _left_out(self, night: Night) -> list[str]:
        """Refuse what named orders lack; those codes, in the order in which they are replaced."""
        named = [order for order in self.orders.values() if order.awaiting == 2]
        for order in named:
            order.awaiting = 0
            for code, done in order.card_actions.items():
                if done == 0:
                    self._answer(order, code, 2, night)
        names = {order.name for order in named}
        lost = [code for code, owner in self.owner.items() if owner in names and self.state[code] == "placed"]
        for code in lost:
            self._move(code, "refused", night)
        night.counts["codes_refused"] += len(lost)
        return sorted(lost, key=lambda code: (list(self.orders).index(self.owner[code]), code))

    def _replaced(self, lost: list[str], night: Night) -> None:
        """Enter the replacements as the network was told of them, after a look at how many there must be of which."""
        free = {btn: self._free(btn) for btn in (SCARCE, PLENTY)}
        due: Counter[tuple[str, str]] = Counter()
        for code in lost:
            order, btn = self.orders[self.owner[code]], code[:10]
            if order.kind == RANDOM:
                due[order.name, ""] += 1
            elif order.kind == BTN4 and free[btn]:
                free[btn] -= 1
                due[order.name, btn] += 1
        sent = self.shop.placements()
        sent = sent.filter(pl.col("Action") == "Add").select("Order ID", "Authorization Code").rows() if len(sent) else []
        new = [(name, code) for name, code in sent if code not in self.owner]
        kinds = {name: order.kind for name, order in self.orders.items()}
        assert Counter((name, code[:10] if kinds[name] == BTN4 else "") for name, code in new) == due
        assert not {code for _, code in new} & (self.outside | set(self.state))
        for name, code in new:
            self.state[code], self.owner[code] = "placed", name
            self.placed[code] += 1
            self.orders[name].awaiting, self.orders[name].since = 1, self.shop.now
        night.counts["codes_replaced"] += len(new)

    def _settle(self, night: Night) -> None:
        awaited = [order for order in self.orders.values() if order.awaiting]
        ages = [(self.shop.now - order.since).total_seconds() / 3600 for order in awaited]
        date = f"{self.shop.now:%Y-%m-%d}"
        done = Counter(
            order.card_actions[code] for order in self.orders.values() for code, day in order.settled.items() if day == date
        )
        night.figures = {
            "orders_closed": sum(self.orders[name].awaiting == 0 for name in night.touched),
            **{name: night.counts[name] for name in ("codes_ready", "codes_ready_late", "codes_refused", "codes_replaced")},
            "cards_changed": done[1],
            "cards_not_changed": done[2],
            "unexpected": night.counts["unexpected"],
            "orders_awaited": len(awaited),
            "orders_overdue": sum(age > 48 for age in ages),
        }

    # -- looks ---------------------------------------------------------------------------------------------------------

    def _look_at_workbook(self, told: dict[str, Any]) -> None:
        book = load_workbook(self.shop.settings.home / told["workbook"], read_only=True)
        lines = {title: list(book[title].values)[1:] for title in book.sheetnames[1:]}
        book.close()
        sheets = {"Refused": "codes_refused", "Replaced": "codes_replaced", "Ready late": "codes_ready_late",
                  "Unexpected": "unexpected", "Awaited": "orders_awaited"}  # fmt: skip
        assert {title: len(lines[title]) for title in sheets} == {title: told[name] for title, name in sheets.items()}
        changes = Counter(line[-1] for line in lines["Changes"])
        assert (changes["done"], changes["not done"]) == (told["cards_changed"], told["cards_not_changed"])
        for position, name in ((7, "codes_ready"), (8, "codes_refused"), (9, "codes_replaced")):
            assert sum(int(str(line[position])) for line in lines["Orders"]) == told[name]

    def _look_at_capacity(self, told: dict[str, Any]) -> None:
        rows = list(load_workbook(self.shop.settings.home / told["workbook"])["Capacity"].values)[1:]
        assert {str(btn): free for btn, free in rows} == {str(btn): self._free(str(btn)) for btn, _ in rows}

    def _look_at_releases(self) -> None:
        for order in self.orders.values():
            own = {code for code, owner in self.owner.items() if owner == order.name}
            ready = {code for code in own if self.state[code] == "ready"}
            path = order.folder / f"release-{order.name}.csv"
            assert path.exists() == order.released
            assert set(read_csv(path)["Authorization Code"]) == ready
            refused = {code for code in own if self.state[code] == "refused"}
            refused |= {code for code, done in order.card_actions.items() if done == 2}
            assert set(read_csv(order.folder / f"refused-{order.name}.csv")["Authorization Code"]) == refused

    def _registry(self) -> list[Any]:
        tables = {
            "cards": "order_pk, serial, code, state",
            "numbers": "code, order_pk, serial",
            "orders": "order_pk, awaiting",
            "card_actions": "order_pk, card_order_pk, card_serial, outcome",
            "events": "event, reconciliation_date",
            "order_transitions": "event, order_pk, from_state, to_state, cards",
            "night_figures": "reconciliation_date, from_state, to_state, cards",
            "btns": "btn, valid, used",
        }
        return [
            sorted(self.shop.registry.select(columns_of(table, *names.split(", ")), f"FROM {table}").rows())
            for table, names in tables.items()
        ]

    @invariant()
    def the_registry_is_what_the_model_says(self) -> None:
        if hasattr(self, "shop"):
            assert self.shop.states() == self.state
            rows = self.shop.registry.query(
                "SELECT o.order_id, c.code, t.outcome FROM card_actions t JOIN orders o ON o.order_pk = t.order_pk "
                "JOIN cards c ON c.order_pk = t.card_order_pk AND c.serial = t.card_serial",
                {"order_id": pl.String, "code": pl.Int64, "outcome": pl.Int64},
            ).rows()
            told = {(name, code): done for name, order in self.orders.items() for code, done in order.card_actions.items()}
            assert {(name, f"{code:014}"): done for name, code, done in rows} == told
            sent = self.shop.placements()
            added = sent.filter(pl.col("Action") == "Add")["Authorization Code"].to_list() if len(sent) else []
            assert Counter(added) == self.placed


@pytest.mark.parametrize("lives", [5, pytest.param(30, marks=pytest.mark.long)])
def test_any_life_of_cards_is_as_the_model_has_it(lives: int, new_registry: NewRegistry) -> None:
    machine = type("Life", (Life,), {"new_registry": staticmethod(new_registry)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    many = settings(max_examples=lives, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=many)


def test_the_models_btn_is_nearly_used_up() -> None:
    assert len(pins(SCARCE)) == 8_961
