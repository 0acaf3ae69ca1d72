"""What the commands share: options, an open run, JSON or tables, and errors as one line and an exit code.

Heavy libraries are imported inside the functions, so that `cards --help` starts at once.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from pipelines.common import errors
from pipelines.common.context import Log, Runtime
from pipelines.common.masking import mask_codes, mask_document

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
ShowCodes = Annotated[bool, typer.Option("--show-codes", help="Show codes in full instead of 303555••••••••.")]
_OBJECTS: Final = 50_000
"""So many new objects are made before the garbage collector looks at them: importing libraries makes many, which all stay."""


@contextmanager
def open_job_run(job: str, *, quiet: bool) -> Iterator[tuple[Any, list[Any]]]:
    """A run of a job (`orders`, `night`) that is logged if CARDS_LOG is set, and whose metrics are kept in CARDS_METRICS_FILE
    if that is set. People are notified at its end, also of what is added to the list of notices, and when the registry is out
    of reach.
    """
    from pipelines.common.log_events import RUN_FAILED
    from pipelines.common.settings import load_settings
    from pipelines.console import print_warning
    from pipelines.notify import notifying, outage
    from pipelines.observing.observer import observed, observer_of

    settings = load_settings()
    with observed(settings, job, Runtime(log=_warn_of_metrics), observer_of(settings)) as runtime:
        try:
            with (
                outage.watched(settings, print_warning),
                open_cli_run(quiet=quiet, changes=True) as opened,
                notifying.at_end(opened._replace(runtime=opened.runtime._replace(log=runtime.log)), print_warning) as (
                    run,
                    notices,
                ),
            ):
                yield run, notices
        except Exception as error:
            runtime.log(RUN_FAILED, error=str(errors.to_cards_error(error)))
            raise


def _warn_of_metrics(event: str, **figures: Any) -> None:
    """What is said without CARDS_LOG: nothing, as the command's result says it, but that there are no metrics."""
    from pipelines.common.log_events import NO_METRICS
    from pipelines.console import print_warning

    if event == NO_METRICS:
        print_warning(f"CARDS_METRICS_FILE was not written. {figures['error']}")


@contextmanager
def open_cli_run(*, quiet: bool = True, create: bool = False, changes: bool = False) -> Iterator[Any]:
    """A run with the settings of the environment, which shows its progress unless it is quiet.

    `create`: make the registry where there is none; without it NotSetUpError is raised. `changes`: the command issues or
    changes something, so CardsError is raised when the registry is older than the outbox.
    """
    from pipelines import console
    from pipelines.common.settings import load_settings
    from pipelines.run import open_run, require_current

    with open_run(load_settings(), create=create) as run, console.progress_runtime(quiet=quiet) as runtime:
        if changes:
            require_current(run)
        yield run._replace(runtime=runtime._replace(log=_log_of(run.settings)) if changes else runtime)


def _log_of(settings: Any) -> Log:
    """The log on standard error, if CARDS_LOG is set."""
    from pipelines.common.logs import is_asked_for, open_log

    return open_log(settings.log) if is_asked_for(settings) else Runtime().log


def document(value: Any, *, show_codes: bool = False) -> Any:
    """A result as a JSON document, with codes masked unless they are to be shown."""
    return mask_document(asdict(value), shown=show_codes)


def submission_row(result: Any) -> dict[str, Any]:
    """A row of the table of submissions."""
    from pipelines import console

    return {
        "reseller": result.reseller, "file": result.file,
        "placed": f"trial: {result.orders_placeable}" if result.trial else result.orders_placed,
        "already placed": result.orders_already_placed, "rejected": result.orders_rejected, "codes": result.codes_placed,
        "reasons (rows)": console.format_reasons(result.reasons), "folder": result.folder,
    }  # fmt: skip


def report_row(result: Any) -> dict[str, Any]:
    """A row of the table of the network's reports."""
    from pipelines import console

    return {**asdict(result), "reasons": console.format_reasons(result.reasons)}


def print_warnings(run: Any) -> None:
    """Warn about files in the inbox that no run answers."""
    from pipelines import console
    from pipelines.admin import setup

    for line in setup.warnings(run):
        console.print_warning(line)


def failure_lines(failures: Sequence[Exception]) -> list[str]:
    """Errors of what could not be written, as text without codes."""
    return [mask_codes(str(failure)) for failure in failures]


def exit_on(failures: Sequence[Exception]) -> None:
    """End with exit code 1 when something could not be written, or does not add up; everything else has been done by then."""
    unwritten = [failure for failure in failures if not isinstance(failure, errors.ContradictionError)]
    if failures and not unwritten:
        raise failures[0]
    if unwritten:
        from pipelines.common.words import count

        answers = count(len(unwritten), "answer")
        raise errors.CardsError(f"{answers} could not be written; the next run writes what is missing. {unwritten[0]}")


def print_version(value: bool) -> None:
    """Print the version and end, when it is asked for."""
    if value:
        from importlib.metadata import version

        print(f"cards {version('calling-card-orders')}")
        raise typer.Exit


def run_app(app: typer.Typer) -> None:
    """Run the command line; an error is one line on standard error, and exit code 1, or 2 for wrong usage."""
    gc.set_threshold(_OBJECTS)
    try:
        app()
    except errors.UsageError as error:
        _end(error, 2)
    except Exception as error:
        _end(errors.to_cards_error(error), 1)


def _end(error: Exception, code: int) -> None:
    from pipelines import console

    console.print_line(f"cards: {error}", sys.stderr)
    sys.exit(code)
