"""Every credential type of the AWS engine, by the command: on the real engine, and replayed where there is none."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import botocore.exceptions
import pytest

from vault_credential_process.demo import aws
from vault_credential_process.testing.scripted import ScriptedServer, replay

from .conftest import Run, Tenant, new_tenant
from .test_command import config_of, document, refusal, seconds_left, without_approle

pytestmark = pytest.mark.usefixtures("no_cache")

IAM_FIELDS = ["AccessKeyId", "AccountId", "Expiration", "SecretAccessKey", "Version"]


def keys_of(printed: Mapping[str, Any]) -> dict[str, str]:
    """Return what a document holds as boto3 takes it."""
    keys = {"aws_access_key_id": printed["AccessKeyId"], "aws_secret_access_key": printed["SecretAccessKey"]}
    return keys | ({"aws_session_token": printed["SessionToken"]} if "SessionToken" in printed else {})


def buckets(cloud: aws.LocalAWS, printed: Mapping[str, Any]) -> list[str]:
    """Return the buckets that AWS, its checks on, shows to the owner of a document."""
    return [bucket["Name"] for bucket in cloud.client("s3", **keys_of(printed)).list_buckets()["Buckets"]]


def users(cloud: aws.LocalAWS) -> set[str]:
    """Return the names of all IAM users."""
    return {user["UserName"] for user in cloud.client("iam", **cloud.engine_keys).list_users()["Users"]}


def accessors(tenant: Tenant) -> set[str]:
    """Return the accessors of all tokens of a server."""
    return set(tenant.laboratory.server.call("LIST", "auth/token/accessors")["data"]["keys"])


def get(command: Run, tenant: Tenant, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run ``get`` for a tenant."""
    return command("get", "--profile=webapp", *flags, AWS_CONFIG_FILE=config_of(tenant))


@pytest.fixture
def iam(tenant: Tenant) -> Callable[..., Tenant]:
    """Make an application of the real engine whose role makes IAM users; settings are those of its AppRole."""

    def make(**approle: Any) -> Tenant:
        made = new_tenant(tenant.laboratory, tenant.home, **approle)
        made.laboratory.iam_user(made.role)
        return made

    return make


@pytest.mark.real_engine
def test_iam_user_keys_are_valid_and_die_with_their_token(
    command: Run, iam: Callable[..., Tenant], cloud: aws.LocalAWS
) -> None:
    """Keys read with a 20 s token state at most 20 s and work; those of a 2 s token are gone after it, user and all."""
    before = users(cloud)
    printed = document(get(command, iam(token_ttl="20s")))
    assert sorted(printed) == IAM_FIELDS
    assert printed["AccountId"] == aws.ACCOUNT
    assert 10 < seconds_left(printed) <= 20
    assert buckets(cloud, printed) == [aws.BUCKET]

    short = document(get(command, iam(token_ttl="2s"), "--probe=off"))
    assert "AccountId" not in short
    assert seconds_left(short) <= 2
    assert buckets(cloud, short) == [aws.BUCKET]
    assert len(users(cloud) - before) == 2
    limit = time.monotonic() + 20
    while len(users(cloud) - before) > 1 and time.monotonic() < limit:
        time.sleep(0.2)
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
        buckets(cloud, short)


@pytest.mark.real_engine
def test_two_reads_make_two_users(command: Run, iam: Callable[..., Tenant], cloud: aws.LocalAWS) -> None:
    """Each read of an ``iam_user`` role makes a user of its own, whose token is left alive: the keys need it."""
    tenant = iam(token_ttl="1m")
    before, tokens = users(cloud), accessors(tenant)

    first, second = (document(get(command, tenant, "--probe=off")) for _ in range(2))

    assert first["AccessKeyId"] != second["AccessKeyId"]
    assert len(users(cloud) - before) == 2
    assert len(accessors(tenant) - tokens) == 2
    assert buckets(cloud, first) == buckets(cloud, second) == [aws.BUCKET]


