"""Findings: what is wrong with a file, row or cell. A failed validation is a frame, not an exception."""

from typing import Final

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

FINDING_SCHEMA: Final = pl.Schema({"line": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String})
"""What is wrong with a line of the sweep: at which column, by which reason, and what stands there."""


def split(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows (with `line`) that keep every rule of the schema, and findings for the others."""
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        failures = error.failure_cases
        if failures["index"].null_count():
            raise  # a crashed check is a bug of ours, never a rejection
        found = failures.select(
            frame["line"].gather(failures["index"]).alias("line"),
            "column",
            pl.col("check").alias("reason"),
            pl.col("failure_case").alias("value"),
        ).unique(maintain_order=True)
        return frame.join(found, on="line", how="anti"), found
    return frame, FINDING_SCHEMA.to_frame()


def rule(rows: pl.DataFrame, broken: pl.Expr, reason: str, column: str) -> pl.DataFrame:
    """Findings for the rows of which `broken` is true, with what stands in the column."""
    return rows.filter(broken).select(
        "line", column=pl.lit(column), reason=pl.lit(reason), value=pl.col(column).cast(pl.String)
    )
