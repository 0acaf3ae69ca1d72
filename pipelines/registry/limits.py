"""What limits a source: the BTNs of other accounts, holds, daily usage, and files that were in hand when a run died."""

from typing import TYPE_CHECKING

import polars as pl

from pipelines.registry.schema import INT, TEXT

if TYPE_CHECKING:
    from pipelines.registry.database import Database


def btn_owners(registry: "Database", btns: pl.Series) -> pl.DataFrame:
    """Whose each BTN is: `btn`, `account`. The catalogue says so, else the account that first had a PIN placed under it."""
    given = btns.unique().to_frame("btn")
    sql = (
        "SELECT g.btn, coalesce(b.account, o.account) FROM given g LEFT JOIN billing_numbers b ON b.btn = g.btn "
        "LEFT JOIN btn_owners o ON o.btn = g.btn WHERE coalesce(b.account, o.account) IS NOT NULL"
    )
    return registry.query_with(given, sql, {"btn": INT, "account": TEXT})


def claim_btns(registry: "Database", claims: pl.DataFrame) -> None:
    """Note which accounts use BTNs (`btn`, `account`) for the first time. Inside a transaction.

    Raises the database's error, which makes a conflict, when a BTN belongs to another account.
    """
    claims = claims.unique()
    known = btn_owners(registry, claims["btn"])
    registry.append("btn_owners", claims.join(known, on=["btn", "account"], how="anti"))


def hold(registry: "Database", reseller: str, at: str, reason: str) -> None:
    """Put a reseller on hold. Inside a transaction."""
    if on_hold(registry, pl.Series("source", [reseller])).is_empty():
        registry.append("holds", pl.DataFrame({"reseller": [reseller], "at": [at], "reason": [reason]}))


def on_hold(registry: "Database", resellers: pl.Series) -> pl.Series:
    """Those of the resellers that are on hold."""
    given = resellers.unique().to_frame("reseller")
    sql = "SELECT h.reseller FROM given g JOIN holds h ON h.reseller = g.reseller"
    return registry.query_with(given, sql, {"reseller": TEXT})["reseller"]


def clear_hold(registry: "Database", reseller: str) -> bool:
    """Lift a hold; whether there was one. Inside a transaction."""
    held = not on_hold(registry, pl.Series("source", [reseller])).is_empty()
    registry.execute("DELETE FROM holds WHERE reseller = $1", reseller)
    return held


def add_usage(registry: "Database", usage: pl.DataFrame) -> None:
    """Add to what resellers used of their days: `reseller`, `day`, `codes`, `files`, `bytes`, `parse_ms`. Inside a
    transaction.
    """
    if usage.is_empty():
        return
    with registry.temp_table(usage.select("reseller", "day", "codes", "files", "bytes", "parse_ms")):
        registry.execute(
            "INSERT INTO usage SELECT reseller, day, codes, files, bytes, parse_ms FROM given WHERE true "
            "ON CONFLICT (reseller, day) DO UPDATE SET codes = usage.codes + excluded.codes, files = usage.files + "
            "excluded.files, bytes = usage.bytes + excluded.bytes, parse_ms = usage.parse_ms + excluded.parse_ms"
        )


def usage_of(registry: "Database", resellers: pl.Series, day: str) -> pl.DataFrame:
    """What resellers have used of a day: `source`, `codes`, `files`, `bytes`, `parse_ms`."""
    schema = {"source": TEXT, "codes": INT, "files": INT, "bytes": INT, "parse_ms": INT}
    given = resellers.unique().to_frame("reseller")
    if given.is_empty():
        return pl.DataFrame(schema=schema)
    sql = (
        "SELECT u.reseller, u.codes, u.files, u.bytes, u.parse_ms FROM given g JOIN usage u ON u.reseller = g.reseller "
        "WHERE u.day = $1"
    )
    with registry.temp_table(given):
        return registry.query(sql, schema, day)


def strikes_of(registry: "Database", files: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How often each of the files (source, digest) was alone in hand when a run died; 0: in hand with others."""
    given = pl.DataFrame(files, {"reseller": TEXT, "digest": TEXT}, orient="row").unique()
    sql = "SELECT s.reseller, s.digest, s.times FROM given g JOIN strikes s ON s.reseller = g.reseller AND s.digest = g.digest"
    found = registry.query_with(given, sql, {"reseller": TEXT, "digest": TEXT, "times": INT})
    return {(reseller, digest): times for reseller, digest, times in found.iter_rows()}


def add_strike(registry: "Database", reseller: str, digest: str, at: str, times: int) -> None:
    """Remember that a file was in hand when a run died: alone (`times` 1) or with others (0)."""
    with registry.transaction():
        registry.execute(
            "INSERT INTO strikes (reseller, digest, times, at) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (reseller, digest) DO UPDATE SET times = strikes.times + excluded.times, at = excluded.at",
            reseller, digest, times, at,
        )  # fmt: skip
