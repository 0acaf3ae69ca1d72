"""Submission folders: written beside, then renamed, so that each appears whole; the original moves in last."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines import inbox, night_reports, reports
from pipelines.errors import CardsError, UnansweredError
from pipelines.errors import told as error_told
from pipelines.files import beside, clear, make, settle, threads
from pipelines.inbox import Drop
from pipelines.mending import Mender
from pipelines.registry import Answers, Registry
from pipelines.reports import Papers
from pipelines.settings import Settings
from pipelines.world import World

_OURS: Final = ("confirmation.", "rejections.", "release-", "refused-")


def shown(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8, and control characters, escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def deliver(settings: Settings, registry: Registry, events: Mapping[int, Drop | None], world: World) -> list[dict[str, Any]]:
    """Write the answers of events, move their originals in, and note that it is done; what became of each file.

    Raises UnansweredError, after all others, when some could not be written; they are written by the next run.
    What became of a file is one document: `reseller`, `file`, `folder` (below the home), and the figures of `reports.counted`;
    of a report of the network see `reconcile.taken`.
    """
    papers, failed = _prepared(registry.answers(list(events)))
    told: list[dict[str, Any]] = []
    answered: list[int] = []
    with Mender(settings) as mender, threads() as pool:

        def answer(one: Papers) -> list[dict[str, Any]] | CardsError:
            try:
                return _answer(settings, registry, one, events[one.event["event"]], mender, world)
            except Exception as error:  # a file never takes another with it
                return error_told(error)

        files = [one for one in papers if one.event["kind"] != "night"]
        nights = [one for one in papers if one.event["kind"] == "night"]
        # while a file waits for the disk another is written; a night asks the registry, which is for this thread alone
        outcomes = chain(pool.map(answer, files), map(answer, nights))
        for done, (one, outcome) in enumerate(zip([*files, *nights], outcomes, strict=True), 1):
            if isinstance(outcome, CardsError):
                failed.append(outcome)
            else:
                answered.append(one.event["event"])
                told += outcome
            world.progress("answering", done, len(papers))
    registry.answered(answered)
    world.step("answered")
    if failed:
        raise UnansweredError(f"{len(failed)} of {len(events)} answers could not be written. {failed[0]}", told)
    return told


def _prepared(answers: Answers) -> tuple[list[Papers], list[CardsError]]:
    """What is written for each event, and the errors of those for which it can't be told."""
    try:
        return reports.papers(answers), []
    except Exception as error:
        events = answers.events["event"]
        if len(events) == 1:
            return [], [error_told(error)]
        each = [_prepared(Answers(*(frame.filter(event=event) for frame in answers))) for event in events]
        return [one for papers, _ in each for one in papers], [error for _, errors in each for error in errors]


def _answer(
    settings: Settings, registry: Registry, papers: Papers, drop: Drop | None, mender: Mender, world: World
) -> list[dict[str, Any]]:
    """Write one answer; what became of the file, nothing for a night."""
    if papers.event["kind"] == "night":
        night_reports.write(settings, registry, papers.event)
        return []
    folder = _folder(settings, papers.event)
    _place(settings, papers)
    world.step("placement written")
    _write(settings, folder, papers, drop.path if drop else None, mender)
    world.step("folder written")
    _archive(drop, folder)
    world.step("archived")
    return [_submission(settings, folder, papers)]


def trapped(deliver: Callable[[], list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], UnansweredError | None]:
    """What was answered, and the error of what was not, to be raised when all other work is done."""
    try:
        return deliver(), None
    except UnansweredError as error:
        return error.told, error


