"""Output of the command line: tables, key-value lists, JSON documents and progress bars."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.common.context import Runtime


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(title: str, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as a table; as tab-separated text where the output is no terminal."""
    rows = list(rows)
    if not rows:
        print(f"{title}: none")
    elif sys.stdout.isatty():
        _print_rich(title, rows)
    else:
        print(title)
        for line in (list(rows[0]), *(row.values() for row in rows)):
            print("\t".join(_text(value) for value in line))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def format_reasons(reasons: dict[str, int]) -> str:
    """The reasons of a submission, each with its number of rows."""
    return ", ".join(f"{reason} {rows}" for reason, rows in reasons.items())


def print_key_values(values: dict[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")


def _print_rich(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        shown.add_column(name, justify="right" if isinstance(value, int) else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_text(value) for value in row.values()))
    Console().print(shown)


@contextmanager
def progress_runtime(*, quiet: bool = False) -> Iterator[Runtime]:
    """A runtime that shows its progress on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Runtime()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield Runtime(progress=show)
