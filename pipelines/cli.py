"""The command line: `cards`. Libraries are imported in the commands that need them, so that it starts at once."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.common import errors
from pipelines.common.masking import mask_codes, mask_document

app = typer.Typer(
    name="cards",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns resellers' order files into calling-card authorization codes, each issued once, ever.",
)
catalog = typer.Typer(no_args_is_help=True, help="The catalogue of accounts and access numbers.")
codes = typer.Typer(no_args_is_help=True, help="Codes that exist already.")
app.add_typer(catalog, name="catalog")
app.add_typer(codes, name="registry")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Shown = Annotated[bool, typer.Option("--show-codes", help="Show codes in full instead of 1234••••••7890.")]


@app.command(epilog="Example: cards run --json")
def run(as_json: Json = False) -> None:
    """Answer every order file that is ready in the inbox, now and in this process."""
    from pipelines import console
    from pipelines.process_orders import process_inbox

    with _run(quiet=as_json) as run:
        done = process_inbox(run)
    if as_json:
        console.print_json({"submissions": [asdict(one) for one in done.results], "failures": _lines(done.failures)})
    else:
        console.print_table("Submissions", mask_document([_summary(one) for one in done.results]))
    _exit_on(done.failures)


@app.command(epilog="Example: cards reconcile --json")
def reconcile(as_json: Json = False) -> None:
    """Compare what was placed with the network's order-ID reports: release, refuse, replace, and write the workbook."""
    from pipelines import console, reconcile_network

    with _run(quiet=as_json) as run:
        night = reconcile_network.reconcile(run)
    figures = asdict(night.figures) if night.figures else {"already_running": True}
    if as_json:
        reports = [asdict(one) for one in night.reports]
        console.print_json({"night": night.night, "reports": reports, **figures, "failures": _lines(night.failures)})
    elif night.already_running:
        print("Another reconciliation is already running; nothing to do.")
    else:
        reports = [{**asdict(one), "reasons": console.format_reasons(one.reasons)} for one in night.reports]
        console.print_table("Reports", mask_document(reports))
        console.print_key_values({"night": night.night, **figures})
    _exit_on(night.failures)


@app.command(epilog="Example: cards serve")
def serve() -> None:
    """Answer order files seconds after they are dropped, and run the night at 02:00, until Ctrl-C or SIGTERM.

    Uses the Prefect server at PREFECT_API_URL, or brings up one of its own.
    """
    # the runs' own logs are on Prefect's page; here each is one line
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL"}
    os.environ |= {**quiet, "PREFECT_CLIENT_MAX_RETRIES": "3", **os.environ}
    from pipelines.serving import watcher

    stop = watcher.until_signal()  # before Prefect is imported, which takes seconds
    from pipelines.serving import loop

    loop.serve(stop)


def _summary(result: Any) -> dict[str, Any]:
    from pipelines import console

    return {"reseller": result.reseller, "file": result.file, "placed": result.orders_placed,
            "already": result.orders_already_placed, "rejected": result.orders_rejected, "codes": result.codes_placed,
            "reasons (rows)": console.format_reasons(result.reasons), "folder": result.folder}  # fmt: skip


@app.command(epilog="Example: cards check october.xlsx --reseller acme")
def check(
    file: Path,
    reseller: Annotated[str, typer.Option(help="Whose file it is; the house's own when left out.")] = "",
    as_json: Json = False,
    show_codes: Shown = False,
) -> None:
    """Show every reason for which a file, or a part of it, would be rejected. Nothing is placed."""
    from pipelines import console, process_orders

    with _run(quiet=True) as run:
        result = asdict(process_orders.check(file, reseller, run))
    if not show_codes:
        result["findings"] = [{key: mask_codes(str(text)) if key in ("value", "what_to_fix") else text
                               for key, text in finding.items()} for finding in result["findings"]]  # fmt: skip
    if as_json:
        console.print_json(result)
    else:
        print(f"{result['file']}: {result['rows']} rows; {result['orders_placed']} orders can be placed, "
              f"{result['orders_already_placed']} are already placed, "
              f"{result['orders_rejected']} would be rejected.")  # fmt: skip
        console.print_table("Reasons", result["findings"])


@app.command(epilog="Example: cards template --reseller acme orders.xlsx")
def template(
    file: Annotated[Path, typer.Argument(help="The workbook to write.")] = Path("orders.xlsx"),
    reseller: Annotated[str, typer.Option(help="Whose accounts it offers; everybody's when left out.")] = "",
) -> None:
    """Write an order workbook to fill in, with drop-downs from the catalogue."""
    from pipelines.common.settings import load_settings
    from pipelines.excel.order_template import write_template

    with _registry(load_settings()) as registry:
        accounts, access_numbers = registry.catalogue()
        write_template(file, accounts, access_numbers, reseller)
    print(f"{file} is written. Fill in its sheet Orders and drop it into inbox/{reseller}".rstrip("/") + ".")


@app.command(epilog="Example: cards order 10023456-1 --show-codes")
def order(order_id: str, as_json: Json = False, show_codes: Shown = False) -> None:
    """Tell an order and the state of each of its codes (the order-ID report)."""
    from pipelines import console
    from pipelines.admin import queries
    from pipelines.common.settings import load_settings

    with _registry(load_settings()) as registry:
        told = mask_document(queries.order(order_id, registry), shown=show_codes)
    if as_json:
        console.print_json(told)
    else:
        codes, counts = told.pop("codes"), told.pop("counts")
        console.print_key_values({**told, **counts})
        console.print_table("Codes", codes)


