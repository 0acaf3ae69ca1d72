"""Enter submissions and network reports that the outbox has and a restored registry lacks."""

import io
import json
import re
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines import reconcile_network
from pipelines.admin.outbox_reading import Folder, Found, Outbox, csv_rows, digests, fields
from pipelines.admin.replay import note_of
from pipelines.common.errors import TransientError, to_cards_error
from pipelines.delivery.deliver import REPORT_PREFIXES
from pipelines.delivery.originals import gone
from pipelines.delivery.submission import PLACEMENT
from pipelines.delivery.written_files import as_frame
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import Parser, Table, read
from pipelines.orders.as_answered import Answer, as_answered, from_answer_alone
from pipelines.orders.batch import OrderFile, build_batch
from pipelines.orders.decision import decide
from pipelines.orders.facts import load_facts
from pipelines.orders.loading import SET_ASIDE, UNREAD, with_original_events
from pipelines.reconcile_network import ReportAtHand, enter_reports
from pipelines.reconciliation.matching import validate_report
from pipelines.registry import recovery
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.outbox_files import note_files
from pipelines.registry.records import IngestBatch
from pipelines.registry.store import folder_stem
from pipelines.run import Run
from schemas import actions, network, orders
from schemas.orders import HEADERS, NAMES
from schemas.sources import NETWORK

_CONFIRMATION: Final = ["Order ID", "Customer Account Number", "Customer Order ID", "Action", "Authorization Code", "State"]
_UNLIMITED: Final = {"report_max_refused": 1.0, "report_max_external": 10**12}
_KEYS: Final = ["account", "customer_order_id"]
_ORIGINAL: Final = "original-"
_REPLAY: Final = re.compile(note_of("outbox/([^/<]+)/([^/<]+)"))


@dataclass(frozen=True)
class RecoverFinding:
    """What could not be recovered as it was: what, where, and what to do about it. It never names a code."""

    what: str
    where: str
    fix: str


@dataclass
class RecoverResult:
    """What was entered (with `dry_run`: what would be), and what the operator must look at.

    `codes`: those that the submissions and nights issued; `external_codes`: those that are unavailable from now on and belong
    to no card.
    """

    dry_run: bool
    submissions: int = 0
    reports: int = 0
    nights: int = 0
    orders: int = 0
    codes: int = 0
    external_codes: int = 0
    findings: list[RecoverFinding] = field(default_factory=list)

    def find(self, what: str, where: str, fix: str) -> None:
        """Note what the operator must look at."""
        self.findings.append(RecoverFinding(what, where, fix))


class Recovery(NamedTuple):
    """A recovery at work: its run, what the outbox says, the parser, and what is done so far."""

    run: Run
    outbox: Outbox
    parser: Parser
    result: RecoverResult


class Submission(NamedTuple):
    """A submission that the registry lacks. `files`: those of its folder, none where it is not there; `placement`: its
    placement file.
    """

    source: str
    folder: str
    at: str
    digest: str
    file_name: str
    files: dict[str, Found]
    placement: Found | None

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"outbox/{self.source}/{self.folder}"


# -- what lies in a folder ---------------------------------------------------------------------------------------------


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


def submission_of(outbox: Outbox, folder: Folder) -> Submission:
    """What is known of a submission by its folder."""
    found = folder.files.get("status.json")
    at, digest, name = fields(_json(found.read()) if found else None, "received", "sha256", "file")
    answers = (f"{folder.source}/{folder.name}/{kind}.csv" for kind in ("confirmation", "rejections"))
    at = at or next((outbox.times[path] for path in answers if path in outbox.times), "") or local_time(outbox, folder.name)
    if not digest and (original := original_of(folder.files)):
        name, digest = display_name(original[0]), sha256(original[1]).hexdigest()
    key = (folder.source, folder.name)
    return Submission(*key, at, digest, name, folder.files, outbox.placements.get(key))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def is_submission(folder: Folder) -> bool:
    """Whether a folder of a reseller holds an answer."""
    return bool({"confirmation.csv", "rejections.csv", "status.json"} & folder.files.keys())


def answered_orders(files: dict[str, Found]) -> tuple[set[str], set[str]]:
    """The Order IDs that a confirmation says were placed, and those that were placed before."""
    rows = csv_rows(files.get("confirmation.csv"), _CONFIRMATION)
    return tuple(set(rows.filter(State=state)["Order ID"]) for state in ("placed", "already placed"))  # type: ignore[return-value]


