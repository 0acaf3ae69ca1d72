"""The log: what each line has, in both forms, and that no line shows a code."""

import ast
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.common import log_events
from pipelines.common.log_events import EVENTS
from pipelines.common.logs import Form, open_log
from pipelines.common.settings import load_settings
from pipelines.observing.observer import observer_of
from tests.conftest import Shop, csv_of, row, some_codes, xlsx_of

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).parents[1]
CODES = some_codes(6, seed=21)
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was written to standard error so far."""
    parts: list[str] = []

    def say() -> str:
        parts.append(capsys.readouterr().err)
        return "".join(parts)

    return say


def logged(said: Callable[[], str]) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in said().splitlines()]


def of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def loud(shop: Shop) -> Shop:
    shop.runtime = shop.runtime._replace(log=open_log("json"))
    return shop


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_of_text_has_time_with_zone_level_words_run_and_figures(said: Callable[[], str]) -> None:
    open_log("text")("file answered", submission="acme/20261005-093000-october", rows=20, orders_rejected=0, reasons={})
    assert re.fullmatch(
        rf"{TIME} info    file answered     run=[0-9a-f]{{8}} submission=acme/20261005-093000-october rows=20\n", said()
    )


def test_a_line_of_json_has_the_same_and_what_is_zero(said: Callable[[], str]) -> None:
    open_log("json")("report rejected", file="r.csv", rows=0, reasons={"A": 1})
    (line,) = logged(said)
    assert list(line) == ["time", "level", "event", "run", "file", "rows", "reasons"]
    assert (line["level"], line["event"], line["rows"], line["reasons"]) == ("warning", "report rejected", 0, {"A": 1})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", line["time"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_a_stranger_named_makes_a_line_or_a_field_or_moves_a_cursor(form: Form, said: Callable[[], str]) -> None:
    hostile = 'a.csv orders=9 "x\n2026-10-05T09:30:00+00:00 error   forged\r\x1b[2J\u202e\x85\u2028'
    open_log(form)("file answered", file=hostile, rows=1)
    assert said().count("\n") == 1
    assert {letter for letter in said() if not letter.isprintable()} == {"\n"}
    if form == "text":
        assert re.search(r' file="a\.csv orders=9 \\"x\\\\n.*" rows=1$', said())
    else:
        assert json.loads(said())["file"].startswith('a.csv orders=9 "x\\n2026')


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_value_of_any_kind_shows_a_code(form: Form, said: Callable[[], str]) -> None:
    code = CODES[0]
    spaced = f"{code[:4]} {code[4:8]}-{code[8:]}"
    lines: list[str] = []
    open_log(form, also=lambda _, line: lines.append(line))(
        f"failed with {code}", file=Path(f"{code}.csv"), number=int(code), share=float(code), spaced=spaced,
        error=ValueError(f"code {code}"), parts=[code, (code,)], reasons={code: 1, "of": {"x": code}}, data=code.encode(),
    )  # fmt: skip
    for text in (said(), *lines):
        assert code[:6] in text
        assert code[6:] not in text.replace(" ", "").replace("-", "")
    assert lines


def test_a_submission_is_named_in_full_unless_it_is_named_after_a_code(said: Callable[[], str]) -> None:
    log = open_log("json")
    log("file answered", submission="acme/20261005-093000-october-2")
    log("file answered", submission=f"acme/20261005-093000-{CODES[0]}")
    first, second = logged(said)
    assert first["submission"] == "acme/20261005-093000-october-2"
    assert second["submission"] == f"acme/20261005-093000-{CODES[0][:6]}••••••••"


def test_every_log_names_its_run(said: Callable[[], str]) -> None:
    for _ in range(2):
        log = open_log("json")
        log("serving")
        log("stopped cleanly")
    runs = [line["run"] for line in logged(said)]
    assert (runs[0], runs[2]) == (runs[1], runs[3])
    assert runs[0] != runs[2]


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


class Latin(io.StringIO):
    encoding = "ascii"  # type: ignore[assignment]


def test_a_line_that_can_not_be_written_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str, __: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(sys, "stderr", Closed())
    open_log("text", also=fail)("serving")
    monkeypatch.setattr(sys, "stderr", latin := Latin())
    open_log("text")("file answered", file=f"é{CODES[0]}")
    assert "\\xe9" in latin.getvalue()
    assert CODES[0] not in latin.getvalue()


def test_commands_log_only_when_cards_log_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observer_of(load_settings(_env_file=None)).form == ""
    for form in ("text", "json"):
        monkeypatch.setenv("CARDS_LOG", form)
        assert observer_of(load_settings(_env_file=None)).form == form


def test_each_event_is_in_the_table_and_is_logged_by_a_name_of_it() -> None:
    names = {name for name, value in vars(log_events).items() if name.isupper() and isinstance(value, str)}
    assert {getattr(log_events, name) for name in names} == set(EVENTS)
    used = set()
    for path in (ROOT / "pipelines").rglob("*.py"):
        if path.name != "log_events.py":
            tree = ast.walk(ast.parse(path.read_text("utf-8")))
            used |= {getattr(node, "id", getattr(node, "attr", "")) for node in tree} & names
    assert used == names
    assert {level for level, _ in EVENTS.values()} <= {"info", "warning", "error"}


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_a_file_is_followed_from_its_receipt_to_its_night(loud: Shop, said: Callable[[], str]) -> None:
    loud.drop("october.csv", csv_of(row("A", quantity="3"), row("B", quantity="1"), row("C", code="12")))
    (answer,) = loud.run()
    name = f"acme/{answer.folder.name}"
    lines = logged(said)
    (received,) = of(lines, "file received")
    assert (received["reseller"], received["file"], received["rows"]) == ("acme", "october.csv", 3)
    (placement,) = of(lines, "placement written")
    assert (placement["submission"], placement["cards"]) == (name, 4)
    (answered,) = of(lines, "file answered")
    result = {name: value for name, value in answer.result.items() if name not in ("folder", "trial")}
    assert {key: answered[key] for key in result} == result
    assert answered["submission"] == name
    assert answered["seconds"] >= 0
    assert len({line["run"] for line in lines}) == 1

    loud.report(*answer.confirmation.select("Order ID", "Authorization Code").rows()[:3], ("10023456-2", ""))
    loud.later(hours=17)
    night = loud.night()
    lines = logged(said)
    (entered,) = of(lines, "report entered")
    assert (entered["file"], entered["rows"]) == ("report.csv", 4)
    (release,) = of(lines, "release written")
    assert (release["submission"], release["night"], release["orders"], release["cards"]) == (name, night["night"], 1, 3)
    (refused,) = of(lines, "refused written")
    assert (refused["submission"], refused["cards"]) == (name, 1)
    (closed,) = of(lines, "night closed")
    assert (closed["night"], closed["codes_ready"], closed["repeated"]) == (night["night"], 3, False)
    assert closed["seconds"] > 0
    assert of(lines, "placement written")[-1]["night"] == night["night"]
    loud.night()
    assert [line["repeated"] for line in of(logged(said), "night closed")] == [False, True]


def test_trials_bad_reports_and_what_could_not_be_written_are_logged(loud: Shop, said: Callable[[], str]) -> None:
    (loud.settings.inbox / "acme" / "check").mkdir()
    loud.drop("check/tried.csv", csv_of(row("T", quantity="1")))
    loud.run()
    (tried,) = of(logged(said), "trial answered")
    assert (tried["orders_placeable"], tried["orders_placed"]) == (1, 0)
    loud.report(content="Order ID\n1\n")
    loud.night()
    (rejected,) = of(logged(said), "report rejected")
    assert (rejected["level"], rejected["reasons"]) == ("warning", {"COLUMN_MISSING": 1})
    (loud.settings.outbox / "globex").write_text("in the way")
    loud.drop("orders.csv", csv_of(row("G", account="20098765", product="8001", quantity="1")), "globex")
    loud.run()
    (failed,) = of(logged(said), "not done")
    assert failed["level"] == "error"
    assert failed["error"] == str(loud.failures[0])


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_a_whole_life_shows_no_code(form: Form, shop: Shop, said: Callable[[], str]) -> None:
    """Names that are codes, codes that are asked for, refused, wrong, and in errors."""
    shop.runtime = shop.runtime._replace(log=open_log(form))
    shop.drop(
        f"{CODES[0]}.csv", csv_of(row("A", code=CODES[1]), row("B", quantity="4"), row("C", btn="3035550142", quantity="2"))
    )
    shop.drop(f"{CODES[2]} {CODES[3]}.xlsx", xlsx_of(row("D", code=CODES[1]), row("E", code=CODES[4][:13])))
    answers = shop.run()
    codes = [code for answer in answers for code in answer.codes]
    shop.report(("10023456-1", codes[0]), ("10023456-2", codes[1]), ("77-7", CODES[5]), name=f"{CODES[3]}.csv")
    shop.night()
    shop.report(("10023456-3", "x" + CODES[5]), name=f"{CODES[4]}.csv")
    shop.night()

    def die(step: str) -> None:
        if step == "placement written":
            raise ValueError(f"code {CODES[1]}")

    shop.drop("last.csv", csv_of(row("Z", quantity="2")))
    shop.run(die)
    assert shop.failures
    text = said()
    assert text.count("file answered") == 2
    assert text.count("night closed") == 2
    assert "not done" in text
    assert len(shop.known_codes()) > 8
    shown = [f"{code:014}" for code in shop.known_codes()] + CODES
    assert [code for code in shown if code in text or code in re.sub(r"[^0-9\n]", "", text)] == []
