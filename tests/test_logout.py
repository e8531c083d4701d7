"""``logout``: the token ends at the server and here, with all that it asked for."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import requests

from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, reset

from .conftest import Run, Tenant, new_tenant
from .desk import ASKED, PASSWORD, Desk, with_users
from .test_cache_command import cache_files, is_alive, kept_token
from .test_command import config_of, document, refusal, token_for, without_approle


@pytest.fixture(scope="module")
def users(fresh: Laboratory) -> Laboratory:
    """A server with a user."""
    return with_users(fresh)


@pytest.fixture
def desk(users: Laboratory, clean_environment: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The user's place."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(clean_environment / "config"))
    return Desk.of_alice(users, clean_environment, run)


def logged_out(done: Any) -> list[str]:
    """Return the lines of a logout that succeeded."""
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout).splitlines()


def test_logout(desk: Desk) -> None:
    """The token is dead at the server, nothing is kept, and ``get`` says who must log in."""
    desk.logged_in()
    token = kept_token()
    expiration = document(desk.get())["Expiration"]
    where = f"aws/creds/webapp at {desk.laboratory.server.address}"

    assert logged_out(desk.command("logout")) == [
        "revoked the Vault token, and with it every IAM user that it asked for",
        f"STS credentials cannot be revoked by anyone: the pair just forgotten lives until {expiration}",
        f"forgot the credentials of {where}",
        f"forgot the Vault token of auth/userpass at {desk.laboratory.server.address}",
    ]
    with pytest.raises(requests.HTTPError, match="403"):
        desk.laboratory.server.call("POST", "auth/token/lookup", {"token": token})
    assert cache_files("entry-*") == cache_files("quick-*") == []
    assert "nobody is logged in; run: vault-credential-process login" in refusal(desk.get(), 3)


def test_nobody_is_logged_in(desk: Desk) -> None:
    """Logging out twice is no failure."""
    said = [f"nobody is logged in to {desk.laboratory.server.address}"]
    assert logged_out(desk.command("logout")) == said
    desk.logged_in()
    logged_out(desk.command("logout"))

    assert logged_out(desk.command("logout")) == said


def test_all_roles_are_forgotten(desk: Desk) -> None:
    """Whatever role the token asked credentials for, they are forgotten with it; those of others stay."""
    tenant = new_tenant(desk.laboratory, desk.home)
    desk.laboratory.assumed_role(tenant.role)
    desk.logged_in()
    document(desk.get())
    document(desk.get("--role-session-name=ana"))
    machine = [f"--role-id={tenant.approle['role_id']}", f"--secret-id-file={tenant.approle['secret_id_file']}"]
    document(desk.get("--auth=approle", f"--role={tenant.role}", *machine))
    lines = logged_out(desk.command("logout"))

    assert sum(line.startswith("forgot the credentials of aws/creds/webapp ") for line in lines) == 2
    kinds = sorted(json.loads(path.read_text())["kind"] for path in cache_files("entry-*"))
    assert kinds == ["credentials", "token"]
    rows = json.loads(desk.command("cache", "list", "--json").stdout)
    assert {row["path"] for row in rows} == {f"aws/creds/{tenant.role}", "auth/approle"}


def test_logout_without_a_role(desk: Desk) -> None:
    """Where no role is configured the token is named by where it came from."""
    desk.profile(vault_aws_role=None)
    desk.logged_in()

    assert logged_out(desk.command("logout"))[-1] == (
        f"forgot the Vault token of auth/userpass at {desk.laboratory.server.address}"
    )


def test_token_that_has_ended(desk: Desk) -> None:
    """A token that somebody else ended is forgotten like any other."""
    desk.logged_in()
    desk.laboratory.server.call("POST", "auth/token/revoke", {"token": kept_token()})

    assert logged_out(desk.command("logout"))[0].startswith("the Vault token had ended already")
    assert cache_files("entry-*") == []


def test_token_from_outside(command: Run, tenant: Tenant) -> None:
    """A token that was handed in is its owner's to end."""
    token = token_for(tenant)
    without_approle(tenant)
    environ = {"VAULT_TOKEN": token, "AWS_CONFIG_FILE": str(tenant.home / "config")}
    document(command("get", "--profile=webapp", **environ))
    lines = logged_out(command("logout", "--profile=webapp", **environ))

    assert "so nothing was revoked: a token from outside is its owner's to end" in lines[0]
    assert is_alive(tenant, token)
    assert cache_files("entry-*") == []