# -- submissions -------------------------------------------------------------------------------------------------------


def enter_submission(recovery_: Recovery, one: Submission) -> None:
    """Enter a submission as it was answered, or its codes at least."""
    run, result = recovery_.run, recovery_.result
    with entering(recovery_, one.path):
        ingest = _ingest(recovery_, one)
        codes = ingest.codes["code"].cast(pl.Int64)
        with translate_db_errors(), run.registry.transaction():
            recovery.forget_external(run.registry, codes)
            (event,) = run.registry.enter(ingest).values()
            placement = [(one.placement.path, one.placement)] if one.placement and one.files else []
            note_files(run.registry, as_frame(digests(event, [*one.files.items(), *placement])))
        result.submissions += 1
        result.orders += len(ingest.orders)
        result.codes += len(codes)
    run.runtime.checkpoint("recovered")


@contextmanager
def entering(recovery_: Recovery, where: str) -> Iterator[None]:
    """Note an error of the block, and go on: nothing takes another with it, and codes are swept up in the end."""
    try:
        yield
    except TransientError:
        raise
    except Exception as error:
        what = f"this could not be entered: {to_cards_error(error)}"
        recovery_.result.find(what, where, "Its codes are never issued again. Find out why, and what else is missing by it.")


def _ingest(recovery_: Recovery, one: Submission) -> IngestBatch:
    original = original_of(one.files, one.digest)
    dropped = _dropped(recovery_.run, one) if not one.files else None
    if dropped and (found := _from_inbox(recovery_, one, dropped)):
        return found
    answer = _answer(recovery_.run, one)
    if original and (found := _from_original(recovery_, one, *original, answer)):
        return found
    lost = (
        "the original of a submission is missing or not what was answered"
        if one.files
        else ("codes of an order file were placed, and the file was never answered")
    )
    fix = "Its orders and codes are entered as they were placed; what else was in the file is lost. See: cards submissions."
    recovery_.result.find(lost, one.path, fix)
    return _from_answer(one, answer)


def _answer(run: Run, one: Submission) -> Answer:
    rows = csv_rows(one.files.get("confirmation.csv"), _CONFIRMATION)
    names = ["order_id", "account", "customer_order_id", "action", "code", "state"]
    rows = rows.rename(dict(zip(_CONFIRMATION, names, strict=True)))
    earlier = rows.filter(state="already placed").select("order_id").unique()
    placed = rows.filter(state="placed") if one.files else _placed_without_answer(one)
    rejected = csv_rows(one.files.get("rejections.csv"), ["Row", "Reason"]).select(
        source_row=pl.col("Row").cast(pl.UInt32, strict=False).fill_null(0), reason=pl.col("Reason").str.split("; ")
    )
    return Answer(
        placed=placed.select(*names[:4], pl.col("code").cast(pl.Int64)),
        earlier=recovery.orders_with_ids(run.registry, earlier["order_id"]),
        rejected=rejected.explode("reason", empty_as_null=True).filter(pl.col("reason") != ""),
        is_readable="confirmation.csv" in one.files,
    )


def _placed_without_answer(one: Submission) -> pl.DataFrame:
    """The cards of a placement file whose submission was never answered: its Customer Order IDs are not known."""
    rows = _placement(one)
    return rows.select("order_id", "account", pl.col("order_id").alias("customer_order_id"), "action", "code")


def _placement(one: Submission) -> pl.DataFrame:
    names = ["order_id", "action", "account", "product", "access_number", "code", "origin", "termination"]
    return csv_rows(one.placement, PLACEMENT).rename(dict(zip(PLACEMENT, names, strict=True)))


def _order_file(recovery_: Recovery, one: Submission, name: str, content: bytes, answer: Answer | None) -> OrderFile:
    """The original, read as it was when it was dropped."""
    run = recovery_.run
    copy = PrivateCopy(gone(run, one.source, name), Path(), sha256(content).hexdigest(), len(content))
    if answer and "FILE_SET_ASIDE" in set(answer.rejected["reason"]):
        return OrderFile(0, copy, SET_ASIDE)
    table = read(content, recovery_.parser, run.settings, NAMES, orders.BY_HEADER)
    file = OrderFile(0, copy, table)
    if replayed := _replayed(one):
        folders = pl.DataFrame([replayed], ["source", "folder"], orient="row")
        for event in recovery.events_of_folders(run.registry, folders)["event"]:
            notes = [*table.notes, note_of("/".join(("outbox", *replayed)))]
            return file._replace(replays=event, table=table._replace(notes=notes))
    (file,) = with_original_events([file], run.registry)
    is_new = not file.original_event or (run.registry.event_key(file.original_event) or ("",))[0] == one.at
    return file if is_new else file._replace(table=UNREAD)  # those of the same second were read together


