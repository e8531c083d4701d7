"""Radius: what it sends, and the whole way on a real server with a real RADIUS server."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import pytest
import requests

from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.auth.radius import Radius
from vault_credential_process.demo.aws import LocalAWS
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import VaultServer

from .. import peers
from ..conftest import Run
from ..pages import Page
from .methods import document, get, log_in
from .passwords import PasswordContract

USERS = {
    "alice": 'wonder\'land \\ "%{User-Name}" ü',
    "bob b": "builder",
    "carol@example.org": "carol's",
    "example/dan": "dan's",
    "50%": "half",
    "jürgen": "jürgen's",
    "mallory": "mallory's",
}


class TestContract(PasswordContract):
    """The contract of every method, and of those with a password."""

    method: ClassVar[type[PasswordMethod]] = Radius
    wrong: ClassVar[str] = "access denied by the authentication server"


class People(NamedTuple):
    """A server and its RADIUS server."""

    laboratory: Laboratory
    radius: peers.RadiusServer


@pytest.fixture(scope="module")
def people(cloud: LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server that was set up as the page tells; all but mallory may read. At ``bare`` nothing is configured."""
    engine = peers.older_engine()
    with peers.RadiusServer(USERS) as radius, VaultServer(engine) as server:
        laboratory = Laboratory(server, cloud, tmp_path_factory.mktemp("radius"))
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        laboratory.assumed_role("webapp")
        replacing = {"radius.example.org": radius.host, "1812": str(radius.port), "c0ffee-c0ffee": radius.secret}
        Page("radius").set_up(server, laboratory.directory, replacing)
        server.call("POST", "auth/radius/config", {"unregistered_user_policies": "webapp", "read_timeout": 2})
        server.call("POST", "auth/radius/users/mallory", {"policies": "default"})
        server.call("POST", "sys/auth/bare", {"type": "radius"})
        yield People(laboratory, radius)


@peers.needs("freeradius")
@pytest.mark.parametrize("name", [name for name in USERS if name != "mallory"])
def test_profile_of_the_page_logs_in(run: Run, people: People, clean_environment: pathlib.Path, name: str) -> None:
    """The page's profile, for users of all kinds of names, gives AWS credentials."""
    keys = {**Page("radius").profile(), "vault_username": name}
    done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=USERS[name])

    assert document(done)["Version"] == 1


@peers.needs("freeradius")
@pytest.mark.parametrize(
    ("keys", "password", "code", "words"),
    [
        ({}, "wrong", 3, "refused: access denied by the authentication server; check vault_username (from vault_user"),
        ({"vault_username": "nobody"}, "x", 3, "refused: access denied by the authentication server; check vault_use"),
        ({}, "", 3, "auth/radius: nobody is logged in; run: vault-credential-process login --profile webapp\n"),
        ({}, " ", 2, "vault_password: VAULT_PASSWORD: empty\n"),
        (
            {"vault_username": "mallory"},
            "mallory's",
            4,
            "the token has no policy for aws/creds/webapp (its policies: de",
        ),
        ({"vault_auth_mount": "nowhere"}, "x", 3, "either no auth method is mounted at nowhere (Vault answers 403 for"),
        ({"vault_auth_mount": "bare"}, "x", 2, ": radius backend not configured; write auth/bare/config in Vault\n"),
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
    keys = {**Page("radius").profile(), **keys}
    done = get(run, people.laboratory, keys, clean_environment, VAULT_PASSWORD=password)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@peers.needs("freeradius")
def test_server_away(run: Run, people: People, clean_environment: pathlib.Path) -> None:
    """While the RADIUS server is away, or Vault has another secret, the error says so; then all is well again."""
    keys, environ = Page("radius").profile(), {"VAULT_PASSWORD": USERS["alice"]}
    server = people.laboratory.server
    people.radius.stop()
    try:
        away = get(run, people.laboratory, keys, clean_environment, **environ)
    finally:
        people.radius.start()
    server.call("POST", "auth/radius/config", {"secret": "wrong"})
    silent = get(run, people.laboratory, keys, clean_environment, **environ)
    server.call("POST", "auth/radius/config", {"secret": people.radius.secret})

    assert (away.returncode, away.stdout, silent.returncode, silent.stdout) == (5, "", 5, "")
    start = f"vault-credential-process: {server.address}/v1/auth/radius/login/alice: Vault does not reach the RADIUS"
    end = "; check that it runs, and auth/radius/config, then try again\n"
    assert away.stderr.startswith(f"{start} server: read udp ")
    assert away.stderr.endswith(f": read: connection refused{end}")
    assert silent.stderr == f"{start} server: context deadline exceeded{end}"
    document(get(run, people.laboratory, keys, clean_environment, **environ))


@peers.needs("freeradius")
def test_demand_for_a_message_authenticator_looks_like_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch, people: People
) -> None:
    """As the page tells: Vault sends no ``Message-Authenticator``, and a server that demands one keeps silent."""
    server = people.laboratory.server
    demanding = peers.RADIUSD.replace("require_message_authenticator = no", "require_message_authenticator = yes")
    assert demanding != peers.RADIUSD
    monkeypatch.setattr(peers, "RADIUSD", demanding)
    with peers.RadiusServer({"alice": "pw"}) as radius:
        server.call("POST", "sys/auth/strict", {"type": "radius"})
        settings = {"host": radius.host, "port": radius.port, "secret": radius.secret, "read_timeout": 1}
        server.call("POST", "auth/strict/config", settings)

        with pytest.raises(requests.HTTPError, match=r"400 .*context deadline exceeded"):
            server.call("POST", "auth/strict/login/alice", {"password": "pw"})


@peers.needs("freeradius")
def test_renewal_asks_the_server(people: People) -> None:
    """As the page tells: to renew a token Vault sends the password once more, so the token is none to be renewed."""
    server = people.laboratory.server
    keys = Page("radius").profile() | {"vault_addr": server.address}
    token = log_in(server.address, keys, {"VAULT_PASSWORD": USERS["alice"]})
    assert not token.renewable
    server.call("POST", "auth/token/renew-self", {}, token=token.value)

    people.radius.stop()
    try:
        with pytest.raises(requests.HTTPError, match="connection refused"):
            server.call("POST", "auth/token/renew-self", {}, token=token.value)
    finally:
        people.radius.start()
