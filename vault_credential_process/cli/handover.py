"""Hands a secret address to the browser: not as an argument, which every user of the host can see.

The desktop's opener starts a browser with the address as an argument. So it is told one on this machine, which serves
once and leads on to the secret one.
"""

from __future__ import annotations

import contextlib
import hmac
import http.server
import secrets
import socket
import sys
import threading
import time
from http import HTTPStatus

from vault_credential_process.models import Person

PATIENCE = 20.0
"""Seconds that the browser has to come for it."""

_GLANCE = 2.0
"""Seconds that a connection may stay silent."""


def hand_over(person: Person, address: str, *, seconds: float = PATIENCE) -> bool:
    """Send a person's browser to an address that is a secret; tell whether it came for it in time."""
    with _Server(address) as server:
        opened: list[bool] = []
        listening = threading.Thread(target=server.serve_forever, args=(_LOOK,), name="hand over", daemon=True)
        listening.start()
        # In a thread: a browser in the foreground of its starter comes back only when it ends.
        threading.Thread(target=lambda: opened.append(person.browse(server.url)), name="browser", daemon=True).start()
        end = time.monotonic() + seconds
        while not server.served.wait(_LOOK) and time.monotonic() < end and opened[:1] != [False]:
            pass
        server.shutdown()
        listening.join()
        return server.served.is_set()


_LOOK = 0.1


class _Server(http.server.ThreadingHTTPServer):
    """Listens on the loopback, and serves once."""

    block_on_close = False

    def __init__(self, address: str) -> None:
        self.target = address
        self.path = f"/{secrets.token_urlsafe(32)}"
        self.once = threading.Lock()
        """Held by the request that is served."""
        self.served = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def host(self) -> str:
        """Who we are to a browser."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """Where the browser is sent."""
        return f"http://{self.host}{self.path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave out what a broken connection would put on stderr."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _GLANCE
    server: _Server

    def do_GET(self) -> None:
        """Lead on whoever knows the path, once; a page from elsewhere comes under another host name (DNS rebinding)."""
        ours = self.headers.get("Host") == self.server.host
        known = hmac.compare_digest(self.path.encode("latin-1", "replace"), self.server.path.encode())
        ours = ours and not _is_of_another(self.client_address, ("127.0.0.1", self.server.server_port))
        first = ours and known and self.server.once.acquire(blocking=False)
        self.send_response(HTTPStatus.SEE_OTHER if first else HTTPStatus.NOT_FOUND)
        if first:
            self.send_header("Location", self.server.target)
        for name, value in (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()
        if first:
            self.server.served.set()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


_Address = tuple[str, int]


def _is_of_another(theirs: _Address, ours: _Address) -> bool:
    """Tell whether another user of the host holds the other end of a connection on the loopback.

    That user may have seen the path in the browser's arguments, and be the first to come. Linux tells whose a socket is
    (``proc_pid_net(5)``). Where nobody tells whose even this end is, the other one counts as our own.
    """
    users: dict[tuple[str, str], str] = {}
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            # In the second table an address of IPv4 stands at the end of one of IPv6.
            users |= {(row[1][-13:], row[2][-13:]): row[7] for row in map(str.split, file)}
    here, there = _written(ours), _written(theirs)
    us = users.get((here, there))
    return us is not None and users.get((there, here)) != us


def _written(address: _Address) -> str:
    """Return an address as those tables have it: in the order of bytes of the machine."""
    host, port = address
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
