"""Faults of the server itself: sealed, restarted or changed by an administrator, in the middle of a client's call."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Iterator

import botocore.exceptions
import pytest
import requests

from vault_credential_process import requester
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import VaultServer

from ..certificates import Authority
from ..conftest import ENGINE, new_tenant
from .cluster import wait_until
from .program import OVER, SOON, Program
from .server import ServerCase, ServerFault, ServerTrial, prepare
from .table import Table

LOGIN, FIRST, HELD_USER, HELD = "login", "first read", "read (IAM user)", "read (STS)"
TOKEN, LEASE, LOGOUT, TIDY = "renewal (token)", "renewal (lease)", "revocation (logout)", "revocation (tidy)"
ALL = (LOGIN, FIRST, HELD_USER, HELD, TOKEN, LEASE, LOGOUT, TIDY)
WITH_TOKEN = (FIRST, HELD_USER, HELD, TOKEN, LEASE, LOGOUT, TIDY)
READS = (FIRST, HELD_USER, HELD)
Act = Callable[[ServerTrial], object]
LIMITED = {LOGIN: "auth/approle/login", FIRST: "aws/creds/", HELD: "aws/creds/", TOKEN: "auth/token/renew-self"}


def seal(trial: ServerTrial) -> None:
    """Seal the server."""
    trial.real.seal()
    assert trial.real.call("GET", "sys/seal-status")["sealed"]


def seal_and_unseal(trial: ServerTrial) -> None:
    """Seal the server, and unseal it before it is asked."""
    seal(trial)
    trial.real.unseal()


def restart(trial: ServerTrial) -> None:
    """Start the server anew, without anything that it knew."""
    before = trial.real.call("GET", "sys/health")["cluster_id"]
    trial.real.restart()
    trial.real.initialize()
    assert trial.real.call("GET", "sys/health")["cluster_id"] != before


def restart_and_set_up(trial: ServerTrial) -> None:
    """Start the server anew, and set it up as before: only tokens and leases are gone."""
    restart(trial)
    trial.repair()


def revoke_tokens(trial: ServerTrial) -> None:
    """Revoke the client's tokens, as an administrator does."""
    assert trial.live_tokens()
    for token in trial.live_tokens():
        trial.laboratory.server.call("POST", "auth/token/revoke", {"token": token})
        assert not trial._lives("auth/token/lookup", token=token)


def revoke_leases(trial: ServerTrial) -> None:
    """Revoke all leases of the role."""
    path = f"aws/creds/{trial.tenant.role}"
    trial.laboratory.server.call("POST", f"sys/leases/revoke-prefix/{path}", {"sync": True})


def delete(path: str) -> Act:
    """Delete something at the server; ``{role}`` is the client's."""

    def act(trial: ServerTrial) -> None:
        trial.laboratory.server.call("DELETE", path.format(role=trial.tenant.role))

    return act


def delete_role(trial: ServerTrial) -> None:
    """Delete the Vault role."""
    kind = "roles" if trial.laboratory.server.engine.real else "creds"
    trial.laboratory.server.call("DELETE", f"aws/{kind}/{trial.tenant.role}")


def destroy_secret_id(trial: ServerTrial) -> None:
    """Destroy the Secret ID."""
    path = f"auth/approle/role/{trial.tenant.role}/secret-id/destroy"
    trial.laboratory.server.call("POST", path, {"secret_id": trial.tenant.approle["secret_id"]})


def limit(interval: str) -> Act:
    """Let one request pass in an interval, and use it up."""

    def act(trial: ServerTrial) -> None:
        path = LIMITED[trial.case.moment]
        path += trial.tenant.role if path.endswith("/") else ""
        body = {"path": path, "rate": 1, "interval": interval}
        trial.real.call("POST", f"sys/quotas/rate-limit/{trial.tenant.role}", body)
        assert [_status(trial, path) == 429 for _ in range(2)] == [False, True]

    return act


def _status(trial: ServerTrial, path: str) -> int:
    answer = requests.get(f"{trial.real.address}/v1/{path}", timeout=10, proxies={"no_proxy": "127.0.0.1"})
    return answer.status_code


def delete_namespace(trial: ServerTrial) -> None:
    """Delete the namespace with all that is in it."""
    assert trial.namespace is not None
    trial.namespace.delete()


def lock_namespace(trial: ServerTrial) -> None:
    """Lock the namespace for everybody."""
    assert trial.namespace is not None
    trial.namespace.lock()


