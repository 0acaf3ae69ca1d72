"""The README's tables are those of the code. `pytest --golden` writes them anew."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipelines.admin import demo
from pipelines.common.settings import Settings
from schemas import catalogue, network, orders
from schemas.headers import Column
from schemas.reasons import REASONS

README = Path(__file__).parents[1] / "README.md"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ("---",) * len(header), *rows))


def columns(known: tuple[Column, ...]) -> str:
    rows = ((column.header, column.value, ", ".join(column.aliases)) for column in known)
    return table(("column", "value", "other headers that are understood"), rows)


def settings() -> str:
    rows = (
        (f"`CARDS_{name.upper()}`", str(field.description), f"`{field.default}`" if str(field.default) else "")
        for name, field in Settings.model_fields.items()
    )
    return table(("setting", "what it is", "default"), rows)


def reasons() -> str:
    return table(("reason", "column", "what to fix"), ((f"`{one.code}`", one.column, one.words) for one in REASONS.values()))


TABLES: dict[str, Callable[[], str]] = {
    "columns": lambda: columns(orders.COLUMNS),
    "reasons": reasons,
    "settings": settings,
    "network": lambda: columns(network.COLUMNS),
    "catalogue": lambda: columns(catalogue.ACCOUNTS) + "\n" + columns(catalogue.ACCESS_NUMBERS),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_the_code(name: str, request: pytest.FixtureRequest) -> None:
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = README.read_text("utf-8")
    if request.config.getoption("--golden"):
        before, _, rest = text.partition(begin)
        text = before + begin + TABLES[name]() + end + rest.partition(end)[2]
        README.write_text(text, "utf-8")
    assert text.partition(begin)[2].partition(end)[0] == TABLES[name]()


def test_every_command_works_as_it_stands(tmp_path: Path) -> None:
    demo.play(tmp_path / "demo")
    block = next(part for part in README.read_text("utf-8").split("```") if part.startswith("\ncards catalog load"))
    lines = block.strip().splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path / "demo", env={**os.environ, "PATH": path}, capture_output=True, check=False
        )
        assert (line, done.returncode, done.stderr) == (line, 0, b"")
        assert done.stdout
    assert len(lines) >= 10


def test_every_command_is_named() -> None:
    from typer.main import get_command

    from pipelines.cli import app

    def names(command: object, before: str) -> Iterable[str]:
        for name, one in getattr(command, "commands", {}).items():
            yield from names(one, f"{before} {name}") if getattr(one, "commands", None) else [f"{before} {name}"]

    text = README.read_text("utf-8")
    commands = list(names(get_command(app), "cards"))
    assert len(commands) > 10
    assert [name for name in commands if not re.search(rf"{name}\b", text)] == []
