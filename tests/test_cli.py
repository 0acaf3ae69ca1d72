"""The command `cards` as people run it: a process, its output, its exit code."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import cli
from pipelines.admin import setup
from pipelines.common.errors import to_cards_error
from pipelines.common.settings import Settings, load_settings
from pipelines.registry.store import open_registry
from pipelines.run import Run
from schemas import catalogue
from schemas.orders import HEADERS
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, NewRegistry, csv_of, read_csv, row, some_codes

CODES = some_codes(3)
SUBMISSION = {
    "reseller", "file", "folder", "orders_placed", "orders_already_placed", "orders_rejected", "codes_placed", "rows",
    "rows_rejected", "reasons", "trial", "orders_placeable", "orders_on_hold",
    "orders_cancelled",
}  # fmt: skip

LOADED = "Loaded 3 product accounts, 3 access numbers and 1 billing number.\n"


class Done(NamedTuple):
    code: int
    out: str
    error: str

    @property
    def document(self) -> dict[str, Any]:
        assert (self.code, self.error) == (0, "")
        document: dict[str, Any] = json.loads(self.out)
        return document


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

    def drop(self, name: str, *rows: dict[str, str], source: str = "acme") -> Path:
        path = self.home / "inbox" / source / name
        path.write_bytes(csv_of(*rows))
        return path

    def files(self) -> set[str]:
        ours = ("registry.db", ".spool")
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.name.startswith(ours)}


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
    result = house.process("run", "--json").document
    assert set(result) == {"submissions", "failures"}
    assert result["failures"] == []
    good, mixed = sorted(result["submissions"], key=lambda one: str(one["file"]))
    assert set(good) == set(mixed) == SUBMISSION
    assert good == {
        "reseller": "acme", "file": "good.csv", "folder": good["folder"], "orders_placed": 2, "orders_already_placed": 0,
        "orders_rejected": 0, "codes_placed": 4, "rows": 2, "rows_rejected": 0, "reasons": {},
        "trial": False, "orders_placeable": 0, "orders_on_hold": 0, "orders_cancelled": 0,
    }  # fmt: skip
    assert (mixed["orders_placed"], mixed["orders_rejected"], mixed["rows_rejected"]) == (1, 1, 2)
    assert mixed["reasons"]["QUANTITY_FORMAT"] == 1
    assert mixed["reasons"]["PRODUCT_UNKNOWN"] == 1
    assert len(read_csv(house.home / good["folder"] / "confirmation.csv")) == 4
    assert house.cards("run", "--json").document == {"submissions": [], "failures": []}


def test_run_shows_people_in_a_table_without_codes(house: House) -> None:
    house.drop(f"{CODES[0]}.csv", row("A1", code=CODES[1]))
    done = house.cards("run")
    assert done.code == 0
    assert done.error == ""
    assert "placed" in done.out
    assert CODES[1] not in done.out
    assert house.cards("run").out == "Submissions: none\n"


def test_a_file_answered_before_is_already_placed(house: House) -> None:
    for _ in range(2):
        house.drop("good.csv", row("A1", quantity="3"))
        (result,) = house.cards("run", "--json").document["submissions"]
    assert (result["orders_placed"], result["orders_already_placed"], result["codes_placed"]) == (0, 1, 0)
    codes = {code for path in house.home.rglob("confirmation.csv") for code in read_csv(path)["Authorization Code"]}
    assert len(codes - {""}) == 3


def test_check_shows_every_reason_and_places_nothing(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_of(row("A1", code=CODES[0]), row("A2", code=f"{CODES[1]};{CODES[1]}"), row("A3", quantity="x")))
    before = house.files()
    result = house.process("check", path, "--reseller", "acme", "--json").document
    assert set(result) == {
        "file",
        "rows",
        "orders_placeable",
        "orders_already_placed",
        "orders_rejected",
        "rows_rejected",
        "findings",
    }
    assert (result["rows"], result["orders_placeable"], result["orders_rejected"]) == (3, 1, 2)
    assert {(one["row"], one["column"], one["reason"]) for one in result["findings"]} == {
        (3, "Code", "CODE_REPEATED"),
        (4, "Quantity", "QUANTITY_FORMAT"),
    }
    assert set(result["findings"][0]) == {"row", "column", "reason", "value", "what_to_fix"}
    assert house.files() == before
    assert house.cards("run", "--json").document == {"submissions": [], "failures": []}
    assert path.exists()


def test_check_masks_codes_unless_they_are_asked_for(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_of(row("A1", code="73905162845555")))
    for arguments in ([], ["--json"]):
        hidden = house.cards("check", path, "--reseller", "acme", *arguments)
        assert "739051••••••••" in hidden.out
        assert "73905162845555" not in hidden.out
        assert "73905162845555" in house.cards("check", path, "--reseller", "acme", "--show-codes", *arguments).out


def test_check_of_a_file_without_a_header_shows_no_code(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"10023456,{CODES[0]}\n10023456,{CODES[1]}\n")
    result = house.cards("check", path)
    assert "COLUMN_MISSING" in result.out
    assert not any(code in result.out for code in CODES)


def test_check_of_the_operators_own_file_and_of_what_is_not_a_table(house: House, tmp_path: Path) -> None:
    (tmp_path / "orders.xlsx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20) + b"words")
    result = house.cards("check", tmp_path / "orders.xlsx", "--json").document
    assert [(one["row"], one["reason"]) for one in result["findings"]] == [(0, "FILE_TYPE")]


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


@pytest.mark.parametrize("name", ["catalogue", "catalog"])
def test_catalogue_load_and_registry_import(name: str, house: House, tmp_path: Path) -> None:
    from pipelines.admin.demo import lay_out

    lay_out(tmp_path)
    assert house.cards(name, "load", tmp_path / "catalogue.xlsx").out == LOADED
    for new, known in ((2, 0), (0, 2)):
        assert house.cards("registry", "import", tmp_path / "existing-codes.csv").out == (
            f"2 lines: {new} codes are new, {known} already known, 0 lines without 14 digits left out.\n"
        )


def test_one_of_a_thing_is_counted_in_the_singular(house: House, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text(f"Code\n{CODES[2]}\n")
    assert house.cards("registry", "import", tmp_path / "codes.csv").out == (
        "1 line: 1 code is new, 0 already known, 0 lines without 14 digits left out.\n"
    )
    (tmp_path / "orders.csv").write_bytes(csv_of(row("A1", quantity="1")))
    said = house.cards("check", tmp_path / "orders.csv", "--reseller", "acme").out
    assert ": 1 row; 1 order can be placed, 0 already placed, 0 would be rejected." in said


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["run"], {"CARDS_SETTLE_SECONDS": "soon"}, 2, "CARDS_SETTLE_SECONDS='soon' can't be used"),
        (["run"], {"CARDS_REGISTRY": "oracle://x"}, 2, "takes sqlite:///path/to/file or postgresql://user@host/database"),
        (["run"], {"CARDS_HOME": "/nowhere/at/all"}, 1, "The folder /nowhere/at/all of the registry does not exist"),
        (["run"], {"CARDS_REGISTRY": "postgresql://cards:s3cret@127.0.0.1:1/none"}, 1, "can't be opened"),
        (
            ["run"],
            {"CARDS_SETTEL_SECONDS": "1"},
            2,
            "CARDS_SETTEL_SECONDS is not a setting. Did you mean CARDS_SETTLE_SECONDS?",
        ),
        (["check", "none.csv"], {}, 2, "none.csv: file not found."),
        (["catalogue", "load", "none.xlsx"], {}, 2, "none.xlsx: file not found."),
        (["registry", "import", "none.csv"], {}, 2, "none.csv: file not found."),
        (["registry", "import", "none.parquet"], {}, 2, "none.parquet: file not found."),
        (["capacity", "--file", "none.txt"], {}, 2, "none.txt: file not found."),
        (["report", "outbox/acme/none"], {}, 1, "There is no submission outbox/acme/none."),
        (["capacity", "12"], {}, 2, "'12' is not a BTN: write 10 digits"),
        (["init", "--reseller", "Acme Ltd"], {}, 2, "'Acme Ltd' can't be a reseller"),
        (["init", "--reseller", "network"], {}, 2, "'network' can't be a reseller"),
        (["init", "--group", "acme"], {}, 2, "--group needs --reseller"),
        (["init", "--reseller", "acme", "--group", "root"], {}, 2, "--group needs CARDS_SHARE=group"),
        (["init", "--reseller", "acme"], {"CARDS_SHARE": "group"}, 2, "name the reseller's group"),
        (["init", "--reseller", "acme", "--group", "nobody-has-it"], {"CARDS_SHARE": "group"}, 2, "There is no group"),
        (["order", "10023456-1"], {}, 1, "There is no order"),
        (["capacity", "3035550142", "--limit", "3"], {}, 2, "are for the list of all BTNs: name none"),
        (["orders", "--reseller", "acmee"], {}, 2, "neither the catalogue nor a submission names this reseller"),
        (["orders", "--since", "today"], {}, 2, "--since today: write a date"),
        (["submissions", "--csv", "no/such/folder/a.csv"], {}, 2, "no file can be written there"),
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


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--fast"], ["check"], ["catalogue", "unload"]])
def test_wrong_usage_is_reported_and_ends_with_2(arguments: list[str], house: House) -> None:
    done = house.cards(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.error


def test_a_registry_that_is_not_a_database_is_reported(house: House) -> None:
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
        "orders",
        "submissions",
        "holds",
        "status",
        "capacity",
        "report",
        "template",
        "demo",
        "init",
        "clear-hold",
        "verify",
        "catalogue",
        "registry",
    ):
        assert re.search(rf"^\W+{command}\b", done.out, re.MULTILINE)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.error.splitlines()}
    assert not re.search(r"^\W+catalog\b", done.out, re.MULTILINE), "an alias is not listed"
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
    assert f"{CODES[0][:6]}••••••••.csv: Permission denied" in str(error)


# -- a home ------------------------------------------------------------------------------------------------------------


class Empty(House):
    """An empty folder, which was never set up."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()


