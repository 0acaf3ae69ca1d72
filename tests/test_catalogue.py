"""What the operator loads: the catalogue workbook, and codes that exist already."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook

from pipelines.admin import imports as catalogue
from pipelines.admin import samples
from pipelines.admin.catalogue import Catalogue, current_catalogue, differences, load_catalogue, read_catalogue, write_current
from pipelines.admin.imports import import_codes
from pipelines.common.context import Runtime
from pipelines.common.errors import UsageError
from pipelines.registry.store import Registry, open_registry
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, EXTERNAL, NewRegistry, Shop, row, some_codes

pytestmark = pytest.mark.one_database

ACCOUNT_HEADER = ["Reseller", "Customer Account Number", "Product Account Number", "Description", "Acceptance", "Notify",
                  "Approve Above"]  # fmt: skip
ACCESS_HEADER = ["Access Number", "Customer Account Number", "Description"]
GOOD = ["acme", "10023456", "7001", "cards", "whole", "acme@example.com", "1,000"]
EVERYONE = ["800-860-4444", None, "for everyone"]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def shared(new_registry: NewRegistry) -> Iterator[Registry]:
    with new_registry() as url, open_registry(url) as made:
        yield made


@pytest.fixture
def registry(shared: Registry) -> Registry:
    """An empty registry; a new database for each test would take longer than all of them."""
    for table in ("numbers", "cards", "accounts", "access_numbers"):
        shared.execute(f"DELETE FROM {table}")
    return shared


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a catalogue workbook with the rows given, below their headers."""

    def sheets(
        accounts: list[list[Any]], access: list[list[Any]] | None = None, top: int = 0,
        headers: tuple[list[str], list[str]] = (ACCOUNT_HEADER, ACCESS_HEADER),
    ) -> Path:  # fmt: skip
        book = Workbook()
        book.remove(book.worksheets[0])
        for title, header, rows in (("Accounts", headers[0], accounts), ("Access Numbers", headers[1], access or [EVERYONE])):
            page = book.create_sheet(title)
            for number, cells in enumerate([header, *rows], 1 + top):
                for column, cell in enumerate(cells, 1):
                    page.cell(number, column, cell)
        book.save(tmp_path / "catalogue.xlsx")
        return tmp_path / "catalogue.xlsx"

    return sheets


def sizes(loaded: Catalogue) -> tuple[int, ...]:
    return tuple(len(table) for table in loaded)


def complaint(path: Path, registry: Registry) -> str:
    """What is said of a catalogue that is not loaded; that nothing of it is."""
    registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
    with pytest.raises(UsageError) as error:
        load_catalogue(path, registry)
    accounts, access = registry.catalogue()
    assert (len(accounts), len(access)) == (len(ACCOUNTS), len(ACCESS_NUMBERS))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_catalogue_replaces_the_one_before(write: Write, registry: Registry) -> None:
    registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
    path = write(
        [["Acme", 10023456, 7001, None, None], ["globex ", " 00200300", "8001", "=1", "Partial"]],
        [["(800) 860-4444"], [18008663691, "10023456", "their own"]],
    )
    assert sizes(load_catalogue(path, registry))[:2] == (2, 2)
    accounts, access = registry.catalogue()
    assert accounts.rows() == [
        ("acme", "10023456", "7001", "", "whole", "", 0),
        ("globex", "00200300", "8001", "", "partial", "", 0),
    ]
    assert access.rows() == [("8008604444", "", ""), ("8008663691", "10023456", "their own")]


def test_headers_have_other_names_and_columns_another_order(write: Write, registry: Registry) -> None:
    path = write([["7001", "acme", "10023456", "x"]], headers=(["PAN", "reseller", "can", "Colour"], ACCESS_HEADER))
    assert sizes(load_catalogue(path, registry))[:2] == (1, 1)
    assert registry.catalogue()[0].rows() == [("acme", "10023456", "7001", "", "whole", "", 0)]


