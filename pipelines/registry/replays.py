"""Submissions that get another answer: which they are, and that their bytes get the new one from then on."""

from collections.abc import Iterator
from typing import Final

import polars as pl

from pipelines.registry.columns import columns_of
from pipelines.registry.database import Database

_PORTION: Final = 500


def replayable(registry: Database, reason: str, since: str, reseller: str) -> Iterator[pl.DataFrame]:
    """Delivered submissions with a finding of this reason, from this time on (empty: ever), of a reseller (empty: of all):
    `event`, `source`, `file_name`, `folder`, `at`, `digest`, `archived`; in portions, oldest first. Those are left out that
    were answered again already, and those whose bytes came again later and got an answer for good.
    """
    after = 0
    while True:
        found = registry.select(
            columns_of("events", "event", "source", "file_name", "folder", "at", "digest", "archived"),
            f"""
            FROM events
            WHERE events.event > $1 AND events.kind = 'orders' AND events.delivered = 1 AND events.original_event = events.event
            AND events.at >= $2 AND ($3 = '' OR events.source = $3)
            AND EXISTS (SELECT 1 FROM findings WHERE findings.event = events.event AND findings.reason = $4)
            AND NOT EXISTS (SELECT 1 FROM events AS later WHERE later.replays = events.event AND later.replays > 0)
            AND NOT EXISTS (
                SELECT 1 FROM events AS later
                WHERE later.source = events.source AND later.digest = events.digest AND later.event > events.event
                AND later.final = 1 AND later.original_event = later.event
            )
            ORDER BY events.event LIMIT {_PORTION}
            """,
            after, since, reseller, reason,
        )  # fmt: skip
        if found.is_empty():
            return
        yield found
        after = int(found["event"].max())  # type: ignore[arg-type]


def replayed(registry: Database, events: pl.Series) -> pl.Series:
    """Those of the events that were answered again."""
    return registry.select_with(
        events.unique().to_frame("event"),
        columns_of("events", "replays"),
        "FROM given JOIN events ON events.replays = given.event AND events.replays > 0",
    )["replays"]


def retire_answers(registry: Database, files: pl.DataFrame) -> None:
    """Let the bytes of these files (`source`, `digest`) no longer get the answer that they got: one that follows is newer.
    Inside a transaction.
    """
    registry.execute_with(
        files.unique(),
        "source, digest",
        """
        UPDATE events SET final = 0 FROM given
        WHERE events.source = given.source AND events.digest = given.digest
        AND events.final = 1 AND events.original_event = events.event
        """,
    )


def findings_of(registry: Database, event: int) -> set[tuple[int, str, str]]:
    """What was wrong with a submission: row, column and reason of each finding."""
    found = registry.select(
        columns_of("findings", "source_row", "column_name", "reason"), f"FROM findings WHERE findings.event = {event}"
    )
    return set(found.iter_rows())
