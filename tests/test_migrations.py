"""Registries of earlier versions: brought up to date once and whole, on both databases, whatever comes in between."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from pipelines.common.errors import CardsError
from pipelines.registry import audit, limits
from pipelines.registry.database import POSTGRESQL, SQLITE, Database
from pipelines.registry.migrations import MIGRATIONS, VERSION, pending, prepare
from pipelines.registry.store import Registry, open_registry
from tests.conftest import NewRegistry, sampled
from tests.registries import connect, content, put_version, structure

NAMES = list(MIGRATIONS)
Content = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def version_1(registry_url: str) -> str:
    """A registry of version 1, of which acme has a BTN+4 order."""
    put_version(1, registry_url)
    return registry_url


def execute(url: str, *statements: str) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def migrations_of(url: str) -> dict[str, str]:
    with open_registry(url) as registry:
        assert pending(registry) == []
        rows = registry.query("SELECT name, applied_at FROM migrations", {"name": pl.String, "applied_at": pl.String})
        assert registry.query("SELECT version FROM version", {"version": pl.Int64})["version"].to_list() == [VERSION]
    return dict(rows.iter_rows())


@pytest.mark.parametrize("version", [1, 3, 7, 8, 9, 10])
def test_a_migrated_registry_is_as_a_new_one(version: int, registry_url: str, new_registry: NewRegistry) -> None:
    put_version(version, registry_url)
    before = content(registry_url)
    times = migrations_of(registry_url)
    with new_registry() as fresh:
        assert list(migrations_of(fresh)) == list(times) == NAMES
        assert structure(registry_url) == structure(fresh)
    assert all(datetime.fromisoformat(time).tzinfo for time in times.values())
    after = content(registry_url)
    kept = ("access_numbers", "findings")
    assert {table: after[table] for table in kept} == {table: before[table] for table in kept}
    assert [row[:5] for row in after["accounts"]] == [row[:5] for row in before["accounts"]]
    assert (_cards_of_version_1(before) if version < 4 else _cards(before)) == _cards(after)
    for old, new in _RENAMED.items():
        assert len(after[new]) == len(before[old if version < 4 else new]), new
    with open_registry(registry_url) as registry:
        assert audit.integrity(registry) == []
        assert audit.disagreements(registry) == {}


_RENAMED = {"events": "events", "orders": "orders", "codes": "numbers", "touches": "card_actions", "moves": "state_transitions",
            "repeats": "duplicate_orders", "wishes": "row_keys", "guesses": "taken_code_attempts", "rejected": "rejected_rows",
            "replacements": "replacements", "unexpected": "unexpected_codes"}  # fmt: skip


def _cards_of_version_1(tables: Content) -> dict[Any, Any]:
    """What a registry of versions 1 to 3 says of each code: its order, its state, its place in the order (by event and
    code), its changes of state, the orders that take it and what came of them, and the code that replaces it.
    """
    places: dict[Any, list[Any]] = {}
    for code, order, event, _ in tables["codes"]:
        places.setdefault(order, []).append((event, code))
    new = {replaced: code for _, code, replaced in tables["replacements"]}
    return {
        code: (
            order,
            state if order else None,
            sorted(places[order]).index((event, code)) + 1 if order else 0,
            sorted((event, was, state) for event, other, _, was, state in tables["moves"] if other == code),
            sorted((taking, done, settled) for taking, other, done, settled in tables["touches"] if other == code),
            new.get(code),
        )
        for code, order, event, state in tables["codes"]
    }


def _cards(tables: Content) -> dict[Any, Any]:
    """The same of a registry of this version."""
    states = {(order, serial): (code, state) for order, serial, code, state in tables["cards"]}
    new = {(order, old): states[order, serial][0] for order, old, serial, _ in tables["replacements"]}
    return {
        code: (
            order,
            states[order, serial][1] if order else None,
            serial,
            sorted((event, was, state) for *card, event, was, state in tables["state_transitions"] if card == [order, serial]),
            sorted((row[0], *row[3:5]) for row in tables["card_actions"] if row[1:3] == (order, serial)),
            new.get((order, serial)),
        )
        for code, order, serial in tables["numbers"]
    }


def test_each_migration_is_applied_once(version_1: str) -> None:
    first = migrations_of(version_1)
    assert migrations_of(version_1) == first


def test_a_btn_belongs_to_the_account_of_the_earliest_order_with_a_pin_under_it(version_1: str) -> None:
    columns = "order_no, event, order_id, account, number, order_ref, action, service_type, product, access_number, origin, "
    columns += "termination, comments, code_type, content, rows, cards, awaiting, since"
    orders = [(91, "20098765", "BTN+4"), (92, "10023456", "BTN+4"), (93, "10023456", "Random")]
    codes = [(92, 20155501420007), (91, 20155501429871), (91, 20155501419871), (93, 20155501439871), (0, 20155501449871)]
    execute(
        version_1,
        *(f"INSERT INTO orders ({columns}) VALUES ({number}, 1, 'I-{number}', '{account}', {number}, 'R-{number}', 'Add', "
          f"'', '', '', '', '', '', '{kind}', '', 0, 0, 0, '')" for number, account, kind in orders),
        *(f"INSERT INTO codes VALUES ({code}, {number}, 1, 0)" for number, code in codes),
    )  # fmt: skip
    with open_registry(version_1) as registry:
        owners = dict(registry.query("SELECT btn, account FROM btns", {"btn": pl.Int64, "account": pl.String}).iter_rows())
        theirs = registry.query(
            "SELECT DISTINCT cards.code / 10000 AS btn FROM cards JOIN orders ON orders.order_pk = cards.order_pk "
            "WHERE orders.customer_order_id = 'C'", {"btn": pl.Int64}
        )["btn"]  # fmt: skip
    assert owners == {2015550142: "20098765", 2015550141: "20098765", **dict.fromkeys(theirs, "10023456")}
    assert len(theirs) == 1


def test_who_is_held_by_the_rule_of_version_1_is_on_hold(version_1: str) -> None:
    execute(
        version_1,
        "INSERT INTO findings VALUES (9, 0, '', 'FILE_HELD', ''), (13, 0, '', 'FILE_HELD', '')",
        "INSERT INTO findings VALUES (2, 0, '', 'FILE_HELD', '')",  # globex was released since
        "INSERT INTO guesses VALUES (14, 'globex', '2026-10-05', -1)",
    )
    with open_registry(version_1) as registry:
        holds = limits.holds_of(registry, pl.Series(["acme", "globex", "house"])).rows()
    assert holds == [("acme", "2026-10-05T09:30:00-06:00", limits.TOO_MANY_TAKEN_CODES)]


@pytest.fixture
def tries(version_1: str) -> Iterator[Callable[..., None]]:
    """Has the registry of version 1 prepared with migrations beyond those of the program."""

    def prepare_with(**more: Callable[[Database], None]) -> None:
        with Registry(version_1, SQLITE if version_1.startswith("sqlite") else POSTGRESQL) as registry:
            prepare(registry, {**MIGRATIONS, **more}, lambda: "2027-01-02T03:04:05+00:00")

    return prepare_with


def test_a_migration_that_fails_leaves_nothing_and_is_tried_again(version_1: str, tries: Callable[..., None]) -> None:
    def create(database: Database) -> None:
        database.create_table("more", {"one": pl.Int64})

    def create_twice(database: Database) -> None:
        create(database)
        create(database)

    migrations_of(version_1)
    before = (structure(version_1), content(version_1))
    with pytest.raises(CardsError):
        tries(later=create_twice)
    assert (structure(version_1), content(version_1)) == before
    tries(later=create)
    tries(later=create)
    assert content(version_1)["more"] == []
    assert ("later", "2027-01-02T03:04:05+00:00") in content(version_1)["migrations"]
    with pytest.raises(CardsError, match=f"has version {VERSION + 1} and this program knows {VERSION}. Update the program"):
        open_registry(version_1)


def test_of_several_migrations_those_before_a_failed_one_stay(version_1: str, tries: Callable[..., None]) -> None:
    def fail(database: Database) -> None:
        database.execute("INSERT INTO no_such_table VALUES (1)")

    with pytest.raises(CardsError):
        tries(first=lambda database: database.create_table("more", {"one": pl.Int64}), second=fail)
    assert [name for name, _ in content(version_1)["migrations"]] == sorted([*NAMES, "first"])


@pytest.mark.one_database
@pytest.mark.parametrize("apart", sampled([4, 25], 25))
def test_a_process_that_is_killed_half_way_leaves_a_registry_that_the_next_one_migrates(
    apart: int, version_1: str, new_registry: NewRegistry
) -> None:
    """At statements so many apart."""

    def die_before(statement: int) -> int:
        command = [sys.executable, "-m", "tests.registries.migrate", version_1, str(statement)]
        return subprocess.run(command, check=False).returncode

    steps = [(structure(version_1), content(version_1))]
    for statement in range(1, 400, apart):
        ended = die_before(statement)
        now = (structure(version_1), content(version_1))
        if now != steps[-1]:
            steps.append(now)
        if ended == 0:
            break
        assert ended == -9
        applied = len(now[1].get("migrations", []))
        assert now[1]["version"] == [(1 + applied,)]
    else:
        pytest.fail("it never came to an end")
    assert 2 <= len(steps) <= 1 + len(MIGRATIONS)  # a registry of version 1 for most of the way, then of the next
    with new_registry() as fresh:
        open_registry(fresh).close()
        assert structure(version_1) == structure(fresh)


def test_processes_that_open_a_registry_of_version_1_at_once_migrate_it_once(version_1: str) -> None:
    command = [sys.executable, "-m", "tests.registries.migrate", version_1, "1000"]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    assert list(migrations_of(version_1)) == NAMES
    assert len(content(version_1)["migrations"]) == len(NAMES)


def test_a_new_registry_that_several_processes_open_at_once_is_made_once(registry_url: str) -> None:
    command = [sys.executable, "-m", "tests.registries.migrate", registry_url, "1000"]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert list(migrations_of(registry_url)) == NAMES


def test_the_program_of_version_1_refuses_a_migrated_registry(version_1: str) -> None:
    migrations_of(version_1)
    assert content(version_1)["version"] == [(VERSION,)]  # it compares this with its own 1
    assert VERSION > 1


def test_what_was_released_before_is_one_release_of_its_order(registry_url: str) -> None:
    """And stays in the file that is there; what a report brought that no night has acted on is still to be released."""
    put_version(7, registry_url)
    before = content(registry_url)
    with open_registry(registry_url) as registry:
        released = registry.query(
            """
            SELECT release_ranges.order_pk, CAST(sum(last_serial - first_serial + 1) AS BIGINT) AS cards, part
            FROM release_ranges JOIN order_files ON order_files.order_pk = release_ranges.order_pk
            GROUP BY release_ranges.order_pk, part
            """,
            {"order_pk": pl.Int64, "cards": pl.Int64, "part": pl.Int64},
        )
    ever_ready = Counter(order for order, _, _, state in before["cards"] if state in (1, 3, 4))
    unwritten = {event for event, kind, *rest in before["events"] if kind == "report" and rest[-2] == 0}
    assert {row[2] for row in before["state_transitions"]}.isdisjoint(unwritten)
    assert sum(ever_ready.values()) > 3
    assert released.sort("order_pk").rows() == [(order, cards, 0) for order, cards in sorted(ever_ready.items())]
