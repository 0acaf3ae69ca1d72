"""`status.json`: where a submission stands, for programs. docs/status.schema.json describes it. It never holds a code."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import thread_pool, write_atomically
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.settings import Settings
from pipelines.delivery.access import access_for
from pipelines.delivery.archive_files import file_digest
from pipelines.delivery.file_names import is_combined, order_file_name
from pipelines.delivery.results import SubmissionResult, submission_result
from pipelines.delivery.written_files import WrittenFile, written
from pipelines.registry.reconciliation import REFUSED, RELEASE
from pipelines.registry.records import SubmissionRecords, by_event
from pipelines.registry.submissions import submission_records
from pipelines.run import Run
from schemas import actions
from schemas.actions import ActionOutcome, ApprovalDecision

VERSION: Final = 1
NAME: Final = "status.json"
MOST_ORDERS: Final = 1_000
"""So many orders are listed; `orders_total` counts them all."""


class SubmissionState(StrEnum):
    """Where a submission stands."""

    ON_HOLD = "on_hold"
    """Nothing is placed, and an order waits for approval."""
    ANSWERED = "answered"
    """Nothing is placed by it."""
    PLACED = "placed"
    """An order waits for the network."""
    PARTLY_RELEASED = "partly_released"
    """That, and some of it is released."""
    RELEASED = "released"
    """Nothing waits any more."""


class OrderState(StrEnum):
    """Where a placed order stands."""

    WAITING = "waiting"
    """For the network."""
    PARTLY_RELEASED = "partly_released"
    RELEASED = "released"
    """All that it asked for."""
    CLOSED = "closed"
    """The network has answered, and less than was asked for is released."""
    DONE = "done"
    PARTLY_DONE = "partly_done"
    NOT_DONE = "not_done"
    """Like the two before: of an order that takes cards, which the network has answered."""


@dataclass(frozen=True)
class OrderFile:
    """A file that a night wrote for an order. `sha256`: of a release file's bytes, else empty."""

    name: str
    kind: str
    date: str
    cards: int
    sha256: str


@dataclass(frozen=True)
class OrderStatus:
    """An order that the submission placed."""

    order_id: str
    customer_order_id: str
    customer_account: str
    action: str
    state: OrderState
    ordered: int
    released: int
    refused: int
    outstanding: int
    files: list[OrderFile]


@dataclass(frozen=True)
class OrderOnHold:
    """An order that waits for approval because of the submission, or did; or that the submission placed after approval, took
    back or replaced.

    `state`: waiting, approved (not placed yet), placed, rejected, cancelled, superseded (by another order with its ID);
    `decided`: when, empty as long as it waits.
    """

    customer_order_id: str
    customer_account: str
    codes: int
    state: str
    decided: str


@dataclass(frozen=True)
class Rejected:
    """What was rejected, and how many rows for each reason."""

    orders: int
    rows: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Status:
    """Where a submission and its orders stand."""

    version: int
    reseller: str
    file: str
    sha256: str
    received: str
    state: SubmissionState
    already_placed: int
    rejected: Rejected
    on_hold: list[OrderOnHold]
    orders_total: int
    orders: list[OrderStatus]


def status_of(records: SubmissionRecords, counts: SubmissionResult, folder: Path) -> Status:
    """The status of a submission, from what the registry holds; `folder`: where its release files lie."""
    event = records.events.row(0, named=True)
    listed = records.orders.head(MOST_ORDERS)
    by_nights = records.order_files  # none of a new submission: then the join would be a seventh of what its status costs
    files = _files(by_nights.join(listed, on="order_pk", how="semi", maintain_order="left")) if len(by_nights) else {}
    done = _done(records.card_actions)
    total = len(records.orders)
    orders = [
        _order(
            row,
            [_file(row["order_id"], file, folder, total) for file in files.get(row["order_pk"], [])],
            done.get(row["order_pk"], 0),
        )
        for row in listed.iter_rows(named=True)
    ]
    return Status(
        version=VERSION,
        reseller=event["source"],
        file=event["file_name"],
        sha256=event["digest"],
        received=event["at"],
        state=_state(records),
        already_placed=counts.orders_already_placed,
        rejected=Rejected(counts.orders_rejected, counts.rows_rejected, counts.reasons),
        on_hold=[_on_hold(row) for row in records.holds.head(MOST_ORDERS).iter_rows(named=True)],
        orders_total=total,
        orders=orders,
    )


def write_status(path: Path, status: Status) -> None:
    """Write a status as JSON."""
    path.write_text(json.dumps(asdict(status), ensure_ascii=False, indent=1) + "\n", "utf-8")


