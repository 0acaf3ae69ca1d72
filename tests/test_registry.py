"""The registry's own promises, on both databases: unique codes, whole transactions, errors that name no code."""

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.common.errors import CardsError, ConflictError, TransientError
from pipelines.delivery.written_files import NONE
from pipelines.registry import database, limits
from pipelines.registry.columns import columns_of, integer, text
from pipelines.registry.db_errors import translate_db_errors
from pipelines.registry.migrations import VERSION, prepare
from pipelines.registry.records import IngestBatch
from pipelines.registry.schema import ORDER, TABLES
from pipelines.registry.store import Registry, open_registry
from schemas.codes import STATES, CardState
from schemas.findings import NO_FINDINGS, findings
from schemas.orders import NAMES
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, NewRegistry, some_codes

CODES = [int(code) for code in some_codes(6)]


@pytest.fixture(scope="module")
def url(new_registry: NewRegistry) -> Iterator[str]:
    with new_registry() as made:
        yield made


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """An empty registry."""
    with open_registry(url) as made:
        for table in TABLES.keys() - {"audit_entries"}:  # which refuses that
            made.execute(f"DELETE FROM {table}")
        yield made


def placed(
    ref: str = "A1", codes: list[int] | None = None, digest: str = "", orders: int = 1, account: str = "10023456",
    btns: Iterable[tuple[int, int, str]] = (),
) -> IngestBatch:  # fmt: skip
    """A file with one order (or more, alike) that takes these codes, and PINs of these BTNs (order, BTN, account)."""
    of_order = {name: kind for name, kind in ORDER.items() if name not in ("order_pk", "event", "order_id", "order_sequence")}
    fields: dict[str, Any] = {name: "" if kind == pl.String else 0 for name, kind in of_order.items()}
    fields |= {
        "account": account,
        "customer_order_id": ref,
        "action": "Add",
        "code_type": "Specified",
        "cards": len(codes or []),
    }
    event = {"kind": "orders", "source": "acme", "digest": digest or ref, "file_name": f"{ref}.csv", "rows": 1, "notes": "",
             "at": "2026-10-05T09:30:00-06:00", "readable": 1, "final": 1, "replays": 0, "original_event": 0}  # fmt: skip
    number = pl.Schema({"order": pl.UInt32})

    def frame(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(rows, {"file": pl.Int64, **schema})

    return IngestBatch(
        events=pl.DataFrame([{"file": 0, **event}]),
        orders=frame([{"file": 0, "order": number, **fields} for number in range(orders)], {**number, **of_order}),
        codes=pl.DataFrame([{"order": 0, "code": code} for code in codes or []], {**number, "code": pl.Int64}),
        card_actions=pl.DataFrame(schema={**number, "code": pl.Int64}),
        row_keys=pl.DataFrame(schema={**number, "row_key": pl.String}),
        duplicate_orders=frame([], {"order_pk": pl.Int64, "rows": pl.Int64}),
        taken_code_attempts=frame([], {"codes": pl.Int64}),
        rejected=frame([], {"source_row": pl.UInt32, **dict.fromkeys(NAMES, pl.String)}),
        findings=NO_FINDINGS,
        btns=pl.DataFrame(btns, {**number, "btn": pl.Int64, "account": pl.String}, orient="row"),
        usage=pl.DataFrame({"file": [0], "files": [1], "bytes": [1_000], "parse_ms": [20]}),
        on_hold=frame([], {}),
    )


def held(registry: Registry) -> list[int]:
    return registry.query("SELECT code FROM numbers ORDER BY code", {"code": pl.Int64})["code"].to_list()


def counts(registry: Registry) -> dict[str, int]:
    return {table: registry.query(f"SELECT count(*) AS n FROM {table}", {"n": pl.Int64}).item() for table in TABLES}


def test_a_code_is_entered_once_whatever_is_put_in(registry: Registry) -> None:
    registry.commit(placed("A1", CODES[:2]))
    for again in ([CODES[1]], [CODES[2], CODES[0]], [CODES[3], CODES[1], CODES[4]]):
        before = counts(registry)
        with pytest.raises(ConflictError):
            registry.commit(placed("A2", again))
        assert counts(registry) == before
    registry.import_codes(pl.Series([CODES[5], CODES[0]]))
    with pytest.raises(ConflictError):
        registry.commit(placed("A2", [CODES[5]]))
    assert held(registry) == sorted([*CODES[:2], CODES[5]])


def test_a_code_twice_in_one_file_is_a_bug_that_enters_nothing_and_is_reported_without_it(registry: Registry) -> None:
    with pytest.raises(CardsError) as error:
        registry.commit(placed("A1", [CODES[0], CODES[1], CODES[0]]))
    assert str(CODES[0]) not in str(error.value)
    assert set(counts(registry).values()) == {0}


def test_an_order_id_of_a_customer_is_used_once(registry: Registry) -> None:
    registry.commit(placed("A1", digest="one"))
    with pytest.raises(ConflictError):
        registry.commit(placed("A1", digest="two"))
    registry.commit(placed("A1", digest="three", account="20098765"))
    assert counts(registry)["orders"] == 2


def test_a_file_is_answered_once(registry: Registry) -> None:
    entered = registry.commit(placed("A1", digest="same"))
    assert registry.commit(placed("A2", digest="same")) == {}  # somebody is about to answer it
    registry.mark_delivered(list(entered.values()), NONE)
    with pytest.raises(ConflictError) as conflict:
        registry.commit(placed("A2", digest="same"))
    assert conflict.value.files == {0}
    assert counts(registry)["events"] == 1


def test_of_many_files_those_are_named_that_want_what_is_there(registry: Registry) -> None:
    registry.commit(placed("A1", CODES[:1]))
    files = [placed("A2", CODES[1:2]), placed("A3", CODES[:1]), placed("A1", digest="A4"), placed("A5", CODES[2:3])]
    numbered = []
    for file, one in enumerate(files):
        order = {"order": pl.lit(file, pl.UInt32)}
        frames = (frame.with_columns(file=pl.lit(file)) if "file" in frame.columns else frame for frame in one)
        numbered.append(IngestBatch(*(frame.with_columns(**order) if "order" in frame.columns else frame for frame in frames)))
    together = IngestBatch(*map(pl.concat, zip(*numbered, strict=True)))
    with pytest.raises(ConflictError) as conflict:
        registry.commit(together)
    assert conflict.value.files == {1, 2}
    assert set(registry.commit(together.of({0, 3}), lambda file: file != 3)) == {0}  # the last has vanished
    assert held(registry) == sorted(CODES[:2])


def test_folders_of_files_of_one_name_and_second_have_names_of_their_own(registry: Registry) -> None:
    for digest in "abc":
        registry.commit(
            placed(digest, digest=digest)._replace(
                events=placed(digest).events.with_columns(file_name=pl.lit("same.csv"), digest=pl.lit(digest))
            )
        )
    folders = registry.query("SELECT folder FROM events ORDER BY event", {"folder": pl.String})["folder"].to_list()
    assert folders == ["20261005-093000-same", "20261005-093000-same~2", "20261005-093000-same~3"]


def test_of_two_workers_that_want_one_code_one_has_it(url: str, registry: Registry) -> None:
    result: list[str] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        with open_registry(url) as mine:
            start.wait()
            for turn in range(5):
                try:
                    mine.commit(placed(f"W{number}-{turn}", [CODES[turn]]))
                    result.append("placed")
                except ConflictError:
                    result.append("conflict")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (result.count("placed"), result.count("conflict")) == (5, 15)
    assert held(registry) == sorted(CODES[:5])


def test_order_ids_count_up_in_each_account(registry: Registry) -> None:
    for number, account in enumerate(["10023456", "20098765", "10023456"]):
        registry.commit(placed(f"A{number}", account=account))
    ids = registry.query("SELECT order_id FROM orders ORDER BY order_pk", {"order_id": pl.String})["order_id"].to_list()
    assert ids == ["10023456-1", "20098765-1", "10023456-2"]


def test_nothing_stays_of_a_transaction_that_breaks(registry: Registry) -> None:
    def work() -> None:
        with registry.transaction():
            registry.append("numbers", pl.DataFrame({"code": CODES, "order_pk": 0, "serial": 0}))
            assert len(held(registry)) == len(CODES)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert held(registry) == []
    registry.commit(placed("A1", CODES[:1]))
    assert held(registry) == CODES[:1]


def test_nothing_stays_when_the_connection_is_closed_within_a_transaction(url: str, registry: Registry) -> None:
    other = open_registry(url)

    def work() -> None:
        with other.transaction():
            other.append("numbers", pl.DataFrame({"code": CODES, "order_pk": 0, "serial": 0}))
            other.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert held(registry) == []


def test_a_catalogue_that_can_not_be_entered_leaves_the_one_before(registry: Registry) -> None:
    registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS)
    with pytest.raises(CardsError):
        registry.load_catalogue(ACCOUNTS, ACCESS_NUMBERS.with_columns(pl.lit(None, pl.String).alias("description")))
    accounts, access = registry.catalogue()
    assert (len(accounts), len(access)) == (len(ACCOUNTS), len(ACCESS_NUMBERS))


