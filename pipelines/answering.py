"""Answering files that are loaded: decide together → commit → deliver; and answering a submission again from its original."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import polars as pl

from pipelines.common.errors import CardsError, ConflictError, to_cards_error
from pipelines.delivery import archive
from pipelines.delivery.deliver import deliver
from pipelines.delivery.originals import take_original
from pipelines.delivery.results import Delivery, Result, merge
from pipelines.intake import inbox
from pipelines.intake.private_copy import PrivateCopy, Spool
from pipelines.intake.reader import Parser
from pipelines.orders.batch import Batch, OrderFile, build_batch, first_files
from pipelines.orders.decision import Decision, decide
from pipelines.orders.facts import load_facts
from pipelines.orders.loading import UNREAD, load_copy, with_original_events
from pipelines.registry.claims import Claims, FileKey
from pipelines.registry.order_holds import decided_holds, latest_answer, note_answered
from pipelines.registry.replays import replayed
from pipelines.run import Run, open_claims

_TRIES: Final = 20
_CODES_TOGETHER: Final = 400_000
"""Files are decided together up to so many codes; one that asks for more is decided alone."""
DECIDED: Final = "because the operator has decided about an order on hold"
"""Why a submission is answered again, as its new answer says."""


class OriginalLostError(CardsError):
    """A submission can't be answered again: the file that was dropped is not in the outbox."""


def decide_and_deliver(run: Run, files: list[OrderFile]) -> Iterator[Delivery[Result]]:
    """Decide files together, commit them in one transaction, and deliver; what had to wait for it is decided again.

    The list of files is empty afterwards: what is decided is given back before its answers are written.
    """
    batch = build_batch(files, run.settings.max_quantity, run.settings.max_findings)
    files.clear()
    tries = 0
    while (batch := _still_wanted(run, batch)).files:
        events, left = _decide_and_commit(run, batch)
        tries = 0 if events else tries + 1
        if tries > _TRIES:
            raise CardsError("Other workers keep getting ahead of this one. The files stay in the inbox for the next run.")
        run.runtime.checkpoint("committed")
        batch = batch.subset([file for file in batch.files if file.number in left])
        yield deliver(run, events)


def _still_wanted(run: Run, batch: Batch) -> Batch:
    """The batch without what somebody else has answered again meanwhile."""
    wanted = [file.replays for file in batch.files if file.replays]
    done = set(replayed(run.registry, pl.Series(wanted, dtype=pl.Int64))) if wanted else set()
    return batch.subset([file for file in batch.files if file.replays not in done]) if done else batch


def _decide_and_commit(run: Run, batch: Batch) -> tuple[dict[int, PrivateCopy | None], set[int]]:
    """Decide and commit the first files of a batch; the private copy of each event, and the files that are left."""
    settings = run.settings
    first = with_original_events(first_files(batch, min(settings.max_quantity, _CODES_TOGETHER)), run.registry)
    # one that was not read, as its bytes had an answer that they get no longer, is the next run's
    now = batch.subset([file for file in first if file.original_event or file.table is not UNREAD])
    left = {file.number for file in batch.files} - {file.number for file in first}
    if not now.files:
        return {}, left
    decision = decide(now, load_facts(now, run.registry, settings, run.runtime), run.runtime.random_bytes)
    run.runtime.checkpoint("decided")
    events, waiting = _commit(run, now.files, decision)
    return events, left | waiting


def _commit(run: Run, files: list[OrderFile], decision: Decision) -> tuple[dict[int, PrivateCopy | None], set[int]]:
    """Commit all files that can be; the private copy of each event, and files that must be decided again, because they
    want what an earlier one got, or what another worker got meanwhile.
    """
    copies = {file.number: file.copy for file in files}
    replays = {file.number for file in files if file.replays}
    waiting = decision.waiting_for(decision.deferred)
    while ready := copies.keys() - waiting:
        try:
            entered = run.registry.commit(
                decision.ingest.of(ready), lambda file: file in replays or inbox.is_unchanged(copies[file].file)
            )
        except ConflictError as conflict:
            waiting = decision.waiting_for(waiting | conflict.files & ready)
        else:
            return {event: copies[file] for file, event in entered.items()}, waiting
    return {}, waiting


