"""Several users for real: what a service and its resellers may do, tried as each of them. Needs root."""

import grp
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.security.attack import ROOT, Ended, House, catalogue_of

SERVICE_UID, ACME_UID, GLOBEX_UID, NETWORK_UID, STRANGER_UID = range(61_001, 61_006)
NAMES = {reseller: f"cards-t{os.getpid()}-{reseller}" for reseller in ("acme", "globex")}
"""The groups that `cards init --group` is given, of this process alone: others test beside it. The others are numbers alone."""


class Person(NamedTuple):
    """A user of the machine: a number and its groups; no entry of /etc/passwd is needed."""

    uid: int
    groups: tuple[int, ...]

    @property
    def prefix(self) -> list[str]:
        """The command that becomes this person."""
        groups = ",".join(map(str, self.groups))
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.groups[0]}", f"--groups={groups}", "--"]

    def tries(self, script: str, *arguments: str, cwd: Path, content: bytes = b"") -> Ended:
        """Run a shell script as this person in a folder, however it came there (a chroot or a bind mount leads to it)."""
        command = [*self.prefix, "sh", "-c", script, "sh", *arguments]
        done = subprocess.run(command, cwd=cwd, input=content, capture_output=True, check=False)
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def readable(self, folder: Path) -> set[Path]:
        """All files below a folder that the modes let this person read."""
        found = set()
        for parent, _, names in os.walk(folder):
            said = self.tries('for f; do head -c1 "./$f" >/dev/null 2>&1 && echo "$f"; done', *names, cwd=Path(parent)).out
            found |= {Path(parent, name) for name in said.splitlines()}
        return found

    def drops(self, folder: Path, name: str, content: bytes, mode: int = 0o640) -> Path:
        """Put a file into a folder, as an SFTP server does for this person."""
        done = self.tries('umask 0; cat > "./$1" && chmod "$2" "./$1"', name, f"{mode:o}", cwd=folder, content=content)
        assert done.code == 0, done
        return folder / name


def opened() -> list[str]:
    """A command prefix with which every user can run this interpreter, where its folder is closed to others (/root): in a
    mount namespace of its own the folder shows nothing but what is needed.
    """
    needed = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT})
    closed = {
        parent for path in needed for parent in path.parents if not parent.stat().st_mode & stat.S_IXOTH
        and all(other.stat().st_mode & stat.S_IXOTH for other in parent.parents)
    }  # fmt: skip
    if not closed:
        return []
    script = ["k=$(mktemp -d)"]
    inside = [path for path in needed if any(parent in path.parents for parent in closed)]
    for number, path in enumerate(inside):
        script += [f"mkdir $k/{number}", f"mount --bind '{path}' $k/{number}"]
    script += [f"mount -t tmpfs -o mode=755 tmpfs '{parent}'" for parent in closed]
    for number, path in enumerate(inside):
        script += [f"mkdir -p '{path}'", f"mount --bind $k/{number} '{path}'"]
    # the mount point in /tmp goes with the namespace; its folder is removed when it is empty again
    script = ["u=$(umask)", "umask 022", *script, "umount $k/*", "rm -r $k", 'umask $u; exec "$@"']
    return ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh"]


