"""The order workbook: what it offers and stops, that nothing in it is another's, and that what is filled in is placed."""

import csv
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.admin.catalogue import load_catalogue
from pipelines.common.errors import UsageError
from pipelines.common.settings import Settings, load_settings
from pipelines.excel import order_rules, order_template
from pipelines.intake.inbox import file_at
from pipelines.intake.private_copy import PrivateCopy
from pipelines.intake.reader import Parser, read
from pipelines.orders.batch import build_batch
from pipelines.orders.loading import OrderFile
from pipelines.process_orders import process_inbox
from pipelines.registry.store import Registry, open_registry
from pipelines.run import Run
from schemas.actions import ACTIONS
from schemas.codes import FORBIDDEN_SEQUENCES, is_code
from schemas.orders import BTN4, BY_HEADER, COLUMNS, HEADERS, NAMES, RANDOM, SPECIFIED

ACCOUNTS = [
    ("Reseller", "Customer Account Number", "Product Account Number", "Description", "Acceptance"),
    ("acme", "10023456", "7002", "Prepaid card, international", "whole"),
    ("acme", "10023456", "7001", "Prepaid card, domestic", "whole"),
    ("acme", "00023457", "-7003", '=HYPERLINK("http://example.com")', "whole"),
    ("globex", "20098765", "8001", "Employee card of Globex", "partial"),
    ("globex", "20098765", "8002", "Visitor card of Globex", "partial"),
]
ACCESS = [
    ("Access Number", "Customer Account Number", "Description"),
    ("800-860-4444", "", "for everyone"),
    ("800-866-3691", "", "for everyone"),
    ("888-402-7755", "10023456", "Acme's own"),
    ("877-666-2093", "20098765", "of Globex"),
]
GLOBEX = re.compile(r"globex|20098765|800[12]\b|877-?666-?2093", re.IGNORECASE)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", registry="", settle_seconds=0)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    settings.inbox.mkdir(parents=True)
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in (("Accounts", ACCOUNTS), ("Access Numbers", ACCESS)):
        page = book.create_sheet(title)
        for row in rows:
            page.append(row)
        for cell in page["D"]:
            cell.data_type = "s"
    book.save(settings.home / "catalogue.xlsx")
    with open_registry(settings.registry_url) as opened:
        load_catalogue(settings.home / "catalogue.xlsx", opened)
        yield opened


@pytest.fixture
def path(tmp_path: Path, registry: Registry) -> Path:
    order_template.write_template(tmp_path / "acme.xlsx", *registry.catalogue(), "acme")
    return tmp_path / "acme.xlsx"


@pytest.fixture
def book(path: Path) -> Workbook:
    return openpyxl.load_workbook(path)


def items(book: Workbook, name: str) -> list[object]:
    """The cells of a list, by its defined name."""
    sheet, _, area = str(book.defined_names[name].attr_text).partition("!")
    return [cell.value for (cell,) in book[sheet][area]]


def fill(page: Worksheet, rows: list[dict[str, str]]) -> None:
    """Type rows (header to text) into the sheet Orders, whose columns are text."""
    place = {header: column for column, header in enumerate(HEADERS.values(), 1)}
    for line, row in enumerate(rows, 2):
        for header, text in row.items():
            page.cell(line, place[header], text).number_format = "@"


def test_sheets(book: Workbook) -> None:
    assert [page.title for page in book] == ["Orders", "Instructions", "Examples", "Accounts", "Lists"]
    assert book.active is book["Orders"]
    assert [page.sheet_state for page in book] == ["visible"] * 4 + ["hidden"]
    assert [cell.value for cell in book["Orders"][1]] == list(HEADERS.values())
    for page in book.worksheets[:4]:
        assert page.page_setup.fitToHeight == 0
        assert page.oddFooter
        assert page.oddFooter.center.text == "&A — page &P of &N"
    assert book["Orders"].freeze_panes == "A2"
    assert book["Orders"].print_title_rows == "$1:$1"


