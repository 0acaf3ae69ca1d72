"""The look of all our workbooks, as plain data: colours, styles, number formats, widths and pages. Each writer translates
it; nothing else in this room names a colour or a width of its own.
"""

import re
from datetime import date, datetime
from typing import Any, Final, NamedTuple

AUTHOR: Final = "calling-card-orders"
LANGUAGE: Final = "en-US"
FONT, FIXED_FONT = "Calibri", "Consolas"
BLACK, WHITE, RULE_GREY = "000000", "FFFFFF", "D0D0D0"
BLUE, PALE, GREY, AMBER, RED, LINK = "1F4E79", "DDEBF7", "D9D9D9", "FFF2CC", "FFC7CE", "0563C1"
QUIET: Final = "595959"
"""Of text that says that there is nothing to see."""
SERIES: Final = {"good": "2E75B6", "bad": "C00000", "warning": "946C00", "neutral": "6E6E6E", "other": "1F4E79",
                 "calm": "548235"}  # fmt: skip
"""The colours of a chart's series, by what they mean."""

TEXT, COUNT, DECIMAL, PERCENT = "@", "#,##0", "#,##0.0", "0.0%"
TIME, DATE, DAY = "yyyy-mm-dd hh:mm", "yyyy-mm-dd", "mmm d"


def zoned(offset: str) -> str:
    """The number format of times that names their zone; `offset` as in ISO 8601: -06:00."""
    return f'{TIME} "UTC{offset}"'


class Style(NamedTuple):
    """The look of a cell. Colours are RRGGBB; an empty `fill` is none. A `border` is `all` around, `below`, or none."""

    number: str = TEXT
    bold: bool = False
    size: int = 11
    color: str = BLACK
    fill: str = ""
    wrap: bool = False
    align: str = "left"
    middle: bool = False
    indent: int = 1
    border: str = "all"
    font: str = FONT
    underline: bool = False


WORDS: Final = Style()
WRAPPED: Final = Style(wrap=True)
CODES: Final = Style(font=FIXED_FONT, size=10)
NONE: Final = Style(color=QUIET)
HEADER: Final = Style(bold=True, color=WHITE, fill=BLUE, wrap=True, middle=True)
FIGURES_HEADER: Final = HEADER._replace(align="right", indent=2)
"""Of a column of figures: it ends left of the button of the filter."""
TITLE: Final = Style(bold=True, size=16, color=BLUE, border="", indent=0)
SECTION: Final = TITLE._replace(size=12)
LABEL: Final = Style(bold=True, wrap=True, border="below")
ADVICE: Final = Style(bold=True, fill=AMBER, wrap=True)
ATTENTION: Final = Style(fill=AMBER, wrap=True)
GO_TO: Final = Style(fill=AMBER, color=LINK, underline=True)


def figure(number: str) -> Style:
    """The look of figures and times with a number format."""
    return Style(number, align="right")


POINTS: Final = 5.25
"""The points that a character of a column's width takes."""
HEADER_LINE: Final = 15.0
LINE_HEIGHT: Final = 15.75
ROW_HEIGHT: Final = 16.5
TITLE_HEIGHT: Final = 27.0
"""In points, like all heights; each is a whole number of pixels."""
ROW_PADDING: Final = ROW_HEIGHT - LINE_HEIGHT
MAX_HEIGHT: Final = 409.0
MAX_WIDTH: Final = 60
"""The widest column that adapts to its cells; longer text is wrapped."""
WRAPPING: Final = {"Reason": 28, "What to fix": MAX_WIDTH, "Why": MAX_WIDTH}
"""Columns of sentences, whose text is always wrapped, and their widths."""
CODE_HEADERS: Final = frozenset(("Authorization Code", "Code", "Refused code", "New code", "Replaced by"))
"""Columns of codes, which stand in a fixed-width face so that digits are easy to compare."""
_CODE: Final = re.compile(r"\d{14}|[0-9a-f]{64}")
_CODE_WIDTH: Final = 5
_FILTER_WIDTH, _PADDING = 4, 3

ILLEGAL: Final = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"
MAX_TEXT: Final = 32_767


class Page(NamedTuple):
    """How a sheet is printed. `paper` is Excel's number of a size; 0 is what the reader's printer has. `tall` and `wide`: the
    pages that it takes; 0 for as many as it needs.
    """

    landscape: bool
    paper: int
    tall: int = 0
    wide: int = 1


MARGINS: Final = {"left": 0.4, "right": 0.4, "top": 0.5, "bottom": 0.7}
FOOTER: Final = "&A — page &P of &N"
_LEGAL, _TABLOID = 5, 3
_LETTER_POINTS, _TABLOID_POINTS = (554, 700), (734, 1130)
_LEAST_SCALE: Final = 0.66
_PAGES: Final = ((112, Page(landscape=False, paper=0)), (205, Page(landscape=True, paper=0)),
                 (265, Page(landscape=True, paper=_LEGAL)))  # fmt: skip
