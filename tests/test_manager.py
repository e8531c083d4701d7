"""The credential manager against a real server and AWS: its configuration, its clients, its Vault client."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import botocore.exceptions
import hvac
import pytest
import requests

from vault_credential_process import VaultAWSCredentialManager
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.testing.scripted import ScriptedServer, replay

from .conftest import Run, Tenant, new_tenant

READ = "aws/creds/webapp"
LOGIN = "auth/approle/login"
LOOK_UP = "auth/token/lookup-self"


def manager_of(tenant: Tenant, **arguments: Any) -> VaultAWSCredentialManager:
    """Return a manager for an application."""
    given = {
        "vault_addr": tenant.laboratory.server.address,
        "role_id": tenant.approle["role_id"],
        "secret_id": tenant.approle["secret_id"],
        "aws_role": tenant.role,
        "region_name": aws.REGION,
    }
    return VaultAWSCredentialManager(**(given | arguments))


def scripted_manager(server: ScriptedServer, **arguments: Any) -> VaultAWSCredentialManager:
    """Return a manager for the scripted server."""
    return VaultAWSCredentialManager(vault_addr=server.address, role_id="role", aws_role="webapp", **arguments)


def buckets(client: Any) -> set[str]:
    """Return the names of the buckets that a client lists."""
    return {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}


def test_configured_by_the_environment(tenant: Tenant, cloud: aws.LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, Role ID, Secret ID and ``AWS_ROLE`` in the environment are all that it needs."""
    monkeypatch.setenv("VAULT_ADDR", tenant.laboratory.server.address)
    monkeypatch.setenv("VAULT_ROLE_ID", tenant.approle["role_id"])
    monkeypatch.setenv("VAULT_SECRET_ID", tenant.approle["secret_id"])
    monkeypatch.setenv("AWS_ROLE", tenant.role)
    monkeypatch.setenv("AWS_DEFAULT_REGION", aws.REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    manager = VaultAWSCredentialManager()

    assert manager.aws_role == tenant.role
    assert aws.BUCKET in buckets(manager.get_s3_client())


def test_configured_by_arguments(tenant: Tenant, cloud: aws.LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments go before the environment."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_ROLE_ID", "somebody-else")
    monkeypatch.setenv("VAULT_AWS_ROLE", "another")
    manager = manager_of(tenant)

    assert manager.aws_role == tenant.role
    assert aws.BUCKET in buckets(manager.get_s3_client(endpoint_url=cloud.endpoint))


@pytest.mark.parametrize("named_by", ["argument", "AWS_PROFILE"])
def test_configured_by_a_profile(tenant: Tenant, monkeypatch: pytest.MonkeyPatch, named_by: str) -> None:
    """A profile gives Vault's settings, and region and endpoint to the session."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tenant.write_config()))
    if named_by == "AWS_PROFILE":
        monkeypatch.setenv("AWS_PROFILE", "webapp")
        manager = VaultAWSCredentialManager()
    else:
        manager = VaultAWSCredentialManager(profile_name="webapp")
    session = manager.get_aws_session()

    assert (manager.aws_role, session.profile_name, session.region_name) == (tenant.role, "webapp", aws.REGION)
    assert aws.BUCKET in buckets(manager.get_s3_client())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "vault_aws_role: missing"),
        ({"aws_role": "a/b"}, "not the name of a role"),
        ({"aws_role": "webapp", "vault_addr": "vault.example.com"}, "vault_addr: "),
        ({"aws_role": "webapp", "vault_aws_mont": "x"}, "did you mean vault_aws_mount"),
        ({"aws_role": "webapp", "profile_name": "nosuch"}, "nosuch"),
    ],
)
def test_wrong_configuration_is_told_at_once(arguments: dict[str, str], message: str) -> None:
    """The constructor refuses what is missing or malformed, before a request is served."""
    with pytest.raises(ConfigurationError, match=message):
        VaultAWSCredentialManager(**arguments)


def test_nothing_is_asked_before_it_is_needed() -> None:
    """A manager can be made while Vault is away; the first use tells."""
    manager = VaultAWSCredentialManager(
        vault_addr="http://127.0.0.1:1", role_id="role", aws_role="webapp", vault_max_retries=0
    )

    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="connection refused") as caught:
        manager.get_aws_credentials()
    assert isinstance(caught.value.__cause__, UnreachableError)


def test_credentials_as_boto3_takes_them(tenant: Tenant, cloud: aws.LocalAWS) -> None:
    """``get_aws_credentials()`` has exactly the three names that ``boto3.client`` takes."""
    credentials = manager_of(tenant).get_aws_credentials()

    assert list(credentials) == ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    assert all(credentials.values())
    assert aws.BUCKET in buckets(cloud.client("s3", **credentials))


def test_static_keys_have_no_session_token(short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """Static keys come with ``None`` for a session token, which ``boto3.client`` takes."""
    key = cloud.engine_keys
    short_lived.laboratory.write(
        short_lived.role,
        {"access_key": key["aws_access_key_id"], "secret_key": key["aws_secret_access_key"]},
        endpoint="static-creds",
    )
    credentials: Any = manager_of(short_lived, vault_aws_endpoint="static-creds").get_aws_credentials()

    assert credentials == {**key, "aws_session_token": None}
    assert cloud.client("sts", **credentials).get_caller_identity()["Arn"].endswith(":user/vault")


@pytest.mark.real_engine
def test_keys_of_an_iam_user(laboratory: Laboratory, clean_environment: pathlib.Path, cloud: aws.LocalAWS) -> None:
    """Keys of an IAM user come without a session token, and are not made anew for a second client."""
    tenant = new_tenant(laboratory, clean_environment)
    laboratory.iam_user(tenant.role)
    manager = manager_of(tenant, vault_aws_probe="off")
    credentials = manager.get_aws_credentials()

    assert credentials["aws_session_token"] is None
    assert aws.BUCKET in buckets(manager.get_s3_client(endpoint_url=cloud.endpoint))
    assert manager.get_aws_credentials() == credentials


def test_everything_shares_one_fetch(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Credentials, session and clients, asked for by many threads at once, cost one login and one read."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", READ, replay(exchanges["creds_assumed_role"]))
    manager = scripted_manager(scripted, region_name=aws.REGION)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = list(pool.map(lambda _: manager.get_s3_client(), range(16)))
        sessions = list(pool.map(lambda _: manager.get_aws_session(), range(16)))
        keys = list(pool.map(lambda _: manager.get_aws_credentials()["aws_access_key_id"], range(16)))

    assert {client.meta.region_name for client in clients} == {aws.REGION}
    assert len(set(map(id, sessions))) == 1
    assert {*keys, sessions[0].get_credentials().access_key} == {"ASIAIOSFODNN7EXAMPLE"}
    assert (scripted.asked("POST", LOGIN), scripted.asked("GET", READ)) == (1, 1)


def test_clients_outlive_their_first_credentials(short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """A client and a session made at start-up go on after the first credentials have ended."""
    laboratory, role = short_lived.laboratory, short_lived.role
    first = laboratory.write_sts(role, ttl=3)
    manager = manager_of(short_lived)
    client = manager.get_s3_client(endpoint_url=cloud.endpoint)
    from_session = manager.get_aws_session().client("s3", endpoint_url=cloud.endpoint)
    old: Any = manager.get_aws_credentials()
    cloud.end(first, time.time() + 3)
    second = laboratory.write_sts(role, ttl=900)
    assert buckets(client)
    time.sleep(3.1)

    assert aws.BUCKET in buckets(client)
    assert aws.BUCKET in buckets(from_session)
    assert [old["aws_access_key_id"], manager.get_aws_credentials()["aws_access_key_id"]] == [first, second]
    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        buckets(cloud.client("s3", **old))


def test_vault_client_serves_a_health_check(tenant: Tenant, cloud: aws.LocalAWS) -> None:
    """It is an authenticated ``hvac.Client`` of the application; renewing its token does no harm."""
    manager = manager_of(tenant)
    client = manager.vault_client
    renewed = client.auth.token.renew_self()

    assert isinstance(client, hvac.Client)
    assert manager.vault_client is client
    assert client.is_authenticated()
    assert tenant.role in renewed["auth"]["policies"]
    assert aws.BUCKET in buckets(manager.get_s3_client(endpoint_url=cloud.endpoint))
    assert client.auth.token.lookup_self()["data"]["accessor"] == renewed["auth"]["accessor"]


def test_vault_client_outlives_its_first_token(stand_in: Laboratory, clean_environment: pathlib.Path) -> None:
    """It works after its first token has ended, and reading credentials does too."""
    tenant = new_tenant(stand_in, clean_environment, token_ttl="2s", token_max_ttl="2s")
    key = stand_in.write_sts(tenant.role, ttl=900)
    manager = manager_of(tenant)
    client = manager.vault_client
    first = client.auth.token.lookup_self()["data"]["id"]
    time.sleep(2.2)

    with pytest.raises(requests.HTTPError, match="403"):
        stand_in.server.call("GET", LOOK_UP, token=first)
    assert client.is_authenticated()
    assert manager.get_aws_credentials()["aws_access_key_id"] == key


def test_callers_own_token_is_his(tenant: Tenant) -> None:
    """A caller who sets a token on the Vault client uses that one, and gives it back by setting none."""
    client = manager_of(tenant).vault_client
    client.token = tenant.laboratory.server.root_token
    assert client.auth.token.lookup_self()["data"]["policies"] == ["root"]

    client.token = None
    assert tenant.role in client.auth.token.lookup_self()["data"]["policies"]


def test_vault_client_uses_our_wire(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambient token or token file of the machine is not what the Vault client logs in with."""
    monkeypatch.setenv("VAULT_TOKEN", tenant.laboratory.server.root_token)
    (tenant.home / ".vault-token").write_text(tenant.laboratory.server.root_token)

    assert "root" not in manager_of(tenant).vault_client.auth.token.lookup_self()["data"]["policies"]


def test_wrong_secret_id(tenant: Tenant) -> None:
    """The health check says no, and asking for credentials tells why, without the Secret ID."""
    manager = manager_of(tenant, secret_id="wrong-secret-id")

    assert not manager.vault_client.is_authenticated()
    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="login refused") as caught:
        manager.get_aws_credentials()
    assert isinstance(caught.value.__cause__, AuthenticationError)
    assert "wrong-secret-id" not in str(caught.value)


