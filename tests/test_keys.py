"""Every setting there is either parts answers, or stands in a table with the reason why it does not."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from vault_credential_process import auth, fastpath
from vault_credential_process.auth import keepsakes
from vault_credential_process.cache.entry import credentials_key, token_key
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.place import Place
from vault_credential_process.config import Config
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import options_of
from vault_credential_process.vault import Vault

BASE: dict[str, Any] = {
    "vault_addr": "https://vault.example:8200",
    "vault_aws_role": "webapp",
    "vault_auth_method": "kubernetes",
    "vault_auth_role": "app",
}

WITH_THE_LOGIN = {
    "vault_addr": "https://other.example:8200",
    "vault_namespace": "team",
    "vault_auth_namespace": "team",
    "vault_auth_method": "gcp",
    "vault_auth_mount": "other",
    "vault_auth_role": "other",
    "vault_token_ttl": "5m",
    "vault_cacert": "/etc/ssl/other.pem",
    "vault_cacert_bytes": "-----BEGIN CERTIFICATE-----",
    "vault_capath": "/etc/ssl/others",
    "vault_client_cert": "/etc/ssl/client.pem",
    "vault_tls_server_name": "vault",
    "vault_skip_verify": "true",
    "vault_proxy_addr": "http://proxy.example:3128",
}
"""Settings that part tokens, and so credentials: whom is asked, by which way, whom that trusts, and as whom."""

WITH_THE_ANSWER = {
    "vault_aws_role": "other",
    "vault_aws_mount": "other",
    "vault_aws_endpoint": "sts",
    "vault_aws_role_arn": "arn:aws:iam::123456789012:role/a",
    "vault_aws_role_session_name": "nightly",
    "vault_aws_ttl": "30m",
    "vault_aws_mfa_code_command": "/usr/bin/code",
}
"""Settings that part credentials alone: what is asked for."""

WITH_NOTHING = {
    "vault_login_mfa_code_command": ("/usr/bin/code", "proves the same user once more; the user is in the key"),
    "vault_client_key": ("/etc/ssl/client.key", "belongs to the certificate, which is in the key"),
    "vault_allow_http": ("true", "whether a call may go out at all; the scheme is in the address"),
    "vault_aws_static_interval": ("30m", "parts static credentials alone: see below"),
    "vault_aws_timeout": ("10", "how long a call may take"),
    "vault_client_timeout": ("10", "how long a request may take"),
    "vault_max_retries": ("0", "how often a request is sent"),
    "vault_aws_probe": ("off", "how long new keys are waited for"),
    "vault_aws_cache": ("none", "where the answer is kept, not which it is"),
    "vault_aws_background": ("false", "when a program refreshes"),
    "vault_aws_revoke_on_exit": ("true", "what a program does at its end; a shared token is left alone"),
}
"""Settings that part nothing, each with another value and the reason."""

AROUND = {
    "profile": "its keys are settings; two profiles that say the same want the same",
    "methods": "which methods were looked at; the one that was chosen is in the identity",
    "source_profile": "makes an error's words, where there is no role and so no answer",
    "ambient": "what platforms set: it enters by the identity of the method that reads it",
    "settings": "the options of methods: see the table of methods below",
    "origins": "where a value stands",
    "emptied": "why a token file is not looked at; the method that was chosen is in the identity",
    "aws_region": "where new keys are proven; they are the same keys",
    "aws_sts_endpoint": "where new keys are proven",
    "aws_ca_bundle": "whom the proof of new keys trusts",
}
"""Fields of the configuration that are no settings of ours."""


def keys_of(place: Place, given: dict[str, Any]) -> tuple[str, str]:
    """Return the keys of the token and of the credentials of a configuration."""
    config = auth.configure(given, {}, None)
    identity = auth.choose(config).identity()
    return token_key(place, config, identity), credentials_key(place, config, identity)


def test_every_setting_is_in_a_table() -> None:
    """A new setting fails here until somebody has decided whether it parts answers."""
    decided = [*WITH_THE_LOGIN, *WITH_THE_ANSWER, *WITH_NOTHING]

    assert sorted(declared.key for declared in options_of(Config)) == sorted(decided)
    assert {field.name for field in dataclasses.fields(Config)} == {*decided, *AROUND}


@pytest.mark.parametrize("key", [*WITH_THE_LOGIN, *WITH_THE_ANSWER, *WITH_NOTHING])
def test_setting_parts_what_the_table_says(key: str) -> None:
    """Another value of one setting makes another key of token and credentials, of credentials alone, or of neither."""
    place = Memory().place
    values = WITH_THE_LOGIN | WITH_THE_ANSWER | {name: value for name, (value, _) in WITH_NOTHING.items()}
    token, credentials = keys_of(place, BASE)
    other_token, other_credentials = keys_of(place, BASE | {key: values[key]})

    assert (other_token != token) is (key in WITH_THE_LOGIN)
    assert (other_credentials != credentials) is (key not in WITH_NOTHING)


def test_interval_of_static_credentials() -> None:
    """Where it is the end of what is handed out, another interval has another key."""
    place = Memory().place
    static = BASE | {"vault_aws_endpoint": "static-creds"}

    assert keys_of(place, static)[1] != keys_of(place, static | {"vault_aws_static_interval": "30m"})[1]


SECRETS = ("_file", "_keyring", "_command", "")
PASSWORD = {f"vault_password{end}": "the same user, whatever proves it" for end in SECRETS}
USER: dict[str, str] = {"vault_username": "ana"}

OF_METHODS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "approle": (
        {"vault_role_id": "role"},
        {
            "vault_approle_role_name": "checked before a wrapping token is spent; the token itself is in the key",
            "vault_secret_id_wrapping_path": "the same",
        },
    ),
    "token": ({"vault_token": "hvs.BASE"}, {}),
    "agent": ({}, {}),
    "kubernetes": ({}, {}),
    "jwt": ({"vault_jwt_file": "FILE"}, {"vault_jwt_audience": "of the token that GitHub makes; a file has its own"}),
    "aws-iam": (
        {},
        {"vault_aws_iam_region": "which STS vouches for the signer; the signer and the endpoint are in the key"},
    ),
    "aws-ec2": (
        {},
        {
            "vault_aws_ec2_proof": "in which form the same instance shows itself",
            "vault_aws_ec2_nonce_file": "what proves that it is the same instance as before",
        },
    ),
    "azure": ({}, {}),
    "gcp": ({}, {}),
    "cert": ({"vault_client_cert": "/etc/ssl/client.pem"}, {}),
    "userpass": (USER, PASSWORD),
    "ldap": (USER, PASSWORD),
    "radius": (USER, PASSWORD),
    "okta": (USER, {**PASSWORD, "vault_okta_provider": "whose code proves the same user"}),
    "github": ({"vault_github_token": "ghp_BASE"}, {}),
    "oidc": (
        {},
        {
            "vault_oidc_mode": "which way the browser comes back",
            "vault_oidc_callback_port": "the same",
            "vault_oidc_redirect_uri": "the same",
        },
    ),
}
"""For each method what its base has set, and its options that part nothing, with the reason."""

VALUES = {
    "vault_aws_iam_region": "eu-central-1",
    "vault_aws_iam_sts_endpoint": "https://sts.example",
    "vault_aws_ec2_proof": "identity",
    "vault_azure_client_id": "01234567-89ab-cdef-0123-456789abcdef",
    "vault_azure_subscription_id": "01234567-89ab-cdef-0123-456789abcdef",
    "vault_okta_provider": "GOOGLE",
    "vault_oidc_mode": "device",
    "vault_oidc_callback_port": "9999",
    "vault_oidc_redirect_uri": "http://localhost:9999/back",
}
"""Other values where not any word will do."""


OPTIONS = [(name, declared.key) for name in auth.METHODS for declared in options_of(auth.find(name))]


def test_every_method_is_in_the_table() -> None:
    """A new method, or an option with a reason that is gone, fails here."""
    assert set(OF_METHODS) == set(auth.METHODS)
    for name, (_, parts_nothing) in OF_METHODS.items():
        assert set(parts_nothing) <= {declared.key for declared in options_of(auth.find(name))}


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_option_parts_what_the_table_says(name: str, key: str, tmp_path: pathlib.Path) -> None:
    """Another value of an option makes another key, or the table has the reason why not."""
    place = Memory().place
    base, parts_nothing = OF_METHODS[name]
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("eyJhbGciOiJub25lIn0.eyJzdWIiOiJiYXNlIn0.c2ln")
    other.write_text("eyJhbGciOiJub25lIn0.eyJzdWIiOiJvdGhlciJ9.c2ln")
    given = {"vault_addr": BASE["vault_addr"], "vault_aws_role": "webapp", "vault_auth_method": name}
    given |= {"vault_auth_role": "app"} if auth.find(name).takes_role else {}
    given |= {k: str(file) if value == "FILE" else value for k, value in base.items()}
    changed = str(other) if key.endswith("_file") else VALUES.get(key, "another")
    changes = {key: changed}
    if key == "vault_secret_id_wrapped_file":
        given["vault_approle_role_name"] = "app"
    if key.startswith("vault_jwt") and key not in ("vault_jwt_file", "vault_jwt_audience"):
        given.pop("vault_jwt_file")
        given["vault_jwt"] = file.read_text()
    before = keys_of(place, given)

    assert (keys_of(place, given | changes) == before) is (key in parts_nothing)


def test_audience_parts_what_github_makes() -> None:
    """Where the audience is asked for, another one is another token."""
    place = Memory().place
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example/?a=b",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "eyJ.request.token",
        "GITHUB_ACTIONS": "true",
    }
    found = set()
    for audience in ("one", "two"):
        given = BASE | {"vault_auth_method": "jwt", "vault_jwt_audience": audience}
        config = auth.configure(given, environ, None)
        found.add(token_key(place, config, auth.choose(config).identity()))

    assert len(found) == 2


OF_KEEPSAKES = {"vault_addr", "vault_namespace", "vault_auth_namespace", "vault_auth_mount", "vault_skip_verify"}
"""Settings that part what cannot be had again: where it came from, and whether that was verified.

