"""The command that shows the audit trail: who did what, and when."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Final

import typer

from pipelines.cli_helpers import AsJson, open_cli_run
from pipelines.cli_lists import PAGE, Since
from pipelines.common import errors


def audit(
    since: Since = "",
    until: Annotated[str, typer.Option(help="Only before this time: 2026-11-25, or 2026-11-25T09:30.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many entries, the newest ones.")] = PAGE,
    json_lines: Annotated[
        bool,
        typer.Option("--json-lines", help="Print all entries, oldest first, each as a JSON document on a line of its own."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show who did what: files and nights, what people decided, loads of the catalogue, imports, exports, archives."""
    from pipelines import console
    from pipelines.admin import trail

    if json_lines and as_json:
        raise errors.UsageError("Choose one of --json and --json-lines.")
    with open_cli_run() as opened:
        if json_lines:
            for entry in trail.entries(opened, since, until):
                console.print_json_line(asdict(entry))
            return
        found = trail.trail(opened, since, until, limit)
    if as_json:
        console.print_json(asdict(found))
        return
    console.print_table("Audit trail", [asdict(entry) for entry in found.entries])
    if found.more:
        console.print_line(f"There are earlier entries. See: cards audit --until {found.entries[-1].at[:19]}, or --json-lines.")


COMMANDS: Final[dict[str, Callable[..., None]]] = {"cards audit --since 2026-11-24": audit}
"""Each command with an example of it."""
