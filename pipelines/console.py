"""Output of the command line: lines, tables, key-value lists, JSON documents and progress bars, with codes masked."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from pipelines.common.context import Runtime
from pipelines.common.masking import mask_codes, mask_document
from pipelines.common.printable import printable, printable_json


def print_line(text: str, stream: TextIO | None = None) -> None:
    """A line of text (or several), on standard output unless a stream is given. All of our text takes this way or that of
    tables: whatever strangers wrote into a file, a terminal gets no control character of it.
    """
    print(mask_codes(printable(text, "\n")), file=stream or sys.stdout, flush=stream is not None)


def print_warning(text: str) -> None:
    """A line on standard error about something that needs the operator's attention; the work goes on."""
    print_line(f"cards: warning: {text}", sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document on standard output, as it is: `mask_document` masks the codes of those that are shown."""
    print(printable_json(json.dumps(value, ensure_ascii=False, indent=2, default=str)))


def print_json_line(value: Any) -> None:
    """The same on one line, as of JSON Lines."""
    print(printable_json(json.dumps(value, ensure_ascii=False, default=str)))


def print_table(title: str, rows: Iterable[dict[str, Any]], *, show_codes: bool = False) -> None:
    """Rows as a table; as tab-separated text where the output is not a terminal."""
    shown: list[dict[str, Any]] = mask_document(_printable(list(rows)), shown=show_codes)
    if not shown:
        print_line(f"{title}: none")
    elif sys.stdout.isatty():
        _print_rich(printable(title), shown)
    else:
        print_line(title)
        for cells in (list(shown[0]), *(row.values() for row in shown)):
            print("\t".join(_text(cell) for cell in cells))


def _printable(value: Any) -> Any:
    """The same value, in whose texts nothing stands that can't be seen: a line end within a cell would forge a row."""
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_printable(one) for one in value]
    return printable(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def format_reasons(reasons: dict[str, int]) -> str:
    """The reasons of a submission, each with its number of rows."""
    return ", ".join(f"{reason} {rows}" for reason, rows in reasons.items())


def print_key_values(values: dict[str, Any], *, show_codes: bool = False) -> None:
    """Names and values, one in each line."""
    width = max(map(len, values), default=0)
    for name, value in mask_document(_printable(values), shown=show_codes).items():
        print(f"{name.replace('_', ' '):<{width}}  {_text(value)}".rstrip())


def _print_rich(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths, gap = _layout(rows, console.width)
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.padding = (0, gap - 1, 0, 0)  # the box has a column between two columns
    for name, value in rows[0].items():
        justify: Any = "right" if isinstance(value, int) else "left"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold", width=widths.get(name))
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row.values()))  # a cell is never markup
    console.print(table)


_SHORT: Final = 28
_FOLDED: Final = 12
"""So wide is a folded column at least."""
_NEVER_FOLDED: Final = frozenset({"order_id", "serial", "code", "btn"})
"""What people copy from the terminal."""


def _layout(rows: list[dict[str, Any]], width: int) -> tuple[dict[str, int], int]:
    """The widths of columns, and the gap between them. Short values stay on one line and long texts are folded; where the
    terminal is too narrow even so, the widest of the short ones are folded too, one after the other. No widths: it is too
    narrow for any of that.
    """
    sizes = {name: max(len(_text(row[name])) for row in rows) for name in rows[0]}
    whole = {name: size for name, size in sizes.items() if size <= _SHORT}
    foldable = sorted(whole.keys() - _NEVER_FOLDED, key=lambda name: (whole[name], name))
    while True:
        for gap, header in ((2, len), (2, _longest_word), (1, _longest_word)):
            widths = {name: max(size, header(name)) for name, size in whole.items()}
            room = width - sum(widths.values()) - gap * (len(sizes) - 1)
            folded = {name: size for name, size in sizes.items() if name not in whole}
            if room >= sum(min(size, _FOLDED) for size in folded.values()):
                return widths | _shares(folded, room), gap
        if not foldable or whole[foldable[-1]] <= _FOLDED:
            return {}, 1
        del whole[foldable.pop()]


def _longest_word(header: str) -> int:
    return max(map(len, re.split("[ _]", header)))


def _shares(sizes: dict[str, int], room: int) -> dict[str, int]:
    """Room for the columns to be folded: what one does not need the others get."""
    shares = {}
    for number, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        shares[name] = min(max(sizes[name], _longest_word(name)), room // (len(sizes) - number))
        room -= shares[name]
    return shares


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
