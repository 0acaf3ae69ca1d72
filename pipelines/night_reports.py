"""What a night answers: release and refused files of orders, the placement of replacements, and the workbook."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines import placing, reports, workbooks
from pipelines.errors import CardsError, told
from pipelines.files import threads, whole_file
from pipelines.placing import digits
from pipelines.registry import Registry, nights
from pipelines.registry.nights import STATE, Night
from pipelines.settings import Settings
from pipelines.workbooks import Book, Sheet
from schemas import actions
from schemas.orders import BTN4, SPECIFIED

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


def write(settings: Settings, registry: Registry, event: dict[str, Any]) -> Night:
    """Write everything that a night answers; what it did."""
    night = nights.told(registry, event)
    cards = nights.placements(registry, event["event"]).with_columns(code=digits(pl.col("code")))
    if len(cards):
        reports.write_placement(settings.outbox, event, reports.placement(cards))
    write_workbook(settings, registry, night)
    write_outcomes(settings, registry, night.orders["order_no"])
    return night


def write_outcomes(settings: Settings, registry: Registry, orders: pl.Series) -> None:
    """Write the release file of each of the orders that the network ever had a card of, and beside it the list of
    what was refused or not carried out. Raises CardsError, after all others, when those of an order can't be written.
    """
    found = nights.outcome(registry, orders)
    fields = found.orders.select("order_no", "order_id", "account", "order_ref")
    ready = _by_order(found.ready.join(fields, on="order_no", maintain_order="left").select("order_no", *_release()))
    refused = _advised(found.refused, registry).with_columns(cause=pl.lit(_EXISTS))
    undone = found.undone.with_columns(replaced_by=pl.lit(0, pl.Int64), advice=pl.lit(_NOT_DONE), cause=pl.lit(_NOT_SHOWN))
    names = ["order_no", "code", "replaced_by", "cause", "advice"]
    bad = pl.concat([refused.select(names), undone.select(names)]).join(fields, on="order_no", maintain_order="left")
    lost = _by_order(
        bad.select(
            "order_no",
            *_release(),
            _code("replaced_by", "Replaced by"),
            pl.col("cause").alias("Likely cause"),
            pl.col("advice").alias("What to do"),
        )
    )
    none = pl.DataFrame(schema=dict.fromkeys([*_HEADERS, "Authorization Code"], pl.String))

    def write(order: dict[str, Any]) -> CardsError | None:
        number = order["order_no"]
        try:
            _write_outcome(settings, order, ready.get(number, none), lost.get(number))
        except Exception as error:  # an order never takes another with it
            return told(error)
        return None

    with threads() as pool:  # large workbooks are written without the interpreter's lock
        failed = [error for error in pool.map(write, found.orders.iter_rows(named=True)) if error]
    if failed:
        raise CardsError(f"What became of {len(failed)} orders could not be written. {failed[0]}")


def _write_outcome(settings: Settings, order: dict[str, Any], ready: pl.DataFrame, lost: pl.DataFrame | None) -> None:
    folder = settings.outbox / order["reseller"] / order["folder"]
    if order["released"]:
        _write_pair(folder / f"release-{order['order_id']}", ready, "Codes that are safe to print", _SAFE)
    issued = order["action"] in actions.issuing()
    words = ("Codes that were refused", _NOT_SAFE) if issued else ("Cards that are as they were", _NOT_DONE)
    if lost is not None:
        _write_pair(folder / f"refused-{order['order_id']}", lost, *words)
    else:  # the network has them after all: nothing may say any more that they must not be printed
        for kind in ("csv", "xlsx"):
            (folder / f"refused-{order['order_id']}.{kind}").unlink(missing_ok=True)


_HEADERS: Final = {"Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "order_ref"}


def _release() -> list[pl.Expr]:
    return [*(pl.col(name).alias(header) for header, name in _HEADERS.items()), _code("code", "Authorization Code")]


def _code(name: str, header: str) -> pl.Expr:
    return pl.when(pl.col(name) > 0).then(digits(pl.col(name))).otherwise(pl.lit("")).alias(header)


def _by_order(rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
    parts = rows.partition_by("order_no", as_dict=True, include_key=False, maintain_order=True)
    return {number: part for (number,), part in parts.items()}


def _write_pair(path: Path, rows: pl.DataFrame, title: str, advice: str) -> None:
    facts: list[tuple[str, Any]] = [("Order ID", path.name.partition("-")[2]), ("Codes", len(rows))]
    book = Book(title, advice, facts, [Sheet("Codes", rows)])
    whole_file(path.with_name(f"{path.name}.csv"), lambda beside: reports.write_csv(rows, beside))
    whole_file(path.with_name(f"{path.name}.xlsx"), lambda beside: workbooks.write(beside, book, 2_000))


def _advised(refused: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """Refused codes with the `advice` to their reseller."""
    btn = pl.col("code") // placing.PINS
    waiting = refused.filter(pl.col("code_type") == BTN4, pl.col("replaced_by") == 0).select(btn.alias("btn"))["btn"]
    free = placing.capacity(waiting, registry.taken_under(waiting)["code"])
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


# -- the workbook ------------------------------------------------------------------------------------------------------


def figures(settings: Settings, night: Night) -> dict[str, Any]:
    """The totals of a night, as `cards reconcile --json` has them."""
    return {
        "orders_settled": night.orders.filter(pl.col("awaiting") == 0).height,
        "codes_ready": _moved(night.counts, ("placed", "refused"), "ready"),
        "codes_ready_late": _moved(night.counts, ("refused",), "ready"),
        "codes_refused": _moved(night.counts, ("placed",), "refused"),
        "codes_replaced": len(night.replaced),
        "cards_changed": night.undone.filter(pl.col("done") == 1).height,
        "cards_not_changed": night.undone.filter(pl.col("done") == 2).height,
        "unexpected": len(night.unexpected),
        "orders_awaited": len(night.awaited),
        "orders_overdue": int(_awaited(settings, night)["Overdue"].eq("yes").sum()),
        "workbook": str(_path(settings, night).relative_to(settings.home)),
    }


def _path(settings: Settings, night: Night) -> Path:
    return settings.outbox / "reconciliation" / f"{_date(night.event['night']):%Y-%m-%d}.xlsx"


def _date(night: int) -> datetime:
    return datetime.strptime(str(night), "%Y%m%d")


def _moved(counts: pl.DataFrame, was: tuple[str, ...], state: str) -> int:
    chosen = counts.filter(pl.col("was").is_in([STATE[name] for name in was]), pl.col("state") == STATE[state])
    return int(chosen["cards"].sum())


def write_workbook(settings: Settings, registry: Registry, night: Night) -> None:
    """Write `outbox/reconciliation/<date>.xlsx`: totals with a chart, and a sheet for each thing that happened."""
    counted = figures(settings, night)
    facts: list[tuple[str, Any]] = [
        ("Orders settled", counted["orders_settled"]),
        ("Codes ready, safe to print", counted["codes_ready"]),
        ("… of these after an earlier refusal", counted["codes_ready_late"]),
        ("Codes refused", counted["codes_refused"]),
        ("… of these replaced", counted["codes_replaced"]),
        ("Cards changed, blocked or disconnected", counted["cards_changed"]),
        ("Cards for which that was not done", counted["cards_not_changed"]),
        ("Unexpected codes and orders", counted["unexpected"]),
        ("Orders awaited", counted["orders_awaited"]),
        ("… of these overdue", counted["orders_overdue"]),
    ]
    refused = _advised(night.refused, registry)
    sheets = [
        Sheet("Orders", _orders(night)),
        Sheet("Refused", refused.select(*_whose(), _code("code", "Refused code"), _code("replaced_by", "Replaced by"),
                                        pl.col("advice").alias("What the reseller does"))),
        Sheet("Replaced", night.replaced.select(*_whose(), _code("replaced", "Refused code"), _code("code", "New code"))),
        Sheet("Ready late", night.late.select(*_whose(), _code("code", "Authorization Code"))),
        Sheet("Changes", night.undone.select(*_whose(), pl.col("action").alias("Action"), _code("code", "Authorization Code"),
                                             _done().alias("Outcome"))),
        Sheet("Unexpected", night.unexpected.select(pl.col("order_id").alias("Order ID"), _code("code", "Authorization Code"),
                                                    pl.col("held").alias("What is known"), pl.col("file").alias("Report"))),
        Sheet("Awaited", _awaited(settings, night)),
        Sheet("Capacity", _capacity(night, registry)),
    ]  # fmt: skip
    title = f"Reconciliation of {_date(night.event['night']):%Y-%m-%d}"
    book = Book(title, _advice(counted), facts, sheets, _trend(night), "Codes ready and refused, a night")
    whole_file(_path(settings, night), lambda beside: workbooks.write(beside, book))


def _advice(counted: dict[str, Any]) -> str:
    """What needs a person."""
    lines = []
    if counted["orders_overdue"]:
        lines.append(f"{counted['orders_overdue']} order(s) are overdue: ask the network for their report (sheet Awaited).")
    if left := counted["codes_refused"] - counted["codes_replaced"]:
        lines.append(f"{left} refused code(s) were not replaced: their resellers choose others (sheet Refused).")
    if counted["cards_not_changed"]:
        lines.append(
            f"{counted['cards_not_changed']} card(s) are as they were though an order asked otherwise (sheet Changes)."
        )
    if counted["unexpected"]:
        lines.append(f"{counted['unexpected']} code(s) or order(s) of the network's are not ours (sheet Unexpected).")
    return " ".join(lines) or "Nothing needs a person."


def _whose() -> list[pl.Expr]:
    return [pl.col("reseller").alias("Reseller"), *(pl.col(name).alias(header) for header, name in _HEADERS.items())]


def _done() -> pl.Expr:
    return pl.when(pl.col("done") == 1).then(pl.lit("done")).otherwise(pl.lit("not done"))


def _orders(night: Night) -> pl.DataFrame:
    """A row an order that something happened to: how many of its cards were confirmed, refused and so on."""
    moved = night.counts.with_columns(
        kind=pl.when((pl.col("was") <= STATE["refused"]) & (pl.col("state") == STATE["ready"])).then(pl.lit("Ready"))
        .when(pl.col("state") == STATE["refused"]).then(pl.lit("Refused")).otherwise(pl.lit("Moved"))
    ).select("order_no", "kind", "cards")  # fmt: skip
    replaced = night.replaced.join(night.orders.select("order_id", "order_no"), on="order_id").select(
        "order_no", kind=pl.lit("Replaced"), cards=pl.lit(1, pl.Int64)
    )
    kind = pl.when(pl.col("done") == 1).then(pl.lit("Done")).otherwise(pl.lit("Not done"))
    carried = night.undone.select("order_no", kind=kind, cards=pl.lit(1, pl.Int64))  # fmt: skip
    every = pl.concat([moved, replaced, carried])
    kinds = ["Ready", "Refused", "Replaced", "Done", "Not done"]
    counts = every.group_by("order_no").agg(pl.col("cards").filter(pl.col("kind") == kind).sum().alias(kind) for kind in kinds)
    told = night.orders.join(counts, on="order_no", how="left", maintain_order="left")
    state = pl.when(pl.col("awaiting") > 0).then(pl.lit("awaited")).otherwise(pl.lit("settled"))
    return told.select(
        *_whose(), pl.col("action").alias("Action"), _time("placed").alias("Placed"), pl.col("cards").alias("Cards"),
        pl.col(kinds).fill_null(0), state.alias("State"),
    )  # fmt: skip


def _time(name: str) -> pl.Expr:
    """Local time of ISO text."""
    return pl.col(name).str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S")


def _instant(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_zone="UTC")


def _awaited(settings: Settings, night: Night) -> pl.DataFrame:
    """Orders that no report has named, with their age when the night ran."""
    age = (_instant(pl.lit(night.event["at"])) - _instant(pl.col("since"))).dt.total_seconds() / 3600
    rows = night.awaited.with_columns(age=age)
    overdue = pl.when(pl.col("age") > settings.overdue_hours).then(pl.lit("yes")).otherwise(pl.lit(""))
    return rows.select(
        *_whose(), pl.col("action").alias("Action"), pl.col("cards").alias("Cards"), _time("since").alias("Awaited since"),
        pl.col("age").round(1).alias("Hours"), overdue.alias("Overdue"),
    )  # fmt: skip


def _capacity(night: Night, registry: Registry) -> pl.DataFrame:
    """How many PINs each BTN in use has left."""
    btns = night.btns["btn"]
    free = placing.capacity(btns, registry.taken_under(btns)["code"])
    return free.select(pl.col("btn").cast(pl.String).alias("BTN"), pl.col("free").alias("Free PINs"))


def _trend(night: Night) -> pl.DataFrame:
    """Ready and refused cards of the latest nights."""
    ready = (pl.col("state") == STATE["ready"]) & (pl.col("was") <= STATE["refused"])
    rows = night.trend.group_by("night", maintain_order=True).agg(
        pl.col("cards").filter(ready).sum().alias("Ready"),
        pl.col("cards").filter(pl.col("state") == STATE["refused"]).sum().alias("Refused"),
    )
    return rows.select(
        pl.col("night").cast(pl.String).str.to_date("%Y%m%d").dt.strftime("%Y-%m-%d").alias("Night"), "Ready", "Refused"
    )
