"""What the shell offers after the Tab key: names of resellers and Order IDs. Whatever goes wrong, it offers nothing."""

import re
from contextlib import suppress
from typing import Final

_MOST: Final = 50


def resellers(incomplete: str) -> list[str]:
    """Resellers that begin so: those of the catalogue, and those that have an inbox folder."""
    found: set[str] = set()
    with suppress(Exception):  # also a wrong setting
        from pipelines.common.settings import load_settings
        from schemas.sources import RESELLER, RESERVED

        settings = load_settings()
        folders = {folder.name for folder in settings.inbox.glob("*/") if re.fullmatch(RESELLER, folder.name)}
        found |= folders - set(RESERVED)
        found |= _in_catalogue()
    return sorted(name for name in found if name.startswith(incomplete))


def _in_catalogue() -> set[str]:
    from pipelines.cli_helpers import open_cli_run

    with open_cli_run() as run:
        return set(run.registry.catalogue()[0]["reseller"])


def order_ids(incomplete: str) -> list[str]:
    """The newest Order IDs that begin so."""
    if not re.fullmatch(r"[0-9-]*", incomplete):
        return []
    with suppress(Exception):
        from pipelines.cli_helpers import open_cli_run
        from pipelines.registry import queries

        with open_cli_run() as run:
            return queries.order_ids(run.registry, incomplete, _MOST)
    return []
