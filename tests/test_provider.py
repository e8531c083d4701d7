"""The botocore provider in real sessions: whose profile it serves, what goes before it, and how it refreshes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore
import botocore.credentials
import botocore.exceptions
import botocore.session
import pytest

import vault_credential_process
from vault_credential_process import VaultProvider
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory

from .conftest import Tenant, new_tenant

NOW = 1_795_465_023.0
OTHER = "AKIAOTHEREXAMPLEKEY1"
STATIC = f"aws_access_key_id = {OTHER}\naws_secret_access_key = EXAMPLE\n"


@dataclasses.dataclass(frozen=True)
class Webapp:
    """A profile ``webapp`` on the stand-in: the key that Vault gives, and what its process would leave behind."""

    tenant: Tenant
    key: str
    trace: pathlib.Path
    text: str


@pytest.fixture
def webapp(short_lived: Tenant, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Webapp:
    """Write the profile, with a ``credential_process`` that leaves a trace, and point AWS's clients at it."""
    trace = tmp_path / "trace"
    text = (
        short_lived.laboratory.profile("webapp", short_lived.settings)
        + f'credential_process = sh -c "touch {trace}; exit 1"\n'
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(short_lived.write_config(text)))
    return Webapp(short_lived, short_lived.laboratory.write_sts(short_lived.role, ttl=900), trace, text)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the provider for one test, in a process without a default session."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    vault_credential_process.install()
    yield
    vault_credential_process.uninstall()


def named_later() -> botocore.session.Session:
    """Return a session that is told its profile only after it was made."""
    session = botocore.session.Session()
    session.set_config_variable("profile", "webapp")
    return session


def methods(session: botocore.session.Session) -> list[str]:
    """Return what stands in a session's chain."""
    return [p.METHOD for p in session.get_component("credential_provider").providers]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_installed_for_the_profile_of_the_environment(
    webapp: Webapp, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A program that names no profile gets Vault's credentials for the one that the environment names."""
    monkeypatch.setenv(variable, "webapp")
    found = botocore.session.get_session().get_credentials()

    assert (found.access_key, found.method) == (webapp.key, "vault")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "make",
    [
        lambda: boto3.Session(profile_name="webapp"),
        lambda: botocore.session.Session(profile="webapp"),
        lambda: botocore.session.get_session({"profile": (None, "NO_SUCH_VARIABLE", "webapp", None)}),
        named_later,
    ],
    ids=["boto3", "botocore", "session variables", "set_config_variable"],
)
def test_installed_for_a_profile_named_in_code(webapp: Webapp, make: Callable[[], Any]) -> None:
    """Every way to name a profile in code reaches the provider, those after the session was made too."""
    found = make().get_credentials()

    assert (found.access_key, found.method) == (webapp.key, "vault")