PROGRAM = """
import sys, botocore.exceptions
from vault_credential_process import VaultAWSCredentialManager
manager = VaultAWSCredentialManager()
if manager.vault_client.is_authenticated():
    manager.get_s3_client().list_buckets()
else:
    try:
        manager.get_s3_client()
    except botocore.exceptions.CredentialRetrievalError:
        sys.exit(3)
"""


@pytest.mark.parametrize(("secret_id", "code"), [(None, 0), ("wrong", 3)])
def test_prints_nothing(tenant: Tenant, cloud: aws.LocalAWS, run: Run, secret_id: str | None, code: int) -> None:
    """Neither success nor failure writes to a stream of a program that sets up no logging."""
    done = run(
        sys.executable,
        "-c",
        PROGRAM,
        VAULT_ADDR=tenant.laboratory.server.address,
        VAULT_ROLE_ID=tenant.approle["role_id"],
        VAULT_SECRET_ID=secret_id or tenant.approle["secret_id"],
        AWS_ROLE=tenant.role,
        AWS_DEFAULT_REGION=aws.REGION,
        AWS_ENDPOINT_URL=cloud.endpoint,
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_repr_holds_no_secret(tenant: Tenant) -> None:
    """What a debugger or a log shows of a manager names role and address only."""
    manager = manager_of(tenant)
    credentials = manager.get_aws_credentials()
    shown = repr(manager) + str(manager) + repr(manager.vault_client) + repr(manager.get_aws_session())

    assert tenant.role in shown
    assert tenant.laboratory.server.address in shown
    token = manager.vault_client.token
    for secret in [*credentials.values(), tenant.approle["secret_id"], tenant.approle["role_id"], token]:
        assert secret
        assert secret not in shown


def test_revoked_token_is_replaced(short_lived: Tenant) -> None:
    """Where somebody revoked the kept token, the next fetch logs in again."""
    short_lived.laboratory.write_sts(short_lived.role, ttl=1)
    manager = manager_of(short_lived)
    manager.get_aws_credentials()
    revoked = manager.vault_client.token
    short_lived.laboratory.server.call("POST", "auth/token/revoke", {"token": revoked})
    key = short_lived.laboratory.write_sts(short_lived.role, ttl=900)
    time.sleep(1.1)

    assert manager.get_aws_credentials()["aws_access_key_id"] == key
    assert manager.vault_client.token != revoked
    assert manager.vault_client.is_authenticated()


def test_token_alone_configures_a_manager(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that are not given do not count: a manager works with any auth method."""
    monkeypatch.setenv("VAULT_ADDR", scripted.address)
    monkeypatch.setenv("VAULT_TOKEN", "hvs.EXAMPLE")
    manager = VaultAWSCredentialManager(aws_role="webapp")

    assert repr(manager) == f"<VaultAWSCredentialManager aws/creds/webapp at {scripted.address}>"
    assert manager.health().fetches == 0


def test_repr_of_what_was_refused() -> None:
    """A debugger that shows a manager whose configuration was refused gets a text, not another error."""
    assert repr(VaultAWSCredentialManager.__new__(VaultAWSCredentialManager)) == "<VaultAWSCredentialManager>"


FORK_WHILE_FETCHING = """
import os, sys, threading, time
from vault_credential_process import VaultAWSCredentialManager
manager = VaultAWSCredentialManager(vault_addr=sys.argv[1], role_id="r", secret_id="s", aws_role="webapp")
threading.Thread(target=manager.get_aws_credentials, daemon=True).start()
time.sleep(0.5)
child = os.fork()
if child == 0:
    manager.get_aws_session()
    os._exit(0)
end = time.monotonic() + 10
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print(os.waitstatus_to_exitcode(status), flush=True)
        os._exit(0)
    time.sleep(0.05)
os.kill(child, 9)
print("hangs", flush=True)
os._exit(1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_child_of_a_fork_during_the_first_fetch_goes_on(scripted: ScriptedServer) -> None:
    """A child that was forked while another thread fetched for the first time has its session at once."""
    scripted.on("POST", "auth/approle/login", lambda connection, _: time.sleep(5))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_WHILE_FETCHING, scripted.address],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stdout == "0\n", done.stderr
