"""Receivers of notices on this machine: a mail server, and an HTTP server for `json://`."""

import json
import socket
import ssl
import threading
import time
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller


class Received(NamedTuple):
    """A message as it arrived. `to`: the path of the request, or the address of the mail."""

    title: str
    body: str
    to: str


class Webhook:
    """An HTTP server that takes messages, or answers with an error, or late; `messages` are those that it accepted."""

    def __init__(self, *certificate: Path) -> None:
        """`certificate`: files with its certificate and key; HTTP without TLS if there are none."""
        self.messages: list[Received] = []
        self.requests = 0
        self.status = 200
        self.seconds = 0.0
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.requests += 1
                status = webhook.status
                if status == 200:
                    webhook.messages.append(Received(said["title"], said["message"], self.path))
                time.sleep(webhook.seconds)
                self.send_response(status)
                self.send_header("Location", f"{self.path}moved")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, path: str = "") -> str:
        return f"json://127.0.0.1:{self._server.server_port}/{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailServer:
    """An SMTP server that takes mail; `messages` are those that it accepted."""

    def __init__(self, *certificate: Path) -> None:
        """`certificate`: files with its certificate and key, which it takes no mail without."""
        self.messages: list[Received] = []
        secure: dict[str, Any] = {}
        if certificate:
            secure = {"tls_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "require_starttls": True}
            secure["tls_context"].load_cert_chain(*certificate)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=port, **secure)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = mail.get_body(("plain",))  # type: ignore[attr-defined]
        self.messages.append(Received(mail["Subject"], body.get_content(), ",".join(envelope.rcpt_tos)))
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self._controller.port}?from=cards@example.com&name=Cards"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._controller.stop()
