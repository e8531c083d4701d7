"""LDAP: what it sends, and the whole way on a real server with a real directory."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import pytest
import requests

from vault_credential_process.auth.ldap import LDAP
from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.demo.aws import LocalAWS
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import DIRECTLY, VaultServer

from .. import peers
from ..conftest import Run
from ..pages import Page
from .methods import document, get, log_in
from .passwords import PasswordContract

USERS = {
    "alice": "wonder'land \\ ü",
    "bob b": "builder",
    "carol@example.org": "carol's",
    "example/dan": "dan's",
    "EXAMPLE\\erin": "erin's",
    "50%": "half",
    "jürgen": "jürgen's",
    "mallory": "mallory's",
    "locked": "locked's",
}
MEMBERS = [name for name in USERS if name != "mallory"]


class TestContract(PasswordContract):
    """The contract of every method, and of those with a password."""

    method: ClassVar[type[PasswordMethod]] = LDAP
    wrong: ClassVar[str] = "ldap operation failed: failed to bind as user"


class People(NamedTuple):
    """A server and its directory."""

    laboratory: Laboratory
    directory: peers.LdapServer


@pytest.fixture(scope="module")
def people(cloud: LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server that was set up as the page tells, and a directory whose group ``aws`` has all but mallory."""
    engine = peers.older_engine()
    with peers.LdapServer(USERS, {"aws": MEMBERS}) as directory, VaultServer(engine) as server:
        laboratory = Laboratory(server, cloud, tmp_path_factory.mktemp("ldap"))
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        laboratory.assumed_role("webapp")
        replacing = {
            "ldaps://ldap.example.org": directory.url,
            "cn=vault,dc=example,dc=org": directory.bind_dn,
            "c0ffee-c0ffee": directory.bind_password,
        }
        Page("ldap").set_up(server, laboratory.directory, replacing)
        yield People(laboratory, directory)


@peers.needs("slapd")
@pytest.mark.parametrize("name", MEMBERS[:-1])
def test_profile_of_the_page_logs_in(run: Run, people: People, clean_environment: pathlib.Path, name: str) -> None:
    """The page's profile, for users of all kinds of names, gives AWS credentials by the policy of their group."""
    keys = {**Page("ldap").profile(), "vault_username": name}
    done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=USERS[name])

    assert document(done)["Version"] == 1


@peers.needs("slapd")
@pytest.mark.parametrize(
    ("keys", "password", "code", "words"),
    [
        ({}, "wrong", 3, "refused: ldap operation failed: failed to bind as user; check vault_username (from vault_us"),
        ({"vault_username": "nobody"}, "x", 3, "refused: ldap operation failed: failed to bind as user; check vault_"),
        ({}, "", 3, "auth/ldap: nobody is logged in; run: vault-credential-process login --profile webapp\n"),
        ({}, " ", 2, "vault_password: VAULT_PASSWORD: empty\n"),
        (
            {"vault_username": "mallory"},
            "mallory's",
            4,
            "the token has no policy for aws/creds/webapp (its policies: de",
        ),
        ({"vault_auth_mount": "nowhere"}, "x", 3, "either no auth method is mounted at nowhere (Vault answers 403 for"),
        ({"vault_password_file": "/no/such/file"}, "", 2, "vault_password_file: /no/such/file: No such file or dir"),
    ],
)
def test_what_is_wrong_says_what_to_do(
    run: Run,
    people: People,
    clean_environment: pathlib.Path,
    keys: dict[str, str],
    password: str,
    code: int,
    words: str,
) -> None:
    """Each mistake is one line, with the code of its class."""
    keys = {**Page("ldap").profile(), **keys}
    done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=password)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@peers.needs("slapd")
def test_directory_away(run: Run, people: People, clean_environment: pathlib.Path) -> None:
    """While the directory is away the error says so, and is that of an unreachable server; then all is well again."""
    keys = Page("ldap").profile()
    people.directory.stop()
    try:
        done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=USERS["alice"])
    finally:
        people.directory.start()

    assert (done.returncode, done.stdout) == (5, "")
    assert "auth/ldap/login/alice: Vault does not reach the directory: 1 error occurred: * error connect" in done.stderr
    assert done.stderr.endswith("; check that it runs, and auth/ldap/config, then try again\n")
    document(get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=USERS["alice"]))


@peers.needs("slapd")
def test_wrong_account_of_vault_looks_like_a_wrong_password(people: People) -> None:
    """As the page tells: with a wrong ``bindpass`` Vault says what it says for a wrong password."""
    server = people.laboratory.server
    server.call("POST", "auth/ldap/config", {"bindpass": "wrong"})
    answer = requests.post(
        f"{server.address}/v1/auth/ldap/login/alice",
        json={"password": USERS["alice"]},
        timeout=30,
        proxies=DIRECTLY,
    )
    server.call("POST", "auth/ldap/config", {"bindpass": people.directory.bind_password})

    assert (answer.status_code, answer.json()["errors"]) == (400, [TestContract.wrong])


@peers.needs("slapd")
def test_locked_user(run: Run, people: People, clean_environment: pathlib.Path) -> None:
    """After wrong passwords Vault refuses the right one, which the error explains."""
    address = f"{people.laboratory.server.address}/v1/auth/ldap/login/locked"
    for status in (400, 400, 400, 400, 400, 403):
        answer = requests.post(address, json={"password": "wrong"}, timeout=30, proxies=DIRECTLY)
        assert answer.status_code == status

    keys = {**Page("ldap").profile(), "vault_username": "locked"}
    done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=USERS["locked"])
    assert (done.returncode, done.stdout) == (3, "")
    assert "or locked is locked out after wrong passwords: wait 15 minutes, or see sys/locked-users\n" in done.stderr


@peers.needs("slapd")
def test_renewal_asks_the_directory(people: People) -> None:
    """As the page tells: to renew the token Vault logs in to the directory once more."""
    server = people.laboratory.server
    keys = Page("ldap").profile() | {"vault_addr": server.address}
    token = log_in(server.address, keys, {"VAULT_PASSWORD": USERS["alice"]})
    assert token.renewable
    server.call("POST", "auth/token/renew-self", {}, token=token.value)

    people.directory.stop()
    try:
        with pytest.raises(requests.HTTPError, match="connection refused"):
            server.call("POST", "auth/token/renew-self", {}, token=token.value)
    finally:
        people.directory.start()
