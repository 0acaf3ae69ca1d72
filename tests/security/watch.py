"""Watches a process and all of its children: memory and seconds, with a limit at which they are killed."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.security.attack import House
from tests.security.figures import LINES


class Figures(NamedTuple):
    """What a run took: the peak of all processes in MB, seconds, and after how many another's file was answered."""

    peak: int
    seconds: float
    waited: float
    ended: bool

    def report(self, name: str, size: int) -> "Figures":
        """Note it for the table."""
        more = "" if self.ended else "> "
        waited = f"{self.waited:.0f}" if self.waited >= 0 else "never"
        LINES.append(f"| {name} | {size / 1e6:,.2f} MB | {more}{self.peak:,} | {more}{self.seconds:.0f} | {waited} |")
        print(LINES[-1])
        return self


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                with suppress(OSError):
                    found += [int(child) for child in (thread / "children").read_text().split() if int(child) not in found]
    return found


def megabytes(pid: int) -> float:
    """The memory that is a process's own: what it maps of files is left out."""
    with suppress(OSError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024
    return 0


def measured(pids: list[int]) -> float:
    """The memory of a process and its children. One that has just been forked is the same memory once more until it runs a
    program of its own.
    """
    program = _command(pids[0])
    return sum(megabytes(pid) for pid in pids if pid == pids[0] or _command(pid) != program)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def watched(process: "subprocess.Popen[bytes]", done: Callable[[], bool], seconds: float = 60, most: float = 3_000) -> Figures:
    """Watch until the process ends, or kill all when it takes too long or too much. `done`: another's answer is there."""
    begin, peak, waited = time.monotonic(), 0.0, -1.0
    reading = threading.Thread(target=process.communicate)  # so that a pipe never fills
    reading.start()
    while process.poll() is None:
        pids = tree(process.pid)
        peak = max(peak, measured(pids))
        if waited < 0 and done():
            waited = time.monotonic() - begin
        if peak > most or time.monotonic() - begin > seconds:
            kill(pids)
            reading.join()
            return Figures(round(peak), time.monotonic() - begin, waited, ended=False)
        time.sleep(0.02)
    reading.join()
    if waited < 0 and done():
        waited = time.monotonic() - begin
    return Figures(round(peak), time.monotonic() - begin, waited, ended=True)


def run_watched(house: House, answered: str, seconds: float = 60, most: float = 3_000, *command: str) -> Figures:
    """`cards run` with figures; `answered`: the file of globex's that is waited for."""
    process = house.start(*(command or ("run",)))
    return watched(process, lambda: bool(list((house.outbox / "globex").glob(f"*/{answered}"))), seconds, most)
