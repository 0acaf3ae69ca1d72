"""Settings of the environment: what they take, and how a wrong one is told."""

from pathlib import Path

import pytest

from pipelines import cli
from pipelines.common.errors import UsageError
from pipelines.common.settings import Settings, load_settings

WRONG = [
    ("SETTLE_SECONDS", "soon", "number"),
    ("SETTLE_SECONDS", "-1", "greater than or equal to 0"),
    ("SETTLE_SECONDS", "inf", "finite"),
    ("MAX_QUANTITY", "0", "greater than or equal to 1"),
    ("MAX_QUANTITY", "10000001", "less than or equal to 10000000"),
    ("MAX_QUANTITY", "1.5", "integer"),
    ("MAX_QUANTITY", "", "integer"),
    ("OVERDUE_HOURS", "0", "greater than 0"),
    ("OVERDUE_HOURS", "nan", "finite"),
    ("OVERDUE_HOURS", "1e300", "less than or equal to"),
    ("REPLACE_REFUSED", "perhaps", "boolean"),
    ("MAX_GUESSES", "0", "greater than or equal to 1"),
    ("MAX_SHEET_CODES", "1000001", "less than or equal to 1000000"),
    ("MAX_FILE_MB", "0", "greater than or equal to 1"),
    ("MAX_FILE_MB", "99999999999", "less than or equal to"),
    ("MAX_INFLATED_MB", "0", "greater than or equal to 1"),
    ("MAX_ROWS", "1", "greater than or equal to 2"),
    ("MAX_COLUMNS", "1", "greater than or equal to 2"),
    ("MAX_CELL", "254", "greater than or equal to 255"),
    ("PARSER_MEMORY_MB", "511", "greater than or equal to 512"),
    ("PARSER_MEMORY_MB", "99999999999", "less than or equal to"),
    ("PARSER_SECONDS", "0", "greater than 0"),
    ("PARSER_SECONDS", "inf", "finite"),
    ("REGISTRY", "mysql://host/database", "takes sqlite:///path/to/file or postgresql://user@host/database"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` but the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "value", "takes"), WRONG)
def test_a_wrong_setting_is_told_by_its_name_and_what_it_takes(
    name: str, value: str, takes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"CARDS_{name}", value)
    monkeypatch.setattr("sys.argv", ["cards", "run"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"cards: CARDS_{name}={value!r} can't be used: ")
    assert takes in error
    assert error.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_every_setting_is_tried_with_a_wrong_value() -> None:
    assert {name.lower() for name, _, _ in WRONG} == set(Settings.model_fields) - {"home"}  # any text is a path


def test_a_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDS_REGISTRY", "postgres+ssl://cards:s3cr:et@host/database")
    with pytest.raises(UsageError) as error:
        load_settings()
    assert "s3cr" not in str(error.value)
    assert "cards:…@host" in str(error.value)


def test_without_any_setting_all_is_in_the_current_folder() -> None:
    settings = load_settings()
    assert settings.registry_url == f"sqlite:///{Path.cwd()}/registry.db"
    assert (settings.inbox, settings.outbox) == (Path("inbox"), Path("outbox"))


def test_settings_come_from_a_file_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CARDS_HOME=/somewhere\nCARDS_MAX_ROWS=7\nOTHER=1\nCARDS_UNKNOWN=2\n")
    monkeypatch.setenv("CARDS_MAX_ROWS", "8")
    settings = load_settings()
    assert (settings.home, settings.max_rows) == (Path("/somewhere"), 8)
    assert settings.registry_url == "sqlite:////somewhere/registry.db"


def test_a_wrong_setting_of_the_file_is_told_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARDS_MAX_ROWS=many\n")
    with pytest.raises(UsageError, match="CARDS_MAX_ROWS='many'"):
        load_settings()
