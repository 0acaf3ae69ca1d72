"""The command that states a month: `cards statement`."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Final

import typer

from pipelines import completion
from pipelines.cli_helpers import AsJson, exit_on, failure_lines, open_cli_run

_SHOWN: Final = ("reseller", "orders_placed", "cards_placed", "opening", "added", "gone", "closing", "workbook")


def statement(
    month: Annotated[str, typer.Option(metavar="MONTH", help="The month, as 2026-10; also one that is not over.")],
    reseller: Annotated[
        str, typer.Option(help="Only this reseller's statement; everyone's if left out.", autocompletion=completion.resellers)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write the statement of a month: for each reseller into its outbox, and one of all resellers for you.

    The first night of a month does this by itself for the month before. A month goes on until a night of a later one has run;
    until then its statement is called “so far”.
    """
    from pipelines import console
    from pipelines.admin import statements

    with open_cli_run(changes=True) as opened:
        done = statements.state(opened, month, reseller)
    found = asdict(done) | {"failures": failure_lines(done.failures)}
    if as_json:
        console.print_json(found)
    else:
        rows = found.pop("statements")
        console.print_key_values({name: value for name, value in found.items() if name != "failures"})
        console.print_table("Statements", [{name.replace("_", " "): row[name] for name in _SHOWN} for row in rows])
    exit_on(done.failures)


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "cards statement --month 2026-10; cards statement --month 2026-10 --reseller acme": statement,
}
"""Each command with an example of it."""
