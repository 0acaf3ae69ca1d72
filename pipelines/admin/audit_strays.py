"""What lies in the outbox that this program did not write or did not finish, and who can read what."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.admin.findings import Check, Finding, Repair, RepairAction
from pipelines.common.durable_files import has_default_acl, is_left_by_the_dead, is_staging
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.delivery import archive_files, dataset_files, index, receipts
from pipelines.delivery.statements import STATEMENT, is_so_far, month_of_file
from pipelines.intake.private_copy import SPOOL
from pipelines.registry import audit
from schemas.sources import CHECK, NETWORK, RECONCILIATION

_WITHOUT_ORDERS: Final = (NETWORK, RECONCILIATION)
"""Folders of the outbox that hold no submissions of order files."""
_PLACEMENT: Final = r"^placement-(.*?)-(\d{8}-\d{6}.*)\.csv$"
_OF_NIGHT: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(\.xlsx|-[a-z-]+\.csv)")
_FOLDERS: Final = 1_000
"""So many folders are looked up together."""
_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_CODE: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{13}(?![0-9])")
_MOST_BYTES: Final = 50 << 20
_REMOVE: Final = "Find out who put it there, and remove it."
_RESTORED: Final = (
    "The registry was restored from a backup, or something else made this. If it was restored: cards recover enters what it "
    "lacks. Until then nothing must be issued."
)
ALL_OTHERS: Final = 0o077
_GROUP_MAY_READ: Final = 0o027
_MAY_PASS: Final = 0o066


def check_strays(check: Check) -> Iterator[Finding]:
    """Folders and files of the outbox that the registry does not know, and what killed runs left."""
    outbox = check.settings.outbox
    dates = set(audit.nights(check.registry)["reconciliation_date"])
    for path in _entries(outbox):
        if not path.is_dir():
            yield _stray(check, path)
        elif path.name == RECONCILIATION:
            yield from _nights(check, path, dates)
        elif not path.name.startswith("."):
            yield from _of_source(check, path, max(dates, default=0))
    yield from _left(check.settings)


def _of_source(check: Check, source: Path, last_night: int) -> Iterator[Finding]:
    """What lies in the folder of a reseller, or of the network; a million folders are looked up a portion at a time."""
    folders: list[str] = []
    for entry in _scan(source):
        if entry.is_dir(follow_symlinks=False):
            if source.name == NETWORK and _MONTH.fullmatch(entry.name):
                yield from _placements(check, Path(entry.path))
            elif entry.name not in (archive_files.FOLDER, CHECK) and not is_staging(entry.name):
                folders.append(entry.name)
        elif source.name != NETWORK and entry.name.startswith(f"{STATEMENT}-"):
            yield from _statement(check, Path(entry.path), last_night)
        elif entry.name not in (index.NAME, receipts.NAME) and not (
            source.name == NETWORK and re.match(_PLACEMENT, entry.name)
        ):
            yield _stray(check, Path(entry.path))
        if len(folders) == _FOLDERS:
            yield from _unknown_folders(check, source, folders)
            folders = []
    if source.name == NETWORK:
        yield from _placements(check, source)
    yield from _unknown_folders(check, source, folders)


def _unknown_folders(check: Check, source: Path, folders: list[str]) -> Iterator[Finding]:
    """Folders that are of no submission."""
    named = pl.DataFrame({"folder": folders}, {"folder": pl.String}).select(pl.lit(source.name).alias("source"), "folder")
    known = set(audit.known_folders(check.registry, named)["folder"])
    for path in (source / folder for folder in sorted(folders) if folder not in known):
        yield Finding("the registry does not know a submission", str(path), f"{_codes_in(check, path)}{_RESTORED}")


def _placements(check: Check, folder: Path) -> Iterator[Finding]:
    """Placement files that are of no event."""
    files = [entry.name for entry in _scan(folder) if entry.is_file()]
    names = pl.DataFrame({"name": files}, {"name": pl.String})
    parts = names.with_columns(
        source=pl.col("name").str.extract(_PLACEMENT, 1), folder=pl.col("name").str.extract(_PLACEMENT, 2)
    )
    if folder.name == NETWORK:
        parts = parts.drop_nulls()
    known = audit.known_folders(check.registry, parts.drop_nulls().select("source", "folder"))
    for name in parts.join(known, on=["source", "folder"], how="anti")["name"]:
        path = folder / name
        yield Finding("the registry does not know a placement file", str(path), f"{_codes_in(check, path)}{_RESTORED}")


def _nights(check: Check, folder: Path, dates: set[int]) -> Iterator[Finding]:
    """The files next to the workbooks of nights (`dates`)."""
    for path in _entries(folder):
        found = _OF_NIGHT.fullmatch(path.name)
        if path.is_dir() and (path.name == archive_files.FOLDER or is_staging(path.name)):
            continue
        if path.name.startswith(f"{STATEMENT}s-"):
            yield from _statement(check, path, max(dates, default=0))
        elif path.is_dir() and path.name == dataset_files.FOLDER:
            yield from _datasets(check, path, dates)
        elif not found:
            yield _stray(check, path)
        elif int("".join(found.groups()[:3])) not in dates:
            yield Finding("the registry does not know a night", str(path), _RESTORED)


def _datasets(check: Check, folder: Path, dates: set[int]) -> Iterator[Finding]:
    """What lies among the data for analysts."""
    for entry in sorted(_walk(folder), key=lambda entry: entry.path):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False) or is_staging(path.parent.name):
            continue
        found = dataset_files.NAME.fullmatch(path.relative_to(folder).as_posix())
        if not found:
            yield _stray(check, path)
        elif int("".join(found.groups())) not in dates:
            yield Finding("the registry does not know a night", str(path), _RESTORED)


def _statement(check: Check, path: Path, last_night: int) -> Iterator[Finding]:
    """A file that is named as a statement; there is none of a month that no night has followed."""
    month = month_of_file(path.name)
    if not month and not is_so_far(path.name):
        yield _stray(check, path)
    elif month >= last_night // 100:
        yield Finding("the registry does not know a statement", str(path), _RESTORED)


def _stray(check: Check, path: Path) -> Finding:
    return Finding("this program did not write a file", str(path), f"{_codes_in(check, path)}{_REMOVE}")


def _codes_in(check: Check, path: Path) -> str:
    """What a stranger's file or folder holds of codes, in words; never the codes."""
    if not check.full:
        return ""
    files = path.rglob("*") if path.is_dir() else [path]
    found = {int(code) for file in files for code in _CODE.findall(_content(file))}
    if not found:
        return ""
    codes = pl.Series("code", sorted(found), pl.Int64)
    known = len(check.registry.existing_codes(codes))
    words = [f"{count(known, 'code')} of the registry"] if known else []
    words += [f"{count(len(codes) - known, 'code')} that it does not have"] if known < len(codes) else []
    return f"It holds {' and '.join(words)}. "


