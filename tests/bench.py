"""A scripted server with its recorded exchanges and a clock that stands: what tests of the fetcher stand on."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from vault_credential_process import auth
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.none import NoCache
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

NOW = 1_795_465_023.0
READ = "aws/creds/webapp"
LOGIN = "auth/approle/login"
LOOK_UP = "auth/token/lookup-self"
REVOKE = "auth/token/revoke-self"
DENIED = reply(403, {"errors": ["permission denied"]})


@dataclasses.dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass(frozen=True)
class Bench:
    """A scripted server, its recorded exchanges, and the time."""

    server: ScriptedServer
    exchanges: dict[str, Any]
    clock: Clock

    def fetcher(self, *, keep: bool = True, environ: dict[str, str] | None = None, **settings: str) -> Fetcher:
        """Return a fetcher that logs in by AppRole, unless the environment holds something else."""
        given = {"vault_addr": self.server.address, "vault_aws_role": "webapp", "vault_max_retries": "0"}
        if environ is None:
            given |= {"vault_role_id": "role", "vault_secret_id": "secret"}
        config = auth.configure(given | settings, environ or {}, None)
        return Fetcher(config, cache=Memory() if keep else NoCache(), clock=self.clock)

    def on_login(self, name: str = "approle_login", **changes: Any) -> None:
        """Answer logins with a recorded one, with changes."""
        exchange = copy.deepcopy(self.exchanges[name])
        exchange["response"]["body"]["auth"].update(changes)
        self.server.on_login(exchange)

    def lease(self, life: float, access_key: str = "ASIAIOSFODNN7EXAMPLE", name: str = "creds_assumed_role") -> bytes:
        """Return a recorded answer with another life and key."""
        exchange = copy.deepcopy(self.exchanges[name])
        body = exchange["response"]["body"]
        body["lease_duration"] = life
        body["data"]["access_key"] = access_key
        if "ttl" in body["data"]:
            body["data"]["ttl"] = life
        return replay(exchange)

    def asked(self) -> list[str]:
        """Return all that the server was asked for, in order."""
        return [f"{r.method} {r.path.removeprefix('/v1/')}" for r in self.server.requests]
