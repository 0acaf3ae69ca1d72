"""The frames that the registry takes and gives."""

from typing import Any, NamedTuple

import polars as pl


class ReportMatch(NamedTuple):
    """What follows from a report.

    Orders that it names (`order_no`), `moves` of cards (`code`, `order_no`, `was`, `state`), orders for cards that are
    carried out (`order_no`, `code`), and what nobody here placed (`order_id`, `code`, `held`; codes that are not known
    yet are entered as external).
    """

    named: pl.DataFrame
    moves: pl.DataFrame
    done: pl.DataFrame
    unexpected: pl.DataFrame
    external: pl.Series


class NightRecords(NamedTuple):
    """All that the answers of a night say. `event` is its latest one; frames are as their queries below have them."""

    event: dict[str, Any]
    orders: pl.DataFrame
    counts: pl.DataFrame
    refused: pl.DataFrame
    replaced: pl.DataFrame
    late: pl.DataFrame
    undone: pl.DataFrame
    unexpected: pl.DataFrame
    awaited: pl.DataFrame
    btns: pl.DataFrame
    trend: pl.DataFrame


class OrderOutcomes(NamedTuple):
    """What became of some orders: `orders` with `released` (1 when the network ever had one of its cards); `ready`
    cards (`order_no`, `code`), `refused` ones, and cards for which an order was not carried out (`undone`).
    """

    orders: pl.DataFrame
    ready: pl.DataFrame
    refused: pl.DataFrame
    undone: pl.DataFrame


class IngestBatch(NamedTuple):
    """What comes of files and is entered in one transaction. `file` is the number of a file in its sweep, and in each
    frame but `codes`, `touches` and `wishes`, of which those are entered whose `order` is among `orders`.

    `events`: `name` (of the file), `answers` (the event whose answer the file gets again, else 0) and other fields of
    EVENT; `orders`: `order` and the fields of ORDER; `codes` and `touches`: `order`, `code`; `wishes`: `order`, `wish`;
    `repeats`: `order_no`, `rows`; `guesses`: `codes`, the number of taken ones that were asked for; `rejected`: `row`
    and the columns of an order file; `findings`: `row` (0: the whole file), `column_name`, `reason`, `value`.
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

    def of(self, files: set[int]) -> "IngestBatch":
        """The part of some files."""
        if len(files) == len(self.events):
            return self
        return IngestBatch(*(frame.filter(pl.col("file").is_in(files)) if "file" in frame.columns else frame for frame in self))


class SubmissionRecords(NamedTuple):
    """What the registry holds of some submissions; the column `event` of each frame says which one."""

    events: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    card_actions: pl.DataFrame
    duplicate_orders: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame

    def of_event(self, event: int) -> "SubmissionRecords":
        """The part of one event."""
        return SubmissionRecords(*(frame.filter(event=event) for frame in self))
