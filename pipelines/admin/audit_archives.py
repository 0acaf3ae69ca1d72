"""The archives of the outbox, as a verification reads them: each manifest once, and what is damaged."""

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.common.errors import CardsError
from pipelines.common.settings import Settings
from pipelines.delivery import archive_files
from pipelines.delivery.archive_files import archive_path, month_archives

_FEW = 8


class Archives:
    """The manifests of the archives that were asked for last, and why others can't be read (`problems`)."""

    def __init__(self, settings: Settings) -> None:
        self._outbox = settings.outbox
        self._manifests: dict[Path, pl.DataFrame | None] = {}
        self.problems: dict[Path, str] = {}

    def manifest(self, path: Path) -> pl.DataFrame | None:
        """`name`, `size`, `sha256` of what an archive holds; None when there is none or it can't be read."""
        if path not in self._manifests:
            if len(self._manifests) >= _FEW:  # they are asked for month by month
                self._manifests.pop(next(iter(self._manifests)))
            try:
                self._manifests[path] = archive_files.read_manifest(path) if path.is_file() else None
            except CardsError as error:
                self._manifests[path] = None
                self.problems[path] = str(error)
        return self._manifests[path]

    def path_of(self, event: dict[str, Any]) -> Path:
        """The archive that holds a submission."""
        return archive_path(self._outbox / event["source"], event["at"][:7], int(event["archived"]))

    def files_of(self, event: dict[str, Any]) -> pl.DataFrame | None:
        """`name`, `size`, `sha256` of the files of an archived submission; None when its archive can't be read."""
        manifest = self.manifest(self.path_of(event))
        if manifest is None:
            return None
        folder = f"{event['folder']}/"
        found = manifest.filter(pl.col("name").str.starts_with(folder))
        return found.with_columns(pl.col("name").str.slice(len(folder)))

    def file(self, name: str) -> dict[str, Any] | None:
        """`name`, `size`, `sha256` of a placement file or a file of nights (its path in the outbox) that an archive holds."""
        path = self.holder(name)
        manifest = self.manifest(path) if path else None
        return None if manifest is None else manifest.row(by_predicate=pl.col("name") == name.partition("/")[2], named=True)

    def holder(self, name: str) -> Path | None:
        """The archive that holds such a file."""
        source, _, member = name.partition("/")
        for path in month_archives(self._outbox / source, member[:7]).values():
            manifest = self.manifest(path)
            if manifest is not None and member in manifest["name"]:
                return path
        return None

    def read(self, path: Path, member: str) -> bytes:
        """The content of a member. Raises CardsError when the archive is damaged."""
        with archive_files.opened(path) as archive:
            return archive.read(member)
