"""Userpass: what it sends, and the whole way on a real server, which locks users."""

from __future__ import annotations

import pathlib
from typing import ClassVar

import pytest
import requests

from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.auth.userpass import Userpass
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import DIRECTLY

from ..conftest import Run
from ..pages import Page
from .methods import document, get
from .passwords import PasswordContract

RIGHT = "correct-horse"


class TestContract(PasswordContract):
    """The contract of every method, and of those with a password."""

    method: ClassVar[type[PasswordMethod]] = Userpass
    wrong: ClassVar[str] = "invalid username or password"


@pytest.fixture(scope="module")
def users(fresh: Laboratory) -> Laboratory:
    """A server that was set up as the page tells."""
    Page("userpass").set_up(fresh.server, fresh.directory)
    return fresh


def test_profile_of_the_page_logs_in(run: Run, users: Laboratory, clean_environment: pathlib.Path) -> None:
    """The page's profile and the password of a variable give AWS credentials."""
    done = get(run, users, Page("userpass").profile(), clean_environment, VAULT_PASSWORD=RIGHT)

    assert document(done)["Version"] == 1


@pytest.mark.parametrize(
    ("keys", "environ", "code", "words"),
    [
        (
            {},
            {"VAULT_PASSWORD": "wrong"},
            3,
            "refused: invalid username or password; check vault_username (from vault_username in [profile webapp]) and",
        ),
        ({}, {}, 3, "nobody is logged in; run: vault-credential-process login --profile webapp\n"),
        ({"vault_username": "nobody"}, {"VAULT_PASSWORD": RIGHT}, 3, "refused: invalid username or password; check"),
        (
            {"vault_username": "alice@example.org"},
            {"VAULT_PASSWORD": RIGHT},
            2,
            ": unsupported path: userpass has no such user names; check vault_username (from vault_username in ",
        ),
        ({"vault_auth_mount": "nowhere"}, {"VAULT_PASSWORD": RIGHT}, 3, "no auth method is mounted at nowhere (Vault"),
        ({"vault_aws_role": "other"}, {"VAULT_PASSWORD": RIGHT}, 4, "the token has no policy for aws/creds/other"),
        ({"vault_password_file": "/no/such/file"}, {}, 2, "vault_password_file: /no/such/file: No such file or"),
    ],
)
def test_what_is_wrong_says_what_to_do(
    run: Run,
    users: Laboratory,
    clean_environment: pathlib.Path,
    keys: dict[str, str],
    environ: dict[str, str],
    code: int,
    words: str,
) -> None:
    """Each mistake is one line, with the code of its class."""
    done = get(run, users, {**Page("userpass").profile(), **keys}, clean_environment, **environ)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_locked_user(run: Run, users: Laboratory, clean_environment: pathlib.Path) -> None:
    """After five wrong passwords the right one is refused, which the error explains; unlocked as the page tells."""
    server = users.server
    server.call("POST", "auth/userpass/users/locked", {"password": RIGHT, "token_policies": "webapp"})
    address = f"{server.address}/v1/auth/userpass/login/locked"
    for status in (400, 400, 400, 400, 400, 403):
        answer = requests.post(address, json={"password": "wrong"}, timeout=30, proxies=DIRECTLY)
        assert answer.status_code == status

    keys = {**Page("userpass").profile(), "vault_username": "locked"}
    done = get(run, users, keys, clean_environment, VAULT_PASSWORD=RIGHT)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"vault-credential-process: {address}: login refused: permission denied; either no auth method is mounted at "
        "userpass (Vault answers 403 for that; check vault_auth_mount and vault_auth_namespace), or locked is locked "
        "out after wrong passwords: wait 15 minutes, or see sys/locked-users\n"
    )

    told = Page("userpass").section("Good to know")
    assert "`vault read sys/locked-users`" in told
    (mount,) = server.call("GET", "sys/locked-users")["data"]["by_namespace"][0]["mount_accessors"]
    unlock = "sys/locked-users/<mount accessor>/unlock/alice"
    assert f"`vault write -f {unlock}`" in told
    path = unlock.replace("<mount accessor>", mount["mount_accessor"]).replace("alice", "locked")
    server.call("POST", path, {})
    document(get(run, users, keys, clean_environment, VAULT_PASSWORD=RIGHT))


def test_programs_do_not_lock_a_user(run: Run, users: Laboratory, clean_environment: pathlib.Path) -> None:
    """Seven calls with a wrong stored password leave the user unlocked."""
    users.server.call("POST", "auth/userpass/users/bob", {"password": RIGHT, "token_policies": "webapp"})
    keys = {**Page("userpass").profile(), "vault_username": "bob"}
    for _ in range(7):
        assert get(run, users, keys, clean_environment, VAULT_PASSWORD="wrong").returncode == 3

    document(get(run, users, keys, clean_environment, VAULT_PASSWORD=RIGHT))
