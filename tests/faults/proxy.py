"""A man in the middle: passes requests on to a real server, counts them, and does one bad thing at one moment."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from vault_credential_process.testing.scripted import Request, _read

from .table import kind_of

Stage = Literal["listener", "connection", "request", "reply"]
"""When a fault acts: nothing listens; nothing was read; the server has nothing of the request; the server is done."""

_PER_HOP = ("connection", "proxy-connection", "proxy-authorization", "keep-alive")


@dataclasses.dataclass(frozen=True)
class Meeting:
    """What a fault meets: the client, its request (none where it was not read), and what the server answered."""

    client: socket.socket
    path: str = ""
    reply: bytes = b""
    port: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server answered to a request."""

    kind: str
    status: int
    body: Mapping[str, Any]


@dataclasses.dataclass
class _Armed:
    stage: Stage
    act: Callable[[Meeting], None]
    kind: str
    always: bool
    waits_for: str | None


def bound(port: int) -> socket.socket:
    """Return a socket that keeps a port from others while nobody listens there."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", port))
    return kept


class FaultProxy:
    """Stands between clients and a plain-http server on this machine. Use it as a context manager.

    It serves as an ordinary server and as a forward proxy; ``tls`` makes its side towards the client speak TLS.
    """

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Take a free port; ``address`` is the server's."""
        parts = urllib.parse.urlsplit(address)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._tls = tls
        self._guard = threading.Lock()
        self._armed: _Armed | None = None
        self._kept: socket.socket | None = None
        self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.open = 0
        """Connections that the client has not closed."""
        self.reset()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def reset(self) -> None:
        """Begin to count anew."""
        self.seen: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.answers: list[Answer] = []
        self.met = 0

    def arm(
        self,
        stage: Stage,
        act: Callable[[Meeting], None],
        *,
        kind: str,
        always: bool = False,
        after: str | None = None,
    ) -> None:
        """Let a fault meet the next request of a kind, or all of them.

        What a connection is for is not known before a request comes: a fault of connections meets the next one at
        once, or the next one ``after`` the server has answered a request of another kind.
        """
        self._armed = _Armed(stage, act, kind, always, after)
        if after is None:
            self._begin()

    def disarm(self) -> None:
        """Be transparent from now on."""
        with self._guard:
            armed, self._armed = self._armed, None
        if armed is not None and armed.stage == "listener" and armed.waits_for is None:
            self._listen(self.port)
            if self._kept is not None:
                self._kept.close()

    def is_left(self, seconds: float = 10) -> bool:
        """Tell whether the client has closed all its connections, or does within some seconds."""
        limit = time.monotonic() + seconds
        while self.open and time.monotonic() < limit:
            time.sleep(0.005)
        return not self.open

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        if self._kept is not None:
            self._kept.close()

    def _begin(self) -> None:
        """Let the fault that was armed begin."""
        if self._armed is not None:
            self._armed.waits_for = None
            if self._armed.stage == "listener":
                self.met += 1
                self._close()
                self._kept = bound(self.port)

    def _met(self, stage: Stage, kind: str | None = None) -> Callable[[Meeting], None] | None:
        """Return what the fault does, if this is its moment; once only, unless it is to stay."""
        with self._guard:
            armed = self._armed
            if armed is None or armed.stage != stage or armed.waits_for is not None:
                return None
            if kind is not None and kind != armed.kind:
                return None
            self.met += 1
            if not armed.always:
                self._armed = None
            return armed.act

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._guard:
                self.open += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            act = self._met("connection")
            if act is not None:
                act(Meeting(client, port=self.port))
            else:
                if self._tls is not None:
                    client = self._tls.wrap_socket(client, server_side=True)
                request = _read(client)
                if request is not None:
                    self._answer(client, request)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(30)
            while client.recv(65536):
                pass
        except OSError:
            pass
        finally:
            client.close()
            with self._guard:
                self.open -= 1

    def _answer(self, client: socket.socket, request: Request) -> None:
        path = urllib.parse.urlsplit(request.path).path if request.path.startswith("http") else request.path
        kind = kind_of(request.method, path.removeprefix("/v1/"))
        self.seen[kind] += 1
        meeting = Meeting(client, path, port=self.port)
        act = self._met("request", kind)
        if act is not None:
            act(meeting)
            return
        reply = self._forwarded(request, path, kind)
        armed = self._armed
        if armed is not None and armed.waits_for == kind:
            self._begin()
        act = self._met("reply", kind)
        if act is not None:
            act(dataclasses.replace(meeting, reply=reply))
        else:
            client.sendall(reply)

    def _forwarded(self, request: Request, path: str, kind: str) -> bytes:
        """Ask the server, which closes the connection then, and return its whole reply."""
        query = urllib.parse.urlsplit(request.path).query if request.path.startswith("http") else ""
        lines = [f"{request.method} {path}{'?' + query if query else ''} HTTP/1.1", "connection: close"]
        lines += [f"{name}: {value}" for name, value in request.headers.items() if name not in _PER_HOP]
        with socket.create_connection(self._target, timeout=30) as server:
            server.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
            self.passed[kind] += 1
            reply = b"".join(iter(lambda: server.recv(65536), b""))
        head, _, content = reply.partition(b"\r\n\r\n")
        try:
            body = json.loads(content)
        except ValueError:
            body = {}
        self.answers.append(Answer(kind, int(head.split()[1]), body if isinstance(body, dict) else {}))
        return reply
