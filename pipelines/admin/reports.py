"""`cards report`: write the reports of a submission, of a network report or of a night again."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.admin import queries
from pipelines.delivery import recovery, rewriting
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
        jobs = [_job(run, name) for name in names]  # a wrong name is reported before anything is written
        recovery.remove_begun(run)
        return [one for job in jobs for one in _by_folder(job())]


def _job(run: Run, name: str) -> Callable[[], Iterable[Path]]:
    if night := _NIGHT.fullmatch(Path(name).name):
        date = int("".join(night.groups()[:3]))
        rewriting.require_night(run, date)
        return lambda: rewriting.rewrite_night(run, date)
    event = queries.submission(name, run.registry).event
    return lambda: (path for path in rewriting.rewrite_submission(run, event).iterdir() if path.is_file())


def _by_folder(paths: Iterable[Path]) -> list[Rewritten]:
    files: dict[Path, list[str]] = {}
    for path in paths:
        files.setdefault(path.parent, []).append(path.name)
    return [Rewritten(str(folder), sorted(names)) for folder, names in files.items()]
