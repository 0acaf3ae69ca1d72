"""Named rules: the checks that every table from outside is validated with."""

import pandera.polars as pa
import polars as pl


def check(rule: pl.Expr, reason: str) -> pa.Check:
    """A rule on one column, named by its reason; cells without a value are not asked."""
    return pa.Check(lambda data: data.lazyframe.select(rule), error=reason)


def present(name: str, reason: str) -> pa.Check:
    """The rule that a cell has a value."""
    return pa.Check(lambda data: data.lazyframe.select(pl.col(name).is_not_null()), error=reason, ignore_na=False)
