"""Questions that people ask the registry: cards, their history, orders, submissions."""

from typing import Any, Final

import polars as pl

from pipelines.registry.columns import columns_of, integer, schema_of, text
from pipelines.registry.numbers import NUMBERS_UNDER, btn_ranges
from pipelines.registry.store import Registry
from schemas.actions import ACTIONS, ActionOutcome
from schemas.codes import NO_STATE, CardState
from schemas.pins import PINS

_CARD: Final = {
    "code": integer("numbers.code"),
    "order_pk": integer("numbers.order_pk"),
    "n": integer("numbers.serial"),
    "state": integer(f"coalesce(cards.state, {CardState.EXTERNAL})"),
    "order_id": text("coalesce(orders.order_id, '')"),
    "reseller": text("coalesce(submission.source, '')"),
    "account": text("coalesce(orders.account, '')"),
    "customer_order_id": text("coalesce(orders.customer_order_id, '')"),
    "product": text("coalesce(orders.product, '')"),
    "access_number": text("coalesce(orders.access_number, '')"),
    "origin": text("coalesce(orders.origin, '')"),
    "termination": text("coalesce(orders.termination, '')"),
    "placed": text("coalesce(night.at, submission.at, '')"),
    "replaces": integer("coalesce(refused.code, 0)"),
    "replaced_by": integer("coalesce(replacement.code, 0)"),
}
CARD: Final = schema_of(_CARD)
_FROM_NUMBERS: Final = """
    LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
    LEFT JOIN orders ON orders.order_pk = cards.order_pk
    LEFT JOIN events AS submission ON submission.event = orders.event
    LEFT JOIN replacements AS replaces ON replaces.order_pk = cards.order_pk AND replaces.serial = cards.serial
    LEFT JOIN events AS night ON night.event = replaces.event
    LEFT JOIN cards AS refused ON refused.order_pk = replaces.order_pk AND refused.serial = replaces.replaced_serial
    LEFT JOIN replacements AS replaced
        ON replaced.order_pk = cards.order_pk AND replaced.replaced_serial = cards.serial
    LEFT JOIN cards AS replacement ON replacement.order_pk = replaced.order_pk AND replacement.serial = replaced.serial
"""
CHANGED: Final = ("product", "access_number", "origin", "termination")
"""What a change can set."""


