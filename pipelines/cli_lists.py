"""The commands that ask: an order, cards, orders, submissions, resellers on hold, BTNs."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipelines import completion
from pipelines.cli_helpers import AsJson, ShowCodes, document, open_cli_run
from pipelines.common import errors
from pipelines.common.words import count

PAGE: Final = 50
_COUNTED: Final = 10_000
Limit = Annotated[
    int | None, typer.Option(min=1, help=f"How many entries; {PAGE} if left out, with --csv all.", show_default=False)
]
After = Annotated[int, typer.Option(min=0, help="Go on after this entry of the list; each page names it.", show_default=False)]
AfterName = Annotated[str, typer.Option(help="Go on after this entry of the list; each page names it.")]
Csv = Annotated[Path | None, typer.Option(help="Write the list into this CSV file instead.")]
Reseller = Annotated[str, typer.Option(help="Only this reseller's.", autocompletion=completion.resellers)]
Since = Annotated[str, typer.Option(help="Only from this time on: 2026-11-24, or 2026-11-24T09:30.")]


def order(
    order_id: Annotated[str, typer.Argument(help="An Order ID or a Customer Order ID.", autocompletion=completion.order_ids)],
    account: Annotated[str, typer.Option(help="The customer account, where several have this Customer Order ID.")] = "",
    as_json: AsJson = False,
    show_codes: ShowCodes = False,
) -> None:
    """Show an order and the state of each of its cards (the order-ID report).

    Where several orders have the Customer Order ID it lists them, and ends with exit code 1.
    """
    from pipelines import console
    from pipelines.admin import lists

    with open_cli_run() as opened:
        try:
            report = document(lists.find_order(opened, order_id, account), show_codes=show_codes)
        except lists.SeveralOrdersError as several:
            _print_list(document(several.found), _order_row, as_json=as_json)
            raise
    if as_json:
        console.print_json(report)
        return
    cards, counts = report.pop("codes"), report.pop("counts")
    console.print_key_values({**report, **counts})
    console.print_table("Cards", cards, show_codes=show_codes)


def orders(
    reseller: Reseller = "",
    state: Annotated[str, typer.Option(help="Only orders in this state: awaited or closed.")] = "",
    overdue: Annotated[bool, typer.Option("--overdue", help="Only orders that are overdue, the oldest first.")] = False,
    since: Since = "",
    access_number: Annotated[str, typer.Option(help="Only orders with this access number.")] = "",
    after: After = 0,
    limit: Limit = None,
    csv: Csv = None,
    as_json: AsJson = False,
) -> None:
    """List orders, the newest first."""
    from pipelines.admin import lists

    with open_cli_run() as opened:
        wanted = lists.order_filter(
            opened, reseller=reseller, state=state, since=since, access_number=access_number, overdue=overdue
        )
        _show(
            lambda start, most: lists.orders(opened, wanted, start, most),
            lists.order_list, _order_row, after=after, limit=limit, csv=csv, as_json=as_json,
        )  # fmt: skip


def submissions(
    reseller: Reseller = "",
    since: Since = "",
    with_rejections: Annotated[bool, typer.Option("--with-rejections", help="Only files with something rejected.")] = False,
    after: After = 0,
    limit: Limit = None,
    csv: Csv = None,
    as_json: AsJson = False,
) -> None:
    """List the order files that were answered, the newest first."""
    from pipelines.admin import lists

    with open_cli_run() as opened:
        wanted: dict[str, Any] = {"reseller": reseller, "since": since, "with_rejections": with_rejections}
        _show(
            lambda start, most: lists.submissions(opened, **wanted, after=start, limit=most),
            lists.submission_list, _submission_row, after=after, limit=limit, csv=csv, as_json=as_json,
        )  # fmt: skip


def holds(after: AfterName = "", limit: Limit = None, csv: Csv = None, as_json: AsJson = False) -> None:
    """List the resellers on hold: since when, why, and how to lift it. And the network reports and orders that wait for a
    decision.
    """
    from pipelines import console
    from pipelines.admin import approvals, lists

    with open_cli_run() as opened:
        reports, waiting = approvals.reports_on_hold(opened), approvals.orders_on_hold(opened)
        _show(
            lambda start, most: lists.holds(opened.registry, start, most),
            lambda page: lists.hold_list(page, reports, waiting), _hold_row, after=after, limit=limit, csv=csv, as_json=as_json,
        )  # fmt: skip
    if reports and not csv and not as_json:
        console.print_table("Network reports on hold", [_hold_row(asdict(report)) for report in reports])
    if waiting and not csv and not as_json:
        console.print_table("Orders that wait for approval", [_hold_row(asdict(one)) for one in waiting])


def status(
    query: Annotated[
        str,
        typer.Argument(help="A code, Order ID, Customer Order ID, BTN or access number.", autocompletion=completion.order_ids),
    ],
    limit: Annotated[int, typer.Option(min=1, help="How many cards to show.")] = PAGE,
    every: Annotated[bool, typer.Option("--all", help="Show all cards.")] = False,
    as_json: AsJson = False,
    show_codes: ShowCodes = False,
) -> None:
    """Show cards by code, Order ID, Customer Order ID, BTN or access number: how many are in each state, then the first
    cards, newest orders first; for a code, its history too.
    """
    from pipelines import console
    from pipelines.admin import queries

    with open_cli_run() as opened:
        answer = queries.status(query, opened.registry, None if every else limit)
    found = document(answer, show_codes=show_codes)
    if as_json:
        console.print_json(found)
        return
    counts = ", ".join(f"{number:,} {state}" for state, number in answer.counts.items())
    console.print_line(f"{count(answer.found, 'card')}: {counts}.")
    if not answer.complete:
        console.print_line("There are more: only cards of the newest orders were counted, about 1,000,000 of them.")
    if len(answer.cards) == 1:
        console.print_key_values(found["cards"][0], show_codes=show_codes)
    else:
        console.print_table("Cards", [_card_row(card) for card in found["cards"]], show_codes=show_codes)
    if answer.more:
        console.print_line(f"{answer.more:,} more: show them with --limit or --all.")
    if answer.history:
        console.print_table("History", found["history"])


def capacity(
    btns: Annotated[list[str] | None, typer.Argument(help="Billing telephone numbers; a list of all if left out.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with a BTN in each line.")] = None,
    after: AfterName = "",
    limit: Limit = None,
    csv: Csv = None,
    as_json: AsJson = False,
) -> None:
    """Show how many PINs of each BTN are free, in use, unavailable, and impossible by the number rule.

    Without a BTN: list those under which PINs were placed, nearly full ones first.
    """
    from pipelines import console
    from pipelines.admin import lists, queries

    numbers = [*(btns or []), *(queries.read_btns(file) if file else [])]
    if numbers and (after or limit or csv):
        raise errors.UsageError("--after, --limit and --csv are for the list of all BTNs: name none.")
    if file and not numbers:
        raise errors.UsageError(f"{file}: there is no BTN in it.")
    with open_cli_run() as opened:
        if not numbers:
            _show(
                lambda start, most: lists.btns(opened.registry, str(start), most),
                lists.btn_list, _btn_row, after=after, limit=limit, csv=csv, as_json=as_json,
            )  # fmt: skip
            return
        pins = [asdict(btn) for btn in queries.capacity(numbers, opened.registry)]
    if as_json:
        console.print_json({"btns": pins})
    else:
        console.print_table("PINs", pins)


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "cards order 10023456-1 --show-codes; cards order OCT-01 --account 10023456": order,
    "cards orders --overdue; cards orders --reseller acme --since 2026-11-24 --csv orders.csv": orders,
    "cards submissions --with-rejections --since 2026-11-24": submissions,
    "cards holds": holds,
    "cards status 10023456-1; cards status 800-860-4444 --limit 200": status,
    "cards capacity; cards capacity 303-555-0142 3035550555": capacity,
}
"""Each command with an example of it."""


def _show(
    page: Callable[[Any, int], Any],
    to_document: Callable[[Any], Any],
    row: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    after: Any,
    limit: int | None,
    csv: Path | None,
    as_json: bool,
) -> None:
    """A page of a list on the terminal or as JSON, or all of it as a CSV file."""
    from pipelines import console
    from pipelines.admin import lists

    if csv and as_json:
        raise errors.UsageError("--csv and --json: choose one of them.")
    if csv:
        written = lists.save_csv(csv, page, after, limit)
        console.print_line(f"Wrote {count(written, 'entry', 'entries')} to {csv}.")
    else:
        _print_list(document(to_document(page(after, limit or PAGE))), row, as_json=as_json)


def _print_list(found: dict[str, Any], row: Callable[[dict[str, Any]], dict[str, Any]], *, as_json: bool) -> None:
    from pipelines import console

    if as_json:
        console.print_json(found)
        return
    title = next(iter(found))
    console.print_table(_TITLES.get(title, title.capitalize()), [row(one) for one in found[title]])
    if found["more"]:
        more = f"{found['more']:,}" if found["more"] <= _COUNTED else f"More than {_COUNTED:,}"
        console.print_line(
            f"{more} more: go on with --after {found['next']}, or take a larger --limit, or all with --csv FILE."
        )
    elif not found.get("complete", True):
        console.print_line(f"This search ended after 100,000 entries. Go on with --after {found['next']}.")


_TITLES: Final = {"btns": "BTNs"}


def _order_row(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "order_id": order["order_id"], "reseller": order["reseller"], "customer order": order["customer_order_id"],
        "action": order["action"], "cards": order["cards"], "access number": order["access_number"],
        "placed": order["placed_at"][:10], "state": "overdue" if order["overdue"] else order["state"],
    }  # fmt: skip


def _submission_row(submission: dict[str, Any]) -> dict[str, Any]:
    from pipelines import console

    return {
        "reseller": submission["reseller"], "folder": submission["folder"], "placed": submission["orders_placed"],
        "already placed": submission["orders_already_placed"], "rows rejected": submission["rows_rejected"],
        "reasons (rows)": console.format_reasons(submission["reasons"]),
    }  # fmt: skip


def _hold_row(hold: dict[str, Any]) -> dict[str, Any]:
    return {**hold, "since": hold["since"][:16].replace("T", " ")}


def _btn_row(btn: dict[str, Any]) -> dict[str, Any]:
    return {**btn, "fill": f"{btn['fill']:.1%}"}


def _card_row(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "serial": card["serial"], "code": card["code"], "state": card["state"], "reseller": card["reseller"],
        "customer order": card["customer_order_id"], "access number": card["access_number"],
    }  # fmt: skip
