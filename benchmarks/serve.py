"""What the container endpoint takes: ``python benchmarks/serve.py`` (with the package installed; nothing else).

Fifty clients ask twice a second for a minute, while ten leases come and go: no answer may fail, and 99 of 100 must
come within 100 ms. Then the highest rate, as a part of what the same uvicorn gives with a constant body. Vault is a
scripted loopback server that gives leases of seconds; the endpoint is the real command, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

CLIENTS = 50
PER_SECOND = 2.0
SECONDS = 60.0
LIFE = 12
"""Seconds that a lease lives; a new one is read when half of it is left."""
RATE_SECONDS = 1.0
RATE_ROUNDS = 15
RATE_CONNECTIONS = 16
PATIENCE = 30.0
OK = 200
LONGEST = 0.1
"""Seconds within which 99 of 100 answers must come."""


class Load:
    """What became of many requests; times are in seconds."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.times: list[float] = []
        self.failures: list[str] = []
        self.keys: set[str] = set()

    @property
    def percentile(self) -> float:
        """The time within which 99 of 100 answers came."""
        return statistics.quantiles(self.times, n=100)[98]

    def note(self, status: int, body: bytes, took: float) -> None:
        """Note an answer: good is one with keys that live."""
        self.times.append(took)
        try:
            found = json.loads(body)
            lives = found["Expiration"] >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            is_good = status == OK and lives and all(found[name] for name in ("AccessKeyId", "SecretAccessKey"))
        except (ValueError, KeyError):
            is_good = False
        if is_good:
            self.keys.add(found["AccessKeyId"])
        else:
            self.failures.append(f"{status} {body[:200]!r}")


class Client:
    """One connection that stays open, as an SDK's does."""

    def __init__(self, port: int, request: bytes) -> None:
        """Connect to nothing yet."""
        self._port, self._request = port, request
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> tuple[int, bytes]:
        """Send the request, and return the status and the body; connect if need be."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)

    async def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()


async def _steadily(client: Client, load: Load, until: float) -> None:
    """Ask at a steady pace, from a moment of its own on."""
    due = time.monotonic() + random.uniform(0, 1 / PER_SECOND)  # noqa: S311 - no secret
    try:
        while due < until:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            begun = time.monotonic()
            try:
                status, body = await asyncio.wait_for(client.ask(), PATIENCE)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                load.failures.append(type(error).__name__)
                return
            load.note(status, body, time.monotonic() - begun)
            due += 1 / PER_SECOND
    finally:
        await client.close()


async def _flat_out(client: Client, until: float) -> int:
    """Ask as fast as answers come; return how many did."""
    count = 0
    try:
        while time.monotonic() < until:
            status, _ = await asyncio.wait_for(client.ask(), PATIENCE)
            count += status == OK
    finally:
        await client.close()
    return count


async def under_load(port: int, request: bytes, *, clients: int = CLIENTS, seconds: float = SECONDS) -> Load:
    """Let clients ask at a steady pace for a while."""
    load, until = Load(), time.monotonic() + seconds
    await asyncio.gather(*(_steadily(Client(port, request), load, until) for _ in range(clients)))
    return load


async def once(port: int, request: bytes) -> tuple[int, bytes]:
    """Ask once; return the status and the body."""
    client = Client(port, request)
    try:
        return await client.ask()
    finally:
        await client.close()


async def rate(port: int, request: bytes) -> float:
    """Return the answers a second where each client asks again at once."""
    begun = time.monotonic()
    counts = await asyncio.gather(
        *(_flat_out(Client(port, request), begun + RATE_SECONDS) for _ in range(RATE_CONNECTIONS))
    )
    return sum(counts) / (time.monotonic() - begun)


class Vault:
    """A server that gives short leases, each with a key of its own."""

    def __init__(self, server: ScriptedServer, life: int) -> None:
        """Answer logins and reads."""
        self.reads = 0
        self._life = life
        server.on(
            "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.bench", "lease_duration": 3600}})
        )
        server.on("GET", "aws/creds/webapp", self._read)

    def _read(self, connection: Any, _: Request) -> None:
        self.reads += 1
        data = {
            "access_key": f"ASIAIOSFODNN7EX{self.reads:05}",
            "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "security_token": "FwoGZXIvYXdzEXAMPLETOKEN==" * 20,
            "ttl": self._life,
        }
        connection.sendall(reply(200, {"lease_id": "", "lease_duration": self._life, "data": data}))


@contextlib.contextmanager
def endpoint(directory: pathlib.Path, vault: ScriptedServer) -> Iterator[tuple[int, bytes]]:
    """Run the command; yield its port, and the request that gets credentials."""
    secret, token = directory / "secret-id", directory / "token"
    secret.touch(0o600)
    secret.write_text("secret-id")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "BAO_", "AWS_"))}
    environ |= {"AWS_CONFIG_FILE": os.devnull, "XDG_RUNTIME_DIR": str(directory), "VAULT_AWS_CACHE": "memory"}
    flags = [f"--vault-addr={vault.address}", "--role=webapp", "--role-id=role", f"--secret-id-file={secret}"]
    command = [sys.executable, "-m", "vault_credential_process", "serve", f"--authorization-token-file={token}", *flags]
    with _running(command, environ, r"export AWS_CONTAINER_CREDENTIALS_FULL_URI=(\S+)") as uri:
        port = int(uri.split(":")[2].partition("/")[0])
        yield port, _request("/webapp", f"Authorization: {token.read_text()}\r\n")


@contextlib.contextmanager
def constant(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Run the same uvicorn with a constant body; yield its port and a request."""
    with _running([sys.executable, __file__, "--constant", body.decode()], dict(os.environ), r"port (\d+)") as port:
        yield int(port), _request("/", "Authorization: a-token-that-nobody-looks-at-of-43-letters.\r\n")


