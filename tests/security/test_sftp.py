"""A real OpenSSH server on loopback: each reseller in a folder of its own, upload, answer, download. Needs root.

docs/sftp.md has the same configuration for a real machine.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import csv_of, read_csv, row, xlsx_of
from tests.security.attack import Ended, found_in, globex
from tests.security.people import NAMES, Town, lay_by_init, lay_for_groups, town

pytestmark = pytest.mark.long

SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host-key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/keys/%u
UsePAM no
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowGroups {groups}
LogLevel VERBOSE
Subsystem sftp internal-sftp

Match Group {match}
    ChrootDirectory {folder}/sftp/%u
    ForceCommand internal-sftp -u 0027{refused}
    DisableForwarding yes
    PermitTTY no
    PermitUserRC no
"""


class Sftp(NamedTuple):
    """A server that runs, and the home behind it."""

    place: Town
    port: int

    def does(self, reseller: str, *commands: str) -> Ended:
        """Commands of an SFTP session, one after another; those with a `-` before them may fail."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "ConnectTimeout=10",
        ]
        done = subprocess.run(
            ["sftp", "-P", str(self.port), "-i", str(self.place.folder / "client-key"), *(f"-o{one}" for one in options),
             "-b", "-", f"{NAMES[reseller]}@127.0.0.1"],
            input="\n".join([*commands, ""]), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


@contextmanager
def users() -> Iterator[None]:
    """A user for each reseller, in the group of the same name, who can do nothing but SFTP."""
    for name in NAMES.values():
        run(
            "useradd",
            "--no-create-home",
            "--home-dir",
            "/",
            "--shell",
            "/usr/sbin/nologin",
            "--gid",
            name,
            "--password",
            "*",
            name,
        )
    try:
        yield
    finally:
        for name in NAMES.values():
            subprocess.run(["userdel", name], check=False, capture_output=True)


@contextmanager
def chroots(place: Town) -> Iterator[None]:
    """Folders of root's that show a reseller its inbox and its outbox, and nothing else."""
    mounts: list[Path] = []
    try:
        for reseller, name in NAMES.items():
            for what in ("inbox", "outbox"):
                point = place.folder / "sftp" / name / what
                point.mkdir(parents=True)
                run("mount", "--bind", *(["-o", "ro"] if what == "outbox" else []), place.home / what / reseller, point)
                mounts.append(point)
        yield
    finally:
        for point in mounts:
            subprocess.run(["umount", "-l", str(point)], check=False, capture_output=True)


