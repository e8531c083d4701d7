"""Configuration: precedence, origins, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from vault_credential_process import models
from vault_credential_process.config import Config, Profile, missing_role, resolve
from vault_credential_process.errors import ConfigurationError

SECRET = models.Option(
    key="vault_secret_id",
    environ=("VAULT_SECRET_ID",),
    flag=None,
    help="",
    parse=str,
    default=None,
    metavar="TEXT",
    secret=True,
)


def configured(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    keys: Mapping[str, Any] | None = None,
    **more: Any,
) -> Config:
    """Resolve with a profile ``webapp`` if there are keys for one."""
    profile = None if keys is None else Profile("webapp", keys)
    return resolve(arguments or {}, environ or {}, profile, [SECRET], **more)


@pytest.mark.parametrize(
    ("arguments", "keys", "environ", "value", "origin"),
    [
        ("flag", "profile", {"BAO_AWS_ROLE": "bao", "VAULT_AWS_ROLE": "vault"}, "flag", ("argument", "--role")),
        (
            None,
            "profile",
            {"BAO_AWS_ROLE": "bao", "VAULT_AWS_ROLE": "vault"},
            "profile",
            ("profile", "vault_aws_role in [profile webapp]"),
        ),
        (None, None, {"BAO_AWS_ROLE": "bao", "VAULT_AWS_ROLE": "vault"}, "bao", ("environment", "BAO_AWS_ROLE")),
        (None, None, {"BAO_AWS_ROLE": "", "VAULT_AWS_ROLE": "vault"}, "vault", ("environment", "VAULT_AWS_ROLE")),
        (None, None, {}, None, ("default", "default")),
    ],
    ids=["flag", "profile", "BAO_", "VAULT_", "default"],
)
def test_precedence_is_flag_profile_environment_default(
    arguments: str | None, keys: str | None, environ: dict[str, str], value: str | None, origin: tuple[str, str]
) -> None:
    """Each place goes before the next, and the origin tells which it was."""
    profile = {} if keys is None else {"vault_aws_role": keys}
    config = configured({"vault_aws_role": arguments}, environ, profile)

    assert (config.vault_aws_role, config.origin("vault_aws_role")) == (value, origin)


def test_every_setting_follows_the_one_rule() -> None:
    """Each option of the table can be set in the profile, which hides an exported variable that is malformed."""
    good = {
        "vault_addr": "https://vault.example",
        "vault_aws_endpoint": "sts",
        "vault_aws_role_arn": "arn:aws:iam::123456789012:role/app",
        "vault_proxy_addr": "http://proxy.example:3128",
        "vault_aws_mfa_code_command": "/bin/code now",
    }
    for declared in models.options_of(Config):
        text = good.get(declared.key, "1")
        if declared.key == "vault_aws_role_session_name":
            text = "webapp"
        environ = dict.fromkeys(declared.variables, "\0")
        config = configured({}, environ, {declared.key: text})

        assert config.origin(declared.key).kind == "profile", declared.key
        assert getattr(config, declared.key) == declared.parse(text), declared.key


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "https://127.0.0.1:8200"),
        ({"VAULT_ADDR": "https://a.example"}, "https://a.example"),
        ({"VAULT_ADDR": "https://a.example", "VAULT_AGENT_ADDR": "https://b.example"}, "https://b.example"),
        ({"BAO_ADDR": "https://c.example", "VAULT_ADDR": "https://a.example"}, "https://c.example"),
        ({"VAULT_AGENT_ADDR": "https://b.example", "BAO_ADDR": "https://c.example"}, "https://b.example"),
        ({"BAO_AGENT_ADDR": "https://d.example", "VAULT_AGENT_ADDR": "https://b.example"}, "https://d.example"),
    ],
)
def test_agent_goes_before_server_and_bao_before_vault(environ: dict[str, str], address: str) -> None:
    """The address of an Agent wins over the server's, and ``BAO_X`` over ``VAULT_X``."""
    assert configured(environ=environ).vault_addr == address


def test_defaults_are_those_of_the_documentation() -> None:
    """With nothing set, every setting has the value that the documentation promises."""
    config = configured()
    expected = {
        "vault_addr": "https://127.0.0.1:8200", "vault_auth_method": "auto", "vault_auth_mount": None,
        "vault_aws_role": None, "vault_aws_mount": "aws", "vault_aws_endpoint": "creds", "vault_aws_ttl": None,
        "vault_aws_timeout": 45.0, "vault_aws_probe": 20.0, "vault_aws_static_interval": 3600.0,
        "vault_allow_http": False, "vault_token_ttl": None, "vault_skip_verify": False, "vault_client_timeout": 60.0,
        "vault_max_retries": 2, "auth_namespace": None, "profile": None,
    }  # fmt: skip

    assert expected == {name: getattr(config, name) for name in expected}


