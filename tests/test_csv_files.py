"""The CSV files of reports: Python writes small ones and Polars large ones, and nobody sees which."""

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.delivery import csv_files
from tests.conftest import TEMPORARY

cells = st.none() | st.text(st.sampled_from([*"aé0 ,;'\"\r\n\t=+-@#\u2028\x0b\x85"]), max_size=4)
rows = st.lists(st.tuples(cells, cells, st.integers(0, 9)), max_size=4)
headers = st.lists(st.text(st.sampled_from([*'ab," \n']), min_size=1, max_size=3), min_size=3, max_size=3, unique=True)


@given(rows=rows, names=headers)
def test_a_small_file_is_written_as_a_large_one(rows: list[tuple[str | None, str | None, int]], names: list[str]) -> None:
    schema = dict(zip(names, (pl.String, pl.String, pl.UInt32), strict=True))
    frame = pl.DataFrame(rows, schema, orient="row")
    assert _written(frame, len(rows)) == _written(frame, -1)


@pytest.mark.parametrize("few", [1_000, -1])
def test_no_cell_can_become_a_formula_and_a_lone_empty_cell_is_a_line(few: int) -> None:
    frame = pl.DataFrame({"Comments": ["=1+1", "-2", "@x", "a=b", None], "n": [1, 2, 3, 4, 5]})
    assert _written(frame, few) == b"Comments,n\r\n'=1+1,1\r\n'-2,2\r\n'@x,3\r\na=b,4\r\n,5\r\n"
    assert _written(frame.select("Comments").tail(2), few) == b"Comments\r\na=b\r\n\r\n"


def _written(frame: pl.DataFrame, few: int) -> bytes:
    folder = tempfile.mkdtemp(dir=TEMPORARY)
    path = Path(folder, "made.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_FEW", few)
        csv_files.write_csv(frame, path)
    content = path.read_bytes()
    shutil.rmtree(folder)
    return content
