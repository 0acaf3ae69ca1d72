"""How the databases carry out every statement of a whole life: none reads all of a table that grows with history."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.admin import export, lists, queries, reports, retention, statements, trail
from pipelines.admin.recover import recover
from pipelines.admin.replay import replay
from pipelines.delivery.rewriting import rewrite_submission
from pipelines.notify.notifying import notify
from pipelines.registry import audit_trail, database, limits, notices
from pipelines.registry.schema import INDEXES, TABLES
from pipelines.registry.standing import standing
from pipelines.registry.store import Registry
from tests.conftest import (
    ACCESS_NUMBERS,
    ACCOUNTS,
    BILLING_NUMBERS,
    NewRegistry,
    Shop,
    csv_of,
    row,
    sampled,
    shared_parser,
    some_codes,
)
from tests.lives import Life, lose
from tests.receivers import Webhook

CHOSEN, TARGET = some_codes(2)
SMALL = {"accounts", "access_numbers", "billing_numbers", "holds", "claims"}
"""What the operator enters by hand, and the files that workers have in hand, which `test_claims` shows not to grow."""
LIMITED = r"FROM btns|SELECT btn FROM"
"""Reads no more than its LIMIT of the BTNs in use, or is asked only for more codes than those."""
PARTIAL = {match[1] for index in INDEXES if (match := re.match(r"CREATE (?:UNIQUE )?INDEX (\w+) .* WHERE ", index))}
"""Indexes of a few rows of a table: those that wait for something."""
LARGE = sorted(TABLES.keys() - SMALL)


class Watched:
    """The plans of all statements that a registry executes."""

    def __init__(self, explain: Callable[[Registry, str], list[str]]) -> None:
        self.plans: dict[str, list[str]] = {}
        self._explain = explain

    def wrap(self, method: Callable[..., Any], *, has_schema: bool) -> Callable[..., Any]:
        def call(registry: Registry, sql: str, *others: Any) -> Any:
            shape = re.sub(r"\d+", "0", sql)
            if sql.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")) and shape not in self.plans:
                self.plans[shape] = []  # what it takes to explain is a statement too
                parameters = others[1:] if has_schema else others
                self.plans[shape] = self._explain(registry, _with_literals(sql, parameters))
            return method(registry, sql, *others)

        return call


def _with_literals(sql: str, parameters: tuple[Any, ...]) -> str:
    for number, value in reversed(list(enumerate(parameters, 1))):  # $1 begins like $10
        sql = sql.replace(f"${number}", str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'")
    return sql


def _of_sqlite(registry: Registry, sql: str) -> list[str]:
    """What SQLite reads from end to end: `table` or `table by index`."""
    plan = {"id": pl.Int64, "parent": pl.Int64, "notused": pl.Int64, "detail": pl.String}
    steps = registry.query(f"EXPLAIN QUERY PLAN {sql}", plan)["detail"].to_list()
    names = _aliases(sql)
    read = []
    for step in steps:
        if match := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?$", step):
            read.append((names.get(match[1], match[1]), match[2] or ""))
        elif "given" in sql and re.search(r"\((source|account)=\?\)", step) and "max(" not in sql:
            read.append(("events", step))  # all that a source or an account ever did
        elif match := re.search(r"SEARCH (\w+) USING AUTOMATIC", step):
            read.append((names.get(match[1], match[1]), "automatic"))
    return [f"{table} by {index}" for table, index in read if table in LARGE and index not in PARTIAL]


def _aliases(sql: str) -> dict[str, str]:
    return {alias: table for table, alias in re.findall(r"\b(\w+) AS (\w+)", sql) if table in TABLES}


def _of_postgresql(registry: Registry, sql: str) -> list[str]:
    """What PostgreSQL would read from end to end even where it had rather not."""
    registry.execute("SET enable_seqscan = off")
    registry.execute("SET enable_bitmapscan = off")
    for join in ("mergejoin", "hashjoin"):  # of small tables these read both from end to end
        registry.execute(f"SET enable_{join} = off")
    with registry._connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})  # COPY takes no EXPLAIN
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        ((plan,),) = cursor.fetchall()
    read = []
    for node in _nodes({"Plans": [json.loads(plan)[0]["Plan"]]}):
        table, index = node.get("Relation Name"), node.get("Index Name", "")
        conditions = node.get("Index Cond") or index in PARTIAL or node["parent"] == "Limit"  # as for the largest key
        if table in LARGE and (node["Node Type"] == "Seq Scan" or ("Index" in node["Node Type"] and not conditions)):
            read.append(f"{table} by {index or node['Node Type']}")
    return read


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in plan.get("Plans", []):
        yield {**part, "parent": plan.get("Node Type")}
        yield from _nodes(part)


@pytest.mark.one_database
@pytest.mark.parametrize("few_cells", sampled([database.FEW_CELLS, 0], database.FEW_CELLS, others=pytest.mark.slow))
def test_no_statement_reads_all_of_a_table_that_grows(
    few_cells: int, tmp_path: Path, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when a few rows go along with a query nor when many are a temporary table."""
    monkeypatch.setattr(database, "FEW_CELLS", few_cells)
    watched = Watched(_of_sqlite if registry_url.startswith("sqlite") else _of_postgresql)
    shop = Shop(tmp_path / "home", registry_url)
    monkeypatch.setattr(Registry, "query", watched.wrap(Registry.query, has_schema=True))
    monkeypatch.setattr(Registry, "execute", watched.wrap(Registry.execute, has_schema=False))
    live(shop)
    shop.registry.close()
    read = [f"{what}: {sql}" for sql, plan in watched.plans.items() for what in plan if not re.search(LIMITED, sql)]
    assert len(watched.plans) > 60
    assert read == []


