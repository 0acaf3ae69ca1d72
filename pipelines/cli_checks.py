"""The commands that compare registry and outbox, and repair what is safe to repair."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from pipelines.cli_helpers import AsJson, document, open_cli_run
from pipelines.common.words import count

_Quick = Annotated[
    bool,
    typer.Option("--quick/--full", help="Check only that files exist and have the right size; takes seconds."),
]
_Since = Annotated[str, typer.Option(metavar="DATE", help="Only what came on this date or later, as 2026-01-31.")]
_Sample = Annotated[int, typer.Option(metavar="N", min=0, help="Only so many files and nights, drawn at random.")]
_SHOWN: Final = 200


def verify(quick: _Quick = False, since: _Since = "", sample: _Sample = 0, as_json: AsJson = False) -> None:
    """Check that registry, outbox and permissions agree. Exit code 1 if there is a problem."""
    from pipelines import console
    from pipelines.admin import audit
    from pipelines.notify import events, notifying

    with open_cli_run(quiet=as_json) as opened, notifying.at_end(opened, console.print_warning) as (run, notices):
        scope = audit.scope(quick=quick, since=since, sample=sample)
        result = audit.verify(run.settings, run.registry, scope, run.runtime.progress)
        notices.extend(events.verify_findings(run.runtime.now(), [(one.what, one.where) for one in result.findings]))
    rows = [{"what": one.what, "where": one.where, "fix": one.fix} for one in result.findings]
    if as_json:
        repairs = [{**row, "repair": str(one.repair.action) if one.repair else ""}
                   for row, one in zip(rows, result.findings, strict=True)]  # fmt: skip
        console.print_json({"sound": result.sound, "events_checked": result.events_checked, "findings": repairs})
    else:
        _print(rows[:_SHOWN], "Problems", len(rows))
    if not result.sound:
        raise typer.Exit(1)


def repair(
    apply: Annotated[bool, typer.Option("--apply", help="Do what is safe, instead of only saying it.")] = False,
    quick: _Quick = False,
    since: _Since = "",
    as_json: AsJson = False,
) -> None:
    """Say what to do about each problem that verify finds; with --apply do what is safe. Never changes what was issued.

    Exit code 1 if problems are left.
    """
    from pipelines import console
    from pipelines.admin import audit
    from pipelines.admin import repair as job

    with open_cli_run(quiet=as_json, changes=apply) as opened:
        done = job.repair(opened, audit.scope(quick=quick, since=since), apply=apply)
    if as_json:
        console.print_json(document(done))
    else:
        rows = [
            {"what": one.what, "where": one.where, "repair": one.repair, "result": one.result or one.fix}
            for one in done.findings[:_SHOWN]
        ]
        _print(rows, "Repairs", len(done.findings))
        if apply and done.findings:
            console.print_line(f"{count(done.left, 'problem is', 'problems are')} left.")
    if done.left:
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]], title: str, total: int) -> None:
    from pipelines import console

    if not rows:
        console.print_line("No problems found.")
        return
    console.print_table(title, rows)
    if total > len(rows):
        console.print_line(f"{total - len(rows):,} more: --json lists all.")


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "cards verify --quick; cards verify --since 2026-11-01; cards verify --sample 1000": verify,
    "cards repair; cards repair --apply": repair,
}
"""Each command with an example of it."""
