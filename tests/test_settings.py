"""Settings of the environment: what they take, and how a wrong one is reported."""

from pathlib import Path

import pytest

from pipelines import cli
from pipelines.common.errors import UsageError
from pipelines.common.settings import Settings, load_settings
from schemas.findings import MAX_FINDINGS

pytestmark = pytest.mark.one_database

WRONG = [
    ("SETTLE_SECONDS", "soon", "number"),
    ("SETTLE_SECONDS", "-1", "greater than or equal to 0"),
    ("SETTLE_SECONDS", "inf", "finite"),
    ("SHARE", "everybody", "'private' or 'group'"),
    ("CLAIM_SECONDS", "0", "greater than or equal to 1"),
    ("KEEP_DAYS", "-1", "greater than or equal to 0"),
    ("REPORT_MAX_REFUSED", "50", "less than or equal to 1"),
    ("REPORT_MAX_EXTERNAL", "-1", "greater than or equal to 0"),
    ("MAX_QUANTITY", "0", "greater than or equal to 1"),
    ("MAX_QUANTITY", "10000001", "less than or equal to 10000000"),
    ("MAX_QUANTITY", "1.5", "integer"),
    ("MAX_QUANTITY", "", "integer"),
    ("OVERDUE_HOURS", "0", "greater than 0"),
    ("OVERDUE_HOURS", "nan", "finite"),
    ("OVERDUE_HOURS", "1e300", "less than or equal to"),
    ("REPLACE_REFUSED", "perhaps", "boolean"),
    ("DATASETS", "perhaps", "boolean"),
    ("MAX_TAKEN_CODE_ATTEMPTS", "0", "greater than or equal to 1"),
    ("MAX_DAILY_CODES", "0", "greater than or equal to 1"),
    ("MAX_DAILY_FILES", "0", "greater than or equal to 1"),
    ("MAX_DAILY_MB", "0", "greater than or equal to 1"),
    ("MAX_DAILY_PARSE_SECONDS", "0", "greater than 0"),
    ("MAX_BTN_FILL", "1.1", "less than or equal to 1"),
    ("MAX_SHEET_CODES", "1000001", "less than or equal to 1000000"),
    ("MAX_FILE_MB", "0", "greater than or equal to 1"),
    ("MAX_FILE_MB", "99999999999", "less than or equal to"),
    ("MAX_INFLATED_MB", "0", "greater than or equal to 1"),
    ("MAX_ROWS", "1", "greater than or equal to 2"),
    ("MAX_COLUMNS", "1", "greater than or equal to 2"),
    ("MAX_CELL", "254", "greater than or equal to 255"),
    ("MAX_TEXT_MB", "0", "greater than or equal to 1"),
    ("MAX_FINDINGS", "0", "greater than or equal to 1"),
    ("PARSER_MEMORY_MB", "511", "greater than or equal to 512"),
    ("PARSER_MEMORY_MB", "99999999999", "less than or equal to"),
    ("PARSER_SECONDS", "0", "greater than 0"),
    ("PARSER_SECONDS", "inf", "finite"),
    ("APPROVE_ABOVE", "-1", "greater than or equal to 0"),
    ("METRICS", "9464", "takes a host and a port"),
    ("METRICS_FILE", "cards.txt", "takes a file name that ends in .prom"),
    ("LOG", "xml", "'text' or 'json'"),
    ("REGISTRY", "mysql://host/database", "takes sqlite:///path/to/file or postgresql://user@host/database"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` but the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "value", "takes"), WRONG)
def test_a_wrong_setting_is_reported_by_its_name_and_what_it_takes(
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
    tried = {name.lower() for name, _, _ in WRONG} | {"notify", "notify_mail"}
    assert tried == set(Settings.model_fields) - {"home"}  # any text is a path


@pytest.mark.parametrize("name", ["NOTIFY", "NOTIFY_MAIL"])
def test_an_address_that_is_none_is_not_shown_as_it_may_hold_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CARDS_{name}", "json://host ops@example.com hunter2")
    with pytest.raises(UsageError, match=rf"^CARDS_{name} can't be used: takes Apprise addresses .* 1 of these") as error:
        load_settings()
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgres+ssl://cards:hush:hush@host/database", "postgres+ssl://cards:…@host/database"),
        ("POSTGRESQL://cards:hush@host:5432/database", "POSTGRESQL://cards:…@host:5432/database"),
        ("mysql://cards:hush@[::1]:5432/database?sslmode=require&password=hush", "mysql://cards:…@[::1]:5432/database?…"),
        ("mysql://cards@one:1,two:2/database", "mysql://cards@one:1,two:2/database"),
        ("mysql://:hush@host", "mysql://:…@host"),
        ("mysql:///database?user=cards&password=hush", "mysql:///database?…"),
        ("sqlite://registry.db", "sqlite://registry.db"),
        *((value, "…") for value in (
            "mysql://cards:hu@hush@host/database",
            "mysql://cards:@hush@host/database",
            "mysql://cards:hush/hush@host/database",
            "mysql://cards:12/hush@host/database",
            "mysql://cards:12?hush@host/database",
            "mysql://cards:12#hush@host/database",
            "mysql://cards:hush hush@host/database",
            "mysql://cards:hush\thush@host/database",
            "mysql://cards:hush\nhush@host/database",
            "mysql://host/database;password=hush",
            "mysql://host/database?password=hu@hush",
            "mysql://host/database?hush",
            "mysql://host/database?password=12&hush",
            "mysql://host/database#hush",
            "mysql:/cards:hush@host/database",
            "mysql:cards:hush@host",
            "sqlite://cards:@hush/registry.db",
            "jdbc:postgresql://cards:hush@host/database",
            " postgresql://cards:hush@host/database",
            "'postgresql://cards:hush@host/database'",
            "//cards:hush@host/database",
            "cards:hush@host/database",
            "host=here user=cards password=hush",
            "hush",
        )),
    ],
)  # fmt: skip
def test_a_password_is_not_shown(value: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDS_REGISTRY", value)
    with pytest.raises(UsageError) as error:
        load_settings()
    assert "hush" not in str(error.value)
    assert str(error.value).startswith(f"CARDS_REGISTRY={shown!r} can't be used: takes sqlite:///")
    assert error.value.__suppress_context__


SECRET = "s3cr:et"


@pytest.mark.parametrize("name", ["REGISTRY", "MAX_ROWS"])
@pytest.mark.parametrize(
    "value",
    [f"postgres+ssl://cards:{SECRET}@host/database", f"mysql://cards:a@{SECRET}@host/database", f"cards:{SECRET}@host/database",
     f"mysql://host/database?user=cards&password={SECRET}", f"host=db password={SECRET}", f"postgresql:/cards:{SECRET}@host"],
)  # fmt: skip
def test_a_password_in_a_wrong_setting_is_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CARDS_{name}", value)
    with pytest.raises(UsageError, match=f"^CARDS_{name}(=.*)? can't be used: ") as error:
        load_settings()
    assert "s3cr" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CARDS_SETTEL_SECONDS", "CARDS_SETTLE_SECONDS"), ("CARDS_HOM", "CARDS_HOME"), ("cards_max_row", "CARDS_MAX_ROWS"),
     ("CARDS_REGISTRY_URL", "CARDS_REGISTRY"), ("CARDS_", "CARDS_HOME")],
)  # fmt: skip
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelled_setting_is_reported_with_the_closest_one(
    place: str, name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "file":
        (tmp_path / ".env").write_text(f"OTHER=1\nCARDS_MAX_ROWS=7\n{name}=1\n")
    else:
        monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError) as error:
        load_settings()
    expected = f"{name.upper()} is not a setting. Did you mean "
    assert str(error.value).startswith(expected)
    assert name == "CARDS_" or str(error.value) == f"{expected}{meant}?"


def test_without_any_setting_all_is_in_the_current_folder() -> None:
    settings = load_settings()
    assert settings.registry_url == f"sqlite:///{Path.cwd()}/registry.db"
    assert (settings.inbox, settings.outbox) == (Path("inbox"), Path("outbox"))


def test_settings_come_from_a_file_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CARDS_HOME=/somewhere\nCARDS_MAX_ROWS=7\nOTHER=1\n")
    monkeypatch.setenv("CARDS_MAX_ROWS", "8")
    settings = load_settings()
    assert (settings.home, settings.max_rows) == (Path("/somewhere"), 8)
    assert settings.registry_url == "sqlite:////somewhere/registry.db"


def test_a_wrong_setting_of_the_file_is_reported_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARDS_MAX_ROWS=many\n")
    with pytest.raises(UsageError, match="CARDS_MAX_ROWS='many'"):
        load_settings()


def test_no_file_may_have_more_findings_than_the_rules_keep() -> None:
    """Past what is kept of a rule, rows that break it could not be distinguished from good ones."""
    assert load_settings(max_findings=MAX_FINDINGS).max_findings == MAX_FINDINGS
    with pytest.raises(UsageError, match="less than or equal to 50000"):
        load_settings(max_findings=MAX_FINDINGS + 1)