def test_every_column_is_text_tells_what_to_write_and_stops_the_rest(book: Workbook) -> None:
    page = book["Orders"]
    made = {str(validation.sqref): validation for validation in page.data_validations.dataValidation}
    for place, column in enumerate(COLUMNS, 1):
        letter = get_column_letter(place)
        assert page.column_dimensions[letter].number_format == "@"
        validation = made.pop(f"{letter}2:{letter}1048576")
        assert validation.type == order_rules.RULES[column.name].kind
        assert validation.showInputMessage
        assert validation.showErrorMessage
        assert validation.errorStyle in (None, "stop")
        assert 0 < len(validation.prompt) <= 255  # what Excel takes
        assert 0 < len(validation.error) <= 225
        assert not validation.error.endswith("…")
        assert max(len(validation.promptTitle), len(validation.errorTitle)) <= 32
        assert 0 < len(validation.formula1) <= 255
        assert not validation.showDropDown  # which would hide the arrow
    assert not made


def test_every_name_in_a_formula_is_a_list(book: Workbook) -> None:
    functions = {"AND", "OR", "NOT", "IF", "LEN", "LEFT", "MID", "MOD", "UPPER", "SUMPRODUCT", "SUBSTITUTE", "ISNUMBER",
                 "FIND", "COUNTIF", "OFFSET", "MATCH"}  # fmt: skip
    page = book["Orders"]
    formulas = [validation.formula1 for validation in page.data_validations.dataValidation]
    formulas += [rule.formula[0] for area in page.conditional_formatting for rule in area.rules]
    words = {word for formula in formulas for word in re.findall(r"(?<![$\w])[A-Za-z]\w*", re.sub(r'"[^"]*"', "", formula))}
    assert words - functions <= set(book.defined_names)


def test_lists_are_those_of_the_catalogue_and_the_tables(book: Workbook) -> None:
    assert items(book, "Actions") == list(ACTIONS)
    assert items(book, "CodeTypes") == [SPECIFIED, RANDOM, BTN4]
    assert items(book, "YesNo") == ["Yes", "No"]
    assert items(book, "Accounts") == ["00023457", "10023456"]
    assert list(zip(items(book, "ProductsOf"), items(book, "Products"), strict=True)) == [
        ("00023457", "-7003"), ("10023456", "7001"), ("10023456", "7002"),
    ]  # fmt: skip
    assert items(book, "EveryonesNumbers") == ["800-860-4444", "800-866-3691"]
    assert list(zip(items(book, "NumbersOf"), items(book, "Numbers"), strict=True)) == [
        ("10023456", "888-402-7755"), ("10023456", "800-860-4444"), ("10023456", "800-866-3691"),
    ]  # fmt: skip
    assert items(book, "Runs") == FORBIDDEN_SEQUENCES
    assert items(book, "Forbidden") == [*FORBIDDEN_SEQUENCES, " 0", ",0", ";0", "\n0"]


def test_nothing_is_a_formula(path: Path, book: Workbook) -> None:
    assert [(page.title, cell.coordinate) for page in book for row in page for cell in row if cell.data_type == "f"] == []
    assert book["Accounts"]["C2"].value == '=HYPERLINK("http://example.com")'
    with zipfile.ZipFile(path) as archive:
        assert not any(b"<f>" in archive.read(name) for name in archive.namelist())


def test_nothing_is_anothers(path: Path, tmp_path: Path, registry: Registry) -> None:
    everybodys = tmp_path / "all.xlsx"
    order_template.write_template(everybodys, *registry.catalogue(), "")
    assert not _found(path)
    assert _found(everybodys) == {"globex", "20098765", "8001", "8002", "877-666-2093"}
    assert items(openpyxl.load_workbook(everybodys), "Accounts") == ["00023457", "10023456", "20098765"]


