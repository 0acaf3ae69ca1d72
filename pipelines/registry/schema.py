"""The tables of the registry, as the frames that go in and come back.

No column is ever NULL: absent text is empty, an absent number 0, so that a column has one type on both databases.
Times are local ISO 8601 text.
"""

from typing import Final

import polars as pl

from schemas.orders import NAMES

VERSION: Final = 1
MIGRATIONS: Final[dict[int, list[str]]] = {}
"""For each later version the statements that bring a registry of the version before up to it."""

TEXT, INT = pl.String, pl.Int64
EVENT: Final = pl.Schema(
    {"event": INT, "kind": TEXT, "sender": TEXT, "digest": TEXT, "file": TEXT, "folder": TEXT, "at": TEXT,
     "rows": INT, "notes": TEXT, "readable": INT, "answers": INT, "answered": INT, "night": INT}
)  # fmt: skip
"""Something that came in or was done: a file of orders, a report of the network, or a night.

`answers` is the event whose answer this one gets (its own, unless the same bytes came before); `answered` is 1 once
its folder is complete. `night` is the date (20261124) of the night that settled a report, and of a night itself.
"""
ORDER: Final = pl.Schema(
    {"order_no": INT, "event": INT, "order_id": TEXT, "account": TEXT, "number": INT, "order_ref": TEXT,
     "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT,
     "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT, "cards": INT,
     "awaiting": INT, "since": TEXT}
)  # fmt: skip
"""A placed order. `awaiting` is 1 from `since` until a report names it, 2 until the night settles it, then 0."""
CODE: Final = pl.Schema({"code": INT, "order_no": INT, "event": INT, "state": pl.UInt8})
"""A number that is burnt: its order (0 for one that was not issued here), the event that burnt it, its state."""
CARD_ACTION: Final = pl.Schema({"order_no": INT, "code": INT, "done": INT, "settled": INT})
"""A card that an order of another action than Add takes; `done` 0 awaited, 1 the network shows it, 2 it does not, as
the event `settled` has it."""
STATE_TRANSITION: Final = pl.Schema({"event": INT, "code": INT, "order_no": INT, "was": pl.UInt8, "state": pl.UInt8})
"""A card's state was changed by an event, a report of the network or a night."""
DUPLICATE_ORDER: Final = pl.Schema({"event": INT, "order_no": INT, "rows": INT})
ROW_KEY: Final = pl.Schema({"order_no": INT, "wish": TEXT})
"""What a placed row of an order asked for, where orders may be placed in part."""
TAKEN_CODE_ATTEMPT: Final = pl.Schema({"event": INT, "sender": TEXT, "day": TEXT, "codes": INT})
"""How many taken codes a file asked for; -1 where the operator released the sender."""
REJECTED_ROW: Final = pl.Schema({"event": INT, "row": INT, **dict.fromkeys(NAMES, TEXT)})
FINDING: Final = pl.Schema({"event": INT, "row": INT, "column_name": TEXT, "reason": TEXT, "value": TEXT})
REPLACEMENT: Final = pl.Schema({"event": INT, "code": INT, "replaced": INT})
"""A code that a night drew for a refused one, under the same order."""
UNEXPECTED: Final = pl.Schema({"event": INT, "order_id": TEXT, "code": INT, "held": TEXT})
"""What a report shows and nobody placed; `held` says what the registry knows of it. `code` 0: just an Order ID."""
ACCOUNT: Final = pl.Schema(dict.fromkeys(["reseller", "account", "product", "description", "acceptance"], TEXT))
ACCESS: Final = pl.Schema(dict.fromkeys(["access_number", "account", "description"], TEXT))

TABLES: Final = {
    "events": EVENT,
    "orders": ORDER,
    "codes": CODE,
    "touches": CARD_ACTION,
    "moves": STATE_TRANSITION,
    "repeats": DUPLICATE_ORDER,
    "wishes": ROW_KEY,
    "guesses": TAKEN_CODE_ATTEMPT,
    "rejected": REJECTED_ROW,
    "findings": FINDING,
    "replacements": REPLACEMENT,
    "unexpected": UNEXPECTED,
    "accounts": ACCOUNT,
    "access_numbers": ACCESS,
}
KEYS: Final = {
    "events": "event", "orders": "order_no", "codes": "code", "touches": "order_no, code", "moves": "event, code",
    "rejected": "event, row", "replacements": "code",
}  # fmt: skip
INDEXES: Final = [
    "CREATE UNIQUE INDEX events_digest ON events (sender, digest) WHERE readable = 1 AND answers = event",
    "CREATE INDEX events_folder ON events (folder)",
    "CREATE INDEX events_unanswered ON events (event) WHERE answered = 0",
    "CREATE UNIQUE INDEX orders_id ON orders (order_id)",
    "CREATE UNIQUE INDEX orders_ref ON orders (account, order_ref)",
    "CREATE UNIQUE INDEX orders_number ON orders (account, number)",
    "CREATE INDEX orders_event ON orders (event)",
    "CREATE INDEX orders_awaiting ON orders (order_no) WHERE awaiting > 0",
    "CREATE INDEX codes_order ON codes (order_no) WHERE order_no > 0",  # a query has to say so too, or it reads all codes
    "CREATE UNIQUE INDEX touches_awaited ON touches (code) WHERE done = 0",
    "CREATE INDEX touches_code ON touches (code)",
    "CREATE INDEX moves_code ON moves (code)",
    "CREATE INDEX replacements_event ON replacements (event)",
    "CREATE INDEX replacements_replaced ON replacements (replaced)",
    "CREATE INDEX unexpected_event ON unexpected (event)",
    "CREATE INDEX events_night ON events (night) WHERE kind <> 'orders'",
    "CREATE INDEX orders_access ON orders (access_number)",
    "CREATE INDEX orders_customer ON orders (order_ref)",
    "CREATE INDEX wishes_order ON wishes (order_no)",
    "CREATE INDEX guesses_sender ON guesses (sender)",
    "CREATE INDEX repeats_event ON repeats (event)",
    "CREATE INDEX findings_event ON findings (event)",
]
