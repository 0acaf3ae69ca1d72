"""Whether the files that were written into the outbox lie there as they were written: in their folders or in archives."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.admin.findings import Check, Finding, Repair, RepairAction
from pipelines.common.durable_files import thread_pool
from pipelines.common.errors import CardsError
from pipelines.common.times import night_name
from pipelines.common.words import count
from pipelines.delivery import archive_files, statements
from pipelines.delivery.archive_files import file_digest, text_name
from pipelines.delivery.deliver import REPORT_PREFIXES, find_original
from pipelines.registry import audit
from schemas.sources import NETWORK, RECONCILIATION

BACKUP: Final = "Restore it from a backup of the outbox."
_CONTRADICTED: Final = "Restore it from a backup of the outbox: the registry says something else than what was written."
_SHOWN: Final = 5
_FILE: Final = {"event": pl.Int64, "name": pl.String, "size": pl.Int64, "sha256": pl.String}


class _There(NamedTuple):
    """The files that lie there, and the events whose folder (or archive) is missing."""

    files: pl.DataFrame
    without_folder: list[int]


def check_files(check: Check, events: pl.DataFrame, kept: pl.DataFrame, contradicted: set[int]) -> Iterator[Finding]:
    """The files of delivered events against what is kept of them (see OUTBOX_FILE). Events that were delivered before there
    were digests are checked for what they must have.
    """
    delivered = events.filter(delivered=1)
    submissions = delivered.filter(pl.col("kind").is_in(["orders", "report"]))
    yield from _submissions(check, submissions, kept.filter(~pl.col("name").str.contains("/", literal=True)), contradicted)
    yield from _other_files(check, delivered, kept.filter(pl.col("name").str.contains("/", literal=True)), contradicted)


# -- submissions -------------------------------------------------------------------------------------------------------


def _submissions(check: Check, events: pl.DataFrame, kept: pl.DataFrame, contradicted: set[int]) -> Iterator[Finding]:
    there = _lie_there(check, events)
    lost = set(there.without_folder)
    yield from _lost_archives(check, events.filter(pl.col("event").is_in(lost), pl.col("archived") > 0))
    both = kept.join(events, on="event", how="semi").join(there.files, on=["event", "name"], how="full", coalesce=True,
                                                          suffix="_there")  # fmt: skip
    both = both.filter(~pl.col("event").is_in(lost)).with_columns(_problem(full=check.full)).filter(pl.col("problem") != "")
    by_event = both.partition_by("event", as_dict=True)
    known = set(kept["event"])
    for event in events.iter_rows(named=True):
        number = event["event"]
        if number in lost and not event["archived"]:
            fix = f"{_report(event)} writes all but the original again; that one comes from a backup of the outbox."
            yield Finding("a submission has no folder", str(_folder(check, event)), fix, _rewrite(event, contradicted))
        elif number in known and number not in lost:
            yield from _of_submission(check, event, by_event.get((number,)), contradicted)
        elif number not in lost:
            yield from _without_digests(check, event, there.files.filter(event=number))
    yield from _without_workbooks(check, events, kept, contradicted)
    yield from _wrong_originals(check, events, kept)


def _problem(*, full: bool) -> pl.Expr:
    """What is wrong with a file that is kept (`size`, `sha256`) or lies there (`size_there`, `sha256_there`)."""
    changed = pl.col("size") != pl.col("size_there")
    if full:
        changed |= pl.col("sha256") != pl.col("sha256_there")
    return (
        pl.when(pl.col("size_there").is_null()).then(pl.lit("missing"))
        .when(pl.col("size").is_null()).then(pl.lit("unknown"))
        .when(changed).then(pl.lit("changed")).otherwise(pl.lit("")).alias("problem")
    )  # fmt: skip


def _lie_there(check: Check, events: pl.DataFrame) -> _There:
    """The files of submissions, in their folders and archives; without digests unless the check is full."""
    files: list[tuple[int, str, int, str]] = []
    lost: list[int] = []
    folders: list[tuple[int, Path]] = []
    for event in events.iter_rows(named=True):
        if event["archived"]:
            found = check.archives.files_of(event)
            lost += [event["event"]] if found is None or found.is_empty() else []
            files += [(event["event"], *row) for row in found.iter_rows()] if found is not None else []
        else:
            folders.append((event["event"], check.settings.outbox / event["source"] / event["folder"]))
    with thread_pool() as pool:
        for number, listed in pool.map(lambda one: (one[0], _listed(*one, full=check.full)), folders):
            files += listed or []
            lost += [number] if listed is None else []
    return _There(pl.DataFrame(files, _FILE, orient="row"), lost)


def _listed(event: int, folder: Path, *, full: bool) -> list[tuple[int, str, int, str]] | None:
    """The files in a folder; None when it is missing. One that can't be read has no digest."""
    try:
        with os.scandir(folder) as entries:
            return [
                (event, text_name(entry.name), entry.stat(follow_symlinks=False).st_size, _digest(entry.path) if full else "")
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        return None


def _digest(path: str) -> str:
    try:
        return "" if Path(path).is_symlink() else file_digest(Path(path))
    except OSError:
        return ""


def _lost_archives(check: Check, events: pl.DataFrame) -> Iterator[Finding]:
    """Archives that are missing, can't be read, or lack submissions which they should hold."""
    paths: dict[Path, int] = {}
    for event in events.iter_rows(named=True):
        path = check.archives.path_of(event)
        paths[path] = paths.get(path, 0) + 1
    for path, number in paths.items():
        if problem := check.archives.problems.get(path):
            yield Finding("an archive can't be read", str(path), problem)
        else:
            them = count(number, "submission")
            what = f"an archive lacks {them}" if path.is_file() else f"the archive of {them} is missing"
            yield Finding(what, str(path), f"{BACKUP} Without one, cards report writes all but the originals again.")


def _of_submission(
    check: Check, event: dict[str, Any], wrong: pl.DataFrame | None, contradicted: set[int]
) -> Iterator[Finding]:
    """What is wrong with the files of a submission."""
    if wrong is None:
        return
    where = str(_folder(check, event)) if not event["archived"] else f"{check.archives.path_of(event)}: {event['folder']}"
    ours = pl.col("name").str.contains(f"^(?:{'|'.join(prefix.replace('.', '[.]') for prefix in REPORT_PREFIXES)})")
    for problem in ("missing", "changed"):
        reports, originals = wrong.filter(ours, problem=problem)["name"], wrong.filter(~ours, problem=problem)["name"]
        if len(reports):
            what = (
                f"a submission has no {_named(reports)}"
                if problem == "missing"
                else f"{_named(reports)} of a submission was changed"
            )
            fix = _CONTRADICTED if event["event"] in contradicted else f"Write it again: {_report(event)}"
            yield Finding(what, where, fix, None if event["archived"] else _rewrite(event, contradicted))
        if len(originals):
            yield Finding("the original of a submission is missing or not what was answered", where, BACKUP)
    if len(unknown := wrong.filter(problem="unknown")["name"]):
        what = f"a submission's folder holds what this program did not write: {_named(unknown)}"
        yield Finding(what, where, "Find out who put it there, and remove it. It may hold codes of others.")


def _without_workbooks(check: Check, events: pl.DataFrame, kept: pl.DataFrame, contradicted: set[int]) -> Iterator[Finding]:
    """Submissions that were written as CSV files alone, because every run died of their workbooks."""
    wanted = kept.filter(pl.col("name").is_in(["confirmation.csv", "rejections.csv"])).select(
        "event", name=pl.col("name").str.replace(r"csv$", "xlsx")
    )
    lacking = wanted.join(kept, on=["event", "name"], how="anti").join(events, on="event")
    for event in lacking.iter_rows(named=True):
        what = f"a submission was written without {event['name']}"
        fix = f"Runs died of it. Write it again: {_report(event)}"
        yield Finding(what, str(_folder(check, event)), fix, _rewrite(event, contradicted))


def _wrong_originals(check: Check, events: pl.DataFrame, kept: pl.DataFrame) -> Iterator[Finding]:
    """Submissions of which the registry says that other bytes were answered than those that were archived."""
    originals = kept.filter(~pl.col("name").str.contains_any(list(REPORT_PREFIXES)))
    both = originals.join(events.select("event", "digest", "source", "folder"), on="event")
    for event in both.filter(pl.col("sha256") != pl.col("digest")).iter_rows(named=True):
        yield Finding(
            "the registry says that another file was answered than the original of a submission",
            str(_folder(check, event)), "Something other than this program has changed the registry. Restore it from a backup.",
        )  # fmt: skip


def _without_digests(check: Check, event: dict[str, Any], files: pl.DataFrame) -> Iterator[Finding]:
    """A submission that an earlier version wrote: the reports that each must have, and its original."""
    rejected, too_large = audit.findings_of(check.registry, event["event"])
    confirmed = event["readable"] and event["kind"] == "orders"
    names = ["confirmation"] * confirmed + ["rejections"] * (rejected > 0)
    where = str(_folder(check, event)) if not event["archived"] else f"{check.archives.path_of(event)}: {event['folder']}"
    there = set(files["name"])
    if missing := [f"{name}.{kind}" for name in names for kind in ("csv", "xlsx") if f"{name}.{kind}" not in there]:
        repair = None if event["archived"] else _rewrite(event, set())
        yield Finding(f"a submission has no {', '.join(missing)}", where, f"Write it again: {_report(event)}", repair)
    if too_large or not check.full:
        return
    folder = _folder(check, event)
    kept = event["digest"] in set(files["sha256"]) if event["archived"] else find_original(folder, event["digest"]) is not None
    if not kept:
        yield Finding("the original of a submission is missing or not what was answered", where, BACKUP)


def _named(names: pl.Series) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names.sort().head(_SHOWN)) + more


