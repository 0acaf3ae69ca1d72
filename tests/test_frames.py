"""Rows chosen by another frame are those of Polars' own joins."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipelines.common.frames import rows_in, rows_not_in

keys = st.lists(st.tuples(st.sampled_from([1, 2, None]), st.sampled_from(["a", "b", None])), max_size=6)


def frame(rows: list[tuple[int | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, {"file": pl.UInt32, "text": pl.String}, orient="row").with_row_index()


@given(keys, keys)
def test_rows_are_those_of_a_semi_and_of_an_anti_join(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> None:
    left, right = frame(ours), frame(theirs).drop("index")
    for on in ("text", ["file", "text"]):
        assert rows_in(left, right, on).equals(left.join(right, on=on, how="semi", maintain_order="left"))
        assert rows_not_in(left, right, on).equals(left.join(right, on=on, how="anti", maintain_order="left"))
