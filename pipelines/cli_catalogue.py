"""`cards catalogue`: the workbook of accounts and access numbers. Libraries are imported in the commands that need them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli_helpers import AsJson, open_cli_run
from pipelines.common import errors
from pipelines.common.words import count

app = typer.Typer(no_args_is_help=True, help="Manage the catalogue of accounts and access numbers.")
_File = Annotated[Path, typer.Argument(help="The catalogue workbook.")]
_SHOWN = 50
_JSON_KEYS = {"account": "customer_account", "product": "product_account"}
"""As other documents call them."""


@app.command(epilog="Example: cards catalogue template catalogue.xlsx")
def template(file: Annotated[Path, typer.Argument(help="The workbook to write.")] = Path("catalogue.xlsx")) -> None:
    """Write a sample catalogue to fill in."""
    from pipelines import console
    from pipelines.admin import samples

    if file.exists():
        raise errors.UsageError(f"{file} exists already; it is never overwritten.")
    samples.write_catalogue(file)
    console.print_line(f"Wrote {file}. Put your accounts in place of the sample's, then: cards catalogue load {file}")


@app.command(epilog="Example: cards catalogue show --write catalogue-today.xlsx")
def show(
    write: Annotated[Path | None, typer.Option(help="Write it as a workbook, to be edited and loaded.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the catalogue in force."""
    from pipelines import console
    from pipelines.admin import catalogue

    with open_cli_run() as opened:
        sheets = catalogue.current_catalogue(opened.registry).shown().sheets()
        if write:
            catalogue.write_current(write, opened.registry)
    if as_json:
        shown = {title.lower().replace(" ", "_"): rows.rename(_JSON_KEYS, strict=False) for title, rows in sheets.items()}
        console.print_json({title: rows.to_dicts() for title, rows in shown.items()})
        return
    for title, rows in sheets.items():
        console.print_table(title, rows.head(_SHOWN).to_dicts())
        if len(rows) > _SHOWN:
            console.print_line(f"{len(rows) - _SHOWN:,} more rows: cards catalogue show --write FILE has them all.")
    if write:
        console.print_line(f"Wrote {write}.")


@app.command(epilog="Example: cards catalogue diff catalogue.xlsx")
def diff(file: _File, as_json: AsJson = False) -> None:
    """Show what loading a workbook would change. Loads nothing."""
    with open_cli_run() as opened:
        _print_differences(file, opened.registry, as_json=as_json)


@app.command(epilog="Example: cards catalogue load catalogue.xlsx --dry-run")
def load(
    file: _File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and show what would change; load nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Load it although it drops resellers whose orders await the network.")
    ] = False,
) -> None:
    """Replace the catalogue by a workbook with the sheets Accounts, Access Numbers and Billing Numbers."""
    from pipelines import console
    from pipelines.admin import catalogue

    errors.require_file(file)
    with open_cli_run(create=True) as opened:
        if dry_run:
            _print_differences(file, opened.registry)
            return
        loaded = catalogue.load_catalogue(file, opened.registry, opened.runtime, force=force)
    parts = [count(len(loaded.accounts), "product account"), count(len(loaded.access_numbers), "access number"),
             count(len(loaded.billing_numbers), "billing number")]  # fmt: skip
    console.print_line(f"Loaded {parts[0]}, {parts[1]} and {parts[2]}.")


def _print_differences(file: Path, registry: Any, *, as_json: bool = False) -> None:
    from pipelines import console
    from pipelines.admin import catalogue

    new = catalogue.read_catalogue(file)
    changes = [asdict(change) for change in catalogue.differences(new, registry)]
    dropped = catalogue.dropped_resellers(new, registry)
    if as_json:
        awaiting = [{"reseller": reseller, "orders": orders} for reseller, orders in dropped.items()]
        console.print_json({"changes": changes, "awaiting": awaiting})
        return
    if changes:
        rows = [{"sheet": one["sheet"], "change": one["change"], "row": _row(one["row"])} for one in changes]
        console.print_table("Changes", rows)
    else:
        console.print_line(f"{file} is the catalogue in force; loading it would change nothing.")
    for reseller, orders in dropped.items():
        waiting = count(orders, "of its orders still awaits", "of its orders still await")
        console.print_warning(
            f"{reseller} would be removed, but {waiting} the network. To load the catalogue anyway, use --force."
        )


def _row(values: dict[str, str]) -> str:
    return ", ".join(value for value in values.values() if value)
