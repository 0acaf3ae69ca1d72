"""An order file's way through the shop: what is placed, what comes back and why, and what a crash leaves."""

import io
import stat
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from openpyxl import load_workbook

from pipelines.process_orders import check, process_inbox
from pipelines.registry import limits
from pipelines.run import Run
from tests.conftest import ACCESS_NUMBERS, EXTERNAL, NOW, NewRegistry, Shop, csv_of, obeys, row, sampled, some_codes, xlsx_of

pytestmark = pytest.mark.one_database

STEPS = ["claimed", "read", "decided", "committed", "placement written", "folder written", "archived", "delivered"]
ONE, TWO, THREE, FOUR = some_codes(4)
STRANGE = {
    "noise.xlsx": Random(9).randbytes(3_000),
    "nothing.csv": b"",
    "letter.csv": b"Dear Sirs,\nplease send some cards.\n",
    "zip.xlsx": b"PK\x03\x04" + Random(10).randbytes(3_000),
    "old.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + Random(11).randbytes(3_000),
    "zeros": bytes(5_000),
}


def globex(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, **{"account": "20098765", "product": "8001", **cells})


def test_a_file_gets_all_of_its_reasons_at_once_each_at_its_row_in_the_resellers_file(shop: Shop) -> None:
    rows = [
        row("A", code="123"),
        row("B", code=str(EXTERNAL[0])),
        row("C", quantity="1"),
        row("D", quantity="none", access_number="1"),
        row("", quantity="1", account="99999999"),
    ]
    header, *lines = csv_of(*rows).decode().splitlines()
    shop.drop("orders.csv", "\n".join(["", header, *lines[:2], "", ",,,,", *lines[2:]]))
    (answer,) = shop.run()
    assert answer.reasons == {
        3: ["CODE_FORMAT"],
        4: ["CODE_TAKEN"],
        8: ["ACCESS_FORMAT", "QUANTITY_FORMAT"],
        9: ["ACCOUNT_UNKNOWN", "ORDER_ID_MISSING"],
    }
    assert answer.result["rows"] == 5
    assert answer.result["reasons"] == Counter(reason for reasons in answer.reasons.values() for reason in reasons)


def test_row_numbers_are_those_that_excel_shows(shop: Shop) -> None:
    book = load_workbook(io.BytesIO(xlsx_of(row("A", code=ONE), row("B", code="123"))))
    book["Orders"].insert_rows(2)
    book["Orders"].insert_rows(1, 3)
    shop.drop("orders.xlsx", _saved(book))
    (answer,) = shop.run()
    assert answer.reasons == {7: ["CODE_FORMAT"]}


def test_every_bad_code_of_a_cell_is_named(shop: Shop) -> None:
    answer = shop.send(row("A", code=f"12 {ONE} 34 {EXTERNAL[0]} {ONE}"))
    assert answer.reasons == {2: ["CODE_FORMAT", "CODE_REPEATED", "CODE_TAKEN"]}
    (words,) = answer.rejections["What to fix"]
    assert all(f"“{code}”" in words for code in ("12", "34", str(EXTERNAL[0]), ONE))


def test_a_reason_of_the_whole_file_stands_beside_those_of_its_rows(shop: Shop) -> None:
    answer = shop.send({**row("A", quantity="0"), "Qty": "1"})
    assert answer.reasons == {2: ["COLUMN_REPEATED", "QUANTITY_FORMAT"]}
    assert "“Quantity” and “Qty”" in answer.rejections["What to fix"].item()


def test_a_quantity_over_the_limit_takes_no_room_from_others(shop: Shop) -> None:
    shop.settings = shop.settings.model_copy(update={"max_quantity": 10})
    enormous = [row(f"B{number}", quantity="9" * 18) for number in range(12)]
    answer = shop.send(row("B", quantity="11"), *enormous, row("A", quantity="6"), row("C", quantity="5"))
    assert set(answer.confirmation["Customer Order ID"]) == {"A"}
    assert answer.reasons == {number: ["QUANTITY_LIMIT"] for number in [*range(2, 15), 16]}


