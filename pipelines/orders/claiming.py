"""Which files a worker takes next: those that are first in turn and that no other worker has, a portion at a time."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pipelines.intake.inbox import InboxFile, display_name
from pipelines.registry.claims import Claims, FileKey

FIRST_FILES, FIRST_BYTES = 64, 8 << 20
"""The first portion of a run, and the least of later ones: workers that start together all find something."""
_MOST_FILES, _MOST_BYTES = 1_000, 128 << 20
_INODE_BITS: Final = (1 << 63) - 1  # what a column holds; the other parts of a key tell apart what differs in one bit


class Claimed(NamedTuple):
    """The files that are this worker's now, in their turns, and the workers that have others of those asked for."""

    files: list[InboxFile]
    holders: set[str]


def claim_portion(claims: Claims, files: list[InboxFile], *, is_first: bool) -> Claimed:
    """Claim a portion of the files, in their turns: at least one, unless other workers have them all.

    A portion is small at first. Later it is the half of a worker's equal share of what is left, so that few portions are
    needed and all workers end at about the same time.
    """
    by_key = {file_key(file): file for file in files}
    holders: set[str] = set()

    def choose(held: Mapping[FileKey, str]) -> list[FileKey]:
        holders.update(held[key] for key in by_key if key in held)
        free = [file for key, file in by_key.items() if key not in held]
        parts = 2 * (1 + len(set(held.values())))
        return [file_key(file) for file in _portion(free, 0 if is_first else 1 / parts)]

    return Claimed([by_key[key] for key in claims.claim(choose)], holders)


def file_key(file: InboxFile) -> FileKey:
    """What a file is claimed by."""
    return FileKey(file.source, display_name(file.path.name), file.inode & _INODE_BITS, file.size, file.ctime_ns)


def _portion(files: list[InboxFile], share: float) -> Iterator[InboxFile]:
    """The first of the files, a share of them within the limits."""
    most_files = min(_MOST_FILES, max(FIRST_FILES, len(files) * share))
    most_bytes = min(_MOST_BYTES, max(FIRST_BYTES, sum(file.size for file in files) * share))
    size = 0
    for number, file in enumerate(files):
        size += file.size
        if number and (number >= most_files or size > most_bytes):
            return
        yield file