@app.command(epilog="Example: cards status 10023456-1; cards status 800-860-4444")
def status(
    asked: Annotated[str, typer.Argument(help="A code, Order ID, Customer Order ID, BTN or access number.")],
    as_json: Json = False,
    show_codes: Shown = False,
) -> None:
    """Tell the cards with this code, Order ID, Customer Order ID, BTN or access number; of a code its history too."""
    from pipelines import console
    from pipelines.admin import queries
    from pipelines.common.settings import load_settings

    with _registry(load_settings()) as registry:
        told = mask_document(queries.status(asked, registry), shown=show_codes)
    if as_json:
        console.print_json(told)
    else:
        console.print_table("Cards", told["cards"])
        if "history" in told:
            console.print_table("History", told["history"])


@app.command(epilog="Example: cards capacity 303-555-0142 3035550555")
def capacity(
    btns: Annotated[list[str] | None, typer.Argument(help="Billing telephone numbers.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with a BTN a line.")] = None,
    as_json: Json = False,
) -> None:
    """Tell how many PINs of each BTN are free, in use, burnt and impossible by the number rule."""
    from pipelines import console
    from pipelines.admin import queries
    from pipelines.common.settings import load_settings

    asked = [*(btns or []), *(queries.btns_of(file) if file else [])]
    if not asked:
        raise errors.UsageError("Name at least one BTN, or a file of them with --file.")
    with _registry(load_settings()) as registry:
        told = queries.capacity(asked, registry)
    if as_json:
        console.print_json({"btns": told})
    else:
        console.print_table("PINs", told)


@app.command(epilog="Example: cards report outbox/acme/20261005-093000-october")
def report(submission: str, as_json: Json = False) -> None:
    """Write every report of a submission again, from the registry."""
    from pipelines import console
    from pipelines.admin import queries
    from pipelines.delivery import recovery

    with _run(quiet=True) as run:
        folder = recovery.rewrite_submission(run, queries.submission(submission, run.registry)["event"])
    files = sorted(path.name for path in folder.iterdir())
    if as_json:
        console.print_json({"folder": str(folder), "files": files})
    else:
        print(f"{folder} holds {', '.join(files)}.")


@app.command(epilog="Example: cards verify --json")
def verify(as_json: Json = False) -> None:
    """Look whether registry, outbox and permissions agree; exit code 1 when anything is not as it should be."""
    from pipelines import console
    from pipelines.admin import audit
    from pipelines.common.settings import load_settings

    settings = load_settings()
    with _registry(settings) as registry:
        findings = audit.verify(settings, registry)
    if as_json:
        console.print_json(audit.audit_document(findings))
    else:
        console.print_table("Not as it should be", findings)
    if findings:
        raise typer.Exit(1)


@app.command("release-hold", epilog="Example: cards release-hold acme")
def release_hold(reseller: str) -> None:
    """Let a reseller go on whose files are held (FILE_HELD) because they asked for too many taken codes."""
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings

    with _registry(load_settings()) as registry:
        counted = registry.clear_hold(reseller, Runtime().timestamp())
    print(f"{reseller} can order chosen codes again." if counted else f"{reseller} was not held.")


@app.command(epilog="Example: cards demo")
def demo(home: Annotated[Path | None, typer.Option(help="A new folder for it; a temporary one when left out.")] = None) -> None:
    """Show a whole life in a scratch folder: order files with good and broken orders, and what becomes of them."""
    from pipelines.admin.demo import play

    play(home)


@catalog.command("load", epilog="Example: cards catalog load catalogue.xlsx")
def load(file: Path) -> None:
    """Replace the catalogue by a workbook with the sheets Accounts and Access Numbers."""
    from pipelines.admin.imports import load_catalogue
    from pipelines.common.settings import load_settings

    with _registry(load_settings()) as registry:
        accounts, numbers = load_catalogue(file, registry)
    print(f"{accounts} product accounts and {numbers} access numbers are loaded.")


@codes.command("import", epilog="Example: cards registry import existing-codes.parquet")
def import_existing(file: Path) -> None:
    """Enter codes that exist already (CSV or Parquet, a column Code), so that they are never issued again."""
    from pipelines import console
    from pipelines.admin import imports
    from pipelines.common.settings import load_settings

    with _registry(load_settings()) as registry, console.progress_runtime() as runtime:
        lines, new, wrong = imports.import_codes(file, registry, lambda done: runtime.progress("codes", done, done))
    print(f"{lines} lines: {new} codes are new, {lines - new - wrong} were known, {wrong} are no 14 digits and were left out.")


@contextmanager
def _run(*, quiet: bool) -> Iterator[Any]:
    """A run with the settings of the environment; it shows its progress unless it is to be quiet."""
    from pipelines import console
    from pipelines.common.settings import load_settings
    from pipelines.run import open_run

    with open_run(load_settings()) as run, console.progress_runtime(quiet=quiet) as runtime:
        yield run._replace(runtime=runtime)


def _lines(failures: Sequence[Exception]) -> list[str]:
    return [mask_codes(str(failure)) for failure in failures]


def _exit_on(failures: Sequence[Exception]) -> None:
    """End with exit code 1 when something could not be written; everything else has been done by then."""
    if failures:
        raise errors.CardsError(f"{len(failures)} could not be written; the next run writes them. {failures[0]}")


def _registry(settings: Any) -> Any:
    from pipelines.registry.store import open_registry

    return open_registry(settings.registry_url)


def main() -> None:
    """Run the command line; an error is one line on standard error, and exit code 1, or 2 for wrong usage."""
    try:
        app()
    except errors.UsageError as error:
        _end(error, 2)
    except Exception as error:
        _end(errors.to_cards_error(error), 1)


def _end(error: Exception, code: int) -> None:

    print(f"cards: {mask_codes(str(error))}", file=sys.stderr)
    sys.exit(code)