@pytest.fixture
def empty(tmp_path: Path) -> House:
    return Empty(tmp_path / "empty")


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): f"{path.stat().st_mode & 0o7777:o}" for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "command",
    [["run"], ["reconcile"], ["serve"], ["order", "10023456-1"], ["status", "10023456-1"], ["verify"], ["clear-hold", "acme"],
     ["capacity", "3035550142"], ["orders"], ["submissions"], ["holds"],
     ["report", "acme/x"], ["template", "orders.xlsx"], ["init", "--reseller", "acme"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_home_that_was_never_set_up_stays_empty(command: list[str], empty: House) -> None:
    line = one_line(empty.process(*command), 1)
    assert "registry" in line
    assert "cards init" in line
    assert list(empty.home.iterdir()) == []


def test_nor_does_a_database_without_tables_get_some(empty: House, postgresql: NewRegistry) -> None:
    with postgresql() as url:
        assert "cards init" in one_line(empty.cards("run", CARDS_REGISTRY=url), 1)
        assert "cards init" in one_line(empty.cards("run", CARDS_REGISTRY=url), 1)
        assert list(empty.home.iterdir()) == []
        assert empty.cards("init", CARDS_REGISTRY=url).code == 0
        assert not (empty.home / "registry.db").exists()
        assert empty.cards("run", "--json", CARDS_REGISTRY=url).document == {"submissions": [], "failures": []}


def test_init_makes_a_home_that_works_and_overwrites_nothing(empty: House) -> None:
    done = empty.cards("init")
    assert (done.code, done.error) == (0, "")
    assert modes(empty.home) == {
        "inbox": "700", "inbox/network": "700", "outbox": "700", "catalogue.xlsx": "600", ".env": "600", "registry.db": "600",
    }  # fmt: skip
    for name in ("inbox", "outbox", "catalogue.xlsx", ".env", "registry.db"):
        assert str(empty.home / name) in done.out
    assert "Next: " in done.out
    assert "cards catalogue load" in done.out
    assert empty.cards("catalogue", "load", "catalogue.xlsx").out == LOADED
    (empty.home / "catalogue.xlsx").write_bytes(b"mine")
    (empty.home / ".env").write_text("CARDS_MAX_ROWS=7\n")
    before = {path: path.read_bytes() for path in (empty.home / "catalogue.xlsx", empty.home / ".env")}
    again = empty.cards("init")
    assert (again.code, again.error) == (0, "")
    assert "Made: nothing." in again.out
    assert {path: path.read_bytes() for path in before} == before
    with open_registry(f"sqlite:///{empty.home}/registry.db") as registry:
        assert len(registry.catalogue()[0]) == 3


def test_the_sample_catalogue_has_the_sheets_and_columns_that_are_read(empty: House) -> None:
    import openpyxl

    empty.cards("init")
    book = openpyxl.load_workbook(empty.home / "catalogue.xlsx")
    assert {page.title: [cell.value for cell in page[1]] for page in book} == {
        "Accounts": [column.header for column in catalogue.ACCOUNTS],
        "Access Numbers": [column.header for column in catalogue.ACCESS_NUMBERS],
        "Billing Numbers": ["BTN", "Customer Account Number"],
    }
    assert {cell.number_format for page in book for line in page for cell in line} == {"@"}


def test_the_file_of_settings_lists_every_one_with_its_default(empty: House, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.cards("init")
    path = empty.home / ".env"
    text = path.read_text("utf-8")
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    monkeypatch.chdir(empty.home)
    assert load_settings() == Settings(_env_file=None)
    path.write_text(re.sub(r"^# (?=CARDS_)", "", text, flags=re.MULTILINE), "utf-8")
    assert {line.partition("=")[0] for line in path.read_text("utf-8").splitlines() if line.startswith("CARDS_")} == {
        f"CARDS_{name.upper()}" for name in Settings.model_fields
    }
    assert load_settings() == Settings(_env_file=None)


def test_a_reseller_gets_folders_of_its_own(house: House) -> None:
    done = house.cards("init", "--reseller", "globex")
    assert (done.code, done.error) == (0, "")
    assert {path: mode for path, mode in modes(house.home).items() if "globex" in path} == {
        "inbox/globex": "700", "inbox/globex/check": "700", "outbox/globex": "700",
    }  # fmt: skip
    assert "drops order files into" in done.out
    assert "catalogue load" in house.cards("init", "--reseller", "newcomer").out


@pytest.mark.skipif(os.geteuid() != 0, reason="a group that this user is not in")
def test_a_resellers_group_reads_its_answers(house: House) -> None:
    for _ in range(2):
        done = house.cards("init", "--reseller", "globex", "--group", "12345", CARDS_SHARE="group")
        assert (done.code, done.error) == (0, "")
        made = {path: mode for path, mode in modes(house.home).items() if "globex" in path}
        assert made == {"inbox/globex": "2770", "inbox/globex/check": "2770", "outbox/globex": "2750"}
        assert {(house.home / path).stat().st_gid for path in made} == {12345}


def test_the_version_is_that_of_the_package(house: House) -> None:
    assert house.cards("--version").out == f"cards {version('calling-card-orders')}\n"


# -- several submissions, warnings, completion -------------------------------------------------------------------------


def test_reports_of_several_submissions_are_written_again(house: House) -> None:
    for number in range(2):
        house.drop(f"{number}.csv", row(f"A{number}", quantity="1"))
    folders = [one["folder"] for one in house.cards("run", "--json").document["submissions"]]
    for folder in folders:
        (house.home / folder / "confirmation.csv").unlink()
    done = house.process("report", *folders)
    assert (done.code, done.error, done.out.count("\n")) == (0, "", 2)
    assert all((house.home / folder / "confirmation.csv").exists() for folder in folders)
    result = house.cards("report", *folders, "--json").document
    assert [one["folder"] for one in result["submissions"]] == [str(house.home / folder) for folder in folders]
    assert "confirmation.csv" in result["submissions"][0]["files"]
    (house.home / folders[0] / "confirmation.csv").unlink()
    assert "no submission" in one_line(house.cards("report", folders[0], "acme/none"), 1)
    assert not (house.home / folders[0] / "confirmation.csv").exists()


def warned(done: Done) -> list[str]:
    lines = done.error.splitlines()
    assert all(line.startswith("cards: warning: ") for line in lines)
    return [line.removeprefix("cards: warning: ") for line in lines]


def test_files_in_sub_folders_are_named_in_one_line(house: House) -> None:
    for name in ("a.csv", "deep/b.csv", ".hidden/c.csv", ".c.csv"):
        path = house.home / "inbox/acme/new" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(csv_of(row("A1", quantity="1")))
    done = house.cards("run")
    assert done.code == 0
    assert warned(done) == [
        "inbox/acme: 2 files in sub-folders wait (first: new/a.csv). Sub-folders are not read; move files up to inbox/acme."
    ]


def test_files_with_a_second_name_are_named_and_end_no_run_with_an_error(house: House, tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept.csv", tmp_path / "gone.csv"
    for path in (kept, gone):
        path.write_bytes(csv_of(row("ONE", quantity="1")))
        os.link(path, house.home / "inbox" / "acme" / path.name)
    os.link(kept, house.home / "inbox" / "own.csv")
    gone.unlink()
    done = house.cards("run")
    assert done.code == 0
    advice = "A hard link may be to somebody else's file; remove it, or copy the file."
    assert warned(done) == [
        f"inbox: 1 file has a second name and waits (first: own.csv). {advice}",
        f"inbox/acme: 1 file has a second name and waits (first: kept.csv). {advice}",
    ]
    assert "gone.csv" in done.out
    (house.home / "inbox" / "own.csv").unlink()
    kept.unlink()
    done = house.cards("run")
    assert "kept.csv" in done.out
    assert warned(done) == []


def test_files_in_a_folder_with_a_name_of_ours_are_named(house: House) -> None:
    for name in ("house", "reconciliation"):
        (house.home / "inbox" / name).mkdir()
        house.drop("a.csv", row("A1", quantity="1"), source=name)
    assert [line.partition(",")[0] for line in warned(house.cards("run"))] == [
        "inbox/house: 1 file waits", "inbox/reconciliation: 1 file waits",
    ]  # fmt: skip


def test_a_warning_shows_no_code_and_stays_one_line(house: House) -> None:
    (house.home / f"inbox/acme/{CODES[0]}\nx").mkdir(parents=True)
    (house.home / f"inbox/acme/{CODES[0]}\nx/a.csv").touch()
    (line,) = warned(house.cards("run"))
    assert f"{CODES[0][:6]}••••••••" in line
    assert CODES[0][-4:] not in line


def test_files_of_a_misspelled_reseller_wait_and_are_named_in_one_line(house: House) -> None:
    (house.home / "inbox/acmee").mkdir()
    path = house.drop("orders.csv", row("A1", quantity="1"), row("A2", quantity="2"), source="acmee")
    done = house.cards("run", "--json")
    assert json.loads(done.out)["submissions"] == []
    assert warned(done) == [
        (
            "inbox/acmee: 1 file waits, because the catalogue lists no such reseller. Did you mean acme? "
            "Rename the folder, or add it to the catalogue."
        )
    ]
    assert path.exists()
    assert not (house.home / "outbox/acmee").exists()
    path.parent.rename(house.home / "inbox/renamed")
    (house.home / "inbox/renamed/orders.csv").rename(house.home / "inbox/acme/orders.csv")
    (result,) = house.cards("run", "--json").document["submissions"]
    assert result["orders_placed"] == 2


def test_the_warning_about_an_unknown_reseller_names_the_closest_one(house: House) -> None:
    with open_registry(f"sqlite:///{house.home}/registry.db") as registry:
        settings = load_settings(_env_file=None, home=house.home)
        for name in ("acmee", "somebody"):
            (house.home / "inbox" / name).mkdir()
        assert setup.warnings(Run(settings, registry)) == []
        for name in ("acmee", "somebody"):
            house.drop("orders.csv", row("A1", quantity="1"), source=name)
        assert setup.warnings(Run(settings, registry)) == [
            (
                "inbox/acmee: 1 file waits, because the catalogue lists no such reseller. Did you mean acme? "
                "Rename the folder, or add it to the catalogue."
            ),
            (
                "inbox/somebody: 1 file waits, because the catalogue lists no such reseller. "
                "Rename the folder, or add it to the catalogue."
            ),
        ]


def completed(house: House, line: str, **environment: str) -> list[str]:
    """What the shell offers at the end of a line."""
    done = house.process(
        _CARDS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1), **environment
    )
    assert done.error == ""
    return done.out.split()


@pytest.mark.slow
def test_the_shell_completes_resellers_and_order_ids(house: House, empty: House) -> None:
    (house.home / "inbox/newcomer").mkdir()
    (house.home / "inbox/network").mkdir()
    house.drop("a.csv", row("A1", quantity="1"), row("A2", quantity="1"))
    house.cards("run")
    assert completed(house, "cards clear-hold ") == ["acme", "globex", "newcomer"]
    assert completed(house, "cards check x.csv --reseller a") == ["acme"]
    assert completed(house, "cards orders --reseller g") == completed(house, "cards submissions --reseller g") == ["globex"]
    assert completed(house, "cards order 1002") == ["10023456-2", "10023456-1"]
    assert completed(house, "cards order 10023456-1") == ["10023456-1"]
    assert completed(house, "cards status ACME") == []
    for line in ("cards clear-hold ", "cards order 1"):
        assert completed(empty, line) == []
        assert completed(empty, line, CARDS_MAX_ROWS="many") == []
        assert completed(empty, line, CARDS_REGISTRY="postgresql://127.0.0.1:1/none") == []
    assert list(empty.home.iterdir()) == []


def test_the_catalogue_is_shown_compared_and_loaded(house: House) -> None:
    path = house.home / "new.xlsx"
    assert "Put your accounts in place" in house.cards("catalogue", "template", path).out
    again = house.cards("catalogue", "template", path)
    assert (again.code, again.error) == (2, f"cards: {path} exists already; it is never overwritten.\n")
    assert "removed" in house.cards("catalogue", "load", path, "--dry-run").out
    before = json.loads(house.cards("catalogue", "show", "--json").out)
    assert len(before["accounts"]) == len(ACCOUNTS)
    assert "Loaded 3 product accounts" in house.cards("catalogue", "load", path).out
    assert json.loads(house.cards("catalogue", "diff", path, "--json").out) == {"changes": [], "awaiting": []}
    assert "would change nothing" in house.cards("catalogue", "diff", path).out
    shown = json.loads(house.cards("catalogue", "show", "--json").out)
    assert [one["reseller"] for one in shown["accounts"]] == ["acme", "acme", "globex"]
    house.cards("catalogue", "show", "--write", house.home / "written.xlsx")
    assert "would change nothing" in house.cards("catalogue", "diff", house.home / "written.xlsx").out
