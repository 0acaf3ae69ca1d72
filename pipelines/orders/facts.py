"""What the registry knows about a batch: everything that a decision needs, read before it is made.

Only what the rows' own accounts own is asked for; see `ownership`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from pipelines.codes.allocation import draw_codes
from pipelines.common.context import Runtime
from pipelines.common.frames import rows_not_in
from pipelines.common.settings import Settings
from pipelines.orders import file_rules
from pipelines.orders.batch import Batch
from pipelines.orders.ownership import accounts_by_file, owned_rows
from pipelines.orders.registry_rules import pin_demands
from pipelines.registry import limits
from pipelines.registry.order_holds import NO_HOLDS, holds_of
from pipelines.registry.store import Registry
from schemas import actions
from schemas.findings import MAX_FINDINGS, whole_files
from schemas.orders import RANDOM


class Limits(NamedTuple):
    """What a source may do in a day, how full a BTN may become, and how many findings a file may have and codes it may ask
    for; see the settings of these names.
    """

    taken_code_attempts: int
    daily_codes: int
    btn_fill: float
    findings: int = MAX_FINDINGS
    file_codes: int = 1_000_000
    approve_above: int = 0


@dataclass(frozen=True)
class Facts:
    """What the registry knows about a batch.

    `at`: the time of the decision (ISO 8601 with offset); `accounts`: `file`, `account`, `product`, `acceptance` that each
    file may order on; `access_numbers`: `access_number`, `account`; `orders`: `order_pk`, `account`, `customer_order_id`,
    `content` of earlier orders with the same IDs; `row_keys`: `order_pk`, `row_key` of their rows; `existing_codes`: codes
    asked for that are not free; `cards`: `account`, `code`, `state`, `awaited` of the cards that rows name;
    `order_cards`: `account`, `order_id`, `code` of orders that rows name; `btn_owners`: `btn`, `owner`; `btn_codes`:
    `btn`, `code` of used PINs; `attempts` and `usage`: `source`, `codes` of today; `on_hold`: sources; `unused`: random
    numbers that nobody has, enough for the batch; `holds`: orders with the IDs of the batch that wait for approval, and what
    was decided (see `holds_of`).
    """

    at: str
    accounts: pl.DataFrame
    access_numbers: pl.DataFrame
    orders: pl.DataFrame
    row_keys: pl.DataFrame
    existing_codes: pl.Series
    cards: pl.DataFrame
    order_cards: pl.DataFrame
    btn_owners: pl.DataFrame
    btn_codes: pl.DataFrame
    attempts: pl.DataFrame
    usage: pl.DataFrame
    on_hold: pl.Series
    unused: pl.Series
    limits: Limits
    holds: pl.DataFrame = field(default_factory=lambda: NO_HOLDS)


def load_facts(batch: Batch, registry: Registry, settings: Settings, runtime: Runtime) -> Facts:
    """Read what a decision about the batch needs."""
    at = runtime.timestamp()
    day = at[:10]
    accounts, access_numbers = registry.catalogue()
    mine = accounts_by_file(accounts, batch.sources)
    readable = rows_not_in(batch.rows, whole_files(batch.findings), "file")
    rows = owned_rows(readable, mine)
    codes = batch.codes.join(rows.select("row_id", "action", "account"), on="row_id", maintain_order="left")
    issues = pl.col("action").is_in(actions.issuing())
    asked, named = codes.filter(issues)["code"], codes.filter(~issues)
    orders = registry.orders_of(rows.select("account", "customer_order_id").drop_nulls())
    by_order = rows.filter(~issues & pl.col("target_order_id").is_not_null())
    order_cards = registry.cards_under(by_order.select("account", order_id="target_order_id"))
    btns = pin_demands(rows)["btn"]
    owners = limits.btn_owners(registry, pl.concat([btns, limits.owned_prefixes(registry, asked)]))
    own_btns = _own_btns(rows, owners)
    sources = batch.sources.filter(~pl.col("operator"))["source"]
    return Facts(
        at=at,
        accounts=mine,
        access_numbers=access_numbers,
        orders=orders,
        row_keys=registry.row_keys(orders["order_pk"]),
        existing_codes=registry.existing_codes(asked),
        cards=registry.cards(pl.concat([frame.select("account", "code") for frame in (named, order_cards)])),
        order_cards=order_cards,
        btn_owners=owners.rename({"account": "owner"}),
        btn_codes=registry.codes_under(own_btns).select("btn", "code"),
        attempts=registry.taken_code_attempts(sources, day),
        usage=limits.usage_of(registry, sources, day).select(source="reseller", codes="codes"),
        on_hold=limits.holds_of(registry, sources)["reseller"],
        unused=draw_codes(
            _random_demand(rows, orders, batch.findings, settings.max_quantity),
            registry.existing_codes,
            batch.codes["code"],
            runtime.random_bytes,
        ),
        limits=Limits(
            settings.max_taken_code_attempts,
            settings.max_daily_codes,
            settings.max_btn_fill,
            settings.max_findings,
            settings.max_quantity,
            settings.approve_above,
        ),
        holds=_holds(rows, mine, registry, settings.approve_above),
    )


def _holds(rows: pl.DataFrame, accounts: pl.DataFrame, registry: Registry, limit: int) -> pl.DataFrame:
    """What is asked where orders need approval, or are cancelled."""
    asks = limit > 0 or bool((accounts["approve_above"] > 0).any()) or rows["action"].is_in(actions.cancelling()).any()
    if not asks:
        return NO_HOLDS
    return holds_of(registry, rows.select("account", "customer_order_id").drop_nulls().unique())


def _own_btns(rows: pl.DataFrame, owners: pl.DataFrame) -> pl.Series:
    """The BTNs that rows ask for and that belong to the rows' own account, or to nobody yet."""
    wanted = pin_demands(rows).join(rows.select("row_id", "account"), on="row_id")
    others = wanted.join(owners, on="btn", suffix="_owner").filter(pl.col("account") != pl.col("account_owner"))
    return wanted.join(others, on="row_id", how="anti")["btn"]


def _random_demand(rows: pl.DataFrame, orders: pl.DataFrame, findings: pl.DataFrame, most: int) -> int:
    """How many Random codes the rows can get at the most: of orders that are new, in rows with nothing wrong, and no more
    than `most` for a file.
    """
    random = rows.filter(pl.col("code_type") == RANDOM, pl.col("quantity").is_not_null())
    new = random.join(orders, on=["account", "customer_order_id"], how="anti", maintain_order="left").join(
        findings, on=["file", "source_row"], how="anti", maintain_order="left"
    )
    new = new.filter(file_rules.within_limit(most))
    return int(new["quantity"].cast(pl.Int64, strict=False).sum())