def cards_with(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """The cards with these codes (see CARD; the order's own values)."""
    given = codes.unique().sort().to_frame("code")
    found = f"FROM given JOIN numbers ON numbers.code = given.code {_FROM_NUMBERS} ORDER BY numbers.code"
    return registry.select_with(given, _CARD, found)


_KEY: Final = {**columns_of("cards", "order_pk", "serial", "code"), "state": integer("cards.state")}
MOST_CARDS: Final = 1_000_000
"""Of the cards that an ID or an access number has, so many are counted; of those the newest orders count first."""
_MOST_ORDERS: Final = 100_000


def keys_with(registry: Registry, codes: pl.Series) -> pl.DataFrame:
    """The cards with these codes: `order_pk`, `serial` (0 and 0: external), `code`, `state`."""
    given = codes.unique().sort().to_frame("code")
    return registry.select_with(given, _NUMBER_KEY, f"FROM given JOIN numbers ON numbers.code = given.code {_CARD_OF_NUMBER}")


def keys_of_btn(registry: Registry, btn: int) -> pl.DataFrame:
    """The cards under a BTN, as `keys_with` has them; no more than there are PINs."""
    under = f"numbers.code BETWEEN {btn * PINS} AND {btn * PINS + PINS - 1}"
    return registry.select(_NUMBER_KEY, f"FROM numbers {_CARD_OF_NUMBER} WHERE {under}")


_CARD_OF_NUMBER: Final = "LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial"
_NUMBER_KEY: Final = {**columns_of("numbers", "order_pk", "serial", "code"), "state": _CARD["state"]}


def keys_of_orders(registry: Registry, name: str) -> tuple[pl.DataFrame, bool]:
    """The cards of orders with this Order ID or Customer Order ID, those that they issued and those that they take, as
    `keys_with` has them; and whether these are all (see MOST_CARDS).
    """
    parts = [_orders(registry, f"orders.{column} = $1", name) for column in ("order_id", "customer_order_id")]
    (by_id, all_by_id), (called, all_called) = parts
    orders = pl.concat([by_id, called]).unique().sort("order_pk")
    keys = [_issued(registry, orders), registry.select_with(orders, _KEY, _TAKEN)]
    return pl.concat(keys), all_by_id and all_called


def keys_of_access(registry: Registry, number: str) -> tuple[pl.DataFrame, bool]:
    """The cards that have this access number, as they were placed or by a change that is done, as `keys_with` has them; and
    whether these are all (see MOST_CARDS).
    """
    orders, complete = _orders(registry, "orders.access_number = $1", number)
    changed = registry.select_with(
        orders,
        _KEY,
        f"""
        {_TAKEN} JOIN orders ON orders.order_pk = given.order_pk
        WHERE card_actions.outcome = {ActionOutcome.SHOWN} AND orders.action IN ({changing()})
        """,
    )
    keys = pl.concat([_issued(registry, orders), changed]).unique("code")
    latest = _access_numbers(registry, keys["order_pk"]).unique(["order_pk", "serial"], keep="last", maintain_order=True)
    known = keys.join(latest, on=["order_pk", "serial"], how="left")
    return known.filter(pl.col("access_number").fill_null(number) == number).drop("access_number"), complete


def _access_numbers(registry: Registry, order_pks: pl.Series) -> pl.DataFrame:
    """The access numbers that changes gave to cards of these orders, earliest first: `order_pk`, `serial`, `access_number`."""
    return registry.select_with(
        order_pks.unique().sort().to_frame("order_pk"),
        {
            "order_pk": integer("card_actions.card_order_pk"),
            "serial": integer("card_actions.card_serial"),
            **columns_of("orders", "access_number"),
        },
        f"""
        FROM given JOIN card_actions ON card_actions.card_order_pk = given.order_pk
        JOIN orders ON orders.order_pk = card_actions.order_pk
        WHERE card_actions.outcome = {ActionOutcome.SHOWN} AND orders.access_number <> '' AND orders.action IN ({changing()})
        ORDER BY card_actions.settled_event, card_actions.order_pk
        """,
    )


def changing() -> str:
    """The actions that change cards, as SQL lists them."""
    return ", ".join(f"'{name}'" for name, action in ACTIONS.items() if action.changes)


_TAKEN: Final = """
    FROM given JOIN card_actions ON card_actions.order_pk = given.order_pk
    JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
"""


def _issued(registry: Registry, orders: pl.DataFrame) -> pl.DataFrame:
    return registry.select_with(orders, _KEY, "FROM given JOIN cards ON cards.order_pk = given.order_pk")


def _orders(registry: Registry, condition: str, value: str) -> tuple[pl.DataFrame, bool]:
    """The newest orders, with no more than MOST_CARDS cards but for the first one: `order_pk`; and whether these are all."""
    rest = f"FROM orders WHERE {condition} ORDER BY orders.order_pk DESC LIMIT {_MOST_ORDERS + 1}"
    found = registry.select(columns_of("orders", "order_pk", "cards"), rest, value)
    few = found.head(_MOST_ORDERS).filter((pl.col("cards").cum_sum() <= MOST_CARDS) | (pl.int_range(pl.len()) == 0))
    return few.select("order_pk").sort("order_pk"), len(few) == len(found)


def changes(registry: Registry, cards: pl.DataFrame) -> pl.DataFrame:
    """Changes of cards (`order_pk`, `n`, `code`) that the network has carried out, earliest first: `code` and the values that
    each set.
    """
    return registry.select_with(
        cards.select("order_pk", "n", "code").unique(),
        {"code": integer("given.code"), **columns_of("orders", *CHANGED)},
        f"""
        FROM given
        JOIN card_actions ON card_actions.card_order_pk = given.order_pk AND card_actions.card_serial = given.n
        JOIN orders ON orders.order_pk = card_actions.order_pk
        WHERE card_actions.outcome = {ActionOutcome.SHOWN} AND orders.action IN ({changing()})
        ORDER BY card_actions.settled_event, card_actions.order_pk
        """,
    )


_ENTRY: Final = {
    **columns_of("events", "at", "event"),
    "state": integer(f"{NO_STATE}"),
    **columns_of("orders", "action"),
    "outcome": integer(f"{ActionOutcome.NONE}"),
    "by": text("orders.order_id"),
    **columns_of("events", "file_name"),
}


def history(registry: Registry, order_pk: int, serial: int) -> pl.DataFrame:
    """What happened to a card, earliest first: `at`, `event`, the `state` that it got (NO_STATE: none), the `action` that
    was ordered (or empty), what came of it (`outcome`, see ActionOutcome), `by` (the Order ID) and `file_name`.
    """
    issued = registry.select(
        _ENTRY,
        f"""
        FROM cards
        JOIN orders ON orders.order_pk = cards.order_pk
        LEFT JOIN replacements ON replacements.order_pk = cards.order_pk AND replacements.serial = cards.serial
        JOIN events ON events.event = coalesce(replacements.event, orders.event)
        WHERE cards.order_pk = {order_pk} AND cards.serial = {serial}
        """,
    )
    actions = "FROM card_actions JOIN orders ON orders.order_pk = card_actions.order_pk"
    of_card = f"card_actions.card_order_pk = {order_pk} AND card_actions.card_serial = {serial}"
    ordered = registry.select(_ENTRY, f"{actions} JOIN events ON events.event = orders.event WHERE {of_card}")
    finished = registry.select(
        {**_ENTRY, **columns_of("card_actions", "outcome")},
        f"""
        {actions} JOIN events ON events.event = card_actions.settled_event
        WHERE {of_card} AND card_actions.outcome <> {ActionOutcome.AWAITED}
        """,
    )
    changed = registry.select(
        {**_ENTRY, "state": integer("state_transitions.to_state"), "action": text("''"), "by": text("''")},
        f"""
        FROM state_transitions JOIN events ON events.event = state_transitions.event
        WHERE state_transitions.order_pk = {order_pk} AND state_transitions.serial = {serial}
        """,
    )
    return pl.concat([issued, ordered, finished, changed]).sort("event", "state", maintain_order=True)


def order(registry: Registry, order_id: str) -> dict[str, Any] | None:
    """The order with this Order ID."""
    fields = ("account", "customer_order_id", "action", "code_type", "product", "access_number", "origin", "termination",
              "comments", "cards", "awaiting", "since")  # fmt: skip
    columns = {
        **columns_of("orders", "order_pk", "order_id"),
        "reseller": text("events.source"),
        **columns_of("orders", *fields),
        "placed_at": text("events.at"),
        "folder": text("events.folder"),
    }
    found = registry.select(
        columns, "FROM orders JOIN events ON events.event = orders.event WHERE orders.order_id = $1", order_id
    )
    return next(found.iter_rows(named=True), None)


def cards_of(registry: Registry, order_pk: int) -> pl.DataFrame:
    """The cards that an order issued or takes: `code`, `state`, `serial` (see `serial_of`), and `outcome`, what came of it
    (see ActionOutcome); by their order and serial.
    """
    card = {**columns_of("cards", "code"), "state": integer("cards.state"), **columns_of("orders", "order_id"),
            "n": integer("cards.serial")}  # fmt: skip
    issued = registry.select(
        {**card, "outcome": integer(f"{ActionOutcome.NONE}")},
        f"""
        FROM cards JOIN orders ON orders.order_pk = cards.order_pk
        WHERE cards.order_pk = {order_pk} ORDER BY cards.serial
        """,
    )
    acted_on = registry.select(
        {**card, **columns_of("card_actions", "outcome")},
        f"""
        FROM card_actions
        JOIN cards ON cards.order_pk = card_actions.card_order_pk AND cards.serial = card_actions.card_serial
        JOIN orders ON orders.order_pk = cards.order_pk
        WHERE card_actions.order_pk = {order_pk} ORDER BY cards.order_pk, cards.serial
        """,
    )
    return pl.concat([issued, acted_on]).with_columns(serial=serial_of())


def serial_of() -> pl.Expr:
    """The name of a card, `<Order ID>/<n>`, by which people speak of it: n is its place among all cards that its order
    issued, counted from 1; replacements come after the cards that were placed with the order. It never changes.
    """
    return pl.format("{}/{}", "order_id", "n")


def states_under(registry: Registry, btns: pl.Series) -> pl.DataFrame:
    """Every code used under these BTNs, with its state: `btn`, `code`, `state`."""
    return registry.select_with(
        btn_ranges(btns),
        {"btn": integer("given.btn"), **columns_of("numbers", "code"), "state": _CARD["state"]},
        f"""
        FROM {NUMBERS_UNDER}
        LEFT JOIN cards ON cards.order_pk = numbers.order_pk AND cards.serial = numbers.serial
        """,
    )


def submissions(registry: Registry, folder: str, reseller: str) -> pl.DataFrame:
    """The submissions with this folder, of one reseller, of the network (its reports), or of any where it is empty."""
    rest = "FROM events WHERE kind IN ('orders', 'report') AND folder = $1 AND ($2 = '' OR source = $2)"
    return registry.select(columns_of("events"), rest, folder, reseller)


_NEWEST: Final = 100_000


def order_ids(registry: Registry, prefix: str, most: int) -> list[str]:
    """Order IDs that begin with a text (digits and `-`), the newest first, of the newest 100,000 orders."""
    found = registry.select(
        {"order_id": text("newest.order_id")},
        f"""
        FROM (SELECT order_pk, order_id FROM orders ORDER BY order_pk DESC LIMIT {_NEWEST}) AS newest
        WHERE newest.order_id LIKE $1 ORDER BY newest.order_pk DESC LIMIT {most}
        """,
        f"{prefix}%",
    )
    return found["order_id"].to_list()
