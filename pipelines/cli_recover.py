"""The command that enters what a registry lost that was restored from a backup."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from pipelines.cli_helpers import AsJson, document, open_cli_run


def recover(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be entered, and enter nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enter what the outbox has and the registry lacks, after it was restored from a backup.

    Until then, commands that issue or change anything refuse to run. Safe to repeat: what is in the registry stays as it is.
    """
    from pipelines import console
    from pipelines.admin import recover as job

    with open_cli_run(quiet=as_json) as opened:
        result = job.recover(opened, dry_run=dry_run)
    if as_json:
        console.print_json(document(result))
        return
    figures: dict[str, Any] = {name: value for name, value in asdict(result).items() if name not in ("dry_run", "findings")}
    console.print_line("What would be entered:" if dry_run else "Entered:")
    console.print_key_values(figures)
    if result.findings:
        console.print_table("To look at", document(result)["findings"])


COMMANDS: Final[dict[str, Callable[..., None]]] = {"cards recover --dry-run; cards recover": recover}
"""Each command with an example of it."""
