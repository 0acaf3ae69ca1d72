"""The kinds of damage: in the outbox and in the registry."""

import shutil
import zipfile
from collections.abc import Callable
from typing import Final, NamedTuple

import polars as pl
from openpyxl import Workbook

from tests.damage.place import CODES, Place


class Damage(NamedTuple):
    """What is planted, words of a finding that must name it, and whether `cards repair --apply` mends it."""

    plant: Callable[[Place], None]
    names: str
    repaired: bool


# -- files -------------------------------------------------------------------------------------------------------------


def deleted(pattern: str) -> Callable[[Place], None]:
    return lambda place: place.find(pattern).unlink()


def shortened(pattern: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        path = place.find(pattern)
        path.write_bytes(path.read_bytes()[:-20])

    return plant


def replaced_code(pattern: str, code: str) -> Callable[[Place], None]:
    """Put another code (an expression of SQL) in the place of the first one of a CSV file; its length stays."""

    def plant(place: Place) -> None:
        path = place.find(pattern)
        first = pl.read_csv(path, infer_schema=False)["Authorization Code"][0]
        path.write_text(path.read_text().replace(first, str(place.value(code)), 1))

    return plant


def without_first_row(pattern: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        path = place.find(pattern)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], *lines[2:]]))

    return plant


def swapped(one: str, other: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        first, second = place.find(one), place.find(other)
        content = first.read_bytes()
        shutil.copyfile(second, first)
        second.write_bytes(content)

    return plant


def copied(pattern: str, to: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        path = place.find(pattern)
        shutil.copyfile(path, place.find(to) / f"{path.stem}-copy{path.suffix}")

    return plant


def emptied(pattern: str) -> Callable[[Place], None]:
    return lambda place: Workbook().save(place.find(pattern))


def laid(path: str, content: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        target = place.outbox / path
        target.write_text(content)
        target.chmod(0o600)

    return plant


def opened(pattern: str, mode: int) -> Callable[[Place], None]:
    return lambda place: (place.find(pattern) if pattern else place.outbox).chmod(mode)


def begun(folder: str) -> Callable[[Place], None]:
    """What a killed writer leaves."""

    def plant(place: Place) -> None:
        left = place.find(folder) / ".confirmation.csv.0123456789abcdef"
        left.mkdir(mode=0o700)
        (left / "confirmation.csv").touch(mode=0o600)

    return plant


def private_copy(place: Place) -> None:
    left = place.home / ".spool" / "1-0123456789abcdef"
    left.mkdir(parents=True, mode=0o700)
    (place.home / ".spool").chmod(0o700)


def damaged_archive(place: Place) -> None:
    """Another byte in a member of an archive."""
    path = place.find("acme/archive/*.zip")
    with zipfile.ZipFile(path) as archive:
        member = next(one for one in archive.infolist() if one.filename.endswith("confirmation.csv"))
    content = bytearray(path.read_bytes())
    content[member.header_offset + 60 + len(member.filename)] ^= 1
    path.write_bytes(content)


def renamed_folder(place: Place) -> None:
    folder = place.find("acme/*-plain")
    folder.rename(folder.with_name(f"{folder.name}-x"))


_MIXED, _PLAIN = "acme/*-mixed", "acme/*-plain"
_ORDER_A = "(SELECT order_pk FROM orders WHERE customer_order_id = 'A')"
_ORDER_D = "(SELECT order_pk FROM orders WHERE customer_order_id = 'D')"
_REFUSED = f"SELECT code FROM cards WHERE order_pk = {_ORDER_A} AND state = 2 ORDER BY serial LIMIT 1"
_BLOCKED = f"SELECT code FROM cards WHERE order_pk = {_ORDER_A} AND state = 3 LIMIT 1"
_FOREIGN = "SELECT code FROM cards JOIN orders ON orders.order_pk = cards.order_pk WHERE customer_order_id = 'G'"
_RELEASE = f"{_MIXED}/release-10023456-2-*.csv"

OUTBOX: Final = {
    "a refused code in a release file": Damage(replaced_code(_RELEASE, _REFUSED), "release-10023456-2", True),
    "a blocked card in a release file": Damage(replaced_code(f"{_PLAIN}/release-*.csv", _BLOCKED), "release-", True),
    "a code of another reseller in a release file": Damage(replaced_code(_RELEASE, _FOREIGN), "release-10023456-2", True),
    "a code that nobody issued in a release file": Damage(replaced_code(_RELEASE, CODES[8]), "release-10023456-2", True),
    "a card missing in a release file": Damage(without_first_row(_RELEASE), "release-10023456-2", True),
    "a release file (.csv) deleted": Damage(deleted(_RELEASE), "release-10023456-2", True),
    "a release file (.xlsx) deleted": Damage(deleted(f"{_MIXED}/release-*.xlsx"), "release-", True),
    "a release file shortened": Damage(shortened(_RELEASE), "release-10023456-2", True),
    "two release files swapped": Damage(swapped(_RELEASE, f"{_PLAIN}/release-*.csv"), "release-", True),
    "a release file copied to another reseller": Damage(copied(_RELEASE, "globex/*-rows"), "copy.csv", False),
    "a release workbook emptied": Damage(emptied(f"{_MIXED}/release-*.xlsx"), "release-", True),
    "a refused file deleted": Damage(deleted(f"{_MIXED}/refused-*.csv"), "refused-", True),
    "a refused file changed": Damage(without_first_row(f"{_MIXED}/refused-*.csv"), "refused-", True),
    "an outcome file deleted": Damage(deleted("acme/*-actions/outcome-*.csv"), "outcome-", True),
    "an outcome file shortened": Damage(shortened("acme/*-actions/outcome-*.xlsx"), "outcome-", True),
    "a confirmation (.csv) deleted": Damage(deleted(f"{_MIXED}/confirmation.csv"), "confirmation.csv", True),
    "a confirmation shortened": Damage(shortened(f"{_MIXED}/confirmation.csv"), "confirmation.csv", True),
    "two confirmations swapped": Damage(
        swapped(f"{_MIXED}/confirmation.csv", f"{_PLAIN}/confirmation.csv"), "confirmation.csv", True
    ),
    "a confirmation workbook emptied": Damage(emptied(f"{_MIXED}/confirmation.xlsx"), "confirmation.xlsx", True),
    "a rejection file changed": Damage(without_first_row("globex/*/rejections.csv"), "rejections.csv", True),
    "a rejection workbook deleted": Damage(deleted(f"{_MIXED}/rejections.xlsx"), "rejections.xlsx", True),
    "a status changed": Damage(shortened(f"{_MIXED}/status.json"), "status.json", True),
    "an original deleted": Damage(deleted(f"{_PLAIN}/plain.csv"), "original", False),
    "an original changed": Damage(without_first_row(f"{_PLAIN}/plain.csv"), "original", False),
    "a placement file deleted": Damage(deleted("network/*/placement-acme-*-plain.csv"), "placement", True),
    "a placement file shortened": Damage(shortened("network/*/placement-acme-*-plain.csv"), "placement", True),
    "two placement files swapped": Damage(
        swapped("network/*/placement-acme-*-plain.csv", "network/*/placement-acme-*-mixed.csv"), "placement", True
    ),
    "a placement file of replacements deleted": Damage(deleted("network/*/placement-network-*.csv"), "placement", True),
    "a placement file that nobody wrote": Damage(
        copied("network/*/placement-acme-*-plain.csv", "network/????-??"), "placement", False
    ),
    "a night's workbook deleted": Damage(deleted("reconciliation/*.xlsx"), ".xlsx", True),
    "a night's workbook shortened": Damage(shortened("reconciliation/*.xlsx"), ".xlsx", True),
    "a workbook of a night that never was": Damage(laid("reconciliation/2020-01-01.xlsx", "x"), "2020-01-01", False),
    "data of a night (.parquet) deleted": Damage(deleted("reconciliation/data/parquet/cards/*/*"), "a file of a night", True),
    "data of a night (.csv) changed": Damage(
        without_first_row("reconciliation/data/csv/transitions/*/*"), "a file of a night", True
    ),
    "data of two nights swapped": Damage(
        swapped("reconciliation/data/csv/nights/*/*-05.csv", "reconciliation/data/csv/nights/*-11/*.csv"),
        "a file of a night",
        True,
    ),
    "data of a night that never was": Damage(
        copied("reconciliation/data/csv/cards/*/*", "reconciliation/data/csv/cards/*"), "copy.csv", False
    ),
    "data of a night open to others": Damage(opened("reconciliation/data/csv/orders/*/*", 0o644), "others can access", True),
    "what a killed writer left among data": Damage(begun("reconciliation/data/csv/orders/*"), "killed", True),
    "the rejections of a network report deleted": Damage(deleted("network/*-broken/rejections.csv"), "rejections", True),
    "the original of a network report changed": Damage(without_first_row("network/*-second/second.csv"), "original", False),
    "a submission's folder deleted": Damage(lambda place: shutil.rmtree(place.find(_PLAIN)), "folder", False),
    "a submission's folder renamed": Damage(renamed_folder, "-plain-x", False),
    "an index deleted": Damage(deleted("acme/index.csv"), "index.csv", True),
    "an answer missing in an index": Damage(without_first_row("acme/index.csv"), "index.csv", True),
    "an archive deleted": Damage(deleted("acme/archive/*.zip"), "archive", False),
    "an archive damaged": Damage(damaged_archive, "archive", False),
    "an archived placement file's archive deleted": Damage(deleted("network/archive/*.zip"), "archive", False),
    "a file with codes beside submissions": Damage(laid("acme/list.txt", f"{CODES[0]}\n"), "list.txt", False),
    "a file with codes in a submission": Damage(copied(_RELEASE, _PLAIN), "copy.csv", False),
    "a file in the outbox itself": Damage(laid("notes.txt", "x"), "notes.txt", False),
    "what a killed writer left beside submissions": Damage(begun("acme"), "killed", True),
    "what a killed writer left in a submission": Damage(begun(_MIXED), "killed", True),
    "what a killed writer left among placement files": Damage(begun("network/????-??"), "killed", True),
    "private copies of a killed run": Damage(private_copy, "killed", True),
    "the outbox open to others": Damage(opened("", 0o755), "others can access", True),
    "a reseller's folder open to others": Damage(opened("acme", 0o705), "others can access", True),
    "a release file open to others": Damage(opened(_RELEASE, 0o644), "others can access", True),
    "a placement file open to others": Damage(opened("network/*/placement-acme-*", 0o640), "others can access", True),
}


# -- the registry ------------------------------------------------------------------------------------------------------


def sql(*statements: str) -> Callable[[Place], None]:
    return lambda place: place.execute(*statements)


def swapped_owners(place: Place) -> None:
    """Swap the codes of two cards of two orders, and what is kept of the codes, so that the registry agrees with itself."""
    one = place.value(f"SELECT code FROM cards WHERE order_pk = {_ORDER_A} AND serial = 1")
    other = place.value(f"SELECT code FROM cards WHERE order_pk = {_ORDER_D} AND serial = 1")
    place.execute(
        f"UPDATE cards SET code = {other} WHERE order_pk = {_ORDER_A} AND serial = 1",
        f"UPDATE cards SET code = {one} WHERE order_pk = {_ORDER_D} AND serial = 1",
        f"UPDATE numbers SET order_pk = {_ORDER_D} WHERE code = {one}",
        f"UPDATE numbers SET order_pk = {_ORDER_A} WHERE code = {other}",
    )


def changed_code(place: Place) -> None:
    """Give a card a code that nobody issued, everywhere in the registry."""
    code = place.value(f"SELECT code FROM cards WHERE order_pk = {_ORDER_D} AND serial = 2")
    place.execute(f"UPDATE numbers SET code = {CODES[9]} WHERE code = {code}",
                  f"UPDATE cards SET code = {CODES[9]} WHERE code = {code}")  # fmt: skip


_SOME_EVENT = "(SELECT min(event) FROM rejected_rows)"
REGISTRY: Final = {
    "owners of two codes swapped": Damage(swapped_owners, "contradicts", False),
    "a card's code changed everywhere": Damage(changed_code, "contradicts", False),
    "an order renamed": Damage(sql("UPDATE orders SET order_id = '10023456-99' WHERE customer_order_id = 'D'"), "", False),
    "an order's account changed": Damage(
        sql("UPDATE orders SET account = '10023457' WHERE customer_order_id = 'D'"), "", False
    ),
    "an order's access number changed": Damage(
        sql("UPDATE orders SET access_number = '8008663691' WHERE customer_order_id = 'D'"), "contradicts", False
    ),
    "an order deleted": Damage(sql("DELETE FROM orders WHERE customer_order_id = 'D'"), "order that does not exist", False),
    "a card deleted": Damage(sql(f"DELETE FROM cards WHERE order_pk = {_ORDER_D} AND serial = 1"), "", False),
    "a card and its code deleted": Damage(
        sql(f"DELETE FROM numbers WHERE order_pk = {_ORDER_D} AND serial = 1",
            f"DELETE FROM cards WHERE order_pk = {_ORDER_D} AND serial = 1"), "number of cards", False,
    ),
    "an issued code deleted": Damage(sql(f"DELETE FROM numbers WHERE order_pk = {_ORDER_D} AND serial = 1"), "", False),
    "a state changed without a transition": Damage(
        sql(f"UPDATE cards SET state = 1 WHERE order_pk = {_ORDER_A} AND state = 2"), "another state", False
    ),
    "a transition deleted": Damage(
        sql(f"DELETE FROM state_transitions WHERE order_pk = {_ORDER_A} AND serial = 1 AND from_state = 0"), "", False
    ),
    "the last transition of a card deleted": Damage(
        sql(f"DELETE FROM state_transitions WHERE order_pk = {_ORDER_A} AND to_state = 2"), "another state", False
    ),
    "a transition changed": Damage(
        sql(f"UPDATE state_transitions SET from_state = 2 WHERE order_pk = {_ORDER_D} AND serial = 1"), "follow", False
    ),
    "a figure of an order's transitions changed": Damage(
        sql(f"UPDATE order_transitions SET cards = cards + 1 WHERE order_pk = {_ORDER_D}"), "figures of orders", False
    ),
    "a replacement deleted": Damage(sql(f"DELETE FROM replacements WHERE order_pk = {_ORDER_A}"), "nothing replaced", False),
    "a rejected row deleted": Damage(
        sql(f"DELETE FROM rejected_rows WHERE event = {_SOME_EVENT} AND source_row = "
            f"(SELECT min(source_row) FROM rejected_rows WHERE event = {_SOME_EVENT})"), "contradicts", False,
    ),
    "a rejected row changed": Damage(sql(f"UPDATE rejected_rows SET code = '9' WHERE event = {_SOME_EVENT}"), "contra", False),
    "a finding deleted": Damage(sql(f"DELETE FROM findings WHERE event = {_SOME_EVENT}"), "", False),
    "an imported external code deleted": Damage(sql("DELETE FROM numbers WHERE code = 73905162840999"), "external", False),
    "an external code replaced by another": Damage(
        sql(f"UPDATE numbers SET code = {CODES[9]} WHERE code = 73905162840999"), "external", False
    ),
    "an external code that a report showed deleted": Damage(sql(f"DELETE FROM numbers WHERE code = {CODES[10]}"), "", False),
    "an awaiting mark cleared": Damage(sql("UPDATE orders SET awaiting = 0 WHERE customer_order_id = 'W'"), "wait for", False),
    "an awaiting mark of a Block cleared": Damage(
        sql("UPDATE orders SET awaiting = 0 WHERE customer_order_id = 'BL2'"), "wait for nothing", False
    ),
    "a unique index dropped": Damage(sql("DROP INDEX orders_account"), "orders_account", True),
    "an index dropped": Damage(sql("DROP INDEX events_folder"), "events_folder", True),
    "a unique index made a plain one": Damage(
        sql("DROP INDEX orders_account", "CREATE INDEX orders_account ON orders (account, customer_order_id)"),
        "orders_account", True,
    ),
    "an event deleted": Damage(sql("DELETE FROM events WHERE event = (SELECT max(event) - 1 FROM events)"), "missing", False),
    "an event's folder renamed": Damage(sql("UPDATE events SET folder = 'x' WHERE file_name = 'plain.csv'"), "folder", False),
    "an event's digest changed": Damage(
        sql("UPDATE events SET digest = 'x' WHERE file_name = 'plain.csv'"), "another file was answered", False
    ),
    "a released card taken from its release": Damage(
        sql(f"UPDATE release_ranges SET last_serial = last_serial - 1 WHERE order_pk = {_ORDER_D}"), "release", False
    ),
    "a refused card put into a release": Damage(
        sql(f"UPDATE release_ranges SET last_serial = last_serial + 1 WHERE order_pk = {_ORDER_A} AND first_serial = 1"),
        "never ready", False,
    ),
    "a release deleted": Damage(
        sql(f"DELETE FROM release_ranges WHERE order_pk = {_ORDER_D}",
            f"DELETE FROM order_files WHERE order_pk = {_ORDER_D}"), "in no release", False,
    ),
    "what a night wrote for an order forgotten": Damage(
        sql(f"DELETE FROM order_files WHERE order_pk = {_ORDER_D}"), "no release file has", False
    ),
    "the figure of an order's confirmed cards changed": Damage(
        sql("UPDATE orders SET confirmed = 0 WHERE customer_order_id = 'D'"), "confirmed", False
    ),
    "the figures of a BTN changed": Damage(sql("UPDATE btns SET used = used + 1"), "BTNs", False),
    "the figures of a night changed": Damage(sql("UPDATE night_figures SET cards = cards + 1"), "figures of nights", False),
    "the outcome of a Block changed": Damage(
        sql("UPDATE card_actions SET outcome = 0 WHERE settled_event > 0 AND missed_event = 0"), "wait for nothing", False
    ),
    "what was written forgotten": Damage(
        sql("DELETE FROM outbox_files WHERE event = (SELECT event FROM events WHERE file_name = 'plain.csv') "
            "AND name = 'confirmation.csv'"), "did not write", False,
    ),
}  # fmt: skip
DAMAGES: Final[dict[str, Damage]] = {**OUTBOX, **REGISTRY}
