"""Connections: to whichever address of a host takes one, within a limit, and replies that end in time.

urllib3 gives every address of a host the whole time-out, every piece of a reply too, and a name server has none.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import time
from typing import Any

import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.util.connection

from vault_credential_process import failures
from vault_credential_process.timed import in_time

CONNECT_LIMIT = 10.0
"""Seconds that one attempt to connect may take: name server, all addresses of the host, and handshake."""

LEAST_SHARE = 2.0
"""Seconds that each address of a host gets of these at least, while there are any; as in Go's ``net.Dialer``."""


class _TimedStream(io.RawIOBase):
    """A reply as it comes from the socket; all of it must be here before the socket's time-out has passed once."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase) -> None:
        self._sock = sock
        self._stream = stream
        limit = sock.gettimeout()
        self._end = None if limit is None else time.monotonic() + limit
        self._begun = False
        self.ended = False
        """Whether the server has hung up."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the reply is not complete in time")
            self._sock.settimeout(left)
        try:
            count = self._stream.readinto(buffer)
        except ConnectionResetError:
            # Go's TLS listener answers plain http and resets the connection: what came before must not be lost. A reply
            # that says how long it is, and is not complete, is found out all the same.
            if not self._begun:
                raise
            count = 0
        self._begun = True
        self.ended = self.ended or count == 0
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedReply(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        self._stream = _TimedStream(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._stream)

    def begin(self) -> None:
        super().begin()
        # Where a hang-up ends the headers, http.client takes them for all, and the reply for an empty one.
        if self._stream.ended:
            raise http.client.RemoteDisconnected("the reply is cut within its headers")


class _Dialling(urllib3.connection.HTTPConnection):
    """Connects within one limit, however many addresses a host has, and tells what failed before a request was sent."""

    response_class = _TimedReply

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            failures.mark_unsent(error)
            raise

    def _new_conn(self) -> socket.socket:
        limit = float(self.timeout) if isinstance(self.timeout, (int, float)) else CONNECT_LIMIT
        end = time.monotonic() + limit
        try:
            addresses = _addresses(self._dns_host, self.port, limit)
            return self._first_of(addresses, end)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, f"no connection to {self.host} in time") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, f"no connection: {error}") from error

    def _first_of(self, addresses: list[Any], end: float) -> socket.socket:
        """Return a connection to the first address that takes one, while others remain within its share of the time."""
        failure: OSError = OSError("the host has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(min(left, max(left / (len(addresses) - number), LEAST_SHARE)))
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                sock.settimeout(max(end - time.monotonic(), 0.001))
                return sock
        raise failure


def _addresses(host: str, port: int, limit: float) -> list[Any]:
    """Return the addresses of a host. A name server that keeps silent has no time-out of its own."""
    family = urllib3.util.connection.allowed_gai_family()

    def ask() -> list[Any]:
        return socket.getaddrinfo(host.strip("[]"), port, family, socket.SOCK_STREAM)

    if _is_literal(host):
        return ask()
    try:
        found, failed = in_time(ask, limit, "name-server")
    except RuntimeError:
        # The interpreter ends (3.12 and later), or the system has no thread left: better no limit than no answer.
        return ask()
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError("the name server does not answer in time")
    return found[0]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class _TLSConnection(_Dialling, urllib3.connection.HTTPSConnection):
    """An HTTPS connection."""

    def connect(self) -> None:
        super().connect()
        # Where verification is switched off, somebody wrote so; urllib3 would warn on stderr at every request.
        self.is_verified = True


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Dialling


class _TLSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _UnixConnection(_Dialling):
    """An HTTP connection over a Unix socket: the listener of a Vault Agent or Proxy."""

    socket_path = ""

    def _new_conn(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else CONNECT_LIMIT)
            sock.connect(self.socket_path)
        except OSError as error:
            sock.close()
            raise urllib3.exceptions.NewConnectionError(self, f"{self.socket_path}: {error.strerror}") from error
        return sock


POOLS = {"http": _Pool, "https": _TLSPool}
"""The pools of such connections, by scheme."""


def pool_of_socket(path: str) -> urllib3.HTTPConnectionPool:
    """Return the pool of connections to a Unix socket."""
    pool = urllib3.HTTPConnectionPool("localhost")
    pool.ConnectionCls = type("_Connection", (_UnixConnection,), {"socket_path": path})
    return pool
