"""Whatever an order file holds: each of its rows has one outcome, and no code is wrong, given twice or given again."""

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import EXTERNAL, TEMPORARY, Answer, NewRegistry, Shop, csv_of, obeys, row, some_codes

Cells = dict[str, str]

QUICKLY = [Phase.generate]
"""An example is a whole shop and takes a third of a second: shrinking one would take many minutes."""
CODES = some_codes(12)
IMPORTED = [*map(str, EXTERNAL), *some_codes(3, seed=8)]
BAD_CODES = [
    "12",
    "07390516284051",
    "73905162844441",
    "7.39052E+13",
    "７３９０５１６２８４０５１７",
    IMPORTED[0],
    IMPORTED[-1],
    "",
]
REFS = ["A", "B", "C", "D", "E-1", "F_2"]

few = st.integers(1, 3).map(str)
btns = st.sampled_from(["3035550142", "(303) 555-0178", "1-303-555-0142"])
wanted = st.one_of(
    st.fixed_dictionaries({"code": st.lists(st.sampled_from(CODES), min_size=1, max_size=2, unique=True).map("\n".join)}),
    st.fixed_dictionaries({"quantity": few}),
    st.fixed_dictionaries({"quantity": few, "btn": btns}, optional={"code_type": st.sampled_from(["BTN+4", "btn4"])}),
)
broken = st.one_of(
    st.fixed_dictionaries({"code": st.sampled_from(BAD_CODES)}),
    st.fixed_dictionaries({"quantity": st.sampled_from(["0", "-1", "many", "9" * 18, ""])}),
    st.fixed_dictionaries({"quantity": few, "btn": st.sampled_from(["8005555555", "555", "1" * 10])}),
    st.fixed_dictionaries({"quantity": few, "code": st.sampled_from(CODES)}),
    st.fixed_dictionaries({"quantity": few, "account": st.sampled_from(["99999999", "20098765", "1", ""])}),
    st.fixed_dictionaries({"quantity": few, "access_number": st.sampled_from(["8776662093", "800", ""])}),
    st.fixed_dictionaries({"quantity": few, "product": st.sampled_from(["8001", ""]), "origin": st.sampled_from(["?", "Yes"])}),
    st.fixed_dictionaries({"quantity": few, "comments": st.text(max_size=8).filter(lambda text: "\r" not in text)}),
    st.fixed_dictionaries({"quantity": few, "action": st.sampled_from(["Add", "Remove", "="])}),
)
partly = st.sampled_from([{}, {"account": "20098765", "product": "8001"}, {"account": "00200300", "product": "7003"}])


@st.composite
def order_rows(draw: st.DrawFn) -> Cells:
    """A row; three of four are right by themselves, so that whole orders are."""
    cells = draw(partly) | draw(broken if draw(st.integers(0, 3)) == 0 else wanted)
    return row(draw(st.sampled_from([*REFS, *REFS, "", "no ID!"])), **cells)


files = st.lists(order_rows(), min_size=1, max_size=8)
sources = st.sampled_from(["acme", "acme", "globex", "house"])


def rows_of(shop: Shop, table: str) -> dict[str, int]:
    """How many rows of each submission went into `orders` (placed), or into `duplicate_orders` (placed before)."""
    sql = (
        "SELECT e.folder, CAST(coalesce(sum(t.rows), 0) AS BIGINT) AS rows "
        f"FROM events e LEFT JOIN {table} t ON t.event = e.event WHERE e.kind = 'orders' GROUP BY e.folder"
    )
    return dict(shop.registry.query(sql, {"folder": pl.String, "rows": pl.Int64}).iter_rows())


few_or_many = pytest.mark.parametrize("examples", [4, pytest.param(40, marks=pytest.mark.long)])


@few_or_many
def test_each_row_has_one_fate_and_every_code_is_right_and_new(examples: int, new_registry: NewRegistry) -> None:
    @settings(max_examples=examples, phases=QUICKLY)
    @given(batches=st.lists(st.lists(st.tuples(sources, files), min_size=1, max_size=3), min_size=1, max_size=2))
    def holds(batches: list[list[tuple[str, list[Cells]]]]) -> None:
        _each_batch_is_right(batches, new_registry)

    holds()


