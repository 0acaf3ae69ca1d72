"""What must be true after every fault, looked at from outside: files, rows, codes, reports against the registry."""

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import polars as pl

from pipelines.admin.audit import verify
from pipelines.common.settings import Settings
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.store import Registry
from tests.conftest import EXTERNAL, Shop, read_csv

INT = pl.Int64


class Soundness(NamedTuple):
    """What was looked at, and what is wrong: `lost` files and rows, codes that were issued `twice`, all `else_`."""

    files: int
    codes: int
    lost: list[str]
    twice: list[str]
    others: list[str]

    @property
    def wrong(self) -> list[str]:
        return [*self.lost, *self.twice, *self.others]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dropped(shop: Shop) -> list[tuple[str, str]]:
    """Source and digest of every file in the inbox."""
    inbox = shop.settings.inbox
    return sorted(("house" if path.parent == inbox else path.parent.name, digest(path)) for path in shop.waiting())


def soundness(settings: Settings, registry: Registry, files: Iterable[tuple[str, str]] = ()) -> Soundness:
    """All that must be true when nothing is at work. `files`: source and digest of every file that was dropped."""
    files = list(files)
    codes = registry.query("SELECT count(*) AS n FROM numbers WHERE order_pk > 0", {"n": INT}).item()
    return Soundness(
        len(files),
        codes,
        [*_files(settings, files), *_rows(registry)],
        [*_issued_once(settings), *_burnt_once(registry)],
        [*_reports(settings, registry), *_remains(settings, registry), *_audit(settings, registry)],
    )


def assert_sound(shop: Shop, files: Iterable[tuple[str, str]] = ()) -> None:
    """It is sound, the inbox is empty, and running again changes nothing."""
    assert soundness(shop.settings, shop.registry, files).wrong == []
    assert shop.waiting() == []
    before = written(shop.settings)
    assert shop.run() == []
    assert written(shop.settings) == before


def _files(settings: Settings, files: list[tuple[str, str]]) -> list[str]:
    """Every file is in the inbox, or whole in one submission folder."""
    there = Counter(
        ("house" if path.parent == settings.inbox else path.parent.name, digest(path))
        for path in settings.inbox.rglob("*") if path.is_file()
    )  # fmt: skip
    there.update((path.parent.parent.name, digest(path)) for path in settings.outbox.glob("*/*/*") if path.is_file())
    there.update((source, hashlib.sha256(content()).hexdigest()) for source, _, content in _archived(settings))
    wanted = Counter(files)
    return [f"{there[file]} instead of {count} of {file}" for file, count in wanted.items() if there[file] != count]


def _rows(registry: Registry) -> list[str]:
    """Rows in = placed + already placed + rejected, for every file that was answered for the first time."""
    sql = (
        "SELECT e.event, e.rows, "
        "CAST((SELECT coalesce(sum(o.rows), 0) FROM orders o WHERE o.event = e.event) AS BIGINT) AS placed, "
        "CAST((SELECT coalesce(sum(r.rows), 0) FROM duplicate_orders r WHERE r.event = e.event) AS BIGINT) AS already, "
        "(SELECT count(*) FROM rejected_rows j WHERE j.event = e.event) AS rejected "
        "FROM events e WHERE e.kind = 'orders' AND e.original_event = e.event"
    )
    frame = registry.query(sql, dict.fromkeys(["event", "rows", "placed", "already", "rejected"], INT))
    bad = frame.filter(pl.col("rows") != pl.sum_horizontal("placed", "already", "rejected"))
    return [f"rows do not add up: {row}" for row in bad.iter_rows(named=True)]


