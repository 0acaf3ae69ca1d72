"""`outbox/<reseller>/status.json`: the files of a reseller that have arrived and are not answered yet, for programs.

It is written before anything is decided about a file, as soon as the file stands still. An answered file leaves it: from
then on the `status.json` of its submission says where it stands. docs/received.schema.json describes it.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from pipelines.common.durable_files import ensure_dir, write_atomically
from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings
from pipelines.delivery.access import access_for
from pipelines.intake.fairness import in_turns
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.intake.private_copy import digest_of
from schemas.sources import CHECK, OPERATOR

NAME: Final = "status.json"
VERSION: Final = 1
MOST_FILES: Final = 1_000
"""So many files are listed; `files_total` counts them all."""
_SECONDS: Final = 0.1
"""Reading files for their digests stops after this until the next look, so that no source can keep the service busy."""


@dataclass(frozen=True)
class Receipt:
    """A file that has arrived. `received`: when its last byte did, or it was given its name (ISO 8601); `sha256`: of its bytes
    as they were then, empty for a file that is too large to be accepted or can't be read.
    """

    file: str
    state: str
    size: int
    sha256: str
    received: str


@dataclass(frozen=True)
class Received:
    """The files of a reseller that wait for their answers, oldest first."""

    version: int
    reseller: str
    files_total: int
    files: list[Receipt]


class Receipts:
    """Keeps the receipts of sources as their files come and go; those of others are left to whoever takes their files."""

    def __init__(self, settings: Settings, is_asked_for: Callable[[str], bool] = lambda _: True) -> None:
        self._settings, self._is_asked_for = settings, is_asked_for
        self._digests: dict[InboxFile, str] = {}
        self._known: frozenset[str] = frozenset()
        self._sources: frozenset[str] = frozenset()
        self._acknowledged: set[str] = set()
        self.is_behind = False
        """Whether files are left whose digests the last look had no time for."""

    def set_resellers(self, resellers: Iterable[str]) -> None:
        """Acknowledge the files of these resellers and of the operator, from the next look on. May be called by any thread."""
        self._known = frozenset(source for source in (OPERATOR, *resellers) if self._is_asked_for(source))

    def renew(self, files: list[InboxFile]) -> None:
        """Have the receipts say that these files wait, and no others. What can't be written is left for the next time: the
        answers to the files, which go to the same folders, report what is wrong there.
        """
        if self._known != self._sources:  # files that an earlier process acknowledged may have been answered since
            self._sources = self._known
            self._acknowledged |= {one for one in self._sources if _text(self._settings.outbox / one / NAME)}
        self._digests = self._digested([file for file in files if file.source in self._sources])
        waiting = {source: list(of) for source, of in groupby(sorted(self._digests, key=_age), key=lambda file: file.source)}
        for source in sorted(self._acknowledged | waiting.keys()):
            with suppress(OSError, CardsError):
                self._write(source, waiting.get(source, []))
        self._acknowledged = set(waiting)

    def _digested(self, files: list[InboxFile]) -> dict[InboxFile, str]:
        """The digests of the files, of the new ones as many as there is time for."""
        digests = {file: self._digests[file] for file in files if file in self._digests}
        begun = time.monotonic()
        self.is_behind = False
        for done, file in enumerate(in_turns([file for file in files if file not in digests])):
            if done and time.monotonic() - begun > _SECONDS:
                self.is_behind = True
                break
            if (digest := digest_of(file, self._settings.max_file_mb << 20)) is not None:
                digests[file] = digest
        return digests

    def _write(self, source: str, files: list[InboxFile]) -> None:
        path = self._settings.outbox / source / NAME
        text = json.dumps(asdict(self._received(source, files)), ensure_ascii=False, indent=1) + "\n"
        before = _text(path)
        if before == text or (not before and not files):
            return
        access = access_for(self._settings, source)
        ensure_dir(path.parent, access)
        write_atomically(path, lambda staged: _put(staged, text), access)

    def _received(self, source: str, files: list[InboxFile]) -> Received:
        return Received(VERSION, source, len(files), [self._receipt(file) for file in files[:MOST_FILES]])

    def _receipt(self, file: InboxFile) -> Receipt:
        name = f"{CHECK}/{file.path.name}" if file.is_trial else file.path.name
        arrived = datetime.fromtimestamp(file.ctime_ns / 1e9).astimezone()
        return Receipt(display_name(name), "received", file.size, self._digests[file], arrived.isoformat(timespec="seconds"))


def _age(file: InboxFile) -> tuple[str, int, str]:
    return file.source, file.ctime_ns, file.path.name


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _put(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