def test_empty_rows_and_the_same_row_twice_do_no_harm(write: Write, registry: Registry) -> None:
    load_catalogue(write([GOOD, [" "], [None], GOOD], [EVERYONE, EVERYONE]), registry)
    assert [len(frame) for frame in registry.catalogue()] == [1, 1]


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        (0, None, "reseller “”: empty"),
        (0, "network", "reseller “network”: a reserved name"),
        (0, "house", "reseller “house”: a reserved name"),
        (0, "a b", "reseller “a b”: not small letters, digits, - or _"),
        (0, "../etc", "reseller “../etc”: not small letters, digits, - or _"),
        (1, None, "account “”: empty"),
        (1, 200300, "account “200300”: not 8 digits"),
        (1, "１００２３４５６", "account “１００２３４５６”: not 8 digits"),
        (2, None, "product “”: empty"),
        (2, "70 01", "product “70 01”: not a number"),
        (4, "some", "acceptance “some”: neither whole nor partial"),
        (6, "0", "approve above “0”: not a whole number from 1"),
        (6, "many", "approve above “many”: not a whole number from 1"),
    ],
)
def test_a_wrong_account_is_reported_with_sheet_row_and_column(
    column: int, cell: Any, words: str, write: Write, registry: Registry
) -> None:
    wrong = [*GOOD]
    wrong[column] = cell
    assert complaint(write([GOOD, wrong]), registry).startswith(f"catalogue.xlsx was not loaded. Accounts row 3, {words}")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["860-4444"], "access number “8604444”: not 10 digits"),
        (["888-123-4567"], "access number “8881234567”: the exchange (fourth to sixth digit) does not begin with 2 to 9"),
        (["188-402-7755"], "access number “1884027755”: the area code (first three digits) does not begin with 2 to 9"),
        ([None, "10023456"], "access number “”: empty"),
        (["8008604444", "123"], "account “123”: not 8 digits"),
    ],
)
def test_a_wrong_access_number_is_reported_with_sheet_row_and_column(
    cells: list[Any], words: str, write: Write, registry: Registry
) -> None:
    assert complaint(write([GOOD], [EVERYONE, [None], cells]), registry).endswith(f" Access Numbers row 4, {words}")


def test_an_access_number_that_the_catalogue_takes_can_be_ordered(shop: Shop, write: Write) -> None:
    """One telephone rule for both: a number that is right for one is right for the other."""
    numbers = ["888-402-7755", "+1 (888) 402-7756", "1 888 402 7757"]
    load_catalogue(write([GOOD], [[number] for number in numbers]), shop.registry)
    for count, number in enumerate(numbers):
        assert shop.send(row(f"A{count}", access_number=number, quantity="1"), name=f"{count}.csv").reasons == {}


def test_rows_are_those_that_excel_shows(write: Write, registry: Registry) -> None:
    assert "Accounts row 6, " in complaint(write([GOOD, ["acme", "x", "7001"]], top=3), registry)


def test_everything_is_reported_at_once_but_never_hundreds_of_lines(write: Write, registry: Registry) -> None:
    result = complaint(write([["x y", "1", "a b", "", "no"]] * 30, [["1"]]), registry)
    assert result.count(" row ") == 10
    assert result.endswith(" …")
    result = complaint(write([["x y", *GOOD[1:]]], [["1"]]), registry)
    assert "Accounts row 2, reseller" in result
    assert "Access Numbers row 2, access number" in result


def test_an_account_has_one_reseller_and_a_reseller_one_acceptance(write: Write, registry: Registry) -> None:
    assert complaint(write([GOOD, GOOD, ["globex", *GOOD[1:]]]), registry) == (
        "catalogue.xlsx was not loaded. Accounts row 4, reseller “globex”: account 10023456 belongs to two resellers"
    )
    nobody = [[None, "1", "7001", "", kind] for kind in ("whole", "partial")]
    assert "two" not in complaint(write(nobody), registry)
    assert complaint(write([GOOD, [*GOOD[:4], "partial"]]), registry) == (
        "catalogue.xlsx was not loaded. Accounts row 3, acceptance “partial”: reseller acme has two kinds of acceptance"
    )


def test_a_sheet_or_a_column_that_is_missing_is_reported(write: Write, registry: Registry, tmp_path: Path) -> None:
    assert "no column Customer Account Number" in complaint(write([GOOD], headers=(["Reseller"], ACCESS_HEADER)), registry)
    assert "more than one column Customer Account Number" in complaint(
        write([[*GOOD, "1"]], headers=([*ACCOUNT_HEADER, "CAN"], ACCESS_HEADER)), registry
    )
    book = Workbook()
    book.worksheets[0].title = "Accounts"
    book.save(tmp_path / "half.xlsx")
    assert "has no column Reseller" in complaint(tmp_path / "half.xlsx", registry)
    book.worksheets[0].append(ACCOUNT_HEADER)
    book.save(tmp_path / "half.xlsx")
    assert "no readable sheet “Access Numbers”" in complaint(tmp_path / "half.xlsx", registry)


