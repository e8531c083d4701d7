"""Many at once in one runtime directory: identities stay apart, and a fork in the middle of a store spoils nothing."""

from __future__ import annotations

import collections
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vault_credential_process.demo.laboratory import Laboratory

from ..conftest import Tenant, new_tenant
from .aftermath import Left
from .conftest import Stage, Zygote, files, stage_of
from .witness import LOGIN, Witness

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

EACH = 32


@pytest.fixture
def three(
    stand_in: Laboratory, clean_environment: pathlib.Path, zygote: Zygote, shm: pathlib.Path
) -> Iterator[tuple[Stage, list[Tenant]]]:
    """Three applications whose Vault roles have one name, at three mounts, each with a pair of its own."""
    tenants = []
    for name in ("one", "two", "three"):
        tenant = new_tenant(stand_in, clean_environment)
        pair = {"access_key": f"ASIA{name.upper()}", "secret_key": name, "security_token": name, "ttl": 900}
        stand_in.write(tenant.role, pair)
        tenants.append(tenant)
    with Witness(stand_in.server.address) as witness:
        yield stage_of(tenants[0], witness, zygote, shm), tenants


def profile(stage: Stage, tenant: Tenant, name: str) -> str:
    """Return a profile of an application."""
    return tenant.laboratory.profile(name, {**tenant.settings, "vault_addr": stage.witness.address})


def test_cold_herd_of_three(three: tuple[Stage, list[Tenant]]) -> None:
    """32 cold processes for each of three identities, started together: each gets its own pair, for one login each."""
    stage, tenants = three
    names = ["one", "two", "three"]
    stage.config.write_text("".join(profile(stage, t, n) for t, n in zip(tenants, names, strict=True)))
    runtime = stage.shm / "host"
    before = stage.witness.granted(LOGIN)
    wanted = names * EACH
    orders = [stage.order(runtime, "get", "--profile", name, environ={"VAULT_AWS_TIMEOUT": "100"}) for name in wanted]
    runs = stage.together(orders)
    got = collections.Counter((name, run.key) for name, run in zip(wanted, runs, strict=True))

    assert got == {(name, f"ASIA{name.upper()}"): EACH for name in names}
    assert stage.witness.granted(LOGIN) - before == 3
    assert [stage.witness.granted(f"aws/creds/{t.role}") for t in tenants[1:]] == [1, 1]


def test_one_role_and_three_identities(three: tuple[Stage, list[Tenant]]) -> None:
    """One Vault role, three AppRoles by the environment: whoever may not read it gets nothing of who may."""
    stage, tenants = three
    stage.config.write_text("")
    role, runtime = tenants[0].role, stage.shm / "host"
    orders = []
    for tenant in tenants * 8:
        environ = {"VAULT_ADDR": stage.witness.address, "VAULT_AWS_ROLE": role, "VAULT_AWS_TIMEOUT": "100"}
        environ |= {"VAULT_ROLE_ID": tenant.approle["role_id"], "VAULT_SECRET_ID": tenant.approle["secret_id"]}
        orders.append(stage.order(runtime, "get", environ=environ))
    runs = stage.together(orders)
    codes = [{run.code for run in runs[n::3]} for n in range(3)]

    assert codes == [{0}, {4}, {4}]
    assert {run.key for run in runs[0::3]} == {"ASIAONE"}
    assert not any("ASIA" in run.out for run in [*runs[1::3], *runs[2::3]])


FORKING = """
import os, sys, threading, time
from vault_credential_process import auth
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.fetcher import Fetcher

role, rounds = sys.argv[1], int(sys.argv[2])
config = auth.configure({"vault_aws_role": role}, os.environ, None)
cache = Runtime.open(os.environ)
fetcher = Fetcher(config, cache=cache)
first = fetcher.fetch()
stop = threading.Event()

def store():
    # A pair that is due again and again: each time it is read and stored anew.
    while not stop.is_set():
        fetcher.fetched(early=10_000)

threads = [threading.Thread(target=store) for _ in range(3)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(rounds):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            pair = Fetcher(config, cache=Runtime.open(os.environ)).fetched(early=10_000).credentials
            code = 0 if pair.access_key == first.access_key else 3
        finally:
            os._exit(code)
    end = time.monotonic() + 60
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.002)
    if done[0] == 0:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    bad += done[0] == 0 or done[1] != 0
stop.set()
for thread in threads:
    thread.join(60)
print(bad, sum(thread.is_alive() for thread in threads))
"""


def test_forks_while_threads_store(three: tuple[Stage, list[Tenant]]) -> None:
    """Children forked while three threads store: each fetches and stores for itself, none hangs, nothing is torn."""
    stage, tenants = three
    tenant = tenants[0]
    environ: dict[str, Any] = {**os.environ, "VAULT_ADDR": stage.witness.address, "PYTHONWARNINGS": "ignore"}
    environ |= {"VAULT_ROLE_ID": tenant.approle["role_id"], "VAULT_SECRET_ID": tenant.approle["secret_id"]}
    before = len(stage.witness.seen)
    done = subprocess.run(
        [sys.executable, "-c", FORKING, tenant.role, "40"],
        env=environ, capture_output=True, text=True, check=False, timeout=200, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("0 0\n", "")
    assert len(stage.witness.seen) - before > 6, "there must be stores to fork in"
    left = Left.of(stage.shm, time.time())
    assert left.half_done == []
    assert "key" in files(stage.shm)