@pytest.mark.one_database
@pytest.mark.parametrize("few_cells", sampled([database.FEW_CELLS, 0], database.FEW_CELLS, others=pytest.mark.slow))
def test_no_statement_of_a_recovery_reads_all_of_a_table_but_the_list_of_events(
    few_cells: int, tmp_path: Path, new_registry: NewRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to know of every submission whether the registry has it."""
    monkeypatch.setattr(database, "FEW_CELLS", few_cells)
    with new_registry() as url, new_registry() as other:
        watched = Watched(_of_sqlite if url.startswith("sqlite") else _of_postgresql)
        shop = Shop(tmp_path / "home", url, seed=6)
        lose(Life(shop, 6), 5, other)
        monkeypatch.setattr(Registry, "query", watched.wrap(Registry.query, has_schema=True))
        monkeypatch.setattr(Registry, "execute", watched.wrap(Registry.execute, has_schema=False))
        with shared_parser():
            assert recover(shop.as_run).nights
        shop.registry.close()
    read = [f"{what}: {sql}" for sql, plan in watched.plans.items() for what in plan if not re.search(LIMITED, sql)]
    assert [one for one in read if "events.kind IN ('orders', 'report', 'night')" not in one] == []


def live(shop: Shop) -> None:
    """What a reseller, the network, the night and people ask in two days, of which people are notified."""
    with Webhook() as accepting, Webhook() as refusing:
        refusing.status = 503
        shop.settings = shop.settings.model_copy(update={"notify": f"{accepting.url()} {refusing.url()}"})
        shop.registry.load_catalogue(ACCOUNTS.with_columns(notify=pl.lit("x@example.com")), ACCESS_NUMBERS, BILLING_NUMBERS)
        notify(shop.as_run)
        _live(shop)
        assert accepting.messages
        assert not refusing.messages
        shop.settings = shop.settings.model_copy(update={"notify": accepting.url()})
        shop.later(days=500)
        notify(shop.as_run)
        assert notices.waiting(shop.registry).filter(recipient="").is_empty()


def _live(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="3"), row("B", code=CHOSEN), row("C", btn="3035550142", quantity="2"))
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(*pairs[:2], *pairs[3:], ("77-7", TARGET))
    shop.night()
    shop.later(days=1)
    change = row("D", action="Block", target_order_id=pairs[3][0], product="", access_number="")
    partial = row("F", access_number="123", quantity="1")
    shop.send(change, row("E", btn="3035550142", quantity="1"), row("G", code=CHOSEN), partial, name="more.csv")
    shop.send(change, row("E", btn="3035550142", quantity="1"), name="again.csv")
    notify(shop.as_run)
    shop.report((pairs[3][0], pairs[3][1]), ("10023456-4", pairs[3][1]), name="second.csv")
    shop.night()
    notify(shop.as_run)
    shop.send(change, row("E", btn="3035550142", quantity="1"), name="again.csv")  # the same bytes
    (shop.settings.inbox / "acme" / "check").mkdir()
    shop.drop("check/tried.csv", csv_of(row("T", code=CHOSEN), row("E", btn="3035550142", quantity="1")))
    assert len(shop.run()) == 1
    shop.send(row("R", product="9", quantity="1"), name="replayed.csv")
    more = pl.concat([ACCOUNTS, ACCOUNTS.head(1).with_columns(product=pl.lit("9"))])
    shop.registry.load_catalogue(more, ACCESS_NUMBERS, BILLING_NUMBERS)
    (done,) = replay(shop.as_run, "PRODUCT_UNKNOWN", since="2026-10-05", reseller="acme").submissions
    assert done.orders_placed == 1
    left_in_hand(shop)
    for asked in (CHOSEN, pairs[0][0], "A", "3035550142", "8008604444"):
        queries.status(asked, shop.registry)
    queries.order(pairs[3][0], shop.registry)
    queries.capacity(["3035550142"], shop.registry)
    queries.submission(answer.folder.name, shop.registry)
    look_at_lists(shop)
    assert standing(shop.registry, "2026-10-05").night
    write_files(shop)
    shop.registry.clear_hold("acme", shop.runtime.timestamp())
    assert len(trail.trail(shop.as_run, "2026-10-05", "2027-01-01", 3).entries) == 3
    assert list(trail.entries(shop.as_run, "2026-10-05", "2027-01-01"))
    audit_trail.decisions(shop.registry, "2026-10-05", "2026-10-06")
    state_a_month(shop)
    keep_for_a_while(shop)


def write_files(shop: Shop) -> None:
    """All cards, those of a reseller since a time, and the data of every night."""
    for number, asked in enumerate([("", "", ""), ("2026-10-05", "2026-10-05", "acme")]):
        wanted = export.card_filter(shop.as_run, *asked)
        path = shop.settings.home / f"cards{number}.csv"
        assert export.export_cards(shop.as_run, path, wanted, codes=True, force=False).cards
    further = next(shop.settings.outbox.glob("reconciliation/data/csv/cards/*/")) / "2026-10-05~2.csv"
    further.touch()
    assert export.export_datasets(shop.as_run, "2026-10-05") == 2
    assert not further.exists()


def state_a_month(shop: Shop) -> None:
    """A month goes on, and is over; a night that stated it writes its statements again."""
    statements.state(shop.as_run, "2026-10")
    shop.later(days=27)
    shop.night()
    assert statements.state(shop.as_run, "2026-10").is_over
    reports.write_again(shop.as_run, [f"{shop.now:%Y-%m-%d}"])


def keep_for_a_while(shop: Shop) -> None:
    """What is old is archived, and one of it comes back."""
    settled = shop.send(row("X", code="12"), name="settled.csv")
    shop.later(days=60)
    for _ in range(2):
        assert retention.archive(f"{shop.now:%Y-%m-%d}", "", shop.as_run).failures == []
    assert not settled.folder.exists()
    rewrite_submission(shop.as_run, queries.submission(settled.folder.name, shop.registry).event)
    assert settled.folder.exists()


def left_in_hand(shop: Shop) -> None:
    """A worker dies with a file that it has committed; another finishes it."""
    shop.drop("left.csv", csv_of(row("H", quantity="1")))

    def die(step: str) -> None:
        if step == "committed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.run(die)
    notify(shop.as_run)
    shop.later(minutes=11)
    notify(shop.as_run)
    assert len(shop.run()) == 1
    notify(shop.as_run)


def look_at_lists(shop: Shop) -> None:
    """Every list, with each of its filters, its first page and the next one."""
    run = shop.as_run
    since, access = {"since": "2026-10-05"}, {"access_number": "8008604444"}
    states: list[dict[str, Any]] = [{}, {"state": "awaited"}, {"state": "closed"}, {"overdue": True}]
    for wanted in (state | reseller | number | time for state in states for reseller in ({}, {"reseller": "acme"})
                   for number in ({}, access) for time in ({}, since)):  # fmt: skip
        for after in (0, 2):
            lists.orders(run, lists.order_filter(run, **wanted), after, 1)
    for wanted in (one | more for one in ({}, {"reseller": "acme"}, since) for more in ({}, {"with_rejections": True})):
        for after in (0, 3):
            lists.submissions(run, **wanted, after=after, limit=1)
    lists.find_order(run, "A")
    lists.find_order(run, "A", "10023456")
    limits.hold(shop.registry, "acme", shop.runtime.timestamp())
    lists.holds(shop.registry, limit=1)
    lists.btns(shop.registry, limit=1)
    lists.btns(shop.registry, "3035550142")


def test_the_rule_finds_a_statement_that_reads_everything(tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url)
        explain = _of_sqlite if url.startswith("sqlite") else _of_postgresql
        assert explain(shop.registry, "SELECT code FROM cards WHERE code = 1")
        assert explain(shop.registry, "UPDATE events SET delivered = 1 WHERE digest = 'x'")
        assert explain(shop.registry, "SELECT c.code FROM orders AS o JOIN cards AS c ON c.code = o.order_pk")
        assert not explain(shop.registry, "SELECT code FROM cards WHERE order_pk = 1")
        shop.registry.close()
