"""docs/monitoring: the table of metrics, the alerts and the dashboard agree with what is exposed (`--golden`: the table)."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.common.settings import load_settings
from pipelines.observing import textfile
from pipelines.observing.metrics import Metrics, Tally
from pipelines.observing.state import State
from tests.conftest import Shop, csv_of, row
from tests.pages import DOCS, replace_section, section, table
from tests.test_metrics import Observed, fresh, night_with, run_with

FOLDER = DOCS / "monitoring"
PAGE = DOCS / "monitoring.md"
FOREIGN = {"up": {"job"}, "node_textfile_mtime_seconds": {"file"}}
"""What Prometheus and node_exporter themselves expose."""
ADDED = {"instance", "le"}
"""Labels that scraping adds, and that of buckets."""
__all__ = ["fresh"]


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture(scope="module")
def described() -> dict[str, tuple[str, str, list[str]]]:
    """Each metric of this process: its kind, its meaning and its labels."""
    metrics = Metrics()
    metrics.registry.register(State(load_settings(_env_file=None)))
    found = {}
    for collector in metrics.registry._collector_to_names:
        for family in collector.describe():
            labels = list(getattr(collector, "_labelnames", ())) or list(getattr(family, "_labelnames", ()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, family.documentation, labels)
    return found


def test_the_page_explains_every_metric(
    described: dict[str, tuple[str, str, list[str]]], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, metrics_file=str(tmp_path / "cards.prom"))
    textfile.renew(settings, Tally("orders"), lambda *_, **__: None)
    in_file = set(families((tmp_path / "cards.prom").read_text("utf-8")))
    cells = (
        (f"`{name}`", kind, ", ".join(labels), words, "S, F" if name in in_file else "S")
        for name, (kind, words, labels) in described.items()
    )
    content = table(("metric", "kind", "labels", "meaning", "where"), cells)
    if pytestconfig.getoption("--golden"):
        replace_section(PAGE, "metrics", content)
    assert section(PAGE.read_text("utf-8"), "metrics") == content
    assert len(described) > 25
    assert in_file < set(described)


# -- alerts and dashboard ----------------------------------------------------------------------------------------------


def expressions() -> Iterator[tuple[str, str]]:
    """The queries of alerts and dashboard, each with what it is for."""
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((\w+), (\w+)\)", r"max by (\2) (\1)", variable["query"]["query"])


QUERIES = list(expressions())


@pytest.fixture
def exposed(shop: Shop, fresh: None) -> dict[str, set[str]]:
    """The name of each sample of a process that has seen everything, and its labels."""
    watched = Observed(shop)
    shop.drop("one.csv", csv_of(row("A", quantity="3"), row("B", code="12")))
    watched.run("orders", lambda: run_with(shop))
    watched.run("night", lambda: night_with(shop))
    shop.drop("two.csv", csv_of(row("C", quantity="3")))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(watched.metrics.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.one_database
def test_every_query_asks_for_metrics_and_labels_that_are_there(exposed: dict[str, set[str]]) -> None:
    assert len(QUERIES) > 45
    wrong = []
    for title, query in QUERIES:
        names = set(re.findall(r"\b(cards_\w+|up|node_\w+)\b(?=[{\[ )]|$)", query))
        assert names, (title, query)
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)) | {
            label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", group)
        }
        known = set.union(ADDED, *(exposed.get(name, FOREIGN.get(name, set())) for name in names))
        wrong += [(title, name) for name in names if name not in exposed and name not in FOREIGN]
        wrong += [(title, label) for label in labels - known]
        counted = {name for name in names if name.endswith(("_total", "_bucket"))}
        assert all(re.search(rf"(rate|increase)\({name}", query) for name in counted), (title, query)
    assert wrong == []


def test_every_metric_has_a_place_on_the_dashboard_or_an_alert(described: dict[str, tuple[str, str, list[str]]]) -> None:
    queries = " ".join(query for _, query in QUERIES)
    assert [name for name in described if name not in queries] == []


def test_every_alert_says_how_bad_it_is_and_what_is_wrong() -> None:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    assert len(group["rules"]) > 15
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
        assert rule["annotations"]["summary"], rule


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    places: set[tuple[int, int]] = set()
    panels = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert places & mine == set(), panel["title"]
        places |= mine


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's prometheus) is not installed")
def test_promtool_accepts_the_alerts_and_their_tests() -> None:
    for command in ("check", "test"):
        file = {"check": "alerts.yml", "test": "alerts-test.yml"}[command]
        done = subprocess.run(["promtool", command, "rules", file], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
