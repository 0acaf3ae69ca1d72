"""`python -m tests.registries.make URL`: keeps a small registry of the program as it is, as `v<VERSION>.db`, and the
statements with which it creates one in PostgreSQL (URL: an empty database), as `v<VERSION>.sql`, for good.

Run it once before a new version is released: later programs must open them and find what they hold.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipelines.registry.database import POSTGRESQL, Database
from pipelines.registry.migrations import VERSION, prepare
from tests.conftest import Shop
from tests.faults.killing import fill, fill_night

HERE = Path(__file__).parent


class Logged(Database):
    """Keeps what creates its tables and indexes."""

    def __init__(self, *arguments: Any) -> None:
        self.created: list[str] = []
        super().__init__(*arguments)

    def execute(self, sql: str, *parameters: Any) -> None:
        if sql.startswith("CREATE"):
            self.created.append(sql)
        super().execute(sql, *parameters)


def main() -> None:
    kept = HERE / f"v{VERSION}.db"
    if kept.exists():
        raise SystemExit(f"{kept} is there and stays as it is.")
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder, "home"), f"sqlite:///{folder}/registry.db")
        fill_night(shop)
        shop.night()
        fill(shop)
        shop.run()
        shop.registry.execute(f"VACUUM INTO '{folder}/kept.db'")
        shop.registry.close()
        shutil.copy(Path(folder, "kept.db"), kept)
    with Logged(sys.argv[1], POSTGRESQL) as database:
        prepare(database)
        kept.with_suffix(".sql").write_text(";\n".join([*database.created, f"INSERT INTO version VALUES ({VERSION})", ""]))


if __name__ == "__main__":
    main()
