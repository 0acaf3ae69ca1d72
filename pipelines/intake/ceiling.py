"""A lower ceiling on the memory of this process for as long as a library reads a file whole."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LEAST: Final = 512 << 20
_FOR_EACH_BYTE: Final = 8


def addresses() -> int:
    """Bytes of address space in use, which is what the ceiling counts; 0 where the system doesn't say."""
    sizes = Path("/proc/self/statm")
    return int(sizes.read_text().split()[0]) * resource.getpagesize() if sizes.exists() else 0


@contextmanager
def ceiling_for(inflated: int) -> Iterator[None]:
    """Allow no more memory than reading so many bytes of XML takes, so that a small workbook in which thousands of cells refer
    to one long text can't take all that a large one may. A process without a ceiling gets none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (min(soft, addresses() + _LEAST + _FOR_EACH_BYTE * inflated), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
