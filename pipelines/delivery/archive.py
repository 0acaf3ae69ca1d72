"""Retention: finished submissions leave the outbox for the archive of their month, and come back when they are needed.

An archive is written and read back, then the registry notes what lies in it, then the folders are removed. A run that is
killed in between leaves both, and the next one goes on: what an archive holds already is not added again, and of what the
registry has noted the folder is removed once the archive holds each of its files.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.durable_files import fsync, remove_stale_staging, rename_away, staging_dir
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.log_events import ARCHIVE_WRITTEN
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.delivery import archive_files, index
from pipelines.delivery.access import access_for
from pipelines.delivery.archive_files import Entry
from pipelines.delivery.index import Answer
from pipelines.delivery.submission import MONTHS, placement_path
from pipelines.registry import archive as registry_archive
from pipelines.registry import audit_trail
from pipelines.run import Run
from schemas.sources import CHECK, NETWORK, RECONCILIATION, TRIAL

MOST_A_NIGHT: Final = 5_000
"""A night archives no more submissions than this, nor more placement files or workbooks; the next one goes on."""
_SLICE: Final = 1_000
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass
class ArchiveFigures:
    """What an archive of a source got: submissions, files and their bytes."""

    source: str
    archive: str
    submissions: int = 0
    files: int = 0
    bytes: int = 0


@dataclass
class ArchiveResult:
    """What became of an archive run: its date, the archives that were added to, and what could not be archived."""

    before: str
    archives: list[ArchiveFigures] = field(default_factory=list)
    failures: list[CardsError] = field(default_factory=list)

    def figures(self, source: str, archive: str) -> ArchiveFigures:
        """The figures of an archive, to be added to."""
        found = next((one for one in self.archives if one.archive == archive), None)
        if found is None:
            found = ArchiveFigures(source, archive)
            self.archives.append(found)
        return found


def archive_due(run: Run) -> list[CardsError]:
    """What the night archives at its end, if CARDS_KEEP_DAYS says so; what could not be archived.

    The caller holds the lock on reconciling.
    """
    if not run.settings.keep_days:
        return []
    before = (run.runtime.now() - timedelta(days=run.settings.keep_days)).date()
    try:
        return archive_finished(run, before, most=MOST_A_NIGHT).failures
    except CardsError as error:  # the night itself is done
        return [error]


def archive_finished(run: Run, before: date, reseller: str = "", most: int | None = None) -> ArchiveResult:
    """Archive finished submissions from before a date, of one reseller or of everyone; of everyone also the placement files of
    whole months that nobody awaits any more, and the workbooks of nights. `most`: how many of each.

    The caller holds the lock on reconciling.
    """
    result = ArchiveResult(f"{before:%Y-%m-%d}")
    for source in _sources(run.settings, reseller):
        with _kept(result):
            _remove_archived(run, source)
    _archive_submissions(run, before, reseller, most, result)
    for folder in run.settings.outbox.glob("[!.]*/"):
        if reseller in ("", folder.name):
            with _kept(result):
                _remove_old_trials(folder / CHECK, before)
    if not reseller:
        _archive_files(run, before, most, result)
    if archives := len(result.archives):
        about = f"what was finished before {result.before}, into {count(archives, 'archive')}"
        audit_trail.note(run.registry, audit_trail.entry_of(run.runtime, "archived", reseller or "all sources", about))
    for one in result.archives:
        run.runtime.log(ARCHIVE_WRITTEN, **asdict(one))
    return result


def _remove_old_trials(folder: Path, before: date) -> None:
    """Remove the answers to trials from before a date: nothing refers to them, and a file can be tried again."""
    for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
        if path.name.endswith(TRIAL) and path.name[:8].isdecimal() and path.name[:8] < f"{before:%Y%m%d}":
            shutil.rmtree(rename_away(path), ignore_errors=True)
    remove_stale_staging(folder)


@contextmanager
def _kept(result: ArchiveResult) -> Iterator[None]:
    """Keep an error of the block as a failure of the run, which goes on with other archives."""
    try:
        yield
    except Exception as error:
        result.failures.append(to_cards_error(error))


def _sources(settings: Settings, reseller: str) -> list[str]:
    """The folders of the outbox that have an archive."""
    names = [path.name for path in settings.outbox.glob("[!.]*/")]
    return sorted(name for name in names if (settings.outbox / name / archive_files.FOLDER).is_dir() and reseller in ("", name))


# -- submissions -------------------------------------------------------------------------------------------------------


def _archive_submissions(run: Run, before: date, reseller: str, most: int | None, result: ArchiveResult) -> None:
    left = most
    for portion in registry_archive.finished_submissions(run.registry, before, reseller):
        some = portion.head(len(portion) if left is None else left)
        some = some.with_columns(month=pl.col("at").str.head(7))
        parts = some.partition_by("source", "month", as_dict=True, maintain_order=True)
        for (source, month), submissions in parts.items():
            with _kept(result):
                _archive_part(run, str(source), str(month), submissions, before, result)
        left = None if left is None else left - len(some)
        if left == 0:
            return


def _archive_part(run: Run, source: str, month: str, submissions: pl.DataFrame, before: date, result: ArchiveResult) -> None:
    """Archive submissions of a source and month, and remove their folders."""
    outbox = run.settings.outbox / source
    archived = _archived_folders(outbox, month)
    target = _number(outbox, month)
    numbers: dict[int, int] = {}
    entries: dict[int, list[Entry]] = {}
    for event, folder in submissions.select("event", "folder").iter_rows():
        if (outbox / folder).is_dir():
            numbers[event] = archived.get(folder, target)
            entries.setdefault(numbers[event], []).extend(_entries(outbox / folder))
        elif folder in archived:  # as after a registry was restored from a backup
            numbers[event] = archived[folder]
    for number, files in entries.items():
        _add(
            run, source, archive_files.archive_path(outbox, month, number), files, result, list(numbers.values()).count(number)
        )
    run.runtime.checkpoint("archive written")
    _write_index(run, source, month, submissions, numbers)
    finished = registry_archive.note_finished(run.registry, numbers, before)
    run.runtime.checkpoint("archive noted")
    noted = submissions.with_columns(archived=pl.col("event").replace_strict(numbers, default=0, return_dtype=pl.Int64))
    _remove_folders(run, noted.filter(pl.col("archived") > 0, pl.col("event").is_in(finished)))


def _write_index(run: Run, source: str, month: str, submissions: pl.DataFrame, numbers: dict[int, int]) -> None:
    """Add where the submissions went to the index of their reseller."""
    now = run.runtime.timestamp()
    outbox = run.settings.outbox / source
    names = {number: f"{archive_files.FOLDER}/{archive_files.archive_path(outbox, month, number).name}"
             for number in numbers.values()}  # fmt: skip
    archived = [
        Answer(now, "", "archive", f"{names[numbers[event]]}/{folder}", 0, 0)
        for event, folder in submissions.select("event", "folder").iter_rows()
        if event in numbers
    ]
    index.append(run.settings, source, archived, once=True)


def _archived_folders(outbox: Path, month: str) -> dict[str, int]:
    """The folders that the archives of a month hold, each with the number of its archive."""
    manifests = {
        number: archive_files.read_manifest(path) for number, path in archive_files.month_archives(outbox, month).items()
    }
    return {folder: number for number, manifest in manifests.items() for folder in archive_files.folders_in(manifest)}


def _number(outbox: Path, month: str) -> int:
    """The number of the archive of a month that has room."""
    there = archive_files.month_archives(outbox, month)
    if not there:
        return 1
    number, last = list(there.items())[-1]
    full = last.stat().st_size >= archive_files.MOST_BYTES or len(archive_files.read_manifest(last)) >= archive_files.MOST_FILES
    return number + full


def _entries(folder: Path) -> list[Entry]:
    """The files of a submission. Raises CardsError when it holds something else."""
    remove_stale_staging(folder)
    paths = sorted(folder.iterdir())
    if other := next((path for path in paths if path.is_symlink() or not path.is_file()), None):
        raise CardsError(f"{other} is not a file, so its submission can't be archived. Move it away.")
    return [Entry(archive_files.member_name(folder.name, path.name), path) for path in paths]


def _add(run: Run, source: str, path: Path, entries: list[Entry], result: ArchiveResult, submissions: int) -> None:
    size = archive_files.add(path, entries, access_for(run.settings, source))
    figures = result.figures(source, str(path.relative_to(run.settings.home)))
    figures.submissions += submissions
    figures.files += len(entries)
    figures.bytes += size


def _remove_archived(run: Run, source: str) -> None:
    """Remove what a killed run left: folders that the registry has noted as archived, and what was begun."""
    outbox = run.settings.outbox / source
    for folder in (outbox, outbox / archive_files.FOLDER):
        remove_stale_staging(folder)
    folders = [path.name for path in outbox.iterdir() if path.is_dir() and path.name != archive_files.FOLDER]
    _remove_folders(run, registry_archive.archived_among(run.registry, source, folders))


def _remove_folders(run: Run, submissions: pl.DataFrame) -> None:
    """Remove the folders of archived submissions. One that holds a file which its archive does not is not archived after all:
    something was written there since, and it is archived again.
    """
    alive: dict[int, int] = {}
    manifests: dict[Path, dict[str, str]] = {}
    for submission in submissions.iter_rows(named=True):
        folder, path = _folder(run.settings, submission), _archive(run.settings, submission)
        if path not in manifests:
            manifests = {path: archive_files.digests(archive_files.read_manifest(path))}
        if not folder.is_dir():
            continue
        if all(manifests[path].get(entry.name) == archive_files.file_digest(entry.path) for entry in _entries(folder)):
            _remove_folder(run, submission["event"], folder)
        else:
            alive[submission["event"]] = 0
    registry_archive.note_archived(run.registry, alive)


def _remove_folder(run: Run, event: int, folder: Path) -> None:
    """Remove an archived folder, unless it was brought back meanwhile."""
    with run.registry.transaction():
        if not registry_archive.submission_of(run.registry, event)["archived"].item():
            return
        gone = rename_away(folder)
    run.runtime.checkpoint("folder renamed")
    shutil.rmtree(gone, ignore_errors=True)
    run.runtime.checkpoint("folder removed")


def _folder(settings: Settings, submission: dict[str, Any]) -> Path:
    return settings.outbox / str(submission["source"]) / str(submission["folder"])


def _archive(settings: Settings, submission: dict[str, Any]) -> Path:
    """The archive in which a submission lies."""
    outbox = settings.outbox / str(submission["source"])
    return archive_files.archive_path(outbox, str(submission["at"])[:7], int(submission["archived"]))


# -- coming back -------------------------------------------------------------------------------------------------------


def bring_back(run: Run, submissions: pl.DataFrame) -> None:
    """Write the folders of submissions again, as they were archived, before anything else is written into them. They are in
    the outbox from now on; the archive keeps what it has.
    """
    for submission in submissions.iter_rows(named=True):
        _extract(run, submission)
        if submission["archived"]:
            registry_archive.note_archived(run.registry, {submission["event"]: 0})
            _extract(run, submission)  # an archive run may have removed the folder until it was noted


def _extract(run: Run, submission: dict[str, Any]) -> None:
    """Write the folder of a submission as it was archived, whole or not at all, unless it is there."""
    folder = _folder(run.settings, submission)
    number = 0 if folder.is_dir() else _number_of(run.settings, submission)
    if not number:
        return
    access = access_for(run.settings, str(submission["source"]))
    with staging_dir(folder) as new:
        archive_files.extract(_archive(run.settings, {**submission, "archived": number}), folder.name, new)
        for path in (*new.iterdir(), new):
            fsync(path, access)
        new.chmod(access.folder)
        new.rename(folder)
    fsync(folder.parent)
    run.runtime.checkpoint("folder brought back")


def _number_of(settings: Settings, submission: dict[str, Any]) -> int:
    """The number of the archive that holds a submission; 0 when none does."""
    month = str(submission["at"])[:7]
    return _archived_folders(settings.outbox / str(submission["source"]), month).get(str(submission["folder"]), 0)


def bring_back_submission(run: Run, event: int) -> None:
    """Write the folder of a submission again, if an archive holds it and the outbox does not.

    Raises CardsError while a reconciliation is running.
    """
    found = registry_archive.submission_of(run.registry, event)
    if not all(_folder(run.settings, one).is_dir() and not one["archived"] for one in found.iter_rows(named=True)):
        with run.registry.reconciliation_lock():
            bring_back(run, registry_archive.submission_of(run.registry, event))


def bring_back_orders(run: Run, order_pks: pl.Series) -> None:
    """Write the folders of orders' archived submissions again: something happens to their cards.

    What is released waits for no archive: `cards verify` reports one that can't be read, and that its submission lacks files.
    """
    archived = registry_archive.archived_of_orders(run.registry, order_pks)
    for submission in archived.iter_slices(1):
        try:
            bring_back(run, submission)
        except CardsError:
            registry_archive.note_archived(run.registry, {submission["event"].item(): 0})


# -- placement files and workbooks -------------------------------------------------------------------------------------


def _archive_files(run: Run, before: date, most: int | None, result: ArchiveResult) -> None:
    """Archive the placement files of closed months, and the workbooks of nights before a date."""
    network, nights = run.settings.outbox / NETWORK, run.settings.outbox / RECONCILIATION
    for source, found in ((NETWORK, _placements(run, network, before)), (RECONCILIATION, _workbooks(nights, before))):
        left = most
        for month, entries in found:
            for start in range(0, len(entries), _SLICE):
                files = entries[start : start + _SLICE][:left]
                with _kept(result):
                    _move_files(run, source, month, files, result)
                left = None if left is None else left - len(files)
            with suppress(OSError):  # it still holds something
                (network / month).rmdir()


def _placements(run: Run, network: Path, before: date) -> Iterator[tuple[str, list[Entry]]]:
    """The placement files of each whole month before a date of which no order is awaited."""
    months = sorted(path for path in network.glob(f"{MONTHS}/") if path.name < f"{before:%Y-%m}")
    still_open = registry_archive.open_months(run.registry) if months else set()
    for month in months:
        if month.name not in still_open:
            yield month.name, _entries(month)


def _workbooks(nights: Path, before: date) -> Iterator[tuple[str, list[Entry]]]:
    """The workbooks of the nights of each month before a date, and the files next to them."""
    paths = sorted(path for path in nights.glob("[!.]*") if _DAY.match(path.name) and path.name[:10] < f"{before:%Y-%m-%d}")
    for month in sorted({path.name[:7] for path in paths}):
        yield month, [Entry(path.name, path) for path in paths if path.name.startswith(month) and path.is_file()]


def _move_files(run: Run, source: str, month: str, entries: list[Entry], result: ArchiveResult) -> None:
    """Archive files, and remove them once the archive holds them."""
    if not entries:
        return
    outbox = run.settings.outbox / source
    archived = {
        name: number for number, path in archive_files.month_archives(outbox, month).items()
        for name in archive_files.read_manifest(path)["name"]
    }  # fmt: skip
    target = _number(outbox, month)
    for number in {archived.get(entry.name, target) for entry in entries}:
        path = archive_files.archive_path(outbox, month, number)
        files = [entry for entry in entries if archived.get(entry.name, target) == number]
        _add(run, source, path, files, result, 0)
        run.runtime.checkpoint("archive written")
        _unlink(run, files, archive_files.digests(archive_files.read_manifest(path)))


def _unlink(run: Run, entries: list[Entry], archived: dict[str, str]) -> None:
    """Remove files that an archive holds as they are."""
    for entry in entries:
        if archived.get(entry.name) == archive_files.file_digest(entry.path):
            entry.path.unlink()
            run.runtime.checkpoint("file removed")


def holds_placement(settings: Settings, event: dict[str, Any]) -> bool:
    """Whether the placement file of an event was archived, so that the network must not find it again."""
    path = placement_path(settings.outbox, event)
    month = path.parent.name
    name = archive_files.member_name(month, path.name)
    archives = archive_files.month_archives(settings.outbox / NETWORK, month).values()
    return any(name in set(archive_files.read_manifest(archive)["name"]) for archive in archives)
