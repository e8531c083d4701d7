"""The server of the endpoint: its beginning and end, TLS, slow clients, and many connections."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vault_credential_process import server as server_module
from vault_credential_process.errors import ConfigurationError, UnreachableError
from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer, listen, source_of
from vault_credential_process.server import role as role_module
from vault_credential_process.server.sockets import SPARE_FILES, listener, most_connections

from .bench import READ, Bench
from .certificates import Authority
from .endpoints import bench, keeper, server
from .serving import TOKEN, ask, connected, request, served, wait_until

__all__ = ["bench", "keeper", "server"]


class TestWhoIsSlow:
    """Clients that hold a connection and ask nothing."""

    @pytest.fixture(autouse=True)
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the limits be short."""
        monkeypatch.setattr(server_module, "REQUEST_LIMIT", 0.3)
        monkeypatch.setattr(server_module, "IDLE_LIMIT", 0.4)

    def test_request_that_never_comes(self, server: EndpointServer) -> None:
        """A client that does not finish its request is let go, however busy it looks: silent, or byte by byte."""
        parts = [(b"", b""), (b"GET / HT", b""), (b"GET / HTTP/1.1\r\n", b"A: b\r\n"), (b"GET / HTTP/1.1\r\nA: ", b"x")]
        with connected(server.address, len(parts)) as connections:
            for connection, (first, _) in zip(connections, parts, strict=True):
                connection.sendall(first)
            assert ask(server.address).status == 200
            for connection, (_, again) in zip(connections, parts, strict=True):
                assert is_let_go(connection, again)

    def test_next_request_that_never_comes(self, server: EndpointServer) -> None:
        """The same on a connection that has had an answer."""
        with connected(server.address) as (connection,):
            connection.sendall(request())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            assert is_let_go(connection, b"")

    def test_body_without_end(self, server: EndpointServer) -> None:
        """A body that nobody asked for is not waited for, and does not keep the connection."""
        with connected(server.address) as (connection,):
            connection.sendall(request().replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            assert is_let_go(connection, b"1\r\nx\r\n")

    def test_answer_that_is_not_read(self, server: EndpointServer) -> None:
        """Who asks again and again and reads nothing is let go, and holds nobody up."""
        with connected(server.address) as (connection,):
            connection.settimeout(0.1)
            with contextlib.suppress(OSError):
                for _ in range(5000):
                    connection.sendall(request())
            assert ask(server.address).status == 200
            wait_until(lambda: not is_connected(connection))

    def test_head_without_end(self, server: EndpointServer) -> None:
        """A head that grows beyond the limit ends the connection."""
        with connected(server.address) as (connection,), contextlib.suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * server_module.HEAD_LIMIT)

            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")

    def test_what_is_no_request(
        self, server: EndpointServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no request is a 400, and fills neither stderr nor the log."""
        for sent in (b"\0\1\2\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, b"GET\r\n\r\n"):
            with caplog.at_level(logging.INFO), connected(server.address) as (connection,):
                connection.sendall(sent)
                assert connection.recv(100).startswith(b"HTTP/1.1 400 ")

        assert capfd.readouterr().err == ""
        assert caplog.records == []


def is_let_go(connection: socket.socket, again: bytes) -> bool:
    """Send the same again and again until the other side has ended the connection."""
    limit = time.monotonic() + 20
    connection.settimeout(0.05)
    while time.monotonic() < limit:
        try:
            if again:
                connection.sendall(again)
            if connection.recv(65536) == b"":
                return True
        except TimeoutError:
            pass
        except OSError:
            return True
    return False


def is_connected(connection: socket.socket) -> bool:
    """Tell whether the other side still holds a connection; what came is read."""
    try:
        return connection.recv(1 << 20) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


class TestManyConnections:
    """Those that ask nothing, many of them."""

    @pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.soak)])
    def test_idle_connections(self, server: EndpointServer, count: int) -> None:
        """With so many idle connections a request is answered at once, and so is one on each of them."""
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 2 * count + 100 > hard:
            pytest.skip(f"this machine allows {hard} open files, and both ends are in this process")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 100), hard))
        try:
            with connected(server.address, count) as connections:
                started = time.monotonic()
                assert ask(server.address).status == 200
                took = time.monotonic() - started
                for connection in connections:
                    connection.sendall(request())
                answers = {connection.recv(15) for connection in connections}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert took < 1
        assert answers == {b"HTTP/1.1 200 OK"}

    def test_more_than_there_is_room_for(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        """The connection that has asked nothing for the longest time makes room for the next; no request is refused."""
        monkeypatch.setattr(server_module, "most_connections", lambda: 10)
        with served(keeper) as running, connected(running.address, 10) as connections:
            connections[0].sendall(request())
            assert connections[0].recv(65536)

            assert [ask(running.address).status for _ in range(5)] == [200] * 5

            for connection in connections:
                connection.settimeout(0.02)
            assert is_connected(connections[0])
            assert [is_connected(connection) for connection in connections[1:]].count(False) >= 1

    def test_room_is_made_at_once(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        """A flood of connections costs the same each, however many are held: nobody's request waits behind it."""
        monkeypatch.setattr(server_module, "most_connections", lambda: 200)
        is_idle, looked = server_module._Connection._is_idle, []

        def look(connection: Any) -> Any:
            looked.append(connection)
            return is_idle.__get__(connection)

        monkeypatch.setattr(server_module._Connection, "_is_idle", property(look))
        with served(keeper) as running, connected(running.address, 200), connected(running.address, 50):
            assert ask(running.address).status == 200

        assert 50 <= len(looked) <= 2 * 51

    def test_flood_takes_no_spare_files(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of many that come at the same moment each is let in and let go in turn, and none before was turned away."""
        kind, open_ones, counts, released = server_module._Connection, set(), [], threading.Event()
        made, lost = kind.__init__, kind.connection_lost

        def count(connection: Any, *arguments: Any, **keywords: Any) -> None:
            open_ones.add(id(connection))
            counts.append(len(open_ones))
            made(connection, *arguments, **keywords)

        def discount(connection: Any, error: Exception | None) -> None:
            open_ones.discard(id(connection))
            lost(connection, error)

        monkeypatch.setattr(kind, "__init__", count)
        monkeypatch.setattr(kind, "connection_lost", discount)
        monkeypatch.setattr(server_module, "most_connections", lambda: 10)
        with served(keeper) as running:
            assert running._server is not None
            running._server._loop.call_soon_threadsafe(released.wait, 30)
            with connected(running.address, 120):
                released.set()
                assert ask(running.address).status == 200

        assert len(counts) == 121
        assert max(counts) <= 10 + SPARE_FILES / 2

    def test_no_room_while_all_are_being_answered(
        self, keeper: Keeper, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who is being answered is not let go for who comes next; that one is, and has to come again."""
        monkeypatch.setattr(server_module, "most_connections", lambda: 3)
        released = threading.Event()

        def slowly(connection: socket.socket, _: Any) -> None:
            released.wait(20)
            connection.sendall(bench.lease(3600))

        monkeypatch.setattr(role_module, "PATIENCE", 20.0)
        bench.server.on("GET", READ, slowly)
        with served(keeper) as running, connected(running.address, 3) as connections:
            for connection in connections:
                connection.sendall(request())
            wait_until(lambda: bench.server.asked("GET", READ))
            with connected(running.address) as (late,):
                assert is_let_go(late, b"")
            released.set()

            assert {connection.recv(15) for connection in connections} == {b"HTTP/1.1 200 OK"}

    def test_room_for_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As many are held as the limit of open files leaves room for, with some files to spare."""
        resource = pytest.importorskip("resource")
        found = []
        for soft in (100, 1024, 1 << 20, resource.RLIM_INFINITY):
            monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
            found.append(most_connections())

        assert found == [50, 896, 4096, 4096]


class TestServer:
    """Its beginning and its end."""

    def test_stop(self, keeper: Keeper) -> None:
        """It ends with open connections, quickly, may be told twice, and its port is free."""
        with served(keeper) as running, connected(running.address, 3) as connections:
            connections[0].sendall(b"GET / HT")
            started = time.monotonic()
            running.stop()
            running.stop()

            assert time.monotonic() - started < server_module._STOP_LIMIT
            assert not running.running
            with pytest.raises(ConnectionRefusedError):
                ask(running.address)

    def test_request_at_the_end_is_answered(self, server: EndpointServer, bench: Bench) -> None:
        """A request that is being answered when the end comes gets its answer."""

        def slowly(connection: socket.socket, _: Any) -> None:
            time.sleep(0.4)
            connection.sendall(bench.lease(3600))

        bench.server.on("GET", READ, slowly)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, server.address)
            wait_until(lambda: bench.server.asked("GET", READ))
            server.stop()

            assert asked.result(10).status == 200

    def test_port_that_is_taken(self) -> None:
        """The error names the address and what to do."""
        with listen("127.0.0.1", 0) as first:
            first.listen()
            with pytest.raises(ConfigurationError, match=r"--port: 127\.0\.0\.1:\d+: Address already in use; choose"):
                listen("127.0.0.1", first.getsockname()[1])

    @pytest.mark.parametrize(
        ("host", "port", "words"),
        [
            ("no such host.invalid", 0, "--host: no such host.invalid: "),
            ("203.0.113.7", 0, "--port: 203.0.113.7:0: "),
            ("127.0.0.1", 70000, "--port: 70000 is no port"),
            ("127.0.0.1", -1, "--port: -1 is no port"),
        ],
    )
    def test_address_that_is_none(self, host: str, port: int, words: str) -> None:
        """The same for an address that is not this machine's, and a port that is none."""
        with pytest.raises(ConfigurationError) as caught:
            listen(host, port)

        assert str(caught.value).startswith(words)

    def test_no_program_inherits_the_socket(self) -> None:
        """The socket is closed in whatever is started."""
        with listen("127.0.0.1", 0) as made:
            assert not made.get_inheritable()

    def test_socket_that_does_not_serve(self, keeper: Keeper) -> None:
        """A server that cannot begin says so, and is no thread."""
        made = listen("127.0.0.1", 0)
        server = EndpointServer(keeper, token=TOKEN, socket=made)
        made.close()

        with pytest.raises(UnreachableError, match="the endpoint cannot be served: OSError"):
            server.start()
        assert not server.running

    def test_other_machines_only_over_tls(self, keeper: Keeper) -> None:
        """A socket that others reach is refused without TLS."""
        with listen("0.0.0.0", 0) as made:
            with pytest.raises(ConfigurationError, match="over TLS only"):
                EndpointServer(keeper, token=TOKEN, socket=made)
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            assert EndpointServer(keeper, token=TOKEN, socket=made, tls=tls).is_everywhere

    def test_ipv6(self, keeper: Keeper) -> None:
        """The loopback of IPv6 is one, with its address in brackets."""
        try:
            made = listen("::1", 0)
        except ConfigurationError as error:
            pytest.skip(f"no IPv6 on this machine: {error}")
        server = EndpointServer(keeper, token=TOKEN, socket=made)
        server.start()
        try:
            assert server.address.startswith("http://[::1]:")
            assert ask(server.address).status == 200
        finally:
            server.stop()

    def test_host_without_a_cache_keeps_in_memory(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no place for the host's cache what is served is kept in memory, not fetched each time."""
        monkeypatch.setattr("vault_credential_process.fastpath.runtime_directory", lambda _: (None, "no place"))

        assert source_of(bench.fetcher().config).fetcher.cache.name == "memory"

    def test_host_with_a_cache_shares_it(self, bench: Bench) -> None:
        """Otherwise it is kept in the host's cache, so that a new start finds it; and refreshed by a thread."""
        keeper = source_of(bench.fetcher(vault_aws_background="false").config)

        assert keeper.fetcher.cache.name in ("runtime", "keyring")
        assert keeper.fetcher.config.vault_aws_background is True


class TestTLS:
    """Over TLS, for other machines."""

    @pytest.fixture
    def authority(self, tmp_path: Any) -> Authority:
        """An authority of the test's own."""
        return Authority(tmp_path)

    @pytest.fixture
    def over_tls(self, keeper: Keeper, authority: Authority) -> Iterator[EndpointServer]:
        """An endpoint with a certificate."""
        pair = authority.issue("127.0.0.1", "creds.example")
        with served(keeper, tls=listener(str(pair.certificate), str(pair.key))) as running:
            yield running

    def test_client_of_botocore(
        self, over_tls: EndpointServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that trusts the authority is answered, whatever name it knows the server by."""
        context = ssl.create_default_context(cafile=str(authority.certificate))
        headers = {"Host": "creds.example:9911"}

        assert over_tls.address.startswith("https://127.0.0.1:")
        assert ask(over_tls.address, context=context, headers=headers).status == 200
        assert ask(over_tls.address, context=context, token=None).status == 403

    def test_clients_that_say_nothing(
        self, keeper: Keeper, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of those that do not shake hands few are held, the youngest; who does is answered meanwhile."""
        monkeypatch.setattr(server_module, "MOST_HANDSHAKES", 5)
        pair = authority.issue("127.0.0.1", "creds.example")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with (
            served(keeper, tls=listener(str(pair.certificate), str(pair.key))) as running,
            connected(running.address, 40) as silent,
        ):
            assert ask(running.address, context=context).status == 200
            for connection in silent:
                connection.settimeout(0.2)
            held = [is_connected(connection) for connection in silent]

        assert held.count(True) in (4, 5)
        assert all(held[-4:])

    def test_handshake_is_counted_no_more(self, keeper: Keeper, authority: Authority) -> None:
        """Those that shook hands, and those that went, leave nothing behind."""
        pair = authority.issue("127.0.0.1", "creds.example")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with served(keeper, tls=listener(str(pair.certificate), str(pair.key))) as running:
            with connected(running.address, 3):
                assert [ask(running.address, context=context).status for _ in range(3)] == [200] * 3
                assert len(running._door._waiting) == 3
            wait_until(lambda: not running._door._waiting)

    def test_old_version(self, over_tls: EndpointServer, authority: Authority) -> None:
        """TLS before 1.2 is refused."""
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1

        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(over_tls.address, context=context)

    def test_client_without_tls(self, over_tls: EndpointServer, capfd: pytest.CaptureFixture[str]) -> None:
        """Plain http gets no answer, and nothing is said of it on stderr."""
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(over_tls.address.replace("https", "http"))
        assert capfd.readouterr().err == ""

    def test_handshake_that_never_ends(
        self, keeper: Keeper, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that does not finish the handshake is let go."""
        monkeypatch.setattr(server_module, "REQUEST_LIMIT", 0.5)
        pair = authority.issue("127.0.0.1")
        with (
            served(keeper, tls=listener(str(pair.certificate), str(pair.key))) as running,
            connected(running.address) as (connection,),
        ):
            assert is_let_go(connection, b"")

    def test_files_that_are_wrong(self, authority: Authority, tmp_path: Any) -> None:
        """Each error names the flag, the files and what to do."""
        first, second = authority.issue("127.0.0.1"), authority.issue("127.0.0.1", password=b"secret")
        for certificate, key, words in (
            (first.certificate, None, "--tls-key: missing"),
            (None, first.key, "--tls-cert: missing"),
            (tmp_path / "none", first.key, "No such file"),
            (first.certificate, second.certificate, "check both files"),
            (second.certificate, second.key, "encrypted; store it without a passphrase"),
            (first.certificate, authority.issue("127.0.0.1").key, "check both files"),
        ):
            with pytest.raises(ConfigurationError) as caught:
                listener(None if certificate is None else str(certificate), None if key is None else str(key))
            assert words in str(caught.value)
        assert listener(None, None) is None
