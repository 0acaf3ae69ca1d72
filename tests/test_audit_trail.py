"""The audit trail: who did what. Nothing in it can be changed, and it never holds a code."""

from pathlib import Path

import pytest

from pipelines.admin import approvals, export, imports, retention, surplus, trail
from pipelines.admin.catalogue import load_catalogue
from pipelines.admin.trail import TrailEntry
from pipelines.common.errors import CardsError, UsageError
from pipelines.registry import audit_trail
from pipelines.registry.audit_trail import entry_of
from pipelines.registry.store import open_registry
from pipelines.run import Run
from tests.conftest import NewRegistry, Shop, row, some_codes
from tests.registries import put_version
from tests.security.attack import catalogue_of

pytestmark = pytest.mark.one_database

(CODE,) = some_codes(1)


def entries(shop: Shop, since: str = "", until: str = "") -> list[TrailEntry]:
    """The trail, oldest first, in both forms alike."""
    found = trail.trail(shop.as_run, since, until, 1_000).entries[::-1]
    assert found == list(trail.entries(shop.as_run, since, until))
    return found


@pytest.fixture
def named(shop: Shop) -> Shop:
    """A shop whose commands are given by somebody with a name."""
    shop.runtime = shop.runtime._replace(user=lambda: "mia")
    return shop


def test_files_reports_and_nights_are_in_the_trail_with_who_they_came_from(named: Shop) -> None:
    answer = named.send(row("A", quantity="1"))
    named.later(minutes=1)
    named.report(("10023456-1", answer.codes[0]))
    named.later(minutes=1)
    named.night()
    first, second, third = entries(named)
    assert (first.who, first.action) == ("acme", "answered an order file")
    assert (first.subject, first.about) == (f"acme/{answer.folder.name}", "orders.csv, 1 row")
    assert (second.who, second.action, second.about) == ("network", "entered a network report", "report.csv, 1 row")
    assert (third.who, third.action, third.subject) == ("service", "reconciled", "2026-10-05")
    assert [one.at for one in (first, second)] == ["2026-10-05T09:30:00-06:00", "2026-10-05T09:32:00-06:00"]


def test_what_people_do_has_an_entry_with_their_name(named: Shop, tmp_path: Path) -> None:
    load_catalogue(catalogue_of(tmp_path / "c.xlsx"), named.registry, named.runtime)
    codes = tmp_path / "codes.csv"
    codes.write_text(f"Code\n{CODE}\n{CODE}\n123\n")
    imports.import_codes(codes, named.registry, named.runtime)
    named.registry.clear_hold("acme", named.runtime.timestamp(), named.runtime.user())
    named.send(row("A", quantity="2"))
    out = tmp_path / "cards.csv"
    export.export_cards(named.as_run, out, export.card_filter(named.as_run, "", "", "acme"), codes=True, force=False)
    export.export_cards(named.as_run, out, export.card_filter(named.as_run, "", "", ""), codes=False, force=True)
    people = sorted((one.action, one.subject, one.about) for one in entries(named) if one.who == "mia")
    assert people == [
        ("began to import existing codes", "codes.csv", ""),
        ("exported cards with their codes", "cards.csv", "reseller acme"),
        ("imported existing codes", "codes.csv", "3 lines, 1 new code"),
        ("lifted a hold", "acme", ""),
        ("loaded the catalogue", "c.xlsx", "0 rows added, 1 row removed, 0 rows changed"),
    ]


def test_an_archive_and_a_disconnect_of_surplus_cards_have_entries(named: Shop) -> None:
    answer = named.send(row("A", quantity="1"))
    named.later(days=1)
    named.report(("10023456-1", "77777777777777"), name="1.csv")
    named.night()  # the card is refused and replaced
    replacement = named.placements()["Authorization Code"][-1]
    named.later(days=1)
    named.report(("10023456-1", replacement), ("10023456-1", answer.codes[0]), name="2.csv")
    named.night()
    assert surplus.disconnect(named.as_run)
    named.later(days=60)
    assert retention.archive("2026-11-30", "", named.as_run).archives
    mine = [(one.action, one.subject) for one in entries(named) if one.who == "mia"]
    assert [action for action, _ in mine] == ["ordered a Disconnect of surplus cards", "archived"]
    assert mine[1][1] == "all sources"


