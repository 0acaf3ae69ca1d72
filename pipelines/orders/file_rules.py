"""Rules that need nothing but the file."""

from typing import Final

import polars as pl

from pipelines.orders.normalize import TELEPHONES, is_filled
from schemas import actions, orders, telephone
from schemas.findings import NO_FINDINGS, Rule, all_violations, schema_findings, violations
from schemas.orders import BTN4, NAMES, ORDER_FIELDS, RANDOM, SPECIFIED

_FORBIDDEN_CHARACTERS: Final = r"[\p{Cf}\p{Co}\p{Zl}\p{Zp}[\p{Zs}--[ ]][\p{Cc}--[\t\n\r]][\p{Nd}--[0-9]]\x{fffd}]"
"""Control, zero-width and direction characters, spaces other than the ordinary one, digits other than ASCII digits, and
the replacement character, which stands for a character that was lost."""


def load() -> None:
    """Have Pandera import what it validates with, ahead of need."""
    schema = orders.rows_schema(1)
    schema.validate(pl.DataFrame(schema=dict.fromkeys(schema.columns, pl.String)))


def character_findings(raw: pl.DataFrame) -> pl.DataFrame:
    """CELL_CHARACTER findings, with the character escaped so that it can be seen."""
    each = [(~_text_of(name).str.contains(_FORBIDDEN_CHARACTERS), "CELL_CHARACTER", name) for name in NAMES]
    found = all_violations(raw, each)
    return found.with_columns(pl.col("value").map_elements(_escaped, pl.String)) if len(found) else found


def _text_of(name: str) -> pl.Expr:
    """A cell's text; of a telephone number, without its punctuation, which may be of any kind."""
    return pl.col(name).str.replace_all(telephone.PUNCTUATION, "") if name in TELEPHONES else pl.col(name)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def row_findings(rows: pl.DataFrame, max_quantity: int) -> pl.DataFrame:
    """Findings about each row by itself: the format of its cells, and which cells go together."""
    code, quantity, btn, target = is_filled("code"), is_filled("quantity"), is_filled("btn"), is_filled("target_order_id")
    issues = pl.col("action").is_in(actions.issuing())
    takes = pl.col("action").is_in([name for name, action in actions.ACTIONS.items() if action.cards_in])
    changes = pl.col("action").is_in([name for name, action in actions.ACTIONS.items() if action.changes])
    kind = pl.col("code_type")
    specified, dialled = kind.eq_missing(SPECIFIED), kind.eq_missing(BTN4)
    drawn = kind.is_in([RANDOM, BTN4]).fill_null(value=False)
    new_value = pl.any_horizontal(pl.col("product", "access_number", "origin", "termination").is_not_null())
    together: list[Rule] = [
        (~issues | kind.is_not_null() | (code & (quantity | btn)), "CODE_TYPE_UNKNOWN", "code_type"),
        (~(issues | takes) | _cells_agree(takes), "CODE_TYPE_CONFLICT", "code_type"),
        (~(issues & specified) | code, "CODE_MISSING", "code"),
        (~takes | code | target, "CODE_MISSING", "code"),
        (~(issues & drawn) | quantity, "QUANTITY_FORMAT", "quantity"),
        (~(issues & dialled) | btn, "BTN_FORMAT", "btn"),
        (~issues | is_filled("product"), "PRODUCT_UNKNOWN", "product"),
        (~issues | is_filled("access_number"), "ACCESS_FORMAT", "access_number"),
        (~changes | new_value, "NOTHING_TO_CHANGE", "action"),
    ]
    return pl.concat([schema_findings(rows, orders.rows_schema(max_quantity)), all_violations(rows, together)])


def _cells_agree(takes: pl.Expr) -> pl.Expr:
    """Whether just the cells are filled that go with the code type, or with an order for existing cards (`takes`)."""
    code, quantity, btn, target = is_filled("code"), is_filled("quantity"), is_filled("btn"), is_filled("target_order_id")
    kind = pl.col("code_type")
    return (
        pl.when(takes).then(~((code & target) | quantity | btn))
        .when(target).then(pl.lit(value=False))
        .when(kind == SPECIFIED).then(~(quantity | btn))
        .when(kind == RANDOM).then(~(code | btn))
        .when(kind == BTN4).then(~code)
        .when(kind.is_null()).then(~(code & (quantity | btn)))
        .otherwise(pl.lit(value=True))
    )  # fmt: skip


def within_limit(max_quantity: int) -> pl.Expr:
    """Whether the codes drawn for a file, up to and including the row, are within the limit of a file. Of rows that are
    not placed already: those use up nothing.
    """
    wanted = pl.col("quantity").cast(pl.Int64, strict=False)
    counted = pl.when(wanted.is_between(1, max_quantity)).then(wanted).otherwise(0)  # a refused row leaves room for others
    return (counted == 0) | (counted.cum_sum().over("file") <= max_quantity)


def order_findings(rows: pl.DataFrame) -> pl.DataFrame:
    """ORDER_CONFLICT findings: rows that disagree with the first row of their order, or repeat what may stand once."""
    several = rows.filter(pl.len().over("order") > 1)
    if several.is_empty():
        return NO_FINDINGS
    first = (
        several.group_by("order")
        .agg(pl.col(*ORDER_FIELDS).first().name.prefix("first_"), pl.col("comments").drop_nulls().first().alias("comment"))
        .with_columns(first_comments="comment")
    )
    paired = several.join(first, on="order", maintain_order="left")
    same: list[Rule] = [
        (pl.col(name).eq_missing(pl.col(f"first_{name}")) | (~is_filled(name) & pl.lit(name == "comments")),
                   "ORDER_CONFLICT", name)
        for name in ORDER_FIELDS
    ]  # fmt: skip
    once = [
        violations(several.filter(pl.col("code_type") == RANDOM), pl.col("order").is_first_distinct(), "ORDER_CONFLICT",
                   "quantity"),
        violations(several.filter((pl.col("code_type") == BTN4) & is_filled("btn")),
                   pl.struct("order", "btn").is_first_distinct(), "ORDER_CONFLICT", "btn"),
    ]  # fmt: skip
    return pl.concat([all_violations(paired, same), *once])


def repeated_codes(codes: pl.DataFrame) -> pl.DataFrame:
    """CODE_REPEATED findings: codes that an earlier row of the same file, or the same row, asks for too.

    `codes`: `file`, `order`, `source_row`, `action`, `code`. Cards that exist may be named by several orders of a file:
    the first valid one has them (see `registry_rules.contested_cards`), and just one order names a card once.
    """
    if codes["code"].n_unique() == len(codes):  # the rule, and found out in a third of the time
        return NO_FINDINGS
    several = codes.filter(pl.col("code").is_duplicated())  # few are, and pairs take longer to compare
    asked = several.filter(pl.col("action").is_in(actions.issuing()))
    named = several.filter(~pl.col("action").is_in(actions.issuing()))
    return pl.concat(
        [
            violations(asked, pl.struct("file", "code").is_first_distinct(), "CODE_REPEATED", "code"),
            violations(named, pl.struct("order", "code").is_first_distinct(), "CODE_REPEATED", "code"),
        ]
    )