@pytest.mark.parametrize("content", [b"", b"Reseller,Customer Account Number\n", b"PK\x03\x04 no archive"])
def test_what_is_not_a_workbook_is_reported(content: bytes, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "catalogue.xlsx").write_bytes(content)
    assert "no readable sheet “Accounts”" in complaint(tmp_path / "catalogue.xlsx", registry)
    assert complaint(tmp_path / "none.xlsx", registry) == f"{tmp_path / 'none.xlsx'}: file not found."


CODES = some_codes(12)


def lay(path: Path, lines: list[str], header: str = "Code") -> Path:
    if path.suffix.lower() == ".parquet":
        pl.DataFrame({header: lines}).write_parquet(path)
    else:
        path.write_text("\n".join([header, *lines, ""]), "utf-8")
    return path


def held(registry: Registry) -> list[str]:
    """Every code that the registry has."""
    rows = registry.query("SELECT code FROM numbers ORDER BY code", {"code": pl.Int64})
    return [f"{code:014}" for code in rows["code"]]


@pytest.mark.parametrize("name", ["codes.csv", "codes.parquet", "CODES.PARQUET"])
def test_codes_are_entered_once_and_lines_without_a_code_are_counted(name: str, registry: Registry, tmp_path: Path) -> None:
    lines = [*CODES, f" {CODES[0]} ", CODES[1][:-1], CODES[1] + "0", "7.39052E+13", "x", CODES[2].translate({0x37: "７"})]
    path = lay(tmp_path / name, lines)
    wrong = 4 + (CODES[2].count("7") > 0)
    assert import_codes(path, registry) == (len(lines), 12, wrong)
    assert held(registry) == sorted(CODES)
    assert import_codes(path, registry) == (len(lines), 0, wrong)
    assert held(registry) == sorted(CODES)


def test_numbers_of_a_parquet_file_are_codes_too(registry: Registry, tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2, 3], "auth_code": [int(CODES[0]), int(CODES[1]), None]}).write_parquet(tmp_path / "codes.parquet")
    assert import_codes(tmp_path / "codes.parquet", registry) == (3, 2, 1)
    assert held(registry) == sorted(CODES[:2])


