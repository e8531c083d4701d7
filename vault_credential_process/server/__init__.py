"""Serves the endpoint: a socket, uvicorn in a thread of its own, and limits that uvicorn does not have."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import functools
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vault_credential_process import cache
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, UnreachableError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.keeper import Keeper
from vault_credential_process.parsers import is_loopback
from vault_credential_process.registry import keeper_of
from vault_credential_process.server.endpoint import Endpoint, Tokens
from vault_credential_process.server.sockets import MOST_CONNECTIONS, MOST_HANDSHAKES, Door, listen, most_connections

__all__ = ["EndpointServer", "listen", "source_of"]

logger = logging.getLogger(__name__)

# What uvicorn has to say is no concern of programs that set up no logging.
logging.getLogger("uvicorn").addHandler(logging.NullHandler())

REQUEST_LIMIT = 10.0
"""Seconds that a client has for its first request, from when it is connected to when it has its answer."""

IDLE_LIMIT = 60.0
"""Seconds that it has for each further one, the time in which it asks nothing included."""

HEAD_LIMIT = 16 * 1024
"""Bytes that the head of a request may have."""

_AT_ONCE = 16
"""Connections that are accepted before one is let go again: a flood must not take the files that are spare."""

_QUEUE = 2048
"""Connections that wait in the kernel to be accepted, as far as the system allows (``net.core.somaxconn``)."""

_MOST_LOOKS = 16
"""Connections that are looked at, at most, to find one that is idle."""

_START_LIMIT = 10.0
_TICK = 1.0
_DRAIN = 3
_STOP_LIMIT = _DRAIN + 4.0


def source_of(config: Config) -> Keeper:
    """Return the keeper of what a configuration describes, as it is served: refreshed ahead of time by a thread.

    It shares the host's cache, so that a restart while Vault is away finds what is still valid; where there is none, it
    keeps everything in the memory of the process.

    :raises VaultCredentialError: when the configuration names no role, or nobody can tell as whom it logs in.
    """
    config = dataclasses.replace(config, vault_aws_background=True)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    if backend.name == "none" and config.vault_aws_cache != "none":
        backend = cache.of_process()
    return keeper_of(Fetcher(config, cache=backend))


class EndpointServer:
    """Serves container credentials on loopback from a thread of its own."""

    def __init__(
        self,
        source: Keeper | Mapping[str, Keeper],
        *,
        token: str | Tokens,
        socket: socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take what is served and a bound socket (:func:`listen`), which :meth:`stop` closes.

        ``source`` is a keeper (:func:`source_of`), served at ``/``, or several, each at ``/<name>`` and a single one at
        ``/`` too. ``token`` is what clients send as ``Authorization``.

        :raises ConfigurationError: when the socket is not on the loopback and there is no TLS.
        """
        if tls is None and not is_loopback(socket.getsockname()[0]):
            raise ConfigurationError(
                "--host: credentials are served to other machines over TLS only; "
                "name 127.0.0.1, or give --tls-cert and --tls-key"
            )
        roles = source if isinstance(source, Mapping) else {"": source}
        tokens = Tokens(token) if isinstance(token, str) else token
        self.endpoint = Endpoint(roles, tokens, any_host=tls is not None)
        host, port = socket.getsockname()[:2]
        scheme = "http" if tls is None else "https"
        self.is_everywhere = ipaddress.ip_address(host.partition("%")[0]).is_unspecified
        """Whether it is at every address of the machine, so that this one is of no use to clients."""
        self.address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        """Where it is, as ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` begins; it ends with no slash."""
        self._most = most_connections()
        self._door: Door | None = None
        self._socket = socket
        self._tls = tls
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve from now on; it accepts connections when this returns.

        :raises UnreachableError: when it does not begin to.
        """
        if self._tls is not None:
            handshakes = min(MOST_HANDSHAKES, self._most // 4)
            self._most -= handshakes
            self._socket = self._door = Door(self._socket, handshakes)
        self._thread = threading.Thread(target=self._run, name="vault-credential-process-server", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._failure, self._thread = error, None
        else:
            self._started.wait(_START_LIMIT)
        if self._server is None or not self._server.started:
            reason = type(self._failure).__name__ if self._failure else f"no word within {_START_LIMIT:g} s"
            self.stop()
            raise UnreachableError(f"the endpoint cannot be served: {reason}; try again, with -v")

    def stop(self) -> None:
        """Take no more connections, give open requests some seconds, and end. It may be called twice."""
        if self._server is not None:
            self._server.end()
        if self._thread is not None:
            self._thread.join(_STOP_LIMIT)
            self._thread = None
        with contextlib.suppress(OSError):
            self._socket.close()

    @property
    def running(self) -> bool:
        """Whether it serves now."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # uvicorn ends a process that it takes for its own
            self._failure = error
            logger.error("the server ended: %s", type(error).__name__)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_unforeseen)
        if self._tls is not None:
            # uvicorn leaves a client a minute for it.
            patient = functools.partial(loop.create_server, ssl_handshake_timeout=REQUEST_LIMIT)
            loop.create_server = patient  # type: ignore[method-assign]
        here = {"most": self._most, "line": collections.OrderedDict(), "door": self._door}
        config = uvicorn.Config(
            self.endpoint,
            http=type("Connection", (_Connection,), here),
            ws="none",
            interface="asgi3",
            lifespan="off",
            workers=1,
            backlog=_AT_ONCE,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(IDLE_LIMIT),
            timeout_graceful_shutdown=_DRAIN,
            h11_max_incomplete_event_size=HEAD_LIMIT,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config, self._started)
        await self._server.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Tells when it accepts, and ends when it is told; signals are the business of who runs us."""

    def __init__(self, config: uvicorn.Config, accepts: threading.Event) -> None:
        super().__init__(config)
        self._accepts = accepts
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()

    def end(self) -> None:
        """Let it end; from any thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._told.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for each in sockets or ():
            # asyncio takes one number for both: how many wait, and how many it accepts in a row.
            with contextlib.suppress(OSError):
                each.listen(_QUEUE)
        self._accepts.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        # uvicorn leaves a tenth of a second to those who are connected, also where nobody is: much of a short exec.
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second, all day; its clock wants a second.
        while not await self.on_tick(0):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._told.wait(), _TICK)


