"""Settings: environment variables that begin with `CARDS_`, or the same names in `.env`."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.common.errors import UsageError


def _registry_url(value: str) -> str:
    if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ValueError("takes sqlite:///path/to/file or postgresql://user@host/database")
    return value


class Settings(BaseSettings):
    """Every setting, its default and its bounds; the README's table is checked against the descriptions."""

    model_config = SettingsConfigDict(env_prefix="CARDS_", env_file=".env", extra="ignore", frozen=True, allow_inf_nan=False)

    home: Path = Field(Path(), description="the folder that holds inbox, outbox and registry")
    registry: Annotated[str, AfterValidator(_registry_url)] = Field(
        "", description="`sqlite:///…` or `postgresql://…`; empty: `registry.db` in the home"
    )
    settle_seconds: float = Field(2.0, ge=0, le=86_400, description="how long a file must stand still before it is taken")
    max_quantity: int = Field(1_000_000, ge=1, le=10_000_000, description="codes that one file may ask to be drawn")
    overdue_hours: float = Field(48.0, gt=0, le=87_600, description="hours after which an awaited order is overdue")
    replace_refused: bool = Field(True, description="draw replacements for refused Random and BTN+4 codes")
    max_guesses: int = Field(
        1000, ge=1, description="taken codes a reseller may ask for in a day before its Specified orders are held"
    )
    max_sheet_codes: int = Field(
        250_000, ge=0, le=1_000_000, description="most codes that a confirmation workbook lists; above, only its CSV does"
    )
    max_file_mb: int = Field(100, ge=1, le=1024, description="largest file taken, in MB")
    max_inflated_mb: int = Field(1024, ge=1, description="largest workbook taken, in MB after inflation")
    max_rows: int = Field(1_048_576, ge=2, description="most rows of a file")
    max_columns: int = Field(256, ge=2, description="most columns of a file")
    max_cell: int = Field(10_000, ge=255, description="most characters of a cell")
    parser_memory_mb: int = Field(
        4096, ge=512, le=1_048_576, description="memory ceiling of the process that parses files, in MB"
    )
    parser_seconds: float = Field(120.0, gt=0, le=86_400, description="time limit for parsing one file")

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
    """The settings of the environment. Raises UsageError with the name of the first wrong one and what it takes."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = f"CARDS_{first['loc'][0]}".upper()
        given = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", str(first["input"]))  # a password is for no screen
        text = f"{name}={given!r} can't be used: {first['msg'].removeprefix('Value error, ')}."
        raise UsageError(text) from None
