"""Archives of the outbox: `<folder>/archive/<YYYY-MM>.zip`, and `<YYYY-MM>-2.zip` … once one is large.

ZIP because every desktop opens it, the standard library writes it, and one member is read without the others. The last member
is `manifest.csv`: name, size and SHA-256 of every other. A member is named as the file in the outbox, below its folder.
"""

import hashlib
import io
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import polars as pl

from pipelines.common.durable_files import Access, ensure_dir, write_atomically
from pipelines.common.errors import CardsError

FOLDER: Final = "archive"
"""The folder of archives in a folder of the outbox."""
MANIFEST: Final = "manifest.csv"
MOST_FILES: Final = 10_000
MOST_BYTES: Final = 1 << 30
"""To an archive of so many files or bytes nothing is added: the month gets another one. Adding to one copies it."""
_SCHEMA: Final = pl.Schema({"name": pl.String, "size": pl.Int64, "sha256": pl.String})
_CHUNK: Final = 1 << 20
_PACKED: Final = (".xlsx", ".xlsm", ".xlsb", ".ods", ".zip", ".gz", ".parquet")
"""Deflated already."""
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f%\\\udc80-\udcff]")
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)


class Entry(NamedTuple):
    """A file, and the name of its member."""

    name: str
    path: Path


def archive_path(folder: Path, month: str, number: int) -> Path:
    """The n-th archive of a month of a folder of the outbox."""
    return folder / FOLDER / (f"{month}.zip" if number == 1 else f"{month}-{number}.zip")


def archives_of(folder: Path) -> list[Path]:
    """Every archive of a folder of the outbox."""
    return sorted((folder / FOLDER).glob("*.zip"))


def month_archives(folder: Path, month: str) -> dict[int, Path]:
    """The archives of a month by their number."""
    found: dict[int, Path] = {}
    for path in archives_of(folder):
        if match := re.fullmatch(rf"{month}(?:-(\d+))?\.zip", path.name):
            found[int(match[1] or 1)] = path
    return dict(sorted(found.items()))


def member_name(folder: str, file: str) -> str:
    """The name of a file's member: see `text_name`."""
    return f"{folder}/{text_name(file)}"


def text_name(file: str) -> str:
    """The name of a file as text: what ZIP can't carry (bytes that are not UTF-8), or what misleads a program that unpacks it,
    is written as %XX.
    """
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", file)


def file_name(member: str) -> str:
    """The name of the file that a member holds, or whose `text_name` this is."""

    def character(found: re.Match[str]) -> str:
        byte = int(found[1], 16)
        return chr(byte if byte < 0x80 else 0xDC00 + byte)

    return re.sub(r"%([0-9A-F]{2})", character, member.rpartition("/")[2])


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive to read. Raises CardsError when it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        KeyError,
        EOFError,
        NotImplementedError,
        pl.exceptions.PolarsError,
    ) as error:
        raise CardsError(f"{path} is damaged ({type(error).__name__}). Restore it from a backup of the outbox.") from None


def read_manifest(path: Path) -> pl.DataFrame:
    """The manifest of an archive: `name`, `size`, `sha256`. Raises CardsError when it can't be read."""
    with opened(path) as archive:
        return _manifest(archive)


def _manifest(archive: zipfile.ZipFile) -> pl.DataFrame:
    return pl.read_csv(archive.read(MANIFEST), schema=_SCHEMA)


def add(path: Path, entries: list[Entry], access: Access) -> int:
    """Add files to an archive, which is made where there is none; how many bytes were added.

    The archive is staged next to the earlier one, read back, and replaces it at once. A file that it holds already is not
    added again; one with the same name and other content replaces it, as it did in the outbox.
    """
    new = _new(path, entries)
    if new:
        ensure_dir(path.parent, access)
        write_atomically(path, lambda staged: _write(path, staged, new), access)
    return sum(entry.path.stat().st_size for entry in new)


def _new(path: Path, entries: list[Entry]) -> list[Entry]:
    """Those of the files that an archive does not hold as they are."""
    if not path.exists():
        return entries
    archived = digests(read_manifest(path))
    return [one for one in entries if one.name not in archived or file_digest(one.path) != archived[one.name]]


