"""`python -m tests.faults`: the long form; prints its figures and writes them into the README."""

import sys
from pathlib import Path

import pytest

from tests.faults import figures

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- faults -->\n", "<!-- /faults -->\n"


def main() -> int:
    code = pytest.main(["-m", "long", "-q", "-s", "-o", "faulthandler_timeout=1800", str(Path(__file__).parent), *sys.argv[1:]])
    table = "\n".join([*figures.HEADER, *figures.LINES, ""])
    print(table)
    before, begin, rest = README.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if end and not code:
        README.write_text(before + begin + table + end + after, "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
