"""Fairness among the sources of files: they take turns, and each has a budget for a day."""

from collections import defaultdict
from itertools import takewhile, zip_longest
from typing import Final, NamedTuple

from pipelines.intake.inbox import InboxFile
from schemas.sources import OPERATOR

LARGE: Final = 4 << 20
"""A file of more bytes than this may take minutes: it comes last in its turn, and is loaded by itself."""


class Budget(NamedTuple):
    """What a reseller has used today, or may use in a day: files, bytes, and seconds of parsing."""

    files: float = 0
    bytes: float = 0
    parse_seconds: float = 0


def in_turns(files: list[InboxFile]) -> list[InboxFile]:
    """The files round-robin over their sources, oldest first within a source; large ones come last in their turn.

    Old is what the file system says (the inode's change time), not what a reseller can set.
    """
    queues: dict[str, list[InboxFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: (file.ctime_ns, file.mtime_ns, file.path.name)):
        queues[file.source].append(file)
    rounds = ([file for file in turn if file is not None] for turn in zip_longest(*queues.values()))
    return [file for turn in rounds for file in sorted(turn, key=is_large)]


def loaded_together(files: list[InboxFile], most: int) -> list[InboxFile]:
    """The first files, of which none has to wait for a large one."""
    return list(takewhile(lambda file: not is_large(file), files[:most])) or files[:1]


def is_large(file: InboxFile) -> bool:
    """Whether a file may take minutes."""
    return file.size > LARGE


def within_budget(files: list[InboxFile], used: dict[str, Budget], limit: Budget) -> list[InboxFile]:
    """The files that today's budgets of their sources still allow; the others wait. The operator has no budget.

    `used`: by source. A file larger than a whole day's bytes is let through, to be answered as too large.
    """
    left = {source: _left(budget, limit) for source, budget in used.items()}
    allowed = []
    for file in files:
        budget = left.get(file.source, limit)
        if file.source != OPERATOR and not _fits(file, budget, limit):
            continue
        left[file.source] = budget._replace(files=budget.files - 1, bytes=budget.bytes - file.size)
        allowed.append(file)
    return allowed


def _left(used: Budget, limit: Budget) -> Budget:
    return Budget(*(most - gone for most, gone in zip(limit, used, strict=True)))


def _fits(file: InboxFile, left: Budget, limit: Budget) -> bool:
    return left.files >= 1 and left.parse_seconds > 0 and (left.bytes >= file.size or file.size > limit.bytes)
