"""What is said to Vault and what comes of it: headers, parameters, answers, and no secret in any message."""

from __future__ import annotations

import logging
import pathlib
import traceback
import urllib.parse
from typing import Any

import hvac.adapters
import pytest

from vault_credential_process import requester as vault_module
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, reset
from vault_credential_process.vault import Vault, connected_client

from .talk import (
    FREELY,
    GOOD,
    LOGGED_IN,
    LOGIN,
    LOOK_UP,
    LOOKED_UP,
    ONCE,
    READ,
    SECRET_ID,
    STS,
    TOKEN,
    read,
    said,
    settings,
    talk,
)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


@pytest.mark.parametrize(
    ("environ", "at_login", "at_read"),
    [
        ({}, None, None),
        ({"VAULT_NAMESPACE": "team-a/"}, "team-a", "team-a"),
        ({"VAULT_NAMESPACE": "team-a", "VAULT_AUTH_NAMESPACE": "admin/ops"}, "admin/ops", "team-a"),
        ({"VAULT_NAMESPACE": "é-\u0142"}, "é-\u0142", "é-\u0142"),
    ],
)
def test_headers(scripted: ScriptedServer, environ: dict[str, str], at_login: str | None, at_read: str | None) -> None:
    """A login carries the auth namespace and no token, a read its own namespace and the token."""
    scripted.on("POST", LOGIN, LOGGED_IN)
    scripted.on("GET", READ, STS)

    talk(scripted, "login", **environ)
    talk(scripted, "first read", **environ)

    first, second = scripted.requests
    names = ("x-vault-request", "x-vault-token", "authorization")
    assert [first.headers.get(name) for name in names] == ["true", None, None]
    assert [second.headers.get(name) for name in names] == ["true", TOKEN, None]
    found = [r.headers.get("x-vault-namespace") for r in (first, second)]
    assert [f and f.encode("latin-1").decode() for f in found] == [at_login, at_read]
    assert first.json == {"role_id": "role", "secret_id": SECRET_ID}
    assert (second.path, second.body) == (f"/v1/{READ}", b"")


@pytest.mark.parametrize("kind", ["look-up", "revocation"])
def test_token_is_looked_up_and_revoked_where_it_was_made(scripted: ScriptedServer, kind: str) -> None:
    """What is asked about the token itself goes to the auth namespace."""
    scripted.on(*FREELY[kind], GOOD[kind])

    talk(scripted, kind, VAULT_NAMESPACE="team-a", VAULT_AUTH_NAMESPACE="admin")

    assert scripted.requests[0].headers["x-vault-namespace"] == "admin"
    assert scripted.requests[0].headers["x-vault-token"] == TOKEN


def test_parameters_of_a_read(scripted: ScriptedServer) -> None:
    """What is configured, and the MFA code, go along as parameters; what is not, does not."""
    scripted.on("GET", READ, STS)
    arn = "arn:aws:iam::123456789012:role/app"
    config = settings(
        scripted.address, VAULT_AWS_TTL="20m", VAULT_AWS_ROLE_ARN=arn, VAULT_AWS_ROLE_SESSION_NAME="ana@example"
    )

    with Vault(config, Deadline(20)) as vault:
        read(vault, mfa_code="123456")
    talk(scripted, "first read")

    query = urllib.parse.parse_qs(urllib.parse.urlsplit(scripted.requests[0].path).query)
    expected = {"ttl": "1200s", "role_arn": arn, "role_session_name": "ana@example", "mfa_code": "123456"}
    assert query == {name: [value] for name, value in expected.items()}
    assert scripted.requests[1].path == f"/v1/{READ}"


@pytest.mark.parametrize(
    ("age", "seconds"),
    [("300", 300), ("", 0), ("soon", 0), ("-5", 0), ("1.5", 0), ("899", 899)],
)
def test_age_is_subtracted(scripted: ScriptedServer, age: str, seconds: float) -> None:
    """Life counts from before the request was sent, less the ``Age`` header of a caching Agent or Proxy."""
    headers, _, body = STS.partition(b"\r\n\r\n")
    scripted.on("GET", READ, headers + f"\r\nAge: {age}\r\n\r\n".encode() + body)

    with Vault(settings(scripted.address), Deadline(20), clock=lambda: 1_000_000.0) as vault:
        credentials = read(vault)

    assert (credentials.issued, credentials.expiry) == (1_000_000 - seconds, 1_000_900 - seconds)


@pytest.mark.parametrize("age", ["900", "5000", "9" * 400])
def test_answer_that_is_older_than_its_credentials(scripted: ScriptedServer, age: str) -> None:
    """Credentials that ended in somebody's cache are refused, not handed out with an end in the past."""
    headers, _, body = STS.partition(b"\r\n\r\n")
    scripted.on("GET", READ, headers + f"\r\nAge: {age}\r\n\r\n".encode() + body)

    with Vault(settings(scripted.address), Deadline(20)) as vault, pytest.raises(UnreachableError, match="had ended"):
        read(vault)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("kind", ["login", "look-up", "first read", "revocation"])
