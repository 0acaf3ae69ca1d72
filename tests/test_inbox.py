"""Which files of an inbox are taken, and in which order."""

import os
import time
from pathlib import Path

import pytest

from pipelines.intake import inbox
from pipelines.intake.inbox import InboxFile, file_at, is_unchanged, list_files, scan, stable_files
from tests.conftest import unprivileged

LONG_AGO = 1_760_000_000


def lay(path: Path, mtime: float = LONG_AGO, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


def names(folder: Path, settle_seconds: float = 0, now: float | None = None) -> list[str]:
    """Who sent what, in the order in which it is taken."""
    return [f"{drop.source}/{drop.path.name}" for drop in stable_files(folder, settle_seconds, lambda _: True, now)]


def later(folder: Path, name: str, mtime: float = LONG_AGO) -> Path:
    """A file whose inode changed after those of all files before it; its time can't be set, so one waits for the clock."""
    last = max((file.ctime_ns for file in list_files(folder)), default=0)
    path = lay(folder / name, mtime)
    while path.stat().st_ctime_ns <= last:
        os.utime(path, (mtime, mtime))
    return path


def at_once(folder: Path, *files: tuple[str, int]) -> None:
    """Files (name, and modification time in nanoseconds) whose inodes changed in one tick of the clock."""
    paths = [lay(folder / name) for name, _ in files]
    for _ in range(10_000):
        for path, (_, mtime_ns) in zip(paths, files, strict=True):
            os.utime(path, ns=(mtime_ns, mtime_ns))
        if len({path.stat().st_ctime_ns for path in paths}) == 1:
            return
    pytest.skip("the clock of this file system is too fine")


def only(folder: Path) -> InboxFile:
    (drop,) = list_files(folder)
    return drop


def test_the_sender_is_the_folder_and_the_house_for_the_inbox_itself(tmp_path: Path) -> None:
    for name in ("a.csv", "acme/b.csv", "network/c.csv", "Other Reseller/d.csv"):
        lay(tmp_path / name)
    assert names(tmp_path) == ["house/a.csv", "acme/b.csv", "network/c.csv", "Other Reseller/d.csv"]


def test_only_sources_that_are_asked_for_are_taken(tmp_path: Path) -> None:
    lay(tmp_path / "acme/b.csv")
    lay(tmp_path / "network/c.csv")
    assert [drop.source for drop in stable_files(tmp_path, 0, lambda source: source != inbox.NETWORK)] == ["acme"]


def test_folders_with_names_of_ours_are_no_sources(tmp_path: Path) -> None:
    lay(tmp_path / "house/a.csv")
    lay(tmp_path / "reconciliation/a.csv")
    assert names(tmp_path) == []


def test_hidden_folders_are_no_sources(tmp_path: Path) -> None:
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


def test_the_earlier_file_comes_first_whatever_time_it_claims(tmp_path: Path) -> None:
    for name, mtime in (("acme/c.csv", 4), ("globex/b.csv", 0), ("acme/z.csv", 3), ("b.csv", 1), ("acme/b.csv", 2)):
        later(tmp_path, name, LONG_AGO + mtime)
    assert names(tmp_path) == ["acme/c.csv", "globex/b.csv", "acme/z.csv", "house/b.csv", "acme/b.csv"]


def test_a_file_that_is_touched_or_renamed_goes_to_the_end(tmp_path: Path) -> None:
    first, _, _ = (later(tmp_path, name) for name in ("a.csv", "b.csv", "c.csv"))
    last = max(file.ctime_ns for file in list_files(tmp_path))
    while first.stat().st_ctime_ns <= last:
        os.utime(first, (1, 1))  # as old as can be
    assert names(tmp_path) == ["house/b.csv", "house/c.csv", "house/a.csv"]


def test_of_files_of_one_moment_the_older_comes_first_then_the_name(tmp_path: Path) -> None:
    first = LONG_AGO * 10**9
    at_once(tmp_path, ("acme/c.csv", first + 1), ("globex/b.csv", first + 2), ("acme/z.csv", first), ("b.csv", first + 1),
            ("acme/b.csv", first + 1))  # fmt: skip
    assert names(tmp_path) == ["acme/z.csv", "acme/b.csv", "house/b.csv", "acme/c.csv", "globex/b.csv"]


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


def test_a_file_with_a_second_name_is_left(tmp_path: Path) -> None:
    """It may be somebody else's, which its dropper could link but not read."""
    secret = lay(tmp_path / "secret/a.csv")
    folder = tmp_path / "inbox"
    lay(folder / "acme/good.csv")
    os.link(secret, folder / "acme/link.csv")
    assert names(folder) == ["acme/good.csv"]
    secret.unlink()
    assert names(folder) == ["acme/good.csv", "acme/link.csv"]


def test_a_folder_that_can_not_be_read_is_reported_and_the_others_are_looked_through(shared_folder: Path) -> None:
    for name in ("acme/a.csv", "globex/b.csv"):
        lay(shared_folder / name)
    (shared_folder / "acme").chmod(0)
    with unprivileged():
        found = scan(shared_folder)
        nothing = scan(shared_folder, lambda source: source == "network")
    assert [file.path.name for file in found.files] == ["b.csv"]
    (failure,) = found.failures
    assert str(failure) == f"{shared_folder / 'acme'}: Permission denied. Its files wait; set its permissions."
    assert nothing == ([], [], [])


def test_a_changed_file_is_another(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", content=b"one")
    drop = only(tmp_path)
    assert is_unchanged(drop)
    lay(path, content=b"two")  # as large and as old as before
    assert not is_unchanged(drop)
    assert is_unchanged(only(tmp_path))


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv", content=b"one")
    drop = only(tmp_path)
    lay(tmp_path / "b.csv", content=b"two").replace(path)
    assert not is_unchanged(drop)


def test_a_file_that_became_a_link_or_went_away_is_another(tmp_path: Path) -> None:
    path = lay(tmp_path / "inbox/a.csv", content=b"one")
    drop = only(tmp_path / "inbox")
    path.rename(tmp_path / "secret.csv")
    assert not is_unchanged(drop)
    path.symlink_to(tmp_path / "secret.csv")
    assert not is_unchanged(drop)


def test_a_file_anywhere_can_be_taken_as_if_it_had_been_dropped(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.csv")
    assert file_at(path, "house") == only(tmp_path)
