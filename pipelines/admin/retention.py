"""`cards archive`: move what is old and finished into the archive, when no night does so."""

from datetime import date

from pipelines.common.errors import UsageError
from pipelines.delivery.archive import ArchiveResult, archive_finished
from pipelines.run import Run


def archive(before: str, reseller: str, run: Run) -> ArchiveResult:
    """Archive what is finished and older than a date (ISO 8601), of one reseller or of everyone.

    Raises UsageError for a date or a reseller that is none, and CardsError while a reconciliation or another archive run is
    running.
    """
    try:
        day = date.fromisoformat(before)
    except ValueError:
        raise UsageError(f"--before {before!r} is not a date. Write it as 2026-01-31.") from None
    outbox = run.settings.outbox
    if reseller and reseller not in {folder.name for folder in outbox.glob("*/")}:
        raise UsageError(f"There is no folder {outbox / reseller}.")
    with run.registry.reconciliation_lock():
        return archive_finished(run, day, reseller)
