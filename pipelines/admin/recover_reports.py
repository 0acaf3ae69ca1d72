"""Enter network reports that the outbox has and a restored registry lacks."""

from hashlib import sha256
from pathlib import Path
from typing import Final

import polars as pl

from pipelines import reconcile_network
from pipelines.admin.outbox_reading import Folder, csv_rows, digests, original_of
from pipelines.admin.recovery_state import Recovery, at_time, entering
from pipelines.delivery.written_files import as_frame
from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import Table, read
from pipelines.reconcile_network import ReportAtHand, enter_reports
from pipelines.reconciliation.matching import validate_report
from pipelines.registry import recovery
from pipelines.registry.outbox_files import note_files
from schemas import network
from schemas.sources import NETWORK

_UNLIMITED: Final = {"report_max_refused": 1.0, "report_max_external": 10**12}
_ORIGINAL: Final = "original-"


def enter_report_group(recovery_: Recovery, at: str, folders: list[Folder], used_codes: set[str]) -> None:
    """Enter reports that one night took together. `used_codes`: those that this night released or refused, so that a report
    which shows them was used, whatever the limits say.
    """
    with entering(recovery_, ", ".join(f"outbox/{NETWORK}/{folder.name}" for folder in folders)):
        _enter_reports(recovery_, at, folders, used_codes)


def _enter_reports(recovery_: Recovery, at: str, folders: list[Folder], used_codes: set[str]) -> None:
    run, result = at_time(recovery_.run, at), recovery_.result
    reports = [report for folder in folders if (report := _report(recovery_, folder))]
    copies = [report.copy.digest for report in reports if report.copy.file.path.name.startswith("approved-")]
    if copies:
        with run.registry.transaction():
            recovery.approved_copies(run.registry, pl.Series(copies), at)
    on_hold = reconcile_network.would_hold(run, reports)
    used = [report for number, report in enumerate(reports) if number in on_hold and used_codes & set(report.rows["code"])]
    normal = [report for report in reports if report not in used]
    entered = enter_reports(run, normal) if normal else {}
    if used:
        settings = run.settings.model_copy(update=_UNLIMITED)
        approved = enter_reports(run._replace(settings=settings), used)
        words = {event: on_hold[reports.index(report)] for event, report in approved.items()}
        entered |= approved
        with run.registry.transaction():
            recovery.approve_used(run.registry, words, at)
    for number, report in enumerate(reports):
        if number in on_hold:
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
