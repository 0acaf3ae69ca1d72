"""The data for analysts: every order, card and change of state stands in the files of one night, as the registry has it."""

import stat
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.admin import approvals
from pipelines.admin.audit import Scope, verify
from pipelines.admin.recover import recover
from pipelines.admin.repair import repair
from pipelines.admin.reports import write_again
from pipelines.admin.retention import archive
from pipelines.common.durable_files import ensure_private_dir
from pipelines.delivery import dataset_files
from pipelines.insight import datasets
from pipelines.insight.datasets import DATASETS
from pipelines.registry import dataset_records
from pipelines.registry.store import Registry
from schemas.codes import STATES
from tests.conftest import NewRegistry, Shop, row, shared_parser, some_codes
from tests.lives import Life, lose

pytestmark = pytest.mark.one_database

(STRANGE,) = some_codes(1)
INT, TEXT = pl.Int64, pl.String


def files(shop: Shop, kind: str = "*", name: str = "*") -> dict[str, bytes]:
    """The files of the datasets, by their path below their folder."""
    folder = dataset_files.data_folder(shop.settings)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob(f"{kind}/{name}/*/[!.]*"))}


def data(shop: Shop, name: str) -> pl.DataFrame:
    """A dataset as analysts read it."""
    return pl.read_parquet(dataset_files.data_folder(shop.settings) / "parquet" / name / "**/*.parquet")


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame as its CSV file has it, by an independent way of writing times."""

    def text(value: Any) -> str | None:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, bool):
            return str(value).lower()
        return None if value is None else str(value)

    return pl.DataFrame([[text(value) for value in one] for one in frame.rows()],
                        dict.fromkeys(frame.columns, TEXT), orient="row")  # fmt: skip


def live(shop: Shop, days: int = 6, seed: int = 3) -> Life:
    life = Life(shop, seed)
    with shared_parser():
        for _ in range(days):
            life.day()
    return life


@pytest.fixture(scope="module")
def lived(new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A home after six days of all that happens, to read in."""
    with new_registry() as url:
        shop = Shop(tmp_path_factory.mktemp("lived") / "home", url)
        live(shop)
        yield shop
        shop.registry.close()


def rewrite(shop: Shop) -> None:
    """`cards report DATE` of every night."""
    nights = shop.registry.query("SELECT DISTINCT reconciliation_date AS d FROM events WHERE kind = 'night'", {"d": INT})["d"]
    write_again(shop.as_run, [f"{str(one)[:4]}-{str(one)[4:6]}-{str(one)[6:]}" for one in nights])


# -- what stands in them -----------------------------------------------------------------------------------------------


def test_each_thing_stands_in_the_files_of_one_night_as_the_registry_has_it(lived: Shop) -> None:
    shop, registry = lived, lived.registry
    last = registry.query("SELECT max(event) AS event FROM events WHERE kind = 'night'", {"event": INT}).item()
    orders = registry.query(f"SELECT order_id, cards FROM orders WHERE event <= {last}", {"order_id": TEXT, "cards": INT})
    assert sorted(data(shop, "orders").select("order_id", "cards").rows()) == sorted(orders.rows())
    replaced = {
        (order_id, serial): f"{order_id}/{before}"
        for order_id, serial, before in registry.query(
            "SELECT order_id, serial, replaced_serial AS before FROM replacements JOIN orders USING (order_pk)",
            {"order_id": TEXT, "serial": INT, "before": INT},
        ).iter_rows()
    }
    cards = registry.query(
        f"SELECT order_id, serial FROM cards JOIN orders USING (order_pk) WHERE orders.event <= {last}",
        {"order_id": TEXT, "serial": INT},
    )
    expected = [(f"{order_id}/{n}", order_id, replaced.get((order_id, n))) for order_id, n in cards.iter_rows()]
    assert sorted(data(shop, "cards").select("serial", "order_id", "replaces").rows(), key=str) == sorted(expected, key=str)
    assert len(replaced) > 3
    moved = registry.query(
        f"""
        SELECT order_id, serial, from_state, to_state, night.reconciliation_date AS night, events.at, st.event AS event
        FROM state_transitions AS st JOIN orders USING (order_pk) JOIN events ON events.event = st.event
        JOIN events AS night ON night.event = (
            SELECT min(event) FROM events AS later WHERE later.kind = 'night' AND later.event >= st.event
        ) WHERE st.event <= {last}
        """,
        {"order_id": TEXT, "serial": INT, "from_state": INT, "to_state": INT, "night": INT, "at": TEXT, "event": INT},
    )
    transitions = [
        (f"{one['order_id']}/{one['serial']}", one["order_id"], STATES[one["from_state"]], STATES[one["to_state"]],
         datetime.fromisoformat(one["at"]), one["event"], datetime.strptime(str(one["night"]), "%Y%m%d").date())
        for one in moved.to_dicts()
    ]  # fmt: skip
    assert sorted(data(shop, "transitions").rows()) == sorted(transitions)
    assert len({one[2:4] for one in transitions}) > 4


