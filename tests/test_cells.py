"""How many cells are taken of a file: filled rows times filled columns, in whatever format they come."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from pipelines.intake.grid import Grid
from pipelines.intake.parsed import LONGEST, Limits, Parsed
from pipelines.intake.parser_worker import parse
from schemas.headers import header_key
from schemas.orders import HEADERS
from tests.security import worst

KNOWN = frozenset(map(header_key, HEADERS.values()))
CELLS = 3_000
LIMITS = Limits(1 << 30, 1 << 20, 256, 2 << 30, 10_000, 512 << 20, 50_000)


def parsed(content: bytes, cells: int = CELLS) -> Parsed:
    return parse(content, KNOWN, replace(LIMITS, cells=cells))


def text(rows: int) -> bytes:
    return (worst.HEADER + (",".join(["1"] * 13) + "\n") * (rows - 1)).encode()


def plain_workbook(rows: int) -> bytes:
    return worst._with_sheet(worst._header_row() + worst._rows(rows - 1, "><v>1</v>"))


def workbook_with_formulas(rows: int) -> bytes:
    return worst._with_sheet(worst._header_row() + worst._rows(rows - 1, "><f>1</f><v>1</v>"))


@pytest.mark.parametrize("make", [text, plain_workbook, workbook_with_formulas])
def test_more_cells_than_are_taken_are_too_large(make: Callable[[int], bytes]) -> None:
    taken = parsed(make(CELLS // 13))
    assert taken.faults == []
    assert pl.read_ipc_stream(bytes(taken.table)).height == CELLS // 13
    ((row, column, reason, words),) = parsed(make(CELLS // 12 + 2)).faults
    assert (row, column, reason) == (0, -1, "FILE_TOO_LARGE")
    assert "at most 3,000 cells are allowed" in words


def test_empty_cells_behind_the_last_header_count_for_nothing() -> None:
    lines = text(200).decode().splitlines()
    wide = "".join(f"{line}{',' * 200}\n" for line in lines).encode()
    made = parsed(wide)
    assert made.faults == []
    assert pl.read_ipc_stream(bytes(made.table)).equals(pl.read_ipc_stream(bytes(parsed(text(200)).table)))


def test_cells_that_are_empty_between_headers_count() -> None:
    lines = text(200).decode().splitlines()
    wide = f"{lines[0]}{',' * 200}Last\n" + "".join(f"{line}{',' * 201}\n" for line in lines[1:])
    assert [fault[2] for fault in parsed(wide.encode()).faults] == ["FILE_TOO_LARGE"]


def test_a_cell_far_away_costs_no_cells() -> None:
    made = parsed(worst.far_cell(1_048_576))
    assert made.faults == []
    assert pl.read_ipc_stream(bytes(made.table))["row"].to_list() == [1, 2, 1_048_576]


def test_a_cell_that_holds_no_list_is_cut() -> None:
    """Thousands of cells may refer to one long text; below the header no more of it is kept than can be used."""
    grid = Grid(KNOWN, replace(LIMITS, lists=frozenset({"code"})))
    grid.add(1, {0: "Comments", 1: "Code", 2: "x" * 5_000})
    grid.add(2, {0: "x" * 5_000, 1: "1" * 5_000, 2: "y" * 5_000})
    table = pl.read_ipc_stream(bytes(grid.parsed().table))
    assert table.select(pl.col("c0", "c1", "c2").str.len_chars()).rows() == [(8, 4, 5_000), (LONGEST, 5_000, LONGEST)]
