"""Questions that people ask the registry: cards, their history, orders, submissions."""

from typing import Any, Final

import polars as pl

from pipelines.registry.columns import columns_of, integer, schema_of, text
from pipelines.registry.store import Registry
from schemas.actions import ACTIONS, ActionOutcome
from schemas.codes import NO_STATE

_CARD: Final = {
    "code": integer("codes.code"),
    "state": integer("codes.state"),
    "order_id": text("coalesce(orders.order_id, '')"),
    "reseller": text("coalesce(submission.sender, '')"),
    "account": text("coalesce(orders.account, '')"),
    "order_ref": text("coalesce(orders.order_ref, '')"),
    "product": text("coalesce(orders.product, '')"),
    "access_number": text("coalesce(orders.access_number, '')"),
    "origin": text("coalesce(orders.origin, '')"),
    "termination": text("coalesce(orders.termination, '')"),
    "placed": text("coalesce(origin.at, '')"),
    "replaces": integer("coalesce(replaces.replaced, 0)"),
    "replaced_by": integer("coalesce(replaced_by.code, 0)"),
}
CARD: Final = schema_of(_CARD)
_FROM_CARDS: Final = """
    FROM codes
    LEFT JOIN orders ON orders.order_no = codes.order_no AND codes.order_no > 0
    LEFT JOIN events AS submission ON submission.event = orders.event
    LEFT JOIN events AS origin ON origin.event = codes.event AND codes.order_no > 0
    LEFT JOIN replacements AS replaces ON replaces.code = codes.code
    LEFT JOIN replacements AS replaced_by ON replaced_by.replaced = codes.code
"""
CHANGED: Final = ("product", "access_number", "origin", "termination")
"""What a change can set."""


def _cards(registry: Registry, where: str, *parameters: Any) -> pl.DataFrame:
    return registry.select(_CARD, f"{_FROM_CARDS} WHERE {where} ORDER BY codes.code", *parameters)


def card(registry: Registry, code: int) -> pl.DataFrame:
    """The card with this code, if there is one (see CARD; the order's own values)."""
    return _cards(registry, f"codes.code = {code}")


def cards_of_btn(registry: Registry, btn: int) -> pl.DataFrame:
    """The cards under a BTN."""
    return _cards(registry, f"codes.code BETWEEN {btn * 10_000} AND {btn * 10_000 + 9_999}")


def cards_of_order(registry: Registry, name: str) -> pl.DataFrame:
    """The cards of orders with this Order ID or Customer Order ID, those that they issued and those that they take."""
    named = "(SELECT order_no FROM orders WHERE order_id = $1 OR order_ref = $1)"
    where = f"""
        codes.code IN (
            SELECT code FROM codes WHERE order_no > 0 AND order_no IN {named}
            UNION SELECT code FROM touches WHERE order_no IN {named}
        )
    """
    return _cards(registry, where, name)


def cards_of_access(registry: Registry, number: str) -> pl.DataFrame:
    """Cards that were placed with this access number, or ever changed to it."""
    where = f"""
        codes.code IN (
            SELECT code FROM codes
            WHERE order_no > 0 AND order_no IN (SELECT order_no FROM orders WHERE access_number = $1)
            UNION SELECT touches.code FROM touches JOIN orders ON orders.order_no = touches.order_no
            WHERE orders.access_number = $1 AND touches.done = {ActionOutcome.SHOWN}
        )
    """
    return _cards(registry, where, number)


