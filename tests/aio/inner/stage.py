"""What the tests stand on that run beside aiobotocore: a scripted Vault, an AWS that runs elsewhere, and an ear.

``tests/aio/test_aio.py`` runs them in environments of their own, with this module as a plugin of pytest.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import botocore.session
import pytest

import vault_credential_process
from vault_credential_process import aio, cache, keeper, registry
from vault_credential_process.background import background
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.provider import install_into
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply

LOGIN, READ = "auth/approle/login", "aws/creds/webapp"
GOOD: dict[str, str] = json.loads(os.environ["TEST_GOOD_PAIR"])
"""A pair that the AWS takes."""
ENDED: dict[str, str] = json.loads(os.environ["TEST_ENDED_PAIR"])
"""A pair that it refuses with ``ExpiredToken``."""
BUCKET, CHAINED_ROLE_ARN = os.environ["TEST_BUCKET"], os.environ["TEST_CHAINED_ROLE_ARN"]
SEALED = reply(503, {"errors": ["Vault is sealed"]})


def lease(life: float, pair: str | dict[str, str]) -> bytes:
    """Return Vault's answer with a pair of STS; a name stands for a pair that is only looked at."""
    if isinstance(pair, str):
        pair = {"AccessKeyId": pair, "SecretAccessKey": "EXAMPLE", "SessionToken": "EXAMPLE"}
    data = {
        "access_key": pair["AccessKeyId"],
        "secret_key": pair["SecretAccessKey"],
        "security_token": pair["SessionToken"],
        "ttl": life,
    }
    return reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": life, "renewable": False, "data": data})


@dataclasses.dataclass(frozen=True)
class Vault:
    """A scripted server that lets everybody in, and a profile for it."""

    server: ScriptedServer
    settings: dict[str, str]
    config: pathlib.Path

    def gives(self, *answers: Reply) -> None:
        """Answer reads with these, one after the other, the last for ever."""
        self.server.on("GET", READ, *answers)

    def gives_leases(self, life: float, *, takes: float = 0.0) -> list[str]:
        """Answer each read with a lease of its own, after a while; return the keys that were given, as they are."""
        given: list[str] = []

        def answer(connection: socket.socket, _: Request) -> None:
            time.sleep(takes)
            given.append(f"ASIA{len(given)}")
            connection.sendall(lease(life, given[-1]))

        self.gives(answer)
        return given

    def held_up(self, content: bytes) -> tuple[Callable[[socket.socket, Request], None], threading.Event]:
        """Return an answer that comes when it is let go, and what lets it go."""
        release = threading.Event()

        def answer(connection: socket.socket, _: Request) -> None:
            release.wait(30)
            connection.sendall(content)

        return answer, release

    def write_profiles(self, more: str = "") -> None:
        """Write a profile ``webapp`` that has no keys but Vault's, and whatever else."""
        lines = "".join(f"{key} = {value}\n" for key, value in self.settings.items())
        self.config.write_text(f"[profile webapp]\nregion = us-east-1\n{lines}{more}")

    def session(self, **settings: str) -> Any:
        """Return a session of aiobotocore."""
        return vault_credential_process.aio_session(region_name="us-east-1", **(self.settings | settings))

    @property
    def asked(self) -> tuple[int, int]:
        """How often somebody logged in and read."""
        return self.server.asked("POST", LOGIN), self.server.asked("GET", READ)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.address.rpartition(":")[2])


@pytest.fixture
def vault(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """A Vault for one test; nothing of another test is kept in the process, and nothing is left in the air."""
    monkeypatch.setattr(cache, "_memory", None)
    config, secret_id = tmp_path / "config", tmp_path / "secret-id"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    secret_id.write_text("secret")
    secret_id.chmod(0o600)
    with ScriptedServer() as server:
        auth = {"client_token": "hvs.EXAMPLE", "lease_duration": 3600, "renewable": True, "token_type": "service"}
        server.on("POST", LOGIN, reply(200, {"auth": auth | {"policies": [], "accessor": "EXAMPLE"}}))
        server.on("POST", "auth/token/renew-self", reply(200, {"auth": auth}))
        settings = {
            "vault_addr": server.address,
            "vault_role_id": "role",
            "vault_secret_id_file": str(secret_id),
            "vault_aws_role": "webapp",
            "vault_max_retries": "0",
        }
        made = Vault(server, settings, config)
        made.write_profiles()
        yield made
        until(lambda: not aio._flights and not aio._attended)
    gc.collect()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.005)
    assert condition()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of its own; what the loop has to complain of fails the test."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            return await asyncio.wait_for(coroutine, 60)
        finally:
            gc.collect()

    found = asyncio.run(watched())
    gc.collect()
    assert complaints == []
    return found


class Ear:
    """Hears what runs on which thread: fetches, our locks, files that are opened, connections, modules, processes."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.heard: list[tuple[str, str, int]] = []
        self.on = False

    def note(self, what: str, detail: object = "") -> None:
        """Note something that happens on this thread."""
        if self.on:
            self.heard.append((what, str(detail), threading.get_ident()))

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note what the interpreter tells of."""
        if self.on and event in {"open", "socket.connect", "import", "subprocess.Popen"}:
            self.note(event, arguments[1] if event == "socket.connect" else arguments[0])

    def on_thread(self, ident: int) -> set[tuple[str, str]]:
        """Return what a thread did."""
        return {(what, detail) for what, detail, thread in self.heard if thread == ident}

    def elsewhere(self, ident: int) -> set[str]:
        """Return the kinds of what other threads did."""
        return {what for what, _, thread in self.heard if thread != ident}


_ear = Ear()
sys.addaudithook(_ear.audit)


class Overheard:
    """A lock that tells the ear who takes it."""

    def __init__(self, name: str, lock: Any) -> None:
        self._name, self._lock = name, lock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def acquire(self, *arguments: Any, **options: Any) -> Any:
        _ear.note("lock", self._name)
        return self._lock.acquire(*arguments, **options)

    def __enter__(self) -> Any:
        _ear.note("lock", self._name)
        return self._lock.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._lock.__exit__(*error)


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    """An ear on all that may keep a thread waiting."""
    for name in ("fetched", "key", "keep_token", "token"):
        original = getattr(Fetcher, name)

        def call(self: Any, *a: Any, _name: str = name, _original: Any = original, **o: Any) -> Any:
            _ear.note("fetcher", _name)
            return _original(self, *a, **o)

        monkeypatch.setattr(Fetcher, name, call)
    forked = keeper.Keeper.forked

    def with_ear(self: Any) -> None:
        forked(self)
        self._lock = Overheard("keeper", self._lock)

    monkeypatch.setattr(keeper.Keeper, "forked", with_ear)
    monkeypatch.setattr(registry, "_registry", Overheard("registry", registry._registry))
    monkeypatch.setattr(background, "_changed", Overheard("background", background._changed))
    monkeypatch.setattr(cache, "_guard", Overheard("cache", cache._guard))
    _ear.heard, _ear.on = [], True
    yield _ear
    _ear.on = False


@pytest.fixture
def installed() -> Iterator[None]:
    """Install the provider for one test."""
    vault_credential_process.install()
    yield
    vault_credential_process.uninstall()


def sync_keeper(vault: Vault) -> Any:
    """Return the keeper of a session of plain botocore."""
    session = botocore.session.Session()
    install_into(session, **vault.settings)
    return session.get_credentials().keeper
