"""What a file is: by its first bytes and, of an archive, by the names of its parts. Its name doesn't count."""

import re
from enum import StrEnum
from typing import Final

from pipelines.intake.package import Package, main_part
from pipelines.intake.parsed import Limits, UnreadableError
from pipelines.intake.sylk import is_sylk

OLE: Final = b"\xd0\xcf\x11\xe0"
_BIFF: Final = re.compile(rb"\x09[\x00\x02\x04\x08][\x04-\x10]\x00")
"""The record that begins a workbook of BIFF 2 to 5 that is in no OLE container."""
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_HTML: Final = re.compile(r"<(!doctype html|html|head|body|table|meta|style|div|title|center|font)\b", re.IGNORECASE)
_SPREADSHEET_XML: Final = "urn:schemas-microsoft-com:office:spreadsheet"
_OTHERS: Final = (
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"\{\\rtf"), "a text document (RTF)"),
    (re.compile(rb"\x00\x00(\x02\x00\x04|\x1a\x00\x00)"), "a Lotus 1-2-3 sheet; open it and save it as .xlsx"),
    (re.compile(rb"TABLE\r?\n0,1\r?\n"), "a DIF sheet; open it and save it as .xlsx"),
    (re.compile(rb"MIME-Version:", re.IGNORECASE), "a web archive; open it and save it as .xlsx"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM....\0\0\0\0|II\*\0|MM\0\*", re.DOTALL), "a picture"),
    (re.compile(rb"Rar!|7z\xbc\xaf|\x1f\x8b|BZh[0-9]1AY"), "a packed archive; send the table that is in it"),
)
_ARCHIVES: Final = (
    ("word/document.xml", "a Word document"),
    ("ppt/presentation.xml", "a presentation"),
    ("index/document.iwa", "an Apple Numbers document; export it as Excel"),
    ("index.apxl", "an Apple document; export it as Excel"),
)


class Kind(StrEnum):
    """The kinds of files that are accepted."""

    XLSX = "Excel workbook"
    XLSB = "Excel binary workbook"
    XLS = "Excel 97 workbook"
    ENCRYPTED = "encrypted workbook"
    ODS = "OpenDocument spreadsheet"
    FODS = "flat OpenDocument spreadsheet"
    SPREADSHEET_XML = "XML Spreadsheet 2003"
    HTML = "web page"
    SYLK = "SYLK"
    TEXT = "table of text"


def recognise(content: bytes, limits: Limits) -> Kind:
    """The kind of a file. Raises UnreadableError with the words for one that is not accepted."""
    if content.startswith(b"PK\x03\x04"):
        return _archive(Package(content, limits))
    if content.startswith(OLE):
        return Kind.ENCRYPTED if _ENCRYPTED in content else Kind.XLS
    if _BIFF.match(content):
        return Kind.XLS
    if is_sylk(content):
        return Kind.SYLK
    for mark, name in _OTHERS:
        if mark.match(content):
            raise UnreadableError("FILE_TYPE", name)
    return _marked_up(_head(content))


def _archive(package: Package) -> Kind:
    if "content.xml" in package:
        return Kind.ODS
    if "encrypted-package" in package:
        raise UnreadableError("FILE_ENCRYPTED", "")
    for name, words in _ARCHIVES:
        if name in package:
            raise UnreadableError("FILE_TYPE", words)
    return Kind.XLSB if main_part(package).lower().endswith(".bin") else Kind.XLSX


def _head(content: bytes) -> str:
    """The beginning of what may be text, in whatever encoding."""
    head = content[:8192]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    if head[1:2] == b"\0" or head[:1] == b"\0":
        return head.replace(b"\0", b"").decode("latin-1")
    return head.decode("utf-8-sig", "replace")


def _marked_up(head: str) -> Kind:
    head = head.lstrip()
    if not head.startswith("<"):
        return Kind.TEXT
    if "<office:document" in head:
        return Kind.FODS
    if _SPREADSHEET_XML in head and "<html" not in head.lower():
        return Kind.SPREADSHEET_XML
    if _HTML.search(head):
        return Kind.HTML
    raise UnreadableError("FILE_TYPE", "XML text that is not a spreadsheet")