def _content(path: Path) -> bytes:
    """The first bytes of a file; of one that can't be read none."""
    try:
        if path.is_symlink() or not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _entries(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _scan(folder))


def _scan(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, one at a time; none of one that is missing or can't be read."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, one at a time; links are not followed."""
    for entry in _scan(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)


# -- what killed runs left -----------------------------------------------------------------------------------------------


def _left(settings: Settings) -> Iterator[Finding]:
    for path in _staged(settings.outbox):
        if is_left_by_the_dead(path):
            yield Finding(
                "a killed run left what it had begun to write", str(path), "Remove it: cards repair --apply",
                Repair(RepairAction.REMOVE, str(path)),
            )  # fmt: skip
    for path in _entries(settings.home / SPOOL):
        if path.is_dir() and is_left_by_the_dead(path):
            yield Finding(
                "a killed run left private copies of dropped files", str(path), "The next run finishes them: cards run",
                Repair(RepairAction.FINISH, ""),
            )  # fmt: skip


def _staged(outbox: Path) -> Iterator[Path]:
    """What is being written anywhere in the outbox, or was."""
    return (Path(entry.path) for entry in _walk(outbox) if is_staging(entry.name) and entry.is_dir(follow_symlinks=False))


# -- permissions -------------------------------------------------------------------------------------------------------


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Files and folders that are more open than CARDS_SHARE says, and dropped ones that can't be read."""
    for entry in _walk(settings.inbox):
        if not os.access(entry.path, os.R_OK):
            yield Finding("this can't be read, so it is never answered", entry.path, f"chmod u+r '{entry.path}'")
    if settings.outbox.is_dir():
        yield from _too_open(settings.outbox, settings.outbox.lstat(), _of_outbox(settings))
    for path in settings.home.glob("registry.db*"):
        yield from _too_open(path, path.lstat(), ALL_OTHERS)
    yield from _below(settings.home / SPOOL, ALL_OTHERS, None)
    for source in _entries(settings.outbox):
        excess = excess_of(settings, source.name) if source.is_dir() else ALL_OTHERS
        yield from _too_open(source, source.lstat(), excess)
        yield from _below(source, excess, source.stat().st_gid if excess == _GROUP_MAY_READ else None)


def _below(folder: Path, excess: int, group: int | None) -> Iterator[Finding]:
    """What lies below a folder and is more open than it may be, or open to another group."""
    for entry in _walk(folder):
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # it was finished meanwhile
            continue
        yield from _too_open(entry.path, found, excess)
        if group is not None and found.st_gid != group and not entry.is_symlink():
            what, fix = "another group than the reseller's can read this", f"chgrp {group} '{entry.path}'"
            yield Finding(what, entry.path, fix, Repair(RepairAction.RESTRICT, entry.path))


def _too_open(path: Path | str, found: os.stat_result, excess: int) -> Iterator[Finding]:
    mode = stat.S_IMODE(found.st_mode)
    if mode & excess and not stat.S_ISLNK(found.st_mode):
        others = {ALL_OTHERS: "go=", _GROUP_MAY_READ: "g-w,o=", _MAY_PASS: "go-rw"}[excess]
        fix = f"chmod {others} '{path}'"
        yield Finding(f"others can access this (mode {mode:o})", str(path), fix, Repair(RepairAction.RESTRICT, str(path)))


def excess_of(settings: Settings, source: str) -> int:
    """The permissions that what lies in a folder of the outbox must not have: with CARDS_SHARE=group a reseller's group may
    read its answers.
    """
    if source in _WITHOUT_ORDERS:
        return ALL_OTHERS
    shared = settings.share == "group" or has_default_acl(settings.outbox / source)
    return _GROUP_MAY_READ if shared else ALL_OTHERS


def _of_outbox(settings: Settings) -> int:
    """The permissions that the outbox itself must not have: whoever shares answers may let others pass through it."""
    shared = settings.share == "group" or any(has_default_acl(path) for path in _entries(settings.outbox) if path.is_dir())
    return _MAY_PASS if shared else ALL_OTHERS


def restrict(settings: Settings, path: Path) -> None:
    """Take from a file or folder what others must not have, and give it the group of its reseller."""
    if path.is_symlink():
        return
    parts = path.relative_to(settings.outbox).parts if path.is_relative_to(settings.outbox) else None
    excess = ALL_OTHERS if parts is None else _of_outbox(settings) if not parts else excess_of(settings, parts[0])
    if excess == _GROUP_MAY_READ and parts:
        os.chown(path, -1, (settings.outbox / parts[0]).stat().st_gid, follow_symlinks=False)
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~excess)
