"""What is wrong with the rows of a sweep, told by the rows alone: every finding, none of them an exception."""

from hashlib import sha256
from typing import Final

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from schemas import actions, orders
from schemas.codes import CODES, is_code
from schemas.orders import BTN4, NAMES, ORDER_FIELDS, RANDOM, SPECIFIED

FINDINGS: Final = pl.Schema({"line": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String})
"""What is wrong with a line of the sweep: at which column, by which reason, and what stands there."""

_STRANGE: Final = r"[\p{Cf}\p{Co}\p{Zl}\p{Zp}[\p{Zs}--[ ]][\p{Cc}--[\t\n\r]][\p{Nd}--[0-9]]\x{fffd}]"
"""Control, zero-width and direction characters, spaces that are no space, digits that are no ASCII digits, and what
stands for a character that was lost."""


_TELEPHONES: Final = ("access_number", "btn")
_PUNCTUATION: Final = (
    r"[\s\u00a0\u2007\u202f().+/\u2010-\u2015\u2212-]"  # dashes and no-break spaces are typed by Word and Excel
)
_CODES_OF_A_CELL: Final = r"[^\s,;]+"


def canonical(raw: pl.DataFrame) -> pl.DataFrame:
    """The rows with one spelling for each meaning and the defaults filled in; what has no meaning stays as it is."""
    issues = pl.col("action").is_in(actions.issuing())
    rows = raw.with_columns(
        _spelled("action", actions.spellings()).fill_null("Add"),
        _spelled("service_type", {"card": "Card"}).fill_null("Card"),
        _spelled("origin", orders.FLAGS),
        _spelled("termination", orders.FLAGS),
        _spelled("code_type", orders.CODE_TYPES),
        *map(_telephone, _TELEPHONES),
    )
    return rows.with_columns(
        pl.when(issues).then(pl.coalesce("code_type", _inferred())).alias("code_type"),
        pl.when(issues).then(pl.col("origin").fill_null("No")).otherwise("origin").alias("origin"),
        pl.when(issues).then(pl.col("termination").fill_null("No")).otherwise("termination").alias("termination"),
    )


def _spelled(name: str, spellings: dict[str, str]) -> pl.Expr:
    return pl.col(name).str.to_lowercase().replace_strict(spellings, default=pl.col(name), return_dtype=pl.String)


def _telephone(name: str) -> pl.Expr:
    """A telephone number without punctuation and the country code 1, which no NANP number begins with."""
    return pl.col(name).str.replace_all(_PUNCTUATION, "").str.replace(r"^1([0-9]{10})$", "$1")


def _filled(name: str) -> pl.Expr:
    return pl.col(name).is_not_null()


def _inferred() -> pl.Expr:
    code, quantity, btn = _filled("code"), _filled("quantity"), _filled("btn")
    return (
        pl.when(code & ~quantity & ~btn).then(pl.lit(SPECIFIED))
        .when(~code & quantity & ~btn).then(pl.lit(RANDOM))
        .when(~code & quantity & btn).then(pl.lit(BTN4))
    )  # fmt: skip


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
    return frame, FINDINGS.to_frame()


def rule(rows: pl.DataFrame, broken: pl.Expr, reason: str, column: str) -> pl.DataFrame:
    """Findings for the rows of which `broken` is true, with what stands in the column."""
    return rows.filter(broken).select(
        "line", column=pl.lit(column), reason=pl.lit(reason), value=pl.col(column).cast(pl.String)
    )


def cells(raw: pl.DataFrame) -> pl.DataFrame:
    """CELL_CHARACTER findings, the character escaped so that it can be seen."""
    found = pl.concat([rule(raw, _text_of(name).str.contains(_STRANGE), "CELL_CHARACTER", name) for name in NAMES])
    return found.with_columns(pl.col("value").map_elements(_escaped, pl.String))


def _text_of(name: str) -> pl.Expr:
    """A cell's text; of a telephone number, without its punctuation, which may be of any kind."""
    return pl.col(name).str.replace_all(_PUNCTUATION, "") if name in _TELEPHONES else pl.col(name)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def alone(rows: pl.DataFrame, max_quantity: int) -> pl.DataFrame:
    """Findings about each row by itself: the format of its cells, and which cells go together."""
    code, quantity, btn, target = _filled("code"), _filled("quantity"), _filled("btn"), _filled("target")
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
        rule(rows, issues & ~_filled("product"), "PRODUCT_UNKNOWN", "product"),
        rule(rows, issues & ~_filled("access_number"), "ACCESS_FORMAT", "access_number"),
        rule(rows, changes & nothing, "NOTHING_TO_CHANGE", "action"),
    ]
    return pl.concat(found, how="vertical_relaxed")


