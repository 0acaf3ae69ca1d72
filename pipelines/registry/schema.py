"""The tables of the registry as frames: their columns, types, keys and indexes.

Codes are never deleted from the registry, so none can be issued twice.

No column is ever NULL: absent text is empty, an absent number 0, so that a column has one type on both databases.
Times are local ISO 8601 text.
"""

from typing import Final

import polars as pl

from schemas.orders import NAMES

TEXT, INT, SMALL = pl.String, pl.Int64, pl.UInt8
EVENT: Final = pl.Schema(
    {"event": INT, "kind": TEXT, "sender": TEXT, "digest": TEXT, "file": TEXT, "folder": TEXT, "at": TEXT,
     "rows": INT, "notes": TEXT, "readable": INT, "answers": INT, "answered": INT, "night": INT}
)  # fmt: skip
"""An order file, a network report, a night, or what the operator did about a reseller.

`answers` is the event whose answer this one gets: itself, unless the same bytes came before. `answered` is 1 once its
folder is complete. `night` is the reconciliation date (20261124) of a night and of the reports that it acted on.
"""
ORDER: Final = pl.Schema(
    {"order_no": INT, "event": INT, "order_id": TEXT, "account": TEXT, "number": INT, "order_ref": TEXT,
     "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT,
     "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT, "cards": INT,
     "awaiting": INT, "since": TEXT}
)  # fmt: skip
"""A placed order. `awaiting`: what it waits for (see Awaiting), since when."""
CODE: Final = pl.Schema({"code": INT, "order_no": INT, "event": INT, "state": SMALL})
"""A code that is unavailable from now on: its order (0: not issued here), the event that entered it, its CardState."""
CARD_ACTION: Final = pl.Schema({"order_no": INT, "code": INT, "done": INT, "settled": INT})
"""A card that an order other than Add takes; `done`: what came of it (see ActionOutcome), by the event `settled`."""
STATE_TRANSITION: Final = pl.Schema({"event": INT, "code": INT, "order_no": INT, "was": SMALL, "state": SMALL})
"""A change of a card's state by an event: a network report or a night."""
DUPLICATE_ORDER: Final = pl.Schema({"event": INT, "order_no": INT, "rows": INT})
ROW_KEY: Final = pl.Schema({"order_no": INT, "wish": TEXT})
"""The idempotency key of a placed row, where orders may be placed in part."""
TAKEN_CODE_ATTEMPT: Final = pl.Schema({"event": INT, "sender": TEXT, "day": TEXT, "codes": INT})
"""How many taken codes a file asked for; -1 where the operator lifted the hold on its sender."""
REJECTED_ROW: Final = pl.Schema({"event": INT, "row": INT, **dict.fromkeys(NAMES, TEXT)})
FINDING: Final = pl.Schema({"event": INT, "row": INT, "column_name": TEXT, "reason": TEXT, "value": TEXT})
REPLACEMENT: Final = pl.Schema({"event": INT, "code": INT, "replaced": INT})
"""A code that a night drew to replace a refused one, under the same order."""
UNEXPECTED: Final = pl.Schema({"event": INT, "order_id": TEXT, "code": INT, "held": TEXT})
"""What a report shows and nobody placed, with an explanation (`held`). `code` 0: only an Order ID."""
ACCOUNT: Final = pl.Schema(dict.fromkeys(["reseller", "account", "product", "description", "acceptance"], TEXT))
ACCESS: Final = pl.Schema(dict.fromkeys(["access_number", "account", "description"], TEXT))
BILLING_NUMBER: Final = pl.Schema({"btn": INT, "account": TEXT})
"""A BTN and the customer account that the catalogue gives it to."""
BTN_OWNER: Final = pl.Schema({"btn": INT, "account": TEXT})
"""A BTN and the customer account that first had a PIN placed under it."""
HOLD: Final = pl.Schema({"reseller": TEXT, "at": TEXT, "reason": TEXT})
"""A reseller whose Specified orders are refused until the operator lifts the hold."""
USAGE: Final = pl.Schema({"reseller": TEXT, "day": TEXT, "codes": INT, "files": INT, "bytes": INT, "parse_ms": INT})
"""What a reseller has used of its budgets on a day (2026-11-24)."""
STRIKE: Final = pl.Schema({"reseller": TEXT, "digest": TEXT, "times": INT, "at": TEXT})
"""A file that was in hand when a run died: how many times alone, and when last."""
MIGRATION: Final = pl.Schema({"name": TEXT, "applied_at": TEXT})

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
    "billing_numbers": BILLING_NUMBER,
    "btn_owners": BTN_OWNER,
    "holds": HOLD,
    "usage": USAGE,
    "strikes": STRIKE,
}
KEYS: Final = {
    "events": "event", "orders": "order_no", "codes": "code", "touches": "order_no, code", "moves": "event, code",
    "rejected": "event, row", "replacements": "code", "billing_numbers": "btn", "btn_owners": "btn", "holds": "reseller",
    "usage": "reseller, day", "strikes": "reseller, digest", "migrations": "name",
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
