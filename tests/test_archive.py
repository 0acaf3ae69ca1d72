"""Retention: what is old and settled moves into archives, whole, once, and comes back when it is needed."""

import hashlib
import os
import random
import shutil
import stat
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.admin import queries, retention, surplus
from pipelines.admin.audit import verify
from pipelines.admin.findings import Finding
from pipelines.common.errors import CardsError, UsageError
from pipelines.delivery import archive_files
from pipelines.delivery.archive import ArchiveResult, archive_finished
from pipelines.delivery.rewriting import rewrite_submission
from pipelines.run import open_run
from tests.conftest import NOW, Answer, Shop, csv_of, row, some_codes
from tests.faults.killing import environment, globex
from tests.faults.stage import fill_up, small_disk
from tests.faults.worker import Worker

pytestmark = pytest.mark.one_database


class KilledError(BaseException):
    """The run ends here; nothing may catch it."""


def archive(shop: Shop, before: str, reseller: str = "", step: Callable[[str], None] = lambda _: None) -> ArchiveResult:
    done = retention.archive(before, reseller, shop.as_run._replace(runtime=shop.runtime._replace(checkpoint=step)))
    assert done.failures == []
    return done


def month(shop: Shop, name: str, *, answered: bool = True) -> Answer:
    """A file of acme, one of globex and a night that confirms them; not the last card of acme's first order.

    Without `answered` the network says nothing of acme's.
    """
    shop.drop(f"{name}.csv", csv_of(row(f"{name}A", code=" ".join(_chosen(name))), row(f"{name}B", code="12")))
    shop.drop(f"{name}.csv", csv_of(globex(f"{name}G", quantity="1")), "globex")
    acme, other = shop.run()
    pairs = [pair for one in (acme, other) for pair in one.confirmation.select("Order ID", "Authorization Code").rows()]
    shop.later(days=1)
    shop.report(*(pairs[:2] + pairs[3:] if answered else pairs[3:]), name=f"{name}.csv")
    shop.night()
    return acme


def _chosen(name: str) -> list[str]:
    """The codes that a month's file asks for, which nothing replaces."""
    return some_codes(3, seed=sum(name.encode()))


def is_data(path: Path) -> bool:
    """Whether this is a file of the data for analysts."""
    return path.parent.name.startswith("month=")


