"""What is renewed, for how long, and what comes after: tokens, leases and IAM users by an injected clock."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vault_credential_process import auth, flight, probe
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import DeadlineError, SealedError, VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, reset, silence

from .bench import LOGIN, LOOK_UP, NOW, READ, Bench, Clock
from .conftest import new_tenant
from .ledger import OTHER, PROBE_OFF, RENEW, RENEW_LEASE, Ledger, at


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server without a script."""
    return Bench(scripted, exchanges, Clock())


@pytest.fixture
def second(exchanges: dict[str, Any]) -> Iterator[ScriptedServer]:
    """Return another server: STS."""
    with ScriptedServer() as server:
        yield server


def test_two_hundred_calls_make_one_user(bench: Bench) -> None:
    """Over ten minutes of the clock 200 calls make one IAM user, while its token and its lease are renewed."""
    ledger = Ledger(bench, ttl=120)
    thing = bench.fetcher(**PROBE_OFF)
    for turn in range(200):
        pair = at(bench, turn * 3, thing)
        assert (pair.access_key, ledger.is_alive(pair)) == ("AKIAUSER0", True)

    assert ledger.asked(LOGIN, READ) == [1, 1]
    assert all(8 <= renewals <= 12 for renewals in ledger.asked(RENEW, RENEW_LEASE))


@pytest.mark.parametrize(
    ("ttl", "maximum", "lease_maximum", "logins", "users"),
    [
        (120, 600, 10**6, 5, 5),
        (1800, 2000, 10**6, 2, 2),
        (4, 600, 10**6, 2, 2),
        (120, 10**6, 600, 1, 4),
        (600, 600, 10**6, 5, 5),
    ],
)
def test_renewal_until_it_stops_extending(
    bench: Bench, ttl: float, maximum: float, lease_maximum: float, logins: int, users: int
) -> None:
    """At the maximum of token or lease there is one new pair, while the old one lives; a new login where it must be."""
    ledger = Ledger(bench, ttl=ttl, maximum=maximum, lease=ttl, lease_maximum=lease_maximum)
    thing = bench.fetcher(**PROBE_OFF)
    for moment in range(2200 if ttl > 60 else 1100):
        assert ledger.is_alive(at(bench, moment, thing))

    assert (ledger.asked(LOGIN, READ), len(ledger.users)) == ([logins, users], users)


@pytest.mark.parametrize("login", [{"renewable": False}, {"renewable": False, "token_type": "batch"}])
def test_token_that_cannot_be_renewed(bench: Bench, login: dict[str, Any]) -> None:
    """Without renewal each token is followed by a login and each IAM user by another, in time."""
    ledger = Ledger(bench, ttl=120, maximum=120, login=login)
    thing = bench.fetcher(**PROBE_OFF)
    for moment in range(300):
        assert ledger.is_alive(at(bench, moment, thing))

    assert ledger.asked(LOGIN, READ, RENEW) == [5, 5, 0]


def test_lease_of_an_earlier_token_is_not_renewed(bench: Bench) -> None:
    """A pair ends with its own token, so it is replaced, not renewed, once another role has caused a new login."""
    ledger = Ledger(bench, ttl=1000, maximum=1000)
    first = bench.fetcher(**PROBE_OFF)
    other = Fetcher(bench.fetcher(**PROBE_OFF, vault_aws_role="other").config, cache=first.cache, clock=bench.clock)
    pairs = [at(bench, 0, first), at(bench, 100, other), at(bench, 800, first)]
    assert [ledger.users[pair.access_key][0] for pair in pairs] == ["hvs.0", "hvs.0", "hvs.1"]
    for moment in (805, 950, 999, 1001, 1400):
        assert ledger.is_alive(at(bench, moment, other))


