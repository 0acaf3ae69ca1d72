"""The benchmark runs, and writes a table, a chart and figures. How fast it finds us is for a quiet machine."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.benchmarks.chart import figure, used
from tests.benchmarks.races import RACES
from tests.benchmarks.stage import Line
from tests.conftest import sampled
from tests.pages import rows, section

QUICK = ("issue", "night", "start")
"""Races that the default run runs."""


@pytest.mark.parametrize("races", sampled([QUICK, tuple(RACES)], QUICK), ids=["some", "all"])
def test_the_short_form_runs(races: tuple[str, ...], tmp_path: Path) -> None:
    only = [argument for race in races for argument in ("--only", race)]
    command = [sys.executable, "-m", "tests.benchmarks", "--short", "--out", str(tmp_path), *only]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(result["races"]) == list(races)
    lines = [line for name, lines in result["races"].items() for line in lines if name != "prefect"]
    assert all(line["seconds"] > 0 for line in lines)
    table = (tmp_path / "table.md").read_text().splitlines()
    assert len(table) == len(lines) + 4
    drawn = ET.parse(tmp_path / "benchmarks.svg")
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}rect")) == len(lines) + 1


@pytest.mark.slow
def test_a_log_structured_table_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.log_structured", "--count", "5000", "--entered", "1000", "--times", "1",
               "--out", str(tmp_path / "table.md")]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    lines = rows(section((tmp_path / "table.md").read_text(), "log-structured"))
    merged = [(size, work.removeprefix("merge of ")) for size, work, *_ in lines if work.startswith("merge")]
    assert merged == [("1,000", "1,000 hot numbers"), ("5,000", "1,000 hot numbers"), ("5,000", "5,000 hot numbers")]
    assert len(lines) == len(merged) + 2 * 3


@pytest.mark.parametrize(
    ("ratio", "goal", "faster", "share"), [(3, 1.5, False, 2), (1, 2, False, 0.5), (100, 10, True, 0.1), (5, 10, True, 2)]
)
def test_a_goal_is_met_when_no_more_than_all_of_it_is_used(ratio: float, goal: float, faster: bool, share: float) -> None:
    line = Line("job", "SQLite", 1, 1, "floor", ratio, goal, "×", faster=faster)
    assert used(line) == share
    assert line.met == (share <= 1)


def test_figures_have_three_digits() -> None:
    assert [figure(number) for number in (0.1234, 1.5, 12.34, 123.4, 12345)] == ["0.12", "1.50", "12.3", "123", "12,345"]
