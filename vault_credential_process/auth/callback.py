"""Where the browser comes back to after a login: a listener on this machine alone.

https://datatracker.ietf.org/doc/html/rfc8252#section-7.3 (the loopback interface as a redirect URI).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hmac
import os
import re
import selectors
import socket
import time
import urllib.parse
from http import HTTPStatus

from vault_credential_process.auth import page
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.expiry import Deadline

MAX_HEAD = 64 * 1024
"""Bytes of the longest request: browsers send the cookies of everything else that runs on ``localhost``."""

MAX_CONNECTIONS = 32
"""Browsers open some in advance; past this number the oldest one goes."""

PATIENCE = 10.0
"""Seconds that a connection may stay without a whole request."""

_GLANCE = 1.0
"""Seconds after which the clock is looked at again, and that a browser has to take its page."""

_REQUEST = re.compile(r"([A-Z]{1,16}) (/\S*) HTTP/1\.[01]")


@dataclasses.dataclass(slots=True, eq=False)
class _Connection:
    """A connection on which a request comes in or, once it is answered, only its end is waited for."""

    sock: socket.socket
    ends: float
    head: bytearray = dataclasses.field(default_factory=bytearray)
    answered: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """The browser came back: with a code, or with an error of the provider.

    Used as a context manager it shows the browser, at its end, whether the login worked.
    """

    code: str = dataclasses.field(repr=False)
    error: str
    description: str
    _sock: socket.socket = dataclasses.field(repr=False)
    _by: str

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _send(self._sock, page.welcome(self._by) if kind is None else page.failure())
        with contextlib.suppress(OSError):
            for _trial in range(8):  # until the browser has the page and hangs up; to close before would take it away
                if not self._sock.recv(4096):
                    break


class Listener:
    """Listens where a redirect URI on this machine leads, on no other interface. Use it as a context manager."""

    def __init__(self, redirect_uri: str, port: int | None, by: str) -> None:
        """Prepare for a redirect URI; ``port`` is another one to listen on, ``by`` who accepts logins, for the page."""
        parts = urllib.parse.urlsplit(redirect_uri)
        self._netloc = parts.netloc.lower()
        self._path = parts.path or "/"
        self._host = parts.hostname or ""
        self._port = port or parts.port or 80
        self._by = by
        self._selector = selectors.DefaultSelector()
        self._listeners: list[socket.socket] = []
        self._connections: list[_Connection] = []

    def __enter__(self) -> Listener:
        """Listen.

        :raises ConfigurationError: when the port cannot be had.
        """
        try:
            for address in ("127.0.0.1", "::1") if self._host == "localhost" else (self._host,):
                self._listen(address)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.create_server((address, self._port), family=family, backlog=MAX_CONNECTIONS)
        except OSError as error:
            if self._host == "localhost" and address == "::1" and error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return  # no IPv6 here
            reason = os.strerror(error.errno) if error.errno else "no such address here"
            raise ConfigurationError(
                f"vault_oidc_callback_port: cannot listen on {address} port {self._port}: {reason}; end what listens "
                "there, or set another port, whose redirect URI the role and the provider allow"
            ) from None
        self._listeners.append(listener)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, listener)

    def close(self) -> None:
        """Close every socket."""
        self._selector.close()
        for sock in (*self._listeners, *(connection.sock for connection in self._connections)):
            sock.close()

    def wait(self, state: str, limit: Deadline) -> Arrival:
        """Return the browser that comes back with this state; any other request is refused and changes nothing.

        :raises DeadlineError: when none comes in time.
        """
        while True:
            left = limit.remaining("the browser")
            for key, _ in self._selector.select(min(left, _GLANCE)):
                if isinstance(key.data, socket.socket):
                    self._accept(key.data)
                elif (arrival := self._read(key.data, state)) is not None:
                    return arrival
            now = time.monotonic()
            for connection in [c for c in self._connections if c.ends <= now]:
                self._drop(connection)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # the client has gone already
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop(self._connections[0])
        sock.setblocking(False)
        connection = _Connection(sock, time.monotonic() + PATIENCE)
        self._connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _drop(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.sock)
            connection.sock.close()

    def _read(self, connection: _Connection, state: str) -> Arrival | None:
        if connection not in self._connections:
            return None  # dropped since it was found readable
        try:
            received = connection.sock.recv(16 * 1024)
        except OSError:
            received = b""
        if not received:
            self._drop(connection)
            return None
        if connection.answered:
            return None
        connection.head += received
        head, end, _ = connection.head.partition(b"\r\n\r\n")
        if not end and len(connection.head) <= MAX_HEAD:
            return None
        found = self._judge(head.decode("latin-1"), state) if end else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if isinstance(found, HTTPStatus):
            _send(connection.sock, page.refusal(found))
            connection.sock.setblocking(False)
            connection.answered = True
            return None
        connection.sock.settimeout(_GLANCE)
        self._selector.unregister(connection.sock)
        return Arrival(*found, connection.sock, self._by)

    def _judge(self, head: str, state: str) -> tuple[str, str, str] | HTTPStatus:
        """Return code, error and its description; for any other request the status that refuses it.

        A page from elsewhere may send the browser here under a host name of its own (DNS rebinding): that is no host
        of ours. Whoever does not know the state is not the provider.
        """
        first, *lines = head.split("\r\n")
        request = _REQUEST.fullmatch(first)
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        if request is None or [value.lower() for name, value in headers if name == "host"] != [self._netloc]:
            return HTTPStatus.BAD_REQUEST
        method, target = request.groups()
        path, _, query = target.partition("?")
        if path != self._path:
            return HTTPStatus.NOT_FOUND
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED
        try:
            given = urllib.parse.parse_qs(query, max_num_fields=50)
        except ValueError:
            return HTTPStatus.BAD_REQUEST
        said = [given.get(name, [""]) for name in ("state", "code", "error", "error_description")]
        if any(len(values) != 1 for values in said):
            return HTTPStatus.BAD_REQUEST
        returned, code, error, description = (values[0] for values in said)
        if not hmac.compare_digest(bare(returned).encode(), bare(state).encode()) or not (code or error):
            return HTTPStatus.BAD_REQUEST
        return code, error, description


def bare(state: str) -> str:
    """Return a state without the namespace that Vault appends to it for whoever serves its callback."""
    return state.partition(",ns=")[0]


def _send(sock: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.settimeout(_GLANCE)
        sock.sendall(content)
        sock.shutdown(socket.SHUT_WR)