def test_an_answer_can_be_read_as_it_was_entered(registry: Registry) -> None:
    event = registry.commit(placed("A1", CODES))[0]
    answers = registry.submission_records([event])
    assert answers.codes["code"].to_list() == sorted(CODES)
    assert answers.orders["customer_order_id"].to_list() == ["A1"]
    assert registry.undelivered() == [event]
    registry.mark_delivered([event], NONE)
    assert registry.undelivered() == []
    assert registry.original_events(pl.DataFrame({"source": ["acme", "globex"], "digest": ["A1", "A1"]}))[
        "event"
    ].to_list() == [event]


def test_what_is_wrong_with_a_file_can_be_read_as_it_was_entered(registry: Registry) -> None:
    row = {"file": 0, "source_row": 7, **dict.fromkeys(NAMES, ""), "customer_order_id": "A2", "code": "12"}
    batch = placed("A1", CODES[:1])
    wrong = findings([(7, "code", "CODE_FORMAT", "12"), (7, "", "ORDER_INCOMPLETE", ""), (0, "", "FILE_TOO_LARGE", "much")])
    event = registry.commit(batch._replace(rejected=pl.DataFrame([row], batch.rejected.schema), findings=wrong))[0]
    answers = registry.submission_records([event])
    assert answers.rejected.drop("event").rows(named=True) == [{name: cell for name, cell in row.items() if name != "file"}]
    assert sorted(answers.findings.select("source_row", "column", "reason", "value").rows()) == [
        (0, "", "FILE_TOO_LARGE", "much"), (7, "", "ORDER_INCOMPLETE", ""), (7, "code", "CODE_FORMAT", "12"),
    ]  # fmt: skip