def grouped(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The orders of the sweep, and the rows with the number of their `order`.

    An order is all rows of a file with one customer account and Customer Order ID; a row that lacks one of them is
    an order by itself. Its fields are those of its first row; `first` is its first line, `rows` counts them, and
    `content` tells orders of other content apart.
    """
    keys = ["file", "account", "order_ref", "loose"]
    rows = rows.with_columns(pl.when(pl.any_horizontal(pl.col(keys[1:3]).is_null())).then("line").alias("loose"))
    found = rows.group_by(keys, maintain_order=True).agg(
        pl.col("line").first().alias("first"),
        pl.col(*(name for name in ORDER_FIELDS if name != "comments")).first(),
        pl.col("comments").drop_nulls().first(),
        pl.len().cast(pl.Int64).alias("rows"),
        _wanted().alias("wanted"),
    )
    found = found.with_row_index("order")
    rows = rows.join(found.select("order", *keys), on=keys, nulls_equal=True, how="left", maintain_order="left")
    content = pl.concat_str(pl.col(*ORDER_FIELDS, "wanted").fill_null(""), separator="\x1f")
    found = found.with_columns(content=content.map_elements(_digest, pl.String))
    return found.drop("wanted", "loose"), rows.drop("loose")


def _wanted() -> pl.Expr:
    """What the rows of an order ask for, as one text that does not depend on how it is spread over rows."""
    codes = pl.col("code").str.extract_all(_CODES_OF_A_CELL).list.explode(keep_nulls=False, empty_as_null=False).sort()
    others = pl.col("btn", "quantity", "target")
    others = others.filter(pl.any_horizontal(others.is_not_null())).fill_null("")
    return pl.concat_str(codes.str.join(" "), pl.concat_str(others, separator=":").sort().str.join(" "), separator="|")


def wish() -> pl.Expr:
    """What one row asks for, with the fields of its order, as one text."""
    codes = pl.col("code").str.extract_all(_CODES_OF_A_CELL).list.sort().list.join(" ")
    others = pl.col("btn", "quantity", "target", *ORDER_FIELDS).fill_null("")
    return pl.concat_str(codes.fill_null(""), others, separator="\x1f")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def together(rows: pl.DataFrame) -> pl.DataFrame:
    """ORDER_CONFLICT findings: rows that disagree with the first row of their order, or repeat what may stand once."""
    several = rows.filter(pl.len().over("order") > 1)
    first = (
        several.group_by("order")
        .agg(pl.col(*ORDER_FIELDS).first().name.prefix("first_"), pl.col("comments").drop_nulls().first().alias("comment"))
        .with_columns(first_comments="comment")
    )
    paired = several.join(first, on="order", maintain_order="left")
    differs = [
        rule(paired, pl.col(name).ne_missing(pl.col(f"first_{name}")) & (_filled(name) | pl.lit(name != "comments")),
             "ORDER_CONFLICT", name)
        for name in ORDER_FIELDS
    ]  # fmt: skip
    again = [
        rule(several.filter(pl.col("code_type") == RANDOM), ~pl.col("order").is_first_distinct(), "ORDER_CONFLICT",
             "quantity"),
        rule(several.filter((pl.col("code_type") == BTN4) & _filled("btn")),
             ~pl.struct("order", "btn").is_first_distinct(), "ORDER_CONFLICT", "btn"),
    ]  # fmt: skip
    return pl.concat(differs + again)


def listed(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The codes that rows name, one a row with `line`, `order`, `code` (text), and findings about their format."""
    named = (
        rows.filter(_filled("code"))
        .select("line", "order", "file", pl.col("code").str.extract_all(_CODES_OF_A_CELL))
        .explode("code", empty_as_null=True)
    )
    # a good code beside a bad one stays, so that what else is wrong with the row is told at once
    good = named.filter(is_code(pl.col("code"))).with_columns(pl.col("code").cast(pl.Int64))
    return good, split(named.with_columns(pl.col("code").fill_null("")), CODES)[1]


def repeated(codes: pl.DataFrame) -> pl.DataFrame:
    """CODE_REPEATED findings: codes that an earlier row of the same file, or the same row, names too."""
    twice = codes.filter(pl.col("code").is_duplicated())  # few are, and pairs take longer to compare
    again = twice.filter(~pl.struct("file", "code").is_first_distinct())
    return again.select("line", column=pl.lit("code"), reason=pl.lit("CODE_REPEATED"), value=pl.col("code").cast(pl.String))
