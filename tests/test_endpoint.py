"""The container-credentials endpoint in this process: who may ask, what is answered, and what when Vault is away."""

from __future__ import annotations

import hmac
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.credentials
import botocore.exceptions
import botocore.utils
import pytest

from vault_credential_process import keeper as keeper_module
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer
from vault_credential_process.server import endpoint as endpoint_module
from vault_credential_process.server import role as role_module
from vault_credential_process.server.endpoint import Tokens
from vault_credential_process.testing.scripted import reply, reset

from .bench import DENIED, LOGIN, NOW, READ, Bench
from .endpoints import bench, keeper, server
from .serving import TOKEN, URI, ask, connected, request, served, wait_until

__all__ = ["bench", "keeper", "server"]


class TestAnswer:
    """What SDKs read."""

    def test_document(self, server: EndpointServer) -> None:
        """The keys are those that SDKs want, the end is in the form that every SDK takes, and nothing may be kept."""
        answer = ask(server.address)

        assert answer.status == 200
        assert answer.json == {
            "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "Token": "FwoGZXIvYXdzEXAMPLETOKEN==",
            "Expiration": "2026-11-23T21:17:03Z",
            "AccountId": "123456789012",
        }
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers

    def test_iam_user(self, server: EndpointServer, bench: Bench) -> None:
        """Keys of an IAM user have an empty ``Token``, not none: SDKs want the key."""
        bench.server.on("GET", READ, bench.lease(3600, "AKIAIOSFODNN7EXAMPLE", "creds_iam_user"))
        server.endpoint.roles["webapp"].keeper.fetcher.config = bench.fetcher(vault_aws_probe="off").config

        answer = ask(server.address).json

        assert (answer["AccessKeyId"], answer["Token"]) == ("AKIAIOSFODNN7EXAMPLE", "")
        assert answer["Expiration"].endswith("Z")
        assert "AccountId" not in answer

    def test_routes(self, bench: Bench) -> None:
        """Several roles lie at their names alone, quoted where need be; one lies at ``/`` too."""
        keepers = {name: Keeper(bench.fetcher(vault_aws_role=name)) for name in ("webapp", "other")}
        bench.server.on("GET", "aws/creds/other", bench.lease(3600, "ASIAOTHER7EXAMPLE"))
        with served({"webapp": keepers["webapp"], "my team/ü": keepers["other"]}) as running:
            found = {path: ask(running.address, path) for path in ("/webapp", "/my%20team%2F%C3%BC", "/", "/other")}
        keys = {path: answer.json.get("AccessKeyId") for path, answer in found.items()}

        assert keys == {
            "/webapp": "ASIAIOSFODNN7EXAMPLE",
            "/my%20team%2F%C3%BC": "ASIAOTHER7EXAMPLE",
            "/": None,
            "/other": None,
        }
        assert found["/other"].status == 404
        assert found["/other"].json["message"] == "nothing is served here; there is /my%20team%2F%C3%BC, /webapp"

    def test_other_methods(self, server: EndpointServer) -> None:
        """Only GET is answered."""
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            for path in ("/", "/health", "/nothing"):
                answer = ask(server.address, path, method=method)
                assert (answer.status, answer.headers["allow"]) == (405, "GET")

    def test_no_emulation_of_imds(self, server: EndpointServer) -> None:
        """Nothing is served where botocore looks for an instance's metadata: it rewrites the end of what it gets."""
        paths = ("/latest/api/token", "/latest/meta-data/iam/security-credentials/")

        assert [ask(server.address, path).status for path in paths] == [404, 404]

    def test_defect(
        self, server: EndpointServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """An error that nobody foresaw is a 500 with its kind, and none of its words."""
        monkeypatch.setattr(endpoint_module, "document", lambda _: 1 / 0)

        answer = ask(server.address)

        assert (answer.status, answer.json["code"]) == (500, "InternalError")
        assert answer.json["message"] == "internal error: ZeroDivisionError"
        monkeypatch.undo()
        monkeypatch.setattr(Keeper, "held", lambda _: 1 / 0)
        server.endpoint.roles["webapp"].keeper._held = None
        answer = ask(server.address)
        assert (answer.status, answer.json["code"]) == (500, "InternalError")
        assert capfd.readouterr().err == ""


class TestWhoMayAsk:
    """The token, and the name of the host."""

    def test_without_the_token(self, server: EndpointServer) -> None:
        """Whatever is not the token exactly gets the reason, in a status that no SDK takes for a passing one."""
        near: list[Any] = [TOKEN[:-1], f"{TOKEN}x", f"Bearer {TOKEN}", TOKEN.upper(), f"{TOKEN}ü".encode("latin-1")]
        for token in (None, "", "x", *near):
            for path in ("/", "/nothing"):
                answer = ask(server.address, path, token=token)

                assert answer.status == 403
                assert answer.json["code"] == answer.json["Code"] == "AccessDenied"
                assert "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in answer.json["message"]
                is_too_old = "an SDK that does not know the file (AWS CLI 2.9) needs the latter: $(cat FILE)"
                assert answer.json["message"].endswith(is_too_old) == (not token)
                assert TOKEN not in answer.json["message"]
                assert "webapp" not in answer.json["message"]

    def test_two_tokens_are_none(self, server: EndpointServer) -> None:
        """A request with the header twice is refused, whichever is right."""
        with connected(server.address) as (connection,):
            connection.sendall(request().replace(b"\r\n\r\n", b"\r\nAuthorization: other\r\n\r\n"))

            assert connection.recv(100).startswith(b"HTTP/1.1 403 ")

    def test_compared_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each token that is good is compared whole, whatever was sent, and whether an earlier one was right."""
        compared: list[bytes] = []
        compare = hmac.compare_digest

        def watched(sent: bytes, token: bytes) -> bool:
            compared.append(token)
            return compare(sent, token)

        monkeypatch.setattr(hmac, "compare_digest", watched)
        tokens = Tokens("first-token")
        tokens.offer("second-token")

        assert [tokens.accept(sent) for sent in (b"second-token", b"first-token", b"")] == [True, True, False]
        assert compared == [b"second-token", b"first-token"] * 3

    def test_rotation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a change the last token stays good for a while, and none that is older; one taken back never was."""
        now = [0.0]
        monkeypatch.setattr(endpoint_module, "uptime", lambda: now[0])
        tokens = Tokens("first")
        tokens.offer("second")
        tokens.settle(60)
        tokens.offer("third")
        tokens.withdraw()

        assert [tokens.accept(sent) for sent in (b"first", b"second", b"third")] == [True, True, False]
        now[0] = 61.0
        assert [tokens.accept(sent) for sent in (b"first", b"second")] == [False, True]
        tokens.offer("fourth")
        tokens.settle(60)
        assert [tokens.accept(sent) for sent in (b"first", b"second", b"fourth")] == [False, True, True]
        assert "second" not in repr(tokens)

    def test_new_token(self) -> None:
        """A new token has 256 bits, and only characters that need no quotes anywhere."""
        made = {Tokens.new() for _ in range(100)}

        assert len(made) == 100
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in made)

    def test_host_of_this_machine(self, server: EndpointServer) -> None:
        """SDKs name the host of their URI, with or without its port."""
        hosts = ("127.0.0.1", "127.0.0.1:9911", "127.8.9.1:1", "localhost", "LOCALHOST:80", "[::1]", "[::1]:9911")

        assert [ask(server.address, headers={"Host": host}).status for host in hosts] == [200] * len(hosts)

    def test_host_of_another(self, server: EndpointServer) -> None:
        """A name that a web page had bound anew to this machine (DNS rebinding) gets nothing, token or not."""
        names = ("evil.example", "evil.example:9911", "127.0.0.1.evil.example", "localhost.evil.example")
        others = ("10.0.0.1", "", "[::1", "[::ffff:10.0.0.1]", "169.254.169.254", "127.0.0.1@evil.example")
        for host in (*names, *others):
            for path in ("/", "/health", "/metrics", "/nothing"):
                answer = ask(server.address, path, headers={"Host": host})

                assert (host, answer.status) == (host, 403)
                assert answer.json["code"] == "WrongHost"

    def test_no_page_may_read_it(self, server: EndpointServer) -> None:
        """No answer allows another origin to read it, nor a browser to guess what it is."""
        answer = ask(server.address, headers={"Origin": "https://evil.example"})

        assert [name for name in answer.headers if name.startswith("access-control-")] == []
        assert answer.headers["x-content-type-options"] == "nosniff"


