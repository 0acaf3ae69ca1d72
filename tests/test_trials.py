"""Files in the folder `check` are answered with every reason, and nothing of them is placed or kept in the registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from pipelines import process_orders
from pipelines.admin import audit, retention, setup
from pipelines.intake import inbox
from pipelines.registry.schema import TABLES
from tests.conftest import EXTERNAL, NewRegistry, Shop, csv_of, read_csv, row, sampled, shared_parser, some_codes, xlsx_of
from tests.faults.killing import environment
from tests.faults.worker import Worker
from tests.test_orders import globex

pytestmark = pytest.mark.one_database

CHARGED = ("usage", "taken_code_attempts", "holds", "claims")
"""What a trial may change: what it cost its source, and that it was in hand."""
KILLED = -9


def try_(shop: Shop, content: bytes, name: str = "orders.csv", source: str = "acme") -> Path:
    """Drop a file to be tried."""
    folder = shop.settings.inbox if source == "house" else shop.settings.inbox / source
    (folder / "check").mkdir(exist_ok=True)
    return shop.drop(f"check/{name}", content, source)


def tables(shop: Shop, but: tuple[str, ...] = CHARGED) -> dict[str, list[Any]]:
    """All rows of the registry's tables."""
    return {
        name: sorted(shop.registry.query(f"SELECT * FROM {name}", dict(schema)).rows())
        for name, schema in TABLES.items() if name not in but
    }  # fmt: skip


def folder_of(shop: Shop, source: str = "acme") -> Path:
    """The one answer to a trial."""
    (found,) = (shop.settings.outbox / source / "check").iterdir()
    return found


def rejections(folder: Path) -> bytes:
    return (folder / "rejections.csv").read_bytes() if (folder / "rejections.csv").exists() else b""


ROWS = [
    row("GOOD", quantity="3"),
    row("CHOSEN", code=some_codes(1)[0]),
    row("TAKEN", code=str(EXTERNAL[0])),
    row("FOREIGN", account="20098765", quantity="1"),
    row("FORMAT", quantity="none"),
]


