"""One address whose nodes come and go: several addresses of a name, connections that are kept, silence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_credential_process import connections
from vault_credential_process import requester as vault_module
from vault_credential_process.errors import DeadlineError, UnreachableError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply, reset
from vault_credential_process.vault import Vault

from .talk import LOGGED_IN, LOGIN, LOOK_UP, LOOKED_UP, READ, STS, TOKEN, log_in_to, login, read_from, said, settings

NAME = "vault.internal"
ONCE = {"VAULT_ALLOW_HTTP": "true", "VAULT_MAX_RETRIES": "0"}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


def port_of(server: ScriptedServer) -> int:
    """Return the port of a server."""
    return int(server.address.rpartition(":")[2])


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Names that the test gives addresses: ports of this host."""
    known: dict[str, list[int]] = {}
    look_up = socket.getaddrinfo

    def answer(host: str, *arguments: Any) -> Any:
        if host not in known:
            return look_up(host, *arguments)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


@pytest.fixture
def closed() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that answers nobody who connects, as a host that has lost power: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(8):
                waiting.append(socket.create_connection(address, timeout=0.1))
        except TimeoutError:
            yield int(address[1])
        else:
            pytest.skip("this system takes connections that nobody accepts")
        finally:
            for sock in waiting:
                sock.close()


def test_first_address_refuses(scripted: ScriptedServer, names: dict[str, list[int]], closed: int) -> None:
    """Where the first address of a name refuses, the same try goes on to the second, which sees a login once."""
    names[NAME] = [closed, port_of(scripted)]
    scripted.on("POST", LOGIN, LOGGED_IN)

    assert log_in_to(f"http://{NAME}:8200", **ONCE).value == TOKEN
    assert scripted.asked("POST", LOGIN) == 1


def test_every_address_refuses(names: dict[str, list[int]], closed: int) -> None:
    """Where no address takes a connection, the message names the address that is configured."""
    names[NAME] = [closed, closed]

    with pytest.raises(UnreachableError) as caught:
        log_in_to(f"http://{NAME}:8200", **ONCE)

    assert f"http://{NAME}:8200: connection refused: nothing listens there" in said(caught.value)


