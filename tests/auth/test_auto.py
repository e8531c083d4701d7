"""How an auth method is found, and which one ``auto`` takes."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import pytest

from vault_credential_process import auth
from vault_credential_process.auth.approle import AppRole
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.scripted import ScriptedServer, replay
from vault_credential_process.vault import Vault

NOW = 1_795_465_023.0
SECRET_ID = "00000000-0000-4000-8000-secretexample"
APPROLE = {"VAULT_ROLE_ID": "ROLE_ID", "VAULT_SECRET_ID": SECRET_ID}
TOKEN = {"VAULT_TOKEN": "hvs.EXAMPLE"}


ALL_BUT_TOKEN = [name for name in auth.METHODS if name != "token"]
WITH_ROLES = [name for name in auth.METHODS if auth.find(name).takes_role]


def log_in(
    server: ScriptedServer,
    environ: Mapping[str, str],
    keys: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> VaultToken:
    """Log in to the scripted server with an environment, a profile and arguments."""
    profile = None if keys is None else Profile("webapp", keys)
    settings = {"VAULT_ADDR": server.address, "VAULT_MAX_RETRIES": "0", **environ}
    config = auth.configure(arguments or {}, settings, profile)
    with Vault(config, Deadline(10), lambda: NOW) as vault:
        return auth.login(auth.choose(config), vault)


def names(environ: Mapping[str, str], keys: Mapping[str, str] | None = None, **arguments: str) -> list[str]:
    """Return the methods that would be tried, in order."""
    config = auth.configure(arguments, environ, None if keys is None else Profile("webapp", keys))
    return [method.name for method, _ in auth.candidates(config)]


@pytest.mark.parametrize(
    ("environ", "keys", "arguments", "expected"),
    [
        ({}, None, {}, [*(name for name in auth.METHODS if name != "token"), "token"]),
        (APPROLE, None, {}, ["approle"]),
        (TOKEN, None, {}, ["token"]),
        (APPROLE | TOKEN, None, {}, ["approle"]),
        ({"BAO_TOKEN": "hvs.EXAMPLE"}, None, {}, ["token"]),
        ({"VAULT_TOKEN_FILE": "/x"}, None, {}, ["token"]),
        (TOKEN, {"vault_role_id": "x"}, {}, ["approle"]),
        (APPROLE, {"vault_token_file": "/x"}, {}, ["token"]),
        (TOKEN, None, {"vault_secret_id_file": "/x"}, ["approle"]),
        (APPROLE, {"vault_role_id": "x"}, {"vault_token_file": "/x"}, ["approle", "token"]),
        (TOKEN, {"vault_role_id": ""}, {}, ["token"]),  # emptied in the profile: not set
        (APPROLE, {"vault_auth_method": "token"}, {}, ["token"]),
        (TOKEN, {"vault_auth_method": "approle"}, {}, ["approle"]),
        (TOKEN | {"VAULT_AUTH_METHOD": "approle"}, {"vault_auth_method": "auto"}, {}, ["token"]),
        (TOKEN, None, {"vault_auth_method": "approle"}, ["approle"]),
        ({"VAULT_GITHUB_TOKEN": "ghp"}, None, {}, ["github"]),
        ({"VAULT_GITHUB_TOKEN": "ghp"} | TOKEN, None, {}, ["token"]),
        (APPROLE | TOKEN, {"vault_auth_role": "x"}, {}, WITH_ROLES),
        (APPROLE | TOKEN, {}, {"vault_auth_role": "x"}, WITH_ROLES),
        ({"VAULT_AUTH_ROLE": "x"}, None, {}, WITH_ROLES),
        (TOKEN | {"VAULT_AUTH_ROLE": "x"}, None, {}, ["token"]),
        ({"VAULT_AUTH_ROLE": "x"}, {"vault_role_id": "x"}, {}, ["approle"]),
        ({"VAULT_USERNAME": "x"}, {"vault_role_id": "x", "vault_auth_method": "ldap"}, {}, ["ldap"]),
        ({"VAULT_FORMAT": "json"}, {"vault_role_id": "x"}, {}, ["approle"]),  # a variable of Vault's own command
        ({}, {"vault_auth_mount": "x"}, {}, ALL_BUT_TOKEN),
        (TOKEN, {"vault_auth_mount": "x"}, {}, ALL_BUT_TOKEN),
        (TOKEN, None, {"vault_login_mfa_code_command": "x"}, ALL_BUT_TOKEN),
        (TOKEN | APPROLE, {"vault_auth_mount": "x"}, {}, ["approle"]),
        ({}, {"vault_auth_mount": "x", "vault_token_file": "/x"}, {}, ["token"]),
        ({"VAULT_AUTH_MOUNT": "x"}, None, {}, ALL_BUT_TOKEN),
        (TOKEN | {"VAULT_AUTH_MOUNT": "x"}, None, {}, ["token"]),
        ({"VAULT_NAMESPACE": "x", "VAULT_AUTH_NAMESPACE": "x"}, None, {}, [*ALL_BUT_TOKEN, "token"]),
        ({"VAULT_ROLE_ID": "", "VAULT_SECRET_ID": ""}, None, {}, ALL_BUT_TOKEN),
        ({"BAO_USERNAME": ""}, {}, {}, ALL_BUT_TOKEN),
        ({"VAULT_ROLE_ID": ""} | TOKEN, None, {}, ["token"]),
        ({"VAULT_TOKEN": "", "VAULT_ADDR": ""}, None, {}, [*ALL_BUT_TOKEN, "token"]),
        ({"VAULT_ROLE_ID": ""}, {"vault_auth_method": "token"}, {}, ["token"]),
    ],
)
def test_auto_takes_what_is_nearest(
    environ: dict[str, str], keys: dict[str, str] | None, arguments: dict[str, str], expected: list[str]
) -> None:
    """Profile and flags first, then AppRole from the environment, then a token from it; a named method alone."""
    assert names(environ, keys, **arguments) == expected


@pytest.mark.parametrize("name", auth.METHODS)
def test_method_of_the_table_is_found(name: str) -> None:
    """Each name of the table leads to the method that bears it."""
    assert auth.find(name).name == name


def test_unknown_method_names_those_that_are_known() -> None:
    """A method that nobody has is refused, with the names to choose from."""
    with pytest.raises(ConfigurationError, match="no method 'kerberos'; write auto, agent, approle, aws-ec2"):
        auth.configure({"vault_auth_method": "kerberos"}, {}, None)


@pytest.mark.parametrize(
    ("environ", "keys", "origin"),
    [
        ({}, {"vault_username": "x"}, "vault_username in [profile webapp]"),
        ({"VAULT_USERNAME": "x"}, {}, "VAULT_USERNAME"),
    ],
)
@pytest.mark.usefixtures("administrator")
def test_what_several_methods_share_does_not_choose(environ: dict[str, str], keys: dict[str, str], origin: str) -> None:
    """A user name alone serves four methods: one must be named, and no token file answers instead."""
    with pytest.raises(ConfigurationError) as caught:
        names(environ, keys)

    assert str(caught.value) == (
        f"vault_auth_method: missing; vault_username (from {origin}) serves userpass, ldap, radius, okta: "
        "name one of them"
    )


@pytest.mark.parametrize(
    ("keys", "loaded"),
    [
        ({"vault_role_id": "x", "vault_secret_id_file": "/x"}, ("approle",)),
        ({"vault_auth_method": "kubernetes", "vault_auth_role": "x"}, ("kubernetes",)),
        ({"vault_auth_method": "ldap", "vault_username": "x"}, ("ldap",)),
        ({"vault_auth_method": "approle", "vault_token_file": "/x"}, ("approle", "token")),
        ({}, tuple(auth.METHODS)),
        ({"vault_auth_role": "x"}, tuple(auth.METHODS)),
    ],
)
def test_only_what_is_concerned_is_loaded(keys: dict[str, str], loaded: tuple[str, ...]) -> None:
    """A profile that tells which method it means costs the import of no other."""
    assert auth.configure({}, {}, Profile("webapp", keys)).methods == loaded


def test_misspelt_key_of_a_method_is_told_whatever_is_loaded() -> None:
    """The hint comes from the keys of every method, not only of those that are concerned."""
    with pytest.raises(ConfigurationError, match=r"vault_secret_id_fil in .*; did you mean vault_secret_id_file\?"):
        auth.configure({}, {}, Profile("webapp", {"vault_auth_method": "cert", "vault_secret_id_fil": "/x"}))


PLUGIN = """
import dataclasses
from vault_credential_process.auth import AuthMethod
from vault_credential_process.models import Identity, VaultToken, option

