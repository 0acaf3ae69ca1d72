"""`cards verify`: check that registry, outbox and permissions agree."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.admin.outbox_audit import WITHOUT_ORDERS, Finding, check_outbox
from pipelines.common.durable_files import has_default_acl
from pipelines.common.settings import Settings
from pipelines.registry import audit
from pipelines.registry.store import Registry

_RESTORE: Final = "Stop the job and restore the registry from its latest backup (see docs/operators.md)."


@dataclass(frozen=True)
class Verification:
    """Whether everything agrees, and every problem if it does not."""

    sound: bool
    findings: list[Finding]


def verify(settings: Settings, registry: Registry) -> Verification:
    """Check the registry, every submission in its folder or archive, the codes of the outbox, and all permissions."""
    parts = (_registry(registry), check_outbox(settings, registry), _permissions(settings))
    findings = [finding for part in parts for finding in part]
    return Verification(not findings, findings)


def _registry(registry: Registry) -> Iterator[Finding]:
    """The database's own check, and figures that must agree within it."""
    for text in audit.integrity(registry):
        yield Finding("the database is damaged", text, _RESTORE)
    for text, number in audit.disagreements(registry).items():
        fix = "Report this: something other than this program has changed the registry."
        yield Finding(f"{text} ({number:,})", "registry", fix)


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
    if not parts or parts[0] in WITHOUT_ORDERS:
        return _ALL_OTHERS
    shared = settings.share == "group" or has_default_acl(settings.outbox / parts[0])
    return _GROUP_MAY_READ if shared else _ALL_OTHERS


def _reseller_folder(path: Path, settings: Settings) -> Path:
    """The outbox folder of the reseller whose answers hold the path."""
    return settings.outbox / path.relative_to(settings.outbox).parts[0]
