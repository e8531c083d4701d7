"""Kept tokens: who shares them, when they are renewed, and what is never asked with them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from vault_credential_process.errors import PermissionDeniedError, VaultCredentialError
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from .bench import DENIED, LOGIN, LOOK_UP, NOW, READ, REVOKE, Bench, Clock
from .ledger import OTHER, PROBE_OFF, RENEW, RENEW_LEASE, Ledger, at, sharing


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server without a script."""
    return Bench(scripted, exchanges, Clock())


def test_token_is_shared(bench: Bench, shm: pathlib.Path) -> None:
    """One login serves all reads of all fetchers and roles that share the host's cache."""
    ledger = Ledger(bench, lease=20)
    for moment in (0, 11, 22):
        for role in ("webapp", "other"):
            bench.server.on("POST", RENEW_LEASE, replay(bench.exchanges["lease_renew_sts"]))
            at(bench, moment, sharing(bench, shm, vault_aws_role=role))

    assert ledger.asked(LOGIN, READ, OTHER) == [1, 3, 3]
    assert {token for token, _ in ledger.users.values()} == {"hvs.0"}


@pytest.mark.parametrize(
    ("name", "changes", "renewals", "logins"),
    [
        ("approle_login", {}, 1, 1),
        ("approle_login", {"renewable": False}, 0, 2),
        ("approle_login_batch_token", {}, 0, 2),
        ("approle_login", {"maximum": 3700}, 1, 2),
    ],
)
def test_token_near_its_end(bench: Bench, name: str, changes: dict[str, Any], renewals: int, logins: int) -> None:
    """A kept token is renewed near its end where that gives it a life worth having, else there is a new login."""
    maximum = changes.pop("maximum", None)
    bench.on_login(name, lease_duration=3600, **changes)
    renewed = json.loads(json.dumps(bench.exchanges["token_renew_self"]))
    renewed["response"]["body"]["auth"]["lease_duration"] = maximum - 3500 if maximum else 3600
    bench.server.on("POST", RENEW, replay(renewed))
    bench.server.on("GET", READ, bench.lease(900))
    thing = bench.fetcher()
    for moment in (0, 2500, 3500, 3510):
        at(bench, moment, thing)

    assert [bench.server.asked("POST", path) for path in (RENEW, LOGIN)] == [renewals, logins]


def test_token_from_outside_is_not_renewed(bench: Bench) -> None:
    """A token that was handed in is neither renewed nor revoked; its one IAM user is served to the end."""
    ledger = Ledger(bench)
    ledger.ends["hvs.GIVEN"] = NOW + 3600
    thing = bench.fetcher(environ={"VAULT_TOKEN": "hvs.GIVEN"}, **PROBE_OFF)
    for moment in range(0, 3600, 20):
        assert ledger.is_alive(at(bench, moment, thing))
    kept = thing.peek()
    assert kept is not None
    assert "the token ends at 2026-11-23T21:17:03Z" in (kept.failure or "")
    with pytest.raises(VaultCredentialError, match="dead"):
        at(bench, 3600, thing)

    assert (len(ledger.users), ledger.asked(LOGIN, RENEW, REVOKE)) == (1, [0, 0, 0])


def test_token_from_outside_that_its_owner_renews(bench: Bench) -> None:
    """Where somebody else keeps the token alive, its lease is renewed with it, and there is one IAM user."""
    ledger = Ledger(bench)
    ledger.ends["hvs.GIVEN"] = NOW + 3600
    thing = bench.fetcher(environ={"VAULT_TOKEN": "hvs.GIVEN"}, **PROBE_OFF)
    for moment in range(0, 18000, 60):
        ledger.ends["hvs.GIVEN"] = max(ledger.ends["hvs.GIVEN"], NOW + 1800 * (moment // 1800) + 3600)
        assert ledger.is_alive(at(bench, moment, thing))

    assert ledger.asked(READ, LOGIN, RENEW, REVOKE) == [1, 0, 0, 0]


def test_uses_are_counted_before_they_happen(bench: Bench, shm: pathlib.Path) -> None:
    """A token of four uses serves three reads, one of which fails, and nothing but reads; then there is a new login."""
    bench.on_login("approle_login_num_uses", num_uses=4, lease_duration=36000)
    sealed = replay(bench.exchanges["sealed"])
    bench.server.on("GET", READ, bench.lease(10), sealed, bench.lease(10))
    for moment in (0, 8, 11, 20, 30):
        at(bench, moment, sharing(bench, shm))

    assert bench.asked() == [f"POST {LOGIN}", *[f"GET {READ}"] * 3, f"POST {LOGIN}", *[f"GET {READ}"] * 2]


def test_uses_of_a_token_from_outside(bench: Bench) -> None:
    """A token that was handed in with three uses left is read with twice, then refused without a further use."""
    look_up = [reply(200, {"data": {"ttl": 36000, "num_uses": uses}}) for uses in (3, 1)]
    bench.server.on("GET", LOOK_UP, *look_up)
    bench.server.on("GET", READ, bench.lease(10))
    thing = bench.fetcher(environ={"VAULT_TOKEN": "hvs.GIVEN"})
    for moment in (0, 20):
        at(bench, moment, thing)
    with pytest.raises(VaultCredentialError, match="1 uses left"):
        at(bench, 40, thing)

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}", f"GET {READ}", f"GET {LOOK_UP}"]


def test_one_login_for_a_dead_token_of_all(bench: Bench, shm: pathlib.Path) -> None:
    """A dead token costs all who share it one look-up and one login; a second death within a minute costs none."""
    bench.on_login()
    bench.server.on("GET", READ, bench.lease(10), DENIED, bench.lease(10))
    bench.server.on("GET", OTHER, bench.lease(10))
    bench.server.on("GET", LOOK_UP, DENIED)
    for moment, role in ((0, "webapp"), (0, "other"), (20, "webapp"), (20, "other")):
        at(bench, moment, sharing(bench, shm, vault_aws_role=role))
    assert [bench.server.asked(*what) for what in (("POST", LOGIN), ("GET", LOOK_UP))] == [2, 1]

    bench.server.on("GET", OTHER, DENIED)
    with pytest.raises(PermissionDeniedError):
        at(bench, 50, sharing(bench, shm, vault_aws_role="other"))
    assert bench.server.asked("POST", LOGIN) == 2
