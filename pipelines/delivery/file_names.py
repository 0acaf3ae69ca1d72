"""How the files are called that nights write for an order."""

from datetime import datetime


def order_file_name(kind: str, order_id: str, date: int, part: int) -> str:
    """The name of a file of an order, without its suffix: `release-10023456-7-2026-11-25`, `…~2` for the second of a date.

    `date`: 20261125; `part`: 0 for the release file without a date that earlier versions wrote for an order.
    """
    name = f"{kind}-{order_id}"
    if not part:
        return name
    return f"{name}-{datetime.strptime(str(date), '%Y%m%d'):%Y-%m-%d}" + (f"~{part}" if part > 1 else "")
