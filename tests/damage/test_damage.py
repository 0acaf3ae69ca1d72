"""Every kind of damage is found and named; what can be mended safely is; and nothing else is reported."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.admin.audit import Scope, verify
from pipelines.admin.repair import repair
from tests.conftest import NewRegistry
from tests.damage.damages import DAMAGES, OUTBOX, REGISTRY
from tests.damage.place import Place, copied, live


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A home in which much has happened, on either database."""
    new: NewRegistry = request.getfixturevalue(request.param)
    home = tmp_path_factory.mktemp("lived") / "home"
    with new() as url:
        live(home, url)
        yield home, url


@pytest.fixture
def place(lived: tuple[Path, str], tmp_path: Path) -> Iterator[Place]:
    with copied(*lived, tmp_path / "home") as made:
        yield made


def findings(place: Place, scope: Scope = Scope()) -> list[str]:
    return [f"{one.what} | {one.where}" for one in verify(place.run.settings, place.run.registry, scope).findings]


@pytest.mark.parametrize("scope", [Scope(), Scope(quick=True), Scope(since="2026-11-01"), Scope(sample=5)])
def test_a_sound_home_has_no_findings(scope: Scope, place: Place) -> None:
    assert findings(place, scope) == []


@pytest.mark.one_database
@pytest.mark.parametrize("kind", OUTBOX)
def test_damage_to_files_is_found_and_mended_where_that_is_safe(kind: str, place: Place) -> None:
    _is_found_and_mended(kind, place)


@pytest.mark.parametrize("kind", REGISTRY)
def test_damage_to_the_registry_is_found_and_mended_where_that_is_safe(kind: str, place: Place) -> None:
    _is_found_and_mended(kind, place)


def _is_found_and_mended(kind: str, place: Place) -> None:
    damage = DAMAGES[kind]
    damage.plant(place)
    found = findings(place)
    assert any(damage.names in one for one in found), found
    done = repair(place.run, Scope(), apply=True)
    assert (done.left == 0) == damage.repaired, done.findings
    assert bool(findings(place)) != damage.repaired
