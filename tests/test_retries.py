"""Which requests are sent again after which failure: every cell of the table of retries."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from vault_credential_process import failures, retries, transport
from vault_credential_process import requester as vault_module
from vault_credential_process.errors import SealedError, UnreachableError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.retries import Failure
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply, reset, silence
from vault_credential_process.vault import Vault

from .talk import FREELY, GOOD, LOGGED_IN, LOGIN, ONCE, STS, TOKEN, log_in_to, said, settings, talk, talk_to

HTML = {"Content-Type": "text/html"}
PAGE = b"<html><h1>Bad Gateway</h1></html>"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were looked up so far, once for each try to connect; those under ``.invalid`` have no address."""
    hosts: list[str] = []
    look_up = socket.getaddrinfo

    def counted(host: str, *arguments: Any) -> Any:
        hosts.append(host)
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    return hosts


def hang_up(connection: socket.socket, _: object) -> None:
    """Answer nothing and close."""


def errors(status: int, *texts: str, **headers: str) -> bytes:
    """Return a refusal in Vault's own JSON."""
    return reply(status, {"errors": list(texts)}, headers)


def named_away(path: str) -> bytes:
    """Return the redirect of a standby to a node that is gone."""
    return reply(307, headers={"Location": f"http://127.0.0.1:{free_port()}{path}"})