def test_the_column_is_known_by_its_names_among_others(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_bytes(f'\ufeff"Authorization Code",Name\r\n{CODES[0]},a\r\n"{CODES[1]}","b\nc"\r\n'.encode())
    assert import_codes(tmp_path / "codes.csv", registry) == (2, 2, 0)


def test_a_large_file_is_entered_in_portions(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_BATCH", 5)
    result: list[int] = []
    path = lay(tmp_path / "codes.csv", [*CODES, CODES[0], "x"])
    assert import_codes(path, registry, Runtime(progress=lambda _, done, __: result.append(done))) == (14, 12, 1)
    assert result == sorted(result)
    assert len(result) > 1
    assert result[-1] == 14
    assert held(registry) == sorted(CODES)


def test_an_import_that_breaks_can_be_run_again(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_BATCH", 5)
    path = lay(tmp_path / "codes.csv", CODES)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_codes(path, registry, Runtime(progress=lambda _, done, __: stop(done)))
    first = len(held(registry))
    assert 0 < first < 12
    assert import_codes(path, registry) == (12, 12 - first, 0)


def test_a_code_that_was_issued_stays_what_it_is(shop: Shop, tmp_path: Path) -> None:
    answer = shop.send(row("A1", quantity="2"))
    path = lay(tmp_path / "codes.csv", [*answer.codes, CODES[0]])
    assert import_codes(path, shop.registry) == (3, 1, 0)
    assert {shop.states()[code] for code in answer.codes} == {"placed"}
    assert import_codes(lay(tmp_path / "more.csv", [str(code) for code in EXTERNAL]), shop.registry) == (2, 0, 0)


def test_an_imported_code_can_not_be_ordered(shop: Shop, tmp_path: Path) -> None:
    import_codes(lay(tmp_path / "codes.csv", CODES), shop.registry)
    assert shop.send(row("A1", code=CODES[0])).reasons == {2: ["CODE_TAKEN"]}


@pytest.mark.parametrize("content", [f"{CODES[0]}\n{CODES[1]}\n", f"{CODES[0]},a\n{CODES[1]},b\n", "Name\nx\n"])
def test_a_file_without_a_header_is_refused_and_no_code_is_shown(content: str, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text(content)
    with pytest.raises(UsageError, match="needs one column named Code") as error:
        import_codes(tmp_path / "codes.csv", registry)
    assert not any(code in str(error.value) for code in CODES)
    assert held(registry) == []


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "empty.csv", "text.parquet", "two.csv"])
def test_what_can_not_be_read_is_reported(name: str, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "text.parquet").write_text("Code\n")
    (tmp_path / "two.csv").write_text("Code,Auth Code\n1,2\n")
    with pytest.raises(UsageError) as error:
        import_codes(tmp_path / name, registry)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


# -- what a new catalogue changes ------------------------------------------------------------------------------------------


def test_what_a_workbook_changes_is_reported_row_by_row_and_loads_nothing(write: Write, registry: Registry) -> None:
    load_catalogue(write([["acme", "10023456", "7001", "Old", ""], ["globex", "20098765", "8001", "", ""]]), registry)
    before = current_catalogue(registry).sheets()
    new = read_catalogue(
        write(
            [["acme", "10023456", "7001", "New", "partial"], ["hooli", "30012345", "1", "", ""]], [EVERYONE, ["888-402-7755"]]
        )
    )
    result = [(one.sheet, one.change, one.row) for one in differences(new, registry)]
    names = (
        "Reseller",
        "Customer Account Number",
        "Product Account Number",
        "Description",
        "Acceptance",
        "Notify",
        "Approve Above",
    )
    assert result == [
        ("Accounts", "removed", dict(zip(names, ("globex", "20098765", "8001", "", "whole", "", ""), strict=True))),
        ("Accounts", "added", dict(zip(names, ("hooli", "30012345", "1", "", "whole", "", ""), strict=True))),
        (
            "Accounts",
            "changed",
            dict(zip(names, ("acme", "10023456", "7001", "Old → New", "whole → partial", "", ""), strict=True)),
        ),
        ("Access Numbers", "added", {"Access Number": "8884027755", "Customer Account Number": "", "Description": ""}),
    ]
    after = current_catalogue(registry).sheets()
    assert all(after[title].equals(rows) for title, rows in before.items())
    load_catalogue(write([["acme", "10023456", "7001", "Old", ""], ["globex", "20098765", "8001", "", ""]]), registry)
    assert (
        differences(read_catalogue(write([["ACME", 10023456, 7001, "Old", "whole"], ["globex", "20098765", "8001"]])), registry)
        == []
    )


def test_the_catalogue_in_force_can_be_written_edited_and_loaded_again(tmp_path: Path, registry: Registry) -> None:
    samples.write_catalogue(tmp_path / "sample.xlsx")
    load_catalogue(tmp_path / "sample.xlsx", registry)
    write_current(tmp_path / "written.xlsx", registry)
    assert differences(read_catalogue(tmp_path / "written.xlsx"), registry) == []
    assert sizes(current_catalogue(registry)) == (3, 3, 1)
    with pytest.raises(UsageError, match="never overwritten"):
        write_current(tmp_path / "written.xlsx", registry)


def test_a_reseller_whose_orders_await_the_network_is_dropped_with_force_alone(write: Write, shop: Shop) -> None:
    shop.send(row("A", quantity="1"), row("B", quantity="1"))
    without = write([["globex", "20098765", "8001", "", ""]])
    with pytest.raises(
        UsageError, match=r"drops resellers whose orders await the network: acme \(2 orders\)\. Load it with --force"
    ):
        load_catalogue(without, shop.registry)
    assert "acme" in shop.registry.catalogue()[0]["reseller"]
    load_catalogue(without, shop.registry, force=True)
    assert shop.registry.catalogue()[0]["reseller"].to_list() == ["globex"]


def test_a_reseller_with_nothing_to_wait_for_is_dropped_at_once(write: Write, shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    load_catalogue(write([["globex", "20098765", "8001", "", ""]]), shop.registry)
    assert shop.registry.catalogue()[0]["reseller"].to_list() == ["globex"]
