"""`python -m tests.faults`: the long form; prints its figures and writes them into docs/performance.md."""

import sys
from pathlib import Path

import pytest

from tests.faults import figures
from tests.pages import DOCS, replace_section


def main() -> int:
    code = pytest.main(["-m", "long", "-q", "-s", "-o", "faulthandler_timeout=1800", str(Path(__file__).parent), *sys.argv[1:]])
    table = "\n".join([*figures.HEADER, *figures.LINES, ""])
    print(table)
    if not code:
        replace_section(DOCS / "performance.md", "faults", table)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
