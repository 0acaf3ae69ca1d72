"""Files that appear whole or not at all, are synced to disk, and are readable by the service alone."""

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from pipelines.common.errors import CardsError

_AT_ONCE: Final = min(4, (os.cpu_count() or 1) + 1)
_STAGING: Final = re.compile(r"\..+\.[0-9a-f]{16}", re.DOTALL)


class Access(NamedTuple):
    """The modes of folders and files: who may read what is written."""

    folder: int
    file: int


PRIVATE: Final = Access(0o700, 0o600)
"""For the service's user alone."""
GROUP: Final = Access(0o2750, 0o640)
"""Also for the group of the folder in which it is written; POSIX default ACLs of the folder stay in force."""


ACL: Final = Access(0o750, 0o640)
"""For those whom the default ACL of the folder names: its mask is what the mode says of the group."""


def has_default_acl(folder: Path) -> bool:
    """Whether a folder gives what is made in it an ACL."""
    try:
        return bool(os.getxattr(folder, "system.posix_acl_default"))
    except (OSError, AttributeError):  # none, or a system without ACLs
        return False


@contextmanager
def thread_pool(at_once: int = _AT_ONCE) -> Iterator[ThreadPoolExecutor]:
    """A few threads to read and write files, each of which waits for others; when the block raises no more are begun."""
    pool = ThreadPoolExecutor(at_once)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def write_atomically(path: Path, write: Callable[[Path], None], access: Access = PRIVATE) -> None:
    """Have a file written so that it appears whole or not at all."""
    ensure_private_dir(path.parent)
    with staging_dir(path) as new:  # a folder, as who writes workbooks makes files of its own next to its target
        write(new / path.name)
        fsync(new / path.name, access)
        (new / path.name).replace(path)
    fsync(path.parent)


@contextmanager
def staging_dir(path: Path) -> Iterator[Path]:
    """A new folder next to the path, to be filled and then renamed; gone after the block if it was not.

    It is locked as long as we live, which distinguishes it from what a dead run left.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = make_locked_dir(new)
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(descriptor)


def remove_stale_staging(folder: Path) -> None:
    """Remove what dead runs began in a folder and did not finish."""
    for left in folder.glob(".*"):
        if _STAGING.fullmatch(left.name) and (descriptor := lock_stale_dir(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)


def is_staging(name: str) -> bool:
    """Whether this is the name of a folder in which something is being written, or was when its run died."""
    return _STAGING.fullmatch(name) is not None


def is_left_by_the_dead(folder: Path) -> bool:
    """Whether the run that made a folder with `make_locked_dir` has died."""
    descriptor = lock_stale_dir(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def rename_away(folder: Path) -> Path:
    """Give a folder that is to be removed another name, so that it goes as a whole; what a killed run leaves of it is removed
    by `remove_stale_staging`.
    """
    return folder.rename(folder.with_name(f".{folder.name}.{secrets.token_hex(8)}"))


def make_locked_dir(folder: Path) -> int:
    """Make a folder that only we can enter, locked as long as the descriptor is open or we live."""
    while True:  # before it is locked, another run can take it for a dead run's and remove it
        ensure_private_dir(folder)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        with suppress(OSError):  # a mount without locks: what dies there stays
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(folder, descriptor):
            return descriptor
        os.close(descriptor)


def lock_stale_dir(folder: Path) -> int | None:
    """The lock of a folder that a dead run made with `make_locked_dir`; None while that run lives, or when it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(folder, descriptor):
            return descriptor
    os.close(descriptor)
    return None


def remove_locked_dir(folder: Path, descriptor: int) -> None:
    """Remove a folder that `make_locked_dir` or `lock_stale_dir` has locked."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _is_at(folder: Path, descriptor: int) -> bool:
    """Whether an open folder still has its name."""
    try:
        return os.path.samestat(folder.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def ensure_private_dir(folder: Path) -> None:
    """Make a folder that only we can enter, and the folders above it that are missing."""
    try:
        above = () if folder.parent.is_dir() else reversed(folder.parents)
        for missing in (*above, folder):  # mkdir(parents=True) would leave them to the umask
            if not missing.is_dir():
                missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CardsError(f"The folder {folder} can't be made: {error.strerror}. Set CARDS_HOME or its permissions.") from None


def ensure_dir(folder: Path, access: Access) -> None:
    """Make a folder of this access, unless it is there."""
    if not folder.is_dir():
        ensure_private_dir(folder)
        folder.chmod(access.folder)


def fsync(path: Path, access: Access = PRIVATE) -> None:
    """Have the disk hold a file, which gets the mode of its access, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, access.file)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_file(source: Path, target: Path) -> None:
    """Move a file of ours, also to another disk; a folder with a group of its own gives it to the file."""
    if source.stat().st_gid == target.parent.stat().st_gid:
        with suppress(OSError):
            source.rename(target)
            return
    shutil.copyfile(source, target)
    target.chmod(0o600)
    source.unlink()