def test_a_look_at_a_file_tells_its_reasons_and_places_nothing(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "look.csv"
    path.write_bytes(csv_of(row("A", quantity="2"), row("B", quantity="0")))
    result = check(path, "acme", shop.as_run)
    assert (result.orders_placeable, result.orders_rejected) == (1, 1)
    assert [(found.row, found.column, found.reason) for found in result.findings] == [(3, "Quantity", "QUANTITY_FORMAT")]
    path.write_bytes(csv_of(row("A", quantity="2")))
    assert check(path, "acme", shop.as_run).findings == []
    assert shop.known_codes() == sorted(EXTERNAL)


def test_an_order_is_placed_whole_or_not_at_all_while_others_go_on(shop: Shop) -> None:
    answer = shop.send(
        row("BAD", code=ONE), row("GOOD", code=TWO), row("BAD", code="12"), row("GOOD", code=THREE), row("MORE", quantity="2")
    )
    assert answer.reasons == {2: ["ORDER_INCOMPLETE"], 4: ["CODE_FORMAT"]}
    assert Counter(answer.confirmation["Customer Order ID"]) == {"GOOD": 2, "MORE": 2}
    assert int(ONE) not in shop.known_codes()
    assert answer.result["orders_placed"] == 2
    assert answer.result["orders_rejected"] == 1
    assert shop.send(row("OTHER", code=ONE)).codes == [ONE]


def test_a_reseller_that_accepts_parts_gets_the_good_rows_of_an_order(shop: Shop) -> None:
    answer = shop.send(globex("P", code=ONE), globex("P", code="12"), globex("P", code=TWO), source="globex")
    assert answer.reasons == {3: ["CODE_FORMAT"]}
    assert set(answer.codes) == {ONE, TWO}
    assert "new Customer Order ID" in answer.rejections["What to fix"].item()
    assert (answer.result["rows"], answer.result["rows_rejected"], answer.result["codes_placed"]) == (3, 1, 2)


def test_the_house_may_order_on_every_account_and_a_reseller_on_its_own_alone(shop: Shop) -> None:
    rows = [row("A", quantity="1"), globex("G", quantity="1")]
    assert shop.send(*rows, name="acme.csv").reasons == {3: ["ACCOUNT_UNKNOWN"]}
    assert shop.send(globex("G", quantity="2"), row("B", quantity="1"), source="house").reasons == {}


def test_an_unchanged_order_in_another_file_is_already_placed_however_it_is_spelled(shop: Shop) -> None:
    first = shop.send(
        row("A", code=ONE),
        row("A", code=TWO, comments="a remark"),
        row("B", quantity="2"),
        row("C", btn="3035550142", quantity="1"),
    )
    before = shop.known_codes()
    again = shop.send(
        row("C", btn="(303) 555-0142", quantity="1", code_type="btn4", action="a"),
        row("A", code=f"{TWO};{ONE}", access_number="1 800.860.4444", origin="n", service_type="CARD", comments="a remark"),
        row("B", quantity="2", action="ADD", code_type="Random", termination="False"),
        name="again.csv",
    )
    assert again.result["orders_already_placed"] == 3
    assert again.rejections.is_empty()
    assert set(again.confirmation["State"]) == {"already placed"}
    assert again.codes == []
    ids = dict(first.confirmation.select("Customer Order ID", "Order ID").iter_rows())
    assert dict(again.confirmation.select("Customer Order ID", "Order ID").iter_rows()) == ids
    assert shop.known_codes() == before
    assert len(shop.placements()) == len(first.codes)


def test_an_order_id_that_is_used_for_something_else_is_refused(shop: Shop) -> None:
    shop.send(row("A", code=ONE), row("B", quantity="2"))
    answer = shop.send(row("A", code=TWO), row("B", quantity="3"), row("C", code=THREE), name="other.csv")
    assert answer.reasons == {2: ["ORDER_ID_USED"], 3: ["ORDER_ID_USED"]}
    assert answer.codes == [THREE]
    assert shop.send(row("A", account="00200300", product="7003", code=TWO), name="zeros.csv").codes == [TWO]


def test_a_rejected_order_leaves_its_customer_order_id_free(shop: Shop) -> None:
    assert shop.send(row("A", code="12")).reasons == {2: ["CODE_FORMAT"]}
    assert shop.send(row("A", code=ONE)).codes == [ONE]


def test_of_two_orders_of_one_run_that_want_a_code_the_earlier_file_has_it(shop: Shop) -> None:
    shop.drop("z.csv", csv_of(row("A", code=ONE)))
    shop.drop("a.csv", csv_of(globex("G", code=ONE), globex("G", code=TWO)), "globex")
    shop.drop("m.csv", csv_of(row("C", code=THREE)))
    answers = {answer.result["file"]: answer for answer in shop.run()}
    assert answers["z.csv"].codes == [ONE]
    assert answers["a.csv"].reasons == {2: ["CODE_TAKEN"]}
    assert answers["a.csv"].codes == [TWO]
    assert answers["m.csv"].codes == [THREE]


def test_an_earlier_file_that_is_refused_leaves_the_code_to_the_next(shop: Shop) -> None:
    shop.drop("one.csv", csv_of(row("A", code=ONE), row("A", code="12")))
    shop.drop("two.csv", csv_of(row("B", code=ONE)))
    first, second = shop.run()
    assert first.codes == []
    assert second.codes == [ONE]


def test_two_files_of_one_run_with_one_order_id_are_one_order(shop: Shop) -> None:
    shop.drop("one.csv", csv_of(row("A", quantity="1")))
    shop.drop("two.csv", csv_of(row("A", quantity="1"), row("B", quantity="1")))
    shop.drop("three.csv", csv_of(row("A", quantity="2")))
    first, second, third = sorted(
        shop.run(), key=lambda answer: ["one.csv", "two.csv", "three.csv"].index(answer.result["file"])
    )
    assert len(first.codes) == len(second.codes) == 1
    assert second.result["orders_already_placed"] == 1
    assert third.reasons == {2: ["ORDER_ID_USED"]}


def test_a_code_is_named_once_in_a_file(shop: Shop) -> None:
    answer = shop.send(row("A", code=ONE), row("B", code=ONE), row("C", code=TWO))
    assert answer.reasons == {3: ["CODE_REPEATED"]}
    assert set(answer.codes) == {ONE, TWO}


def test_a_code_that_was_imported_is_taken(shop: Shop) -> None:
    shop.registry.import_codes(pl.Series("code", [int(ONE)]))
    answer = shop.send(row("A", code=ONE))
    assert answer.reasons == {2: ["CODE_TAKEN"]}
    assert ONE not in _text(answer.folder / "confirmation.csv")


def test_every_code_goes_to_the_network_as_it_was_confirmed(shop: Shop) -> None:
    answer = shop.send(
        row("A", quantity="3", origin="yes"), row("B", code=ONE, product="7002"), row("C", quantity="2", btn="3035550142")
    )
    sent = shop.placements()
    assert sorted(sent["Authorization Code"]) == sorted(answer.codes)
    assert all(obeys(code) for code in answer.codes)
    fields = sent.unique("Order ID", maintain_order=True).drop("Authorization Code").rows()
    assert [field[1:] for field in fields] == [
        ("Add", "10023456", "7001", "8008604444", "Yes", "No"),
        ("Add", "10023456", "7002", "8008604444", "No", "No"),
        ("Add", "10023456", "7001", "8008604444", "No", "No"),
    ]


@pytest.mark.parametrize("write", [csv_of, xlsx_of], ids=["csv", "xlsx"])
def test_a_mended_rejections_workbook_is_placed(write: Callable[..., bytes], shop: Shop) -> None:
    rows = [row("A", code=ONE), row("A", code="12"), row("B", quantity="x", comments="@home"), row("C", quantity="1")]
    shop.drop("orders.csv", write(*rows))
    (first,) = shop.run()
    book = load_workbook(first.folder / "rejections.xlsx")
    page = book["Orders"]
    marked = {
        cell.value: cell for line in page.iter_rows(min_row=2) for cell in line if cell.fill.fgColor.rgb.endswith("FFC7CE")
    }
    assert set(marked) == {"12", "x"}
    marked["12"].value, marked["x"].value = TWO, 2
    shop.drop("rejections.xlsx", _saved(book))
    (second,) = shop.run()
    assert second.reasons == {}
    assert Counter(second.confirmation["Customer Order ID"]) == {"A": 2, "B": 2}
    assert {ONE, TWO} < set(second.codes)
    assert (second.folder / "original-rejections.xlsx").exists()


def test_a_mended_rejections_csv_is_placed(shop: Shop) -> None:
    first = shop.send(row("A", code="00000012"), row("B", quantity="-2", comments="@home"), row("C", quantity="1"))
    text = _text(first.folder / "rejections.csv")
    shop.drop("fixed.csv", text.replace("00000012", ONE).replace("'-2", "2"))
    (second,) = shop.run()
    assert second.reasons == {}
    assert Counter(second.confirmation["Customer Order ID"]) == {"A": 1, "B": 2}
    assert (
        shop.registry.query("SELECT comments FROM orders WHERE customer_order_id = 'B'", {"comments": pl.String}).item()
        == "@home"
    )


def test_a_whole_mended_file_takes_effect_only_where_it_changed(shop: Shop) -> None:
    first = shop.send(row("A", quantity="3"), row("B", code="12"), row("C", code=ONE))
    second = shop.send(row("A", quantity="3"), row("B", code=TWO), row("C", code=ONE))
    assert second.codes == [TWO]
    assert second.result["orders_already_placed"] == 2
    assert len(shop.known_codes()) == len(EXTERNAL) + len(first.codes) + 1


def test_codes_and_accounts_are_text_and_no_cell_is_a_formula(shop: Shop) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1"]
    rows = [row(f"A{number}", quantity="1", comments=text) for number, text in enumerate(evil)]
    rows += [row(f"B{number}", quantity=text, comments=text, code_type=text) for number, text in enumerate(evil)]
    rows += [row("Z", account="00200300", product="7003", code=ONE), row("=Z", account="00200300", product="7003", code="12")]
    shop.drop("=1+1.csv", csv_of(*rows))
    (answer,) = shop.run()
    seen: Counter[str] = Counter()
    for path in answer.folder.glob("*.xlsx"):
        for page in load_workbook(path).worksheets:
            for cell in (cell for line in page.iter_rows() for cell in line if cell.value is not None):
                assert cell.data_type != "f", f"{path.name} {page.title} {cell.coordinate}"
                head = str(page.cell(1, cell.column).value)
                if cell.row > 1 and ("Code" in head or "Number" in head or head == "Order ID"):
                    assert (cell.data_type, cell.number_format) == ("s", "@"), f"{path.name} {page.title} {cell.coordinate}"
                    seen[head] += 1
    assert seen["Authorization Code"] == len(evil) + 1
    assert seen["Customer Account Number"] == 2 * (len(evil) + 1) + len(evil) + 1
    for path in (answer.folder / "confirmation.csv", answer.folder / "rejections.csv"):
        for line in pl.read_csv(path, infer_schema=False).rows():
            assert not [cell for cell in line if cell and cell[0] in "=+-@\t\r"]


def test_rejected_cells_are_marked_and_carry_a_note(shop: Shop) -> None:
    answer = shop.send(row("A", code="12", access_number="1"), row("A", code=ONE), row("B C", quantity="1"))
    page = load_workbook(answer.folder / "rejections.xlsx")["Orders"]
    titles = [cell.value for cell in page[1]]
    marked = {
        (str(titles[cell.column - 1]), cell.row): cell.comment.text if cell.comment else ""
        for line in page.iter_rows(min_row=2)
        for cell in line
        if cell.fill.fill_type == "solid"
    }
    assert {place: note.partition(":")[0] for place, note in marked.items()} == {
        ("Code", 2): "CODE_FORMAT",
        ("Access Number", 2): "ACCESS_FORMAT",
        ("Customer Order ID", 4): "ORDER_ID_FORMAT",
        ("Access Number", 3): "ORDER_CONFLICT",
    }
    assert all("Write" in note or "Use" in note or "agree" in note for note in marked.values())


def test_a_confirmation_says_that_nothing_may_be_printed_yet(shop: Shop) -> None:
    answer = shop.send(row("A", quantity="1"))
    assert "Do not print" in str(load_workbook(answer.folder / "confirmation.xlsx")["Summary"]["B2"].value)


def test_strange_files_get_a_folder_with_a_reason_and_the_others_go_on(shop: Shop) -> None:
    for name, content in STRANGE.items():
        shop.drop(name, content)
    shop.drop("orders.csv", csv_of(row("A", quantity="2")))
    answers = {answer.result["file"]: answer for answer in shop.run()}
    assert len(answers.pop("orders.csv").codes) == 2
    assert set(answers) == set(STRANGE)
    for name, answer in answers.items():
        assert {path.name for path in answer.folder.iterdir()} == {name, "rejections.csv", "rejections.xlsx", "status.json"}
        assert (answer.folder / name).read_bytes() == STRANGE[name]
        assert answer.rejections["Reason"].str.contains("FILE_|COLUMN_").all()
        assert answer.result["orders_placed"] == 0
    assert shop.waiting() == []


def test_control_characters_in_headers_and_cells_are_reported_and_stop_nothing(shop: Shop) -> None:
    rows = [
        {**row("A\0B", quantity="1"), "\x00\x01\x02": ""},
        row("C", quantity="1", comments="\0\x01\x1f"),
        row("D", quantity="2"),
    ]
    shop.drop("wide.csv", csv_of(*rows).decode().encode("utf-16"))
    shop.drop("late.csv", csv_of(row("E", quantity="1", comments="x" * 5_000), row("F\0", quantity="1"), row("G\0", code=ONE)))
    late, wide = sorted(shop.run(), key=lambda answer: answer.result["file"])
    assert wide.reasons == {2: ["CELL_CHARACTER"], 3: ["CELL_CHARACTER"]}
    assert len(wide.codes) == 2
    assert late.reasons == {2: ["COMMENT_TOO_LONG"], 3: ["CELL_CHARACTER"], 4: ["CELL_CHARACTER"]}


def test_file_names_of_every_kind_are_taken(shop: Shop) -> None:
    names: list[bytes | str] = [
        b"\xff\xfe.csv",
        "two\nlines.csv",
        "confirmation.csv",
        "rejections.xlsx",
        "=1+1.csv",
        "x" * 251 + ".csv",
    ]
    for number, name in enumerate(names):
        shop.drop(name, csv_of(row(f"A{number}", quantity="1")))
    answers = shop.run()
    assert len(answers) == len({answer.folder for answer in answers}) == len(names)
    assert all(len(answer.codes) == 1 for answer in answers)
    assert shop.waiting() == []


def test_the_inbox_is_empty_afterwards_and_links_and_partial_files_stay(shop: Shop, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_bytes(csv_of(row("LINK", quantity="1")))
    (shop.settings.inbox / "acme" / "link.csv").symlink_to(outside)
    for name in ("~$orders.xlsx", ".hidden.csv", "orders.csv.part"):
        shop.drop(name, csv_of(row("PART", quantity="1")))
    left = {path.name for path in shop.waiting()}
    shop.drop("one.csv", csv_of(row("A", quantity="1")))
    shop.drop("two.csv", csv_of(globex("G", quantity="1")), "globex")
    shop.drop("three.csv", csv_of(row("B", quantity="1")), "house")
    assert {answer.result["reseller"] for answer in shop.run()} == {"acme", "globex", "house"}
    assert {path.name for path in shop.waiting()} == left
    assert shop.run() == []


def test_what_holds_codes_is_for_our_eyes_alone(shop: Shop) -> None:
    path = shop.drop("orders.csv", csv_of(row("A", quantity="1"), row("B", code="12")))
    path.chmod(0o644)
    shop.run()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in shop.settings.outbox.rglob("*")}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()
    assert len(modes) > 8


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it."""


def _fill(shop: Shop) -> None:
    shop.drop("one.csv", csv_of(row("A", quantity="3"), row("B", code="12"), row("C", code=ONE)))
    shop.drop("two.csv", csv_of(row("A", quantity="3"), row("D", code=ONE), row("E", code=TWO)))
    shop.drop("same.csv", csv_of(row("A", quantity="3"), row("D", code=ONE), row("E", code=TWO)))
    shop.drop("three.csv", csv_of(globex("G", quantity="1", btn="3035550142")), "globex")
    shop.drop("noise.csv", STRANGE["noise.xlsx"])


def _end_state(shop: Shop) -> dict[str, Any]:
    """All that a run leaves, without what chance drew: reports and files as lists of rows, orders, how many codes."""
    outbox = shop.settings.outbox
    codes = [str(code) for code in shop.known_codes()]
    drawn = sorted(set(codes) - {ONE, TWO, *map(str, EXTERNAL)})
    texts = {}
    for path in outbox.rglob("*"):
        text = path.read_bytes().decode("latin-1") if path.is_file() and path.suffix == ".csv" else ""
        for code in drawn:
            text = text.replace(code, code[:10] if code.startswith("3035550142") else "drawn")
        texts[str(path.relative_to(outbox))] = text
    return {
        "files": texts,
        "waiting": shop.waiting(),
        "codes": len(codes),
        "unanswered": shop.registry.undelivered(),
        "orders": shop.registry.query(
            "SELECT order_id, customer_order_id FROM orders ORDER BY 1", {"order_id": pl.String, "customer_order_id": pl.String}
        ).rows(),
    }


@pytest.fixture(scope="module")
def undisturbed(new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with new_registry() as url:
        shop = Shop(tmp_path_factory.mktemp("undisturbed"), url)
        _fill(shop)
        shop.run()
        state = _end_state(shop)
        shop.registry.close()
    return state


@pytest.mark.parametrize("step", sampled(STEPS, "decided", "committed", "folder written", "archived", others=pytest.mark.slow))
def test_after_a_crash_at_any_step_the_next_run_gives_the_same_end_state(
    step: str, shop: Shop, undisturbed: dict[str, Any]
) -> None:
    _fill(shop)
    crashes = 0
    for moment in (1, 2, 1):  # the first time a step is reached, the second time, and once more
        reached: Counter[str] = Counter()

        def kill(name: str, moment: int = moment, reached: Counter[str] = reached) -> None:
            reached[name] += 1
            if name == step and reached[name] == moment:
                raise Killed

        try:
            shop.run(kill)
        except Killed:
            crashes += 1
    shop.run()
    assert crashes
    assert _end_state(shop) == undisturbed
    assert shop.run() == []


def test_who_came_first_goes_first_also_when_another_worker_was_quicker_with_a_code_of_his(shop: Shop) -> None:
    much = {"code_type": "BTN+4", "btn": "3035550142", "quantity": "6000"}
    shop.drop("1.csv", csv_of(row("A", code=ONE), row("B", **much)))
    shop.drop("2.csv", csv_of(row("C", **much)))

    def take(step: str) -> None:
        if step == "decided":
            shop.registry.import_codes(pl.Series([int(ONE)]))

    first, second = shop.run(take)
    assert (first.result["file"], first.reasons) == ("1.csv", {2: ["CODE_TAKEN"]})
    assert (second.result["file"], second.reasons) == ("2.csv", {2: ["BTN_EXHAUSTED"]})


def test_the_same_bytes_in_one_run_are_decided_once(shop: Shop) -> None:
    for number in range(6):
        shop.drop(f"{number}.csv", csv_of(row(f"A{number % 3}", quantity="1")))
    seen: list[str] = []
    answers = shop.run(seen.append)
    assert seen.count("decided") == seen.count("committed") == 2
    assert len({code for answer in answers for code in answer.codes}) == 3


def test_an_event_that_cant_be_reported_keeps_no_other_from_its_answer(shop: Shop) -> None:
    for name in "ABC":
        shop.drop(f"{name}.csv", csv_of(row(name, quantity="1")))

    def kill(step: str) -> None:
        if step == "committed":
            raise Killed

    with pytest.raises(Killed):
        shop.run(kill)
    shop.registry.execute("UPDATE events SET at = 'noise' WHERE event = 2")
    assert [answer.result["file"] for answer in shop.run()] == ["A.csv", "C.csv"]
    assert len(shop.failures) == 1


def test_what_has_not_begun_when_a_run_is_interrupted_is_left_for_the_next(shop: Shop) -> None:
    for number in range(60):
        shop.drop(f"{number}.csv", csv_of(row(f"A{number}", quantity="1")))

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "delivering":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_inbox(Run(shop.settings, shop.registry, shop.runtime._replace(progress=interrupt)))
    assert len(shop.waiting()) > 20
    assert len(shop.run()) == 60
    assert shop.waiting() == []


def test_a_run_for_some_resellers_finishes_what_was_left_of_theirs_alone(shop: Shop) -> None:
    shop.drop("one.csv", csv_of(row("A", quantity="1")))
    shop.drop("two.csv", csv_of(globex("B", quantity="1")), "globex")

    def kill(step: str) -> None:
        if step == "committed":
            raise Killed

    with pytest.raises(Killed):
        shop.run(kill)
    for source in ("globex", "acme"):
        done = process_inbox(shop.as_run, lambda asked, source=source: asked == source)
        assert [one.reseller for one in done.results] == [source]
    assert shop.waiting() == []


def test_every_step_is_reached_by_a_run(shop: Shop) -> None:
    seen: list[str] = []
    shop.drop("orders.csv", csv_of(row("A", quantity="1")))
    shop.run(seen.append)
    assert seen == STEPS


def test_a_file_that_is_replaced_while_it_is_decided_is_not_answered_for_the_other(shop: Shop) -> None:
    shop.drop("orders.csv", csv_of(row("A", quantity="1")))

    def replace(step: str) -> None:
        if step == "decided":
            shop.drop("orders.csv", csv_of(row("B", quantity="2")))

    assert shop.run(replace) == []
    (answer,) = shop.run()
    assert set(answer.confirmation["Customer Order ID"]) == {"B"}
    assert len(shop.known_codes()) == len(EXTERNAL) + 2


def test_a_number_of_ones_own_is_offered_to_that_customer_alone(shop: Shop) -> None:
    own = ACCESS_NUMBERS.filter(pl.col("account") == "10023456")["access_number"].item()
    answer = shop.send(
        row("A", access_number=own, quantity="1"),
        row("B", account="00200300", product="7003", access_number=own, quantity="1"),
    )
    assert answer.reasons == {3: ["ACCESS_NOT_OFFERED"]}


def _text(path: Path) -> str:
    return path.read_bytes().decode()


def _saved(book: Any) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        csv_of(row("A", quantity="x"), row("A", quantity="1"), row("B", quantity="1")),
        b"Action,Quantity\nAdd,3\nAdd,4\n",
        csv_of(*(row(f"N{n}", quantity="x") for n in range(150))),
        csv_of(row("", quantity="1"), row("", quantity="2")),
        b"",
        b"PK\x03\x04 not a workbook",
    ],
)
def test_a_check_and_a_run_count_what_is_rejected_alike(content: bytes, tmp_path: Path, sqlite: NewRegistry) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url, max_findings=120)
        path = tmp_path / "orders.csv"
        path.write_bytes(content)
        checked = check(path, "acme", shop.as_run)
        shop.drop("orders.csv", content)
        (answer,) = shop.run()
        assert checked.orders_placeable == answer.result["orders_placed"]
        counts = ("rows", "rows_rejected", "orders_already_placed", "orders_rejected")
        assert {name: getattr(checked, name) for name in counts} == {name: answer.result[name] for name in counts}
        if answer.result["orders_placed"] == 0:
            assert answer.result["rows_rejected"] == answer.result["rows"]
        shop.registry.close()


def test_a_file_that_was_in_hand_when_a_run_died_does_not_go_before_earlier_ones(shop: Shop) -> None:
    (code,) = some_codes(1)
    shop.drop("first.csv", csv_of(row("ONE", code=code)))
    suspect = csv_of(row("TWO", code=code))
    shop.drop("second.csv", suspect)
    with shop.registry.transaction():
        limits.add_strike(shop.registry, "acme", sha256(suspect).hexdigest(), NOW.isoformat(), alone=False)
    first, second = sorted(shop.run(), key=lambda answer: answer.result["file"])
    assert (first.codes, second.reasons) == ([code], {2: ["CODE_TAKEN"]})


def test_who_waits_for_an_earlier_file_gets_what_is_left_before_those_after_it(shop: Shop) -> None:
    btn = {"code_type": "BTN+4", "btn": "3035550142"}  # it has 9,958 PINs
    twice = csv_of(row("A", quantity="4000", **btn))
    shop.drop("1.csv", twice)
    shop.drop("2.csv", twice)  # seems to want 4,000 more, as long as the first is not entered
    shop.drop("3.csv", csv_of(row("B", quantity="5958", **btn)))
    shop.drop("4.csv", csv_of(row("C", quantity="1000", **btn)))
    answers = {answer.result["file"]: answer for answer in shop.run()}
    assert len(answers["3.csv"].codes) == 5958
    assert answers["4.csv"].reasons == {2: ["BTN_EXHAUSTED"]}


def test_a_reason_of_the_whole_file_is_said_once_in_a_row(tmp_path: Path, sqlite: NewRegistry) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url, max_taken_code_attempts=1)
        answer = shop.send(*(row(f"H{n}", code=f"{EXTERNAL[0]} {EXTERNAL[1]}") for n in range(2)), row("X", quantity="x"))
        assert answer.reasons == {2: ["FILE_HELD"], 3: ["FILE_HELD", "CODE_REPEATED"], 4: ["FILE_HELD", "QUANTITY_FORMAT"]}
        assert [text.count("Too many of the codes") for text in answer.rejections["What to fix"]] == [1, 1, 1]
        assert (answer.result["rows_rejected"], answer.result["orders_rejected"]) == (3, 3)
        shop.registry.close()