def test_last_renewal_is_no_whole_life(bench: Bench) -> None:
    """A token that was renewed to its maximum is judged by the life that it began with: no new pair is read with it."""
    ledger = Ledger(bench, maximum=3641)
    first = bench.fetcher(**PROBE_OFF)
    other = Fetcher(bench.fetcher(**PROBE_OFF, vault_aws_role="other").config, cache=first.cache, clock=bench.clock)
    pairs = [at(bench, 0, first), at(bench, 0, other), at(bench, 2641, first), at(bench, 2700, other)]

    assert [ledger.users[pair.access_key][0] for pair in pairs] == ["hvs.0", "hvs.0", "hvs.0", "hvs.1"]
    assert pairs[3].seconds_left(bench.clock.now) == 3600


@pytest.mark.parametrize(
    ("path", "refusal", "then"),
    [
        (RENEW_LEASE, "lease_renew_sts", [f"POST {RENEW_LEASE}", f"GET {READ}"]),
        (RENEW_LEASE, "lease_lookup_after_revoke", [f"POST {RENEW_LEASE}", f"GET {READ}"]),
        (RENEW_LEASE, "creds_permission_denied", [f"POST {RENEW_LEASE}", f"GET {LOOK_UP}", f"GET {READ}"]),
        (RENEW, "creds_permission_denied", [f"POST {RENEW}", f"GET {LOOK_UP}", f"POST {LOGIN}", f"GET {READ}"]),
        (RENEW, "token_renew_self_batch", [f"POST {RENEW}", f"POST {LOGIN}", f"GET {READ}"]),
    ],
)
def test_refused_renewal(bench: Bench, path: str, refusal: str, then: list[str]) -> None:
    """A refused renewal leads to a new pair in the same call, with a new login only where the token cannot go on."""
    ledger = Ledger(bench, lease=900 if path == RENEW_LEASE else 36000)
    thing = bench.fetcher(**PROBE_OFF)
    first = at(bench, 0, thing)
    bench.server.on("POST", path, replay(bench.exchanges[refusal]))
    again = at(bench, first.life - 200, thing)

    assert bench.asked()[2:] == then
    assert (again.access_key, ledger.is_alive(again)) == ("AKIAUSER1", True)


@pytest.mark.parametrize("path", [RENEW, RENEW_LEASE])
def test_broken_renewal(bench: Bench, path: str) -> None:
    """Where Vault fails to renew and says nothing final, the pair serves to its end; then another one is read."""
    ledger = Ledger(bench, lease=3600)
    thing = bench.fetcher(**PROBE_OFF)
    bench.server.on("POST", path, reply(500, {"errors": ["storage"]}))
    for moment in range(0, 5000, 20):
        assert ledger.is_alive(at(bench, moment, thing))

    assert len(ledger.users) == 2


def revoked(bench: Bench) -> tuple[Ledger, Fetcher, Fetcher]:
    """Return two fetchers of one token that was revoked at the server, with a pair each; move on to their refresh."""
    ledger = Ledger(bench, lease=900)
    first = bench.fetcher(**PROBE_OFF)
    other = Fetcher(bench.fetcher(**PROBE_OFF, vault_aws_role="other").config, cache=first.cache, clock=bench.clock)
    pairs = [at(bench, 0, first), at(bench, 300, other)]
    assert ledger.asked(LOGIN, READ, OTHER) == [1, 1, 1]
    assert [pair.access_key for pair in pairs] == ["AKIAUSER0", "AKIAUSER1"]
    ledger.ends["hvs.0"] = bench.clock.now = NOW + 700
    return ledger, first, other


def test_dead_token_takes_its_users_along(bench: Bench) -> None:
    """Once a token is known to be dead, none of its pairs is handed out, not even one that the rule would allow."""
    ledger, first, other = revoked(bench)
    pairs = [first.fetch(), other.fetch()]

    assert [pair.access_key for pair in pairs] == ["AKIAUSER2", "AKIAUSER3"]
    assert all(ledger.is_alive(pair) for pair in pairs)
    assert ledger.asked(LOGIN, LOOK_UP) == [2, 1]