def test_a_trial_says_what_would_become_of_a_file_and_places_nothing(shop: Shop) -> None:
    before = tables(shop)
    try_(shop, csv_of(*ROWS))
    (result,) = (answer.result for answer in shop.run())
    assert (result["trial"], result["orders_placed"], result["codes_placed"], result["orders_placeable"]) == (True, 0, 0, 2)
    assert (result["orders_rejected"], result["rows_rejected"], result["rows"]) == (3, 3, 5)
    assert tables(shop) == before
    assert shop.waiting() == []
    assert len(shop.placements()) == 0
    folder = folder_of(shop)
    assert folder == shop.settings.home / result["folder"]
    assert folder.name.endswith("-orders-TRIAL")
    assert (folder / "orders.csv").read_bytes() == csv_of(*ROWS)
    assert read_csv(folder / "trial.csv").select("Customer Order ID", "State", "Order ID", "Cards").rows() == [
        ("GOOD", "would be placed", "", "3"),
        ("CHOSEN", "would be placed", "", "1"),
    ]
    summary = load_workbook(folder / "trial.xlsx").worksheets[0]
    assert summary["A1"].value == "TRIAL: nothing was placed"
    counts = {line[0]: line[1] for line in summary.values if line[0]}
    assert (counts["Orders that would be placed"], counts["Codes that would be issued"]) == (2, 4)
    assert not any(path.name.startswith("confirmation") for path in folder.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


@pytest.mark.parametrize("made", [csv_of, xlsx_of], ids=["csv", "xlsx"])
def test_the_rejections_of_a_trial_are_those_of_the_real_run(made: Any, shop: Shop) -> None:
    shop.send(row("EARLIER", quantity="1"), name="earlier.csv")
    rows = [*ROWS, row("EARLIER", quantity="1"), row("EARLIER", quantity="2")]
    name = "orders.csv" if made is csv_of else "orders.xlsx"
    try_(shop, made(*rows), name)
    shop.run()
    shop.drop(name, made(*rows))
    (real,) = shop.run()
    tried, answered = folder_of(shop), real.folder
    assert rejections(tried) == rejections(answered) != b""
    theirs, ours = (load_workbook(path / "rejections.xlsx") for path in (answered, tried))
    assert [[list(line) for line in sheet.iter_rows(values_only=True)] for sheet in ours] == [
        [list(line) for line in sheet.iter_rows(values_only=True)] for sheet in theirs
    ]


def test_what_was_placed_before_is_named_with_its_order_id(shop: Shop) -> None:
    shop.send(row("A", quantity="2"), name="a.csv")
    try_(shop, csv_of(row("A", quantity="2"), row("B", quantity="1")))
    (result,) = (answer.result for answer in shop.run())
    assert (result["orders_already_placed"], result["orders_placeable"]) == (1, 1)
    rows = read_csv(folder_of(shop) / "trial.csv").select("Customer Order ID", "State", "Order ID").rows()
    assert rows == [("B", "would be placed", ""), ("A", "already placed", "10023456-1")]


def test_a_file_that_was_placed_is_tried_again_as_a_whole(shop: Shop) -> None:
    shop.send(row("A", quantity="2"))
    try_(shop, csv_of(row("A", quantity="2")))
    (result,) = (answer.result for answer in shop.run())
    assert (result["trial"], result["orders_already_placed"], result["orders_placeable"]) == (True, 1, 0)


def test_the_house_tries_files_in_a_folder_of_its_own(shop: Shop) -> None:
    try_(shop, csv_of(row("A", quantity="2"), globex("B", quantity="1")), source="house")
    (result,) = (answer.result for answer in shop.run())
    assert (result["reseller"], result["trial"], result["orders_placeable"]) == ("house", True, 2)
    assert folder_of(shop, "house").is_dir()


def test_a_file_of_another_kind_is_tried_too(shop: Shop) -> None:
    try_(shop, b"\x00\x01nothing", "what.bin")
    (result,) = (answer.result for answer in shop.run())
    assert (result["trial"], result["reasons"]) == (True, {"FILE_TYPE": 1})


@pytest.mark.parametrize("name", ["trial.csv", "rejections.xlsx", "confirmation.csv"])
def test_the_original_does_not_take_the_name_of_an_answer(name: str, shop: Shop) -> None:
    try_(shop, csv_of(*ROWS), name)
    shop.run()
    assert (folder_of(shop) / f"original-{name}").read_bytes() == csv_of(*ROWS)


# -- what a trial costs ------------------------------------------------------------------------------------------------


def test_trials_use_up_the_budgets_of_files_bytes_and_time_but_not_of_codes(shop: Shop) -> None:
    content = csv_of(row("A", quantity="40"))
    try_(shop, content)
    shop.run()
    usage = shop.registry.query("SELECT * FROM usage", {"reseller": str, "day": str, "codes": int, "files": int, "bytes": int,
                                                        "parse_ms": int}).row(0, named=True)  # fmt: skip
    assert (usage["reseller"], usage["codes"], usage["files"], usage["bytes"]) == ("acme", 0, 1, len(content))
    assert usage["parse_ms"] > 0


def test_past_the_days_files_trials_wait(new_registry: NewRegistry, tmp_path: Path) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_daily_files=2)
        for number in range(4):
            try_(shop, csv_of(row(f"O{number}", quantity="1")), f"{number}.csv")
        assert len(shop.run()) == 2
        assert len(shop.waiting()) == 2
        shop.registry.close()


def test_taken_codes_are_counted_in_trials_too(new_registry: NewRegistry, tmp_path: Path) -> None:
    """A trial is no way to learn more of which codes are taken than the limit of a day allows, also across a lifted hold."""
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_taken_code_attempts=1)
        taken = [str(code) for code in EXTERNAL]

        def probe(name: str, code: str) -> dict[str, int]:
            try_(shop, csv_of(row(name, code=code)), f"{name}.csv")
            (answer,) = shop.run()
            found: dict[str, int] = answer.result["reasons"]
            return found

        assert list(probe("A", taken[0])) == ["CODE_TAKEN"]
        assert "CODE_TAKEN" not in probe("B", taken[1])
        held = shop.send(row("C", code=some_codes(1)[0]), name="c.csv")
        assert "FILE_HELD" in held.result["reasons"], "the hold is real"
        shop.registry.clear_hold("acme", shop.runtime.timestamp())
        assert list(probe("D", taken[0])) == ["CODE_TAKEN"], "a lifted hold forgets the attempts of trials"
        assert "CODE_TAKEN" not in probe("E", taken[1]), "those since count again"
        shop.registry.close()


