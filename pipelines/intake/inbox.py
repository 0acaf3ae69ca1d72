"""Find the files of the inbox that are complete."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from pipelines.common.errors import CardsError
from pipelines.common.printable import printable
from schemas.sources import CHECK, NETWORK, OPERATOR, RESERVED

_PARTIAL: Final = (".tmp", ".part", ".partial", ".filepart", ".crdownload")
_MOST_ENTRIES: Final = 100_000
"""So many entries of a folder are looked at in one go: a flood in one folder delays no other."""


class InboxFile(NamedTuple):
    """A file in the inbox: its source (a reseller, the operator or the network), its path, and what it was when it was
    found (see `is_same`). `ctime_ns`, the time of its inode, can't be set by who drops it. `is_trial`: it is to be answered
    and not placed.
    """

    source: str
    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    is_trial: bool = False

    def is_same(self, info: os.stat_result) -> bool:
        """Whether a file is the one that was found, with the same content."""
        found = (self.size, self.mtime_ns, self.ctime_ns, self.inode)
        return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino) == found


class Inbox(NamedTuple):
    """What lies in the inbox: every file that could be read, complete or not; folders that can't be read; and `linked`,
    files that have another name too and are not read as long as they have it.
    """

    files: list[InboxFile]
    failures: list[CardsError]
    linked: list[InboxFile]


def stable_files(
    inbox: Path, settle_seconds: float, sources: Callable[[str], bool], now: float | None = None
) -> list[InboxFile]:
    """Complete files of the sources asked for, earliest first (inode change time, then modification time and name)."""
    now = time.time() if now is None else now
    files = [file for file in scan(inbox, sources).files if is_stable(file, settle_seconds, now)]
    return sorted(files, key=lambda file: (file.ctime_ns, file.mtime_ns, file.path.name, file.source))


def is_stable(file: InboxFile, settle_seconds: float, now: float) -> bool:
    """Whether a file has not changed for `settle_seconds`, by its own time and by that of its inode, as its own may be
    copied along from elsewhere. A time that lies far in the future says nothing.
    """
    # either side: what is written on a share may be stamped by a clock that is a little ahead of ours
    return all(abs(now - changed / 1e9) >= settle_seconds for changed in (file.ctime_ns, file.mtime_ns))


def list_files(inbox: Path) -> list[InboxFile]:
    """Every file that could be read, complete or not."""
    return scan(inbox).files


def scan(inbox: Path, sources: Callable[[str], bool] = lambda _: True) -> Inbox:
    """Look through the inbox and the folders of the sources asked for."""
    found = Inbox([], [], [])
    for source, folder, is_trial in _folders(inbox):
        if sources(source):
            try:
                for file, links in _files(source, folder, is_trial=is_trial):
                    (found.files if links == 1 else found.linked).append(file)
            except OSError as error:
                found.failures.append(CardsError(f"{folder}: {error.strerror}. Its files wait; set its permissions."))
    return found


def _folders(inbox: Path) -> Iterator[tuple[str, Path, bool]]:
    """The folders that are read: their sources, where they lie, and whether they are for trials."""
    yield OPERATOR, inbox, False
    yield from _trials(OPERATOR, inbox)
    for entry in _entries(inbox):
        ours = entry.name in RESERVED and entry.name != NETWORK
        # shares keep folders such as .recycle next to ours
        if entry.is_dir(follow_symlinks=False) and not ours and not entry.name.startswith("."):
            yield entry.name, Path(entry.path), False
            if entry.name != NETWORK:
                yield from _trials(entry.name, Path(entry.path))


def _trials(source: str, folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """The folder of a source for trials, if it is there; never a link."""
    with suppress(OSError):
        if stat.S_ISDIR((folder / CHECK).lstat().st_mode):
            yield source, folder / CHECK, True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False):
                yield entry
    except (FileNotFoundError, NotADirectoryError):
        return


def source_folders(inbox: Path) -> list[Path]:
    """The inbox and the folders in it that are read; never a link."""
    return [folder for _, folder, _ in _folders(inbox)]


def _files(source: str, folder: Path, *, is_trial: bool) -> Iterator[tuple[InboxFile, int]]:
    """The files of a folder, and how many names each has. One with a second name may be somebody else's, which its
    dropper could link but not read.
    """
    for entry in _entries(folder):
        name = entry.name
        if name.startswith((".", "~$")) or name.lower().endswith(_PARTIAL):
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(info.st_mode):
            yield _found(source, Path(entry.path), info, is_trial=is_trial), info.st_nlink


def file_at(path: Path, source: str) -> InboxFile:
    """A file anywhere, as if a source had dropped it."""
    return _found(source, path, path.lstat())


def _found(source: str, path: Path, info: os.stat_result, *, is_trial: bool = False) -> InboxFile:
    return InboxFile(source, path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, is_trial)


def is_unchanged(file: InboxFile) -> bool:
    """Whether the file is still there and the one that was found. Links are not followed."""
    try:
        return file.is_same(file.path.lstat())
    except FileNotFoundError:
        return False


def display_name(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8, and control characters, escaped."""
    return printable(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
