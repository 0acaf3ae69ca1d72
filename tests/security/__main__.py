"""`python -m tests.security`: the heavy and long attacks; prints their figures and writes them into docs/security.md."""

import sys
from pathlib import Path

import pytest

from tests.security import figures

PAGE = Path(__file__).parents[2] / "docs/security.md"
BEGIN, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"


def main() -> int:
    options = ["-m", "heavy or long", "-q", "-s", "-o", "faulthandler_timeout=1800", str(Path(__file__).parent), *sys.argv[1:]]
    code = pytest.main(options)
    table = "\n".join([*figures.HEADER, *figures.LINES, ""])
    print(table)
    before, begin, rest = PAGE.read_text("utf-8").partition(BEGIN) if PAGE.exists() else ("", "", "")
    _, end, after = rest.partition(END)
    if end and not code:
        PAGE.write_text(before + begin + table + end + after, "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
