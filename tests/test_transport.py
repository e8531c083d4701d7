"""The wire: time and size of a reply, proxies, sockets, and nothing of this machine picked up."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import pathlib
import socket
import threading
import time
import tracemalloc

import pytest

from vault_credential_process import requester as vault_module
from vault_credential_process import transport
from vault_credential_process.errors import (
    ConfigurationError,
    DeadlineError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, dripping, reply, reset, silence

from .certificates import Authority
from .talk import LOGGED_IN, LOGIN, READ, SECRET_ID, STS, TOKEN, log_in_to, read_from, said


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


LONG = 30
"""Seconds that a server here goes on for whoever does not leave."""

LIMIT = 0.3
"""Seconds after which a caller does. It leaves in less than a third of what the server would make of it."""


def endless(part: bytes, *, pause: float, start: bytes = b"HTTP/1.1 200 OK\r\n") -> Reply:
    """Answer with the same bytes again and again, for longer than any test should take."""

    def pour(connection: socket.socket, _: Request) -> None:
        connection.sendall(start)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            connection.sendall(part)
            time.sleep(pause)

    return pour


def half_then_silence(connection: socket.socket, request: Request) -> None:
    """Answer a part at the last moment, then nothing more."""
    time.sleep(LIMIT * 0.7)
    connection.sendall(STS[:-10])
    silence(LONG)(connection, request)


SLOW: dict[str, Reply] = {
    "silence": silence(LONG),
    "byte by byte": dripping(STS * 3, pause=0.02),
    "half": half_then_silence,
    "endless headers": endless(b"X-More: 1\r\n", pause=0.05),
    "endless header": endless(b"x", pause=0.02, start=b"HTTP/1.1 200 OK\r\nX-Long: "),
    "endless body": endless(b" ", pause=0.02, start=b"HTTP/1.1 200 OK\r\n\r\n"),
    "endless chunks": endless(
        b"1\r\n \r\n", pause=0.02, start=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
}


@pytest.mark.parametrize("answer", SLOW)
def test_deadline_ends_every_reply(scripted: ScriptedServer, answer: str) -> None:
    """However a reply is drawn out, the call ends at its deadline and says so in its own words and exit code."""
    scripted.on("GET", READ, SLOW[answer])
    start = time.monotonic()

    with pytest.raises(DeadlineError) as caught:
        read_from(scripted.address, seconds=LIMIT)

    assert LIMIT <= time.monotonic() - start < LONG / 3
    assert f"gave up after {LIMIT} s while waiting for GET /v1/{READ}" in said(caught.value)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("answer", SLOW)
def test_client_timeout_ends_every_reply(scripted: ScriptedServer, answer: str) -> None:
    """``VAULT_CLIENT_TIMEOUT`` bounds one request in the same way; its message names that setting."""
    scripted.on("GET", READ, SLOW[answer])
    start = time.monotonic()

    with pytest.raises(UnreachableError, match="raise vault_client_timeout") as caught:
        read_from(scripted.address, VAULT_CLIENT_TIMEOUT=f"{LIMIT}s")

    assert LIMIT <= time.monotonic() - start < LONG / 3
    assert f"{scripted.address}: no answer to GET {READ} in time" in said(caught.value)


def test_deadline_ends_a_handshake(scripted: ScriptedServer) -> None:
    """A server that takes the connection and then says nothing of TLS holds nobody past the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(DeadlineError) as caught:
        read_from(f"https://127.0.0.1:{listener.getsockname()[1]}", seconds=LIMIT)

    assert f"gave up after {LIMIT} s" in said(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b" " * (transport.MAX_REPLY + 1)),
        reply(200, gzip.compress(b" " * (3 * transport.MAX_REPLY)), {"Content-Encoding": "gzip"}),
        reply(500, b"<html>" * transport.MAX_REPLY),
        endless(b" " * 65536, pause=0, start=b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["long", "compressed", "error page", "endless"],
)
def test_oversized_reply(scripted: ScriptedServer, answer: Reply) -> None:
    """A reply of more than 4 MiB, unpacked, is not read to its end."""
    scripted.on("GET", READ, answer)

    with pytest.raises(UnreachableError) as caught:
        read_from(scripted.address)

    assert f"{scripted.address}: the reply to GET /v1/{READ} is longer than 4194304 bytes" in said(caught.value)


