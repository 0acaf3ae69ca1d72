"""Named rules: the checks that every table from outside is validated with.

A rule is an expression of what is valid. A cell without a value passes every rule but `present`.
"""

from collections.abc import Callable

import pandera.polars as pa
import polars as pl

Rule = Callable[[pl.Expr], pl.Expr]
"""What is valid, as an expression of the column that is checked."""


def check(rule: Rule, reason: str) -> pa.Check:
    """A rule on one column, named by the reason for which a cell is refused."""
    return pa.Check(lambda data: data.lazyframe.select(rule(pl.col(data.key))), error=reason)


def present(reason: str) -> pa.Check:
    """The rule that a cell has a value."""
    return pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_not_null()), error=reason, ignore_na=False)
