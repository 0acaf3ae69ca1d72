"""A dropped file is opened once: what the private copy is, what is not taken, and what a dead run leaves."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.intake import private_copy
from pipelines.intake.inbox import InboxFile, list_files
from pipelines.intake.private_copy import Spool, leftovers, remove_dropped
from tests.conftest import unprivileged
from tests.test_inbox import lay, only

LIMIT = 100


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "home") as made:
        yield made


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "home/inbox"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def spools(home: Path) -> list[Path]:
    """The folders of private copies; a process may have one of temporary files beside them as long as it lives."""
    return list((home / ".spool").iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- the copy ----------------------------------------------------------------------------------------------------------


def test_a_copy_has_the_bytes_and_their_digest_and_is_for_our_eyes_alone(inbox: Path, spool: Spool) -> None:
    path = lay(inbox / "acme/a.csv", content=b"one")
    path.chmod(0o666)
    file = only(inbox)
    copy = spool.take(file, LIMIT)
    assert copy
    assert (copy.file, copy.content(), copy.size, copy.digest) == (file, b"one", 3, sha256(b"one"))
    assert (mode(copy.path), mode(spool.folder)) == (0o600, 0o700)
    assert copy.path.parent == spool.folder
    path.write_bytes(b"two")  # an uploader who goes on writing changes nothing any more
    assert copy.content() == b"one"


def test_the_same_bytes_have_one_digest_and_a_copy_each(inbox: Path, spool: Spool) -> None:
    for name in ("a.csv", "b.csv"):
        lay(inbox / name, content=b"one")
    lay(inbox / "c.csv", content=b"two")
    copies = [spool.take(file, LIMIT) for file in list_files(inbox)]
    assert {copy.digest for copy in copies if copy} == {sha256(b"one"), sha256(b"two")}
    assert len({copy.path for copy in copies if copy}) == 3


@pytest.mark.parametrize(
    ("limit", "copied", "size"), [(5, b"12345", 5), (4, b"12345", 5), (3, b"1234", 4), (0, b"1", 1)]
)  # fmt: skip
def test_a_file_is_copied_to_one_byte_more_than_the_limit(
    limit: int, copied: bytes, size: int, inbox: Path, spool: Spool
) -> None:
    lay(inbox / "a.csv", content=b"12345")
    copy = spool.take(only(inbox), limit)
    assert copy
    assert (copy.content(), copy.size) == (copied, size)


def test_a_file_of_several_portions_is_copied_whole(inbox: Path, spool: Spool) -> None:
    content = os.urandom(2_500_000)
    lay(inbox / "a.csv", content=content)
    copy = spool.take(only(inbox), 1 << 30)
    assert copy
    assert copy.content() == content


def test_an_empty_file_is_taken_too(inbox: Path, spool: Spool) -> None:
    lay(inbox / "a.csv", content=b"")
    copy = spool.take(only(inbox), LIMIT)
    assert copy
    assert (copy.content(), copy.size) == (b"", 0)


# -- what is not taken -------------------------------------------------------------------------------------------------


def rewritten(path: Path) -> None:
    lay(path, content=b"two")


def replaced(path: Path) -> None:
    lay(path.with_name("other"), content=b"two").replace(path)


def removed(path: Path) -> None:
    path.unlink()


def linked(path: Path) -> None:
    secret = path.rename(path.parent.parent / "secret.csv")
    path.symlink_to(secret)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def folder_linked(path: Path) -> None:
    elsewhere = path.parent.rename(path.parent.parent.parent / "elsewhere")
    path.parent.symlink_to(elsewhere)


def folder_removed(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


CHANGES = [rewritten, replaced, removed, linked, piped, made_a_folder, folder_linked, folder_removed]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_longer_the_file_that_was_found_is_not_taken(
    change: Callable[[Path], None], inbox: Path, spool: Spool
) -> None:
    path = lay(inbox / "acme/a.csv", content=b"one")
    file = only(inbox)
    change(path)
    assert spool.take(file, LIMIT) is None
    assert list(spool.folder.iterdir()) == []


@contextmanager
def right_after_the_copy(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something happens between the last byte that is read and the look whether the file is still the same."""
    copy = private_copy._copy

    def copy_and_work(descriptor: int, path: Path, most: int) -> tuple[str, int]:
        copied = copy(descriptor, path, most)
        work()
        return copied

    with monkeypatch.context() as patch:
        patch.setattr(private_copy, "_copy", copy_and_work)
        yield


