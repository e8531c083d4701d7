"""AppRole and Token: what they send, and what they make of the answers."""

from __future__ import annotations

import math
import pathlib
from typing import Any

import pytest

from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from .auth.test_auto import APPROLE, NOW, SECRET_ID, TOKEN, log_in


def secret_file(directory: pathlib.Path, content: str) -> str:
    """Write a secret file and return its path."""
    path = directory / "secret"
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def test_approle_logs_in(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Role ID and Secret ID go to the mount point; the token's life counts from before the request."""
    scripted.on_login(exchanges["approle_login"])
    token = log_in(scripted, APPROLE)

    assert (token.value, token.expiry, token.external) == ("hvs.EXAMPLE", NOW + 3600, False)
    assert [r.json for r in scripted.requests] == [{"role_id": "ROLE_ID", "secret_id": SECRET_ID}]
    assert "x-vault-token" not in scripted.requests[0].headers


def test_approle_without_a_secret_id(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A role that binds no Secret ID is asked without one."""
    scripted.on_login(exchanges["approle_login"])
    log_in(scripted, {"VAULT_ROLE_ID": "ROLE_ID"})

    assert [r.json for r in scripted.requests] == [{"role_id": "ROLE_ID"}]


def test_login_goes_to_its_mount_and_namespace(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """``vault_auth_mount`` and ``vault_auth_namespace`` say where the login is."""
    scripted.on_login(exchanges["approle_login"], mount="team/machines")
    keys = {"vault_auth_mount": "/team/machines/", "vault_namespace": "a", "vault_auth_namespace": "logins"}
    log_in(scripted, APPROLE, keys)

    assert [r.headers["x-vault-namespace"] for r in scripted.requests] == ["logins"]


@pytest.mark.parametrize(
    ("environ", "in_profile", "argument", "expected"),
    [
        ({"VAULT_SECRET_ID": "exported"}, True, None, "from-file"),
        ({"VAULT_SECRET_ID": "exported"}, False, None, "exported"),
        ({"BAO_SECRET_ID": "bao", "VAULT_SECRET_ID": "exported"}, False, None, "bao"),
        ({}, True, "passed", "passed"),
    ],
)
def test_secret_id_comes_from_the_nearest_place(
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    tmp_path: pathlib.Path,
    environ: dict[str, str],
    in_profile: bool,
    argument: str | None,
    expected: str,
) -> None:
    """A file named in the profile hides an exported Secret ID; an argument in the process hides both."""
    scripted.on_login(exchanges["approle_login"])
    keys = {"vault_role_id": "ROLE_ID"}
    if in_profile:
        keys["vault_secret_id_file"] = secret_file(tmp_path, "from-file\n")
    log_in(scripted, environ, keys, {"vault_secret_id": argument})

    assert [r.json["secret_id"] for r in scripted.requests] == [expected]


@pytest.mark.parametrize(
    ("exchange", "environ", "words"),
    [
        (
            "approle_login_bad_secret_id",
            {},
            "check vault_role_id (from VAULT_ROLE_ID) and the Secret ID (from VAULT_SECRET_ID): it may have expired",
        ),
        (
            "approle_login_missing_secret_id",
            {"VAULT_SECRET_ID": ""},
            "and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID",
        ),
        (
            "approle_login_bad_secret_id",
            {"VAULT_SECRET_ID": "hvs.WRAPPING"},
            "begins like a Vault token: it may be a wrapping token, which must be unwrapped first",
        ),
        (
            "auth_mount_missing",
            {},
            "no auth method is mounted at approle (Vault answers 403 for that; check",
        ),
    ],
)
def test_refused_approle_says_what_to_check(
    scripted: ScriptedServer, exchanges: dict[str, Any], exchange: str, environ: dict[str, str], words: str
) -> None:
    """The message names address and path, where Role ID and Secret ID came from, and never the Secret ID."""
    scripted.on_login(exchanges[exchange])

    with pytest.raises(AuthenticationError) as caught:
        log_in(scripted, APPROLE | environ)
    assert str(caught.value).startswith(f"{scripted.address}/v1/auth/approle/login: ")
    assert words in str(caught.value)
    assert SECRET_ID not in str(caught.value)
    assert "WRAPPING" not in str(caught.value)


def test_secret_id_that_the_server_repeats_stays_secret(scripted: ScriptedServer) -> None:
    """A server that quotes the Secret ID in its error does not bring it into ours."""
    scripted.on("POST", "auth/approle/login", reply(400, {"errors": [f"no such secret: {SECRET_ID}"]}))

    with pytest.raises(AuthenticationError, match=r"no such secret: \*\*\*; "):
        log_in(scripted, APPROLE)


def test_login_while_sealed(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A sealed server is not a bad Secret ID, and is not asked twice."""
    scripted.on_login(exchanges["sealed_login"])

    with pytest.raises(SealedError, match="Vault is sealed; unseal it"):
        log_in(scripted, APPROLE | {"VAULT_MAX_RETRIES": "2"})
    assert len(scripted.requests) == 1


def test_login_token_of_one_use_is_refused_before_the_read(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """On its last use Vault keeps the credentials back, after it made them: such a token is not even tried."""
    scripted.on_login(exchanges["approle_login_num_uses"])

    with pytest.raises(AuthenticationError) as caught:
        log_in(scripted, APPROLE)
    assert str(caught.value) == (
        f"{scripted.address}/v1/auth/approle: the login gave a token of one use, and on its last use Vault keeps the "
        "credentials back; set token_num_uses to 0, or to 2 or more"
    )


def looked_up(exchanges: dict[str, Any], **data: Any) -> bytes:
    """Return the recorded look-up with changes in its data."""
    body = exchanges["token_lookup_self"]["response"]["body"]
    return reply(200, body | {"data": body["data"] | data})


@pytest.mark.parametrize(
    ("data", "left", "uses"),
    [
        ({}, 3600, None),
        ({"ttl": 20}, 20, None),
        ({"ttl": 0, "expire_time": None}, math.inf, None),
        ({"num_uses": 2}, 3600, 2),
    ],
)
def test_token_is_looked_up_once_before_its_use(
    scripted: ScriptedServer, exchanges: dict[str, Any], data: dict[str, Any], left: float, uses: int | None
) -> None:
    """A token that was handed in tells its life and its uses by one look-up; it is not ours to revoke."""
    scripted.on("GET", "auth/token/lookup-self", looked_up(exchanges, **data))
    token = log_in(scripted, TOKEN)

    assert (token.seconds_left(NOW), token.uses_left, token.external) == (left, uses, True)
    assert [r.path for r in scripted.requests] == ["/v1/auth/token/lookup-self"]


@pytest.mark.parametrize(("num_uses", "left"), [(1, 1), (-1, 0)])
def test_token_that_is_nearly_used_up_is_refused(
    scripted: ScriptedServer, exchanges: dict[str, Any], num_uses: int, left: int
) -> None:
    """With fewer than two uses left for the read, one line says so, and nothing more is asked."""
    scripted.on("GET", "auth/token/lookup-self", looked_up(exchanges, num_uses=num_uses))

    with pytest.raises(AuthenticationError, match=f"the token from VAULT_TOKEN has {left} uses left; .* wants two"):
        log_in(scripted, TOKEN)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(("ttl", "known", "expiry"), [(None, False, None), ("30m", True, NOW + 1800)])
def test_token_that_may_not_look_itself_up(
    scripted: ScriptedServer, exchanges: dict[str, Any], ttl: str | None, known: bool, expiry: float | None
) -> None:
    """After a 403 the life is what ``vault_token_ttl`` says, and unknown without it."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["creds_bad_token"]))
    token = log_in(scripted, TOKEN | ({"VAULT_TOKEN_TTL": ttl} if ttl else {}))

    assert (token.expiry_known, token.expiry, token.external) == (known, expiry, True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(503, {"errors": ["Vault is sealed"]}), SealedError),
        (reply(500, {"errors": ["internal error"]}), UnreachableError),
        (reply(200, {"data": None}), UnreachableError),
    ],
)
def test_look_up_that_fails_for_other_reasons_is_an_error(
    scripted: ScriptedServer, answer: bytes, error: type[VaultCredentialError]
) -> None:
    """Only Vault's 403 means "may not look itself up"; all else stops the login."""
    scripted.on("GET", "auth/token/lookup-self", answer)

    with pytest.raises(error):
        log_in(scripted, TOKEN)


@pytest.mark.parametrize(
    ("environ", "in_profile", "origin"),
    [
        ({"VAULT_TOKEN": "hvs.VAULT", "BAO_TOKEN": "hvs.BAO"}, False, "hvs.BAO"),
        ({"VAULT_TOKEN": " hvs.VAULT\n"}, False, "hvs.VAULT"),
        ({"VAULT_TOKEN": "hvs.VAULT"}, True, "hvs.FILE"),
    ],
)
def test_token_comes_from_the_nearest_place(
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    tmp_path: pathlib.Path,
    environ: dict[str, str],
    in_profile: bool,
    origin: str,
) -> None:
    """``BAO_TOKEN`` goes before ``VAULT_TOKEN``, and a file named in the profile before both."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))
    keys = {"vault_token_file": secret_file(tmp_path, "hvs.FILE\n")} if in_profile else {}
    log_in(scripted, environ, keys)

    assert [r.headers["x-vault-token"] for r in scripted.requests] == [origin]


@pytest.mark.parametrize("token", ["two words", "hvs.É", "line\nbreak"])
def test_text_that_is_no_token_is_not_sent(scripted: ScriptedServer, token: str) -> None:
    """What could not stand in a header is refused with its origin, without the text."""
    with pytest.raises(ConfigurationError) as caught:
        log_in(scripted, {"VAULT_TOKEN": token})

    assert str(caught.value).startswith("the token from VAULT_TOKEN is not a Vault token")
    assert token not in str(caught.value)
    assert scripted.requests == []
