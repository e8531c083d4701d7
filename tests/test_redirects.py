"""Redirects: a standby names the active node, and the token goes there only where a standby may send it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from vault_credential_process import requester as vault_module
from vault_credential_process.errors import UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import ScriptedServer, reply
from vault_credential_process.vault import Vault

from .talk import LOGGED_IN, LOGIN, READ, SECRET_ID, STS, TOKEN, log_in_to, read_from, said, settings, talk


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


@pytest.fixture
def active() -> Iterator[ScriptedServer]:
    """The active node, to which a standby redirects."""
    with ScriptedServer() as server:
        server.on("POST", LOGIN, LOGGED_IN)
        server.on("GET", READ, STS)
        yield server


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_standby_redirects_to_the_active_node(scripted: ScriptedServer, active: ScriptedServer, status: int) -> None:
    """One hop is followed with method, body, parameters, namespace and token as they were."""
    scripted.on("POST", LOGIN, reply(status, headers={"Location": f"{active.address}/v1/{LOGIN}"}))
    scripted.on("GET", READ, reply(status, headers={"Location": f"{active.address}/v1/{READ}?ttl=1200s"}))
    environ = {"VAULT_NAMESPACE": "team-a", "VAULT_AWS_TTL": "20m"}

    log_in_to(scripted.address, **environ)
    read_from(scripted.address, **environ)

    first, second = active.requests
    assert (first.method, first.json["secret_id"], first.headers.get("x-vault-token")) == ("POST", SECRET_ID, None)
    assert (second.method, second.path, second.headers["x-vault-token"]) == ("GET", f"/v1/{READ}?ttl=1200s", TOKEN)
    assert {r.headers["x-vault-namespace"] for r in active.requests} == {"team-a"}
    assert len(scripted.requests) == 2


def refused(server: ScriptedServer, location: str, location_of_login: str = "") -> str:
    """Return the message about a redirect of a login and of a read, both refused."""
    server.on("POST", LOGIN, reply(307, headers={"Location": location_of_login or location}))
    server.on("GET", READ, reply(307, headers={"Location": location}))
    for ask in (log_in_to, read_from):
        with pytest.raises(UnreachableError) as caught:
            ask(server.address)
    assert len(server.requests) == 2
    return said(caught.value)


def test_redirect_to_another_host_over_http(scripted: ScriptedServer, active: ScriptedServer) -> None:
    """Over plain http a redirect must not leave the host: nothing is sent there, and the message says what to mend."""
    message = refused(scripted, active.address.replace("127.0.0.1", "localhost") + f"/v1/{READ}")

    assert "redirected to http://localhost" in message
    assert "api_addr" in message
    assert active.requests == []


@pytest.mark.parametrize(
    "location",
    [
        "http://[bad",
        "ftp://127.0.0.1/v1/" + READ,
        "/ui/",
        "file:///etc/passwd",
        "http://127.0.0.1:x/v1/" + READ,
        "http://127.0.0.1:0/v1/" + READ,
        "http://127.0.0.1:65536/v1/" + READ,
        "//[::1/v1/" + READ,
        "\\\\127.0.0.1\\v1",
        "javascript:alert(1)",
        "x" * 9000,
    ],
)
def test_redirect_to_nowhere(scripted: ScriptedServer, location: str) -> None:
    """A redirect without a usable target, or to another path, is refused without a traceback."""
    assert scripted.address in refused(scripted, location)


@pytest.mark.parametrize(
    "location",
    [
        "{active}/v1/team-a/{path}",
        "{active}/v1/{path}/more",
        "{active}/v1/{path}x",
        "{active}/v2/{path}",
        "{active}/v1/aws/creds/admin",
        "http://ana:url-password@{host}/v1/{path}",
        "http://127.0.0.1@{host}/v1/{path}",
    ],
)
def test_redirect_to_another_path_or_user(
    scripted: ScriptedServer,
    active: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    location: str,
) -> None:
    """A standby sends on to the same path, a namespace in it not excepted, and has no user name for it."""
    caplog.set_level(logging.DEBUG)
    host = active.address.removeprefix("http://")
    for path, ask in ((LOGIN, log_in_to), (READ, read_from)):
        target = location.format(active=active.address, host=host, path=path)
        method = "POST" if path == LOGIN else "GET"
        scripted.on(method, path, reply(307, headers={"Location": target}))
        with pytest.raises(UnreachableError, match="where the token must not go") as caught:
            ask(scripted.address)
        assert "url-password" not in said(caught.value) + caplog.text

    assert active.requests == []


def test_redirect_below_a_prefix(scripted: ScriptedServer, active: ScriptedServer) -> None:
    """An ``api_addr`` may lead through a gateway that has Vault under a path of its own."""
    scripted.on("POST", LOGIN, reply(307, headers={"Location": f"{active.address}/vault/v1/{LOGIN}"}))
    active.otherwise = LOGGED_IN

    assert log_in_to(scripted.address).value == TOKEN
    assert [r.path for r in active.requests] == [f"/vault/v1/{LOGIN}"]


@pytest.mark.parametrize("written", ["ana@example.com", "ana%40example.com"])
def test_redirect_writes_the_path_anew(scripted: ScriptedServer, active: ScriptedServer, written: str) -> None:
    """A standby in Go escapes less than we do; the active node is sent the path as the standby was."""
    path = "auth/userpass/login/ana%40example.com"
    scripted.on("POST", path, reply(307, headers={"Location": f"{active.address}/v1/auth/userpass/login/{written}"}))
    active.on("POST", path, LOGGED_IN)

    with Vault(settings(scripted.address), Deadline(20)) as vault:
        vault.login(path, {"password": SECRET_ID}, mount="userpass", remedy="", secrets=(SECRET_ID,))

    assert active.asked("POST", path) == 1


def test_redirect_without_a_host(scripted: ScriptedServer) -> None:
    """A path alone leads to the same server, once more with method and body."""
    scripted.on("POST", LOGIN, reply(307, headers={"Location": f"/v1/{LOGIN}"}), LOGGED_IN)

    assert log_in_to(scripted.address).value == TOKEN
    assert [(r.method, r.json["secret_id"]) for r in scripted.requests] == [("POST", SECRET_ID)] * 2


def test_redirect_to_a_node_that_is_gone(scripted: ScriptedServer, active: ScriptedServer) -> None:
    """A standby that still names the node that died is asked again, and sends on to its successor."""
    gone = ScriptedServer()
    gone.__enter__()
    gone.__exit__()
    replies = [reply(307, headers={"Location": f"{server.address}/v1/{READ}"}) for server in (gone, active)]
    scripted.on("GET", READ, *replies)

    talk(scripted, "sts read")

    assert scripted.asked("GET", READ) == 2
    assert active.asked("GET", READ) == 1


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example", "[::1]a.example", "*.example:8200"])
def test_redirect_to_what_is_no_address(scripted: ScriptedServer, host: str) -> None:
    """An address that cannot be written is told as such, and the standby is not asked again."""
    message = refused(scripted, f"https://{host}/v1/{READ}", f"https://{host}/v1/{LOGIN}")

    assert f"redirected to https://{host}, which is not an address; mend the api_addr" in message


@pytest.mark.parametrize("location", [f"/v1/{LOGIN}", f"http:///v1/{LOGIN}", "//", "?", ""])
def test_redirect_loop(scripted: ScriptedServer, location: str) -> None:
    """A second redirect is refused, be it to the same node."""
    scripted.on("POST", LOGIN, reply(307, headers={"Location": location}))

    with pytest.raises(UnreachableError) as caught:
        log_in_to(scripted.address)

    assert "redirected a second time" in said(caught.value)
    assert scripted.asked("POST", LOGIN) == 2


@pytest.mark.parametrize("status", [300, 303, 304])
def test_other_redirects_are_no_success(scripted: ScriptedServer, active: ScriptedServer, status: int) -> None:
    """A status of redirection that no Vault sends is an error and is not followed."""
    scripted.on("POST", LOGIN, reply(status, headers={"Location": f"{active.address}/v1/{LOGIN}"}))

    with pytest.raises(UnreachableError, match=f"HTTP {status}"):
        log_in_to(scripted.address)

    assert active.requests == []
