"""The README and docs/ agree with the code: tables, commands, links and words. `pytest --golden` rewrites the tables."""

import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.admin import demo
from pipelines.common.log_events import EVENTS
from pipelines.common.settings import Settings
from pipelines.insight.datasets import DATASETS, INSTANT, exported
from schemas import catalogue, network, orders
from schemas.codes import STATES
from schemas.headers import Column
from schemas.notices import KINDS
from schemas.reasons import REASONS
from tests.pages import AS_INSTALLED, DOCS, PAGES, README, ROOT, anchors, blocks, links, replace_section, rows, section, table

REFERENCE = DOCS / "reference.md"
RUN = ("sh", "python")
NOT_RUN = ("console", "text", "ini", "json")
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt"
OURS = ".venv/bin/pip install -q --no-deps -e ."


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the demo was played. Tests work in copies of it."""
    home = tmp_path_factory.mktemp("docs") / "demo"
    demo.play(home)
    return home


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_home, tmp_path / "demo"))


def bash(script: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder with this environment's programs. It stops at the first command that fails, and names it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **AS_INSTALLED, "CARDS_SETTLE_SECONDS": "0"} | environment
    command = ["bash", "-euo", "pipefail", "-c", "trap 'echo failed: $BASH_COMMAND >&2' ERR\n" + script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


# -- tables of the reference -------------------------------------------------------------------------------------------


def columns(known: tuple[Column, ...]) -> str:
    cells = ((column.header, column.value, ", ".join(column.aliases)) for column in known)
    return table(("column", "value", "other headers that are understood"), cells)


def settings() -> str:
    cells = (
        (f"`CARDS_{name.upper()}`", field.description, f"`{field.default}`" if str(field.default) else "")
        for name, field in Settings.model_fields.items()
    )
    return table(("setting", "meaning", "default"), cells)


def reasons() -> str:
    cells = ((f"`{one.code}`", one.level, one.column, one.words) for one in REASONS.values())
    return table(("reason", "level", "column", "what to fix"), cells)


def notices() -> str:
    cells = ((kind.value, one.recipients, one.when) for kind, one in KINDS.items())
    return table(("notice", "to whom", "when"), cells)


def commands() -> str:
    """Every command with its arguments and options, from typer."""
    from typer.main import get_command

    from pipelines.cli import app

    return "\n".join(_command(name, one) for name, one in _leaves(get_command(app), "cards"))


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands that do something, without hidden ones (aliases); the group itself for its own options."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    if options := [one for one in command.params if not one.hidden]:
        yield name, type("Group", (), {"params": options, "help": command.help, "epilog": ""})
    for sub, one in command.commands.items():
        if not one.hidden:
            yield from _leaves(one, f"{name} {sub}")


def _command(name: str, command: Any) -> str:
    shown = [one for one in command.params if not one.hidden]
    usage = " ".join([name, *(_usage(one) for one in shown if one.opts[0][0] != "-")])
    words = " ".join(str(command.help).split())
    parts = [f"### `{usage}`\n", f"{words}\n"]
    if shown:
        parts.append(table(("argument or option", "meaning"), ((f"`{_option(one)}`", one.help or "") for one in shown)))
    if command.epilog:
        parts.append(
            "Example: " + ", ".join(f"`{text}`" for text in command.epilog.removeprefix("Example: ").split("; ")) + "\n"
        )
    return "\n".join(parts)


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 or argument.multiple else "")
    return name if argument.required else f"[{name}]"


def _option(one: Any) -> str:
    if one.opts[0][0] != "-":
        return _usage(one)
    return ", ".join(one.opts) + ("" if one.is_flag else f" {one.metavar or one.name.upper()}")


_MORE_FILES = r"""
cards statement --month $(date +%Y-%m)
IFS=, read -r _ account _ _ code _ < <(sed -n 2p "$(ls outbox/acme/*/release-*.csv | head -1)")
printf 'Action,Customer Account Number,Customer Order ID,Code\nBlock,%s,BLOCK,%s\n' "$account" "$code" > inbox/acme/block.csv
mkdir -p inbox/acme/check
cp inbox/acme/block.csv inbox/acme/check/trial.csv
cp outbox/acme/*-october/october.* inbox/acme/
cards run
order=$(sed -n 2p outbox/acme/*-block/confirmation.csv | cut -d, -f1)
printf 'Order ID,Authorization Code\n%s,%s\n' "$order" "$code" > inbox/network/block.csv
cards reconcile
"""
"""Has the demo's home written the kinds of files that the demo does not: a trial, a repeated file, a card that is blocked."""


def csv_files(home: Path) -> str:
    """The columns of each kind of CSV file, from those that the demo wrote."""
    assert bash(_MORE_FILES, home).stderr == ""
    names = ["confirmation.csv", "rejections.csv", "already-placed.csv", "trial.csv", "release-*.csv", "refused-*.csv",
             "outcome-*.csv", "statement-*.csv", "statements-*.csv", "index.csv", "placement-*.csv"]  # fmt: skip
    found = [{path.read_text("utf-8").splitlines()[0] for path in (home / "outbox").rglob(name)} for name in names]
    assert [len(headers) for headers in found] == [1] * len(names)
    return table(
        ("file", "columns"), ((f"`{name}`", one.replace(",", ", ")) for name, (one,) in zip(names, found, strict=True))
    )


def datasets() -> str:
    """The columns of each dataset, and of an export."""
    kinds = {pl.String: "text", pl.Int64: "integer", pl.Float64: "decimal number", pl.Boolean: "true or false", pl.Date: "date",
             INSTANT: "time (UTC)"}  # fmt: skip
    shown = {**{f"`{name}`": dataset for name, dataset in DATASETS.items()}, "`cards export`": exported(codes=True)}
    parts = []
    for title, dataset in shown.items():
        cells = ((f"`{name}`", kinds[field.kind], field.meaning) for name, field in dataset.fields.items())
        parts.append(f"### {title}\n\nA row is {dataset.row}.\n\n{table(('column', 'type', 'meaning'), cells)}")
    return "\n".join(parts)


def log() -> str:
    """What is logged."""
    return table(("event", "level", "meaning"), ((f"`{name}`", *words) for name, words in EVENTS.items()))


TABLES: dict[str, Callable[[], str]] = {
    "columns": lambda: columns(orders.COLUMNS),
    "reasons": reasons,
    "settings": settings,
    "network": lambda: columns(network.COLUMNS),
    "catalogue": lambda: (
        f"Sheet Accounts:\n\n{columns(catalogue.ACCOUNTS)}\n"
        f"Sheet Access Numbers:\n\n{columns(catalogue.ACCESS_NUMBERS)}\n"
        f"Sheet Billing Numbers (may be left out):\n\n{columns(catalogue.BILLING_NUMBERS)}"
    ),
    "datasets": datasets,
    "notices": notices,
    "log": log,
    "commands": commands,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_reference_agrees_with_the_code(name: str, pytestconfig: pytest.Config) -> None:
    agrees(name, TABLES[name](), pytestconfig)


def test_the_columns_of_csv_files_are_those_of_the_demo(home: Path, pytestconfig: pytest.Config) -> None:
    agrees("csv", csv_files(home), pytestconfig)


def agrees(name: str, content: str, config: pytest.Config) -> None:
    if config.getoption("--golden"):
        replace_section(REFERENCE, name, content)
    assert section(REFERENCE.read_text("utf-8"), name) == content


def test_the_states_of_a_card_are_all_explained() -> None:
    states = [row[0].strip("`") for row in rows(section((DOCS / "glossary.md").read_text("utf-8"), "states"))]
    assert states == list(STATES)


def test_the_modules_of_the_architecture_exist() -> None:
    """The tree names every module and folder of `pipelines` and no others; so do the paths of a file and of a report."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    tree = next(block for _, block in blocks(text) if block.startswith("pipelines/\n"))
    named = re.findall(r"^  ([a-z_]+)(?:/|\.py) ", tree, re.MULTILINE)
    package = ROOT / "pipelines"
    there = [path.stem for path in package.iterdir() if path.stem.isidentifier() and not path.stem.startswith("__")]
    assert sorted(named) == sorted(there)
    paths = re.findall(rf"`((?:{'|'.join(named)})(?:\.[a-z_]+)+)`", text)
    assert len(paths) > 20
    assert [path for path in paths if path.split(".")[-1] != "py" and not resolves(path)] == []


def resolves(path: str) -> bool:
    """Whether a dotted name is a module of `pipelines`, or a function in one."""
    try:
        pkgutil.resolve_name(f"pipelines.{path}")
    except (ImportError, AttributeError):
        return False
    return True


# -- JSON documents ----------------------------------------------------------------------------------------------------

HELD = (
    "printf 'Order ID,Code\\n77-7,73905162840529\\n' > inbox/network/strange.csv; "
    "CARDS_REPORT_MAX_EXTERNAL=0 cards reconcile > night.log || test $? = 3"
)
"""A report is put on hold."""
LARGE = (
    "printf 'Account,Product,Access,Customer Order ID,Quantity\\n20098765,8001,8008604444,LARGE,9\\n' "
    "> inbox/globex/large.csv; "
    "CARDS_APPROVE_ABOVE=5 cards run > large.log"
)
"""An order waits for approval."""
DOCUMENTS = {
    "run": "cp outbox/globex/*-cards/cards.csv inbox/globex/again.csv; cat inbox/globex/again.csv | sed s/G10/H10/ "
    "> inbox/globex/more.csv; cards run --json",
    "check": "cards check outbox/globex/*-cards/cards.csv --reseller globex --json || true",
    "reconcile": "echo Order ID > inbox/network/bad.csv; cards reconcile --json || test $? = 3",
    "approve": f"{LARGE}; CARDS_APPROVE_ABOVE=5 cards approve H1 --by Ana --why 'For their fair' --json",
    "surplus": "(echo Order ID,Code; tail -qn +2 outbox/acme/*-october/confirmation.csv | cut -d, -f1,5; tail -qn +2 "
    "outbox/network/*/placement-network-*.csv | cut -d, -f1,6) > inbox/network/all.csv; cards reconcile > night.log; "
    "cards surplus --json",
    "catalogue show": "cards catalogue show --json",
    "catalogue diff": "python -c \"from openpyxl import load_workbook as load; book = load('catalogue.xlsx'); "
    "book['Accounts'].delete_rows(4); book.save('new.xlsx')\"; cards catalogue diff new.xlsx --json",
    "order": "cards order 10023456-2 --json",
    "orders": "cards orders --json",
    "submissions": "cards submissions --json",
    "holds": "printf 'Account,Product,Access,Customer Order ID,Code\\n20098765,8001,8008604444,X,73905162840517\\n"
    "20098765,8001,8008604444,X,73905162840518\\n' > inbox/globex/taken.csv; "
    f"CARDS_MAX_TAKEN_CODE_ATTEMPTS=1 cards run > run.log; {HELD}; {LARGE}; cards holds --json",
    "status": "cards status 73905162840517 --json",
    "capacity": "cards capacity 303-555-0142 --json",
    "capacity list": "cards capacity --json",
    "report": "cards report outbox/acme/*-october --json",
    "replay": "cards catalogue load catalogue.xlsx > load.log; cards replay --reason CODE_RUN --dry-run --json",
    "recover": "rm registry.db* outbox/acme/*-october/october.*; cards catalogue load catalogue.xlsx > load.log; "
    "cards recover --json",
    "audit": "cards audit --json",
    "notify test": "CARDS_NOTIFY=json://127.0.0.1:1/ cards notify test --json || true",
    "notify list": "export CARDS_NOTIFY=json://127.0.0.1:1/; sed s/G10/12345/ outbox/globex/*-cards/cards.csv "
    "> inbox/globex/more.csv; cards run 2> run.log > run.log; cards notify list --json",
    "statement": "cards statement --month $(date +%Y-%m) --json",
    "archive": "cards archive --before 2099-01-01 --json",
    "verify": "rm outbox/acme/*-october/confirmation.csv; cards verify --json || true",
    "repair": "rm outbox/acme/*-october/confirmation.csv; cards repair --apply --json",
}
"""How to get each document, with an example of every list in it, in the demo's home."""
TYPES = {str: "text", int: "number", float: "number", bool: "true or false"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_keys_of_a_json_document_are_all_explained(name: str, home: Path, pytestconfig: pytest.Config) -> None:
    done = bash(DOCUMENTS[name], home)
    assert (done.returncode, done.stderr) == (0, "")
    found = dict(keys(json.loads(done.stdout)))
    explained = {row[0].strip("`"): row[2] for row in rows(section(REFERENCE.read_text("utf-8"), f"json {name}"))}
    content = table(("key", "type", "meaning"), ((f"`{key}`", kind, explained.get(key, "")) for key, kind in found.items()))
    agrees(f"json {name}", content, pytestconfig)
    assert [key for key, words in explained.items() if not words] == []


def keys(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each leaf of a document with its type. Of a list all items count, as some may lack a value."""
    if isinstance(value, dict):
        for key, one in value.items():
            name = "<reason>" if key in REASONS else "<state>" if key in STATES else key
            yield from keys(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        merged: dict[str, str] = {} if value else {f"{path}[]": "text"}
        for one in value:
            for key, kind in keys(one, f"{path}[]"):
                merged[key] = merged.get(key) or kind
        yield from merged.items()
    else:
        yield path, TYPES.get(type(value), "text or null")


# -- commands of the pages ---------------------------------------------------------------------------------------------

SCRIPTS = {page: [block for block in blocks(page.read_text("utf-8")) if block[0] in RUN] for page in PAGES}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name == "operators.md" else [])
     for page, found in SCRIPTS.items() if found],
)  # fmt: skip
def test_every_command_of_a_page_works_as_it_stands(page: Path, home: Path, tmp_path: Path) -> None:
    """The blocks `sh` and `python` of a page, in their order, in one home: the README's in a folder with nothing but codes
    that exist already, those of docs/ in the demo's. Blocks `console` need more than a bare machine has.
    """
    folder = home
    if page == README:
        folder = tmp_path / "new"
        folder.mkdir()
        shutil.copy(home / "existing-codes.csv", folder)
    with_pandas = {"PYTHONPATH": str(ROOT)} if page.name == "analysts.md" else {}
    done = bash("\n".join(script(language, text) for language, text in SCRIPTS[page]), folder, **with_pandas)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout


def script(language: str, text: str) -> str:
    """A block as Bash takes it."""
    return f"python - <<'END'\n{text}END\n" if language == "python" else text


def test_every_code_block_says_whether_it_is_run() -> None:
    languages = {(page.name, language) for page in PAGES for language, _ in blocks(page.read_text("utf-8"))}
    assert [one for one in languages if one[1] not in RUN + NOT_RUN] == []
    fences = [len(re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE)) for page in PAGES]
    assert fences == [2 * len(blocks(page.read_text("utf-8"))) for page in PAGES]


# -- the README --------------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert [line for line in text.splitlines() if line.startswith("python3 -m venv")] == [
        f"{INSTALL} && {OURS} && .venv/bin/cards demo",
        f"{INSTALL} -r tests/requirements.txt && {OURS} && .venv/bin/pytest -n 2",
    ]


def test_the_readme_leads_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in PAGES if page != README} <= {
        link.partition("#")[0] for link in links(README.read_text("utf-8"))
    }


# -- links and words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def banned() -> list[str]:
    """The words and sentences of the glossary's table of what to avoid."""
    cells = (row[0] for row in rows(section((DOCS / "glossary.md").read_text("utf-8"), "avoid")))
    return [words.strip() for cell in cells for words in cell.split(",")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "glossary.md"], ids=lambda page: page.name)
def test_a_page_has_none_of_the_words_to_avoid(page: Path) -> None:
    text = " ".join(page.read_text("utf-8").split())
    assert [words for words in banned() if re.search(rf"\b{re.escape(words)}\b", text, re.IGNORECASE)] == []


@pytest.mark.parametrize("folder", ["pipelines", "schemas"])
def test_the_code_has_none_of_the_words_to_avoid(folder: str) -> None:
    """Not even in names; what earlier versions called their tables stands in the migrations."""
    words = re.compile("|".join(rf"(?<![a-z]){re.escape(one)}(?![a-z])" for one in banned()), re.IGNORECASE)
    found = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
             for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "schema_changes.py"
             for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if words.search(line)]  # fmt: skip
    assert found == []


def test_the_words_to_avoid_are_found() -> None:
    assert len(banned()) > 20
    assert "mend" in banned()
