"""OIDC: what is sent, who may come back, what the browser is shown, and the whole way with a real provider."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import socket
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import requests

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod, callback, oidc, page
from vault_credential_process.auth.oidc import OIDC
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Identity, Person, VaultToken
from vault_credential_process.testing.auth import TOKEN, AuthMethodContract
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply
from vault_credential_process.vault import Vault

from ..conftest import ENGINE, Run
from ..pages import Page
from .methods import NOW, document, get, log_in
from .people import CODE, People, Somebody, come_back, fetch, logging_in
from .provider import Provider

AUTH_URL, CALLBACK, POLL = (f"auth/oidc/oidc/{name}" for name in ("auth_url", "callback", "poll"))
STATE, NONCE = "st_canary-state", "n_canary-nonce"
ACCEPTED = AuthMethodContract.accepted

openbao = pytest.mark.skipif("bao" not in os.path.basename(ENGINE.binary), reason="a feature of OpenBao alone")


def address_to(redirect_uri: str, state: str = STATE) -> str:
    """Return the address of a provider, as Vault makes it."""
    query = {"client_id": "vault", "nonce": NONCE, "redirect_uri": redirect_uri, "state": state}
    return "https://idp.example.com/authorize?" + urllib.parse.urlencode(query)


def offer(server: ScriptedServer, state: str = STATE, path: str = AUTH_URL) -> None:
    """Answer ``auth_url`` with an address that leads back to where the request says."""

    def answer(connection: socket.socket, request: Request) -> None:
        data = {"auth_url": address_to(request.json["redirect_uri"], state)}
        connection.sendall(reply(200, {"data": data}))

    server.on("POST", path, answer)


def pending(server: ScriptedServer, path: str = AUTH_URL, **data: str) -> None:
    """Answer ``auth_url`` as for a role whose login is polled for."""
    given = {"auth_url": "https://idp.example.com/device", "poll_interval": "0", "state": STATE} | data
    server.on("POST", path, reply(200, {"data": given}))


class TestContract(AuthMethodContract):
    """The contract of every method, with a person whose browser comes back."""

    method: ClassVar[type[AuthMethod]] = OIDC
    verb: ClassVar[str] = "GET"
    path: ClassVar[str] = "auth/{mount}/oidc/callback"

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_auth_role": "webapp", "vault_oidc_callback_port": str(free_port())}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return ()  # Vault wants state and code in the address of this request; see test_secrets_stay_secret

    def person(self) -> Person:
        return Somebody(come_back)

    def _answer(self, server: ScriptedServer, settings: dict[str, Any], answer: Reply) -> None:
        offer(server, path=self._path(settings).replace("callback", "auth_url"))
        super()._answer(server, settings, answer)


class TestDeviceContract(AuthMethodContract):
    """The contract of every method, with a person who logs in elsewhere."""

    method: ClassVar[type[AuthMethod]] = OIDC
    path: ClassVar[str] = "auth/{mount}/oidc/poll"

    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(oidc, "LEAST_INTERVAL", 0.01)

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_auth_role": "webapp", "vault_oidc_mode": "device"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (STATE,)

    def person(self) -> Person:
        return Somebody()

    def _answer(self, server: ScriptedServer, settings: dict[str, Any], answer: Reply) -> None:
        pending(server, path=self._path(settings).replace("poll", "auth_url"), user_code="ABCD-EFGH")
        super()._answer(server, settings, answer)


@pytest.fixture
def port() -> int:
    """A port to come back to."""
    return free_port()


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    """A server that accepts whoever comes back."""
    offer(scripted)
    scripted.on("GET", CALLBACK, ACCEPTED)
    return scripted


def login(server: ScriptedServer, person: Person | None, port: int | None = None, **keys: str) -> VaultToken:
    """Log in with a profile for OIDC."""
    given = {"vault_auth_method": "oidc", **keys}
    if port is not None:
        given["vault_oidc_callback_port"] = str(port)
    return log_in(server.address, given, person=person)


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether something listens."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return probe.connect_ex((address, port)) == 0


def raw(port: int, request: str) -> tuple[int, str]:
    """Send a request as it stands; return the status and the page."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def has_ipv6() -> bool:
    """Tell whether this machine has ``::1``."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_sends_what_vault_asks_for(server: ScriptedServer, port: int) -> None:
    """The role, the redirect URI and a nonce begin a login; state, code and the same nonce end it."""
    somebody = Somebody(come_back)
    assert login(server, somebody, port, vault_auth_role="webapp").value == TOKEN
    begun, ended = server.requests

    nonce = begun.json["client_nonce"]
    redirect_uri = f"http://localhost:{port}/oidc/callback"
    assert (begun.method, begun.path) == ("POST", f"/v1/{AUTH_URL}")
    assert begun.json == {"role": "webapp", "redirect_uri": redirect_uri, "client_nonce": nonce}
    assert (ended.method, ended.body) == ("GET", b"")
    path, _, query = ended.path.partition("?")
    assert path == f"/v1/{CALLBACK}"
    assert dict(urllib.parse.parse_qsl(query)) == {"state": STATE, "code": CODE, "client_nonce": nonce}
    assert somebody.told == ["Log in in the browser, within 20 s."]


def test_nonce_is_new_and_long(server: ScriptedServer, port: int) -> None:
    """Each login has a nonce of its own of 256 bits; without a role none is sent."""
    for _ in range(2):
        login(server, Somebody(come_back), port)
    first, second = (request.json for request in server.requests if request.method == "POST")

    assert first["client_nonce"] != second["client_nonce"]
    assert len(first["client_nonce"]) == 43
    assert first.keys() == {"client_nonce", "redirect_uri"}


def test_listens_before_vault_is_asked_and_not_after(server: ScriptedServer, port: int) -> None:
    """The port is open when the login begins, on loopback addresses alone, and closed when it has ended."""
    seen = []

    def answer(connection: socket.socket, request: Request) -> None:
        seen.extend(is_open(port, address) for address in ("127.0.0.1", "127.0.0.2", *(["::1"] * has_ipv6())))
        connection.sendall(reply(200, {"data": {"auth_url": address_to(request.json["redirect_uri"])}}))

    server.on("POST", AUTH_URL, answer)
    login(server, Somebody(come_back), port)

    assert seen == [True, False, *([True] * has_ipv6())]
    assert not is_open(port)


@pytest.mark.parametrize(
    ("answer", "status", "title"),
    [
        (ACCEPTED, 200, "You are logged in"),
        (reply(400, {"errors": ["OpenBao login failed. Expired or missing OAuth state."]}), 403, "The login failed"),
        (reply(200, {"auth": None}), 403, "The login failed"),
    ],
)
def test_page_tells_the_truth(server: ScriptedServer, port: int, answer: bytes, status: int, title: str) -> None:
    """The browser is shown what came of the login, once Vault has decided, with nothing in it that is secret."""
    pages: list[requests.Response] = []
    decided = []

    def decide(connection: socket.socket, _: Request) -> None:
        decided.append(not pages)
        connection.sendall(answer)

    server.on("GET", CALLBACK, decide)
    somebody = Somebody(lambda address: pages.append(come_back(address)))
    with contextlib.suppress(AuthenticationError):
        login(server, somebody, port)
    assert somebody.done.wait(10)
    (shown,) = pages

    assert decided == [True]
    assert (shown.status_code, f"<h1>{title}</h1>" in shown.text) == (status, True)
    assert [word for word in (STATE, NONCE, CODE, TOKEN, "Expired") if word in shown.text] == []
    assert (server.address in shown.text) is (status == 200)


def test_page_needs_nothing_but_itself(server: ScriptedServer, port: int) -> None:
    """The page is kept by nobody, framed by nobody, and may load nothing; its one style is allowed by its hash."""
    pages: list[requests.Response] = []
    somebody = Somebody(lambda address: pages.append(come_back(address)))
    login(server, somebody, port)
    assert somebody.done.wait(10)
    headers, text = pages[0].headers, pages[0].text

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    kept = ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options", "Connection")
    assert [headers[name] for name in kept] == ["no-store", "no-referrer", "nosniff", "DENY", "close"]
    assert [word for word in ("src=", "href=", "url(", "<script", "style=", "onload") if word in text] == []
    assert text.count(f"<style>{page._STYLE}</style>") == 1


def test_page_escapes_what_it_is_told() -> None:
    """An address cannot put anything into the page."""
    assert b"<b>" not in page.welcome("<b>")
    assert b"&lt;b&gt; has accepted" in page.welcome("<b>")


GET = "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
GOOD_PATH = f"/oidc/callback?state={STATE}&code=evil"
INTRUDERS = {
    "another state": (GET, f"/oidc/callback?state=st_guess&code={CODE}", "localhost:{port}", 400),
    "a longer state": (GET, f"/oidc/callback?state={STATE}x&code={CODE}", "localhost:{port}", 400),
    "no state": (GET, f"/oidc/callback?code={CODE}", "localhost:{port}", 400),
    "an error without the state": (GET, "/oidc/callback?error=access_denied", "localhost:{port}", 400),
    "two states": (GET, f"/oidc/callback?state=st_guess&state={STATE}&code=evil", "localhost:{port}", 400),
    "two codes": (GET, f"{GOOD_PATH}&code=other", "localhost:{port}", 400),
    "neither code nor error": (GET, f"/oidc/callback?state={STATE}", "localhost:{port}", 400),
    "too many parameters": (GET, f"{GOOD_PATH}{'&a=b' * 60}", "localhost:{port}", 400),
    "a host of somebody else": (GET, GOOD_PATH, "rebound.example.com:{port}", 400),
    "a host that only begins like ours": (GET, GOOD_PATH, "localhost.example.com:{port}", 400),
    "another port": (GET, GOOD_PATH, "localhost:1", 400),
    "no host": ("GET {path} HTTP/1.1\r\n\r\n", GOOD_PATH, "", 400),
    "two hosts": ("GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n", GOOD_PATH, "localhost:{port}", 400),
    "an absolute address": (GET, f"http://localhost{GOOD_PATH}", "localhost:{port}", 400),
    "another path": (GET, f"/oidc?state={STATE}&code=evil", "localhost:{port}", 404),
    "an icon": (GET, "/favicon.ico", "localhost:{port}", 404),
    "a form": (
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nab",
        GOOD_PATH,
        "localhost:{port}",
        405,
    ),
    "no HTTP": ("\x16\x03\x01\r\n\r\n", "", "", 400),
    "a request without an end": ("GET /{path} HTTP/1.1\r\nX: " + "x" * callback.MAX_HEAD, "", "", 431),
}


@pytest.mark.parametrize("name", INTRUDERS)
def test_who_is_not_the_provider_is_refused(server: ScriptedServer, port: int, name: str) -> None:
    """A request that is not the expected one is refused, is not told to Vault, and does not end the wait."""
    text, path, host, status = INTRUDERS[name]
    seen: list[tuple[int, str]] = []

    def visit(address: str) -> None:
        seen.append(raw(port, text.format(path=path, host=host.format(port=port))))
        come_back(address)

    assert login(server, Somebody(visit), port).value == TOKEN
    ((answered, shown),) = seen

    assert answered == status
    assert "<h1>" in shown
    assert STATE not in shown
    assert server.asked("GET", CALLBACK) == 1
    assert f"code={CODE}" in server.requests[-1].path


def test_idle_connections_hold_nobody_up(server: ScriptedServer, port: int) -> None:
    """Connections on which nothing or half a request comes let the browser through; the oldest of too many goes."""
    ends = []

    def visit(address: str) -> None:
        first = None
        with contextlib.ExitStack() as stack:
            for number in range(callback.MAX_CONNECTIONS + 8):
                idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), callback.PATIENCE / 2))
                if number % 2:
                    idle.sendall(b"GET /oidc/callback")
                else:
                    first = first or idle
            ends.append(first.recv(1) if first else None)
            come_back(address)

    assert login(server, Somebody(visit), port).value == TOKEN
    assert ends == [b""]


def test_idle_connection_is_closed_in_time(server: ScriptedServer, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never sends a whole request is hung up on."""
    monkeypatch.setattr(callback, "PATIENCE", 0.0)
    ends = []

    def visit(address: str) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as idle:
            ends.append(idle.recv(1))
        monkeypatch.setattr(callback, "PATIENCE", 10.0)
        come_back(address)

    assert login(server, Somebody(visit), port).value == TOKEN
    assert ends == [b""]


