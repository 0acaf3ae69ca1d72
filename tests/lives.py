"""Lives of several days, and how two registries differ by meaning: event numbers and keys may be others."""

import os
import random
from collections.abc import Callable

import polars as pl

from pipelines.admin import surplus
from pipelines.admin.retention import archive
from pipelines.registry.schema import TABLES
from pipelines.registry.store import Registry, open_registry
from tests.conftest import Shop, csv_of, row, some_codes

INT, TEXT = pl.Int64, pl.String
BTNS = ("3035550142", "3035550143")


class Life:
    """A shop whose resellers order every day, with a network that loads most of what it is sent and reports it."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.chance = shop, random.Random(seed)
        self.source = random.Random(seed)
        self.state_of_backup = self.source.getstate()
        shop.runtime = shop.runtime._replace(random_bytes=self.source.randbytes)
        self.codes = iter(some_codes(3_000, seed=seed + 1))
        self.orders = 0
        self.sent: list[tuple[str, bytes, str]] = []
        self.strange = iter(some_codes(500, seed=seed + 2_000))
        self.late: list[tuple[str, str]] = []
        self.reported: set[tuple[str, str]] = set()
        self.disconnected: set[str] = set()
        self.step: Callable[[str], None] = lambda _: None

    def draw_as_after_the_backup(self) -> None:
        """Have the source of codes give again what it gave after the backup: a code that is forgotten is issued again."""
        self.source.setstate(self.state_of_backup)

    def day(self, *, is_last: bool = False) -> None:
        """Files over the day, and the night with what the network says of them. On the last day the operator decides nothing:
        what no night has acted on yet leaves no trace in the outbox.
        """
        for _ in range(self.chance.randint(1, 4)):
            self.shop.later(minutes=self.chance.randint(1, 90))
            self.send()
            self.shop.run(self.step)
        if self.chance.random() < 0.9:
            self.shop.later(minutes=30)
            self.report()
        self.shop.now = self.shop.now.replace(hour=2, minute=0, second=0)
        self.shop.later(days=1)
        self.shop.night(self.step)
        if self.chance.random() < 0.15:
            self.shop.later(minutes=40)
            self.report()
            self.shop.later(minutes=10)
            self.shop.night(self.step)
        for path in self.shop.settings.outbox.glob(f"reconciliation/{self.shop.now:%Y-%m-%d}.xlsx"):
            os.utime(path, (self.shop.now.timestamp(),) * 2)  # the clock that it was written by
        if not is_last:
            self.decide()
        self.shop.now = self.shop.now.replace(hour=9, minute=self.chance.randint(0, 59))

    def decide(self) -> None:
        """What the operator does in the morning."""
        for one in surplus.surplus_orders(self.shop.as_run):
            if self.chance.random() < 0.4 and one.order_id not in self.disconnected:
                self.shop.later(minutes=1)
                surplus.grant(self.shop.as_run, one.order_id, "Ana", "they may have it")
            elif self.chance.random() < 0.5:
                self.shop.later(minutes=1)
                self.disconnected.add(one.order_id)
                surplus.disconnect(self.shop.as_run, one.order_id)
                self.shop.run()
        if self.chance.random() < 0.1:
            archive(f"{self.shop.now:%Y-%m-%d}", "", self.shop.as_run)

    # -- what resellers send ---------------------------------------------------------------------------------------------

    def send(self) -> None:
        rows = [self.order() for _ in range(self.chance.randint(1, 4))]
        if self.chance.random() < 0.3:
            rows.append(row(self.order_id(), code=self.chance.choice(["12", "11111111111111", "73905162840999"])))
        name = f"{self.chance.choice(['orders', 'more', 'october'])}.csv"
        content = csv_of(*rows)
        if self.sent and self.chance.random() < 0.2:
            name, content, source = self.chance.choice(self.sent)
        else:
            source = "globex" if rows[0]["Customer Account Number"] == "20098765" else "acme"
            self.sent.append((name, content, source))
        self.shop.drop(name, content, source)
        if self.chance.random() < 0.1:
            self.shop.drop("noise.bin", bytes(self.chance.randrange(256) for _ in range(50)), "globex")

    def order_id(self) -> str:
        self.orders += 1
        return f"O{self.orders}"

    def order(self) -> dict[str, str]:
        kind = self.chance.random()
        whose = {"account": "20098765", "product": "8001"} if self.chance.random() < 0.3 else {}
        if kind < 0.35:
            return row(self.order_id(), quantity=str(self.chance.randint(1, 6)), **whose)
        if kind < 0.55:
            return row(self.order_id(), code=" ".join(next(self.codes) for _ in range(self.chance.randint(1, 3))), **whose)
        if kind < 0.7 and not whose:
            return row(self.order_id(), btn=self.chance.choice(BTNS), quantity=str(self.chance.randint(1, 4)))
        ready = self.cards("ready" if kind < 0.95 else "blocked")
        if not ready:
            return row(self.order_id(), quantity="2", **whose)
        account, code = self.chance.choice(ready)
        action = self.chance.choice(["Block", "Disconnect", "Change"]) if kind < 0.95 else "Unblock"
        cells = {"origin": "Yes"} if action == "Change" else {}
        return row(self.order_id(), action=action, code=code, account=account, product="", access_number="", **cells)

    def cards(self, state: str) -> list[tuple[str, str]]:
        """The released cards in a state: account and code. Their resellers know no others."""
        number = {"ready": 1, "blocked": 3}[state]
        found = self.shop.registry.query(
            "SELECT orders.account, cards.code FROM cards JOIN orders ON orders.order_pk = cards.order_pk "
            "JOIN release_ranges ON release_ranges.order_pk = cards.order_pk AND release_ranges.event > 0 "
            "AND cards.serial BETWEEN release_ranges.first_serial AND release_ranges.last_serial "
            f"WHERE cards.state = {number} ORDER BY cards.code",
            {"account": TEXT, "code": INT},
        )
        return [(account, str(code)) for account, code in found.iter_rows()]

    # -- what the network says -------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Reports of some orders that were placed; some codes are left out, and come later."""
        placed = [pair for pair in self.shop.placements().select("Order ID", "Authorization Code").rows()
                  if pair not in self.reported] if len(self.shop.placements()) else []  # fmt: skip
        ids = sorted({order for order, _ in placed})
        self.chance.shuffle(ids)
        named = set(ids[: max(1, int(len(ids) * 0.7))])
        lines = [pair for pair in placed if pair[0] in named and self.chance.random() < 0.8]
        self.late += [pair for pair in placed if pair[0] in named and pair not in lines]
        self.reported.update(pair for pair in placed if pair[0] in named)
        lines += [(order, "") for order in sorted(named - {order for order, _ in lines})]
        for pair in list(self.late):
            if self.chance.random() < 0.3:
                lines.append(pair)
                self.late.remove(pair)
        if self.chance.random() < 0.4:
            lines.append((self.chance.choice(["77-7", ids[0] if ids else "77-8"]), next(self.strange)))
        self.chance.shuffle(lines)
        half = len(lines) // 2 if self.chance.random() < 0.4 else len(lines)
        for number, part in enumerate((lines[:half], lines[half:])):
            if part:
                self.shop.report(*part, name=f"report{number}.csv")
        if self.chance.random() < 0.1:
            self.shop.report(content="Order ID\n1\n", name="broken.csv")


