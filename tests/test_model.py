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

from pipelines.admin import surplus
from pipelines.admin.audit import verify
from pipelines.admin.replay import replay
from pipelines.common.errors import UsageError
from pipelines.delivery import statements
from pipelines.insight import statement
from pipelines.registry.columns import columns_of
from schemas.movements import GROUP
from schemas.orders import BTN4, RANDOM, SPECIFIED
from tests.conftest import (
    ACCESS_NUMBERS,
    ACCOUNTS,
    BILLING_NUMBERS,
    EXTERNAL,
    TEMPORARY,
    NewRegistry,
    Shop,
    csv_of,
    obeys,
    order_rows,
    read_csv,
    row,
    shared_parser,
    some_codes,
)
from tests.recount import assert_figures_agree

SCARCE, PLENTY, FREE = "3035550555", "3035550142", 6
"""A BTN of which just some PINs are free, and one that has many."""
CHOSEN = some_codes(6, seed=11)
STRANGE = some_codes(4, seed=12)
MINE = {"acme": ("10023456", "7001"), "globex": ("20098765", "8001")}
ACCESS = ("8008604444", "8008663691")
"""What cards have at first, and what changes give them, one or the other."""
BECOMES = {"Change": "", "Disconnect": "disconnected", "Block": "blocked", "Unblock": "ready"}
ALLOWED = {"Change": {"ready"}, "Disconnect": {"ready", "blocked", "surplus"}, "Block": {"ready"}, "Unblock": {"blocked"}}