def test_sts_read_leaves_no_token_behind(command: Run, tenant: Tenant) -> None:
    """The token of an STS read is revoked at once, and the credentials live on without it."""
    tokens = accessors(tenant)

    first, second = (document(get(command, tenant)) for _ in range(2))

    assert accessors(tenant) - tokens == set()
    assert [buckets(tenant.laboratory.cloud, printed) for printed in (first, second)] == [[aws.BUCKET]] * 2
    if tenant.laboratory.server.engine.real:
        assert first["AccessKeyId"] != second["AccessKeyId"]


def test_keys_without_session_token_keep_their_token(command: Run, short_lived: Tenant) -> None:
    """After keys that look like an IAM user's the login's token is left alive, on any server."""
    short_lived.laboratory.write(short_lived.role, {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "s"})
    tokens = accessors(short_lived)

    document(get(command, short_lived, "--probe=off"))

    assert len(accessors(short_lived) - tokens) == 1


@pytest.mark.real_engine
def test_batch_token_on_the_real_engine(command: Run, iam: Callable[..., Tenant], cloud: aws.LocalAWS) -> None:
    """A batch token bounds the keys as a service token does, and there is nothing to revoke."""
    printed = document(get(command, iam(token_type="batch", token_ttl="20m"), "--probe=off"))

    assert 1190 < seconds_left(printed) <= 1200
    assert buckets(cloud, printed) == [aws.BUCKET]


@pytest.mark.real_engine
def test_assumed_role_with_a_life_of_its_own(command: Run, tenant: Tenant) -> None:
    """``vault_aws_ttl`` and the session name reach STS; the account is known from the answer."""
    printed = document(get(command, tenant, "--ttl=20m", "--role-session-name=nightly"))

    assert 1190 < seconds_left(printed) <= 1200
    assert printed["AccountId"] == aws.ACCOUNT
    identity = tenant.laboratory.cloud.client("sts", **keys_of(printed)).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/nightly"


@pytest.mark.real_engine
def test_federation_token_on_the_real_engine(command: Run, tenant: Tenant) -> None:
    """A federation token has a session token and a life of its own; moto answers AWS's example and takes it nowhere."""
    tenant = new_tenant(tenant.laboratory, tenant.home)
    tenant.laboratory.server.call(
        "POST",
        f"aws/roles/{tenant.role}",
        {"credential_type": "federation_token", "policy_document": aws.POLICY, "default_sts_ttl": 3600},
    )

    printed = document(get(command, tenant))

    assert (printed["AccessKeyId"], "SessionToken" in printed) == ("AKIAIOSFODNN7EXAMPLE", True)
    assert 3590 < seconds_left(printed) <= 3600


@pytest.mark.real_engine
def test_static_credentials_on_the_real_engine(command: Run, tenant: Tenant, cloud: aws.LocalAWS) -> None:
    """A static role's keys have no session token, work, and are read again after the interval at the latest."""
    name = f"static-{uuid.uuid4().hex[:8]}"
    root = cloud.client("iam", **cloud.engine_keys)
    root.create_user(UserName=name)
    root.put_user_policy(UserName=name, PolicyName="files", PolicyDocument=aws.POLICY)
    tenant.laboratory.server.call(
        "POST", f"aws/static-roles/{tenant.role}", {"username": name, "rotation_period": "1h"}
    )

    printed = document(get(command, tenant, "--endpoint=static-creds"))

    assert "SessionToken" not in printed
    assert 0 < seconds_left(printed) <= 3600
    assert buckets(cloud, printed) == [aws.BUCKET]


@pytest.mark.real_engine
def test_role_arn_on_the_real_engine(command: Run, tenant: Tenant) -> None:
    """Where the Vault role lists several AWS roles one must be chosen, and it must be one of them."""
    tenant.laboratory.server.call(
        "POST",
        f"aws/roles/{tenant.role}",
        {"credential_type": "assumed_role", "role_arns": f"{aws.ROLE_ARN},{aws.CHAINED_ROLE_ARN}"},
    )
    stranger = f"arn:aws:iam::{aws.ACCOUNT}:role/stranger"

    assert "lists several AWS roles; choose with vault_aws_role_arn" in refusal(get(command, tenant), 2)
    wrong = refusal(get(command, tenant, "--role-arn", stranger), 2)
    assert f"role '{tenant.role}' does not list {stranger}; check vault_aws_role_arn" in wrong
    chosen = document(get(command, tenant, "--role-arn", aws.CHAINED_ROLE_ARN))
    arn = tenant.laboratory.cloud.client("sts", **keys_of(chosen)).get_caller_identity()["Arn"]
    assert f"assumed-role/{aws.CHAINED_ROLE}/" in arn