# -- by meaning --------------------------------------------------------------------------------------------------------

_O = "(SELECT orders.order_id FROM orders WHERE orders.order_pk = {}.order_pk)"
_AT = "(SELECT e.source || ' ' || e.at || ' ' || e.kind FROM events AS e WHERE e.event = {})"
MEANINGS: dict[str, str] = {
    "events": "SELECT kind || source || digest || file_name || folder || at || notes || file_at || "
    "(rows * 1000000 + readable * 10000 + delivered * 1000 + reconciliation_date % 1000 * 100000000 + final) || "
    f"coalesce({_AT.format('events.original_event')}, '') || coalesce({_AT.format('NULLIF(events.replays, 0)')}, '') AS line "
    "FROM events WHERE kind IN ('orders', 'report') OR event IN (SELECT order_files.event FROM order_files)",
    "nights": "SELECT reconciliation_date || ' ' || count(*) AS line FROM events WHERE kind = 'night' "
    "GROUP BY reconciliation_date",
    "orders": "SELECT order_id || account || order_sequence || customer_order_id || action || service_type || product || "
    "access_number || origin || termination || comments || code_type || content || (rows * 1000 + cards) || ' ' || awaiting || "
    f"' ' || since || ' ' || confirmed || ' ' || granted || ' ' || {_AT.format('orders.event')} AS line FROM orders",
    "judged": f"SELECT order_id || {_AT.format('orders.judged_event')} AS line FROM orders",
    "cards": f"SELECT {_O.format('cards')} || '/' || serial || ' ' || code || ' ' || state AS line FROM cards",
    "numbers": f"SELECT code || ' ' || coalesce({_O.format('numbers')}, '') || '/' || serial AS line FROM numbers",
    "card_actions": f"SELECT {_O.format('card_actions')} || ' ' || (SELECT order_id FROM orders WHERE orders.order_pk = "
    "card_actions.card_order_pk) || '/' || card_serial || ' ' || outcome || ' ' || "
    f"coalesce({_AT.format('NULLIF(settled_event, 0)')}, '') || ' ' || coalesce({_AT.format('NULLIF(missed_event, 0)')}, '') "
    "AS line FROM card_actions",
    "state_transitions": f"SELECT {_O.format('state_transitions')} || '/' || serial || ' ' || from_state || to_state || ' ' "
    "|| (SELECT kind FROM events WHERE events.event = state_transitions.event) AS line FROM state_transitions",
    "replacements": f"SELECT {_O.format('replacements')} || ' ' || replaced_serial || ' ' || serial || ' ' || "
    f"{_AT.format('replacements.event')} AS line FROM replacements",
    "order_files": f"SELECT {_O.format('order_files')} || kind || part || ' ' || cards || {_AT.format('order_files.event')} "
    "AS line FROM order_files",
    "release_ranges": f"SELECT {_O.format('release_ranges')} || ' ' || first_serial || '-' || last_serial || ' ' || "
    f"coalesce({_AT.format('NULLIF(release_ranges.event, 0)')}, '') AS line FROM release_ranges",
    "duplicate_orders": f"SELECT {_O.format('duplicate_orders')} || ' ' || rows || {_AT.format('duplicate_orders.event')} "
    "AS line FROM duplicate_orders",
    "rejected_rows": "SELECT source_row || customer_order_id || code || quantity || "
    f"{_AT.format('rejected_rows.event')} AS line FROM rejected_rows",
    "findings": f"SELECT source_row || column_name || reason || value || {_AT.format('findings.event')} AS line FROM findings",
    "row_keys": f"SELECT {_O.format('row_keys')} || row_key AS line FROM row_keys",
    "unexpected_codes": f"SELECT order_id || ' ' || code || explanation || {_AT.format('unexpected_codes.event')} AS line "
    "FROM unexpected_codes",
    "btns": "SELECT btn || account || ' ' || valid || ' ' || used AS line FROM btns",
    "night_figures": "SELECT reconciliation_date || ' ' || from_state || to_state || ' ' || cards AS line FROM night_figures",
    "movements": "SELECT reconciliation_date || ' ' || reseller || account || ' ' || product || ' ' || access_number || ' ' || "
    "movement || ' ' || cards AS line FROM movements",
    "balances": "SELECT month || ' ' || reseller || account || ' ' || product || ' ' || access_number || ' ' || active AS line "
    "FROM balances WHERE active <> 0",
    "usage": "SELECT reseller || day || ' ' || codes || ' ' || files || ' ' || bytes AS line FROM usage",
    "external_figures": "SELECT sum(codes) || ' ' || sum(checksum) AS line FROM external_figures",
    "archived": "SELECT source || folder || archived AS line FROM events WHERE kind IN ('orders', 'report')",
}


