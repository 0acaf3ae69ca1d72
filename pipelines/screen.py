"""What is shown on a screen or kept in a log: tables, progress, and codes that can't be read from it."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.world import World


def masked(text: str) -> str:
    """A text in which every code shows only its ends: `1234••••••7890`."""
    return re.sub(r"(?<!\d)(\d{4})\d{6}(\d{4})(?!\d)", r"\1••••••\2", text)


def safe(value: Any, *, shown: bool = False) -> Any:
    """A document in which every code is masked, unless they are to be shown."""
    if shown:
        return value
    if isinstance(value, dict):
        return {key: safe(one) for key, one in value.items()}
    if isinstance(value, list):
        return [safe(one) for one in value]
    return masked(value) if isinstance(value, str) else value


def document(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(title: str, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as a table; as tab-separated text where the output is no terminal."""
    rows = list(rows)
    if not rows:
        print(f"{title}: none")
    elif sys.stdout.isatty():
        _rich(title, rows)
    else:
        print(title)
        for line in (list(rows[0]), *(row.values() for row in rows)):
            print("\t".join(_text(value) for value in line))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def reasons(told: dict[str, Any]) -> str:
    """The reasons of a submission, each with its number of rows."""
    return ", ".join(f"{reason} {rows}" for reason, rows in told["reasons"].items())


def facts(values: dict[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")


def _rich(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        shown.add_column(name, justify="right" if isinstance(value, int) else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_text(value) for value in row.values()))
    Console().print(shown)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[World]:
    """A world that shows its progress on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield World()
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

        yield World(progress=show)
