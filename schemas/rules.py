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
    return _check(lambda cell: rule(cell).fill_null(value=True), rule, reason)


def present(reason: str) -> pa.Check:
    """The rule that a cell has a value."""
    return _check(pl.Expr.is_not_null, pl.Expr.is_not_null, reason, ignore_na=False)


def _check(keeps: Rule, rule: Rule, reason: str, *, ignore_na: bool = True) -> pa.Check:
    """A check that `all_keep` can ask for what it keeps, nulls and all."""
    return pa.Check(
        lambda data: data.lazyframe.select(rule(pl.col(data.key))),
        error=reason,
        ignore_na=ignore_na,
        statistics={"keeps": keeps},
    )


def all_keep(rows: pl.DataFrame, schema: pa.DataFrameSchema) -> bool:
    """Whether every row keeps every rule of a schema made of such checks, found out in one go."""
    columns = schema.columns
    if schema.checks or schema.unique or any(column.unique for column in columns.values()):
        return False  # left to Pandera
    if any(rows.schema.get(name) != column.dtype.type for name, column in columns.items()):
        return False
    filled = [pl.col(name).is_not_null().all() for name, column in columns.items() if not column.nullable]
    kept = [_keeps(one)(pl.col(name)).all() for name, column in columns.items() for one in column.checks]
    return all(rows.select(keep.alias(str(number)) for number, keep in enumerate([*filled, *kept])).row(0))


def _keeps(one: pa.Check) -> Rule:
    keeps: Rule = (one.statistics or {})["keeps"]
    return keeps
