"""Questions that people ask the registry: cards, their history, orders, submissions."""

from typing import Any, Final

import polars as pl

from pipelines.registry.schema import EVENT, INT, TEXT
from pipelines.registry.store import Registry
from schemas.actions import ACTIONS

CARD: Final = {
    "code": INT, "state": INT, "order_id": TEXT, "reseller": TEXT, "account": TEXT, "order_ref": TEXT, "product": TEXT,
    "access_number": TEXT, "origin": TEXT, "termination": TEXT, "placed": TEXT, "replaces": INT, "replaced_by": INT,
}  # fmt: skip
_CARDS: Final = (
    "SELECT c.code, c.state, coalesce(o.order_id, ''), coalesce(p.sender, ''), coalesce(o.account, ''), "
    "coalesce(o.order_ref, ''), coalesce(o.product, ''), coalesce(o.access_number, ''), coalesce(o.origin, ''), "
    "coalesce(o.termination, ''), coalesce(e.at, ''), coalesce(old.replaced, 0), coalesce(new.code, 0) "
    "FROM codes c LEFT JOIN orders o ON o.order_no = c.order_no AND c.order_no > 0 LEFT JOIN events p ON p.event = o.event "
    "LEFT JOIN events e ON e.event = c.event AND c.order_no > 0 LEFT JOIN replacements old ON old.code = c.code "
    "LEFT JOIN replacements new ON new.replaced = c.code "
)
CHANGED: Final = ("product", "access_number", "origin", "termination")
"""What a change can set."""


def card(registry: Registry, code: int) -> pl.DataFrame:
    """The card with this code, if there is one (see CARD; the order's own values)."""
    return registry.query(f"{_CARDS} WHERE c.code = {code}", CARD)


def cards_of_btn(registry: Registry, btn: int) -> pl.DataFrame:
    """The cards under a BTN."""
    return registry.query(f"{_CARDS} WHERE c.code BETWEEN {btn * 10_000} AND {btn * 10_000 + 9_999} ORDER BY c.code", CARD)


def cards_of_order(registry: Registry, name: str) -> pl.DataFrame:
    """The cards of orders with this Order ID or Customer Order ID, those that they issued and those that they take."""
    which = "SELECT order_no FROM orders WHERE order_id = $1 OR order_ref = $1"
    sql = (
        f"{_CARDS} WHERE c.code IN (SELECT code FROM codes WHERE order_no > 0 AND order_no IN ({which}) "
        f"UNION SELECT code FROM touches WHERE order_no IN ({which})) ORDER BY c.code"
    )
    return registry.query(sql, CARD, name)


def cards_of_access(registry: Registry, number: str) -> pl.DataFrame:
    """Cards that were placed with this access number, or ever changed to it."""
    sql = (
        f"{_CARDS} WHERE c.code IN (SELECT code FROM codes WHERE order_no > 0 AND order_no IN (SELECT order_no FROM orders "
        "WHERE access_number = $1) UNION SELECT t.code FROM touches t JOIN orders x "
        "ON x.order_no = t.order_no WHERE x.access_number = $1 AND t.done = 1) ORDER BY c.code"
    )
    return registry.query(sql, CARD, number)


def _changing() -> str:
    return ", ".join(f"'{name}'" for name, action in ACTIONS.items() if action.changes)


def changes(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """Changes of cards that the network has carried out, earliest first: `code` and the values that each set."""
    sql = (
        "SELECT t.code, o.product, o.access_number, o.origin, o.termination FROM given g JOIN touches t ON t.code = g.code "
        f"JOIN orders o ON o.order_no = t.order_no WHERE t.done = 1 AND o.action IN ({_changing()}) "
        "ORDER BY t.settled, t.order_no"
    )
    return registry.query_with(codes.unique().to_frame("code"), sql, {"code": INT, **dict.fromkeys(CHANGED, TEXT)})


def history(registry: Registry, code: int) -> pl.DataFrame:
    """What happened to a card: `at`, `event`, `what`, `by` (the order or file that did it)."""
    schema = {"at": TEXT, "event": INT, "state": INT, "action": TEXT, "done": INT, "by": TEXT, "file": TEXT}
    sql = (
        "SELECT e.at, e.event, -1, o.action, -1, o.order_id, e.file FROM codes c JOIN events e ON e.event = c.event "
        f"JOIN orders o ON o.order_no = c.order_no WHERE c.code = {code} AND c.order_no > 0 "
        "UNION ALL SELECT e.at, e.event, -1, o.action, -1, o.order_id, e.file FROM touches t JOIN orders o "
        f"ON o.order_no = t.order_no JOIN events e ON e.event = o.event WHERE t.code = {code} "
        "UNION ALL SELECT e.at, e.event, -1, o.action, t.done, o.order_id, e.file FROM touches t JOIN orders o "
        f"ON o.order_no = t.order_no JOIN events e ON e.event = t.settled WHERE t.code = {code} AND t.done > 0 "
        "UNION ALL SELECT e.at, e.event, m.state, '', -1, '', e.file FROM moves m JOIN events e ON e.event = m.event "
        f"WHERE m.code = {code} ORDER BY 2, 3"
    )
    return registry.query(sql, schema)


def order(registry: Registry, order_id: str) -> dict[str, Any] | None:
    """The order with this Order ID."""
    schema = {
        "order_no": INT, "order_id": TEXT, "reseller": TEXT, "account": TEXT, "order_ref": TEXT, "action": TEXT,
        "code_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT, "termination": TEXT, "comments": TEXT,
        "cards": INT, "awaiting": INT, "since": TEXT, "placed_at": TEXT, "folder": TEXT,
    }  # fmt: skip
    fields = ", ".join("e.sender" if name == "reseller" else "e.at" if name == "placed_at" else
                       "e.folder" if name == "folder" else f"o.{name}" for name in schema)  # fmt: skip
    sql = f"SELECT {fields} FROM orders o JOIN events e ON e.event = o.event WHERE o.order_id = $1"
    return next(registry.query(sql, schema, order_id).iter_rows(named=True), None)


def codes_of(registry: Registry, order_no: int) -> pl.DataFrame:
    """The codes of an order: `code`, `state`, and `done` (-1 where the order issued the code, see TOUCH else)."""
    sql = (
        f"SELECT code, state, -1 FROM codes WHERE order_no = {order_no} AND order_no > 0 UNION ALL "
        f"SELECT t.code, c.state, t.done FROM touches t JOIN codes c ON c.code = t.code WHERE t.order_no = {order_no} "
        "ORDER BY 1"
    )
    return registry.query(sql, {"code": INT, "state": INT, "done": INT})


def submissions(registry: Registry, folder: str, reseller: str) -> pl.DataFrame:
    """The events with this folder, of one reseller, or of any where it is empty."""
    columns = ", ".join(EVENT)
    sql = f"SELECT {columns} FROM events WHERE kind = 'orders' AND folder = $1 AND ($2 = '' OR sender = $2)"
    return registry.query(sql, EVENT, folder, reseller)
