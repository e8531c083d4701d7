"""``whoami``: AWS's own answer, with the credentials that ``get`` prints, in bounded time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from vault_credential_process import auth, caller
from vault_credential_process.caller import Caller, who
from vault_credential_process.demo import aws
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import AuthenticationError, UnreachableError
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import Reply, ScriptedServer, dripping, reply, reset, silence

from .conftest import Run, Tenant
from .test_command import config_of, document, refusal

KEY, SECRET, SESSION = "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEXAMPLE"
PAIR = AWSCredentials(KEY, SECRET, SESSION, 0, 4_000_000_000, "sts")
ARN = "arn:aws:sts::123456789012:assumed-role/files/webapp"
KNOWN = reply(200, f"<R><Arn>{ARN}</Arn><UserId>AROA:webapp</UserId><Account> 123456789012\n</Account></R>".encode())


def ask(address: str, **options: Any) -> Caller:
    """Ask an STS at an address whose the pair is."""
    config = auth.configure({"vault_aws_role": "webapp"}, {"AWS_ENDPOINT_URL_STS": address}, None)
    return who(PAIR, config, **options)


def answered(server: ScriptedServer, answer: Reply) -> str:
    """Return the address of an STS that gives an answer."""
    server.otherwise = answer
    return server.address


@pytest.fixture
def told(tenant: Tenant, command: Run) -> Callable[..., str]:
    """Run ``whoami`` with a profile, and return what it printed."""
    config = config_of(tenant)

    def run(*words: str) -> str:
        done = command("whoami", "--profile=webapp", *words, AWS_CONFIG_FILE=config)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    return run


def test_for_people(told: Callable[..., str], tenant: Tenant, command: Run) -> None:
    """AWS, its checks of signatures on, tells account, ARN and user; beside them stand path and end."""
    lines = dict(line.split(maxsplit=1) for line in told().replace("user id", "user-id").splitlines())
    pair = document(command("get", "--profile=webapp", AWS_CONFIG_FILE=str(tenant.home / "config")))

    assert lines["account"] == aws.ACCOUNT
    assert lines["arn"].startswith(f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/")
    assert ":" in lines["user-id"]
    assert lines["from"] == f"aws/creds/{tenant.role} at {tenant.laboratory.server.address}, profile webapp"
    assert lines["until"].startswith(f"{pair['Expiration']}, 14m ")


def test_for_programs(told: Callable[..., str], tenant: Tenant, command: Run) -> None:
    """The same as JSON, and nothing of the credentials themselves."""
    text = told("--json")
    pair = document(command("get", "--profile=webapp", AWS_CONFIG_FILE=str(tenant.home / "config")))
    found = json.loads(text)

    assert (found["account"], found["expires"], found["type"]) == (aws.ACCOUNT, pair["Expiration"], "sts")
    assert (found["profile"], found["path"]) == ("webapp", f"aws/creds/{tenant.role}")
    assert 800 < found["seconds_left"] <= 900
    assert found.keys() == {
        *("account", "arn", "user_id", "profile", "path", "vault_addr", "type", "expires", "seconds_left", "lease_id")
    }
    assert [pair[key] for key in ("AccessKeyId", "SecretAccessKey", "SessionToken") if pair[key] in text] == []


def test_answer(scripted: ScriptedServer) -> None:
    """One request, signed with the pair, brings the three fields, spaces around them left out."""
    assert ask(answered(scripted, KNOWN)) == Caller("123456789012", ARN, "AROA:webapp")
    (request,) = scripted.requests
    assert request.body == b"Action=GetCallerIdentity&Version=2011-06-15"
    assert f"Credential={KEY}/" in request.headers["authorization"]


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch", "AccessDenied"])
def test_refused(scripted: ScriptedServer, code: str) -> None:
    """Credentials that AWS refuses end with the code of an authentication, AWS's own words, and none of the secrets."""
    body = f"<Error><Code>{code}</Code><Message>no: {SECRET} {SESSION}\n\x1b[31m</Message></Error>".encode()
    with pytest.raises(AuthenticationError, match=f"STS: AWS refuses the credentials: {code}: no: ") as caught:
        ask(answered(scripted, reply(403, body)))

    assert SECRET not in str(caught.value)
    assert SESSION not in str(caught.value)
    assert str(caught.value).isprintable()


def test_refusal_that_is_cut_in_a_secret(scripted: ScriptedServer) -> None:
    """A long answer is cut after the secrets in it are blotted out, not through one of them."""
    body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{'x' * 280} {SESSION}</Message></Error>".encode()
    with pytest.raises(AuthenticationError) as caught:
        ask(answered(scripted, reply(403, body)))

    assert SESSION[:8] not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, b"<Error><Code>InternalFailure</Code></Error>"),
        reply(503, b"<html>"),
        reply(429, b"<Error><Code>TooMany</Code></Error>"),
        reply(400, b"<Error><Code>Throttling</Code></Error>"),
        reply(200, b"<html>welcome</html>"),
        reply(200, b"<Account>1</Account>"),
        reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
        reset,
    ],
)
def test_trouble(scripted: ScriptedServer, answer: Reply) -> None:
    """A server in trouble, a rate limit and whoever else answers there tell nothing of the credentials."""
    with pytest.raises(UnreachableError, match=r"STS: (HTTP|no answer)"):
        ask(answered(scripted, answer))
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("answer", [silence(20), dripping(KNOWN, pause=0.3)], ids=["silent", "byte by byte"])
def test_wait_is_bounded(scripted: ScriptedServer, answer: Reply) -> None:
    """An STS that says nothing, or a byte at a time, is given up after the limit."""
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="STS: no answer"):
        ask(answered(scripted, answer), timeout=0.3)
    assert time.monotonic() - began < 5
    assert caller.PATIENCE <= 15


@pytest.mark.parametrize("address", ["http://[::1", "x", "http://127.0.0.1:99999"])
def test_endpoint_that_is_none(address: str) -> None:
    """An ``AWS_ENDPOINT_URL_STS`` that is none is told as what may be wrong."""
    with pytest.raises(UnreachableError, match="AWS_ENDPOINT_URL_STS"):
        ask(address)


def test_errors_of_the_command(told: Callable[..., str], tenant: Tenant, command: Run) -> None:
    """Without STS it ends with 5, without Vault likewise, and without a role with 2."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    config = str(tenant.home / "config")
    run = {"AWS_CONFIG_FILE": config, "VAULT_MAX_RETRIES": "0"}

    assert "STS: no answer" in refusal(command("whoami", "--profile=webapp", AWS_ENDPOINT_URL_STS=nowhere, **run), 5)
    assert nowhere in refusal(command("whoami", "--profile=webapp", f"--vault-addr={nowhere}", **run), 5)
    assert "vault_aws_role: missing" in refusal(command("whoami"), 2)
