"""A loopback server that plays Vault from a script: for what no real server does on demand.

It fakes the wire, not our functions: every answer is bytes on a socket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Request:
    """What the server was sent."""

    method: str
    path: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    received: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Reply = bytes | Callable[[socket.socket, Request], None]


def reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of an answer; a body that is not text or bytes becomes JSON."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(content)}", "Connection: close"]
    given = {"Content-Type": "application/json", **(headers or {})}
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def replay(exchange: Mapping[str, Any]) -> bytes:
    """Return the bytes of a recorded answer."""
    response = exchange["response"]
    return reply(response["status"], response["body"], response["headers"])


def reset(connection: socket.socket, _: Request) -> None:
    """Answer by breaking the connection (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def silence(seconds: float) -> Callable[[socket.socket, Request], None]:
    """Answer nothing for a while, or until the client has gone, then hang up."""

    def wait(connection: socket.socket, _: Request) -> None:
        connection.settimeout(seconds)
        connection.recv(1)

    return wait


def dripping(content: bytes, *, pause: float) -> Callable[[socket.socket, Request], None]:
    """Answer byte by byte."""

    def drip(connection: socket.socket, _: Request) -> None:
        try:
            for byte in content:
                connection.sendall(bytes([byte]))
                time.sleep(pause)
        except OSError:
            pass

    return drip


class ScriptedServer:
    """Answers by method and path (query left out); a list of replies is used up in order, its last one repeats.

    Everything else gets ``otherwise``: Vault's own 404, unless a test sets it. Use it as a context manager.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None, unix_path: str | None = None, port: int = 0) -> None:
        """Listen on a loopback port, a free one if none is given, or on a Unix socket."""
        self.requests: list[Request] = []
        self.otherwise: Reply = reply(404, {"errors": ["no handler for route. route entry not found."]})
        self._script: dict[tuple[str, str], list[Reply]] = {}
        self._context = context
        if unix_path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(unix_path)
            self.address = f"unix://{unix_path}"
        else:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", port))
            scheme = "https" if context else "http"
            self.address = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.listen(128)
        self._closing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Tell what to answer; ``path`` is without ``/v1/``."""
        self._script[method, f"/v1/{path}"] = list(replies)

    def on_login(self, exchange: Mapping[str, Any], mount: str = "approle") -> None:
        """Answer the AppRole login with a recorded exchange."""
        self.on("POST", f"auth/{mount}/login", replay(exchange))

    def asked(self, method: str, path: str) -> int:
        """Return how often something was asked for."""
        return sum(r.method == method and r.path.partition("?")[0] == f"/v1/{path}" for r in self.requests)

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            request = _read(connection)
            if request is None:
                return
            self.requests.append(request)
            replies = self._script.get((request.method, request.path.partition("?")[0]), [self.otherwise])
            answer = replies.pop(0) if len(replies) > 1 else replies[0]
            if callable(answer):
                answer(connection, request)
            else:
                connection.sendall(answer)
        except OSError:
            pass
        finally:
            connection.close()


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
        if data.startswith(b"\x16"):  # the first byte of TLS, which a plain listener answers at once
            return Request("TLS", "", {}, data)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Request(method, path, headers, body)