def test_namespace_in_the_state_is_cut_off(server: ScriptedServer, port: int) -> None:
    """Vault appends the namespace to the state; what goes back to it is the part before."""
    offer(server, state=f"{STATE},ns=team/a")
    login(server, Somebody(come_back), port)

    assert urllib.parse.parse_qs(server.requests[-1].path.partition("?")[2])["state"] == [STATE]


def test_provider_refuses(server: ScriptedServer, port: int) -> None:
    """An error of the provider is one line, shown to the browser without its words, and not told to Vault."""
    pages: list[requests.Response] = []
    said = {"error": "access_denied", "error_description": f"alice\nsaid no to {STATE}"}
    somebody = Somebody(lambda address: pages.append(come_back(address, code="", **said)))

    with pytest.raises(AuthenticationError) as caught:
        login(server, somebody, port)

    where = f"{server.address}/v1/{CALLBACK}"
    refused = "the provider refused: access_denied: alice said no to ***; try again, or ask who runs the provider"
    assert str(caught.value) == f"{where}: {refused}"
    assert somebody.done.wait(10)
    assert (pages[0].status_code, "alice" in pages[0].text) == (403, False)
    assert server.asked("GET", CALLBACK) == 0


def test_without_a_browser_the_address_is_told(server: ScriptedServer, port: int) -> None:
    """Who has no browser is told the address, to be opened on this machine, and may come back from anywhere in it."""
    somebody = Somebody()
    tell = somebody.tell

    def carry(line: str) -> None:
        tell(line)
        if "http" in line:
            come_back(somebody.address)

    somebody.tell = carry  # type: ignore[method-assign]
    login(server, somebody, port)

    assert somebody.told[0] == "Log in in the browser, within 20 s."
    assert somebody.told[1].startswith("Open this address in a browser of this machine: https://idp.")
    assert somebody.address == address_to(f"http://localhost:{port}/oidc/callback")