def free_port() -> int:
    """Return a port where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


ANSWERED: dict[Failure, dict[str, Reply]] = {
    Failure.BROKEN: {"reset": reset, "hang-up": hang_up},
    Failure.TIME_OUT: {"silence": silence(30)},
    Failure.CUT_SHORT: {
        "half": b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{",
        "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n{",
        "not compressed": reply(200, {"data": {}}, {"Content-Encoding": "gzip"}),
    },
    Failure.NOT_VAULT: {
        "page": reply(200, PAGE, HTML),
        "long": reply(200, b" " * (transport.MAX_REPLY + 1)),
        "redirect": reply(307, headers={"Location": "http://localhost/v1/elsewhere"}),
    },
    Failure.NODE_AWAY: {"refused": lambda connection, request: connection.sendall(named_away(request.path))},
    Failure.BEHIND: {"412": errors(412, "required index state not present")},
    Failure.LIMITED: {"Vault's": errors(429, "rate limit quota exceeded"), "a gateway's": reply(429, PAGE, HTML)},
    Failure.SEALED: {"503": errors(503, "Vault is sealed"), "500": errors(500, "Code: 503. Errors: * Vault is sealed")},
    Failure.UNINITIALIZED: {
        "501": errors(501, "Vault is not initialized"),
        "503": errors(503, "server is not initialized"),
    },
    Failure.NO_ACTIVE_NODE: {"500": errors(500, "local node not active but active cluster node not found")},
    Failure.ACTIVE_NODE_LOST: {"503": errors(503, "no active Vault instance found")},
    Failure.UPSTREAM: {
        "forwarding": errors(502, "error forwarding request"),
        "after CreateUser": errors(502, "Error attaching user policy: Throttling: Rate exceeded"),
    },
    Failure.UNAVAILABLE: {"503": errors(503, "node is not active")},
    Failure.GATEWAY: {
        "502": reply(502, PAGE, HTML),
        "503": reply(503, PAGE, HTML),
        "no words": reply(503),
        "JSON:API": reply(503, {"errors": [{"status": "503", "title": "upstream timed out"}]}),
        "no errors": errors(503),
        "no text": reply(503, {"errors": [None]}),
        "no list": reply(503, {"errors": "upstream timed out"}),
        "key of its own": reply(503, {"errors": ["upstream timed out"], "message": "no live upstreams"}),
    },
    Failure.SERVER_ERROR: {
        "500": errors(500, "1 error occurred:\n\t* internal error\n\n"),
        "504": errors(504, "context deadline exceeded"),
        "a gateway's": reply(504, PAGE, HTML),
        "507": errors(507, "insufficient storage"),
    },
    Failure.REFUSED: {
        "400": errors(400, "invalid request"),
        "403": errors(403, "permission denied"),
        "405": errors(405, "unsupported operation"),
        "303": reply(303, headers={"Location": "/v1/"}),
        "a gateway's": reply(403, PAGE, HTML),
    },
}
"""What a server answers, by the row of the table that holds it."""


def over_tls(server: ScriptedServer, answer: Reply) -> dict[str, str]:
    """Return the address of a server that answers so to the first bytes of TLS."""
    server.otherwise = answer
    server.on("TLS", "", answer)
    return {"VAULT_ADDR": server.address.replace("http:", "https:")}


def through_proxy(server: ScriptedServer, answer: Reply) -> dict[str, str]:
    """Return what leads through a proxy that answers so to a ``CONNECT``."""
    server.otherwise = answer
    return {"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_PROXY_ADDR": server.address}


UNANSWERED: dict[Failure, dict[str, Callable[[ScriptedServer], dict[str, str]]]] = {
    Failure.NOT_CONNECTED: {
        "refused": lambda _: {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}"},
        "unknown name": lambda _: {"VAULT_ADDR": "https://vault.invalid"},
        "reset in the handshake": lambda server: over_tls(server, reset),
        "hang-up in the handshake": lambda server: over_tls(server, hang_up),
        "silence in the handshake": lambda server: {
            **over_tls(server, silence(30)),
            "VAULT_CLIENT_TIMEOUT": "100ms",
        },
        "hang-up of the proxy": lambda server: through_proxy(server, hang_up),
    },
    Failure.PROXY: {
        "refuses": lambda server: through_proxy(server, reply(403)),
        "away": lambda _: {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_PROXY_ADDR": f"http://127.0.0.1:{free_port()}"},
    },
    Failure.TLS: {"plain http": lambda server: over_tls(server, reply(400))},
    Failure.UNSENDABLE: {"host": lambda _: {"VAULT_ADDR": f"https://{'a' * 64}.example"}},
}
"""What keeps a request from being sent, by the row of the table that holds it; certificates stand in ``test_tls``."""

KINDS = {"login": False, "first read": False, "look-up": True, "sts read": True}
"""Requests of both columns, and whether a repetition is harmless."""


def cases(of: dict[Failure, dict[str, Any]]) -> pytest.MarkDecorator:
    """Return each case with its row."""
    found = [pytest.param(row, name, id=f"{row.name}-{name}") for row, named in of.items() for name in named]
    return pytest.mark.parametrize(("row", "name"), found)


def tries(row: Failure, repeatable: bool) -> int:
    """Return how often a request is sent that always fails so: twice again, or never."""
    return 3 if row.value.again(repeatable) else 1


def arrived(server: ScriptedServer, asked: tuple[str, str], number: int) -> int:
    """Return how often something was asked for, once it was that often; one that gave up is read all the same."""
    end = time.monotonic() + 10
    while server.asked(*asked) < number and time.monotonic() < end:
        time.sleep(0.01)
    return server.asked(*asked)


def test_every_cell_has_a_case() -> None:
    """Every row of the table is met below, and no two cases stand for different rows by mistake."""
    assert {*ANSWERED, *UNANSWERED} == set(Failure)
    assert not {*ANSWERED} & {*UNANSWERED}
    assert set(KINDS.values()) == {True, False}


@pytest.mark.parametrize("row", Failure)
def test_no_harm_is_risked(row: Failure) -> None:
    """What may do harm is sent again only where nothing was done for certain, and no oftener than what does none."""
    assert row.value.undone or not row.value.harmful
    assert row.value.harmless or not row.value.harmful


@cases(ANSWERED)
@pytest.mark.parametrize("kind", KINDS)
def test_answered(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture, kind: str, row: Failure, name: str
) -> None:
    """A request is sent again as its cell says, and succeeds when the server does; else its failure is told."""
    caplog.set_level(logging.DEBUG, vault_module.__name__)
    asked, failure = (ONCE | FREELY)[kind], ANSWERED[row][name]
    slow, again = row is Failure.TIME_OUT, tries(row, KINDS[kind]) > 1
    scripted.on(*asked, *[failure] * (1 if slow else 2), GOOD.get(kind, STS))
    environ = {"VAULT_CLIENT_TIMEOUT": "500ms" if again else "200ms"} if slow else {}

    if again:
        talk(scripted, kind, **environ)
    else:
        with pytest.raises(VaultCredentialError) as caught:
            talk(scripted, kind, **environ)
        assert scripted.address in said(caught.value)

    count = arrived(scripted, asked, 1)
    assert count in ((2, 3) if slow and again else (tries(row, KINDS[kind]),))
    assert f"try 1: {row.name.lower().replace('_', ' ')}" in caplog.text


@cases(UNANSWERED)
@pytest.mark.parametrize("kind", KINDS)
def test_unanswered(
    scripted: ScriptedServer,
    dialled: list[str],
    caplog: pytest.LogCaptureFixture,
    kind: str,
    row: Failure,
    name: str,
) -> None:
    """Where nothing was sent, a try is made again as its cell says, and the last failure is told."""
    caplog.set_level(logging.DEBUG, vault_module.__name__)
    environ = UNANSWERED[row][name](scripted)
    address = environ.pop("VAULT_ADDR")

    with pytest.raises(UnreachableError) as caught:
        talk_to(address, kind, **environ)

    assert f"{address}: " in said(caught.value)
    assert len(dialled) == tries(row, KINDS[kind])
    assert f"try 1: {row.name.lower().replace('_', ' ')}" in caplog.text


@pytest.mark.parametrize("kind", ["login", "look-up"])
def test_header_that_cannot_be_written(kind: str) -> None:
    """A request that ``requests`` refuses to write is not tried again."""
    with (
        contextlib.closing(
            vault_module.Requester(settings("http://127.0.0.1:1"), Deadline(20), time.time)
        ) as requester,
        pytest.raises(UnreachableError) as caught,
    ):
        requester.ask("get", "sys/health", token="a\nb", repeatable=KINDS[kind])

    assert isinstance(caught.value.__context__, requests.exceptions.InvalidHeader)
    assert retries.failure_of(caught.value.__context__) is Failure.UNSENDABLE


LIVE = VaultToken(TOKEN, policies=("app",))
WAYS: dict[tuple[str, str], tuple[bool, Callable[[Vault], object]]] = {
    ("POST", "sys/wrapping/unwrap"): (False, lambda vault: vault.unwrap(TOKEN)),
    ("POST", "sys/wrapping/lookup"): (True, lambda vault: vault.wrapping_path(TOKEN)),
    ("POST", "auth/token/renew-self"): (True, lambda vault: vault.renew_token(LIVE)),
    ("POST", "auth/token/revoke-self"): (True, lambda vault: vault.revoke_token(LIVE)),
    ("POST", "sys/leases/renew"): (True, lambda vault: vault.renew_lease(LIVE, "aws/creds/webapp/1")),
    ("POST", "sys/leases/revoke"): (True, lambda vault: vault.revoke_lease(LIVE, "aws/creds/webapp/1")),
}
"""The other requests, their column, and how they are made."""


@pytest.mark.parametrize("row", [Failure.BROKEN, Failure.UNAVAILABLE], ids=lambda row: row.name)
@pytest.mark.parametrize("asked", WAYS, ids=lambda asked: asked[1])
def test_other_requests_have_their_column(scripted: ScriptedServer, asked: tuple[str, str], row: Failure) -> None:
    """Every other request is sent again as the cells of its column say, in doubt and out of it."""
    repeatable, ask = WAYS[asked]
    scripted.on(*asked, next(iter(ANSWERED[row].values())))

    with Vault(settings(scripted.address), Deadline(20)) as vault, pytest.raises(UnreachableError):
        ask(vault)

    assert scripted.asked(*asked) == tries(row, repeatable)


@pytest.mark.parametrize("kind", ["iam_user read", "static read"])
def test_other_reads_have_their_column(scripted: ScriptedServer, kind: str) -> None:
    """A read that makes an IAM user is not repeated in doubt; one of static credentials is."""
    asked = (ONCE | FREELY)[kind]
    scripted.on(*asked, reset, STS)

    with contextlib.nullcontext() if kind in FREELY else pytest.raises(UnreachableError):
        talk(scripted, kind)

    assert scripted.asked(*asked) == (2 if kind in FREELY else 1)


@pytest.mark.parametrize(("row", "kind"), [(Failure.SEALED, "login"), (Failure.UNINITIALIZED, "sts read")])
def test_sealed_has_its_own_class(scripted: ScriptedServer, row: Failure, kind: str) -> None:
    """A server without its keys, or without data, is not merely unreachable."""
    scripted.on(*(ONCE | FREELY)[kind], next(iter(ANSWERED[row].values())))

    with pytest.raises(SealedError):
        talk(scripted, kind)


def test_refused_connection_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was sent even a login is tried again: it succeeds once the server is up, which sees it once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.4)
    port = free_port()
    with contextlib.ExitStack() as stack:
        servers = []

        def start() -> None:
            server = ScriptedServer(port=port)
            server.on("POST", LOGIN, LOGGED_IN)
            servers.append(stack.enter_context(server))

        timer = threading.Timer(0.15, start)
        timer.start()
        token = log_in_to(f"http://127.0.0.1:{port}", VAULT_MAX_RETRIES="5")
        timer.join(10)

    assert token.value == TOKEN
    assert servers[0].asked("POST", LOGIN) == 1


def test_what_the_caller_was_handling_has_no_say(scripted: ScriptedServer) -> None:
    """A login that broke in doubt is sent once, although its caller was handling a connection that was never made."""
    scripted.on("POST", LOGIN, reset, LOGGED_IN)
    earlier = requests.ConnectionError()
    failures.mark_unsent(earlier)

    try:
        raise earlier
    except requests.ConnectionError:
        with pytest.raises(UnreachableError, match="the connection broke"):
            talk(scripted, "login")

    assert scripted.asked("POST", LOGIN) == 1


def test_refused_connection_is_reported() -> None:
    """Where nothing listens, the message says so and names the address."""
    address = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(UnreachableError) as caught:
        log_in_to(address)

    assert f"{address}: connection refused" in said(caught.value)
    assert caught.value.exit_code == 5
