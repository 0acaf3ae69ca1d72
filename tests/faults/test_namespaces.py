"""Another machine: two network namespaces, one PostgreSQL, one shared folder, and the power of one of them goes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import TEMPORARY, Shop, csv_of, row
from tests.faults import figures
from tests.faults.invariants import assert_sound, dropped, soundness
from tests.faults.killing import environment
from tests.faults.namespaces import Namespace, NotPermittedError, listening, machines
from tests.faults.stage import Server

FILES = 60
CARDS = Path(sys.executable).with_name("cards")


class Site(NamedTuple):
    """A shop, the machines that serve it, and the address of its registry as they see it."""

    shop: Shop
    machines: list[Namespace]
    url: str

    def start(self, machine: Namespace, *arguments: str) -> "subprocess.Popen[str]":
        """`cards` on a machine."""
        settings = environment(self.shop) | {"CARDS_REGISTRY": self.url}
        return subprocess.Popen(
            machine.command(CARDS, *arguments), env={**os.environ, **settings}, stdout=-1, stderr=-1, text=True
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with ExitStack() as stack:
        try:
            address, made = stack.enter_context(machines(2))
        except NotPermittedError as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pg", dir=TEMPORARY, ignore_cleanup_errors=True))
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        server = Server(folder)
        stack.callback(server.stop)
        reached = stack.enter_context(listening(server._server, address))
        shop = Shop(tmp_path / "shared", server.url)
        stack.callback(shop.registry.close)
        yield Site(shop, made, f"{reached}{server.url.rpartition('@/')[2].partition('?')[0]}")


def _drop(shop: Shop) -> list[tuple[str, str]]:
    for number in range(FILES):
        shop.drop(f"{number:03}.csv", csv_of(row(f"A{number}", quantity="50"), row(f"B{number}", code="12")))
    return dropped(shop)


def _submissions(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return list(json.loads(out)["submissions"])


def _in_hand(shop: Shop) -> int:
    return int(shop.registry.query("SELECT count(*) AS n FROM claims", {"n": int}).item())


@pytest.mark.slow
def test_two_machines_divide_an_inbox(site: Site) -> None:
    files = _drop(site.shop)
    result = [_submissions(process) for process in [site.start(machine, "run", "--json") for machine in site.machines]]
    names = sorted(one["file"] for lines in result for one in lines)
    assert names == [f"{number:03}.csv" for number in range(FILES)]
    assert_sound(site.shop, files)


@pytest.mark.slow
def test_what_a_machine_had_in_hand_when_its_power_went_is_answered_by_the_other(site: Site) -> None:
    begin = time.monotonic()
    files = _drop(site.shop)
    dying = site.start(site.machines[0], "run", "--json")
    while not _in_hand(site.shop):
        time.sleep(0.01)
    other = site.start(site.machines[1], "run", "--json")
    assert site.machines[0].kill() > 0
    assert dying.wait(30) == -9
    dying.communicate()
    _submissions(other)
    while site.shop.waiting():  # what the other took for somebody's, as its claim was young
        _submissions(site.start(site.machines[1], "run", "--json"))
        assert time.monotonic() - begin < 240
    found = soundness(site.shop.settings, site.shop.registry, files)
    figures.report("a machine of two loses its power, postgresql", 1, [found], time.monotonic() - begin)
    assert found.codes == FILES * 50
    assert_sound(site.shop, files)


@pytest.mark.slow
def test_of_two_nights_on_two_machines_one_does_the_work(site: Site) -> None:
    answer = site.shop.send(row("A", quantity="3000"))
    site.shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    nights = [site.start(machine, "reconcile", "--json") for machine in site.machines]
    result = []
    for night in nights:
        out, err = night.communicate(timeout=240)
        assert night.returncode == 0, err
        result.append(json.loads(out))
    done = [one for one in result if not one.get("already_running")]
    assert {one["codes_ready"] for one in done} == {3000}, "as if one had run"
    assert sum(len(one["reports"]) for one in done) == 1
    nights_entered = site.shop.registry.query("SELECT count(*) AS n FROM events WHERE kind = 'night'", {"n": int}).item()
    assert nights_entered == 1
    assert_sound(site.shop)