def everything(shop: Shop) -> dict[str, str]:
    """The digest of each file of the outbox, in a folder or in an archive, by its path in the outbox; no archives, indexes or
    receipts, nor the data for analysts, which is never archived.

    What lies in both has to be the same.
    """
    outbox, found = shop.settings.outbox, {}
    for path in outbox.rglob("*"):
        is_receipt = path.name == "status.json" and path.parent.parent == outbox
        if (
            path.is_file()
            and path.parent.name != "archive"
            and path.name != "index.csv"
            and not is_receipt
            and not is_data(path)
        ):
            found[str(path.relative_to(outbox))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for archived in outbox.glob("*/archive/*.zip"):
        with zipfile.ZipFile(archived) as packed:
            assert packed.testzip() is None
            names = packed.namelist()
            assert len(names) == len(set(names))
            assert names[-1] == "manifest.csv"
            for name in names[:-1]:
                digest = hashlib.sha256(packed.read(name)).hexdigest()
                assert found.setdefault(f"{archived.parent.parent.name}/{name}", digest) == digest
    return found


def times_archived(shop: Shop) -> Counter[str]:
    """How often each file is in an archive."""
    return Counter(
        f"{path.parent.parent.name}/{name}"
        for path in shop.settings.outbox.glob("*/archive/*.zip")
        for name in zipfile.ZipFile(path).namelist()
        if name != "manifest.csv"
    )


def folders(shop: Shop, reseller: str = "acme") -> list[str]:
    """The folders of a reseller's submissions by the names of their files."""
    found = (shop.settings.outbox / reseller).glob("[!.]*/")
    return sorted(path.name.split("-", 2)[2] for path in found if path.name != "archive")


def event_of(shop: Shop, folder: str) -> int:
    """The event of a submission of acme."""
    return queries.submission(f"acme/{folder}", shop.registry).event


def problems(shop: Shop) -> list[Finding]:
    return verify(shop.settings, shop.registry).findings


@pytest.mark.slow
def test_a_year_of_files_is_archived_but_for_what_is_awaited_or_young(shop: Shop) -> None:
    shop.now = datetime(2026, 1, 5, 9, 30, tzinfo=NOW.tzinfo)
    for number in range(1, 13):
        month(shop, f"m{number:02}", answered=number not in (3, 8))
        shop.now = shop.now.replace(year=2026 + number // 12, month=number % 12 + 1, day=5)
    before = everything(shop)
    assert problems(shop) == []
    done = archive(shop, "2026-12-01")
    assert folders(shop) == ["m03", "m08", "m12"]
    assert folders(shop, "globex") == ["m12"]
    assert [path.name for path in sorted((shop.settings.outbox / "acme/archive").iterdir())] == [
        f"2026-{number:02}.zip" for number in (1, 2, 4, 5, 6, 7, 9, 10, 11)
    ]
    assert [path.name for path in sorted((shop.settings.outbox / "network").glob("2026-*"))] == [
        "2026-03", "2026-08", "2026-12"
    ]  # fmt: skip
    nights = sorted(path.name for path in (shop.settings.outbox / "reconciliation").glob("*.xlsx"))
    assert [name[:7] for name in nights if not name.startswith("statements-")] == ["2026-12"]
    assert [name for name in nights if name.startswith("statements-")] == [
        f"statements-2026-{number:02}.xlsx" for number in range(1, 12)
    ]
    assert everything(shop) == before
    assert set(times_archived(shop).values()) == {1}
    assert problems(shop) == []
    figures = {one.archive: one for one in done.archives}
    assert figures["outbox/acme/archive/2026-01.zip"].submissions == 1
    assert sum(one.files for one in done.archives) == sum(times_archived(shop).values())
    packed = {path: path.read_bytes() for path in shop.settings.outbox.glob("*/archive/*")}
    again = archive(shop, "2026-12-01")
    assert again.archives == []
    assert packed == {path: path.read_bytes() for path in shop.settings.outbox.glob("*/archive/*")}
    for asked in ("m01A", "10023456-1"):
        assert queries.status(asked, shop.registry).cards


def test_a_kill_at_any_step_loses_nothing_and_the_next_run_goes_on(shop: Shop) -> None:
    month(shop, "a")
    month(shop, "b")
    shop.later(days=30)
    month(shop, "c")
    before = everything(shop)
    died: list[str] = []
    for last in range(1, 200):
        left = [last]

        def die(step: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                died.append(step)
                raise KilledError

        try:
            archive(shop, "2026-12-31", step=die)
            break
        except KilledError:
            assert everything_but_trash(shop) == before
            assert {one.what for one in problems(shop)} <= {"a killed run left what it had begun to write"}
    assert set(died) == {"archive written", "archive noted", "folder renamed", "folder removed", "file removed"}
    assert everything(shop) == before
    assert set(times_archived(shop).values()) == {1}
    assert len(times_archived(shop)) == len([name for name in before if "/statement" not in name])
    assert folders(shop) == []
    assert list(shop.settings.outbox.rglob(".*")) == []
    assert problems(shop) == []


def everything_but_trash(shop: Shop) -> dict[str, str]:
    """Without folders that were on their way to be removed."""
    return {name: digest for name, digest in everything(shop).items() if "/." not in name}


def test_processes_that_are_killed_leave_what_the_next_one_finishes(shop: Shop, tmp_path: Path) -> None:
    for name in "abcd":
        month(shop, name)
    before = everything(shop)
    chance, kills = random.Random(7), 0
    with Worker(tmp_path / "worker") as worker:
        arguments = ("archive", "--before", "2026-12-31", "--json")
        worker.run("--help", environment={})
        for _ in range(12):
            worker.start(*arguments, environment=environment(shop))
            if kills < 8:
                time.sleep(chance.random() * 0.4)
                worker.kill()
            ended = worker.end()
            if ended.code == 0:
                break
            assert ended.code == -9, ended
            kills += 1
            assert everything_but_trash(shop) == before
    assert ended.code == 0
    assert everything(shop) == before
    assert set(times_archived(shop).values()) == {1}
    assert folders(shop) == []
    assert problems(shop) == []


def test_what_is_granted_while_it_is_archived_stays_in_the_outbox(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    ((order, code),) = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report((order, ""), name="none.csv")
    shop.night()
    (new,) = [one for one, state in shop.states().items() if state == "placed"]
    shop.later(days=1)
    shop.report((order, code), (order, new), name="both.csv")
    shop.night()
    shop.later(days=60)

    def grant(step: str) -> None:
        if (
            step == "archive written"
            and not shop.registry.query("SELECT event FROM events WHERE kind = 'grant'", {"event": int}).height
        ):
            surplus.grant(shop.as_run, order, "Ann", "they may have it")

    archive(shop, f"{shop.now:%Y-%m-%d}", step=grant)
    assert answer.folder.is_dir()
    shop.night()
    assert len(list(answer.folder.glob("release-*.csv"))) == 2
    assert problems(shop) == []


def test_adding_to_the_archive_of_a_month_keeps_what_is_in_it(shop: Shop) -> None:
    month(shop, "a")
    shop.later(days=9)
    month(shop, "b")
    before = everything(shop)
    archive(shop, "2026-10-10")
    assert folders(shop) == ["b"]
    first = times_archived(shop)
    archive(shop, "2026-11-01")
    assert folders(shop) == []
    assert first.keys() < times_archived(shop).keys()
    assert everything(shop) == before
    assert problems(shop) == []


def test_a_submission_stays_as_long_after_its_last_release_as_after_its_answer(shop: Shop) -> None:
    answer = month(shop, "a", answered=False)
    shop.later(days=20)
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(*pairs[:3], name="late.csv")
    shop.night()
    archive(shop, "2026-10-20")
    assert folders(shop) == ["a"]
    archive(shop, "2026-10-27")
    assert folders(shop) == []


def test_of_one_reseller_nothing_else_is_archived(shop: Shop) -> None:
    month(shop, "a")
    untouched = {name: digest for name, digest in everything(shop).items() if not name.startswith("acme/")}
    done = archive(shop, "2026-12-31", "acme")
    assert [one.source for one in done.archives] == ["acme"]
    outbox = shop.settings.outbox
    assert {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in outbox.rglob("*")
        if path.is_file() and (name := str(path.relative_to(outbox))) in untouched
    } == untouched  # fmt: skip
    assert not list(outbox.glob("globex/archive/*"))
    assert folders(shop) == []


@pytest.mark.parametrize(("share", "modes"), [("private", (0o700, 0o600)), ("group", (0o2750, 0o640))])
def test_archives_have_the_modes_of_the_setting(share: str, modes: tuple[int, int], tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, share=share)
    month(shop, "a")
    archive(shop, "2026-12-31")
    folder = shop.settings.outbox / "acme/archive"
    assert tuple(stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "2026-10.zip")) == modes
    private = [shop.settings.outbox / name for name in ("network/archive", "reconciliation/archive")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o700, 0o700]
    event = event_of(shop, next(iter(_archived_folders(folder / "2026-10.zip"))))
    back = rewrite_submission(shop.as_run, event)
    assert stat.S_IMODE(back.stat().st_mode) == modes[0]
    assert {stat.S_IMODE(path.stat().st_mode) for path in back.iterdir()} == {modes[1]}
    assert problems(shop) == []
    shop.registry.close()


def _archived_folders(path: Path) -> set[str]:
    return {name.split("/")[0] for name in zipfile.ZipFile(path).namelist() if "/" in name}


def test_a_report_brings_a_submission_back_with_its_original_and_it_is_archived_again(shop: Shop) -> None:
    answer = month(shop, "a")
    before = everything(shop)
    archive(shop, "2026-12-31")
    assert not answer.folder.exists()
    event = event_of(shop, answer.folder.name)
    assert rewrite_submission(shop.as_run, event) == answer.folder
    back = {name: digest for name, digest in before.items() if name.startswith(f"acme/{answer.folder.name}/")}
    found = {f"acme/{answer.folder.name}/{path.name}" for path in answer.folder.iterdir()}
    assert found == set(back)
    assert (answer.folder / "a.csv").read_bytes() == csv_of(row("aA", code=" ".join(_chosen("a"))), row("aB", code="12"))
    assert list((shop.settings.outbox / "network").glob("2026-*")) == []  # the network has loaded it long ago
    assert problems(shop) == []
    archive(shop, "2026-12-31")
    assert not answer.folder.exists()
    assert set(times_archived(shop)) == set(before)
    assert set(times_archived(shop).values()) == {1}
    assert problems(shop) == []


def test_a_card_that_becomes_ready_late_brings_its_archived_submission_back(shop: Shop) -> None:
    answer = month(shop, "a")
    archive(shop, "2026-12-31")
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.later(days=60)
    shop.report(pairs[2], name="late.csv")
    died = []

    def die(step: str) -> None:
        if step == "folder brought back" and not died:
            died.append(step)
            raise KilledError

    with pytest.raises(KilledError):
        shop.night(die)
    archive_finished(shop.as_run, date(2026, 12, 31))  # while the night is not delivered
    assert shop.night()["codes_ready_late"] == 1
    shop.run()
    assert (answer.folder / "a.csv").exists()
    released = pl.concat(pl.read_csv(path, infer_schema=False) for path in answer.folder.glob("release-*.csv"))
    assert pairs[2][1] in released["Authorization Code"].to_list()
    assert problems(shop) == []
    archive(shop, "2027-12-31")
    assert folders(shop) == []
    assert problems(shop) == []


def test_the_night_archives_what_is_older_than_the_setting(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, keep_days=30)
    month(shop, "a")
    assert folders(shop) == ["a"]
    shop.later(days=20)
    month(shop, "b")
    assert folders(shop) == ["a", "b"]
    shop.later(days=11)
    shop.night()
    assert folders(shop) == ["b"]
    assert problems(shop) == []
    shop.registry.close()


def test_the_night_archives_no_more_than_a_portion(shop: Shop) -> None:
    for name in "abc":
        month(shop, name)
    before = everything(shop)
    archive_finished(shop.as_run, date(2026, 12, 31), most=2)
    there = len(times_archived(shop))
    assert 0 < there < len(before)
    for _ in range(20):
        archive_finished(shop.as_run, date(2026, 12, 31), most=2)
    assert len(times_archived(shop)) == len(before)
    assert everything(shop) == before


def test_a_month_gets_another_archive_when_one_is_full(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "MOST_FILES", 4)
    first = month(shop, "a")
    archive(shop, "2026-10-07")
    second = month(shop, "b")
    before = everything(shop)
    archive(shop, "2026-12-31")
    names = {path.name for path in (shop.settings.outbox / "acme/archive").iterdir()}
    assert names == {"2026-10.zip", "2026-10-2.zip"}
    assert everything(shop) == before
    assert problems(shop) == []
    for answer in (first, second):
        rewrite_submission(shop.as_run, event_of(shop, answer.folder.name))
    assert folders(shop) == ["a", "b"]
    archive(shop, "2026-12-31")
    assert set(times_archived(shop).values()) == {1}
    assert problems(shop) == []


def test_a_name_that_zip_can_not_carry_comes_back_as_it_was(shop: Shop) -> None:
    names = [b"\xff%41.csv", b"a\\b.csv", "März ☎.csv".encode(), b"two\nlines.csv"]
    for number, name in enumerate(names):
        shop.drop(name, csv_of(row(f"N{number}", code="12")))
    answers = shop.run()
    before = everything(shop)
    archive(shop, "2026-12-31")
    assert folders(shop) == []
    for answer in answers:
        rewrite_submission(shop.as_run, event_of(shop, answer.folder.name))
    assert {os.fsencode(path.name) for answer in answers for path in answer.folder.iterdir()} >= set(names)
    originals = {name: digest for name, digest in before.items() if "rejections" not in name and "confirmation" not in name}
    assert {name: _digest(shop.settings.outbox / name) for name in originals} == originals
    assert problems(shop) == []


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archived(shop: Shop) -> tuple[Shop, Path, Answer]:
    """A shop with an archive, and what lies in it."""
    answer = month(shop, "a")
    archive(shop, "2026-12-31")
    return shop, shop.settings.outbox / "acme/archive/2026-10.zip", answer


def test_an_archive_that_is_missing_or_damaged_is_found_and_left_alone(archived: tuple[Shop, Path, Answer]) -> None:
    shop, path, answer = archived
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 255]) + content[101:])
    (problem,) = problems(shop)
    assert "its content is not what was archived" in problem.what
    path.write_bytes(content[:-30])
    assert [one.what for one in problems(shop)] == ["an archive can't be read"]
    month(shop, "b")
    done = retention.archive("2026-12-31", "acme", shop.as_run)
    assert "is damaged" in str(done.failures)
    assert folders(shop) == ["b"]
    path.unlink()
    assert [one.what for one in problems(shop)] == ["the archive of 1 submission is missing"]
    path.write_bytes(content)
    path.chmod(0o600)
    assert problems(shop) == []
    assert answer.folder.name in _archived_folders(path)


