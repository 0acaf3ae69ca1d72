"""Release files (safe to print) and refused files of the orders that a night reconciled."""

from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.codes import capacity
from pipelines.common.durable_files import Access, thread_pool, write_atomically
from pipelines.common.errors import CardsError, to_cards_error
from pipelines.common.settings import Settings
from pipelines.delivery import archive, csv_files
from pipelines.delivery.access import access_for
from pipelines.excel import writers
from pipelines.excel.book import Book, Sheet
from pipelines.registry import night_records
from pipelines.registry.reconciliation import STATE
from pipelines.registry.store import Registry
from pipelines.run import Run
from schemas import actions
from schemas.codes import code_text
from schemas.orders import BTN4, SPECIFIED
from schemas.pins import PINS

_SAFE: Final = "The network has confirmed these codes. They are safe to print."
_NOT_SAFE: Final = "The network does not have these codes; most likely each exists there already. Never print them."
_EXISTS: Final = "The network does not have it under this order; most likely it exists there already."
_NOT_SHOWN: Final = "The network's report of this order does not show the card."
_REPLACED: Final = "It was replaced. Use the new code once it stands in a release file."
_CHOOSE: Final = "Choose another code and order it under a new Customer Order ID."
_NO_PIN: Final = "No PIN of this BTN is free. Order it for another BTN, under a new Customer Order ID."
_ORDER_AGAIN: Final = "Order another code under a new Customer Order ID."
_LATE: Final = "The network has it after all: it was released."
_NOT_DONE: Final = "The network does not show that this was done; the card is as it was. Order it again under a new ID."


def write_order_files(run: Run, orders: pl.Series) -> None:
    """Write the release file of each of the orders that the network ever had a card of, and beside it the list of
    what was refused or not carried out. Raises CardsError, after all others, when those of an order can't be written.
    """
    if orders.is_empty():
        return
    archive.bring_back_orders(run, orders)
    found = night_records.order_outcomes(run.registry, orders)
    fields = found.orders.select("order_pk", "order_id", "account", "customer_order_id")
    ready = _by_order(found.ready.join(fields, on="order_pk", maintain_order="left").select("order_pk", *_release()))
    refused = with_advice(found.refused, run.registry).with_columns(cause=pl.lit(_EXISTS))
    not_shown = found.not_shown.with_columns(
        replaced_by=pl.lit(0, pl.Int64), advice=pl.lit(_NOT_DONE), cause=pl.lit(_NOT_SHOWN)
    )
    names = ["order_pk", "code", "replaced_by", "cause", "advice"]
    bad = pl.concat([refused.select(names), not_shown.select(names)]).join(fields, on="order_pk", maintain_order="left")
    lost = _by_order(
        bad.select(
            "order_pk",
            *_release(),
            code_column("replaced_by", "Replaced by"),
            pl.col("cause").alias("Likely cause"),
            pl.col("advice").alias("What to do"),
        )
    )
    none = pl.DataFrame(schema=dict.fromkeys([*ORDER_HEADERS, "Authorization Code"], pl.String))

    def write(order: dict[str, Any]) -> CardsError | None:
        number = order["order_pk"]
        try:
            _write_outcome(run.settings, order, ready.get(number, none), lost.get(number))
        except Exception as error:  # an order never takes another with it
            return to_cards_error(error)
        return None

    with thread_pool() as pool:  # large workbooks are written without the interpreter's lock
        changed = _with_files(run.settings, found.orders, list(lost))
        failed = [error for error in pool.map(write, changed.iter_rows(named=True)) if error]
    if failed:
        raise CardsError(f"What became of {len(failed)} orders could not be written. {failed[0]}")


def _with_files(settings: Settings, orders: pl.DataFrame, lost: list[int]) -> pl.DataFrame:
    """The orders whose files are to be written or removed. A hundred thousand that all succeeded, such as Blocks, have none."""
    there = [
        {"reseller": reseller, "folder": folder, "order_id": path.stem.removeprefix("refused-")}
        for reseller, folder in orders.select("reseller", "folder").unique().iter_rows()
        for path in (settings.outbox / reseller / folder).glob("refused-*")
    ]
    refused = pl.DataFrame(there, orders.select("reseller", "folder", "order_id").schema)
    concerned = orders.join(refused, on=refused.columns, how="semi")["order_pk"]
    order = pl.col("order_pk")
    return orders.filter((pl.col("released") == 1) | order.is_in(lost) | order.is_in(concerned.implode()))


def _write_outcome(settings: Settings, order: dict[str, Any], ready: pl.DataFrame, lost: pl.DataFrame | None) -> None:
    access = access_for(settings, order["reseller"])
    folder = settings.outbox / order["reseller"] / order["folder"]
    if order["released"]:
        _write_pair(folder / f"release-{order['order_id']}", ready, "Codes that are safe to print", _SAFE, access)
    issued = order["action"] in actions.issuing()
    words = ("Codes that were refused", _NOT_SAFE) if issued else ("Cards that are as they were", _NOT_DONE)
    if lost is not None:
        _write_pair(folder / f"refused-{order['order_id']}", lost, *words, access)
    else:  # the network has them after all: nothing may say any more that they must not be printed
        for kind in ("csv", "xlsx"):
            (folder / f"refused-{order['order_id']}.{kind}").unlink(missing_ok=True)


ORDER_HEADERS: Final = {"Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "customer_order_id"}


def _release() -> list[pl.Expr]:
    return [*(pl.col(name).alias(header) for header, name in ORDER_HEADERS.items()), code_column("code", "Authorization Code")]


def code_column(name: str, header: str) -> pl.Expr:
    """A column of codes as text; empty where the number is 0."""
    return pl.when(pl.col(name) > 0).then(code_text(pl.col(name))).otherwise(pl.lit("")).alias(header)


def _by_order(rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
    parts = rows.partition_by("order_pk", as_dict=True, include_key=False, maintain_order=True)
    return {number: part for (number,), part in parts.items()}


def _write_pair(path: Path, rows: pl.DataFrame, title: str, advice: str, access: Access) -> None:
    facts: list[tuple[str, Any]] = [("Order ID", path.name.partition("-")[2]), ("Codes", len(rows))]
    book = Book(title, advice, facts, [Sheet("Codes", rows)])
    write_atomically(path.with_name(f"{path.name}.csv"), lambda staged: csv_files.write_csv(rows, staged), access)
    write_atomically(path.with_name(f"{path.name}.xlsx"), lambda staged: writers.write(staged, book, 2_000), access)


def with_advice(refused: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """Refused codes with the `advice` to their reseller."""
    btn = pl.col("code") // PINS
    waiting = refused.filter(pl.col("code_type") == BTN4, pl.col("replaced_by") == 0).select(btn.alias("btn"))["btn"]
    free = capacity.free_pins(waiting, registry.codes_under(waiting)["code"])
    exhausted = free.filter(pl.col("free") == 0)["btn"]
    kind = pl.col("code_type")
    advice = (
        pl.when(pl.col("state") != STATE["refused"]).then(pl.lit(_LATE))
        .when(pl.col("replaced_by") > 0).then(pl.lit(_REPLACED))
        .when(kind == SPECIFIED).then(pl.lit(_CHOOSE))
        .when((kind == BTN4) & btn.is_in(exhausted.implode())).then(pl.lit(_NO_PIN))
        .otherwise(pl.lit(_ORDER_AGAIN))
    )  # fmt: skip
    return refused.with_columns(advice=advice)