@pytest.mark.parametrize(("seconds", "limit"), [(600, 120), (45, 45)])
def test_nobody_comes(server: ScriptedServer, port: int, seconds: float, limit: int) -> None:
    """After two minutes, or at the call's deadline, the wait ends with what to run; nothing listens any more."""
    now, step = [0.0], [0.0]

    def wait(_: str) -> None:
        step[0] = limit + 1

    def clock() -> float:
        now[0] += step[0]
        return now[0]

    given = {"vault_addr": server.address, "vault_oidc_callback_port": str(port), "vault_auth_method": "oidc"}
    config = auth.configure(given, {}, None)
    with (
        Vault(config, Deadline(seconds, clock), person=Somebody(wait)) as vault,
        pytest.raises(DeadlineError) as caught,
    ):
        auth.login(auth.choose(config), vault)

    where = f"{server.address}/v1/auth/oidc"
    command = f"vault-credential-process login --vault-addr {server.address} --auth oidc"
    assert str(caught.value) == f"{where}: nobody logged in within {limit} s; run: {command}"
    assert server.asked("GET", CALLBACK) == 0
    assert not is_open(port)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_port_is_taken(server: ScriptedServer, port: int, address: str) -> None:
    """A port that somebody else has, be it on one of the two addresses, is named before anything is asked."""
    if address == "::1" and not has_ipv6():
        pytest.skip("no ::1 on this machine")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family), pytest.raises(ConfigurationError) as caught:
        login(server, Somebody(come_back), port)

    assert str(caught.value) == (
        f"vault_oidc_callback_port: cannot listen on {address} port {port}: Address already in use; end what listens "
        "there, or set another port, whose redirect URI the role and the provider allow"
    )
    assert server.requests == []
    assert not is_open(port)


