"""`python -m tests.registries.make`: keeps a small registry of the program as it is, as `v<VERSION>.db`, for good.

Run it once before a new version is released: later programs must open the file and find what it holds.
"""

import shutil
import tempfile
from pathlib import Path

from pipelines.registry.schema import VERSION
from tests.conftest import Shop
from tests.faults.killing import fill, fill_night

HERE = Path(__file__).parent


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


if __name__ == "__main__":
    main()
