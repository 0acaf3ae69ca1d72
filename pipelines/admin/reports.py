"""`cards report`: write the reports of a submission, of a network report or of a night again."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.admin import queries
from pipelines.delivery import rewriting
from pipelines.run import Run

_NIGHT: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(\.xlsx)?")


@dataclass(frozen=True)
class Rewritten:
    """A folder in which reports were written again, and the files that it holds; of a night those that it wrote."""

    folder: str
    files: list[str]


def write_again(run: Run, names: list[str]) -> list[Rewritten]:
    """Write again what each name stands for: the folder of a submission or of a network report, or the date of a night.

    Raises CardsError while a reconciliation is running, and for a name that stands for nothing.
    """
    with run.registry.reconciliation_lock():
        return [one for name in names for one in _write_one(run, name)]


def _write_one(run: Run, name: str) -> list[Rewritten]:
    if night := _NIGHT.fullmatch(Path(name).name):
        return _by_folder(rewriting.rewrite_night(run, int("".join(night.groups()[:3]))))
    folder = rewriting.rewrite_submission(run, queries.submission(name, run.registry).event)
    return _by_folder(path for path in folder.iterdir() if path.is_file())


def _by_folder(paths: Iterable[Path]) -> list[Rewritten]:
    files: dict[Path, list[str]] = {}
    for path in paths:
        files.setdefault(path.parent, []).append(path.name)
    return [Rewritten(str(folder), sorted(names)) for folder, names in files.items()]