def test_first_address_is_silent(
    scripted: ScriptedServer, names: dict[str, list[int]], silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first address that keeps silent takes its share of the time, which leaves enough for the second."""
    monkeypatch.setattr(connections, "LEAST_SHARE", 0.2)
    names[NAME] = [silent, port_of(scripted)]
    scripted.on("GET", READ, STS)

    read_from(f"http://{NAME}:8200", VAULT_CLIENT_TIMEOUT="2s", **ONCE)

    assert scripted.asked("GET", READ) == 1


def test_every_address_is_silent(names: dict[str, list[int]], silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses keep silent, a try to connect ends when one address alone would have ended it."""
    monkeypatch.setattr(connections, "CONNECT_LIMIT", 0.4)
    names[NAME] = [silent] * 40
    start = time.monotonic()

    with pytest.raises(UnreachableError, match=r"no answer to .* in time"):
        read_from(f"http://{NAME}:8200", **ONCE)

    assert 0.4 <= time.monotonic() - start < 8


@pytest.mark.parametrize("host", ["vault.internal", "localhost"])
def test_name_server_is_silent(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A name server that answers nothing holds nobody past the deadline, asked for this host neither."""
    over = threading.Event()

    def wait(*_: Any) -> list[Any]:
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    start = time.monotonic()
    try:
        with pytest.raises(DeadlineError, match=r"gave up after 0\.3 s"):
            log_in_to(f"https://{host}:8200", seconds=0.3)
        assert time.monotonic() - start < 10
    finally:
        over.set()


@pytest.mark.parametrize("words", ["can't start new thread", "can't create new thread at interpreter shutdown"])
def test_no_thread_for_the_name_server(
    scripted: ScriptedServer, names: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Where the system has no thread left, or the interpreter ends, a name is looked up all the same."""
    names[NAME] = [port_of(scripted)]
    scripted.on("POST", LOGIN, LOGGED_IN)
    asked: list[str] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name != "name-server":
            start(thread)
            return
        asked.append(thread.name)
        raise RuntimeError(words)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert log_in_to(f"http://{NAME}:8200", **ONCE).value == TOKEN
    assert asked == ["name-server"]


KEPT = LOOKED_UP.replace(b"Connection: close\r\n", b"")


def answering(*answers: bytes, gone: threading.Event | None = None) -> Reply:
    """Answer as many requests on one connection, and hang up; ``gone`` tells when."""

    def serve(connection: socket.socket, _: Request) -> None:
        connection.sendall(answers[0])
        for answer in answers[1:]:
            connection.settimeout(30)
            assert b"lookup-self" in connection.recv(65536)
            connection.sendall(answer)
        connection.close()
        if gone is not None:
            gone.set()

    return serve


def test_connection_is_kept(scripted: ScriptedServer) -> None:
    """Requests of one call go over one connection: the control for what follows."""
    scripted.on("GET", LOOK_UP, answering(KEPT, KEPT))

    with Vault(settings(scripted.address, VAULT_MAX_RETRIES="0"), Deadline(20)) as vault:
        for _ in range(2):
            assert vault.look_up(TOKEN, origin="VAULT_TOKEN").policies == ("app",)

    assert len(scripted.requests) == 1


def test_kept_connection_of_a_node_that_died(scripted: ScriptedServer) -> None:
    """A connection whose other end has gone is replaced before the next request, a login among them, is sent."""
    gone = threading.Event()
    scripted.on("GET", LOOK_UP, answering(KEPT, gone=gone))
    scripted.on("POST", LOGIN, LOGGED_IN)

    with Vault(settings(scripted.address, VAULT_MAX_RETRIES="0"), Deadline(20)) as vault:
        vault.look_up(TOKEN, origin="VAULT_TOKEN")
        assert gone.wait(20)
        assert login(vault).value == TOKEN

    assert scripted.asked("POST", LOGIN) == 1


def test_kept_connection_of_a_node_that_dies(scripted: ScriptedServer) -> None:
    """One that breaks under a look-up costs a second try, on a new connection."""

    def break_off(connection: socket.socket, request: Request) -> None:
        connection.sendall(KEPT)
        connection.settimeout(30)
        connection.recv(65536)
        reset(connection, request)

    scripted.on("GET", LOOK_UP, break_off, LOOKED_UP)

    with Vault(settings(scripted.address, VAULT_MAX_RETRIES="1"), Deadline(20)) as vault:
        for _ in range(2):
            vault.look_up(TOKEN, origin="VAULT_TOKEN")

    assert scripted.asked("GET", LOOK_UP) == 2


NODES = {
    "sealed": (503, "Vault is sealed", "Vault is sealed; unseal it", 6),
    "uninitialized": (501, "Vault is not initialized", "Vault is not initialized; run", 6),
    "standby": (
        500,
        "local node not active but active cluster node not found",
        "a standby that finds no active node",
        5,
    ),
    "standby that lost it": (503, "no active Vault instance found", "a standby that finds no active node", 5),
    "standby alone": (503, "node is not active", "a standby that finds no active node", 5),
    "performance standby": (500, "please forward to the active node", "a performance standby that hands nothing on", 5),
    "DR secondary": (400, "path disabled in replication DR secondary mode", "a DR secondary, which serves nobody", 5),
    "health of a DR secondary": (472, "", "a DR secondary, which serves nobody", 5),
    "health of a performance standby": (473, "", "a performance standby that hands nothing on", 5),
}


@pytest.mark.parametrize("state", NODES)
@pytest.mark.parametrize("ask", [log_in_to, read_from])
def test_state_of_a_node_is_told(scripted: ScriptedServer, ask: Callable[..., object], state: str) -> None:
    """What a node that cannot serve says of itself is told in words of its own, at a login and at a read."""
    status, text, expected, code = NODES[state]
    scripted.otherwise = reply(status, {"errors": [text] if text else []})

    with pytest.raises(VaultCredentialError) as caught:
        ask(scripted.address)

    assert expected in said(caught.value)
    assert caught.value.exit_code == code


def test_region_that_is_not_activated_is_no_standby(scripted: ScriptedServer) -> None:
    """AWS's words about a region do not pass for those of a standby."""
    text = "Error assuming role: RegionDisabledException: STS is not activated in this region for account:123456789012"
    scripted.on("GET", READ, reply(400, {"errors": [text]}))

    with pytest.raises(UnreachableError) as caught:
        read_from(scripted.address)

    assert "AWS did not give Vault what it asked for" in said(caught.value)
    assert "standby" not in said(caught.value)