def _archived(settings: Settings) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Source, path in the outbox, and content of each archived file whose folder is gone."""
    for path in sorted(settings.outbox.glob("*/archive/*.zip")):
        folder = path.parent.parent
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                if name != "manifest.csv" and not (folder / name).exists():
                    yield folder.name, f"{folder.name}/{name}", partial(packed.read, name)


def _csvs(settings: Settings, pattern: str) -> list[pl.DataFrame]:
    """The CSV files of the outbox with such a path, where they lie and in archives."""
    packed = [pl.read_csv(content(), infer_schema=False).fill_null("")
              for _, path, content in _archived(settings) if PurePath(path).match(pattern)]  # fmt: skip
    return [read_csv(path) for path in sorted(settings.outbox.glob(pattern))] + packed


def _issued_once(settings: Settings) -> list[str]:
    """No code stands under two orders in any file that was given away, or twice in placement files."""
    patterns = ("*/*/confirmation.csv", "network/*/placement-*.csv")
    frames = [frame for pattern in patterns for frame in _csvs(settings, pattern)]
    shown = [frame.select("Order ID", "Action", "Authorization Code") for frame in frames]
    adds = pl.concat(shown).filter(Action="Add").filter(pl.col("Authorization Code") != "") if shown else pl.DataFrame()
    orders: dict[str, set[str]] = {}
    for order, _, code in adds.iter_rows():
        orders.setdefault(code, set()).add(order)
    placed = Counter(
        (action, code) for frame in _csvs(settings, "network/*/placement-*.csv")
        for action, code in frame.select("Action", "Authorization Code").iter_rows() if action == "Add"
    )  # fmt: skip
    return [
        *(f"a code stands under {sorted(ids)}" for ids in orders.values() if len(ids) > 1),
        *("a code is placed twice" for count in placed.values() if count > 1),
    ]


def _burnt_once(registry: Registry) -> list[str]:
    columns = {
        "codes": integer("count(*)"),
        "different": integer("count(DISTINCT code)"),
        "short": integer("sum(CASE WHEN code < 10000000000000 THEN 1 ELSE 0 END)"),
    }
    every, different, short = registry.select(columns, "FROM numbers").row(0)
    return [] if (every, short) == (different, 0) else [f"{every} codes, {different} different, {short} short ones"]


def _reports(settings: Settings, registry: Registry) -> list[str]:
    """Confirmations and placements hold just what the registry does."""
    issued = registry.query(
        "SELECT o.order_id, c.code FROM cards c JOIN orders o ON o.order_pk = c.order_pk", {"order_id": pl.String, "code": INT}
    )
    known = {(order, str(code)) for order, code in issued.iter_rows()}
    at_first = registry.query(
        "SELECT o.order_id, c.code FROM cards c JOIN orders o ON o.order_pk = c.order_pk AND c.serial <= o.cards",
        {"order_id": pl.String, "code": INT},
    )
    found = {}
    for what, pattern in (("confirmed", "*/*/confirmation.csv"), ("to be placed", "network/*/placement-*.csv")):
        frames = [frame.filter(Action="Add").select("Order ID", "Authorization Code") for frame in _csvs(settings, pattern)]
        found[what] = {(order, code) for frame in frames for order, code in frame.iter_rows() if code}
    first = {(order, str(code)) for order, code in at_first.iter_rows()}
    return [
        f"{len(a ^ b)} codes are {what} and not in the registry, or the other way"
        for what, a, b in (("confirmed", found["confirmed"], first), ("to be placed", found["to be placed"], known)) if a != b
    ]  # fmt: skip


def _remains(settings: Settings, registry: Registry) -> list[str]:
    """Nothing half done is left."""
    hidden = [str(path) for path in settings.outbox.rglob(".*")] if settings.outbox.is_dir() else []
    return [*(f"left behind: {path}" for path in hidden), *(f"not answered: event {one}" for one in registry.undelivered())]


def _audit(settings: Settings, registry: Registry) -> list[str]:
    return [f"cards verify: {finding.what} ({finding.where})" for finding in verify(settings, registry).findings]


_TIME = re.compile(r"20\d{6}-\d{6}-|20\d\d-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{6}|[+-]\d\d:\d\d)?)?")


_CHANCE = re.compile(r"(?m)\d+\.\d+|(?<=,)\d{8}-\d+/\d+(?=,Z,)")
"""Hours, and which of several refused cards another replaces in the data for analysts, which goes by their codes."""


def written(settings: Settings) -> dict[str, bytes]:
    """Every file of the outbox with its bytes."""
    return {str(path.relative_to(settings.outbox)): path.read_bytes() for path in settings.outbox.rglob("*") if path.is_file()}


def end_state(shop: Shop, chosen: Iterable[str]) -> dict[str, Any]:
    """All that is left of a run but for time and chance: files, lines of machine files, the registry's rows.

    `chosen`: the codes that files asked for; others are known by their BTN at most.
    """
    kept = {*chosen, *map(str, EXTERNAL)}

    def plain(text: str) -> str:
        text = re.sub(r"\d{14}", lambda found: found[0] if found[0] in kept else "drawn", text)
        return _CHANCE.sub("", _TIME.sub("", text))

    files = {
        _TIME.sub("", name): sorted(plain(content.decode("utf-8", "replace")).splitlines()) if name.endswith(".csv") else []
        for name, content in written(shop.settings).items()
    }
    tables = {
        "orders": (columns_of("orders", "order_id", "customer_order_id", "content", "awaiting"), "FROM orders"),
        "events": (columns_of("events", "kind", "file_name", "digest", "delivered"), "FROM events WHERE kind <> 'night'"),
        "codes": (
            {"order_id": text("coalesce(orders.order_id, '')"), "state": integer("coalesce(cards.state, 5)")},
            """
            FROM numbers LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
            LEFT JOIN orders ON orders.order_pk = cards.order_pk
            """,
        ),
    }
    rows = {name: sorted(shop.registry.select(*query).rows()) for name, query in tables.items()}
    return {"files": files, "waiting": shop.waiting(), **rows}
