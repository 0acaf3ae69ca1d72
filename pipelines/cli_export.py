"""The command that writes cards, with their codes, and the data for analysts into files."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from pipelines import completion
from pipelines.cli_helpers import open_cli_run
from pipelines.common import errors
from pipelines.common.words import count


def export(
    file: Annotated[Path | None, typer.Argument(help="The file to write, .parquet or .csv.", show_default=False)] = None,
    codes: Annotated[bool, typer.Option("--codes", help="With the authorization codes. Guard this file.")] = False,
    since: Annotated[str, typer.Option(metavar="DATE", help="Only orders placed on this date or later, as 2026-01-31.")] = "",
    until: Annotated[str, typer.Option(metavar="DATE", help="Only orders placed on this date or earlier.")] = "",
    reseller: Annotated[str, typer.Option(help="Only this reseller's cards.", autocompletion=completion.resellers)] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    datasets: Annotated[
        bool,
        typer.Option("--datasets", help="Write the analysts' data of past nights again instead; takes only --since."),
    ] = False,
) -> None:
    """Write all cards as they are now into a Parquet or CSV file that only you can read.

    With --datasets: write what was new of each night below outbox/reconciliation/data again, as after an upgrade.
    """
    from pipelines import console
    from pipelines.admin import export as job

    if datasets:
        if file or codes or until or reseller or force:
            raise errors.UsageError("--datasets writes into outbox/reconciliation/data, and takes --since alone.")
        with open_cli_run(quiet=False, changes=True) as opened:
            nights = job.export_datasets(opened, since)
        console.print_line(f"Wrote the data of {count(nights, 'night')}.")
        return
    if file is None:
        raise errors.UsageError("Name the file to write, as cards.parquet or cards.csv.")
    with open_cli_run(quiet=False) as opened:
        wanted = job.card_filter(opened, since, until, reseller)
        done = job.export_cards(opened, file, wanted, codes=codes, force=force)
    warning = " It holds codes: whoever has one can make calls." if codes and done.cards else ""
    console.print_line(f"Wrote {count(done.cards, 'card')} to {done.file}.{warning}")


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "cards export cards.parquet; cards export cards.csv --codes --reseller acme; cards export --datasets": export
}
"""Each command with an example of it."""