def test_the_changes_of_state_of_a_night_add_up_to_its_figures(lived: Shop) -> None:
    shop = lived
    counted = Counter(data(shop, "transitions").select("night", "from_state", "to_state").rows())
    figures = shop.registry.query(
        "SELECT * FROM night_figures", {"reconciliation_date": INT, "from_state": INT, "to_state": INT, "cards": INT}
    )
    assert counted == {
        (datetime.strptime(str(night), "%Y%m%d").date(), STATES[before], STATES[after]): cards
        for night, before, after, cards in figures.iter_rows()
    }
    nights = data(shop, "nights").sort("night")
    first = {"placed", "refused", "surplus"}
    for night in nights.iter_rows(named=True):
        of_night = {key[1:]: cards for key, cards in counted.items() if key[0] == night["night"]}
        ready = sum(cards for (before, after), cards in of_night.items() if before in first and after == "ready")
        assert night["codes_ready"] == ready
        assert night["codes_refused"] == of_night.get(("placed", "refused"), 0)
        assert night["cards_disconnected"] == sum(cards for (_, after), cards in of_night.items() if after == "disconnected")
        replaced = data(shop, "cards").filter(pl.col("replaces").is_not_null(), night=night["night"])
        assert night["codes_replaced"] == len(replaced)
    assert nights["codes_ready"].sum() > 0
    assert nights["cards_changed"].sum() > 0


def test_movements_and_measures_are_those_of_the_registry(lived: Shop) -> None:
    """What they count, `test_kpis` compares with single cards."""
    registry = lived.registry
    fields = {"reseller": TEXT, "account": TEXT, "product": TEXT, "access_number": TEXT, "movement": TEXT, "cards": INT}
    rows = registry.query(
        f"SELECT reconciliation_date, {', '.join(fields)} FROM movements", {"reconciliation_date": INT, **fields}
    )
    expected = [(datetime.strptime(str(one), "%Y%m%d").date(), *rest) for one, *rest in rows.iter_rows()]
    assert sorted(data(lived, "movements").rows()) == sorted(expected)
    assert {"ready", "refused", "replaced"} <= set(rows["movement"])
    measures = {"awaited": INT, "overdue": INT, "active": INT, "surplus": INT, "median_seconds": INT, "p95_seconds": INT}
    kept = registry.query(f"SELECT {', '.join(measures)} FROM night_measures ORDER BY reconciliation_date", measures)
    nights = data(lived, "nights").sort("night")
    counts = nights.select("orders_awaited", "orders_overdue", "cards_active", "cards_surplus")
    assert counts.rows() == kept.select("awaited", "overdue", "active", "surplus").rows()
    latest = (
        data(lived, "transitions")
        .sort("changed_at", "event")
        .group_by("serial", maintain_order=True)
        .last()["to_state"]
        .to_list()
    )
    assert counts["cards_active"][-1] == sum(state in ("ready", "blocked") for state in latest)
    hours = kept.select(pl.when(pl.col(name) >= 0).then(pl.col(name) / 3600) for name in ("median_seconds", "p95_seconds"))
    assert nights.select("hours_median", "hours_p95").rows() == hours.rows()
    assert hours["median_seconds"].null_count() < len(hours)


