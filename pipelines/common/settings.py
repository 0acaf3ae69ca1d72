"""Settings: environment variables that begin with `CARDS_`, or the same names in `.env`."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from pipelines.common.database_url import mask_url
from pipelines.common.errors import UsageError
from schemas.notices import ADDRESS

_PREFIX: Final = "CARDS_"


def _registry_url(value: str) -> str:
    if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ValueError("takes sqlite:///path/to/file or postgresql://user@host/database")
    return value


def _addresses(value: str) -> str:
    if wrong := [one for one in value.split() if not re.match(ADDRESS, one)]:
        raise ValueError(f"takes Apprise addresses (slack://…, json://…) and mail addresses; {len(wrong)} of these are neither")
    return value


def _host_and_port(value: str) -> str:
    if value and not re.fullmatch(r"(\S+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}", value):
        raise ValueError("takes a host and a port, such as 127.0.0.1:9464")
    return value


def _prom_file(value: str) -> str:
    if value and not value.endswith(".prom"):
        raise ValueError("takes a file name that ends in .prom, as node_exporter reads no others")
    return value


class Settings(BaseSettings):
    """Every setting, its default and its bounds; the tables of the documentation are made from the descriptions."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, allow_inf_nan=False)

    home: Path = Field(Path(), description="the folder that holds inbox, outbox and registry")
    registry: Annotated[str, AfterValidator(_registry_url)] = Field(
        "", description="`sqlite:///…` or `postgresql://…`; empty: `registry.db` in the home"
    )
    share: Literal["private", "group"] = Field(
        "private",
        description="who may read answers: the service's user (`private`), or also the group of a reseller's folder (`group`)",
    )
    settle_seconds: float = Field(2.0, ge=0, le=86_400, description="how long a file must stand still before it is read")
    claim_seconds: int = Field(
        120, ge=1, le=86_400, description="seconds after which the files of a worker that no longer works are free for others"
    )
    max_quantity: int = Field(1_000_000, ge=1, le=10_000_000, description="codes that one file may ask to be drawn, or name")
    overdue_hours: float = Field(48.0, gt=0, le=87_600, description="hours after which an awaited order is overdue")
    replace_refused: bool = Field(True, description="draw replacements for refused Random and BTN+4 codes")
    report_max_refused: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the codes that its orders wait for which a network report may refuse, from 100 codes on, without "
        "approval",
    )
    report_max_external: int = Field(
        1000, ge=0, description="codes that were not issued here which a network report may show without approval"
    )
    datasets: bool = Field(
        True, description="write what is new of each night as Parquet and CSV files below `outbox/reconciliation/data`"
    )
    keep_days: int = Field(
        0, ge=0, le=36_500, description="days after which the night moves finished submissions into the archive; 0: never"
    )
    approve_above: int = Field(
        0, ge=0, description="codes that an order may ask for before it waits for the operator's approval; 0: any number"
    )
    notify: Annotated[str, AfterValidator(_addresses)] = Field(
        "",
        description="where the operator is notified: Apprise addresses (`slack://…`, `json://…`) or mail addresses, separated "
        "by spaces; empty: nowhere",
    )
    notify_mail: Annotated[str, AfterValidator(_addresses)] = Field(
        "", description="the Apprise address of the mail server (`mailtos://user:password@host`) that mail addresses go through"
    )
    metrics: Annotated[str, AfterValidator(_host_and_port)] = Field(
        "127.0.0.1:9464", description="host and port of metrics and health checks while `cards serve` runs; empty: none"
    )
    metrics_file: Annotated[str, AfterValidator(_prom_file)] = Field(
        "", description="a file (`….prom`) that each run renews with metrics for the textfile collector of node_exporter"
    )
    log: Literal["text", "json"] = Field(
        "text", description="how log lines are written: for a terminal, or one JSON object a line"
    )
    max_taken_code_attempts: int = Field(
        1000,
        ge=1,
        description="codes that are not free a reseller may ask for in a day before its files that name codes are put on hold",
    )
    max_daily_codes: int = Field(5_000_000, ge=1, description="codes that a reseller may order in a day")
    max_daily_files: int = Field(10_000, ge=1, description="files of a reseller that are processed in a day; more wait")
    max_daily_mb: int = Field(2048, ge=1, description="MB of a reseller that are processed in a day; more wait")
    max_daily_parse_seconds: float = Field(
        600, gt=0, description="seconds of parsing that a reseller's files may take in a day; more wait"
    )
    max_btn_fill: float = Field(1.0, gt=0, le=1, description="share of the valid PINs of a BTN that may be in use")
    max_findings: int = Field(50_000, ge=1, le=50_000, description="most errors of a file; with more it is answered as a whole")
    max_sheet_codes: int = Field(
        250_000, ge=0, le=1_000_000, description="most codes that a confirmation workbook lists; above, only its CSV does"
    )
    max_file_mb: int = Field(100, ge=1, le=1024, description="largest file that is accepted, in MB")
    max_inflated_mb: int = Field(1024, ge=1, description="largest workbook that is accepted, in MB after inflation")
    max_rows: int = Field(1_048_576, ge=2, description="most rows of a file")
    max_columns: int = Field(256, ge=2, description="most columns of a file")
    max_cell: int = Field(10_000, ge=255, description="most characters of a cell")
    max_text_mb: int = Field(256, ge=1, description="most text in a file's cells, in MB")
    parser_memory_mb: int = Field(
        2048, ge=512, le=1_048_576, description="memory ceiling of the process that parses files, in MB"
    )
    parser_seconds: float = Field(
        10.0, gt=0, le=86_400, description="time limit for parsing a file; each MB of it adds a second"
    )

    @property
    def registry_url(self) -> str:
        """Where the registry is."""
        return self.registry or f"sqlite:///{self.home.absolute() / 'registry.db'}"

    @property
    def inbox(self) -> Path:
        """Where files are dropped."""
        return self.home / "inbox"

    @property
    def outbox(self) -> Path:
        """Where answers appear."""
        return self.home / "outbox"


def load_settings(**overrides: object) -> Settings:
    """The settings of the environment.

    Raises UsageError with the name of the first wrong one and what it takes, or of a variable that is not a setting.
    """
    if (unknown := next(_unknown_variables(**overrides), None)) is not None:
        closest = difflib.get_close_matches(unknown.lower(), Settings.model_fields, n=1, cutoff=0)[0]
        raise UsageError(f"{_PREFIX}{unknown} is not a setting. Did you mean {_PREFIX}{closest.upper()}?")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{_PREFIX}{str(first['loc'][0]).upper()}{_shown(first)} can't be used: {message}.") from None


def _unknown_variables(**overrides: object) -> Iterator[str]:
    """Variables of the environment, then of the file, that begin like a setting and are not one: what follows `CARDS_`."""
    file: Any = overrides.get("_env_file", Settings.model_config["env_file"])
    for source in (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings, env_file=file)):
        for name in source.env_vars:
            prefix, setting = name[: len(_PREFIX)].upper(), name[len(_PREFIX) :]
            if prefix == _PREFIX and setting.lower() not in Settings.model_fields:
                yield setting.upper()


def _shown(error: Any) -> str:
    """A wrong value, unless it may be secret: an address may hold a password, in whichever setting it stands."""
    value = str(error["input"])
    if error["loc"][0] in ("notify", "notify_mail"):
        return ""  # addresses hold passwords and tokens
    if error["loc"][0] == "registry":
        return f"={mask_url(value)!r}"
    return f"={value!r}" if re.fullmatch(r"[\w .,+-]{0,40}", value) else ""