def _folder(check: Check, event: dict[str, Any]) -> Path:
    return check.settings.outbox / str(event["source"]) / str(event["folder"])


def _report(event: dict[str, Any]) -> str:
    return f"cards report outbox/{event['source']}/{event['folder']}"


def _rewrite(event: dict[str, Any], contradicted: set[int]) -> Repair | None:
    """Writing a submission again, unless the registry says something else by now than what was written."""
    return None if event["event"] in contradicted else Repair(RepairAction.REWRITE, str(event["event"]))


# -- placement files and nights ----------------------------------------------------------------------------------------


def _other_files(check: Check, events: pl.DataFrame, kept: pl.DataFrame, contradicted: set[int]) -> Iterator[Finding]:
    """Placement files, and the workbooks of nights with the files next to them: those of the latest event of a night."""
    latest = audit.nights(check.registry)["event"] if len(kept) else kept["event"]
    of_nights = pl.col("name").str.starts_with(f"{RECONCILIATION}/")
    wanted = kept.join(events, on="event", how="semi").filter(~of_nights | pl.col("event").is_in(latest.implode()))
    is_statement = pl.col("name").str.contains(statements.FILE)
    stated = _still_current(check, kept.join(events, on="event", how="semi").filter(is_statement))
    wanted = pl.concat([wanted.filter(~is_statement), stated])
    kinds = dict(events.select("event", pl.struct("kind", "source", "folder", "reconciliation_date")).iter_rows())
    for file in wanted.iter_rows(named=True):
        path = check.settings.outbox / file["name"]
        problem = _problem_of(check, path, file)
        if not problem:
            continue
        event = kinds[file["event"]] | {"event": file["event"]}
        again = _report(event) if event["kind"] == "orders" else f"cards report {night_name(event['reconciliation_date'])}"
        fix = _CONTRADICTED if file["event"] in contradicted else f"Write it again: {again}"
        what = f"a {'placement file' if file['name'].startswith(f'{NETWORK}/') else 'file of a night'} {problem}"
        yield Finding(what, str(path), fix, _rewrite(event, contradicted))


