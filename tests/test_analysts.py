"""The programs of docs/analysts.md that load the data of nights: Polars, DuckDB and pandas give one answer, which is right."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest

from pipelines.delivery import dataset_files
from pipelines.insight.datasets import DATASETS, INSTANT
from tests.conftest import NewRegistry, Shop
from tests.pages import DOCS, blocks
from tests.test_datasets import live

PAGE = (DOCS / "analysts.md").read_text("utf-8")
INT, TEXT = pl.Int64, pl.String
M_TYPES = {pl.String: "type text", pl.Int64: "Int64.Type", pl.Date: "type date", INSTANT: "type datetimezone"}


@pytest.fixture(scope="module")
def lived(sqlite: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A home after some days in which all happens, across the end of a month; no database has a part in what is read."""
    with sqlite() as url:
        shop = Shop(tmp_path_factory.mktemp("lived") / "home", url)
        live(shop, days=4)
        shop.later(days=26)
        live(shop, days=4, seed=4)
        yield shop
        shop.registry.close()


@pytest.fixture
def answers(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What each program of the page leaves in its variables."""
    monkeypatch.chdir(lived.settings.home)
    found: dict[str, dict[str, Any]] = {}
    for heading, text in re.findall(r"^### (\w+)\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        found[heading] = {}
        exec(text, found[heading])
    return found


def rows(frame: Any) -> list[tuple[Any, ...]]:
    """The rows of a frame of Polars, DuckDB or pandas, in their order, with numbers rounded."""
    if isinstance(frame, pl.DataFrame):
        found = frame.rows()
    elif hasattr(frame, "fetchall"):
        found = frame.fetchall()
    else:
        found = list(frame.itertuples(index=False, name=None))
    return [tuple(round(float(cell), 6) if isinstance(cell, float) else cell for cell in one) for one in found]


def test_every_program_has_the_same_answers(answers: dict[str, dict[str, Any]]) -> None:
    assert list(answers) == ["Polars", "DuckDB", "pandas"]
    for name in ("refused", "hours", "active"):
        expected = rows(answers["Polars"][name])
        assert len(expected) >= 2
        assert rows(answers["DuckDB"][name]) == expected
    assert rows(answers["pandas"]["refused"]) == rows(answers["Polars"]["refused"])
    assert len(rows(answers["Polars"]["refused"])) == 4, "two resellers in two months"


def test_the_answers_are_those_of_a_slow_count_in_the_registry(lived: Shop, answers: dict[str, dict[str, Any]]) -> None:
    moves = lived.registry.query(
        """
        SELECT orders.order_pk, st.serial, from_state, to_state, st.event, events.at, events.reconciliation_date AS night,
            submission.source AS reseller, orders.product, submission.at AS placed, coalesce(replaced.at, '') AS replaced_at
        FROM state_transitions AS st
        JOIN orders ON orders.order_pk = st.order_pk
        JOIN events ON events.event = st.event
        JOIN events AS submission ON submission.event = orders.event
        LEFT JOIN replacements ON replacements.order_pk = st.order_pk AND replacements.serial = st.serial
        LEFT JOIN events AS replaced ON replaced.event = replacements.event
        WHERE events.reconciliation_date > 0 ORDER BY st.event
        """,
        {"order_pk": INT, "serial": INT, "from_state": INT, "to_state": INT, "event": INT, "at": TEXT, "night": INT,
         "reseller": TEXT, "product": TEXT, "placed": TEXT, "replaced_at": TEXT},
    ).to_dicts()  # fmt: skip
    judged: dict[tuple[str, str], list[bool]] = defaultdict(list)
    hours: dict[str, list[float]] = defaultdict(list)
    for one in moves:
        if one["from_state"] == 0 and one["to_state"] in (1, 2):
            month = f"{str(one['night'])[:4]}-{str(one['night'])[4:6]}"
            judged[one["reseller"], month].append(one["to_state"] == 2)
        if one["from_state"] in (0, 2, 6) and one["to_state"] == 1:
            taken = datetime.fromisoformat(one["at"]) - datetime.fromisoformat(one["replaced_at"] or one["placed"])
            hours[one["product"]].append(taken.total_seconds() / 3600)
    assert rows(answers["Polars"]["refused"]) == [
        (*key, len(result), round(sum(result) / len(result), 6)) for key, result in sorted(judged.items())
    ]
    assert rows(answers["Polars"]["hours"]) == [
        (product, len(taken), round(median(taken), 6)) for product, taken in sorted(hours.items())
    ]
    assert dict(rows(answers["Polars"]["active"])) == _active(lived)


def _active(shop: Shop) -> dict[str, int]:
    """How many cards are active by the product that they have, by reading the history of each."""
    last: dict[tuple[int, int], int] = {}
    product: dict[tuple[int, int], str] = {}
    moves = shop.registry.query(
        """
        SELECT st.order_pk, st.serial, to_state, product FROM state_transitions AS st
        JOIN orders ON orders.order_pk = st.order_pk
        JOIN events ON events.event = st.event WHERE events.reconciliation_date > 0 ORDER BY st.event
        """,
        {"order_pk": INT, "serial": INT, "to_state": INT, "product": TEXT},
    )
    for order, serial, state, first in moves.iter_rows():
        last[order, serial], product[order, serial] = state, first
    changes = shop.registry.query(
        """
        SELECT card_order_pk, card_serial, product FROM card_actions JOIN orders ON orders.order_pk = card_actions.order_pk
        JOIN events ON events.event = card_actions.settled_event
        WHERE outcome = 1 AND action = 'Change' AND product <> '' AND events.reconciliation_date > 0 ORDER BY settled_event
        """,
        {"card_order_pk": INT, "card_serial": INT, "product": TEXT},
    )
    for order, serial, changed in changes.iter_rows():
        product[order, serial] = changed
    counts = Counter(product[card] for card, state in last.items() if state in (1, 3))
    return {name: counts[name] for name in {*product.values()} if counts[name] or name in counts}


def test_a_column_needs_no_quotes_in_sql(lived: Shop) -> None:
    import duckdb

    folder = dataset_files.data_folder(lived.settings) / "parquet"
    for name, dataset in DATASETS.items():
        source = f"read_parquet('{folder}/{name}/*/*.parquet', hive_partitioning = true) AS {name}"
        for column in dataset.fields:
            found = duckdb.sql(f"SELECT {column}, {name}.{column} FROM {source} WHERE {column} IS NOT NULL ORDER BY {column}")
            assert found.columns[0] == column


def test_duckdb_and_pandas_find_the_types_of_the_reference(lived: Shop) -> None:
    import duckdb
    import pandas as pd

    names = {pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "BOOLEAN", pl.Date: "DATE",
             INSTANT: "TIMESTAMP WITH TIME ZONE"}  # fmt: skip
    folder = dataset_files.data_folder(lived.settings) / "parquet"
    for name, dataset in DATASETS.items():
        found = duckdb.sql(f"FROM read_parquet('{folder}/{name}/*/*.parquet', hive_partitioning = true)")
        types = dict(zip(found.columns, map(str, found.types), strict=True))
        assert types == {**{column: names[field.kind] for column, field in dataset.fields.items()}, "month": "VARCHAR"}
        frame = pd.read_parquet(folder / name, filters=[("month", "=", "2026-10")])
        assert set(frame["month"]) == {"2026-10"}
        assert all(str(frame[column].dtype) == "datetime64[us, UTC]" for column, field in dataset.fields.items()
                   if field.kind == INSTANT)  # fmt: skip


def test_the_query_for_excel_names_the_columns_types_and_folder_that_there_are(lived: Shop) -> None:
    """Excel can't run here."""
    (query,) = (text for language, text in blocks(PAGE) if language == "text" and text.startswith("let\n"))
    named = dict(re.findall(r'\{"(\w+)", ([\w. ]+)\}', query))
    assert named == {name: M_TYPES[field.kind] for name, field in DATASETS["transitions"].fields.items()}
    (path,) = re.findall(r'Path = "C:\\cards\\(.*?)"', query)
    folder = lived.settings.home / path.replace("\\", "/")
    files = sorted(folder.rglob("*"))
    assert {file.suffix for file in files if file.is_file()} == {".csv"}
    headers = {Path(file).read_text("utf-8").splitlines()[0] for file in files if file.is_file()}
    assert headers == {",".join(named)}
