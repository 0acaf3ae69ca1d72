"""The command line: `cards`. Libraries are imported in the commands that need them, so that it starts at once."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipelines import (
    cli_audit,
    cli_catalogue,
    cli_checks,
    cli_decisions,
    cli_export,
    cli_lists,
    cli_notify,
    cli_recover,
    cli_statement,
    completion,
)
from pipelines.cli_helpers import (
    AsJson,
    ShowCodes,
    document,
    exit_on,
    failure_lines,
    open_cli_run,
    open_job_run,
    print_version,
    print_warnings,
    report_row,
    run_app,
    submission_row,
)
from pipelines.common import errors
from pipelines.common.words import count

app = typer.Typer(name="cards", no_args_is_help=True, pretty_exceptions_enable=False)
registry = typer.Typer(no_args_is_help=True, help="Manage the registry of codes.")
app.add_typer(cli_catalogue.app, name="catalogue")
app.add_typer(cli_catalogue.app, name="catalog", hidden=True)
app.add_typer(registry, name="registry")
app.add_typer(cli_notify.app, name="notify")


@app.callback()
def cards(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn resellers' order files into calling-card authorization codes, each issued only once."""


@app.command(epilog="Example: cards init; cards init --reseller acme")
def init(
    reseller: Annotated[str, typer.Option(help="Make the folders of this reseller instead.")] = "",
    group: Annotated[str, typer.Option(help="With CARDS_SHARE=group: the group that reads this reseller's answers.")] = "",
) -> None:
    """Set up a home: folders, registry, a sample catalogue and a file of settings. Never overwrites anything."""
    from pipelines import console
    from pipelines.admin import setup
    from pipelines.common.settings import load_settings

    settings = load_settings()
    if reseller:
        with open_cli_run() as run:
            done = setup.init_reseller(settings, reseller, group)
            listed = reseller in run.registry.catalogue()[0]["reseller"]
        next_step = setup.next_step_of_reseller(settings, reseller, listed=listed)
    elif group:
        raise errors.UsageError("--group needs --reseller: whose folders is it for?")
    else:
        done = setup.init_home(settings)
        next_step = setup.next_step_of_home(settings)
    console.print_line(f"Made: {', '.join(done.made) or 'nothing'}.")
    if done.kept:
        console.print_line(f"Already there, and left as it is: {', '.join(done.kept)}.")
    console.print_line(f"Next: {next_step}")


@app.command(epilog="Example: cards run --json")
def run(as_json: AsJson = False) -> None:
    """Answer every order file that is ready in the inbox, now and in this process."""
    from pipelines import console
    from pipelines.process_orders import process_inbox

    with open_job_run("orders", quiet=as_json) as (opened, _):
        done = process_inbox(opened)
        print_warnings(opened)
    if as_json:
        submissions = [asdict(result) for result in done.results]
        console.print_json({"submissions": submissions, "failures": failure_lines(done.failures)})
    else:
        console.print_table("Submissions", [submission_row(result) for result in done.results])
    exit_on(done.failures)


@app.command(epilog="Example: cards reconcile --json")
def reconcile(as_json: AsJson = False) -> None:
    """Reconcile placed orders with the network's reports: release ready cards, replace refused ones, write the workbook."""
    from pipelines import console, reconcile_network
    from pipelines.notify.notifying import failed_nights_reported

    with open_job_run("night", quiet=as_json) as (opened, notices), failed_nights_reported(opened, notices) as failed:
        night = reconcile_network.reconcile(opened)
        failed.extend(night.failures)
    figures = asdict(night.figures) if night.figures else {"already_running": True}
    if as_json:
        reports = [asdict(report) for report in night.reports]
        failures = failure_lines(night.failures)
        console.print_json({"night": night.night, "reports": reports, **figures, "failures": failures})
    elif night.already_running:
        console.print_line("Another reconciliation is already running; nothing to do.")
    else:
        console.print_table("Reports", [report_row(report) for report in night.reports])
        console.print_key_values({"night": night.night, **figures})
    exit_on(night.failures)
    if night.figures and night.figures.reports_rejected + night.figures.reports_on_hold:
        raise typer.Exit(3)