def test_a_btn_belongs_to_the_account_of_the_first_order_and_others_are_refused(registry: Registry) -> None:
    mine = [(0, 3035550142, "10023456")]
    registry.commit(placed("A1", CODES[:1], btns=mine))
    registry.commit(placed("A2", CODES[1:2], btns=mine))
    before = counts(registry)
    theirs = placed("A3", CODES[2:3], account="20098765", btns=[(0, 2015550142, "20098765"), (0, 3035550142, "20098765")])
    with pytest.raises(ConflictError) as conflict:
        registry.commit(theirs)
    assert conflict.value.files == {0}
    assert counts(registry) == before
    assert limits.btn_owners(registry, pl.Series([3035550142, 2015550142])).rows() == [(3035550142, "10023456")]


def test_files_bytes_codes_and_seconds_are_counted_of_what_is_entered_alone(registry: Registry) -> None:
    registry.commit(placed("A1", CODES[:2]))
    registry.commit(placed("A2", CODES[2:5]))
    assert registry.commit(placed("A3", CODES[5:]), lambda _: False) == {}  # it has vanished
    used = limits.usage_of(registry, pl.Series(["acme", "globex"]), "2026-10-05")
    assert used.rows() == [("acme", "2026-10-05", 5, 2, 2_000, 40), ("globex", "2026-10-05", 0, 0, 0, 0)]


def test_the_source_of_a_held_file_is_on_hold_from_then_on(registry: Registry) -> None:
    batch = placed("A1")
    held_file = batch._replace(on_hold=pl.DataFrame({"file": [0]}, batch.on_hold.schema))
    registry.commit(held_file, lambda _: False)
    assert not limits.is_on_hold(registry, "acme")
    registry.commit(held_file)
    assert limits.is_on_hold(registry, "acme")
    assert registry.clear_hold("acme", "2026-10-05T10:00:00-06:00") == (True, 0)
    assert not limits.is_on_hold(registry, "acme")


