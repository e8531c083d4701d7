"""What a bad answer means: every recorded error has its class and a line that says where and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from vault_credential_process import refusals
from vault_credential_process.config import Config, Profile, resolve
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.models import VaultToken
from vault_credential_process.refusals import Refusal, RefusedError

ADDRESS = "https://vault.example:8200"
LIVE = VaultToken("hvs.EXAMPLE", policies=("app", "default"))
UNKNOWN = VaultToken("hvs.EXAMPLE", expiry_known=False, external=True)
REMEDY = "check vault_role_id"


def refused(exchange: Mapping[str, Any]) -> Refusal:
    """Return the refusal that a recorded exchange is."""
    body, status = exchange["response"]["body"], exchange["response"]["status"]
    path = exchange["request"]["path"].removeprefix("/v1/").partition("?")[0]
    return Refusal(ADDRESS, path, status, tuple(body["errors"]) if "errors" in body else None)


def made(status: int, *errors: str, path: str = "aws/creds/webapp") -> Refusal:
    """Return a refusal of the read."""
    return Refusal(ADDRESS, path, status, errors)


def configured(path: str = "aws/creds/webapp", **keys: str) -> Config:
    """Return the configuration that reads a path."""
    mount, endpoint, role = path.split("/")
    named = {"vault_aws_mount": mount, "vault_aws_endpoint": endpoint, "vault_aws_role": role}
    return resolve({}, {}, Profile("webapp", {"vault_addr": ADDRESS} | named | keys), ())


def read(refusal: Refusal, token: VaultToken = LIVE, **keys: str) -> VaultCredentialError:
    """Return the error of a refused read."""
    path = refusal.path if refusal.path.split("/")[1] in ("creds", "sts", "static-creds") else "aws/creds/webapp"
    return refusals.read(refusal, config=configured(path, **keys), token=token)


LOGINS: dict[str, tuple[type[VaultCredentialError], str]] = {
    "approle_login_bad_secret_id": (AuthenticationError, f"invalid role or secret ID; {REMEDY}"),
    "approle_login_bad_role_id": (AuthenticationError, f"invalid role or secret ID; {REMEDY}"),
    "approle_login_missing_secret_id": (AuthenticationError, f"missing secret_id; {REMEDY}"),
    "auth_mount_missing": (
        AuthenticationError,
        f"(Vault answers 403 for that; check vault_auth_mount and vault_auth_namespace), or {REMEDY}",
    ),
    "wrapping_unwrap_again": (AuthenticationError, f"wrapping token is not valid or does not exist; {REMEDY}"),
    "userpass_login_bad": (AuthenticationError, f"invalid username or password; {REMEDY}"),
    "aws_iam_login_wrong_server_id": (AuthenticationError, 'expected "vault.example.com" but got "evil.example.com"'),
    "aws_iam_login_wrong_role": (AuthenticationError, f"entry for role nosuch not found; {REMEDY}"),
    "sealed_login": (SealedError, "Vault is sealed; unseal it, or point vault_addr at a node that is not"),
}
READS: dict[str, tuple[type[VaultCredentialError], str]] = {
    "creds_assumed_role_ttl_below_sts_minimum": (ConfigurationError, "no less than 900 s; set vault_aws_ttl to 15m"),
    "creds_assumed_role_several_arns_none_chosen": (
        ConfigurationError,
        "role 'multi' lists several AWS roles; choose with vault_aws_role_arn",
    ),
    "creds_assumed_role_wrong_arn": (
        ConfigurationError,
        "role 'multi' does not list arn:aws:iam::123456789012:role/stranger; check vault_aws_role_arn",
    ),
    "creds_role_missing": (
        ConfigurationError,
        "no role 'nosuch' at mount 'aws'; check vault_aws_role (vault list aws/roles)",
    ),
    "secrets_mount_missing": (
        ConfigurationError,
        "no AWS secrets engine at mount 'nosuch'; check vault_aws_mount, vault_aws_endpoint and vault_namespace",
    ),
    "creds_permission_denied": (
        PermissionDeniedError,
        'check vault_aws_role and vault_aws_mount, or add: path "aws/creds/webapp" { capabilities = ["read"] }',
    ),
    "creds_bad_token": (PermissionDeniedError, "the token has no policy for aws/creds/assumed"),
    "creds_no_token": (PermissionDeniedError, "the token has no policy for aws/creds/assumed"),
    "creds_second_use": (PermissionDeniedError, "the token has no policy for aws/creds/assumed"),
    "creds_expired_token": (PermissionDeniedError, "the token has no policy for aws/creds/assumed"),
    "creds_first_use": (AuthenticationError, "the token had one use left, so Vault kept the credentials back; give"),
    "creds_iam_user_last_use": (AuthenticationError, "the token had one use left, so Vault kept the credentials back"),
    "rate_limited": (UnreachableError, "rate limit quota exceeded; wait, or raise the quota"),
    "namespace_role_missing_mount": (ConfigurationError, "no AWS secrets engine at mount 'aws'; check vault_aws_mount"),
    "namespace_missing": (ConfigurationError, "no such namespace; check vault_namespace and vault_auth_namespace"),
    "sealed": (SealedError, "Vault is sealed; unseal it, or point vault_addr at a node that is not"),
}
NEITHER = {"lease_renew_sts", "lease_lookup_after_revoke", "token_renew_self_batch", "health_sealed"}
"""Errors of requests that are neither a login nor a read."""


def test_every_recorded_error_stands_in_a_table(exchanges: dict[str, Any]) -> None:
    """No error of the recording is left without its message."""
    errors = {name for name, exchange in exchanges.items() if exchange["response"]["status"] >= 400}

    assert errors == set(LOGINS) | set(READS) | NEITHER


@pytest.mark.parametrize("name", LOGINS)
def test_refused_login_says_where_and_what_to_do(exchanges: dict[str, Any], name: str) -> None:
    """A recorded refusal of a login has its class and one line with address, path and remedy."""
    refusal = refused(exchanges[name])
    kind, words = LOGINS[name]
    error = refusals.login(refusal, mount="approle", remedy=REMEDY)

    assert type(error) is kind
    assert str(error).startswith(f"{ADDRESS}/v1/{refusal.path}: ")
    assert words in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("name", READS)
def test_refused_read_says_where_and_what_to_do(exchanges: dict[str, Any], name: str) -> None:
    """A recorded refusal of a read has its class and one line with address, path and remedy."""
    refusal = refused(exchanges[name])
    kind, words = READS[name]
    error = read(refusal, vault_aws_role_arn="arn:aws:iam::123456789012:role/stranger")

    assert type(error) is kind
    assert str(error).startswith(f"{ADDRESS}/v1/{refusal.path}: ")
    assert words in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("name", sorted(NEITHER - {"health_sealed"}))
def test_other_refusal_keeps_the_words_of_the_server(exchanges: dict[str, Any], name: str) -> None:
    """A refused renewal or look-up of a lease is no trouble of the server's; it carries address, path and words."""
    refusal = refused(exchanges[name])
    said = exchanges[name]["response"]["body"]["errors"][0]

    assert refusals.general(refusal) is None
    assert str(RefusedError(refusal)) == f"{ADDRESS}/v1/{refusal.path}: HTTP 400 {said}"


