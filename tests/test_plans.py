"""How SQLite carries out the statements of a whole life: none reads all codes, of which there may be a hundred million."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.admin import queries
from pipelines.registry import queries as registry_queries
from pipelines.registry.store import Registry
from tests.conftest import NewRegistry, Shop, row, some_codes

PLAN = {"id": pl.Int64, "parent": pl.Int64, "notused": pl.Int64, "detail": pl.String}
CHOSEN, TARGET = some_codes(2)


def test_no_statement_reads_all_codes(tmp_path: Path, sqlite: NewRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: dict[str, list[str]] = {}

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(registry: Registry, sql: str, *others: Any) -> Any:
            if sql.lstrip().startswith(("SELECT", "UPDATE", "INSERT")) and sql not in plans:
                parameters = others if method is execute else others[1:]
                plans[sql] = query(registry, f"EXPLAIN QUERY PLAN {sql}", PLAN, *parameters)["detail"].to_list()
            return method(registry, sql, *others)

        return call

    query, execute = Registry.query, Registry.execute
    monkeypatch.setattr(Registry, "query", watched(query))
    monkeypatch.setattr(Registry, "execute", watched(execute))
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        answer = shop.send(row("A", quantity="3"), row("B", code=CHOSEN), row("C", btn="3035550142", quantity="2"))
        pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
        shop.report(*pairs[:2], *pairs[3:], ("77-7", TARGET))
        shop.night()
        shop.later(days=1)
        change = row("D", action="Block", target_order_id=pairs[3][0], product="", access_number="")
        shop.send(change, row("E", btn="3035550142", quantity="1"), name="more.csv")
        shop.night()
        for asked in (CHOSEN, pairs[0][0], "A", "3035550142", "8008604444"):
            queries.status(asked, shop.registry)
        registry_queries.codes_of(shop.registry, 1)
        shop.registry.close()
    read = [
        f"{step}: {sql}"
        for sql, steps in plans.items() for step in steps
        if re.match(rf"SCAN ({_of_codes(sql)})\b|.*\b({_of_codes(sql)}) USING AUTOMATIC", step)
    ]  # fmt: skip
    assert len(plans) > 40
    assert read == []


def _of_codes(sql: str) -> str:
    """The names under which a statement has the table of codes, as a pattern."""
    names = re.findall(r"\bcodes (?:AS )?([a-z]+)\b", sql)
    return "|".join({"codes", *names} - {"set", "where", "select"})
