"""Text and JSON for a terminal: nothing in it that can't be seen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import console
from pipelines.common.printable import printable, printable_json

TEXTS = st.text(st.characters(), max_size=40)


@given(TEXTS)
def test_whatever_the_text_all_of_it_can_be_seen(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@given(st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_a_json_document_keeps_its_meaning(document: dict[str, str]) -> None:
    made = printable_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(made) == document
    assert made.replace("\n", "").isprintable()


def test_a_cell_forges_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("Files", [{"file": "a\n\x1b[2J\tb", "name": "Müller „ü“ 中\U0001f600"}])
    console.print_key_values({"header": "x\u202ey\nz"})
    console.print_warning("one\u009btwo")
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "Files",
        "file\tname",
        "a\\n\\x1b[2J\\tb\tMüller „ü“ 中\U0001f600",
        "header  x\\u202ey\\nz",
    ]
    assert said.err == "cards: warning: one\\x9btwo\n"