class Town:
    """A home of the service's, and the people around it."""

    def __init__(self, folder: Path, groups: dict[str, int], share: str) -> None:
        self.folder, self.home, self.groups, self.share = folder, folder / "home", groups, share
        self.service = Person(SERVICE_UID, (SERVICE_UID, groups["acme"], groups["globex"], NETWORK_UID))
        self.acme = Person(ACME_UID, (ACME_UID, groups["acme"]))
        self.globex = Person(GLOBEX_UID, (GLOBEX_UID, groups["globex"]))
        self.network = Person(NETWORK_UID, (NETWORK_UID,))
        self.stranger = Person(STRANGER_UID, (STRANGER_UID,))
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        more = {
            "CARDS_SHARE": share,
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.house = House(self.home, **more)
        self._opened = opened()

    def cards(self, *arguments: str, code: int | None = 0, umask: int = 0o022) -> Ended:
        """Run a command as the service's user."""
        return self.house.cards(*arguments, code=code, as_user=[*self._opened, *self.service.prefix], umask=umask)

    def inbox(self, source: str) -> Path:
        return self.house.inbox / source

    def outbox(self, source: str) -> Path:
        return self.house.outbox / source

    def mode(self, path: Path) -> str:
        return f"{stat.S_IMODE(path.stat().st_mode):o}"


def lay_private(town: Town) -> None:
    """The usual layout of an SFTP server, made by hand."""
    town.home.mkdir()
    town.home.chmod(0o711)
    os.chown(town.home, SERVICE_UID, SERVICE_UID)
    for folder, group, mode in (
        (town.house.inbox, SERVICE_UID, 0o711), (town.inbox("acme"), town.groups["acme"], 0o2770),
        (town.inbox("globex"), town.groups["globex"], 0o2770), (town.inbox("network"), NETWORK_UID, 0o2770),
    ):  # fmt: skip
        folder.mkdir()
        os.chown(folder, SERVICE_UID, group)
        folder.chmod(mode)


def lay_by_init(town: Town) -> None:
    """The tree that `cards init` makes."""
    town.home.mkdir()
    town.home.chmod(0o711)
    os.chown(town.home, SERVICE_UID, SERVICE_UID)
    town.cards("init")
    for reseller, group in NAMES.items():
        town.cards("init", "--reseller", reseller, "--group", group)
    town.inbox("network").mkdir(exist_ok=True)
    os.chown(town.inbox("network"), SERVICE_UID, NETWORK_UID)
    town.inbox("network").chmod(0o2770)


def lay_for_groups(town: Town) -> None:
    """The tree that `cards init` is to make, made by hand."""
    lay_private(town)
    town.house.outbox.mkdir()
    for reseller in NAMES:
        town.outbox(reseller).mkdir()
        os.chown(town.outbox(reseller), SERVICE_UID, town.groups[reseller])
        town.outbox(reseller).chmod(0o2750)
    os.chown(town.house.outbox, SERVICE_UID, SERVICE_UID)
    town.house.outbox.chmod(0o711)


@contextmanager
def town(share: str, lay: Callable[[Town], None] | None = None, parent: str = "/tmp") -> Iterator[Town]:
    """A home with a catalogue below `parent`, laid by hand (private) or by `cards init` (group)."""
    if os.geteuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("needs root, and setpriv and unshare of util-linux")
    folder = Path(tempfile.mkdtemp(prefix="cards-people-", dir=parent))
    folder.chmod(0o755)
    made: list[str] = []
    try:
        groups = {"acme": 61_102, "globex": 61_103}
        if share == "group":
            if not shutil.which("groupadd"):
                pytest.skip("needs groupadd: `cards init --group` takes a name")
            for reseller, name in NAMES.items():
                subprocess.run(["groupadd", "-f", name], check=True)
                made.append(name)
                groups[reseller] = grp.getgrnam(name).gr_gid
        one = Town(folder, groups, share)
        (lay or (lay_by_init if share == "group" else lay_private))(one)
        book = catalogue_of(folder / "catalogue.xlsx")
        book.chmod(0o644)
        one.cards("catalog", "load", str(book))
        yield one
    finally:
        for name in made:
            subprocess.run(["groupdel", name], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def give_default_acl(folder: Path, uid: int) -> None:
    """Let a user read what will be made in a folder, as `setfacl -d -m u:UID:rX` does."""
    unnamed = 0xFFFFFFFF
    entries = [(1, 7, unnamed), (2, 5, uid), (4, 0, unnamed), (0x10, 5, unnamed), (0x20, 0, unnamed)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        for name in ("system.posix_acl_default", "system.posix_acl_access"):
            os.setxattr(folder, name, acl)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs ({error.strerror})")