def test_many_trials_keep_no_other_file_waiting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_orders, "_TRIALS_SECONDS", 0)  # one is decided in a portion
    monkeypatch.setattr(process_orders, "_LOOK_SECONDS", 0)
    for number in range(3):
        try_(shop, csv_of(row(f"O{number}", quantity="1")), f"{number}.csv")
    late: list[Path] = []

    def drop_late(step: str) -> None:
        if step == "charged" and not late:
            late.append(shop.drop("late.csv", csv_of(globex("LATE", quantity="1")), "globex"))

    result = [answer.result["file"] for answer in shop.run(drop_late)]
    assert sorted(result) == ["0.csv", "1.csv", "2.csv", "late.csv"]
    assert result.index("late.csv") < 3


# -- crashes and odd folders -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker")) as started:
        yield started


@pytest.mark.parametrize(
    "step",
    sampled(["read", "decided", "charged", "folder written", "archived"], "charged", "folder written", others=pytest.mark.slow),
)
def test_a_killed_run_leaves_the_file_or_its_answer(step: str, shop: Shop, worker: Worker) -> None:
    before = tables(shop)
    try_(shop, csv_of(*ROWS))
    assert worker.run("run", "--json", environment=environment(shop), kill=step).code == KILLED
    assert worker.run("run", "--json", environment=environment(shop)).code == 0
    assert shop.waiting() == []
    rows = read_csv(shop.settings.outbox / "acme" / "index.csv").select("File", "Answer", "Path", "Orders", "Cards").rows()
    assert rows == [("orders.csv", "trial", f"check/{folder_of(shop).name}/trial.csv", "2", "0")]
    assert sorted(path.name for path in folder_of(shop).iterdir()) == [
        "orders.csv", "rejections.csv", "rejections.xlsx", "trial.csv", "trial.xlsx",
    ]  # fmt: skip
    assert tables(shop, (*CHARGED, "strikes")) == {name: rows for name, rows in before.items() if name != "strikes"}


def test_files_of_one_name_and_second_get_folders_of_their_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = csv_of(row("A", quantity="1")), csv_of(row("B", quantity="1"))
    real = inbox._found
    monkeypatch.setattr(inbox, "_found", lambda *args, **how: real(*args, **how)._replace(ctime_ns=1_760_000_000 * 10**9))
    monkeypatch.setattr(inbox.InboxFile, "is_same", lambda *_: True)
    for content in (first, second):
        try_(shop, content)
        shop.run()
    found = sorted((shop.settings.outbox / "acme" / "check").iterdir())
    assert [path.name[15:] for path in found] == ["-orders-TRIAL", "-orders~2-TRIAL"]
    assert [(path / "orders.csv").read_bytes() for path in found] == [first, second]


def test_files_of_one_stem_in_one_run_get_folders_of_their_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = inbox._found
    monkeypatch.setattr(inbox, "_found", lambda *args, **how: real(*args, **how)._replace(ctime_ns=1_760_000_000 * 10**9))
    monkeypatch.setattr(inbox.InboxFile, "is_same", lambda *_: True)
    for name in ("a.csv", "a.txt"):
        try_(shop, csv_of(row("A", quantity="1")), name)
    assert len(shop.run()) == 2
    assert shop.failures == []
    assert len(list((shop.settings.outbox / "acme" / "check").iterdir())) == 2


def test_links_to_a_folder_of_trials_are_not_followed(shop: Shop) -> None:
    shop.drop("theirs.csv", csv_of(globex("G", quantity="1")), "globex")
    (shop.settings.inbox / "acme" / "check").symlink_to(shop.settings.inbox / "globex")
    assert [answer.result["reseller"] for answer in shop.run()] == ["globex"]


