"""Text that a terminal shows as it is: what else would move its cursor, change its colours or turn its words around is
escaped.
"""

import json
import re
from typing import Final

_NOT_ASCII: Final = re.compile(r"[^ -~]")


def printable(text: str, kept: str = "") -> str:
    """A text in which every character that can't be seen stands as Python escapes it, but for those that are `kept`."""
    if text.isascii() and text.isprintable():
        return text
    return _NOT_ASCII.sub(lambda found: found[0] if found[0].isprintable() or found[0] in kept else _escaped(found[0]), text)


def printable_json(document: str) -> str:
    """The same of a JSON document, which keeps its meaning: only within strings it has anything but ASCII and line ends."""
    return _NOT_ASCII.sub(
        lambda found: found[0] if found[0].isprintable() or found[0] == "\n" else json.dumps(found[0])[1:-1], document
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
