"""Which files of an inbox are taken, and in which order."""

import os
import time
from pathlib import Path

import pytest

from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, is_unchanged, list_files, read_content, stable_files
from schemas.sources import NETWORK

LONG_AGO = 1_760_000_000


def lay(path: Path, mtime: float = LONG_AGO, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


def names(folder: Path, settle_seconds: float = 0, now: float | None = None) -> list[str]:
    """Who sent what, in the order in which it is taken."""
    return [f"{drop.source}/{drop.path.name}" for drop in stable_files(folder, settle_seconds, lambda _: True, now)]


def only(folder: Path) -> InboxFile:
    (drop,) = list_files(folder)
    return drop


def test_the_sender_is_the_folder_and_the_house_for_the_inbox_itself(tmp_path: Path) -> None:
    for name in ("a.csv", "acme/b.csv", "network/c.csv", "Other Reseller/d.csv"):
        lay(tmp_path / name)
    assert names(tmp_path) == ["house/a.csv", "acme/b.csv", "network/c.csv", "Other Reseller/d.csv"]


def test_only_senders_that_are_asked_for_are_taken(tmp_path: Path) -> None:
    lay(tmp_path / "acme/b.csv")
    lay(tmp_path / "network/c.csv")
    assert [drop.source for drop in stable_files(tmp_path, 0, lambda sender: sender != NETWORK)] == ["acme"]


def test_folders_with_names_of_ours_are_no_senders(tmp_path: Path) -> None:
    lay(tmp_path / "house/a.csv")
    lay(tmp_path / "reconciliation/a.csv")
    assert names(tmp_path) == []


def test_hidden_folders_are_no_senders(tmp_path: Path) -> None:
    lay(tmp_path / ".recycle/deleted.csv")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["~$a.xlsx", ".a.csv", ".~lock.a.xlsx#", "a.csv.tmp", "a.TMP", "a.part", "a.csv.filepart", "a.crdownload", "a.Partial"],
)
def test_locks_and_partial_files_are_left(name: str, tmp_path: Path) -> None:
    lay(tmp_path / "acme" / name)
    lay(tmp_path / "acme/good.csv")
    assert names(tmp_path) == ["acme/good.csv"]


def test_links_are_never_followed(tmp_path: Path) -> None:
    secret = lay(tmp_path / "secret/a.csv")
    folder = tmp_path / "inbox"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme/link.csv").symlink_to(secret)
    (folder / "acme/dangling.csv").symlink_to(tmp_path / "nothing")
    (folder / "linked").symlink_to(secret.parent)
    assert names(folder) == []


def test_pipes_and_folders_in_a_folder_are_left(tmp_path: Path) -> None:
    (tmp_path / "acme/deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "acme/pipe.csv")
    lay(tmp_path / "acme/deep/a.csv")
    assert names(tmp_path) == []


def test_without_an_inbox_there_are_no_files(tmp_path: Path) -> None:
    assert names(tmp_path / "none") == []
    assert names(lay(tmp_path / "file")) == []


def test_the_earlier_file_comes_first_then_the_name(tmp_path: Path) -> None:
    for name, mtime in (("acme/c.csv", 1), ("globex/b.csv", 2), ("acme/z.csv", 0), ("b.csv", 1), ("acme/b.csv", 1)):
        lay(tmp_path / name, LONG_AGO + mtime)
    assert names(tmp_path) == ["acme/z.csv", "acme/b.csv", "house/b.csv", "acme/c.csv", "globex/b.csv"]


def test_times_are_compared_to_the_nanosecond(tmp_path: Path) -> None:
    for name, late in (("b.csv", 0), ("a.csv", 1)):
        path = lay(tmp_path / name)
        os.utime(path, ns=(LONG_AGO * 10**9 + late,) * 2)
    assert names(tmp_path) == ["house/b.csv", "house/a.csv"]


@pytest.mark.parametrize(("seconds", "taken"), [(0, False), (1.9, False), (2.1, True), (60, True)])
def test_a_file_is_taken_when_it_has_stood_still_for_the_settle_time(seconds: float, taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x")
    changed = path.stat().st_ctime
    assert bool(names(tmp_path, 2, changed + seconds)) == taken


def test_a_file_that_is_copied_with_its_old_time_settles_too(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", LONG_AGO)
    assert names(tmp_path, 2, path.stat().st_ctime + 1) == []
    assert names(tmp_path, 2, path.stat().st_ctime + 3) == ["house/a.csv"]


@pytest.mark.parametrize("ahead", [3600, 10 * 365 * 86_400])
def test_a_file_from_the_future_is_taken_when_it_has_settled(ahead: float, tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", time.time() + ahead)
    assert names(tmp_path, 2, path.stat().st_ctime + 1) == []
    assert names(tmp_path, 2, path.stat().st_ctime + 3) == ["house/a.csv"]


def test_a_share_whose_clock_is_a_little_ahead_does_not_make_files_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x")
    assert names(tmp_path, 2, path.stat().st_ctime - 0.5) == []


def test_a_clock_that_was_set_back_does_not_hold_files_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x")
    assert names(tmp_path, 2, path.stat().st_ctime - 3600) == ["house/a.csv"]


def test_the_content_is_read_to_one_byte_more_than_the_limit(tmp_path: Path) -> None:
    lay(tmp_path / "a.csv", content=b"12345")
    assert read_content(only(tmp_path), 5) == b"12345"
    assert read_content(only(tmp_path), 3) == b"1234"


def test_a_file_that_changed_since_it_was_found_is_not_taken(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", content=b"one")
    drop = only(tmp_path)
    assert is_unchanged(drop)
    path.write_bytes(b"two")
    assert not is_unchanged(drop)
    assert read_content(drop, 100) is None
    assert read_content(only(tmp_path), 100) == b"two"


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", content=b"one")
    drop = only(tmp_path)
    lay(tmp_path / "b.csv", content=b"two").replace(path)
    assert not is_unchanged(drop)
    assert read_content(drop, 100) is None


def test_a_file_that_became_a_link_or_a_pipe_or_went_away_is_not_taken(tmp_path: Path) -> None:
    path = lay(tmp_path / "inbox/a.csv", content=b"one")
    drop = only(tmp_path / "inbox")
    path.rename(tmp_path / "secret.csv")
    assert read_content(drop, 100) is None
    path.symlink_to(tmp_path / "secret.csv")
    assert read_content(drop, 100) is None
    path.unlink()
    os.mkfifo(path)
    assert read_content(drop, 100) is None


def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", content=b"one\n")
    drop = only(tmp_path)
    writer = path.open("ab")
    writer.write(b"two\n")  # as yet in the writer's buffer
    assert read_content(drop, 100) == b"one\n"
    writer.close()
    assert read_content(drop, 100) is None


def test_the_same_bytes_are_the_same_file() -> None:
    assert inbox.sha256_of(b"a") == inbox.sha256_of(b"a") != inbox.sha256_of(b"b")