def _each_batch_is_right(batches: list[list[tuple[str, list[Cells]]]], new_registry: NewRegistry) -> None:
    with new_registry() as url, tempfile.TemporaryDirectory(dir=TEMPORARY) as home:
        shop = Shop(Path(home), url)
        shop.registry.import_codes(pl.Series("code", [int(code) for code in IMPORTED]))
        content: dict[str, bytes] = {}
        answers: list[Answer] = []
        for number, batch in enumerate(batches):
            for place, (source, rows) in enumerate(batch):
                name = f"{number}{place}.csv"
                # a title that nobody knows makes the bytes of each file its own
                content[name] = csv_of(*[{**cells, f"File {name}": ""} for cells in rows])
                shop.drop(name, content[name], source)
            answers += shop.run()
        assert sorted(answer.result["file"] for answer in answers) == sorted(content)
        assert shop.waiting() == []
        _each_row_has_one_fate(shop, answers)
        _every_code_is_right_and_new(shop, answers)
        shop.registry.close()


def _each_row_has_one_fate(shop: Shop, answers: list[Answer]) -> None:
    placed, already = rows_of(shop, "orders"), rows_of(shop, "duplicate_orders")
    for answer in answers:
        folder = answer.folder.name
        rejected = [number for number in answer.reasons if number]
        assert len(rejected) == len(set(rejected)) == answer.result["rows_rejected"]
        assert answer.result["rows"] == placed[folder] + already[folder] + len(rejected)
        assert all(reason for reasons in answer.reasons.values() for reason in reasons)
        assert len(answer.codes) == answer.result["codes_placed"]
        both = _orders(answer.confirmation) & _orders(answer.rejections)
        assert {account for account, _ in both} <= {"20098765"}, "only globex accepts orders in part"


def _orders(report: pl.DataFrame) -> set[tuple[str, ...]]:
    return set(report.select("Customer Account Number", "Customer Order ID").rows()) if len(report) else set()


def _every_code_is_right_and_new(shop: Shop, answers: list[Answer]) -> None:
    codes = [code for answer in answers for code in answer.codes]
    assert all(map(obeys, codes))
    assert len(codes) == len(set(codes))
    assert set(codes).isdisjoint(IMPORTED)
    assert shop.known_codes() == sorted(map(int, [*codes, *IMPORTED]))
    assert sorted(shop.placements()["Authorization Code"]) == sorted(codes)


@few_or_many
def test_a_file_dropped_twice_changes_nothing_the_second_time(examples: int, new_registry: NewRegistry) -> None:
    @settings(max_examples=examples, phases=QUICKLY)
    @given(rows=files, source=sources)
    def holds(rows: list[Cells], source: str) -> None:
        _a_second_drop_changes_nothing(rows, source, new_registry)

    holds()


def _a_second_drop_changes_nothing(rows: list[Cells], source: str, new_registry: NewRegistry) -> None:
    with new_registry() as url, tempfile.TemporaryDirectory(dir=TEMPORARY) as home:
        shop = Shop(Path(home), url)
        shop.drop("first.csv", csv_of(*rows), source)
        (first,) = shop.run()
        before, placements = shop.known_codes(), len(shop.placements())

        shop.drop("same.csv", csv_of(*rows), source)
        (same,) = shop.run()
        assert (same.result["rows"], same.result["orders_placed"], same.result["codes_placed"]) == (first.result["rows"], 0, 0)
        there = first.result["orders_placed"] + first.result["orders_already_placed"]
        assert same.result["orders_already_placed"] == there == len(same.confirmation)

        shop.drop("other.csv", csv_of(*({**cells, "Of no use": ""} for cells in rows)), source)
        (again,) = shop.run()
        assert again.result["orders_already_placed"] == first.result["orders_placed"] + first.result["orders_already_placed"]
        assert (shop.known_codes(), len(shop.placements())) == (before, placements)
        shop.registry.close()