def test_a_night_of_an_earlier_version_has_no_measures(shop: Shop) -> None:
    shop.night()
    shop.registry.execute("DELETE FROM night_measures")
    rewrite(shop)
    (night,) = data(shop, "nights").to_dicts()
    assert [night[name] for name in ("orders_awaited", "cards_active", "hours_median", "codes_ready")] == [None, None, None, 0]


def test_the_figures_of_a_night_are_those_that_it_reported(shop: Shop) -> None:
    shop.send(row("A", quantity="6"), row("B", quantity="2"))
    cards = [code for code, _ in sorted(shop.states().items())]
    owners = dict(data_of_confirmations(shop))
    shop.report(*((owners[code], code) for code in cards[:5]), ("77-7", STRANGE))
    shop.report(content="Order ID\n1\n", name="broken.csv")
    result = shop.night()
    (night,) = data(shop, "nights").to_dicts()
    names = [name for name in night if name in result and name != "night"]
    assert len(names) > 8
    assert {name: night[name] for name in names} == {name: result[name] for name in names}, result["reports"]
    assert (night["night"], night["ran_at"]) == (date(2026, 10, 5), datetime(2026, 10, 5, 15, 30, tzinfo=UTC))
    assert (night["codes_ready"], night["unexpected"], night["reports_used"], night["reports_rejected"]) == (5, 1, 1, 1)


def data_of_confirmations(shop: Shop) -> Iterator[tuple[str, str]]:
    for path in shop.settings.outbox.glob("acme/*/confirmation.csv"):
        rows = pl.read_csv(path, infer_schema=False)
        yield from rows.select("Authorization Code", "Order ID").iter_rows()


def test_an_order_stands_there_with_all_that_never_changes_of_it(shop: Shop) -> None:
    comments = "call 73905162840517"
    answer = shop.send(
        row("-1", quantity="2", origin="Yes", termination="No", comments=comments), row("30355501420000", quantity="1")
    )
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    shop.later(days=1)
    shop.send(row("BL", action="Block", product="", access_number="", target_order_id="10023456-1"), name="block.csv")
    shop.night()
    first, coded, block = data(shop, "orders").sort("order_id").to_dicts()
    at = datetime(2026, 10, 5, 15, 30, tzinfo=UTC)
    assert first == {
        "order_id": "10023456-1", "reseller": "acme", "customer_account": "10023456", "customer_order_id": "-1",
        "action": "Add", "code_type": "Random", "product_account": "7001", "access_number": "8008604444",
        "international_origin": True, "international_termination": False, "cards": 2, "file_rows": 1, "placed_at": at,
        "placed_on": date(2026, 10, 5),
        "night": date(2026, 10, 5),
    }  # fmt: skip
    assert coded["customer_order_id"] is None, "it could be a code"
    assert (block["action"], block["code_type"], block["product_account"], block["international_origin"], block["cards"]) == (
        "Block", None, None, None, 2,
    )  # fmt: skip
    assert block["night"] == date(2026, 10, 6)
    everything = b"".join(files(shop).values())
    assert b"\r\n10023456-1,acme,10023456,'-1,Add," in everything, "a cell that could be a formula"
    assert b"7390516284" not in everything


def test_no_file_has_a_code_or_the_secret_part_of_one(lived: Shop) -> None:
    shop = lived
    content = b"".join(files(shop, "csv").values())
    frames = [data(shop, name) for name in DATASETS]
    content += "\n".join(str(cell) for frame in frames for line in frame.rows() for cell in line).encode()
    assert len(shop.known_codes()) > 60
    assert [code for code in shop.known_codes() if str(code).encode() in content or str(code)[:10].encode() in content] == []
    assert "•".encode() not in content


# -- their form --------------------------------------------------------------------------------------------------------


