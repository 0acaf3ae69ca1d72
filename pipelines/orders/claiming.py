"""Which files a worker takes next: those that are first in turn and that no other worker has, a portion at a time."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipelines.intake.fairness import is_large
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.registry.claims import Claims, FileKey
from schemas.sources import CHECK

FIRST_FILES, FIRST_BYTES = 64, 8 << 20
"""The first portion of a run, and the least of later ones: workers that start together all find something."""
_MOST_FILES, _MOST_BYTES = 1_000, 128 << 20
_INODE_BITS: Final = (1 << 63) - 1  # what a column holds; the other parts of a key distinguish what differs in one bit


class Claimed(NamedTuple):
    """The files that are this worker's now, in their turns, and the workers that have others of those asked for."""

    files: list[InboxFile]
    holders: set[str]


def claim_portion(claims: Claims, files: list[InboxFile], *, is_first: bool) -> Claimed:
    """Claim a portion of the files, in their turns: at least one, unless other workers have them all.

    A portion is small at first. Later it is the half of a worker's equal share of what is left, so that few portions are
    needed and all workers end at about the same time.
    """
    mine: dict[FileKey, InboxFile] = {}
    holders: set[str] = set()

    def choose(claimed: Mapping[FileKey, str]) -> list[FileKey]:
        parts = 2 * (1 + len(set(claimed.values())))
        is_full = _limit(files, 0 if is_first else 1 / parts)
        for file in files:  # of a flood only the first are looked at
            key = file_key(file)
            if key in claimed:
                holders.add(claimed[key])
            elif is_full(file):
                break
            else:
                mine[key] = file
        return list(mine)

    return Claimed([mine[key] for key in claims.claim(choose)], holders)


def file_key(file: InboxFile) -> FileKey:
    """What a file is claimed by."""
    name = display_name(file.path.name)
    # an event waits for claims of its file's name, which a trial has nothing to do with
    return FileKey(
        file.source, f"{CHECK}/{name}" if file.is_trial else name, file.inode & _INODE_BITS, file.size, file.ctime_ns
    )


def _limit(files: list[InboxFile], share: float) -> Callable[[InboxFile], bool]:
    """Says of one file after the other whether it is too much for a portion that is a share of the files."""
    most_files = min(_MOST_FILES, max(FIRST_FILES, len(files) * share))
    most_bytes = min(_MOST_BYTES, max(FIRST_BYTES, sum(file.size for file in files) * share))
    claimed = size = 0
    is_alone = False  # a large file is loaded by itself; nobody else's or ours waits for it meanwhile

    def is_full(file: InboxFile) -> bool:
        nonlocal claimed, size, is_alone
        claimed, size = claimed + 1, size + file.size
        was_alone, is_alone = is_alone, is_large(file)
        return claimed > 1 and (was_alone or is_alone or claimed > most_files or size > most_bytes)

    return is_full
