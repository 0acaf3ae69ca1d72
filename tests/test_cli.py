"""The command `cards` as people run it: a process, its output, its exit code."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import cli
from pipelines.common.errors import to_cards_error
from pipelines.registry.store import open_registry
from schemas.orders import HEADERS
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, csv_of, read_csv, row, some_codes

CODES = some_codes(3)
SUBMISSION = {
    "reseller", "file", "folder", "orders_placed", "orders_already_placed", "orders_rejected", "codes_placed", "rows",
    "rows_rejected", "reasons",
}  # fmt: skip


class Done(NamedTuple):
    code: int
    out: str
    error: str

    @property
    def document(self) -> dict[str, Any]:
        assert (self.code, self.error) == (0, "")
        told: dict[str, Any] = json.loads(self.out)
        return told


class House:
    """A home with a catalogue, and `cards` in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "inbox/acme").mkdir(parents=True)
        with open_registry(f"sqlite:///{home}/registry.db") as registry:
            registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)

    def process(self, *arguments: str | Path, **environment: str) -> Done:
        """Run the command as a process of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CARDS_")}
        done = subprocess.run(
            [Path(sys.executable).with_name("cards"), *arguments], env={**inherited, **self._usual(), **environment},
            capture_output=True, text=True, timeout=60, cwd=self.home, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def cards(self, *arguments: str | Path, **environment: str) -> Done:
        """Run the command in this process, which is quicker by a second."""
        out, error = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
            patch.chdir(self.home)
            for name, value in {**self._usual(), **environment}.items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["cards", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                cli.main()
        return Done(int(end.value.code or 0), out.getvalue(), error.getvalue())

    def _usual(self) -> dict[str, str]:
        return {"CARDS_HOME": str(self.home), "CARDS_SETTLE_SECONDS": "0", "NO_COLOR": "1", "COLUMNS": "200"}

    def drop(self, name: str, *rows: dict[str, str], sender: str = "acme") -> Path:
        path = self.home / "inbox" / sender / name
        path.write_bytes(csv_of(*rows))
        return path

    def files(self) -> set[str]:
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.name.startswith("registry.db")}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "home")


def one_line(done: Done, code: int) -> str:
    """The one line of an error, which is all there is."""
    assert done.code == code
    assert done.out == ""
    assert done.error.startswith("cards: ")
    assert done.error.count("\n") == 1
    return done.error.removeprefix("cards: ").rstrip("\n")


def test_run_answers_the_inbox_with_exactly_the_document_of_the_specification(house: House) -> None:
    house.drop("good.csv", row("A1", quantity="3"), row("A2", code=CODES[0]))
    house.drop("mixed.csv", row("B1", quantity="1"), row("B2", quantity="x"), row("B2", quantity="2", product="9"))
    told = house.process("run", "--json").document
    assert set(told) == {"submissions"}
    good, mixed = sorted(told["submissions"], key=lambda one: str(one["file"]))
    assert set(good) == set(mixed) == SUBMISSION
    assert good == {
        "reseller": "acme", "file": "good.csv", "folder": good["folder"], "orders_placed": 2, "orders_already_placed": 0,
        "orders_rejected": 0, "codes_placed": 4, "rows": 2, "rows_rejected": 0, "reasons": {},
    }  # fmt: skip
    assert (mixed["orders_placed"], mixed["orders_rejected"], mixed["rows_rejected"]) == (1, 1, 2)
    assert mixed["reasons"]["QUANTITY_FORMAT"] == 1
    assert mixed["reasons"]["PRODUCT_UNKNOWN"] == 1
    assert len(read_csv(house.home / good["folder"] / "confirmation.csv")) == 4
    assert house.cards("run", "--json").document == {"submissions": []}


def test_run_tells_people_in_a_table_without_codes(house: House) -> None:
    house.drop(f"{CODES[0]}.csv", row("A1", code=CODES[1]))
    done = house.cards("run")
    assert done.code == 0
    assert done.error == ""
    assert "placed" in done.out
    assert CODES[1] not in done.out
    assert house.cards("run").out == "Submissions: none\n"


def test_a_file_answered_before_gets_its_answer_again(house: House) -> None:
    for _ in range(2):
        house.drop("good.csv", row("A1", quantity="3"))
        (told,) = house.cards("run", "--json").document["submissions"]
    assert (told["orders_placed"], told["codes_placed"]) == (1, 3)
    assert len({code for path in house.home.rglob("confirmation.csv") for code in read_csv(path)["Authorization Code"]}) == 3


def test_check_tells_every_reason_and_places_nothing(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_of(row("A1", code=CODES[0]), row("A2", code=f"{CODES[1]};{CODES[1]}"), row("A3", quantity="x")))
    before = house.files()
    told = house.process("check", path, "--reseller", "acme", "--json").document
    assert set(told) == {"file", "rows", "orders_placed", "orders_already_placed", "orders_rejected", "findings"}
    assert (told["rows"], told["orders_placed"], told["orders_rejected"]) == (3, 1, 2)
    assert {(one["row"], one["column"], one["reason"]) for one in told["findings"]} == {
        (3, "Code", "CODE_REPEATED"),
        (4, "Quantity", "QUANTITY_FORMAT"),
    }
    assert set(told["findings"][0]) == {"row", "column", "reason", "value", "what_to_fix"}
    assert house.files() == before
    assert house.cards("run", "--json").document == {"submissions": []}
    assert path.exists()


def test_check_masks_codes_unless_they_are_asked_for(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_of(row("A1", code="73905162845555")))
    for arguments in ([], ["--json"]):
        hidden = house.cards("check", path, "--reseller", "acme", *arguments)
        assert "7390••••••5555" in hidden.out
        assert "73905162845555" not in hidden.out
        assert "73905162845555" in house.cards("check", path, "--reseller", "acme", "--show-codes", *arguments).out


def test_check_of_a_file_without_a_header_shows_no_code(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"10023456,{CODES[0]}\n10023456,{CODES[1]}\n")
    told = house.cards("check", path)
    assert "COLUMN_MISSING" in told.out
    assert not any(code in told.out for code in CODES)


def test_check_of_the_houses_own_file_and_of_what_is_no_table(house: House, tmp_path: Path) -> None:
    (tmp_path / "orders.xlsx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20) + b"words")
    told = house.cards("check", tmp_path / "orders.xlsx", "--json").document
    assert [(one["row"], one["reason"]) for one in told["findings"]] == [(0, "FILE_TYPE")]


def test_demo_plays_a_whole_life(house: House, tmp_path: Path) -> None:
    done = house.process("demo", "--home", tmp_path / "demo")
    assert (done.code, done.error) == (0, "")
    assert re.search(r"\d{14}", done.out) is None
    written = {path.name for path in (tmp_path / "demo/outbox").rglob("*")}
    assert {
        "confirmation.xlsx",
        "confirmation.csv",
        "rejections.xlsx",
        "rejections.csv",
        "network",
        "reconciliation",
    } <= written
    assert any(name.startswith("release-") for name in written)
    again = house.cards("demo", "--home", tmp_path / "demo")
    assert "is not empty" in one_line(again, 2)


def test_template_writes_a_workbook_that_can_be_dropped(house: House, tmp_path: Path) -> None:
    import openpyxl

    path = tmp_path / "mine.xlsx"
    done = house.cards("template", path, "--reseller", "acme")
    assert (done.code, done.error) == (0, "")
    assert "inbox/acme" in done.out
    page = openpyxl.load_workbook(path)["Orders"]
    header = [cell.value for cell in page[1] if cell.value]
    assert header == list(HEADERS.values())[: len(header)]


def test_catalog_load_and_registry_import(house: House, tmp_path: Path) -> None:
    from pipelines.admin.demo import lay

    lay(tmp_path)
    assert house.cards("catalog", "load", tmp_path / "catalogue.xlsx").out == (
        "3 product accounts and 3 access numbers are loaded.\n"
    )
    for new, known in ((2, 0), (0, 2)):
        assert house.cards("registry", "import", tmp_path / "existing-codes.csv").out == (
            f"2 lines: {new} codes are new, {known} were known, 0 are no 14 digits and were left out.\n"
        )


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["run"], {"CARDS_SETTLE_SECONDS": "soon"}, 2, "CARDS_SETTLE_SECONDS='soon' can't be used"),
        (["run"], {"CARDS_REGISTRY": "oracle://x"}, 2, "takes sqlite:///path/to/file or postgresql://user@host/database"),
        (["run"], {"CARDS_HOME": "/nowhere/at/all"}, 1, "The folder /nowhere/at/all of the registry does not exist"),
        (["run"], {"CARDS_REGISTRY": "postgresql://cards:s3cret@127.0.0.1:1/none"}, 1, "can't be opened"),
        (["check", "none.csv"], {}, 2, "none.csv is no file"),
        (["catalog", "load", "none.xlsx"], {}, 2, "none.xlsx has no readable sheet “Accounts”"),
        (["registry", "import", "none.csv"], {}, 2, "none.csv can't be read"),
        (["order", "10023456-1"], {}, 1, "There is no order"),
        (["capacity"], {}, 2, "at least one BTN"),
        (["template", "no/such/folder/orders.xlsx"], {}, 1, "no/such/folder"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    arguments: list[str], environment: dict[str, str], code: int, words: str, house: House
) -> None:
    line = one_line(house.cards(*arguments, **environment), code)
    assert words in line
    assert "s3cret" not in line


def test_a_process_ends_with_the_code_and_the_line(house: House) -> None:
    assert "CARDS_MAX_ROWS" in one_line(house.process("run", CARDS_MAX_ROWS="many"), 2)
    assert "no order" in one_line(house.process("order", "10023456-1"), 1)


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--fast"], ["check"], ["catalog", "unload"]])
def test_wrong_usage_is_told_and_ends_with_2(arguments: list[str], house: House) -> None:
    done = house.cards(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.error


def test_a_registry_that_is_no_database_is_told(house: House) -> None:
    for path in house.home.glob("registry.db*"):
        path.unlink()
    (house.home / "registry.db").write_bytes(b"no database " * 500)
    assert "registry" in one_line(house.process("run"), 1)


def test_help_names_every_command_and_loads_nothing_large(house: House) -> None:
    done = house.process("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    for command in (
        "run",
        "check",
        "reconcile",
        "serve",
        "order",
        "status",
        "capacity",
        "report",
        "template",
        "demo",
        "catalog",
    ):
        assert re.search(rf"^\W+{command}\b", done.out, re.MULTILINE)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.error.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"polars", "prefect", "pandera", "pyarrow", "fastexcel", "openpyxl", "pydantic"}


def test_no_command_but_serve_loads_prefect(house: House) -> None:
    done = house.process("run", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.error.splitlines()}
    assert "polars" in loaded
    assert "prefect" not in loaded


def test_a_file_named_after_a_code_is_masked_in_an_error() -> None:
    error = to_cards_error(PermissionError(13, "Permission denied", f"/home/outbox/acme/{CODES[0]}.csv"))
    assert CODES[0] not in str(error)
    assert f"{CODES[0][:4]}••••••{CODES[0][-4:]}.csv: Permission denied" in str(error)
