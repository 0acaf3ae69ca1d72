"""Findings: what is wrong with a file, a row or a cell. A failed validation is a frame, not an exception."""

from collections.abc import Iterable
from typing import Final

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from schemas import rules

FINDING: Final = pl.Schema(
    {"file": pl.UInt32, "source_row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String}
)
"""One thing that is wrong: in which file of the batch, in which row of it (0: the file as a whole), in which column
(empty: none), for which reason, and what stands there."""

ROW: Final = ["file", "source_row"]
"""What a row is known by."""
MAX_FINDINGS: Final = 50_000
"""So many findings a file may have at the most, whatever CARDS_MAX_FINDINGS says."""
_KEPT: Final = MAX_FINDINGS + 1
"""So many findings of one rule are kept of a file. One more than a file may have: a file of which some were left out is
always one that has too many (see `flooded_files`), and none of its rows may count as a good one."""
_SLICE: Final = 1 << 16
"""So many rows are validated at once."""

NO_FINDINGS: Final = pl.DataFrame(schema=FINDING)


def findings(rows: list[tuple[int, str, str, str]], file: int = 0) -> pl.DataFrame:
    """Findings about one file from tuples of source row, column, reason and value."""
    return pl.DataFrame([(file, *row) for row in rows], FINDING, orient="row") if rows else NO_FINDINGS


def violations(rows: pl.DataFrame, valid: pl.Expr, reason: str, column: str) -> pl.DataFrame:
    """A finding for each row (`file`, `source_row`, …) that is not `valid`, with what stands in the column."""
    if rows.is_empty():
        return NO_FINDINGS
    found = rows.lazy().filter(~valid).select(
        "file", "source_row", column=pl.lit(column), reason=pl.lit(reason), value=pl.col(column).cast(pl.String)
    )  # fmt: skip
    return _first_ones(found.collect())


Rule = tuple[pl.Expr, str, str]
"""What is valid, the reason where it is not, and the column that is at fault: what `violations` takes."""


def all_violations(rows: pl.DataFrame, given: Iterable[Rule]) -> pl.DataFrame:
    """The findings of each rule in turn. Whether any row breaks a rule is asked of all rules at once, as most are kept."""
    each = list(given)
    broken = rows.select((~valid).any().alias(str(number)) for number, (valid, _, _) in enumerate(each)).row(0)
    found = [violations(rows, *rule) for rule, is_broken in zip(each, broken, strict=True) if is_broken]
    return pl.concat([NO_FINDINGS, *found], how="vertical_relaxed")


def _first_ones(found: pl.DataFrame) -> pl.DataFrame:
    """As many findings of each file as are kept, so that one in which everything is wrong takes no more memory than others."""
    return found if len(found) < _KEPT else found.filter(pl.int_range(pl.len()).over("file") < _KEPT)


def whole_files(found: pl.DataFrame) -> pl.DataFrame:
    """The findings that concern a file as a whole."""
    return found.filter(pl.col("source_row") == 0)


def flooded_files(found: pl.DataFrame, most: int) -> pl.Series:
    """The files (`file`) with more findings than `most`."""
    return found.group_by("file").len().filter(pl.col("len") > most)["file"].sort()


def schema_findings(rows: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.DataFrame:
    """Findings for the rows (with `file`, `source_row`) that break a rule of the schema.

    Pandera keeps a record of each failing cell, so rows are validated in slices, and no more rows of a file once it has too
    many findings.
    """
    if rules.all_keep(rows, schema):  # as most tables do, and Pandera takes longer to say so
        return NO_FINDINGS
    found = NO_FINDINGS
    for part in rows.iter_slices(_SLICE):
        rest = part.filter(~pl.col("file").is_in(flooded_files(found, MAX_FINDINGS).implode()))
        found = pl.concat([found, _failures(rest, schema)])
    return _first_ones(found)


def _failures(rows: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.DataFrame:
    try:
        schema.validate(rows, lazy=True)
    except SchemaErrors as error:
        failures = error.failure_cases
        if failures["index"].null_count():
            raise  # a crashed check is a bug of ours, never a rejection
        at = failures["index"]
        found = failures.select(
            rows["file"].gather(at), rows["source_row"].gather(at), "column", reason="check", value="failure_case"
        )
        return _first_ones(found.cast(FINDING).unique(maintain_order=True))
    return NO_FINDINGS