def test_a_file_that_grows_while_it_is_copied_is_taken_when_it_is_whole(
    inbox: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lay(inbox / "a.csv", content=b"one\n")
    file = only(inbox)
    writer = path.open("ab")
    writer.write(b"two\n")  # as yet in the writer's buffer
    with right_after_the_copy(writer.close, monkeypatch):
        assert spool.take(file, LIMIT) is None
    assert list(spool.folder.iterdir()) == []
    copy = spool.take(only(inbox), LIMIT)
    assert copy
    assert copy.content() == b"one\ntwo\n"


@pytest.mark.parametrize("change", [linked, replaced, removed])
def test_what_takes_the_files_place_while_it_is_copied_is_never_read(
    change: Callable[[Path], None], inbox: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lay(inbox / "acme/a.csv", content=b"one")
    file = only(inbox)
    with right_after_the_copy(lambda: change(path), monkeypatch):
        copy = spool.take(file, LIMIT)
    assert copy is None or copy.content() == b"one"


def test_a_file_or_folder_without_rights_is_an_error_that_keeps_no_other_from_being_taken(shared_folder: Path) -> None:
    for name in ("inbox/acme/closed.csv", "inbox/acme/good.csv", "inbox/globex/b.csv"):
        lay(shared_folder / name)
    files = {file.path.name: file for file in list_files(shared_folder / "inbox")}
    files["closed.csv"].path.chmod(0)
    files["closed.csv"] = next(file for file in list_files(shared_folder / "inbox") if file.path.name == "closed.csv")
    (shared_folder / "inbox/globex").chmod(0)
    with unprivileged(), Spool(shared_folder) as spool:
        for name in ("closed.csv", "b.csv"):
            with pytest.raises(PermissionError):
                spool.take(files[name], LIMIT)
        assert spool.take(files["good.csv"], LIMIT)


# -- the inbox afterwards ----------------------------------------------------------------------------------------------


def test_a_file_that_is_still_the_same_is_removed_once(inbox: Path) -> None:
    lay(inbox / "acme/a.csv")
    file = only(inbox)
    assert remove_dropped(file)
    assert list_files(inbox) == []
    assert remove_dropped(file)  # another worker was quicker


@pytest.mark.parametrize("change", [rewritten, replaced, linked, piped, made_a_folder])
def test_what_took_the_place_of_a_file_is_left(change: Callable[[Path], None], inbox: Path) -> None:
    path = lay(inbox / "acme/a.csv", content=b"one")
    file = only(inbox)
    change(path)
    before = path.lstat()
    assert not remove_dropped(file)
    assert path.lstat() == before


def test_nothing_is_removed_through_a_folder_that_became_a_link(inbox: Path) -> None:
    path = lay(inbox / "acme/a.csv")
    file = only(inbox)
    folder_linked(path)
    with pytest.raises(OSError, match="Not a directory"):
        remove_dropped(file)
    assert path.exists()


def test_in_a_folder_that_is_gone_nothing_is_left_to_remove(inbox: Path) -> None:
    path = lay(inbox / "acme/a.csv")
    file = only(inbox)
    folder_removed(path)
    assert remove_dropped(file)


def test_a_file_that_may_not_be_removed_is_an_error(shared_folder: Path) -> None:
    lay(shared_folder / "acme/a.csv")
    file = only(shared_folder)
    (shared_folder / "acme").chmod(0o555)
    with unprivileged(), pytest.raises(PermissionError):
        remove_dropped(file)
    assert file.path.exists()


# -- what a dead run leaves --------------------------------------------------------------------------------------------


def test_a_run_that_ends_leaves_nothing(inbox: Path, tmp_path: Path) -> None:
    lay(inbox / "a.csv")

    def work() -> None:
        with Spool(tmp_path / "home") as spool:
            copy = spool.take(only(inbox), LIMIT)
            assert copy
            spool.hold([copy])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert spools(tmp_path / "home") == []
    with leftovers(tmp_path / "home") as left:
        assert left.copies == {}
        assert left.in_hand == []


@contextmanager
def another_run(home: Path, *in_hand: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has copied all of the inbox and has these files (names) in hand."""
    work = (
        "import sys; from pathlib import Path; from pipelines.intake import inbox, private_copy\n"
        "home, *names = sys.argv[1:]\n"
        "with private_copy.Spool(Path(home)) as spool:\n"
        "    copies = [spool.take(file, 100) for file in inbox.list_files(Path(home, 'inbox'))]\n"
        "    spool.hold([copy for copy in copies if copy.file.path.name in names])\n"
        "    print('ready', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", work, str(home), *in_hand]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def die(home: Path, *in_hand: str) -> None:
    with another_run(home, *in_hand) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_copies_and_files_in_hand_of_a_killed_run_are_found_once(inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    lay(inbox / "globex/b.csv", content=b"two")
    die(home, "a.csv", "b.csv")
    die(home, "b.csv")
    with leftovers(home) as left:
        assert {digest: path.read_bytes() for digest, path in left.copies.items()} == {
            sha256(b"one"): b"one", sha256(b"two"): b"two",
        }  # fmt: skip
        both = [("acme", sha256(b"one")), ("globex", sha256(b"two"))]
        assert sorted(left.in_hand, key=len) == [[both[1]], both]
    assert spools(home) == []
    with leftovers(home) as left:
        assert (left.copies, left.in_hand) == ({}, [])


def test_a_living_run_keeps_its_copies(inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    with another_run(home, "a.csv") as process:
        with leftovers(home) as left:
            assert (left.copies, left.in_hand) == ({}, [])
        (folder,) = spools(home)
        assert len(list(folder.iterdir())) == 2
        process.communicate()  # it ends by itself
    assert spools(home) == []


def test_what_was_left_is_there_for_the_next_run_when_this_one_breaks(inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    die(home, "a.csv")
    with pytest.raises(KeyError), leftovers(home):
        raise KeyError
    with leftovers(home) as left:
        assert list(left.copies) == [sha256(b"one")]


def test_of_two_runs_that_look_at_once_one_adopts_what_was_left(inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    die(home, "a.csv")
    with leftovers(home) as left, leftovers(home) as other:
        assert list(left.copies) == [sha256(b"one")]
        assert other.copies == {}


@pytest.mark.parametrize("text", ["", "[[", '[["acme", "', '[["acme"]]'])
def test_a_note_of_files_in_hand_that_was_cut_off_hides_no_copy(text: str, inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    die(home, "a.csv")
    (folder,) = spools(home)
    (folder / "in-hand.json").write_text(text)
    with leftovers(home) as left:
        assert (list(left.copies), left.in_hand) == ([sha256(b"one")], [])


def test_what_else_lies_in_the_spool_is_left_alone(tmp_path: Path) -> None:
    elsewhere = lay(tmp_path / "elsewhere/a.csv").parent
    spool = tmp_path / "home/.spool"
    lay(spool / "note")
    (spool / "link").symlink_to(elsewhere)
    with leftovers(tmp_path / "home") as left:
        assert left.copies == {}
    assert {path.name for path in spool.iterdir()} == {"note", "link"}
    assert (elsewhere / "a.csv").exists()


def test_a_run_that_begins_while_another_clears_away_has_a_folder(inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lay(inbox / "acme/a.csv", content=b"one")
    file: InboxFile = only(inbox)
    over = threading.Event()

    def clear_away() -> None:
        while not over.is_set():
            with leftovers(home):
                pass

    others = [threading.Thread(target=clear_away) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for _ in range(300):
            with Spool(home) as spool:
                assert spool.take(file, LIMIT)
    finally:
        over.set()
        for other in others:
            other.join(60)
