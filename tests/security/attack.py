"""What the attacks share: a home that is driven by the command line alone, and a look into every byte of an outbox."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, row
from tests.pages import AS_INSTALLED, ROOT

CARDS = (sys.executable, "-c", "from pipelines.cli import main; main()")
BTN, BTN_OF_ACME, BTN_OF_GLOBEX = "3035550142", "7205550190", "2125550178"
"""BTNs: one that no catalogue lists, and those that `catalogue_of` gives to a reseller."""
BILLING = [(BTN_OF_ACME, "10023456"), (BTN_OF_GLOBEX, "20098765")]


def globex(customer_order_id: str, **cells: str) -> dict[str, str]:
    """A row of globex's."""
    return row(customer_order_id, **{"account": "20098765", "product": "8001", **cells})


def catalogue_of(path: Path, billing: Sequence[tuple[str, str]] = ()) -> Path:
    """Write the tests' catalogue as a workbook, with a sheet Billing Numbers when there are some."""
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.worksheets[0])
    sheets = {
        "Accounts": [("Reseller", "Customer Account Number", "Product Account Number", "Description", "Acceptance"),
                     *(cells[:5] for cells in ACCOUNTS.iter_rows())],
        "Access Numbers": [("Access Number", "Customer Account Number", "Description"), *ACCESS_NUMBERS.iter_rows()],
        "Billing Numbers": [("BTN", "Customer Account Number"), *billing],
    }  # fmt: skip
    for title, rows in sheets.items():
        if len(rows) > 1:
            page = book.create_sheet(title)
            for cells in rows:
                page.append(cells)
    book.save(path)
    return path


class Ended(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.out + self.err


class House:
    """A home with a catalogue, inboxes of acme and globex, and `cards` as a process of its own."""

    def __init__(self, home: Path, url: str = "", **environment: str) -> None:
        self.home, self.inbox, self.outbox = home, home / "inbox", home / "outbox"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CARDS_", "PREFECT_"))},
            "CARDS_HOME": str(home), "CARDS_REGISTRY": url, "CARDS_SETTLE_SECONDS": "0", **AS_INSTALLED,
            "NO_COLOR": "1", "DO_NOT_TRACK": "1", **environment,
        }  # fmt: skip

    def lay(self, billing: Sequence[tuple[str, str]] = ()) -> "House":
        """Make the inboxes and load the catalogue."""
        for source in ("acme", "globex", "network"):
            (self.inbox / source).mkdir(parents=True)
        self.load(billing)
        return self

    def load(self, billing: Sequence[tuple[str, str]] = ()) -> None:
        self.cards("catalog", "load", str(catalogue_of(self.home / "catalogue.xlsx", billing)))

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[bytes]":
        environment = {**self.environment, **more.pop("environment", {})}
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*more.pop("as_user", ()), *CARDS, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **{**pipes, **more})

    def cards(self, *arguments: str, code: int | None = 0, seconds: float = 120, **more: Any) -> Ended:
        """Run a command to its end. `code`: the exit code that it must have (any when None)."""
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.communicate()
        ended = Ended(process.returncode, out.decode(), err.decode())
        assert code is None or ended.code == code, ended
        return ended

    def run(self, **more: Any) -> list[dict[str, Any]]:
        """Answer what lies in the inbox; the documents of `cards run --json`."""
        found: list[dict[str, Any]] = json.loads(self.cards("run", "--json", **more).out)["submissions"]
        return found

    def drop(self, name: str, content: bytes, source: str = "acme") -> Path:
        path = self.inbox / source / name
        path.write_bytes(content)
        return path


# -- what a reseller can read ------------------------------------------------------------------------------------------


def parts(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file's bytes, and those of each part when it is a zip archive such as a workbook."""
    yield str(path), content
    with suppress(zipfile.BadZipFile, RuntimeError), zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            yield f"{path}!{name}", archive.read(name)


def contents(folder: Path) -> dict[str, bytes]:
    """All that stands below a folder: files, parts of workbooks, and the names themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[f"name of {path}"] = os.fsencode(path.name)
        if path.is_file():
            found.update(parts(path, path.read_bytes()))
    return found


def numbers(folder: Path) -> dict[str, str]:
    """Every number of exactly 14 digits below a folder, as UTF-8 or UTF-16, and where it stands; not as a part of a digest."""
    texts = ((where, content.replace(b"\0", b"")) for where, content in contents(folder).items())
    texts = ((where, re.sub(rb"\b[0-9a-f]{64}\b", b"", text)) for where, text in texts)
    return {run.decode(): where for where, text in texts for run in re.findall(rb"(?<![\d.])\d{14}(?!\d)", text)}


def found_in(folder: Path, secrets: Sequence[str | bytes]) -> list[str]:
    """Where any of these texts stand below a folder."""
    needles = [one.encode() if isinstance(one, str) else one for one in secrets]
    return [where for where, content in contents(folder).items()
            if any(one in content or one in content.replace(b"\0", b"") for one in needles)]  # fmt: skip