@contextmanager
def sshd(place: Town, refused: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = place.folder
    (folder / "keys").mkdir()
    for key in ("host-key", "client-key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    for name in NAMES.values():
        shutil.copy(folder / "client-key.pub", folder / "keys" / name)
    groups = list(NAMES.values())
    config = folder / "sshd_config"
    config.write_text(
        SSHD_CONFIG.format(port=port, folder=folder, groups=" ".join(groups), match=",".join(groups), refused=refused)
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (
        (folder / "sshd.log").open("wb") as log,
        subprocess.Popen(
            [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", config], stdout=log, stderr=log
        ) as process,
    ):
        try:
            for _ in range(100):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, (folder / "sshd.log").read_text()
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


@contextmanager
def server(lay: Callable[[Town], None], refused: str = " -P symlink,hardlink") -> Iterator[Sftp]:
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()) or not shutil.which("sftp") or not shutil.which("useradd"):
        pytest.skip("needs OpenSSH's server and client, and useradd (Debian: apt-get install openssh-server)")
    # sshd takes a chroot only below folders that nobody but root can write, which /tmp is not
    with town("group", lay, "/srv") as place, users(), chroots(place), sshd(place, refused) as port:
        yield Sftp(place, port)


@pytest.fixture
def by_hand() -> Iterator[Sftp]:
    """The tree of `cards init`, made by hand."""
    with server(lay_for_groups) as made:
        yield made


@pytest.fixture(params=[" -P symlink,hardlink", ""], ids=["no links", "links"])
def by_init(request: pytest.FixtureRequest) -> Iterator[Sftp]:
    """The tree that `cards init` makes; the server lets resellers make links, or not."""
    with server(lay_by_init, request.param) as made:
        yield made


def test_a_reseller_sees_two_folders_and_can_write_one(by_hand: Sftp, tmp_path: Path) -> None:
    local = tmp_path / "orders.csv"
    local.write_bytes(csv_of(row("A", quantity="1")))
    assert by_hand.does("acme", "ls -1 /").out.split() == ["sftp>", "ls", "-1", "/", "/inbox", "/outbox"]
    assert by_hand.does("acme", f"put {local} inbox/orders.csv").code == 0
    (found,) = by_hand.place.inbox("acme").iterdir()
    assert f"{found.stat().st_mode & 0o7777:o}" == "640"
    assert found.stat().st_gid == by_hand.place.groups["acme"]
    for command in (
        f"put {local} outbox/x.csv", "mkdir outbox/x", f"put {local} x.csv", "mkdir x", "ln -s /etc/passwd inbox/x",
        "ln inbox/orders.csv inbox/y", "ls ../../../etc/ssh", "get /etc/passwd", "cd ../globex", "chmod 777 outbox",
        "chmod 777 inbox", "rename outbox inbox/outbox", "rmdir inbox",
    ):  # fmt: skip
        assert by_hand.does("acme", command).code, command
    options = ["-oStrictHostKeyChecking=no", "-oBatchMode=yes", "-oUserKnownHostsFile=/dev/null"]
    key = by_hand.place.folder / "client-key"
    ssh = ["ssh", "-p", str(by_hand.port), "-i", str(key), *options, f"{NAMES['acme']}@127.0.0.1", "id"]
    assert b"uid" not in subprocess.run(ssh, capture_output=True, check=False, timeout=30).stdout


def test_upload_answer_download(by_init: Sftp, tmp_path: Path) -> None:
    files = {"acme": xlsx_of(row("A", quantity="2"), row("B", code="12")), "globex": csv_of(globex("G", quantity="3"))}
    names = {"acme": "orders.xlsx", "globex": "orders.csv"}
    for reseller, content in files.items():
        (tmp_path / names[reseller]).write_bytes(content)
        assert by_init.does(reseller, f"put {tmp_path / names[reseller]} inbox/").code == 0
    by_init.place.cards("run")
    by_init.place.cards("verify")
    codes = {}
    for reseller, content in files.items():
        into = tmp_path / reseller
        into.mkdir()
        assert by_init.does(reseller, f"get -R outbox/* {into}").code == 0
        assert by_init.does(reseller, "ls -1 inbox").out.split() == ["sftp>", "ls", "-1", "inbox"]
        (confirmation,) = into.rglob("confirmation.csv")
        codes[reseller] = [code for code in read_csv(confirmation)["Authorization Code"] if code]
        assert (confirmation.parent / names[reseller]).read_bytes() == content
    assert {reseller: len(found) for reseller, found in codes.items()} == {"acme": 2, "globex": 3}
    assert found_in(tmp_path / "acme", codes["globex"]) == []
    assert found_in(tmp_path / "globex", codes["acme"]) == []


def test_what_a_session_can_do_to_an_answer_and_to_a_file_in_hand(by_init: Sftp, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(csv_of(row("A", quantity="2")))
    by_init.does("acme", f"put {tmp_path / 'orders.csv'} inbox/")
    by_init.place.cards("run")
    before = {path: path.read_bytes() for path in by_init.place.outbox("acme").rglob("*") if path.is_file()}
    (folder,) = {path.parent.name for path in before if path.name == "confirmation.csv"}
    # links to an answer of one's own, to another's by any way there may be, a folder, a file that is read-only
    answer, local = f"outbox/{folder}/confirmation.csv", tmp_path / "orders.csv"
    by_init.does(
        "acme", f"-ln {answer} inbox/hard.csv", f"-ln -s ../{answer} inbox/soft.csv", "-ln -s /sys inbox/sys",
        "-mkdir inbox/folder", f"-put {local} inbox/folder/inside.csv", f"-rm {answer}", f"-rename outbox/{folder} outbox/gone",
        f"-rmdir outbox/{folder}", f"-chmod 777 {answer}", f"-put {local} inbox/closed.csv", "-chmod 000 inbox/closed.csv",
    )  # fmt: skip
    said = by_init.place.cards("run", code=None).said
    assert "closed.csv" in said
    assert {path: path.read_bytes() for path in before} == before
    by_init.does("globex", f"put {tmp_path / 'orders.csv'} inbox/theirs.csv")
    by_init.place.cards("run", code=None)
    assert list(by_init.place.outbox("globex").glob("*/theirs.csv"))