def test_a_release_waits_for_no_archive_that_can_not_be_read(archived: tuple[Shop, Path, Answer]) -> None:
    shop, path, answer = archived
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    shop.later(days=60)
    order, code = answer.confirmation.select("Order ID", "Authorization Code").row(2)
    shop.report((order, code), name="late.csv")
    assert shop.night()["codes_ready_late"] == 1
    assert list(answer.folder.glob("release-*.csv"))
    assert any("original" in one.what for one in problems(shop))
    path.write_bytes(content)
    path.chmod(0o600)
    shutil.rmtree(answer.folder)
    rewrite_submission(shop.as_run, event_of(shop, answer.folder.name))
    assert problems(shop) == []


def test_a_full_disk_loses_nothing_and_the_next_run_archives(tmp_path: Path, registry_url: str) -> None:
    with small_disk(tmp_path / "home", "2m"):
        shop = Shop(tmp_path / "home", registry_url)
        month(shop, "a")
        before = everything(shop)
        ballast = fill_up(shop.settings.home, leave=8192)
        done = retention.archive("2026-12-31", "", shop.as_run)
        assert "No space left" in str(done.failures[0])
        assert everything(shop) == before
        assert list(shop.settings.outbox.rglob(".*")) == []
        ballast.unlink()
        archive(shop, "2026-12-31")
        assert folders(shop) == []
        assert everything(shop) == before
        assert problems(shop) == []
        shop.registry.close()


