"""What must not be seen: the registry's password, codes in temporary files, the reseller's hand in our workbooks (medium)."""

import io
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from pipelines.registry.store import open_registry
from tests import corpus
from tests.conftest import csv_of, row, some_codes, xlsx_of
from tests.security.attack import ROOT, House, contents, found_in, globex
from tests.security.watch import kill, tree

pytestmark = pytest.mark.one_database

PASSWORD = "s3cret-Pa55"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "home").lay()


# -- the registry's password -------------------------------------------------------------------------------------------

URLS = [
    f"mysql://cards:{PASSWORD}@db/cards",
    pytest.param(f"mysql://cards:x@{PASSWORD}@db/cards"),
    pytest.param(f"postgresql:/cards:{PASSWORD}@db/cards"),
    pytest.param(f"mysql://db/cards?user=cards&password={PASSWORD}"),
    pytest.param(f"host=db user=cards password={PASSWORD}"),
    pytest.param(f"cards:{PASSWORD}@db/cards"),
    f"postgresql://cards:{PASSWORD}@127.0.0.1:1/cards",
    f"postgresql://cards:x@{PASSWORD}@127.0.0.1:1/cards",
    f"postgresql://cards:{PASSWORD}@127.0.0.1:port/cards",
    f"postgresql://cards:{PASSWORD}%zz@127.0.0.1:1/cards",
]


@pytest.mark.parametrize("url", URLS)
def test_no_error_shows_the_registrys_password(url: str, tmp_path: Path) -> None:
    house = House(tmp_path, url)
    ended = house.cards("run", code=None)
    assert ended.code in (1, 2)
    assert PASSWORD not in ended.said
    assert "Traceback" not in ended.said


def test_nor_one_of_another_setting_that_is_in_the_same_file(tmp_path: Path) -> None:
    """A value in the wrong place is still a value that somebody keeps secret."""
    house = House(tmp_path, CARDS_MAX_QUANTITY=f"postgresql://cards:a@{PASSWORD}@db/cards")
    ended = house.cards("run", code=2)
    assert "CARDS_MAX_QUANTITY" in ended.said
    assert PASSWORD not in ended.said


def test_no_documented_command_puts_the_registrys_address_among_its_arguments() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines()]
    assert [line for line in lines if re.search(r"(pg_dump|psql|pg_restore|pg_basebackup)\b.*(CARDS_REGISTRY|://)", line)] == []


# -- children ----------------------------------------------------------------------------------------------------------


def snapshot(pid: int) -> dict[int, tuple[bytes, bytes]]:
    """Arguments and environment of all that a process has started."""
    found = {}
    for one in tree(pid)[1:]:
        try:
            found[one] = (Path(f"/proc/{one}/cmdline").read_bytes(), Path(f"/proc/{one}/environ").read_bytes())
        except OSError:
            continue
    return found


def test_children_that_meet_a_strangers_bytes_know_no_secret(house: House) -> None:
    book = openpyxl.load_workbook(io.BytesIO(corpus.book(*(corpus.line(f"R{n}", code="12") for n in range(2_000)))))
    content = io.BytesIO()
    book.save(content)
    house.drop("orders.xlsx", content.getvalue())
    secrets = {"CARDS_REGISTRY": f"sqlite:///{house.home}/registry.db?{PASSWORD}".split("?")[0], "A_TOKEN": PASSWORD,
               "PREFECT_API_AUTH_STRING": f"admin:{PASSWORD}"}  # fmt: skip
    process = house.start("run", environment=secrets)
    seen: dict[int, tuple[bytes, bytes]] = {}
    while process.poll() is None:
        seen |= snapshot(process.pid)
        time.sleep(0.01)
    process.communicate()
    workers = [one for one in seen.values() if b"worker" in one[0] or b"parser" in one[0]]
    assert len(workers) >= 2, "no child was seen at work"
    for arguments, environment in workers:
        assert PASSWORD.encode() not in arguments + environment
        assert b"CARDS_REGISTRY" not in environment
        assert b"registry.db" not in arguments + environment


# -- what a kill leaves behind -----------------------------------------------------------------------------------------


