"""A dropped file is opened once: nothing that its uploader does to the path, or to the file, changes what is answered
or reaches anything else (item 1)."""

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.serving import watcher
from tests.conftest import NewRegistry, Shop, csv_of, row, some_codes, xlsx_of
from tests.security.attack import ROOT, contents, found_in, globex

MARK = "a comment that only globex has written"
BAD = row("BAD", code="1111111111111", comments="mine")
CHECKPOINTS = 9
"""More than a run of one file has; one that is never reached changes nothing."""


@pytest.fixture
def shop(tmp_path: Path, sqlite: NewRegistry) -> Iterator[Shop]:
    with sqlite() as url:
        made = Shop(tmp_path / "home", url)
        yield made
        made.registry.close()


def at_checkpoint(number: int, act: Callable[[], None]) -> Callable[[str], None]:
    """What does something at the n-th checkpoint of a run, whatever that is called."""
    left = [number]

    def step(_: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            act()

    return step


def run_twice(shop: Shop, step: Callable[[str], None]) -> None:
    """A run that is interfered with, and one that is not."""
    with suppress(Exception):  # what it comes to is for other tests
        shop.run(step)
    with suppress(Exception):
        shop.run()


def victim(shop: Shop) -> Path:
    """An order workbook of globex's, answered and archived."""
    rows = [{**globex(f"V{n}", code=code), "Comments": MARK} for n, code in enumerate(some_codes(3, seed=77))]
    shop.drop("secret.xlsx", xlsx_of(*rows), "globex")
    (answer,) = shop.run()
    return answer.folder / "secret.xlsx"


def swap(path: Path, target: Path) -> None:
    """Put a link into the place of a file, as `mv -T` does."""
    new = path.with_name(".new")
    new.symlink_to(target)
    new.replace(path)


def answered(shop: Shop, source: str = "acme") -> list[Path]:
    return sorted((shop.settings.outbox / source).glob("*/"))


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_link_swapped_in_brings_nothing_of_another_back(shop: Shop) -> None:
    theirs = victim(shop)
    before = theirs.read_bytes(), stat.S_IMODE(theirs.stat().st_mode)
    for number in range(CHECKPOINTS):
        path = shop.drop(f"{number}.xlsx", xlsx_of(BAD))
        run_twice(shop, at_checkpoint(number, lambda: swap(path, theirs)))  # noqa: B023
        path.unlink(missing_ok=True)
    assert found_in(shop.settings.outbox / "acme", [MARK, *some_codes(3, seed=77)]) == []
    assert [link for link in (shop.settings.outbox / "acme").rglob("*") if link.is_symlink()] == []
    assert (theirs.read_bytes(), stat.S_IMODE(theirs.stat().st_mode)) == before


def test_a_folder_that_a_link_points_to_keeps_its_mode(shop: Shop) -> None:
    other = shop.settings.home / "unrelated"
    other.mkdir(mode=0o755)
    other.chmod(0o755)
    for number in range(CHECKPOINTS):
        path = shop.drop(f"{number}.xlsx", xlsx_of(BAD))
        run_twice(shop, at_checkpoint(number, lambda: swap(path, other)))  # noqa: B023
        path.unlink(missing_ok=True)
    assert stat.S_IMODE(other.stat().st_mode) == 0o755
    assert list(other.iterdir()) == []


def test_nor_a_link_to_the_houses_own_files(shop: Shop) -> None:
    home = shop.settings.home
    targets = [home / "catalogue.xlsx", home / "registry.db", home / "outbox/reconciliation/night.xlsx"]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(xlsx_of({**row("X", quantity="1"), "Comments": MARK}))
        target.chmod(0o640)
        for number in range(3, 6):
            path = shop.drop(f"{target.stem}-{number}.xlsx", xlsx_of({**BAD, "Comments": f"{target.stem} {number}"}))
            run_twice(shop, at_checkpoint(number, lambda: swap(path, target)))  # noqa: B023
            path.unlink(missing_ok=True)
    assert found_in(shop.settings.outbox / "acme", [MARK]) == []
    assert {stat.S_IMODE(target.stat().st_mode) for target in targets} == {0o640}


def test_what_is_swapped_after_it_was_read_is_answered_in_its_own_layout_and_archived(shop: Shop) -> None:
    content = xlsx_of(BAD)
    path = shop.drop("orders.xlsx", content)
    run_twice(shop, at_checkpoint(3, lambda: swap(path, shop.settings.home / "nothing")))
    (folder,) = answered(shop)
    assert digest(folder / "orders.xlsx") == hashlib.sha256(content).hexdigest()
    assert any(b"mine" in text for where, text in contents(folder).items() if "rejections.xlsx!" in where)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


EXCHANGER = """
import ctypes, os, sys
libc, AT, EXCHANGE = ctypes.CDLL(None, use_errno=True), -100, 2
pairs = [(os.fsencode(one), os.fsencode(one + ".link")) for one in sys.argv[1:]]
print("go", flush=True)
while True:
    for file, link in pairs:
        libc.renameat2(AT, file, AT, link, EXCHANGE)
"""


@contextmanager
def exchanging(paths: list[Path]) -> Iterator[None]:
    """Another process that exchanges files and links beside them, as fast as it can."""
    with subprocess.Popen([sys.executable, "-c", EXCHANGER, *map(str, paths)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"go\n"
        yield
        process.kill()


@pytest.mark.heavy
def test_files_and_links_that_change_places_all_the_time(shop: Shop) -> None:
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("the C library has no renameat2")
    theirs = victim(shop)
    other = shop.settings.home / "unrelated"
    other.mkdir()
    other.chmod(0o755)
    paths = [shop.drop(f"{n}.xlsx", xlsx_of({**BAD, "Comments": f"mine {n}"})) for n in range(40)]
    for number, path in enumerate(paths):
        path.with_name(f"{path.name}.link").symlink_to(theirs if number % 2 else other)
    with exchanging(paths):
        end = time.monotonic() + 30
        while time.monotonic() < end and len(answered(shop)) < len(paths):
            with suppress(Exception):
                shop.run()
    assert stat.S_IMODE(other.stat().st_mode) == 0o755
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600
    assert found_in(shop.settings.outbox / "acme", [MARK]) == []
    assert [path for path in (shop.settings.outbox / "acme").rglob("*") if path.is_symlink()] == []


# -- hard links and open handles ---------------------------------------------------------------------------------------


def test_a_hard_link_lets_nothing_happen_to_the_file_elsewhere(shop: Shop) -> None:
    """It is answered or left alone, and the file that it also is stays as it was."""
    content = csv_of(row("A", quantity="2"))
    elsewhere = shop.settings.home / "elsewhere.csv"
    elsewhere.write_bytes(content)
    elsewhere.chmod(0o644)
    os.link(elsewhere, shop.settings.inbox / "acme" / "orders.csv")
    shop.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    run_twice(shop, lambda _: None)
    assert (stat.S_IMODE(elsewhere.stat().st_mode), elsewhere.read_bytes()) == (0o644, content)
    assert len(answered(shop, "globex")) == 1
    assert len(answered(shop)) <= 1
    with elsewhere.open("ab") as file:
        file.write(b"10023456,7001,8008604444,Z,1000\n")
    assert [path.read_bytes() for folder in answered(shop) for path in folder.glob("orders.csv")] in ([], [content])


def test_the_archived_original_stays_what_was_answered(shop: Shop) -> None:
    content = csv_of(row("A", quantity="2"))
    path = shop.drop("orders.csv", content)
    with path.open("ab") as upload:
        (answer,) = shop.run()
        upload.write(b"10023456,7001,8008604444,Z,1000\n")
    assert (answer.folder / "orders.csv").read_bytes() == content


# -- uploads that go on ------------------------------------------------------------------------------------------------


def test_an_upload_that_goes_on_is_answered_for_what_was_read_and_then_as_a_whole(shop: Shop) -> None:
    for number in range(CHECKPOINTS):
        first = csv_of(row(f"A{number}", quantity="2"))
        path = shop.drop(f"{number}.csv", first)
        with path.open("ab", buffering=0) as upload:
            more = csv_of(row(f"B{number}", quantity="3")).partition(b"\n")[2]
            answers = shop.run(at_checkpoint(number, lambda: upload.write(more)))  # noqa: B023
        grown = path.exists()
        answers += shop.run()
        for answer in answers:
            (original,) = answer.folder.glob(f"{number}.csv")
            content = original.read_bytes()
            assert content in (first, first + more)
            grown = grown or content == first + more
            assert answer.result["rows"] == content.count(b"\n") - 1, "the archived original is not what was answered"
        placed = {order for answer in answers for order in answer.confirmation["Customer Order ID"]}
        assert placed == ({f"A{number}", f"B{number}"} if grown else {f"A{number}"})
        assert not path.exists()


# -- what is no file ---------------------------------------------------------------------------------------------------


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "inside.csv").write_bytes(csv_of(row("INSIDE", quantity="1")))


def feed(path: Path, hung: threading.Event, done: threading.Event) -> None:
    """After a while let go whoever waits at a pipe, so that a test fails instead of hanging."""
    if not done.wait(5):
        hung.set()
        while not done.wait(0.2):
            with suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("make", [pytest.param(make_pipe), make_folder])
def test_a_pipe_or_folder_swapped_in_stops_nobody(make: Callable[[Path], None], shop: Shop) -> None:
    for number in range(CHECKPOINTS):
        path = shop.drop(f"{number}.xlsx", xlsx_of(BAD))
        good = shop.drop(f"good{number}.csv", csv_of(globex(f"GOOD{number}", quantity="1")), "globex")
        hung, done = threading.Event(), threading.Event()
        watchdog = threading.Thread(target=feed, args=(path, hung, done))
        watchdog.start()
        try:
            shop.run(at_checkpoint(number, lambda: make(path)))  # noqa: B023
            shop.run()
        finally:
            done.set()
            watchdog.join()
        assert not hung.is_set(), f"it waits at the pipe (checkpoint {number})"
        assert not good.exists()
    assert len(answered(shop, "globex")) == CHECKPOINTS
    assert found_in(shop.settings.outbox / "acme", ["INSIDE"]) == []


def test_what_is_no_file_is_left_alone(shop: Shop) -> None:
    folder = shop.settings.inbox / "acme"
    make_pipe(folder / "pipe.csv")
    make_folder(folder / "folder.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "up").symlink_to(shop.settings.inbox / "globex")
    shop.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    assert [answer.result["file"] for answer in shop.run()] == ["good.csv"]


WATCHER = """
import sys, threading
from pathlib import Path
from pipelines.serving import watcher
for look in watcher.looks(Path(sys.argv[1]), 0.1, threading.Event()):
    if look and look.is_new:
        print(sum(f.read_text().count("inotify wd") for f in Path("/proc/self/fdinfo").iterdir() if f.exists()), flush=True)
        break
"""


@pytest.mark.parametrize("link", ["acme/link", "acme/folder/link"])
def test_who_watches_the_inbox_follows_no_link(link: str, shop: Shop) -> None:
    """A link to a large tree takes the machine's inotify watches, and one to /sys never ends."""
    tree = shop.settings.home / "tree"
    for number in range(200):
        (tree / str(number)).mkdir(parents=True)
    path = shop.settings.inbox / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tree)
    shop.drop("good.csv", csv_of(globex("GOOD", quantity="1")), "globex")
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(shop.settings.inbox)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) < 20


@pytest.mark.slow
def test_folders_that_come_and_go_are_watched_as_they_are_now(tmp_path: Path) -> None:
    """Also an inbox that is made later, when nothing can be watched yet, and a file that has a second name at first."""
    inbox, stop = tmp_path / "inbox", threading.Event()
    reports = watcher.looks(inbox, 0.2, stop)

    def heard(seconds: float = 1.2) -> int:
        end = time.monotonic() + seconds
        looks = (next(reports) for _ in iter(lambda: time.monotonic() < end, False))
        return sum(look.is_new for look in looks if look)

    assert heard(0.6) == 0
    for number in range(2):
        (inbox / "acme").mkdir(parents=True)
        assert heard(0.6) == 0
        (inbox / "acme" / f"{number}.csv").write_text("x")
        assert heard() == 1
        shutil.rmtree(inbox / "acme")
        assert heard(0.6) == 0
    (inbox / "acme").mkdir()
    uploaded = tmp_path / "upload.tmp"
    uploaded.write_text("x")
    os.link(uploaded, inbox / "acme" / "linked.csv")
    assert heard() == 0
    uploaded.unlink()
    assert heard() == 1
    stop.set()
    assert list(reports) == []


# -- names -------------------------------------------------------------------------------------------------------------

LONG = [
    pytest.param(f"{start}{'n' * (251 - len(start))}.csv", id=start or "plain")
    for start in ("", "index.", "status.", "confirmation.", "release-", "refused-")
]


@pytest.mark.parametrize("name", LONG)
def test_a_long_name_is_answered_and_archived(name: str, shop: Shop) -> None:
    content = csv_of(row("A", quantity="1"))
    shop.drop(name, content)
    assert len(shop.run()) == 1
    assert shop.run() == []
    assert shop.waiting() == []
    assert len(answered(shop)) == 1
    assert content in [one.read_bytes() for one in answered(shop)[0].iterdir()]


OURS = ["confirmation.csv", "rejections.csv", "confirmation.xlsx", "release-10023456-1.csv", "refused-10023456-1.csv",
        "outcome-10023456-1.csv", "index.csv", "Confirmation.csv",
        "original-confirmation.csv", *(pytest.param(name)
                                       for name in ("status.json", "STATUS.JSON"))]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_a_file_named_like_a_report_takes_no_reports_place(name: str, shop: Shop) -> None:
    content = csv_of(row("A", quantity="1"), row("B", code="12"))
    shop.drop(name, content)
    (answer,) = shop.run()
    assert (len(answer.codes), answer.reasons) == (1, {3: ["CODE_FORMAT"]})
    holders = [one.name.lower() for one in answer.folder.iterdir() if one.read_bytes() == content]
    assert len(holders) == 1
    assert not {*holders} & {"confirmation.csv", "confirmation.xlsx", "rejections.csv", "rejections.xlsx", "status.json"}
    assert shop.waiting() == []
