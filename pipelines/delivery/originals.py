"""The original of a submission, as if it were dropped again."""

from pathlib import Path

from pipelines.delivery.deliver import find_original, original_name
from pipelines.intake.inbox import InboxFile, file_at
from pipelines.intake.private_copy import PrivateCopy, Spool
from pipelines.run import Run


def take_original(run: Run, spool: Spool, source: str, folder: str, file_name: str, digest: str) -> PrivateCopy | None:
    """A private copy of the original of a submission that lies in the outbox; None where it was not kept.

    It stands for a file of that name that is in the inbox no more: nothing there or in the outbox is removed for it.
    """
    above = run.settings.outbox / source / folder
    path = find_original(above, digest) if above.is_dir() else None
    copy = spool.take(file_at(path, source), run.settings.max_file_mb << 20) if path else None
    if path is None or copy is None or copy.digest != digest:
        return None
    return copy._replace(file=gone(run, source, file_name if original_name(file_name) == path.name else path.name))


def gone(run: Run, source: str, name: str) -> InboxFile:
    """A file that is in the inbox no more."""
    return InboxFile(source, Path(run.settings.inbox, source, name), -1, -1, -1, -1)
