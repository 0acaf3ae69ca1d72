"""`cards init`: make a home and the folders of resellers; and say what lies in the inbox that no run will answer."""

import difflib
import grp
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from pipelines.admin import samples
from pipelines.common.durable_files import ensure_private_dir, write_atomically
from pipelines.common.errors import CardsError, UsageError
from pipelines.common.settings import Settings
from pipelines.common.words import count
from pipelines.intake.inbox import display_name, is_stable, scan
from pipelines.registry.store import open_registry
from pipelines.run import Run
from schemas.sources import CHECK, NETWORK, OPERATOR, RESELLER, RESERVED

_INBOX_MODE: Final = 0o2770
_OUTBOX_MODE: Final = 0o2750
_LOOKED_AT: Final = 1_000
"""So many entries of a reseller's sub-folders are looked at: how deep they go is up to the reseller."""


@dataclass(frozen=True)
class SetUp:
    """What was made, and what was there before and is left as it was."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def note(self, name: str, *, made: bool) -> None:
        """Enter a file or folder in one of the lists."""
        (self.made if made else self.kept).append(name)


# -- a home ------------------------------------------------------------------------------------------------------------


def init_home(settings: Settings) -> SetUp:
    """Make folders, registry, a sample catalogue and a file of settings, each unless it is there. A registry of an earlier
    version is brought up to date.
    """
    done = SetUp()
    ensure_private_dir(settings.home)
    for folder in (settings.inbox, settings.inbox / NETWORK, settings.outbox):
        _make_folder(folder, done)
    _make_file(settings.home / "catalogue.xlsx", samples.write_catalogue, done)
    _make_file(settings.home / ".env", samples.write_settings, done)
    registry = Path(settings.registry_url.removeprefix("sqlite:///"))
    made = not registry.exists()
    open_registry(settings.registry_url).close()
    if not settings.registry:
        done.note(str(settings.home / registry.name), made=made)
    return done


def _make_folder(folder: Path, done: SetUp) -> None:
    done.note(f"{folder}/", made=not folder.is_dir())
    ensure_private_dir(folder.parent)  # with the umask of the caller its parents would be open to others
    ensure_private_dir(folder)


def _make_file(path: Path, write: Callable[[Path], None], done: SetUp) -> None:
    made = not os.path.lexists(path)
    done.note(str(path), made=made)
    if made:
        write_atomically(path, write)


def next_step_of_home(settings: Settings) -> str:
    """What to do with a new home."""
    path = settings.home / "catalogue.xlsx"
    return f"put your own accounts and numbers in place of the samples in {path}, then: cards catalogue load {path}"


# -- a reseller --------------------------------------------------------------------------------------------------------


def init_reseller(settings: Settings, reseller: str, group: str) -> SetUp:
    """Make the inbox and outbox folders of a reseller, with the modes of CARDS_SHARE.

    `group`: with CARDS_SHARE=group, the group that may drop files and read answers (a name or a number).
    Raises UsageError for a name that no reseller can have and for a group that does not fit CARDS_SHARE.
    """
    if not re.fullmatch(RESELLER, reseller) or reseller in RESERVED:
        raise UsageError(f"{reseller!r} can't be a reseller: write small letters, digits, - or _, and none of "
                         f"{', '.join(RESERVED)}.")  # fmt: skip
    if settings.share == "private" and group:
        raise UsageError("--group needs CARDS_SHARE=group: with CARDS_SHARE=private, folders are for the service's user alone.")
    if settings.share == "group" and not group:
        raise UsageError("With CARDS_SHARE=group, name the reseller's group: cards init --reseller NAME --group GROUP.")
    done = SetUp()
    owner = _group_id(group) if group else -1
    dropped = settings.inbox / reseller
    for folder, mode in ((dropped, _INBOX_MODE), (dropped / CHECK, _INBOX_MODE), (settings.outbox / reseller, _OUTBOX_MODE)):
        _make_folder(folder, done)
        _restrict(folder, owner, mode if group else 0o700)
    return done


def next_step_of_reseller(settings: Settings, reseller: str, *, listed: bool) -> str:
    """What to do once a reseller has its folders; `listed`: whether the catalogue knows it."""
    if listed:
        return f"{reseller} drops order files into {settings.inbox / reseller}; answers appear in {settings.outbox / reseller}."
    return f"add {reseller} to the catalogue and load it: cards catalogue load FILE. Until then its files wait."


def _group_id(group: str) -> int:
    if group.isascii() and group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"There is no group {group}. Make it first: groupadd {group}") from None


def _restrict(folder: Path, group: int, mode: int) -> None:
    """Give a folder its group and mode. Raises CardsError when the operating system does not allow it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if group >= 0:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:  # without an error, where we are not in the group
            raise PermissionError
    except PermissionError:
        fix = "Run this as the owner of the folder, who must be a member of the reseller's group."
        raise CardsError(f"The mode and group of {folder} can't be set. {fix}") from None
    finally:
        os.close(descriptor)