def codes_of(house: House) -> list[str]:
    with open_registry(f"sqlite:///{house.home}/registry.db") as registry:
        return registry.query("SELECT code FROM numbers", {"code": pl.Int64})["code"].cast(pl.String).to_list()


def outside(house: House) -> list[Path]:
    """Files of the home that are no part of inbox, outbox and registry, hidden ones of those too."""
    return [path for path in house.home.rglob("*") if path.is_file() and path.name != "catalogue.xlsx"
            and not path.name.startswith(("registry.db", ".registry-mark"))
            and (path.relative_to(house.home).parts[0] not in ("inbox", "outbox")
                 or any(part.startswith(".") for part in path.relative_to(house.home).parts))]  # fmt: skip


def test_a_kill_leaves_no_code_in_the_temporary_folder(house: House, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    house.environment["TMPDIR"] = str(scratch)
    codes = some_codes(1_500)
    house.drop("orders.xlsx", xlsx_of(row("A", code="12"), *(row("A", code=code) for code in codes)))
    process = house.start("run")
    while process.poll() is None:  # killed as soon as something is written there, if it ever is
        if any(path.stat().st_size > 20_000 for path in scratch.rglob("*") if path.is_file()):
            kill(tree(process.pid))
        time.sleep(0.002)
    process.communicate()
    left = b"".join(contents(scratch).values()).replace(b"\0", b"")
    assert set(re.findall(rb"\d{14}", left)) & {code.encode() for code in codes} == set()


def test_the_next_run_clears_away_what_a_kill_has_left(house: House, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    house.environment["TMPDIR"] = str(scratch)
    for checkpoint in ("decided", "folder written"):
        house.drop(f"{checkpoint}.xlsx", corpus.book(corpus.line(f"A{checkpoint}", quantity=3), corpus.line("BAD", code="12")))
        died = [sys.executable, "-m", "tests.security.dies", checkpoint]
        assert subprocess.run(died, cwd=ROOT, env=house.environment, check=False).returncode == 9
        house.run()
        assert outside(house) == []
        assert found_in(scratch, codes_of(house)) == []
    assert not list((house.inbox / "acme").iterdir())


def test_with_any_umask_everything_is_for_the_services_eyes_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    house = House(home).lay()
    house.drop("orders.xlsx", corpus.book(corpus.line("A"), corpus.line("B", code="12")))
    house.cards("run", umask=0)
    house.cards("reconcile", umask=0)
    ours = [house.outbox, *house.outbox.rglob("*"), *house.home.glob("registry.db*")]
    ours += [path for path in house.home.iterdir() if path.name not in ("inbox", "catalogue.xlsx")]
    modes = {str(path): f"{path.stat().st_mode & 0o777:o}" for path in ours}
    assert len(modes) > 8
    assert {path: mode for path, mode in modes.items() if int(mode, 8) & 0o077} == {}


# -- the reseller's hand in our workbooks --------------------------------------------------------------------------------

MARK = "Xq7-mark-of-acme"


def marked() -> bytes:
    """A workbook with a bad row, and the reseller's mark on every part that could travel."""
    from openpyxl.comments import Comment
    from openpyxl.formatting.rule import CellIsRule
    from openpyxl.styles import Font, NamedStyle, Protection
    from openpyxl.workbook.defined_name import DefinedName
    from openpyxl.worksheet.datavalidation import DataValidation

    def change(made: Any) -> None:
        page = made.active
        made.add_named_style(NamedStyle(name=f"style {MARK}", font=Font(bold=True)))
        for cell in page[2]:
            cell.style = f"style {MARK}"
            cell.protection = Protection(locked=True, hidden=True)
        page["E2"].comment = Comment(MARK, MARK)
        page["G1"].value, page["G2"].value = "Notes", "free"
        page["G2"].hyperlink = f"https://example.org/{MARK}"
        page.oddHeader.center.text = MARK
        page.add_data_validation(DataValidation(type="list", formula1=f'"{MARK}"', sqref="A1:A9"))
        page.conditional_formatting.add("A1:A9", CellIsRule(operator="equal", formula=[f'"{MARK}"']))
        page.protection.enable()
        page.protection.password = MARK
        made.security.lockStructure = True
        made.security.workbookPassword = "ABCD"
        made.defined_names["mark"] = DefinedName("mark", attr_text=f'"{MARK}"')
        made.properties.title = made.properties.creator = made.properties.lastModifiedBy = MARK
        made.create_sheet(MARK)["A1"] = MARK

    members = corpus.parts(corpus.book(corpus.line("BAD", code="12"), corpus.line("GOOD"), change=change))
    theme = members["xl/theme/theme1.xml"].replace(b"Office Theme", MARK.encode())
    assert MARK.encode() in theme
    return corpus.zipped({**members, "xl/theme/theme1.xml": theme})


def test_nothing_but_cells_of_the_resellers_workbook_comes_back(house: House) -> None:
    house.drop("orders.xlsx", marked())
    (result,) = house.run()
    assert result["reasons"] == {"CODE_FORMAT": 1}
    path = house.home / result["folder"] / "rejections.xlsx"
    assert found_in_parts(path, MARK) == []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            for what in (b"workbookProtection", b"sheetProtection", b"<protection ", b"externalLink", b"hyperlink"):
                assert what not in text, (name, what)
    assert any(cell.value == "12" for page in openpyxl.load_workbook(path) for line in page.iter_rows() for cell in line)


def found_in_parts(path: Path, mark: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return [name for name, text in parts.items() if mark.encode() in text or mark in name]


def test_a_resellers_number_format_shows_no_other_value_than_the_cells(house: House) -> None:
    def change(made: Any) -> None:
        for cell in made.active[2]:
            cell.number_format = '"10023456"'
            cell.font = openpyxl.styles.Font(color="FFFFFFFF")

    house.drop("orders.xlsx", corpus.book(corpus.line("BAD", code=12345), change=change))
    (result,) = house.run()
    page = openpyxl.load_workbook(house.home / result["folder"] / "rejections.xlsx")["Orders"]
    theirs = page[2][:-3]  # behind them are row, reason and what to fix, which are ours
    assert {cell.number_format for cell in theirs} <= {"General", "@", "0"}
    assert "FFFFFFFF" not in {cell.font.color and cell.font.color.rgb for cell in theirs}


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_run_and_verify_print_no_code(house: House) -> None:
    house.drop("73905162840517.csv", csv_of(row("A", code="73905162840517"), row("B", quantity="5"), row("C", code="12")))
    house.drop("theirs.csv", csv_of(globex("A", code="73905162840517")), "globex")
    said = house.cards("run").said
    said += house.cards("run", "--json").said + house.cards("verify").said + house.cards("reconcile", "--json").said
    assert [code for code in codes_of(house) if code in said] == []


def test_a_file_sends_no_control_character_to_the_operators_terminal(house: House, tmp_path: Path) -> None:
    book = corpus.patched(corpus.book(corpus.line("A")), corpus.SHEET, b"Customer Order ID", b"_x001B_[2J_x0007_evil")
    said = ""
    for name, content in {"a.xlsx": book, "b\x1b[2J\u202e\udcff.csv": "Acc\u009b31m,Quantity\u202e\n1,2\n".encode()}.items():
        path = tmp_path / name
        path.write_bytes(content)
        said += house.cards("check", str(path), "--reseller", "acme", code=None).said
        document = house.cards("check", str(path), "--reseller", "acme", "--json", code=None).out
        assert json.loads(document)["findings"]
        said += document
        house.drop(name, content)
    said += house.cards("run").said
    assert "COLUMN_MISSING" in said
    for words in (["audit"], ["audit", "--json"], ["audit", "--json-lines"], ["submissions"], ["submissions", "--json"]):
        said += (listed := house.cards(*words).said)
        assert "2J" in listed
    lines = [json.loads(line) for line in house.cards("audit", "--json-lines").out.splitlines()]
    assert lines == json.loads(house.cards("audit", "--json").out)["entries"][::-1]
    assert {letter for letter in said if not letter.isprintable()} <= {"\n", "\t"}
