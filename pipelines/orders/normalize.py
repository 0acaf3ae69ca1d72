"""Bring rows to one spelling, group them into orders, and list the codes they name."""

from hashlib import sha256
from typing import Final

import polars as pl

from schemas import actions, orders
from schemas.codes import CODES, is_code
from schemas.findings import split
from schemas.orders import BTN4, ORDER_FIELDS, RANDOM, SPECIFIED

CODES_IN_CELL: Final = r"[^\s,;]+"


def normalize(raw: pl.DataFrame) -> pl.DataFrame:
    """The rows with one spelling for each meaning and the defaults filled in; what has no meaning stays as it is."""
    issues = pl.col("action").is_in(actions.issuing())
    rows = raw.with_columns(
        _spelled("action", actions.spellings()).fill_null("Add"),
        _spelled("service_type", {"card": "Card"}).fill_null("Card"),
        _spelled("origin", orders.FLAGS),
        _spelled("termination", orders.FLAGS),
        _spelled("code_type", orders.CODE_TYPES),
        _telephone("access_number"),
        _telephone("btn"),
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
    return pl.col(name).str.replace_all(r"[ ().+-]", "").str.replace(r"^1([0-9]{10})$", "$1")


def is_filled(name: str) -> pl.Expr:
    """Whether a cell has a value."""
    return pl.col(name).is_not_null()


def _inferred() -> pl.Expr:
    code, quantity, btn = is_filled("code"), is_filled("quantity"), is_filled("btn")
    return (
        pl.when(code & ~quantity & ~btn).then(pl.lit(SPECIFIED))
        .when(~code & quantity & ~btn).then(pl.lit(RANDOM))
        .when(~code & quantity & btn).then(pl.lit(BTN4))
    )  # fmt: skip


def group_orders(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
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
        _order_content().alias("wanted"),
    )
    found = found.with_row_index("order")
    rows = rows.join(found.select("order", *keys), on=keys, nulls_equal=True, how="left", maintain_order="left")
    content = pl.concat_str(pl.col(*ORDER_FIELDS, "wanted").fill_null(""), separator="\x1f")
    found = found.with_columns(content=content.map_elements(_digest, pl.String))
    return found.drop("wanted", "loose"), rows.drop("loose")


def _order_content() -> pl.Expr:
    """What the rows of an order ask for, as one text that does not depend on how it is spread over rows."""
    codes = pl.col("code").str.extract_all(CODES_IN_CELL).list.explode(keep_nulls=False, empty_as_null=False).sort()
    others = pl.col("btn", "quantity", "target")
    others = others.filter(pl.any_horizontal(others.is_not_null())).fill_null("")
    return pl.concat_str(codes.str.join(" "), pl.concat_str(others, separator=":").sort().str.join(" "), separator="|")


def row_key() -> pl.Expr:
    """What one row asks for, with the fields of its order, as one text."""
    codes = pl.col("code").str.extract_all(CODES_IN_CELL).list.sort().list.join(" ")
    others = pl.col("btn", "quantity", "target", *ORDER_FIELDS).fill_null("")
    return pl.concat_str(codes.fill_null(""), others, separator="\x1f")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def list_codes(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The codes that rows name, one a row with `line`, `order`, `code` (text), and findings about their format."""
    named = (
        rows.filter(is_filled("code"))
        .select("line", "order", "file", pl.col("code").str.extract_all(CODES_IN_CELL))
        .explode("code", empty_as_null=True)
    )
    # a good code beside a bad one stays, so that what else is wrong with the row is told at once
    good = named.filter(is_code(pl.col("code"))).with_columns(pl.col("code").cast(pl.Int64))
    return good, split(named.with_columns(pl.col("code").fill_null("")), CODES)[1]