@pytest.mark.parametrize("name", ["creds_bad_token", "creds_no_token", "creds_second_use", "creds_expired_token"])
def test_denied_with_a_token_that_may_not_look_itself_up_is_undecided(exchanges: dict[str, Any], name: str) -> None:
    """Where nobody can tell a dead token from a missing policy, the line says both and the code is the token's."""
    error = read(refused(exchanges[name]), UNKNOWN)

    assert type(error) is AuthenticationError
    assert "it is dead, or has no policy for aws/creds/assumed; get a new token, or allow the path" in str(error)


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (made(501, "Vault is not initialized"), SealedError, "not initialized; run vault operator init"),
        (made(400, "server is not initialized"), SealedError, "not initialized; run vault operator init"),
        (made(503, "Vault is sealed"), SealedError, "sealed; unseal it"),
        (made(429), UnreachableError, "too many requests"),
        (made(500, "local node not active but active cluster node not found"), UnreachableError, "no active node"),
        (
            made(400, "Client sent an HTTP request to an HTTPS server."),
            UnreachableError,
            "write https:// in",
        ),
        (made(412, "required index state not present"), UnreachableError, "HTTP 412: required index state"),
        (made(500), UnreachableError, "HTTP 500: no reason given; see Vault's log, then try again"),
        (made(502, "upstream rate limited"), UnreachableError, "HTTP 502: upstream rate limited; see Vault's log"),
        (made(404), ConfigurationError, "no role 'webapp' at mount 'aws'; check vault_aws_role"),
        (made(405, "unsupported operation"), ConfigurationError, "no AWS secrets engine at mount 'aws'"),
        (made(404, "unsupported path"), ConfigurationError, "no AWS secrets engine at mount 'aws'"),
        (made(400, "strange"), ConfigurationError, "Vault refused: strange; check the settings of role 'webapp'"),
        (made(400), ConfigurationError, "Vault refused: HTTP 400; check the settings of role 'webapp'"),
        (
            made(
                400,
                "Error assuming role: ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration "
                "set for this role.",
            ),
            ConfigurationError,
            "allows the role no life as long as that; lower vault_aws_ttl",
        ),
        (
            made(
                400,
                "Error assuming role: ValidationError: Value '60' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value greater than or equal to 900",
            ),
            ConfigurationError,
            "no less than 900 s",
        ),
        (
            made(
                400,
                "Error generating STS keys: ValidationError: Value '990000' at 'durationSeconds' failed to satisfy "
                "constraint: Member must have value less than or equal to 129600",
            ),
            ConfigurationError,
            "no life as long as that",
        ),
        (
            made(400, "Error assuming role: AccessDenied: User: arn:aws:iam::123456789012:user/vault is not allowed"),
            UnreachableError,
            "AWS did not give Vault what it asked for: Error assuming role: AccessDenied",
        ),
        (
            made(400, "Error creating IAM user: RequestError: send request failed"),
            UnreachableError,
            "check what aws/config/root may do, and what role 'webapp' asks for",
        ),
    ],
)
def test_error_that_is_not_in_the_recording(refusal: Refusal, kind: type[VaultCredentialError], words: str) -> None:
    """What other versions and other troubles say has its class and its remedy, too."""
    error = read(refusal)

    assert type(error) is kind
    assert str(error).startswith(f"{ADDRESS}/v1/aws/creds/webapp: ")
    assert words in str(error)
    assert str(error).isprintable()


