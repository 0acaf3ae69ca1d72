"""What the registry keeps to hold resellers to their limits: holds, daily usage, strikes, and owners of BTNs."""

from typing import Final

import polars as pl

from pipelines.common.errors import ConflictError
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.database import Database
from pipelines.registry.numbers import codes_under, used_pins
from pipelines.registry.schema import INT, TEXT, USAGE
from schemas.pins import PINS, valid_pin_counts

TOO_MANY_TAKEN_CODES: Final = "too many taken codes"
"""The reason of a hold that the pipeline itself sets."""
_FEW_CODES: Final = 10_000
_MANY_BTNS: Final = 200_000
MOST_STRIKES: Final = 2
"""A file that was alone in hand when so many runs died is set aside, and its answer is written without workbooks."""
_COUNTS: Final = [name for name, kind in USAGE.items() if kind == INT]


# -- holds -------------------------------------------------------------------------------------------------------------


def hold(registry: Database, reseller: str, at: str, reason: str = TOO_MANY_TAKEN_CODES) -> None:
    """Put a reseller on hold. One that is on hold already keeps its time and reason."""
    registry.execute("INSERT INTO holds VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", reseller, at, reason)


def holds_of(registry: Database, resellers: pl.Series) -> pl.DataFrame:
    """Those of the resellers that are on hold: `reseller`, `at`, `reason`."""
    rest = "FROM given JOIN holds ON holds.reseller = given.reseller ORDER BY holds.reseller"
    return registry.select_with(resellers.unique().to_frame("reseller"), columns_of("holds"), rest)


def is_on_hold(registry: Database, reseller: str) -> bool:
    """Whether a reseller is on hold."""
    return not holds_of(registry, pl.Series([reseller])).is_empty()


def clear_hold(registry: Database, reseller: str) -> bool:
    """Lift the hold on a reseller; whether there was one. Inside a transaction."""
    was_on_hold = is_on_hold(registry, reseller)
    registry.execute("DELETE FROM holds WHERE reseller = $1", reseller)
    return was_on_hold


def since_lifted(source: str) -> str:
    """The condition that an attempt came after the latest time at which the hold on its source (in SQL) was lifted."""
    return f"""
        taken_code_attempts.event > coalesce(
            (
                SELECT max(lifted.event) FROM taken_code_attempts AS lifted
                WHERE lifted.source = {source} AND lifted.codes < 0
            ), 0
        )
    """


# -- budgets -----------------------------------------------------------------------------------------------------------


def add_usage(registry: Database, usage: pl.DataFrame) -> None:
    """Add to what resellers have used (see USAGE; several rows of a reseller and day add up). Inside a transaction."""
    totals = usage.group_by("reseller", "day").agg(pl.col(_COUNTS).sum()).select(USAGE.names()).cast(USAGE)
    sums = ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in _COUNTS)
    registry.execute_with(
        totals,
        "reseller, day",
        f"""
        INSERT INTO usage SELECT {", ".join(USAGE)} FROM given WHERE true ORDER BY reseller, day
        ON CONFLICT (reseller, day) DO UPDATE SET {sums}
        """,
    )


def usage_of(registry: Database, resellers: pl.Series, day: str) -> pl.DataFrame:
    """What each of the resellers has used on a day (see USAGE; zeros where it has used nothing)."""
    return registry.select_with(
        resellers.unique().to_frame("reseller").with_columns(day=pl.lit(day)),
        {
            "reseller": text("given.reseller"),
            "day": text("given.day"),
            **{name: integer(f"coalesce(usage.{name}, 0)") for name in _COUNTS},
        },
        """
        FROM given LEFT JOIN usage ON usage.reseller = given.reseller AND usage.day = given.day
        ORDER BY given.reseller
        """,
    )


def standing_of(registry: Database, sources: pl.DataFrame) -> pl.DataFrame:
    """How sources (`source`, `day`) stand by now: both, `codes` that they ordered that day, `attempts` at codes that were not
    free (see `taken_code_attempts`), and whether they are `on_hold`.
    """
    attempts = f"""
        SELECT sum(taken_code_attempts.codes) FROM taken_code_attempts
        WHERE taken_code_attempts.source = given.source AND taken_code_attempts.day = given.day
        AND taken_code_attempts.codes > 0 AND {since_lifted("given.source")}
    """
    found = registry.select_with(
        sources.unique(),
        {
            "source": text("given.source"),
            "day": text("given.day"),
            "codes": integer("coalesce(usage.codes, 0)"),
            "attempts": integer(f"CAST(coalesce(({attempts}), 0) AS BIGINT)"),
            "on_hold": integer("CASE WHEN holds.reseller IS NULL THEN 0 ELSE 1 END"),
        },
        """
        FROM given
        LEFT JOIN usage ON usage.reseller = given.source AND usage.day = given.day
        LEFT JOIN holds ON holds.reseller = given.source
        """,
    )
    return found.with_columns(pl.col("on_hold") > 0)


