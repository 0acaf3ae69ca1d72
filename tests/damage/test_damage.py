"""Every kind of damage is found and named; what can be fixed safely is; and nothing else is reported.

The default run plants damage of the outbox with SQLite alone, as no database has a part in it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.admin.audit import Scope, verify
from pipelines.admin.repair import repair
from tests.conftest import NewRegistry, sampled
from tests.damage.damages import DAMAGES, OUTBOX, REGISTRY
from tests.damage.place import Place, copied, live

pytestmark = pytest.mark.one_database


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


@pytest.mark.parametrize("scope", [Scope(), Scope(quick=True), Scope(since="2026-11-01"), Scope(sample=5)])
def test_a_sound_home_has_no_findings(scope: Scope, place: Place) -> None:
    assert verify(place.run.settings, place.run.registry, scope).findings == []


@pytest.mark.parametrize("kind", REGISTRY)
def test_damage_of_the_registry_is_found_and_left_to_people(kind: str, place: Place) -> None:
    _assert_found(kind, place)


@pytest.mark.parametrize("lived", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
@pytest.mark.parametrize("kind", sampled(OUTBOX, *list(OUTBOX)[::4], others=pytest.mark.slow))
def test_damage_of_the_outbox_is_found_and_mended_where_that_is_safe(kind: str, place: Place) -> None:
    _assert_found(kind, place)


def _assert_found(kind: str, place: Place) -> None:
    damage = DAMAGES[kind]
    damage.plant(place)
    done = repair(place.run, Scope(), apply=True)
    found = [f"{one.what} | {one.where}" for one in done.findings]
    assert any(damage.names in one for one in found), found
    assert (done.left == 0) == damage.repaired, done.findings


def test_a_quick_repair_writes_nothing_from_a_registry_that_contradicts_what_was_written(place: Place) -> None:
    release = place.find("acme/*-plain/release-*.csv")
    release.unlink()
    place.execute("UPDATE orders SET access_number = '8008663691' WHERE customer_order_id = 'D'")
    done = repair(place.run, Scope(quick=True), apply=True)
    assert (done.left, release.exists()) == (1, False)
    assert "contradicts" in done.findings[0].result
    assert repair(place.run, Scope(), apply=True).left > 0
    assert not release.exists()
