"""What is counted of runs, from the lines that they log, and how long their steps take."""

import time
from typing import Any, Final

from pipelines.common import log_events
from schemas.reasons import REASONS

FLOWS: Final = ("orders", "night")
_FILES: Final = {
    log_events.FILE_ANSWERED: "orders",
    log_events.TRIAL_ANSWERED: "trial",
}
_REPORTS: Final = {
    log_events.REPORT_ENTERED: "entered",
    log_events.REPORT_REPEATED: "repeated",
    log_events.REPORT_REJECTED: "rejected",
    log_events.REPORT_ON_HOLD: "on_hold",
}
_ORDERS: Final = ("placed", "already_placed", "rejected", "on_hold")
_OTHER: Final = "other"
_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
NOT_USED: Final = (log_events.REPORT_REJECTED, log_events.REPORT_ON_HOLD)
"""A night with one of these has not succeeded, although it did all its work: somebody has to look."""


class Tally:
    """What one run did, from the lines that it logs: files, orders, codes, and whether all went well."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.files = self.orders = self.codes = 0
        self.is_ok = True
        self.ended_at = self.seconds = 0.0
        self._begun = time.monotonic()

    def hear(self, event: str, figures: dict[str, Any]) -> None:
        """Count a line."""
        if event in _FILES or event in _REPORTS:
            self.files += 1
            self.orders += figures.get("orders_placed", 0)
            self.codes += figures.get("codes_placed", 0)
        if event in (log_events.NOT_DONE, *NOT_USED):
            self.is_ok = False

    def end(self) -> None:
        """Note when the run ended."""
        self.ended_at, self.seconds = time.time(), time.monotonic() - self._begun


class Metrics:
    """The metrics of this process's runs."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which nobody asks for
        self.registry = CollectorRegistry()

        def known(kind: Any, name: str, words: str, label: str, values: Any, **options: Any) -> Any:
            """A metric with a label, of which all values are there from the start."""
            made = kind(name, words, [label], registry=self.registry, **options)
            for value in values:
                made.labels(value)
            return made

        self._runs = Counter("cards_runs", "Runs, by flow and result", ["flow", "result"], registry=self.registry)
        for flow in FLOWS:
            for result in ("ok", "failed"):
                self._runs.labels(flow, result)
        self._files = known(Counter, "cards_files_answered", "Order files and trials answered", "kind", _FILES.values())
        self._orders = known(Counter, "cards_orders", "Orders of answered files, by what became of them", "outcome", _ORDERS)
        self._codes = Counter("cards_codes_placed", "Codes placed for orders", registry=self.registry)
        self._rejected = known(
            Counter, "cards_rejected_rows", "Rows of order files rejected, by reason", "reason", [*REASONS, _OTHER]
        )
        self._reports = known(
            Counter, "cards_reports", "Reports of the network, by what became of them", "outcome", _REPORTS.values()
        )
        self._not_done = Counter(
            "cards_not_done", "Answers that could not be written, and figures that do not agree", registry=self.registry
        )
        self._answer = Histogram(
            "cards_answer_seconds", "From when a file was dropped until its answer was complete", registry=self.registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._steps = Histogram(
            "cards_step_seconds", "What each step of a run takes, named by what it has done", ["step"],
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._last = {
            name: Gauge(f"cards_last_run_{name}", words, ["flow"], registry=self.registry) for name, words in LAST_RUN.items()
        }

    def hear(self, event: str, figures: dict[str, Any]) -> None:
        """Count a line of the log."""
        if event in _FILES:
            self._files.labels(_FILES[event]).inc()
            if "seconds" in figures:
                self._answer.observe(max(0.0, figures["seconds"]))
        if event == log_events.FILE_ANSWERED:
            self._hear_orders(figures)
        if event in _REPORTS:
            self._reports.labels(_REPORTS[event]).inc()
        if event == log_events.NOT_DONE:
            self._not_done.inc()

    def _hear_orders(self, figures: dict[str, Any]) -> None:
        for outcome in _ORDERS:
            self._orders.labels(outcome).inc(figures.get(f"orders_{outcome}", 0))
        self._codes.inc(figures["codes_placed"])
        for reason, rows in figures["reasons"].items():
            self._rejected.labels(reason if reason in REASONS else _OTHER).inc(rows)

    def time_step(self, step: str, seconds: float) -> None:
        """Note how long a step took."""
        self._steps.labels(step).observe(seconds)

    def ran(self, tally: Tally) -> None:
        """Note how a run ended."""
        self._runs.labels(tally.flow, "ok" if tally.is_ok else "failed").inc()
        self.set_last(tally.flow, last_of(tally))

    def set_last(self, flow: str, values: dict[str, float]) -> None:
        """Set what is kept of the last run of a flow."""
        for name, value in values.items():
            self._last[name].labels(flow).set(value)


LAST_RUN: Final = {
    "timestamp_seconds": "When the last run ended",
    "seconds": "How long the last run took",
    "success": "Whether the last run did all its work (1), or something failed or was not used (0)",
    "files": "Files that the last run answered",
    "orders": "Orders that the last run placed",
    "codes": "Codes that the last run placed",
}


def last_of(tally: Tally) -> dict[str, float]:
    """What is kept of a run as the last one of its flow."""
    return {
        "timestamp_seconds": tally.ended_at,
        "seconds": tally.seconds,
        "success": float(tally.is_ok),
        "files": tally.files,
        "orders": tally.orders,
        "codes": tally.codes,
    }
