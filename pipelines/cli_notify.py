"""The commands of `cards notify`: whether channels accept messages, and what waits for them."""

from typing import Annotated

import typer

from pipelines import completion
from pipelines.cli_helpers import AsJson, open_cli_run
from pipelines.common import errors

app = typer.Typer(no_args_is_help=True, help="Look after the channels through which people are notified.")


@app.command("test", epilog="Example: cards notify test; cards notify test --reseller acme")
def send_tests(
    reseller: Annotated[
        str, typer.Option(help="The channels of this reseller instead of the operator's.", autocompletion=completion.resellers)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send a test message to each channel and say whether it was accepted. Exit code 1 if one was not."""
    from pipelines import console
    from pipelines.notify import notifying

    with open_cli_run() as opened:
        rows = notifying.send_tests(opened, reseller)
    if not rows:
        raise errors.UsageError(
            f"{reseller} has no channels: fill in the column Notify of its rows in the catalogue." if reseller
            else "There are no channels: set CARDS_NOTIFY."
        )  # fmt: skip
    if as_json:
        console.print_json({"channels": rows})
    else:
        console.print_table("Channels", rows)
    if not all(row["accepted"] for row in rows):
        raise typer.Exit(1)


@app.command("list", epilog="Example: cards notify list")
def list_waiting(as_json: AsJson = False) -> None:
    """List what waits for channels: how many notices, since when, how often they were tried."""
    from pipelines import console
    from pipelines.notify import notifying

    with open_cli_run() as opened:
        rows = notifying.waiting(opened)
    if as_json:
        console.print_json({"waiting": rows})
    elif rows:
        console.print_table("Waiting", rows)
    else:
        console.print_line("Nothing waits to be sent.")
