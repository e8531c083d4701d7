"""What the endpoint stands on: a socket, the limit of open files, and TLS."""

from __future__ import annotations

import collections
import contextlib
import gc
import socket
import ssl
from collections.abc import Callable
from typing import Any

from vault_credential_process.errors import ConfigurationError, one_line

MOST_CONNECTIONS = 4096
"""Connections that are held; of more, those are dropped that have asked nothing for the longest time."""

MOST_HANDSHAKES = 128
"""Of these, those that have not shaken hands yet, over TLS."""

SPARE_FILES = 128
"""Open files that are left to everything else."""

_LAST_PORT = 65535
_SWEEP = 64
"""Connections that are let go of before what is left of them is collected."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a host and port, 0 for a free one; no program that is started inherits it.

    :raises ConfigurationError: when the host is no address of this machine, or the port is taken or not allowed.
    """
    if not 0 <= port <= _LAST_PORT:
        raise ConfigurationError(f"--port: {port} is no port; write 0 to {_LAST_PORT}, 0 for one that is free")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise ConfigurationError(f"--host: {one_line(host)}: {reason}; write 127.0.0.1") from None
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        # After a restart the port of connections that just ended is free at once. On Windows that option would share it
        # with others, and there is one against that.
        alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        made.setsockopt(socket.SOL_SOCKET, alone, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"--port: {host}:{port}: {error.strerror}; choose another, or 0 for one that is free"
        ) from None
    return made


class Door(socket.socket):
    """A listening socket that knows who is connected and has not shaken hands yet.

    asyncio makes a connection of the server's, which counts and has limits, when TLS stands: who says nothing is known
    to nobody until then, and costs a third of a megabyte. Here the one that has waited for the longest time is let go
    when there are more than ``most``.
    """

    def __init__(self, listening: socket.socket, most: int) -> None:
        """Take the place of a socket that listens."""
        super().__init__(fileno=listening.detach())
        self._most = most
        self._dropped = 0
        self._waiting: collections.OrderedDict[Any, _Guest] = collections.OrderedDict()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its address."""
        connection, address = super().accept()
        guest = _Guest(connection, lambda: self._goes(address, guest))
        self._waiting[address] = guest
        if len(self._waiting) > self._most:
            _, longest = self._waiting.popitem(last=False)
            with contextlib.suppress(OSError):
                # The server sees the end of the connection, and closes it.
                longest.shutdown(socket.SHUT_RDWR)
            self._dropped += 1
            if self._dropped % _SWEEP == 0:
                # What asyncio made for each holds itself, and memory that Python's collector does not count.
                gc.collect(1)
        return guest, address

    def enters(self, address: Any) -> None:
        """Count one no more that has shaken hands."""
        self._waiting.pop(address, None)

    def _goes(self, address: Any, guest: _Guest) -> None:
        """Count one no more that is closed; by now another may come from the same address."""
        if self._waiting.get(address) is guest:
            del self._waiting[address]


class _Guest(socket.socket):
    """A connection that says when it is closed."""

    def __init__(self, connection: socket.socket, leaves: Callable[[], None]) -> None:
        super().__init__(fileno=connection.detach())
        self._leaves = leaves

    def close(self) -> None:
        self._leaves()
        super().close()


def most_connections() -> int:
    """Return how many connections the limit of open files allows, :data:`MOST_CONNECTIONS` at most."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(soft - SPARE_FILES, soft // 2))


def allow_connections() -> int:
    """Allow as many open files as the most connections take, as far as the system does; return how many may be held."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most_connections()


def listener(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return the settings of a server that speaks TLS 1.2 at least; ``None`` where neither file is named.

    :raises ConfigurationError: when one of the two is missing, or is not what it should be.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "--tls-cert" if certificate is None else "--tls-key"
        raise ConfigurationError(f"{missing}: missing; TLS needs both the certificate and its key")

    def refuse() -> str:
        """Answer OpenSSL, which would ask on the terminal."""
        raise ConfigurationError(f"--tls-key: {key}: encrypted; store it without a passphrase, for this user alone")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except (OSError, ValueError) as error:
        reason = one_line(getattr(error, "strerror", None) or str(error))
        raise ConfigurationError(
            f"--tls-cert, --tls-key: {certificate} with {key}: {reason}; check both files"
        ) from None
    return context