@pytest.mark.real_engine
def test_limited_token_never_costs_a_user(command: Run, iam: Callable[..., Tenant], cloud: aws.LocalAWS) -> None:
    """With a use to spare the keys outlive the call; without one nothing is read, so no user is made and lost."""
    tenant = iam()
    config = without_approle(tenant, vault_aws_probe="off")

    def read(uses: int) -> subprocess.CompletedProcess[str]:
        body = {"policies": [tenant.role], "ttl": "1m", "num_uses": uses}
        token = tenant.laboratory.server.call("POST", "auth/token/create", body)["auth"]["client_token"]
        return command("get", "--profile=webapp", AWS_CONFIG_FILE=config, VAULT_TOKEN=token)

    before = users(cloud)
    assert "the token from VAULT_TOKEN has 1 use" in refusal(read(2), 3)
    assert users(cloud) == before
    printed = document(read(3))
    assert 50 < seconds_left(printed) <= 60
    time.sleep(0.5)  # the revocation of a used-up token would come now, in the background
    assert buckets(cloud, printed) == [aws.BUCKET]


@pytest.mark.real_engine
def test_ttl_below_the_minimum_on_the_real_engine(command: Run, tenant: Tenant) -> None:
    """A ``vault_aws_ttl`` below 900 s is refused by the engine; the line says what to set."""
    assert "STS gives no less than 900 s; set vault_aws_ttl to 15m" in refusal(get(command, tenant, "--ttl=1m"), 2)


# The same without the engine: its recorded answers, replayed.


@pytest.fixture
def replayed(run: Run, scripted: ScriptedServer, exchanges: dict[str, Any]) -> Callable[..., Any]:
    """Run ``get`` against two exchanges, the login's and the read's; recorded ones go by their names."""

    def start(login: Any, read: Any, *flags: str, path: str = "aws/creds/webapp") -> subprocess.CompletedProcess[str]:
        scripted.on_login(exchanges[login] if isinstance(login, str) else login)
        scripted.on("GET", path, replay(exchanges[read] if isinstance(read, str) else read))
        arguments = ("get", "--role=webapp", "--probe=off", "--vault-addr", scripted.address, *flags)
        environ = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "5ec2e7"}
        return run(sys.executable, "-m", "vault_credential_process", *arguments, **environ)

    return start


@pytest.mark.parametrize(
    ("login", "read", "flags", "life", "session"),
    [
        ("approle_login", "creds_iam_user", (), 3600, False),
        ("approle_login_batch_token", "creds_iam_user_batch_token", (), 1199, False),
        ("approle_login", "creds_assumed_role", (), 899, True),
        ("approle_login_batch_token", "creds_assumed_role", (), 899, True),
        ("approle_login", "creds_assumed_role_ttl", ("--ttl=20m",), 1199, True),
        ("approle_login", "creds_assumed_role_ttl_clamped", ("--ttl=20h",), 3599, True),
        ("approle_login", "creds_assumed_role_several_arns", ("--role-arn", aws.ROLE_ARN), 3599, True),
        ("approle_login", "creds_federation_token", (), 3599, True),
    ],
)
def test_replayed_answers_state_their_true_life(
    replayed: Callable[..., Any], login: str, read: str, flags: tuple[str, ...], life: int, session: bool
) -> None:
    """Each recorded type, through the command: the keys as recorded, and the end that is really theirs."""
    printed = document(replayed(login, read, *flags))

    assert printed["SecretAccessKey"] == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert printed.get("SessionToken") == ("FwoGZXIvYXdzEXAMPLETOKEN==" if session else None)
    assert life - 10 < seconds_left(printed) <= life