@app.command(epilog="Example: cards serve")
def serve() -> None:
    """Answer order files seconds after they are dropped, and reconcile at 02:00, until Ctrl-C or SIGTERM.

    Uses the Prefect server at PREFECT_API_URL, or starts one of its own.
    """
    # the runs' own logs are on Prefect's page; here each is one line
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL"}
    os.environ |= {**quiet, "PREFECT_CLIENT_MAX_RETRIES": "3", **os.environ}
    from pipelines import console
    from pipelines.common.settings import load_settings
    from pipelines.notify import outage
    from pipelines.serving import watcher

    stop = watcher.until_signal()
    # a registry that is unreachable is reported before Prefect is imported and started
    with outage.watched(load_settings(), console.print_warning), open_cli_run(changes=True):
        pass
    from pipelines.serving import loop

    loop.serve(stop)


@app.command(epilog="Example: cards check october.xlsx --reseller acme")
def check(
    file: Annotated[Path, typer.Argument(help="The order file.")],
    reseller: Annotated[
        str, typer.Option(help="Whose file it is; the operator's own if left out.", autocompletion=completion.resellers)
    ] = "",
    as_json: AsJson = False,
    show_codes: ShowCodes = False,
) -> None:
    """Show every reason why a file, or a part of it, would be rejected. Places nothing."""
    from pipelines import console, process_orders

    with open_cli_run() as opened:
        result = process_orders.check(file, reseller, opened)
    if as_json:
        console.print_json(document(result, show_codes=show_codes))
        return
    console.print_line(
        f"{result.file}: {count(result.rows, 'row')}; {count(result.orders_placeable, 'order')} can be placed, "
        f"{result.orders_already_placed} already placed, {result.orders_rejected} would be rejected."
    )
    findings = [{**asdict(finding), "row": finding.row or "file"} for finding in result.findings]
    console.print_table("Reasons", findings, show_codes=show_codes)


@app.command(epilog="Example: cards template --reseller acme orders.xlsx")
def template(
    file: Annotated[Path, typer.Argument(help="The workbook to write.")] = Path("orders.xlsx"),
    reseller: Annotated[
        str, typer.Option(help="Whose accounts it offers; everyone's if left out.", autocompletion=completion.resellers)
    ] = "",
) -> None:
    """Write an order workbook to fill in, with drop-down lists from the catalogue."""
    from pipelines import console
    from pipelines.excel.order_template import write_template

    with open_cli_run() as opened:
        accounts, access_numbers = opened.registry.catalogue()
        write_template(file, accounts, access_numbers, reseller)
    console.print_line(f"Wrote {file}. Fill in its sheet Orders and drop it into inbox/{reseller}".rstrip("/") + ".")


for example, command in {
    **cli_lists.COMMANDS,
    **cli_statement.COMMANDS,
    **cli_export.COMMANDS,
    **cli_decisions.COMMANDS,
    **cli_checks.COMMANDS,
    **cli_audit.COMMANDS,
    **cli_recover.COMMANDS,
}.items():
    app.command(epilog=f"Example: {example}")(command)