def test_every_file_has_the_columns_and_types_of_its_dataset_also_without_rows(shop: Shop) -> None:
    shop.night()
    shop.later(days=40)
    live(shop, days=3)
    assert {name.split("/")[2] for name in files(shop)} >= {"month=2026-10", "month=2026-11"}
    folder = dataset_files.data_folder(shop.settings)
    for name, dataset in DATASETS.items():
        parquet = sorted(folder.glob(f"parquet/{name}/*/*"))
        assert len(parquet) == 4
        for path in parquet:
            assert pl.read_parquet_schema(path) == dataset.schema
            rows = pl.read_parquet(path, hive_partitioning=False)
            text = pl.read_csv(folder / f"csv/{name}" / path.parent.name / f"{path.stem}.csv", infer_schema=False)
            plain = text.with_columns(pl.col(dataset.free_text).str.strip_prefix("'"))
            assert plain.equals(as_text(rows)), path
        assert pl.scan_parquet(folder / "parquet" / name / "**/*.parquet").collect_schema() == dataset.schema
        scanned = pl.scan_parquet(folder / "parquet" / name).collect()
        assert scanned.schema == {**dataset.schema, "month": TEXT}
        assert scanned["month"].to_list() == scanned["night"].dt.strftime("%Y-%m").to_list()
    assert pl.read_parquet(min(folder.glob("parquet/cards/*/*"))).is_empty()


def test_what_is_more_than_a_file_holds_goes_on_in_the_next(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_files, "MOST_ROWS", 4)
    answer = shop.send(row("A", quantity="7"), row("B", quantity="2"))
    shop.report(*answer.confirmation.select("Order ID", "Authorization Code").rows())
    shop.night()
    assert [name.rpartition("/")[2] for name in files(shop, "csv", "cards")] == [
        "2026-10-05.csv", "2026-10-05~2.csv", "2026-10-05~3.csv",
    ]  # fmt: skip
    folder = dataset_files.data_folder(shop.settings) / "parquet"
    parts = [pl.read_parquet(path)["serial"].to_list() for path in sorted((folder / "cards").glob("*/*"))]
    serials = [f"10023456-1/{n}" for n in range(1, 8)] + ["10023456-2/1", "10023456-2/2"]
    assert parts == [serials[:4], serials[4:8], serials[8:]]
    assert data(shop, "transitions")["serial"].to_list() == serials
    before = files(shop)
    rewrite(shop)
    assert files(shop) == before
    monkeypatch.setattr(dataset_files, "MOST_ROWS", 100)
    rewrite(shop)
    assert [name.rpartition("/")[2] for name in files(shop, "csv", "cards")] == ["2026-10-05.csv"]
    assert verify(shop.settings, shop.registry).findings == []
    assert data(shop, "cards")["serial"].to_list() == serials


@pytest.mark.parametrize("most", [1, 3, 4, 100])
def test_portions_have_each_card_once_and_in_order(most: int) -> None:
    ranges = pl.DataFrame({"order_id": ["A", "B", "C", "D"], "first_serial": [1, 5, 1, 9], "last_serial": [7, 5, 2, 9]})

    def cards(frame: pl.DataFrame) -> list[tuple[str, int]]:
        return [(order, n) for order, first, last in frame.iter_rows() for n in range(first, last + 1)]

    portions = [cards(portion) for portion in datasets.portions(ranges, most)]
    assert [one for portion in portions for one in portion] == cards(ranges)
    assert {len(portion) for portion in portions[:-1]} <= {most}
    assert list(datasets.portions(ranges.clear(), most)) == []