def test_codes_are_found_among_any_number(registry: Registry) -> None:
    registry.import_codes(pl.Series(CODES[:3]))
    assert sorted(registry.existing_codes(pl.Series([*CODES, *range(10**13, 10**13 + 50_000)]))) == sorted(CODES[:3])
    assert registry.existing_codes(pl.Series([], dtype=pl.Int64)).to_list() == []
    assert registry.import_codes(pl.Series([], dtype=pl.Int64)) == 0


def test_codes_under_a_btn_are_just_those(registry: Registry) -> None:
    codes = [30355501419999, 30355501420000, 30355501429999, 30355501430000]
    registry.import_codes(pl.Series(codes))
    assert sorted(registry.codes_under(pl.Series([3035550142]))["code"]) == codes[1:3]


def test_a_registry_of_a_newer_program_is_refused_with_words(registry: Registry) -> None:
    registry.execute(f"UPDATE version SET version = {VERSION + 1}")
    try:
        with pytest.raises(CardsError, match=f"has version {VERSION + 1} and this program knows {VERSION}. Update the program"):
            prepare(registry)
    finally:
        registry.execute(f"UPDATE version SET version = {VERSION}")
    prepare(registry)


def test_columns_of_a_query_are_found_by_name(registry: Registry) -> None:
    registry.import_codes(pl.Series(CODES[:1]))
    schema = {"state": pl.Int64, "code": pl.Int64}
    rows = registry.query("SELECT code, order_pk + 5 AS state FROM numbers", schema).rows(named=True)
    assert rows == [{"state": 5, "code": CODES[0]}]
    columns = {"State": text("'of ' || order_pk"), "code": integer("numbers.code"), **columns_of("numbers", "serial")}
    assert registry.select(columns, "FROM numbers").rows(named=True) == [{"State": "of 0", "code": CODES[0], "serial": 0}]
    given = pl.DataFrame({"code": CODES})
    found = registry.select_with(given, columns, "FROM given JOIN numbers ON numbers.code = given.code")
    assert found.schema == {"State": pl.String, "code": pl.Int64, "serial": pl.Int64}
    assert len(found) == 1
    assert registry.select_with(given.clear(), columns, "").schema == found.schema


@pytest.mark.parametrize("few_cells", [database.FEW_CELLS, 0])
def test_few_rows_and_many_are_given_to_a_query_alike(
    few_cells: int, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "FEW_CELLS", few_cells)
    texts = ["it's", '"', "$1", "é;--", "", " 7 ", "\n", "0", "CAST(1)", "NULL", "?", "$10"]
    frame = pl.DataFrame({"code": range(10**13, 10**13 + 12), "words": texts, "row": range(12)})
    frame = frame.with_columns(pl.col("row").cast(pl.UInt32))
    columns = {"code": integer("given.code"), "words": text("given.words"), "row": integer("given.row + 1")}
    found = registry.select_with(frame, columns, "FROM given ORDER BY given.code")
    assert found.rows() == [(code, words, row + 1) for code, words, row in frame.iter_rows()]
    frame = frame.with_columns(words=pl.when(pl.col("row") > 1).then("words"))
    assert registry.select_with(frame, columns, "FROM given ORDER BY given.code")["words"].to_list() == frame["words"].to_list()


@pytest.mark.parametrize(
    "select", ["code, serial", "code", "code, state, serial", "code, state AS card_state", "code, state, state"]
)
def test_a_query_with_other_columns_than_declared_is_a_bug(select: str, registry: Registry) -> None:
    with pytest.raises(ValueError, match="and not \\['code', 'state'\\]"):
        registry.query(f"SELECT {select} FROM cards", {"code": pl.Int64, "state": pl.Int64})


def test_states_have_the_numbers_of_their_words() -> None:
    assert {state.word: state.value for state in CardState} == {word: number for number, word in enumerate(STATES)}


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO numbers VALUES ({0}, 0, 0), ({0}, 0, 0)",
        "SELECT no_such_column, {0} FROM numbers",
        "SELEC {0}",
        "INSERT INTO no_such_table VALUES ({0})",
        "INSERT INTO numbers (code) VALUES ({0})",
    ],
)
def test_what_a_database_says_never_holds_a_code(sql: str, registry: Registry) -> None:
    with pytest.raises(CardsError) as error, translate_db_errors():
        registry.execute(sql.format(CODES[0]))
    seen: BaseException | None = error.value
    assert str(CODES[0]) not in str(seen)
    assert seen
    assert seen.__suppress_context__  # what is printed of it ends here
    assert "\n" not in str(seen)