class _Connection(H11Protocol):
    """uvicorn's, with a limit for the time that a request takes to come, and one for how many are connected."""

    most = MOST_CONNECTIONS
    line: collections.OrderedDict[_Connection, None]
    """Those that are held: first who has asked nothing for the longest time."""
    door: Door | None = None
    """Where those are counted that are not connected yet."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.logger = _wire_logger
        self.access_log = False
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.door is not None:
            self.door.enters(transport.get_extra_info("peername"))
        self._limit = self.loop.call_later(REQUEST_LIMIT, self._drop)
        self.line[self] = None
        if len(self.line) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self.line.pop(self, None)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._cancel()
        if self in self.line:
            self.line.move_to_end(self)
        self._limit = self.loop.call_later(IDLE_LIMIT, self._drop)
        super().on_response_complete()

    def _make_room(self) -> None:
        """Drop whoever has asked nothing for the longest time; that takes no longer the more there are."""
        for _ in range(_MOST_LOOKS):
            first = next(iter(self.line))
            if first._is_idle:
                del self.line[first]
                first._drop()
                return
            self.line.move_to_end(first)
        # The others are being answered, and this one is the youngest.
        del self.line[self]
        self._drop()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _drop(self) -> None:
        """Let go of the client at once: what it does not read must not keep it."""
        self.transport.abort()

    def _cancel(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


_wire_logger = logging.getLogger(f"{__name__}.wire")
# uvicorn warns of each request that is none; who may connect must not fill the log.
_wire_logger.setLevel(logging.ERROR)


def _log_unforeseen(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.debug("%s (%s)", context.get("message"), type(error).__name__ if error else "no exception")