def test_values_are_parsed_wherever_they_come_from() -> None:
    """Durations, truth values and numbers are values, not texts, also when a caller passes them as such."""
    config = configured(
        {"vault_aws_timeout": 12, "vault_skip_verify": True},
        {"VAULT_MAX_RETRIES": "5"},
        {"vault_aws_ttl": " 15m ", "vault_aws_probe": "off"},
    )

    assert (config.vault_aws_timeout, config.vault_skip_verify, config.vault_max_retries) == (12.0, True, 5)
    assert (config.vault_aws_ttl, config.vault_aws_probe) == (900.0, 0.0)


def test_empty_key_in_the_profile_hides_the_environment() -> None:
    """``vault_namespace =`` in the profile means none, whatever is exported."""
    config = configured({}, {"VAULT_NAMESPACE": "team-a"}, {"vault_namespace": ""})

    assert (config.vault_namespace, config.origin("vault_namespace").kind) == (None, "profile")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, None),
        ({"vault_namespace": "team-a/"}, "team-a"),
        ({"vault_namespace": "team-a", "vault_auth_namespace": "logins"}, "logins"),
    ],
)
def test_login_is_in_the_same_namespace_unless_told(keys: dict[str, str], expected: str | None) -> None:
    """``vault_auth_namespace`` defaults to ``vault_namespace``."""
    assert configured(keys=keys).auth_namespace == expected


def test_path_is_made_of_mount_endpoint_and_role() -> None:
    """What is read stands below the mount point, at the endpoint, under the role."""
    config = configured(keys={"vault_aws_mount": "/team/aws/", "vault_aws_endpoint": "sts", "vault_aws_role": "webapp"})

    assert config.aws_path == "team/aws/sts/webapp"


@pytest.mark.parametrize(
    ("read_aws_role", "environ", "role", "origin"),
    [
        (True, {"AWS_ROLE": "a"}, "a", "AWS_ROLE"),
        (True, {"AWS_ROLE": "a", "VAULT_AWS_ROLE": "v"}, "v", "VAULT_AWS_ROLE"),
        (False, {"AWS_ROLE": "a"}, None, "default"),
        (True, {"AWS_ROLE": ""}, None, "default"),
    ],
)
def test_aws_role_is_the_last_place_and_only_where_asked_for(
    read_aws_role: bool, environ: dict[str, str], role: str | None, origin: str
) -> None:
    """``AWS_ROLE`` serves the manager and a call without a profile, after ``VAULT_AWS_ROLE``."""
    config = configured(environ=environ, read_aws_role=read_aws_role)

    assert (config.vault_aws_role, str(config.origin("vault_aws_role"))) == (role, origin)


def test_malformed_aws_role_names_its_variable() -> None:
    """An ARN in ``AWS_ROLE`` is not the name of a Vault role, and the error says where it stands."""
    environ = {"AWS_ROLE": "arn:aws:iam::123456789012:role/app"}

    with pytest.raises(ConfigurationError, match=r"vault_aws_role: .* is not the name of a role .*\(from AWS_ROLE\)"):
        configured(environ=environ, read_aws_role=True)


@pytest.mark.parametrize(
    ("arguments", "environ", "keys", "origin"),
    [
        ({"vault_aws_ttl": "soon"}, {}, None, "--ttl"),
        ({"vault_proxy_addr": "x"}, {}, None, "the argument vault_proxy_addr"),
        ({}, {}, {"vault_aws_ttl": "soon"}, r"vault_aws_ttl in \[profile webapp\]"),
        ({}, {"BAO_AWS_TTL": "soon"}, None, "BAO_AWS_TTL"),
    ],
)
def test_malformed_value_names_its_origin(
    arguments: dict[str, str], environ: dict[str, str], keys: dict[str, str] | None, origin: str
) -> None:
    """A value that cannot be understood is reported with the place where it stands."""
    with pytest.raises(ConfigurationError, match=rf"^vault_(aws_ttl|proxy_addr): .* \(from {origin}\)$"):
        configured(arguments, environ, keys)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vault_aws_rol", "did you mean vault_aws_role?"),
        ("vault_adr", "did you mean vault_addr?"),
        ("vault_address", "did you mean vault_addr?"),
        ("vault_aws_role_session", "did you mean vault_aws_role_session_name?"),
        ("vault_secretid", "did you mean vault_secret_id?"),
    ],
)
def test_misspelt_key_is_an_error_that_tells_the_right_one(key: str, message: str) -> None:
    """A ``vault_*`` key that is nearly a known one would silently do nothing: it is refused."""
    with pytest.raises(ConfigurationError) as caught:
        configured(keys={key: "x"})

    assert str(caught.value) == f"{key} in [profile webapp]: no such setting; {message}"


