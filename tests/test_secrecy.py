"""Codes are in the registry and in the files that must carry them, and nowhere else."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipelines.registry.store import open_registry

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_no_code_is_left_behind_by_a_whole_life_with_errors_at_every_step(tmp_path: Path) -> None:
    home, prefect, scratch = (tmp_path / name for name in ("home", "prefect", "tmp"))
    for folder in (home, prefect, scratch):
        folder.mkdir()
    environment = {
        **os.environ, "PREFECT_HOME": str(prefect), "TMPDIR": str(scratch), "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_SERVER_LEVEL": "DEBUG", "POLARS_VERBOSE": "1",
        "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.life", str(home)], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    said = (done.stdout + done.stderr).splitlines(keepends=True)
    # what Polars says at POLARS_VERBOSE of files that the demo's network reads
    screen = b"".join(line for line in said if not line.startswith(b"sourcing csv scan file"))
    assert done.returncode == 0, screen.decode()[-2_000:]
    with open_registry(f"sqlite:///{home}/registry.db") as registry:
        codes = registry.query("SELECT code FROM numbers", {"code": pl.Int64})["code"].cast(pl.String).to_list()
        states = set(registry.query("SELECT DISTINCT state FROM cards", {"state": pl.Int64})["state"])
    assert len(codes) > 60
    assert {0, 1, 2} <= states, "the life had no refused, ready and placed codes"
    assert b"This should not happen" in screen, "no error was forced"
    for form in (b"info    file received  ", b'"event": "file answered"', b'"event": "night closed"'):
        assert form in screen, "what is logged was not looked at"

    left = {
        path: path.read_bytes()
        for folder in (prefect, scratch, tmp_path / "kept")
        for path in folder.rglob("*")
        if path.is_file()
    }
    database = b"".join(content for path, content in left.items() if ".db" in path.name)
    assert b"process-inbox" in database, "Prefect's database was not looked at"
    assert b"This should not happen" in database, "what Prefect logged was not looked at"
    folder = home / "outbox/reconciliation/data"
    data = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    data |= {path: pl.read_parquet(path).write_csv().encode() for path in folder.rglob("*.parquet")}
    assert any(b"refused" in content for content in data.values()), "the data for analysts was not looked at"
    notices = left[tmp_path / "kept" / "notices.json"].decode()
    assert all(kind in notices for kind in ("night failed", "file with rejections", "release ready")), "no notice was looked at"
    assert "\\u2022" in notices, "no notice named a file that is named after a code"
    for where, content in {**left, **data, Path("screen"): screen}.items():
        text = content.replace(b"\0", b"")
        assert b"hush4711" not in content, f"{where} has an address"
        named = [f"7390516284{number}517" for number in range(10)]  # files have such names
        assert [code for code in [*codes, *named] if code.encode() in content or code.encode() in text] == [], where


def test_what_holds_codes_is_for_our_eyes_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [Path(sys.executable).with_name("cards"), "demo", "--home", str(home)]
    subprocess.run(command, check=True, capture_output=True, umask=0)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [*(home / "outbox").rglob("*"), *home.glob("registry.db*")]}
    assert len(modes) > 20
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
