"""`python -m tests.security`: the heavy attacks and the storm; prints their figures and writes them into docs/security.md."""

import sys
from pathlib import Path

import pytest

from tests.pages import DOCS, replace_section
from tests.security import figures


def main() -> int:
    here = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("limits", "quota", "storm")]
    options = ["-m", "heavy or long", "-q", "-s", "-o", "faulthandler_timeout=1800", *here, *sys.argv[1:]]
    code = pytest.main(options)
    table = "\n".join([*figures.HEADER, *figures.LINES, ""])
    print(table)
    if not code:
        replace_section(DOCS / "security.md", "attacks", table)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