# -- from the original -------------------------------------------------------------------------------------------------


def answer_decided(run: Run, parser: Parser, is_asked_for: Callable[[str], bool] = lambda _: True) -> Delivery[Result]:
    """Answer again the submissions about whose orders on hold something was decided: what is approved is placed, and of what is
    rejected the reseller learns. What a run leaves, as when it dies, the next one does.
    """
    decided = decided_holds(run.registry)
    decided = decided.filter(pl.Series([is_asked_for(source) for source in decided["source"]], dtype=pl.Boolean))
    deliveries: list[Delivery[Result]] = []
    if decided.is_empty():
        return Delivery([], [])
    with Spool(run.settings.home) as spool, open_claims(run, spool.name) as claims:
        for (event,), holds in decided.partition_by("event", as_dict=True, maintain_order=True).items():
            one = latest_answer(run.registry, int(str(event)))
            try:
                if claim_submission(claims, one):
                    file = _orders_of(load_original(run, parser, spool, one), holds)
                    deliveries += answer_again(run, spool, file, one, DECIDED)
            except OriginalLostError as error:
                with run.registry.transaction():  # or every run would try it again, and fail
                    note_answered(run.registry, holds.select("hold", event=pl.lit(one["event"], pl.Int64)))
                deliveries.append(Delivery([], [error]))
            except Exception as error:  # a submission never takes another with it
                deliveries.append(Delivery([], [to_cards_error(error)]))
    return merge(deliveries)


def _orders_of(file: OrderFile, holds: pl.DataFrame) -> OrderFile:
    """The part of a file that the orders of these holds are: what became of its other orders stays as it is."""
    rows = file.table.rows.join(holds, on=["account", "customer_order_id"], how="semi", maintain_order="left")
    shown = pl.col("source_row").is_in(rows["source_row"].implode()) | (pl.col("source_row") == 0)
    table = file.table._replace(rows=rows, findings=file.table.findings.filter(shown))
    return file._replace(table=table, decided=tuple(holds["hold"]))


def claim_submission(claims: Claims, one: Mapping[str, Any]) -> bool:
    """Claim a submission (`source`, `file_name`, `event`) that is to be answered again; False while another worker has it."""
    # no file has such an inode
    key = FileKey(one["source"], one["file_name"], 0, 0, -one["event"])
    return bool(claims.claim(lambda claimed: [] if key in claimed else [key]))


def load_original(run: Run, parser: Parser, spool: Spool, one: Mapping[str, Any]) -> OrderFile:
    """The original of a submission (`event`, `source`, `file_name`, `folder`, `digest`), read again. Raises CardsError where it
    was not kept.
    """
    archive.bring_back_submission(run, one["event"])
    file = load_copy(copy_of_original(run, spool, one), parser, run.settings)
    run.runtime.checkpoint("read")
    return file


def copy_of_original(run: Run, spool: Spool, one: Mapping[str, Any]) -> PrivateCopy:
    """A private copy of the original of a submission; see `load_original`."""
    copy = take_original(run, spool, one["source"], one["folder"], one["file_name"], one["digest"])
    if copy is None:
        raise OriginalLostError(f"{submission_of(run, one)}: its original was not kept. Have it dropped again.")
    return copy


def answer_again(run: Run, spool: Spool, file: OrderFile, one: Mapping[str, Any], why: str) -> list[Delivery[Result]]:
    """Answer a submission (`event`, `source`, `folder`) again, whose original was loaded; `why` stands in the new answer."""
    spool.hold([file.copy])
    table = file.table._replace(notes=[*file.table.notes, note_of(submission_of(run, one), why)])
    deliveries = list(decide_and_deliver(run, [file._replace(table=table, replays=one["event"])]))
    spool.hold([])
    return deliveries


def note_of(submission: str, why: str) -> str:
    """The remark of the new answer of a submission that had one."""
    return f"Answers {submission} again, {why}."


def submission_of(run: Run, one: Mapping[str, Any]) -> str:
    """The folder of a submission (`source`, `folder`), below the home."""
    folder = run.settings.outbox / str(one["source"]) / str(one["folder"])
    return str(folder.relative_to(run.settings.home))
