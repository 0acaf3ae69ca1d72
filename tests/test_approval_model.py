"""Approvals against a small model in plain Python: random orders, decisions, cancellations and crashes, on both databases."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from pipelines.admin import approvals
from pipelines.admin.audit import Scope, verify
from pipelines.common.errors import UsageError
from pipelines.run import Run
from tests.conftest import TEMPORARY, NewRegistry, Shop, csv_of, row, shared_parser

LIMIT = 2
NAMES = st.sampled_from("ABC")
QUANTITIES = st.integers(1, LIMIT + 2)
STEPS = st.sampled_from(["", "decided", "read", "committed", "placement written", "folder written", "delivered"])
"""Where a decision is killed; not at all."""


class KilledError(BaseException):
    """The end of a process."""


class Approving(RuleBasedStateMachine):
    """Rules play a reseller and the operator; after each the registry is what the model says."""

    new_registry: NewRegistry

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        home = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="cards-model-", dir=TEMPORARY))
        self.shop = Shop(Path(home, "home"), self.stack.enter_context(self.new_registry()), approve_above=LIMIT)
        self.stack.callback(self.shop.registry.close)
        self.stack.enter_context(shared_parser())
        self.placed: dict[str, int] = {}
        self.approved: set[tuple[str, int]] = set()
        self.waiting: dict[str, int] = {}
        self.refused: set[tuple[str, int]] = set()
        self.files = 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            assert verify(self.shop.settings, self.shop.registry, Scope()).findings == []
            self.stack.close()

    def answer(self, *rows: dict[str, str]) -> dict[str, Any]:
        """Drop a file and run; what became of it."""
        self.files += 1
        self.shop.later(minutes=1)
        self.shop.drop(f"{self.files}.csv", csv_of(*rows))
        (answer,) = self.shop.run()
        assert self.shop.failures == []
        return answer.result

    def wait_or_place(self, name: str, quantity: int) -> str:
        """What becomes of an order, by the model: the key of the result that counts it, or a reason."""
        if name in self.placed:
            return "orders_already_placed" if self.placed[name] == quantity else "ORDER_ID_USED"
        if quantity <= LIMIT:
            self.placed[name] = quantity
            self.waiting.pop(name, None)
            return "orders_placed"
        if (name, quantity) in self.refused:
            return "ORDER_NOT_APPROVED"
        self.waiting[name] = quantity
        return "orders_on_hold"

    @rule(orders=st.dictionaries(NAMES, QUANTITIES, min_size=1))
    def order(self, orders: dict[str, int]) -> None:
        wanted = [self.wait_or_place(*one) for one in orders.items()]
        result = self.answer(*(row(name, quantity=str(quantity)) for name, quantity in orders.items()))
        for key in ("orders_placed", "orders_already_placed", "orders_on_hold"):
            assert result[key] == wanted.count(key), key
        for reason in ("ORDER_ID_USED", "ORDER_NOT_APPROVED"):
            assert result["reasons"].get(reason, 0) == wanted.count(reason), reason
        assert result["codes_placed"] == sum(
            quantity for (_, quantity), became in zip(orders.items(), wanted, strict=True) if became == "orders_placed"
        )

    @rule(name=NAMES)
    def cancel(self, name: str) -> None:
        waited = self.waiting.pop(name, None) is not None
        result = self.answer(row(name, action="Cancel", product="", access_number=""))
        assert (result["orders_cancelled"], result["reasons"]) == ((1, {}) if waited else (0, {"ORDER_NOT_WAITING": 1}))

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 9), approve=st.booleans(), step=STEPS)
    def decide(self, pick: int, approve: bool, step: str) -> None:
        waiting = approvals.orders_on_hold(self.shop.as_run)
        one = waiting[pick % len(waiting)]
        decide = approvals.approve if approve else approvals.reject

        def reached(name: str) -> None:
            if name == step:
                raise KilledError

        self.shop.later(minutes=1)
        try:
            decide(
                Run(self.shop.settings, self.shop.registry, self.shop.runtime._replace(checkpoint=reached)),
                one.hold,
                "Ana",
                "x",
            )
        except KilledError:
            self.shop.run()
            assert self.shop.failures == []
        name, quantity = one.customer_order_id, self.waiting.pop(one.customer_order_id)
        if approve:
            self.approved.add((name, quantity))
            self.placed[name] = quantity
        else:
            self.refused.add((name, quantity))

    @rule(hold=st.integers(1, 20))
    def decide_what_does_not_wait(self, hold: int) -> None:
        if f"H{hold}" not in {one.hold for one in approvals.orders_on_hold(self.shop.as_run)}:
            for decide in (approvals.approve, approvals.reject):
                with pytest.raises(UsageError):
                    decide(self.shop.as_run, f"H{hold}", "Ana", "x")

    @invariant()
    def the_registry_is_what_the_model_says(self) -> None:
        if not hasattr(self, "shop"):
            return
        found = self.shop.registry.query(
            "SELECT customer_order_id, cards FROM orders", {"customer_order_id": pl.String, "cards": pl.Int64}
        )
        assert dict(found.iter_rows()) == self.placed
        assert {(name, cards) for name, cards in self.placed.items() if cards > LIMIT} <= self.approved
        assert {one.customer_order_id: one.codes for one in approvals.orders_on_hold(self.shop.as_run)} == self.waiting
        assert len(self.shop.placements()) == sum(self.placed.values())


@pytest.mark.one_database
def test_no_large_order_is_placed_without_an_approval(new_registry: NewRegistry) -> None:
    machine = type("Approving", (Approving,), {"new_registry": staticmethod(new_registry)})
    profile = settings(
        max_examples=5, stateful_step_count=8, deadline=None, phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=profile)
