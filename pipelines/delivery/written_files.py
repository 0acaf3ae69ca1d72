"""What was written into the outbox, as the registry keeps it: `cards verify` compares the outbox with it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import thread_pool
from pipelines.delivery.archive_files import file_digest, text_name
from pipelines.registry.schema import OUTBOX_FILE


class WrittenFile(NamedTuple):
    """A file that an event wrote: see OUTBOX_FILE."""

    event: int
    name: str
    size: int
    sha256: str


NONE: Final = pl.DataFrame(schema=OUTBOX_FILE)


def written(event: int, path: Path, name: str) -> WrittenFile:
    """A file as it lies there."""
    return WrittenFile(event, name, path.stat().st_size, file_digest(path))


def in_folder(event: int, folder: Path) -> list[WrittenFile]:
    """The files of a submission's folder."""
    files = (path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file() and not path.is_symlink())
    return [written(event, path, text_name(path.name)) for path in files]


def in_outbox(event: int, outbox: Path, paths: Iterable[Path]) -> list[WrittenFile]:
    """Files outside the folders of submissions, by their path in the outbox; those that are there."""
    there = [path for path in paths if path.is_file()]
    if len(there) < 2:
        return [written(event, path, path.relative_to(outbox).as_posix()) for path in there]
    with thread_pool() as pool:  # the digest of a large file is computed without the interpreter's lock
        return list(pool.map(lambda path: written(event, path, path.relative_to(outbox).as_posix()), there))


def as_frame(files: list[WrittenFile]) -> pl.DataFrame:
    """Files as a frame: see OUTBOX_FILE."""
    return pl.DataFrame(files, OUTBOX_FILE, orient="row") if files else NONE