def _still_current(check: Check, files: pl.DataFrame) -> pl.DataFrame:
    """Those of the statements that no later night stated again."""
    owners = statements.owners(check.registry) if len(files) else {}
    current = [
        owners.get(statements.month_of_file(name), event) == event for event, name in files.select("event", "name").iter_rows()
    ]
    return files.filter(pl.Series(current, dtype=pl.Boolean))


def _problem_of(check: Check, path: Path, file: dict[str, Any]) -> str:
    """What is wrong with a file, in words; empty when it is as it was written."""
    if path.is_file():
        size, digest = path.stat().st_size, _digest(str(path)) if check.full else file["sha256"]
    elif archived := check.archives.file(file["name"]):
        size, digest = archived["size"], archived["sha256"]
    else:
        return "is missing"
    return "was changed" if (size, digest) != (file["size"], file["sha256"]) else ""


# -- archives ----------------------------------------------------------------------------------------------------------


def check_archives(check: Check, since: str) -> Iterator[Finding]:
    """Every archive of the months since a date, of which every member is read."""
    for folder in sorted(check.settings.outbox.glob("[!.]*/")):
        for path in archive_files.archives_of(folder):
            if path.name[:7] >= since[:7]:
                yield from _damage(path)


def _damage(path: Path) -> Iterator[Finding]:
    try:
        for name, problem in archive_files.problems(path):
            yield Finding(f"{name} in an archive: {problem}", str(path), BACKUP)
    except CardsError as error:
        yield Finding("an archive can't be read", str(path), str(error))
