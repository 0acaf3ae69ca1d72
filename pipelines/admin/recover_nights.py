"""Enter nights that the outbox has and a restored registry lacks, with the codes that their files name."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.admin.outbox_reading import OrderFile, Outbox, csv_rows, digests, joined, local_time
from pipelines.admin.recovery_state import Recovery, entering
from pipelines.common.words import count
from pipelines.delivery import archive_files, order_files, statements
from pipelines.delivery.csv_files import csv_bytes
from pipelines.delivery.status import NAME as STATUS
from pipelines.delivery.submission import PLACEMENT
from pipelines.delivery.written_files import as_frame
from pipelines.reconcile_network import night_event
from pipelines.registry import night_records, reconciliation, recovery
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.outbox_files import files_of, note_files
from pipelines.registry.reconciliation import REFUSED, RELEASE
from pipelines.registry.store import Registry
from schemas.codes import CardState
from schemas.sources import NETWORK

_CODE: Final = "Authorization Code"


class Night(NamedTuple):
    """A night that the registry lacks: its date (20261124), the how many-th of that date it is, when it began, and the folder
    by which its placement file is named (empty: it has none).
    """

    date: int
    part: int
    at: str
    folder: str


def lost_nights(outbox: Outbox, known: pl.DataFrame, reports: set[str]) -> list[Night]:
    """The nights that the outbox has and the registry does not; `reports`: times of reports that it does not have
    either, which a night began by entering.
    """
    nights = known.filter(
        kind="night",
    ).select("reconciliation_date", "at")
    seen = {(date, at) for date, at in nights.iter_rows()}
    counts = dict(nights.group_by("reconciliation_date").len().iter_rows())
    placed = {local_time(outbox, folder): folder for source, folder in outbox.placements if source == NETWORK}
    parts: dict[tuple[int, int], str] = {}
    for file in outbox.order_files:
        if file.part > counts.get(file.date, 0):
            parts[file.date, file.part] = parts.get((file.date, file.part), "") or outbox.times.get(file.path, "")
    seen_at = {at for at in (*reports, *placed) if _date(at) in outbox.workbooks or at in placed}
    for at in sorted(seen_at - {at for _, at in seen} - set(parts.values())):
        _add(parts, _date(at), at, counts)
    for date, workbooks in outbox.workbooks.items():
        if not counts.get(date) and not any(night == date for night, _ in parts):
            parts[date, 1] = _written(outbox, date, max(found.mtime_ns for found in workbooks.values()))
    return [Night(date, part, at, placed.get(at, "")) for (date, part), at in sorted(_filled(outbox, parts, counts).items())]


def _date(at: str) -> int:
    return int(at[:10].replace("-", ""))


def _add(parts: dict[tuple[int, int], str], date: int, at: str, counts: dict[int, int]) -> None:
    """Add a night by its time alone: one whose files have no time, or a further one."""
    own = sorted(part for night, part in parts if night == date)
    nameless = next((part for part in own if not parts[date, part]), 0)
    free = next(part for part in range(counts.get(date, 0) + 1, 10**6) if part not in own)
    parts[date, nameless or free] = at


def _written(outbox: Outbox, date: int, mtime_ns: int) -> str:
    """When a night was of which nothing is left but its workbook."""
    end = datetime.fromisoformat(local_time(outbox, f"{date}-235959"))
    written = datetime.fromtimestamp(mtime_ns / 1e9, end.tzinfo)
    return (written if written.date() == end.date() else end).isoformat(timespec="seconds")


def _filled(outbox: Outbox, parts: dict[tuple[int, int], str], counts: dict[int, int]) -> dict[tuple[int, int], str]:
    """The nights with those of which nothing is left but the number of the one that followed."""
    filled = dict(parts)
    for date in {date for date, _ in parts}:
        last = max(part for night, part in parts if night == date)
        at = local_time(outbox, f"{date}-235959")
        for part in range(last, counts.get(date, 0), -1):
            before = (datetime.fromisoformat(at) - timedelta(seconds=1)).isoformat(timespec="seconds")
            at = filled.get((date, part)) or before
            filled[date, part] = at
    return filled


def night_files(outbox: Outbox, night: Night) -> list[OrderFile]:
    """The files that a night wrote for orders."""
    return [file for file in outbox.order_files if (file.date, file.part) == (night.date, night.part)]


def codes_of(outbox: Outbox, night: Night) -> set[str]:
    """The codes that a night released or refused."""
    return {code for file in night_files(outbox, night) if file.kind in (RELEASE, REFUSED)
            for code in csv_rows(file.found, [_CODE])[_CODE]}  # fmt: skip


# -- entering ----------------------------------------------------------------------------------------------------------


def enter_night(recovery_: Recovery, night: Night) -> None:
    """Enter a night as its files say: what it released and refused, and the codes that it issued to replace those."""
    with entering(recovery_, f"night of {night.at[:10]}"):
        _enter_night(recovery_, night)


class _Files(NamedTuple):
    """What the files of a night say: the codes that it `released`, those that it `refused` (`order_id`, `code`, and `new`, that
    of the replacement, or null), and the codes that its placement file has beyond these (`order_id`, `new`).
    """

    released: pl.Series
    refused: pl.DataFrame
    more: pl.DataFrame


def _read(outbox: Outbox, night: Night) -> _Files:
    files = night_files(outbox, night)
    columns = {"Order ID": "order_id", _CODE: "code", "Replaced by": "new"}
    refused = joined([csv_rows(file.found, list(columns)) for file in files if file.kind == REFUSED], list(columns))
    refused = refused.rename(columns).with_columns(pl.col("code", "new").cast(pl.Int64, strict=False))
    placed = csv_rows(outbox.placements.get((NETWORK, night.folder)), PLACEMENT)
    placed = placed.select(order_id="Order ID", new=pl.col(_CODE).cast(pl.Int64))
    return _Files(_released(files), refused, placed.join(refused, on="new", how="anti"))


def _enter_night(recovery_: Recovery, night: Night) -> None:
    registry, result = recovery_.run.registry, recovery_.result
    said = _read(recovery_.outbox, night)
    enter_grants(recovery_, night)
    with translate_db_errors(), registry.transaction():
        _release_what_was_released(recovery_, night, said.released)
        event, refused, new = _close(recovery_, night, said)
        is_complete = _is_complete(recovery_, night, event)
        recovery.finish_night(registry, event, _written_at(recovery_, night), delivered=is_complete)
        _note_files(recovery_, night, event)
    result.nights += 1
    result.codes += len(new)
    _compare(recovery_, night, event)
    _find_lost(recovery_, night, len(said.refused.join(refused, on="code", how="anti")), "refused files")
    unused = pl.concat([said.refused["new"].drop_nulls(), said.more["new"]])
    _find_lost(recovery_, night, len(unused) - len(new), "placement file")
    recovery_.run.runtime.checkpoint("recovered")


def _close(recovery_: Recovery, night: Night, said: _Files) -> tuple[int, pl.DataFrame, pl.DataFrame]:
    """Close the orders that reports name; the event of the night, the cards that it refused, and those that replace them."""
    registry = recovery_.run.registry
    recovery.report_orders(registry, recovery.cards_with(registry, said.refused["code"])["order_pk"])
    cards = reconciliation.waiting_cards(registry)
    is_refused = pl.col("code").is_in(said.refused["code"].implode())
    if len(said.more) or _is_unfinished(registry, night_files(recovery_.outbox, night)):
        # it was killed before it had written all: of orders without a file the rule decides
        is_refused |= pl.col("judged") & ~pl.col("order_id").is_in(said.refused["order_id"].implode())
    refused, waiting = cards.filter(is_refused), cards.filter(~is_refused)
    new = _replacements(refused, said)
    recovery.forget_external(registry, new["code"])
    event = night_event(night.at, night.date) | ({"folder": night.folder, "delivered": 1} if night.folder else {})
    overdue_hours = recovery_.run.settings.overdue_hours
    return reconciliation.enter_night(registry, event, refused, waiting, new, overdue_hours), refused, new


def _find_lost(recovery_: Recovery, night: Night, codes: int, where: str) -> None:
    if codes > 0:
        what = f"{count(codes, 'code')} in the {where} of a night could not be entered as it did"
        fix = "They are never issued again. Ask the network for a report of their orders."
        recovery_.result.find(what, f"night of {night.at[:10]}", fix)


def _note_files(recovery_: Recovery, night: Night, event: int) -> None:
    """Keep what lies there of a night: its workbook, its data for analysts, its placement file, and its files of orders, in the
    folders of these.
    """
    outbox, registry = recovery_.outbox, recovery_.run.registry
    own = [*outbox.workbooks.get(night.date, {}).values(), *outbox.datasets.get(night.date, [])]
    own += [found for month in statements.due(registry, event) for found in outbox.statements.get(month, {}).values()]
    own += [placement] if (placement := outbox.placements.get((NETWORK, night.folder))) else []
    noted = digests(event, [(found.path, found) for found in own if found])
    keys = {tuple(file.path.split("/")[:2]) for file in night_files(outbox, night)}
    events = recovery.events_of_folders(registry, pl.DataFrame(sorted(keys), ["source", "folder"], orient="row"))
    known = set(files_of(registry, events["event"]).select("event", "name").iter_rows())
    for number, source, folder in events.select("event", "source", "folder").iter_rows():
        there = outbox.folders[source, folder].files
        noted += digests(number, [(name, found) for name, found in there.items()
                                  if name == STATUS or (number, archive_files.text_name(name)) not in known])  # fmt: skip
    note_files(registry, as_frame(noted))


def finish_nights(recovery_: Recovery) -> None:
    """Note that nights which the registry knows have written their files, if these are there: by when matters for reports."""
    registry, outbox = recovery_.run.registry, recovery_.outbox
    placed = {local_time(outbox, folder): folder for source, folder in outbox.placements if source == NETWORK}
    nights = recovery.known_submissions(registry).filter(kind="night").sort("event")
    nights = nights.with_columns(part=pl.int_range(1, pl.len() + 1).over("reconciliation_date"))
    left = registry.undelivered()
    for one in nights.filter(pl.col("event").is_in(left)).iter_rows(named=True):
        night = Night(one["reconciliation_date"], one["part"], one["at"], placed.get(one["at"], ""))
        if _is_complete(recovery_, night, one["event"]):
            with registry.transaction():
                recovery.finish_night(registry, one["event"], _written_at(recovery_, night), delivered=True)
                _note_files(recovery_, night, one["event"])


def _numbers(codes: pl.Series) -> pl.Series:
    return codes.filter(codes != "").unique().sort().cast(pl.Int64)


def _released(files: list[OrderFile]) -> pl.Series:
    return _numbers(joined([csv_rows(file.found, [_CODE]) for file in files if file.kind == RELEASE], [_CODE])[_CODE])


def enter_grants(recovery_: Recovery, night: Night) -> None:
    """Grant surplus cards that a night released: the operator did, before it."""
    registry = recovery_.run.registry
    cards = recovery.cards_with(registry, _released(night_files(recovery_.outbox, night))).filter(state=CardState.SURPLUS)
    for (order_id,), surplus in cards.group_by("order_id", maintain_order=True):
        with registry.transaction():
            notes = "Granted by recovered: a release file lists these cards."
            event = registry.enter_event(_grant_event(night.at, str(order_id), notes))
            recovery.release_cards(registry, surplus, event, granted=True)
        what = "surplus cards were released, so they count as granted"
        recovery_.result.find(what, f"order {order_id}", "Nothing, if you granted them.")


def _grant_event(at: str, order_id: str, notes: str) -> dict[str, Any]:
    return {"kind": "grant", "source": NETWORK, "digest": "", "file_name": order_id, "at": at, "rows": 0, "notes": notes,
            "readable": 0, "folder": "", "delivered": 1}  # fmt: skip


def _release_what_was_released(recovery_: Recovery, night: Night, released: pl.Series) -> None:
    """Make the cards ready that release files list and no report at hand shows."""
    registry = recovery_.run.registry
    cards = recovery.cards_with(registry, released).filter(pl.col("state").is_in([CardState.PLACED, CardState.REFUSED]))
    if cards.is_empty():
        return
    event = registry.enter_event(_grant_event(night.at, "", "Recovered: release files list these cards."))
    recovery.release_cards(registry, cards, event, granted=False)
    recovery.report_orders(registry, cards["order_pk"])
    what = f"{count(len(cards), 'card')} stand in release files, and no report at hand shows them: they are ready"
    recovery_.result.find(what, f"night of {night.at[:10]}", "Ask the network for a report of their orders.")


def _is_unfinished(registry: Registry, files: list[OrderFile]) -> bool:
    """Whether the night was killed before it had written every release file."""
    names = {file.path.rpartition("/")[2] for file in files if file.kind == RELEASE}
    ids = recovery.to_release(registry)["order_id"]
    return any(not any(name.startswith(f"{RELEASE}-{one}-") for name in names) for one in ids)


def _replacements(refused: pl.DataFrame, said: _Files) -> pl.DataFrame:
    """The codes that replace refused ones: `order_pk`, `code` (new), `replaced`. Refused files name them; what stands in the
    placement file alone replaces the first refused codes of its order that nothing else does.
    """
    named = refused.join(said.refused.select("code", "new").drop_nulls(), on="code")
    left = refused.join(named, on="code", how="anti").sort("order_pk", "code")
    left = left.with_columns(place=pl.int_range(pl.len()).over("order_pk"))
    others = said.more.sort("order_id", "new").with_columns(place=pl.int_range(pl.len()).over("order_id"))
    paired = left.join(others, on=["order_id", "place"])
    return pl.concat([frame.select("order_pk", code="new", replaced="code") for frame in (named, paired)])


def _written_at(recovery_: Recovery, night: Night) -> str:
    """By when the placement file of a night was written."""
    found = recovery_.outbox.placements.get((NETWORK, night.folder))
    begun = datetime.fromisoformat(night.at)
    written = datetime.fromtimestamp((found.mtime_ns if found else 0) / 1e9, begun.tzinfo)
    return written.isoformat(timespec="seconds") if 0 <= (written - begun).total_seconds() < 86_400 else night.at


# -- comparing ---------------------------------------------------------------------------------------------------------


def _is_complete(recovery_: Recovery, night: Night, event: int) -> bool:
    """Whether all that a night writes is there."""
    registry, outbox = recovery_.run.registry, recovery_.outbox
    expected = {f"{path}.csv" for path in order_files.paths(night_records.files_of_night(registry, event))}
    placed = bool(night.folder) or night_records.placements(registry, event).is_empty()
    stated = all(month in outbox.statements for month in statements.due(registry, event))
    is_there = expected <= {file.path for file in night_files(outbox, night)}
    return placed and stated and night.date in outbox.workbooks and is_there


def _compare(recovery_: Recovery, night: Night, event: int) -> None:
    """Compare the files of a night with what the registry would write."""
    registry, files = recovery_.run.registry, night_files(recovery_.outbox, night)
    expected = order_files.rows_of(night_records.files_of_night(registry, event), registry)
    there: dict[str, Any] = {file.path: file for file in files}
    for path in sorted({f"{path}.csv" for path in expected} | there.keys()):
        rows = expected.get(path.removesuffix(".csv"))
        if path not in there:
            continue  # the next run writes it
        is_same = rows is not None and _digest(csv_bytes(rows)) == _digest(there[path].found.read())
        if not is_same:
            what = "a file is not what the registry would write of it now" if rows is not None else "a file of no order"
            recovery_.result.find(what, f"outbox/{path}", "Compare the file with: cards order ID.")


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()