def _request(path: str, header: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Accept: application/json\r\n\r\n".encode()


@contextlib.contextmanager
def _running(command: list[str], environ: dict[str, str], tells: str) -> Iterator[str]:
    """Run a server until the block ends; yield what it tells in its first lines.

    :raises RuntimeError: when it does not begin.
    """
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            if found := re.match(tells, line):
                yield shlex.split(found[1])[0]
                return
        raise RuntimeError(f"{command[2]} did not begin")
    finally:
        process.terminate()
        process.wait(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


def _serve_constant(body: bytes) -> None:
    """Serve one body to everybody, with uvicorn as the endpoint has it but for what is its own."""
    import uvicorn

    from vault_credential_process.server.sockets import listen

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def application(_: object, __: object, send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    made = listen("127.0.0.1", 0)
    made.listen()
    print(f"port {made.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        application, http="h11", loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run([made])


def measure(seconds: float, life: int, clients: int) -> tuple[Load, int, float]:
    """Return what became of the load, how many leases were read, and the highest rate as a part of uvicorn's own."""
    with tempfile.TemporaryDirectory() as directory, ScriptedServer() as server:
        vault = Vault(server, life)
        with endpoint(pathlib.Path(directory), server) as (port, request):
            load = asyncio.run(under_load(port, request, clients=clients, seconds=seconds))
            reads = vault.reads
            _, body = asyncio.run(once(port, request))
            with constant(body) as (other_port, other_request):
                ratios = [
                    asyncio.run(rate(port, request)) / asyncio.run(rate(other_port, other_request))
                    for _ in range(RATE_ROUNDS)
                ]
    return load, reads, statistics.median(ratios)


def main() -> int:
    """Measure and print; 1 where a limit is not held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long the clients ask (default: %(default)s)"
    )
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many ask (default: %(default)s)")
    parser.add_argument("--life", type=int, default=LIFE, help="seconds that a lease lives (default: %(default)s)")
    parser.add_argument("--constant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.constant:
        _serve_constant(arguments.constant.encode())
        return 0
    load, reads, ratio = measure(arguments.seconds, arguments.life, arguments.clients)
    print(
        f"{arguments.clients} clients, {PER_SECOND:g} requests a second each, {arguments.seconds:g} s, {reads} leases"
    )
    print(f"answers: {len(load.times)}; failed: {len(load.failures)}; different keys: {len(load.keys)}")
    print(
        f"median {statistics.median(load.times) * 1000:.2f} ms, 99th percentile {load.percentile * 1000:.2f} ms, "
        f"longest {max(load.times) * 1000:.1f} ms"
    )
    print(f"highest rate, as a part of the same uvicorn with a constant body: {ratio:.2f}")
    for failure in load.failures[:5]:
        print(f"failed: {failure}")
    return int(bool(load.failures) or load.percentile >= LONGEST)


if __name__ == "__main__":
    sys.exit(main())
