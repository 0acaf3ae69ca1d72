"""The tables of the registry as frames: their columns, types, keys and indexes.

Codes are never deleted from the registry, so none can be issued twice.

No column is ever NULL: absent text is empty, an absent number 0, so that a column has one type on both databases.
Times are local ISO 8601 text.
"""

from typing import Final

import polars as pl

from schemas.codes import CardState
from schemas.orders import NAMES

NEARLY_FULL: Final = 1_000
"""A BTN with fewer free PINs than this is nearly full."""
TEXT, INT, SMALL = pl.String, pl.Int64, pl.UInt8
EVENT: Final = pl.Schema(
    {"event": INT, "kind": TEXT, "source": TEXT, "digest": TEXT, "file_name": TEXT, "folder": TEXT, "at": TEXT,
     "rows": INT, "notes": TEXT, "readable": INT, "original_event": INT, "delivered": INT, "reconciliation_date": INT,
     "archived": INT, "file_at": TEXT, "final": INT, "replays": INT}
)  # fmt: skip
"""An order file, a network report, a night, or what the operator did: about a reseller, or about surplus cards (a grant).

`original_event` is the event whose answer this one gets: itself, unless the same bytes came before. `delivered` is 1 once
its folder is complete. `reconciliation_date` (20261124) is that of a night and of the reports that it acted on, else 0.
`archived` is 0 while the folder lies in the outbox, n once it lies in the n-th archive of its source and month. `file_at`
is when a report was written, by its file, or by when the placement file of a night was. `final` is 1 when the same bytes of
the same source get this answer again. `replays` is the event that this one answers again, else 0.
"""
ORDER: Final = pl.Schema(
    {"order_pk": INT, "event": INT, "order_id": TEXT, "account": TEXT, "order_sequence": INT, "customer_order_id": TEXT,
     "action": TEXT, "service_type": TEXT, "product": TEXT, "access_number": TEXT, "origin": TEXT,
     "termination": TEXT, "comments": TEXT, "code_type": TEXT, "content": TEXT, "rows": INT, "cards": INT,
     "awaiting": INT, "since": TEXT, "confirmed": INT, "granted": INT, "judged_event": INT}
)  # fmt: skip
"""A placed order. `cards`: how many it issued or takes; `awaiting`: what it waits for (see Awaiting), since when.

`confirmed`: how many of its cards ever became ready (a running figure), never more than `cards` and `granted`, the surplus
cards that the operator let it have. `judged_event`: reports that name the order were written after what was placed by this
event and before, and say nothing of what was placed later.
"""
CARD: Final = pl.Schema({"order_pk": INT, "serial": INT, "code": INT, "state": SMALL})
"""A card that was issued here, stored with the other cards of its order: its place in the order (from 1, replacements after the
cards that were placed with it), its code, its CardState."""
NUMBER: Final = pl.Schema({"code": INT, "order_pk": INT, "serial": INT})
"""A number that is unavailable from now on, and the card that has it (0 and 0: external, not issued here)."""
CARD_ACTION: Final = pl.Schema(
    {"order_pk": INT, "card_order_pk": INT, "card_serial": INT, "outcome": INT, "settled_event": INT, "missed_event": INT}
)
"""A card that an order other than Add takes; what came of it (see ActionOutcome), by which event (0: not yet), and the night
that reported it as not done (0: none did), whatever came of it later."""
STATE_TRANSITION: Final = pl.Schema({"order_pk": INT, "serial": INT, "event": INT, "from_state": SMALL, "to_state": SMALL})
"""A change of a card's state by an event: a network report or a night."""
ORDER_TRANSITION: Final = pl.Schema({"event": INT, "order_pk": INT, "from_state": SMALL, "to_state": SMALL, "cards": INT})
"""How many cards of an order an event took from one state to another (a running figure of the table above)."""
DUPLICATE_ORDER: Final = pl.Schema({"event": INT, "order_pk": INT, "rows": INT})
ROW_KEY: Final = pl.Schema({"order_pk": INT, "row_key": TEXT})
"""The idempotency key of a placed row, where orders may be placed in part."""
TAKEN_CODE_ATTEMPT: Final = pl.Schema({"event": INT, "source": TEXT, "day": TEXT, "codes": INT})
"""How many taken codes a file asked for; -1 where the operator lifted the hold on its source."""
REJECTED_ROW: Final = pl.Schema({"event": INT, "source_row": INT, **dict.fromkeys(NAMES, TEXT)})
FINDING: Final = pl.Schema({"event": INT, "source_row": INT, "column_name": TEXT, "reason": TEXT, "value": TEXT})
REPLACEMENT: Final = pl.Schema({"order_pk": INT, "replaced_serial": INT, "serial": INT, "event": INT})
"""A card that a night issued to replace a refused one of the same order."""
ORDER_FILE: Final = pl.Schema({"order_pk": INT, "kind": TEXT, "event": INT, "part": INT, "cards": INT})
"""A file that a night wrote for an order, once, with so many cards: its kind is release, refused or outcome. `part` is
the number of the night among those of its date; it is 0 for release files without a date, of earlier versions."""
RELEASE_RANGE: Final = pl.Schema({"order_pk": INT, "first_serial": INT, "last_serial": INT, "event": INT})
"""Cards of an order that lie side by side and stand in the release file of a night, or in that of the next one (event 0).
No card is in two of them."""
APPROVAL: Final = pl.Schema({"event": INT, "about": TEXT, "decision": INT, "decided_by": TEXT, "why": TEXT, "decided_at": TEXT,
                             "used_event": INT})  # fmt: skip