def meaning(registry: Registry) -> dict[str, list[str]]:
    """All that a registry says, without its own numbers."""
    return {
        name: sorted(line or "" for line in registry.query(sql, {"line": TEXT})["line"].to_list())
        for name, sql in MEANINGS.items()
    }


def differences(lost: dict[str, list[str]], found: dict[str, list[str]]) -> list[str]:
    """What one registry says and the other does not."""
    result = []
    for name, lines in lost.items():
        before, after = list(lines), list(found[name])
        for line in lines:
            if line in after:
                after.remove(line)
                before.remove(line)
        result += [f"{name}: - {line}" for line in before] + [f"{name}: + {line}" for line in after]
    return result


# -- losing ------------------------------------------------------------------------------------------------------------


def backup_of(registry: Registry) -> dict[str, pl.DataFrame]:
    """A backup: every table."""
    return {name: registry.query(f"SELECT * FROM {name}", schema) for name, schema in TABLES.items()}


def restore(shop: Shop, backup: dict[str, pl.DataFrame], url: str) -> None:
    """Have a shop work with the registry at this address, which gets the backup."""
    shop.registry.close()
    shop.registry = open_registry(url)
    shop.settings = shop.settings.model_copy(update={"registry": url})
    with shop.registry.transaction():
        for name, frame in backup.items():
            if name != "audit_entries":  # the registry is new, and refuses to delete these
                shop.registry.execute(f"DELETE FROM {name}")
            shop.registry.append(name, frame)


_MOMENTS = ("claimed", "decided", "committed", "delivered", "report entered", "orders closed", "night written")
"""Steps that a run reaches in its own thread, and not in a transaction."""


def lose(life: Life, days: int, url: str) -> dict[str, list[str]]:
    """Live so many days, and lose the last ones of them: the registry at this address gets the backup of a random moment. What
    was lost, by meaning.
    """
    kept, moment = life.chance.randint(0, days - 2), life.chance.choice([0, life.chance.randint(1, 25)])
    backups: list[dict[str, pl.DataFrame]] = []

    def back_up() -> None:
        backups.append(backup_of(life.shop.registry))
        life.state_of_backup = life.source.getstate()

    def step(name: str) -> None:
        nonlocal moment
        moment -= name in _MOMENTS
        if not moment and name in _MOMENTS:
            back_up()

    for day in range(days):
        if day == kept:
            back_up()
            life.step = step
        life.day(is_last=day == days - 1)
        life.step = lambda _: None
    lost = meaning(life.shop.registry)
    restore(life.shop, backups[-1], url)
    return lost