def _found(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return {word.lower() for name in archive.namelist() for word in GLOBEX.findall(archive.read(name).decode())}


@pytest.mark.parametrize("reseller", ["initech", "Acme "])
def test_a_reseller_without_accounts_gets_no_workbook(reseller: str, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(UsageError, match="no account"):
        order_template.write_template(tmp_path / "none.xlsx", *registry.catalogue(), reseller)
    assert not (tmp_path / "none.xlsx").exists()


def test_without_access_numbers_of_ones_own_everyones_are_offered(tmp_path: Path, registry: Registry) -> None:
    accounts, numbers = registry.catalogue()
    order_template.write_template(tmp_path / "plain.xlsx", accounts, numbers.filter(pl.col("account") == ""), "acme")
    book = openpyxl.load_workbook(tmp_path / "plain.xlsx")
    assert items(book, "NumbersOf") == items(book, "Numbers") == [None]
    assert items(book, "EveryonesNumbers") == ["800-860-4444", "800-866-3691"]


def test_instructions_name_every_column_and_say_when_to_print(book: Workbook) -> None:
    texts = [str(cell.value) for row in book["Instructions"] for cell in row if cell.value]
    assert set(HEADERS.values()) <= set(texts)
    assert any("inbox/acme" in text for text in texts)
    assert any("Do not print" in text for text in texts)
    assert not any("`" in text or "{" in text for text in texts)


def test_filled_in_and_dropped_it_is_placed(book: Workbook, settings: Settings, registry: Registry) -> None:
    card = {"Action": "Add", "Service Type": "Card", "Customer Account Number": "10023456", "Product Account Number": "7001",
            "Access Number": "888-402-7755", "International Origin": "No", "International Termination": "Yes"}  # fmt: skip
    other = {"Customer Account Number": "00023457", "Product Account Number": "-7003", "Access Number": "800-860-4444"}
    rows = [
        {**card, "Customer Order ID": "OCT-1", "Code Type": SPECIFIED, "Code": "73905162840517"},
        {**card, "Customer Order ID": "OCT-1", "Code Type": SPECIFIED, "Code": "73905162840518, 73905162840519"},
        {**card, "Customer Order ID": "OCT-2", "Code Type": RANDOM, "Quantity": "25"},
        {**card, "Customer Order ID": "OCT-3", "Code Type": BTN4, "BTN": "303-555-0142", "Quantity": "10"},
        {**other, "Customer Order ID": "OCT-1", "Quantity": "4"},
    ]
    fill(book["Orders"], rows)
    (settings.inbox / "acme").mkdir()
    book.save(settings.inbox / "acme" / "october.xlsx")
    (result,) = process_inbox(Run(settings, registry)).results
    assert (result.reasons, result.orders_placed, result.orders_rejected, result.codes_placed) == ({}, 4, 0, 42)


def test_rejected_it_keeps_its_checks_and_lists_from_the_catalogue_of_today(
    book: Workbook, settings: Settings, registry: Registry
) -> None:
    card = {"Customer Account Number": "10023456", "Product Account Number": "7001", "Access Number": "800-860-4444"}
    fill(book["Orders"], [{**card, "Customer Order ID": "OCT-1", "Code": "1"}])
    book["Lists"]["G2"] = "an account of somebody's"
    (settings.inbox / "acme").mkdir()
    offered = [items(book, name) for name in ("Products", "Numbers", "Forbidden")]
    for name in ("october.xlsx", "again.xlsx"):  # what was rejected is recognized too
        book.save(settings.inbox / "acme" / name)
        (result,) = process_inbox(Run(settings, registry)).results
        assert result.orders_rejected == 1
        book = openpyxl.load_workbook(settings.home / result.folder / "rejections.xlsx")
        assert [(page.title, page.sheet_state) for page in book] == [
            ("Summary", "visible"), ("Orders", "visible"), ("Lists", "hidden"),
        ]  # fmt: skip
        assert book.active is book["Orders"]
        test_every_column_is_text_tells_what_to_write_and_stops_the_rest(book)
        test_every_name_in_a_formula_is_a_list(book)
        assert [items(book, name) for name in ("Products", "Numbers", "Forbidden")] == offered
        assert items(book, "Accounts") == ["00023457", "10023456"]
        assert [cell.value for cell in book["Orders"][1]] == [*HEADERS.values(), "Row", "Reason", "What to fix"]


def test_examples_are_well_formed_and_show_every_action_and_code_type(book: Workbook, settings: Settings) -> None:
    header, *lines = book["Examples"].iter_rows(values_only=True)
    rows = [{str(k): str(v) for k, v in zip(header, line, strict=True) if k != "Example" and v} for line in lines]
    assert all(line[0] for line in lines)
    assert {row["Action"] for row in rows} == set(ACTIONS)
    assert {row["Code Type"] for row in rows if "Code Type" in row} == {SPECIFIED, RANDOM, BTN4}
    fill(book["Orders"], rows)
    book.save(settings.home / "examples.xlsx")
    with Parser(settings) as parser:
        table = read((settings.home / "examples.xlsx").read_bytes(), parser, settings, NAMES, BY_HEADER)
    copy = PrivateCopy(file_at(settings.home, "acme"), settings.home, "", 0)
    batch = build_batch([OrderFile(0, copy, table)], settings.max_quantity, settings.max_findings)
    assert batch.findings.rows() == []
    assert len(batch.rows) == len(rows)
    assert len(batch.orders) == len({row["Customer Order ID"] for row in rows})


GOOD = "73905162840517"
SEVERAL = {
    f"{GOOD}, 73905162840518": True, f"{GOOD}\n73905162840518": True, f"{GOOD};73905162840518 73905162840519": True,
    f"{GOOD}73905162840518": False, f"{GOOD},03905162840518": False, f"{GOOD}\n03905162840518": False,
    f"{GOOD} 73905162844445": False, f"{GOOD},7390516284051": False, f"{GOOD}/73905162840518": False,
}  # fmt: skip
BTNS = {"3035550142": True, "303-555-0142": True, "8005555555": False, "303-555-5142": False, "1035550142": False,
        "3031550142": False, "303555014": False, "30355501420": False, "303555014x": False, "30355501-2": False}  # fmt: skip
ORDER_REFS = {"OCT-1": True, "oct_2": True, "123456789012345": True, "1234567890123456": False, "OCT 1": False,
              "OCT/1": False, "Ö1": False, "OCT*": False, "OCT?": False}  # fmt: skip
QUANTITIES = {"1": True, "1000000": True, "0": False, "01": False, "-1": False, "1.5": False, "1e3": False, "ten": False,
              "123456789": False}  # fmt: skip

PRODUCTS = {"10023456": "7001 7002", "00023457": "-7003", "99999999": "", "": ""}
NUMBERS = {"10023456": "888-402-7755 800-860-4444 800-866-3691", "00023457": "800-860-4444 800-866-3691"}


def _codes() -> dict[str, bool]:
    source = random.Random(4)
    drawn = [str(source.randrange(10**13, 10**14)) for _ in range(60)]
    runs = [f"{GOOD[:place]}{run}{GOOD[place + 4 :]}" for run in FORBIDDEN_SEQUENCES for place in (0, 5, 10)]
    odd = [GOOD[:13], GOOD + "0", "0" + GOOD[1:], "7.39051628E+13", "7390516284051x", "７3905162840517", "+7390516284051",
           "7390516284051-", "73905,62840517", "1,E10", "*", "?" * 14]  # fmt: skip
    texts = pl.DataFrame({"code": [*drawn, *runs, *odd]})
    return dict(texts.select("code", right=is_code(pl.col("code"))).iter_rows())


@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_the_rules_as_a_spreadsheet_works_them_out(book: Workbook, tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, bool] | dict[str, str]]] = [
        ("code", _codes()), ("code", SEVERAL), ("btn", BTNS), ("customer_order_id", ORDER_REFS), ("quantity", QUANTITIES),
        ("product", PRODUCTS), ("access_number", NUMBERS),
        ("target_order_id", {name: bool(action.cards_in) for name, action in ACTIONS.items()}),
    ]  # fmt: skip
    asked = [(name, text, right) for name, texts in cases for text, right in texts.items()]
    depends = {"product": "account", "access_number": "account", "target_order_id": "action"}
    page = book["Orders"]
    for line, (name, text, _) in enumerate(asked, 2):
        header, formula = (
            HEADERS[depends.get(name, name)],
            re.sub(r"(\$[A-Z])2\b", rf"\g<1>{line}", order_rules.RULES[name].formula),
        )
        page.cell(line, list(HEADERS.values()).index(header) + 1, text or None).number_format = "@"
        page.cell(line, 16, f'=_xlfn.TEXTJOIN(" ",TRUE,{formula})' if order_rules.RULES[name].kind == "list" else f"={formula}")
    found = [row[15] for row in _worked_out(book, tmp_path)[1:]]
    expected = [str(right).upper() if isinstance(right, bool) else right for _, _, right in asked]
    assert [(*case, answer) for case, answer, right in zip(asked, found, expected, strict=True) if answer != right] == []


def _worked_out(book: Workbook, folder: Path) -> list[list[str]]:
    """The first sheet's values after LibreOffice has worked out its formulas."""
    book.save(folder / "asked.xlsx")
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    kind = "csv:Text - txt - csv (StarCalc):44,34,76"
    command = ["soffice", profile, "--headless", "--convert-to", kind, "--outdir", str(folder), str(folder / "asked.xlsx")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with (folder / "asked.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
