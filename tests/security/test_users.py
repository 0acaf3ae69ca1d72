"""The service is one user of the machine and every reseller another: who can read what, and who stops whom (item 5)."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import csv_of, read_csv, row
from tests.security.attack import globex
from tests.security.people import NAMES, SERVICE_UID, Person, Town, give_default_acl, town

pytestmark = pytest.mark.slow

MINE, THEIRS = csv_of(row("MINE", quantity="2"), row("BAD", code="12")), csv_of(globex("THEIRS", quantity="3"))


@pytest.fixture
def private() -> Iterator[Town]:
    with town("private") as made:
        yield made


@pytest.fixture
def group() -> Iterator[Town]:
    with town("group") as made:
        yield made


def drop_both(place: Town) -> None:
    place.acme.drops(place.inbox("acme"), "orders.csv", MINE)
    place.globex.drops(place.inbox("globex"), "orders.csv", THEIRS)


def release(place: Town) -> None:
    """The network has all that was ordered."""
    pairs = [pair for path in place.house.outbox.glob("*/*/confirmation.csv")
             for pair in read_csv(path).select("Order ID", "Authorization Code").iter_rows()]  # fmt: skip
    text = "\n".join(["Order ID,Authorization Code", *map(",".join, pairs), ""])
    place.network.drops(place.inbox("network"), "report.csv", text.encode())
    place.cards("reconcile")


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def modes(folder: Path) -> dict[str, set[str]]:
    """The modes of the folders and files below a folder, and of itself."""
    found: dict[str, set[str]] = {"folders": set(), "files": set()}
    for path in (folder, *folder.rglob("*")):
        found["folders" if path.is_dir() else "files"].add(f"{stat.S_IMODE(path.stat().st_mode):o}")
    return found


# -- private -----------------------------------------------------------------------------------------------------------


def test_files_of_other_owners_are_answered_and_only_the_service_reads_the_answers(private: Town) -> None:
    drop_both(private)
    private.cards("run")
    release(private)
    assert [files(private.inbox(source)) for source in ("acme", "globex", "network")] == [set()] * 3
    for source in ("acme", "globex"):
        assert {path.name for path in files(private.outbox(source))} > {"orders.csv", "confirmation.csv"}
        assert list(private.outbox(source).glob("*/release-*.csv"))
        assert {path.stat().st_uid for path in private.outbox(source).rglob("*")} == {SERVICE_UID}
    assert modes(private.house.outbox) == {"folders": {"700"}, "files": {"600"}}
    assert {private.mode(path) for path in private.home.glob("registry.db*")} == {"600"}
    for person in (private.acme, private.globex, private.network, private.stranger):
        assert person.readable(private.home) == set()
    private.cards("verify")
    private.cards("run")


@pytest.mark.parametrize("mode", [0o440, 0o6777])
def test_whatever_mode_a_file_came_with_it_is_archived_as_ours(mode: int, private: Town) -> None:
    private.acme.drops(private.inbox("acme"), "orders.csv", MINE, mode)
    private.cards("run")
    (archived,) = private.outbox("acme").glob("*/orders.csv")
    assert (private.mode(archived), archived.stat().st_uid) == ("600", SERVICE_UID)


def test_default_acls_of_an_outbox_are_kept(private: Town) -> None:
    private.house.outbox.mkdir(mode=0o711)
    private.outbox("acme").mkdir(mode=0o700)
    for path in (private.house.outbox, private.outbox("acme")):
        os.chown(path, SERVICE_UID, SERVICE_UID)
    give_default_acl(private.outbox("acme"), private.acme.uid)
    drop_both(private)
    private.cards("run")
    assert {path.name for path in private.acme.readable(private.outbox("acme"))} > {"confirmation.csv", "rejections.csv"}
    assert private.globex.readable(private.home) == set()
    assert private.acme.readable(private.home) <= files(private.outbox("acme"))


# -- group -------------------------------------------------------------------------------------------------------------


def reseller(place: Town, name: str) -> Person:
    return {"acme": place.acme, "globex": place.globex}[name]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_each_reseller_reads_exactly_its_own_answers(umask: int, group: Town) -> None:
    drop_both(group)
    group.cards("run", umask=umask)
    release(group)
    for name in ("acme", "globex"):
        own = files(group.outbox(name))
        assert {path.name for path in own} > {"orders.csv", "confirmation.csv", "confirmation.xlsx"}
        assert list(group.outbox(name).glob("*/release-*.csv"))
        assert reseller(group, name).readable(group.home) == own
        assert modes(group.outbox(name)) == {"folders": {"2750"}, "files": {"640"}}
        assert {path.stat().st_gid for path in group.outbox(name).rglob("*")} == {group.groups[name]}
    assert group.stranger.readable(group.home) == set()
    assert group.network.readable(group.home) == set()
    group.cards("verify")


def test_a_reseller_changes_nothing_in_its_outbox(group: Town) -> None:
    drop_both(group)
    group.cards("run")
    before = {path: path.read_bytes() for path in files(group.outbox("acme"))}
    (folder,) = (path for path in group.outbox("acme").iterdir() if path.is_dir())
    for cwd in (group.outbox("acme"), folder):
        for script in ("touch new", "mkdir new", "ln -s / new", "rm -rf ./*", "for f in *; do mv $f x$f; done",
                       "chmod -R 777 .", "for f in *; do echo x > $f; done", "for f in *; do ln $f new; done"):  # fmt: skip
            group.acme.tries(script, cwd=cwd)
    assert {path: path.read_bytes() for path in files(group.outbox("acme"))} == before


def test_init_makes_what_the_specification_says_and_does_it_twice(group: Town) -> None:
    for _ in range(2):
        assert group.mode(group.inbox("acme")) == "2770"
        assert group.mode(group.outbox("acme")) == "2750"
        assert group.inbox("acme").stat().st_gid == group.outbox("acme").stat().st_gid == group.groups["acme"]
        assert group.inbox("acme").stat().st_uid == SERVICE_UID
        group.cards("init", "--reseller", "acme", "--group", NAMES["acme"])
    for name in ("network", "../acme", "a/b", ".hidden"):
        group.cards("init", "--reseller", name, "--group", NAMES["acme"], code=2)


def test_verify_names_what_is_open_wider_than_the_setting(group: Town) -> None:
    drop_both(group)
    group.cards("run")
    (path,) = group.outbox("acme").glob("*/confirmation.csv")
    path.chmod(0o644)
    assert "confirmation.csv" in group.cards("verify", code=1).said
    path.chmod(0o640)
    os.chown(path, -1, group.groups["globex"])
    assert "confirmation.csv" in group.cards("verify", code=1).said


# -- what one of them leaves unreadable --------------------------------------------------------------------------------


def test_a_file_that_the_service_cant_read_is_named_and_the_others_go_on(private: Town) -> None:
    private.acme.drops(private.inbox("acme"), "closed.csv", MINE, 0o600)
    drop_both(private)
    said = private.cards("run", code=1).said
    assert "closed.csv" in said
    assert {path.name for path in private.house.outbox.glob("*/*/orders.csv")} == {"orders.csv"}
    assert len(list(private.house.outbox.glob("*/*/confirmation.csv"))) == 2
    assert files(private.inbox("acme")) == {private.inbox("acme") / "closed.csv"}
    private.acme.tries("chmod 640 closed.csv", cwd=private.inbox("acme"))
    private.cards("run")
    assert files(private.inbox("acme")) == set()


@pytest.mark.parametrize("which", ["inbox", "outbox"])
def test_a_folder_that_the_service_cant_enter_is_named_and_the_others_go_on(which: str, private: Town) -> None:
    drop_both(private)
    closed = private.inbox("globex") if which == "inbox" else private.outbox("globex")
    if which == "outbox":
        closed.parent.mkdir(mode=0o700)
        closed.mkdir()
        os.chown(closed.parent, SERVICE_UID, SERVICE_UID)
    os.chown(closed, private.globex.uid, private.globex.uid)
    closed.chmod(0o700)
    said = private.cards("run", code=1).said
    assert "globex" in said
    assert list(private.outbox("acme").glob("*/confirmation.csv"))
    assert files(private.inbox("acme")) == set()
    os.chown(closed, SERVICE_UID, private.groups["globex"])
    private.cards("run")
    assert list(private.outbox("globex").glob("*/confirmation.csv"))


def test_a_file_that_the_service_cant_remove_is_answered_once(private: Town) -> None:
    os.chown(private.inbox("acme"), private.acme.uid, private.groups["acme"])
    private.inbox("acme").chmod(0o2750)
    drop_both(private)
    for _ in range(3):
        private.cards("run", code=None)
    assert len(list(private.outbox("acme").glob("*/confirmation.csv"))) == 1
    assert len(list(private.outbox("globex").glob("*/confirmation.csv"))) == 1


def test_a_report_of_another_owner_is_taken(private: Town) -> None:
    drop_both(private)
    private.cards("run")
    release(private)
    assert files(private.inbox("network")) == set()
    private.cards("reconcile")


def test_a_reseller_has_no_way_into_anothers_inbox(private: Town) -> None:
    """What the layout itself promises, so that the tests above mean something."""
    drop_both(private)
    assert private.acme.readable(private.home) == files(private.inbox("acme"))
    assert private.acme.tries("touch x", cwd=private.inbox("globex")).code
    assert private.stranger.readable(private.home) == set()
    assert private.service.readable(private.house.inbox) == files(private.house.inbox)
