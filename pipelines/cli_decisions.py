"""The commands by which the operator decides: about reports and orders on hold, and surplus cards."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from pipelines import completion
from pipelines.cli_helpers import AsJson, open_cli_run, submission_row
from pipelines.common import errors
from pipelines.common.words import count

_BY: Final = typer.Option("--by", metavar="NAME", help="Who decides.")
_WHY: Final = typer.Option("--why", metavar="TEXT", help="Why; it is kept for good.")
_ON_HOLD: Final = typer.Argument(metavar="ID", help="The hold of an order (H12) or the folder of a report, as in cards holds.")


def approve(
    what: Annotated[str, _ON_HOLD], by: Annotated[str, _BY], why: Annotated[str, _WHY], as_json: AsJson = False
) -> None:
    """Approve an order on hold, which is placed now, or a network report on hold, which the next night uses."""
    from pipelines.admin import approvals

    with open_cli_run(changes=True) as opened:
        done = approvals.approve(opened, what, by, why)
    later = "" if done.hold else " It is back in inbox/network; the next night uses it."
    _print(done, as_json, f"{done.hold or done.folder} is approved.{later}")


def reject(what: Annotated[str, _ON_HOLD], by: Annotated[str, _BY], why: Annotated[str, _WHY], as_json: AsJson = False) -> None:
    """Reject an order on hold, which is then never placed, or a network report on hold, which is then never used."""
    from pipelines.admin import approvals

    with open_cli_run(changes=True) as opened:
        done = approvals.reject(opened, what, by, why)
    later = "" if done.hold else " Its orders wait for another report."
    _print(done, as_json, f"{done.hold or done.folder} is rejected.{later}")


def surplus(
    order: Annotated[
        str, typer.Argument(metavar="[ORDER_ID]", help="Just this order.", autocompletion=completion.order_ids)
    ] = "",
    disconnect: Annotated[bool, typer.Option("--disconnect", help="Place a Disconnect order for the surplus cards.")] = False,
    grant: Annotated[bool, typer.Option("--grant", help="Let the order have them: the next night releases them.")] = False,
    by: Annotated[str, _BY] = "",
    why: Annotated[str, _WHY] = "",
    as_json: AsJson = False,
) -> None:
    """Show the cards that the network has beyond what was ordered; disconnect them, or grant them to their order."""
    from pipelines import console
    from pipelines.admin import surplus as surplus_cards

    if grant and (disconnect or not order):
        raise errors.UsageError("--grant takes an Order ID, and no --disconnect.")
    with open_cli_run(changes=grant or disconnect) as opened:
        if grant:
            granted = surplus_cards.grant(opened, order, by, why)
            console.print_line(f"{count(granted, 'card is', 'cards are')} granted to {order}; the next night releases them.")
            return
        if disconnect:
            dropped = surplus_cards.disconnect(opened, order)
            console.print_line(
                f"{dropped[0]} orders the Disconnect of {count(dropped[1], 'card')}. It is processed with the inbox: cards run."
                if dropped else "There is no surplus card to disconnect."
            )  # fmt: skip
            return
        orders = [asdict(one) for one in surplus_cards.surplus_orders(opened, order)]
    if as_json:
        console.print_json({"orders": orders})
    else:
        console.print_table("Surplus cards", [{**one, "serials": _few(one["serials"])} for one in orders])


def _few(serials: list[str]) -> str:
    more = len(serials) - 3
    return ", ".join(serials[:3]) + (f" and {more} more" if more > 0 else "")


def _print(decision: Any, as_json: bool, line: str) -> None:
    from pipelines import console

    if as_json:
        console.print_json(asdict(decision))
        return
    console.print_line(line)
    if decision.results:
        console.print_table("Answered again", [submission_row(one) for one in decision.results])


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    'cards approve H12 --by Ana --why "Ben called"; cards approve 20261125-020000-report --by Ana --why "It is right"': approve,
    'cards reject 20261125-020000-report --by Ana --why "It was last month\'s report"': reject,
    "cards surplus; cards surplus --disconnect": surplus,
}
"""Each command with an example of it."""
