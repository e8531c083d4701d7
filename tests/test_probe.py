"""The wait until AWS knows a new IAM user, over a scripted STS, and by moto with its checks of signatures on."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from vault_credential_process import auth, probe
from vault_credential_process.demo import aws
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import Reply, ScriptedServer, dripping, replay, reply, reset, silence

from .bench import LOGIN, NOW, READ
from .conftest import Run

KNOWN = reply(200, b"<GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult>")
UNKNOWN = reply(403, b"<Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error>")
PAIR = AWSCredentials("AKIAIOSFODNN7EXAMPLE", "secret", None, NOW, NOW + 3600, "iam_user")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again after a moment."""
    monkeypatch.setattr(probe, "_PAUSE", 0.01)


def wait(
    address: str, pair: AWSCredentials = PAIR, *, seconds: float = 5, deadline: float = 20, **environ: str
) -> tuple[AWSCredentials, bool]:
    """Probe a pair at an address that is configured as the AWS CLI's is."""
    config = auth.configure({"vault_aws_role": "webapp"}, {"AWS_ENDPOINT_URL_STS": address, **environ}, None)
    return probe.wait_until_known(pair, config, Deadline(deadline), seconds=seconds)


def script(server: ScriptedServer, *answers: Reply) -> None:
    """Let STS answer in this order; the last answer repeats."""
    left = list(answers)

    def answer(connection: Any, request: Any) -> None:
        now = left.pop(0) if len(left) > 1 else left[0]
        if callable(now):
            now(connection, request)
        else:
            connection.sendall(now)

    server.otherwise = answer


@pytest.mark.parametrize("refusals", [0, 1, 7])
def test_waits_until_known(scripted: ScriptedServer, refusals: int) -> None:
    """After so many refusals three answers that know the key end the wait, and tell the account."""
    script(scripted, *[UNKNOWN] * refusals, KNOWN)
    found, known = wait(scripted.address)

    assert (found, known) == (dataclasses.replace(PAIR, account_id="123456789012"), True)
    assert len(scripted.requests) == refusals + probe.SUCCESSES


def test_successes_must_be_in_a_row(scripted: ScriptedServer) -> None:
    """A server of STS that does not know the key yet begins the count anew."""
    script(scripted, KNOWN, KNOWN, UNKNOWN, KNOWN, UNKNOWN, KNOWN)

    assert wait(scripted.address)[1]
    assert len(scripted.requests) == 8


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, b"<Code>InternalFailure</Code>"),
        reply(503, b"<Code>ServiceUnavailable</Code>"),
        reply(503, b"<html>"),
        reply(429, b"<Code>TooManyRequests</Code>"),
        reply(400, b"<Code>Throttling</Code>"),
        reply(403, b"<Code>RequestLimitExceeded</Code>"),
    ],
)
def test_trouble_of_sts_tells_nothing(scripted: ScriptedServer, answer: bytes) -> None:
    """A server in trouble and a rate limit neither prove nor disprove: the count goes on where it was."""
    script(scripted, answer, KNOWN, answer, KNOWN, answer, KNOWN)

    assert wait(scripted.address)[1]
    assert len(scripted.requests) == 6
    script(scripted, answer)
    assert wait(scripted.address, seconds=0.2) == (PAIR, False)


@pytest.mark.parametrize(
    "code", ["InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"]
)
def test_codes_of_an_unknown_key(scripted: ScriptedServer, code: str) -> None:
    """Each of the codes that AWS has for a key it does not know is a refusal."""
    script(scripted, reply(403, f"<Code> {code} </Code>".encode()))

    assert wait(scripted.address, seconds=0.2) == (PAIR, False)
    assert len(scripted.requests) > probe.SUCCESSES


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "ExpiredToken"])
def test_other_refusals_know_the_key(scripted: ScriptedServer, code: str) -> None:
    """Who is refused for another reason is known: waiting longer would not help."""
    script(scripted, reply(403, f"<Code>{code}</Code>".encode()))

    assert wait(scripted.address) == (PAIR, True)
    assert len(scripted.requests) == probe.SUCCESSES


@pytest.mark.parametrize("answer", [reset, None], ids=["broken", "closed"])
def test_sts_out_of_reach(scripted: ScriptedServer, answer: Reply | None) -> None:
    """Where STS cannot be reached the keys are handed out at once."""
    script(scripted, answer or KNOWN)
    address = scripted.address if answer else f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()

    assert wait(address, seconds=20) == (PAIR, True)
    assert time.monotonic() - began < 1
    assert len(scripted.requests) <= 1