"""A report on hold: why, what was decided (see ApprovalDecision), by whom, why and when, and the event that acted on it."""
ORDER_HOLD: Final = pl.Schema(
    {"hold": INT, "event": INT, "account": TEXT, "customer_order_id": TEXT, "content": TEXT, "codes": INT, "at": TEXT,
     "decision": INT, "decided_by": TEXT, "why": TEXT, "decided_at": TEXT, "order_pk": INT, "closed_event": INT}
)  # fmt: skip
"""An order that asks for so many codes that it waits for approval: the submission that last said so, how many, and since when;
what was decided (see ApprovalDecision), by whom, why and when; the order that was placed by it (0: none), and the submission
with which it was placed, cancelled, replaced, or answered again after the decision (0: none yet)."""
AUDIT_ENTRY: Final = pl.Schema({"entry": INT, "at": TEXT, "who": TEXT, "action": TEXT, "subject": TEXT, "about": TEXT})
"""What somebody did that is not an event: when, who, what, to what, and why or with which figures. Entries are never changed
and never deleted."""
NOTICE: Final = pl.Schema({"notice": INT, "kind": TEXT, "subject": TEXT, "recipient": TEXT, "at": TEXT, "words": TEXT})
"""Something worth telling, once: what kind of thing it is, what it is about, whom it is for (a reseller; empty: the operator),
and what to say."""
NOTICE_DELIVERY: Final = pl.Schema({"notice": INT, "channel": TEXT, "sent_at": TEXT, "tries": INT, "leased_until": INT})
"""A notice on its way to a channel (a digest of its address): when it was sent (empty: not yet), how often it was tried, and
until when (seconds since 1970, by the database's clock) a worker has it in hand or it is not tried again."""
WATERMARK: Final = pl.Schema({"name": TEXT, "event": INT})
"""The last event that something has dealt with."""
UNEXPECTED_CODE: Final = pl.Schema({"event": INT, "order_id": TEXT, "code": INT, "explanation": TEXT})
"""What a report shows and nobody placed. `code` 0: only an Order ID."""
ACCOUNT: Final = pl.Schema({**dict.fromkeys(["reseller", "account", "product", "description", "acceptance", "notify"], TEXT),
                            "approve_above": INT})  # fmt: skip
"""A product account that a reseller may order on. `notify`: the reseller's channels, separated by spaces; `approve_above`: how
many codes an order of the reseller may ask for without approval (0: what the setting says)."""
ACCESS: Final = pl.Schema(dict.fromkeys(["access_number", "account", "description"], TEXT))
BILLING_NUMBER: Final = pl.Schema({"btn": INT, "account": TEXT})
"""A BTN and the customer account that the catalogue gives it to."""
BTN: Final = pl.Schema({"btn": INT, "account": TEXT, "valid": INT, "used": INT, "changed_event": INT})
"""A BTN under which PINs were placed: the account that was first, how many valid PINs it has and how many of them are
used (running figures), and the event that last used one."""
HOLD: Final = pl.Schema({"reseller": TEXT, "at": TEXT, "reason": TEXT})
"""A reseller whose Specified orders are refused until the operator lifts the hold."""
USAGE: Final = pl.Schema({"reseller": TEXT, "day": TEXT, "codes": INT, "files": INT, "bytes": INT, "parse_ms": INT})
"""What a reseller has used of its budgets on a day (2026-11-24)."""
STRIKE: Final = pl.Schema({"reseller": TEXT, "digest": TEXT, "times": INT, "at": TEXT})
"""A file that was in hand when a run died: how many times alone, and when last."""
NIGHT_FIGURE: Final = pl.Schema({"reconciliation_date": INT, "from_state": SMALL, "to_state": SMALL, "cards": INT})
"""How many cards went from one state to another in a night (a running figure)."""
NIGHT_BTN: Final = pl.Schema({"event": INT, "btn": INT, "free": INT})
"""A BTN that a night reports, with the PINs that it had left then."""
CLAIM: Final = pl.Schema({"source": TEXT, "name": TEXT, "inode": INT, "size": INT, "ctime_ns": INT, "worker": TEXT,
                          "renewed_at": INT, "lease_seconds": INT})  # fmt: skip