def test_compressed_reply(scripted: ScriptedServer) -> None:
    """A compressed reply is unpacked."""
    headers, _, body = STS.partition(b"\r\n\r\n")
    assert b"gzip" not in headers
    scripted.on("GET", READ, reply(200, gzip.compress(body), {"Content-Encoding": "gzip"}))

    assert read_from(scripted.address).access_key == "ASIAIOSFODNN7EXAMPLE"


def packed(times: int) -> bytes:
    """Return an answer that was compressed so often."""
    body = STS.partition(b"\r\n\r\n")[2]
    for _ in range(times):
        body = gzip.compress(body)
    return body


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_other_compression_is_refused(scripted: ScriptedServer, encoding: str) -> None:
    """What nobody asked for is unpacked once at most, whatever it would be: some layers of it fill the memory."""
    scripted.on("GET", READ, reply(200, packed(encoding.count("gzip")), {"Content-Encoding": encoding}))

    with pytest.raises(UnreachableError) as caught:
        read_from(scripted.address)

    assert f"the reply to GET /v1/{READ} is compressed, and not by gzip" in said(caught.value)
    assert scripted.requests[0].headers["accept-encoding"] == "identity"


def test_compressed_reply_takes_no_memory(scripted: ScriptedServer) -> None:
    """Of a small reply that unpacks to much, no more is unpacked than a reply may have."""
    bomb = gzip.compress(bytes(32 * transport.MAX_REPLY), 9)
    assert len(bomb) < transport.MAX_REPLY / 16
    scripted.on("GET", READ, reply(200, bomb, {"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(UnreachableError, match="is longer than 4194304 bytes"):
            read_from(scripted.address)
        assert tracemalloc.get_traced_memory()[1] < 4 * transport.MAX_REPLY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [1, 9])
def test_compressed_reply_is_cut(scripted: ScriptedServer, cut: int) -> None:
    """A compressed reply whose end is missing is none, be it that all of the text came."""
    scripted.on("GET", READ, reply(200, packed(1)[:-cut], {"Content-Encoding": "gzip"}))

    with pytest.raises(UnreachableError, match="the connection broke"):
        read_from(scripted.address)


def then_reset(answer: bytes) -> Reply:
    """Answer, wait until it is read, and break the connection."""

    def say(connection: socket.socket, request: Request) -> None:
        connection.sendall(answer)
        time.sleep(0.2)
        reset(connection, request)

    return say


def test_reset_after_a_reply_loses_nothing_of_it(scripted: ScriptedServer) -> None:
    """What came before a reset is an answer, where it says nothing of its length; Go's TLS listener answers so."""
    refused = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    scripted.on("GET", READ, then_reset(refused))

    with pytest.raises(UnreachableError) as caught:
        read_from(scripted.address)

    assert "the server speaks TLS there; write https:// in vault_addr" in said(caught.value)


def test_reset_within_a_reply_is_a_broken_connection(scripted: ScriptedServer) -> None:
    """A reply that says how long it is, and is cut off by a reset, is none."""
    scripted.on("GET", READ, then_reset(STS[:-1]))

    with pytest.raises(UnreachableError) as caught:
        read_from(scripted.address)

    assert f"the connection broke during GET {READ}" in said(caught.value)


def test_machine_has_no_say_over_loopback(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, clean_environment: pathlib.Path
) -> None:
    """No token, ``.netrc`` or proxy of this machine reaches a request to this host."""
    (clean_environment / ".netrc").write_text("machine 127.0.0.1 login ana password netrc-password\n")
    (clean_environment / ".netrc").chmod(0o600)
    (clean_environment / ".vault-token").write_text("hvs.ambient")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.ambient")
    scripted.on("POST", LOGIN, LOGGED_IN)
    with ScriptedServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        log_in_to(scripted.address)

    assert proxy.requests == []
    assert {"authorization", "x-vault-token", "proxy-authorization"}.isdisjoint(scripted.requests[0].headers)


def test_proxy_for_plain_http(scripted: ScriptedServer) -> None:
    """``VAULT_PROXY_ADDR`` is used for loopback too; its password goes to the proxy alone."""
    scripted.otherwise = STS
    proxy = scripted.address.replace("http://", "http://ana:proxy-password@")

    read_from("http://127.0.0.1:1", VAULT_PROXY_ADDR=proxy)

    sent = scripted.requests[0]
    assert sent.path == f"http://127.0.0.1:1/v1/{READ}"
    expected = base64.b64encode(b"ana:proxy-password").decode()
    assert sent.headers["proxy-authorization"] == f"Basic {expected}"


def tunnel(connection: socket.socket, request: Request) -> None:
    """Connect through to where the client asks for, and carry bytes both ways until one side ends."""
    host, _, port = request.path.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=carry, args=(target, connection))
        back.start()
        carry(connection, target)
        back.join(5)


def carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_proxy_for_tls(scripted: ScriptedServer, tmp_path: pathlib.Path) -> None:
    """Through a proxy TLS stays whole: the proxy sees a ``CONNECT`` and neither path nor token."""
    authority = Authority(tmp_path)
    scripted.otherwise = tunnel
    with ScriptedServer(context=authority.issue("127.0.0.1").listener()) as server:
        server.on("GET", READ, STS)
        read_from(server.address, VAULT_PROXY_ADDR=scripted.address, VAULT_CACERT=str(authority.certificate))

    seen = scripted.requests[0]
    assert (seen.method, seen.path) == ("CONNECT", server.address.removeprefix("https://"))
    assert "x-vault-token" not in seen.headers
    assert server.requests[0].headers["x-vault-token"] == TOKEN


def test_proxy_refuses(scripted: ScriptedServer) -> None:
    """A proxy that refuses to connect is named as what failed; nothing was sent, so a login is tried again."""
    scripted.otherwise = reply(403)

    with pytest.raises(UnreachableError, match="the proxy refused or failed; check VAULT_PROXY_ADDR"):
        log_in_to("https://127.0.0.1:1", VAULT_PROXY_ADDR=scripted.address)

    assert [r.method for r in scripted.requests] == ["CONNECT"] * 3


@pytest.mark.parametrize("target", ["http://127.0.0.2:1", "https://127.0.0.1:1"])
def test_proxy_wants_a_password(scripted: ScriptedServer, target: str) -> None:
    """A proxy that demands who we are is named, with where that is written."""
    scripted.otherwise = reply(407, None, {"Proxy-Authenticate": "Basic"})

    with pytest.raises(UnreachableError, match="the proxy wants a password; write http://user:password@host in HTTP"):
        log_in_to(target, VAULT_PROXY_ADDR=scripted.address)

    assert scripted.requests


@pytest.mark.parametrize("target", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_proxy_is_away(target: str) -> None:
    """A proxy that does not listen is named as what failed, without its password."""
    with pytest.raises(UnreachableError, match="the proxy refused or failed") as caught:
        log_in_to(target, VAULT_PROXY_ADDR="http://ana:proxy-password@127.0.0.1:1")

    assert "proxy-password" not in said(caught.value)


def test_proxy_of_the_environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another host the usual proxy variables hold, ``NO_PROXY`` among them."""
    address = scripted.address.replace("127.0.0.1", "0.0.0.0")
    scripted.on("GET", READ, STS)
    with ScriptedServer() as proxy:
        proxy.otherwise = STS
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("http_proxy", proxy.address)
        read_from(address, VAULT_ALLOW_HTTP="true")
        monkeypatch.setenv("NO_PROXY", "0.0.0.0")
        read_from(address, VAULT_ALLOW_HTTP="true")

    assert [r.path for r in proxy.requests] == [f"{address}/v1/{READ}"]
    assert [r.path for r in scripted.requests] == [f"/v1/{READ}"]


@pytest.mark.parametrize(
    ("variable", "address", "named"),
    [
        ("HTTPS_PROXY", "https://vault.invalid", "HTTPS_PROXY"),
        ("ALL_PROXY", "https://vault.invalid", "HTTPS_PROXY"),
        ("HTTP_PROXY", "http://vault.invalid", "HTTP_PROXY"),
        ("HTTPS_PROXY", "http://vault.invalid", "HTTPS_PROXY"),
    ],
)
def test_socks_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, named: str
) -> None:
    """A SOCKS proxy, on whose words nobody puts a limit, is refused where it would be used, without a word to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        monkeypatch.setenv(variable, f"socks5h://ana:proxy-password@127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ConfigurationError) as caught:
            read_from(address, VAULT_ALLOW_HTTP="true")
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert f"{named} or ALL_PROXY: a SOCKS proxy" in said(caught.value)
    assert "proxy-password" not in said(caught.value)


def test_socks_proxy_that_is_not_used(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy for other hosts, or for http alone, is nobody's concern."""
    scripted.on("GET", READ, STS)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    read_from(scripted.address)
    monkeypatch.setenv("NO_PROXY", "0.0.0.0")
    read_from(scripted.address.replace("127.0.0.1", "0.0.0.0"), VAULT_ALLOW_HTTP="true")

    assert scripted.asked("GET", READ) == 2


def test_unix_socket(tmp_path: pathlib.Path) -> None:
    """An Agent's socket is spoken to in plain HTTP, with the token and whatever proxy is configured left out."""
    with ScriptedServer(unix_path=str(tmp_path / "agent.sock")) as agent:
        agent.on("POST", LOGIN, LOGGED_IN)
        agent.on("GET", READ, STS)
        log_in_to(agent.address, VAULT_PROXY_ADDR="http://127.0.0.1:1")
        read_from(agent.address)

    first, second = agent.requests
    assert (first.headers["host"], first.json["secret_id"]) == ("localhost", SECRET_ID)
    assert (second.path, second.headers["x-vault-token"]) == (f"/v1/{READ}", TOKEN)


@pytest.mark.parametrize("stale", [False, True])
def test_unix_socket_without_an_agent(tmp_path: pathlib.Path, stale: bool) -> None:
    """A socket that is missing, or left behind by an Agent that has ended, is named in the message."""
    path = tmp_path / "agent.sock"
    if stale:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))

    with pytest.raises(VaultCredentialError) as caught:
        log_in_to(f"unix://{path}")

    assert f"unix://{path}: " in said(caught.value)
    assert "check vault_addr" in said(caught.value)
    assert caught.value.exit_code == 5


def test_unix_socket_obeys_the_deadline(tmp_path: pathlib.Path) -> None:
    """A reply over a socket ends by the deadline as any other."""
    with ScriptedServer(unix_path=str(tmp_path / "agent.sock")) as agent:
        agent.on("GET", READ, dripping(STS, pause=0.02))
        with pytest.raises(DeadlineError):
            read_from(agent.address, seconds=LIMIT)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset", "application/json; charset=nosuch", "; ;=", "\xff"]
)
def test_content_type_is_not_guessed_from(scripted: ScriptedServer, content_type: str) -> None:
    """JSON is UTF-8 whatever its ``Content-Type`` says: requests 2.32 fails where a charset has no value."""
    scripted.on("GET", READ, reply(200, json.loads(STS.partition(b"\r\n\r\n")[2]), {"Content-Type": content_type}))

    assert read_from(scripted.address).access_key == "ASIAIOSFODNN7EXAMPLE"