def rewrite(run: Run, events: pl.Series) -> tuple[list[WrittenFile], list[CardsError]]:
    """Write the status of submissions again, as it stands; what was written, and the errors of what could not be."""
    if events.is_empty():
        return [], []
    records = submission_records(run.registry, events.unique().sort().to_list(), with_codes=False)
    with thread_pool() as pool:
        done = list(pool.map(lambda part: _rewrite(run.settings, part), by_event(records)))
    return ([one for one in done if isinstance(one, WrittenFile)], [one for one in done if isinstance(one, CardsError)])


def _rewrite(settings: Settings, records: SubmissionRecords) -> WrittenFile | CardsError | None:
    event = records.events.row(0, named=True)
    folder = settings.outbox / event["source"] / event["folder"]
    try:
        if folder.is_dir():  # it is not yet there when it is still to be delivered, with its status
            status = status_of(records, submission_result(records, ""), folder)
            write_atomically(folder / NAME, lambda staged: write_status(staged, status), access_for(settings, event["source"]))
            return written(event["event"], folder / NAME, NAME)
    except Exception as error:  # a submission never takes another with it
        return to_cards_error(error)
    return None


def _state(records: SubmissionRecords) -> SubmissionState:
    if records.orders.is_empty():
        waits = len(records.holds) > 0 and bool((records.holds["decision"] == ApprovalDecision.WAITING).any())
        return SubmissionState.ON_HOLD if waits else SubmissionState.ANSWERED
    if not (records.orders["awaiting"] > 0).any():
        return SubmissionState.RELEASED
    released = (records.order_files["kind"] == RELEASE).any()
    return SubmissionState.PARTLY_RELEASED if released else SubmissionState.PLACED


def _on_hold(hold: dict[str, Any]) -> OrderOnHold:
    return OrderOnHold(
        customer_order_id=hold["customer_order_id"],
        customer_account=hold["account"],
        codes=hold["codes"],
        state="placed" if hold["order_pk"] else ApprovalDecision(hold["decision"]).name.lower(),
        decided=hold["decided_at"],
    )


def _done(card_actions: pl.DataFrame) -> dict[int, int]:
    """How many cards of each order that takes cards are done."""
    if card_actions.is_empty():
        return {}
    return dict(card_actions.filter(outcome=ActionOutcome.SHOWN).group_by("order_pk").len().iter_rows())


def _files(files: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """The files of each order: `kind`, `date`, `part`, `cards`."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in files.iter_rows(named=True):
        found.setdefault(row["order_pk"], []).append(row)
    return found


def _order(order: dict[str, Any], files: list[OrderFile], done: int) -> OrderStatus:
    def cards(kind: str) -> int:
        return sum(file.cards for file in files if file.kind == kind)

    issues = order["action"] in actions.issuing()
    ordered = order["cards"] + order["granted"]
    released, refused = cards(RELEASE), cards(REFUSED)
    waits = order["awaiting"] > 0
    return OrderStatus(
        order_id=order["order_id"],
        customer_order_id=order["customer_order_id"],
        customer_account=order["account"],
        action=order["action"],
        state=_issue_state(released, ordered, waits=waits) if issues else _action_state(done, order["cards"], waits=waits),
        ordered=ordered,
        released=released,
        refused=refused,
        outstanding=max(ordered - released, 0) if issues and waits else 0,
        files=files,
    )


def _issue_state(released: int, ordered: int, *, waits: bool) -> OrderState:
    if released >= ordered:
        return OrderState.RELEASED
    if waits:
        return OrderState.PARTLY_RELEASED if released else OrderState.WAITING
    return OrderState.CLOSED


def _action_state(done: int, cards: int, *, waits: bool) -> OrderState:
    if waits:
        return OrderState.WAITING
    return OrderState.DONE if done == cards else OrderState.PARTLY_DONE if done else OrderState.NOT_DONE


def _file(order_id: str, file: dict[str, Any], folder: Path, orders: int) -> OrderFile:
    """A file of an order in a folder, of a submission with so many orders."""
    combined = is_combined(file["kind"], orders)
    name = f"{order_file_name(file['kind'], order_id, file['date'], file['part'], combined=combined)}.csv"
    date = str(file["date"])
    return OrderFile(
        name=name,
        kind=file["kind"],
        date=f"{date[:4]}-{date[4:6]}-{date[6:]}" if file["part"] else "",
        cards=file["cards"],
        sha256=_sha256(folder / name) if file["kind"] == RELEASE else "",
    )


def _sha256(path: Path) -> str:
    try:
        return file_digest(path)
    except FileNotFoundError:
        return ""