@pytest.mark.parametrize("own_port", [False, True])
def test_redirect_uri_of_ones_own(server: ScriptedServer, port: int, own_port: bool) -> None:
    """A whole redirect URI is sent as it stands; a port besides is only where we listen, for the end of a tunnel."""
    there = 8250 if own_port else port
    uri = f"http://127.0.0.1:{there}/back"
    seen = []

    def visit(address: str) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
        seen.append(query["redirect_uri"])
        raw(port, GET.format(path=f"/back?state={query['state']}&code={CODE}", host=f"127.0.0.1:{there}"))

    keys = {"vault_oidc_redirect_uri": uri}
    assert login(server, Somebody(visit), port if own_port else None, **keys).value == TOKEN
    assert (seen, server.requests[0].json["redirect_uri"]) == ([uri], uri)


def test_redirect_uri_of_the_other_loopback_address(server: ScriptedServer, port: int) -> None:
    """A redirect URI on ``::1`` is listened for there, and nowhere else."""
    if not has_ipv6():
        pytest.skip("no ::1 on this machine")
    seen = []

    def visit(address: str) -> None:
        seen.extend(is_open(port, host) for host in ("127.0.0.1", "::1"))
        come_back(address)

    uri = f"http://[::1]:{port}/oidc/callback"
    assert login(server, Somebody(visit), vault_oidc_redirect_uri=uri).value == TOKEN
    assert seen == [False, True]


@pytest.mark.parametrize("uri", ["http://app.example.com/oidc/callback", "https://localhost:8250/oidc/callback"])
def test_redirect_uri_that_leads_elsewhere(server: ScriptedServer, uri: str) -> None:
    """In mode ``client`` a redirect URI that is not plain http on this machine is refused at once."""
    with pytest.raises(ConfigurationError, match=r"vault_oidc_redirect_uri: .* does not lead to this machine; write"):
        login(server, Somebody(come_back), vault_oidc_redirect_uri=uri)

    assert server.requests == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("vault_oidc_mode", "browser", "write client, direct or device"),
        ("vault_oidc_callback_port", "0", "write the number of a port, from 1 to 65535"),
        ("vault_oidc_callback_port", "65536", "write the number of a port, from 1 to 65535"),
        ("vault_oidc_callback_port", "http", "write the number of a port, from 1 to 65535"),
        ("vault_oidc_redirect_uri", "localhost:8250", "not a redirect URI; write http://localhost:8250/oidc/callback"),
        ("vault_oidc_redirect_uri", "http://a@localhost/", "not a redirect URI"),
        ("vault_oidc_redirect_uri", "http://localhost:x/", "not a redirect URI"),
        ("vault_oidc_redirect_uri", "http://localhost/#a", "not a redirect URI"),
        ("vault_oidc_redirect_uri", "ftp://localhost/", "not a redirect URI"),
    ],
)
def test_malformed_setting(server: ScriptedServer, key: str, value: str, words: str) -> None:
    """A setting that cannot be is named with its place."""
    with pytest.raises(ConfigurationError, match=rf"{key}: {words}.* \(from {key} in \[profile webapp\]\)"):
        login(server, Somebody(come_back), **{key: value})


def test_empty_mode_is_no_mode(server: ScriptedServer, port: int) -> None:
    """A key that stands empty in the profile is not set."""
    assert login(server, Somebody(come_back), port, vault_oidc_mode="").value == TOKEN


