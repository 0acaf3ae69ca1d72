"""The README and the pages of docs/ as the tests and the benchmarks see them: sections, code blocks and links."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
DOCS: Final = ROOT / "docs"
AS_INSTALLED: Final = {"PYTHONPATH": f"{ROOT / 'tests/as_installed'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": ""}
"""The environment of processes that find an installation's packages alone, and keep the bytecode of ours like for users."""
PAGES: Final = [README, *sorted(DOCS.glob("*.md"))]


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; a vertical bar inside a cell is escaped."""
    titles = list(header)
    cells = [titles, ["---"] * len(titles), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def rows(text: str) -> list[list[str]]:
    """The rows of the first Markdown table of a text, without its header."""
    lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines[2:]]


def section(text: str, name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`, each on a line of its own."""
    found = re.search(rf"^<!-- {re.escape(name)} -->\n(.*?)^<!-- /{re.escape(name)} -->$", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise LookupError(f"no section {name}")
    return found[1]


def replace_section(path: Path, name: str, content: str) -> None:
    """Write a section of a page; a page that does not exist yet becomes just this section."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = path.read_text("utf-8") if path.exists() else begin + end
    section(text, name)
    before, _, rest = text.partition(begin)
    path.write_text(before + begin + content + end + rest.partition(end)[2], "utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced code blocks of a page: their language and their content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """A page without its fenced code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """The relative targets of all links and images of a page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
