"""A print shop's client of at most 50 lines: orders cards, waits, and prints what is released, without opening a workbook.

    python -m tests.print_shop INBOX OUTBOX FILE

It drops FILE, finds its submission in index.csv, and prints the cards of every release that status.json names, once.
"""

import csv
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def drop(file: Path, inbox: Path) -> None:
    """Copy a file into the inbox so that it appears whole."""
    shutil.copy(file, inbox / f"{file.name}.part")
    (inbox / f"{file.name}.part").rename(inbox / file.name)


def submission(outbox: Path, name: str) -> Path:
    """The folder of the newest answer to a file, as soon as there is one."""
    while True:
        with (outbox / "index.csv").open(newline="") if (outbox / "index.csv").exists() else open("/dev/null") as index:
            found = [row["Path"] for row in csv.DictReader(index) if row["File"] == name]
        if found:
            return outbox / Path(found[-1]).parts[0]
        time.sleep(0.1)


def releases(folder: Path) -> Iterator[dict[str, str]]:
    """The cards of all releases of a submission, compared with their SHA-256."""
    for order in json.loads((folder / "status.json").read_text())["orders"]:
        for file in (file for file in order["files"] if file["kind"] == "release"):
            content = (folder / file["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"], f"{file['name']} is damaged"
            yield from csv.DictReader(content.decode().splitlines())


if __name__ == "__main__":
    inbox, outbox, file = map(Path, sys.argv[1:])
    drop(file, inbox)
    folder = submission(outbox, file.name)
    while json.loads((folder / "status.json").read_text())["state"] in ("placed", "partly_released"):
        time.sleep(0.1)
    for card in releases(folder):
        print(f"{card['Serial']} {card['Authorization Code']} dial {card['Access Number']}")