"""A dropped file that a worker has in hand, until so many seconds after it was last renewed (by the database's clock).
There are no more rows than files in hand.
"""
OUTBOX_FILE: Final = pl.Schema({"event": INT, "name": TEXT, "size": INT, "sha256": TEXT})
"""A file of the outbox as it was written last. `name` (as in an archive's manifest) without a slash: in the folder of the
submission that is the event; else relative to the outbox (`network/2026-11/placement-….csv`,
`reconciliation/2026-11-24.xlsx`)."""
EXTERNAL_FIGURE: Final = pl.Schema({"event": INT, "codes": INT, "checksum": INT})
"""How many external codes an event entered (0: imports), and the sum of their remainders by CHECKSUM_MODULUS."""
MOVEMENT: Final = pl.Schema({"reconciliation_date": INT, "reseller": TEXT, "account": TEXT, "product": TEXT,
                             "access_number": TEXT, "movement": TEXT, "cards": INT})  # fmt: skip
"""What happened to how many cards in the nights of a date (see schemas.movements), by who ordered them and by the product
account and access number that they then had (a running figure)."""
BALANCE: Final = pl.Schema({"month": INT, "reseller": TEXT, "account": TEXT, "product": TEXT, "access_number": TEXT,
                            "active": INT})  # fmt: skip
"""How many cards were active at the end of a month (202611), or are until now (a running figure; no row: none)."""
NIGHT_MEASURE: Final = pl.Schema({"reconciliation_date": INT, "awaited": INT, "overdue": INT, "active": INT, "surplus": INT,
                                  "median_seconds": INT, "p95_seconds": INT})  # fmt: skip
"""How the last night of a date left things: orders awaited and overdue, cards active and surplus, and how long the cards that
became ready on that date had needed since they were ordered. -1: not known, or none became ready."""
BTN_DAY: Final = pl.Schema({"btn": INT, "day": TEXT, "codes": INT})
"""How many codes were issued under a BTN on a day (2026-11-24)."""
MIGRATION: Final = pl.Schema({"name": TEXT, "applied_at": TEXT})

CHECKSUM_MODULUS: Final = 2_147_483_647
"""The remainders of four billion codes add up to less than the largest integer of the databases."""