def _replayed(one: Submission) -> tuple[str, str] | None:
    """Source and folder of the submission that this one answers anew, as a remark in its workbooks says."""
    for name in ("confirmation.xlsx", "rejections.xlsx"):
        if name in one.files:
            with zipfile.ZipFile(io.BytesIO(one.files[name].read())) as book:
                parts = [book.read(part).decode("utf-8", "ignore") for part in book.namelist() if part.endswith(".xml")]
            if match := next((match for part in parts if (match := _REPLAY.search(part))), None):
                return match[1], match[2]
    return None


def _from_original(recovery_: Recovery, one: Submission, name: str, content: bytes, answer: Answer) -> IngestBatch | None:
    """What the file enters; None when its answer has orders that the file does not have."""
    run = _at(recovery_.run, one.at)
    file = _order_file(recovery_, one, name, content, answer)
    batch = build_batch([file], run.settings.max_quantity, run.settings.max_findings)
    if len(answer.placed.join(batch.orders, on=_KEYS, how="anti")):
        return None
    batch = batch.subset([file])
    facts = load_facts(batch, run.registry, run.settings, run.runtime)
    decision = decide(batch, facts, run.runtime.random_bytes)
    known = {"folder": one.folder, "delivered": 1, "file_name": one.file_name or display_name(name)}
    return as_answered(batch, decision, facts, answer, known)


def _at(run: Run, at: str) -> Run:
    """The run at an earlier time."""
    time = datetime.fromisoformat(at)
    return run._replace(runtime=run.runtime._replace(now=lambda: time))


def _from_answer(one: Submission, answer: Answer) -> IngestBatch:
    placed = _placement(one).unique("order_id", keep="first", maintain_order=True)
    fields_ = placed.select("order_id", "product", "access_number", "origin", "termination")
    found = answer.placed.select("order_id", *_KEYS, "action").unique(maintain_order=True)
    found = found.join(fields_, on="order_id", how="left", maintain_order="left").with_columns(pl.col(pl.String).fill_null(""))
    names = [HEADERS[name] for name in NAMES]
    rejected = csv_rows(one.files.get("rejections.csv"), [*names, "Row"]).filter(pl.col("Row") != "")
    rejected = rejected.rename(dict(zip(names, NAMES, strict=True))).with_columns(source_row=pl.col("Row").cast(pl.Int64))
    event = {
        "kind": "orders", "source": one.source, "digest": one.digest, "file_name": one.file_name or one.folder, "at": one.at,
        "notes": "Recovered without the file.", "readable": int(answer.is_readable or not one.files), "folder": one.folder,
        "delivered": 1,
    }  # fmt: skip
    return from_answer_alone(event, found, answer, rejected)


# -- a file that was placed and not answered ---------------------------------------------------------------------------


def _dropped(run: Run, one: Submission) -> InboxFile | None:
    """The file in the inbox of which a placement file was written before the run died that was to answer it."""
    for file in inbox.list_files(run.settings.inbox):
        stem = folder_stem(one.at, display_name(file.path.name))
        if file.source == one.source and not file.is_trial and one.folder.partition("~")[0] == stem:
            return file
    return None