@pytest.mark.parametrize("mode", ["client", "direct", "device"])
def test_nobody_is_there(server: ScriptedServer, port: int, mode: str) -> None:
    """Where there is nobody to ask, nothing is opened, listened on or asked: the message tells what to run."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(AuthenticationError) as caught:
        login(server, None, port, vault_oidc_mode=mode)

    command = f"vault-credential-process login --profile webapp --vault-addr {server.address}"
    assert str(caught.value) == f"{server.address}/v1/auth/oidc: nobody is logged in; run: {command}"
    assert server.requests == []


def test_identity_is_the_role(server: ScriptedServer) -> None:
    """Who logs in is told by method, mount and role; ports and redirect URIs make nobody else."""
    config = auth.configure({"vault_addr": server.address, "vault_auth_method": "oidc"}, {}, None)
    assert auth.choose(config).identity() == Identity(("oidc", "oidc", ""))

    given = {"vault_auth_mount": "sso", "vault_auth_role": "webapp", "vault_oidc_mode": "direct"}
    config = auth.configure({"vault_addr": server.address, **given}, {}, None)
    assert auth.choose(config).identity() == Identity(("oidc", "sso", "webapp"))


def test_secrets_stay_secret(server: ScriptedServer, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """State, nonces and code are in no message, log or traceback, even where Vault repeats them all."""
    caplog.set_level(logging.DEBUG, logger="vault_credential_process")

    def repeat(connection: socket.socket, request: Request) -> None:
        connection.sendall(reply(400, {"errors": [request.path, f"{STATE} {CODE}"]}))

    server.on("GET", CALLBACK, repeat)
    with pytest.raises(AuthenticationError) as caught:
        login(server, Somebody(come_back), port)
    nonce = server.requests[0].json["client_nonce"]
    texts = (str(caught.value), caplog.text, *traceback.format_exception(caught.value))

    assert "login refused" in texts[0]
    assert caplog.records
    assert [secret for secret in (STATE, NONCE, CODE, nonce) for text in texts if secret in text] == []


@pytest.mark.parametrize(
    "data",
    [
        {"auth_url": "https://idp.example.com/authorize?nonce=n"},
        {"auth_url": f"file:///etc/passwd?state={STATE}"},
        {"auth_url": f"--incognito?state={STATE}"},
        {"auth_url": f"https://idp.example.com/ authorize?state={STATE}"},
        {"auth_url": f"https://[idp/authorize?state={STATE}"},
        {"auth_url": ["https://idp.example.com/"]},
        {"auth_url": "https://idp.example.com/", "poll_interval": "5"},
        {"something": "else"},
    ],
)
def test_address_that_nobody_should_open(scripted: ScriptedServer, port: int, data: dict[str, Any]) -> None:
    """An answer without a web address and a state is refused, and no browser is opened."""
    scripted.on("POST", AUTH_URL, reply(200, {"data": data}))
    opened: list[str] = []

    with pytest.raises(UnreachableError, match="the answer holds no address with a state; check vault_auth_mount"):
        login(scripted, Somebody(opened.append), port)

    assert opened == []


@pytest.mark.parametrize(
    ("wanted", "data", "found"),
    [
        ("client", {"auth_url": address_to("https://vault/"), "poll_interval": "5", "state": STATE}, "direct"),
        ("client", {"auth_url": "https://idp/device", "poll_interval": "5", "state": STATE}, "device"),
        ("direct", {"auth_url": address_to("https://vault/")}, "client"),
        ("direct", {"auth_url": "https://idp/device", "poll_interval": "5", "state": STATE}, "device"),
    ],
)
def test_mode_of_the_role_is_another(
    scripted: ScriptedServer, port: int, wanted: str, data: dict[str, Any], found: str
) -> None:
    """A role whose login comes back in another way than the profile says is told apart by Vault's answer."""
    scripted.on("POST", AUTH_URL, reply(200, {"data": data}))

    with pytest.raises(ConfigurationError) as caught:
        login(scripted, Somebody(), port, vault_oidc_mode=wanted)

    where = f"{scripted.address}/v1/{AUTH_URL}"
    assert str(caught.value) == f"{where}: the role's callback_mode is {found}; set vault_oidc_mode to {found}"


class Sleeper:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        monkeypatch.setattr(time, "sleep", self.slept.append)

    def __call__(self) -> float:
        return sum(self.slept)


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Sleeper:
    """Time that passes only in pauses."""
    return Sleeper(monkeypatch)


def poll(server: ScriptedServer, sleeper: Sleeper, person: Person, **settings: str) -> VaultToken:
    """Log in to a role whose login is polled for."""
    given = {"vault_addr": server.address, "vault_auth_method": "oidc", "vault_oidc_mode": "device", **settings}
    config = auth.configure(given, {}, None)
    with Vault(config, Deadline(600, sleeper), lambda: NOW, person=person) as vault:
        return auth.login(auth.choose(config), vault)


