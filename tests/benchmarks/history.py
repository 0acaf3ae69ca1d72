"""Registries with a past: what lies there when a job begins, entered in bulk, and a year that is played.

Each function is a job (see `jobs`): it gets a home, the address of its registry and a count.
"""

import os
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.registry.outbox_files import files_of
from pipelines.registry.schema import EVENT, INT, ORDER
from pipelines.registry.store import Registry, open_registry
from schemas.codes import CardState, is_code
from schemas.pins import PINS, valid_pin_counts
from tests.registries import connect, put_version

_PART = 1_000_000
_LINKS = 10_000
"""So many names has a file that stands for as many; file systems allow no more than some ten thousand."""
_PAST = "2024-03-01T09:00:00+00:00"
_ACCOUNT = "10023456"


def cards(home: Path, url: str, count: int) -> dict[str, Any]:
    """Fill a registry with ready BTN+4 cards that a night released long ago: 1,000 under each BTN, of an order each; with
    fewer than a million cards a BTN has 10.
    """
    each = 1_000 if count > _PART else 10
    btns = _btns(count // each)
    with open_registry(url) as registry:
        for start in range(0, len(btns), _PART // each):
            with registry.transaction():
                _lay_cards(registry, btns.slice(start, _PART // each), each, start)
    return {"seconds": 0, "steps": {}}


def _btns(count: int) -> pl.Series:
    """BTNs that can have cards, of which half of the PINs are valid at least."""
    numbers = pl.Series("btn", range(2_012_000_000, 2_012_000_000 + 61 * 30 * count, 61), pl.Int64)
    numbers = numbers.filter(numbers.cast(pl.String).str.contains(r"^[2-9]..[2-9]"))
    return valid_pin_counts(numbers.head(count * 3)).filter(pl.col("valid") > 5_000)["btn"].head(count)


def _lay_cards(registry: Registry, btns: pl.Series, each: int, first: int) -> None:
    orders = btns.to_frame().with_row_index("n", first + 1).with_columns(pl.col("n").cast(INT))
    registry.append("events", _events(orders["n"] * 2 - 1, "orders"))
    registry.append("events", _events(orders["n"] * 2, "report"))
    registry.append("orders", _orders(orders["n"], each, orders["n"] * 2 - 1))
    pins = pl.DataFrame({"pin": range(1, PINS, 7)}, {"pin": INT})
    codes = orders.join(pins, how="cross").with_columns(code=pl.col("btn") * PINS + pl.col("pin"))
    codes = codes.filter(is_code(pl.col("code").cast(pl.String)))
    codes = codes.with_columns(serial=pl.int_range(1, pl.len() + 1, dtype=INT).over("n")).filter(pl.col("serial") <= each)
    rows = codes.select("code", "serial", order_pk="n")
    registry.append("cards", rows.with_columns(state=pl.lit(CardState.READY.value)))
    registry.append("numbers", rows)
    moved = rows.with_columns(event=pl.col("order_pk") * 2, from_state=pl.lit(0), to_state=pl.lit(CardState.READY.value))
    registry.append("state_transitions", moved)
    registry.append("order_transitions", _counted(moved))
    _release(registry, moved)
    figures = valid_pin_counts(btns).join(rows.group_by(btn=pl.col("code") // PINS).agg(used=pl.len().cast(INT)), on="btn")
    registry.append("btns", figures.with_columns(account=pl.lit(_ACCOUNT), changed_event=pl.lit(0)))


def _counted(moved: pl.DataFrame) -> pl.DataFrame:
    return moved.group_by("event", "order_pk", "from_state", "to_state").agg(cards=pl.len().cast(INT))


def _release(registry: Registry, moved: pl.DataFrame) -> None:
    """The cards were released in one file of each order."""
    orders = moved.group_by("order_pk", "event").agg(first_serial=pl.col("serial").min(), last_serial=pl.col("serial").max())
    registry.append("release_ranges", orders)
    registry.append("order_files", orders.with_columns(kind=pl.lit("release"), part=1, cards="last_serial"))


def _events(numbers: pl.Series, kind: str) -> pl.DataFrame:
    texts = {name: pl.lit("") for name, type_ in EVENT.items() if type_ == pl.String}
    zeros = {name: pl.lit(0, INT) for name, type_ in EVENT.items() if type_ == INT}
    source = "acme" if kind == "orders" else "network"
    return numbers.to_frame("event").with_columns(
        **{**texts, **zeros, "kind": pl.lit(kind), "source": pl.lit(source), "at": pl.lit(_PAST)}
        | {"digest": pl.format("{}-{}", pl.lit(kind), "event"), "folder": pl.format("20240301-090000-{}", "event")}
        | {
            "original_event": pl.col("event"),
            "delivered": pl.lit(1, INT),
            "readable": pl.lit(1, INT),
            "final": pl.lit(int(kind == "orders"), INT),
            "event": pl.col("event"),
        }
        | {"reconciliation_date": pl.lit(20240302 if kind == "report" else 0, INT)}
    )


def _orders(numbers: pl.Series, cards: int, events: pl.Series) -> pl.DataFrame:
    texts = {name: pl.lit("") for name, type_ in ORDER.items() if type_ == pl.String}
    return pl.DataFrame({"order_pk": numbers, "event": events}).with_columns(
        **texts
        | {"order_sequence": pl.col("order_pk"), "account": pl.lit(_ACCOUNT), "action": pl.lit("Add")}
        | {"order_id": pl.format("{}-{}", pl.lit(_ACCOUNT), "order_pk"), "code_type": pl.lit("BTN+4")}
        | {"customer_order_id": pl.format("PAST-{}", "order_pk"), "access_number": pl.lit("8008604444")}
        | {"cards": pl.lit(cards, INT), "confirmed": pl.lit(cards, INT), "rows": pl.lit(1, INT), "awaiting": pl.lit(0, INT)}
        | {"granted": pl.lit(0, INT), "judged_event": pl.col("event")}
    )


def files(home: Path, url: str, count: int) -> dict[str, Any]:
    """Fill a registry with earlier files: each with an order of one card that was placed, released and blocked, an order that
    was placed before, and a finding.
    """
    with open_registry(url) as registry:
        for start in range(0, count, _PART // 4):
            with registry.transaction():
                _lay_files(registry, pl.int_range(start + 1, min(start + _PART // 4, count) + 1, eager=True, dtype=INT))
    return {"seconds": 0, "steps": {}}


def _lay_files(registry: Registry, numbers: pl.Series) -> None:
    registry.append("events", _events(numbers, "orders"))
    registry.append("orders", _orders(numbers, 1, numbers))
    rows = numbers.to_frame("order_pk").with_columns(
        code=pl.col("order_pk") * 70_000_001 + 10**13, serial=pl.lit(1, INT), event=pl.col("order_pk")
    )
    registry.append("cards", rows.with_columns(state=pl.lit(CardState.READY.value)))
    registry.append("numbers", rows)
    moved = rows.with_columns(from_state=pl.lit(0), to_state=pl.lit(CardState.READY.value))
    registry.append("state_transitions", moved)
    registry.append("order_transitions", _counted(moved))
    _release(registry, moved)
    actions = rows.select("order_pk", card_order_pk="order_pk", card_serial="serial", outcome=pl.lit(1), settled_event="event",
                          missed_event=pl.lit(0, INT))  # fmt: skip
    registry.append("card_actions", actions)
    registry.append("duplicate_orders", rows.select("event", "order_pk", rows=pl.lit(1)))
    registry.append("row_keys", rows.select("order_pk", row_key=pl.format("key {}", "order_pk")))
    registry.append("taken_code_attempts", rows.select("event", source=pl.lit("acme"), day=pl.lit(_PAST[:10]), codes=pl.lit(1)))
    findings = {"column_name": pl.lit("code"), "reason": pl.lit("CODE_TAKEN"), "value": pl.lit("")}
    registry.append("findings", rows.select("event", source_row=pl.lit(3), **findings))


def outbox(home: Path, url: str, count: int) -> dict[str, Any]:
    """Lay so many answered files into the outbox beside those that are there: folders like the first one, of the same files
    (as links), and what the registry keeps of them.
    """
    with open_registry(url) as registry:
        first, last = registry.next("events", "event"), registry.next("events", "event") + count - 1
        numbers = pl.int_range(first, last + 1, eager=True, dtype=INT)
        model = min((home / "outbox/acme").glob("*-small0"))
        kept = files_of(registry, pl.Series([1])).filter(~pl.col("name").str.contains("/", literal=True)).drop("event")
        with registry.transaction():
            digest = registry.submission_records([1]).events["digest"].item()
            events = _events(numbers, "orders").with_columns(digest=pl.lit(digest), final=pl.lit(0, INT))
            registry.append("events", events)
            registry.append("outbox_files", numbers.to_frame("event").join(kept, how="cross"))
        for number, folder in enumerate(events["folder"]):
            new = home / "outbox/acme" / folder
            if number % _LINKS:
                new.mkdir(mode=0o700)
                for path in model.iterdir():
                    os.link(path, new / path.name)
            else:
                model = Path(shutil.copytree(model, new))
    return {"seconds": 0, "steps": {}}


def migrate(home: Path, url: str, count: int) -> dict[str, Any]:
    """Bring a registry of version 3 up to date that holds so many ready cards, in orders of 1,000."""
    put_version(3, url)
    with connect(url) as connection, connection.cursor() as cursor:
        for start in range(0, count, _PART):
            _lay_version_3(cursor, pl.int_range(start, min(start + _PART, count), eager=True, dtype=INT))
    begun = time.perf_counter()
    with open_registry(url) as registry:
        seconds = time.perf_counter() - begun
        assert registry.query("SELECT count(*) AS n FROM numbers", {"n": INT}).item() > count
    return {"seconds": seconds, "steps": {}}


def _lay_version_3(cursor: Any, numbers: pl.Series) -> None:
    cards = numbers.to_frame("n").select(
        code=pl.col("n") * 8_999_983 + 10**13,
        order_no=pl.col("n") // 1_000 + 10_000,
        event=pl.lit(1, INT),
        state=pl.lit(1, pl.Int16),
    )
    cursor.adbc_ingest("codes", cards.sort("code").to_arrow(), mode="append")
    moves = cards.select("event", "code", "order_no", was=pl.lit(0, pl.Int16), state="state")
    cursor.adbc_ingest("moves", moves.to_arrow(), mode="append")
    orders = cards.select(pl.col("order_no").unique(maintain_order=True))
    texts = dict.fromkeys(("action", "service_type", "product", "access_number", "origin", "termination", "comments",
                           "code_type", "content", "since"), pl.lit(""))  # fmt: skip
    orders = orders.with_columns(
        event=pl.lit(1, INT), order_id=pl.format("99999999-{}", "order_no"), account=pl.lit("99999999"), number="order_no",
        order_ref=pl.format("R{}", "order_no"), rows=pl.lit(1, INT), cards=pl.lit(1_000, INT), awaiting=pl.lit(0, INT), **texts,
    )  # fmt: skip
    cursor.adbc_ingest("orders", orders.to_arrow(), mode="append")


def year(home: Path, url: str, count: int) -> dict[str, Any]:
    """Play so many days of 200 orders in 8 files, a report of the network and a night each, by an injected clock; the seconds
    of each day's run and night, and the files in the outbox at the end, are the steps.
    """
    from pipelines.common.context import Runtime
    from pipelines.common.settings import load_settings
    from pipelines.process_orders import process_inbox
    from pipelines.reconcile_network import reconcile
    from pipelines.run import Run

    steps: dict[str, float] = {}
    now = datetime.fromisoformat(_PAST)
    with open_registry(url) as registry:
        run = Run(load_settings(), registry, Runtime(now=lambda: now))
        for day in range(count):
            now += timedelta(hours=8)
            _drop_orders(home, day)
            begun = time.perf_counter()
            done = process_inbox(run)
            steps[f"run {day}"] = time.perf_counter() - begun
            assert sum(one.orders_placed for one in done.results) == 200, (day, done)
            now += timedelta(hours=16)
            _report_all(home, registry, day)
            begun = time.perf_counter()
            night = reconcile(run)
            steps[f"night {day}"] = time.perf_counter() - begun
            assert night.figures, night
    steps["files"] = sum(path.is_file() for path in (home / "outbox").rglob("*"))
    return {"seconds": sum(steps.values()), "steps": steps}


def _drop_orders(home: Path, day: int) -> None:
    for file in range(8):
        rows = pl.DataFrame({"Customer Order ID": [f"D{day}-{file}-{order}" for order in range(25)]}).with_columns(
            **{"Customer Account Number": pl.lit(_ACCOUNT), "Product Account Number": pl.lit("7001"),
               "Access Number": pl.lit("8008604444"), "Quantity": pl.lit("5")}
        )  # fmt: skip
        rows.write_csv(home / f"inbox/acme/day{day}-{file}.csv")


def _report_all(home: Path, registry: Registry, day: int) -> None:
    """The network has what was placed since the last report, but for one code of every twentieth order."""
    awaited = registry.query(
        "SELECT orders.order_id, cards.code, orders.order_pk, cards.serial FROM orders "
        "JOIN cards ON cards.order_pk = orders.order_pk WHERE orders.awaiting > 0 AND cards.state = 0",
        {"order_id": pl.String, "code": INT, "order_pk": INT, "serial": INT},
    )
    shown = awaited.filter((pl.col("order_pk") % 20 > 0) | (pl.col("serial") != 1))
    rows = shown.select(pl.col("order_id").alias("Order ID"), pl.col("code").cast(pl.String).alias("Authorization Code"))
    rows.write_csv(home / f"inbox/network/report{day}.csv")
