"""A proxy in front of a real server that remembers what each request was answered, and which keys were handed out."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import threading
import time
import urllib.parse
from typing import Any

LOGIN = "auth/approle/login"


@dataclasses.dataclass(frozen=True)
class Seen:
    """A request and how it was answered; ``access_key`` is that of an answer with credentials."""

    method: str
    path: str
    status: int
    access_key: str
    at: float


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    witness: Witness

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it died meanwhile.
            self.close_connection = True
            return
        connection = http.client.HTTPConnection(*self.witness.target, timeout=60)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.witness.saw(self.command, self.path, answer.status, content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = _pass_on  # noqa: N815 - the names that the base class wants

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    witness: Witness

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.witness.guard:
            self.witness.open += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.witness.guard:
                self.witness.open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that were killed."""


class Witness:
    """Forwards plain http to a server on this machine. Use it as a context manager."""

    def __init__(self, address: str) -> None:
        """Take a free port; ``address`` is the server's."""
        parts = urllib.parse.urlsplit(address)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._seen: list[Seen] = []
        self.guard = threading.Lock()
        self.open = 0
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"witness": self}))
        self._server.witness = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="witness", daemon=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def saw(self, method: str, path: str, status: int, content: bytes) -> None:
        """Remember an answer, before it is passed on."""
        access_key = ""
        with contextlib.suppress(ValueError, AttributeError):
            access_key = (json.loads(content).get("data") or {}).get("access_key") or ""
        clean = path.partition("?")[0].removeprefix("/v1/")
        with self.guard:
            self._seen.append(Seen(method, clean, status, access_key, time.time()))

    def settle(self) -> None:
        """Wait until what a caller sent before it died was answered."""
        # Connections are taken in their order: once this one was, all of the dead are.
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._server.server_port, timeout=30)) as last:
            last.request("GET", "/v1/sys/seal-status")
            last.getresponse().read()
        limit = time.monotonic() + 30
        while self.open and time.monotonic() < limit:
            time.sleep(0.002)
        assert not self.open, "a connection stays open"

    @property
    def seen(self) -> list[Seen]:
        """All answers so far."""
        with self.guard:
            return list(self._seen)

    def granted(self, path: str) -> int:
        """Return how many requests for a path were answered with success."""
        return sum(seen.path == path and seen.status < 300 for seen in self.seen)

    @property
    def keys(self) -> set[str]:
        """The access keys that were handed out."""
        return {seen.access_key for seen in self.seen if seen.access_key}
