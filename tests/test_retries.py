"""Which requests are sent again after which failure, how often, and how soon."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from vault_credential_process import requester as vault_module
from vault_credential_process.errors import SealedError, UnreachableError, VaultCredentialError
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply, reset, silence

from .talk import FREELY, GOOD, LOGGED_IN, LOGIN, ONCE, STS, TOKEN, log_in_to, said, talk

HTML = {"Content-Type": "text/html"}
PAGE = b"<html><h1>Bad Gateway</h1></html>"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


def hang_up(connection: socket.socket, _: object) -> None:
    """Answer nothing and close."""


AMBIGUOUS: dict[str, Reply] = {
    "reset after sending": reset,
    "hang-up": hang_up,
    "read time-out": silence(5),
    "half a reply": b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{",
    "gateway's 502": reply(502, PAGE, HTML),
    "gateway's 503": reply(503, PAGE, HTML),
    "gateway's 504": reply(504, PAGE, HTML),
    "500": reply(500, {"errors": ["1 error occurred:\n\t* internal error\n\n"]}),
    "504": reply(504, {"errors": ["context deadline exceeded"]}),
}
UNTOUCHED: dict[str, Reply] = {
    "412": reply(412, {"errors": ["required index state not present"]}),
    "429": reply(429, {"errors": ["request path: rate limit quota exceeded"]}),
    "Vault's 502": reply(502, {"errors": ["error forwarding request"]}),
    "Vault's 503": reply(503, {"errors": ["node not active but active cluster node not found"]}),
}
FINAL: dict[str, tuple[Reply, type[VaultCredentialError]]] = {
    "sealed": (reply(503, {"errors": ["Vault is sealed"]}), SealedError),
    "not initialized": (reply(501, {"errors": ["Vault is not initialized"]}), SealedError),
    "garbage": (reply(200, PAGE, HTML), UnreachableError),
}


@pytest.mark.parametrize("failure", AMBIGUOUS)
@pytest.mark.parametrize("kind", ONCE)
def test_what_may_have_been_done_is_not_asked_again(scripted: ScriptedServer, kind: str, failure: str) -> None:
    """A login, and a read that may make an IAM user, is sent once when nobody knows what became of it."""
    scripted.on(*ONCE[kind], AMBIGUOUS[failure], LOGGED_IN)

    with pytest.raises(UnreachableError) as caught:
        talk(scripted, kind, VAULT_CLIENT_TIMEOUT="200ms")

    assert scripted.address in said(caught.value)
    assert scripted.asked(*ONCE[kind]) == 1


@pytest.mark.parametrize("failure", AMBIGUOUS)
@pytest.mark.parametrize("kind", FREELY)
def test_what_does_no_harm_is_asked_again(scripted: ScriptedServer, kind: str, failure: str) -> None:
    """Every other request is sent again after any of these failures, and succeeds when the server does."""
    scripted.on(*FREELY[kind], AMBIGUOUS[failure], AMBIGUOUS[failure], GOOD.get(kind, STS))

    talk(scripted, kind, VAULT_CLIENT_TIMEOUT="200ms")

    assert scripted.asked(*FREELY[kind]) == 3


@pytest.mark.parametrize("failure", UNTOUCHED)
@pytest.mark.parametrize("kind", [*ONCE, *FREELY])
def test_what_was_not_touched_is_asked_again(scripted: ScriptedServer, kind: str, failure: str) -> None:
    """Where Vault says that it did nothing, every request is sent again, and succeeds when the server does."""
    asked = (ONCE | FREELY)[kind]
    scripted.on(*asked, UNTOUCHED[failure], UNTOUCHED[failure], GOOD.get(kind, STS))

    talk(scripted, kind)

    assert scripted.asked(*asked) == 3


@pytest.mark.parametrize("failure", FINAL)
@pytest.mark.parametrize("kind", ["login", "first read", "sts read", "static read", "look-up"])
def test_what_will_not_pass_is_not_tried_again(scripted: ScriptedServer, kind: str, failure: str) -> None:
    """A sealed server, one without data, and one that is not Vault are asked once."""
    answer, expected = FINAL[failure]
    asked = (ONCE | FREELY)[kind]
    scripted.on(*asked, answer)

    with pytest.raises(expected) as caught:
        talk(scripted, kind)

    assert scripted.address in said(caught.value)
    assert scripted.asked(*asked) == 1


@pytest.mark.parametrize("failure", UNTOUCHED)
@pytest.mark.parametrize(
    ("setting", "requests"), [({}, 3), ({"VAULT_MAX_RETRIES": "0"}, 1), ({"BAO_MAX_RETRIES": "4"}, 5)]
)
def test_number_of_tries(scripted: ScriptedServer, failure: str, setting: dict[str, str], requests: int) -> None:
    """``VAULT_MAX_RETRIES`` (2) says how often a request is sent again; after that the failure is reported."""
    scripted.on("POST", LOGIN, UNTOUCHED[failure])

    with pytest.raises(UnreachableError) as caught:
        talk(scripted, "login", **setting)

    assert f"{scripted.address}/v1/{LOGIN}" in said(caught.value)
    assert scripted.asked("POST", LOGIN) == requests


def free_port() -> int:
    """Return a port where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


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
        token = log_in_to(f"http://127.0.0.1:{port}")
        timer.join()

    assert token.value == TOKEN
    assert servers[0].asked("POST", LOGIN) == 1


def test_refused_connection_is_reported() -> None:
    """Where nothing listens, the message says so and names the address."""
    address = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(UnreachableError) as caught:
        log_in_to(address)

    assert f"{address}: connection refused" in said(caught.value)
    assert caught.value.exit_code == 5


def gap(server: ScriptedServer) -> float:
    """Return the seconds between the first two requests."""
    return server.requests[1].received - server.requests[0].received


def test_default_wait_before_the_next_try(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limit without ``Retry-After`` is waited out for one to one and a half times the default."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.2)
    scripted.on("POST", LOGIN, UNTOUCHED["429"], LOGGED_IN)

    talk(scripted, "login")

    assert 0.2 <= gap(scripted) < 1


def test_retry_after_is_obeyed(scripted: ScriptedServer) -> None:
    """A rate limit with ``Retry-After`` is waited out for as long as it says."""
    scripted.on("POST", LOGIN, reply(429, {"errors": ["quota exceeded"]}, {"Retry-After": "1"}), LOGGED_IN)

    talk(scripted, "login")

    assert gap(scripted) >= 1


@pytest.mark.parametrize("moment", ["Wed, 21 Oct 2099 07:28:00 GMT", "soon", "-1", "\u00b2"])
def test_unusable_retry_after_is_ignored(scripted: ScriptedServer, moment: str) -> None:
    """A ``Retry-After`` that is no number of seconds counts as absent."""
    limited = reply(429, {"errors": ["quota exceeded"]}, {"Retry-After": moment})
    scripted.on("POST", LOGIN, limited, LOGGED_IN)

    talk(scripted, "login")

    assert gap(scripted) < 1


def test_wait_beyond_the_deadline(scripted: ScriptedServer) -> None:
    """Where the next try would come after the deadline, the rate limit is reported at once."""
    scripted.on("POST", LOGIN, reply(429, {"errors": ["rate limit quota exceeded"]}, {"Retry-After": "3600"}))
    start = time.monotonic()

    with pytest.raises(UnreachableError) as caught:
        talk(scripted, "login")

    assert "too many requests: rate limit quota exceeded" in said(caught.value)
    assert scripted.asked("POST", LOGIN) == 1
    assert time.monotonic() - start < 5