TABLES: Final = {
    "events": EVENT,
    "orders": ORDER,
    "cards": CARD,
    "numbers": NUMBER,
    "card_actions": CARD_ACTION,
    "state_transitions": STATE_TRANSITION,
    "order_transitions": ORDER_TRANSITION,
    "duplicate_orders": DUPLICATE_ORDER,
    "row_keys": ROW_KEY,
    "taken_code_attempts": TAKEN_CODE_ATTEMPT,
    "rejected_rows": REJECTED_ROW,
    "findings": FINDING,
    "replacements": REPLACEMENT,
    "order_files": ORDER_FILE,
    "release_ranges": RELEASE_RANGE,
    "approvals": APPROVAL,
    "unexpected_codes": UNEXPECTED_CODE,
    "accounts": ACCOUNT,
    "access_numbers": ACCESS,
    "billing_numbers": BILLING_NUMBER,
    "btns": BTN,
    "holds": HOLD,
    "usage": USAGE,
    "strikes": STRIKE,
    "night_figures": NIGHT_FIGURE,
    "night_btns": NIGHT_BTN,
    "claims": CLAIM,
    "outbox_files": OUTBOX_FILE,
    "external_figures": EXTERNAL_FIGURE,
    "movements": MOVEMENT,
    "balances": BALANCE,
    "night_measures": NIGHT_MEASURE,
    "btn_days": BTN_DAY,
    "order_holds": ORDER_HOLD,
    "audit_entries": AUDIT_ENTRY,
    "notices": NOTICE,
    "notice_deliveries": NOTICE_DELIVERY,
    "watermarks": WATERMARK,
}
KEYS: Final = {
    "events": "event",
    "orders": "order_pk",
    "cards": "order_pk, serial",
    "numbers": "code",
    "card_actions": "order_pk, card_order_pk, card_serial",
    "state_transitions": "order_pk, serial, event",
    "order_transitions": "event, order_pk, from_state, to_state",
    "rejected_rows": "event, source_row",
    "replacements": "order_pk, replaced_serial",
    "order_files": "order_pk, kind, event",
    "release_ranges": "order_pk, first_serial",
    "approvals": "event",
    "billing_numbers": "btn",
    "btns": "btn",
    "holds": "reseller",
    "usage": "reseller, day",
    "strikes": "reseller, digest",
    "night_figures": "reconciliation_date, from_state, to_state",
    "night_btns": "event, btn",
    "claims": "source, name, inode, size, ctime_ns",
    "outbox_files": "event, name",
    "external_figures": "event",
    "movements": "reconciliation_date, reseller, account, product, access_number, movement",
    "balances": "month, reseller, account, product, access_number",
    "night_measures": "reconciliation_date",
    "btn_days": "btn, day",
    "order_holds": "hold",
    "audit_entries": "entry",
    "notices": "notice",
    "notice_deliveries": "notice, channel",
    "watermarks": "name",
    "migrations": "name",
}
"""The primary keys. Only `numbers`, `btns` and `btn_days` have one that new rows hit at random; all other tables grow
at their end or next to the rows of their order."""
INDEXES: Final = [
    "CREATE UNIQUE INDEX events_digest ON events (source, digest) WHERE final = 1 AND original_event = event",
    "CREATE INDEX events_report_digest ON events (digest, event) WHERE kind = 'report'",
    "CREATE UNIQUE INDEX events_replays ON events (replays) WHERE replays > 0",
    "CREATE INDEX events_folder ON events (folder, source)",
    "CREATE INDEX events_source ON events (source, event)",
    "CREATE INDEX events_at ON events (at)",
    "CREATE INDEX events_undelivered ON events (event) WHERE delivered = 0",
    "CREATE INDEX events_open ON events (event) WHERE reconciliation_date = 0 AND kind IN ('report', 'grant')",
    "CREATE INDEX events_in_outbox ON events (archived, at, event) WHERE archived = 0",
    "CREATE INDEX events_reconciliation_date ON events (reconciliation_date) WHERE reconciliation_date > 0",
    f"CREATE INDEX cards_surplus ON cards (order_pk, serial) WHERE state = {CardState.SURPLUS}",
    "CREATE UNIQUE INDEX orders_order_id ON orders (order_id)",
    "CREATE UNIQUE INDEX orders_account ON orders (account, customer_order_id)",
    "CREATE UNIQUE INDEX orders_sequence ON orders (account, order_sequence)",
    "CREATE INDEX orders_customer_order_id ON orders (customer_order_id)",
    "CREATE INDEX orders_event ON orders (event)",
    "CREATE INDEX orders_awaiting ON orders (order_pk) WHERE awaiting > 0",
    "CREATE INDEX orders_access_number ON orders (access_number, order_pk)",
    "CREATE UNIQUE INDEX card_actions_awaited ON card_actions (card_order_pk, card_serial) WHERE outcome = 0",
    "CREATE INDEX card_actions_card ON card_actions (card_order_pk, card_serial)",
    "CREATE INDEX card_actions_settled ON card_actions (settled_event) WHERE settled_event > 0",
    "CREATE INDEX card_actions_missed ON card_actions (missed_event) WHERE missed_event > 0",
    "CREATE INDEX order_files_event ON order_files (event)",
    "CREATE INDEX release_ranges_event ON release_ranges (event)",
    "CREATE INDEX approvals_waiting ON approvals (event) WHERE decision = 0",
    "CREATE INDEX approvals_used ON approvals (used_event) WHERE used_event > 0",
    "CREATE UNIQUE INDEX replacements_serial ON replacements (order_pk, serial)",
    "CREATE INDEX replacements_event ON replacements (event)",
    "CREATE INDEX unexpected_codes_event ON unexpected_codes (event)",
    "CREATE INDEX row_keys_order ON row_keys (order_pk)",
    "CREATE INDEX taken_code_attempts_source ON taken_code_attempts (source, day)",
    "CREATE INDEX taken_code_attempts_lifted ON taken_code_attempts (source, event) WHERE codes < 0",
    "CREATE INDEX duplicate_orders_event ON duplicate_orders (event)",
    "CREATE INDEX findings_event ON findings (event)",
    "CREATE INDEX btns_changed ON btns (changed_event)",
    "CREATE INDEX order_holds_order_id ON order_holds (account, customer_order_id)",
    "CREATE INDEX order_holds_open ON order_holds (hold) WHERE closed_event = 0",
    "CREATE INDEX order_holds_event ON order_holds (event)",
    "CREATE INDEX order_holds_order ON order_holds (order_pk) WHERE order_pk > 0",
    "CREATE INDEX order_holds_closed ON order_holds (closed_event) WHERE closed_event > 0",
    "CREATE INDEX audit_entries_at ON audit_entries (at)",
    "CREATE UNIQUE INDEX notices_subject ON notices (kind, subject, recipient)",
    "CREATE INDEX notice_deliveries_waiting ON notice_deliveries (channel, notice) WHERE sent_at = ''",
    f"CREATE INDEX btns_nearly_full ON btns ((valid - used), btn) WHERE valid - used < {NEARLY_FULL}",
]
"""SQLite uses a partial index only for a query that repeats its condition."""