def test_dead_token_and_a_sealed_server(bench: Bench) -> None:
    """A pair whose token is dead is no last good answer: with no other to be had the failure is told."""
    _, first, other = revoked(bench)
    bench.server.on("POST", LOGIN, replay(bench.exchanges["sealed_login"]))
    for thing in (first, other, first):
        with pytest.raises(SealedError):
            thing.fetch()


def test_dead_token_found_by_the_read(bench: Bench, second: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair whose token is found dead by the read itself is not served while the new one is being proven."""
    monkeypatch.setattr(flight, "GLIMPSE", 0.05)
    ledger = Ledger(bench, lease=900)
    thing = bench.fetcher(environ={"AWS_ENDPOINT_URL": second.address}, vault_role_id="role", vault_aws_probe="0.2")
    second.otherwise = reply(200, "<Account>123456789012</Account>")
    assert at(bench, 0, thing).access_key == "AKIAUSER0"
    bench.server.on("POST", RENEW_LEASE, replay(bench.exchanges["lease_renew_sts"]))
    ledger.ends["hvs.0"] = NOW + 700
    second.otherwise = reply(403, "<Code>InvalidClientTokenId</Code>")

    assert at(bench, 700, thing).access_key == "AKIAUSER1"


def test_new_pair_replaces_one_that_is_pending(
    bench: Bench, second: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While AWS does not know a new IAM user the old pair is served, without another user; then the new one is."""
    monkeypatch.setattr(flight, "GLIMPSE", 0.05)
    monkeypatch.setattr(probe, "_PAUSE", 0.01)
    ledger = Ledger(bench, ttl=1000, maximum=1000)
    thing = bench.fetcher(environ={"AWS_ENDPOINT_URL": second.address}, vault_role_id="role")
    second.otherwise = reply(200, "<Account>123456789012</Account>")
    served = [at(bench, 0, thing)]
    second.otherwise = reply(403, "<Code>InvalidClientTokenId</Code>")
    served += [at(bench, moment, thing) for moment in (800, 803, 806)]
    kept = thing.peek()
    second.otherwise = reply(200, "<Account>123456789012</Account>")
    monkeypatch.setattr(flight, "GLIMPSE", 10)
    served.append(at(bench, 809, thing))

    assert [pair.access_key for pair in served] == ["AKIAUSER0"] * 4 + ["AKIAUSER1"]
    assert kept is not None
    assert (kept.proven, kept.credentials.access_key) == (False, "AKIAUSER1")
    assert (ledger.asked(READ), served[-1].account_id) == ([2], aws.ACCOUNT)


def test_pending_pair_that_ended_is_replaced(bench: Bench, second: ScriptedServer) -> None:
    """A pair that was never proven and has ended meanwhile is not handed out: another one is read."""
    ledger = Ledger(bench, ttl=1000, maximum=1000)
    thing = bench.fetcher(environ={"AWS_ENDPOINT_URL": second.address}, vault_role_id="role", vault_aws_timeout="2.2")
    second.otherwise = silence(5)
    assert at(bench, 0, thing).access_key == "AKIAUSER0"
    kept = thing.peek()
    assert kept is not None
    thing.cache.set(thing.fetched().key, dataclasses.replace(kept, proven=False).dump())

    assert ledger.is_alive(at(bench, 1500, thing))


@pytest.mark.parametrize("trouble", ["sealed", "rate_limited", "reset", "gateway"])
def test_reason_is_kept_and_cleared(bench: Bench, trouble: str) -> None:
    """While Vault is sealed, limiting or away the same IAM user serves and the reason is kept, until it is renewed."""
    ledger = Ledger(bench)
    thing = bench.fetcher(**PROBE_OFF)
    first = at(bench, 0, thing)
    paths = (("POST", RENEW), ("POST", RENEW_LEASE), ("GET", READ), ("POST", LOGIN))
    answers = {"reset": reset, "gateway": reply(502, "<html>")}
    for method, path in paths:
        bench.server.on(method, path, answers.get(trouble) or replay(bench.exchanges[trouble]))
    kept = [(at(bench, moment, thing), thing.peek()) for moment in (2700, 3000, 3300)]
    assert {pair.access_key for pair, _ in kept} == {first.access_key}
    words = {"sealed": "sealed", "rate_limited": "too many requests", "reset": "broke", "gateway": "HTTP 502"}[trouble]
    assert all(entry is not None and words in (entry.failure or "") for _, entry in kept)

    Ledger.__post_init__(ledger)
    assert at(bench, 3400, thing).access_key == first.access_key
    entry = thing.peek()
    assert entry is not None
    assert (entry.failure, entry.failed_at, ledger.asked(LOGIN)) == (None, None, [1])


def test_patience(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a valid pair in hand a silent server is given up soon; without one it is waited for until the deadline."""
    monkeypatch.setattr(flight, "PATIENCE", 0.3)
    Ledger(bench)
    thing = bench.fetcher(**PROBE_OFF, vault_aws_timeout="1.5")
    first = at(bench, 0, thing)
    for path in (RENEW, RENEW_LEASE, LOGIN):
        bench.server.on("POST", path, silence(5))
    began = time.monotonic()
    assert at(bench, 3000, thing).access_key == first.access_key
    assert 0.2 < time.monotonic() - began < 1.2

    began = time.monotonic()
    with pytest.raises(VaultCredentialError) as caught:
        at(bench, 3700, thing)
    assert isinstance(caught.value, DeadlineError) or "in time" in str(caught.value)
    assert 1.2 < time.monotonic() - began < 3


def engine_fetcher(laboratory: Laboratory, home: pathlib.Path, token_ttl: str) -> Fetcher:
    """Return a fetcher of the real engine whose tokens live for a minute with renewal."""
    tenant = new_tenant(laboratory, home, token_ttl=token_ttl, token_max_ttl="60s")
    laboratory.iam_user(tenant.role)
    return Fetcher(auth.configure(tenant.settings, {"AWS_ENDPOINT_URL": laboratory.cloud.endpoint}, None))


def is_known(cloud: aws.LocalAWS, pair: AWSCredentials) -> bool:
    """Tell whether AWS, its checks on, accepts a pair, by the list of all keys of all users."""
    iam = cloud.client("iam", **cloud.engine_keys)
    users = [user["UserName"] for user in iam.list_users()["Users"]]
    keys = [key for user in users for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]
    return pair.access_key in {key["AccessKeyId"] for key in keys}


@pytest.mark.real_engine
def test_engine_keeps_one_user(laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
    """On the real engine one IAM user outlives three lives of its token by renewal, and works at the end."""
    thing = engine_fetcher(laboratory, clean_environment, "4s")
    end = time.monotonic() + 12
    found = set()
    while time.monotonic() < end:
        pair = thing.fetch()
        found.add(pair.access_key)
        assert 0 < pair.seconds_left(time.time()) <= 4
        time.sleep(0.5)

    assert len(found) == 1
    assert is_known(laboratory.cloud, pair)


@pytest.mark.real_engine
def test_engine_revoked_lease_is_noticed(laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
    """On the real engine a lease that was revoked at the server is replaced at the next refresh."""
    thing = engine_fetcher(laboratory, clean_environment, "12s")
    first, token = thing.fetch(), thing.token()
    laboratory.server.call("POST", "sys/leases/revoke", {"lease_id": first.lease_id, "sync": True})
    assert not is_known(laboratory.cloud, first)
    time.sleep(first.life / 2 + 0.1)
    again = thing.fetch()

    assert again.access_key != first.access_key
    assert is_known(laboratory.cloud, again)
    assert thing.token().value == token.value
