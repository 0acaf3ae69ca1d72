"""Enter submissions that the outbox has and a restored registry lacks."""

import io
import json
import re
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines.admin.outbox_reading import Folder, Found, Outbox, csv_rows, digests, local_time, original_of
from pipelines.admin.recovery_state import Recovery, at_time, entering
from pipelines.admin.replay import WHY
from pipelines.answering import DECIDED, note_of
from pipelines.delivery.originals import gone
from pipelines.delivery.submission import PLACEMENT
from pipelines.delivery.written_files import as_frame
from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, display_name
from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import read
from pipelines.orders.as_answered import Answer, as_answered, from_answer_alone
from pipelines.orders.batch import OrderFile, build_batch
from pipelines.orders.decision import decide
from pipelines.orders.facts import load_facts
from pipelines.orders.loading import SET_ASIDE, UNREAD, with_original_events
from pipelines.registry import recovery
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.outbox_files import note_files
from pipelines.registry.records import IngestBatch
from pipelines.registry.store import folder_stem
from pipelines.run import Run
from schemas import actions, orders
from schemas.orders import HEADERS, NAMES

_CONFIRMATION: Final = ["Order ID", "Customer Account Number", "Customer Order ID", "Action", "Authorization Code", "State"]
_KEYS: Final = ["account", "customer_order_id"]
_REPLAY: Final = re.compile("|".join(note_of("outbox/([^/<]+)/([^/<]+)", why) for why in (WHY, DECIDED)))


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


def submission_of(outbox: Outbox, folder: Folder) -> Submission:
    """What is known of a submission by its folder."""
    status = _status(folder)
    at, digest, name = (str(status.get(key, "")) for key in ("received", "sha256", "file"))
    answers = (f"{folder.source}/{folder.name}/{kind}.csv" for kind in ("confirmation", "rejections"))
    at = at or next((outbox.times[path] for path in answers if path in outbox.times), "") or local_time(outbox, folder.name)
    if not digest and (original := original_of(folder.files)):
        name, digest = display_name(original[0]), sha256(original[1]).hexdigest()
    key = (folder.source, folder.name)
    return Submission(*key, at, digest, name, folder.files, outbox.placements.get(key))


def _status(folder: Folder) -> dict[str, Any]:
    """What `status.json` says; nothing where it is not there or damaged."""
    try:
        found = json.loads(folder.files["status.json"].read())
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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


def _ingest(recovery_: Recovery, one: Submission) -> IngestBatch:
    original = original_of(one.files, one.digest)
    dropped = _dropped(recovery_.run, one) if not one.files else None
    if dropped and (found := _from_inbox(recovery_, one, dropped)):
        return found
    answer = _answer(recovery_.run, one)
    if original and (found := _from_original(recovery_, one, *original, answer)):
        return found
    if len(answer.placed) or "FILE_TOO_LARGE" not in set(answer.rejected["reason"]):  # which was not kept
        what = (
            "the original of a submission is missing or not what was answered"
            if one.files
            else "codes of an order file were placed, and the file was never answered"
        )
        fix = "Its orders and codes are entered as they were placed; what else was in the file is lost. See: cards submissions."
        recovery_.result.find(what, one.path, fix)
    return _from_answer(one, answer)


def _answer(run: Run, one: Submission) -> Answer:
    rows = csv_rows(one.files.get("confirmation.csv"), _CONFIRMATION)
    names = ["order_id", "account", "customer_order_id", "action", "code", "state"]
    rows = rows.rename(dict(zip(_CONFIRMATION, names, strict=True)))
    earlier = rows.filter(state="already placed").select("order_id").unique()
    placed = _with_placement(rows.filter(state="placed"), one) if one.files else _placed_without_answer(one)
    rejected = csv_rows(one.files.get("rejections.csv"), ["Row", "Reason"]).select(
        source_row=pl.col("Row").cast(pl.UInt32, strict=False).fill_null(0), reason=pl.col("Reason").str.split("; ")
    )
    return Answer(
        placed=placed.select(*names[:4], pl.col("code").cast(pl.Int64)),
        earlier=recovery.orders_with_ids(run.registry, earlier["order_id"]),
        rejected=rejected.explode("reason", empty_as_null=True).filter(pl.col("reason") != ""),
        is_readable="confirmation.csv" in one.files,
    )


def _with_placement(placed: pl.DataFrame, one: Submission) -> pl.DataFrame:
    """The confirmed cards, with those that only the placement file has of these orders: a confirmation may have been cut."""
    more = _placement(one).join(placed, on="code", how="anti").select("order_id", "code")
    fields = placed.select("order_id", "account", "customer_order_id", "action", "state").unique()
    return pl.concat([placed, more.join(fields, on="order_id").select(placed.columns)])


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
            notes = [*table.notes, note_of("/".join(("outbox", *replayed)), WHY)]
            return file._replace(replays=event, table=table._replace(notes=notes))
    (file,) = with_original_events([file], run.registry)
    is_new = not file.original_event or (run.registry.event_key(file.original_event) or ("",))[0] == one.at
    return file if is_new else file._replace(table=UNREAD)  # those of the same second were read together


def _replayed(one: Submission) -> tuple[str, str] | None:
    """Source and folder of the submission that this one answers again, as a remark in its workbooks says."""
    for name in ("confirmation.xlsx", "rejections.xlsx"):
        if name in one.files:
            try:
                with zipfile.ZipFile(io.BytesIO(one.files[name].read())) as book:
                    parts = [book.read(part).decode("utf-8", "ignore") for part in book.namelist() if part.endswith(".xml")]
            except zipfile.BadZipFile:  # a damaged workbook, which verify finds
                continue
            if match := next((match for part in parts if (match := _REPLAY.search(part))), None):
                return match[1] or match[3], match[2] or match[4]
    return None


def _from_original(recovery_: Recovery, one: Submission, name: str, content: bytes, answer: Answer) -> IngestBatch | None:
    """What the file enters; None when its answer has orders that the file does not have."""
    run = at_time(recovery_.run, one.at)
    file = _order_file(recovery_, one, name, content, answer)
    batch = build_batch([file], run.settings.max_quantity, run.settings.max_findings)
    if len(answer.placed.join(batch.orders, on=_KEYS, how="anti")):
        return None
    batch = batch.subset([file])
    facts = load_facts(batch, run.registry, run.settings, run.runtime)
    decision = decide(batch, facts, run.runtime.random_bytes)
    known = {"folder": one.folder, "delivered": 1, "file_name": one.file_name or display_name(name)}
    return as_answered(batch, decision, facts, answer, known)


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
    run = at_time(recovery_.run, one.at)
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