def digests(manifest: pl.DataFrame) -> dict[str, str]:
    """The SHA-256 of each member."""
    return dict(manifest.select("name", "sha256").iter_rows())


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(earlier: Path, staged: Path, entries: list[Entry]) -> None:
    manifest = _SCHEMA.to_frame()
    if earlier.exists():
        manifest = read_manifest(earlier)
        shutil.copyfile(earlier, staged)
    names = {entry.name for entry in entries}
    with zipfile.ZipFile(staged, "a", zipfile.ZIP_DEFLATED) as archive:
        _leave_out(archive, names)
        rows = pl.DataFrame([_add(archive, entry) for entry in entries], _SCHEMA, orient="row")
        manifest = pl.concat([manifest.filter(~pl.col("name").is_in(names)), rows])
        archive.writestr(_info(MANIFEST, time.time()), manifest.write_csv())
    for name, problem in problems(staged, names):
        raise CardsError(f"{name} could not be read back from the archive: {problem}. Check the disk of {earlier.parent}.")


def _leave_out(archive: zipfile.ZipFile, names: set[str]) -> None:
    """Have what is written next take the room of the manifest, the last member; other members that are replaced keep theirs,
    and are not listed any more.
    """
    offsets = {info.filename: info.header_offset for info in archive.filelist}
    if offsets and max(offsets, key=offsets.__getitem__) == MANIFEST:
        archive.start_dir = offsets[MANIFEST]
    for name in {*names, MANIFEST} & archive.NameToInfo.keys():
        archive.filelist.remove(archive.NameToInfo.pop(name))


def _add(archive: zipfile.ZipFile, entry: Entry) -> tuple[str, int, str]:
    """Add a file, a piece at a time; its line of the manifest."""
    size, digest = 0, hashlib.sha256()
    with entry.path.open("rb") as file:
        info = _info(entry.name, entry.path.stat().st_mtime)
        with archive.open(info, "w", force_zip64=True) as member:
            while piece := file.read(_CHUNK):
                member.write(piece)
                digest.update(piece)
                size += len(piece)
    return entry.name, size, digest.hexdigest()


def _info(name: str, mtime: float) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, max(time.localtime(mtime)[:6], _OLDEST))
    info.compress_type = zipfile.ZIP_STORED if name.lower().endswith(_PACKED) else zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o600) << 16
    return info


def problems(path: Path, only: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """Members that are not as the manifest says: name, and what is wrong. Raises CardsError when it can't be read at all.

    Every member is read, or `only` these, a piece at a time.
    """
    with opened(path) as archive:
        manifest = _manifest(archive)
        archived = archive.NameToInfo.keys() - {MANIFEST}
        for name in sorted(archived - set(manifest["name"])):
            yield name, "the manifest does not list it"
        for name, size, digest in manifest.iter_rows():
            if only is not None and name not in only:
                continue
            if name not in archived:
                yield name, "it is missing"
            elif _content(archive, name) != (size, digest):
                yield name, "its content is not what was archived"


def _content(archive: zipfile.ZipFile, name: str) -> tuple[int, str]:
    """Size and SHA-256 of a member; nothing of one that can't be read."""
    size, digest = 0, hashlib.sha256()
    try:
        with archive.open(name) as member:
            for piece in _pieces(member):
                digest.update(piece)
                size += len(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        return -1, ""
    return size, digest.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def extract(path: Path, folder: str, target: Path) -> None:
    """Write the files of a folder into another. Raises CardsError when one of them is not as it was archived."""
    with opened(path) as archive:
        archived = digests(_manifest(archive))
        for name in (name for name in archived if name.rpartition("/")[0] == folder):
            made = target / file_name(name)
            with archive.open(name) as member, made.open("xb") as file:
                shutil.copyfileobj(member, file, _CHUNK)
            if file_digest(made) != archived[name]:
                raise CardsError(f"{path}: {name} is not as it was archived. Restore the archive from a backup of the outbox.")


def read_csv_member(archive: zipfile.ZipFile, name: str, columns: list[str]) -> pl.DataFrame:
    """Columns of a CSV file in an archive, as text."""
    return pl.read_csv(io.BytesIO(archive.read(name)), infer_schema=False, columns=columns)


def folders_in(manifest: pl.DataFrame) -> set[Any]:
    """The folders of which an archive holds files."""
    return set(manifest["name"].str.replace(r"/?[^/]*$", ""))