AWAY = {"sealed": ("sealed", 6, "Vault is sealed"), "denied": ("creds_permission_denied", 4, "may not revoke itself")}


@pytest.mark.parametrize(("answer", "code", "words"), AWAY.values(), ids=AWAY)
def test_token_that_cannot_be_revoked(
    desk: Desk,
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    answer: str,
    code: int,
    words: str,
) -> None:
    """While Vault cannot end it nothing is forgotten, and the line says how to; then it is, and how long it lives."""
    auth = {"client_token": "hvs.ALICE", "lease_duration": 3600, "policies": ["app"]}
    scripted.on("POST", "auth/userpass/login/alice", reply(200, {"auth": auth}))
    scripted.on("GET", "aws/creds/webapp", replay(exchanges["creds_assumed_role"]))
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))
    scripted.on("POST", "auth/token/revoke-self", replay(exchanges[answer]))
    desk.profile(vault_addr=scripted.address)
    with desk.login() as typist:
        typist.answers(ASKED, PASSWORD)
        until = typist.ends().stdout.partition(" until ")[2].strip()
    document(desk.get())
    said = refusal(desk.command("logout"), code)
    assert words in said
    assert said.rstrip().endswith(f"; logout --force forgets the token here, though it lives until {until}")
    assert len(cache_files("entry-*")) == 2

    lines = logged_out(desk.command("logout", "--force"))
    assert lines[0].startswith(f"the Vault token was not revoked and lives until {until} (")
    assert words in lines[0]
    assert cache_files("entry-*") == []


@pytest.mark.parametrize("forced", [False, True], ids=["", "forced"])
def test_answer_that_is_lost(desk: Desk, scripted: ScriptedServer, exchanges: dict[str, Any], forced: bool) -> None:
    """Where Vault may have ended the token it is forgotten, forced or not, and the line says that there is doubt."""
    auth = {"client_token": "hvs.ALICE", "lease_duration": 3600, "policies": ["app"]}
    scripted.on("POST", "auth/userpass/login/alice", reply(200, {"auth": auth}))
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))
    scripted.on("POST", "auth/token/revoke-self", reset)
    desk.profile(vault_addr=scripted.address)
    with desk.login() as typist:
        typist.answers(ASKED, PASSWORD)
        until = typist.ends().stdout.partition(" until ")[2].strip()
    told = (
        f"vault-credential-process: {scripted.address}: the connection broke during POST auth/token/revoke-self; check "
        "the network and vault_addr (https:// where the server speaks TLS); Vault may have ended the token all the "
        f"same, so it is forgotten here, with every IAM user that it asked for; if not, it lives until {until}\n"
    )
    if forced:
        lines = logged_out(desk.command("logout", "--max-retries=0", "--force"))
        assert f"vault-credential-process: {lines[0]}\n" == told
    else:
        assert refusal(desk.command("logout", "--max-retries=0"), 5) == told
    assert cache_files("entry-*") == []
    assert logged_out(desk.command("logout")) == [f"nobody is logged in to {scripted.address}"]


def test_real_server_is_sealed(desk: Desk) -> None:
    """While the real server is sealed everything is still kept; unsealed, it ends the token."""
    desk.logged_in()
    token = kept_token()
    desk.laboratory.server.seal()
    try:
        said = refusal(desk.command("logout", "--max-retries=0"), 6)
    finally:
        desk.laboratory.server.unseal()

    assert "/v1/auth/token/revoke-self: Vault is sealed; unseal it" in said
    assert kept_token() == token
    assert logged_out(desk.command("logout"))[0].startswith("revoked the Vault token")


@pytest.mark.real_engine
def test_iam_user_ends(laboratory: Laboratory, command: Run, clean_environment: Any) -> None:
    """On the real engine the IAM user goes with the token."""
    owner = new_tenant(laboratory, clean_environment)
    laboratory.iam_user(owner.role)
    environ = {"AWS_CONFIG_FILE": config_of(owner)}
    first = document(command("get", "--profile=webapp", **environ))
    logged_out(command("logout", "--profile=webapp", **environ))

    assert document(command("get", "--profile=webapp", **environ))["AccessKeyId"] != first["AccessKeyId"]
