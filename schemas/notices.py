"""The table of notices: everything that is worth telling, and to whom. A new kind is one new row here.

Kinds stand in the order of their urgency, in which a message lists them.
"""

from enum import StrEnum
from typing import Final, NamedTuple

OPERATOR: Final = ""
"""The recipient that is not a reseller."""
ADDRESS: Final = r"^([a-z][a-z0-9]*://\S+|[^@\s/:]+@[^@\s/:]+)$"
"""What an address looks like: of Apprise, or of mail."""


class NoticeKind(StrEnum):
    """What kind of thing a notice is about."""

    REGISTRY_UNREACHABLE = "registry out of reach"
    REGISTRY_BACK = "registry back"
    NIGHT_FAILED = "night failed"
    NIGHT_MISSING = "night did not run"
    DISK_NEARLY_FULL = "disk nearly full"
    VERIFY_FINDING = "verify finding"
    ANSWER_LATE = "answer not delivered"
    REPORT_REJECTED = "report rejected"
    REPORT_ON_HOLD = "report on hold"
    NO_REPORT = "no report"
    ORDERS_OVERDUE = "orders overdue"
    ORDER_ON_HOLD = "order on hold"
    RESELLER_ON_HOLD = "reseller on hold"
    OVER_QUOTA = "over quota"
    BTN_NEARLY_FULL = "BTN nearly full"
    FILE_REJECTED = "file with rejections"
    RELEASE_READY = "release ready"
    OUTCOME_READY = "outcome ready"
    FILE_ANSWERED = "file answered"


class Kind(NamedTuple):
    """A row of the table: how several of the kind are called, who is notified, and when."""

    many: str
    recipients: str
    when: str


_BOTH: Final = "operator, reseller"
_OPERATOR: Final = "operator"

KINDS: Final[dict[NoticeKind, Kind]] = {
    NoticeKind.REGISTRY_UNREACHABLE: Kind(
        "registries out of reach", _OPERATOR, "the registry can't be reached for five minutes; once per outage"
    ),
    NoticeKind.REGISTRY_BACK: Kind(
        "registries back", _OPERATOR, "it can be reached again, if people were notified of the outage"
    ),
    NoticeKind.NIGHT_FAILED: Kind(
        "nights failed", _OPERATOR, "a night ended with an error, or could not write all of its files; once per date and error"
    ),
    NoticeKind.NIGHT_MISSING: Kind(
        "nights did not run", _OPERATOR, "no night for 26 hours, though an order awaits the network for as long; once a day"
    ),
    NoticeKind.DISK_NEARLY_FULL: Kind(
        "disks nearly full", _OPERATOR, "less than 5 % or 1 GB is free where the home is; once a day"
    ),
    NoticeKind.VERIFY_FINDING: Kind("verify findings", _OPERATOR, "`cards verify` found problems; the same ones once a day"),
    NoticeKind.ANSWER_LATE: Kind(
        "answers not delivered", _OPERATOR, "what was committed for a file or a night is not written after ten minutes"
    ),
    NoticeKind.REPORT_REJECTED: Kind("reports rejected", _OPERATOR, "a network report can't be used"),
    NoticeKind.REPORT_ON_HOLD: Kind("reports on hold", _OPERATOR, "a network report waits for approval"),
    NoticeKind.NO_REPORT: Kind(
        "nights without a report", _OPERATOR, "a night had no report for 24 hours, though orders await one"
    ),
    NoticeKind.ORDERS_OVERDUE: Kind("nights with overdue orders", _OPERATOR, "a night left orders that are overdue"),
    NoticeKind.ORDER_ON_HOLD: Kind("orders on hold", _BOTH, "an order waits for approval"),
    NoticeKind.RESELLER_ON_HOLD: Kind("resellers on hold", _BOTH, "a reseller was put on hold for asking for taken codes"),
    NoticeKind.OVER_QUOTA: Kind("resellers over quota", _BOTH, "a reseller has used up a budget of the day; once a day"),
    NoticeKind.BTN_NEARLY_FULL: Kind(
        "BTNs nearly full", _BOTH, "fewer than 1,000 PINs of a BTN are left; once per BTN, also to the reseller that owns it"
    ),
    NoticeKind.FILE_REJECTED: Kind("files with rejections", _BOTH, "an order file was answered, and rows of it were rejected"),
    NoticeKind.RELEASE_READY: Kind("releases ready", _BOTH, "a night wrote release files"),
    NoticeKind.OUTCOME_READY: Kind("outcomes ready", _BOTH, "a night wrote outcome files"),
    NoticeKind.FILE_ANSWERED: Kind("files answered", "reseller", "an order file was answered without rejections"),
}
