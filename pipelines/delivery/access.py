"""Who may read what is delivered."""

from pipelines.common.durable_files import GROUP, PRIVATE, Access
from pipelines.common.settings import Settings
from schemas.sources import RESERVED


def access_for(settings: Settings, source: str) -> Access:
    """Who may read the answers of a source: with CARDS_SHARE=group also the group of a reseller's outbox folder."""
    return GROUP if settings.share == "group" and source not in RESERVED else PRIVATE