@pytest.mark.usefixtures("installed")
def test_default_session_reaches_aws(tenant: Tenant, cloud: aws.LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """``boto3.client`` after one ``install()`` lists buckets with credentials that AWS accepts."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tenant.write_config()))
    monkeypatch.setenv("AWS_PROFILE", "webapp")

    names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]

    assert aws.BUCKET in names
    assert boto3.DEFAULT_SESSION.get_credentials().method == "vault"
    assert cloud.requests[-1] == (boto3.DEFAULT_SESSION.get_credentials().access_key, "sent")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("exported", [False, True], ids=["", "exported role"])
@pytest.mark.parametrize("name", ["other", "default"])
@pytest.mark.parametrize(("kind", "method"), [("process", "custom-process"), ("static", "config-file")])
def test_profile_without_a_role_is_left_alone(
    webapp: Webapp, monkeypatch: pytest.MonkeyPatch, kind: str, method: str, name: str, exported: bool
) -> None:
    """Another profile's own process or keys serve it, whatever role happens to be exported."""
    printed = json.dumps({"Version": 1, "AccessKeyId": OTHER, "SecretAccessKey": "EXAMPLE"}).replace('"', '\\"')
    lines = STATIC if kind == "static" else f"credential_process = {sys.executable} -c \"print('{printed}')\"\n"
    section = "[default]" if name == "default" else f"[profile {name}]"
    webapp.tenant.write_config(webapp.text + f"{section}\n{lines}")
    if name != "default":
        monkeypatch.setenv("AWS_PROFILE", name)
    if exported:
        for key, value in webapp.tenant.settings.items():
            monkeypatch.setenv(key.upper(), value)

    found = botocore.session.Session().get_credentials()

    assert (found.access_key, found.method) == (OTHER, method)


@pytest.mark.usefixtures("installed")
def test_exported_role_serves_where_no_profile_is_named(webapp: Webapp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any profile, the environment alone configures the provider."""
    for key, value in webapp.tenant.settings.items():
        monkeypatch.setenv(key.upper(), value)

    assert botocore.session.Session().get_credentials().access_key == webapp.key


@pytest.mark.usefixtures("installed")
def test_exported_role_leaves_an_empty_profile_alone(webapp: Webapp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that was named and says nothing of Vault gets nothing of Vault, whatever is exported."""
    webapp.tenant.write_config(webapp.text + "[profile empty]\nregion = us-east-1\n")
    for key, value in webapp.tenant.settings.items():
        monkeypatch.setenv(key.upper(), value)

    assert boto3.Session(profile_name="empty").get_credentials() is None
    monkeypatch.setenv("AWS_PROFILE", "empty")
    assert boto3.Session().get_credentials() is None


@pytest.mark.usefixtures("installed", "webapp")
def test_static_keys_of_the_profile_win(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for the same profile in the credentials file go first, as they do before ``credential_process``."""
    (tmp_path / "credentials").write_text(f"[webapp]\n{STATIC}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    found = boto3.Session(profile_name="webapp").get_credentials()

    assert (found.access_key, found.method) == (OTHER, "shared-credentials-file")


@pytest.mark.usefixtures("installed")
def test_keys_in_the_environment(webapp: Webapp, monkeypatch: pytest.MonkeyPatch) -> None:
    """They win over a profile that the environment names, and not over one that is named in code."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OTHER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "EXAMPLE")
    monkeypatch.setenv("AWS_PROFILE", "webapp")

    assert boto3.Session().get_credentials().access_key == OTHER
    assert boto3.Session(profile_name="webapp").get_credentials().access_key == webapp.key


@pytest.mark.usefixtures("installed", "webapp")
def test_keys_given_to_a_session_win() -> None:
    """A program that passes keys to ``boto3.Session`` gets these."""
    session = boto3.Session(aws_access_key_id=OTHER, aws_secret_access_key="EXAMPLE", profile_name="webapp")

    assert session.get_credentials().access_key == OTHER


def test_goes_ahead_of_the_process(webapp: Webapp) -> None:
    """The profile's ``credential_process`` is not run where the provider is installed, and is again afterwards."""
    vault_credential_process.install()
    try:
        assert boto3.Session(profile_name="webapp").get_credentials().access_key == webapp.key
        assert not webapp.trace.exists()
    finally:
        vault_credential_process.uninstall()

    with pytest.raises(botocore.exceptions.CredentialRetrievalError):
        boto3.Session(profile_name="webapp").get_credentials()
    assert webapp.trace.exists()


@pytest.mark.usefixtures("installed")
def test_installing_again_changes_nothing() -> None:
    """The provider stands in the chain once, and one ``uninstall()`` removes it; a second one does no harm."""
    vault_credential_process.install()
    before = methods(botocore.session.Session())
    vault_credential_process.uninstall()
    after = methods(botocore.session.Session())
    vault_credential_process.uninstall()

    assert before.count("vault") == 1
    assert before.index("vault") == before.index("custom-process") - 1
    assert after == [method for method in before if method != "vault"]


@pytest.mark.usefixtures("installed")
def test_sessions_are_not_slowed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new session reads no configuration before somebody asks it for credentials."""
    (tmp_path / "broken").write_text("no section\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))
    session = botocore.session.Session()

    with pytest.raises(botocore.exceptions.ConfigParseError):
        session.get_credentials()


@pytest.mark.parametrize("with_install", [False, True])
def test_boto3_session_takes_settings(short_lived: Tenant, with_install: bool, cloud: aws.LocalAWS) -> None:
    """One session can have Vault's credentials without any profile, beside ``install()`` or without it."""
    key = short_lived.laboratory.write_sts(short_lived.role, ttl=900)
    if with_install:
        vault_credential_process.install()
    try:
        session = vault_credential_process.boto3_session(region_name=aws.REGION, **short_lived.settings)
    finally:
        vault_credential_process.uninstall()

    assert session.client("s3", endpoint_url=cloud.endpoint).list_buckets()["Buckets"]
    assert (session.get_credentials().access_key, session.region_name) == (key, aws.REGION)
    assert boto3.Session().get_credentials() is None


def test_settings_go_before_the_profile(webapp: Webapp) -> None:
    """What the caller passes replaces the profile's key; the profile gives the rest."""
    laboratory, role = webapp.tenant.laboratory, webapp.tenant.role
    key = laboratory.write_sts(role, ttl=900, endpoint="sts")
    session = vault_credential_process.boto3_session("webapp", vault_aws_endpoint="sts")

    assert (session.get_credentials().access_key, session.profile_name) == (key, "webapp")


def test_settings_reach_a_source_profile(webapp: Webapp, tmp_path: pathlib.Path) -> None:
    """With a role profile, what the caller passes holds for the Vault profile that it starts from."""
    wrong = webapp.text.replace(webapp.tenant.approle["secret_id_file"], str(tmp_path / "not-mounted"))
    webapp.tenant.write_config(wrong + chained(webapp.tenant.laboratory))
    session = vault_credential_process.boto3_session(
        "chained", vault_secret_id_file=webapp.tenant.approle["secret_id_file"]
    )

    assert aws.CHAINED_ROLE in session.client("sts").get_caller_identity()["Arn"]


def test_unknown_setting_is_refused(webapp: Webapp) -> None:
    """A misspelt setting is an error with a hint, not ignored."""
    session = vault_credential_process.boto3_session("webapp", vault_aws_rol=webapp.tenant.role)

    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="did you mean vault_aws_role"):
        session.get_credentials()


def test_provider_in_a_chain_by_hand(webapp: Webapp) -> None:
    """``VaultProvider`` serves in a chain that the program builds itself."""
    session = botocore.session.Session(profile="webapp")
    session.get_component("credential_provider").insert_before("custom-process", VaultProvider(session))

    assert session.get_credentials().access_key == webapp.key


def chained(laboratory: Laboratory) -> str:
    """Return the text of a profile that assumes a further role from ``webapp``."""
    return laboratory.profile("chained", {"role_arn": aws.CHAINED_ROLE_ARN, "source_profile": "webapp"})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("with_process", [False, True])
def test_role_chaining(webapp: Webapp, monkeypatch: pytest.MonkeyPatch, with_process: bool) -> None:
    """A profile with ``role_arn`` and ``source_profile`` starts from ours, and its process is not run."""
    text = webapp.text if with_process else webapp.text.partition("credential_process")[0]
    webapp.tenant.write_config(text + chained(webapp.tenant.laboratory))
    monkeypatch.setenv("AWS_PROFILE", "chained")
    session = boto3.Session()

    assert aws.CHAINED_ROLE in session.client("sts").get_caller_identity()["Arn"]
    assert aws.BUCKET in {bucket["Name"] for bucket in session.client("s3").list_buckets()["Buckets"]}
    assert not webapp.trace.exists()


@pytest.mark.real_engine
@pytest.mark.usefixtures("installed")
def test_keys_of_an_iam_user(
    laboratory: Laboratory, clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys without a session token work, and end with the token that asked for them."""
    tenant = new_tenant(laboratory, clean_environment, token_ttl="100s")
    laboratory.iam_user(tenant.role)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tenant.write_config()))
    session = boto3.Session(profile_name="webapp")

    assert session.client("s3").list_buckets()["Buckets"]
    found: Any = session.get_credentials()
    assert (found.token, found.method) == (None, "vault")
    assert found.refresh_needed(100)
    assert not found.refresh_needed(80)
