"""Release files: the cards of an order that became safe to print in one night. Each card stands in exactly one."""

from typing import Any, Final

import polars as pl

from pipelines.common.times import night_name
from pipelines.excel.presentation import telephone_text, time_value
from schemas.codes import code_text

_SAFE: Final = (
    "The network has these cards. They are safe to print, once: each card of the order stands in exactly one release file, "
    "and this file never changes. Before you print, compare the number of cards and the SHA-256 of the .csv file."
)
ORDER_HEADERS: Final = {"Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "customer_order_id"}
_CARD: Final = {
    "Access Number": "access_number",
    "Product Account Number": "product",
    "International Origin": "origin",
    "International Termination": "termination",
}


def rows(cards: pl.DataFrame) -> pl.DataFrame:
    """The rows of release files (see FileCards.released; `date` of the night), with `order_pk` and `event`."""
    released = pl.col("date").cast(pl.String).str.replace(r"^(....)(..)(..)$", "$1-$2-$3")
    return cards.select(
        "order_pk", "event",
        *(pl.col(name).alias(header) for header, name in ORDER_HEADERS.items()),
        serial_column("order_id").alias("Serial"),
        code_column("code", "Authorization Code"),
        *(pl.col(name).alias(header) for header, name in _CARD.items()),
        released.alias("Released"),
    )  # fmt: skip


def summary(file: dict[str, Any], digest: str) -> tuple[str, str, list[tuple[str, Any]]]:
    """Title, advice and key values of a release file; `digest`: the SHA-256 of its CSV."""
    left = max(file["ordered"] - file["released"], 0)
    key_values: list[tuple[str, Any]] = [
        ("Order ID", file["order_id"]),
        ("Customer Account Number", file["account"]),
        ("Customer Order ID", file["customer_order_id"]),
        ("Product Account Number", file["product"]),
        ("Access Number", telephone_text(file["access_number"])),
        ("Release of this order", file["number"]),
        ("Cards in this release", file["cards"]),
        ("Cards released so far", f"{file['released']:,} of {file['ordered']:,}"),
        ("Cards outstanding", left),
        *released_by(file),
        ("SHA-256 of the .csv file", digest),
    ]
    return "Cards that are safe to print", _SAFE, key_values


def released_by(file: dict[str, Any]) -> list[tuple[str, Any]]:
    """By which night, and when."""
    return [
        ("Written by", f"the reconciliation of {night_name(file['date'])}"),
        ("Written at", time_value(file["at"])),
    ]


def serial_column(order_id: str) -> pl.Expr:
    """The name of a card, `<Order ID>/<n>`, by which people speak of it."""
    return pl.format("{}/{}", order_id, "serial")


def code_column(name: str, header: str) -> pl.Expr:
    """A column of codes as text; empty where the number is 0."""
    return pl.when(pl.col(name) > 0).then(code_text(pl.col(name))).otherwise(pl.lit("")).alias(header)
