"""What `cards verify` finds, and what `cards repair` can do about it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pipelines.admin.audit_archives import Archives
from pipelines.common.settings import Settings
from pipelines.registry.store import Registry


class RepairAction(StrEnum):
    """What `cards repair --apply` does about a finding. None of them changes what was issued."""

    REWRITE = "write again"
    """A submission or a night (target: the number of its event) from the registry."""
    INDEX = "complete the index"
    """`index.csv` of a reseller (target)."""
    RESTRICT = "restrict access"
    """A file or folder (target) to what CARDS_SHARE says."""
    REMOVE = "remove"
    """What a killed run left (target)."""
    MAKE_INDEX = "make the index"
    """An index of the database (target)."""
    FINISH = "finish"
    """What a killed run left to be delivered."""


@dataclass(frozen=True)
class Repair:
    """What can be done about a finding without harm, and to what."""

    action: RepairAction
    target: str


@dataclass(frozen=True)
class Finding:
    """A problem: what is wrong, where, and how to fix it. It never names a code. `repair`: what `cards repair` can do."""

    what: str
    where: str
    fix: str
    repair: Repair | None = None


class Check(NamedTuple):
    """What a verification works with. `full`: it reads files, instead of looking whether they are there."""

    settings: Settings
    registry: Registry
    full: bool
    archives: Archives