def test_echoed_secrets_stay_secret(
    scripted: ScriptedServer, kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that repeats the token or the Secret ID in its error brings neither into a message or a log."""
    caplog.set_level(logging.DEBUG)
    texts = [f"cannot use {TOKEN!r}\n and {TOKEN}{TOKEN}"] if kind != "login" else [f"bad:\t{SECRET_ID}", SECRET_ID]
    scripted.on(*(ONCE | FREELY)[kind], reply(status, {"errors": texts}))

    with pytest.raises(VaultCredentialError) as caught:
        talk(scripted, kind)

    trace = "".join(traceback.format_exception(caught.value))
    assert scripted.address in said(caught.value)
    for text in (trace, caplog.text, repr(caught.value)):
        assert TOKEN not in text
        assert SECRET_ID not in text


def test_secrets_stay_secret_when_the_line_breaks(scripted: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """A broken connection's log and traceback hold neither the token nor the headers that carried it."""
    caplog.set_level(logging.DEBUG)
    scripted.otherwise = reset

    for kind in ("login", "first read", "look-up"):
        with pytest.raises(UnreachableError) as caught:
            talk(scripted, kind)
        text = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert TOKEN not in text
        assert SECRET_ID not in text


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"{", b"<html>", b"\xff\xfe\x00", b"[" * 200_000, b'{"data": 1}', b'{"auth": []}'],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("kind", ["login", "first read", "static read", "look-up"])
def test_answers_of_the_wrong_form(scripted: ScriptedServer, kind: str, body: bytes) -> None:
    """A success without what was asked for is an error of one line, whatever stands in it."""
    scripted.on(*(ONCE | FREELY)[kind], reply(200, body, {"Content-Type": "application/octet-stream"}))

    with pytest.raises((AuthenticationError, ConfigurationError, UnreachableError)) as caught:
        talk(scripted, kind)

    assert said(caught.value)
    assert len(scripted.requests) == 1


def test_answer_that_cannot_be_used_is_given_back(scripted: ScriptedServer) -> None:
    """Keys of an IAM user whose end nobody can tell are refused, and their lease is revoked."""
    data = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": None}
    scripted.on("GET", READ, reply(200, {"lease_id": "aws/creds/webapp/9", "lease_duration": 3600, "data": data}))
    scripted.on("POST", "sys/leases/revoke", reply(204))

    with Vault(settings(scripted.address), Deadline(20)) as vault, pytest.raises(ConfigurationError) as caught:
        vault.read_credentials(VaultToken(TOKEN, expiry_known=False))

    assert "vault_token_ttl" in said(caught.value)
    assert scripted.requests[1].json == {"lease_id": "aws/creds/webapp/9"}


def test_forbidden_look_up_is_told_from_a_dead_server(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Where a token may not look itself up the error is "denied", so that the caller can go on without."""
    scripted.on("GET", LOOK_UP, replay(exchanges["creds_permission_denied"]))

    with pytest.raises(PermissionDeniedError) as caught:
        talk(scripted, "look-up")

    assert LOOK_UP in said(caught.value)


def test_client_for_others_speaks_over_our_wire(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, clean_environment: pathlib.Path
) -> None:
    """The hvac client picks up no token of this machine, and carries the namespace and the token that it is given."""
    monkeypatch.setenv("VAULT_TOKEN", "hvs.ambient")
    (clean_environment / ".vault-token").write_text("hvs.ambient")
    scripted.on("GET", LOOK_UP, LOOKED_UP)
    client = connected_client(settings(scripted.address, VAULT_NAMESPACE="team-a"), hvac.adapters.JSONAdapter)

    without = client.is_authenticated()
    client.token = TOKEN
    with_token = client.is_authenticated()
    client.session.close()

    assert (without, with_token) == (False, True)
    assert [(r.headers.get("x-vault-token"), r.headers["x-vault-namespace"]) for r in scripted.requests] == [
        (TOKEN, "team-a")
    ]


def test_client_for_others_follows_no_redirect(scripted: ScriptedServer) -> None:
    """The hvac client takes its token nowhere else, even when a caller allows redirects."""
    with ScriptedServer() as other:
        scripted.on("GET", READ, reply(307, headers={"Location": f"{other.address}/v1/{READ}"}))
        client = connected_client(settings(scripted.address), hvac.adapters.JSONAdapter)
        client.token = TOKEN
        client.adapter.allow_redirects = True
        client.read(READ)
        client.session.close()

    assert len(scripted.requests) == 1
    assert other.requests == []