def _from_inbox(recovery_: Recovery, one: Submission, dropped: InboxFile) -> IngestBatch | None:
    """What the file enters with the codes that were placed, to be answered by the next run; None when it would place other
    orders than the placement file has.
    """
    run = _at(recovery_.run, one.at)
    file = _order_file(recovery_, one, dropped.path.name, dropped.path.read_bytes(), None)
    batch = build_batch([file], run.settings.max_quantity, run.settings.max_findings).subset([file])
    facts = load_facts(batch, run.registry, run.settings, run.runtime)
    decision = decide(batch, facts, run.runtime.random_bytes)
    sequence = pl.col("order_id").str.extract(r"-(\d+)$").cast(pl.Int64)
    placed = _placement(one)
    ids = placed.select("order_id", "account", "action").unique().sort("account", sequence)
    accepted = decision.ingest.orders.sort("order").with_columns(place=pl.int_range(pl.len()).over("account"))
    matched = accepted.join(
        ids.with_columns(place=pl.int_range(pl.len()).over("account")), on=["account", "place", "action"], how="inner"
    )
    counts = placed.group_by("order_id").agg(placed=pl.len().cast(pl.Int64))
    is_same = matched.join(counts, on="order_id").select((pl.col("cards") == pl.col("placed")).all()).item()
    if not (len(matched) == len(accepted) == len(ids)) or not is_same:
        return None
    codes = matched.select("order", "order_id").join(placed, on="order_id").select(
        "order", "action", pl.col("code").cast(pl.Int64)
    )  # fmt: skip
    issues = pl.col("action").is_in(actions.issuing())
    given = accepted.join(matched.select("order", "order_id"), on="order").drop("place")
    return decision.ingest._replace(
        events=decision.ingest.events.with_columns(folder=pl.lit(one.folder), delivered=pl.lit(0)),
        orders=given,
        codes=codes.filter(issues).select("order", "code"),
        card_actions=codes.filter(~issues).select("order", "code"),
    )


# -- reports -----------------------------------------------------------------------------------------------------------


def enter_report_group(recovery_: Recovery, at: str, folders: list[Folder], used_codes: set[str]) -> None:
    """Enter reports that one night took together. `used_codes`: those that this night released or refused, so that a report
    which shows them was used, whatever the limits say.
    """
    with entering(recovery_, ", ".join(f"outbox/{NETWORK}/{folder.name}" for folder in folders)):
        _enter_reports(recovery_, at, folders, used_codes)


def _enter_reports(recovery_: Recovery, at: str, folders: list[Folder], used_codes: set[str]) -> None:
    run, result = _at(recovery_.run, at), recovery_.result
    reports = [report for folder in folders if (report := _report(recovery_, folder))]
    copies = [report.copy.digest for report in reports if report.copy.file.path.name.startswith("approved-")]
    if copies:
        with run.registry.transaction():
            recovery.approved_copies(run.registry, pl.Series(copies), at)
    held = reconcile_network.would_hold(run, reports)
    used = [report for number, report in enumerate(reports) if number in held and used_codes & set(report.rows["code"])]
    normal = [report for report in reports if report not in used]
    entered = enter_reports(run, normal) if normal else {}
    if used:
        settings = run.settings.model_copy(update=_UNLIMITED)
        approved = enter_reports(run._replace(settings=settings), used)
        words = {event: held[reports.index(report)] for event, report in approved.items()}
        entered |= approved
        with run.registry.transaction():
            recovery.approve_used(run.registry, words, at)
    for number, report in enumerate(reports):
        if number in held:
            what = (
                "a report over the limits was used, so it counts as approved"
                if report in used
                else ("a report is on hold; what was decided about it is lost")
            )
            result.find(what, f"outbox/{NETWORK}/{report.folder}", "Look at it: cards holds.")
    with run.registry.transaction():
        files = {report.folder: event for event, report in entered.items()}
        noted = [digests(files[folder.name], folder.files.items()) for folder in folders if folder.name in files]
        note_files(run.registry, as_frame([one for each in noted for one in each]))
    result.reports += len(reports)
    run.runtime.checkpoint("recovered")


def _report(recovery_: Recovery, folder: Folder) -> ReportAtHand | None:
    """A report as it was when it came."""
    original = original_of(folder.files)
    if original is None:
        recovery_.result.find("the original of a report is missing", f"outbox/{NETWORK}/{folder.name}",
                              "What it said is entered as far as nights have released or refused codes for it. Ask the "
                              "network for another one.")  # fmt: skip
        return None
    name, content = original
    mtime = next(found.mtime_ns for each, found in folder.files.items() if each.removeprefix(_ORIGINAL) == name or each == name)
    dropped = InboxFile(NETWORK, recovery_.run.settings.inbox / NETWORK / name, len(content), mtime, -1, -1)
    copy = PrivateCopy(dropped, Path(), sha256(content).hexdigest(), len(content))
    reasons = csv_rows(folder.files.get("rejections.csv"), ["Reason"])["Reason"]
    table = reconcile_network.SET_ASIDE if "FILE_SET_ASIDE" in set(reasons) else _table(recovery_, content)
    return ReportAtHand(copy, table, *validate_report(table), folder.name)


def _table(recovery_: Recovery, content: bytes) -> Table:
    return read(content, recovery_.parser, recovery_.run.settings, network.NAMES, network.BY_HEADER)
