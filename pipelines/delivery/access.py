"""Who may read what is delivered."""

from pipelines.common.durable_files import ACL, GROUP, PRIVATE, Access, has_default_acl
from pipelines.common.settings import Settings
from schemas.sources import RESERVED


def access_for(settings: Settings, source: str) -> Access:
    """Who may read the answers of a source: with CARDS_SHARE=group also the group of a reseller's
    outbox folder, and always whom the folder's default ACL names.
    """
    if source in RESERVED:
        return PRIVATE
    if settings.share == "group":
        return GROUP
    return ACL if has_default_acl(settings.outbox / source) else PRIVATE
