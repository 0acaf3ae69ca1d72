"""What was written into the outbox: name, size and SHA-256 of each file."""

import polars as pl

from pipelines.registry.columns import columns_of
from pipelines.registry.database import Database
from pipelines.registry.schema import OUTBOX_FILE


def note_files(registry: Database, files: pl.DataFrame) -> None:
    """Keep what was written (see OUTBOX_FILE), in place of what was kept of these files. Inside a transaction."""
    registry.execute_with(
        files.unique(["event", "name"], keep="last").select(*OUTBOX_FILE),
        "event, name",
        """
        INSERT INTO outbox_files SELECT event, name, size, sha256 FROM given WHERE true
        ON CONFLICT (event, name) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256
        """,
    )


def forget_files(registry: Database, events: list[int], names: list[str]) -> None:
    """Keep nothing any more of files that these events wrote and that are removed. Inside a transaction."""
    registry.execute_with(
        pl.DataFrame({"name": names}).join(pl.DataFrame({"event": events}), how="cross"),
        "event, name",
        """
        DELETE FROM outbox_files
        WHERE event IN (SELECT given.event FROM given) AND name IN (SELECT given.name FROM given)
        """,
    )


def files_of(registry: Database, events: pl.Series) -> pl.DataFrame:
    """The files that events wrote, by event and name: see OUTBOX_FILE."""
    rest = "FROM given JOIN outbox_files ON outbox_files.event = given.event"
    return registry.select_with(events.unique().sort().to_frame("event"), columns_of("outbox_files"), rest).sort(
        "event", "name"
    )
