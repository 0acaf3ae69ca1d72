"""Whatever strangers send ends in a folder with a reason, and the other files go on."""

import os
import random
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.common.settings import load_settings
from pipelines.intake.reader import Parser, read
from schemas.orders import BY_HEADER, NAMES
from tests import corpus
from tests.conftest import NewRegistry, Shop, csv_of, row

pytestmark = pytest.mark.one_database

SHARED = Path(__file__).parents[2] / "shared" / "corpus"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, sqlite: NewRegistry) -> dict[str, tuple[set[str], Path]]:
    """What became of each file of the corpus, all dropped at once: its reasons, and its folder."""
    with sqlite() as url:
        shop = Shop(tmp_path_factory.mktemp("hostile"), url, parser_seconds=20, parser_memory_mb=2048)
        for name in corpus.CORPUS:
            shop.drop(os.fsencode(name), corpus.content(name))
        answers = shop.run()
        found = {}
        for answer in answers:
            reports = {"confirmation.xlsx", "confirmation.csv", "rejections.xlsx", "rejections.csv", "status.json"}
            (original,) = [path for path in answer.folder.iterdir() if path.name not in reports]
            found[original.name.removeprefix("original-")] = (set(answer.result["reasons"]), answer.folder)
        assert shop.waiting() == []
        shop.registry.close()
    return found


def test_every_file_has_one_answer(answered: dict[str, tuple[set[str], Path]]) -> None:
    assert set(answered) == set(corpus.CORPUS)


@pytest.mark.parametrize("name", corpus.CORPUS, ids=lambda name: name.encode("utf-8", "backslashreplace").decode()[:40])
def test_a_bad_file_gets_its_reason_and_a_good_one_is_placed(name: str, answered: dict[str, tuple[set[str], Path]]) -> None:
    expected = corpus.CORPUS[name][1]
    reasons, folder = answered[name]
    assert reasons <= expected
    assert bool(reasons) == bool(expected)
    assert (folder / "rejections.csv").exists() == bool(expected)
    assert (folder / "rejections.xlsx").exists() == bool(expected)


def test_no_cell_of_any_report_is_a_formula(answered: dict[str, tuple[set[str], Path]]) -> None:
    for _, folder in answered.values():
        for path in folder.glob("*.xlsx"):
            if not path.name.startswith(("confirmation", "rejections")):
                continue
            for page in openpyxl.load_workbook(path):
                assert not [
                    cell.coordinate for line in page.iter_rows() for cell in line if cell.data_type == "f" or cell.hyperlink
                ]
        for path in folder.glob("rejections.csv"):
            cells = pl.read_csv(path, infer_schema=False, has_header=False).to_dict(as_series=False)
            assert not [cell for column in cells.values() for cell in column if cell and cell[0] in "=+-@\t\r"]


def test_hidden_rows_and_sheets_are_read_and_mentioned(answered: dict[str, tuple[set[str], Path]]) -> None:
    book = openpyxl.load_workbook(answered["hidden.xlsx"][1] / "confirmation.xlsx")
    result = " ".join(str(cell.value) for line in book["Summary"] for cell in line if cell.value)
    assert "1 hidden row(s) were read too" in result
    assert "1 other sheet(s) were not" in result


def test_links_pipes_devices_and_folders_are_left_alone(shop: Shop) -> None:
    inbox = shop.settings.inbox / "acme"
    secret = shop.settings.home / "secret.csv"
    secret.write_bytes(csv_of(row("LINK", quantity="1")))
    (inbox / "link.csv").symlink_to(secret)
    (inbox / "nowhere.csv").symlink_to("/nonexistent")
    os.mkfifo(inbox / "pipe.csv")
    (inbox / "folder.csv").mkdir()
    shop.drop("good.csv", csv_of(row("GOOD", quantity="1")))
    assert [answer.result["file"] for answer in shop.run()] == ["good.csv"]
    assert secret.exists()


@pytest.mark.parametrize("what", ["vanishes", "grows", "is replaced"])
def test_a_file_that_changes_while_it_is_read_is_taken_later(what: str, shop: Shop) -> None:
    path = shop.drop("orders.csv", csv_of(row("ONE", quantity="1")))

    def change(step: str) -> None:
        if step == "decided" and path.exists() and not (path.parent / "done").exists():
            (path.parent / "done").mkdir()
            if what == "vanishes":
                shutil.move(path, shop.settings.home / "away.csv")
            elif what == "grows":
                path.write_bytes(csv_of(row("ONE", quantity="1"), row("TWO", quantity="2")))
            else:
                path.unlink()
                path.write_bytes(csv_of(row("THREE", quantity="3")))

    assert shop.run(change) == []
    assert shop.known_codes() == sorted([30355501430007, 73905162840999])
    answers = shop.run()
    expected = {"vanishes": [], "grows": [3], "is replaced": [3]}[what]
    assert [answer.result["codes_placed"] for answer in answers] == expected


# -- the fuzz ----------------------------------------------------------------------------------------------------------

LINES = [corpus.HEADER, corpus.line("FZ1"), corpus.line("FZ2", code=73905162840517)]
SEEDS = [
    *(
        corpus.content(name)
        for name in ("plain.xlsx", "utf8.csv", "utf16-le.csv", "inline-strings.xlsx", "formula-stored.xlsx")
    ),
    corpus.xls(("Orders", LINES), chart=True),
    corpus.ods(corpus.ods_table(*(corpus.ods_row(*line) for line in LINES))),
    corpus.ods_content(corpus.ods_table(*(corpus.ods_row(*line) for line in LINES)), root="document").encode(),
    *(make(*LINES).encode() for make in (corpus.html, corpus.sylk, corpus.spreadsheet_xml)),
    corpus.xlsb(("Orders", LINES), chart_first=True),
    *(path.read_bytes() for path in sorted(SHARED.glob("*.xlsb"))),
]
KINDS = ["set", "cut", "insert", "copy"]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(KINDS), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)


def mutated(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for place, kind, some in changes:
        at = int(place * len(content))
        if kind == "set":
            content = content[:at] + some + content[at + len(some) :]
        elif kind == "cut":
            content = content[:at] + content[at + some[0] :]
        elif kind == "insert":
            content = content[:at] + some + content[at:]
        else:
            content = content[:at] + content[max(0, at - 50 * some[0]) :]
    return content


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(load_settings(_env_file=None, parser_seconds=20, parser_memory_mb=1024)) as made:
        yield made


def _read_whatever(content: bytes, parser: Parser) -> None:
    options = load_settings(_env_file=None, parser_seconds=20, parser_memory_mb=1024)
    table = read(content, parser, options, NAMES, BY_HEADER)
    assert len(table.rows) or len(table.findings) or table.notes
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1 << 20


@given(st.sampled_from(SEEDS), edits)
@settings(max_examples=150)
def test_mutated_files_never_stop_the_reader(parser: Parser, content: bytes, changes: list[tuple[float, str, bytes]]) -> None:
    _read_whatever(mutated(content, changes), parser)


@pytest.mark.long
def test_mutated_files_never_stop_the_reader_for_half_an_hour(parser: Parser) -> None:
    end, count, seed = time.monotonic() + 60 * float(os.environ.get("FUZZ_MINUTES", "30")), 0, time.time_ns()
    source = random.Random(seed)
    while time.monotonic() < end:
        changes = [
            (source.random(), source.choice(KINDS), source.randbytes(source.randint(1, 8))) for _ in range(source.randint(1, 6))
        ]
        _read_whatever(mutated(source.choice(SEEDS), changes), parser)
        count += 1
    print(f"{count:,} mutated files were read (seed {seed})")
    assert count
