"""Workbooks under a password. Excel's own default password opens what was merely protected against changes."""

import io
from typing import Final

from pipelines.intake.parsed import UnreadableError

_DEFAULT: Final = "VelvetSweatshop"
"""What Excel encrypts with when a workbook's structure is protected without a password to open it."""


def decrypted(content: bytes) -> bytes:
    """The workbook inside, if the default password opens it; else FILE_ENCRYPTED."""
    import msoffcrypto

    plain = io.BytesIO()
    try:
        locked = msoffcrypto.OfficeFile(io.BytesIO(content))
        locked.load_key(password=_DEFAULT)
        locked.decrypt(plain)
    except MemoryError:
        raise
    except Exception as error:  # the library has a dozen ways to fail on a file that is not as it expects
        raise UnreadableError("FILE_ENCRYPTED", "") from error
    return plain.getvalue()
