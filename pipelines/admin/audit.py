"""`cards verify`: check that registry, outbox and permissions agree."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from pipelines.common.durable_files import has_default_acl
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.registry import audit
from pipelines.registry.store import Registry
from schemas.sources import NETWORK, RECONCILIATION

_RESTORE: Final = "Stop the job and restore the registry from its latest backup (see docs/operators.md)."
_WITHOUT_ORDERS: Final = (NETWORK, RECONCILIATION)
"""Folders of the outbox that hold no submissions of order files."""


@dataclass(frozen=True)
class Finding:
    """A problem: what is wrong, where, and how to fix it. It never names a code."""

    what: str
    where: str
    fix: str


@dataclass(frozen=True)
class Verification:
    """Whether everything agrees, and every problem if it does not."""

    sound: bool
    findings: list[Finding]


def verify(settings: Settings, registry: Registry) -> Verification:
    """Check the registry, every submission folder, the codes of the outbox, and all permissions."""
    parts = (_registry(registry), _folders(settings, registry), _codes(settings, registry), _permissions(settings))
    findings = [finding for part in parts for finding in part]
    return Verification(not findings, findings)


def _registry(registry: Registry) -> Iterator[Finding]:
    """The database's own check, and figures that must agree within it."""
    for text in audit.integrity(registry):
        yield Finding("the database is damaged", text, _RESTORE)
    for text, number in audit.disagreements(registry).items():
        fix = "Report this: something other than this program has changed the registry."
        yield Finding(f"{text} ({number:,})", "registry", fix)


def _folders(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """Every submission against its folder, and every folder against its submission."""
    known = audit.submissions(registry)
    expected = {(sender, folder): (readable, rejected) for sender, folder, readable, rejected in known.iter_rows()}
    there = {
        (sender.name, folder.name)
        for sender in _subfolders(settings.outbox) if sender.name not in _WITHOUT_ORDERS
        for folder in _subfolders(sender)
    }  # fmt: skip
    for (sender, folder), (readable, rejected) in expected.items():
        path = settings.outbox / sender / folder
        names = ["confirmation.csv", "confirmation.xlsx"] * readable + ["rejections.csv", "rejections.xlsx"] * (rejected > 0)
        fix = f"Write it again: cards report {sender}/{folder}"
        if not path.is_dir():
            yield Finding("a submission has no folder", str(path), fix)
        elif missing := [name for name in names if not (path / name).is_file()]:
            yield Finding(f"a submission has no {', '.join(missing)}", str(path), fix)
    for sender, folder in sorted(there - set(expected)):
        fix = (
            "The registry was restored from a backup, or something else made this folder. "
            "Enter its codes: cards registry import FILE."
        )
        yield Finding("the registry does not know a submission", str(settings.outbox / sender / folder), fix)


def _subfolders(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    )


def _codes(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """Codes of the outbox that the registry does not have: they could be issued again."""
    for path in sorted(settings.outbox.rglob("*.csv")):
        if not path.name.startswith(("confirmation", "placement-", "release-")):
            continue
        codes = pl.scan_csv(path, infer_schema=False).select("Authorization Code").collect()["Authorization Code"]
        numbers = codes.filter(codes.str.contains(r"^[0-9]{14}$").fill_null(value=False)).cast(pl.Int64).unique()
        if missing := len(numbers) - len(registry.existing_codes(numbers)):
            fix = f"Enter them before anything else is issued: cards registry import {path}"
            yield Finding(f"{count(missing, 'code is', 'codes are')} not in the registry", str(path), fix)


def _permissions(settings: Settings) -> Iterator[Finding]:
    """Files and folders that are more open than CARDS_SHARE says, and dropped ones that can't be read."""
    for path in sorted(settings.inbox.rglob("*")):
        if not os.access(path, os.R_OK):
            yield Finding("this can't be read, so it is never answered", str(path), f"chmod u+r '{path}'")
    for path in sorted([*settings.outbox.rglob("*"), *settings.home.glob("registry.db*")]):
        mode = stat.S_IMODE(path.lstat().st_mode)
        excess = _excess(path, settings)
        if path.is_symlink():
            continue
        if mode & excess:
            others = "go=" if excess == _ALL_OTHERS else "g-w,o="
            yield Finding(f"others can access this (mode {mode:o})", str(path), f"chmod {others} '{path}'")
        if excess == _GROUP_MAY_READ and path.lstat().st_gid != (group := _reseller_folder(path, settings).stat().st_gid):
            yield Finding("another group than the reseller's can read this", str(path), f"chgrp {group} '{path}'")


_ALL_OTHERS: Final = 0o077
_GROUP_MAY_READ: Final = 0o027


def _excess(path: Path, settings: Settings) -> int:
    """The permissions that a path must not have: with CARDS_SHARE=group a reseller's group may read its answers."""
    parts = path.relative_to(settings.outbox).parts if path.is_relative_to(settings.outbox) else ()
    if not parts or parts[0] in _WITHOUT_ORDERS:
        return _ALL_OTHERS
    shared = settings.share == "group" or has_default_acl(settings.outbox / parts[0])
    return _GROUP_MAY_READ if shared else _ALL_OTHERS


def _reseller_folder(path: Path, settings: Settings) -> Path:
    """The outbox folder of the reseller whose answers hold the path."""
    return settings.outbox / path.relative_to(settings.outbox).parts[0]