def test_unknown_key_is_a_warning_and_foreign_keys_are_none_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A ``vault_*`` key like no other is logged, without its value; keys of AWS's own are left alone."""
    with caplog.at_level(logging.DEBUG):
        configured(keys={"vault_colour": "hunter2", "region": "eu-west-1", "s3": "\nmax_queue_size = 1"})

    assert [r.getMessage() for r in caplog.records] == ["vault_colour in [profile webapp]: no such setting; ignored"]


@pytest.mark.parametrize(("key", "hint"), [("vault_aws_rol", "; did you mean vault_aws_role?"), ("colour", "")])
def test_unknown_argument_is_an_error(key: str, hint: str) -> None:
    """A caller's keyword that is no setting is refused, with the nearest name."""
    with pytest.raises(ConfigurationError) as caught:
        configured({key: "x"})

    assert str(caught.value) == f"{key}: no such setting{hint}"


def test_secret_in_the_profile_is_refused() -> None:
    """A secret must not stand in the config file; the error says where to put it and does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        configured(keys={"vault_secret_id": "hunter2"})

    assert str(caught.value) == (
        "vault_secret_id in [profile webapp]: a secret must not stand in the config file; "
        "use vault_secret_id_file, or the environment variable VAULT_SECRET_ID"
    )


def test_secret_comes_from_argument_or_environment() -> None:
    """A caller in the process may pass a secret; else the environment has it; the configuration does not show it."""
    passed = configured({"vault_secret_id": "hunter2"}, {"VAULT_SECRET_ID": "hunter3"})
    exported = configured({}, {"BAO_SECRET_ID": "hunter2", "VAULT_SECRET_ID": "hunter3"})

    assert [c.settings["vault_secret_id"].value for c in (passed, exported)] == ["hunter2", "hunter2"]
    assert [str(c.origin("vault_secret_id")) for c in (passed, exported)] == [
        "the argument vault_secret_id",
        "BAO_SECRET_ID",
    ]
    assert "hunter" not in repr(passed) + repr(exported)


@pytest.mark.parametrize(
    ("address", "allow", "refused"),
    [
        ("http://vault.example:8200", None, True),
        ("HTTP://vault.example:8200", None, True),
        ("http://10.0.0.1", None, True),
        ("http://127.0.0.1.example", None, True),
        ("http://vault.example:8200", "false", True),
        ("http://vault.example:8200", "true", False),
        ("http://127.0.0.1:8200", None, False),
        ("http://LOCALHOST:8200", None, False),
        ("http://[::1]:8200", None, False),
        ("https://vault.example:8200", None, False),
        ("unix:///run/agent.sock", None, False),
    ],
)
def test_plain_http_leaves_this_host_only_when_told(address: str, allow: str | None, refused: bool) -> None:
    """Secrets go over plain http to loopback only, unless ``vault_allow_http`` says so."""
    environ = {"VAULT_ADDR": address} | ({"VAULT_ALLOW_HTTP": allow} if allow else {})
    if refused:
        with pytest.raises(ConfigurationError, match=r"plain http .*\(from VAULT_ADDR\); write https://"):
            configured(environ=environ)
    else:
        assert configured(environ=environ).vault_addr.lower() == address.lower()


def test_missing_role_tells_every_place() -> None:
    """The error for the one required setting names flag, profile key and variable."""
    assert str(missing_role(configured(keys={}))) == (
        "vault_aws_role: missing (set --role, vault_aws_role in [profile webapp], or VAULT_AWS_ROLE)"
    )


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ({"b": "1", "a": "1"}, {}, "a"),
        ({"b": "1"}, {"A": "1"}, "b"),
        ({}, {"A": "1", "B": "1"}, "a"),
        ({}, {"B": "1"}, "b"),
        ({}, {}, None),
    ],
)
def test_of_two_settings_that_say_the_same_the_nearer_goes_first(
    arguments: dict[str, str], environ: dict[str, str], expected: str | None
) -> None:
    """The origin decides between them, and between equals the order in which they are asked for."""
    pair = [models.Option(key, (key.upper(),), None, "", str, None, "TEXT", secret=False) for key in ("a", "b")]

    assert resolve(arguments, environ, None, pair).foremost("a", "b") == expected


def test_aws_settings_serve_the_probe() -> None:
    """Region, STS endpoint and CA bundle come from AWS's own variables, then from the profile."""
    keys = {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:5000", "ca_bundle": "/ca.pem"}
    profile = configured(keys=keys)
    exported = configured(environ={"AWS_REGION": "us-east-2", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}, keys=keys)

    assert (
        profile.aws_region, profile.aws_sts_endpoint, profile.aws_ca_bundle,
    ) == ("eu-west-1", "http://127.0.0.1:5000", "/ca.pem")  # fmt: skip
    assert (exported.aws_region, exported.aws_sts_endpoint) == ("us-east-2", "http://127.0.0.1:1")
