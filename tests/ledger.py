"""A server that keeps account of tokens, leases and IAM users, for tests of what is renewed and what is replaced."""

from __future__ import annotations

import dataclasses
import pathlib
import socket
from collections.abc import Callable
from typing import Any

from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import Request, reply

from .bench import DENIED, LOGIN, LOOK_UP, NOW, READ, Bench

RENEW = "auth/token/renew-self"
RENEW_LEASE = "sys/leases/renew"
OTHER = "aws/creds/other"
PROBE_OFF = {"vault_aws_probe": "off"}


@dataclasses.dataclass
class Ledger:
    """A server that keeps account, by the injected clock, of which token lives and which IAM user with it."""

    bench: Bench
    ttl: float = 3600
    maximum: float = 36000
    lease: float = 2_764_800
    lease_maximum: float = 2_764_800
    login: dict[str, Any] = dataclasses.field(default_factory=dict)
    born: dict[str, float] = dataclasses.field(default_factory=dict)
    ends: dict[str, float] = dataclasses.field(default_factory=dict)
    users: dict[str, tuple[str, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        answers = {
            ("POST", LOGIN): self._log_in,
            ("POST", RENEW): self._renew,
            ("GET", LOOK_UP): self._look_up,
            ("GET", READ): self._read,
            ("GET", OTHER): self._read,
            ("POST", RENEW_LEASE): self._renew_lease,
        }
        for (method, path), answer in answers.items():
            self.bench.server.on(method, path, self._sent(answer))

    def _sent(self, answer: Callable[[str, Request], bytes]) -> Callable[[socket.socket, Request], None]:
        def send(connection: socket.socket, request: Request) -> None:
            token = request.headers.get("x-vault-token", "")
            known = not token or self.ends[token] > self.bench.clock.now
            connection.sendall(answer(token, request) if known else DENIED)

        return send

    def _log_in(self, _: str, __: Request) -> bytes:
        token = f"hvs.{len(self.born)}"
        self.born[token], self.ends[token] = self.bench.clock.now, self.bench.clock.now + self.ttl
        return self._token(token)

    def _renew(self, token: str, _: Request) -> bytes:
        self.ends[token] = min(self.bench.clock.now + self.ttl, self.born[token] + self.maximum)
        return self._token(token)

    def _token(self, token: str) -> bytes:
        left = int(self.ends[token] - self.bench.clock.now)
        body = {"client_token": token, "lease_duration": left, "renewable": True, "policies": ["app"], **self.login}
        return reply(200, {"auth": body})

    def _look_up(self, token: str, _: Request) -> bytes:
        return reply(200, {"data": {"ttl": int(self.ends[token] - self.bench.clock.now), "renewable": True}})

    def _read(self, token: str, _: Request) -> bytes:
        name = f"AKIAUSER{len(self.users)}"
        self.users[name] = token, self.bench.clock.now
        data = {"access_key": name, "secret_key": "secret", "security_token": None}
        return reply(200, {"lease_id": f"{READ}/{name}", "renewable": True, "lease_duration": self.lease, "data": data})

    def _renew_lease(self, _: str, request: Request) -> bytes:
        born = self.users[request.json["lease_id"].rpartition("/")[2]][1]
        left = min(self.lease, born + self.lease_maximum - self.bench.clock.now)
        return reply(200, {"lease_id": request.json["lease_id"], "renewable": True, "lease_duration": int(left)})

    def is_alive(self, pair: AWSCredentials) -> bool:
        """Tell whether the IAM user of a pair exists now, and lives as long as the pair says."""
        token = self.users[pair.access_key][0]
        return self.ends[token] > self.bench.clock.now and self.ends[token] >= pair.expiry > self.bench.clock.now

    def asked(self, *paths: str) -> list[int]:
        """Return how often the server was asked for each path."""
        return [sum(line.endswith(f" {path}") for line in self.bench.asked()) for path in paths]


def at(bench: Bench, moment: float, thing: Fetcher) -> AWSCredentials:
    """Fetch at a moment of the clock."""
    bench.clock.now = NOW + moment
    return thing.fetch()


def sharing(bench: Bench, shm: pathlib.Path, **settings: str) -> Fetcher:
    """Return a fetcher over the host's cache, as another process would have it."""
    config = bench.fetcher(**(PROBE_OFF | settings)).config
    return Fetcher(config, cache=Runtime.open({"XDG_RUNTIME_DIR": str(shm)}), clock=bench.clock)
