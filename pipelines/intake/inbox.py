"""Find the files of the inbox that are complete, and read them."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schemas.catalogue import RESERVED

OPERATOR: Final = "house"
"""The sender of files that lie in the inbox itself."""
NETWORK: Final = "network"
_PARTIAL: Final = (".tmp", ".part", ".partial", ".filepart", ".crdownload")


class InboxFile(NamedTuple):
    """A file in the inbox: who sent it, where it is, and what it was when we looked (for `same`)."""

    source: str
    path: Path
    size: int
    mtime_ns: int
    inode: int


def stable_files(
    inbox: Path, settle_seconds: float, senders: Callable[[str], bool], now: float | None = None
) -> list[InboxFile]:
    """Complete files of the senders asked for, earliest first (modification time, then name).

    A file is complete when it has not changed for `settle_seconds`, by its own time and by that of its entry (ctime),
    as its own may be copied along from elsewhere. A time that lies far in the future says nothing.
    """
    now = time.time() if now is None else now
    files = [file for file in list_files(inbox) if senders(file.source)]
    settled = [file for file in files if _is_stable(file, settle_seconds, now)]
    return sorted(settled, key=lambda file: (file.mtime_ns, file.path.name, file.source))


def list_files(inbox: Path) -> list[InboxFile]:
    """Every file that could be taken, complete or not."""
    return [file for sender, folder in _folders(inbox) for file in _files(sender, folder)]


def _folders(inbox: Path) -> Iterator[tuple[str, Path]]:
    yield OPERATOR, inbox
    for entry in _entries(inbox):
        mine = entry.name in RESERVED and entry.name != NETWORK
        # shares keep folders such as .recycle beside ours
        if entry.is_dir(follow_symlinks=False) and not mine and not entry.name.startswith("."):
            yield entry.name, Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(sender: str, folder: Path) -> Iterator[InboxFile]:
    for entry in _entries(folder):
        name = entry.name
        if name.startswith((".", "~$")) or name.lower().endswith(_PARTIAL):
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(info.st_mode):
            yield InboxFile(sender, Path(entry.path), info.st_size, info.st_mtime_ns, info.st_ino)


def _is_stable(file: InboxFile, settle_seconds: float, now: float) -> bool:
    try:
        changed = file.path.lstat().st_ctime
    except FileNotFoundError:
        return False
    # either side: what is written on a share may be stamped by a clock that is a little ahead of ours
    return all(abs(now - time) >= settle_seconds for time in (changed, file.mtime_ns / 1e9))


def is_unchanged(file: InboxFile) -> bool:
    """Whether the file at the drop's path is still the one that was found."""
    try:
        info = file.path.lstat()
    except FileNotFoundError:
        return False
    return (info.st_size, info.st_mtime_ns, info.st_ino) == (file.size, file.mtime_ns, file.inode)


def read_content(file: InboxFile, most: int) -> bytes | None:
    """The bytes of a drop, at most `most` + 1 of them; None when it has vanished or changed since it was found."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        content = stream.read(most + 1)
    return content if is_unchanged(file) else None


def sha256_of(content: bytes) -> str:
    """The identity of a file: the SHA-256 of its bytes."""
    return hashlib.sha256(content).hexdigest()


def display_name(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8, and control characters, escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
