"""Turns and budgets: no source of files keeps another waiting, and none uses more than its share of a day."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.intake import inbox
from pipelines.intake.fairness import LARGE, Budget, in_turns, loaded_together, within_budget
from pipelines.intake.inbox import InboxFile
from pipelines.intake.private_copy import Spool
from pipelines.intake.reader import Parser
from pipelines.orders import loading
from tests.conftest import Shop, csv_of, row
from tests.test_orders import globex

pytestmark = pytest.mark.one_database

LIMIT = Budget(files=3, bytes=100, parse_seconds=10)


def dropped(source: str, name: str, changed: int = 0, size: int = 10, mtime: int = 0) -> InboxFile:
    """A file of a source, whose inode changed at a time."""
    return InboxFile(source, Path("inbox", source, name), size, mtime, changed, changed)


def names(files: list[InboxFile]) -> list[str]:
    return [file.path.name for file in files]


# -- turns -------------------------------------------------------------------------------------------------------------


def test_sources_take_turns_and_the_oldest_file_of_each_comes_first() -> None:
    many = [dropped("acme", f"a{number}", number) for number in range(4)]
    others = [dropped("globex", "g9", 9), dropped("globex", "g8", 8), dropped("house", "h7", 7)]
    assert names(in_turns([*reversed(many), *others])) == ["a0", "h7", "g8", "a1", "g9", "a2", "a3"]


def test_a_flood_of_one_source_delays_another_by_one_file() -> None:
    flood = [dropped("acme", f"{number:05}", number) for number in range(10_000)]
    assert in_turns([*flood, dropped("globex", "late", 20_000)])[1].path.name == "late"


def test_a_time_that_a_source_can_set_moves_nothing_forward() -> None:
    files = [dropped("acme", "first", 1, mtime=500), dropped("acme", "second", 2, mtime=1)]
    assert names(in_turns(files)) == ["first", "second"]


def test_of_files_of_one_moment_the_older_comes_first_then_the_name() -> None:
    files = [dropped("acme", "c", mtime=1), dropped("acme", "b", mtime=1), dropped("acme", "d")]
    assert names(in_turns(files)) == ["d", "b", "c"]


def test_a_large_file_comes_last_in_its_turn_and_is_loaded_by_itself() -> None:
    large = dropped("acme", "large", 1, size=LARGE + 1)
    files = in_turns([large, dropped("acme", "next", 2), dropped("globex", "g", 3, size=LARGE), dropped("house", "h", 4)])
    assert names(files) == ["g", "h", "large", "next"]
    assert names(loaded_together(files, 100)) == ["g", "h"]
    assert names(loaded_together(files, 1)) == ["g"]
    assert names(loaded_together(files[2:], 100)) == ["large"]
    assert loaded_together([], 100) == []


def test_a_full_portion_begins_no_more_files(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were cancelled one by one, more slowly than they were begun, so that no portion ever ended."""
    for number in range(40):
        shop.drop(f"{number}.csv", csv_of(row(f"O{number}", quantity="1")))
    files = inbox.stable_files(shop.settings.inbox, 0, lambda _: True)
    monkeypatch.setattr(loading, "_PORTION_SECONDS", 0)
    with Parser(shop.settings) as parser, Spool(shop.settings.home) as spool:
        portion = loading.load_portion(files, parser, spool, shop.as_run)
    assert 1 <= len(portion.files) <= 6
    assert portion.done == {file.copy.file for file in portion.files}
    assert len(shop.run()) == 40


some_files = st.lists(
    st.builds(dropped, st.sampled_from(["acme", "globex", "house"]), st.text("abc", min_size=1, max_size=2), st.integers(0, 9)),
    max_size=30, unique_by=lambda file: file.path,
)  # fmt: skip


