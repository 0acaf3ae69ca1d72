"""`cards verify`: check that registry, outbox and permissions agree."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.common.settings import Settings
from pipelines.registry import audit
from pipelines.registry.store import Registry

_OF_US = ("inbox", "network", "reconciliation")


def verify(settings: Settings, registry: Registry) -> list[dict[str, str]]:
    """Everything that is not as it should be: `what` is wrong, `where`, and what to do (`fix`). Codes are never named."""
    return [
        {"what": what, "where": where, "fix": fix}
        for part in (_registry(registry), _folders(settings, registry), _codes(settings, registry), _permissions(settings))
        for what, where, fix in part
    ]


_Finding = tuple[str, str, str]
_RESTORE = "Stop the job and restore the registry from its latest backup (see the README)."


def _registry(registry: Registry) -> Iterator[_Finding]:
    """The database's own check, and figures that must agree within it."""
    for text in audit.integrity(registry):
        yield "the database is damaged", text, _RESTORE
    for text, count in audit.disagreements(registry).items():
        yield f"{text} ({count:,})", "registry", "Report this; the registry was changed by something else than this program."


def _folders(settings: Settings, registry: Registry) -> Iterator[_Finding]:
    """Every submission against its folder, and every folder against its submission."""
    known = audit.submissions(registry)
    expected = {(sender, folder): (readable, rejected) for sender, folder, readable, rejected in known.iter_rows()}
    there = {
        (sender.name, folder.name)
        for sender in _inside(settings.outbox) if sender.name not in _OF_US[1:]
        for folder in _inside(sender)
    }  # fmt: skip
    for (sender, folder), (readable, rejected) in expected.items():
        path = settings.outbox / sender / folder
        names = ["confirmation.csv", "confirmation.xlsx"] * readable + ["rejections.csv", "rejections.xlsx"] * (rejected > 0)
        if not path.is_dir():
            yield "a submission has no folder", str(path), f"Write it again: cards report {sender}/{folder}"
        elif lacking := [name for name in names if not (path / name).is_file()]:
            yield f"a submission lacks {', '.join(lacking)}", str(path), f"Write it again: cards report {sender}/{folder}"
    for sender, folder in sorted(there - set(expected)):
        fix = "The registry was restored from a backup, or the folder is not ours. Enter its codes: cards registry import FILE."
        yield "the registry does not know a submission", str(settings.outbox / sender / folder), fix


def _inside(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    )


def _codes(settings: Settings, registry: Registry) -> Iterator[_Finding]:
    """Codes of the outbox that the registry does not have: they could be issued again."""
    for path in sorted(settings.outbox.rglob("*.csv")):
        if not path.name.startswith(("confirmation", "placement-", "release-")):
            continue
        codes = pl.scan_csv(path, infer_schema=False).select("Authorization Code").collect()["Authorization Code"]
        numbers = codes.filter(codes.str.contains(r"^[0-9]{14}$").fill_null(value=False)).cast(pl.Int64).unique()
        if missing := len(numbers) - len(registry.existing_codes(numbers)):
            fix = f"Enter them before anything else is issued: cards registry import {path}"
            yield f"{missing:,} codes are not in the registry", str(path), fix


def _permissions(settings: Settings) -> Iterator[_Finding]:
    """Files and folders that hold codes and that others can read, and dropped ones that we can't."""
    paths = [*settings.outbox.rglob("*"), *settings.home.glob("registry.db*")]
    for path in sorted(settings.inbox.rglob("*")):
        if not os.access(path, os.R_OK):
            yield "this can't be read, so it is never answered", str(path), f"chmod u+r '{path}'"
    for path in sorted(paths):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not path.is_symlink() and mode & 0o077:
            yield f"others can get at it (mode {mode:o})", str(path), f"chmod go= '{path}'"


def audit_document(findings: list[dict[str, str]]) -> dict[str, Any]:
    """The document of `cards verify --json`."""
    return {"sound": not findings, "findings": findings}
