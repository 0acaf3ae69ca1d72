"""What `cards verify` looks at in the outbox: folders and archives of submissions, originals, and codes in files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.delivery import archive_files
from pipelines.delivery.deliver import find_original
from pipelines.registry import audit
from pipelines.registry.store import Registry
from schemas.sources import CHECK, NETWORK, RECONCILIATION

WITHOUT_ORDERS: Final = (NETWORK, RECONCILIATION)
"""Folders of the outbox that hold no submissions of order files."""
_BACKUP: Final = "Restore it from a backup of the outbox."
_NAMES: Final = ("confirmation", "placement-", "release-")
_COLUMNS: Final = ["Order ID", "Authorization Code"]


@dataclass(frozen=True)
class Finding:
    """A problem: what is wrong, where, and how to fix it. It never names a code."""

    what: str
    where: str
    fix: str


def check_outbox(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """Check every submission where it lies, every archive, and the codes of all files."""
    known = audit.submissions(registry)
    yield from _folders(settings, known.filter(archived=0))
    yield from _unknown_folders(settings, known)
    archives = sorted(path for folder in settings.outbox.glob("[!.]*/") for path in archive_files.archives_of(folder))
    damaged = {}
    for path in archives:
        damaged[path] = list(_damage(path))
        yield from damaged[path]
    yield from _archived(settings, known.filter(pl.col("archived") > 0))
    yield from _codes(settings, registry, [path for path in archives if not damaged[path]])


# -- submissions -------------------------------------------------------------------------------------------------------


def _folders(settings: Settings, submissions: pl.DataFrame) -> Iterator[Finding]:
    """Every submission of the outbox against its folder."""
    for one in submissions.iter_rows(named=True):
        path = settings.outbox / one["source"] / one["folder"]
        if not path.is_dir():
            yield Finding("a submission has no folder", str(path), _rewrite(one))
            continue
        if missing := [name for name in _reports(one) if not (path / name).is_file()]:
            yield Finding(f"a submission has no {', '.join(missing)}", str(path), _rewrite(one))
        if not one["too_large"] and find_original(path, one["digest"]) is None:
            yield Finding("the original of a submission is missing or not what was answered", str(path), _BACKUP)


def _rewrite(submission: dict[str, Any]) -> str:
    if submission["kind"] == "report":
        return _BACKUP
    return f"Write it again: cards report {submission['source']}/{submission['folder']}"


def _reports(submission: dict[str, Any]) -> list[str]:
    """The reports that every submission of its kind has."""
    confirmed = submission["readable"] and submission["kind"] == "orders"
    names = ["confirmation"] * confirmed + ["rejections"] * (submission["rejected"] > 0)
    return [f"{name}.{kind}" for name in names for kind in ("csv", "xlsx")]


def _unknown_folders(settings: Settings, submissions: pl.DataFrame) -> Iterator[Finding]:
    """Folders of the outbox that are no submission."""
    known = set(submissions.select("source", "folder").iter_rows())
    senders = [folder for folder in _subfolders(settings.outbox) if folder.name not in WITHOUT_ORDERS]
    for path in (folder for sender in senders for folder in _subfolders(sender)):
        if path.name not in (archive_files.FOLDER, CHECK) and (path.parent.name, path.name) not in known:
            fix = (
                "The registry was restored from a backup, or something else made this folder. "
                "Enter its codes: cards registry import FILE."
            )
            yield Finding("the registry does not know a submission", str(path), fix)


def _subfolders(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    )


# -- archives ----------------------------------------------------------------------------------------------------------


def _damage(path: Path) -> Iterator[Finding]:
    """What is wrong with an archive, of which every member is read."""
    try:
        for name, problem in archive_files.problems(path):
            yield Finding(f"{name} in an archive: {problem}", str(path), _BACKUP)
    except CardsError as error:
        yield Finding("an archive can't be read", str(path), str(error))


def _archived(settings: Settings, submissions: pl.DataFrame) -> Iterator[Finding]:
    """Every archived submission against the manifest of its archive."""
    where = submissions.with_columns(month=pl.col("at").str.head(7)).sort("source", "month", "archived")
    parts = where.partition_by("source", "month", "archived", as_dict=True, maintain_order=True)
    for (source, month, number), part in parts.items():
        path = archive_files.archive_path(settings.outbox / str(source), str(month), int(number))
        if not path.is_file():
            fix = f"{_BACKUP} Without one, cards report writes all but the originals again."
            yield Finding(f"the archive of {count(len(part), 'submission')} is missing", str(path), fix)
            continue
        try:
            archived = _by_folder(archive_files.read_manifest(path))
        except CardsError:  # which has been named
            continue
        for one in part.iter_rows(named=True):
            names, digests = archived.get(one["folder"], (set(), set()))
            if missing := [name for name in _reports(one) if name not in names]:
                yield Finding(f"an archived submission has no {', '.join(missing)}", f"{path}: {one['folder']}", _rewrite(one))
            if not one["too_large"] and one["digest"] not in digests:
                what = "the original of an archived submission is missing or not what was answered"
                yield Finding(what, f"{path}: {one['folder']}", _BACKUP)


def _by_folder(manifest: pl.DataFrame) -> dict[str, tuple[set[str], set[str]]]:
    """The names and digests of the files of each folder."""
    folder, name = pl.col("name").str.extract(r"^(.*)/[^/]*$"), pl.col("name").str.extract(r"([^/]*)$")
    files = manifest.select(folder.fill_null("").alias("folder"), name.alias("name"), "sha256")
    grouped = files.group_by("folder").agg("name", "sha256")
    return {folder: (set(names), set(digests)) for folder, names, digests in grouped.iter_rows()}


# -- codes -------------------------------------------------------------------------------------------------------------


def _codes(settings: Settings, registry: Registry, archives: list[Path]) -> Iterator[Finding]:
    """Codes that the registry does not have, which could be issued again; and released ones that were never ready."""
    for path in sorted(settings.outbox.rglob("*.csv")):
        if path.name.startswith(_NAMES):
            rows = pl.scan_csv(path, infer_schema=False).select(_COLUMNS).collect()
            yield from _check_codes(registry, rows, path.name, str(path), str(path))
    for path in archives:
        with archive_files.opened(path) as archive:
            for name in archive.namelist():
                file = archive_files.file_name(name)
                if file.startswith(_NAMES) and file.endswith(".csv"):
                    rows = archive_files.read_csv_member(archive, name, _COLUMNS)
                    yield from _check_codes(registry, rows, file, f"{path}: {name}", f"FILE, once it is unpacked from {path}")


def _check_codes(registry: Registry, rows: pl.DataFrame, name: str, where: str, file: str) -> Iterator[Finding]:
    cards = rows.rename(dict(zip(_COLUMNS, ["order_id", "code"], strict=True))).with_columns(pl.col("order_id").fill_null(""))
    cards = cards.filter(pl.col("code").str.contains(r"^[0-9]{14}$").fill_null(value=False)).cast({"code": pl.Int64})
    codes = cards["code"].unique()
    if missing := len(codes) - len(registry.existing_codes(codes)):
        fix = f"Enter them before anything else is issued: cards registry import {file}"
        yield Finding(f"{count(missing, 'code is', 'codes are')} not in the registry", where, fix)
    if name.startswith("release-") and (wrong := audit.never_ready(registry, cards)):
        what = f"{count(wrong, 'released card', 'released cards')} never ready, or not of the order of the file"
        yield Finding(
            what, where, "Do not print them. Something other than this program wrote the file or changed the registry."
        )