@given(some_files)
def test_each_file_has_its_turn_and_no_source_gets_two_ahead_of_one_that_waits(files: list[InboxFile]) -> None:
    turns = in_turns(files)
    assert sorted(turns) == sorted(files)
    for place, file in enumerate(turns):
        before = [one.source for one in turns[:place]]
        for source in {one.source for one in turns[place:]}:  # each of them still waits
            assert before.count(file.source) <= before.count(source)


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_files_past_the_budget_of_their_source_wait_and_those_of_others_do_not() -> None:
    files = [dropped("acme", f"a{number}") for number in range(5)] + [dropped("globex", "g")]
    assert names(within_budget(files, {}, LIMIT)) == ["a0", "a1", "a2", "g"]
    assert names(within_budget(files, {"acme": Budget(files=2)}, LIMIT)) == ["a0", "g"]
    assert names(within_budget(files, {"acme": Budget(files=3), "globex": Budget(files=2)}, LIMIT)) == ["g"]


def test_bytes_of_a_day_are_shared_by_the_files_that_fit() -> None:
    files = [dropped("acme", "half", size=50), dropped("acme", "more", size=60), dropped("acme", "rest", size=50)]
    assert names(within_budget(files, {}, LIMIT)) == ["half", "rest"]
    assert names(within_budget(files, {"acme": Budget(bytes=51)}, LIMIT)) == []


def test_a_file_larger_than_a_whole_day_is_let_through_to_be_answered() -> None:
    huge, small = dropped("acme", "huge", size=101), dropped("acme", "small")
    assert names(within_budget([huge, small], {}, LIMIT)) == ["huge"]
    assert names(within_budget([huge], {"acme": Budget(bytes=100)}, LIMIT)) == ["huge"]
    assert names(within_budget([huge], {"acme": Budget(files=3)}, LIMIT)) == []


@pytest.mark.parametrize(("used", "taken"), [(9.9, ["a"]), (10, []), (11, [])])
def test_a_source_whose_files_took_all_seconds_of_a_day_waits(used: float, taken: list[str]) -> None:
    assert names(within_budget([dropped("acme", "a")], {"acme": Budget(parse_seconds=used)}, LIMIT)) == taken


def test_the_operator_has_no_budget() -> None:
    files = [dropped("house", f"h{number}", size=90) for number in range(5)]
    assert within_budget(files, {"house": Budget(9, 900, 90)}, LIMIT) == files


# -- through the shop --------------------------------------------------------------------------------------------------


def test_a_run_takes_as_many_files_of_a_reseller_as_a_day_allows_and_the_next_day_the_others(
    tmp_path: Path, registry_url: str
) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_files=2)
    for number in range(3):
        shop.drop(f"a{number}.csv", csv_of(row(f"A{number}", quantity="1")))
    shop.drop("g.csv", csv_of(globex("G", quantity="1")), "globex")
    shop.drop("h.csv", csv_of(row("H", quantity="1")), "house")
    assert sorted(answer.result["file"] for answer in shop.run()) == ["a0.csv", "a1.csv", "g.csv", "h.csv"]
    assert [path.name for path in shop.waiting()] == ["a2.csv"]
    assert shop.run() == []
    shop.later(days=1)
    assert [answer.result["file"] for answer in shop.run()] == ["a2.csv"]
    shop.registry.close()


def test_codes_past_the_budget_of_a_day_are_refused_to_their_reseller_alone(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_codes=10)
    first = shop.send(row("A", quantity="7"), row("B", quantity="4"), row("C", quantity="3"))
    assert (len(first.codes), first.reasons) == (10, {3: ["QUOTA_EXCEEDED"]})
    assert shop.send(row("D", quantity="1"), name="d.csv").reasons == {2: ["QUOTA_EXCEEDED"]}
    assert len(shop.send(globex("G", quantity="10"), name="g.csv", source="globex").codes) == 10
    assert len(shop.send(row("H", quantity="11"), name="h.csv", source="house").codes) == 11
    shop.later(days=1)
    assert len(shop.send(row("B", quantity="4"), name="again.csv").codes) == 4
    shop.registry.close()


def test_two_files_of_one_run_share_the_codes_of_a_day(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, max_daily_codes=10)
    for name in ("a", "b", "c"):
        shop.drop(f"{name}.csv", csv_of(row(name.upper(), quantity="4")))
    answers = {answer.result["file"]: len(answer.codes) for answer in shop.run()}
    assert answers == {"a.csv": 4, "b.csv": 4, "c.csv": 0}
    shop.registry.close()
