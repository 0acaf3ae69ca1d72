"""What the outbox says of the past: submissions, placement files and what nights wrote, in folders and in archives."""

import io
import re
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings
from pipelines.delivery import archive_files, dataset_files, index
from pipelines.delivery.deliver import REPORT_PREFIXES
from pipelines.delivery.statements import STATEMENT, month_of_file
from pipelines.delivery.written_files import WrittenFile
from schemas.sources import CHECK, NETWORK, RECONCILIATION

_PLACEMENT: Final = re.compile(r"placement-(.+?)-(\d{8}-\d{6}-.+)\.csv")
_ORDER_FILE: Final = re.compile(r"(release|refused|outcome)-(?:(.+)-)?(\d{4})-(\d\d)-(\d\d)(?:~(\d+))?\.csv")
_MONTH: Final = re.compile(r"\d{4}-\d\d")
_SUBMISSION: Final = re.compile(r"\d{8}-\d{6}-.+")
_WORKBOOK: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:\.xlsx|-[a-z-]+\.csv)")
CODE: Final = "Authorization Code"
_NUMBER: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{13}(?![0-9])")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
_ORIGINAL: Final = "original-"
_ESCAPED: Final = r"^'([=+\-@\t\r])"


class Found(NamedTuple):
    """A file of the outbox, in a folder or an archive: how to read it, when it was written, and its path below the outbox."""

    read: Callable[[], bytes]
    mtime_ns: int
    path: str


class Folder(NamedTuple):
    """The folder of a submission: its files by their names, and the number of the archive that holds it (0: none does)."""

    source: str
    name: str
    files: dict[str, Found]
    archived: int = 0


class OrderFile(NamedTuple):
    """A file that a night wrote for orders, and its path below the outbox; `date`: 20261124; `part`: which night of it."""

    kind: str
    date: int
    part: int
    path: str
    found: Found


class Outbox(NamedTuple):
    """What there is: submission folders and placement files by source and folder, what nights wrote for orders, their
    workbooks by date and name, their data for analysts by date (`datasets`), the times at which the indexes say that files
    were written, by their path, and times of the past in their order, which show its local time (`clock`). Archives that are
    `damaged` are left out. `statements`: by the month that they state, and by their path.
    """

    folders: dict[tuple[str, str], Folder]
    placements: dict[tuple[str, str], Found]
    order_files: list[OrderFile]
    workbooks: dict[int, dict[str, Found]]
    datasets: dict[int, list[Found]]
    times: dict[str, str]
    clock: list[datetime]
    damaged: list[Path]
    statements: dict[int, dict[str, Found]]


def read_outbox(settings: Settings) -> Outbox:
    """Look through the outbox. Files are named here and read when they are asked for."""
    found = Outbox({}, {}, [], {}, {}, {}, [], [], {})
    for above in _subfolders(settings.outbox):
        if above.name == RECONCILIATION:
            _add_workbooks(found, [(path.name, _plain(path)) for path in sorted(above.iterdir()) if _is_plain(path)])
            _add_datasets(found, settings)
        else:
            _add_folders(found, above)
        _add_statements(found, above)
        for path in archive_files.archives_of(above):
            try:
                _add_archive(found, above.name, path)
            except CardsError:
                found.damaged.append(path)
        found.times.update(_times(above))
    for folder in found.folders.values():
        found.order_files.extend(_order_files(folder))
    return found


def set_clock(outbox: Outbox, known: Iterable[str]) -> None:
    """Learn what local time was when, from times that the indexes and the registry keep."""
    times = (datetime.fromisoformat(time) for time in {*outbox.times.values(), *known} if _TIME.fullmatch(time))
    outbox.clock[:] = sorted(times, key=lambda time: time.replace(tzinfo=None))


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
    )


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _plain(path: Path) -> Found:
    parts = path.parts[-2:] if path.parent.name in (NETWORK, RECONCILIATION) else path.parts[-3:]
    return Found(path.read_bytes, path.stat().st_mtime_ns, "/".join(parts))


def _add_folders(found: Outbox, above: Path) -> None:
    """Add what lies in the folder of a source."""
    flat = above.glob("placement-*.csv") if above.name == NETWORK else ()
    _add_placements(found, [(path.name, _plain(path)) for path in flat])
    for folder in _subfolders(above):
        files = {path.name: _plain(path) for path in sorted(folder.iterdir()) if _is_plain(path)}
        if above.name == NETWORK and _MONTH.fullmatch(folder.name):
            _add_placements(found, list(files.items()))
        elif folder.name not in (archive_files.FOLDER, CHECK) and _SUBMISSION.fullmatch(folder.name):
            found.folders[above.name, folder.name] = Folder(above.name, folder.name, files)


def _add_archive(found: Outbox, source: str, path: Path) -> None:
    """Add what an archive holds and the outbox does not."""
    number = int(path.stem[8:] or 1)
    grouped: dict[str, dict[str, Found]] = {}
    with archive_files.opened(path) as archive:
        for info in archive.infolist():
            if info.filename != archive_files.MANIFEST:
                mtime = int(datetime(*info.date_time).timestamp()) * 10**9
                file = Found(partial(_member, path, info.filename), mtime, f"{source}/{info.filename}")
                grouped.setdefault(info.filename.rpartition("/")[0], {})[archive_files.file_name(info.filename)] = file
    for folder, files in grouped.items():
        if source == RECONCILIATION:
            _add_workbooks(found, list(files.items()))
        elif source == NETWORK and _MONTH.fullmatch(folder):
            _add_placements(found, list(files.items()))
        else:
            found.folders.setdefault((source, folder), Folder(source, folder, files, number))