@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Badge(AuthMethod):
    name = "badge"
    default_mount = "badges"
    summary = "a badge"
    vault_badge: str | None = option("VAULT_BADGE", flag="--badge", help="number of the badge")

    def identity(self):
        return Identity(("badge", self.mount, self.vault_badge))

    def login(self, vault):
        return vault.login(f"auth/{self.mount}/login", {"badge": self.vault_badge}, mount=self.mount, remedy="ask")

class Stranger:
    pass
"""


@pytest.fixture
def plugin(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package with auth methods, as pip would install it."""
    (tmp_path / "badge_plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "badge_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: badge-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{auth.ENTRY_POINTS}]\n"
        "badge = badge_plugin:Badge\n"
        "stranger = badge_plugin:Stranger\n"
        "broken = badge_plugin.nowhere:Badge\n"
        "approle = badge_plugin:Badge\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "badge_plugin", raising=False)


@pytest.mark.usefixtures("plugin")
def test_method_of_another_package_logs_in(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A method found through its entry point has its options in the profile, and logs in at its own mount point."""
    scripted.on_login(exchanges["approle_login"], mount="badges")
    token = log_in(scripted, {}, {"vault_auth_method": "badge", "vault_badge": "007"})

    assert (token.value, scripted.requests[0].json) == ("hvs.EXAMPLE", {"badge": "007"})


@pytest.mark.usefixtures("plugin")
def test_table_goes_before_entry_points() -> None:
    """No other package can take the name of a method of ours."""
    assert auth.find("approle") is AppRole


@pytest.mark.usefixtures("plugin")
def test_options_of_another_package_are_known_only_where_it_is_named() -> None:
    """``auto`` does not load other packages; their keys are unknown until the method is chosen."""
    assert "vault_badge" not in auth.configure({"vault_auth_method": "auto"}, {}, None).settings
    assert "vault_badge" in auth.configure({"vault_auth_method": "badge"}, {}, None).settings


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stranger", "vault_auth_method: stranger: badge_plugin:Stranger is not an AuthMethod"),
        ("broken", "vault_auth_method: broken: badge_plugin.nowhere:Badge cannot be loaded: ModuleNotFoundError: "),
    ],
)
def test_broken_package_is_a_configuration_error(name: str, message: str) -> None:
    """What is no method, or cannot be imported, is told in one line."""
    with pytest.raises(ConfigurationError) as caught:
        auth.find(name)

    assert str(caught.value).startswith(message)


def test_no_way_to_log_in_lists_each_method_with_its_reason(scripted: ScriptedServer) -> None:
    """With nothing to try, nothing is sent, and the error says of each method why it was passed over."""
    with pytest.raises(AuthUnavailable) as caught:
        log_in(scripted, {})
    message = str(caught.value)

    assert message.startswith(f"no way to log in to {scripted.address} (approle: vault_role_id is not set; agent: ")
    assert message.endswith("; set vault_auth_method and its options, or VAULT_TOKEN")
    assert all(re.search(rf"\b{name}\b[a-z0-9, -]*: ", message) for name in auth.METHODS)
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("environ", "keys", "reason"),
    [
        ({}, {"vault_auth_mount": "x"}, "vault_auth_mount is set (from vault_auth_mount in [profile webapp])"),
        ({"VAULT_AUTH_MOUNT": "x"}, {}, "vault_auth_mount is set (from VAULT_AUTH_MOUNT)"),
        ({"VAULT_ROLE_ID": ""}, {}, "VAULT_ROLE_ID is there but empty"),
        ({}, {"vault_username": ""}, "vault_username is there but empty"),
    ],
)
@pytest.mark.usefixtures("administrator")
def test_token_that_is_not_taken_is_told(environ: dict[str, str], keys: dict[str, str], reason: str) -> None:
    """Whoever has a token file hears why it did not answer."""
    with pytest.raises(AuthUnavailable) as caught:
        auth.choose(auth.configure({}, environ, Profile("webapp", keys)))

    assert f"token: not taken where {reason})" in str(caught.value)


@pytest.fixture
def administrator(clean_environment: pathlib.Path) -> None:
    """An administrator's token file in the home directory."""
    (clean_environment / ".vault-token").write_text("hvs.ADMIN\n")


@pytest.mark.usefixtures("administrator")
def test_token_file_is_the_last_resort(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """With no option of any method set, ``~/.vault-token`` is used."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))

    assert log_in(scripted, {}).value == "hvs.ADMIN"
    assert scripted.requests[0].headers["x-vault-token"] == "hvs.ADMIN"


@pytest.mark.usefixtures("administrator")
@pytest.mark.parametrize(
    ("environ", "keys"),
    [
        ({"VAULT_SECRET_ID": SECRET_ID}, {}),
        ({"VAULT_SECRET_ID_FILE": "/no/such/file"}, {}),
        ({}, {"vault_secret_id_file": "/no/such/file"}),
        ({}, {"vault_role_id": "x", "vault_secret_id_file": "/no/such/file"}),
    ],
)
def test_administrators_token_does_not_answer_for_an_application(
    scripted: ScriptedServer, environ: dict[str, str], keys: dict[str, str]
) -> None:
    """Half an AppRole is broken, not absent: the login fails, and the token file stays untouched."""
    with pytest.raises(ConfigurationError, match=r"vault_role_id: missing \(set --role-id|/no/such/file: No such file"):
        log_in(scripted, environ, keys)

    assert scripted.requests == []


@pytest.mark.usefixtures("administrator")
def test_refused_login_does_not_fall_back(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """``auto`` goes on only where there is nothing to try; a refusal is final."""
    scripted.on_login(exchanges["approle_login_bad_secret_id"])

    with pytest.raises(AuthenticationError, match="login refused: invalid role or secret ID; check vault_role_id"):
        log_in(scripted, APPROLE)
    assert [r.path for r in scripted.requests] == ["/v1/auth/approle/login"]


@pytest.mark.usefixtures("administrator")
@pytest.mark.parametrize(
    ("environ", "keys"),
    [
        ({"VAULT_AUTH_ROLE": "app"}, {}),
        ({}, {"vault_auth_role": "app"}),
        ({}, {"vault_auth_method": "kubernetes", "vault_auth_role": "app"}),
        ({}, {"vault_auth_method": "userpass", "vault_username": "alice"}),
        ({}, {"vault_auth_mount": "k8s-prod"}),
        ({"VAULT_TOKEN": "hvs.ADMIN"}, {"vault_auth_mount": "k8s-prod"}),
        ({"VAULT_LOGIN_MFA_CODE_COMMAND": "x"}, {}),
        ({"VAULT_ROLE_ID": "", "VAULT_SECRET_ID": ""}, {}),
        ({}, {"vault_username": ""}),
        ({}, {"vault_token_file": "", "vault_role_id": ""}),
    ],
)
def test_administrators_token_answers_for_no_other_method(
    scripted: ScriptedServer, environ: dict[str, str], keys: dict[str, str]
) -> None:
    """Where anything tells that another method is meant, the token file stays untouched, whatever becomes of that."""
    with pytest.raises(VaultCredentialError):
        log_in(scripted, environ, keys)

    assert [r.headers.get("x-vault-token") for r in scripted.requests] == []
