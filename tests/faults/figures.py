"""The figures of a long run, for its table in docs/performance.md."""

from typing import Any

LINES: list[str] = []
HEADER = ["| fault | injected | files | codes | lost | issued twice | other findings | seconds |",
          "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip


def report(name: str, faults: int, found: list[Any], seconds: float) -> None:
    """Note what a test did and found."""
    sums = [sum(one.files for one in found), sum(one.codes for one in found)]
    sums += [sum(map(len, wrongs)) for wrongs in zip(*((one.lost, one.twice, one.others) for one in found), strict=True)]
    LINES.append(f"| {name} | {faults:,} | {' | '.join(f'{number:,}' for number in sums)} | {seconds:.0f} |")
    print(LINES[-1])
