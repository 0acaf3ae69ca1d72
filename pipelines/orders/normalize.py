"""Bring rows to one spelling, group them into orders, and list the codes they name."""

from hashlib import sha256
from typing import Final

import polars as pl

from schemas import actions, orders, telephone
from schemas.codes import CODES, is_code
from schemas.findings import schema_findings
from schemas.orders import BTN4, ORDER_FIELDS, RANDOM, SPECIFIED

TELEPHONES: Final = ("access_number", "btn")
_OF_CARDS: Final = (
    "product",
    "access_number",
    "origin",
    "termination",
    "code_type",
    "code",
    "quantity",
    "btn",
    "target_order_id",
)
"""Cells that say nothing where an order is cancelled: whoever does so may send its rows again with another action."""
CODES_IN_CELL: Final = r"[^\s,;]+"
_BETWEEN_CODES: Final = r"[\s,;]"
_LONG: Final = 100
"""Lists of so many values take half as long to sort as the table that they are made from, and short ones ten times as long."""
CELL_CODES: Final = 1_000
"""So many codes are read from one cell."""


def normalize(raw: pl.DataFrame) -> pl.DataFrame:
    """The rows with one spelling for each meaning and the defaults filled in; what has no meaning stays as it is."""
    issues = pl.col("action").is_in(actions.issuing())
    rows = raw.with_columns(
        _spelled("action", actions.spellings()).fill_null("Add"),
        _spelled("service_type", {"card": "Card"}).fill_null("Card"),
        _spelled("origin", orders.FLAGS),
        _spelled("termination", orders.FLAGS),
        _spelled("code_type", orders.CODE_TYPES),
        *(telephone.normalized(pl.col(name)) for name in TELEPHONES),
    )
    if (cancels := rows["action"].is_in(actions.cancelling())).any():
        rows = rows.with_columns(pl.when(~cancels).then(pl.col(_OF_CARDS)))
    return rows.with_columns(
        pl.when(issues).then(pl.coalesce("code_type", _inferred())).alias("code_type"),
        pl.when(issues).then(pl.col("origin").fill_null("No")).otherwise("origin").alias("origin"),
        pl.when(issues).then(pl.col("termination").fill_null("No")).otherwise("termination").alias("termination"),
    )


def _spelled(name: str, spellings: dict[str, str]) -> pl.Expr:
    return pl.col(name).str.to_lowercase().replace_strict(spellings, default=pl.col(name), return_dtype=pl.String)


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
    """The orders of the batch, and the rows with the number of their `order`.

    An order is all rows of a file with one customer account and Customer Order ID; a row that lacks one of them is
    an order by itself. Its fields are those of its first row, `rows` counts its rows, and `content` is a digest of all
    that it asks for, which does not depend on how it is spread over rows.
    """
    keys = ["account", "customer_order_id"]
    loose = pl.when(pl.any_horizontal(pl.col(keys).is_null())).then("row_id")
    of_orders = rows.group_by("file", *keys, loose.alias("loose"), maintain_order=True).agg("row_id").with_row_index("order")
    rows = rows.with_columns(of_orders.select("order", "row_id").explode("row_id").sort("row_id")["order"])
    fields = ["file", *keys, *(name for name in ORDER_FIELDS if name != "comments")]
    found = rows.group_by("order", maintain_order=True).agg(pl.col(fields).first(), pl.len().cast(pl.Int64).alias("rows"))
    comments = rows.drop_nulls("comments").group_by("order").agg(pl.col("comments").first())
    codes = _texts(_named(rows, "order").drop_nulls("code"), "code")
    others = _texts(rows.select("order", others=_others()).drop_nulls("others"), "others")
    for frame in (comments, codes, others):
        found = found.join(frame, on="order", how="left", maintain_order="left")
    content = pl.concat_str(
        pl.col(ORDER_FIELDS).fill_null(""),
        pl.concat_str(pl.col("code", "others").fill_null(""), separator="|"),
        separator="\x1f",
    )
    found = found.with_columns(content=content.map_elements(_digest, pl.String))
    return found.select("order", "file", *keys, *ORDER_FIELDS, "rows", "content"), rows


def _texts(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The values of each `order`, sorted, as one text."""
    if len(frame) > _LONG * frame["order"].n_unique():
        values = frame.group_by("order").agg(name).with_columns(pl.col(name).list.sort())
    else:
        values = frame.sort(name).group_by("order").agg(name)
    return values.with_columns(pl.col(name).list.join(" "))


def _named(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Every code that the rows name, with these columns of its row; null for a cell with nothing but separators."""
    filled = rows.filter(is_filled("code")).select(*columns, "code")
    if not filled["code"].str.contains(_BETWEEN_CODES).any():  # as in most files, which spares a list a row
        return filled
    return filled.with_columns(pl.col("code").str.extract_all(CODES_IN_CELL)).explode("code", empty_as_null=True)


def _others() -> pl.Expr:
    """What a row asks for other than codes; null for nothing."""
    others = pl.col("btn", "quantity", "target_order_id")
    return pl.when(pl.any_horizontal(others.is_not_null())).then(pl.concat_str(others.fill_null(""), separator=":"))


def row_key() -> pl.Expr:
    """What one row asks for, with the fields of its order, as one text."""
    codes = pl.col("code").str.extract_all(CODES_IN_CELL).list.sort().list.join(" ")
    others = pl.col("btn", "quantity", "target_order_id", *ORDER_FIELDS).fill_null("")
    return pl.concat_str(codes.fill_null(""), others, separator="\x1f")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def count_codes(rows: pl.DataFrame) -> int:
    """How many codes rows name, without making a list of them; cells that name too many don't count."""
    counts = rows.select(pl.col("code").str.count_matches(CODES_IN_CELL)).to_series()
    return int(counts.filter(counts <= CELL_CODES).sum())


def crowded_cells(raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without the code cells that name more codes than are read from one, and a CODE_FORMAT finding for each."""
    long = raw.filter(pl.col("code").str.len_bytes() > 2 * CELL_CODES)  # with fewer bytes there can't be so many
    crowded = long.filter(pl.col("code").str.count_matches(CODES_IN_CELL) > CELL_CODES)
    words = pl.lit(f"more than {CELL_CODES:,} codes in one cell")
    found = crowded.select("file", "source_row", column=pl.lit("code"), reason=pl.lit("CODE_FORMAT"), value=words)
    if found.is_empty():
        return raw, found
    return raw.with_columns(code=pl.when(~pl.col("row_id").is_in(crowded["row_id"].implode())).then("code")), found


def list_codes(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The valid codes that rows name (`row_id`, `order`, `file`, `source_row`, `code` as an integer), and findings about the
    others.
    """
    named = _named(rows, "row_id", "order", "file", "source_row").with_columns(pl.col("code").fill_null(""))
    found = schema_findings(named, CODES)
    # a valid code next to an invalid one stays, so that everything that is wrong with the row is found at once
    valid = named if found.is_empty() else named.filter(is_code(pl.col("code")))
    return valid.with_columns(pl.col("code").cast(pl.Int64)), found