def test_silent_sts_is_out_of_reach(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An STS that takes the connection and says nothing counts as out of reach after the limit of one request."""
    monkeypatch.setattr(probe, "_LONGEST", 0.2)
    script(scripted, silence(5))

    assert wait(scripted.address) == (PAIR, True)
    assert len(scripted.requests) == 1


def endless(connection: Any, _: Any) -> None:
    """Answer more and more, for longer than any test should take."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        connection.sendall(b" " * 1024)


@pytest.mark.parametrize("answer", [dripping(KNOWN, pause=0.2), endless], ids=["byte by byte", "endless"])
def test_answer_that_takes_too_long(scripted: ScriptedServer, answer: Reply) -> None:
    """An answer that comes byte by byte, or never ends, holds the probe no longer than silence does."""
    script(scripted, answer)
    start = time.monotonic()

    assert wait(scripted.address, seconds=0.4) in [(PAIR, False), (PAIR, True)]
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("answer", [UNKNOWN, silence(5)], ids=["unknown", "silent"])
@pytest.mark.parametrize(
    ("seconds", "deadline"), [(0.5, 20), (20, 2.5)], ids=["the limit of the probe", "the deadline of the call"]
)
def test_wait_is_bounded(scripted: ScriptedServer, answer: Reply, seconds: float, deadline: float) -> None:
    """Neither an AWS that does not know the key nor a silent one holds a call past the limit; both are not known."""
    script(scripted, answer)
    began = time.monotonic()

    assert wait(scripted.address, seconds=seconds, deadline=deadline) == (PAIR, False)
    assert 0.4 < time.monotonic() - began < 1.2


def test_no_time_is_left(scripted: ScriptedServer) -> None:
    """With seconds used up nothing is asked; with the whole deadline used up the call says so."""
    assert wait(scripted.address, seconds=-3) == (PAIR, False)
    assert wait(scripted.address, deadline=1) == (PAIR, False)
    with pytest.raises(DeadlineError, match="the probe of new keys"):
        wait(scripted.address, deadline=0)
    assert scripted.requests == []


def test_slow_answer_counts(scripted: ScriptedServer) -> None:
    """An answer that comes in pieces is read to its end."""
    script(scripted, dripping(KNOWN, pause=0.0005))

    assert wait(scripted.address)[0].account_id == "123456789012"


def test_what_is_sent(scripted: ScriptedServer) -> None:
    """The request names the call, is signed for STS in the profile's region, and holds no secret."""
    script(scripted, KNOWN)
    wait(scripted.address + "/sts/", AWS_REGION="eu-central-1")
    sent = scripted.requests[0]

    assert (sent.method, sent.path, sent.body) == ("POST", "/sts/", b"Action=GetCallerIdentity&Version=2011-06-15")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in sent.headers["authorization"]
    assert "/eu-central-1/sts/aws4_request" in sent.headers["authorization"]
    assert "secret" not in repr(sent.headers)


def test_proxy_of_the_environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS is asked through the proxy that every AWS client of the environment uses, but where NO_PROXY names it."""
    script(scripted, KNOWN)
    monkeypatch.setenv("http_proxy", scripted.address)

    assert wait("http://sts.example.com")[1]
    assert [r.path for r in scripted.requests] == ["http://sts.example.com/"] * probe.SUCCESSES
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert wait(f"http://127.0.0.1:{free_port()}") == (PAIR, True)
    assert len(scripted.requests) == probe.SUCCESSES


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("https://sts.us-east-1.amazonaws.com/", "us-east-1")),
        ({"AWS_REGION": "eu-west-1"}, ("https://sts.eu-west-1.amazonaws.com/", "eu-west-1")),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, ("https://sts.eu-west-1.amazonaws.com/", "eu-west-1")),
        ({"AWS_REGION": "cn-north-1"}, ("https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1")),
        ({"AWS_REGION": "us-gov-west-1"}, ("https://sts.us-gov-west-1.amazonaws.com/", "us-gov-west-1")),
        ({"AWS_REGION": "us-iso-east-1"}, ("https://sts.us-iso-east-1.c2s.ic.gov/", "us-iso-east-1")),
        ({"AWS_REGION": "aws-global"}, ("https://sts.amazonaws.com/", "us-east-1")),
        ({"AWS_REGION": "nowhere-1"}, ("https://sts.nowhere-1.amazonaws.com/", "nowhere-1")),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9/"}, ("http://127.0.0.1:9/", "us-east-1")),
        (
            {"AWS_ENDPOINT_URL_STS": "https://sts.example.com", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            ("https://sts.example.com/", "us-east-1"),
        ),
    ],
)
def test_endpoint(environ: dict[str, str], expected: tuple[str, str]) -> None:
    """STS is the one of the profile's region and partition, or what the settings of AWS name."""
    assert probe.endpoint(auth.configure({"vault_aws_role": "webapp"}, environ, None)) == expected


@pytest.mark.parametrize(
    ("field", "value", "is_known"),
    [("secret_key", None, True), ("access_key", "AKIAIOSFODNN7UNKNOWN", False)],
)
def test_signature_is_right(cloud: aws.LocalAWS, field: str, value: str | None, is_known: bool) -> None:
    """AWS, its checks on, accepts the signature of a good pair and tells its account; a strange key is not known."""
    keys = cloud.engine_keys
    pair = dataclasses.replace(PAIR, access_key=keys["aws_access_key_id"], secret_key=keys["aws_secret_access_key"])
    pair = dataclasses.replace(pair, **{field: value}) if value else pair
    found, known = wait(cloud.endpoint, pair, seconds=0.7)

    assert (found.account_id, known) == (aws.ACCOUNT if is_known else None, is_known)


def test_signature_of_a_wrong_secret(cloud: aws.LocalAWS) -> None:
    """A wrong secret key is refused by AWS for its signature: the account stays unknown."""
    pair = dataclasses.replace(PAIR, access_key=cloud.engine_keys["aws_access_key_id"])

    assert wait(cloud.endpoint, pair, seconds=0.7)[0].account_id is None


def test_killed_call_is_resumed(
    scripted: ScriptedServer, exchanges: dict[str, Any], command: Run, tmp_path: pathlib.Path
) -> None:
    """A call that is killed while it probes leaves its pair; the next one proves and prints it, without a new user."""
    secret = tmp_path / "secret-id"
    secret.write_text("secret")
    secret.chmod(0o600)
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", READ, replay(exchanges["creds_iam_user"]))
    with ScriptedServer() as sts:
        sts.otherwise = UNKNOWN
        environ = {
            "VAULT_ADDR": scripted.address,
            "VAULT_ROLE_ID": "role",
            "VAULT_SECRET_ID_FILE": str(secret),
            "VAULT_AWS_ROLE": "webapp",
            "AWS_ENDPOINT_URL": sts.address,
        }
        call = subprocess.Popen(
            [sys.executable, "-m", "vault_credential_process", "get"],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
        )
        limit = time.monotonic() + 10
        while not sts.requests and time.monotonic() < limit:
            time.sleep(0.02)
        call.send_signal(signal.SIGKILL)
        assert call.communicate()[0] == b""
        sts.otherwise = KNOWN
        done = command("get", **environ)

        assert (done.returncode, done.stderr) == (0, "")
        assert '"AccessKeyId":"AKIAIOSFODNN7EXAMPLE"' in done.stdout
        assert '"AccountId":"123456789012"' in done.stdout
        asked = len(sts.requests)
        assert command("get", **environ).stdout == done.stdout
        assert len(sts.requests) == asked
    assert [scripted.asked(*what) for what in (("POST", LOGIN), ("GET", READ))] == [1, 1]


@pytest.mark.parametrize(
    "content_type", ["text/xml", "text/xml; charset=nosuch", "text/xml; charset", "text/xml; charset=utf-16"]
)
def test_encoding_of_an_answer_does_not_matter(scripted: ScriptedServer, content_type: str) -> None:
    """What answers need not keep to the encoding that it states, nor state one that there is."""
    body = b"\xff\xfe<Account>123456789012</Account>"
    script(scripted, reply(200, body, {"Content-Type": content_type}))

    assert wait(scripted.address) == (dataclasses.replace(PAIR, account_id="123456789012"), True)


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://", "x", "https://\x1b", "unix:///run/sts", "http://127.0.0.1:99999"]
)
def test_endpoint_that_is_none_hands_the_keys_out(address: str) -> None:
    """The keys are good, and were made already: an ``AWS_ENDPOINT_URL`` that is none costs the probe alone."""
    assert wait(address) == (PAIR, True)