def test_a_lost_connection_is_reported_as_one_of_ours(url: str, registry: Registry) -> None:
    other = open_registry(url)
    other.close()
    with pytest.raises(CardsError):
        other.commit(placed("A1", CODES))
    assert held(registry) == []


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("cards:hush@127.0.0.1:1/codes", "127.0.0.1, port 1, database codes, user cards: the connection is refused (is"),
        ("cards:hush@[::1]:1/codes", "[::1], port 1, database codes, user cards: the connection is refused (is"),
        ("cards:hush@no-such-host.invalid/codes", "no-such-host.invalid, port 5432, database codes, user cards: the host is"),
        ("cards:hush@127.0.0.1:1,127.0.0.1:2", "127.0.0.1, port 1 or 127.0.0.1, port 2, user cards: the connection is refused"),
        ("/codes?host=/no/socket&port=7&user=cards&password=hush", "/no/socket, port 7, database codes, user cards: there is"),
        ("cards:hu%40hush@127.0.0.1:1", "127.0.0.1, port 1, user cards: the connection is refused"),
        ("cards:hu@hush@127.0.0.1:1/codes", "the address in CARDS_REGISTRY: the host is unknown. It is tried again with"),
        ("%6Eobody%0A@127.0.0.1:1", "127.0.0.1, port 1, user nobody: the connection is refused"),
    ],
)  # fmt: skip
def test_a_server_that_is_away_is_named_with_the_cause_and_may_come_back(url: str, result: str) -> None:
    with pytest.raises(TransientError) as error:
        open_registry(f"postgresql://{url}")
    assert str(error.value).startswith(f"The registry can't be opened: PostgreSQL at {result}")
    assert "hush" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("cards:hush%zz@127.0.0.1:1/codes", "127.0.0.1, port 1, database codes, user cards: the address is not valid."),
        ("cards@127.0.0.1:1/codes?hush=1", "127.0.0.1, port 1, database codes, user cards: the address is not valid."),
        (
            "cards:hush/hush@127.0.0.1:1/codes",
            "the address in CARDS_REGISTRY: the address is not valid. In CARDS_REGISTRY, wri",
        ),
        ("cards:12?hush@127.0.0.1:1/codes", "the address in CARDS_REGISTRY: "),
    ],
)
def test_an_address_that_is_not_valid_is_reported_without_its_password(url: str, result: str) -> None:
    with pytest.raises(CardsError) as error:
        open_registry(f"postgresql://{url}")
    assert str(error.value).startswith(f"The registry can't be opened: PostgreSQL at {result}")
    assert "hush" not in str(error.value)


def test_how_a_password_is_written_is_reported_with_an_ambiguous_address() -> None:
    with pytest.raises(TransientError, match=r"write @ : / . # % in a password as %40 %3A %2F %3F %23 %25[.]$"):
        open_registry("postgresql://cards:hu@hush@127.0.0.1:1/codes")


def test_a_server_that_does_not_answer_is_reported_as_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with pytest.raises(TransientError, match=f"127.0.0.1, port {port}, user cards: there is no answer .timeout."):
            open_registry(f"postgresql://cards:hush@127.0.0.1:{port}?connect_timeout=2")


def test_a_file_that_can_not_be_a_registry_is_named_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "noise.db").write_bytes(b"noise" * 1000)
    for name, cause in (
        ("absent/registry.db", "does not exist"),
        ("", "Is a directory"),
        ("noise.db", "file is not a database"),
    ):
        with pytest.raises(CardsError, match=f"{tmp_path}.* {cause}"):
            open_registry(f"sqlite:///{tmp_path / name}")


def test_an_error_in_the_middle_of_the_work_names_the_registry(url: str, registry: Registry) -> None:
    with pytest.raises(CardsError) as error:
        registry.execute("INSERT INTO no_such_table VALUES (1)")
    where = url.removeprefix("sqlite:///") if url.startswith("sqlite") else "PostgreSQL at "
    assert str(error.value).startswith(f"The registry ({where}")
