"""Disks that are full, cannot be written, are not there or are not ours: each is reported in one line, and nothing is lost."""

import os
import re
import shutil
from pathlib import Path

import pytest

from pipelines.common.errors import CardsError, TransientError
from pipelines.registry.store import open_registry
from tests.conftest import NewRegistry, Shop, csv_of, row
from tests.faults.invariants import assert_sound, digest, dropped
from tests.faults.killing import environment, fill, fill_night
from tests.faults.stage import fill_up, remount, small_disk
from tests.faults.worker import Worker

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize("leave", [0, 12_000, 60_000])
def test_a_full_outbox_keeps_the_files_and_the_next_run_answers_them(leave: int, shop: Shop) -> None:
    fill(shop)
    files = dropped(shop)
    with small_disk(shop.settings.outbox):
        ballast = fill_up(shop.settings.outbox, leave)
        shop.run()
        assert re.search("[Nn]o space left", str(shop.failures[0]))
        assert "\n" not in str(shop.failures[0])
        assert set(files) <= {*dropped(shop), *_moved(shop)}  # still there, or moved whole
        ballast.unlink()
        shop.run()
        assert_sound(shop, files)


def _moved(shop: Shop) -> list[tuple[str, str]]:
    return [(path.parent.parent.name, digest(path)) for path in shop.settings.outbox.glob("*/*/*") if path.is_file()]


def test_a_full_outbox_at_night_loses_nothing(shop: Shop) -> None:
    fill_night(shop)
    files = dropped(shop)
    kept = shop.settings.home / "kept"
    shop.settings.outbox.rename(kept)
    with small_disk(shop.settings.outbox, "1200k"):
        shutil.copytree(kept, shop.settings.outbox, dirs_exist_ok=True)
        for path in shop.settings.outbox.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        ballast = fill_up(shop.settings.outbox, 8_000)
        with pytest.raises((CardsError, OSError), match=r"[Nn]o space left"):
            shop.night()
        ballast.unlink()
        result = shop.night()
        assert (result["codes_ready"], result["codes_refused"], result["codes_replaced"]) == (6, 6, 5)
        assert_sound(shop, files)


def test_a_full_disk_of_the_registry_enters_a_file_or_not(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        shop = Shop(tmp_path / "home", f"sqlite:///{disk}/registry.db")
        fill(shop)
        shop.drop("large.csv", csv_of(row("L", quantity="5000")))
        files = dropped(shop)
        ballast = fill_up(disk, 200_000)
        with pytest.raises(TransientError, match="database or disk is full"):
            shop.run()
        ballast.unlink()
        shop.run()
        assert_sound(shop, files)
        shop.registry.close()


def test_a_full_temporary_folder_stops_nothing(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    files = dropped(shop)
    with small_disk(tmp_path / "temporary") as temporary, Worker(tmp_path / "worker") as worker:
        fill_up(temporary)
        ended = worker.run("run", environment={**environment(shop), "TMPDIR": str(temporary)})
        assert (ended.code, ended.err) == (0, "")
    assert_sound(shop, files)


def test_a_read_only_outbox_is_reported_and_the_files_wait(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    files = dropped(shop)
    with small_disk(shop.settings.outbox, "4m"), Worker(tmp_path / "worker") as worker:
        remount(shop.settings.outbox, "ro")
        ended = worker.run("run", environment=environment(shop))
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "Submissions: none\n", 1)
        assert "Read-only file system" in ended.err
        assert dropped(shop) == files
        remount(shop.settings.outbox, "rw")
        assert worker.run("run", environment=environment(shop)).code == 0
        assert_sound(shop, files)


def test_an_outbox_that_is_a_file_is_reported_and_a_missing_one_is_made(shop: Shop) -> None:
    fill(shop)
    files = dropped(shop)
    shop.settings.outbox.write_bytes(b"")
    shop.run()
    assert "can't be made" in str(shop.failures[0])
    assert dropped(shop) == files
    shop.settings.outbox.unlink()
    shop.run()
    assert_sound(shop, files)


def test_folders_that_are_not_ours_are_reported(shop: Shop, tmp_path: Path) -> None:
    """As another user than root, who may write everywhere."""
    fill(shop)
    files = dropped(shop)
    if os.getuid():
        pytest.skip("only root can be another user")
    outbox = shop.settings.outbox
    outbox.mkdir(mode=0o700)
    pid = os.fork()
    if not pid:  # the child only asks the system, nothing of ours
        os.setuid(65534)
        os._exit(os.access(outbox, os.W_OK))
    assert os.waitpid(pid, 0)[1] == 0
    shop.run()
    assert_sound(shop, files)


def test_a_registry_folder_that_is_missing_or_read_only_is_reported(tmp_path: Path, sqlite: NewRegistry) -> None:
    with pytest.raises(CardsError, match="of the registry does not exist"):
        open_registry(f"sqlite:///{tmp_path}/none/registry.db")
    with small_disk(tmp_path / "disk", "4m") as disk:
        open_registry(f"sqlite:///{disk}/registry.db").close()
        remount(disk, "ro")
        with Worker(tmp_path / "worker") as worker:
            ended = worker.run(
                "run", environment={"CARDS_HOME": str(tmp_path), "CARDS_REGISTRY": f"sqlite:///{disk}/registry.db"}
            )
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "Read-only file system" in ended.err