FAULTS = (
    ServerFault("server sealed", seal, ALL),
    ServerFault("server sealed and unsealed again", seal_and_unseal, ALL),
    ServerFault("server restarted empty, not initialized", lambda t: t.real.restart(), (LOGIN, FIRST, HELD, LOGOUT)),
    ServerFault("server restarted empty, initialized", restart, (LOGIN, FIRST, HELD_USER, HELD, TOKEN, LEASE, LOGOUT)),
    ServerFault(
        "server restarted empty and set up as before", restart_and_set_up, (LOGIN, FIRST, HELD_USER, HELD, TOKEN, LEASE)
    ),
    ServerFault("token revoked", revoke_tokens, WITH_TOKEN),
    ServerFault("token from outside revoked", revoke_tokens, (FIRST, HELD), outside=True),
    ServerFault("auth mount disabled", delete("sys/auth/approle"), ALL),
    ServerFault("secrets mount disabled", delete("sys/mounts/aws"), (LOGIN, *READS, LEASE)),
    ServerFault("policy removed", delete("sys/policies/acl/{role}"), (*READS, TOKEN, LEASE)),
    ServerFault("Vault role deleted", delete_role, (*READS, LEASE)),
    ServerFault("AppRole deleted", delete("auth/approle/role/{role}"), (LOGIN, FIRST, TOKEN, LEASE)),
    ServerFault("Secret ID destroyed", destroy_secret_id, (LOGIN, FIRST, TOKEN)),
    ServerFault("lease revoked", revoke_leases, (LEASE,)),
    ServerFault("rate limit quota exceeded, for a second", limit("1s"), tuple(LIMITED), pause=1.1),
    ServerFault("rate limit quota exceeded, for an hour", limit("1h"), tuple(LIMITED)),
    ServerFault("namespace deleted", delete_namespace, (LOGIN, FIRST, HELD, TOKEN, LOGOUT), namespaced=True),
    ServerFault("namespace locked", lock_namespace, (LOGIN, FIRST, HELD, TOKEN, LOGOUT), namespaced=True),
)
CASES = tuple(ServerCase.of(fault, moment) for fault in FAULTS for moment in fault.moments)


@pytest.fixture(scope="module")
def breakable(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A real server that only this module uses, and may break."""
    with VaultServer(ENGINE) as server:
        made = Laboratory(server, cloud, tmp_path_factory.mktemp("breakable"))
        prepare(made)
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.real_engine if case.moment == LEASE else ()) for case in CASES],
    ids=str,
)
def test_fault_of_the_server(
    case: ServerCase, breakable: Laboratory, authority: Authority, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault ends as the page says: what the caller sees, when, what the server was asked, what is left."""
    monkeypatch.setattr(requester, "RETRY_WAIT", case.what.pause)
    base = pathlib.Path("/dev/shm") if pathlib.Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vcp-fault-", dir=base) as home:
        table.check(case, ServerTrial(case, breakable, pathlib.Path(home), authority).measure())


def test_program_goes_on_while_the_server_is_sealed(
    breakable: Laboratory, cloud: aws.LocalAWS, clean_environment: pathlib.Path
) -> None:
    """A program signs with the pair that it has; once that has ended it is told the reason, until Vault is unsealed."""
    tenant = new_tenant(breakable, clean_environment, token_ttl="24h")
    breakable.assumed_role(tenant.role)
    program = Program(tenant.settings, cloud)
    program.sign()
    breakable.server.seal()
    try:
        program.ahead = SOON
        wait_until(lambda: program.sign() or program.health.failures)
        program.sign()
        assert "Vault is sealed; unseal it" in str(program.health.error)
        assert (program.health.waits, program.health.refreshes) == (1, 1)
        program.ahead = OVER
        for _ in range(3):
            with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="Vault is sealed; unseal it"):
                program.sign()
    finally:
        breakable.server.unseal()

    assert wait_until(lambda: signs(program))
    assert (program.health.error, program.health.refreshes) == (None, 2)


def signs(program: Program) -> bool:
    """Tell whether a request can be signed."""
    try:
        program.sign()
    except botocore.exceptions.CredentialRetrievalError:
        return False
    return True


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_clocks_that_differ(
    breakable: Laboratory, cloud: aws.LocalAWS, clean_environment: pathlib.Path, skew: float
) -> None:
    """A client whose clock is an hour off states an end on its own clock, which is when the pair ends."""
    tenant = new_tenant(breakable, clean_environment, token_ttl="20m")
    breakable.assumed_role(tenant.role)
    program = Program(tenant.settings, cloud, ahead=skew)
    program.sign()

    left = program.health.seconds_left
    assert left is not None
    assert 800 < left <= 900
    program.ahead += SOON
    assert wait_until(lambda: program.sign() or program.health.refreshes == 2)
    assert program.health.failures == 0