@pytest.mark.parametrize("gone", ["confirmation.csv", "a.csv"])
def test_a_file_that_is_not_in_an_archive_any_more_is_missed(gone: str, archived: tuple[Shop, Path, Answer]) -> None:
    shop, path, answer = archived
    with zipfile.ZipFile(path) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    del files[f"{answer.folder.name}/{gone}"]
    manifest = pl.read_csv(files["manifest.csv"]).filter(~pl.col("name").str.ends_with(f"/{gone}"))
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, manifest.write_csv() if name == "manifest.csv" else content)
    (problem,) = problems(shop)
    assert "confirmation.csv" in problem.what if gone == "confirmation.csv" else "original" in problem.what


def test_an_original_that_was_changed_is_found(shop: Shop) -> None:
    answer = month(shop, "a")
    (answer.folder / "a.csv").write_bytes(b"other")
    assert [one.what for one in problems(shop)] == ["the original of a submission is missing or not what was answered"]


@pytest.mark.parametrize("where", ["folder", "archive"])
def test_a_release_file_with_a_card_that_was_never_ready_or_of_another_order_is_found(where: str, shop: Shop) -> None:
    answer = month(shop, "a")
    refused, ready = answer.codes[2], answer.codes[0]
    (path,) = answer.folder.glob("release-*.csv")
    lines = path.read_text().splitlines()
    wrong = [lines[1].replace(ready, refused), lines[1].replace("10023456-1", "10023456-9")]
    path.write_text("\r\n".join([*lines, *wrong, ""]))
    if where == "archive":
        archive(shop, "2026-12-31")
    (problem,) = problems(shop)
    assert "was changed" in problem.what
    assert ready not in str(problem)


def test_a_backup_of_the_registry_from_before_the_archive_agrees_again(archived: tuple[Shop, Path, Answer]) -> None:
    shop, _, answer = archived
    shop.registry.execute("UPDATE events SET archived = 0")
    assert {one.what for one in problems(shop)} == {"a submission has no folder"}
    archive(shop, "2026-12-31")
    assert problems(shop) == []
    assert not answer.folder.exists()


def test_nothing_is_archived_while_a_night_runs(shop: Shop) -> None:
    month(shop, "a")

    def other(_: str) -> None:
        with open_run(shop.settings) as run, pytest.raises(CardsError, match="is running"):
            retention.archive("2026-12-31", "", run)

    shop.later(days=1)
    shop.night(other)
    assert folders(shop) == ["a"]


@pytest.mark.parametrize(
    ("before", "reseller", "words"), [("01.12.2026", "", "is not a date"), ("2026-12-01", "x", "no folder")]
)
def test_a_wrong_argument_is_named(before: str, reseller: str, words: str, shop: Shop) -> None:
    with pytest.raises(UsageError, match=words):
        retention.archive(before, reseller, shop.as_run)