def test_polls_as_often_as_it_is_told(scripted: ScriptedServer, sleeper: Sleeper) -> None:
    """Vault is asked at the interval that it names, five seconds more after each ``slow_down``, until it is done."""
    pending(scripted, poll_interval="2", user_code="ABCD-EFGH")
    wait, slower = (reply(400, {"errors": [said]}) for said in ("authorization_pending", "slow_down"))
    scripted.on("POST", POLL, wait, slower, wait, slower, ACCEPTED)
    somebody = Somebody()

    assert poll(scripted, sleeper, somebody, vault_auth_role="device").value == TOKEN
    begun, *polls = scripted.requests
    nonce = begun.json["client_nonce"]
    assert begun.json == {"role": "device", "client_nonce": nonce}
    assert [request.json for request in polls] == [{"state": STATE, "client_nonce": nonce}] * 5
    assert sleeper.slept == [2, 2, 7, 7, 12]
    assert somebody.told == [
        "On any device open https://idp.example.com/device and enter the code ABCD-EFGH, within 120 s."
    ]


@pytest.mark.parametrize(("said", "interval"), [("0", 1.0), ("1m", 60.0), ("1h", 60.0), ("soon", 5.0), ("", 5.0)])
def test_interval_that_is_odd(scripted: ScriptedServer, sleeper: Sleeper, said: str, interval: float) -> None:
    """Nothing is a second, an hour a minute, and what is no interval is the five seconds of the standard."""
    pending(scripted, poll_interval=said)
    scripted.on("POST", POLL, ACCEPTED)
    poll(scripted, sleeper, Somebody())

    assert sleeper.slept == [interval]


def test_interval_that_grows(scripted: ScriptedServer, sleeper: Sleeper) -> None:
    """However often a server says ``slow_down``, a minute is the longest pause."""
    pending(scripted, poll_interval="58")
    scripted.on("POST", POLL, reply(400, {"errors": ["slow_down"]}), ACCEPTED)
    poll(scripted, sleeper, Somebody())

    assert sleeper.slept == [58, 60]


def test_polling_ends(scripted: ScriptedServer, sleeper: Sleeper) -> None:
    """Vault says "pending" of a login that failed, too: after two minutes it is not asked again."""
    pending(scripted, poll_interval="5")
    scripted.on("POST", POLL, reply(400, {"errors": ["authorization_pending"]}))

    with pytest.raises(DeadlineError, match="auth/oidc: nobody logged in within 120 s; run: vault-cred"):
        poll(scripted, sleeper, Somebody())

    assert scripted.asked("POST", POLL) == 23


@pytest.mark.parametrize(
    "said", ["authorization failed: access_denied", "authorization failed: expired_token", "invalid client_nonce"]
)
def test_polling_is_refused(scripted: ScriptedServer, sleeper: Sleeper, said: str) -> None:
    """Any other answer ends the wait with Vault's words."""
    pending(scripted)
    scripted.on("POST", POLL, reply(400, {"errors": [said]}))

    with pytest.raises(AuthenticationError, match=f"{POLL}: login refused: {said}; check vault_auth_role"):
        poll(scripted, sleeper, Somebody())

    assert scripted.asked("POST", POLL) == 1


def test_second_factor_after_polling(scripted: ScriptedServer, sleeper: Sleeper) -> None:
    """A second factor that Vault wants besides is asked for and given."""
    pending(scripted)
    methods = [{"type": "totp", "id": "m1", "uses_passcode": True}]
    required = {"mfa_request_id": "r1", "mfa_constraints": {"all": {"any": methods}}}
    scripted.on("POST", POLL, reply(200, {"auth": {"client_token": "", "mfa_requirement": required}}))
    scripted.on("POST", "sys/mfa/validate", ACCEPTED)
    somebody = Somebody()
    somebody.answers = ["123456"]

    assert poll(scripted, sleeper, somebody).value == TOKEN
    assert scripted.requests[-1].json == {"mfa_request_id": "r1", "mfa_payload": {"m1": ["123456"]}}


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/v1/auth/oidc/oidc/callback"),
        ({"vault_auth_mount": "sso/people"}, "/v1/auth/sso/people/oidc/callback"),
        ({"vault_namespace": "team/a"}, "/v1/team/a/auth/oidc/oidc/callback"),
    ],
)
def test_redirect_uri_that_leads_to_vault(
    scripted: ScriptedServer, sleeper: Sleeper, settings: dict[str, str], path: str
) -> None:
    """In mode ``direct`` the redirect URI is Vault's own callback, with namespace and mount, and nothing listens."""
    mount = settings.get("vault_auth_mount", "oidc")
    data = {"auth_url": address_to("https://vault/"), "poll_interval": "5", "state": STATE}
    scripted.on("POST", f"auth/{mount}/oidc/auth_url", reply(200, {"data": data}))
    scripted.on("POST", f"auth/{mount}/oidc/poll", ACCEPTED)
    somebody = Somebody()
    poll(scripted, sleeper, somebody, vault_oidc_mode="direct", **settings)

    assert scripted.requests[0].json["redirect_uri"] == scripted.address + path


