"""The log: one line an event, with time, level, run and figures, as text or as one JSON object. No line shows a code.

structlog is imported where a log is opened, so that commands without one start at once.
"""

import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal, TextIO

from pipelines.common.context import Log
from pipelines.common.log_events import EVENTS
from pipelines.common.masking import mask_codes
from pipelines.common.printable import printable, printable_json
from pipelines.common.settings import Settings

Form = Literal["text", "json", ""]
"""How lines are written; empty: not at all."""
Stream = Literal["stdout", "stderr"]
Fields = MutableMapping[str, Any]
Also = Callable[[str, str], None]
"""Who else gets each line: its level, and its words and figures as text."""

_CODE: Final = 10**13
_EVENT_WIDTH: Final = 17
_MOST_REASONS: Final = 3
_PLAIN: Final = re.compile(r'[^\s"=]+')
_COLOURS: Final = {"info": "32", "warning": "33", "error": "31"}
_WRITING: Final = threading.Lock()


def is_asked_for(settings: Settings) -> bool:
    """Whether CARDS_LOG is set. Without it only `cards serve` logs; of a command its result says what it did."""
    return "log" in settings.model_fields_set


def open_log(form: Form, stream: Stream = "stderr", also: Also | None = None) -> Log:
    """A log for one run, which is named in each of its lines by eight hexadecimal digits."""
    import structlog

    tee = [_tee(also)] if also else []
    render = [_stamp, _RENDERERS[form](stream)] if form else [_drop]
    logger = structlog.wrap_logger(_Lines(stream), processors=[_level, _without_codes, *tee, *render])
    return _as_log(logger.bind(run=secrets.token_hex(4)))


def _as_log(logger: Any) -> Log:
    def log(event: str, *, level: str = "", **figures: Any) -> None:
        logger.info(event, level=level, **figures)

    return log


class _Lines:
    """Writes lines to a standard stream as it is at that time: a progress bar puts itself in between."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def info(self, line: str) -> None:
        """Write a line. One that can't be written stops no work."""
        out: TextIO = getattr(sys, self._stream)
        encoding = out.encoding or "utf-8"
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        with _WRITING, suppress(OSError, ValueError):
            out.write(f"{line}\n")
            out.flush()


# -- processors, in their order ----------------------------------------------------------------------------------------


def _level(_: Any, __: str, fields: Fields) -> Fields:
    """The level that the table of events has, unless another is given."""
    fields["level"] = fields["level"] or EVENTS.get(fields["event"], ("info", ""))[0]
    return fields


def _without_codes(_: Any, __: str, fields: Fields) -> Fields:
    return {name: _clean(value) for name, value in fields.items()}


def _clean(value: Any) -> Any:
    """A value in which every code is masked, and no character can't be seen; what is no plain value becomes text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if abs(value) < _CODE else mask_codes(str(value))
    if isinstance(value, Mapping):
        return {_clean(str(name)): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return mask_codes(printable(str(value)))


def _tee(also: Also) -> Callable[[Any, str, Fields], Fields]:
    def tee(_: Any, __: str, fields: Fields) -> Fields:
        with suppress(Exception):  # a log that is out of reach stops no work
            also(fields["level"], f"{fields['event']} {_figures(fields)}".rstrip())
        return fields

    return tee


def _drop(_: Any, __: str, ___: Fields) -> Fields:
    from structlog import DropEvent

    raise DropEvent


def _stamp(_: Any, __: str, fields: Fields) -> Fields:
    """The time, with its zone. It comes after the masks, as it has fourteen digits."""
    return {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), **fields}


def _json(_: Stream) -> Callable[[Any, str, Fields], str]:
    def render(_: Any, __: str, fields: Fields) -> str:
        first = {name: fields.pop(name) for name in ("time", "level", "event")}
        return printable_json(json.dumps({**first, **fields}, ensure_ascii=False, default=str))

    return render


def _text(stream: Stream) -> Callable[[Any, str, Fields], str]:
    colours = getattr(sys, stream).isatty() and "NO_COLOR" not in os.environ

    def render(_: Any, __: str, fields: Fields) -> str:
        level = f"{fields['level']:<7}"
        if colours:
            level = f"\x1b[{_COLOURS.get(fields['level'], '0')}m{level}\x1b[0m"
        time = re.sub(r"\.\d+", "", fields["time"])
        return f"{time} {level} {fields['event']:<{_EVENT_WIDTH}} {_figures(fields)}".rstrip()

    return render


_RENDERERS: Final[dict[str, Callable[[Stream], Callable[[Any, str, Fields], str]]]] = {"text": _text, "json": _json}


def _figures(fields: Fields) -> str:
    """The figures as `name=value`, without those that are nothing."""
    shown = ((name, value) for name, value in fields.items() if name not in ("time", "level", "event"))
    return " ".join(f"{name}={_shown(value)}" for name, value in shown if value not in (None, "", 0, False, {}, []))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        most = sorted(value.items(), key=lambda item: (-item[1] if isinstance(item[1], int) else 0, item[0]))
        value = ",".join(f"{name}:{one}" for name, one in most[:_MOST_REASONS]) + (",…" if len(most) > _MOST_REASONS else "")
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