def finish(
    settings: Settings, registry: Registry, world: World, senders: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Answer what an earlier run entered and did not live to answer; of order files those of the senders asked for."""
    events = registry.unanswered()
    if not events:
        return []
    given = registry.answers(events).events
    asked = [sender for sender in given["sender"].unique() if senders(sender)]
    given = given.filter((pl.col("kind") != "orders") | pl.col("sender").is_in(asked))
    drops = {(drop.sender, shown(drop.path.name)): drop for drop in inbox.present(settings.inbox)}
    originals: dict[int, Drop | None] = {}
    for event, sender, file, digest in given.select("event", "sender", "file", "digest").iter_rows():
        drop = drops.get((sender, file))
        content = inbox.content_of(drop, settings.max_file_mb << 20) if drop else None
        originals[event] = drop if content is not None and inbox.digest_of(content) == digest else None
    _clear(settings, given)
    return deliver(settings, registry, originals, world)


def _clear(settings: Settings, events: pl.DataFrame) -> None:
    """Remove what a dead run began to write for these events; a night writes into folders of all its orders."""
    nights = events.filter(kind="night")
    senders = settings.outbox.glob("*") if len(nights) else [settings.outbox / sender for sender in events["sender"].unique()]
    for folder in {*senders, settings.outbox / inbox.NETWORK}:
        clear(folder)
        for submission in folder.glob("[!.]*/") if len(nights) else ():
            clear(submission)


def write_again(settings: Settings, registry: Registry, event: int) -> Path:
    """Write every report of a submission again from the registry; its folder."""
    papers = reports.papers(registry.answers([event]))[0]
    folder = _folder(settings, papers.event)
    make(folder)
    with beside(folder) as new, Mender(settings) as mender:
        reports.write_folder(new, papers, _original(folder, papers.event), mender, settings.max_sheet_codes)
        for path in new.iterdir():
            settle(path)
            path.replace(folder / path.name)
    settle(folder)
    _place(settings, papers)
    night_reports.write_outcomes(settings, registry, papers.answer.orders["order_no"])
    return folder


def _original(folder: Path, event: dict[str, Any]) -> Path | None:
    """The file that was answered, where it was archived."""
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith(_OURS) and inbox.digest_of(path.read_bytes()) == event["digest"]:
            return path
    return None


def _folder(settings: Settings, event: dict[str, Any]) -> Path:
    return settings.outbox / str(event["sender"]) / str(event["folder"])


def _submission(settings: Settings, folder: Path, papers: Papers) -> dict[str, Any]:
    event = papers.event
    where = {"reseller": event["sender"], "file": event["file"], "folder": str(folder.relative_to(settings.home))}
    if event["kind"] == "report":
        return {"file": where["file"], "folder": where["folder"], "rows": event["rows"],
                "seen": event["answers"] != event["event"], "reasons": reports.reasons(papers.answer)}  # fmt: skip
    return {**where, **reports.counted(papers.answer)}


def _place(settings: Settings, papers: Papers) -> None:
    """Write the placement file of an event that placed something and is no repetition."""
    event = papers.event
    if len(papers.placement) and event["answers"] == event["event"]:
        reports.write_placement(settings.outbox, event, papers.placement)


def _write(settings: Settings, folder: Path, papers: Papers, original: Path | None, mender: Mender) -> None:
    if folder.is_dir():
        return
    make(folder.parent)
    with beside(folder) as new:
        try:
            reports.write_folder(new, papers, original, mender, settings.max_sheet_codes)
            for path in (*new.iterdir(), new):
                settle(path)
            new.rename(folder)
        except OSError:  # another worker was quicker, with the same content
            if not folder.is_dir():
                raise
    settle(folder.parent)


def _archive(drop: Drop | None, folder: Path) -> None:
    """Move the original into its folder, if it is still the file that was answered."""
    if drop is None or not inbox.same(drop):
        return
    name = drop.path.name
    if name.lower().startswith(_OURS):
        name = f"original-{name}"
    moved = folder / name
    with suppress(FileNotFoundError):  # another worker was quicker
        drop.path.chmod(0o600)
        shutil.move(drop.path, moved)
        here = moved.stat().st_dev == drop.path.parent.stat().st_dev  # else it was copied, and is another by its number
        if here and not inbox.same(drop._replace(path=moved)) and not drop.path.exists():
            moved.rename(drop.path)  # it was replaced as we moved it
    settle(folder)
    settle(drop.path.parent)
