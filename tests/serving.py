"""What the tests of the endpoint ask it, and the command that serves it, as a process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer, listen

PATIENCE = 30.0
TOKEN = "endpoint-token-of-the-tests"
URI, TOKEN_FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    address: str,
    path: str = "/",
    *,
    token: str | None = TOKEN,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request on a connection of its own."""
    scheme, _, place = address.partition("://")
    made = (
        http.client.HTTPConnection(place, timeout=PATIENCE)
        if scheme == "http"
        else http.client.HTTPSConnection(place, timeout=PATIENCE, context=context)
    )
    with contextlib.closing(made) as connection:
        sent = {} if token is None else {"Authorization": token}
        connection.request(method, path, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    limit = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def served(source: Keeper | Mapping[str, Keeper], token: Any = TOKEN, **options: Any) -> Iterator[EndpointServer]:
    """Serve keepers from this process."""
    server = EndpointServer(source, token=token, socket=listen("127.0.0.1", 0), **options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


_Serving = TypeVar("_Serving", bound="Serving")


class Serving:
    """``vault-credential-process serve`` as a process; use it as a context manager."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        """Start it."""
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vault_credential_process", "serve", *arguments],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=lambda: self.lines.extend(self.process.stdout or ()), daemon=True),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self: _Serving) -> _Serving:
        """Wait until it tells where it serves."""
        try:
            wait_until(lambda: self.exports(TOKEN_FILE) or self.process.poll() is not None)
            assert self.process.poll() is None, "".join(self.errors)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._finish()

    def _finish(self) -> None:
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def exports(self, name: str) -> list[str]:
        """Return the values that it tells of a variable, in order."""
        found = [re.fullmatch(rf"export {name}=(.*)\n", line) for line in list(self.lines)]
        return [shlex.split(match.group(1))[0] for match in found if match]

    @property
    def environ(self) -> dict[str, str]:
        """The variables that a client needs."""
        return {name: self.exports(name)[0] for name in (URI, TOKEN_FILE)}

    @property
    def address(self) -> str:
        """Where it serves, without a path."""
        return "/".join(self.exports(URI)[0].split("/")[:3])

    @property
    def token(self) -> str:
        """What stands in the token file."""
        return pathlib.Path(self.exports(TOKEN_FILE)[0]).read_text()

    def ask(self, path: str = "/", **options: Any) -> Answer:
        """Send one request, with the token."""
        return ask(self.address, path, **{"token": self.token, **options})

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        self._finish()
        return self.process.returncode


@contextlib.contextmanager
def connected(address: str, count: int = 1) -> Iterator[list[socket.socket]]:
    """Open connections, and close them afterwards."""
    host, port = address.partition("://")[2].split(":")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)), PATIENCE)) for _ in range(count)]


def request(token: str = TOKEN, path: str = "/") -> bytes:
    """Return the bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n".encode()