def _member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def _add_placements(found: Outbox, files: list[tuple[str, Found]]) -> None:
    for name, file in files:
        if match := _PLACEMENT.fullmatch(name):
            found.placements.setdefault((match[1], match[2]), file)


def _add_workbooks(found: Outbox, files: list[tuple[str, Found]]) -> None:
    for name, file in files:
        if match := _WORKBOOK.fullmatch(name):
            found.workbooks.setdefault(int("".join(match.groups())), {}).setdefault(name, file)


def _add_datasets(found: Outbox, settings: Settings) -> None:
    folder = dataset_files.data_folder(settings)
    for path in sorted(folder.glob("*/*/*/[!.]*")):
        if match := dataset_files.NAME.fullmatch(path.relative_to(folder).as_posix()):
            file = Found(path.read_bytes, path.stat().st_mtime_ns, path.relative_to(settings.outbox).as_posix())
            found.datasets.setdefault(int("".join(match.groups())), []).append(file)


def _add_statements(found: Outbox, above: Path) -> None:
    for path in sorted(above.glob(f"{STATEMENT}*")):
        if _is_plain(path) and (month := month_of_file(path.name)):
            file = Found(path.read_bytes, path.stat().st_mtime_ns, f"{above.name}/{path.name}")
            found.statements.setdefault(month, {})[file.path] = file


def _order_files(folder: Folder) -> Iterator[OrderFile]:
    for name, file in folder.files.items():
        if match := _ORDER_FILE.fullmatch(name):
            date = int(match[3] + match[4] + match[5])
            yield OrderFile(match[1], date, int(match[6] or 1), f"{folder.source}/{folder.name}/{name}", file)


def _times(above: Path) -> dict[str, str]:
    """When the answers of a source were written, by their path, as its index says. A line that can't be read is left out."""
    path = above / index.NAME
    if not path.is_file():
        return {}
    rows = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True, ignore_errors=True)
    if not {"Time", "Path"} <= set(rows.columns):
        return {}
    return {f"{above.name}/{place}": time for time, place in rows.select("Time", "Path").drop_nulls().iter_rows()}


def digests(event: int, files: Iterable[tuple[str, Found]]) -> list[WrittenFile]:
    """Files as the registry keeps what an event wrote, by their names."""
    contents = ((archive_files.text_name(name), found.read()) for name, found in files)
    return [WrittenFile(event, name, len(content), sha256(content).hexdigest()) for name, content in contents]


def csv_rows(found: Found | None, columns: list[str]) -> pl.DataFrame:
    """Columns of a CSV file of ours as text, without what keeps cells from being formulas; no rows where the file is missing
    or damaged (see `all_codes`).
    """
    try:
        if found is not None:
            frame = pl.read_csv(io.BytesIO(found.read()), infer_schema=False, columns=columns).select(columns)
            return frame.with_columns(pl.all().fill_null("").str.replace(_ESCAPED, "$1"))
    except (pl.exceptions.PolarsError, zipfile.BadZipFile, OSError):
        pass
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def all_codes(found: Found) -> tuple[pl.Series, bool]:
    """The codes that a CSV file of ours lists, and whether it is damaged: then every number in it that could be one."""
    content = b""
    try:
        content = found.read()
        rows = pl.read_csv(io.BytesIO(content), infer_schema=False, columns=[CODE])
        return rows[CODE].drop_nulls(), False
    except (pl.exceptions.PolarsError, zipfile.BadZipFile, OSError):
        return codes_in(content), True


def codes_in(content: bytes) -> pl.Series:
    """Every number in some bytes that could be a code."""
    return pl.Series(CODE, [number.decode() for number in _NUMBER.findall(content)], pl.String)


def joined(frames: list[pl.DataFrame], columns: list[str]) -> pl.DataFrame:
    """Frames of text as one."""
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), *frames])


def local_time(outbox: Outbox, text: str) -> str:
    """The local time with which the name of a folder begins (`20261124-020000-…`), as the registry keeps times: with the
    offset of the time nearest to it that an index has; of this machine where there is none.
    """
    time = datetime.strptime(text[:15], "%Y%m%d-%H%M%S")
    place = bisect_left(outbox.clock, time, key=lambda known: known.replace(tzinfo=None))
    near = outbox.clock[max(0, place - 1) : place + 1]
    if not near:
        return time.astimezone().isoformat(timespec="seconds")
    nearest = min(near, key=lambda known: abs(known.replace(tzinfo=None) - time))
    return time.replace(tzinfo=nearest.tzinfo).isoformat(timespec="seconds")


def original_of(files: dict[str, Found], digest: str = "") -> tuple[str, bytes] | None:
    """The original among the files of a submission, under the name that was dropped; with a digest, only one that has it."""
    for name, found in files.items():
        if not name.lower().startswith(REPORT_PREFIXES):
            content = found.read()
            if not digest or sha256(content).hexdigest() == digest:
                is_renamed = name.removeprefix(_ORIGINAL).lower().startswith(REPORT_PREFIXES)
                return name.removeprefix(_ORIGINAL) if is_renamed else name, content
    return None


def copied_at(files: dict[str, Found]) -> int:
    """When the original of a submission was copied from the inbox, in nanoseconds; 0 where it is not there."""
    originals = (found for name, found in files.items() if not name.lower().startswith(REPORT_PREFIXES))
    return next((found.mtime_ns for found in originals), 0)
