"""What Vault refused is not sent again and again, even where nothing is to be kept."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import stat
from typing import Any

import pytest

from vault_credential_process import fastpath
from vault_credential_process.cache.none import NoCache
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.errors import AuthenticationError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.refused import WAIT
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .bench import LOGIN, READ, REVOKE, Bench, Clock
from .conftest import Run

REFUSED = reply(400, {"errors": ["invalid role or secret ID"]})
SECRET_ID = "hunter2-secret-id"

on_linux = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="tmpfs is Linux's")


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server that refuses every login."""
    scripted.on("POST", LOGIN, REFUSED)
    return Bench(scripted, exchanges, Clock())


def fail(fetcher: Fetcher) -> str:
    """Return what a call that is refused says."""
    with pytest.raises(AuthenticationError) as caught:
        fetcher.fetch()
    return str(caught.value)


@on_linux
def test_without_a_cache_it_is_remembered_all_the_same(bench: Bench) -> None:
    """With ``none`` each call is a call of its own; still the same Secret ID goes out once in ten minutes."""
    told = [fail(bench.fetcher(keep=False)) for _ in range(3)]
    assert bench.server.asked("POST", LOGIN) == 1
    assert ["login refused before: " in line for line in told] == [False, True, True]

    fail(bench.fetcher(keep=False, vault_secret_id="another"))
    bench.clock.now += WAIT
    fail(bench.fetcher(keep=False))
    assert [request.json["secret_id"] for request in bench.server.requests] == ["secret", "another", "secret"]


@on_linux
def test_what_is_left_of_it(scripted: ScriptedServer, command: Run, shm: pathlib.Path) -> None:
    """One private file on tmpfs, under a keyed hash and without the secret; ``cache clear`` takes it away."""
    scripted.on("POST", LOGIN, REFUSED)
    environ = {
        "VAULT_ADDR": scripted.address,
        "VAULT_AWS_ROLE": "webapp",
        "VAULT_ROLE_ID": "role",
        "VAULT_SECRET_ID": SECRET_ID,
        "VAULT_AWS_CACHE": "none",
    }
    done = [command("get", **environ) for _ in range(2)]
    directory = shm / fastpath.NAME
    entries = list(directory.glob("entry-*"))
    files = [path for path in directory.iterdir() if path.is_file()]

    assert [one.returncode for one in done] == [3, 3]
    assert "is not sent again until" in done[1].stderr
    assert scripted.asked("POST", LOGIN) == 1
    assert len(entries) == 1
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert [path for path in files if SECRET_ID.encode() in path.read_bytes() or SECRET_ID in path.name] == []
    assert "refused Secret ID" in command("cache", "list").stdout

    command("cache", "clear")
    command("get", **environ)
    assert scripted.asked("POST", LOGIN) == 2


@on_linux
def test_nothing_else_is_kept(bench: Bench, shm: pathlib.Path) -> None:
    """The control: with ``none`` a login that succeeds leaves nothing, and the next call logs in again."""
    bench.on_login()
    bench.server.on("GET", READ, bench.lease(900))
    bench.server.on("POST", REVOKE, reply(204))
    for _ in range(2):
        bench.fetcher(keep=False).fetch()

    assert bench.server.asked("POST", LOGIN) == 2
    assert list((shm / fastpath.NAME).glob("entry-*")) == []


def test_without_a_place_it_is_sent_each_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no tmpfs either, nothing can be remembered: as the page on threats tells."""
    monkeypatch.setattr(fastpath, "runtime_directory", lambda environ: (None, "not on tmpfs"))
    told = [fail(bench.fetcher(keep=False)) for _ in range(2)]

    assert bench.server.asked("POST", LOGIN) == 2
    assert [line for line in told if "refused before" in line] == []


@on_linux
def test_what_an_unverified_server_refused_is_not_held_against_it(bench: Bench, shm: pathlib.Path) -> None:
    """Whoever plays Vault towards a call that does not verify keeps no other call from logging in."""
    cache = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})
    for unverified in ("true", "false"):
        made = bench.fetcher(vault_skip_verify=unverified)
        fail(Fetcher(made.config, cache=cache, clock=bench.clock))

    assert bench.server.asked("POST", LOGIN) == 2


def test_other_addresses_and_namespaces_are_asked(bench: Bench) -> None:
    """A refusal is held against the same secret at the same place, and nowhere else."""
    first = bench.fetcher()
    fail(first)
    for change in ({"vault_namespace": "team"}, {"vault_addr": bench.server.address.replace("127.0.0.1", "localhost")}):
        config = dataclasses.replace(first.config, **change)  # type: ignore[arg-type]  # text, both
        fail(Fetcher(config, cache=first.cache, clock=bench.clock))
    assert bench.server.asked("POST", LOGIN) == 3

    fail(Fetcher(first.config, cache=NoCache(), clock=bench.clock))
    fail(first)
    assert bench.server.asked("POST", LOGIN) == 4