# -- strikes -----------------------------------------------------------------------------------------------------------


def add_strike(registry: Database, reseller: str, digest: str, at: str, *, alone: bool) -> None:
    """Note that a run died with this file in hand. Only a file that was alone in hand is counted; one that was in hand
    with others is a suspect, with 0 times. Inside a transaction.
    """
    registry.execute(
        """
        INSERT INTO strikes VALUES ($1, $2, $3, $4)
        ON CONFLICT (reseller, digest) DO UPDATE SET times = strikes.times + excluded.times, at = excluded.at
        """,
        reseller,
        digest,
        int(alone),
        at,
    )


def strikes_of(registry: Database, files: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Those of the files (reseller, digest) that were in hand when a run died, and how many times alone."""
    found = registry.select_with(
        pl.DataFrame(files, {"reseller": TEXT, "digest": TEXT}, orient="row").unique(),
        columns_of("strikes", "reseller", "digest", "times"),
        "FROM given JOIN strikes ON strikes.reseller = given.reseller AND strikes.digest = given.digest",
    )
    return {(reseller, digest): times for reseller, digest, times in found.iter_rows()}


def clear_strikes(registry: Database, reseller: str) -> int:
    """Forget which files of a reseller were in hand when runs died; how many they were. Inside a transaction."""
    columns = {"files": integer("count(*)")}
    files = registry.select_with(pl.DataFrame({"reseller": [reseller]}), columns,
                                 "FROM given JOIN strikes ON strikes.reseller = given.reseller")  # fmt: skip
    registry.execute("DELETE FROM strikes WHERE reseller = $1", reseller)
    return int(files.item())


# -- owners of BTNs ----------------------------------------------------------------------------------------------------


def btn_owners(registry: Database, btns: pl.Series) -> pl.DataFrame:
    """The customer account that owns each of the BTNs (integers): `btn`, `account`; no row for one that nobody owns.

    The catalogue decides; a BTN that it does not list belongs to the account that first had a PIN placed under it.
    """
    owner = "coalesce(billing_numbers.account, btns.account)"
    return registry.select_with(
        btns.unique().to_frame("btn"),
        {"btn": integer("given.btn"), "account": text(owner)},
        f"""
        FROM given
        LEFT JOIN billing_numbers ON billing_numbers.btn = given.btn
        LEFT JOIN btns ON btns.btn = given.btn
        WHERE {owner} IS NOT NULL
        ORDER BY given.btn
        """,
    )


def owned_prefixes(registry: Database, codes: pl.Series) -> pl.Series:
    """The BTNs with which codes begin, at least those that belong to an account.

    Of many codes next to none begin with one, so the BTNs in use are read instead, up to a limit.
    """
    prefixes = (codes // PINS).cast(INT)
    if len(codes) <= _FEW_CODES:
        return prefixes.unique()
    rest = f"FROM (SELECT btn FROM billing_numbers UNION SELECT btn FROM btns) AS owned LIMIT {_MANY_BTNS}"
    owned = registry.select({"btn": integer("owned.btn")}, rest)["btn"]
    return prefixes.unique() if len(owned) == _MANY_BTNS else prefixes.filter(prefixes.is_in(owned.implode())).unique()


def claim_btns(registry: Database, claims: pl.DataFrame) -> None:
    """Record who first has PINs placed under BTNs (`file`, `btn`, `account`; the first row of a BTN counts), and how
    many of their PINs are used by now. Inside a transaction, before the new cards are entered.
    Raises ConflictError with the files that claim a BTN which another account owns.
    """
    firsts = claims.select("btn", "account").unique("btn", keep="first", maintain_order=True)
    if firsts.is_empty():
        return
    known = registry.select_with(
        firsts.select("btn"), columns_of("btns", "btn"), "FROM given JOIN btns ON btns.btn = given.btn"
    )
    new = firsts.join(known, on="btn", how="anti")
    used = used_pins(codes_under(registry, new["btn"]))
    figures = new.join(valid_pin_counts(new["btn"]), on="btn").join(used, on="btn", how="left")
    registry.append("btns", figures.with_columns(pl.col("used").fill_null(0), changed_event=0))
    owners = btn_owners(registry, claims["btn"]).rename({"account": "owner"})
    refused = claims.join(owners, on="btn").filter(pl.col("account") != pl.col("owner"))
    if not refused.is_empty():
        raise ConflictError(set(refused["file"]))