class TestVaultAway:
    """The last good answer, then the reason."""

    @pytest.fixture(autouse=True)
    def haste(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the tries after the end of a pair follow each other quickly."""
        monkeypatch.setattr(keeper_module, "PAUSE_AFTER_THE_END", (0.05, 0.1))

    def test_last_good_answer_then_the_reason(self, server: EndpointServer, bench: Bench) -> None:
        """While Vault is away a valid pair is served as ever; then a 503 tells why, and when to come back."""
        first = ask(server.address).json
        bench.server.on("GET", READ, reply(503, {"errors": ["Vault is sealed"]}))
        bench.clock.now = NOW + 3599

        assert ask(server.address).json == first

        bench.clock.now = NOW + 3601
        answer = ask(server.address)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json["code"] == "Sealed"
        assert "sealed" in answer.json["message"]
        assert first["SecretAccessKey"] not in answer.body.decode()
        bench.server.on("GET", READ, bench.lease(3600, "ASIANEWONE7EXAMPLE"))
        wait_until(lambda: ask(server.address).status == 200)
        assert ask(server.address).json["AccessKeyId"] == "ASIANEWONE7EXAMPLE"

    def test_last_second_of_a_pair(self, server: EndpointServer, bench: Bench) -> None:
        """No answer has an ``Expiration`` that is over: it is told in whole seconds, and the rest of one is no life."""
        bench.clock.now = NOW + 0.5
        assert ask(server.address).json["Expiration"] == format_timestamp(NOW + 3600)
        bench.server.on("GET", READ, reply(503, {"errors": ["Vault is sealed"]}))
        bench.clock.now = NOW + 3599.9
        assert ask(server.address).status == 200
        wait_until(lambda: ask(server.address, "/health").json["roles"]["webapp"]["failing"])
        bench.clock.now = NOW + 3600.2
        answer = ask(server.address)

        assert (answer.status, answer.json["code"]) == (503, "CredentialsPending")
        assert "sealed" in answer.json["message"]

    @pytest.mark.parametrize(
        ("answer", "status", "code"),
        [
            (DENIED, 424, "PermissionDenied"),
            (reply(400, {"errors": ["no such role"]}), 424, None),
            (reply(503, {"errors": ["Vault is sealed"]}), 503, "Sealed"),
            (reset, 503, "Unreachable"),
            (reply(500, {"errors": ["1 error occurred"]}), 503, "Unreachable"),
        ],
    )
    def test_status_tells_whether_to_try_again(
        self, server: EndpointServer, bench: Bench, answer: Any, status: int, code: str | None
    ) -> None:
        """What passes by itself is a 5xx, which SDKs try again; what somebody must mend is a 4xx, told at once."""
        bench.server.on("GET", READ, answer)

        found = ask(server.address)

        assert found.status == status
        assert code in (None, found.json["code"])
        assert found.json["message"] == found.json["Message"]
        assert "retry-after" in found.headers or status == 424

    def test_login_refused(self, server: EndpointServer, bench: Bench) -> None:
        """A refused login is told with the status of what somebody must mend."""
        bench.server.on("POST", LOGIN, reply(400, {"errors": ["invalid role or secret ID"]}))

        assert (ask(server.address).status, ask(server.address).json["code"]) == (424, "Authentication")

    def test_slow_vault_holds_nobody_up(self, server: EndpointServer, bench: Bench) -> None:
        """A first answer that takes long is a 503 within a second; the fetch goes on, once, and its pair is served."""
        go = threading.Event()

        def slowly(connection: socket.socket, _: Any) -> None:
            go.wait(30)
            connection.sendall(bench.lease(3600))

        bench.server.on("GET", READ, slowly)
        started = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: ask(server.address), range(20)))
        took = time.monotonic() - started

        assert {answer.status for answer in answers} == {503}
        assert answers[0].json["code"] == "CredentialsPending"
        assert role_module.PATIENCE < 1
        assert took < role_module.PATIENCE + 5
        go.set()
        wait_until(lambda: ask(server.address).status == 200)
        assert bench.server.asked("GET", READ) == 1
        assert bench.server.asked("POST", LOGIN) == 1

    def test_no_more_threads(self, server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system has no thread to fetch with the answer says so, and the next request tries again."""

        def none(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(role_module, "_in_thread", none)
            answer = ask(server.address)
            assert ask(server.address, "/metrics").status == 200

        assert (answer.status, answer.json["code"]) == (503, "Unreachable")
        assert "no thread to fetch with" in answer.json["message"]
        assert ask(server.address).status == 200

    def test_never_an_empty_answer(self, server: EndpointServer, bench: Bench) -> None:
        """Credentials that Vault gave without a secret are no 200 with holes in it."""
        bench.server.on(
            "GET", READ, reply(200, {"lease_duration": 3600, "data": {"access_key": "AKIA", "secret_key": ""}})
        )

        answer = ask(server.address)

        assert answer.status in (424, 503)
        assert answer.json["message"]


class TestBotocore:
    """The container provider of botocore, unmodified."""

    @pytest.fixture
    def provider(self, server: EndpointServer) -> botocore.credentials.ContainerProvider:
        """Return it as it is in a container whose variables name the endpoint; between two tries it does not wait."""
        environ = {URI: f"{server.address}/webapp", "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN}
        fetcher: Any = botocore.utils.ContainerMetadataFetcher(sleep=lambda _: None)
        return botocore.credentials.ContainerProvider(environ, fetcher)

    def test_refresh(self, provider: Any, server: EndpointServer, bench: Bench) -> None:
        """It takes the document with its end and its account, and the new pair when it refreshes."""
        bench.clock.now = time.time()
        bench.server.on("GET", READ, bench.lease(3600), bench.lease(3600, "ASIASECOND7EXAMPLE"))
        credentials = provider.load()
        assert credentials.get_frozen_credentials().access_key == "ASIAIOSFODNN7EXAMPLE"
        assert credentials.account_id == "123456789012"
        assert credentials._expiry_time.timestamp() == int(bench.clock.now) + 3600

        server.endpoint.roles["webapp"].keeper._fetch(instead_of="ASIAIOSFODNN7EXAMPLE")
        credentials._refresh()

        assert credentials.access_key in ("ASIAIOSFODNN7EXAMPLE", "ASIASECOND7EXAMPLE")
        assert ask(server.address).json["AccessKeyId"] == "ASIASECOND7EXAMPLE"

    def test_reason_is_in_its_exception(self, provider: Any, bench: Bench) -> None:
        """What went wrong stands in botocore's own exception."""
        bench.server.on("GET", READ, DENIED)

        with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="permission denied"):
            provider.load()
