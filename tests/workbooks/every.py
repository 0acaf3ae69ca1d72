"""The rules for the workbooks that tests make: each is looked at once, whichever test makes it again."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import BadZipFile, ZipFile

from pipelines.excel import look
from tests.workbooks import rules

_NAMES: Final = re.compile(
    r"(confirmation|rejections|template|catalogue|statements?|(release|refused|outcome|statement)-.*|\d{4}-\d\d-\d\d.*)\.xlsx"
)
"""Names of our workbooks; resellers drop them again under others, changed by other programs."""
_SEEN: Final[set[frozenset[tuple[str, int]]]] = set()


def broken_rules(folder: Path) -> list[str]:
    """What the rules find in workbooks of ours in a folder and below."""
    return [f"{path.relative_to(folder)}: {' · '.join(one)}" for path in _new(folder) for one in rules.findings(path)]


def _new(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.xlsx"):
        if _NAMES.fullmatch(path.name) and path.is_file() and not path.is_symlink() and (parts := _parts(path)):
            if parts not in _SEEN:
                yield path
            _SEEN.add(parts)


def _parts(path: Path) -> frozenset[tuple[str, int]]:
    """The parts of a workbook of ours and their checksums, but the one that says when it was made; none of another file."""
    try:
        with ZipFile(path) as archive:
            if look.AUTHOR.encode() not in archive.read("docProps/core.xml"):
                return frozenset()
            return frozenset((one.filename, one.CRC) for one in archive.infolist() if one.filename != "docProps/core.xml")
    except (BadZipFile, KeyError, OSError):  # what a test of damages has left
        return frozenset()
