"""Give memory back to the operating system."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give back what the C library keeps of memory that was freed: after a large workbook, several hundred MB.

    Polars and Arrow give back their own; where the C library has no such function, nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