"""Pages by the widest sheet that can be read on them, in characters: 11 points must not shrink below 7.5."""
_WIDEST: Final = 350
"""The widest sheet that can be read when it is printed one page wide at all: a reseller may have 256 columns of its own."""


def page_of(width: float) -> Page:
    """The page for a sheet whose columns are so wide in all."""
    return next((found for widest, found in _PAGES if width <= widest), _widest_page(width))


def _widest_page(width: float) -> Page:
    return Page(landscape=True, paper=_TABLOID, wide=1 if width <= _WIDEST else 0)


def single_page(width: float, height: float) -> Page:
    """The page for a sheet of a width in characters and a height in points that is best seen as a whole."""
    points = width * POINTS
    for page in (Page(landscape=False, paper=0, tall=1), Page(landscape=True, paper=0, tall=1)):
        if _scale(points, height, _LETTER_POINTS, landscape=page.landscape) >= _LEAST_SCALE:
            return page
    if _scale(points, height, _TABLOID_POINTS, landscape=False) >= _LEAST_SCALE:
        return Page(landscape=False, paper=_TABLOID, tall=1)
    return page_of(width)


def _scale(width: float, height: float, room: tuple[int, int], *, landscape: bool) -> float:
    across, down = reversed(room) if landscape else room
    return min(1, across / width, down / height)


def legible_text(value: Any) -> Any:
    """A value in whose text characters that XML cannot hold are replaced by U+FFFD."""
    return re.sub(ILLEGAL, "\ufffd", value)[:MAX_TEXT] if isinstance(value, str) else value


def number_format(value: Any) -> str:
    """The number format of a value; that of a time names its zone, if it has one."""
    if isinstance(value, datetime):
        return zoned(value.isoformat()[-6:]) if value.tzinfo else TIME
    if isinstance(value, date):
        return DATE
    return TEXT if isinstance(value, str) or value is None else COUNT if isinstance(value, int) else DECIMAL


def value_style(value: Any) -> Style:
    """The look of a single value: text, a code, a time or a figure."""
    number = number_format(value)
    if isinstance(value, date):
        return Style(number)
    return figure(number) if number != TEXT else CODES if is_code(value) else WORDS


def is_code(value: Any) -> bool:
    """Whether a value is a code or a digest, which stand in a fixed-width face."""
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def column_letter(place: int) -> str:
    """The letter of one of the first 26 columns, counted from 0."""
    return chr(ord("A") + place)


def column_letters(place: int) -> str:
    """The letters of a column, counted from 0."""
    before, last = divmod(place, 26)
    return (column_letters(before - 1) if before else "") + column_letter(last)


def column_width(header: str, longest: int) -> int:
    """The width of a column whose longest cell has so many characters. A header takes up to three lines."""
    if header in WRAPPING:
        return WRAPPING[header]
    extra = _CODE_WIDTH if header in CODE_HEADERS else _PADDING
    return min(MAX_WIDTH, max(_header_width(header) + _FILTER_WIDTH, longest + extra))


def header_height(headers: list[tuple[str, int]]) -> float:
    """The height of a row of headers with the widths of their columns."""
    lines = max((len(_header_lines(header, width - _FILTER_WIDTH)) for header, width in headers), default=1)
    return HEADER_LINE * max(2, lines) + 3


def _header_lines(header: str, width: int) -> list[str]:
    """A header broken at its spaces."""
    lines = [""]
    for word in header.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], joined] if len(joined) <= width or not lines[-1] else [*lines, word]
    return lines


def _header_width(header: str) -> int:
    """The least width at which a header takes up to three lines."""
    longest = max(map(len, header.split(" ")))
    return next(width for width in range(longest, len(header) + 1) if len(_header_lines(header, width)) <= _HEADER_LINES)


_HEADER_LINES: Final = 3


WIDE: Final = "[A-Z0-9_]"
LOWER, UPPER, LAST_WORD = 0.82, 0.3, 4
"""Widths of a letter, of what a capital or digit takes more, and of what stays empty at the end of a line."""


def text_height(text: str, width: int) -> float:
    """The height in points of a cell whose text is wrapped at a width, as far as Excel allows."""
    lines = sum(1 + int(LOWER * len(part) + UPPER * len(re.findall(WIDE, part))) // (width - LAST_WORD)
                for part in text.split("\n"))  # fmt: skip
    return min(MAX_HEIGHT, LINE_HEIGHT * lines + ROW_PADDING)


def note_size(text: str) -> tuple[int, int]:
    """The width and height in pixels of a note."""
    return 340, 40 + 20 * (1 + len(text) // 48)


def pixels(width: float) -> int:
    """The pixels that a column of a width takes."""
    return round(width * 7) + 5