def test_where_some_cards_of_an_order_changed_each_is_read_a_portion_at_a_time(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = lived.registry
    windows = [window for night in nights(registry) for window in dataset_records.windows(registry, night)]
    expected = [dataset_records.transitions(registry, window) for window in windows]
    monkeypatch.setattr(dataset_records, "_READ", 3)
    assert all(dataset_records.transitions(registry, one).equals(two) for one, two in zip(windows, expected, strict=True))


def nights(registry: Registry) -> list[int]:
    rows = registry.query("SELECT DISTINCT reconciliation_date AS d FROM events WHERE kind = 'night' ORDER BY d", {"d": INT})
    return rows["d"].to_list()


# -- which night -------------------------------------------------------------------------------------------------------


def test_a_night_has_what_is_new_since_the_one_before(shop: Shop) -> None:
    shop.send(row("A", quantity="1"))
    shop.night()
    shop.later(days=1)
    shop.send(row("B", quantity="1"), name="b.csv")
    shop.night()
    shop.later(hours=2)
    shop.send(row("C", quantity="1"), name="c.csv")
    shop.report(("10023456-2", next(code for code, owner in data_of_confirmations(shop) if owner == "10023456-2")))
    shop.night()  # the same date again
    shop.later(hours=1)
    shop.send(row("D", quantity="1"), name="d.csv")
    orders = data(shop, "orders").select("customer_order_id", "night").rows()
    assert sorted(orders) == [("A", date(2026, 10, 5)), ("B", date(2026, 10, 6)), ("C", date(2026, 10, 6))]
    before = files(shop)
    shop.night()  # nothing is new: it changes nothing
    rewrite(shop)
    assert files(shop) == before
    shop.later(days=1)
    shop.night()
    assert data(shop, "orders").filter(customer_order_id="D")["night"].to_list() == [date(2026, 10, 7)]


def test_a_clock_that_goes_back_loses_and_doubles_nothing(shop: Shop) -> None:
    for days, name in ((0, "A"), (1, "B"), (-1, "C"), (1, "D")):
        shop.later(days=days)
        shop.send(row(name, quantity="1"), name=f"{name}.csv")
        codes = {owner: code for code, owner in data_of_confirmations(shop)}
        shop.report((max(codes), codes[max(codes)]), name=f"report-{name}.csv")
        shop.night()
    orders = sorted(data(shop, "orders").select("customer_order_id", "night").rows())
    assert orders == [("A", date(2026, 10, 5)), ("B", date(2026, 10, 6)), ("C", date(2026, 10, 5)), ("D", date(2026, 10, 6))]
    assert len(data(shop, "transitions")) == 4
    before = files(shop)
    rewrite(shop)
    assert files(shop) == before


def test_a_report_on_hold_counts_in_the_night_that_uses_it(shop: Shop) -> None:
    shop.send(row("A", quantity="150"))
    shop.report(("10023456-1", STRANGE))
    shop.night()
    held = files(shop)
    assert data(shop, "transitions").is_empty()
    shop.later(days=1)
    (report,) = approvals.reports_on_hold(shop.as_run)
    approvals.approve(shop.as_run, report.folder, "Ana", "yes")
    shop.night()
    assert data(shop, "transitions").group_by("night", "to_state").len().rows() == [(date(2026, 10, 6), "refused", 150)]
    assert data(shop, "cards").filter(pl.col("replaces").is_not_null())["night"].unique().to_list() == [date(2026, 10, 6)]
    rewrite(shop)
    assert {name: content for name, content in files(shop).items() if "2026-10-05" in name} == held


def test_reports_of_nights_write_the_same_bytes_whatever_followed(lived: Shop) -> None:
    shop = lived
    before = files(shop)
    rewrite(shop)
    assert files(shop) == before
    assert len(before) >= 6 * 2 * len(DATASETS)


# -- like everything else that nights write ----------------------------------------------------------------------------


def test_the_files_are_noted_watched_and_repaired(shop: Shop) -> None:
    live(shop, days=3)
    assert verify(shop.settings, shop.registry).findings == []
    before = files(shop)
    folder = dataset_files.data_folder(shop.settings)
    (folder / max(name for name in before if "parquet/cards" in name)).unlink()
    changed = folder / max(name for name in before if "csv/transitions" in name)
    changed.write_bytes(changed.read_bytes().replace(b"ready", b"Ready"))
    found = verify(shop.settings, shop.registry).findings
    assert sorted(one.what for one in found) == ["a file of a night is missing", "a file of a night was changed"]
    assert repair(shop.as_run, Scope(), apply=True).left == 0
    assert files(shop) == before


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("notes.txt", "this program did not write a file"),
        ("csv/cards/month=2026-10/notes.csv", "this program did not write a file"),
        ("csv/cards/month=2026-10/2020-01-01.csv", "the registry does not know a night"),
        ("csv/codes/month=2026-10/2026-10-05.csv", "this program did not write a file"),
    ],
)
def test_what_else_lies_there_is_found(path: str, what: str, shop: Shop) -> None:
    shop.night()
    stray = dataset_files.data_folder(shop.settings) / path
    ensure_private_dir(stray.parent)
    stray.write_text("73905162840517")
    stray.chmod(0o600)
    (found,) = verify(shop.settings, shop.registry).findings
    assert (found.what, found.where) == (what, str(stray))