@app.command(epilog="Example: cards report outbox/acme/20261005-093000-october")
def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBMISSION|NIGHT", help="Folders, as outbox/RESELLER/SUBMISSION, or dates of nights, as 2026-01-31."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write every report of submissions, network reports or nights again, from the registry.

    Archived submissions come back from their archive first.
    """
    from pipelines import console
    from pipelines.admin import reports

    with open_cli_run(changes=True) as opened:
        written = reports.write_again(opened, names)
    if as_json:
        console.print_json({"submissions": [asdict(one) for one in written]})
    else:
        for one in written:
            console.print_line(f"{one.folder} holds {', '.join(one.files)}.")


@app.command(epilog="Example: cards replay --reason PRODUCT_UNKNOWN --since 2026-10-01 --dry-run")
def replay(
    reason: Annotated[str, typer.Option(metavar="CODE", help="Submissions that were rejected for this reason.")],
    since: Annotated[str, typer.Option(metavar="DATE", help="Only those from this date on, as 2026-01-31.")] = "",
    reseller: Annotated[str, typer.Option(help="Only this reseller's.", autocompletion=completion.resellers)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of them, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer submissions again, from their originals, that were rejected because our catalogue or a rule was wrong.

    One that would be rejected as before is left as it is.
    """
    from pipelines import console
    from pipelines.admin import replay as job

    with open_cli_run(quiet=as_json, changes=not dry_run) as opened:
        done = job.replay(opened, reason, since, reseller, dry_run=dry_run)
    submissions = [asdict(one) for one in done.submissions]
    if as_json:
        console.print_json({"dry_run": dry_run, "submissions": submissions, "failures": failure_lines(done.failures)})
    else:
        rows = [{**one, "reasons": console.format_reasons(one["reasons"])} for one in submissions]
        console.print_table("Replayed", rows)
    exit_on(done.failures)


@app.command(epilog="Example: cards archive --before 2026-01-01; cards archive --before 2026-07-01 --reseller acme")
def archive(
    before: Annotated[str, typer.Option(metavar="DATE", help="Archive what is older than this date, as 2026-01-31.")],
    reseller: Annotated[
        str, typer.Option(help="Archive the submissions of this reseller only.", autocompletion=completion.resellers)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Move finished submissions, old placement files and old workbooks of nights into an archive for each month."""
    from pipelines import console
    from pipelines.admin import retention

    with open_cli_run(quiet=as_json, changes=True) as opened:
        done = retention.archive(before, reseller, opened)
    archives = [asdict(one) for one in done.archives]
    if as_json:
        console.print_json({"before": done.before, "archives": archives, "failures": failure_lines(done.failures)})
    else:
        console.print_table("Archives", archives)
    if done.failures:
        raise errors.CardsError(f"Not all could be archived; nothing is lost. {done.failures[0]}")


@app.command(epilog="Example: cards clear-hold acme")
def clear_hold(
    reseller: Annotated[
        str, typer.Argument(help="The reseller; network for its reports.", autocompletion=completion.resellers)
    ],
) -> None:
    """Lift the hold on a reseller (FILE_HELD), and let its files that were set aside (FILE_SET_ASIDE) be tried again."""
    from pipelines import console

    with open_cli_run(changes=True) as opened:
        lifted, struck = opened.registry.clear_hold(reseller, opened.runtime.timestamp(), opened.runtime.user())
    console.print_line(f"{reseller} can order chosen codes again." if lifted else f"{reseller} was not on hold.")
    if struck:
        console.print_line(f"{count(struck, 'file')} that runs died of can be dropped again.")


@app.command(epilog="Example: cards demo")
def demo(
    home: Annotated[Path | None, typer.Option(help="A new folder for it; a temporary one if left out.")] = None,
) -> None:
    """Play the whole life of order files in a scratch folder: good and broken orders, and what becomes of them."""
    from pipelines.admin.demo import play

    play(home)


@registry.command("import", epilog="Example: cards registry import existing-codes.parquet")
def import_codes(file: Annotated[Path, typer.Argument(help="A CSV or Parquet file with a column Code.")]) -> None:
    """Enter codes that already exist, so that they are never issued again."""
    from pipelines import console
    from pipelines.admin import imports

    errors.require_file(file)
    with open_cli_run(quiet=False, create=True, changes=True) as opened:
        done = imports.import_codes(file, opened.registry, opened.runtime)
    console.print_line(
        f"{count(done.lines, 'line')}: {count(done.new, 'code is', 'codes are')} new, {done.known:,} already known, "
        f"{count(done.invalid, 'line')} without 14 digits left out."
    )


def main() -> None:
    """Run the command line."""
    run_app(app)
