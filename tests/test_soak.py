"""Short lives under load: tokens of seconds, IAM users that die with them, and no request with a dead key."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

import pytest

import vault_credential_process
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.provider import VaultCredentials
from vault_credential_process.testing.scripted import ScriptedServer

from .bench import Bench, Clock
from .conftest import new_tenant
from .ledger import PROBE_OFF, Ledger

THREADS = 8
HELD = 0.2
"""Seconds for which a thread may be kept back, and no pair ends meanwhile: all are replaced half a second before."""


class Now(Clock):
    """The time of day, as a clock that nobody moves."""

    def __init__(self) -> None:
        pass

    @property
    def now(self) -> float:  # type: ignore[override]
        """Seconds since the epoch."""
        return time.time()


class Load(NamedTuple):
    """What came of a load."""

    uses: int
    failures: list[BaseException]
    held: float
    """Seconds for which the machine kept back a thread that wanted nothing but to run, at the most."""


def under_load(seconds: float, act: Any) -> Load:
    """Let threads do the same for a while."""
    end, done, failures, held = time.monotonic() + seconds, [], [], [0.0]

    def work() -> None:
        while time.monotonic() < end and not failures:
            try:
                act()
            except BaseException as error:
                failures.append(error)
            done.append(1)
            time.sleep(0.05)

    def control() -> None:
        while (began := time.monotonic()) < end and not failures:
            time.sleep(0.01)
            held[0] = max(held[0], time.monotonic() - began - 0.01)

    threads = [threading.Thread(target=target, daemon=True) for target in (control, *[work] * THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
    return Load(len(done), failures, held[0])


def test_five_token_lives_in_short(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Tokens of 2 s that renew up to 5 s: every pair that a call is given is alive, and users are kept by renewal.

    Whether a call waited for our sake shows only where the machine lets threads run: where it did not, the run is done
    anew.
    """
    Ledger(Bench(scripted, exchanges, Now()))
    Bench(scripted, exchanges, Now()).fetcher(**PROBE_OFF).fetch()  # what that imports takes a part of a first life
    for _ in range(3):
        bench = Bench(scripted, exchanges, Now())
        ledger = Ledger(bench, ttl=2, maximum=5)
        credentials = VaultCredentials(bench.fetcher(**PROBE_OFF))

        def use(ledger: Ledger = ledger, credentials: VaultCredentials = credentials) -> None:
            pair = credentials.keeper.held()
            # The pair may be replaced in this moment, but not have died.
            token = ledger.users[pair.access_key][0]
            assert ledger.ends[token] > time.time()

        load = under_load(25, use)

        assert load.failures == []
        assert load.uses > 1000
        assert 5 <= len(ledger.born) <= 12
        assert len(ledger.users) <= len(ledger.born) + 2
        if load.held < HELD:
            break
    assert credentials.keeper.health().waits == 1


@pytest.mark.soak
@pytest.mark.real_engine
def test_five_token_lives(laboratory: Laboratory, clean_environment: Any, cloud: aws.LocalAWS) -> None:
    """The same on the real engine, with token_ttl of 20 s and token_max_ttl of 60 s, and AWS that checks each key."""
    tenant = new_tenant(laboratory, clean_environment, token_ttl="20s", token_max_ttl="60s")
    laboratory.iam_user(tenant.role)
    session = vault_credential_process.boto3_session(region_name=aws.REGION, **tenant.settings)
    client = session.client("s3", endpoint_url=cloud.endpoint)
    client.list_buckets()
    begin = len(cloud.requests)

    load = under_load(300, client.list_buckets)

    assert load.failures == []
    assert load.uses > 1000
    keys = {key for key, _ in cloud.requests[begin:]}
    assert 5 <= len(keys) <= 14
    assert session.get_credentials().keeper.health().waits == 1