Not which CA, proxy or certificate: these are replaced while it lives. The role is left out as well: a nonce is an
instance's, and a Secret ID is found by the token that wrapped it.
"""


@pytest.mark.parametrize("key", [*WITH_THE_LOGIN, *WITH_THE_ANSWER, *WITH_NOTHING])
def test_setting_parts_keepsakes_as_the_table_says(key: str) -> None:
    """An unwrapped Secret ID or a nonce goes to the address, namespace, method and mount that it is of, no other."""
    values = WITH_THE_LOGIN | WITH_THE_ANSWER | {name: value for name, (value, _) in WITH_NOTHING.items()}
    base = {"vault_addr": "http://127.0.0.1:8200", "vault_aws_role": "webapp", "vault_auth_method": "kubernetes"}
    base["vault_auth_role"] = "app"
    kept, found = Memory(), []
    for changes in ({}, {key: values[key]}):
        config = auth.configure(base | changes, {}, None)
        with Vault(config, Deadline(10), cache=kept) as vault:
            found.append(keepsakes.key(vault, auth.choose(config), "nonce"))

    assert (found[0] != found[1]) is (key in OF_KEEPSAKES or key == "vault_auth_method")


def test_every_variable_parts_quick_answers() -> None:
    """The quick answer is found before any setting is understood, so every variable of every one is in its key."""
    read = {name for declared in (*options_of(Config), *auth.options()) for name in declared.variables}

    assert {name for name in read if not name.startswith(fastpath._PREFIXES)} == set()
    assert "VAULT_ADDR" in read