def test_redirect_uri_behind_a_socket(shm: pathlib.Path, sleeper: Sleeper) -> None:
    """Behind a Unix socket nobody knows Vault's own address: mode ``direct`` wants it, and sends it as written."""
    data = {"auth_url": address_to("https://vault/"), "poll_interval": "5", "state": STATE}
    with ScriptedServer(unix_path=str(shm / "agent.sock")) as server:
        server.on("POST", AUTH_URL, reply(200, {"data": data}))
        server.on("POST", POLL, ACCEPTED)
        with pytest.raises(ConfigurationError, match=r"vault_oidc_redirect_uri: missing \(set --oidc-redirect-uri, "):
            poll(server, sleeper, Somebody(), vault_oidc_mode="direct")
        uri = "https://vault.example.com/v1/auth/oidc/oidc/callback"
        poll(server, sleeper, Somebody(), vault_oidc_mode="direct", vault_oidc_redirect_uri=uri)

    assert server.requests[0].json["redirect_uri"] == uri


@pytest.fixture(scope="module")
def people(fresh: Laboratory) -> People:
    """The server of this module."""
    return People(fresh)


def test_profile_of_the_page_logs_in(run: Run, people: People, clean_environment: pathlib.Path) -> None:
    """Before the login ``get`` says what to run; after it ``get`` gives AWS credentials with the token that it left."""
    done = get(run, people.laboratory, people.keys(), clean_environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "nobody is logged in; run: vault-credential-process login --profile webapp" in done.stderr

    with logging_in(clean_environment, "--no-browser") as process:
        assert process.stderr
        lines = [process.stderr.readline() for _ in range(2)]
        shown = people.visit(lines[1].split()[-1])
        stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stderr, shown.status_code) == (0, "", 200)
    assert lines[0] == "Log in in the browser, within 120 s.\n"
    assert lines[1].startswith("Open this address in a browser of this machine: http")
    who = f"oidc-{people.alice['entity_id']}"
    assert f"logged in to {people.server.address} at auth/oidc as {who}, policies default, webapp" in stdout
    assert document(get(run, people.laboratory, people.keys(), clean_environment))["Version"] == 1


def test_default_role_of_the_mount(people: People) -> None:
    """Without a role the mount's own is taken."""
    assert "webapp" in people.log_in(people.visit, vault_auth_role="").policies


def consume(people: People) -> Callable[[str], object]:
    """Return a visit before which somebody else has used the state up."""

    def visit(address: str) -> object:
        back = people.authorize(address)
        failed = fetch(f"{people.server.address}/v1/{CALLBACK}", client_nonce="guess", **back)
        assert failed.json() == {"errors": ["invalid client_nonce"]}
        return come_back(address, **back)

    return visit


CHECK = (
    "; check vault_auth_role (from vault_auth_role in [profile webapp]), what the role is bound to, and "
    "vault_oidc_mode, or log in again"
)


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        (
            {"vault_auth_role": "nope"},
            AuthenticationError,
            f'auth_url: login refused: role "nope" could not be found{CHECK}',
        ),
        (
            {"vault_auth_mount": "sso"},
            AuthenticationError,
            "either no auth method is mounted at sso (Vault answers 403",
        ),
        (
            {"vault_oidc_redirect_uri": "http://127.0.0.1:{port}/oidc/callback"},
            ConfigurationError,
            "of the role must hold http://127.0.0.1:{port}/oidc/callback, and its role_type must be oidc (Vault's",
        ),
        ({"vault_auth_role": "bound"}, AuthenticationError, "does not match any associated bound claim values" + CHECK),
        ({"vault_oidc_mode": "device"}, AuthenticationError, "auth_url: login refused: missing redirect_uri" + CHECK),
        ({"vault_auth_namespace": "nope"}, VaultCredentialError, "no such namespace; check vault_namespace"),
    ],
)
def test_refused_login_says_what_to_do(
    people: People, keys: dict[str, str], kind: type[VaultCredentialError], words: str
) -> None:
    """What is wrong with role, mount, redirect URI, claims, mode or namespace is one line each."""
    uri = f"http://localhost:{people.port}/oidc/callback"
    people.write("bound", allowed_redirect_uris=uri, bound_claims={"sub": "somebody else"})

    with pytest.raises(kind) as caught:
        people.log_in(people.visit, **{key: value.format(port=people.port) for key, value in keys.items()})

    assert words.format(port=people.port) in str(caught.value)
    assert str(caught.value).isprintable()


def test_state_that_was_used_up(people: People) -> None:
    """A state that has expired, or that somebody else has spent, ends the login with Vault's words."""
    with pytest.raises(
        AuthenticationError, match=r"login failed\. Expired or missing OAuth state\.; check vault_auth_"
    ):
        people.log_in(consume(people))


