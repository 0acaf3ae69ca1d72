"""A dropped file is opened once: its bytes are copied into a folder of the service's own, and from then on only that copy
is parsed, annotated and archived. The path in the inbox is never opened, changed or trusted again; at the end it is
removed if it is still the same file.

So neither a link that is swapped in, nor an uploader who goes on writing, nor a file of another owner can change what is
answered, and the archived original is exactly the bytes that were answered.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from pipelines.common.durable_files import lock_stale_dir, make_locked_dir, remove_locked_dir
from pipelines.intake.inbox import InboxFile

_CHUNK: Final = 1 << 20
_IN_HAND: Final = "in-hand.json"
SPOOL: Final = ".spool"
"""The folder of private copies, in the home."""


class PrivateCopy(NamedTuple):
    """The bytes of a dropped file: where it was dropped, where the copy lies, its SHA-256 and size.

    A file over the limit is not copied whole: `size` is then more than the limit, and there is nothing to archive.
    """

    file: InboxFile
    path: Path
    digest: str
    size: int

    def content(self) -> bytes:
        """The bytes."""
        return self.path.read_bytes()


def spool_of(home: Path, worker: str) -> Path:
    """The folder of a worker's private copies."""
    return home / SPOOL / worker


class Spool:
    """The folder of this process's private copies, below `home/.spool`; locked as long as the process lives, and removed
    when the block ends. Its `name` is that of the worker, too: whether the folder is locked says whether it lives.
    """

    def __init__(self, home: Path) -> None:
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self.folder = spool_of(home, self.name)
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = make_locked_dir(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        remove_locked_dir(self.folder, self._descriptor)

    def take(self, file: InboxFile, most: int) -> PrivateCopy | None:
        """Copy a dropped file; None when it has vanished or is no longer the file that was found.

        `most`: bytes; of a larger file one byte more is read. Raises OSError when the file can't be read.
        """
        with _opened(file) as descriptor:
            if descriptor is None:
                return None
            path = self.folder / secrets.token_hex(16)
            digest, size = _copy(descriptor, path, most)
            if not file.is_same(os.fstat(descriptor)):  # it was written to meanwhile
                path.unlink()
                return None
        named = path.with_name(f"{digest}-{path.name}")
        path.rename(named)
        return PrivateCopy(file, named, digest, size)

    def hold(self, files: list[PrivateCopy]) -> None:
        """Note which files are in hand from now on, for the run that comes after this one has died of them."""
        pairs = [(copy.file.source, copy.digest) for copy in files]
        (self.folder / _IN_HAND).write_text(json.dumps(pairs), "utf-8")


def digest_of(file: InboxFile, most: int) -> str | None:
    """The SHA-256 of a dropped file as it lies there; empty for one of more than `most` bytes, or that can't be read; None when
    it has vanished or is no longer the file that was found.
    """
    try:
        with _opened(file) as descriptor:
            if descriptor is None or file.size > most:
                return None if descriptor is None else ""
            digest = hashlib.sha256()
            while chunk := os.read(descriptor, _CHUNK):
                digest.update(chunk)
            return digest.hexdigest() if file.is_same(os.fstat(descriptor)) else None
    except OSError:
        return ""


@contextmanager
def _opened(file: InboxFile) -> Iterator[int | None]:
    """The file, opened relative to a handle of its folder and without following links; None when it is another by now."""
    try:
        folder = os.open(file.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        try:
            descriptor = os.open(file.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            yield None
            return
        try:
            info = os.fstat(descriptor)
            yield descriptor if stat.S_ISREG(info.st_mode) and file.is_same(info) else None
        finally:
            os.close(descriptor)
    finally:
        os.close(folder)


def _copy(descriptor: int, path: Path, most: int) -> tuple[str, int]:
    """Copy what can be read from a descriptor, at most `most` + 1 bytes; its SHA-256 and size."""
    digest = hashlib.sha256()
    size = 0
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        while size <= most and (chunk := os.read(descriptor, min(_CHUNK, most + 1 - size))):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def remove_dropped(file: InboxFile) -> bool:
    """Remove a dropped file from the inbox if it is still the same one; whether nothing of that name is left.

    Raises OSError when it can't be removed.
    """
    try:
        folder = os.open(file.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        info = os.stat(file.path.name, dir_fd=folder, follow_symlinks=False)
        if not file.is_same(info):
            return False
        os.unlink(file.path.name, dir_fd=folder)
        os.fsync(folder)
    except FileNotFoundError:  # another worker was quicker
        return True
    else:
        return True
    finally:
        os.close(folder)


class Leftovers(NamedTuple):
    """What dead runs left: private copies by digest, the files that were in hand when each died (source, digest), and the
    notes that say so; and the names of their spools.
    """

    copies: dict[str, Path]
    in_hand: list[list[tuple[str, str]]]
    notes: list[Path]
    workers: list[str]

    def forget_in_hand(self) -> None:
        """Remove the notes, so that no later run counts these deaths again, whatever becomes of this one."""
        for note in self.notes:
            note.unlink(missing_ok=True)


@contextmanager
def leftovers(home: Path) -> Iterator[Leftovers]:
    """Adopt what dead runs left in the spool; it is removed when the block ends."""
    spool = home / SPOOL
    found = Leftovers({}, [], [], [])
    locks: list[tuple[Path, int]] = []
    for folder in sorted(spool.iterdir()) if spool.is_dir() else []:
        if (descriptor := lock_stale_dir(folder)) is not None:
            locks.append((folder, descriptor))
            found.workers.append(folder.name)
            found.copies.update({path.name.partition("-")[0]: path for path in folder.iterdir() if path.name != _IN_HAND})
            found.notes.append(folder / _IN_HAND)
            with suppress(OSError, ValueError):
                pairs = json.loads(found.notes[-1].read_text("utf-8"))
                found.in_hand.append([(str(source), str(digest)) for source, digest in pairs])
    try:
        yield found
    except BaseException:
        for _, descriptor in locks:
            os.close(descriptor)
        raise
    for folder, descriptor in locks:
        remove_locked_dir(folder, descriptor)


def has_ended(home: Path, worker: str) -> bool:
    """Whether a worker is gone: its spool is not there, or nobody holds it. Where a mount has no locks, nobody ever does,
    and a worker that died is not known to be gone.
    """
    folder = spool_of(home, worker)
    descriptor = lock_stale_dir(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None or not folder.is_dir()
