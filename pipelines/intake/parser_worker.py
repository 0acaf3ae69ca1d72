"""The child process that turns a stranger's bytes into a table of text.

It runs apart (`python -m pipelines.intake.parser_worker FD LIMITS`), with a ceiling on memory, because a crafted
workbook can abort the parser's process. It imports neither Polars nor anything of ours beyond this room and the way
headers are compared, so that it starts quickly. It answers each file with a `Parsed`; whatever the bytes are, the
parent sees an answer or a dead child.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from pipelines.intake.ceiling import addresses
from pipelines.intake.encryption import decrypted
from pipelines.intake.grid import TooManyError
from pipelines.intake.kinds import Kind, recognise
from pipelines.intake.parsed import Limits, Parsed, UnreadableError

_NO_MEMORY: Final = "reading it takes too much memory"
_KEPT: Final = 8
"""This part of its memory may be left in use after a file, before a fresh process is started."""

READERS: Final[dict[Kind, tuple[str, str]]] = {
    Kind.XLSX: ("pipelines.intake.xlsx", "read_xlsx"),
    Kind.XLSB: ("pipelines.intake.xlsb", "read_xlsb"),
    Kind.XLS: ("pipelines.intake.xls", "read_xls"),
    Kind.ODS: ("pipelines.intake.ods", "read_ods"),
    Kind.FODS: ("pipelines.intake.ods", "read_fods"),
    Kind.SPREADSHEET_XML: ("pipelines.intake.spreadsheet_xml", "read_spreadsheet_xml"),
    Kind.HTML: ("pipelines.intake.html_table", "read_html"),
    Kind.SYLK: ("pipelines.intake.sylk", "read_sylk"),
    Kind.TEXT: ("pipelines.intake.text_format", "read_text"),
}
"""One reader a kind: its module, imported when the first such file comes, and its function."""

Reader = Callable[[bytes, frozenset[str], Limits], Parsed]


def _reader(kind: Kind) -> Reader:
    module, name = READERS[kind]
    reader: Reader = getattr(importlib.import_module(module), name)
    return reader


def parse(content: bytes, known: frozenset[str], limits: Limits) -> Parsed:
    """Recognise a file by its first bytes and read it. `known`: the header keys that identify an order's sheet."""
    try:
        kind = recognise(content, limits)
        if kind is Kind.ENCRYPTED:
            content = decrypted(content)
            kind = recognise(content, limits)
        if kind is Kind.ENCRYPTED:
            raise UnreadableError("FILE_ENCRYPTED", "an encrypted workbook within another")
        return _reader(kind)(content, known, limits)
    except TooManyError as error:
        return Parsed(faults=[(0, -1, error.reason, error.found), *error.first])
    except UnreadableError as error:
        return Parsed(faults=[(0, -1, error.reason, error.found)])
    except MemoryError:
        return Parsed(faults=[(0, -1, "FILE_TOO_LARGE", _NO_MEMORY)])


def main() -> None:
    """Answer files until the parent hangs up."""
    connection = Connection(int(sys.argv[1]))
    limits = Limits(*json.loads(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    at_start = addresses()
    while True:
        try:
            content, (known, lists) = connection.recv_bytes(), map(frozenset, json.loads(connection.recv_bytes()))
        except EOFError:
            return
        parsed = parse(content, known, replace(limits, lists=lists))
        del content  # while the answer is sent
        # no pickle: what a stranger's bytes can take over must not be able to send us code
        connection.send_bytes(json.dumps([parsed.faults, parsed.notes, parsed.header]).encode())
        connection.send_bytes(parsed.table)
        failed = any(fault[3] == _NO_MEMORY for fault in parsed.faults[:1])
        del parsed
        if failed or addresses() - at_start > limits.memory // _KEPT:
            # memory that a large file left in pieces would be missed by the next: a fresh process takes over the line
            os.execv(sys.executable, [sys.executable, "-m", "pipelines.intake.parser_worker", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