def test_a_real_file_of_the_same_name_and_bytes_is_placed(shop: Shop) -> None:
    content = csv_of(row("A", quantity="1"))
    try_(shop, content)
    shop.drop("orders.csv", content)
    result = [answer.result for answer in shop.run()]
    assert [(one["trial"], one["orders_placed"], one["orders_already_placed"]) for one in result] == [
        (False, 1, 0),
        (True, 0, 1),
    ]


def test_verify_archive_and_warnings_know_trials(shop: Shop) -> None:
    setup.init_reseller(shop.settings, "globex", "")
    assert (shop.settings.inbox / "globex" / "check").is_dir()
    try_(shop, csv_of(*ROWS))
    assert setup.warnings(shop.as_run) == []
    shop.run()
    assert [found for found in audit.verify(shop.settings, shop.registry).findings if "mode" not in found.what] == []
    retention.archive("2026-01-01", "", shop.as_run)
    assert folder_of(shop).is_dir()
    retention.archive("2200-01-01", "", shop.as_run)
    assert list((shop.settings.outbox / "acme" / "check").iterdir()) == []


# -- the operator's own way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        csv_of(*ROWS),
        b"Customer Account Number,Customer Order ID\n10023456,A\n10023456,B\n",
        b"",
        b"Customer Account Number,Product,Access,Customer Order ID,Quantity\n" + b"10023456,7001,8008604444,X,none\n" * 300,
    ],
    ids=["rows", "column missing", "empty", "flood"],
)
def test_check_and_run_count_alike(content: bytes, tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, max_findings=200)
        path = shop.drop("orders.csv", content)
        with shared_parser():
            checked = process_orders.check(path, "acme", shop.as_run)
        try_(shop, content)
        tried, ran = sorted((answer.result for answer in shop.run()), key=lambda one: not one["trial"])
        names = ("rows", "rows_rejected", "orders_rejected")
        assert [getattr(checked, name) for name in names] == [ran[name] for name in names] == [tried[name] for name in names]
        if any(reason.startswith(("FILE", "COLUMN")) for reason in ran["reasons"]):
            assert ran["rows_rejected"] == ran["rows"]
        assert (checked.orders_placeable, checked.orders_already_placed) == (ran["orders_placed"], ran["orders_already_placed"])
        shop.registry.close()


# -- any file ----------------------------------------------------------------------------------------------------------

cells = st.fixed_dictionaries(
    {
        "customer_order_id": st.sampled_from(["A", "B", "C", "OLD", "", "no good"]),
        "account": st.sampled_from(["10023456", "00200300", "20098765", "1"]),
        "product": st.sampled_from(["7001", "7003", "9"]),
    },
    optional={
        "quantity": st.sampled_from(["1", "3", "0", "many"]),
        "code": st.sampled_from([*some_codes(2), str(EXTERNAL[0]), "12345678901234", ""]),
        "btn": st.sampled_from(["3035550142", "8005555555", "3035550199"]),
        "action": st.sampled_from(["Add", "Block", "Change", "?"]),
        "comments": st.sampled_from(["", "x" * 300]),
    },
)


@settings(max_examples=15)
@given(rows=st.lists(cells, min_size=1, max_size=6), source=st.sampled_from(["acme", "globex", "house"]))
def test_a_trial_has_the_reasons_of_the_run_that_follows_and_writes_nothing(
    rows: list[dict[str, str]], source: str, new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with new_registry() as url:
        shop = Shop(tmp_path_factory.mktemp("trial") / "home", url)
        shop.send(row("OLD", quantity="3"), name="old.csv")
        content = csv_of(*(row(**one) for one in rows))
        before = tables(shop)
        try_(shop, content, source=source)
        (tried,) = shop.run()
        assert tables(shop) == before
        shop.drop("orders.csv", content, source)
        (real,) = shop.run()
        assert rejections(folder_of(shop, source)) == rejections(real.folder)
        names = ("reasons", "rows", "rows_rejected", "orders_rejected", "orders_already_placed")
        assert [tried.result[name] for name in names] == [real.result[name] for name in names]
        assert tried.result["orders_placeable"] == real.result["orders_placed"]
        shop.registry.close()