def test_static_role_is_looked_for_among_static_roles() -> None:
    """An empty 404 of ``static-creds/`` is a missing role, and the remedy lists the static ones."""
    error = read(made(404, path="aws/static-creds/svc"))

    assert (
        str(error) == f"{ADDRESS}/v1/aws/static-creds/svc: no role 'svc' at mount 'aws'; check vault_aws_role "
        "(vault list aws/static-roles)"
    )


def test_missing_engine_names_the_namespace() -> None:
    """Where a namespace is set, the engine may be missing in it only."""
    assert "at mount 'aws' in namespace team-a; check" in str(
        read(made(404, "no handler for route"), vault_namespace="team-a")
    )


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 502, 503])
def test_words_that_are_not_vaults_come_from_somebody_else(status: int) -> None:
    """An answer without Vault's JSON is a gateway's: nothing is concluded from its status."""
    refusal = Refusal(ADDRESS, "aws/creds/webapp", status, None)

    for error in (read(refusal), refusals.login(refusal, mount="approle", remedy=REMEDY)):
        assert type(error) is UnreachableError
        assert f"HTTP {status} in words that are not Vault's: a proxy or another server answered" in str(error)


def test_role_called_sealed_is_not_a_seal() -> None:
    """The words are looked for where they mean something: a role may be called anything."""
    error = read(made(400, 'Role "sealed" not found', path="aws/creds/sealed"))

    assert type(error) is ConfigurationError
    assert "no role 'sealed'" in str(error)


def test_missing_auth_method_at_404_is_a_configuration_error() -> None:
    """Where a server answers 404 for an auth mount, the remedy is the mount point."""
    error = refusals.login(made(404, "no handler", path="auth/x/login"), mount="x", remedy=REMEDY)

    assert type(error) is ConfigurationError
    assert "check vault_auth_mount and vault_auth_namespace" in str(error)


def test_unknown_token_names_its_origin() -> None:
    """A token that Vault does not know is reported with the place where it was found."""
    error = refusals.token(made(404, "bad token", path="auth/token/lookup-self"), origin="VAULT_TOKEN")

    assert type(error) is AuthenticationError
    assert "the token from VAULT_TOKEN is unknown, revoked or expired (bad token); get a new one" in str(error)


def test_sealed_server_is_not_a_bad_token() -> None:
    """A look-up that fails for the server's own reasons says so."""
    assert type(refusals.token(made(503, "Vault is sealed"), origin="VAULT_TOKEN")) is SealedError


def test_secret_that_the_server_repeats_is_blotted_out() -> None:
    """What was sent and comes back in an error's text does not reach the message, nor ``repr``."""
    refusal = Refusal(ADDRESS, "auth/approle/login", 400, ("invalid hunter2\nfor hunter2",), ("hunter2",))
    error = refusals.login(refusal, mount="approle", remedy=REMEDY)

    assert "login refused: invalid *** for ***; " in str(error)
    assert "secrets" not in repr(refusal)