@dataclass
class Order:
    """An order: who placed it, what it asks for, and where it stands (awaiting as the registry counts it)."""

    name: str
    source: str
    action: str
    kind: str
    folder: Path
    since: datetime
    awaiting: int = 1
    access: str = ""
    card_actions: dict[str, int] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    cards: list[str] = field(default_factory=list)
    asked: int = 0
    confirmed: int = 0
    judged: int = 0
    released: list[set[str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    outcomes: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Report:
    """A report at hand: its rows, and when it was written."""

    rows: list[tuple[str, str]]
    written: datetime

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.rows}


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
        self.shop = Shop(self.home / "home", self.stack.enter_context(self.new_registry()), report_max_external=1)
        self.stack.callback(self.shop.registry.close)
        self.shop.registry.import_codes(pl.Series("code", [int(code) for code in pins(SCARCE)[FREE:]]))
        self.outside = set(pins(SCARCE)[FREE:]) | {str(code) for code in EXTERNAL}
        self.state: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.btns: dict[str, str] = {}
        self.orders: dict[str, Order] = {}
        self.access: dict[str, str] = {}
        self.ordered: Counter[int] = Counter()
        self.numbers: Counter[str] = Counter()
        self.placed: Counter[str] = Counter()
        self.sent: list[list[tuple[str, str]]] = []
        self.inbox: list[Report] = []
        self.used: set[tuple[tuple[str, str], ...]] = set()
        self.placed_by: dict[str, tuple[int, datetime]] = {}
        self.ready_since: dict[str, datetime] = {}
        self.closings = 0
        self.granted: list[tuple[str, str]] = []
        self.arrived: set[str] = set()
        self.on_hold: dict[tuple[tuple[str, str], ...], Night] = {}
        self.bytes: dict[Path, bytes] = {}
        self.nights: dict[str, Night] = {}
        self.files = 0
        self.draw("acme", 4)
        self.dial("acme", SCARCE, 3)
        self.choose("globex", CHOSEN[:3])
        codes = list(self.owner)
        self._drop([(self.owner[code], code) for code in codes if code != codes[4]])
        self.night(24)

    def teardown(self) -> None:
        """Whatever happened, `cards verify` has nothing to say of it, and nights have counted it."""
        if hasattr(self, "stack"):
            with self.stack:
                assert verify(self.shop.settings, self.shop.registry).findings == []
                assert_figures_agree(self.shop.registry)

    # -- people --------------------------------------------------------------------------------------------------------

    def _send(self, source: str, action: str, kind: str, **cells: str) -> tuple[Any, Order]:
        """One order in a file of its own; it as it stands in the model should it be placed."""
        account, product = MINE[source]
        self.files += 1
        usual = {"account": account, "action": action}
        if action == "Add":
            usual |= {"product": product, "access_number": ACCESS[0]}
        else:
            usual |= {"product": "", "access_number": ""}
        rows = row(f"O{self.files}", **{**usual, **cells})
        tried = self._try(rows, source) if self.files % 3 == 0 else None
        answer = self.shop.send(rows, name=f"{self.files}.csv", source=source)
        if tried:
            assert (tried["reasons"], tried["orders_placeable"]) == (answer.result["reasons"], answer.result["orders_placed"])
        name = f"{account}-{self.numbers[account] + 1}"
        return answer, Order(name, source, action, kind, answer.folder, self.shop.now)

    def _try(self, rows: dict[str, str], source: str) -> dict[str, Any]:
        """A trial of a file: what its answer says, and nothing is placed."""
        (self.shop.settings.inbox / source / "check").mkdir(exist_ok=True)
        before = self._registry()
        self.shop.drop(f"check/{self.files}.csv", csv_of(rows), source)
        (answer,) = self.shop.run()
        assert (answer.result["trial"], answer.result["codes_placed"], self._registry()) == (True, 0, before)
        return answer.result

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """The same bytes: nothing is placed, and the cards are counted by their states of today."""
        order = self.orders[data.draw(st.sampled_from(sorted(self.orders)))]
        originals = [path for path in order.folder.glob("*.csv") if path.stem.isdecimal()]
        if not originals:  # the operator's own, to disconnect surplus cards
            return
        self.files += 1
        self.shop.drop(f"{self.files}.csv", originals[0].read_bytes(), order.source)
        (answer,) = self.shop.run()
        result = {name: answer.result[name] for name in ("orders_placed", "orders_already_placed", "codes_placed", "reasons")}
        assert result == {"orders_placed": 0, "orders_already_placed": 1, "codes_placed": 0, "reasons": {}}
        (counts,) = read_csv(answer.folder / "already-placed.csv").rows(named=True)
        states = Counter(self.state[code] for code in order.cards)
        outcomes = Counter(order.card_actions.values())
        expected = {"Awaited": states["placed"] + outcomes[0], "Done": outcomes[1], "Not done": outcomes[2]}
        expected |= {state.title(): states[state] for state in ("ready", "blocked", "disconnected", "refused", "surplus")}
        assert {name: int(counts[name]) for name in expected} == expected
        assert counts["Releases in"] == str(order.folder.relative_to(self.shop.settings.home))

    def _enter(self, order: Order, codes: list[str]) -> None:
        assert not set(codes) & (self.outside | set(self.state))  # none is ever issued twice
        assert all(obeys(code) for code in codes)
        self.numbers[MINE[order.source][0]] += 1
        self.orders[order.name] = order
        order.asked = len(codes)
        self.ordered[int(f"{self.shop.now:%Y%m}")] += len(codes)
        self._issue(order.name, codes)

    def _issue(self, name: str, codes: list[str]) -> None:
        """Codes that get the next serials of an order."""
        for code in sorted(codes):
            self.state[code], self.owner[code], self.access[code] = "placed", name, ACCESS[0]
            self.placed_by[code] = (self.closings if self.orders[name].cards else 0, self.shop.now)
            self.placed[code] += 1
        self.orders[name].cards += sorted(codes)

    @rule(source=st.sampled_from(list(MINE)), codes=st.lists(st.sampled_from([*CHOSEN, STRANGE[0]]), min_size=1, unique=True))
    def choose(self, source: str, codes: list[str]) -> None:
        taken = set(codes) & set(self.state)
        answer, order = self._send(source, "Add", SPECIFIED, code=" ".join(codes))
        assert (answer.result["orders_placed"], answer.result["reasons"]) == ((0, {"CODE_TAKEN": 1}) if taken else (1, {}))
        if not taken:
            assert set(answer.codes) == set(codes)
            self._enter(order, codes)

    @rule(source=st.sampled_from(list(MINE)), quantity=st.integers(1, 4))
    def draw(self, source: str, quantity: int) -> None:
        answer, order = self._send(source, "Add", RANDOM, quantity=str(quantity))
        assert len(answer.codes) == quantity
        self._enter(order, answer.codes)

    @rule(source=st.sampled_from(list(MINE)), btn=st.sampled_from([SCARCE, SCARCE, PLENTY]), quantity=st.integers(1, 4))
    def dial(self, source: str, btn: str, quantity: int) -> None:
        free = self._free(btn)
        answer, order = self._send(source, "Add", BTN4, btn=btn, quantity=str(quantity))
        if self.btns.get(btn, source) != source:  # it belongs to who had PINs of it first, and nobody else learns of it
            assert answer.result["reasons"] == {"BTN_UNKNOWN": 1}
        elif quantity > free:
            assert answer.result["reasons"] == {"BTN_EXHAUSTED": 1}
        else:
            self.btns[btn] = source
            assert [code[:10] for code in answer.codes] == [btn] * quantity
            self._enter(order, answer.codes)

    @rule(quantity=st.integers(1, 3))
    def replay_after_a_fault_of_ours(self, quantity: int) -> None:
        """An order is rejected as the catalogue lacks its product, and answered again, once, when the catalogue has it."""
        _, product = MINE["acme"]
        self.shop.registry.load_catalogue(ACCOUNTS.filter(pl.col("product") != product), ACCESS_NUMBERS, BILLING_NUMBERS)
        answer, order = self._send("acme", "Add", RANDOM, quantity=str(quantity))
        assert answer.result["reasons"] == {"PRODUCT_UNKNOWN": 1}
        self.shop.registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS, BILLING_NUMBERS)
        with shared_parser():
            (done,) = replay(self.shop.as_run, "PRODUCT_UNKNOWN").submissions
            assert replay(self.shop.as_run, "PRODUCT_UNKNOWN").submissions == []
        order.folder = self.shop.settings.home / done.folder
        codes = read_csv(order.folder / "confirmation.csv")["Authorization Code"].to_list()
        assert (done.orders_placed, len(codes)) == (1, quantity)
        self._enter(order, codes)

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
        source = self.orders[self.owner[code]].source
        if not data.draw(st.integers(0, 4)):
            code = data.draw(st.sampled_from([*self.state, STRANGE[3]]))
            action, source = data.draw(st.sampled_from(list(BECOMES))), data.draw(st.sampled_from(list(MINE)))
        self._take(action, source, [code], code=code)
        if data.draw(st.booleans()):
            self._show_last(data.draw(st.integers(0, 3)) > 0)

    @rule(data=st.data(), action=st.sampled_from(list(BECOMES)))
    def take_by_order(self, data: st.DataObject, action: str) -> None:
        name = data.draw(st.sampled_from([*self.orders, "10023456-99"]))
        source = data.draw(st.sampled_from([self.orders[name].source] * 4 + list(MINE))) if name in self.orders else "acme"
        mine = name.startswith(MINE[source][0])
        under = [code for code, owner in self.owner.items() if owner == name and mine]
        left = [code for code in under if self.state[code] not in ("refused", "surplus", "disconnected")]
        self._take(action, source, left or [code for code in under if self.state[code] == "disconnected"], target_order_id=name)

    def _show_last(self, done: bool) -> None:
        """The network answers the latest order at once."""
        order = list(self.orders.values())[-1]
        self._drop([(order.name, code if done else "") for code in order.card_actions] or [(order.name, "")])
        self.night(24)

    def _take(self, action: str, source: str, codes: list[str], **cells: str) -> None:
        account = MINE[source][0]
        reasons = {self._reason(action, code, account) for code in codes} - {""} if codes else {"CARD_UNKNOWN"}
        if action == "Change":
            cells["access_number"] = ACCESS[self.files % 2]
        answer, order = self._send(source, action, "", **cells)
        order.access = cells.get("access_number", "")
        assert answer.result["reasons"] == dict.fromkeys(reasons, 1)
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
        self.inbox.append(Report(rows, self.shop.now))

    @precondition(lambda self: "surplus" in self.state.values())
    @rule(data=st.data())
    def grant(self, data: st.DataObject) -> None:
        """An order gets what the network has beyond it, but for what is being disconnected."""
        name = data.draw(
            st.sampled_from(sorted({self.owner[code] for code, state in self.state.items() if state == "surplus"}))
        )
        order = self.orders[name]
        cards = [code for code in order.cards if self.state[code] == "surplus" and not self._awaited(code)]
        if not cards:
            with pytest.raises(UsageError):
                surplus.grant(self.shop.as_run, name, "Ana", "why not")
            return
        assert surplus.grant(self.shop.as_run, name, "Ana", "why not") == len(cards)
        self.granted += [(name, code) for code in cards]
        order.asked += len(cards)
        order.confirmed += len(cards)
        for code in cards:
            self.state[code], self.ready_since[code] = "ready", self.shop.now

    # -- the night -----------------------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([0, 3, 24, 24, 50, 600]))
    def night(self, hours: int) -> None:
        self.shop.later(hours=hours)
        date = f"{self.shop.now:%Y-%m-%d}"
        night = self.nights.setdefault(date, Night())
        fresh = bool(self.inbox or self.granted) or not night.figures
        if self.inbox:
            self._shown(night)
        self.inbox = []
        lost: list[str] = []
        if fresh:
            self.closings += 1
            lost = self._close(night)
        result = self.shop.night()
        if fresh:
            self._replaced(lost, night)
            self._settle(night)
            self._look_at_statement()
        assert {name: result[name] for name in night.figures} == night.figures
        self._look_at_workbook(result)
        if fresh:
            self._look_at_capacity(result)
        self._look_at_files()
        again = self._registry()
        assert {**self.shop.night(), "reports": []} == {**result, "reports": []}
        assert self._registry() == again

    def _shown(self, night: Night) -> None:
        """What follows from the reports at hand, taken together, but for those that say nothing new or are on hold."""
        before = dict(self.state)
        used: list[Report] = []
        tonight: set[tuple[tuple[str, str], ...]] = set()
        for report in self.inbox:
            key = tuple(report.rows)
            if key in tonight or key in self.on_hold or (key in self.used and not self._is_news(report)):
                tonight.add(key)
                continue
            tonight.add(key)
            if len({code for _, code in report.rows if code} - set(before) - self.outside) > 1:
                self.on_hold[key] = night
                continue
            self.used.add(key)
            used.append(report)
        shown = sorted({row for report in used for row in report.rows})
        result = {(name, code, "lacking") for report, name, code in self._lacking(used)}
        for name in {name for name, code in shown} - set(self.orders):
            if not any(code for other, code in shown if other == name):
                result.add((name, "", "nowhere"))
        arrived, changes = [], []
        for name, code in shown:
            order = self.orders.get(name)
            done = order.card_actions.get(code, -1) if order else -1
            if not code:
                continue
            if order and self.owner.get(code) == name:
                if before[code] in ("placed", "refused"):
                    arrived.append(code)
                elif before[code] == "disconnected":
                    result.add((name, code, "gone"))
            elif order and done >= 0:
                if done != 1:
                    self._answer(order, code, 1, night)
                    self._carry_out(code, order.action, before, night)
                    first = next(number for number, report in enumerate(used) if (name, code) in report.rows)
                    changes.append((first, list(self.orders).index(name), code))
            elif code not in before and code not in self.outside:
                self.state[code] = "external"
                result.add((name, code, "strange"))
            elif code in self.owner:
                result.add((name, code, "strange"))
        for _, number, code in sorted(changes):
            self.access[code] = list(self.orders.values())[number].access or self.access[code]
        night.counts["unexpected"] += len(result)
        for report in used:
            for name in report.names & set(self.orders):
                self.orders[name].judged = max(self.orders[name].judged, self._judged(report, name))
        self._arrive(arrived, before, night)
        for name in {name for report in used for name in report.names} & set(self.orders):
            if self.orders[name].awaiting == 1:
                self.orders[name].awaiting = 2

    def _judged(self, report: Report, name: str) -> int:
        """The last night whose replacements of an order a report can know of."""
        later = [self.placed_by[code] for code in self.orders[name].cards if self.placed_by[code][0]]
        shown = [self.placed_by[code][0] for other, code in report.rows if other == name and self.owner.get(code) == name]
        return max([0, *shown, *(closing for closing, at in later if at < report.written)])

    def _is_news(self, report: Report) -> bool:
        for name, code in report.rows:
            order = self.orders.get(name)
            if order and self.owner.get(code) == name and self.state[code] in ("placed", "refused", "disconnected"):
                return True
            if order and order.card_actions.get(code) in (0, 2):
                return True
        for name in report.names & set(self.orders):
            order = self.orders[name]
            waiting = [self.placed_by[code][0] for code in order.cards if self.state[code] == "placed"]
            judged = self._judged(report, name)
            if order.awaiting == 1 and (not waiting or any(closing <= judged for closing in waiting)):
                return True
        return any(one is report for one, _, _ in self._lacking(self.inbox))

    def _lacking(self, reports: list[Report]) -> list[tuple[Report, str, str]]:
        """Ready cards that the reports of their order lack, with the latest of these; not those of this very night."""
        shown = {row for report in reports for row in report.rows}
        found = []
        for name in {name for report in reports for name in report.names} & set(self.orders):
            latest = max((one for one in enumerate(reports) if name in one[1].names), key=lambda one: (one[1].written, one[0]))[
                1
            ]
            found += [
                (latest, name, code) for code in self.orders[name].cards
                if self.state[code] == "ready" and (name, code) not in shown and (name, code) not in self.granted
                and self.ready_since[code] < latest.written
            ]  # fmt: skip
        return found

    def _arrive(self, codes: list[str], before: dict[str, str], night: Night) -> None:
        """An order gets ready cards as far as it lacks some, the earliest serials first; what is beyond is surplus."""
        for name in {self.owner[code] for code in codes}:
            order = self.orders[name]
            for code in [code for code in order.cards if code in codes]:
                fits = order.confirmed < order.asked
                order.confirmed += fits
                self._move(code, "ready" if fits else "surplus", night)
                if fits:
                    self.arrived.add(code)
                    night.counts["codes_ready"] += 1
                    night.counts["codes_ready_late"] += before[code] == "refused"
                night.counts["codes_surplus"] += not fits

    def _answer(self, order: Order, code: str, done: int, night: Night) -> None:
        order.card_actions[code] = done
        order.settled[code] = f"{self.shop.now:%Y-%m-%d}"
        order.outcomes.append((code, done))
        night.touched.add(order.name)

    def _carry_out(self, code: str, action: str, before: dict[str, str], night: Night) -> None:
        if BECOMES[action] and before[code] in ALLOWED[action] and self.state[code] != "disconnected":
            self._move(code, BECOMES[action], night)

    def _move(self, code: str, state: str, night: Night) -> None:
        self.state[code] = state
        if state == "ready":
            self.ready_since[code] = self.shop.now
        night.touched.add(self.orders[self.owner[code]].name)

    def _close(self, night: Night) -> list[str]:
        """Refuse what named orders lack of what their reports can know; the codes to replace, in the order of that. Release
        what became ready.
        """
        named = [order for order in self.orders.values() if order.awaiting == 2]
        wanted = []
        for order in named:
            for code, done in order.card_actions.items():
                if done == 0:
                    self._answer(order, code, 2, night)
            waiting = [code for code in order.cards if self.state[code] == "placed"]
            lost = sorted(code for code in waiting if self.placed_by[code][0] <= order.judged)
            for code in lost:
                self._move(code, "refused", night)
                order.refused.append(code)
            left = len(waiting) - len(lost)
            order.awaiting = 1 if left else 0
            night.counts["codes_refused"] += len(lost)
            wanted += lost[: max(order.asked - order.confirmed - left, 0)] if order.kind in (RANDOM, BTN4) else []
        for name, code in self.granted:
            night.counts["codes_ready"] += 1
            night.touched.add(name)
            self.arrived.add(code)
        self.granted = []
        for name in {self.owner[code] for code in self.arrived}:
            now = {code for code in self.arrived if self.owner[code] == name and self.state[code] == "ready"}
            self.arrived -= now
            if now:
                self.orders[name].released.append(now)
        return wanted

    def _replaced(self, lost: list[str], night: Night) -> None:
        """Enter the replacements as the network received them, after a look at how many there must be of which."""
        free = {btn: self._free(btn) for btn in (SCARCE, PLENTY)}
        due: Counter[tuple[str, str]] = Counter()
        for code in sorted(lost, key=lambda code: (list(self.orders).index(self.owner[code]), code)):
            order, btn = self.orders[self.owner[code]], code[:10]
            if order.kind == RANDOM:
                due[order.name, ""] += 1
            elif free[btn]:
                free[btn] -= 1
                due[order.name, btn] += 1
        sent = self.shop.placements()
        sent = sent.filter(pl.col("Action") == "Add").select("Order ID", "Authorization Code").rows() if len(sent) else []
        new = [(name, code) for name, code in sent if code not in self.owner]
        kinds = {name: order.kind for name, order in self.orders.items()}
        assert Counter((name, code[:10] if kinds[name] == BTN4 else "") for name, code in new) == due
        assert not {code for _, code in new} & (self.outside | set(self.state))
        for name in {name for name, _ in new}:
            self._issue(name, [code for other, code in new if other == name])
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
            **{
                name: night.counts[name]
                for name in ("codes_ready", "codes_ready_late", "codes_refused", "codes_replaced", "codes_surplus")
            },
            "cards_changed": done[1],
            "cards_not_changed": done[2],
            "unexpected": night.counts["unexpected"],
            "orders_awaited": len(awaited),
            "orders_overdue": sum(age > 48 for age in ages),
        }

    # -- looks ---------------------------------------------------------------------------------------------------------

    def _look_at_statement(self) -> None:
        """The statement of this month, so far: the model's active cards by what they have now, and what its nights did."""
        month = int(f"{self.shop.now:%Y%m}")
        found = statements.load(self.shop.registry, month)
        assert found.contradictory == []
        active = Counter(
            (self.orders[self.owner[code]].source, *MINE[self.orders[self.owner[code]].source], self.access[code])
            for code, state in self.state.items() if state in ("ready", "blocked")
        )  # fmt: skip
        closing = {line[:-1]: line[-1] for line in found.lines.select(*GROUP, "closing").iter_rows() if line[-1]}
        assert closing == active
        figures = statement.totals(found.lines).row(0, named=True)
        nights = [night for date, night in self.nights.items() if date.startswith(f"{self.shop.now:%Y-%m}")]
        counted = {"released": "codes_ready", "refused": "codes_refused", "replaced": "codes_replaced",
                   "surplus": "codes_surplus"}  # fmt: skip
        expected = {name: sum(night.counts[count] for night in nights) for name, count in counted.items()}
        assert {name: figures[name] for name in counted} == expected
        assert figures["cards_placed"] == self.ordered[month]

    def _look_at_workbook(self, result: dict[str, Any]) -> None:
        book = load_workbook(self.shop.settings.home / result["workbook"], read_only=True)
        lines = {title: list(book[title].values)[1:] for title in book.sheetnames[1:]}
        book.close()
        sheets = {"Refused": "codes_refused", "Replaced": "codes_replaced", "Ready late": "codes_ready_late",
                  "Surplus": "codes_surplus", "Unexpected": "unexpected", "Awaited": "orders_awaited"}  # fmt: skip
        assert {title: len(lines.get(title, [])) for title in sheets} == {title: result[name] for title, name in sheets.items()}
        changes = Counter(line[-1] for line in lines.get("Changes", []))
        assert (changes["done"], changes["not done"]) == (result["cards_changed"], result["cards_not_changed"])
        for position, name in ((7, "codes_ready"), (8, "codes_refused"), (9, "codes_replaced")):
            assert sum(int(str(line[position])) for line in lines.get("Orders", [])) == result[name]

    def _look_at_capacity(self, result: dict[str, Any]) -> None:
        book = load_workbook(self.shop.settings.home / result["workbook"])
        rows = list(book["Capacity"].values)[1:] if "Capacity" in book.sheetnames else []
        left = {str(btn).replace("-", ""): free for btn, free, *_ in rows}
        assert left == {btn: self._free(btn) for btn in left}

    def _look_at_files(self) -> None:
        """Each card is released once, never more than were asked for, in files that never change."""
        for order in self.orders.values():
            released = [set(codes) for codes in self._codes_of(order, "release")]
            assert released == order.released
            every = [code for codes in released for code in codes]
            assert len(every) == len(set(every)) <= order.asked
            assert [code for codes in self._codes_of(order, "refused") for code in sorted(codes)] == order.refused
            outcomes = order_rows(order.folder, "outcome", order.name)
            result = outcomes.select("Authorization Code", "Outcome").rows() if len(outcomes) else []
            assert sorted(result) == sorted((code, "done" if done == 1 else "not done") for code, done in order.outcomes)
        for path, content in self.bytes.items():
            assert path.read_bytes() == content
        kinds = ("release-*", "refused-*", "outcome-*")
        self.bytes |= {path: path.read_bytes() for kind in kinds for path in self.shop.settings.outbox.rglob(kind)}

    def _codes_of(self, order: Order, kind: str) -> list[list[str]]:
        paths = order.folder.glob(f"{kind}-{order.name}-????-??-??*.csv")
        parts = {path: [*path.stem.split("~"), "1"] for path in paths}
        return [
            read_csv(path)["Authorization Code"].to_list()
            for path in sorted(parts, key=lambda p: (parts[p][0], int(parts[p][1])))
        ]

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
            result = {(name, code): done for name, order in self.orders.items() for code, done in order.card_actions.items()}
            assert {(name, f"{code:014}"): done for name, code, done in rows} == result
            sent = self.shop.placements()
            added = sent.filter(pl.col("Action") == "Add")["Authorization Code"].to_list() if len(sent) else []
            assert Counter(added) == self.placed


@pytest.mark.one_database
@pytest.mark.parametrize("lives", [3, pytest.param(30, marks=pytest.mark.long)])
def test_any_life_of_cards_is_as_the_model_has_it(lives: int, new_registry: NewRegistry) -> None:
    machine = type("Life", (Life,), {"new_registry": staticmethod(new_registry)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    many = settings(max_examples=lives, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=many)


def test_the_models_btn_is_nearly_used_up() -> None:
    assert len(pins(SCARCE)) == 8_961