def changes(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """Changes of cards that the network has carried out, earliest first: `code` and the values that each set."""
    changing = ", ".join(f"'{name}'" for name, action in ACTIONS.items() if action.changes)
    return registry.select_with(
        codes.unique().to_frame("code"),
        {**columns_of("touches", "code"), **columns_of("orders", *CHANGED)},
        f"""
        FROM given
        JOIN touches ON touches.code = given.code
        JOIN orders ON orders.order_no = touches.order_no
        WHERE touches.done = {ActionOutcome.SHOWN} AND orders.action IN ({changing})
        ORDER BY touches.settled, touches.order_no
        """,
    )


_ENTRY: Final = {
    **columns_of("events", "at", "event"),
    "state": integer(f"{NO_STATE}"),
    **columns_of("orders", "action"),
    "done": integer(f"{ActionOutcome.NONE}"),
    "by": text("orders.order_id"),
    **columns_of("events", "file"),
}


def history(registry: Registry, code: int) -> pl.DataFrame:
    """What happened to a card, earliest first: `at`, `event`, the `state` that it got (NO_STATE: none), the `action` that
    was ordered (or empty), what came of it (`done`, see ActionOutcome), `by` (the Order ID) and `file`.
    """
    issued = registry.select(
        _ENTRY,
        f"""
        FROM codes
        JOIN orders ON orders.order_no = codes.order_no
        JOIN events ON events.event = codes.event
        WHERE codes.code = {code} AND codes.order_no > 0
        """,
    )
    actions = "FROM touches JOIN orders ON orders.order_no = touches.order_no"
    ordered = registry.select(_ENTRY, f"{actions} JOIN events ON events.event = orders.event WHERE touches.code = {code}")
    answered = registry.select(
        {**_ENTRY, "done": integer("touches.done")},
        f"""
        {actions} JOIN events ON events.event = touches.settled
        WHERE touches.code = {code} AND touches.done <> {ActionOutcome.AWAITED}
        """,
    )
    moved = registry.select(
        {**_ENTRY, "state": integer("moves.state"), "action": text("''"), "by": text("''")},
        f"FROM moves JOIN events ON events.event = moves.event WHERE moves.code = {code}",
    )
    return pl.concat([issued, ordered, answered, moved]).sort("event", "state", maintain_order=True)


def order(registry: Registry, order_id: str) -> dict[str, Any] | None:
    """The order with this Order ID."""
    fields = ("account", "order_ref", "action", "code_type", "product", "access_number", "origin", "termination", "comments",
              "cards", "awaiting", "since")  # fmt: skip
    columns = {
        **columns_of("orders", "order_no", "order_id"),
        "reseller": text("events.sender"),
        **columns_of("orders", *fields),
        "placed_at": text("events.at"),
        "folder": text("events.folder"),
    }
    found = registry.select(
        columns, "FROM orders JOIN events ON events.event = orders.event WHERE orders.order_id = $1", order_id
    )
    return next(found.iter_rows(named=True), None)


def codes_of(registry: Registry, order_no: int) -> pl.DataFrame:
    """The cards that an order issued or takes: `code`, `state`, and `done`, what came of it (see ActionOutcome)."""
    card = {"code": integer("codes.code"), "state": integer("codes.state")}
    issued = registry.select(
        {**card, "done": integer(f"{ActionOutcome.NONE}")}, f"FROM codes WHERE order_no = {order_no} AND order_no > 0"
    )
    acted_on = registry.select(
        {**card, "done": integer("touches.done")},
        f"FROM touches JOIN codes ON codes.code = touches.code WHERE touches.order_no = {order_no}",
    )
    return pl.concat([issued, acted_on]).sort("code")


def submissions(registry: Registry, folder: str, reseller: str) -> pl.DataFrame:
    """The events with this folder, of one reseller, or of any where it is empty."""
    rest = "FROM events WHERE kind = 'orders' AND folder = $1 AND ($2 = '' OR sender = $2)"
    return registry.select(columns_of("events"), rest, folder, reseller)


def serials(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """The names of cards that were issued here: `code`, `serial`.

    A serial is `<Order ID>/<n>`: the card's place among all cards that its order issued, counted from 1, those that were
    placed earlier first and by code within one placement. Codes are never deleted, so no serial ever changes.
    """
    found = registry.select_with(
        codes.unique().to_frame("code"),
        {"code": integer("given.code"), "order_id": text("orders.order_id"), "n": integer("numbered.n")},
        """
        FROM (
            SELECT code, order_no, row_number() OVER (PARTITION BY order_no ORDER BY event, code) AS n
            FROM codes
            WHERE order_no > 0 AND order_no IN (
                SELECT asked.order_no FROM given AS named JOIN codes AS asked ON asked.code = named.code
                WHERE asked.order_no > 0
            )
        ) AS numbered
        JOIN given ON given.code = numbered.code
        JOIN orders ON orders.order_no = numbered.order_no
        """,
    )
    return found.select("code", serial=pl.format("{}/{}", "order_id", "n"))


_NEWEST: Final = 100_000


def order_ids(registry: Registry, prefix: str, most: int) -> list[str]:
    """Order IDs that begin with a text (digits and `-`), the newest first, of the newest 100,000 orders."""
    found = registry.select(
        {"order_id": text("newest.order_id")},
        f"""
        FROM (SELECT order_no, order_id FROM orders ORDER BY order_no DESC LIMIT {_NEWEST}) AS newest
        WHERE newest.order_id LIKE $1 ORDER BY newest.order_no DESC LIMIT {most}
        """,
        f"{prefix}%",
    )
    return found["order_id"].to_list()