def test_code_of_nobody(people: People) -> None:
    """A code that the provider does not know is refused."""
    with pytest.raises(
        AuthenticationError, match=r"login refused: .*Error exchanging oidc code: .*; check vault_auth_"
    ):
        people.log_in(lambda address: come_back(address, code="wrong"))


@openbao
def test_direct_mode(people: People) -> None:
    """The browser comes back to the server, which asks to confirm; the login is polled for, on no port of ours."""
    people.write("remote", callback_mode="direct", poll_interval=1, allowed_redirect_uris=people.direct)

    def visit(address: str) -> None:
        assert not is_open(people.port)
        back = people.authorize(address)
        assert "confirmation" in come_back(address, **back).text
        come_back(address, **back, confirmation="1")

    token = people.log_in(visit, vault_auth_role="remote", vault_oidc_mode="direct")

    assert "webapp" in token.policies


@openbao
def test_modes_of_the_page(people: People) -> None:
    """The roles that the page shows for further modes can be written, and the wrong mode for one is told."""
    section = Page("oidc").section("Where the browser is on another machine")
    shown = section.replace("\\\n", "").splitlines()
    for line in shown:
        if line.startswith("$ bao write"):
            path, *settings = line.removeprefix("$ bao write ").split()
            people.server.call("POST", path, dict(setting.split("=", 1) for setting in settings))
    modes = {
        role: people.server.call("GET", f"auth/oidc/role/{role}")["data"]["callback_mode"]
        for role in ("webapp", "remote", "device")
    }
    assert modes == {"webapp": "client", "remote": "direct", "device": "device"}

    uri = people.direct
    people.write(
        "remote", callback_mode="direct", allowed_redirect_uris=[uri, f"http://localhost:{people.port}/oidc/callback"]
    )
    with pytest.raises(ConfigurationError, match="callback_mode is direct; set vault_oidc_mode to direct"):
        people.log_in(people.visit, vault_auth_role="remote")
    people.write("local", allowed_redirect_uris=uri)
    with pytest.raises(ConfigurationError, match="callback_mode is client; set vault_oidc_mode to client"):
        people.log_in(people.visit, vault_auth_role="local", vault_oidc_mode="direct")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider with device authorization, which the server's own one lacks."""
    with Provider() as running:
        yield running


@pytest.fixture
def device(people: People, provider: Provider) -> Provider:
    """The same, with a mount of its own that trusts it."""
    with contextlib.suppress(requests.HTTPError):
        people.server.call("POST", "sys/auth/device", {"type": "oidc"})
    config = {"oidc_discovery_url": provider.issuer, "oidc_client_id": "vault", "oidc_client_secret": "c0ffee"}
    people.server.call("POST", "auth/device/config", config)
    role = {"user_claim": "sub", "callback_mode": "device", "allowed_redirect_uris": "unused", "poll_interval": 1}
    people.server.call("POST", "auth/device/role/device", role | {"token_policies": "webapp"})
    provider.reset()
    return provider


DEVICE = {
    "vault_auth_method": "oidc",
    "vault_auth_mount": "device",
    "vault_auth_role": "device",
    "vault_oidc_mode": "device",
}


@openbao
@pytest.mark.parametrize("complete", [False, True])
def test_device_mode(people: People, device: Provider, complete: bool) -> None:
    """The person is told a short address and a code, or one address with the code in it, and logs in elsewhere."""
    device.complete = complete
    somebody = Somebody(lambda _: device.approve("dave"))
    token = log_in(people.server.address, DEVICE, person=somebody)

    assert "webapp" in token.policies
    address = f"{device.issuer}/verify"
    told = f"{address}?user_code=ABCD-EFGH" if complete else f"{address} and enter the code ABCD-EFGH"
    assert somebody.told == [f"On any device open {told}, within 20 s."]


@openbao
def test_device_mode_without_a_browser(people: People, device: Provider) -> None:
    """Who has no browser here is told once, and the login goes on."""
    somebody = Somebody()
    threading.Timer(0.5, device.approve, ("dave",)).start()

    assert "webapp" in log_in(people.server.address, DEVICE, person=somebody).policies
    assert len(somebody.told) == 1


@openbao
def test_device_that_is_refused(people: People, device: Provider) -> None:
    """A person who says no at the provider ends the login with its word."""
    somebody = Somebody(lambda _: device.refuse("access_denied"))

    with pytest.raises(AuthenticationError, match="poll: login refused: authorization failed: access_denied; check"):
        log_in(people.server.address, DEVICE, person=somebody)


@openbao
def test_device_mode_that_the_provider_lacks(people: People) -> None:
    """A provider without device authorization is told in Vault's words."""
    people.write("device", callback_mode="device")

    with pytest.raises(UnreachableError, match="HTTP 500: no device auth endpoint url discovered; see Vault's log"):
        people.log_in(people.visit, vault_auth_role="device", vault_oidc_mode="device")