def test_only_the_service_reads_them(shop: Shop) -> None:
    shop.night()
    folder = dataset_files.data_folder(shop.settings)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert len(modes) > 20


@pytest.mark.parametrize("step", ["orders closed", "data written", "night written"])
def test_a_night_that_dies_is_finished_by_the_next_run(
    step: str, shop: Shop, new_registry: NewRegistry, tmp_path: Path
) -> None:
    def play(one: Shop, die_at: str) -> None:
        answer = one.send(row("A", quantity="4"))
        one.report(*answer.confirmation.select("Order ID", "Authorization Code").rows()[:3])

        def die(name: str) -> None:
            if name == die_at:
                raise KeyboardInterrupt

        if die_at:
            with pytest.raises(KeyboardInterrupt):
                one.night(die)
            if die_at == "orders closed":
                assert files(one) == {}
        one.night()

    with new_registry() as url:
        undisturbed = Shop(tmp_path / "other", url)
        play(undisturbed, "")
        expected = files(undisturbed)
        undisturbed.registry.close()
    play(shop, step)
    assert files(shop) == expected
    assert verify(shop.settings, shop.registry).findings == []


def test_what_a_killed_writer_left_goes_with_the_next_run(shop: Shop) -> None:
    def die(name: str) -> None:
        if name == "data written":
            raise KeyboardInterrupt

    shop.send(row("A", quantity="1"))
    with pytest.raises(KeyboardInterrupt):
        shop.night(die)
    (month,) = dataset_files.data_folder(shop.settings).glob("csv/cards/*")
    left = month / ".2026-10-05.csv.0123456789abcdef"
    left.mkdir(mode=0o700)
    shop.night()
    assert not left.exists()
    assert verify(shop.settings, shop.registry).findings == []


def test_a_recovery_knows_the_files_again(tmp_path: Path, new_registry: NewRegistry) -> None:
    with new_registry() as url, new_registry() as other:
        shop = Shop(tmp_path / "home", url, seed=6)
        lose(Life(shop, 6), 5, other)
        before = files(shop)
        with shared_parser():
            assert recover(shop.as_run).nights
        assert files(shop) == before
        noted = shop.registry.query(
            "SELECT DISTINCT name FROM outbox_files WHERE name LIKE 'reconciliation/data/%'", {"name": TEXT}
        )
        assert {name.removeprefix("reconciliation/data/") for name in noted["name"]} == before.keys()
        assert [one for one in verify(shop.settings, shop.registry).findings if "/data/" in one.where] == []
        shop.later(days=1)
        shop.night()
        orders = shop.registry.query("SELECT count(*) AS orders FROM orders", {"orders": INT}).item()
        assert data(shop, "orders")["order_id"].n_unique() == len(data(shop, "orders")) == orders
        shop.registry.close()


def test_datasets_can_be_switched_off_and_written_later(tmp_path: Path, registry_url: str) -> None:
    shop = Shop(tmp_path / "home", registry_url, datasets=False)
    shop.send(row("A", quantity="1"))
    shop.night()
    assert files(shop) == {}
    shop.settings = shop.settings.model_copy(update={"datasets": True})
    shop.later(days=1)
    shop.night()
    assert data(shop, "orders").is_empty()
    rewrite(shop)
    assert len(data(shop, "orders")) == 1
    assert verify(shop.settings, shop.registry).findings == []
    shop.registry.close()


def test_old_data_is_never_archived(shop: Shop) -> None:
    live(shop, days=2)
    before = files(shop)
    shop.later(days=400)
    archive((shop.now - timedelta(days=30)).strftime("%Y-%m-%d"), "", shop.as_run)
    assert files(shop) == before
    assert not list(shop.settings.outbox.glob("reconciliation/2026-10-*.xlsx"))
    assert verify(shop.settings, shop.registry).findings == []
