"""Rules that need nothing but the file."""

from typing import Final

import polars as pl

from pipelines.orders.normalize import is_filled
from schemas import actions, orders
from schemas.findings import rule, split
from schemas.orders import BTN4, NAMES, ORDER_FIELDS, RANDOM, SPECIFIED

_FORBIDDEN_CHARACTERS: Final = r"[\p{Cf}\p{Co}\p{Zl}\p{Zp}[\p{Zs}--[ ]][\p{Cc}--[\t\n\r]][\p{Nd}--[0-9]]\x{fffd}]"
"""Control, zero-width and direction characters, spaces that are no space, digits that are no ASCII digits, and what
stands for a character that was lost."""


def character_findings(raw: pl.DataFrame) -> pl.DataFrame:
    """CELL_CHARACTER findings, the character escaped so that it can be seen."""
    found = pl.concat([rule(raw, pl.col(name).str.contains(_FORBIDDEN_CHARACTERS), "CELL_CHARACTER", name) for name in NAMES])
    return found.with_columns(pl.col("value").map_elements(_escaped, pl.String))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def row_findings(rows: pl.DataFrame, max_quantity: int) -> pl.DataFrame:
    """Findings about each row by itself: the format of its cells, and which cells go together."""
    code, quantity, btn, target = is_filled("code"), is_filled("quantity"), is_filled("btn"), is_filled("target")
    issues = pl.col("action").is_in(actions.issuing())
    takes = pl.col("action").is_in([name for name, action in actions.ACTIONS.items() if action.cards_in])
    changes = pl.col("action").is_in([name for name, action in actions.ACTIONS.items() if action.changes])
    kind = pl.col("code_type")
    misfit = (
        pl.when(takes).then((code & target) | quantity | btn)
        .when(target).then(pl.lit(value=True))
        .when(kind == SPECIFIED).then(quantity | btn)
        .when(kind == RANDOM).then(code | btn)
        .when(kind == BTN4).then(code)
        .when(kind.is_null()).then(code & (quantity | btn))
        .otherwise(pl.lit(value=False))
    )  # fmt: skip
    nothing = pl.all_horizontal(pl.col("product", "access_number", "origin", "termination").is_null())
    drawn = pl.col("quantity").cast(pl.Int64, strict=False)
    drawn = pl.when(drawn.is_between(1, max_quantity)).then(drawn).otherwise(0)  # what is refused leaves room for the others
    total = drawn.cum_sum().over("file")
    found = [
        split(rows, orders.rows_schema(max_quantity))[1],
        rule(rows, issues & kind.is_null() & ~(code & (quantity | btn)), "CODE_TYPE_UNKNOWN", "code_type"),
        rule(rows, (issues | takes) & misfit, "CODE_TYPE_CONFLICT", "code_type"),
        rule(rows, issues & (kind == SPECIFIED) & ~code, "CODE_MISSING", "code"),
        rule(rows, takes & ~code & ~target, "CODE_MISSING", "code"),
        rule(rows, issues & kind.is_in([RANDOM, BTN4]) & ~quantity, "QUANTITY_FORMAT", "quantity"),
        rule(rows, (drawn > 0) & (total > max_quantity), "QUANTITY_LIMIT", "quantity"),
        rule(rows, issues & (kind == BTN4) & ~btn, "BTN_FORMAT", "btn"),
        rule(rows, issues & ~is_filled("product"), "PRODUCT_UNKNOWN", "product"),
        rule(rows, issues & ~is_filled("access_number"), "ACCESS_FORMAT", "access_number"),
        rule(rows, changes & nothing, "NOTHING_TO_CHANGE", "action"),
    ]
    return pl.concat(found, how="vertical_relaxed")


def order_findings(rows: pl.DataFrame) -> pl.DataFrame:
    """ORDER_CONFLICT findings: rows that disagree with the first row of their order, or repeat what may stand once."""
    several = rows.filter(pl.len().over("order") > 1)
    first = (
        several.group_by("order")
        .agg(pl.col(*ORDER_FIELDS).first().name.prefix("first_"), pl.col("comments").drop_nulls().first().alias("comment"))
        .with_columns(first_comments="comment")
    )
    paired = several.join(first, on="order", maintain_order="left")
    differs = [
        rule(paired, pl.col(name).ne_missing(pl.col(f"first_{name}")) & (is_filled(name) | pl.lit(name != "comments")),
             "ORDER_CONFLICT", name)
        for name in ORDER_FIELDS
    ]  # fmt: skip
    again = [
        rule(several.filter(pl.col("code_type") == RANDOM), ~pl.col("order").is_first_distinct(), "ORDER_CONFLICT",
             "quantity"),
        rule(several.filter((pl.col("code_type") == BTN4) & is_filled("btn")),
             ~pl.struct("order", "btn").is_first_distinct(), "ORDER_CONFLICT", "btn"),
    ]  # fmt: skip
    return pl.concat(differs + again)


def repeated_codes(codes: pl.DataFrame) -> pl.DataFrame:
    """CODE_REPEATED findings: codes that an earlier row of the same file, or the same row, names too."""
    twice = codes.filter(pl.col("code").is_duplicated())  # few are, and pairs take longer to compare
    again = twice.filter(~pl.struct("file", "code").is_first_distinct())
    return again.select("line", column=pl.lit("code"), reason=pl.lit("CODE_REPEATED"), value=pl.col("code").cast(pl.String))
