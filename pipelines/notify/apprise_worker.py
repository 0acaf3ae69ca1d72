"""The child process that sends messages with Apprise. Started as `python -m pipelines.notify.apprise_worker FD LOCAL`.

It runs apart so that it can be killed when a receiver takes too long, and because it alone has addresses in its hands: what
Apprise and its libraries log of them goes nowhere.
"""

import json
import logging
import re
import sys
from multiprocessing.connection import Connection
from typing import Any, Final

_READ_SECONDS: Final = 20
"""A receiver that has accepted a message and is slow to say so would get it again."""


def prepare(local: list[str]) -> Any:
    """Apprise, without the services that work on this machine, and without attachments, by which it would read files."""
    import apprise
    from apprise.manager_plugins import NotificationManager

    services = NotificationManager()
    for schema in local:
        services[schema].enabled = False
    apprise.AppriseAttachment.add = lambda *_, **__: False
    apprise.AppriseAttachment.instantiate = staticmethod(lambda *_, **__: None)
    return apprise


def send(apprise: Any, url: str, title: str, body: str) -> tuple[bool, str]:
    """Send a message; whether it was accepted, and if not, why."""
    service = apprise.Apprise.instantiate(url)
    if service is None:
        return False, "Apprise does not know such an address, or a part of it is missing"
    service.verify_certificate = True
    service.redirects = False  # the second request would be empty, and would count as accepted
    service.overflow_mode = apprise.OverflowMode.TRUNCATE
    service.socket_read_timeout = max(service.socket_read_timeout, _READ_SECONDS)
    router = apprise.Apprise()
    router.add(service)
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
        accepted = router.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
        said = "" if accepted else log.getvalue()
    status = re.search(r"error=(\d{3})\b", said)
    return bool(accepted), "" if accepted else f"it answered {status[1]}" if status else "it can't be reached, or refuses"


def main() -> None:
    """Answer requests until the connection ends."""
    connection = Connection(int(sys.argv[1]))
    apprise = prepare(json.loads(sys.argv[2]))
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            outcome = send(apprise, request["url"], request["title"], request["body"])
        except Exception as error:
            outcome = False, f"Apprise failed: {type(error).__name__}"
        connection.send_bytes(json.dumps(outcome).encode())
        connection.send_bytes(b"")


if __name__ == "__main__":
    main()
