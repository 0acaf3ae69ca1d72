"""The frames that go into the registry and come out of it."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import polars as pl


class ReportMatch(NamedTuple):
    """What follows from reports; `event` is that of the report which says so.

    Orders that they `named` (`order_pk`, `judged_event`, and how many cards `arrived`), state `transitions` of cards
    (`order_pk`, `serial`, `from_state`, `to_state`, `event`), what is `done` of orders that take cards (`order_pk`,
    `card_order_pk`, `card_serial`, `event`), what does not agree with the registry (`unexpected`: `order_id`, `code`,
    `explanation`, `event`), and codes that are not known yet (`external`: `code`, `event`).
    """

    named: pl.DataFrame
    transitions: pl.DataFrame
    done: pl.DataFrame
    unexpected: pl.DataFrame
    external: pl.DataFrame


class NightRecords(NamedTuple):
    """All that the reports of a night say. `event` is its latest one.

    `orders` that the night changed; `counts` of state transitions an order; codes `refused`, `replaced`, ready after they
    were refused (`late`) and `surplus`; `outcomes` of the cards in orders that take cards; `unexpected` codes; orders still
    `awaited`; `btns` that changed or are nearly full; the `reports` that came, with what became of them; how many cards are
    surplus by now (`surplus_cards`); and what people did since the night before (`decisions`: see `audit_trail.decisions`).
    """

    event: dict[str, Any]
    orders: pl.DataFrame
    counts: pl.DataFrame
    refused: pl.DataFrame
    replaced: pl.DataFrame
    late: pl.DataFrame
    surplus: pl.DataFrame
    outcomes: pl.DataFrame
    unexpected: pl.DataFrame
    awaited: pl.DataFrame
    btns: pl.DataFrame
    reports: pl.DataFrame
    surplus_cards: int
    decisions: pl.DataFrame


class FileCards(NamedTuple):
    """The cards in the files that nights write once for orders, with `order_pk` and `event` of the file.

    `released`: with what the order and later changes say of them. `refused`: with `replaced_by` (0: by none). `outcomes`:
    with `done` (1 or 0).
    """

    released: pl.DataFrame
    refused: pl.DataFrame
    outcomes: pl.DataFrame


_FILE: Final = {"file": pl.UInt32, "account": pl.String}
_NO_CARDS: Final = pl.DataFrame(schema={**_FILE, "code": pl.Int64, "state": pl.Int64, "awaited": pl.Boolean})
_NO_ORDER_CARDS: Final = pl.DataFrame(schema={**_FILE, "order_id": pl.String, "code": pl.Int64})
_NO_LIMITS: Final = pl.DataFrame(
    schema={"file": pl.UInt32, "source": pl.String, "day": pl.String, "codes": pl.Int64, "attempts": pl.Int64,
            "on_hold": pl.Boolean, "most_codes": pl.Int64, "most_attempts": pl.Int64}
)  # fmt: skip


_ORDER: Final = {**_FILE, "customer_order_id": pl.String}
NO_ORDERS_ON_HOLD: Final = pl.DataFrame(schema={**_ORDER, "content": pl.String, "codes": pl.Int64})
_NO_ORDERS: Final = pl.DataFrame(schema=_ORDER)
_NO_DECIDED: Final = pl.DataFrame(schema={"file": pl.UInt32, "hold": pl.Int64})
_NO_HOLDS: Final = pl.DataFrame(schema={**_ORDER, "hold": pl.Int64, "decision": pl.Int64})


class IngestBatch(NamedTuple):
    """What comes of order files and is entered in one transaction. `file` is the number of a file in its batch.

    `events`: a row a file with the fields of an event (`original_event`: the one that answered the same bytes before,
    else 0); `orders`: `order`, `file` and the fields of an order; `codes` and `card_actions`: `order`,
    `code` (new codes, and existing cards that orders take); `row_keys`: `order`, `row_key`; `duplicate_orders`: `file`,
    `order_pk`, `rows`; `taken_code_attempts`: `file`, `codes`; `rejected`: `file`, `source_row` and the columns of an
    order file; `findings`: see `schemas.findings`; `btns`: `order`, `btn`, `account`; `usage`: `file`, `files`,
    `bytes`, `parse_ms`; `on_hold`: `file` of those whose source is put on hold.

    What the decision took from the registry and another may change until it is entered (see `registry.guards`):
    `named_cards`: the cards that a file names by code or by order (`file`, `account`, `code`), with `state` and `awaited`
    (null: no such card); `order_cards`: the cards of an order that a file names (`file`, `account`, `order_id`, `code`;
    null: none); `standing`: what the source of a file has used of its limits on a `day` (`codes`, `attempts`), whether it is
    `on_hold`, and the limits (`most_codes`, `most_attempts`); `seen_holds`: orders of a file with a hold, or that it takes back
    (`file`, `account`, `customer_order_id`), with `hold` and `decision` (null: none).

    `order_holds`: orders that wait for approval (`file`, `account`, `customer_order_id`, `content`, `codes`); `cancelled`:
    those that are cancelled (the first three); `decided_holds`: holds of which the file brings the answer (`file`, `hold`).

    Frames without `file` go by `order`: what belongs to no order among `orders` is not entered.
    """

    events: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    card_actions: pl.DataFrame
    row_keys: pl.DataFrame
    duplicate_orders: pl.DataFrame
    taken_code_attempts: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
    btns: pl.DataFrame
    usage: pl.DataFrame
    on_hold: pl.DataFrame
    named_cards: pl.DataFrame = _NO_CARDS
    order_cards: pl.DataFrame = _NO_ORDER_CARDS
    standing: pl.DataFrame = _NO_LIMITS
    order_holds: pl.DataFrame = NO_ORDERS_ON_HOLD
    cancelled: pl.DataFrame = _NO_ORDERS
    seen_holds: pl.DataFrame = _NO_HOLDS
    decided_holds: pl.DataFrame = _NO_DECIDED

    def of(self, files: set[int]) -> "IngestBatch":
        """The part of some files."""
        if len(files) == len(self.events):
            return self
        return IngestBatch(*(frame.filter(pl.col("file").is_in(files)) if "file" in frame.columns else frame for frame in self))


class SubmissionRecords(NamedTuple):
    """What the registry holds of some submissions; the column `event` of each frame says which one.

    `approvals`: reports that are or were on hold; `order_files`: what nights wrote for the orders (`kind`, `date`, `part`,
    `cards`). `duplicate_orders` were placed before, in the submission's folder `placed_in` (empty: one of another source);
    `states`: how many of their cards (`order_pk`, `cards`) are in which `state`, or have had which `outcome` of an order that
    takes cards, now. A file whose bytes were answered before for good is `repeated`: where (`folder`), how many `orders` that
    had, placed or placed before it, of which the first are among the duplicates, and what was rejected of it
    (`orders_rejected`, `rows_rejected`, and `repeated_reasons` with `rows`); it has nothing else of its own. `holds`:
    orders that wait because of the file or were decided since, and those that it placed after approval or took back (`hold`,
    `account`, `customer_order_id`, `codes`, `decision`, `decided_at`, `order_pk`; `held_event`: the file that they wait because
    of; `closed_here`: 1 of the latter).
    """

    events: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    card_actions: pl.DataFrame
    duplicate_orders: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
    approvals: pl.DataFrame
    order_files: pl.DataFrame
    states: pl.DataFrame
    repeated: pl.DataFrame
    repeated_reasons: pl.DataFrame
    holds: pl.DataFrame

    def of_event(self, event: int) -> "SubmissionRecords":
        """The part of one event."""
        return SubmissionRecords(*(frame.filter(event=event) for frame in self))


def by_event(records: SubmissionRecords) -> Iterator[SubmissionRecords]:
    """The records of each event, cut for all at once: a query costs as much for a small file as for a thousand."""
    parts = [part_by_event(frame) for frame in records]
    for event in records.events["event"]:
        yield SubmissionRecords(*(part(event) for part in parts))


def part_by_event(frame: pl.DataFrame) -> Callable[[int], pl.DataFrame]:
    """What concerns an event, by its number."""
    parts = (
        frame.partition_by("event", as_dict=True) if frame["event"].n_unique() > 1 else {tuple(frame["event"].head(1)): frame}
    )
    none = frame.clear()
    return lambda event: parts.get((event,), none)