@pytest.mark.parametrize(("path", "read"), [("sts", "sts_assumed_role"), ("static-creds", "static_creds")])
def test_replayed_endpoints(replayed: Callable[..., Any], path: str, read: str) -> None:
    """The other two endpoints, as recorded: ``sts`` with its life, ``static-creds`` with the default interval."""
    printed = document(replayed("approle_login", read, f"--endpoint={path}", path=f"aws/{path}/webapp"))

    assert ("SessionToken" in printed) == (path == "sts")
    life = 1199 if path == "sts" else 3600
    assert life - 10 < seconds_left(printed) <= life


def test_replayed_short_token_bounds_the_keys(
    replayed: Callable[..., Any], scripted: ScriptedServer, exchanges: dict[str, Any]
) -> None:
    """Keys read with a 20 s token state at most 20 s, not the 32 days of the recorded lease, and keep their token."""
    short = copy.deepcopy(exchanges["approle_login"])
    short["response"]["body"]["auth"]["lease_duration"] = 20
    scripted.on("POST", "auth/token/revoke-self", replay(exchanges["lease_revoke"]))

    printed = document(replayed(short, exchanges["creds_iam_user_short_token"]))

    assert exchanges["creds_iam_user_short_token"]["response"]["body"]["lease_duration"] == 32 * 86400
    assert 10 < seconds_left(printed) <= 20
    assert scripted.asked("POST", "auth/token/revoke-self") == 0


@pytest.mark.parametrize(
    ("login", "read", "asked"),
    [
        ("approle_login", "creds_assumed_role", 1),
        ("approle_login", "static_creds", 1),
        ("approle_login", "creds_iam_user", 0),
        ("approle_login_batch_token", "creds_assumed_role", 0),
    ],
)
def test_replayed_tokens_are_ended_where_that_does_no_harm(
    replayed: Callable[..., Any], scripted: ScriptedServer, exchanges: dict[str, Any], login: str, read: str, asked: int
) -> None:
    """A service token is revoked after STS and static reads, never after an IAM user's; a batch token cannot be."""
    scripted.on("POST", "auth/token/revoke-self", replay(exchanges["lease_revoke"]))
    endpoint = "static-creds" if read == "static_creds" else "creds"

    document(replayed(login, read, f"--endpoint={endpoint}", path=f"aws/{endpoint}/webapp"))

    assert scripted.asked("POST", "auth/token/revoke-self") == asked


@pytest.mark.parametrize(
    ("login", "read", "code", "words"),
    [
        ("approle_login", "creds_assumed_role_ttl_below_sts_minimum", 2, "STS gives no less than 900 s; set"),
        ("approle_login", "creds_assumed_role_several_arns_none_chosen", 2, "choose with vault_aws_role_arn"),
        ("approle_login", "creds_assumed_role_wrong_arn", 2, "check vault_aws_role_arn"),
        ("approle_login", "creds_role_missing", 2, "no role 'webapp' at mount 'aws'"),
        ("approle_login", "secrets_mount_missing", 2, "no AWS secrets engine at mount 'aws'"),
        ("approle_login", "creds_permission_denied", 4, "the token has no policy for aws/creds/webapp"),
        ("approle_login", "creds_first_use", 3, "the token had one use left, so Vault kept the credentials back"),
        ("approle_login", "sealed", 6, "Vault is sealed"),
        ("approle_login", "namespace_missing", 2, "no such namespace"),
        ("approle_login_num_uses", "creds_assumed_role", 3, "the login gave a token of one use"),
        ("approle_login_bad_secret_id", "creds_assumed_role", 3, "login refused: invalid role or secret ID"),
        ("sealed_login", "creds_assumed_role", 6, "Vault is sealed"),
    ],
)  # fmt: skip
def test_replayed_refusals(replayed: Callable[..., Any], login: str, read: str, code: int, words: str) -> None:
    """Each recorded refusal, through the command: its class and its advice."""
    assert words in refusal(replayed(login, read), code)
