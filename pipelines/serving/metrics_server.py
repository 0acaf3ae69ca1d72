"""Metrics and health checks over HTTP while `cards serve` runs: /metrics, /healthz, /readyz. It only ever reads."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from pipelines.common.context import Log
from pipelines.common.log_events import METRICS_SERVED, NO_METRICS
from pipelines.common.settings import Settings
from pipelines.observing.metrics import Metrics
from pipelines.observing.state import State

_AT_ONCE: Final = 8
"""So many requests are answered at once; a further one is turned away."""
_REQUEST_SECONDS: Final = 5.0
"""Whoever has not sent a request after this, or has not read its answer, is cut off, however busily the bytes trickle."""
_ALIVE_SECONDS: Final = 60.0
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"

Answer = tuple[HTTPStatus, str, bytes]


class Heart:
    """Beats while the loop of `cards serve` goes round."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> None:
        """Say that the loop lives."""
        self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago the last beat was."""
        return time.monotonic() - self._last


class Pages:
    """What is served at each path."""

    def __init__(self, settings: Settings, metrics: Metrics, heart: Heart) -> None:
        self._metrics, self._heart, self._state = metrics, heart, State(settings)
        metrics.registry.register(self._state)
        self._pages: dict[str, Callable[[], Answer]] = {
            "/metrics": self._scraped, "/healthz": self._healthy, "/readyz": self._ready,
        }  # fmt: skip

    def answer(self, path: str) -> Answer:
        """The page at a path."""
        page = self._pages.get(path.partition("?")[0])
        return page() if page else (HTTPStatus.NOT_FOUND, _TEXT, b"not found\n")

    def _scraped(self) -> Answer:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._metrics.registry)

    def _healthy(self) -> Answer:
        alive = self._heart.seconds < _ALIVE_SECONDS
        words = "alive" if alive else f"the loop has stood still for {self._heart.seconds:.0f} s"
        return HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{words}\n".encode()

    def _ready(self) -> Answer:
        problems = self._state.problems()
        body = json.dumps({"ready": not problems, "problems": problems}, ensure_ascii=False) + "\n"
        return HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK, _JSON, body.encode()


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = _REQUEST_SECONDS
    server_version, sys_version = "cards", ""

    def setup(self) -> None:
        super().setup()
        self._cut_off = threading.Timer(_REQUEST_SECONDS + self.server.patience, self._shut)
        self._cut_off.daemon = True
        self._cut_off.start()

    def finish(self) -> None:
        self._cut_off.cancel()
        super().finish()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def __getattr__(self, name: str) -> Any:
        """Any other method gets the answer to an unknown path."""
        if name.startswith("do_"):
            return lambda: self._send((HTTPStatus.NOT_FOUND, _TEXT, b"not found\n"))
        raise AttributeError(name)

    def do_GET(self) -> None:
        """Answer a request."""
        self._send(self.server.pages.answer(self.path))

    def _send(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: who asks is no event of ours."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    patience = 5.0
    """So much longer than a request an answer may take that reads the registry and the inbox."""

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self.pages = pages
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, unless there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and leave the place to another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A client that went away is no error."""


@contextlib.contextmanager
def metrics_served(settings: Settings, metrics: Metrics, heart: Heart, log: Log) -> Iterator[None]:
    """Serve metrics and health checks at CARDS_METRICS while the block lasts. Where that is not possible (the port is in use,
    say) it is logged, and all else goes on.
    """
    if not settings.metrics:
        yield
        return
    host, _, port = settings.metrics.rpartition(":")
    try:
        server = _Server((host.strip("[]"), int(port)), Pages(settings, metrics, heart))
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "a port is a number up to 65535"
        log(NO_METRICS, address=settings.metrics, error=why or str(error))
        yield
        return
    log(METRICS_SERVED, address=f"http://{host}:{server.server_port}/metrics")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
