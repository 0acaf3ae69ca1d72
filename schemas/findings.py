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

MOST: Final = 50_000
"""So many findings of one rule are kept of a file: more than a file may have in all (CARDS_MAX_FINDINGS)."""
_SLICE: Final = 1 << 18
"""So many rows are validated at once: Pandera keeps a record of each failing cell."""

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
    """At most MOST findings of each file, so that a file in which everything is wrong takes no more memory than others."""
    return found if len(found) <= MOST else found.filter(pl.int_range(pl.len()).over("file") < MOST)


def whole_files(found: pl.DataFrame) -> pl.DataFrame:
    """The findings that concern a file as a whole."""
    return found.filter(pl.col("source_row") == 0)


def split(rows: pl.DataFrame, schema: pa.DataFrameSchema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows (with `file`, `source_row`) that keep every rule of the schema, and findings for the others."""
    if rules.all_keep(rows, schema):  # of most tables, and Pandera takes longer to say so
        return rows, NO_FINDINGS
    found = pl.concat([NO_FINDINGS, *(_failures(part, schema) for part in rows.iter_slices(_SLICE))])
    if found.is_empty():
        return rows, found
    return rows.join(found, on=["file", "source_row"], how="anti", maintain_order="left"), _first_ones(found)


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