def test_the_trail_is_cut_by_time_and_read_in_portions(named: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        for _ in range(2):  # at the same time
            audit_trail.note(named.registry, entry_of(named.runtime, "did", str(number), ""))
            named.send(row(f"{number}{_}", quantity="1"), name=f"{number}{_}.csv")
        named.later(hours=1)
    every = entries(named)
    assert len(every) == 12
    for portion in (1, 2, 5, 12):
        monkeypatch.setattr(trail, "_PORTION", portion)
        assert entries(named) == every
    assert entries(named, "2026-10-05T10:30", "2026-10-05T11:30") == every[4:8]
    newest = trail.trail(named.as_run, "", "", 5)
    assert (newest.entries, newest.more) == (every[:-6:-1], True)
    with pytest.raises(UsageError, match="--until tomorrow"):
        trail.trail(named.as_run, "", "tomorrow", 5)


def test_no_entry_can_be_changed_or_deleted(named: Shop) -> None:
    audit_trail.note(named.registry, entry_of(named.runtime, "did", "something", ""))
    before = entries(named)
    for statement in ("UPDATE audit_entries SET who = 'nobody'", "DELETE FROM audit_entries"):
        with pytest.raises(CardsError, match="refuses: IntegrityError"):
            named.registry.execute(statement)
    assert entries(named) == before


@pytest.mark.parametrize("version", [1, 10])
def test_a_registry_of_an_earlier_version_keeps_entries_too(version: int, registry_url: str) -> None:
    put_version(version, registry_url)
    with open_registry(registry_url) as registry:
        audit_trail.note(registry, audit_trail.Entry("2026-11-26T10:00:00+00:00", "mia", "did", "", ""))
        with pytest.raises(CardsError, match="refuses: IntegrityError"):
            registry.execute("DELETE FROM audit_entries")


def test_what_strangers_wrote_never_brings_a_code_into_the_trail(named: Shop) -> None:
    named.send(row("A", quantity="1"), name=f"{CODE}.csv")
    audit_trail.note(named.registry, entry_of(named.runtime, "did", CODE, f"because of {CODE}", by=CODE))
    assert CODE not in str(entries(named))
    stored = named.registry.select(audit_trail.columns_of("audit_entries"), "FROM audit_entries").rows()
    assert CODE not in str(stored)


def test_a_decision_and_its_entry_are_committed_together(new_registry: NewRegistry, tmp_path: Path) -> None:
    """A report on hold that is approved by somebody for somebody else."""
    with new_registry() as url:
        shop = Shop(tmp_path / "home", url, report_max_external=1)
        shop.runtime = shop.runtime._replace(user=lambda: "mia")
        shop.send(row("A", quantity="1"))
        shop.report(*(("10023456-1", code) for code in some_codes(4)))
        shop.night()
        (waiting,) = approvals.reports_on_hold(shop.as_run)

        def die(step: str) -> None:
            raise KeyboardInterrupt(step)

        with pytest.raises(KeyboardInterrupt):
            approvals.approve(_with(shop, die), waiting.folder, "Ana", "they called")
        found = [one for one in entries(shop) if one.who == "Ana (mia)"]
        assert [(one.action, one.subject, one.about) for one in found] == [
            ("approved a network report", waiting.folder, "they called")
        ]
        shop.registry.close()


def _with(shop: Shop, step: object) -> Run:
    return Run(shop.settings, shop.registry, shop.runtime._replace(checkpoint=step))  # type: ignore[arg-type]