# -- what waits in the inbox -------------------------------------------------------------------------------------------


def warnings(run: Run) -> list[str]:
    """What no run answers, one line a folder: files of unknown resellers, in sub-folders, and with more than one name."""
    accounts, _ = run.registry.catalogue()
    resellers = sorted(set(accounts["reseller"]))
    folders = sorted(entry.name for entry in _entries(run.settings.inbox) if entry.is_dir(follow_symlinks=False))
    lines = (
        line for folder in folders
        for line in (*_of_unknown_reseller(run.settings.inbox, folder, resellers), *_in_subfolders(run.settings.inbox, folder))
    )  # fmt: skip
    return [display_name(line) for line in (*lines, *_linked(run.settings))]


def _of_unknown_reseller(inbox: Path, folder: str, resellers: list[str]) -> Iterator[str]:
    entries = [*_entries(inbox / folder), *_entries(inbox / folder / CHECK)]
    files = sum(entry.is_file(follow_symlinks=False) for entry in entries)
    if not files or folder in (*resellers, NETWORK, CHECK):
        return
    waiting = f"inbox/{folder}: {count(files, 'file waits', 'files wait')}"
    if folder == OPERATOR:
        yield f"{waiting}, because no reseller can have this name. Put your own files into inbox/ itself."
    elif folder in RESERVED:
        yield f"{waiting}, because no reseller can have this name. Rename the folder."
    else:
        closest = difflib.get_close_matches(folder.lower(), resellers, n=1)
        meant = f"Did you mean {closest[0]}? " if closest else ""
        yield f"{waiting}, because the catalogue lists no such reseller. {meant}Rename the folder, or add it to the catalogue."


def _in_subfolders(inbox: Path, folder: str) -> Iterator[str]:
    read = () if folder in (NETWORK, CHECK) else (inbox / folder / CHECK,)
    nested = list(islice(_nested(inbox / folder, read), _LOOKED_AT))
    if nested:
        waiting = count(len(nested), "file in a sub-folder waits", "files in sub-folders wait")
        yield f"inbox/{folder}: {waiting} (first: {nested[0]}). Sub-folders are not read; move files up to inbox/{folder}."


def _linked(settings: Settings) -> Iterator[str]:
    """Files with a second name that have stood still: a tool that links and unlinks is done by then."""
    still = [file for file in scan(settings.inbox).linked if is_stable(file, settings.settle_seconds, time.time())]
    paths = sorted((file.path.parent, file.path.name) for file in still)
    for folder, files in groupby(paths, lambda path: path[0]):
        names = [name for _, name in files]
        waiting = count(len(names), "file has a second name and waits", "files have a second name and wait")
        where = f"{folder.relative_to(settings.inbox.parent)}: {waiting} (first: {names[0]})"
        yield f"{where}. A hard link may be to somebody else's file; remove it, or copy the file."


def _nested(folder: Path, read: tuple[Path, ...]) -> Iterator[Path]:
    """Files below the sub-folders of a folder, relative to it, but for sub-folders that are read."""
    for parent, folders, files in islice(os.walk(folder), _LOOKED_AT):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(parent) not in (folder, *read):
            yield from (Path(parent, name).relative_to(folder) for name in sorted(files) if not name.startswith("."))


def _entries(folder: str | Path) -> "list[os.DirEntry[str]]":
    """The visible entries of a folder; none where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith((".", "~$"))]
    except OSError:
        return []
